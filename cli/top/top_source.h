/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where `top` has its updates from: a thread each, so that the keys answer whatever Redis or an interpreter's file takes.
 *
 * Three kinds: the list of processes (top_list.c), a process that somebody else observes, out of Redis (top_redis.c), and one
 * that is observed by this very program (top_attach.c). What they find out comes through a queue; nothing else is shared.
 */
#ifndef GILSCOPE_TOP_SOURCE_H
#define GILSCOPE_TOP_SOURCE_H

#include "cli/options.h"
#include "top_model.h"

struct top_source;

/* Each begins at once. `o` must outlive it. 0 or -errno with the sentence. */
int top_source__list(const struct options *o, struct top_source **ret, struct reason *why);
int top_source__redis(const struct options *o, const char *id, bool minute, struct top_source **ret, struct reason *why);
int top_source__attach(const struct options *o, pid_t pid, struct top_source **ret, struct reason *why);

/* Readable while there are updates. */
int top_source__fd(const struct top_source *s);

/* The next update, which is the caller's from now on (top_model__take() or top_update__free()). false: there is none now. */
bool top_source__next(struct top_source *s, struct top_update *ret);

/* Look again now. */
void top_source__refresh(struct top_source *s);

/* Whether the last minute is wanted (Redis is asked for it only then). */
void top_source__want_minute(struct top_source *s, bool wanted);

/* Whether it was ended by a signal that was meant for the program. */
bool top_source__was_told_to_end(const struct top_source *s);

/* Ends it and waits until that is done (probes are lifted, the history is written). Frees it. NULL is legal. */
void top_source__stop(struct top_source *s);

#endif
