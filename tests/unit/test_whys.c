/* SPDX-License-Identifier: GPL-2.0-only */
/* Why a holder does not run: from what the kernel has of it as it leaves its CPU, to sums, words and JSON, and back. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "bpf/gil_leave.h"
#include "collector/schema/schema_whys.h"

#define SLEEPS 0x1     /* TASK_INTERRUPTIBLE */
#define DISK 0x2       /* TASK_UNINTERRUPTIBLE */
#define KILLABLE 0x102 /* TASK_WAKEKILL | TASK_UNINTERRUPTIBLE */
#define WAKING 0x200   /* TASK_WAKING */

struct leaving_case {
	char what[48];
	struct gil_leaving task;
	enum gil_cpu_state becomes;
	enum gil_why_kind why;
	uint32_t id;
};

ParameterizedTestParameters(whys, state_is_what_the_thread_became_and_not_what_it_meant_to_be)
{
	static struct leaving_case cases[] = {
		{"preempted", {.preempted = true, .call = -1}, GIL_CPU_PREEMPTED, GIL_WHY_NONE, 0},
		{"preempted on its way to sleep", {.preempted = true, .state = SLEEPS, .state_now = SLEEPS, .call = 7},
		 GIL_CPU_PREEMPTED, GIL_WHY_NONE, 0},
		{"gives way", {.call = SYS_sched_yield}, GIL_CPU_PREEMPTED, GIL_WHY_NONE, 0},
		{"woken before it left", {.state = SLEEPS, .state_now = 0, .call = SYS_futex}, GIL_CPU_PREEMPTED, GIL_WHY_NONE, 0},
		{"a signal before it stopped", {.state = 0x8, .traced = true, .call = -1}, GIL_CPU_PREEMPTED, GIL_WHY_NONE, 0},
		{"woken as it left", {.state = SLEEPS, .state_now = WAKING, .call = SYS_futex}, GIL_CPU_BLOCKED, GIL_WHY_CALL,
		 SYS_futex},
		{"asleep in a call", {.state = SLEEPS, .state_now = SLEEPS, .call = SYS_read}, GIL_CPU_BLOCKED, GIL_WHY_CALL, SYS_read},
		{"asleep in call 0", {.state = SLEEPS, .state_now = SLEEPS, .call = 0}, GIL_CPU_BLOCKED, GIL_WHY_CALL, 0},
		{"disk sleep in a call", {.state = DISK, .state_now = DISK, .call = SYS_fsync}, GIL_CPU_BLOCKED, GIL_WHY_CALL, SYS_fsync},
		{"disk sleep in a fault", {.state = DISK, .state_now = DISK, .call = -1}, GIL_CPU_BLOCKED, GIL_WHY_FAULT, 0},
		{"a fault that can be killed", {.state = KILLABLE, .state_now = KILLABLE, .call = -1}, GIL_CPU_BLOCKED, GIL_WHY_FAULT, 0},
		{"with a tracer, but asleep", {.state = SLEEPS, .state_now = SLEEPS, .traced = true, .call = SYS_futex}, GIL_CPU_BLOCKED,
		 GIL_WHY_CALL, SYS_futex},
		{"traced", {.state = 0x8, .state_now = 0x8, .traced = true, .call = -1}, GIL_CPU_STOPPED, GIL_WHY_TRACER, 0},
		{"traced, in a call", {.state = 0x108, .state_now = 0x108, .traced = true, .call = 3}, GIL_CPU_STOPPED, GIL_WHY_TRACER, 0},
		{"traced and frozen", {.state = 0x8, .state_now = 0x8, .traced = true, .frozen = true, .call = -1}, GIL_CPU_STOPPED,
		 GIL_WHY_TRACER, 0},
		{"the tracer has just gone", {.state = 0x8, .state_now = 0x8, .call = -1}, GIL_CPU_STOPPED, GIL_WHY_SIGNAL, 0},
		{"stopped", {.state = 0x104, .state_now = 0x104, .call = -1}, GIL_CPU_STOPPED, GIL_WHY_SIGNAL, 0},
		{"frozen, version 2", {.state = SLEEPS, .state_now = SLEEPS, .frozen = true, .call = -1}, GIL_CPU_STOPPED, GIL_WHY_FROZEN, 0},
		{"frozen, version 1", {.state = 0x8000, .state_now = 0x8000, .call = -1}, GIL_CPU_STOPPED, GIL_WHY_FROZEN, 0},
	};

	return cr_make_param_array(struct leaving_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct leaving_case *c, whys, state_is_what_the_thread_became_and_not_what_it_meant_to_be)
{
	struct gil_why why = {.kind = 77, .id = 77};

	cr_expect_eq(gil_cpu_leaves(&c->task, &why), c->becomes, "%s", c->what);
	cr_expect_eq(why.kind, c->why, "%s: %s", c->what, gil_why_kind__name(why.kind));
	cr_expect_eq(why.id, c->id, "%s: %u", c->what, why.id);
}

/* ---- sums and words ---- */

static void count(struct whys *w, enum gil_why_kind kind, uint32_t id, const char *name, uint64_t ns)
{
	struct gil_why why = {.kind = kind, .id = id};

	memcpy(why.name, name, strnlen(name, sizeof(why.name))); /* the kernel's names need no end */
	whys__count(w, &why, ns);
}

Test(whys, reasons_are_told_apart_by_what_they_are_called_and_those_without_room_are_summed)
{
	struct whys w = {0}, sum = {0};

	count(&w, GIL_WHY_TRACER, 7, "py-spy", 1000);
	count(&w, GIL_WHY_TRACER, 8, "py-spy", 3000);
	count(&w, GIL_WHY_TRACER, 7, "py-spy", 500);
	count(&w, GIL_WHY_CALL, SYS_futex, "", 9000);
	count(&w, GIL_WHY_FAULT, 0, "", 0);
	count(&w, GIL_WHY_NONE, 0, "", 400);
	cr_expect_eq(w.n, 3);
	cr_expect_eq(w.rest_ns, 400);
	cr_expect_eq(whys__ns(&w, GIL_WHY_TRACER), 4500);
	cr_expect_eq(whys__most(&w, true)->pid, 8);
	cr_expect_str_eq(whys__most(&w, false)->name, "futex");
	for (uint32_t id = 100; id < 100 + WHYS_MAX; id++)
		count(&w, GIL_WHY_TRACER, id, "x", 10);
	cr_expect_eq(w.n, WHYS_MAX);
	cr_expect_eq(w.rest_ns, 400 + 3 * 10);
	whys__merge(&sum, &w);
	whys__merge(&sum, &w);
	cr_expect_eq(sum.rest_ns, 2 * w.rest_ns);
	cr_expect_eq(whys__ns(&sum, GIL_WHY_TRACER), 2 * whys__ns(&w, GIL_WHY_TRACER));
}

Test(whys, tracers_are_named_and_the_one_that_did_the_most_comes_first)
{
	char words[WHYS_WORDS_SIZE];
	struct whys w = {0};

	cr_expect_str_eq(whys__tracers(&w, words), "");
	count(&w, GIL_WHY_SIGNAL, 0, "", 9000000);
	count(&w, GIL_WHY_TRACER, 0, "", 10);
	count(&w, GIL_WHY_TRACER, 12, "0123456789abcdef", 20);
	count(&w, GIL_WHY_TRACER, 13, "a\033[31mb", 30);
	cr_expect_str_eq(whys__tracers(&w, words), "a?[31mb (PID 13) and 0123456789abcdef (PID 12) and a tracer");
	cr_expect_str_eq(why__words(whys__most(&w, true), words), "a signal (SIGSTOP)");
}

/* ---- JSON ---- */

static char *encode(const struct whys *w)
{
	struct json_text j = {0};

	json_text__open(&j, '{');
	schema_whys__put(&j, w);
	json_text__close(&j, '}');
	return json_text__take(&j);
}

static void decode(const char *text, struct whys *ret)
{
	json_t *json = json_loads(text, 0, NULL);

	schema_whys__get(json_object_get(json, "why"), ret);
	json_decref(json);
}

Test(whys, json_is_read_as_it_was_written)
{
	struct whys in = {.rest_ns = 1000}, out;
	char *text, *again;

	count(&in, GIL_WHY_TRACER, 4711, "py-spy", 1200000);
	count(&in, GIL_WHY_CALL, SYS_futex, "", 5000);
	count(&in, GIL_WHY_FAULT, 0, "", 7999);
	count(&in, GIL_WHY_FROZEN, 0, "", 999);
	text = encode(&in);
	cr_expect_str_eq(text, "{\"why\":[{\"why\":\"tracer\",\"name\":\"py-spy\",\"pid\":4711,\"us\":1200},"
			       "{\"why\":\"call\",\"name\":\"futex\",\"us\":5},{\"why\":\"fault\",\"us\":7},"
			       "{\"why\":\"rest\",\"us\":1}]}");
	decode(text, &out);
	again = encode(&out);
	cr_expect_str_eq(again, text);
	free(text);
	free(again);
}

Test(whys, strange_json_is_no_reason)
{
	static const char *const strange[] = {
		"{}", "[]", "7", "{\"why\":7}", "{\"why\":[7,[],{}]}", "{\"why\":[{\"why\":7,\"us\":1}]}",
		"{\"why\":[{\"why\":\"tracer\"}]}", "{\"why\":[{\"why\":\"tracer\",\"us\":-1}]}",
		"{\"why\":[{\"why\":\"tracer\",\"us\":1e300}]}", "{\"why\":[{\"why\":\"magic\",\"us\":5}]}",
	};
	struct whys out;

	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		decode(strange[i], &out);
		cr_expect(out.n == 0 && out.rest_ns == 0, "%s", strange[i]);
	}
	decode("{\"why\":[{\"why\":\"tracer\",\"name\":\"\\u001b[2J\",\"pid\":-4,\"us\":5}]}", &out);
	cr_expect_eq(out.n, 1);
	cr_expect_str_eq(out.of[0].name, "?[2J");
	cr_expect_eq(out.of[0].pid, 0);
}
