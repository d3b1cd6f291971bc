/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The whole terminal for `top`: a canvas is shown on it, keys come from it. The only file that knows ncurses.
 *
 * The terminal is given back as it was on every way out: end, exit(), a fatal signal; Ctrl-Z in between. One per program, one
 * thread.
 */
#ifndef GILSCOPE_TOP_SCREEN_H
#define GILSCOPE_TOP_SCREEN_H

#include "cli/canvas.h"
#include "collector/base/reason.h"

/* Whether there is a terminal at all: 0, or -ENOTTY and a sentence. */
int top_screen__check(struct reason *why);

/* Takes the terminal that standard input and output are. 0, or -ENOTTY (one that can't do it) and a sentence. */
int top_screen__open(struct reason *why);
void top_screen__close(void);

/* Its size, and whether it shows no more than ASCII. */
void top_screen__size(size_t *ret_columns, size_t *ret_lines, bool *ret_ascii);

/* Shows a page. `anew`: everything, for a terminal that somebody else wrote on. */
void top_screen__show(const struct canvas *c, bool anew);

/* The next key that was pressed (enum top_key), TOP_KEY_NONE: there is none. Does not wait. */
int top_screen__key(void);

#endif
