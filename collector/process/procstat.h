/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /proc/PID/stat and /proc/PID/status, of processes and of their threads: the only place that takes them apart. Both are the
 * kernel's own words and are there for everybody; what stands in them as a name is the target's, and may be anything.
 */
#ifndef GILSCOPE_PROCSTAT_H
#define GILSCOPE_PROCSTAT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct procstat {
	char state;
	pid_t parent; /* 0: outside of our PID namespace, or none */
	unsigned int flags;
	uint64_t start_ticks;
	uint64_t cpu_ticks, reaped_ticks; /* of CPU time: its own; that of children that it has waited for */
	int cpu; /* the one that it was on last */
	char comm[64]; /* as the target wants it: anything */
	uint64_t start_stack;
	uint64_t arg_start, arg_end; /* addresses of its arguments; 0 for those who may not see them */
	bool in_exec; /* the kernel has not put its arguments in place yet, or it is a kernel thread or has ended */
};

/* /proc/PID/stat, or that of one of its threads (`tid`, 0: none). 0, -ESRCH, -EINVAL (no such text) or -errno. */
int procstat__read(pid_t pid, pid_t tid, struct procstat *ret);

/* The parent of a process; 0: it has none here, or has ended. */
pid_t procstat__parent(pid_t pid);

/*
 * What a line of a status file says behind `key` ("\nNSpid:\t"), to the line's end. NULL: it has no such line, or has ended.
 * Free *ret_text, in which the answer lies, in either case. `tid` as above.
 */
char *procstat__status_line(pid_t pid, pid_t tid, const char *key, char **ret_text);

/* The first number behind `key`, in that base; 0 where there is none. */
uint64_t procstat__status_number(pid_t pid, pid_t tid, const char *key, int base);

/* An id as the kernel writes them; 0: it is none. */
pid_t procstat__id(const char *text);
pid_t procstat__status_id(pid_t pid, pid_t tid, const char *key);

#endif
