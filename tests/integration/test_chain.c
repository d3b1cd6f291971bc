/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One wait that several holders are to blame for, one after the other, on every interpreter of this machine; and one that
 * nobody is to blame for. The programs (chain.py, late.py) clock every take and drop on both sides; what gilscope says of each
 * hold, of each wait and of each pair of waiter and holder lies between, without any tolerance: they are the same clock's, and
 * probes fire between the programs' readings.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/exact.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/observer.h"
#include "../support/private_redis.h"
#include "../support/workload.h"

TestSuite(chain, .timeout = 300);

#define MEMBERS 5
#define SCENES 2
#define TRIES 20 /* scenes that are no chains, because threads were woken out of turn, say nothing */

static const struct stack_opts every_hold = {.on = true, .threshold_ns = 0};

/* What was seen of one member of the chain in one scene. */
struct seen {
	uint64_t hold, wait, handover, unknown;
	uint64_t blame[MEMBERS];              /* on each of them */
	uint64_t others;                      /* on threads that are none of them */
	uint64_t code_hold, code_blame;       /* in its own function and line */
	uint64_t elsewhere;                   /* blame in other code */
};

static int member_of(json_t *links, uint32_t tid)
{
	json_t *link;
	size_t i;

	json_array_foreach(links, i, link)
		if (truth__int(link, "tid") == tid)
			return (int)i;
	return -1;
}

static void add_threads(struct seen *seen, json_t *links, const struct proc_sample *s)
{
	for (size_t i = 0; i < s->threads_n; i++) {
		const struct metrics *m = &s->threads[i].m;
		int who = member_of(links, s->threads[i].key.tid);

		if (who < 0)
			continue;
		seen[who].hold += m->hold_ns;
		seen[who].wait += m->wait_ns;
		seen[who].handover += m->handover_ns;
		seen[who].unknown += m->unknown_ns;
	}
}

static void add_blame(struct seen *seen, json_t *links, const struct proc_sample *s)
{
	for (size_t i = 0; i < s->blame_n; i++) {
		int victim = member_of(links, s->threads[s->blame[i].victim].key.tid);
		int holder = member_of(links, s->threads[s->blame[i].holder].key.tid);

		if (victim >= 0)
			*(holder >= 0 ? &seen[victim].blame[holder] : &seen[victim].others) += s->blame[i].ns;
	}
}

static void add_code(struct seen *seen, json_t *links, const struct proc_sample *s)
{
	for (size_t i = 0; i < s->code_n; i++) {
		const struct code_cell *c = &s->code[i];
		int who = member_of(links, s->threads[c->thread].key.tid);
		json_t *link = json_array_get(links, (size_t)who);

		if (who < 0)
			continue;
		if (strcmp(c->function, json_string_value(json_object_get(link, "name"))) != 0 ||
		    c->line != truth__int(link, "line")) {
			seen[who].elsewhere += c->blame_ns;
			continue;
		}
		seen[who].code_hold += c->hold_ns;
		seen[who].code_blame += c->blame_ns;
	}
}

static void add(struct seen *seen, json_t *truth, const struct proc_sample *s)
{
	json_t *links = json_object_get(truth, "links");

	add_threads(seen, links, s);
	add_blame(seen, links, s);
	add_code(seen, links, s);
}

/* ---- comparison ---- */

static long long bound(json_t *bounds, size_t which)
{
	return json_integer_value(json_array_get(bounds, which));
}

/* In nanoseconds; of what is shown in whole microseconds `rounded` may have been cut off. */
static void expect_between(const char *what, const char *who, const char *whom, uint64_t got, long long low, long long high,
			   long long rounded)
{
	cr_expect((long long)got >= low - rounded && (long long)got <= high,
		  "%s of %s %s: %" PRIu64 " ns, its own clocks say %lld to %lld", what, who, whom, got, low, high);
}

/* They sleep. What little of their time they run is its code's by a tick or none, on one line or the next. */
#define TICK(ns) ((ns) / 32)

static void expect_sum(const char *what, const char *who, uint64_t got, uint64_t want, long long rounded)
{
	cr_expect_leq(llabs((long long)(got - want)), rounded, "%s of %s: %" PRIu64 " ns, its parts are %" PRIu64, what, who, got,
		      want);
}

static void expect_blame(const struct seen *seen, json_t *link, long long rounded)
{
	json_t *blame = json_object_get(link, "blame"), *bounds;
	const char *name = json_string_value(json_object_get(link, "name"));
	uint64_t sum = seen->handover + seen->unknown;
	char holder[24];
	size_t i;

	json_array_foreach(blame, i, bounds) {
		snprintf(holder, sizeof(holder), "for number %zu", i);
		expect_between("wait", name, holder, seen->blame[i], bound(bounds, 0), bound(bounds, 1),
			       rounded);
		sum += seen->blame[i];
	}
	cr_expect_eq(seen->others, 0, "%s waited %" PRIu64 " ns for others", name, seen->others);
	cr_expect_eq(seen->unknown, 0);
	expect_sum("wait", name, seen->wait, sum, (MEMBERS + 2) * rounded);
}

/* A holder's function is blamed for the waiting of all, and for no more than the thread is. The victim kept nobody waiting. */
static void expect_code(const struct seen *seen, json_t *links, size_t which, long long rounded)
{
	json_t *link = json_array_get(links, which), *other, *bounds;
	const char *name = json_string_value(json_object_get(link, "name"));
	long long low = 0, high = 0;
	uint64_t of_thread = 0;
	size_t i;

	json_array_foreach(links, i, other) {
		bounds = json_array_get(json_object_get(other, "blame"), which);
		low += bound(bounds, 0);
		high += bound(bounds, 1);
		of_thread += seen[i].blame[which];
	}
	expect_between("blame", "code", name, seen[which].code_blame, low - TICK(low), high + TICK(high), rounded);
	expect_sum("blame", name, of_thread, seen[which].code_blame, MEMBERS * rounded + TICK((long long)of_thread));
	cr_expect_eq(seen[which].elsewhere, 0);
	bounds = json_object_get(link, "hold");
	if (which < MEMBERS - 1)
		expect_between("hold", "code", name, seen[which].code_hold, bound(bounds, 0) - TICK(bound(bounds, 0)),
			       bound(bounds, 1) + TICK(bound(bounds, 1)), rounded);
}

static void expect_scene(const struct seen *seen, json_t *truth, long long rounded)
{
	json_t *links = json_object_get(truth, "links"), *link;
	size_t i;

	cr_assert_eq(json_array_size(links), MEMBERS);
	json_array_foreach(links, i, link) {
		const char *name = json_string_value(json_object_get(link, "name"));
		json_t *hold = json_object_get(link, "hold"), *wait = json_object_get(link, "wait");

		expect_between("hold", name, "", seen[i].hold, bound(hold, 0), bound(hold, 1), rounded);
		expect_between("wait", name, "", seen[i].wait, bound(wait, 0), bound(wait, 1), rounded);
		expect_blame(&seen[i], link, rounded);
		expect_code(seen, links, i, rounded);
	}
}

/* What the program says of the scene that it was asked for. */
static json_t *hear_truth(struct workload *w)
{
	char *line = workload__hear(w);
	json_t *truth = json_loads(line, 0, NULL);

	cr_assert_not_null(truth, "%s", line);
	free(line);
	return truth;
}

/* ---- every interpreter, interval by interval ---- */

/* One scene; `cut`: with ends of intervals in its midst. Whether it was a chain. */
static bool play_observed(struct observer *o, struct workload *w, bool cut)
{
	struct seen seen[MEMBERS] = {0};
	struct proc_sample *parts[8];
	size_t n = 0;
	json_t *truth;
	bool is_chain;

	workload__say(w, "scene");
	for (int i = 0; cut && i < 4; i++) {
		usleep(8000);
		parts[n++] = observer__interval(o);
	}
	truth = hear_truth(w);
	parts[n++] = observer__interval(o);
	for (size_t i = 0; i < n; i++) {
		add(seen, truth, parts[i]);
		proc_sample__free(parts[i]);
	}
	is_chain = json_is_true(json_object_get(truth, "chain"));
	if (is_chain)
		expect_scene(seen, truth, 0);
	json_decref(truth);
	return is_chain;
}

ParameterizedTestParameters(chain, each_holder_is_charged_with_its_part_of_one_wait)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, chain, each_holder_is_charged_with_its_part_of_one_wait)
{
	int whole = 0, in_pieces = 0;
	struct observer o;
	struct workload w;

	workload__start(&w, in, "chain.py");
	observer__attach_stacks(&o, w.pid, GIL_MODE_FULL, &every_hold);
	for (int i = 0; i < TRIES && whole < SCENES; i++)
		whole += play_observed(&o, &w, false);
	for (int i = 0; i < TRIES && in_pieces < SCENES; i++)
		in_pieces += play_observed(&o, &w, true);
	cr_expect_eq(whole, SCENES, "%s: %d chains", in->version, whole);
	cr_expect_eq(in_pieces, SCENES, "%s: %d chains", in->version, in_pieces);
	observer__assert_lossless(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
}

/* ---- nobody ---- */

static uint64_t blame_between(const struct proc_sample *s, pid_t victim, pid_t holder)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < s->blame_n; i++)
		if (s->threads[s->blame[i].victim].key.tid == (uint32_t)victim &&
		    s->threads[s->blame[i].holder].key.tid == (uint32_t)holder)
			ns += s->blame[i].ns;
	return ns;
}

/* Who is late to take what it was given waits on nobody's account; and what the giver held before is on the giver's. */
Test(chain, waiting_while_nobody_holds_is_handover)
{
	const struct proc_sample *all;
	const struct metrics *m;
	struct interpreter stock;
	struct observer o;
	struct workload w;
	pid_t taker, giver;
	json_t *truth;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "late.py 10 --late-ms 30");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	for (int i = 0; i < 5; i++) {
		usleep(50000);
		proc_sample__free(observer__interval(&o));
	}
	truth = workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	taker = (pid_t)truth__int(workload__thread(&w, "taker"), "tid");
	giver = (pid_t)truth__int(workload__thread(&w, "giver"), "tid");
	all = observer__totals(&o);
	cr_assert_not_null(observer__thread(all, taker));
	m = &observer__thread(all, taker)->m;
	cr_expect_eq((long long)m->contended, truth__int(truth, "rounds"));
	expect_between("wait", "taker", "for giver", blame_between(all, taker, giver), truth__int(truth, "blame_low_ns"),
		       truth__int(truth, "blame_high_ns"), 0);
	expect_between("wait", "taker", "for nobody", m->handover_ns, truth__int(truth, "free_low_ns"),
		       truth__int(truth, "free_high_ns"), 0);
	cr_expect_eq(m->wait_ns, m->handover_ns + blame_between(all, taker, giver), "for others");
	observer__assert_lossless(all);
	observer__detach(&o);
	workload__quit(&w);
}

/* ---- on screen and in Redis ---- */

#define LONG_NS 20000000 /* --alert-hold: longer than two of the holds, shorter than the other two */

static uint64_t ns_of(const json_t *object, const char *path)
{
	return 1000 * (uint64_t)json__int(object, path);
}

static void read_summary(struct seen *seen, json_t *links, json_t *summary)
{
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(summary, "threads"), i, one) {
		int who = member_of(links, (uint32_t)json__int(one, "tid"));

		if (who >= 0) {
			seen[who].hold = ns_of(one, "hold");
			seen[who].wait = ns_of(one, "wait");
			seen[who].handover = ns_of(one, "handover");
		}
	}
	json_array_foreach(json_object_get(summary, "blame"), i, one) {
		int victim = member_of(links, (uint32_t)json__int(one, "victim.tid"));
		int holder = member_of(links, (uint32_t)json__int(one, "holder.tid"));

		if (victim >= 0)
			*(holder >= 0 ? &seen[victim].blame[holder] : &seen[victim].others) += ns_of(one, "us");
	}
	json_array_foreach(json_object_get(summary, "code"), i, one) {
		int who = member_of(links, (uint32_t)json__int(one, "tid"));
		json_t *link = json_array_get(links, (size_t)who);

		if (who < 0)
			continue;
		if (strcmp(json_string_value(json_object_get(one, "function")),
			   json_string_value(json_object_get(link, "name"))) != 0 ||
		    json__int(one, "line") != truth__int(link, "line")) {
			seen[who].elsewhere += ns_of(one, "blame");
			continue;
		}
		seen[who].code_hold += ns_of(one, "hold");
		seen[who].code_blame += ns_of(one, "blame");
	}
}

/* What `long` has of the holds: each that was long by the program's clocks, and how long others waited in it. */
static void expect_long_hold(json_t *member, json_t *links, bool *told)
{
	int who = member_of(links, (uint32_t)atoi(json_string_value(json_object_get(member, "thr"))));
	json_t *link, *bounds, *other;
	long long low = 0, high = 0;
	const char *name;
	size_t i;

	if (who < 0 || json_object_get(member, "open") ||
	    strcmp(json_string_value(json_object_get(member, "kind")), "hold") != 0)
		return;
	link = json_array_get(links, (size_t)who);
	name = json_string_value(json_object_get(link, "name"));
	cr_expect_not(told[who], "%s is told twice", name);
	told[who] = true;
	cr_expect_str_eq(json_string_value(json_object_get(member, "function")), name);
	cr_expect_eq(json__int(member, "line"), truth__int(link, "line"));
	bounds = json_object_get(link, "hold");
	expect_between("long hold", name, "", ns_of(member, "us"), bound(bounds, 0), bound(bounds, 1), 999);
	json_array_foreach(links, i, other) {
		bounds = json_array_get(json_object_get(other, "blame"), (size_t)who);
		low += bound(bounds, 0);
		high += bound(bounds, 1);
	}
	expect_between("waiting", "others for", name, ns_of(member, "others"), low, high, 999);
}

static void expect_long(struct private_redis *redis, json_t *links)
{
	bool told[MEMBERS] = {false};
	char id[128], *members, *rest, *line;
	json_t *link;
	size_t i;

	snprintf(id, sizeof(id), "%s", private_redis__ask(redis, "ZRANGE gil:procs 0 0"));
	rest = members = strdup(private_redis__ask(redis, "ZRANGE gil:{%s}:long 0 -1", id));
	while ((line = strsep(&rest, "\n"))) {
		json_t *member = json_loads(line, 0, NULL);

		expect_long_hold(member, links, told);
		json_decref(member);
	}
	free(members);
	json_array_foreach(links, i, link) {
		json_t *hold = json_object_get(link, "hold");

		cr_expect(told[i] || bound(hold, 0) < LONG_NS, "number %zu held for long, and is not told", i);
		cr_expect(!told[i] || bound(hold, 1) >= LONG_NS, "number %zu did not hold for long", i);
	}
}

/* One scene under `gilscope attach`. Whether it was a chain. */
static bool play_attached(void)
{
	struct seen seen[MEMBERS] = {0};
	struct private_redis redis;
	struct interpreter stock;
	char options[256];
	struct workload w;
	struct exact e;
	json_t *truth;
	bool is_chain;

	interpreter__stock(&stock);
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	workload__start(&w, &stock, "chain.py");
	snprintf(options, sizeof(options), "--redis %s --stacks 0 --alert-hold %dms", redis.url, LONG_NS / 1000000);
	exact__attach(&e, &w, 1, NULL, options);
	workload__say(&w, "scene");
	truth = hear_truth(&w);
	exact__finish(&e);
	is_chain = json_is_true(json_object_get(truth, "chain"));
	if (is_chain) {
		read_summary(seen, json_object_get(truth, "links"), exact__summary(&e, w.pid));
		expect_scene(seen, truth, 999);
		expect_long(&redis, json_object_get(truth, "links"));
	}
	cr_expect_eq(json_object_size(json_object_get(exact__summary(&e, w.pid), "losses")), 0);
	json_decref(truth);
	exact__end(&e);
	workload__quit(&w);
	private_redis__fini(&redis);
	return is_chain;
}

Test(chain, is_told_in_the_summary_and_in_redis)
{
	bool played = false;

	for (int i = 0; i < TRIES && !played; i++)
		played = play_attached();
	cr_expect(played, "no chain");
}
