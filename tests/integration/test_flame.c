/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope flame of a program that knows which of its functions holds the GIL, and for how long. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/watched.h"
#include "../support/workload.h"

static char dir[64], file[96];

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	snprintf(file, sizeof(file), "%s/flame", dir);
	setenv("GILSCOPE_STORE_DIR", dir, 1);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(flame, .init = set_up, .fini = tear_down, .timeout = 300);

/* `gilscope VERB PID OPTIONS` on the hog and its victim, from before their begin until after their end. */
static void watch_hog(struct workload *w, const char *verb, const char *options)
{
	struct interpreter stock;
	char words[320];

	interpreter__stock(&stock);
	workload__start(w, &stock, "hog_victim.py 20");
	snprintf(words, sizeof(words), "%s %d %s", verb, (int)w->pid, options);
	watched__run(w, words);
}

/* What flame wrote of them. */
static char *look_at_hog(struct workload *w, const char *options)
{
	char words[256];
	size_t len;

	snprintf(words, sizeof(words), "-o %s --duration 50s %s", file, options);
	watch_hog(w, "flame", words);
	return must_read(file, &len);
}

/* The innermost Python frame of a folded stack: C code may stand below. NULL: there is none. */
static const char *python_leaf(const char *line)
{
	const char *leaf = NULL;

	for (const char *c = strchr(line, ';'); c; c = strchr(c + 1, ';')) {
		const char *place = strstr(c, ".py:"), *next = strchr(c + 1, ';');

		if (place && (!next || place < next))
			leaf = c;
	}
	return leaf;
}

/* Microseconds of the folded stacks that begin with that thread and whose Python code ends in that function of workload.py. */
static double sum_of(char *folded, const char *thread, const char *function)
{
	double us = 0;

	for (char *save, *line = strtok_r(folded, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *leaf = python_leaf(line), *weight = strrchr(line, ' ');

		cr_assert((strchr(line, ';') || strncmp(line, "(other stacks) ", 15) == 0) && weight, "no stack: %s", line);
		if (leaf && strncmp(line, thread, strlen(thread)) == 0 && line[strlen(thread)] == ';' &&
		    strncmp(leaf + 1, function, strlen(function)) == 0 && strstr(leaf, "workload.py:"))
			us += strtod(weight, NULL);
	}
	return us;
}

Test(flame, gives_the_hogs_holds_to_its_function)
{
	struct workload w;
	char *folded = look_at_hog(&w, "--folded --weight hold");
	double truth = (double)truth__int(workload__thread(&w, "hog"), "hold_ns") / 1e3;
	double got = sum_of(folded, "hog", "HogPlay.play (");

	cr_expect(fabs(got - truth) <= 0.03 * truth, "%.0f us, the program says %.0f us", got, truth);
	free(folded);
	workload__quit(&w);
}

Test(flame, draws_who_made_the_victim_wait)
{
	struct workload w;
	char *svg = look_at_hog(&w, "");

	cr_expect_not_null(strstr(svg, "data-n=\"HogPlay.play ("));
	cr_expect_not_null(strstr(svg, "data-n=\"hog\""), "the thread stands below");
	must_run("python3 -c 'import sys, xml.etree.ElementTree as t; t.parse(sys.argv[1])' %s", file);
	free(svg);
	workload__quit(&w);
}

/* ---- from Redis ---- */

/* Sums of the process's members in that key of gilscope's own store: "s" or "c" and the rest; weights begin at that place. */
static void sum_members(const char *what, const char *list, size_t from, json_int_t sums[3], size_t *cells)
{
	struct tool t;
	char words[192], *out, *rest, *line;

	cr_assert_eq(tool__run(&t, "store cli --raw ZRANGE gil:procs 0 0"), 0);
	out = tool__stdout(&t);
	out[strcspn(out, "\n")] = '\0';
	snprintf(words, sizeof(words), "store cli --raw ZRANGE gil:{%.90s}:%s 0 -1", out, what);
	free(out);
	tool__clear(&t);
	cr_assert_eq(tool__run(&t, words), 0);
	rest = out = tool__stdout(&t);
	while ((line = strsep(&rest, "\n")) && *line) {
		json_t *row = json_loads(line, 0, NULL), *cell;
		size_t i;

		cr_assert_not_null(row, "%s", line);
		json_array_foreach(json_object_get(row, list), i, cell)
			for (size_t k = 0; k < 3; k++)
				sums[k] += json_integer_value(json_array_get(cell, from + k));
		*cells += i;
		for (size_t k = 0; k < 3; k++)
			sums[k] += json_integer_value(json_array_get(json_object_get(row, "rest"), k));
		json_decref(row);
	}
	free(out);
	tool__clear(&t);
}

static char *draw_past(pid_t pid, const char *options)
{
	struct tool t;
	char words[160];
	size_t len;

	snprintf(words, sizeof(words), "flame %d -o %s %s", (int)pid, file, options);
	cr_assert_eq(tool__run(&t, words), 0, "%s", tool__stderr(&t));
	cr_expect_not_null(strstr(tool__stderr(&t), "out of Redis"));
	tool__clear(&t);
	return must_read(file, &len);
}

Test(flame, of_a_process_that_has_ended_is_in_redis)
{
	json_int_t code[3] = {0}, stacks[3] = {0};
	size_t cells = 0;
	struct workload w;
	char *folded;
	double truth, got;
	pid_t pid;

	watch_hog(&w, "attach", "");
	pid = w.pid;
	truth = (double)truth__int(workload__thread(&w, "hog"), "hold_ns") / 1e3;
	workload__quit(&w);
	folded = draw_past(pid, "--folded --weight hold");
	got = sum_of(folded, "hog", "HogPlay.play (");
	cr_expect(fabs(got - truth) <= 0.03 * truth, "%.0f us, the program says %.0f us", got, truth);
	free(folded);
	folded = draw_past(pid, "--folded --weight hold --no-threads");
	cr_expect_null(strstr(folded, "hog;"), "%s", folded);
	cr_expect_not_null(strstr(folded, "HogPlay.play ("), "%s", folded);
	free(folded);
	/* What code has of the same time is the same time; each cell of both is cut to whole microseconds. */
	sum_members("code:10s", "c", 4, code, &cells);
	sum_members("stacks:10s", "s", 2, stacks, &cells);
	cr_expect_gt(stacks[0], 0);
	for (size_t k = 0; k < 3; k++)
		cr_expect_leq(llabs((long long)(code[k] - stacks[k])), (long long)cells, "weight %zu: %lld us in code, %lld in "
			      "stacks", k, (long long)code[k], (long long)stacks[k]);
}

Test(flame, of_a_process_whose_stacks_are_not_stored_says_so)
{
	struct workload w;
	struct tool t;
	char words[160];
	pid_t pid;

	watch_hog(&w, "attach", "--stacks off");
	pid = w.pid;
	workload__quit(&w);
	snprintf(words, sizeof(words), "flame %d -o %s", (int)pid, file);
	cr_expect_eq(tool__run(&t, words), 1);
	cr_expect_not_null(strstr(tool__stderr(&t), "no stacks are stored of "), "%s", tool__stderr(&t));
	cr_expect_neq(access(file, F_OK), 0, "an empty file is left");
	tool__clear(&t);
}

/* What another gilscope observes needs no second look. */
Test(flame, of_a_process_that_is_observed_uses_its_history)
{
	struct interpreter stock;
	struct workload w;
	struct tool t;
	char words[96], *svg;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "hog_victim.py 1000");
	snprintf(words, sizeof(words), "attach %d --interval 200ms", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed in");
	workload__go(&w);
	/* The first ten seconds end at a time of the wall clock's. */
	for (int tries = 0; tries < 60; tries++) {
		json_int_t sums[3] = {0};
		size_t cells = 0;

		sum_members("stacks:10s", "s", 2, sums, &cells);
		if (sums[1])
			break;
		sleep(1);
	}
	svg = draw_past(w.pid, "");
	cr_expect_not_null(strstr(svg, "data-n=\"HogPlay.play ("));
	free(svg);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	tool__clear(&t);
	workload__kill(&w);
}

Test(flame, without_stacks_is_a_usage_error)
{
	struct tool t;
	char words[160];

	snprintf(words, sizeof(words), "flame 1 --stacks off -o %s", file);
	cr_expect_eq(tool__run(&t, words), 2);
	tool__clear(&t);
}
