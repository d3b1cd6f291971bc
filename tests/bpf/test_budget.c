/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the running kernel's verifier makes of gilscope's programs, with everything on: instructions, time, and the stack of
 * the deepest chain of functions as Linux 6.1 adds it up (kernel/bpf/verifier.c, check_max_stack_depth()): each frame rounded
 * up to 32 bytes, callbacks like calls, 512 at most. Later kernels with a JIT round to 16 or give private stacks, so that what
 * they take says nothing about 6.1: the sum is made here, of the program's own instructions. So are the ways back that 6.1 takes.
 *
 * GILSCOPE_BUDGET names a file to which a line is added for each program: NAME INSTRUCTIONS MICROSECONDS STACK FRAMES,
 * separated by tabs; those of the form for older kernels (bpf/gil_older.bpf.c) are called NAME-older.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/gil_types.h"
#include "collector/probes/probes_inside.h"
#include "../support/bpf_env.h"
#include "gil.skel.h"

#define STACK_MAX 512
#define FRAME_UNIT 32
#define INSNS_MAX 100000 /* a tenth of what 6.1 takes: another clang may need more than ours */
#define FUNCTIONS_MAX 128
#define LOG_SIZE 65536
#define STATISTICS 4 /* log level: BPF_LOG_STATS */

struct function {
	size_t begin, end;
	unsigned int depth;
};

/* A program, cut into its functions; the first is the one that the kernel calls. */
struct program_body {
	const struct bpf_insn *insns;
	size_t insns_n;
	struct function functions[FUNCTIONS_MAX];
	size_t functions_n;
};

struct chain {
	unsigned int stack;
	char frames[128];
};

TestSuite(budget, .init = bpf_env__require, .timeout = 600);

/* ---- the stack, from the instructions ---- */

/* The instruction that a call or a reference to a callback at `i` leads to; -1: neither is there. */
static long callee_at(const struct program_body *b, size_t i)
{
	const struct bpf_insn *insn = &b->insns[i];
	bool call = insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_CALL;
	bool callback = insn->code == (BPF_LD | BPF_IMM | BPF_DW) && insn->src_reg == BPF_PSEUDO_FUNC;

	return call || callback ? (long)i + insn->imm + 1 : -1;
}

static size_t function_at(const struct program_body *b, long begin)
{
	for (size_t f = 0; f < b->functions_n; f++)
		if ((long)b->functions[f].begin == begin)
			return f;
	return FUNCTIONS_MAX;
}

static int by_begin(const void *a, const void *b)
{
	const struct function *f = a, *g = b;

	return f->begin < g->begin ? -1 : f->begin > g->begin;
}

static void find_functions(struct program_body *b)
{
	b->functions_n = 1;
	b->functions[0].begin = 0;
	for (size_t i = 0; i < b->insns_n; i++) {
		long begin = callee_at(b, i);

		if (begin < 0 || function_at(b, begin) < FUNCTIONS_MAX)
			continue;
		cr_assert_lt(b->functions_n, FUNCTIONS_MAX);
		b->functions[b->functions_n++].begin = (size_t)begin;
	}
	qsort(b->functions, b->functions_n, sizeof(b->functions[0]), by_begin);
	for (size_t f = 0; f < b->functions_n; f++)
		b->functions[f].end = f + 1 < b->functions_n ? b->functions[f + 1].begin : b->insns_n;
}

/* How far below the frame pointer an instruction reaches: an access, or an address that the next one completes. */
static int reach(const struct bpf_insn *insn)
{
	int class = BPF_CLASS(insn->code);

	if ((class == BPF_STX || class == BPF_ST) && insn->dst_reg == BPF_REG_10)
		return -insn->off;
	if (class == BPF_LDX && insn->src_reg == BPF_REG_10)
		return -insn->off;
	if (insn[0].code == (BPF_ALU64 | BPF_MOV | BPF_X) && insn[0].src_reg == BPF_REG_10 &&
	    insn[1].code == (BPF_ALU64 | BPF_ADD | BPF_K) && insn[1].dst_reg == insn[0].dst_reg)
		return -insn[1].imm;
	return 0;
}

static void measure_frames(struct program_body *b)
{
	for (size_t f = 0; f < b->functions_n; f++) {
		struct function *fn = &b->functions[f];

		for (size_t i = fn->begin; i + 1 < fn->end; i++)
			if (reach(&b->insns[i]) > (int)fn->depth)
				fn->depth = (unsigned int)reach(&b->insns[i]);
	}
}

/*
 * The verifier's own depths ("stack depth 96+128", in the order of the functions) are what was really reached; but they may
 * contain what it added afterwards for a bpf_loop() that it inlined. Both are bounds: the smaller one holds. It leaves out
 * functions that are never called, so that the order is unknown then.
 */
static void refine_frames(struct program_body *b, const char *log)
{
	const char *at = strstr(log, "stack depth ");
	unsigned int depths[FUNCTIONS_MAX];
	size_t n = 0;
	char *end;

	cr_assert_not_null(at, "the verifier tells no stack depth: %s", log);
	for (at += strlen("stack depth "); n < FUNCTIONS_MAX; at = end + 1) {
		depths[n++] = (unsigned int)strtoul(at, &end, 10);
		if (*end != '+')
			break;
	}
	for (size_t f = 0; n == b->functions_n && f < n; f++) {
		cr_expect_leq(depths[f], b->functions[f].depth + 31, "function %zu reaches %u bytes, its instructions %u", f,
			      depths[f], b->functions[f].depth);
		if (depths[f] < b->functions[f].depth)
			b->functions[f].depth = depths[f];
	}
}

static unsigned int rounded(unsigned int depth)
{
	return ((depth ? depth : 1) + FRAME_UNIT - 1) / FRAME_UNIT * FRAME_UNIT;
}

/* The deepest chain that begins with function `f`. */
static void deepest(const struct program_body *b, size_t f, struct chain *ret)
{
	const struct function *fn = &b->functions[f];
	struct chain best = {0}, below;

	for (size_t i = fn->begin; i < fn->end; i++) {
		long begin = callee_at(b, i);

		if (begin < 0)
			continue;
		deepest(b, function_at(b, begin), &below);
		if (below.stack > best.stack)
			best = below;
	}
	ret->stack = rounded(fn->depth) + best.stack;
	snprintf(ret->frames, sizeof(ret->frames), "%u%s%.100s", rounded(fn->depth), best.frames[0] ? "+" : "", best.frames);
}

/* ---- ways back, from the instructions ---- */

struct ways {
	size_t to[2], n;
	bool may_lead_back;
};

static struct ways ways_from(const struct bpf_insn *insns, size_t i)
{
	int class = BPF_CLASS(insns[i].code), op = BPF_OP(insns[i].code);
	size_t next = i + 1, target = (size_t)((long)i + insns[i].off + 1);

	if ((class != BPF_JMP && class != BPF_JMP32) || op == BPF_CALL)
		return (struct ways){.to = {next}, .n = 1};
	if (op == BPF_EXIT)
		return (struct ways){.n = 0};
	if (op == BPF_JA)
		return (struct ways){.to = {target}, .n = 1, .may_lead_back = true};
	return (struct ways){.to = {next, target}, .n = 2, .may_lead_back = true};
}

/*
 * Linux 6.1 (check_cfg() in kernel/bpf/verifier.c) follows all ways, depth first, and allows one that leads to an instruction on
 * the way to it from a jump only: "back-edge from insn 3173 to 3174" is a loop that a compiler has laid out so that its way back
 * falls through. Later kernels take it.
 */
static void expect_ways_back_are_jumps(const struct program_body *b, const struct function *fn, const char *name)
{
	enum { NEW, ON_THE_WAY, DONE };
	unsigned char *state = calloc(b->insns_n, 1), *taken = calloc(b->insns_n, 1);
	size_t *way = calloc(b->insns_n, sizeof(*way)), len = 0;

	cr_assert(state && taken && way);
	way[len++] = fn->begin;
	state[fn->begin] = ON_THE_WAY;
	while (len > 0) {
		size_t i = way[len - 1], to;
		struct ways ways = ways_from(b->insns, i);

		if (taken[i] == ways.n) {
			state[i] = DONE;
			len--;
			continue;
		}
		to = ways.to[taken[i]++];
		cr_assert_lt(to, b->insns_n);
		cr_expect(state[to] != ON_THE_WAY || ways.may_lead_back, "%s: Linux 6.1 refuses the way back from %zu to %zu",
			  name, i, to);
		if (state[to] == NEW) {
			state[to] = ON_THE_WAY;
			way[len++] = to;
		}
	}
	free(state);
	free(taken);
	free(way);
}

/* ---- what the kernel says ---- */

static void read_body(struct program_body *b, const struct bpf_program *program, const char *log)
{
	memset(b, 0, sizeof(*b));
	b->insns = bpf_program__insns(program);
	b->insns_n = bpf_program__insn_cnt(program);
	find_functions(b);
	measure_frames(b);
	refine_frames(b, log);
}

static unsigned long verification_us(const char *log)
{
	const char *at = strstr(log, "verification time ");

	cr_assert_not_null(at, "the verifier tells no time: %s", log);
	return strtoul(at + strlen("verification time "), NULL, 10);
}

/* (bpf_prog_info has the number since 5.16 only.) */
static unsigned int verified_insns(const char *log)
{
	const char *at = strstr(log, "processed ");

	cr_assert_not_null(at, "the verifier does not say how much it has processed: %s", log);
	return (unsigned int)strtoul(at + strlen("processed "), NULL, 10);
}

static void expect_within_budget(const struct bpf_program *program, const char *suffix, FILE *results)
{
	const char *name = bpf_program__name(program);
	static struct program_body body;
	struct chain chain;
	size_t log_size;
	const char *log = bpf_program__log_buf(program, &log_size);
	unsigned int insns = verified_insns(log);

	read_body(&body, program, log);
	deepest(&body, 0, &chain);
	for (size_t f = 0; f < body.functions_n; f++)
		expect_ways_back_are_jumps(&body, &body.functions[f], name);
	cr_expect_leq(chain.stack, STACK_MAX, "%s: %u bytes of stack: %s", name, chain.stack, chain.frames);
	cr_expect_gt(insns, 0);
	cr_expect_leq(insns, INSNS_MAX, "%s: %u instructions verified", name, insns);
	if (results)
		fprintf(results, "%s%s\t%u\t%lu\t%u\t%s\n", name, suffix, insns, verification_us(log), chain.stack, chain.frames);
}

/* What the program leaves open for gilscope to say; all that there is to verify is on. */
static void configure(struct gil_bpf *skel)
{
	struct bpf_map *map;

	skel->rodata->cfg_max_procs = 1024;
	skel->rodata->cfg_off_cpu = true;
	skel->rodata->cfg_stacks = true;
	skel->rodata->cfg_trace = true;
	bpf_object__for_each_map(map, skel->obj) {
		bool ring = bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF;

		if (!bpf_map__max_entries(map) && bpf_map__type(map) != BPF_MAP_TYPE_TASK_STORAGE)
			cr_assert_eq(bpf_map__set_max_entries(map, ring ? (__u32)sysconf(_SC_PAGESIZE) : 64), 0);
	}
}

static void ask_for_statistics(struct gil_bpf *skel)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, skel->obj) {
		bpf_program__set_log_level(program, STATISTICS);
		bpf_program__set_log_buf(program, calloc(1, LOG_SIZE), LOG_SIZE);
	}
}

/* The first that was refused, and the end of what the verifier says of it. */
static void tell_refused(const struct gil_bpf *skel, const char *suffix)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, skel->obj) {
		size_t size;
		const char *log = bpf_program__log_buf(program, &size);
		size_t len = strlen(log);

		if (bpf_program__autoload(program) && bpf_program__fd(program) < 0)
			cr_assert_fail("%s%s does not load (%s): %s", bpf_program__name(program), suffix, strerror(errno),
				       log + (len > 600 ? len - 600 : 0));
	}
}

/* `suffix` tells the lines of the one form from those of the other; they are added to those of a test before. */
static void expect_form_within_budget(bool older, const char *suffix)
{
	const char *path = getenv("GILSCOPE_BUDGET");
	FILE *results = path ? fopen(path, "a") : NULL;
	struct gil_bpf *skel = probes_programs__open(older);
	struct bpf_program *program;
	size_t n = 0;

	cr_assert(!path || results, "%s: %s", path, strerror(errno));
	cr_assert_not_null(skel);
	configure(skel);
	ask_for_statistics(skel);
	if (gil_bpf__load(skel))
		tell_refused(skel, suffix);
	bpf_object__for_each_program(program, skel->obj) {
		expect_within_budget(program, suffix, results);
		n++;
	}
	cr_expect_gt(n, 5);
	gil_bpf__destroy(skel);
	if (results)
		fclose(results);
}

Test(budget, every_program_fits_what_linux_6_1_allows)
{
	expect_form_within_budget(false, "");
}

Test(budget, every_program_of_the_older_form_fits_as_well)
{
	expect_form_within_budget(true, "-older");
}
