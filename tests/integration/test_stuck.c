/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes that hang or stand still, looked at when that is so already, or while it happens: what dump, report, attach and top
 * say of them. Who holds and what becomes of it is known from inside (stuck.py); who stops it, is this test.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/interpreters.h"
#include "../support/json_lines.h"
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
	struct tool t;
	json_error_t error;
	char words[128], *out;
	json_t *json;

	snprintf(words, sizeof(words), "%s %d", verb, (int)pid);
	cr_assert_eq(tool__run(&t, words), 0, "%s: %s", words, tool__stderr(&t));
	out = tool__stdout(&t);
	json = json_loads(out, 0, &error);
	cr_assert_not_null(json, "%s: %s", error.text, out);
	free(out);
	tool__clear(&t);
	return json;
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

/* The thread of a dump in that state; NULL: none. */
static json_t *thread_that(const json_t *dump, const char *state)
{
	json_t *thread;
	size_t i;

	json_array_foreach (json_object_get(dump, "threads"), i, thread)
		if (strcmp(text_of(thread, "state"), state) == 0)
			return thread;
	return NULL;
}

static const char *held_by(const json_t *dump)
{
	return text_of(json_array_get(json_object_get(dump, "gils"), 0), "held_by");
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
