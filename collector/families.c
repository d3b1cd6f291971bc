/* SPDX-License-Identifier: GPL-2.0-only */
/* See families.h. */
#include "families.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

struct family {
	dev_t dev;
	ino_t ino;
	int image_fd;
	struct uprobe_sites sites[FAMILY_GROUPS];
	uint32_t links[FAMILY_GROUPS]; /* the planter's numbers, 0: not planted */
	uint64_t planted_at;           /* ns: who is forked from here on has every probe */
	uint32_t members;
	struct family *next;
};

struct families {
	struct planter *planter;
	const struct bpf_program *programs[FAMILY_GROUPS];
	bool multi;
	struct family *first;
};

struct families *families__new(struct planter *planter, const struct bpf_program *const programs[FAMILY_GROUPS], bool multi)
{
	struct families *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->planter = planter;
	f->multi = multi;
	memcpy(f->programs, programs, sizeof(f->programs));
	return f;
}

/* Nobody who counts has them any more: no need to wait. */
static void drop(struct families *f, struct family *family)
{
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

int families__enter(struct families *f, int image_fd, const struct uprobe_sites sites[FAMILY_GROUPS], struct family **ret)
{
	struct family *family = f->first;
	struct stat st;
	int err;

	if (fstat(image_fd, &st))
		return -errno;
	while (family && (family->dev != st.st_dev || family->ino != st.st_ino))
		family = family->next;
	err = family ? 0 : found(f, image_fd, &st, sites, &family);
	if (err)
		return err;
	family->members++;
	*ret = family;
	return 0;
}

bool family__born(struct family *family, uint64_t forked_at)
{
	family->members++;
	return forked_at <= family->planted_at;
}

void family__leave(struct families *f, struct family *family)
{
	if (--family->members == 0)
		drop(f, family);
}

/* ---- groups ---- */

static int plant_group(struct families *f, struct family *family, int group)
{
	struct uprobe_place place = {.image_fd = family->image_fd, .pid = UPROBE_EVERYBODY};
	int err = planter__plant(f->planter, f->programs[group], &place, &family->sites[group], f->multi, &family->links[group]);

	family->planted_at = clock__mono_ns();
	return err;
}

int family__set_groups(struct families *f, struct family *family, uint32_t groups)
{
	int err = 0;

	for (int group = 0; group < FAMILY_GROUPS; group++)
		if (!(groups >> group & 1)) {
			planter__lift(f->planter, family->links[group]);
			family->links[group] = 0;
		}
	for (int group = 0; !err && group < FAMILY_GROUPS; group++)
		if (groups >> group & 1 && !family->links[group] && family->sites[group].n)
			err = plant_group(f, family, group);
	return err;
}
