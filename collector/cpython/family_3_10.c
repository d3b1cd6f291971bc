/* SPDX-License-Identifier: GPL-2.0-only */
#include "pyfamily.h"

/* PEP 626's lines; a frame counts instructions of two bytes. */
const struct pyfamily pyfamily__3_10 = {
	.first = 10, .last = 10,
	.lines = LINES_RANGES, .code_unit = 2,
	.attributes = ATTRIBUTES_BY_DICTOFFSET, .string_state_shift = {2, 2},
};
