/* SPDX-License-Identifier: GPL-2.0-only */
/* See insn.h. */
#include "insn.h"

static const struct insn_arch *const machines[] = {&insn_x86, &insn_arm64};

bool insn__writes(csh decoder, const cs_insn *insn, const uint16_t *regs, size_t n)
{
	cs_regs read, written;
	uint8_t read_n, written_n;

	if (capstone.regs_access(decoder, insn, read, &read_n, written, &written_n) != CS_ERR_OK)
		return true;
	for (size_t i = 0; i < written_n; i++)
		for (size_t j = 0; j < n; j++)
			if (written[i] == regs[j])
				return true;
	return false;
}

const struct insn_arch *insn__arch(int machine)
{
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
		if (machines[i]->machine == machine)
			return machines[i];
	return NULL;
}
