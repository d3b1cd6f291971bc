/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A rehearsal on a child of our own before the first real target: do probes fire, does the PID filter let all threads of
 * that process through and nobody else, and what does a hit cost on this machine?
 */
#ifndef GILSCOPE_PROBE_CHECK_H
#define GILSCOPE_PROBE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "collector/target/shadow_stack.h"

struct bpf_program;
struct planter;
struct probes_features;

struct probe_check {
	const struct bpf_program *program; /* counts its hits by cookie: [0], [1]; of foreign processes: [2] */
	volatile unsigned long long *hits;
	volatile uint32_t *tgid;           /* whose hits are not foreign */
	bool multi;
	struct planter *planter;           /* plants: with the rights that it has for targets */
	const struct bpf_program *sampler; /* to be run by a timer of a thread's CPU time; NULL: that is not tried */
};

/*
 * Fills multi, multi_why and the two prices of `features`, and whether timers work. 0, also when uprobe_multi turned out unfit
 * (multi_why says so) or timers are refused, or -errno if no probe could be planted (-ENODATA: it was, but did not fire).
 */
int probe_check__run(const struct probe_check *check, struct probes_features *features);

/*
 * What becomes of a process with a shadow stack at a call with a probe: a child of ours turns one on and meets the probe.
 * Of `check` program, planter and multi count. Takes a few milliseconds.
 */
enum shadow_fate probe_check__shadow_stack(const struct probe_check *check);

#endif
