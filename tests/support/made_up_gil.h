/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A made-up process with a GIL: threads that want it, CPython's rules of asking and letting go, and CPUs that are there or not.
 * What a program of that kind would have in its rows is reckoned hold by hold; the parameters are the truth. Pure, the same each
 * time.
 */
#ifndef GILSCOPE_TESTS_MADE_UP_GIL_H
#define GILSCOPE_TESTS_MADE_UP_GIL_H

#include "collector/analysis/verdict.h"

#define MADE_UP_THREADS 12

/* One program. Times in us. */
struct made_up_program {
	double hold_us;  /* that much it computes per hold, if nobody makes it let go */
	double wants;    /* share of the time that one thread would hold if it were alone, 0..1 */
	unsigned int waiters; /* threads beside the first; at most MADE_UP_THREADS - 1 */
	bool c_code;     /* it goes on when it is asked */
	bool pool;       /* all threads do that; else the first, and the others want the GIL for moments */
	bool cpu_short;  /* all lack a CPU for half of the time */
};

/* What is not known of it. */
enum made_up_blur {
	BLUR_NONE,
	BLUR_SEED,       /* whether the first thread ran, for a part of its holds */
	BLUR_REQUESTS,   /* how late holders let go */
	BLUR_OFF_CPU,    /* when they were off the CPU: how late they let go has that in it; no C code was seen */
	BLUR_BOTH,
	BLUR_LIGHT,      /* light mode without stacks: no holds, and how late they let go as in BLUR_OFF_CPU; pairs are sampled */
	BLUR_LIGHT_CODE, /* light mode: no holds, nor when they lacked a CPU, but for how late they let go; no C code was seen */
	BLUR_COUNT,
};

/* Its rows, and what is true of it. To be made anew for each program; `in` points into it. */
struct made_up_rows {
	struct verdict_input in;
	struct verdict_load threads[MADE_UP_THREADS];
	struct verdict_pair pairs[MADE_UP_THREADS * MADE_UP_THREADS];
	struct verdict_place places[MADE_UP_THREADS];
	double worker_runs_us;  /* of the waiting: for threads that do what the program is about, while they ran, */
	double others_run_us;   /* for threads that want the GIL for moments, */
	double starved_us;      /* for holders without a CPU, */
	double handover_us;     /* for nobody */
};

#define MADE_UP_OBSERVED_US 10e6

void made_up__run(const struct made_up_program *program, struct made_up_rows *ret);

/* Takes away what is not known. */
void made_up__blur(struct made_up_rows *rows, enum made_up_blur blur);

/* What the workers' code, and the others', is called. */
#define MADE_UP_WORK "work (made_up.py:7)"
#define MADE_UP_C_WORK "work (made_up.py:7) -> made_up.so: crunch"
#define MADE_UP_MOMENT "moment (made_up.py:3)"

#endif
