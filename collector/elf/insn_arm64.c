/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * aarch64, see insn.h. Every instruction has 4 bytes and stands on a multiple of 4, so any such place in a function is one,
 * unless it holds data: compilers keep those out of the code.
 *
 * Simulated under a uprobe (arch/arm64/kernel/probes/decode-insn.c, alike in Linux 4.8 and in one with guarded control
 * stacks): b, bl, b.cond, cbz, cbnz, tbz, tbnz, br, blr, ret, adr, adrp. All else is single-stepped. So a call costs the same
 * through a stub and through the GOT.
 */
#include "insn.h"

#include <elf.h>
#include <errno.h>

#include "collector/base/bytes.h"

#define BTI_C 0xd503245fu
#define AUTIA1716 0xd503219fu
#define BR_X17 0xd61f0220u

static uint32_t word_of(const cs_insn *insn)
{
	return insn->size == 4 ? bytes__u32(insn->bytes) : 0;
}

/* `bits` bits of `word` from bit `low` on, as a signed number. */
static int64_t field(uint32_t word, unsigned int low, unsigned int bits)
{
	uint64_t value = word >> low & ((1ull << bits) - 1);

	return (int64_t)(value ^ 1ull << (bits - 1)) - (int64_t)(1ull << (bits - 1));
}

static bool is_b(uint32_t w)
{
	return (w & 0xfc000000) == 0x14000000;
}

static bool is_bl(uint32_t w)
{
	return (w & 0xfc000000) == 0x94000000;
}

/* b.cond, cbz, cbnz: 19 bits; tbz, tbnz: 14 bits. */
static bool is_conditional_19(uint32_t w)
{
	return (w & 0xff000010) == 0x54000000 || (w & 0x7e000000) == 0x34000000;
}

static bool is_conditional_14(uint32_t w)
{
	return (w & 0x7e000000) == 0x36000000;
}

static bool is_adrp(uint32_t w)
{
	return (w & 0x9f000000) == 0x90000000;
}

static uint64_t adrp_page(uint32_t w, uint64_t vaddr)
{
	uint64_t pages = (uint64_t)(field(w, 5, 19) * 4) + (w >> 29 & 3);

	return (vaddr & ~0xfffull) + (pages << 12);
}

/* ldr xT, [xN, #imm] */
static bool is_ldr(uint32_t w)
{
	return (w & 0xffc00000) == 0xf9400000;
}

static uint64_t ldr_offset(uint32_t w)
{
	return (uint64_t)(w >> 10 & 0xfff) * 8;
}

/* Where a direct branch goes; 0 for any other word. */
static uint64_t branch_target(uint32_t w, uint64_t vaddr, bool calls)
{
	if (is_b(w) || (calls && is_bl(w)))
		return vaddr + (uint64_t)(field(w, 0, 26) * 4);
	if (is_conditional_19(w))
		return vaddr + (uint64_t)(field(w, 5, 19) * 4);
	if (is_conditional_14(w))
		return vaddr + (uint64_t)(field(w, 5, 14) * 4);
	return 0;
}

/* Undecodable words are passed over: newer instructions than Capstone knows move no boundary. */
static int open_decoder(csh *ret)
{
	if (capstone.open(CS_ARCH_ARM64, CS_MODE_LITTLE_ENDIAN, ret) != CS_ERR_OK)
		return -ENOTSUP;
	capstone.option(*ret, CS_OPT_DETAIL, CS_OPT_ON);
	capstone.option(*ret, CS_OPT_SKIPDATA, CS_OPT_ON);
	return 0;
}

/* An adrp is only remembered: a load from its page comes later, whatever lies between (insn_load is checked then). */
static bool look(struct insn_scan *scan, const uint8_t *code, size_t len, uint64_t vaddr, struct insn_ref *ret)
{
	uint32_t w = len < 4 ? 0 : bytes__u32(code);

	ret->len = 4;
	ret->from = vaddr;
	if (is_adrp(w)) {
		scan->page[w & 31] = adrp_page(w, vaddr);
		scan->at[w & 31] = vaddr;
		return false;
	}
	if (is_ldr(w)) {
		ret->branch = BRANCH_LOAD;
		ret->target = scan->page[w >> 5 & 31] + ldr_offset(w);
		ret->from = scan->at[w >> 5 & 31];
		return ret->from != 0;
	}
	ret->branch = is_bl(w) ? BRANCH_CALL : is_b(w) ? BRANCH_JUMP : BRANCH_CONDITIONAL;
	ret->target = branch_target(w, vaddr, true);
	return ret->target != 0;
}

/* [bti c] adrp x16, page; ldr x17, [x16, #offset]; add x16, x16, #offset; [autia1716] br x17 */
static bool stub(const uint8_t *code, size_t at, size_t len, uint64_t vaddr, struct insn_stub *ret)
{
	uint32_t adrp, ldr, jump;

	if (at < 4 || at % 4 != 0 || at + 12 > len)
		return false;
	adrp = bytes__u32(code + at - 4);
	ldr = bytes__u32(code + at);
	jump = bytes__u32(code + at + 8);
	if (jump == AUTIA1716 && at + 16 <= len)
		jump = bytes__u32(code + at + 12);
	if (!is_adrp(adrp) || (adrp & 31) != 16 || !is_ldr(ldr) || (ldr & 0x3ff) != (16 << 5 | 17) || jump != BR_X17)
		return false;
	ret->slot = adrp_page(adrp, vaddr + at - 4) + ldr_offset(ldr);
	ret->start = at - 4;
	if (ret->start >= 4 && bytes__u32(code + ret->start - 4) == BTI_C)
		ret->start -= 4;
	return true;
}

/* No branch, exception or system instruction, but for the hints (bti, nop, paciasp ...); nothing that Capstone can't decode. */
static bool is_plain(const cs_insn *insn)
{
	uint32_t w = word_of(insn);

	return insn->id != 0 && ((w & 0x1c000000) != 0x14000000 || (w & 0xfffff01f) == 0xd503201f);
}

static bool goes_on(csh decoder, const cs_insn *insn)
{
	return is_plain(insn);
}

static bool is_conditional(const cs_insn *insn)
{
	return is_conditional_19(word_of(insn)) || is_conditional_14(word_of(insn));
}

/* adr, adrp: what a function may begin with besides branches is never one of them. */
static bool is_cheap(const cs_insn *insn)
{
	return (word_of(insn) & 0x1f000000) == 0x10000000;
}

static bool writes(csh decoder, const cs_insn *insn, unsigned int number)
{
	const uint16_t regs[] = {(uint16_t)(number < 29 ? ARM64_REG_X0 + number : number == 29 ? ARM64_REG_X29 : ARM64_REG_X30),
				 (uint16_t)(ARM64_REG_W0 + number)};

	return insn->id == 0 || insn__writes(decoder, insn, regs, 2);
}

static uint64_t target(const cs_insn *insn, bool calls)
{
	return branch_target(word_of(insn), insn->address, calls);
}

/* adr, or adrp and add. */
static uint64_t code_address(struct insn_scan *scan, const cs_insn *insn)
{
	uint32_t w = word_of(insn);

	if ((w & 0x9f000000) == 0x10000000)
		return insn->address + (uint64_t)(field(w, 5, 19) * 4) + (w >> 29 & 3);
	if (is_adrp(w)) {
		scan->page[w & 31] = adrp_page(w, insn->address);
		scan->at[w & 31] = insn->address;
	}
	if ((w & 0xffc00000) == 0x91000000 && scan->at[w >> 5 & 31])
		return scan->page[w >> 5 & 31] + (w >> 10 & 0xfff);
	return 0;
}

/* x0 to x17 hold nothing after a call (Procedure Call Standard); x18 is the platform's, x29 and x30 have their uses. */
static bool load(const cs_insn *insn, struct insn_load *ret)
{
	uint32_t w = word_of(insn);

	if (!is_ldr(w))
		return false;
	*ret = (struct insn_load){.dest = w & 31, .base = (int)(w >> 5 & 31), .dies = (w & 31) <= 17};
	return true;
}

static bool through(const cs_insn *insn, const struct insn_load *l, enum branch *ret)
{
	uint32_t w = word_of(insn);

	if ((w & 0xffdffc1f) != 0xd61f0000 || (w >> 5 & 31) != l->dest)
		return false;
	*ret = w & 0x00200000 ? BRANCH_CALL_SLOT : BRANCH_JUMP_SLOT;
	return true;
}

const struct insn_arch insn_arm64 = {
	.machine = EM_AARCH64,
	.jump_slot = R_AARCH64_JUMP_SLOT,
	.glob_dat = R_AARCH64_GLOB_DAT,
	.step = 4,
	.stub_max = 24,
	.slots_are_stepped = false,
	.arguments = {0, 1, 2, 3, 4, 5},
	INSN_ARCH_FUNCTIONS,
};
