/* SPDX-License-Identifier: GPL-2.0-only */
/* Code cells: added up, capped, merged, written to Redis, read back, and put into words. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/code.h"
#include "cli/functions.h"
#include "collector/schema/batch.h"
#include "collector/schema/schema.h"
#include "collector/schema/schema_code.h"
#include "collector/series/window.h"
#include "../support/made_up.h"

#define MS 1000000ull

static struct code_cell cell(uint32_t thread, const char *function, uint32_t line, uint64_t blame_ms)
{
	struct code_cell c = {.thread = thread, .blame_ns = blame_ms * MS, .hold_ns = blame_ms * MS / 2, .times = 1};

	code_cell__set_place(&c, function, "dir/app.py", line, 10);
	return c;
}

static void add(struct proc_sample *s, uint32_t thread, const char *function, uint32_t line, uint64_t blame_ms)
{
	struct code_cell c = cell(thread, function, line, blame_ms);

	cr_assert_eq(proc_sample__add_code(s, &c, SIZE_MAX), 0);
}

/* Two threads, three places; the worst function is f of the second, in two lines. */
static struct proc_sample *guilty(void)
{
	struct proc_sample *s = made_up__second();

	made_up__thread(s, 4250, "one", 100, 0, 10, 0);
	made_up__thread(s, 4251, "two", 500, 0, 10, 0);
	s->code_known = true;
	add(s, 0, "f", 12, 50);
	add(s, 1, "f", 12, 40);
	add(s, 1, "f", 14, 30);
	add(s, 1, "g", 20, 60);
	add(s, 1, "f", 12, 5);
	return s;
}

Test(code, time_of_one_place_and_thread_is_summed)
{
	struct proc_sample *s = guilty();

	cr_assert_eq(s->code_n, 4);
	cr_expect_eq(s->code[1].blame_ns, 45 * MS);
	cr_expect_eq(s->code[1].times, 2);
	cr_expect_eq(s->code[0].blame_ns, 50 * MS);
	proc_sample__free(s);
}

Test(code, the_worst_are_kept_and_nothing_is_lost)
{
	struct proc_sample *s = made_up__second();
	uint64_t sum = 0;

	made_up__thread(s, 1, "t", 1, 0, 1, 0);
	for (uint32_t line = 1; line <= 100; line++)
		add(s, 0, "f", line, line);
	cr_assert_eq(proc_sample__cap_code(s, 30), 0);
	cr_assert_eq(s->code_n, 30);
	for (size_t i = 0; i < s->code_n; i++) {
		cr_expect_gt(s->code[i].line, 70u);
		sum += s->code[i].blame_ns;
	}
	cr_expect_eq(sum + s->code_rest.blame_ns, 5050 * MS);
	/* There is room behind them. */
	for (uint32_t line = 200; line < 400; line++)
		add(s, 0, "f", line, 1);
	cr_expect_eq(s->code_n, 230);
	proc_sample__free(s);
}

Test(code, names_are_cut_and_cleaned)
{
	char file[400], function[400];
	struct code_cell c = {.line = 0};

	memset(function, 'x', sizeof(function));
	memset(file, 'y', sizeof(file));
	function[399] = file[399] = '\0';
	memcpy(file + 396, ".py", 3);
	function[3] = '\033';
	code_cell__set_place(&c, function, file, 7, 7);
	cr_expect_eq(strlen(c.function), sizeof(c.function) - 1);
	cr_expect_eq(c.function[3], '?');
	cr_expect_eq(strlen(c.file), sizeof(c.file) - 1);
	cr_expect_str_eq(c.file + strlen(c.file) - 3, ".py");
}

Test(code, windows_add_up_by_thread_and_place)
{
	struct window w = {.max_threads = 100};
	struct proc_sample *a = guilty(), *b = made_up__second();

	/* The same threads in another order. */
	made_up__thread(b, 4251, "two", 500, 0, 10, 0);
	made_up__thread(b, 4250, "one", 100, 0, 10, 0);
	add(b, 0, "g", 20, 1);
	b->code_rest.blame_ns = 3 * MS;
	cr_assert_eq(window__add(&w, a), 0);
	cr_assert_eq(window__add(&w, b), 0);
	cr_assert_eq(w.sample.code_n, 4);
	cr_expect(w.sample.code_known);
	cr_expect_eq(w.sample.code_rest.blame_ns, 3 * MS);
	for (size_t i = 0; i < 4; i++)
		if (strcmp(w.sample.code[i].function, "g") == 0) {
			cr_expect_eq(w.sample.code[i].blame_ns, 61 * MS);
			cr_expect_str_eq(w.sample.threads[w.sample.code[i].thread].name, "two");
		}
	proc_sample__free(a);
	proc_sample__free(b);
	window__free(&w);
}

static char names[8][CODE_NAME_SIZE];

/* The functions of a sample, of the thread `only`; caller frees. */
static struct function_time *functions_of(const struct proc_sample *s, size_t only, size_t *ret_n)
{
	struct function_part *parts = code__parts(s, names);
	struct function_time *list = functions__sum(parts, s->code_n, only, ret_n);

	cr_assert_not_null(list);
	free(parts);
	return list;
}

Test(code, the_worst_function_is_all_of_its_lines)
{
	struct proc_sample *s = guilty();
	size_t n;
	struct function_time *list = functions_of(s, 1, &n);

	cr_assert_eq(n, 2);
	cr_expect_eq(list[0].blame_us, 75000);
	cr_expect_str_eq(list[0].place, "f (dir/app.py:12)");
	cr_expect_str_eq(list[0].who, "two");
	free(list);
	list = functions_of(s, 0, &n);
	cr_expect_eq(list[0].blame_us, 50000);
	free(list);
	s->code_n = 0;
	free(functions_of(s, SIZE_MAX, &n));
	cr_expect_eq(n, 0);
	proc_sample__free(s);
}

/* Eight threads of a pool in one function, and one of them in something worse than any of theirs. */
Test(code, a_function_that_many_threads_run_is_one)
{
	struct proc_sample *s = made_up__second();
	struct function_time *list;
	size_t n;

	for (uint32_t i = 0; i < 8; i++) {
		made_up__thread(s, 4250 + i, i ? "pool" : "first", 100, 0, 10, 0);
		add(s, i, "search", 12 + i % 2, 10 + i);
	}
	code_cell__set_native(&s->code[7], "re.so: match");
	code_cell__set_native(&s->code[5], "re.so: other");
	add(s, 0, "parse", 30, 40);
	add(s, 0, "idle", 40, 0);
	list = functions_of(s, SIZE_MAX, &n);
	cr_assert_eq(n, 3);
	cr_expect_str_eq(list[0].place, "search (dir/app.py:13)", "the line of most of it");
	cr_expect_eq(list[0].blame_us, 8 * 10000 + 28000);
	cr_expect_eq(list[0].hold_us, list[0].blame_us / 2);
	cr_expect_str_eq(list[0].who, "8 threads");
	cr_expect_str_eq(list[0].native, "re.so: match", "the worst thread's in that line");
	cr_expect_str_eq(list[1].who, "first");
	cr_expect_eq(list[2].threads, 0);
	free(list);
	/* Another function of the same name is another. */
	s->code[0].firstlineno = 90;
	list = functions_of(s, SIZE_MAX, &n);
	cr_expect_eq(n, 4);
	cr_expect_str_eq(list[0].who, "7 threads");
	free(list);
	proc_sample__free(s);
}

Test(code, the_summary_says_whose_fault_it_is)
{
	struct proc_sample *s = guilty();
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	code__print(to, s, 80);
	fclose(to);
	cr_expect_not_null(strstr(text, "2 threads made others wait 125 ms in all\nin f (app.py:12).\n"), "%s", text);
	cr_expect_not_null(strstr(text, "g (dir/app.py:20)"), "%s", text);
	cr_expect_null(strstr(text, " -\n"), "%s", text);
	free(text);
	/* Light mode estimates holds, and says so; without ticks it sees none: that is not zero. */
	s->total.known &= ~(uint32_t)KNOWN_HOLD;
	to = open_memstream(&text, &len);
	code__print(to, s, 80);
	fclose(to);
	cr_expect_not_null(strstr(text, "  ~HELD\n"), "%s", text);
	free(text);
	s->total.known &= ~(uint32_t)KNOWN_HOLD_EST;
	to = open_memstream(&text, &len);
	code__print(to, s, 80);
	fclose(to);
	cr_expect_not_null(strstr(text, " 125 ms     -\n"), "%s", text);
	free(text);
	s->total.known |= KNOWN_HOLD | KNOWN_HOLD_EST;
	/* Holds that nobody waited for are no fault. */
	for (size_t i = 0; i < s->code_n; i++)
		s->code[i].blame_ns = 0;
	to = open_memstream(&text, &len);
	code__print(to, s, 80);
	fclose(to);
	cr_expect_str_eq(text, "");
	free(text);
	proc_sample__free(s);
}

/* ---- Redis ---- */

/* The member of the first ZADD to a key that ends in `what`; the batch's. */
static const char *member_of(const struct batch *b, const char *what)
{
	for (size_t i = 0; i < batch__commands(b); i++) {
		const char *const *argv;
		const size_t *lens;
		int argc = batch__get(b, i, &argv, &lens);

		if (argc == 4 && strcmp(argv[0], "ZADD") == 0 && strlen(argv[1]) > strlen(what) &&
		    strcmp(argv[1] + strlen(argv[1]) - strlen(what), what) == 0)
			return argv[3];
	}
	return NULL;
}

/* What a place did on the CPU and off it, and who called it, comes back as it was; another caller is another place. */
Test(code, kinds_of_time_and_callers_are_read_back)
{
	struct proc_sample *s = guilty();
	struct schema_writer *w = made_up__writer();
	struct code_sum sum = {0};
	struct batch *b = batch__new();
	struct code_cell c = cell(0, "f", 12, 90);
	const char *member;

	c.hold_off = (struct gil_off){{20 * MS, 5 * MS, 0}};
	c.blame_off = (struct gil_off){{70 * MS, 0, 0}};
	code_cell__set_caller(&c, "save (shop.py:3) -> orm.save");
	cr_assert_eq(proc_sample__add_code(s, &c, SIZE_MAX), 0);
	cr_assert_eq(s->code_n, 5);
	cr_assert_eq(schema_writer__sample(w, TIER_BASE, s, s, b), 0);
	member = member_of(b, ":code:1s");
	cr_assert_not_null(member);
	cr_expect_not_null(strstr(member, "90000,0,\"\",0,0,\"save (shop.py:3) -> orm.save\",[20000,5000,0,0],[70000,0,0,0]]"),
			   "%s", member);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(code_sum__add(&sum, member, strlen(member)), 0);
	cr_assert_eq(sum.n, 5);
	cr_expect_str_eq(sum.places[0].caller, "save (shop.py:3) -> orm.save");
	cr_expect_eq(sum.places[0].hold_off_us[GIL_OFF_BLOCKED], 40000);
	cr_expect_eq(sum.places[0].hold_off_us[GIL_OFF_PREEMPTED], 10000);
	cr_expect_eq(sum.places[0].blame_off_us[GIL_OFF_BLOCKED], 140000);
	cr_expect_eq(sum.places[1].blame_off_us[GIL_OFF_BLOCKED], 0);
	code_sum__free(&sum);
	batch__free(b);
	schema_writer__free(w);
	proc_sample__free(s);
}

Test(code, is_written_and_read_back)
{
	struct proc_sample *s = guilty();
	struct schema_writer *w = made_up__writer();
	struct code_sum sum = {0};
	struct batch *b = batch__new();
	const char *member;

	cr_assert_eq(schema_writer__sample(w, TIER_BASE, s, s, b), 0);
	member = member_of(b, ":code:1s");
	cr_assert_not_null(member);
	cr_expect_not_null(strstr(member, "\"c\":[[\"4251\",\"g\",\"dir/app.py\",20,30000,60000,0],"), "%s", member);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(code_sum__add(&sum, member, strlen(member)), 0);
	cr_expect_eq(sum.n, 4);
	for (size_t i = 0; i < sum.n; i++)
		if (sum.places[i].line == 20)
			cr_expect_eq(sum.places[i].blame_us, 2 * 60000, "both members");
	code_sum__free(&sum);
	batch__free(b);
	schema_writer__free(w);
	proc_sample__free(s);
}

Test(code, is_written_with_the_ticks_that_it_rests_on)
{
	struct proc_sample *s = guilty();
	struct schema_writer *w = made_up__writer();
	struct code_sum sum = {0};
	struct batch *b = batch__new();
	const char *member;

	for (size_t i = 0; i < s->code_n; i++)
		if (s->code[i].line == 20) {
			s->code[i].ticks = 40;
			s->code[i].hold_var = 9e12;
			s->code[i].over_ns = 7000000;
		} else if (s->code[i].line == 14) {
			s->code[i].hold_var = 1e12; /* seen asleep only */
		}
	cr_assert_eq(schema_writer__sample(w, TIER_BASE, s, s, b), 0);
	member = member_of(b, ":code:1s");
	cr_assert_not_null(member);
	cr_expect_not_null(strstr(member, ",\"\",0,1000]"), "%s", member);
	cr_expect_not_null(strstr(member, "\"dir/app.py\",20,30000,60000,0,\"\",40,3000,\"\",[0,0,0,0],[0,0,0,0],7000]"),
			   "%s", member);
	cr_expect_null(strstr(member, "\"est\""));
	for (int i = 0; i < 2; i++)
		cr_assert_eq(code_sum__add(&sum, member, strlen(member)), 0);
	for (size_t i = 0; i < sum.n; i++) {
		const double errors_us[] = {[14] = 1000, [20] = 3000};

		cr_expect_eq(sum.places[i].ticks, sum.places[i].line == 20 ? 80 : 0);
		cr_expect_float_eq(sum.places[i].err_us, sqrt(2) * errors_us[sum.places[i].line], 1e-6);
		cr_expect_float_eq(sum.places[i].over_us, sum.places[i].line == 20 ? 14000 : 0, 1e-6);
		cr_expect_str_eq(sum.places[i].native, "");
	}
	cr_expect_not(sum.estimated);
	member = "{\"est\":true,\"c\":[[\"1\",\"f\",\"a\",1,1,1,1]]}";
	cr_assert_eq(code_sum__add(&sum, member, strlen(member)), 0);
	cr_expect(sum.estimated);
	code_sum__free(&sum);
	batch__free(b);
	schema_writer__free(w);
	proc_sample__free(s);
}

Test(code, members_that_are_none_are_refused_as_a_whole)
{
	static const char *const bad[] = {
		"", "[]", "{}", "{\"c\":1}", "{\"c\":[[]]}", "{\"c\":[[\"1\",\"f\",\"a\",1,1,1]]}",
		"{\"c\":[[\"1\",\"f\",\"a\",1,1,1,1],[\"1\",\"f\",\"a\",-1,1,1,1]]}", "{\"c\":[[1,\"f\",\"a\",1,1,1,1]]}",
		"{\"c\":[[\"1\",\"f\\u0000\",\"a\",1,1,1,1]]}", "{\"c\":[[\"1\",\"f\",\"a\",1e99,1,1,1]]}",
		"{\"c\":[[\"1\",\"f\",\"a\",1,1,1,1,\"\",5]]}", "{\"c\":[[\"1\",\"f\",\"a\",1,1,1,1,\"\",-1,1]]}",
	};
	struct code_sum sum = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(code_sum__add(&sum, bad[i], strlen(bad[i])), -EBADMSG, "%s", bad[i]);
	cr_expect_eq(sum.n, 0);
}

/* ---- one long hold or wait ---- */

static char stack_line[] = "main (app.py:1);f (app.py:12)";
static const struct stack_text stack = {.leaf = {"f", "/srv/app.py", 12, 10}, .line = stack_line};

Test(code, long_ones_are_told_in_a_sentence)
{
	struct long_event e = {
		.thread = {.tid = 7}, .name = "hog", .at_ns = 1500 * MS, .since_ns = 1000 * MS, .waiters = 2, .victims = "a, b",
		.stack = &stack, .waited_ns = 900 * MS,
	};
	char text[512];

	cr_expect_str_eq(code__long(&e, text, sizeof(text)),
			 "hog (7) has held the GIL for 500 ms and goes on, in f (srv/app.py:12); 2 wait: a, b");
	e.ended = true;
	cr_expect_str_eq(code__long(&e, text, sizeof(text)),
			 "hog (7) held the GIL for 500 ms, in f (srv/app.py:12); others waited 900 ms meanwhile");
	e.wait = true;
	cr_expect_str_eq(code__long(&e, text, sizeof(text)), "hog (7) waited 500 ms for the GIL, in f (srv/app.py:12)");
	e.ended = false;
	e.holder.tid = 8;
	strcpy(e.holder_name, "other");
	cr_expect_str_eq(code__long(&e, text, sizeof(text)),
			 "hog (7) has waited 500 ms for the GIL and goes on; other (8) holds it, in f (srv/app.py:12)");
}

/* A library's code is named by whose of the application's called it, C code by no place in numbers. */
Test(code, long_ones_are_told_from_the_application_on)
{
	static const struct stack_text in_library = {
		.leaf = {"encode", "/usr/lib/python3.11/json/encoder.py", 200, 190}, .line = stack_line,
		.caller = "save (srv/shop.py:31) -> json.dumps",
	};
	struct long_event e = {
		.thread = {.tid = 7}, .name = "hog", .at_ns = 1500 * MS, .since_ns = 1000 * MS, .ended = true,
		.stack = &in_library, .native = "_json.cpython-311-x86_64-linux-gnu.so: encode.isra.0",
	};
	char text[512];

	cr_expect_str_eq(code__long(&e, text, sizeof(text)),
			 "hog (7) held the GIL for 500 ms, in save (shop.py:31) -> json.dumps -> _json: encode; "
			 "others waited 0 meanwhile");
	e.native = "python3.11+0x5e0340";
	cr_expect_null(strstr(code__long(&e, text, sizeof(text)), "0x"), "%s", text);
	e.stack = &stack;
	cr_expect_null(strstr(code__long(&e, text, sizeof(text)), "0x"), "%s", text);
}

Test(code, long_ones_are_kept)
{
	struct long_event e = {
		.thread = {.tid = 7}, .name = "hog", .at_ns = 1500 * MS, .since_ns = 1000 * MS, .stack = &stack,
		.waited_ns = 900 * MS, .waiters = 2, .victims = "a, b",
	};
	struct schema_writer *w = made_up__writer();
	struct batch *b = batch__new();

	cr_assert_eq(schema_writer__long(w, &e, 1795339305000, &(struct event_ids){0}, b), 0);
	cr_expect_str_eq(member_of(b, ":long"),
			 "{\"t\":1795339305000,\"kind\":\"hold\",\"open\":true,\"since\":1795339304500,\"us\":500000,"
			 "\"thr\":\"7\",\"name\":\"hog\",\"function\":\"f\",\"file\":\"/srv/app.py\",\"line\":12,"
			 "\"stack\":\"main (app.py:1);f (app.py:12)\",\"others\":900000,\"waiters\":2,\"victims\":\"a, b\"}");
	batch__free(b);
	schema_writer__free(w);
}

static struct long_event held(uint32_t waiters)
{
	return (struct long_event){
		.thread = {.tid = 7}, .name = "hog", .at_ns = 300 * MS, .since_ns = 100 * MS, .waiters = waiters,
	};
}

static void expect_alert(const struct long_event *e, const char *end)
{
	char buf[1024];
	size_t len = strlen(code__long(e, buf, sizeof(buf)));

	cr_assert_gt(len, strlen(end));
	cr_expect_str_eq(buf + len - strlen(end), end, "%s", buf);
}

/* Who waits is looked up a moment after how many wait: others by then, or fewer. */
Test(code, an_alert_names_no_more_and_no_fewer_than_it_counts)
{
	static const char *const waiting[] = {"http-2", "http-1", "http-7"};
	static const struct {
		uint32_t waiters;
		size_t named;
		char end[64];
	} cases[] = {
		{1, 2, "goes on; 1 waits: http-2"}, {4, 1, "goes on; 4 wait: http-2 and 3 more"},
		{2, 2, "goes on; 2 wait: http-2, http-1"}, {3, 3, "goes on; 3 wait: http-2, http-1, http-7"},
		{3, 0, "goes on; 3 wait"}, {1, 0, "goes on; 1 waits"}, {0, 1, "goes on"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct long_event e = held(cases[i].waiters);

		for (size_t n = 0; n < cases[i].named; n++)
			long_event__add_victim(&e, waiting[n]);
		long_event__count_victims(&e);
		expect_alert(&e, cases[i].end);
	}
}

Test(code, an_alert_counts_the_names_that_it_has_no_room_for)
{
	struct long_event e = held(500);
	size_t named = 1;
	char end[32];

	for (int i = 0; i < 500; i++)
		long_event__add_victim(&e, "a name of some length");
	long_event__count_victims(&e);
	for (const char *at = e.victims; (at = strstr(at, ", ")); at++)
		named++;
	cr_expect_gt(named, 5);
	snprintf(end, sizeof(end), " and %zu more", 500 - named);
	expect_alert(&e, end);
}
