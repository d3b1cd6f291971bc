/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flame graph and report as a browser shows them: every box and letter in its place and legible, light and dark, wide and
 * narrow; a click zooms, a search finds; nothing is loaded, and names that look like markup stay names. What the shares are
 * held against is the same history, written as folded stacks.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/bpf_env.h"
#include "../support/browser.h"
#include "../support/interpreters.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/watched.h"
#include "../support/workload.h"

#define PICTURE_WIDTH 1180 /* px, of a flame graph's lowest boxes together */
#define AA 4.5             /* contrast that WCAG 2.2 asks of text, level AA */

static char dir[64], file[96];
static pid_t pid;

/* A second of eight threads that compute, as gilscope keeps it. Their names are odd. */
static void observe(void)
{
	struct interpreter stock;
	struct workload w;
	char words[64];

	interpreter__stock(&stock);
	workload__start(&w, &stock, "cpu_threads.py 8 1 --odd-names");
	pid = w.pid;
	snprintf(words, sizeof(words), "attach %d --interval 100ms", (int)pid);
	watched__run(&w, words);
	workload__quit(&w);
}

static void set_up(void)
{
	bpf_env__require();
	browser__require();
	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	observe();
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(rendered, .init = set_up, .fini = tear_down, .timeout = 300);

/* Has gilscope draw what it keeps: "VERB PID OPTIONS FILE". */
static void draw(const char *verb, const char *options, const char *name)
{
	char words[256];
	struct tool t;

	snprintf(file, sizeof(file), "%s/%s", dir, name);
	snprintf(words, sizeof(words), "%s %d %s %s", verb, (int)pid, options, file);
	cr_assert_eq(tool__run(&t, words), 0, "%s", tool__stderr(&t));
	tool__clear(&t);
}

static double number(const json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);

	cr_assert(json_is_number(value), "no number %s", name);
	return json_number_value(value);
}

static const char *text(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	cr_assert_not_null(value, "no text %s", name);
	return value;
}

static void expect_empty(const json_t *said, const char *list)
{
	char *shown = json_dumps(json_object_get(said, list), JSON_COMPACT);

	cr_expect_eq(json_array_size(json_object_get(said, list)), 0, "%s: %s", list, shown);
	free(shown);
}

/* ---- the flame graph ---- */

/* Shares of the threads by the folded stacks, in the order of the file; what was not kept by stacks is one more. */
struct shares {
	char names[64][400];
	double us[64], all;
	size_t n;
};

static void read_folded(struct shares *s)
{
	char *folded;
	size_t len;

	*s = (struct shares){.n = 0};
	draw("flame", "--folded -o", "folded");
	folded = must_read(file, &len);
	for (char *save, *line = strtok_r(folded, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *weight = strrchr(line, ' ');
		double us = strtod(weight, NULL);
		size_t name;

		*weight = '\0';
		name = strcspn(line, ";");

		if (!s->n || strncmp(s->names[s->n - 1], line, name) != 0 || s->names[s->n - 1][name]) {
			cr_assert_lt(s->n, 64);
			snprintf(s->names[s->n++], sizeof(s->names[0]), "%.*s", (int)name, line);
		}
		s->us[s->n - 1] += us;
		s->all += us;
	}
	free(folded);
}

static double width(const json_t *box)
{
	return number(box, "right") - number(box, "left");
}

/* The lowest boxes are the threads, each as wide as its share; a pixel is what whole microseconds and edges may make. */
static void expect_shares(const json_t *boxes)
{
	struct shares shares;
	json_t *box;
	size_t i, at = 0;

	read_folded(&shares);
	cr_expect_geq(shares.n, 8);
	json_array_foreach (boxes, i, box) {
		if (number(box, "depth") != 0)
			continue;
		cr_assert_lt(at, shares.n);
		cr_expect_str_eq(text(box, "name"), shares.names[at]);
		cr_expect(fabs(width(box) - PICTURE_WIDTH * shares.us[at] / shares.all) <= 1, "%s: %.1f px for %.4f of all",
			  text(box, "name"), width(box), shares.us[at] / shares.all);
		at++;
	}
	cr_expect_eq(at, shares.n);
}

/* A box follows the one that it stands on, or that it stands beside. */
static const json_t *carrier(const json_t *boxes, size_t i)
{
	double depth = number(json_array_get(boxes, i), "depth");

	while (i--)
		if (number(json_array_get(boxes, i), "depth") < depth)
			return json_array_get(boxes, i);
	return NULL;
}

static void expect_in_place(const json_t *boxes, const json_t *size)
{
	json_t *box;
	size_t i;

	json_array_foreach (boxes, i, box) {
		const json_t *below = carrier(boxes, i), *left = i ? json_array_get(boxes, i - 1) : NULL;
		const char *name = text(box, "name");

		cr_expect(number(box, "left") >= 0 && number(box, "right") <= json_number_value(json_array_get(size, 0)) &&
			  number(box, "top") >= 0 && number(box, "bottom") <= json_number_value(json_array_get(size, 1)),
			  "%s is outside", name);
		if (below)
			cr_expect(number(box, "left") >= number(below, "left") - 0.5 &&
				  number(box, "right") <= number(below, "right") + 0.5 &&
				  number(box, "bottom") <= number(below, "top"),
				  "%s does not stand on %s", name, text(below, "name"));
		if (left && number(left, "depth") == number(box, "depth"))
			cr_expect_geq(number(box, "left"), number(left, "right") - 0.5, "%s covers %s", name, text(left, "name"));
		if (text(box, "text")[0]) {
			cr_expect_leq(number(box, "text_right"), number(box, "right") + 0.5, "%s runs out of its box",
				      text(box, "text"));
			cr_expect_geq(number(box, "contrast"), AA, "%s", text(box, "text"));
		}
	}
}

/* The file has hundredths of pixels, the script all digits. */
static void expect_alike(const json_t *now, const json_t *before)
{
	json_t *box;
	size_t i;

	json_array_foreach (now, i, box) {
		const json_t *was = json_array_get(before, i);

		cr_expect_lt(fabs(number(box, "left") - number(was, "left")), 0.1, "%s moved", text(box, "name"));
		cr_expect_lt(fabs(width(box) - width(was)), 0.1, "%s", text(box, "name"));
		cr_expect_str_eq(text(box, "text"), text(was, "text"));
	}
}

/* What the click was on is as wide as all of it; what it stands on, too; what stands beside has gone. */
static void expect_zoomed(const json_t *said)
{
	const json_t *boxes = json_object_get(said, "zoomed"), *first = json_object_get(said, "first");
	size_t target = (size_t)number(said, "target");
	const json_t *hit = json_array_get(first, target);
	json_t *box;
	size_t i;

	json_array_foreach (boxes, i, box) {
		const json_t *was = json_array_get(first, i);
		double middle = (number(hit, "left") + number(hit, "right")) / 2;
		bool carries = number(was, "left") <= middle && number(was, "right") >= middle &&
			       number(was, "depth") <= number(hit, "depth");

		if (i == target || carries)
			cr_expect(fabs(width(box) - PICTURE_WIDTH) <= 1, "%s: %.1f px", text(box, "name"), width(box));
		else
			cr_expect_not(json_is_true(json_object_get(box, "shown")), "%s is still there", text(box, "name"));
	}
	cr_expect(json_is_true(json_object_get(said, "way_back")));
	expect_alike(json_object_get(said, "again"), first);
}

/* The search was for the name that was zoomed on, in capitals. */
static void expect_found(const json_t *said)
{
	const json_t *first = json_object_get(said, "first"), *found = json_object_get(said, "found");
	const char *name = text(json_array_get(first, (size_t)number(said, "target")), "name");
	double sum = 0, got;
	json_t *box;
	size_t i;

	json_array_foreach (first, i, box) {
		bool hit = strstr(text(box, "name"), name) != NULL;

		cr_expect_eq(json_is_true(json_array_get(found, i)), hit, "%s", text(box, "name"));
		sum += hit ? width(box) : 0;
	}
	got = strtod(strrchr(text(said, "share_found"), ':') + 1, NULL);
	cr_expect_lt(fabs(got - 100 * sum / PICTURE_WIDTH), 0.2, "%s, not %.1f", text(said, "share_found"),
		     100 * sum / PICTURE_WIDTH);
}

static void expect_flame(const json_t *said)
{
	const json_t *first = json_object_get(said, "first");
	json_t *box;
	size_t i;

	cr_expect_eq(number(said, "scripts"), 1, "somebody's name is a script");
	expect_empty(said, "fetched");
	cr_expect_geq(number(said, "contrast"), AA);
	expect_shares(first);
	expect_in_place(first, json_object_get(said, "size"));
	json_array_foreach (first, i, box)
		cr_expect(width(box) < 2 || json_is_true(json_array_get(json_object_get(said, "hit"), i)),
			  "%s can't be pointed at", text(box, "name"));
	cr_expect_eq(strncmp(text(said, "hover"), text(json_array_get(first, 0), "name"), 10), 0, "%s", text(said, "hover"));
	expect_zoomed(said);
	expect_found(said);
}

Test(rendered, flame_graph_is_seen_as_it_was_meant)
{
	char svg[96];

	draw("flame", "-o", "flame.svg");
	memcpy(svg, file, sizeof(svg));
	for (int dark = 0; dark <= 1; dark++) {
		json_t *said = browser__look(svg, "flame.js", &(struct browser_window){1300, 700, dark});

		expect_flame(said);
		json_decref(said);
	}
}

/* ---- the report ---- */

static double blue_of(const json_t *cell)
{
	return json_number_value(json_array_get(json_object_get(cell, "ground"), 2));
}

/* The heavier a cell, the more orange, which has next to no blue. */
static void expect_heat(const json_t *cells)
{
	json_t *a, *b;
	size_t i, k;

	json_array_foreach (cells, i, a) {
		cr_expect(json_is_true(json_object_get(a, "shown")));
		json_array_foreach (cells, k, b)
			if (number(a, "us") > number(b, "us"))
				cr_expect_leq(blue_of(a), blue_of(b), "%.0f and %.0f us", number(a, "us"), number(b, "us"));
	}
}

static void expect_charts(const json_t *charts)
{
	json_t *chart;
	size_t i;

	cr_expect_eq(json_array_size(charts), 2, "held, and waiting threads");
	json_array_foreach (charts, i, chart) {
		cr_expect(json_is_true(json_object_get(chart, "inside")), "%s", text(chart, "kind"));
		cr_expect_geq(number(chart, "width"), 0.9, "%s: no line from side to side", text(chart, "kind"));
	}
}

/* The names are there, letter by letter; the main thread may be, too. */
static void expect_names(const json_t *threads)
{
	bool found = false;
	json_t *name;
	size_t i;

	cr_expect_geq(json_array_size(threads), 8);
	json_array_foreach (threads, i, name)
		found = found || strcmp(json_string_value(name), "<script>document.title='struck'</script>") == 0;
	cr_expect(found, "nobody is called what is markup");
}

static void expect_page(const json_t *said)
{
	cr_expect_eq(number(said, "scripts") + number(said, "images"), 0, "somebody's name is markup");
	cr_expect_not_null(strstr(text(said, "verdict"), "GIL: "), "%s", text(said, "verdict"));
	expect_empty(said, "fetched");
	expect_empty(said, "weak");
	expect_empty(said, "overlaps");
	expect_empty(said, "out");
	cr_expect_leq(number(said, "sideways"), 0, "the page itself is too wide");
	cr_expect_leq(number(said, "hidden_below"), 0, "the window is too low for this test");
	expect_charts(json_object_get(said, "charts"));
	expect_heat(json_object_get(said, "cells"));
	cr_expect_gt(json_array_size(json_object_get(said, "cells")), 8);
	expect_names(json_object_get(said, "threads"));
	cr_expect_gt(number(said, "flame"), 8);
}

Test(rendered, report_is_seen_as_it_was_meant)
{
	static const struct browser_window windows[] = {
		{1100, 5000, false}, {1100, 5000, true}, {500, 9000, false}, {500, 9000, true},
	};

	draw("report", "--html", "report.html");
	for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
		json_t *said = browser__look(file, "report.js", &windows[i]);

		expect_page(said);
		json_decref(said);
	}
}

/* Names without a gap may stand in any sentence: one that is wider than the window is put into each. */
Test(rendered, no_sentence_of_a_report_makes_the_page_wider_than_the_window)
{
	static const struct browser_window narrow = {500, 20000, false};
	json_t *said;

	draw("report", "--html", "report.html");
	must_run("w=$(printf '%%0120d' 0 | tr 0 w); sed -i \"s/<\\(p\\|li\\)\\( [^>]*\\)\\?>/&$w /g\" %s; grep -q \"$w\" %s",
		 file, file);
	said = browser__look(file, "report.js", &narrow);
	expect_empty(said, "out");
	cr_expect_leq(number(said, "sideways"), 0, "the page itself is too wide");
	json_decref(said);
}
