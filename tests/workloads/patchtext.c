/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Preloaded: changes its own code at SIGUSR1, wherever a breakpoint stands on a call (e8, 32 bits of distance) in the files whose
 * name contains $PATCH_TEXT, as live patching and hooks do. PATCH_TEXT_HOW:
 *
 *     rest   the distance alone, to where nothing is: whoever executes the call as it stands in memory then is killed
 *     jump   the whole instruction, by a jump to a copy of the call elsewhere
 *     save   the same; and back at SIGUSR2 to what stood there, the breakpoint included
 *
 * What it did, it writes into the file $PATCH_TEXT_TELL: "patched N" or "restored N", and appends "kept N" at the next SIGWINCH:
 * so many of these places are as it made them, from the second byte on with `rest`, wholly with the others.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PLACES_MAX 64
#define CALL 5
#define BREAKPOINT 0xcc
#define CALL_OPCODE 0xe8
#define JUMP_OPCODE 0xe9
#define NOWHERE 0x70000000

struct place {
	uint8_t *at;
	uint8_t before[CALL], after[CALL];
};

static struct place places[PLACES_MAX];
static size_t places_n;
static uint8_t *copies; /* of calls: a page close by */

static void write_code(uint8_t *at, const uint8_t *bytes)
{
	uintptr_t page = (uintptr_t)at & ~(uintptr_t)4095;

	if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC))
		abort();
	/* Others run here. While the breakpoint stands nobody executes the rest. */
	memcpy(at + 1, bytes + 1, CALL - 1);
	__atomic_store_n(at, bytes[0], __ATOMIC_SEQ_CST);
	if (mprotect((void *)page, 8192, PROT_READ | PROT_EXEC))
		abort();
}

static void put_distance(uint8_t *insn, const uint8_t *at, const uint8_t *target)
{
	int32_t distance = (int32_t)(target - (at + CALL));

	memcpy(insn + 1, &distance, sizeof(distance));
}

/* A call of the same function, and a jump behind the original. */
static const uint8_t *copy_call(const struct place *p, const uint8_t *in_file, size_t number)
{
	uint8_t *copy = copies + number * 2 * CALL;
	int32_t distance;

	memcpy(&distance, in_file + 1, sizeof(distance));
	copy[0] = CALL_OPCODE;
	put_distance(copy, copy, p->at + CALL + distance);
	copy[CALL] = JUMP_OPCODE;
	put_distance(copy + CALL, copy + CALL, p->at + CALL);
	return copy;
}

static void patch(struct place *p, const uint8_t *in_file, size_t number, int rest_alone)
{
	const int32_t nowhere = NOWHERE;

	memcpy(p->before, p->at, CALL);
	memcpy(p->after, p->at, CALL);
	if (rest_alone) {
		memcpy(p->after + 1, &nowhere, sizeof(nowhere));
	} else {
		p->after[0] = JUMP_OPCODE;
		put_distance(p->after, p->at, copy_call(p, in_file, number));
	}
	write_code(p->at, p->after);
}

/* In what a mapping has of the file. */
static void patch_mapping(uint8_t *start, const uint8_t *in_file, size_t len, int rest_alone)
{
	/* A jump reaches it: behind the data of what is linked to a fixed address, else wherever near the kernel finds room. */
	if (!copies)
		copies = mmap((void *)(((uintptr_t)start & ~(uintptr_t)4095) + (1u << 30)), 4096,
			      PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (copies == MAP_FAILED)
		abort();
	for (size_t i = 0; i + CALL <= len && places_n < PLACES_MAX; i++)
		if (start[i] == BREAKPOINT && in_file[i] == CALL_OPCODE) {
			places[places_n].at = start + i;
			patch(&places[places_n], in_file + i, places_n, rest_alone);
			places_n++;
		}
}

/* A mapping of the file would have the breakpoints, too. */
static uint8_t *read_file(const char *file, unsigned long offset, size_t len)
{
	uint8_t *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (bytes == MAP_FAILED || fd < 0 || pread(fd, bytes, len, (off_t)offset) < 0)
		abort();
	close(fd);
	return bytes;
}

static void patch_all(const char *name, int rest_alone)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[1024], perms[8], file[256];
	unsigned long start, end, offset;

	while (maps && fgets(line, sizeof(line), maps)) {
		uint8_t *in_file;

		if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %255s", &start, &end, perms, &offset, file) != 5 ||
		    strcmp(perms, "r-xp") != 0 || file[0] != '/' || !strstr(file, name))
			continue;
		in_file = read_file(file, offset, end - start);
		patch_mapping((uint8_t *)start, in_file, end - start, rest_alone);
		munmap(in_file, end - start);
	}
	if (maps)
		fclose(maps);
}

static void tell(const char *what, size_t n)
{
	const char *path = getenv("PATCH_TEXT_TELL");
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

	if (fd < 0 || dprintf(fd, "%s %zu\n", what, n) < 0)
		abort();
	close(fd);
}

static size_t count_kept(int rest_alone)
{
	size_t kept = 0;

	for (size_t i = 0; i < places_n; i++)
		kept += memcmp(places[i].at + rest_alone, places[i].after + rest_alone, CALL - (size_t)rest_alone) == 0;
	return kept;
}

static void on_signal(int number)
{
	int rest_alone = strcmp(getenv("PATCH_TEXT_HOW"), "rest") == 0;

	if (number == SIGUSR1) {
		patch_all(getenv("PATCH_TEXT"), rest_alone);
		tell("patched", places_n);
	} else if (number == SIGWINCH) {
		tell("kept", count_kept(rest_alone));
	} else {
		for (size_t i = 0; i < places_n; i++)
			write_code(places[i].at, places[i].before);
		tell("restored", places_n);
	}
}

__attribute__((constructor)) static void begin(void)
{
	if (!getenv("PATCH_TEXT"))
		return;
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	signal(SIGWINCH, on_signal);
}
