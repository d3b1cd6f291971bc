/* SPDX-License-Identifier: GPL-2.0-only */
/* What `gilscope compare` has found, and how it is put on paper. */
#ifndef GILSCOPE_COMPARE_H
#define GILSCOPE_COMPARE_H

#include <jansson.h>
#include <stdio.h>

#include "collector/analysis/change.h"
#include "compare_side.h"

enum compared_of {
	COMPARED_PROCESS,
	COMPARED_POOL, /* of threads; one alone is one, too */
	COMPARED_CODE,
};

enum compared_unit {
	COMPARED_SHARE, /* 0..1 and above */
	COMPARED_US,
	COMPARED_NUMBER,
};

struct compared {
	enum compared_of of;
	enum compared_unit unit;
	const char *key;           /* for JSON */
	const char *words;         /* "waits": what the pool or function does; of the process: "the GIL is busy" */
	char name[SIDE_NAME_SIZE]; /* of the pool or function; "" */
	struct change change;
};

struct comparison {
	struct compare_side sides[2]; /* before, after */
	struct compared *list;        /* all that was looked at */
	size_t n, room;
};

/* Sentences, and a table of what changed and what of the process did not. */
void compare__print(const struct comparison *c, FILE *to, size_t width);

/* The same in at most 60 lines of Markdown. */
void compare__markdown(const struct comparison *c, FILE *to);

/* All of it. NULL: no memory. */
json_t *compare__json(const struct comparison *c);

#endif
