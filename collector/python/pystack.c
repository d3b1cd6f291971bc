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

#include "collector/base/bytes.h"
#include "collector/process/procmem.h"
#include "pycode.h"
#include "pylines.h"

#define CACHE_SIZE 1024         /* a power of two; one code object per place, the newest */
#define WALK_TRIES 20

struct pystack {
	struct pycode_reader reader;
	struct pycode cache[CACHE_SIZE];
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

int pystack__new(pid_t pid, const struct pyoffsets *off, struct pystack **ret)
{
	struct gil_frame_layout layout;
	struct pystack *s = calloc(1, sizeof(*s));
	int err;

	pystack__layout(off, &layout);
	err = s ? pycode__open(&s->reader, pid, off, &layout) : -ENOMEM;
	if (err)
		free(s);
	else
		*ret = s;
	return err;
}

void pystack__free(struct pystack *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < CACHE_SIZE; i++)
		pycode__clear(&s->cache[i]);
	free(s);
}

/* How far a frame is, in bytes of its code. A frame that has not begun stands at its first line. */
static uint32_t line_of(const struct pystack *s, const struct pycode *code, const struct gil_frame *frame)
{
	const struct pyfamily *family = pyfamily__of_offsets(&s->reader.off);
	uint32_t at = frame->at * family->code_unit;

	if (frame->at > INT32_MAX)
		return code->firstlineno;
	/* A free-threaded build runs copies of the code (co_tlbc, 3.14+). */
	if (code->len && at >= code->len)
		return 0;
	return pylines__find(family->lines, code->lines, code->lines_len, code->firstlineno, at);
}

static struct pycode *place_of(struct pystack *s, const struct gil_frame *frame)
{
	return &s->cache[gil_mix(frame->code, frame->print) & (CACHE_SIZE - 1)];
}

static void tell(const struct pystack *s, const struct pycode *code, const struct gil_frame *frame, struct pysymbol *ret)
{
	snprintf(ret->function, sizeof(ret->function), "%s", code->function);
	snprintf(ret->file, sizeof(ret->file), "%s", code->file);
	ret->firstlineno = code->firstlineno;
	ret->line = line_of(s, code, frame);
}

static bool is_same(const struct gil_frame *frame, const struct gil_frame *other)
{
	return frame->code == other->code && frame->print == other->print;
}

static bool recall(struct pystack *s, const struct gil_frame *frame, struct pysymbol *ret)
{
	const struct pycode *code = place_of(s, frame);

	*ret = (struct pysymbol){.function = "?"};
	if (code->at != frame->code || code->print != frame->print || !code->at)
		return false;
	tell(s, code, frame, ret);
	return true;
}

/* Code with long lines is read again each time. */
static void keep(struct pystack *s, const struct gil_frame *frame, struct pycode *code)
{
	struct pycode *place = place_of(s, frame);

	if (!code->at || code->lines_len > PYCODE_LINES_MANY) {
		pycode__clear(code);
		return;
	}
	pycode__clear(place);
	*place = *code;
}

/* All frames of code that is new, `n` such (at most PYCODE_AT_ONCE); the number of frames that have a name now. */
static size_t name_new(struct pystack *s, const struct gil_frame *news, size_t n, const struct gil_frame *frames, size_t frames_n,
		       struct pysymbol *ret)
{
	struct pycode codes[PYCODE_AT_ONCE];
	size_t named = 0;

	pycode__learn(&s->reader, news, n, codes);
	for (size_t c = 0; c < n; c++) {
		if (codes[c].too_long)
			pycode__learn(&s->reader, &news[c], 1, &codes[c]);
		for (size_t i = 0; codes[c].at && i < frames_n; i++)
			if (is_same(&frames[i], &news[c])) {
				tell(s, &codes[c], &frames[i], &ret[i]);
				named++;
			}
		keep(s, &news[c], &codes[c]);
	}
	return named;
}

static void note_new(struct gil_frame *news, size_t *n, const struct gil_frame *frame)
{
	for (size_t i = 0; i < *n; i++)
		if (is_same(&news[i], frame))
			return;
	news[(*n)++] = *frame;
}

size_t pystack__symbols(struct pystack *s, const struct gil_frame *frames, size_t n, struct pysymbol *ret)
{
	struct gil_frame news[GIL_STACK_DEPTH];
	size_t named = 0, news_n = 0;

	for (size_t i = 0; i < n; i++) {
		if (recall(s, &frames[i], &ret[i]))
			named++;
		else
			note_new(news, &news_n, &frames[i]);
	}
	for (size_t i = 0; i < news_n; i += PYCODE_AT_ONCE) {
		size_t some = news_n - i < PYCODE_AT_ONCE ? news_n - i : PYCODE_AT_ONCE;

		named += name_new(s, news + i, some, frames, n, ret);
	}
	return named;
}

bool pystack__symbol(struct pystack *s, const struct gil_frame *frame, struct pysymbol *ret)
{
	return pystack__symbols(s, frame, 1, ret) == 1;
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

static int read_member(const struct pystack *s, uint64_t object, uint32_t offset, uint64_t *ret)
{
	return pycode__is_pointer(object) ? procmem__read_u64(s->reader.pid, object + offset, ret) : -EINVAL;
}

static int first_frame(const struct pystack *s, uint64_t tstate, uint64_t *ret)
{
	const struct gil_frame_layout *l = &s->reader.layout;
	int err = read_member(s, tstate, l->tstate_frame, ret);

	if (!err && l->cframe_frame != GIL_NO_OFFSET)
		err = read_member(s, *ret, l->cframe_frame, ret);
	return err;
}

/* The same as the programs' gil_stack_frame(), by other means; but for the print. */
static struct gil_frame frame_of(const struct gil_frame_layout *l, const uint8_t *bytes)
{
	struct gil_frame frame = {.code = bytes__u64(bytes + l->code) & ~7ull, .at = bytes__u32(bytes + l->at)};

	if (l->code_bytes != GIL_NO_OFFSET)
		frame.at = (uint32_t)(bytes__u64(bytes + l->at) - (frame.code + l->code_bytes));
	return frame;
}

int pystack__walk(struct pystack *s, uint64_t tstate, struct gil_frame *ret, size_t max, bool *ret_more)
{
	const struct gil_frame_layout *l = &s->reader.layout;
	uint8_t bytes[GIL_FRAME_BYTES];
	uint64_t at = 0;
	size_t n = 0;
	int err = first_frame(s, tstate, &at);

	for (size_t seen = 0; !err && at && n < max && seen < max + GIL_STACK_SKIPS; seen++) {
		if (!pycode__is_pointer(at) || procmem__read(s->reader.pid, at, bytes, l->frame_bytes)) {
			err = n ? 0 : -EFAULT;
			break;
		}
		if (l->owner == GIL_NO_OFFSET || bytes[l->owner] < GIL_OWNER_INTERPRETER)
			ret[n++] = frame_of(l, bytes);
		at = bytes__u64(bytes + l->previous);
	}
	pycode__add_prints(&s->reader, ret, n);
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
