/* SPDX-License-Identifier: GPL-2.0-only */
/* Threads that need the GIL for moments only wait for bytecode that computes, a switch interval each time. */
#include "verdict_inside.h"

#include <stdint.h>

#define CONVOY_WAITED 0.3      /* of a convoyed thread's acquires wait */
#define CONVOY_RATE 5.0        /* acquires per second */
#define CONVOY_SHORT_US 1000.0 /* its holds are shorter than that, on average and mostly */
/*
 * What it pays per wait, on average and mostly. Who comes while another asks already pays the rest of that one's switch
 * interval: two threads that come in turn 2 ms apart wait 3 ms each (measured), many threads half an interval.
 */
#define CONVOY_MEAN_US (0.4 * SWITCH_US)
#define CONVOY_WAIT_US (0.2 * SWITCH_US)

/* The thread running bytecode that `victim` waits for the most: it is taken from, every switch interval. */
static size_t taken_from(const struct judging *j, size_t victim)
{
	size_t best = SIZE_MAX;
	double most = 0;

	for (size_t i = 0; j->holders && i < j->in->pairs_n; i++) {
		const struct verdict_pair *p = &j->in->pairs[i];
		const struct verdict_load *holder = &j->in->threads[p->holder];

		if (p->victim != victim || p->holder == victim || p->us <= most ||
		    !(holder->forced >= FORCED_SHARE * holder->n) ||
		    !(j->holders[p->holder].waited_us[HOW_ASKED] > 0))
			continue;
		most = p->us;
		best = p->holder;
	}
	return best;
}

static bool is_convoyed(const struct judging *j, size_t thread)
{
	const struct verdict_load *t = &j->in->threads[thread];

	return t->n >= CONVOY_RATE * j->in->observed_us / 1e6 && t->c >= CONVOY_WAITED * t->n &&
	       t->hold_us <= CONVOY_SHORT_US * t->n && t->hold_p50 <= CONVOY_SHORT_US && t->wait_us >= CONVOY_MEAN_US * t->c &&
	       t->wait_p50 >= CONVOY_WAIT_US && taken_from(j, thread) != SIZE_MAX;
}

static size_t worst_convoyed(const struct judging *j, size_t *ret_n)
{
	size_t worst = SIZE_MAX;

	*ret_n = 0;
	for (size_t i = 0; i < j->in->threads_n; i++)
		if (is_convoyed(j, i) && (!(*ret_n)++ || j->in->threads[i].wait_us > j->in->threads[worst].wait_us))
			worst = i;
	return worst;
}

/* All that was waited for bytecode, but by those who compute themselves. */
static double waited_us(const struct judging *j, const struct verdict *v)
{
	double us = j->how_us[HOW_ASKED];

	for (size_t i = 0; i < v->findings_n; i++)
		if (v->findings[i].pattern == PATTERN_CPU_SHARING)
			us -= v->findings[i].waited_us;
	return us > 0 ? us : 0;
}

void verdict_convoy__find(const struct judging *j, struct verdict *v)
{
	size_t n, worst = worst_convoyed(j, &n);
	const struct verdict_load *t;
	struct verdict_finding *f;
	char a[32], b[32];

	if (worst == SIZE_MAX || waited_us(j, v) < EXPLAINS * j->in->all.wait_us)
		return;
	t = &j->in->threads[worst];
	f = verdict__claim(v, PATTERN_CONVOY, worst);
	f->waited_us = waited_us(j, v);
	SAY(f->evidence, "%s needs the GIL only for moments (half of its holds are below %s), but %.0f %% of its takes had to "
	    "wait, half of them %s or longer: each time until %s is made to let go.", t->name, verdict__ms(a, t->hold_p50),
	    100 * t->c / t->n, verdict__ms(b, t->wait_p50), j->in->threads[taken_from(j, worst)].name);
	verdict__say_others(f, n - 1, n == 2 ? "pays the same" : "pay the same");
	verdict_code__say(j, f, HOW_ASKED, SIZE_MAX);
	SAY(f->todo, "move what computes to another process; until then a shorter sys.setswitchinterval() helps.");
	SAY(f->remedy, "Keep what computes out of the process that serves. A shorter sys.setswitchinterval() (say 0.0005) trades "
	    "throughput for latency; fewer releases per request (larger reads, batching) help too.");
}
