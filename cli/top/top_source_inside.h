/* SPDX-License-Identifier: GPL-2.0-only */
/* What the sources of top_source.h share. */
#ifndef GILSCOPE_TOP_SOURCE_INSIDE_H
#define GILSCOPE_TOP_SOURCE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "top_source.h"

#define TOP_QUEUE_MAX 120 /* updates that nobody has taken yet: then the oldest go */

struct top_source {
	const struct options *o;
	void (*run)(struct top_source *s); /* the thread */
	pid_t pid;                  /* to attach to */
	char id[SCHEMA_ID_SIZE];    /* to read */
	bool listens_to_signals;    /* SIGTERM to the thread ends it */
	pthread_t thread;
	int fd;                     /* tells that there are updates */
	int stop_fd;                /* readable from the stop on */
	int wake_fd;                /* wakes it from top_source__sleep() */
	_Atomic bool stop, wants_minute, told_to_end;
	pthread_mutex_t lock;       /* of the queue */
	struct top_update queue[TOP_QUEUE_MAX];
	size_t first, queued;
};

/* Queues an update and what it owns. */
void top_source__post(struct top_source *s, struct top_update *u);

/* Shorthands for a state (`source` NULL: as before) and for a notice. */
void top_source__state(struct top_source *s, enum top_state state, const char *source, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void top_source__notice(struct top_source *s, const char *sentence);

/* Waits until it is woken, at most `ms`. false: it shall end. */
bool top_source__sleep(struct top_source *s, int ms);

/* This host as ids have it. */
void top_source__own_host(const struct top_source *s, char host[65]);

/* The threads of the three. */
void top_list__run(struct top_source *s);
void top_redis__run(struct top_source *s);
void top_attach__run(struct top_source *s);

#endif
