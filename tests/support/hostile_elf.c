/* SPDX-License-Identifier: GPL-2.0-only */
/* See hostile_elf.h. One segment has all of the file; DT_HASH says how many symbols there are. */
#include "hostile_elf.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD 4096 /* headers, the dynamic section, the hash table's head */

static void put_head(uint8_t *head, size_t symbols, size_t names)
{
	uint64_t end = HEAD + symbols * sizeof(Elf64_Sym) + names;
	Elf64_Ehdr *e = (Elf64_Ehdr *)head;
	Elf64_Phdr *p = (Elf64_Phdr *)(head + 64);
	Elf64_Dyn *d = (Elf64_Dyn *)(head + 512);
	uint32_t *hash = (uint32_t *)(head + 1024);

	*e = (Elf64_Ehdr){.e_type = ET_DYN, .e_machine = EM_X86_64, .e_version = 1, .e_phoff = 64, .e_ehsize = 64,
			  .e_phentsize = sizeof(*p), .e_phnum = 2, .e_shentsize = sizeof(Elf64_Shdr)};
	memcpy(e->e_ident, "\177ELF\2\1\1", 7);
	p[0] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = end, .p_memsz = end, .p_align = 4096};
	p[1] = (Elf64_Phdr){.p_type = PT_DYNAMIC, .p_flags = PF_R, .p_offset = 512, .p_vaddr = 512, .p_filesz = 256};
	d[0] = (Elf64_Dyn){.d_tag = DT_SYMTAB, .d_un.d_ptr = HEAD};
	d[1] = (Elf64_Dyn){.d_tag = DT_STRTAB, .d_un.d_ptr = HEAD + symbols * sizeof(Elf64_Sym)};
	d[2] = (Elf64_Dyn){.d_tag = DT_STRSZ, .d_un.d_val = names};
	d[3] = (Elf64_Dyn){.d_tag = DT_HASH, .d_un.d_ptr = 1024};
	hash[0] = 1;
	hash[1] = (uint32_t)symbols;
}

static void put(int fd, const void *bytes, size_t len)
{
	cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
}

void hostile_elf__write(int fd, size_t symbols, size_t names, int sparse)
{
	Elf64_Sym *table = sparse ? NULL : calloc(symbols, sizeof(*table));
	uint8_t head[HEAD] = {0};
	char *text = malloc(names);

	cr_assert((table || sparse) && text);
	for (size_t i = 0; table && i < symbols; i++)
		table[i] = (Elf64_Sym){.st_name = (uint32_t)(i * 7919 % names), .st_shndx = 1, .st_info = STT_FUNC};
	memset(text, '_', names);
	put_head(head, symbols, names);
	put(fd, head, sizeof(head));
	if (table)
		put(fd, table, symbols * sizeof(*table));
	else
		cr_assert_geq(lseek(fd, (off_t)(symbols * sizeof(*table)), SEEK_CUR), 0);
	put(fd, text, names);
	free(table);
	free(text);
}

void hostile_elf__inflate(int fd, size_t bytes)
{
	off_t end = lseek(fd, 0, SEEK_END), table = (end + 4095) & ~4095l, names = table + (off_t)bytes;
	Elf64_Shdr headers[3] = {
		{0},
		{.sh_type = SHT_SYMTAB, .sh_offset = (uint64_t)table, .sh_size = bytes, .sh_link = 2, .sh_entsize = sizeof(Elf64_Sym)},
		{.sh_type = SHT_STRTAB, .sh_offset = (uint64_t)names, .sh_size = 4096},
	};
	Elf64_Ehdr e;

	cr_assert_eq(pread(fd, &e, sizeof(e), 0), (ssize_t)sizeof(e));
	e.e_shoff = (uint64_t)names + 4096;
	e.e_shentsize = sizeof(headers[0]);
	e.e_shnum = 3;
	e.e_shstrndx = 2;
	cr_assert_eq(pwrite(fd, headers, sizeof(headers), (off_t)e.e_shoff), (ssize_t)sizeof(headers));
	cr_assert_eq(pwrite(fd, &e, sizeof(e), 0), (ssize_t)sizeof(e));
}
