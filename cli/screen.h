/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A block of lines at the end of the terminal that is painted again and again in place; what stood above stays. The
 * terminal is given back as it was on every way out: end, exit(), a fatal signal, Ctrl-Z. One per program.
 *
 * Knows nothing of what it paints. Not thread-safe.
 */
#ifndef GILSCOPE_SCREEN_H
#define GILSCOPE_SCREEN_H

#include <stdbool.h>

/* Whether `fd` is a terminal that can move its cursor. */
bool screen__possible(int fd);

/* Takes the terminal `fd`: cursor hidden, no echo. Until screen__end(). 0 or -errno. */
int screen__begin(int fd);
bool screen__is_on(void);

/*
 * Replaces the block by `text`, lines separated by '\n'; lines are cut to the terminal's width and what is too high is
 * left out. Line `heading` (counted from 0; -1: none) stands out. Nothing happens while the program is in the background.
 */
void screen__paint(const char *text, int heading);

/* Replaces only the line below the block. */
void screen__status(const char *text);

/* Removes the block, so that something can be printed in its place; the next paint begins below it. */
void screen__erase(void);

/* Gives the terminal back. The block is removed. */
void screen__end(void);

#endif
