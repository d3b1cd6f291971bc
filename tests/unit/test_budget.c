/* SPDX-License-Identifier: GPL-2.0-only */
/* Budgets: their words, good and bad, and how what was measured is held against them: never a pass of what is not known. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/budget.h"
#include "../support/made_up.h"

static struct budget parsed(const char *text)
{
	struct reason why = {0};
	struct budget b;

	cr_assert_eq(budget__parse("--budget", text, &b, &why), 0, "%s: %s", text, why.text);
	return b;
}

Test(budget, words_are_read)
{
	static const struct {
		char text[48];
		enum schema_field field;
		enum budget_kind kind;
		enum budget_of of;
		char pattern[16];
		enum budget_order order;
		double limit;
	} cases[] = {
		{"hold_max<50ms", FIELD_HOLD_MAX, BUDGET_VALUE, BUDGET_OF_PROCESS, "", BUDGET_BELOW, 50000},
		{"wait_share<5%", FIELD_WAIT, BUDGET_SHARE, BUDGET_OF_PROCESS, "", BUDGET_BELOW, 0.05},
		{"wait_share <= 150%", FIELD_WAIT, BUDGET_SHARE, BUDGET_OF_PROCESS, "", BUDGET_AT_MOST, 1.5},
		{"hold_max{thread=web-*}<20ms", FIELD_HOLD_MAX, BUDGET_VALUE, BUDGET_OF_THREAD, "web-*", BUDGET_BELOW, 20000},
		{"hold_share{place=*/db.py}<0.5", FIELD_HOLD, BUDGET_SHARE, BUDGET_OF_PLACE, "*/db.py", BUDGET_BELOW, 0.5},
		{"hold{thread=a<b}<0", FIELD_HOLD, BUDGET_VALUE, BUDGET_OF_THREAD, "a<b", BUDGET_BELOW, 0},
		{"n_rate>100", FIELD_N, BUDGET_RATE, BUDGET_OF_PROCESS, "", BUDGET_ABOVE, 100},
		{"cov>=99%", FIELD_COV, BUDGET_VALUE, BUDGET_OF_PROCESS, "", BUDGET_AT_LEAST, 0.99},
		{"rss<2MiB", FIELD_RSS, BUDGET_VALUE, BUDGET_OF_PROCESS, "", BUDGET_BELOW, 2048},
		{"lost<=0", FIELD_LOST, BUDGET_VALUE, BUDGET_OF_PROCESS, "", BUDGET_AT_MOST, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct budget b = parsed(cases[i].text);

		cr_expect_eq(b.field, cases[i].field, "%s", cases[i].text);
		cr_expect_eq(b.kind, cases[i].kind, "%s", cases[i].text);
		cr_expect_eq(b.of, cases[i].of, "%s", cases[i].text);
		cr_expect_str_eq(b.pattern, cases[i].pattern);
		cr_expect_eq(b.order, cases[i].order, "%s", cases[i].text);
		cr_expect_float_eq(b.limit, cases[i].limit, 1e-9, "%s: %g", cases[i].text, b.limit);
	}
}

Test(budget, what_is_no_budget_gets_one_sentence)
{
	static char many[BUDGET_TEXT_SIZE + 8];
	const struct {
		const char *text, *part;
	} cases[] = {
		{"", "does not begin with a metric"},
		{"<5ms", "does not begin with a metric"},
		{"hold_max", "has none of <, <=, > and >="},
		{"hold_max=5ms", "has none of <, <=, > and >="},
		{"hold_max<", "'' is not a duration"},
		{"hold_max<50", "'50' is not a duration"},
		{"hold_max<-1ms", "'-1ms' is not a duration"},
		{"hold_max<50ms ", "is not a duration"},
		{"hold_max<nan", "is not a duration"},
		{"hold_max<<5ms", "is not a duration"},
		{"hold_max<9999999999999999999h", "out of range"},
		{"util<inf", "'inf' is not a number"},
		{"util<1e3", "'1e3' is not a number"},
		{"n<99999999999999999999", "out of range"},
		{"rss<5", "is not a size"},
		{"rss<MiB", "'MiB' is not a size"},
		{"rss<xMiB", "'x' is not a number"},
		{"hold_mx<5ms", "did you mean 'hold_max'?"},
		{"frob<1", "there is no metric 'frob'"},
		{"t<5", "nothing that a program can promise"},
		{"hold_err<5ms", "nothing that a program can promise"},
		{"hold_max_share<5%", "there is no share of time of 'hold_max'"},
		{"n_share<5%", "there is no share of time of 'n'"},
		{"hold_rate<5", "there is no rate of 'hold'"},
		{"_share<5%", "there is no metric"},
		{"hold{thread=web<5ms", "has no }"},
		{"hold{thread=}<5ms", "is neither {thread=PATTERN} nor {place=PATTERN}"},
		{"hold{gil=0}<5ms", "is neither {thread=PATTERN} nor {place=PATTERN}"},
		{"rss{thread=a}<5MiB", "'rss' is not known of a thread by itself"},
		{"wait{place=f}<5ms", "'wait' is not known of a place by itself"},
		{"hold_max<5ms\x1b[31m", "characters that cannot be shown"},
		{"hold\xff<5ms", "characters that cannot be shown"},
		{"hold_max_hold_max_hold_max_hold_max<5ms", "does not begin with a metric"},
		{many, "is longer than"},
	};

	memset(many, 'x', sizeof(many) - 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct budget b;
		struct reason why = {0};

		cr_expect_eq(budget__parse("--budget", cases[i].text, &b, &why), -EINVAL, "%s", cases[i].text);
		cr_expect(strstr(why.text, cases[i].part), "'%s': %s", cases[i].text, why.text);
	}
}

/* What stands in a file of that content: how many budgets, or the sentence. */
static size_t in_file(const char *text, size_t len, size_t max, struct reason *why)
{
	struct budget list[4];
	char path[] = "/tmp/gilscope-budget.XXXXXX";
	int fd = mkstemp(path), err;
	size_t n = 0;

	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
	err = budget__read_file(path, list, max, &n, why);
	unlink(path);
	return err ? SIZE_MAX : n;
}

Test(budget, a_file_has_one_in_each_line)
{
	static char endless[BUDGET_TEXT_SIZE * 3];
	struct reason why = {0};

	cr_expect_eq(in_file("# ours\n\n  hold_max<50ms # at most\n\tutil<1\r\n", 43, 4, &why), 2, "%s", why.text);
	cr_expect_eq(in_file("util<1\nutil<x", 13, 4, &why), SIZE_MAX);
	cr_expect(strstr(why.text, "line 2: 'x' is not a number"), "%s", why.text);
	cr_expect_eq(in_file("util<1\nutil<1\nutil<1\n", 21, 2, &why), SIZE_MAX);
	cr_expect(strstr(why.text, "line 3: more than 2"), "%s", why.text);
	cr_expect_eq(in_file("util<1\0\nutil<1", 14, 4, &why), SIZE_MAX, "a NUL hides what follows");
	memset(endless, 'x', sizeof(endless));
	cr_expect_eq(in_file(endless, sizeof(endless), 4, &why), SIZE_MAX);
	cr_expect(strstr(why.text, "line 1: is too long"), "%s", why.text);
	cr_expect_eq(budget__read_file("/nonexistent/budgets", NULL, 0, &(size_t){0}, &why), -ENOENT);
}

/* ---- judging ---- */

static struct budget_subject s;
static struct budget_thread threads[3];
static struct budget_result result;

static void put(struct schema_row *row, enum schema_field f, double value)
{
	row->has |= 1ull << f;
	row->value[f] = value;
}

/* One second, all of it observed. */
static void set_up(void)
{
	s = (struct budget_subject){.observed_us = 1e6, .threads = threads};
	put(&s.all, FIELD_COV, 1);
	put(&s.all, FIELD_LOST, 0);
}

TestSuite(budget_judged, .init = set_up);

static enum budget_state judged(const char *text)
{
	struct budget b = parsed(text);

	budget__judge(&b, &s, NULL, &result);
	return result.state;
}

Test(budget_judged, exact_numbers_keep_or_break_it)
{
	put(&s.all, FIELD_HOLD_MAX, 50000);
	put(&s.all, FIELD_WAIT, 60000);
	put(&s.all, FIELD_N, 400);
	cr_expect_eq(judged("hold_max<50ms"), BUDGET_BROKEN);
	cr_expect_eq(judged("hold_max<=50ms"), BUDGET_KEPT);
	cr_expect_eq(judged("hold_max>50ms"), BUDGET_BROKEN);
	cr_expect_eq(judged("hold_max>=50ms"), BUDGET_KEPT);
	cr_expect_eq(judged("wait_share<5%"), BUDGET_BROKEN);
	cr_expect(strstr(result.sentence, "it is 6.0%"), "%s", result.sentence);
	cr_expect_eq(judged("wait_share<7%"), BUDGET_KEPT);
	cr_expect_eq(judged("n_rate<400"), BUDGET_BROKEN);
}

Test(budget_judged, what_is_not_known_is_never_a_pass)
{
	cr_expect_eq(judged("hold_max<50ms"), BUDGET_UNTOLD);
	cr_expect_eq(judged("wait<50ms"), BUDGET_UNTOLD);
	cr_expect_eq(judged("hold{thread=*}<50ms"), BUDGET_UNTOLD);
	cr_expect_eq(judged("hold{place=*}<50ms"), BUDGET_UNTOLD);
	put(&s.all, FIELD_HOLD, 0);
	put(&s.all, FIELD_N, 0);
	cr_expect_eq(judged("hold_max<50ms"), BUDGET_KEPT, "nobody held it, and that is known");
	s.observed_us = 0;
	cr_expect_eq(judged("hold_max<50ms"), BUDGET_UNTOLD);
	s = (struct budget_subject){.observed_us = 1e6, .no_gil = true};
	cr_expect_eq(judged("hold_max<50ms"), BUDGET_UNTOLD);
}

Test(budget_judged, an_estimate_judges_only_beyond_its_error)
{
	put(&s.all, FIELD_HOLD_EST, 400000);
	put(&s.all, FIELD_HOLD_ERR, 30000);
	put(&s.all, FIELD_UTIL_EST, 0.4);
	cr_expect_eq(judged("hold_share<33%"), BUDGET_BROKEN);
	cr_expect_eq(judged("hold_share<35%"), BUDGET_UNTOLD);
	cr_expect(strstr(result.sentence, "between 34.0% and 46.0%"), "%s", result.sentence);
	cr_expect_eq(judged("hold_share<45%"), BUDGET_UNTOLD);
	cr_expect_eq(judged("hold_share<47%"), BUDGET_KEPT);
	cr_expect_eq(judged("util<45%"), BUDGET_UNTOLD);
	cr_expect_eq(judged("util<47%"), BUDGET_KEPT);
	put(&s.all, FIELD_LOOKS, 1000);
	put(&s.all, FIELD_WAIT_MAX, 5000);
	cr_expect_eq(judged("wait_max<10ms"), BUDGET_UNTOLD, "looks see no wait to its end");
	cr_expect_eq(judged("wait_max<4ms"), BUDGET_BROKEN);
}

Test(budget_judged, of_what_was_observed_in_part_a_maximum_is_a_lower_bound)
{
	put(&s.all, FIELD_HOLD_MAX, 20000);
	put(&s.all, FIELD_HOLD, 100000);
	put(&s.all, FIELD_COV, 0.9);
	cr_expect_eq(judged("hold_max<50ms"), BUDGET_UNTOLD);
	cr_expect_eq(judged("hold_max<10ms"), BUDGET_BROKEN);
	cr_expect_eq(judged("hold<1s"), BUDGET_UNTOLD);
	cr_expect_eq(judged("hold_share<20%"), BUDGET_KEPT);
	put(&s.all, FIELD_COV, 1);
	put(&s.all, FIELD_LOST, 1);
	cr_expect_eq(judged("hold_max<50ms"), BUDGET_UNTOLD);
}

static void thread(size_t i, const char *name, double hold_max)
{
	threads[i] = (struct budget_thread){.name = name};
	put(&threads[i].row, FIELD_HOLD_MAX, hold_max);
	s.threads_n = i + 1;
}

Test(budget_judged, each_thread_that_fits_must_keep_it)
{
	thread(0, "web-1", 4000);
	thread(1, "web-2", 30000);
	thread(2, "batch", 900000);
	cr_expect_eq(judged("hold_max{thread=web-*}<40ms"), BUDGET_KEPT);
	cr_expect_eq(judged("hold_max{thread=web-*}<20ms"), BUDGET_BROKEN);
	cr_expect(strstr(result.sentence, "it is 30.0 ms; the most is web-2's"), "%s", result.sentence);
	cr_expect_eq(judged("hold_max{thread=db}<20ms"), BUDGET_UNTOLD);
	threads[2].name = "";
	cr_expect_eq(judged("hold_max{thread=web-*}<40ms"), BUDGET_UNTOLD, "the thread without a name may be one");
	cr_expect_eq(judged("hold_max{thread=web-*}<1s"), BUDGET_KEPT);
	threads[2] = (struct budget_thread){.name = "web-3"};
	cr_expect_eq(judged("hold_max{thread=web-*}<40ms"), BUDGET_UNTOLD, "nothing is known of one");
	cr_expect_eq(judged("hold_max{thread=web-*}<20ms"), BUDGET_BROKEN);
}

Test(budget_judged, what_no_look_has_a_place_for_may_be_of_any)
{
	struct function_part parts[] = {
		{.function = "save", .file = "shop/db.py", .thread_name = "web-1", .hold_us = 30000},
		{.function = "load", .file = "shop/db.py", .thread_name = "web-1", .hold_us = 50000},
	};

	put(&s.all, FIELD_HOLD, 100000);
	s.parts = parts;
	s.parts_n = 2;
	cr_expect_eq(judged("hold{place=save}<30ms"), BUDGET_BROKEN);
	cr_expect_eq(judged("hold{place=save}<40ms"), BUDGET_UNTOLD, "20 ms have no place");
	cr_expect_eq(judged("hold{place=save}<51ms"), BUDGET_KEPT);
	cr_expect_eq(judged("hold_share{place=*/db.py}<8%"), BUDGET_BROKEN);
	cr_expect_eq(judged("hold{place=other}<10ms"), BUDGET_UNTOLD);
}

Test(budget_judged, the_longest_hold_of_a_place_is_one_that_was_told)
{
	struct budget b = parsed("hold_max{place=save}<10ms");
	struct budget_longest longest = {0};

	put(&s.all, FIELD_HOLD_MAX, 40000);
	budget__judge(&b, &s, &longest, &result);
	cr_expect_eq(result.state, BUDGET_KEPT, "no hold of it was told: %s", result.sentence);
	longest.unplaced_us = 40000;
	budget__judge(&b, &s, &longest, &result);
	cr_expect_eq(result.state, BUDGET_UNTOLD, "one has no place: %s", result.sentence);
	longest = (struct budget_longest){15000, "web-1", " held it in save", "main (a.py:1);save (a.py:9)", 0};
	budget__judge(&b, &s, &longest, &result);
	cr_expect_eq(result.state, BUDGET_BROKEN);
	cr_expect(strstr(result.sentence, "it is 15.0 ms: web-1 held it in save"), "%s", result.sentence);
	cr_expect_str_eq(result.stack, "main (a.py:1);save (a.py:9)");
	budget__judge(&b, &s, NULL, &result);
	cr_expect_eq(result.state, BUDGET_UNTOLD, "nothing was told one by one");
}
