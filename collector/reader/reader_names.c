/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who a thread is: its key and its name, from its record, its slot or its PyThreadState.
 *
 * A name is what Python says of a live thread, else the kernel, else what the program noted at its birth or end. Reads the
 * target by way of pynames.h, pyver.h and target.h; needs neither libbpf nor a sample.
 */
#include "reader_inside.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/text.h"
#include "collector/python/pynames.h"
#include "collector/python/pytid.h"

#define NAME_INTERVALS 5    /* the kernel's name of a thread is read again every so many intervals */

static uint64_t ns_per_tick(void)
{
	return 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
}

static uint64_t ticks_of(uint64_t boot_ns)
{
	return boot_ns / ns_per_tick();
}

/* The name that Python has for a live thread, or NULL. */
static const char *python_name(struct reader *r, uint32_t proc, pid_t tid, uint64_t tstate, uint64_t start_boot_ns)
{
	return pynames__find(r->watches[proc].names, clock__boot_ns(), tid, tstate, start_boot_ns);
}

/* A thread that ended with the GIL: what Python called it still stands in memory, and nobody changes it. */
static bool has_gil(struct reader *r, uint32_t proc, uint32_t slot, const struct record *rec)
{
	const struct gil_view *gil = &probes__gil(r->probes, proc, rec->gil % GIL_PER_PROC)->cur;

	return rec->tstate && gil->state == GIL_OWNER_HELD && gil->owner_slot == slot;
}

static void refresh_name(struct reader *r, uint32_t proc, uint32_t slot, struct memo *m, const struct record *rec)
{
	bool dead = rec->state != GIL_THREAD_LIVE;
	const char *name = dead && !has_gil(r, proc, slot, rec) ? NULL :
		python_name(r, proc, (pid_t)rec->tid, rec->tstate, rec->start_boot_ns);

	if (name)
		snprintf(m->name, sizeof(m->name), "%s", name);
	m->name_pythons = m->name_pythons || name;
	if (m->name_pythons)
		return;
	if (m->name[0] && !dead && ++m->name_age % NAME_INTERVALS)
		return;
	if (!dead && !target__thread_comm(probes__pid(r->probes, proc), (pid_t)rec->tid, m->name, sizeof(m->name)))
		return;
	if (!m->name[0] || dead)
		text__clean(m->name, sizeof(m->name), rec->comm, strnlen(rec->comm, sizeof(rec->comm)));
}

static void set_key(struct reader *r, uint32_t proc, struct memo *m, const struct record *rec)
{
	uint32_t inside = m->key.inside;

	if (r->watches[proc].foreign && !m->inside_asked)
		inside = (uint32_t)target__id_inside(probes__pid(r->probes, proc), (pid_t)rec->tid);
	m->inside_asked = true;
	m->key = (struct thread_key){
		.tid = rec->tid, .inside = inside, .start_ticks = ticks_of(rec->start_boot_ns),
	};
}

void reader_names__note(struct reader *r, uint32_t proc, uint32_t slot, const struct record *rec)
{
	struct memo *m = r->memos[slot];

	if (slot < probes__first_thread(r->probes)) {
		m->key = (struct thread_key){.tid = 0, .start_ticks = PSEUDO_OTHER};
		strcpy(m->name, "other");
		return;
	}
	set_key(r, proc, m, rec);
	refresh_name(r, proc, slot, m, rec);
}

void reader_names__look(struct reader *r, uint32_t proc, uint32_t slot)
{
	struct record rec;

	if (record__read(probes__thread(r->probes, slot), r->clock->end, &rec))
		reader_names__note(r, proc, slot, &rec);
}

/* ---- whoever is named by others ---- */

/* The slot of a live thread's record, by its PyThreadState; slots_end: it has none. */
static uint32_t slot_of_tstate(const struct reader *r, uint32_t proc, uint64_t tstate)
{
	for (uint32_t slot = r->first[proc]; slot; slot = r->next[slot]) {
		const struct gil_thread *t = probes__thread(r->probes, slot);

		if (r->memos[slot] && t->state != GIL_THREAD_FREE && t->tstate == tstate)
			return slot;
	}
	return r->slots_end;
}

pid_t reader_names__tid_of_tstate(struct reader *r, uint32_t proc, uint64_t tstate, uint32_t *ret_inside)
{
	const struct watch *w = &r->watches[proc];
	pid_t pid = probes__pid(r->probes, proc), tid = tstate ? pytid__of_tstate(pid, &w->off, tstate) : 0;

	if (!w->foreign)
		return tid;
	*ret_inside = (uint32_t)tid;
	return target__id_outside(pid, tid);
}

/* What a thread is called now: by Python (true), else by the kernel. */
static bool live_name(struct reader *r, uint32_t proc, pid_t tid, uint64_t tstate, uint64_t start_ticks,
		      char name[THREAD_NAME_SIZE])
{
	const char *python = python_name(r, proc, tid, tstate, start_ticks * ns_per_tick());

	if (python)
		snprintf(name, THREAD_NAME_SIZE, "%s", python);
	else if (target__thread_comm(probes__pid(r->probes, proc), tid, name, THREAD_NAME_SIZE))
		name[0] = '\0'; /* it has just ended */
	return python != NULL;
}

bool reader_names__of_slot(struct reader *r, uint32_t proc, uint32_t slot, struct who *ret)
{
	struct memo *m = slot < r->slots_n ? reader_slots__memo(r, slot) : NULL;

	if (!m)
		return false;
	if (!m->key.start_ticks || m->settled)
		reader_names__look(r, proc, slot);
	ret->key = m->key;
	ret->name = m->name;
	return true;
}

bool reader_names__of_tstate(struct reader *r, uint32_t proc, uint64_t tstate, struct who *ret)
{
	uint32_t slot = slot_of_tstate(r, proc, tstate);
	pid_t pid = probes__pid(r->probes, proc), tid;
	uint64_t stack;

	if (slot < r->slots_end)
		return reader_names__of_slot(r, proc, slot, ret);
	*ret = (struct who){.name = ret->buf};
	tid = reader_names__tid_of_tstate(r, proc, tstate, &ret->key.inside);
	if (tid <= 0 || target__stat(pid, tid, &ret->key.start_ticks, &stack))
		return false;
	ret->key.tid = (uint32_t)tid;
	live_name(r, proc, tid, tstate, ret->key.start_ticks, ret->buf);
	return true;
}

bool reader__thread_name(struct reader *r, uint32_t slot, pid_t tid, char name[THREAD_NAME_SIZE])
{
	uint64_t start_ticks, stack;

	name[0] = '\0';
	return target__stat(probes__pid(r->probes, slot), tid, &start_ticks, &stack) == 0 &&
	       live_name(r, slot, tid, 0, start_ticks, name);
}

void reader__tstate_name(struct reader *r, uint32_t slot, uint64_t tstate, char name[THREAD_NAME_SIZE])
{
	const char *python = tstate ? python_name(r, slot, 0, tstate, 0) : NULL;

	snprintf(name, THREAD_NAME_SIZE, "%s", python ? python : "");
}
