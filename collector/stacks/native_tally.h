/* SPDX-License-Identifier: GPL-2.0-only */
/* How often which native code was seen inside one Python stack. A few names are told apart; the others share a count. Pure. */
#ifndef GILSCOPE_NATIVE_TALLY_H
#define GILSCOPE_NATIVE_TALLY_H

#include "native.h"

struct native_tally;

/* Counts one look; makes the tally at the first (*t NULL). No memory: it is not counted. */
void native_tally__add(struct native_tally **t, const struct native_chain *chain);

/*
 * What was seen in at least half of all looks; else the module that was in three quarters of them, as its own name; else NULL.
 * Valid until the next one is counted.
 */
const struct native_chain *native_tally__winner(const struct native_tally *t);

void native_tally__free(struct native_tally *t);

#endif
