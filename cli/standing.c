/* SPDX-License-Identifier: GPL-2.0-only */
/* See standing.h. */
#include "standing.h"

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
