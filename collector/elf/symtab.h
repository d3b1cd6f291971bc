/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A symbol table as it lies in the file: .dynsym, .symtab, or that of a separate debug file. Every index into it is
 * checked; the bytes belong to whoever read them. Pure.
 */
#ifndef GILSCOPE_SYMTAB_H
#define GILSCOPE_SYMTAB_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYMTAB_NAME_MAX 4096 /* a longer name is none */

struct symtab {
	const uint8_t *syms; /* Elf64_Sym, perhaps unaligned: see symtab__at() */
	size_t syms_n;
	const char *names;
	size_t names_len;
};

/* Entry `i`, which must be below syms_n. */
Elf64_Sym symtab__at(const struct symtab *t, size_t i);

/* The name at `index` of the string table, "" if it doesn't end inside it, or is too long for one. */
const char *symtab__string(const struct symtab *t, uint32_t index);

/* Whether that is `name`, whose `size` includes its NUL: looks at no more of the table than that. */
bool symtab__is_named(const struct symtab *t, uint32_t index, const char *name, size_t size);

/* Index of the first symbol defined under that name, at or behind entry `from`; -1 if there is none. */
int64_t symtab__find(const struct symtab *t, size_t from, const char *name);

/* The function symbol that covers `vaddr` and starts last; st_size 0: none. */
Elf64_Sym symtab__covering(const struct symtab *t, uint64_t vaddr);

#endif
