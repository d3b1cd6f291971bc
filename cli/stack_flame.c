/* SPDX-License-Identifier: GPL-2.0-only */
/* See stack_flame.h. */
#include "stack_flame.h"

#include <string.h>

#define REST "(other stacks)"

const char *stack_flame__words(enum flame_weight weight)
{
	static const char *const words[] = {
		[WEIGHT_BLAME] = "other threads' waiting, by the code that held the GIL",
		[WEIGHT_HOLD] = "holding the GIL, by code",
		[WEIGHT_WAIT] = "waiting for the GIL, by code",
	};

	return words[weight];
}

int stack_flame__collect(struct stacks_sum *sum, const struct stack_time *s)
{
	const struct stack_weights w = {s->hold_ns, s->blame_ns, s->wait_ns};

	return stacks_sum__add_stack(sum, s->name[0] ? s->name : "(no name)", s->line[0] ? s->line : "(no Python code)", &w);
}

static uint64_t of_weight(const struct stack_weights *w, enum flame_weight weight)
{
	switch (weight) {
	case WEIGHT_HOLD:
		return w->hold_ns;
	case WEIGHT_WAIT:
		return w->wait_ns;
	default:
		return w->blame_ns;
	}
}

/* A thread's name stands in front; there is no ';' in it. Out of Redis there may be nothing behind it. */
static const char *without_thread(const char *line)
{
	const char *end = strchr(line, ';');

	return end && end[1] ? end + 1 : line;
}

struct flame *stack_flame__of(const struct stacks_sum *sum, enum flame_weight weight, bool threads)
{
	struct flame *f = flame__new();
	int err = 0;

	for (size_t i = 0; f && !err && i < sum->n; i++)
		if (of_weight(&sum->lines[i].w, weight))
			err = flame__add(f, threads ? sum->lines[i].line : without_thread(sum->lines[i].line),
					 of_weight(&sum->lines[i].w, weight));
	if (f && !err && of_weight(&sum->rest, weight))
		err = flame__add(f, REST, of_weight(&sum->rest, weight));
	if (err) {
		flame__free(f);
		return NULL;
	}
	return f;
}
