/* SPDX-License-Identifier: GPL-2.0-only */
/* The closing summary, the lines to paste, and the objects of --json. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cli/summary.h"
#include "collector/base/text.h"
#include "../support/made_up.h"

static const struct who who = {.id = "web1:4242:9f3a01bc", .label = "python3 app.py", .python = "3.11.2", .pid = 4242};

static struct proc_sample *s;
static char *text;

static void setup(void)
{
	s = made_up__second();
}

static void teardown(void)
{
	proc_sample__free(s);
	free(text);
}

TestSuite(summary, .init = setup, .fini = teardown);

static void service(void)
{
	made_up__thread(s, 4242, "MainThread", 100, 800, 400, 390);
	made_up__thread(s, 4250, "worker-0", 500, 400, 200003, 100);
}

static const char *summary(size_t max_threads)
{
	const struct summary_opts opts = {.width = 80, .max_threads = max_threads, .how = END_DURATION};
	size_t len;
	FILE *to = open_memstream(&text, &len);

	summary__print(to, &who, s, &opts);
	fclose(to);
	return text;
}

Test(summary, a_longest_wait_that_looks_saw_is_a_lower_bound)
{
	struct thread_sample *t;

	service();
	s->mode = GIL_MODE_LOOK;
	for (size_t i = 0; i < s->threads_n; i++) {
		t = &s->threads[i];
		t->m.known = s->total.known = KNOWN_HOLD_EST | KNOWN_WAIT_EST;
		t->m.looks = s->total.looks = 1000;
		t->m.wait_max_ns = i ? 43600000 : 0;
	}
	summary(20);
	cr_expect(strstr(text, "-    -  >=43.6 ms\n"), "%s", text);
	cr_expect(strstr(text, "-    -          -\n"), "%s", text);
}

Test(summary, several_gils_have_a_table_of_their_own)
{
	service();
	s->threads[1].gil = 3;
	made_up__gil(s, 0);
	made_up__gil(s, 3);
	summary(20);
	cr_expect(strstr(text, "  GIL busy       50.0%  of the time the busiest of 2 GILs was held\n"), "%s", text);
	cr_expect(strstr(text,
			 "\n"
			 "GIL    BUSY  WAITING  ACQUIRES  CONTENDED  FORCED OUT  MAX HOLD\n"
			 "#3    50.0%     0.40   200,003        100          50      2 us\n"
			 "main  10.0%     0.80       400        390         195    250 us\n"),
		  "%s", text);
}

Test(summary, a_gil_that_was_off_for_a_while_is_said)
{
	service();
	s->len_ns *= 4;
	s->no_gil_ns = s->len_ns - s->observed_ns;
	summary(20);
	cr_expect(strstr(text, "  no GIL         75.0%  of the run, in which other waits were not measured; "
			 "the rest is shown\n"), "%s", text);
	free(text);
	s->no_gil = true;
	summary(20);
	cr_expect(strstr(text, "observed for 4.00 s"), "%s", text);
	cr_expect(strstr(text, "is not measured."), "%s", text);
	cr_expect_null(strstr(text, "acquires"), "%s", text);
}

static void expect_fits(size_t columns)
{
	char *copy = strdup(text), *at = copy, *line;

	while ((line = strsep(&at, "\n")))
		cr_expect_leq(text__columns(line), columns, "%zu columns: %s", text__columns(line), line);
	free(copy);
}

Test(summary, a_service_in_full_mode_reads_like_this)
{
	service();
	cr_expect_str_eq(summary(20),
		"python3 app.py (pid 4242), CPython 3.11.2\n"
		"observed for 1.00 s in full mode; the time is over\n"
		"\n"
		"  GIL busy       60.0%  of the time a thread held the GIL\n"
		"  waiting         1.20  threads queued for it on average\n"
		"  handover        1.0%  of the waiting, nobody held it (wake-ups, too few CPUs)\n"
		"  acquires     200,403  times a thread took it (200k/s)\n"
		"  contended        490  of them had to wait (490/s)\n"
		"  forced           245  times taken from a thread for a waiting one (245/s)\n"
		"  cost            0.4%  of a core: gilscope's own cost in the process (estimate)\n"
		"  lost 0\n"
		"\n"
		"THREAD       TID  HOLDS  WAITS  ACQUIRES  CONTENDED  FORCED OUT\n"
		"worker-0    4250  50.0%  40.0%   200,003        100          50\n"
		"MainThread  4242  10.0%  80.0%       400        390         195\n"
		"\n"
		"THREAD       TID  HOLD P50     P99     MAX  WAIT P50      P99      MAX\n"
		"worker-0    4250      2 us    2 us    2 us   4.00 ms  4.00 ms  4.00 ms\n"
		"MainThread  4242    250 us  250 us  250 us   2.03 ms  2.03 ms  2.05 ms\n");
	expect_fits(80);
}

Test(summary, garbage_collection_is_said_with_its_error)
{
	service();
	s->total.gc = (struct gc_time){.hold_ns = s->total.hold_ns / 5, .max_ns = 31000000, .err2 = 1e12};
	s->total.known &= ~(uint32_t)KNOWN_GC_EXACT;
	summary(20);
	cr_expect(strstr(text, "  garbage        20.0%  of that garbage was collected (sampled, +- 0.2%)\n"
			       "  longest      31.0 ms  collection, at least\n"), "%s", text);
	expect_fits(80);
	free(text);
	s->total.known |= KNOWN_GC_EXACT;
	summary(20);
	cr_expect(strstr(text, "  garbage        20.0%  of that garbage was collected\n"
			       "  longest      31.0 ms  collection\n"), "%s", text);
}

Test(summary, holders_off_the_cpu_are_said_where_there_is_something_to_say)
{
	service();
	s->total.hold_off.ns[GIL_OFF_BLOCKED] = s->total.hold_ns / 4;
	s->total.hold_off.ns[GIL_OFF_PREEMPTED] = s->total.hold_ns / 8;
	s->total.wait_off.ns[GIL_OFF_BLOCKED] = s->total.wait_ns / 2;
	summary(20);
	cr_expect(strstr(text, "  asleep         50.0%  of the waiting, the holder slept\n"), "%s", text);
	expect_fits(80);
	cr_expect(strstr(text, "  GIL busy       60.0%  of the time a thread held the GIL\n"
			       "  asleep         25.0%  of that its holder slept (system call, page fault)\n"
			       "  no CPU         12.5%  of that its holder could have run, but had no CPU\n"
			       "  waiting "), "%s", text);
	expect_fits(80);
	free(text);
	s->total.known &= ~(uint32_t)KNOWN_OFF_CPU;
	summary(20);
	cr_expect_null(strstr(text, "asleep"));
	cr_expect_null(strstr(text, "no CPU  "));
}

Test(summary, counts_are_exact_however_large)
{
	made_up__thread(s, 1, "loop", 1, 0, 200003, 0);
	s->threads[0].m.acquires = 1234567890123;
	cr_expect(strstr(summary(0), "1,234,567,890,123"));
	expect_fits(80);
}

Test(summary, light_mode_does_not_invent_zeros)
{
	service();
	made_up__light(s);
	summary(20);
	cr_expect(strstr(text, "GIL busy           -  not known: light mode sees only who queues\n"));
	cr_expect(strstr(text, "acquires           -  not known in light mode\n"));
	cr_expect(strstr(text, "MainThread  4242      -  80.0%         -        390           -\n"), "%s", text);
	expect_fits(80);
}

Test(summary, crowds_are_summed_up)
{
	for (uint32_t i = 0; i < 500; i++)
		made_up__thread(s, 5000 + i, "pool-worker-with-a-long-name-that-goes-on", 1, 2, 3, 1);
	summary(20);
	cr_expect(strstr(text, "and 480 more threads: hold 48.0%, wait 96.0% together (--json has all)\n"), "%s", text);
	expect_fits(80);
}

Test(summary, nobody_is_said_in_words)
{
	cr_expect(strstr(summary(20), "No thread took the GIL or waited for it meanwhile.\n"));
}

Test(summary, unknown_waiting_is_named)
{
	service();
	s->total.unknown_ns = s->total.wait_ns / 2;
	cr_expect(strstr(summary(20), "unknown        50.0%  of the waiting, the holder is not known\n"), "%s", text);
}

Test(summary, lines_to_paste_carry_the_real_id)
{
	const struct summary_history history = {.where = "gilscope's own store (/run/x.sock)", .client = "gilscope store cli",
						.query = "gilscope query", .query_options = ""};
	size_t len;
	FILE *to = open_memstream(&text, &len);

	summary__history(to, &history, who.id);
	fclose(to);
	cr_expect(strstr(text, "  gilscope query web1:4242:9f3a01bc\n"));
	cr_expect(strstr(text, "  gilscope store cli --raw ZREVRANGE 'gil:menu' 0 -1\n"));
	cr_expect(strstr(text, "  gilscope store cli --raw ZRANGE 'gil:{web1:4242:9f3a01bc}:p:1s' -3 -1\n"));
	cr_expect(strstr(text, "  gilscope store cli ZREVRANGE 'gil:{web1:4242:9f3a01bc}:top:hold' 0 4 WITHSCORES\n"));
}

Test(summary, lines_to_paste_after_light_mode_find_something)
{
	const struct summary_history history = {.where = "", .client = "redis-cli", .query = "", .query_options = "",
						.no_holds = true};
	size_t len;
	FILE *to = open_memstream(&text, &len);

	summary__history(to, &history, who.id);
	fclose(to);
	cr_expect(strstr(text, "  redis-cli ZREVRANGE 'gil:{web1:4242:9f3a01bc}:top:wait' 0 4 WITHSCORES\n"), "%s", text);
}

static double number(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	cr_assert(json_is_number(value), "%s", name);
	return json_number_value(value);
}

Test(summary, json_has_process_threads_blame_and_losses)
{
	service();
	made_up__thread(s, 4251, "evil\"\\\n\033name", 1, 1, 1, 1);
	*proc_sample__add_blame(s) = (struct blame_cell){.victim = 0, .holder = 1, .ns = 792000000};
	s->lost[GIL_LOSS_RING_LAPPED] = 3;
	json_t *json = rows__json(&who, s, NULL);

	cr_assert(json);
	char *dumped = json_dumps(json, JSON_COMPACT);

	json_decref(json);
	json = json_loads(dumped, 0, NULL);
	free(dumped);
	cr_assert(json);
	cr_expect_str_eq(json_string_value(json_object_get(json, "type")), "interval");
	cr_expect_null(json_object_get(json, "end"));
	cr_expect_eq(number(json_object_get(json, "process"), "hold"), 601000);
	cr_expect_eq(number(json_object_get(json, "process"), "n"), 200404);
	const json_t *first = json_array_get(json_object_get(json, "threads"), 0);

	cr_expect_str_eq(json_string_value(json_object_get(first, "name")), "worker-0");
	cr_expect_eq(number(first, "tid"), 4250);
	cr_expect_eq(number(first, "n"), 200003);
	const json_t *blame = json_array_get(json_object_get(json, "blame"), 0);

	cr_expect_eq(number(blame, "us"), 792000);
	cr_expect_str_eq(json_string_value(json_object_get(json_object_get(blame, "holder"), "name")), "worker-0");
	cr_expect_eq(number(json_object_get(json, "losses"), "ring_lapped"), 3);
	json_decref(json);
}

Test(summary, json_has_each_gil_where_there_are_several)
{
	json_t *json, *gils;

	service();
	json = rows__json(&who, s, NULL);
	cr_expect_null(json_object_get(json, "gils"));
	cr_expect_str_eq(json_string_value(json_object_get(json, "gil")), "gil");
	json_decref(json);
	s->threads[1].gil = 3;
	made_up__gil(s, 0);
	made_up__gil(s, 3);
	json = rows__json(&who, s, NULL);
	gils = json_object_get(json, "gils");
	cr_assert_eq(json_array_size(gils), 2);
	cr_expect_str_eq(json_string_value(json_object_get(json, "gil")), "per-interpreter");
	cr_expect_eq(number(json_array_get(gils, 1), "g"), 3);
	cr_expect_eq(number(json_array_get(gils, 1), "hold"), 500000);
	cr_expect_eq(number(json_array_get(gils, 0), "g"), 0);
	json_decref(json);
	s->no_gil = true;
	json = rows__json(&who, s, NULL);
	cr_expect_str_eq(json_string_value(json_object_get(json, "gil")), "free-threaded");
	cr_expect_null(json_object_get(json_object_get(json, "process"), "n"));
	json_decref(json);
}

Test(summary, json_leaves_out_what_light_mode_does_not_know)
{
	service();
	made_up__light(s);
	json_t *json = rows__json(&who, s, "signal");
	const json_t *process = json_object_get(json, "process");

	cr_expect_str_eq(json_string_value(json_object_get(json, "type")), "summary");
	cr_expect_str_eq(json_string_value(json_object_get(json, "end")), "signal");
	cr_expect_null(json_object_get(process, "hold"));
	cr_expect_null(json_object_get(process, "util"));
	cr_expect_eq(number(process, "wait"), 1200000);
	json_decref(json);
}
