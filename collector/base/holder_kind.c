/* SPDX-License-Identifier: GPL-2.0-only */
/* See holder_kind.h. */
#include "holder_kind.h"

#include <string.h>

const char *holder_kind__name(enum holder_kind k)
{
	static const char *const names[HOLDER_KIND_COUNT] = {
#define X(id, name) [HOLDER_##id] = name,
		HOLDER_KINDS(X)
#undef X
	};

	return k < HOLDER_KIND_COUNT ? names[k] : "";
}

enum holder_kind holder_kind__by_name(const char *name)
{
	for (int k = HOLDER_UNKNOWN + 1; k < HOLDER_KIND_COUNT; k++)
		if (strcmp(name, holder_kind__name((enum holder_kind)k)) == 0)
			return (enum holder_kind)k;
	return HOLDER_UNKNOWN;
}

const char *holder_kind__words(enum holder_kind k)
{
	switch (k) {
	case HOLDER_ENDED:
		return "a thread that has ended without releasing it";
	case HOLDER_LEFT_BY_FORK:
		return "a thread of the parent process, left behind by fork";
	case HOLDER_GONE:
		return "a thread that is not in this process (it ended, or was left behind by fork)";
	default:
		return "";
	}
}

const char *holder_kind__remedy(enum holder_kind k)
{
	switch (k) {
	case HOLDER_ENDED:
		return "Only a restart helps this process. Find what ended the thread while it had the GIL: C code that calls "
		       "pthread_exit(), the exit system call, or ends its thread from a signal handler.";
	case HOLDER_LEFT_BY_FORK:
		return "Only a restart helps this process. C code of the parent calls fork() without the GIL and goes on in the "
		       "child: have it fork with the GIL (os.fork), execute a program at once, or use multiprocessing's "
		       "\"spawn\" or \"forkserver\".";
	case HOLDER_GONE:
		return "Only a restart helps this process. Look for C code that forks without the GIL, or ends a thread "
		       "that has it.";
	default:
		return "";
	}
}
