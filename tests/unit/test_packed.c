/* SPDX-License-Identifier: GPL-2.0-only */
/* A packed sample gives back what went in, whatever that was, less what was open. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "../../collector/window.h"

static uint64_t any(void)
{
	return ((uint64_t)random() << 42 ^ (uint64_t)random() << 21 ^ (uint64_t)random()) >> random() % 64;
}

static void fill_hist(struct gil_hist *h)
{
	for (long n = random() % 40; n > 0; n--)
		h->count[random() % GIL_HIST_BUCKETS] = (uint32_t)any();
}

static void fill_metrics(struct metrics *m)
{
	m->known = (uint32_t)any();
	m->waiting = (uint32_t)any();
	m->hold_ns = any();
	m->wait_ns = any();
	m->handover_ns = any();
	m->unknown_ns = any();
	m->acquires = any();
	m->contended = any();
	m->forced = any();
	m->inferred = any();
	m->hold_max_ns = any();
	m->wait_max_ns = any();
	fill_hist(&m->hold);
	fill_hist(&m->wait);
}

static struct proc_sample *fill_sample(size_t threads, size_t cells)
{
	struct proc_sample *s = proc_sample__new();

	cr_assert_not_null(s);
	s->end_ms = (int64_t)any();
	s->len_ns = any();
	fill_metrics(&s->total);
	fill_metrics(&proc_sample__add_gil(s)->m);
	for (size_t i = 0; i < threads; i++) {
		struct thread_sample *t = proc_sample__add_thread(s);

		t->key = (struct thread_key){.tid = (uint32_t)any(), .start_ticks = any()};
		memset(t->name, 'a' + (int)(i % 26), i % (THREAD_NAME_SIZE - 1));
		t->gil = (uint32_t)i % 3;
		t->exited = i % 2;
		fill_metrics(&t->m);
	}
	for (size_t i = 0; i < cells; i++)
		*proc_sample__add_blame(s) = (struct blame_cell){(uint32_t)any(), (uint32_t)any(), any()};
	return s;
}

static void expect_same(const struct proc_sample *a, const struct proc_sample *b)
{
	cr_assert_eq(a->end_ms, b->end_ms);
	cr_assert_eq(a->len_ns, b->len_ns);
	cr_assert_eq(memcmp(&a->total, &b->total, sizeof(a->total)), 0);
	cr_assert_eq(a->gils_n, b->gils_n);
	cr_assert_eq(memcmp(&a->gils[0].m, &b->gils[0].m, sizeof(a->gils[0].m)), 0);
	cr_assert_eq(a->threads_n, b->threads_n);
	for (size_t i = 0; i < a->threads_n; i++) {
		cr_assert(thread_key__equal(&a->threads[i].key, &b->threads[i].key));
		cr_assert_str_eq(a->threads[i].name, b->threads[i].name);
		cr_assert_eq(a->threads[i].gil, b->threads[i].gil);
		cr_assert_eq(a->threads[i].exited, b->threads[i].exited);
		cr_assert_eq(memcmp(&a->threads[i].m, &b->threads[i].m, sizeof(a->threads[i].m)), 0, "thread %zu", i);
	}
	cr_assert_eq(a->blame_n, b->blame_n);
	for (size_t i = 0; i < a->blame_n; i++)
		cr_assert_eq(memcmp(&a->blame[i], &b->blame[i], sizeof(a->blame[i])), 0, "cell %zu", i);
}

Test(packed, gives_back_what_went_in)
{
	static const struct {
		size_t threads, cells;
	} sizes[] = {{0, 0}, {1, 0}, {0, 3}, {2, 4}, {200, 3000}};

	srandom(7);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct proc_sample *in = fill_sample(sizes[i].threads, sizes[i].cells), *out;
		struct packed_sample *p = packed_sample__new(in);

		cr_assert_not_null(p);
		out = packed_sample__unpack(p);
		cr_assert_not_null(out);
		expect_same(in, out);
		proc_sample__free(in);
		proc_sample__free(out);
		packed_sample__free(p);
	}
}

Test(packed, what_was_open_is_left_out)
{
	struct proc_sample *in = fill_sample(1, 0), *out;
	struct packed_sample *p;

	hist_open__count(&in->threads[0].m.wait_open, 1000);
	p = packed_sample__new(in);
	out = packed_sample__unpack(p);
	cr_assert_eq(hist_open__total(&out->threads[0].m.wait_open), 0);
	proc_sample__free(in);
	proc_sample__free(out);
	packed_sample__free(p);
}
