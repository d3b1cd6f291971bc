/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Preloaded: moves the text of the files whose name contains $MOVE_TEXT to anonymous memory at the same addresses before the
 * program begins, as launchers do that want huge pages for it. MOVE_TEXT_ALIGN=BYTES: only what lies between multiples of that.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FILES_MAX 64

struct range {
	uintptr_t start, end;
};

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
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) == 3 && strcmp(perms, "r-xp") == 0 &&
		    strchr(line, '/') && strstr(line, name))
			ranges[n++] = (struct range){start, end};
	}
	if (maps)
		fclose(maps);
	return n;
}

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("MOVE_TEXT"), *align = getenv("MOVE_TEXT_ALIGN");
	uintptr_t unit = align ? strtoul(align, NULL, 0) : 1;
	struct range ranges[FILES_MAX];
	size_t n = name ? find(name, ranges) : 0;

	for (size_t i = 0; i < n; i++) {
		ranges[i].start = (ranges[i].start + unit - 1) / unit * unit;
		ranges[i].end = ranges[i].end / unit * unit;
		if (ranges[i].start < ranges[i].end)
			move(ranges[i]);
	}
}
