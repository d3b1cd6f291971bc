/* SPDX-License-Identifier: GPL-2.0-only */
/* See pylines.h. */
#include "pylines.h"

#define NO_LINE (-128)      /* 3.10: these instructions have none */
#define KIND_NONE 15        /* 3.11+, PyCodeLocationInfoKind in cpython/code.h */
#define KIND_LONG 14
#define KIND_NO_COLUMNS 13
#define KIND_ONE_LINE0 10   /* and 11, 12: one and two lines on */

static uint32_t as_line(int64_t line)
{
	return line > 0 && line <= INT32_MAX ? (uint32_t)line : 0;
}

/* Pairs (bytes of code, lines): a line holds from the sum of the bytes before it on. */
static uint32_t find_in_lnotab(const uint8_t *table, size_t len, int64_t line, uint32_t at)
{
	uint64_t start = 0;

	for (size_t i = 0; i + 1 < len; i += 2) {
		start += table[i];
		if (start > at)
			break;
		line += (int8_t)table[i + 1];
	}
	return as_line(line);
}

/* Pairs (bytes of code, lines): the line is that of these bytes. */
static uint32_t find_in_ranges(const uint8_t *table, size_t len, int64_t line, uint32_t at)
{
	uint64_t end = 0;

	for (size_t i = 0; i + 1 < len; i += 2) {
		int8_t lines = (int8_t)table[i + 1];

		end += table[i];
		if (lines != NO_LINE)
			line += lines;
		if (end > at)
			return lines == NO_LINE ? 0 : as_line(line);
	}
	return 0;
}

/* A varint of 6 bits a byte, the lowest first; the lowest bit of the number is its sign. */
static int64_t signed_varint(const uint8_t *table, size_t len, size_t at)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; at < len && shift < 36; at++, shift += 6) {
		value |= (uint64_t)(table[at] & 63) << shift;
		if (!(table[at] & 64))
			break;
	}
	return value & 1 ? -(int64_t)(value >> 1) : (int64_t)(value >> 1);
}

/* Entries of a byte with bit 7 set and others without: kind, instructions, and what the kind needs. */
static uint32_t find_in_locations(const uint8_t *table, size_t len, int64_t line, uint32_t at)
{
	uint64_t end = 0;

	for (size_t i = 0; i < len;) {
		uint32_t kind = table[i] >> 3 & 15;

		if (!(table[i] & 0x80))
			return 0;
		end += 2 * ((table[i] & 7) + 1);
		if (kind == KIND_LONG || kind == KIND_NO_COLUMNS)
			line += signed_varint(table, len, i + 1);
		else if (kind >= KIND_ONE_LINE0 && kind < KIND_NO_COLUMNS)
			line += kind - KIND_ONE_LINE0;
		if (end > at)
			return kind == KIND_NONE ? 0 : as_line(line);
		while (++i < len && !(table[i] & 0x80))
			;
	}
	return 0;
}

uint32_t pylines__find(enum pyfamily_lines kind, const uint8_t *table, size_t len, uint32_t firstlineno, uint32_t at)
{
	switch (kind) {
	case LINES_LNOTAB:
		return find_in_lnotab(table, len, firstlineno, at);
	case LINES_RANGES:
		return find_in_ranges(table, len, firstlineno, at);
	case LINES_LOCATIONS:
		break;
	}
	return find_in_locations(table, len, firstlineno, at);
}
