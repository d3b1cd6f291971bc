/* SPDX-License-Identifier: GPL-2.0-only */
/* What attach --json and run --json write: an object per interval, then the summary. What fails here fails the test. */
#ifndef GILSCOPE_TESTS_JSON_LINES_H
#define GILSCOPE_TESTS_JSON_LINES_H

#include <jansson.h>

/* All objects as an array, the summary last; json_decref() it. */
json_t *json_lines__parse(const char *text);

/* The summary, which must be the last. Borrowed. */
const json_t *json_lines__summary(const json_t *lines);

/* A number found by its path "process.n". */
json_int_t json__int(const json_t *object, const char *path);

/* The row of the thread with that name, or NULL. Borrowed. */
const json_t *json__thread(const json_t *row, const char *name);

#endif
