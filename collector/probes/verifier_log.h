/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What libbpf says while it loads programs, and in it the kernel verifier's log: kept, so that a refusal can quote the line that
 * says why. Shown under -vv, the log line by line and bounded. Pure: no libbpf.
 */
#ifndef GILSCOPE_VERIFIER_LOG_H
#define GILSCOPE_VERIFIER_LOG_H

#include <stddef.h>

#define VERIFIER_LOG_SHOWN ((size_t)256 * 1024) /* bytes of a log, its end: a refusal stands there */

/* Zeroed: nothing was said. */
struct verifier_log {
	char program[32]; /* whose log it is, "": the verifier refused none */
	char line[256];   /* the line that says why, "": none does */
	char last[256];   /* what libbpf said last besides, but for what follows from it */
};

/* One message of libbpf's, which may have many lines. */
void verifier_log__take(struct verifier_log *log, const char *message);

/* The last line of a verifier's log that is not statistics; "" if there is none. Returns buf. */
const char *verifier_log__reason(const char *text, char *buf, size_t size);

#endif
