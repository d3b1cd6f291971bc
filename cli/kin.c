/* SPDX-License-Identifier: GPL-2.0-only */
/* See kin.h. */
#include "kin.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "../collector/finder.h"
#include "../collector/log.h"
#include "../collector/target.h"
#include "../collector/text.h"

#define LOOKED_AT 64 /* descendants: each costs a millisecond or so */
#define NAMED 4

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

static void mention_of(pid_t root, const pid_t *pids, size_t n, const char *advice)
{
	pid_t *kin = NULL;
	size_t kin_n = 0, found = 0;
	char named[NAMED * 16] = "";

	if (finder__descendants(root, &kin, &kin_n))
		return;
	for (size_t i = 0; i < kin_n && i < LOOKED_AT; i++) {
		if (is_among(pids, n, kin[i]) || !is_python(kin[i]))
			continue;
		if (found++ < NAMED)
			text__append(named, sizeof(named), "%s%d", named[0] ? ", " : "", (int)kin[i]);
	}
	if (found)
		log_info("process %d has %zu Python process%s below it, not looked at (%s%s): %s", (int)root, found,
			 found == 1 ? "" : "es", named, found > NAMED ? ", ..." : "", advice);
	free(kin);
}

void kin__mention(const pid_t *pids, size_t n, const char *advice)
{
	for (size_t i = 0; i < n; i++)
		mention_of(pids[i], pids, n, advice);
}
