/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope itself as a process of its own, and a look at the breakpoints in a process's memory. The program is
 * $OUTPUT/gilscope. What fails here fails the test.
 */
#ifndef GILSCOPE_TESTS_TOOL_H
#define GILSCOPE_TESTS_TOOL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tool {
	pid_t pid;
	char out[64], err[64]; /* files that hold what it said */
};

/* Starts "gilscope WORD..." (words separated by blanks). */
void tool__start(struct tool *t, const char *words);

/* The same by way of another program ("setpriv ..."; NULL: none), in whose place gilscope runs in the end. */
void tool__start_under(struct tool *t, const char *under, const char *words);

/* Waits until its standard error contains `text`; fails the test after a minute. */
void tool__await(struct tool *t, const char *text);

/* Waits for its end: exit status, or 128 + signal. Kills it and fails the test after `seconds`. */
int tool__wait(struct tool *t, int seconds);

/* All that it has said so far; free() it. */
char *tool__stdout(const struct tool *t);
char *tool__stderr(const struct tool *t);

/*
 * Stops it, and the process that would lift its probes for that: it stands still for as long as it may take, and counts on in the
 * kernel. tool__thaw() has both go on.
 */
void tool__freeze(struct tool *t);
void tool__thaw(struct tool *t);

/* Stops it until its probes in that process are lifted for that, and waits until it has said so. */
void tool__stand_still(struct tool *t, pid_t observed);

/* Removes its files. */
void tool__clear(struct tool *t);

/* Start, wait, and the status in one. Output is left in `t`. */
int tool__run(struct tool *t, const char *words);

/* Runs gilscope to its end, which must be a good one: what it wrote, as JSON, to be decref'd. */
json_t *tool__json(const char *words);

/*
 * Sites of the interpreter in that process at which its memory differs from its file: planted breakpoints. The second
 * one waits until there are none (lifting takes a moment), 20 seconds at most.
 */
size_t breakpoints__count(pid_t pid);
size_t breakpoints__await_none(pid_t pid);

/* The same, for a process of which nothing but its code can be read later on: where its sites are is found out beforehand. */
struct breakpoints {
	pid_t pid;
	size_t n;
	struct {
		uint64_t at;
		uint8_t in_file;
	} sites[64];
};
void breakpoints__note(struct breakpoints *ret, pid_t pid);
size_t breakpoints__now(const struct breakpoints *b);

/*
 * Bytes in the executable mappings of that process that differ from the files behind them: 0, or somebody has planted
 * something. Unlike breakpoints__count() it asks for nothing to be Python, or 64-bit.
 */
size_t code__changed_bytes(pid_t pid);

/*
 * The same, once nothing differs or after a minute: another copy of the tests may observe the same files with their
 * children, and then its breakpoints are seen here.
 */
size_t code__await_unchanged(pid_t pid);

/* As code__changed_bytes(), of those mappings alone whose file's name ends in `name`; there must be one. */
size_t code__changed_bytes_of(pid_t pid, const char *name);

/*
 * Runs gilscope to its end like tool__run(), and meanwhile compares the code of process `pid` with its files over and over:
 * *ret_changed is the sum of what code__changed_bytes() found. Others that observe the same file would be seen, too: the process
 * should run files of its own.
 */
int tool__run_watching(struct tool *t, const char *words, pid_t pid, size_t *ret_changed);

#endif
