/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files of a process under observation, those of /proc among them, as errands (errand.h): a path of theirs may lead to a file
 * system whose server does not answer, and so may what /proc says of a process in the middle of an exec.
 *
 * A descriptor of such a file is none to have: closing it may wait for its server, too, and with it whoever ends. Of a file that
 * is not known to be safe (a disk's, memory's, our own root's) the caller gets a descriptor that only names it (O_PATH). That
 * does for its identity and for probes; its content is a copy in memory (theirs__content()). Pure.
 */
#ifndef GILSCOPE_THEIRS_H
#define GILSCOPE_THEIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/*
 * Reads a file of process `pid` in /proc, at most `max` bytes; free() it. 0, -EFBIG (more than that), -ETIMEDOUT or another
 * -errno.
 */
int theirs__slurp(pid_t pid, const char *path, size_t max, char **ret, size_t *ret_len);

/* The first line of one, without its newline, into `line`; what does not fit is cut off. 0 or -errno, and `line` is "". */
int theirs__line(pid_t pid, const char *path, char *line, size_t size);

/* stat() of a path that leads to a file of theirs, by way of /proc/PID. */
int theirs__stat(pid_t pid, const char *path, struct stat *ret);

/*
 * Opens a regular file, and nothing else (regular.h). `pid`: whose it is, 0: only a name is known. A descriptor for reading, or
 * one that only names the file; -ENOEXEC (no regular file), -errno.
 */
int theirs__open(pid_t pid, const char *path, struct stat *ret_st);

/* The same beneath a directory, as regular__look_in() finds it. */
int theirs__open_in(int root, const char *path, struct stat *ret_st);

/* fstat() that asks no server: what was known of the file when it was opened. 0 or -errno. */
int theirs__fstat(int fd, struct stat *ret);

/* Whether a descriptor only names a file: whose, its owner does not say then, since the server makes that up, too. */
bool theirs__is_only_named(int fd);

/* Whether somebody other than root and us made the file, or may change it: what is in it is not to be trusted to be short. */
bool theirs__is_foreign(int fd);

/*
 * A descriptor to read a file's content from, the caller's: the same file, or a copy in memory of one that is only named (at most
 * 256 MiB). -errno.
 */
int theirs__content(int fd);

#endif
