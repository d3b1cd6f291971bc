/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Starting a program of our own so that it can be observed from its first acquire on.
 *
 * A running target is never stopped; a child that gilscope itself starts may be: it is traced (ptrace) through exec and the
 * dynamic loader's mappings until the file with the interpreter is mapped, then let go for good.
 */
#ifndef GILSCOPE_SPAWN_H
#define GILSCOPE_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "collector/base/reason.h"

/* At the very beginning: a program is started with the dispositions and the mask of signals that gilscope itself found. */
void spawn__remember_signals(void);

struct spawn;

/*
 * Makes the process that is to become argv, as `run_as` (NULL: under sudo the invoking user, else unchanged), and waits in it:
 * rights and limits are those of this moment, whatever gilscope gives up afterwards. `argv` must stay. 0, -EINVAL (no such
 * user), -errno. It ends with gilscope unless it was started.
 */
int spawn__prepare(char *const argv[], const char *run_as, struct spawn **ret, struct reason *why);

/* Whether signals for it take CAP_KILL. */
bool spawn__is_others(const struct spawn *spawn);

/* Executes argv; it stands stopped at its exec. 0, -ENOENT (no such program), -EACCES, -errno. It ends by itself alone then. */
int spawn__start(struct spawn *spawn, pid_t *ret_pid, struct reason *why);

/* What was not started ends. */
void spawn__free(struct spawn *spawn);

/*
 * Lets it run up to the point where its interpreter is mapped, across further execs. `signals` is a signalfd of ours with at
 * least SIGCHLD and SIGTERM; the latter goes on to the program. 0: it stands there. -ENOEXEC: it does not look like Python
 * (stopped too). -ECHILD: it ended meanwhile, *ret_status is its wait status.
 */
int spawn__to_interpreter(pid_t pid, int signals, int *ret_status, struct reason *why);

/* Ends the tracing; the program runs freely. */
void spawn__let_run(pid_t pid);

#endif
