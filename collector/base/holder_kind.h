/* SPDX-License-Identifier: GPL-2.0-only */
/* Who may be found to have a GIL (holder_look.h looks), in words. Plain data. Pure. */
#ifndef GILSCOPE_HOLDER_KIND_H
#define GILSCOPE_HOLDER_KIND_H

#include <stdbool.h>

/* X(identifier, name in JSON and Redis). */
#define HOLDER_KINDS(X) \
	X(UNKNOWN, "")                   /* the words can't be read, or changed while they were looked at */ \
	X(NOBODY, "nobody")              /* it is free */ \
	X(THREAD, "thread")              /* a thread of the process */ \
	X(ENDED, "ended")                /* one that has ended without releasing it */ \
	X(LEFT_BY_FORK, "left_by_fork")  /* one of the parent's: it had the GIL when this process was forked */ \
	X(GONE, "gone")                  /* one that the process has not: of the two above, which cannot be told */

enum holder_kind {
#define X(id, name) HOLDER_##id,
	HOLDER_KINDS(X)
#undef X
		HOLDER_KIND_COUNT,
};

const char *holder_kind__name(enum holder_kind k);
enum holder_kind holder_kind__by_name(const char *name); /* UNKNOWN for what is no name */

/* Nobody will ever let go of it. */
static inline bool holder_kind__is_gone(enum holder_kind k)
{
	return k == HOLDER_ENDED || k == HOLDER_LEFT_BY_FORK || k == HOLDER_GONE;
}

/* "a thread that has ended" ..., what follows "the GIL is held by"; "" for those that are not gone. */
const char *holder_kind__words(enum holder_kind k);

/* What helps then, a sentence or two; "" for those that are not gone. */
const char *holder_kind__remedy(enum holder_kind k);

#endif
