/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPU time and memory of the process beside the numbers of its GIL, against getrusage() and /proc/self/statm of the program
 * itself: what it says of a stretch that lies within the observation is a lower bound, of one around it an upper one, however
 * busy the machine is.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define MIB 64
#define SLACK_NS 10000000LL /* a tick: the kernel shares CPU time out between user and system by ticks */
#define SLACK_KIB 4096      /* the kernel counts pages per CPU and adds up now and then */

TestSuite(usage, .init = bpf_env__require, .timeout = 300);

static json_int_t field(const json_t *json, const char *part, const char *name)
{
	const json_t *number = json_object_get(part ? json_object_get(json, part) : json, name);

	cr_assert(json_is_integer(number), "the program does not say its %s", name);
	return json_integer_value(number);
}

Test(usage, cpu_and_rss_are_those_that_the_program_says)
{
	struct interpreter stock;
	struct workload w;
	struct tool t;
	char words[96], *line, *out;
	json_t *truth, *after, *lines, *row;
	json_int_t cpu_ns = 0, rss = 0, within, around;
	size_t i, n = 0;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "usage.py 64 0.5");
	snprintf(words, sizeof(words), "attach %d --interval 100ms --json --no-store", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed in");
	workload__go(&w);
	line = workload__hear(&w);
	truth = json_loads(line, 0, NULL);
	cr_assert_not_null(truth, "%s", line);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0, "%s", tool__stderr(&t));
	after = workload__ask(&w, "usage");
	out = tool__stdout(&t);
	lines = json_lines__parse(out);
	json_array_foreach (lines, i, row) {
		if (strcmp(json_string_value(json_object_get(row, "type")), "interval") != 0)
			continue;
		cpu_ns += json__int(row, "process.cpu") * 1000;
		rss = json__int(row, "process.rss");
		n++;
	}
	cr_assert_gt(n, 0);
	within = field(truth, "end", "cpu_ns") - field(truth, "begin", "cpu_ns");
	around = field(after, NULL, "cpu_ns") - field(truth, "before", "cpu_ns");
	cr_expect_geq(within, 400000000);
	cr_expect(cpu_ns >= within - SLACK_NS && cpu_ns <= around + SLACK_NS, "%lld ns, the program used %lld to %lld",
		  (long long)cpu_ns, (long long)within, (long long)around);
	cr_expect_lt(llabs((long long)(rss - field(truth, "end", "rss_kib"))), SLACK_KIB, "%lld KiB, the program says %lld",
		     (long long)rss, (long long)field(truth, "end", "rss_kib"));
	cr_expect_geq(rss - field(truth, "before", "rss_kib"), MIB * 1024 - SLACK_KIB);
	json_decref(lines);
	json_decref(after);
	json_decref(truth);
	free(out);
	free(line);
	tool__clear(&t);
	workload__quit(&w);
}
