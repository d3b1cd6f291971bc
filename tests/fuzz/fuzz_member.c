/* SPDX-License-Identifier: GPL-2.0-only */
/* Members as a reader meets them: anything decodes or is refused; what decodes survives another round and a merge. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "collector/schema/schema.h"
#include "collector/schema/schema_blame.h"
#include "collector/schema/schema_code.h"
#include "collector/schema/schema_holding.h"
#include "collector/schema/schema_marks.h"
#include "collector/schema/schema_stacks.h"

static void check_code(const char *data, size_t size)
{
	struct code_sum sum = {0};

	if (code_sum__add(&sum, data, size) && sum.n)
		abort();
	for (size_t i = 0; i < sum.n; i++)
		if (!(sum.places[i].blame_us >= 0))
			abort();
	code_sum__free(&sum);
}

/* All of it or nothing; lines have no control characters, and each is there once. */
static void check_stacks(const char *data, size_t size)
{
	struct stacks_sum sum = {0};
	struct stack_weights once, twice;

	if (stacks_sum__add(&sum, data, size) && (sum.n || sum.rest.hold_ns || sum.rest.blame_ns || sum.rest.wait_ns))
		abort();
	once = stacks_sum__total(&sum);
	for (size_t i = 0; i < sum.n; i++)
		if (!sum.lines[i].line[0] || strlen(sum.lines[i].line) >= STACKS_LINE_MAX || strpbrk(sum.lines[i].line, "\n\033"))
			abort();
	stacks_sum__add(&sum, data, size);
	twice = stacks_sum__total(&sum);
	if (twice.hold_ns != 2 * once.hold_ns || twice.blame_ns != 2 * once.blame_ns || twice.wait_ns != 2 * once.wait_ns)
		abort();
	stacks_sum__free(&sum);
}

/* No text leaves it that harms a terminal, and what it says is short. */
static void check_holding(const char *data, size_t size)
{
	char words[HOLDING_WORDS_SIZE], *text;
	struct holding h;

	schema_holding__decode(data, size, &h);
	text = schema_holding__encode(&h);
	if (strpbrk(holding__words(&h, words), "\n\033") || (text && strpbrk(text, "\n\033")))
		abort();
	free(text);
}

/* A mark has a text, one of a line; what is read may be written, and is read again as it was. */
static void check_mark(const char *data, size_t size)
{
	struct schema_mark mark;
	struct batch *b;

	if (schema_mark__decode(data, size, 1795339305123.0, &mark))
		return;
	if (!mark.text[0] || strpbrk(mark.text, "\n\033") || strpbrk(mark.count_name, "\n\033"))
		abort();
	b = batch__new();
	if (!b || schema_mark__put(b, NULL, NULL, &mark))
		abort();
	batch__free(b);
}

static void check_values(const struct schema_row *row)
{
	for (int f = 0; f < FIELD_COUNT; f++)
		if ((row->has >> f & 1) && !(isfinite(row->value[f]) && row->value[f] >= 0))
			abort();
}

/* All of it or nothing, and never a number that is none. */
static void check_blame(const char *data, size_t size)
{
	struct blame_sum sum = {0};
	int err = blame_sum__add(&sum, data, size);

	if (err && (sum.pairs_n || sum.victims_n))
		abort();
	blame_sum__sort(&sum);
	for (size_t i = 0; i < sum.pairs_n; i++)
		if (!(sum.pairs[i].us >= 0) || !sum.pairs[i].victim[0] || (i && sum.pairs[i].us > sum.pairs[i - 1].us))
			abort();
	blame_sum__free(&sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct schema_row row, again;
	char *text;

	check_blame((const char *)data, size);
	check_code((const char *)data, size);
	check_stacks((const char *)data, size);
	check_holding((const char *)data, size);
	check_mark((const char *)data, size);
	if (schema_row__decode((const char *)data, size, &row) != 0)
		return 0;
	check_values(&row);
	text = schema_row__encode(&row, true);
	if (!text || schema_row__decode(text, strlen(text), &again) != 0 || again.has != row.has)
		abort();
	schema_row__merge(&again, &row);
	check_values(&again);
	free(text);
	return 0;
}
