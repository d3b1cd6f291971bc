/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Starting a program of our own so that it can be observed from its first acquire on.
 *
 * A running target is never stopped; a child that gilscope itself starts may be: it is traced (ptrace) through exec and the
 * dynamic loader's mappings until the file with the interpreter is mapped, then let go for good.
 */
#ifndef GILSCOPE_SPAWN_H
#define GILSCOPE_SPAWN_H

#include <sys/types.h>

#include "reason.h"

/*
 * Starts argv as `run_as` (NULL: under sudo the invoking user, else unchanged), stopped at its exec. 0, -ENOENT (no such
 * program), -EACCES, -EINVAL (no such user), -errno. The child ends with gilscope only by itself.
 */
int spawn__start(char *const argv[], const char *run_as, pid_t *ret_pid, struct reason *why);

/*
 * Lets it run up to the point where its interpreter is mapped, across further execs. `signals` is a signalfd of ours with at
 * least SIGCHLD and SIGTERM; the latter goes on to the program. 0: it stands there. -ENOEXEC: it does not look like Python
 * (stopped too). -ECHILD: it ended meanwhile, *ret_status is its wait status.
 */
int spawn__to_interpreter(pid_t pid, int signals, int *ret_status, struct reason *why);

/* Ends the tracing; the program runs freely. */
void spawn__let_run(pid_t pid);

#endif
