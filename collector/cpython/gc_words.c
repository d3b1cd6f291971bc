/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See gc_words.h. Up to 3.14 the numbers are an array of struct gc_generation_stats in the state itself, right before
 * `collecting`; 3.15 keeps the last records of each generation in rings behind a pointer (struct gc_stats in
 * Include/internal/pycore_interp_structs.h), each record with the sums so far.
 */
#include "gc_words.h"

#include <errno.h>
#include <string.h>

#include "collector/base/bytes.h"
#include "collector/process/procmem.h"

#define STATS_BYTES 24   /* struct gc_generation_stats up to 3.14: collections, collected, uncollectable */
#define RECORD_BYTES 64  /* of 3.15; its `collections` is the third word */
#define RECORD_AT 16
#define RECORDS_MAX 11   /* of the youngest generation's ring; the others have three */
#define MOST (1ull << 56) /* collections that anybody has made */

bool gc_words__are_known(const struct pyoffsets *off)
{
	return off->gc_collecting != PYOFF_NONE && (off->runtime_gc != PYOFF_NONE || off->interp_gc != PYOFF_NONE);
}

uint64_t gc_words__state(const struct pyoffsets *off, uint64_t runtime, uint64_t interp)
{
	if (off->runtime_gc != PYOFF_NONE)
		return runtime ? runtime + off->runtime_gc : 0;
	return interp && off->interp_gc != PYOFF_NONE ? interp + off->interp_gc : 0;
}

static int count_array(const uint8_t *stats, struct gc_words *w)
{
	for (int i = 0; i < GC_GENERATIONS; i++)
		w->collections[i] = bytes__u64(stats + i * STATS_BYTES);
	w->counted = true;
	return 0;
}

/* A ring of 3.15: records, then the newest one's index in a byte. */
static int count_ring(pid_t pid, uint64_t ring, unsigned int records, uint64_t *ret)
{
	uint8_t raw[RECORDS_MAX * RECORD_BYTES + 8];
	uint8_t newest;
	int err = procmem__read(pid, ring, raw, records * RECORD_BYTES + 8);

	if (err)
		return err;
	newest = raw[records * RECORD_BYTES];
	if (newest >= records)
		return -EBADMSG;
	*ret = bytes__u64(raw + newest * RECORD_BYTES + RECORD_AT);
	return 0;
}

static int count_rings(pid_t pid, uint64_t at, struct gc_words *w)
{
	static const unsigned int records[GC_GENERATIONS] = {RECORDS_MAX, 3, 3};
	int err = procmem__read_u64(pid, at, &at);

	for (int i = 0; !err && i < GC_GENERATIONS; i++) {
		err = count_ring(pid, at, records[i], &w->collections[i]);
		at += records[i] * RECORD_BYTES + 8;
	}
	w->counted = !err;
	return err;
}

int gc_words__read(pid_t pid, const struct pyoffsets *off, uint64_t state, struct gc_words *ret)
{
	uint8_t stats[GC_GENERATIONS * STATS_BYTES];
	bool has_array = off->gc_stats != PYOFF_NONE;
	uint32_t collecting;
	struct procmem_piece pieces[] = {
		{.addr = state + off->gc_collecting, .buf = &collecting, .len = sizeof(collecting)},
		{.addr = state + off->gc_stats, .buf = stats, .len = sizeof(stats)},
	};
	struct gc_words w = {0};
	int err = 0;

	if (!state || !gc_words__are_known(off))
		return -EINVAL;
	procmem__read_many(pid, pieces, has_array ? 2 : 1);
	if (!pieces[0].ok || (has_array && !pieces[1].ok))
		return -EFAULT;
	if (collecting > 1)
		return -EBADMSG;
	w.collecting = collecting;
	if (has_array)
		err = count_array(stats, &w);
	else if (off->gc_ring != PYOFF_NONE)
		err = count_rings(pid, state + off->gc_ring, &w);
	for (int i = 0; i < GC_GENERATIONS; i++)
		if (w.collections[i] >= MOST)
			err = -EBADMSG;
	if (!err)
		*ret = w;
	return err;
}
