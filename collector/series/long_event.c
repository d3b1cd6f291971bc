/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See long_event.h. How many waited is of the moment that the programs told of; names are looked up later, when some may have
 * stopped waiting and others begun. So the number decides, and names fill it as far as they are known.
 */
#include "long_event.h"

#include <stdio.h>
#include <string.h>

#define MORE " and 4294967295 more"

void long_event__add_victim(struct long_event *e, const char *name)
{
	size_t len = strlen(e->victims);

	if (e->victims_n >= e->waiters || len + strlen(name) + sizeof(", " MORE) > sizeof(e->victims))
		return;
	snprintf(e->victims + len, sizeof(e->victims) - len, "%s%s", e->victims_n ? ", " : "", name);
	e->victims_n++;
}

void long_event__count_victims(struct long_event *e)
{
	size_t len = strlen(e->victims);

	if (e->victims_n && e->victims_n < e->waiters)
		snprintf(e->victims + len, sizeof(e->victims) - len, " and %u more", e->waiters - e->victims_n);
}
