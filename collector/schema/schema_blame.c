/* SPDX-License-Identifier: GPL-2.0-only */
/* See schema_blame.h. A member of ours has at most 64 pairs and some hundred victims; what a server sends may have any number. */
#include "schema_blame.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "schema_member.h"

#define MAX_PAIRS 65536 /* kept apart; the rest of a hostile history is refused */
#define MAX_US 1e15

/* A <thr>: digits, dots, letters of "other" and "unknown"; anything else is none. */
static bool take_thr(const json_t *json, char dst[BLAME_THR_SIZE])
{
	const char *text = json_string_value(json);
	size_t len = text ? strlen(text) : 0;

	if (len == 0 || len >= BLAME_THR_SIZE || len != json_string_length(json) ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.") != len)
		return false;
	memcpy(dst, text, len + 1);
	return true;
}

static bool take_us(const json_t *json, double *ret)
{
	*ret = json_is_number(json) ? json_number_value(json) : -1;
	return *ret >= 0 && *ret <= MAX_US;
}

static void *append(void *array, size_t n, size_t size)
{
	/* Powers of two: it need not be stored how much there is. */
	return n && (n & (n - 1)) ? array : reallocarray(array, n ? 2 * n : 1, size);
}

/* Of two with one hash the first is not found again: it stands there twice. */
static struct blame_pair *find_pair(struct blame_sum *sum, const struct blame_pair *pair, uint64_t hash)
{
	uint32_t at = keymap__get(&sum->pair_index, hash, keymap__salt());
	struct blame_pair *known = at == KEYMAP_NONE ? NULL : &sum->pairs[at];

	return known && !strcmp(known->victim, pair->victim) && !strcmp(known->holder, pair->holder) ? known : NULL;
}

static uint64_t hash_of(const struct blame_pair *pair)
{
	return text__hash(text__hash(TEXT_HASH, pair->victim), pair->holder);
}

static int add_pair(struct blame_sum *sum, const struct blame_pair *pair)
{
	uint64_t hash = hash_of(pair);
	struct blame_pair *known = find_pair(sum, pair, hash), *grown;

	if (known) {
		known->us += pair->us;
		return 0;
	}
	if (sum->pairs_n == MAX_PAIRS)
		return -EBADMSG;
	grown = append(sum->pairs, sum->pairs_n, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	sum->pairs = grown;
	if (keymap__put(&sum->pair_index, hash, keymap__salt(), (uint32_t)sum->pairs_n))
		return -ENOMEM;
	sum->pairs[sum->pairs_n++] = *pair;
	return 0;
}

static struct blame_victim *victim_of(struct blame_sum *sum, const char *thr)
{
	uint64_t hash = text__hash(TEXT_HASH, thr);
	uint32_t at = keymap__get(&sum->victim_index, hash, keymap__salt());
	struct blame_victim *grown;

	if (at != KEYMAP_NONE && !strcmp(sum->victims[at].thr, thr))
		return &sum->victims[at];
	grown = sum->victims_n < MAX_PAIRS ? append(sum->victims, sum->victims_n, sizeof(*grown)) : NULL;
	if (!grown)
		return NULL;
	sum->victims = grown;
	if (keymap__put(&sum->victim_index, hash, keymap__salt(), (uint32_t)sum->victims_n))
		return NULL;
	grown += sum->victims_n++;
	memset(grown, 0, sizeof(*grown));
	strcpy(grown->thr, thr);
	return grown;
}

/* ---- first all of a member is looked at, then all of it is added ---- */

typedef int part_fn(struct blame_sum *sum, const char *thr, double us);

static int each_part(const json_t *object, struct blame_sum *sum, part_fn *add)
{
	const char *name;
	json_t *value;
	int err = 0;

	if (object && !json_is_object(object))
		return -EBADMSG;
	json_object_foreach((json_t *)object, name, value)
	{
		json_t *text = json_string(name);
		char thr[BLAME_THR_SIZE];
		double us;

		if (!take_thr(text, thr) || !take_us(value, &us))
			err = -EBADMSG;
		else if (add)
			err = add(sum, thr, us) ?: err;
		json_decref(text);
	}
	return err;
}

static int each_pair(const json_t *list, struct blame_sum *sum, bool add)
{
	const json_t *item;
	size_t i;
	int err = 0;

	if (!json_is_array(list))
		return -EBADMSG;
	json_array_foreach(list, i, item)
	{
		struct blame_pair pair;

		if (!take_thr(json_array_get(item, 0), pair.victim) || !take_thr(json_array_get(item, 1), pair.holder) ||
		    !take_us(json_array_get(item, 2), &pair.us))
			return -EBADMSG;
		if (add)
			err = add_pair(sum, &pair) ?: err;
	}
	return err;
}

#define PART(field) \
	static int add_##field(struct blame_sum *sum, const char *thr, double us) \
	{ \
		struct blame_victim *v = victim_of(sum, thr); \
		if (!v) \
			return -ENOMEM; \
		v->field##_us += us; \
		return 0; \
	}
PART(rest)
PART(handover)
PART(unknown)
#undef PART

static int walk(const json_t *row, struct blame_sum *sum, bool add)
{
	int err = each_pair(json_object_get(row, "b"), sum, add);

	err = err ?: each_part(json_object_get(row, "rest"), sum, add ? add_rest : NULL);
	err = err ?: each_part(json_object_get(row, "handover"), sum, add ? add_handover : NULL);
	return err ?: each_part(json_object_get(row, "unknown"), sum, add ? add_unknown : NULL);
}

int blame_sum__add(struct blame_sum *sum, const char *json, size_t len)
{
	json_t *row = NULL;
	int err = schema_member__parse(json, len, &row);

	err = err ?: walk(row, sum, false);
	err = err ?: walk(row, sum, true);
	if (!err)
		sum->sampled |= json_is_true(json_object_get(row, "sampled"));
	json_decref(row);
	return err;
}

static int larger_first(const void *a, const void *b)
{
	double x = ((const struct blame_pair *)a)->us, y = ((const struct blame_pair *)b)->us;

	return x < y ? 1 : x > y ? -1
				 : 0;
}

void blame_sum__sort(struct blame_sum *sum)
{
	if (!sum->pairs_n)
		return;
	qsort(sum->pairs, sum->pairs_n, sizeof(*sum->pairs), larger_first);
	for (size_t i = 0; sum->pair_index.used && i < sum->pairs_n; i++) /* replaces what is there: no memory is taken */
		keymap__put(&sum->pair_index, hash_of(&sum->pairs[i]), keymap__salt(), (uint32_t)i);
}

void blame_sum__free(struct blame_sum *sum)
{
	free(sum->pairs);
	free(sum->victims);
	keymap__free(&sum->pair_index);
	keymap__free(&sum->victim_index);
	*sum = (struct blame_sum){0};
}
