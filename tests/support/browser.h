/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file as a browser shows it: headless Chromium opens it in a window without a network, a script of tests/browser/ looks at
 * it and works it, and a picture is taken of what the script has left.
 *
 * What goes wrong here fails the test, errors of the page's own scripts included; where Chromium is missing, it is skipped.
 */
#ifndef GILSCOPE_TESTS_BROWSER_H
#define GILSCOPE_TESTS_BROWSER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct browser_window {
	int width, height; /* CSS pixels, each one of the picture's */
	bool dark;         /* the reader prefers dark colours */
};

/* Skips the test where there is no browser. */
void browser__require(void);

/*
 * Shows `file` (absolute path). What look() of `script` ("flame.js") returned is the caller's. A member "pixels" of it, a list of
 * [x, y, red, green, blue], is held against the picture here: each must be there.
 */
json_t *browser__look(const char *file, const char *script, const struct browser_window *window);

#endif
