/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a process's mappings to the file that carries its interpreter, held open.
 *
 * The executable first, then libpythons, then anything that is mapped executable; what counts is what the file defines. Files are
 * opened without side effects and compared with the mapping. What most processes share is remembered by inode (target_memory).
 */
#include "target_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elffile.h"
#include "expendable.h"
#include "procmaps.h"
#include "procmem.h"
#include "text.h"
#include "theirs.h"

#define FILES_MAX 4096            /* different files mapped executable */
#define LOOK_MAX 512              /* files opened in search of an interpreter */
#define SEEN_MAX 8192             /* files remembered while all processes are visited, a power of two */

/* What a mapped file turned out to be. */
enum kind {
	KIND_UNKNOWN,
	KIND_OTHER,    /* no CPython in it */
	KIND_OLD,      /* CPython before 3.7: no _PyRuntime yet */
	KIND_CPYTHON,
};

/* A file that the target maps executable. */
struct mapped_file {
	struct proc_map map; /* its first executable mapping */
	bool is_exe;
	bool is_libpython;
};

/* Verdicts on files, kept over the processes that target__each() visits: most of them share their libraries. */
struct seen {
	uint64_t dev, ino;
	enum kind kind;
};

/* ---- opening files of the target ------------------------------------------------------------------ */

/* Whether `fd` holds the bytes that the target runs: compared where device numbers can't tell (btrfs, overlayfs). */
static bool same_bytes(pid_t pid, int fd, const struct proc_map *map)
{
	uint8_t ours[1024], theirs[1024];

	int content = theirs__content(fd);
	bool same = content >= 0 && pread(content, ours, sizeof(ours), (off_t)map->offset) == (ssize_t)sizeof(ours) &&
		    procmem__read(pid, map->start, theirs, sizeof(theirs)) == 0 && memcmp(ours, theirs, sizeof(ours)) == 0;

	if (content >= 0)
		close(content);
	return same;
}

/* Opens `path`, seen from the target's root or ours, if it is the mapped file. */
static int open_by_name(pid_t pid, const struct proc_map *map, const char *root, const char *path)
{
	char full[PATH_MAX + 64];
	struct stat st;
	int fd;

	snprintf(full, sizeof(full), "%s%s", root, path);
	fd = theirs__open(pid, full, &st);
	if (fd < 0)
		return fd;
	if (st.st_ino == map->ino && (st.st_dev == map->dev || same_bytes(pid, fd, map)))
		return fd;
	close(fd);
	return -ESTALE;
}

/* Opens the mapped file by its name, in every way that the name can be meant. */
static int open_named(pid_t pid, const struct proc_map *map)
{
	char path[PATH_MAX], root[64];
	int fd = -ENOENT;

	snprintf(root, sizeof(root), "/proc/%d/root", pid);
	for (int newlines = 0; newlines < 2 && fd < 0 && fd != -EACCES && fd != -EPERM; newlines++) {
		if (procmaps__path(map, newlines, path, sizeof(path)) != 0 || path[0] != '/')
			return -ENOENT;
		fd = open_by_name(pid, map, root, path);
		if (fd < 0 && fd != -EACCES && fd != -EPERM)
			fd = open_by_name(pid, map, "", path); /* a chroot: maps shows names as we see them */
	}
	return fd;
}

/* The mapped file: by map_files, which can't miss, else by name. A descriptor or -errno. */
static int open_mapped(pid_t pid, const struct proc_map *map, enum image_source *ret_source)
{
	char path[96];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid, (unsigned long long)map->start,
		 (unsigned long long)map->end);
	*ret_source = IMAGE_MAP_FILES;
	fd = theirs__open(pid, path, &st);
	if (fd >= 0 || fd == -ENOEXEC)
		return fd;
	*ret_source = IMAGE_ROOT;
	return open_named(pid, map);
}

int target__open_mapping(pid_t pid, const struct proc_map *map)
{
	enum image_source source;

	return open_mapped(pid, map, &source);
}

/* Whether `path`, as the target or we see it, still leads to the open file. */
static bool leads_to(pid_t pid, const char *path, int fd)
{
	char full[PATH_MAX + 64];
	struct stat st, own;

	if (theirs__fstat(fd, &own) != 0)
		return false;
	snprintf(full, sizeof(full), "/proc/%d/root%s", pid, path);
	if (theirs__stat(pid, full, &st) == 0 && st.st_ino == own.st_ino && st.st_dev == own.st_dev)
		return true;
	return theirs__stat(pid, path, &st) == 0 && st.st_ino == own.st_ino && st.st_dev == own.st_dev;
}

/* The image's name for people, and whether it still leads there; the kernel marks a deleted one by a suffix. */
static void name_image(struct target *t, const struct proc_map *map)
{
	static const char suffix[] = " (deleted)";
	char path[PATH_MAX] = "";
	size_t len;

	for (int newlines = 0; newlines < 2; newlines++) {
		procmaps__path(map, newlines, path, sizeof(path));
		t->image.deleted = !leads_to(t->pid, path, t->image.fd);
		if (!t->image.deleted)
			break;
	}
	len = strlen(path);
	if (t->image.deleted && len > strlen(suffix) && strcmp(path + len - strlen(suffix), suffix) == 0)
		len -= strlen(suffix);
	text__clean(t->image.path, sizeof(t->image.path), path, len);
}

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

/* What examining a file came to. */
struct found {
	enum kind kind;
	uint64_t bias;     /* of its mapping, for CPython */
	bool is_spent;     /* it was too much work */
	struct reason why; /* what is wrong with a damaged file */
};

struct examination {
	int fd;
	const struct mapped_file *f;
};

static enum kind kind_of(struct elffile *ef, const struct mapped_file *f)
{
	struct elf_symbol symbol;

	/* A program with CPython linked in need not export it; that of a library is found where it is exported. */
	if (elffile__runtime(ef, &symbol) == 0 || (f->is_exe && elffile__symbol(ef, "_PyRuntime", &symbol) == 0))
		return KIND_CPYTHON;
	return elffile__dynsym(ef, "PyEval_RestoreThread", &symbol) == 0 ? KIND_OLD : KIND_OTHER;
}

static void examine(void *arg, void *result)
{
	static const struct elf_budget budget = ELF_BUDGET_LOOK;
	const struct examination *e = arg;
	const struct proc_map *map = &e->f->map;
	struct found *ret = result;
	struct elffile *ef;

	*ret = (struct found){.kind = KIND_OTHER};
	if (elffile__open_within(e->fd, &budget, &ef, &ret->why) != 0)
		return;
	ret->kind = kind_of(ef, e->f);
	ret->is_spent = elffile__is_spent(ef, 0);
	if (ret->is_spent) {
		reason__set(&ret->why, 0, "its file takes more work than any interpreter's");
		ret->kind = KIND_OTHER;
	} else if (ret->kind == KIND_CPYTHON &&
		   (elffile__bias(ef, map->start, map->offset, map->end - map->start, &ret->bias) != 0 ||
		    (!elffile__is_relocatable(ef) && ret->bias != 0))) {
		reason__set(&ret->why, 0, "its code is not mapped the way its file says");
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

/* Opens the mapped file. A descriptor or -errno. */
static int open_file(pid_t pid, const struct mapped_file *f, enum image_source *ret_source)
{
	char path[64];
	struct stat st;

	*ret_source = IMAGE_EXE;
	if (!f->is_exe)
		return open_mapped(pid, &f->map, ret_source);
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return theirs__open(pid, path, &st);
}

static void keep_image(struct target *t, const struct mapped_file *f, int fd, enum image_source source, uint64_t bias)
{
	t->image.fd = fd;
	t->image.source = source;
	t->image.dev = f->map.dev;
	t->image.ino = f->map.ino;
	t->image.bias = bias;
	name_image(t, &f->map);
}

/* Opens and examines one mapped file; keeps it open in `t` if it is the interpreter. */
static enum kind try_file(struct target *t, const struct search *s, const struct mapped_file *f, struct reason *why)
{
	struct seen *slot = seen_slot(s, f->map.dev, f->map.ino);
	struct found found = {.kind = KIND_UNKNOWN};
	struct examination e = {.f = f};
	struct stat st = {.st_uid = (uid_t)-1};
	enum image_source source;
	int fd;

	if (slot && slot->kind != KIND_UNKNOWN && slot->kind != KIND_CPYTHON)
		return slot->kind;
	fd = open_file(t->pid, f, &source);
	e.fd = fd < 0 ? fd : theirs__content(fd);
	if (e.fd < 0) {
		reason__set(why, e.fd, "its file cannot be %s: %s", fd < 0 ? "opened" : "read", strerror(-e.fd));
		if (fd >= 0)
			close(fd);
		return KIND_UNKNOWN;
	}
	if (!theirs__is_foreign(fd))
		examine(&e, &found);
	else if (theirs__fstat(fd, &st) == 0)
		examine_theirs(&e, st.st_uid, &found);
	close(e.fd);
	if (found.why.text[0])
		reason__set(why, 0, "%s", found.why.text);
	if (slot)
		*slot = (struct seen){f->map.dev, f->map.ino, found.kind};
	if (found.kind == KIND_CPYTHON)
		keep_image(t, f, fd, source, found.bias);
	else
		close(fd);
	return found.kind;
}

static bool is_libpython(const struct proc_map *map)
{
	const char *slash = memrchr(map->path, '/', map->path_len);

	return slash && (size_t)(map->path + map->path_len - slash) > 10 && memcmp(slash + 1, "libpython", 9) == 0;
}

/* Marks the executable: by inode, or by name where the file system shows others in maps (btrfs, overlayfs). */
static void mark_exe(struct mapped_file *files, size_t n, const struct stat *exe, const char *exe_path)
{
	for (size_t i = 0; i < n; i++) {
		files[i].is_exe = files[i].map.dev == exe->st_dev && files[i].map.ino == exe->st_ino;
		if (files[i].is_exe)
			return;
	}
	for (size_t i = 0; i < n && exe_path[0]; i++)
		files[i].is_exe = files[i].map.path_len == strlen(exe_path) &&
				  memcmp(files[i].map.path, exe_path, files[i].map.path_len) == 0;
}

/* Adds the file of an executable mapping, once. */
static size_t add_file(struct mapped_file *files, size_t n, const struct proc_map *map)
{
	for (size_t i = n; i > 0; i--)
		if (files[i - 1].map.ino == map->ino && files[i - 1].map.dev == map->dev)
			return n;
	if (n == FILES_MAX)
		return n;
	files[n] = (struct mapped_file){.map = *map, .is_libpython = is_libpython(map)};
	return n + 1;
}

/* The files that are mapped executable. The text must live as long as the list. */
static size_t list_files(const char *text, size_t len, struct mapped_file *files)
{
	size_t n = 0, line;

	for (; (line = procmaps__line_len(text, len)) > 0; text += line, len -= line) {
		struct proc_map map;

		if (procmaps__parse(text, line, &map) == 0 && map.exec && map.ino != 0)
			n = add_file(files, n, &map);
	}
	return n;
}

/* Looks at the files in the order of likelihood: the executable, libpythons, anything else. */
static enum kind search_files(struct target *t, const struct search *s, const struct mapped_file *files, size_t n,
			      struct reason *exe_why)
{
	enum kind best = KIND_OTHER;
	size_t looked = 0;

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < n && looked < LOOK_MAX; i++) {
			const struct mapped_file *f = &files[i];
			enum kind kind;

			if ((f->is_exe ? 0 : f->is_libpython ? 1 : 2) != round)
				continue;
			looked++;
			kind = try_file(t, s, f, f->is_exe ? exe_why : NULL);
			if (kind == KIND_CPYTHON)
				return kind;
			if (kind == KIND_OLD)
				best = KIND_OLD;
		}
	return best;
}

static int refuse(const struct target *t, struct search *s, enum kind kind, const struct reason *exe_why,
		  struct reason *why)
{
	s->looks_python = kind == KIND_OLD || target__is_named_python(t);
	if (kind == KIND_OLD)
		return reason__set(why, -ENOEXEC, "process %d (%s) runs a CPython older than 3.7: 3.8 or newer is needed",
				   t->pid, t->label);
	if (exe_why->text[0])
		return reason__set(why, -ENOEXEC, "process %d (%s) cannot be observed: %s", t->pid, t->label,
				   exe_why->text);
	return reason__set(why, -ENOEXEC, "process %d (%s) is not a CPython process: no file that it runs defines _PyRuntime",
			   t->pid, t->label);
}

static int find_in_maps(struct target *t, struct search *s, const char *text, size_t len, const struct stat *exe,
			const char *exe_path, struct reason *why)
{
	struct mapped_file *files = calloc(FILES_MAX, sizeof(*files));
	struct reason exe_why = {""};
	enum kind kind;
	size_t n;

	if (!files)
		return reason__set(why, -ENOMEM, "out of memory");
	n = list_files(text, len, files);
	mark_exe(files, n, exe, exe_path);
	kind = search_files(t, s, files, n, &exe_why);
	free(files);
	return kind == KIND_CPYTHON ? 0 : refuse(t, s, kind, &exe_why, why);
}

int target_image__find(struct target *t, struct search *s, struct reason *why)
{
	char path[64], exe_path[PATH_MAX], *text;
	struct stat exe;
	ssize_t n;
	size_t len;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/exe", t->pid);
	n = readlink(path, exe_path, sizeof(exe_path) - 1);
	err = n < 0 ? -errno : theirs__stat(t->pid, path, &exe);
	if (err)
		return target__explain(t, err, why);
	exe_path[n] = '\0';
	text__clean(t->exe, sizeof(t->exe), exe_path, (size_t)n);
	snprintf(path, sizeof(path), "/proc/%d/maps", t->pid);
	err = theirs__slurp(t->pid, path, PROCMAPS_MAX, &text, &len);
	if (err)
		return target__explain(t, err, why);
	err = find_in_maps(t, s, text, len, &exe, exe_path, why);
	free(text);
	return err;
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

/* ---- other files of the process ---- */

static bool is_named(const struct proc_map *map, bool (*wanted)(const char *name))
{
	const char *slash = memrchr(map->path, '/', map->path_len);
	size_t len = slash ? (size_t)(map->path + map->path_len - slash - 1) : 0;
	char name[256];

	if (!slash || len >= sizeof(name))
		return false;
	memcpy(name, slash + 1, len);
	name[len] = '\0';
	return wanted(name);
}

int target__open_library(const struct target *t, bool (*wanted)(const char *name))
{
	char path[64], *text, *at;
	size_t len, line;
	enum image_source source;
	int fd = -ENOENT, err;

	snprintf(path, sizeof(path), "/proc/%d/maps", t->pid);
	err = theirs__slurp(t->pid, path, PROCMAPS_MAX, &text, &len);
	if (err)
		return err;
	for (at = text; fd < 0 && (line = procmaps__line_len(at, len)) > 0; at += line, len -= line) {
		struct proc_map map;

		if (procmaps__parse(at, line, &map) == 0 && map.exec && map.ino != 0 && is_named(&map, wanted))
			fd = open_mapped(t->pid, &map, &source);
	}
	free(text);
	return fd;
}
