/* SPDX-License-Identifier: GPL-2.0-only */
#include "pyfamily.h"

static const struct pyfamily_words words = {
	.runtime_size = 3, .interpreters_head = 5,
	.interp_size = 6, .interp_id = 7, .interp_next = 8, .threads_head = 9, .ceval_gil = 15, .gil_state = 16, .gil_locked = 18,
	.gil_holder = 19,
	.tstate_size = 22, .tstate_next = 24, .tstate_interp = 25, .thread_id = 27, .native_thread_id = 28,
	.imports_modules = 12,
	.current_frame = 26, .frame_size = 31, .code_size = 39,
};

/* `interned` of a string takes a byte in free-threaded builds. */
const struct pyfamily pyfamily__3_14 = {
	.first = 14, .last = 14,
	.lines = LINES_LOCATIONS, .code_unit = 1, .long_is_tagged = true,
	.attributes = ATTRIBUTES_BEHIND, .string_state_shift = {2, 8},
	.words = &words,
	.objects = {PYFAMILY_OBJECTS(16, 880), PYFAMILY_OBJECTS(32, 896)},
};
