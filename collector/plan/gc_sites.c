/* SPDX-License-Identifier: GPL-2.0-only */
/* See gc_sites.h. */
#include "gc_sites.h"

#include <string.h>

#include "collector/elf/usdt.h"

#define PROVIDER "python"
#define RANGES_MAX 64
#define SHORT_BRANCH 2          /* bytes: it goes no further than its own function and a neighbour's edge */
#define FUNCTION_MAX (1u << 20) /* bytes; the collector's has some 4 KB */
#define JUMP_DISTANCE 8         /* instructions between reading the semaphore and the jump */
#define NOTE_DISTANCE 32        /* instructions between the jump and the note: the note's arguments are made there */

/* What refers to an address in code, or would if these bytes were an instruction's. */
struct references {
	size_t n;
	uint64_t at;                /* of the 32 bits that do, of the last one */
};

static void find_references(const struct decoder *d, struct elf_range range, uint64_t address, struct references *ret)
{
	size_t len = range.end - range.start;
	const uint8_t *code = elffile__bytes(d->ef, range.start, len);

	for (size_t i = 0; code && i + 4 <= len && !elffile__is_spent(d->ef, i); i++)
		if (d->arch->may_refer(code, i, range.start, address)) {
			ret->n++;
			ret->at = range.start + i;
		}
}

/*
 * Decodes from the function's start on, up to the first instruction that begins at `limit` or behind; the one before it is
 * d->insn. Its address; less than `limit`: the decoder does not get there; 0: the bytes cannot be had.
 */
static uint64_t decode_up_to(const struct decoder *d, struct elf_range function, uint64_t limit)
{
	size_t left = function.end - function.start;
	uint64_t at = function.start;
	const uint8_t *code = left > FUNCTION_MAX ? NULL : elffile__bytes(d->ef, at, left);

	while (code && at < limit && capstone.disasm_iter(d->handle, &code, &left, &at, d->insn))
		;
	return code ? at : 0;
}

/* The one instruction in all the file that refers to the semaphore; false: there are more, none, or one of another form. */
static bool find_reader(const struct decoder *d, uint64_t semaphore, struct elf_range *ret_function)
{
	struct elf_range ranges[RANGES_MAX];
	size_t n = elffile__code_ranges(d->ef, ranges, RANGES_MAX);
	struct references found = {0};

	for (size_t i = 0; i < n; i++)
		find_references(d, ranges[i], semaphore, &found);
	if (found.n != 1 || elffile__function_at(d->ef, found.at, ret_function) != 0)
		return false;
	return decode_up_to(d, *ret_function, found.at + 1) >= found.at + 4 && d->insn->address <= found.at &&
	       d->arch->reads_word(d->insn) == semaphore;
}

/* Whether what looks like a long branch goes into [start, end]. */
static bool is_entered_from(const struct decoder *d, struct elf_range range, uint64_t start, uint64_t end)
{
	size_t len = range.end - range.start;
	const uint8_t *code = elffile__bytes(d->ef, range.start, len);
	struct insn_scan scan = {0};
	struct insn_ref ref = {0};

	for (size_t i = 0; code && i < len && !elffile__is_spent(d->ef, i); i += d->arch->step)
		if (d->arch->look(&scan, code + i, len - i, range.start + i, &ref) && ref.branch <= BRANCH_CONDITIONAL &&
		    ref.len > SHORT_BRANCH && ref.target >= start && ref.target <= end)
			return true;
	return false;
}

/*
 * Whether anything branches into [start, end]: in the function itself, or over a longer way from elsewhere in the file, since
 * compilers put what is seldom needed of a function apart.
 */
static bool is_entered(const struct decoder *d, struct elf_range function, uint64_t start, uint64_t end)
{
	struct elf_range ranges[RANGES_MAX];
	size_t n = elffile__code_ranges(d->ef, ranges, RANGES_MAX);

	for (size_t r = 0; r < n; r++)
		if (is_entered_from(d, ranges[r], start, end))
			return true;
	return decoder__is_entered(d, function, start, end);
}

/* Whether the code from `at` on comes to the note, with nothing but moves and jumps that are always taken on the way. */
static bool leads_to(const struct decoder *d, uint64_t at, uint64_t note)
{
	for (int i = 0; at != note && i < NOTE_DISTANCE; i++) {
		struct elf_range function;

		if (elffile__function_at(d->ef, at, &function) != 0 || !decoder__at(d, function, at))
			return false;
		if (d->arch->is_jump(d->insn))
			at = d->arch->target(d->insn, false);
		else if (d->arch->is_plain(d->insn) || d->arch->code_address(&(struct insn_scan){0}, d->insn))
			at += d->insn->size;
		else
			return false;
	}
	return at == note;
}

/* The conditional jump behind the instruction decoded last. */
static bool find_jump(const struct decoder *d, struct elf_range function, uint64_t note, uint64_t *ret)
{
	uint64_t start = d->insn->address + d->insn->size, at = start, taken, behind;

	for (int i = 0; i < JUMP_DISTANCE && decoder__at(d, function, at) && !d->arch->is_conditional(d->insn); i++) {
		if (!d->arch->is_plain(d->insn))
			return false;
		at = d->insn->address + d->insn->size;
	}
	if (!decoder__at(d, function, at) || !d->arch->is_conditional(d->insn))
		return false;
	taken = d->arch->target(d->insn, false);
	behind = at + d->insn->size;
	*ret = at;
	return (leads_to(d, taken, note) || leads_to(d, behind, note)) && !is_entered(d, function, start, at);
}

static enum gc_sites_found find_one(const struct decoder *d, const char *name, struct gc_site *ret)
{
	struct usdt_note notes[2];
	size_t n = usdt__find(d->ef, PROVIDER, name, notes, 2);

	if (n == 0)
		return GC_SITES_NO_NOTES;
	if (n > 1 || !notes[0].semaphore || !d->arch->reads_word ||
	    !find_reader(d, notes[0].semaphore, &ret->function) || !find_jump(d, ret->function, notes[0].place, &ret->vaddr))
		return GC_SITES_UNPROVEN;
	return GC_SITES_FOUND;
}

static enum gc_sites_found find_notes(const struct decoder *d, struct gc_sites *ret)
{
	enum gc_sites_found start = find_one(d, "gc__start", &ret->start[0]);

	ret->n = 1;
	return start == GC_SITES_FOUND ? find_one(d, "gc__done", &ret->done[0]) : start;
}

/* ---- by calls ---- */

/* 3.10 and later; before, with what compilers append to the names of copies that they make for some callers. */
static const char *const collectors[][3] = {
	{"gc_collect_main", "gc_collect_main.constprop.0", "gc_collect_main.isra.0"},
	{"collect", "collect.constprop.0", "collect.constprop.1"},
};

#define COLLECTORS_MAX 4
#define BRANCH_DISTANCE 16       /* instructions between a call and the branch behind it */
#define COLLECTOR_NEAR (1u << 16) /* bytes between it and PyGC_Collect, which is in the same source file */

/* Where nothing may jump into: from behind a call to the site of its end. */
struct landing {
	struct elf_range function;
	uint64_t start, end;
};

struct calls {
	uint64_t callee;
	uint64_t at[GC_SITES_MAX];
	size_t n;
	bool others; /* something refers to it that is no call, or it is called too often */
};

static size_t find_collectors(const struct decoder *d, uint64_t *ret)
{
	size_t n = 0;

	for (size_t i = 0; n == 0 && i < sizeof(collectors) / sizeof(collectors[0]); i++)
		for (size_t k = 0; k < 3; k++)
			n = elffile__functions(d->ef, collectors[i][k], ret, n, COLLECTORS_MAX);
	return n;
}

static void find_calls_in(const struct decoder *d, struct elf_range range, struct calls *ret)
{
	size_t len = range.end - range.start;
	const uint8_t *code = elffile__bytes(d->ef, range.start, len);
	struct insn_scan scan = {0};
	struct insn_ref ref = {0};

	for (size_t i = 0; code && i < len && !elffile__is_spent(d->ef, i); i += d->arch->step) {
		if (!d->arch->look(&scan, code + i, len - i, range.start + i, &ref) || ref.target != ret->callee)
			continue;
		if (ref.branch == BRANCH_CALL && ret->n < GC_SITES_MAX)
			ret->at[ret->n++] = range.start + i;
		else
			ret->others = true;
	}
}

/* All that looks like a call of it. False: there is none, or more than that. */
static bool find_calls(const struct decoder *d, uint64_t callee, struct calls *ret)
{
	struct elf_range ranges[RANGES_MAX];
	size_t n = elffile__code_ranges(d->ef, ranges, RANGES_MAX);
	struct references found = {0};

	*ret = (struct calls){.callee = callee};
	for (size_t i = 0; i < n; i++) {
		find_references(d, ranges[i], callee, &found);
		find_calls_in(d, ranges[i], ret);
	}
	return ret->n > 0 && !ret->others && found.n == 0;
}

/*
 * The first direct branch behind a call, which the kernel emulates, or the very instruction behind where something else comes
 * first: that is single-stepped (_PyGC_CollectNoFail, which returns; an interpreter calls it when it ends).
 */
static bool find_done(const struct decoder *d, struct elf_range function, uint64_t behind, uint64_t *ret)
{
	uint64_t at = behind;

	if (!decoder__at(d, function, behind))
		return false;
	*ret = behind;
	for (int i = 0; i < BRANCH_DISTANCE && decoder__at(d, function, at); i++) {
		if (d->arch->target(d->insn, true)) {
			*ret = at;
			return true;
		}
		if (!d->arch->goes_on(d->handle, d->insn))
			return true;
		at += d->insn->size;
	}
	return true;
}

static bool take_call(const struct decoder *d, const struct calls *calls, uint64_t at, struct gc_sites *ret,
		      struct landing *landings)
{
	struct elf_range function;
	uint64_t behind, done;

	if (ret->n == GC_SITES_MAX || elffile__function_at(d->ef, at, &function) != 0 || decode_up_to(d, function, at) != at ||
	    !decoder__at(d, function, at) || d->arch->target(d->insn, true) != calls->callee)
		return false;
	behind = at + d->insn->size;
	if (!find_done(d, function, behind, &done))
		return false;
	ret->start[ret->n] = (struct gc_site){.vaddr = at, .function = function};
	ret->done[ret->n] = (struct gc_site){.vaddr = done, .function = function};
	landings[ret->n++] = (struct landing){function, behind, done};
	return true;
}

static enum gc_sites_found find_by_calls(const struct decoder *d, struct gc_sites *ret)
{
	uint64_t functions[COLLECTORS_MAX];
	size_t n = find_collectors(d, functions);
	struct landing landings[GC_SITES_MAX];
	struct elf_symbol known;
	bool called = false;

	ret->n = 0;
	if (n == 0 || !d->arch->may_refer || elffile__symbol(d->ef, "PyGC_Collect", &known) != 0)
		return GC_SITES_NO_NOTES;
	for (size_t i = 0; i < n; i++) {
		struct calls calls;

		if (functions[i] - known.vaddr + COLLECTOR_NEAR > 2 * COLLECTOR_NEAR || !find_calls(d, functions[i], &calls))
			return GC_SITES_NO_CALLS;
		for (size_t k = 0; k < calls.n; k++)
			if (!take_call(d, &calls, calls.at[k], ret, landings))
				return GC_SITES_NO_CALLS;
	}
	for (size_t i = 0; i < ret->n; i++) {
		called |= landings[i].function.start == known.vaddr;
		if (is_entered(d, landings[i].function, landings[i].start, landings[i].end))
			return GC_SITES_NO_CALLS;
	}
	return called ? GC_SITES_FOUND : GC_SITES_NO_CALLS;
}

/* ---- by what it tells its callbacks ---- */

static const char *const tellers[] = {"invoke_gc_callback", "invoke_gc_callback.isra.0", "invoke_gc_callback.constprop.0"};

#define TELLERS_MAX 4
#define WORD_DISTANCE 16 /* instructions between the one that takes the word's address and the call */

static bool is_word(const struct decoder *d, uint64_t address, const char *word)
{
	const uint8_t *bytes = address ? elffile__bytes(d->ef, address, strlen(word) + 1) : NULL;

	return bytes && memcmp(bytes, word, strlen(word) + 1) == 0;
}

/*
 * Whether the call at `at` is made with that word: on the straight way to it the word's address is taken, and nothing jumps in
 * between.
 */
static bool is_called_with(const struct decoder *d, struct elf_range function, uint64_t at, const char *word)
{
	struct insn_scan scan = {0};
	uint64_t taken = 0, pc = function.start;
	size_t left = function.end - function.start;
	const uint8_t *code = left > FUNCTION_MAX ? NULL : elffile__bytes(d->ef, pc, left);

	for (int since = 0; code && pc < at && capstone.disasm_iter(d->handle, &code, &left, &pc, d->insn); since++) {
		if (is_word(d, d->arch->code_address(&scan, d->insn), word)) {
			taken = pc;
			since = 0;
		} else if (!d->arch->goes_on(d->handle, d->insn) || since > WORD_DISTANCE) {
			taken = 0;
		}
	}
	return pc == at && taken && !is_entered(d, function, taken, at);
}

static bool take_word(const struct decoder *d, const struct calls *calls, uint64_t at, const char *word, struct gc_site *ret)
{
	struct elf_range function;

	if (elffile__function_at(d->ef, at, &function) != 0 || !is_called_with(d, function, at, word) ||
	    !decoder__at(d, function, at) || d->arch->target(d->insn, true) != calls->callee)
		return false;
	*ret = (struct gc_site){.vaddr = at, .function = function};
	return true;
}

static enum gc_sites_found find_by_callbacks(const struct decoder *d, struct gc_sites *ret)
{
	uint64_t functions[TELLERS_MAX];
	struct calls calls;
	size_t n = 0;

	for (size_t i = 0; i < sizeof(tellers) / sizeof(tellers[0]); i++)
		n = elffile__functions(d->ef, tellers[i], functions, n, TELLERS_MAX);
	if (n != 1 || !d->arch->may_refer || !find_calls(d, functions[0], &calls) || calls.n != 2)
		return GC_SITES_NO_CALLS;
	ret->n = 1;
	for (size_t first = 0; first < 2; first++)
		if (take_word(d, &calls, calls.at[first], "start", &ret->start[0]) &&
		    take_word(d, &calls, calls.at[1 - first], "stop", &ret->done[0]) &&
		    ret->start[0].function.start == ret->done[0].function.start)
			return GC_SITES_FOUND;
	return GC_SITES_NO_CALLS;
}

enum gc_sites_found gc_sites__find(const struct decoder *d, struct gc_sites *ret)
{
	enum gc_sites_found found = find_notes(d, ret);

	if (found == GC_SITES_NO_NOTES)
		found = find_by_calls(d, ret);
	return found == GC_SITES_NO_CALLS ? find_by_callbacks(d, ret) : found;
}
