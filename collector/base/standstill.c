/* SPDX-License-Identifier: GPL-2.0-only */
/* See standstill.h. */
#include "standstill.h"

#include <string.h>

const char *standstill__name(enum standstill s)
{
	static const char *const names[STANDSTILL_COUNT] = {
#define X(id, name) [STANDSTILL_##id] = name,
		STANDSTILLS(X)
#undef X
	};

	return s < STANDSTILL_COUNT ? names[s] : "";
}

enum standstill standstill__by_name(const char *name)
{
	for (int s = STANDSTILL_NONE + 1; s < STANDSTILL_COUNT; s++)
		if (strcmp(name, standstill__name((enum standstill)s)) == 0)
			return (enum standstill)s;
	return STANDSTILL_NONE;
}

const char *standstill__words(enum standstill s)
{
	static const char *const words[STANDSTILL_COUNT] = {
		[STANDSTILL_NONE] = "",
		[STANDSTILL_STOPPED] = "is stopped by a signal (SIGSTOP)",
		[STANDSTILL_TRACED] = "is stopped by a tracer (ptrace)",
		[STANDSTILL_FROZEN] = "is frozen (its control group is)",
	};

	return words[s];
}

const char *standstill__remedy(enum standstill s)
{
	static const char *const words[STANDSTILL_COUNT] = {
		[STANDSTILL_NONE] = "",
		[STANDSTILL_STOPPED] = "Find who stopped it (Ctrl-Z, a supervisor, a checkpoint), or continue it: kill -CONT.",
		[STANDSTILL_TRACED] = "Have the tracer (TracerPid in its /proc status) continue or detach it.",
		[STANDSTILL_FROZEN] = "Thaw its control group (cgroup.freeze; a paused container: unpause it).",
	};

	return words[s];
}
