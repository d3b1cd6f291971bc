/* SPDX-License-Identifier: GPL-2.0-only */
/* The schema: members to the letter, what is left out, and the state that a server ends up in. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <math.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "collector/schema/schema.h"
#include "collector/series/hist.h"
#include "../support/document.h"
#include "../support/made_up.h"
#include "../support/toy_redis.h"

#define SECOND 1000000000ull
#define T0 1795339305000

/* ---- one process, one toy server ---- */

struct stage {
	struct schema_writer *w;
	struct toy_redis redis;
	struct schema_opts opts;
	struct proc_ident who;
};

static void raise_stage(struct stage *st)
{
	memset(st, 0, sizeof(*st));
	schema_opts__default(&st->opts);
	st->who = (struct proc_ident){
		.host = "web1", .pid = 4242, .boot_id = "5a2c0d1e-0000-4000-8000-000000000001", .pidns_ino = 4026531836,
		.start_ticks = 8812, .start_stack = 0x7ffc00001230, .exe = "/usr/bin/python3.11", .label = "python3 app.py",
		.python = "3.11.2", .image = "/usr/bin/python3.11", .method = "call sites", .sites = 15,
		.interval_ms = 1000, .started_ms = T0 - 5000, .price_ns = 912.34,
	};
}

static void start(struct stage *st)
{
	st->w = schema_writer__new(&st->opts, &st->who);
	cr_assert_not_null(st->w);
}

static void strike(struct stage *st)
{
	schema_writer__free(st->w);
	toy_redis__free(&st->redis);
}

static struct batch *batch_of(struct stage *st, enum tier tier, const struct proc_sample *s,
			      const struct proc_sample *totals)
{
	struct batch *b = batch__new();

	cr_assert_eq(schema_writer__sample(st->w, tier, s, totals, b), 0);
	return b;
}

static void write_all(struct stage *st, enum tier tier, const struct proc_sample *s, const struct proc_sample *totals)
{
	struct batch *b = batch_of(st, tier, s, totals);

	toy_redis__apply(&st->redis, b);
	batch__free(b);
}

static void write_base(struct stage *st, const struct proc_sample *s)
{
	write_all(st, TIER_BASE, s, s);
}

static const char *key_name(struct stage *st, const char *what)
{
	static char name[256];

	return schema__proc_key(name, sizeof(name), NULL, schema_writer__id(st->w), what);
}

static const struct toy_key *key(struct stage *st, const char *what)
{
	return toy_redis__key(&st->redis, key_name(st, what));
}

/* Member i of a sorted set of the process, "" if there is none. */
static const char *member(struct stage *st, const char *what, size_t i)
{
	const struct toy_key *k = key(st, what);

	return k && i < k->n ? k->entries[i].name : "";
}

static size_t members(struct stage *st, const char *what)
{
	const struct toy_key *k = key(st, what);

	return k ? k->n : 0;
}

static double score(struct stage *st, const char *what, const char *name)
{
	const struct toy_entry *e = toy_key__find(key(st, what), name);

	return e ? e->score : -1;
}

/* ---- samples ---- */

static struct proc_sample *sample_at(int64_t end_ms)
{
	struct proc_sample *s = proc_sample__new();

	s->end_ms = end_ms;
	s->len_ns = SECOND;
	s->observed_ns = SECOND;
	s->mode = GIL_MODE_FULL;
	return s;
}

static struct thread_sample *add_thread(struct proc_sample *s, uint32_t tid, uint64_t start_ticks, const char *name,
					uint64_t hold_ns, uint64_t wait_ns)
{
	struct thread_sample *t = proc_sample__add_thread(s);

	t->key = (struct thread_key){.tid = tid, .start_ticks = start_ticks};
	strncpy(t->name, name, sizeof(t->name) - 1);
	t->m.known = KNOWN_ALL;
	t->m.hold_ns = hold_ns;
	t->m.wait_ns = wait_ns;
	t->m.acquires = hold_ns > 0;
	t->m.contended = wait_ns > 0;
	if (hold_ns) {
		hist__count(&t->m.hold, hold_ns);
		t->m.hold_max_ns = hold_ns;
	}
	if (wait_ns) {
		hist__count(&t->m.wait, wait_ns);
		t->m.wait_max_ns = wait_ns;
	}
	metrics__sum(&s->total, &t->m);
	return t;
}

static struct gil_sample *add_gil(struct proc_sample *s, uint32_t gil, const struct metrics *m)
{
	struct gil_sample *g = proc_sample__add_gil(s);

	g->gil = gil;
	g->m.known = m->known;
	cr_assert_eq(metrics__sum(&g->m, m), 0);
	return g;
}

static struct proc_sample *golden_sample(void)
{
	struct proc_sample *s = sample_at(T0);
	struct thread_sample *t = add_thread(s, 4250, 9000, "worker", 0, 0);
	struct metrics m = {
		.known = KNOWN_ALL, .hold_ns = 812345678, .wait_ns = 2400000999, .handover_ns = 31000999, .acquires = 421,
		.contended = 398, .forced = 190, .hold_max_ns = 5001000, .wait_max_ns = 20100000,
		.hold_off.ns = {12000999, 340000999, 0}, .wait_off.ns = {35000999, 1010000999, 0},
		.gc = {.hold_ns = 310000999, .wait_ns = 290000999, .max_ns = 120000999, .err2 = 4e12, .n = {60, 5, 1}},
	};

	for (int i = 0; i < 421; i++)
		hist__count(&m.hold, i < 400 ? 1000000 : 5000000);
	for (int i = 0; i < 398; i++)
		hist__count(&m.wait, i < 390 ? 2000000 : 20000000);
	metrics__sum(&s->total, &m);
	t->m = m;
	s->live_threads = 9;
	s->cpu_ns = 990000999;
	s->rss_kib = 10240;
	s->cost_ns = 800999;
	return s;
}

/* ---- members ---- */

static void check_member(const struct proc_sample *s, const struct metrics *m, bool process, bool hists,
			 const char *expected)
{
	struct schema_row row;
	char *text;

	schema_row__from(s, m, process, &row);
	text = schema_row__encode(&row, hists);
	cr_assert_str_eq(text, expected);
	free(text);
}

Test(schema, process_member_to_the_letter)
{
	struct proc_sample *s = golden_sample();

	check_member(s, &s->total, true, true,
		     "{\"t\":1795339305000,\"d\":1000000,\"hold\":812345,\"util\":0.8123,\"wait\":2400000,"
		     "\"handover\":31000,\"waiters\":2.4,\"n\":421,\"c\":398,\"forced\":190,\"threads\":9,"
		     "\"wait_p50\":2031,\"wait_p99\":19922,\"wait_max\":20100,\"hold_p50\":1015,\"hold_p99\":4980,"
		     "\"hold_max\":5001,\"hold_blocked\":12000,\"hold_preempted\":340000,\"wait_blocked\":35000,"
		     "\"wait_preempted\":1010000,\"gc\":310000,\"gc_wait\":290000,\"gc_max\":120000,\"gc_n0\":60,"
		     "\"gc_n1\":5,\"gc_n2\":1,\"cpu\":990000,\"rss\":10240,\"cost\":800,\"lost\":0,\"cov\":1,"
		     "\"hh\":[47,400,56,21],\"wh\":[51,390,64,8]}");
	proc_sample__free(s);
}

/* Times of garbage collection that are sampled have their error with them; without it they are exact. */
Test(schema, sampled_garbage_collection_says_how_far_off_it_may_be)
{
	struct proc_sample *s = golden_sample();
	struct schema_row row, other;

	schema_row__from(s, &s->total, true, &row);
	cr_expect_not(row.has >> FIELD_GC_ERR & 1);
	s->total.known &= ~(uint32_t)KNOWN_GC_EXACT;
	schema_row__from(s, &s->total, true, &other);
	cr_expect_eq(other.value[FIELD_GC_ERR], 2000);
	schema_row__merge(&row, &other);
	cr_expect_eq(row.value[FIELD_GC_ERR], 2000, "one part of it is sampled");
	schema_row__merge(&row, &other);
	cr_expect_float_eq(row.value[FIELD_GC_ERR], 2828.4, 0.1);
	cr_expect_eq(row.value[FIELD_GC], 930000);
	cr_expect_eq(row.value[FIELD_GC_N2], 3);
	s->total.known &= ~(uint32_t)KNOWN_GC;
	schema_row__from(s, &s->total, true, &other);
	schema_row__merge(&row, &other);
	cr_expect_not(row.has >> FIELD_GC & 1, "of a part of the time it is not known");
	cr_expect_not(row.has >> FIELD_GC_MAX & 1);
	cr_expect(row.has >> FIELD_GC_N0 & 1, "but the number is");
	proc_sample__free(s);
}

/* A thread's row says what it has collected, and nothing if it has not: there are many. */
Test(schema, a_thread_that_collected_nothing_does_not_say_so)
{
	struct proc_sample *s = golden_sample();
	struct schema_row row, idle;

	schema_row__from(s, &s->threads[0].m, false, &row);
	cr_expect_eq(row.value[FIELD_GC], 310000);
	s->threads[0].m.gc = (struct gc_time){0};
	schema_row__from(s, &s->threads[0].m, false, &idle);
	for (int f = FIELD_GC; f <= FIELD_GC_N2; f++)
		cr_expect_not(idle.has >> f & 1);
	schema_row__merge(&row, &idle);
	cr_expect_eq(row.value[FIELD_GC], 310000, "what it collected before stays");
	proc_sample__free(s);
}

Test(schema, thread_member_to_the_letter)
{
	struct proc_sample *s = golden_sample();

	check_member(s, &s->threads[0].m, false, false,
		     "{\"t\":1795339305000,\"d\":1000000,\"hold\":812345,\"wait\":2400000,\"handover\":31000,"
		     "\"n\":421,\"c\":398,\"forced\":190,\"hold_p50\":1015,\"hold_p99\":4980,\"hold_max\":5001,"
		     "\"wait_p50\":2031,\"wait_p99\":19922,\"wait_max\":20100,\"gc\":310000,\"ho\":[12000,340000],"
		     "\"wo\":[35000,1010000]}");
	s->threads[0].gil = 2;
	s->threads[0].key.inside = 17;
	s->threads[0].m.unknown_ns = 7000;
	s->threads[0].m.known = KNOWN_WAIT;
	check_member(s, &s->threads[0].m, false, false,
		     "{\"t\":1795339305000,\"d\":1000000,\"wait\":2400000,\"unknown\":7,"
		     "\"c\":398,\"wait_p50\":2031,\"wait_p99\":19922,\"wait_max\":20100,\"g\":2,\"inside\":17}");
	proc_sample__free(s);
}

Test(schema, what_is_unseen_of_a_hold_is_written_and_what_is_not_known_is_not)
{
	struct proc_sample *s = golden_sample();
	struct metrics *m = &s->threads[0].m;
	struct schema_row row;

	m->hold_off.ns[GIL_OFF_UNSEEN] = 7000;
	schema_row__from(s, m, false, &row);
	cr_expect_eq(row.value[FIELD_HOLD_UNSEEN], 7);
	cr_expect_eq(row.has >> FIELD_WAIT_UNSEEN & 1, 0);
	m->known &= ~(uint32_t)KNOWN_OFF_CPU;
	schema_row__from(s, m, false, &row);
	for (int f = FIELD_HOLD_BLOCKED; f <= FIELD_WAIT_UNSEEN; f++)
		cr_expect_eq(row.has >> f & 1, 0);
	proc_sample__free(s);
}

Test(schema, light_mode_leaves_out_what_it_does_not_know)
{
	struct proc_sample *s = golden_sample();

	s->total.known = KNOWN_WAIT | KNOWN_FORCED;
	s->total.inferred = 3;
	s->cpu_ns = UINT64_MAX;
	s->rss_kib = UINT64_MAX;
	check_member(s, &s->total, true, true,
		     "{\"t\":1795339305000,\"d\":1000000,\"wait\":2400000,\"waiters\":2.4,"
		     "\"c\":398,\"forced\":190,\"inferred\":3,\"threads\":9,\"wait_p50\":2031,\"wait_p99\":19922,"
		     "\"wait_max\":20100,\"cost\":800,\"lost\":0,\"cov\":1,\"wh\":[51,390,64,8]}");
	proc_sample__free(s);
}

static void expect_field(const struct schema_row *row, enum schema_field f, double value)
{
	cr_expect(row->has >> f & 1, "%s is missing", schema_field__name(f));
	cr_expect_float_eq(row->value[f], value, 1e-6, "%s: %f", schema_field__name(f), row->value[f]);
}

Test(schema, a_hold_is_exact_or_an_estimate_and_never_both)
{
	struct proc_sample *s = golden_sample();
	struct schema_row exact, estimated, sum;

	s->gils_n = 0;
	s->total.hold_est = (struct hold_estimate){.ns = 500000000, .err2 = 9e12};
	schema_row__from(s, &s->total, true, &exact);
	cr_expect_eq(exact.has >> FIELD_HOLD_EST & 1, 0);
	cr_expect_eq(exact.has >> FIELD_UTIL_EST & 1, 0);
	s->total.known &= ~(uint32_t)KNOWN_HOLD;
	schema_row__from(s, &s->total, true, &estimated);
	cr_expect_eq(estimated.has >> FIELD_HOLD & 1, 0);
	cr_expect_eq(estimated.has >> FIELD_UTIL & 1, 0);
	expect_field(&estimated, FIELD_HOLD_EST, 500000);
	expect_field(&estimated, FIELD_HOLD_ERR, 3000);
	expect_field(&estimated, FIELD_UTIL_EST, 0.5);

	s->total.hold_est.ns = 2 * s->observed_ns;
	schema_row__from(s, &s->total, true, &sum);
	expect_field(&sum, FIELD_HOLD_EST, 2 * (double)s->observed_ns / 1000);
	expect_field(&sum, FIELD_UTIL_EST, 1);

	/* With one that is exact the sum is an estimate. */
	sum = exact;
	schema_row__merge(&sum, &estimated);
	cr_expect_eq(sum.has >> FIELD_HOLD & 1, 0);
	cr_expect_eq(sum.has >> FIELD_UTIL & 1, 0);
	expect_field(&sum, FIELD_HOLD_EST, 500000 + 812345);
	expect_field(&sum, FIELD_HOLD_ERR, 3000);
	schema_row__merge(&sum, &estimated);
	expect_field(&sum, FIELD_HOLD_ERR, sqrt(2) * 3000);
	expect_field(&sum, FIELD_UTIL_EST, (0.5 + 0.5 + exact.value[FIELD_UTIL]) / 3);

	/* With one that knows nothing it is not known. */
	s->total.known &= ~(uint32_t)KNOWN_HOLD_EST;
	schema_row__from(s, &s->total, true, &exact);
	schema_row__merge(&sum, &exact);
	cr_expect_eq(sum.has >> FIELD_HOLD_EST & 1, 0);
	cr_expect_eq(sum.has >> FIELD_UTIL_EST & 1, 0);
	proc_sample__free(s);
}

Test(schema, a_known_zero_is_written_and_undefined_quantiles_are_not)
{
	struct proc_sample *s = sample_at(T0);

	check_member(s, &s->total, true, true,
		     "{\"t\":1795339305000,\"d\":1000000,\"hold\":0,\"util\":0,\"wait\":0,\"handover\":0,"
		     "\"waiters\":0,\"n\":0,\"c\":0,\"forced\":0,\"threads\":0,\"gc\":0,\"gc_wait\":0,\"gc_n0\":0,\"gc_n1\":0,"
		     "\"gc_n2\":0,\"cost\":0,\"lost\":0,\"cov\":1,"
		     "\"hh\":[],\"wh\":[]}");
	s->observed_ns = 0;
	s->total.known = 0;
	check_member(s, &s->total, true, false,
		     "{\"t\":1795339305000,\"d\":1000000,\"threads\":0,\"cost\":0,\"lost\":0,\"cov\":0}");
	proc_sample__free(s);
}

Test(schema, what_was_not_observed_in_full_never_says_so)
{
	struct proc_sample *s = sample_at(T0);
	struct schema_row row;

	s->observed_ns = SECOND - 1;
	schema_row__from(s, &s->total, true, &row);
	cr_assert_eq(row.value[FIELD_COV], 0.9999);
	proc_sample__free(s);
}

Test(schema, quantiles_and_maxima_include_what_is_open)
{
	struct proc_sample *s = sample_at(T0);
	struct schema_row row;

	hist__count(&s->total.hold_open, 60 * SECOND);
	s->total.hold_max_ns = 60 * SECOND;
	schema_row__from(s, &s->total, true, &row);
	cr_assert_eq(row.value[FIELD_HOLD_P50], 60000000);
	cr_assert_eq(row.value[FIELD_HOLD_MAX], 60000000);
	cr_assert_eq(hist_coarse__total(&row.hold_hist), 0);
	proc_sample__free(s);
}

Test(schema, with_several_gils_utilisation_is_the_busiest_ones)
{
	struct proc_sample *s = sample_at(T0);
	struct schema_row row;

	s->total.hold_ns = 3 * SECOND / 2;
	for (uint32_t g = 0; g < 2; g++)
		*proc_sample__add_gil(s) = (struct gil_sample){
			.gil = g, .m = {.known = KNOWN_ALL, .hold_ns = g ? SECOND : SECOND / 2}};
	schema_row__from(s, &s->total, true, &row);
	cr_assert_eq(row.value[FIELD_UTIL], 1);
	cr_assert_eq(row.value[FIELD_HOLD], 1500000);
	cr_assert_eq(row.value[FIELD_GILS], 2);
	schema_row__from(s, &s->gils[0].m, true, &row);
	cr_assert_eq(row.value[FIELD_UTIL], 0.5);
	cr_assert_not(row.has >> FIELD_CPU & 1);
	proc_sample__free(s);
}

Test(schema, gils_that_were_put_together_are_nobodys_utilisation)
{
	struct proc_sample *s = sample_at(T0);
	struct schema_row row;

	*proc_sample__add_gil(s) = (struct gil_sample){.m = {.known = KNOWN_ALL, .hold_ns = SECOND / 2}};
	*proc_sample__add_gil(s) = (struct gil_sample){.gil = GIL_NUMBER_OTHER, .m = {.known = KNOWN_ALL, .hold_ns = 3 * SECOND}};
	schema_row__from(s, &s->total, true, &row);
	cr_assert_eq(row.value[FIELD_UTIL], 0.5);
	proc_sample__free(s);
}

/* What there is none of is not zero. */
Test(schema, without_a_gil_there_are_no_numbers_of_it)
{
	struct proc_sample *s = sample_at(T0);
	struct schema_row row;
	struct stage st;

	s->no_gil = true;
	s->observed_ns = 0;
	add_thread(s, 1, 1, "a", 0, 0);
	schema_row__from(s, &s->total, true, &row);
	for (int f = 0; f < FIELD_COUNT; f++)
		if (row.has >> f & 1)
			cr_expect(f == FIELD_T || f == FIELD_D || f == FIELD_CPU || f == FIELD_RSS || f == FIELD_THREADS ||
					  f == FIELD_COST || f == FIELD_LOST || f == FIELD_COV,
				  "%s",
				  schema_field__name((enum schema_field)f));
	cr_expect_eq(row.value[FIELD_COV], 0);
	raise_stage(&st);
	start(&st);
	write_base(&st, s);
	cr_expect_str_eq(toy_redis__hget(&st.redis, key_name(&st, "meta"), "gil"), "free-threaded");
	cr_expect_null(key(&st, "t:1:1s"));
	cr_expect_null(strstr(member(&st, "p:1s", 0), "util"));
	s->no_gil = false;
	s->end_ms += 1000;
	write_base(&st, s);
	cr_expect_str_eq(toy_redis__hget(&st.redis, key_name(&st, "meta"), "gil"), "gil");
	strike(&st);
	proc_sample__free(s);
}

Test(schema, fields_are_found_by_name)
{
	for (int f = 0; f < FIELD_COUNT; f++)
		cr_assert_eq(schema_field__by_name(schema_field__name((enum schema_field)f)), f);
	cr_assert_eq(schema_field__by_name("nonsense"), -ENOENT);
	cr_assert_str_eq(schema_field__unit(FIELD_RSS), "kib");
}

Test(schema, the_page_says_what_the_table_of_fields_says)
{
	char row[256];

	for (int f = 0; f < FIELD_COUNT; f++) {
		const char *unit = schema_field__unit((enum schema_field)f);

		unit = strcmp(unit, "n") == 0 ? "" : strcmp(unit, "kib") == 0 ? "KiB" : unit;
		snprintf(row, sizeof(row), "| %s | %s%s| %s |", schema_field__name((enum schema_field)f), unit, *unit ? " " : "",
			 schema_field__text((enum schema_field)f));
		document__must_say("collector/schema/README.md", row);
	}
}

/* Whether a list of dashboards/lua/gilscope.lua, "local NAME = {'a', 'b'}", has fields of that kind only, percentiles aside. */
static void expect_list(const char *lua, const char *name, enum schema_merge kind)
{
	const char *at = strstr(lua, name), *end = at ? strchr(at, '}') : NULL;
	size_t n = 0;

	cr_assert(at && end, "%s", name);
	while ((at = strchr(at, '\'')) && at < end) {
		char field[32];
		int f;

		snprintf(field, sizeof(field), "%.*s", (int)strcspn(at + 1, "'"), at + 1);
		at += strlen(field) + 2;
		f = schema_field__by_name(field);
		cr_assert_geq(f, 0, "%s", field);
		cr_expect(schema_field__merge((enum schema_field)f) == kind || strstr(field, "_p50") || strstr(field, "_p99"),
			  "%s is in %s", field, name);
		n++;
	}
	cr_expect_gt(n, 1, "%s", name);
}

Test(schema, the_function_library_merges_fields_as_the_table_says)
{
	char *lua = calloc(1, 1 << 20);
	FILE *file = fopen("dashboards/lua/gilscope.lua", "r");

	cr_assert(file && lua && fread(lua, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	expect_list(lua, "local SUMS = {", MERGE_SUM);
	expect_list(lua, "local RARE = {", MERGE_RARE);
	expect_list(lua, "local SEEN = {", MERGE_SEEN);
	expect_list(lua, "local MAXIMA = {", MERGE_MAX);
	expect_list(lua, "local LATEST = {", MERGE_LATEST);
	free(lua);
}

/* ---- decoding ---- */

Test(schema, what_was_encoded_decodes_to_the_same)
{
	struct proc_sample *s = golden_sample();
	struct schema_row row, again;
	char *text, *second;

	s->threads[0].m.wait_off.ns[GIL_OFF_UNSEEN] = 7000;
	for (int is_process = 0; is_process < 2; is_process++) {
		schema_row__from(s, is_process ? &s->total : &s->threads[0].m, is_process, &row);
		text = schema_row__encode(&row, true);
		cr_assert_eq(schema_row__decode(text, strlen(text), &again), 0);
		cr_assert_eq(again.has, row.has);
		for (int f = FIELD_HOLD_BLOCKED; f <= FIELD_WAIT_UNSEEN; f++)
			cr_assert_eq(again.value[f], row.value[f], "%s", text);
		cr_assert_arr_eq(&again.hold_hist, &row.hold_hist, sizeof(row.hold_hist));
		cr_assert_arr_eq(&again.wait_hist, &row.wait_hist, sizeof(row.wait_hist));
		second = schema_row__encode(&again, true);
		cr_assert_str_eq(second, text);
		free(text);
		free(second);
	}
	proc_sample__free(s);
}

Test(schema, a_list_of_parts_that_is_none_is_unknown)
{
	static const char *odd[] = {"3", "{}", "[]", "[\"1\",2]", "[-1,2]", "[[1],2]", "null", "[1]", "[1,\"2\",3]"};
	struct schema_row row;
	char json[80];

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		snprintf(json, sizeof(json), "{\"t\":1,\"hold\":9,\"ho\":%s}", odd[i]);
		cr_assert_eq(schema_row__decode(json, strlen(json), &row), 0);
		cr_expect_eq(row.has >> FIELD_HOLD_BLOCKED & 7, 0, "%s", json);
	}
}

struct hostile {
	char json[160];
	int result;
	int wait;      /* value of "wait" afterwards, -1: absent */
	bool has_hist; /* "wh" */
};

ParameterizedTestParameters(schema, hostile_members)
{
	static struct hostile cases[] = {
		{"", -EBADMSG, -1, false},
		{"null", -EBADMSG, -1, false},
		{"[1,2]", -EBADMSG, -1, false},
		{"{}", -EBADMSG, -1, false},
		{"{\"t\":\"5\"}", -EBADMSG, -1, false},
		{"{\"t\":-5}", -EBADMSG, -1, false},
		{"{\"t\":5", -EBADMSG, -1, false},
		{"{\"t\":5} trailing", -EBADMSG, -1, false},
		{"{\"t\":NaN}", -EBADMSG, -1, false},
		{"{\"t\":1e999}", -EBADMSG, -1, false},
		{"{\"t\":1e300}", -EBADMSG, -1, false},
		{"{\"t\":5,\"x\xff\":1}", -EBADMSG, -1, false},
		{"{\"t\":5}", 0, -1, false},
		{"{\"t\":5.5,\"wait\":7}", 0, 7, false},
		{"{\"t\":5,\"wait\":\"7\"}", 0, -1, false},
		{"{\"t\":5,\"wait\":null}", 0, -1, false},
		{"{\"t\":5,\"wait\":true}", 0, -1, false},
		{"{\"t\":5,\"wait\":[7]}", 0, -1, false},
		{"{\"t\":5,\"wait\":-7}", 0, -1, false},
		{"{\"t\":5,\"wait\":99999999999999999999999999}", 0, -1, false},
		{"{\"t\":5,\"later\":{\"deep\":[[[1]]]},\"wait\":8}", 0, 8, false},
		{"{\"t\":5,\"later\":\"\\u0000\",\"wait\":8}", 0, 8, false},
		{"{\"t\":5,\"wait\":1,\"wait\":2}", 0, 2, false},
		{"{\"t\":5,\"wh\":[]}", 0, -1, true},
		{"{\"t\":5,\"wh\":[131,4294967295]}", 0, -1, true},
		{"{\"t\":5,\"wh\":[132,1]}", 0, -1, false},
		{"{\"t\":5,\"wh\":[-1,1]}", 0, -1, false},
		{"{\"t\":5,\"wh\":[1,-1]}", 0, -1, false},
		{"{\"t\":5,\"wh\":[1,4294967296]}", 0, -1, false},
		{"{\"t\":5,\"wh\":[1,1.5]}", 0, -1, false},
		{"{\"t\":5,\"wh\":[1]}", 0, -1, false},
		{"{\"t\":5,\"wh\":[1,\"1\"]}", 0, -1, false},
		{"{\"t\":5,\"wh\":{\"1\":1}}", 0, -1, false},
	};

	return cr_make_param_array(struct hostile, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct hostile *c, schema, hostile_members)
{
	struct schema_row row;

	cr_assert_eq(schema_row__decode(c->json, strlen(c->json), &row), c->result, "%s", c->json);
	if (c->result != 0)
		return;
	cr_assert_eq(row.has >> FIELD_WAIT & 1, c->wait >= 0, "%s", c->json);
	cr_assert_eq(row.has_wait_hist, c->has_hist, "%s", c->json);
	if (c->wait >= 0)
		cr_assert_eq(row.value[FIELD_WAIT], c->wait, "%s", c->json);
}

Test(schema, depth_bombs_and_overlong_members_are_refused)
{
	size_t len = 1024 * 1024;
	char *bomb = malloc(len + 1);
	struct schema_row row;

	memset(bomb, '[', len + 1);
	memcpy(bomb, "{\"t\":", 5);
	cr_assert_eq(schema_row__decode(bomb, len, &row), -EBADMSG);
	memset(bomb, ' ', len + 1);
	memcpy(bomb, "{\"t\":5}", 7);
	cr_assert_eq(schema_row__decode(bomb, len, &row), 0);
	cr_assert_eq(schema_row__decode(bomb, len + 1, &row), -EBADMSG);
	free(bomb);
}

/* ---- merging ---- */

static struct schema_row row_of(const char *json)
{
	struct schema_row row;

	cr_assert_eq(schema_row__decode(json, strlen(json), &row), 0, "%s", json);
	return row;
}

static void check_merged(const char *a, const char *b, const char *expected)
{
	struct schema_row row = row_of(a), other = row_of(b);
	char *text;

	schema_row__merge(&row, &other);
	text = schema_row__encode(&row, false);
	cr_assert_str_eq(text, expected);
	free(text);
}

/* What hardly ever happens is written only where it did. */
Test(schema, merging_adds_up_what_only_one_of_two_has_seen)
{
	check_merged("{\"t\":1,\"d\":10,\"hold\":9,\"hold_blocked\":5,\"hold_preempted\":1,\"hold_stopped\":2,"
		     "\"over\":4,\"over_n\":2,\"over_late\":1,\"over_max\":3,"
		     "\"why\":[{\"why\":\"tracer\",\"name\":\"py-spy\",\"pid\":7,\"us\":2},{\"why\":\"fault\",\"us\":5}]}",
		     "{\"t\":2,\"d\":10,\"hold\":4,\"hold_blocked\":0,\"hold_preempted\":3,\"over\":2,\"over_n\":1,"
		     "\"over_late\":0,\"over_max\":2,\"switch_missed\":3,"
		     "\"why\":[{\"why\":\"fault\",\"us\":1},{\"why\":\"rest\",\"us\":4}]}",
		     "{\"t\":2,\"d\":20,\"hold\":13,\"over\":6,\"over_n\":3,\"over_late\":1,\"over_max\":3,\"switch_missed\":3,"
		     "\"ho\":[5,4,0,2],\"why\":[{\"why\":\"tracer\",\"name\":\"py-spy\",\"pid\":7,\"us\":2},"
		     "{\"why\":\"fault\",\"us\":6},{\"why\":\"rest\",\"us\":4}]}");
}

/* With how late holders let go; a row in which nobody was asked has nothing of it, and one without is no proof of none. */
Test(schema, histograms_of_requests_are_written_and_added_up)
{
	static const char a[] = "{\"t\":1,\"d\":10,\"over\":4,\"over_n\":3,\"over_late\":1,\"over_max\":3,\"oh\":[0,2,7,1]}";
	struct schema_row row = row_of(a), other = row_of("{\"t\":2,\"d\":10,\"over\":9,\"over_n\":2,\"oh\":[7,2]}");
	struct schema_row none = row_of("{\"t\":3,\"d\":10}"), short_row = row_of("{\"t\":4,\"d\":10,\"over\":9,\"over_n\":2}");
	char *text = schema_row__encode(&row, true);

	cr_assert_str_eq(text, a);
	free(text);
	schema_row__merge(&row, &other);
	schema_row__merge(&row, &none);
	cr_assert(row.has_over_hist);
	cr_expect_eq(row.over_hist[0], 2);
	cr_expect_eq(row.over_hist[7], 3);
	schema_row__merge(&row, &short_row);
	cr_expect_not(row.has_over_hist);
	row = row_of("{\"t\":1,\"d\":10,\"over_n\":1,\"oh\":[16,1]}");
	cr_expect_not(row.has_over_hist, "there is no such bucket");
}

Test(schema, merging_adds_sums_and_weighs_shares_by_observed_time)
{
	check_merged("{\"t\":1,\"d\":400000,\"hold\":400000,\"util\":1,\"wait\":100000,\"waiters\":0.25,\"n\":3,"
		     "\"threads\":5,\"wait_p99\":90,\"wait_max\":100,\"rss\":10,\"lost\":1,\"cov\":1}",
		     "{\"t\":1,\"d\":600000,\"hold\":100000,\"util\":0.3333,\"wait\":50000,\"waiters\":0.1667,\"n\":4,"
		     "\"threads\":6,\"wait_p99\":80,\"wait_max\":200,\"rss\":20,\"lost\":2,\"cov\":0.5}",
		     "{\"t\":1,\"d\":1000000,\"hold\":500000,\"util\":0.7143,\"wait\":150000,\"waiters\":0.2143,"
		     "\"n\":7,\"threads\":6,\"wait_p99\":90,\"wait_max\":200,\"rss\":20,\"lost\":3,\"cov\":0.7}");
}

Test(schema, merging_with_an_unknown_part_is_unknown)
{
	check_merged("{\"t\":1,\"d\":10,\"hold\":4,\"util\":0.4,\"wait\":1,\"hold_p99\":3,\"hold_max\":3,\"cov\":1}",
		     "{\"t\":2,\"d\":10,\"wait\":5,\"unknown\":2,\"wait_max\":5,\"cov\":1}",
		     "{\"t\":2,\"d\":20,\"wait\":6,\"unknown\":2,\"wait_max\":5,\"cov\":1}");
}

Test(schema, looks_that_did_not_tell_who_waited_take_nothing_from_the_waits_of_others)
{
	const char *without = "{\"t\":1,\"d\":100,\"cov\":1,\"hold_est\":50,\"hold_err\":3,\"util_est\":0.5,\"looks\":10}";
	const char *with = "{\"t\":2,\"d\":400,\"cov\":1,\"wait\":200,\"handover\":20,\"waiters\":0.5,"
			   "\"hold_est\":200,\"hold_err\":4,\"util_est\":0.5,\"looks\":40,\"wait_err\":6}";
	const char *both = "{\"t\":2,\"d\":500,\"wait\":200,\"handover\":20,\"waiters\":0.5,\"cov\":1,\"hold_est\":250,"
			   "\"hold_err\":5,\"util_est\":0.5,\"looks\":50,\"wait_err\":6,\"wait_cov\":0.8}";

	check_merged(without, with, both);
	check_merged(with, without, both);
}

Test(schema, the_time_in_which_looks_told_who_waited_is_what_waiters_are_a_share_of)
{
	struct proc_sample *s = sample_at(T0);
	struct schema_row row;

	s->mode = GIL_MODE_LOOK;
	s->wait_unseen_ns = s->observed_ns / 4;
	s->total.known = KNOWN_WAIT_EST;
	s->total.looks = 10;
	s->total.wait_ns = s->observed_ns / 2;
	schema_row__from(s, &s->total, true, &row);
	expect_field(&row, FIELD_WAIT_COV, 0.75);
	expect_field(&row, FIELD_WAITERS, 2.0 / 3);
	proc_sample__free(s);
}

Test(schema, parts_off_the_cpu_add_up_where_both_rows_know_them_or_have_nothing_to_part)
{
	check_merged("{\"t\":1,\"d\":10,\"hold\":9,\"hold_blocked\":5,\"hold_preempted\":1,\"hold_unseen\":2}",
		     "{\"t\":2,\"d\":10,\"hold\":4,\"hold_blocked\":0,\"hold_preempted\":3}",
		     "{\"t\":2,\"d\":20,\"hold\":13,\"ho\":[5,4,2]}");
	check_merged("{\"t\":1,\"d\":10,\"wait\":0}",
		     "{\"t\":2,\"d\":10,\"wait\":4,\"wo\":[1,2]}",
		     "{\"t\":2,\"d\":20,\"wait\":4,\"wo\":[1,2]}");
	check_merged("{\"t\":1,\"d\":10,\"cov\":1,\"wait\":3,\"wait_blocked\":1,\"wait_preempted\":2}",
		     "{\"t\":2,\"d\":10,\"cov\":1,\"wait\":4,\"wait_blocked\":1,\"wait_preempted\":2}",
		     "{\"t\":2,\"d\":20,\"wait\":7,\"wait_blocked\":2,\"wait_preempted\":4,\"cov\":1}");
	check_merged("{\"t\":1,\"d\":10,\"wait\":3}",
		     "{\"t\":2,\"d\":10,\"wait\":4,\"wo\":[1,2,1]}",
		     "{\"t\":2,\"d\":20,\"wait\":7}");
	check_merged("{\"t\":1,\"d\":10,\"hold\":3,\"hold_blocked\":1,\"hold_preempted\":2}",
		     "{\"t\":2,\"d\":10}", "{\"t\":2,\"d\":20}");
}

Test(schema, quantiles_of_merged_rows_come_from_their_histograms)
{
	struct schema_row a = row_of("{\"t\":1,\"d\":10,\"wait\":9,\"wait_p50\":1000,\"wait_p99\":1000,"
				     "\"wait_max\":1000,\"wh\":[47,99]}");
	struct schema_row b = row_of("{\"t\":1,\"d\":10,\"wait\":9,\"wait_p50\":9000,\"wait_p99\":9000,"
				     "\"wait_max\":9000,\"wh\":[60,1]}");
	struct schema_row empty = {0};

	schema_row__merge(&a, &b);
	cr_assert_eq(a.value[FIELD_WAIT_P50], 978);
	cr_assert_eq(a.value[FIELD_WAIT_P99], 978);
	cr_assert_eq(a.value[FIELD_WAIT_MAX], 9000);
	cr_assert_eq(hist_coarse__total(&a.wait_hist), 100);
	schema_row__merge(&empty, &a);
	cr_assert_eq(empty.has, a.has);
	b.has_wait_hist = false;
	schema_row__merge(&a, &b);
	cr_assert_eq(a.value[FIELD_WAIT_P50], 9000);
	cr_assert_not(a.has_wait_hist);
}

/* The zeros that bound an idle stretch are written without histograms. */
Test(schema, idle_row_does_not_spoil_the_quantiles_of_others)
{
	static const char idle[] = "{\"t\":2,\"d\":10,\"hold\":0,\"wait\":0,\"n\":0,\"c\":0}";
	struct schema_row a = row_of("{\"t\":1,\"d\":10,\"hold\":0,\"wait\":9,\"n\":99,\"c\":99,\"wait_p50\":1000,"
				     "\"wait_p99\":1000,\"wait_max\":1000,\"hh\":[47,99],\"wh\":[47,99]}");
	struct schema_row b = row_of("{\"t\":3,\"d\":10,\"hold\":0,\"wait\":9,\"n\":1,\"c\":1,\"wait_p50\":9000,"
				     "\"wait_p99\":9000,\"wait_max\":9000,\"hh\":[60,1],\"wh\":[60,1]}");
	struct schema_row sum = row_of(idle), none = row_of(idle);

	schema_row__merge(&sum, &a);
	schema_row__merge(&sum, &none);
	schema_row__merge(&sum, &b);
	cr_expect_eq(sum.value[FIELD_WAIT_P50], 978);
	cr_expect_eq(sum.value[FIELD_WAIT_P99], 978);
	cr_expect_eq(hist_coarse__total(&sum.hold_hist), 100);
}

Test(schema, quantiles_come_from_finer_buckets_than_are_written)
{
	struct proc_sample *s = sample_at(T0);
	struct schema_row row;

	/* Neighbours that share a bucket on the server, but not in the kernel. */
	hist__count(&s->total.wait, gil_hist_floor(110));
	hist__count(&s->total.wait, gil_hist_floor(110));
	hist__count(&s->total.wait, gil_hist_floor(111));
	s->total.wait_max_ns = gil_hist_floor(111);
	s->total.contended = 3;
	schema_row__from(s, &s->total, true, &row);
	cr_assert_lt(row.value[FIELD_WAIT_P50] * 1000, (double)gil_hist_floor(111));
	cr_assert_gt(row.value[FIELD_WAIT_P50] * 1000, (double)gil_hist_floor(110));
	cr_assert_eq(row.value[FIELD_WAIT_P99], (double)(gil_hist_floor(111) / 1000));
	cr_assert_eq(row.wait_hist.count[55], 3);
	cr_assert_eq(hist_coarse__total(&row.wait_hist), hist__total(&s->total.wait));
	proc_sample__free(s);
}

Test(schema, a_row_with_only_something_open_keeps_its_age_when_merged)
{
	struct schema_row a = row_of("{\"t\":1,\"d\":10,\"hold\":9,\"hold_p99\":700,\"hold_max\":700,\"hh\":[]}");
	struct schema_row b = row_of("{\"t\":1,\"d\":10,\"hold\":9,\"hh\":[]}");

	schema_row__merge(&b, &a);
	cr_assert_eq(b.value[FIELD_HOLD_P99], 700);
	cr_assert_eq(b.value[FIELD_HOLD_MAX], 700);
}

Test(schema, the_busiest_gils_share_is_weighed_not_summed)
{
	check_merged("{\"t\":1,\"d\":10,\"hold\":15,\"util\":1,\"wait\":0,\"waiters\":0,\"cov\":1,\"gils\":2}",
		     "{\"t\":1,\"d\":30,\"hold\":15,\"util\":0.5,\"wait\":0,\"waiters\":0,\"cov\":1,\"gils\":2}",
		     "{\"t\":1,\"d\":40,\"hold\":30,\"util\":0.625,\"wait\":0,\"waiters\":0,\"cov\":1,\"gils\":2}");
}

/* Zero samples do not tell it. */
Test(schema, the_id_inside_outlasts_rows_without_it)
{
	check_merged("{\"t\":1,\"d\":10,\"hold\":1,\"inside\":7}", "{\"t\":2,\"d\":10,\"hold\":0}",
		     "{\"t\":2,\"d\":20,\"hold\":1,\"inside\":7}");
	check_merged("{\"t\":1,\"d\":10,\"hold\":0}", "{\"t\":2,\"d\":10,\"hold\":1,\"inside\":7}",
		     "{\"t\":2,\"d\":20,\"hold\":1,\"inside\":7}");
}

/* ---- identity ---- */

struct host_case {
	char given[80];
	char clean[80];
};

ParameterizedTestParameters(schema, host_names_are_cleaned)
{
	static struct host_case cases[] = {
		{"web1", "web1"},
		{"", "localhost"},
		{"a:b{c}\nd", "a-b-c--d"},
		{"h\xc3\xa9", "h--"},
		{"0123456789012345678901234567890123456789012345678901234567890123456789",
		 "0123456789012345678901234567890123456789012345678901234567890123"},
	};

	return cr_make_param_array(struct host_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct host_case *c, schema, host_names_are_cleaned)
{
	char clean[65];

	schema__clean_host(clean, c->given);
	cr_assert_str_eq(clean, c->clean);
}

Test(schema, the_id_changes_with_each_of_its_inputs)
{
	struct stage st;
	struct proc_ident who;
	char ids[5][SCHEMA_ID_SIZE];

	raise_stage(&st);
	for (int i = 0; i < 5; i++) {
		who = st.who;
		who.pidns_ino += i == 1;
		who.start_ticks += i == 2;
		who.start_stack += i == 3 ? 16 : 0;
		who.boot_id[3] = i == 4 ? 'x' : who.boot_id[3];
		schema__id(&who, ids[i]);
		for (int j = 0; j < i; j++)
			cr_assert_str_neq(ids[i], ids[j]);
	}
	cr_assert_str_eq(ids[0], "web1:4242:a943adfa");
}

/* ---- what a sample leaves on the server ---- */

Test(schema, every_key_has_a_ttl_and_every_row_carries_its_own_time)
{
	struct stage st;
	struct proc_sample *s = golden_sample();
	struct batch *b = batch__new();

	raise_stage(&st);
	start(&st);
	for (uint32_t g = 0; g < 2; g++)
		add_gil(s, g, &s->total);
	add_thread(s, 4251, 9001, "other one", 1000, 1000);
	*proc_sample__add_blame(s) = (struct blame_cell){0, 1, 1000000};
	cr_assert_eq(schema_writer__announce(st.w, b), 0);
	toy_redis__apply(&st.redis, b);
	batch__free(b);
	for (enum tier tier = TIER_BASE; tier < TIER_COUNT; tier++)
		write_all(&st, tier, s, s);
	cr_assert_eq(st.redis.n, 38);
	for (size_t i = 0; i < st.redis.n; i++) {
		const struct toy_key *k = &st.redis.keys[i];

		cr_assert_gt(k->ttl_s, 0, "%s lives for ever", k->name);
		for (size_t e = 0; e < k->n; e++)
			if (k->entries[e].name[0] == '{')
				cr_assert(k->entries[e].score == T0 &&
					  strncmp(k->entries[e].name, "{\"t\":1795339305000,", 19) == 0,
					  "%s: %s", k->name, k->entries[e].name);
	}
	cr_assert_eq(key(&st, "p:1s")->ttl_s, 3600 + 302);
	cr_assert_eq(key(&st, "t:4250:60s")->ttl_s, 86400 + 302);
	cr_assert_eq(key(&st, "meta")->ttl_s, 604800 + 302);
	cr_assert_eq(key(&st, "last")->ttl_s, 10);
	cr_assert_eq(key(&st, "now:hold")->ttl_s, 120);
	strike(&st);
	proc_sample__free(s);
}

Test(schema, histograms_of_threads_come_with_the_longer_tiers_only)
{
	struct stage st;
	struct proc_sample *s = golden_sample();

	raise_stage(&st);
	start(&st);
	write_base(&st, s);
	write_all(&st, TIER_10S, s, NULL);
	cr_assert_null(strstr(member(&st, "t:4250:1s", 0), "\"hh\""));
	cr_assert_not_null(strstr(member(&st, "t:4250:10s", 0), "\"hh\":[47,400,56,21]"));
	cr_assert_not_null(strstr(member(&st, "p:1s", 0), "\"hh\""));
	strike(&st);
	proc_sample__free(s);
}

Test(schema, a_batch_sent_twice_leaves_the_same_state)
{
	struct stage st;
	struct batch *batches[40];
	char *once, *twice;

	raise_stage(&st);
	start(&st);
	batches[0] = batch__new();
	schema_writer__announce(st.w, batches[0]);
	for (int i = 1; i < 40; i++) {
		struct proc_sample *s = sample_at(T0 + 1000 * i);
		char name[32];

		snprintf(name, sizeof(name), "name %d", i / 10);
		add_thread(s, 1, 1, name, 1000000, (uint64_t)i * 7000);
		if (i % 4)
			add_thread(s, 2, 1, "b", 2000000, 5000000)->exited = i == 33;
		*proc_sample__add_blame(s) = (struct blame_cell){0, s->threads_n - 1, (uint64_t)i * 7000};
		batches[i] = batch_of(&st, i % 10 ? TIER_BASE : TIER_10S, s, s);
		proc_sample__free(s);
	}
	for (int i = 0; i < 40; i++)
		toy_redis__apply(&st.redis, batches[i]);
	once = toy_redis__dump(&st.redis);
	toy_redis__free(&st.redis);
	for (int i = 0; i < 40; i++) {
		toy_redis__apply(&st.redis, batches[i]);
		toy_redis__apply(&st.redis, batches[i]);
		batch__free(batches[i]);
	}
	twice = toy_redis__dump(&st.redis);
	cr_assert_str_eq(once, twice);
	free(once);
	free(twice);
	strike(&st);
}

Test(schema, points_and_age_of_a_batch_are_those_of_its_samples)
{
	struct stage st;
	struct proc_sample *s = golden_sample();
	struct batch *b = batch__new();

	raise_stage(&st);
	start(&st);
	schema_writer__sample(st.w, TIER_BASE, s, s, b);
	cr_assert_eq(batch__points(b), 5); /* process, thread, two wide rows, blame */
	s->end_ms += 1000;
	schema_writer__sample(st.w, TIER_BASE, s, s, b);
	cr_assert_eq(batch__points(b), 10);
	cr_assert_eq(batch__made_ms(b), T0);
	batch__free(b);
	strike(&st);
	proc_sample__free(s);
}

/* ---- idle threads ---- */

/* A run of a thread's activity, one character per second: '#' active, '.' absent, '0' present and idle. */
static void play(struct stage *st, const char *script)
{
	for (int i = 0; script[i]; i++) {
		struct proc_sample *s = sample_at(T0 + 1000 * i);

		add_thread(s, 1, 1, "main", 1000, 0);
		if (script[i] != '.')
			add_thread(s, 2, 5, "worker", script[i] == '#' ? 5000 : 0, 0);
		write_base(st, s);
		proc_sample__free(s);
	}
}

struct idle_case {
	char script[32];
	char written[32]; /* '#', '0', '.' for a stamp without a member */
};

ParameterizedTestParameters(schema, idle_stretches_are_bounded_by_zeros)
{
	static struct idle_case cases[] = {
		{"##......##", "##0....0##"}, {"#.#", "#0#"},     {"#..#", "#00#"},           {"#....", "#0..."},
		{"...##", "...##"},	      {"#000#", "#0.0#"}, {"#.0.#.#", "#0.0#0#"},
	};

	return cr_make_param_array(struct idle_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct idle_case *c, schema, idle_stretches_are_bounded_by_zeros)
{
	char written[32] = {0};
	const struct toy_key *k;
	struct stage st;

	raise_stage(&st);
	start(&st);
	play(&st, c->script);
	memset(written, '.', strlen(c->script));
	k = key(&st, "t:2:1s");
	for (size_t i = 0; i < k->n; i++) {
		int at = (int)(k->entries[i].score - T0) / 1000;
		char *seen = &written[at];

		cr_assert_eq(*seen, '.', "two members at %d", at);
		*seen = strstr(k->entries[i].name, "\"hold\":5,") ? '#' : '0';
	}
	cr_assert_str_eq(written, c->written);
	strike(&st);
}

Test(schema, a_zero_says_only_what_was_known)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	add_thread(s, 2, 5, "worker", 5000, 5000);
	write_base(&st, s);
	made_up__keep_threads(s, 0);
	s->end_ms += 1000;
	s->total.known = KNOWN_WAIT;
	write_base(&st, s);
	cr_assert_str_eq(member(&st, "t:2:1s", 1),
			 "{\"t\":1795339306000,\"d\":1000000,\"wait\":0,\"c\":0}");
	strike(&st);
	proc_sample__free(s);
}

Test(schema, where_nothing_was_observed_nobody_is_idle)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	add_thread(s, 2, 5, "worker", 5000, 5000);
	write_base(&st, s);
	made_up__keep_threads(s, 0);
	s->end_ms += 1000;
	s->observed_ns = 0;
	write_base(&st, s);
	cr_assert_eq(members(&st, "t:2:1s"), 1);
	strike(&st);
	proc_sample__free(s);
}

/* ---- names ---- */

Test(schema, a_tid_used_again_gets_a_series_of_its_own)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	add_thread(s, 4250, 100, "first", 5000, 0)->exited = true;
	write_base(&st, s);
	s->end_ms += 1000;
	s->threads[0].key.start_ticks = 777;
	strcpy(s->threads[0].name, "second");
	write_base(&st, s);
	cr_assert_eq(members(&st, "t:4250:1s"), 1);
	cr_assert_eq(members(&st, "t:4250.777:1s"), 1);
	cr_assert_eq(score(&st, "threads", "4250|first"), T0);
	cr_assert_eq(score(&st, "threads", "4250.777|second"), T0 + 1000);
	cr_assert_eq(score(&st, "top:hold", "4250.777 second"), 5);
	/* The window that covers both comes later and still tells them apart. */
	add_thread(s, 4250, 100, "first", 5000, 0);
	write_all(&st, TIER_10S, s, NULL);
	cr_assert_eq(members(&st, "t:4250:10s"), 1);
	cr_assert_eq(members(&st, "t:4250.777:10s"), 1);
	strike(&st);
	proc_sample__free(s);
}

Test(schema, the_old_name_of_a_renamed_thread_goes)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	add_thread(s, 7, 1, "", 5000, 5000);
	write_base(&st, s);
	cr_assert_eq(score(&st, "threads", "7|"), T0);
	for (int i = 1; i < 4; i++) {
		s->end_ms += 1000;
		snprintf(s->threads[0].name, sizeof(s->threads[0].name), "name %d", i);
		write_base(&st, s);
	}
	s->end_ms += 1000;
	s->threads[0].name[0] = '\0'; /* not known this time */
	write_base(&st, s);
	cr_assert_eq(members(&st, "threads"), 1);
	cr_assert_eq(score(&st, "threads", "7|name 3"), T0 + 4000);
	cr_assert_eq(members(&st, "t:7:1s"), 5);
	strike(&st);
	proc_sample__free(s);
}

Test(schema, a_renamed_thread_stands_on_a_board_once)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	add_thread(s, 7, 1, "before", 5000, 6000);
	*proc_sample__add_blame(s) = (struct blame_cell){0, 0, 6000};
	write_base(&st, s);
	s->end_ms += 1000;
	strcpy(s->threads[0].name, "after");
	write_base(&st, s);
	cr_assert_eq(members(&st, "top:hold"), 1);
	cr_assert_eq(members(&st, "top:wait"), 1);
	cr_assert_eq(members(&st, "top:blame"), 1);
	cr_assert_eq(members(&st, "now:hold"), 1);
	cr_assert_eq(score(&st, "top:wait", "7 after"), 6);
	strike(&st);
	proc_sample__free(s);
}

static void check_harmless(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		cr_assert(*c >= 0x20 && *c != 0x7f, "byte %02x in %s", *c, text);
}

struct name_case {
	char name[THREAD_NAME_SIZE + 8];
};

ParameterizedTestParameters(schema, hostile_names_reach_no_key_and_no_terminal)
{
	static struct name_case cases[] = {
		{"\033[31mred\033[0m"}, {"a\nb\rc"},	{"a|b|c"}, {"\"quoted\\\""}, {"\xff\xfe\x80"}, {"{tag}:x"},
		{"\xe2\x80\xae" "evil"},    {"t"},	{"other"}, {"%s%n"},	 {"\x01"},
		{"0123456789012345678901234567890123456789012345678901234567890123456789"},
	};

	return cr_make_param_array(struct name_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct name_case *c, schema, hostile_names_reach_no_key_and_no_terminal)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);
	struct thread_sample *t;

	raise_stage(&st);
	st.who.label = c->name;
	start(&st);
	t = add_thread(s, 7, 1, "", 5000, 5000);
	memcpy(t->name, c->name, sizeof(t->name)); /* perhaps without an end */
	write_base(&st, s);
	write_all(&st, TIER_10S, s, NULL);
	for (size_t i = 0; i < st.redis.n; i++) {
		const struct toy_key *k = &st.redis.keys[i];

		check_harmless(k->name);
		for (size_t e = 0; e < k->n; e++) {
			json_t *json = NULL;

			check_harmless(k->entries[e].name);
			check_harmless(k->entries[e].value);
			if (k->entries[e].name[0] != '{')
				continue;
			json = json_loads(k->entries[e].name, JSON_REJECT_DUPLICATES, NULL);
			cr_assert_not_null(json, "%s", k->entries[e].name);
			json_decref(json);
		}
	}
	cr_assert_eq(members(&st, "threads"), 1);
	cr_assert_eq(strchr(member(&st, "threads", 0), '|'), strrchr(member(&st, "threads", 0), '|'));
	strike(&st);
	proc_sample__free(s);
}

static size_t longest_argument(const struct batch *b)
{
	size_t longest = 0;

	for (size_t i = 0; i < batch__commands(b); i++) {
		const char *const *argv;
		const size_t *lens;
		int argc = batch__get(b, i, &argv, &lens);

		for (int arg = 0; arg < argc; arg++)
			longest = lens[arg] > longest ? lens[arg] : longest;
	}
	return longest;
}

Test(schema, strings_of_ten_thousand_bytes_are_cut)
{
	struct stage st;
	char *big = malloc(10001);
	struct batch *b = batch__new();

	memset(big, 'x', 10000);
	big[10000] = '\0';
	raise_stage(&st);
	st.who.label = st.who.exe = st.who.image = st.who.python = big;
	start(&st);
	schema_writer__announce(st.w, b);
	cr_assert_lt(longest_argument(b), 1024u);
	schema_writer__end(st.w, T0, big, b);
	cr_assert_eq(batch__error(b), 0);
	cr_assert_lt(longest_argument(b), 1024u);
	batch__free(b);
	free(big);
	strike(&st);
}

/* ---- many threads ---- */

static uint64_t field_sum(struct stage *st, const char *what, enum schema_field f)
{
	const struct toy_key *k = key(st, what);
	uint64_t sum = 0;

	for (size_t i = 0; k && i < k->n; i++) {
		struct schema_row row = row_of(k->entries[i].name);

		sum += (uint64_t)row.value[f];
	}
	return sum;
}

Test(schema, threads_beyond_the_cap_merge_into_other_and_are_counted)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);
	uint64_t sum = 0;
	char what[32];

	raise_stage(&st);
	st.opts.max_thread_series = 8;
	start(&st);
	for (uint32_t i = 1; i <= 20; i++)
		add_thread(s, i, 1, "worker", 1000 * i, 0);
	write_base(&st, s);
	s->end_ms += 1000;
	write_base(&st, s);
	for (uint32_t i = 1; i <= 8; i++) {
		snprintf(what, sizeof(what), "t:%u:1s", i);
		sum += field_sum(&st, what, FIELD_HOLD);
	}
	cr_assert_eq(sum + field_sum(&st, "t:other:1s", FIELD_HOLD), 2 * s->total.hold_ns / 1000);
	cr_assert_eq(members(&st, "threads"), 9);
	cr_assert_neq(score(&st, "threads", "other|threads"), -1);
	cr_assert_str_eq(toy_redis__hget(&st.redis, key_name(&st, "meta"), "threads_merged"), "12");
	cr_assert_not_null(strstr(member(&st, "hold:1s", 0), "\"other\":"));
	strike(&st);
	proc_sample__free(s);
}

Test(schema, a_lasting_thread_takes_the_place_of_one_that_ended)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	st.opts.max_thread_series = 2;
	start(&st);
	add_thread(s, 1, 1, "main", 1000, 0);
	add_thread(s, 2, 1, "ended", 1000, 0)->exited = true;
	write_base(&st, s);
	write_all(&st, TIER_10S, s, NULL);
	write_all(&st, TIER_60S, s, NULL);
	s->end_ms += 1000;
	s->threads[1].key.tid = 3;
	strcpy(s->threads[1].name, "moment");
	write_base(&st, s); /* gone when first seen: takes no place */
	cr_assert_eq(members(&st, "t:2:1s"), 1);
	cr_assert_eq(members(&st, "t:3:1s"), 0);
	s->end_ms += 1000;
	s->threads[1].key.tid = 4;
	s->threads[1].exited = false;
	write_base(&st, s);
	cr_assert_eq(members(&st, "t:4:1s"), 1);
	cr_assert_eq(members(&st, "t:2:1s") + members(&st, "t:2:10s") + members(&st, "t:2:60s"), 0);
	cr_assert_eq(score(&st, "threads", "2|ended"), -1);
	strike(&st);
	proc_sample__free(s);
}

/* Where sanitizers check every access, a seventh has to do: it fills and turns over every table just as well. */
#ifdef __SANITIZE_ADDRESS__
#define BIRTH_ROUNDS 70
#else
#define BIRTH_ROUNDS 500
#endif

Test(schema, a_million_births_grow_neither_writer_nor_server)
{
	struct stage st;
	struct aggr_opts opts = {.interval_ns = SECOND, .max_threads = 512};
	struct aggr *a = aggr__new(&opts);
	struct proc_sample *s = sample_at(T0);
	size_t before = 0, now;

	raise_stage(&st);
	start(&st);
	for (uint32_t i = 0; i < 2000; i++)
		add_thread(s, 0, 0, "t", 1000 + i, 0);
	for (uint32_t round = 1; round <= BIRTH_ROUNDS; round++) {
		struct batch *b = batch__new();

		s->end_ms += 1000;
		for (uint32_t i = 0; i < 2000; i++) {
			s->threads[i].key = (struct thread_key){.tid = 2 + round % 16 * 2000 + i, .start_ticks = round};
			s->threads[i].exited = i % 50 != 0 || round % 2;
		}
		aggr__add(a, s, NULL, NULL);
		schema_writer__sample(st.w, TIER_BASE, s, aggr__totals(a), b);
		if (round % 60 == 0)
			schema_writer__sample(st.w, TIER_60S, s, NULL, b);
		cr_assert_eq(batch__error(b), 0);
		if (round > BIRTH_ROUNDS * 4 / 5)
			toy_redis__apply(&st.redis, b);
		batch__free(b);
		now = mallinfo2().uordblks + mallinfo2().hblkhd;
		if (round == BIRTH_ROUNDS / 5)
			before = now;
		if (round > BIRTH_ROUNDS / 5 && round <= BIRTH_ROUNDS * 4 / 5)
			cr_assert_lt(now, before + 3 * 1024 * 1024, "%zu after %u", now - before, round);
	}
	cr_assert_leq(members(&st, "threads"), 257);
	cr_assert_leq(members(&st, "top:hold"), 256);
	cr_assert_lt(st.redis.n, 3 * 257 + 40);
	proc_sample__free(s);
	aggr__free(a);
	strike(&st);
}

/* ---- wide rows ---- */

Test(schema, wide_rows_have_estimates_where_nothing_better_is_known)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);
	struct metrics *m;

	raise_stage(&st);
	start(&st);
	add_thread(s, 100, 1, "MainThread", 0, 0);
	m = &s->threads[0].m;
	m->known = s->total.known = KNOWN_HOLD_EST | KNOWN_WAIT_EST;
	m->looks = s->total.looks = 1000;
	m->hold_est.ns = s->total.hold_est.ns = 240000000;
	m->wait_ns = s->total.wait_ns = 400000000;
	s->wait_unseen_ns = s->observed_ns / 5;
	write_base(&st, s);
	cr_assert_str_eq(member(&st, "hold:1s", 0), "{\"t\":1795339305000,\"MainThread (100)\":0.24}");
	cr_assert_str_eq(member(&st, "wait:1s", 0), "{\"t\":1795339305000,\"MainThread (100)\":0.5}",
			 "of the time that looks tell of");
	strike(&st);
	proc_sample__free(s);
}

Test(schema, wide_rows_show_the_busiest_and_the_sum_of_the_rest)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	st.opts.max_wide = 2;
	start(&st);
	add_thread(s, 100, 1, "MainThread", 240000000, 0);
	add_thread(s, 101, 1, "", 500000000, 0);
	add_thread(s, 102, 1, "c", 4000000, 0);
	add_thread(s, 103, 1, "d", 6000000, 0);
	write_base(&st, s);
	cr_assert_str_eq(member(&st, "hold:1s", 0),
			 "{\"t\":1795339305000,\"thread (101)\":0.5,\"MainThread (100)\":0.24,\"other\":0.01}");
	cr_assert_eq(members(&st, "wait:1s"), 0);
	made_up__keep_threads(s, 1);
	s->end_ms += 1000;
	write_base(&st, s);
	cr_assert_str_eq(member(&st, "hold:1s", 1),
			 "{\"t\":1795339306000,\"MainThread (100)\":0.24,\"thread (101)\":0,\"other\":0}");
	s->end_ms += 1000;
	write_base(&st, s);
	cr_assert_str_eq(member(&st, "hold:1s", 2), "{\"t\":1795339307000,\"MainThread (100)\":0.24}");
	strike(&st);
	proc_sample__free(s);
}

Test(schema, shares_of_wide_rows_have_three_digits)
{
	static const uint64_t hold_ns[] = {999960000, 333333333, 65430000, 31260000, 12345, 7};
	struct proc_sample *s = sample_at(T0);
	struct stage st;

	raise_stage(&st);
	start(&st);
	for (uint32_t i = 0; i < 6; i++)
		add_thread(s, 100 + i, 1, "w", hold_ns[i], 0);
	write_base(&st, s);
	cr_assert_str_eq(member(&st, "hold:1s", 0),
			 "{\"t\":1795339305000,\"w (100)\":1,\"w (101)\":0.333,\"w (102)\":0.0654,"
			 "\"w (103)\":0.0313,\"w (104)\":1.23e-5,\"w (105)\":7e-9}");
	strike(&st);
	proc_sample__free(s);
}

Test(schema, light_mode_has_no_hold_rows_boards_or_fields)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	add_thread(s, 1, 1, "a", 1000000, 2000000);
	write_base(&st, s);
	cr_assert_eq(members(&st, "now:hold"), 1);
	cr_assert_not_null(toy_redis__hget(&st.redis, key_name(&st, "last"), "util"));
	s->end_ms += 1000;
	s->mode = GIL_MODE_LIGHT;
	s->blame_sampled = true;
	s->total.known = KNOWN_WAIT;
	s->threads[0].m.known = KNOWN_WAIT;
	write_base(&st, s);
	cr_assert_eq(members(&st, "hold:1s"), 1);
	cr_assert_eq(members(&st, "wait:1s"), 2);
	cr_assert_eq(members(&st, "now:hold"), 0);
	cr_assert_eq(members(&st, "now:wait"), 1);
	cr_assert_null(toy_redis__hget(&st.redis, key_name(&st, "last"), "util"));
	cr_assert_str_eq(toy_redis__hget(&st.redis, key_name(&st, "meta"), "mode"), "light");
	cr_assert_not_null(strstr(member(&st, "blame:1s", 1), ",\"sampled\":true}"));
	strike(&st);
	proc_sample__free(s);
}

/* ---- blame ---- */

/* Microseconds of all parts of victim `thr` in a blame row. */
static json_int_t parts_of(const json_t *row, const char *thr)
{
	static const char *const named[] = {"rest", "handover", "unknown"};
	const json_t *pairs = json_object_get(row, "b");
	json_int_t sum = 0;

	for (size_t i = 0; i < json_array_size(pairs); i++)
		if (strcmp(json_string_value(json_array_get(json_array_get(pairs, i), 0)), thr) == 0)
			sum += json_integer_value(json_array_get(json_array_get(pairs, i), 2));
	for (size_t i = 0; i < 3; i++)
		sum += json_integer_value(json_object_get(json_object_get(row, named[i]), thr));
	return sum;
}

/* 20 threads, each waiting for all others for odd numbers of nanoseconds. */
static struct proc_sample *tangle(void)
{
	struct proc_sample *s = sample_at(T0);
	uint64_t ns = 1;

	for (uint32_t i = 0; i < 20; i++)
		add_thread(s, 10 + i, 1, "t", 1000, 0);
	for (uint32_t v = 0; v < 20; v++) {
		struct metrics *m = &s->threads[v].m;

		m->handover_ns = 999 * v;
		m->unknown_ns = v == 3 ? 123456 : 0;
		m->wait_ns = m->handover_ns + m->unknown_ns;
		for (uint32_t h = 0; h < 20; h++) {
			ns = (ns * 7919 + 104729) % 3000017;
			*proc_sample__add_blame(s) = (struct blame_cell){v, h, ns};
			m->wait_ns += ns;
		}
		s->total.wait_ns += m->wait_ns;
	}
	return s;
}

static void check_blame_sums(struct stage *st, const struct proc_sample *s)
{
	json_t *row = json_loads(member(st, "blame:1s", 0), 0, NULL);
	char thr[32];

	cr_assert_not_null(row);
	for (size_t i = 0; i < s->threads_n; i++) {
		snprintf(thr, sizeof(thr), "%u", s->threads[i].key.tid);
		cr_assert_eq(parts_of(row, thr), (json_int_t)(s->threads[i].m.wait_ns / 1000), "victim %s", thr);
	}
	cr_assert_eq(json_array_size(json_object_get(row, "b")), 64);
	json_decref(row);
}

Test(schema, the_parts_of_a_wait_add_up_to_the_microsecond)
{
	struct stage st;
	struct proc_sample *s = tangle();

	raise_stage(&st);
	start(&st);
	write_base(&st, s);
	check_blame_sums(&st, s);
	cr_assert_not_null(strstr(member(&st, "blame:1s", 0), "\"unknown\":{\"13\":123}"));
	strike(&st);
	proc_sample__free(s);
}

/* What the row says of one pair; -1: nothing. */
static json_int_t pair_of(const json_t *row, const char *victim, const char *holder)
{
	const json_t *pair;
	size_t i;

	json_array_foreach(json_object_get(row, "b"), i, pair)
		if (!strcmp(json_string_value(json_array_get(pair, 0)), victim) &&
		    !strcmp(json_string_value(json_array_get(pair, 1)), holder))
			return json_integer_value(json_array_get(pair, 2));
	return -1;
}

/* By the names that threads of tangle() have in keys when the first `own` of them have series. */
static json_int_t charged(const struct proc_sample *s, uint32_t own, uint32_t victim, uint32_t holder)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < s->blame_n; i++) {
		uint32_t v = s->blame[i].victim < own ? s->blame[i].victim : own;
		uint32_t h = s->blame[i].holder < own ? s->blame[i].holder : own;

		ns += v == victim && h == holder ? s->blame[i].ns : 0;
	}
	return (json_int_t)(ns / 1000);
}

static void check_pairs(const json_t *row, const struct proc_sample *s, uint32_t own)
{
	char victim[32], holder[32];

	for (uint32_t v = 0; v <= own; v++)
		for (uint32_t h = 0; h <= own; h++) {
			snprintf(victim, sizeof(victim), v < own ? "%u" : "other", 10 + v);
			snprintf(holder, sizeof(holder), h < own ? "%u" : "other", 10 + h);
			if (charged(s, own, v, h) > 0)
				cr_expect_eq(pair_of(row, victim, holder), charged(s, own, v, h), "%s %s", victim, holder);
		}
}

Test(schema, blame_of_merged_threads_stays_whole)
{
	struct stage st;
	struct proc_sample *s = tangle();
	json_int_t sum = 0, wait = 0;
	json_t *row;
	char thr[32];

	raise_stage(&st);
	st.opts.max_thread_series = 5;
	start(&st);
	write_base(&st, s);
	row = json_loads(member(&st, "blame:1s", 0), 0, NULL);
	for (uint32_t i = 0; i < 5; i++) {
		snprintf(thr, sizeof(thr), "%u", 10 + i);
		cr_assert_eq(parts_of(row, thr), (json_int_t)(s->threads[i].m.wait_ns / 1000));
	}
	for (uint32_t i = 5; i < 20; i++)
		wait += (json_int_t)s->threads[i].m.wait_ns;
	sum = parts_of(row, "other");
	cr_assert_eq(sum, wait / 1000);
	check_pairs(row, s, 5);
	json_decref(row);
	strike(&st);
	proc_sample__free(s);
}

Test(schema, blame_member_to_the_letter)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	add_thread(s, 10, 1, "a", 0, 5002999)->m.handover_ns = 1500;
	add_thread(s, 11, 1, "b", 1000, 0);
	*proc_sample__add_thread(s) = (struct thread_sample){
		.key = {.start_ticks = PSEUDO_UNKNOWN}, .m = {.known = KNOWN_ALL}};
	*proc_sample__add_blame(s) = (struct blame_cell){0, 1, 4001499};
	*proc_sample__add_blame(s) = (struct blame_cell){0, 2, 1000000};
	write_base(&st, s);
	cr_assert_str_eq(member(&st, "blame:1s", 0),
			 "{\"t\":1795339305000,\"d\":1000000,\"b\":[[\"10\",\"11\",4001],[\"10\",\"unknown\",1000]],"
			 "\"rest\":{},\"handover\":{\"10\":1},\"unknown\":{}}");
	s->total.wait_ns = 0;
	made_up__keep_threads(s, 0);
	s->blame_n = 0;
	for (int i = 1; i < 4; i++) {
		s->end_ms += 1000;
		write_base(&st, s);
	}
	cr_assert_eq(members(&st, "blame:1s"), 2);
	cr_assert_str_eq(member(&st, "blame:1s", 1),
			 "{\"t\":1795339306000,\"d\":1000000,\"b\":[],\"rest\":{},\"handover\":{},\"unknown\":{}}");
	strike(&st);
	proc_sample__free(s);
}

/* ---- boards ---- */

/* The score of a member, 0 if it is not there. */
static uint64_t on_board(struct stage *st, const char *what, const char *name)
{
	const struct toy_key *board = toy_redis__key(&st->redis, key_name(st, what));
	const struct toy_entry *entry = board ? toy_key__find(board, name) : NULL;

	return entry ? (uint64_t)entry->score : 0;
}

Test(schema, who_left_vanishes_from_the_last_minute_and_stays_in_the_totals)
{
	struct stage st;
	struct proc_sample *both = sample_at(T0), *one = sample_at(T0 + 60000);

	raise_stage(&st);
	start(&st);
	add_thread(both, 1, 1, "a", 1000000, 2000000);
	add_thread(both, 2, 1, "b", 3000000, 0);
	*proc_sample__add_blame(both) = (struct blame_cell){0, 1, 2000000};
	add_thread(one, 1, 1, "a", 7000000, 0);
	write_base(&st, both);
	cr_assert_eq(score(&st, "now:hold", "2 b"), 3000);
	cr_assert_eq(score(&st, "now:blame", "2 b"), 2000);
	write_all(&st, TIER_BASE, one, both);
	cr_assert_eq(members(&st, "now:hold"), 1);
	cr_assert_eq(score(&st, "now:hold", "1 a"), 7000);
	cr_assert_eq(members(&st, "now:wait") + members(&st, "now:blame"), 0);
	cr_assert_eq(score(&st, "top:hold", "2 b"), 3000);
	strike(&st);
	proc_sample__free(both);
	proc_sample__free(one);
}

/* Most seconds change little of a board: what is written must come to the same as all of it. */
Test(schema, boards_are_right_after_every_second)
{
	static uint64_t held[200][5];
	struct stage st;
	struct aggr *a = aggr__new(&(struct aggr_opts){.interval_ns = SECOND});

	raise_stage(&st);
	start(&st);
	srandom(4242);
	for (int second = 1; second < 200; second++) {
		struct proc_sample *s = sample_at(T0 - T0 % 60000 + 1000 * second);

		for (uint32_t i = 0; i < 5; i++) {
			if (random() % 20 >= 1 + i)
				continue;
			held[second][i] = 1000 * (uint64_t)(1 + random() % 1000);
			add_thread(s, 10 + i, 1, "t", held[second][i], 0);
		}
		aggr__add(a, s, NULL, NULL);
		write_all(&st, TIER_BASE, s, aggr__totals(a));
		for (uint32_t i = 0; i < 5; i++) {
			uint64_t minute = 0, total = 0;
			char name[16];

			for (int k = 1; k <= second; k++) {
				total += held[k][i];
				minute += k > (second + 9) / 10 * 10 - 60 ? held[k][i] : 0;
			}
			snprintf(name, sizeof(name), "%u t", 10 + i);
			cr_assert_eq(on_board(&st, "now:hold", name), minute / 1000, "second %d", second);
			cr_assert_eq(on_board(&st, "top:hold", name), total / 1000, "second %d", second);
		}
		proc_sample__free(s);
	}
	aggr__free(a);
	strike(&st);
}

Test(schema, a_board_that_was_empty_gets_its_time_to_live)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	write_base(&st, s);
	s->end_ms += 1000;
	add_thread(s, 1, 1, "a", 1000000, 0);
	write_base(&st, s);
	cr_assert_eq(key(&st, "now:hold")->ttl_s, 120);
	cr_assert_gt(key(&st, "top:hold")->ttl_s, 604800);
	strike(&st);
	proc_sample__free(s);
}

Test(schema, boards_count_a_thread_once_over_its_gils)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	add_thread(s, 1, 1, "a", 1000000, 0);
	add_thread(s, 1, 1, "a", 2000000, 0)->gil = 1;
	for (uint32_t g = 0; g < 2; g++)
		add_gil(s, g, &s->threads[g].m);
	write_base(&st, s);
	cr_assert_eq(members(&st, "now:hold"), 1);
	cr_assert_eq(score(&st, "now:hold", "1 a"), 3000);
	cr_assert_eq(members(&st, "t:1:1s"), 2);
	cr_assert_not_null(strstr(member(&st, "t:1:1s", 1), ",\"g\":1,\"ho\":["));
	cr_assert_eq(members(&st, "g:0:1s") + members(&st, "g:1:1s"), 2);
	cr_assert_not_null(strstr(member(&st, "p:1s", 0), "\"gils\":2"));
	strike(&st);
	proc_sample__free(s);
}

Test(schema, meta_says_which_gils_have_series)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);
	const char *meta;

	raise_stage(&st);
	start(&st);
	add_gil(s, 0, &s->total);
	write_base(&st, s);
	meta = key_name(&st, "meta");
	cr_expect_null(toy_redis__hget(&st.redis, meta, "gils"));
	cr_expect_str_eq(toy_redis__hget(&st.redis, meta, "gil"), "gil");
	add_gil(s, 12, &s->total);
	s->end_ms += 1000;
	write_base(&st, s);
	meta = key_name(&st, "meta");
	cr_expect_str_eq(toy_redis__hget(&st.redis, meta, "gils"), "0,12");
	cr_expect_str_eq(toy_redis__hget(&st.redis, meta, "gil"), "per-interpreter");
	cr_expect_eq(members(&st, "g:12:1s"), 1);
	/* Its interpreter has ended: there is one again, but the series stay. */
	s->gils_n = 1;
	s->end_ms += 1000;
	write_base(&st, s);
	meta = key_name(&st, "meta");
	cr_expect_str_eq(toy_redis__hget(&st.redis, meta, "gil"), "per-interpreter");
	strike(&st);
	proc_sample__free(s);
}

static size_t gil_keys(const struct stage *st)
{
	size_t n = 0;

	for (size_t i = 0; i < st->redis.n; i++)
		n += strstr(st->redis.keys[i].name, "}:g:") != NULL;
	return n;
}

/* A program that makes interpreters for ever: the series of those long gone make room, what finds none is counted. */
Test(schema, series_of_gils_are_bounded)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	start(&st);
	add_gil(s, 0, &s->total);
	add_gil(s, 0, &s->total);
	for (uint32_t g = 1; g <= 70; g++) {
		s->end_ms += 1000;
		s->gils[1].gil = g;
		write_base(&st, s);
	}
	cr_expect_eq(gil_keys(&st), 64);
	cr_expect_not_null(key(&st, "g:63:1s"));
	cr_expect_null(key(&st, "g:64:1s"));
	cr_expect_str_eq(toy_redis__hget(&st.redis, key_name(&st, "meta"), "gils_left_out"), "7");
	for (uint32_t g = 71; g <= 300; g++) {
		s->end_ms += 10000;
		s->gils[1].gil = g;
		write_base(&st, s);
	}
	cr_expect_eq(gil_keys(&st), 64);
	cr_expect_null(key(&st, "g:1:1s"));
	cr_expect_not_null(key(&st, "g:0:1s"));
	cr_expect_not_null(key(&st, "g:300:1s"));
	strike(&st);
	proc_sample__free(s);
}

Test(schema, the_totals_board_keeps_the_largest)
{
	struct stage st;
	struct proc_sample *s = sample_at(T0);

	raise_stage(&st);
	st.opts.max_board = 3;
	start(&st);
	for (uint32_t i = 1; i <= 3; i++)
		add_thread(s, i, 1, "x", 1000000 * i, 0);
	write_base(&st, s);
	s->end_ms += 1000;
	add_thread(s, 9, 1, "x", 9000000, 0);
	write_base(&st, s);
	cr_assert_eq(members(&st, "top:hold"), 3);
	cr_assert_eq(score(&st, "top:hold", "9 x"), 9000);
	cr_assert_eq(score(&st, "top:hold", "1 x"), -1);
	strike(&st);
	proc_sample__free(s);
}

/* ---- meta, index, retention ---- */

Test(schema, meta_says_which_container_it_is)
{
	struct batch *b = batch__new(), *again = batch__new();
	struct stage st;
	const char *meta;

	raise_stage(&st);
	start(&st);
	schema_writer__announce(st.w, b);
	toy_redis__apply(&st.redis, b);
	meta = key_name(&st, "meta");
	cr_expect_null(toy_redis__hget(&st.redis, meta, "pid_inside"), "it is in none");
	cr_expect_null(toy_redis__hget(&st.redis, meta, "container"));
	cr_expect_null(toy_redis__hget(&st.redis, meta, "cgroup"));
	schema_writer__free(st.w);
	st.who.pid_inside = 7;
	st.who.container = "we\033b";
	st.who.cgroup = "/lxc/we\033b";
	start(&st);
	schema_writer__announce(st.w, again);
	toy_redis__apply(&st.redis, again);
	cr_expect_str_eq(toy_redis__hget(&st.redis, meta, "pid_inside"), "7");
	cr_expect_str_eq(toy_redis__hget(&st.redis, meta, "container"), "we?b");
	cr_expect_str_eq(toy_redis__hget(&st.redis, meta, "cgroup"), "/lxc/we?b");
	batch__free(b);
	batch__free(again);
	strike(&st);
}

Test(schema, meta_says_who_and_what_was_lost)
{
	struct stage st;
	struct proc_sample *s = golden_sample();
	struct batch *b = batch__new();
	const char *meta;

	raise_stage(&st);
	start(&st);
	schema_writer__announce(st.w, b);
	toy_redis__apply(&st.redis, b);
	batch__free(b);
	s->lost[GIL_LOSS_RING_LAPPED] = 3;
	write_base(&st, s);
	s->end_ms += 1000;
	schema_writer__set_sink_losses(st.w, &(struct sink_losses){.points = 11, .batches = 2, .refused = 1});
	write_base(&st, s);
	cr_assert_null(toy_redis__hget(&st.redis, key_name(&st, "meta"), "lost_sink_keys"), "not known is not 0");
	s->end_ms += 1000;
	schema_writer__set_sink_losses(st.w, &(struct sink_losses){.points = 11, .keys = 3, .keys_known = true});
	write_base(&st, s);
	meta = key_name(&st, "meta");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "label"), "python3 app.py");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "start_ticks"), "8812");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "pidns"), "4026531836");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "mode"), "full");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "price_ns"), "912.3");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "keep_proc_s"), "3600,86400,604800");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "keep_thread_s"), "3600,21600,86400");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "last_ms"), "1795339307000");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "lost_ring_lapped"), "9");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "lost_no_slot"), "0");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "lost_sink_points"), "11");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "lost_sink_keys"), "3");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "schema"), "1");
	cr_assert_str_eq(toy_redis__hget(&st.redis, "gil:schema", "version"), "1");
	cr_assert_null(toy_redis__hget(&st.redis, meta, "notes"));
	strike(&st);
	proc_sample__free(s);
}

Test(schema, what_somebody_deleted_is_said_again_within_a_minute)
{
	struct stage st;
	struct proc_sample *s = golden_sample();
	struct batch *b = batch__new();
	const char *meta;

	raise_stage(&st);
	start(&st);
	schema_writer__announce(st.w, b);
	batch__free(b);
	write_base(&st, s);
	toy_redis__free(&st.redis);
	st.redis = (struct toy_redis){0};
	s->end_ms += 61000;
	write_base(&st, s);
	meta = key_name(&st, "meta");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "label"), "python3 app.py");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "boot_id"),
			 "5a2c0d1e-0000-4000-8000-000000000001");
	cr_assert_str_eq(toy_redis__hget(&st.redis, meta, "mode"), "full");
	cr_assert_str_eq(toy_redis__hget(&st.redis, "gil:schema", "version"), "1");
	strike(&st);
	proc_sample__free(s);
}

Test(schema, meta_says_what_the_way_of_observing_cannot_see)
{
	struct stage st;
	struct batch *b = batch__new();

	raise_stage(&st);
	st.who.notes = "no light\x1b[31m mode";
	start(&st);
	schema_writer__announce(st.w, b);
	toy_redis__apply(&st.redis, b);
	batch__free(b);
	cr_assert_str_eq(toy_redis__hget(&st.redis, key_name(&st, "meta"), "method"), "call sites");
	cr_assert_null(strchr(toy_redis__hget(&st.redis, key_name(&st, "meta"), "notes"), 0x1b));
	cr_assert_not_null(strstr(toy_redis__hget(&st.redis, key_name(&st, "meta"), "notes"), "no light"));
	strike(&st);
}

/* What readers elsewhere compute with must be what the writer did. */
Test(schema, the_bucket_formula_is_the_one_that_is_announced)
{
	struct stage st;
	struct batch *b = batch__new();

	raise_stage(&st);
	start(&st);
	schema_writer__announce(st.w, b);
	toy_redis__apply(&st.redis, b);
	cr_assert_str_eq(toy_redis__hget(&st.redis, "gil:schema", "hist_buckets"), "132");
	cr_assert_str_eq(toy_redis__hget(&st.redis, "gil:schema", "hist_floor_ns"),
			 "bucket b: o = b >> 2, s = b & 3; o = 0: s * 128, else (4 + s) * 2^(o + 6)");
	for (uint32_t i = 0; i < HIST_COARSE_BUCKETS; i++) {
		uint64_t o = i >> 2, s = i & 3, floor = o == 0 ? s * 128 : (4 + s) << (o + 6);
		struct hist fine = {0};
		struct hist_coarse h;

		hist__count(&fine, floor);
		hist_coarse__from(&h, &fine);
		hist__clear(&fine);
		cr_assert_eq(h.count[i], 1, "bucket %u does not begin at %lu ns", i, floor);
		cr_assert(floor == 0 || gil_hist_bucket(floor - 1) / 2 == i - 1, "nor end the one before");
	}
	batch__free(b);
	strike(&st);
}

/* Two seconds of everything that there is a key for, in all tiers. */
static void write_of_everything(struct stage *st)
{
	for (int i = 0; i < 2; i++) {
		struct proc_sample *s = golden_sample();
		struct code_cell cell = {.times = 1, .hold_ns = 7000000, .blame_ns = 9000000};
		struct blame_cell *blame;

		s->end_ms += 1000 * i;
		add_thread(s, 4251, 9001, "second", 1000000, 2000000);
		blame = proc_sample__add_blame(s);
		*blame = (struct blame_cell){.victim = 1, .holder = 0, .ns = 1000000};
		code_cell__set_place(&cell, "f", "f.py", 1, 1);
		s->code_known = true;
		cr_assert_eq(proc_sample__add_code(s, &cell, 8), 0);
		for (uint32_t gil = 0; gil < 2; gil++)
			*proc_sample__add_gil(s) = (struct gil_sample){.gil = gil, .addr = 1, .m = {.known = KNOWN_ALL}};
		for (int tier = TIER_10S; tier < TIER_COUNT; tier++)
			write_all(st, (enum tier)tier, s, NULL);
		write_base(st, s);
		proc_sample__free(s);
	}
}

Test(schema, the_last_batch_leaves_no_key_without_a_ttl_even_if_the_server_was_emptied)
{
	struct batch *b = batch__new();
	struct stage st;
	size_t n;

	raise_stage(&st);
	start(&st);
	write_of_everything(&st);
	n = st.redis.n;
	cr_assert_gt(n, 25, "%zu keys", n);
	for (size_t i = 0; i < n; i++)
		st.redis.keys[i].ttl_s = 0; /* as if they had just been made by rows that carried none */
	schema_writer__end(st.w, T0, "exit", b);
	toy_redis__apply(&st.redis, b);
	cr_assert_eq(st.redis.n, n);
	for (size_t i = 0; i < n; i++)
		if (strchr(st.redis.keys[i].name, '{') && !strstr(st.redis.keys[i].name, "}:last"))
			cr_expect_gt(st.redis.keys[i].ttl_s, 0, "%s", st.redis.keys[i].name);
	cr_expect_eq(key(&st, "now:hold")->ttl_s, 120);
	batch__free(b);
	strike(&st);
}

Test(schema, the_end_stands_in_meta_until_the_process_is_observed_again)
{
	struct stage st;
	struct batch *b = batch__new(), *again = batch__new();

	raise_stage(&st);
	start(&st);
	schema_writer__end(st.w, T0, "exit", b);
	schema_writer__announce(st.w, b);
	toy_redis__apply(&st.redis, b);
	cr_assert_str_eq(toy_redis__hget(&st.redis, key_name(&st, "meta"), "ended_ms"), "1795339305000");
	cr_assert_str_eq(toy_redis__hget(&st.redis, key_name(&st, "meta"), "end"), "exit");
	schema_writer__free(st.w);
	start(&st);
	schema_writer__announce(st.w, again);
	toy_redis__apply(&st.redis, again);
	cr_assert_null(toy_redis__hget(&st.redis, key_name(&st, "meta"), "ended_ms"));
	batch__free(b);
	batch__free(again);
	strike(&st);
}

Test(schema, pickers_find_the_process)
{
	struct stage st;
	struct proc_sample *s = golden_sample();
	const struct toy_key *k;
	char expected[200];

	raise_stage(&st);
	st.who.label = "a|b\nc";
	start(&st);
	write_base(&st, s);
	k = toy_redis__key(&st.redis, "gil:procs");
	cr_assert_str_eq(k->entries[0].name, schema_writer__id(st.w));
	cr_assert_eq(k->entries[0].score, T0);
	snprintf(expected, sizeof(expected), "%s|a/b?c (web1:4242)", schema_writer__id(st.w));
	cr_assert_str_eq(toy_redis__key(&st.redis, "gil:menu")->entries[0].name, expected);
	strike(&st);
	proc_sample__free(s);
}

Test(schema, the_row_for_all_processes_names_its_own)
{
	struct stage st;
	struct proc_sample *s = golden_sample();
	char expected[512];

	raise_stage(&st);
	start(&st);
	write_all(&st, TIER_10S, s, NULL);
	snprintf(expected, sizeof(expected),
		 "{\"t\":1795339305000,\"d\":1000000,\"id\":\"%s\",\"label\":\"python3 app.py\",\"util\":0.8123,"
		 "\"waiters\":2.4,\"wait_p99\":19922,\"wait_max\":20100,\"hold_p99\":4980,\"hold_max\":5001,"
		 "\"n\":421,\"c\":398,\"cpu\":990000,\"lost\":0,\"cov\":1}", schema_writer__id(st.w));
	cr_assert_str_eq(toy_redis__key(&st.redis, "gil:all:10s")->entries[0].name, expected);
	strike(&st);
	proc_sample__free(s);
}

Test(schema, what_is_older_than_its_retention_is_trimmed)
{
	struct stage st;

	raise_stage(&st);
	st.opts.retention.proc_s[TIER_BASE] = 100;
	st.opts.retention.thread_s[TIER_BASE] = 100;
	start(&st);
	for (int i = 0; i < 400; i++) {
		struct proc_sample *s = sample_at(T0 + 1000 * i);

		add_thread(s, 1, 1, "a", 1000000, 5000000);
		write_base(&st, s);
		proc_sample__free(s);
		cr_assert_leq(members(&st, "p:1s"), 161);
		cr_assert_leq(members(&st, "t:1:1s"), 161);
		cr_assert_leq(members(&st, "wait:1s"), 161);
	}
	cr_assert_geq(members(&st, "p:1s"), 100);
	strike(&st);
}

Test(schema, threads_are_kept_shorter_rather_than_beyond_the_limit_and_meta_says_so)
{
	static const uint32_t hour_s[TIER_COUNT] = {3600, 3600, 3600};
	uint32_t kept_s[TIER_COUNT] = {0};
	struct stage st;
	char in_meta[64];

	raise_stage(&st);
	st.opts.retention = (struct schema_retention){.max_bytes = 900000};
	memcpy(st.opts.retention.proc_s, hour_s, sizeof(hour_s));
	memcpy(st.opts.retention.thread_s, hour_s, sizeof(hour_s));
	start(&st);
	for (int i = 0; i < 900; i++) {
		struct proc_sample *s = sample_at(T0 + 1000 * i);

		add_thread(s, 1, 1, "a", 1000000, 5000000);
		write_base(&st, s);
		proc_sample__free(s);
		if (i == 60)
			cr_assert_not(schema_writer__kept_shorter(st.w, kept_s), "this much fits");
	}
	cr_assert(schema_writer__kept_shorter(st.w, kept_s));
	cr_expect_not(schema_writer__kept_shorter(st.w, kept_s), "once is enough");
	cr_expect_lt(kept_s[TIER_BASE], 800);
	cr_expect_gt(kept_s[TIER_BASE], 100);
	cr_expect_leq(members(&st, "t:1:1s"), kept_s[TIER_BASE] + 121, "%u", kept_s[TIER_BASE]);
	cr_expect_geq(members(&st, "t:1:1s"), kept_s[TIER_BASE]);
	cr_expect_eq(members(&st, "p:1s"), 900, "the process itself is kept as long as asked for");
	snprintf(in_meta, sizeof(in_meta), "%u,%u,%u", kept_s[TIER_BASE], kept_s[TIER_10S], kept_s[TIER_60S]);
	cr_expect_str_eq(toy_redis__hget(&st.redis, key_name(&st, "meta"), "keep_thread_s"), in_meta);
	strike(&st);
}

Test(schema, after_an_announcement_every_ttl_is_set_again)
{
	struct stage st;
	struct proc_sample *s = golden_sample();
	struct batch *b = batch__new();

	raise_stage(&st);
	start(&st);
	write_base(&st, s);
	toy_redis__free(&st.redis); /* the server came back empty */
	schema_writer__announce(st.w, b);
	toy_redis__apply(&st.redis, b);
	batch__free(b);
	s->end_ms += 1000;
	write_base(&st, s);
	for (size_t i = 0; i < st.redis.n; i++)
		cr_assert_gt(st.redis.keys[i].ttl_s, 0, "%s lives for ever", st.redis.keys[i].name);
	cr_assert_eq(members(&st, "top:hold"), 1);
	strike(&st);
	proc_sample__free(s);
}

Test(schema, prefix_and_keys_are_spelt_as_documented)
{
	struct stage st;
	struct proc_sample *s = golden_sample();
	char buf[64];

	raise_stage(&st);
	st.opts.prefix = "x:";
	start(&st);
	write_base(&st, s);
	for (size_t i = 0; i < st.redis.n; i++)
		cr_assert(strncmp(st.redis.keys[i].name, "x:", 2) == 0, "%s", st.redis.keys[i].name);
	cr_assert_str_eq(schema__proc_key(buf, sizeof(buf), NULL, "h:1:00", "p:1s"), "gil:{h:1:00}:p:1s");
	cr_assert_str_eq(schema__global_key(buf, sizeof(buf), "x:", "procs"), "x:procs");
	strike(&st);
	proc_sample__free(s);
}
