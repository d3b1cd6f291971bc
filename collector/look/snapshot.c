/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See snapshot.h. A thread waits if it is blocked in futex() on a word of one of the GIL's two condition variables, which
 * /proc/PID/task/TID/syscall tells (fs/proc/base.c, proc_pid_syscall); it holds if the GIL is locked and names it. A waiter wakes
 * up once per switch interval and may then want for a CPU; it waits still as long as the GIL has changed hands to nobody.
 */
#include "snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "collector/base/clock.h"
#include "collector/cpython/gc_words.h"
#include "collector/cpython/gil_words.h"
#include "collector/cpython/pyinterps.h"
#include "collector/process/procmem.h"
#include "collector/process/theirs.h"
#include "collector/python/pynames.h"
#include "collector/stacks/native.h"
#include "collector/stacks/native_look.h"
#include "collector/target/target.h"
#include "collector/target/task_look.h"

#define COND_SIZE 48 /* pthread_cond_t, bits/pthreadtypes-arch.h in glibc */

/* What is needed of a GIL at one look. */
struct gil_now {
	uint64_t holder; /* 0: nobody has it */
	uint64_t switches;
};

static struct gil_now look_at_gil(pid_t pid, const struct pyoffsets *off, uint64_t gil)
{
	struct gil_words words = {0};

	gil_words__read(pid, off, gil, &words);
	return (struct gil_now){gil_words__holder(&words), words.switches};
}

static bool is_in(uint64_t address, uint64_t start)
{
	return address >= start && address < start + COND_SIZE;
}

/* `same`: nobody else has had the GIL since the last look. */
static enum snapshot_state state_of(pid_t pid, const struct pyoffsets *off, struct snapshot_thread *t, uint64_t gil,
				    const struct gil_now *now, bool same)
{
	uint64_t futex;
	bool blocked;

	if (now->holder == t->tstate || !t->tid) {
		t->blocked = true; /* nothing more to find out */
		return now->holder == t->tstate ? SNAPSHOT_HOLDS : SNAPSHOT_ELSEWHERE;
	}
	if (same && now->holder && t->state == SNAPSHOT_WAITS)
		return SNAPSHOT_WAITS;
	futex = target__futex(pid, t->tid, &blocked);
	t->blocked |= blocked;
	return futex && (is_in(futex, gil + off->gil_cond) || is_in(futex, gil + off->gil_switch_cond)) ? SNAPSHOT_WAITS :
													   SNAPSHOT_ELSEWHERE;
}

/* ---- threads ---- */

/* Which of the GILs is the thread's. */
static size_t gil_of(pid_t pid, const struct pyoffsets *off, uint64_t tstate, const struct gil_address *gils, size_t gils_n)
{
	uint64_t interp = 0, gil = 0;

	if (off->interp_gil == PYOFF_NONE || procmem__read_u64(pid, tstate + off->tstate_interp, &interp) ||
	    procmem__read_u64(pid, interp + off->interp_gil, &gil))
		return 0;
	for (size_t i = 0; i < gils_n; i++)
		if (gils[i].gil == gil)
			return i;
	return 0;
}

/* Its thread that there is; 0: none. */
static pid_t thread_of(pid_t pid, const struct pyoffsets *off, const struct pythread *t, bool foreign)
{
	pid_t tid = foreign ? target__id_outside(pid, t->tid) : t->tid;

	return target__has_thread(pid, tid) ? tid : holder_look__tid(pid, off, t->tstate, foreign);
}

/* Who is gone is of interest only if it has the GIL. */
static bool is_shown(const struct snapshot *s, pid_t pid, const struct pyoffsets *off, const struct snapshot_thread *t)
{
	return t->tid > 0 || look_at_gil(pid, off, s->gils[t->gil].gil).holder == t->tstate;
}

static int list_threads(struct snapshot *s, pid_t pid, uint64_t runtime, const struct pyoffsets *off)
{
	bool foreign = target__id_inside(pid, pid) != 0;
	const struct pythread *all;
	struct pynames *names;
	size_t n;
	int err = pynames__new(pid, runtime, off, &names);

	err = err ?: pynames__refresh(names, 1);
	if (!err) {
		all = pynames__all(names, &n);
		s->threads = calloc(n + 1, sizeof(*s->threads));
		err = s->threads ? 0 : -ENOMEM;
		for (size_t i = 0; !err && i < n; i++) {
			struct snapshot_thread *t = &s->threads[s->threads_n];

			t->tid = thread_of(pid, off, &all[i], foreign);
			t->tstate = all[i].tstate;
			t->gil = gil_of(pid, off, t->tstate, s->gils, s->gils_n);
			memcpy(t->name, all[i].name, sizeof(t->name));
			if (!t->name[0] && (!t->tid || target__thread_comm(pid, t->tid, t->name, sizeof(t->name))))
				t->name[0] = '\0';
			s->threads_n += s->gils_n && is_shown(s, pid, off, t);
		}
	}
	pynames__free(names);
	return err;
}

/* ---- looks ---- */

/* Whether garbage is collected while somebody has that GIL. */
static void look_at_collector(struct snapshot_gil *g, pid_t pid, const struct pyoffsets *off, uint64_t holder)
{
	struct gc_words words;

	if (!holder || !g->gc_state || gc_words__read(pid, off, g->gc_state, &words))
		return;
	g->held_looks++;
	g->collecting += words.collecting;
}

/* Of a main interpreter that is found by no GIL (up to 3.11), _PyRuntime knows. */
static void find_collectors(struct snapshot *s, pid_t pid, uint64_t runtime, const struct pyoffsets *off)
{
	for (size_t g = 0; g < s->gils_n && gc_words__are_known(off); g++) {
		uint64_t interp = s->gils[g].interp ? s->gils[g].interp : pyinterps__main(pid, off, runtime);

		s->looks[g].gc_state = interp ? gc_words__state(off, runtime, interp) : 0;
	}
}

static void look(struct snapshot *s, pid_t pid, const struct pyoffsets *off, struct gil_now *before, bool first)
{
	uint64_t now_ns = clock__mono_ns();

	for (size_t g = 0; g < s->gils_n; g++) {
		struct gil_now now = look_at_gil(pid, off, s->gils[g].gil);
		bool same = !first && now.holder == before[g].holder && now.switches == before[g].switches;
		/* Who waits now and did then has not had it in between: each other holder counts one. */
		bool waits_on = !first && now.switches - before[g].switches <= 1;

		before[g] = now;
		look_at_collector(&s->looks[g], pid, off, now.holder);
		for (size_t i = 0; i < s->threads_n; i++) {
			struct snapshot_thread *t = &s->threads[i];
			enum snapshot_state state;

			if (t->gil != g)
				continue;
			state = state_of(pid, off, t, s->gils[g].gil, &now, same);
			if (first || state != t->state || (state == SNAPSHOT_HOLDS && !same) ||
			    (state == SNAPSHOT_WAITS && !waits_on))
				t->first_ns = now_ns;
			t->state = state;
			t->seen_ns = now_ns - t->first_ns;
		}
	}
}

static bool all_known(const struct snapshot *s)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (!s->threads[i].blocked)
			return false;
	return true;
}

/* ---- stacks ---- */

static int read_stack(struct pystack *stacks, struct snapshot_thread *t)
{
	struct gil_frame frames[GIL_STACK_DEPTH];
	int n = pystack__walk_still(stacks, t->tstate, frames, GIL_STACK_DEPTH, &t->more);

	t->moving = n == -EAGAIN;
	if (t->moving)
		n = pystack__walk(stacks, t->tstate, frames, GIL_STACK_DEPTH, &t->more);
	if (n < 0)
		return n == -ENOMEM ? n : 0;
	t->stack = calloc((size_t)n + 1, sizeof(*t->stack));
	if (!t->stack)
		return -ENOMEM;
	t->stack_n = (size_t)n;
	pystack__symbols(stacks, frames, t->stack_n, t->stack);
	return 0;
}

/* C code that the holder is in, if it is in the same Python code before and after. */
static void read_native(struct pystack *stacks, struct native *native, pid_t pid, struct snapshot_thread *t)
{
	struct gil_frame before, after;
	struct native_chain chain;
	struct native_look look;
	bool more;

	if (pystack__walk(stacks, t->tstate, &before, 1, &more) == 1 && native_look__take(pid, t->tid, &look) &&
	    native__name(native, clock__mono_ns(), &look.regs, look.stack, look.stack_len, &chain) &&
	    pystack__walk(stacks, t->tstate, &after, 1, &more) == 1 && before.code == after.code && before.at == after.at)
		memcpy(t->native, chain.name, sizeof(t->native));
}

static void read_natives(struct snapshot *s, pid_t pid, struct pystack *stacks)
{
	struct native_files *files = native_files__new();
	struct native *native = files ? native__new(files, pid) : NULL;

	for (size_t i = 0; native && i < s->threads_n; i++)
		if (s->threads[i].state == SNAPSHOT_HOLDS && s->threads[i].tid && s->threads[i].stack && !s->threads[i].moving)
			read_native(stacks, native, pid, &s->threads[i]);
	native__free(native);
	native_files__free(files);
}

static int read_stacks(struct snapshot *s, pid_t pid, const struct pyoffsets *off)
{
	struct pystack *stacks;
	int err = pystack__new(pid, off, &stacks);

	if (err)
		return err == -ENOTSUP ? 0 : err;
	for (size_t i = 0; !err && i < s->threads_n; i++)
		if (s->threads[i].state != SNAPSHOT_ELSEWHERE)
			err = read_stack(stacks, &s->threads[i]);
	if (!err)
		read_natives(s, pid, stacks);
	pystack__free(stacks);
	return err;
}

/* ---- looking for a holder ---- */

static bool is_held(const struct snapshot *s, size_t gil)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (s->threads[i].gil == gil && s->threads[i].state == SNAPSHOT_HOLDS)
			return true;
	return false;
}

/* Counts who has it; true: somebody does. */
static bool count_holder(struct snapshot *s, pid_t pid, const struct pyoffsets *off, size_t gil)
{
	uint64_t holder = look_at_gil(pid, off, s->gils[gil].gil).holder;

	for (size_t i = 0; holder && i < s->threads_n; i++)
		if (s->threads[i].tstate == holder)
			s->threads[i].held++;
	s->looks[gil].held += holder != 0;
	look_at_collector(&s->looks[gil], pid, off, holder);
	return holder != 0;
}

static bool count_holders(struct snapshot *s, pid_t pid, const struct pyoffsets *off)
{
	bool found = false;

	for (size_t g = 0; g < s->gils_n; g++)
		if (s->looks[g].again)
			found |= count_holder(s, pid, off, g);
	s->again_looks++;
	return found;
}

/*
 * Many short holds: at a single look nobody may have it. The first holder that is found is who holds it, with the stack of that
 * moment; looked is on to the end all the same, since shares out of a time that ends with a hold would be too large.
 */
static int look_again(struct snapshot *s, pid_t pid, const struct pyoffsets *off, struct gil_now *before)
{
	const struct timespec pause = {.tv_nsec = SNAPSHOT_AGAIN_PAUSE_NS};
	uint64_t begin = clock__mono_ns();
	bool done = false;
	int err = 0;

	while (!err && clock__mono_ns() - begin < SNAPSHOT_AGAIN_NS) {
		if (count_holders(s, pid, off) && !done) {
			look(s, pid, off, before, false);
			for (size_t g = 0; !done && g < s->gils_n; g++)
				done = s->looks[g].again && is_held(s, g);
			err = done ? read_stacks(s, pid, off) : 0;
		}
		nanosleep(&pause, NULL);
	}
	s->again_ns = clock__mono_ns() - begin;
	return err || done ? err : read_stacks(s, pid, off);
}

static void look_at_holders(struct snapshot *s, pid_t pid, uint64_t runtime, const struct pyoffsets *off)
{
	for (size_t g = 0; g < s->gils_n; g++)
		holder_look__take(pid, runtime, off, s->gils[g].gil, &s->looks[g].holder);
	s->standstill = task_look__standstill(pid, &s->tracer);
}

int snapshot__take(struct snapshot *s, pid_t pid, uint64_t runtime, const struct pyoffsets *off, const struct gil_address *gils,
		   size_t gils_n)
{
	struct gil_now *before = calloc(gils_n + 1, sizeof(*before));
	bool again = false;
	int err;

	*s = (struct snapshot){.gils = gils, .gils_n = gils_n, .looks = calloc(gils_n + 1, sizeof(*s->looks))};
	err = before && s->looks ? list_threads(s, pid, runtime, off) : -ENOMEM;
	if (!err)
		find_collectors(s, pid, runtime, off);
	for (int i = 0; !err && i < (all_known(s) ? SNAPSHOT_LOOKS : SNAPSHOT_MORE_LOOKS); i++) {
		const struct timespec pause = {.tv_nsec = SNAPSHOT_PAUSE_NS};

		if (i)
			nanosleep(&pause, NULL);
		look(s, pid, off, before, i == 0);
	}
	for (size_t g = 0; !err && g < gils_n; g++)
		again |= s->looks[g].again = !is_held(s, g);
	if (!err)
		err = again ? look_again(s, pid, off, before) : read_stacks(s, pid, off);
	if (!err)
		look_at_holders(s, pid, runtime, off);
	free(before);
	return err;
}

void snapshot__free(struct snapshot *s)
{
	for (size_t i = 0; i < s->threads_n; i++)
		free(s->threads[i].stack);
	free(s->threads);
	free(s->looks);
	*s = (struct snapshot){0};
}
