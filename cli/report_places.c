/* SPDX-License-Identifier: GPL-2.0-only */
/* See report_places.h. */
#include "report_places.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/look/gc_watch.h"
#include "collector/stacks/app_code.h"

struct place_text {
	char code[FUNCTION_CODE_SIZE], function[FUNCTION_CODE_SIZE], called[CODE_CALLER_SIZE], native[CODE_NATIVE_SIZE];
};

/* The kinds of a time: what was not spent off the CPU the thread ran. */
static void divide(double us[TIME_KINDS], double all_us, const double off_us[GIL_OFF_KINDS])
{
	us[TIME_ASLEEP] = off_us[GIL_OFF_BLOCKED];
	us[TIME_STARVED] = off_us[GIL_OFF_PREEMPTED];
	us[TIME_STOPPED] = off_us[GIL_OFF_STOPPED];
	us[TIME_UNSEEN] = off_us[GIL_OFF_UNSEEN];
	us[TIME_RUNS] = fmax(0, all_us - us[TIME_ASLEEP] - us[TIME_STARVED] - us[TIME_STOPPED] - us[TIME_UNSEEN]);
}

static bool is_extension(const char *native)
{
	return native && native[0] && strcmp(native, GC_NAME) != 0 && !app_code__is_interpreter(native);
}

static void put_place(struct verdict_place *place, struct place_text *text, const struct function_part *p)
{
	function_part__code(p, text->code);
	function_part__called(p, text->called);
	snprintf(text->native, sizeof(text->native), "%s", p->native ?: "");
	snprintf(text->function, sizeof(text->function), "%s %s %s %u", p->caller ?: "", p->function, p->file, p->firstlineno);
	*place = (struct verdict_place){
		.thread = p->thread, .code = text->code, .function = text->function, .called = text->called,
		.native = text->native, .over_us = p->over_us,
		.extension = is_extension(p->native), .gc = p->native && strcmp(p->native, GC_NAME) == 0,
	};
	if (!isnan(p->hold_us))
		divide(place->hold_us, p->hold_us, p->hold_off_us);
	divide(place->blame_us, p->blame_us, p->blame_off_us);
}

void report_places__take(struct report_places *places, const struct function_part *parts, size_t n)
{
	places->list = calloc(n + 1, sizeof(*places->list));
	places->texts = calloc(n + 1, sizeof(*places->texts));
	for (size_t i = 0; places->list && places->texts && i < n; i++)
		if (strcmp(parts[i].function, "?") != 0) {
			put_place(&places->list[places->n], &places->texts[places->n], &parts[i]);
			places->n++;
		}
}

void report_places__free(struct report_places *places)
{
	free(places->list);
	free(places->texts);
	*places = (struct report_places){0};
}
