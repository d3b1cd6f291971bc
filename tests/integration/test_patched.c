/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that changes its own code where probes stand (libpatchtext): however they are lifted, it runs on, and what it wrote
 * stays. Both it knows itself: it is killed by the first instruction that is half its own and half the file's, or counts all
 * of its calls; and it compares what it wrote.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/own_images.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/summary.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define PATIENCE_S 60

static char dir[64];

static void set_up(void)
{
	bpf_env__require();
	own_image__use_stock();
	temp_dir__make(dir, sizeof(dir));
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(patched, .init = set_up, .fini = tear_down, .timeout = 300);

struct patched {
	struct workload w;
	struct tool t;
	char told[96]; /* the file in which it says what it did */
};

static void start_program(struct patched *p, const char *how, const char *command)
{
	struct interpreter stock;
	char library[256];
	static int number;

	interpreter__stock(&stock);
	snprintf(library, sizeof(library), "%.200s/workloads/libpatchtext.so", getenv("GILSCOPE_OUTPUT"));
	snprintf(p->told, sizeof(p->told), "%s/told-%d", dir, number++);
	setenv("LD_PRELOAD", library, 1);
	setenv("PATCH_TEXT", "python3", 1);
	setenv("PATCH_TEXT_HOW", how, 1);
	setenv("PATCH_TEXT_TELL", p->told, 1);
	workload__start(&p->w, &stock, command);
	unsetenv("LD_PRELOAD");
}

static void start(struct patched *p, const char *how)
{
	start_program(p, how, "release_loop.py 503 2");
}

static void attach(struct patched *p, const char *options)
{
	char words[128];

	snprintf(words, sizeof(words), "attach %d --no-store %s", (int)p->w.pid, options);
	tool__start(&p->t, words);
	tool__await(&p->t, "armed");
}

/* Has it do so; in how many places it did. */
static int have_it(struct patched *p, int signal, const char *does)
{
	char line[64], word[16];
	int n = 0;

	cr_assert_eq(kill(p->w.pid, signal), 0);
	for (int i = 0; i < PATIENCE_S * 50; i++) {
		FILE *told = fopen(p->told, "re");

		while (told && fgets(line, sizeof(line), told))
			if (sscanf(line, "%15s %d", word, &n) == 2 && strcmp(word, does) == 0) {
				fclose(told);
				return n;
			}
		if (told)
			fclose(told);
		usleep(20000);
	}
	cr_assert_fail("it has not said that it %s", does);
	return 0;
}

/*
 * How much of its own code stands. Not all that it wrote: where mprotect() joins pages, as after each change, the kernel itself
 * plants again in all of them (uprobe_mmap() in kernel/events/uprobes.c), over the first byte of what is there.
 */
static int what_stands(struct patched *p)
{
	int n = have_it(p, SIGWINCH, "kept");

	cr_assert_gt(n, 0);
	unlink(p->told);
	return n;
}

static void end_tool(struct patched *p, int signal)
{
	int status;

	kill(p->t.pid, signal);
	status = tool__wait(&p->t, PATIENCE_S);
	cr_expect_eq(status, signal == SIGKILL ? 128 + SIGKILL : 0, "%d", status);
}

/* Whoever comes later says why it plants nothing. */
static void attach_refused(struct patched *p)
{
	char words[64], *said;
	struct tool t;

	snprintf(words, sizeof(words), "attach %d --no-store --mode full", (int)p->w.pid);
	cr_expect_eq(tool__run(&t, words), 1);
	said = tool__stderr(&t);
	cr_expect_not_null(strstr(said, "while breakpoints stood there"), "%s", said);
	free(said);
	tool__clear(&t);
}

/* All its calls, and an end of its own choice. */
static void expect_to_run(struct workload *w, const char *after)
{
	workload__go(w);
	cr_expect_eq(json_array_size(json_object_get(workload__truth(w), "threads")), 2, "%s", after);
	workload__quit(w);
}

static void expect_to_run_on(struct patched *p, const char *after)
{
	expect_to_run(&p->w, after);
	tool__clear(&p->t);
}

/* ---- a breakpoint stands, and the rest of the instruction is another ---- */

static void expect_kept(const char *options, int signal, const char *name)
{
	struct patched p;
	int n;

	start(&p, "rest");
	attach(&p, options);
	n = have_it(&p, SIGUSR1, "patched");
	cr_assert_gt(n, 0);
	end_tool(&p, signal);
	sleep(1); /* what lifts after a SIGKILL has no other sign */
	cr_expect_eq(have_it(&p, SIGWINCH, "kept"), n, "%s", name);
	expect_to_run_on(&p, name);
}

Test(patched, who_changed_the_rest_of_an_instruction_survives_the_end)
{
	expect_kept("--mode full", SIGINT, "SIGINT");
	expect_kept("--mode light", SIGTERM, "SIGTERM");
}

Test(patched, who_changed_the_rest_of_an_instruction_survives_a_killed_gilscope)
{
	expect_kept("--mode full", SIGKILL, "SIGKILL");
}

/* Kept are those places alone: of an end that nobody needs, nothing is left. */
Test(patched, what_keeps_the_breakpoints_ends_with_the_process)
{
	struct patched p;
	int n;

	start(&p, "rest");
	attach(&p, "--mode full");
	n = have_it(&p, SIGUSR1, "patched");
	cr_assert_gt(n, 0);
	cr_expect_geq(breakpoints__count(p.w.pid), (size_t)n, "some are at no calls, so they are not changed");
	kill(p.t.pid, SIGINT);
	tool__await(&p.t, "The breakpoints stay there until it ends");
	end_tool(&p, SIGINT);
	cr_expect_eq(breakpoints__count(p.w.pid), (size_t)n);
	attach_refused(&p);
	expect_to_run_on(&p, "SIGINT");
}

/* By who lifts them, for whoever asks later, and in the history. */
Test(patched, what_is_kept_is_counted_wherever_the_process_is_told_of)
{
	struct private_redis redis;
	json_t *summary, *found;
	char words[192], *out;
	struct program doctor;
	struct patched p;
	int n;

	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	start(&p, "rest");
	snprintf(words, sizeof(words), "attach %d --redis %s --json --mode full", (int)p.w.pid, redis.url);
	tool__start(&p.t, words);
	tool__await(&p.t, "armed");
	n = have_it(&p, SIGUSR1, "patched");
	cr_assert_gt(n, 0);
	end_tool(&p, SIGINT);
	out = tool__stdout(&p.t);
	summary = summary__of(out, p.w.pid);
	cr_expect_eq(json__int(summary, "kept_sites"), n, "%d: %s", n, out);
	cr_expect_eq(private_redis__int(&redis, "HGET gil:{%s}:meta kept_sites",
					json_string_value(json_object_get(summary, "id"))), n);
	program__run(&doctor, "\"$GILSCOPE\" doctor --json %d", (int)p.w.pid);
	found = json_loads(doctor.out, 0, NULL);
	cr_expect_eq(json__int(found, "kept_sites"), n, "%s", doctor.out);
	program__free(&doctor);
	json_decref(found);
	json_decref(summary);
	free(out);
	expect_to_run_on(&p, "SIGINT");
	private_redis__fini(&redis);
}

/* ---- the first byte is other, too ---- */

static void expect_hook_stays(int signal, const char *name)
{
	struct patched p;
	int n;

	start(&p, "save");
	attach(&p, "--mode full");
	cr_assert_gt(have_it(&p, SIGUSR1, "patched"), 0);
	n = what_stands(&p);
	end_tool(&p, signal);
	sleep(1);
	cr_expect_eq(have_it(&p, SIGWINCH, "kept"), n, "%s", name);
	have_it(&p, SIGUSR2, "restored");
	expect_to_run_on(&p, name);
}

Test(patched, a_jump_over_a_probe_stays_and_so_may_what_it_took_away)
{
	expect_hook_stays(SIGINT, "SIGINT");
	expect_hook_stays(SIGKILL, "SIGKILL");
}

/* ---- others with the same file ---- */

/* It is not observed itself, and has the breakpoints of those who are: they share theirs. */
Test(patched, a_stranger_that_runs_the_same_file_survives_the_end_of_a_family)
{
	struct patched relative, stranger;
	int n;

	start(&relative, "rest");
	start(&stranger, "rest");
	attach(&relative, "--children --mode full");
	n = have_it(&stranger, SIGUSR1, "patched");
	cr_assert_gt(n, 0);
	end_tool(&relative, SIGINT);
	cr_expect_eq(have_it(&stranger, SIGWINCH, "kept"), n);
	expect_to_run(&stranger.w, "the stranger");
	expect_to_run_on(&relative, "the relative");
}

static void expect_said(const struct patched *p, const char *what)
{
	char *said = tool__stderr(&p->t);

	cr_expect_not_null(strstr(said, what), "%s", said);
	free(said);
}

/*
 * The kernel would write a breakpoint over whatever stands there, execute the file's instruction instead, and leave its first
 * byte behind. It has other code there already when the probes of others come, which all that map the file would have.
 */
Test(patched, a_stranger_with_code_of_its_own_keeps_it_when_a_family_is_observed)
{
	struct patched relative, stranger;
	int n;

	start_program(&relative, "jump", "forker.py fork 2 503");
	start(&stranger, "jump");
	attach(&relative, "--children --mode full");
	cr_assert_gt(have_it(&stranger, SIGUSR1, "patched"), 0);
	end_tool(&relative, SIGINT);
	tool__clear(&relative.t);
	n = what_stands(&stranger);
	attach(&relative, "--children --mode full");
	cr_expect_eq(have_it(&stranger, SIGWINCH, "kept"), n, "while others are observed");
	workload__go(&relative.w);
	cr_expect_eq(json_array_size(json_object_get(workload__truth(&relative.w), "children")), 2);
	end_tool(&relative, SIGINT);
	expect_said(&relative, "has other code there");
	unlink(stranger.told);
	cr_expect_eq(have_it(&stranger, SIGWINCH, "kept"), n, "when they are observed no more");
	expect_to_run(&stranger.w, "the stranger");
	workload__quit(&relative.w);
	tool__clear(&relative.t);
}

/* What a child was adopted with is compared as well when probes are planted in it anew. */
Test(patched, adopted_children_with_changed_code_are_not_planted_in_again)
{
	struct patched p;
	json_t *children;

	start_program(&p, "rest", "forker.py fork 2 200003");
	attach(&p, "--children --mode auto --max-overhead 0.1% --interval 200ms");
	cr_assert_gt(have_it(&p, SIGUSR1, "patched"), 0);
	workload__go(&p.w);
	children = json_object_get(workload__truth(&p.w), "children");
	cr_expect_eq(json_array_size(children), 2, "%s", json_dumps(p.w.truth, JSON_COMPACT));
	tool__await(&p.t, "changing to light mode failed");
	end_tool(&p, SIGINT);
	for (size_t i = 0; i < json_array_size(children); i++) {
		char what[96];

		snprintf(what, sizeof(what), "process %d has changed its own code",
			 (int)json_integer_value(json_array_get(json_array_get(children, i), 0)));
		expect_said(&p, what);
	}
	workload__quit(&p.w);
	tool__clear(&p.t);
}

/* Breakpoints are taken out of a forked child, which has its own copy of what its parent changed. */
Test(patched, a_child_that_is_forked_later_survives_as_well)
{
	struct patched p;
	json_t *children;

	start_program(&p, "rest", "forker.py fork 2 503");
	attach(&p, "--mode full");
	cr_assert_gt(have_it(&p, SIGUSR1, "patched"), 0);
	workload__go(&p.w);
	children = json_object_get(workload__truth(&p.w), "children");
	cr_expect_eq(json_array_size(children), 2, "%s", json_dumps(p.w.truth, JSON_COMPACT));
	end_tool(&p, SIGINT);
	workload__quit(&p.w);
	tool__clear(&p.t);
}

/* It is too dear for full mode, which is left after a moment. */
Test(patched, a_change_of_mode_kills_nobody)
{
	struct patched p;

	start_program(&p, "rest", "release_loop.py 200003 2");
	attach(&p, "--mode auto --max-overhead 0.1% --interval 200ms");
	cr_assert_gt(have_it(&p, SIGUSR1, "patched"), 0);
	workload__go(&p.w);
	tool__await(&p.t, "The breakpoints stay there until it ends");
	cr_expect_eq(json_array_size(json_object_get(workload__truth(&p.w), "threads")), 2);
	workload__quit(&p.w);
	tool__wait(&p.t, PATIENCE_S);
	tool__clear(&p.t);
}
