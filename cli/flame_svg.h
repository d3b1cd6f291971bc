/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stacks with weights as a flame graph: one SVG file that opens in any browser, with a tooltip per frame; a click zooms, a search
 * marks. Without scripts it is still the whole picture. Pure: folded stacks in, text out.
 *
 * A box is as wide as its share of the weight; boxes stand on their callers and are sorted by name, so that two pictures of the
 * same program can be compared. What would be narrower than a tenth of a pixel is left out, with what stands on it.
 */
#ifndef GILSCOPE_FLAME_SVG_H
#define GILSCOPE_FLAME_SVG_H

#include <stdint.h>
#include <stdio.h>

#define FLAME_DEPTH_MAX 1024 /* frames of a stack; what stands higher is cut off and counted as its topmost frame's own */

struct flame;

enum flame_unit {
	FLAME_US,    /* weights are microseconds */
	FLAME_NS,
	FLAME_COUNT,
};

/* NULL: no memory. */
struct flame *flame__new(void);
void flame__free(struct flame *f);

/*
 * Adds a stack, outermost frame first, names separated by ';': "main;serve;parse". Names from outside may be passed as they
 * are. 0 or -ENOMEM; -EINVAL: no frame has a name.
 */
int flame__add(struct flame *f, const char *stack, uint64_t weight);

/* Sum of all weights. */
uint64_t flame__total(const struct flame *f);

/* Writes folded stacks, a line for each with a weight of its own, in units of `divisor`; what is less than one is left out. */
void flame__fold(const struct flame *f, uint64_t divisor, FILE *to);

/* Writes the picture. Errors are the stream's. */
void flame__write(const struct flame *f, const char *title, enum flame_unit unit, FILE *to);

/* Writes the boxes as an <svg class="flame"> for a page that has its own style; no script. Errors are the stream's. */
void flame__write_part(const struct flame *f, const char *title, enum flame_unit unit, FILE *to);

#endif
