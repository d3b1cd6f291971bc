/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Extensions that keep the GIL: the Python function and line that called, and the file (and function) that ran, against what
 * the program says of itself (native.py).
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "collector/stacks/native.h"
#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/program.h"
#include "../support/tool.h"
#include "../support/workload.h"
#include "gil.skel.h"

TestSuite(native, .timeout = 300);

#define PATIENCE 120 /* seconds for something to be seen that goes on all the while: the machine may be busy */

static const struct stack_opts usual = {.on = true, .threshold_ns = 5000000, .long_hold_ns = 60000000};

struct told {
	char native[NATIVE_NAME_SIZE]; /* of the newest long hold that goes on in the hog's call */
};

/* What a call returned is freed in another line, which may take its time as well. */
static bool is_the_call(const char *function)
{
	return strstr(function, "<lambda>") || strcmp(function, "loop") == 0;
}

static void note_long(void *arg, uint32_t slot, const struct long_event *e)
{
	struct told *told = arg;

	if (!e->wait && !e->ended && e->native && is_the_call(e->stack->leaf.function))
		snprintf(told->native, sizeof(told->native), "%s", e->native);
}

static void no_event(void *arg, const struct gil_event *e)
{
}

static const struct code_cell *cell_of(const struct proc_sample *s, const char *function)
{
	const struct code_cell *heaviest = NULL;

	for (size_t i = 0; i < s->code_n; i++)
		if (strcmp(s->code[i].function, function) == 0 && (!heaviest || s->code[i].hold_ns > heaviest->hold_ns))
			heaviest = &s->code[i];
	return heaviest;
}

/* "module: function" or "module+0x123"; `symbol` (NULL: not asked) is what the function's name begins with. */
static void expect_name(const char *got, json_t *hog, const char *kind)
{
	const char *module = json_string_value(json_object_get(hog, "module"));
	const char *symbol = json_string_value(json_object_get(hog, "symbol"));
	size_t len;

	cr_assert_not_null(module, "%s: the program does not know its own module", kind);
	len = strlen(module);
	cr_expect(strncmp(got, module, len) == 0 && (!got[len] || strchr(":+", got[len])), "%s: in %s, not %s", kind, got,
		  module);
	if (symbol)
		cr_expect(strncmp(got + len, ": ", 2) == 0 && strncmp(got + len + 2, symbol, strlen(symbol)) == 0,
			  "%s: in %s, not %s", kind, got, symbol);
}

static bool is_known(const struct proc_sample *s, const struct told *told)
{
	for (size_t i = 0; i < s->code_n; i++)
		if (s->code[i].native[0] && is_the_call(s->code[i].function))
			return told->native[0];
	return false;
}

/* Until the hog's native code is known, from its sums and from a hold that goes on. Timers are set up on the way. */
static void watch(struct observer *o, const struct told *told)
{
	for (int i = 0; i < PATIENCE * 50 && (i < 50 || !is_known(observer__totals(o), told)); i++) {
		usleep(20000);
		cr_assert_eq(reader__drain(o->shop.reader, no_event, NULL), 0);
		if (i % 20 == 19)
			proc_sample__free(observer__interval(o));
	}
}

/* No context switch is seen any more: what is known of holders that run is from the timers alone. */
static void stop_watching_switches(struct observer *o)
{
	struct gil_bpf *skel = probes__skeleton(o->shop.probes);

	bpf_link__destroy(skel->links.gil_switch);
	skel->links.gil_switch = NULL;
}

static void expect_native_by(const struct interpreter *in, const char *kind, bool timers_only)
{
	struct told told = {.native = ""};
	const struct code_cell *cell;
	struct observer o;
	struct workload w;
	char command[64];
	json_t *hog;

	snprintf(command, sizeof(command), "native.py %s", kind);
	workload__start(&w, in, command);
	observer__attach_stacks(&o, w.pid, GIL_MODE_FULL, &usual);
	reader__on_long(o.shop.reader, note_long, &told);
	if (timers_only)
		stop_watching_switches(&o);
	workload__go(&w);
	watch(&o, &told);
	workload__say(&w, "stop");
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	hog = workload__thread(&w, "hog");
	cell = cell_of(observer__totals(&o), json_string_value(json_object_get(hog, "function")));
	cr_assert_not_null(cell, "%s: no hold in %s", kind, json_string_value(json_object_get(hog, "function")));
	cr_expect_eq(cell->line, truth__int(hog, "line"), "%s: line %u", kind, cell->line);
	expect_name(cell->native, hog, kind);
	expect_name(told.native, hog, kind);
	observer__detach(&o);
	workload__quit(&w);
}

static void expect_native(const struct interpreter *in, const char *kind)
{
	expect_native_by(in, kind, false);
}

/* ---- every kind, on the distribution's interpreter ---- */

static const char *const kinds[] = {"crc32", "re", "json", "numpy", "cxx", "usleep"};

ParameterizedTestParameters(native, code_that_keeps_the_gil_is_named)
{
	static size_t numbers[sizeof(kinds) / sizeof(kinds[0])];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		numbers[i] = i;
	return cr_make_param_array(size_t, numbers, sizeof(kinds) / sizeof(kinds[0]));
}

ParameterizedTest(size_t *kind, native, code_that_keeps_the_gil_is_named)
{
	struct interpreter in;

	interpreter__stock(&in);
	expect_native(&in, kinds[*kind]);
}

Test(native, code_that_is_never_off_the_cpu_is_named_by_timers)
{
	struct interpreter in;

	interpreter__stock(&in);
	expect_native_by(&in, "re", true);
}

/* ---- on every interpreter ---- */

ParameterizedTestParameters(native, sleep_with_the_gil_is_named)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, native, sleep_with_the_gil_is_named)
{
	expect_native(in, "nap");
}

ParameterizedTestParameters(native, regular_expression_without_end_is_named)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, native, regular_expression_without_end_is_named)
{
	expect_native(in, "re");
}

/* ---- what is none ---- */

/* A loop of bytecode never leaves the interpreter, and nothing outside of it is named. */
Test(native, bytecode_is_no_native_code)
{
	struct told told = {.native = ""};
	struct interpreter in;
	struct observer o;
	struct workload w;
	json_t *hog;
	const char *module;

	interpreter__stock(&in);
	workload__start(&w, &in, "native.py python");
	observer__attach_stacks(&o, w.pid, GIL_MODE_FULL, &usual);
	reader__on_long(o.shop.reader, note_long, &told);
	workload__go(&w);
	for (int i = 0; i < 100; i++) {
		usleep(20000);
		cr_assert_eq(reader__drain(o.shop.reader, no_event, NULL), 0);
	}
	workload__say(&w, "stop");
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	hog = workload__thread(&w, "hog");
	module = json_string_value(json_object_get(hog, "module"));
	cr_assert_not_null(cell_of(observer__totals(&o), "loop"));
	cr_expect(strncmp(cell_of(observer__totals(&o), "loop")->native, module,
			  cell_of(observer__totals(&o), "loop")->native[0] ? strlen(module) : 0) == 0, "in %s",
		  cell_of(observer__totals(&o), "loop")->native);
	observer__detach(&o);
	workload__quit(&w);
}

/* ---- without probes ---- */

/* Native code of the hog in one dump, or NULL; free() it. */
static char *dumped(pid_t pid)
{
	json_t *dump, *thread;
	struct program p;
	char *name = NULL;
	size_t i;

	program__run(&p, "$GILSCOPE dump --json %d", (int)pid);
	cr_assert_eq(p.status, 0, "%s", p.err);
	dump = json_loads(p.out, 0, NULL);
	cr_assert_not_null(dump, "%s", p.out);
	json_array_foreach(json_object_get(dump, "threads"), i, thread)
		if (strcmp(json_string_value(json_object_get(thread, "name")), "hog") == 0 && json_object_get(thread, "native"))
			name = strdup(json_string_value(json_object_get(thread, "native")));
	json_decref(dump);
	program__free(&p);
	return name;
}

/* It has to run a little while it is looked at: on a busy machine not every dump finds it so. What it finds is right. */
Test(native, dump_names_a_computation_that_never_ends)
{
	struct interpreter in;
	struct workload w;
	char *line, *name;
	int known = 0;

	interpreter__stock(&in);
	workload__start(&w, &in, "native.py endless");
	workload__go(&w);
	line = workload__hear(&w);
	cr_assert_eq(strncmp(line, "module ", 7), 0, "%s", line);
	for (int i = 0; i < 200 && known < 3; i++) {
		name = dumped(w.pid);
		cr_expect(!name || strncmp(name, line + 7, strlen(line + 7)) == 0, "in %s, not %s", name, line + 7);
		known += name != NULL;
		free(name);
	}
	cr_expect_eq(known, 3);
	free(line);
	workload__kill(&w);
}

/* ---- up to the screen ---- */

Test(native, attach_and_flame_show_it)
{
	struct interpreter in;
	struct workload w;
	struct tool t;
	char words[160], *out;

	interpreter__stock(&in);
	workload__start(&w, &in, "native.py usleep");
	workload__go(&w);
	snprintf(words, sizeof(words), "attach %d --duration 2s --mode full --no-store --json", (int)w.pid);
	cr_assert_eq(tool__run(&t, words), 0, "%s", tool__stderr(&t));
	out = tool__stdout(&t);
	cr_expect_not_null(strstr(out, "\"native\":\"libc"), "%s", out);
	cr_expect_not_null(strstr(out, ": usleep\""), "%s", out);
	free(out);
	tool__clear(&t);
	snprintf(words, sizeof(words), "flame %d --duration 2s --folded", (int)w.pid);
	cr_assert_eq(tool__run(&t, words), 0, "%s", tool__stderr(&t));
	out = tool__stdout(&t);
	cr_expect_not_null(strstr(out, ": usleep "), "below the Python frames: %s", out);
	free(out);
	tool__clear(&t);
	workload__kill(&w);
}
