/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The end of a GIL: that of a sub-interpreter dies with it, and another one may have its memory in the next moment.
 *
 * The programs notice the second (gil.bpf.c), this the first. Either way the GIL's place in the tables is emptied and given
 * back, but not before the last numbers of its threads were collected. The picture is at enum gil_place.
 */
#ifndef GILSCOPE_GIL_LIFE_H
#define GILSCOPE_GIL_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "collector/probes/probes.h"

/* Whether a place (gil_proc.gil_addr) has numbers of a GIL, ended or not. */
static inline bool gil_life__is_used(uint64_t place)
{
	return place == GIL_PLACE_ENDED || place > GIL_PLACE_LAST;
}

/*
 * Looks for GILs that have ended and frees the places of those that were collected for good. To be called after each
 * collection of a process. `runtime`: address of _PyRuntime; `slots_end`: no slot from there on is in use now. Returns the
 * places that were freed, a bit each.
 */
uint32_t gil_life__mind(struct probes *p, uint32_t slot, const struct pyoffsets *off, uint64_t runtime,
			uint32_t slots_end);

#endif
