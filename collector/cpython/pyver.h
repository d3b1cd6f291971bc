/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which CPython a file is, and where that version keeps what gilscope reads.
 *
 * From 3.13 on the interpreter describes itself (_Py_DebugOffsets at _PyRuntime); before, a table
 * generated from CPython's headers (pyoffsets.inc) is used, with the size of _PyRuntime as its finger-
 * print. A layout that is not known must pass plausibility checks on live values or is refused.
 */
#ifndef GILSCOPE_PYVER_H
#define GILSCOPE_PYVER_H

#include <stdbool.h>
#include <stdint.h>

#include "collector/base/reason.h"
#include "collector/elf/elffile.h"

struct pyver {
	uint32_t hex;          /* PY_VERSION_HEX where the file tells, else major/minor only */
	int major, minor;
	int micro;             /* -1: not known */
	bool free_threaded;    /* built with --disable-gil */
	bool debug;            /* built with --with-pydebug */
	bool traces_refs;      /* built with --with-trace-refs: objects have a longer head */
	char text[24];         /* "3.11.2", "3.13.0t", "3.11.2d", "3.9" */
	const char *found_by;  /* "Py_Version", "debug offsets", "version string", "file name", "library's name" */
};

enum pyoffsets_source {
	PYOFFSETS_TABLE,         /* exact finger-print in the generated table */
	PYOFFSETS_TABLE_UNKNOWN, /* table of that minor version, unknown size or build: must be checked on live values */
	PYOFFSETS_DEBUG,         /* _Py_DebugOffsets of the file itself */
};

/* Offsets in bytes; PYOFF_NONE where the version has no such thing. */
#define PYOFF_NONE UINT32_MAX

struct pyoffsets {
	enum pyoffsets_source source;
	uint64_t runtime_size;            /* st_size of _PyRuntime this was made for; 0: any */
	uint32_t gil_interval;            /* in the GIL struct */
	uint32_t gil_last_holder;
	uint32_t gil_locked;
	uint32_t gil_cond;
	uint32_t gil_switch_cond;
	uint32_t gil_enabled;             /* free-threaded builds, else PYOFF_NONE */
	uint32_t runtime_gil;             /* 3.8-3.11: the GIL inside _PyRuntime */
	uint32_t runtime_interpreters_head;
	uint32_t runtime_gil_drop_request;/* 3.8 */
	uint32_t interp_next;
	uint32_t interp_id;
	uint32_t interp_threads_head;
	uint32_t interp_gil;              /* 3.12+: pointer to the interpreter's GIL */
	uint32_t interp_gil_drop_request; /* 3.9-3.12 */
	uint32_t runtime_gc;              /* 3.8: the garbage collector's state in _PyRuntime */
	uint32_t interp_gc;               /* 3.9+: in the interpreter */
	uint32_t gc_collecting;           /* in that state: int; PYOFF_NONE: not known, then nothing of it is */
	uint32_t gc_stats;                /* to 3.14: the numbers of collections, see gc_words.h */
	uint32_t gc_ring;                 /* 3.15: a pointer to them */
	uint32_t tstate_next;
	uint32_t tstate_interp;
	uint32_t tstate_thread_id;
	uint32_t tstate_native_thread_id; /* 3.11+ */
	uint32_t tstate_eval_breaker;     /* 3.13+: bit 0 = drop request */
	/* Objects, for names (pynames.c): interp_modules is PYOFF_NONE where they are not known. */
	uint32_t minor;                   /* of the version: set by pyver__offsets() */
	uint32_t interp_modules;          /* the dict behind sys.modules */
	uint32_t ob_type;
	uint32_t type_basicsize;
	uint32_t type_flags;
	uint32_t type_dictoffset;
	uint32_t type_cached_keys;        /* heap types: ht_cached_keys */
	uint32_t unicode_length;
	uint32_t unicode_state;
	uint32_t unicode_ascii_size;      /* where the characters of a compact ASCII string begin */
	uint32_t unicode_compact_size;    /* and of any other compact string */
	uint32_t long_size;               /* ob_size, from 3.12 on lv_tag */
	uint32_t long_digit;
	uint32_t dict_keys;
	uint32_t dict_values;
	uint32_t keys_size;               /* 3.8-3.10: dk_size */
	uint32_t keys_log2_size;          /* 3.11+, followed by dk_log2_index_bytes and dk_kind */
	uint32_t keys_nentries;
	uint32_t keys_indices;
	uint32_t values_values;           /* 3.11+: in PyDictValues */
	uint32_t type_name;
	uint32_t bytes_size;
	uint32_t bytes_data;
	/* Frames and code, for stacks (pystack.c): frame_code is PYOFF_NONE where they are not known. */
	uint32_t tstate_frame;            /* the innermost frame; 3.11 and 3.12: the CFrame that has it */
	uint32_t cframe_frame;            /* 3.11, 3.12 */
	uint32_t frame_previous;
	uint32_t frame_code;
	uint32_t frame_at;                /* 3.8-3.10: int, how far it is; later a pointer into the code */
	uint32_t frame_owner;             /* 3.11+: byte */
	uint32_t code_filename;           /* followed by co_name; 3.11+: by co_qualname and co_linetable, too */
	uint32_t code_firstlineno;
	uint32_t code_lines;              /* 3.8, 3.9: co_lnotab; later co_linetable */
	uint32_t code_bytes;              /* 3.11+: co_code_adaptive */
};

/* Identifies the CPython in `ef`. 0 or -ENOEXEC (refused, with the reason: not CPython, too old). */
int pyver__identify(struct elffile *ef, const char *path, struct pyver *ret, struct reason *why);

/* Finds the offsets. 0 or -ENOTSUP (no layout known for this version). */
int pyver__offsets(struct elffile *ef, const struct pyver *ver, struct pyoffsets *ret, struct reason *why);

/* No address of a program's has more bits (Documentation/arch/x86/x86_64/mm.rst, Documentation/arch/arm64/memory.rst). */
#ifdef __x86_64__
#define PYVER_USER_BITS 47
#else
#define PYVER_USER_BITS 52
#endif

/*
 * Offset of `tid` in glibc's struct pthread (nptl/descr.h): behind a header of 0x2c0 bytes on x86-64, 0xc0 elsewhere, and a
 * list's two pointers. Unchanged since 2.4. What is found there counts only if it is a thread of the process.
 */
#ifdef __x86_64__
#define PYVER_PTHREAD_TID 0x2d0
#else
#define PYVER_PTHREAD_TID 0xd0
#endif

#endif
