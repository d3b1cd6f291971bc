/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See looker.h. One look is one system call: the words from `locked` or `last_holder` to the end of `cond`, and then
 * `switch_number` once more. Where it has changed meanwhile, the look is taken again: holder and number may not belong together.
 *
 * The number of waiters is one of cond's words: __wrefs >> 3 (nptl/pthread_cond_wait.c), at 36 up to glibc 2.40 and at 28 from
 * 2.41 on, where the words before it are fewer. Which one it is tells the word itself: CPython asks for the monotonic clock
 * (Python/thread_pthread.h), which is bit 1 of the three below the number. Else the first thread says it that is seen queueing:
 * it sleeps on one of __g_signals, at 40 and 44, or at 32 and 36 (sysdeps/nptl/bits/thread-shared-types.h; at 32 stood a lock
 * before). Until then, and with another C library, the number is unknown.
 */
#include "looker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/random.h"
#include "bpf/gil_stack.h"
#include "collector/cpython/gc_words.h"
#include "collector/process/precedence.h"
#include "collector/process/procmem.h"
#include "collector/python/pystack.h"
#include "collector/target/target.h"
#include "holder_look.h"

#define COND_SIZE 48
#define WREFS_SHIFT 3
#define WREFS_MONOTONIC 2       /* of its bits below, alone: monotonic clock, not shared, nobody destroys it */
#define BLOCK_MAX 512           /* of a GIL's words that are read at once */
#define TORN_MAX 3              /* readings of one look */
#define HOLDERS 64              /* remembered of each process */
#define HOLDER_FRESH_NS 250000000ull
#define THREADS_MAX 8192        /* of a process that are known by their id */
#define FILES_MAX 512           /* kept open, of all threads */
#define LIST_NS 250000000ull    /* between two listings of a process's threads, */
#define LIST_DEAR 200           /* or this many times what one takes */
#define THREAD_SHARE 2          /* this part of what may be used goes into looks at threads */
#define BUDGET_ONE 0.01
#define BUDGET_MANY 0.05
#define MANY 200
#define ACCOUNT_NS 250000000ull
#define PERIOD_MAX_NS 1000000000ull
#define SENT 256                /* stacks of a process that are known to the collector, */
#define SENT_FRESH_NS 5000000000ull /* for so long */
#define FAILS_MAX 3             /* looks in a row: it is gone, or keeps its memory back */

/* Where __wrefs stands in a pthread_cond_t. */
enum cond_layout { COND_UNKNOWN, COND_UP_TO_2_40, COND_SINCE_2_41, COND_LAYOUTS };

static const uint32_t wrefs_at[COND_LAYOUTS] = {[COND_UP_TO_2_40] = 36, [COND_SINCE_2_41] = 28};

struct known_holder {
	uint64_t tstate, at;
	pid_t tid;
};

struct known_thread {
	pid_t tid;
	int fd; /* of its "syscall" file; -1: not open */
};

struct sent_stack {
	uint64_t hash, at;
};

struct subject {
	struct look_subject is;
	bool foreign;            /* it counts its threads in another PID namespace */
	enum cond_layout layout;
	uint32_t fails;
	struct known_holder holders[HOLDERS];
	struct known_thread *threads;
	size_t threads_n, next;  /* in random order; the next one to be looked at */
	uint64_t list_at;
	struct pystack *stacks;  /* NULL: its code is not asked for, or frames are not known */
	struct sent_stack sent[SENT];
};

struct looker {
	struct look_ring *ring;
	struct subject *subjects[LOOK_SUBJECTS];
	size_t living, end;      /* subjects; no one stands at `end` or behind */
	uint32_t changes;        /* of the ring, that have been minded */
	size_t files;
	uint32_t random;
	uint64_t period_ns, begin;     /* of the running period */
	uint64_t last_end;             /* of the last one that had a look */
	uint64_t threads_at;           /* when threads are looked at next, */
	size_t first;                  /* and whose first */
	uint64_t accounted_at, accounted_cpu, accounted_rounds, rounds;
	uint64_t threads_cpu, threads_read; /* of looks at threads alone, halved now and then */
};

/* ---- small things ---- */

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static double budget(size_t procs)
{
	double more = procs > 1 ? (double)(procs - 1) / (MANY - 1) : 0;

	return BUDGET_ONE + (BUDGET_MANY - BUDGET_ONE) * (more < 1 ? more : 1);
}

static void put(struct looker *l, const struct look_record *r)
{
	struct look_ring *ring = l->ring;
	uint64_t head = ring->head;

	if (head - __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) >= LOOK_RECORDS) {
		ring->lost++;
		return;
	}
	ring->records[head % LOOK_RECORDS] = *r;
	__atomic_store_n(&ring->head, head + 1, __ATOMIC_RELEASE);
}

/* ---- whom ---- */

static void close_threads(struct looker *l, struct subject *s)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (s->threads[i].fd >= 0) {
			close(s->threads[i].fd);
			l->files--;
		}
	s->threads_n = 0;
}

static void drop(struct looker *l, size_t i)
{
	struct subject *s = l->subjects[i];

	if (!s)
		return;
	close_threads(l, s);
	pystack__free(s->stacks);
	free(s->threads);
	free(s);
	l->subjects[i] = NULL;
	l->living--;
}

/* What is known of it stays where only its GILs have changed. */
static void take(struct looker *l, size_t i, const struct look_subject *is)
{
	struct subject *s = l->subjects[i];

	if (s && s->is.pid == is->pid) {
		s->is = *is;
		return;
	}
	drop(l, i);
	if (!is->pid)
		return;
	s = calloc(1, sizeof(*s));
	if (!s)
		return;
	s->is = *is;
	s->foreign = target__id_inside(is->pid, is->pid) != 0;
	if (is->with_code && pystack__new(is->pid, &is->off, &s->stacks))
		s->stacks = NULL;
	l->subjects[i] = s;
	l->living++;
}

static void mind_subjects(struct looker *l)
{
	uint32_t changes = __atomic_load_n(&l->ring->changes, __ATOMIC_ACQUIRE);

	for (size_t i = 0; changes != l->changes && i < LOOK_SUBJECTS; i++) {
		const struct look_subject *at = &l->ring->subjects[i];
		uint32_t known = l->subjects[i] ? l->subjects[i]->is.turn : 0;
		uint32_t turn = __atomic_load_n(&at->turn, __ATOMIC_ACQUIRE);
		struct look_subject copy;

		if (turn == known || turn % 2 || (!at->pid && !l->subjects[i]))
			continue;
		copy = *at;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&at->turn, __ATOMIC_RELAXED) == turn)
			take(l, i, &copy);
	}
	l->changes = changes;
	for (l->end = LOOK_SUBJECTS; l->end && !l->subjects[l->end - 1];)
		l->end--;
}

/* ---- a look at a GIL ---- */

struct gil_glance {
	struct gil_words words;
	uint32_t waiters;
};

static uint32_t word_at(const uint8_t *block, uint32_t at)
{
	uint32_t word;

	memcpy(&word, block + at, sizeof(word));
	return word;
}

/* Both may look so by chance, and then the next look tells. */
static void learn_layout(struct subject *s, const uint8_t *cond)
{
	enum cond_layout found = COND_UNKNOWN;

	for (enum cond_layout l = COND_UNKNOWN + 1; l < COND_LAYOUTS; l++) {
		if ((word_at(cond, wrefs_at[l]) & ((1u << WREFS_SHIFT) - 1)) != WREFS_MONOTONIC)
			continue;
		if (found)
			return;
		found = l;
	}
	s->layout = found;
}

static int glance(struct subject *s, uint64_t gil, struct gil_glance *ret)
{
	const struct pyoffsets *off = &s->is.off;
	uint32_t first = off->gil_locked < off->gil_last_holder ? off->gil_locked : off->gil_last_holder;
	uint32_t number = off->gil_cond - (uint32_t)sizeof(uint64_t), len = off->gil_cond + COND_SIZE - first;
	uint8_t block[BLOCK_MAX];
	uint64_t again = 0;
	struct procmem_piece pieces[] = {
		{.addr = gil + first, .buf = block, .len = len},
		{.addr = gil + number, .buf = &again, .len = sizeof(again)},
	};

	if (off->gil_cond < first + sizeof(uint64_t) || len > sizeof(block))
		return -EINVAL;
	for (int i = 0; i < TORN_MAX; i++) {
		procmem__read_many(s->is.pid, pieces, 2);
		if (!pieces[0].ok || !pieces[1].ok)
			return -EFAULT;
		ret->words.locked = word_at(block, off->gil_locked - first);
		memcpy(&ret->words.last_holder, block + off->gil_last_holder - first, sizeof(uint64_t));
		memcpy(&ret->words.switches, block + number - first, sizeof(uint64_t));
		if (ret->words.switches == again)
			break;
	}
	if (s->layout == COND_UNKNOWN)
		learn_layout(s, block + off->gil_cond - first);
	ret->waiters = s->layout == COND_UNKNOWN ? LOOK_WAITERS_UNKNOWN :
		       word_at(block, off->gil_cond - first + wrefs_at[s->layout]) >> WREFS_SHIFT;
	return 0;
}

static pid_t tid_of(struct subject *s, uint64_t tstate, uint64_t now)
{
	struct known_holder *h = &s->holders[(tstate >> 4) * 2654435761u % HOLDERS];

	if (!tstate)
		return 0;
	if (h->tstate != tstate || now - h->at > HOLDER_FRESH_NS)
		*h = (struct known_holder){tstate, now, holder_look__tid(s->is.pid, &s->is.off, tstate, s->foreign)};
	return h->tid;
}

static struct look_record record_of(struct subject *s, size_t i, uint32_t gil, enum look_kind kind, const struct gil_glance *g)
{
	uint64_t now = clock__mono_ns(), holder = gil_words__holder(&g->words);

	return (struct look_record){
		.at = now, .holder = holder, .switches = g->words.switches, .subject = (uint32_t)i, .turn = s->is.turn,
		.holder_tid = (uint32_t)tid_of(s, holder, now), .waiters = g->waiters, .kind = (uint8_t)kind, .gil = (uint8_t)gil,
	};
}

/* What its interpreter's collector does, a moment later; what can't be read is not known. */
static void look_at_collector(const struct subject *s, uint32_t gil, struct look_record *r)
{
	struct gc_words words;

	if (!s->is.collectors[gil] || gc_words__read(s->is.pid, &s->is.off, s->is.collectors[gil], &words))
		return;
	r->collecting = words.collecting;
	for (int i = 0; words.counted && i < GC_GENERATIONS; i++)
		r->collections += words.collections[i];
}

static void look_at_gils(struct looker *l, size_t i, uint32_t weight_ns)
{
	struct subject *s = l->subjects[i];
	struct gil_glance g;

	for (uint32_t gil = 0; gil < s->is.gils_n && s->fails < FAILS_MAX; gil++) {
		struct look_record r;

		if (glance(s, s->is.gils[gil], &g)) {
			if (++s->fails == FAILS_MAX)
				put(l, &(struct look_record){.at = clock__mono_ns(), .subject = (uint32_t)i, .turn = s->is.turn,
							     .kind = LOOK_FAILED});
			continue;
		}
		s->fails = 0;
		r = record_of(s, i, gil, LOOK_AT_GIL, &g);
		r.weight_ns = weight_ns;
		r.locked = g.words.locked == 1;
		look_at_collector(s, gil, &r);
		put(l, &r);
	}
}

/* ---- looks at threads ---- */

static size_t find_thread(const struct known_thread *threads, size_t n, pid_t tid)
{
	size_t i = 0;

	while (i < n && threads[i].tid != tid)
		i++;
	return i;
}

/* Those that there are keep their files; new ones come to the front of what is looked at next. */
static void list_threads(struct looker *l, struct subject *s)
{
	uint64_t begin = clock__mono_ns();
	struct known_thread *was = s->threads, *is = NULL;
	size_t was_n = s->threads_n, n = 0, room = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)s->is.pid);
	dir = opendir(path);
	for (const struct dirent *e = dir ? readdir(dir) : NULL; e && n < THREADS_MAX; e = readdir(dir)) {
		pid_t tid = (pid_t)atoi(e->d_name);
		size_t known;

		if (tid <= 0)
			continue;
		if (n == room) {
			struct known_thread *more = reallocarray(is, room = 2 * room + 16, sizeof(*is));

			if (!more)
				break;
			is = more;
		}
		known = find_thread(was, was_n, tid);
		is[n++] = (struct known_thread){tid, known < was_n ? was[known].fd : -1};
		if (known < was_n)
			was[known].fd = -1;
	}
	if (dir)
		closedir(dir);
	close_threads(l, s);
	free(was);
	for (size_t i = n; i > 1; i--) { /* in random order: Fisher and Yates */
		size_t j = random__next(&l->random) % i;
		struct known_thread swap = is[i - 1];

		is[i - 1] = is[j];
		is[j] = swap;
	}
	s->threads = is;
	s->threads_n = n;
	s->next = 0;
	s->list_at = begin + LIST_NS + LIST_DEAR * (clock__mono_ns() - begin);
}

/* Of a file that opening and closing would cost more than reading. */
static ssize_t read_call(struct looker *l, const struct subject *s, struct known_thread *t, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd = t->fd;

	if (fd < 0) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)s->is.pid, (int)t->tid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return -errno;
	n = pread(fd, buf, size - 1, 0);
	buf[n > 0 ? n : 0] = '\0';
	if (t->fd < 0 && n > 0 && l->files < FILES_MAX) {
		t->fd = fd;
		l->files++;
	} else if (t->fd < 0) {
		close(fd);
	}
	return n;
}

/* Which GIL it queues for; gils_n: none. Learns where __wrefs stands. */
static uint32_t queue_of(struct subject *s, uint64_t futex)
{
	for (uint32_t gil = 0; gil < s->is.gils_n; gil++) {
		uint64_t at = futex - (s->is.gils[gil] + s->is.off.gil_cond);

		if (at >= COND_SIZE)
			continue;
		if (s->layout == COND_UNKNOWN)
			s->layout = at >= 40 ? COND_UP_TO_2_40 : at == 36 ? COND_SINCE_2_41 : COND_UNKNOWN;
		return gil;
	}
	return s->is.gils_n;
}

static void look_at_thread(struct looker *l, size_t i, struct known_thread *t, const struct gil_glance *glances)
{
	struct subject *s = l->subjects[i];
	unsigned long long number = 0, futex = 0;
	char line[256];
	bool blocked;
	uint32_t gil = s->is.gils_n;
	struct look_record r;

	if (read_call(l, s, t, line, sizeof(line)) <= 0)
		return;
	blocked = strncmp(line, "running", 7) != 0;
	if (blocked && sscanf(line, "%llu %llx", &number, &futex) == 2 && number == SYS_futex)
		gil = queue_of(s, futex);
	r = record_of(s, i, gil < s->is.gils_n ? gil : 0, LOOK_AT_THREAD, &glances[gil < s->is.gils_n ? gil : 0]);
	r.tid = (uint32_t)t->tid;
	r.doing = gil < s->is.gils_n ? LOOK_QUEUES : blocked ? LOOK_BLOCKED : LOOK_RUNS;
	put(l, &r);
}

/* Whether it is known, without looking at threads, that none of them queues. */
static bool nobody_queues(const struct subject *s, const struct gil_glance *glances)
{
	for (uint32_t gil = 0; gil < s->is.gils_n; gil++)
		if (glances[gil].waiters)
			return false;
	return true;
}

/* Looks at `n` threads of it, or all. */
static void look_at_threads(struct looker *l, size_t i, size_t n)
{
	struct subject *s = l->subjects[i];
	struct gil_glance glances[LOOK_GILS];
	struct look_record round;

	for (uint32_t gil = 0; gil < s->is.gils_n; gil++)
		if (glance(s, s->is.gils[gil], &glances[gil]))
			return;
	if (!s->is.gils_n || s->fails)
		return;
	round = record_of(s, i, 0, LOOK_ROUND, &glances[0]);
	round.waiters = !nobody_queues(s, glances);
	put(l, &round);
	if (!round.waiters)
		return;
	if (clock__mono_ns() >= s->list_at)
		list_threads(l, s);
	for (size_t k = 0; k < n && k < s->threads_n; k++) {
		look_at_thread(l, i, &s->threads[s->next], glances);
		s->next = (s->next + 1) % s->threads_n;
		l->threads_read++;
	}
}

/* ---- looks at code ---- */

static uint64_t hash_of(const struct look_stack *stack)
{
	uint64_t hash = gil_mix(stack->subject, stack->turn);

	for (uint32_t i = 0; i < stack->depth; i++) {
		hash = gil_mix(hash, stack->frames[i].code);
		hash = gil_mix(hash, (uint64_t)stack->frames[i].at << 32 | stack->frames[i].print);
	}
	return hash ? hash : 1;
}

/* False: it finds no place, and its name won't be known. */
static bool send(struct looker *l, struct subject *s, const struct look_stack *stack, uint64_t now)
{
	struct sent_stack *sent = &s->sent[stack->hash % SENT];
	struct look_ring *ring = l->ring;
	uint64_t head = ring->stacks_head;

	if (sent->hash == stack->hash && now - sent->at < SENT_FRESH_NS)
		return true;
	if (head - __atomic_load_n(&ring->stacks_tail, __ATOMIC_ACQUIRE) >= LOOK_STACKS)
		return false;
	ring->stacks[head % LOOK_STACKS] = *stack;
	__atomic_store_n(&ring->stacks_head, head + 1, __ATOMIC_RELEASE);
	*sent = (struct sent_stack){stack->hash, now};
	return true;
}

/* Frames that were read while the GIL went on to another are not believed; that there was a look at code is told all the same. */
static void look_at_code(struct looker *l, size_t i, uint32_t gil)
{
	struct subject *s = l->subjects[i];
	struct look_stack stack = {.subject = (uint32_t)i, .turn = s->is.turn};
	struct gil_glance before, after;
	struct look_record r;
	bool more = false;
	int n;

	if (glance(s, s->is.gils[gil], &before) || !gil_words__holder(&before.words))
		return;
	r = record_of(s, i, gil, LOOK_AT_CODE, &before);
	n = pystack__walk(s->stacks, gil_words__holder(&before.words), stack.frames, LOOK_DEPTH, &more);
	if (n >= 0 && glance(s, s->is.gils[gil], &after) == 0 && !gil_words__taken_since(&before.words, &after.words)) {
		stack.depth = (uint32_t)n;
		stack.more = more;
		stack.hash = hash_of(&stack);
		r.hash = send(l, s, &stack, r.at) ? stack.hash : 0;
	}
	put(l, &r);
}

static void look_at_all_code(struct looker *l)
{
	for (size_t i = 0; i < l->end; i++) {
		if (!l->subjects[i] || !l->subjects[i]->stacks || l->subjects[i]->fails)
			continue;
		__atomic_store_n(&l->ring->busy, (uint32_t)i + 1, __ATOMIC_RELAXED);
		for (uint32_t gil = 0; gil < l->subjects[i]->is.gils_n; gil++)
			look_at_code(l, i, gil);
	}
}

/* ---- how many threads ---- */

/* How many threads may be looked at now, of all processes. */
static size_t threads_at_once(const struct looker *l)
{
	double each = l->threads_read ? (double)l->threads_cpu / (double)l->threads_read : 8000;
	double n = budget(l->living) / THREAD_SHARE * (double)LOOK_THREADS_NS / (each > 500 ? each : 500);

	return n < 1 ? 1 : (size_t)n;
}

static void look_at_all_threads(struct looker *l)
{
	size_t left = threads_at_once(l), each = left / (l->living ? l->living : 1);
	uint64_t begin = cpu_ns();

	for (size_t k = 0; k < l->end && left; k++) {
		size_t i = (l->first + k) % l->end, before = (size_t)l->threads_read;

		if (!l->subjects[i])
			continue;
		__atomic_store_n(&l->ring->busy, (uint32_t)i + 1, __ATOMIC_RELAXED);
		look_at_threads(l, i, each ? each : 1);
		left -= (size_t)l->threads_read - before < left ? (size_t)l->threads_read - before : left;
		if (!left)
			l->first = i + 1;
	}
	l->threads_cpu += cpu_ns() - begin;
	if (l->threads_read > 4096) {
		l->threads_read /= 2;
		l->threads_cpu /= 2;
	}
}

/* ---- when ---- */

/* Looks less often where the rounds of the last quarter of a second have cost more than they may. */
static void mind_budget(struct looker *l, uint64_t now)
{
	uint64_t shortest = 1000000000ull / (l->ring->rate ? l->ring->rate : 1), used, wanted;

	if (now < l->accounted_at + ACCOUNT_NS)
		return;
	used = cpu_ns() - l->accounted_cpu;
	if (l->accounted_at && l->rounds > l->accounted_rounds) {
		wanted = (uint64_t)((double)used / (double)(l->rounds - l->accounted_rounds) / budget(l->living));
		wanted = (3 * l->period_ns + wanted) / 4;
		l->period_ns = wanted < shortest ? shortest : wanted > PERIOD_MAX_NS ? PERIOD_MAX_NS : wanted;
	}
	l->accounted_at = now;
	l->accounted_cpu += used;
	l->accounted_rounds = l->rounds;
	l->ring->cpu_ns = l->accounted_cpu;
	l->ring->rounds = l->rounds;
}

static void sleep_until(uint64_t when)
{
	struct timespec ts = {.tv_sec = (time_t)(when / 1000000000ull), .tv_nsec = (long)(when % 1000000000ull)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* The period that `now` is in has a look; what stands for the ones that were missed. */
static uint32_t weigh(struct looker *l, uint64_t now)
{
	uint64_t end = l->begin + l->period_ns, weight;

	if (now > end)
		end += (now - end) / l->period_ns * l->period_ns + l->period_ns;
	weight = end - l->last_end;
	l->last_end = l->begin = end;
	return (uint32_t)(weight > LOOK_GAP_NS && weight > 2 * l->period_ns ? l->period_ns : weight);
}

static void turn(struct looker *l)
{
	uint64_t now;
	uint32_t weight;

	sleep_until(l->begin + (uint64_t)((double)random__next(&l->random) / UINT32_MAX * (double)l->period_ns));
	now = clock__mono_ns();
	weight = weigh(l, now);
	__atomic_store_n(&l->ring->beat, now, __ATOMIC_RELAXED);
	mind_subjects(l);
	for (size_t i = 0; i < l->end; i++) {
		if (!l->subjects[i])
			continue;
		__atomic_store_n(&l->ring->busy, (uint32_t)i + 1, __ATOMIC_RELAXED);
		look_at_gils(l, i, weight);
	}
	if (now >= l->threads_at) {
		look_at_all_threads(l);
		look_at_all_code(l);
		l->threads_at = now + LOOK_THREADS_NS - LOOK_THREADS_NS / 4 + random__next(&l->random) % (LOOK_THREADS_NS / 2);
	}
	__atomic_store_n(&l->ring->busy, 0, __ATOMIC_RELAXED);
	l->rounds++;
	mind_budget(l, now);
}

_Noreturn void looker__main(struct look_ring *ring)
{
	struct looker l = {.ring = ring, .random = (uint32_t)clock__mono_ns() | 1};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "gilscope-looks");
	prctl(PR_SET_TIMERSLACK, 1000ul);
	precedence__run_shortly(); /* else it looks when who computed on its CPU has let go of that, and of the GIL */
	l.period_ns = 1000000000ull / (ring->rate ? ring->rate : 1);
	l.begin = l.last_end = clock__mono_ns();
	while (!__atomic_load_n(&ring->stop, __ATOMIC_RELAXED))
		turn(&l);
	_exit(0);
}
