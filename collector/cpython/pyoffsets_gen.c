/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Prints one row of pyoffsets.inc: where the CPython whose internal headers this is compiled against keeps what
 * gilscope reads. Not a part of gilscope: gen_pyoffsets.sh compiles and runs it once per set of headers.
 */
#define Py_BUILD_CORE 1
#include <Python.h>

#include <stddef.h>
#include <stdio.h>

#include "internal/pycore_gil.h"
#if PY_VERSION_HEX >= 0x030b0000
#include "internal/pycore_dict.h"
#include "internal/pycore_frame.h"
#else
#include <frameobject.h>
#endif
#if PY_VERSION_HEX >= 0x03090000
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#else
#include "internal/pycore_pystate.h"
#endif

#define NONE -1L
#define GIL(field) ((long)offsetof(struct _gil_runtime_state, field))
#define RUNTIME(field) ((long)offsetof(_PyRuntimeState, field))
#define INTERP(field) ((long)offsetof(PyInterpreterState, field))
#define TSTATE(field) ((long)offsetof(PyThreadState, field))

/* What moved from one place to another, or came, by version. */
#if PY_VERSION_HEX >= 0x030c0000
#define RUNTIME_GIL NONE
#define INTERP_GIL INTERP(ceval.gil)
#else
#define RUNTIME_GIL RUNTIME(ceval.gil)
#define INTERP_GIL NONE
#endif

#if PY_VERSION_HEX >= 0x030d0000
#define RUNTIME_DROP NONE
#define INTERP_DROP NONE
#define TSTATE_BREAKER TSTATE(eval_breaker)
#elif PY_VERSION_HEX >= 0x03090000
#define RUNTIME_DROP NONE
#define INTERP_DROP INTERP(ceval.gil_drop_request)
#define TSTATE_BREAKER NONE
#else
#define RUNTIME_DROP RUNTIME(ceval.gil_drop_request)
#define INTERP_DROP NONE
#define TSTATE_BREAKER NONE
#endif

#if PY_VERSION_HEX >= 0x03090000
#define RUNTIME_GC NONE
#define INTERP_GC INTERP(gc)
#else
#define RUNTIME_GC RUNTIME(gc)
#define INTERP_GC NONE
#endif
#define GC(field) ((long)offsetof(struct _gc_runtime_state, field))

#if PY_VERSION_HEX >= 0x030b0000
#define INTERP_THREADS INTERP(threads.head)
#define TSTATE_NATIVE TSTATE(native_thread_id)
#else
#define INTERP_THREADS INTERP(tstate_head)
#define TSTATE_NATIVE NONE
#endif

#if PY_VERSION_HEX >= 0x030c0000
#define INTERP_MODULES INTERP(imports.modules)
#define LONG_SIZE ((long)offsetof(struct _longobject, long_value.lv_tag))
#define LONG_DIGIT ((long)offsetof(struct _longobject, long_value.ob_digit))
#else
#define INTERP_MODULES INTERP(modules)
#define LONG_SIZE ((long)offsetof(PyVarObject, ob_size))
#define LONG_DIGIT ((long)offsetof(struct _longobject, ob_digit))
#endif

/* Up to 3.10 struct _dictkeysobject stands in no installed header: this is its head (Objects/dict-common.h). */
#if PY_VERSION_HEX >= 0x030b0000
#define KEYS(field) ((long)offsetof(struct _dictkeysobject, field))
#define KEYS_SIZE NONE
#define KEYS_LOG2_SIZE KEYS(dk_log2_size)
#define VALUES_VALUES ((long)offsetof(struct _dictvalues, values))
#else
struct dict_keys {
	Py_ssize_t dk_refcnt;
	Py_ssize_t dk_size;
	void *dk_lookup;
	Py_ssize_t dk_usable;
	Py_ssize_t dk_nentries;
	char dk_indices[];
};
#define KEYS(field) ((long)offsetof(struct dict_keys, field))
#define KEYS_SIZE KEYS(dk_size)
#define KEYS_LOG2_SIZE NONE
#define VALUES_VALUES NONE
#endif

#define CODE(field) ((long)offsetof(PyCodeObject, field))
#if PY_VERSION_HEX >= 0x030b0000
#define FRAME(field) ((long)offsetof(struct _PyInterpreterFrame, field))
#define FRAME_PREVIOUS FRAME(previous)
#define FRAME_OWNER FRAME(owner)
#define CODE_BYTES CODE(co_code_adaptive)
#else
#define FRAME(field) ((long)offsetof(PyFrameObject, field))
#define FRAME_PREVIOUS FRAME(f_back)
#define FRAME_OWNER NONE
#define CODE_BYTES NONE
#endif

#if PY_VERSION_HEX >= 0x030d0000
#define TSTATE_FRAME TSTATE(current_frame)
#define CFRAME_FRAME NONE
#define FRAME_CODE FRAME(f_executable)
#define FRAME_AT FRAME(instr_ptr)
#elif PY_VERSION_HEX >= 0x030b0000
#define TSTATE_FRAME TSTATE(cframe)
#define CFRAME_FRAME ((long)offsetof(_PyCFrame, current_frame))
#define FRAME_CODE FRAME(f_code)
#define FRAME_AT FRAME(prev_instr)
#else
#define TSTATE_FRAME TSTATE(frame)
#define CFRAME_FRAME NONE
#define FRAME_CODE FRAME(f_code)
#define FRAME_AT FRAME(f_lasti)
#endif

#if PY_VERSION_HEX >= 0x030a0000
#define CODE_LINES CODE(co_linetable)
#else
#define CODE_LINES CODE(co_lnotab)
#endif

#ifdef Py_GIL_DISABLED
#define GIL_ENABLED GIL(enabled)
#else
#define GIL_ENABLED NONE
#endif

static void field(const char *name, long offset)
{
	if (offset == NONE)
		printf(" .%s = PYOFF_NONE,", name);
	else
		printf(" .%s = %ld,", name, offset);
}

static void objects(void)
{
	field("interp_modules", INTERP_MODULES);
	field("ob_type", (long)offsetof(PyObject, ob_type));
	field("type_basicsize", (long)offsetof(PyTypeObject, tp_basicsize));
	field("type_flags", (long)offsetof(PyTypeObject, tp_flags));
	field("type_dictoffset", (long)offsetof(PyTypeObject, tp_dictoffset));
	field("type_cached_keys", (long)offsetof(PyHeapTypeObject, ht_cached_keys));
	field("unicode_length", (long)offsetof(PyASCIIObject, length));
	field("unicode_state", (long)offsetof(PyASCIIObject, state));
	field("unicode_ascii_size", (long)sizeof(PyASCIIObject));
	field("unicode_compact_size", (long)sizeof(PyCompactUnicodeObject));
	field("long_size", LONG_SIZE);
	field("long_digit", LONG_DIGIT);
	field("dict_keys", (long)offsetof(PyDictObject, ma_keys));
	field("dict_values", (long)offsetof(PyDictObject, ma_values));
	field("keys_size", KEYS_SIZE);
	field("keys_log2_size", KEYS_LOG2_SIZE);
	field("keys_nentries", KEYS(dk_nentries));
	field("keys_indices", KEYS(dk_indices));
	field("values_values", VALUES_VALUES);
	field("type_name", (long)offsetof(PyTypeObject, tp_name));
	field("bytes_size", (long)offsetof(PyVarObject, ob_size));
	field("bytes_data", (long)offsetof(PyBytesObject, ob_sval));
}

static void frames(void)
{
	field("tstate_frame", TSTATE_FRAME);
	field("cframe_frame", CFRAME_FRAME);
	field("frame_previous", FRAME_PREVIOUS);
	field("frame_code", FRAME_CODE);
	field("frame_at", FRAME_AT);
	field("frame_owner", FRAME_OWNER);
	field("code_filename", CODE(co_filename));
	field("code_firstlineno", CODE(co_firstlineno));
	field("code_lines", CODE_LINES);
	field("code_bytes", CODE_BYTES);
}

int main(void)
{
	printf("{.minor = %d, .offsets = { .source = PYOFFSETS_TABLE, .runtime_size = %zu,", PY_MINOR_VERSION,
	       sizeof(_PyRuntimeState));
	field("gil_interval", GIL(interval));
	field("gil_last_holder", GIL(last_holder));
	field("gil_locked", GIL(locked));
	field("gil_cond", GIL(cond));
	field("gil_switch_cond", GIL(switch_cond));
	field("gil_enabled", GIL_ENABLED);
	field("runtime_gil", RUNTIME_GIL);
	field("runtime_interpreters_head", RUNTIME(interpreters.head));
	field("runtime_gil_drop_request", RUNTIME_DROP);
	field("interp_next", INTERP(next));
	field("interp_id", INTERP(id));
	field("interp_threads_head", INTERP_THREADS);
	field("interp_gil", INTERP_GIL);
	field("interp_gil_drop_request", INTERP_DROP);
	field("runtime_gc", RUNTIME_GC);
	field("interp_gc", INTERP_GC);
	field("gc_collecting", GC(collecting));
	field("gc_stats", GC(generation_stats));
	field("gc_ring", NONE);
	field("tstate_next", TSTATE(next));
	field("tstate_interp", TSTATE(interp));
	field("tstate_thread_id", TSTATE(thread_id));
	field("tstate_native_thread_id", TSTATE_NATIVE);
	field("tstate_eval_breaker", TSTATE_BREAKER);
	objects();
	frames();
	printf(" }},\n");
	return 0;
}
