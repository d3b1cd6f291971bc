/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers for people: short, one unit, no more digits than carry meaning. Pure.
 *
 * Every function fills `buf` and returns it, so that it can stand among printf's arguments. Nothing here is wider than
 * 9 columns, except human__grouped().
 */
#ifndef GILSCOPE_HUMAN_H
#define GILSCOPE_HUMAN_H

#include <stddef.h>
#include <stdint.h>

#define HUMAN_SIZE 32

/* A measured duration, given in microseconds: "3 us", "17.3 ms", "1.20 s", "125 s", "3.4 h". Negative or NaN: "-". */
const char *human__us(char buf[HUMAN_SIZE], double us);

/* A chosen duration, given in ns, as it is typed: "500ms", "1s", "90s", "24h". Exact where it can be. */
const char *human__span(char buf[HUMAN_SIZE], uint64_t ns);

/* A share 0..1 (and above): "81.2%". */
const char *human__share(char buf[HUMAN_SIZE], double share);

/* A count in at most 5 columns: "812", "1,234", from 10,000 on "12.3k", "4.56M". */
const char *human__count(char buf[HUMAN_SIZE], double n);

/* A count in full: "12,345,678". */
const char *human__grouped(char buf[HUMAN_SIZE], uint64_t n);

/* A size given in KiB: "48.2 MiB". */
const char *human__kib(char buf[HUMAN_SIZE], double kib);

/* How long ago: "now", "42 s ago", "3 h ago", "5 d ago". */
const char *human__ago(char buf[HUMAN_SIZE], int64_t ms);

#endif
