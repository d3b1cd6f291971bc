/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state now, without a probe: who holds each GIL, who waits for it, and where in the code they are. Read from the target's
 * memory and /proc while it runs on, so it is a number of looks over a fifth of a second or more, and every stack is read
 * until two readings agree. What has not changed between looks is said to have lasted as long as was looked; a GIL that its
 * holder let go and took again between two of them does not show. Where a GIL has no holder at the last look, it is looked
 * at some more, for a short time and fast: who has it then, if anybody, is who holds it, and how often each thread had it is
 * counted. Pure.
 */
#ifndef GILSCOPE_SNAPSHOT_H
#define GILSCOPE_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/cpython/pyver.h"
#include "collector/python/pygils.h"
#include "collector/python/pystack.h"
#include "collector/series/sample.h"
#include "collector/stacks/native.h"
#include "holder_look.h"

#define SNAPSHOT_LOOKS 10
#define SNAPSHOT_MORE_LOOKS 40     /* as long as there are threads that were only seen on a CPU, or wanting one */
#define SNAPSHOT_PAUSE_NS 20000000 /* between two of them */
#define SNAPSHOT_AGAIN_NS 50000000 /* where a GIL has no holder: so long it is looked for one, */
#define SNAPSHOT_AGAIN_PAUSE_NS 250000 /* with this pause */

enum snapshot_state {
	SNAPSHOT_ELSEWHERE, /* neither holds nor waits */
	SNAPSHOT_HOLDS,
	SNAPSHOT_WAITS,
};

struct snapshot_thread {
	pid_t tid;                   /* as this process counts; 0: it is gone, and here because it has the GIL all the same */
	char name[THREAD_NAME_SIZE]; /* cleaned; "" if it has none */
	uint64_t tstate;
	size_t gil;                  /* index in snapshot.gils */
	enum snapshot_state state;   /* at the last look */
	uint64_t seen_ns;            /* it was in this state at every look since then; 0: at the last one only */
	uint64_t first_ns;           /* when it was first seen so, CLOCK_MONOTONIC */
	bool blocked;                /* it was seen blocked, on whatever */
	struct pysymbol *stack;      /* innermost first; NULL: not read, or not readable. Owned */
	size_t stack_n;
	bool more;                   /* there are frames further out */
	char native[NATIVE_NAME_SIZE]; /* of a holder, "module.so: function" of C code that it is in; "": none, or not known */
	uint32_t held;               /* of snapshot.again_looks: at so many it had its GIL */
	bool moving;                 /* it ran Python meanwhile: no two readings agreed, and the stack may be torn */
};

struct snapshot_gil {
	bool again;                  /* it had no holder at the last of the looks */
	uint32_t held;               /* of snapshot.again_looks: at so many somebody had it */
	uint64_t gc_state;           /* gc_words__state() of its interpreter; 0: not known */
	uint32_t held_looks;         /* of all looks: found it held, and its collector could be read; */
	uint32_t collecting;         /* of them: garbage was being collected */
	struct holder_look holder;   /* who has it in the end; of kind UNKNOWN while it changes hands */
};

struct snapshot {
	enum standstill standstill;
	pid_t tracer;                /* 0: none, or not known */
	const struct gil_address *gils; /* the caller's */
	struct snapshot_gil *looks;  /* of each of them. Owned */
	size_t gils_n;
	uint32_t again_looks;        /* looks for a holder, of GILs that had none; 0: all had one */
	uint64_t again_ns;           /* that took so long */
	struct snapshot_thread *threads;
	size_t threads_n;
};

/*
 * Looks at a process with the GILs `gils`, whose _PyRuntime stands at `runtime`. Stacks are those of threads that hold or wait.
 * Takes SNAPSHOT_LOOKS (to SNAPSHOT_MORE_LOOKS) * SNAPSHOT_PAUSE_NS. 0, -ENOTSUP (threads of this version are not known) or
 * -errno. Free in any case.
 */
int snapshot__take(struct snapshot *s, pid_t pid, uint64_t runtime, const struct pyoffsets *off,
		   const struct gil_address *gils, size_t gils_n);
void snapshot__free(struct snapshot *s);

#endif
