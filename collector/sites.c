/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See sites.h.
 *
 * Two passes. The first runs over the bytes of the code and takes whatever looks like a branch to one of the three
 * functions; it may be wrong, since any byte can look like an opcode. The second decodes each function that has a candidate
 * from its start, and keeps the candidates that turn out to be instructions. Only those are ever planted.
 */
#include "sites.h"

#include <capstone/capstone.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define CANDIDATES_MAX 4096          /* real builds have 4 to 26 */
#define RANGES_MAX 64
#define FUNCTION_MAX (4u << 20)      /* bytes; the eval loop has some 100 KB */
#define WAKE_DISTANCE 8              /* instructions between a timedwait and its conditional jump */

/* The three functions, in the order of enum site_role. */
static const char *const callees[] = {
	[SITE_SIGNAL] = "pthread_cond_signal",
	[SITE_WAIT] = "pthread_cond_timedwait",
	[SITE_HANDOFF] = "pthread_cond_wait",
};
#define CALLEES_N (sizeof(callees) / sizeof(callees[0]))

enum branch {
	BRANCH_CALL,        /* e8 rel32, to a PLT stub */
	BRANCH_JUMP,        /* e9 rel32: a tail call */
	BRANCH_CALL_SLOT,   /* ff 15 disp32, through the GOT: -fno-plt */
	BRANCH_JUMP_SLOT,   /* ff 25 disp32 */
	BRANCH_CONDITIONAL, /* 0f 8x rel32: fires whether taken or not, of no use */
	BRANCH_LOAD,        /* 8b /r disp32: the address goes into a register, the call can't be found */
};

struct candidate {
	uint64_t vaddr;
	enum site_role role;
	enum branch branch;
	bool proven;
	struct elf_range function;
};

struct planner {
	struct elffile *ef;
	struct site_plan *plan;
	struct elf_import imports[CALLEES_N];
	struct elf_range stubs, slots; /* from the lowest to the highest of each: nearly every byte is told by that */
	struct candidate *candidates;
	size_t candidates_n;
	bool too_many;
	size_t wakes_missing;
	csh decoder;
	cs_insn *insn;
};

const char *site_role__name(enum site_role role)
{
	switch (role) {
	case SITE_SIGNAL: return "signal";
	case SITE_WAIT: return "wait";
	case SITE_HANDOFF: return "handoff";
	case SITE_WAKE: return "wake";
	}
	return "?";
}

/* Adds a half-sentence to the plan's notes; what doesn't fit any more is cut. */
static void __attribute__((format(printf, 2, 3))) note(struct site_plan *plan, const char *fmt, ...)
{
	size_t len = strlen(plan->notes);
	va_list args;

	if (len > 0 && len + 3 < sizeof(plan->notes)) {
		strcpy(plan->notes + len, "; ");
		len += 2;
	}
	va_start(args, fmt);
	vsnprintf(plan->notes + len, sizeof(plan->notes) - len, fmt, args);
	va_end(args);
}

/* ---- first pass: what looks like a branch to one of the three ----------------------------------- */

static bool among(const uint64_t *list, size_t n, uint64_t value)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == value)
			return true;
	return false;
}

/* Whether the address lies in one of our stubs: `[endbr64] [bnd] jmp *slot(%rip)` has at most 11 bytes. */
static bool in_stub(const struct planner *p, uint64_t vaddr)
{
	for (size_t r = 0; r < CALLEES_N; r++)
		for (size_t i = 0; i < p->imports[r].stubs_n; i++)
			if (vaddr - p->imports[r].stubs[i] < 11)
				return true;
	return false;
}

static void add_candidate(struct planner *p, uint64_t vaddr, enum site_role role, enum branch branch)
{
	if (p->candidates_n == CANDIDATES_MAX) {
		p->too_many = true;
		return;
	}
	p->candidates[p->candidates_n++] = (struct candidate){
		.vaddr = vaddr,
		.role = role,
		.branch = branch,
	};
}

/* A branch whose 4-byte operand leads to `target`, if that is a stub of one of the three. */
static void try_stub(struct planner *p, uint64_t vaddr, uint64_t target, enum branch branch)
{
	if (target < p->stubs.start || target >= p->stubs.end)
		return;
	for (size_t r = 0; r < CALLEES_N; r++)
		if (among(p->imports[r].stubs, p->imports[r].stubs_n, target))
			add_candidate(p, vaddr, (enum site_role)r, branch);
}

static void try_slot(struct planner *p, uint64_t vaddr, uint64_t slot, enum branch branch)
{
	if (slot < p->slots.start || slot >= p->slots.end)
		return;
	for (size_t r = 0; r < CALLEES_N; r++)
		if (among(p->imports[r].slots, p->imports[r].slots_n, slot) && !in_stub(p, vaddr))
			add_candidate(p, vaddr, (enum site_role)r, branch);
}

/* Instructions of two opcode bytes and a rip-relative or relative operand. */
static void try_two_bytes(struct planner *p, uint64_t vaddr, const uint8_t *code, uint64_t target)
{
	if (code[0] == 0xff && code[1] == 0x15)
		try_slot(p, vaddr, target, BRANCH_CALL_SLOT);
	else if (code[0] == 0xff && code[1] == 0x25)
		try_slot(p, vaddr, target, BRANCH_JUMP_SLOT);
	else if (code[0] == 0x0f && (code[1] & 0xf0) == 0x80)
		try_stub(p, vaddr, target, BRANCH_CONDITIONAL);
	else if (code[0] == 0x8b && (code[1] & 0xc7) == 0x05)
		try_slot(p, vaddr, target, BRANCH_LOAD);
}

static void scan_range(struct planner *p, struct elf_range range)
{
	const uint8_t *code = elffile__bytes(p->ef, range.start, range.end - range.start);
	size_t len = range.end - range.start;

	for (size_t i = 0; code && i + 5 <= len; i++) {
		uint64_t vaddr = range.start + i;
		int32_t rel;

		switch (code[i]) {
		case 0xe8:
		case 0xe9:
			memcpy(&rel, code + i + 1, sizeof(rel));
			try_stub(p, vaddr, vaddr + 5 + (uint64_t)(int64_t)rel,
				 code[i] == 0xe8 ? BRANCH_CALL : BRANCH_JUMP);
			break;
		case 0x0f:
		case 0x8b:
		case 0xff:
			if (i + 6 > len)
				break;
			memcpy(&rel, code + i + 2, sizeof(rel));
			try_two_bytes(p, vaddr, code + i, vaddr + 6 + (uint64_t)(int64_t)rel);
			break;
		}
	}
}

static void widen(struct elf_range *range, const uint64_t *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (range->end == 0 || list[i] < range->start)
			range->start = list[i];
		if (list[i] >= range->end)
			range->end = list[i] + 1;
	}
}

static void find_candidates(struct planner *p)
{
	struct elf_range ranges[RANGES_MAX];
	size_t n = elffile__code_ranges(p->ef, ranges, RANGES_MAX);

	for (size_t r = 0; r < CALLEES_N; r++) {
		widen(&p->stubs, p->imports[r].stubs, p->imports[r].stubs_n);
		widen(&p->slots, p->imports[r].slots, p->imports[r].slots_n);
	}
	for (size_t i = 0; i < n; i++)
		scan_range(p, ranges[i]);
}

/* ---- second pass: proof by decoding ------------------------------------------------------------- */

static int by_vaddr(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return x->vaddr < y->vaddr ? -1 : x->vaddr > y->vaddr;
}

/* Bytes of the instruction proper: opcode, ModRM and operand, without prefixes. */
static size_t branch_len(enum branch branch)
{
	return branch == BRANCH_CALL || branch == BRANCH_JUMP ? 5 : 6;
}

/*
 * A candidate is proven if the decoder arrives at an instruction that ends where it ends. Prefixes (`bnd`, the REX of
 * a load, `addr32` that linkers pad with) lie in front: the instruction starts with them, and so does the site.
 */
static void prove_one(struct candidate *c, const cs_insn *insn)
{
	uint64_t end = insn->address + insn->size;

	if (insn->address > c->vaddr || end != c->vaddr + branch_len(c->branch))
		return;
	c->proven = true;
	c->vaddr = insn->address;
}

/* Decodes `function` up to its last candidate; [first, last) are the candidates in it, by address. */
static void prove_function(struct planner *p, struct elf_range function, struct candidate *first,
			   struct candidate *last)
{
	uint64_t at = function.start;
	size_t left = function.end - function.start;
	const uint8_t *code = elffile__bytes(p->ef, at, left);

	if (!code || left > FUNCTION_MAX)
		return;
	while (first < last && cs_disasm_iter(p->decoder, &code, &left, &at, p->insn)) {
		while (first < last && first->vaddr < at) {
			prove_one(first, p->insn);
			first++;
		}
	}
}

static void prove_candidates(struct planner *p)
{
	struct candidate *c = p->candidates, *end = c + p->candidates_n;

	while (c < end) {
		struct candidate *last = c;
		struct elf_range function;

		if (elffile__function_at(p->ef, c->vaddr, &function) != 0) {
			c++;
			continue;
		}
		for (; last < end && last->vaddr < function.end; last++)
			last->function = function;
		prove_function(p, function, c, last);
		c = last;
	}
}

/* Decodes the one instruction at `vaddr`. False at the end of the function or on rubbish. */
static bool decode_at(struct planner *p, struct elf_range function, uint64_t vaddr)
{
	size_t left = function.end - vaddr;
	const uint8_t *code;
	uint64_t at = vaddr;

	if (vaddr < function.start || vaddr >= function.end)
		return false;
	code = elffile__bytes(p->ef, vaddr, left);
	return code && cs_disasm_iter(p->decoder, &code, &left, &at, p->insn);
}

/* ---- sites ---------------------------------------------------------------------------------- */

/* "call pthread_cond_signal@plt" says more than an address; other instructions are shown as decoded. */
static void describe(const struct planner *p, const struct candidate *c, struct site *site)
{
	char raw[256];

	switch (c ? c->branch : BRANCH_LOAD) {
	case BRANCH_CALL:
	case BRANCH_JUMP:
		snprintf(raw, sizeof(raw), "%s %s@plt", c->branch == BRANCH_CALL ? "call" : "jmp", callees[c->role]);
		break;
	case BRANCH_CALL_SLOT:
	case BRANCH_JUMP_SLOT:
		snprintf(raw, sizeof(raw), "%s *%s@got(%%rip)", c->branch == BRANCH_CALL_SLOT ? "call" : "jmp",
			 callees[c->role]);
		break;
	default:
		snprintf(raw, sizeof(raw), "%s %s", p->insn->mnemonic, p->insn->op_str);
	}
	text__clean(site->insn, sizeof(site->insn), raw, strlen(raw));
}

/* Appends a site; `c` is NULL for the instruction decoded last. 0 or -ENOENT (not in the file), -ENOMEM. */
static int add_site(struct planner *p, enum site_role role, uint64_t vaddr, struct elf_range function,
		    const struct candidate *c)
{
	struct site_plan *plan = p->plan;
	struct site *site, *more = realloc(plan->sites, (plan->sites_n + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	plan->sites = more;
	site = &plan->sites[plan->sites_n];
	memset(site, 0, sizeof(*site));
	if (elffile__offset_of(p->ef, vaddr, &site->offset) != 0)
		return -ENOENT;
	site->role = role;
	site->price = c && (c->branch == BRANCH_CALL_SLOT || c->branch == BRANCH_JUMP_SLOT) ? SITE_STEPPED :
											      SITE_EMULATED;
	site->vaddr = vaddr;
	site->function = function;
	describe(p, c, site);
	elffile__symbol_name(p->ef, vaddr, site->symbol, sizeof(site->symbol));
	plan->sites_n++;
	return 0;
}

/* Instructions that may stand between a timedwait and the jump: they move or compare, and go nowhere. */
static bool is_plain(const cs_insn *insn)
{
	switch (insn->id) {
	case X86_INS_MOV: case X86_INS_MOVABS: case X86_INS_MOVZX: case X86_INS_MOVSX: case X86_INS_MOVSXD:
	case X86_INS_CMP: case X86_INS_TEST:
		return true;
	}
	return false;
}

/* jcc rel8 or rel32, without prefixes: what the kernel emulates. */
static bool is_conditional_jump(const cs_insn *insn)
{
	return (insn->size == 2 && (insn->bytes[0] & 0xf0) == 0x70) ||
	       (insn->size == 6 && insn->bytes[0] == 0x0f && (insn->bytes[1] & 0xf0) == 0x80);
}

/* Where a relative jump goes; 0 for any other instruction. */
static uint64_t jump_target(const cs_insn *insn)
{
	const uint8_t *b = insn->bytes;
	uint64_t end = insn->address + insn->size;
	int32_t rel;

	if (insn->size == 2 && ((b[0] & 0xf0) == 0x70 || b[0] == 0xeb))
		return end + (uint64_t)(int64_t)(int8_t)b[1];
	if (!is_conditional_jump(insn) && !(insn->size == 5 && b[0] == 0xe9))
		return 0;
	memcpy(&rel, b + insn->size - 4, sizeof(rel));
	return end + (uint64_t)(int64_t)rel;
}

/* Whether a jump of `function` enters [start, end]: then the code there is not only the way out of a call. */
static bool is_entered(struct planner *p, struct elf_range function, uint64_t start, uint64_t end)
{
	size_t left = function.end - function.start;
	const uint8_t *code = elffile__bytes(p->ef, function.start, left);
	uint64_t at = function.start;

	while (code && cs_disasm_iter(p->decoder, &code, &left, &at, p->insn)) {
		uint64_t target = jump_target(p->insn);

		if (target >= start && target <= end)
			return true;
	}
	return false;
}

/* The conditional jump that every return from the timedwait at `c`, and nothing else, comes to. */
static int add_wake(struct planner *p, const struct candidate *c)
{
	uint64_t at = c->vaddr, start;

	if (c->branch == BRANCH_JUMP || c->branch == BRANCH_JUMP_SLOT || !decode_at(p, c->function, at))
		return -ENOENT;
	start = at + p->insn->size;
	at = start;
	for (int i = 0; i < WAKE_DISTANCE && decode_at(p, c->function, at); i++) {
		if (is_conditional_jump(p->insn)) {
			if (is_entered(p, c->function, start, at) || !decode_at(p, c->function, at))
				return -ENOENT;
			return add_site(p, SITE_WAKE, at, c->function, NULL);
		}
		if (!is_plain(p->insn))
			return -ENOENT;
		at += p->insn->size;
	}
	return -ENOENT;
}

static int take_proven(struct planner *p, const struct candidate *c)
{
	int err;

	if (c->branch == BRANCH_CONDITIONAL || c->branch == BRANCH_LOAD) {
		note(p->plan, "%s is %s at 0x%" PRIx64 ", where no probe can follow it", callees[c->role],
		     c->branch == BRANCH_LOAD ? "taken into a register" : "reached by a conditional jump", c->vaddr);
		return 0;
	}
	err = add_site(p, c->role, c->vaddr, c->function, c);
	if (err || c->role != SITE_WAIT)
		return err;
	err = add_wake(p, c);
	if (err == -ENOENT) {
		p->wakes_missing++;
		note(p->plan, "no conditional jump behind the wait at 0x%" PRIx64 ": no light mode", c->vaddr);
		err = 0;
	}
	return err;
}

static int take_candidates(struct planner *p)
{
	for (size_t i = 0; i < p->candidates_n; i++) {
		const struct candidate *c = &p->candidates[i];
		int err;

		if (!c->proven) {
			if (c->branch < BRANCH_CONDITIONAL)
				note(p->plan, "0x%" PRIx64 " looks like a call of %s, but is not proven an instruction",
				     c->vaddr, callees[c->role]);
			continue;
		}
		err = take_proven(p, c);
		if (err)
			return err;
	}
	return 0;
}

static int by_role(const void *a, const void *b)
{
	const struct site *x = a, *y = b;

	if (x->role != y->role)
		return x->role < y->role ? -1 : 1;
	return x->vaddr < y->vaddr ? -1 : x->vaddr > y->vaddr;
}

static size_t count_role(const struct site_plan *plan, enum site_role role)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->sites_n; i++)
		n += plan->sites[i].role == role;
	return n;
}

/* ---- the plan ------------------------------------------------------------------------------- */

static int find_imports(struct planner *p, struct reason *why)
{
	if (elffile__machine(p->ef) != EM_X86_64)
		return reason__set(why, -ENOTSUP, "this machine's instructions are not supported yet: x86-64 only");
	for (size_t r = 0; r < CALLEES_N; r++)
		elffile__import(p->ef, callees[r], &p->imports[r]);
	if (p->imports[SITE_SIGNAL].slots_n == 0 || p->imports[SITE_WAIT].slots_n == 0)
		return reason__set(why, -ENOTSUP,
				   "the interpreter does not import %s (statically linked libc?): no probe sites",
				   callees[p->imports[SITE_WAIT].slots_n == 0 ? SITE_WAIT : SITE_SIGNAL]);
	return 0;
}

static int check_plan(const struct planner *p, struct reason *why)
{
	size_t waits = count_role(p->plan, SITE_WAIT), signals = count_role(p->plan, SITE_SIGNAL);

	if (p->too_many)
		return reason__set(why, -ENOTSUP, "more than %d call sites: this is not a CPython of the known kind",
				   CANDIDATES_MAX);
	if (waits >= 1 && signals >= 2)
		return 0;
	return reason__set(why, -ENOTSUP, "only %zu wait and %zu signal sites are certain (1 and 2 are needed)%s%s", waits,
			   signals, p->plan->notes[0] ? ": " : "", p->plan->notes);
}

static int make_plan(struct planner *p, struct reason *why)
{
	int err = find_imports(p, why);

	if (err)
		return err;
	find_candidates(p);
	qsort(p->candidates, p->candidates_n, sizeof(*p->candidates), by_vaddr);
	prove_candidates(p);
	err = take_candidates(p);
	if (err)
		return reason__set(why, err, "the probe plan could not be made: %s", strerror(-err));
	if (p->plan->sites_n > 0)
		qsort(p->plan->sites, p->plan->sites_n, sizeof(*p->plan->sites), by_role);
	p->plan->light = p->wakes_missing == 0;
	p->plan->method = "call sites";
	return check_plan(p, why);
}

static int open_planner(struct planner *p, struct elffile *ef)
{
	p->ef = ef;
	p->plan = calloc(1, sizeof(*p->plan));
	p->candidates = calloc(CANDIDATES_MAX, sizeof(*p->candidates));
	if (!p->plan || !p->candidates)
		return -ENOMEM;
	if (cs_open(CS_ARCH_X86, CS_MODE_64, &p->decoder) != CS_ERR_OK)
		return -ENOMEM;
	cs_option(p->decoder, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
	p->insn = cs_malloc(p->decoder);
	return p->insn ? 0 : -ENOMEM;
}

static void close_planner(struct planner *p)
{
	if (p->insn)
		cs_free(p->insn, 1);
	if (p->decoder)
		cs_close(&p->decoder);
	free(p->candidates);
}

int sites__plan(struct elffile *ef, struct site_plan **ret, struct reason *why)
{
	struct planner p = {0};
	int err = open_planner(&p, ef);

	if (err)
		reason__set(why, err, "the probe plan could not be made: out of memory");
	else
		err = make_plan(&p, why);
	close_planner(&p);
	if (err) {
		site_plan__free(p.plan);
		return err;
	}
	*ret = p.plan;
	return 0;
}

void site_plan__free(struct site_plan *plan)
{
	if (!plan)
		return;
	free(plan->sites);
	free(plan);
}
