/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Why holders of the GIL slept, and who stopped them: times by reason, over an interval or many. Plain data, a bounded number
 * of reasons; what finds no room is kept as a sum without a name. Pure.
 */
#ifndef GILSCOPE_WHYS_H
#define GILSCOPE_WHYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/gil_types.h"

#define WHYS_MAX 16
#define WHY_NAME_SIZE 40

struct why {
	enum gil_why_kind kind;
	uint32_t pid;             /* of a tracer, as the collector's PID namespace counts; 0: not known there */
	char name[WHY_NAME_SIZE]; /* of a tracer or a system call, cleaned; else "" */
	uint64_t ns;
};

/* Zeroed is empty. */
struct whys {
	struct why of[WHYS_MAX];
	size_t n;
	uint64_t rest_ns;         /* of further reasons */
};

/* Adds `ns` of a reason as the programs have it. */
void whys__count(struct whys *w, const struct gil_why *why, uint64_t ns);

/* The same of one that is named already. */
void whys__add(struct whys *w, const struct why *why);

/* dst += src. */
void whys__merge(struct whys *dst, const struct whys *src);

/* The largest that stopped holders (TRACER, SIGNAL, FROZEN; `stopped`) or in which they slept (CALL, FAULT); NULL: none. */
const struct why *whys__most(const struct whys *w, bool stopped);

/* In sum, of a kind. */
uint64_t whys__ns(const struct whys *w, enum gil_why_kind kind);

#define WHY_WORDS_SIZE 80

/* "py-spy (PID 4711)", "a signal (SIGSTOP)", "the freezer of its control group", "futex", "page faults". Returns buf. */
const char *why__words(const struct why *why, char buf[WHY_WORDS_SIZE]);

#define WHYS_WORDS_SIZE 512

/* All tracers that stopped holders, the worst first: "py-spy (PID 4711) and strace (PID 4712)"; "": none. Returns buf. */
const char *whys__tracers(const struct whys *w, char buf[WHYS_WORDS_SIZE]);

const char *gil_why_kind__name(enum gil_why_kind kind); /* "tracer" ...; "" for NONE */
enum gil_why_kind gil_why_kind__by_name(const char *name); /* NONE for what is no name */

#endif
