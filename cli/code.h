/* SPDX-License-Identifier: GPL-2.0-only */
/* Code on the screen: which function of which thread made others wait, in tables, sentences and JSON. Pure. */
#ifndef GILSCOPE_CODE_H
#define GILSCOPE_CODE_H

#include <jansson.h>
#include <stdio.h>

#include "collector/series/long_event.h"

#define CODE_TEXT_SIZE 400

/* "function (dir/file.py:12)", "?" , "(no Python code)". Returns buf. */
const char *code__place(const char *function, const char *file, uint32_t line, char buf[CODE_TEXT_SIZE]);

struct function_part;

/*
 * The same of a function, file and line with the C code that ran there: "function (dir/file.py:12), in _json: encode"; from the
 * application's code on if that called it: "save (shop.py:31) -> json.dumps -> _json: encode". Returns buf.
 */
const char *code__where(const struct function_part *p, char buf[CODE_TEXT_SIZE]);

#define CODE_NAME_SIZE (THREAD_NAME_SIZE + 16)

/*
 * The sample's code, to be added up by functions.h; `names`, one for each of its threads, are set, and must stay as long.
 * Array of code_n, caller frees; NULL: no memory.
 */
struct function_part *code__parts(const struct proc_sample *s, char (*names)[CODE_NAME_SIZE]);

/* The sentence and the table of the closing summary; nothing where no code made anybody wait. */
void code__print(FILE *to, const struct proc_sample *s, size_t width);

/* Array of objects; NULL: stacks were not asked for (or no memory). */
json_t *code__json(const struct proc_sample *s);

/* The sentence on a long hold or wait, and the same without the thread's name in front. Returns buf. */
const char *code__long(const struct long_event *e, char *buf, size_t size);
const char *code__long_words(const struct long_event *e, char *buf, size_t size);

/* What a thread of that name is called there. */
const char *code__long_name(const char *name);

#endif
