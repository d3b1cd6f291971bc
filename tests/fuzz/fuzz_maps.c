/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text of /proc: maps lines and command lines. What is taken apart must lie inside the text, and labels must fit, end
 * and be clean.
 */
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "collector/process/procmaps.h"
#include "collector/target/cgroup.h"
#include "collector/target/label.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
}

static void check_line(const char *line, size_t len)
{
	struct proc_map map;
	char path[64];

	if (procmaps__parse(line, len, &map) != 0)
		return;
	expect(map.start < map.end);
	expect(map.path >= line && map.path + map.path_len <= line + len);
	if (procmaps__path(&map, true, path, sizeof(path)) == 0)
		expect(strlen(path) <= map.path_len);
	if (procmaps__path(&map, false, path, sizeof(path)) == 0)
		expect(strlen(path) <= map.path_len);
}

static void check_harmless(const char *text, size_t size)
{
	expect(strlen(text) < size);
	for (const char *c = text; *c; c++)
		expect((unsigned char)*c >= 0x20 && *c != 0x7f);
}

static void check_label(const char *text, size_t len)
{
	char label[48];

	label__from_cmdline(text, len, "comm", label, sizeof(label));
	check_harmless(label, sizeof(label));
}

static void check_cgroup(const char *text, size_t len)
{
	char path[48], container[16];

	cgroup__path(text, len, path, sizeof(path));
	check_harmless(path, sizeof(path));
	cgroup__container(text, len, container, sizeof(container));
	check_harmless(container, sizeof(container));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	size_t left = size, line;

	check_label(text, size);
	check_cgroup(text, size);
	for (; (line = procmaps__line_len(text, left)) > 0; text += line, left -= line)
		check_line(text, line);
	expect(left == 0);
	return 0;
}
