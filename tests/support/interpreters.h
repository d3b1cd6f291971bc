/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every CPython 3.8+ of this machine that can be run: the distribution's, /usr/local, and what version
 * managers left (pyenv, uv, conda). Each is asked who it is, so nothing is guessed from names; two names of
 * one file count once. GILSCOPE_TEST_PYTHONS adds executables: PATH or ORIGIN=PATH, separated by colons.
 */
#ifndef GILSCOPE_TESTS_INTERPRETERS_H
#define GILSCOPE_TESTS_INTERPRETERS_H

#include <stdbool.h>
#include <stddef.h>

#define INTERPRETERS_MAX 32
#define INTERPRETER_PATH 256

/* Flat, so that it can be a Criterion parameter. */
struct interpreter {
	char exe[INTERPRETER_PATH];
	char image[INTERPRETER_PATH];        /* the mapped file that is CPython: exe itself or its libpython */
	char prefix[INTERPRETER_PATH];       /* where its library is: PYTHONHOME for a copy that lies elsewhere */
	char home[INTERPRETER_PATH];         /* PYTHONHOME it needs, "" : none */
	char library_path[INTERPRETER_PATH]; /* LD_LIBRARY_PATH it needs, "": none */
	char version[24];                    /* "3.11.2", "3.13.0t", "3.11.2d" */
	char origin[32];                     /* "Debian 12", "pyenv" ...: whose build it is */
	int minor;
	bool free_threaded;                  /* built without need of a GIL; runs with it all the same, unless ... */
	bool no_gil;                         /* ... the test sets this */
	bool stripped;                       /* a copy made by interpreter__strip() */
};

/* Fills `ret`, oldest version first; the number found. Fails the test if there is none. Takes about 50 ms each. */
size_t interpreters__find(struct interpreter *ret, size_t max);

/* Where `make deps` builds them; the directory need not be there. */
const char *interpreters__built_dir(void);

/*
 * Those that `make deps` has built to run without a GIL (build-free-threaded), and they do: 3.13 and 3.14, each plain and
 * stripped. The number; none where they could not be built.
 */
size_t interpreters__without_gil(struct interpreter *ret, size_t max);

/* The distribution's own, /usr/bin/python3. Fails the test if it is missing. */
void interpreter__stock(struct interpreter *ret);

/*
 * Makes a `strip --strip-all` copy in the existing directory `dir`: of the executable, and of libpython where there is
 * one. Fails the test if that does not work, or if the copy does not run from there.
 */
void interpreter__strip(const struct interpreter *in, const char *dir, struct interpreter *ret);

/* Sets in this process (a child about to exec) the environment that it needs. */
void interpreter__environment(const struct interpreter *in);

#endif
