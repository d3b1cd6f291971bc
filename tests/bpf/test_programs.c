/* SPDX-License-Identifier: GPL-2.0-only */
/* What every program in gil.bpf.c must be, whatever it does: safe where it can be preempted (bpf/no_private_stack.bpf.h). */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../../bpf/gil_types.h"
#include "../../collector/stack_limit.h"
#include "../support/bpf_env.h"
#include "gil.skel.h"
#include "stack_limit.skel.h"

TestSuite(programs, .init = bpf_env__require);

static bool calls(const struct bpf_program *program, int helper)
{
	const struct bpf_insn *insns = bpf_program__insns(program);

	for (size_t i = 0; i < bpf_program__insn_cnt(program); i++)
		if (insns[i].code == (BPF_JMP | BPF_CALL) && !insns[i].src_reg && insns[i].imm == helper)
			return true;
	return false;
}

Test(programs, each_at_a_uprobe_may_make_a_tail_call_and_so_has_no_private_stack)
{
	struct gil_bpf *skel = gil_bpf__open();
	struct bpf_program *program;
	int seen = 0;

	cr_assert_not_null(skel);
	bpf_object__for_each_program(program, skel->obj) {
		if (bpf_program__type(program) != BPF_PROG_TYPE_KPROBE)
			continue;
		seen++;
		cr_expect(calls(program, BPF_FUNC_tail_call), "%s may not", bpf_program__name(program));
	}
	cr_expect_gt(seen, 0);
	gil_bpf__destroy(skel);
}

/* Loads one of the two: 0 or -errno. */
static int load_one(bool large)
{
	struct stack_limit_bpf *skel = stack_limit_bpf__open();
	int err;

	cr_assert_not_null(skel);
	bpf_program__set_autoload(skel->progs.large, large);
	bpf_program__set_autoload(skel->progs.small, !large);
	err = stack_limit_bpf__load(skel);
	stack_limit_bpf__destroy(skel);
	return err;
}

/* One is refused for nothing but its stack, since the other one is taken. */
Test(programs, the_running_kernel_limits_the_stack_of_those_that_may)
{
	struct reason why = {0};

	libbpf_set_print(NULL);
	cr_expect_eq(load_one(false), 0);
	cr_expect_lt(load_one(true), 0);
	cr_expect_eq(stack_limit__check(false, &why), 0, "%s", why.text);
}
