/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Code in Redis: members of code:<tier> and `long`, written by schema_code.c; the former added up here again. Pure.
 *
 * code:<tier> {"t":..,"d":..,"est":true,
 * "c":[["<thr>","<function>","<file>",line,hold,blame,wait,"<native>",ticks,error,"<caller>",[hold: asleep, without a
 * CPU, not known, stopped],[blame: the same]],...],"rest":[hold,blame,wait]}: the worst
 * places first; microseconds. `ticks` and the standard error of `hold` that comes of counting them are left out where there
 * were none (0 in front of
 * what follows, which is there as far as there is something to say); `est`:
 * `hold` is an estimate (light mode), else it is left out. long {"t":..,"kind":"hold" or "wait","open":true,
 * "since":..,"us":..,"thr":..,"name":..,"function":..,"file":..,"line":..,"native":..,"stack":..,"others":..}: `open` of one
 * that went on at `t`. `native`, the C code that ran there mostly ("module.so: function"), is left out where it is not known
 * ("" in front of ticks).
 */
#ifndef GILSCOPE_SCHEMA_CODE_H
#define GILSCOPE_SCHEMA_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/base/keymap.h"
#include "collector/series/sample.h"
#include "schema_blame.h"

struct code_place {
	char thr[BLAME_THR_SIZE];
	char function[CODE_FUNCTION_SIZE], file[CODE_FILE_SIZE];
	uint32_t line;
	double hold_us, blame_us, wait_us, over_us; /* as code_cell has them */
	double hold_off_us[GIL_OFF_KINDS], blame_off_us[GIL_OFF_KINDS]; /* of hold_us, blame_us: see code_cell */
	char native[CODE_NATIVE_SIZE]; /* code_cell.native */
	double ticks, err_us;          /* what hold_us rests on, 0: not on ticks, or not known; its standard error */
	char caller[CODE_CALLER_SIZE]; /* code_cell.caller */
};

/* Zeroed is empty. */
struct code_sum {
	struct code_place *places;
	size_t n;
	struct keymap index; /* (hash, salt) -> the last place with it */
	bool estimated;      /* light mode had a part in it: holds are estimates */
};

/* Adds a member. 0, -EBADMSG (not one: nothing was added), -ENOMEM. */
int code_sum__add(struct code_sum *sum, const char *json, size_t len);

void code_sum__free(struct code_sum *sum);

#endif
