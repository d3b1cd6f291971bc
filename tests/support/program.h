/* SPDX-License-Identifier: GPL-2.0-only */
/* Runs the program under test as a shell would, and keeps what it said. */
#ifndef GILSCOPE_TESTS_PROGRAM_H
#define GILSCOPE_TESTS_PROGRAM_H

struct program {
	int status;   /* as the shell's $? */
	char *out;    /* standard output */
	char *err;    /* standard error */
};

/*
 * Runs the shell command `fmt`, in which $GILSCOPE is the program; standard input is empty. Fails the test if it cannot
 * be run at all. Free with program__free().
 */
void program__run(struct program *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void program__free(struct program *p);

/* Path of the program. */
const char *program__path(void);

#endif
