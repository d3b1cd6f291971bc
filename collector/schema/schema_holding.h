/* SPDX-License-Identifier: GPL-2.0-only */
/* A hold that goes on, and a standstill (holding.h), as JSON: meta's `holding` in Redis, `holding` in --json. Pure. */
#ifndef GILSCOPE_SCHEMA_HOLDING_H
#define GILSCOPE_SCHEMA_HOLDING_H

#include <stddef.h>

#include "collector/series/holding.h"

#define SCHEMA_HOLDING_SIZE 1024 /* bytes of its text, the NUL included */

/*
 * An object of what there is to tell: held_by g tid name place state call wchan before lasted gone standstill tracer, and how
 * long it stood still as stopped, traced, frozen; durations in us. "{}" where there is nothing. malloc'd, caller frees; NULL:
 * no memory.
 */
char *schema_holding__encode(const struct holding *h);

/* The reverse, of any text (hostile input): what is missing or of the wrong type is unknown. */
void schema_holding__decode(const char *json, size_t len, struct holding *ret);

#endif
