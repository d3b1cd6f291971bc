/* SPDX-License-Identifier: GPL-2.0-only */
/* See unwind.h. libdw reads the tables; the few operations that rules are made of are done here. */
#include "unwind.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/bytes.h"

#define EXPRESSION_DEPTH 16

#if defined(__aarch64__)
#define SP 31
#define PC_WORD 32
#define SP_WORD 31
#define ADDRESS_MASK 0x0000ffffffffffffull /* above it may be a signature of the address */
#else
#define SP 7
#define PC 16
#define PC_WORD 16
#define SP_WORD 19
#define ADDRESS_MASK UINT64_MAX
/* struct pt_regs, by DWARF number (System V ABI, AMD64 supplement, figure 3.36). */
static const uint8_t word_of[] = {10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16};
#endif

static void set(struct unwind *u, unsigned int reg, uint64_t value)
{
	u->reg[reg] = value;
	u->known |= 1ull << reg;
}

uint64_t unwind__sp(const struct gil_regs *regs)
{
	return regs->word[SP_WORD];
}

void unwind__begin(struct unwind *u, const struct gil_regs *regs, const uint8_t *stack, size_t stack_len)
{
	*u = (struct unwind){
		.pc = regs->word[PC_WORD], .stack_at = regs->word[SP_WORD], .stack = stack, .stack_len = stack_len,
	};
#if defined(__aarch64__)
	for (unsigned int reg = 0; reg <= SP; reg++)
		set(u, reg, regs->word[reg]);
#else
	for (unsigned int reg = 0; reg < sizeof(word_of); reg++)
		set(u, reg, regs->word[word_of[reg]]);
#endif
}

uint64_t unwind__place(const struct unwind *u)
{
	return u->at_call ? u->pc - 1 : u->pc;
}

/* ---- expressions ---- */

struct machine {
	const struct unwind *u;
	uint64_t cfa;
	uint64_t value[EXPRESSION_DEPTH];
	size_t n;
	bool failed;
};

static void push(struct machine *m, uint64_t value)
{
	if (m->n == EXPRESSION_DEPTH)
		m->failed = true;
	else
		m->value[m->n++] = value;
}

static uint64_t pop(struct machine *m)
{
	if (m->n)
		return m->value[--m->n];
	m->failed = true;
	return 0;
}

static uint64_t reg_of(struct machine *m, uint64_t reg)
{
	if (reg < UNWIND_REGISTERS && m->u->known & 1ull << reg)
		return m->u->reg[reg];
	m->failed = true;
	return 0;
}

static uint64_t load(struct machine *m, uint64_t addr)
{
	uint64_t at = addr - m->u->stack_at;

	if (addr >= m->u->stack_at && at < m->u->stack_len && m->u->stack_len - at >= 8)
		return bytes__u64(m->u->stack + at);
	m->failed = true;
	return 0;
}

static uint64_t two(struct machine *m, uint8_t atom)
{
	uint64_t b = pop(m), a = pop(m);

	switch (atom) {
	case DW_OP_plus: return a + b;
	case DW_OP_minus: return a - b;
	case DW_OP_and: return a & b;
	case DW_OP_or: return a | b;
	case DW_OP_shl: return b < 64 ? a << b : 0;
	case DW_OP_shr: return b < 64 ? a >> b : 0;
	case DW_OP_ge: return (int64_t)a >= (int64_t)b;
	case DW_OP_le: return (int64_t)a <= (int64_t)b;
	default: m->failed = true; return 0;
	}
}

static void run(struct machine *m, const Dwarf_Op *op)
{
	uint8_t atom = op->atom;

	if (atom >= DW_OP_lit0 && atom <= DW_OP_lit31)
		push(m, atom - DW_OP_lit0);
	else if (atom >= DW_OP_breg0 && atom <= DW_OP_breg31)
		push(m, reg_of(m, atom - DW_OP_breg0) + op->number);
	else if (atom == DW_OP_bregx)
		push(m, reg_of(m, op->number) + op->number2);
	else if (atom == DW_OP_call_frame_cfa)
		push(m, m->cfa);
	else if (atom == DW_OP_plus_uconst)
		push(m, pop(m) + op->number);
	else if (atom >= DW_OP_const1u && atom <= DW_OP_consts)
		push(m, op->number);
	else if (atom == DW_OP_deref)
		push(m, load(m, pop(m)));
	else
		push(m, two(m, atom));
}

/* What an expression of the rules comes to; `ret_is_value`: else it is the place of it. */
static bool evaluate(struct machine *m, const Dwarf_Op *ops, size_t n, uint64_t *ret, bool *ret_is_value)
{
	*ret_is_value = n > 0 && ops[n - 1].atom == DW_OP_stack_value;
	m->n = 0;
	for (size_t i = 0; i < n - *ret_is_value && !m->failed; i++)
		run(m, &ops[i]);
	*ret = pop(m);
	return !m->failed;
}

/* ---- a step ---- */

/* A register's value in the caller; false: nobody knows. */
static bool restore(struct machine *m, Dwarf_Frame *frame, unsigned int reg, uint64_t *ret)
{
	Dwarf_Op mem[3], *ops;
	bool is_value;
	size_t n;

	m->failed = false;
	if (dwarf_frame_register(frame, (int)reg, mem, &ops, &n) != 0 || (n == 0 && ops == mem))
		return false;
	if (n == 0) {
		*ret = reg_of(m, reg);
		return !m->failed;
	}
	if (n == 1 && ops[0].atom == DW_OP_regx) {
		*ret = reg_of(m, ops[0].number);
		return !m->failed;
	}
	if (!evaluate(m, ops, n, ret, &is_value))
		return false;
	if (!is_value)
		*ret = load(m, *ret);
	return !m->failed;
}

static bool find_cfa(struct machine *m, Dwarf_Frame *frame)
{
	Dwarf_Op *ops;
	bool is_value;
	size_t n;

	return dwarf_frame_cfa(frame, &ops, &n) == 0 && n > 0 && evaluate(m, ops, n, &m->cfa, &is_value);
}

static bool step(struct unwind *u, Dwarf_Frame *frame)
{
	struct unwind caller = *u;
	struct machine m = {.u = u};
	uint64_t value, back = 0;
	bool by_signal = false;
	int ra = dwarf_frame_info(frame, NULL, NULL, &by_signal);

	if (ra < 0 || ra >= UNWIND_REGISTERS || !find_cfa(&m, frame))
		return false;
	/* Stacks grow down. A signal's handler may have had one of its own. */
	if (u->known & 1ull << SP && m.cfa <= u->reg[SP] && !by_signal && u->at_call)
		return false;
	caller.known = 0;
	for (unsigned int reg = 0; reg < UNWIND_REGISTERS; reg++)
		if (restore(&m, frame, reg, &value))
			set(&caller, reg, value);
	if (!(caller.known & 1ull << ra))
		return false;
	if (!(caller.known & 1ull << SP))
		set(&caller, SP, m.cfa);
	back = caller.reg[ra] & ADDRESS_MASK;
	if (back == 0)
		return false;
	caller.pc = back;
	caller.at_call = !by_signal;
	*u = caller;
	return true;
}

bool unwind__step(struct unwind *u, struct elffile *ef, uint64_t bias)
{
	Dwarf_CFI *tables = elffile__call_frames(ef);
	Dwarf_Frame *frame;
	bool done;

	if (!tables || dwarf_cfi_addrframe(tables, unwind__place(u) - bias, &frame) != 0)
		return false;
	done = step(u, frame);
	free(frame);
	return done;
}
