/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Why the programs could not be loaded into a kernel that lacks nothing they are known to need (kernel_features.h), in one
 * sentence. The ground of it is what the kernel answered; its version is never more than a hint. Pure.
 */
#ifndef GILSCOPE_LOAD_REFUSAL_H
#define GILSCOPE_LOAD_REFUSAL_H

#include <stdint.h>

#include "collector/base/reason.h"
#include "verifier_log.h"

struct load_refusal {
	int err;                        /* -errno of the load */
	uint64_t effective;             /* capabilities of this process */
	const struct verifier_log *log;
	const char *release;            /* the kernel's, as uname tells it */
};

/* Fills `why` and returns refusal->err; missing rights are always -EPERM. */
int load_refusal__say(const struct load_refusal *refusal, struct reason *why);

#endif
