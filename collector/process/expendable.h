/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Work on what somebody else made (an ELF file, say), in a child process that may crash, hang or be killed for it: it has little
 * CPU time and memory, the descriptors that it needs and no others, and what it finds comes back as bytes. Nothing here knows
 * what the work is.
 */
#ifndef GILSCOPE_EXPENDABLE_H
#define GILSCOPE_EXPENDABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct expendable {
	unsigned int cpu_ms, wall_ms; /* beyond, it is killed */
	const int *keep;              /* descriptors that the work needs; all others are closed */
	size_t keep_n;
	bool needs_rights;            /* false: it has no capability */
};

/*
 * Calls `work` in a child, with `ret` (`size` bytes, at most 64 KiB) to be filled; when it returns, `ret` is filled here. 0,
 * -ETIMEDOUT (it took too long), -ECHILD (it died), -errno: `ret` is as it was.
 */
int expendable__run(const struct expendable *limits, void (*work)(void *arg, void *ret), void *arg, void *ret, size_t size);

/* Whether the caller is such a child. */
bool expendable__is_inside(void);

/*
 * Who made us waste time: after three files of a user nothing of that user's is looked at for a minute. The main thread's alone.
 */
void expendable__blame(uid_t uid);
bool expendable__is_banned(uid_t uid);

#endif
