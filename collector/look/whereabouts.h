/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where all threads are, whether they have to do with the GIL or not: what a report needs to say what it is, if not the GIL. A
 * number of looks at memory and /proc within about a second, while the process runs on: no probe. Each thread is in one place at
 * each look: the application's code (app_code.h), and what it does there. What was seen at looks only is a sample: shares have
 * the error of a count. Pure.
 */
#ifndef GILSCOPE_WHEREABOUTS_H
#define GILSCOPE_WHEREABOUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/base/task_state.h"
#include "collector/base/thread_name.h"
#include "collector/cpython/pyver.h"
#include "collector/python/pygils.h"
#include "collector/python/pystack.h"

#define WHEREABOUTS_LOOKS 40
#define WHEREABOUTS_PAUSE_NS 20000000
#define WHEREABOUTS_THREADS 128    /* that are looked at: of more, the first */
#define WHEREABOUTS_CELLS 512
#define WHEREABOUTS_GATES 16
#define WHEREABOUTS_CODE_SIZE 320
#define WHEREABOUTS_MAX_NS 3000000000ull /* no further look after that */

enum whereabouts_doing {
	DOING_RUNS,  /* on a CPU, or wanting one */
	DOING_GIL,   /* it waits for the GIL */
	DOING_LOCK,  /* asleep in futex(), called by the application's code itself: a lock, or a queue in C */
	DOING_CALL,  /* asleep in a system call */
	DOING_OTHER, /* asleep in what is not known, or stopped */
};

/* A thread in one place, in one way. */
struct whereabouts_cell {
	pid_t tid;
	char name[THREAD_NAME_SIZE];
	char code[WHEREABOUTS_CODE_SIZE]; /* "fetch (shop.py:31) -> requests.get"; "": no Python code, or not known */
	enum whereabouts_doing doing;
	char call[TASK_WORDS_SIZE];       /* of DOING_CALL */
	bool loop, callback;              /* it runs an event loop; and is in a callback of that */
	uint32_t looks;
	uint64_t longest_ns;              /* asleep so in one go, at least */
};

/* A place in the application's code where threads were blocked in futex(). */
struct whereabouts_gate {
	char code[WHEREABOUTS_CODE_SIZE];
	char held[TASK_DOING_SIZE]; /* what one did that was inside, at the last look with one: "asleep in connect"; "": it ran */
	uint64_t key;        /* of the function */
	uint32_t looks;      /* at which somebody was blocked there, */
	uint32_t blocked;    /* in sum over them, */
	uint32_t inside;     /* of them: one thread that was not blocked had that function on its stack, */
	uint32_t crowded;    /* of them: more than one had */
};

struct whereabouts {
	struct whereabouts_cell *cells;
	size_t cells_n;
	struct whereabouts_gate gates[WHEREABOUTS_GATES];
	size_t gates_n;
	uint32_t looks;
	size_t threads_n;    /* at the last of them; more than WHEREABOUTS_THREADS: not all were looked at */
};

/*
 * `runtime`: where _PyRuntime stands. 0, -ENOTSUP (threads or frames of this version are not known) or -errno. Free in any case.
 */
int whereabouts__take(struct whereabouts *w, pid_t pid, uint64_t runtime, const struct pyoffsets *off,
		      const struct gil_address *gils, size_t gils_n);
void whereabouts__free(struct whereabouts *w);

/* What one stack says. */
struct whereabouts_stack {
	char code[WHEREABOUTS_CODE_SIZE];
	bool application;    /* its innermost frame is the application's */
	bool loop, callback; /* as above */
};

/* Reads it of its frames, innermost first. Here for tests only. */
void whereabouts__read_stack(const struct pysymbol *frames, size_t n, struct whereabouts_stack *ret);

#endif
