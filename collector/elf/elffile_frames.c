/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where functions begin and end: from .eh_frame, which stripping leaves, and which the unwinder finds by PT_GNU_EH_FRAME.
 *
 * libdw splits the section into entries; which code one describes is read here. Extents that overlap are believed of nobody.
 */
#include "elffile_inside.h"

#include <dwarf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/bytes.h"

/* The section as libdw wants it, with the address it is loaded at (pointers in it are relative to themselves). */
struct eh_frame {
	Elf_Data data;
	uint64_t vaddr;
	const uint8_t *bytes;
	Dwarf_Off cie_at; /* the CIE looked up last, and its pointer encoding */
	int encoding;
};

/* DW_EH_PE_*: the low half is the format, then what the value is relative to. */
#define PE_FORMAT 0x0f
#define PE_RELATION 0xf0

static size_t encoded_size(int encoding)
{
	switch (encoding & PE_FORMAT) {
	case DW_EH_PE_udata2: case DW_EH_PE_sdata2: return 2;
	case DW_EH_PE_udata4: case DW_EH_PE_sdata4: return 4;
	case DW_EH_PE_absptr: case DW_EH_PE_udata8: case DW_EH_PE_sdata8: return 8;
	default: return 0;
	}
}

static uint64_t encoded_value(int encoding, const uint8_t *p)
{
	switch (encoding & PE_FORMAT) {
	case DW_EH_PE_udata2: return (uint64_t)p[0] | (uint64_t)p[1] << 8;
	case DW_EH_PE_sdata2: return (uint64_t)(int64_t)(int16_t)(p[0] | p[1] << 8);
	case DW_EH_PE_udata4: return bytes__u32(p);
	case DW_EH_PE_sdata4: return (uint64_t)(int64_t)(int32_t)bytes__u32(p);
	default: return bytes__u64(p);
	}
}

/* Pointer encoding of a CIE's FDEs: the byte that belongs to 'R' in its augmentation. -1: not understood. */
static int cie_encoding(const Dwarf_CIE *cie)
{
	const uint8_t *p = cie->augmentation_data;
	const uint8_t *end = p ? p + cie->augmentation_data_size : NULL;
	const char *aug = cie->augmentation;

	if (aug[0] == '\0')
		return DW_EH_PE_absptr;
	if (aug[0] != 'z' || !p)
		return -1;
	for (aug++; *aug; aug++) {
		if (*aug == 'S' || *aug == 'B')
			continue;
		if (p >= end)
			return -1;
		if (*aug == 'R')
			return *p;
		if (*aug == 'P') {
			size_t len = encoded_size(*p);

			if (len == 0 || (size_t)(end - p) < 1 + len)
				return -1;
			p += len;
		} else if (*aug != 'L') {
			return -1;
		}
		p++;
	}
	return DW_EH_PE_absptr;
}

static int fde_encoding(struct elffile *ef, struct eh_frame *eh, Dwarf_Off cie_at)
{
	const unsigned char *ident = (const unsigned char *)elf_getident(ef->elf, NULL);
	Dwarf_CFI_Entry entry;
	Dwarf_Off next;

	if (cie_at == eh->cie_at)
		return eh->encoding;
	eh->cie_at = cie_at;
	eh->encoding = -1;
	if (cie_at < eh->data.d_size && dwarf_next_cfi(ident, &eh->data, true, cie_at, &next, &entry) == 0 &&
	    entry.CIE_id == DW_CIE_ID_64)
		eh->encoding = cie_encoding(&entry.cie);
	return eh->encoding;
}

/* The code an FDE describes. False where it can't be told, or isn't this file's code. */
static bool fde_range(struct elffile *ef, struct eh_frame *eh, const Dwarf_FDE *fde, struct elf_range *ret)
{
	int encoding = fde_encoding(ef, eh, fde->CIE_pointer);
	size_t width = encoding < 0 ? 0 : encoded_size(encoding);
	uint64_t start, len;
	struct segment *s;

	if (width == 0 || (size_t)(fde->end - fde->start) < 2 * width)
		return false;
	start = encoded_value(encoding, fde->start);
	if ((encoding & PE_RELATION) == DW_EH_PE_pcrel)
		start += eh->vaddr + (uint64_t)(fde->start - eh->bytes);
	else if ((encoding & PE_RELATION) != 0)
		return false;
	len = encoded_value(encoding, fde->start + width);
	s = elffile_read__segment(ef, start, len);
	if (len == 0 || !s || !s->exec)
		return false;
	*ret = (struct elf_range){start, start + len};
	return true;
}

static void add_fde(struct elffile *ef, struct elf_range range)
{
	size_t n = ef->fdes_n;

	if ((n & (n - 1)) == 0) { /* full at each power of two */
		struct elf_range *more = realloc(ef->fdes, (n ? 2 * n : 1) * sizeof(*more));

		if (!more)
			return;
		ef->fdes = more;
	}
	ef->fdes[ef->fdes_n++] = range;
}

/* Target of a rip-relative operand that ends at `end`. */
static uint64_t rip_target(uint64_t end, const uint8_t *disp)
{
	return end + (uint64_t)(int64_t)(int32_t)bytes__u32(disp);
}

/* There will be no more. */
static void trim_fdes(struct elffile *ef)
{
	struct elf_range *trimmed = ef->fdes_n ? realloc(ef->fdes, ef->fdes_n * sizeof(*trimmed)) : NULL;

	if (trimmed)
		ef->fdes = trimmed;
}

/* .eh_frame's address out of .eh_frame_hdr, as the unwinder finds it. */
static bool eh_frame_from_header(struct elffile *ef, uint64_t *ret_vaddr)
{
	size_t n;
	GElf_Phdr ph;

	if (elf_getphdrnum(ef->elf, &n) != 0)
		return false;
	for (size_t i = 0; i < n && i < UINT16_MAX && gelf_getphdr(ef->elf, (int)i, &ph); i++) {
		const uint8_t *p;

		if (ph.p_type != PT_GNU_EH_FRAME)
			continue;
		p = elffile_read__table(ef, ph.p_vaddr, 8);
		if (!p || p[0] != 1 || p[1] != (DW_EH_PE_pcrel | DW_EH_PE_sdata4))
			return false;
		*ret_vaddr = rip_target(ph.p_vaddr + 4, p + 4);
		return true;
	}
	return false;
}

static void find_eh_frame_section(struct elffile *ef, const GElf_Shdr *sh, const char *name, void *arg)
{
	if (strcmp(name, ".eh_frame") == 0)
		*(uint64_t *)arg = sh->sh_addr;
}

/* From its start to the end of its segment, to be freed: a terminator ends the entries, and libdw stops there. */
static uint8_t *read_eh_frame(struct elffile *ef, struct eh_frame *eh)
{
	struct segment *s;
	uint8_t *bytes;

	if (!eh_frame_from_header(ef, &eh->vaddr))
		elffile_read__sections(ef, find_eh_frame_section, &eh->vaddr);
	s = eh->vaddr ? elffile_read__segment(ef, eh->vaddr, 1) : NULL;
	if (!s)
		return NULL;
	eh->data.d_size = s->vaddr + s->filesz - eh->vaddr;
	bytes = malloc(eh->data.d_size);
	if (!bytes || !elffile_read__once(ef, eh->vaddr, bytes, eh->data.d_size)) {
		free(bytes);
		return NULL;
	}
	eh->bytes = bytes;
	eh->data.d_buf = bytes;
	eh->data.d_type = ELF_T_BYTE;
	eh->data.d_version = EV_CURRENT;
	return bytes;
}

static int by_start(const void *a, const void *b)
{
	const struct elf_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void read_fdes(struct elffile *ef)
{
	const unsigned char *ident = (const unsigned char *)elf_getident(ef->elf, NULL);
	struct eh_frame eh = {.cie_at = (Dwarf_Off)-1};
	Dwarf_Off at = 0, next = 0;
	Dwarf_CFI_Entry entry;
	struct elf_range range;
	uint8_t *bytes = read_eh_frame(ef, &eh);

	if (!bytes)
		return;
	while (at < eh.data.d_size && !elffile__is_spent(ef, at)) {
		int rc = dwarf_next_cfi(ident, &eh.data, true, at, &next, &entry);

		if (rc > 0 || next == (Dwarf_Off)-1 || next <= at)
			break;
		if (rc == 0 && entry.CIE_id != DW_CIE_ID_64 && fde_range(ef, &eh, &entry.fde, &range))
			add_fde(ef, range);
		at = next;
	}
	free(bytes);
	trim_fdes(ef);
	if (ef->fdes_n > 0)
		qsort(ef->fdes, ef->fdes_n, sizeof(*ef->fdes), by_start);
}

/* Number of entries that start at or before `vaddr`. */
static size_t fdes_before(const struct elffile *ef, uint64_t vaddr)
{
	size_t low = 0, high = ef->fdes_n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (ef->fdes[mid].start <= vaddr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int elffile__function_at(struct elffile *ef, uint64_t vaddr, struct elf_range *ret)
{
	size_t i;

	if (!ef->fdes_tried)
		read_fdes(ef);
	ef->fdes_tried = true;
	i = fdes_before(ef, vaddr);
	if (i == 0 || vaddr >= ef->fdes[i - 1].end)
		return -ENOENT;
	i--;
	if ((i > 0 && ef->fdes[i - 1].end > ef->fdes[i].start) ||
	    (i + 1 < ef->fdes_n && ef->fdes[i + 1].start < ef->fdes[i].end))
		return -ENOENT;
	*ret = ef->fdes[i];
	return 0;
}

Dwarf_CFI *elffile__call_frames(struct elffile *ef)
{
	if (!ef->cfi_tried)
		ef->cfi = dwarf_getcfi_elf(ef->elf);
	ef->cfi_tried = true;
	return ef->cfi;
}
