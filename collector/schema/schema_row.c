/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See schema.h. One row: from a sample, to JSON, back, and two rows into one. What a reader meets is hostile
 * until decoded: a field of the wrong type or below zero counts as absent.
 *
 * Keys, TTLs and everything else that is written: schema.c.
 */
#include "schema.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/json_text.h"
#include "collector/series/overs.h"
#include "schema_member.h"
#include "schema_whys.h"
#include "schema_writer.h"

#define MAX_EXACT 9007199254740992.0 /* 2^53: beyond it a double skips integers */

struct field {
	const char *name, *unit, *text;
	enum schema_merge merge;
};

static const struct field fields[FIELD_COUNT] = {
#define X(id, name, unit, merge, text) [FIELD_##id] = {name, unit, text, MERGE_##merge},
	SCHEMA_FIELDS(X)
#undef X
};

_Static_assert(FIELD_COUNT <= 64, "schema_row.has is too short");

#define BIT(f) (1ull << FIELD_##f)
#define OFF_FIELDS (BIT(HOLD_BLOCKED) | BIT(HOLD_PREEMPTED) | BIT(HOLD_UNSEEN) | BIT(HOLD_STOPPED) | BIT(WAIT_BLOCKED) | \
		    BIT(WAIT_PREEMPTED) | BIT(WAIT_UNSEEN) | BIT(WAIT_STOPPED))
#define OFF_PARTS ((1ull << GIL_OFF_KINDS) - 1)

const char *schema_field__name(enum schema_field f)
{
	return fields[f].name;
}

const char *schema_field__unit(enum schema_field f)
{
	return fields[f].unit;
}

const char *schema_field__text(enum schema_field f)
{
	return fields[f].text;
}

enum schema_merge schema_field__merge(enum schema_field f)
{
	return fields[f].merge;
}

int schema_field__by_name(const char *name)
{
	for (int f = 0; f < FIELD_COUNT; f++)
		if (strcmp(fields[f].name, name) == 0)
			return f;
	return -ENOENT;
}

static bool has(const struct schema_row *row, int f)
{
	return row->has >> f & 1;
}

static void set(struct schema_row *row, enum schema_field f, double value)
{
	row->value[f] = value;
	row->has |= 1ull << f;
}

static void set_us(struct schema_row *row, enum schema_field f, uint64_t ns)
{
	set(row, f, (double)(ns / 1000));
}

/* ---- from a sample ---- */

/* The fields of one distribution: median, 99th percentile, maximum. Undefined where nothing ended or is open. */
static void set_distribution(struct schema_row *row, enum schema_field p50, const struct hist *ended,
			     const struct hist *open, uint64_t max_ns)
{
	if (hist__total(ended) + hist__total(open) == 0)
		return;
	set_us(row, p50, hist__quantile(ended, open, 0.5, max_ns));
	set_us(row, p50 + 1, hist__quantile(ended, open, 0.99, max_ns));
	if (max_ns > 0)
		set_us(row, p50 + 2, max_ns);
}

_Static_assert(FIELD_HOLD_P99 == FIELD_HOLD_P50 + 1 && FIELD_HOLD_MAX == FIELD_HOLD_P50 + 2 &&
	       FIELD_WAIT_P99 == FIELD_WAIT_P50 + 1 && FIELD_WAIT_MAX == FIELD_WAIT_P50 + 2,
	       "the fields of a distribution follow one another");

#define FOLLOWS(f, first, kind) (FIELD_##f == FIELD_##first + GIL_OFF_##kind)

_Static_assert(FOLLOWS(HOLD_PREEMPTED, HOLD_BLOCKED, PREEMPTED) && FOLLOWS(HOLD_UNSEEN, HOLD_BLOCKED, UNSEEN) &&
	       FOLLOWS(HOLD_STOPPED, HOLD_BLOCKED, STOPPED) && FOLLOWS(WAIT_PREEMPTED, WAIT_BLOCKED, PREEMPTED) &&
	       FOLLOWS(WAIT_UNSEEN, WAIT_BLOCKED, UNSEEN) && FOLLOWS(WAIT_STOPPED, WAIT_BLOCKED, STOPPED),
	       "the parts off the CPU follow one another");

/* The parts of `whole_ns` that were off the CPU; nothing has no parts. */
static void set_off(const struct metrics *m, struct schema_row *row, enum schema_field blocked, const struct gil_off *off,
		    uint64_t whole_ns)
{
	if (!(m->known & KNOWN_OFF_CPU) || whole_ns == 0)
		return;
	set_us(row, blocked, off->ns[GIL_OFF_BLOCKED]);
	set_us(row, blocked + 1, off->ns[GIL_OFF_PREEMPTED]);
	for (int kind = GIL_OFF_UNSEEN; kind < GIL_OFF_KINDS; kind++)
		if (off->ns[kind] > 0)
			set_us(row, blocked + kind, off->ns[kind]);
}

/* Written only where somebody asked: there is a row per thread and second. */
static void set_over(const struct metrics *m, struct schema_row *row)
{
	if (!m->over.n)
		return;
	set_us(row, FIELD_OVER, m->over.ns);
	set(row, FIELD_OVER_N, (double)m->over.n);
	set(row, FIELD_OVER_LATE, (double)overs__late(&m->over));
	set_us(row, FIELD_OVER_MAX, m->over.max_ns);
	row->has_over_hist = true;
	memcpy(row->over_hist, m->over.hist, sizeof(row->over_hist));
}

/* Nothing collected is said: it is known. */
static void set_gc(const struct metrics *m, struct schema_row *row)
{
	if (m->known & KNOWN_GC) {
		set_us(row, FIELD_GC, m->gc.hold_ns);
		if (!(m->known & KNOWN_GC_EXACT))
			set_us(row, FIELD_GC_ERR, (uint64_t)sqrt(m->gc.err2));
		if (m->gc.max_ns > 0)
			set_us(row, FIELD_GC_MAX, m->gc.max_ns);
	}
	if (m->known & KNOWN_GC_WAIT)
		set_us(row, FIELD_GC_WAIT, m->gc.wait_ns);
	for (int i = 0; m->known & KNOWN_GC_NUMBERS && i < 3; i++)
		set(row, FIELD_GC_N0 + i, (double)m->gc.n[i]);
}

/* Of a thread only what it has collected: there is a row per thread and second. */
static void forget_idle_gc(struct schema_row *row)
{
	uint64_t gc = BIT(GC) | BIT(GC_ERR) | BIT(GC_WAIT) | BIT(GC_MAX) | BIT(GC_N0) | BIT(GC_N1) | BIT(GC_N2);

	row->has &= ~gc | (row->value[FIELD_GC] > 0 ? BIT(GC) : 0);
}

/* Waits, known or estimated. */
static void set_wait(const struct metrics *m, struct schema_row *row)
{
	if (!metrics__knows_wait(m))
		return;
	set_us(row, FIELD_WAIT, m->wait_ns);
	set_off(m, row, FIELD_WAIT_BLOCKED, &m->wait_off, m->wait_ns);
	if (m->known & KNOWN_HANDOVER)
		set_us(row, FIELD_HANDOVER, m->handover_ns);
	if (m->unknown_ns > 0)
		set_us(row, FIELD_UNKNOWN, m->unknown_ns);
}

static void set_looks(const struct metrics *m, struct schema_row *row)
{
	if (!m->looks)
		return;
	set(row, FIELD_LOOKS, (double)m->looks);
	if (!metrics__knows_wait(m))
		return;
	set_us(row, FIELD_WAIT_ERR, (uint64_t)sqrt(m->wait_err2));
	if (m->wait_max_ns)
		set_us(row, FIELD_WAIT_MAX, m->wait_max_ns);
}

static void set_metrics(const struct metrics *m, struct schema_row *row)
{
	if (m->known & KNOWN_HOLD) {
		set_us(row, FIELD_HOLD, m->hold_ns);
		set_off(m, row, FIELD_HOLD_BLOCKED, &m->hold_off, m->hold_ns);
		set_distribution(row, FIELD_HOLD_P50, &m->hold, &m->hold_open, m->hold_max_ns);
		row->has_hold_hist = true;
		hist_coarse__from(&row->hold_hist, &m->hold);
	} else if (m->known & KNOWN_HOLD_EST) {
		set_us(row, FIELD_HOLD_EST, m->hold_est.ns);
		set_us(row, FIELD_HOLD_ERR, (uint64_t)sqrt(m->hold_est.err2));
	}
	set_over(m, row);
	set_wait(m, row);
	set_looks(m, row);
	if (m->known & KNOWN_WAIT) {
		set(row, FIELD_C, (double)m->contended);
		set_distribution(row, FIELD_WAIT_P50, &m->wait, &m->wait_open, m->wait_max_ns);
		row->has_wait_hist = true;
		hist_coarse__from(&row->wait_hist, &m->wait);
	}
	set_gc(m, row);
	if (m->known & KNOWN_ACQUIRES)
		set(row, FIELD_N, (double)m->acquires);
	if (m->known & KNOWN_FORCED)
		set(row, FIELD_FORCED, (double)m->forced);
	if (m->inferred > 0)
		set(row, FIELD_INFERRED, (double)m->inferred);
}

/* Holds of the busiest GIL, known or estimated: those of several may add up to more than the time. */
static uint64_t busiest_hold(const struct proc_sample *s, const struct metrics *m)
{
	uint64_t most = 0;

	if (m != &s->total || s->gils_n < 2)
		return metrics__held(m);
	for (size_t i = 0; i < s->gils_n; i++)
		if (s->gils[i].gil != GIL_NUMBER_OTHER && metrics__held(&s->gils[i].m) > most)
			most = metrics__held(&s->gils[i].m);
	return most;
}

/* Rounded down: what was not seen in full never says 1. */
static void set_cov(struct schema_row *row, enum schema_field f, uint64_t len_ns, double seen_ns)
{
	set(row, f, floor(seen_ns / (double)len_ns * 10000) / 10000);
}

static void set_shares(const struct proc_sample *s, const struct metrics *m, struct schema_row *row)
{
	double observed = (double)s->observed_ns, of_waits = (double)proc_sample__waits_observed(s);

	if (s->len_ns > 0)
		set_cov(row, FIELD_COV, s->len_ns, observed);
	if (s->observed_ns == 0 || s->no_gil)
		return;
	if (m->looks)
		set(row, FIELD_SWITCHES, (double)m->switches);
	if (m->known & KNOWN_HOLD)
		set(row, FIELD_UTIL, (double)busiest_hold(s, m) / observed);
	else if (m->known & KNOWN_HOLD_EST) /* it may err beyond all of the time, a share can't */
		set(row, FIELD_UTIL_EST, fmin(1, (double)busiest_hold(s, m) / observed));
	if (!metrics__knows_wait(m) || of_waits == 0)
		return;
	set(row, FIELD_WAITERS, (double)m->wait_ns / of_waits);
	if (of_waits < observed)
		set_cov(row, FIELD_WAIT_COV, s->len_ns, of_waits);
}

_Static_assert(FIELD_FROZEN == FIELD_STOPPED + STANDSTILL_FROZEN - STANDSTILL_STOPPED,
	       "the fields of standstills follow one another");

/* What is written only where it was seen. */
static void set_seen(struct schema_row *row, enum schema_field f, uint64_t ns)
{
	if (ns > 0)
		set_us(row, f, ns);
}

/* What only the process as a whole has. */
static void set_process(const struct proc_sample *s, struct schema_row *row)
{
	uint64_t lost = 0;

	for (size_t i = 0; i < GIL_LOSS_COUNT; i++)
		lost += s->lost[i];
	set(row, FIELD_THREADS, s->live_threads);
	if (s->cpu_ns != UINT64_MAX)
		set_us(row, FIELD_CPU, s->cpu_ns);
	if (s->rss_kib != UINT64_MAX)
		set(row, FIELD_RSS, (double)s->rss_kib);
	set_us(row, FIELD_COST, s->cost_ns);
	set(row, FIELD_LOST, (double)lost);
	if (s->gils_n > 1)
		set(row, FIELD_GILS, (double)s->gils_n);
	for (int kind = STANDSTILL_NONE + 1; kind < STANDSTILL_COUNT; kind++)
		set_seen(row, FIELD_STOPPED + (kind - STANDSTILL_STOPPED), s->holding.still_ns[kind]);
	set_seen(row, FIELD_HOLD_GONE, s->holding.gone_ns);
	if (s->switches_missed)
		set(row, FIELD_SWITCH_MISSED, (double)s->switches_missed);
	row->whys = s->whys;
}

/* The thread whose metrics `m` are, or NULL. */
static const struct thread_sample *thread_of(const struct proc_sample *s, const struct metrics *m)
{
	uintptr_t at = (uintptr_t)m, begin = (uintptr_t)s->threads;

	if (at < begin || at >= begin + s->threads_n * sizeof(*s->threads))
		return NULL;
	return &s->threads[(at - begin) / sizeof(*s->threads)];
}

void schema_row__from(const struct proc_sample *s, const struct metrics *m, bool is_process, struct schema_row *row)
{
	const struct thread_sample *thread = is_process ? NULL : thread_of(s, m);

	memset(row, 0, sizeof(*row));
	set(row, FIELD_T, (double)s->end_ms);
	set_us(row, FIELD_D, s->len_ns);
	if (!s->no_gil)
		set_metrics(m, row);
	if (is_process)
		set_shares(s, m, row);
	else
		forget_idle_gc(row);
	if (is_process && m == &s->total)
		set_process(s, row);
	if (thread && thread->gil != 0)
		set(row, FIELD_G, thread->gil);
	if (thread && thread->key.inside != 0)
		set(row, FIELD_INSIDE, thread->key.inside);
}

/* ---- to JSON ---- */

/* The order in which fields are written: the contract shows it, so people see what they read about. */
static const uint8_t process_order[] = {
	FIELD_T, FIELD_D, FIELD_HOLD, FIELD_UTIL, FIELD_WAIT, FIELD_HANDOVER, FIELD_UNKNOWN, FIELD_WAITERS, FIELD_N,
	FIELD_C, FIELD_FORCED, FIELD_INFERRED, FIELD_THREADS, FIELD_WAIT_P50, FIELD_WAIT_P99, FIELD_WAIT_MAX, FIELD_HOLD_P50,
	FIELD_HOLD_P99, FIELD_HOLD_MAX, FIELD_HOLD_BLOCKED, FIELD_HOLD_PREEMPTED, FIELD_HOLD_UNSEEN, FIELD_HOLD_STOPPED,
	FIELD_WAIT_BLOCKED, FIELD_WAIT_PREEMPTED, FIELD_WAIT_UNSEEN, FIELD_WAIT_STOPPED, FIELD_GC,
	FIELD_GC_ERR, FIELD_GC_WAIT, FIELD_GC_MAX, FIELD_GC_N0, FIELD_GC_N1,
	FIELD_GC_N2, FIELD_CPU, FIELD_RSS, FIELD_COST, FIELD_LOST, FIELD_COV, FIELD_GILS, FIELD_G, FIELD_INSIDE,
	FIELD_STOPPED, FIELD_TRACED, FIELD_FROZEN, FIELD_HOLD_GONE,
	FIELD_OVER, FIELD_OVER_N, FIELD_OVER_LATE, FIELD_OVER_MAX, FIELD_SWITCH_MISSED,
	FIELD_HOLD_EST, FIELD_HOLD_ERR, FIELD_UTIL_EST, FIELD_LOOKS, FIELD_WAIT_ERR, FIELD_SWITCHES, FIELD_WAIT_COV,
};
static const uint8_t thread_order[] = {
	FIELD_T, FIELD_D, FIELD_HOLD, FIELD_WAIT, FIELD_HANDOVER, FIELD_UNKNOWN, FIELD_N, FIELD_C, FIELD_FORCED,
	FIELD_INFERRED, FIELD_HOLD_P50, FIELD_HOLD_P99, FIELD_HOLD_MAX, FIELD_WAIT_P50, FIELD_WAIT_P99, FIELD_WAIT_MAX,
	FIELD_HOLD_BLOCKED, FIELD_HOLD_PREEMPTED, FIELD_HOLD_UNSEEN, FIELD_HOLD_STOPPED, FIELD_WAIT_BLOCKED, FIELD_WAIT_PREEMPTED,
	FIELD_WAIT_UNSEEN, FIELD_WAIT_STOPPED,
	FIELD_GC, FIELD_G, FIELD_INSIDE, FIELD_UTIL, FIELD_WAITERS, FIELD_THREADS, FIELD_CPU, FIELD_RSS, FIELD_COST, FIELD_LOST,
	FIELD_COV, FIELD_GILS, FIELD_GC_ERR, FIELD_GC_WAIT, FIELD_GC_MAX, FIELD_GC_N0, FIELD_GC_N1, FIELD_GC_N2,
	FIELD_STOPPED, FIELD_TRACED, FIELD_FROZEN, FIELD_HOLD_GONE,
	FIELD_OVER, FIELD_OVER_N, FIELD_OVER_LATE, FIELD_OVER_MAX, FIELD_SWITCH_MISSED,
	FIELD_HOLD_EST, FIELD_HOLD_ERR, FIELD_UTIL_EST, FIELD_LOOKS, FIELD_WAIT_ERR, FIELD_SWITCHES, FIELD_WAIT_COV,
};

_Static_assert(sizeof(process_order) == FIELD_COUNT && sizeof(thread_order) == FIELD_COUNT, "a field is missing");

const uint8_t *schema_row__order(const struct schema_row *row)
{
	return row->has & (BIT(COV) | BIT(WAITERS) | BIT(THREADS)) ? process_order : thread_order;
}

static void put_hist(struct json_text *j, const char *name, const uint32_t *count, uint32_t buckets)
{
	json_text__name(j, name);
	json_text__open(j, '[');
	for (uint32_t i = 0; i < buckets; i++) {
		if (count[i] == 0)
			continue;
		json_text__integer(j, i);
		json_text__integer(j, count[i]);
	}
	json_text__close(j, ']');
}

/* A thread's parts off the CPU, as a list: there is a row per thread and second, and names take more room than what they name. */
static void put_off(struct json_text *j, const char *name, const struct schema_row *row, enum schema_field blocked)
{
	if (!has(row, blocked))
		return;
	json_text__name(j, name);
	json_text__open(j, '[');
	for (size_t kind = 0; kind < GIL_OFF_KINDS && row->has >> (blocked + kind) & (OFF_PARTS >> kind); kind++)
		json_text__number(j, row->value[blocked + kind]);
	json_text__close(j, ']');
}

char *schema_row__encode(const struct schema_row *row, bool hists)
{
	const uint8_t *order = schema_row__order(row);
	uint64_t in_list = order == thread_order ? OFF_FIELDS : 0;
	struct json_text j = {0};

	json_text__open(&j, '{');
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (!has(row, order[i]) || in_list >> order[i] & 1)
			continue;
		json_text__name(&j, fields[order[i]].name);
		json_text__number(&j, row->value[order[i]]);
	}
	if (in_list) {
		put_off(&j, "ho", row, FIELD_HOLD_BLOCKED);
		put_off(&j, "wo", row, FIELD_WAIT_BLOCKED);
	}
	if (row->whys.n || row->whys.rest_ns)
		schema_whys__put(&j, &row->whys);
	if (hists && row->has_hold_hist)
		put_hist(&j, "hh", row->hold_hist.count, HIST_COARSE_BUCKETS);
	if (hists && row->has_wait_hist)
		put_hist(&j, "wh", row->wait_hist.count, HIST_COARSE_BUCKETS);
	if (hists && row->has_over_hist)
		put_hist(&j, "oh", row->over_hist, GIL_OVER_BUCKETS);
	json_text__close(&j, '}');
	return json_text__take(&j);
}

/* ---- from JSON ---- */

/* A count or a bucket: a whole number in 0 .. max. */
static bool get_whole(const json_t *json, double max, uint32_t *ret)
{
	double v = json_is_number(json) ? json_number_value(json) : -1;

	if (!(v >= 0 && v <= max) || v != floor(v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

/* All pairs or nothing: half a histogram would be a wrong one. `count` has no more than HIST_COARSE_BUCKETS. */
static bool get_hist(const json_t *pairs, uint32_t *count, uint32_t buckets)
{
	uint32_t h[HIST_COARSE_BUCKETS] = {0}, bucket, n_of;
	size_t n = json_is_array(pairs) ? json_array_size(pairs) : 1;

	if (n % 2 != 0 || n > 2 * buckets)
		return false;
	for (size_t i = 0; i < n; i += 2) {
		if (!get_whole(json_array_get(pairs, i), buckets - 1, &bucket) ||
		    !get_whole(json_array_get(pairs, i + 1), UINT32_MAX, &n_of))
			return false;
		h[bucket] = n_of;
	}
	memcpy(count, h, buckets * sizeof(*count));
	return true;
}

static void get_value(const json_t *json, enum schema_field f, struct schema_row *row)
{
	double v;

	if (!json_is_number(json))
		return;
	v = json_number_value(json);
	if (v >= 0 && v <= MAX_EXACT)
		set(row, f, v);
}

/* The other way of put_off(): the list whole or nothing of it. Where the first part is known, so are the others. */
static void get_off(const json_t *parts, enum schema_field blocked, struct schema_row *row)
{
	bool is_list = json_is_array(parts);

	for (size_t i = 0; is_list && i < GIL_OFF_KINDS; i++)
		get_value(json_array_get(parts, i), blocked + i, row);
	if (!has(row, blocked) || (is_list && !has(row, blocked + 1)))
		row->has &= ~(OFF_PARTS << blocked);
	else if (!has(row, blocked + 1))
		set(row, blocked + 1, 0);
}

int schema_row__decode(const char *json, size_t len, struct schema_row *row)
{
	json_t *object;
	int err = schema_member__parse(json, len, &object);

	if (err)
		return err;
	memset(row, 0, sizeof(*row));
	for (int f = 0; f < FIELD_COUNT; f++)
		get_value(json_object_get(object, fields[f].name), (enum schema_field)f, row);
	get_off(json_object_get(object, "ho"), FIELD_HOLD_BLOCKED, row);
	get_off(json_object_get(object, "wo"), FIELD_WAIT_BLOCKED, row);
	schema_whys__get(json_object_get(object, "why"), &row->whys);
	row->has_hold_hist = get_hist(json_object_get(object, "hh"), row->hold_hist.count, HIST_COARSE_BUCKETS);
	row->has_wait_hist = get_hist(json_object_get(object, "wh"), row->wait_hist.count, HIST_COARSE_BUCKETS);
	row->has_over_hist = get_hist(json_object_get(object, "oh"), row->over_hist, GIL_OVER_BUCKETS);
	json_decref(object);
	return has(row, FIELD_T) ? 0 : -EBADMSG;
}

/* ---- two into one ---- */

/* Observed time of a row in us. */
static double observed_us(const struct schema_row *row)
{
	return row->value[FIELD_D] * (has(row, FIELD_COV) ? row->value[FIELD_COV] : 1);
}

/* And that of which it knows who waited. */
static double waits_us(const struct schema_row *row)
{
	return has(row, FIELD_WAIT_COV) ? row->value[FIELD_D] * row->value[FIELD_WAIT_COV] : observed_us(row);
}

/* Mean of a share over both rows' time `a` and `b`; unknown if it is so in a row that has time. */
static void merge_share(struct schema_row *dst, const struct schema_row *src, enum schema_field f, double a, double b)
{
	if ((a > 0 && !has(dst, f)) || (b > 0 && !has(src, f)))
		dst->has &= ~(1ull << f);
	else if (a + b > 0)
		set(dst, f, (dst->value[f] * a + src->value[f] * b) / (a + b));
}

/* A share of the observed time, `a` and `b`, from the sum that it is a share of where that is known. */
static void merge_ratio(struct schema_row *dst, const struct schema_row *src, enum schema_field f,
			enum schema_field sum, double a, double b)
{
	merge_share(dst, src, f, a, b);
	if (has(dst, f) && has(dst, sum) && has(src, sum) && a + b > 0)
		set(dst, f, (dst->value[sum] + src->value[sum]) / (a + b));
}

/* A row of looks that did not tell who waited has none of the waits that the other one has, and none of their time. */
static bool lacks_waits(const struct schema_row *row, const struct schema_row *other)
{
	return has(row, FIELD_LOOKS) && has(other, FIELD_LOOKS) && !has(row, FIELD_WAIT) && has(other, FIELD_WAIT);
}

static void lend_waits(struct schema_row *row, const struct schema_row *other)
{
	set(row, FIELD_WAIT, 0);
	if (has(other, FIELD_HANDOVER))
		set(row, FIELD_HANDOVER, 0);
	if (has(row, FIELD_GC) && has(other, FIELD_GC_WAIT))
		set(row, FIELD_GC_WAIT, 0);
	if (has(row, FIELD_COV))
		set(row, FIELD_WAIT_COV, 0);
}

static void merge_shares(struct schema_row *dst, const struct schema_row *src)
{
	double a = observed_us(dst), b = observed_us(src), waits = waits_us(dst) + waits_us(src);
	double both = dst->value[FIELD_D] + src->value[FIELD_D];

	merge_ratio(dst, src, FIELD_WAITERS, FIELD_WAIT, waits_us(dst), waits_us(src));
	if ((has(dst, FIELD_WAIT_COV) || has(src, FIELD_WAIT_COV)) && both > 0)
		set(dst, FIELD_WAIT_COV, waits / both);
	if (has(dst, FIELD_GILS) || has(src, FIELD_GILS))
		/* Of the busiest GIL: not the sum of holds. */
		merge_share(dst, src, FIELD_UTIL, a, b);
	else
		merge_ratio(dst, src, FIELD_UTIL, FIELD_HOLD, a, b);
	merge_share(dst, src, FIELD_COV, dst->value[FIELD_D], src->value[FIELD_D]);
}

/* Whether a row's histogram is known: an idle thread's row is written without, since it would be empty. */
static bool hist_known(const struct schema_row *row, bool has_hist, enum schema_field counter)
{
	return has_hist || (has(row, counter) && row->value[counter] == 0);
}

static bool merge_hist(bool *has_dst, struct hist_coarse *dst, bool known, const struct hist_coarse *src)
{
	*has_dst = known;
	if (*has_dst)
		hist_coarse__add(dst, src);
	return *has_dst && hist_coarse__total(dst) > 0;
}

static void keep_larger(struct schema_row *dst, const struct schema_row *src, enum schema_field f)
{
	if (has(src, f) && (!has(dst, f) || src->value[f] > dst->value[f]))
		set(dst, f, src->value[f]);
}

/* `known`: what the distribution is of is known in both. Nothing in one of them is no reason to forget the other. */
static void merge_distribution(struct schema_row *dst, const struct schema_row *src, enum schema_field p50, bool known,
			       const struct hist_coarse *hist)
{
	uint64_t max_ns;

	if (!known) {
		dst->has &= ~(7ull << p50);
		return;
	}
	for (int i = 0; i < 3; i++)
		keep_larger(dst, src, p50 + i);
	if (!hist)
		return;
	max_ns = has(dst, p50 + 2) ? (uint64_t)dst->value[p50 + 2] * 1000 + 999 : 0;
	set_us(dst, p50, hist_coarse__quantile(hist, 0.5, max_ns));
	set_us(dst, p50 + 1, hist_coarse__quantile(hist, 0.99, max_ns));
}

/* Before over_n is merged: a row in which nobody was asked has neither. */
static void merge_over_hist(struct schema_row *dst, const struct schema_row *src)
{
	bool known = (dst->has_over_hist || !has(dst, FIELD_OVER_N)) && (src->has_over_hist || !has(src, FIELD_OVER_N));

	for (size_t i = 0; i < GIL_OVER_BUCKETS; i++)
		dst->over_hist[i] += src->over_hist[i];
	dst->has_over_hist = known && (dst->has_over_hist || src->has_over_hist);
}

static void merge_distributions(struct schema_row *dst, const struct schema_row *src)
{
	bool hold = has(dst, FIELD_HOLD) && has(src, FIELD_HOLD);
	bool wait = has(dst, FIELD_WAIT) && has(src, FIELD_WAIT);
	bool hh_known = hist_known(dst, dst->has_hold_hist, FIELD_N) && hist_known(src, src->has_hold_hist, FIELD_N);
	bool wh_known = hist_known(dst, dst->has_wait_hist, FIELD_C) && hist_known(src, src->has_wait_hist, FIELD_C);
	bool hh = merge_hist(&dst->has_hold_hist, &dst->hold_hist, hh_known, &src->hold_hist);
	bool wh = merge_hist(&dst->has_wait_hist, &dst->wait_hist, wh_known, &src->wait_hist);

	merge_distribution(dst, src, FIELD_HOLD_P50, hold, hh ? &dst->hold_hist : NULL);
	merge_distribution(dst, src, FIELD_WAIT_P50, wait, wh ? &dst->wait_hist : NULL);
}

/* A part of the wait that is written only where it is not zero. */
static void merge_rare(struct schema_row *dst, const struct schema_row *src, enum schema_field f)
{
	if (!has(dst, FIELD_WAIT) || !has(src, FIELD_WAIT))
		dst->has &= ~(1ull << f);
	else if (has(dst, f) || has(src, f))
		set(dst, f, dst->value[f] + src->value[f]);
}

/* What was seen; where it was not, it may have been, too, or not. */
static void merge_seen(struct schema_row *dst, const struct schema_row *src, enum schema_field f)
{
	if (has(src, f))
		set(dst, f, (has(dst, f) ? dst->value[f] : 0) + src->value[f]);
}

/* Whether a row's parts off the CPU are known: a row with nothing to part is written without. */
static bool off_known(const struct schema_row *row, enum schema_field blocked, enum schema_field whole)
{
	return has(row, blocked) || (has(row, whole) && row->value[whole] == 0);
}

static void merge_off(struct schema_row *dst, const struct schema_row *src, enum schema_field blocked, enum schema_field whole)
{
	if (!off_known(dst, blocked, whole) || !off_known(src, blocked, whole)) {
		dst->has &= ~(OFF_PARTS << blocked);
		return;
	}
	for (enum schema_field f = blocked; f < blocked + GIL_OFF_KINDS; f++)
		if (has(dst, f) || has(src, f))
			set(dst, f, dst->value[f] + src->value[f]);
}

/* A row of a thread that has none has collected nothing; one of a process does not know. One that is sampled makes both so. */
static void merge_gc(struct schema_row *dst, const struct schema_row *src)
{
	double a = dst->value[FIELD_GC_ERR], b = src->value[FIELD_GC_ERR];

	if (has(dst, FIELD_COV) && (!has(dst, FIELD_GC) || !has(src, FIELD_GC))) {
		dst->has &= ~(BIT(GC) | BIT(GC_ERR) | BIT(GC_MAX));
		return;
	}
	if (has(dst, FIELD_GC) || has(src, FIELD_GC))
		set(dst, FIELD_GC, (has(dst, FIELD_GC) ? dst->value[FIELD_GC] : 0) +
					   (has(src, FIELD_GC) ? src->value[FIELD_GC] : 0));
	if (has(dst, FIELD_GC_ERR) || has(src, FIELD_GC_ERR))
		set(dst, FIELD_GC_ERR, hypot(has(dst, FIELD_GC_ERR) ? a : 0, has(src, FIELD_GC_ERR) ? b : 0));
}

/* What a row says of holds: that, or an estimate; NAN: neither. */
static double known_or_estimated(const struct schema_row *row, enum schema_field known, enum schema_field estimated)
{
	return has(row, known) ? row->value[known] : has(row, estimated) ? row->value[estimated] : NAN;
}

/* Where either is an estimate, the sum is one. Before the sums are made. */
static void merge_estimate(struct schema_row *dst, const struct schema_row *src)
{
	double a = observed_us(dst), b = observed_us(src);
	double hold = known_or_estimated(dst, FIELD_HOLD, FIELD_HOLD_EST) + known_or_estimated(src, FIELD_HOLD, FIELD_HOLD_EST);
	double err = hypot(has(dst, FIELD_HOLD_ERR) ? dst->value[FIELD_HOLD_ERR] : 0,
			   has(src, FIELD_HOLD_ERR) ? src->value[FIELD_HOLD_ERR] : 0);
	double util = known_or_estimated(dst, FIELD_UTIL, FIELD_UTIL_EST) * a +
		      known_or_estimated(src, FIELD_UTIL, FIELD_UTIL_EST) * b;
	bool estimated = has(dst, FIELD_HOLD_EST) || has(src, FIELD_HOLD_EST);

	if (has(dst, FIELD_WAIT_ERR) || has(src, FIELD_WAIT_ERR))
		set(dst, FIELD_WAIT_ERR, hypot(has(dst, FIELD_WAIT_ERR) ? dst->value[FIELD_WAIT_ERR] : 0,
					       has(src, FIELD_WAIT_ERR) ? src->value[FIELD_WAIT_ERR] : 0));
	dst->has &= ~(BIT(HOLD_EST) | BIT(HOLD_ERR) | BIT(UTIL_EST));
	if (!estimated || isnan(hold))
		return;
	set(dst, FIELD_HOLD_EST, hold);
	set(dst, FIELD_HOLD_ERR, err);
	if (!isnan(util) && a + b > 0)
		set(dst, FIELD_UTIL_EST, util / (a + b));
}

/* What is added is unknown where it is so in either row. */
static void merge_sum(struct schema_row *dst, const struct schema_row *src, enum schema_field f)
{
	dst->value[f] += src->value[f];
	dst->has &= src->has | ~(1ull << f);
}

static void keep_later(struct schema_row *dst, const struct schema_row *src, enum schema_field f)
{
	if (has(src, f) && (src->value[FIELD_T] >= dst->value[FIELD_T] || !has(dst, f)))
		set(dst, f, src->value[f]);
}

static void merge_field(struct schema_row *dst, const struct schema_row *src, enum schema_field f)
{
	switch (fields[f].merge) {
	case MERGE_SUM:
		merge_sum(dst, src, f);
		break;
	case MERGE_RARE:
		merge_rare(dst, src, f);
		break;
	case MERGE_SEEN:
		merge_seen(dst, src, f);
		break;
	case MERGE_MAX:
		keep_larger(dst, src, f);
		break;
	case MERGE_LATEST:
		keep_later(dst, src, f);
		break;
	case MERGE_OWN:
		break;
	}
}

/* The rare ones first: whether both rows know their waits is forgotten when these are added. */
static void merge_fields(struct schema_row *dst, const struct schema_row *src, bool rare)
{
	for (int f = 0; f < FIELD_COUNT; f++)
		if ((fields[f].merge == MERGE_RARE) == rare)
			merge_field(dst, src, (enum schema_field)f);
}

static void merge(struct schema_row *dst, const struct schema_row *src)
{
	bool src_later = src->value[FIELD_T] >= dst->value[FIELD_T];

	merge_estimate(dst, src);
	merge_shares(dst, src);
	merge_off(dst, src, FIELD_HOLD_BLOCKED, FIELD_HOLD);
	merge_off(dst, src, FIELD_WAIT_BLOCKED, FIELD_WAIT);
	whys__merge(&dst->whys, &src->whys);
	merge_over_hist(dst, src);
	merge_distributions(dst, src);
	merge_fields(dst, src, true);
	merge_fields(dst, src, false);
	merge_gc(dst, src); /* behind the maxima, which go with it */
	if (has(dst, FIELD_G) && (!has(src, FIELD_G) || src->value[FIELD_G] != dst->value[FIELD_G]))
		dst->has &= ~BIT(G);
	if (src_later)
		dst->value[FIELD_T] = src->value[FIELD_T];
}

void schema_row__merge(struct schema_row *dst, const struct schema_row *src)
{
	struct schema_row lent;

	if (dst->has == 0) {
		*dst = *src;
		return;
	}
	if (lacks_waits(dst, src))
		lend_waits(dst, src);
	if (!lacks_waits(src, dst)) {
		merge(dst, src);
		return;
	}
	lent = *src;
	lend_waits(&lent, dst);
	merge(dst, &lent);
}

void schema_row__sum(const struct schema_row *rows, size_t n, struct schema_row *ret)
{
	*ret = rows[0];
	for (size_t i = 1; i < n; i++)
		schema_row__merge(ret, &rows[i]);
	set(ret, FIELD_T, rows[n - 1].value[FIELD_T]);
}
