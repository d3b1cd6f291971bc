/* SPDX-License-Identifier: GPL-2.0-only */
/* See schema_whys.h. */
#include "schema_whys.h"

#include <string.h>

#include "collector/base/text.h"

#define REST "rest"
#define MOST_US 9007199254740992.0 /* 2^53: beyond it a double skips integers */

/* ---- out ---- */

static void put_one(struct json_text *j, const char *kind, const struct why *why)
{
	if (why->ns < 1000)
		return;
	json_text__open(j, '{');
	json_text__name(j, "why");
	json_text__string(j, kind);
	if (why->name[0]) {
		json_text__name(j, "name");
		json_text__string(j, why->name);
	}
	if (why->pid) {
		json_text__name(j, "pid");
		json_text__integer(j, why->pid);
	}
	json_text__name(j, "us");
	json_text__integer(j, (long long)(why->ns / 1000));
	json_text__close(j, '}');
}

void schema_whys__put(struct json_text *j, const struct whys *w)
{
	json_text__name(j, "why");
	json_text__open(j, '[');
	for (size_t i = 0; i < w->n; i++)
		put_one(j, gil_why_kind__name(w->of[i].kind), &w->of[i]);
	put_one(j, REST, &(struct why){.ns = w->rest_ns});
	json_text__close(j, ']');
}

/* ---- in ---- */

static const char *text_of(const json_t *json, const char *name)
{
	const json_t *value = json_object_get(json, name);

	return json_is_string(value) ? json_string_value(value) : "";
}

static uint64_t whole_of(const json_t *json, const char *name, double max)
{
	const json_t *value = json_object_get(json, name);
	double n = json_is_number(value) ? json_number_value(value) : 0;

	return n > 0 && n <= max ? (uint64_t)n : 0;
}

void schema_whys__get(const json_t *json, struct whys *ret)
{
	size_t n = json_is_array(json) ? json_array_size(json) : 0;

	*ret = (struct whys){0};
	for (size_t i = 0; i < n; i++) {
		const json_t *one = json_array_get(json, i);
		const char *kind = text_of(one, "why"), *name = text_of(one, "name");
		struct why why = {.kind = gil_why_kind__by_name(kind), .ns = whole_of(one, "us", MOST_US / 1000) * 1000};

		if (why.kind == GIL_WHY_NONE && strcmp(kind, REST) != 0)
			continue;
		why.pid = (uint32_t)whole_of(one, "pid", INT32_MAX);
		text__clean(why.name, sizeof(why.name), name, strlen(name));
		whys__add(ret, &why);
	}
}
