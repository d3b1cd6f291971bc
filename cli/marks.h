/* SPDX-License-Identifier: GPL-2.0-only */
/* Marks on the screen and in JSON. */
#ifndef GILSCOPE_MARKS_H
#define GILSCOPE_MARKS_H

#include <jansson.h>
#include <stdio.h>

#include "collector/schema/schema_marks.h"

/* "Marks:" and a line each; nothing where there is none. */
void marks__print(FILE *to, const struct schema_mark *list, size_t n);

/* Array of objects. NULL: no memory. */
json_t *marks__json(const struct schema_mark *list, size_t n);

#endif
