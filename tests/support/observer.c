/* SPDX-License-Identifier: GPL-2.0-only */
/* See observer.h. */
#include "observer.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#include "bpf_env.h"

#define SECOND 1000000000ull
#define FAR (3600 * SECOND)      /* the boundary that never comes: intervals are cut */
#define SETTLE_US 8000

static uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void attach(struct observer *o, pid_t pid, enum gil_mode mode, struct probes_opts probes_opts)
{
	const struct origin origin = {0};
	struct reason why = {{0}};

	bpf_env__require();
	*o = (struct observer){
		.opts = {
			.interval_ns = SECOND,
			.mode = mode == GIL_MODE_LIGHT ? MODE_LIGHT : MODE_FULL,
			.max_overhead = 1,
		},
	};
	schema_opts__default(&o->opts.schema);
	o->shop.opts = &o->opts;
	cr_assert_eq(probes__open(&probes_opts, &o->shop.probes, &why), 0, "%s", why.text);
	cr_assert_eq(reader__new(o->shop.probes, &o->shop.reader, &why), 0, "%s", why.text);
	reader__begin(o->shop.reader, mono_ns(), READER_NO_END);
	cr_assert_eq(observed__start(&o->proc, &o->shop, pid, &origin, &why), 0, "%s", why.text);
	cr_assert_eq(o->proc.pub.mode, mode);
}

void observer__attach(struct observer *o, pid_t pid, enum gil_mode mode)
{
	attach(o, pid, mode, (struct probes_opts){.max_procs = 1, .max_threads = 4096});
}

void observer__attach_perf(struct observer *o, pid_t pid, enum gil_mode mode)
{
	attach(o, pid, mode, (struct probes_opts){.max_procs = 1, .max_threads = 4096, .no_multi = true});
}

void observer__attach_perf_shared(struct observer *o, pid_t pid, enum gil_mode mode)
{
	attach(o, pid, mode, (struct probes_opts){.max_procs = 2, .max_threads = 4096, .no_multi = true, .follow = true,
						  .handed_down = true});
}

void observer__attach_stacks(struct observer *o, pid_t pid, enum gil_mode mode, const struct stack_opts *stacks)
{
	attach(o, pid, mode, (struct probes_opts){.max_procs = 1, .max_threads = 4096, .stacks = *stacks});
}

void observer__attach_small(struct observer *o, pid_t pid, uint32_t max_threads)
{
	attach(o, pid, GIL_MODE_FULL, (struct probes_opts){.max_procs = 1, .max_threads = max_threads});
}

static void assert_wait_is_explained(const struct proc_sample *s)
{
	for (size_t i = 0; i < s->threads_n; i++) {
		const struct metrics *m = &s->threads[i].m;
		uint64_t blame = 0;

		for (size_t j = 0; j < s->blame_n; j++)
			if (s->blame[j].victim == i)
				blame += s->blame[j].ns;
		cr_expect_eq(m->wait_ns, blame + m->handover_ns + m->unknown_ns,
			     "thread %u: wait %" PRIu64 " is not blame %" PRIu64 " + handover %" PRIu64
			     " + unknown %" PRIu64, s->threads[i].key.tid, m->wait_ns, blame, m->handover_ns,
			     m->unknown_ns);
	}
}

static uint64_t off_cpu(const struct gil_off *off)
{
	return off->ns[GIL_OFF_BLOCKED] + off->ns[GIL_OFF_PREEMPTED] + off->ns[GIL_OFF_UNSEEN] +
	       off->ns[GIL_OFF_STOPPED];
}

/* What is left of a hold was on the CPU. */
static void assert_parts_are_no_more_than_the_whole(const struct proc_sample *s)
{
	for (size_t i = 0; i < s->threads_n; i++) {
		const struct metrics *m = &s->threads[i].m;

		cr_expect_leq(off_cpu(&m->hold_off), m->hold_ns, "thread %u was off the CPU %" PRIu64 " of %" PRIu64 " ns",
			      s->threads[i].key.tid, off_cpu(&m->hold_off), m->hold_ns);
		cr_expect_leq(off_cpu(&m->wait_off), m->wait_ns - m->handover_ns,
			      "thread %u waited %" PRIu64 " of %" PRIu64 " ns for holders off the CPU", s->threads[i].key.tid,
			      off_cpu(&m->wait_off), m->wait_ns - m->handover_ns);
	}
}

static void assert_no_gil_is_held_longer_than_it_took(const struct proc_sample *s)
{
	for (size_t i = 0; i < s->gils_n; i++)
		cr_expect_leq(s->gils[i].m.hold_ns, s->len_ns, "GIL %u was held %" PRIu64 " of %" PRIu64 " ns",
			      s->gils[i].gil, s->gils[i].m.hold_ns, s->len_ns);
}

struct proc_sample *observer__interval(struct observer *o)
{
	struct proc_sample *s;

	reader__cut(o->shop.reader, mono_ns() + SECOND / 1000);
	usleep(1000 + SETTLE_US);
	observed__mind_interpreter(&o->proc, &o->shop);
	cr_assert_eq(reader__collect(o->shop.reader, o->proc.slot, &s), 0);
	s->end_ms = (int64_t)(mono_ns() / 1000000);
	cr_assert_eq(observed__publish(&o->proc, &o->shop, s, reader__interval_end(o->shop.reader), true), 0);
	reader__advance(o->shop.reader, mono_ns() + FAR);
	assert_wait_is_explained(s);
	assert_parts_are_no_more_than_the_whole(s);
	assert_no_gil_is_held_longer_than_it_took(s);
	return s;
}

const struct proc_sample *observer__totals(struct observer *o)
{
	return aggr__totals(o->proc.aggr);
}

const struct thread_sample *observer__thread(const struct proc_sample *s, pid_t tid)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (s->threads[i].key.tid == (uint32_t)tid)
			return &s->threads[i];
	return NULL;
}

void observer__assert_lossless(const struct proc_sample *s)
{
	static const char *const names[] = {
#define X(id, name, text) [GIL_LOSS_##id] = name,
		GIL_LOSSES(X)
#undef X
	};

	for (int i = 0; i < GIL_LOSS_COUNT; i++)
		cr_expect_eq(s->lost[i], 0, "%s: %" PRIu64, names[i], s->lost[i]);
}

void observer__detach(struct observer *o)
{
	observed__stop(&o->proc, &o->shop);
	recipes__free(&o->shop.recipes);
	reader__free(o->shop.reader);
	probes__close(o->shop.probes);
}
