/* SPDX-License-Identifier: GPL-2.0-only */
/* See toy_redis.h. */
#include "toy_redis.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long find_key(const struct toy_redis *r, const char *name)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->keys[i].name, name) == 0)
			return (long)i;
	return -1;
}

const struct toy_key *toy_redis__key(const struct toy_redis *r, const char *name)
{
	long i = find_key(r, name);

	return i < 0 ? NULL : &r->keys[i];
}

const struct toy_entry *toy_key__find(const struct toy_key *key, const char *name)
{
	for (size_t i = 0; key && i < key->n; i++)
		if (strcmp(key->entries[i].name, name) == 0)
			return &key->entries[i];
	return NULL;
}

const char *toy_redis__hget(const struct toy_redis *r, const char *key, const char *field)
{
	const struct toy_entry *e = toy_key__find(toy_redis__key(r, key), field);

	return e ? e->value : NULL;
}

static void free_entries(struct toy_key *k)
{
	for (size_t i = 0; i < k->n; i++) {
		free(k->entries[i].name);
		free(k->entries[i].value);
	}
	free(k->entries);
	free(k->name);
}

static void delete_key(struct toy_redis *r, const char *name)
{
	long i = find_key(r, name);

	if (i < 0)
		return;
	free_entries(&r->keys[i]);
	r->keys[i] = r->keys[--r->n];
}

static struct toy_key *get_key(struct toy_redis *r, const char *name, bool is_hash)
{
	long i = find_key(r, name);

	if (i < 0) {
		r->keys = realloc(r->keys, (r->n + 1) * sizeof(*r->keys));
		i = (long)r->n++;
		r->keys[i] = (struct toy_key){.name = strdup(name), .is_hash = is_hash};
	}
	cr_assert_eq(r->keys[i].is_hash, is_hash, "WRONGTYPE %s", name);
	return &r->keys[i];
}

static void remove_entry(struct toy_key *k, size_t i)
{
	free(k->entries[i].name);
	free(k->entries[i].value);
	memmove(&k->entries[i], &k->entries[i + 1], (k->n - i - 1) * sizeof(*k->entries));
	k->n--;
}

static void remove_name(struct toy_key *k, const char *name)
{
	for (size_t i = 0; i < k->n; i++)
		if (strcmp(k->entries[i].name, name) == 0) {
			remove_entry(k, i);
			return;
		}
}

static void drop_if_empty(struct toy_redis *r, const char *name)
{
	const struct toy_key *k = toy_redis__key(r, name);

	if (k && k->n == 0)
		delete_key(r, name);
}

static bool before(const struct toy_key *k, const struct toy_entry *a, const struct toy_entry *b)
{
	if (!k->is_hash && a->score != b->score)
		return a->score < b->score;
	return strcmp(a->name, b->name) < 0;
}

static void put_entry(struct toy_key *k, const char *name, const char *value)
{
	struct toy_entry e = {.name = strdup(name), .value = strdup(value), .score = strtod(value, NULL)};
	size_t i;

	remove_name(k, name);
	k->entries = realloc(k->entries, (k->n + 1) * sizeof(*k->entries));
	for (i = k->n; i > 0 && before(k, &e, &k->entries[i - 1]); i--)
		k->entries[i] = k->entries[i - 1];
	k->entries[i] = e;
	k->n++;
}

static void put_pairs(struct toy_redis *r, const char *const *argv, int argc, bool is_hash)
{
	struct toy_key *k = get_key(r, argv[1], is_hash);

	cr_assert(argc >= 4 && argc % 2 == 0, "arity of %s %s: %d", argv[0], argv[1], argc);
	for (int i = 2; i < argc; i += 2)
		put_entry(k, argv[is_hash ? i : i + 1], argv[is_hash ? i + 1 : i]);
}

static void remove_names(struct toy_redis *r, const char *const *argv, int argc)
{
	long i = find_key(r, argv[1]);

	for (int a = 2; i >= 0 && a < argc; a++)
		remove_name(&r->keys[i], argv[a]);
	drop_if_empty(r, argv[1]);
}

static void remove_by_score(struct toy_redis *r, const char *const *argv)
{
	long i = find_key(r, argv[1]);

	cr_assert_str_eq(argv[2], "-inf");
	cr_assert_eq(argv[3][0], '(');
	while (i >= 0 && r->keys[i].n > 0 && r->keys[i].entries[0].score < strtod(argv[3] + 1, NULL))
		remove_entry(&r->keys[i], 0);
	drop_if_empty(r, argv[1]);
}

static void remove_by_rank(struct toy_redis *r, const char *const *argv)
{
	long i = find_key(r, argv[1]), end = strtol(argv[3], NULL, 10);

	cr_assert_str_eq(argv[2], "0");
	cr_assert_lt(end, 0);
	while (i >= 0 && (long)r->keys[i].n + end >= 0)
		remove_entry(&r->keys[i], 0);
	drop_if_empty(r, argv[1]);
}

static void expire(struct toy_redis *r, const char *const *argv, int argc)
{
	long i = find_key(r, argv[1]);

	cr_assert(argc == 3 || (argc == 4 && strcmp(argv[3], "NX") == 0));
	if (i >= 0 && (argc == 3 || !r->keys[i].ttl_s))
		r->keys[i].ttl_s = strtoll(argv[2], NULL, 10);
}

static void run(struct toy_redis *r, const char *const *argv, int argc)
{
	const char *c = argv[0];

	if (strcmp(c, "ZADD") == 0)
		put_pairs(r, argv, argc, false);
	else if (strcmp(c, "HSET") == 0)
		put_pairs(r, argv, argc, true);
	else if (strcmp(c, "ZREM") == 0 || strcmp(c, "HDEL") == 0)
		remove_names(r, argv, argc);
	else if (strcmp(c, "DEL") == 0 || strcmp(c, "UNLINK") == 0)
		delete_key(r, argv[1]);
	else if (strcmp(c, "EXPIRE") == 0)
		expire(r, argv, argc);
	else if (strcmp(c, "ZREMRANGEBYSCORE") == 0)
		remove_by_score(r, argv);
	else if (strcmp(c, "ZREMRANGEBYRANK") == 0)
		remove_by_rank(r, argv);
	else
		cr_assert_fail("the schema sends no %s", c);
}

void toy_redis__apply(struct toy_redis *r, const struct batch *b)
{
	cr_assert_eq(batch__error(b), 0);
	for (size_t i = 0; i < batch__commands(b); i++) {
		const char *const *argv;
		const size_t *lens;
		int argc = batch__get(b, i, &argv, &lens);

		for (int a = 0; a < argc; a++)
			cr_assert_eq(strlen(argv[a]), lens[a], "a NUL in an argument of %s", argv[0]);
		if (strcmp(argv[0], "MULTI") == 0 || strcmp(argv[0], "EXEC") == 0) {
			cr_assert_eq(r->in_multi, argv[0][0] == 'E');
			r->in_multi = !r->in_multi;
			continue;
		}
		run(r, argv, argc);
	}
	cr_assert_not(r->in_multi);
}

void toy_redis__free(struct toy_redis *r)
{
	for (size_t i = 0; i < r->n; i++)
		free_entries(&r->keys[i]);
	free(r->keys);
	*r = (struct toy_redis){0};
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct toy_key *)a)->name, ((const struct toy_key *)b)->name);
}

char *toy_redis__dump(const struct toy_redis *r)
{
	struct toy_key *keys = malloc(r->n * sizeof(*keys) + 1);
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	memcpy(keys, r->keys, r->n * sizeof(*keys));
	qsort(keys, r->n, sizeof(*keys), by_name);
	for (size_t i = 0; i < r->n; i++) {
		fprintf(f, "%s ttl %lld\n", keys[i].name, keys[i].ttl_s);
		for (size_t e = 0; e < keys[i].n; e++)
			fprintf(f, "  %s = %s\n", keys[i].entries[e].name, keys[i].entries[e].value);
	}
	fclose(f);
	free(keys);
	return text;
}
