/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was measured of a process, held against one budget; see budget.h. All that is measured is a range here: exact numbers have
 * two equal ends, estimates two standard errors to either side, and what part of the time could not be seen leaves the upper
 * end of sums and maxima open.
 */
#include "budget.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "human.h"
#include "rows.h"

#define ERRORS 2          /* standard errors to either side: 95 % */
#define QUANTILE_ERROR (1.0 / 8) /* of histograms, relative: hist.h */
#define COV_WHOLE 0.99    /* what is less was observed in part */

struct range {
	double low, high; /* NAN: not known */
};

static const struct range unknown = {NAN, NAN};

static struct range exactly(double value)
{
	return (struct range){value, value};
}

/* Estimates of what can't be negative. */
static struct range about(double value, double error)
{
	return (struct range){fmax(0, value - ERRORS * error), value + ERRORS * error};
}

static struct range at_least(double value)
{
	return (struct range){value, INFINITY};
}

/* ---- metrics of a row ---- */

static bool has(const struct schema_row *row, enum schema_field f)
{
	return row->has >> f & 1;
}

/* Its estimate with its error where there is one, and how many of its units the error is given in. */
static struct range estimate(const struct schema_row *row, enum schema_field value, enum schema_field error, double units)
{
	double err = rows__field(row, error) / units;

	return has(row, value) && !isnan(err) ? about(row->value[value], err) : unknown;
}

/* Of a quantile, or a maximum, that is not there: nobody held or waited at all, or it is not known. */
static struct range of_none(const struct schema_row *row, enum schema_field whole, enum schema_field count)
{
	return rows__field(row, whole) == 0 && rows__field(row, count) == 0 ? exactly(0) : unknown;
}

static struct range quantile(const struct schema_row *row, enum schema_field f, enum schema_field max)
{
	double value = row->value[f], most = fmax(value, rows__field(row, max));

	return (struct range){value * (1 - QUANTILE_ERROR), fmin(value * (1 + QUANTILE_ERROR), most)};
}

/* What a row tells of a metric, whatever part of the time it saw. */
static struct range plain_range(const struct schema_row *row, enum schema_field f, double observed_us)
{
	switch (f) {
	case FIELD_HOLD:
		return has(row, f) ? exactly(row->value[f]) : estimate(row, FIELD_HOLD_EST, FIELD_HOLD_ERR, 1);
	case FIELD_UTIL:
		return has(row, f) ? exactly(row->value[f]) : estimate(row, FIELD_UTIL_EST, FIELD_HOLD_ERR, observed_us);
	case FIELD_WAIT:
		return has(row, FIELD_WAIT_ERR) ? estimate(row, f, FIELD_WAIT_ERR, 1) : exactly(rows__field(row, f));
	case FIELD_WAITERS:
		return has(row, FIELD_WAIT_ERR) ? estimate(row, f, FIELD_WAIT_ERR, observed_us) : exactly(rows__field(row, f));
	case FIELD_GC:
		return has(row, FIELD_GC_ERR) ? estimate(row, f, FIELD_GC_ERR, 1) : exactly(rows__field(row, f));
	case FIELD_HOLD_P50:
	case FIELD_HOLD_P99:
		return has(row, f) ? quantile(row, f, FIELD_HOLD_MAX) : of_none(row, FIELD_HOLD, FIELD_N);
	case FIELD_WAIT_P50:
	case FIELD_WAIT_P99:
		return has(row, f) ? quantile(row, f, FIELD_WAIT_MAX) : of_none(row, FIELD_WAIT, FIELD_C);
	case FIELD_HOLD_MAX:
		return has(row, f) ? exactly(row->value[f]) : of_none(row, FIELD_HOLD, FIELD_N);
	case FIELD_WAIT_MAX:
		if (has(row, FIELD_LOOKS))
			return at_least(has(row, f) ? row->value[f] : 0);
		return has(row, f) ? exactly(row->value[f]) : of_none(row, FIELD_WAIT, FIELD_C);
	case FIELD_GC_MAX:
		return has(row, FIELD_GC_ERR) ? at_least(has(row, f) ? row->value[f] : 0) : exactly(rows__field(row, f));
	case FIELD_STOPPED:
	case FIELD_TRACED:
	case FIELD_FROZEN:
	case FIELD_HOLD_GONE:
		return at_least(has(row, f) ? row->value[f] : 0);
	case FIELD_UNKNOWN:
	case FIELD_INFERRED:
		return has(row, f) || !has(row, FIELD_WAIT) ? exactly(rows__field(row, f)) : exactly(0);
	case FIELD_HOLD_BLOCKED:
	case FIELD_HOLD_PREEMPTED:
	case FIELD_HOLD_UNSEEN:
	case FIELD_HOLD_STOPPED:
	case FIELD_WAIT_BLOCKED:
	case FIELD_WAIT_PREEMPTED:
	case FIELD_WAIT_UNSEEN:
	case FIELD_WAIT_STOPPED:
		return exactly(rows__off_us(row, f));
	default:
		return exactly(rows__field(row, f));
	}
}

static struct range scaled(struct range r, double by)
{
	return (struct range){r.low * by, r.high * by};
}

/* Of which more may have been while nobody looked, or in what was lost. */
static bool may_be_more(const struct budget *b, const struct budget_subject *s)
{
	double cov = rows__field(&s->all, FIELD_COV), lost = rows__field(&s->all, FIELD_LOST);
	bool in_part = !(cov >= COV_WHOLE);

	if (b->kind != BUDGET_VALUE)
		return false;
	switch (schema_field__merge(b->field)) {
	case MERGE_MAX:
		return in_part || lost > 0;
	case MERGE_SUM:
	case MERGE_RARE:
	case MERGE_SEEN:
		/* These are counted by somebody else, all the time. */
		return in_part && b->field != FIELD_CPU && b->field != FIELD_COST && b->field != FIELD_LOST;
	case MERGE_OWN:
	case MERGE_LATEST:
		return in_part && strcmp(schema_field__unit(b->field), "us") == 0;
	}
	return true;
}

static struct range by_kind(const struct budget *b, const struct budget_subject *s, struct range r)
{
	if (b->kind == BUDGET_SHARE)
		r = scaled(r, 1 / s->observed_us);
	else if (b->kind == BUDGET_RATE)
		r = scaled(r, 1e6 / s->observed_us);
	else if (may_be_more(b, s) && !isnan(r.low))
		r.high = INFINITY;
	return r;
}

static struct range range_of(const struct budget *b, const struct budget_subject *s, const struct schema_row *row)
{
	return by_kind(b, s, plain_range(row, b->field, s->observed_us));
}

/* ---- places ---- */

/* What the function holds by the code that was looked at, and at most: all that no look has a place for may be its, too. */
static struct range place_holds(const struct budget *b, const struct budget_subject *s)
{
	struct range all = plain_range(&s->all, FIELD_HOLD, s->observed_us);
	double here = 0, placed = 0, error = (all.high - all.low) / 2;

	if (isnan(all.low) || !s->parts)
		return unknown;
	for (size_t i = 0; i < s->parts_n; i++) {
		double us = s->parts[i].hold_us;

		if (isnan(us))
			return unknown;
		placed += us;
		here += budget__fits_place(b, s->parts[i].function, s->parts[i].file) ? us : 0;
	}
	return by_kind(b, s, (struct range){fmax(0, here - error), here + error + fmax(0, all.low + error - placed)});
}

/* Its longest hold: those that are told of, one by one, as long as each has its place; none is longer than the process's. */
static struct range place_longest(const struct budget *b, const struct budget_subject *s, const struct budget_longest *longest)
{
	struct range all = range_of(b, s, &s->all);

	if (isnan(all.low))
		return unknown;
	if (!longest || !isfinite(all.high))
		return (struct range){longest ? longest->us : 0, all.high};
	/* Shorter ones than the limit are not told of. */
	return (struct range){longest->us, fmin(all.high, fmax(b->limit * (1 - 1e-9), fmax(longest->us, longest->unplaced_us)))};
}

/* ---- judging ---- */

static enum budget_state state_of(const struct budget *b, struct range r)
{
	bool upper = b->order == BUDGET_BELOW || b->order == BUDGET_AT_MOST;
	bool low_fits = b->order == BUDGET_BELOW ? r.low < b->limit : b->order == BUDGET_AT_MOST ? r.low <= b->limit :
			b->order == BUDGET_ABOVE ? r.low > b->limit : r.low >= b->limit;
	bool high_fits = b->order == BUDGET_BELOW ? r.high < b->limit : b->order == BUDGET_AT_MOST ? r.high <= b->limit :
			 b->order == BUDGET_ABOVE ? r.high > b->limit : r.high >= b->limit;

	if (isnan(r.low) || isnan(r.high))
		return BUDGET_UNTOLD;
	if (low_fits && high_fits)
		return BUDGET_KEPT;
	return upper ? (low_fits ? BUDGET_UNTOLD : BUDGET_BROKEN) : (high_fits ? BUDGET_UNTOLD : BUDGET_BROKEN);
}

static const char *words_of(const struct budget *b, double value, char buf[HUMAN_SIZE])
{
	const char *unit = schema_field__unit(b->field);

	if (b->kind == BUDGET_SHARE || b->field == FIELD_UTIL || b->field == FIELD_COV)
		return human__share(buf, value);
	if (b->kind == BUDGET_VALUE && strcmp(unit, "us") == 0)
		return human__us(buf, value);
	if (b->kind == BUDGET_VALUE && strcmp(unit, "kib") == 0)
		return human__kib(buf, value);
	snprintf(buf, HUMAN_SIZE, "%.3g", value);
	if (strcmp(unit, "n") == 0 && value >= 1000)
		human__grouped(buf, (uint64_t)value);
	return buf;
}

static void say_range(const struct budget *b, struct range r, struct budget_result *ret)
{
	char low[HUMAN_SIZE], high[HUMAN_SIZE];

	words_of(b, r.low, low);
	words_of(b, r.high, high);
	if (isnan(r.low))
		text__append(ret->sentence, sizeof(ret->sentence), "it is not known");
	else if (isinf(r.high))
		text__append(ret->sentence, sizeof(ret->sentence), "it is %s or more", low);
	else if (strcmp(low, high) == 0)
		text__append(ret->sentence, sizeof(ret->sentence), "it is %s", low);
	else if (r.low == 0)
		text__append(ret->sentence, sizeof(ret->sentence), "it is at most %s", high);
	else
		text__append(ret->sentence, sizeof(ret->sentence), "it is between %s and %s", low, high);
}

/* What threads have of a metric that only the process has. */
static enum schema_field of_threads(enum schema_field f)
{
	if (f == FIELD_UTIL)
		return FIELD_HOLD;
	if (f == FIELD_WAITERS)
		return FIELD_WAIT;
	return strncmp(schema_field__name(f), "gc", 2) == 0 ? FIELD_GC : f;
}

/* The index of the thread that has the most of the metric; SIZE_MAX: none is known to have any. */
static size_t worst_thread(const struct budget *b, const struct budget_subject *s)
{
	size_t worst = SIZE_MAX;
	double most = 0;

	for (size_t i = 0; i < s->threads_n; i++) {
		double value = plain_range(&s->threads[i].row, of_threads(b->field), s->observed_us).low;

		if (value > most && (b->of != BUDGET_OF_THREAD || budget__fits_thread(b, s->threads[i].name))) {
			most = value;
			worst = i;
		}
	}
	return worst;
}

/* Waiting is somebody else's code's doing; all else is the thread's own. */
static bool is_of_waiting(const struct budget *b)
{
	const char *name = schema_field__name(b->field);

	return strncmp(name, "wait", 4) == 0 || b->field == FIELD_HANDOVER || b->field == FIELD_C;
}

static const struct function_time *worst_function(const struct function_time *list, size_t n, bool by_blame)
{
	const struct function_time *worst = NULL;

	for (size_t i = 0; i < n; i++) {
		double most = worst ? (by_blame ? worst->blame_us : worst->hold_us) : 0;

		if ((by_blame ? list[i].blame_us : list[i].hold_us) > most)
			worst = &list[i];
	}
	return worst;
}

/* Who and which code, as far as the sums tell. */
static void say_who(const struct budget *b, struct budget_subject *s, struct budget_result *ret)
{
	size_t thread = b->of == BUDGET_OF_PLACE ? SIZE_MAX : worst_thread(b, s), n = 0;
	bool waiting = is_of_waiting(b);
	struct function_time *list = s->parts ? functions__sum(s->parts, s->parts_n, waiting ? SIZE_MAX : thread, &n) : NULL;
	const struct function_time *worst = worst_function(list, n, waiting);

	if (thread != SIZE_MAX && s->threads[thread].name[0])
		text__append(ret->sentence, sizeof(ret->sentence), "; the most is %s's", s->threads[thread].name);
	if (worst && waiting)
		text__append(ret->sentence, sizeof(ret->sentence), "; most of the waiting is for %s in %s", worst->who,
			     worst->code);
	else if (worst)
		text__append(ret->sentence, sizeof(ret->sentence), "; the GIL is held the most in %s", worst->code);
	free(list);
}

static void tell(const struct budget *b, struct budget_subject *s, const struct budget_longest *longest, struct range r,
		 struct budget_result *ret)
{
	ret->state = state_of(b, r);
	ret->low = r.low;
	ret->high = r.high;
	say_range(b, r, ret);
	if (ret->state != BUDGET_BROKEN)
		return;
	if (longest && longest->us > 0) {
		text__append(ret->sentence, sizeof(ret->sentence), ": %s%s", longest->name, longest->words);
		snprintf(ret->stack, sizeof(ret->stack), "%s", longest->stack);
	} else {
		say_who(b, s, ret);
	}
}

static void untold(struct budget_result *ret, const char *why)
{
	ret->state = BUDGET_UNTOLD;
	ret->low = ret->high = NAN;
	snprintf(ret->sentence, sizeof(ret->sentence), "%s", why);
}

/* The one that keeps it the least decides. Threads without a name of their own can't be told not to be meant. */
static struct range thread_range(const struct budget *b, const struct budget_subject *s, size_t *ret_n, bool *ret_nameless)
{
	struct range worst = unknown;
	enum budget_state state = BUDGET_KEPT;

	*ret_n = 0;
	*ret_nameless = false;
	for (size_t i = 0; i < s->threads_n; i++) {
		const struct budget_thread *t = &s->threads[i];
		struct range r = range_of(b, s, &t->row);
		enum budget_state its = state_of(b, r);
		bool worse = b->order <= BUDGET_AT_MOST ? r.high > worst.high : r.low < worst.low;

		if (t->several || !t->name[0]) {
			*ret_nameless = *ret_nameless || its != BUDGET_KEPT;
			continue;
		}
		if (!budget__fits_thread(b, t->name))
			continue;
		if (!*ret_n || its > state || (its == state && worse)) {
			worst = r;
			state = its;
		}
		(*ret_n)++;
	}
	return worst;
}

static void judge_threads(const struct budget *b, struct budget_subject *s, const struct budget_longest *longest,
			  struct budget_result *ret)
{
	bool nameless;
	size_t n;
	struct range worst = thread_range(b, s, &n, &nameless);

	if (!n && !nameless) {
		untold(ret, "no thread of that name was seen");
		return;
	}
	tell(b, s, longest, worst, ret);
	if (ret->state == BUDGET_KEPT && nameless)
		untold(ret, "a thread whose name is not known breaks it, and may be one of these");
}

void budget__judge(const struct budget *b, struct budget_subject *s, const struct budget_longest *longest,
		   struct budget_result *ret)
{
	*ret = (struct budget_result){0};
	if (s->no_gil)
		untold(ret, "the GIL is disabled in this process");
	else if (!(s->observed_us > 0))
		untold(ret, "nothing of it was observed");
	else if (b->of == BUDGET_OF_THREAD)
		judge_threads(b, s, longest, ret);
	else if (b->of == BUDGET_OF_PLACE)
		tell(b, s, longest, b->field == FIELD_HOLD_MAX ? place_longest(b, s, longest) : place_holds(b, s), ret);
	else
		tell(b, s, longest, range_of(b, s, &s->all), ret);
}
