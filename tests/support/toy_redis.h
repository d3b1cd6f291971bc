/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A server's state for tests: hashes and sorted sets, as far as the schema's commands go. Anything else fails the
 * test that sends it.
 */
#ifndef GILSCOPE_TOY_REDIS_H
#define GILSCOPE_TOY_REDIS_H

#include <stdbool.h>
#include <stddef.h>

#include "collector/schema/batch.h"

struct toy_entry {
	char *name;   /* member or field */
	char *value;  /* score as text, or the field's value */
	double score;
};

struct toy_key {
	char *name;
	bool is_hash;
	long long ttl_s; /* 0: none */
	struct toy_entry *entries; /* sorted sets: by score, then member */
	size_t n;
};

struct toy_redis {
	struct toy_key *keys;
	size_t n;
	bool in_multi;
};

/* Carries out every command of the batch. */
void toy_redis__apply(struct toy_redis *r, const struct batch *b);
void toy_redis__free(struct toy_redis *r);

const struct toy_key *toy_redis__key(const struct toy_redis *r, const char *name); /* NULL: no such key */
const struct toy_entry *toy_key__find(const struct toy_key *key, const char *name);
const char *toy_redis__hget(const struct toy_redis *r, const char *key, const char *field);

/* All keys, TTLs and entries as one text, to compare states. malloc'd. */
char *toy_redis__dump(const struct toy_redis *r);

#endif
