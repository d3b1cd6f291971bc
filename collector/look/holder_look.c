/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See holder_look.h. Where the thread is gone: glibc forgets the id of a thread at its end, and of all others in a forked child
 * (nptl: reclaim_stacks), so that struct pthread does not tell the two apart. What does: the id in the thread state (3.11 and
 * later), if that thread is older than the process; the parent's memory, if the same state belongs to a live thread there that
 * is older than the process; and whether the other states are of threads that the process made itself, which a forked child
 * without a GIL cannot have.
 */
#include "holder_look.h"

#include <stdio.h>
#include <string.h>

#include "collector/base/clock.h"
#include "collector/cpython/pyinterps.h"
#include "collector/process/procmem.h"
#include "collector/process/procstat.h"
#include "collector/python/pynames.h"
#include "collector/target/target.h"
#include "collector/target/target_inside.h"
#include "collector/target/task_look.h"

/* ---- who it is ---- */

static uint64_t ident_of(pid_t pid, const struct pyoffsets *off, uint64_t tstate)
{
	uint64_t ident;

	return procmem__read_u64(pid, tstate + off->tstate_thread_id, &ident) ? 0 : ident;
}

static pid_t native_id(pid_t pid, const struct pyoffsets *off, uint64_t tstate)
{
	uint64_t id;

	if (off->tstate_native_thread_id == PYOFF_NONE || procmem__read_u64(pid, tstate + off->tstate_native_thread_id, &id))
		return 0;
	return id <= INT32_MAX ? (pid_t)id : 0;
}

/* What glibc has of the thread; 0 at its end. */
static pid_t pthread_id(pid_t pid, const struct pyoffsets *off, uint64_t tstate)
{
	uint64_t ident = ident_of(pid, off, tstate);
	uint32_t id;

	return ident && !procmem__read_u32(pid, ident + PYVER_PTHREAD_TID, &id) && id <= INT32_MAX ? (pid_t)id : 0;
}

static pid_t if_thread(pid_t pid, pid_t id, bool foreign)
{
	if (id <= 0)
		return 0;
	return foreign ? target__id_outside(pid, id) : target__has_thread(pid, id) ? id : 0;
}

pid_t holder_look__tid(pid_t pid, const struct pyoffsets *off, uint64_t tstate, bool foreign)
{
	pid_t tid = if_thread(pid, native_id(pid, off, tstate), foreign);

	return tid ? tid : if_thread(pid, pthread_id(pid, off, tstate), foreign);
}

/* ---- one that is gone ---- */

static uint64_t start_of(pid_t pid, pid_t tid)
{
	uint64_t ticks, stack;

	return target__stat(pid, tid, &ticks, &stack) ? 0 : ticks;
}

/* A thread elsewhere that was there before the process was: not one of its own, whatever ids were used again. */
static bool is_older_elsewhere(pid_t pid, pid_t id)
{
	pid_t group = id > 0 ? target_proc__thread_group(id) : 0;
	uint64_t start = group ? start_of(group, id) : 0, ours = start_of(pid, 0);

	return group && group != pid && start && ours && (start < ours || (start == ours && group == procstat__parent(pid)));
}

/* The same thread state in the parent's memory, and its thread is alive there. */
static bool is_parents(pid_t pid, const struct pyoffsets *off, uint64_t tstate)
{
	pid_t parent = procstat__parent(pid), tid;
	uint64_t ident = ident_of(pid, off, tstate);

	if (parent <= 1 || !ident || ident_of(parent, off, tstate) != ident)
		return false;
	tid = pthread_id(parent, off, tstate);
	return tid > 0 && target__has_thread(parent, tid) && is_older_elsewhere(pid, tid);
}

/* Of the other thread states. */
struct others {
	size_t made_here; /* of threads that the process has made */
	size_t first;     /* of its first thread, by the id that the state gives itself */
	size_t copied;    /* of its first thread too, but the state gives itself another id: it was made in the parent */
};

static void count_others(pid_t pid, uint64_t runtime, const struct pyoffsets *off, uint64_t tstate, bool foreign,
			 struct others *ret)
{
	const struct pythread *all;
	struct pynames *names;
	size_t n;

	if (pynames__new(pid, runtime, off, &names))
		return;
	if (pynames__refresh(names, 1) == 0) {
		all = pynames__all(names, &n);
		for (size_t i = 0; i < n; i++) {
			pid_t tid = all[i].tstate == tstate ? 0 : if_thread(pid, all[i].tid, foreign);

			ret->made_here += tid && tid != pid;
			ret->first += tid == pid;
			ret->copied += all[i].tstate != tstate && all[i].tid && !tid &&
				       if_thread(pid, pthread_id(pid, off, all[i].tstate), foreign) == pid;
		}
	}
	pynames__free(names);
}

static enum holder_kind kind_of_gone(pid_t pid, uint64_t runtime, const struct pyoffsets *off, uint64_t tstate, bool foreign)
{
	bool tells = off->tstate_native_thread_id != PYOFF_NONE;
	pid_t id = native_id(pid, off, tstate);
	struct others others = {0};

	if ((!foreign && is_older_elsewhere(pid, id)) || is_parents(pid, off, tstate))
		return HOLDER_LEFT_BY_FORK;
	count_others(pid, runtime, off, tstate, foreign, &others);
	if (tells && others.copied)
		return HOLDER_LEFT_BY_FORK;
	if (others.made_here || (tells && (others.first || id == (foreign ? target__id_inside(pid, pid) : pid))))
		return HOLDER_ENDED;
	return HOLDER_GONE;
}

/* ---- the look ---- */

static void look(pid_t pid, uint64_t runtime, const struct pyoffsets *off, struct holder_look *ret)
{
	bool foreign = target__id_inside(pid, pid) != 0;
	uint64_t holder = gil_words__holder(&ret->words);

	ret->tid = holder_look__tid(pid, off, holder, foreign);
	if (ret->tid && task_look__take(pid, ret->tid, &ret->task) == 0 && !strchr("ZXx", ret->task.letter))
		ret->kind = HOLDER_THREAD;
	else
		ret->kind = kind_of_gone(pid, runtime, off, holder, foreign);
	if (ret->kind != HOLDER_THREAD)
		ret->tid = 0;
}

void holder_look__take(pid_t pid, uint64_t runtime, const struct pyoffsets *off, uint64_t gil, struct holder_look *ret)
{
	struct gil_words after;

	*ret = (struct holder_look){.kind = HOLDER_UNKNOWN};
	if (gil_words__read(pid, off, gil, &ret->words))
		return;
	/* Up to 3.11 a finalized interpreter leaves it locked. */
	if (!gil_words__holder(&ret->words) || pyinterps__is_empty(pid, off, runtime))
		ret->kind = HOLDER_NOBODY;
	else
		look(pid, runtime, off, ret);
	ret->at_ns = clock__mono_ns();
	if (gil_words__read(pid, off, gil, &after) || after.locked != ret->words.locked ||
	    gil_words__taken_since(&ret->words, &after))
		*ret = (struct holder_look){.kind = HOLDER_UNKNOWN, .words = ret->words, .at_ns = ret->at_ns};
}
