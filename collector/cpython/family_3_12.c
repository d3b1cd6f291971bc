/* SPDX-License-Identifier: GPL-2.0-only */
#include "pyfamily.h"

/* A GIL for each interpreter that wants one (PEP 684). */
const struct pyfamily pyfamily__3_12 = {
	.first = 12, .last = 12,
	.lines = LINES_LOCATIONS, .code_unit = 1, .long_is_tagged = true,
	.attributes = ATTRIBUTES_TAGGED_POINTER, .string_state_shift = {2, 2},
	.runtime_size_tells = true,
};
