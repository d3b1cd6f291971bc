/* SPDX-License-Identifier: GPL-2.0-only */
/* See record.h. The writing side of the sequence numbers is in bpf/gil_core.bpf.h and bpf/gil_cpu.bpf.h. */
#include "record.h"

#include <sched.h>
#include <string.h>

#include "bpf/gil_off.h"

#define SEQ_TRIES 20000     /* readings of a record before it counts as torn */
#define SEQ_SPINS 64        /* of them without giving the CPU away */

/* Waits for an even sequence number; false when patience ends (its writer is not running). */
static bool seq_begin(const __u32 *seq, uint32_t *ret, int *tries)
{
	while (*tries < SEQ_TRIES) {
		*ret = __atomic_load_n(seq, __ATOMIC_ACQUIRE);
		if (!(*ret & 1))
			return true;
		if (++*tries > SEQ_SPINS)
			sched_yield();
	}
	return false;
}

static bool seq_changed(const __u32 *seq, uint32_t before)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(seq, __ATOMIC_RELAXED) != before;
}

static void copy_record(const struct gil_thread *t, uint64_t bound, struct record *ret)
{
	ret->state = t->state;
	ret->tid = t->tid;
	ret->proc = t->proc;
	ret->gil = t->gil;
	ret->arm_gen = t->arm_gen;
	ret->tstate = t->tstate;
	ret->start_boot_ns = t->start_boot_ns;
	ret->bound = t->bound;
	memcpy(ret->comm, t->comm, sizeof(ret->comm));
	ret->at = ret->bound >= bound ? t->snap : t->cur;
}

bool record__read(const struct gil_thread *t, uint64_t bound, struct record *ret)
{
	int tries = 0;
	uint32_t seq;

	while (seq_begin(&t->seq, &seq, &tries)) {
		copy_record(t, bound, ret);
		ret->seq = seq;
		if (!seq_changed(&t->seq, seq))
			return true;
		tries++;
	}
	return false;
}

/* The off-CPU clocks have a sequence of their own: bpf/gil_cpu.bpf.h. */
static bool read_off(const struct gil_state *g, uint64_t bound, struct gil_record *ret)
{
	for (int tries = 0; tries < SEQ_TRIES; tries++) {
		uint32_t turn = __atomic_load_n(&g->cpu_turn, __ATOMIC_ACQUIRE);
		struct gil_cpu cpu = g->cpu[turn & 1];

		if (seq_changed(&g->cpu_turn, turn))
			continue;
		ret->cpu = cpu.bound >= bound ? cpu.snap : cpu.cur;
		ret->off = gil_off_at(&ret->cpu, bound);
		return true;
	}
	return false;
}

static bool copy_gil(const struct gil_state *g, uint64_t bound, struct gil_record *ret)
{
	int tries = 0;
	uint32_t seq;

	while (seq_begin(&g->seq, &seq, &tries)) {
		ret->state = *g;
		if (!seq_changed(&g->seq, seq)) {
			ret->at = ret->state.bound >= bound ? ret->state.snap : ret->state.cur;
			return read_off(g, bound, ret);
		}
		tries++;
	}
	return false;
}

bool gil_record__read(const struct gil_state *g, uint64_t bound, struct gil_record *ret)
{
	ret->torn = !copy_gil(g, bound, ret);
	return !ret->torn;
}
