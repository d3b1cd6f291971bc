/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs' tables in our memory. They are written at any moment: who reads them copies (record.h) or loads atomically.
 *
 * Includes the skeleton for the maps' descriptors; knows nothing of what is in the tables.
 */
#include "probes_inside.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "collector/base/log.h"
#include "gil.skel.h"

#define THREADS_STEP ((size_t)256 * 1024) /* the thread table is mapped in pieces of this size: whole pages everywhere */

static void *map_refused(const struct bpf_map *map, size_t len, struct reason *why)
{
	reason__set(why, -errno, "can't map the BPF table \"%s\" (%zu bytes): %s", bpf_map__name(map), len,
		    strerror(errno));
	return NULL;
}

static void *map_table(struct bpf_map *map, size_t len, struct reason *why)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return mem == MAP_FAILED ? map_refused(map, len, why) : mem;
}

static void *reserve(void *at, size_t len)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0);

	return mmap(at, len, PROT_READ | PROT_WRITE, flags, -1, 0);
}

/*
 * Mapping a BPF array makes all of it resident at once (kernel/bpf/arraymap.c, array_map_mmap), here and in every child. So
 * the thread table is mapped only as far as it is used; the rest is zero pages, which read as free slots.
 */
static void *reserve_table(struct bpf_map *map, size_t len, struct reason *why)
{
	void *mem = reserve(NULL, len);

	return mem == MAP_FAILED ? map_refused(map, len, why) : mem;
}

static void map_threads_to(struct tables *t, size_t end)
{
	size_t from = t->threads_mapped, to = (end + THREADS_STEP - 1) / THREADS_STEP * THREADS_STEP;
	char *at = (char *)t->threads + from;

	to = to < t->threads_len ? to : t->threads_len;
	t->threads_mapped = to;
	if (mmap(at, to - from, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, t->threads_fd, (off_t)from) != MAP_FAILED)
		return;
	log_warn("can't map %zu bytes more of the thread table, further threads stay unseen: %s", to - from,
		 strerror(errno));
	reserve(at, to - from); /* the attempt may have left a hole */
}

struct gil_thread *tables__thread(struct tables *t, uint32_t slot)
{
	size_t end = (slot + 1) * sizeof(*t->threads);

	if (end > t->threads_mapped)
		map_threads_to(t, end);
	return &t->threads[slot];
}

static size_t whole_pages(size_t n, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (n * size + page - 1) / page * page;
}

int tables__map(struct tables *t, const struct gil_bpf *skel, const struct probes_opts *opts, struct reason *why)
{
	t->procs_len = whole_pages(opts->max_procs, sizeof(*t->procs));
	t->gils_len = whole_pages(probes_opts__gil_slots(opts), sizeof(*t->gils));
	t->threads_len = whole_pages(probes_opts__thread_slots(opts), sizeof(*t->threads));
	t->templates_len = whole_pages(GIL_FAMILIES, sizeof(*t->templates));
	t->threads_fd = bpf_map__fd(skel->maps.threads);
	t->procs = map_table(skel->maps.procs, t->procs_len, why);
	t->gils = map_table(skel->maps.gils, t->gils_len, why);
	t->threads = reserve_table(skel->maps.threads, t->threads_len, why);
	t->templates = map_table(skel->maps.families, t->templates_len, why);
	return t->procs && t->gils && t->threads && t->templates ? 0 : -ENOMEM;
}

static void unmap(void *mem, size_t len)
{
	if (mem)
		munmap(mem, len);
}

void tables__unmap(struct tables *t)
{
	unmap(t->procs, t->procs_len);
	unmap(t->gils, t->gils_len);
	unmap(t->threads, t->threads_len);
	unmap(t->templates, t->templates_len);
	*t = (struct tables){0};
}
