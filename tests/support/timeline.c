/* SPDX-License-Identifier: GPL-2.0-only */
/* See timeline.h. */
#include "timeline.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TRACK_GIL 4194305 /* above every thread id */
#define GROUPS_MAX 64

static const char *text_of(const json_t *e, const char *key)
{
	const char *text = json_string_value(json_object_get(e, key));

	cr_assert_not_null(text, "an event without %s: %s", key, json_dumps(e, 0));
	return text;
}

static json_int_t int_of(const json_t *e, const char *key)
{
	cr_assert(json_is_integer(json_object_get(e, key)), "an event without %s: %s", key, json_dumps(e, 0));
	return json_integer_value(json_object_get(e, key));
}

static bool is_nested(const struct timeline_slice *s)
{
	return strcmp(s->category, "gc") == 0;
}

/* Microseconds of the file in ns: three decimals, so exact below 2^53 ns. */
static uint64_t ns_of(const json_t *e, const char *key)
{
	double us = json_number_value(json_object_get(e, key));

	cr_assert(json_is_number(json_object_get(e, key)) && us >= 0, "no time %s: %s", key, json_dumps(e, 0));
	return (uint64_t)llround(us * 1000);
}

static const char *phase_of(const json_t *e)
{
	const char *phase = text_of(e, "ph");

	cr_assert(strlen(phase) == 1 && strchr("XsfCiM", phase[0]), "unknown phase: %s", json_dumps(e, 0));
	return phase;
}

#define EACH_EVENT(t, i, e) json_array_foreach (json_object_get((t)->json, "traceEvents"), i, e)

static void read_slices(struct timeline *t)
{
	json_t *e;
	size_t i;

	t->slices = calloc(json_array_size(json_object_get(t->json, "traceEvents")) + 1, sizeof(*t->slices));
	cr_assert_not_null(t->slices);
	EACH_EVENT(t, i, e) {
		struct timeline_slice *s = &t->slices[t->slices_n];

		if (phase_of(e)[0] != 'X')
			continue;
		*s = (struct timeline_slice){
			.pid = int_of(e, "pid"), .tid = int_of(e, "tid"), .category = text_of(e, "cat"),
			.name = text_of(e, "name"), .from = ns_of(e, "ts"), .args = json_object_get(e, "args"),
		};
		s->to = s->from + ns_of(e, "dur");
		s->from_us = json_number_value(json_object_get(e, "ts"));
		s->dur_us = json_number_value(json_object_get(e, "dur"));
		t->losses_n += strcmp(s->category, "lost") == 0;
		t->nested_n += is_nested(s);
		t->slices_n++;
	}
}

static int by_track(const void *a, const void *b)
{
	const struct timeline_slice *x = *(struct timeline_slice *const *)a, *y = *(struct timeline_slice *const *)b;

	if (is_nested(x) != is_nested(y))
		return is_nested(x) ? 1 : -1;
	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (x->tid != y->tid)
		return x->tid < y->tid ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* In the file's order within each track; those that lie inside of others come last of all. */
static struct timeline_slice **sort_by_track(const struct timeline *t)
{
	struct timeline_slice **sorted = calloc(t->slices_n + 1, sizeof(*sorted));

	cr_assert_not_null(sorted);
	for (size_t i = 0; i < t->slices_n; i++)
		sorted[i] = &t->slices[i];
	qsort(sorted, t->slices_n, sizeof(*sorted), by_track);
	return sorted;
}

const char *timeline__track(const struct timeline *t, json_int_t pid, json_int_t tid)
{
	json_t *e;
	size_t i;

	EACH_EVENT(t, i, e)
		if (phase_of(e)[0] == 'M' && int_of(e, "pid") == pid && int_of(e, "tid") == tid &&
		    strcmp(text_of(e, "name"), "thread_name") == 0)
			return text_of(json_object_get(e, "args"), "name");
	return NULL;
}

static void expect_tracks_in_order(const struct timeline *t, struct timeline_slice *const *sorted)
{
	double first_us = 0;

	for (size_t i = 0; i < t->slices_n - t->nested_n; i++) {
		const struct timeline_slice *s = sorted[i], *before = i ? sorted[i - 1] : NULL;

		if (!before || before->pid != s->pid || before->tid != s->tid) {
			cr_expect_not_null(timeline__track(t, s->pid, s->tid), "track %lld has no name", (long long)s->tid);
			first_us = s->from_us;
			continue;
		}
		cr_assert(s->from >= before->to, "track %lld: %s at %llu ns overlaps %s up to %llu ns", (long long)s->tid,
			  s->name, (unsigned long long)s->from, before->name, (unsigned long long)before->to);
		cr_assert((before->from_us - first_us) + before->dur_us <= s->from_us - first_us,
			  "track %lld: %s at %.17g us overlaps %s of %.17g us for who adds in floating point", (long long)s->tid,
			  s->name, s->from_us, before->name, before->dur_us);
	}
}

static bool lies_inside(const struct timeline *t, struct timeline_slice *const *sorted, const json_t *e, const char *name)
{
	struct timeline_slice key = {.pid = int_of(e, "pid"), .tid = int_of(e, "tid")};
	uint64_t at = ns_of(e, "ts");
	size_t low = 0, high = t->slices_n - t->nested_n;

	/* The last slice of the track that does not begin after it. */
	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct timeline_slice *s = sorted[mid];
		bool before = s->pid != key.pid ? s->pid < key.pid : s->tid != key.tid ? s->tid < key.tid : s->from <= at;

		low = before ? mid + 1 : low;
		high = before ? high : mid;
	}
	return low && sorted[low - 1]->pid == key.pid && sorted[low - 1]->tid == key.tid && at < sorted[low - 1]->to &&
	       strcmp(sorted[low - 1]->name, name) == 0;
}

/* A collection in a hold of the thread, each beside the next. */
static void expect_nested(const struct timeline *t, struct timeline_slice *const *sorted)
{
	for (size_t i = t->slices_n - t->nested_n; i < t->slices_n; i++) {
		const struct timeline_slice *s = sorted[i], *before = i > t->slices_n - t->nested_n ? sorted[i - 1] : NULL;
		size_t k = 0;

		while (k < t->slices_n - t->nested_n && !(sorted[k]->pid == s->pid && sorted[k]->tid == s->tid &&
							  sorted[k]->from <= s->from && s->to <= sorted[k]->to))
			k++;
		cr_assert(k < t->slices_n - t->nested_n && strcmp(sorted[k]->name, "held") == 0, "%s at %llu ns is in no hold",
			  s->name, (unsigned long long)s->from);
		cr_assert(!before || before->pid != s->pid || before->tid != s->tid || before->to <= s->from, "%s at %llu ns "
			  "overlaps the one before", s->name, (unsigned long long)s->from);
	}
}

/* A flow's two ends stand one after the other in the file. */
static void expect_flows_have_both_ends(struct timeline *t, struct timeline_slice *const *sorted)
{
	const json_t *begin = NULL;
	json_t *e;
	size_t i;

	EACH_EVENT(t, i, e) {
		char phase = phase_of(e)[0];

		if (phase == 's') {
			cr_assert_null(begin, "an arrow without an end: %s", json_dumps(begin, 0));
			cr_assert(lies_inside(t, sorted, e, "held"), "no hold at %s", json_dumps(e, 0));
			begin = e;
		} else if (phase == 'f') {
			cr_assert_not_null(begin, "an arrow without a begin: %s", json_dumps(e, 0));
			cr_assert_eq(int_of(begin, "id"), int_of(e, "id"));
			cr_assert_geq(ns_of(e, "ts"), ns_of(begin, "ts"));
			cr_assert(lies_inside(t, sorted, e, "waiting"), "no wait at %s", json_dumps(e, 0));
			cr_assert_str_eq(text_of(e, "bp"), "e");
			begin = NULL;
			t->flows_n++;
		}
	}
	cr_assert_null(begin, "an arrow without an end");
}

struct counter {
	json_int_t pid, value;
	uint64_t at, integral;
};

static struct counter *counter_of(struct counter counters[GROUPS_MAX], size_t *n, json_int_t pid)
{
	for (size_t i = 0; i < *n; i++)
		if (counters[i].pid == pid)
			return &counters[i];
	cr_assert_lt(*n, GROUPS_MAX);
	counters[*n] = (struct counter){.pid = pid};
	return &counters[(*n)++];
}

/* Part of what the counter counts. A wait that began in a hole was not known of before its end. */
static bool is_counted_wait(const struct timeline_slice *s)
{
	const char *begin = json_string_value(json_object_get(s->args, "begin"));

	return (strcmp(s->name, "waiting") == 0 || strcmp(s->name, "hand-off") == 0) &&
	       !(begin && strcmp(begin, "cut: events lost") == 0);
}

static void expect_counters_make_up_the_waiting(const struct timeline *t)
{
	struct counter counters[GROUPS_MAX];
	size_t n = 0, i;
	json_t *e;

	EACH_EVENT(t, i, e) {
		struct counter *c;
		uint64_t at;

		if (phase_of(e)[0] != 'C')
			continue;
		c = counter_of(counters, &n, int_of(e, "pid"));
		at = ns_of(e, "ts");
		cr_assert_geq(at, c->at, "a counter goes back in time");
		c->integral += (at - c->at) * (uint64_t)c->value;
		c->at = at;
		c->value = int_of(json_object_get(e, "args"), "threads");
		cr_assert_geq(c->value, 0);
	}
	for (i = 0; i < n; i++) {
		uint64_t waiting = 0;

		for (size_t j = 0; j < t->slices_n; j++)
			if (t->slices[j].pid == counters[i].pid && is_counted_wait(&t->slices[j]))
				waiting += t->slices[j].to - t->slices[j].from;
		cr_expect_eq(counters[i].value, 0, "%lld wait at the end", (long long)counters[i].value);
		cr_expect_eq(counters[i].integral, waiting, "counted %llu ns, drawn %llu ns",
			     (unsigned long long)counters[i].integral, (unsigned long long)waiting);
	}
}

/* Each hold stands twice, one after the other: on its thread's track and on the GIL's. */
static void expect_gil_track_has_all_holds(const struct timeline *t)
{
	for (size_t i = 0; i < t->slices_n; i++) {
		const struct timeline_slice *s = &t->slices[i], *twin = s + 1;

		if (strcmp(s->name, "held") || strcmp(s->category, "gil"))
			continue;
		cr_assert(i + 1 < t->slices_n && twin->tid == TRACK_GIL && twin->pid == s->pid && twin->from == s->from &&
			  twin->to == s->to && strcmp(twin->category, "holder") == 0, "a hold is not on the GIL's track");
	}
}

static void expect_nothing_lies_across_a_loss(const struct timeline *t)
{
	for (size_t i = 0; i < t->slices_n; i++) {
		const struct timeline_slice *hole = &t->slices[i];

		if (strcmp(hole->category, "lost"))
			continue;
		for (size_t j = 0; j < t->slices_n; j++)
			cr_assert(j == i || t->slices[j].pid != hole->pid || t->slices[j].to <= hole->from ||
				  t->slices[j].from >= hole->to, "%s lies across a loss", t->slices[j].name);
	}
}

void timeline__load(struct timeline *t, const char *text)
{
	struct timeline_slice **sorted;
	json_error_t error;

	memset(t, 0, sizeof(*t));
	t->json = json_loads(text, 0, &error);
	cr_assert_not_null(t->json, "not JSON: %s at line %d", error.text, error.line);
	t->other = json_object_get(t->json, "otherData");
	cr_assert_not_null(t->other);
	read_slices(t);
	sorted = sort_by_track(t);
	expect_tracks_in_order(t, sorted);
	expect_nested(t, sorted);
	expect_flows_have_both_ends(t, sorted);
	expect_counters_make_up_the_waiting(t);
	expect_gil_track_has_all_holds(t);
	expect_nothing_lies_across_a_loss(t);
	free(sorted);
}

void timeline__free(struct timeline *t)
{
	free(t->slices);
	json_decref(t->json);
}

static bool is_of(const struct timeline_slice *s, json_int_t tid, const char *name)
{
	return (strcmp(s->category, "gil") == 0 || is_nested(s)) && (!tid || s->tid == tid) && strcmp(s->name, name) == 0;
}

size_t timeline__count(const struct timeline *t, json_int_t tid, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < t->slices_n; i++)
		n += is_of(&t->slices[i], tid, name);
	return n;
}

uint64_t timeline__sum(const struct timeline *t, json_int_t tid, const char *name)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < t->slices_n; i++)
		ns += is_of(&t->slices[i], tid, name) ? t->slices[i].to - t->slices[i].from : 0;
	return ns;
}
