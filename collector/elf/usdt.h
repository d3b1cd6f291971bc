/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The notes that a build with --with-dtrace leaves in its file (.note.stapsdt, as SystemTap's <sys/sdt.h> writes them; stripping
 * keeps them): places in the code that have a name, each with the word in memory that switches it on. Pure.
 */
#ifndef GILSCOPE_USDT_H
#define GILSCOPE_USDT_H

#include <stddef.h>
#include <stdint.h>

#include "elffile.h"

/* ELF virtual addresses. */
struct usdt_note {
	uint64_t place;     /* of the noted nop */
	uint64_t semaphore; /* 16 bits; 0: it is always on */
};

/* The notes of that provider and name, at most `max` of them; how many there are. */
size_t usdt__find(struct elffile *ef, const char *provider, const char *name, struct usdt_note *ret, size_t max);

#endif
