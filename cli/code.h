/* SPDX-License-Identifier: GPL-2.0-only */
/* Code on the screen: which function of which thread made others wait, in tables, sentences and JSON. Pure. */
#ifndef GILSCOPE_CODE_H
#define GILSCOPE_CODE_H

#include <jansson.h>
#include <stdio.h>

#include "../collector/long_event.h"

#define CODE_TEXT_SIZE 400

/* "function (dir/file.py:12)", "?" , "(no Python code)". Returns buf. */
const char *code__place(const char *function, const char *file, uint32_t line, char buf[CODE_TEXT_SIZE]);

/* The same, with the C code that ran there ("" or NULL: not known): "function (dir/file.py:12), in module.so: function". */
const char *code__where(const char *function, const char *file, uint32_t line, const char *native, char buf[CODE_TEXT_SIZE]);

/* One function of one thread: all its lines together, shown with the worst of them. */
struct code_guilt {
	const struct code_cell *cell; /* the worst line's; NULL: there is none */
	uint64_t hold_ns, blame_ns, wait_ns;
};

/* The function that made others wait the most: of that thread (an index), or of any if it is SIZE_MAX. */
struct code_guilt code__worst(const struct proc_sample *s, size_t thread);

/* The sentence and the table of the closing summary; nothing where no code made anybody wait. */
void code__print(FILE *to, const struct proc_sample *s, size_t width);

/* Array of objects; NULL: stacks were not asked for (or no memory). */
json_t *code__json(const struct proc_sample *s);

/* The sentence on a long hold or wait. Returns buf. */
const char *code__long(const struct long_event *e, char *buf, size_t size);

#endif
