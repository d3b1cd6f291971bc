/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One connection to a Redis server: URL, connect, TLS, AUTH, SELECT, deadline, backoff, reply classes.
 *
 * The only file besides sink_redis.c and query.c that sees hiredis. A context is never reconnected:
 * after an error it is freed and made anew (redisReconnect loses time-outs, AUTH and TLS). SIGPIPE must be
 * ignored by the program. Descriptors are close-on-exec.
 */
#ifndef GILSCOPE_REDIS_CONN_H
#define GILSCOPE_REDIS_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "reason.h"

struct redis_url {
	bool tls, is_unix;
	char host[256];
	int port;
	char path[108];          /* unix socket */
	int db;
	char user[128], password[512]; /* percent-decoded; "" = none */
	bool password_in_url;    /* was readable in argv: warn */
	char ca_file[4096], server_name[256]; /* TLS, optional */
};

/* redis://[user[:pass]@]host[:port][/db], rediss://, unix:///path[?db=N], or a bare /path.sock. 0 or -EINVAL. */
int redis_url__parse(const char *text, struct redis_url *ret, struct reason *why);

/*
 * Fills an empty password from, in this order: `password_file` (first line; NULL: none), GILSCOPE_REDIS_PASSWORD,
 * REDISCLI_AUTH. 0 or -errno (file not readable).
 */
int redis_url__find_password(struct redis_url *url, const char *password_file, struct reason *why);

/* The URL without its password, for messages. */
const char *redis_url__text(const struct redis_url *url, char *buf, size_t size);

/* Whether this build can do TLS. */
bool redis_conn__has_tls(void);

/* Connected, authenticated, database selected, PING answered; timeout_ms for each step. The context is a
 * redisContext *, freed with redisFree(). 0, -ECONNREFUSED ..., -EACCES (credentials), -EPROTONOSUPPORT (no TLS here). */
struct redisContext;
int redis_conn__open(const struct redis_url *url, int timeout_ms, struct redisContext **ret, struct reason *why);

enum redis_class {
	REDIS_OK,
	REDIS_TRANSIENT,  /* LOADING, BUSY, MASTERDOWN, ...: back off, send again */
	REDIS_CAPACITY,   /* OOM, MISCONF: long back-off, keep the data */
	REDIS_WRONG_NODE, /* READONLY, MOVED, ASK */
	REDIS_CREDENTIALS,/* NOAUTH, WRONGPASS, NOPERM */
	REDIS_KEY,        /* WRONGTYPE: this key only, skip and count */
	REDIS_BUG,        /* anything else: the command is wrong, drop and count */
};

/* Class of an error reply's text. */
enum redis_class redis_class__of(const char *error_text);

/* Next pause in ms: capped exponential with full jitter; `attempt` counts from 0. min 100 ms, cap 30 s (capacity: 1 s floor). */
int redis_backoff__ms(unsigned int attempt, enum redis_class cls, uint32_t random);

#endif
