/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Symbols of a file, in up to three tables: .dynsym as the run-time linker knows it, .symtab where it was not stripped, and that
 * of a separate debug file (debugfile.h finds it). How one table is searched: symtab.h.
 */
#include "elffile_inside.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector/base/bytes.h"
#include "collector/base/text.h"

/* ---- what the run-time linker knows ---- */

#define LINKS_AT_ONCE 256

/* How many links a chain of DT_GNU_HASH has; the last one is odd. 0: it has no end. */
static uint64_t chain_len(struct elffile *ef, uint64_t vaddr)
{
	struct segment *s = elffile_read__segment(ef, vaddr, 4);
	uint64_t all = s ? (s->vaddr + s->filesz - vaddr) / 4 : 0;
	uint8_t links[LINKS_AT_ONCE][4];

	for (uint64_t n = 0; n < all; n += LINKS_AT_ONCE) {
		uint64_t some = all - n < LINKS_AT_ONCE ? all - n : LINKS_AT_ONCE;

		if (elffile__is_spent(ef, n) || !elffile_read__once(ef, vaddr + 4 * n, links, 4 * some))
			return 0;
		for (uint64_t i = 0; i < some; i++)
			if (links[i][0] & 1)
				return n + i + 1;
	}
	return 0;
}

/* Symbols counted by DT_GNU_HASH: one past the end of the chain with the highest start. */
static uint64_t gnu_hash_count(struct elffile *ef)
{
	const uint8_t *head = elffile_read__table(ef, ef->dyn.gnu_hash, 16), *buckets;
	uint64_t nbuckets, first, buckets_at, chains_at, links, last = 0;

	if (!head)
		return 0;
	nbuckets = bytes__u32(head);
	first = bytes__u32(head + 4);
	buckets_at = ef->dyn.gnu_hash + 16 + 8ull * bytes__u32(head + 8);
	chains_at = buckets_at + 4 * nbuckets;
	buckets = elffile_read__table(ef, buckets_at, 4 * nbuckets);
	for (uint64_t i = 0; buckets && i < nbuckets; i++)
		last = bytes__u32(buckets + 4 * i) > last ? bytes__u32(buckets + 4 * i) : last;
	if (last < first)
		return 0; /* nothing exported: linkers then leave `first` at 1, whatever is imported */
	links = chain_len(ef, chains_at + 4 * (last - first));
	return links ? last + links : 0;
}

/* The dynamic symbol table has no length of its own; the hash tables imply it, else the table behind it. */
static uint64_t dynsym_count(struct elffile *ef)
{
	const uint8_t *head;
	uint64_t n = 0;

	if (ef->dyn.hash && (head = elffile_read__table(ef, ef->dyn.hash, 8)))
		return bytes__u32(head + 4);
	if (ef->dyn.gnu_hash)
		n = gnu_hash_count(ef);
	if (n == 0 && ef->dyn.strtab > ef->dyn.symtab)
		n = (ef->dyn.strtab - ef->dyn.symtab) / sizeof(Elf64_Sym);
	return n;
}

void elffile_symbols__read_dynamic(struct elffile *ef)
{
	uint64_t n;

	if (!ef->dyn.symtab || !ef->dyn.strtab || !ef->dyn.strsz)
		return;
	n = dynsym_count(ef);
	if (n == 0 || n > UINT32_MAX)
		return;
	ef->dynsym.names = elffile_read__table(ef, ef->dyn.strtab, ef->dyn.strsz);
	ef->dynsym.names_len = ef->dyn.strsz;
	ef->dynsym.syms = elffile_read__table(ef, ef->dyn.symtab, n * sizeof(Elf64_Sym));
	ef->dynsym.syms_n = ef->dynsym.syms && ef->dynsym.names ? n : 0;
}

bool elffile_symbols__is_named(const struct elffile *ef, uint64_t index, const char *name, size_t size)
{
	return index < ef->dynsym.syms_n && symtab__is_named(&ef->dynsym, symtab__at(&ef->dynsym, index).st_name, name, size);
}

/* ---- all tables ---- */

/* Finds a symbol defined under that name in one table. A table is walked through as a whole: its size is in the budget. */
static int find_in(struct elffile *ef, const struct symtab *t, const char *name, struct elf_symbol *ret)
{
	int64_t i = elffile__is_spent(ef, 0) ? -1 : symtab__find(t, 0, name);
	Elf64_Sym sym;

	if (i < 0)
		return -ENOENT;
	sym = symtab__at(t, (size_t)i);
	*ret = (struct elf_symbol){
		.vaddr = sym.st_value,
		.size = sym.st_size,
		.is_func = ELF64_ST_TYPE(sym.st_info) == STT_FUNC,
	};
	return 0;
}

int elffile__dynsym(struct elffile *ef, const char *name, struct elf_symbol *ret)
{
	return find_in(ef, &ef->dynsym, name, ret);
}

/* Reads the .symtab of `elf`; empty where it has none. */
static struct symtab read_symtab(struct elffile *ef, Elf *elf)
{
	struct symtab t = {0};
	Elf_Scn *scn = NULL, *strings;
	GElf_Shdr sh, str;
	size_t seen = 0;

	while ((scn = elf_nextscn(elf, scn)) && seen++ < SECTIONS_MAX) {
		if (!gelf_getshdr(scn, &sh) || sh.sh_type != SHT_SYMTAB)
			continue;
		strings = elf_getscn(elf, sh.sh_link);
		if (!strings || !gelf_getshdr(strings, &str) || str.sh_type != SHT_STRTAB)
			continue;
		t.names = elffile_read__raw(ef, elf, str.sh_offset, str.sh_size);
		t.names_len = str.sh_size;
		t.syms = elffile_read__raw(ef, elf, sh.sh_offset, sh.sh_size);
		t.syms_n = t.syms && t.names ? sh.sh_size / sizeof(Elf64_Sym) : 0;
		break;
	}
	return t;
}

static const struct symtab *symtab(struct elffile *ef)
{
	if (!ef->symtab_tried)
		ef->symtab = read_symtab(ef, ef->elf);
	ef->symtab_tried = true;
	return &ef->symtab;
}

const char *elffile__symbols_origin(struct elffile *ef)
{
	return ef->added.syms_n > 0 ? ef->origin : symtab(ef)->syms_n > 0 ? "its .symtab" : NULL;
}

/* Whether both are of one build. Without a build-id on either side that is `unsure`. */
static bool same_build(Elf *a, Elf *b, bool unsure)
{
	const void *x, *y;
	ssize_t x_len = dwelf_elf_gnu_build_id(a, &x), y_len = dwelf_elf_gnu_build_id(b, &y);

	if (x_len <= 0 || y_len <= 0)
		return unsure;
	return x_len == y_len && memcmp(x, y, (size_t)x_len) == 0;
}

int elffile__add_symbols(struct elffile *ef, int fd, bool known_to_fit, const char *origin)
{
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	const char *ident = elf ? elf_getident(elf, NULL) : NULL;
	GElf_Ehdr ehdr;
	int err = 0;

	if (ef->added_elf)
		err = -EBUSY;
	else if (!ident || elf_kind(elf) != ELF_K_ELF || ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB ||
		 !gelf_getehdr(elf, &ehdr) || ehdr.e_machine != ef->ehdr.e_machine)
		err = -ENOEXEC;
	else if (!same_build(ef->elf, elf, known_to_fit))
		err = -ESTALE;
	if (!err) {
		ef->added = read_symtab(ef, elf);
		err = ef->added.syms_n > 0 ? 0 : -ENOENT;
	}
	if (err) {
		ef->added = (struct symtab){0};
		elf_end(elf);
		return err;
	}
	ef->added_elf = elf;
	ef->added_fd = fd;
	text__clean(ef->origin, sizeof(ef->origin), origin, strlen(origin));
	return 0;
}

/* _PyRuntime stands alone in this section since 3.10 (Python/pylifecycle.c): stripping leaves it. */
static int runtime_section(struct elffile *ef, struct elf_symbol *ret)
{
	struct elf_section section;

	if (elffile__section(ef, ".PyRuntime", &section) != 0 || section.vaddr == 0)
		return -ENOENT;
	*ret = (struct elf_symbol){.vaddr = section.vaddr, .size = section.size};
	return 0;
}

int elffile__symbol(struct elffile *ef, const char *name, struct elf_symbol *ret)
{
	if (find_in(ef, &ef->dynsym, name, ret) == 0 || find_in(ef, symtab(ef), name, ret) == 0 ||
	    find_in(ef, &ef->added, name, ret) == 0)
		return 0;
	return strcmp(name, "_PyRuntime") == 0 ? runtime_section(ef, ret) : -ENOENT;
}

int elffile__runtime(struct elffile *ef, struct elf_symbol *ret)
{
	return find_in(ef, &ef->dynsym, "_PyRuntime", ret) == 0 ? 0 : runtime_section(ef, ret);
}

/* Adds the functions that one table defines under that name. */
static size_t functions_in(struct elffile *ef, const struct symtab *t, const char *name, uint64_t *ret, size_t n, size_t max)
{
	for (int64_t i = symtab__find(t, 0, name); i >= 0 && !elffile__is_spent(ef, (uint64_t)i);
	     i = symtab__find(t, (size_t)i + 1, name)) {
		Elf64_Sym sym = symtab__at(t, (size_t)i);

		if (ELF64_ST_TYPE(sym.st_info) == STT_FUNC)
			address_list__add(ret, &n, max, sym.st_value);
	}
	return n;
}

size_t elffile__functions(struct elffile *ef, const char *name, uint64_t *ret, size_t n, size_t max)
{
	n = functions_in(ef, &ef->dynsym, name, ret, n, max);
	n = functions_in(ef, symtab(ef), name, ret, n, max);
	return functions_in(ef, &ef->added, name, ret, n, max);
}

/* "name@VERSION", not "name@@VERSION": only programs linked long ago get it (the top bit in .gnu.version). */
static bool is_old_version(struct elffile *ef, size_t index)
{
	const uint8_t *p = ef->dyn.versym ? elffile_read__table(ef, ef->dyn.versym + 2 * index, 2) : NULL;

	return p && p[1] & 0x80;
}

size_t elffile__exports(struct elffile *ef, const char *name, uint64_t *ret, size_t max)
{
	const struct symtab *t = &ef->dynsym;
	size_t n = 0;

	for (int64_t i = symtab__find(t, 0, name); i >= 0 && !elffile__is_spent(ef, (uint64_t)i);
	     i = symtab__find(t, (size_t)i + 1, name)) {
		Elf64_Sym sym = symtab__at(t, (size_t)i);

		if (ELF64_ST_TYPE(sym.st_info) == STT_FUNC && !is_old_version(ef, (size_t)i))
			address_list__add(ret, &n, max, sym.st_value);
	}
	return n;
}

/* The function symbol covering an address, and its name in the file; st_size 0: none. */
static Elf64_Sym covering(struct elffile *ef, uint64_t vaddr, const char **ret_name)
{
	const struct symtab *tables[] = {symtab(ef), &ef->added, &ef->dynsym};
	Elf64_Sym sym = {0};

	for (size_t i = 0; i < 3 && sym.st_size == 0 && !elffile__is_spent(ef, 0); i++) {
		sym = symtab__covering(tables[i], vaddr);
		if (sym.st_size)
			*ret_name = symtab__string(tables[i], sym.st_name);
	}
	return sym;
}

bool elffile__symbol_at(struct elffile *ef, uint64_t vaddr, char *name, size_t size, struct elf_range *ret)
{
	const char *raw;
	Elf64_Sym sym = covering(ef, vaddr, &raw);

	name[0] = '\0';
	if (sym.st_size == 0)
		return false;
	text__clean(name, size, raw, strlen(raw));
	*ret = (struct elf_range){sym.st_value, sym.st_value + sym.st_size};
	return name[0] != '\0';
}

void elffile__symbol_name(struct elffile *ef, uint64_t vaddr, char *buf, size_t size)
{
	const char *name;
	Elf64_Sym sym = covering(ef, vaddr, &name);
	char raw[512];

	buf[0] = '\0';
	if (sym.st_size == 0)
		return;
	snprintf(raw, sizeof(raw), "%.400s+0x%llx", name, (unsigned long long)(vaddr - sym.st_value));
	text__clean(buf, size, raw, strlen(raw));
}
