/* SPDX-License-Identifier: GPL-2.0-only */
/* See kin.h. */
#include "kin.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "collector/base/log.h"
#include "collector/base/text.h"
#include "collector/target/finder.h"
#include "collector/target/target.h"

#define LOOKED_AT 64 /* descendants: each costs a millisecond or so */
#define NAMED 4
#define LABELLED 2

static bool is_among(const pid_t *pids, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

static bool is_python(pid_t pid)
{
	struct reason why;
	struct target *t;

	if (target__open(pid, &t, &why))
		return false;
	target__close(t);
	return true;
}

/* The Pythons among the processes below `root` that are not among `pids`, the first of them as "PID" or "PID (label)". */
static size_t name_pythons(pid_t root, const pid_t *pids, size_t n, bool labels, char *named, size_t size)
{
	pid_t *kin = NULL;
	size_t kin_n = 0, found = 0;

	named[0] = '\0';
	if (finder__descendants(root, &kin, &kin_n))
		return 0;
	for (size_t i = 0; i < kin_n && i < LOOKED_AT; i++) {
		struct target *t;
		struct reason why;

		if (is_among(pids, n, kin[i]) || target__open(kin[i], &t, &why))
			continue;
		if (found++ < (labels ? LABELLED : NAMED))
			text__append(named, size, labels ? "%s%d (%.100s)" : "%s%d", named[0] ? ", " : "", (int)kin[i], t->label);
		target__close(t);
	}
	free(kin);
	return found;
}

/* What is no Python itself will be refused, with those below it: kin__explain(). */
static void mention_of(pid_t root, const pid_t *pids, size_t n, const char *advice)
{
	char named[NAMED * 16];
	size_t found = is_python(root) ? name_pythons(root, pids, n, false, named, sizeof(named)) : 0;

	if (found)
		log_info("process %d has %zu Python process%s below it, not looked at (%s%s): %s", (int)root, found,
			 found == 1 ? "" : "es", named, found > NAMED ? ", ..." : "", advice);
}

int kin__explain(pid_t pid, int err, struct reason *why)
{
	char named[LABELLED * 128];
	struct reason before = *why;
	size_t found = err == -ENOEXEC ? name_pythons(pid, NULL, 0, true, named, sizeof(named)) : 0;

	if (found)
		reason__set(why, err, "%.230s; below it %s: %s%s", before.text, found == 1 ? "there is one" : "there are some",
			    named, found > LABELLED ? ", ..." : "");
	return err;
}

void kin__mention(const pid_t *pids, size_t n, const char *advice)
{
	for (size_t i = 0; i < n; i++)
		mention_of(pids[i], pids, n, advice);
}
