/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /proc/PID/maps as text: read it whole, take it apart line by line. Pure but for the reading.
 *
 * Path names in it are the target's choice: they may hold anything but NUL, with newlines written as "\012".
 */
#ifndef GILSCOPE_PROCMAPS_H
#define GILSCOPE_PROCMAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCMAPS_MAX (64u << 20) /* bytes of maps read; 64 MiB are some 500,000 mappings */

struct proc_map {
	uint64_t start, end;
	uint64_t offset;   /* in the file */
	uint64_t dev;      /* as makedev() packs it */
	uint64_t ino;      /* 0: no file */
	bool exec, write;
	bool shared;       /* what is written goes to the file */
	const char *path;  /* inside the line, not terminated */
	size_t path_len;
};

/* Takes one line apart (with or without its newline). 0 or -EINVAL. */
int procmaps__parse(const char *line, size_t len, struct proc_map *ret);

/* Next line of `text`: its length with the newline; 0 at the end. */
size_t procmaps__line_len(const char *text, size_t len);

/* Reads a whole file of /proc, at most `max` bytes; free() it. 0, -EFBIG (more than that), -errno. */
int procmaps__slurp(const char *path, size_t max, char **ret, size_t *ret_len);

/*
 * Whether a process executes a file with that inode number; false, too, where its mappings can't be read (or are more than
 * 8 MiB of text). It may wait for as long as the process likes: for errands alone (errand.h).
 */
bool procmaps__execute(pid_t pid, uint64_t ino);

/*
 * The path of a maps line, as it stands or with "\012" turned back into newlines (the kernel does not mark which of the
 * two a name was). 0 or -ENAMETOOLONG.
 */
int procmaps__path(const struct proc_map *map, bool newlines, char *buf, size_t size);

#endif
