/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Preloaded: moves the text of the files whose name contains $MOVE_TEXT to anonymous memory at the same addresses before the
 * program begins, as launchers do that want huge pages for it. MOVE_TEXT_ALIGN=BYTES: only what lies between multiples of that.
 * MOVE_TEXT_TO=memfd: to a file in memory that holds the text alone; MOVE_TEXT_TO=copy: to one that is a copy of the whole file.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILES_MAX 64

struct range {
	uintptr_t start, end;
	unsigned long offset;
	char file[256];
};

static int memory_file(const void *bytes, size_t len)
{
	int fd = memfd_create("text", MFD_CLOEXEC);

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		abort();
	return fd;
}

static int copy_of_file(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), copy;
	off_t len = lseek(fd, 0, SEEK_END);
	void *bytes = mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, fd, 0);

	if (bytes == MAP_FAILED)
		abort();
	copy = memory_file(bytes, (size_t)len);
	munmap(bytes, (size_t)len);
	close(fd);
	return copy;
}

static void move_to_file(const struct range *r, bool whole)
{
	size_t len = r->end - r->start;
	int fd = whole ? copy_of_file(r->file) : memory_file((void *)r->start, len);

	if (mmap((void *)r->start, len, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, whole ? (off_t)r->offset : 0) ==
	    MAP_FAILED)
		abort();
	close(fd);
}

static void move(struct range r)
{
	size_t len = r.end - r.start;
	char *copy = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		abort();
	memcpy(copy, (void *)r.start, len);
	if (mprotect(copy, len, PROT_READ | PROT_EXEC) ||
	    mremap(copy, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)r.start) == MAP_FAILED)
		abort();
}

static size_t find(const char *name, struct range *ranges)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[1024], perms[8];
	size_t n = 0;

	while (maps && n < FILES_MAX && fgets(line, sizeof(line), maps)) {
		struct range r = {.file = ""};

		if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %255s", &r.start, &r.end, perms, &r.offset, r.file) == 5 &&
		    strcmp(perms, "r-xp") == 0 && r.file[0] == '/' && strstr(r.file, name))
			ranges[n++] = r;
	}
	if (maps)
		fclose(maps);
	return n;
}

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("MOVE_TEXT"), *align = getenv("MOVE_TEXT_ALIGN");
	const char *to = getenv("MOVE_TEXT_TO");
	uintptr_t unit = align ? strtoul(align, NULL, 0) : 1;
	struct range ranges[FILES_MAX];
	size_t n = name ? find(name, ranges) : 0;

	for (size_t i = 0; i < n; i++) {
		uintptr_t start = (ranges[i].start + unit - 1) / unit * unit;

		ranges[i].offset += start - ranges[i].start;
		ranges[i].start = start;
		ranges[i].end = ranges[i].end / unit * unit;
		if (ranges[i].start >= ranges[i].end)
			continue;
		if (to)
			move_to_file(&ranges[i], strcmp(to, "copy") == 0);
		else
			move(ranges[i]);
	}
}
