/* SPDX-License-Identifier: GPL-2.0-only */
/* Who waited for whom: lines that add up to all of the waiting, whatever is shown, and a label where they are samples. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/blame_table.h"
#include "../support/made_up.h"

static json_int_t sum_of(const json_t *lines)
{
	json_int_t sum = 0;
	json_t *line;
	size_t i;

	json_array_foreach (lines, i, line) {
		cr_assert(json_is_integer(json_object_get(line, "us")), "a part of a microsecond");
		sum += json_integer_value(json_object_get(line, "us"));
	}
	return sum;
}

static const json_t *line_for(const json_t *lines, const char *holder)
{
	json_t *line;
	size_t i;

	json_array_foreach (lines, i, line)
		if (strcmp(json_string_value(json_object_get(line, "holder")), holder) == 0)
			return line;
	return NULL;
}

/* With any number of pairs shown; thirds of microseconds are cut, and are among the others. */
Test(blame_table, lines_add_up_to_all_of_the_waiting)
{
	static const struct blame_line lines[] = {
		{"a", "b", 1000.9}, {"b", "a", 500.4}, {"a", "c", 300.33}, {"c", "a", 2.5}, {"c", "b", 0.7},
	};
	struct blame_input in = {.lines = lines, .n = 5, .wait_us = 2000, .handover_us = 100.5, .unknown_us = 50.2};

	for (size_t max = 0; max <= 6; max++) {
		struct out *table = blame_table__new(&in, max);
		json_t *json = out__json(table);

		cr_expect_eq(sum_of(json), 2000, "%zu pairs: %lld us", max, (long long)sum_of(json));
		cr_expect_eq(json_array_size(json), (max < 4 ? max : 4) + 3, "what is less than a microsecond has no line");
		cr_expect_not_null(line_for(json, "(all other pairs)"));
		cr_expect_eq(json_integer_value(json_object_get(line_for(json, "(nobody: handover)"), "us")), 100);
		cr_expect_eq(json_integer_value(json_object_get(line_for(json, "(not known)"), "us")), 50);
		json_decref(json);
		out__free(table);
	}
}

Test(blame_table, what_is_nothing_or_not_known_has_no_line)
{
	static const struct blame_line lines[] = {{"a", "b", 2000}};
	struct blame_input in = {.lines = lines, .n = 1, .wait_us = 2000, .handover_us = NAN, .unknown_us = NAN};
	struct out *table = blame_table__new(&in, 10);

	cr_expect_eq(out__rows(table), 1);
	out__free(table);
}

Test(blame_table, threads_of_one_name_are_told_apart)
{
	char names[4][BLAME_NAME_SIZE] = {"w", "x", "w", "w"}, thrs[4][BLAME_THR_SIZE] = {"1", "2", "3", "4.9"};

	blame_table__tell_apart(names, thrs, 4);
	cr_expect_str_eq(names[0], "w (1)", "the first is no better known than the others");
	cr_expect_str_eq(names[1], "x");
	cr_expect_str_eq(names[2], "w (3)");
	cr_expect_str_eq(names[3], "w (4.9)");
}

static char *printed(const struct proc_sample *s, size_t max)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	blame_table__print(to, s, max, 80);
	fclose(to);
	return text;
}

Test(blame_table, of_a_sample_is_exact_or_says_that_it_is_sampled)
{
	struct proc_sample *s = made_up__second();
	char *text;

	made_up__thread(s, 1, "hog", 500, 0, 10, 0);
	made_up__thread(s, 2, "victim", 10, 400, 10, 10);
	text = printed(s, 5);
	cr_expect_str_empty(text, "nobody is to blame");
	free(text);
	*proc_sample__add_blame(s) = (struct blame_cell){1, 0, 390 * 1000000ull};
	text = printed(s, 5);
	cr_expect_str_eq(text, "\n"
		"WHO WAITED  FOR WHOM               TIME  OF ALL WAITING\n"
		"victim      hog                  390 ms           97.5%\n"
		"(all)       (all other pairs)   6.00 ms            1.5%\n"
		"(all)       (nobody: handover)  4.00 ms            1.0%\n", "%s", text);
	free(text);
	s->blame_sampled = true;
	text = printed(s, 5);
	cr_expect_not_null(strstr(text, "WHO WAITED  FOR WHOM (SAMPLED) "), "%s", text);
	free(text);
	proc_sample__free(s);
}
