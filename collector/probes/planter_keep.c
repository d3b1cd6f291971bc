/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Breakpoints that must stay when probes are lifted: those of a process that has changed its code around one meanwhile.
 *
 * The kernel lifts a probe by writing the first byte of the *file's* instruction over the breakpoint. If the process has written
 * another instruction there, one of two things has happened:
 *
 *     SITE_HALF      the breakpoint stands, the rest is other. Lifting would make one instruction out of two. So another consumer
 *                    is registered for that process, of a program that does nothing: planting changes nothing, as a breakpoint
 *                    is there, and the kernel lets it stand as long as anybody wants it, and executes the file's instruction.
 *     SITE_CHANGED   the first byte is other, too. The kernel leaves it alone (verify_opcode() in kernel/events/uprobes.c).
 *                    But who wrote it may have kept what stood there, our breakpoint, to write it back one day: then nobody would
 *                    know that breakpoint. So a consumer is registered that wants it in no process but this very one,
 *                    which has not the file: it changes nothing, and the kernel knows the place, should it be met.
 *
 * Each until the process has ended; then it is lifted as any other, since a child of it may have the same code. Between a look
 * and the lifting pass some microseconds: who patches then is not seen.
 */
#include "planter_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector/base/clock.h"

#define KEPT_MAX 1024

/* A place of one process that is kept. */
struct kept {
	pid_t pid;
	int pidfd;
	enum site_state state;
	struct uprobe_link *link;
	struct planted plant; /* of this site alone */
};

static struct {
	struct kept all[KEPT_MAX];
	size_t n;
	int idle_fd; /* the program that does nothing */
} keeping = {.idle_fd = -1};

void planter_keep__set_idle(int program_fd)
{
	if (keeping.idle_fd >= 0)
		close(keeping.idle_fd);
	keeping.idle_fd = fcntl(program_fd, F_DUPFD_CLOEXEC, 0);
}

size_t planter_keep__count(void)
{
	return keeping.n;
}

uint32_t planter_keep__count_of(pid_t pid)
{
	uint32_t n = 0;

	for (size_t i = 0; i < keeping.n; i++)
		n += keeping.all[i].pid == pid;
	return n;
}

/* ---- what is planted ---- */

int planted__init(struct planted *ret, const struct uprobe_place *place, const struct site_text *texts, size_t n, bool multi)
{
	struct planted p = {.place = *place, .multi = multi};

	p.place.image_fd = fcntl(place->image_fd, F_DUPFD_CLOEXEC, 0);
	p.texts = calloc(n ?: 1, sizeof(*p.texts));
	if (p.place.image_fd < 0 || !p.texts) {
		planted__clear(&p);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		if (texts[i].len)
			p.texts[p.n++] = texts[i];
	*ret = p;
	return 0;
}

void planted__clear(struct planted *p)
{
	if (p->place.image_fd >= 0)
		close(p->place.image_fd);
	free(p->texts);
	*p = (struct planted){.place.image_fd = -1};
}

/* ---- keeping ---- */

static bool is_kept(const struct planted *p, const struct site_text *site, pid_t pid, enum site_state state)
{
	for (size_t i = 0; i < keeping.n; i++) {
		const struct kept *k = &keeping.all[i];

		if (k->pid == pid && k->state == state && k->plant.place.ino == p->place.ino &&
		    k->plant.texts->offset == site->offset)
			return true;
	}
	return false;
}

static int open_link(struct kept *k)
{
	const struct site_text *site = k->plant.texts;
	uint64_t offset = site->offset + site->at, cookie = 0;
	struct uprobe_sites sites = {.offsets = &offset, .cookies = &cookie, .n = 1};
	struct uprobe_place place = k->plant.place;

	place.pid = k->state == SITE_HALF ? k->pid : getpid();
	return planter_process__open(keeping.idle_fd, &place, &sites, k->plant.multi, &k->link);
}

static int keep_one(const struct planted *p, const struct site_text *site, pid_t pid, enum site_state state)
{
	struct kept *k = &keeping.all[keeping.n];
	int err;

	if (keeping.n == KEPT_MAX || keeping.idle_fd < 0)
		return -ENOSPC;
	*k = (struct kept){.pid = pid, .state = state};
	err = planted__init(&k->plant, &p->place, site, 1, p->multi);
	if (err)
		return err;
	k->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	err = k->pidfd < 0 ? -errno : open_link(k);
	if (err) {
		if (k->pidfd >= 0)
			close(k->pidfd);
		planted__clear(&k->plant);
		return err;
	}
	keeping.n++;
	return 0;
}

static void mind_process(const struct planted *p, pid_t pid, struct kept_sites *report)
{
	enum site_state states[PLANTER_SITES_MAX];

	if (site_texts__look(p->texts, p->n, pid, p->place.ino, states))
		return;
	for (size_t i = 0; i < p->n; i++) {
		if ((states[i] != SITE_HALF && states[i] != SITE_CHANGED) || is_kept(p, &p->texts[i], pid, states[i]))
			continue;
		report->pid = pid;
		if (keep_one(p, &p->texts[i], pid, states[i]))
			report->lost++;
		else
			report->n++;
	}
}

/* ---- everybody ---- */

static void mind_everybody(const struct planted *p, struct kept_sites *report)
{
	uint64_t until = clock__mono_ns() + LOOK_NS;
	pid_t *found;
	size_t n = everybody__find(p->place.ino, until, &found);

	for (size_t i = 0; i < n && clock__mono_ns() < until; i++)
		mind_process(p, found[i], report);
	free(found);
}

void planted__mind(const struct planted *p, struct kept_sites *report)
{
	if (!p->n || !p->place.ino)
		return;
	if (p->place.about == UPROBE_EVERYBODY)
		mind_everybody(p, report);
	else
		mind_process(p, p->place.about, report);
}

/* ---- the end ---- */

static bool has_ended(const struct kept *k)
{
	struct pollfd end = {.fd = k->pidfd, .events = POLLIN};

	return poll(&end, 1, 0) > 0;
}

void planter_keep__mind_ends(void)
{
	for (size_t i = 0; i < keeping.n;) {
		struct kept k = keeping.all[i];
		struct kept_sites report = {0};

		if (!has_ended(&k)) {
			i++;
			continue;
		}
		keeping.all[i] = keeping.all[--keeping.n];
		k.plant.place.about = UPROBE_EVERYBODY;
		planted__mind(&k.plant, &report);
		uprobe_link__close(k.link);
		planted__clear(&k.plant);
		close(k.pidfd);
	}
}
