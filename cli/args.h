/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Strict words of the command line: numbers, durations, percentages, PIDs. Pure.
 *
 * Each takes the whole string or refuses: "abc", "5x", "-1", "", " 5" and overflow are errors. 0 or -EINVAL / -ERANGE,
 * with the sentence in `why` ("--interval: ...").
 */
#ifndef GILSCOPE_ARGS_H
#define GILSCOPE_ARGS_H

#include <stdint.h>
#include <sys/types.h>

#include "collector/base/reason.h"

int args__u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret, struct reason *why);
/* "500ms", "1s", "2.5m", "24h", "7d", "50us"; a bare number is refused except 0. Result in ns. */
int args__duration(const char *what, const char *text, uint64_t min_ns, uint64_t max_ns, uint64_t *ret, struct reason *why);
/* "2%", "0.5%", or a fraction "0.02" -> 0.02. 0..1 */
int args__share(const char *what, const char *text, double *ret, struct reason *why);
/* "20", "2.5", "150%" -> 1.5; 0..max */
int args__number(const char *what, const char *text, double max, double *ret, struct reason *why);
int args__pid(const char *text, pid_t *ret, struct reason *why);
/*
 * A point in time: "5m" (before `now_ms`), "10:05[:30]" (the last one before it), "2026-11-23T10:00:00[Z]", or "@1795339305"
 * (epoch seconds, or ms).
 */
int args__time(const char *what, const char *text, int64_t now_ms, int64_t *ret_ms, struct reason *why);

#endif
