/* SPDX-License-Identifier: GPL-2.0-only */
/* Budgets in attach, run and report: the exit status, the sentence, and the files for a build. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/document.h"
#include "../support/json_lines.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/seeded.h"
#include "../support/tool.h"
#include "../support/workload.h"

static char dir[256];
static struct program p;

static void set_up(void)
{
	temp_dir__make(dir, sizeof(dir));
}

static void tear_down(void)
{
	program__free(&p);
	temp_dir__remove(dir);
}

TestSuite(budgets, .init = set_up, .fini = tear_down, .timeout = 240);

/* Attaches while the workload's hog holds the GIL for 0.3 s; what gilscope said is in `t`. */
static int attached(struct tool *t, struct workload *w, const char *options)
{
	struct interpreter stock;
	char words[1200];

	interpreter__stock(&stock);
	workload__start(w, &stock, "long_hold.py 0.3");
	snprintf(words, sizeof(words), "attach %d --no-store %s", (int)w->pid, options);
	tool__start(t, words);
	tool__await(t, "watching");
	workload__go(w);
	workload__truth(w);
	kill(t->pid, SIGINT);
	return tool__wait(t, 60);
}

static void expect_in(const char *text, const char *const *parts)
{
	for (; *parts; parts++)
		cr_expect(strstr(text, *parts), "'%s' is not in: %s", *parts, text);
}

Test(budgets, with_bpf_one_sentence_names_thread_code_and_stack)
{
	static const char *const told[] = {"budget hold_max<50ms: BROKEN", ": hog (", ") held the GIL for ",
					   "workloads/long_hold.py:", "; stack: ",
					   "budget hold_max{thread=victim}<250ms: kept", NULL};
	static const char *const cases[] = {"tests=\"3\" failures=\"2\" errors=\"0\"", "name=\"hold_max&lt;50ms\"",
					    "<failure message=",
					    "name=\"hold_max{thread=victim}&lt;250ms\"/>", NULL};
	char options[1024], *err, *xml;
	struct workload w;
	struct tool t;
	size_t len;

	snprintf(options, sizeof(options), "--mode full --json --budget hold_max<50ms --budget hold_max{thread=hog}<0.1s "
		 "--budget hold_max{thread=victim}<250ms --budget-junit %s/j.xml --budget-markdown %s/m.md", dir, dir);
	cr_expect_eq(attached(&t, &w, options), 3);
	err = tool__stderr(&t);
	expect_in(err, told);
	snprintf(options, sizeof(options), "%s/j.xml", dir);
	xml = must_read(options, &len);
	expect_in(xml, cases);
	free(xml);
	snprintf(options, sizeof(options), "%s/m.md", dir);
	xml = must_read(options, &len);
	cr_expect(strstr(xml, "### gilscope: 1 of 3 budgets kept"), "%s", xml);
	free(xml);
	free(err);
	tool__clear(&t);
	workload__quit(&w);
}

Test(budgets, by_looks_what_can_be_judged_is)
{
	static const char *const told[] = {"budget hold_max<1s: cannot be told", "budget cost<1h: kept", NULL};
	struct workload w;
	struct tool t;
	char *err;

	cr_expect_eq(attached(&t, &w, "--mode look --budget hold_max<1s --budget cost<1h"), 4);
	err = tool__stderr(&t);
	expect_in(err, told);
	free(err);
	tool__clear(&t);
	workload__quit(&w);
}

Test(budgets, of_what_cannot_be_observed_are_told_so_in_the_file)
{
	char path[300], *xml;
	size_t len;

	/* Beyond every PID that there can be. */
	program__run(&p, "\"$GILSCOPE\" attach 4194304 --no-store --budget 'hold_max<50ms' --budget-junit %s/j.xml", dir);
	cr_expect_eq(p.status, 4, "%d %s", p.status, p.err);
	cr_expect(strstr(p.err, "budget hold_max<50ms: cannot be told: "), "%s", p.err);
	snprintf(path, sizeof(path), "%s/j.xml", dir);
	xml = must_read(path, &len);
	cr_expect(strstr(xml, "tests=\"1\" failures=\"0\" errors=\"1\""), "%s", xml);
	cr_expect(strstr(xml, "<error message="), "%s", xml);
	free(xml);
}

#define PYTHON "/usr/bin/python3 -I -S -c "

Test(budgets, a_run_has_the_commands_status_first)
{
	static const struct {
		char words[120];
		int status;
	} cases[] = {
		{"--budget 'cost<1h' -- " PYTHON "pass", 0},
		{"--budget 'cost>1h' -- " PYTHON "pass", 3},
		{"--budget 'cost>1h' -- " PYTHON "'raise SystemExit(9)'", 9},
		{"--budget 'hold_p99<1h' -- " PYTHON "pass", 4},
		{"--budget 'cost>1h' --budget 'hold_p99<1h' -- " PYTHON "pass", 3},
		{"--budget 'cost<1h' -- true", 4},
		{"--budget 'cost<1' -- true", 125},
		{"--budget-file /nonexistent/file -- true", 125},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		program__free(&p);
		program__run(&p, "\"$GILSCOPE\" run --mode look --no-store %s", cases[i].words);
		cr_expect_eq(p.status, cases[i].status, "%s: %d %s", cases[i].words, p.status, p.err);
		cr_expect_str_empty(p.out);
	}
}

Test(budgets, report_judges_what_was_stored)
{
	struct private_redis redis;
	struct seeded *s;
	uint64_t max_ns = 0;

	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	s = seeded__write(&redis);
	for (uint32_t i = 0; i < SEEDED_SECONDS; i++)
		for (int k = 0; k < SEEDED_THREADS; k++)
			max_ns = s->cells[i][k].hold_max_ns > max_ns ? s->cells[i][k].hold_max_ns : max_ns;
#define REPORT "\"$GILSCOPE\" report --redis %s --since @%lld --until @%lld --json %s"
#define RANGE redis.url, (long long)seeded__end_ms(s, SEEDED_GAP_END), (long long)seeded__end_ms(s, SEEDED_SECONDS - 1)
	program__run(&p, REPORT " --budget 'hold_max<=%lluus'", RANGE, s->id, (unsigned long long)(max_ns / 1000 + 1));
	cr_expect_eq(p.status, 0, "%d %s", p.status, p.err);
	cr_expect(strstr(p.out, "\"state\": \"kept\""), "%s", p.out);
	program__free(&p);
	program__run(&p, REPORT " --budget 'wait_share<1%%'", RANGE, s->id);
	cr_expect_eq(p.status, 3, "%d %s", p.status, p.err);
	cr_expect(strstr(p.err, "most of the waiting is for"), "%s", p.err);
	program__free(&p);
	program__run(&p, REPORT " --budget 'wait_share<1%%'", RANGE, "nobody-of-that-name");
	cr_expect_eq(p.status, 4, "%d %s", p.status, p.err);
	seeded__free(s);
	private_redis__fini(&redis);
}
