/* SPDX-License-Identifier: GPL-2.0-only */
/* Why all of a process stands still, in words; task_look.h finds it out. Plain data. Pure. */
#ifndef GILSCOPE_STANDSTILL_H
#define GILSCOPE_STANDSTILL_H

/* Why all of a process stands still: X(identifier, name in JSON and Redis). */
#define STANDSTILLS(X) \
	X(NONE, "")            /* it does not, as far as is known */ \
	X(STOPPED, "stopped")  /* by a signal: SIGSTOP, SIGTSTP */ \
	X(TRACED, "traced")    /* a debugger or tracer holds it */ \
	X(FROZEN, "frozen")    /* its control group is */

enum standstill {
#define X(id, name) STANDSTILL_##id,
	STANDSTILLS(X)
#undef X
		STANDSTILL_COUNT,
};

const char *standstill__name(enum standstill s);
enum standstill standstill__by_name(const char *name); /* NONE for what is no name */

/* "is stopped by a signal (SIGSTOP)" ..., what follows "the process"; "" for NONE. */
const char *standstill__words(enum standstill s);

/* What sets it going again, an imperative; "" for NONE. */
const char *standstill__remedy(enum standstill s);

#endif
