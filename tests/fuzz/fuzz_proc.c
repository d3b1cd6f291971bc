/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Small files of /proc (stat, status) and maps, in whose place procmaps__slurp() gives what the fuzzer made: ids, times and
 * tracers of processes, and native stacks that are named with such mappings.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/process/procmaps.h"
#include "collector/process/procstat.h"
#include "collector/stacks/native.h"
#include "collector/stacks/native_tally.h"
#include "collector/target/target.h"
#include "collector/target/target_inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_procmaps__slurp(const char *path, size_t max, char **ret, size_t *ret_len);

static const uint8_t *made;
static size_t made_size;

int __wrap_procmaps__slurp(const char *path, size_t max, char **ret, size_t *ret_len)
{
	(void)path;
	if (made_size > max)
		return -EFBIG;
	*ret = malloc(made_size + 1);
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, made, made_size);
	(*ret)[made_size] = '\0';
	*ret_len = made_size;
	return 0;
}

static void expect(int truth)
{
	if (!truth)
		abort();
}

static void check_ids(pid_t pid)
{
	uint64_t ticks, stack;
	struct procstat fields;

	procstat__read(pid, 0, &fields);
	target__stat(pid, pid, &ticks, &stack);
	expect(target__id_inside(pid, pid) >= 0);
	expect(target__tracer(pid) >= 0);
	expect(target_proc__thread_group(pid) >= 0);
}

/* Registers out of the same bytes, so that they fall into the mappings. */
static void check_native(pid_t pid)
{
	struct native_files *files = native_files__new();
	struct native *n = files ? native__new(files, pid) : NULL;
	struct native_chain chain = {.name = ""};
	struct gil_regs regs = {{0}};
	size_t len = made_size < sizeof(regs) ? made_size : sizeof(regs);

	memcpy(&regs, made + made_size - len, len);
	if (n && native__name(n, 1, &regs, made, made_size, &chain)) {
		expect(memchr(chain.name, 0, sizeof(chain.name)) && memchr(chain.line, 0, sizeof(chain.line)));
		for (const char *c = chain.line; *c; c++)
			expect((unsigned char)*c >= 0x20 && *c != 0x7f);
	}
	if (n)
		native__free(n);
	if (files)
		native_files__free(files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	made = data;
	made_size = size;
	check_ids(getpid());
	check_native(getpid());
	return 0;
}
