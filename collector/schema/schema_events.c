/* SPDX-License-Identifier: GPL-2.0-only */
/* See schema_events.h. */
#include "schema_events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/json_text.h"
#include "schema_writer.h"

/* Newest ones that a stream keeps, at least; it is cut where that costs the server nothing (MAXLEN ~). */
#define PROC_EVENTS "1000"
#define HOST_EVENTS "10000"

#define ID_AT 5 /* XADD key MAXLEN ~ n ID */

static const char *word_of(enum schema_event_kind kind)
{
	static const char *const words[] = {
#define X(id, word, text) [SCHEMA_EVENT_##id] = word,
		SCHEMA_EVENT_KINDS(X)
#undef X
	};

	return words[kind];
}

/* ---- one event ---- */

static void add(struct schema_event *e, struct event_field field)
{
	if (e->n < EVENT_FIELDS_MAX)
		e->fields[e->n++] = field;
}

void schema_event__text(struct schema_event *e, const char *name, const char *value)
{
	add(e, (struct event_field){.name = name, .type = EVENT_TEXT, .text = value});
}

void schema_event__number(struct schema_event *e, const char *name, long long value)
{
	add(e, (struct event_field){.name = name, .type = EVENT_NUMBER, .number = value});
}

void schema_event__true(struct schema_event *e, const char *name)
{
	add(e, (struct event_field){.name = name, .type = EVENT_TRUE});
}

void schema_event__begin(struct schema_event *e, enum schema_event_kind kind, int64_t t_ms)
{
	e->kind = kind;
	e->t_ms = t_ms;
	e->n = 0;
	schema_event__number(e, "t", t_ms);
	schema_event__text(e, "kind", word_of(kind));
}

char *schema_event__json(const struct schema_event *e)
{
	struct json_text j = {0};

	json_text__open(&j, '{');
	for (size_t i = 0; i < e->n; i++) {
		const struct event_field *f = &e->fields[i];

		json_text__name(&j, f->name);
		if (f->type == EVENT_TEXT)
			json_text__string(&j, f->text);
		else if (f->type == EVENT_NUMBER)
			json_text__integer(&j, f->number);
		else
			json_text__true(&j);
	}
	json_text__close(&j, '}');
	return json_text__take(&j);
}

/* ---- into the streams ---- */

static void give_id(struct event_ids *ids, int64_t t_ms)
{
	bool later = t_ms > ids->ms;

	ids->seq = later ? 0 : ids->seq + 1;
	ids->ms = later ? t_ms : ids->ms;
}

static void put_fields(const struct schema_event *e, struct batch *b)
{
	for (size_t i = 0; i < e->n; i++) {
		const struct event_field *f = &e->fields[i];

		if (f->type == EVENT_TEXT)
			schema_put__pair(b, f->name, f->text);
		else
			schema_put__pair_int(b, f->name, f->type == EVENT_NUMBER ? f->number : 1);
	}
}

static void put_event(struct schema_writer *w, const char *key, const char *kept, struct event_ids *ids,
		      const struct schema_event *e, const char *id, struct batch *b)
{
	give_id(ids, e->t_ms);
	batch__command(b, "XADD");
	batch__arg(b, key);
	batch__arg(b, "MAXLEN");
	batch__arg(b, "~");
	batch__arg(b, kept);
	batch__arg_fmt(b, "%" PRId64 "-%" PRIu64, ids->ms, ids->seq);
	if (id)
		schema_put__pair(b, "id", id);
	put_fields(e, b);
	w->points++;
	batch__mark_point(b);
}

static void put_ttl(struct schema_writer *w, const char *key, struct batch *b)
{
	batch__command(b, "EXPIRE");
	batch__arg(b, key);
	batch__arg_int(b, schema__ttl_s(w, schema__longest_s(w)));
}

int schema_writer__event(struct schema_writer *w, const struct schema_event *e, struct event_ids *host, struct batch *b)
{
	uint32_t before = batch__points(b);
	char own[256], shared[256], host_of[80];

	snprintf(host_of, sizeof(host_of), SCHEMA_HOST_EVENTS "%s", w->who.host);
	schema__proc_key(own, sizeof(own), w->opts.prefix, w->id, SCHEMA_EVENTS);
	schema__proc_key(shared, sizeof(shared), w->opts.prefix, host_of, SCHEMA_EVENTS);
	w->points = 0;
	put_event(w, own, PROC_EVENTS, &w->event_ids, e, NULL, b);
	put_event(w, shared, HOST_EVENTS, host, e, w->id, b);
	if (schema_put__due(w, &w->singles[KEY_EVENTS], e->t_ms)) {
		put_ttl(w, own, b);
		put_ttl(w, shared, b);
	}
	batch__set_points(b, before + w->points, before ? batch__made_ms(b) : e->t_ms);
	return batch__error(b);
}

/* ---- for a sink, which has the server's answer ---- */

bool schema_event__next_id(const char *id, uint64_t step, char ret[EVENT_ID_SIZE])
{
	uint64_t ms, seq;
	char behind;

	if (sscanf(id, "%20" SCNu64 "-%20" SCNu64 "%c", &ms, &seq, &behind) != 2)
		return false;
	if (seq > UINT64_MAX - step && ms == UINT64_MAX)
		return false;
	if (seq > UINT64_MAX - step)
		snprintf(ret, EVENT_ID_SIZE, "%" PRIu64 "-0", ms + 1);
	else
		snprintf(ret, EVENT_ID_SIZE, "%" PRIu64 "-%" PRIu64, ms, seq + step);
	return true;
}

int schema_event__id_at(int argc, const char *const *argv)
{
	return argc > ID_AT && strcmp(argv[0], "XADD") == 0 && strcmp(argv[2], "MAXLEN") == 0 ? ID_AT : 0;
}
