/* SPDX-License-Identifier: GPL-2.0-only */
/* See text.h. */
#include "text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Decodes one code point; returns its length in bytes, 0 if malformed (overlong and surrogates included). */
static size_t decode(const unsigned char *s, size_t len, uint32_t *ret)
{
	static const uint32_t lowest[5] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80 ? 1 : (s[0] & 0xe0) == 0xc0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 :
		   (s[0] & 0xf8) == 0xf0 ? 4 : 0;
	uint32_t cp;

	if (n == 0 || n > len)
		return 0;
	cp = n == 1 ? s[0] : s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (s[i] & 0x3f);
	}
	if (cp < lowest[n] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	*ret = cp;
	return n;
}

/* Whether a terminal or a reader could be misled by it. */
static bool harmful(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 ||
	       (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) ||
	       (cp >= 0x200b && cp <= 0x200f) || cp == 0xfeff;
}

static size_t clean(char *dst, size_t size, const char *src, size_t src_len, bool member)
{
	const unsigned char *s = (const unsigned char *)src;
	size_t out = 0;

	for (size_t i = 0; i < src_len;) {
		uint32_t cp;
		size_t n = decode(s + i, src_len - i, &cp);
		bool keep = n > 0 && !harmful(cp);
		size_t need = keep ? n : 1;

		if (out + need >= size)
			break;
		if (!keep)
			dst[out] = '?';
		else if (member && cp == '|')
			dst[out] = '/';
		else
			memcpy(dst + out, s + i, n);
		out += need;
		i += n > 0 ? n : 1;
	}
	dst[out] = '\0';
	return out;
}

size_t text__clean(char *dst, size_t size, const char *src, size_t src_len)
{
	return clean(dst, size, src, src_len, false);
}

size_t text__clean_member(char *dst, size_t size, const char *src, size_t src_len)
{
	return clean(dst, size, src, src_len, true);
}

size_t text__int(char dst[TEXT_INT_SIZE], long long value)
{
	unsigned long long rest = value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value;
	char digits[TEXT_INT_SIZE];
	size_t n = 0, len = 0;

	do {
		digits[n++] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (value < 0)
		dst[len++] = '-';
	while (n > 0)
		dst[len++] = digits[--n];
	dst[len] = '\0';
	return len;
}

size_t text__char_bytes(const char *s)
{
	size_t n = *s ? 1 : 0;

	while (n && n < 4 && ((unsigned char)s[n] & 0xc0) == 0x80)
		n++;
	return n;
}

static bool wide(uint32_t cp)
{
	return (cp >= 0x1100 && cp <= 0x115f) || (cp >= 0x2e80 && cp <= 0xa4cf) ||
	       (cp >= 0xac00 && cp <= 0xd7a3) || (cp >= 0xf900 && cp <= 0xfaff) ||
	       (cp >= 0xfe30 && cp <= 0xfe6f) || (cp >= 0xff00 && cp <= 0xff60) ||
	       (cp >= 0x1f300 && cp <= 0x1faff) || (cp >= 0x20000 && cp <= 0x3fffd);
}

size_t text__columns(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len = strlen(text), columns = 0;

	for (size_t i = 0; i < len;) {
		uint32_t cp;
		size_t n = decode(s + i, len - i, &cp);

		columns += n > 0 && wide(cp) ? 2 : 1;
		i += n > 0 ? n : 1;
	}
	return columns;
}

size_t text__head(const char *text, size_t columns, size_t most)
{
	size_t at = 0, used = 0, n;

	while ((n = text__char_bytes(text + at)) > 0) {
		char one[5] = "";

		memcpy(one, text + at, n);
		used += text__columns(one);
		if (used > columns || at + n > most)
			break;
		at += n;
	}
	return at;
}

void text__append(char *dst, size_t size, const char *fmt, ...)
{
	size_t len = strlen(dst);
	va_list args;

	va_start(args, fmt);
	vsnprintf(dst + len, size - len, fmt, args);
	va_end(args);
}

/* The byte behind it is in no text, so that two texts are not one. */
uint64_t text__hash(uint64_t from, const char *text)
{
	for (; *text; text++)
		from = (from ^ (uint8_t)*text) * 0x100000001b3ull;
	return (from ^ 0xff) * 0x100000001b3ull;
}
