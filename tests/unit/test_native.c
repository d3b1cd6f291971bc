/* SPDX-License-Identifier: GPL-2.0-only */
/* Native stacks of this very process, and of what is none. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "collector/process/procmem.h"
#include "collector/stacks/native.h"
#include "collector/stacks/native_tally.h"
#include "collector/stacks/unwind.h"

/* ---- chains ---- */

static struct gil_regs regs;
static uint8_t stack[GIL_NATIVE_BYTES];
static size_t stack_len;

/* As bpf/gil_native.bpf.h does it. */
static void __attribute__((noinline)) take_registers(void)
{
	ucontext_t context;

	getcontext(&context);
#if defined(__x86_64__)
	static const uint8_t word_of[] = {
		[REG_R15] = 0, [REG_R14] = 1, [REG_R13] = 2, [REG_R12] = 3, [REG_RBP] = 4, [REG_RBX] = 5,
		[REG_RIP] = 16, [REG_RSP] = 19,
	};
	static const uint8_t names[] = {REG_R15, REG_R14, REG_R13, REG_R12, REG_RBP, REG_RBX, REG_RIP, REG_RSP};

	for (size_t i = 0; i < sizeof(names); i++)
		regs.word[word_of[names[i]]] = (uint64_t)context.uc_mcontext.gregs[names[i]];
#else
	memcpy(regs.word, context.uc_mcontext.regs, 31 * 8);
	regs.word[31] = context.uc_mcontext.sp;
	regs.word[32] = context.uc_mcontext.pc;
#endif
	stack_len = 0;
	while (stack_len < sizeof(stack) && procmem__read(getpid(), unwind__sp(&regs) + stack_len, stack + stack_len, 512) == 0)
		stack_len += 512;
}

static int compare(const void *a, const void *b)
{
	take_registers();
	return *(const int *)a - *(const int *)b;
}

static void __attribute__((noinline)) sort(void)
{
	int numbers[] = {2, 1};

	qsort(numbers, 2, sizeof(numbers[0]), compare);
	cr_assert_eq(numbers[0], 1);
}

static struct native_files *files;
static struct native *native;

static void set_up(void)
{
	files = native_files__new();
	native = native__new(files, getpid());
	cr_assert(files && native);
	sort();
}

static void tear_down(void)
{
	native__free(native);
	native_files__free(files);
}

TestSuite(native, .init = set_up, .fini = tear_down);

Test(native, chain_leads_through_the_c_library_and_is_named_by_the_innermost_function)
{
	struct native_chain chain;
	const char *own, *library, *inner;

	cr_assert(native__name(native, 1, &regs, stack, stack_len, &chain));
	cr_expect_str_eq(chain.name, "unit-tests: take_registers");
	cr_expect_str_eq(chain.module, "unit-tests");
	own = strstr(chain.line, "unit-tests: sort;");
	cr_assert_not_null(own, "%s", chain.line);
	library = strstr(own, ";libc.so.6");
	inner = strstr(own, ";unit-tests: compare;unit-tests: take_registers");
	cr_assert(library && inner, "%s", chain.line);
	cr_expect(library < inner, "%s", chain.line);
}

/* What lies beyond the copy is not known. */
Test(native, chain_ends_with_the_stack)
{
	struct native_chain chain;

	cr_assert(native__name(native, 1, &regs, stack, 0, &chain));
	cr_expect_str_eq(chain.name, "unit-tests: take_registers");
	cr_expect_str_eq(chain.line, "unit-tests: take_registers");
}

Test(native, unknown_ground_has_no_name)
{
	struct native_chain chain;

	for (size_t i = 0; i < GIL_REGS; i++)
		regs.word[i] = 0x1000 + i;
	cr_assert(native__name(native, 1, &regs, stack, stack_len, &chain));
	cr_expect_str_eq(chain.name, "");
	cr_expect_str_eq(chain.line, "");
}

/* A stack that leads anywhere: into the middle of functions, in circles, nowhere. */
Test(native, stacks_full_of_lies_do_no_harm)
{
	uint64_t words[GIL_NATIVE_BYTES / 8], sp = unwind__sp(&regs), pc = (uint64_t)(uintptr_t)take_registers;
	struct native_chain chain;

	srandom(1);
	for (int round = 0; round < 3000; round++) {
		for (size_t i = 0; i < GIL_NATIVE_BYTES / 8; i++)
			words[i] = random() % 3 ? pc + (uint64_t)(random() % 200000) : sp + (uint64_t)(random() % 9000);
		native__name(native, 1, &regs, (const uint8_t *)words, sizeof(words), &chain);
		cr_assert_lt(strlen(chain.name), sizeof(chain.name));
		cr_assert_lt(strlen(chain.line), sizeof(chain.line));
	}
}

/* ---- tallies ---- */

static void see(struct native_tally **t, const char *module, const char *name, int times)
{
	struct native_chain chain = {.name = ""};

	snprintf(chain.name, sizeof(chain.name), "%s", name);
	snprintf(chain.module, sizeof(chain.module), "%s", module);
	snprintf(chain.line, sizeof(chain.line), "outer;%s", name);
	for (int i = 0; i < times; i++)
		native_tally__add(t, &chain);
}

static const char *winner(const struct native_tally *t)
{
	const struct native_chain *chain = native_tally__winner(t);

	return chain ? chain->name : "(none)";
}

Test(native_tally, nothing_was_seen)
{
	struct native_tally *t = NULL;

	cr_expect_str_eq(winner(t), "(none)");
	see(&t, "", "", 10);
	cr_expect_str_eq(winner(t), "(none)");
	native_tally__free(t);
}

Test(native_tally, half_of_all_looks_make_a_name)
{
	struct native_tally *t = NULL;

	see(&t, "a.so", "a.so: f", 5);
	see(&t, "", "", 5);
	cr_expect_str_eq(winner(t), "a.so: f");
	cr_expect_str_eq(native_tally__winner(t)->line, "outer;a.so: f");
	see(&t, "", "", 1);
	cr_expect_str_eq(winner(t), "(none)");
	native_tally__free(t);
}

Test(native_tally, many_functions_of_one_module_make_its_name)
{
	struct native_tally *t = NULL;
	char name[32];

	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "a.so: f%d", i);
		see(&t, "a.so", name, 1);
	}
	cr_expect_str_eq(winner(t), "a.so");
	see(&t, "", "", 21);
	cr_expect_str_eq(winner(t), "(none)", "it must be three quarters");
	native_tally__free(t);
}

/* What a stack is in now counts, not what it was in long ago. */
Test(native_tally, old_looks_fade)
{
	struct native_tally *t = NULL;

	see(&t, "a.so", "a.so: f", 1000);
	see(&t, "b.so", "b.so: g", 1000);
	cr_expect_str_eq(winner(t), "b.so: g");
	native_tally__free(t);
}
