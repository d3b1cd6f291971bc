/* SPDX-License-Identifier: GPL-2.0-only */
/* Why programs do not load: out of what libbpf and the verifier wrote, in made-up logs as real kernels write them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/probes/load_refusal.h"
#include "collector/process/caps.h"

#define BEGIN "libbpf: prog 'gil_signal': -- BEGIN PROG LOAD LOG --\n"
#define END "-- END PROG LOAD LOG --\n"
#define STATISTICS "verification time 1234 usec\nstack depth 416+0+128\n" \
	"processed 411 insns (limit 1000000) max_states_per_insn 2 total_states 30 peak_states 30 mark_read 11\n"
#define BOTH (CAP_BIT(38) | CAP_BIT(39))

static const char unbounded[] = BEGIN
	"0: (bf) r6 = r1                       ; R1=ctx(off=0,imm=0)\n"
	"211: (85) call bpf_probe_read_user#112\n"
	"R2 unbounded memory access, use 'var &= const' or 'if (var < const)'\n" STATISTICS END;

static void say(struct load_refusal *r, struct reason *why)
{
	static const struct verifier_log nothing;

	r->log = r->log ?: &nothing;
	r->release = "6.1.0-test";
	load_refusal__say(r, why);
}

Test(load_refusal, the_line_that_says_why_is_found_behind_the_statistics)
{
	static const struct {
		char log[320];
		char line[96];
	} cases[] = {
		{"R2 unbounded memory access\n" STATISTICS, "R2 unbounded memory access"},
		{"combined stack size of 2 calls is 528. Too large\n" STATISTICS END, "combined stack size of 2 calls is 528. Too large"},
		{"0: (85) call unknown#181\ninvalid func unknown#181\nprocessed 1 insns (limit 1000000)\n\n", "invalid func unknown#181"},
		{"no newline at its end", "no newline at its end"},
		{STATISTICS END, ""},
		{"", ""},
	};
	char line[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_str_eq(verifier_log__reason(cases[i].log, line, sizeof(line)), cases[i].line, "%zu: %s", i, line);
}

Test(load_refusal, a_line_longer_than_any_is_cut)
{
	char log[2048], line[64];

	memset(log, 'x', sizeof(log));
	log[sizeof(log) - 1] = '\0';
	cr_expect_eq(strlen(verifier_log__reason(log, line, sizeof(line))), sizeof(line) - 1);
}

Test(load_refusal, the_program_that_was_refused_is_known)
{
	struct verifier_log log = {.line = ""};

	verifier_log__take(&log, "libbpf: prog 'gil_signal': BPF program load failed: Permission denied\n");
	cr_expect_str_empty(log.program);
	cr_expect_str_eq(log.last, "libbpf: prog 'gil_signal': BPF program load failed: Permission denied");
	verifier_log__take(&log, unbounded);
	cr_expect_str_eq(log.program, "gil_signal");
	cr_expect_str_eq(log.line, "R2 unbounded memory access, use 'var &= const' or 'if (var < const)'");
	verifier_log__take(&log, "libbpf: failed to load object 'gil_bpf'\n");
	cr_expect_str_eq(log.program, "gil_signal", "what is said later does not replace it");
}

Test(load_refusal, the_verifiers_eacces_is_no_missing_right)
{
	struct verifier_log log = {.line = ""};
	struct load_refusal r = {.err = -EACCES, .effective = BOTH, .log = &log};
	struct reason why;

	verifier_log__take(&log, unbounded);
	say(&r, &why);
	cr_expect_str_eq(why.text, "the verifier of this kernel (6.1.0-test) refuses gilscope's program gil_signal: "
			 "\"R2 unbounded memory access, use 'var &= const' or 'if (var < const)'\"; gilscope -vv doctor shows "
			 "all of it, please report it");
	r.effective = 0;
	say(&r, &why);
	cr_expect_null(strstr(why.text, "root"), "there is a log, so the rights were there: %s", why.text);
}

Test(load_refusal, missing_rights_are_named)
{
	static const struct {
		int err;
		uint64_t effective;
		char part[96];
	} cases[] = {
		{-EPERM, 0, "CAP_BPF and CAP_PERFMON are missing: run gilscope as root (sudo)"},
		{-EACCES, CAP_BIT(39), "CAP_PERFMON is missing"},
		{-EPERM, CAP_BIT(38), "CAP_BPF is missing"},
		{-EPERM, BOTH, "though it has CAP_BPF and CAP_PERFMON: a security module, kernel lockdown"},
		{-EACCES, CAP_BIT(21), "though it has CAP_BPF and CAP_PERFMON"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct load_refusal r = {.err = cases[i].err, .effective = cases[i].effective};
		struct reason why;

		say(&r, &why);
		cr_expect(strstr(why.text, cases[i].part), "%zu: %s", i, why.text);
		cr_expect_null(strstr(why.text, "5.17"), "%s", why.text);
	}
}

Test(load_refusal, other_failures_quote_what_libbpf_said_of_the_cause)
{
	struct verifier_log log = {.line = ""};
	struct load_refusal r = {.err = -EINVAL, .effective = BOTH, .log = &log};
	struct reason why;

	verifier_log__take(&log, "libbpf: extern (func ksym) 'bpf_made_up': not found in kernel or module BTFs\n");
	verifier_log__take(&log, "libbpf: failed to load object 'gil_bpf'\n");
	verifier_log__take(&log, "libbpf: failed to load BPF skeleton 'gil_bpf': -22\n");
	say(&r, &why);
	cr_expect(strstr(why.text, "could not be loaded into this kernel (6.1.0-test): Invalid argument: libbpf: extern "
			 "(func ksym) 'bpf_made_up': not found"), "%s", why.text);
}

static size_t lines_heard, bytes_heard;
static char first_heard[128];

static void hear(const char *sentence)
{
	if (!lines_heard++)
		snprintf(first_heard, sizeof(first_heard), "%s", sentence);
	bytes_heard += strlen(sentence);
}

/* 40 bytes a line. */
static char *long_log(size_t lines)
{
	char *text = malloc(lines * 40 + sizeof(BEGIN END)), *at = text + sprintf(text, BEGIN);

	for (size_t i = 0; i < lines; i++)
		at += sprintf(at, "%-39zu\n", i);
	strcpy(at, END);
	return text;
}

Test(load_refusal, the_whole_log_is_shown_to_who_asks_and_no_more_than_its_end_of_a_huge_one)
{
	struct verifier_log log = {.line = ""};
	char *text = long_log(3);

	log__set_listener(hear);
	verifier_log__take(&log, text);
	cr_expect_eq(lines_heard, 0, "without -vv nothing is shown");
	log__set_level(LOG_DEBUG);
	verifier_log__take(&log, text);
	cr_expect_eq(lines_heard, 5);
	free(text);
	lines_heard = bytes_heard = 0;
	text = long_log(20000);
	verifier_log__take(&log, text);
	cr_expect(strstr(first_heard, "bytes of the log are left out") || strstr(first_heard, "BEGIN"), "%s", first_heard);
	cr_expect_leq(bytes_heard, VERIFIER_LOG_SHOWN + 128);
	cr_expect_gt(bytes_heard, VERIFIER_LOG_SHOWN / 2);
	cr_expect_str_eq(log.line, "19999                                  ");
	free(text);
}
