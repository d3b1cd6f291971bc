/* SPDX-License-Identifier: GPL-2.0-only */
/* See pyinterps.h. */
#include "pyinterps.h"

#include <errno.h>

#include "collector/process/procmem.h"

int pyinterps__ids(pid_t pid, const struct pyoffsets *off, uint64_t runtime, uint64_t *ret_ids, int max, int *ret_n)
{
	uint64_t interp = 0, next = 0;
	int err = procmem__read_u64(pid, runtime + off->runtime_interpreters_head, &interp);

	/* New interpreters stand in front. A walk that ends at the main one, the oldest, has not lost its way. */
	for (int i = 0; !err && interp && i < max; i++, interp = next) {
		err = procmem__read_u64(pid, interp + off->interp_id, &ret_ids[i]) ?:
		      procmem__read_u64(pid, interp + off->interp_next, &next);
		*ret_n = i + 1;
		if (!err && !next)
			return ret_ids[i] == 0 ? 0 : -EAGAIN;
	}
	return -EAGAIN;
}

bool pyinterps__is_empty(pid_t pid, const struct pyoffsets *off, uint64_t runtime)
{
	uint64_t interp;

	return procmem__read_u64(pid, runtime + off->runtime_interpreters_head, &interp) == 0 && !interp;
}

uint64_t pyinterps__main(pid_t pid, const struct pyoffsets *off, uint64_t runtime)
{
	uint64_t interp, next;

	if (procmem__read_u64(pid, runtime + off->runtime_interpreters_head, &interp) || !interp)
		return 0;
	/* New interpreters stand in front: the main one is the last. */
	for (int i = 0; i < PYINTERPS_MAX; i++, interp = next) {
		if (procmem__read_u64(pid, interp + off->interp_next, &next))
			return 0;
		if (!next)
			return interp;
	}
	return 0;
}

uint64_t pyinterps__main_gil(pid_t pid, const struct pyoffsets *off, uint64_t runtime)
{
	uint64_t interp, gil;

	if (off->runtime_gil != PYOFF_NONE)
		return runtime + off->runtime_gil;
	interp = pyinterps__main(pid, off, runtime);
	return interp && !procmem__read_u64(pid, interp + off->interp_gil, &gil) ? gil : 0;
}
