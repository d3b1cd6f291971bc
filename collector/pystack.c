/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See pystack.h. Names of members are those of CPython's code.h and pycore_frame.h.
 *
 *   PyThreadState [-> CFrame] -> frame -> previous ...      frame -> code object -> co_filename, co_name or co_qualname
 *                                                                                -> co_lnotab or co_linetable
 */
#include "pystack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "procmem.h"
#include "pylines.h"
#include "pystr.h"
#include "text.h"

#define CODE_MAX 256            /* of a code object, what stands before its instructions */
#define LINES_MAX (256u << 10)  /* of a line table: what is further has no line */
#define LINES_KEPT (8u << 10)   /* longer ones are read again each time */
#define CACHE_SIZE 1024         /* a power of two; one code object per place, the newest */
#define WALK_TRIES 20
#define HEAP_TYPE (1u << 9)     /* Py_TPFLAGS_HEAPTYPE: made by a program, not one of the interpreter's own */

/* A code object that has been named. */
struct named {
	uint64_t code;          /* 0: nobody */
	uint32_t print;
	uint32_t firstlineno, code_len;
	char *function, *file;
	uint8_t *lines;         /* NULL: too long to be kept */
	size_t lines_len;
};

/* A type of the interpreter's own, found by its name once: it stays where it is. */
struct known_type {
	char name[8];
	uint64_t at;
};

struct pystack {
	pid_t pid;
	struct pyoffsets off;
	struct gil_frame_layout layout;
	struct known_type code, str, bytes;
	struct named cache[CACHE_SIZE];
};

static uint32_t or_none(uint32_t offset)
{
	return offset == PYOFF_NONE ? GIL_NO_OFFSET : offset;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

void pystack__layout(const struct pyoffsets *off, struct gil_frame_layout *ret)
{
	bool old = off->code_bytes == PYOFF_NONE;
	uint32_t end = 0;

	*ret = (struct gil_frame_layout){0};
	if (off->frame_code == PYOFF_NONE || off->frame_previous == PYOFF_NONE || off->tstate_frame == PYOFF_NONE)
		return;
	end = max_u32(off->frame_code + 8, off->frame_previous + 8);
	end = max_u32(end, off->frame_at + (old ? 4 : 8));
	if (off->frame_owner != PYOFF_NONE)
		end = max_u32(end, off->frame_owner + 1);
	end = (end + 7) & ~7u;
	/* Aligned, so that the programs may mask them. */
	if (end > GIL_FRAME_BYTES || off->frame_code % 8 || off->frame_previous % 8 || off->frame_at % 8)
		return;
	*ret = (struct gil_frame_layout){
		.tstate_frame = off->tstate_frame, .cframe_frame = or_none(off->cframe_frame), .frame_bytes = end,
		.previous = off->frame_previous, .code = off->frame_code, .at = off->frame_at,
		.owner = or_none(off->frame_owner), .code_words = off->code_filename,
		.code_words_n = old ? GIL_CODE_WORDS - 1 : GIL_CODE_WORDS, .code_line = off->code_firstlineno,
		.code_bytes = or_none(off->code_bytes),
	};
}

/* What buffers on the stack must hold. */
static bool offsets_usable(const struct pyoffsets *off)
{
	return off->interp_modules != PYOFF_NONE && off->code_lines <= CODE_MAX - 8 && off->code_firstlineno <= CODE_MAX - 4 &&
	       off->code_filename <= CODE_MAX - 32 && off->ob_type <= 24 && off->bytes_size <= 64 && off->bytes_data <= 80 &&
	       off->unicode_ascii_size <= 96 && off->unicode_state + 4 <= off->unicode_ascii_size &&
	       off->type_flags < 1024 && off->type_name < 1024;
}

int pystack__new(pid_t pid, const struct pyoffsets *off, struct pystack **ret)
{
	struct gil_frame_layout layout;
	struct pystack *s;

	pystack__layout(off, &layout);
	if (!layout.frame_bytes || !offsets_usable(off))
		return -ENOTSUP;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->pid = pid;
	s->off = *off;
	s->layout = layout;
	s->code = (struct known_type){"code", 0};
	s->str = (struct known_type){"str", 0};
	s->bytes = (struct known_type){"bytes", 0};
	*ret = s;
	return 0;
}

static void forget(struct named *n)
{
	free(n->function);
	free(n->file);
	free(n->lines);
	*n = (struct named){0};
}

void pystack__free(struct pystack *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < CACHE_SIZE; i++)
		forget(&s->cache[i]);
	free(s);
}

/* ---- objects ---- */

static bool is_pointer(uint64_t p)
{
	return p && p % 8 == 0 && p >> PYVER_USER_BITS == 0;
}

/* Whether `type` is the interpreter's own type of that name. */
static bool is_type(struct pystack *s, struct known_type *known, uint64_t type)
{
	char name[8];
	uint64_t text, flags;

	if (known->at)
		return known->at == type;
	if (!is_pointer(type) || procmem__read_u64(s->pid, type + s->off.type_name, &text) ||
	    procmem__read_u64(s->pid, type + s->off.type_flags, &flags) || flags & HEAP_TYPE ||
	    procmem__read(s->pid, text, name, strlen(known->name) + 1) ||
	    memcmp(name, known->name, strlen(known->name) + 1) != 0)
		return false;
	known->at = type;
	return true;
}

/* A str, cleaned; of one that is too long the beginning, or the end. */
static bool read_text(struct pystack *s, uint64_t object, bool want_end, char *buf, size_t size)
{
	uint8_t head[96], chars[4 * PYSTACK_FILE_SIZE];
	char utf8[4 * PYSTACK_FILE_SIZE];
	struct pystr str;
	uint64_t skip = 0;
	size_t n, len;

	if (!is_pointer(object) || procmem__read(s->pid, object, head, s->off.unicode_ascii_size) ||
	    !is_type(s, &s->str, bytes__u64(head + s->off.ob_type)))
		return false;
	str = pystr__head(&s->off, head);
	if (!pystr__is_sane(&str))
		return false;
	n = str.length < size - 1 ? (size_t)str.length : size - 1;
	if (want_end)
		skip = (str.length - n) * str.kind;
	if (n && procmem__read(s->pid, object + str.data + skip, chars, n * str.kind))
		return false;
	len = pystr__utf8(utf8, chars, str.kind, n);
	if (want_end && len > size - 1) {
		/* Not inside a character. */
		size_t from = len - (size - 1);

		while (from < len && (utf8[from] & 0xc0) == 0x80)
			from++;
		memmove(utf8, utf8 + from, len -= from);
	}
	text__clean(buf, size, utf8, len);
	return true;
}

/* A bytes object into new memory, at most LINES_MAX of it. */
static bool read_bytes(struct pystack *s, uint64_t object, uint8_t **ret, size_t *ret_len)
{
	uint8_t head[96], *bytes;
	uint64_t len;

	if (!is_pointer(object) || procmem__read(s->pid, object, head, s->off.bytes_data) ||
	    !is_type(s, &s->bytes, bytes__u64(head + s->off.ob_type)))
		return false;
	len = bytes__u64(head + s->off.bytes_size);
	if (len > INT64_MAX)
		return false;
	len = len < LINES_MAX ? len : LINES_MAX;
	bytes = malloc(len + 1);
	if (!bytes || (len && procmem__read(s->pid, object + s->off.bytes_data, bytes, len))) {
		free(bytes);
		return false;
	}
	*ret = bytes;
	*ret_len = len;
	return true;
}

/* ---- code objects ---- */

/* What a code object says of itself. */
struct code {
	uint64_t words[GIL_CODE_WORDS];
	uint32_t firstlineno, code_len, print;
};

static bool read_code(struct pystack *s, uint64_t at, struct code *ret)
{
	const struct gil_frame_layout *l = &s->layout;
	uint8_t bytes[CODE_MAX];
	uint32_t len = max_u32(l->code_words + l->code_words_n * 8, l->code_line + 4);

	if (!is_pointer(at) || procmem__read(s->pid, at, bytes, len) || !is_type(s, &s->code, bytes__u64(bytes + s->off.ob_type)))
		return false;
	*ret = (struct code){.firstlineno = bytes__u32(bytes + l->code_line)};
	for (uint32_t i = 0; i < l->code_words_n; i++)
		ret->words[i] = bytes__u64(bytes + l->code_words + 8 * i);
	/* From 3.11 on it ends with its instructions, which ob_size counts. */
	ret->code_len = l->code_bytes == GIL_NO_OFFSET ? 0 : bytes__u32(bytes + s->off.ob_type + 8) * 2;
	ret->print = gil_code_print(ret->words[0], ret->words[1], ret->words[2], ret->words[3], ret->firstlineno);
	return true;
}

/* What `n` says, and who it is: from the target's memory. */
static bool learn(struct pystack *s, const struct gil_frame *frame, struct named *n)
{
	char function[PYSTACK_FUNCTION_SIZE], file[PYSTACK_FILE_SIZE];
	struct code code, again;
	uint64_t name;

	if (!frame->print || !read_code(s, frame->code, &code) || code.print != frame->print)
		return false;
	name = code.words[s->layout.code_words_n == GIL_CODE_WORDS ? 2 : 1];
	if (!read_text(s, name, false, function, sizeof(function)) ||
	    !read_text(s, code.words[0], true, file, sizeof(file)) ||
	    !read_bytes(s, code.words[s->layout.code_words_n - 1], &n->lines, &n->lines_len) ||
	    !read_code(s, frame->code, &again) || again.print != frame->print)
		return false;
	n->code = frame->code;
	n->print = frame->print;
	n->firstlineno = code.firstlineno;
	n->code_len = code.code_len;
	n->function = strdup(function[0] ? function : "?");
	n->file = strdup(file);
	return n->function && n->file;
}

/* How far a frame is, in bytes of its code. A frame that has not begun stands at its first line. */
static uint32_t line_of(const struct pystack *s, const struct named *n, const struct gil_frame *frame)
{
	uint32_t at = s->off.minor == 10 ? frame->at * 2 : frame->at;

	if (frame->at > INT32_MAX)
		return n->firstlineno;
	/* A free-threaded build runs copies of the code (co_tlbc, 3.14+). */
	if (n->code_len && at >= n->code_len)
		return 0;
	return pylines__find(s->off.minor, n->lines, n->lines_len, n->firstlineno, at);
}

bool pystack__symbol(struct pystack *s, const struct gil_frame *frame, struct pysymbol *ret)
{
	struct named *n = &s->cache[gil_mix(frame->code, frame->print) & (CACHE_SIZE - 1)];

	*ret = (struct pysymbol){.function = "?"};
	if (n->code != frame->code || n->print != frame->print || !n->lines) {
		forget(n);
		if (!learn(s, frame, n)) {
			forget(n);
			return false;
		}
	}
	snprintf(ret->function, sizeof(ret->function), "%s", n->function);
	snprintf(ret->file, sizeof(ret->file), "%s", n->file);
	ret->firstlineno = n->firstlineno;
	ret->line = line_of(s, n, frame);
	if (n->lines_len > LINES_KEPT) {
		free(n->lines);
		n->lines = NULL;
	}
	return true;
}

void pystack__describe(const struct pysymbol *symbol, char *buf, size_t size)
{
	const char *file = symbol->file + strlen(symbol->file);

	for (int slashes = 0; file > symbol->file; file--)
		if (file[-1] == '/' && ++slashes == 2)
			break;
	if (!symbol->file[0])
		snprintf(buf, size, "%s", symbol->function);
	else if (symbol->line)
		snprintf(buf, size, "%s (%s:%u)", symbol->function, file, symbol->line);
	else
		snprintf(buf, size, "%s (%s)", symbol->function, file);
}

/* ---- frames ---- */

static int first_frame(struct pystack *s, uint64_t tstate, uint64_t *ret)
{
	int err = is_pointer(tstate) ? procmem__read_u64(s->pid, tstate + s->layout.tstate_frame, ret) : -EINVAL;

	if (!err && s->layout.cframe_frame != GIL_NO_OFFSET)
		err = is_pointer(*ret) ? procmem__read_u64(s->pid, *ret + s->layout.cframe_frame, ret) : -EINVAL;
	return err;
}

/* The same as the programs' gil_stack_frame(), by other means. */
static void make_frame(struct pystack *s, const uint8_t *bytes, struct gil_frame *ret)
{
	const struct gil_frame_layout *l = &s->layout;
	struct code code;

	ret->code = bytes__u64(bytes + l->code) & ~7ull;
	ret->at = bytes__u32(bytes + l->at);
	if (l->code_bytes != GIL_NO_OFFSET)
		ret->at = (uint32_t)(bytes__u64(bytes + l->at) - (ret->code + l->code_bytes));
	ret->print = read_code(s, ret->code, &code) ? code.print : 0;
}

int pystack__walk(struct pystack *s, uint64_t tstate, struct gil_frame *ret, size_t max, bool *ret_more)
{
	const struct gil_frame_layout *l = &s->layout;
	uint8_t bytes[GIL_FRAME_BYTES];
	uint64_t at = 0;
	size_t n = 0;
	int err = first_frame(s, tstate, &at);

	for (size_t seen = 0; !err && at && n < max && seen < max + GIL_STACK_SKIPS; seen++) {
		if (!is_pointer(at) || procmem__read(s->pid, at, bytes, l->frame_bytes)) {
			err = n ? 0 : -EFAULT;
			break;
		}
		if (l->owner == GIL_NO_OFFSET || bytes[l->owner] < GIL_OWNER_INTERPRETER)
			make_frame(s, bytes, &ret[n++]);
		at = bytes__u64(bytes + l->previous);
	}
	*ret_more = at != 0;
	return err ?: (int)n;
}

int pystack__walk_still(struct pystack *s, uint64_t tstate, struct gil_frame *ret, size_t max, bool *ret_more)
{
	struct gil_frame *before = calloc(max, sizeof(*before));
	int n = -ENOMEM, was = -1;

	for (int i = 0; before && i < WALK_TRIES; i++) {
		n = pystack__walk(s, tstate, ret, max, ret_more);
		if (n < 0 || (n == was && memcmp(before, ret, (size_t)n * sizeof(*ret)) == 0))
			break;
		memcpy(before, ret, (size_t)n * sizeof(*ret));
		was = n;
		n = -EAGAIN;
	}
	free(before);
	return n;
}
