/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where threads of a free-threaded CPython wait for each other: the calls of its parking lot (Python/parking_lot.c), in which
 * every thread sleeps that waits for an object's lock, for a Lock or RLock (RLock: from 3.14 on), for a stopped world, an event.
 *
 * Found by what every build exports, imports and needs: what _PyParkingLot_Park calls, _PyParkingLot_Unpark does not, and calls
 * sem_wait or sem_clockwait (told by imports), is how a thread sleeps. Who calls that is the exported function, or a copy of it:
 * compilers make some for certain callers, and most calls go to those. Only what takes a bucket's mutex sleeps in the same way,
 * and that Unpark calls as well. Where compilers have put that way of sleeping into the function, its copies are what waits for a
 * semaphore and takes such a mutex. Calls of any of them are sites. Parts of a function that lie elsewhere count as its own.
 *
 * Proof: each function's extent is that of its .eh_frame entry, and decoding from its start arrives at every call. A call by a
 * jump, from which nobody comes back to the caller, is counted and is no site. Pure: the file alone.
 */
#ifndef GILSCOPE_PARK_SITES_H
#define GILSCOPE_PARK_SITES_H

#include <stddef.h>
#include <stdint.h>

#include "collector/base/reason.h"
#include "collector/elf/elffile.h"

/* What a thread waits for there: by the function that calls, where the file names it, else by what it passes, where proven. */
enum park_kind {
	PARK_OBJECT, /* the lock of an object, and others that never time out: PyMutex_Lock */
	PARK_LOCK,   /* threading.Lock or RLock, the import lock */
	PARK_STOP,   /* the world is stopped */
	PARK_EVENT,  /* something happens: a thread ends, others have stopped */
	PARK_OTHER,  /* once-flags, locks of readers and writers */
	PARK_UNTOLD,
	PARK_KINDS_N,
};

struct park_site {
	uint64_t call;             /* ELF virtual address of the call */
	uint64_t behind;           /* of the instruction that it returns to */
	struct elf_range function;
	enum park_kind kind;
};

#define PARK_SITES_MAX 64 /* real builds have 8 or 9 */

struct park_sites {
	struct park_site at[PARK_SITES_MAX]; /* by address */
	size_t n;
	size_t copies;             /* of _PyParkingLot_Park, itself included */
	size_t jumps;              /* calls that are no sites */
	struct reason why_not;     /* why there is none; "": there are some, or they were not looked for */
};

/* Finds them, or why none is certain. */
void park_sites__find(struct elffile *ef, struct park_sites *ret);

#define PARK_SITES_TEXT 400

/*
 * For people, as a sentence without its full stop: how many there are and of which kinds, or why there are none. "": they were
 * not looked for. Returns buf.
 */
const char *park_sites__text(const struct park_sites *sites, char buf[PARK_SITES_TEXT]);

#endif
