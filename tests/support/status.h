/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel says of a process's or thread's rights (/proc/.../status, limits). What fails here fails the test. */
#ifndef GILSCOPE_TESTS_STATUS_H
#define GILSCOPE_TESTS_STATUS_H

#include <stdint.h>
#include <sys/types.h>

struct status {
	char name[32];
	uid_t uid;         /* the effective one */
	uint64_t inherited, permitted, effective, bounding, ambient;
	int no_new_privs;
	long long core_limit; /* hard; -1: none */
};

/* Of a thread; tid == pid: the process. */
void status__read(pid_t pid, pid_t tid, struct status *ret);

/* The child of that name (the kernel's, comm); 0: there is none. */
pid_t status__child(pid_t pid, const char *name);

/* Who listens on a unix socket; 0: nobody. */
pid_t status__listener(const char *socket_path);

#endif
