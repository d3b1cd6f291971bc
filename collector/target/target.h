/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a PID to the file that carries its interpreter.
 *
 * Reads /proc only; executes and writes nothing of the target. The interpreter is the mapped file that defines `_PyRuntime` in
 * its dynamic symbols (the executable, or libpython), never a matter of the process's name. Where a process has several, it is
 * the one whose interpreter was started (runtimes). It is held open as a descriptor: analysis and probes go to that very inode,
 * whatever happens to its name, in whatever mount namespace. Next: elffile.h, pyver.h, sites.h.
 */
#ifndef GILSCOPE_TARGET_H
#define GILSCOPE_TARGET_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/base/reason.h"

enum image_source {
	IMAGE_EXE,       /* opened through /proc/PID/exe */
	IMAGE_MAP_FILES, /* /proc/PID/map_files/START-END: the mapped file itself, also when deleted */
	IMAGE_ROOT,      /* /proc/PID/root + path, inode compared with the mapping's */
};

struct image {
	int fd;                 /* O_RDONLY | O_CLOEXEC, owned */
	enum image_source source;
	bool deleted;           /* its name is gone or leads elsewhere */
	uint64_t dev, ino;      /* of the mapping */
	uint64_t bias;          /* run-time address = ELF virtual address + bias (0 for ET_EXEC) */
	bool text_elsewhere;    /* none of it is mapped executable: its text was moved to other memory */
	char path[PATH_MAX];    /* as the target sees it, cleaned */
};

/* One _PyRuntime of a process: its file is mapped, which does not mean that it was ever started. */
enum runtime_state {
	RUNTIME_UNKNOWN,  /* its memory or its layout tells nothing */
	RUNTIME_IDLE,     /* no interpreter: not started yet, or finalized */
	RUNTIME_RUNS,
};

#define RUNTIMES_MAX 8
#define RUNTIME_PATH 256

struct runtime {
	uint64_t at;         /* address of _PyRuntime */
	uint64_t heads;      /* address of its list of interpreters; 0: not known */
	enum runtime_state state;
	char python[24];     /* "3.11.2"; "": not known */
	char path[RUNTIME_PATH]; /* its file, cleaned */
};

/* All of a process, where there are several. */
struct runtimes {
	size_t n;            /* 0: there is but one, the image's */
	size_t chosen;       /* of[chosen] is the image's */
	struct runtime of[RUNTIMES_MAX];
};

struct target {
	pid_t pid;
	int pidfd;              /* readable when the process is gone, owned */
	uint64_t start_ticks;   /* /proc/PID/stat field 22 */
	uint64_t start_stack;   /* field 28: changes at exec */
	uint64_t pidns_ino;     /* inode of /proc/PID/ns/pid */
	uid_t uid;
	bool other_mount_ns;    /* its mount namespace is not ours */
	bool other_root;        /* its root directory is not ours: chroot, container */
	pid_t pid_inside;       /* its id in its own PID namespace; 0: that is ours */
	char container[64];     /* what its container is called (see cgroup.h), cleaned; "": not known or none */
	char cgroup[256];       /* path of its control group, cleaned; "": the root */
	char comm[16];          /* cleaned */
	char exe[PATH_MAX];     /* /proc/PID/exe, cleaned */
	char label[128];        /* program and script or module, never further arguments; cleaned */
	struct image image;
	struct runtimes runtimes;
};

/*
 * Opens `pid`. 0, or -ESRCH (no such process), -ENOEXEC (not a CPython process, or its interpreter is
 * not usable: 32-bit, too old, foreign machine), -EACCES/-EPERM (a capability is missing), -errno.
 * Bounds its reading of /proc/PID/maps (64 MiB) and of the files it looks into.
 */
int target__open(pid_t pid, struct target **ret, struct reason *why);
void target__close(struct target *t);

/*
 * Which of several runtimes was chosen and why, as a sentence without its full stop: "of 2 Pythons in this process, ..."; "" if
 * there is but one. Returns buf.
 */
#define RUNTIMES_TEXT_SIZE 512
const char *runtimes__text(const struct runtimes *r, char buf[RUNTIMES_TEXT_SIZE]);

/*
 * Looks anew which of them have an interpreter: the number of those whose state is another than it was. Reads one word of each.
 */
size_t runtimes__look(struct runtimes *r, pid_t pid);

/*
 * Looks for Pythons that were loaded since (dlopen), beside the image: they are appended to t->runtimes, their states unknown; a
 * list that begins here has the image's own first. How many are new. Reads mappings and those files that the memory (NULL: none)
 * has not seen: to be asked for where target__libraries_kib() has changed.
 */
struct target_memory;
size_t target__list_loaded_runtimes(struct target *t, struct target_memory *memory);

/* How much a process has mapped executable outside of its program (VmLib, KiB): changes with each library. 0: not known. */
uint64_t target__libraries_kib(pid_t pid);

/*
 * Opens the first file that the process maps executable whose name, without directories, `wanted` likes. A descriptor, -ENOENT
 * or -errno.
 */
int target__open_library(const struct target *t, bool (*wanted)(const char *name));

/*
 * Opens the file of one mapping of a process: that very inode, or -ESTALE where the kernel does not let us be sure. A descriptor
 * or -errno.
 */
struct proc_map;
int target__open_mapping(pid_t pid, const struct proc_map *map);

/*
 * What files turned out not to be CPython, for whom has many processes to look at: most share their libraries. An inode may
 * be another file's one day, so it should forget now and then. NULL: no memory.
 */
struct target_memory *target_memory__new(void);
void target_memory__forget(struct target_memory *memory);
void target_memory__free(struct target_memory *memory);

/* target__open() with such a memory; NULL: without. */
int target__open_with(struct target_memory *memory, pid_t pid, struct target **ret, struct reason *why);

/*
 * A child that `parent` has just forked, its copy in all but its ids and start: nothing else of it is read, it may be gone
 * already (pidfd -1 and pid_inside 0 then). Has no image.fd. NULL: no memory.
 */
struct target *target__of_child(const struct target *parent, pid_t child, uint64_t start_ticks);

/*
 * A process that executed the interpreter of `relative`, and of which nothing can be read any more. `start_ticks` and
 * `start_stack` as in /proc/PID/stat, `comm` the kernel's 16 bytes, not cleaned. Has neither image.fd nor pidfd. NULL: no memory.
 */
struct target *target__of_exec(const struct target *relative, pid_t pid, uint64_t start_ticks, uint64_t start_stack,
			       const char *comm);

/*
 * Whether the process is still the one that was opened: same start and no exec since.
 * 1 yes, 0 no (gone, exec'd or PID reused).
 */
int target__is_same(const struct target *t);

/* Start time and stack start as in `struct target`, for a process or one of its threads (tid). 0 or -errno. */
int target__stat(pid_t pid, pid_t tid, uint64_t *ret_start_ticks, uint64_t *ret_start_stack);

/* CPU time used so far (user + system, ns) and resident memory (KiB). 0 or -errno. */
int target__usage(pid_t pid, uint64_t *ret_cpu_ns, uint64_t *ret_rss_kib);

/* CPUs that the process may run on (affinity of its main thread), 0: not known. */
uint32_t target__cpus(pid_t pid);

/* Name of thread `tid` of `pid` (comm), cleaned, into `name`. 0 or -errno. */
/*
 * Whether `tid` is a thread of that very process now. An id that was read in a process's memory need not be: it may be that of a
 * thread that has ended, or one of the process that this one was forked from.
 */
bool target__has_thread(pid_t pid, pid_t tid);
int target__thread_comm(pid_t pid, pid_t tid, char *name, size_t size);

/*
 * The id of task `tid` of process `pid` in its own PID namespace: the last on its NSpid line. 0: that namespace is ours, or
 * the task is gone.
 */
pid_t target__id_inside(pid_t pid, pid_t tid);

/*
 * The address that a thread is blocked on in futex(), as /proc/PID/task/TID/syscall tells; 0: it is not. *ret_blocked: it is
 * blocked at all, on whatever.
 */
uint64_t target__futex(pid_t pid, pid_t tid, bool *ret_blocked);

/* Whether a thread is asleep and can be woken up: not stopped, not traced. *ret_times: how often it has gone to sleep so far. */
bool target__is_asleep(pid_t pid, pid_t tid, uint64_t *ret_times);

/* The process that traces it (ptrace: a debugger, strace); 0: none, or it can't be told. */
pid_t target__tracer(pid_t pid);

/* The other way: the task that the namespace of process `pid` knows as `inside`, looked for among all. 0: none. */
pid_t target__id_outside(pid_t pid, pid_t inside);

/* Whether the caller itself lives in another PID namespace than the machine's own. */
bool target__we_are_contained(void);

/* Whether anything says that it lives in a container: another root, PID namespace, or a container's control group. */
bool target__is_contained(const struct target *t);

/*
 * Calls `visit` for each process of this host that maps a CPython image. `why_not` is NULL where it can be
 * opened, else the sentence, and `t` is NULL then (a process that can't be looked into counts if it is called
 * python). `t` is closed after the call. Stops when visit returns non-zero, and returns that; else 0, or -errno with `why`:
 * -ENOTSUP if /proc is that of another PID namespace. Before anything of a process is looked at, `wanted` (NULL: each) is asked.
 */
int target__each(bool (*wanted)(void *arg, pid_t pid),
		 int (*visit)(void *arg, pid_t pid, const struct target *t, const char *why_not), void *arg, struct reason *why);

#endif
