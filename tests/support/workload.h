/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Starts the programs of tests/workloads/ and talks with them as their head comment says: ready, go, truth, quit.
 *
 * What goes wrong here fails the test that called. A workload dies with its test. Tests run in the repository's root.
 */
#ifndef GILSCOPE_TESTS_WORKLOAD_H
#define GILSCOPE_TESTS_WORKLOAD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "interpreters.h"

struct workload {
	pid_t pid;
	int in;          /* its standard input */
	int out;         /* its standard output */
	char *heard;     /* bytes read and not yet taken, NUL-terminated */
	size_t heard_len;
	json_t *truth;   /* NULL until workload__truth() */
	bool not_ours;   /* no child of this process: somebody else collects it */
};

/* Starts "SCRIPT ARG..." (words separated by blanks) and waits for its `ready`. Extra environment: setenv() before. */
void workload__start(struct workload *w, const struct interpreter *in, const char *command);

/* The same, but does not wait: workload__await_ready() does. */
void workload__spawn(struct workload *w, const struct interpreter *in, const char *command);
void workload__await_ready(struct workload *w);

/*
 * Starts any program that talks like a workload, argv[0] looked up in PATH, in new `namespaces` (CLONE_NEW... or 0). `enter`
 * (NULL: nothing) is called in the child before. Does not wait. In a PID namespace of its own it says `ready` with the id
 * that it has there: hear that line instead of workload__await_ready().
 */
void workload__spawn_program(struct workload *w, int namespaces, char *const argv[], void (*enter)(void *arg), void *arg);

/* Takes up the talk with somebody else's child on a connected socket, which it owns from now on: hears `ready`. */
void workload__adopt(struct workload *w, int channel);

/* Sends a line: "go", "pause". */
void workload__say(struct workload *w, const char *line);
void workload__go(struct workload *w);

/* Lets "long_hold.py told" begin its hold, which lasts until the next workload__go(); returns when it has begun. */
void workload__hold(struct workload *w);

/* The next line it says, without the newline; free() it. Fails the test at its end, or after a minute of silence. */
char *workload__hear(struct workload *w);

/* Says a line; the next line it says is JSON, which is the caller's. */
json_t *workload__ask(struct workload *w, const char *line);

/* Waits for the line of truth; the object is the workload's, and stays valid until workload__quit() or workload__kill(). */
json_t *workload__truth(struct workload *w);

/* What truth says of the thread with that name. Fails the test if there is none. */
json_t *workload__thread(struct workload *w, const char *name);

/* A number in an object of truth. Fails the test if it is not there. */
long long truth__int(json_t *object, const char *field);

/* Ends it with `quit` and asserts that it ends well. */
void workload__quit(struct workload *w);

/* Ends it with SIGKILL; harmless where it has ended already. */
void workload__kill(struct workload *w);

#endif
