/* SPDX-License-Identifier: GPL-2.0-only */
/* See schema_marks.h. */
#include "schema_marks.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/json_text.h"
#include "collector/base/text.h"
#include "schema_member.h"

#define COUNT_MAX 1e15
#define TIME_MAX 253402300799999.0 /* the year 9999 */

static char *member_of(const struct schema_mark *mark)
{
	struct json_text j = {0};

	json_text__open(&j, '{');
	json_text__name(&j, "t");
	json_text__integer(&j, mark->t_ms);
	json_text__name(&j, "text");
	json_text__string(&j, mark->text);
	if (mark->count_name[0]) {
		json_text__name(&j, "count");
		json_text__open(&j, '{');
		json_text__name(&j, mark->count_name);
		json_text__integer(&j, (long long)mark->count);
		json_text__close(&j, '}');
	}
	json_text__close(&j, '}');
	return json_text__take(&j);
}

/* Of all processes only old ones are taken away: a writer for one host deletes nothing of another's. */
static void put_bounds(struct batch *b, const char *key, const char *id, int64_t t_ms)
{
	batch__command(b, "ZREMRANGEBYSCORE");
	batch__arg(b, key);
	batch__arg(b, "-inf");
	batch__arg_int(b, t_ms - SCHEMA_MARKS_KEPT_S * 1000ll);
	if (id) {
		batch__command(b, "ZREMRANGEBYRANK");
		batch__arg(b, key);
		batch__arg(b, "0");
		batch__arg_int(b, -SCHEMA_MARKS_MAX - 1);
	}
	batch__command(b, "EXPIRE");
	batch__arg(b, key);
	batch__arg_int(b, SCHEMA_MARKS_KEPT_S);
}

int schema_mark__put(struct batch *b, const char *prefix, const char *id, const struct schema_mark *mark)
{
	char *member = member_of(mark), key[256];

	if (!member)
		return -ENOMEM;
	if (id)
		schema__proc_key(key, sizeof(key), prefix, id, SCHEMA_MARKS);
	else
		schema__global_key(key, sizeof(key), prefix, SCHEMA_MARKS);
	batch__command(b, "ZADD");
	batch__arg(b, key);
	batch__arg_int(b, mark->t_ms);
	batch__arg(b, member);
	batch__mark_point(b);
	put_bounds(b, key, id, mark->t_ms);
	batch__set_points(b, batch__points(b) + 1, mark->t_ms);
	free(member);
	return batch__error(b);
}

static void take_count(const json_t *member, struct schema_mark *ret)
{
	json_t *counts = json_object_get(member, "count"), *value = NULL;
	const char *name;

	json_object_foreach(counts, name, value) {
		double count = json_is_number(value) ? json_number_value(value) : -1;

		if (!(count >= 0 && count <= COUNT_MAX) || !*name || strlen(name) > SCHEMA_COUNT_NAME)
			continue;
		text__clean(ret->count_name, sizeof(ret->count_name), name, strlen(name));
		ret->count = floor(count);
		return;
	}
}

int schema_mark__decode(const char *member, size_t len, double score, struct schema_mark *ret)
{
	struct schema_mark mark = {.t_ms = 0};
	json_t *json = NULL, *text;

	if (!(score >= 0 && score <= TIME_MAX))
		return -EBADMSG;
	mark.t_ms = (int64_t)score;
	if (len && member[0] == '{') {
		int err = schema_member__parse(member, len, &json);

		if (err == -ENOMEM)
			return err;
	}
	text = json_object_get(json, "text");
	if (json_is_string(text)) {
		text__clean(mark.text, sizeof(mark.text), json_string_value(text), json_string_length(text));
		take_count(json, &mark);
	} else if (!json) {
		text__clean(mark.text, sizeof(mark.text), member, len);
	}
	json_decref(json);
	if (!mark.text[0])
		return -EBADMSG;
	*ret = mark;
	return 0;
}
