/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a process is called, by its command line, and where that says only that it works for another one (the helpers that
 * multiprocessing and loky start with `python3 -c`), by the program that it works for: "python3 app.py: spawned worker".
 * Reads small files of /proc.
 */
#include "target_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "collector/process/procstat.h"
#include "collector/process/theirs.h"
#include "label.h"

#define PARENTS_MAX 8 /* a pool's worker stands two below its program, one that starts pools of its own deeper */

/* What is told of one process by its own command line; `part` NULL: it is a program of its own. */
struct title {
	char label[128];
	const char *part;
};

static void read_title(pid_t pid, const char *comm, struct title *ret)
{
	char path[64], *text = NULL;
	size_t len = 0;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	err = theirs__slurp(pid, path, PROC_TEXT_MAX, &text, &len);
	ret->part = err ? NULL : label__part(text, len);
	if (err && err != -EFBIG)
		text__clean(ret->label, sizeof(ret->label), comm, strlen(comm));
	else
		label__from_cmdline(err ? "" : text, err ? 0 : len, comm, ret->label, sizeof(ret->label));
	free(text);
}

/* The program that started it, past others that work for the same. False: it has ended, or it is none of Python's. */
static bool find_program(pid_t pid, struct title *ret)
{
	char comm[32];

	for (int i = 0; i < PARENTS_MAX; i++) {
		pid = procstat__parent(pid);
		if (pid <= 1 || target__thread_comm(pid, pid, comm, sizeof(comm)))
			return false;
		read_title(pid, comm, ret);
		if (!ret->part)
			return strstr(ret->label, "python") || strstr(comm, "python");
	}
	return false;
}

/* Those that a fork server makes have its command line. */
static const char *part_of(pid_t pid, const char *part)
{
	struct title above;

	if (strcmp(part, LABEL_FORK_SERVER) != 0)
		return part;
	read_title(procstat__parent(pid), "", &above);
	return above.part && strcmp(above.part, LABEL_FORK_SERVER) == 0 ? LABEL_FORK_SERVER " worker" : part;
}

void target_label__read(pid_t pid, const char *comm, char *buf, size_t size)
{
	struct title own, program;
	const char *part;
	int room;

	read_title(pid, comm, &own);
	if (!own.part) {
		snprintf(buf, size, "%s", own.label);
		return;
	}
	part = part_of(pid, own.part);
	room = (int)(size - strlen(part) - sizeof(": "));
	snprintf(buf, size, "%.*s: %s", room > 0 ? room : 0, find_program(pid, &program) ? program.label : "python3", part);
}

void target_label__of_fork(char *label, size_t size)
{
	size_t len = strlen(label), server = strlen(LABEL_FORK_SERVER);

	if (len > server + 2 && strcmp(label + len - server - 2, ": " LABEL_FORK_SERVER) == 0)
		snprintf(label + len, size - len, " worker");
}
