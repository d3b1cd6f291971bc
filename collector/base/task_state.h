/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a thread does at one moment, and what it did between two of them, in words. Plain data; task_look.h reads it. Pure.
 */
#ifndef GILSCOPE_TASK_STATE_H
#define GILSCOPE_TASK_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

#endif
