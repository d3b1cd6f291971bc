/* SPDX-License-Identifier: GPL-2.0-only */
#include "pyfamily.h"

/* Frames without objects, managed attributes, PEP 657's lines. */
const struct pyfamily pyfamily__3_11 = {
	.first = 11, .last = 11,
	.lines = LINES_LOCATIONS, .code_unit = 1,
	.attributes = ATTRIBUTES_TWO_POINTERS, .string_state_shift = {2, 2},
	.runtime_size_tells = true,
};
