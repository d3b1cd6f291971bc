/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The inside of struct elffile, shared by its own files only: elffile.c opens and reads bytes, sections and addresses,
 * elffile_symbols.c symbol tables, elffile_imports.c what is called in other files, elffile_frames.c where functions begin and
 * end.
 */
#ifndef GILSCOPE_ELFFILE_INSIDE_H
#define GILSCOPE_ELFFILE_INSIDE_H

#include <elfutils/libdw.h>
#include <gelf.h>

#include "elffile.h"
#include "symtab.h"

#define SEGMENTS_MAX 64              /* PT_LOADs looked at; real files have 2 to 10 */
#define SECTIONS_MAX 4096
#define IMPORTS_MAX 16               /* different names asked for */
#define ENTRIES_MAX 64               /* slots or stubs of one import */

struct segment {
	uint64_t vaddr;
	uint64_t offset;
	uint64_t filesz;
	bool exec;
	const uint8_t *bytes; /* the file image, NULL until asked for */
};

/* Addresses and sizes out of PT_DYNAMIC; 0 where the file has none. */
struct dynamic {
	uint64_t symtab, strtab, strsz, hash, gnu_hash;
	uint64_t jmprel, pltrelsz, rela, relasz, versym;
	bool textrel;
};

struct import {
	char name[64];
	uint64_t slots[ENTRIES_MAX];
	uint64_t stubs[ENTRIES_MAX];
	size_t slots_n, stubs_n;
};

struct elffile {
	Elf *elf;
	int fd;           /* libelf reads sections when they are asked for: ours, -1: none */
	GElf_Ehdr ehdr;
	uint64_t size;
	uint64_t loaded;
	struct elf_budget budget;
	uint64_t began_cpu_ns;
	bool is_spent;
	struct segment segs[SEGMENTS_MAX];
	size_t segs_n;
	struct dynamic dyn;
	struct symtab dynsym;
	struct symtab symtab; /* .symtab, empty where stripped */
	bool symtab_tried;
	struct symtab added;  /* of a separate debug file, see elffile__add_symbols() */
	Elf *added_elf;
	int added_fd;
	char origin[256];     /* where they are from, for people */
	struct elf_range *fdes; /* sorted by start */
	size_t fdes_n;
	bool fdes_tried;
	Dwarf_CFI *cfi;
	bool cfi_tried;
	struct import imports[IMPORTS_MAX];
	size_t imports_n;
};

/* ---- elffile.c ---- */

/*
 * Bytes of an ELF file by offset: of ours or of its debug file. libelf checks them against the file's size, keeps and frees them.
 * NULL: there are not that many, or too many were read already.
 */
const void *elffile_read__raw(struct elffile *ef, Elf *elf, uint64_t offset, uint64_t len);

/* Like elffile__bytes(), but reads no more of the file than asked: for the small tables of a first look. */
const void *elffile_read__table(struct elffile *ef, uint64_t vaddr, uint64_t len);

/* The same into the caller's memory, for what is looked at once: nothing is kept. False: there are not that many, or too many. */
bool elffile_read__once(struct elffile *ef, uint64_t vaddr, void *buf, size_t len);

/* The segment that has all these bytes in the file, or NULL. */
struct segment *elffile_read__segment(struct elffile *ef, uint64_t vaddr, uint64_t len);

/* Calls `visit` for each section header with its name ("" where it has none). */
typedef void section_visit_fn(struct elffile *ef, const GElf_Shdr *sh, const char *name, void *arg);
void elffile_read__sections(struct elffile *ef, section_visit_fn *visit, void *arg);

/* Where the PLT may be; returns how many, at most `max`. */
size_t elffile_read__plt(struct elffile *ef, struct elf_range *ret, size_t max);

/* ---- elffile_symbols.c ---- */

/* Fills ef->dynsym out of what PT_DYNAMIC says. */
void elffile_symbols__read_dynamic(struct elffile *ef);

/* Whether an entry of .dynsym has that name; `size` with its NUL. */
bool elffile_symbols__is_named(const struct elffile *ef, uint64_t index, const char *name, size_t size);

/* Adds an address to a list that has room for `max`, once. */
static inline void address_list__add(uint64_t *list, size_t *n, size_t max, uint64_t value)
{
	for (size_t i = 0; i < *n; i++)
		if (list[i] == value)
			return;
	if (*n < max)
		list[(*n)++] = value;
}

#endif
