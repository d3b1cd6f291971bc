/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope flame of a program that knows which of its functions holds the GIL, and for how long. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/workload.h"

static char dir[64], file[96];

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	snprintf(file, sizeof(file), "%s/flame", dir);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(flame, .init = set_up, .fini = tear_down, .timeout = 60);

/* Looks at the hog and its victim from before their begin until after their end; what was written. */
static char *look_at_hog(struct workload *w, const char *options)
{
	struct interpreter stock;
	char words[256];
	struct tool t;
	size_t len;

	interpreter__stock(&stock);
	workload__start(w, &stock, "hog_victim.py 20");
	snprintf(words, sizeof(words), "flame %d -o %s --duration 50s %s", (int)w->pid, file, options);
	tool__start(&t, words);
	tool__await(&t, "armed in");
	workload__go(w);
	workload__truth(w);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 20), 0, "%s", tool__stderr(&t));
	tool__clear(&t);
	return must_read(file, &len);
}

/* Microseconds of the folded stacks that begin with that thread and end in that function of workload.py. */
static double sum_of(char *folded, const char *thread, const char *function)
{
	double us = 0;

	for (char *save, *line = strtok_r(folded, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *leaf = strrchr(line, ';'), *weight = strrchr(line, ' ');

		cr_assert(leaf && weight, "no stack: %s", line);
		if (strncmp(line, thread, strlen(thread)) == 0 && line[strlen(thread)] == ';' &&
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

Test(flame, without_stacks_is_a_usage_error)
{
	struct tool t;
	char words[160];

	snprintf(words, sizeof(words), "flame 1 --stacks off -o %s", file);
	cr_expect_eq(tool__run(&t, words), 2);
	tool__clear(&t);
}
