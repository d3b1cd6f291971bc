/* SPDX-License-Identifier: GPL-2.0-only */
/* See symtab.h. */
#include "symtab.h"

#include <string.h>

Elf64_Sym symtab__at(const struct symtab *t, size_t i)
{
	Elf64_Sym sym;

	memcpy(&sym, t->syms + i * sizeof(sym), sizeof(sym));
	return sym;
}

const char *symtab__string(const struct symtab *t, uint32_t index)
{
	if (index >= t->names_len || !memchr(t->names + index, '\0', t->names_len - index))
		return "";
	return t->names + index;
}

int64_t symtab__find(const struct symtab *t, size_t from, const char *name)
{
	for (size_t i = from; i < t->syms_n; i++) {
		Elf64_Sym sym = symtab__at(t, i);

		if (sym.st_shndx != SHN_UNDEF && strcmp(symtab__string(t, sym.st_name), name) == 0)
			return (int64_t)i;
	}
	return -1;
}

Elf64_Sym symtab__covering(const struct symtab *t, uint64_t vaddr)
{
	Elf64_Sym best = {0};

	for (size_t i = 0; i < t->syms_n; i++) {
		Elf64_Sym sym = symtab__at(t, i);

		if (ELF64_ST_TYPE(sym.st_info) == STT_FUNC && sym.st_shndx != SHN_UNDEF &&
		    vaddr >= sym.st_value && vaddr - sym.st_value < sym.st_size &&
		    (best.st_size == 0 || sym.st_value > best.st_value))
			best = sym;
	}
	return best;
}
