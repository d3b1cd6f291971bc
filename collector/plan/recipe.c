/* SPDX-License-Identifier: GPL-2.0-only */
/* See recipe.h. */
#include "recipe.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "collector/process/theirs.h"
#include "apart.h"
#include "image.h"

#define IDLE_MAX 4 /* kept though nobody uses them: short programs come again and again */

struct recipe_entry {
	struct recipe recipe; /* first: a recipe's address is its entry's */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
	unsigned int users;
	struct recipe_entry *next;
};

static bool is_of(const struct recipe_entry *e, const struct stat *st)
{
	bool is_files = !e->recipe.plan || e->recipe.plan->library_fd < 0;

	return is_files && e->dev == st->st_dev && e->ino == st->st_ino && e->size == st->st_size &&
	       e->changed.tv_sec == st->st_ctim.tv_sec && e->changed.tv_nsec == st->st_ctim.tv_nsec;
}

static void entry_free(struct recipe_entry *e)
{
	site_plan__free(e->recipe.plan);
	free(e);
}

/* Leaves the newest idle ones: the list has the newest first. */
static void drop_idle(struct recipes *r)
{
	struct recipe_entry **at = &r->first;
	unsigned int idle = 0;

	while (*at) {
		struct recipe_entry *e = *at;

		if (e->users || ++idle <= IDLE_MAX) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		entry_free(e);
	}
}

static int work_out_here(const struct target *t, bool with_sites, struct recipe *ret, struct reason *why)
{
	struct elf_symbol runtime;
	struct elffile *elf;
	int err = image__open(t, &elf, why);

	if (err)
		return err;
	ret->runtime = elffile__symbol(elf, "_PyRuntime", &runtime) == 0 ? runtime.vaddr : 0;
	err = pyver__identify(elf, t->image.path, &ret->python, why);
	err = err ?: pyver__offsets(elf, &ret->python, &ret->offsets, why);
	if (!err && with_sites)
		err = image__plan(t, elf, &ret->python, &ret->plan, why);
	elffile__close(elf); /* megabytes */
	return err;
}

/* The same by a child. */
static int work_out_apart(const struct target *t, bool with_sites, struct recipe *ret, struct reason *why)
{
	struct apart found;

	apart__look(t, with_sites, &found);
	*ret = (struct recipe){
		.python = found.python, .offsets = found.offsets, .runtime = found.runtime, .plan = found.plan,
	};
	return found.err ? reason__set(why, found.err, "%s", found.why.text) : 0;
}

static struct recipe_entry *entry_of(const struct recipes *r, const struct stat *st)
{
	for (struct recipe_entry *e = r->first; e; e = e->next)
		if (is_of(e, st))
			return e;
	return NULL;
}

static int make_entry(const struct target *t, bool with_sites, const struct stat *st, struct recipe_entry **ret,
		      struct reason *why)
{
	struct recipe_entry *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return reason__set(why, -ENOMEM, "out of memory");
	err = (apart__is_wanted(t) ? work_out_apart : work_out_here)(t, with_sites, &e->recipe, why);
	if (err) {
		entry_free(e);
		return err;
	}
	e->dev = st->st_dev;
	e->ino = st->st_ino;
	e->size = st->st_size;
	e->changed = st->st_ctim;
	*ret = e;
	return 0;
}

int recipes__take(struct recipes *r, const struct target *t, const struct recipe **ret, struct reason *why)
{
	struct recipe_entry *e;
	struct stat st;
	int err = 0;

	if (theirs__fstat(t->image.fd, &st))
		return reason__set(why, -errno, "%s: can't be looked at", t->image.path);
	e = entry_of(r, &st);
	if (!e) {
		err = make_entry(t, !r->no_sites, &st, &e, why);
		if (!err) {
			e->next = r->first;
			r->first = e;
		}
	}
	if (err)
		return err;
	e->users++;
	*ret = &e->recipe;
	return 0;
}

const struct recipe *recipes__share(struct recipes *r, const struct recipe *recipe)
{
	for (struct recipe_entry *e = r->first; e; e = e->next)
		if (&e->recipe == recipe)
			e->users++;
	return recipe;
}

void recipes__give_back(struct recipes *r, const struct recipe *recipe)
{
	for (struct recipe_entry *e = r->first; recipe && e; e = e->next)
		if (&e->recipe == recipe)
			e->users--;
	drop_idle(r);
}

void recipes__free(struct recipes *r)
{
	while (r->first) {
		struct recipe_entry *next = r->first->next;

		entry_free(r->first);
		r->first = next;
	}
}
