/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Thread names as Python knows them, read from the target's memory and cached.
 *
 * The way: interpreter -> modules -> "threading" -> _active, a dict {ident: Thread} -> the Thread's attribute _name. The ident
 * is pthread_self(), which the thread states carry too. Nothing is executed in the target and nothing waits for it, so
 * whatever is found may be torn, freed or a lie: every length is bounded and every object's type compared. A thread whose
 * name cannot be had for certain has none here; what it is called then (the kernel's comm) is the caller's business.
 */
#ifndef GILSCOPE_PYNAMES_H
#define GILSCOPE_PYNAMES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/base/thread_name.h"
#include "collector/cpython/pyver.h"

#define PYNAMES_PERIOD_NS 3000000000ull /* names are read again after this time */
#define PYNAMES_GAP_NS     500000000ull /* or after this one, for a thread that the last reading does not know */

/* What one reading found of a thread state. */
struct pythread {
	uint64_t tstate;             /* address of its PyThreadState */
	uint64_t ident;              /* pthread_self(), threading.get_ident() */
	pid_t tid;                   /* as the target's PID namespace counts; 0: not known */
	uint32_t order;              /* place in the interpreter's list: the newest stands first */
	char name[THREAD_NAME_SIZE]; /* cleaned; "" where Python has none */
};

struct pynames;

/*
 * For a process whose _PyRuntime stands at `runtime`; `off` is copied. Reads nothing yet. 0 or -ENOMEM. Where the layout of
 * objects is not known (off->interp_modules), no thread is ever named.
 */
int pynames__new(pid_t pid, uint64_t runtime, const struct pyoffsets *off, struct pynames **ret);
void pynames__free(struct pynames *n);

/*
 * Name of the thread, or NULL; valid until the next call. It is found by its thread state where that is known (not 0), else by
 * `tid`, counted as this process counts, not as the target may. `now_ns` and `start_ns` (the thread's start) are CLOCK_BOOTTIME:
 * a thread younger than the last reading has nothing to do with what was read of an older one under its id. Reads anew when it
 * is time.
 */
const char *pynames__find(struct pynames *n, uint64_t now_ns, pid_t tid, uint64_t tstate, uint64_t start_ns);

/*
 * Reads everything now. 0, or an error with the last names kept: -EFAULT or -EINVAL (torn each time), -ENOTSUP (unknown
 * layout), -ESRCH, -EPERM, -ENOMEM.
 */
int pynames__refresh(struct pynames *n, uint64_t now_ns);

/* All that the last reading found, sorted by `tstate`. */
const struct pythread *pynames__all(const struct pynames *n, size_t *ret_n);

#endif
