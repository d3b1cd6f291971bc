/* SPDX-License-Identifier: GPL-2.0-only */
/* The verdict: each pattern is found where its evidence is, and nowhere else; every sentence carries its numbers. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "collector/analysis/verdict.h"

#define S 1e6 /* us */
#define MS 1e3

/* Ten seconds on two CPUs in which nothing happens: each test adds what it is about. */
struct scene {
	struct verdict_load threads[40];
	struct verdict_pair pairs[40];
	struct verdict_place places[40];
	struct verdict_input in;
	struct verdict v;
};

static struct scene s;

static void calm(void)
{
	memset(&s, 0, sizeof(s));
	s.in = (struct verdict_input){
		.observed_us = 10 * S,
		.cov = 1,
		.cpus = 2,
		.gils = 1,
		.threads = s.threads,
		.pairs = s.pairs,
		.places = s.places,
		.all = {.hold_p50 = NAN,
			.hold_p99 = NAN,
			.hold_max = NAN,
			.wait_p50 = NAN,
			.wait_p99 = NAN,
			.wait_max = NAN},
	};
}

TestSuite(verdict, .init = calm);

static size_t add_thread(struct verdict_load load)
{
	size_t i = s.in.threads_n++;

	s.threads[i] = load;
	s.in.all.hold_us += load.hold_us;
	s.in.all.wait_us += load.wait_us;
	s.in.all.n += load.n;
	s.in.all.c += load.c;
	s.in.all.forced += load.forced;
	s.in.util = s.in.all.hold_us / s.in.observed_us;
	s.in.cpu_us = s.in.all.hold_us;
	return i;
}

/* It was asked `n` times to let go, and went on `late` times of them, for 20 ms each; else for 20 us. */
static void ask(size_t thread, double n, double late)
{
	struct verdict_load *t = &s.threads[thread];

	t->over_n = n;
	t->over_late = late;
	t->over_us = 20 * MS * late + 20 * (n - late);
	t->over_max = late ? 25 * MS : 40;
}

static void add_pair(size_t victim, size_t holder, double us)
{
	s.pairs[s.in.pairs_n++] = (struct verdict_pair){victim, holder, us};
}

static const struct verdict_finding *found(enum verdict_pattern p)
{
	for (size_t i = 0; i < s.v.findings_n; i++)
		if (s.v.findings[i].pattern == p)
			return &s.v.findings[i];
	return NULL;
}

/* Exactly these patterns, in this order. PATTERN_COUNT ends the list. */
static void expect(enum gil_bound bound, ...)
{
	va_list args;
	size_t n = 0;
	int p;

	verdict__reach(&s.in, &s.v);
	cr_expect_str_eq(gil_bound__name(s.v.bound), gil_bound__name(bound), "%s", s.v.headline);
	va_start(args, bound);
	while ((p = va_arg(args, int)) != PATTERN_COUNT) {
		if (n < s.v.findings_n)
			cr_expect_str_eq(verdict_pattern__name(s.v.findings[n].pattern),
					 verdict_pattern__name((enum verdict_pattern)p));
		n++;
	}
	va_end(args);
	cr_expect_eq(s.v.findings_n, n, "%zu findings instead of %zu, the first: %s", s.v.findings_n, n,
		     s.v.findings_n ? s.v.findings[0].evidence : "");
	for (size_t i = 0; i < s.v.findings_n; i++) {
		cr_expect_not_null(strpbrk(s.v.findings[i].evidence, "0123456789"), "without a number: %s",
				   s.v.findings[i].evidence);
		cr_expect_gt(strlen(s.v.findings[i].remedy), 20);
		cr_expect_lt(strlen(s.v.findings[i].evidence), VERDICT_TEXT - 1, "cut: %s", s.v.findings[i].evidence);
		cr_expect_lt(strlen(s.v.findings[i].remedy), VERDICT_TEXT - 1, "cut: %s", s.v.findings[i].remedy);
	}
}

/* All of its holds on a CPU. */
static struct verdict_load load_of(const char *name, double hold_us, double wait_us, double n, double c, double forced,
				   double hold_p50, double hold_p99, double hold_max, double wait_p50, double wait_p99,
				   double wait_max)
{
	return (struct verdict_load){
		.name = name, .hold_us = hold_us, .wait_us = wait_us, .n = n, .c = c, .forced = forced, .hold_p50 = hold_p50,
		.hold_p99 = hold_p99, .hold_max = hold_max, .wait_p50 = wait_p50, .wait_p99 = wait_p99, .wait_max = wait_max,
	};
}

/* Pure Python that computes all the time; `n` holds of 5 ms. */
static struct verdict_load worker(const char *name, double hold_us, double wait_us)
{
	double n = hold_us / (5 * MS);
	struct verdict_load load = load_of(name, hold_us, wait_us, n, n, n, 5 * MS, 5.5 * MS, 6 * MS, 6 * MS, 20 * MS, 25 * MS);

	load.over_n = n;
	load.over_us = 20 * n;
	load.over_max = 40;
	return load;
}

static struct verdict_load reader(const char *name)
{
	return load_of(name, 0.05 * S, 4 * S, 800, 700, 0, 40, 300, 900, 5.1 * MS, 9 * MS, 12 * MS);
}

Test(verdict, idle_process_is_fine)
{
	add_thread(load_of("main", 0.2 * S, 0, 100, 0, 0, 100, 2 * MS, 3 * MS, NAN, NAN, NAN));
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.headline, "GIL: NO. Hardly any thread waits for it."));
	cr_expect_not_null(strstr(s.v.numbers, "2.0 %"));
	cr_expect_not_null(strstr(s.v.findings[0].remedy, "elsewhere"));
	cr_expect_float_eq(s.v.gain_max, 1, 0.001);
	/* Shares of next to nothing are not told. */
	s.in.cpu_us = 0.01 * S;
	s.in.all.hold_us = 0.005 * S;
	s.in.util = 0.0005;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "did next to nothing: it used 0.1 % of a CPU."), "%s",
			   s.v.findings[0].evidence);
}

/* Light mode: nobody queued. */
Test(verdict, nobody_who_waits_is_fine_whoever_holds)
{
	add_thread(load_of("light", NAN, 0.1 * S, NAN, 30, 0, NAN, NAN, NAN, 1 * MS, 2 * MS, 2 * MS));
	s.in.all.hold_us = s.in.util = s.in.handover_us = s.in.all.n = NAN;
	s.in.all.hold_blocked = s.in.all.hold_preempted = NAN;
	s.in.cpu_us = 5 * S;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "0.01 threads on average, and the process used 50.0 % of a CPU."),
			   "%s", s.v.findings[0].evidence);
}

Test(verdict, native_code_without_the_gil_is_where_the_time_goes)
{
	add_thread(load_of("main", 0.2 * S, 0, 100, 0, 0, 100, 2 * MS, 3 * MS, NAN, NAN, NAN));
	s.in.cpu_us = 18 * S;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "180.0 %"));
	cr_expect_not_null(strstr(s.v.findings[0].remedy, "native code"));
}

/* A pool that hashes: as measured on two CPUs that it fills. What waits, waits for a CPU while the GIL is free. */
Test(verdict, waiting_for_a_free_gil_is_no_bound_where_the_cpus_are_full)
{
	size_t a = add_thread(load_of("io_0", 0.1 * S, 1.3 * S, 3206, 1046, 0, 4, 80, 600, 90, 4 * MS, 9 * MS));
	size_t b = add_thread(load_of("io_1", 0.02 * S, 0.3 * S, 1000, 300, 0, 4, 80, 600, 90, 4 * MS, 9 * MS));

	add_pair(a, b, 0.1 * S);
	add_pair(b, a, 0.03 * S);
	s.in.handover_us = 1.47 * S;
	s.in.cpu_us = 19 * S;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	cr_expect_float_eq(s.v.gain_max, 2 / 1.9, 0.001);
	cr_expect_not_null(strstr(s.v.findings[0].remedy, "native code"));
	cr_expect_not_null(strstr(s.v.gain, "the waiting for it: 1.6 s of all threads together, in 10 s"), "%s", s.v.gain);
	/* Nor is waiting for a holder that waits for a CPU. */
	s.in.all.wait_us += 2 * S;
	s.in.all.wait_preempted = 2 * S;
	s.threads[a].hold_preempted = s.in.all.hold_preempted = 0.1 * S;
	expect(BOUND_NO, PATTERN_HANDOVER, PATTERN_STARVED_HOLDER, PATTERN_FINE, PATTERN_COUNT);
	s.in.all.wait_us -= 2 * S;
	s.in.all.wait_preempted = s.threads[a].hold_preempted = s.in.all.hold_preempted = 0;
	/* More of it, and the finding says what it was. */
	s.in.all.wait_us += 6 * S;
	s.in.handover_us += 6 * S;
	expect(BOUND_NO, PATTERN_HANDOVER, PATTERN_FINE, PATTERN_COUNT);
	cr_expect_str_empty(s.v.todo, "it is not the GIL, but: %s", s.v.todo);
	/* With CPUs to spare it is the GIL's: the wake-ups. */
	s.in.cpu_us = 1 * S;
	expect(BOUND_PARTLY, PATTERN_HANDOVER, PATTERN_COUNT);
}

Test(verdict, work_without_the_gil_is_work)
{
	size_t a = add_thread(worker("a", 4 * S, 2 * S)), b = add_thread(reader("b"));

	add_pair(b, a, 3.9 * S);
	s.in.cpus = 8;
	s.in.cpu_us = 14.05 * S; /* 10 s of it without the GIL */
	verdict__reach(&s.in, &s.v);
	cr_expect_float_eq(s.v.gain_max, (0.405 + 1 + 0.6) / 1.405, 0.001);
	cr_expect_not_null(strstr(s.v.gain, "that hold it, wait for it or run without it would keep 2.00 CPUs"), "%s", s.v.gain);
	/* A holder that slept or lacked a CPU used none meanwhile. */
	s.in.all.hold_blocked = 1 * S;
	s.in.all.hold_preempted = 1 * S;
	s.in.cpu_us = 12.05 * S;
	verdict__reach(&s.in, &s.v);
	cr_expect_float_eq(s.v.gain_max, (0.405 + 1 + 0.6) / 1.405, 0.001);
	/* Where that is much, its gain takes CPUs that were not there. */
	cr_expect_null(strstr(s.v.gain, "to be free"));
	s.in.all.hold_preempted = 2 * S;
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(strstr(s.v.gain, "holders lacked one for 49 % of their time"), "%s", s.v.gain);
}

Test(verdict, computing_threads_share_one_gil)
{
	size_t a = add_thread(worker("a", 4.9 * S, 5 * S)), b = add_thread(worker("b", 4.9 * S, 5 * S));

	add_pair(a, b, 4.9 * S);
	add_pair(b, a, 4.9 * S);
	s.in.jammed = 1;
	expect(BOUND_YES, PATTERN_CPU_SHARING, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "2 threads"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "98.0 %"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "196 times a second"));
	/* (0.98 + 1) wanted, 2 CPUs */
	cr_expect_float_eq(s.v.gain_max, 1.98 / 0.98, 0.001);
	s.in.cpus = 1;
	verdict__reach(&s.in, &s.v);
	cr_expect_float_eq(s.v.gain_max, 1 / 0.98, 0.001);
}

Test(verdict, thirty_threads_queue)
{
	static char names[30][8];

	for (int i = 0; i < 30; i++) {
		snprintf(names[i], sizeof(names[i]), "w%d", i);
		add_thread(worker(names[i], 0.33 * S, 9.6 * S));
	}
	s.in.jammed = 1;
	expect(BOUND_YES, PATTERN_CPU_SHARING, PATTERN_MANY_THREADS, PATTERN_COUNT);
	cr_expect_not_null(strstr(found(PATTERN_MANY_THREADS)->evidence, "28.8 threads"));
}

Test(verdict, one_thread_alone_is_not_held_up_by_the_gil)
{
	add_thread(load_of("main", 9.9 * S, 0, 10, 0, 0, 1 * S, 1 * S, 1 * S, NAN, NAN, NAN));
	expect(BOUND_NO, PATTERN_ONE_THREAD, PATTERN_COUNT);
	cr_expect_float_eq(s.v.gain_max, 1.0 / 0.99 > 1.05 ? 0 : 1, 0.05);
}

Test(verdict, short_holds_pay_a_switch_interval_each_time)
{
	size_t spinner = add_thread(worker("spinner", 9 * S, 0.5 * S)), io = add_thread(reader("io"));

	add_pair(io, spinner, 3.9 * S);
	expect(BOUND_PARTLY, PATTERN_CONVOY, PATTERN_COUNT);
	cr_expect_eq(s.v.findings[0].thread, io);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "88 % of its takes"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "5.1 ms"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "spinner"));
	/* A second one is said with it, not beside it. */
	add_pair(add_thread(reader("net")), spinner, 3.9 * S);
	verdict__reach(&s.in, &s.v);
	cr_expect_eq(s.v.findings_n, 1);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "1 other thread pays the same"));
}

Test(verdict, short_waits_are_no_convoy)
{
	size_t spinner = add_thread(worker("spinner", 9 * S, 0.5 * S)), io = add_thread(reader("io"));

	add_pair(io, spinner, 3.9 * S);
	/* A few long waits among many short ones are no convoy, ... */
	s.threads[io].wait_p50 = 0.5 * MS;
	expect(BOUND_PARTLY, PATTERN_COMPUTING, PATTERN_COUNT);
	/* ... nor are middling ones, ... */
	s.threads[io].wait_p50 = 1.4 * MS;
	s.threads[io].wait_us = 1 * S;
	expect(BOUND_PARTLY, PATTERN_COMPUTING, PATTERN_COUNT);
	/* ... nor whoever computes for long itself, mostly or at times. */
	s.threads[io] = reader("io");
	s.threads[io].hold_p50 = 5 * MS;
	expect(BOUND_PARTLY, PATTERN_COMPUTING, PATTERN_COUNT);
	s.threads[io] = reader("io");
	s.threads[io].hold_us = 1 * S;
	expect(BOUND_PARTLY, PATTERN_COMPUTING, PATTERN_COUNT);
}

/* C code lets go when it is through: a switch interval has nothing to do with it. */
Test(verdict, waiting_for_c_code_is_no_convoy)
{
	size_t hog = add_thread(load_of("hog", 9 * S, 0, 90, 0, 90, 100 * MS, 110 * MS, 120 * MS, NAN, NAN, NAN));
	size_t io = add_thread(load_of("io", 0.01 * S, 8.5 * S, 100, 90, 0, 40, 300, 900, 98 * MS, 108 * MS, 118 * MS));

	add_pair(io, hog, 8.4 * S);
	expect(BOUND_YES, PATTERN_LONG_HOLD, PATTERN_COUNT);
	/* It may be bytecode that lacked a CPU, unless it is late without that. */
	ask(hog, 90, 89);
	s.threads[hog].hold_preempted = s.in.all.hold_preempted = 3 * S;
	expect(BOUND_YES, PATTERN_LONG_HOLD, PATTERN_COUNT);
	/* Where holds are not known, the waits tell. */
	s.threads[hog].over_n = s.threads[hog].over_late = s.threads[hog].over_us = NAN;
	s.threads[hog].hold_us = s.threads[hog].hold_p50 = s.threads[hog].hold_p99 = s.threads[hog].hold_max = NAN;
	s.threads[hog].hold_preempted = s.in.all.hold_preempted = NAN;
	expect(BOUND_YES, PATTERN_LONG_HOLD, PATTERN_COUNT);
}

/* As measured: after each call the hog is forced out, takes the GIL anew, and lets go of its own accord at once. */
Test(verdict, short_holds_between_make_c_code_no_convoy)
{
	size_t hog = add_thread(load_of("hog", 8.6 * S, 0.1 * S, 280, 140, 140, 60, 61 * MS, 63 * MS, 30, 60, 80));
	size_t io = add_thread(load_of("io", 0.02 * S, 8.4 * S, 205, 140, 0, 55, 300, 900, 60.8 * MS, 62 * MS, 63 * MS));

	add_pair(io, hog, 8.3 * S);
	ask(hog, 140, 139);
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
}

/* A reader that comes every fifth of a second finds a hold of as long, and waits for a switch interval. */
Test(verdict, long_holds_that_nobody_asks_to_end_do_not_hide_a_convoy)
{
	size_t spinner = add_thread(load_of("spinner", 9.5 * S, 0, 60, 60, 60, 195 * MS, 200 * MS, 205 * MS, 30, 60, 80));
	size_t io = add_thread(load_of("io", 0.01 * S, 0.3 * S, 60, 58, 0, 55, 300, 900, 5.1 * MS, 5.3 * MS, 5.5 * MS));

	add_pair(io, spinner, 0.3 * S);
	ask(spinner, 58, 0);
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(found(PATTERN_CONVOY));
}

/* What collects garbage for most of its holds: its long holds are that, and nothing that wants smaller pieces. */
static size_t add_collector(void)
{
	size_t serve = add_thread(load_of("serve", 5 * S, 0.1 * S, 100, 20, 0, 5 * MS, 400 * MS, 480 * MS, 1 * MS, 2 * MS,
					  3 * MS));
	size_t beat = add_thread(load_of("beat", 0.1 * S, 4 * S, 1000, 30, 0, 90, 100, 120, 2 * MS, 300 * MS, 470 * MS));

	add_pair(beat, serve, 4 * S);
	ask(serve, 30, 29);
	s.threads[serve].gc_us = s.in.all.gc_us = 4.5 * S;
	s.in.gc_wait_us = 3.8 * S;
	s.in.gc_max_us = 450 * MS;
	s.in.gc_err_us = NAN;
	s.in.gc_n[0] = 800, s.in.gc_n[1] = 70, s.in.gc_n[2] = 9;
	return serve;
}

Test(verdict, garbage_collection_has_a_name_and_a_remedy_of_its_own)
{
	size_t serve = add_collector();

	expect(BOUND_PARTLY, PATTERN_GARBAGE, PATTERN_COUNT);
	cr_expect_eq(s.v.findings[0].thread, serve);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "for 4.5 s (45 % of the time, 88 % of all"), "%s",
			   s.v.findings[0].evidence);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "9 full collections and 870 of the young"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "the longest 450 ms"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "others waited 3.8 s"));
	cr_expect_null(strstr(s.v.findings[0].evidence, "sampled"));
	cr_expect_not_null(strstr(s.v.findings[0].remedy, "gc.freeze()"));
	cr_expect_null(strstr(s.v.findings[0].remedy, "smaller pieces"));
}

Test(verdict, sampled_garbage_collection_is_a_finding_only_beyond_its_error)
{
	add_collector();
	s.in.gc_err_us = 20 * MS;
	expect(BOUND_PARTLY, PATTERN_GARBAGE, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "at least 450 ms"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "sampled, give or take 20 ms"));
	s.in.all.gc_us = s.threads[0].gc_us = 0.6 * S;
	s.in.gc_wait_us = 0.3 * S;
	s.in.gc_err_us = 0.2 * S;
	verdict__reach(&s.in, &s.v);
	cr_expect_null(found(PATTERN_GARBAGE));
	cr_expect_not_null(found(PATTERN_LONG_HOLD), "most of its holds are something else");
	s.in.all.gc_us = s.in.gc_wait_us = NAN;
	verdict__reach(&s.in, &s.v);
	cr_expect_null(found(PATTERN_GARBAGE), "not known");
}

/* Behind other computing threads a reader waits for several intervals at each take. */
Test(verdict, a_queue_makes_a_convoy_wait_for_longer)
{
	size_t spinner = add_thread(worker("a", 4 * S, 8 * S)), io = add_thread(reader("io"));

	add_thread(worker("b", 4 * S, 8 * S));
	add_pair(io, spinner, 3.9 * S);
	s.threads[io].wait_p50 = 30 * MS;
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(found(PATTERN_CONVOY));
}

/* As measured: two readers that come in turn wait 3 ms each, and one preempted hold in a hundred changes nothing. */
Test(verdict, who_comes_while_another_asks_pays_the_rest_of_its_interval)
{
	size_t spinner = add_thread(worker("spinner", 9 * S, 0.5 * S)), io = add_thread(reader("io"));

	add_pair(io, spinner, 2.3 * S);
	s.threads[io].wait_p50 = 3.014 * MS;
	s.threads[io].wait_us = 2.4 * S;
	s.threads[io].hold_p99 = 9 * MS;
	expect(BOUND_PARTLY, PATTERN_CONVOY, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "3.01 ms or longer"));
}

Test(verdict, c_code_that_does_not_let_go)
{
	size_t report = add_thread(
		load_of("report", 4 * S, 0, 60, 1, 30, 40 * MS, 200 * MS, 214 * MS, 1, 2, 3));
	size_t intake = add_thread(
		load_of("intake", 0.1 * S, 6 * S, 400, 60, 0, 50, 100, 120, 30, 190 * MS, 207 * MS));

	add_pair(intake, report, 5.8 * S);
	ask(report, 30, 29);
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
	cr_expect_eq(s.v.findings[0].thread, report);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "214 ms"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "5.8 s"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "intake"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "C code that does not let go."));
	cr_expect_null(strstr(s.v.findings[0].remedy, "gets a CPU"));
	/* What it was is said as far as it is known. */
	s.threads[report].hold_preempted = s.in.all.hold_preempted = 1.2 * S;
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "or a holder without a CPU: it lacked one for 30 %"));
	cr_expect_not_null(strstr(s.v.findings[0].remedy, "See first that it gets a CPU."));
	s.threads[report].hold_preempted = s.threads[report].hold_blocked = NAN;
	s.in.all.hold_preempted = s.in.all.hold_blocked = NAN;
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "or a holder that slept or had no CPU."));
}

/* A thread that holds for 50 ms at a time, `forced` of 180 times until it is asked; and who waits for it. */
static size_t add_hog(double forced)
{
	size_t hog = add_thread(
		load_of("hog", 9 * S, 0, 180, 0, forced, 50 * MS, 51 * MS, 52 * MS, NAN, NAN, NAN));
	size_t victim = add_thread(
		load_of("victim", 0.1 * S, 8.5 * S, 400, 180, 0, 50, 100, 120, 40 * MS, 50 * MS, 51 * MS));

	add_pair(victim, hog, 8.4 * S);
	return hog;
}

Test(verdict, sleep_with_the_gil_is_a_bug_of_an_extension)
{
	size_t hog = add_hog(0);

	s.threads[hog].hold_blocked = s.in.all.hold_blocked = 8.9 * S;
	s.threads[hog].hold_preempted = s.in.all.hold_preempted = 0.05 * S;
	s.in.all.wait_blocked = 8.3 * S;
	s.in.all.wait_preempted = 0.05 * S;
	expect(BOUND_YES, PATTERN_BLOCKED_HOLD, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.numbers, "98 % of that asleep and 1 % without a CPU"), "%s", s.v.numbers);
	cr_expect_eq(s.v.findings[0].thread, hog);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "8.9 s (89 % of the time)"), "%s", s.v.findings[0].evidence);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "Others waited 8.31 s for that, victim the most."), "%s",
			   found(PATTERN_STOPPED_HOLDER)->evidence);
}

/* Of one of the findings. */
static void expect_evidence(const char *words)
{
	bool said = false;

	for (size_t i = 0; i < s.v.findings_n; i++)
		said = said || strstr(s.v.findings[i].evidence, words);
	cr_expect(said, "nobody says: %s", words);
}

/* A hold from before the probes is not known to be asleep; where the process had no CPU time for it, it did not compute. */
Test(verdict, what_is_unknown_of_a_sleeper_was_no_computing)
{
	size_t hog = add_hog(180);

	s.threads[hog].hold_blocked = s.in.all.hold_blocked = 6.9 * S;
	s.threads[hog].hold_unseen = s.in.all.hold_unseen = 2 * S;
	s.in.all.wait_blocked = 6.5 * S;
	s.in.cpu_us = 0.2 * S;
	/* What it ran otherwise lets go when asked, but explains next to nothing of the waiting: no convoy. */
	expect(BOUND_YES, PATTERN_BLOCKED_HOLD, PATTERN_COUNT);
	cr_expect_float_eq(found(PATTERN_BLOCKED_HOLD)->waited_us, 8.4 * S * 8.9 / 9, 0.01 * S);
	s.in.cpu_us = 4 * S;
	expect(BOUND_YES, PATTERN_BLOCKED_HOLD, PATTERN_LONG_HOLD, PATTERN_COUNT);
	/* Little of it was as all the rest, whatever the process computed. */
	s.threads[hog].hold_blocked = s.in.all.hold_blocked = 8.7 * S;
	s.threads[hog].hold_unseen = s.in.all.hold_unseen = 0.25 * S;
	expect(BOUND_YES, PATTERN_BLOCKED_HOLD, PATTERN_COUNT);
}

/* As py-spy does: bytecode that is stopped is neither asleep nor C code, and the process is not to blame. */
Test(verdict, holder_that_a_tracer_stops_is_the_tracers_doing)
{
	struct whys whys = {.of = {{.kind = GIL_WHY_TRACER, .pid = 4711, .name = "py-spy", .ns = 2900000000},
				   {.kind = GIL_WHY_CALL, .name = "futex", .ns = 10000000}}, .n = 2};
	size_t hog = add_thread(load_of("hog", 8 * S, 0, 200, 0, 150, 9 * MS, 25 * MS, 26 * MS, NAN, NAN, NAN));
	size_t victim = add_thread(
		load_of("victim", 0.6 * S, 7 * S, 400, 180, 0, 2 * MS, 3 * MS, 4 * MS, 3 * MS, 20 * MS, 26 * MS));

	add_pair(victim, hog, 6.9 * S);
	ask(hog, 150, 4);
	s.in.whys = &whys;
	s.threads[hog].hold_stopped = s.in.all.hold_stopped = 2.9 * S;
	s.in.all.wait_stopped = 2.5 * S;
	expect(BOUND_PARTLY, PATTERN_COMPUTING, PATTERN_STOPPED_HOLDER, PATTERN_COUNT);
	expect_evidence("py-spy (PID 4711) stopped the holder for 2.9 s (29 % of the time)");
	expect_evidence("Others waited 2.5 s for that, victim the most.");
	cr_expect_not_null(strstr(found(PATTERN_STOPPED_HOLDER)->remedy, "Two profilers"));
	cr_expect_not_null(strstr(s.v.numbers, "34 % stopped"), "%s", s.v.numbers);
	cr_expect_str_eq(s.v.limits, "");
	/* Little of it is no finding, but is told. */
	s.threads[hog].hold_stopped = s.in.all.hold_stopped = s.in.all.wait_stopped = 0.03 * S;
	whys.of[0].ns = 30000000;
	expect(BOUND_PARTLY, PATTERN_COMPUTING, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.limits, "py-spy (PID 4711) stopped holders for 30 ms"), "%s", s.v.limits);
	/* Nobody's name: a signal. */
	whys.of[0] = (struct why){.kind = GIL_WHY_SIGNAL, .ns = 2900000000};
	s.threads[hog].hold_stopped = s.in.all.hold_stopped = s.in.all.wait_stopped = 2.9 * S;
	expect(BOUND_PARTLY, PATTERN_COMPUTING, PATTERN_STOPPED_HOLDER, PATTERN_COUNT);
	expect_evidence("A signal (SIGSTOP) stopped the holder");
	cr_expect_null(strstr(found(PATTERN_STOPPED_HOLDER)->remedy, "profilers"));
}

Test(verdict, sleep_is_told_by_what_it_was_in)
{
	struct whys whys = {.of = {{.kind = GIL_WHY_CALL, .name = "futex", .ns = 8000000000},
				   {.kind = GIL_WHY_FAULT, .ns = 900000000}}, .n = 2};
	size_t hog = add_thread(load_of("hog", 9 * S, 0, 180, 0, 0, 50 * MS, 51 * MS, 52 * MS, NAN, NAN, NAN));

	s.in.whys = &whys;
	s.threads[hog].hold_blocked = s.in.all.hold_blocked = 8.9 * S;
	verdict__reach(&s.in, &s.v);
	expect_evidence("They slept in futex for 8 s of that.");
	cr_expect_not_null(strstr(s.v.findings[0].remedy, "bug of an extension"));
	whys.of[1].ns = 8500000000;
	verdict__reach(&s.in, &s.v);
	expect_evidence("They slept in page faults for 8.5 s");
	cr_expect_null(strstr(s.v.findings[0].remedy, "bug of an extension"));
}

/* 15 ms at a time, as orjson holds it; as measured of p23_shuffle.py: forced, all the same. */
static void add_c_call(double n, double late)
{
	size_t hog = add_thread(load_of("hog", 7 * S, 0, 470, 0, 460, 15 * MS, 15.4 * MS, 15.6 * MS, NAN, NAN, NAN));
	size_t web = add_thread(load_of("web", 0.1 * S, 4.4 * S, 450, 440, 0, 50, 100, 120, 9 * MS, 15 * MS, 15.5 * MS));

	add_pair(web, hog, 4.3 * S);
	s.threads[hog].over_n = n;
	s.threads[hog].over_late = late;
	s.threads[hog].over_us = late > n / 2 ? n * 9 * MS : n * 20;
	s.threads[hog].over_max = 10 * MS;
}

Test(verdict, who_goes_on_when_asked_is_c_code_and_no_convoy)
{
	add_c_call(440, 430);
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
	expect_evidence("Asked to let go 440 times, it went on for 9 ms on average, 10 ms at most.");
	cr_expect_null(strstr(s.v.findings[0].remedy, "setswitchinterval"));
}

Test(verdict, who_lets_go_when_asked_is_bytecode_and_makes_a_convoy)
{
	add_c_call(440, 4);
	expect(BOUND_PARTLY, PATTERN_CONVOY, PATTERN_COUNT);
}

/* Much of it in one thread, and none of it C code that does not let go. */
Test(verdict, holder_that_has_no_cpu_is_starved)
{
	size_t hog = add_thread(
		load_of("hog", 8 * S, 0, 200, 0, 150, 9 * MS, 60 * MS, 80 * MS, NAN, NAN, NAN));
	size_t victim = add_thread(
		load_of("victim", 0.6 * S, 7 * S, 400, 180, 0, 2 * MS, 3 * MS, 4 * MS, 3 * MS, 50 * MS, 70 * MS));

	add_pair(victim, hog, 6.9 * S);
	ask(hog, 150, 0);
	s.threads[hog].hold_preempted = s.in.all.hold_preempted = 5 * S;
	s.in.all.wait_preempted = 4.6 * S;
	expect(BOUND_PARTLY, PATTERN_STARVED_HOLDER, PATTERN_COMPUTING, PATTERN_COUNT);
	cr_expect_eq(s.v.findings[0].thread, hog);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "5 s (50 % of the time)"), "%s", s.v.findings[0].evidence);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "Others waited 4.31 s for that, victim the most."));
	cr_expect_not_null(strstr(s.v.findings[0].remedy, "may run on 2"));
	/* As measured: C code of 60 ms that lacks a CPU for half of its time is still C code. */
	s.threads[hog].hold_p99 = s.threads[hog].hold_max = 135 * MS;
	ask(hog, 150, 150);
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "it lacked one for 62 % of its holds"), "%s",
			   s.v.findings[0].evidence);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "For 4.31 s more others waited while it had no CPU."));
	/* What would let go within 10 ms, had it a CPU, has that to blame. */
	s.threads[hog].over_us = 150 * 5 * MS;
	expect(BOUND_PARTLY, PATTERN_STARVED_HOLDER, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "It is C code that does not let go"), "%s", s.v.findings[0].evidence);
	cr_expect_float_eq(s.v.findings[0].waited_us, 6.9 * S, 1);
}

/* As measured beside other programs: bytecode that lacked a CPU, and C code that did as well. */
Test(verdict, bytecode_without_a_cpu_is_no_c_code)
{
	size_t cpu = add_thread(load_of("cpu", 5.2 * S, 2 * S, 500, 300, 480, 9 * MS, 17 * MS, 46 * MS, 1, 40 * MS, 41 * MS));
	size_t hog = add_thread(load_of("hog", 2.4 * S, 1 * S, 70, 60, 35, 12 * MS, 48 * MS, 57 * MS, 1, 9 * MS, 12 * MS));
	size_t tick = add_thread(load_of("tick", 0.01 * S, 7 * S, 300, 290, 0, 25, 60, 90, 5.5 * MS, 60 * MS, 92 * MS));

	add_pair(tick, cpu, 3.2 * S);
	add_pair(tick, hog, 1.8 * S);
	ask(cpu, 290, 20);
	ask(hog, 34, 33);
	s.threads[cpu].hold_preempted = 1.9 * S;
	s.threads[hog].hold_preempted = 0.9 * S;
	s.in.all.hold_preempted = 2.8 * S;
	s.in.all.wait_preempted = 2 * S;
	expect(BOUND_PARTLY, PATTERN_CONVOY, PATTERN_STARVED_HOLDER, PATTERN_LONG_HOLD, PATTERN_COUNT);
	cr_expect_eq(found(PATTERN_LONG_HOLD)->thread, hog);
	cr_expect_null(strstr(found(PATTERN_LONG_HOLD)->evidence, "did the same"), "%s", found(PATTERN_LONG_HOLD)->evidence);
	/* However long its longest holds: it lets go when it is asked. */
	s.threads[cpu].hold_p99 = 46 * MS;
	verdict__reach(&s.in, &s.v);
	cr_expect_eq(found(PATTERN_LONG_HOLD)->thread, hog);
	ask(cpu, 290, 280);
	verdict__reach(&s.in, &s.v);
	cr_expect_eq(found(PATTERN_LONG_HOLD)->thread, cpu);
}

/* `us` of holding and of others' waiting, of one kind. */
static void add_place(size_t thread, const char *code, enum verdict_time kind, double hold_us, double blame_us)
{
	struct verdict_place *p = &s.places[s.in.places_n++];

	*p = (struct verdict_place){.thread = thread, .code = code, .function = code};
	p->hold_us[kind] = hold_us;
	p->blame_us[kind] = blame_us;
}

static void expect_code(enum verdict_pattern p, const char *code)
{
	const struct verdict_finding *f = found(p);

	cr_assert_not_null(f, "no %s", verdict_pattern__name(p));
	cr_expect_str_eq(f->code ?: "(none)", code, "%s", f->evidence);
	cr_expect_not_null(strstr(f->evidence, code), "%s", f->evidence);
}

/* Others wait for the bytecode of a thread the most, but that lets go when it is asked: it went on in C code. */
Test(verdict, code_that_does_not_let_go_is_where_it_went_on_from)
{
	size_t job = add_thread(load_of("job", 9 * S, 0, 90, 0, 90, 100 * MS, 110 * MS, 120 * MS, NAN, NAN, NAN));
	size_t io = add_thread(load_of("io", 0.01 * S, 8.5 * S, 100, 90, 0, 40, 300, 900, 98 * MS, 108 * MS, 118 * MS));

	add_pair(io, job, 8.4 * S);
	ask(job, 90, 89);
	add_place(job, "crunch (a.py:3)", TIME_RUNS, 5 * S, 4.5 * S);
	add_place(job, "solve (a.py:9)", TIME_RUNS, 4 * S, 3.9 * S);
	expect(BOUND_YES, PATTERN_LONG_HOLD, PATTERN_COUNT);
	expect_code(PATTERN_LONG_HOLD, "crunch (a.py:3)");
	s.places[0].over_us = 2 * MS;
	s.places[1].over_us = 1.7 * S;
	expect(BOUND_YES, PATTERN_LONG_HOLD, PATTERN_COUNT);
	expect_code(PATTERN_LONG_HOLD, "solve (a.py:9)");
	cr_expect_not_null(strstr(found(PATTERN_LONG_HOLD)->evidence, "asked to let go there it went on for 1.7 s"), "%s",
			   found(PATTERN_LONG_HOLD)->evidence);
}

/* A hold from before, whose thread never ran since: of its place nobody saw anything, of the thread the kernel tells. */
Test(verdict, holder_that_is_known_to_lack_a_cpu_is_no_unknown_for_its_place)
{
	size_t hog = add_thread(load_of("hog", 10 * S, 0, 1, 0, 0, NAN, NAN, 10 * S, NAN, NAN, NAN));
	size_t victim = add_thread(load_of("victim", 0, 10 * S, 0, 1, 0, NAN, NAN, NAN, NAN, NAN, 10 * S));

	add_pair(victim, hog, 10 * S);
	s.threads[hog].hold_preempted = s.in.all.hold_preempted = 10 * S;
	s.in.all.wait_preempted = 10 * S;
	add_place(hog, "spin (app.py:1)", TIME_UNSEEN, 10 * S, 10 * S);
	verdict__reach(&s.in, &s.v);
	cr_expect_eq(s.v.findings[0].pattern, PATTERN_STARVED_HOLDER, "%s", s.v.findings[0].evidence);
}

/* A thread that computes, runs C code, and sleeps with the GIL; another that computes. */
Test(verdict, a_finding_names_the_code_that_its_own_time_rests_on)
{
	size_t job = add_thread(load_of("job", 6 * S, 1 * S, 400, 300, 250, 40 * MS, 200 * MS, 214 * MS, 5 * MS, 6 * MS, 7 * MS));
	size_t other = add_thread(worker("other", 1.5 * S, 2 * S));
	size_t web = add_thread(load_of("web", 0.1 * S, 6 * S, 400, 300, 0, 50, 100, 120, 5.1 * MS, 190 * MS, 207 * MS));

	add_pair(web, job, 5 * S);
	add_pair(web, other, 1 * S);
	s.threads[job].hold_blocked = s.in.all.hold_blocked = 1 * S;
	s.in.all.wait_blocked = 1 * S;
	add_place(job, "dumps (shop.py:12) -> json.so: encode", TIME_RUNS, 4 * S, 3.5 * S);
	s.places[0].extension = true;
	add_place(job, "crunch (shop.py:40)", TIME_RUNS, 1 * S, 0.5 * S);
	add_place(job, "lookup (shop.py:50) -> libc.so.6: usleep", TIME_ASLEEP, 1 * S, 1 * S);
	add_place(other, "spin (shop.py:60)", TIME_RUNS, 1.5 * S, 1 * S);
	verdict__reach(&s.in, &s.v);
	expect_code(PATTERN_LONG_HOLD, "dumps (shop.py:12) -> json.so: encode");
	expect_code(PATTERN_BLOCKED_HOLD, "lookup (shop.py:50) -> libc.so.6: usleep");
	expect_code(PATTERN_CONVOY, "spin (shop.py:60)");
	cr_expect_eq(found(PATTERN_CONVOY)->holder, other);
	cr_expect_eq(found(PATTERN_CONVOY)->thread, web);
	cr_expect_null(strstr(found(PATTERN_LONG_HOLD)->remedy, "Find the call"), "it is found");
	/* The heaviest first, each of its own time. */
	cr_expect_eq(s.v.findings[0].pattern, PATTERN_LONG_HOLD);
	cr_expect_float_eq(found(PATTERN_LONG_HOLD)->waited_us, 4 * S, 1);
	cr_expect_float_eq(found(PATTERN_BLOCKED_HOLD)->waited_us, 1 * S, 1);
	cr_expect_float_eq(found(PATTERN_CONVOY)->waited_us, 1 * S, 1);
	/* Nobody waits: what was held tells. */
	s.in.pairs_n = 0;
	for (size_t i = 0; i < s.in.places_n; i++)
		memset(s.places[i].blame_us, 0, sizeof(s.places[i].blame_us));
	s.in.all.wait_us = s.in.all.wait_blocked = 0;
	verdict__reach(&s.in, &s.v);
	expect_code(PATTERN_BLOCKED_HOLD, "lookup (shop.py:50) -> libc.so.6: usleep");
	/* Without a place of its own kind it names none. */
	s.places[2].hold_us[TIME_ASLEEP] = 0;
	verdict__reach(&s.in, &s.v);
	cr_expect_null(found(PATTERN_BLOCKED_HOLD)->code, "%s", found(PATTERN_BLOCKED_HOLD)->evidence);
	cr_expect_not_null(strstr(found(PATTERN_BLOCKED_HOLD)->remedy, "gilscope dump"));
}

/* A pool has one guilty function, whichever of its threads is the worst. */
Test(verdict, code_of_many_threads_is_added_up)
{
	size_t a = add_thread(worker("a", 3 * S, 5 * S)), b = add_thread(worker("b", 3 * S, 5 * S));
	size_t c = add_thread(worker("c", 3.5 * S, 5 * S));

	add_pair(a, b, 5 * S);
	add_pair(b, a, 5 * S);
	add_pair(a, c, 5 * S);
	add_place(a, "search (app.py:3)", TIME_RUNS, 3 * S, 4 * S);
	add_place(b, "search (app.py:3)", TIME_RUNS, 3 * S, 4.1 * S);
	add_place(c, "parse (app.py:9)", TIME_RUNS, 3.5 * S, 5 * S);
	verdict__reach(&s.in, &s.v);
	expect_code(PATTERN_CPU_SHARING, "search (app.py:3)");
	expect_evidence("others waited 8.1 s");
}

/* ---- no verdict without a cause ---- */

/* As in a program that computes for 15 ms at a time: its web threads are late now and then, which is no convoy. */
Test(verdict, bursts_of_bytecode_are_a_cause)
{
	size_t job = add_thread(load_of("job", 2.5 * S, 0.1 * S, 600, 450, 440, 5 * MS, 6 * MS, 7 * MS, 90, 300, 400));
	size_t web = add_thread(load_of("web", 0.1 * S, 1.6 * S, 1900, 330, 0, 40, 60, 90, 5.1 * MS, 5.3 * MS, 6 * MS));

	add_pair(web, job, 1.55 * S);
	add_pair(job, web, 0.1 * S);
	add_place(job, "spin (burst.py:6)", TIME_RUNS, 2.5 * S, 1.55 * S);
	expect(BOUND_PARTLY, PATTERN_COMPUTING, PATTERN_SHORT_HOLDS, PATTERN_COUNT);
	expect_code(PATTERN_COMPUTING, "spin (burst.py:6)");
	cr_expect_eq(found(PATTERN_COMPUTING)->thread, job);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "That is 91 % of all waiting."), "%s", s.v.findings[0].evidence);
	cr_expect_lt(s.v.unexplained, 0.05);
	cr_expect_str_empty(s.v.cause);
}

/* The same lengths of holds, but as long waits: nobody can take it from C code. */
Test(verdict, c_code_of_15_ms_is_a_cause)
{
	size_t job = add_thread(load_of("job", 4 * S, 0.1 * S, 270, 20, 260, 15 * MS, 16 * MS, 17 * MS, 90, 300, 400));
	size_t web = add_thread(load_of("web", 0.1 * S, 2 * S, 1900, 260, 0, 40, 60, 90, 8.1 * MS, 15 * MS, 16 * MS));

	add_pair(web, job, 2 * S);
	add_place(job, "dumps (shop.py:12) -> orjson.so", TIME_RUNS, 4 * S, 2 * S);
	s.places[0].extension = true;
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
	expect_code(PATTERN_LONG_HOLD, "dumps (shop.py:12) -> orjson.so");
	/* Without requests, and without any C code that was seen, nobody knows. */
	s.places[0].extension = false;
	expect(BOUND_PARTLY, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.cause, "job the most, mostly in dumps (shop.py:12) -> orjson.so"), "%s", s.v.cause);
	cr_expect_not_null(strstr(s.v.cause, "is not certain"), "%s", s.v.cause);
	/* How late it lets go tells for certain: bytecode. */
	ask(job, 250, 2);
	expect(BOUND_PARTLY, PATTERN_COMPUTING, PATTERN_COUNT);
	s.threads[job].over_late = 245;
	s.threads[job].over_us = 2 * S;
	s.threads[web].wait_p50 = 4 * MS;
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
}

/* As three threads that compute on a busy machine: one held without a CPU when the probes came, and nobody knows that. */
Test(verdict, longest_hold_is_no_c_code_of_who_lets_go_when_asked)
{
	size_t a = add_thread(worker("a", 4.9 * S, 5 * S)), b = add_thread(worker("b", 4.9 * S, 5 * S));

	add_pair(a, b, 4.9 * S);
	add_pair(b, a, 4.9 * S);
	s.threads[a].hold_max = s.threads[b].wait_max = 600 * MS;
	s.threads[a].hold_unseen = s.in.all.hold_unseen = 600 * MS;
	expect(BOUND_YES, PATTERN_CPU_SHARING, PATTERN_COUNT);
	/* Nor of who was hardly ever asked, however long it was. */
	ask(a, 2, 1);
	ask(b, 1, 1);
	s.threads[a].hold_unseen = s.in.all.hold_unseen = 0;
	expect(BOUND_YES, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.cause, "is not certain"), "%s", s.v.cause);
}

/* One call in ten, but each goes on for so long that it is nearly all that others wait for. */
Test(verdict, c_code_that_is_rare_but_long_is_the_cause)
{
	size_t job = add_thread(load_of("job", 6 * S, 0, 400, 0, 110, 5 * MS, 200 * MS, 205 * MS, NAN, NAN, NAN));
	size_t web = add_thread(load_of("web", 0.1 * S, 2.5 * S, 400, 110, 0, 40, 60, 90, 5.1 * MS, 190 * MS, 200 * MS));

	add_pair(web, job, 2.5 * S);
	ask(job, 110, 10);
	s.threads[job].over_us = 10 * 195 * MS;
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
}

Test(verdict, what_no_finding_explains_is_said)
{
	add_thread(load_of("a", 1 * S, 2 * S, 500, 300, 0, 90, 800, 2 * MS, 1 * MS, 3 * MS, 4 * MS));
	s.in.unknown_us = 0.4 * S;
	expect(BOUND_PARTLY, PATTERN_COUNT);
	cr_expect_eq(s.v.unexplained, 1);
	cr_expect_not_null(strstr(s.v.cause, "Cause not found: 100 % of the waiting is not explained, of 20 % the holder"), "%s",
			   s.v.cause);
	add_pair(0, add_thread(worker("b", 3 * S, 0)), 1.2 * S);
	verdict__reach(&s.in, &s.v);
	cr_expect_float_eq(s.v.unexplained, 0.4, 0.001);
	cr_expect_not_null(strstr(s.v.cause, "The rest of the cause was not found: 40 %"), "%s", s.v.cause);
}

Test(verdict, long_hold_that_nobody_waited_for_is_no_finding)
{
	size_t main = add_thread(
		load_of("main", 4 * S, 0, 20, 0, 0, 200 * MS, 210 * MS, 214 * MS, NAN, NAN, NAN));
	size_t other = add_thread(
		load_of("other", 0.1 * S, 0.5 * S, 100, 50, 0, 90, 100, 120, 2 * MS, 8 * MS, 9 * MS));

	add_pair(other, main, 0.05 * S);
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	/* Waited for, but never for long: it was given up when asked. */
	s.pairs[0].us = 0.5 * S;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
}

/* 23 of 24 threads wait all the time: a page fault of the holder's costs them 23 times as much. */
Test(verdict, little_sleep_is_no_finding_however_many_wait)
{
	for (int i = 0; i < 24; i++)
		add_thread(load_of("cpu", 0.4 * S, 9.5 * S, 80, 80, 80, 5 * MS, 6 * MS, 6 * MS, 100 * MS, 120 * MS, 130 * MS));
	for (size_t i = 0; i < 24; i++)
		ask(i, 80, 0);
	for (size_t i = 1; i < 24; i++)
		add_pair(i, 0, 0.4 * S);
	s.threads[0].hold_blocked = s.in.all.hold_blocked = 0.02 * S;
	s.in.all.wait_blocked = 0.5 * S; /* of 228 */
	expect(BOUND_YES, PATTERN_CPU_SHARING, PATTERN_MANY_THREADS, PATTERN_COUNT);
	s.in.all.wait_blocked = 20 * S;
	expect(BOUND_YES, PATTERN_CPU_SHARING, PATTERN_BLOCKED_HOLD, PATTERN_MANY_THREADS, PATTERN_COUNT);
}

Test(verdict, little_off_the_cpu_is_no_finding_and_unknown_none_either)
{
	size_t sleeper = add_thread(load_of("sleeper", 5 * S, 0, 100, 0, 0, 50 * MS, 51 * MS, 52 * MS, NAN, NAN, NAN));

	s.threads[sleeper].hold_blocked = s.in.all.hold_blocked = 4.7 * S;
	s.threads[sleeper].hold_preempted = s.in.all.hold_preempted = 0.2 * S;
	expect(BOUND_NO, PATTERN_BLOCKED_HOLD, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "4.7 s"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "Nobody else wanted it meanwhile."));
	s.threads[sleeper].hold_blocked = s.in.all.hold_blocked = 0.4 * S;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	s.threads[sleeper].hold_blocked = s.in.all.hold_blocked = NAN;
	s.threads[sleeper].hold_preempted = s.in.all.hold_preempted = NAN;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	/* A process that had little CPU for its holds proves nothing by itself. */
	s.in.cpu_us = 0.3 * S;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
}

Test(verdict, nobody_held_it)
{
	add_thread(load_of("a", 2 * S, 4 * S, 90000, 40000, 10, 20, 90, 900, 80, 400, 4 * MS));
	s.in.handover_us = 1.8 * S;
	expect(BOUND_PARTLY, PATTERN_HANDOVER, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "45 %"));
	s.in.handover_us = 0.1 * S;
	expect(BOUND_PARTLY, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.cause, "Cause not found: 100 %"), "%s", s.v.cause);
}

Test(verdict, bursts_are_seen_behind_a_calm_average)
{
	add_thread(load_of("main", 1.5 * S, 0.6 * S, 500, 100, 0, 90, 800, 2 * MS, 1 * MS, 3 * MS,
					 4 * MS));
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	s.in.jammed = 0.1;
	expect(BOUND_PARTLY, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.numbers, "10 % of the time"));
}

Test(verdict, what_is_not_known_claims_nothing)
{
	add_thread(load_of("light", NAN, 5 * S, NAN, 300, 20, NAN, NAN, NAN, 6 * MS, 9 * MS, 12 * MS));
	s.in.all.hold_us = s.in.util = s.in.handover_us = s.in.all.n = s.in.cpu_us = NAN;
	s.in.all.hold_blocked = s.in.all.hold_preempted = s.in.all.wait_blocked = s.in.all.wait_preempted = NAN;
	s.in.sampled = true;
	expect(BOUND_PARTLY, PATTERN_COUNT);
	cr_expect(isnan(s.v.gain_max));
	cr_expect_str_empty(s.v.gain);
	cr_expect_not_null(strstr(s.v.numbers, "light mode"));
	cr_expect_not_null(strstr(s.v.limits, "sampled"));
}

Test(verdict, too_little_time_says_so)
{
	add_thread(worker("a", 9.8 * S, 5 * S));
	s.in.observed_us = 0.1 * S;
	expect(BOUND_UNKNOWN, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.headline, "Not enough"));
}

Test(verdict, limits_name_what_was_lost)
{
	add_thread(worker("a", 1 * S, 2 * S));
	s.in.cov = 0.5;
	s.in.lost = 12;
	s.in.unknown_us = 0.2 * S;
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(strstr(s.v.limits, "Only 50.0 %"));
	cr_expect_not_null(strstr(s.v.limits, "12 events"));
	cr_expect_not_null(strstr(s.v.limits, "10.0 % of the waiting"));
}

/* ---- what hangs or stands still ---- */

/* Held all the time, on no CPU that was seen; the process used none. */
static void hang(struct holding *h)
{
	add_thread(load_of("worker", 10 * S, 0, 0, 0, 0, 10 * S, 10 * S, 10 * S, NAN, NAN, NAN));
	add_thread(load_of("waiter", 0, 10 * S, 0, 0, 0, NAN, NAN, NAN, 10 * S, 10 * S, 10 * S));
	add_pair(1, 0, 10 * S);
	s.in.cpu_us = 0.1 * S;
	s.in.waiting = 1;
	s.in.holding = h;
	s.in.holder = 0;
}

Test(verdict, hold_of_which_nothing_is_known_computes_nothing)
{
	struct holding h = {0};

	hang(&h);
	s.threads[0].hold_unseen = s.in.all.hold_unseen = 10 * S;
	verdict__reach(&s.in, &s.v);
	cr_expect_null(found(PATTERN_ONE_THREAD));
	cr_expect(isnan(s.v.gain_max));
	cr_expect_str_eq(s.v.gain, "");
	cr_expect_not_null(strstr(found(PATTERN_LONG_HOLD)->evidence, "which is not known"), "%s", s.v.findings[0].evidence);
	/* Nobody waits: nothing is advised but to look. */
	s.in.pairs_n = 0;
	s.in.all.wait_us = s.threads[1].wait_us = 0;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	cr_expect_null(strstr(s.v.findings[0].remedy, "I/O"), "%s", s.v.findings[0].remedy);
}

Test(verdict, process_without_cpu_time_does_not_compute)
{
	struct holding h = {0};

	hang(&h);
	s.in.pairs_n = 0;
	s.in.all.wait_us = s.threads[1].wait_us = 0;
	verdict__reach(&s.in, &s.v);
	cr_expect_null(found(PATTERN_ONE_THREAD));
	s.in.cpu_us = 10 * S;
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(found(PATTERN_ONE_THREAD));
}

Test(verdict, stuck_holder_is_named_with_its_call)
{
	struct holding h = {
		.by = HOLDER_THREAD, .name = "worker", .before = true, .lasted_ns = 10000000000ull, .place = "f (a.py:3)",
		.task = {.letter = 'S', .call = "futex"},
	};

	hang(&h);
	s.threads[0].hold_blocked = s.in.all.hold_blocked = 10 * S;
	s.in.all.wait_blocked = 10 * S;
	expect(BOUND_YES, PATTERN_STUCK_HOLDER, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "asleep in futex"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "1.0 % of a CPU"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "1 thread waits for it"));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "f (a.py:3)"));
	/* On a CPU it is not stuck. */
	h.task.letter = 'R';
	verdict__reach(&s.in, &s.v);
	cr_expect_null(found(PATTERN_STUCK_HOLDER));
}

Test(verdict, holder_that_is_gone_is_all_there_is_to_say)
{
	struct holding h = {.by = HOLDER_LEFT_BY_FORK, .name = "worker", .gone_ns = 10000000000ull};

	hang(&h);
	s.threads[0].hold_blocked = s.in.all.hold_blocked = 10 * S;
	s.in.all.wait_blocked = 10 * S;
	expect(BOUND_YES, PATTERN_GONE_HOLDER, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "left behind by fork (worker)"));
	cr_expect_not_null(strstr(s.v.headline, "GIL: YES (stuck)."));
}

Test(verdict, process_that_stands_still_is_not_judged)
{
	struct holding h = {.standstill = STANDSTILL_STOPPED, .still_ns = {[STANDSTILL_STOPPED] = 9900000000ull}};

	hang(&h);
	expect(BOUND_UNKNOWN, PATTERN_STANDSTILL, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "99 %"), "%s", s.v.findings[0].evidence);
}

Test(verdict, time_that_it_stood_still_is_no_sleeping_holders)
{
	struct holding h = {.still_ns = {[STANDSTILL_FROZEN] = 4000000000ull}};

	add_thread(worker("worker", 10 * S, 0));
	s.threads[0].hold_blocked = s.in.all.hold_blocked = 4 * S;
	s.threads[0].hold_max = 4 * S;
	s.in.cpu_us = 6 * S;
	s.in.holding = &h;
	s.in.holder = SIZE_MAX;
	expect(BOUND_NO, PATTERN_STANDSTILL, PATTERN_ONE_THREAD, PATTERN_COUNT);
	cr_expect(isnan(s.v.gain_max));
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "then it went on"), "%s", s.v.findings[0].evidence);
}

/* ---- the answer ---- */

/* Four of a pool that wait for one who sleeps in C code with the GIL. */
static void geo(void)
{
	static const char *const names[] = {"api-0", "api-1", "api-2", "api-3"};
	static struct whys whys = {.n = 1, .of = {{.kind = GIL_WHY_CALL, .name = "connect", .ns = 3000000000ull}}};
	size_t holder = add_thread(load_of("geo", 3 * S, 0, 60, 0, 0, 60 * MS, 61 * MS, 61 * MS, NAN, NAN, NAN));

	s.threads[holder].hold_blocked = s.in.all.hold_blocked = 3 * S;
	s.in.cpu_us = 0.2 * S;
	s.in.whys = &whys;
	for (size_t i = 0; i < 4; i++) {
		size_t api = add_thread(load_of(names[i], 0.01 * S, 2.5 * S, 600, 60, 0, 20, 60, 90, 30 * MS, 60 * MS, 61 * MS));

		add_pair(api, holder, 2.4 * S);
	}
	s.in.all.wait_blocked = 9.6 * S;
	add_place(holder, "locate (geo.py:40) -> connect", TIME_ASLEEP, 3 * S, 9.6 * S);
}

Test(verdict, headline_is_from_the_side_of_those_who_wait)
{
	geo();
	verdict__reach(&s.in, &s.v);
	cr_expect_str_eq(s.v.headline, "GIL: YES (latency). api-0..3 wait 25 % of their time for it, up to 61 ms at a time; "
			 "96 % of that for geo, in locate (geo.py:40) -> connect, asleep in connect.");
	cr_expect_str_eq(s.v.todo, s.v.findings[0].todo);
	cr_expect_not_null(strstr(s.v.todo, "release the GIL"), "%s", s.v.todo);
}

/* A remedy fits what is done: nobody who calls json.dumps can have it release the GIL. */
Test(verdict, operation_has_its_own_remedy)
{
	size_t job = add_thread(load_of("job", 6 * S, 0, 60, 0, 60, 100 * MS, 110 * MS, 120 * MS, NAN, NAN, NAN));
	size_t web = add_thread(load_of("web", 0.1 * S, 5 * S, 400, 60, 0, 50, 100, 120, 60 * MS, 100 * MS, 110 * MS));

	add_pair(web, job, 5 * S);
	ask(job, 60, 60);
	add_place(job, "save (shop.py:12) -> json.dumps -> _json: encode", TIME_RUNS, 6 * S, 5 * S);
	s.places[0].extension = true;
	s.places[0].native = "_json.cpython-311-x86_64-linux-gnu.so: encode";
	s.places[0].called = "json.dumps";
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "It reads or writes JSON"), "%s", s.v.findings[0].evidence);
	cr_expect_null(strstr(s.v.findings[0].remedy, "extension"), "%s", s.v.findings[0].remedy);
	cr_expect_null(strstr(s.v.todo, "Py_BEGIN"), "%s", s.v.todo);
	/* A function of the user's own extension: it can. */
	s.places[0].native = "shop.so: rate";
	s.places[0].called = "";
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.todo, "Py_BEGIN_ALLOW_THREADS"), "%s", s.v.todo);
	/* The interpreter's own: nobody can. */
	s.places[0].native = "libpython3.11.so.1.0: list_sort.isra.0";
	s.places[0].extension = false;
	expect(BOUND_PARTLY, PATTERN_LONG_HOLD, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.todo, "sort less at a time"), "%s", s.v.todo);
}

/* Its holds are long on no CPU: the child has it, or another process. */
static void fork_for(double rss_kib)
{
	size_t job = add_thread(load_of("reports", 1.4 * S, 0, 60, 0, 60, 10 * MS, 40 * MS, 43 * MS, NAN, NAN, NAN));
	size_t web = add_thread(load_of("web", 0.1 * S, 3 * S, 400, 60, 0, 50, 100, 120, 20 * MS, 40 * MS, 43 * MS));

	s.in.rss_kib = rss_kib;
	s.threads[job].hold_preempted = s.in.all.hold_preempted = 1.2 * S;
	s.in.all.wait_preempted = 2.5 * S;
	add_pair(web, job, 3 * S);
	add_place(job, "make_report (shop.py:40) -> posix.fork", TIME_STARVED, 1.2 * S, 2.5 * S);
	s.places[0].hold_us[TIME_RUNS] = 0.2 * S;
	s.places[0].blame_us[TIME_RUNS] = 0.5 * S;
	s.places[0].native = "python3.11: posix.fork";
	s.places[0].called = "";
	verdict__reach(&s.in, &s.v);
}

Test(verdict, fork_of_much_memory_is_the_cause_whether_it_had_a_cpu_or_not)
{
	fork_for(1600 * 1024);
	cr_assert_eq(s.v.findings[0].pattern, PATTERN_FORK, "%s", s.v.findings[0].evidence);
	expect_code(PATTERN_FORK, "make_report (shop.py:40) -> posix.fork");
	cr_expect_null(found(PATTERN_STARVED_HOLDER));
	cr_expect_not_null(strstr(s.v.headline, "make_report"), "%s", s.v.headline);
	cr_expect_not_null(strstr(s.v.headline, "forks"), "%s", s.v.headline);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "1.6 GiB"), "%s", s.v.findings[0].evidence);
	cr_expect_null(strstr(s.v.todo, "CPU"), "%s", s.v.todo);
}

Test(verdict, fork_of_little_memory_that_lacks_a_cpu_lacks_a_cpu)
{
	fork_for(40 * 1024);
	cr_expect_null(found(PATTERN_FORK));
	cr_assert_eq(s.v.findings[0].pattern, PATTERN_STARVED_HOLDER, "%s", s.v.findings[0].evidence);
}

Test(verdict, who_has_the_cpu_is_said_and_a_limit_is_what_to_raise)
{
	s.in.cpu_users = "It may use all of the machine's CPUs, 2. Of their time it used 9 %, make (PID 712) 88 %.";
	fork_for(40 * 1024);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "make (PID 712) 88 %"), "%s", s.v.findings[0].evidence);
	cr_expect_not_null(strstr(s.v.todo, "take load away"), "%s", s.v.todo);
	calm();
	s.in.throttled_us = 3 * S;
	fork_for(40 * 1024);
	cr_expect_not_null(strstr(s.v.todo, "raise the CPU limit of its cgroup (cpu.max): that stopped it for 3 s"), "%s",
			   s.v.todo);
	cr_expect_null(strstr(s.v.findings[0].remedy, "load"), "%s", s.v.findings[0].remedy);
}

Test(verdict, change_during_the_look_and_a_start_are_said)
{
	add_thread(worker("cpu", 5 * S, 0));
	s.in.age_us = 3 * S;
	s.in.first = (struct verdict_part){3 * S, 0.98, 0.1};
	s.in.last = (struct verdict_part){3 * S, 0.12, 0.1};
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(strstr(s.v.limits, "started 3 s before"), "%s", s.v.limits);
	cr_expect_not_null(strstr(s.v.limits, "held for 98 %, in the last for 12 %"), "%s", s.v.limits);
	s.in.first = (struct verdict_part){3 * S, NAN, 0.2};
	s.in.last = (struct verdict_part){3 * S, NAN, 4.5};
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(strstr(s.v.limits, "0.2 threads waited on average, in the last 4.5"), "%s", s.v.limits);
	/* What goes on as it began. */
	s.in.age_us = 300 * S;
	s.in.first = (struct verdict_part){3 * S, 0.5, 2};
	s.in.last = (struct verdict_part){3 * S, 0.7, 2.5};
	verdict__reach(&s.in, &s.v);
	cr_expect_str_eq(s.v.limits, "");
}

/* Light mode, most of the time: takes were counted at first only. */
static size_t take_often(double wait_p99)
{
	size_t search = add_thread(load_of("search", NAN, 0, NAN, 0, 0, NAN, NAN, NAN, NAN, NAN, NAN));
	size_t web = add_thread(load_of("web", NAN, 1.5 * S, NAN, 60, 0, NAN, NAN, NAN, 5 * MS, wait_p99, wait_p99));

	s.in.util = NAN;
	s.in.cpu_us = 5 * S;
	s.threads[search].rate = 60000;
	s.threads[search].brief_us = 9;
	s.threads[search].over_n = s.threads[search].over_us = s.threads[search].over_late = NAN;
	add_pair(web, search, 1.4 * S);
	add_place(search, "distance (shop.py:9)", TIME_RUNS, 5 * S, 1.4 * S);
	verdict__reach(&s.in, &s.v);
	return search;
}

Test(verdict, takes_that_were_counted_for_a_while_tell_short_holds)
{
	size_t search = take_often(6 * MS);

	cr_assert_eq(s.v.findings_n, 1, "%s", s.v.cause);
	cr_expect_eq(s.v.findings[0].pattern, PATTERN_SHORT_HOLDS, "%s", s.v.findings[0].evidence);
	cr_expect_eq(s.v.findings[0].thread, search);
	expect_code(PATTERN_SHORT_HOLDS, "distance (shop.py:9)");
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "60000 times a second, 54.0 % of the time"), "%s",
			   s.v.findings[0].evidence);
	cr_expect_not_null(strstr(s.v.todo, "calls Python back"), "%s", s.v.todo);
	/* Between two calls SQLite was seen. */
	add_place(search, "search (shop.py:20) -> libsqlite3: sqlite3VdbeExec", TIME_RUNS, 0.1 * S, 0);
	s.places[1].native = "libsqlite3.so.0.8.6: sqlite3VdbeExec";
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(strstr(s.v.todo, "let SQL do it"), "%s", s.v.todo);
}

/* Somebody waited for longer than bytecode takes: that was no short hold. */
Test(verdict, takes_that_were_counted_for_a_while_tell_nothing_of_long_waits)
{
	take_often(60 * MS);
	cr_expect_null(found(PATTERN_SHORT_HOLDS));
	cr_expect_not_null(strstr(s.v.cause, "is not certain"), "%s", s.v.cause);
}

Test(verdict, busy_poller_is_found_by_what_was_counted_for_a_while)
{
	size_t poller = add_thread(load_of("poller", NAN, 0, NAN, 0, 0, NAN, NAN, NAN, NAN, NAN, NAN));

	s.in.util = NAN;
	s.in.cpu_us = 1 * S;
	s.threads[poller].rate = 12000;
	s.threads[poller].brief_us = 2;
	add_place(poller, "poll (shop.py:9)", TIME_RUNS, 0.2 * S, 0);
	expect(BOUND_NO, PATTERN_BUSY_POLLER, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.headline, "poller takes it 12000 times a second, in poll (shop.py:9)"), "%s", s.v.headline);
}

/* Of a hundred holds the largest is the 99th percentile. */
Test(verdict, p99_that_is_no_other_number_than_the_largest_is_not_told)
{
	size_t hog = add_thread(load_of("hog", 9 * S, 0, 90, 0, 90, 100 * MS, 110 * MS, 120 * MS, NAN, NAN, NAN));
	size_t io = add_thread(load_of("io", 0.01 * S, 8.5 * S, 100, 90, 0, 40, 300, 900, 98 * MS, 108 * MS, 118 * MS));

	add_pair(io, hog, 8.4 * S);
	ask(hog, 90, 89);
	verdict__reach(&s.in, &s.v);
	cr_expect_null(strstr(s.v.findings[0].evidence, "p99"), "%s", s.v.findings[0].evidence);
	s.threads[hog].n = 100;
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "p99 110 ms"), "%s", s.v.findings[0].evidence);
	s.threads[hog].hold_p99 = 118 * MS;
	verdict__reach(&s.in, &s.v);
	cr_expect_null(strstr(s.v.findings[0].evidence, "p99"), "%s", s.v.findings[0].evidence);
}

Test(verdict, headline_names_a_pool_that_waits_for_itself)
{
	static const char *const names[] = {"rank-0", "rank-1", "rank-2"};

	for (size_t i = 0; i < 3; i++)
		ask(add_thread(worker(names[i], 3.2 * S, 6.4 * S)), 640, 0);
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 3; k++)
			if (i != k)
				add_pair(i, k, 3.1 * S);
	verdict__reach(&s.in, &s.v);
	cr_expect_not_null(strstr(s.v.headline, "GIL: YES. rank-0..2 wait 64 % of their time for it, up to 25 ms at a time; "
				  "97 % of that for each other"), "%s", s.v.headline);
}

/* ---- not the GIL ---- */

static struct verdict_stay stays[12];
static struct verdict_gate gate;

/* Eight threads that go through one function, one of them at a time. */
static void add_gate(void)
{
	static const char *const names[] = {"web-0", "web-1", "web-2", "web-3", "web-4", "web-5", "web-6", "web-7"};

	add_thread(load_of("web-0", 0.02 * S, 0, 400, 0, 0, 40, 60, 90, NAN, NAN, NAN));
	memset(stays, 0, sizeof(stays));
	for (size_t i = 0; i < 8; i++)
		stays[i] = (struct verdict_stay){.name = names[i], .code = "reserve (stock.py:18)", .call = "futex",
						 .locked = true, .share = 0.87};
	gate = (struct verdict_gate){.code = "reserve (stock.py:18)", .held = "asleep in connect", .share = 1, .blocked = 6.9,
				     .inside = 0.95, .crowded = 0.02};
	s.in.looks = 40;
	s.in.stays = stays;
	s.in.stays_n = 8;
	s.in.gates = &gate;
	s.in.gates_n = 1;
}

Test(verdict, application_lock_is_named_with_those_who_queue)
{
	add_gate();
	expect(BOUND_NO, PATTERN_APP_LOCK, PATTERN_COUNT);
	cr_expect_str_eq(s.v.headline, "GIL: NO. A lock of the application serialises web-0..7: they go one by one through "
			 "reserve (stock.py:18).");
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "6.9 of 8 on average"), "%s", s.v.findings[0].evidence);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "asleep in connect"), "%s", s.v.findings[0].evidence);
}

/* Workers that wait for work are in futex() as well: nobody, or anybody, is inside then. */
Test(verdict, waiting_for_work_is_no_lock)
{
	add_gate();
	gate.inside = 0;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	gate.inside = 0.95;
	gate.crowded = 0.5;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	gate.crowded = 0;
	gate.share = 0.5;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	gate.share = 1;
	s.in.stays_n = 1;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	s.in.stays_n = 8;
	s.in.looks = 3;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
}

Test(verdict, blocked_event_loop_is_named_with_its_callback)
{
	size_t loop = add_thread(load_of("loop", 0.02 * S, 0, 200, 0, 0, 40, 60, 90, NAN, NAN, NAN));

	memset(stays, 0, sizeof(stays));
	stays[0] = (struct verdict_stay){.name = "loop", .code = "fetch (user.py:9)", .call = "connect", .callback = true,
					 .share = 0.9, .longest_us = 120 * MS};
	s.in.looks = 40;
	s.in.stays = stays;
	s.in.stays_n = 1;
	expect(BOUND_NO, PATTERN_BLOCKED_LOOP, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.headline, "An event loop is blocked by fetch (user.py:9)."), "%s", s.v.headline);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "asleep in connect for 120 ms and more"), "%s",
			   s.v.findings[0].evidence);
	cr_expect_not_null(strstr(s.v.todo, "to_thread()"), "%s", s.v.todo);
	/* Many short sleeps, or few looks that found it so, are none. */
	stays[0].longest_us = 20 * MS;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	stays[0].longest_us = 120 * MS;
	stays[0].share = 0.2;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	/* It computes: a hold is a callback. */
	stays[0].share = 0.9;
	stays[0].call = "";
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	s.threads[loop].hold_us = s.in.all.hold_us = 9.5 * S;
	s.threads[loop].hold_p99 = 47.5 * MS;
	s.in.util = 0.95;
	s.in.cpu_us = 9.5 * S;
	expect(BOUND_NO, PATTERN_BLOCKED_LOOP, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.findings[0].evidence, "which computes, for up to 47.5 ms at a time"), "%s",
			   s.v.findings[0].evidence);
	cr_expect_not_null(strstr(s.v.todo, "process"), "%s", s.v.todo);
	/* Its holds are as long only because it lacked a CPU. */
	s.threads[loop].hold_preempted = s.in.all.hold_preempted = 8 * S;
	verdict__reach(&s.in, &s.v);
	cr_expect_null(found(PATTERN_BLOCKED_LOOP));
}

Test(verdict, busy_poller_takes_it_all_the_time_in_one_place)
{
	size_t poller = add_thread(load_of("poller", 0.3 * S, 0, 40000, 0, 0, 7, 30, 90, NAN, NAN, NAN));

	add_place(poller, "poll (app.py:7)", TIME_RUNS, 0.3 * S, 0);
	expect(BOUND_NO, PATTERN_BUSY_POLLER, PATTERN_COUNT);
	cr_expect_not_null(strstr(s.v.headline, "poller takes it 4000 times a second, in poll (app.py:7)."), "%s", s.v.headline);
	/* In several places it does many things; rarely it does little; and long holds are no polling. */
	add_place(poller, "send (app.py:9)", TIME_RUNS, 0.2 * S, 0);
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	s.in.places_n = 1;
	s.threads[poller].n = 15000;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
	s.threads[poller].n = 40000;
	s.threads[poller].hold_us = 4 * S;
	expect(BOUND_NO, PATTERN_FINE, PATTERN_COUNT);
}
