/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which tests need what a machine may lack (machine.h). Criterion's runner probes the machine before it starts a test, and leaves
 * out what can't be tried there: "not applicable", neither a skip nor a pass. A test has no way to say that of itself.
 *
 * What was found is written to the file that GILSCOPE_APPLICABLE names, for run-suite: how many tests there are, how many the
 * filter has left out, and a line for each that is not applicable. Tests do not see that name.
 */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <criterion/internal/ordered-set.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

/* `tests` is a pattern for SUITE/TEST as FILTER takes it, in the program tests/`folder`. Each must match a test. */
static const struct need {
	enum machine_row row;
	const char *folder;
	const char *tests;
} needs[] = {
	{MACHINE_BPF, "bpf", "*"},
	{MACHINE_BPF, "integration", "@(all|bad_input|chain|churn|containers|daemon|embedded|exact|fallbacks|families|flame|gc|gils|history)/*"},
	{MACHINE_BPF, "integration", "@(long_holds|modes|off_cpu|older|rendered|report|run|safety|trace_program|truth|usage)/*"},
	{MACHINE_BPF, "integration", "@(guard|hostile|metrics_served|outfile|packages|patched|points|processes|rights|runtimes|secrets|shares|sight)/*"},
	{MACHINE_BPF, "integration", "@(ways|budgets)/with_bpf_*"},
	{MACHINE_BPF, "integration", "cli/@(a_reader_that_left|a_shell_that_wraps|doctor_tries)_*"},
	{MACHINE_BPF, "integration", "native/dump_names_a_computation_*"},
	{MACHINE_BPF, "integration", "cli/@(a_fatal_signal|attach|ctrl_c|key_of|light_mode|query|redis|run|sigterm|the_lines)_*"},
	{MACHINE_BPF, "integration", "names/@(are_found_in_another_pid_namespace|are_the_kernels_*|reach_the_samples_*)"},
	{MACHINE_BPF, "integration", "native/!(dump_*)"},
	{MACHINE_BPF, "integration", "stuck/!(dump_*)"},
	{MACHINE_BPF, "integration", "stacks/@(in_light_mode|name|share)_*"},
	{MACHINE_BPF, "integration", "top/!(shows_what_redis_has_*|refuses_*|redis_may_go_away_*|needs_a_terminal)"},
	{MACHINE_BPF_LOOP, "bpf", "@(comings|core|core_light|core_stacks|core_trace)/*"},
	{MACHINE_BPF_LOOP, "bpf", "budget/every_program_fits_what_linux_6_1_allows"},
	{MACHINE_BPF_LOOP, "integration", "older/*_as_the_newer_form_does"},
	{MACHINE_BPF_LOOP, "integration", "older/*_that_the_newer_form_sees"},
	{MACHINE_ROOT, "integration", "store_rights/*"},
	{MACHINE_ROOT, "integration", "store/store_of_another_user_is_refused_in_words"},
	{MACHINE_ROOT, "integration", "store/directory_that_another_user_made_under_our_name_is_not_believed"},
	{MACHINE_ROOT, "integration", "cli/doctor_without_rights_says_what_it_could_not_check"},
	{MACHINE_ROOT, "integration", "cli/doctor_names_lockdown"},
	{MACHINE_ROOT, "integration", "applicable/*"},
	{MACHINE_ROOT, "integration", "deb/is_installed_*"},
	{MACHINE_ROOT, "integration", "ways/@(of|in)_*"},
	{MACHINE_ROOT, "unit", "errand/that_one_users_processes_*"},
	{MACHINE_X86_64, "unit", "arm64/a_process_of_another_machine_is_refused"},
	{MACHINE_PROGRAMS_32, "integration", "bad_input/program_of_32_bits"},
	{MACHINE_PROGRAMS_32, "unit", "target/a_32_bit_program_is_refused"},
	{MACHINE_PID_NAMESPACES, "unit", "target/ids_of_another_pid_namespace_are_told_both_ways"},
	{MACHINE_BPF, "integration", "withheld/*"},
	{MACHINE_FUSE, "integration", "withheld/!(*that_nobody_fills_in*|*that_is_stopped*)"},
	{MACHINE_USERFAULTFD, "integration", "withheld/*that_nobody_fills_in*"},
	{MACHINE_GEVENT, "integration", "packages/gevent_*"},
	{MACHINE_GRPC, "integration", "packages/grpc_*"},
	{MACHINE_LXML, "integration", "packages/lxml_*"},
	{MACHINE_UVLOOP, "integration", "packages/uvloop_*"},
	{MACHINE_WITHOUT_GIL, "integration", "gils/none_is_said_*"},
	{MACHINE_WITHOUT_GIL, "unit", "park_sites/of_*"},
	{MACHINE_KERNEL_THREADS, "unit", "target/a_kernel_thread_is_refused"},
};

#define NEEDS (sizeof(needs) / sizeof(needs[0]))

/* The runner is $OUTPUT/tests/FOLDER-tests. */
static bool is_of_this_program(const struct need *need)
{
	size_t len = strlen(need->folder);

	return strncmp(program_invocation_short_name, need->folder, len) == 0 &&
	       strcmp(program_invocation_short_name + len, "-tests") == 0;
}

/* Under REQUIRE_BPF=1 the tests that need it are to run and to fail. */
static bool is_demanded(enum machine_row row)
{
	const char *required = getenv("REQUIRE_BPF");

	return row == MACHINE_BPF && required && strcmp(required, "1") == 0;
}

struct look {
	char why_not[MACHINE_ROWS_COUNT][MACHINE_REASON];
	bool matched[NEEDS];
	size_t tests, filtered;
	FILE *out;
};

/* The first row that the test needs and this machine lacks; NULL: it is applicable. */
static const struct need *find_lacking(struct look *look, const char *id)
{
	const struct need *lacking = NULL;

	for (size_t i = 0; i < NEEDS; i++) {
		if (!is_of_this_program(&needs[i]) || fnmatch(needs[i].tests, id, FNM_EXTMATCH) != 0)
			continue;
		look->matched[i] = true;
		if (!lacking && look->why_not[needs[i].row][0] && !is_demanded(needs[i].row))
			lacking = &needs[i];
	}
	return lacking;
}

static void look_at(struct look *look, const struct criterion_test *test)
{
	const struct need *lacking;
	char id[512];

	snprintf(id, sizeof(id), "%s/%s", test->category, test->name);
	lacking = find_lacking(look, id);
	look->tests++;
	if (test->data->disabled) {
		look->filtered++;
	} else if (lacking) {
		test->data->disabled = true;
		fprintf(look->out, "lacks\t%s\t%s\t%s\n", id, machine__name(lacking->row), look->why_not[lacking->row]);
	}
}

static void expect_all_matched(const struct look *look)
{
	for (size_t i = 0; i < NEEDS; i++)
		if (is_of_this_program(&needs[i]) && !look->matched[i]) {
			fprintf(stderr, "applicable: no test of %s is called %s\n", needs[i].folder, needs[i].tests);
			exit(1);
		}
}

static FILE *open_report(void)
{
	const char *path = getenv("GILSCOPE_APPLICABLE");
	FILE *out = fopen(path ? path : "/dev/null", "we");

	if (!out) {
		fprintf(stderr, "applicable: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	unsetenv("GILSCOPE_APPLICABLE");
	return out;
}

ReportHook(PRE_ALL)(struct criterion_test_set *set)
{
	struct look look = {.out = open_report()};

	machine__probe(look.why_not);
	FOREACH_SET (struct criterion_suite_set *suite, set->suites)
		FOREACH_SET (struct criterion_test *test, suite->tests)
			look_at(&look, test);
	expect_all_matched(&look);
	fprintf(look.out, "tests\t%zu\nfiltered\t%zu\n", look.tests, look.filtered);
	fclose(look.out);
}
