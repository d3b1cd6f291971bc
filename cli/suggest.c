/* SPDX-License-Identifier: GPL-2.0-only */
/* See suggest.h. The distance is the restricted Damerau-Levenshtein one, on words of at most 31 letters. */
#include "suggest.h"

#include <string.h>

#define WORD_MAX 31
#define FAR 100

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Letters to add, drop, replace or swap with their neighbour to get from `a` to `b`; long words are all far apart. */
static size_t distance_between(const char *a, const char *b)
{
	size_t d[WORD_MAX + 2][WORD_MAX + 2];
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len > WORD_MAX || b_len > WORD_MAX)
		return FAR;
	for (size_t i = 0; i <= a_len; i++) {
		for (size_t j = 0; j <= b_len; j++) {
			if (i == 0 || j == 0) {
				d[i][j] = i + j;
				continue;
			}
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = min3(d[i][j], d[i - 2][j - 2] + 1, FAR);
		}
	}
	return d[a_len][b_len];
}

const char *suggest__word(const char *typed, const char *const *words, size_t n)
{
	size_t len = strlen(typed), best_distance = len < 4 ? 2 : 3;
	const char *best = NULL;

	for (size_t i = 0; i < n; i++) {
		size_t distance = distance_between(typed, words[i]);

		if (len > 0 && strncmp(words[i], typed, len) == 0)
			return words[i];
		if (distance < best_distance) {
			best_distance = distance;
			best = words[i];
		}
	}
	return best;
}
