/* SPDX-License-Identifier: GPL-2.0-only */
/* See pystr.h. Names of members are those of CPython's unicodeobject.h. */
#include "pystr.h"

#include "collector/base/bytes.h"
#include "collector/cpython/pyfamily.h"

/* PyASCIIObject. */
struct pystr pystr__head(const struct pyoffsets *off, const uint8_t *head)
{
	uint32_t word = bytes__u32(head + off->unicode_state);
	uint32_t state = word >> pyfamily__of_offsets(off)->string_state_shift[off->gil_enabled == 0];
	bool ascii = state >> 4 & 1;

	return (struct pystr){
		.length = bytes__u64(head + off->unicode_length), .kind = state & 7, .compact = state >> 3 & 1, .ascii = ascii,
		.data = ascii ? off->unicode_ascii_size : off->unicode_compact_size,
	};
}

bool pystr__is_sane(const struct pystr *s)
{
	return s->compact && s->length <= INT64_MAX && (s->kind == 1 || s->kind == 2 || s->kind == 4);
}

static uint32_t code_point(const uint8_t *chars, uint32_t kind, size_t i)
{
	return kind == 1 ? chars[i] : kind == 2 ? (uint32_t)(chars[2 * i] | chars[2 * i + 1] << 8) : bytes__u32(chars + 4 * i);
}

static size_t encode(uint32_t c, char *to)
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (n == 1) {
		to[0] = (char)c;
		return 1;
	}
	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		to[i] = (char)(0x80 | (c & 0x3f));
	to[0] = (char)((0xf00 >> n & 0xff) | (c & (0x7fu >> n)));
	return n;
}

size_t pystr__utf8(char *to, const uint8_t *chars, uint32_t kind, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += encode(code_point(chars, kind, i) & 0x1fffff, to + len);
	return len;
}
