/* SPDX-License-Identifier: GPL-2.0-only */
/* See pycode.h. Names of members are those of CPython's code.h, unicodeobject.h and bytesobject.h. */
#include "pycode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/bytes.h"
#include "collector/base/text.h"
#include "collector/process/procmem.h"
#include "pystack.h"
#include "pystr.h"

#define CODE_MAX 256            /* of a code object, what stands before its instructions */
#define LINES_MAX (256u << 10)  /* of a line table: what is further has no line */
#define HEAP_TYPE (1u << 9)     /* Py_TPFLAGS_HEAPTYPE: made by a program, not one of the interpreter's own */

/* What a code object says of itself. */
struct code {
	uint64_t words[GIL_CODE_WORDS];
	uint32_t firstlineno, len, print;
};

/* A str that is being read; of one that is too long the beginning, or the end. */
struct text {
	uint64_t object;
	bool want_end;
	struct pystr str;
	size_t n;               /* characters that are read */
	uint8_t head[96], chars[4 * PYSTACK_FILE_SIZE];
};

/* A code object that is being read. */
struct lesson {
	const struct gil_frame *frame;
	bool ok;                /* nothing speaks against it so far */
	uint8_t bytes[CODE_MAX];
	struct code code;
	struct text function, file;
	uint8_t lines_head[96];
	struct pycode learned;
};

/* What buffers on the stack must hold. */
static bool offsets_usable(const struct pyoffsets *off)
{
	return off->interp_modules != PYOFF_NONE && off->code_lines <= CODE_MAX - 8 && off->code_firstlineno <= CODE_MAX - 4 &&
	       off->code_filename <= CODE_MAX - 32 && off->ob_type <= 24 && off->bytes_size <= 64 && off->bytes_data <= 80 &&
	       off->unicode_ascii_size <= 96 && off->unicode_state + 4 <= off->unicode_ascii_size &&
	       off->type_flags < 1024 && off->type_name < 1024;
}

int pycode__open(struct pycode_reader *r, pid_t pid, const struct pyoffsets *off, const struct gil_frame_layout *layout)
{
	if (!layout->frame_bytes || !offsets_usable(off))
		return -ENOTSUP;
	*r = (struct pycode_reader){
		.pid = pid, .off = *off, .layout = *layout, .code = {"code", 0}, .str = {"str", 0}, .bytes = {"bytes", 0},
	};
	return 0;
}

void pycode__clear(struct pycode *code)
{
	free(code->function);
	free(code->file);
	free(code->lines);
	*code = (struct pycode){0};
}

bool pycode__is_pointer(uint64_t p)
{
	return p && p % 8 == 0 && p >> PYVER_USER_BITS == 0;
}

/* ---- objects ---- */

/* Whether `type` is the interpreter's own type of that name. */
static bool is_type(struct pycode_reader *r, struct pycode_type *known, uint64_t type)
{
	uint64_t text, flags;
	char name[8];

	if (known->at)
		return known->at == type;
	if (!pycode__is_pointer(type) || procmem__read_u64(r->pid, type + r->off.type_name, &text) ||
	    procmem__read_u64(r->pid, type + r->off.type_flags, &flags) || flags & HEAP_TYPE ||
	    procmem__read(r->pid, text, name, strlen(known->name) + 1) ||
	    memcmp(name, known->name, strlen(known->name) + 1) != 0)
		return false;
	known->at = type;
	return true;
}

/* Places of a target's memory that are read at once, each for a lesson. */
struct places {
	struct procmem_piece pieces[4 * PYCODE_AT_ONCE];
	struct lesson *of[4 * PYCODE_AT_ONCE];
	size_t n;
};

static void want(struct places *p, struct lesson *l, uint64_t addr, void *buf, size_t len)
{
	if (!len)
		return;
	p->of[p->n] = l;
	p->pieces[p->n++] = (struct procmem_piece){.addr = addr, .buf = buf, .len = len};
}

/* A lesson that misses one of its pieces is over. */
static void read_places(struct pycode_reader *r, struct places *p)
{
	procmem__read_many(r->pid, p->pieces, p->n);
	for (size_t i = 0; i < p->n; i++)
		p->of[i]->ok = p->of[i]->ok && p->pieces[i].ok;
	p->n = 0;
}

/* From the head of a str: which of its characters are read. */
static bool begin_text(struct pycode_reader *r, struct text *t, size_t max)
{
	if (!is_type(r, &r->str, bytes__u64(t->head + r->off.ob_type)))
		return false;
	t->str = pystr__head(&r->off, t->head);
	t->n = t->str.length < max ? (size_t)t->str.length : max;
	return pystr__is_sane(&t->str);
}

static uint64_t chars_of(const struct text *t)
{
	return t->object + t->str.data + (t->want_end ? (t->str.length - t->n) * t->str.kind : 0);
}

/* Its characters, cleaned, into new memory. */
static char *end_text(const struct text *t, size_t size, const char *if_empty)
{
	char utf8[4 * PYSTACK_FILE_SIZE], clean[PYSTACK_FILE_SIZE];
	size_t len = pystr__utf8(utf8, t->chars, t->str.kind, t->n), from = 0;

	if (t->want_end && len > size - 1)
		from = len - (size - 1);
	while (from && from < len && (utf8[from] & 0xc0) == 0x80) /* not inside a character */
		from++;
	text__clean(clean, size, utf8 + from, len - from);
	return strdup(clean[0] ? clean : if_empty);
}

/* From the head of a bytes object: room for what is read of it, LINES_MAX at most. */
static bool begin_lines(struct pycode_reader *r, struct lesson *l, bool alone)
{
	uint64_t len = bytes__u64(l->lines_head + r->off.bytes_size);

	if (!is_type(r, &r->bytes, bytes__u64(l->lines_head + r->off.ob_type)) || len > INT64_MAX)
		return false;
	l->learned.too_long = len > PYCODE_LINES_MANY && !alone;
	if (l->learned.too_long)
		return false;
	l->learned.lines_len = len < LINES_MAX ? len : LINES_MAX;
	l->learned.lines = malloc(l->learned.lines_len + 1);
	return l->learned.lines != NULL;
}

/* ---- code objects ---- */

/* How much is read of one. */
static uint32_t code_size(const struct pycode_reader *r)
{
	const struct gil_frame_layout *l = &r->layout;

	uint32_t words_end = l->code_words + l->code_words_n * 8, line_end = l->code_line + 4;

	return words_end > line_end ? words_end : line_end;
}

static bool understand_code(struct pycode_reader *r, const uint8_t *bytes, struct code *ret)
{
	const struct gil_frame_layout *l = &r->layout;

	if (!is_type(r, &r->code, bytes__u64(bytes + r->off.ob_type)))
		return false;
	*ret = (struct code){.firstlineno = bytes__u32(bytes + l->code_line)};
	for (uint32_t i = 0; i < l->code_words_n; i++)
		ret->words[i] = bytes__u64(bytes + l->code_words + 8 * i);
	/* From 3.11 on it ends with its instructions, which ob_size counts. */
	ret->len = l->code_bytes == GIL_NO_OFFSET ? 0 : bytes__u32(bytes + r->off.ob_type + 8) * 2;
	ret->print = gil_code_print(ret->words[0], ret->words[1], ret->words[2], ret->words[3], ret->firstlineno);
	return true;
}

static void want_code(const struct pycode_reader *r, struct places *p, struct lesson *l)
{
	want(p, l, l->frame->code, l->bytes, code_size(r));
}

/* Whether the code object is who it was when the frame was seen. */
static bool is_same_code(struct pycode_reader *r, struct lesson *l)
{
	return understand_code(r, l->bytes, &l->code) && l->code.print == l->frame->print;
}

/* ---- lessons ---- */

static void learn_codes(struct pycode_reader *r, struct places *p, struct lesson *lessons, size_t n)
{
	for (struct lesson *l = lessons; l < lessons + n; l++) {
		l->ok = l->frame->print && pycode__is_pointer(l->frame->code);
		if (l->ok)
			want_code(r, p, l);
	}
	read_places(r, p);
	for (struct lesson *l = lessons; l < lessons + n; l++)
		l->ok = l->ok && is_same_code(r, l);
}

static void learn_heads(struct pycode_reader *r, struct places *p, struct lesson *lessons, size_t n)
{
	for (struct lesson *l = lessons; l < lessons + n; l++) {
		uint64_t lines = l->code.words[r->layout.code_words_n - 1];

		l->function = (struct text){.object = l->code.words[r->layout.code_words_n == GIL_CODE_WORDS ? 2 : 1]};
		l->file = (struct text){.object = l->code.words[0], .want_end = true};
		l->ok = l->ok && pycode__is_pointer(l->function.object) && pycode__is_pointer(l->file.object) &&
			pycode__is_pointer(lines);
		if (!l->ok)
			continue;
		want(p, l, l->function.object, l->function.head, r->off.unicode_ascii_size);
		want(p, l, l->file.object, l->file.head, r->off.unicode_ascii_size);
		want(p, l, lines, l->lines_head, r->off.bytes_data);
	}
	read_places(r, p);
	for (struct lesson *l = lessons; l < lessons + n; l++)
		l->ok = l->ok && begin_text(r, &l->function, PYSTACK_FUNCTION_SIZE - 1) &&
			begin_text(r, &l->file, PYSTACK_FILE_SIZE - 1) && begin_lines(r, l, n == 1);
}

/* The kernel copies one piece after the other: the code objects, last, are as they are when all else has been read. */
static void learn_contents(struct pycode_reader *r, struct places *p, struct lesson *lessons, size_t n)
{
	for (struct lesson *l = lessons; l < lessons + n; l++) {
		if (!l->ok)
			continue;
		want(p, l, chars_of(&l->function), l->function.chars, l->function.n * l->function.str.kind);
		want(p, l, chars_of(&l->file), l->file.chars, l->file.n * l->file.str.kind);
		want(p, l, l->code.words[r->layout.code_words_n - 1] + r->off.bytes_data, l->learned.lines, l->learned.lines_len);
	}
	for (struct lesson *l = lessons; l < lessons + n; l++)
		if (l->ok)
			want_code(r, p, l);
	read_places(r, p);
}

/* Nothing has been learned, but why. */
static void drop(struct pycode *code)
{
	bool too_long = code->too_long;

	pycode__clear(code);
	code->too_long = too_long;
}

static void end_lesson(struct pycode_reader *r, struct lesson *l)
{
	struct pycode *n = &l->learned;

	if (!l->ok || !is_same_code(r, l)) {
		drop(n);
		return;
	}
	n->at = l->frame->code;
	n->print = l->frame->print;
	n->firstlineno = l->code.firstlineno;
	n->len = l->code.len;
	n->function = end_text(&l->function, PYSTACK_FUNCTION_SIZE, "?");
	n->file = end_text(&l->file, PYSTACK_FILE_SIZE, "");
	if (!n->function || !n->file)
		drop(n);
}

void pycode__learn(struct pycode_reader *r, const struct gil_frame *frames, size_t n, struct pycode *ret)
{
	struct lesson *lessons = calloc(n, sizeof(*lessons));
	struct places places = {.n = 0};

	for (size_t i = 0; i < n; i++)
		ret[i] = (struct pycode){0};
	if (!lessons)
		return;
	for (size_t i = 0; i < n; i++)
		lessons[i].frame = &frames[i];
	learn_codes(r, &places, lessons, n);
	learn_heads(r, &places, lessons, n);
	learn_contents(r, &places, lessons, n);
	for (size_t i = 0; i < n; i++) {
		end_lesson(r, &lessons[i]);
		ret[i] = lessons[i].learned;
	}
	free(lessons);
}

/* ---- prints ---- */

/* At most PYCODE_AT_ONCE. */
static void add_prints(struct pycode_reader *r, struct gil_frame *frames, size_t n)
{
	struct procmem_piece pieces[PYCODE_AT_ONCE];
	uint8_t bytes[PYCODE_AT_ONCE][CODE_MAX];
	struct code code;

	for (size_t i = 0; i < n; i++)
		pieces[i] = (struct procmem_piece){.addr = frames[i].code, .buf = bytes[i], .len = code_size(r)};
	procmem__read_many(r->pid, pieces, n);
	for (size_t i = 0; i < n; i++)
		if (pycode__is_pointer(frames[i].code) && pieces[i].ok && understand_code(r, bytes[i], &code))
			frames[i].print = code.print;
}


void pycode__add_prints(struct pycode_reader *r, struct gil_frame *frames, size_t n)
{
	for (size_t i = 0; i < n; i += PYCODE_AT_ONCE)
		add_prints(r, frames + i, n - i < PYCODE_AT_ONCE ? n - i : PYCODE_AT_ONCE);
}
