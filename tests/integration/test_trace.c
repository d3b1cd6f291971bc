/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope trace of programs that count their own releases and clock their own holds and stalls; its file is loaded as a
 * viewer would (timeline.h), and must agree with the program and with what the samples of the same run say.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/analysis/trace.h"
#include "collector/collector.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/pythons.h"
#include "../support/timeline.h"
#include "../support/tool.h"
#include "../support/workload.h"

static char dir[64], file[96];

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	snprintf(file, sizeof(file), "%s/trace.json", dir);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(trace_program, .init = set_up, .fini = tear_down, .timeout = 300);

static void start_with(struct workload *w, struct tool *t, const struct interpreter *in, const char *command,
		       const char *options)
{
	char words[256];

	workload__start(w, in, command);
	snprintf(words, sizeof(words), "trace %d -o %s %s", (int)w->pid, file, options);
	tool__start(t, words);
	tool__await(t, "armed in");
}

static void start(struct workload *w, struct tool *t, const char *command, const char *options)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	start_with(w, t, &stock, command, options);
}

/* Ends the trace as Ctrl-C does, and loads it. */
static void stop(struct tool *t, struct timeline *line)
{
	size_t len;
	char *text;

	kill(t->pid, SIGINT);
	cr_assert_eq(tool__wait(t, 20), 0, "%s", tool__stderr(t));
	text = must_read(file, &len);
	timeline__load(line, text);
	free(text);
}

static void expect_lossless(const struct timeline *line)
{
	cr_expect_eq(json_integer_value(json_object_get(line->other, "events_lost")), 0);
	cr_expect_eq(line->losses_n, 0);
}

static void expect_within(const char *what, double got, double want, double tolerance)
{
	cr_expect(fabs(got - want) <= tolerance * want, "%s: %.0f, the program says %.0f", what, got, want);
}

Test(trace_program, has_as_many_holds_as_the_program_made)
{
	struct timeline line;
	struct workload w;
	struct tool t;
	json_t *threads, *thread;
	size_t i;

	start(&w, &t, "release_loop.py 5003 4", "--duration 50s");
	workload__go(&w);
	threads = json_object_get(workload__truth(&w), "threads");
	stop(&t, &line);
	expect_lossless(&line);
	json_array_foreach (threads, i, thread) {
		json_int_t tid = truth__int(thread, "tid");

		cr_expect_eq(timeline__count(&line, tid, "held"), truth__int(thread, "acquires"));
		cr_expect_str_eq(timeline__track(&line, w.pid, tid), json_string_value(json_object_get(thread, "name")));
	}
	cr_expect_str_eq(json_string_value(json_object_get(line.other, "ended")), "signal");
	timeline__free(&line);
	tool__clear(&t);
	workload__quit(&w);
}

/* Arrows that begin at that thread. */
static size_t flows_from(const struct timeline *line, json_int_t tid)
{
	json_t *e;
	size_t i, n = 0;

	json_array_foreach (json_object_get(line->json, "traceEvents"), i, e)
		n += strcmp(json_string_value(json_object_get(e, "ph")), "s") == 0 &&
		     json_integer_value(json_object_get(e, "tid")) == tid;
	return n;
}

Test(trace_program, holds_and_waits_are_as_long_as_the_program_says)
{
	struct timeline line;
	struct workload w;
	struct tool t;
	json_t *hog, *victim;
	json_int_t hog_tid, victim_tid;

	start(&w, &t, "hog_victim.py 20", "--duration 50s");
	workload__go(&w);
	workload__truth(&w);
	stop(&t, &line);
	expect_lossless(&line);
	hog = workload__thread(&w, "hog");
	victim = workload__thread(&w, "victim-0");
	hog_tid = truth__int(hog, "tid");
	victim_tid = truth__int(victim, "tid");
	cr_expect_eq(timeline__count(&line, hog_tid, "held"), truth__int(hog, "acquires"));
	expect_within("the hog's holds", (double)timeline__sum(&line, hog_tid, "held"), (double)truth__int(hog, "hold_ns"), 0.03);
	expect_within("the victim's wait", (double)(timeline__sum(&line, victim_tid, "waiting") +
						    timeline__sum(&line, victim_tid, "hand-off")),
		      (double)truth__int(victim, "stall_ns"), 0.03);
	cr_expect_gt(flows_from(&line, hog_tid), 0);
	timeline__free(&line);
	tool__clear(&t);
	workload__quit(&w);
}

static const struct timeline_slice *slice_of(const struct timeline *line, const char *track)
{
	for (size_t i = 0; i < line->slices_n; i++) {
		const struct timeline_slice *s = &line->slices[i];
		const char *name = timeline__track(line, s->pid, s->tid);

		if (name && strcmp(name, track) == 0)
			return s;
	}
	return NULL;
}

static void run_and_load(struct timeline *line, pid_t pid, const char *options)
{
	char words[256], *text;
	struct tool t;
	size_t len;

	snprintf(words, sizeof(words), "trace %d -o %s %s", (int)pid, file, options);
	cr_assert_eq(tool__run(&t, words), 0, "%s", tool__stderr(&t));
	text = must_read(file, &len);
	timeline__load(line, text);
	free(text);
	tool__clear(&t);
}

/* By notes at their ends, and by calls: of the distribution's interpreter and of one without notes. */
static void expect_collections(const struct interpreter *in)
{
	struct timeline line;
	struct workload w;
	struct tool t;
	json_int_t worker;

	start_with(&w, &t, in, "garbage.py 10 --explicit --objects 100000", "--duration 50s");
	workload__go(&w);
	worker = truth__int(workload__thread(&w, "worker"), "tid");
	stop(&t, &line);
	expect_lossless(&line);
	cr_expect_eq(timeline__count(&line, worker, "garbage collection"), truth__int(w.truth, "n2"), "%s", in->version);
	expect_within(in->version, (double)timeline__sum(&line, worker, "garbage collection"),
		      (double)truth__int(w.truth, "gc_ns"), 0.1);
	timeline__free(&line);
	tool__clear(&t);
	workload__quit(&w);
}

Test(trace_program, draws_collections_as_long_as_the_program_clocked)
{
	static struct interpreter all[INTERPRETERS_MAX];
	struct interpreter stock;
	size_t n = interpreters__find(all, INTERPRETERS_MAX);

	interpreter__stock(&stock);
	expect_collections(&stock);
	for (size_t i = 0; i < n; i++)
		if (strncmp(all[i].version, "3.12.", 5) == 0)
			expect_collections(&all[i]);
}

Test(trace_program, hold_that_never_ends_is_there_and_cut_at_both_ends)
{
	const struct timeline_slice *held;
	struct interpreter stock;
	struct timeline line;
	struct workload w;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "long_hold.py 60");
	workload__go(&w);
	usleep(500000);
	run_and_load(&line, w.pid, "--duration 500ms");
	held = slice_of(&line, "hog");
	cr_assert_not_null(held);
	cr_expect_eq(timeline__count(&line, held->tid, "held"), 1);
	cr_expect_eq(held->from, 0);
	cr_expect_str_eq(json_string_value(json_object_get(held->args, "begin")), "cut: recording");
	cr_expect_str_eq(json_string_value(json_object_get(held->args, "end")), "cut: recording");
	cr_expect_not_null(slice_of(&line, "victim"), "its victim waits");
	timeline__free(&line);
	workload__kill(&w);
}

Test(trace_program, ends_where_its_size_does)
{
	struct interpreter stock;
	struct timeline line;
	struct workload w;
	json_int_t events;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "release_loop.py 1 --start-early");
	run_and_load(&line, w.pid, "--duration 50s --max-events 1000");
	events = json_integer_value(json_object_get(line.other, "events"));
	cr_expect_geq(events, 1000);
	cr_expect_leq(events, 1001);
	cr_expect_str_eq(json_string_value(json_object_get(line.other, "ended")), "max-events");
	expect_lossless(&line);
	timeline__free(&line);
	workload__kill(&w);
}

/* Of a gilscope that stood still for over a second nothing is known of a while: the trace shows which, and says it. */
static void expect_gap(const struct timeline *line, const char *said)
{
	cr_expect_not_null(strstr(said, "nothing was observed"), "%s", said);
	cr_expect_null(strstr(said, "where no probe is"), "%s", said);
	cr_expect_gt(json_number_value(json_object_get(line->other, "unobserved_us")), 0);
	cr_expect_gt(line->losses_n, 0);
}

/* Whoever does not look for a while finds a hole. */
Test(trace_program, says_what_it_lost_and_where)
{
	struct timeline line;
	struct workload w;
	struct tool t;
	json_int_t acquires, tid, events, lost;

	start(&w, &t, "release_loop.py 200003", "--duration 50s --max-events 100000000");
	tool__freeze(&t);
	workload__go(&w);
	acquires = truth__int(workload__thread(&w, "loop-0"), "acquires");
	tid = truth__int(workload__thread(&w, "loop-0"), "tid");
	tool__thaw(&t);
	stop(&t, &line);
	events = json_integer_value(json_object_get(line.other, "events"));
	lost = json_integer_value(json_object_get(line.other, "events_lost"));
	cr_expect_gt(lost, 0);
	cr_expect_geq(events + lost, 2 * acquires - 1, "each is either there or counted");
	cr_expect_gt(line.losses_n, 0);
	cr_expect_lt((json_int_t)timeline__count(&line, tid, "held"), acquires);
	timeline__free(&line);
	tool__clear(&t);
	workload__quit(&w);
}

Test(trace_program, shows_when_its_probes_were_lifted)
{
	struct timeline line;
	struct workload w;
	struct tool t;
	char *said;

	start(&w, &t, "hog_victim.py 1000", "--duration 60s");
	workload__go(&w);
	usleep(300000);
	tool__stand_still(&t, w.pid);
	stop(&t, &line);
	said = tool__stderr(&t);
	expect_gap(&line, said);
	free(said);
	timeline__free(&line);
	tool__clear(&t);
	workload__kill(&w);
}

Test(trace_program, of_nobody_is_one_sentence)
{
	struct tool t;
	char words[160], *err;

	snprintf(words, sizeof(words), "trace 4194303 -o %s", file);
	cr_expect_eq(tool__run(&t, words), 1);
	err = tool__stderr(&t);
	cr_expect_eq(strchr(err, '\n'), err + strlen(err) - 1, "%s", err);
	free(err);
	tool__clear(&t);
}

/* Nobody is told to open what is not whole. */
Test(trace_program, file_that_cannot_be_written_is_no_result)
{
	struct interpreter stock;
	struct workload w;
	struct tool t;
	char words[96], *err;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "cpu_threads.py 2 60");
	workload__go(&w);
	snprintf(words, sizeof(words), "trace %d -o /dev/full --duration 300ms", (int)w.pid);
	cr_expect_eq(tool__run(&t, words), 1);
	err = tool__stderr(&t);
	cr_expect_not_null(strstr(err, "/dev/full could not be written to its end: No space left"), "%s", err);
	cr_expect_null(strstr(err, "open it in"), "%s", err);
	free(err);
	tool__clear(&t);
	workload__kill(&w);
}

/* ---- several GILs ---- */

/* The newest that can have several; on a machine without any, the test does not exist. */
ParameterizedTestParameters(trace_program, each_gil_has_its_own_holds)
{
	static struct interpreter kept;
	struct interpreter all[INTERPRETERS_MAX];
	size_t n = interpreters__find(all, INTERPRETERS_MAX), kept_n = 0;

	for (size_t i = 0; i < n; i++)
		if (all[i].minor >= 12 && !all[i].free_threaded) {
			kept = all[i];
			kept_n = 1;
		}
	return cr_make_param_array(struct interpreter, &kept, kept_n);
}

/* What a viewer takes for the process of that GIL; -1: there is none. */
static json_int_t group_of(const struct timeline *line, const struct workload *w, json_int_t gil)
{
	char name[48];
	json_t *e;
	size_t i;

	snprintf(name, sizeof(name), ": GIL of interpreter %lld", (long long)gil);
	json_array_foreach (json_object_get(line->json, "traceEvents"), i, e)
		if (strcmp(json_string_value(json_object_get(e, "name")), "process_name") == 0 &&
		    (gil ? strstr(json_string_value(json_object_get(json_object_get(e, "args"), "name")), name) != NULL
			 : json_integer_value(json_object_get(e, "pid")) == w->pid))
			return json_integer_value(json_object_get(e, "pid"));
	return -1;
}

ParameterizedTest(struct interpreter *in, trace_program, each_gil_has_its_own_holds)
{
	json_t *threads, *thread;
	struct timeline line;
	struct workload w;
	struct tool t;
	size_t i;

	start_with(&w, &t, in, "gils.py main:2:2011 own:2:2011 own:3:503", "--duration 50s");
	workload__go(&w);
	threads = json_object_get(workload__truth(&w), "threads");
	stop(&t, &line);
	expect_lossless(&line);
	json_array_foreach (threads, i, thread) {
		json_int_t group = group_of(&line, &w, truth__int(thread, "gil")), held = 0;

		for (size_t j = 0; j < line.slices_n; j++)
			held += line.slices[j].pid == group && line.slices[j].tid == truth__int(thread, "tid") &&
				strcmp(line.slices[j].name, "held") == 0;
		if (json_object_get(thread, "acquires"))
			cr_expect_eq(held, truth__int(thread, "acquires"), "%s: thread %lld on GIL %lld: %lld holds", in->version,
				     truth__int(thread, "tid"), truth__int(thread, "gil"), (long long)held);
	}
	timeline__free(&line);
	tool__clear(&t);
	workload__quit(&w);
}

/* ---- beside the samples of the same run ---- */

#define TIDS_MAX 64

struct sums {
	struct trace *trace;
	uint32_t tids[TIDS_MAX];
	uint64_t hold[TIDS_MAX], wait[TIDS_MAX], holds[TIDS_MAX];
	size_t n;
	size_t compared;
};

static size_t index_of(struct sums *s, uint32_t tid)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->tids[i] == tid)
			return i;
	cr_assert_lt(s->n, TIDS_MAX);
	s->tids[s->n] = tid;
	return s->n++;
}

static void add_slice(void *arg, const struct trace_slice *slice)
{
	struct sums *s = arg;
	size_t i = index_of(s, slice->tid);

	if (slice->state == TRACE_COLLECTING)
		return;
	*(slice->state == TRACE_HELD ? &s->hold[i] : &s->wait[i]) += slice->to - slice->from;
	s->holds[i] += slice->state == TRACE_HELD && slice->begin == EDGE_SEEN;
}

static void ignore_flow(void *arg, const struct trace_flow *f)
{
}

static void ignore_waiters(void *arg, uint32_t gil, uint64_t at, uint32_t n)
{
}

static void refuse_loss(void *arg, uint32_t gil, uint64_t from, uint64_t to, uint64_t n)
{
	cr_assert_fail("%llu events lost", (unsigned long long)n);
}

static void on_begin(void *arg, struct collector *c, const struct collector_proc *proc, uint64_t armed_at)
{
}

static bool on_event(void *arg, const struct gil_trace_event *e)
{
	return trace__event(((struct sums *)arg)->trace, e) == 0;
}

static void on_end(void *arg, uint64_t end_ns)
{
	trace__end_at(((struct sums *)arg)->trace, end_ns);
}

static void compare(void *arg, const struct collector_proc *proc, const struct proc_sample *totals, enum collector_end how)
{
	struct sums *s = arg;

	for (size_t i = 0; i < totals->threads_n; i++) {
		const struct thread_sample *t = &totals->threads[i];
		size_t at = index_of(s, t->key.tid);

		cr_expect_eq(s->hold[at], t->m.hold_ns, "%s: holds of %llu ns, in samples %llu ns", t->name,
			     (unsigned long long)s->hold[at], (unsigned long long)t->m.hold_ns);
		cr_expect_eq(s->wait[at], t->m.wait_ns, "%s: waits of %llu ns, in samples %llu ns", t->name,
			     (unsigned long long)s->wait[at], (unsigned long long)t->m.wait_ns);
		cr_expect_eq(s->holds[at], t->m.acquires);
		s->compared += t->m.acquires > 0;
	}
}

static void expect_slices_add_up(const char *command, size_t threads)
{
	struct sums s = {0};
	struct trace_out out = {
		.arg = &s, .slice = add_slice, .flow = ignore_flow, .waiters = ignore_waiters, .loss = refuse_loss,
	};
	struct collector_trace trace = {
		.arg = &s, .ring_bytes = 4 << 20, .begin = on_begin, .event = on_event, .end = on_end,
	};
	struct collector_opts opts = {
		.interval_ns = 300000000, .duration_ns = 1000000000, .mode = MODE_FULL, .max_overhead = 1, .trace = &trace,
	};
	struct collector_events events = {.arg = &s, .ended = compare};
	struct reason why = {{0}};
	struct interpreter stock;
	struct workload w;

	interpreter__stock(&stock);
	workload__start(&w, &stock, command);
	workload__go(&w);
	schema_opts__default(&opts.schema);
	s.trace = trace__new(&out);
	cr_assert_eq(collector__run(&opts, &w.pid, 1, &events, &why), 0, "%s", why.text);
	cr_expect_geq(s.compared, threads);
	trace__free(s.trace);
	workload__kill(&w);
}

Test(trace_program, slices_of_cpu_threads_add_up_to_the_samples)
{
	expect_slices_add_up("cpu_threads.py 4 60", 1);
}

Test(trace_program, slices_of_readers_beside_a_spinner_add_up_to_the_samples)
{
	expect_slices_add_up("spinner_io.py 60 --hold-ms 1", 1);
}
