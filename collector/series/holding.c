/* SPDX-License-Identifier: GPL-2.0-only */
/* See holding.h. */
#include "holding.h"

#include <stdio.h>
#include <string.h>

#include "collector/base/text.h"
#include "sample.h"

void holding__merge(struct holding *dst, const struct holding *src)
{
	struct holding sum = *src;

	sum.gone_ns += dst->gone_ns;
	for (int s = 0; s < STANDSTILL_COUNT; s++)
		sum.still_ns[s] += dst->still_ns[s];
	*dst = sum;
}

uint64_t holding__still_ns(const struct holding *h)
{
	uint64_t ns = 0;

	for (int s = STANDSTILL_NONE + 1; s < STANDSTILL_COUNT; s++)
		ns += h->still_ns[s];
	return ns;
}

enum standstill holding__mostly(const struct holding *h)
{
	enum standstill most = STANDSTILL_NONE;

	for (int s = STANDSTILL_NONE + 1; s < STANDSTILL_COUNT; s++)
		if (h->still_ns[s] > (most ? h->still_ns[most] : 0))
			most = (enum standstill)s;
	return most ? most : h->standstill;
}

const char *holding__words(const struct holding *h, char buf[HOLDING_WORDS_SIZE])
{
	const char *name = h->name[0] ? h->name : "a thread without a name";
	char doing[TASK_DOING_SIZE];

	buf[0] = '\0';
	if (h->standstill) {
		text__append(buf, HOLDING_WORDS_SIZE, "the process %s", standstill__words(h->standstill));
		if (h->tracer)
			text__append(buf, HOLDING_WORDS_SIZE, ", process %d", (int)h->tracer);
	} else if (holder_kind__is_gone(h->by)) {
		text__append(buf, HOLDING_WORDS_SIZE, "the GIL is held by %s%s%s%s: nobody can take it",
			     holder_kind__words(h->by), h->name[0] ? " (" : "", h->name, h->name[0] ? ")" : "");
	} else if (h->by == HOLDER_THREAD) {
		text__append(buf, HOLDING_WORDS_SIZE, "%s has held the GIL %s%.1f s%s", name,
			     h->before ? "since before gilscope looked, " : "for ", (double)h->lasted_ns / 1e9,
			     h->before ? " at least" : "");
		if (task_state__words(&h->task, doing)[0])
			text__append(buf, HOLDING_WORDS_SIZE, ", %s", doing);
		if (h->place[0])
			text__append(buf, HOLDING_WORDS_SIZE, ", in %s", h->place);
	}
	return buf;
}

/* ---- what is known of a hold that no event told of ---- */

/* `part` of `whole` of `ns`. */
static uint64_t share(uint64_t ns, uint64_t part, uint64_t whole)
{
	return whole ? (uint64_t)((double)ns * ((double)part / (double)whole)) : 0;
}

/* `known` of each `all` of the unseen is explained; the rest of that was on a CPU. */
static void explain(struct gil_off *off, const struct task_spent *spent, uint64_t known, uint64_t all)
{
	uint64_t covered = spent->on_ns + spent->asleep_ns + spent->delay_ns + spent->unknown_ns;
	uint64_t ours = share(off->ns[GIL_OFF_UNSEEN], known, all);
	uint64_t asleep = share(ours, spent->asleep_ns, covered), delay = share(ours, spent->delay_ns, covered);
	uint64_t on = share(ours, spent->on_ns, covered);

	/* Shares are rounded: the parts must not exceed what they are parts of. */
	if (asleep + delay + on > off->ns[GIL_OFF_UNSEEN])
		return;
	off->ns[GIL_OFF_UNSEEN] -= asleep + delay + on;
	off->ns[GIL_OFF_BLOCKED] += asleep;
	off->ns[GIL_OFF_PREEMPTED] += delay;
}

void holding__explain(struct proc_sample *s, uint32_t gil, const struct task_spent *spent)
{
	uint64_t covered = spent->on_ns + spent->asleep_ns + spent->delay_ns + spent->unknown_ns, all = 0, known;

	for (size_t i = 0; i < s->threads_n; i++)
		if (s->threads[i].gil == gil)
			all += s->threads[i].m.hold_off.ns[GIL_OFF_UNSEEN];
	known = covered < all ? covered : all;
	for (size_t i = 0; known && i < s->threads_n; i++) {
		if (s->threads[i].gil != gil)
			continue;
		explain(&s->threads[i].m.hold_off, spent, known, all);
		explain(&s->threads[i].m.wait_off, spent, known, all);
	}
}
