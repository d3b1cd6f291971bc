/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See reader.h. Every number that leaves here is the state at the boundary B minus the state at the boundary before.
 *
 * A record that has had an event since B carries its state at B in `snap`; one that has not is still in the state at B.
 * What was open at B is added: the owner's hold since its acquire, a waiter's wait since it was last charged. Cumulative
 * sums with their open parts only ever grow, so differences of them are exact and a late reading loses nothing.
 *
 * Slots of dead threads rest before they are given back: for an interval, and as long as a waiter may still have to be
 * charged to them.
 * Blame has its own page: blame_memo.h.
 */
#include "reader.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "../bpf/gil_off.h"
#include "blame_memo.h"
#include "clock.h"
#include "cpu_samples.h"
#include "gil.skel.h"
#include "gil_life.h"
#include "hist.h"
#include "log.h"
#include "pynames.h"
#include "stack_sums.h"
#include "text.h"

#define SEQ_TRIES 20000     /* readings of a record before it counts as torn */
#define SEQ_SPINS 64        /* of them without giving the CPU away */
#define SLOTS_AHEAD 16      /* slots that CPUs may be taking while we look for the end of those in use */
#define CODE_CELLS 64       /* of one process and interval; what more there is goes to code_rest */
#define STACK_CELLS 256     /* the same of whole stacks */
#define NAME_INTERVALS 5    /* a thread's name is read again every so many intervals */

/* Cumulative state of a thread at a boundary, what was open included; its histograms are apart. */
struct cumulative {
	uint64_t hold_ns, wait_ns, handover_ns, unknown_ns;
	uint64_t acquires, contended, forced, inferred;
	struct gil_off hold_off, wait_off;
};

/* What is remembered of a thread slot between readings. */
struct memo {
	struct thread_key key;
	char name[THREAD_NAME_SIZE];
	uint32_t name_age;
	bool inside_asked;      /* key.inside is as well known as it will ever be */
	bool name_pythons;      /* the name is Python's: better than the kernel's, even if old */
	bool resting;           /* collected for good, to be given back later */
	uint64_t rests_since;   /* the boundary at which that was */
	uint32_t seq, state;    /* of the record when it was read last */
	uint32_t settled;       /* intervals since then, if nothing was open in it or left to tell, + 1; else 0 */
	struct cumulative last;
	struct hist hold, wait; /* of `last` */
	struct blame_memo blame;
};

/* A thread's record as of B. */
struct record {
	uint32_t seq, state, tid, proc, gil, arm_gen;
	uint64_t tstate, start_boot_ns, bound;
	char comm[16];
	struct gil_totals at;
};

/* A GIL as of B, with the ring that residues are charged from. */
struct gil_record {
	bool current;           /* has had events since arming */
	uint64_t addr;
	struct gil_view at;
	struct gil_off off;     /* the off-CPU clocks at B */
	struct gil_state state;
};

struct watch {
	bool used, forgotten;
	bool collected;         /* its first interval has ended */
	struct pyoffsets off;
	uint64_t runtime;       /* address of _PyRuntime */
	struct pynames *names;
	struct pystack *stacks; /* NULL: frames of this version are not known, or not asked for */
	struct native *native;  /* NULL: not asked for yet */
	bool foreign;           /* the target counts its ids in another PID namespace */
	double price_ns[8];
	uint64_t hits[8], lost[GIL_LOSS_COUNT];
	uint64_t born_at;
	uint64_t torn;
	uint64_t oldest_wait;   /* ns: no open wait is charged up to an earlier moment than this */
	uint64_t seed[GIL_PER_PROC]; /* PyThreadState that held the GIL when the probes were armed, 0: nobody */
	uint64_t seed_given[GIL_PER_PROC]; /* ns of that hold in samples so far, while it had no record */
};

struct reader {
	struct probes *probes;
	struct ring_buffer *ring, *trace_ring; /* the second where a trace is recorded, or NULL */
	struct ring_buffer *stack_ring, *native_ring; /* NULL: stacks are not asked for */
	int fd;                 /* readable when process events or stacks wait */
	struct watch *watches;
	uint32_t watches_n;
	struct gil_record *gils; /* GIL_PER_PROC of them: scratch of a collection */
	struct memo **memos;    /* by thread slot, made when first seen */
	uint32_t slots_n;
	uint32_t slots_end;     /* no slot from here on was ever in use */
	bool *gone;             /* by thread slot: being given back */
	bool *owes;             /* by thread slot: see read_blame() */
	uint32_t *first, *next; /* threads of each process as of `listed_bound`: by process slot, by thread slot; 0 ends */
	uint64_t listed_bound;
	struct blame_reading blame; /* all pairs, as of `blame_bound` */
	uint64_t blame_bound;
	bool with_stacks;
	struct stack_book *book;
	struct native_files *native_files;
	struct cpu_samples *cpu_samples;
	struct stack_sums sums; /* of all, as of `sums_bound` */
	struct blame_places blame_places;
	uint64_t sums_bound;
	void (*on_event)(void *arg, const struct gil_event *e);
	void *on_event_arg;
	reader_trace_fn *on_trace;
	void *on_trace_arg;
	void (*on_long)(void *arg, uint32_t slot, const struct long_event *e);
	void *on_long_arg;
	void (*on_stack)(void *arg, uint32_t slot, const struct stack_time *s);
	void *on_stack_arg;
};

/* ---- setting up ---- */

static int take_event(void *ctx, void *data, size_t size)
{
	struct reader *r = ctx;

	if (size >= sizeof(struct gil_event) && r->on_event)
		r->on_event(r->on_event_arg, data);
	return 0;
}

static int take_trace_event(void *ctx, void *data, size_t size)
{
	struct reader *r = ctx;

	if (size >= sizeof(struct gil_trace_event))
		r->on_trace(r->on_trace_arg, data);
	return 0;
}

/* Whether all is well: there is one, or none is wanted. */
static bool open_trace(struct reader *r, const struct gil_bpf *skel)
{
	if (!skel->rodata->cfg_trace)
		return true;
	r->trace_ring = ring_buffer__new(bpf_map__fd(skel->maps.trace), take_trace_event, r, NULL);
	return r->trace_ring != NULL;
}

static int take_stack(void *ctx, void *data, size_t size);
static int take_native(void *ctx, void *data, size_t size);

/* They come by a ring buffer of their own: a burst pushes no process event out, and they may be taken during a collection. */
static int open_stacks(struct reader *r, struct gil_bpf *skel)
{
	r->with_stacks = skel->rodata->cfg_stacks;
	if (!r->with_stacks)
		return 0;
	r->book = stack_book__new();
	r->native_files = native_files__new();
	r->cpu_samples = cpu_samples__new(skel->progs.gil_sample);
	if (!r->book || !r->native_files || !r->cpu_samples)
		return -ENOMEM;
	r->native_ring = ring_buffer__new(bpf_map__fd(skel->maps.native_events), take_native, r, NULL);
	r->stack_ring = r->native_ring ? ring_buffer__new(bpf_map__fd(skel->maps.stack_events), take_stack, r, NULL) : NULL;
	return r->stack_ring ? 0 : -errno;
}

static int watch_ring(struct reader *r, const struct ring_buffer *ring)
{
	struct epoll_event event = {.events = EPOLLIN};

	return ring && epoll_ctl(r->fd, EPOLL_CTL_ADD, ring_buffer__epoll_fd(ring), &event) ? -errno : 0;
}

static int open_rings(struct reader *r, struct gil_bpf *skel)
{
	int err;

	r->fd = epoll_create1(EPOLL_CLOEXEC);
	if (r->fd < 0)
		return -errno;
	r->ring = ring_buffer__new(bpf_map__fd(skel->maps.events), take_event, r, NULL);
	if (!r->ring)
		return -errno;
	err = open_stacks(r, skel);
	err = err ?: watch_ring(r, r->ring);
	return err ?: watch_ring(r, r->stack_ring);
}

int reader__new(struct probes *p, struct reader **ret, struct reason *why)
{
	struct gil_bpf *skel = probes__skeleton(p);
	struct reader *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->probes = p;
	r->fd = -1;
	r->slots_n = probes__thread_slots(p);
	r->slots_end = probes__first_thread(p);
	r->watches_n = bpf_map__max_entries(skel->maps.procs);
	r->watches = calloc(r->watches_n, sizeof(*r->watches));
	r->gils = calloc(GIL_PER_PROC, sizeof(*r->gils));
	r->memos = calloc(r->slots_n, sizeof(*r->memos));
	r->gone = calloc(r->slots_n, sizeof(*r->gone));
	r->owes = calloc(r->slots_n, sizeof(*r->owes));
	r->first = calloc(r->watches_n, sizeof(*r->first));
	r->next = calloc(r->slots_n, sizeof(*r->next));
	err = open_rings(r, skel);
	if (!r->watches || !r->gils || !r->memos || !r->gone || !r->owes || !r->first || !r->next || !open_trace(r, skel))
		err = err ?: -ENOMEM;
	if (err) {
		reader__free(r);
		return reason__set(why, err, "can't set up the reader: %s", strerror(-err));
	}
	*ret = r;
	return 0;
}

static void memo_free(struct reader *r, uint32_t slot)
{
	if (!r->memos[slot])
		return;
	blame_memo__clear(&r->memos[slot]->blame);
	hist__clear(&r->memos[slot]->hold);
	hist__clear(&r->memos[slot]->wait);
	free(r->memos[slot]);
	r->memos[slot] = NULL;
}

void reader__free(struct reader *r)
{
	if (!r)
		return;
	for (uint32_t slot = 0; r->memos && slot < r->slots_n; slot++)
		memo_free(r, slot);
	ring_buffer__free(r->ring);
	ring_buffer__free(r->trace_ring);
	ring_buffer__free(r->stack_ring);
	ring_buffer__free(r->native_ring);
	cpu_samples__free(r->cpu_samples);
	if (r->fd >= 0)
		close(r->fd);
	stack_book__free(r->book);
	stack_sums__clear(&r->sums);
	blame_places__free(&r->blame_places);
	blame_reading__clear(&r->blame);
	free(r->gils);
	free(r->memos);
	free(r->gone);
	free(r->owes);
	free(r->first);
	free(r->next);
	for (uint32_t slot = 0; r->watches && slot < r->watches_n; slot++) {
		pynames__free(r->watches[slot].names);
		pystack__free(r->watches[slot].stacks);
		native__free(r->watches[slot].native);
	}
	native_files__free(r->native_files);
	free(r->watches);
	free(r);
}

int reader__watch(struct reader *r, uint32_t slot, const struct pyoffsets *off, uint64_t runtime, uint64_t born_at,
		  const double price_ns[8])
{
	struct watch *w = &r->watches[slot];

	*w = (struct watch){.used = true, .off = *off, .runtime = runtime, .born_at = born_at};
	memcpy(w->price_ns, price_ns, sizeof(w->price_ns));
	w->foreign = target__id_inside(probes__pid(r->probes, slot), probes__pid(r->probes, slot)) != 0;
	if (r->with_stacks && pystack__new(probes__pid(r->probes, slot), off, &w->stacks) == -ENOMEM)
		return -ENOMEM;
	return pynames__new(probes__pid(r->probes, slot), runtime, off, &w->names);
}

void reader__seed(struct reader *r, uint32_t slot, uint32_t gil, uint64_t tstate)
{
	if (gil >= GIL_PER_PROC)
		return;
	r->watches[slot].seed[gil] = tstate;
	r->watches[slot].seed_given[gil] = 0;
}

/* ---- the interval in force ---- */

static struct gil_clock *clock_of(struct reader *r)
{
	return &probes__skeleton(r->probes)->bss->gil_clock;
}

void reader__begin(struct reader *r, uint64_t start_ns, uint64_t end_ns)
{
	struct gil_clock *clock = clock_of(r);

	__atomic_store_n(&clock->start, start_ns, __ATOMIC_SEQ_CST);
	__atomic_store_n(&clock->end, end_ns, __ATOMIC_SEQ_CST);
}

/* ---- consistent copies ---- */

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

static bool read_thread(const struct gil_thread *t, uint64_t bound, struct record *ret)
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
static bool read_off(const struct gil_state *g, uint64_t bound, struct gil_off *ret)
{
	for (int tries = 0; tries < SEQ_TRIES; tries++) {
		uint32_t turn = __atomic_load_n(&g->cpu_turn, __ATOMIC_ACQUIRE);
		struct gil_cpu cpu = g->cpu[turn & 1];

		if (seq_changed(&g->cpu_turn, turn))
			continue;
		*ret = gil_off_at(cpu.bound >= bound ? &cpu.snap : &cpu.cur, bound);
		return true;
	}
	return false;
}

static bool read_gil(const struct gil_state *g, uint64_t bound, struct gil_record *ret)
{
	int tries = 0;
	uint32_t seq;

	while (seq_begin(&g->seq, &seq, &tries)) {
		ret->state = *g;
		if (!seq_changed(&g->seq, seq)) {
			ret->at = ret->state.bound >= bound ? ret->state.snap : ret->state.cur;
			return read_off(g, bound, &ret->off);
		}
		tries++;
	}
	return false;
}

/* Slots are taken in order where none was given back (see `free_slots`): those ever used lie side by side. */
static void find_slots_end(struct reader *r)
{
	for (uint32_t slot = r->slots_end; slot < r->slots_n && slot < r->slots_end + SLOTS_AHEAD; slot++)
		if (__atomic_load_n(&probes__thread(r->probes, slot)->state, __ATOMIC_ACQUIRE) != GIL_THREAD_FREE)
			r->slots_end = slot + 1;
}

/* Whose record is whose: one look at the table serves all processes. A record made later has nothing before the boundary. */
static void list_threads(struct reader *r, uint64_t bound)
{
	find_slots_end(r);
	memset(r->first, 0, r->watches_n * sizeof(*r->first));
	for (uint32_t slot = r->slots_end - 1; slot >= probes__first_thread(r->probes); slot--) {
		const struct gil_thread *t = probes__thread(r->probes, slot);
		uint32_t proc;

		if (__atomic_load_n(&t->state, __ATOMIC_ACQUIRE) == GIL_THREAD_FREE || t->proc >= r->watches_n)
			continue;
		proc = t->proc;
		r->next[slot] = r->first[proc];
		r->first[proc] = slot;
	}
	r->listed_bound = bound;
}

/* ---- one process at one boundary ---- */

struct collection {
	struct reader *r;
	uint32_t slot;
	struct watch *watch;
	struct gil_proc proc;   /* copied */
	uint64_t from, bound;   /* the interval */
	struct gil_record *gils;
	struct proc_sample *sample;
};

static void read_gils(struct collection *c)
{
	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		struct gil_record *g = &c->gils[i];

		g->addr = c->proc.gil_addr[i];
		g->current = false;
		if (!gil_life__is_used(g->addr)) {
			g->at = g->state.cur = (struct gil_view){0};
			continue;
		}
		if (!read_gil(probes__gil(c->r->probes, c->slot, i), c->bound, g))
			c->watch->torn++;
		g->current = g->state.arm_gen == c->proc.arm_gen && g->at.events > 0;
	}
}

static struct memo *memo_of(struct reader *r, uint32_t slot)
{
	if (!r->memos[slot])
		r->memos[slot] = calloc(1, sizeof(struct memo));
	return r->memos[slot];
}

static uint64_t ns_per_tick(void)
{
	return 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
}

static uint64_t ticks_of(uint64_t boot_ns)
{
	return boot_ns / ns_per_tick();
}

static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* The name that Python has for a live thread, or NULL. */
static const char *python_name(struct collection *c, pid_t tid, uint64_t tstate, uint64_t start_boot_ns)
{
	return pynames__find(c->watch->names, boot_ns(), tid, tstate, start_boot_ns);
}

/* Names: what Python says of a live thread, else the kernel, else what the program noted at its birth or end. */
static void refresh_name(struct collection *c, struct memo *m, const struct record *rec)
{
	bool dead = rec->state != GIL_THREAD_LIVE;
	const char *name = dead ? NULL : python_name(c, (pid_t)rec->tid, rec->tstate, rec->start_boot_ns);

	if (name)
		snprintf(m->name, sizeof(m->name), "%s", name);
	m->name_pythons = m->name_pythons || name;
	if (m->name_pythons)
		return;
	if (m->name[0] && !dead && ++m->name_age % NAME_INTERVALS)
		return;
	if (!dead && !target__thread_comm(probes__pid(c->r->probes, c->slot), (pid_t)rec->tid, m->name,
					  sizeof(m->name)))
		return;
	if (!m->name[0] || dead)
		text__clean(m->name, sizeof(m->name), rec->comm, strnlen(rec->comm, sizeof(rec->comm)));
}

/* The hold that was open at B belongs to this slot: since when? 0: none. */
static uint64_t open_hold_since(const struct collection *c, const struct record *rec, uint32_t slot)
{
	const struct gil_record *g = &c->gils[rec->gil % GIL_PER_PROC];

	if (c->proc.mode == GIL_MODE_LIGHT || !g->current || g->at.state != GIL_OWNER_HELD ||
	    g->at.owner_slot != slot || g->at.acquired_at >= c->bound)
		return 0;
	return g->at.acquired_at;
}

/* An open wait from where it was last charged up to B: its parts go to `sum` and to the pairs in `open`. */
static void add_open_wait(struct collection *c, const struct record *rec, struct cumulative *sum,
			  struct blame_list *open)
{
	const struct gil_record *g = &c->gils[rec->gil % GIL_PER_PROC];
	struct gil_off place;
	uint64_t span, held;

	if (!rec->at.wait_since || rec->at.wait_place >= c->bound)
		return;
	span = c->bound - rec->at.wait_place;
	sum->wait_ns += span;
	if (c->proc.mode == GIL_MODE_LIGHT) {
		if (blame_list__add(open, blame_holder(GIL_SLOT_NONE, rec->at.place_held), span))
			sum->unknown_ns += span;
		return;
	}
	held = blame_list__charge(open, &g->state, &g->at, &rec->at, c->bound);
	place = rec->at.place_off;
	gil_off_take(&place, &g->off, held, &sum->wait_off);
	sum->handover_ns += span - held;
	sum->unknown_ns += held - blame_list__sum(open);
}

/* What the holder's open hold was spent on so far: all that went by since holds were last settled. */
static void add_open_hold(const struct collection *c, const struct record *rec, uint64_t since, struct cumulative *sum)
{
	const struct gil_record *g = &c->gils[rec->gil % GIL_PER_PROC];
	struct gil_off settled = g->at.settled;

	if (!since)
		return;
	sum->hold_ns += c->bound - since;
	sum->acquires++;
	gil_off_take(&settled, &g->off, c->bound - since, &sum->hold_off);
}

static void add_open_handoff(const struct collection *c, const struct record *rec, struct cumulative *sum)
{
	if (!rec->at.handoff_since || rec->at.handoff_since >= c->bound)
		return;
	sum->wait_ns += c->bound - rec->at.handoff_since;
	sum->handover_ns += c->bound - rec->at.handoff_since;
}

static void cumulate(struct collection *c, const struct record *rec, uint32_t slot, struct cumulative *sum,
		     struct blame_list *open)
{
	sum->hold_ns = rec->at.hold_ns;
	sum->hold_off = rec->at.hold_off;
	sum->acquires = rec->at.releases - rec->at.unseen;
	add_open_hold(c, rec, open_hold_since(c, rec, slot), sum);
	sum->wait_ns = rec->at.wait_ns;
	sum->handover_ns = rec->at.handover_ns;
	sum->unknown_ns = rec->at.unknown_ns;
	sum->wait_off = rec->at.wait_off;
	sum->contended = rec->at.contended;
	sum->forced = rec->at.forced;
	sum->inferred = rec->at.inferred;
	if (rec->arm_gen != c->proc.arm_gen)
		return;
	add_open_wait(c, rec, sum, open);
	add_open_handoff(c, rec, sum);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint32_t known_in(const struct collection *c)
{
	if (c->proc.mode == GIL_MODE_LIGHT)
		return KNOWN_WAIT | KNOWN_FORCED;
	return probes__features(c->r->probes)->off_cpu ? KNOWN_ALL : KNOWN_ALL & ~KNOWN_OFF_CPU;
}

/* Ages of what is open at B. */
static int add_open_ages(struct collection *c, const struct record *rec, uint32_t slot, struct metrics *m)
{
	uint64_t hold_since = open_hold_since(c, rec, slot), age;
	uint64_t wait_since = rec->at.wait_since ?: rec->at.handoff_since;
	int err = 0;

	if (hold_since) {
		age = c->bound - hold_since;
		err = hist__count(&m->hold_open, age);
		m->hold_max_ns = max_u64(m->hold_max_ns, age);
	}
	if (wait_since && wait_since < c->bound && rec->arm_gen == c->proc.arm_gen) {
		age = c->bound - wait_since + rec->at.handoff_len;
		err = hist__count(&m->wait_open, age) ?: err;
		m->wait_max_ns = max_u64(m->wait_max_ns, age);
		m->waiting = 1;
	}
	return err;
}

/*
 * What is new since the last boundary; remembers the state at this one, and of what is off the CPU how much was given out: its
 * parts never exceed the whole.
 */
static int subtract(struct metrics *m, struct memo *memo, struct cumulative *now, const struct gil_totals *at)
{
	struct cumulative *last = &memo->last;
	int err;

	m->hold_ns = now->hold_ns - last->hold_ns;
	m->wait_ns = now->wait_ns - last->wait_ns;
	m->handover_ns = now->handover_ns - last->handover_ns;
	m->unknown_ns = now->unknown_ns - last->unknown_ns;
	gil_off_take(&last->hold_off, &now->hold_off, m->hold_ns, &m->hold_off);
	gil_off_take(&last->wait_off, &now->wait_off, m->wait_ns - m->handover_ns, &m->wait_off);
	m->acquires = now->acquires - last->acquires;
	m->contended = now->contended - last->contended;
	m->forced = now->forced - last->forced;
	m->inferred = now->inferred - last->inferred;
	now->hold_off = last->hold_off;
	now->wait_off = last->wait_off;
	memo->last = *now;
	err = hist__advance(&m->hold, &memo->hold, &at->hold);
	err = hist__advance(&m->wait, &memo->wait, &at->wait) ?: err;
	/* The maxima are those of the interval in which the record last had an event: is that this one? */
	if (m->hold.n)
		m->hold_max_ns = at->hold_max_ns;
	if (m->wait.n)
		m->wait_max_ns = at->wait_max_ns;
	return err;
}

static bool nothing_happened(const struct metrics *m)
{
	return !m->hold_ns && !m->wait_ns && !m->acquires && !m->contended && !m->forced && !m->waiting &&
	       !m->hold_max_ns;
}

static void set_key(struct collection *c, struct memo *m, const struct record *rec, bool other)
{
	uint32_t inside = m->key.inside;

	if (other) {
		m->key = (struct thread_key){.tid = 0, .start_ticks = PSEUDO_OTHER};
		return;
	}
	if (c->watch->foreign && !m->inside_asked)
		inside = (uint32_t)target__id_inside(probes__pid(c->r->probes, c->slot), (pid_t)rec->tid);
	m->inside_asked = true;
	m->key = (struct thread_key){
		.tid = rec->tid, .inside = inside, .start_ticks = ticks_of(rec->start_boot_ns),
	};
}

/* ---- holders by name ---- */

/* Places are given to other GILs in the course of time, ids of interpreters are not. */
static uint32_t gil_number(const struct collection *c, uint32_t gil)
{
	return (uint32_t)c->proc.gil_owner[gil % GIL_PER_PROC].id;
}

static long sample_thread(struct collection *c, const struct thread_key *key, uint32_t gil, const char *name)
{
	struct proc_sample *s = c->sample;
	uint32_t number = gil_number(c, gil);
	long index = proc_sample__find_thread(s, key, number);
	struct thread_sample *t;

	if (index < 0) {
		t = proc_sample__add_thread(s);
		if (!t)
			return -1;
		t->key = *key;
		t->gil = number;
		index = (long)s->threads_n - 1;
	}
	t = &s->threads[index];
	if (!t->name[0])
		snprintf(t->name, sizeof(t->name), "%s", name);
	return index;
}

static long sample_unknown(struct collection *c, uint32_t gil)
{
	const struct thread_key key = {.tid = 0, .start_ticks = PSEUDO_UNKNOWN};

	return sample_thread(c, &key, gil, "unknown");
}

/* A holder whose own record comes later in this round. */
static void name_memo(struct collection *c, uint32_t slot)
{
	struct record rec;

	if (!read_thread(probes__thread(c->r->probes, slot), c->bound, &rec))
		return;
	set_key(c, c->r->memos[slot], &rec, slot < probes__first_thread(c->r->probes));
	refresh_name(c, c->r->memos[slot], &rec);
}

/* The slot of a live thread's record, by its PyThreadState; slots_end: it has none. */
static uint32_t slot_of_tstate(const struct collection *c, uint64_t tstate)
{
	for (uint32_t slot = c->r->first[c->slot]; slot; slot = c->r->next[slot]) {
		const struct gil_thread *t = probes__thread(c->r->probes, slot);

		if (c->r->memos[slot] && t->state != GIL_THREAD_FREE && t->tstate == tstate)
			return slot;
	}
	return c->r->slots_end;
}

/* The thread that a PyThreadState belongs to, 0: not known. *ret_inside: its id in another PID namespace. */
static pid_t tid_of_tstate(struct reader *r, uint32_t slot, uint64_t tstate, uint32_t *ret_inside)
{
	const struct watch *w = &r->watches[slot];
	pid_t pid = probes__pid(r->probes, slot), tid = tstate ? pyver__tstate_tid(pid, &w->off, tstate) : 0;

	if (!w->foreign)
		return tid;
	*ret_inside = (uint32_t)tid;
	return target__id_outside(pid, tid);
}

/* What a thread is called now: by Python (true), which counts it as `tid_inside`, else by the kernel. */
static bool live_name(struct reader *r, uint32_t slot, pid_t tid, pid_t tid_inside, uint64_t tstate, uint64_t start_ticks,
		      char name[THREAD_NAME_SIZE])
{
	const char *python = pynames__find(r->watches[slot].names, boot_ns(), tid_inside, tstate,
					   start_ticks * ns_per_tick());

	if (python)
		snprintf(name, THREAD_NAME_SIZE, "%s", python);
	else if (target__thread_comm(probes__pid(r->probes, slot), tid, name, THREAD_NAME_SIZE))
		name[0] = '\0'; /* it has just ended */
	return python != NULL;
}

/* Who a thread state belongs to: often a thread that has never met a probe. Valid as long as nobody is collected. */
struct who {
	struct thread_key key;
	const char *name;
	char buf[THREAD_NAME_SIZE]; /* for `name` */
};

static bool identify_slot(struct collection *c, uint32_t slot, struct who *ret)
{
	struct memo *m = slot < c->r->slots_n ? memo_of(c->r, slot) : NULL;

	if (!m)
		return false;
	if (!m->key.start_ticks || m->settled)
		name_memo(c, slot);
	ret->key = m->key;
	ret->name = m->name;
	return true;
}

static bool identify_tstate(struct collection *c, uint64_t tstate, struct who *ret)
{
	pid_t pid = probes__pid(c->r->probes, c->slot), tid;
	uint32_t slot = slot_of_tstate(c, tstate);
	uint64_t stack;

	if (slot < c->r->slots_end)
		return identify_slot(c, slot, ret);
	*ret = (struct who){.name = ret->buf};
	tid = tid_of_tstate(c->r, c->slot, tstate, &ret->key.inside);
	if (tid <= 0 || target__stat(pid, tid, &ret->key.start_ticks, &stack))
		return false;
	ret->key.tid = (uint32_t)tid;
	live_name(c->r, c->slot, tid, tid, tstate, ret->key.start_ticks, ret->buf);
	return true;
}

/* Index in the sample of the thread that a PyThreadState belongs to. */
static long holder_by_tstate(struct collection *c, uint64_t tstate, uint32_t gil)
{
	struct who who = {0};

	return identify_tstate(c, tstate, &who) ? sample_thread(c, &who.key, gil, who.name) : sample_unknown(c, gil);
}

static long holder_of(struct collection *c, const struct blame_part *part, uint32_t gil)
{
	const struct gil_record *g = &c->gils[gil % GIL_PER_PROC];
	uint32_t slot = part->who == GIL_SLOT_SEED ? g->state.seed_slot : (uint32_t)part->who;
	struct who who = {0};

	if (part->who & BLAME_BY_TSTATE)
		return holder_by_tstate(c, part->who & ~BLAME_BY_TSTATE, gil);
	if (slot == GIL_SLOT_NONE)
		return holder_by_tstate(c, c->watch->seed[gil % GIL_PER_PROC], gil);
	return identify_slot(c, slot, &who) ? sample_thread(c, &who.key, gil, who.name) : sample_unknown(c, gil);
}

/* Blame of one victim in this interval; what does not fit goes to its unknown part. */
static void add_blame(struct collection *c, uint32_t slot, struct memo *m, uint32_t gil, long victim,
		      struct blame_list *open)
{
	struct blame_list parts = {0};
	uint64_t back = blame_memo__settle(&m->blame, &c->r->blame, slot, open, c->bound, &parts);
	struct metrics *mine = &c->sample->threads[victim].m;

	/* What was charged to a holder at the last boundary and is forgotten since: it was unknown after all. */
	mine->unknown_ns = mine->unknown_ns > back ? mine->unknown_ns - back : 0;
	for (size_t i = 0; i < parts.n; i++) {
		long holder = holder_of(c, &parts.part[i], gil);

		/* Several parts may be one thread's: by its slot, its state, or as who held when the probes were armed. */
		if (holder < 0 || proc_sample__charge(c->sample, &c->r->blame_places, (uint32_t)victim, (uint32_t)holder,
						      parts.part[i].ns))
			c->sample->threads[victim].m.unknown_ns += parts.part[i].ns;
	}
	blame_list__clear(&parts);
}

/*
 * Reads the pairs, and notes who has an open wait that was not charged up to the boundary at that moment: the reading lacks
 * that charge for sure only as long as the waiter's record has not seen the boundary either.
 */
static int read_blame(struct reader *r, uint64_t bound)
{
	r->blame_bound = bound;
	find_slots_end(r);
	for (uint32_t slot = probes__first_thread(r->probes); slot < r->slots_end; slot++) {
		const struct gil_thread *t = probes__thread(r->probes, slot);

		r->owes[slot] = t->state != GIL_THREAD_FREE && t->cur.wait_since && t->bound < bound;
	}
	return blame_reading__read(&r->blame, bpf_map__fd(probes__skeleton(r->probes)->maps.blame));
}

/* ---- one thread ---- */

/* Most threads of a large family: no event since their record was read last, and nothing was open then. */
static bool is_settled(const struct collection *c, const struct memo *m, uint32_t slot)
{
	const struct gil_thread *t = probes__thread(c->r->probes, slot);
	const struct gil_view *gil = &c->gils[t->gil % GIL_PER_PROC].at;

	/* An acquire may be in the GIL's state alone: see gil_on_acquire(). */
	return m->settled && __atomic_load_n(&t->seq, __ATOMIC_ACQUIRE) == m->seq &&
	       __atomic_load_n(&t->state, __ATOMIC_ACQUIRE) == m->state &&
	       !(gil->state == GIL_OWNER_HELD && gil->owner_slot == slot);
}

/* A thread that does nothing may be named by others. What Python calls it already is looked up less often. */
static void remain_settled(struct collection *c, struct memo *m, uint32_t slot)
{
	bool live = m->state == GIL_THREAD_LIVE && slot >= probes__first_thread(c->r->probes);

	if (live && (!m->name_pythons || m->settled % NAME_INTERVALS == 0))
		name_memo(c, slot);
	m->settled++;
}

static void note_settled(const struct collection *c, struct memo *m, const struct record *rec, uint32_t slot)
{
	m->settled = rec->bound < c->bound && !rec->at.wait_since && !rec->at.handoff_since &&
		     !open_hold_since(c, rec, slot);
	m->seq = rec->seq;
	m->state = rec->state;
}

/* Its hold since arming has ended and is in the record now, as a whole. */
static void take_back_seed(struct collection *c, struct memo *m, const struct record *rec)
{
	uint64_t *given = &c->watch->seed_given[rec->gil % GIL_PER_PROC];

	if (!rec->at.unseen || rec->arm_gen != c->proc.arm_gen)
		return;
	m->last.hold_ns += *given;
	m->last.hold_off.ns[GIL_OFF_UNSEEN] += *given;
	*given = 0;
}

static int add_to_sample(struct collection *c, uint32_t slot, const struct record *rec, const struct metrics *metrics,
			 bool exited, struct blame_list *open)
{
	struct memo *m = c->r->memos[slot];
	long index = sample_thread(c, &m->key, rec->gil, m->name);

	/* Added, not set: two short lives with one tid may have begun within one clock tick. */
	if (index < 0 || metrics__sum(&c->sample->threads[index].m, metrics))
		return -ENOMEM;
	c->sample->threads[index].exited = exited;
	add_blame(c, slot, m, rec->gil, index, open);
	return 0;
}

static int collect_record(struct collection *c, uint32_t slot, const struct record *rec)
{
	bool other = slot < probes__first_thread(c->r->probes);
	bool dead = rec->state != GIL_THREAD_LIVE && rec->bound < c->bound;
	struct metrics metrics = {.known = known_in(c)};
	struct memo *m = c->r->memos[slot];
	struct blame_list open = {0};
	struct cumulative now = {0};
	int err;

	cumulate(c, rec, slot, &now, &open);
	take_back_seed(c, m, rec);
	err = subtract(&metrics, m, &now, &rec->at);
	err = add_open_ages(c, rec, slot, &metrics) ?: err;
	if (!m->resting && (!nothing_happened(&metrics) || (dead && !other)))
		err = add_to_sample(c, slot, rec, &metrics, dead && rec->state == GIL_THREAD_DEAD, &open) ?: err;
	if (dead && !m->resting)
		m->rests_since = c->bound;
	m->resting = dead;
	if (rec->at.wait_since && rec->at.wait_place < c->watch->oldest_wait)
		c->watch->oldest_wait = rec->at.wait_place;
	note_settled(c, m, rec, slot);
	metrics__clear(&metrics);
	blame_list__clear(&open);
	return err;
}

static int collect_thread(struct collection *c, uint32_t slot)
{
	bool other = slot < probes__first_thread(c->r->probes);
	struct memo *m = memo_of(c->r, slot);
	struct record rec;

	if (!m)
		return -ENOMEM;
	if (is_settled(c, m, slot)) {
		remain_settled(c, m, slot);
		return 0;
	}
	if (!read_thread(probes__thread(c->r->probes, slot), c->bound, &rec)) {
		c->watch->torn++;
		return 0;
	}
	/* Charged since the pairs were read: they must be read again to belong to this record. */
	if (c->r->owes[slot] && rec.bound >= c->bound && read_blame(c->r, c->bound))
		return -ENOMEM;
	set_key(c, m, &rec, other);
	if (other)
		strcpy(m->name, "other");
	else
		refresh_name(c, m, &rec);
	return collect_record(c, slot, &rec);
}

/* A hold that was open at arming and of which no event has told yet. */
static int add_seed_hold(struct collection *c, uint32_t gil)
{
	const struct gil_record *g = &c->gils[gil];
	uint64_t since = max_u64(c->from, c->proc.armed_at), age = c->bound - c->proc.armed_at;
	struct metrics *m;
	long index;

	if (c->proc.mode != GIL_MODE_FULL || c->proc.armed_at >= c->bound || !c->watch->seed[gil])
		return 0;
	if (g->current && !(g->at.state == GIL_OWNER_HELD && g->at.owner_slot == GIL_SLOT_SEED))
		return 0;
	index = holder_by_tstate(c, c->watch->seed[gil], gil);
	if (index < 0)
		return 0;
	m = &c->sample->threads[index].m;
	m->hold_ns += c->bound - since;
	m->hold_off.ns[GIL_OFF_UNSEEN] += c->bound - since;
	m->hold_max_ns = max_u64(m->hold_max_ns, age);
	c->watch->seed_given[gil] = age;
	return hist__count(&m->hold_open, age);
}

/* ---- stacks ---- */

/* Native code, of stacks that are known by now. */
static void take_samples(struct reader *r)
{
	ring_buffer__consume(r->native_ring);
	cpu_samples__tidy(r->cpu_samples, clock__mono_ns());
}

static int take_native(void *ctx, void *data, size_t size)
{
	const struct gil_native_event *e = data;
	struct reader *r = ctx;
	struct native_chain chain;
	struct watch *w;

	if (size < sizeof(*e) || e->proc >= r->watches_n || !r->watches[e->proc].used || e->slot >= r->slots_n ||
	    e->stack_len > sizeof(e->stack))
		return 0;
	w = &r->watches[e->proc];
	if (!w->native)
		w->native = native__new(r->native_files, probes__pid(r->probes, e->proc));
	cpu_samples__want(r->cpu_samples, (pid_t)probes__thread(r->probes, e->slot)->tid, e->at);
	if (w->native && native__name(w->native, e->at, &e->regs, e->stack, e->stack_len, &chain))
		stack_book__saw_native(r->book, e->hash, &chain);
	return 0;
}

/* Takes the sums first, then the frames: those of each sum have been sent before it. */
static int read_stacks(struct reader *r, uint64_t bound)
{
	struct gil_bpf *skel = probes__skeleton(r->probes);
	int err;

	if (!r->with_stacks || r->sums_bound == bound)
		return 0;
	r->sums_bound = bound;
	err = stack_sums__take(&r->sums, bpf_map__fd(skel->maps.stack_sums), bpf_map__max_entries(skel->maps.stack_sums));
	ring_buffer__consume(r->stack_ring);
	take_samples(r);
	return err;
}

struct stack_owner {
	uint32_t thread; /* index in the sample */
	struct thread_key key;
	const char *name;
};

/* A whole stack's part in the interval: to the sample, and to who wants each. */
static int give_stack(struct collection *c, const struct stack_owner *owner, const char *line, const struct stack_weights *w)
{
	if (c->r->on_stack)
		c->r->on_stack(c->r->on_stack_arg, c->slot, &(struct stack_time){
			.thread = owner->key, .name = owner->name, .line = line,
			.hold_ns = w->hold_ns, .blame_ns = w->blame_ns, .wait_ns = w->wait_ns,
		});
	return stack_cells__add(&c->sample->stacks, owner->thread, line[0] ? line : "(no Python code)", w, STACK_CELLS);
}

/* C code stands inside the innermost Python frame, but only for what it did: a wait is not its. */
static int give_stacks(struct collection *c, const struct stack_owner *owner, const struct stack_text *text,
		       const struct native_chain *native, const struct gil_stack_sum *sum)
{
	struct stack_weights held = {.hold_ns = sum->hold_ns, .blame_ns = sum->blame_ns}, waited = {.wait_ns = sum->wait_ns};
	const char *line = text ? text->line : "?";
	char longer[STACK_TEXT_MAX + NATIVE_LINE_SIZE];

	if (!native || !(held.hold_ns + held.blame_ns)) {
		stack_weights__add(&held, &waited);
		return give_stack(c, owner, line, &held);
	}
	snprintf(longer, sizeof(longer), "%s;%s", line[0] ? line : "(no Python code)", native->line);
	return give_stack(c, owner, longer, &held) ?: waited.wait_ns ? give_stack(c, owner, line, &waited) : 0;
}

static int add_stack(struct collection *c, const struct gil_stack_key *key, const struct gil_stack_sum *sum)
{
	const struct stack_text *text = stack_book__find(c->r->book, key->hash);
	const struct native_chain *native = text ? native_tally__winner(text->native) : NULL;
	uint32_t gil = key->slot && key->slot < c->r->slots_n ? probes__thread(c->r->probes, key->slot)->gil : 0;
	struct code_cell cell = {
		.hold_ns = sum->hold_ns, .blame_ns = sum->blame_ns, .wait_ns = sum->wait_ns, .times = (uint32_t)sum->times,
	};
	struct stack_owner owner;
	struct who who = {0};
	bool known = key->slot ? identify_slot(c, key->slot, &who) : identify_tstate(c, key->tstate, &who);
	long thread = known ? sample_thread(c, &who.key, gil, who.name) : sample_unknown(c, gil);

	if (thread < 0)
		return -ENOMEM;
	cell.thread = (uint32_t)thread;
	owner = (struct stack_owner){cell.thread, who.key, known ? who.name : "unknown"};
	if (give_stacks(c, &owner, text, native, sum))
		return -ENOMEM;
	if (text)
		code_cell__set_place(&cell, text->leaf.function, text->leaf.file, text->leaf.line, text->leaf.firstlineno);
	else
		code_cell__set_place(&cell, "?", "", 0, 0);
	code_cell__set_native(&cell, native ? native->name : NULL);
	return proc_sample__add_code(c->sample, &cell, SIZE_MAX);
}

static int add_stacks(struct collection *c)
{
	int err = 0;

	c->sample->code_known = c->watch->stacks != NULL;
	for (size_t i = 0; !err && i < c->r->sums.n; i++)
		if (c->r->sums.keys[i].proc == c->slot)
			err = add_stack(c, &c->r->sums.keys[i], &c->r->sums.values[i]);
	return err ?: proc_sample__cap_code(c->sample, CODE_CELLS);
}

/* Some of those who wait for that GIL now, by name. */
static void name_victims(struct collection *c, uint32_t gil, char *buf, size_t size)
{
	size_t len = 0, more = 0;
	struct who who = {0};

	buf[0] = '\0';
	for (uint32_t slot = c->r->first[c->slot]; slot; slot = c->r->next[slot]) {
		const struct gil_thread *t = probes__thread(c->r->probes, slot);

		if (t->state != GIL_THREAD_LIVE || t->gil != gil || !t->cur.wait_since || !identify_slot(c, slot, &who))
			continue;
		if (len + strlen(who.name) + sizeof(", and 4294967295 more") < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "", who.name);
		else
			more++;
	}
	if (more)
		snprintf(buf + len, size - len, " and %zu more", more);
}

/* Who and which stack, for those who want to know at once. */
static void tell_long(struct reader *r, const struct gil_stack_event *e)
{
	struct collection c = {.r = r, .slot = e->proc, .watch = &r->watches[e->proc], .bound = clock_of(r)->end};
	struct long_event told = {
		.wait = e->what == GIL_STACK_WAIT_LASTS || e->what == GIL_STACK_WAIT_ENDED,
		.ended = e->what == GIL_STACK_HOLD_ENDED || e->what == GIL_STACK_WAIT_ENDED, .waiters = e->waiters,
		.at_ns = e->at, .since_ns = e->since, .waited_ns = e->waited_ns, .stack = stack_book__find(r->book, e->hash),
	};
	struct who who = {.name = ""}, waiter = {.name = ""};

	c.proc = *probes__proc(r->probes, e->proc);
	told.gil = (uint32_t)c.proc.gil_owner[e->gil % GIL_PER_PROC].id;
	list_threads(r, r->listed_bound);
	if (!(e->slot ? identify_slot(&c, e->slot, &who) : identify_tstate(&c, e->tstate, &who)))
		who = (struct who){.name = ""};
	if (e->what == GIL_STACK_WAIT_LASTS && identify_slot(&c, e->other, &waiter)) {
		told.holder = who.key;
		snprintf(told.holder_name, sizeof(told.holder_name), "%s", who.name);
		who = waiter;
	}
	if (e->what == GIL_STACK_HOLD_LASTS)
		name_victims(&c, e->gil, told.victims, sizeof(told.victims));
	told.thread = who.key;
	snprintf(told.name, sizeof(told.name), "%s", who.name);
	r->on_long(r->on_long_arg, e->proc, &told);
}

/* Frames are named at once: code objects may be freed. */
static int take_stack(void *ctx, void *data, size_t size)
{
	const struct gil_stack_event *e = data;
	struct reader *r = ctx;

	if (size < offsetof(struct gil_stack_event, frames) || e->proc >= r->watches_n || !r->watches[e->proc].used ||
	    e->depth > GIL_STACK_DEPTH || size < offsetof(struct gil_stack_event, frames) + e->depth * sizeof(e->frames[0]))
		return 0;
	if (e->depth || e->what != GIL_STACK_HOLD_ENDED)
		stack_book__learn(r->book, e, r->watches[e->proc].stacks);
	/* Others wait for it: it holds the GIL. */
	if (e->waiters && e->slot && e->slot < r->slots_n)
		cpu_samples__want(r->cpu_samples, (pid_t)probes__thread(r->probes, e->slot)->tid, e->at);
	if (e->what != GIL_STACK_SEEN)
		take_samples(r);
	if (e->what != GIL_STACK_SEEN && r->on_long)
		tell_long(r, e);
	return 0;
}

void reader__on_stack(struct reader *r, void (*on_stack)(void *arg, uint32_t slot, const struct stack_time *s), void *arg)
{
	r->on_stack = on_stack;
	r->on_stack_arg = arg;
}

void reader__on_long(struct reader *r, void (*on_long)(void *arg, uint32_t slot, const struct long_event *e), void *arg)
{
	r->on_long = on_long;
	r->on_long_arg = arg;
}

/* ---- the whole sample ---- */

static int collect_threads(struct collection *c)
{
	int err;

	c->watch->oldest_wait = UINT64_MAX;
	err = collect_thread(c, GIL_SLOT_OTHER + c->slot);
	for (uint32_t slot = c->r->first[c->slot]; !err && slot; slot = c->r->next[slot])
		err = collect_thread(c, slot);
	return err;
}

static int add_gil(struct collection *c, uint32_t gil)
{
	uint32_t number = gil_number(c, gil);
	struct gil_sample *g;
	int err = 0;

	for (size_t i = 0; i < c->sample->gils_n; i++)
		if (c->sample->gils[i].gil == number)
			return 0;
	g = proc_sample__add_gil(c->sample);
	if (!g)
		return -ENOMEM;
	g->gil = number;
	g->addr = c->gils[gil].addr > GIL_PLACE_LAST ? c->gils[gil].addr : 0;
	g->m.known = known_in(c);
	for (size_t i = 0; i < c->sample->threads_n; i++)
		if (c->sample->threads[i].gil == number)
			err = metrics__sum(&g->m, &c->sample->threads[i].m) ?: err;
	return metrics__sum(&c->sample->total, &g->m) ?: err;
}

static int sum_up(struct collection *c)
{
	int err = 0;

	c->sample->total.known = known_in(c);
	for (size_t i = 0; i < c->sample->threads_n; i++)
		c->sample->threads[i].m.known = known_in(c);
	for (uint32_t gil = 0; !err && gil < GIL_PER_PROC; gil++)
		if (gil_life__is_used(c->proc.gil_addr[gil]))
			err = add_gil(c, gil);
	return err;
}

static void count_hits(struct collection *c)
{
	struct watch *w = c->watch;
	double cost = 0;

	for (int kind = 0; kind < 8; kind++) {
		uint64_t delta = c->proc.hits[kind] - w->hits[kind];

		c->sample->hits += delta;
		cost += (double)delta * w->price_ns[kind];
		w->hits[kind] = c->proc.hits[kind];
	}
	c->sample->cost_ns = (uint64_t)cost;
	for (int loss = 0; loss < GIL_LOSS_COUNT; loss++) {
		c->sample->lost[loss] = c->proc.lost[loss] - w->lost[loss];
		w->lost[loss] = c->proc.lost[loss];
	}
	c->sample->lost[GIL_LOSS_TORN_READ] += w->torn;
	w->torn = 0;
}

/* Threads the process has now: /proc/PID/task has a link for each. */
static uint32_t live_threads(pid_t pid)
{
	struct stat st;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	return stat(path, &st) == 0 && st.st_nlink > 2 ? (uint32_t)st.st_nlink - 2 : 0;
}

static void describe_interval(struct collection *c)
{
	struct proc_sample *s = c->sample;
	uint64_t begin = max_u64(c->from, c->proc.armed_at);

	s->len_ns = c->bound > c->from ? c->bound - c->from : 0;
	s->observed_ns = c->bound > begin ? c->bound - begin : 0;
	s->mode = c->proc.mode;
	s->blame_sampled = c->proc.mode == GIL_MODE_LIGHT;
	s->cpu_ns = UINT64_MAX;
	s->rss_kib = UINT64_MAX;
	s->live_threads = live_threads(probes__pid(c->r->probes, c->slot));
}

/* What was to be told of GILs that have ended is told: their places are for others. */
static void mind_gils(struct reader *r, uint32_t slot)
{
	struct watch *w = &r->watches[slot];
	uint32_t freed;

	find_slots_end(r);
	freed = gil_life__mind(r->probes, slot, &w->off, w->runtime, r->slots_end);
	for (uint32_t gil = 0; gil < GIL_PER_PROC; gil++)
		if (freed >> gil & 1)
			reader__seed(r, slot, gil, 0);
}

/*
 * The first interval of a process begins with its birth, even if that was in the interval before: then it was not told of
 * until now, and what it did since is in this sample.
 */
static uint64_t begin_of(const struct watch *w, const struct gil_clock *clock)
{
	return w->born_at && !w->collected ? w->born_at : max_u64(clock->start, w->born_at);
}

int reader__collect(struct reader *r, uint32_t slot, struct proc_sample **ret)
{
	struct gil_clock *clock = clock_of(r);
	struct collection c = {
		.r = r, .slot = slot, .watch = &r->watches[slot], .from = begin_of(&r->watches[slot], clock),
		.bound = clock->end,
		.gils = r->gils, .sample = proc_sample__new(),
	};
	int err = c.sample ? 0 : -ENOMEM;

	if (!err) {
		c.proc = *probes__proc(r->probes, slot);
		read_gils(&c);
		if (r->listed_bound != c.bound)
			list_threads(r, c.bound);
		err = r->blame_bound == c.bound ? 0 : read_blame(r, c.bound);
		err = err ?: read_stacks(r, c.bound);
	}
	err = err ?: collect_threads(&c);
	if (!err) {
		for (uint32_t gil = 0; gil < GIL_PER_PROC; gil++)
			add_seed_hold(&c, gil);
		err = add_stacks(&c);
	}
	if (!err) {
		describe_interval(&c);
		count_hits(&c);
		err = sum_up(&c) ?: err;
	}
	if (err) {
		proc_sample__free(c.sample);
		return err;
	}
	mind_gils(r, slot);
	c.watch->collected |= c.bound > c.from;
	*ret = c.sample;
	return 0;
}

/* ---- giving slots back ---- */

/* Makes a slot as good as new. */
static void give_back_one(struct reader *r, uint32_t slot)
{
	struct gil_bpf *skel = probes__skeleton(r->probes);
	struct gil_thread *t = probes__thread(r->probes, slot);

	memo_free(r, slot);
	memset(t, 0, sizeof(*t));
	if (slot >= probes__first_thread(r->probes) &&
	    bpf_map_update_elem(bpf_map__fd(skel->maps.free_slots), NULL, &slot, BPF_ANY))
		log_debug("thread slot %u could not be given back", slot);
}

/* Gives back all slots marked in r->gone; nothing may remember them as victim or holder then. */
static void give_back(struct reader *r)
{
	int blame_fd = bpf_map__fd(probes__skeleton(r->probes)->maps.blame);

	blame_reading__forget(&r->blame, blame_fd, r->gone);
	for (uint32_t slot = 0; slot < r->slots_n; slot++)
		if (r->memos[slot])
			blame_memo__forget(&r->memos[slot]->blame, r->gone);
	for (uint32_t slot = 0; slot < r->slots_n; slot++)
		if (r->gone[slot])
			give_back_one(r, slot);
	memset(r->gone, 0, r->slots_n * sizeof(*r->gone));
}

/* Collected as final at an earlier boundary, and every open wait has been charged since. */
static bool has_rested(struct reader *r, uint32_t slot)
{
	const struct gil_thread *t = probes__thread(r->probes, slot);
	const struct memo *m = r->memos[slot];

	return m && m->resting && t->state != GIL_THREAD_LIVE && m->rests_since < clock_of(r)->end &&
	       m->rests_since <= r->watches[t->proc].oldest_wait;
}

void reader__advance(struct reader *r, uint64_t end_ns)
{
	struct gil_clock *clock = clock_of(r);
	uint64_t passed = clock->end;

	size_t gone = 0;

	for (uint32_t slot = probes__first_thread(r->probes); slot < r->slots_end; slot++) {
		r->gone[slot] = has_rested(r, slot);
		gone += r->gone[slot];
	}
	if (gone)
		give_back(r);
	blame_reading__clear(&r->blame); /* megabytes where hundreds of threads wait for each other */
	r->blame_bound = 0;
	r->sums.n = 0;
	__atomic_store_n(&clock->start, passed, __ATOMIC_SEQ_CST);
	__atomic_store_n(&clock->end, end_ns, __ATOMIC_SEQ_CST);
}

uint64_t reader__interval_start(struct reader *r)
{
	return clock_of(r)->start;
}

void reader__cut(struct reader *r, uint64_t end_ns)
{
	__atomic_store_n(&clock_of(r)->end, end_ns, __ATOMIC_SEQ_CST);
}

static void forget_watch(struct reader *r, uint32_t slot)
{
	r->gone[GIL_SLOT_OTHER + slot] = true;
	pynames__free(r->watches[slot].names);
	pystack__free(r->watches[slot].stacks);
	native__free(r->watches[slot].native);
	if (r->book)
		stack_book__forget(r->book, slot);
	r->watches[slot] = (struct watch){.forgotten = true};
}

void reader__forget(struct reader *r, const uint32_t *slots, size_t n)
{
	find_slots_end(r);
	for (size_t i = 0; i < n; i++)
		forget_watch(r, slots[i]);
	for (uint32_t i = probes__first_thread(r->probes); i < r->slots_end; i++) {
		struct gil_thread *t = probes__thread(r->probes, i);

		r->gone[i] = t->state != GIL_THREAD_FREE && t->proc < r->watches_n && r->watches[t->proc].forgotten;
	}
	/* Pairs charged since the last reading would pass to whoever has the slots next. */
	if (blame_reading__read(&r->blame, bpf_map__fd(probes__skeleton(r->probes)->maps.blame)))
		log_debug("the pairs of %zu processes could not be read", n);
	r->blame_bound = 0;
	r->listed_bound = 0;
	give_back(r);
	for (size_t i = 0; i < n; i++)
		r->watches[slots[i]].forgotten = false;
}

uint64_t reader__hits(struct reader *r, uint32_t slot, enum gil_site_kind kind)
{
	return probes__proc(r->probes, slot)->hits[kind];
}

/* ---- process events ---- */

int reader__fd(const struct reader *r)
{
	return r->fd;
}

int reader__drain(struct reader *r, void (*on_event)(void *arg, const struct gil_event *e), void *arg)
{
	int n;

	r->on_event = on_event;
	r->on_event_arg = arg;
	n = ring_buffer__consume(r->ring);
	if (n >= 0 && r->stack_ring)
		n = ring_buffer__consume(r->stack_ring);
	if (n >= 0 && r->native_ring)
		take_samples(r);
	return n < 0 ? n : 0;
}

/* ---- a trace ---- */

static void tell_of_gils(struct reader *r, uint32_t slot, struct gil_trace_event event, reader_trace_fn *on_event, void *arg)
{
	const struct gil_proc *proc = probes__proc(r->probes, slot);
	uint64_t at = event.at;
	uint32_t inside;

	event.proc = (uint16_t)slot;
	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		if (!gil_life__is_used(proc->gil_addr[i]))
			continue;
		event.gil = (uint32_t)proc->gil_owner[i].id;
		event.at = max_u64(at, proc->gil_owner[i].since);
		event.tid = 0;
		if (event.kind == GIL_TRACE_START && r->watches[slot].seed[i])
			event.tid = (uint32_t)tid_of_tstate(r, slot, r->watches[slot].seed[i], &inside);
		event.lost = event.kind == GIL_TRACE_END ? probes__gil(r->probes, slot, i)->trace_lost : 0;
		on_event(arg, &event);
	}
}

void reader__begin_trace(struct reader *r, uint32_t slot, reader_trace_fn *on_event, void *arg)
{
	tell_of_gils(r, slot, (struct gil_trace_event){
		.kind = GIL_TRACE_START, .at = probes__proc(r->probes, slot)->armed_at,
	}, on_event, arg);
}

int reader__drain_trace(struct reader *r, reader_trace_fn *on_event, void *arg)
{
	int n;

	r->on_trace = on_event;
	r->on_trace_arg = arg;
	n = ring_buffer__consume(r->trace_ring);
	return n < 0 ? n : 0;
}

void reader__end_trace(struct reader *r, uint32_t slot, uint64_t end_ns, reader_trace_fn *on_event, void *arg)
{
	tell_of_gils(r, slot, (struct gil_trace_event){.kind = GIL_TRACE_END, .at = end_ns}, on_event, arg);
}

bool reader__thread_name(struct reader *r, uint32_t slot, pid_t tid, char name[THREAD_NAME_SIZE])
{
	pid_t pid = probes__pid(r->probes, slot), inside = r->watches[slot].foreign ? target__id_inside(pid, tid) : tid;
	uint64_t start_ticks, stack;

	name[0] = '\0';
	return target__stat(pid, tid, &start_ticks, &stack) == 0 && live_name(r, slot, tid, inside, 0, start_ticks, name);
}
