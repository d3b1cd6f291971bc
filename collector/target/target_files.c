/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The files that a process maps: which there are, and opening one, that very inode, without side effects. What is in them is
 * target_image.c's to find out.
 */
#include "target_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/base/text.h"
#include "collector/process/procmem.h"
#include "collector/process/theirs.h"

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

void target_files__name_image(struct target *t, const struct proc_map *map)
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

int target_files__open(pid_t pid, const struct mapped_file *f, enum image_source *ret_source)
{
	char path[64];
	struct stat st;

	*ret_source = IMAGE_EXE;
	if (!f->is_exe)
		return open_mapped(pid, &f->map, ret_source);
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return theirs__open(pid, path, &st);
}

/* ---- which files there are ---- */

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

/* Adds the file of a mapping, once. */
static size_t add_file(struct mapped_file *files, size_t n, const struct proc_map *map)
{
	for (size_t i = n; i > 0; i--)
		if (files[i - 1].map.ino == map->ino && files[i - 1].map.dev == map->dev)
			return n;
	if (n == MAPPED_FILES_MAX)
		return n;
	files[n] = (struct mapped_file){.map = *map, .has_text = map->exec, .is_libpython = is_libpython(map)};
	return n + 1;
}

/* A file's data, as a loader maps it: what is written stays the process's own. */
static bool is_data(const struct proc_map *map)
{
	return map->write && !map->shared && !map->exec;
}

static size_t add_files(const char *text, size_t len, bool with_text, struct mapped_file *files, size_t n)
{
	size_t line;

	for (; (line = procmaps__line_len(text, len)) > 0; text += line, len -= line) {
		struct proc_map map;

		if (procmaps__parse(text, line, &map) == 0 && map.ino != 0 && (with_text ? map.exec : is_data(&map)))
			n = add_file(files, n, &map);
	}
	return n;
}

size_t target_files__list(const char *text, size_t len, const struct stat *exe, const char *exe_path,
			  struct mapped_file *files)
{
	size_t n = add_files(text, len, true, files, 0);

	n = add_files(text, len, false, files, n);
	mark_exe(files, n, exe, exe_path);
	return n;
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
