/* SPDX-License-Identifier: GPL-2.0-only */
/* See decoder.h. */
#include "decoder.h"

#include <errno.h>

int decoder__open(struct decoder *d, struct elffile *ef, struct reason *why)
{
	*d = (struct decoder){.ef = ef};
	if (capstone__load(why))
		return -ENOTSUP;
	d->arch = insn__arch(elffile__machine(ef));
	if (!d->arch || d->arch->open(&d->handle) != 0)
		return reason__set(why, -ENOTSUP, "this machine's instructions are not supported yet: x86-64 and aarch64 only");
	d->insn = capstone.malloc(d->handle);
	return d->insn ? 0 : reason__set(why, -ENOMEM, "out of memory");
}

void decoder__close(struct decoder *d)
{
	if (d->insn)
		capstone.free(d->insn, 1);
	if (d->handle)
		capstone.close(&d->handle);
}

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
