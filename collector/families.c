/* SPDX-License-Identifier: GPL-2.0-only */
/* See families.h. */
#include "families.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

struct kin {
	pid_t pid;
	pid_t origin;       /* who joined: itself, or the one it inherited from */
	uint64_t joined_at; /* ns: what it forks from here on has every probe */
	uint32_t threads;   /* when it joined */
};

struct family {
	dev_t dev;
	ino_t ino;
	int image_fd;
	struct uprobe_sites sites[FAMILY_GROUPS];
	uint32_t links[FAMILY_GROUPS]; /* the planter's numbers, 0: not planted */
	struct kin *kin;
	size_t kin_n, kin_room;
	struct family *next;
};

struct families {
	struct planter *planter;
	int tracefs_fd;
	const struct bpf_program *programs[FAMILY_GROUPS];
	struct family *first;
};

struct families *families__new(struct planter *planter, int tracefs_fd,
			       const struct bpf_program *const programs[FAMILY_GROUPS])
{
	struct families *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->planter = planter;
	f->tracefs_fd = tracefs_fd;
	memcpy(f->programs, programs, sizeof(f->programs));
	return f;
}

static void lift_group(struct families *f, struct family *family, int group)
{
	planter__lift(f->planter, family->links[group]);
	family->links[group] = 0;
}

/* Nobody who counts has them any more: no need to wait. */
static void drop(struct families *f, struct family *family)
{
	for (int group = 0; group < FAMILY_GROUPS; group++) {
		planter__drop(f->planter, family->links[group]);
		family->links[group] = 0;
	}
	family->kin_n = 0;
}

void families__drop(struct families *f)
{
	for (struct family *family = f ? f->first : NULL; family; family = family->next)
		drop(f, family);
}

static void family__free(struct families *f, struct family *family)
{
	drop(f, family);
	for (int group = 0; group < FAMILY_GROUPS; group++)
		uprobe_sites__clear(&family->sites[group]);
	if (family->image_fd >= 0)
		close(family->image_fd);
	free(family->kin);
	free(family);
}

void families__free(struct families *f)
{
	if (!f)
		return;
	while (f->first) {
		struct family *next = f->first->next;

		family__free(f, f->first);
		f->first = next;
	}
	free(f);
}

static int copy_sites(struct uprobe_sites *dst, const struct uprobe_sites *src)
{
	int err = 0;

	for (size_t i = 0; !err && i < src->n; i++)
		err = uprobe_sites__add(dst, src->offsets[i], src->cookies[i]);
	return err;
}

static int found(struct families *f, int image_fd, const struct stat *st,
		 const struct uprobe_sites sites[FAMILY_GROUPS], struct family **ret)
{
	struct family *family = calloc(1, sizeof(*family));
	int err = 0;

	if (!family)
		return -ENOMEM;
	family->dev = st->st_dev;
	family->ino = st->st_ino;
	family->image_fd = fcntl(image_fd, F_DUPFD_CLOEXEC, 0);
	if (family->image_fd < 0)
		err = -errno;
	for (int group = 0; !err && group < FAMILY_GROUPS; group++)
		err = copy_sites(&family->sites[group], &sites[group]);
	if (err) {
		family__free(f, family);
		return err;
	}
	family->next = f->first;
	f->first = family;
	*ret = family;
	return 0;
}

int families__find(struct families *f, int image_fd, const struct uprobe_sites sites[FAMILY_GROUPS], struct family **ret)
{
	struct stat st;

	if (fstat(image_fd, &st))
		return -errno;
	for (struct family *family = f->first; family; family = family->next)
		if (family->dev == st.st_dev && family->ino == st.st_ino) {
			*ret = family;
			return 0;
		}
	return found(f, image_fd, &st, sites, ret);
}

/* ---- members ---- */

static struct kin *kin_of(struct family *family, pid_t pid)
{
	for (size_t i = 0; i < family->kin_n; i++)
		if (family->kin[i].pid == pid)
			return &family->kin[i];
	return NULL;
}

static struct kin *add_kin(struct family *family, pid_t pid)
{
	struct kin *grown, *kin = kin_of(family, pid);

	if (!kin && family->kin_n == family->kin_room) {
		grown = reallocarray(family->kin, family->kin_room + 32, sizeof(*grown));
		if (!grown)
			return NULL;
		family->kin = grown;
		family->kin_room += 32;
	}
	if (!kin)
		kin = &family->kin[family->kin_n++];
	*kin = (struct kin){.pid = pid, .origin = pid, .threads = 1};
	return kin;
}

static int join(struct families *f, struct family *family, struct kin *kin)
{
	int err = 0;

	for (int group = 0; !err && group < FAMILY_GROUPS; group++)
		err = planter__join(f->planter, family->links[group], kin->pid);
	kin->origin = kin->pid;
	kin->joined_at = clock__mono_ns();
	return err;
}

static void leave(struct families *f, struct family *family, pid_t pid)
{
	for (int group = 0; group < FAMILY_GROUPS; group++)
		planter__leave(f->planter, family->links[group], pid);
}

/* /proc/PID/task has a link for each, and two of its own. */
static uint32_t threads_of(pid_t pid)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	return stat(path, &st) == 0 && st.st_nlink > 2 ? (uint32_t)st.st_nlink - 2 : 1;
}

int family__join(struct families *f, struct family *family, pid_t pid)
{
	uint32_t threads = threads_of(pid), sum = threads;
	struct kin *kin = kin_of(family, pid);
	int err;

	for (size_t i = 0; i < family->kin_n; i++)
		sum += family->kin[i].threads;
	if (!kin && sum > FAMILY_THREADS_MAX)
		return -E2BIG;
	kin = add_kin(family, pid);
	if (kin)
		kin->threads = threads;
	err = kin ? join(f, family, kin) : -ENOMEM;

	if (err && kin)
		family__gone(f, family, pid);
	return err;
}

int family__born(struct families *f, struct family *family, pid_t parent, pid_t child, uint64_t forked_at, bool *ret_late)
{
	const struct kin *from = kin_of(family, parent);
	pid_t origin = from ? from->origin : 0;
	uint64_t since = from ? from->joined_at : UINT64_MAX;
	struct kin *kin = add_kin(family, child);

	if (!kin)
		return -ENOMEM;
	*ret_late = forked_at <= since;
	if (*ret_late)
		return join(f, family, kin);
	kin->origin = origin;
	kin->joined_at = 0;
	return 0;
}

static void remove_kin(struct family *family, pid_t pid)
{
	for (size_t i = 0; i < family->kin_n; i++)
		if (family->kin[i].pid == pid)
			family->kin[i--] = family->kin[--family->kin_n];
}

void family__gone(struct families *f, struct family *family, pid_t pid)
{
	const struct kin *kin = kin_of(family, pid);
	bool joined = kin && kin->origin == pid;

	remove_kin(family, pid);
	for (size_t i = 0; joined && i < family->kin_n; i++)
		if (family->kin[i].origin == pid && join(f, family, &family->kin[i]))
			log_debug("process %d could not keep its family's probes", (int)family->kin[i].pid);
	if (joined)
		leave(f, family, pid);
	if (!family->kin_n)
		drop(f, family);
}

/* ---- groups ---- */

static int plant_group(struct families *f, struct family *family, int group)
{
	int err = planter__share(f->planter, f->programs[group], f->tracefs_fd, family->image_fd, &family->sites[group],
				 &family->links[group]);

	/* In every group by itself from now on, so that none of its probes hangs on an ancestor whom another does not. */
	for (size_t i = 0; !err && i < family->kin_n; i++) {
		err = join(f, family, &family->kin[i]);
		err = err == -ESRCH ? 0 : err; /* its end will be told */
	}
	return err;
}

int family__set_groups(struct families *f, struct family *family, uint32_t groups)
{
	int err = 0;

	for (int group = 0; group < FAMILY_GROUPS; group++)
		if (!(groups >> group & 1))
			lift_group(f, family, group);
	for (int group = 0; !err && group < FAMILY_GROUPS; group++)
		if (groups >> group & 1 && !family->links[group] && family->sites[group].n)
			err = plant_group(f, family, group);
	return err;
}
