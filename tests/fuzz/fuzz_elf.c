/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ELF files from outside: whatever the bytes, the whole way from opening to the probe plan ends without a crash, each
 * refusal has a sentence, and no site lies outside the file. It ends in time, too: a file has a budget.
 *
 * With FUZZ_LARGE (fuzz_elf_large.c) the first byte of an input says how large a file it is the beginning of, up to 64 MiB: the
 * rest is filled with its end, over and over. That is slow, and so a fuzzer of its own.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "collector/cpython/method_names.h"
#include "collector/cpython/pyver.h"
#include "collector/elf/debugfile.h"
#include "collector/plan/sites.h"
#include "collector/stacks/unwind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
}

#define CPU_MS 500          /* of a file's budget */
#define CPU_SLACK_S 4       /* what is under way when it is spent, with sanitizers */
#define TAIL 512
#ifdef FUZZ_LARGE
#define IS_LARGE 1
#else
#define IS_LARGE 0
#endif
#define GROWN_MAX (64u << 20)

static double cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void put(int fd, const uint8_t *data, size_t size)
{
	expect(write(fd, data, size) == (ssize_t)size);
}

/* Writes what an input means; its size. */
static size_t make_file(int fd, const uint8_t *data, size_t size)
{
	static uint8_t fill[1 << 20];
	size_t tail, grown, n;

	if (!IS_LARGE || size < 1) {
		put(fd, data, size);
		return size;
	}
	grown = (size_t)4096 << data[0] % 15;
	data++;
	size--;
	put(fd, data, size);
	tail = size < TAIL ? size : TAIL;
	for (n = 0; tail && n + tail <= sizeof(fill); n += tail)
		memcpy(fill + n, data + size - tail, tail);
	for (; n && size < grown; size += n)
		put(fd, fill, n < grown - size ? n : (n = grown - size));
	expect(size <= GROWN_MAX + 4096 * 1024);
	return size;
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

static void park(struct elffile *ef)
{
	struct park_sites sites;
	char text[PARK_SITES_TEXT];

	park_sites__find(ef, &sites);
	expect(park_sites__text(&sites, text)[0] && !sites.n == !!sites.why_not.text[0]);
	for (size_t i = 0; i < sites.n; i++)
		expect(sites.at[i].call >= sites.at[i].function.start && sites.at[i].behind <= sites.at[i].function.end);
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
	park(ef);
	unwind(ef);
	method_names__free(method_names__new(ef));
	debugfile__add(ef, AT_FDCWD, "/lib.so"); /* what it says is below here is not */
	plan(ef, size, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct elf_budget budget = {.bytes = 256u << 20, .cpu_ms = CPU_MS};
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct reason why = {""};
	struct elffile *ef = NULL;
	double began = cpu_s();

	expect(fd >= 0);
	size = make_file(fd, data, size);
	if (elffile__open_within(fd, &budget, &ef, &why) != 0) {
		expect(ef == NULL && why.text[0]);
	} else {
		look(ef, size);
		elffile__close(ef);
	}
	close(fd);
	expect(cpu_s() - began < CPU_MS / 1e3 + CPU_SLACK_S);
	return 0;
}
