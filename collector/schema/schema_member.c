/* SPDX-License-Identifier: GPL-2.0-only */
/* See schema_member.h. */
#include "schema_member.h"

#include <errno.h>
#include <stdbool.h>

#define MAX_MEMBER (1024 * 1024)
#define MAX_LENGTH_US (2 * 3600e6) /* an interval has an hour at most, and may end late */

static bool has_possible_length(const json_t *member)
{
	const json_t *d = json_object_get(member, "d");
	double us = json_is_number(d) ? json_number_value(d) : d ? -1 : 0;

	return us >= 0 && us <= MAX_LENGTH_US;
}

int schema_member__parse(const char *text, size_t len, json_t **ret)
{
	/* Integers as reals: one that does not fit into 64 bits must not spoil the member. */
	const size_t flags = JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
	json_error_t error;
	json_t *member;

	if (len > MAX_MEMBER)
		return -EBADMSG;
	member = json_loadb(text, len, flags, &error);
	if (!member)
		return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
	if (!has_possible_length(member)) {
		json_decref(member);
		return -EBADMSG;
	}
	*ret = member;
	return 0;
}
