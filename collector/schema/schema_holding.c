/* SPDX-License-Identifier: GPL-2.0-only */
/* See schema_holding.h; and what of it goes into meta. */
#include "schema_holding.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/json_text.h"
#include "collector/base/text.h"
#include "schema_member.h"
#include "schema_writer.h"

/* ---- out ---- */

static void put_text(struct json_text *j, const char *name, const char *text)
{
	if (!text[0])
		return;
	json_text__name(j, name);
	json_text__string(j, text);
}

static void put_number(struct json_text *j, const char *name, uint64_t value)
{
	if (!value)
		return;
	json_text__name(j, name);
	json_text__integer(j, (long long)value);
}

static void put_holder(struct json_text *j, const struct holding *h)
{
	const char letter[2] = {h->task.letter};

	put_text(j, "held_by", holder_kind__name(h->by));
	put_number(j, "g", h->gil);
	put_number(j, "tid", h->tid);
	put_text(j, "name", h->name);
	put_text(j, "place", h->place);
	put_text(j, "state", letter);
	put_text(j, "call", h->task.call);
	put_text(j, "wchan", h->task.wchan);
	if (h->before) {
		json_text__name(j, "before");
		json_text__true(j);
	}
	put_number(j, "lasted", h->lasted_ns / 1000);
}

char *schema_holding__encode(const struct holding *h)
{
	struct json_text j = {0};

	json_text__open(&j, '{');
	if (h->by != HOLDER_UNKNOWN)
		put_holder(&j, h);
	put_number(&j, "gone", h->gone_ns / 1000);
	put_text(&j, "standstill", standstill__name(h->standstill));
	put_number(&j, "tracer", h->tracer > 0 ? (uint64_t)h->tracer : 0);
	for (int s = STANDSTILL_NONE + 1; s < STANDSTILL_COUNT; s++)
		put_number(&j, standstill__name((enum standstill)s), h->still_ns[s] / 1000);
	json_text__close(&j, '}');
	return json_text__take(&j);
}

/* ---- in ---- */

static const char *text_of(const json_t *json, const char *name)
{
	const json_t *value = json_object_get(json, name);

	return json_is_string(value) ? json_string_value(value) : "";
}

static void get_text(const json_t *json, const char *name, char *buf, size_t size)
{
	const char *text = text_of(json, name);

	text__clean(buf, size, text, strlen(text));
}

static uint64_t get_number(const json_t *json, const char *name, uint64_t max)
{
	const json_t *value = json_object_get(json, name);
	json_int_t n = json_is_integer(value) ? json_integer_value(value) : 0;

	return n > 0 && (uint64_t)n <= max ? (uint64_t)n : 0;
}

static uint64_t get_ns(const json_t *json, const char *name)
{
	return get_number(json, name, UINT64_MAX / 2000) * 1000;
}

void schema_holding__decode(const char *text, size_t len, struct holding *ret)
{
	json_t *json = json_loadb(text, len, 0, NULL);

	*ret = (struct holding){.by = holder_kind__by_name(text_of(json, "held_by"))};
	ret->gil = (uint32_t)get_number(json, "g", UINT32_MAX);
	ret->tid = (uint32_t)get_number(json, "tid", INT32_MAX);
	get_text(json, "name", ret->name, sizeof(ret->name));
	get_text(json, "place", ret->place, sizeof(ret->place));
	ret->task.letter = strspn(text_of(json, "state"), "RSDTtZXIPKW") ? text_of(json, "state")[0] : 0;
	get_text(json, "call", ret->task.call, sizeof(ret->task.call));
	get_text(json, "wchan", ret->task.wchan, sizeof(ret->task.wchan));
	ret->before = json_is_true(json_object_get(json, "before"));
	ret->lasted_ns = get_ns(json, "lasted");
	ret->gone_ns = get_ns(json, "gone");
	ret->standstill = standstill__by_name(text_of(json, "standstill"));
	ret->tracer = (int32_t)get_number(json, "tracer", INT32_MAX);
	for (int s = STANDSTILL_NONE + 1; s < STANDSTILL_COUNT; s++)
		ret->still_ns[s] = get_ns(json, standstill__name((enum standstill)s));
	json_decref(json);
}

/* ---- in meta ---- */

static void forget(struct schema_writer *w, struct batch *b)
{
	schema_put__command(w, b, "HDEL", "meta");
	batch__arg(b, "holding");
	batch__arg(b, "held_by");
	batch__arg(b, "standstill");
}

/* Of the newest sample: there while it is so, and no longer. */
void schema_write__holding(struct schema_writer *w, const struct holding *h, struct batch *b)
{
	bool any = h->by != HOLDER_UNKNOWN || h->standstill;
	char *text;

	if (w->holding_written && (!any || h->by != w->held_by || h->standstill != w->standstill))
		forget(w, b);
	w->holding_written = any;
	w->held_by = h->by;
	w->standstill = h->standstill;
	text = any ? schema_holding__encode(h) : NULL;
	if (!text)
		return;
	schema_put__command(w, b, "HSET", "meta");
	schema_put__pair(b, "holding", text);
	if (h->by != HOLDER_UNKNOWN)
		schema_put__pair(b, "held_by", holder_kind__name(h->by));
	if (h->standstill)
		schema_put__pair(b, "standstill", standstill__name(h->standstill));
	free(text);
}
