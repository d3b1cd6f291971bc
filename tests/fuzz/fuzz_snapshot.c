/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `dump` and the looks read of a process: its GILs, threads, collectors and holders, out of memory that the fuzzer made
 * (memory.h) and that may change between two looks; what /proc would tell of its threads is made up as well, and time goes by
 * faster than it does. Whatever is found must be possible, clean and bounded, and come soon.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "collector/look/gc_watch.h"
#include "collector/look/snapshot.h"
#include "collector/python/pygils.h"
#include "collector/stacks/native_look.h"
#include "collector/target/target.h"
#include "memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define GILS_MAX 8
#define CLOCK_STEP_NS 10000

/* What is told of threads: by bits that go round. */
static struct {
	uint64_t now_ns, futex;
	uint32_t bits;
} world;

static void expect(int truth)
{
	if (!truth)
		abort();
}

static uint32_t next_bit(void)
{
	world.bits = world.bits >> 1 | world.bits << 31;
	return world.bits & 1;
}

/* ---- in the place of the system's and of target.h's (the linker wraps them, see the Makefile) ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_nanosleep(const struct timespec *len, struct timespec *rest);
bool __wrap_target__has_thread(pid_t pid, pid_t tid);
uint64_t __wrap_target__futex(pid_t pid, pid_t tid, bool *ret_blocked);
bool __wrap_native_look__take(pid_t pid, pid_t tid, struct native_look *ret);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
	if (clock != CLOCK_MONOTONIC)
		return __real_clock_gettime(clock, ret);
	world.now_ns += CLOCK_STEP_NS;
	*ret = (struct timespec){.tv_sec = (time_t)(world.now_ns / 1000000000u), .tv_nsec = (long)(world.now_ns % 1000000000u)};
	return 0;
}

int __wrap_nanosleep(const struct timespec *len, struct timespec *rest)
{
	(void)rest;
	world.now_ns += (uint64_t)len->tv_sec * 1000000000u + (uint64_t)len->tv_nsec;
	return 0;
}

bool __wrap_target__has_thread(pid_t pid, pid_t tid)
{
	(void)pid;
	return tid > 0 && next_bit();
}

uint64_t __wrap_target__futex(pid_t pid, pid_t tid, bool *ret_blocked)
{
	(void)pid;
	(void)tid;
	*ret_blocked = next_bit();
	return *ret_blocked ? world.futex : 0;
}

/* No thread of this machine is looked at for one that is made up. */
bool __wrap_native_look__take(pid_t pid, pid_t tid, struct native_look *ret)
{
	(void)pid;
	(void)tid;
	(void)ret;
	return false;
}

/* ---- what came out ---- */

static void check_clean(const char *text, size_t size)
{
	expect(memchr(text, '\0', size) != NULL);
	for (const char *c = text; *c; c++)
		expect((unsigned char)*c >= 0x20 && *c != 0x7f);
}

static void check_thread(const struct snapshot *s, const struct snapshot_thread *t, uint64_t elapsed_ns)
{
	check_clean(t->name, sizeof(t->name));
	check_clean(t->native, sizeof(t->native));
	expect(t->tid >= 0 && t->gil < s->gils_n && t->state <= SNAPSHOT_WAITS && t->seen_ns <= elapsed_ns);
	expect(t->held <= s->again_looks && t->stack_n <= GIL_STACK_DEPTH);
	for (size_t i = 0; t->stack && i < t->stack_n; i++) {
		check_clean(t->stack[i].function, sizeof(t->stack[i].function));
		check_clean(t->stack[i].file, sizeof(t->stack[i].file));
	}
}

/* A GIL has one holder. */
static void check_holders(const struct snapshot *s, size_t gil)
{
	uint64_t holder = 0;

	for (size_t i = 0; i < s->threads_n; i++) {
		if (s->threads[i].gil != gil || s->threads[i].state != SNAPSHOT_HOLDS)
			continue;
		expect(!holder || holder == s->threads[i].tstate);
		holder = s->threads[i].tstate;
	}
	expect(s->looks[gil].held <= s->again_looks && s->looks[gil].collecting <= s->looks[gil].held_looks);
}

static void check_snapshot(const struct pyoffsets *off, uint64_t runtime, const struct gil_address *gils, size_t gils_n)
{
	uint64_t begin = world.now_ns;
	struct snapshot s;

	if (!snapshot__take(&s, NOBODY, runtime, off, gils, gils_n)) {
		for (size_t i = 0; i < s.threads_n; i++)
			check_thread(&s, &s.threads[i], world.now_ns - begin);
		for (size_t g = 0; g < s.gils_n; g++)
			check_holders(&s, g);
	}
	snapshot__free(&s);
}

/* Looks at a collector: what it collected is a part of what was held, and what was waited for meanwhile of what was waited. */
static void check_collections(const struct pyoffsets *off, uint64_t runtime, const struct gil_address *gil)
{
	struct gc_subject subject = {
		.gil = gil->gil, .state = gc_words__state(off, runtime, gil->interp), .waiters = 3, .holder_tid = 7,
	};
	struct proc_sample *s = proc_sample__new();
	struct gc_watch *w = gc_watch__new();

	if (!s || !w)
		abort();
	for (int i = 0; i < 20; i++, world.now_ns += 1000000)
		gc_watch__look(w, NOBODY, off, &subject, 1, world.now_ns + 50000000);
	s->len_ns = s->observed_ns = 20000000;
	s->total.known = KNOWN_HOLD | KNOWN_WAIT;
	s->total.hold_ns = s->total.wait_ns = s->len_ns / 2;
	gc_watch__settle(w, s, true);
	expect(s->total.gc.hold_ns <= s->total.hold_ns && s->total.gc.wait_ns <= s->total.wait_ns);
	expect(s->total.gc.err2 >= 0);
	gc_watch__free(w);
	proc_sample__free(s);
}

static int find_gils(const struct pyoffsets *off, uint64_t runtime, uint64_t at, struct gil_address *ret)
{
	struct target target = {.pid = NOBODY};
	bool enabled;
	int n = 0;

	if (pygils__find_at(&target, runtime, off, ret, GILS_MAX, &n, &enabled, NULL) || n < 1) {
		*ret = (struct gil_address){.gil = at, .interp = runtime, .users = 1};
		return 1;
	}
	expect(n <= GILS_MAX);
	return n;
}

/* Which version, how often memory changes, where the runtime and a GIL stand, which bits; the rest is memory. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gil_address gils[GILS_MAX] = {0};
	struct pyoffsets off;
	uint64_t runtime, at;

	if (size < 16)
		return 0;
	off = layouts[data[0] % LAYOUTS].offsets;
	off.minor = layouts[data[0] % LAYOUTS].minor;
	runtime = 0x10000u + data[2] * 8u;
	at = 0x10000u + data[3] * 8u;
	world.now_ns = 1000000000;
	memcpy(&world.bits, data + 4, sizeof(world.bits));
	memory__set(data + 8, size - 8, data[1]);
	int n = find_gils(&off, runtime, at, gils);
	world.futex = gils[0].gil + (data[4] & 1 ? off.gil_cond : off.gil_switch_cond) + (data[4] & 0x30);
	check_snapshot(&off, runtime, gils, (size_t)n);
	check_collections(&off, runtime, &gils[0]);
	return 0;
}
