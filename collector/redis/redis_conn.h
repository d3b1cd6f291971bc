/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One connection to a Redis server: URL, connect, TLS, AUTH, SELECT, deadline, backoff, reply classes.
 *
 * Besides sink_redis.c, redis_server.c, redis_functions.c and query*.c the only file that sees hiredis; URL, classes and
 * backoff are the pure half, in redis_url.c. A context is never reconnected: after an error it is freed and made anew
 * (redisReconnect loses time-outs, AUTH and TLS). SIGPIPE must be ignored or blocked by the caller's thread. Descriptors are
 * close-on-exec.
 */
#ifndef GILSCOPE_REDIS_CONN_H
#define GILSCOPE_REDIS_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/base/reason.h"

#define REDIS_NODES_MAX 9

struct redis_node {
	char host[256];
	int port;
};

struct redis_url {
	bool tls, is_unix;
	char host[256];
	int port;
	/* Not "": the master that these sentinels call so is meant, and `host` and `port` are set for each connection. */
	char service[128];
	bool cluster;            /* these nodes know who has which key; `host` and `port` are of the one that is connected to */
	struct redis_node nodes[REDIS_NODES_MAX];
	int nodes_n;
	char sentinel_user[128], sentinel_password[512]; /* for them; "" = none */
	char path[108];          /* unix socket */
	bool peer_known;         /* then nobody is talked to there but a process of user `peer` */
	unsigned int peer;
	int db;
	char user[128], password[512]; /* percent-decoded; "" = none */
	bool password_in_url;    /* was readable in argv: warn */
	/* TLS, "": the system's certificates, none of our own, the host's name */
	char ca_file[1024], cert_file[1024], key_file[1024], server_name[256];
};

/*
 * redis://[user[:pass]@]host[:port][/db], rediss://, unix:///path[?db=N], or a bare /path.sock; valkey:// and valkeys:// are the
 * first two by other names. Behind a ? may stand, joined by &: db=N, and with TLS cacert=FILE, cert=FILE and key=FILE (PEM),
 * sni=NAME. redis+sentinel://[user[:pass]@]host[:port],host.../NAME and rediss+sentinel:// ask these sentinels (port 26379) who
 * the master NAME is; user and password are the master's, ?sentinel_user=NAME the sentinels'. redis+cluster://[user[:pass]@]
 * host[:port],host... and rediss+cluster:// are a cluster, by some of its nodes. 0 or -EINVAL.
 */
int redis_url__parse(const char *text, struct redis_url *ret, struct reason *why);

/*
 * Fills an empty password from, in this order: `password_file` (first line; NULL: none), GILSCOPE_REDIS_PASSWORD,
 * REDISCLI_AUTH. 0 or -errno (file not readable).
 */
int redis_url__find_password(struct redis_url *url, const char *password_file, struct reason *why);

/* The same for the sentinels' password; of the environment GILSCOPE_SENTINEL_PASSWORD. */
int redis_url__find_sentinel_password(struct redis_url *url, const char *password_file, struct reason *why);

/* The URL without its password and what concerns TLS, for messages. */
const char *redis_url__text(const struct redis_url *url, char *buf, size_t size);

/* The URL without its password, to be given to another program: it leads to the same server. */
const char *redis_url__whole(const struct redis_url *url, char *buf, size_t size);

/* Whether this build can do TLS. */
bool redis_conn__has_tls(void);

/*
 * Connected, authenticated, database selected, PING answered; timeout_ms for each step. A server that hangs up is greeted once
 * more without what is only a courtesy (CLIENT SETNAME, which proxies do not know). The context is a non-blocking redisContext *:
 * talk through redis_conn__exchange(). 0, -ECONNREFUSED ..., -EAGAIN (loading, too many clients), -EACCES (credentials),
 * -EPROTONOSUPPORT (no TLS here), -ETIMEDOUT.
 */
struct redisContext;
int redis_conn__open(const struct redis_url *url, int timeout_ms, struct redisContext **ret, struct reason *why);

/* The same, given up with -ECANCELED as soon as `wake_fd` is readable (-1: never). */
int redis_conn__open_until(const struct redis_url *url, int timeout_ms, int wake_fd,
			   struct redisContext **ret, struct reason *why);

/* The same, with who the master was that sentinels named; set only where the URL has any. */
int redis_conn__open_master(const struct redis_url *url, int timeout_ms, int wake_fd, struct redisContext **ret,
			    struct redis_node *ret_master, struct reason *why);
void redis_conn__close(struct redisContext *c);

/* Appends a command to be sent by the next exchange. 0 or -ENOMEM. */
int redis_conn__append(struct redisContext *c, int argc, const char *const *argv, const size_t *lens);

/*
 * Sends what was appended and reads `n` replies, each given to `on_reply` (which keeps nothing of it; non-zero stops
 * and is returned). A silence is bounded by timeout_ms, the whole by four of them, whatever comes meanwhile; all replies
 * together by 64 MiB and half a million elements, a line by 64 KiB: the server decides neither time nor memory. A server that
 * closes the connection at a single command (n = 1) is told of with that command's name. After any error but on_reply's the
 * context is good for redis_conn__close() only. 0, -ETIMEDOUT, -ECANCELED (wake_fd), -EPIPE (closed by the server), -EPROTO
 * (not Redis, or more than that), -errno.
 */
struct redisReply;
typedef int redis_reply_fn(void *arg, size_t i, const struct redisReply *reply);
int redis_conn__exchange(struct redisContext *c, size_t n, int timeout_ms, int wake_fd,
			 redis_reply_fn *on_reply, void *arg, struct reason *why);

/* One command whose answer is OK, a number or anything but an error. argv ends with NULL. 0 or -errno. */
int redis_conn__do(struct redisContext *c, const char *const *argv, int timeout_ms, struct reason *why);

/*
 * Makes a parser refuse arrays of absurd length (hiredis would allocate them on the server's word alone); within an exchange
 * it counts elements, too.
 */
struct redisReader;
void redis_conn__guard(struct redisReader *reader);

enum redis_class {
	REDIS_CLASS_OK,
	REDIS_CLASS_TRANSIENT,  /* LOADING, BUSY, MASTERDOWN, ...: back off, send again */
	REDIS_CLASS_CAPACITY,   /* OOM, MISCONF: long back-off, keep the data */
	REDIS_CLASS_WRONG_NODE, /* READONLY, MOVED, ASK */
	REDIS_CLASS_CREDENTIALS,/* NOAUTH, WRONGPASS, NOPERM */
	REDIS_CLASS_KEY,        /* WRONGTYPE: this key only, skip and count */
	REDIS_CLASS_BUG,        /* anything else: the command is wrong, drop and count */
};

/* Class of an error reply's text. */
enum redis_class redis_class__of(const char *error_text);

/* What the operator can do about it, "" if nothing comes to mind. */
const char *redis_class__advice(enum redis_class cls);

/*
 * Next pause in ms: capped exponential with full jitter; `attempt` counts from 0. Floor 100 ms, cap 30 s; floor 1 s where
 * only an operator can help (capacity, credentials).
 */
int redis_backoff__ms(unsigned int attempt, enum redis_class cls, uint32_t random);

#endif
