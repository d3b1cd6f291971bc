/* SPDX-License-Identifier: GPL-2.0-only */
/* See thread_pools.h. A name is what stands before its last number, the number, and what stands behind it. */
#include "thread_pools.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_DIGITS 9 /* longer ones are no count: addresses, ids */

struct parts {
	char head[THREAD_POOL_NAME_SIZE], tail[THREAD_POOL_NAME_SIZE];
	bool numbered;
	unsigned long number;
};

/* The length without " (1234)". */
static size_t without_id(const char *name)
{
	size_t len = strlen(name), at = len;

	if (at < 4 || name[at - 1] != ')')
		return len;
	for (at--; at > 0 && isdigit((unsigned char)name[at - 1]); at--)
		;
	return at < len - 1 && at > 2 && name[at - 1] == '(' && name[at - 2] == ' ' ? at - 2 : len;
}

/* "Thread-3 (serve)" has its number before what stands in brackets. */
static size_t end_of_number(const char *name, size_t len)
{
	const char *open = len && name[len - 1] == ')' ? memrchr(name, '(', len) : NULL;
	size_t end = open && open > name && open[-1] == ' ' ? (size_t)(open - 1 - name) : len;

	return end > 0 && isdigit((unsigned char)name[end - 1]) ? end : 0;
}

static void take_apart(const char *name, struct parts *ret)
{
	size_t len = without_id(name), end = end_of_number(name, len), begin = end;

	*ret = (struct parts){.numbered = false};
	while (begin > 0 && isdigit((unsigned char)name[begin - 1]))
		begin--;
	if (!end || begin == 0 || end - begin > NUMBER_DIGITS) {
		snprintf(ret->head, sizeof(ret->head), "%.*s", (int)len, name);
		return;
	}
	ret->numbered = true;
	ret->number = strtoul(name + begin, NULL, 10);
	snprintf(ret->head, sizeof(ret->head), "%.*s", (int)begin, name);
	snprintf(ret->tail, sizeof(ret->tail), "%.*s", (int)(len - end), name + end);
}

static bool is_same_pool(const struct parts *a, const struct parts *b)
{
	return a->numbered == b->numbered && strcmp(a->head, b->head) == 0 && strcmp(a->tail, b->tail) == 0;
}

struct span {
	struct parts parts; /* of its first thread */
	unsigned long least, most;
};

static void put_name(const struct span *s, const char *first, struct thread_pool *pool)
{
	const struct parts *p = &s->parts;
	size_t span = (size_t)(s->most - s->least) + 1;

	if (pool->n == 1)
		snprintf(pool->name, sizeof(pool->name), "%s", first);
	else if (!p->numbered)
		snprintf(pool->name, sizeof(pool->name), "%s (%zu threads)", p->head, pool->n);
	else if (span == pool->n)
		snprintf(pool->name, sizeof(pool->name), "%s%lu..%lu%s", p->head, s->least, s->most, p->tail);
	else
		snprintf(pool->name, sizeof(pool->name), "%s*%s (%zu threads)", p->head, p->tail, pool->n);
}

/* The pool of a name among those found; a new one is put behind them. */
static size_t find_pool(struct span *spans, struct thread_pool *pools, size_t *n, const struct parts *p)
{
	for (size_t i = 0; i < *n; i++)
		if (is_same_pool(&spans[i].parts, p))
			return i;
	spans[*n] = (struct span){.parts = *p, .least = p->number, .most = p->number};
	pools[*n].n = 0;
	return (*n)++;
}

static void name_all(const struct span *spans, struct thread_pool *pools, size_t pools_n, const char *const *names, size_t n,
		     const size_t *pool_of)
{
	for (size_t i = n; i-- > 0; ) /* so that the first thread's name is what stays */
		snprintf(pools[pool_of[i]].name, sizeof(pools[0].name), "%s", names[i]);
	for (size_t i = 0; i < pools_n; i++) {
		char first[THREAD_POOL_NAME_SIZE];

		memcpy(first, pools[i].name, sizeof(first));
		put_name(&spans[i], first, &pools[i]);
	}
}

struct thread_pool *thread_pools__make(const char *const *names, size_t n, size_t *pool_of, size_t *ret_n)
{
	struct thread_pool *pools = calloc(n + 1, sizeof(*pools));
	struct span *spans = calloc(n + 1, sizeof(*spans));

	*ret_n = 0;
	for (size_t i = 0; pools && spans && i < n; i++) {
		struct parts p;
		struct span *s;

		take_apart(names[i], &p);
		pool_of[i] = find_pool(spans, pools, ret_n, &p);
		pools[pool_of[i]].n++;
		s = &spans[pool_of[i]];
		s->least = p.number < s->least ? p.number : s->least;
		s->most = p.number > s->most ? p.number : s->most;
	}
	if (pools && spans)
		name_all(spans, pools, *ret_n, names, n, pool_of);
	if (!spans) {
		free(pools);
		pools = NULL;
	}
	free(spans);
	return pools;
}
