/* SPDX-License-Identifier: GPL-2.0-only */
/* See families.h. */
#include "families.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/process/theirs.h"

struct family {
	dev_t dev;
	ino_t ino;
	int image_fd;
	uint64_t maps_ino;             /* as mappings show it, which may be another than fstat()'s */
	struct uprobe_sites sites[FAMILY_GROUPS];
	uint32_t links[FAMILY_GROUPS]; /* the planter's numbers, 0: not planted */
	enum gil_mode mode;            /* that they are all planted in, GIL_MODE_OFF: none or not all are */
	uint64_t planted_at;           /* ns: who begins from here on has every probe */
	uint32_t members, number;
	struct gil_family *template;   /* NULL: all are taken */
	bool apart;                    /* it shares nothing any more */
	struct family *next;
};

struct families {
	struct planter *planter;
	const struct bpf_program *programs[FAMILY_GROUPS];
	bool multi;
	struct gil_family *templates;
	uint32_t n;
	struct family *first;
};

struct families *families__new(struct planter *planter, const struct bpf_program *const programs[FAMILY_GROUPS], bool multi,
			       struct gil_family *templates)
{
	struct families *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->planter = planter;
	f->multi = multi;
	f->templates = templates;
	memcpy(f->programs, programs, sizeof(f->programs));
	return f;
}

/* ---- what children get ---- */

static void open_family(struct family *family, enum gil_mode mode)
{
	family->mode = mode;
	if (!family->template)
		return;
	family->template->proc.mode = mode;
	__atomic_store_n(&family->template->open_since, family->planted_at, __ATOMIC_SEQ_CST);
}

static void close_family(struct family *family)
{
	family->mode = GIL_MODE_OFF;
	if (family->template)
		__atomic_store_n(&family->template->open_since, 0, __ATOMIC_SEQ_CST);
}

/* ---- families ---- */

/* Nobody who counts has them any more: no need to wait. */
static void drop(struct families *f, struct family *family)
{
	close_family(family);
	for (int group = 0; group < FAMILY_GROUPS; group++) {
		planter__drop(f->planter, family->links[group]);
		family->links[group] = 0;
	}
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

static int copy_sites(struct uprobe_sites *dst, const struct uprobe_sites *src, uint32_t number)
{
	int err = 0;

	for (size_t i = 0; !err && i < src->n; i++) {
		uint64_t way = (uint64_t)(uint32_t)GIL_COOKIE_WAY(src->cookies[i]) << 32;

		err = uprobe_sites__add(dst, src->offsets[i],
					way | GIL_COOKIE(GIL_PROC_SHARED + number, GIL_COOKIE_KIND(src->cookies[i])),
					&src->texts[i]);
	}
	return err;
}

static void take_template(struct families *f, struct family *family, const struct gil_family *layout)
{
	family->number = f->n < GIL_FAMILIES ? f->n++ : GIL_FAMILIES;
	if (family->number == GIL_FAMILIES)
		return;
	family->template = &f->templates[family->number];
	*family->template = *layout;
	close_family(family);
}

static int found(struct families *f, int image_fd, uint64_t maps_ino, const struct stat *st,
		 const struct uprobe_sites sites[FAMILY_GROUPS], const struct gil_family *layout, struct family **ret)
{
	struct family *family = calloc(1, sizeof(*family));
	int err = 0;

	if (!family)
		return -ENOMEM;
	family->dev = st->st_dev;
	family->ino = st->st_ino;
	family->maps_ino = maps_ino;
	take_template(f, family, layout);
	family->image_fd = fcntl(image_fd, F_DUPFD_CLOEXEC, 0);
	if (family->image_fd < 0)
		err = -errno;
	for (int group = 0; !err && group < FAMILY_GROUPS; group++)
		err = copy_sites(&family->sites[group], &sites[group], family->number);
	if (err) {
		family__free(f, family);
		return err;
	}
	family->next = f->first;
	f->first = family;
	*ret = family;
	return 0;
}

int families__enter(struct families *f, int image_fd, uint64_t maps_ino, const struct uprobe_sites sites[FAMILY_GROUPS],
		    const struct gil_family *layout, struct family **ret)
{
	struct family *family = f->first;
	struct stat st;
	int err;

	if (theirs__fstat(image_fd, &st))
		return -errno;
	while (family && (family->dev != st.st_dev || family->ino != st.st_ino))
		family = family->next;
	err = family ? 0 : found(f, image_fd, maps_ino, &st, sites, layout, &family);
	if (err)
		return err;
	family->members++;
	*ret = family;
	return 0;
}

void family__born(struct family *family)
{
	family->members++;
}

enum gil_mode family__mode(const struct family *family)
{
	return family->mode;
}

uint64_t family__planted_at(const struct family *family)
{
	return family->planted_at;
}

bool families__are_planted(const struct families *f, uint64_t maps_ino)
{
	for (const struct family *family = f ? f->first : NULL; family; family = family->next)
		for (int group = 0; group < FAMILY_GROUPS; group++)
			if (family->maps_ino == maps_ino && family->links[group])
				return true;
	return false;
}

uint32_t family__number(const struct family *family)
{
	return family->number;
}

struct family *families__by_number(struct families *f, uint32_t number)
{
	struct family *family = f && number < GIL_FAMILIES ? f->first : NULL;

	while (family && family->number != number)
		family = family->next;
	return family;
}

int family__image(const struct family *family)
{
	return family->image_fd;
}

uint64_t family__ino(const struct family *family)
{
	return family->maps_ino;
}

const struct uprobe_sites *family__sites(const struct family *family, int group)
{
	return &family->sites[group];
}

void family__leave(struct families *f, struct family *family)
{
	if (--family->members == 0)
		drop(f, family);
}

/* ---- groups ---- */

static int plant_group(struct families *f, struct family *family, int group)
{
	struct uprobe_place place = {
		.image_fd = family->image_fd, .pid = UPROBE_EVERYBODY, .about = UPROBE_EVERYBODY, .ino = family->maps_ino,
	};
	int err = planter__plant(f->planter, bpf_program__fd(f->programs[group]), &place, &family->sites[group], f->multi,
				 &family->links[group]);

	family->planted_at = clock__mono_ns();
	return err;
}

/* Of those groups, one that has sites and is not planted. */
static bool is_missing(const struct family *family, uint32_t groups, int group)
{
	return groups >> group & 1 && family->sites[group].n && !family->links[group];
}

static bool lacks_any(const struct family *family, uint32_t groups)
{
	for (int group = 0; group < FAMILY_GROUPS; group++)
		if (is_missing(family, groups, group))
			return true;
	return false;
}

static bool is_planted(const struct family *family, uint32_t groups)
{
	for (int group = 0; group < FAMILY_GROUPS; group++)
		if (family->sites[group].n && (groups >> group & 1) != (family->links[group] != 0))
			return false;
	return true;
}

static void say_apart(struct family *family, pid_t who, int err)
{
	family->apart = true;
	if (who)
		log_warn("process %d maps the same interpreter file as those that are observed and has other code there, or "
			 "keeps it back: probes that all of them share would do it harm, so each has its own", (int)who);
	else
		log_warn("not every process that maps the interpreter's file could be looked at (%s), so each one observed has "
			 "probes of its own", strerror(-err));
}

/* What is planted is planted in all of them: none may have other code there. */
static int mind_strangers(struct families *f, struct family *family)
{
	pid_t who = 0;
	int err = family->apart ? -EXDEV : planter__compare(f->planter, family->maps_ino, family->sites, FAMILY_GROUPS, &who);

	if (err == -EPIPE) /* the planter is gone */
		return err;
	if (err && !family->apart)
		say_apart(family, who, err);
	return err ? -EXDEV : 0;
}

int family__set_groups(struct families *f, struct family *family, uint32_t groups, enum gil_mode mode)
{
	int err = 0;

	if (is_planted(family, groups))
		return 0;
	close_family(family);

	for (int group = 0; group < FAMILY_GROUPS; group++)
		if (!(groups >> group & 1)) {
			planter__lift(f->planter, family->links[group]);
			family->links[group] = 0;
		}
	err = lacks_any(family, groups) ? mind_strangers(f, family) : 0;
	for (int group = 0; !err && group < FAMILY_GROUPS; group++)
		if (is_missing(family, groups, group))
			err = plant_group(f, family, group);
	if (!err)
		open_family(family, mode);
	return err;
}
