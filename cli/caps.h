/* SPDX-License-Identifier: GPL-2.0-only */
/* The capabilities that gilscope uses, and which of them this process has. Pure but for one file in /proc. */
#ifndef GILSCOPE_CAPS_H
#define GILSCOPE_CAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "../collector/reason.h"

/* X(name, number, what it is for) */
#define CAPS(X) \
	X(CAP_BPF, 39, "load the probe programs") \
	X(CAP_PERFMON, 38, "plant probes") \
	X(CAP_SYS_PTRACE, 19, "read other users' processes") \
	X(CAP_DAC_READ_SEARCH, 2, "open files in other users' private directories") \
	X(CAP_CHECKPOINT_RESTORE, 40, "open interpreters that were replaced or deleted")

enum cap {
#define X(name, number, text) name##_INDEX,
	CAPS(X)
#undef X
	CAPS_COUNT,
};

/* CAP_SYS_ADMIN contains what CAP_BPF, CAP_PERFMON and CAP_CHECKPOINT_RESTORE took out of it. */
bool caps__has(uint64_t effective, enum cap cap);
const char *caps__name(enum cap cap);
const char *caps__text(enum cap cap);

/* Effective capabilities of this process; 0 if they can't be read. */
uint64_t caps__effective(void);

/* Effective capabilities out of the text of /proc/PID/status, for caps__effective() and its test. */
uint64_t caps__parse(const char *status);

/* Whether attaching can work at all: CAP_BPF and CAP_PERFMON. */
bool caps__can_attach(uint64_t effective);

/* The same for this process: 0, or -EPERM with the sentence. */
int caps__check(struct reason *why);

/*
 * Gives up for good, for the calling thread and those that it starts, every capability but the ones above (and, where a
 * program is to be started as another user, those for that). CAP_SYS_ADMIN stays only where it stands for one of them. 0 or
 * -errno with the sentence.
 */
int caps__keep(bool starts_program, struct reason *why);

/* The set that caps__keep() leaves of `effective`. */
uint64_t caps__kept(uint64_t effective, bool starts_program);

#endif
