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

/* Its text, as FUNCTION LOAD takes it; not terminated. */
const char *redis_functions__text(size_t *ret_len);

/*
 * Version of the library on the server, 0 where there is none; `why` then has the server's words. 0 or the error of
 * redis_conn__exchange(), after which the connection is good for nothing.
 */
int redis_functions__version(struct redisContext *c, int timeout_ms, int wake_fd, unsigned int *ret, struct reason *why);

/*
 * Loads the library unless the server has this version or a later one. That the server refuses (a version before 7.0,
 * an ACL, a replica) is no error: `why` has its words, "" if there is nothing to say. Errors as above.
 */
int redis_functions__load(struct redisContext *c, int timeout_ms, int wake_fd, struct reason *why);

#endif
