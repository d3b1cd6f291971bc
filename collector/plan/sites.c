/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See sites.h.
 *
 * Two passes. The first runs over the bytes of the code and takes whatever looks like a branch to one of the three
 * functions; it may be wrong, since any byte can look like an opcode. The second decodes each function that has a candidate
 * from its start, and keeps the candidates that turn out to be instructions. Only those are ever planted.
 */
#include "sites.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/text.h"
#include "collector/elf/decoder.h"
#include "gc_sites.h"

#define CANDIDATES_MAX 4096          /* real builds have 4 to 26 */
#define RANGES_MAX 64
#define FUNCTION_MAX (4u << 20)      /* bytes; the eval loop has some 100 KB */
#define INSIDE_MAX 512               /* functions that the three reach in two steps: 26 in glibc 2.36 */
#define LOAD_DISTANCE 32             /* instructions between a load from the GOT and its call */
#define ENTRY_DISTANCE 6             /* instructions into a function of the C library's */
#define WAKE_DISTANCE 8              /* instructions between a timedwait and its conditional jump */

/* The three functions, in the order of enum site_role. */
static const char *const callees[] = {
	[SITE_SIGNAL] = "pthread_cond_signal",
	[SITE_WAIT] = "pthread_cond_timedwait",
	[SITE_HANDOFF] = "pthread_cond_wait",
};
#define CALLEES_N (sizeof(callees) / sizeof(callees[0]))

/* What the C libraries call them where they are linked in (nptl/pthread_cond_*.c; musl, src/thread). */
static const char *const definitions[CALLEES_N][6] = {
	[SITE_SIGNAL] = {"pthread_cond_signal", "__pthread_cond_signal", "___pthread_cond_signal"},
	[SITE_WAIT] = {"pthread_cond_timedwait", "__pthread_cond_timedwait", "___pthread_cond_timedwait",
		       "__pthread_cond_timedwait64", "___pthread_cond_timedwait64"},
	[SITE_HANDOFF] = {"pthread_cond_wait", "__pthread_cond_wait", "___pthread_cond_wait"},
};
#define ENTRIES_MAX 16               /* different functions under one of these names; real files have one */

struct candidate {
	uint64_t vaddr;
	enum site_role role;
	enum branch branch;
	size_t len;    /* from vaddr to the instruction's end */
	uint64_t from; /* BRANCH_LOAD: where making the slot's address began; else vaddr */
	bool proven;
	struct elf_range function;
};

/* What keeps a call from being a site, or light mode from being had. */
enum oddity {
	ODD_UNPROVEN,
	ODD_REGISTER,
	ODD_CONDITIONAL,
	ODD_NO_JUMP,
	ODDITIES_N,
};

/* A file that is odd at all is odd at many places: the first is named, the others are counted. */
struct odd_places {
	size_t n;
	uint64_t vaddr;
	enum site_role role;
};

struct planner {
	struct elffile *ef;
	const struct insn_arch *arch;
	struct site_plan *plan;
	struct elf_import imports[CALLEES_N];
	uint64_t entries[CALLEES_N][ENTRIES_MAX]; /* functions of the file itself: where stubs would be otherwise */
	struct elf_range stubs, slots; /* from the lowest to the highest of each: nearly every byte is told by that */
	struct candidate *candidates;
	size_t candidates_n;
	bool linked_in; /* they are functions of the file itself */
	bool too_many;
	struct odd_places odd[ODDITIES_N];
	struct elf_range inside[INSIDE_MAX]; /* functions of the C library, where no site is the interpreter's */
	size_t inside_n;
	csh decoder;
	cs_insn *insn;
};

const char *site_role__name(enum site_role role)
{
	static const char *const names[SITE_ROLES_N] = {
		[SITE_SIGNAL] = "signal", [SITE_WAIT] = "wait", [SITE_HANDOFF] = "handoff", [SITE_WAKE] = "wake",
		[SITE_GC_START] = "gc-start", [SITE_GC_DONE] = "gc-done",
	};

	return role < SITE_ROLES_N ? names[role] : "?";
}

/* Adds a half-sentence to the plan's notes. They have room for all that there are of them. */
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

/* Whether the address lies in one of our stubs. */
static bool in_stub(const struct planner *p, uint64_t vaddr)
{
	for (size_t r = 0; r < CALLEES_N; r++)
		for (size_t i = 0; i < p->imports[r].stubs_n; i++)
			if (vaddr - p->imports[r].stubs[i] < p->arch->stub_max)
				return true;
	return false;
}

static void add_candidate(struct planner *p, uint64_t vaddr, enum site_role role, const struct insn_ref *ref)
{
	if (p->candidates_n == CANDIDATES_MAX) {
		p->too_many = true;
		return;
	}
	p->candidates[p->candidates_n++] = (struct candidate){
		.vaddr = vaddr,
		.role = role,
		.branch = ref->branch,
		.len = ref->len,
		.from = ref->from ? ref->from : vaddr,
	};
}

/* A branch to a stub of one of the three, or to the function itself. */
static void try_stub(struct planner *p, uint64_t vaddr, const struct insn_ref *ref)
{
	if (ref->target < p->stubs.start || ref->target >= p->stubs.end)
		return;
	for (size_t r = 0; r < CALLEES_N; r++)
		if (among(p->imports[r].stubs, p->imports[r].stubs_n, ref->target))
			add_candidate(p, vaddr, (enum site_role)r, ref);
}

static void try_slot(struct planner *p, uint64_t vaddr, const struct insn_ref *ref)
{
	if (ref->target < p->slots.start || ref->target >= p->slots.end)
		return;
	for (size_t r = 0; r < CALLEES_N; r++)
		if (among(p->imports[r].slots, p->imports[r].slots_n, ref->target) && !in_stub(p, vaddr))
			add_candidate(p, vaddr, (enum site_role)r, ref);
}

static bool is_of_slot(enum branch branch)
{
	return branch == BRANCH_CALL_SLOT || branch == BRANCH_JUMP_SLOT || branch == BRANCH_LOAD;
}

static void scan_range(struct planner *p, struct elf_range range)
{
	const uint8_t *code = elffile__bytes(p->ef, range.start, range.end - range.start);
	size_t len = range.end - range.start;
	struct insn_scan scan = {0};
	struct insn_ref ref = {0};

	for (size_t i = 0; code && i < len && !elffile__is_spent(p->ef, i); i += p->arch->step) {
		if (!p->arch->look(&scan, code + i, len - i, range.start + i, &ref))
			continue;
		if (is_of_slot(ref.branch))
			try_slot(p, range.start + i, &ref);
		else
			try_stub(p, range.start + i, &ref);
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

/* ---- the C library's insides ------------------------------------------------------------------------ */

/*
 * Linked in, the C library's own calls are in the same code: a timed-out waiter of glibc's may pass its signal on
 * (__condvar_cancel_waiting), musl's pthread_cond_wait() is a jump to pthread_cond_timedwait(). They are no calls of the
 * interpreter's, but have its arguments. So no site lies in the three functions, nor in what they reach in two steps.
 */
static void add_inside(struct planner *p, uint64_t vaddr)
{
	struct elf_range function;

	if (p->inside_n == INSIDE_MAX || elffile__function_at(p->ef, vaddr, &function) != 0)
		return;
	for (size_t i = 0; i < p->inside_n; i++)
		if (p->inside[i].start == function.start)
			return;
	p->inside[p->inside_n++] = function;
}

/* Functions that this one calls, jumps to, or takes the address of (handlers of cancellation). */
static void add_reached(struct planner *p, struct elf_range function)
{
	size_t left = function.end - function.start;
	const uint8_t *code = left > FUNCTION_MAX ? NULL : elffile__bytes(p->ef, function.start, left);
	uint64_t at = function.start;
	struct insn_scan scan = {0};

	while (code && !elffile__is_spent(p->ef, left) && capstone.disasm_iter(p->decoder, &code, &left, &at, p->insn)) {
		uint64_t target = p->arch->target(p->insn, true), address = p->arch->code_address(&scan, p->insn);

		if (target && (target < function.start || target >= function.end))
			add_inside(p, target);
		if (address)
			add_inside(p, address);
	}
}

/* 0 or -ENOTSUP: one of the three has no entry in .eh_frame, so that its inside cannot be told. */
static int find_inside(struct planner *p)
{
	size_t first = 0, last;
	struct elf_range function;

	for (size_t r = 0; r < CALLEES_N; r++)
		for (size_t i = 0; i < p->imports[r].stubs_n; i++) {
			if (elffile__function_at(p->ef, p->entries[r][i], &function) != 0)
				return -ENOTSUP;
			add_inside(p, p->entries[r][i]);
		}
	for (int step = 0; step < 2; step++) {
		last = p->inside_n;
		for (; first < last; first++)
			add_reached(p, p->inside[first]);
	}
	return p->inside_n == INSIDE_MAX ? -ENOTSUP : 0;
}

static bool is_inside(const struct planner *p, uint64_t vaddr)
{
	for (size_t i = 0; i < p->inside_n; i++)
		if (vaddr >= p->inside[i].start && vaddr < p->inside[i].end)
			return true;
	return false;
}

/* ---- second pass: proof by decoding ------------------------------------------------------------- */

static int by_vaddr(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return x->vaddr < y->vaddr ? -1 : x->vaddr > y->vaddr;
}

/*
 * A candidate is proven if the decoder arrives at an instruction that ends where it ends. Prefixes (`bnd`, the REX of
 * a load, `addr32` that linkers pad with) lie in front: the instruction starts with them, and so does the site.
 */
static void prove_one(struct candidate *c, const cs_insn *insn)
{
	uint64_t end = insn->address + insn->size;

	if (insn->address > c->vaddr || end != c->vaddr + c->len)
		return;
	c->proven = true;
	if (c->from == c->vaddr)
		c->from = insn->address;
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
	while (first < last && capstone.disasm_iter(p->decoder, &code, &left, &at, p->insn)) {
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

static struct decoder decoder_of(const struct planner *p)
{
	return (struct decoder){.ef = p->ef, .arch = p->arch, .handle = p->decoder, .insn = p->insn};
}

static bool decode_at(const struct planner *p, struct elf_range function, uint64_t vaddr)
{
	const struct decoder d = decoder_of(p);

	return decoder__at(&d, function, vaddr);
}

/* ---- sites ---------------------------------------------------------------------------------- */

/* "call pthread_cond_signal@plt" says more than an address; other instructions are shown as decoded. */
static void describe(const struct planner *p, const struct candidate *c, struct site *site)
{
	char raw[256];

	switch (c ? c->branch : BRANCH_LOAD) {
	case BRANCH_CALL:
	case BRANCH_JUMP:
		snprintf(raw, sizeof(raw), "%s %s%s", c->branch == BRANCH_CALL ? "call" : "jmp", callees[c->role],
			 p->linked_in ? "" : "@plt");
		break;
	case BRANCH_CALL_SLOT:
	case BRANCH_JUMP_SLOT:
		snprintf(raw, sizeof(raw), "%s *%s@got", c->branch == BRANCH_CALL_SLOT ? "call" : "jmp",
			 callees[c->role]);
		break;
	default:
		snprintf(raw, sizeof(raw), "%s %s", p->insn->mnemonic, p->insn->op_str);
	}
	text__clean(site->insn, sizeof(site->insn), raw, strlen(raw));
}

/*
 * What the process is to have in memory at the site, whose instruction was decoded last. In a file whose text is relocated only
 * the instruction itself: what stands around it is not the file's. False: the file has no such bytes.
 */
static bool take_text(const struct planner *p, struct site *site)
{
	size_t around = elffile__has_text_relocations(p->ef) ? 0 : SITE_TEXT_AROUND;
	struct site_text *text = &site->text;
	size_t before = site->vaddr - site->function.start, behind = site->function.end - site->vaddr - p->insn->size;
	const uint8_t *bytes;

	before = before < around ? before : around;
	behind = behind < around ? behind : around;
	text->at = before;
	text->insn_len = p->insn->size;
	text->len = before + text->insn_len + behind;
	text->offset = site->offset - before;
	bytes = elffile__bytes(p->ef, site->vaddr - before, text->len);
	if (!bytes || text->len > sizeof(text->bytes))
		return false;
	memcpy(text->bytes, bytes, text->len);
	return true;
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
	site->price = c && is_of_slot(c->branch) && p->arch->slots_are_stepped ? SITE_STEPPED : SITE_EMULATED;
	site->vaddr = vaddr;
	site->function = function;
	describe(p, c, site);
	if ((c && !decode_at(p, function, vaddr)) || !take_text(p, site))
		return -ENOENT;
	elffile__symbol_name(p->ef, vaddr, site->symbol, sizeof(site->symbol));
	plan->sites_n++;
	return 0;
}

/* Whether a jump of `function` enters [start, end]: then the code there is not only the way out of a call. */
static bool is_entered(const struct planner *p, struct elf_range function, uint64_t start, uint64_t end)
{
	const struct decoder d = decoder_of(p);

	return decoder__is_entered(&d, function, start, end);
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
		if (p->arch->is_conditional(p->insn)) {
			if (is_entered(p, c->function, start, at) || !decode_at(p, c->function, at))
				return -ENOENT;
			return add_site(p, SITE_WAKE, at, c->function, NULL);
		}
		if (!p->arch->is_plain(p->insn))
			return -ENOENT;
		at += p->insn->size;
	}
	return -ENOENT;
}

/* Whether the instruction decoded last leaves a register as it is and goes on to the next one. */
static bool keeps(struct planner *p, unsigned int number)
{
	return p->arch->goes_on(p->decoder, p->insn) && !p->arch->writes(p->decoder, p->insn, number);
}

/*
 * The call or jump through the register that the load at `c` fills: the one thing that can be done with what is in it, if
 * between the slot's address and that call nothing else touches the registers, nothing branches or is branched to, and
 * the register does not outlive a call. Then `c` becomes that call.
 */
static bool follow_load(struct planner *p, struct candidate *c, const struct insn_load *load)
{
	uint64_t at = c->from;

	for (int i = 0; load->dies && i < LOAD_DISTANCE && decode_at(p, c->function, at); i++) {
		enum branch branch;

		if (at > c->vaddr && p->arch->through(p->insn, load, &branch)) {
			if (is_entered(p, c->function, c->from + 1, at))
				return false;
			c->vaddr = at;
			c->branch = branch;
			return true;
		}
		if ((at > c->vaddr && !keeps(p, load->dest)) ||
		    (at > c->from && at < c->vaddr && !keeps(p, (unsigned int)load->base)))
			return false;
		at += p->insn->size;
	}
	return false;
}

/* Whether the register with the slot's page gets something else on the way to the load: then it is no load from the GOT. */
static bool is_stale(struct planner *p, const struct candidate *c, const struct insn_load *load)
{
	uint64_t at = c->from;

	if (c->from < c->function.start)
		return true;
	for (; at < c->vaddr && decode_at(p, c->function, at); at += p->insn->size)
		if (at > c->from && (p->arch->writes(p->decoder, p->insn, (unsigned int)load->base) ||
				     capstone.insn_group(p->decoder, p->insn, CS_GRP_CALL)))
			return true;
	return false;
}

/* What becomes of a load from the GOT. False: it is none. */
static bool take_load(struct planner *p, struct candidate *c)
{
	struct insn_load load;

	if (!decode_at(p, c->function, c->vaddr) || !p->arch->load(p->insn, &load))
		return true;
	if (load.base >= 0 && is_stale(p, c, &load))
		return false;
	follow_load(p, c, &load);
	return true;
}

static void count_odd(struct planner *p, enum oddity oddity, const struct candidate *c)
{
	struct odd_places *places = &p->odd[oddity];

	if (places->n++ > 0)
		return;
	places->vaddr = c->vaddr;
	places->role = c->role;
}

static void note_oddities(struct planner *p)
{
	for (int i = 0; i < ODDITIES_N; i++) {
		const struct odd_places *odd = &p->odd[i];
		const char *callee = callees[odd->role];
		char at[64];

		if (odd->n == 0)
			continue;
		snprintf(at, sizeof(at), "0x%" PRIx64, odd->vaddr);
		if (odd->n > 1)
			snprintf(at + strlen(at), sizeof(at) - strlen(at), " (and at %zu more places)", odd->n - 1);
		if (i == ODD_UNPROVEN)
			note(p->plan, "what looks like a call of %s at %s is not proven an instruction", callee, at);
		else if (i == ODD_NO_JUMP)
			note(p->plan, "no conditional jump behind the wait at %s: no light mode", at);
		else
			note(p->plan, "%s is %s at %s, where no probe can follow it", callee,
			     i == ODD_REGISTER ? "taken into a register" : "reached by a conditional jump", at);
	}
}

static int take_proven(struct planner *p, struct candidate *c)
{
	int err;

	if (c->branch == BRANCH_LOAD && !take_load(p, c))
		return 0;
	if (c->branch == BRANCH_CONDITIONAL || c->branch == BRANCH_LOAD) {
		p->plan->incomplete = true;
		count_odd(p, c->branch == BRANCH_LOAD ? ODD_REGISTER : ODD_CONDITIONAL, c);
		return 0;
	}
	err = add_site(p, c->role, c->vaddr, c->function, c);
	if (err || c->role != SITE_WAIT)
		return err;
	err = add_wake(p, c);
	if (err != -ENOENT)
		return err;
	count_odd(p, ODD_NO_JUMP, c);
	return 0;
}

static int take_candidates(struct planner *p)
{
	for (size_t i = 0; i < p->candidates_n; i++) {
		struct candidate *c = &p->candidates[i];
		int err;

		if (is_inside(p, c->vaddr))
			continue;
		if (!c->proven) {
			if (c->branch >= BRANCH_CONDITIONAL)
				continue;
			p->plan->incomplete = true;
			count_odd(p, ODD_UNPROVEN, c);
			continue;
		}
		err = take_proven(p, c);
		if (err)
			return err;
	}
	return 0;
}

/* ---- garbage collection --------------------------------------------------------------------- */

static int add_gc_site(struct planner *p, enum site_role role, const struct gc_site *at)
{
	int err = decode_at(p, at->function, at->vaddr) ? add_site(p, role, at->vaddr, at->function, NULL) : -ENOENT;

	if (!err && !p->arch->target(p->insn, true))
		p->plan->sites[p->plan->sites_n - 1].price = SITE_STEPPED;
	return err;
}

/* Where the sites of collections are; without them, those are seen by looking. */
static int take_gc_sites(struct planner *p)
{
	struct gc_sites at;
	const struct decoder d = decoder_of(p);
	int err = 0;

	p->plan->gc = gc_sites__find(&d, &at);
	for (size_t i = 0; !err && p->plan->gc == GC_SITES_FOUND && i < at.n; i++) {
		err = add_gc_site(p, SITE_GC_START, &at.start[i]);
		err = err ?: add_gc_site(p, SITE_GC_DONE, &at.done[i]);
	}
	return err;
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

static bool reaches(const struct planner *p, enum site_role role)
{
	return p->imports[role].slots_n > 0 || p->imports[role].stubs_n > 0;
}

static void find_imports(struct planner *p)
{
	for (size_t r = 0; r < CALLEES_N; r++)
		if (elffile__import(p->ef, callees[r], &p->imports[r]) != 0)
			p->imports[r] = (struct elf_import){0};
}

/* The C library is linked in: then its functions are called without a stub, and symbols tell where they are. */
static void find_definitions(struct planner *p)
{
	for (size_t r = 0; r < CALLEES_N; r++) {
		size_t n = 0;

		for (size_t i = 0; i < sizeof(definitions[r]) / sizeof(definitions[r][0]) && definitions[r][i]; i++)
			n = elffile__functions(p->ef, definitions[r][i], p->entries[r], n, ENTRIES_MAX);
		p->imports[r].stubs = p->entries[r];
		p->imports[r].stubs_n = n;
	}
}

/* One of the two without which there is nothing to plan, if it is not reached; NULL: both are. */
static const char *missing(const struct planner *p)
{
	return !reaches(p, SITE_WAIT) ? callees[SITE_WAIT] : !reaches(p, SITE_SIGNAL) ? callees[SITE_SIGNAL] : NULL;
}

static int find_linked_in(struct planner *p, struct reason *why)
{
	const char *origin = elffile__symbols_origin(p->ef);

	if (!origin)
		return reason__set(why, -ENOTSUP, "the interpreter does not import %s, and it is stripped of the symbols that "
				   "would tell where it has its own: install its debug symbols, or run one that is not "
				   "stripped", missing(p));
	find_definitions(p);
	if (missing(p))
		return reason__set(why, -ENOTSUP, "the interpreter neither imports %s nor has its own (by %s): no probe sites",
				   missing(p), origin);
	if (find_inside(p) != 0)
		return reason__set(why, -ENOTSUP, "the C library is linked in without .eh_frame entries (by %s): its calls "
				   "and the interpreter's cannot be told apart", origin);
	p->linked_in = true;
	p->plan->method = "call sites by symbols";
	note(p->plan, "the C library is linked in, %s tells where: nothing is missed, and a probe costs no more", origin);
	return 0;
}

static int find_callees(struct planner *p, struct reason *why)
{
	find_imports(p);
	p->plan->method = "call sites";
	return missing(p) ? find_linked_in(p, why) : 0;
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
	int err = find_callees(p, why);

	if (err)
		return err;
	find_candidates(p);
	qsort(p->candidates, p->candidates_n, sizeof(*p->candidates), by_vaddr);
	prove_candidates(p);
	err = take_candidates(p) ?: take_gc_sites(p);
	if (err)
		return reason__set(why, err, "the probe plan could not be made: %s", strerror(-err));
	if (p->plan->sites_n > 0)
		qsort(p->plan->sites, p->plan->sites_n, sizeof(*p->plan->sites), by_role);
	note_oddities(p);
	p->plan->light = p->odd[ODD_NO_JUMP].n == 0;
	return check_plan(p, why);
}

static int open_planner(struct planner *p, struct elffile *ef, struct reason *why)
{
	struct decoder d;
	int err;

	p->ef = ef;
	p->plan = calloc(1, sizeof(*p->plan));
	p->candidates = calloc(CANDIDATES_MAX, sizeof(*p->candidates));
	if (p->plan)
		p->plan->library_fd = -1;
	if (!p->plan || !p->candidates)
		return reason__set(why, -ENOMEM, "out of memory");
	err = decoder__open(&d, ef, why);
	p->arch = d.arch;
	p->decoder = d.handle;
	p->insn = d.insn;
	return err;
}

static void close_planner(struct planner *p)
{
	struct decoder d = decoder_of(p);

	decoder__close(&d);
	free(p->candidates);
}

static int run(struct elffile *ef, int (*make)(struct planner *, struct reason *), struct site_plan **ret,
	       struct reason *why)
{
	struct planner p = {0};
	int err = open_planner(&p, ef, why);

	err = err ?: make(&p, why);
	if (elffile__is_spent(ef, 0))
		err = reason__set(why, -ENOTSUP, "its file takes more work than any interpreter's: it was not looked through");
	close_planner(&p);
	if (err) {
		site_plan__free(p.plan);
		return err;
	}
	*ret = p.plan;
	return 0;
}

int sites__plan(struct elffile *ef, struct site_plan **ret, struct reason *why)
{
	return run(ef, make_plan, ret, why);
}

/* ---- the last resort: the C library's functions ------------------------------------------------------- */

/* Whether the decoder, coming from the start of its function, arrives at `entry`. */
static bool is_start(struct planner *p, struct elf_range function, uint64_t entry)
{
	size_t left = function.end - function.start;
	const uint8_t *code = left > FUNCTION_MAX ? NULL : elffile__bytes(p->ef, function.start, left);
	uint64_t at = function.start;

	while (code && at < entry && capstone.disasm_iter(p->decoder, &code, &left, &at, p->insn))
		;
	return code && at == entry;
}

/*
 * The first cheap instruction that every call of `entry` comes to, and nothing else, with its argument as it was: the entry
 * itself, or one behind instructions that neither branch nor touch the argument. 0 if there is none.
 */
static uint64_t cheap_place(struct planner *p, struct elf_range function, uint64_t entry)
{
	uint64_t at = entry;

	for (int i = 0; i < ENTRY_DISTANCE && decode_at(p, function, at); i++) {
		uint64_t next = at + p->insn->size;

		if (p->arch->is_cheap(p->insn))
			return at == entry || !is_entered(p, function, entry + 1, at) ? at : 0;
		if (!p->arch->goes_on(p->decoder, p->insn) ||
		    p->arch->writes(p->decoder, p->insn, p->arch->arguments[0]))
			return 0;
		at = next;
	}
	return 0;
}

static int add_entry(struct planner *p, enum site_role role, uint64_t entry)
{
	struct elf_range function;
	uint64_t at;
	int err;

	if (elffile__function_at(p->ef, entry, &function) != 0 || !is_start(p, function, entry)) {
		p->plan->incomplete = true;
		return 0;
	}
	at = cheap_place(p, function, entry);
	if (!decode_at(p, function, at ? at : entry))
		return 0;
	err = add_site(p, role, at ? at : entry, function, NULL);
	if (!err)
		p->plan->sites[p->plan->sites_n - 1].price = at ? SITE_EMULATED : SITE_STEPPED;
	return err;
}

/* All three, or none: an interpreter that cannot be followed uses all of them. */
static int make_library_plan(struct planner *p, struct reason *why)
{
	uint64_t entries[ENTRIES_MAX];

	for (size_t r = 0; r < CALLEES_N; r++) {
		size_t n = elffile__exports(p->ef, callees[r], entries, ENTRIES_MAX);

		for (size_t i = 0; i < n; i++) {
			int err = add_entry(p, (enum site_role)r, entries[i]);

			if (err)
				return reason__set(why, err, "the probe plan could not be made: %s", strerror(-err));
		}
		if (count_role(p->plan, (enum site_role)r) == 0 || p->plan->incomplete)
			return reason__set(why, -ENOTSUP, "the C library's %s is not certain", callees[r]);
	}
	p->plan->method = "C library entries";
	return 0;
}

int sites__plan_library(struct elffile *library, const char *why_not, struct site_plan **ret, struct reason *why)
{
	int err = run(library, make_library_plan, ret, why);

	if (!err)
		note(*ret, "%s%sthe probes are in the C library, where every pthread_cond call of the process meets them; no "
		     "light mode, and nothing is seen of an interpreter that has other condition variables", why_not,
		     why_not[0] ? ": " : "");
	return err;
}

bool sites__shareable(const struct site_plan *plan)
{
	return plan->library_fd < 0;
}

void sites__rest(void)
{
	capstone__unload();
}

void site_plan__free(struct site_plan *plan)
{
	if (!plan)
		return;
	if (plan->library_fd >= 0)
		close(plan->library_fd);
	free(plan->sites);
	free(plan);
}
