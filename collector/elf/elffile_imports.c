/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a file calls in others: the slots that the run-time linker fills with the address of a name, and the stubs (PLT) that jump
 * through them.
 */
#include "elffile_inside.h"

#include <errno.h>
#include <string.h>

#include "collector/base/bytes.h"
#include "insn.h"

/* The slots that the run-time linker fills with the address of `im->name`. */
static void collect_slots(struct elffile *ef, const struct insn_arch *arch, struct import *im, uint64_t table,
			  uint64_t size)
{
	const uint8_t *p = table ? elffile_read__table(ef, table, size) : NULL;
	size_t name_size = strlen(im->name) + 1;

	for (uint64_t i = 0; p && i + sizeof(Elf64_Rela) <= size && !elffile__is_spent(ef, i); i += sizeof(Elf64_Rela)) {
		uint64_t info = bytes__u64(p + i + 8);
		uint32_t type = ELF64_R_TYPE(info);

		if ((type == arch->jump_slot || type == arch->glob_dat) &&
		    elffile_symbols__is_named(ef, ELF64_R_SYM(info), im->name, name_size))
			address_list__add(im->slots, &im->slots_n, ENTRIES_MAX, bytes__u64(p + i));
	}
}

static bool is_slot(const struct import *im, uint64_t vaddr)
{
	for (size_t i = 0; i < im->slots_n; i++)
		if (im->slots[i] == vaddr)
			return true;
	return false;
}

static void collect_stubs(struct elffile *ef, const struct insn_arch *arch, struct import *im, struct elf_range range)
{
	const uint8_t *code = elffile__bytes(ef, range.start, range.end - range.start);
	size_t len = range.end - range.start;
	struct insn_stub stub;

	for (size_t i = 0; code && i < len && !elffile__is_spent(ef, i); i += arch->step)
		if (arch->stub(code, i, len, range.start, &stub) && is_slot(im, stub.slot))
			address_list__add(im->stubs, &im->stubs_n, ENTRIES_MAX, range.start + stub.start);
}

static void collect_import(struct elffile *ef, struct import *im)
{
	const struct insn_arch *arch = insn__arch(ef->ehdr.e_machine);
	struct elf_range plt[16];
	size_t plt_n;

	if (!arch)
		return;
	collect_slots(ef, arch, im, ef->dyn.jmprel, ef->dyn.pltrelsz);
	collect_slots(ef, arch, im, ef->dyn.rela, ef->dyn.relasz);
	if (im->slots_n == 0)
		return;
	plt_n = elffile_read__plt(ef, plt, 16);
	for (size_t i = 0; i < plt_n; i++)
		collect_stubs(ef, arch, im, plt[i]);
}

static struct import *import_of(struct elffile *ef, const char *name)
{
	struct import *im;

	for (size_t i = 0; i < ef->imports_n; i++)
		if (strcmp(ef->imports[i].name, name) == 0)
			return &ef->imports[i];
	if (ef->imports_n == IMPORTS_MAX || strlen(name) >= sizeof(im->name))
		return NULL;
	im = &ef->imports[ef->imports_n++];
	strcpy(im->name, name);
	collect_import(ef, im);
	return im;
}

int elffile__import(struct elffile *ef, const char *name, struct elf_import *ret)
{
	const struct import *im = import_of(ef, name);

	if (!im || im->slots_n == 0)
		return -ENOENT;
	*ret = (struct elf_import){
		.slots = im->slots,
		.slots_n = im->slots_n,
		.stubs = im->stubs,
		.stubs_n = im->stubs_n,
	};
	return 0;
}
