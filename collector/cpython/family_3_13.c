/* SPDX-License-Identifier: GPL-2.0-only */
#include "pyfamily.h"

static const struct pyfamily_words words = {
	.runtime_size = 3, .interpreters_head = 5,
	.interp_size = 6, .interp_id = 7, .interp_next = 8, .threads_head = 9, .ceval_gil = 14, .gil_state = 15, .gil_locked = 17,
	.gil_holder = 18,
	.tstate_size = 19, .tstate_next = 21, .tstate_interp = 22, .thread_id = 24, .native_thread_id = 25,
	.imports_modules = 11,
	.current_frame = 23, .frame_size = 28, .code_size = 34,
};

/* The first that describes itself, and that can be built without a GIL (PEP 703). */
const struct pyfamily pyfamily__3_13 = {
	.first = 13, .last = 13,
	.lines = LINES_LOCATIONS, .code_unit = 1, .long_is_tagged = true,
	.attributes = ATTRIBUTES_BEHIND, .string_state_shift = {2, 2},
	.words = &words,
	.objects = {[1] = PYFAMILY_OBJECTS(32, 896)},
};
