/* SPDX-License-Identifier: GPL-2.0-only */
/* Threads that come and go by the thousand: exact totals for those long gone, tids used again, bounded tables. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <poll.h>

#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/workload.h"

TestSuite(churn, .timeout = 300);

/* Collects intervals until the program has something to say. */
static void observe_until_truth(struct observer *o, struct workload *w)
{
	struct pollfd said = {.fd = w->out, .events = POLLIN};

	do
		proc_sample__free(observer__interval(o));
	while (poll(&said, 1, 200) == 0);
	workload__truth(w);
	/* Twice: what died in the last interval is final in the next. */
	proc_sample__free(observer__interval(o));
	proc_sample__free(observer__interval(o));
}

/* Acquires of all threads that had this tid. */
static uint64_t acquires_of_tid(const struct proc_sample *totals, uint32_t tid)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < totals->threads_n; i++)
		if (totals->threads[i].key.tid == tid)
			sum += totals->threads[i].m.acquires;
	return sum;
}

/* What the lives with this tid say they acquired; 0 if an earlier entry of the list has spoken for it. */
static uint64_t lived_with_tid(json_t *lives, size_t from, uint32_t tid)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < json_array_size(lives); i++) {
		json_t *life = json_array_get(lives, i);

		if ((uint32_t)json_integer_value(json_array_get(life, 0)) != tid)
			continue;
		if (i < from)
			return 0;
		sum += (uint64_t)json_integer_value(json_array_get(life, 1)) + 1;
	}
	return sum;
}

static void expect_lives(const struct proc_sample *totals, json_t *lives)
{
	for (size_t i = 0; i < json_array_size(lives); i++) {
		uint32_t tid = (uint32_t)json_integer_value(json_array_get(json_array_get(lives, i), 0));
		uint64_t lived = lived_with_tid(lives, i, tid);

		if (lived)
			cr_expect_eq(acquires_of_tid(totals, tid), lived, "tid %u: %" PRIu64 " acquires, lived %" PRIu64,
				     tid, acquires_of_tid(totals, tid), lived);
	}
}

static void expect_long_lived(const struct proc_sample *totals, json_t *threads)
{
	json_t *thread;
	size_t i;

	json_array_foreach(threads, i, thread)
		if (json_object_get(thread, "acquires"))
			cr_expect_eq((long long)acquires_of_tid(totals, (uint32_t)truth__int(thread, "tid")),
				     truth__int(thread, "acquires"));
}

/*
 * Two hundred threads in one queue, two thousand that just left it: the ring of holders may be lapped and the table of
 * pairs full. Then some holders are unknown, counted; and nothing else is lost.
 */
static void expect_no_other_loss(const struct proc_sample *totals)
{
	for (int loss = 0; loss < GIL_LOSS_COUNT; loss++)
		if (loss != GIL_LOSS_RING_LAPPED && loss != GIL_LOSS_BLAME_FULL)
			cr_expect_eq(totals->lost[loss], 0, "loss %d: %" PRIu64, loss, totals->lost[loss]);
	cr_expect_eq(totals->lost[GIL_LOSS_RING_LAPPED] + totals->lost[GIL_LOSS_BLAME_FULL] > 0,
		     totals->total.unknown_ns > 0);
}

static void run(const char *command)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;

	interpreter__stock(&stock);
	workload__start(&w, &stock, command);
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	observe_until_truth(&o, &w);
	cr_assert_gt(json_array_size(json_object_get(w.truth, "lives")), 1000);
	expect_lives(observer__totals(&o), json_object_get(w.truth, "lives"));
	expect_long_lived(observer__totals(&o), json_object_get(w.truth, "threads"));
	expect_no_other_loss(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
}

Test(churn, two_thousand_short_lives_and_two_hundred_long_ones_are_exact)
{
	run("churn.py 2000 200");
}

Test(churn, tids_used_again_are_new_threads)
{
	run("churn.py 2000 20 --reuse");
}

/* A table much too small: what does not fit is "other", counted, and the sum is right all the same. */
Test(churn, threads_beyond_the_table_are_counted_together)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;
	const struct proc_sample *totals;
	uint64_t lived = 0, seen = 0;
	json_t *lives;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "churn.py 1500 10 --naps 5");
	observer__attach_small(&o, w.pid, 64);
	workload__go(&w);
	observe_until_truth(&o, &w);
	totals = observer__totals(&o);
	lives = json_object_get(w.truth, "lives");
	for (size_t i = 0; i < json_array_size(lives); i++)
		lived += (uint64_t)json_integer_value(json_array_get(json_array_get(lives, i), 1)) + 1;
	for (size_t i = 0; i < totals->threads_n; i++)
		if (totals->threads[i].key.tid != (uint32_t)w.pid && strncmp(totals->threads[i].name, "long", 4))
			seen += totals->threads[i].m.acquires;
	cr_expect_gt(totals->lost[GIL_LOSS_NO_SLOT], 0, "the table was large enough");
	cr_expect_geq(seen, lived);
	observer__detach(&o);
	workload__quit(&w);
}
