/* SPDX-License-Identifier: GPL-2.0-only */
/* See looks.h. */
#include "looks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/process/errand.h"
#include "collector/process/procstat.h"
#include "looker.h"

#define SILENCE_NS 3000000000ull /* longer than any pause between two looks */

struct looks {
	struct look_ring *ring;
	uint32_t rate;
	struct looks_account before; /* of lookers that are given up */
	uint64_t start_ns, end_ns;
};

/* ---- the process ---- */

static void introduce(struct look_ring *ring, pid_t pid)
{
	struct procstat stat;

	if (procstat__read(pid, 0, &stat))
		return;
	ring->start_ticks = stat.start_ticks;
	__atomic_store_n(&ring->pid, pid, __ATOMIC_RELEASE);
}

/* In a reader: the looker is its child, and has what it has. The errand is done when that is there. */
static int launch(struct errand_bag *bag)
{
	struct look_ring *ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED, bag->fds[0], 0);
	pid_t pid;

	if (ring == MAP_FAILED)
		return -ENOMEM;
	pid = fork();
	if (pid == 0) {
		syscall(SYS_close_range, 3, ~0u, 0);
		looker__main(ring);
	}
	if (pid > 0)
		introduce(ring, pid);
	munmap(ring, sizeof(*ring));
	return pid < 0 ? -EAGAIN : 0;
}

static int send_out(int fd)
{
	struct errand_bag *bag = errand__pack();
	int err;

	if (!bag)
		return -EAGAIN;
	bag->fds[0] = fd;
	err = errand__run(bag, launch, errand__about_file((uint64_t)(uintptr_t)launch), ERRAND_FILE_MS);
	errand__unpack(bag);
	return err;
}

static int start_looker(uint32_t rate, struct look_ring **ret)
{
	int fd = memfd_create("gilscope-looks", MFD_CLOEXEC), err = 0;
	struct look_ring *ring = MAP_FAILED;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(*ring)) == 0)
		ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED) {
		err = -errno;
	} else {
		ring->rate = rate;
		ring->beat = clock__mono_ns();
		err = send_out(fd);
	}
	close(fd);
	if (!err)
		*ret = ring;
	else if (ring != MAP_FAILED)
		munmap(ring, sizeof(*ring));
	return err;
}

static void leave_looker(struct looks *l)
{
	if (!l->ring)
		return;
	__atomic_store_n(&l->ring->stop, 1, __ATOMIC_RELAXED);
	munmap(l->ring, sizeof(*l->ring));
	l->ring = NULL;
}

int looks__start(uint32_t rate, struct looks **ret, struct reason *why)
{
	struct looks *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return reason__set(why, -ENOMEM, "out of memory");
	l->rate = rate;
	err = start_looker(rate, &l->ring);
	if (err) {
		free(l);
		return reason__set(why, err, "can't start the process that looks at others: %s", strerror(-err));
	}
	*ret = l;
	return 0;
}

void looks__end(struct looks *l)
{
	if (!l)
		return;
	leave_looker(l);
	free(l);
}

/* The same subjects for another looker, but for `stuck`. The one that there is goes on if there is no other. */
static void renew_looker(struct looks *l, int stuck)
{
	struct look_ring *next;

	if (start_looker(l->rate, &next))
		return;
	memcpy(next->subjects, l->ring->subjects, sizeof(next->subjects));
	if (stuck >= 0)
		next->subjects[stuck].pid = 0;
	l->before = looks__account(l);
	leave_looker(l);
	l->ring = next;
	__atomic_add_fetch(&next->changes, 1, __ATOMIC_RELEASE);
}

enum looker_silence looks__why_silent(pid_t pid, uint64_t start_ticks)
{
	struct procstat now;

	if (pid <= 0 || procstat__read(pid, 0, &now) || now.start_ticks != start_ticks)
		return LOOKER_GONE;
	return now.state == 'R' ? LOOKER_RUNS : now.state == 'S' || now.state == 'D' ? LOOKER_BLOCKED : LOOKER_GONE;
}

int looks__mind(struct looks *l, uint64_t now)
{
	enum looker_silence why;
	int stuck;

	if (!l->ring || now < __atomic_load_n(&l->ring->beat, __ATOMIC_RELAXED) + SILENCE_NS)
		return -1;
	why = looks__why_silent(__atomic_load_n(&l->ring->pid, __ATOMIC_ACQUIRE), l->ring->start_ticks);
	if (why == LOOKER_RUNS)
		return -1;
	stuck = why == LOOKER_BLOCKED ? (int)__atomic_load_n(&l->ring->busy, __ATOMIC_RELAXED) - 1 : -1;
	renew_looker(l, stuck < LOOK_SUBJECTS ? stuck : -1);
	return stuck < LOOK_SUBJECTS ? stuck : -1;
}

/* ---- whom ---- */

/* NULL: there is no such place now. */
static struct look_subject *change(struct looks *l, int place)
{
	struct look_subject *s = l->ring && place >= 0 ? &l->ring->subjects[place] : NULL;

	if (s)
		__atomic_store_n(&s->turn, s->turn + 1, __ATOMIC_SEQ_CST);
	return s;
}

static void changed(struct looks *l, struct look_subject *s)
{
	__atomic_store_n(&s->turn, s->turn + 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&l->ring->changes, 1, __ATOMIC_RELEASE);
}

int looks__watch(struct looks *l, pid_t pid, const struct pyoffsets *off, bool with_code)
{
	for (int place = 0; l->ring && place < LOOK_SUBJECTS; place++) {
		struct look_subject *s = &l->ring->subjects[place];

		if (s->pid)
			continue;
		change(l, place);
		s->pid = pid;
		s->off = *off;
		s->with_code = with_code;
		s->gils_n = 0;
		changed(l, s);
		return place;
	}
	return -ENOSPC;
}

void looks__set_gils(struct looks *l, int place, const uint64_t *gils, const uint64_t *collectors, int n)
{
	struct look_subject *s = l->ring && place >= 0 ? &l->ring->subjects[place] : NULL;
	bool same = s && (uint32_t)n == s->gils_n;

	for (int i = 0; same && i < n; i++)
		same = s->gils[i] == gils[i] && s->collectors[i] == collectors[i];
	if (!s || same || n > LOOK_GILS)
		return;
	change(l, place);
	s->gils_n = (uint32_t)n;
	for (int i = 0; i < n; i++) {
		s->gils[i] = gils[i];
		s->collectors[i] = collectors[i];
	}
	changed(l, s);
}

void looks__unwatch(struct looks *l, int place)
{
	struct look_subject *s = change(l, place);

	if (!s)
		return;
	s->pid = 0;
	s->gils_n = 0;
	changed(l, s);
}

/* ---- what was seen ---- */

void looks__drain(struct looks *l, uint64_t until, void (*note)(void *arg, int place, const struct look_record *r), void *arg)
{
	struct look_ring *ring = l->ring;
	uint64_t head = ring ? __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) : 0, tail = ring ? ring->tail : 0;

	for (; tail != head; tail++) {
		const struct look_record *r = &ring->records[tail % LOOK_RECORDS];

		if (r->at >= until)
			break;
		if (r->subject < LOOK_SUBJECTS && r->turn == ring->subjects[r->subject].turn && r->gil < LOOK_GILS)
			note(arg, (int)r->subject, r);
	}
	if (ring)
		__atomic_store_n(&ring->tail, tail, __ATOMIC_RELEASE);
}

void looks__drain_stacks(struct looks *l, void (*note)(void *arg, int place, const struct look_stack *s), void *arg)
{
	struct look_ring *ring = l->ring;
	uint64_t head = ring ? __atomic_load_n(&ring->stacks_head, __ATOMIC_ACQUIRE) : 0, tail = ring ? ring->stacks_tail : 0;

	for (; tail != head; tail++) {
		const struct look_stack *s = &ring->stacks[tail % LOOK_STACKS];

		if (s->subject < LOOK_SUBJECTS && s->turn == ring->subjects[s->subject].turn && s->depth <= LOOK_DEPTH)
			note(arg, (int)s->subject, s);
	}
	if (ring)
		__atomic_store_n(&ring->stacks_tail, tail, __ATOMIC_RELEASE);
}

struct looks_account looks__account(const struct looks *l)
{
	struct looks_account sum = l->before;

	if (l->ring) {
		sum.cpu_ns += l->ring->cpu_ns;
		sum.rounds += l->ring->rounds;
		sum.lost += l->ring->lost;
	}
	return sum;
}

/* ---- the interval ---- */

void looks__begin(struct looks *l, uint64_t start_ns)
{
	l->start_ns = start_ns;
	l->end_ns = UINT64_MAX;
}

void looks__cut(struct looks *l, uint64_t end_ns)
{
	l->end_ns = end_ns;
}

void looks__advance(struct looks *l, uint64_t end_ns)
{
	l->start_ns = l->end_ns;
	l->end_ns = end_ns;
}

uint64_t looks__interval_start(const struct looks *l)
{
	return l->start_ns;
}

uint64_t looks__interval_end(const struct looks *l)
{
	return l->end_ns;
}
