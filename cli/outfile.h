/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file that is there whole or not at all: written under another name beside it, renamed at the end. What is no regular file (a
 * device, a pipe) is written to as it is.
 */
#ifndef GILSCOPE_OUTFILE_H
#define GILSCOPE_OUTFILE_H

#include <limits.h>
#include <stdio.h>

#include "../collector/reason.h"

/* Zeroed: none. */
struct outfile {
	FILE *to;            /* NULL: not open */
	const char *option, *path; /* for sentences; the caller's */
	char beside[PATH_MAX];     /* "": written in place */
};

/* 0, or -errno with "option: path: why". */
int outfile__open(struct outfile *f, const char *option, const char *path, struct reason *why);

/* Closes it and gives it its name. 0, or -errno with the sentence: there is no new file then. */
int outfile__keep(struct outfile *f, struct reason *why);

/* Closes it and takes it away; one that is kept or was never opened is left alone. */
void outfile__drop(struct outfile *f);

#endif
