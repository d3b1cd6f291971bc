/* SPDX-License-Identifier: GPL-2.0-only */
/* See insn.h. */
#include "insn.h"

static const struct insn_arch *const machines[] = {&insn_x86};

const struct insn_arch *insn__arch(int machine)
{
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
		if (machines[i]->machine == machine)
			return machines[i];
	return NULL;
}
