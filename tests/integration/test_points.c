/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Points of the verdict's grid (tests/unit/test_verdict_grid.c) as real programs: the cause that a program was made of is found,
 * with its code, and no wrong one. Where the kernel says that threads lacked CPUs, that is a cause as well, and may be all of it;
 * and short pieces of bytecode are asked to end then.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/account.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/workload.h"

static char dir[64];

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(points, .init = set_up, .fini = tear_down, .timeout = 60);

/* Patterns by name, each followed by a blank. */
static const struct point {
	char command[44];
	char causes[40];    /* one of them is found, with that code; "": none need be, */
	char code[16];
	char allowed[52];   /* and these may be, too */
	char if_busy[20];   /* and these, if threads lacked CPUs */
} points[] = {
	{"15 0.5 1 --c",             "long_hold ",             "c_work (",      "short_holds ", ""},
	{"100 0.2 3 --c",            "long_hold ",             "c_work (",      "short_holds ", ""},
	{"300 0.5 1 --c",            "long_hold ",             "c_work (",      "short_holds ", ""},
	{"10 0.5 3 --c --pool",      "long_hold ",             "c_work (",      "",             ""},
	{"15 0.5 1",                 "convoy computing ",      "python_work (", "short_holds ", ""},
	{"100 0.95 3",               "convoy computing ",      "python_work (", "short_holds ", ""},
	{"1000 0.95 1",              "convoy computing ",      "python_work (", "short_holds ", ""},
	{"30 0.95 3 --pool",         "cpu_sharing computing ", "python_work (", "short_holds ", ""},
	{"0.3 0.95 3 --c",           "",                       "",              "short_holds fine one_thread ", ""},
	{"1 0.8 8",                  "",                       "",              "short_holds fine one_thread ",
	 "convoy computing "},
	{"15 0.5 1 --c --crowded 2", "starved_holder ",        "c_work (",      "long_hold short_holds ", "fine "},
	{"15 0.5 1 --crowded 2",     "starved_holder ",        "python_work (", "convoy computing short_holds ", "fine "},
};

#define POINTS (sizeof(points) / sizeof(points[0]))

/* What the verdict says of a program, and whether its threads lacked CPUs meanwhile: 2 % of the time, in sum. */
struct look {
	json_t *json;
	bool busy;
};

static bool is_among(const char *pattern, const char *list)
{
	char word[48];

	snprintf(word, sizeof(word), "%s ", pattern);
	return strstr(list, word) != NULL;
}

static bool is_right(const struct point *p, const struct look *l, const char *pattern)
{
	return is_among(pattern, p->causes) || is_among(pattern, p->allowed) || is_among(pattern, "handover many_threads ") ||
	       (l->busy && (is_among(pattern, "starved_holder ") || is_among(pattern, p->if_busy)));
}

/* Whether one of the causes is there; where CPUs were lacked, that may be all of it. */
static bool expect_right(const struct point *p, const struct look *l)
{
	bool found = l->busy;
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(l->json, "findings"), i, one) {
		const char *pattern = json_string_value(json_object_get(one, "pattern"));
		const char *code = json_string_value(json_object_get(one, "code"));

		cr_expect(is_right(p, l, pattern), "%s has no %s: %s", p->command, pattern,
			  json_string_value(json_object_get(one, "evidence")));
		if (!is_among(pattern, p->causes))
			continue;
		found = true;
		cr_expect(code && strstr(code, p->code), "%s: %s is in %s, not in %s", p->command, pattern, code, p->code);
	}
	return found;
}

static json_t *report_of(pid_t pid)
{
	char words[96];

	snprintf(words, sizeof(words), "report %d --duration 2s --mode full --json", (int)pid);
	return tool__json(words);
}

static void take_look(struct look *l, pid_t pid)
{
	size_t threads;
	double before = account__wanted_ns(pid, &threads) + account__taken_ns();

	l->json = report_of(pid);
	l->busy = account__wanted_ns(pid, &threads) + account__taken_ns() - before >= 0.02 * 2e9;
}

ParameterizedTestParameters(points, have_the_cause_that_they_were_made_of)
{
	static size_t numbers[POINTS];

	for (size_t i = 0; i < POINTS; i++)
		numbers[i] = i;
	return cr_make_param_array(size_t, numbers, POINTS);
}

ParameterizedTest(size_t *number, points, have_the_cause_that_they_were_made_of)
{
	const struct point *p = &points[*number];
	struct interpreter stock;
	struct workload w;
	struct look look;
	char command[64];

	interpreter__stock(&stock);
	snprintf(command, sizeof(command), "points.py %s", p->command);
	workload__start(&w, &stock, command);
	workload__go(&w);
	take_look(&look, w.pid);
	workload__kill(&w);
	cr_expect(expect_right(p, &look) || !p->causes[0], "%s: no %sin %s", p->command, p->causes,
		  json_dumps(look.json, JSON_COMPACT));
	json_decref(look.json);
}
