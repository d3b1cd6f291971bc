/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes that hang or stand still, looked at when that is so already, or while it happens: what dump, report, attach and top
 * say of them. Who holds and what becomes of it is known from inside (stuck.py); who stops it, is this test.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collector/process/procstat.h"
#include "../support/interpreters.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/workload.h"

static char dir[64];

static void set_up(void)
{
	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(stuck, .init = set_up, .fini = tear_down, .timeout = 300);

/* ---- a program that is stuck ---- */

struct stuck {
	struct workload w;
	json_t *truth;
	pid_t pid, holder, waiter;
};

static void hear_truth(struct stuck *s)
{
	char *line = workload__hear(&s->w);

	s->truth = json_loads(line, 0, NULL);
	cr_assert_not_null(s->truth, "%s", line);
	free(line);
	s->pid = (pid_t)truth__int(s->truth, "pid");
	s->holder = (pid_t)truth__int(s->truth, "holder");
	s->waiter = (pid_t)truth__int(s->truth, "waiter");
}

static void start_in(struct stuck *s, const struct interpreter *in, const char *how)
{
	char command[64];

	snprintf(command, sizeof(command), "stuck.py %s", how);
	workload__start(&s->w, in, command);
	hear_truth(s);
}

static void start(struct stuck *s, const char *how)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	start_in(s, &stock, how);
}

static void end(struct stuck *s)
{
	kill(s->pid, SIGKILL);
	workload__kill(&s->w);
	json_decref(s->truth);
}

/* ---- what gilscope says ---- */

static json_t *ask(const char *verb, pid_t pid)
{
	char words[128];

	snprintf(words, sizeof(words), "%s %d", verb, (int)pid);
	return tool__json(words);
}

static json_t *dump(pid_t pid)
{
	return ask("dump --json", pid);
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

/* The first object of an array in which that field says so; NULL: none. */
static json_t *one_that(const json_t *array, const char *field, const char *says)
{
	json_t *one;
	size_t i;

	json_array_foreach (array, i, one)
		if (strcmp(text_of(one, field), says) == 0)
			return one;
	return NULL;
}

static json_t *thread_that(const json_t *dump, const char *state)
{
	return one_that(json_object_get(dump, "threads"), "state", state);
}

static const char *held_by(const json_t *dump)
{
	return text_of(json_array_get(json_object_get(dump, "gils"), 0), "held_by");
}

static json_t *finding(const json_t *report, const char *pattern)
{
	return one_that(json_object_get(report, "findings"), "pattern", pattern);
}

/* What cannot be of a process that did nothing: that it computes, lets go late, waits for hand-overs, or could do more work. */
static void expect_no_nonsense(const json_t *report)
{
	static const char *const never[] = {"one_thread", "cpu_sharing", "long_hold", "blocked_hold", "handover", "fine",
					     "convoy"};

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		cr_expect_null(finding(report, never[i]), "%s: %s", never[i], json_dumps(report, JSON_COMPACT));
	cr_expect_not(json_is_number(json_object_get(report, "gain_max")), "%s", json_dumps(report, JSON_COMPACT));
	cr_expect_str_eq(text_of(report, "gain"), "");
}

static double number(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

/* The newest line of that type of a tool's --json. */
static json_t *last_line(const struct tool *t, const char *type)
{
	char *out = tool__stdout(t), *line, *rest = out;
	json_t *found = NULL, *json;

	while ((line = strsep(&rest, "\n"))) {
		json = json_loads(line, 0, NULL);
		if (json && strcmp(text_of(json, "type"), type) == 0) {
			json_decref(found);
			found = json;
		} else {
			json_decref(json);
		}
	}
	free(out);
	return found;
}

/* ---- the holder is gone ---- */

/* Who has the GIL for ever, and that the one that waits is seen to. */
static void expect_gone(const struct interpreter *in, const char *how, const char *as)
{
	json_t *said, *holder, *waiter;
	struct stuck s;

	start_in(&s, in, how);
	said = dump(s.pid);
	holder = thread_that(said, "holds");
	waiter = thread_that(said, "waits");
	cr_expect_str_eq(held_by(said), as, "%s: %s", in->version, json_dumps(said, JSON_COMPACT));
	/* It is no thread of this process: no id, and nothing of what a thread of another process does. */
	cr_expect(holder && json_integer_value(json_object_get(holder, "tid")) == 0, "%s: %s", in->version,
		  json_dumps(said, JSON_COMPACT));
	cr_expect_str_eq(text_of(holder, "name"), "holder", "%s", in->version);
	cr_expect_null(json_object_get(holder, "native"), "%s", in->version);
	cr_expect_null(json_object_get(holder, "task"), "%s", in->version);
	cr_expect(waiter && json_integer_value(json_object_get(waiter, "tid")) == s.waiter, "%s: %s", in->version,
		  json_dumps(said, JSON_COMPACT));
	json_decref(said);
	end(&s);
}

static void expect_gone_on_all(const char *how, const char *as)
{
	struct interpreter all[INTERPRETERS_MAX];
	size_t n = interpreters__find(all, INTERPRETERS_MAX);

	for (size_t i = 0; i < n; i++)
		if (!all[i].free_threaded)
			expect_gone(&all[i], how, as);
}

Test(stuck, dump_says_that_a_holder_has_ended_with_the_gil)
{
	expect_gone_on_all("ended", "ended");
}

Test(stuck, dump_says_that_a_holder_was_left_behind_by_fork)
{
	expect_gone_on_all("forked", "left_by_fork");
}

static void expect_report_of_gone(json_t *said, const char *as, const char *how)
{
	json_t *found = finding(said, "gone_holder");

	cr_expect_not_null(found, "%s: %s", how, json_dumps(said, JSON_COMPACT));
	cr_expect_str_eq(text_of(json_object_get(said, "holding"), "held_by"), as, "%s", how);
	cr_expect_not_null(strstr(text_of(found, "evidence"), "1 thread waits for ever"), "%s", text_of(found, "evidence"));
	cr_expect_not_null(strstr(text_of(found, "evidence"), "(holder)"), "%s", text_of(found, "evidence"));
	expect_no_nonsense(said);
	json_decref(said);
}

/* Looking, and what is stored of it, agree. */
Test(stuck, report_says_that_the_holder_is_gone, .timeout = 300)
{
	static const char *const kinds[][2] = {{"ended", "ended"}, {"forked", "left_by_fork"}};

	for (size_t i = 0; i < 2; i++) {
		struct stuck s;
		struct tool t;
		char words[64];

		start(&s, kinds[i][0]);
		expect_report_of_gone(ask("report --json --duration 1s", s.pid), kinds[i][1], kinds[i][0]);
		snprintf(words, sizeof(words), "attach --interval 500ms %d", (int)s.pid);
		tool__start(&t, words);
		tool__await(&t, "nobody can take it");
		sleep(1);
		/* It is observed: report asks Redis. */
		expect_report_of_gone(ask("report --json", s.pid), kinds[i][1], "stored");
		kill(t.pid, SIGINT);
		cr_expect_eq(tool__wait(&t, 60), 0);
		tool__clear(&t);
		end(&s);
	}
}

/* A program started by "gilscope run", with an input that stays open; what it says is on gilscope's own output. */
static void start_run(struct stuck *s, struct tool *t, const char *how)
{
	char words[192], script[96], *out, *line = NULL;

	snprintf(script, sizeof(script), "%s/with-input", dir);
	must_run("mkfifo %s/input && printf '#!/bin/sh\nexec \"$@\" <>%s/input\n' >%s && chmod +x %s", dir, dir, script, script);
	snprintf(words, sizeof(words), "run --children --no-store --json --interval 200ms --output %s/lines -- /usr/bin/python3 "
		 "tests/workloads/stuck.py %s", dir, how);
	tool__start_under(t, script, words);
	for (int i = 0; !line && i < 3000; i++) {
		usleep(20000);
		out = tool__stdout(t);
		line = strstr(out, "{");
		s->truth = line && strchr(line, '\n') ? json_loads(line, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
		line = s->truth ? line : NULL;
		free(out);
	}
	cr_assert_not_null(s->truth);
	s->pid = (pid_t)truth__int(s->truth, "pid");
	s->holder = (pid_t)truth__int(s->truth, "holder");
}

/* The newest interval of that process in which somebody held as `as` says. */
static bool is_told(pid_t pid, const char *as)
{
	char path[96], line[65536];
	bool told = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/lines", dir);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		json_t *json = json_loads(line, 0, NULL);

		told |= json && json_integer_value(json_object_get(json, "pid")) == pid &&
			strcmp(text_of(json_object_get(json, "holding"), "held_by"), as) == 0;
		json_decref(json);
	}
	if (f)
		fclose(f);
	return told;
}

/* Its probes are its parent's, and so is the one that has its GIL: no event tells of that. */
Test(stuck, run_says_of_a_child_that_its_holder_was_left_behind_by_fork, .timeout = 300)
{
	char left[128];
	struct stuck s;
	struct tool t;

	start_run(&s, &t, "forked");
	snprintf(left, sizeof(left), "the GIL of process %d is held by ", (int)s.pid);
	tool__await(&t, left);
	for (int i = 0; !is_told(s.pid, "left_by_fork") && i < 3000; i++)
		usleep(20000);
	cr_expect(is_told(s.pid, "left_by_fork"));
	cr_expect_not(is_told(procstat__parent(s.pid), "left_by_fork"), "of the parent that would be wrong");
	kill(procstat__parent(s.pid), SIGKILL);
	cr_expect_eq(tool__wait(&t, 60), 128 + SIGKILL);
	json_decref(s.truth);
	tool__clear(&t);
}

/* It happens before our eyes: who waits waits for the one that has ended, not for a hand-over. */
Test(stuck, who_ends_with_the_gil_keeps_it)
{
	struct interpreter stock;
	struct stuck s = {0};
	struct tool t;
	char words[96];
	json_t *said, *thread, *pair;
	bool seen = false, blamed = false;
	size_t i;

	interpreter__stock(&stock);
	workload__start(&s.w, &stock, "stuck.py ended --late");
	s.pid = s.w.pid;
	snprintf(words, sizeof(words), "attach --json --no-store --mode full --interval 500ms %d", (int)s.pid);
	tool__start(&t, words);
	tool__await(&t, "armed");
	workload__go(&s.w);
	workload__await_ready(&s.w);
	hear_truth(&s);
	tool__await(&t, "has ended without releasing it");
	sleep(1);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0);
	said = last_line(&t, "interval");
	cr_expect_str_eq(text_of(json_object_get(said, "holding"), "held_by"), "ended", "%s", json_dumps(said, JSON_COMPACT));
	cr_expect_eq(number(json_object_get(said, "process"), "handover"), 0);
	json_array_foreach (json_object_get(said, "threads"), i, thread)
		seen |= number(thread, "tid") == s.holder && strcmp(text_of(thread, "name"), "holder") == 0;
	cr_expect(seen, "%s", json_dumps(said, JSON_COMPACT));
	json_array_foreach (json_object_get(said, "blame"), i, pair)
		blamed |= number(json_object_get(pair, "holder"), "tid") == s.holder;
	cr_expect(blamed, "%s", json_dumps(said, JSON_COMPACT));
	json_decref(said);
	tool__clear(&t);
	end(&s);
}

/* ---- the holder sleeps ---- */

Test(stuck, dump_says_in_which_call_a_holder_sleeps)
{
	static const char *const calls[][2] = {{"mutex", "futex"}, {"read", "read"}};

	for (size_t i = 0; i < 2; i++) {
		json_t *said, *holder;
		struct stuck s;

		start(&s, calls[i][0]);
		said = dump(s.pid);
		holder = thread_that(said, "holds");
		cr_expect_str_eq(held_by(said), "thread");
		cr_expect(holder && json_integer_value(json_object_get(holder, "tid")) == s.holder, "%s",
			  json_dumps(said, JSON_COMPACT));
		cr_expect_str_eq(text_of(json_object_get(holder, "task"), "state"), "S");
		cr_expect_str_eq(text_of(json_object_get(holder, "task"), "call"), calls[i][1]);
		json_decref(said);
		end(&s);
	}
}

/* ---- the process stands still ---- */

Test(stuck, dump_says_that_a_process_is_stopped_and_that_it_is_no_longer)
{
	json_t *said;
	struct stuck s;

	start(&s, "spin");
	cr_assert_eq(kill(s.pid, SIGSTOP), 0);
	said = dump(s.pid);
	cr_expect_str_eq(text_of(said, "standstill"), "stopped", "%s", json_dumps(said, JSON_COMPACT));
	cr_expect_str_eq(text_of(json_object_get(thread_that(said, "holds"), "task"), "state"), "T");
	json_decref(said);
	cr_assert_eq(kill(s.pid, SIGCONT), 0);
	said = dump(s.pid);
	cr_expect_null(json_object_get(said, "standstill"));
	json_decref(said);
	end(&s);
}

Test(stuck, report_says_that_nothing_runs, .timeout = 300)
{
	json_t *said, *found;
	struct stuck s;

	start(&s, "spin");
	cr_assert_eq(kill(s.pid, SIGSTOP), 0);
	said = ask("report --json --duration 1s", s.pid);
	found = finding(said, "standstill");
	cr_expect_not_null(strstr(text_of(found, "evidence"), "stopped by a signal (SIGSTOP)"), "%s",
			   json_dumps(said, JSON_COMPACT));
	cr_expect_str_eq(text_of(said, "gil_bound"), "unknown");
	expect_no_nonsense(said);
	json_decref(said);
	end(&s);
}

/* A stop in the middle, which ends: told when it begins and when it ends, for as long as it was at most, and nobody's fault. */
Test(stuck, a_stop_in_the_middle_is_told_and_measured, .timeout = 300)
{
	struct timespec from, to;
	double still, stopped;
	json_t *said;
	struct stuck s;
	struct tool t;
	char words[96];

	start(&s, "spin");
	snprintf(words, sizeof(words), "attach --json --no-store --mode full %d", (int)s.pid);
	tool__start(&t, words);
	tool__await(&t, "armed");
	clock_gettime(CLOCK_MONOTONIC, &from);
	kill(s.pid, SIGSTOP);
	tool__await(&t, "is stopped by a signal (SIGSTOP)");
	sleep(1);
	kill(s.pid, SIGCONT);
	clock_gettime(CLOCK_MONOTONIC, &to);
	tool__await(&t, "runs again");
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0);
	said = last_line(&t, "summary");
	still = number(json_object_get(said, "process"), "stopped");
	stopped = (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
	cr_expect(still > 0 && still <= stopped, "%.0f us of %.0f", still, stopped);
	cr_expect_null(json_object_get(json_object_get(said, "holding"), "standstill"), "%s", json_dumps(said, JSON_COMPACT));
	json_decref(said);
	tool__clear(&t);
	end(&s);
}

/* ---- a hold from before ---- */

Test(stuck, report_names_a_hold_from_before_and_what_it_sleeps_in, .timeout = 300)
{
	static const char *const calls[][2] = {{"mutex", "futex"}, {"read", "read"}};

	for (size_t i = 0; i < 2; i++) {
		json_t *said, *found;
		struct stuck s;
		char call[32];

		start(&s, calls[i][0]);
		said = ask("report --json --duration 2s", s.pid);
		found = finding(said, "stuck_holder");
		snprintf(call, sizeof(call), "asleep in %s", calls[i][1]);
		cr_expect_not_null(strstr(text_of(found, "evidence"), "since before gilscope looked"), "%s",
				   json_dumps(said, JSON_COMPACT));
		cr_expect_not_null(strstr(text_of(found, "evidence"), call), "%s", text_of(found, "evidence"));
		cr_expect_not_null(strstr(text_of(found, "evidence"), "1 thread waits for it"), "%s", text_of(found, "evidence"));
		cr_expect_not_null(strstr(text_of(found, "evidence"), "holder (stuck.py:"), "%s",
				   text_of(found, "evidence"));
		cr_expect_str_eq(text_of(found, "name"), "holder");
		cr_expect_geq(number(said, "hold_blocked"), 0.5 * number(said, "hold"));
		cr_expect_eq(number(said, "hold_preempted"), 0, "%s", json_dumps(said, JSON_COMPACT));
		expect_no_nonsense(said);
		json_decref(said);
		end(&s);
	}
}

/* It ends while it is observed: what was seen of it stays, and it goes on no longer. */
Test(stuck, a_hold_from_before_that_ends_was_asleep, .timeout = 300)
{
	json_t *said, *process;
	struct stuck s;
	struct tool t;
	char words[96];

	start(&s, "read");
	snprintf(words, sizeof(words), "attach --json --no-store --mode full %d", (int)s.pid);
	tool__start(&t, words);
	tool__await(&t, "armed");
	sleep(2);
	workload__say(&s.w, "go");
	workload__truth(&s.w);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0);
	said = last_line(&t, "summary");
	process = json_object_get(said, "process");
	cr_expect_gt(number(process, "hold_blocked"), 0, "%s", json_dumps(said, JSON_COMPACT));
	/* On a CPU it was for no longer than the process was. */
	cr_expect_leq(number(process, "hold") - number(process, "hold_blocked") - number(process, "hold_preempted") -
		      number(process, "hold_unseen"), number(process, "cpu") + 20000, "%s", json_dumps(said, JSON_COMPACT));
	cr_expect_null(json_object_get(json_object_get(said, "holding"), "held_by"), "%s", json_dumps(said, JSON_COMPACT));
	json_decref(said);
	tool__clear(&t);
	end(&s);
}

/* Beside a thread of higher rank on its only CPU: it wants to run and may not, and is not said to compute. */
Test(stuck, a_starved_hold_from_before_had_no_cpu, .timeout = 300)
{
	struct sched_param idle = {0};
	cpu_set_t one;
	json_t *said;
	struct stuck s;
	pid_t rival;

	start(&s, "spin");
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	rival = fork();
	if (rival == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sched_setaffinity(0, sizeof(one), &one);
		for (;;)
			;
	}
	cr_assert_eq(sched_setaffinity(s.holder, sizeof(one), &one), 0);
	cr_assert_eq(sched_setscheduler(s.holder, SCHED_IDLE, &idle), 0);
	said = ask("report --json --duration 2s", s.pid);
	cr_expect_not_null(finding(said, "starved_holder"), "%s", json_dumps(said, JSON_COMPACT));
	cr_expect_geq(number(said, "hold_preempted"), 0.5 * number(said, "hold"));
	cr_expect_null(finding(said, "one_thread"));
	cr_expect_null(finding(said, "stuck_holder"));
	kill(rival, SIGKILL);
	waitpid(rival, NULL, 0);
	json_decref(said);
	end(&s);
}
