/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See pyver.h.
 *
 * Everything that comes out of the file or out of the target's memory is checked before it is believed: offsets
 * against the sizes that the same source states, pointers by following them back, lists by a bound.
 */
#include "pyver.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/bytes.h"
#include "collector/process/procmaps.h"
#include "collector/process/procmem.h"
#include "pyfamily.h"

#define GC_STATS_BYTES 72         /* three struct gc_generation_stats */
#define FREE_THREADED_SINCE 13    /* PEP 703 */
#define STRUCT_MAX (16u << 20)    /* no struct of CPython's is larger */
#define IMAGE_RANGES 64

/* ---- which version ------------------------------------------------------------------------------------------- */

static void set_version(struct pyver *v, uint32_t hex, const char *found_by)
{
	v->hex = hex;
	v->major = (int)(hex >> 24);
	v->minor = (int)(hex >> 16 & 0xff);
	v->micro = (int)(hex >> 8 & 0xff);
	v->found_by = found_by;
}

/* Py_Version: `const unsigned long`, exported since 3.11 (Python/getversion.c). */
static bool from_py_version(struct elffile *ef, struct pyver *v)
{
	struct elf_symbol sym;
	const uint8_t *p;
	uint64_t hex;

	if (elffile__symbol(ef, "Py_Version", &sym) != 0 || !(p = elffile__bytes(ef, sym.vaddr, sizeof(hex))))
		return false;
	memcpy(&hex, p, sizeof(hex));
	if (hex >> 24 != 3)
		return false;
	set_version(v, (uint32_t)hex, "Py_Version");
	return true;
}

/* _Py_DebugOffsets opens _PyRuntime since 3.13 (Include/internal/pycore_debug_offsets.h), in 8-byte words. */
static bool debug_words(struct elffile *ef, uint64_t *words, size_t n)
{
	struct elf_symbol sym;
	const uint8_t *p;

	if (elffile__symbol(ef, "_PyRuntime", &sym) != 0 || sym.size < n * sizeof(*words))
		return false;
	p = elffile__bytes(ef, sym.vaddr, n * sizeof(*words));
	if (!p || memcmp(p, "xdebugpy", 8) != 0)
		return false;
	memcpy(words, p, n * sizeof(*words));
	return true;
}

static bool from_debug_offsets(struct elffile *ef, struct pyver *v)
{
	uint64_t words[3];

	if (!debug_words(ef, words, 3) || words[1] >> 24 != 3)
		return false;
	set_version(v, (uint32_t)words[1], "debug offsets");
	return true;
}

/* Takes "12" off the front of a text. -1 if there is no number of at most 3 digits. */
static int take_small_number(const char **at, const char *end)
{
	int value = 0, digits = 0;

	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++, digits++)
		if (digits < 3)
			value = value * 10 + (**at - '0');
	return digits >= 1 && digits <= 3 ? value : -1;
}

/* "3.8.18", "3.10.0rc1", "3.9.2+": PY_VERSION as a string literal of its own. */
static bool parse_literal(const char *at, const char *end, int *ret_minor, int *ret_micro)
{
	if (end - at < 5 || at[0] != '3' || at[1] != '.')
		return false;
	at += 2;
	*ret_minor = take_small_number(&at, end);
	if (*ret_minor < 0 || at >= end || *at++ != '.')
		return false;
	*ret_micro = take_small_number(&at, end);
	if (*ret_micro < 0)
		return false;
	for (int i = 0; at < end && *at && i < 6; i++, at++)
		if (!strchr("abrc+0123456789", *at))
			return false;
	return at < end && *at == '\0';
}

/*
 * Looks for the literal behind the byte `before`: a NUL, or '/' where the linker has merged it with the end of a
 * prefix such as "/opt/python/3.9.18". Libraries linked into the interpreter have versions too (SQLite's is "3.40.1"),
 * so only versions that need this way count: 3.11 and later have Py_Version.
 */
static bool scan_literal(const char *text, size_t len, char before, int want_minor, int *ret_minor, int *ret_micro)
{
	const char needle[3] = {before, '3', '.'}, *at = text, *end = text + len;

	while (at < end && (at = memmem(at, (size_t)(end - at), needle, sizeof(needle)))) {
		int minor, micro;

		if (parse_literal(at + 1, end, &minor, &micro) && minor >= 7 && minor <= 10 &&
		    (want_minor < 0 || minor == want_minor)) {
			*ret_minor = minor;
			*ret_micro = micro;
			return true;
		}
		at++;
	}
	return false;
}

/* Minor version out of "libpython3.9.so.1.0" or "python3.9". -1: none. */
static int minor_of_name(const char *path)
{
	const char *name = strrchr(path, '/'), *at, *end;
	int minor;

	at = strstr(name ? name : path, "python3.");
	if (!at)
		return -1;
	at += strlen("python3.");
	end = at + strlen(at);
	minor = take_small_number(&at, end);
	return minor >= 0 && minor < 256 ? minor : -1;
}

/* The minor version that every "python3.9" in a text agrees on, *minor so far included. False: they contradict each other. */
static bool agree_on_minor(const char *text, size_t len, int *minor)
{
	static const char needle[] = "python3.";
	const char *at = text, *end = text + len;

	while (at < end && (at = memmem(at, (size_t)(end - at), needle, strlen(needle)))) {
		bool begins = at > text && (at[-1] == '\0' || at[-1] == '/');
		int value;

		at += strlen(needle);
		value = take_small_number(&at, end);
		if (!begins || value < 0 || at >= end || *at != '\0')
			continue;
		if (*minor >= 0 && value != *minor)
			return false;
		*minor = value;
	}
	return true;
}

/*
 * The name of its standard library's directory, in a file without a name (memfd) or with another one: a literal by itself, or
 * behind a slash (VERSION in Modules/getpath.c). -1: there is none, or more than one.
 */
static int minor_of_library(struct elffile *ef)
{
	struct elf_range ranges[IMAGE_RANGES];
	size_t n = elffile__image_ranges(ef, ranges, IMAGE_RANGES);
	int minor = -1;

	for (size_t i = 0; i < n; i++) {
		size_t len = ranges[i].end - ranges[i].start;
		const char *text = (const char *)elffile__bytes(ef, ranges[i].start, len);

		if (text && !agree_on_minor(text, len, &minor))
			return -1;
	}
	return minor;
}

static bool from_literal(struct elffile *ef, int want, char before, struct pyver *v)
{
	struct elf_range ranges[IMAGE_RANGES];
	size_t n = elffile__image_ranges(ef, ranges, IMAGE_RANGES);
	int minor, micro;

	for (size_t i = 0; i < n; i++) {
		size_t len = ranges[i].end - ranges[i].start;
		const char *text = (const char *)elffile__bytes(ef, ranges[i].start, len);

		if (text && scan_literal(text, len, before, want, &minor, &micro)) {
			set_version(v, 3u << 24 | (uint32_t)minor << 16 | ((uint32_t)micro & 0xff) << 8,
				    "version string");
			v->micro = micro;
			return true;
		}
	}
	return false;
}

static bool from_minor(int minor, const char *found_by, struct pyver *v)
{
	if (minor < 0 || minor > 255)
		return false;
	set_version(v, 3u << 24 | (uint32_t)minor << 16, found_by);
	v->micro = -1;
	return true;
}

/* Before 3.11 versions are text. That of a library linked in could be taken for it, so another word on it is asked for. */
static bool from_text(struct elffile *ef, const char *path, struct pyver *v)
{
	int named = minor_of_name(path), minor;

	if (from_literal(ef, named, '\0', v))
		return true;
	minor = named >= 0 ? named : minor_of_library(ef);
	return (minor >= 0 && from_literal(ef, minor, '/', v)) ||
	       from_minor(minor, named >= 0 ? "file name" : "library's name", v);
}

/* Below, with the table of sizes. */
static bool from_runtime_size(struct elffile *ef, const struct elf_symbol *runtime, struct pyver *v);

/* Built with --disable-gil: the file says so itself, else by a function that only such builds export. */
static bool is_free_threaded(struct elffile *ef, const struct pyver *v)
{
	struct elf_symbol sym;
	uint64_t words[3];

	if (v->minor < FREE_THREADED_SINCE)
		return false;
	if (debug_words(ef, words, 3))
		return words[2] == 1;
	return elffile__symbol(ef, "PyUnstable_Module_SetGIL", &sym) == 0;
}

static bool exports(struct elffile *ef, const char *name)
{
	struct elf_symbol sym;

	return elffile__dynsym(ef, name, &sym) == 0;
}

/* Functions that only such builds have: Py_REF_DEBUG (a part of Py_DEBUG) and Py_TRACE_REFS, Include/object.h. */
static void tell_debug_builds(struct elffile *ef, struct pyver *v)
{
	v->debug = exports(ef, "_Py_NegativeRefcount");
	v->traces_refs = exports(ef, "_Py_PrintReferences");
}

/* "3.11.2", "3.14.0rc1", "3.13.0t", "3.11.2d", "3.9". */
static void write_text(struct pyver *v)
{
	static const char *const levels[16] = {[0xa] = "a", [0xb] = "b", [0xc] = "rc"}; /* 0xf: final */
	const char *level = levels[v->hex >> 4 & 0xf];
	const char *t = v->free_threaded ? v->debug ? "td" : "t" : v->debug ? "d" : "";

	if (v->micro < 0)
		snprintf(v->text, sizeof(v->text), "%d.%d%s", v->major, v->minor, t);
	else if (level)
		snprintf(v->text, sizeof(v->text), "%d.%d.%d%s%u%s", v->major, v->minor, v->micro, level, v->hex & 0xf, t);
	else
		snprintf(v->text, sizeof(v->text), "%d.%d.%d%s", v->major, v->minor, v->micro, t);
}

int pyver__identify(struct elffile *ef, const char *path, struct pyver *ret, struct reason *why)
{
	struct elf_symbol runtime;
	struct pyver v = {0};

	if (elffile__symbol(ef, "_PyRuntime", &runtime) != 0)
		return reason__set(why, -ENOEXEC, "%s is not a CPython of 3.7 or newer: it defines no _PyRuntime", path);
	if (!from_py_version(ef, &v) && !from_debug_offsets(ef, &v) && !from_runtime_size(ef, &runtime, &v) &&
	    !from_text(ef, path, &v))
		return reason__set(why, -ENOEXEC, "%s does not tell which CPython it is", path);
	v.free_threaded = is_free_threaded(ef, &v);
	tell_debug_builds(ef, &v);
	write_text(&v);
	if (v.minor < pyfamily__oldest())
		return reason__set(why, -ENOEXEC, "%s is CPython %s: 3.%d or newer is needed", path, v.text, pyfamily__oldest());
	*ret = v;
	return 0;
}

/* ---- which offsets ------------------------------------------------------------------------------------------- */

struct row {
	int minor;
	struct pyoffsets offsets;
};

/* x86-64; what it says of objects is true of aarch64 as well. */
static const struct row table[] = {
#include "pyoffsets.inc"
};

static const struct row table_arm64[] = {
#include "pyoffsets_arm64.inc"
};

static const struct row *rows_of(struct elffile *ef, size_t *ret_n)
{
	bool arm64 = elffile__machine(ef) == EM_AARCH64;

	*ret_n = arm64 ? sizeof(table_arm64) / sizeof(table_arm64[0]) : sizeof(table) / sizeof(table[0]);
	return arm64 ? table_arm64 : table;
}

/* A program that is stripped and exports nothing, of a family whose _PyRuntime is as large as no other's. */
static bool from_runtime_size(struct elffile *ef, const struct elf_symbol *runtime, struct pyver *v)
{
	size_t n;
	const struct row *rows = rows_of(ef, &n);

	for (size_t i = 0; i < n; i++) {
		if (!pyfamily__of(rows[i].minor)->runtime_size_tells || rows[i].offsets.runtime_size != runtime->size)
			continue;
		set_version(v, 3u << 24 | (uint32_t)rows[i].minor << 16, "size of its _PyRuntime");
		v->micro = -1;
		return true;
	}
	return false;
}

static int offsets_from_table(struct elffile *ef, const struct elf_symbol *runtime, const struct pyver *v,
			      struct pyoffsets *ret, struct reason *why)
{
	size_t n;
	const struct row *rows = rows_of(ef, &n);
	bool found = false;

	for (size_t i = 0; i < n; i++) {
		if (rows[i].minor != v->minor)
			continue;
		*ret = rows[i].offsets;
		found = true;
		if (ret->runtime_size == runtime->size && !v->debug && !v->traces_refs)
			return 0;
	}
	if (!found)
		return reason__set(why, -ENOTSUP, "no layout is known for CPython %s", v->text);
	ret->source = PYOFFSETS_TABLE_UNKNOWN;
	return 0;
}

#define DEBUG_WORDS 57

/* A member of `width` bytes inside a struct of `size`, aligned to its width. */
static bool fits(uint64_t offset, uint64_t width, uint64_t size)
{
	return size <= STRUCT_MAX && offset < size && width <= size - offset && offset % width == 0;
}

/* Checks what the file says of itself before any of it is added to a pointer. */
static bool debug_words_sane(const uint64_t *w, const struct pyfamily_words *l, uint64_t runtime_size)
{
	uint64_t gil = w[l->gil_state];

	return w[l->runtime_size] <= runtime_size + 64 && fits(w[l->interpreters_head], 8, w[l->runtime_size]) &&
	       fits(w[l->interp_id], 8, w[l->interp_size]) && fits(w[l->interp_next], 8, w[l->interp_size]) &&
	       fits(w[l->threads_head], 8, w[l->interp_size]) && fits(w[l->ceval_gil], 8, w[l->interp_size]) &&
	       fits(gil, 8, w[l->interp_size]) && w[l->gil_holder] >= gil && w[l->gil_locked] > w[l->gil_holder] &&
	       fits(w[l->gil_holder] - gil, 8, 256) && fits(w[l->gil_locked] - gil, 4, 256) &&
	       fits(w[l->tstate_next], 8, w[l->tstate_size]) && fits(w[l->tstate_interp], 8, w[l->tstate_size] - 8) &&
	       fits(w[l->thread_id], 8, w[l->tstate_size]) && fits(w[l->native_thread_id], 8, w[l->tstate_size]);
}

/*
 * What the words don't list follows from the declarations, the same in 3.13 to 3.15: struct _gil_runtime_state
 * (Include/internal/pycore_gil.h) is [enabled,] interval, last_holder, locked, switch_number, cond, mutex,
 * switch_cond; PyThreadState (Include/cpython/pystate.h) has eval_breaker behind interp.
 */
static void fill_from_words(struct pyoffsets *off, const uint64_t *w, const struct pyfamily_words *l, int machine)
{
	/* pthread_cond_t and pthread_mutex_t, bits/pthreadtypes-arch.h in glibc. */
	uint32_t cond_size = 48, mutex_size = machine == EM_AARCH64 ? 48 : 40;
	bool free_threaded = w[2] == 1;
	uint32_t holder = (uint32_t)(w[l->gil_holder] - w[l->gil_state]);
	uint32_t locked = (uint32_t)(w[l->gil_locked] - w[l->gil_state]);
	uint32_t cond = ((locked + 4 + 7) & ~7u) + 8;

	off->source = PYOFFSETS_DEBUG;
	off->gil_interval = holder - 8;
	off->gil_last_holder = holder;
	off->gil_locked = locked;
	off->gil_cond = cond;
	off->gil_switch_cond = cond + cond_size + mutex_size;
	off->gil_enabled = free_threaded ? 0 : PYOFF_NONE;
	off->runtime_gil = PYOFF_NONE;
	off->runtime_interpreters_head = (uint32_t)w[l->interpreters_head];
	off->runtime_gil_drop_request = PYOFF_NONE;
	off->interp_next = (uint32_t)w[l->interp_next];
	off->interp_id = (uint32_t)w[l->interp_id];
	off->interp_threads_head = (uint32_t)w[l->threads_head];
	off->interp_gil = (uint32_t)w[l->ceval_gil];
	off->interp_gil_drop_request = PYOFF_NONE;
	off->tstate_next = (uint32_t)w[l->tstate_next];
	off->tstate_interp = (uint32_t)w[l->tstate_interp];
	off->tstate_thread_id = (uint32_t)w[l->thread_id];
	off->tstate_native_thread_id = (uint32_t)w[l->native_thread_id];
	off->tstate_eval_breaker = (uint32_t)w[l->tstate_interp] + 8;
}

/* Objects of that version, from the generated table or from its family. NULL: they are not known. */
static const struct pyoffsets *find_objects(const struct pyver *v, bool free_threaded)
{
	const struct pyoffsets *kept = &pyfamily__of(v->minor)->objects[free_threaded];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].minor == v->minor && (table[i].offsets.gil_enabled == 0) == free_threaded)
			return &table[i].offsets;
	return kept->type_basicsize ? kept : NULL;
}

/* Objects are not all in the words: a table has them. Without a row, or with a torn word, threads are not named. */
static void fill_objects(struct pyoffsets *off, const uint64_t *w, const struct pyfamily_words *l,
			 const struct pyoffsets *objects)
{
	*off = objects ? *objects : (struct pyoffsets){0};
	off->interp_modules = objects && fits(w[l->imports_modules], 8, w[l->interp_size]) ? (uint32_t)w[l->imports_modules] :
											      PYOFF_NONE;
}

/* Frames and code tell themselves as a whole. With a torn word there are no stacks. */
static void fill_frames(struct pyoffsets *off, const uint64_t *w, const struct pyfamily_words *l)
{
	const uint64_t *frame = w + l->frame_size, *code = w + l->code_size;
	uint64_t current = w[l->current_frame];

	off->frame_code = PYOFF_NONE;
	if (!fits(current, 8, w[l->tstate_size]) || !fits(frame[1], 8, frame[0]) || !fits(frame[2], 8, frame[0]) ||
	    !fits(frame[3], 8, frame[0]) || !fits(frame[5], 1, frame[0]) || !fits(code[1], 8, code[0]) ||
	    code[2] != code[1] + 8 || code[3] != code[1] + 16 || code[4] != code[1] + 24 || !fits(code[4], 8, code[0]) ||
	    !fits(code[5], 4, code[0]) || !fits(code[9], 2, code[0]))
		return;
	off->tstate_frame = (uint32_t)current;
	off->cframe_frame = PYOFF_NONE;
	off->frame_previous = (uint32_t)frame[1];
	off->frame_code = (uint32_t)frame[2];
	off->frame_at = (uint32_t)frame[3];
	off->frame_owner = (uint32_t)frame[5];
	off->code_filename = (uint32_t)code[1];
	off->code_lines = (uint32_t)code[4];
	off->code_firstlineno = (uint32_t)code[5];
	off->code_bytes = (uint32_t)code[9];
}

/*
 * The garbage collector's words stand behind those of strings, and how many words are before them differs even within a
 * version's alphas: so they are found by the strings', which the table of objects has as well. 3.13: {size, collecting}; 3.15:
 * {size, collecting, frame, generation_stats_size, generation_stats} (Include/internal/pycore_debug_offsets.h). Up to 3.14 the
 * numbers of collections stand before `collecting` (struct _gc_runtime_state). NULL: they are not there, or not once.
 */
#define GC_WORDS_FROM 57
#define GC_WORDS 128
#define GC_RING_BYTES 1112 /* struct gc_stats of 3.15, with a GIL */

static const uint64_t *find_gc_words(const uint64_t *w, size_t n, const struct pyoffsets *off)
{
	const uint64_t *found = NULL;

	for (size_t i = GC_WORDS_FROM; i + 8 <= n; i++) {
		if (w[i] != off->unicode_state || w[i + 1] != off->unicode_length || w[i + 2] != off->unicode_ascii_size)
			continue;
		if (found)
			return NULL;
		found = w + i + 3;
	}
	return found;
}

static void forget_gc(struct pyoffsets *off)
{
	off->runtime_gc = off->interp_gc = off->gc_collecting = off->gc_stats = off->gc_ring = PYOFF_NONE;
}

/* With a torn word, or where strings are not known, nothing is known of the garbage collector. */
static void fill_gc(struct elffile *ef, struct pyoffsets *off, const struct pyfamily_words *l)
{
	uint64_t w[GC_WORDS], at, size;
	const uint64_t *gc;

	forget_gc(off);
	if (!off->unicode_state || !debug_words(ef, w, GC_WORDS))
		return;
	gc = find_gc_words(w, GC_WORDS, off);
	at = w[l->imports_modules - 1];
	if (!gc || !fits(at, 8, w[l->interp_size]) || gc[0] > w[l->interp_size] - at || !fits(gc[1], 4, gc[0]))
		return;
	off->interp_gc = (uint32_t)at;
	off->gc_collecting = (uint32_t)gc[1];
	size = GC_STATS_BYTES;
	if (!l->gc_ring && gc[1] >= size && (gc[1] - size) % 8 == 0)
		off->gc_stats = (uint32_t)(gc[1] - size);
	else if (l->gc_ring && gc[3] == GC_RING_BYTES && fits(gc[4], 8, gc[0]))
		off->gc_ring = (uint32_t)gc[4];
}

static int offsets_from_words(struct elffile *ef, const struct elf_symbol *runtime, const struct pyver *v,
			      struct pyoffsets *ret, struct reason *why)
{
	const struct pyfamily *family = pyfamily__of(v->minor);
	const struct pyfamily_words *layout = family ? family->words : NULL;
	uint64_t words[DEBUG_WORDS];
	bool free_threaded;

	if (!layout)
		return reason__set(why, -ENOTSUP, "CPython %s is newer than this gilscope knows (3.%d to 3.%d)", v->text,
				   pyfamily__oldest(), pyfamily__newest());
	if (!debug_words(ef, words, DEBUG_WORDS))
		return reason__set(why, -ENOTSUP, "CPython %s does not describe itself: _Py_DebugOffsets is missing", v->text);
	free_threaded = words[2] == 1;
	if (words[1] >> 16 != v->hex >> 16 || !debug_words_sane(words, layout, runtime->size) ||
	    words[layout->gil_holder] - words[layout->gil_state] != (free_threaded ? 16u : 8u))
		return reason__set(why, -ENOTSUP, "the _Py_DebugOffsets of CPython %s contradict themselves", v->text);
	fill_objects(ret, words, layout, find_objects(v, free_threaded));
	fill_from_words(ret, words, layout, elffile__machine(ef));
	fill_frames(ret, words, layout);
	fill_gc(ef, ret, layout);
	ret->runtime_size = runtime->size;
	return 0;
}

int pyver__offsets(struct elffile *ef, const struct pyver *ver, struct pyoffsets *ret, struct reason *why)
{
	struct elf_symbol runtime;
	const struct pyfamily *family = pyfamily__of(ver->minor);
	int err;

	if (elffile__machine(ef) != EM_X86_64 && elffile__machine(ef) != EM_AARCH64)
		return reason__set(why, -ENOTSUP, "layouts are known for x86-64 and aarch64 only");
	if (elffile__symbol(ef, "_PyRuntime", &runtime) != 0)
		return reason__set(why, -ENOTSUP, "the file defines no _PyRuntime");
	err = family && !family->words ? offsets_from_table(ef, &runtime, ver, ret, why) :
					 offsets_from_words(ef, &runtime, ver, ret, why);
	if (err)
		return err;
	ret->minor = (uint32_t)ver->minor;
	if (ver->traces_refs || ret->interp_modules == PYOFF_NONE) /* the table's objects are others: no names, no stacks */
		ret->interp_modules = ret->frame_code = PYOFF_NONE;
	return 0;
}
