/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See batch.h. Argument bytes lie in chunks that never move, so the argv array is final at once:
 *
 *   first: 0, 2, ...          where each command's arguments begin in argv[]
 *   argv:  "ZADD" "key" ...   pointers into the chunks, lens[] beside them
 *
 * Every argument is followed by a NUL that its length does not count.
 */
#include "batch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"

#define CHUNK_MIN ((size_t)2048)
#define CHUNK_MAX ((size_t)65536)

struct chunk {
	struct chunk *next;
	size_t size, used;
	char data[];
};

struct batch {
	struct chunk *chunks;   /* newest first */
	const char **argv;
	size_t *lens;
	size_t *first;
	uint32_t *marks;        /* points of each command */
	size_t args_n, args_cap, commands_n, commands_cap;
	size_t chunk_bytes;
	uint32_t points;
	int64_t made_ms;
	int error;
};

struct batch *batch__new(void)
{
	return calloc(1, sizeof(struct batch));
}

void batch__free(struct batch *b)
{
	if (!b)
		return;
	for (struct chunk *c = b->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(b->argv);
	free(b->lens);
	free(b->first);
	free(b->marks);
	free(b);
}

static void *fail(struct batch *b, int err)
{
	b->error = err;
	return NULL;
}

static struct chunk *add_chunk(struct batch *b, size_t need)
{
	size_t size = b->chunks ? b->chunks->size * 2 : CHUNK_MIN;
	struct chunk *c;

	if (size > CHUNK_MAX)
		size = CHUNK_MAX;
	if (size < need)
		size = need;
	c = malloc(sizeof(*c) + size);
	if (!c)
		return fail(b, -ENOMEM);
	*c = (struct chunk){.next = b->chunks, .size = size};
	b->chunks = c;
	b->chunk_bytes += sizeof(*c) + size;
	return c;
}

/* Uninitialised room for `len` bytes that stays where it is, or NULL. */
static char *reserve(struct batch *b, size_t len)
{
	struct chunk *c = b->chunks;
	char *room;

	if (!c || c->size - c->used < len)
		c = add_chunk(b, len);
	if (!c)
		return NULL;
	room = c->data + c->used;
	c->used += len;
	return room;
}

static bool grow_args(struct batch *b)
{
	size_t cap = b->args_cap ? 2 * b->args_cap : 64;
	const char **argv = reallocarray(b->argv, cap, sizeof(*argv));
	size_t *lens;

	if (!argv)
		return false;
	b->argv = argv;
	lens = reallocarray(b->lens, cap, sizeof(*lens));
	if (!lens)
		return false;
	b->lens = lens;
	b->args_cap = cap;
	return true;
}

static bool grow_commands(struct batch *b)
{
	size_t cap = b->commands_cap ? 2 * b->commands_cap : 16;
	size_t *first = reallocarray(b->first, cap, sizeof(*first));
	uint32_t *marks;

	if (!first)
		return false;
	b->first = first;
	marks = reallocarray(b->marks, cap, sizeof(*marks));
	if (!marks)
		return false;
	b->marks = marks;
	b->commands_cap = cap;
	return true;
}

void batch__command(struct batch *b, const char *name)
{
	if (b->error)
		return;
	if (b->commands_n == b->commands_cap && !grow_commands(b)) {
		fail(b, -ENOMEM);
		return;
	}
	b->marks[b->commands_n] = 0;
	b->first[b->commands_n++] = b->args_n;
	batch__arg(b, name);
}

void batch__arg(struct batch *b, const char *s)
{
	batch__arg_mem(b, s, strlen(s));
}

/* Room for one argument, terminated already, or NULL. */
static char *add_arg(struct batch *b, size_t len)
{
	char *room;

	if (b->error)
		return NULL;
	if (b->commands_n == 0)
		return fail(b, -EINVAL);
	if (b->args_n == b->args_cap && !grow_args(b))
		return fail(b, -ENOMEM);
	room = reserve(b, len + 1);
	if (!room)
		return NULL;
	room[len] = '\0';
	b->argv[b->args_n] = room;
	b->lens[b->args_n++] = len;
	return room;
}

void batch__arg_mem(struct batch *b, const void *data, size_t len)
{
	char *room = add_arg(b, len);

	if (room && len > 0)
		memcpy(room, data, len);
}

void batch__arg_pair(struct batch *b, const char *first, const char *second)
{
	size_t first_len = strlen(first), second_len = strlen(second);
	char *room = add_arg(b, first_len + second_len);

	if (!room)
		return;
	memcpy(room, first, first_len);
	memcpy(room + first_len, second, second_len);
}

void batch__arg_int(struct batch *b, long long v)
{
	char digits[TEXT_INT_SIZE];

	batch__arg_mem(b, digits, text__int(digits, v));
}

void batch__arg_fmt(struct batch *b, const char *fmt, ...)
{
	char text[256], *all = NULL;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (len >= 0 && (size_t)len < sizeof(text)) {
		batch__arg_mem(b, text, (size_t)len);
		return;
	}
	va_start(args, fmt);
	len = vasprintf(&all, fmt, args);
	va_end(args);
	if (len < 0) {
		fail(b, -ENOMEM);
		return;
	}
	batch__arg_mem(b, all, (size_t)len);
	free(all);
}

int batch__replace_arg(struct batch *b, size_t i, size_t arg, const char *s)
{
	size_t len = strlen(s), at = b->first[i] + arg;
	char *room = reserve(b, len + 1);

	if (!room)
		return b->error;
	memcpy(room, s, len + 1);
	b->argv[at] = room;
	b->lens[at] = len;
	return 0;
}

int batch__error(const struct batch *b)
{
	return b->error;
}

void batch__set_points(struct batch *b, uint32_t points, int64_t made_ms)
{
	b->points = points;
	b->made_ms = made_ms;
}

void batch__mark_point(struct batch *b)
{
	if (!b->error && b->commands_n)
		b->marks[b->commands_n - 1]++;
}

void batch__copy(struct batch *b, const struct batch *from, size_t i)
{
	const char *const *argv;
	const size_t *lens;
	int argc = batch__get(from, i, &argv, &lens);

	batch__command(b, argv[0]);
	for (int k = 1; k < argc; k++)
		batch__arg_mem(b, argv[k], lens[k]);
	if (b->error)
		return;
	b->marks[b->commands_n - 1] = from->marks[i];
	b->points += from->marks[i];
}

uint32_t batch__points(const struct batch *b)
{
	return b->points;
}

int64_t batch__made_ms(const struct batch *b)
{
	return b->made_ms;
}

size_t batch__commands(const struct batch *b)
{
	return b->commands_n;
}

size_t batch__bytes(const struct batch *b)
{
	return sizeof(*b) + b->chunk_bytes + b->args_cap * (sizeof(*b->argv) + sizeof(*b->lens)) +
	       b->commands_cap * (sizeof(*b->first) + sizeof(*b->marks));
}

int batch__get(const struct batch *b, size_t i, const char *const **ret_argv, const size_t **ret_lens)
{
	size_t end;

	if (i >= b->commands_n)
		return 0;
	end = i + 1 < b->commands_n ? b->first[i + 1] : b->args_n;
	*ret_argv = b->argv + b->first[i];
	*ret_lens = b->lens + b->first[i];
	return (int)(end - b->first[i]);
}
