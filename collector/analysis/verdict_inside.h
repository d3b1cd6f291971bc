/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The judge's inside, shared by its own files only. verdict.c puts the verdict together; verdict_waiting.c divides the waiting by
 * whom it was for and what that did; verdict_code.c finds the code that a part of it rests on; verdict_stuck.c has what is seen
 * by looking at the process; each other verdict_<pattern>.c finds one pattern, with its thresholds at its top.
 *
 * Why 20 ms is long: from its fifth millisecond on a waiter asks for the GIL (the switch interval), and bytecode gives it up
 * at its next check, microseconds later. A hold of four intervals during which others wait has run no bytecode: it was C code,
 * asleep or not, or it had no CPU.
 */
#ifndef GILSCOPE_VERDICT_INSIDE_H
#define GILSCOPE_VERDICT_INSIDE_H

#include "collector/base/text.h"
#include "verdict.h"

#define SWITCH_US 5000.0 /* sys.getswitchinterval()'s default */
#define LONG_US (4 * SWITCH_US)
#define BUSY 0.9         /* of the time */
#define SOME_WAITERS 0.1
#define SOME_HELD 0.1    /* of the time */
#define IDLE_CPU 0.01    /* of a CPU: a process that uses less does next to nothing */
#define UNSEEN_SAID 0.05 /* of the holds: less of the unknown changes nothing */
#define FORCED_SHARE 0.2 /* of a computing thread's releases are asked for by others */
#define MAY_BE_STARVED 0.25 /* of a thread's holds without a CPU: its longest one may be of that kind */
#define LONG_BLAME 0.02  /* of the time: what a long hold must have made others wait */
#define OFF_CPU 0.05     /* of the time held, or of the time and all waiting waited, while the holder did not run */
#define EXPLAINS 0.05    /* of the waiting: what explains that much of it is a finding where the GIL is one */
#define STOOD_STILL_PARTLY 0.05 /* of the time */
#define STOOD_STILL 0.9  /* of the time: nothing else can be said then */

/* What a holder did while others waited for it. */
enum how {
	HOW_STUCK,    /* it goes on for ever, or nearly so */
	HOW_GC,
	HOW_FORK,     /* forked: on a CPU or not, the others wait for the kernel to copy its tables of memory */
	HOW_ASLEEP,
	HOW_STARVED,
	HOW_STOPPED,
	HOW_LATE,     /* ran, and did not let go when it was asked: C code */
	HOW_ASKED,    /* ran, and let go when it was asked: bytecode */
	HOW_UNASKED,  /* ran, and let go before anybody asked */
	HOW_UNSURE,   /* ran, as far as is known, and it is not certain which of the last three that was */
	HOW_UNSEEN,
	HOW_COUNT,
};

/* A thread as a holder. */
struct holder {
	double waited_us[HOW_COUNT];
	enum how runs; /* HOW_LATE, HOW_ASKED, HOW_UNASKED or HOW_UNSURE: of the times that it ran with the GIL */
};

/* What is judged. */
struct judging {
	const struct verdict_input *in;
	struct holder *holders; /* as in->threads; NULL: no memory */
	double how_us[HOW_COUNT]; /* the same for all */
	enum gil_bound bound;
};

#define SAY(text, ...) text__append(text, sizeof(text), __VA_ARGS__)

/* ---- verdict.c: words and shares ---- */

/* Each pattern is claimed once, of the thread that it is worst for (SIZE_MAX: none); so there is room for all. */
struct verdict_finding *verdict__claim(struct verdict *v, enum verdict_pattern pattern, size_t thread);

/* "12.3 ms". Returns buf. */
const char *verdict__ms(char buf[32], double us);

/* " 3 other threads did the same." */
void verdict__say_others(struct verdict_finding *f, size_t others, const char *doing);

/* " and 3 other threads" */
void verdict__say_more(struct verdict_finding *f, size_t others);

/* " Others waited 1.2 s for that, web the most." */
void verdict__say_who_waited(const struct judging *j, size_t holder, struct verdict_finding *f);

/* Of the time. */
double verdict__share(const struct verdict_input *in, double us);

/* How many threads wait, on average. */
double verdict__waiters(const struct verdict_input *in);

/*
 * Of holders that did not run: much of the time is held so, or waited for them. Each of many who wait adds to the sum, so that
 * little becomes much of the time: it must be a share of the waiting, too.
 */
bool verdict__is_much(const struct verdict_input *in, double held_us, double waited_us);

/* So much of the waiting has to have its cause among the findings. */
bool verdict__explains(const struct judging *j, double waited_us);

/* Shares of a thread's holds; not known: NAN, of unseen 0. */
double verdict__asleep(const struct verdict_load *t);
double verdict__starved(const struct verdict_load *t);
double verdict__stopped(const struct verdict_load *t);
double verdict__kept_off(const struct verdict_load *t); /* both: it would have run on, had it been let */
double verdict__unseen(const struct verdict_load *t);

/* Whether what was held can have been spent computing: the process had, or wanted, CPUs for that. */
bool verdict__may_compute(const struct verdict_input *in, double held_us);

/* Takes of a thread a second, and how long it has it each time on average: of all of the time, else of when they were counted. */
double verdict__rate(const struct verdict_input *in, const struct verdict_load *t);
double verdict__each_us(const struct verdict_load *t);

/* CPUs' worth of work that the process does without the GIL: native code that released it, system calls. Not known: NAN. */
double verdict__without_gil(const struct verdict_input *in);

/* ---- verdict_waiting.c ---- */

/* Divides the waiting. To be followed by verdict_waiting__free(). */
void verdict_waiting__divide(struct judging *j);
void verdict_waiting__free(struct judging *j);

/* What others waited for the holder, and the thread of them that did so the most (SIZE_MAX: nobody). */
double verdict_waiting__blame_of(const struct verdict_input *in, size_t holder);
size_t verdict_waiting__worst_victim(const struct verdict_input *in, size_t holder);

/* The thread that others waited for in that way the most, SIZE_MAX: none. */
size_t verdict_waiting__worst(const struct judging *j, enum how how);

/* ---- verdict_code.c ---- */

/*
 * Says in which code it was, and notes it in the finding: the function with the most of such times (all of one thread, or of
 * all: SIZE_MAX), by what others waited, else by what was held.
 */
void verdict_code__say(const struct judging *j, struct verdict_finding *f, enum how how, size_t thread);

/* The place that a finding names; NULL: none. */
const struct verdict_place *verdict_code__named(const struct judging *j, const struct verdict_finding *f);

/* The worst place of that function, of all threads; NULL: none, or none that has much of it. */
const struct verdict_place *verdict_code__worst(const struct judging *j, enum how how);

/* ---- verdict_stuck.c ---- */

/* Of the time, none of its threads could run. */
double verdict_stuck__still_share(const struct verdict_input *in);

/* So much of what was held or waited is no thread's doing: the process stood still. In us. */
double verdict_stuck__excused_us(const struct verdict_input *in);

/* A hold of that thread's that does not move, or one that will never end, is what all the others wait for. */
bool verdict_stuck__is_holder(const struct verdict_input *in, size_t thread);
bool verdict_stuck__is_claimed(const struct verdict *v, enum verdict_pattern pattern);

/* What hangs for ever, or nearly so, was found. */
bool verdict_stuck__for_ever(const struct verdict *v);

/* ---- verdict_operations.c: what C code is known for ---- */

/* "JSON", and what helps where that keeps the GIL. */
struct operation {
	const char *what; /* in words: "reads or writes JSON" */
	const char *todo; /* one line */
	const char *remedy;
};

/* Of the C code and the library's function of a place; NULL: none that is known. */
const struct operation *verdict_operation__of(const struct verdict_place *p);

/* There the process is forked, and has so much memory that it takes its time. */
bool verdict_operation__is_long_fork(const struct verdict_input *in, const struct verdict_place *p);
const struct operation *verdict_operation__fork(void);

/* ---- verdict_causes.c ---- */

/* One hold is one cause: what was found of the same code of the same thread becomes one finding. */
void verdict_causes__join(const struct judging *j, struct verdict *v);

/* ---- verdict_change.c ---- */

/* That it has just begun, or changed while it was looked at; nothing where it did not. */
void verdict_change__say(const struct verdict_input *in, char *text, size_t size);

/* ---- verdict_answer.c ---- */

/* The headline and what to do, of what was found. */
void verdict_answer__say(const struct judging *j, struct verdict *v);

/* ---- the patterns ---- */

#define X(id, name) void verdict_##name##__find(const struct judging *j, struct verdict *v);
VERDICT_PATTERNS(X)
#undef X

#endif
