/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The inside of target.h, shared by its own files only: target.c opens processes, target_proc.c reads the small files of /proc,
 * target_label.c says what a process is called, target_files.c knows what a process maps, target_image.c finds the file that
 * carries the interpreter, target_runtimes.c chooses where there are several.
 */
#ifndef GILSCOPE_TARGET_INSIDE_H
#define GILSCOPE_TARGET_INSIDE_H

#include <sys/stat.h>

#include "collector/cpython/pyver.h"
#include "collector/process/procmaps.h"
#include "target.h"

#define PROC_TEXT_MAX (64u << 10) /* of the small files in /proc */

/* ---- target.c ---- */

/* A sentence for an error from /proc/PID; returns `err`, or -ESRCH where the process is gone. */
int target__explain(const struct target *t, int err, struct reason *why);

/* True if a name says Python, for those that can't be looked into. */
bool target__is_named_python(const struct target *t);

/* ---- target_proc.c ---- */

/* The id that a name in /proc means, 0: none. */
pid_t target_proc__pid_of_entry(const char *name);

/* The process that `pid` belongs to, if it is the id of a thread; 0 if it can't be told. */
pid_t target_proc__thread_group(pid_t pid);

/* Inode of /proc/PID/ns/NAME, 0 where it can't be read. `pid` in digits, or "self". */
uint64_t target_proc__namespace(const char *pid, const char *name);

/* ---- target_files.c ---- */

#define MAPPED_FILES_MAX 4096 /* different files that are told apart */

/* A file that the target maps executable, or once did: a loader's data is left of it, and its text was moved. */
struct mapped_file {
	struct proc_map map; /* its first executable mapping, else its first of data */
	bool has_text;       /* it is mapped executable */
	bool is_exe;
	bool is_libpython;
};

/*
 * The files in the text of a maps file, those with text first; it must live as long as the list. `exe` and `exe_path`:
 * what /proc/PID/exe leads to. The number filled in, at most MAPPED_FILES_MAX.
 */
size_t target_files__list(const char *text, size_t len, const struct stat *exe, const char *exe_path,
			  struct mapped_file *files);

/* Opens the mapped file: that very inode. A descriptor or -errno. */
int target_files__open(pid_t pid, const struct mapped_file *f, enum image_source *ret_source);

/*
 * t->image's name for people, of a mapping of its file, which is open, and whether that still leads there; the kernel marks a
 * deleted one by a suffix.
 */
void target_files__name_image(struct target *t, const struct proc_map *map);

/* ---- target_runtimes.c ---- */

/* Where and how the interpreters of one _PyRuntime are found. */
struct runtime_layout {
	struct pyoffsets offsets;
	char python[24];     /* as in struct pyver */
	bool known;
};

/*
 * Chooses among the `t->runtimes` by looking at the process: the one that has an interpreter; of several that have, the
 * busier, which takes RUNTIMES_LOOK_NS. Sets their states and t->runtimes.chosen.
 */
#define RUNTIMES_LOOK_NS 20000000
void target_runtimes__choose(struct target *t, const struct runtime_layout *layouts);

/* ---- target_label.c ---- */

/* A label for a process whose main thread is named `comm`; see label.h. Cleaned, always terminated (size > 0). */
void target_label__read(pid_t pid, const char *comm, char *buf, size_t size);

/* Makes the label of a process that of a child which it has just forked. */
void target_label__of_fork(char *label, size_t size);

/* ---- target_image.c ---- */

struct seen;
struct search {
	struct seen *seen; /* target_memory__seen(), NULL: nothing is remembered */
	bool looks_python; /* out: refused, but Python by its name or by an old libpython */
};

struct seen *target_memory__seen(struct target_memory *memory);

/* Finds t->exe and t->image. 0, or -errno with the reason: -ENOEXEC if it runs no CPython. */
int target_image__find(struct target *t, struct search *s, struct reason *why);

#endif
