/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Python stacks against what the programs say of themselves (sys._current_frames), on every interpreter of this machine:
 * function, file and line of every frame.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/text.h"
#include "collector/python/pynames.h"
#include "collector/python/pystack.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/program.h"
#include "../support/python_memory.h"
#include "../support/pythons.h"
#include "../support/workload.h"

TestSuite(stacks, .timeout = 300);

/* The thread state of a thread, as gilscope finds it. */
static uint64_t tstate_of(const struct pynames *names, pid_t tid)
{
	const struct pythread *all;
	size_t n;

	all = pynames__all(names, &n);
	for (size_t i = 0; i < n; i++)
		if (all[i].tid == tid)
			return all[i].tstate;
	cr_assert_fail("thread %d is not on the interpreter's list", (int)tid);
	return 0;
}

/* How a text of the program's is to be shown: cleaned, and of what is too long the beginning, or the end. */
static void expected_text(char *buf, size_t size, const char *text, bool end)
{
	size_t len = strlen(text), skip = 0;

	if (end && len > size - 1) {
		skip = len - (size - 1);
		while ((text[skip] & 0xc0) == 0x80)
			skip++;
	}
	text__clean(buf, size, text + skip, len - skip);
}

static void expect_frame(const struct pysymbol *got, json_t *want, const char *thread, size_t depth)
{
	char function[PYSTACK_FUNCTION_SIZE], file[PYSTACK_FILE_SIZE];

	expected_text(function, sizeof(function), json_string_value(json_array_get(want, 0)), false);
	expected_text(file, sizeof(file), json_string_value(json_array_get(want, 1)), true);
	cr_expect_str_eq(got->function, function, "%s, frame %zu: %s, not %s", thread, depth, got->function, function);
	cr_expect_str_eq(got->file, file, "%s, frame %zu: %s, not %s", thread, depth, got->file, file);
	cr_expect_eq(got->line, json_integer_value(json_array_get(want, 2)), "%s, frame %zu (%s): line %u, not %d", thread,
		     depth, function, got->line, (int)json_integer_value(json_array_get(want, 2)));
}

static void expect_stack(struct pystack *s, uint64_t tstate, json_t *thread)
{
	const char *name = json_string_value(json_array_get(thread, 1));
	json_t *want = json_array_get(thread, 2);
	struct gil_frame frames[GIL_STACK_DEPTH];
	struct pysymbol symbol;
	bool more;
	int n = pystack__walk_still(s, tstate, frames, GIL_STACK_DEPTH, &more);

	cr_assert_eq(n, (int)json_array_size(want), "%s: %d frames, not %zu", name, n, json_array_size(want));
	cr_expect_eq(more, strcmp(name, "ten_thousand") == 0, "%s", name);
	for (size_t i = 0; i < (size_t)n; i++) {
		cr_expect(pystack__symbol(s, &frames[i], &symbol), "%s: frame %zu has no name", name, i);
		expect_frame(&symbol, json_array_get(want, i), name, i);
	}
}

ParameterizedTestParameters(stacks, are_those_that_threads_say_they_have)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, stacks, are_those_that_threads_say_they_have)
{
	struct python_memory memory;
	struct workload w;
	json_t *truth, *thread;
	size_t i;

	workload__start(&w, in, "stacks.py");
	python_memory__open(&memory, w.pid);
	for (int round = 0; round < 2; round++) { /* the second time from the cache */
		truth = workload__ask(&w, "list");
		json_array_foreach(json_object_get(truth, "threads"), i, thread)
			expect_stack(memory.stacks,
				     tstate_of(memory.names, (pid_t)json_integer_value(json_array_get(thread, 0))), thread);
		cr_expect_gt(i, 15);
		json_decref(truth);
	}
	python_memory__close(&memory);
	workload__quit(&w);
}

/* A code object that is another than it was when it was seen has no name, whether that one was known before or not. */
Test(stacks, a_frame_of_a_freed_code_object_has_no_name)
{
	struct gil_frame frames[GIL_STACK_DEPTH];
	struct python_memory memory;
	struct pysymbol symbol;
	struct interpreter in;
	struct workload w;
	json_t *truth;
	uint64_t tstate;
	bool more;

	interpreter__stock(&in);
	workload__start(&w, &in, "stacks.py");
	python_memory__open(&memory, w.pid);
	truth = workload__ask(&w, "list");
	tstate = tstate_of(memory.names, (pid_t)json_integer_value(
		json_array_get(json_array_get(json_object_get(truth, "threads"), 0), 0)));
	cr_assert_gt(pystack__walk_still(memory.stacks, tstate, frames, GIL_STACK_DEPTH, &more), 1);
	frames[0].print ^= 2;
	cr_expect_not(pystack__symbol(memory.stacks, &frames[0], &symbol));
	cr_expect_str_eq(symbol.function, "?");
	cr_expect_eq(symbol.line, 0);
	frames[0].print ^= 2;
	cr_expect(pystack__symbol(memory.stacks, &frames[0], &symbol));
	cr_expect_str_eq(symbol.function, "stand");
	frames[0].print ^= 2;
	cr_expect_not(pystack__symbol(memory.stacks, &frames[0], &symbol));
	/* Not a code object, not even memory. */
	frames[0].code = tstate;
	cr_expect_not(pystack__symbol(memory.stacks, &frames[0], &symbol));
	frames[0].code = 64;
	cr_expect_not(pystack__symbol(memory.stacks, &frames[0], &symbol));
	json_decref(truth);
	python_memory__close(&memory);
	workload__quit(&w);
}

/* ---- under probes ---- */

static const struct stack_opts every_hold = {.on = true, .threshold_ns = 0, .long_hold_ns = 0};
static const struct stack_opts usual = {.on = true, .threshold_ns = 5000000, .long_hold_ns = 100000000};

/* What a thread has in one function, all lines of it; `line` (NULL: not asked) is that of the heaviest. */
static struct code_cell in_function(const struct proc_sample *s, pid_t tid, const char *function)
{
	struct code_cell sum = {.function = ""};
	uint64_t most = 0;

	for (size_t i = 0; i < s->code_n; i++) {
		const struct code_cell *c = &s->code[i];

		if (s->threads[c->thread].key.tid != (uint32_t)tid || strcmp(c->function, function) != 0)
			continue;
		if (c->hold_ns >= most) {
			most = c->hold_ns;
			memcpy(sum.file, c->file, sizeof(sum.file));
			sum.line = c->line;
		}
		sum.hold_ns += c->hold_ns;
		sum.blame_ns += c->blame_ns;
		sum.wait_ns += c->wait_ns;
	}
	return sum;
}

static uint64_t blame_of_thread(const struct proc_sample *s, pid_t tid)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->blame_n; i++)
		if (s->threads[s->blame[i].holder].key.tid == (uint32_t)tid)
			sum += s->blame[i].ns;
	return sum;
}

static uint64_t code_of_thread(const struct proc_sample *s, pid_t tid)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->code_n; i++)
		if (s->threads[s->code[i].thread].key.tid == (uint32_t)tid)
			sum += s->code[i].blame_ns;
	return sum;
}

/* A sleeper's least: what little of its time it runs is its code's by a tick or none, on one line or the next. */
static uint64_t but_a_tick(long long ns)
{
	return (uint64_t)(ns - ns / 32);
}

/* Nobody's blame is lost on the way, and none is made: the matrix is known to the nanosecond. */
static void expect_blame_of_the_matrix(const struct proc_sample *s, pid_t tid, const char *function)
{
	cr_expect_eq(code_of_thread(s, tid), blame_of_thread(s, tid), "%s: blame %llu in code, %llu in the matrix", function,
		     (unsigned long long)code_of_thread(s, tid), (unsigned long long)blame_of_thread(s, tid));
}

static void expect_guilt(const struct proc_sample *s, json_t *thread, const char *path)
{
	pid_t tid = (pid_t)truth__int(thread, "tid");
	const char *function = json_string_value(json_object_get(thread, "function"));
	struct code_cell cell = in_function(s, tid, function);
	char file[CODE_FILE_SIZE];

	expected_text(file, sizeof(file), path, true);
	cr_expect_geq(cell.hold_ns, but_a_tick(truth__int(thread, "hold_low_ns")), "%s held %llu, not %lld or more", function,
		      (unsigned long long)cell.hold_ns, truth__int(thread, "hold_low_ns"));
	cr_expect_geq(cell.blame_ns, but_a_tick(truth__int(thread, "blame_low_ns")), "%s is blamed for %llu, not %lld or more",
		      function, (unsigned long long)cell.blame_ns, truth__int(thread, "blame_low_ns"));
	cr_expect(cell.line == truth__int(thread, "line") || cell.line == truth__int(thread, "call_line"), "%s:%u", function,
		  cell.line);
	cr_expect_str_eq(cell.file, file);
	expect_blame_of_the_matrix(s, tid, function);
}

ParameterizedTestParameters(stacks, name_the_code_that_makes_others_wait)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, stacks, name_the_code_that_makes_others_wait)
{
	json_t *truth, *threads, *thread;
	const char *path;
	struct observer o;
	struct workload w;
	size_t i;

	workload__start(&w, in, "guilty.py 6");
	observer__attach_stacks(&o, w.pid, GIL_MODE_FULL, &every_hold);
	workload__go(&w);
	truth = workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	observer__assert_lossless(observer__totals(&o));
	path = json_string_value(json_object_get(truth, "file"));
	threads = json_object_get(truth, "threads");
	json_array_foreach(threads, i, thread) {
		pid_t tid = (pid_t)truth__int(thread, "tid");

		if (i < 2)
			expect_guilt(observer__totals(&o), thread, path);
		else
			cr_expect_gt(in_function(observer__totals(&o), tid, "waits_here").wait_ns, 0u);
	}
	observer__detach(&o);
	workload__quit(&w);
}

/* ---- how much, from both sides ---- */

#define AGREEMENT 0.03

static void expect_within(const char *what, const char *function, uint64_t got, long long low, long long high)
{
	cr_expect((double)got >= (1 - AGREEMENT) * (double)low && (double)got <= (1 + AGREEMENT) * (double)high,
		  "%s of %s: %llu ns, its own clocks say %lld to %lld", what, function, (unsigned long long)got, low, high);
}

static void expect_share(const struct proc_sample *s, json_t *hog)
{
	const char *function = json_string_value(json_object_get(hog, "function"));
	pid_t tid = (pid_t)truth__int(hog, "tid");
	struct code_cell cell = in_function(s, tid, function);

	expect_within("hold", function, cell.hold_ns, truth__int(hog, "hold_low_ns"), truth__int(hog, "hold_high_ns"));
	expect_within("blame", function, cell.blame_ns, truth__int(hog, "blame_low_ns"), truth__int(hog, "blame_high_ns"));
	cr_expect_eq(cell.line, truth__int(hog, "line"), "%s:%u", function, cell.line);
	expect_blame_of_the_matrix(s, tid, function);
}

ParameterizedTestParameters(stacks, share_holds_and_blame_out_as_the_hogs_clock_them)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, stacks, share_holds_and_blame_out_as_the_hogs_clock_them)
{
	struct observer o;
	struct workload w;

	workload__start(&w, in, "blamed.py 12");
	observer__attach_stacks(&o, w.pid, GIL_MODE_FULL, &every_hold);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	observer__assert_lossless(observer__totals(&o));
	expect_share(observer__totals(&o), workload__thread(&w, "heavy"));
	expect_share(observer__totals(&o), workload__thread(&w, "modest"));
	observer__detach(&o);
	workload__quit(&w);
}

/* ---- where ---- */

static void expect_place(const struct proc_sample *s, pid_t tid, json_t *place)
{
	const char *function = json_string_value(json_object_get(place, "function"));
	struct code_cell cell = in_function(s, tid, function);
	char file[CODE_FILE_SIZE];

	expected_text(file, sizeof(file), json_string_value(json_object_get(place, "file")), true);
	cr_expect_geq(cell.hold_ns, but_a_tick(truth__int(place, "hold_low_ns")), "%s held %llu", function,
		      (unsigned long long)cell.hold_ns);
	cr_expect_geq(cell.blame_ns, but_a_tick(truth__int(place, "hold_low_ns")), "%s is blamed for %llu", function,
		      (unsigned long long)cell.blame_ns);
	cr_expect_eq(cell.line, truth__int(place, "line"), "%s:%u, not %lld", function, cell.line, truth__int(place, "line"));
	cr_expect_str_eq(cell.file, file);
}

ParameterizedTestParameters(stacks, name_guilty_frames_of_all_kinds)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, stacks, name_guilty_frames_of_all_kinds)
{
	json_t *hog, *place;
	struct observer o;
	struct workload w;
	size_t i;

	workload__start(&w, in, "places.py");
	observer__attach_stacks(&o, w.pid, GIL_MODE_FULL, &usual);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	hog = workload__thread(&w, "hog");
	json_array_foreach(json_object_get(hog, "places"), i, place)
		expect_place(observer__totals(&o), (pid_t)truth__int(hog, "tid"), place);
	cr_expect_eq(i, 9);
	observer__detach(&o);
	workload__quit(&w);
}

/* ---- while it hangs ---- */

/* A call that never returns is named while it hangs. */
ParameterizedTestParameters(stacks, name_a_call_that_never_returns)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

struct told {
	int holds, waits;
	char holder[THREAD_NAME_SIZE]; /* of a wait that goes on */
	char name[THREAD_NAME_SIZE];
	char function[PYSTACK_FUNCTION_SIZE];
	bool ended;
	uint32_t waiters;
	uint64_t len_ns;
};

static void note_long(void *arg, uint32_t slot, const struct long_event *e)
{
	struct told *told = arg;

	if (e->wait) {
		told->waits++;
		strcpy(told->holder, e->holder_name);
		strcpy(told->function, e->stack ? e->stack->leaf.function : "(unknown)");
		return;
	}
	told->holds++;
	strcpy(told->name, e->name);
	strcpy(told->function, e->stack ? e->stack->leaf.function : "(unknown)");
	told->ended = e->ended;
	told->waiters = e->waiters;
	told->len_ns = e->at_ns - e->since_ns;
}

static void no_event(void *arg, const struct gil_event *e)
{
}

/* What dump says of a thread, by name; borrowed. */
static json_t *dumped(json_t *dump, const char *name)
{
	json_t *thread;
	size_t i;

	json_array_foreach(json_object_get(dump, "threads"), i, thread)
		if (strcmp(json_string_value(json_object_get(thread, "name")), name) == 0)
			return thread;
	cr_assert_fail("dump does not know a thread %s", name);
	return NULL;
}

static const char *dumped_function(json_t *thread, size_t depth)
{
	return json_string_value(json_object_get(json_array_get(json_object_get(thread, "stack"), depth), "function"));
}

static json_t *dump_of(pid_t pid)
{
	struct program p;
	json_t *dump;

	program__run(&p, "$GILSCOPE dump --json %d", (int)pid);
	cr_assert_eq(p.status, 0, "%s", p.err);
	dump = json_loads(p.out, 0, NULL);
	cr_assert_not_null(dump, "%s", p.out);
	program__free(&p);
	return dump;
}

/* The state now, without probes: the hog holds, 41 calls deep; the others wait where they said they would. */
static void expect_dump(pid_t pid)
{
	json_t *dump = dump_of(pid), *heavy, *victim;

	heavy = dumped(dump, "heavy");
	cr_expect_str_eq(json_string_value(json_object_get(heavy, "state")), "holds");
	cr_expect_geq(json_integer_value(json_object_get(heavy, "seen")), 100000);
	cr_expect_str_eq(dumped_function(heavy, 0), "hang");
	for (size_t i = 1; i <= 41; i++)
		cr_expect_str_eq(dumped_function(heavy, i), "descend");
	cr_expect_str_eq(dumped_function(heavy, 42), "hog");
	cr_expect(json_is_false(json_object_get(heavy, "moving")));
	cr_expect_str_eq(json_string_value(json_object_get(heavy, "native")), "libgilwork.so: nap");
	victim = dumped(dump, "victim-1");
	cr_expect_str_eq(json_string_value(json_object_get(victim, "state")), "waits");
	cr_expect_str_eq(dumped_function(victim, 0), "waits_here");
	json_decref(dump);
}

ParameterizedTest(struct interpreter *in, stacks, name_a_call_that_never_returns)
{
	struct told told = {0};
	struct observer o;
	struct workload w;
	struct code_cell cell;
	uint32_t tid = 0;
	char *line;

	workload__start(&w, in, "guilty.py 1 --hang");
	observer__attach_stacks(&o, w.pid, GIL_MODE_FULL, &usual);
	reader__on_long(o.shop.reader, note_long, &told);
	workload__go(&w);
	line = workload__hear(&w);
	cr_assert_str_eq(line, "hangs");
	free(line);
	expect_dump(w.pid);
	/* Told without a question, and before it ends: by a waiter that comes by. */
	for (int i = 0; i < 3000 && !told.holds; i++) {
		usleep(10000);
		cr_assert_eq(reader__drain(o.shop.reader, no_event, NULL), 0);
	}
	cr_assert_eq(told.holds, 1);
	cr_expect_not(told.ended);
	cr_expect_str_eq(told.name, "heavy");
	cr_expect_str_eq(told.function, "hang");
	cr_expect_geq(told.len_ns, usual.long_hold_ns);
	cr_expect_geq(told.waiters, 3u);
	proc_sample__free(observer__interval(&o));
	for (size_t i = 0; i < observer__totals(&o)->threads_n; i++)
		if (strcmp(observer__totals(&o)->threads[i].name, "heavy") == 0)
			tid = observer__totals(&o)->threads[i].key.tid;
	cell = in_function(observer__totals(&o), (pid_t)tid, "hang");
	cr_expect_geq(cell.hold_ns, usual.long_hold_ns);
	cr_expect_geq(cell.blame_ns, 3 * usual.long_hold_ns / 2);
	observer__detach(&o);
	workload__kill(&w);
}

/* CPU time of a thread so far, us. */
static double cpu_us(pid_t pid, json_int_t tid)
{
	char path[64];
	double ns = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%lld/schedstat", (int)pid, (long long)tid);
	f = fopen(path, "re");
	cr_assert(f && fscanf(f, "%lf", &ns) == 1, "%s", path);
	fclose(f);
	return ns / 1e3;
}

/* Two threads compute in turn: what one computes while gilscope looks, it did not wait. Waiting itself takes next to no CPU. */
Test(stacks, dump_takes_nobody_who_had_the_gil_meanwhile_for_a_waiter)
{
	struct interpreter in;
	struct workload w;
	json_int_t tids[2];
	json_t *dump;

	interpreter__stock(&in);
	workload__start(&w, &in, "cpu_threads.py 2 60");
	workload__go(&w);
	dump = dump_of(w.pid);
	for (int i = 0; i < 2; i++)
		tids[i] = json_integer_value(json_object_get(dumped(dump, i ? "cpu-1" : "cpu-0"), "tid"));
	json_decref(dump);
	for (int tries = 0; tries < 5; tries++) {
		double begin = (double)clock__mono_ns() / 1e3, cpu[2] = {cpu_us(w.pid, tids[0]), cpu_us(w.pid, tids[1])};

		dump = dump_of(w.pid);
		for (int i = 0; i < 2; i++) {
			json_t *thread = dumped(dump, i ? "cpu-1" : "cpu-0");
			double computed = cpu_us(w.pid, tids[i]) - cpu[i], window = (double)clock__mono_ns() / 1e3 - begin;
			double seen = json_number_value(json_object_get(thread, "seen"));

			if (strcmp(json_string_value(json_object_get(thread, "state")), "waits") == 0)
				cr_expect_leq(computed + seen, window + 10000, "waited for %.0f us and computed for %.0f in %.0f",
					      seen, computed, window);
		}
		json_decref(dump);
	}
	workload__kill(&w);
}

/* Light: no probe where the GIL is taken or let go, but its waiters come by. */
Test(stacks, in_light_mode_waiters_name_the_holder)
{
	const struct stack_opts waits = {.on = true, .threshold_ns = 5000000, .long_wait_ns = 50000000};
	struct told told = {0};
	struct interpreter in;
	struct observer o;
	struct workload w;
	uint64_t blame = 0;
	char *line;

	interpreter__stock(&in);
	workload__start(&w, &in, "guilty.py 1 --hang");
	observer__attach_stacks(&o, w.pid, GIL_MODE_LIGHT, &waits);
	reader__on_long(o.shop.reader, note_long, &told);
	workload__go(&w);
	line = workload__hear(&w);
	cr_assert_str_eq(line, "hangs");
	free(line);
	for (int i = 0; i < 3000 && !told.waits; i++) {
		usleep(10000);
		cr_assert_eq(reader__drain(o.shop.reader, no_event, NULL), 0);
	}
	cr_assert_gt(told.waits, 0);
	cr_expect_str_eq(told.holder, "heavy");
	cr_expect_str_eq(told.function, "hang");
	proc_sample__free(observer__interval(&o));
	/* What is known of holds, of code too, is an estimate. */
	cr_expect_eq(observer__totals(&o)->total.known & KNOWN_HOLD, 0u);
	for (size_t i = 0; i < observer__totals(&o)->code_n; i++)
		if (strcmp(observer__totals(&o)->code[i].function, "hang") == 0)
			blame += observer__totals(&o)->code[i].blame_ns;
	cr_expect_gt(blame, 0u);
	observer__detach(&o);
	workload__kill(&w);
}

/* Held 2 ms out of 5, by one thread: where the last look finds nobody, one of the next ones does, and shares say how often. */
Test(stacks, dump_finds_the_holder_between_short_holds)
{
	struct interpreter in;
	struct workload w;
	int again = 0;

	interpreter__stock(&in);
	workload__start(&w, &in, "hog_victim.py 100000 --hold-ms 2 --gap-ms 3 --victims 0");
	workload__go(&w);
	for (int tries = 0; tries < 12; tries++) {
		json_t *dump = dump_of(w.pid), *hog = dumped(dump, "hog");
		json_t *gil = json_array_get(json_object_get(dump, "gils"), 0);
		double held = json_number_value(json_object_get(gil, "held"));

		cr_expect_str_eq(json_string_value(json_object_get(hog, "state")), "holds");
		cr_expect_gt(json_array_size(json_object_get(hog, "stack")), 0);
		if (json_object_get(gil, "looks")) {
			again++;
			cr_expect_gt(json_integer_value(json_object_get(gil, "looks")), 1);
			cr_expect(held > 0 && held < 1, "%.3f", held);
			cr_expect_leq(json_number_value(json_object_get(hog, "held")), held);
		}
		json_decref(dump);
	}
	cr_expect_gt(again, 0);
	workload__kill(&w);
}

Test(stacks, dump_of_an_idle_process_says_how_long_nobody_had_it)
{
	struct child python;
	json_t *dump, *gil;

	child__start_python(&python, "/usr/bin/python3");
	dump = dump_of(python.pid);
	gil = json_array_get(json_object_get(dump, "gils"), 0);
	cr_expect_gt(json_integer_value(json_object_get(gil, "looks")), 1);
	cr_expect_float_eq(json_number_value(json_object_get(gil, "held")), 0, 0);
	json_decref(dump);
	child__stop(&python);
}

/* A library that forks by itself while another thread has the GIL: in the child nobody will ever let go of it. */
static const char late_fork[] = "#include <unistd.h>\nint late_fork(void) { usleep(30000); return fork(); }\n";
static const char orphan[] =
	"import ctypes, os, sys, threading, time\n"
	"lib = ctypes.CDLL(sys.argv[1])\n"
	"def spin():\n"
	"    while True: sum(range(100000))\n"
	"threading.Thread(target=spin, name='spin', daemon=True).start()\n"
	"time.sleep(0.2)\n"
	"pid = lib.late_fork()\n"
	"open(sys.argv[2], 'w').write(str(pid))\n"
	"print('ready', flush=True)\n"
	"input()\n";

/* The id of the child's holder is that of a thread of its parent, which runs: what that one does is none of the child's. */
Test(stacks, dump_takes_no_native_code_of_another_process)
{
	char dir[64], lib[96], said[96], *text;
	char *argv[] = {(char *)"/usr/bin/python3", (char *)"-c", (char *)orphan, lib, said, NULL};
	struct child parent;
	json_t *dump;
	pid_t child;
	size_t len;

	temp_dir__make(dir, sizeof(dir));
	snprintf(lib, sizeof(lib), "%s/late_fork.so", dir);
	snprintf(said, sizeof(said), "%s/pid", dir);
	must_compile(lib, "-shared -fPIC", late_fork);
	child__start(&parent, argv, NULL);
	text = must_read(said, &len);
	child = (pid_t)atoi(text);
	cr_assert_gt(child, 0);
	dump = dump_of(child);
	cr_expect_null(json_object_get(dumped(dump, "spin"), "native"), "%s", json_dumps(dump, 0));
	json_decref(dump);
	kill(child, SIGKILL);
	child__stop(&parent);
	free(text);
	temp_dir__remove(dir);
}
