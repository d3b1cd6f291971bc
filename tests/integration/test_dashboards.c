/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The dashboards: what can be said of their text, and each of their queries against a server with a history. The checks
 * are Python (tests/dashboards), since what they are about is JSON and text.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/seeded.h"

TestSuite(dashboards, .timeout = 300);

static void expect_well(const char *command)
{
	struct program p;

	program__run(&p, "%s", command);
	cr_expect_eq(p.status, 0, "%s\n%s", p.out, p.err);
	program__free(&p);
}

Test(dashboards, text_obeys_the_rules)
{
	expect_well("python3 tests/dashboards/static.py");
}

Test(dashboards, every_query_answers_as_the_program_does)
{
	struct private_redis redis;
	struct seeded *truth;
	char command[512];

	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	truth = seeded__write(&redis);
	/* Not on a minute: ranges are not in life either. */
	snprintf(command, sizeof(command), "python3 tests/dashboards/queries.py %s %lld %lld", redis.socket,
		 (long long)seeded__end_ms(truth, 33), (long long)seeded__end_ms(truth, SEEDED_SECONDS - 1));
	expect_well(command);
	seeded__free(truth);
	private_redis__fini(&redis);
}
