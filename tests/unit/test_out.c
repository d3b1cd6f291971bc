/* SPDX-License-Identifier: GPL-2.0-only */
/* Tables, JSON and CSV from the same rows: widths, hostile names, unknown against zero. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/human.h"
#include "cli/out.h"
#include "collector/base/text.h"

enum { NAME, TID, HOLD, COUNT, DETAIL, SCREEN };

static const struct out_column columns[] = {
	[NAME] = {"name", "THREAD", OUT_TEXT, OUT_FLEX},
	[TID] = {"tid", "TID", OUT_ID, 0},
	[HOLD] = {"hold", "HOLD", OUT_US, 0},
	[COUNT] = {"n", "ACQUIRES", OUT_COUNT, 0},
	[DETAIL] = {"why", "", OUT_TEXT, OUT_DETAIL},
	[SCREEN] = {"", "SHARE", OUT_SHARE, OUT_HUMAN},
};

#define COLUMNS_N (sizeof(columns) / sizeof(columns[0]))

static struct out *table;
static char *text;
static size_t text_len;

static void setup(void)
{
	table = out__new(columns, COLUMNS_N);
	cr_assert(table);
}

static void teardown(void)
{
	out__free(table);
	free(text);
}

TestSuite(out, .init = setup, .fini = teardown);

static void add(const char *name, double tid, double hold, double n)
{
	out__row(table);
	out__text(table, NAME, name);
	out__num(table, TID, tid);
	out__num(table, HOLD, hold);
	out__num(table, COUNT, n);
}

static const char *table_text(size_t width)
{
	FILE *to = open_memstream(&text, &text_len);

	out__table(table, to, width);
	fclose(to);
	return text;
}

static size_t widest_line(const char *lines)
{
	size_t widest = 0;

	while (*lines) {
		char line[1024];
		size_t len = strcspn(lines, "\n"), columns_n;

		snprintf(line, sizeof(line), "%.*s", (int)len, lines);
		columns_n = text__columns(line);
		widest = columns_n > widest ? columns_n : widest;
		lines += len + (lines[len] == '\n');
	}
	return widest;
}

Test(out, numbers_stand_on_the_right_and_text_on_the_left)
{
	add("main", 4242, 17300, 1234);
	add("worker", 7, 340, 5);
	cr_expect_str_eq(table_text(80),
			 "THREAD   TID     HOLD  ACQUIRES  SHARE\n"
			 "main    4242  17.3 ms     1,234      -\n"
			 "worker     7   340 us         5      -\n");
}

Test(out, what_is_a_lower_bound_is_shown_as_one_and_is_a_number_in_json)
{
	json_t *rows;

	add("main", 4242, 17300, 1234);
	out__at_least(table, 2, 43600);
	add("worker", 7, 340, 5);
	out__at_least(table, 2, NAN);
	cr_expect(strstr(table_text(80), "main    4242  >=43.6 ms     1,234      -\n"), "%s", text);
	rows = out__json(table);
	cr_expect_eq(json_integer_value(json_object_get(json_array_get(rows, 0), "hold")), 43600);
	json_decref(rows);
}

Test(out, a_spare_column_is_there_where_somebody_knows_it)
{
	static const struct out_column spare[] = {
		{"name", "THREAD", OUT_TEXT, 0}, {"inside", "INSIDE", OUT_ID, OUT_SPARE}, {"tid", "TID", OUT_ID, 0},
	};

	out__free(table);
	table = out__new(spare, 3);
	out__row(table);
	out__text(table, 0, "a");
	out__num(table, 2, 10);
	cr_expect_str_eq(table_text(0), "THREAD  TID\na        10\n");
	free(text);
	out__row(table);
	out__text(table, 0, "b");
	out__num(table, 1, 7);
	cr_expect_str_eq(table_text(0), "THREAD  INSIDE  TID\na            -   10\nb            7    -\n");
}

Test(out, an_empty_table_is_its_titles)
{
	cr_expect_str_eq(table_text(80), "THREAD  TID  HOLD  ACQUIRES  SHARE\n");
}

Test(out, unknown_is_not_zero)
{
	out__row(table);
	out__text(table, NAME, "a");
	out__num(table, HOLD, 0);
	out__num(table, COUNT, NAN);
	cr_expect_str_eq(table_text(80), "THREAD  TID  HOLD  ACQUIRES  SHARE\n"
					 "a         -     0         -      -\n");
	json_t *json = out__json(table);
	const json_t *row = json_array_get(json, 0);

	cr_expect(json_object_get(row, "hold") && json_integer_value(json_object_get(row, "hold")) == 0);
	cr_expect_null(json_object_get(row, "tid"));
	cr_expect_null(json_object_get(row, "n"));
	json_decref(json);
}

Test(out, long_names_are_cut_to_the_width)
{
	add("a name of a thread that is so long that it does not fit into any terminal at all", 1, 1, 1);
	add("日本語のとても長いスレッドの名前ですからここでは切られます", 2, 2, 2);
	add("short", 3, 3, 3);
	for (size_t width = 40; width <= 120; width += 7) {
		cr_expect_leq(widest_line(table_text(width)), width);
		cr_expect(width > 100 || strchr(text, '~'));
		free(text);
		text = NULL;
	}
}

Test(out, hostile_names_reach_neither_terminal_nor_json)
{
	add("\033[2J\nroot# \xff\x07", 1, 1, 1);
	cr_expect_null(strchr(table_text(80), '\033'));
	cr_expect_eq(strstr(text, "\n")[1], '?');
	json_t *json = out__json(table);
	char *dumped = json_dumps(json, 0);

	json_decref(json);
	cr_assert(dumped);
	json = json_loads(dumped, 0, NULL);
	cr_assert(json);
	cr_expect_str_eq(json_string_value(json_object_get(json_array_get(json, 0), "name")), "?[2J?root# ??");
	json_decref(json);
	free(dumped);
}

Test(out, csv_quotes_what_needs_it_and_leaves_unknown_empty)
{
	FILE *to = open_memstream(&text, &text_len);

	add("a \"b\", c", 1, 1.5, 2);
	out__text(table, DETAIL, "why");
	out__row(table);
	out__csv(table, to);
	fclose(to);
	cr_expect_str_eq(text, "name,tid,hold,n,why\n\"a \"\"b\"\", c\",1,1.5,2,why\n,,,,\n");
}

/* A thread may call itself =cmd|' /C calc'!A0: to a spreadsheet that is a formula. */
Test(out, csv_of_a_name_that_would_be_a_formula_is_text)
{
	static const char *const names[][2] = {
		{"=1+1", "\"'=1+1\""}, {"+1", "\"'+1\""}, {"-1", "\"'-1\""}, {"@SUM(A1)", "\"'@SUM(A1)\""},
		{"=a,\"b\"", "\"'=a,\"\"b\"\"\""}, {"a=1", "a=1"}, {"", ""},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		FILE *to = open_memstream(&text, &text_len);
		struct out *cells = out__new(&(const struct out_column){"name", "NAME", OUT_TEXT, 0}, 1);
		char expected[64];

		out__row(cells);
		out__text(cells, 0, names[i][0]);
		out__csv(cells, to);
		fclose(to);
		snprintf(expected, sizeof(expected), "name\n%s\n", names[i][1]);
		cr_expect_str_eq(text, expected);
		out__free(cells);
	}
}

Test(out, a_cut_never_splits_a_character)
{
	char buf[64];

	cr_expect_str_eq(out__cut(buf, sizeof(buf), "abcdef", 6), "abcdef");
	cr_expect_str_eq(out__cut(buf, sizeof(buf), "abcdef", 4), "abc~");
	cr_expect_str_eq(out__cut(buf, sizeof(buf), "äöüß", 3), "äö~");
	cr_expect_str_eq(out__cut(buf, sizeof(buf), "日本語", 4), "日~");
	cr_expect_str_eq(out__cut(buf, sizeof(buf), "日本語", 0), "");
	cr_expect_str_eq(out__cut(buf, 5, "日本語", 6), "日~");
}

Test(out, whole_numbers_are_json_integers)
{
	json_t *whole = out__json_num(3600000000.0), *real = out__json_num(0.5);

	cr_expect(json_is_integer(whole));
	cr_expect(json_is_real(real));
	cr_expect_null(out__json_num(NAN));
	json_decref(whole);
	json_decref(real);
}

Test(human, durations_have_three_digits_and_one_unit)
{
	static const struct {
		double us;
		char text[16];
	} cases[] = {
		{0, "0"}, {0.4, "0.4 us"}, {9.94, "9.9 us"}, {9.96, "10 us"}, {340, "340 us"}, {999.4, "999 us"},
		{999.6, "1.00 ms"}, {17300, "17.3 ms"}, {99949, "99.9 ms"}, {99951, "100 ms"}, {999499, "999 ms"},
		{999501, "1.00 s"}, {1200000, "1.20 s"}, {125e6, "125 s"}, {9999e6, "9999 s"}, {36000e6, "10.0 h"},
		{-1, "-"}, {NAN, "-"},
	};
	char buf[HUMAN_SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_str_eq(human__us(buf, cases[i].us), cases[i].text, "%f gave %s", cases[i].us, buf);
}

Test(human, counts_are_grouped_then_shortened)
{
	static const struct {
		double n;
		char text[16];
	} cases[] = {
		{0, "0"}, {999, "999"}, {1000, "1,000"}, {9999, "9,999"}, {10000, "10.0k"}, {99999, "100k"}, {999499, "999k"},
		{999500, "1.00M"}, {12345678, "12.3M"}, {4.2e9, "4.20G"}, {1e13, "1.00e+13"}, {-1, "-"},
	};
	char buf[HUMAN_SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_str_eq(human__count(buf, cases[i].n), cases[i].text, "%f gave %s", cases[i].n, buf);
	cr_expect_str_eq(human__grouped(buf, 12345678), "12,345,678");
	cr_expect_str_eq(human__grouped(buf, UINT64_MAX), "18,446,744,073,709,551,615");
}

Test(human, spans_read_as_they_are_typed)
{
	static const struct {
		uint64_t ns;
		char text[16];
	} cases[] = {
		{0, "0"}, {100000000, "100ms"}, {1000000000, "1s"}, {1500000000, "1500ms"}, {90000000000, "90s"},
		{120000000000, "2m"}, {3600000000000, "60m"}, {86400000000000, "24h"}, {604800000000000, "7d"},
	};
	char buf[HUMAN_SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_str_eq(human__span(buf, cases[i].ns), cases[i].text, "gave %s", buf);
}

Test(human, a_trace_is_not_shown_as_nothing)
{
	char buf[HUMAN_SIZE];

	cr_expect_str_eq(human__share(buf, 0), "0.0%");
	cr_expect_str_eq(human__share(buf, 0.00001), "<0.1%");
	cr_expect_str_eq(human__share(buf, 0.812), "81.2%");
	cr_expect_str_eq(human__share(buf, 1), "100.0%");
	cr_expect_str_eq(human__ago(buf, 500), "now");
	cr_expect_str_eq(human__ago(buf, 7200000), "2 h ago");
}

/* ---- what becomes of it ---- */

/* Far more than a stream's buffer: writing fails in the middle of it, and leaves nothing for a flush to fail at. */
static void write_much(FILE *to)
{
	for (int i = 0; i < 100000; i++)
		fputs("0123456789", to);
	fputs("\n", to);
}

Test(out, a_reader_that_left_is_no_failure_whatever_errno_says_by_now)
{
	struct reason why = {""};
	int ends[2];
	FILE *to;

	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(pipe(ends), 0);
	to = fdopen(ends[1], "w");
	cr_expect_not(out__reader_left(to));
	close(ends[0]);
	write_much(to);
	errno = ENOENT;
	cr_expect(out__reader_left(to));
	cr_expect_eq(out__flush(to, "standard output", &why), 0, "%s", why.text);
	fclose(to);
}

Test(out, what_failed_earlier_is_told_without_a_reason_that_nobody_knows)
{
	struct reason why = {""};
	FILE *to = fopen("/dev/full", "w");

	write_much(to);
	__fpurge(to);
	errno = EEXIST;
	cr_expect_eq(out__flush(to, "standard output", &why), -EIO);
	cr_expect_str_eq(why.text, "standard output: not all of it could be written");
	fclose(to);
}

Test(out, a_full_disk_is_called_so)
{
	struct reason why = {""};
	FILE *to = fopen("/dev/full", "w");

	fputs("x", to);
	errno = ENOENT;
	cr_expect_eq(out__flush(to, "a.json", &why), -ENOSPC);
	cr_expect_str_eq(why.text, "a.json: No space left on device");
	fclose(to);
}

Test(out, what_is_written_is_written)
{
	struct reason why = {""};
	char *buf = NULL;
	size_t len = 0;
	FILE *to = tmpfile();

	fputs("x", to);
	errno = EIO;
	cr_expect_eq(out__flush(to, "a.json", &why), 0);
	fclose(to);
	/* A stream without a descriptor has no reader that could leave. */
	to = open_memstream(&buf, &len);
	cr_expect_not(out__reader_left(to));
	fclose(to);
	free(buf);
}
