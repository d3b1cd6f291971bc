/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Blame read back: members of blame:<tier>, added up into one matrix. Pure; what writes them is schema_wide.c.
 *
 * For each victim wait = its pairs + rest + handover + unknown, in microseconds, as in the members.
 */
#ifndef GILSCOPE_SCHEMA_BLAME_H
#define GILSCOPE_SCHEMA_BLAME_H

#include <stdbool.h>
#include <stddef.h>

#include "collector/base/keymap.h"

#define BLAME_THR_SIZE 40

struct blame_victim {
	char thr[BLAME_THR_SIZE];
	double rest_us; /* waiting whose holders had no room among the pairs */
	double handover_us, unknown_us;
};

struct blame_pair {
	char victim[BLAME_THR_SIZE], holder[BLAME_THR_SIZE]; /* <thr> as in keys */
	double us;
};

struct blame_sum {
	struct blame_pair *pairs;
	size_t pairs_n;
	struct blame_victim *victims; /* who has a rest, a hand-over or an unknown part */
	size_t victims_n;
	struct keymap pair_index, victim_index; /* (hash, salt) -> the last one with it */
	bool sampled; /* light mode had a part in it */
};

/* Adds a member. 0, -EBADMSG (not one: nothing was added), -ENOMEM. */
int blame_sum__add(struct blame_sum *sum, const char *json, size_t len);

/* Largest pairs first. */
void blame_sum__sort(struct blame_sum *sum);
void blame_sum__free(struct blame_sum *sum);

#endif
