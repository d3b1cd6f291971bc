/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * x86-64, see insn.h. Emulated under a uprobe (arch/x86/kernel/uprobes.c): call rel32, jmp rel, jcc rel, push, nop. All else,
 * calls through memory included, is single-stepped.
 */
#include "insn.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "collector/base/bytes.h"

static uint64_t relative(uint64_t end, const uint8_t *disp)
{
	return end + (uint64_t)(int64_t)(int32_t)bytes__u32(disp);
}

static int open_decoder(csh *ret)
{
	if (capstone.open(CS_ARCH_X86, CS_MODE_64, ret) != CS_ERR_OK)
		return -ENOTSUP;
	capstone.option(*ret, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
	capstone.option(*ret, CS_OPT_DETAIL, CS_OPT_ON);
	return 0;
}

/* Instructions of two opcode bytes and a rip-relative or relative operand. */
static bool look_two_bytes(const uint8_t *code, struct insn_ref *ref)
{
	if (code[0] == 0xff && code[1] == 0x15)
		ref->branch = BRANCH_CALL_SLOT;
	else if (code[0] == 0xff && code[1] == 0x25)
		ref->branch = BRANCH_JUMP_SLOT;
	else if (code[0] == 0x0f && (code[1] & 0xf0) == 0x80)
		ref->branch = BRANCH_CONDITIONAL;
	else if (code[0] == 0x8b && (code[1] & 0xc7) == 0x05)
		ref->branch = BRANCH_LOAD;
	else
		return false;
	return true;
}

static bool look(struct insn_scan *scan, const uint8_t *code, size_t len, uint64_t vaddr, struct insn_ref *ret)
{
	switch (code[0]) {
	case 0xe8:
	case 0xe9:
		if (len < 5)
			return false;
		ret->branch = code[0] == 0xe8 ? BRANCH_CALL : BRANCH_JUMP;
		ret->len = 5;
		break;
	case 0x0f:
	case 0x8b:
	case 0xff:
		if (len < 6 || !look_two_bytes(code, ret))
			return false;
		ret->len = 6;
		break;
	case 0xeb:
	case 0x70 ... 0x7f:
		if (len < 2)
			return false;
		ret->branch = code[0] == 0xeb ? BRANCH_JUMP : BRANCH_CONDITIONAL;
		ret->len = 2;
		ret->target = vaddr + 2 + (uint64_t)(int64_t)(int8_t)code[1];
		return true;
	default:
		return false;
	}
	ret->target = relative(vaddr + ret->len, code + ret->len - 4);
	return true;
}

/* Steps back from a stub's `jmp *slot(%rip)` over its optional `bnd` prefix and `endbr64`. */
static size_t stub_start(const uint8_t *code, size_t jmp)
{
	static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};
	size_t start = jmp;

	if (start >= 1 && code[start - 1] == 0xf2)
		start--;
	if (start >= 4 && memcmp(code + start - 4, endbr64, 4) == 0)
		start -= 4;
	return start;
}

/* `[endbr64] [bnd] jmp *slot(%rip)`, laid out on multiples of 8 by every linker. */
static bool stub(const uint8_t *code, size_t at, size_t len, uint64_t vaddr, struct insn_stub *ret)
{
	if (at + 6 > len || code[at] != 0xff || code[at + 1] != 0x25)
		return false;
	ret->slot = relative(vaddr + at + 6, code + at + 2);
	ret->start = stub_start(code, at);
	return (vaddr + ret->start) % 8 == 0;
}

static bool is_plain(const cs_insn *insn)
{
	switch (insn->id) {
	case X86_INS_MOV: case X86_INS_MOVABS: case X86_INS_MOVZX: case X86_INS_MOVSX: case X86_INS_MOVSXD:
	case X86_INS_CMP: case X86_INS_TEST:
		return true;
	}
	return false;
}

/* jcc rel8 or rel32, without prefixes. */
static bool is_conditional(const cs_insn *insn)
{
	return (insn->size == 2 && (insn->bytes[0] & 0xf0) == 0x70) ||
	       (insn->size == 6 && insn->bytes[0] == 0x0f && (insn->bytes[1] & 0xf0) == 0x80);
}

/* push reg: emulated since Linux 4.16. */
static bool is_cheap(const cs_insn *insn)
{
	return insn->id == X86_INS_PUSH && ((insn->size == 1 && (insn->bytes[0] & 0xf8) == 0x50) ||
					    (insn->size == 2 && insn->bytes[0] == 0x41 && (insn->bytes[1] & 0xf8) == 0x50));
}

static bool goes_on(csh decoder, const cs_insn *insn)
{
	static const uint8_t groups[] = {CS_GRP_JUMP, CS_GRP_CALL, CS_GRP_RET, CS_GRP_INT, CS_GRP_IRET};

	for (size_t i = 0; i < sizeof(groups); i++)
		if (capstone.insn_group(decoder, insn, groups[i]))
			return false;
	return true;
}

/* A register under all the names that an instruction may write it by, in the order of its number. */
static const uint16_t names[16][5] = {
	{X86_REG_RAX, X86_REG_EAX, X86_REG_AX, X86_REG_AL, X86_REG_AH},
	{X86_REG_RCX, X86_REG_ECX, X86_REG_CX, X86_REG_CL, X86_REG_CH},
	{X86_REG_RDX, X86_REG_EDX, X86_REG_DX, X86_REG_DL, X86_REG_DH},
	{X86_REG_RBX, X86_REG_EBX, X86_REG_BX, X86_REG_BL, X86_REG_BH},
	{X86_REG_RSP, X86_REG_ESP, X86_REG_SP, X86_REG_SPL},
	{X86_REG_RBP, X86_REG_EBP, X86_REG_BP, X86_REG_BPL},
	{X86_REG_RSI, X86_REG_ESI, X86_REG_SI, X86_REG_SIL},
	{X86_REG_RDI, X86_REG_EDI, X86_REG_DI, X86_REG_DIL},
	{X86_REG_R8, X86_REG_R8D, X86_REG_R8W, X86_REG_R8B},
	{X86_REG_R9, X86_REG_R9D, X86_REG_R9W, X86_REG_R9B},
	{X86_REG_R10, X86_REG_R10D, X86_REG_R10W, X86_REG_R10B},
	{X86_REG_R11, X86_REG_R11D, X86_REG_R11W, X86_REG_R11B},
	{X86_REG_R12, X86_REG_R12D, X86_REG_R12W, X86_REG_R12B},
	{X86_REG_R13, X86_REG_R13D, X86_REG_R13W, X86_REG_R13B},
	{X86_REG_R14, X86_REG_R14D, X86_REG_R14W, X86_REG_R14B},
	{X86_REG_R15, X86_REG_R15D, X86_REG_R15W, X86_REG_R15B},
};

static bool writes(csh decoder, const cs_insn *insn, unsigned int number)
{
	return insn__writes(decoder, insn, names[number], 5);
}

/* Prefixes (`bnd`, `addr32`) change nothing about where it goes. */
static uint64_t target(const cs_insn *insn, bool calls)
{
	const uint8_t *b = insn->bytes;
	uint64_t end = insn->address + insn->size;

	if (insn->size == 2 && ((b[0] & 0xf0) == 0x70 || b[0] == 0xeb))
		return end + (uint64_t)(int64_t)(int8_t)b[1];
	if (!is_conditional(insn) && !(insn->id == X86_INS_JMP && insn->size >= 5 && b[insn->size - 5] == 0xe9) &&
	    !(calls && insn->id == X86_INS_CALL && insn->size >= 5 && b[insn->size - 5] == 0xe8))
		return 0;
	return relative(end, b + insn->size - 4);
}

static bool is_jump(const cs_insn *insn)
{
	return insn->id == X86_INS_JMP && target(insn, false) != 0;
}

/* Whether a constant of two or four bytes may follow the operand: add ... cmp, mov, imul, test. */
static bool has_constant(uint8_t opcode)
{
	return opcode == 0x81 || opcode == 0xc7 || opcode == 0x69 || opcode == 0xf7;
}

/*
 * A distance from the instruction's end, behind which there may be a constant; or, in code that is not position-independent, the
 * address itself.
 */
static bool may_refer(const uint8_t *code, size_t at, uint64_t vaddr, uint64_t address)
{
	uint32_t said = bytes__u32(code + at), behind = (uint32_t)(address - (vaddr + at + 4)) - said;

	if (said == address)
		return true;
	if (behind > 4 || behind == 3 || at < 2 || (code[at - 1] & 0xc7) != 0x05)
		return false;
	return behind < 2 || has_constant(code[at - 2]);
}

/* cmpw $0,disp32(%rip), or movzwl disp32(%rip),%reg */
static uint64_t reads_word(const cs_insn *insn)
{
	const uint8_t *b = insn->bytes + (insn->size == 8 && insn->bytes[0] == 0x44);

	if (insn->size == 8 && b[0] == 0x66 && b[1] == 0x83 && b[2] == 0x3d && b[7] == 0)
		return relative(insn->address + 8, b + 3);
	if (insn->bytes + insn->size == b + 7 && b[0] == 0x0f && b[1] == 0xb7 && (b[2] & 0xc7) == 0x05)
		return relative(insn->address + insn->size, b + 3);
	return 0;
}

/* lea disp32(%rip), or in code that is not position-independent mov $imm32. */
static uint64_t code_address(struct insn_scan *scan, const cs_insn *insn)
{
	const uint8_t *b = insn->bytes;

	if (insn->size == 7 && (b[0] & 0xf8) == 0x48 && b[1] == 0x8d && (b[2] & 0xc7) == 0x05)
		return relative(insn->address + 7, b + 3);
	if (insn->size >= 5 && (b[insn->size - 5] & 0xf8) == 0xb8)
		return bytes__u32(b + insn->size - 4);
	return 0;
}

/* mov slot(%rip),%reg. The System V ABI keeps rbx, rbp, rsp and r12 to r15 over a call. */
static bool load(const cs_insn *insn, struct insn_load *ret)
{
	const uint8_t *b = insn->bytes;

	if (insn->size != 7 || (b[0] & 0xfb) != 0x48 || b[1] != 0x8b || (b[2] & 0xc7) != 0x05)
		return false;
	ret->dest = (b[2] >> 3 & 7) + (b[0] & 4) * 2;
	ret->base = -1;
	ret->dies = ret->dest < 3 || (ret->dest > 5 && ret->dest < 12);
	return true;
}

/* [bnd, notrack ...] [41] ff /2 or /4 of a register */
static bool through(const cs_insn *insn, const struct insn_load *l, enum branch *ret)
{
	const uint8_t *b = insn->bytes + insn->size - 2;
	bool high = insn->size >= 3 && (b[-1] & 0xf1) == 0x41;

	if (insn->size < 2 || b[0] != 0xff || (b[1] & 7) + (high ? 8u : 0u) != l->dest)
		return false;
	if ((b[1] & 0xf8) != 0xd0 && (b[1] & 0xf8) != 0xe0)
		return false;
	*ret = (b[1] & 0xf8) == 0xd0 ? BRANCH_CALL_SLOT : BRANCH_JUMP_SLOT;
	return true;
}

/* mov $imm32,%reg, xor %reg,%reg (32 bits: the upper ones become 0), mov and or of a 64-bit register with a constant. */
static bool sets(const cs_insn *insn, unsigned int number, uint64_t *ret)
{
	const cs_x86 *x86 = &insn->detail->x86;
	const cs_x86_op *to, *from;

	if (x86->op_count != 2)
		return false;
	from = &x86->operands[0]; /* AT&T's order */
	to = &x86->operands[1];
	if (to->type != X86_OP_REG || (to->reg != names[number][0] && to->reg != names[number][1]))
		return false;
	*ret = from->type == X86_OP_IMM ? (uint64_t)from->imm : 0;
	switch (insn->id) {
	case X86_INS_MOV: case X86_INS_MOVABS:
		return from->type == X86_OP_IMM;
	case X86_INS_XOR:
		return from->type == X86_OP_REG && from->reg == to->reg;
	case X86_INS_OR:
		return from->type == X86_OP_IMM && from->imm == -1;
	}
	return false;
}

const struct insn_arch insn_x86 = {
	.machine = EM_X86_64,
	.jump_slot = R_X86_64_JUMP_SLOT,
	.glob_dat = R_X86_64_GLOB_DAT,
	.step = 1,
	.stub_max = 11, /* [endbr64] [bnd] jmp *slot(%rip) */
	.slots_are_stepped = true,
	.arguments = {7, 6, 2, 1, 8, 9}, /* rdi, rsi, rdx, rcx, r8, r9 */
	.sets = sets,
	.is_jump = is_jump,
	.may_refer = may_refer,
	.reads_word = reads_word,
	INSN_ARCH_FUNCTIONS,
};
