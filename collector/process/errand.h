/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What may wait for ever on another's account is done by a process of its own, the reader: reading a process's memory, opening
 * and reading its files.
 *
 * A page may lie in a file whose server (FUSE, NFS) does not answer, or be somebody's to fill in (userfaultfd); an exec may not
 * come to its end. Who touches that waits, often so that no signal ends it, and a thread that waits so keeps every descriptor of
 * its process open: links, and with them breakpoints in other processes, would outlive gilscope. A reader has no descriptor but
 * its socket and what an errand brings along. One that does not come back in time is left where it is, errands about the same
 * process fail at once from then on, and another reader is there for the others. When it comes back after all, the process is
 * looked at again. A user with a few processes of that kind has no further one looked at, so that nobody can use up the readers
 * that there are for all.
 *
 * Readers are forked by a process that was forked before anything else (the nursery), so that none inherits what gilscope has
 * opened since. Before errand__prepare(), in a forked child, and without it (tests) the caller does the errand itself. Their own
 * life is in errand_process.c. Pure.
 */
#ifndef GILSCOPE_ERRAND_H
#define GILSCOPE_ERRAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "packet.h"

#define ERRAND_ROOM ((1u << 20) + (64u << 10)) /* bytes that go along, and that come back */

/* What goes along with an errand, and what it brings back. */
struct errand_bag {
	void *room;               /* ERRAND_ROOM bytes */
	int fds[PACKET_FDS_MAX];  /* -1: none. Those that go along stay the caller's, those that come back are its own */
};

typedef int errand_fn(struct errand_bag *bag);

/* An empty bag; no other thread has one until errand__unpack(). NULL: no memory. */
struct errand_bag *errand__pack(void);
void errand__unpack(struct errand_bag *bag);

/*
 * Runs `fn` on the bag. `about`: the process that it may get stuck on; negative: a file (errand__about_file()). `patience_ms`:
 * how long it may wait; while it computes it has ten times that. What `fn` returns, or -ETIMEDOUT (it is stuck, or one before it
 * is, with the same process), -EIO (the reader died of it), -EAGAIN (too many are stuck, or too many with that user's processes).
 */
int errand__run(struct errand_bag *bag, errand_fn *fn, pid_t about, unsigned int patience_ms);

/* How long reading of memory may take, and what opens or reads a file. */
#define ERRAND_MEMORY_MS 200
#define ERRAND_FILE_MS 2000

/* Names a file by whatever tells it from others. */
pid_t errand__about_file(uint64_t hash);

/* Whether errands are done by another process. */
bool errand__is_away(void);

/*
 * Starts the nursery, with the rights that the caller has now, before the caller opens what must not outlive it; a forked child
 * may have one of its own. 0 or -errno.
 */
int errand__prepare(void);

/* Ends all of its processes, but for those that are stuck: they end when they come back. */
void errand__dismiss(void);

/* Called while an errand is waited for, ten times a second and more. NULL: nobody. */
void errand__while_waiting(void (*call)(void));

struct errand_counts {
	uint64_t sent;      /* all errands so far */
	uint64_t abandoned; /* errands that did not come back in time */
	uint64_t refused;   /* those that were not tried for that reason */
};
struct errand_counts errand__counts(void);

#endif
