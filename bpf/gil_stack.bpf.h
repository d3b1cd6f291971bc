/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which code holds the GIL and which waits for it: Python stacks, with the time that is theirs.
 *
 * Each hold has an account: how long it has lasted, and how long others have waited for it in sum (their number times time).
 * At some moments the frames of a thread are walked and what the account has gathered since the last such moment goes to
 * that stack:
 *
 *   RELEASED  of a hold over the threshold    its own frames, which stand still. One that lets go of its own accord is no longer
 *                                             where it spent its time: if it was looked at just before, it is that stack's
 *   WAIT      while a hold lasts beyond that  the holder's frames: of a thread inside a C function they stand still, of one that
 *                                             runs Python they may be torn, which userland finds out (pystack.h)
 *   ACQUIRED  after a wait over the threshold its own frames, which stand still: where it waited
 *   light     at a WAIT                       the holder's frames; the span that is charged to it is the waiter's own
 *
 * Frames leave once per stack and interval: userland empties `stack_sums` at its end. Everything here happens while
 * gil->mutex is held in the target, so a GIL's account and scratch have one writer at a time. With cfg_stacks off the
 * verifier drops all of it. The hooks, called by gil_core.bpf.h: gil_stack_begin(), _waiters(), _waiting(), _acquired(),
 * _released().
 */
#ifndef GILSCOPE_GIL_STACK_BPF_H
#define GILSCOPE_GIL_STACK_BPF_H

#include "gil_at.bpf.h"
#include "gil_stack.h"

#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif

const volatile bool cfg_stacks;
const volatile __u64 cfg_stack_ns = 5000000;     /* holds and waits from here on are asked for their stack */
const volatile __u64 cfg_long_hold_ns = 100000000; /* and told one by one from here on; 0: never */
const volatile __u64 cfg_long_wait_ns = 100000000;

/* While a hold lasts its holder is looked at this often at most. A waiter comes by once per switch interval. */
#define GIL_STACK_PERIOD_NS 7500000ull

/* A stack of a thread -> the time that is its. Added by the programs, emptied by userland. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct gil_stack_key);
	__type(value, struct gil_stack_sum);
} stack_sums SEC(".maps");

/* Frames of stacks that are new to `stack_sums`, and long holds and waits. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} stack_events SEC(".maps");

struct gil_stack_scratch {
	struct gil_stack_event event;
	__u8 raw[GIL_FRAME_BYTES];
};

/* By GIL slot: where its events put a stack together. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GIL_PER_PROC);
	__type(key, __u32);
	__type(value, struct gil_stack_scratch);
} stack_scratch SEC(".maps");

/* ---- walking ---- */

struct gil_stack_walk {
	struct gil_stack_scratch *out;
	const struct gil_frame_layout *layout;
	__u64 next;       /* the frame to be read */
	__u64 hash;
};

/* Where the thread is in its innermost frame. */
GIL_INLINE struct gil_top gil_stack_top(const struct gil_frame_layout *layout, __u64 tstate)
{
	struct gil_top top = {.tstate = tstate};

	if (layout->frame_bytes)
		bpf_probe_read_user(&top.frame, sizeof(top.frame), (void *)(tstate + layout->tstate_frame));
	if (top.frame && layout->cframe_frame != GIL_NO_OFFSET &&
	    bpf_probe_read_user(&top.frame, sizeof(top.frame), (void *)(top.frame + layout->cframe_frame)))
		top.frame = 0;
	if (top.frame)
		bpf_probe_read_user(&top.at, layout->code_bytes == GIL_NO_OFFSET ? sizeof(__u32) : sizeof(top.at),
				    (void *)(top.frame + layout->at));
	return top;
}

/* Whether it still is where it was when it was looked at. */
GIL_INLINE bool gil_stack_still(const struct gil_proc *proc, const struct gil_top *top)
{
	struct gil_top now = gil_stack_top(&proc->frames, top->tstate);

	return top->frame && now.frame == top->frame && now.at == top->at;
}

/* How a code object looks at this moment; 0: it can't be read. */
GIL_INLINE __u32 gil_stack_print(const struct gil_frame_layout *layout, __u64 code)
{
	__u64 words[GIL_CODE_WORDS] = {};
	__u32 line = 0, len = layout->code_words_n * sizeof(words[0]);

	if (len > sizeof(words) || len == 0 || bpf_probe_read_user(words, len, (void *)(code + layout->code_words)) ||
	    bpf_probe_read_user(&line, sizeof(line), (void *)(code + layout->code_line)))
		return 0;
	return gil_code_print(words[0], words[1], words[2], words[3], line);
}

static long gil_stack_step(__u64 i, struct gil_stack_walk *w)
{
	const struct gil_frame_layout *layout = w->layout;
	__u8 *raw = w->out->raw;
	__u32 len = layout->frame_bytes;
	/* In a map: a counter on the stack is a constant to the verifier, which then walks every depth. */
	__u32 depth = w->out->event.depth;
	struct gil_frame *frame;
	__u64 code, at;

	if (!w->next || depth >= GIL_STACK_DEPTH || len > GIL_FRAME_BYTES || len == 0 ||
	    bpf_probe_read_user(raw, len, (void *)w->next))
		return 1;
	w->next = *(__u64 *)(raw + (layout->previous & (GIL_FRAME_BYTES - 8)));
	if (layout->owner < GIL_FRAME_BYTES && raw[layout->owner] >= GIL_OWNER_INTERPRETER)
		return 0;
	code = *(__u64 *)(raw + (layout->code & (GIL_FRAME_BYTES - 8))) & ~7ull;
	at = *(__u64 *)(raw + (layout->at & (GIL_FRAME_BYTES - 8)));
	if (layout->code_bytes != GIL_NO_OFFSET)
		at -= code + layout->code_bytes;
	frame = &w->out->event.frames[depth & (GIL_STACK_DEPTH - 1)];
	frame->code = code;
	frame->at = (__u32)at;
	frame->print = gil_stack_print(layout, code);
	w->hash = gil_mix(gil_mix(w->hash, code), at << 32 | frame->print);
	w->out->event.depth = depth + 1;
	return 0;
}

/* ---- giving ---- */

GIL_INLINE void gil_stack_add(struct gil_stack_sum *sum, const struct gil_stack_job *job)
{
	sum->hold_ns += job->hold_ns;
	sum->blame_ns += job->blame_ns;
	sum->wait_ns += job->wait_ns;
	sum->times++;
}

/* The walk's outcome leaves: to its sum, and by the ring buffer if userland has not had it in this interval, or waits for it. */
GIL_INLINE void gil_stack_give(struct gil_proc *proc, const struct gil_stack_job *job, struct gil_stack_event *event)
{
	struct gil_stack_key key = {
		.hash = event->hash, .tstate = job->slot ? 0 : job->tstate, .slot = job->slot, .proc = job->proc_slot,
	};
	struct gil_stack_sum *sum = bpf_map_lookup_elem(&stack_sums, &key), fresh = {};
	__u32 depth = event->depth;

	if (depth > GIL_STACK_DEPTH)
		return;
	if ((!sum || job->what != GIL_STACK_SEEN) &&
	    bpf_ringbuf_output(&stack_events, event, sizeof(*event) - (GIL_STACK_DEPTH - depth) * sizeof(event->frames[0]), 0))
		gil_lost(proc, GIL_LOSS_STACK_DROPPED);
	if (sum) {
		gil_stack_add(sum, job);
		return;
	}
	/* Behind its frames, so that who finds the sum finds them as well. */
	gil_stack_add(&fresh, job);
	if (bpf_map_update_elem(&stack_sums, &key, &fresh, BPF_NOEXIST))
		gil_lost(proc, GIL_LOSS_STACK_FULL);
}

GIL_INLINE void gil_stack_describe(struct gil_stack_event *event, const struct gil_stack_job *job, __u64 hash)
{
	event->what = job->what;
	event->proc = job->proc_slot;
	event->slot = job->slot;
	event->other = job->other;
	event->waiters = job->waiters;
	event->gil = job->gil;
	event->tstate = job->tstate;
	event->hash = hash;
	event->at = job->at;
	event->since = job->since;
	event->waited_ns = job->waited_ns;
}

/* Walks the frames of job->tstate and gives them what the job says. Global, so that it is verified once. */
__noinline int gil_stack_take(struct gil_proc *proc, struct gil_stack_job *job)
{
	struct gil_stack_walk walk = {};
	struct gil_stack_scratch *out;
	__u32 gil_slot;

	if (!proc || !job)
		return 0;
	gil_slot = job->gil_slot;
	out = bpf_map_lookup_elem(&stack_scratch, &gil_slot);
	if (!out)
		return 0;
	walk.out = out;
	out->event.depth = 0;
	walk.layout = &proc->frames;
	walk.hash = gil_mix(0, job->proc_slot);
	job->top = gil_stack_top(walk.layout, job->tstate);
	walk.next = job->top.frame;
	bpf_loop(GIL_STACK_DEPTH + GIL_STACK_SKIPS, gil_stack_step, &walk, 0);
	gil_stack_describe(&out->event, job, walk.hash);
	out->event.more = walk.next != 0;
	gil_stack_give(proc, job, &out->event);
	job->hash = walk.hash;
	return 0;
}

/* What was not walked for goes to the last stack that was. */
GIL_INLINE void gil_stack_give_last(struct gil_proc *proc, const struct gil_stack_job *job, __u64 hash)
{
	struct gil_stack_event *event;
	struct gil_stack_key key = {
		.hash = hash, .tstate = job->slot ? 0 : job->tstate, .slot = job->slot, .proc = job->proc_slot,
	};
	struct gil_stack_sum *sum = bpf_map_lookup_elem(&stack_sums, &key), fresh = {};

	if (job->what != GIL_STACK_SEEN) {
		event = bpf_ringbuf_reserve(&stack_events, offsetof(struct gil_stack_event, frames), 0);
		if (event) {
			gil_stack_describe(event, job, hash);
			event->depth = 0;
			event->more = 0;
			bpf_ringbuf_submit(event, 0);
		} else {
			gil_lost(proc, GIL_LOSS_STACK_DROPPED);
		}
	}
	if (sum) {
		sum->hold_ns += job->hold_ns;
		sum->blame_ns += job->blame_ns;
		return;
	}
	/* Emptied since: userland remembers its frames. */
	gil_stack_add(&fresh, job);
	if (bpf_map_update_elem(&stack_sums, &key, &fresh, BPF_NOEXIST))
		gil_lost(proc, GIL_LOSS_STACK_FULL);
}

#include "gil_native.bpf.h"

/* ---- the account of a hold ---- */

GIL_INLINE __u64 gil_stack_holder(const struct gil_at *at)
{
	__u64 tstate = 0;

	__u64 gil = at->proc->gil_addr[at->gil_index & (GIL_PER_PROC - 1)];

	if (bpf_probe_read_user(&tstate, sizeof(tstate), (void *)(gil + at->proc->off_last_holder)))
		gil_lost(at->proc, GIL_LOSS_READ_FAULT);
	return tstate;
}

GIL_INLINE struct gil_stack_job gil_stack_job(const struct gil_at *at, __u32 slot, __u64 tstate)
{
	return (struct gil_stack_job){
		.what = GIL_STACK_SEEN, .proc_slot = at->proc_slot, .slot = slot == GIL_SLOT_SEED ? GIL_SLOT_NONE : slot,
		.gil = at->gil_index, .gil_slot = at->proc->gil_slot[at->gil_index & (GIL_PER_PROC - 1)],
		.tstate = tstate, .at = at->now,
	};
}

/* What the account has gathered since it was last emptied. */
GIL_INLINE void gil_stack_gather(struct gil_account *a, struct gil_stack_job *job, __u64 now)
{
	job->hold_ns = now > a->sampled_at ? now - a->sampled_at : 0;
	job->blame_ns = a->waited_ns - a->sampled_waited_ns;
	job->waited_ns = a->waited_ns;
	a->sampled_at = now;
	a->sampled_waited_ns = a->waited_ns;
}

/* A hold begins. */
GIL_INLINE void gil_stack_begin(struct gil_state *g, __u64 since)
{
	if (cfg_stacks)
		g->account = (struct gil_account){.counted_at = since, .sampled_at = since};
}

/* Before the number of waiters changes, and before the sum is looked at. */
GIL_INLINE void gil_stack_waiters(struct gil_state *g, __u64 now)
{
	struct gil_account *a = &g->account;

	if (!cfg_stacks || now <= a->counted_at)
		return;
	if (g->cur.state == GIL_OWNER_HELD)
		a->waited_ns += g->cur.waiters * (now - a->counted_at);
	a->counted_at = now;
}

/* A waiter has come by, for the first time or again (`waited_ns` since then); `span_ns` of it are charged just now. */
GIL_INLINE void gil_stack_waiting(const struct gil_at *at, __u32 slot, __u64 waited_ns, __u64 span_ns)
{
	struct gil_state *g = at->gil;
	struct gil_account *a = &g->account;
	bool light = at->proc->mode == GIL_MODE_LIGHT;
	__u64 age = light ? waited_ns : at->now - g->cur.acquired_at;
	bool tell_hold, tell_wait;
	struct gil_stack_job job;

	if (!cfg_stacks || (!light && (g->cur.state != GIL_OWNER_HELD || at->now <= g->cur.acquired_at)))
		return;
	if (light)
		a->waited_ns += span_ns;
	tell_hold = !light && cfg_long_hold_ns && age >= cfg_long_hold_ns && !a->told;
	tell_wait = cfg_long_wait_ns && waited_ns >= cfg_long_wait_ns && waited_ns - span_ns < cfg_long_wait_ns;
	if (!tell_hold && !tell_wait && (age < cfg_stack_ns || at->now - a->sampled_at < GIL_STACK_PERIOD_NS))
		return;
	gil_stack_waiters(g, at->now);
	job = gil_stack_job(at, light ? GIL_SLOT_NONE : g->cur.owner_slot, gil_stack_holder(at));
	gil_stack_gather(a, &job, at->now);
	if (light)
		job.hold_ns = 0;
	job.waiters = g->cur.waiters;
	if (tell_hold) {
		a->told = 1;
		job.what = GIL_STACK_HOLD_LASTS;
		job.since = g->cur.acquired_at;
	} else if (tell_wait) {
		job.what = GIL_STACK_WAIT_LASTS;
		job.since = at->now - waited_ns;
		job.other = slot;
	}
	gil_stack_take(at->proc, &job);
	a->last_hash = job.hash;
	g->top = job.top;
	if (!light && age >= cfg_stack_ns)
		gil_native_beside(at->proc, job.gil_slot, job.proc_slot, at->now);
}

/* Has it, after a wait of that length. */
GIL_INLINE void gil_stack_acquired(const struct gil_at *at, __u32 slot, __u64 tstate, __u64 waited_ns)
{
	struct gil_stack_job job;

	if (!cfg_stacks || !waited_ns || waited_ns < cfg_stack_ns)
		return;
	job = gil_stack_job(at, slot, tstate);
	job.wait_ns = waited_ns;
	job.waited_ns = waited_ns;
	job.since = at->now - waited_ns;
	if (cfg_long_wait_ns && waited_ns >= cfg_long_wait_ns)
		job.what = GIL_STACK_WAIT_ENDED;
	gil_stack_take(at->proc, &job);
}

/* Lets go of it, after `len` ns. Call when waiters have been counted (gil_stack_waiters()). */
GIL_INLINE void gil_stack_released(const struct gil_at *at, __u32 slot, __u64 len, bool forced)
{
	struct gil_account *a = &at->gil->account;
	struct gil_stack_job job;

	if (!cfg_stacks || len < cfg_stack_ns || (!cfg_stack_ns && !a->waited_ns))
		return;
	job = gil_stack_job(at, slot, 0);
	gil_stack_gather(a, &job, at->now);
	if (cfg_long_hold_ns && len >= cfg_long_hold_ns)
		job.what = GIL_STACK_HOLD_ENDED;
	job.since = at->now - len;
	if (a->last_hash && !forced && job.hold_ns < 2 * GIL_STACK_PERIOD_NS) {
		gil_stack_give_last(at->proc, &job, a->last_hash);
		return;
	}
	job.tstate = gil_stack_holder(at);
	gil_stack_take(at->proc, &job);
}

#endif
