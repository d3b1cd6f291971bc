/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The functions whose holds made others wait, added up over their lines and over the threads that ran them: a pool of eight
 * threads has one guilty function, not eight. Of a sample or of what Redis has; shown by the closing summary and by report. Pure.
 */
#ifndef GILSCOPE_FUNCTIONS_H
#define GILSCOPE_FUNCTIONS_H

#include <jansson.h>

#include "code.h"
#include "out.h"

#define FUNCTION_CODE_SIZE (CODE_CALLER_SIZE + CODE_TEXT_SIZE + CODE_NATIVE_SIZE)

/* What one thread did in one line of one function. Texts are the caller's, and stay while it adds up. */
struct function_part {
	const char *function, *file, *native, *caller;
	uint32_t line, firstlineno; /* 0: not known */
	size_t thread;              /* threads are told apart by it */
	const char *thread_name;
	double hold_us, blame_us;   /* hold NAN: not known */
	double over_us;             /* code_cell.over_ns */
	double hold_off_us[GIL_OFF_KINDS], blame_off_us[GIL_OFF_KINDS]; /* of both, as code_cell has them */
};

struct function_time {
	char place[CODE_TEXT_SIZE]; /* with the line that others waited for the most */
	char native[CODE_NATIVE_SIZE]; /* the C code there; "": not known */
	char code[FUNCTION_CODE_SIZE]; /* both in short, from the application's function on: "save (shop.py:31) -> json.dumps" */
	char who[80];               /* "worker-1", "8 threads" */
	size_t threads;             /* that made others wait there; 0: none did */
	double hold_us, blame_us;
};

/*
 * The functions of these parts, who made others wait the most first; only of the thread `only`, unless it is SIZE_MAX. Orders the
 * parts. Array of *ret_n, caller frees; NULL: no memory.
 */
struct function_time *functions__sum(struct function_part *parts, size_t n, size_t only, size_t *ret_n);

/* The `max` worst of them that others waited for, as rows; `about`: their holds are estimates. NULL: no memory. */
struct out *functions__table(const struct function_time *list, size_t n, size_t max, bool about);

/* The same for people: in one column, from the application's function on. */
struct out *functions__short_table(const struct function_time *list, size_t n, size_t max, bool about);

/* What the application called in a library: "json.dumps", or the innermost frame itself; else "". Returns buf. */
const char *function_part__called(const struct function_part *p, char buf[CODE_CALLER_SIZE]);

/* "save (shop.py:31) -> json.dumps -> _json: encode": the application's frame, what it called, and the C code. Returns buf. */
const char *function_part__code(const struct function_part *p, char buf[FUNCTION_CODE_SIZE]);

#endif
