/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between CPython's versions besides offsets: a family is one or several minor versions that do it alike, and has a
 * file of its own, family_3_NN.c. A new version is a new file and its line in pyfamily.c; nothing else asks for a minor version.
 */
#ifndef GILSCOPE_PYFAMILY_H
#define GILSCOPE_PYFAMILY_H

#include <stdbool.h>
#include <stdint.h>

#include "pyver.h"

/* How a code object says which lines its instructions are of. */
enum pyfamily_lines {
	LINES_LNOTAB,    /* co_lnotab: from which byte on */
	LINES_RANGES,    /* PEP 626: of how many bytes */
	LINES_LOCATIONS, /* PEP 657: with columns */
};

/* Where the attributes are of an object whose class has the interpreter manage them (pycore_object.h). */
enum pyfamily_attributes {
	ATTRIBUTES_BY_DICTOFFSET,   /* none is managed: a pointer to a dict where tp_dictoffset says */
	ATTRIBUTES_TWO_POINTERS,    /* 32 bytes before the object a pointer to values, 24 before one to a dict */
	ATTRIBUTES_TAGGED_POINTER,  /* 24 bytes before, to values if its lowest bit is set */
	ATTRIBUTES_BEHIND,          /* a dict 24 bytes before (free-threaded: 8), else values behind the object */
};

/*
 * Word indices in _Py_DebugOffsets (Include/internal/pycore_debug_offsets.h), by which an interpreter describes itself. The GIL's
 * members are counted from the interpreter's start.
 */
struct pyfamily_words {
	uint8_t runtime_size, interpreters_head;
	uint8_t interp_size, interp_id, interp_next, threads_head, ceval_gil, gil_state, gil_locked, gil_holder;
	uint8_t tstate_size, tstate_next, tstate_interp, thread_id, native_thread_id;
	uint8_t imports_modules;
	uint8_t current_frame, frame_size, code_size; /* their members follow, in the same order in each */
	bool gc_ring; /* the numbers of collections are behind a pointer, not before `collecting` */
};

struct pyfamily {
	int first, last; /* minor versions */
	enum pyfamily_lines lines;
	uint8_t code_unit;       /* bytes of code that a frame's place counts in, where it is a number */
	bool long_is_tagged;     /* an int's size has its sign and a bit for small ones below it */
	enum pyfamily_attributes attributes;
	uint8_t string_state_shift[2]; /* bits of a string's state before its kind; [1]: free-threaded */
	bool runtime_size_tells; /* no other version's _PyRuntime is as large */
	const struct pyfamily_words *words; /* NULL: it does not describe itself, a table is needed (pyoffsets.inc) */
	/*
	 * Objects, x86-64 and aarch64, of versions whose headers were not at hand when pyoffsets.inc was generated; [1]:
	 * free-threaded. basicsize 0: they are in pyoffsets.inc, or not known.
	 */
	struct pyoffsets objects[2];
};

/* Of a minor version; NULL: there is none, it is too old or not known yet. */
const struct pyfamily *pyfamily__of(int minor);

/* Of those that pyver__offsets() found; never NULL. */
const struct pyfamily *pyfamily__of_offsets(const struct pyoffsets *off);

/* The oldest and the newest minor version that has one. */
int pyfamily__oldest(void);
int pyfamily__newest(void);

/*
 * An object's offsets by the size of its head and by where a heap type keeps its cached keys: the same since 3.13, from the
 * headers of 3.13.5t, 3.14.0 to 3.14.10, 3.14.4t and 3.15.2.
 */
#define PYFAMILY_OBJECTS(head, cached_keys) { \
	.ob_type = (head) - 8, .type_basicsize = (head) + 16, .type_flags = (head) + 152, \
	.type_dictoffset = (head) + 272, .type_cached_keys = (cached_keys), .unicode_length = (head), \
	.unicode_state = (head) + 16, .unicode_ascii_size = (head) + 24, .unicode_compact_size = (head) + 40, \
	.long_size = (head), .long_digit = (head) + 8, .dict_keys = (head) + 16, .dict_values = (head) + 24, \
	.keys_size = PYOFF_NONE, .keys_log2_size = 8, .keys_nentries = 24, .keys_indices = 32, .values_values = 8, \
	.type_name = (head) + 8, .bytes_size = (head), .bytes_data = (head) + 16}

extern const struct pyfamily pyfamily__3_08, pyfamily__3_10, pyfamily__3_11, pyfamily__3_12, pyfamily__3_13, pyfamily__3_14,
	pyfamily__3_15;

#endif
