/* SPDX-License-Identifier: GPL-2.0-only */
/* See apart.h. */
#include "apart.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/process/expendable.h"
#include "collector/process/theirs.h"
#include "image.h"

#define CPU_MS 3000
#define WALL_MS 15000

static const char *const methods[] = {"call sites", "call sites by symbols", "C library entries"};

#define METHODS_N (sizeof(methods) / sizeof(methods[0]))

/* What the child says. Nothing in it points anywhere. */
struct findings {
	enum apart_step reached;
	int err;
	struct reason why;
	char build_id[64];
	uint64_t runtime;
	struct pyver python;
	char found_by[32];
	struct pyoffsets offsets;
	bool has_plan, is_library, is_incomplete, has_light;
	uint32_t method;
	enum gc_sites_found gc;
	struct park_sites park;
	char notes[sizeof(((struct site_plan *)NULL)->notes)];
	size_t sites_n;
	struct site sites[APART_SITES_MAX];
};

_Static_assert(sizeof(struct findings) <= 65536, "it goes through a pipe in one piece");

struct looking {
	const struct target *target;
	bool with_sites;
};

/* ---- the child ---- */

static int put_plan(const struct site_plan *plan, struct findings *f)
{
	if (plan->sites_n > APART_SITES_MAX)
		return reason__set(&f->why, -ENOTSUP, "its file has more places for probes than any interpreter's");
	for (f->method = 0; f->method < METHODS_N && strcmp(methods[f->method], plan->method) != 0; f->method++)
		;
	f->has_plan = true;
	f->is_library = plan->library_fd >= 0;
	f->is_incomplete = plan->incomplete;
	f->has_light = plan->light;
	f->gc = plan->gc;
	f->park = plan->park;
	snprintf(f->notes, sizeof(f->notes), "%s", plan->notes);
	f->sites_n = plan->sites_n;
	memcpy(f->sites, plan->sites, plan->sites_n * sizeof(*plan->sites));
	return 0;
}

static int plan(const struct looking *l, struct elffile *ef, struct findings *f)
{
	struct site_plan *plan = NULL;
	int err = l->with_sites ? image__plan(l->target, ef, &f->python, &plan, &f->why) : 0;

	if (!err && plan)
		err = put_plan(plan, f);
	site_plan__free(plan);
	return err;
}

static int step(const struct looking *l, struct elffile **ef, struct findings *f)
{
	struct elf_symbol runtime;
	int err = 0;

	switch (f->reached) {
	case APART_FILE:
		err = image__open(l->target, ef, &f->why);
		if (!err && elffile__build_id(*ef, f->build_id, sizeof(f->build_id)))
			f->build_id[0] = '\0';
		f->runtime = !err && elffile__symbol(*ef, "_PyRuntime", &runtime) == 0 ? runtime.vaddr : 0;
		return err;
	case APART_PYTHON:
		err = pyver__identify(*ef, l->target->image.path, &f->python, &f->why);
		snprintf(f->found_by, sizeof(f->found_by), "%s", err ? "" : f->python.found_by);
		return err;
	case APART_SITES:
		return plan(l, *ef, f);
	case APART_OFFSETS:
		return pyver__offsets(*ef, &f->python, &f->offsets, &f->why);
	case APART_DONE:
		break;
	}
	return 0;
}

static void look(void *arg, void *ret)
{
	struct findings *f = ret;
	struct elffile *ef = NULL;

	memset(f, 0, sizeof(*f));
	for (f->reached = APART_FILE; f->reached < APART_DONE && !f->err; f->reached += !f->err)
		f->err = step(arg, &ef, f);
	elffile__close(ef);
}

/* ---- what is made of it ---- */

static void end_text(char *text, size_t size)
{
	text[size - 1] = '\0';
}

static bool is_sound_site(struct site *s)
{
	end_text(s->symbol, sizeof(s->symbol));
	end_text(s->insn, sizeof(s->insn));
	return s->role < SITE_ROLES_N && s->price <= SITE_STEPPED && s->text.len <= sizeof(s->text.bytes) &&
	       s->text.at <= s->text.len && s->text.insn_len <= s->text.len - s->text.at;
}

static bool is_sound_park(struct park_sites *park)
{
	end_text(park->why_not.text, sizeof(park->why_not.text));
	for (size_t i = 0; park->n <= PARK_SITES_MAX && i < park->n; i++)
		if (park->at[i].kind >= PARK_KINDS_N)
			return false;
	return park->n <= PARK_SITES_MAX;
}

/* A child that was taken over says what it likes. */
static bool is_sound(struct findings *f)
{
	end_text(f->why.text, sizeof(f->why.text));
	end_text(f->build_id, sizeof(f->build_id));
	end_text(f->python.text, sizeof(f->python.text));
	end_text(f->found_by, sizeof(f->found_by));
	end_text(f->notes, sizeof(f->notes));
	if (f->reached > APART_DONE || (f->reached < APART_DONE) != (f->err < 0) || f->sites_n > APART_SITES_MAX)
		return false;
	for (size_t i = 0; i < f->sites_n; i++)
		if (!is_sound_site(&f->sites[i]))
			return false;
	return !f->has_plan || (f->method < METHODS_N && f->gc <= GC_SITES_NO_CALLS && is_sound_park(&f->park));
}

static int take_plan(const struct target *t, const struct findings *f, struct site_plan **ret)
{
	struct site_plan *plan = calloc(1, sizeof(*plan));
	int err = plan ? 0 : -ENOMEM;

	if (err)
		return err;
	*plan = (struct site_plan){
		.method = methods[f->method], .library_fd = -1, .incomplete = f->is_incomplete, .light = f->has_light,
		.gc = f->gc, .park = f->park, .sites = calloc(f->sites_n + 1, sizeof(*plan->sites)), .sites_n = f->sites_n,
	};
	snprintf(plan->notes, sizeof(plan->notes), "%s", f->notes);
	if (plan->sites)
		memcpy(plan->sites, f->sites, f->sites_n * sizeof(*plan->sites));
	else
		err = -ENOMEM;
	if (!err && f->is_library)
		err = image__open_c_library(t, &plan->library_fd);
	if (err)
		site_plan__free(plan);
	else
		*ret = plan;
	return err;
}

/* Where a version was read is one of a few texts, for people. */
static const char *known_text(const char *text)
{
	static const char *const known[] = {"Py_Version", "debug offsets", "version string", "file name", "library's name"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i], text) == 0)
			return known[i];
	return "file";
}

static void take(const struct target *t, const struct findings *f, struct apart *ret)
{
	*ret = (struct apart){
		.reached = f->reached, .err = f->err, .why = f->why, .runtime = f->runtime, .python = f->python,
		.offsets = f->offsets,
	};
	snprintf(ret->build_id, sizeof(ret->build_id), "%s", f->build_id);
	ret->python.found_by = known_text(f->found_by);
	if (f->reached <= APART_SITES || !f->has_plan)
		return;
	ret->err = take_plan(t, f, &ret->plan);
	if (ret->err) {
		ret->reached = APART_SITES;
		reason__set(&ret->why, ret->err, "the plan of its probes cannot be used: %s", strerror(-ret->err));
	}
}

bool apart__is_wanted(const struct target *t)
{
	return !expendable__is_inside() && theirs__is_foreign(t->image.fd);
}

static int refuse(const struct target *t, int err, struct apart *ret)
{
	*ret = (struct apart){.reached = APART_FILE, .err = err};
	return reason__set(&ret->why, err, "%s: its file %s (it is not root's alone)", t->image.path,
			   err == -ETIMEDOUT ? "takes too long to read" : "cannot be read safely");
}

void apart__look(const struct target *t, bool with_sites, struct apart *ret)
{
	const int keep[] = {t->image.fd, t->pidfd};
	const struct expendable limits = {.cpu_ms = CPU_MS, .wall_ms = WALL_MS, .keep = keep, .keep_n = 2, .needs_rights = true};
	struct looking l = {.target = t, .with_sites = with_sites};
	struct findings *f = calloc(1, sizeof(*f));
	int err = f ? expendable__run(&limits, look, &l, f, sizeof(*f)) : -ENOMEM;

	if (!err && !is_sound(f))
		err = -ECHILD;
	if (err)
		refuse(t, err, ret);
	else
		take(t, f, ret);
	free(f);
}
