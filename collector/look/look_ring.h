/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory that the process that looks (looker.h) shares with the collector (looks.h): whom to look at goes one way, what was
 * seen the other. Plain data.
 *
 * One writes and the other reads each word. A subject's `turn` is odd while the collector changes it, so that the looker takes
 * no half of one. Records are a ring: what finds no place is counted, and missing time is seen in the weights.
 */
#ifndef GILSCOPE_LOOK_RING_H
#define GILSCOPE_LOOK_RING_H

#include <stdint.h>
#include <sys/types.h>

#include "bpf/gil_types.h"
#include "collector/cpython/pyver.h"

#define LOOK_SUBJECTS 512
#define LOOK_GILS 8          /* of one process: the main interpreter's, and others that have one of their own */
#define LOOK_RECORDS (1u << 16)
#define LOOK_STACKS 1024     /* new ones, between two looks of the collector's */
#define LOOK_DEPTH 64        /* innermost frames of each */
#define LOOK_RATE_DEFAULT 1000 /* looks a second at each process, */
#define LOOK_RATE_MAX 10000
#define LOOK_THREADS_NS 20000000ull /* and between two looks at threads */

/* A process to be looked at. */
struct look_subject {
	uint32_t turn;           /* even: stands; odd: is being changed; 0: nobody yet */
	pid_t pid;               /* 0: nobody */
	uint32_t gils_n;
	uint64_t gils[LOOK_GILS];/* addresses */
	uint64_t collectors[LOOK_GILS]; /* gc_words__state() of each one's interpreter; 0: not known */
	uint32_t with_code;      /* which code holders are in is asked for */
	struct pyoffsets off;
};

enum look_kind {
	LOOK_AT_GIL,
	LOOK_AT_THREAD,
	LOOK_ROUND,              /* looks at threads follow; waiters 0: none do, since nobody queues */
	LOOK_AT_CODE,            /* of a holder; its stack has been sent before */
	LOOK_FAILED,             /* the process could not be read */
};

/* What a thread did when it was looked at. */
enum look_doing {
	LOOK_RUNS,               /* or wants to */
	LOOK_QUEUES,             /* for the GIL */
	LOOK_BLOCKED,            /* in another system call */
};

#define LOOK_WAITERS_UNKNOWN UINT32_MAX

struct look_record {
	uint64_t at;             /* ns, CLOCK_MONOTONIC */
	uint64_t holder;         /* thread state that had the GIL; 0: nobody */
	uint64_t switches;       /* of the GIL so far */
	uint64_t hash;           /* LOOK_AT_CODE: of the stack; 0: it can't be told */
	uint64_t collections;    /* LOOK_AT_GIL: of garbage, that have ended; 0: not known */
	uint32_t subject, turn;  /* the one that stood there then */
	uint32_t holder_tid;     /* as the collector counts; 0: not known */
	uint32_t tid;            /* LOOK_AT_THREAD: which */
	uint32_t weight_ns;      /* LOOK_AT_GIL: the time that it stands for */
	uint32_t waiters;        /* LOOK_AT_GIL: that queue for it; LOOK_ROUND */
	uint8_t kind, gil, doing;
	uint8_t locked, collecting; /* LOOK_AT_GIL */
	uint8_t pad[3];
};

_Static_assert(sizeof(struct look_record) == 72, "no holes but the one that is named");

/* A stack that has not been seen for a while. */
struct look_stack {
	uint64_t hash;           /* of the frames and the subject; never 0 */
	uint32_t subject, turn;
	uint32_t depth, more;    /* frames; there are others further out */
	struct gil_frame frames[LOOK_DEPTH]; /* innermost first */
};

struct look_ring {
	/* The collector's. */
	uint32_t stop;
	uint32_t rate;           /* looks a second, at most */
	uint32_t changes;        /* of subjects so far */
	uint64_t tail, stacks_tail; /* records and stacks taken so far */
	struct look_subject subjects[LOOK_SUBJECTS];
	/* Of who started the looker. */
	uint64_t start_ticks;    /* the looker's, after boot */
	int32_t pid;             /* the looker; 0: not started yet */
	/* The looker's. */
	uint64_t beat;           /* ns, CLOCK_MONOTONIC: it was alive then */
	uint32_t busy;           /* the subject that it is about to read + 1; 0: none */
	uint64_t cpu_ns, rounds; /* what it has used, and how often it has looked, so far */
	uint64_t head, stacks_head; /* records and stacks written so far */
	uint64_t lost;           /* that found no place */
	struct look_record records[LOOK_RECORDS];
	struct look_stack stacks[LOOK_STACKS];
};

#endif
