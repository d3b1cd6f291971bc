/* SPDX-License-Identifier: GPL-2.0-only */
/* What was seen by looking: its words, its sums, what it explains of the unknown, and there and back through JSON. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "collector/schema/schema_holding.h"
#include "collector/series/sample.h"

#define SECOND 1000000000ull

static const struct holding hung = {
	.by = HOLDER_THREAD, .tid = 4711, .name = "worker", .place = "f (dir/a.py:3)", .before = true, .lasted_ns = 12 * SECOND,
	.task = {.letter = 'S', .call = "futex", .wchan = "futex_wait_queue"},
};

Test(holding, is_said_in_one_sentence)
{
	struct holding ended = {.by = HOLDER_ENDED, .name = "worker"}, none = {0};
	struct holding stopped = {.standstill = STANDSTILL_STOPPED};
	char words[HOLDING_WORDS_SIZE];

	cr_expect_str_eq(holding__words(&none, words), "");
	cr_expect_str_eq(holding__words(&stopped, words), "the process is stopped by a signal (SIGSTOP)");
	cr_expect_str_eq(holding__words(&hung, words),
			 "worker has held the GIL since before gilscope looked, 12.0 s at least, asleep in futex "
			 "(futex_wait_queue), in f (dir/a.py:3)");
	cr_expect_str_eq(holding__words(&ended, words),
			 "the GIL is held by a thread that has ended without releasing it (worker): nobody can take it");
}

Test(holding, sums_add_up_and_the_rest_is_the_latest)
{
	struct holding sum = {.by = HOLDER_THREAD, .still_ns = {[STANDSTILL_STOPPED] = 5}, .gone_ns = 3};
	struct holding later = {.still_ns = {[STANDSTILL_STOPPED] = 2, [STANDSTILL_FROZEN] = 40}, .gone_ns = 1};

	holding__merge(&sum, &later);
	cr_expect_eq(sum.by, HOLDER_UNKNOWN);
	cr_expect_eq(holding__still_ns(&sum), 47);
	cr_expect_eq(holding__mostly(&sum), STANDSTILL_FROZEN);
	cr_expect_eq(sum.gone_ns, 4);
}

/* A sample in which a thread held 10 s and another waited 8 s of it, nothing known of either. */
static struct proc_sample *unseen_sample(void)
{
	struct proc_sample *s = proc_sample__new();
	struct thread_sample *t = proc_sample__add_thread(s);

	t->m.hold_ns = t->m.hold_off.ns[GIL_OFF_UNSEEN] = 10 * SECOND;
	t = proc_sample__add_thread(s);
	t->m.wait_ns = t->m.wait_off.ns[GIL_OFF_UNSEEN] = 8 * SECOND;
	return s;
}

Test(holding, looks_explain_as_much_of_a_hold_as_they_cover)
{
	struct task_spent spent = {.on_ns = 1 * SECOND, .asleep_ns = 3 * SECOND, .delay_ns = 1 * SECOND};
	struct proc_sample *s = unseen_sample();

	holding__explain(s, 0, &spent);
	cr_expect_eq(s->threads[0].m.hold_off.ns[GIL_OFF_BLOCKED], 3 * SECOND);
	cr_expect_eq(s->threads[0].m.hold_off.ns[GIL_OFF_PREEMPTED], 1 * SECOND);
	cr_expect_eq(s->threads[0].m.hold_off.ns[GIL_OFF_UNSEEN], 5 * SECOND, "half of it was looked at");
	cr_expect_eq(s->threads[1].m.wait_off.ns[GIL_OFF_UNSEEN], 4 * SECOND, "and half of the waiting");
	cr_expect_eq(s->threads[1].m.wait_off.ns[GIL_OFF_BLOCKED], 24 * SECOND / 10);
	proc_sample__free(s);
}

Test(holding, looks_explain_no_more_than_there_is)
{
	struct task_spent spent = {.asleep_ns = 30 * SECOND, .unknown_ns = 10 * SECOND};
	struct proc_sample *s = unseen_sample();

	holding__explain(s, 1, &spent);
	cr_expect_eq(s->threads[0].m.hold_off.ns[GIL_OFF_UNSEEN], 10 * SECOND, "that is another GIL");
	holding__explain(s, 0, &spent);
	cr_expect_eq(s->threads[0].m.hold_off.ns[GIL_OFF_BLOCKED], 75 * SECOND / 10);
	cr_expect_eq(s->threads[0].m.hold_off.ns[GIL_OFF_UNSEEN], 25 * SECOND / 10, "what looks could not tell stays unknown");
	proc_sample__free(s);
}

Test(holding, comes_back_out_of_json_as_it_went_in)
{
	struct holding in = hung, out;
	char *text;

	in.still_ns[STANDSTILL_TRACED] = 7 * SECOND;
	in.standstill = STANDSTILL_TRACED;
	in.tracer = 99;
	text = schema_holding__encode(&in);
	cr_assert_lt(strlen(text), SCHEMA_HOLDING_SIZE);
	schema_holding__decode(text, strlen(text), &out);
	cr_expect_eq(out.by, in.by);
	cr_expect_eq(out.tid, in.tid);
	cr_expect_str_eq(out.name, in.name);
	cr_expect_str_eq(out.place, in.place);
	cr_expect_eq(out.task.letter, 'S');
	cr_expect_str_eq(out.task.call, "futex");
	cr_expect_str_eq(out.task.wchan, "futex_wait_queue");
	cr_expect(out.before);
	cr_expect_eq(out.lasted_ns, in.lasted_ns);
	cr_expect_eq(out.standstill, in.standstill);
	cr_expect_eq(out.tracer, 99);
	cr_expect_eq(out.still_ns[STANDSTILL_TRACED], 7 * SECOND);
	free(text);
}

Test(holding, of_strange_json_nothing_is_known)
{
	static const char *const strange[] = {
		"", "[]", "7", "{", "{\"held_by\":7,\"tid\":-1,\"lasted\":1e99,\"standstill\":[],\"stopped\":-3,\"state\":{}}",
		"{\"held_by\":\"nonsense\",\"tid\":99999999999,\"tracer\":\"x\",\"name\":null}",
	};
	struct holding out;
	char words[HOLDING_WORDS_SIZE];

	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		schema_holding__decode(strange[i], strlen(strange[i]), &out);
		cr_expect_str_eq(holding__words(&out, words), "", "%s", strange[i]);
		cr_expect_eq(holding__still_ns(&out), 0);
		cr_expect_eq(out.tid, 0);
	}
}
