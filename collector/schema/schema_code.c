/* SPDX-License-Identifier: GPL-2.0-only */
/* See schema_code.h. */
#include "schema_code.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/gil_off.h"
#include "collector/base/json_text.h"
#include "collector/base/text.h"
#include "collector/series/long_event.h"
#include "schema_member.h"
#include "schema_writer.h"

#define PLACES_PER_ROW 24
#define LONG_KEPT 1000        /* newest members of `long` */
#define MAX_PLACES 4096       /* kept apart when read; more is refused */
#define MAX_US 1e15

/* ---- writing ---- */

static void put_us(struct json_text *j, uint64_t ns)
{
	json_text__integer(j, (long long)(ns / 1000));
}

static void put_off(struct json_text *j, const struct gil_off *off)
{
	json_text__open(j, '[');
	for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++)
		put_us(j, off->ns[kind]);
	json_text__close(j, ']');
}

/* What most places do not have: left out behind the last that there is. */
static void put_more(const struct code_cell *c, struct json_text *j)
{
	bool off = gil_off_sum(&c->hold_off) + gil_off_sum(&c->blame_off) > 0 || c->over_ns >= 1000;

	if (c->native[0] || c->hold_var > 0 || c->caller[0] || off)
		json_text__string(j, c->native);
	if (c->hold_var > 0 || c->caller[0] || off) {
		json_text__integer(j, (long long)c->ticks);
		put_us(j, (uint64_t)sqrt(c->hold_var));
	}
	if (c->caller[0] || off)
		json_text__string(j, c->caller);
	if (!off)
		return;
	put_off(j, &c->hold_off);
	put_off(j, &c->blame_off);
	if (c->over_ns >= 1000)
		put_us(j, c->over_ns);
}

static void put_place(const struct schema_writer *w, const struct code_cell *c, struct json_text *j)
{
	json_text__open(j, '[');
	json_text__string(j, w->series.places[w->place[c->thread]].thr);
	json_text__string(j, c->function);
	json_text__string(j, c->file);
	json_text__integer(j, c->line);
	put_us(j, c->hold_ns);
	put_us(j, c->blame_ns);
	put_us(j, c->wait_ns);
	put_more(c, j);
	json_text__close(j, ']');
}

/* The worst first; what has no room goes to the rest. */
static int put_places(const struct schema_writer *w, const struct proc_sample *s, struct code_rest *rest,
		      struct json_text *j)
{
	const struct code_cell **sorted = proc_sample__sorted_code(s);

	json_text__name(j, "c");
	json_text__open(j, '[');
	for (size_t i = 0; sorted && i < s->code_n; i++) {
		if (i < PLACES_PER_ROW) {
			put_place(w, sorted[i], j);
			continue;
		}
		rest->hold_ns += sorted[i]->hold_ns;
		rest->blame_ns += sorted[i]->blame_ns;
		rest->wait_ns += sorted[i]->wait_ns;
	}
	json_text__close(j, ']');
	free(sorted);
	return sorted ? 0 : -ENOMEM;
}

static void put_rest(const struct code_rest *rest, struct json_text *j)
{
	json_text__name(j, "rest");
	json_text__open(j, '[');
	put_us(j, rest->hold_ns);
	put_us(j, rest->blame_ns);
	put_us(j, rest->wait_ns);
	json_text__close(j, ']');
}

int schema_write__code(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	struct code_rest rest = s->code_rest;
	struct json_text j = {0};
	int err;

	if (!s->code_n)
		return 0;
	json_text__open(&j, '{');
	json_text__name(&j, "t");
	json_text__integer(&j, s->end_ms);
	json_text__name(&j, "d");
	put_us(&j, s->len_ns);
	if (metrics__is_estimate(&s->total)) {
		json_text__name(&j, "est");
		json_text__true(&j);
	}
	err = put_places(w, s, &rest, &j);
	put_rest(&rest, &j);
	json_text__close(&j, '}');
	return schema_put__sample(w, b, "code", KEEP_THREADS, tier, s->end_ms, json_text__take(&j), &w->codes[tier],
				  false) ?: err;
}

static void add_stack(struct schema_event *told, const struct stack_text *stack, const char *native)
{
	schema_event__text(told, "function", stack->leaf.function);
	schema_event__text(told, "file", stack->leaf.file);
	schema_event__number(told, "line", stack->leaf.line);
	if (native)
		schema_event__text(told, "native", native);
	schema_event__text(told, "stack", stack->line);
}

/* Points into `e` and `thr`. */
static void make_event(struct schema_event *told, const char *thr, const struct long_event *e, int64_t t_ms)
{
	uint64_t len_ns = e->at_ns > e->since_ns ? e->at_ns - e->since_ns : 0;

	schema_event__begin(told, e->wait ? SCHEMA_EVENT_WAIT : SCHEMA_EVENT_HOLD, t_ms);
	if (!e->ended)
		schema_event__true(told, "open");
	schema_event__number(told, "since", t_ms - (int64_t)(len_ns / 1000000));
	schema_event__number(told, "us", (long long)(len_ns / 1000));
	schema_event__text(told, "thr", thr);
	schema_event__text(told, "name", e->name);
	if (e->gil)
		schema_event__number(told, "g", e->gil);
	if (e->stack)
		add_stack(told, e->stack, e->native);
	if (!e->wait)
		schema_event__number(told, "others", (long long)(e->waited_ns / 1000));
	if (!e->wait && !e->ended) {
		schema_event__number(told, "waiters", e->waiters);
		schema_event__text(told, "victims", e->victims);
	}
}

int schema_writer__long(struct schema_writer *w, const struct long_event *e, int64_t t_ms, struct event_ids *host,
			struct batch *b)
{
	uint32_t place = series_table__find(&w->series, &e->thread), retention = schema__longest_s(w);
	uint32_t before = batch__points(b);
	struct schema_event told;
	char tid[16];
	int err;

	snprintf(tid, sizeof(tid), "%" PRIu32, e->thread.tid);
	make_event(&told, place < w->series.max ? w->series.places[place].thr : tid, e, t_ms);
	w->points = 0;
	err = schema_put__row(w, b, "long", t_ms, schema_event__json(&told), retention, &w->singles[KEY_LONG], false);
	if (err)
		return err;
	schema_put__command(w, b, "ZREMRANGEBYRANK", "long");
	batch__arg_int(b, 0);
	batch__arg_int(b, -LONG_KEPT - 1);
	batch__set_points(b, before + w->points, before ? batch__made_ms(b) : t_ms);
	return schema_writer__event(w, &told, host, b);
}

/* ---- reading ---- */

static bool take_text(const json_t *json, char *dst, size_t size)
{
	const char *text = json_string_value(json);

	if (!text || strlen(text) != json_string_length(json) || strlen(text) >= size)
		return false;
	text__clean(dst, size, text, strlen(text));
	return true;
}

static bool take_us(const json_t *json, double *ret)
{
	*ret = json_is_number(json) ? json_number_value(json) : -1;
	return *ret >= 0 && *ret <= MAX_US;
}

/* Both or neither. */
static bool take_ticks(const json_t *item, struct code_place *ret)
{
	if (!json_array_get(item, 8))
		return true;
	return take_us(json_array_get(item, 8), &ret->ticks) && take_us(json_array_get(item, 9), &ret->err_us);
}

/* Kinds that the writer did not know are 0. */
static bool take_off(const json_t *json, double us[GIL_OFF_KINDS])
{
	for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++)
		if (json_array_get(json, kind) && !take_us(json_array_get(json, kind), &us[kind]))
			return false;
	return json_is_array(json);
}

static bool take_place(const json_t *item, struct code_place *ret)
{
	double line;

	*ret = (struct code_place){.line = 0};
	if (!take_text(json_array_get(item, 0), ret->thr, sizeof(ret->thr)) ||
	    !take_text(json_array_get(item, 1), ret->function, sizeof(ret->function)) ||
	    !take_text(json_array_get(item, 2), ret->file, sizeof(ret->file)) || !take_us(json_array_get(item, 3), &line) ||
	    line > INT32_MAX || !take_us(json_array_get(item, 4), &ret->hold_us) ||
	    !take_us(json_array_get(item, 5), &ret->blame_us) || !take_us(json_array_get(item, 6), &ret->wait_us))
		return false;
	ret->line = (uint32_t)line;
	return (!json_array_get(item, 7) || take_text(json_array_get(item, 7), ret->native, sizeof(ret->native))) &&
	       take_ticks(item, ret) &&
	       (!json_array_get(item, 10) || take_text(json_array_get(item, 10), ret->caller, sizeof(ret->caller))) &&
	       (!json_array_get(item, 11) || take_off(json_array_get(item, 11), ret->hold_off_us)) &&
	       (!json_array_get(item, 12) || take_off(json_array_get(item, 12), ret->blame_off_us)) &&
	       (!json_array_get(item, 13) || take_us(json_array_get(item, 13), &ret->over_us));
}

static bool is_same(const struct code_place *a, const struct code_place *b)
{
	return a->line == b->line && !strcmp(a->thr, b->thr) && !strcmp(a->function, b->function) && !strcmp(a->file, b->file) &&
	       !strcmp(a->caller, b->caller);
}

static uint64_t hash_of(const struct code_place *place)
{
	uint64_t hash = text__hash(text__hash(text__hash(TEXT_HASH ^ place->line, place->thr), place->function), place->file);

	return text__hash(hash, place->caller);
}

static int append_place(struct code_sum *sum, const struct code_place *place, uint64_t hash)
{
	struct code_place *grown;

	if (sum->n == MAX_PLACES)
		return -EBADMSG;
	/* Powers of two: it need not be stored how much there is. */
	grown = sum->n & (sum->n - 1) ? sum->places : reallocarray(sum->places, sum->n ? 2 * sum->n : 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	sum->places = grown;
	if (keymap__put(&sum->index, hash, keymap__salt(), (uint32_t)sum->n))
		return -ENOMEM;
	sum->places[sum->n++] = *place;
	return 0;
}

static int add_place(struct code_sum *sum, const struct code_place *place)
{
	uint64_t hash = hash_of(place);
	uint32_t at = keymap__get(&sum->index, hash, keymap__salt());
	struct code_place *known = at == KEYMAP_NONE ? NULL : &sum->places[at];

	if (!known || !is_same(known, place))
		return append_place(sum, place, hash);
	known->hold_us += place->hold_us;
	known->blame_us += place->blame_us;
	known->wait_us += place->wait_us;
	known->ticks += place->ticks;
	known->over_us += place->over_us;
	known->err_us = hypot(known->err_us, place->err_us);
	for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++) {
		known->hold_off_us[kind] += place->hold_off_us[kind];
		known->blame_off_us[kind] += place->blame_off_us[kind];
	}
	if (place->native[0])
		memcpy(known->native, place->native, sizeof(place->native));
	return 0;
}

/* First all of a member is looked at, then all of it is added. */
static int walk(const json_t *list, struct code_sum *sum, bool add)
{
	struct code_place place;
	const json_t *item;
	int err = json_is_array(list) ? 0 : -EBADMSG;
	size_t i;

	json_array_foreach(list, i, item)
	{
		if (!take_place(item, &place))
			return -EBADMSG;
		if (add)
			err = add_place(sum, &place) ?: err;
	}
	return err;
}

int code_sum__add(struct code_sum *sum, const char *json, size_t len)
{
	json_t *row = NULL;
	int err = schema_member__parse(json, len, &row);

	err = err ?: walk(json_object_get(row, "c"), sum, false);
	err = err ?: walk(json_object_get(row, "c"), sum, true);
	if (!err)
		sum->estimated |= json_is_true(json_object_get(row, "est"));
	json_decref(row);
	return err;
}

void code_sum__free(struct code_sum *sum)
{
	free(sum->places);
	keymap__free(&sum->index);
	*sum = (struct code_sum){0};
}
