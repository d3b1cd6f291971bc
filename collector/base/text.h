/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text from outside (thread names, command lines, paths), made safe to show and to store. Pure.
 */
#ifndef GILSCOPE_TEXT_H
#define GILSCOPE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Copies at most `src_len` bytes of `src` to `dst` as valid UTF-8 without control characters: C0, DEL, C1,
 * line and paragraph separators, bidirectional overrides and malformed bytes become '?'. Never cuts inside a
 * character. Always terminates (size > 0). Returns the length written.
 */
size_t text__clean(char *dst, size_t size, const char *src, size_t src_len);

/*
 * Like text__clean(), and additionally replaces the characters that have a meaning in a member of an
 * index: '|' becomes '/'. For names that go into Redis members.
 */
size_t text__clean_member(char *dst, size_t size, const char *src, size_t src_len);

#define TEXT_INT_SIZE 21

/* Writes a number in decimal, terminated. Returns its length. */
size_t text__int(char dst[TEXT_INT_SIZE], long long value);

/* Adds to the terminated string in `dst`, whose room is `size`; what does not fit is left out. */
void text__append(char *dst, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define TEXT_HASH 0xcbf29ce484222325ull

/* FNV-1a, 64 bits, of the text behind others whose hash is `from` (TEXT_HASH: none). */
uint64_t text__hash(uint64_t from, const char *text);

/* Bytes of the first character of a cleaned string, 0 at its end. */
size_t text__char_bytes(const char *s);

/* Terminal columns of a cleaned UTF-8 string: one per code point (wide characters count as two). */
size_t text__columns(const char *s);

/* Bytes of the beginning of a cleaned string, whole characters, that takes at most `columns` columns and `most` bytes. */
size_t text__head(const char *s, size_t columns, size_t most);

#endif
