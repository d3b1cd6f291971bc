/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a machine can't try is left out and counted apart, and nothing else is: run-suite where it has lost the right to load BPF,
 * asked for a test that needs it and one that does not.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "../support/program.h"
#include "../support/pythons.h"

TestSuite(applicable, .timeout = 300);

#define LACKS "1 need BPF and uprobes (loading a BPF program: Operation not permitted (not root?))\n1 not applicable\n"
#define NEEDS_BPF "cli/run_passes_on_the_commands_status"
#define NEEDS_NOTHING "cli/help_and_version_are_data"

/* This process is a worker of Criterion, that one is not. */
static void run_suite(struct program *p, const char *env, const char *tests)
{
	char dir[128];

	temp_dir__make(dir, sizeof(dir));
	program__run(p, "unset BXFI_MAP REQUIRE_BPF; %s RESULTS=%s FILTER='%s' setpriv --bounding-set -sys_admin,-bpf,-perfmon "
		     "--inh-caps -sys_admin,-bpf,-perfmon tests/support/run-suite integration", env, dir, tests);
	temp_dir__remove(dir);
}

static void expect_end(const struct program *p, const char *end)
{
	size_t len = strlen(end);

	cr_expect(strlen(p->out) >= len && strcmp(p->out + strlen(p->out) - len, end) == 0, "instead of %s: %s%s", end, p->out,
		  p->err);
}

/* Said when it happens and once more before the counts, which may be all that is left of a long output. */
static void expect_failure_at_the_end(const struct program *p, const char *failure)
{
	const char *first = strstr(p->out, failure);
	const char *again = first ? strstr(first + 1, failure) : NULL;

	cr_assert(again, "not twice \"%s\": %s%s", failure, p->out, p->err);
	cr_expect_eq(strncmp(strchr(again, '\n'), "\n0 not applicable\n", strlen("\n0 not applicable\n")), 0, "%s", p->out);
}

Test(applicable, what_a_machine_lacks_is_neither_passed_nor_failed_nor_skipped)
{
	struct program p;

	run_suite(&p, "GILSCOPE_NO_SKIPS=1", "@(" NEEDS_BPF "|" NEEDS_NOTHING ")");
	cr_expect_eq(p.status, 0, "%s%s", p.out, p.err);
	expect_end(&p, LACKS "1 passed, 0 failed, 0 skipped\n");
	program__free(&p);
}

Test(applicable, it_is_a_failure_where_nothing_is_lacking)
{
	struct program p;

	run_suite(&p, "GILSCOPE_ALL_APPLY=1", "@(" NEEDS_BPF "|" NEEDS_NOTHING ")");
	cr_expect_eq(p.status, 1);
	expect_end(&p, LACKS "1 passed, 1 failed, 0 skipped\n");
	program__free(&p);
	run_suite(&p, "REQUIRE_BPF=1", NEEDS_BPF);
	cr_expect_eq(p.status, 1);
	expect_end(&p, "0 not applicable\n0 passed, 1 failed, 0 skipped\n");
	expect_failure_at_the_end(&p, "[FAIL] cli::run_passes_on_the_commands_status");
	program__free(&p);
}

Test(applicable, a_run_of_nothing_else_is_no_success)
{
	struct program p;

	run_suite(&p, "", NEEDS_BPF);
	cr_expect_eq(p.status, 1);
	expect_end(&p, LACKS "0 passed, 0 failed, 0 skipped\n");
	program__free(&p);
}
