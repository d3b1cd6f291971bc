/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The workloads tell the truth: a counter preloaded into them, which sees every take and drop of the GIL as the
 * pthread_cond_signal that ends it, agrees with what they say, on every interpreter of the machine.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/counted.h"
#include "../support/interpreters.h"
#include "../support/workload.h"

#define TID_MAX (1 << 22)
#define THREADS_MAX 64

/* Every thread that stood at its gate: one signal per acquire, one per release. */
static void expect_gated_threads_exact(struct workload *w, const uint64_t *before, const struct counted *counts, const char *what)
{
	json_t *threads = json_object_get(workload__truth(w), "threads"), *thread;
	size_t i;

	json_array_foreach (threads, i, thread) {
		long long tid = truth__int(thread, "tid");

		if (json_object_get(thread, "acquires"))
			cr_assert_eq(counted__signals(counts, tid) - before[tid], 2 * (uint64_t)truth__int(thread, "acquires"),
				     "%s: thread %lld", what, tid);
	}
}

/* Threads that came and went, several of them perhaps under one id. */
static void expect_short_lives_exact(struct workload *w, const struct counted *counts, const char *what)
{
	json_t *lives = json_object_get(workload__truth(w), "lives"), *life;
	uint64_t expected = 0, counted = 0;
	char *seen = calloc(TID_MAX, 1);
	size_t i;

	cr_assert_not_null(seen);
	json_array_foreach (lives, i, life) {
		long long tid = json_integer_value(json_array_get(life, 0));

		expected += 2 * (1 + (uint64_t)json_integer_value(json_array_get(life, 1)));
		counted += seen[tid] ? 0 : counted__signals(counts, tid);
		seen[tid] = 1;
	}
	free(seen);
	cr_assert_eq(counted, expected, "%s: short lives", what);
}

static void expect_exact(const struct interpreter *in, const char *command)
{
	static uint64_t before[TID_MAX];
	struct workload w;
	struct counted counts;
	char what[160];

	counted__start(&counts, &w, in, command);
	snprintf(what, sizeof(what), "%s %s", in->version, command);
	cr_assert_eq(pread(counts.fd, before, sizeof(before), 0), (ssize_t)sizeof(before));
	workload__go(&w);
	expect_gated_threads_exact(&w, before, &counts, what);
	expect_short_lives_exact(&w, &counts, what);
	workload__quit(&w);
	counted__end(&counts);
}

ParameterizedTestParameters(workloads, tell_the_truth)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, workloads, tell_the_truth)
{
	static const char *const commands[] = {
		"release_loop.py 20003",
		"release_loop.py 2003 16",
		"release_loop.py 1003 4 --call stat",
		"release_loop.py 1003 4 --call read",
		"release_loop.py 1003 2 --call crc32",
		"release_loop.py 2003 4 --call cycle",
		"hog_victim.py 3 --hold-ms 20",
		"condvar_idle.py 0.1 --pollers 1 --contenders 1",
		"forker.py fork 2 1003",
		"churn.py 100 10 --naps 5",
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		expect_exact(in, commands[i]);
}

Test(workloads, pause_where_they_started_early)
{
	struct interpreter stock;
	struct workload w;
	char *line;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "release_loop.py 503 8 --start-early");
	workload__say(&w, "pause");
	line = workload__hear(&w);
	cr_assert_eq(strncmp(line, "paused {", 8), 0, "%s", line);
	free(line);
	workload__go(&w);
	cr_assert_eq(truth__int(workload__thread(&w, "loop-7"), "acquires"), 504);
	workload__quit(&w);
}

Test(workloads, become_another_program)
{
	struct interpreter stock;
	struct workload w;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "forker.py exec-python release_loop.py 11");
	workload__go(&w);
	workload__await_ready(&w);
	workload__go(&w);
	cr_assert_eq(truth__int(workload__thread(&w, "loop-0"), "calls"), 11);
	workload__quit(&w);

	workload__start(&w, &stock, "forker.py exec-other");
	workload__go(&w);
	workload__await_ready(&w);
	workload__quit(&w);
}

Test(interpreters, run_stripped_too)
{
	struct interpreter found[INTERPRETERS_MAX], bare;
	char dir[] = "/tmp/gilscope-stripped-XXXXXX", command[64];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);
	struct workload w;

	cr_assert_not_null(mkdtemp(dir));
	for (size_t i = 0; i < n; i++) {
		interpreter__strip(&found[i], dir, &bare);
		cr_assert_str_eq(bare.version, found[i].version);
		cr_assert_neq(strcmp(bare.image, found[i].image), 0);
		workload__start(&w, &bare, "release_loop.py 101");
		workload__go(&w);
		cr_assert_eq(truth__int(workload__thread(&w, "loop-0"), "acquires"), 102);
		workload__quit(&w);
	}
	snprintf(command, sizeof(command), "rm -r %s", dir);
	cr_assert_eq(system(command), 0);
}
