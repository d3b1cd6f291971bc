/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tables have by function, thread and line, as places for the judge (verdict.h): who did what where. Pure. */
#ifndef GILSCOPE_REPORT_PLACES_H
#define GILSCOPE_REPORT_PLACES_H

#include "collector/analysis/verdict.h"
#include "functions.h"

struct report_places {
	struct verdict_place *list;
	size_t n;
	struct place_text *texts; /* what they point to */
};

/* The parts' texts are copied. Without memory there are no places. To be followed by report_places__free(). */
void report_places__take(struct report_places *places, const struct function_part *parts, size_t n);
void report_places__free(struct report_places *places);

#endif
