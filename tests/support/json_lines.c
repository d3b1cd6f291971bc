/* SPDX-License-Identifier: GPL-2.0-only */
/* See json_lines.h. */
#include "json_lines.h"

#include <criterion/criterion.h>
#include <string.h>

json_t *json_lines__parse(const char *text)
{
	json_t *lines = json_array();

	while (*text) {
		size_t len = strcspn(text, "\n");
		json_error_t error;
		json_t *line = json_loadb(text, len, 0, &error);

		cr_assert_not_null(line, "%s: %.*s", error.text, (int)len, text);
		json_array_append_new(lines, line);
		text += len + (text[len] == '\n');
	}
	return lines;
}

const json_t *json_lines__summary(const json_t *lines)
{
	const json_t *last = json_array_get(lines, json_array_size(lines) - 1);
	const char *type = json_string_value(json_object_get(last, "type"));

	cr_assert(type && strcmp(type, "summary") == 0, "the last line is no summary");
	return last;
}

json_int_t json__int(const json_t *object, const char *path)
{
	char words[128], *rest = words;

	snprintf(words, sizeof(words), "%s", path);
	while (rest)
		object = json_object_get(object, strsep(&rest, "."));
	cr_assert(json_is_integer(object), "there is no number %s", path);
	return json_integer_value(object);
}

const json_t *json__thread(const json_t *row, const char *name)
{
	const json_t *thread;
	size_t i;

	json_array_foreach (json_object_get(row, "threads"), i, thread)
		if (strcmp(json_string_value(json_object_get(thread, "name")), name) == 0)
			return thread;
	return NULL;
}
