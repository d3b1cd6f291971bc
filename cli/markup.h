/* SPDX-License-Identifier: GPL-2.0-only */
/* Text from outside as text of HTML, SVG and Markdown: between tags and inside of quoted attributes. Pure. */
#ifndef GILSCOPE_MARKUP_H
#define GILSCOPE_MARKUP_H

#include <stdio.h>

/* Writes UTF-8 text such that no character of it is markup. Errors are the stream's. */
void markup__text(FILE *to, const char *text);

/* The same for Markdown, in a cell of a table, too. */
void markup__markdown(FILE *to, const char *text);

#endif
