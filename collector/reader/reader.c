/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See reader.h. Every number that leaves here is the state at the boundary B minus the state at the boundary before.
 *
 * Life cycle, the interval in force, and one process's sample: records (record.h) -> what is new (time_memo.h, blame_memo.h) ->
 * threads by name -> sums per GIL. Rooms of their own: reader_inside.h lists them. Only this one knows the skeleton: it hands
 * the others the maps that they need.
 */
#include "reader_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "collector/python/pynames.h"
#include "collector/series/hist.h"
#include "gil.skel.h"
#include "gil_life.h"

#define SETTLED_LOOKS 5     /* a settled thread that Python has named is looked up again every so many intervals */

/* ---- setting up ---- */

static int take_event(void *ctx, void *data, size_t size)
{
	struct reader *r = ctx;

	if (size >= sizeof(struct gil_event) && r->on_event)
		r->on_event(r->on_event_arg, data);
	return 0;
}

static int open_stacks(struct reader *r, const struct gil_bpf *skel)
{
	const struct stack_tables tables = {
		.events_fd = bpf_map__fd(skel->maps.stack_events), .native_fd = bpf_map__fd(skel->maps.native_events),
		.sums_fd = bpf_map__fd(skel->maps.stack_sums), .sums_max = bpf_map__max_entries(skel->maps.stack_sums),
		.ticks_fd = bpf_map__fd(skel->maps.tick_sums), .ticks_max = bpf_map__max_entries(skel->maps.tick_sums),
		.sampler_fd = bpf_program__fd(skel->progs.gil_sample), .tick_ns = probes__stack_opts(r->probes)->tick_ns,
	};

	return skel->rodata->cfg_stacks ? reader_stacks__open(r, &tables) : 0;
}

static int open_trace(struct reader *r, const struct gil_bpf *skel)
{
	return skel->rodata->cfg_trace ? reader_trace__open(r, bpf_map__fd(skel->maps.trace)) : 0;
}

static int watch_ring(struct reader *r, const struct ring_buffer *ring)
{
	struct epoll_event event = {.events = EPOLLIN};

	return ring && epoll_ctl(r->fd, EPOLL_CTL_ADD, ring_buffer__epoll_fd(ring), &event) ? -errno : 0;
}

static int open_rings(struct reader *r, const struct gil_bpf *skel)
{
	int err;

	r->fd = epoll_create1(EPOLL_CLOEXEC);
	if (r->fd < 0)
		return -errno;
	r->ring = ring_buffer__new(bpf_map__fd(skel->maps.events), take_event, r, NULL);
	if (!r->ring)
		return -errno;
	err = open_stacks(r, skel);
	err = err ?: open_trace(r, skel);
	err = err ?: watch_ring(r, r->ring);
	return err ?: watch_ring(r, r->stacks.ring);
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
	r->clock = &skel->bss->gil_clock;
	r->blame_fd = bpf_map__fd(skel->maps.blame);
	r->free_slots_fd = bpf_map__fd(skel->maps.free_slots);
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
	if (!r->watches || !r->gils || !r->memos || !r->gone || !r->owes || !r->first || !r->next)
		err = err ?: -ENOMEM;
	if (err) {
		reader__free(r);
		return reason__set(why, err, "can't set up the reader: %s", strerror(-err));
	}
	*ret = r;
	return 0;
}

void reader__free(struct reader *r)
{
	if (!r)
		return;
	reader_slots__free_memos(r);
	ring_buffer__free(r->ring);
	reader_trace__close(r);
	reader_stacks__close(r);
	if (r->fd >= 0)
		close(r->fd);
	blame_places__free(&r->blame_places);
	blame_reading__clear(&r->blame);
	free(r->gils);
	free(r->gone);
	free(r->owes);
	free(r->first);
	free(r->next);
	for (uint32_t slot = 0; r->watches && slot < r->watches_n; slot++)
		pynames__free(r->watches[slot].names);
	free(r->watches);
	free(r);
}

int reader__watch(struct reader *r, uint32_t slot, const struct pyoffsets *off, uint64_t runtime, uint64_t born_at,
		  const double price_ns[8])
{
	struct watch *w = &r->watches[slot];

	*w = (struct watch){.used = true, .off = *off, .runtime = runtime, .born_at = born_at, .missed = r->missed};
	memcpy(w->price_ns, price_ns, sizeof(w->price_ns));
	w->foreign = target__id_inside(probes__pid(r->probes, slot), probes__pid(r->probes, slot)) != 0;
	if (reader_stacks__watch(r, slot))
		return -ENOMEM;
	return pynames__new(probes__pid(r->probes, slot), runtime, off, &w->names);
}

void reader__ask_gc(struct reader *r, uint32_t slot, const struct gc_watch *gc)
{
	r->watches[slot].gc = gc;
}

void reader__seed(struct reader *r, uint32_t slot, uint32_t gil, uint64_t tstate)
{
	if (gil >= GIL_PER_PROC)
		return;
	r->watches[slot].seed[gil] = tstate;
}

void reader__explain(struct reader *r, uint32_t slot, uint32_t gil, const struct task_spent *spent)
{
	r->watches[slot].spent[gil % GIL_PER_PROC] = *spent;
}

int reader__forget_open(struct reader *r, uint32_t slot, uint64_t from)
{
	int err = blame_reading__read(&r->blame, r->blame_fd, UINT64_MAX);

	r->blame_bound = 0;
	reader_slots__find_end(r);
	for (uint32_t i = GIL_SLOT_OTHER; !err && i < r->slots_end; i++) {
		const struct gil_thread *t = probes__thread(r->probes, i);

		if (!r->memos[i] || t->proc != slot)
			continue;
		time_memo__forget_open(&r->memos[i]->times, &t->cur,
				       probes__gil(r->probes, slot, t->gil % GIL_PER_PROC)->since, from);
		blame_memo__forget_open(&r->memos[i]->blame, &r->blame, i);
		r->memos[i]->settled = 0;
	}
	return err;
}

/* ---- the interval in force ---- */

void reader__begin(struct reader *r, uint64_t start_ns, uint64_t end_ns)
{
	__atomic_store_n(&r->clock->start, start_ns, __ATOMIC_SEQ_CST);
	__atomic_store_n(&r->clock->end, end_ns, __ATOMIC_SEQ_CST);
}

void reader__advance(struct reader *r, uint64_t end_ns)
{
	uint64_t passed = r->clock->end;

	reader_slots__free_rested(r);
	blame_reading__clear(&r->blame); /* megabytes where hundreds of threads wait for each other */
	r->blame_bound = 0;
	r->stacks.sums.n = 0;
	r->stacks.tick_sums.n = 0;
	__atomic_store_n(&r->clock->start, passed, __ATOMIC_SEQ_CST);
	__atomic_store_n(&r->clock->end, end_ns, __ATOMIC_SEQ_CST);
}

uint64_t reader__interval_start(struct reader *r)
{
	return r->clock->start;
}

uint64_t reader__interval_end(struct reader *r)
{
	return r->clock->end;
}

void reader__cut(struct reader *r, uint64_t end_ns)
{
	__atomic_store_n(&r->clock->end, end_ns, __ATOMIC_SEQ_CST);
}

/* ---- the end of processes ---- */

static void forget_watch(struct reader *r, uint32_t slot)
{
	r->gone[GIL_SLOT_OTHER + slot] = true;
	pynames__free(r->watches[slot].names);
	reader_stacks__forget(r, slot);
	r->watches[slot] = (struct watch){.forgotten = true};
}

void reader__forget(struct reader *r, const uint32_t *slots, size_t n)
{
	for (size_t i = 0; i < n; i++)
		forget_watch(r, slots[i]);
	reader_slots__free_forgotten(r);
	for (size_t i = 0; i < n; i++)
		r->watches[slots[i]].forgotten = false;
}

/* ---- process events ---- */

uint64_t reader__hits(struct reader *r, uint32_t slot, enum gil_site_kind kind)
{
	return probes__proc(r->probes, slot)->hits[kind];
}

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
	return n < 0 ? n : reader_stacks__drain(r);
}

/* ---- what one process was at one boundary ---- */

static void read_gils(struct collection *c)
{
	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		struct gil_record *g = &c->gils[i];

		g->addr = c->proc.gil_addr[i];
		g->current = g->torn = false;
		if (!gil_life__is_used(g->addr)) {
			g->at = g->state.cur = (struct gil_view){0};
			continue;
		}
		if (!gil_record__read(probes__gil(c->r->probes, c->slot, i), c->bound, g))
			c->watch->torn++;
		g->current = !g->torn && g->state.arm_gen == c->proc.arm_gen && g->at.events > 0;
	}
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#define KNOWN_IN_HOLDS (KNOWN_HOLD | KNOWN_ACQUIRES | KNOWN_OFF_CPU | KNOWN_HOLD_EST | KNOWN_GC | KNOWN_GC_EXACT)

static uint32_t known_in(const struct collection *c)
{
	static const uint32_t known[GIL_MODES] = {
		[GIL_MODE_OFF] = KNOWN_ALL,
		[GIL_MODE_FULL] = KNOWN_ALL,
		[GIL_MODE_LIGHT] = KNOWN_WAIT | KNOWN_WAIT_EST | KNOWN_FORCED | KNOWN_HOLD_EST,
		[GIL_MODE_HOLDS] = KNOWN_IN_HOLDS,
	};
	uint32_t not = KNOWN_OF_GC | (probes__features(c->r->probes)->off_cpu ? 0 : KNOWN_OFF_CPU);

	if (c->proc.gc_exact)
		not &= ~(uint32_t)(KNOWN_GC | KNOWN_GC_WAIT | KNOWN_GC_EXACT);
	if (c->proc.mode == GIL_MODE_LIGHT && !reader_ticks__tell_of_all(c))
		not |= KNOWN_HOLD_EST;
	return known[c->proc.mode % GIL_MODES] & ~not;
}

/* Places are given to other GILs in the course of time, ids of interpreters are not. */
static uint32_t gil_number(const struct collection *c, uint32_t gil)
{
	return (uint32_t)c->proc.gil_owner[gil % GIL_PER_PROC].id;
}

/* Index in the sample of a thread on a GIL, added if need be; -1: no memory. */
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

long collection__thread(struct collection *c, const struct who *who, uint32_t gil)
{
	const struct thread_key unknown = {.tid = 0, .start_ticks = PSEUDO_UNKNOWN};

	return who ? sample_thread(c, &who->key, gil, who->name) : sample_thread(c, &unknown, gil, "unknown");
}

/* ---- blame ---- */

/* Index in the sample of the thread that a PyThreadState belongs to. */
static long holder_by_tstate(struct collection *c, uint64_t tstate, uint32_t gil)
{
	struct who who = {0};

	return collection__thread(c, reader_names__of_tstate(c->r, c->slot, tstate, &who) ? &who : NULL, gil);
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
	return collection__thread(c, reader_names__of_slot(c->r, c->slot, slot, &who) ? &who : NULL, gil);
}

/* Blame of one victim in this interval; what does not fit goes to its unknown part. */
static void add_blame(struct collection *c, uint32_t gil, long victim, const struct blame_list *parts)
{
	for (size_t i = 0; i < parts->n; i++) {
		long holder = holder_of(c, &parts->part[i], gil);

		/* Several parts may be one thread's: by its slot, its state, or as who held when the probes were armed. */
		if (holder < 0 || proc_sample__charge(c->sample, &c->r->blame_places, (uint32_t)victim, (uint32_t)holder,
						      parts->part[i].ns))
			c->sample->threads[victim].m.unknown_ns += parts->part[i].ns;
	}
}

/*
 * Reads the pairs, and notes who has an open wait that was not charged up to the boundary at that moment: the reading lacks
 * that charge for sure only as long as the waiter's record has not seen the boundary either.
 */
static int read_blame(struct reader *r, uint64_t bound)
{
	r->blame_bound = bound;
	reader_slots__find_end(r);
	for (uint32_t slot = probes__first_thread(r->probes); slot < r->slots_end; slot++) {
		const struct gil_thread *t = probes__thread(r->probes, slot);

		r->owes[slot] = t->state != GIL_THREAD_FREE && t->cur.wait_since && t->bound < bound;
	}
	return blame_reading__read(&r->blame, r->blame_fd, bound);
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

	if (live && (!m->name_pythons || m->settled % SETTLED_LOOKS == 0))
		reader_names__look(c->r, c->slot, slot);
	m->settled++;
}

static void note_settled(struct memo *m, const struct moment *at)
{
	const struct record *rec = at->rec;

	m->settled = rec->bound < at->bound && !rec->at.wait_since && !rec->at.handoff_since && !rec->at.gc_run &&
		     !moment__open_hold_since(at);
	m->seq = rec->seq;
	m->state = rec->state;
}

static bool nothing_happened(const struct metrics *m)
{
	return !m->hold_ns && !m->wait_ns && !m->acquires && !m->contended && !m->forced && !m->waiting &&
	       !m->hold_max_ns && !m->gc.hold_ns;
}

static int add_to_sample(struct collection *c, uint32_t slot, const struct record *rec, const struct metrics *metrics,
			 bool exited, const struct blame_list *parts)
{
	struct memo *m = c->r->memos[slot];
	long index = sample_thread(c, &m->key, rec->gil, m->name);

	/* Added, not set: two short lives with one tid may have begun within one clock tick. */
	if (index < 0 || metrics__sum(&c->sample->threads[index].m, metrics))
		return -ENOMEM;
	c->sample->threads[index].exited = exited;
	add_blame(c, rec->gil, index, parts);
	return 0;
}

static void count_violations(struct collection *c, struct memo *m)
{
	c->watch->violations += m->times.violations;
	m->times.violations = 0;
}

static int collect_record(struct collection *c, uint32_t slot, const struct record *rec)
{
	bool other = slot < probes__first_thread(c->r->probes);
	struct metrics metrics = {.known = known_in(c)};
	struct memo *m = c->r->memos[slot];
	const struct moment at = {
		.rec = rec, .gil = &c->gils[rec->gil % GIL_PER_PROC], .from = c->from, .bound = c->bound, .slot = slot,
		.arm_gen = c->proc.arm_gen, .mode = c->proc.mode,
	};
	/* Who ended with the GIL has it for ever, and is told of as long. */
	bool dead = rec->state != GIL_THREAD_LIVE && rec->bound < c->bound && !moment__open_hold_since(&at);
	struct blame_list open = {0}, parts = {0};
	int err;

	/* All of it was told: a wait that its GIL's end has left open is nobody's from there on. */
	if (dead && m->resting)
		return 0;
	err = time_memo__settle(&m->times, &at, &metrics, &open);
	err = blame_memo__settle(&m->blame, &c->r->blame, slot, at.gil->state.seed_slot, &open, &parts) ?: err;
	time_memo__explain(&m->times, &metrics, &parts);
	count_violations(c, m);
	if (!(metrics.known & KNOWN_GC))
		metrics.gc = (struct gc_time){0};
	if (!m->resting && (!nothing_happened(&metrics) || (dead && !other)))
		err = add_to_sample(c, slot, rec, &metrics, dead && rec->state == GIL_THREAD_DEAD, &parts) ?: err;
	if (dead && !m->resting)
		m->rests_since = c->bound;
	m->resting = dead;
	if (!dead && record__waits(rec, c->proc.arm_gen) && rec->at.wait_place < c->watch->oldest_wait)
		c->watch->oldest_wait = rec->at.wait_place;
	note_settled(m, &at);
	metrics__clear(&metrics);
	blame_list__clear(&open);
	blame_list__clear(&parts);
	return err;
}

/* What can't be read now is told of an interval later. Until then it may wait for anybody. */
static int put_off(struct collection *c)
{
	c->watch->oldest_wait = 0;
	return 0;
}

static int collect_thread(struct collection *c, uint32_t slot)
{
	struct memo *m = reader_slots__memo(c->r, slot);
	struct record rec;

	if (!m)
		return -ENOMEM;
	if (c->gils[probes__thread(c->r->probes, slot)->gil % GIL_PER_PROC].torn)
		return put_off(c);
	if (is_settled(c, m, slot)) {
		remain_settled(c, m, slot);
		return 0;
	}
	if (!record__read(probes__thread(c->r->probes, slot), c->bound, &rec)) {
		c->watch->torn++;
		return put_off(c);
	}
	/* Charged since the pairs were read: they must be read again to belong to this record. */
	if (c->r->owes[slot] && rec.bound >= c->bound && read_blame(c->r, c->bound))
		return -ENOMEM;
	reader_names__note(c->r, c->slot, slot, &rec);
	return collect_record(c, slot, &rec);
}

/* A hold that was open at arming and of which no event has told yet. */
static int add_seed_hold(struct collection *c, uint32_t gil)
{
	const struct gil_record *g = &c->gils[gil];
	uint64_t since = max_u64(c->from, c->proc.armed_at), age = c->bound - c->proc.armed_at;
	struct metrics *m;
	long index;

	if (!(known_in(c) & KNOWN_HOLD) || c->proc.armed_at >= c->bound || !c->watch->seed[gil] || g->torn)
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
	return hist__count(&m->hold_open, age);
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

/* What looks have told of holds that no event tells of. */
static void explain_unseen(struct collection *c)
{
	for (uint32_t gil = 0; known_in(c) & KNOWN_OFF_CPU && gil < GIL_PER_PROC; gil++)
		if (gil_life__is_used(c->proc.gil_addr[gil]))
			holding__explain(c->sample, gil_number(c, gil), &c->watch->spent[gil]);
}

/* Whether that is of the interval, or of one that was not told of yet. */
static bool is_of_interval(const struct collection *c, const struct gil_why_sums *sums)
{
	return sums->bound < c->bound && (sums->bound >= c->r->clock->start || !c->watch->collected);
}

/* A counter of the programs is racy by a few. */
static uint64_t since_last(uint64_t now, uint64_t last)
{
	return now > last ? now - last : 0;
}

static void add_missed_switches(struct collection *c, uint32_t gil)
{
	uint32_t now = c->gils[gil].state.switches_missed;

	c->sample->switches_missed += since_last(now, c->watch->switches_missed[gil]);
	c->watch->switches_missed[gil] = now;
}

/* Why the holders of a GIL slept, and who stopped them: what has ended, and what goes on at the boundary. */
static void add_whys(struct collection *c, const struct gil_record *g)
{
	for (int i = 0; i < 2; i++) {
		const struct gil_why_sums *sums = &g->state.whys[i];

		for (int k = 0; is_of_interval(c, sums) && k < GIL_WHYS_KEPT; k++)
			whys__count(&c->sample->whys, &sums->of[k].why, sums->of[k].ns);
		if (is_of_interval(c, sums))
			c->sample->whys.rest_ns += sums->rest_ns;
	}
	if (g->at.state == GIL_OWNER_HELD && g->cpu.why.kind && c->bound > max_u64(g->cpu.since, c->from))
		whys__count(&c->sample->whys, &g->cpu.why, c->bound - max_u64(g->cpu.since, c->from));
}

static int sum_up(struct collection *c)
{
	int err = 0;

	c->sample->total.known = known_in(c);
	for (size_t i = 0; i < c->sample->threads_n; i++) {
		struct metrics *m = &c->sample->threads[i].m;

		m->known = known_in(c);
		if (m->known & KNOWN_HOLD)
			m->hold_est = (struct hold_estimate){.ns = m->hold_ns};
	}
	/* Nothing was seen of any: a window that this is part of knows no less for it. */
	if (c->proc.mode == GIL_MODE_GUARDED)
		return 0;
	for (uint32_t gil = 0; !err && gil < GIL_PER_PROC; gil++) {
		if (!gil_life__is_used(c->proc.gil_addr[gil]))
			continue;
		err = add_gil(c, gil);
		if (!(known_in(c) & KNOWN_OFF_CPU) || !c->gils[gil].current || c->gils[gil].torn)
			continue;
		add_whys(c, &c->gils[gil]);
		add_missed_switches(c, gil);
	}
	return err;
}

static void count_hits(struct collection *c)
{
	struct watch *w = c->watch;
	double cost = 0;

	for (int kind = 0; kind < 8; kind++) {
		uint64_t delta = since_last(c->proc.hits[kind], w->hits[kind]);

		c->sample->hits += delta;
		cost += (double)delta * w->price_ns[kind];
		w->hits[kind] = c->proc.hits[kind];
	}
	c->sample->cost_ns = (uint64_t)cost + reader_ticks__cost(c);
	for (int loss = 0; loss < GIL_LOSS_COUNT; loss++) {
		c->sample->lost[loss] = since_last(c->proc.lost[loss], w->lost[loss]);
		w->lost[loss] = c->proc.lost[loss];
	}
	c->sample->lost[GIL_LOSS_TORN_READ] += w->torn;
	c->sample->lost[GIL_LOSS_WENT_BACK] += w->violations;
	w->torn = w->violations = 0;
	/* Whose they were nobody knows. */
	c->sample->lost[GIL_LOSS_EVENT_MISSED] += c->r->missed - w->missed;
	w->missed = c->r->missed;
}

/* Threads the process has now: /proc/PID/task has a link for each. */
uint32_t reader__live_threads(pid_t pid)
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
	if (c->proc.mode == GIL_MODE_GUARDED)
		s->observed_ns = 0;
	s->mode = c->proc.mode;
	s->blame_sampled = c->proc.mode == GIL_MODE_LIGHT;
	s->cpu_ns = UINT64_MAX;
	s->rss_kib = UINT64_MAX;
	s->live_threads = reader__live_threads(probes__pid(c->r->probes, c->slot));
}

/* What was to be told of GILs that have ended is told: their places are for others. */
static void mind_gils(struct reader *r, uint32_t slot)
{
	struct watch *w = &r->watches[slot];
	uint32_t freed;

	reader_slots__find_end(r);
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
	struct collection c = {
		.r = r, .slot = slot, .watch = &r->watches[slot], .from = begin_of(&r->watches[slot], r->clock),
		.bound = r->clock->end,
		.gils = r->gils, .sample = proc_sample__new(),
	};
	int err = c.sample ? 0 : -ENOMEM;

	if (!err) {
		c.proc = *probes__proc(r->probes, slot);
		read_gils(&c);
		if (r->listed_bound != c.bound) {
			reader_slots__list(r, c.bound);
			r->missed = probes__missed_events(r->probes);
		}
		err = r->blame_bound == c.bound ? 0 : read_blame(r, c.bound);
		err = err ?: reader_stacks__read(r, c.bound);
	}
	err = err ?: collect_threads(&c);
	if (!err) {
		for (uint32_t gil = 0; gil < GIL_PER_PROC; gil++)
			add_seed_hold(&c, gil);
		explain_unseen(&c); /* before it is divided among places */
		err = reader_stacks__add(&c);
	}
	if (!err) {
		describe_interval(&c);
		count_hits(&c);
		err = sum_up(&c) ?: err;
	}
	memset(c.watch->spent, 0, sizeof(c.watch->spent));
	if (err) {
		proc_sample__free(c.sample);
		return err;
	}
	mind_gils(r, slot);
	c.watch->collected |= c.bound > c.from;
	*ret = c.sample;
	return 0;
}
