/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packages as people use them, from the distribution: what gilscope tells of holds and threads against the clocks inside of the
 * programs (tests/packages/). `make test-packages` does the same with newer ones, from the package registry, and judges findings.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "../support/bpf_env.h"
#include "../support/program.h"
#include "../support/pythons.h"

static char dir[64];

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	setenv("RESULTS", dir, 1);
	setenv("OUTPUT", getenv("GILSCOPE_OUTPUT") ?: ".output", 1);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(packages, .init = set_up, .fini = tear_down, .timeout = 180);

static void expect_as_clocked(const char *program)
{
	struct program p;

	program__run(&p, "/usr/bin/python3 tests/packages/judge.py --numbers /usr/bin/python3 %s", program);
	cr_expect_eq(p.status, 0, "%s%s", p.out, p.err);
	program__free(&p);
}

Test(packages, gevent_computes_in_one_of_its_green_threads)
{
	expect_as_clocked("gevent_greedy");
}

Test(packages, grpc_computes_in_a_pool_of_threads)
{
	expect_as_clocked("grpc_pool");
}

Test(packages, lxml_keeps_the_gil_in_one_call_and_lets_go_in_others)
{
	expect_as_clocked("lxml_tree");
}

Test(packages, uvloop_sleeps_with_the_gil)
{
	expect_as_clocked("uvloop_asleep");
}
