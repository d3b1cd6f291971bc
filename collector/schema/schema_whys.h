/* SPDX-License-Identifier: GPL-2.0-only */
/* Why holders slept or were stopped (whys.h), as "why" of a process's member: JSON in Redis and in --json. Pure. */
#ifndef GILSCOPE_SCHEMA_WHYS_H
#define GILSCOPE_SCHEMA_WHYS_H

#include <jansson.h>

#include "collector/base/json_text.h"
#include "collector/series/whys.h"

/*
 * Writes "why" and its list: {"why":"tracer","name":"py-spy","pid":4711,"us":1200}, {"why":"call","name":"futex","us":5},
 * {"why":"fault","us":7}; {"why":"rest","us":1}: further ones. What is less than 1 us is left out.
 */
void schema_whys__put(struct json_text *j, const struct whys *w);

/* The reverse, of any JSON or NULL (hostile input): what is no reason or has no time is left out. `ret` is overwritten. */
void schema_whys__get(const json_t *json, struct whys *ret);

#endif
