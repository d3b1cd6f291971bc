/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The features of a kernel that gilscope's programs use: each is looked for by trying it, since distributions backport them and
 * a version says little. What lacks which of them is one table, read by whoever loads the programs, refuses to, or reports.
 */
#ifndef GILSCOPE_KERNEL_FEATURES_H
#define GILSCOPE_KERNEL_FEATURES_H

#include <stdbool.h>
#include <stddef.h>

#include "collector/base/reason.h"

enum kernel_feature {
	KERNEL_BTF,
	KERNEL_UPROBES,
	KERNEL_RING_BUFFERS,
	KERNEL_MAPPED_ARRAYS,
	KERNEL_TASK_STORAGE,
	KERNEL_CURRENT_TASK,
	KERNEL_ATOMICS,
	KERNEL_MEMORY,
	KERNEL_TYPED_TRACEPOINTS,
	KERNEL_ATTACH_COOKIES,
	KERNEL_TASK_REGISTERS,
	KERNEL_OWN_PROGRAMS,
	KERNEL_LOOP,
	KERNEL_SWITCH_STATE,
	KERNEL_UPROBE_MULTI,
	KERNEL_FEATURES,
};

/*
 * 1: the kernel has it; 0: it has not; negative: it could not be told, which is so of most without CAP_BPF and CAP_PERFMON. What
 * GILSCOPE_LACKS names is missing: it is tested with it how gilscope gets along without. Loads a tiny program or makes a map, and
 * lets go of it; libbpf's messages are left out meanwhile.
 */
int kernel_feature__try(enum kernel_feature feature);

/* Whether GILSCOPE_LACKS names it. */
bool kernel_feature__is_masked(enum kernel_feature feature);

/* What it is, with the version of Linux that has had it first: "attach cookies (Linux 5.15 and newer)". */
const char *kernel_feature__name(enum kernel_feature feature);

/* As GILSCOPE_LACKS has it: "attach_cookies"; for tests. */
const char *kernel_feature__key(enum kernel_feature feature);

/* What it is for if it is needed, else what takes its place: the rest of a sentence. */
const char *kernel_feature__use(enum kernel_feature feature);

/* Whether gilscope can't do without, here and now: it may depend on where gilscope runs. */
bool kernel_feature__is_needed(enum kernel_feature feature);

/* How far the kernel keeps root out of itself. Unknown where it has no such thing, or does not say. */
enum lockdown {
	LOCKDOWN_UNKNOWN,
	LOCKDOWN_NONE,
	LOCKDOWN_INTEGRITY,
	LOCKDOWN_CONFIDENTIALITY,
};

/* Of "none [integrity] confidentiality", as securityfs has it. */
enum lockdown lockdown__parse(const char *text);

/* Of this kernel, where securityfs is mounted in its usual place. */
enum lockdown lockdown__level(void);

/* Names what is needed and missing, separated by commas, in `buf`, "" if nothing is; how many. */
size_t kernel_features__missing(char *buf, size_t size);

/* GILSCOPE_LACKS is a list of keys, separated by commas: 0, or -EINVAL with the reason if it is not. */
int kernel_features__check_mask(struct reason *why);

#endif
