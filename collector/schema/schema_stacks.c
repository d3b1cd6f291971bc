/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See schema_stacks.h. Written in two passes: first which stacks have room and which number each of their frames gets, then the
 * text. Frames are looked for by hash; two that share one are the same to nobody but a collector of collisions, so texts decide.
 */
#include "schema_stacks.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/json_text.h"
#include "collector/base/text.h"
#include "schema_member.h"
#include "schema_writer.h"

#define FRAMES_MAX 4096       /* of a member */
#define STACK_FRAMES_MAX 1024 /* of a stack */
#define MEMBER_STACKS_MAX 1024
#define MAX_US 1e15
#define SUM_LINES_MAX 16384
#define SUM_BYTES_MAX (32u * 1024 * 1024)
#define NUMBERS_BYTES 48      /* of a stack besides its frames */
#define INDEX_BYTES 4

/* ---- writing ---- */

/* A frame's text: a part of a stack's line, or a thread's name. */
struct part {
	const char *text;
	size_t len;
};

struct chosen {
	const struct stack_cell *cell;
	size_t first, n; /* of numbers[] */
};

/* What goes into one member. */
struct table {
	struct part frames[FRAMES_MAX];
	size_t frames_n;
	struct chosen stacks[SCHEMA_STACKS_MAX];
	size_t stacks_n;
	uint16_t numbers[SCHEMA_STACKS_MAX * STACK_FRAMES_MAX];
	size_t numbers_n;
	size_t bytes;
	struct stack_weights rest;
};

static size_t escaped_bytes(const struct part *p)
{
	size_t n = p->len + 3;

	for (size_t i = 0; i < p->len; i++)
		n += p->text[i] == '"' || p->text[i] == '\\' ? 1 : (unsigned char)p->text[i] < 0x20 ? 5 : 0;
	return n;
}

/* Its number, a new one if need be; FRAMES_MAX: no room. */
static size_t number_of(struct table *t, const struct part *p)
{
	for (size_t i = 0; i < t->frames_n; i++)
		if (t->frames[i].len == p->len && !memcmp(t->frames[i].text, p->text, p->len))
			return i;
	if (t->frames_n == FRAMES_MAX)
		return FRAMES_MAX;
	t->bytes += escaped_bytes(p);
	t->frames[t->frames_n] = *p;
	return t->frames_n++;
}

static bool add_part(struct table *t, const char *text, size_t len)
{
	const struct part p = {text, len};
	size_t number = number_of(t, &p);

	if (number == FRAMES_MAX || t->numbers_n == sizeof(t->numbers) / sizeof(t->numbers[0]))
		return false;
	t->numbers[t->numbers_n++] = (uint16_t)number;
	t->bytes += INDEX_BYTES;
	return true;
}

static bool add_line(struct table *t, const char *line)
{
	bool fits = true;

	for (const char *end; fits && *line; line = end + (*end == ';')) {
		end = strchrnul(line, ';');
		if (end > line)
			fits = add_part(t, line, (size_t)(end - line));
	}
	return fits;
}

/* If it fits; else nothing of it is in the table, and its weights are in the rest. */
static void choose(struct table *t, const struct stack_cell *cell, const char *thread)
{
	size_t frames = t->frames_n, numbers = t->numbers_n, bytes = t->bytes;

	t->bytes += NUMBERS_BYTES;
	if (t->stacks_n < SCHEMA_STACKS_MAX && add_part(t, thread, strlen(thread)) && add_line(t, cell->line) &&
	    t->numbers_n - numbers <= STACK_FRAMES_MAX && t->bytes <= SCHEMA_STACKS_BYTES) {
		t->stacks[t->stacks_n++] = (struct chosen){cell, numbers, t->numbers_n - numbers};
		return;
	}
	t->frames_n = frames;
	t->numbers_n = numbers;
	t->bytes = bytes;
	stack_weights__add(&t->rest, &cell->w);
}

static const char *thread_text(const struct schema_writer *w, const struct proc_sample *s, const struct stack_cell *cell)
{
	const char *name = s->threads[cell->thread].name;

	return name[0] ? name : w->series.places[w->place[cell->thread]].thr;
}

static int fill(const struct schema_writer *w, const struct proc_sample *s, struct table *t)
{
	const struct stack_cell **sorted = stack_cells__sorted(&s->stacks);

	t->rest = s->stacks.rest;
	for (size_t i = 0; sorted && i < s->stacks.n; i++)
		choose(t, sorted[i], thread_text(w, s, sorted[i]));
	free(sorted);
	return sorted ? 0 : -ENOMEM;
}

static void put_weights(struct json_text *j, const struct stack_weights *w)
{
	json_text__integer(j, (long long)(w->hold_ns / 1000));
	json_text__integer(j, (long long)(w->blame_ns / 1000));
	json_text__integer(j, (long long)(w->wait_ns / 1000));
}

static void put_frames(const struct table *t, struct json_text *j)
{
	char text[STACKS_LINE_MAX];

	json_text__name(j, "f");
	json_text__open(j, '[');
	for (size_t i = 0; i < t->frames_n; i++) {
		text__clean(text, sizeof(text), t->frames[i].text, t->frames[i].len);
		json_text__string(j, text);
	}
	json_text__close(j, ']');
}

static void put_stacks(const struct schema_writer *w, const struct table *t, struct json_text *j)
{
	json_text__name(j, "s");
	json_text__open(j, '[');
	for (size_t i = 0; i < t->stacks_n; i++) {
		const struct chosen *c = &t->stacks[i];

		json_text__open(j, '[');
		json_text__string(j, w->series.places[w->place[c->cell->thread]].thr);
		json_text__open(j, '[');
		for (size_t k = 0; k < c->n; k++)
			json_text__integer(j, t->numbers[c->first + k]);
		json_text__close(j, ']');
		put_weights(j, &c->cell->w);
		json_text__close(j, ']');
	}
	json_text__close(j, ']');
}

static char *member(const struct schema_writer *w, const struct proc_sample *s, const struct table *t)
{
	struct json_text j = {0};

	json_text__open(&j, '{');
	json_text__name(&j, "t");
	json_text__integer(&j, s->end_ms);
	json_text__name(&j, "d");
	json_text__integer(&j, (long long)(s->len_ns / 1000));
	put_frames(t, &j);
	put_stacks(w, t, &j);
	json_text__name(&j, "rest");
	json_text__open(&j, '[');
	put_weights(&j, &t->rest);
	json_text__close(&j, ']');
	json_text__close(&j, '}');
	return json_text__take(&j);
}

/* Ten seconds are fine enough: those of one would be ten times as many. */
int schema_write__stacks(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	struct table *t;
	char *text;
	int err;

	if (tier == TIER_BASE || !s->stacks.n)
		return 0;
	t = calloc(1, sizeof(*t));
	err = t ? fill(w, s, t) : -ENOMEM;
	text = err ? NULL : member(w, s, t);
	free(t);
	return schema_put__sample(w, b, "stacks", KEEP_THREADS, tier, s->end_ms, text, &w->stacks[tier], false) ?: err;
}

/* ---- adding up ---- */

static struct stacks_line *find(struct stacks_sum *sum, const char *line, uint64_t hash)
{
	uint32_t at = keymap__get(&sum->by_hash, hash, keymap__salt());

	/* Of two lines with one hash the first is not found again: it stands there twice. */
	return at != KEYMAP_NONE && !strcmp(sum->lines[at].line, line) ? &sum->lines[at] : NULL;
}

static int make_room(struct stacks_sum *sum)
{
	size_t room = sum->room ? 2 * sum->room : 64;
	struct stacks_line *grown;

	if (sum->n < sum->room)
		return 0;
	grown = reallocarray(sum->lines, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	sum->lines = grown;
	sum->room = room;
	return 0;
}

static int add_clean(struct stacks_sum *sum, const char *line, const struct stack_weights *w)
{
	uint64_t hash = stack_cells__hash(line);
	struct stacks_line *known = find(sum, line, hash);
	size_t len = strlen(line);
	char *copy;

	if (known || sum->n >= SUM_LINES_MAX || sum->bytes + len > SUM_BYTES_MAX) {
		stack_weights__add(known ? &known->w : &sum->rest, w);
		return 0;
	}
	copy = make_room(sum) ? NULL : strdup(line);
	if (!copy || keymap__put(&sum->by_hash, hash, keymap__salt(), (uint32_t)sum->n)) {
		free(copy);
		return -ENOMEM;
	}
	sum->lines[sum->n++] = (struct stacks_line){copy, hash, *w};
	sum->bytes += len;
	return 0;
}

/* A frame behind what is there: clean, and the separator is none of its characters. False: the line is full. */
static bool append(char *line, size_t *len, const char *frame, size_t frame_len)
{
	size_t from = *len + (*len > 0);

	if (!frame_len)
		return true;
	if (from + frame_len + 1 > STACKS_LINE_MAX)
		return false;
	if (*len)
		line[*len] = ';';
	*len = from + text__clean(line + from, STACKS_LINE_MAX - from, frame, frame_len);
	for (char *c = line + from; c < line + *len; c++)
		if (*c == ';')
			*c = ',';
	return true;
}

int stacks_sum__add_stack(struct stacks_sum *sum, const char *thread, const char *line, const struct stack_weights *w)
{
	char whole[STACKS_LINE_MAX] = "";
	size_t len = 0;
	bool fits = append(whole, &len, thread, strlen(thread));

	for (const char *end; fits && *line; line = end + (*end == ';')) {
		end = strchrnul(line, ';');
		if (end > line)
			fits = append(whole, &len, line, (size_t)(end - line));
	}
	return add_clean(sum, whole, w);
}

struct stack_weights stacks_sum__total(const struct stacks_sum *sum)
{
	struct stack_weights total = sum->rest;

	for (size_t i = 0; i < sum->n; i++)
		stack_weights__add(&total, &sum->lines[i].w);
	return total;
}

void stacks_sum__free(struct stacks_sum *sum)
{
	for (size_t i = 0; i < sum->n; i++)
		free(sum->lines[i].line);
	free(sum->lines);
	keymap__free(&sum->by_hash);
	*sum = (struct stacks_sum){0};
}

/* ---- reading ---- */

static bool take_ns(const json_t *json, uint64_t *ret)
{
	double us = json_is_number(json) ? json_number_value(json) : -1;

	if (!(us >= 0 && us <= MAX_US))
		return false;
	*ret = (uint64_t)us * 1000;
	return true;
}

static bool take_weights(const json_t *list, size_t from, struct stack_weights *ret)
{
	return take_ns(json_array_get(list, from), &ret->hold_ns) && take_ns(json_array_get(list, from + 1), &ret->blame_ns) &&
	       take_ns(json_array_get(list, from + 2), &ret->wait_ns);
}

/* The numbers' frames as one line. */
static bool take_line(const json_t *frames, const json_t *numbers, char line[STACKS_LINE_MAX])
{
	const json_t *number;
	size_t i, len = 0;

	line[0] = '\0';
	if (!json_is_array(numbers) || json_array_size(numbers) == 0 || json_array_size(numbers) > STACK_FRAMES_MAX)
		return false;
	json_array_foreach(numbers, i, number)
	{
		double at = json_is_number(number) ? json_number_value(number) : -1;
		const json_t *frame = at >= 0 && at < FRAMES_MAX ? json_array_get(frames, (size_t)at) : NULL;

		if (!json_is_string(frame) ||
		    !append(line, &len, json_string_value(frame), json_string_length(frame)))
			return false;
	}
	return len > 0;
}

/* First all of a member is looked at, then all of it is added. */
static int walk(const json_t *row, struct stacks_sum *sum, bool add)
{
	const json_t *frames = json_object_get(row, "f"), *stacks = json_object_get(row, "s"), *stack;
	char line[STACKS_LINE_MAX];
	struct stack_weights w;
	int err = 0;
	size_t i;

	if (!json_is_array(frames) || json_array_size(frames) > FRAMES_MAX || !json_is_array(stacks) ||
	    json_array_size(stacks) > MEMBER_STACKS_MAX || !take_weights(json_object_get(row, "rest"), 0, &w))
		return -EBADMSG;
	if (add)
		stack_weights__add(&sum->rest, &w);
	json_array_foreach(stacks, i, stack)
	{
		if (!json_is_string(json_array_get(stack, 0)) || !take_line(frames, json_array_get(stack, 1), line) ||
		    !take_weights(stack, 2, &w))
			return -EBADMSG;
		if (add)
			err = add_clean(sum, line, &w) ?: err;
	}
	return err;
}

int stacks_sum__add(struct stacks_sum *sum, const char *json, size_t len)
{
	json_t *row = NULL;
	int err = schema_member__parse(json, len, &row);

	err = err ?: walk(row, sum, false);
	err = err ?: walk(row, sum, true);
	json_decref(row);
	return err;
}
