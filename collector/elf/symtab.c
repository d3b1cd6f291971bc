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
	size_t left = index < t->names_len ? t->names_len - index : 0;

	/* A table without an end is not searched for it. */
	if (!left || !memchr(t->names + index, '\0', left < SYMTAB_NAME_MAX ? left : SYMTAB_NAME_MAX))
		return "";
	return t->names + index;
}

bool symtab__is_named(const struct symtab *t, uint32_t index, const char *name, size_t size)
{
	return index < t->names_len && size <= t->names_len - index && memcmp(t->names + index, name, size) == 0;
}

int64_t symtab__find(const struct symtab *t, size_t from, const char *name)
{
	size_t size = strlen(name) + 1;

	for (size_t i = from; i < t->syms_n; i++) {
		Elf64_Sym sym = symtab__at(t, i);

		if (sym.st_shndx != SHN_UNDEF && symtab__is_named(t, sym.st_name, name, size))
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
