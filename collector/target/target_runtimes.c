/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which of several Pythons in one process is meant: an executable with an interpreter inside and a library that brings a
 * libpython, or the same file loaded twice (dlmopen). See struct runtimes in target.h.
 *
 * A file that is mapped need not have been started: what counts is whether its _PyRuntime has an interpreter. Where several have,
 * their GILs are looked at for a moment, and the one that does more is taken. Reads the process's memory only.
 */
#include "target_inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "collector/cpython/gil_words.h"
#include "collector/cpython/pyinterps.h"
#include "collector/process/procmem.h"

#define LOOKS 10              /* at the GILs of those that run */
#define INTERPRETERS_MAX 64   /* whose threads are counted */
#define THREADS_MAX 4096
#define PATH_SHOWN 60         /* bytes of a path in the sentence */
#define OTHERS_SHOWN 2        /* beside the one that was chosen */

/* What a runtime that runs has done while it was looked at: the first that differs decides. */
struct work {
	uint64_t switches;    /* its GIL changed hands so often */
	uint32_t taken;       /* looks that found it taken anew */
	uint32_t threads;     /* that its interpreters know */
	uint32_t held;        /* looks that found its GIL taken */
};

struct look {
	struct gil_words words;
	bool ok;
};

static enum runtime_state state_of(pid_t pid, const struct runtime *r)
{
	uint64_t head;

	if (!r->heads || procmem__read_u64(pid, r->heads, &head))
		return RUNTIME_UNKNOWN;
	return head ? RUNTIME_RUNS : RUNTIME_IDLE;
}

size_t runtimes__look(struct runtimes *r, pid_t pid)
{
	size_t changed = 0;

	for (size_t i = 0; i < r->n; i++) {
		enum runtime_state now = state_of(pid, &r->of[i]);

		changed += now != r->of[i].state;
		r->of[i].state = now;
	}
	return changed;
}

/* ---- the busier one ---- */

static uint32_t count_threads(pid_t pid, const struct pyoffsets *off, uint64_t interp)
{
	uint64_t tstate;
	uint32_t n = 0;

	if (procmem__read_u64(pid, interp + off->interp_threads_head, &tstate))
		return 0;
	while (tstate && n < THREADS_MAX) {
		n++;
		if (procmem__read_u64(pid, tstate + off->tstate_next, &tstate))
			break;
	}
	return n;
}

static uint32_t count_all_threads(pid_t pid, const struct pyoffsets *off, uint64_t heads)
{
	uint64_t interp = 0;
	uint32_t n = 0;

	if (procmem__read_u64(pid, heads, &interp))
		return 0;
	for (int i = 0; interp && i < INTERPRETERS_MAX && n < THREADS_MAX; i++) {
		n += count_threads(pid, off, interp);
		if (procmem__read_u64(pid, interp + off->interp_next, &interp))
			break;
	}
	return n;
}

static struct look take_look(pid_t pid, const struct runtime *r, const struct pyoffsets *off)
{
	struct look look = {.ok = false};

	look.ok = gil_words__read(pid, off, pyinterps__main_gil(pid, off, r->at), &look.words) == 0;
	return look;
}

static void add_look(struct work *w, struct look *before, const struct look *now)
{
	if (!now->ok)
		return;
	if (before->ok) {
		w->switches += now->words.switches - before->words.switches;
		w->taken += gil_words__taken_since(&before->words, &now->words);
	}
	w->held += now->words.locked == 1;
	*before = *now;
}

/* Sets the work of each that runs. */
static void watch(const struct target *t, const struct runtime_layout *layouts, struct work *work)
{
	const struct timespec pause = {.tv_nsec = RUNTIMES_LOOK_NS / LOOKS};
	const struct runtimes *r = &t->runtimes;
	struct look before[RUNTIMES_MAX] = {{.ok = false}};

	for (int look = 0; look <= LOOKS; look++) {
		if (look)
			nanosleep(&pause, NULL);
		for (size_t i = 0; i < r->n; i++) {
			struct look now = {.ok = false};

			if (r->of[i].state == RUNTIME_RUNS)
				now = take_look(t->pid, &r->of[i], &layouts[i].offsets);
			add_look(&work[i], &before[i], &now);
		}
	}
	for (size_t i = 0; i < r->n; i++)
		if (r->of[i].state == RUNTIME_RUNS)
			work[i].threads = count_all_threads(t->pid, &layouts[i].offsets, r->of[i].heads);
}

static bool does_more(const struct work *a, const struct work *b)
{
	if (a->switches != b->switches)
		return a->switches > b->switches;
	if (a->taken != b->taken)
		return a->taken > b->taken;
	return a->threads != b->threads ? a->threads > b->threads : a->held > b->held;
}

/* One whose state is not known may be the one; one without an interpreter is not, now. */
static int rank(enum runtime_state state)
{
	return state == RUNTIME_RUNS ? 2 : state == RUNTIME_UNKNOWN ? 1 : 0;
}

static size_t count(const struct runtimes *r, enum runtime_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->of[i].state == state;
	return n;
}

void target_runtimes__choose(struct target *t, const struct runtime_layout *layouts)
{
	struct work work[RUNTIMES_MAX] = {{0}};
	struct runtimes *r = &t->runtimes;

	runtimes__look(r, t->pid);
	if (count(r, RUNTIME_RUNS) > 1)
		watch(t, layouts, work);
	r->chosen = 0;
	for (size_t i = 1; i < r->n; i++) {
		int better = rank(r->of[i].state) - rank(r->of[r->chosen].state);

		if (better > 0 || (better == 0 && does_more(&work[i], &work[r->chosen])))
			r->chosen = i;
	}
}

/* ---- in words ---- */

static __attribute__((format(printf, 2, 3))) void add(char buf[RUNTIMES_TEXT_SIZE], const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list args;

	va_start(args, fmt);
	vsnprintf(buf + len, RUNTIMES_TEXT_SIZE - len, fmt, args);
	va_end(args);
}

/* The end of a long path tells more than its beginning. */
static void add_name(char buf[RUNTIMES_TEXT_SIZE], const struct runtime *r)
{
	size_t len = strlen(r->path), skip = len > PATH_SHOWN ? len - PATH_SHOWN : 0;

	while (skip && ((unsigned char)r->path[skip] & 0xc0) == 0x80) /* not in the middle of a character */
		skip++;
	add(buf, "CPython %s%sin %s%s", r->python, r->python[0] ? " " : "", skip ? "..." : "", r->path + skip);
}

const char *runtimes__text(const struct runtimes *r, char buf[RUNTIMES_TEXT_SIZE])
{
	static const char *const alone[] = {
		[RUNTIME_UNKNOWN] = "nothing tells which of them runs", [RUNTIME_IDLE] = "none has an interpreter now",
		[RUNTIME_RUNS] = "it is the one that has an interpreter",
	};
	static const char *const left[] = {
		[RUNTIME_UNKNOWN] = "whether it runs is not known", [RUNTIME_IDLE] = "it has no interpreter",
		[RUNTIME_RUNS] = "it has an interpreter, too",
	};
	enum runtime_state state;

	buf[0] = '\0';
	if (r->n < 2)
		return buf;
	state = r->of[r->chosen].state;
	add(buf, "this process has %zu Python runtimes. Looked at: ", r->n);
	add_name(buf, &r->of[r->chosen]);
	add(buf, " (%s). Not looked at:",
	    state == RUNTIME_RUNS && count(r, RUNTIME_RUNS) > 1 ? "it does more than the others that run" : alone[state]);
	for (size_t i = 0, n = 0; i < r->n && n < OTHERS_SHOWN; i++) {
		if (i == r->chosen)
			continue;
		add(buf, n++ ? "; " : " ");
		add_name(buf, &r->of[i]);
		add(buf, " (%s)", left[r->of[i].state]);
	}
	if (r->n - 1 > OTHERS_SHOWN)
		add(buf, "; and %zu more", r->n - 1 - OTHERS_SHOWN);
	return buf;
}
