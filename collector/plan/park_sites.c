/* SPDX-License-Identifier: GPL-2.0-only */
/* See park_sites.h. */
#include "park_sites.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/elf/decoder.h"

#define PARK "_PyParkingLot_Park"
#define CALLEES_MAX 128          /* functions on one step: 2 to 12 */
#define CALLS_MAX 512            /* of all of them */
#define STUBS_MAX 8
#define RANGES_MAX 64
#define FUNCTION_MAX (4u << 20)  /* bytes */

/* What looks like a call, and once it is proven, is one. */
struct call {
	uint64_t at, behind, target, callee; /* `target`: the callee, or its stub */
	struct elf_range caller;
	bool is_jump, is_proven;
};

struct functions {
	uint64_t at[CALLEES_MAX]; /* each once */
	size_t n;
};

struct calls {
	struct call at[CALLS_MAX];
	size_t n;
	struct functions functions; /* that they are in */
};

struct finder {
	const struct decoder *d;
	struct elf_symbol park;
	struct stub {
		uint64_t at, function;
	} stubs[STUBS_MAX];
	size_t stubs_n;
	struct functions waiters;  /* call sem_wait and the like */
	struct calls here;         /* found last */
	bool too_many;
};

static bool is_in(const struct functions *list, uint64_t function)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->at[i] == function)
			return true;
	return false;
}

static void add(struct finder *f, struct functions *list, uint64_t function)
{
	if (is_in(list, function))
		return;
	if (list->n == CALLEES_MAX)
		f->too_many = true;
	else
		list->at[list->n++] = function;
}

/* A shared library may call what it exports itself through stubs. */
static void find_own_stubs(struct finder *f)
{
	static const char *const exports[] = {PARK, "_PySemaphore_Wait"};

	for (size_t i = 0; i < sizeof(exports) / sizeof(exports[0]); i++) {
		struct elf_import import;
		struct elf_symbol own;

		if (elffile__dynsym(f->d->ef, exports[i], &own) != 0 || elffile__import(f->d->ef, exports[i], &import) != 0)
			continue;
		for (size_t k = 0; k < import.stubs_n && f->stubs_n < STUBS_MAX; k++)
			f->stubs[f->stubs_n++] = (struct stub){import.stubs[k], own.vaddr};
	}
}

static uint64_t behind_stub(const struct finder *f, uint64_t target)
{
	for (size_t i = 0; i < f->stubs_n; i++)
		if (f->stubs[i].at == target)
			return f->stubs[i].function;
	return target;
}

/* ---- one step up: who calls these ---- */

static void add_call(struct finder *f, uint64_t at, const struct insn_ref *ref, uint64_t callee)
{
	struct elf_range caller;

	if (f->here.n == CALLS_MAX) {
		f->too_many = true;
		return;
	}
	if (elffile__function_at(f->d->ef, at, &caller) != 0 || caller.start == callee)
		return;
	f->here.at[f->here.n++] = (struct call){
		.at = at, .behind = at + ref->len, .target = ref->target, .callee = callee, .caller = caller,
		.is_jump = ref->branch == BRANCH_JUMP,
	};
}

static void scan(struct finder *f, struct elf_range range, const struct functions *callees)
{
	size_t len = range.end - range.start;
	const uint8_t *code = elffile__bytes(f->d->ef, range.start, len);
	struct insn_scan scan = {0};
	struct insn_ref ref = {0};

	for (size_t i = 0; code && i < len && !elffile__is_spent(f->d->ef, i); i += f->d->arch->step) {
		uint64_t callee;

		if (!f->d->arch->look(&scan, code + i, len - i, range.start + i, &ref) || ref.branch > BRANCH_JUMP)
			continue;
		callee = behind_stub(f, ref.target);
		if (is_in(callees, callee))
			add_call(f, range.start + i, &ref, callee);
	}
}

/* The instruction decoded last ends at `end`: which call it is. A prefix is its start. */
static void take_proof(struct finder *f, uint64_t end)
{
	uint64_t target = f->d->arch->target(f->d->insn, true);

	for (size_t i = 0; target && i < f->here.n; i++) {
		struct call *call = &f->here.at[i];

		if (call->behind == end && call->target == target && call->at >= f->d->insn->address) {
			call->at = f->d->insn->address;
			call->is_proven = true;
		}
	}
}

/* Decodes a function from its start: which of the calls in it are instructions. */
static void prove(struct finder *f, struct elf_range function)
{
	size_t left = function.end - function.start;
	const uint8_t *code = left > FUNCTION_MAX ? NULL : elffile__bytes(f->d->ef, function.start, left);
	uint64_t at = function.start;

	while (code && !elffile__is_spent(f->d->ef, left) && capstone.disasm_iter(f->d->handle, &code, &left, &at, f->d->insn))
		take_proof(f, at);
}

/* Whether another of them before it is in the same function. */
static bool is_decoded(const struct calls *calls, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (calls->at[k].caller.start == calls->at[i].caller.start)
			return true;
	return false;
}

/* All calls of these, and the functions that they are in. */
static void find_callers(struct finder *f, const struct functions *callees)
{
	struct elf_range ranges[RANGES_MAX];
	size_t ranges_n = elffile__code_ranges(f->d->ef, ranges, RANGES_MAX);

	f->here.n = f->here.functions.n = 0;
	for (size_t i = 0; i < ranges_n; i++)
		scan(f, ranges[i], callees);
	for (size_t i = 0; i < f->here.n; i++)
		if (!is_decoded(&f->here, i))
			prove(f, f->here.at[i].caller);
	for (size_t i = 0; i < f->here.n; i++)
		if (f->here.at[i].is_proven)
			add(f, &f->here.functions, f->here.at[i].caller.start);
}

static void find_waiters(struct finder *f)
{
	static const char *const imports[] = {"sem_wait", "sem_clockwait", "sem_timedwait"};
	struct functions stubs = {0};

	for (size_t i = 0; i < sizeof(imports) / sizeof(imports[0]); i++) {
		struct elf_import import;

		if (elffile__import(f->d->ef, imports[i], &import) != 0)
			continue;
		for (size_t k = 0; k < import.stubs_n; k++)
			add(f, &stubs, import.stubs[k]);
	}
	find_callers(f, &stubs);
	f->waiters = f->here.functions;
}

/* ---- what the parking lot is made of ---- */

struct callees {
	struct functions called; /* directly */
	struct functions parts;  /* where it jumps to beyond its end: what compilers put apart of it, and tail calls */
};

/* Adds what the code from `start` on, to its function's end, calls and jumps to. */
static void add_callees(struct finder *f, uint64_t start, struct callees *ret)
{
	struct elf_range function;
	uint64_t at = start;
	const uint8_t *code;
	size_t left;

	if (elffile__function_at(f->d->ef, at, &function) != 0)
		return;
	left = function.end - at;
	code = left > FUNCTION_MAX ? NULL : elffile__bytes(f->d->ef, at, left);
	while (code && !elffile__is_spent(f->d->ef, left) && capstone.disasm_iter(f->d->handle, &code, &left, &at, f->d->insn)) {
		uint64_t target = f->d->arch->target(f->d->insn, true);

		if (target && (target < function.start || target >= function.end))
			add(f, f->d->arch->target(f->d->insn, false) ? &ret->parts : &ret->called, behind_stub(f, target));
	}
}

/* What a function calls, with the parts of it that lie elsewhere. */
static void find_callees(struct finder *f, uint64_t function, struct callees *ret)
{
	size_t parts_n;

	add_callees(f, function, ret);
	parts_n = ret->parts.n;
	for (size_t i = 0; i < parts_n; i++)
		add_callees(f, ret->parts.at[i], ret);
}

static bool calls_any(struct finder *f, uint64_t function, const struct functions *callees)
{
	struct callees found = {{{0}, 0}, {{0}, 0}};

	find_callees(f, function, &found);
	for (size_t i = 0; i < found.called.n; i++)
		if (is_in(callees, found.called.at[i]))
			return true;
	return false;
}

/*
 * What _PyParkingLot_Park and _PyParkingLot_Unpark both call: the function that takes a bucket's mutex is among that. What only
 * the former calls and what waits for a semaphore, or calls what does, is how it sleeps.
 */
struct anatomy {
	struct functions shared, sleeps;
};

static void dissect(struct finder *f, uint64_t unpark, struct anatomy *ret)
{
	struct callees park = {{{0}, 0}, {{0}, 0}}, other = {{{0}, 0}, {{0}, 0}};

	find_callees(f, f->park.vaddr, &park);
	find_callees(f, unpark, &other);
	for (size_t i = 0; i < park.called.n; i++) {
		uint64_t callee = park.called.at[i];

		if (is_in(&other.called, callee))
			add(f, &ret->shared, callee);
		else if (is_in(&f->waiters, callee))
			add(f, &ret->sleeps, callee);
	}
	for (size_t i = 0; ret->sleeps.n == 0 && !is_in(&f->waiters, f->park.vaddr) && i < park.called.n; i++)
		if (!is_in(&other.called, park.called.at[i]) && calls_any(f, park.called.at[i], &f->waiters))
			add(f, &ret->sleeps, park.called.at[i]);
}

/* Whether it is a function of its own that the file exports: no copy. */
static bool is_another_export(const struct finder *f, uint64_t function)
{
	static const char *const others[] = {"_PyParkingLot_Unpark", "_PyParkingLot_UnparkAll", "_PySemaphore_Wait"};
	struct elf_symbol symbol;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (elffile__dynsym(f->d->ef, others[i], &symbol) == 0 && symbol.vaddr == function)
			return true;
	return false;
}

/* ---- the copies, and who calls them ---- */

/* It waits for a semaphore itself: so do its copies, and they take the mutex. */
static void find_copies_that_wait(struct finder *f, const struct anatomy *a, struct functions *ret)
{
	struct functions mutex = {{0}, 0}, others = {{0}, 0};

	for (size_t i = 0; i < f->waiters.n; i++)
		if (f->waiters.at[i] != f->park.vaddr)
			add(f, &others, f->waiters.at[i]);
	for (size_t i = 0; i < a->shared.n; i++)
		if (is_in(&others, a->shared.at[i]) || calls_any(f, a->shared.at[i], &others))
			add(f, &mutex, a->shared.at[i]);
	for (size_t i = 0; i < f->waiters.n; i++) {
		uint64_t waiter = f->waiters.at[i];

		if (!is_in(&mutex, waiter) && !is_another_export(f, waiter) && calls_any(f, waiter, &mutex))
			add(f, ret, waiter);
	}
}

/* It calls what waits for a semaphore: so do its copies, and what takes the mutex. */
static void find_copies_that_call(struct finder *f, const struct anatomy *a, struct functions *ret)
{
	find_callers(f, &a->sleeps);
	for (size_t i = 0; i < f->here.functions.n; i++) {
		uint64_t caller = f->here.functions.at[i];

		if (!is_in(&a->shared, caller) && !is_in(&a->sleeps, caller) && !is_another_export(f, caller))
			add(f, ret, caller);
	}
}

static int find_copies(struct finder *f, struct functions *ret, struct reason *why)
{
	struct anatomy a = {{{0}, 0}, {{0}, 0}};
	struct elf_symbol unpark;

	find_waiters(f);
	if (f->waiters.n == 0)
		return reason__set(why, -ENOTSUP, "no function is seen to call sem_wait or sem_clockwait");
	if (elffile__dynsym(f->d->ef, "_PyParkingLot_Unpark", &unpark) == 0)
		dissect(f, unpark.vaddr, &a);
	if (is_in(&f->waiters, f->park.vaddr))
		find_copies_that_wait(f, &a, ret);
	else
		find_copies_that_call(f, &a, ret);
	if (a.shared.n == 0 || !is_in(ret, f->park.vaddr))
		return reason__set(why, -ENOTSUP, "what " PARK " does is not what is known of it");
	find_callers(f, ret);
	return f->too_many ? reason__set(why, -ENOTSUP, PARK " is called at more places than in any known build") : 0;
}

static enum park_kind kind_by_name(struct elffile *ef, struct elf_range function)
{
	static const struct {
		const char *name;
		enum park_kind kind;
	} known[] = {
		{"PyMutex_Lock", PARK_OBJECT}, {"_PyMutex_LockTimed", PARK_LOCK}, {"_PyRecursiveMutex_LockTimed", PARK_LOCK},
		{"PyEvent_Wait", PARK_EVENT}, {"PyEvent_WaitTimed", PARK_EVENT}, {"_PyThreadState_Attach", PARK_STOP},
		{"_PyOnceFlag_CallOnceSlow", PARK_OTHER}, {"_PyRWMutex_RLock", PARK_OTHER}, {"_PyRWMutex_Lock", PARK_OTHER},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		uint64_t at[8];
		size_t n = elffile__functions(ef, known[i].name, at, 0, 8);

		for (size_t k = 0; k < n; k++)
			if (at[k] == function.start)
				return known[i].kind;
	}
	return PARK_UNTOLD;
}

/* ---- kinds by arguments, where the function that calls has no name ---- */

enum { SIZE = 2, TIMEOUT, PARK_ARG, ARGUMENTS_N }; /* (address, expected, size, timeout, park_arg, detach) */

struct argument {
	bool is_constant;
	uint64_t value, set_at; /* `set_at`: from where on the register is as it is; 0: nothing is known of it */
};

/* The instruction decoded last, which ends at `end`. A call, or one that goes elsewhere, leaves nothing known. */
static void take_instruction(const struct finder *f, uint64_t end, struct argument ret[ARGUMENTS_N])
{
	const struct insn_arch *arch = f->d->arch;
	bool goes_on = arch->goes_on(f->d->handle, f->d->insn);

	for (int i = SIZE; i < ARGUMENTS_N; i++) {
		unsigned int reg = arch->arguments[i];

		if (goes_on && !arch->writes(f->d->handle, f->d->insn, reg))
			continue;
		ret[i] = (struct argument){.set_at = goes_on ? end : 0};
		ret[i].is_constant = goes_on && arch->sets(f->d->insn, reg, &ret[i].value);
	}
}

/* What the code before the call has put into the registers last, as far as it comes to the call from there. */
static void follow_arguments(struct finder *f, const struct call *c, struct argument ret[ARGUMENTS_N])
{
	size_t left = c->caller.end - c->caller.start;
	const uint8_t *code = elffile__bytes(f->d->ef, c->caller.start, left);
	uint64_t at = c->caller.start;

	while (code && at < c->at && !elffile__is_spent(f->d->ef, left) &&
	       capstone.disasm_iter(f->d->handle, &code, &left, &at, f->d->insn))
		take_instruction(f, at, ret);
}

static bool is(struct finder *f, const struct call *c, const struct argument *argument, uint64_t value)
{
	return argument->is_constant && argument->value == value &&
	       !decoder__is_entered(f->d, c->caller, argument->set_at, c->at);
}

static bool is_computed(const struct argument *argument)
{
	return argument->set_at && !argument->is_constant;
}

/*
 * What waits for a stopped world passes the size of an int, locks of readers and writers that of a pointer, a mutex an argument
 * for who wakes it. Whose timeout is not always the one for "ever" may be a Lock, or an object's lock that is taken by the same
 * function; events and once-flags look alike. A copy of the function may have lost its arguments.
 */
static enum park_kind kind_by_arguments(struct finder *f, const struct call *c)
{
	struct argument arguments[ARGUMENTS_N] = {{0}};

	if (c->callee != f->park.vaddr || !f->d->arch->sets)
		return PARK_UNTOLD;
	follow_arguments(f, c, arguments);
	if (is(f, c, &arguments[SIZE], 4))
		return PARK_STOP;
	if (is(f, c, &arguments[SIZE], 8))
		return PARK_OTHER;
	if (!is(f, c, &arguments[SIZE], 1) || !is_computed(&arguments[PARK_ARG]))
		return PARK_UNTOLD;
	return is(f, c, &arguments[TIMEOUT], UINT64_MAX) ? PARK_OBJECT : PARK_UNTOLD;
}

static int by_call(const void *a, const void *b)
{
	const struct park_site *x = a, *y = b;

	return x->call < y->call ? -1 : x->call > y->call;
}

/* Whether it is called at all: parts of functions that lie elsewhere are only jumped to. */
static bool is_called(const struct finder *f, uint64_t function)
{
	for (size_t i = 0; i < f->here.n; i++)
		if (f->here.at[i].is_proven && !f->here.at[i].is_jump && f->here.at[i].callee == function)
			return true;
	return false;
}

static int take_sites(struct finder *f, struct park_sites *ret, struct reason *why)
{
	for (size_t i = 0; i < f->here.n; i++) {
		const struct call *c = &f->here.at[i];

		if (!c->is_proven || !is_called(f, c->callee))
			continue;
		if (c->is_jump) {
			ret->jumps++;
			continue;
		}
		if (ret->n == PARK_SITES_MAX)
			return reason__set(why, -ENOTSUP, PARK " is called at more places than in any known build");
		ret->at[ret->n++] = (struct park_site){
			.call = c->at, .behind = c->behind, .function = c->caller, .kind = kind_by_name(f->d->ef, c->caller),
		};
		if (ret->at[ret->n - 1].kind == PARK_UNTOLD)
			ret->at[ret->n - 1].kind = kind_by_arguments(f, c);
	}
	qsort(ret->at, ret->n, sizeof(ret->at[0]), by_call);
	return ret->n ? 0 : reason__set(why, -ENOTSUP, "no call of " PARK " is certain");
}

static int find(struct finder *f, struct park_sites *ret, struct reason *why)
{
	struct functions copies = {0};
	int err;

	memset(ret, 0, sizeof(*ret));
	if (elffile__dynsym(f->d->ef, PARK, &f->park) != 0)
		return reason__set(why, -ENOTSUP, "it does not export " PARK);
	find_own_stubs(f);
	err = find_copies(f, &copies, why);
	for (size_t i = 0; !err && i < copies.n; i++)
		ret->copies += is_called(f, copies.at[i]);
	return err ?: take_sites(f, ret, why);
}

void park_sites__find(struct elffile *ef, struct park_sites *ret)
{
	struct finder *f = calloc(1, sizeof(*f));
	struct reason why = {""};
	struct decoder d = {0};
	int err = f ? decoder__open(&d, ef, &why) : reason__set(&why, -ENOMEM, "out of memory");

	if (!err) {
		f->d = &d;
		err = find(f, ret, &why);
	}
	if (!err && elffile__is_spent(ef, 0))
		err = reason__set(&why, -ENOTSUP, "its file takes more work than any interpreter's");
	if (err)
		*ret = (struct park_sites){.why_not = why};
	decoder__close(&d);
	free(f);
}

static size_t count(const struct park_sites *sites, enum park_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < sites->n; i++)
		n += sites->at[i].kind == kind;
	return n;
}

/* "1 for an object's lock, 2 for ...". */
static void list_kinds(const struct park_sites *sites, char *buf, size_t size)
{
	static const char *const names[PARK_KINDS_N] = {
		[PARK_OBJECT] = "for an object's lock", [PARK_LOCK] = "for a Lock or RLock", [PARK_STOP] = "for a stopped world",
		[PARK_EVENT] = "for an event", [PARK_OTHER] = "for other locks", [PARK_UNTOLD] = "for what is not told",
	};
	size_t len = 0;

	for (int kind = 0; kind < PARK_KINDS_N && len < size; kind++) {
		size_t n = count(sites, (enum park_kind)kind);

		if (n)
			len += (size_t)snprintf(buf + len, size - len, "%s%zu %s", len ? ", " : "", n, names[kind]);
	}
}

const char *park_sites__text(const struct park_sites *sites, char buf[PARK_SITES_TEXT])
{
	char kinds[PARK_SITES_TEXT / 2];

	buf[0] = '\0';
	if (sites->n) {
		list_kinds(sites, kinds, sizeof(kinds));
		snprintf(buf, PARK_SITES_TEXT, "its threads sleep at %zu places of its code when they wait for each other: %s",
			 sites->n, kinds);
	} else if (sites->why_not.text[0]) {
		snprintf(buf, PARK_SITES_TEXT, "where its threads wait for each other is not known: %.300s", sites->why_not.text);
	}
	return buf;
}
