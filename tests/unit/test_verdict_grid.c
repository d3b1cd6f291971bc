/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The verdict on a grid of made-up programs: how long they hold, how often, how many wait, bytecode or C code, one loop or a
 * pool, with CPUs or without. What the program was made of is the truth. No verdict may name a wrong cause, whatever is unknown;
 * and where all is known, hardly any may find none.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/analysis/verdict.h"
#include "../support/made_up_gil.h"

#define SWITCH_US 5000.0
#define SURELY_SHORT (0.8 * SWITCH_US) /* nobody asks, */
#define SURELY_LONG (1.8 * SWITCH_US)  /* somebody always does; between them either is right */
#define SOME 0.02                      /* of the waiting: may be a finding */
#define ABOUT 0.15                     /* of the waiting: so well is a share known */
#define NOT_FOUND 0.05                 /* of the grid */

static const double lengths_us[] = {100, 300, 1000, 3000, 6000, 10000, 15000, 30000, 100000, 300000, 1000000};
static const double wants[] = {0.05, 0.2, 0.5, 0.95};
static const unsigned int waiters[] = {1, 3, 8};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define POINTS (COUNT(lengths_us) * COUNT(wants) * COUNT(waiters) * 8)

static struct made_up_rows rows;
static struct verdict v;

static struct made_up_program point(size_t i)
{
	struct made_up_program p = {.c_code = i & 1, .pool = i & 2, .cpu_short = i & 4};

	i /= 8;
	p.waiters = waiters[i % COUNT(waiters)];
	i /= COUNT(waiters);
	p.wants = wants[i % COUNT(wants)];
	p.hold_us = lengths_us[i / COUNT(wants)];
	return p;
}

static const char *words(const struct made_up_program *p, enum made_up_blur blur)
{
	static const char *const unknown[] = {
		"nothing", "a hold", "requests", "times off the CPU", "both", "holds and code", "holds",
	};
	static char buf[192];

	snprintf(buf, sizeof(buf), "%s %s, holds of %.1f ms, %.0f %% of the time, %u waiters, CPUs %s, unknown: %s",
		 p->pool ? "pool of" : "loop of", p->c_code ? "C code" : "bytecode", p->hold_us / 1000, 100 * p->wants,
		 p->waiters, p->cpu_short ? "short" : "there", unknown[blur]);
	return buf;
}

/* ---- what is right ---- */

static bool may_be_short(const struct made_up_program *p)
{
	return p->hold_us < SURELY_LONG || rows.others_run_us >= SOME * rows.in.all.wait_us;
}

/* Without a CPU short bytecode is asked, too. */
static bool may_be_asked(const struct made_up_program *p)
{
	return !p->c_code && (p->hold_us >= SURELY_SHORT || p->cpu_short);
}

static bool is_right(const struct made_up_program *p, enum verdict_pattern pattern)
{
	switch (pattern) {
	case PATTERN_LONG_HOLD:
		return p->c_code && p->hold_us >= SURELY_SHORT;
	case PATTERN_STARVED_HOLDER:
		return p->cpu_short;
	case PATTERN_CPU_SHARING:
		return may_be_asked(p) && p->pool;
	case PATTERN_CONVOY:
		return may_be_asked(p) && !p->pool;
	case PATTERN_COMPUTING:
		return may_be_asked(p);
	case PATTERN_SHORT_HOLDS:
		return may_be_short(p);
	case PATTERN_HANDOVER:
		return rows.handover_us >= SOME * rows.in.all.wait_us;
	case PATTERN_MANY_THREADS:
		return p->waiters >= 8;
	default:
		return v.bound == BOUND_NO;
	}
}

/* Of the waiting: what a finding of that kind explains at most. */
static double most_us(const struct made_up_program *p, enum verdict_pattern pattern)
{
	/* The same hold is one finding, whichever is the worse of it. */
	if (p->c_code && (pattern == PATTERN_STARVED_HOLDER || pattern == PATTERN_LONG_HOLD))
		return rows.starved_us + rows.worker_runs_us;
	if (pattern == PATTERN_STARVED_HOLDER)
		return rows.starved_us;
	if (pattern == PATTERN_HANDOVER)
		return rows.handover_us;
	if (pattern == PATTERN_SHORT_HOLDS)
		return rows.others_run_us + (p->hold_us < SURELY_LONG ? rows.worker_runs_us : 0);
	return rows.worker_runs_us;
}

static bool is_right_code(const struct made_up_program *p, const struct verdict_finding *f)
{
	const char *work = p->c_code ? MADE_UP_C_WORK : MADE_UP_WORK;

	return !f->code || strcmp(f->code, work) == 0 ||
	       ((f->pattern == PATTERN_SHORT_HOLDS || f->pattern == PATTERN_STARVED_HOLDER) && !p->pool &&
		strcmp(f->code, MADE_UP_MOMENT) == 0);
}

static void expect_right(const struct made_up_program *p, enum made_up_blur blur)
{
	for (size_t i = 0; i < v.findings_n; i++) {
		const struct verdict_finding *f = &v.findings[i];

		cr_expect(is_right(p, f->pattern), "%s\n\t%s: %s", words(p, blur), verdict_pattern__name(f->pattern),
			  f->evidence);
		if (blur >= BLUR_OFF_CPU)
			continue;
		cr_expect(is_right_code(p, f), "%s\n\t%s in %s", words(p, blur), verdict_pattern__name(f->pattern), f->code);
		cr_expect_leq(f->waited_us, most_us(p, f->pattern) + ABOUT * rows.in.all.wait_us, "%s\n\t%s: %s", words(p, blur),
			      verdict_pattern__name(f->pattern), f->evidence);
	}
}

/* Whether the verdict says that it does not know a cause, of all of the waiting or of much. */
static bool reach(const struct made_up_program *p, enum made_up_blur blur)
{
	made_up__run(p, &rows);
	made_up__blur(&rows, blur);
	verdict__reach(&rows.in, &v);
	expect_right(p, blur);
	return v.cause[0] != '\0';
}

static size_t reach_all(enum made_up_blur blur)
{
	size_t not_found = 0;

	for (size_t i = 0; i < POINTS; i++) {
		struct made_up_program p = point(i);

		if (!reach(&p, blur))
			continue;
		not_found++;
		if (getenv("GRID"))
			fprintf(stderr, "%s\n\t%s\n", words(&p, blur), v.cause);
	}
	if (getenv("GRID"))
		fprintf(stderr, "blur %d: not found %zu of %zu\n", blur, not_found, (size_t)POINTS);
	return not_found;
}

Test(verdict_grid, all_is_known)
{
	cr_expect_leq(reach_all(BLUR_NONE), NOT_FOUND * POINTS);
}

Test(verdict_grid, nobody_knows_what_one_hold_was)
{
	reach_all(BLUR_SEED);
}

Test(verdict_grid, nobody_knows_how_late_holders_let_go)
{
	reach_all(BLUR_REQUESTS);
}

Test(verdict_grid, nobody_knows_when_holders_had_no_cpu)
{
	reach_all(BLUR_OFF_CPU);
	reach_all(BLUR_BOTH);
}

Test(verdict_grid, light_mode)
{
	reach_all(BLUR_LIGHT);
	reach_all(BLUR_LIGHT_CODE);
}
