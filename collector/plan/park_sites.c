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
#define CALLEES_MAX 128          /* functions on one step: 2 to 5, some 30 where PyThread_acquire_lock is among them */
#define CALLS_MAX 512            /* of all of them */
#define STEPS_MAX 3              /* sem_wait, what waits for a semaphore on this platform, what does on all, the parking lot */
#define STUBS_MAX 8
#define RANGES_MAX 64
#define FUNCTION_MAX (4u << 20)  /* bytes */

/* What looks like a call, and once it is proven, is one. */
struct call {
	uint64_t at, behind, target, callee; /* `target`: the callee, or its stub */
	struct elf_range caller;
	bool is_jump, is_proven;
};

struct step {
	uint64_t functions[CALLEES_MAX]; /* each once */
	size_t n;
	struct call calls[CALLS_MAX];    /* of functions of the step below, or of the imports */
	size_t calls_n;
	bool too_many;
};

struct finder {
	const struct decoder *d;
	struct elf_symbol park;
	struct stub {
		uint64_t at, function;
	} stubs[STUBS_MAX];
	size_t stubs_n;
	struct step below, here;
};

static bool among(const uint64_t *list, size_t n, uint64_t value)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == value)
			return true;
	return false;
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
	struct step *s = &f->here;
	struct elf_range caller;

	if (s->calls_n == CALLS_MAX) {
		s->too_many = true;
		return;
	}
	if (elffile__function_at(f->d->ef, at, &caller) != 0 || caller.start == callee)
		return;
	s->calls[s->calls_n++] = (struct call){
		.at = at, .behind = at + ref->len, .target = ref->target, .callee = callee, .caller = caller,
		.is_jump = ref->branch == BRANCH_JUMP,
	};
}

static void scan(struct finder *f, struct elf_range range, const uint64_t *callees, size_t n)
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
		if (among(callees, n, callee))
			add_call(f, range.start + i, &ref, callee);
	}
}

/* Decodes a function from its start: which of the calls in it are instructions. */
static void prove(struct finder *f, struct elf_range function)
{
	size_t left = function.end - function.start;
	const uint8_t *code = left > FUNCTION_MAX ? NULL : elffile__bytes(f->d->ef, function.start, left);
	uint64_t at = function.start;

	while (code && !elffile__is_spent(f->d->ef, left) && capstone.disasm_iter(f->d->handle, &code, &left, &at, f->d->insn)) {
		uint64_t target = f->d->arch->target(f->d->insn, true);

		for (size_t i = 0; target && i < f->here.calls_n; i++) {
			struct call *call = &f->here.calls[i];

			/* A prefix is the instruction's start. */
			if (call->behind == at && call->target == target && call->at >= f->d->insn->address) {
				call->at = f->d->insn->address;
				call->is_proven = true;
			}
		}
	}
}

static bool is_on(const struct step *s, uint64_t function)
{
	return among(s->functions, s->n, function);
}

static void add_function(struct step *s, uint64_t function)
{
	if (s->n == CALLEES_MAX)
		s->too_many = true;
	else
		s->functions[s->n++] = function;
}

static void prove_all(struct finder *f)
{
	struct step *s = &f->here;
	uint64_t seen[CALLS_MAX];
	size_t seen_n = 0;

	for (size_t i = 0; i < s->calls_n; i++)
		if (!among(seen, seen_n, s->calls[i].caller.start)) {
			seen[seen_n++] = s->calls[i].caller.start;
			prove(f, s->calls[i].caller);
		}
	for (size_t i = 0; i < s->calls_n; i++)
		if (s->calls[i].is_proven && !is_on(s, s->calls[i].caller.start))
			add_function(s, s->calls[i].caller.start);
}

/* All calls of these, and the functions that they are in. */
static void find_callers(struct finder *f, const uint64_t *callees, size_t n)
{
	struct elf_range ranges[RANGES_MAX];
	size_t ranges_n = elffile__code_ranges(f->d->ef, ranges, RANGES_MAX);

	f->here.n = f->here.calls_n = 0;
	for (size_t i = 0; i < ranges_n; i++)
		scan(f, ranges[i], callees, n);
	prove_all(f);
}

/* ---- up to the parking lot ---- */

/* They have semaphores of their own, and half the interpreter among their callers. */
static void leave_out_locks(struct step *s, struct elffile *ef)
{
	static const char *const locks[] = {"PyThread_acquire_lock", "PyThread_acquire_lock_timed",
					    "PyThread_acquire_lock_timed_with_retries"};
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		bool is_lock = false;

		for (size_t k = 0; k < sizeof(locks) / sizeof(locks[0]); k++) {
			struct elf_symbol lock;

			is_lock |= elffile__dynsym(ef, locks[k], &lock) == 0 && lock.vaddr == s->functions[i];
		}
		if (!is_lock)
			s->functions[kept++] = s->functions[i];
	}
	s->n = kept;
}

static void find_waiters(struct finder *f)
{
	static const char *const imports[] = {"sem_wait", "sem_clockwait", "sem_timedwait"};
	uint64_t stubs[CALLEES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(imports) / sizeof(imports[0]); i++) {
		struct elf_import import;

		if (elffile__import(f->d->ef, imports[i], &import) != 0)
			continue;
		for (size_t k = 0; k < import.stubs_n && n < CALLEES_MAX; k++)
			stubs[n++] = import.stubs[k];
	}
	find_callers(f, stubs, n);
	leave_out_locks(&f->here, f->d->ef);
}

static int climb(struct finder *f, struct reason *why)
{
	find_waiters(f);
	if (f->here.n == 0)
		return reason__set(why, -ENOTSUP, "no function is seen to call sem_wait or sem_clockwait");
	for (int i = 0; !is_on(&f->here, f->park.vaddr); i++) {
		if (i == STEPS_MAX || f->here.n == 0 || f->here.too_many)
			return reason__set(why, -ENOTSUP, "what calls sem_wait does not lead to " PARK);
		f->below = f->here;
		find_callers(f, f->below.functions, f->below.n);
	}
	return 0;
}

/* ---- the copies, and who calls them ---- */

/* The functions on this step that the `n` given ones call. */
static size_t called_by(const struct finder *f, const struct step *calls, const uint64_t *callers, size_t n, uint64_t *ret)
{
	size_t ret_n = 0;

	for (size_t i = 0; i < calls->calls_n; i++) {
		const struct call *c = &calls->calls[i];

		if (c->is_proven && among(callers, n, c->caller.start) && is_on(&f->below, c->callee) &&
		    !among(ret, ret_n, c->callee))
			ret[ret_n++] = c->callee;
	}
	return ret_n;
}

/* Which of that step are the parking lot's: they take a bucket's mutex, and are not what takes it. */
static size_t find_copies(struct finder *f, uint64_t *ret)
{
	uint64_t mutex[CALLEES_MAX];
	size_t mutex_n, n = 0;

	f->below = f->here;
	find_callers(f, f->below.functions, f->below.n);
	mutex_n = called_by(f, &f->here, &f->park.vaddr, 1, mutex);
	for (size_t i = 0; i < f->here.calls_n; i++) {
		const struct call *c = &f->here.calls[i];

		if (c->is_proven && among(mutex, mutex_n, c->callee) && is_on(&f->below, c->caller.start) &&
		    !among(mutex, mutex_n, c->caller.start) && !among(ret, n, c->caller.start))
			ret[n++] = c->caller.start;
	}
	return n;
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

		if (among(at, n, function.start))
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
 * for who wakes it, and if it may be waited for with a timeout, not always the one for "ever". Events and once-flags look alike.
 * A copy of the function may have lost its arguments.
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
	return is(f, c, &arguments[TIMEOUT], UINT64_MAX) ? PARK_OBJECT :
	       is_computed(&arguments[TIMEOUT]) ? PARK_LOCK : PARK_UNTOLD;
}

static int by_call(const void *a, const void *b)
{
	const struct park_site *x = a, *y = b;

	return x->call < y->call ? -1 : x->call > y->call;
}

static int take_sites(struct finder *f, const uint64_t *copies, struct park_sites *ret, struct reason *why)
{
	for (size_t i = 0; i < f->here.calls_n; i++) {
		const struct call *c = &f->here.calls[i];

		if (!c->is_proven || !among(copies, ret->copies, c->callee))
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
	uint64_t copies[CALLS_MAX];
	int err;

	memset(ret, 0, sizeof(*ret));
	if (elffile__dynsym(f->d->ef, PARK, &f->park) != 0)
		return reason__set(why, -ENOTSUP, "it does not export " PARK);
	find_own_stubs(f);
	err = climb(f, why);
	if (err)
		return err;
	ret->copies = find_copies(f, copies);
	if (!among(copies, ret->copies, f->park.vaddr))
		return reason__set(why, -ENOTSUP, "what " PARK " does is not what is known of it");
	if (f->here.too_many)
		return reason__set(why, -ENOTSUP, PARK " is called at more places than in any known build");
	return take_sites(f, copies, ret, why);
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
