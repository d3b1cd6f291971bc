/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two forms of the programs: gil.bpf.c, and gil_older.bpf.c for kernels that lack something the first one uses. Names and
 * layout are the same (tests/bpf/test_programs.c sees to it), so the first one's skeleton serves both.
 */
#include "probes_inside.h"

#include <errno.h>
#include <stdlib.h>

#include "gil.skel.h"
#include "gil_older.skel.h"

_Static_assert(sizeof(struct gil_bpf) == sizeof(struct gil_older_bpf), "both have the same maps and programs");
_Static_assert(sizeof(struct gil_bpf__bss) == sizeof(struct gil_older_bpf__bss), "and the same variables");
_Static_assert(sizeof(struct gil_bpf__rodata) == sizeof(struct gil_older_bpf__rodata), "and the same configuration");

struct gil_bpf *probes_programs__open(bool older)
{
	struct gil_bpf *skel;
	int err;

	if (!older)
		return gil_bpf__open();
	skel = calloc(1, sizeof(*skel));
	if (!skel)
		return NULL;
	err = gil_bpf__create_skeleton(skel);
	if (!err) {
		skel->skeleton->data = gil_older_bpf__elf_bytes(&skel->skeleton->data_sz);
		err = bpf_object__open_skeleton(skel->skeleton, NULL);
	}
	if (!err)
		return skel;
	gil_bpf__destroy(skel);
	errno = -err;
	return NULL;
}
