/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was found out by looking at the process itself rather than by probes (holder_look.h, task_state.h), for screens and
 * JSON: who has the GIL since when and what it does, whether the process stands still. Pure.
 */
#ifndef GILSCOPE_STANDING_H
#define GILSCOPE_STANDING_H

#include <jansson.h>

#include "collector/series/holding.h"

/* What a thread does: {"state":"S","call":"futex","wchan":"..."}, as far as it is known. NULL: no memory. */
json_t *standing__task_json(const struct task_state *task);

/*
 * What is told of `h` (schema_holding.h); an empty object where there is nothing. NULL: no memory.
 */
json_t *standing__json(const struct holding *h);

#endif
