/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Followed processes and their relatives: who is told of with which slot, who shares probes with whom, and children that the
 * programs gave a slot before we knew of them (families.h).
 *
 * Two maps, by PID: `tgids` has those with a slot, `kin` those without. Who is observed without being followed is in the first
 * alone.
 */
#include "probes_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "collector/base/log.h"
#include "collector/plan/proc_layout.h"
#include "collector/process/theirs.h"
#include "gil.skel.h"

/* ---- who is told of, and with which slot ---- */

static bool has_ended(int pidfd)
{
	struct pollfd end = {.fd = pidfd, .events = POLLIN};

	return pidfd < 0 || poll(&end, 1, 0) != 0;
}

/* The entry may be another's by now: of the program that it exec'd, or of one that got its PID. */
void probes_kin__forget(struct probes *p, pid_t pid, uint32_t slot)
{
	int fd = bpf_map__fd(p->skel->maps.tgids);
	uint32_t tgid = (uint32_t)pid, value;

	if (!bpf_map_lookup_elem(fd, &tgid, &value) && value == slot)
		bpf_map_delete_elem(fd, &tgid);
}

/* Of a followed process, since when it is what it is, and whether an event of it was turned away; false: it is no such. */
static bool find_kin(const struct probes *p, pid_t pid, struct gil_kin *ret)
{
	uint32_t tgid = (uint32_t)pid;

	return bpf_map_lookup_elem(bpf_map__fd(p->skel->maps.kin), &tgid, ret) == 0;
}

bool probes_kin__is(const struct probes *p, pid_t pid)
{
	struct gil_kin kin;

	return find_kin(p, pid, &kin);
}

/*
 * An entry that nobody deletes would be that of the next process with its PID: the programs delete it at the exit, so it must not
 * be made after that.
 */
int probes_kin__tell(struct probes *p, uint32_t slot)
{
	struct proc_slot *s = &p->slots[slot];
	int tgids = bpf_map__fd(p->skel->maps.tgids);
	uint32_t tgid = (uint32_t)s->pid;

	if (bpf_map_update_elem(tgids, &tgid, &slot, p->opts.follow ? BPF_NOEXIST : BPF_ANY))
		return errno == EEXIST ? -EALREADY : -errno;
	s->told = true;
	if (has_ended(s->pidfd)) {
		probes_kin__forget(p, s->pid, slot);
		return -ESRCH;
	}
	return 0;
}

/*
 * Since when every event of a followed process is seen, that has no slot until now: since it began, if the probes were there and
 * none of its events was turned away, for the first one would have given it a slot.
 */
static uint64_t unmissed_since(const struct probes *p, const struct proc_slot *s, uint64_t now)
{
	struct gil_kin kin;

	if (!s->family || !find_kin(p, s->pid, &kin) || kin.turned_away || kin.began < family__planted_at(s->family))
		return now;
	return kin.began;
}

/* It counts already: whatever it does from here on, and nothing before. */
int probes_kin__tell_armed(struct probes *p, uint32_t slot)
{
	struct proc_slot *s = &p->slots[slot];
	uint32_t tgid = (uint32_t)s->pid;
	int err = probes_kin__tell(p, slot);

	if (err) {
		probes__disarm(p, slot);
		return err;
	}
	probes__proc(p, slot)->armed_at = unmissed_since(p, s, probes__proc(p, slot)->armed_at);
	bpf_map_delete_elem(bpf_map__fd(p->skel->maps.kin), &tgid);
	return 0;
}

bool probes__is_followed(const struct probes *p, pid_t pid)
{
	uint32_t tgid = (uint32_t)pid, slot;
	struct gil_kin kin;

	return bpf_map_lookup_elem(bpf_map__fd(p->skel->maps.tgids), &tgid, &slot) == 0 || find_kin(p, pid, &kin);
}

void probes__unfollow(struct probes *p, pid_t pid)
{
	uint32_t tgid = (uint32_t)pid;

	bpf_map_delete_elem(bpf_map__fd(p->skel->maps.kin), &tgid);
}

/* What it is now is no news: it begins with its next exec, as a child in its parent's memory does. */
void probes__follow(struct probes *p, pid_t pid)
{
	struct gil_kin kin = {0};
	uint32_t tgid = (uint32_t)pid;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd < 0)
		return;
	if (bpf_map_update_elem(bpf_map__fd(p->skel->maps.kin), &tgid, &kin, BPF_NOEXIST))
		log_debug("process %d is not followed: %s", (int)pid, strerror(errno));
	else if (has_ended(pidfd)) /* see probes_kin__tell() */
		probes__unfollow(p, pid);
	close(pidfd);
}

/* ---- shared probes ---- */

bool probes__is_kin(const struct probes *p, uint32_t slot)
{
	return p->slots[slot].family != NULL;
}

uint32_t probes__family(const struct probes *p, uint32_t slot)
{
	return p->slots[slot].family ? family__number(p->slots[slot].family) : GIL_FAMILIES;
}

bool probes__is_family_file(const struct probes *p, uint32_t family, int image_fd)
{
	const struct family *of = families__by_number(p->families, family);
	struct stat file, theirs;

	return of && !theirs__fstat(family__image(of), &file) && !theirs__fstat(image_fd, &theirs) &&
	       file.st_dev == theirs.st_dev && file.st_ino == theirs.st_ino;
}

/* The same sites as its own, told apart by process. */
static int enter_family(struct probes *p, struct proc_slot *s)
{
	struct gil_family layout;

	proc_layout__fill_family(&layout, s->off);
	return families__enter(p->families, s->image_fd, s->ino, s->sites, &layout, &s->family);
}

void probes_kin__leave(struct probes *p, struct proc_slot *s)
{
	if (s->family)
		family__leave(p->families, s->family);
	s->family = NULL;
}

static int plant_in_family(struct probes *p, struct proc_slot *s, enum gil_mode mode)
{
	uint32_t groups = 0;
	int err;

	for (int group = 0; group < GROUP_COUNT; group++)
		groups |= (uint32_t)group__is_wanted(group, mode) << group;
	err = family__set_groups(p->families, s->family, groups, mode);
	if (err)
		probes_kin__leave(p, s);
	else
		s->mode = mode;
	return err;
}

/* In the family's mode: who is new in it does not change that of the others. */
static int become_kin(struct probes *p, struct proc_slot *s, enum gil_mode mode)
{
	int err = enter_family(p, s);

	if (!err && family__mode(s->family) != GIL_MODE_OFF)
		mode = family__mode(s->family);
	return err ?: plant_in_family(p, s, mode);
}

int probes_kin__plant(struct probes *p, struct proc_slot *s, enum gil_mode mode)
{
	return s->family ? plant_in_family(p, s, mode) : become_kin(p, s, mode);
}

/* ---- children ---- */

/* Counts with the family's probes, or will when they are planted again: its last relative may be gone by now. */
static int join(struct probes *p, struct proc_slot *s, struct family *family, uint64_t counted_since, bool *ret_late)
{
	enum gil_mode mode = family__mode(family) != GIL_MODE_OFF ? family__mode(family) : s->mode;
	struct reason why = {{0}};
	int err;

	family__born(family);
	s->family = family;
	err = plant_in_family(p, s, mode);
	if (err == -EXDEV) { /* they share nothing any more: what it did until now is not known */
		*ret_late = true;
		return probes__plant(p, (uint32_t)(s - p->slots), mode, &why);
	}
	*ret_late = counted_since <= family__planted_at(family);
	return err;
}

static int copy_sites(struct uprobe_sites *dst, const struct uprobe_sites *src, uint32_t slot)
{
	int err = 0;

	for (size_t i = 0; !err && i < src->n; i++)
		err = uprobe_sites__add(dst, src->offsets[i], GIL_COOKIE(slot, GIL_COOKIE_KIND(src->cookies[i])), &src->texts[i]);
	return err;
}

int probes__adopt(struct probes *p, uint32_t parent_slot, pid_t child, uint32_t child_slot, const struct pyoffsets *offsets,
		  uint64_t forked_at, bool *ret_late)
{
	const struct proc_slot *parent = &p->slots[parent_slot];
	struct proc_slot *s = &p->slots[child_slot];
	int err;

	*s = (struct proc_slot){
		.used = true, .told = true, .pid = child, .mode = parent->mode, .pidfd = -1, .ino = parent->ino,
		.off = offsets,
	};
	s->image_fd = fcntl(parent->image_fd, F_DUPFD_CLOEXEC, 0);
	err = s->image_fd < 0 ? -errno : 0;
	for (int group = 0; !err && group < GROUP_COUNT; group++)
		err = copy_sites(&s->sites[group], &parent->sites[group], child_slot);
	*ret_late = true;
	if (!err && parent->family)
		err = join(p, s, parent->family, forked_at, ret_late);
	if (err)
		probes__remove(p, child_slot);
	return err;
}

int probes__adopt_newcomer(struct probes *p, const struct gil_event *e, const struct pyoffsets *offsets, bool *ret_late)
{
	struct family *family = families__by_number(p->families, e->family);
	struct proc_slot *s = &p->slots[e->proc];
	int err = family ? 0 : -ENOENT;

	*s = (struct proc_slot){
		.used = true, .told = true, .pid = (pid_t)e->tgid, .pidfd = -1, .image_fd = -1, .off = offsets,
		.mode = (enum gil_mode)probes__proc(p, e->proc)->mode,
	};
	if (!err) {
		s->ino = family__ino(family);
		s->image_fd = fcntl(family__image(family), F_DUPFD_CLOEXEC, 0);
		err = s->image_fd < 0 ? -errno : 0;
	}
	for (int group = 0; !err && group < GROUP_COUNT; group++)
		err = copy_sites(&s->sites[group], family__sites(family, group), e->proc);
	err = err ?: join(p, s, family, e->at, ret_late);
	if (err)
		probes__remove(p, e->proc);
	return err;
}

void probes__disown(struct probes *p, uint32_t slot)
{
	probes__disarm(p, slot);
	probes_kin__forget(p, (pid_t)probes__proc(p, slot)->tgid, slot);
	if (probes_slot__free(p, slot))
		log_debug("process slot %u could not be given back", slot);
}
