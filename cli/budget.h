/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A promise about the GIL that a build can be held to: "hold_max<50ms", "wait_share<5%", "hold_max{thread=web-*}<20ms". Parsed
 * here, and judged by what was measured of one process. Pure.
 *
 * What was measured is a range, not a number: an estimate has its error, a maximum of which part was not observed has no upper
 * end. A promise is kept if all of the range keeps it, broken if none of it does, and else it can't be told.
 */
#ifndef GILSCOPE_BUDGET_H
#define GILSCOPE_BUDGET_H

#include <stdio.h>

#include "collector/schema/schema.h"
#include "functions.h"

#define BUDGET_TEXT_SIZE 256
#define BUDGET_PATTERN_SIZE 128

enum budget_of {
	BUDGET_OF_PROCESS,
	BUDGET_OF_THREAD, /* each whose name fits */
	BUDGET_OF_PLACE,  /* functions that fit, together */
};

enum budget_kind {
	BUDGET_VALUE, /* the metric as it is, over the time observed */
	BUDGET_SHARE, /* METRIC_share: of the time observed */
	BUDGET_RATE,  /* METRIC_rate: per second observed */
};

enum budget_order {
	BUDGET_BELOW,
	BUDGET_AT_MOST,
	BUDGET_ABOVE,
	BUDGET_AT_LEAST,
};

struct budget {
	char text[BUDGET_TEXT_SIZE]; /* as it was written */
	enum schema_field field;
	enum budget_kind kind;
	enum budget_of of;
	char pattern[BUDGET_PATTERN_SIZE]; /* of threads or places, as a shell's */
	enum budget_order order;
	double limit;                /* us, n, KiB or a ratio */
};

/* Parses METRIC[{thread=PATTERN}|{place=PATTERN}]<VALUE (or <=, >, >=). `what` is named in the sentence. 0 or -EINVAL. */
int budget__parse(const char *what, const char *text, struct budget *ret, struct reason *why);

/* Reads one from each line; empty lines and what follows a '#' are left out. At most `max` are put into `list`. 0 or -errno. */
int budget__read_file(const char *path, struct budget *list, size_t max, size_t *n, struct reason *why);

/* Whether single holds (FIELD_HOLD_MAX) or waits (FIELD_WAIT_MAX) can break it, each by itself. */
bool budget__is_of_longest(const struct budget *b, enum schema_field field);

/* Whether its pattern fits a thread's name, or a place. */
bool budget__fits_thread(const struct budget *b, const char *name);
bool budget__fits_place(const struct budget *b, const char *function, const char *file);

#define BUDGET_SENTENCE_SIZE 1280

/* The longest single hold or wait that such a budget is about, as far as it was told of. Zeroed: none. Texts are the caller's. */
struct budget_longest {
	double us;
	const char *name, *words; /* whose, and what follows the name: code__long_words() */
	const char *stack;        /* outermost first, "": not known */
	double unplaced_us;               /* the longest of which the place is not known */
};

struct budget_thread {
	const char *name;    /* "": not known */
	bool several;        /* others, merged */
	struct schema_row row;
};

/* What is known of one process. Texts and arrays are the caller's. */
struct budget_subject {
	struct schema_row all;
	double observed_us;
	bool no_gil;         /* there was none to hold */
	const struct budget_thread *threads;
	size_t threads_n;
	struct function_part *parts; /* their `thread` is an index into threads, or threads_n; gets another order */
	size_t parts_n;
};

enum budget_state {
	BUDGET_KEPT,
	BUDGET_UNTOLD,
	BUDGET_BROKEN,
};

const char *budget_state__name(enum budget_state state); /* "kept", "untold", "broken" */

struct budget_result {
	enum budget_state state;
	double low, high;    /* what was measured, in the metric's unit; NAN: nothing */
	char sentence[BUDGET_SENTENCE_SIZE]; /* how much it was; if broken who did it, and in which code */
	char stack[STACK_TEXT_MAX]; /* of that; "": not known */
};

/* `longest`: what was told of single holds or waits; NULL: nothing can be. */
void budget__judge(const struct budget *b, struct budget_subject *s, const struct budget_longest *longest,
		   struct budget_result *ret);

#endif
