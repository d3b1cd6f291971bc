/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the collector's loop still turns: it says so in memory that it shares with the planter, and the planter looks.
 *
 * Silence alone is no sign: a loop that waits for a CPU, or computes, is well. It is lost when it has said nothing for a second
 * and its thread has neither run nor wanted to between two looks: it waits for something, or it was stopped. Only time in which
 * the planter looked counts: when the machine stood still, nobody could say anything. Pure.
 */
#ifndef GILSCOPE_PULSE_H
#define GILSCOPE_PULSE_H

#include <stdbool.h>
#include <stdint.h>

#define PULSE_SILENCE_NS 1000000000ull
#define PULSE_LOOK_MS 250              /* between two looks */
#define PULSE_BUSY_NS 30000000000ull   /* so long it may compute without a word */

/* Makes the memory; before the planter is forked. 0 or -ENOMEM: the pulse is not felt then. */
int pulse__prepare(void);

/* ---- the loop's side ---- */

/* From here on the calling thread beats, at least each quarter of a second while all is well; until pulse__end(). */
void pulse__begin(void);
void pulse__end(void);

/* A beat, if the caller is that thread; else nothing. */
void pulse__beat(void);

/* What the planter did: how often it lifted all for want of a pulse, and when (ns, CLOCK_MONOTONIC) it did so last. */
uint32_t pulse__times_lost(uint64_t *ret_at_ns);

/*
 * Whether the planter lifts at this moment, or has lifted more often than `times`: what the probes have not seen since proves
 * nothing then.
 */
bool pulse__is_lifted_since(uint32_t times);

/* Whether the planter has done that since the last beat; from any thread. */
bool pulse__is_known_lost(void);

/* ---- the planter's side ---- */

/* Whether anybody is to be felt. */
bool pulse__is_expected(void);

/* A look, to be taken every PULSE_LOOK_MS; ns, CLOCK_MONOTONIC. True: it is lost, and not known to be so yet. */
bool pulse__is_lost(uint64_t now_ns);

/* All is going to be lifted for that reason; it is. */
void pulse__note_lifting(void);
void pulse__note_lost(uint64_t now_ns);

#endif
