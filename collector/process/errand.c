/* SPDX-License-Identifier: GPL-2.0-only */
/* See errand.h: gilscope's side. The processes' own life is in errand_process.c. */
#include "errand_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "procstat.h"

#define STUCK_MAX 64        /* readers left behind at a time */
#define STUCK_OF_ROOT 32    /* of these, with root's processes; */
#define STUCK_OF_USER 4     /* with those of any other user, who may mean it; */
#define STUCK_OF_NOBODY 16  /* with files */
#define BUSY_FACTOR 10      /* what computes has so many times the patience */
#define SLICE_MS 50
#define NURSERY_MS 5000     /* it forks, nothing else */
#define MS 1000000ull

struct reader {
	pid_t pid;          /* 0: none */
	int sock;
	void *room;
	uint64_t number;    /* of its last errand */
	pid_t about;        /* what that was about */
	uid_t owner;        /* whose that is; NOBODYS: a file, or not known. Of one that is stuck */
};

#define NOBODYS ((uid_t)-1)

static struct {
	pthread_mutex_t mutex;
	pid_t owner;        /* whose nursery it is: a forked child has none. 0: there is none */
	pid_t nursery;
	int control;
	struct reader now;  /* who takes the next errand */
	struct reader stuck[STUCK_MAX];
	struct errand_bag bag;
	struct errand_counts counts;
	uint64_t number;
	void (*while_waiting)(void);
	bool said_too_many;
	bool said_limit;
	uid_t limited;      /* whose limit was said last */
} all = {.mutex = PTHREAD_MUTEX_INITIALIZER};

bool errand__is_away(void)
{
	return all.owner && all.owner == getpid();
}

void errand__while_waiting(void (*call)(void))
{
	all.while_waiting = call;
}

struct errand_counts errand__counts(void)
{
	struct errand_counts counts = all.counts;

	counts.sent = all.number;
	return counts;
}

pid_t errand__about_file(uint64_t hash)
{
	return -(pid_t)((hash ^ hash >> 32) & 0x3fffffff) - 1;
}

/* ---- the nursery ---- */

/* Of a process that we were forked from. */
static void forget_others(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

	all.mutex = mutex;
	all.now = (struct reader){0};
	memset(all.stuck, 0, sizeof(all.stuck));
	all.while_waiting = NULL;
}

static int fork_nursery(void)
{
	int pair[2], err = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	all.nursery = fork();
	if (all.nursery == 0) {
		close(pair[0]);
		errand_process__main(pair[1]);
	}
	if (all.nursery < 0)
		err = -errno;
	close(pair[1]);
	if (err)
		close(pair[0]);
	else
		all.control = pair[0];
	return err;
}

int errand__prepare(void)
{
	int err;

	if (errand__is_away())
		return 0;
	if (all.owner)
		forget_others();
	err = fork_nursery();
	if (!err)
		all.owner = getpid();
	return err;
}

static void end_nursery(void)
{
	close(all.control);
	while (waitpid(all.nursery, NULL, 0) < 0 && errno == EINTR)
		;
}

static int renew_nursery(void)
{
	int err;

	end_nursery();
	err = fork_nursery();
	if (err)
		all.owner = 0; /* from here on there is no other way than the caller's own */
	return err;
}

/* ---- readers ---- */

static void let_go(struct reader *r)
{
	if (!r->pid)
		return;
	kill(r->pid, SIGKILL); /* it may be stuck, and comes to it later */
	close(r->sock);
	munmap(r->room, ERRAND_ROOM);
	*r = (struct reader){0};
}

/* Waits for a packet, and says what may be said meanwhile. False: none has come. */
static bool await(int sock, uint64_t until_ns)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	uint64_t now;

	while ((now = clock__mono_ns()) < until_ns) {
		uint64_t left = (until_ns - now) / MS + 1;

		if (poll(&p, 1, left < SLICE_MS ? (int)left : SLICE_MS) > 0)
			return true;
		if (all.while_waiting)
			all.while_waiting();
	}
	return poll(&p, 1, 0) > 0;
}

static int ask_nursery(const int *fds, pid_t *ret)
{
	int none[PACKET_FDS_MAX];
	char byte = 0;

	if (packet__send(all.control, &byte, 1, fds, PACKET_FDS_MAX) ||
	    !await(all.control, clock__mono_ns() + NURSERY_MS * MS) || !packet__receive(all.control, ret, sizeof(*ret), none))
		return -EPIPE;
	return *ret < 0 ? *ret : 0;
}

static int new_reader(struct reader *ret)
{
	struct reader r = {.room = MAP_FAILED};
	int pair[2], fds[PACKET_FDS_MAX], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	fds[0] = pair[1];
	fds[1] = memfd_create("gilscope-reads", MFD_CLOEXEC);
	if (fds[1] >= 0 && ftruncate(fds[1], ERRAND_ROOM) == 0)
		r.room = mmap(NULL, ERRAND_ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	err = r.room == MAP_FAILED ? -ENOMEM : ask_nursery(fds, &r.pid);
	close(pair[1]);
	if (fds[1] >= 0)
		close(fds[1]);
	if (err) {
		close(pair[0]);
		if (r.room != MAP_FAILED)
			munmap(r.room, ERRAND_ROOM);
		return err;
	}
	r.sock = pair[0];
	*ret = r;
	return 0;
}

/* ---- whose they are ---- */

/* The real user: the effective one, and who owns /proc/PID, are a matter of what the program does. */
static uid_t owner_of(pid_t about)
{
	char *text, *line;
	uid_t uid;

	if (about <= 0)
		return NOBODYS;
	line = procstat__status_line(about, 0, "\nUid:\t", &text);
	uid = line ? (uid_t)strtoul(line, NULL, 10) : NOBODYS;
	free(text);
	return uid;
}

static size_t limit_of(uid_t owner)
{
	return owner == NOBODYS ? STUCK_OF_NOBODY : owner == 0 ? STUCK_OF_ROOT : STUCK_OF_USER;
}

/* ---- those that did not come back in time ---- */

/* Whether it has come back by now, or ended: nobody waits for what it brings. */
static bool has_come_back(const struct reader *r)
{
	struct errand_answer late;
	struct pollfd p = {.fd = r->sock, .events = POLLIN};
	int fds[PACKET_FDS_MAX];

	if (poll(&p, 1, 0) <= 0)
		return false;
	packet__receive(r->sock, &late, sizeof(late), fds);
	for (int i = 0; i < PACKET_FDS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return true;
}

static bool is_stuck(pid_t about)
{
	for (size_t i = 0; i < STUCK_MAX; i++) {
		struct reader *r = &all.stuck[i];

		if (!r->pid || r->about != about)
			continue;
		if (!has_come_back(r))
			return true;
		let_go(r);
		if (about > 0)
			log_info("process %d can be read again", (int)about);
	}
	return false;
}

static struct reader *stuck_place(void)
{
	for (size_t i = 0; i < STUCK_MAX; i++)
		if (all.stuck[i].pid && has_come_back(&all.stuck[i]))
			let_go(&all.stuck[i]);
	for (size_t i = 0; i < STUCK_MAX; i++)
		if (!all.stuck[i].pid)
			return &all.stuck[i];
	return NULL;
}

static size_t stuck_of(uid_t owner)
{
	size_t n = 0;

	for (size_t i = 0; i < STUCK_MAX; i++)
		n += all.stuck[i].pid && all.stuck[i].owner == owner;
	return n;
}

static void say_limit(uid_t owner)
{
	if (all.said_limit && all.limited == owner)
		return;
	all.said_limit = true;
	all.limited = owner;
	if (owner == NOBODYS)
		log_warn("looks into %d files are stuck: there will be no other into such until one comes back", STUCK_OF_NOBODY);
	else
		log_warn("looks into %zu processes of user %u are stuck: there will be no other into that user's until one "
			 "comes back", limit_of(owner), (unsigned int)owner);
}

/* Whether those who keep readers waiting have had their share: then the others have theirs. */
static bool is_over_limit(pid_t about)
{
	size_t stuck = 0;
	uid_t owner;

	for (size_t i = 0; i < STUCK_MAX; i++)
		stuck += all.stuck[i].pid != 0;
	if (stuck < STUCK_OF_USER)
		return false;
	owner = owner_of(about);
	if (stuck_of(owner) < limit_of(owner) || (stuck_place(), stuck_of(owner) < limit_of(owner)))
		return false;
	say_limit(owner);
	return true;
}

static void say_stuck(pid_t about)
{
	char path[64], comm[32] = "?";
	FILE *f;

	if (about < 0) {
		log_warn("a file cannot be read, as what serves it does not answer: gilscope goes on without it");
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)about);
	f = fopen(path, "re");
	if (f && fgets(comm, sizeof(comm), f))
		for (char *c = comm; *c; c++)
			*c = *c < ' ' || *c > '~' ? '\0' : *c;
	if (f)
		fclose(f);
	log_warn("process %d (%s) is stuck: a look at its memory or files does not come to its end (a file system that does not "
		 "answer, or a page that it keeps back); gilscope goes on without", (int)about, comm);
}

/* Leaves the reader where it is. */
static int abandon(void)
{
	struct reader *place = stuck_place();

	all.counts.abandoned++;
	say_stuck(all.now.about);
	all.now.owner = owner_of(all.now.about);
	if (place)
		*place = all.now;
	else
		let_go(&all.now); /* there is none to follow it: see ready() */
	all.now = (struct reader){0};
	return -ETIMEDOUT;
}

static int refuse(int err)
{
	all.counts.refused++;
	return err;
}

/* Somebody to go; 0 or why there is nobody. */
static int ready(void)
{
	if (all.now.pid)
		return 0;
	if (stuck_place()) {
		int err = new_reader(&all.now);

		/* Somebody has killed the nursery; another one closes what it inherits. */
		return err == -EPIPE && !renew_nursery() ? new_reader(&all.now) : err;
	}
	if (!all.said_too_many)
		log_warn("looks into %d processes or files are stuck: there will be no other until one comes back", STUCK_MAX);
	all.said_too_many = true;
	return -EAGAIN;
}

/* ---- an errand ---- */

/* On a CPU, or waiting for one: a slow machine is no reason to leave it behind. */
static bool computes(pid_t pid)
{
	struct procstat fields;

	return procstat__read(pid, 0, &fields) == 0 && fields.state == 'R';
}

/* -ETIMEDOUT: it is not back. */
static int await_answer(unsigned int patience_ms)
{
	uint64_t began = clock__mono_ns(), end = began + patience_ms * BUSY_FACTOR * MS, until = began + patience_ms * MS;

	while (!await(all.now.sock, until)) {
		if (until >= end || !computes(all.now.pid))
			return -ETIMEDOUT;
		until += SLICE_MS * MS;
	}
	return 0;
}

static int send_out(struct errand_bag *bag, errand_fn *fn)
{
	const struct errand_order order = {.number = ++all.number, .fn = fn};

	/* Two, or one that comes first. */
	return packet__send(all.now.sock, &order, sizeof(order), bag->fds, bag->fds[1] >= 0 ? 2 : 1);
}

static int go(struct errand_bag *bag, errand_fn *fn, pid_t about, unsigned int patience_ms)
{
	struct errand_answer answer;

	all.now.about = about;
	if (send_out(bag, fn)) {
		let_go(&all.now);
		return -EIO;
	}
	if (await_answer(patience_ms))
		return abandon();
	if (!packet__receive(all.now.sock, &answer, sizeof(answer), bag->fds) || answer.number != all.number) {
		let_go(&all.now); /* killed, or it crashed */
		return -EIO;
	}
	return answer.err;
}

int errand__run(struct errand_bag *bag, errand_fn *fn, pid_t about, unsigned int patience_ms)
{
	if (bag != &all.bag)
		return fn(bag);
	if (is_stuck(about))
		return refuse(-ETIMEDOUT);
	return is_over_limit(about) ? refuse(-EAGAIN) : go(bag, fn, about, patience_ms);
}

static struct errand_bag *own_bag(void)
{
	struct errand_bag *bag = malloc(sizeof(*bag) + ERRAND_ROOM);

	if (bag)
		*bag = (struct errand_bag){.room = bag + 1, .fds = {-1, -1}};
	return bag;
}

struct errand_bag *errand__pack(void)
{
	if (!errand__is_away())
		return own_bag();
	pthread_mutex_lock(&all.mutex);
	if (ready()) {
		refuse(0);
		pthread_mutex_unlock(&all.mutex);
		return NULL;
	}
	all.bag = (struct errand_bag){.room = all.now.room, .fds = {-1, -1}};
	return &all.bag;
}

void errand__unpack(struct errand_bag *bag)
{
	if (bag == &all.bag)
		pthread_mutex_unlock(&all.mutex);
	else
		free(bag);
}

/* ---- the end ---- */

void errand__dismiss(void)
{
	if (!errand__is_away())
		return;
	pthread_mutex_lock(&all.mutex);
	let_go(&all.now);
	for (size_t i = 0; i < STUCK_MAX; i++)
		let_go(&all.stuck[i]);
	end_nursery();
	all.owner = 0;
	pthread_mutex_unlock(&all.mutex);
}
