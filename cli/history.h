/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which Redis: what --redis and the environment say, else gilscope's own store. For writers a sink, for readers a URL, for
 * people the words and the lines to paste.
 */
#ifndef GILSCOPE_HISTORY_H
#define GILSCOPE_HISTORY_H

#include <stddef.h>

#include "collector/redis/redis_conn.h"
#include "collector/redis/store.h"
#include "collector/sink/sink.h"
#include "options.h"

struct history {
	struct sink *sink;       /* writers only; owned */
	struct store *store;     /* our share in the embedded store, NULL: another server; owned */
	struct redis_url url;
	char where[512];         /* "gilscope's own store (/run/gilscope/redis.sock)" */
	char client[8192];       /* what stands in front of a Redis command on a shell's command line */
	char query[1280];        /* "gilscope query"; the process goes between it and query_options */
	char query_options[16384];/* "" or " --redis ..." */
};

/* Before rights are given up, where a writer may be opened later: what starting the store takes of them. */
void history__prepare(const struct options *o);

/*
 * For a writer. A wrong URL is -EINVAL, an unreadable password file -errno. A store that cannot be started is no error:
 * that is said, and there is no sink.
 */
int history__open_writer(const struct options *o, struct history *ret, struct reason *why);

/* Begins to send: on a thread of its own, which has the rights of the moment. Nothing to do where no history is kept. */
int history__start_sink(struct history *h, struct reason *why);

/* For a reader. -ENOENT: nothing was ever stored. */
int history__open_reader(const struct options *o, struct history *ret, struct reason *why);

/* Whether samples have reached the server and it is there. */
bool history__arrives(const struct history *h);

/* Gives everything back. Says what could not be stored. */
void history__close(struct history *h);

/* The parsed --redis or GILSCOPE_REDIS with its password; *ret_given false: neither. */
int history__url(const struct options *o, struct redis_url *ret, bool *ret_given, struct reason *why);

/* A few words on how storing goes, "" if there is no store. */
const char *history__state(const struct history *h, char *buf, size_t size);

#endif
