/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs: fetch the arguments of a probe hit, find out which GIL and which event it is, call gil_core.
 *
 * The sites are call instructions inside the interpreter's file, so PARM1 is the condition variable that the call is about
 * to signal or wait on; its address tells GIL and role. Nothing is written to the target. Read next: gil_core.bpf.h.
 */
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <linux/types.h>
#include <asm/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "gil_again.bpf.h"
#include "gil_core.bpf.h"
#include "gil_light.bpf.h"
#include "no_private_stack.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/*
 * The few fields of the kernel's that are needed; offsets are relocated at load. Pointers are read as data (BPF_CORE_READ): for
 * each that a program follows by itself, the verifier searches all of the kernel's types, 3 ms.
 */
struct signal_struct {
	struct {
		int counter;
	} live;
	unsigned int flags;
} __attribute__((preserve_access_index));

/* signal_struct.flags, include/linux/sched/signal.h: SIGNAL_GROUP_EXIT, and before 5.17 SIGNAL_GROUP_COREDUMP. */
#define GROUP_ENDS 0xc

struct mm_struct {
	unsigned long start_stack;
} __attribute__((preserve_access_index));

struct upid {
	int nr;
	struct pid_namespace *ns;
} __attribute__((preserve_access_index));

struct pid {
	unsigned int level;
	struct upid numbers[];
} __attribute__((preserve_access_index));

struct sched_info {
	unsigned long pcount;
	unsigned long long run_delay;
} __attribute__((preserve_access_index));

struct sched_entity {
	__u64 sum_exec_runtime;
} __attribute__((preserve_access_index));

struct task_struct {
	unsigned int __state;
	unsigned int flags;
	unsigned int ptrace;
	unsigned int frozen : 1;
	unsigned int in_execve : 1;
	int pid;
	int tgid;
	__u64 start_boottime;
	__u64 self_exec_id;
	struct mm_struct *mm;
	struct signal_struct *signal;
	struct pid *thread_pid;
	struct task_struct *parent;
	struct sched_info sched_info;
	struct sched_entity se;
	unsigned long nvcsw;
	struct task_struct *group_leader;
	char comm[GIL_WHY_NAME];
} __attribute__((preserve_access_index));

/* The kernel's record of a thread's registers, of which asm/ptrace.h has what debuggers see. */
struct pt_regs___kernel {
	unsigned long orig_ax; /* x86 */
	int syscallno;         /* arm64 */
} __attribute__((preserve_access_index));

/* ---- who is it, as the collector counts ---- */

/* The collector's PID namespace: how deep it lies and its address. Level 0 is the machine's own, where nothing is translated. */
__u32 pidns_level;
__u64 pidns_here;

/* A task's id in the collector's namespace; 0: it has none there. */
GIL_INLINE __u32 id_here(struct pid *pid)
{
	__u32 level = pidns_level;
	__u64 at = (__u64)&pid->numbers + (__u64)level * bpf_core_type_size(struct upid), ns = 0;
	__u32 nr = 0;

	if (BPF_CORE_READ(pid, level) < level ||
	    bpf_probe_read_kernel(&ns, sizeof(ns), (void *)(at + bpf_core_field_offset(struct upid, ns))) ||
	    ns != pidns_here ||
	    bpf_probe_read_kernel(&nr, sizeof(nr), (void *)(at + bpf_core_field_offset(struct upid, nr))))
		return 0;
	return nr;
}

/* Process id << 32 | thread id, as bpf_get_current_pid_tgid() gives the machine's. */
GIL_INLINE __u64 ids_of(struct task_struct *task)
{
	if (!pidns_level)
		return (__u64)task->tgid << 32 | (__u32)task->pid;
	return (__u64)id_here(BPF_CORE_READ(task, group_leader, thread_pid)) << 32 | id_here(BPF_CORE_READ(task, thread_pid));
}

/* A task's id as its own PID namespace counts. */
GIL_INLINE __u32 id_inside(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level), nr = 0;

	bpf_probe_read_kernel(&nr, sizeof(nr),
			      (void *)((__u64)&pid->numbers + (__u64)level * bpf_core_type_size(struct upid) +
				       bpf_core_field_offset(struct upid, nr)));
	return nr;
}

GIL_INLINE __u32 tgid_of(struct task_struct *task)
{
	return ids_of(task) >> 32;
}

/*
 * Run once by the collector itself: where is it? The pointer is read as a number: Linux 6.1 allows no arithmetic with a level
 * that it does not know on a pointer that it does.
 */
SEC("syscall")
int gil_where(void *ctx)
{
	struct pid *pid = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

	bpf_probe_read_kernel(&pidns_here, sizeof(pidns_here),
			      (void *)((__u64)&pid->numbers + (__u64)level * bpf_core_type_size(struct upid) +
				       bpf_core_field_offset(struct upid, ns)));
	pidns_level = level;
	return 0;
}

/* ---- where are we ---- */

/* ---- followed processes that have no slot yet ---- */

#define INTERPRETERS_AHEAD 16 /* new interpreters stand in front of the main one: so many are passed */

/*
 * Where the GIL of a process is that nothing is known of but where its _PyRuntime must be. Nothing is believed that is read
 * there: the caller has seen an event of that very GIL, or it is not the one. 0: there is none.
 */
GIL_INLINE __u64 main_gil_at(const struct gil_family *family, __u64 runtime, __u64 *ret_interp)
{
	__u64 interp = 0, next = 0, id = 0, gil = 0;

	*ret_interp = 0;
	if (family->runtime_gil)
		return runtime + family->runtime_gil;
	if (bpf_probe_read_user(&interp, sizeof(interp), (void *)(runtime + family->runtime_interpreters)))
		return 0;
	for (int i = 0; i < INTERPRETERS_AHEAD; i++) {
		if (!interp || bpf_probe_read_user(&next, sizeof(next), (void *)(interp + family->interp_next)))
			return 0;
		if (!next)
			break;
		interp = next;
	}
	if (next || bpf_probe_read_user(&id, sizeof(id), (void *)(interp + family->proc.off_interp_id)) || id ||
	    bpf_probe_read_user(&gil, sizeof(gil), (void *)(interp + family->proc.off_interp_gil)))
		return 0;
	*ret_interp = interp;
	return gil;
}

/* Whether a call with that argument at a site of that kind is about this GIL. */
GIL_INLINE bool is_of_gil(const struct gil_proc *proc, __u32 kind, __u64 cond, __u64 gil)
{
	bool own = cond == gil + proc->off_cond, switched = cond == gil + proc->off_switch_cond;

	return kind == GIL_SITE_SIGNAL ? own || switched : kind == GIL_SITE_WAIT ? own :
	       kind == GIL_SITE_HANDOFF && switched;
}

struct gil_newcomer {
	struct gil_family *family;
	struct gil_kin *kin;
	__u64 runtime, gil, interp;
	__u64 began;   /* as `kin` has it, which goes when there is a slot */
	__u64 now;
	__u32 tgid, number, relative;
};

/* What any process of the family is, in a slot that nobody knows yet. If the probes were there first, nothing was missed. */
GIL_INLINE void fill_newcomer(struct gil_proc *proc, const struct gil_newcomer *who, __u32 slot)
{
	bool seen = who->began >= who->family->open_since && !who->kin->turned_away;

	bpf_probe_read_kernel(proc, sizeof(*proc), &who->family->proc);
	proc->tgid = who->tgid;
	proc->arm_gen = 1;
	proc->armed_at = seen ? who->began : who->now;
	proc->gil_addr[0] = who->gil;
	proc->gil_owner[0].interp = who->interp;
	proc->gil_slot[0] = slot;
	proc->relative = who->relative;
	proc->runtime = who->runtime;
	if (proc->drop_kind == GIL_DROP_ADDRESS)
		proc->drop_where += who->runtime;
	proc->armed = 1;
}

GIL_INLINE void describe_birth(struct gil_event *event, const struct gil_newcomer *who, __u32 slot)
{
	struct task_struct *task = bpf_get_current_task_btf();

	*event = (struct gil_event){
		.kind = GIL_EVENT_BORN, .tgid = who->tgid, .child = who->relative, .family = who->number,
		.proc = slot, .child_proc = GIL_PROC_NONE, .at = who->now, .began = who->began,
		.start_boot_ns = BPF_CORE_READ(task, group_leader, start_boottime),
		.start_stack = BPF_CORE_READ(task, mm, start_stack),
	};
	bpf_get_current_comm(event->comm, sizeof(event->comm));
}

/* Gives it a slot, unless another of its threads or userland is quicker, and tells. The slot, or GIL_PROC_NONE. */
GIL_INLINE __u32 admit(struct gil_newcomer *who)
{
	struct gil_event *event;
	struct gil_proc *proc;
	__u32 slot = GIL_PROC_NONE, tgid = who->tgid, *others;

	if (bpf_map_pop_elem(&free_procs, &slot))
		return GIL_PROC_NONE;
	proc = bpf_map_lookup_elem(&procs, &slot);
	/* One test of `event`: the verifier of 6.1 takes it for open again where a second one knows it to be. */
	event = proc ? bpf_ringbuf_reserve(&events, sizeof(*event), 0) : NULL;
	if (!event) {
		bpf_map_push_elem(&free_procs, &slot, BPF_ANY);
		return GIL_PROC_NONE;
	}
	fill_newcomer(proc, who, slot);
	if (bpf_map_update_elem(&tgids, &tgid, &slot, BPF_NOEXIST)) {
		proc->armed = 0;
		bpf_ringbuf_discard(event, 0);
		bpf_map_push_elem(&free_procs, &slot, BPF_ANY);
		others = bpf_map_lookup_elem(&tgids, &tgid);
		return others ? *others : GIL_PROC_NONE;
	}
	bpf_map_delete_elem(&kin, &tgid);
	describe_birth(event, who, slot);
	bpf_ringbuf_submit(event, 0);
	return slot;
}

/*
 * A hit of a process without a slot at a probe that a family shares. Nearly always a stranger's, who runs the same file. Of a
 * descendant of the family it is the first event of its GIL, if it comes from where that must be.
 */
static __noinline __u32 slot_for_newcomer(struct pt_regs *ctx, __u64 cookie, __u32 tgid)
{
	struct gil_newcomer who = {
		.kin = bpf_map_lookup_elem(&kin, &tgid), .tgid = tgid, .now = bpf_ktime_get_ns(),
		.number = GIL_COOKIE_SLOT(cookie) - GIL_PROC_SHARED,
		.runtime = PT_REGS_IP(ctx) - (__s64)GIL_COOKIE_WAY(cookie),
	};
	__u32 slot, number = who.number;

	if (!who.kin || !who.kin->began || !GIL_COOKIE_WAY(cookie))
		return GIL_PROC_NONE;
	who.began = who.kin->began;
	who.relative = who.kin->relative;
	who.family = bpf_map_lookup_elem(&families, &number);
	if (!who.family)
		return GIL_PROC_NONE;
	who.gil = main_gil_at(who.family, who.runtime, &who.interp);
	if (!who.gil || !is_of_gil(&who.family->proc, GIL_COOKIE_KIND(cookie), PT_REGS_PARM1(ctx), who.gil))
		return GIL_PROC_NONE;
	slot = who.family->open_since ? admit(&who) : GIL_PROC_NONE;
	if (slot == GIL_PROC_NONE)
		who.kin->turned_away = who.now;
	return slot;
}

/* The slot that a cookie names: its own, or for probes that a family shares that of the process which hit. */
GIL_INLINE __u32 slot_of_cookie(void *ctx, __u64 cookie, __u32 tgid)
{
	__u32 slot = GIL_COOKIE_SLOT(cookie), *found;

	if (slot < GIL_PROC_SHARED)
		return slot;
	found = bpf_map_lookup_elem(&tgids, &tgid);
	return found ? *found : slot_for_newcomer(ctx, cookie, tgid);
}

/* A file may be loaded twice into one process (dlmopen), each with a _PyRuntime of its own: both meet its probes. */
GIL_INLINE bool is_of_another_runtime(struct pt_regs *ctx, __u64 cookie, const struct gil_proc *proc)
{
	__s64 way = GIL_COOKIE_WAY(cookie);

	return way && proc->runtime && PT_REGS_IP(ctx) - way != proc->runtime;
}

/* The armed process that this hit belongs to, or NULL. A forked child may run on inherited breakpoints. */
GIL_INLINE struct gil_proc *proc_of_hit(void *ctx, __u32 *ret_kind, struct gil_at *at)
{
	__u64 cookie = bpf_get_attach_cookie(ctx), id = ids_of(bpf_get_current_task_btf());
	__u32 slot = slot_of_cookie(ctx, cookie, id >> 32);
	struct gil_proc *proc = bpf_map_lookup_elem(&procs, &slot);

	*ret_kind = GIL_COOKIE_KIND(cookie);
	if (!proc || !proc->armed || proc->tgid != id >> 32 || *(volatile __u32 *)&gil_being_lifted)
		return NULL;
	proc->hits[*ret_kind & 7]++;
	if (is_of_another_runtime(ctx, cookie, proc))
		return NULL;
	at->proc = proc;
	at->proc_slot = slot;
	at->tid = (__u32)id;
	return proc;
}

GIL_INLINE bool enter_gil(struct gil_at *at, __u32 index)
{
	__u32 slot = at->proc->gil_slot[index & (GIL_PER_PROC - 1)];

	at->gil_index = index;
	at->gil_slot = slot;
	at->gil = bpf_map_lookup_elem(&gils, &slot);
	return at->gil != NULL;
}

GIL_INLINE __u32 slot_of_current(const struct gil_at *at)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct gil_task *mine = bpf_task_storage_get(&tasks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	return gil_slot_find(at, mine, task->start_boottime);
}

GIL_INLINE __u32 slot_of_acquirer(const struct gil_at *at)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct gil_task *mine = bpf_task_storage_get(&tasks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	gil_task_takes(mine, at->gil_slot, at->tid);
	return gil_slot_find(at, mine, task->start_boottime);
}

GIL_INLINE __u64 read_u64(struct gil_proc *proc, __u64 addr)
{
	__u64 value = 0;

	if (bpf_probe_read_user(&value, sizeof(value), (void *)addr))
		gil_lost(proc, GIL_LOSS_READ_FAULT);
	return value;
}

GIL_INLINE __u32 read_u32(struct gil_proc *proc, __u64 addr)
{
	__u32 value = 0;

	if (bpf_probe_read_user(&value, sizeof(value), (void *)addr))
		gil_lost(proc, GIL_LOSS_READ_FAULT);
	return value;
}

/*
 * Whether the GIL in this place is the one that was learned: the memory of an interpreter that ended goes to the next one,
 * with another id. The main interpreter is there for good.
 */
GIL_INLINE bool is_same_gil(struct gil_proc *proc, const struct gil_owner *owner)
{
	__u64 id = owner->id;

	if (!owner->id || !owner->interp)
		return true;
	if (bpf_probe_read_user(&id, sizeof(id), (void *)(owner->interp + proc->off_interp_id)))
		gil_lost(proc, GIL_LOSS_READ_FAULT);
	return id == owner->id;
}

/* Index of a known GIL, or -1. Global, so that the verifier walks the loop once and not for each call. */
__noinline int gil_known(struct gil_proc *proc, __u64 addr)
{
	if (!proc || addr <= GIL_PLACE_LAST)
		return -1;
	for (int i = 0; i < GIL_PER_PROC; i++) {
		if (proc->gil_addr[i] == GIL_PLACE_NEVER)
			return -1;
		if (proc->gil_addr[i] != addr)
			continue;
		if (is_same_gil(proc, &proc->gil_owner[i]))
			return i;
		__sync_val_compare_and_swap(&proc->gil_addr[i], addr, GIL_PLACE_ENDED);
	}
	return -1;
}

/* A slot in the table of GILs for this place: the first one has its own. */
GIL_INLINE bool take_gil_slot(struct gil_proc *proc, int place)
{
	__u32 slot = 0;

	if (place == 0)
		return true;
	if (bpf_map_pop_elem(&free_gils, &slot))
		return false;
	proc->gil_slot[place & (GIL_PER_PROC - 1)] = slot;
	return true;
}

/*
 * Gives a GIL a place. The events of one GIL come one after the other, since its mutex is held, so nobody learns it
 * twice.
 */
GIL_INLINE int place_gil(struct gil_proc *proc, __u64 addr, __u64 interp, __u64 id)
{
	for (int i = 0; i < GIL_PER_PROC; i++) {
		__u64 was = proc->gil_addr[i];

		if (was > GIL_PLACE_FREE ||
		    __sync_val_compare_and_swap(&proc->gil_addr[i], was, GIL_PLACE_TAKEN) != was)
			continue;
		if (!take_gil_slot(proc, i)) {
			__sync_val_compare_and_swap(&proc->gil_addr[i], GIL_PLACE_TAKEN, GIL_PLACE_FREE);
			break;
		}
		proc->gil_owner[i].interp = interp;
		proc->gil_owner[i].id = id;
		proc->gil_owner[i].since = bpf_ktime_get_ns();
		__sync_val_compare_and_swap(&proc->gil_addr[i], GIL_PLACE_TAKEN, addr);
		return i;
	}
	gil_lost(proc, GIL_LOSS_NO_GIL_SLOT);
	return -1;
}

/*
 * A GIL made since attaching (a sub-interpreter's, 3.12+). Accepted only if it is proven: its last holder is a thread
 * state whose interpreter points back at it.
 */
static __noinline int learn_gil(struct gil_proc *proc, __u64 addr, __u32 locked)
{
	__u64 tstate = 0, interp = 0, back = 0, id = 0;
	__u32 now_locked = 0;

	if (!proc || !proc->off_interp_gil || !addr)
		return -1;
	/* Guesses at what an address might be may well be unmapped: no loss is counted here. */
	if (bpf_probe_read_user(&now_locked, sizeof(now_locked), (void *)(addr + proc->off_locked)) ||
	    now_locked != locked ||
	    bpf_probe_read_user(&tstate, sizeof(tstate), (void *)(addr + proc->off_last_holder)) ||
	    bpf_probe_read_user(&interp, sizeof(interp), (void *)(tstate + proc->off_tstate_interp)) ||
	    bpf_probe_read_user(&back, sizeof(back), (void *)(interp + proc->off_interp_gil)) ||
	    back != addr ||
	    bpf_probe_read_user(&id, sizeof(id), (void *)(interp + proc->off_interp_id)))
		return -1;
	return place_gil(proc, addr, interp, id);
}

/* How long a thread has waited for a CPU in its life: right while it has one. */
GIL_INLINE __u64 delay_of(struct task_struct *task)
{
	return bpf_core_field_exists(task->sched_info.run_delay) ? BPF_CORE_READ(task, sched_info.run_delay) : GIL_DELAY_UNKNOWN;
}

/* As the kernel has it of a thread that has a CPU. */
GIL_INLINE void fill_account(struct gil_kernel_account *account, struct task_struct *task)
{
	if (!cfg_off_cpu)
		return;
	account->arrivals = GIL_DELAY_UNKNOWN;
	if (!bpf_core_field_exists(task->sched_info.pcount) || !bpf_core_field_exists(task->sched_info.run_delay))
		return;
	account->sleeps = task->nvcsw;
	account->delay_ns = task->sched_info.run_delay;
	account->ran_ns = task->se.sum_exec_runtime;
	account->arrivals = task->sched_info.pcount;
}

/* ---- the events ---- */

GIL_INLINE void acquired(struct gil_at *at)
{
	__u64 last = at->gil->last_owner;
	__u32 slot = last >> 32;

	fill_account(&at->gil->taken, bpf_get_current_task_btf());
	if ((__u32)last == at->tid && !at->gil->cur.waiters && !at->gil->handoff_slot && !at->gil->gc_away &&
	    at->gil->arm_gen == at->proc->arm_gen) {
		gil_on_acquire(at, slot, true, 0);
		return;
	}
	gil_on_acquire(at, slot_of_acquirer(at), false,
		       read_u64(at->proc, at->proc->gil_addr[at->gil_index & (GIL_PER_PROC - 1)] +
						  at->proc->off_last_holder));
}

/* Whether a waiter has asked the holder to let go. */
GIL_INLINE bool drop_requested(struct gil_at *at)
{
	struct gil_proc *proc = at->proc;
	__u64 gil = proc->gil_addr[at->gil_index & (GIL_PER_PROC - 1)];
	__u64 tstate, interp;

	if (proc->drop_kind == GIL_DROP_ADDRESS)
		return read_u32(proc, proc->drop_where) != 0;
	tstate = read_u64(proc, gil + proc->off_last_holder);
	if (proc->drop_kind == GIL_DROP_TSTATE)
		return read_u64(proc, tstate + proc->drop_where) & 1;
	interp = read_u64(proc, tstate + proc->off_tstate_interp);
	return read_u32(proc, interp + proc->drop_where) != 0;
}

GIL_INLINE void released(struct gil_at *at)
{
	const struct gil_view *cur = &at->gil->cur;
	bool known = cur->state == GIL_OWNER_HELD && cur->owner_tid == at->tid &&
		     at->gil->arm_gen == at->proc->arm_gen;
	bool forced = cur->waiters && at->proc->drop_kind != GIL_DROP_NONE && drop_requested(at);

	gil_cpu_releasing(at->gil, at->tid);
	fill_account(&at->gil->now, bpf_get_current_task_btf());
	if (cfg_off_cpu && gil_cpu_now(at->gil)->cur.state != GIL_CPU_ON)
		at->delay_ns = delay_of(bpf_get_current_task_btf());
	gil_on_release(at, known ? cur->owner_slot : slot_of_current(at), forced);
}

/* Whether this thread is the last that the GIL says to have had it, as far as its record knows. */
GIL_INLINE bool is_last_holder(struct gil_at *at, __u64 gil)
{
	struct gil_thread *t = gil_thread_at(slot_of_current(at));

	return t && t->tstate && t->tstate == read_u64(at->proc, gil + at->proc->off_last_holder);
}

/*
 * A waiter of glibc's that times out while its wake-up is under way passes the signal on (nptl/pthread_cond_wait.c,
 * __condvar_cancel_waiting), without gil->mutex: that is no release, and the GIL's record is not its to write. A release finds
 * the GIL unlocked, and its thread the last holder, which a waiter never is: where our record says otherwise, an event was
 * missed, which gil_on_release() counts.
 */
GIL_INLINE bool is_passed_on(struct gil_at *at)
{
	const struct gil_view *cur = &at->gil->cur;
	__u64 gil = at->proc->gil_addr[at->gil_index & (GIL_PER_PROC - 1)];

	if (!at->proc->in_library)
		return false;
	if (at->gil->arm_gen == at->proc->arm_gen && cur->state != GIL_OWNER_UNKNOWN && cur->owner_slot != GIL_SLOT_SEED) {
		if (cur->state == GIL_OWNER_HELD && cur->owner_tid == at->tid)
			return false;
		return !is_last_holder(at, gil);
	}
	/* Nobody has been seen to acquire yet. */
	return read_u32(at->proc, gil + at->proc->off_locked) != 0;
}

SEC("uprobe")
int gil_signal(struct pt_regs *ctx)
{
	__u64 cond = PT_REGS_PARM1(ctx);
	struct gil_at at = {.now = bpf_ktime_get_ns()};
	struct gil_proc *proc;
	__u64 as_acquire, as_release;
	bool acquire = true;
	int index;
	__u32 kind;

	no_private_stack(ctx);
	proc = proc_of_hit(ctx, &kind, &at);
	if (!proc)
		return 0;
	as_acquire = cond - proc->off_switch_cond;
	as_release = cond - proc->off_cond;
	/* The main GIL first: nearly always it is that one. */
	if (as_acquire == proc->gil_addr[0]) {
		index = 0;
	} else if (as_release == proc->gil_addr[0]) {
		index = 0;
		acquire = false;
	} else {
		index = gil_known(proc, as_acquire);
		if (index < 0) {
			index = gil_known(proc, as_release);
			acquire = index < 0;
		}
		if (index < 0)
			index = learn_gil(proc, as_acquire, 1);
		if (index < 0) {
			index = learn_gil(proc, as_release, 0);
			acquire = false;
		}
		if (index < 0)
			return 0;
	}
	if (!enter_gil(&at, index))
		return 0;
	if (acquire)
		acquired(&at);
	else if (!is_passed_on(&at))
		released(&at);
	return 0;
}

/* Light: the GIL's own count of changes of holder; else 0. Global, so that it is verified once. */
__noinline int gil_switches(struct gil_proc *proc, __u64 gil)
{
	return proc && proc->mode == GIL_MODE_LIGHT ? (int)read_u32(proc, gil + proc->off_switches) : 0;
}

GIL_INLINE void handed_off(struct gil_at *at, __u64 gil)
{
	bool count_forced = at->proc->mode == GIL_MODE_LIGHT || at->proc->drop_kind == GIL_DROP_NONE;

	gil_on_handoff(at, slot_of_current(at), count_forced,
		       read_u64(at->proc, gil + at->proc->off_last_holder), (__u32)gil_switches(at->proc, gil));
}

SEC("uprobe")
int gil_contended(struct pt_regs *ctx)
{
	__u64 gil = PT_REGS_PARM1(ctx), holder = 0;
	struct gil_at at = {.now = bpf_ktime_get_ns()};
	struct gil_proc *proc;
	__u32 kind;
	int index;

	no_private_stack(ctx);
	proc = proc_of_hit(ctx, &kind, &at);
	if (!proc)
		return 0;
	gil -= kind == GIL_SITE_HANDOFF ? proc->off_switch_cond : proc->off_cond;
	index = gil_known(proc, gil);
	if (index < 0 && kind == GIL_SITE_WAIT)
		index = learn_gil(proc, gil, 1);
	if (index < 0 || !enter_gil(&at, index))
		return 0;
	if (kind == GIL_SITE_HANDOFF) {
		handed_off(&at, gil);
		return 0;
	}
	if (proc->mode == GIL_MODE_LIGHT)
		holder = read_u64(proc, gil + proc->off_last_holder);
	at.gil->switches = (__u32)gil_switches(proc, gil);
	gil_on_wait(&at, slot_of_current(&at), holder);
	return 0;
}

/* Light: behind the timedwait. The waiter knows which GIL it waits for. */
SEC("uprobe")
int gil_wake(struct pt_regs *ctx)
{
	struct gil_at at = {};
	struct gil_task *mine;
	struct gil_proc *proc;
	struct gil_thread *t;
	__u32 kind;

	no_private_stack(ctx);
	proc = proc_of_hit(ctx, &kind, &at);
	if (!proc)
		return 0;
	mine = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL, 0);
	if (!mine)
		return 0;
	for (__u32 i = 0; i < GIL_PER_PROC; i++) {
		__u32 slot = mine->slot[i];

		t = slot ? gil_thread_at(slot) : NULL;
		if (!t || !t->cur.wait_since || t->arm_gen != proc->arm_gen || t->tid != at.tid ||
		    t->proc != at.proc_slot || t->gil != i || t->state != GIL_THREAD_LIVE)
			continue;
		if (!enter_gil(&at, i))
			return 0;
		if (read_u32(proc, proc->gil_addr[i] + proc->off_locked))
			return 0;
		/* It takes the GIL when this probe has returned: as late a time as can be had. */
		at.now = bpf_ktime_get_ns();
		gil_on_wake(&at, slot);
		return 0;
	}
	return 0;
}

/*
 * Index of the GIL that a thread of the process has, by its events. Who has had it since before the probes were armed has had
 * none: where there is but one GIL, it is that one; else -1. Global, as gil_known().
 */
__noinline int gil_of_thread(struct gil_proc *proc, __u32 tid)
{
	struct gil_state *g;
	__u32 slot;

	if (!proc)
		return -1;
	for (int i = 0; i < GIL_PER_PROC; i++) {
		if (proc->gil_addr[i] == GIL_PLACE_NEVER)
			break;
		slot = proc->gil_slot[i];
		g = bpf_map_lookup_elem(&gils, &slot);
		if (g && g->arm_gen == proc->arm_gen && g->cur.state == GIL_OWNER_HELD && g->cur.owner_tid == tid)
			return i;
	}
	return proc->gil_addr[1] == GIL_PLACE_NEVER ? 0 : -1;
}

/* Both ends of a garbage collection. */
SEC("uprobe")
int gil_collect(struct pt_regs *ctx)
{
	struct gil_at at = {.now = bpf_ktime_get_ns()};
	__u32 kind;
	int index;

	no_private_stack(ctx);
	if (!proc_of_hit(ctx, &kind, &at))
		return 0;
	index = gil_of_thread(at.proc, at.tid);
	if (index < 0 || !enter_gil(&at, index))
		return 0;
	if (gil_may_collect(&at))
		gil_on_gc(&at, at.gil->cur.owner_tid == at.tid ? at.gil->cur.owner_slot : slot_of_current(&at),
			  kind == GIL_SITE_GC_START);
	return 0;
}

/* For make bench: what the traps alone cost. */
SEC("uprobe")
int gil_empty(struct pt_regs *ctx)
{
	no_private_stack(ctx);
	return 0;
}

/* ---- check on a child of our own, before the first target ---- */

__u64 check_hits[3];      /* by cookie */
__u32 check_tgid;         /* hits of other processes are counted in [2] */

SEC("uprobe")
int gil_check(struct pt_regs *ctx)
{
	__u64 which = bpf_get_attach_cookie(ctx);

	no_private_stack(ctx);
	if (ids_of(bpf_get_current_task_btf()) >> 32 != check_tgid)
		which = 2;
	if (which < 3)
		__sync_fetch_and_add(&check_hits[which], 1);
	return 0;
}

/* ---- threads and processes come and go ---- */

GIL_INLINE void tell(const struct gil_event *what)
{
	struct gil_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	struct gil_proc *proc;

	if (!event) {
		proc = bpf_map_lookup_elem(&procs, &what->proc);
		if (proc)
			gil_lost(proc, GIL_LOSS_EVENT_DROPPED);
		return;
	}
	*event = *what;
	event->at = bpf_ktime_get_ns();
	bpf_ringbuf_submit(event, 0);
}

GIL_INLINE struct gil_state *gil_of(const struct gil_thread *t)
{
	__u32 proc_slot = t->proc, slot;
	struct gil_proc *proc = bpf_map_lookup_elem(&procs, &proc_slot);

	if (!proc)
		return NULL;
	slot = proc->gil_slot[t->gil & (GIL_PER_PROC - 1)];
	return bpf_map_lookup_elem(&gils, &slot);
}

struct gil_closing {
	__u64 now;
	__u32 tid;
	__u32 of;     /* at an exec: whatever thread of this process slot it is, it was the old program's */
	bool alone;   /* the process goes on without the thread */
};

/* In a plain loop it would be verified for each GIL that a thread may know: 1.5 s of a start. */
GIL_LOOP_BODY(close_record, struct gil_task, mine, const struct gil_closing, closing)
{
	__u32 *slot = &mine->slot[turn & (GIL_PER_PROC - 1)];
	struct gil_thread *t = *slot ? gil_thread_at(*slot) : NULL;

	if (turn >= GIL_PER_PROC)
		return 1;
	if (t && (t->tid == closing->tid || t->proc == closing->of) && t->state == GIL_THREAD_LIVE)
		gil_on_thread_exit(gil_of(t), t, *slot, closing->now, closing->alone);
	*slot = GIL_SLOT_NONE;
	return 0;
}

GIL_INLINE void close_records(struct task_struct *task, __u32 of, bool alone)
{
	struct gil_task *mine = bpf_task_storage_get(&tasks, task, NULL, 0);
	struct gil_closing closing = {.now = bpf_ktime_get_ns(), .tid = (__u32)ids_of(task), .of = of, .alone = alone};

	if (!mine)
		return;
	gil_loop(GIL_PER_PROC, GIL_PER_PROC, close_record, mine, &closing);
	mine->gil = 0;
}

/* The last thread of a process that is followed: nothing of its slot changes any more, and its PID may be another's soon. */
GIL_INLINE void process_ended(__u32 tgid, __u32 slot)
{
	struct gil_proc *proc = bpf_map_lookup_elem(&procs, &slot);

	/* Two threads may both find that they are the last. */
	if (bpf_map_delete_elem(&tgids, &tgid) || !proc)
		return;
	proc->armed = 0;
	tell(&(struct gil_event){.kind = GIL_EVENT_EXIT, .tgid = tgid, .proc = slot});
}

GIL_INLINE void exited(struct task_struct *task)
{
	bool last = !BPF_CORE_READ(task, signal, live.counter);
	__u32 tgid = tgid_of(task), *slot;

	close_records(task, GIL_PROC_NONE, !last && !(BPF_CORE_READ(task, signal, flags) & GROUP_ENDS));
	if (!last)
		return;
	slot = bpf_map_lookup_elem(&tgids, &tgid);
	if (slot)
		process_ended(tgid, *slot);
	bpf_map_delete_elem(&kin, &tgid);
}

#define EXIT_PROGRAM(turn) \
SEC("tp_btf/sched_process_exit") \
int BPF_PROG(gil_exit_##turn, struct task_struct *task) \
{ \
	note_coming(task->pid, GIL_COMING_EXIT, turn); \
	exited(task); \
	return 0; \
}

EXIT_PROGRAM(1)
EXIT_PROGRAM(2)
EXIT_PROGRAM(3)

/* Followed from here on without a slot; false: the table is full. */
GIL_INLINE bool follow(__u32 tgid, __u64 began, __u32 relative)
{
	struct gil_kin fresh = {.began = began, .relative = relative};

	return bpf_map_update_elem(&kin, &tgid, &fresh, BPF_ANY) == 0;
}

/* Fresh memory, the same PID: what was counted belongs to the old program. */
GIL_INLINE void executed(struct task_struct *task)
{
	__u32 tgid = tgid_of(task), slot = GIL_PROC_NONE;
	__u32 *known = bpf_map_lookup_elem(&tgids, &tgid), relative;
	struct gil_kin *was = known ? NULL : bpf_map_lookup_elem(&kin, &tgid);
	struct gil_proc *proc;

	if ((!known && !was && !gil_tell_execs) || exec_was_seen(task, task->self_exec_id))
		return;
	relative = was ? was->relative : 0;
	if (known)
		slot = *known;
	proc = bpf_map_lookup_elem(&procs, &slot);
	if (proc) {
		proc->armed = 0;
		/* Another thread than the first has the first one's id from here on. */
		close_records(task, slot, false);
		relative = proc->relative;
	}
	if ((was || (proc && proc->follow)) && !follow(tgid, bpf_ktime_get_ns(), relative) && proc)
		gil_lost(proc, GIL_LOSS_NO_PROC);
	if (proc && proc->follow)
		bpf_map_delete_elem(&tgids, &tgid);
	tell(&(struct gil_event){.kind = GIL_EVENT_EXEC, .tgid = tgid, .child = relative, .proc = slot});
}

#define EXEC_PROGRAM(turn) \
SEC("tp_btf/sched_process_exec") \
int BPF_PROG(gil_exec_##turn, struct task_struct *task) \
{ \
	note_coming(task->pid, GIL_COMING_EXEC, turn); \
	executed(task); \
	return 0; \
}

EXEC_PROGRAM(1)
EXEC_PROGRAM(2)
EXEC_PROGRAM(3)

/*
 * A slot for a child that has not run yet. It is its parent's copy in memory, so what is known of the GIL holds for it too;
 * that the forking thread has the GIL its own first acquire will tell (PyOS_AfterFork_Child makes the GIL anew).
 */
static __noinline __u32 slot_for_child(struct gil_proc *parent, __u32 tgid)
{
	__u32 slot = GIL_PROC_NONE;
	struct gil_proc *proc;

	if (!parent)
		return GIL_PROC_NONE;
	if (bpf_map_pop_elem(&free_procs, &slot))
		goto full;
	proc = bpf_map_lookup_elem(&procs, &slot);
	if (!proc)
		goto full;
	bpf_probe_read_kernel(proc, sizeof(*proc), parent);
	proc->armed = 0;
	proc->tgid = tgid;
	proc->relative = parent->tgid;
	proc->arm_gen = 1;
	proc->armed_at = bpf_ktime_get_ns();
	/* A fork leaves the main interpreter alone (PyOS_AfterFork_Child); the places of the others' GILs are the parent's. */
	__builtin_memset(&proc->gil_addr[1], 0, sizeof(proc->gil_addr) - sizeof(proc->gil_addr[0]));
	proc->gil_slot[0] = slot;
	__builtin_memset(proc->hits, 0, sizeof(proc->hits));
	__builtin_memset(proc->lost, 0, sizeof(proc->lost));
	proc->ticks = proc->tick_ns = 0;
	if (bpf_map_update_elem(&tgids, &tgid, &slot, BPF_ANY)) {
		bpf_map_push_elem(&free_procs, &slot, BPF_ANY);
		goto full;
	}
	proc->armed = 1;
	return slot;
full:
	gil_lost(parent, GIL_LOSS_NO_PROC);
	return GIL_PROC_NONE;
}

/* The child does not run before this returns. One that borrows its parent's memory (vfork) runs no Python before its exec. */
GIL_INLINE void forked(struct task_struct *parent, struct task_struct *child, __u32 slot, __u32 relative)
{
	struct gil_proc *proc = bpf_map_lookup_elem(&procs, &slot);
	__u32 child_slot = GIL_PROC_NONE, child_tgid = tgid_of(child);
	bool borrows = BPF_CORE_READ(child, mm) == BPF_CORE_READ(parent, mm);

	if (proc && proc->follow == GIL_FOLLOW_COUNTED && proc->armed && !borrows)
		child_slot = slot_for_child(proc, child_tgid);
	if (child_slot == GIL_PROC_NONE && (!proc || proc->follow) &&
	    !follow(child_tgid, borrows ? 0 : bpf_ktime_get_ns(), relative) && proc)
		gil_lost(proc, GIL_LOSS_NO_PROC);
	if (borrows)
		return;
	tell(&(struct gil_event){
		.kind = GIL_EVENT_FORK, .tgid = tgid_of(parent), .child = child_tgid, .proc = slot,
		.child_proc = child_slot, .start_boot_ns = child->start_boottime,
	});
}

GIL_INLINE void process_forked(struct task_struct *parent, struct task_struct *child)
{
	__u32 tgid = tgid_of(parent), *slot;
	struct gil_kin *other;

	slot = bpf_map_lookup_elem(&tgids, &tgid);
	other = slot ? NULL : bpf_map_lookup_elem(&kin, &tgid);
	if (slot)
		forked(parent, child, *slot, tgid);
	else if (other)
		forked(parent, child, GIL_PROC_NONE, other->relative);
}

/* Not at sched_process_fork, where it could be left out (gil_again.bpf.h). */
SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(gil_fork, struct task_struct *child)
{
	struct task_struct *parent = bpf_get_current_task_btf();

	if (parent->tgid != child->tgid) /* else it is a thread */
		process_forked(parent, child);
	return 0;
}

/* ---- a holder on and off the CPU ---- */

/* For waiters: where the holder is in its program while it has no CPU (gil_native.bpf.h). Before the state says so. */
GIL_INLINE void keep_registers(const struct gil_task *mine, struct task_struct *task)
{
	__u32 slot = mine->gil - 1;
	struct gil_regs *regs = bpf_map_lookup_elem(&holder_regs, &slot);

	if (regs)
		bpf_probe_read_kernel(regs, NATIVE_REGS * sizeof(regs->word[0]), (void *)bpf_task_pt_regs(task));
}

/* The system call that a thread is in; negative: none. */
GIL_INLINE int call_of(struct task_struct *task)
{
	struct pt_regs___kernel *regs = (void *)bpf_task_pt_regs(task);

#if defined(__TARGET_ARCH_arm64)
	return BPF_CORE_READ(regs, syscallno);
#else
	return (int)BPF_CORE_READ(regs, orig_ax);
#endif
}

/* What becomes of a holder that leaves its CPU. */
GIL_INLINE enum gil_cpu_state leaves(struct task_struct *task, bool preempted, unsigned int state, struct gil_why *why)
{
	const struct gil_leaving leaving = {
		.preempted = preempted, .state = state, .state_now = BPF_CORE_READ(task, __state),
		.traced = BPF_CORE_READ(task, ptrace) != 0, .call = call_of(task),
		.frozen = bpf_core_field_exists(task->frozen) && BPF_CORE_READ_BITFIELD_PROBED(task, frozen),
	};
	enum gil_cpu_state becomes = gil_cpu_leaves(&leaving, why);
	struct task_struct *tracer;

	__builtin_memset(why->name, 0, sizeof(why->name));
	if (why->kind == GIL_WHY_TRACER) {
		tracer = BPF_CORE_READ(task, parent, group_leader);
		why->id = pidns_level ? id_here(BPF_CORE_READ(tracer, thread_pid)) : (__u32)BPF_CORE_READ(tracer, pid);
		BPF_CORE_READ_STR_INTO(&why->name, tracer, comm);
	}
	return becomes;
}

GIL_INLINE void switched_in(struct gil_task *mine, __u64 at, __u64 bound)
{
	if (cfg_stacks && gil_held_by(mine))
		gil_tick_settle(mine->gil - 1, at, bound);
	if (cfg_stacks && mine->light)
		gil_light_settle(mine->light - 1, at, bound);
	mine->light = 0;
	gil_on_switched_in(mine, at, bound);
}

/* A thread that runs has been switched in without our having been told. */
GIL_INLINE void came_back(struct gil_task *mine, struct task_struct *task)
{
	struct gil_state *g = gil_held_by(mine);
	__u64 now = bpf_ktime_get_ns();

	switched_in(mine, g ? gil_cpu_back_at(g, delay_of(task), now) : now, gil_bound_at(now));
}

#define PF_EXITING 0x4 /* include/linux/sched.h */

/* Whether its memory is still that of its program: not while it ends, nor while another program takes that one's place. */
GIL_INLINE bool is_in_its_program(struct task_struct *task)
{
	if (task->flags & PF_EXITING)
		return false;
	return !bpf_core_field_exists(task->in_execve) || !BPF_CORE_READ_BITFIELD_PROBED(task, in_execve);
}

/* The process of a thread, if it is observed and a GIL of it can be asked who holds it. */
GIL_INLINE struct gil_proc *asked_proc_of(struct task_struct *task, struct gil_at *at)
{
	__u64 id = ids_of(task);
	__u32 tgid = id >> 32, *slot = bpf_map_lookup_elem(&tgids, &tgid);
	struct gil_proc *proc = slot ? bpf_map_lookup_elem(&procs, slot) : NULL;

	if (!proc || !proc->armed || proc->mode == GIL_MODE_OFF || proc->mode == GIL_MODE_GUARDED || !proc->off_tstate_id)
		return NULL;
	at->proc = proc;
	at->proc_slot = *slot;
	at->tid = (__u32)id;
	return proc;
}

/* Whose the time is that a holder spends which the GIL of `at` names, and no event: in light mode the thread's own. */
GIL_INLINE __u32 untold_slot(const struct gil_at *at)
{
	return at->proc->mode == GIL_MODE_LIGHT ? GIL_SLOT_NONE : GIL_SLOT_UNTOLD + at->gil_index;
}

/* One that waits for a GIL does not hold it. */
GIL_INLINE bool waits_in(__u32 slot)
{
	struct gil_thread *t = slot ? gil_thread_at(slot) : NULL;

	return t && t->state == GIL_THREAD_LIVE && t->cur.wait_since;
}

/* A thread that has met a probe or a tick loses its CPU; nobody has told whether it holds a GIL. */
static __noinline int leaves_untold(struct task_struct *task, struct gil_task *mine, bool runnable)
{
	struct gil_at at = {.now = bpf_ktime_get_ns()};
	__u32 slot;
	int held;

	if (!mine || waits_in(mine->slot[0]) || !asked_proc_of(task, &at))
		return 0;
	held = gil_light_held(at.proc, id_inside(task));
	if (held < 0 || !enter_gil(&at, held))
		return 0;
	at.bound = gil_bound_at(at.now);
	slot = untold_slot(&at);
	if (slot == GIL_SLOT_NONE && gil_slot_is(&at, mine->slot[held & (GIL_PER_PROC - 1)]))
		slot = mine->slot[held & (GIL_PER_PROC - 1)];
	if (slot != GIL_SLOT_NONE)
		gil_light_leave(&at, mine, slot, runnable);
	return 0;
}

/*
 * The holder of a GIL runs, or just leaves its CPU, of its own will or not: has it been away unseen? This switch is in the count
 * of those already (__schedule() in kernel/sched/core.c), and is told.
 */
GIL_INLINE void compare(struct gil_state *g, struct task_struct *task, bool leaves_by_itself, __u64 now)
{
	fill_account(&g->now, task);
	g->now.sleeps -= leaves_by_itself;
	gil_cpu_compare(g, now, gil_bound_at(now));
}

/* Every switch of the machine comes by here: whoever never took a GIL costs one look-up that finds nothing. */
GIL_INLINE void switched(bool preempted, unsigned int state, struct task_struct *prev, struct task_struct *next)
{
	enum gil_cpu_state becomes;
	struct gil_why why;
	struct gil_task *mine = bpf_task_storage_get(&tasks, prev, NULL, 0);
	struct gil_state *g = mine ? gil_held_by(mine) : NULL;
	__u64 now, left = 0;

	if (g) {
		if (mine->off)
			came_back(mine, prev);
		becomes = leaves(prev, preempted, state, &why);
		now = bpf_ktime_get_ns();
		compare(g, prev, !preempted && state, now);
		g->taken.sleeps += !preempted && state && becomes == GIL_CPU_PREEMPTED;
		if (cfg_stacks && is_in_its_program(prev)) {
			keep_registers(mine, prev);
			left = gil_tick_leave(g, mine, becomes == GIL_CPU_PREEMPTED, now, gil_bound_at(now));
		}
		gil_on_switched_out(mine, becomes, &why, now, gil_bound_at(now), left, delay_of(prev));
	} else if (cfg_stacks && mine) {
		if (mine->off)
			came_back(mine, prev);
		if (is_in_its_program(prev))
			leaves_untold(prev, mine, leaves(prev, preempted, state, &why) == GIL_CPU_PREEMPTED);
	}
	if (!*(volatile __u32 *)&gil_holders_off)
		return;
	mine = bpf_task_storage_get(&tasks, next, NULL, 0);
	if (!mine || !mine->off)
		return;
	now = bpf_ktime_get_ns();
	switched_in(mine, now, gil_bound_at(now));
}

/* Before 5.18 the state is no argument. It is read again from the thread then, which may have been woken meanwhile. */
SEC("tp_btf/sched_switch")
#ifndef GIL_OLDER_KERNEL
int BPF_PROG(gil_switch, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	switched(preempt, prev_state, prev, next);
	return 0;
}
#else
int BPF_PROG(gil_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	switched(preempt, prev->__state, prev, next);
	return 0;
}
#endif

/* From here on it only lacks a CPU. */
SEC("tp_btf/sched_wakeup")
int BPF_PROG(gil_wakeup, struct task_struct *task)
{
	struct gil_task *mine;
	__u64 now;

	if (!*(volatile __u32 *)&gil_holders_off)
		return 0;
	mine = bpf_task_storage_get(&tasks, task, NULL, 0);
	if (mine && mine->off) {
		now = bpf_ktime_get_ns();
		gil_tick_woken(mine, now, gil_bound_at(now));
		gil_on_woken(mine, now, gil_bound_at(now));
		gil_light_woken(mine, now, gil_bound_at(now));
	}
	return 0;
}

/* ---- ticks ---- */

/* Of a thread that does not hold now: its slot on the main GIL; GIL_SLOT_NONE: it has none, and never had the GIL at a tick. */
GIL_INLINE __u32 light_slot_without(const struct gil_at *at, struct gil_task *mine)
{
	return at->proc->mode == GIL_MODE_LIGHT && mine && gil_slot_is(at, mine->slot[0]) ? mine->slot[0] : GIL_SLOT_NONE;
}

/* A thread ticks of which no event says that it holds. `period_ns`: of its CPU time, between two ticks. */
static __noinline int tick_untold(struct task_struct *task, __u64 period_ns)
{
	struct gil_at at = {.now = bpf_ktime_get_ns()};
	struct gil_task *mine;
	__u32 slot;
	int held;

	if (!asked_proc_of(task, &at) || (at.proc->tick_thin && bpf_get_prandom_u32() & at.proc->tick_thin))
		return 0;
	at.bound = gil_bound_at(at.now);
	held = gil_light_held(at.proc, id_inside(task));
	mine = bpf_task_storage_get(&tasks, task, NULL, held >= 0 ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
	if ((mine && mine->making) || !enter_gil(&at, held >= 0 ? held : 0))
		return 0;
	slot = held >= 0 ? untold_slot(&at) : light_slot_without(&at, mine);
	if (held >= 0 && slot == GIL_SLOT_NONE)
		slot = gil_slot_find(&at, mine, task->start_boottime);
	if (slot != GIL_SLOT_NONE)
		gil_light_tick(&at, slot, held >= 0, period_ns * (at.proc->tick_thin + 1));
	return 0;
}

/* A timer of a thread's own CPU time (gil_tick.bpf.h). One that ticks has a CPU, whether the kernel told of the switch or not. */
SEC("perf_event")
int gil_sample(struct bpf_perf_event_data *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct gil_task *mine = bpf_task_storage_get(&tasks, task, NULL, 0);
	struct gil_state *g = mine ? gil_held_by(mine) : NULL;
	__u64 now, hash;

	if (!cfg_stacks || !is_in_its_program(task))
		return 0;
	if (mine && mine->off)
		came_back(mine, task);
	if (!g)
		return tick_untold(task, ctx->sample_period);
	now = bpf_ktime_get_ns();
	compare(g, task, false, now);
	hash = gil_tick(g, now, gil_bound_at(now));
	gil_native_here(g, mine, hash, (const void *)bpf_task_pt_regs(task), now);
	return 0;
}
