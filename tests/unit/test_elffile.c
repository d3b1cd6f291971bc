/* SPDX-License-Identifier: GPL-2.0-only */
/* ELF files as they are, and as they should not be. Truncated and overwritten ones: test_sites.c. */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/elf/elffile.h"
#include "collector/plan/sites.h"
#include "../support/hostile_elf.h"
#include "../support/pythons.h"

static struct elffile *must_open(const char *path, int *ret_fd)
{
	struct reason why = {""};
	struct elffile *ef = NULL;

	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(*ret_fd, 0, "%s", path);
	cr_assert_eq(elffile__open(*ret_fd, &ef, &why), 0, "%s: %s", path, why.text);
	return ef;
}

static void must_close(struct elffile *ef, int fd)
{
	elffile__close(ef);
	close(fd);
}

Test(elffile, what_is_no_elf_file_is_refused_in_words)
{
	static const struct {
		unsigned char bytes[64];
		size_t len;
		char says[64];
	} cases[] = {
		{"", 0, ""},
		{"#!/bin/sh\n", 10, "not an ELF file"},
		{"\x7f" "ELF", 4, ""},
		{"!<arch>\n", 8, "not an ELF file"},
		{{0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1}, 52, "32-bit"},
		{{0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2MSB, 1}, 64, "big-endian"},
		{{0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1}, 64, "neither a program nor a shared library"},
		{{0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1, [16] = ET_DYN}, 64, "no loadable segment"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = memory_file(cases[i].bytes, cases[i].len);
		struct elffile *ef = NULL;
		struct reason why = {""};

		cr_expect_eq(elffile__open(fd, &ef, &why), -ENOEXEC, "case %zu", i);
		cr_expect_null(ef);
		cr_expect(why.text[0] && strstr(why.text, cases[i].says), "case %zu: %s", i, why.text);
		close(fd);
	}
}

Test(elffile, directories_devices_and_closed_descriptors_are_refused)
{
	static const char paths[][16] = {"/", "/dev/zero", "/dev/null"};
	struct elffile *ef;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);

		cr_expect_eq(elffile__open(fd, &ef, NULL), -ENOEXEC, "%s", paths[i]);
		close(fd);
	}
	cr_expect_eq(elffile__open(-1, &ef, NULL), -EBADF);
}

Test(elffile, addresses_and_offsets_agree_with_the_bytes)
{
	static struct python pythons[PYTHONS_MAX];
	struct elf_range ranges[16];
	size_t ranges_n, len;
	struct elffile *ef;
	char *bytes;
	int fd;

	pythons__find(pythons, PYTHONS_MAX, 8);
	ef = must_open(pythons[0].image, &fd);
	bytes = must_read(pythons[0].image, &len);
	ranges_n = elffile__image_ranges(ef, ranges, 16);
	cr_assert_geq(ranges_n, 2);
	for (size_t i = 0; i < ranges_n; i++) {
		uint64_t middle = ranges[i].start + (ranges[i].end - ranges[i].start) / 2, offset;
		const uint8_t *there = elffile__bytes(ef, middle, 1);

		cr_assert_eq(elffile__offset_of(ef, middle, &offset), 0);
		cr_assert_not_null(there);
		cr_expect_lt(offset, len);
		cr_expect_eq(*there, (uint8_t)bytes[offset]);
		cr_expect_not_null(elffile__bytes(ef, ranges[i].start, ranges[i].end - ranges[i].start));
		cr_expect_null(elffile__bytes(ef, ranges[i].start, ranges[i].end - ranges[i].start + 1));
		cr_expect_null(elffile__bytes(ef, middle, SIZE_MAX));
	}
	cr_expect_eq(elffile__offset_of(ef, UINT64_MAX, &(uint64_t){0}), -ENOENT);
	cr_expect_null(elffile__bytes(ef, UINT64_MAX, 2));
	free(bytes);
	must_close(ef, fd);
}

#define LIBRARY \
	"int shared_value = 7;\n" \
	"extern void imported(void); extern int imported_value;\n" \
	"int exported(int x) { imported(); return x + imported_value; }\n" \
	"__attribute__((noinline, used)) static int hidden(int x) { imported(); return x * 3; }\n"

Test(elffile, a_library_tells_its_symbols_imports_and_functions)
{
	char dir[PATH_MAX], path[PATH_MAX + 16], name[64], tiny[8], hex[64];
	struct elf_symbol exported, value;
	struct elf_import import;
	struct elf_range range;
	struct elffile *ef;
	int fd;

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	must_compile(path, "-Wl,--build-id=0x00ff10", LIBRARY);
	ef = must_open(path, &fd);
	cr_expect(elffile__is_relocatable(ef));
	cr_assert_eq(elffile__dynsym(ef, "exported", &exported), 0);
	cr_expect(exported.is_func && exported.size > 0);
	cr_assert_eq(elffile__dynsym(ef, "shared_value", &value), 0);
	cr_expect(!value.is_func && value.size == 4);
	cr_expect_eq(*elffile__bytes(ef, value.vaddr, 4), 7);
	cr_expect_eq(elffile__dynsym(ef, "imported", &value), -ENOENT, "an import is not a definition");
	cr_expect_eq(elffile__dynsym(ef, "", &value), -ENOENT);
	cr_assert_eq(elffile__import(ef, "imported", &import), 0);
	cr_expect_eq(import.slots_n, 1);
	cr_expect_eq(import.stubs_n, 1);
	cr_assert_eq(elffile__import(ef, "imported_value", &import), 0);
	cr_expect_eq(import.stubs_n, 0);
	cr_expect_eq(elffile__import(ef, "exported_not", &import), -ENOENT);
	cr_assert_eq(elffile__function_at(ef, exported.vaddr + 1, &range), 0);
	cr_expect(range.start == exported.vaddr && range.end == exported.vaddr + exported.size);
	cr_expect_eq(elffile__function_at(ef, value.vaddr, &range), -ENOENT);
	elffile__symbol_name(ef, exported.vaddr + 2, name, sizeof(name));
	cr_expect_str_eq(name, "exported+0x2");
	elffile__symbol_name(ef, exported.vaddr + 2, tiny, sizeof(tiny));
	cr_expect_str_eq(tiny, "exporte");
	elffile__symbol_name(ef, value.vaddr, name, sizeof(name));
	cr_expect_str_eq(name, "");
	cr_expect_eq(elffile__build_id(ef, hex, sizeof(hex)), 0);
	cr_expect_str_eq(hex, "00ff10");
	cr_expect_eq(elffile__build_id(ef, hex, 4), -ENOENT, "no room");
	must_close(ef, fd);
	temp_dir__remove(dir);
}

Test(elffile, a_mapping_of_code_gives_the_bias)
{
	char dir[PATH_MAX], path[PATH_MAX + 16];
	uint64_t offset, bias;
	struct elf_symbol exported;
	struct elffile *ef;
	int fd;

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	must_compile(path, "", LIBRARY);
	ef = must_open(path, &fd);
	cr_assert_eq(elffile__dynsym(ef, "exported", &exported), 0);
	cr_assert_eq(elffile__offset_of(ef, exported.vaddr, &offset), 0);
	offset &= ~0xfffull;
	cr_assert_eq(elffile__bias(ef, 0x7f0000001000, offset, 0x1000, &bias), 0);
	cr_expect_eq(bias + (exported.vaddr & ~0xfffull), 0x7f0000001000);
	cr_expect_eq(elffile__bias(ef, 0x7f0000001000, 1u << 30, 0x1000, &bias), -ENOENT);
	must_close(ef, fd);
	temp_dir__remove(dir);
}

Test(elffile, closing_nothing_is_legal)
{
	elffile__close(NULL);
}

/* A copy of a file that says nothing of its sections, as `sstrip` leaves one. */
static int without_sections(const char *path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC), fd;
	struct stat st;
	Elf64_Ehdr *image;

	cr_assert(from >= 0 && fstat(from, &st) == 0);
	image = malloc((size_t)st.st_size);
	cr_assert_not_null(image);
	cr_assert_eq(pread(from, image, (size_t)st.st_size, 0), st.st_size);
	image->e_shoff = 0;
	image->e_shnum = image->e_shstrndx = 0;
	fd = memory_file(image, (size_t)st.st_size);
	free(image);
	close(from);
	return fd;
}

/* Where .eh_frame is and which code there is stands in the program headers, too. */
Test(elffile, functions_are_the_same_without_sections)
{
	struct elf_range code[16], one, other;
	struct elffile *whole, *bare = NULL;
	size_t n, found = 0;
	int fd, bare_fd = without_sections("/proc/self/exe");

	whole = must_open("/proc/self/exe", &fd);
	cr_assert_eq(elffile__open(bare_fd, &bare, NULL), 0);
	n = elffile__code_ranges(whole, code, 16);
	cr_assert_gt(n, 0);
	for (size_t i = 0; i < n; i++)
		for (uint64_t at = code[i].start; at < code[i].end; at += 16) {
			int known = elffile__function_at(whole, at, &one);

			cr_assert_eq(elffile__function_at(bare, at, &other), known, "%#llx", (unsigned long long)at);
			if (known)
				continue;
			cr_assert(one.start == other.start && one.end == other.end);
			found++;
		}
	cr_assert_gt(found, 1000);
	must_close(whole, fd);
	must_close(bare, bare_fd);
}

/* ---- files that are work ---- */

static struct elffile *open_hostile(size_t symbols, size_t names, int sparse, const struct elf_budget *budget)
{
	struct reason why = {""};
	struct elffile *ef = NULL;
	int fd = memory_file("", 0);

	hostile_elf__write(fd, symbols, names, sparse);
	cr_assert_eq(elffile__open_within(fd, budget, &ef, &why), 0, "%s", why.text);
	close(fd);
	return ef;
}

/* Each of its 700,000 names goes on to the end of 16 MB. */
Test(elffile, names_without_an_end_are_not_searched_for_it, .timeout = 20)
{
	static const struct elf_budget budget = ELF_BUDGET_LOOK;
	struct elffile *ef = open_hostile(700000, 16 << 20, 0, &budget);
	struct elf_import import;
	struct elf_symbol symbol;
	uint64_t list[4];

	cr_expect_eq(elffile__symbol(ef, "_PyRuntime", &symbol), -ENOENT);
	cr_expect_eq(elffile__dynsym(ef, "PyEval_RestoreThread", &symbol), -ENOENT);
	cr_expect_eq(elffile__functions(ef, "pthread_cond_timedwait", list, 0, 4), 0);
	cr_expect_eq(elffile__import(ef, "pthread_cond_timedwait", &import), -ENOENT);
	cr_expect_not(elffile__is_spent(ef, 0), "this is no work");
	elffile__close(ef);
}

Test(elffile, file_of_more_bytes_than_its_budget_is_spent)
{
	static const struct elf_budget budget = {.bytes = 64 << 20, .cpu_ms = 10000};
	struct elffile *ef = open_hostile(20000000, 4096, 1, &budget);
	struct elf_symbol symbol;

	cr_expect(elffile__is_spent(ef, 0));
	cr_expect_eq(elffile__dynsym(ef, "_PyRuntime", &symbol), -ENOENT);
	elffile__close(ef);
}

Test(elffile, file_of_more_time_than_its_budget_is_spent_and_finds_nothing_more)
{
	static const struct elf_budget budget = {.bytes = 512 << 20, .cpu_ms = 0};
	struct elffile *ef = open_hostile(1000, 4096, 0, &budget);
	struct site_plan *plan;
	struct reason why = {""};

	cr_expect(elffile__is_spent(ef, 0));
	cr_expect_eq(sites__plan(ef, &plan, &why), -ENOTSUP);
	cr_expect_not_null(strstr(why.text, "takes more work than any interpreter's"), "%s", why.text);
	elffile__close(ef);
}
