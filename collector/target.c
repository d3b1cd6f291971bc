/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See target.h.
 *
 * Order of work: hold the process (pidfd), read its identity, find the interpreter among its executable mappings, and
 * at the end make sure that all of it belonged to one process. Everything under /proc is the target's to
 * choose, so each file is opened without side effects first and compared with the mapping.
 */
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "elffile.h"
#include "label.h"
#include "procmaps.h"
#include "procmem.h"
#include "regular.h"
#include "text.h"

#define PROC_TEXT_MAX (64u << 10) /* of the small files in /proc */
#define FILES_MAX 4096            /* different files mapped executable */
#define LOOK_MAX 512              /* files opened in search of an interpreter */
#define SEEN_MAX 8192             /* files remembered while all processes are visited, a power of two */
#define EXEC_WAITS 20             /* looks at a process in the middle of an exec, 0.5 ms apart */
#define KERNEL_THREAD 0x00200000u /* PF_KTHREAD, include/linux/sched.h */

#define INITIAL_PIDNS_INO 0xeffffffcull /* PROC_PID_INIT_INO, include/linux/proc_ns.h, since 3.8 */

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

struct search {
	struct seen *seen; /* NULL: nothing is remembered */
	bool looks_python; /* out: refused, but Python by its name or by an old libpython */
};

struct stat_fields {
	char state;
	unsigned int flags;
	uint64_t start_ticks;
	uint64_t start_stack;
};

/* ---- small files of /proc ----------------------------------------------------------------------- */

/* /proc/PID/stat from its third field on: the second one, comm, may hold anything, ") R 1" included. */
static int parse_stat(const char *text, size_t len, struct stat_fields *ret)
{
	const char *at = memrchr(text, ')', len), *end = text + len;
	uint64_t field[29] = {0};

	if (!at || end - at < 4)
		return -EINVAL;
	at += 2;
	ret->state = *at++;
	for (int i = 4; i < 29; i++) {
		while (at < end && *at == ' ')
			at++;
		if (at < end && *at == '-')
			at++;
		if (at >= end || *at < '0' || *at > '9')
			return -EINVAL;
		while (at < end && *at >= '0' && *at <= '9')
			field[i] = field[i] * 10 + (uint64_t)(*at++ - '0');
	}
	ret->flags = (unsigned int)field[9];
	ret->start_ticks = field[22];
	ret->start_stack = field[28];
	return 0;
}

static int read_stat(pid_t pid, pid_t tid, struct stat_fields *ret)
{
	char path[64], *text;
	size_t len;
	int err;

	if (tid && tid != pid)
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	else
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	err = procmaps__slurp(path, PROC_TEXT_MAX, &text, &len);
	if (err)
		return err == -ENOENT ? -ESRCH : err;
	err = parse_stat(text, len, ret);
	free(text);
	return err;
}

int target__stat(pid_t pid, pid_t tid, uint64_t *ret_start_ticks, uint64_t *ret_start_stack)
{
	struct stat_fields fields;
	int err = read_stat(pid, tid, &fields);

	if (err)
		return err;
	*ret_start_ticks = fields.start_ticks;
	*ret_start_stack = fields.start_stack;
	return 0;
}

int target__thread_comm(pid_t pid, pid_t tid, char *name, size_t size)
{
	char path[64], *text;
	size_t len;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", pid, tid);
	err = procmaps__slurp(path, PROC_TEXT_MAX, &text, &len);
	if (err)
		return err == -ENOENT ? -ESRCH : err;
	if (len > 0 && text[len - 1] == '\n')
		len--;
	text__clean(name, size, text, len);
	free(text);
	return 0;
}

uint32_t target__cpus(pid_t pid)
{
	cpu_set_t set;

	return sched_getaffinity(pid, sizeof(set), &set) ? 0 : (uint32_t)CPU_COUNT(&set);
}

int target__usage(pid_t pid, uint64_t *ret_cpu_ns, uint64_t *ret_rss_kib)
{
	unsigned long long pages;
	struct timespec used;
	char path[64], *text;
	clockid_t clock;
	size_t len;
	int err;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	err = procmaps__slurp(path, PROC_TEXT_MAX, &text, &len);
	if (err)
		return err == -ENOENT ? -ESRCH : err;
	text[len > 0 ? len - 1 : 0] = '\0'; /* over its newline */
	err = sscanf(text, "%*u %llu", &pages) == 1 ? 0 : -EINVAL;
	free(text);
	if (err)
		return err;
	*ret_cpu_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
	*ret_rss_kib = pages * ((uint64_t)sysconf(_SC_PAGESIZE) / 1024);
	return 0;
}

pid_t target__id_inside(pid_t pid, pid_t tid)
{
	char path[64], *text, *line;
	pid_t inside = 0;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)tid);
	if (procmaps__slurp(path, PROC_TEXT_MAX, &text, &len))
		return 0;
	text[len > 0 ? len - 1 : 0] = '\0';
	line = strstr(text, "\nNSpid:\t");
	if (line) {
		line += strlen("\nNSpid:\t");
		line[strcspn(line, "\n")] = '\0';
		line = strrchr(line, '\t'); /* before the second id, if there is one */
		inside = line ? atoi(line + 1) : 0;
	}
	free(text);
	return inside;
}

static pid_t pid_of_entry(const char *name)
{
	int pid = 0;

	for (; *name >= '0' && *name <= '9' && pid < 100000000; name++)
		pid = pid * 10 + (*name - '0');
	return *name == '\0' ? pid : 0;
}

pid_t target__id_outside(pid_t pid, pid_t inside)
{
	struct dirent *task;
	pid_t found = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && inside > 0 && !found && (task = readdir(dir))) {
		pid_t tid = pid_of_entry(task->d_name);

		if (tid > 0 && target__id_inside(pid, tid) == inside)
			found = tid;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* The process that `pid` belongs to, if it is the id of a thread; 0 if it can't be told. */
static pid_t thread_group(pid_t pid)
{
	char path[64], *text, *at;
	int tgid = 0;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (procmaps__slurp(path, PROC_TEXT_MAX, &text, &len) != 0)
		return 0;
	text[len > 0 ? len - 1 : 0] = '\0';
	at = strstr(text, "\nTgid:");
	if (at && sscanf(at, "\nTgid: %d", &tgid) != 1)
		tgid = 0;
	free(text);
	return tgid;
}

/* Inode of /proc/PID/ns/NAME, 0 where it can't be read. */
static uint64_t namespace_of(const char *pid, const char *name)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", pid, name);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* ---- opening files of the target ------------------------------------------------------------------ */

/* Whether `fd` holds the bytes that the target runs: compared where device numbers can't tell (btrfs, overlayfs). */
static bool same_bytes(pid_t pid, int fd, const struct proc_map *map)
{
	uint8_t ours[1024], theirs[1024];

	return pread(fd, ours, sizeof(ours), (off_t)map->offset) == (ssize_t)sizeof(ours) &&
	       procmem__read(pid, map->start, theirs, sizeof(theirs)) == 0 &&
	       memcmp(ours, theirs, sizeof(ours)) == 0;
}

/* Opens `path`, seen from the target's root or ours, if it is the mapped file. */
static int open_by_name(pid_t pid, const struct proc_map *map, const char *root, const char *path)
{
	char full[PATH_MAX + 64];
	struct stat st;
	int fd;

	snprintf(full, sizeof(full), "%s%s", root, path);
	fd = regular__open(full, &st);
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
	fd = regular__open(path, &st);
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

	if (fstat(fd, &own) != 0)
		return false;
	snprintf(full, sizeof(full), "/proc/%d/root%s", pid, path);
	if (stat(full, &st) == 0 && st.st_ino == own.st_ino && st.st_dev == own.st_dev)
		return true;
	return stat(path, &st) == 0 && st.st_ino == own.st_ino && st.st_dev == own.st_dev;
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

/* What the file is; for CPython the bias of its mapping, too. `why` says what is wrong with a damaged file. */
static enum kind examine(int fd, const struct mapped_file *f, uint64_t *ret_bias, struct reason *why)
{
	const struct proc_map *map = &f->map;
	struct elf_symbol symbol;
	enum kind kind = KIND_OTHER;
	struct elffile *ef;

	if (elffile__open(fd, &ef, why) != 0)
		return KIND_OTHER;
	/* A program with CPython linked in need not export it; that of a library is found where it is exported. */
	if (elffile__runtime(ef, &symbol) == 0 || (f->is_exe && elffile__symbol(ef, "_PyRuntime", &symbol) == 0))
		kind = KIND_CPYTHON;
	else if (elffile__dynsym(ef, "PyEval_RestoreThread", &symbol) == 0)
		kind = KIND_OLD;
	if (kind == KIND_CPYTHON &&
	    (elffile__bias(ef, map->start, map->offset, map->end - map->start, ret_bias) != 0 ||
	     (!elffile__is_relocatable(ef) && *ret_bias != 0))) {
		reason__set(why, 0, "its code is not mapped the way its file says");
		kind = KIND_OTHER;
	}
	elffile__close(ef);
	return kind;
}

/* Opens and examines one mapped file; keeps it open in `t` if it is the interpreter. */
static enum kind try_file(struct target *t, const struct search *s, const struct mapped_file *f, struct reason *why)
{
	struct seen *slot = seen_slot(s, f->map.dev, f->map.ino);
	enum image_source source = IMAGE_EXE;
	uint64_t bias = 0;
	enum kind kind;
	char path[64];
	struct stat st;
	int fd;

	if (slot && slot->kind != KIND_UNKNOWN && slot->kind != KIND_CPYTHON)
		return slot->kind;
	snprintf(path, sizeof(path), "/proc/%d/exe", t->pid);
	fd = f->is_exe ? regular__open(path, &st) : open_mapped(t->pid, &f->map, &source);
	if (fd < 0) {
		reason__set(why, fd, "its file cannot be opened: %s", strerror(-fd));
		return KIND_UNKNOWN;
	}
	kind = examine(fd, f, &bias, why);
	if (slot)
		*slot = (struct seen){f->map.dev, f->map.ino, kind};
	if (kind != KIND_CPYTHON) {
		close(fd);
		return kind;
	}
	t->image.fd = fd;
	t->image.source = source;
	t->image.dev = f->map.dev;
	t->image.ino = f->map.ino;
	t->image.bias = bias;
	name_image(t, &f->map);
	return kind;
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

/* True if a name says Python, for those that can't be looked into. */
static bool named_python(const struct target *t)
{
	return strstr(t->comm, "python") || strstr(t->label, "python") || strstr(t->exe, "/python");
}

static int refuse(const struct target *t, struct search *s, enum kind kind, const struct reason *exe_why,
		  struct reason *why)
{
	s->looks_python = kind == KIND_OLD || named_python(t);
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

/* A sentence for an error from /proc/PID. */
static int explain(const struct target *t, int err, struct reason *why)
{
	struct stat_fields now;

	if (err == -EACCES || err == -EPERM)
		return reason__set(why, err,
				   "no permission to look into process %d (%s) of user %u: run as root or with CAP_SYS_PTRACE",
				   t->pid, t->label, (unsigned int)t->uid);
	if (read_stat(t->pid, 0, &now) != 0 || now.start_ticks != t->start_ticks)
		return reason__set(why, -ESRCH, "process %d went away while it was examined", t->pid);
	if (now.state == 'Z' || now.state == 'X')
		return reason__set(why, -ESRCH, "process %d has exited already (a zombie, not yet collected by its parent)",
				   t->pid);
	return reason__set(why, err, "process %d (%s) cannot be examined: %s", t->pid, t->label, strerror(-err));
}

static int find_image(struct target *t, struct search *s, struct reason *why)
{
	char path[64], exe_path[PATH_MAX], *text;
	struct stat exe;
	ssize_t n;
	size_t len;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/exe", t->pid);
	n = readlink(path, exe_path, sizeof(exe_path) - 1);
	if (n < 0 || stat(path, &exe) != 0)
		return explain(t, -errno, why);
	exe_path[n] = '\0';
	text__clean(t->exe, sizeof(t->exe), exe_path, (size_t)n);
	snprintf(path, sizeof(path), "/proc/%d/maps", t->pid);
	err = procmaps__slurp(path, PROCMAPS_MAX, &text, &len);
	if (err)
		return explain(t, err, why);
	err = find_in_maps(t, s, text, len, &exe, exe_path, why);
	free(text);
	return err;
}

/* ---- opening a process ------------------------------------------------------------------------------- */

/* comm, owner and label: readable by everybody, so that refusals can name the process. */
static int read_names(struct target *t)
{
	char path[64], *text;
	struct stat st;
	size_t len;
	int err;

	snprintf(path, sizeof(path), "/proc/%d", t->pid);
	if (stat(path, &st) != 0)
		return -ESRCH;
	t->uid = st.st_uid;
	err = target__thread_comm(t->pid, t->pid, t->comm, sizeof(t->comm));
	if (err)
		return err;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", t->pid);
	err = procmaps__slurp(path, PROC_TEXT_MAX, &text, &len);
	if (err && err != -EFBIG) {
		text__clean(t->label, sizeof(t->label), t->comm, strlen(t->comm));
		return 0;
	}
	label__from_cmdline(err ? "" : text, err ? 0 : len, t->comm, t->label, sizeof(t->label));
	if (!err)
		free(text);
	return 0;
}

static bool has_arguments(pid_t pid)
{
	char path[64], *text;
	size_t len = 0;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	err = procmaps__slurp(path, PROC_TEXT_MAX, &text, &len);
	if (!err)
		free(text);
	return err || len;
}

/*
 * What is read while an exec goes on is half of one program and half of another: the new file is mapped, but there are no
 * arguments yet, and the bottom of the stack, which tells one program of a process from the next, is not final. Seen 1 time
 * in 200 of a child whose execs follow each other closely. It lasts for well below a millisecond.
 */
static int read_settled_stat(pid_t pid, struct stat_fields *ret)
{
	const struct timespec pause = {.tv_nsec = 500000};
	int err = read_stat(pid, 0, ret);

	for (int i = 0; i < EXEC_WAITS && !err && !(ret->flags & KERNEL_THREAD) && ret->state != 'Z' && ret->state != 'X' &&
			!has_arguments(pid); i++) {
		nanosleep(&pause, NULL);
		err = read_stat(pid, 0, ret);
	}
	return err;
}

static int identify(struct target *t, struct reason *why)
{
	struct stat_fields fields;
	pid_t tgid = thread_group(t->pid);

	if (tgid > 0 && tgid != t->pid)
		return reason__set(why, -ESRCH, "%d is a thread of process %d: name the process", t->pid, tgid);
	t->pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	if (t->pidfd < 0)
		return errno == ESRCH || errno == EINVAL ?
			       reason__set(why, -ESRCH, "there is no process %d", t->pid) :
			       reason__set(why, -errno, "process %d cannot be held (pidfd_open): %s", t->pid,
					   strerror(errno));
	if (read_settled_stat(t->pid, &fields) != 0 || read_names(t) != 0)
		return reason__set(why, -ESRCH, "there is no process %d", t->pid);
	t->start_ticks = fields.start_ticks;
	t->start_stack = fields.start_stack;
	if (fields.flags & KERNEL_THREAD)
		return reason__set(why, -ENOEXEC, "process %d (%s) is a kernel thread", t->pid, t->comm);
	if (fields.state == 'Z' || fields.state == 'X')
		return explain(t, -ESRCH, why);
	return 0;
}

/* Whether its root directory is another than ours; no where that can't be looked at. */
static bool has_other_root(pid_t pid)
{
	struct stat own, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	return stat("/", &own) == 0 && stat(path, &theirs) == 0 &&
	       (own.st_dev != theirs.st_dev || own.st_ino != theirs.st_ino);
}

static void find_container(struct target *t)
{
	char path[64], *text;
	size_t len;

	t->other_root = has_other_root(t->pid);
	t->pid_inside = target__id_inside(t->pid, t->pid);
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)t->pid);
	if (procmaps__slurp(path, PROC_TEXT_MAX, &text, &len))
		return;
	cgroup__path(text, len, t->cgroup, sizeof(t->cgroup));
	cgroup__container(text, len, t->container, sizeof(t->container));
	free(text);
}

bool target__we_are_contained(void)
{
	uint64_t ino = namespace_of("self", "pid");

	return ino != 0 && ino != INITIAL_PIDNS_INO;
}

bool target__is_contained(const struct target *t)
{
	return t->other_root || t->pid_inside || t->container[0];
}

static int open_process(struct target *t, struct search *s, struct reason *why)
{
	char pid[16];
	int err = identify(t, why);

	if (!err)
		err = find_image(t, s, why);
	if (err)
		return err;
	snprintf(pid, sizeof(pid), "%d", t->pid);
	t->pidns_ino = namespace_of(pid, "pid");
	t->other_mount_ns = namespace_of(pid, "mnt") != namespace_of("self", "mnt");
	find_container(t);
	if (!target__is_same(t))
		return reason__set(why, -ESRCH, "process %d went away or ran another program while it was examined", t->pid);
	return 0;
}

/* Ids that we read and ids that we give to the kernel must be of one namespace. */
static int refuse_foreign_proc(struct reason *why)
{
	char link[32];
	ssize_t len = readlink("/proc/self", link, sizeof(link) - 1);

	link[len > 0 ? len : 0] = '\0';
	if (len > 0 && atoi(link) == getpid())
		return 0;
	return reason__set(why, -ENOTSUP, "/proc shows another PID namespace than the one that gilscope runs in: mount one that "
			   "fits (mount -t proc proc /proc), or run gilscope on the host");
}

static int open_target(pid_t pid, struct search *s, struct target **ret, struct reason *why)
{
	struct target *t;
	int err;

	if (pid <= 0)
		return reason__set(why, -ESRCH, "there is no process %d", pid);
	t = calloc(1, sizeof(*t));
	if (!t)
		return reason__set(why, -ENOMEM, "out of memory");
	t->pid = pid;
	t->pidfd = -1;
	t->image.fd = -1;
	err = refuse_foreign_proc(why);
	err = err ?: open_process(t, s, why);
	if (err) {
		s->looks_python = s->looks_python || named_python(t);
		target__close(t);
		return err;
	}
	*ret = t;
	return 0;
}

int target__open(pid_t pid, struct target **ret, struct reason *why)
{
	return target__open_with(NULL, pid, ret, why);
}

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

int target__open_with(struct target_memory *memory, pid_t pid, struct target **ret, struct reason *why)
{
	struct search s = {.seen = memory ? memory->seen : NULL};

	return open_target(pid, &s, ret, why);
}

struct target *target__of_child(const struct target *parent, pid_t child, uint64_t start_ticks)
{
	struct target *t = malloc(sizeof(*t));
	struct stat_fields now;

	if (!t)
		return NULL;
	*t = *parent;
	t->pid = child;
	t->start_ticks = start_ticks;
	t->image.fd = -1;
	t->pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	/* Gone, and its PID another's. */
	if (t->pidfd >= 0 && (read_stat(child, 0, &now) || now.start_ticks != start_ticks)) {
		close(t->pidfd);
		t->pidfd = -1;
	}
	t->pid_inside = t->pidfd >= 0 ? target__id_inside(child, child) : 0;
	return t;
}

struct target *target__of_exec(const struct target *relative, pid_t pid, uint64_t start_ticks, uint64_t start_stack,
			       const char *comm)
{
	struct target *t = malloc(sizeof(*t));

	if (!t)
		return NULL;
	*t = *relative;
	t->pid = pid;
	t->pidfd = -1;
	t->image.fd = -1;
	t->start_ticks = start_ticks;
	t->start_stack = start_stack;
	t->pid_inside = 0;
	text__clean(t->comm, sizeof(t->comm), comm, strnlen(comm, sizeof(t->comm)));
	/* Only the file of its interpreter is known, and what the kernel calls it. */
	if (strcmp(t->exe, t->image.path) != 0)
		t->exe[0] = '\0';
	snprintf(t->label, sizeof(t->label), "%s", t->comm);
	return t;
}

void target__close(struct target *t)
{
	if (!t)
		return;
	if (t->pidfd >= 0)
		close(t->pidfd);
	if (t->image.fd >= 0)
		close(t->image.fd);
	free(t);
}

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
	err = procmaps__slurp(path, PROCMAPS_MAX, &text, &len);
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

int target__is_same(const struct target *t)
{
	struct stat_fields now;

	return read_stat(t->pid, 0, &now) == 0 && now.start_ticks == t->start_ticks &&
	       now.start_stack == t->start_stack && now.state != 'Z' && now.state != 'X';
}

/* ---- all processes ----------------------------------------------------------------------------------- */

/* One process: visited if it is CPython, or would be by its name if it could be looked into. */
static int visit_one(pid_t pid, struct search *s, int (*visit)(void *, pid_t, const struct target *, const char *),
		     void *arg)
{
	struct target *t = NULL;
	struct reason why = {""};
	int err, rc;

	s->looks_python = false;
	err = open_target(pid, s, &t, &why);
	if (err == -ESRCH || (err && !s->looks_python))
		return 0;
	rc = visit(arg, pid, t, err ? why.text : NULL);
	target__close(t);
	return rc;
}

int target__each(int (*visit)(void *arg, pid_t pid, const struct target *t, const char *why_not), void *arg,
		 struct reason *why)
{
	int rc = refuse_foreign_proc(why);
	struct search s = {.seen = NULL};
	struct dirent *entry;
	DIR *dir;

	if (rc)
		return rc;
	dir = opendir("/proc");
	if (!dir)
		return reason__set(why, -errno, "the processes of this host can't be listed: %s", strerror(errno));
	s.seen = calloc(SEEN_MAX, sizeof(*s.seen));
	while (rc == 0 && (entry = readdir(dir))) {
		pid_t pid = pid_of_entry(entry->d_name);

		if (pid > 0)
			rc = visit_one(pid, &s, visit, arg);
	}
	closedir(dir);
	free(s.seen);
	return rc;
}
