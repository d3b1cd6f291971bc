/* SPDX-License-Identifier: GPL-2.0-only */
/* See made_up.h. */
#include "made_up.h"

#include <stdio.h>
#include <stdlib.h>

#include "collector/series/hist.h"

#define SECOND 1000000000ull
#define MS 1000000ull

struct proc_sample *made_up__second(void)
{
	struct proc_sample *s = proc_sample__new();

	if (!s)
		abort();
	s->end_ms = 1795420800000;
	s->len_ns = SECOND;
	s->observed_ns = SECOND;
	s->mode = GIL_MODE_FULL;
	s->live_threads = 9;
	s->total.known = KNOWN_ALL;
	s->cost_ns = 4 * MS;
	s->cpu_ns = 990 * MS;
	s->rss_kib = 48 * 1024;
	return s;
}

/* n equal holds, c equal waits. */
static void spread(struct metrics *m)
{
	for (uint64_t i = 0; i < m->acquires; i++)
		hist__count(&m->hold, m->hold_ns / m->acquires);
	for (uint64_t i = 0; i < m->contended; i++)
		hist__count(&m->wait, m->wait_ns / m->contended);
	m->hold_max_ns = m->acquires ? m->hold_ns / m->acquires : 0;
	m->wait_max_ns = m->contended ? m->wait_ns / m->contended : 0;
}

struct thread_sample *made_up__thread(struct proc_sample *s, uint32_t tid, const char *name, uint64_t hold_ms,
				      uint64_t wait_ms, uint64_t acquires, uint64_t contended)
{
	struct thread_sample *t = proc_sample__add_thread(s);

	if (!t)
		abort();
	t->key = (struct thread_key){.tid = tid, .start_ticks = 1000};
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->m = (struct metrics){
		.known = KNOWN_ALL, .hold_ns = hold_ms * MS, .wait_ns = wait_ms * MS, .handover_ns = wait_ms * MS / 100,
		.acquires = acquires, .contended = contended, .forced = contended / 2,
	};
	spread(&t->m);
	metrics__sum(&s->total, &t->m);
	return t;
}

void made_up__gil(struct proc_sample *s, uint32_t gil)
{
	struct gil_sample *g = proc_sample__add_gil(s);

	if (!g)
		abort();
	*g = (struct gil_sample){.gil = gil, .addr = 0x1000 * (gil + 1), .m = {.known = KNOWN_ALL}};
	for (size_t i = 0; i < s->threads_n; i++)
		if (s->threads[i].gil == gil)
			metrics__sum(&g->m, &s->threads[i].m);
}

static void dim(struct metrics *m)
{
	m->known = KNOWN_WAIT;
	m->hold_ns = m->acquires = m->forced = m->hold_max_ns = 0;
	hist__clear(&m->hold);
	hist__clear(&m->hold_open);
}

void made_up__light(struct proc_sample *s)
{
	s->mode = GIL_MODE_LIGHT;
	s->blame_sampled = true;
	dim(&s->total);
	for (size_t i = 0; i < s->threads_n; i++)
		dim(&s->threads[i].m);
	for (size_t i = 0; i < s->gils_n; i++)
		dim(&s->gils[i].m);
}

void made_up__keep_threads(struct proc_sample *s, size_t n)
{
	for (size_t i = n; i < s->threads_n; i++)
		metrics__clear(&s->threads[i].m);
	s->threads_n = n;
}

struct schema_writer *made_up__writer(void)
{
	const struct proc_ident who = {
		.host = "web1", .pid = 4242, .boot_id = "5a2c0d1e", .exe = "python3", .label = "app", .python = "3.11.2",
		.image = "python3", .method = "call sites", .interval_ms = 1000,
	};
	struct schema_opts opts;
	struct schema_writer *w;

	schema_opts__default(&opts);
	w = schema_writer__new(&opts, &who);
	if (!w)
		abort();
	return w;
}
