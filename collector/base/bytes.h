/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers out of bytes that may lie anywhere: a file's image, a copy of a target's memory. Host byte order. */
#ifndef GILSCOPE_BYTES_H
#define GILSCOPE_BYTES_H

#include <stdint.h>
#include <string.h>

static inline uint32_t bytes__u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t bytes__u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

#endif
