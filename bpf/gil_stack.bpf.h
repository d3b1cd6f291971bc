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
 *   request   by the first waiter who asks    the holder's frames: how long it goes on from there is that stack's at its release
 *   ACQUIRED  after a wait over the threshold its own frames, which stand still: where it waited
 *   light     at a WAIT                       the holder's frames; the span that is charged to it is the waiter's own
 *
 * Frames leave once per stack and interval: userland empties `stack_sums` at its end. Everything here happens while
 * gil->mutex is held in the target, so a GIL's account has one writer at a time. A target that calls the sites without the
 * mutex spoils its own account; the scratch of its GIL is taken by an atomic flag, and who finds it taken counts a loss. With
 * cfg_stacks off the verifier drops all of it. The hooks, called by gil_core.bpf.h: gil_stack_begin(), _waiters(),
 * _waiting(), _acquired(), _released().
 *
 * Kernels before 6.13 allow 512 bytes of stack to a whole chain of functions, each rounded up to 32: what is large lies in
 * the scratch.
 */
#ifndef GILSCOPE_GIL_STACK_BPF_H
#define GILSCOPE_GIL_STACK_BPF_H

#include "gil_at.bpf.h"
#include "gil_loop.bpf.h"
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

#define STACK_TURNS (GIL_STACK_DEPTH + GIL_STACK_SKIPS)

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
	__uint(max_entries, 2 * 1024 * 1024);
} stack_events SEC(".maps");

/* Never per CPU: the programs can be preempted (gil.bpf.c). */
struct gil_stack_scratch {
	__u32 taken;            /* 1: a program is at it */
	__u32 brief;            /* 1: the walk takes no prints of code objects, which are two thirds of its price */
	__u32 pad;
	__u32 line;             /* of the code object that is being looked at */
	__u64 words[GIL_CODE_WORDS];
	struct gil_stack_job job;
	__u64 next;             /* the frame that the walk reads next; 0: the end */
	__u64 hash;             /* of those that it has read */
	struct gil_stack_sum sum; /* a new entry of stack_sums */
	struct gil_stack_key key; /* its key */
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

/* The scratch of the event's GIL, for this program alone until it is put back; NULL: another one is at it. */
GIL_INLINE struct gil_stack_scratch *gil_scratch_take(const struct gil_at *at)
{
	__u32 slot = at->gil_slot;
	struct gil_stack_scratch *scratch = bpf_map_lookup_elem(&stack_scratch, &slot);

	if (!scratch)
		return NULL;
	if (__sync_val_compare_and_swap(&scratch->taken, 0, 1)) {
		gil_lost(at->proc, GIL_LOSS_SCRATCH_TAKEN);
		return NULL;
	}
	return scratch;
}

GIL_INLINE void gil_scratch_put(struct gil_stack_scratch *scratch)
{
	__sync_val_compare_and_swap(&scratch->taken, 1, 0);
}

/* ---- walking ---- */

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
	if (top.frame && layout->code_bytes == GIL_NO_OFFSET) /* frames may be used again for other functions */
		bpf_probe_read_user(&top.code, sizeof(top.code), (void *)(top.frame + layout->code));
	return top;
}

/* Whether it still is where it was when it was looked at. */
GIL_INLINE bool gil_stack_still(const struct gil_proc *proc, const struct gil_top *top)
{
	struct gil_top now = gil_stack_top(&proc->frames, top->tstate);

	return top->frame && now.frame == top->frame && now.at == top->at && now.code == top->code;
}

/*
 * How a code object looks at this moment; 0: it can't be read. The barrier keeps clang from folding the two tests of `len`
 * into one on a copy, which the verifiers of 6.1 and 6.18 do not carry back to `len`.
 */
GIL_INLINE __u32 gil_stack_print(const struct gil_frame_layout *layout, __u64 code, struct gil_stack_scratch *out)
{
	__u32 len = layout->code_words_n * sizeof(out->words[0]);

	__builtin_memset(out->words, 0, sizeof(out->words));
	if (len > sizeof(out->words))
		return 0;
	barrier_var(len);
	if (len == 0 || bpf_probe_read_user(out->words, len, (void *)(code + layout->code_words)) ||
	    bpf_probe_read_user(&out->line, sizeof(out->line), (void *)(code + layout->code_line)))
		return 0;
	return gil_code_print(out->words[0], out->words[1], out->words[2], out->words[3], out->line);
}

/* Reads a frame. The depth is in a map: a counter on the stack is a constant to the verifier, which then walks every depth. */
GIL_LOOP_BODY(gil_stack_step, const struct gil_frame_layout, layout, struct gil_stack_scratch, out)
{
	__u8 *raw = out->raw;
	__u32 len = layout->frame_bytes;
	__u32 depth = out->event.depth;
	struct gil_frame *frame;
	__u64 code, at;

	if (!out->next || depth >= GIL_STACK_DEPTH || len > GIL_FRAME_BYTES)
		return 1;
	barrier_var(len); /* as in gil_stack_print() */
	if (len == 0 || bpf_probe_read_user(raw, len, (void *)out->next))
		return 1;
	out->next = *(__u64 *)(raw + (layout->previous & (GIL_FRAME_BYTES - 8)));
	if (layout->owner < GIL_FRAME_BYTES && raw[layout->owner] >= GIL_OWNER_INTERPRETER)
		return 0;
	code = *(__u64 *)(raw + (layout->code & (GIL_FRAME_BYTES - 8))) & ~7ull;
	at = *(__u64 *)(raw + (layout->at & (GIL_FRAME_BYTES - 8)));
	if (layout->code_bytes != GIL_NO_OFFSET)
		at -= code + layout->code_bytes;
	frame = &out->event.frames[depth & (GIL_STACK_DEPTH - 1)];
	frame->code = code;
	frame->at = (__u32)at;
	frame->print = out->brief ? 0 : gil_stack_print(layout, code, out);
	out->hash = gil_mix(gil_mix(out->hash, code), at); /* the same whether prints are taken or not */
	out->event.depth = depth + 1;
	return 0;
}

/* ---- giving ---- */

GIL_INLINE void gil_stack_add(struct gil_stack_sum *sum, const struct gil_stack_job *job)
{
	sum->hold_ns += job->hold_ns;
	sum->blame_ns += job->blame_ns;
	sum->wait_ns += job->wait_ns;
	sum->over_ns += job->over_ns;
	sum->times++;
}

/* Where the time of `job` goes, for a stack of that hash. */
GIL_INLINE void gil_stack_key(struct gil_stack_key *key, const struct gil_stack_job *job, __u64 hash)
{
	key->hash = hash;
	key->tstate = job->slot ? 0 : job->tstate;
	key->slot = job->slot;
	key->proc = job->proc_slot;
}

/* A sum that nobody has begun. Behind its frames, so that who finds the sum finds them as well. */
GIL_INLINE void gil_stack_add_new(struct gil_proc *proc, struct gil_stack_scratch *out)
{
	__builtin_memset(&out->sum, 0, sizeof(out->sum));
	gil_stack_add(&out->sum, &out->job);
	if (bpf_map_update_elem(&stack_sums, &out->key, &out->sum, BPF_NOEXIST))
		gil_lost(proc, GIL_LOSS_STACK_FULL);
}

/* The walk's outcome leaves: to its sum, and by the ring buffer if userland has not had it in this interval, or waits for it. */
GIL_INLINE void gil_stack_give(struct gil_proc *proc, struct gil_stack_scratch *out)
{
	struct gil_stack_event *event = &out->event;
	struct gil_stack_sum *sum;
	__u32 depth = event->depth;

	gil_stack_key(&out->key, &out->job, event->hash);
	sum = bpf_map_lookup_elem(&stack_sums, &out->key);
	if (depth > GIL_STACK_DEPTH)
		return;
	if ((!sum || out->job.what != GIL_STACK_SEEN) &&
	    bpf_ringbuf_output(&stack_events, event, sizeof(*event) - (GIL_STACK_DEPTH - depth) * sizeof(event->frames[0]), 0))
		gil_lost(proc, GIL_LOSS_STACK_DROPPED);
	if (sum)
		gil_stack_add(sum, &out->job);
	else
		gil_stack_add_new(proc, out);
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

/* Walks the frames of the thread state that the job names: into the event, and the job's `top`. */
GIL_INLINE void gil_stack_walk(const struct gil_proc *proc, struct gil_stack_scratch *out)
{
	out->event.depth = 0;
	out->hash = gil_mix(0, out->job.proc_slot);
	out->job.top = gil_stack_top(&proc->frames, out->job.tstate);
	out->next = out->job.top.frame;
	gil_loop(STACK_TURNS, STACK_TURNS, gil_stack_step, &proc->frames, out);
	gil_stack_describe(&out->event, &out->job, out->hash);
	out->event.more = out->next != 0;
}

/*
 * Walks the frames of the thread state that the job in the scratch of that GIL names, and gives them what the job says. Global,
 * so that it is verified once.
 */
__noinline int gil_stack_take(struct gil_proc *proc, __u32 gil_slot)
{
	struct gil_stack_scratch *out = bpf_map_lookup_elem(&stack_scratch, &gil_slot);

	if (!proc || !out)
		return 0;
	gil_stack_walk(proc, out);
	gil_stack_give(proc, out);
	out->job.hash = out->hash;
	return 0;
}

/* A long hold or wait is told by the hash of a stack that was walked before. */
GIL_INLINE void gil_stack_tell_last(struct gil_proc *proc, const struct gil_stack_job *job, __u64 hash)
{
	struct gil_stack_event *event = bpf_ringbuf_reserve(&stack_events, offsetof(struct gil_stack_event, frames), 0);

	if (!event) {
		gil_lost(proc, GIL_LOSS_STACK_DROPPED);
		return;
	}
	gil_stack_describe(event, job, hash);
	event->depth = 0;
	event->more = 0;
	bpf_ringbuf_submit(event, 0);
}

/* What was not walked for goes to the last stack that was. Emptied since: userland remembers its frames. */
GIL_INLINE void gil_stack_give_last(struct gil_proc *proc, struct gil_stack_scratch *out, __u64 hash)
{
	const struct gil_stack_job *job = &out->job;
	struct gil_stack_sum *sum;

	gil_stack_key(&out->key, job, hash);
	sum = bpf_map_lookup_elem(&stack_sums, &out->key);
	if (job->what != GIL_STACK_SEEN)
		gil_stack_tell_last(proc, job, hash);
	if (sum) {
		sum->hold_ns += job->hold_ns;
		sum->blame_ns += job->blame_ns;
		sum->over_ns += job->over_ns;
	} else {
		gil_stack_add_new(proc, out);
	}
}

#include "gil_native.bpf.h"
#include "gil_tick.bpf.h"

/* ---- the account of a hold ---- */

GIL_INLINE __u64 gil_stack_holder(const struct gil_at *at)
{
	__u64 tstate = 0;

	__u64 gil = at->proc->gil_addr[at->gil_index & (GIL_PER_PROC - 1)];

	if (bpf_probe_read_user(&tstate, sizeof(tstate), (void *)(gil + at->proc->off_last_holder)))
		gil_lost(at->proc, GIL_LOSS_READ_FAULT);
	return tstate;
}

GIL_INLINE void gil_stack_begin_job(struct gil_stack_job *job, const struct gil_at *at, __u32 slot, __u64 tstate)
{
	__builtin_memset(job, 0, sizeof(*job));
	job->what = GIL_STACK_SEEN;
	job->proc_slot = at->proc_slot;
	job->slot = slot == GIL_SLOT_SEED ? GIL_SLOT_NONE : slot;
	job->gil = at->gil_index;
	job->tstate = tstate;
	job->at = at->now;
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

/* What a waiter's coming by is worth. */
struct gil_look {
	__u32 slot;              /* the waiter's */
	__u32 what;              /* enum gil_stack_what */
	__u64 waited_ns;         /* since it began to wait */
	bool light;
	bool asks;               /* it is the first who asks for this hold */
};

/* Whether the holder's code is asked for now: a long hold or wait is told once, a shorter one is looked at now and then. */
GIL_INLINE bool gil_stack_is_due(const struct gil_at *at, struct gil_look *look, __u64 age, __u64 span_ns)
{
	struct gil_account *a = &at->gil->account;

	if (!look->light && cfg_long_hold_ns && age >= cfg_long_hold_ns && !a->told) {
		a->told = 1;
		look->what = GIL_STACK_HOLD_LASTS;
	} else if (cfg_long_wait_ns && look->waited_ns >= cfg_long_wait_ns && look->waited_ns - span_ns < cfg_long_wait_ns) {
		look->what = GIL_STACK_WAIT_LASTS;
	} else {
		look->what = GIL_STACK_SEEN;
		return age >= cfg_stack_ns && (look->asks || at->now - a->sampled_at >= GIL_STACK_PERIOD_NS);
	}
	return true;
}

/* Looks at the holder's code. False: the scratch was taken. */
GIL_INLINE bool gil_stack_look(const struct gil_at *at, const struct gil_look *look)
{
	struct gil_state *g = at->gil;
	struct gil_stack_scratch *out = gil_scratch_take(at);
	struct gil_stack_job *job;

	if (!out)
		return false;
	job = &out->job;
	gil_stack_begin_job(job, at, look->light ? GIL_SLOT_NONE : g->cur.owner_slot, gil_stack_holder(at));
	gil_stack_gather(&g->account, job, at->now);
	if (look->light)
		job->hold_ns = 0;
	job->waiters = g->cur.waiters;
	job->what = look->what;
	if (look->what == GIL_STACK_HOLD_LASTS) {
		job->since = g->cur.acquired_at;
	} else if (look->what == GIL_STACK_WAIT_LASTS) {
		job->since = at->now - look->waited_ns;
		job->other = look->slot;
	}
	gil_stack_take(at->proc, at->gil_slot);
	g->account.last_hash = job->hash;
	if (look->asks)
		g->account.asked_hash = job->hash;
	g->top = job->top;
	gil_scratch_put(out);
	return true;
}

/* A waiter has come by, for the first time or again (`waited_ns` since then); `span_ns` of it are charged just now. */
GIL_INLINE void gil_stack_waiting(const struct gil_at *at, __u32 slot, __u64 waited_ns, __u64 span_ns, bool asks)
{
	struct gil_state *g = at->gil;
	struct gil_look look = {.slot = slot, .waited_ns = waited_ns, .light = at->proc->mode == GIL_MODE_LIGHT, .asks = asks};
	__u64 age = look.light ? waited_ns : at->now - g->cur.acquired_at;

	if (!cfg_stacks || (!look.light && (g->cur.state != GIL_OWNER_HELD || at->now <= g->cur.acquired_at)))
		return;
	if (look.light)
		g->account.waited_ns += span_ns;
	if (!gil_stack_is_due(at, &look, age, span_ns))
		return;
	gil_stack_waiters(g, at->now);
	if (gil_stack_look(at, &look) && !look.light && age >= cfg_stack_ns)
		gil_native_beside(at->proc, at->gil_slot, at->proc_slot, at->now);
}

/* Has it, after a wait of that length. */
GIL_INLINE void gil_stack_acquired(const struct gil_at *at, __u32 slot, __u64 tstate, __u64 waited_ns)
{
	struct gil_stack_scratch *out;
	struct gil_stack_job *job;

	if (!cfg_stacks || !waited_ns || waited_ns < cfg_stack_ns)
		return;
	out = gil_scratch_take(at);
	if (!out)
		return;
	job = &out->job;
	gil_stack_begin_job(job, at, slot, tstate);
	job->wait_ns = waited_ns;
	job->waited_ns = waited_ns;
	job->since = at->now - waited_ns;
	if (cfg_long_wait_ns && waited_ns >= cfg_long_wait_ns)
		job->what = GIL_STACK_WAIT_ENDED;
	gil_stack_take(at->proc, at->gil_slot);
	gil_scratch_put(out);
}

/* Lets go of it, after `len` ns. Call when waiters have been counted (gil_stack_waiters()). */
GIL_INLINE void gil_stack_released(const struct gil_at *at, __u32 slot, __u64 len, bool forced)
{
	struct gil_account *a = &at->gil->account;
	struct gil_stack_scratch *out;
	struct gil_stack_job *job;

	if (!cfg_stacks || len < cfg_stack_ns || (!cfg_stack_ns && !a->waited_ns))
		return;
	out = gil_scratch_take(at);
	if (!out)
		return;
	job = &out->job;
	gil_stack_begin_job(job, at, slot, 0);
	gil_stack_gather(a, job, at->now);
	if (cfg_long_hold_ns && len >= cfg_long_hold_ns)
		job->what = GIL_STACK_HOLD_ENDED;
	job->since = at->now - len;
	if (a->last_hash && !forced && job->hold_ns < 2 * GIL_STACK_PERIOD_NS) {
		gil_stack_give_last(at->proc, out, a->last_hash);
	} else {
		job->tstate = gil_stack_holder(at);
		gil_stack_take(at->proc, at->gil_slot);
	}
	gil_scratch_put(out);
}

/* Has let go, `over_ns` after it was asked. */
GIL_INLINE void gil_stack_went_on(const struct gil_at *at, __u32 slot, __u64 over_ns)
{
	__u64 hash = at->gil->account.asked_hash;
	struct gil_stack_scratch *out = cfg_stacks && hash ? gil_scratch_take(at) : NULL;

	if (!out)
		return;
	gil_stack_begin_job(&out->job, at, slot, 0);
	out->job.over_ns = over_ns;
	gil_stack_give_last(at->proc, out, hash);
	gil_scratch_put(out);
}

#endif
