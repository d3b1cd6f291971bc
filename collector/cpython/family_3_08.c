/* SPDX-License-Identifier: GPL-2.0-only */
#include "pyfamily.h"

const struct pyfamily pyfamily__3_08 = {
	.first = 8, .last = 9,
	.lines = LINES_LNOTAB, .code_unit = 1,
	.attributes = ATTRIBUTES_BY_DICTOFFSET, .string_state_shift = {2, 2},
};
