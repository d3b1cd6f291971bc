/* SPDX-License-Identifier: GPL-2.0-only */
/* A member of a series as it comes from Redis: text that anybody may have written, taken apart and looked at. Pure. */
#ifndef GILSCOPE_SCHEMA_MEMBER_H
#define GILSCOPE_SCHEMA_MEMBER_H

#include <jansson.h>
#include <stddef.h>

/*
 * The member as JSON, numbers as reals; the caller's to json_decref(). 0, -EBADMSG (no JSON, absurdly long, or of a length of
 * time that no interval has: negative, or of hours), -ENOMEM.
 */
int schema_member__parse(const char *text, size_t len, json_t **ret);

#endif
