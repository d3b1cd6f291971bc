/* SPDX-License-Identifier: GPL-2.0-only */
/* Folded stacks to a picture: the sums, the layout, and names that would like to be markup. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/flame_svg.h"
#include "../support/pythons.h"

static struct flame *flame;

static void set_up(void)
{
	flame = flame__new();
	cr_assert_not_null(flame);
}

static void tear_down(void)
{
	flame__free(flame);
}

TestSuite(flame_svg, .init = set_up, .fini = tear_down);

static char *draw(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	cr_assert_not_null(to);
	flame__write(flame, "blame of <b>", FLAME_US, to);
	fclose(to);
	return text;
}

/* The box of that name: its place, and the tooltip's text. */
static void expect_box(const char *svg, const char *name, double x, double w, unsigned int depth)
{
	char begin[256];
	const char *found, *box = svg;
	double got_x = -1, got_w = -1;
	unsigned int got_depth = 99;

	snprintf(begin, sizeof(begin), "data-n=\"%s\"", name);
	found = strstr(svg, begin);
	cr_assert_not_null(found, "no box %s", name);
	for (const char *p = svg; (p = strstr(p, "<g class=\"box\"")) && p < found; p++)
		box = p;
	cr_assert_eq(sscanf(box, "<g class=\"box\" data-x=\"%lf\" data-w=\"%lf\" data-d=\"%u\"", &got_x, &got_w, &got_depth),
		     3);
	cr_expect(fabs(got_x - x) < 1e-8 && fabs(got_w - w) < 1e-8 && got_depth == depth, "%s: at %f, %f wide, level %u", name,
		  got_x, got_w, got_depth);
}

Test(flame_svg, boxes_stand_on_their_callers_in_the_order_of_names)
{
	char *svg;

	cr_assert_eq(flame__add(flame, "main;zeta;leaf", 100), 0);
	cr_assert_eq(flame__add(flame, "main;alpha", 200), 0);
	cr_assert_eq(flame__add(flame, "main;zeta", 50), 0);
	cr_assert_eq(flame__add(flame, "main;alpha", 150), 0);
	cr_expect_eq(flame__total(flame), 500);
	svg = draw();
	expect_box(svg, "main", 0, 1, 0);
	expect_box(svg, "alpha", 0, 0.7, 1);
	expect_box(svg, "zeta", 0.7, 0.3, 1);
	expect_box(svg, "leaf", 0.7, 0.2, 2);
	cr_expect_not_null(strstr(svg, "<title>alpha (350 us, 70.0%)</title>"), "%s", svg);
	cr_expect_not_null(strstr(svg, "(500 us in all)"));
	free(svg);
}

Test(flame_svg, what_was_folded_folds_again)
{
	static const char lines[] = "main;alpha 350\nmain;zeta 50\nmain;zeta;leaf 100\n";
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	cr_assert_not_null(to);
	cr_assert_eq(flame__add(flame, "main;zeta;leaf", 100999), 0);
	cr_assert_eq(flame__add(flame, "main;alpha", 350000), 0);
	cr_assert_eq(flame__add(flame, "main;zeta", 50000), 0);
	cr_assert_eq(flame__add(flame, "main", 999), 0);
	flame__fold(flame, 1000, to);
	fclose(to);
	cr_expect_str_eq(text, lines);
	free(text);
}

Test(flame_svg, names_are_text_and_the_file_is_well_formed)
{
	char dir[64], path[96], *svg;

	cr_assert_eq(flame__add(flame, "small", 2), 0);
	cr_assert_eq(flame__add(flame, "<script>alert(1)</script>;\"' onclick=\"x;]]>;\x1b[31m\xff\xc3\xa4", 9998), 0);
	svg = draw();
	cr_expect_not_null(strstr(svg, "&lt;0.1%"), "a small share is text as well");
	cr_expect_null(strstr(svg, "<script>alert"));
	cr_expect_null(strstr(svg, "\x1b"));
	cr_expect_not_null(strstr(svg, "blame of &lt;b&gt;"));
	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/flame.svg", dir);
	must_write(path, svg, strlen(svg));
	must_run("python3 -c 'import sys, xml.etree.ElementTree as t; "
		 "names = [g.get(\"data-n\") for g in t.parse(sys.argv[1]).iter(\"{http://www.w3.org/2000/svg}g\")]; "
		 "assert names[0] == \"<script>alert(1)</script>\" and len(names) == 5, names' %s", path);
	temp_dir__remove(dir);
	free(svg);
}

Test(flame_svg, what_is_too_small_to_be_seen_is_left_out)
{
	char *svg;

	cr_assert_eq(flame__add(flame, "main;large", 10000000), 0);
	cr_assert_eq(flame__add(flame, "main;tiny;tinier", 1), 0);
	svg = draw();
	cr_expect_null(strstr(svg, "tiny"));
	cr_expect_not_null(strstr(svg, "large"));
	free(svg);
}

Test(flame_svg, deep_and_wide_stacks_are_bounded)
{
	static char stack[8 * 20000];
	size_t len = 0;
	char name[32], *svg;

	for (int i = 0; i < 10000; i++)
		len += (size_t)sprintf(stack + len, "f%d;", i);
	cr_assert_eq(flame__add(flame, stack, 5), 0);
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "w%d", i);
		cr_assert_eq(flame__add(flame, name, 1), 0);
	}
	svg = draw();
	cr_expect_null(strstr(svg, "\"f1024\""));
	free(svg);
}

Test(flame_svg, nothing_is_a_picture_too)
{
	char *svg = draw();

	cr_expect_not_null(strstr(svg, "no stacks"));
	free(svg);
}
