/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What depends on the instruction set, one table per machine: how calls of imported functions look, what PLT stubs are
 * made of, and which instructions the kernel emulates under a probe. elffile.c and sites.c ask here.
 *
 * The first pass (`look`) runs over bytes and may be wrong; whatever becomes a probe site is decoded from the start of its
 * function afterwards. Pure.
 */
#ifndef GILSCOPE_INSN_H
#define GILSCOPE_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capstone_lib.h"

enum branch {
	BRANCH_CALL,        /* relative: to a PLT stub, or to the function itself */
	BRANCH_JUMP,        /* a tail call of that kind */
	BRANCH_CALL_SLOT,   /* through the GOT: -fno-plt */
	BRANCH_JUMP_SLOT,
	BRANCH_CONDITIONAL, /* fires whether taken or not, of no use */
	BRANCH_LOAD,        /* the address goes from the GOT into a register */
};

/* What an instruction refers to. */
struct insn_ref {
	enum branch branch;
	uint64_t target; /* code, or the GOT slot for BRANCH_*_SLOT and BRANCH_LOAD */
	size_t len;      /* bytes from the place looked at to the instruction's end */
	uint64_t from;   /* BRANCH_LOAD: address of the instruction that began to make the slot's address */
};

/* A PLT stub's jump through its slot. */
struct insn_stub {
	uint64_t slot;
	size_t start; /* of the stub, in the bytes that were given */
};

/* What `look` remembers on its way through a range of code; zero it before. */
struct insn_scan {
	uint64_t page[32]; /* by register: what an adrp put there, and where that stands */
	uint64_t at[32];
};

/* An instruction that takes an address out of the GOT. Registers by their number in the instruction. */
struct insn_load {
	unsigned int dest;
	int base;  /* holds the slot's page; -1: none does */
	bool dies; /* `dest` is not kept over a call: after one, nobody can use the address any more */
};

struct insn_arch {
	int machine;                   /* e_machine */
	uint32_t jump_slot, glob_dat;  /* relocation types */
	size_t step;                   /* instructions start at its multiples */
	size_t stub_max;               /* bytes from a stub's start to behind its jump, at most */
	bool slots_are_stepped;        /* the kernel single-steps calls through the GOT */
	int (*open)(csh *ret);         /* a decoder. 0 or -ENOTSUP (not in this Capstone) */
	/* Whether the instruction at code[0], `len` bytes before the end, may refer to something; `vaddr` is its address. */
	bool (*look)(struct insn_scan *scan, const uint8_t *code, size_t len, uint64_t vaddr, struct insn_ref *ret);
	/* Whether the instruction at code[at] is a stub's jump; code[0] is at `vaddr`. */
	bool (*stub)(const uint8_t *code, size_t at, size_t len, uint64_t vaddr, struct insn_stub *ret);
	/* May stand between a timedwait and its conditional jump: moves or compares, goes nowhere. */
	bool (*is_plain)(const cs_insn *insn);
	/* A conditional jump that the kernel emulates. */
	bool (*is_conditional)(const cs_insn *insn);
	/* What the kernel emulates at the start of a function, other than a branch. */
	bool (*is_cheap)(const cs_insn *insn);
	/* Is always followed by the next instruction: no branch, call or trap. */
	bool (*goes_on)(csh decoder, const cs_insn *insn);
	/* May write the register of that number. */
	bool (*writes)(csh decoder, const cs_insn *insn, unsigned int number);
	uint8_t arguments[6];          /* numbers of the registers of a call's arguments */
	/* Whether the instruction puts a constant into all of that register. NULL: not known here. */
	bool (*sets)(const cs_insn *insn, unsigned int number, uint64_t *ret);
	/* Where a direct jump (conditional ones included) goes, or with `calls` a direct call; 0 for all else. */
	uint64_t (*target)(const cs_insn *insn, bool calls);
	/* Code whose address the instruction takes; 0 if none. */
	uint64_t (*code_address)(struct insn_scan *scan, const cs_insn *insn);
	/* Whether it is a direct jump that is always taken. NULL: as reads_word. */
	bool (*is_jump)(const cs_insn *insn);
	/* Whether the 32 bits at code[at] may be how an instruction refers to `address`; code[0] is at `vaddr`. Or NULL. */
	bool (*may_refer)(const uint8_t *code, size_t at, uint64_t vaddr, uint64_t address);
	/* The address of the 16 bits that it compares with 0 or loads; 0: it does nothing of that kind. NULL: not known here. */
	uint64_t (*reads_word)(const cs_insn *insn);
	/* Whether the instruction is a load from the GOT. */
	bool (*load)(const cs_insn *insn, struct insn_load *ret);
	/* Whether it calls or jumps to what the load has loaded; *ret is BRANCH_CALL_SLOT or BRANCH_JUMP_SLOT. */
	bool (*through)(const cs_insn *insn, const struct insn_load *load, enum branch *ret);
};

/* The functions of a table, called alike in each machine's file. */
#define INSN_ARCH_FUNCTIONS \
	.open = open_decoder, .look = look, .stub = stub, .is_plain = is_plain, .is_conditional = is_conditional, \
	.is_cheap = is_cheap, .goes_on = goes_on, .writes = writes, .target = target, .code_address = code_address, \
	.load = load, .through = through

/* Whether the instruction writes one of the `n` registers (Capstone's numbers). Wants a decoder with details. */
bool insn__writes(csh decoder, const cs_insn *insn, const uint16_t *regs, size_t n);

/* The table of a machine (EM_X86_64 ...), NULL if it is not supported. */
const struct insn_arch *insn__arch(int machine);

extern const struct insn_arch insn_x86, insn_arm64;

#endif
