/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The function library for readers of the history (dashboards/lua/gilscope.lua), which this program carries and brings to
 * the server that it writes to. A convenience: nothing that gilscope does itself needs it.
 */
#ifndef GILSCOPE_REDIS_FUNCTIONS_H
#define GILSCOPE_REDIS_FUNCTIONS_H

#include "redis_conn.h"

/* Version of the library in this program. */
unsigned int redis_functions__own_version(void);

/* Its text, as FUNCTION LOAD takes it, for tests; not terminated. */
const char *redis_functions__text(size_t *ret_len);

/* What the server has under the library's name. */
enum functions_found {
	FUNCTIONS_NONE,
	FUNCTIONS_OURS,    /* byte for byte */
	FUNCTIONS_OLDER,   /* to be replaced by ours */
	FUNCTIONS_FOREIGN, /* a later version, ours with another text, or one that names no version: nobody of ours calls it */
	FUNCTIONS_UNKNOWN, /* the server does not tell: a version before 7.0, an ACL */
};

/*
 * Looks at the library's text; none of it is called, since anybody may have written it. `why` has a sentence about FOREIGN, the
 * server's words for UNKNOWN. 0 or the error of redis_conn__exchange(), after which the connection is good for nothing.
 */
int redis_functions__look(struct redisContext *c, int timeout_ms, int wake_fd, enum functions_found *ret, struct reason *why);

/*
 * The same, and loads the library where there is none or an older one; *ret is what was there before. That the server refuses
 * (a replica, an ACL) is no error: `why` has its words, "" if there is nothing to say. Errors as above.
 */
int redis_functions__load(struct redisContext *c, int timeout_ms, int wake_fd, enum functions_found *ret, struct reason *why);

#endif
