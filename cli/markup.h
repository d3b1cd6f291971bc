/* SPDX-License-Identifier: GPL-2.0-only */
/* Text from outside as text of HTML and SVG: between tags and inside of quoted attributes. Pure. */
#ifndef GILSCOPE_MARKUP_H
#define GILSCOPE_MARKUP_H

#include <stdio.h>

/* Writes UTF-8 text such that no character of it is markup. Errors are the stream's. */
void markup__text(FILE *to, const char *text);

#endif
