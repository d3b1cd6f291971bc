/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file that gilscope was told to write. It gets a new inode that takes over the name, in the directory that has it: a link of
 * that name is replaced and not followed, and what was there keeps its bytes and its mode. What somebody else planted in a
 * directory where others may write is refused. What is no regular file (a device, a pipe, /dev/stdout) is written to as it is.
 */
#ifndef GILSCOPE_OUTFILE_H
#define GILSCOPE_OUTFILE_H

#include <limits.h>
#include <stdio.h>

#include "collector/base/reason.h"

#define OUTFILE_BESIDE ".gilscope.XXXXXX"

/* Zeroed: none. */
struct outfile {
	FILE *to;                  /* NULL: not open */
	const char *option, *path; /* for sentences; the caller's */
	/* While it has another name beside the one that it gets: */
	int dir;                   /* the directory of both, owned */
	char name[NAME_MAX + 1];
	char beside[sizeof(OUTFILE_BESIDE)]; /* "": it has its name, or is written in place */
};

/* There whole or not at all: outfile__keep() gives it its name. 0, or -errno with "option: path: why". */
int outfile__open(struct outfile *f, const char *option, const char *path, struct reason *why);

/* The same, but it has its name at once: somebody may read along. */
int outfile__open_stream(struct outfile *f, const char *option, const char *path, struct reason *why);

/* Closes it and gives it its name. 0, or -errno with the sentence: there is no new file then. */
int outfile__keep(struct outfile *f, struct reason *why);

/* Closes it and takes it away unless it has its name; one that is kept or was never opened is left alone. */
void outfile__drop(struct outfile *f);

#endif
