/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What of a process can be read with the rights that we have, found out by trying, and what more it would take. The kernel's
 * rules for reading memory (ptrace_may_access() with PTRACE_MODE_ATTACH: kernel/ptrace.c, security/commoncap.c, security/yama)
 * are told from what stands in /proc; what a security module adds to them nobody can see.
 */
#ifndef GILSCOPE_REACH_H
#define GILSCOPE_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum reach_way {
	REACH_NOT,   /* its memory can't be read */
	REACH_FILE,  /* by /proc/PID/mem alone: the system call is refused, as sandboxes do */
	REACH_CALL,  /* by process_vm_readv() */
};

struct reach {
	enum reach_way memory;
	bool times;  /* the states and the CPU time of its threads (stat, schedstat) */
};

/* Tries, on a word of its memory. It may be gone: nothing can be read then. Goes on an errand (errand.h). */
struct reach reach__try(pid_t pid);

/*
 * What keeps its memory from being read, and what would help, in sentences; "" if nothing is known of that. Always terminated;
 * returns buf.
 */
#define REACH_NEEDS_SIZE 512
const char *reach__needs(pid_t pid, char buf[REACH_NEEDS_SIZE]);

/* What is read for that; yama_scope 0 where there is no Yama. */
struct reach_facts {
	uid_t ours, theirs[3];     /* real; real, effective and saved */
	gid_t our_group, their_groups[3];
	bool dumpable;
	unsigned long long our_caps, their_caps; /* permitted */
	bool may_ptrace;           /* we have CAP_SYS_PTRACE in force */
	int yama_scope;
	bool is_below;             /* it descends from us */
};

/* The same of such facts; for tests without such a process. */
const char *reach_facts__needs(const struct reach_facts *facts, char buf[REACH_NEEDS_SIZE]);

#endif
