/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `top` looks like: a model drawn on a canvas of any size. Pure.
 *
 * From top to bottom: who it is; a banner where something is not as it should be; how busy the GIL is and how many wait, each
 * with its past; rates, costs, losses; the threads; who waits for whom; the keys. What is lower than 16 lines has no pairs,
 * what is lower than 12 hardly a header. Narrow tables lose columns from the least important on.
 */
#ifndef GILSCOPE_TOP_VIEW_H
#define GILSCOPE_TOP_VIEW_H

#include "cli/canvas.h"
#include "top_model.h"

/* Draws all of it. Sets m->page_rows. `now_ms`: wall clock, for ages and notices. */
void top_view__draw(struct top_model *m, struct canvas *c, int64_t now_ms);

#endif
