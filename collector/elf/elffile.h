/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What gilscope asks of an ELF file, on top of elfutils: dynamic symbols, PLT stubs and GOT slots of
 * imported functions, the extent of functions from .eh_frame, addresses and file offsets. Pure: a
 * descriptor in, facts out. The file is hostile input: every index and size is checked against it.
 */
#ifndef GILSCOPE_ELFFILE_H
#define GILSCOPE_ELFFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/base/reason.h"

struct elffile;

struct elf_symbol {
	uint64_t vaddr;
	uint64_t size;
	bool is_func;
};

struct elf_range {
	uint64_t start; /* ELF virtual addresses, [start, end) */
	uint64_t end;
};

/*
 * Opens on a descriptor, which stays the caller's: what is read later is read through a copy of it. 0, -ENOEXEC (corrupt, not
 * 64-bit ELF), -errno.
 */
int elffile__open(int fd, struct elffile **ret, struct reason *why);

/*
 * What one file may cost: bytes read into memory, CPU time of the calling thread. Beyond, nothing more is found in it, and
 * elffile__is_spent() says so: who meets that must refuse the file, since what was found is not all there is.
 */
struct elf_budget {
	uint64_t bytes;
	uint32_t cpu_ms;
};
#define ELF_BUDGET_WHOLE {512ull << 20, 10000} /* for a process that was asked for */
#define ELF_BUDGET_LOOK {128ull << 20, 250}    /* to see whether it is an interpreter's at all */

int elffile__open_within(int fd, const struct elf_budget *budget, struct elffile **ret, struct reason *why);

/*
 * Whether that is used up. Asked in each loop whose length the file chooses, with how far it is (bytes or steps; 0: look at the
 * clock in any case).
 */
bool elffile__is_spent(struct elffile *ef, uint64_t at);
void elffile__close(struct elffile *ef);

int elffile__machine(const struct elffile *ef);      /* EM_X86_64, EM_AARCH64 ... */
bool elffile__is_relocatable(const struct elffile *ef); /* ET_DYN: has a load bias */

/* Defined dynamic symbol by name. 0 or -ENOENT. */
int elffile__dynsym(struct elffile *ef, const char *name, struct elf_symbol *ret);

/*
 * Defined symbol by name wherever the file tells: .dynsym, .symtab, the debug file added to it; _PyRuntime also by its
 * section. 0 or -ENOENT. The tables may be large: elffile__dynsym() is for a first look at many files.
 */
int elffile__symbol(struct elffile *ef, const char *name, struct elf_symbol *ret);

/* _PyRuntime by .dynsym or by its section of its own (3.10 and later): a cheap look. 0 or -ENOENT. */
int elffile__runtime(struct elffile *ef, struct elf_symbol *ret);

/*
 * Adds the addresses of the functions defined under that name, each once, to the `n` in `ret`; the new number, at most
 * `max`. Local functions included, so there may be several.
 */
size_t elffile__functions(struct elffile *ef, const char *name, uint64_t *ret, size_t n, size_t max);

/* The same for what the file exports under that name to programs linked today: versions kept for old ones are left out. */
size_t elffile__exports(struct elffile *ef, const char *name, uint64_t *ret, size_t max);

/* Where the symbols beyond .dynsym are from, for people: "its .symtab", what was added. NULL: there are none. */
const char *elffile__symbols_origin(struct elffile *ef);

/*
 * Adds the .symtab of a separate debug file, which must have the same build-id; with `known_to_fit`, when the caller has
 * checked it otherwise, one of them may have none. `origin` says for people where they are from. 0: the descriptor is
 * `ef`'s from here on. -ENOEXEC (no ELF file of this machine), -ESTALE (another build), -ENOENT (it has no symbols),
 * -EBUSY (there is one already).
 */
int elffile__add_symbols(struct elffile *ef, int fd, bool known_to_fit, const char *origin);

struct elf_section {
	uint64_t vaddr;  /* 0: not loaded */
	uint64_t offset; /* in the file */
	uint64_t size;
};

/* Section header by name. 0 or -ENOENT. */
int elffile__section(struct elffile *ef, const char *name, struct elf_section *ret);

/* A section's bytes, NULL if there is none of at most `max` bytes in the file. */
const void *elffile__section_bytes(struct elffile *ef, const char *name, size_t max, size_t *ret_len);

/* Whether the loader changes the code itself (DT_TEXTREL or DF_TEXTREL): then memory differs from the file there. */
bool elffile__has_text_relocations(struct elffile *ef);

/* Build-id as lower-case hex into `hex`. 0 or -ENOENT. */
int elffile__build_id(struct elffile *ef, char *hex, size_t size);

/* File offset of a virtual address inside a PT_LOAD segment's file image. 0 or -ENOENT. */
int elffile__offset_of(struct elffile *ef, uint64_t vaddr, uint64_t *ret_offset);

/*
 * Load bias that a mapping of this file implies: `len` bytes of it, from file offset `offset` on, mapped
 * executable at `start`. 0 or -ENOENT (no code lies there).
 */
int elffile__bias(struct elffile *ef, uint64_t start, uint64_t offset, uint64_t len, uint64_t *ret_bias);

/*
 * The same implied by a mapping of whatever part of the file, at whose offset a segment begins (rounded down to a page, as
 * loaders map it). 0 or -ENOENT.
 */
int elffile__bias_of_segment(struct elffile *ef, uint64_t start, uint64_t offset, uint64_t *ret_bias);

/* Its executable segments, as far as they are in the file. */
size_t elffile__text_segments(struct elffile *ef, struct elf_range *ret, size_t max);

/* `len` bytes of the file image at vaddr, without copying; NULL if not wholly inside one segment. */
const uint8_t *elffile__bytes(struct elffile *ef, uint64_t vaddr, size_t len);

/*
 * Where an imported function is reached: its GOT slots and the PLT stubs that jump through them.
 * Arrays are the file's, valid until elffile__close().
 */
struct elf_import {
	const uint64_t *slots;
	size_t slots_n;
	const uint64_t *stubs;
	size_t stubs_n;
};

/* 0 or -ENOENT (not imported). */
int elffile__import(struct elffile *ef, const char *name, struct elf_import *ret);

/* Executable ranges that hold the file's own code (.text and its like; PLT sections left out). */
size_t elffile__code_ranges(struct elffile *ef, struct elf_range *ret, size_t max);

/* What the file puts into memory: the file images of its PT_LOAD segments. */
size_t elffile__image_ranges(struct elffile *ef, struct elf_range *ret, size_t max);

/*
 * Function extent (.eh_frame FDE) around an address. 0 or -ENOENT; an address that two entries claim has none,
 * since neither could then vouch for where its instructions start.
 */
int elffile__function_at(struct elffile *ef, uint64_t vaddr, struct elf_range *ret);

/* libdw's view of .eh_frame, which stays the file's; NULL: it has none, or one that is damaged. */
struct Dwarf_CFI_s *elffile__call_frames(struct elffile *ef);

/* Name and extent of the function symbol that covers an address; false: there is none, the name is "". */
bool elffile__symbol_at(struct elffile *ef, uint64_t vaddr, char *name, size_t size, struct elf_range *ret);

/* Name of the dynamic or static symbol covering an address as "name+0x12", or "" . */
void elffile__symbol_name(struct elffile *ef, uint64_t vaddr, char *buf, size_t size);

#endif
