/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What each program in gil.bpf.c must be, whatever it does: safe where it can be preempted
 * (bpf/no_private_stack.bpf.h). The same of the form for older kernels (bpf/gil_older.bpf.c).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "bpf/gil_types.h"
#include "collector/probes/probes_inside.h"
#include "collector/probes/stack_limit.h"
#include "../support/bpf_env.h"
#include "gil.skel.h"
#include "gil_test.skel.h"
#include "gil_test_older.skel.h"
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

static void expect_no_private_stacks(bool older)
{
	struct gil_bpf *skel = probes_programs__open(older);
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

Test(programs, each_at_a_uprobe_may_make_a_tail_call_and_so_has_no_private_stack)
{
	expect_no_private_stacks(false);
	expect_no_private_stacks(true);
}

/* ---- the form for older kernels ------------------------------------------------------------------------------------- */

#define LAST_HELPER_OF_5_15 BPF_FUNC_task_pt_regs /* they are numbered in the order in which they came */
#define LAST_MAP_OF_5_15 BPF_MAP_TYPE_TASK_STORAGE

/* What an instruction needs that Linux 5.15 has not, or NULL. */
static const char *beyond_5_15(const struct bpf_insn *insn)
{
	bool call = insn->code == (BPF_JMP | BPF_CALL);

	if (call && insn->src_reg == BPF_PSEUDO_KFUNC_CALL)
		return "a function of the kernel's";
	if (call && !insn->src_reg && insn->imm > LAST_HELPER_OF_5_15)
		return "a helper";
	if (insn->code == (BPF_LD | BPF_IMM | BPF_DW) && insn->src_reg == BPF_PSEUDO_FUNC)
		return "a callback";
	return NULL;
}

static size_t expect_nothing_beyond_5_15(const struct bpf_program *program)
{
	const struct bpf_insn *insns = bpf_program__insns(program);
	size_t n = bpf_program__insn_cnt(program);

	for (size_t i = 0; i < n; i++)
		cr_expect_null(beyond_5_15(&insns[i]), "%s, instruction %zu: %s (%d)", bpf_program__name(program), i,
			       beyond_5_15(&insns[i]), insns[i].imm);
	return n;
}

/* Loaded, so that each program has its functions behind it. */
Test(programs, the_form_for_older_kernels_needs_nothing_that_linux_5_15_lacks)
{
	struct gil_bpf *skel = probes_programs__open(true);
	struct bpf_program *program;
	struct bpf_map *map;
	size_t insns = 0;

	cr_assert_not_null(skel);
	skel->rodata->cfg_stacks = true;
	skel->rodata->cfg_trace = true;
	cr_assert_eq(gil_bpf__load(skel), 0, "%s", strerror(errno));
	bpf_object__for_each_program(program, skel->obj)
		insns += expect_nothing_beyond_5_15(program);
	cr_expect_gt(insns, 1000);
	bpf_object__for_each_map(map, skel->obj)
		cr_expect_leq(bpf_map__type(map), LAST_MAP_OF_5_15, "map %s", bpf_map__name(map));
	gil_bpf__destroy(skel);
}

/* Name and place of each variable of a section, in its order. */
static void list_variables(const struct bpf_object *object, const char *section, char *buf, size_t size)
{
	const struct btf *btf = bpf_object__btf(object);
	int id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);
	const struct btf_type *t = id > 0 ? btf__type_by_id(btf, (__u32)id) : NULL;
	const struct btf_var_secinfo *var = t ? btf_var_secinfos(t) : NULL;
	size_t len = 0;

	buf[0] = '\0';
	for (int i = 0; t && i < btf_vlen(t) && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s %u+%u\n",
					btf__name_by_offset(btf, btf__type_by_id(btf, var[i].type)->name_off), var[i].offset,
					var[i].size);
	cr_assert_lt(len, size);
}

static void list_contents(struct bpf_object *object, char *buf, size_t size)
{
	struct bpf_program *program;
	struct bpf_map *map;
	size_t len = 0;

	bpf_object__for_each_map(map, object)
		if (!bpf_map__is_internal(map) && len < size)
			len += (size_t)snprintf(buf + len, size - len, "map %s: %u %u\n", bpf_map__name(map),
						bpf_map__key_size(map), bpf_map__value_size(map));
	bpf_object__for_each_program(program, object)
		if (len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s\n", bpf_program__name(program));
	cr_assert_lt(len, size);
}

static void expect_same_layout(struct bpf_object *a, struct bpf_object *b)
{
	static const char *const sections[] = {".rodata", ".bss", ".data"};
	char first[4096], second[4096];

	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		list_variables(a, sections[i], first, sizeof(first));
		list_variables(b, sections[i], second, sizeof(second));
		cr_expect_str_eq(first, second, "%s", sections[i]);
		cr_expect(i > 1 || first[0], "%s is empty", sections[i]);
	}
	list_contents(a, first, sizeof(first));
	list_contents(b, second, sizeof(second));
	cr_expect_str_eq(first, second);
}

/* One skeleton serves both. */
Test(programs, both_forms_have_the_same_maps_programs_and_variables)
{
	struct gil_bpf *newer = probes_programs__open(false), *older = probes_programs__open(true);
	struct gil_test_bpf *core = gil_test_bpf__open();
	struct gil_test_older_bpf *core_older = gil_test_older_bpf__open();

	cr_assert(newer && older && core && core_older);
	expect_same_layout(newer->obj, older->obj);
	expect_same_layout(core->obj, core_older->obj);
	gil_bpf__destroy(newer);
	gil_bpf__destroy(older);
	gil_test_bpf__destroy(core);
	gil_test_older_bpf__destroy(core_older);
}

/* ---- the limit of the stack ----------------------------------------------------------------------------------------- */

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

/* ---- with a shadow stack -------------------------------------------------------------------------------------------- */

/* Where no process can have one, a child of ours can't either: then nothing is claimed, and nobody is harmed. */
Test(programs, what_they_do_to_a_shadow_stack_is_tried_once_it_matters)
{
	const struct probes_opts opts = {.max_procs = 1};
	struct probes *probes = NULL;
	struct reason why = {{0}};
	enum shadow_fate fate;

	cr_assert_eq(probes__open(&opts, &probes, &why), 0, "%s", why.text);
	cr_expect_eq(probes->shadow_fate, SHADOW_UNTRIED);
	fate = probes__shadow_fate(probes);
	cr_expect_neq(fate, SHADOW_UNTRIED);
	cr_expect_eq(fate == SHADOW_UNKNOWN, !shadow_stack__possible());
	cr_expect_eq(probes__shadow_fate(probes), fate);
	cr_expect(probes__are_alive(probes));
	probes__close(probes);
}
