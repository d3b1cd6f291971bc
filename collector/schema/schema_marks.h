/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Marks: what somebody wrote beside the samples, "release 1.4.2". One sorted set for all processes, gil:marks, and one for those
 * of a single process. The score is the time; the member is JSON, or, as redis-cli writes it by hand, the bare text. Pure.
 */
#ifndef GILSCOPE_SCHEMA_MARKS_H
#define GILSCOPE_SCHEMA_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schema.h"

#define SCHEMA_MARKS "marks"
#define SCHEMA_MARKS_MAX 1000        /* of a process; of all processes so many are read */
#define SCHEMA_MARKS_KEPT_S 2592000  /* 30 days */
#define SCHEMA_MARK_TEXT 200         /* bytes */
#define SCHEMA_COUNT_NAME 64

struct schema_mark {
	int64_t t_ms;
	bool of_process;               /* else of all */
	char text[SCHEMA_MARK_TEXT + 1]; /* cleaned, not empty */
	char count_name[SCHEMA_COUNT_NAME + 1]; /* of a counter that stood at `count` then; "": none was given */
	double count;
};

/* Appends what writes a mark of the process `id`, or of all (NULL). 0 or -ENOMEM. */
int schema_mark__put(struct batch *b, const char *prefix, const char *id, const struct schema_mark *mark);

/* Reads a member (hostile input) with its score. 0, -EBADMSG, -ENOMEM. */
int schema_mark__decode(const char *member, size_t len, double score, struct schema_mark *ret);

#endif
