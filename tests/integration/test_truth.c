/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Holds and waits against what the programs say of themselves: they time their own holds and clock their own stalls, in C,
 * without another tracer. The stock interpreter; exact counts on all others are test_exact.c's.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

#include "collector/series/hist.h"
#include "../support/account.h"
#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/workload.h"

TestSuite(truth, .timeout = 300);

/* The clock that workloads use. */
static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void start(struct workload *w, const char *command)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(w, &stock, command);
}

static const struct metrics *metrics_of(struct observer *o, json_t *thread)
{
	const struct thread_sample *t =
		observer__thread(observer__totals(o), (pid_t)truth__int(thread, "tid"));

	cr_assert_not_null(t, "thread %lld is missing", truth__int(thread, "tid"));
	return &t->m;
}

static void expect_within(const char *what, double got, double want, double tolerance)
{
	cr_expect(fabs(got - want) <= tolerance * want, "%s: %.0f, the program says %.0f (%+.2f %%, allowed %.1f %%)",
		  what, got, want, 100 * (got / want - 1), 100 * tolerance);
}

static void expect_hog(struct observer *o, json_t *hog)
{
	const struct metrics *m = metrics_of(o, hog);
	double low = (double)truth__int(hog, "hold_min_ns"), high = (double)truth__int(hog, "hold_max_ns");
	double p50 = (double)hist__quantile(&m->hold, &m->hold_open, 0.5, m->hold_max_ns);
	double p99 = (double)hist__quantile(&m->hold, &m->hold_open, 0.99, m->hold_max_ns);

	cr_expect_eq((long long)m->acquires, truth__int(hog, "acquires"));
	cr_expect(p50 >= 0.875 * low && p50 <= 1.125 * high, "p50 %.0f of holds between %.0f and %.0f", p50, low, high);
	cr_expect(p99 >= 0.875 * low && p99 <= 1.125 * high, "p99 %.0f of holds between %.0f and %.0f", p99, low, high);
	cr_expect(fabs((double)m->hold_max_ns - high) <= 1e6, "max %" PRIu64 ", it timed %.0f", m->hold_max_ns, high);
}

Test(truth, hog_is_timed_and_its_victim_waits_as_long_as_it_says)
{
	struct workload w;
	struct observer o;
	json_t *victim;

	start(&w, "hog_victim.py 20");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	expect_hog(&o, workload__thread(&w, "hog"));
	victim = workload__thread(&w, "victim-0");
	expect_within("the victim's wait", (double)metrics_of(&o, victim)->wait_ns,
		      (double)truth__int(victim, "stall_ns"), 0.03);
	observer__assert_lossless(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
}

static uint64_t blame_between(const struct proc_sample *s, pid_t victim, pid_t holder)
{
	for (size_t i = 0; i < s->blame_n; i++)
		if (s->threads[s->blame[i].victim].key.tid == (uint32_t)victim &&
		    s->threads[s->blame[i].holder].key.tid == (uint32_t)holder)
			return s->blame[i].ns;
	return 0;
}

Test(truth, victims_blame_the_hog)
{
	struct workload w;
	struct observer o;
	json_t *hog, *victim;
	uint64_t blame;

	start(&w, "hog_victim.py 20");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	hog = workload__thread(&w, "hog");
	victim = workload__thread(&w, "victim-0");
	blame = blame_between(observer__totals(&o), (pid_t)truth__int(victim, "tid"), (pid_t)truth__int(hog, "tid"));
	/* On a busy machine it waits for a main thread without a CPU, too. */
	cr_expect_gt(blame, 0.9 * fmin((double)metrics_of(&o, victim)->wait_ns, (double)truth__int(hog, "hold_ns")));
	observer__detach(&o);
	workload__quit(&w);
}

Test(truth, three_cpu_threads_hold_all_the_time_and_two_wait)
{
	struct workload w;
	struct observer o;
	struct proc_sample *s;
	double util, gap, waiters, lacked, before;
	size_t threads;

	start(&w, "cpu_threads.py 3 4");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	usleep(200000);
	proc_sample__free(observer__interval(&o));
	for (int i = 0; i < 6; i++) {
		before = account__wanted_ns(w.pid, &threads);
		usleep(500000);
		s = observer__interval(&o);
		lacked = (account__wanted_ns(w.pid, &threads) - before) / (double)s->len_ns;
		util = (double)s->total.hold_ns / (double)s->len_ns;
		gap = (double)s->total.handover_ns / (double)s->len_ns;
		waiters = (double)s->total.wait_ns / (double)s->len_ns;
		cr_expect(util <= 1.0, "held %.4f of the interval", util);
		/* Somebody always wants it: when it is not held, that is a handover, long on a busy machine. */
		cr_expect(util + gap >= 0.97, "held %.4f, handed over %.4f of the interval", util, gap);
		/* One holds, so no more than two can wait; fewer do where the machine gives them no CPU to ask with. */
		cr_expect(waiters + lacked >= 1.9 && waiters <= 3 - util, "%.2f waiters, %.2f without a CPU", waiters, lacked);
		proc_sample__free(s);
	}
	workload__truth(&w);
	observer__assert_lossless(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
}

/*
 * Both read the clock at the same instructions, one after the other: what lies between is next to nothing, but where the
 * machine takes the thread its CPU away just there, which the kernel has counted as its delay.
 */
static void expect_light_as_full(const char *command, const char *const names[], size_t names_n)
{
	struct workload w;
	struct observer full, light;

	start(&w, command);
	observer__attach(&full, w.pid, GIL_MODE_FULL);
	observer__attach(&light, w.pid, GIL_MODE_LIGHT);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&full));
	proc_sample__free(observer__interval(&light));
	for (size_t i = 0; i < names_n; i++) {
		json_t *thread = workload__thread(&w, names[i]);
		const struct metrics *f = metrics_of(&full, thread), *l = metrics_of(&light, thread);
		double between = (double)truth__int(thread, "delay_ns");

		cr_expect_gt(f->contended, 10, "%s hardly waited", names[i]);
		cr_expect(fabs((double)l->wait_ns - (double)f->wait_ns) <= 0.005 * (double)f->wait_ns + between,
			  "%s: light waits %" PRIu64 ", full %" PRIu64 ", no CPU for %.0f", names[i], l->wait_ns, f->wait_ns,
			  between);
		cr_expect(fabs((double)l->contended - (double)f->contended) <= 0.005 * (double)f->contended + 1,
			  "%s: light counts %" PRIu64 ", full %" PRIu64, names[i], l->contended, f->contended);
		cr_expect_eq(l->known & KNOWN_HOLD, 0);
	}
	observer__detach(&full);
	observer__detach(&light);
	workload__quit(&w);
}

Test(truth, light_agrees_with_full_on_cpu_threads)
{
	static const char *const names[] = {"cpu-0", "cpu-1", "cpu-2"};

	expect_light_as_full("cpu_threads.py 3 3", names, 3);
}

Test(truth, light_agrees_with_full_on_a_spinner_that_is_always_forced_out)
{
	static const char *const names[] = {"spinner", "io-0", "io-1"};

	expect_light_as_full("spinner_io.py 3 --hold-ms 1", names, 3);
}

Test(truth, condition_variables_of_others_are_no_gil_wait)
{
	struct workload w;
	struct observer o;
	struct proc_sample *s;

	start(&w, "condvar_idle.py 2");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	workload__truth(&w);
	s = observer__interval(&o);
	cr_expect_lt((double)s->total.wait_ns, 0.001 * (double)s->len_ns);
	observer__assert_lossless(s);
	proc_sample__free(s);
	observer__detach(&o);
	workload__quit(&w);
}

Test(truth, poller_never_appears_beside_real_contention)
{
	struct workload w;
	struct observer o;
	json_t *threads, *thread;
	struct proc_sample *s;
	size_t i;

	start(&w, "condvar_idle.py 2 --pollers 2 --contenders 3");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	threads = json_object_get(workload__truth(&w), "threads");
	s = observer__interval(&o);
	json_array_foreach(threads, i, thread) {
		bool native = !strcmp(json_string_value(json_object_get(thread, "name")), "native");
		const struct thread_sample *t = observer__thread(s, (pid_t)truth__int(thread, "tid"));

		if (native)
			cr_expect_null(t, "native thread %lld appears", truth__int(thread, "tid"));
		else
			cr_expect(t && t->m.contended > 0, "contender %lld is missing", truth__int(thread, "tid"));
	}
	proc_sample__free(s);
	observer__detach(&o);
	workload__quit(&w);
}

Test(truth, tight_release_loop_waits_for_nobody)
{
	struct workload w;
	struct observer o;
	struct proc_sample *s;

	start(&w, "release_loop.py 1 --start-early");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	usleep(500000);
	s = observer__interval(&o);
	cr_expect_gt(s->total.acquires, 1000);
	cr_expect_eq(s->total.wait_ns, 0, "waited %llu ns", (unsigned long long)s->total.wait_ns);
	cr_expect_eq(s->total.contended, 0);
	proc_sample__free(s);
	observer__detach(&o);
	workload__kill(&w);
}

/* An interval that was cut while the GIL was held. */
struct cut {
	struct proc_sample *s;
	double at_ns; /* it ends a little later */
};

static struct cut cut_now(struct observer *o)
{
	struct cut c = {.at_ns = (double)now_ns()};

	c.s = observer__interval(o);
	return c;
}

/* p99 and maximum of an interval in the middle of a hold show its age, and how long the victim has waited. */
static void expect_age(struct workload *w, const struct cut *c, double since_ns)
{
	const struct metrics *m = &c->s->total;
	json_t *victim = workload__thread(w, "victim");
	double p99 = (double)hist__quantile(&m->hold, &m->hold_open, 0.99, m->hold_max_ns), age = c->at_ns - since_ns;
	double waited = (double)truth__int(victim, "stall_max_ns") - ((double)truth__int(victim, "end_ns") - c->at_ns);

	cr_expect((double)m->hold_max_ns >= age, "maximum %" PRIu64 ", but held for %.0f", m->hold_max_ns, age);
	cr_expect(p99 >= 0.875 * age, "p99 %.0f, but held for %.0f", p99, age);
	cr_expect_geq((double)m->wait_max_ns, 0.9 * fmin(waited, age), "waited %" PRIu64 ", the victim says %.0f",
		      m->wait_max_ns, waited);
}

Test(truth, long_hold_is_visible_while_it_lasts)
{
	struct workload w;
	struct observer o;
	struct cut cuts[2];
	double began;

	start(&w, "long_hold.py told");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__hold(&w);
	usleep(500000);
	cuts[0] = cut_now(&o);
	usleep(1000000);
	cuts[1] = cut_now(&o);
	cr_expect_geq(cuts[1].s->total.hold_ns, 0.99 * (double)cuts[1].s->len_ns);
	workload__go(&w);
	workload__truth(&w);
	began = (double)truth__int(workload__thread(&w, "hog"), "begin_ns");
	for (size_t i = 0; i < 2; i++) {
		expect_age(&w, &cuts[i], began);
		proc_sample__free(cuts[i].s);
	}
	observer__detach(&o);
	workload__quit(&w);
}

Test(truth, attaching_in_the_middle_of_a_long_hold_shows_it)
{
	struct workload w;
	struct observer o;
	long long attached_at;
	struct cut cut;
	json_t *hog;

	start(&w, "long_hold.py told");
	workload__hold(&w);
	usleep(500000);
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	attached_at = now_ns();
	usleep(500000);
	cut = cut_now(&o);
	cr_expect_geq(cut.s->total.hold_ns, 0.99 * (double)cut.s->observed_ns);
	workload__go(&w);
	workload__truth(&w);
	expect_age(&w, &cut, (double)attached_at);
	proc_sample__free(cut.s);
	proc_sample__free(observer__interval(&o));
	hog = workload__thread(&w, "hog");
	cr_expect_leq((long long)metrics_of(&o, hog)->hold_ns, truth__int(hog, "hold_ns"), "counted twice");
	cr_expect_geq((long long)metrics_of(&o, hog)->hold_ns, truth__int(hog, "end_ns") - attached_at,
		      "all of it since the probes were armed");
	cr_expect_eq(metrics_of(&o, hog)->acquires, 0, "its acquire was before");
	observer__detach(&o);
	workload__quit(&w);
}

Test(truth, attaching_in_the_middle_of_32_busy_threads_loses_nothing)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;
	json_t *threads, *thread;
	const struct proc_sample *totals;
	json_t *early = json_array();
	size_t i;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "release_loop.py 5003 32 --start-early");
	usleep(300000);
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	usleep(300000);
	workload__say(&w, "pause");
	free(workload__hear(&w));
	proc_sample__free(observer__interval(&o));
	totals = observer__totals(&o);
	/* By now each stands at its gate: what comes next is counted from here. */
	for (i = 0; i < totals->threads_n; i++)
		json_array_append_new(early, json_pack("{s:I,s:I}", "tid", (json_int_t)totals->threads[i].key.tid,
						       "acquires", (json_int_t)totals->threads[i].m.acquires));
	workload__go(&w);
	threads = json_object_get(workload__truth(&w), "threads");
	proc_sample__free(observer__interval(&o));
	json_array_foreach(threads, i, thread) {
		long long made = (long long)metrics_of(&o, thread)->acquires, had = 0;
		json_t *old;
		size_t j;

		json_array_foreach(early, j, old)
			if (truth__int(old, "tid") == truth__int(thread, "tid"))
				had = truth__int(old, "acquires");
		cr_expect_eq(made - had, truth__int(thread, "acquires"), "thread %lld: %lld acquires, it made %lld",
			     truth__int(thread, "tid"), made - had, truth__int(thread, "acquires"));
	}
	json_decref(early);
	observer__assert_lossless(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
}

static void expect_perf_links_count(bool shared)
{
	struct workload w;
	struct observer o;
	json_t *thread;

	start(&w, "release_loop.py 20003");
	(shared ? observer__attach_perf_shared : observer__attach_perf)(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	thread = workload__thread(&w, "loop-0");
	cr_expect_eq((long long)metrics_of(&o, thread)->acquires, truth__int(thread, "acquires"));
	cr_expect_eq(o.proc.pub.method, shared ? PLANT_FAMILY : PLANT_PERF);
	observer__assert_lossless(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
}

Test(truth, perf_links_count_as_well)
{
	expect_perf_links_count(false);
}

Test(truth, perf_links_for_all_that_map_the_file_count_as_well)
{
	expect_perf_links_count(true);
}

/* The state of a GIL that its writer left in the middle: what stood there before must not be taken for it. */
Test(truth, gil_that_cannot_be_read_is_told_of_an_interval_later)
{
	const struct thread_sample *seen;
	struct gil_state *gil;
	struct proc_sample *s;
	struct workload w;
	struct observer o;
	long long began;
	json_t *hog;
	pid_t tid;

	start(&w, "long_hold.py told");
	began = now_ns();
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__hold(&w);
	usleep(250000);
	proc_sample__free(observer__interval(&o)); /* in the middle of the hold */
	workload__go(&w);
	workload__truth(&w);
	hog = workload__thread(&w, "hog");
	tid = (pid_t)truth__int(hog, "tid");
	usleep(100000); /* nobody does anything any more */
	gil = probes__gil(o.shop.probes, o.proc.slot, 0);
	__atomic_fetch_add(&gil->seq, 1, __ATOMIC_SEQ_CST);
	s = observer__interval(&o);
	cr_expect_null(observer__thread(s, tid), "it is told of by guessing");
	cr_expect_gt(s->lost[GIL_LOSS_TORN_READ], 0);
	proc_sample__free(s);
	__atomic_fetch_add(&gil->seq, 1, __ATOMIC_SEQ_CST);
	usleep(3 * (useconds_t)(truth__int(hog, "hold_ns") / 1000)); /* room for what comes late */
	proc_sample__free(observer__interval(&o));
	seen = observer__thread(observer__totals(&o), tid);
	cr_assert_not_null(seen);
	cr_expect_geq(seen->m.hold_ns, (uint64_t)truth__int(hog, "hold_ns"));
	cr_expect_leq(seen->m.hold_ns, (uint64_t)(now_ns() - began), "longer than it was observed");
	cr_expect_eq(seen->m.acquires, truth__int(hog, "acquires"));
	observer__detach(&o);
	workload__quit(&w);
}
