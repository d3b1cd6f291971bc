/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The CPythons of this machine, found by looking: distribution, /usr/local and pyenv. And small things that tests of
 * the probe plan share: temporary files, copies, commands, processes that wait to be looked at.
 */
#ifndef GILSCOPE_TESTS_PYTHONS_H
#define GILSCOPE_TESTS_PYTHONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct python {
	char exe[PATH_MAX];
	char image[PATH_MAX]; /* the file with _PyRuntime: the executable itself or its libpython */
	int minor;
};

#define PYTHONS_MAX 32

/* Every interpreter of at least 3.`min_minor`; the number found. Fails the test if there is none at all. */
size_t pythons__find(struct python *ret, size_t max, int min_minor);

/*
 * Those of 3.8 and newer that `fit`, perhaps none: the parameters of a test that needs a certain kind. On a machine without
 * that kind the test does not exist, so that it is neither skipped nor passed.
 */
size_t pythons__find_some(struct python *ret, size_t max, bool (*fit)(const struct python *python));

struct child {
	pid_t pid;
	int stdin_fd;
	int stdout_fd;
};

/* Starts argv[0] with the extra environment NAME=VALUE (NULL: none) and waits for the line "ready" from it. */
void child__start(struct child *ret, char *const argv[], const char *env);
/* Waits for the next line of a child, which must be "ready". */
void child__wait_ready(const struct child *c);
/* A python that says ready and then waits: `exe -c ...`. */
void child__start_python(struct child *ret, const char *exe);
void child__stop(struct child *c);

/* A new directory under $TMPDIR, and its removal with everything in it. */
void temp_dir__make(char *buf, size_t size);
void temp_dir__remove(const char *dir);

/* Runs a shell command that must succeed. */
void must_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Reads a whole file; free() it. */
char *must_read(const char *path, size_t *ret_len);
void must_write(const char *path, const void *bytes, size_t len);

/* A descriptor on an unnamed file with these bytes. */
int memory_file(const void *bytes, size_t len);

/* Compiles C (or, with "-x assembler", assembly) source to a shared library at `path`. */
void must_compile(const char *path, const char *flags, const char *source);

#endif
