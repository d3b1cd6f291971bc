/* SPDX-License-Identifier: GPL-2.0-only */
/* See standing.h. */
#include "standing.h"

#include <stdlib.h>

#include "collector/schema/schema_holding.h"

static const char *or_null(const char *text)
{
	return text[0] ? text : NULL;
}

json_t *standing__task_json(const struct task_state *task)
{
	const char letter[2] = {task->letter};

	return json_pack("{s:s*, s:s*, s:s*}", "state", or_null(letter), "call", or_null(task->call), "wchan",
			 or_null(task->wchan));
}

json_t *standing__json(const struct holding *h)
{
	char *text = schema_holding__encode(h);
	json_t *json = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return json;
}
