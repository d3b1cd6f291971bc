/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ELF files from outside: whatever the bytes, the whole way from opening to the probe plan ends without a crash, each
 * refusal has a sentence, and no site lies outside the file.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../collector/debugfile.h"
#include "../../collector/pyver.h"
#include "../../collector/sites.h"
#include "../../collector/unwind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
}

static void plan(struct elffile *ef, size_t size, bool library)
{
	struct site_plan *plan = NULL;
	struct reason why = {""};

	if ((library ? sites__plan_library(ef, "", &plan, &why) : sites__plan(ef, &plan, &why)) != 0) {
		expect(plan == NULL && why.text[0]);
		return;
	}
	for (size_t i = 0; i < plan->sites_n; i++) {
		expect(plan->sites[i].offset < size);
		expect(plan->sites[i].vaddr >= plan->sites[i].function.start);
		expect(plan->sites[i].vaddr < plan->sites[i].function.end);
	}
	site_plan__free(plan);
}

/* From frames here and there in its code, over a stack of small numbers and addresses of its own. */
static void unwind(struct elffile *ef)
{
	struct gil_regs regs = {{0}};
	uint64_t stack[64], vaddr;
	struct elf_range code[8];
	size_t n = elffile__code_ranges(ef, code, 8);
	struct unwind u;

	for (size_t i = 0; i < n; i++) {
		for (size_t word = 0; word < 64; word++)
			stack[word] = code[i].start + word * 24;
		for (int at = 0; at < 64; at++) {
			vaddr = code[i].start + (code[i].end - code[i].start) / 64 * (uint64_t)at;
			for (size_t word = 0; word < GIL_REGS; word++)
				regs.word[word] = vaddr;
			unwind__begin(&u, &regs, (const uint8_t *)stack, sizeof(stack));
			for (int depth = 0; depth < 8 && unwind__step(&u, ef, 0); depth++)
				expect(u.pc != 0);
		}
	}
}

static void look(struct elffile *ef, size_t size)
{
	struct elf_symbol symbol;
	struct pyoffsets off;
	struct pyver ver;
	char text[64];

	if (elffile__symbol(ef, "_PyRuntime", &symbol) == 0)
		elffile__symbol_name(ef, symbol.vaddr, text, sizeof(text));
	elffile__build_id(ef, text, sizeof(text));
	if (pyver__identify(ef, "libpython3.9.so", &ver, NULL) == 0)
		pyver__offsets(ef, &ver, &off, NULL);
	plan(ef, size, false);
	plan(ef, size, true);
	unwind(ef);
	debugfile__add(ef, AT_FDCWD, "/lib.so"); /* what it says is below here is not */
	plan(ef, size, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct reason why = {""};
	struct elffile *ef = NULL;

	expect(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	if (elffile__open(fd, &ef, &why) != 0) {
		expect(ef == NULL && why.text[0]);
	} else {
		look(ef, size);
		elffile__close(ef);
	}
	close(fd);
	return 0;
}
