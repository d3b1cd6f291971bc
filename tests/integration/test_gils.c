/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Several GILs in a process: sub-interpreters with their own (3.12 and later) are told apart in every number, those that
 * share the main one are not. Truth comes from inside, as everywhere: each thread counts what it takes of which GIL.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/schema/schema.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/observer.h"
#include "../support/private_redis.h"
#include "../support/results.h"
#include "../support/tool.h"
#include "../support/workload.h"

TestSuite(gils, .timeout = 300);

/* Those that can have several GILs, as parameters: on a machine without any, the tests do not exist. */
static struct criterion_test_params with_several_gils(void)
{
	static struct interpreter kept[INTERPRETERS_MAX];
	struct interpreter all[INTERPRETERS_MAX];
	size_t n = interpreters__find(all, INTERPRETERS_MAX), kept_n = 0;

	for (size_t i = 0; i < n; i++)
		if (all[i].minor >= 12)
			kept[kept_n++] = all[i];
	return cr_make_param_array(struct interpreter, kept, kept_n);
}

#define OnEach(name) \
	ParameterizedTestParameters(gils, name) { return with_several_gils(); } \
	ParameterizedTest(struct interpreter *in, gils, name)

/* The newest thread of that id: where others fork by the thousand, an earlier round's may be met again. */
static const struct thread_sample *thread_on(const struct proc_sample *s, pid_t tid, uint32_t gil)
{
	for (size_t i = s->threads_n; i-- > 0;)
		if (s->threads[i].key.tid == (uint32_t)tid && s->threads[i].gil == gil)
			return &s->threads[i];
	return NULL;
}

static const struct gil_sample *gil_of(const struct proc_sample *s, uint32_t gil)
{
	for (size_t i = 0; i < s->gils_n; i++)
		if (s->gils[i].gil == gil)
			return &s->gils[i];
	return NULL;
}

/* Returns how many acquires the threads made by their own count, and adds those seen to *seen. */
static long long expect_exact(const struct interpreter *in, const struct proc_sample *s, json_t *threads,
			      long long *seen)
{
	long long made = 0;
	json_t *thread;
	size_t i;

	cr_assert_gt(json_array_size(threads), 0);
	json_array_foreach(threads, i, thread)
	{
		pid_t tid = (pid_t)truth__int(thread, "tid");
		uint32_t gil = (uint32_t)truth__int(thread, "gil");
		const struct thread_sample *mine = thread_on(s, tid, gil);

		cr_assert_not_null(mine, "%s: thread %d is missing on GIL %u", in->version, tid, gil);
		cr_expect_not_null(gil_of(s, gil), "%s: GIL %u is missing", in->version, gil);
		if (!json_object_get(thread, "acquires"))
			continue;
		cr_expect_eq((long long)mine->m.acquires, truth__int(thread, "acquires"),
			     "%s: thread %d on GIL %u: %" PRIu64 " acquires, it made %lld", in->version, tid, gil,
			     mine->m.acquires, truth__int(thread, "acquires"));
		*seen += (long long)mine->m.acquires;
		made += truth__int(thread, "acquires");
	}
	return made;
}

/* Who waits for one GIL waits for nobody who holds another. */
static void expect_no_blame_across(const struct proc_sample *s)
{
	for (size_t i = 0; i < s->blame_n; i++)
		cr_expect_eq(s->threads[s->blame[i].victim].gil, s->threads[s->blame[i].holder].gil,
			     "blame across GILs: thread %u, GIL %u, and thread %u, GIL %u",
			     s->threads[s->blame[i].victim].key.tid, s->threads[s->blame[i].victim].gil,
			     s->threads[s->blame[i].holder].key.tid, s->threads[s->blame[i].holder].gil);
}

/* Observes the workload from gate to gate. */
static void observe(const struct interpreter *in, const char *command, enum gil_mode mode, struct workload *w,
		    struct observer *o)
{
	workload__start(w, in, command);
	observer__attach(o, w->pid, mode);
	workload__go(w);
	workload__truth(w);
	proc_sample__free(observer__interval(o));
}

static void leave(struct workload *w, struct observer *o)
{
	observer__detach(o);
	workload__quit(w);
}

static void expect_counts(const struct interpreter *in, const char *command, size_t gils)
{
	long long seen = 0, made;
	struct workload w;
	struct observer o;
	char what[32];

	observe(in, command, GIL_MODE_FULL, &w, &o);
	made = expect_exact(in, observer__totals(&o), json_object_get(workload__truth(&w), "threads"), &seen);
	snprintf(what, sizeof(what), gils > 1 ? "%zu GILs" : "shared GIL", gils);
	results__note(in, what, o.proc.recipe->plan, observer__totals(&o), seen, made);
	cr_expect_eq(observer__totals(&o)->gils_n, gils, "%s: %zu GILs, it has %zu", in->version,
		     observer__totals(&o)->gils_n, gils);
	expect_no_blame_across(observer__totals(&o));
	observer__assert_lossless(observer__totals(&o));
	leave(&w, &o);
}

static void counts_of_interpreters_there(const struct interpreter *in)
{
	expect_counts(in, "gils.py main:2:20011 own:2:20011 own:3:5003 shared:2:3001", 3);
}

OnEach(each_of_those_there_at_attach_has_its_own_counts)
{
	counts_of_interpreters_there(in);
}

static void counts_of_interpreters_made(const struct interpreter *in)
{
	expect_counts(in, "gils.py --after main:2:20011 own:2:20011 own:3:5003 shared:2:3001", 3);
}

OnEach(each_of_those_made_after_attach_has_its_own_counts)
{
	counts_of_interpreters_made(in);
}

static void counts_of_python_programs(const struct interpreter *in)
{
	expect_counts(in, "subinterp.py 20011 3", 4);
}

OnEach(interpreters_made_in_python_have_their_own_counts)
{
	counts_of_python_programs(in);
}

static void one_gil_for_sharers(const struct interpreter *in)
{
	expect_counts(in, "gils.py main:1:2003 shared:2:3001 shared:1:1009", 1);
}

OnEach(sharing_the_main_one_is_one)
{
	one_gil_for_sharers(in);
}

/* The process's busy share is the busiest GIL's, while its threads together hold more than there is time. */
static void holds_of_three(const struct interpreter *in)
{
	struct schema_row row;
	struct workload w;
	struct observer o;
	const struct proc_sample *s;
	uint64_t busiest = 0;

	observe(in, "gils.py main:1:60:5000 own:2:30:5000 own:2:30:5000", GIL_MODE_FULL, &w, &o);
	s = observer__totals(&o);
	/* Each GIL is held for 300 ms, all at the same time. */
	for (size_t i = 0; i < s->gils_n; i++) {
		busiest = s->gils[i].m.hold_ns > busiest ? s->gils[i].m.hold_ns : busiest;
		cr_expect_geq(s->gils[i].m.hold_ns, 300000000);
		cr_expect(s->gils[i].gil == 0 || s->gils[i].m.contended > 0);
	}
	cr_expect_gt(s->total.hold_ns, 2 * busiest);
	schema_row__from(s, &s->total, true, &row);
	cr_expect_float_eq(row.value[FIELD_UTIL], (double)busiest / (double)s->observed_ns, 1e-9);
	cr_expect_leq(row.value[FIELD_UTIL], 1);
	cr_expect_eq(row.value[FIELD_GILS], 3);
	cr_expect_geq(s->blame_n, 2);
	expect_no_blame_across(s);
	observer__assert_lossless(s);
	leave(&w, &o);
}

OnEach(holds_add_up_beyond_the_time_and_busy_is_the_busiest)
{
	holds_of_three(in);
}

static void waits_in_light_mode(const struct interpreter *in)
{
	struct workload w;
	struct observer o;
	const struct proc_sample *s;

	observe(in, "gils.py --after main:2:40:3000 own:2:40:3000 own:2:40:3000", GIL_MODE_LIGHT, &w, &o);
	s = observer__totals(&o);
	cr_expect_eq(s->gils_n, 3);
	/* Of two threads one waits while the other holds: at least once for a hold of 3 ms, and not at all for another GIL. */
	for (size_t i = 0; i < s->gils_n; i++) {
		cr_expect_gt(s->gils[i].m.contended, 0);
		cr_expect_gt(s->gils[i].m.wait_ns, 3000000);
		cr_expect_leq(s->gils[i].m.wait_ns, 2 * s->len_ns);
	}
	expect_no_blame_across(s);
	observer__assert_lossless(s);
	leave(&w, &o);
}

OnEach(light_mode_tells_their_waits_apart)
{
	waits_in_light_mode(in);
}

/* ---- they come and go ---- */

static uint64_t addresses[64];
static size_t addresses_n, met_again;

/* Notes where the GILs of this round stand; memory that an ended one had is used again. */
static void note_addresses(const struct proc_sample *s, json_t *threads)
{
	json_t *thread;
	size_t i;

	json_array_foreach(threads, i, thread)
	{
		const struct gil_sample *g = gil_of(s, (uint32_t)truth__int(thread, "gil"));

		if (!g || g->gil == 0)
			continue;
		for (size_t k = 0; k < addresses_n; k++)
			met_again += addresses[k] == g->addr;
		if (addresses_n < 64)
			addresses[addresses_n++] = g->addr;
	}
}

/* One round of the workload; `intervals` samples are taken after it, with its interpreters gone. */
static void play_round(const struct interpreter *in, struct workload *w, struct observer *o, int intervals)
{
	char *line = workload__hear(w);
	long long seen = 0;
	json_t *truth;

	cr_assert(strncmp(line, "round ", 6) == 0, "instead of a round: %s", line);
	truth = json_loads(line + 6, 0, NULL);
	cr_assert_not_null(truth);
	free(line);
	if (intervals) {
		struct proc_sample *s = observer__interval(o);

		note_addresses(s, json_object_get(truth, "threads"));
		proc_sample__free(s);
	}
	workload__say(w, "next");
	line = workload__hear(w);
	cr_assert_str_eq(line, "ended");
	free(line);
	for (int i = 0; i < intervals; i++)
		proc_sample__free(observer__interval(o));
	workload__say(w, "next");
	if (intervals)
		expect_exact(in, observer__totals(o), json_object_get(truth, "threads"), &seen);
	json_decref(truth);
}

/* Many more than there are places, one after the other. Returns how often an address was met again. */
static size_t live_through_forty(const struct interpreter *in, const char *command)
{
	struct workload w;
	struct observer o;

	addresses_n = met_again = 0;
	workload__start(&w, in, command);
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	for (int i = 0; i < 40; i++)
		play_round(in, &w, &o, 4);
	cr_expect_eq(observer__totals(&o)->gils_n, 41);
	expect_no_blame_across(observer__totals(&o));
	observer__assert_lossless(observer__totals(&o));
	leave(&w, &o);
	return met_again;
}

static void generations(const struct interpreter *in)
{
	size_t again = live_through_forty(in, "gils.py --rounds 40 own:2:503 shared:1:101 main:1:11");

	cr_expect_gt(again, 0, "%s: no address was used twice: nothing was tested", in->version);
}

OnEach(forty_generations_one_after_the_other_are_forty)
{
	generations(in);
}

static void generations_elsewhere(const struct interpreter *in)
{
	size_t again = live_through_forty(in, "gils.py --rounds 40 --elsewhere own:2:503");

	/* Two threads on each. */
	cr_expect_leq(again, 40 + 10, "%s: addresses were used twice %zu times: little was tested", in->version, again);
}

OnEach(places_of_those_that_ended_are_given_to_others)
{
	generations_elsewhere(in);
}

/* All within one interval: the address of one that ended is the next one's before anybody has looked. */
static void generations_in_an_interval(const struct interpreter *in)
{
	struct proc_sample *s;
	struct workload w;
	struct observer o;

	workload__start(&w, in, "gils.py --rounds 12 own:2:503");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	for (int i = 0; i < 12; i++)
		play_round(in, &w, &o, 0);
	s = observer__interval(&o);
	cr_expect_eq(s->gils_n, 13);
	for (size_t i = 0; i < s->threads_n; i++)
		if (s->threads[i].gil && s->threads[i].key.tid != (uint32_t)w.pid)
			cr_expect_eq(s->threads[i].m.acquires, 506, "%s: %" PRIu64 " on GIL %u", in->version,
				     s->threads[i].m.acquires, s->threads[i].gil);
	observer__assert_lossless(s);
	proc_sample__free(s);
	leave(&w, &o);
}

OnEach(an_address_used_again_within_an_interval_is_another_gil)
{
	generations_in_an_interval(in);
}

/* More at once than there are places: those that have one are exact, of the rest it is said how many events were missed. */
static void too_many(const struct interpreter *in)
{
	const struct proc_sample *s;
	char command[512] = "gils.py";
	struct workload w;
	struct observer o;
	json_t *thread;
	size_t i, exact = 0;

	for (int k = 0; k < GIL_PER_PROC + 2; k++)
		strcat(command, " own:1:503");
	observe(in, command, GIL_MODE_FULL, &w, &o);
	s = observer__totals(&o);
	cr_expect_eq(s->gils_n, GIL_PER_PROC);
	json_array_foreach(json_object_get(workload__truth(&w), "threads"), i, thread)
	{
		const struct thread_sample *mine = thread_on(s, (pid_t)truth__int(thread, "tid"),
							     (uint32_t)truth__int(thread, "gil"));

		if (!mine)
			continue;
		exact++;
		cr_expect_eq((long long)mine->m.acquires, truth__int(thread, "acquires"));
	}
	cr_expect_eq(exact, GIL_PER_PROC - 1);
	/* Three GILs without a place: each acquire and each release of theirs is counted as missed. */
	cr_expect_eq(s->lost[GIL_LOSS_NO_GIL_SLOT], 3 * 2 * 504);
	leave(&w, &o);
}

OnEach(more_than_there_are_places_for_are_counted)
{
	too_many(in);
}

/* ---- what people see ---- */

struct scene {
	struct workload w;
	struct private_redis redis;
	struct tool tool;
	json_t *lines;
};

/* Observed by the program itself, from gate to gate, into a Redis of its own. */
static void stage(struct scene *s, const struct interpreter *in, const char *command)
{
	char words[320], *out;

	private_redis__init(&s->redis, false);
	private_redis__start(&s->redis, true, NULL);
	workload__start(&s->w, in, command);
	snprintf(words, sizeof(words), "attach %d --interval 200ms --json --redis %s", (int)s->w.pid, s->redis.url);
	tool__start(&s->tool, words);
	tool__await(&s->tool, "armed");
	workload__go(&s->w);
	workload__truth(&s->w);
	kill(s->tool.pid, SIGINT);
	cr_assert_eq(tool__wait(&s->tool, 60), 0);
	out = tool__stdout(&s->tool);
	s->lines = json_lines__parse(out);
	free(out);
}

static void strike(struct scene *s)
{
	json_decref(s->lines);
	tool__clear(&s->tool);
	private_redis__fini(&s->redis);
	workload__quit(&s->w);
}

/* Runs the program on the process or its history. Returns what it says on standard output; free() it. */
static char *ask(struct scene *s, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static char *ask(struct scene *s, int status, const char *fmt, ...)
{
	char words[256], *out, *err;
	struct tool tool;
	va_list args;

	va_start(args, fmt);
	vsnprintf(words, sizeof(words), fmt, args);
	va_end(args);
	cr_expect_eq(tool__run(&tool, words), status, "gilscope %s", words);
	out = tool__stdout(&tool);
	err = tool__stderr(&tool);
	tool__clear(&tool);
	if (status) {
		free(out);
		return err;
	}
	free(err);
	return out;
}

static json_t *ask_json(struct scene *s, const char *words)
{
	char *out = ask(s, 0, "%s", words);
	json_t *json = json_loads(out, 0, NULL);

	cr_assert_not_null(json, "%s", out);
	free(out);
	return json;
}

static json_int_t truth_of_gil(struct scene *s, json_int_t gil)
{
	json_t *thread;
	json_int_t sum = 0;
	size_t i;

	json_array_foreach(json_object_get(workload__truth(&s->w), "threads"), i, thread)
		if (truth__int(thread, "gil") == gil)
			sum += truth__int(thread, "acquires");
	return sum;
}

static void expect_summary_of_three(struct scene *s)
{
	const json_t *summary = json_lines__summary(s->lines);
	json_t *gil;
	size_t i;

	cr_expect_str_eq(json_string_value(json_object_get(summary, "gil")), "per-interpreter");
	cr_expect_eq(json__int(summary, "process.gils"), 3);
	cr_assert_eq(json_array_size(json_object_get(summary, "gils")), 3);
	json_array_foreach(json_object_get(summary, "gils"), i, gil)
		if (json__int(gil, "g"))
			cr_expect_eq(json__int(gil, "n"), truth_of_gil(s, json__int(gil, "g")));
}

static void expect_history_of_three(struct scene *s)
{
	char words[256], *text;
	json_t *json;

	for (int gil = 1; gil <= 2; gil++) {
		snprintf(words, sizeof(words), "query %d --redis %s --json --gil %d", (int)s->w.pid, s->redis.url, gil);
		json = ask_json(s, words);
		cr_expect_eq(json__int(json, "g"), gil);
		cr_expect_str_eq(json_string_value(json_object_get(json, "gil")), "per-interpreter");
		cr_expect_eq(json__int(json, "totals.n"), truth_of_gil(s, gil));
		json_decref(json);
	}
	text = ask(s, 0, "query %d --redis %s", (int)s->w.pid, s->redis.url);
	cr_expect(strstr(text, "several GILs, of the interpreters 0,1,2"), "%s", text);
	free(text);
	text = ask(s, 1, "query %d --redis %s --gil 7", (int)s->w.pid, s->redis.url);
	cr_expect(strstr(text, "has no GIL 7; it has 0,1,2"), "%s", text);
	free(text);
}

static void expect_plan_of_three(struct scene *s)
{
	char *text = ask(s, 0, "doctor %d --json", (int)s->w.pid);
	json_t *json = ask_json(s, "ls --json"), *row;
	size_t i, seen = 0;

	cr_expect(strstr(text, "GIL of interpreter 0 at 0x"), "%s", text);
	cr_expect(strstr(text, ", shared by 2 interpreters"), "%s", text);
	cr_expect(strstr(text, "GIL of interpreter 2 at 0x"), "%s", text);
	free(text);
	json_array_foreach(json_object_get(json, "processes"), i, row) {
		if (json__int(row, "pid") != s->w.pid)
			continue;
		seen++;
		cr_expect_str_eq(json_string_value(json_object_get(row, "gil")), "per-interpreter");
	}
	cr_expect_eq(seen, 1);
	json_decref(json);
}

OnEach(are_shown_and_stored_one_by_one)
{
	struct scene s;

	stage(&s, in, "gils.py main:1:503 own:2:5003 own:1:3001 shared:1:101");
	expect_summary_of_three(&s);
	expect_history_of_three(&s);
	expect_plan_of_three(&s);
	strike(&s);
}

/* ---- and where there is none ---- */

static struct criterion_test_params without_gil(void)
{
	static struct interpreter all[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, all, interpreters__without_gil(all, INTERPRETERS_MAX));
}

static void expect_nothing_measured(const json_t *line)
{
	const json_t *process = json_object_get(line, "process");

	cr_expect_str_eq(json_string_value(json_object_get(line, "gil")), "free-threaded");
	cr_expect_null(json_object_get(process, "util"));
	cr_expect_null(json_object_get(process, "hold"));
	cr_expect_null(json_object_get(process, "n"));
	cr_expect_not_null(json_object_get(process, "d"));
}

ParameterizedTestParameters(gils, none_is_said_in_words_and_not_in_zeros)
{
	return without_gil();
}

ParameterizedTest(struct interpreter *in, gils, none_is_said_in_words_and_not_in_zeros)
{
	struct scene s;
	json_t *line;
	char *text;
	size_t i;

	stage(&s, in, "release_loop.py 20011 --call noop");
	json_array_foreach(s.lines, i, line)
		expect_nothing_measured(line);
	text = ask(&s, 0, "query %d --redis %s", (int)s.w.pid, s.redis.url);
	cr_expect(strstr(text, "The GIL is disabled in this process"), "%s", text);
	free(text);
	text = ask(&s, 0, "doctor %d", (int)s.w.pid);
	cr_expect(strstr(text, "runs without its GIL"), "%s", text);
	cr_expect(strstr(text, "its threads sleep at"), "%s", text);
	free(text);
	text = ask(&s, 0, "ls --json");
	cr_expect(strstr(text, "free-threaded, its GIL is off"), "%s", text);
	free(text);
	strike(&s);
}
