/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The process that looks: again and again it reads the words of the GILs that it is told of, and now and then what some of
 * their processes' threads do. No probe, nothing is stopped, nothing is written but the ring (look_ring.h).
 *
 *   period     |---------|---------|---------|---------|     a look at a random moment of each: there is no drift, and no
 *   looks         x            x    x            x           lock-step with what the process itself does periodically
 *
 * It is a process since a look may never end (errand.h), and one of its own since a look each millisecond through another
 * process would cost more than the look. It uses at most 1 % of a core for one process and 5 % for 200: beyond, it looks less
 * often. Looks that were missed are the next one's weight, up to LOOK_GAP_NS; more was not seen.
 */
#ifndef GILSCOPE_LOOKER_H
#define GILSCOPE_LOOKER_H

#include "look_ring.h"

#define LOOK_GAP_NS 100000000ull

/* Looks until ring->stop, or its parent's end. */
_Noreturn void looker__main(struct look_ring *ring);

#endif
