/* SPDX-License-Identifier: GPL-2.0-only */
/* See decoder.h. */
#include "decoder.h"

bool decoder__at(const struct decoder *d, struct elf_range function, uint64_t vaddr)
{
	size_t left = function.end - vaddr;
	const uint8_t *code;
	uint64_t at = vaddr;

	if (vaddr < function.start || vaddr >= function.end)
		return false;
	code = elffile__bytes(d->ef, vaddr, left);
	return code && capstone.disasm_iter(d->handle, &code, &left, &at, d->insn);
}

bool decoder__is_entered(const struct decoder *d, struct elf_range function, uint64_t start, uint64_t end)
{
	size_t left = function.end - function.start;
	const uint8_t *code = elffile__bytes(d->ef, function.start, left);
	uint64_t at = function.start;

	while (code && !elffile__is_spent(d->ef, left) && capstone.disasm_iter(d->handle, &code, &left, &at, d->insn)) {
		uint64_t target = d->arch->target(d->insn, false);

		if (target >= start && target <= end)
			return true;
	}
	return false;
}
