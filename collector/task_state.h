/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a thread does, and whether its process stands still, as the small files of /proc tell at one moment: no probe, nothing
 * is stopped. Each file is read once and bounded; what can't be read is unknown. Pure. Next: holder_look.h, which asks it of a
 * holder.
 */
#ifndef GILSCOPE_TASK_STATE_H
#define GILSCOPE_TASK_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TASK_WORDS_SIZE 40

/* One thread at one moment. */
struct task_state {
	char letter;       /* of /proc/PID/stat: R S D T t Z X ...; 0: not known */
	bool timed;        /* the times are known */
	uint64_t cpu_ns;   /* it had a CPU for so long, */
	uint64_t delay_ns; /* and waited for one; a wait that goes on is not in it yet (kernel/sched/stats.h, sched_info) */
	uint64_t slept;    /* voluntary context switches */
	char call[TASK_WORDS_SIZE];  /* it is blocked in: "futex", "system call 999"; "": none, or not known */
	char wchan[TASK_WORDS_SIZE]; /* the kernel's function that it sleeps in; "": not known. Cleaned */
};

/* 0, -ESRCH (it is gone) or -errno. */
int task_state__read(pid_t pid, pid_t tid, struct task_state *ret);

/* What a system call of this machine is called, into `buf`: "futex"; of those that seldom block "system call 999". */
void task_state__call_name(long number, char *buf, size_t size);

/* It neither runs nor wants to: asleep, stopped, traced. */
static inline bool task_state__is_off(const struct task_state *s)
{
	return s->letter && s->letter != 'R';
}

#define TASK_DOING_SIZE (2 * TASK_WORDS_SIZE + 40)

/* "asleep in futex (futex_wait_queue)", "stopped"; "" while it runs, or wants to, or where nothing is known. Returns buf. */
const char *task_state__words(const struct task_state *s, char buf[TASK_DOING_SIZE]);

/* What a thread did between two looks, ns. The parts add up to the time between them. */
struct task_spent {
	uint64_t on_ns, asleep_ns, delay_ns, unknown_ns;
};

/* Between `from` and `to`, `len_ns` later; both are the same thread's. */
struct task_spent task_state__spent(const struct task_state *from, const struct task_state *to, uint64_t len_ns);

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

/*
 * Whether every thread of the process stands still (at most 64 are looked at). *ret_tracer: the process that traces it, 0:
 * none, or not known.
 */
enum standstill standstill__of(pid_t pid, pid_t *ret_tracer);

#endif
