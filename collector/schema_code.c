/* SPDX-License-Identifier: GPL-2.0-only */
/* See schema_code.h. */
#include "schema_code.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "long_event.h"
#include "schema_writer.h"
#include "text.h"

#define PLACES_PER_ROW 24
#define LONG_KEPT 1000        /* newest members of `long` */
#define MAX_MEMBER (1024 * 1024)
#define MAX_PLACES 4096       /* kept apart when read; more is refused */
#define MAX_US 1e15

/* ---- writing ---- */

static json_int_t us(uint64_t ns)
{
	return (json_int_t)(ns / 1000);
}

static json_t *place_json(const struct schema_writer *w, const struct code_cell *c)
{
	return json_pack("[sssIIII]", w->series.places[w->place[c->thread]].thr, c->function, c->file, (json_int_t)c->line,
			 us(c->hold_ns), us(c->blame_ns), us(c->wait_ns));
}

/* The worst first; what has no room goes to the rest. */
static json_t *places_json(const struct schema_writer *w, const struct proc_sample *s, struct code_rest *rest)
{
	const struct code_cell **sorted = proc_sample__sorted_code(s);
	json_t *list = json_array();

	for (size_t i = 0; sorted && i < s->code_n; i++) {
		if (i < PLACES_PER_ROW && !json_array_append_new(list, place_json(w, sorted[i])))
			continue;
		rest->hold_ns += sorted[i]->hold_ns;
		rest->blame_ns += sorted[i]->blame_ns;
		rest->wait_ns += sorted[i]->wait_ns;
	}
	free(sorted);
	return list;
}

int schema_write__code(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	struct code_rest rest = s->code_rest;
	json_t *places;
	char what[32], *text;

	if (!s->code_n)
		return 0;
	places = places_json(w, s, &rest);
	text = schema_json__text(json_pack("{sI sI so s[III]}", "t", (json_int_t)s->end_ms, "d", us(s->len_ns), "c", places,
					   "rest", us(rest.hold_ns), us(rest.blame_ns), us(rest.wait_ns)),
				 NULL);
	snprintf(what, sizeof(what), "code:%s", tier__name(tier));
	return schema_put__row(w, b, what, s->end_ms, text, w->opts.retention.thread_s[tier], &w->codes[tier], false);
}

static json_t *long_json(const char *thr, const struct long_event *e, int64_t t_ms)
{
	const struct stack_text *stack = e->stack;
	uint64_t len_ns = e->at_ns > e->since_ns ? e->at_ns - e->since_ns : 0;
	json_t *json = json_pack("{sI ss}", "t", (json_int_t)t_ms, "kind", e->wait ? "wait" : "hold");

	if (json && !e->ended)
		json_object_set_new(json, "open", json_true());
	if (json)
		json_object_update_new(json, json_pack("{sI sI ss ss}", "since", (json_int_t)(t_ms - (int64_t)(len_ns / 1000000)),
						       "us", us(len_ns), "thr", thr, "name", e->name));
	if (json && e->gil)
		json_object_set_new(json, "g", json_integer(e->gil));
	if (json && stack)
		json_object_update_new(json, json_pack("{ss ss sI ss}", "function", stack->leaf.function, "file",
						       stack->leaf.file, "line", (json_int_t)stack->leaf.line, "stack",
						       stack->line));
	if (json && !e->wait)
		json_object_set_new(json, "others", json_integer(us(e->waited_ns)));
	return json;
}

int schema_writer__long(struct schema_writer *w, const struct long_event *e, int64_t t_ms, struct batch *b)
{
	uint32_t place = series_table__find(&w->series, &e->thread), retention = schema__longest_s(w);
	char tid[16], *text;
	int err;

	snprintf(tid, sizeof(tid), "%" PRIu32, e->thread.tid);
	text = schema_json__text(long_json(place < w->series.max ? w->series.places[place].thr : tid, e, t_ms), NULL);
	w->points = 0;
	err = schema_put__row(w, b, "long", t_ms, text, retention, &w->singles[KEY_LONG], false);
	if (!err) {
		schema_put__command(w, b, "ZREMRANGEBYRANK", "long");
		batch__arg_int(b, 0);
		batch__arg_int(b, -LONG_KEPT - 1);
		batch__set_points(b, w->points, t_ms);
	}
	return batch__error(b) ?: err;
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
	return true;
}

static bool is_same(const struct code_place *a, const struct code_place *b)
{
	return a->line == b->line && !strcmp(a->thr, b->thr) && !strcmp(a->function, b->function) && !strcmp(a->file, b->file);
}

static int add_place(struct code_sum *sum, const struct code_place *place)
{
	struct code_place *grown;

	for (size_t i = 0; i < sum->n; i++) {
		if (!is_same(&sum->places[i], place))
			continue;
		sum->places[i].hold_us += place->hold_us;
		sum->places[i].blame_us += place->blame_us;
		sum->places[i].wait_us += place->wait_us;
		return 0;
	}
	if (sum->n == MAX_PLACES)
		return -EBADMSG;
	/* Powers of two: it need not be stored how much there is. */
	grown = sum->n & (sum->n - 1) ? sum->places : reallocarray(sum->places, sum->n ? 2 * sum->n : 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	sum->places = grown;
	sum->places[sum->n++] = *place;
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
	json_t *row = len <= MAX_MEMBER ? json_loadb(json, len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL) : NULL;
	int err = row ? walk(json_object_get(row, "c"), sum, false) : -EBADMSG;

	err = err ?: walk(json_object_get(row, "c"), sum, true);
	json_decref(row);
	return err;
}

/* The lines of one function, as far as it is known by its name and file. */
static struct code_place function_of(const struct code_sum *sum, const struct code_place *first)
{
	struct code_place all = *first;
	double worst = first->blame_us;

	all.hold_us = all.blame_us = all.wait_us = 0;
	for (size_t i = 0; i < sum->n; i++) {
		const struct code_place *p = &sum->places[i];

		if (strcmp(p->thr, first->thr) || strcmp(p->function, first->function) || strcmp(p->file, first->file))
			continue;
		all.hold_us += p->hold_us;
		all.blame_us += p->blame_us;
		all.wait_us += p->wait_us;
		if (p->blame_us > worst) {
			worst = p->blame_us;
			all.line = p->line;
		}
	}
	return all;
}

bool code_sum__worst(const struct code_sum *sum, const char *thr, struct code_place *ret)
{
	*ret = (struct code_place){.line = 0};
	for (size_t i = 0; i < sum->n; i++) {
		struct code_place p;

		if (strcmp(sum->places[i].thr, thr) != 0)
			continue;
		p = function_of(sum, &sum->places[i]);
		if (p.blame_us > ret->blame_us)
			*ret = p;
	}
	return ret->blame_us > 0;
}

void code_sum__free(struct code_sum *sum)
{
	free(sum->places);
	*sum = (struct code_sum){0};
}
