/* SPDX-License-Identifier: GPL-2.0-only */
/* See gil_words.h. */
#include "gil_words.h"

#include <errno.h>

#include "collector/process/procmem.h"

int gil_words__read(pid_t pid, const struct pyoffsets *off, uint64_t gil, struct gil_words *ret)
{
	struct gil_words w;
	struct procmem_piece pieces[] = {
		{.addr = gil + off->gil_locked, .buf = &w.locked, .len = sizeof(w.locked)},
		{.addr = gil + off->gil_last_holder, .buf = &w.last_holder, .len = sizeof(w.last_holder)},
		{.addr = gil + gil_words__switches_at(off), .buf = &w.switches, .len = sizeof(w.switches)},
	};

	if (!gil)
		return -EINVAL;
	procmem__read_many(pid, pieces, 3);
	if (!pieces[0].ok || !pieces[1].ok || !pieces[2].ok)
		return -EFAULT;
	*ret = w;
	return 0;
}

uint64_t gil_words__holder(const struct gil_words *w)
{
	return w->locked == 1 ? w->last_holder : 0;
}

bool gil_words__taken_since(const struct gil_words *was, const struct gil_words *is)
{
	return is->last_holder != was->last_holder || is->switches != was->switches || (int)is->locked > (int)was->locked;
}
