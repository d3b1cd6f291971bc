/* SPDX-License-Identifier: GPL-2.0-only */
/* Whole stacks: bounded without losing time, merged, written to Redis, read back, and made a flame graph of. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/stack_flame.h"
#include "collector/schema/batch.h"
#include "collector/schema/schema.h"
#include "collector/schema/schema_code.h"
#include "collector/schema/schema_stacks.h"
#include "collector/series/window.h"
#include "../support/made_up.h"

#define MS 1000000ull

static void add(struct proc_sample *s, uint32_t thread, const char *line, uint64_t hold_ms, uint64_t blame_ms, uint64_t wait_ms)
{
	const struct stack_weights w = {hold_ms * MS, blame_ms * MS, wait_ms * MS};

	cr_assert_eq(stack_cells__add(&s->stacks, thread, line, &w, WINDOW_MAX_STACKS), 0);
}

static struct proc_sample *with_threads(void)
{
	struct proc_sample *s = made_up__second();

	made_up__thread(s, 4250, "ho;g \"1\"\n", 500, 0, 10, 0);
	made_up__thread(s, 4251, "victim", 0, 500, 10, 0);
	s->end_ms = 1795339310000;
	s->code_known = true;
	return s;
}

static struct stack_weights all_of(const struct stack_cells *s)
{
	struct stack_weights sum = s->rest;

	for (size_t i = 0; i < s->n; i++)
		stack_weights__add(&sum, &s->cells[i].w);
	return sum;
}

Test(stack_cells, time_of_one_stack_and_thread_is_summed)
{
	struct proc_sample *s = with_threads();

	add(s, 0, "main;f", 1, 10, 0);
	add(s, 1, "main;f", 2, 20, 0);
	add(s, 0, "main;f", 4, 40, 5);
	add(s, 0, "main;g", 8, 80, 0);
	cr_assert_eq(s->stacks.n, 3);
	cr_expect_eq(s->stacks.cells[0].w.blame_ns, 50 * MS);
	cr_expect_eq(s->stacks.cells[0].w.wait_ns, 5 * MS);
	cr_expect_eq(all_of(&s->stacks).blame_ns, 150 * MS);
	proc_sample__free(s);
}

/* Those that are most of one weight stay, though most of another are heavier in milliseconds. */
Test(stack_cells, the_weightiest_of_each_weight_stay_and_nothing_is_lost)
{
	struct stack_cells s = {0};
	bool waiter = false, holder = false;
	char line[32];

	for (uint64_t i = 0; i < 1000; i++) {
		snprintf(line, sizeof(line), "main;f%d", (int)i);
		cr_assert_eq(stack_cells__add(&s, 0, line, &(struct stack_weights){.blame_ns = (i % 97 + 1) * MS}, 64), 0);
		if (i == 500) {
			cr_assert_eq(stack_cells__add(&s, 0, "main;wait", &(struct stack_weights){.wait_ns = 7}, 64), 0);
			cr_assert_eq(stack_cells__add(&s, 0, "main;hold", &(struct stack_weights){.hold_ns = 9}, 64), 0);
		}
		cr_assert_leq(s.n, 64);
	}
	for (size_t i = 0; i < s.n; i++) {
		waiter = waiter || strcmp(s.cells[i].line, "main;wait") == 0;
		holder = holder || strcmp(s.cells[i].line, "main;hold") == 0;
	}
	cr_expect(waiter && holder);
	cr_expect_eq(all_of(&s).wait_ns, 7);
	cr_expect_eq(all_of(&s).hold_ns, 9);
	cr_expect_eq(all_of(&s).blame_ns, (10 * 97 * 98 / 2 + 30 * 31 / 2) * MS);
	stack_cells__free(&s);
}

Test(stack_cells, windows_add_up_by_thread_and_stack)
{
	struct window w = {.max_threads = 100}, totals = {.max_threads = 100, .no_stacks = true};
	struct proc_sample *a = with_threads(), *b = made_up__second();

	made_up__thread(b, 4251, "victim", 0, 500, 10, 0);
	made_up__thread(b, 4250, "hog", 500, 0, 10, 0);
	add(a, 0, "main;f", 1, 10, 0);
	add(a, 1, "main;f", 0, 0, 3);
	add(b, 1, "main;f", 2, 20, 0);
	b->stacks.rest.blame_ns = 5 * MS;
	for (int i = 0; i < 2; i++)
		cr_assert_eq(window__add(&w, i ? b : a) ?: window__add(&totals, i ? b : a), 0);
	cr_assert_eq(w.sample.stacks.n, 2);
	cr_expect_eq(w.sample.stacks.cells[0].w.blame_ns, 30 * MS);
	cr_expect_eq(w.sample.stacks.cells[1].w.wait_ns, 3 * MS);
	cr_expect_eq(w.sample.stacks.rest.blame_ns, 5 * MS);
	cr_expect_eq(totals.sample.stacks.n, 0);
	window__clear(&w);
	cr_expect_eq(w.sample.stacks.n, 0);
	cr_expect_eq(w.sample.stacks.rest.blame_ns, 0);
	proc_sample__free(a);
	proc_sample__free(b);
	window__free(&w);
	window__free(&totals);
}

/* More threads than there is room for: stacks of those that are folded are the others', and of those that are not their own. */
Test(stack_cells, of_folded_threads_belong_to_the_others)
{
	struct window w = {.max_threads = 4};
	uint64_t blame = 0, of_others = 0;
	char line[32];

	for (uint32_t i = 0; i < 12; i++) {
		struct proc_sample *s = made_up__second();

		made_up__thread(s, 100 + i, "t", 1 + (i * 5) % 12, 0, 1, 0)->exited = true;
		snprintf(line, sizeof(line), "main;f%u", 100 + i);
		add(s, 0, line, 0, 10, 0);
		cr_assert_eq(window__add(&w, s), 0);
		proc_sample__free(s);
	}
	for (size_t i = 0; i < w.sample.stacks.n; i++) {
		const struct stack_cell *cell = &w.sample.stacks.cells[i];
		uint32_t tid;

		cr_assert_lt(cell->thread, w.sample.threads_n);
		tid = w.sample.threads[cell->thread].key.tid;
		snprintf(line, sizeof(line), "main;f%u", tid);
		if (tid)
			cr_expect_str_eq(cell->line, line);
		else
			of_others += cell->w.blame_ns;
		blame += cell->w.blame_ns;
	}
	cr_expect_eq(blame, 120 * MS);
	cr_expect_geq(of_others, 80 * MS);
	window__free(&w);
}

/* ---- Redis ---- */

/* The last argument of the first `command` on a key that ends in `what`; NULL: there is none. */
static const char *argument_of(const struct batch *b, const char *command, const char *what)
{
	for (size_t i = 0; i < batch__commands(b); i++) {
		const char *const *argv;
		const size_t *lens;
		int argc = batch__get(b, i, &argv, &lens);

		if (argc > 2 && strcmp(argv[0], command) == 0 && strlen(argv[1]) > strlen(what) &&
		    strcmp(argv[1] + strlen(argv[1]) - strlen(what), what) == 0)
			return argv[argc - 1];
	}
	return NULL;
}

/* Writes the sample in the tiers that have stacks; the member of ten seconds. */
static char *write_member(const struct proc_sample *s)
{
	struct schema_writer *w = made_up__writer();
	struct batch *b = batch__new();
	char *member;

	cr_assert_eq(schema_writer__sample(w, TIER_BASE, s, s, b), 0);
	cr_expect_null(argument_of(b, "ZADD", ":stacks:1s"));
	cr_assert_eq(schema_writer__sample(w, TIER_10S, s, NULL, b), 0);
	cr_assert_eq(schema_writer__sample(w, TIER_60S, s, NULL, b), 0);
	cr_assert_not_null(argument_of(b, "ZADD", ":stacks:10s"));
	member = strdup(argument_of(b, "ZADD", ":stacks:10s"));
	cr_expect_str_eq(member, argument_of(b, "ZADD", ":stacks:60s"));
	/* Six hours and a day, as they are trimmed and as they would vanish. */
	cr_expect_str_eq(argument_of(b, "ZREMRANGEBYSCORE", ":stacks:10s"), "(1795317710000");
	cr_expect_str_eq(argument_of(b, "ZREMRANGEBYSCORE", ":stacks:60s"), "(1795252910000");
	cr_expect_str_eq(argument_of(b, "EXPIRE", ":stacks:10s"), "21902");
	cr_expect_str_eq(argument_of(b, "EXPIRE", ":stacks:60s"), "86702");
	batch__free(b);
	schema_writer__free(w);
	return member;
}

Test(stack_cells, are_written_and_read_back)
{
	struct proc_sample *s = with_threads();
	struct stacks_sum sum = {0};
	char *member;

	add(s, 0, "main (app.py:1);f (app.py:2)", 30, 20, 0);
	add(s, 1, "main (app.py:1);wait (app.py:9)", 0, 0, 40);
	s->stacks.rest = (struct stack_weights){1 * MS, 2 * MS, 3 * MS};
	member = write_member(s);
	cr_expect_str_eq(member, "{\"t\":1795339310000,\"d\":1000000,\"f\":[\"ho;g \\\"1\\\"?\",\"main (app.py:1)\","
				 "\"f (app.py:2)\",\"victim\",\"wait (app.py:9)\"],\"s\":[[\"4250\",[0,1,2],30000,20000,0],"
				 "[\"4251\",[3,1,4],0,0,40000]],\"rest\":[1000,2000,3000]}");
	for (int i = 0; i < 2; i++)
		cr_assert_eq(stacks_sum__add(&sum, member, strlen(member)), 0);
	cr_assert_eq(sum.n, 2);
	cr_expect_str_eq(sum.lines[0].line, "ho,g \"1\"?;main (app.py:1);f (app.py:2)");
	cr_expect_eq(sum.lines[0].w.hold_ns, 60 * MS);
	cr_expect_eq(stacks_sum__total(&sum).wait_ns, 86 * MS);
	stacks_sum__free(&sum);
	free(member);
	proc_sample__free(s);
}

Test(stack_cells, a_process_without_stacks_has_no_member)
{
	struct proc_sample *s = with_threads();
	struct schema_writer *w = made_up__writer();
	struct batch *b = batch__new();

	cr_assert_eq(schema_writer__sample(w, TIER_BASE, s, s, b), 0);
	cr_assert_eq(schema_writer__sample(w, TIER_10S, s, NULL, b), 0);
	cr_expect_null(argument_of(b, "ZADD", ":stacks:10s"));
	batch__free(b);
	schema_writer__free(w);
	proc_sample__free(s);
}

/* As long as they get, with nothing in common: what does not fit is in the rest, to the microsecond. */
Test(stack_cells, members_are_bounded_and_their_rest_is_named)
{
	struct proc_sample *s = with_threads();
	struct stacks_sum sum = {0};
	uint64_t blame = 0;
	char line[4096], *member;

	for (uint32_t i = 0; i < 200; i++) {
		size_t len = 0;

		for (int frame = 0; frame < 100 && len < 3900; frame++)
			len += (size_t)snprintf(line + len, sizeof(line) - len, "%sf%u_%d (\"a\\b\" %u)", frame ? ";" : "", i,
						frame, i);
		add(s, 0, line, 1, i + 1, 0);
		add(s, 1, i % 2 ? "short" : "even;shorter", 0, 1, 1);
		blame += i + 2;
	}
	member = write_member(s);
	cr_expect_lt(strlen(member), SCHEMA_STACKS_BYTES + 256);
	cr_assert_eq(stacks_sum__add(&sum, member, strlen(member)), 0);
	cr_expect_gt(sum.n, 2);
	cr_expect_leq(sum.n, SCHEMA_STACKS_MAX);
	cr_expect_gt(sum.rest.blame_ns, 0);
	cr_expect_eq(stacks_sum__total(&sum).blame_ns, blame * MS);
	cr_expect_eq(stacks_sum__total(&sum).hold_ns, 200 * MS);
	cr_expect_eq(stacks_sum__total(&sum).wait_ns, 200 * MS);
	stacks_sum__free(&sum);
	free(member);
	proc_sample__free(s);
}

/* Of a stack that does not fit nothing is there, and a lighter one that does fit is. */
Test(stack_cells, what_does_not_fit_leaves_its_room_to_others)
{
	struct proc_sample *s = with_threads();
	struct stacks_sum sum = {0};
	char line[4096], *member;

	for (uint32_t i = 0; i < 3; i++) {
		memset(line, '"', 4000); /* each is two bytes of JSON */
		line[4000] = (char)('a' + i);
		line[4001] = '\0';
		add(s, 0, line, 0, 300 - i, 0);
	}
	add(s, 0, "small", 0, 1, 0);
	member = write_member(s);
	cr_assert_eq(stacks_sum__add(&sum, member, strlen(member)), 0);
	cr_assert_eq(sum.n, 3);
	cr_expect_not_null(strstr(sum.lines[2].line, ";small"));
	cr_expect_eq(sum.rest.blame_ns, 298 * MS);
	cr_expect_null(strchr(member, 'c'), "a frame of what is not there: %s", strchr(member, 'c'));
	stacks_sum__free(&sum);
	free(member);
	proc_sample__free(s);
}

Test(stack_cells, members_that_are_none_are_refused_as_a_whole)
{
	static const char *const bad[] = {
		"", "[]", "{}", "{\"f\":[],\"s\":[]}", "{\"f\":1,\"s\":[],\"rest\":[0,0,0]}",
		"{\"f\":[\"a\"],\"s\":[[\"1\",[0],1,1,1],[\"1\",[1],1,1,1]],\"rest\":[0,0,0]}",
		"{\"f\":[\"a\"],\"s\":[[\"1\",[0],1,1,1],[\"1\",[-1],1,1,1]],\"rest\":[0,0,0]}",
		"{\"f\":[\"a\"],\"s\":[[\"1\",[0],1,1,1],[\"1\",[],1,1,1]],\"rest\":[0,0,0]}",
		"{\"f\":[\"a\"],\"s\":[[\"1\",[0],1,1,1],[\"1\",[0],1,1]],\"rest\":[0,0,0]}",
		"{\"f\":[\"a\"],\"s\":[[\"1\",[0],1,1,1],[1,[0],1,1,1]],\"rest\":[0,0,0]}",
		"{\"f\":[\"a\"],\"s\":[[\"1\",[0],1,1,1],[\"1\",[0],1,1,-1]],\"rest\":[0,0,0]}",
		"{\"f\":[\"a\"],\"s\":[[\"1\",[0],1,1,1],[\"1\",[0],1e99,1,1]],\"rest\":[0,0,0]}",
		"{\"f\":[\"a\",7],\"s\":[[\"1\",[0],1,1,1],[\"1\",[1],1,1,1]],\"rest\":[0,0,0]}",
		"{\"f\":[\"\"],\"s\":[[\"1\",[0],1,1,1]],\"rest\":[0,0,0]}",
		"{\"f\":[\"a\"],\"s\":[[\"1\",[0],1,1,1]],\"rest\":[0,\"0\",0]}",
	};
	struct stacks_sum sum = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(stacks_sum__add(&sum, bad[i], strlen(bad[i])), -EBADMSG, "%s", bad[i]);
	cr_expect_eq(sum.n, 0);
	stacks_sum__free(&sum);
}

Test(stack_cells, text_out_of_redis_is_clean)
{
	static const char member[] = "{\"t\":1,\"d\":1,\"f\":[\"a\\u001b[31m;b\",\"c\\u0000\\nd\"],\"s\":[[\"1\",[0,1,0],5,6,7]],"
				     "\"rest\":[0,0,0],\"later\":[]}";
	struct stacks_sum sum = {0};

	cr_assert_eq(stacks_sum__add(&sum, member, strlen(member)), 0);
	cr_expect_str_eq(sum.lines[0].line, "a?[31m,b;c??d;a?[31m,b");
	stacks_sum__free(&sum);
}

/* ---- a graph of them ---- */

Test(stack_cells, make_a_flame_graph_by_each_weight)
{
	const struct stack_time look = {
		.name = "h;og", .line = "main;f", .hold_ns = 3000, .blame_ns = 3000, .wait_ns = 0,
	}, same = {.name = "pool-1", .line = "main;f", .hold_ns = 4000}, waits = {.name = "", .line = "", .wait_ns = 7000};
	static const struct {
		enum flame_weight weight;
		bool threads;
		char folded[64];
	} cases[] = {
		{WEIGHT_HOLD, true, "(other stacks) 1\nh,og;main;f 3\npool-1;main;f 4\n"},
		{WEIGHT_HOLD, false, "(other stacks) 1\nmain;f 7\n"},
		{WEIGHT_BLAME, true, "h,og;main;f 3\n"},
		{WEIGHT_BLAME, false, "main;f 3\n"},
		{WEIGHT_WAIT, true, "(no name);(no Python code) 7\n"},
		{WEIGHT_WAIT, false, "(no Python code) 7\n"},
	};
	struct stacks_sum sum = {.rest = {.hold_ns = 1000}};

	cr_assert_eq(stack_flame__collect(&sum, &look), 0);
	cr_assert_eq(stack_flame__collect(&sum, &same), 0);
	cr_assert_eq(stack_flame__collect(&sum, &waits), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct flame *f = stack_flame__of(&sum, cases[i].weight, cases[i].threads);
		char *text = NULL;
		size_t len = 0;
		FILE *to = open_memstream(&text, &len);

		cr_assert(f && to);
		flame__fold(f, 1000, to);
		fclose(to);
		cr_expect_str_eq(text, cases[i].folded);
		free(text);
		flame__free(f);
	}
	stacks_sum__free(&sum);
}
