/* SPDX-License-Identifier: GPL-2.0-only */
/* See gc_sites.h. */
#include "gc_sites.h"

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

/* The one instruction in all the file that refers to the semaphore; false: there are more, none, or one of another form. */
static bool find_reader(const struct decoder *d, uint64_t semaphore, struct elf_range *ret_function)
{
	struct elf_range ranges[RANGES_MAX];
	size_t n = elffile__code_ranges(d->ef, ranges, RANGES_MAX), left;
	struct references found = {0};
	const uint8_t *code;
	uint64_t at;

	for (size_t i = 0; i < n; i++)
		find_references(d, ranges[i], semaphore, &found);
	if (found.n != 1 || elffile__function_at(d->ef, found.at, ret_function) != 0)
		return false;
	at = ret_function->start;
	left = ret_function->end - at;
	code = left > FUNCTION_MAX ? NULL : elffile__bytes(d->ef, at, left);
	while (code && at <= found.at && capstone.disasm_iter(d->handle, &code, &left, &at, d->insn))
		;
	return code && d->insn->address <= found.at && at >= found.at + 4 && d->arch->reads_word(d->insn) == semaphore;
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

enum gc_sites_found gc_sites__find(const struct decoder *d, struct gc_site *ret_start, struct gc_site *ret_done)
{
	enum gc_sites_found start = find_one(d, "gc__start", ret_start);

	return start == GC_SITES_FOUND ? find_one(d, "gc__done", ret_done) : start;
}
