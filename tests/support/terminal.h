/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope on a terminal that can be looked at and typed on: a tmux server of the test's own, on a socket in a temporary
 * directory. It dies with the test, and so does what runs in it.
 *
 * What goes wrong here fails the test; where tmux is missing, it is skipped.
 */
#ifndef GILSCOPE_TESTS_TERMINAL_H
#define GILSCOPE_TESTS_TERMINAL_H

#include <stdbool.h>
#include <sys/types.h>

struct terminal {
	char dir[64];
	pid_t server;
	bool one_page;  /* of a kind that has no second page: what stood there before does not come back */
	char *page;     /* what was seen last */
};

/*
 * Runs "gilscope WORD..." in a shell on a terminal of that size. `env`: further environment as a shell writes it ("TERM=vt100"),
 * NULL: none.
 */
void terminal__start(struct terminal *t, int columns, int lines, const char *env, const char *words);

/* What is on the screen: lines without the blanks at their ends. Valid until the next look. */
const char *terminal__look(struct terminal *t);

/* Whether anything on the screen has a colour of its own. */
bool terminal__is_coloured(struct terminal *t);

/* Looks until the text is there, or is not; fails the test after a minute. */
void terminal__await(struct terminal *t, const char *text);
void terminal__await_gone(struct terminal *t, const char *text);

/* Keys as tmux calls them: "j", "Enter", "C-c". */
void terminal__type(struct terminal *t, const char *keys);

void terminal__resize(struct terminal *t, int columns, int lines);

/* PID of gilscope in it, as soon as there is one. */
pid_t terminal__pid(struct terminal *t);

/*
 * Waits until gilscope has ended; its exit status as the shell saw it. The terminal must be as it was: settings, cursor, and
 * what stood on it before.
 */
int terminal__end(struct terminal *t);

/* Ends the server and removes the directory. */
void terminal__close(struct terminal *t);

#endif
