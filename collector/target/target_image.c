/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a process's mappings to the file that carries its interpreter, held open.
 *
 * The executable first, then libpythons, then anything that is mapped executable; what counts is what the file defines. A file
 * may be mapped several times (dlmopen), and several files may define a _PyRuntime: all are found, and one is chosen
 * (target_runtimes.c). Of an interpreter whose text was moved to other memory, the data still tells. What most processes share is
 * remembered by inode (target_memory).
 */
#include "target_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/base/text.h"
#include "collector/elf/elffile.h"
#include "collector/process/expendable.h"
#include "collector/process/procmaps.h"
#include "collector/process/theirs.h"

#define LOOK_MAX 512              /* files opened in search of an interpreter */
#define SEEN_MAX 8192             /* files remembered while all processes are visited, a power of two */

/* What a mapped file turned out to be. */
enum kind {
	KIND_UNKNOWN,
	KIND_OTHER,    /* no CPython in it */
	KIND_OLD,      /* CPython before 3.7: no _PyRuntime yet */
	KIND_CPYTHON,
};

/* Verdicts on files, kept over the processes that target__each() visits: most of them share their libraries. */
struct seen {
	uint64_t dev, ino;
	enum kind kind;
};

/* ---- the search for the interpreter ------------------------------------------------------------------ */

/* Slot of a file in the table of verdicts, NULL if there is no table or no room. */
static struct seen *seen_slot(const struct search *s, uint64_t dev, uint64_t ino)
{
	size_t at = (size_t)((ino * 0x9e3779b97f4a7c15u) ^ dev) & (SEEN_MAX - 1);

	for (size_t i = 0; s->seen && i < 64; i++) {
		struct seen *slot = &s->seen[(at + i) & (SEEN_MAX - 1)];

		if (slot->kind == KIND_UNKNOWN || (slot->dev == dev && slot->ino == ino))
			return slot;
	}
	return NULL;
}

/* Where a file's code and data lie. */
struct place {
	uint64_t bias;
	uint64_t runtime;  /* address of _PyRuntime */
};

#define PLACES_MAX 4       /* of one file */
#define TEXTS_MAX 8        /* executable segments of a file that are looked for */

/* What examining a file came to. */
struct found {
	enum kind kind;    /* of what is in it */
	struct place places[PLACES_MAX]; /* for CPython: where it is mapped so that it can run; none: nowhere */
	size_t places_n;
	struct runtime_layout layout;    /* if that was asked for */
	bool is_spent;     /* it was too much work */
	struct reason why; /* what is wrong with a damaged file */
};

struct examination {
	int fd;
	const struct mapped_file *f;
	const char *maps;  /* of the process */
	size_t maps_len;
	bool with_layout;
};

static enum kind kind_of(struct elffile *ef, const struct mapped_file *f, struct elf_symbol *ret_runtime)
{
	struct elf_symbol symbol;

	/* A program with CPython linked in need not export it; that of a library is found where it is exported. */
	if (elffile__runtime(ef, ret_runtime) == 0 || (f->is_exe && elffile__symbol(ef, "_PyRuntime", ret_runtime) == 0))
		return KIND_CPYTHON;
	return elffile__dynsym(ef, "PyEval_RestoreThread", &symbol) == 0 ? KIND_OLD : KIND_OTHER;
}

static bool is_mapped(const struct examination *e, uint64_t addr, bool executable)
{
	const char *at = e->maps;
	size_t len = e->maps_len, line;

	for (; (line = procmaps__line_len(at, len)) > 0; at += line, len -= line) {
		struct proc_map map;

		if (procmaps__parse(at, line, &map) == 0 && addr >= map.start && addr < map.end && (!executable || map.exec))
			return true;
	}
	return false;
}

/* Whether what is mapped as data belongs to a program that can run: its text stands where it should, in whatever memory. */
static bool has_moved_text(const struct examination *e, struct elffile *ef, const struct place *p)
{
	struct elf_range texts[TEXTS_MAX];
	size_t n = elffile__text_segments(ef, texts, TEXTS_MAX);

	for (size_t i = 0; i < n; i++)
		if (!is_mapped(e, texts[i].start + p->bias, true))
			return false;
	return n > 0 && is_mapped(e, p->runtime, false);
}

static void add_place(const struct examination *e, struct elffile *ef, uint64_t bias, uint64_t runtime, struct found *ret)
{
	struct place p = {.bias = bias, .runtime = runtime + bias};

	for (size_t i = 0; i < ret->places_n; i++)
		if (ret->places[i].bias == bias)
			return;
	if (ret->places_n < PLACES_MAX && (elffile__is_relocatable(ef) || !bias) && (e->f->has_text || has_moved_text(e, ef, &p)))
		ret->places[ret->places_n++] = p;
}

/* Each place that the file's mappings imply. */
static void find_places(const struct examination *e, struct elffile *ef, uint64_t runtime, struct found *ret)
{
	const struct proc_map *file = &e->f->map;
	const char *at = e->maps;
	size_t len = e->maps_len, line;
	uint64_t bias;

	for (; (line = procmaps__line_len(at, len)) > 0; at += line, len -= line) {
		struct proc_map map;

		if (procmaps__parse(at, line, &map) || map.ino != file->ino || map.dev != file->dev ||
		    (e->f->has_text && !map.exec))
			continue;
		if ((e->f->has_text ? elffile__bias(ef, map.start, map.offset, map.end - map.start, &bias) :
				      elffile__bias_of_segment(ef, map.start, map.offset, &bias)) == 0)
			add_place(e, ef, bias, runtime, ret);
	}
}

static void learn_layout(struct elffile *ef, const struct mapped_file *f, struct runtime_layout *ret)
{
	struct pyver version;
	char path[PATH_MAX];

	if (procmaps__path(&f->map, false, path, sizeof(path)) || pyver__identify(ef, path, &version, NULL) ||
	    pyver__offsets(ef, &version, &ret->offsets, NULL))
		return;
	memcpy(ret->python, version.text, sizeof(ret->python));
	ret->known = true;
}

static void examine_cpython(const struct examination *e, struct elffile *ef, uint64_t runtime, struct found *ret)
{
	find_places(e, ef, runtime, ret);
	if (!ret->places_n && e->f->has_text)
		reason__set(&ret->why, 0, "its code is not mapped the way its file says");
	if (e->with_layout)
		learn_layout(ef, e->f, &ret->layout);
}

static void examine(void *arg, void *result)
{
	static const struct elf_budget budget = ELF_BUDGET_LOOK;
	const struct examination *e = arg;
	struct elf_symbol runtime;
	struct found *ret = result;
	struct elffile *ef;

	*ret = (struct found){.kind = KIND_OTHER};
	if (elffile__open_within(e->fd, &budget, &ef, &ret->why) != 0)
		return;
	ret->kind = kind_of(ef, e->f, &runtime);
	if (ret->kind == KIND_CPYTHON)
		examine_cpython(e, ef, runtime.vaddr, ret);
	ret->is_spent = elffile__is_spent(ef, 0);
	if (ret->is_spent) {
		reason__set(&ret->why, 0, "its file takes more work than any interpreter's");
		ret->kind = KIND_OTHER;
	}
	elffile__close(ef);
}

/* A file that neither root nor we made: whatever is in it happens to a child. */
static void examine_theirs(struct examination *e, uid_t owner, struct found *ret)
{
	struct expendable limits = {.cpu_ms = 500, .wall_ms = 3000, .keep = &e->fd, .keep_n = 1};
	int err;

	*ret = (struct found){.kind = KIND_OTHER};
	if (expendable__is_banned(owner)) {
		reason__set(&ret->why, 0, "files of user %u take too much work", (unsigned int)owner);
		return;
	}
	err = expendable__run(&limits, examine, e, ret, sizeof(*ret));
	if (err)
		reason__set(&ret->why, 0, "its file %s",
			    err == -ETIMEDOUT ? "takes too long to read" : "cannot be read safely");
	if (err || ret->is_spent)
		expendable__blame(owner);
}

static void examine_whosoever(struct examination *e, struct found *ret)
{
	int fd = e->fd, content = theirs__content(fd);
	struct stat st;

	if (content < 0 || theirs__fstat(fd, &st)) {
		reason__set(&ret->why, 0, "its file cannot be read: %s", strerror(content < 0 ? -content : errno));
	} else {
		e->fd = content;
		if (theirs__is_foreign(fd))
			examine_theirs(e, st.st_uid, ret);
		else
			examine(e, ret);
		e->fd = fd;
	}
	if (content >= 0)
		close(content);
}

/* ---- the search ---- */

/* A _PyRuntime that was found. */
struct candidate {
	const struct mapped_file *f;
	int fd;                   /* owned until it is kept */
	enum image_source source;
	struct place place;
};

/* One process being looked through. */
struct hunt {
	struct target *t;
	const struct search *s;
	char *maps;
	size_t maps_len;
	struct mapped_file *files;
	size_t files_n;
	size_t looked;
	enum kind best;           /* of what is no CPython that can be taken */
	struct reason exe_why;    /* what is wrong with the executable */
	struct candidate found[RUNTIMES_MAX];
	size_t found_n;
};

/* The same _PyRuntime may be seen in two files: its own, and a copy that has the text. Probes go to where the text is. */
static bool is_known(struct hunt *h, const struct candidate *c)
{
	for (size_t i = 0; i < h->found_n; i++) {
		struct candidate *old = &h->found[i];

		if (old->place.runtime != c->place.runtime)
			continue;
		if (c->f->has_text && !old->f->has_text) {
			close(old->fd);
			*old = *c;
			old->fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
		}
		return true;
	}
	return false;
}

static void add_candidates(struct hunt *h, struct candidate *c, const struct found *found)
{
	for (size_t i = 0; i < found->places_n; i++) {
		c->place = found->places[i];
		if (is_known(h, c) || h->found_n == RUNTIMES_MAX)
			continue;
		h->found[h->found_n] = *c;
		h->found[h->found_n].fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
		h->found_n += h->found[h->found_n].fd >= 0;
	}
}

/* Opens and examines one mapped file; adds what it is the file of. */
static void try_file(struct hunt *h, const struct mapped_file *f)
{
	struct seen *slot = seen_slot(h->s, f->map.dev, f->map.ino);
	struct examination e = {.f = f, .maps = h->maps, .maps_len = h->maps_len};
	struct reason *why = f->is_exe ? &h->exe_why : NULL;
	struct found found = {.kind = KIND_UNKNOWN};
	struct candidate c = {.f = f};

	if (slot && slot->kind != KIND_UNKNOWN && slot->kind != KIND_CPYTHON) {
		if (slot->kind == KIND_OLD && f->has_text)
			h->best = KIND_OLD;
		return;
	}
	h->looked++;
	c.fd = e.fd = target_files__open(h->t->pid, f, &c.source);
	if (e.fd < 0) {
		reason__set(why, e.fd, "its file cannot be opened: %s", strerror(-e.fd));
		return;
	}
	examine_whosoever(&e, &found);
	if (found.why.text[0])
		reason__set(why, 0, "%s", found.why.text);
	if (slot)
		*slot = (struct seen){f->map.dev, f->map.ino, found.kind};
	if (found.kind == KIND_OLD && f->has_text)
		h->best = KIND_OLD;
	add_candidates(h, &c, &found);
	close(e.fd);
}

/* Of those whose text was moved, only what may be an interpreter, unless nothing else is found. */
static int round_of(const struct mapped_file *f)
{
	return f->is_exe ? 0 : f->is_libpython ? 1 : f->has_text ? 2 : 3;
}

/* Looks at the files in the order of likelihood: the executable, libpythons, anything else. */
static void search_files(struct hunt *h)
{
	for (int round = 0; round < 3 || (round == 3 && !h->found_n); round++)
		for (size_t i = 0; i < h->files_n && h->looked < LOOK_MAX; i++)
			if (round_of(&h->files[i]) == round)
				try_file(h, &h->files[i]);
}

/* ---- what was found ---- */

static void keep_image(struct target *t, struct candidate *c)
{
	t->image.fd = c->fd;
	t->image.source = c->source;
	t->image.dev = c->f->map.dev;
	t->image.ino = c->f->map.ino;
	t->image.bias = c->place.bias;
	t->image.text_elsewhere = !c->f->has_text;
	target_files__name_image(t, &c->f->map);
	c->fd = -1;
}

static void note_runtime(struct hunt *h, const struct candidate *c, struct runtime *ret, struct runtime_layout *layout)
{
	struct examination e = {.fd = c->fd, .f = c->f, .maps = h->maps, .maps_len = h->maps_len, .with_layout = true};
	struct found found = {.kind = KIND_UNKNOWN};
	char path[PATH_MAX] = "";

	examine_whosoever(&e, &found);
	*layout = found.layout;
	*ret = (struct runtime){.at = c->place.runtime};
	if (layout->known)
		ret->heads = ret->at + layout->offsets.runtime_interpreters_head;
	memcpy(ret->python, layout->python, sizeof(ret->python));
	procmaps__path(&c->f->map, false, path, sizeof(path));
	text__clean(ret->path, sizeof(ret->path), path, strlen(path));
}

/* Which of several is meant. */
static size_t choose(struct hunt *h)
{
	struct runtime_layout *layouts = calloc(RUNTIMES_MAX, sizeof(*layouts));
	struct runtimes *r = &h->t->runtimes;

	if (!layouts)
		return 0;
	for (r->n = 0; r->n < h->found_n; r->n++)
		note_runtime(h, &h->found[r->n], &r->of[r->n], &layouts[r->n]);
	target_runtimes__choose(h->t, layouts);
	free(layouts);
	return r->chosen;
}

static int refuse(const struct hunt *h, struct search *s, struct reason *why)
{
	const struct target *t = h->t;

	s->looks_python = h->best == KIND_OLD || target__is_named_python(t);
	if (h->best == KIND_OLD)
		return reason__set(why, -ENOEXEC, "process %d (%s) runs a CPython older than 3.7: 3.8 or newer is needed",
				   t->pid, t->label);
	if (h->exe_why.text[0])
		return reason__set(why, -ENOEXEC, "process %d (%s) cannot be observed: %s", t->pid, t->label,
				   h->exe_why.text);
	return reason__set(why, -ENOEXEC, "process %d (%s) is not a CPython process: no file that it runs defines _PyRuntime",
			   t->pid, t->label);
}

/* Finds all that there are. 0, or -errno: end_hunt() is due then, too. */
static int begin_hunt(struct hunt *h)
{
	char path[64], exe_path[PATH_MAX];
	struct stat exe;
	ssize_t n;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/exe", h->t->pid);
	n = readlink(path, exe_path, sizeof(exe_path) - 1);
	err = n < 0 ? -errno : theirs__stat(h->t->pid, path, &exe);
	if (err)
		return err;
	exe_path[n] = '\0';
	text__clean(h->t->exe, sizeof(h->t->exe), exe_path, (size_t)n);
	snprintf(path, sizeof(path), "/proc/%d/maps", h->t->pid);
	err = theirs__slurp(h->t->pid, path, PROCMAPS_MAX, &h->maps, &h->maps_len);
	if (err)
		return err;
	h->files = calloc(MAPPED_FILES_MAX, sizeof(*h->files));
	if (!h->files)
		return -ENOMEM;
	h->files_n = target_files__list(h->maps, h->maps_len, &exe, exe_path, h->files);
	search_files(h);
	return 0;
}

static void end_hunt(struct hunt *h)
{
	for (size_t i = 0; i < h->found_n; i++)
		if (h->found[i].fd >= 0)
			close(h->found[i].fd);
	free(h->files);
	free(h->maps);
}

int target_image__find(struct target *t, struct search *s, struct reason *why)
{
	struct hunt h = {.t = t, .s = s, .best = KIND_OTHER};
	int err = begin_hunt(&h);

	if (err)
		err = target__explain(t, err, why);
	else if (!h.found_n)
		err = refuse(&h, s, why);
	else
		keep_image(t, &h.found[h.found_n > 1 ? choose(&h) : 0]);
	end_hunt(&h);
	return err;
}

/* ---- those that are loaded later ---- */

static bool is_image(const struct target *t, const struct candidate *c)
{
	return c->f->map.ino == t->image.ino && c->f->map.dev == t->image.dev && c->place.bias == t->image.bias;
}

static bool is_listed(const struct runtimes *r, const struct candidate *c)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->of[i].at == c->place.runtime)
			return true;
	return false;
}

static void list(struct hunt *h, const struct candidate *c)
{
	struct runtimes *r = &h->t->runtimes;
	struct runtime_layout layout;

	if (r->n == RUNTIMES_MAX || is_listed(r, c))
		return;
	note_runtime(h, c, &r->of[r->n], &layout);
	r->n++;
}

/* The image's own comes first in a list that begins here: it is the chosen one. */
static void list_all(struct hunt *h)
{
	for (size_t i = 0; !h->t->runtimes.n && i < h->found_n; i++)
		if (is_image(h->t, &h->found[i]))
			list(h, &h->found[i]);
	for (size_t i = 0; h->t->runtimes.n && i < h->found_n; i++)
		list(h, &h->found[i]);
}

size_t target__list_loaded_runtimes(struct target *t, struct target_memory *memory)
{
	struct search s = {.seen = target_memory__seen(memory)};
	struct hunt h = {.t = t, .s = &s, .best = KIND_OTHER};
	size_t before = t->runtimes.n ? t->runtimes.n : 1;

	if (!begin_hunt(&h) && (h.found_n > 1 || t->runtimes.n))
		list_all(&h);
	end_hunt(&h);
	return t->runtimes.n > before ? t->runtimes.n - before : 0;
}

/* ---- a memory of files ---- */

struct target_memory {
	struct seen seen[SEEN_MAX];
};

struct target_memory *target_memory__new(void)
{
	return calloc(1, sizeof(struct target_memory));
}

void target_memory__forget(struct target_memory *memory)
{
	if (memory)
		memset(memory, 0, sizeof(*memory));
}

void target_memory__free(struct target_memory *memory)
{
	free(memory);
}

struct seen *target_memory__seen(struct target_memory *memory)
{
	return memory ? memory->seen : NULL;
}
