/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether a page says what the program's tables say. */
#ifndef GILSCOPE_TESTS_DOCUMENT_H
#define GILSCOPE_TESTS_DOCUMENT_H

/* The words of `row` stand in the page at `path`, whatever the blanks between them and the marks of troff and Markdown. */
void document__must_say(const char *path, const char *row);

#endif
