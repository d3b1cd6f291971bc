/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See elffile.h. Symbols, imports and functions have rooms of their own: elffile_inside.h lists them.
 *
 * What the run-time linker believes is what counts here: segments, PT_DYNAMIC and PT_GNU_EH_FRAME. Section
 * headers are a help where they exist (they tell PLT from code, and carry .symtab); a file without them is read all the
 * same. libelf reads by descriptor, never by mmap: a file that shrinks under us is an error, not a SIGBUS.
 */
#include "elffile_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/bytes.h"
#include "collector/process/theirs.h"

#define CLOCK_EVERY 4096             /* steps of a loop */
#define NOTES_MAX (1u << 20)

/* ---- reading -------------------------------------------------------------------------------- */

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

bool elffile__is_spent(struct elffile *ef, uint64_t at)
{
	/* Loops go by bytes, by 24, by whatever a file says: each passes a small remainder often enough. */
	if (!ef->is_spent && at % CLOCK_EVERY < 32)
		ef->is_spent = cpu_ns() - ef->began_cpu_ns > ef->budget.cpu_ms * 1000000ull;
	return ef->is_spent;
}

const void *elffile_read__raw(struct elffile *ef, Elf *elf, uint64_t offset, uint64_t len)
{
	Elf_Data *data;

	if (len == 0)
		return NULL;
	if (len > ef->budget.bytes - ef->loaded) {
		ef->is_spent |= len <= ef->size; /* a damaged size is no work */
		return NULL;
	}
	data = elf_getdata_rawchunk(elf, (int64_t)offset, len, ELF_T_BYTE);
	if (!data || !data->d_buf || data->d_size < len)
		return NULL;
	ef->loaded += len;
	return data->d_buf;
}

/* Bytes of ours by offset. */
static const void *read_own(struct elffile *ef, uint64_t offset, uint64_t len)
{
	if (offset > ef->size || len > ef->size - offset)
		return NULL;
	return elffile_read__raw(ef, ef->elf, offset, len);
}

struct segment *elffile_read__segment(struct elffile *ef, uint64_t vaddr, uint64_t len)
{
	for (size_t i = 0; i < ef->segs_n; i++) {
		struct segment *s = &ef->segs[i];

		if (vaddr >= s->vaddr && vaddr - s->vaddr < s->filesz &&
		    len <= s->filesz - (vaddr - s->vaddr))
			return s;
	}
	return NULL;
}

const void *elffile_read__table(struct elffile *ef, uint64_t vaddr, uint64_t len)
{
	struct segment *s = elffile_read__segment(ef, vaddr, len);

	if (!s)
		return NULL;
	if (s->bytes)
		return s->bytes + (vaddr - s->vaddr);
	return read_own(ef, s->offset + (vaddr - s->vaddr), len);
}

bool elffile_read__once(struct elffile *ef, uint64_t vaddr, void *buf, size_t len)
{
	struct segment *s = elffile_read__segment(ef, vaddr, len);

	return s && len <= ef->budget.bytes && pread(ef->fd, buf, len, (off_t)(s->offset + (vaddr - s->vaddr))) == (ssize_t)len;
}

const uint8_t *elffile__bytes(struct elffile *ef, uint64_t vaddr, size_t len)
{
	struct segment *s = elffile_read__segment(ef, vaddr, len);

	if (!s)
		return NULL;
	if (!s->bytes)
		s->bytes = read_own(ef, s->offset, s->filesz);
	return s->bytes ? s->bytes + (vaddr - s->vaddr) : NULL;
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
	case DT_TEXTREL: dyn->textrel = true; break;
	case DT_FLAGS: dyn->textrel |= (val & DF_TEXTREL) != 0; break;
	}
}

static void read_dynamic(struct elffile *ef, const GElf_Phdr *ph)
{
	const uint8_t *p = read_own(ef, ph->p_offset, ph->p_filesz);

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

	ef->fd = theirs__content(fd);
	if (ef->fd < 0)
		return reason__set(why, ef->fd, "cannot be read: %s", strerror(-ef->fd));
	if (fstat(ef->fd, &st) != 0)
		return reason__set(why, -errno, "cannot be examined: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return reason__set(why, -ENOEXEC, "not a regular file");
	ef->size = (uint64_t)st.st_size;
	ef->elf = elf_begin(ef->fd, ELF_C_READ, NULL);
	if (!ef->elf)
		return reason__set(why, -ENOEXEC, "not readable as ELF: %s", elf_errmsg(-1));
	err = check_header(ef, why);
	if (err)
		return err;
	read_segments(ef);
	if (ef->segs_n == 0)
		return reason__set(why, -ENOEXEC, "its ELF file has no loadable segment (damaged?)");
	elffile_symbols__read_dynamic(ef);
	return 0;
}

int elffile__open(int fd, struct elffile **ret, struct reason *why)
{
	static const struct elf_budget whole = ELF_BUDGET_WHOLE;

	return elffile__open_within(fd, &whole, ret, why);
}

int elffile__open_within(int fd, const struct elf_budget *budget, struct elffile **ret, struct reason *why)
{
	struct elffile *ef;
	int err;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return reason__set(why, -ENOEXEC, "libelf is too old");
	ef = calloc(1, sizeof(*ef));
	if (!ef)
		return reason__set(why, -ENOMEM, "out of memory");
	ef->added_fd = ef->fd = -1;
	ef->budget = *budget;
	ef->began_cpu_ns = cpu_ns();
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
	struct segment *s = elffile_read__segment(ef, vaddr, 1);

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

int elffile__bias_of_segment(struct elffile *ef, uint64_t start, uint64_t offset, uint64_t *ret_bias)
{
	uint64_t in_page = (uint64_t)sysconf(_SC_PAGESIZE) - 1;

	for (size_t i = 0; i < ef->segs_n; i++) {
		const struct segment *s = &ef->segs[i];

		if ((s->offset & ~in_page) != offset)
			continue;
		*ret_bias = start - (s->vaddr - (s->offset - offset));
		return 0;
	}
	return -ENOENT;
}

size_t elffile__text_segments(struct elffile *ef, struct elf_range *ret, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < ef->segs_n && n < max; i++)
		if (ef->segs[i].exec)
			ret[n++] = (struct elf_range){ef->segs[i].vaddr, ef->segs[i].vaddr + ef->segs[i].filesz};
	return n;
}

bool elffile__has_text_relocations(struct elffile *ef)
{
	return ef->dyn.textrel;
}

size_t elffile__image_ranges(struct elffile *ef, struct elf_range *ret, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < ef->segs_n && n < max; i++)
		ret[n++] = (struct elf_range){ef->segs[i].vaddr, ef->segs[i].vaddr + ef->segs[i].filesz};
	return n;
}

/* ---- sections, where there are any ------------------------------------------------------------ */

void elffile_read__sections(struct elffile *ef, section_visit_fn *visit, void *arg)
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

	elffile_read__sections(ef, match_section, &wanted);
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
	return read_own(ef, section.offset, section.size);
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
	s = elffile_read__segment(ef, sh->sh_addr, sh->sh_size);
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

	elffile_read__sections(ef, collect_code, &list);
	return list.n > 0 ? list.n : exec_segments(ef, ret, max);
}

size_t elffile_read__plt(struct elffile *ef, struct elf_range *ret, size_t max)
{
	struct range_list list = {.ranges = ret, .max = max, .plt = true};
	struct elf_range code[1];
	struct range_list any = {.ranges = code, .max = 1};

	elffile_read__sections(ef, collect_code, &list);
	if (list.n > 0)
		return list.n;
	elffile_read__sections(ef, collect_code, &any);
	return any.n > 0 ? 0 : exec_segments(ef, ret, max);
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
		p = read_own(ef, ph.p_offset, ph.p_filesz);
		if (p && build_id_in(p, ph.p_filesz, hex, size) == 0)
			return 0;
	}
	return -ENOENT;
}
