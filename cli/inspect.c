/* SPDX-License-Identifier: GPL-2.0-only */
/* See inspect.h. */
#include "inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/plan/apart.h"
#include "collector/plan/image.h"

static int open_file(struct inspection *in)
{
	struct elf_symbol runtime;
	int err = image__open(in->target, &in->file, &in->why);

	if (!err && elffile__symbol(in->file, "_PyRuntime", &runtime) == 0)
		in->runtime = runtime.vaddr;
	return err;
}

static void check_code(struct inspection *in)
{
	struct site_text *texts = calloc(in->plan->sites_n + 1, sizeof(*texts));
	size_t n = texts ? image__texts(in->plan, texts, in->plan->sites_n) : 0;
	struct site_text_tally tally = {0};

	if (n)
		site_texts__check(texts, n, in->target->pid, image__texts_inode(in->target, in->plan), &tally, &in->moved);
	in->kept_sites = tally.half;
	free(texts);
}

static int make_plan(struct inspection *in)
{
	int err = image__plan(in->target, in->file, &in->python, &in->plan, &in->why);

	if (!err)
		check_code(in);
	return err;
}

/* What a child has found: the steps before INSPECT_GILS. */
static void take_apart(struct inspection *in, bool with_sites)
{
	static const enum inspect_step reached[] = {
		[APART_FILE] = INSPECT_FILE, [APART_PYTHON] = INSPECT_PYTHON, [APART_SITES] = INSPECT_SITES,
		[APART_OFFSETS] = INSPECT_OFFSETS, [APART_DONE] = INSPECT_GILS,
	};
	struct apart found;

	apart__look(in->target, with_sites, &found);
	in->reached = reached[found.reached];
	in->err = found.err;
	in->why = found.why;
	in->runtime = found.runtime;
	in->python = found.python;
	in->plan = found.plan;
	in->offsets = found.offsets;
	snprintf(in->build_id, sizeof(in->build_id), "%s", found.build_id);
	if (in->plan)
		check_code(in);
}

static int step(struct inspection *in, bool with_sites)
{
	switch (in->reached) {
	case INSPECT_FILE:
		return open_file(in);
	case INSPECT_PYTHON:
		if (elffile__build_id(in->file, in->build_id, sizeof(in->build_id)))
			in->build_id[0] = '\0';
		return pyver__identify(in->file, in->target->image.path, &in->python, &in->why);
	case INSPECT_SITES:
		return with_sites ? make_plan(in) : 0;
	case INSPECT_OFFSETS:
		return pyver__offsets(in->file, &in->python, &in->offsets, &in->why);
	case INSPECT_GILS:
		return pygils__find_at(in->target, in->runtime, &in->offsets, in->gils, GIL_PER_PROC, &in->gils_n,
					   &in->gil_enabled, &in->why);
	case INSPECT_DONE:
		break;
	}
	return 0;
}

void inspect__begin(struct inspection *in, const struct target *t, bool with_sites)
{
	memset(in, 0, sizeof(*in));
	in->target = t;
	if (apart__is_wanted(t))
		take_apart(in, with_sites);
	for (; !in->err && in->reached < INSPECT_DONE; in->reached++) {
		in->err = step(in, with_sites);
		if (in->err)
			return;
	}
}

void inspect__end(struct inspection *in)
{
	site_plan__free(in->plan);
	elffile__close(in->file);
	in->plan = NULL;
	in->file = NULL;
}

const char *inspect__gil_kind(const struct inspection *in)
{
	if (in->reached <= INSPECT_PYTHON)
		return "";
	if (in->reached < INSPECT_DONE)
		return in->python.free_threaded ? "" : "gil";
	if (!in->gil_enabled)
		return "free-threaded";
	return in->gils_n > 1 ? "per-interpreter" : "gil";
}

const char *inspect__inside(const struct target *t, char *buf, size_t size)
{
	if (t->pid_inside && t->container[0])
		snprintf(buf, size, "%d inside container %s", (int)t->pid_inside, t->container);
	else if (t->pid_inside)
		snprintf(buf, size, "%d inside its PID namespace", (int)t->pid_inside);
	else if (t->container[0])
		snprintf(buf, size, "in container %s", t->container);
	else
		snprintf(buf, size, "%s", t->other_root ? "under another root directory" : "");
	return buf;
}

const char *inspect__offsets_source(const struct inspection *in)
{
	switch (in->offsets.source) {
	case PYOFFSETS_TABLE:
		return "from CPython's headers, this very build's layout is known";
	case PYOFFSETS_TABLE_UNKNOWN:
		return "from CPython's headers for this version, checked on live values";
	case PYOFFSETS_DEBUG:
		return "from the interpreter's own _Py_DebugOffsets";
	}
	return "";
}
