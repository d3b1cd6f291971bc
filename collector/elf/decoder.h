/* SPDX-License-Identifier: GPL-2.0-only */
/* A file's instructions, one by one: what the searches for probe sites have in common (sites.h, gc_sites.h). Pure. */
#ifndef GILSCOPE_DECODER_H
#define GILSCOPE_DECODER_H

#include "elffile.h"
#include "insn.h"

struct decoder {
	struct elffile *ef;
	const struct insn_arch *arch;
	csh handle;             /* tells details of instructions */
	cs_insn *insn;          /* the one decoded last */
};

/* Begins to decode the file. 0 or -ENOTSUP (no Capstone, another machine), -ENOMEM. To be closed in any case. */
int decoder__open(struct decoder *d, struct elffile *ef, struct reason *why);
void decoder__close(struct decoder *d);

/* Decodes the one instruction at `vaddr`. False at the end of the function or on rubbish. */
bool decoder__at(const struct decoder *d, struct elf_range function, uint64_t vaddr);

/* Whether a jump of `function` goes into [start, end]. */
bool decoder__is_entered(const struct decoder *d, struct elf_range function, uint64_t start, uint64_t end);

#endif
