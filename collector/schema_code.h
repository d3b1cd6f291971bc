/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Code in Redis: members of code:<tier> and `long`, written by schema_code.c; the former added up here again. Pure.
 *
 * code:<tier> {"t":..,"d":..,"c":[["<thr>","<function>","<file>",line,hold,blame,wait,"<native>"],...],
 * "rest":[hold,blame,wait]}: the worst places first; microseconds. long {"t":..,"kind":"hold" or "wait","open":true,"since":..,
 * "us":..,"thr":..,"name":..,"function":..,"file":..,"line":..,"native":..,"stack":..,"others":..}: `open` of one that went on at
 * `t`. `native`, the C code that ran there mostly ("module.so: function"), is left out where it is not known.
 */
#ifndef GILSCOPE_SCHEMA_CODE_H
#define GILSCOPE_SCHEMA_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keymap.h"
#include "sample.h"
#include "schema_blame.h"

struct code_place {
	char thr[BLAME_THR_SIZE];
	char function[CODE_FUNCTION_SIZE], file[CODE_FILE_SIZE];
	uint32_t line;
	double hold_us, blame_us, wait_us;
	char native[CODE_NATIVE_SIZE]; /* code_cell.native */
};

/* Zeroed is empty. */
struct code_sum {
	struct code_place *places;
	size_t n;
	struct keymap index; /* (hash, salt) -> the last place with it */
};

/* Adds a member. 0, -EBADMSG (not one: nothing was added), -ENOMEM. */
int code_sum__add(struct code_sum *sum, const char *json, size_t len);

void code_sum__free(struct code_sum *sum);

#endif
