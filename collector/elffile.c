/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See elffile.h.
 *
 * What the run-time linker believes is what counts here: segments, PT_DYNAMIC and PT_GNU_EH_FRAME. Section
 * headers are a help where they exist (they tell PLT from code, and carry .symtab); a file without them is read all the
 * same. libelf reads by descriptor, never by mmap: a file that shrinks under us is an error, not a SIGBUS.
 */
#include "elffile.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "insn.h"
#include "symtab.h"
#include "text.h"

#define SEGMENTS_MAX 64              /* PT_LOADs looked at; real files have 2 to 10 */
#define SECTIONS_MAX 4096
#define IMAGE_MAX (512ull << 20)     /* bytes of one file read into memory, all segments together */
#define IMPORTS_MAX 16               /* different names asked for */
#define ENTRIES_MAX 64               /* slots or stubs of one import */
#define NOTES_MAX (1u << 20)

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

/* ---- reading -------------------------------------------------------------------------------- */

/* Bytes of the file by offset; libelf checks them against the file's size, keeps and frees them. */
static const void *file_bytes(struct elffile *ef, uint64_t offset, uint64_t len)
{
	Elf_Data *data;

	if (len == 0 || offset > ef->size || len > ef->size - offset || ef->loaded + len > IMAGE_MAX)
		return NULL;
	data = elf_getdata_rawchunk(ef->elf, (int64_t)offset, len, ELF_T_BYTE);
	if (!data || !data->d_buf || data->d_size < len)
		return NULL;
	ef->loaded += len;
	return data->d_buf;
}

static struct segment *segment_of(struct elffile *ef, uint64_t vaddr, uint64_t len)
{
	for (size_t i = 0; i < ef->segs_n; i++) {
		struct segment *s = &ef->segs[i];

		if (vaddr >= s->vaddr && vaddr - s->vaddr < s->filesz &&
		    len <= s->filesz - (vaddr - s->vaddr))
			return s;
	}
	return NULL;
}

/* Like elffile__bytes(), but reads no more of the file than asked: for the small tables of a first look. */
static const void *table_bytes(struct elffile *ef, uint64_t vaddr, uint64_t len)
{
	struct segment *s = segment_of(ef, vaddr, len);

	if (!s)
		return NULL;
	if (s->bytes)
		return s->bytes + (vaddr - s->vaddr);
	return file_bytes(ef, s->offset + (vaddr - s->vaddr), len);
}

const uint8_t *elffile__bytes(struct elffile *ef, uint64_t vaddr, size_t len)
{
	struct segment *s = segment_of(ef, vaddr, len);

	if (!s)
		return NULL;
	if (!s->bytes)
		s->bytes = file_bytes(ef, s->offset, s->filesz);
	return s->bytes ? s->bytes + (vaddr - s->vaddr) : NULL;
}

/* Target of a rip-relative operand that ends at `end`. */
static uint64_t rip_target(uint64_t end, const uint8_t *disp)
{
	return end + (uint64_t)(int64_t)(int32_t)bytes__u32(disp);
}

/* ---- opening -------------------------------------------------------------------------------- */

static void add_segment(struct elffile *ef, const GElf_Phdr *ph)
{
	if (ef->segs_n == SEGMENTS_MAX || ph->p_filesz == 0 || ph->p_offset > ef->size ||
	    ph->p_filesz > ef->size - ph->p_offset || ph->p_vaddr + ph->p_filesz < ph->p_vaddr)
		return;
	ef->segs[ef->segs_n++] = (struct segment){
		.vaddr = ph->p_vaddr,
		.offset = ph->p_offset,
		.filesz = ph->p_filesz,
		.exec = ph->p_flags & PF_X,
	};
}

static void note_dynamic(struct dynamic *dyn, int64_t tag, uint64_t val)
{
	switch (tag) {
	case DT_SYMTAB: dyn->symtab = val; break;
	case DT_STRTAB: dyn->strtab = val; break;
	case DT_STRSZ: dyn->strsz = val; break;
	case DT_HASH: dyn->hash = val; break;
	case DT_GNU_HASH: dyn->gnu_hash = val; break;
	case DT_JMPREL: dyn->jmprel = val; break;
	case DT_PLTRELSZ: dyn->pltrelsz = val; break;
	case DT_RELA: dyn->rela = val; break;
	case DT_RELASZ: dyn->relasz = val; break;
	case DT_VERSYM: dyn->versym = val; break;
	}
}

static void read_dynamic(struct elffile *ef, const GElf_Phdr *ph)
{
	const uint8_t *p = file_bytes(ef, ph->p_offset, ph->p_filesz);

	for (uint64_t i = 0; p && i + sizeof(Elf64_Dyn) <= ph->p_filesz; i += sizeof(Elf64_Dyn)) {
		int64_t tag = (int64_t)bytes__u64(p + i);

		if (tag == DT_NULL)
			return;
		note_dynamic(&ef->dyn, tag, bytes__u64(p + i + 8));
	}
}

static void read_segments(struct elffile *ef)
{
	size_t n;
	GElf_Phdr ph;

	if (elf_getphdrnum(ef->elf, &n) != 0)
		return;
	for (size_t i = 0; i < n && i < UINT16_MAX; i++) {
		if (!gelf_getphdr(ef->elf, (int)i, &ph))
			return;
		if (ph.p_type == PT_LOAD)
			add_segment(ef, &ph);
		else if (ph.p_type == PT_DYNAMIC)
			read_dynamic(ef, &ph);
	}
}

/* Symbols counted by DT_GNU_HASH: one past the end of the chain with the highest start. */
static uint64_t gnu_hash_count(struct elffile *ef)
{
	const uint8_t *head = table_bytes(ef, ef->dyn.gnu_hash, 16), *buckets, *link;
	uint64_t nbuckets, first, buckets_at, chains_at, last = 0;

	if (!head)
		return 0;
	nbuckets = bytes__u32(head);
	first = bytes__u32(head + 4);
	buckets_at = ef->dyn.gnu_hash + 16 + 8ull * bytes__u32(head + 8);
	chains_at = buckets_at + 4 * nbuckets;
	buckets = table_bytes(ef, buckets_at, 4 * nbuckets);
	for (uint64_t i = 0; buckets && i < nbuckets; i++)
		last = bytes__u32(buckets + 4 * i) > last ? bytes__u32(buckets + 4 * i) : last;
	if (last < first)
		return 0; /* nothing exported: linkers then leave `first` at 1, whatever is imported */
	while ((link = elffile__bytes(ef, chains_at + 4 * (last - first), 4))) {
		last++;
		if (link[0] & 1)
			return last;
	}
	return 0;
}

/* The dynamic symbol table has no length of its own; the hash tables imply it, else the table behind it. */
static uint64_t dynsym_count(struct elffile *ef)
{
	const uint8_t *head;
	uint64_t n = 0;

	if (ef->dyn.hash && (head = table_bytes(ef, ef->dyn.hash, 8)))
		return bytes__u32(head + 4);
	if (ef->dyn.gnu_hash)
		n = gnu_hash_count(ef);
	if (n == 0 && ef->dyn.strtab > ef->dyn.symtab)
		n = (ef->dyn.strtab - ef->dyn.symtab) / sizeof(Elf64_Sym);
	return n;
}

static void read_dynsym(struct elffile *ef)
{
	uint64_t n;

	if (!ef->dyn.symtab || !ef->dyn.strtab || !ef->dyn.strsz)
		return;
	n = dynsym_count(ef);
	if (n == 0 || n > UINT32_MAX)
		return;
	ef->dynsym.names = table_bytes(ef, ef->dyn.strtab, ef->dyn.strsz);
	ef->dynsym.names_len = ef->dyn.strsz;
	ef->dynsym.syms = table_bytes(ef, ef->dyn.symtab, n * sizeof(Elf64_Sym));
	ef->dynsym.syms_n = ef->dynsym.syms && ef->dynsym.names ? n : 0;
}

static int check_header(struct elffile *ef, struct reason *why)
{
	const char *ident = elf_getident(ef->elf, NULL);

	if (!ident || elf_kind(ef->elf) != ELF_K_ELF)
		return reason__set(why, -ENOEXEC, "not an ELF file");
	if (ident[EI_CLASS] != ELFCLASS64)
		return reason__set(why, -ENOEXEC, "a 32-bit program: only 64-bit CPython is supported");
	if (ident[EI_DATA] != ELFDATA2LSB)
		return reason__set(why, -ENOEXEC, "a big-endian program: only little-endian CPython is supported");
	if (!gelf_getehdr(ef->elf, &ef->ehdr))
		return reason__set(why, -ENOEXEC, "its ELF header is damaged");
	if (ef->ehdr.e_type != ET_EXEC && ef->ehdr.e_type != ET_DYN)
		return reason__set(why, -ENOEXEC, "neither a program nor a shared library");
	return 0;
}

static int load(struct elffile *ef, int fd, struct reason *why)
{
	struct stat st;
	int err;

	if (fstat(fd, &st) != 0)
		return reason__set(why, -errno, "cannot be examined: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return reason__set(why, -ENOEXEC, "not a regular file");
	ef->size = (uint64_t)st.st_size;
	ef->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	ef->elf = ef->fd < 0 ? NULL : elf_begin(ef->fd, ELF_C_READ, NULL);
	if (!ef->elf)
		return reason__set(why, -ENOEXEC, "not readable as ELF: %s", elf_errmsg(-1));
	err = check_header(ef, why);
	if (err)
		return err;
	read_segments(ef);
	if (ef->segs_n == 0)
		return reason__set(why, -ENOEXEC, "its ELF file has no loadable segment (damaged?)");
	read_dynsym(ef);
	return 0;
}

int elffile__open(int fd, struct elffile **ret, struct reason *why)
{
	struct elffile *ef;
	int err;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return reason__set(why, -ENOEXEC, "libelf is too old");
	ef = calloc(1, sizeof(*ef));
	if (!ef)
		return reason__set(why, -ENOMEM, "out of memory");
	ef->added_fd = ef->fd = -1;
	err = load(ef, fd, why);
	if (err) {
		elffile__close(ef);
		return err;
	}
	*ret = ef;
	return 0;
}

void elffile__close(struct elffile *ef)
{
	if (!ef)
		return;
	dwarf_cfi_end(ef->cfi);
	elf_end(ef->elf);
	elf_end(ef->added_elf);
	if (ef->fd >= 0)
		close(ef->fd);
	if (ef->added_fd >= 0)
		close(ef->added_fd);
	free(ef->fdes);
	free(ef);
}

int elffile__machine(const struct elffile *ef)
{
	return ef->ehdr.e_machine;
}

bool elffile__is_relocatable(const struct elffile *ef)
{
	return ef->ehdr.e_type == ET_DYN;
}

/* ---- addresses ------------------------------------------------------------------------------ */

int elffile__offset_of(struct elffile *ef, uint64_t vaddr, uint64_t *ret_offset)
{
	struct segment *s = segment_of(ef, vaddr, 1);

	if (!s)
		return -ENOENT;
	*ret_offset = s->offset + (vaddr - s->vaddr);
	return 0;
}

int elffile__bias(struct elffile *ef, uint64_t start, uint64_t offset, uint64_t len, uint64_t *ret_bias)
{
	for (size_t i = 0; i < ef->segs_n; i++) {
		const struct segment *s = &ef->segs[i];

		if (!s->exec || offset >= s->offset + s->filesz || offset + len <= s->offset)
			continue;
		*ret_bias = start - offset + s->offset - s->vaddr;
		return 0;
	}
	return -ENOENT;
}

size_t elffile__image_ranges(struct elffile *ef, struct elf_range *ret, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < ef->segs_n && n < max; i++)
		ret[n++] = (struct elf_range){ef->segs[i].vaddr, ef->segs[i].vaddr + ef->segs[i].filesz};
	return n;
}

/* ---- sections, where there are any ------------------------------------------------------------ */

/* Calls `visit` for each section header with its name ("" where it has none). */
static void each_section(struct elffile *ef, void (*visit)(struct elffile *, const GElf_Shdr *, const char *, void *),
			 void *arg)
{
	size_t names, seen = 0;
	Elf_Scn *scn = NULL;
	GElf_Shdr sh;

	if (elf_getshdrstrndx(ef->elf, &names) != 0)
		return;
	while ((scn = elf_nextscn(ef->elf, scn)) && seen++ < SECTIONS_MAX) {
		const char *name;

		if (!gelf_getshdr(scn, &sh))
			continue;
		name = elf_strptr(ef->elf, names, sh.sh_name);
		visit(ef, &sh, name ? name : "", arg);
	}
}

struct section_wanted {
	const char *name;
	GElf_Shdr sh;
	bool found;
};

static void match_section(struct elffile *ef, const GElf_Shdr *sh, const char *name, void *arg)
{
	struct section_wanted *wanted = arg;

	if (wanted->found || strcmp(name, wanted->name) != 0)
		return;
	wanted->sh = *sh;
	wanted->found = true;
}

int elffile__section(struct elffile *ef, const char *name, struct elf_section *ret)
{
	struct section_wanted wanted = {.name = name};

	each_section(ef, match_section, &wanted);
	if (!wanted.found)
		return -ENOENT;
	*ret = (struct elf_section){
		.vaddr = wanted.sh.sh_flags & SHF_ALLOC ? wanted.sh.sh_addr : 0,
		.size = wanted.sh.sh_size,
		.offset = wanted.sh.sh_offset,
	};
	return 0;
}

const void *elffile__section_bytes(struct elffile *ef, const char *name, size_t max, size_t *ret_len)
{
	struct elf_section section;

	if (elffile__section(ef, name, &section) != 0 || section.size > max)
		return NULL;
	*ret_len = section.size;
	return file_bytes(ef, section.offset, section.size);
}

struct range_list {
	struct elf_range *ranges;
	size_t max, n;
	bool plt; /* PLT sections are wanted, instead of code */
};

static void collect_code(struct elffile *ef, const GElf_Shdr *sh, const char *name, void *arg)
{
	struct range_list *list = arg;
	struct segment *s;

	if (sh->sh_type != SHT_PROGBITS || !(sh->sh_flags & SHF_EXECINSTR) || sh->sh_size == 0 ||
	    list->n == list->max || (strncmp(name, ".plt", 4) == 0) != list->plt)
		return;
	s = segment_of(ef, sh->sh_addr, sh->sh_size);
	if (s && s->exec)
		list->ranges[list->n++] = (struct elf_range){sh->sh_addr, sh->sh_addr + sh->sh_size};
}

/* Without section headers PLT and code can't be told apart beforehand: whole executable segments. */
static size_t exec_segments(struct elffile *ef, struct elf_range *ret, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < ef->segs_n && n < max; i++) {
		const struct segment *s = &ef->segs[i];

		if (s->exec)
			ret[n++] = (struct elf_range){s->vaddr, s->vaddr + s->filesz};
	}
	return n;
}

size_t elffile__code_ranges(struct elffile *ef, struct elf_range *ret, size_t max)
{
	struct range_list list = {.ranges = ret, .max = max};

	each_section(ef, collect_code, &list);
	return list.n > 0 ? list.n : exec_segments(ef, ret, max);
}

static size_t plt_ranges(struct elffile *ef, struct elf_range *ret, size_t max)
{
	struct range_list list = {.ranges = ret, .max = max, .plt = true};
	struct elf_range code[1];
	struct range_list any = {.ranges = code, .max = 1};

	each_section(ef, collect_code, &list);
	if (list.n > 0)
		return list.n;
	each_section(ef, collect_code, &any);
	return any.n > 0 ? 0 : exec_segments(ef, ret, max);
}

/* ---- symbols -------------------------------------------------------------------------------- */

static const char *dynsym_name(struct elffile *ef, uint64_t index)
{
	return index < ef->dynsym.syms_n ? symtab__string(&ef->dynsym, symtab__at(&ef->dynsym, index).st_name) : "";
}

/* Adds an address to a list that has room for `max`, once. */
static void add_entry(uint64_t *list, size_t *n, size_t max, uint64_t value)
{
	for (size_t i = 0; i < *n; i++)
		if (list[i] == value)
			return;
	if (*n < max)
		list[(*n)++] = value;
}

/* Finds a symbol defined under that name in one table. */
static int find_in(const struct symtab *t, const char *name, struct elf_symbol *ret)
{
	int64_t i = symtab__find(t, 0, name);
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
	return find_in(&ef->dynsym, name, ret);
}

/* Bytes of any ELF file by offset: of ours or of its debug file. */
static const void *bytes_of(struct elffile *ef, Elf *elf, uint64_t offset, uint64_t len)
{
	Elf_Data *data;

	if (elf == ef->elf)
		return file_bytes(ef, offset, len);
	if (len == 0 || ef->loaded + len > IMAGE_MAX)
		return NULL;
	data = elf_getdata_rawchunk(elf, (int64_t)offset, len, ELF_T_BYTE);
	if (!data || !data->d_buf || data->d_size < len)
		return NULL;
	ef->loaded += len;
	return data->d_buf;
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
		t.names = bytes_of(ef, elf, str.sh_offset, str.sh_size);
		t.names_len = str.sh_size;
		t.syms = bytes_of(ef, elf, sh.sh_offset, sh.sh_size);
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
	if (find_in(&ef->dynsym, name, ret) == 0 || find_in(symtab(ef), name, ret) == 0 ||
	    find_in(&ef->added, name, ret) == 0)
		return 0;
	return strcmp(name, "_PyRuntime") == 0 ? runtime_section(ef, ret) : -ENOENT;
}

int elffile__runtime(struct elffile *ef, struct elf_symbol *ret)
{
	return find_in(&ef->dynsym, "_PyRuntime", ret) == 0 ? 0 : runtime_section(ef, ret);
}

/* Adds the functions that one table defines under that name. */
static size_t functions_in(const struct symtab *t, const char *name, uint64_t *ret, size_t n, size_t max)
{
	for (int64_t i = symtab__find(t, 0, name); i >= 0; i = symtab__find(t, (size_t)i + 1, name)) {
		Elf64_Sym sym = symtab__at(t, (size_t)i);

		if (ELF64_ST_TYPE(sym.st_info) == STT_FUNC)
			add_entry(ret, &n, max, sym.st_value);
	}
	return n;
}

size_t elffile__functions(struct elffile *ef, const char *name, uint64_t *ret, size_t n, size_t max)
{
	n = functions_in(&ef->dynsym, name, ret, n, max);
	n = functions_in(symtab(ef), name, ret, n, max);
	return functions_in(&ef->added, name, ret, n, max);
}

/* "name@VERSION", not "name@@VERSION": only programs linked long ago get it (the top bit in .gnu.version). */
static bool is_old_version(struct elffile *ef, size_t index)
{
	const uint8_t *p = ef->dyn.versym ? table_bytes(ef, ef->dyn.versym + 2 * index, 2) : NULL;

	return p && p[1] & 0x80;
}

size_t elffile__exports(struct elffile *ef, const char *name, uint64_t *ret, size_t max)
{
	const struct symtab *t = &ef->dynsym;
	size_t n = 0;

	for (int64_t i = symtab__find(t, 0, name); i >= 0; i = symtab__find(t, (size_t)i + 1, name)) {
		Elf64_Sym sym = symtab__at(t, (size_t)i);

		if (ELF64_ST_TYPE(sym.st_info) == STT_FUNC && !is_old_version(ef, (size_t)i))
			add_entry(ret, &n, max, sym.st_value);
	}
	return n;
}

/* The function symbol covering an address, and its name in the file; st_size 0: none. */
static Elf64_Sym covering(struct elffile *ef, uint64_t vaddr, const char **ret_name)
{
	const struct symtab *tables[] = {symtab(ef), &ef->added, &ef->dynsym};
	Elf64_Sym sym = {0};

	for (size_t i = 0; i < 3 && sym.st_size == 0; i++) {
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

/* ---- build-id ------------------------------------------------------------------------------- */

/* Looks for NT_GNU_BUILD_ID in a run of notes. */
static int build_id_in(const uint8_t *p, uint64_t len, char *hex, size_t size)
{
	while (len >= 12) {
		uint64_t name_len = (bytes__u32(p) + 3ull) & ~3ull, desc_len = bytes__u32(p + 4);
		uint64_t all = 12 + name_len + ((desc_len + 3) & ~3ull);

		if (12 + name_len + desc_len > len)
			return -ENOENT;
		if (bytes__u32(p + 8) == NT_GNU_BUILD_ID && bytes__u32(p) == 4 && memcmp(p + 12, "GNU", 4) == 0 &&
		    desc_len > 0 && 2 * desc_len < size) {
			for (uint64_t i = 0; i < desc_len; i++)
				snprintf(hex + 2 * i, 3, "%02x", p[12 + name_len + i]);
			return 0;
		}
		if (all > len)
			return -ENOENT;
		p += all;
		len -= all;
	}
	return -ENOENT;
}

int elffile__build_id(struct elffile *ef, char *hex, size_t size)
{
	size_t n;
	GElf_Phdr ph;

	if (elf_getphdrnum(ef->elf, &n) != 0)
		return -ENOENT;
	for (size_t i = 0; i < n && i < UINT16_MAX && gelf_getphdr(ef->elf, (int)i, &ph); i++) {
		const uint8_t *p;

		if (ph.p_type != PT_NOTE || ph.p_filesz > NOTES_MAX)
			continue;
		p = file_bytes(ef, ph.p_offset, ph.p_filesz);
		if (p && build_id_in(p, ph.p_filesz, hex, size) == 0)
			return 0;
	}
	return -ENOENT;
}

/* ---- imports -------------------------------------------------------------------------------- */

/* The slots that the run-time linker fills with the address of `im->name`. */
static void collect_slots(struct elffile *ef, const struct insn_arch *arch, struct import *im, uint64_t table,
			  uint64_t size)
{
	const uint8_t *p = table ? table_bytes(ef, table, size) : NULL;

	for (uint64_t i = 0; p && i + sizeof(Elf64_Rela) <= size; i += sizeof(Elf64_Rela)) {
		uint64_t info = bytes__u64(p + i + 8);
		uint32_t type = ELF64_R_TYPE(info);

		if ((type == arch->jump_slot || type == arch->glob_dat) &&
		    strcmp(dynsym_name(ef, ELF64_R_SYM(info)), im->name) == 0)
			add_entry(im->slots, &im->slots_n, ENTRIES_MAX, bytes__u64(p + i));
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

	for (size_t i = 0; code && i < len; i += arch->step)
		if (arch->stub(code, i, len, range.start, &stub) && is_slot(im, stub.slot))
			add_entry(im->stubs, &im->stubs_n, ENTRIES_MAX, range.start + stub.start);
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
	plt_n = plt_ranges(ef, plt, 16);
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

/* ---- function extents from .eh_frame ---------------------------------------------------------- */

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
	s = segment_of(ef, start, len);
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
		p = table_bytes(ef, ph.p_vaddr, 8);
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

/* From its start to the end of its segment: a terminator ends the entries, and libdw stops there. */
static bool find_eh_frame(struct elffile *ef, struct eh_frame *eh)
{
	struct segment *s;

	if (!eh_frame_from_header(ef, &eh->vaddr))
		each_section(ef, find_eh_frame_section, &eh->vaddr);
	s = eh->vaddr ? segment_of(ef, eh->vaddr, 1) : NULL;
	if (!s)
		return false;
	eh->data.d_size = s->vaddr + s->filesz - eh->vaddr;
	eh->bytes = elffile__bytes(ef, eh->vaddr, eh->data.d_size);
	eh->data.d_buf = (void *)eh->bytes;
	eh->data.d_type = ELF_T_BYTE;
	eh->data.d_version = EV_CURRENT;
	return eh->bytes;
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

	if (!find_eh_frame(ef, &eh))
		return;
	while (at < eh.data.d_size) {
		int rc = dwarf_next_cfi(ident, &eh.data, true, at, &next, &entry);

		if (rc > 0 || next == (Dwarf_Off)-1 || next <= at)
			break;
		if (rc == 0 && entry.CIE_id != DW_CIE_ID_64 && fde_range(ef, &eh, &entry.fde, &range))
			add_fde(ef, range);
		at = next;
	}
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
