/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See whereabouts.h. A thread that is blocked in futex() on a word of a GIL's condition variables waits for the GIL; on any
 * other, in the application's own frame, for a lock (Lock and RLock are C code without a frame). Whether two looks found the
 * same sleep is told by the count of voluntary context switches.
 */
#include "whereabouts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "collector/base/clock.h"
#include "collector/base/text.h"
#include "collector/python/pynames.h"
#include "collector/stacks/app_code.h"
#include "collector/target/target.h"
#include "collector/target/task_look.h"

#define COND_SIZE 48 /* pthread_cond_t, bits/pthreadtypes-arch.h in glibc */

/* Where an event loop runs its callbacks: Lib/asyncio/base_events.py, trio/_core/_run.py. */
static const struct loop {
	const char *function, *file;
} loops[] = {
	{"_run_once", "asyncio/base_events.py"},
	{"unrolled_run", "trio/_core/_run.py"},
};

/* A thread at one look. */
struct seen {
	struct whereabouts_stack stack;
	enum whereabouts_doing doing;
	struct task_state task;
	uint64_t keys[GIL_STACK_DEPTH]; /* of the functions on its stack */
	size_t keys_n;
	size_t cell;                    /* SIZE_MAX: none was free */
};

struct thread_memory {
	pid_t tid;
	uint64_t slept, since_ns;
	size_t cell;
};

struct survey {
	struct whereabouts *w;
	pid_t pid;
	const struct pyoffsets *off;
	const struct gil_address *gils;
	size_t gils_n;
	struct pynames *names;
	struct pystack *stacks;
	struct seen *seen;
	struct thread_memory *before; /* of the last look */
	size_t seen_n, before_n;
	bool foreign;
};

/* ---- stacks ---- */

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool is_loop(const struct pysymbol *f)
{
	for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++)
		if (ends_with(f->function, loops[i].function) && ends_with(f->file, loops[i].file))
			return true;
	return false;
}

/* What the loop does itself: it waits for events, or sorts them. */
static bool is_loops_own(const struct pysymbol *f)
{
	return ends_with(f->file, "/selectors.py") || ends_with(f->function, "_process_events") ||
	       ends_with(f->file, "trio/_core/_io_epoll.py");
}

static void put_code(const struct pysymbol *frames, size_t n, char *code, size_t size)
{
	char frame[WHEREABOUTS_CODE_SIZE], called[PYSTACK_FUNCTION_SIZE + PYSTACK_FILE_SIZE];
	size_t at = app_code__innermost(frames, n);

	code[0] = '\0';
	if (!n)
		return;
	pystack__describe(&frames[at < n ? at : 0], frame, sizeof(frame));
	app_code__short(frame, code, size);
	if (at > 0 && at < n)
		text__append(code, size, " -> %s", app_code__dotted(&frames[at - 1], called, sizeof(called)));
}

void whereabouts__read_stack(const struct pysymbol *frames, size_t n, struct whereabouts_stack *ret)
{
	*ret = (struct whereabouts_stack){.application = n && app_code__is(frames[0].file)};
	put_code(frames, n, ret->code, sizeof(ret->code));
	for (size_t i = 0; i < n && !ret->loop; i++) {
		ret->loop = is_loop(&frames[i]);
		ret->callback = ret->loop && i > 0 && !is_loops_own(&frames[i - 1]);
	}
}

static void read_stack(struct survey *s, uint64_t tstate, struct seen *seen)
{
	struct gil_frame frames[GIL_STACK_DEPTH];
	struct pysymbol symbols[GIL_STACK_DEPTH];
	bool more;
	int n = pystack__walk_still(s->stacks, tstate, frames, GIL_STACK_DEPTH, &more);

	if (n == -EAGAIN)
		n = pystack__walk(s->stacks, tstate, frames, GIL_STACK_DEPTH, &more);
	seen->keys_n = n > 0 ? (size_t)n : 0;
	pystack__symbols(s->stacks, frames, seen->keys_n, symbols);
	for (size_t i = 0; i < seen->keys_n; i++)
		seen->keys[i] = text__hash(text__hash(TEXT_HASH, symbols[i].file), symbols[i].function);
	whereabouts__read_stack(symbols, seen->keys_n, &seen->stack);
}

/* ---- what it does ---- */

static bool is_gils(const struct survey *s, uint64_t word)
{
	for (size_t i = 0; i < s->gils_n; i++) {
		uint64_t cond = s->gils[i].gil + s->off->gil_cond, switched = s->gils[i].gil + s->off->gil_switch_cond;

		if ((word >= cond && word < cond + COND_SIZE) || (word >= switched && word < switched + COND_SIZE))
			return true;
	}
	return false;
}

static enum whereabouts_doing doing_of(const struct survey *s, pid_t tid, const struct seen *seen)
{
	bool blocked;
	uint64_t word = target__futex(s->pid, tid, &blocked);

	if (word && is_gils(s, word))
		return DOING_GIL;
	if (!task_state__is_off(&seen->task))
		return DOING_RUNS;
	if (word && seen->stack.application)
		return DOING_LOCK;
	return seen->task.call[0] ? DOING_CALL : DOING_OTHER;
}

/* ---- cells ---- */

static bool is_cell(const struct whereabouts_cell *c, pid_t tid, const struct seen *seen)
{
	return c->tid == tid && c->doing == seen->doing && c->callback == seen->stack.callback &&
	       strcmp(c->code, seen->stack.code) == 0 && (c->doing != DOING_CALL || strcmp(c->call, seen->task.call) == 0);
}

static size_t cell_of(struct whereabouts *w, pid_t tid, const char *name, const struct seen *seen)
{
	struct whereabouts_cell *c;

	for (size_t i = 0; i < w->cells_n; i++)
		if (is_cell(&w->cells[i], tid, seen))
			return i;
	if (w->cells_n == WHEREABOUTS_CELLS)
		return SIZE_MAX;
	c = &w->cells[w->cells_n];
	*c = (struct whereabouts_cell){
		.tid = tid, .doing = seen->doing, .loop = seen->stack.loop, .callback = seen->stack.callback,
	};
	snprintf(c->name, sizeof(c->name), "%s", name);
	memcpy(c->code, seen->stack.code, sizeof(c->code));
	memcpy(c->call, seen->task.call, sizeof(c->call));
	return w->cells_n++;
}

/* It is in the same sleep as at the last look. */
static uint64_t asleep_since(const struct survey *s, pid_t tid, const struct seen *seen, uint64_t now_ns)
{
	for (size_t i = 0; i < s->before_n; i++)
		if (s->before[i].tid == tid && s->before[i].cell == seen->cell && seen->task.timed &&
		    s->before[i].slept == seen->task.slept && task_state__is_off(&seen->task))
			return s->before[i].since_ns;
	return now_ns;
}

static void note(struct survey *s, pid_t tid, const char *name, struct seen *seen, struct thread_memory *now)
{
	uint64_t now_ns = clock__mono_ns();
	struct whereabouts_cell *c;

	seen->cell = cell_of(s->w, tid, name, seen);
	*now = (struct thread_memory){tid, seen->task.slept, asleep_since(s, tid, seen, now_ns), seen->cell};
	if (seen->cell == SIZE_MAX)
		return;
	c = &s->w->cells[seen->cell];
	c->looks++;
	if (now_ns - now->since_ns > c->longest_ns)
		c->longest_ns = now_ns - now->since_ns;
}

/* ---- gates ---- */

static struct whereabouts_gate *gate_of(struct whereabouts *w, const struct seen *seen)
{
	struct whereabouts_gate *g;

	for (size_t i = 0; i < w->gates_n; i++)
		if (w->gates[i].key == seen->keys[0])
			return &w->gates[i];
	if (w->gates_n == WHEREABOUTS_GATES)
		return NULL;
	g = &w->gates[w->gates_n++];
	*g = (struct whereabouts_gate){.key = seen->keys[0]};
	memcpy(g->code, seen->stack.code, sizeof(g->code));
	return g;
}

static bool is_inside(const struct seen *seen, uint64_t key)
{
	for (size_t i = 0; seen->doing != DOING_LOCK && i < seen->keys_n; i++)
		if (seen->keys[i] == key)
			return true;
	return false;
}

static void count_gate(struct survey *s, struct whereabouts_gate *g, uint32_t blocked)
{
	uint32_t inside = 0;

	for (size_t i = 0; i < s->seen_n; i++)
		if (is_inside(&s->seen[i], g->key) && !inside++)
			task_state__words(&s->seen[i].task, g->held);
	g->looks++;
	g->blocked += blocked;
	g->inside += inside > 0;
	g->crowded += inside > 1;
}

static void count_gates(struct survey *s)
{
	uint32_t blocked[WHEREABOUTS_GATES] = {0};

	for (size_t i = 0; i < s->seen_n; i++) {
		const struct seen *seen = &s->seen[i];
		struct whereabouts_gate *g = seen->doing == DOING_LOCK && seen->keys_n ? gate_of(s->w, seen) : NULL;

		if (g)
			blocked[g - s->w->gates]++;
	}
	for (size_t i = 0; i < s->w->gates_n; i++)
		if (blocked[i])
			count_gate(s, &s->w->gates[i], blocked[i]);
}

/* ---- looks ---- */

static void look_at(struct survey *s, const struct pythread *t, struct thread_memory *now, size_t *now_n)
{
	pid_t tid = s->foreign ? target__id_outside(s->pid, t->tid) : t->tid;
	struct seen *seen = &s->seen[s->seen_n];
	char name[THREAD_NAME_SIZE];

	*seen = (struct seen){.cell = SIZE_MAX};
	if (!tid || task_look__take(s->pid, tid, &seen->task) != 0)
		return;
	memcpy(name, t->name, sizeof(name));
	if (!name[0] && target__thread_comm(s->pid, tid, name, sizeof(name)))
		name[0] = '\0';
	read_stack(s, t->tstate, seen);
	seen->doing = doing_of(s, tid, seen);
	note(s, tid, name, seen, &now[(*now_n)++]);
	s->seen_n++;
}

static int look(struct survey *s)
{
	struct thread_memory now[WHEREABOUTS_THREADS];
	const struct pythread *all;
	size_t n, now_n = 0;
	int err = pynames__refresh(s->names, clock__mono_ns());

	if (err)
		return err;
	all = pynames__all(s->names, &n);
	s->seen_n = 0;
	for (size_t i = 0; i < n && i < WHEREABOUTS_THREADS; i++)
		look_at(s, &all[i], now, &now_n);
	count_gates(s);
	memcpy(s->before, now, now_n * sizeof(*now));
	s->before_n = now_n;
	s->w->threads_n = n;
	s->w->looks++;
	return 0;
}

static int look_repeatedly(struct survey *s)
{
	const struct timespec pause = {.tv_nsec = WHEREABOUTS_PAUSE_NS};
	uint64_t begin = clock__mono_ns();
	int err = 0;

	for (int i = 0; i < WHEREABOUTS_LOOKS && clock__mono_ns() - begin < WHEREABOUTS_MAX_NS; i++) {
		if (i)
			nanosleep(&pause, NULL);
		err = look(s); /* a list of threads that was torn is none; the next look may have one */
	}
	return s->w->looks ? 0 : err;
}

int whereabouts__take(struct whereabouts *w, pid_t pid, uint64_t runtime, const struct pyoffsets *off,
		      const struct gil_address *gils, size_t gils_n)
{
	struct survey s = {
		.w = w, .pid = pid, .off = off, .gils = gils, .gils_n = gils_n, .foreign = target__id_inside(pid, pid) != 0,
	};
	int err;

	*w = (struct whereabouts){.cells = calloc(WHEREABOUTS_CELLS, sizeof(*w->cells))};
	s.seen = calloc(WHEREABOUTS_THREADS, sizeof(*s.seen));
	s.before = calloc(WHEREABOUTS_THREADS, sizeof(*s.before));
	err = w->cells && s.seen && s.before ? pystack__new(pid, off, &s.stacks) : -ENOMEM;
	err = err ?: pynames__new(pid, runtime, off, &s.names);
	err = err ?: look_repeatedly(&s);
	pynames__free(s.names);
	pystack__free(s.stacks);
	free(s.before);
	free(s.seen);
	return err;
}

void whereabouts__free(struct whereabouts *w)
{
	free(w->cells);
	*w = (struct whereabouts){.cells = NULL};
}
