/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file system of one file that stops answering when it is told to: FUSE, spoken to the kernel without a library by a child
 * process. It lies in a mount namespace of the test's own. When the child ends, however that comes about, the kernel gives the
 * connection up, and whoever waits for an answer gets an error. What goes wrong here fails the test.
 */
#ifndef GILSCOPE_TESTS_STUCK_FILES_H
#define GILSCOPE_TESTS_STUCK_FILES_H

#include <limits.h>
#include <sys/types.h>

struct stuck_files {
	pid_t server;
	int orders;
	char dir[64];
	char file[80]; /* its only file: executable, with the content of another */
};

/* Mounts it on the empty directory `dir`; its file has the content of `source`. */
void stuck_files__mount(struct stuck_files *s, const char *dir, const char *source);

/* From here on no READ is answered; with `all`, nothing is, and the pages that the kernel has of the file are dropped. */
void stuck_files__stall(struct stuck_files *s, int all);

/* Ends it; who waits is let go. Harmless where it has ended, or was never mounted (zeroed). */
void stuck_files__end(struct stuck_files *s);

#endif
