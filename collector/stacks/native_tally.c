/* SPDX-License-Identifier: GPL-2.0-only */
/* See native_tally.h. */
#include "native_tally.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES 4
#define MANY 512 /* looks, after which all counts are halved: what was long ago counts less */

struct seen {
	struct native_chain chain;
	uint32_t looks; /* 0: free */
};

struct native_tally {
	struct seen names[NAMES], modules[NAMES];
	uint32_t all; /* those of the others and of none included */
};

static void halve(struct native_tally *t)
{
	t->all /= 2;
	for (size_t i = 0; i < NAMES; i++) {
		t->names[i].looks /= 2;
		t->modules[i].looks /= 2;
	}
}

/* The place of that name, or of the one seen least. */
static struct seen *place_of(struct seen *list, const char *name)
{
	struct seen *least = list;

	for (struct seen *s = list; s < list + NAMES; s++) {
		if (s->looks && strcmp(s->chain.name, name) == 0)
			return s;
		if (s->looks < least->looks)
			least = s;
	}
	return least;
}

static void count(struct seen *list, const struct native_chain *chain)
{
	struct seen *s = place_of(list, chain->name);

	if (s->looks && strcmp(s->chain.name, chain->name) != 0) {
		s->looks--; /* one that comes often gets the place in the end */
		return;
	}
	s->chain = *chain;
	s->looks++;
}

void native_tally__add(struct native_tally **t, const struct native_chain *chain)
{
	struct native_tally *tally = *t ? *t : calloc(1, sizeof(*tally));
	struct native_chain module = {.name = ""};

	if (!tally)
		return;
	*t = tally;
	if (++tally->all > MANY)
		halve(tally);
	if (!chain->name[0])
		return;
	count(tally->names, chain);
	snprintf(module.name, sizeof(module.name), "%s", chain->module);
	snprintf(module.line, sizeof(module.line), "%s", chain->module);
	memcpy(module.module, chain->module, sizeof(module.module));
	count(tally->modules, &module);
}

static const struct native_chain *most(const struct native_tally *t, const struct seen *list, double share)
{
	for (size_t i = 0; i < NAMES; i++)
		if (list[i].looks && list[i].looks >= share * t->all)
			return &list[i].chain;
	return NULL;
}

const struct native_chain *native_tally__winner(const struct native_tally *t)
{
	const struct native_chain *name = t ? most(t, t->names, 0.5) : NULL;

	return name || !t ? name : most(t, t->modules, 0.75);
}

void native_tally__free(struct native_tally *t)
{
	free(t);
}
