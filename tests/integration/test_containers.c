/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes in containers, made of the kernel's own parts: mount, PID and user namespaces, another root over an overlay, control
 * groups, seccomp, other users. Exact counts in each, by way of the program itself; ids as this machine counts them with those
 * inside beside; and the file that is probed is the container's.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/target/target.h"
#include "../support/bpf_env.h"
#include "../support/exact.h"
#include "../support/hogs.h"
#include "../support/interpreters.h"
#include "../support/own_images.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/results.h"
#include "../support/summary.h"
#include "../support/timeline.h"
#include "../support/tool.h"
#include "../support/watched.h"

#define CALLS "20011"

TestSuite(containers, .init = bpf_env__require, .timeout = 300);

/* ---- making one --------------------------------------------------------------------------------------- */

/* A root directory of its own: this machine's files with others laid over them. */
struct root {
	char dir[128];          /* on a file system of its own, which ends with the test's mount namespace */
	struct interpreter python; /* what /usr/bin/python3 is in it, if it is another one */
	bool read_only;
	bool pivot;             /* nothing of the old root is left, as in a container; else a chroot */
};

static void must_mount(const char *what, const char *where, const char *type, unsigned long flags, const char *data)
{
	cr_assert_eq(mount(what, where, type, flags, data), 0, "mount %s: %s", where, strerror(errno));
}

/* Overlays cannot lie on another overlay: the upper layer is a tmpfs. */
static void root__make(struct root *r)
{
	char options[512], merged[160];

	*r = (struct root){0};
	temp_dir__make(r->dir, sizeof(r->dir));
	must_mount("layers", r->dir, "tmpfs", 0, NULL);
	must_run("cd '%s' && mkdir upper work merged", r->dir);
	snprintf(options, sizeof(options), "lowerdir=/,upperdir=%s/upper,workdir=%s/work", r->dir, r->dir);
	snprintf(merged, sizeof(merged), "%s/merged", r->dir);
	must_mount("root", merged, "overlay", 0, options);
}

/* The child's side, before it becomes the workload: into the root, with a /proc of its own namespace. */
static void enter(void *arg)
{
	struct root *r = arg;
	char path[PATH_MAX], cwd[PATH_MAX];

	if (!getcwd(cwd, sizeof(cwd)))
		_exit(120);
	snprintf(path, sizeof(path), "%s/merged", r->dir);
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || chdir(path))
		_exit(121);
	if (r->pivot ? syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) : chroot("."))
		_exit(121);
	if (chdir(cwd))
		_exit(121);
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("/dev", "/dev", "tmpfs", 0, NULL))
		_exit(122);
	mknod("/dev/zero", S_IFCHR | 0666, 1 << 8 | 5);
	mknod("/dev/null", S_IFCHR | 0666, 1 << 8 | 3);
	if (r->read_only && mount("none", "/", NULL, MS_REMOUNT | MS_RDONLY | MS_BIND, NULL))
		_exit(123);
	if (r->python.exe[0])
		interpreter__environment(&r->python);
}

/* The workload says `ready` with the id that it has inside. */
static pid_t await_ready(struct workload *w)
{
	char *line = workload__hear(w);
	int inside = 0;

	cr_assert_eq(sscanf(line, "ready %d", &inside), 1, "instead of ready: %s", line);
	free(line);
	return inside;
}

static char *const hog_argv[] = {
	(char *)"/usr/bin/python3", (char *)"tests/workloads/hog_victim.py", (char *)"12", NULL,
};

static char *const stock_argv[] = {
	(char *)"/usr/bin/python3", (char *)"tests/workloads/release_loop.py", (char *)CALLS, (char *)"3", (char *)"--call",
	(char *)"noop", NULL,
};

/* Attaches, counts, and gives back the process's summary; json_decref() it. */
static json_t *expect_exact(struct workload *w, const char *under, const char *options)
{
	struct exact e;
	json_t *summary;

	exact__attach(&e, w, 1, under, options);
	exact__expect(&e);
	summary = json_incref(exact__summary(&e, w->pid));
	exact__end(&e);
	return summary;
}

/* ---- namespaces ---------------------------------------------------------------------------------------- */

ParameterizedTestParameters(containers, another_root_with_another_interpreter_under_the_same_name)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

/* Acquires of all threads, by gilscope and by themselves. */
static void note_count(struct exact *e, struct workload *w, const struct interpreter *in)
{
	json_t *threads = json_object_get(workload__truth(w), "threads"), *summary = exact__summary(e, w->pid), *thread, *seen;
	long long made = 0, counted = 0;
	size_t i, j;

	json_array_foreach(threads, i, thread) {
		made += truth__int(thread, "acquires");
		json_array_foreach(json_object_get(summary, "threads"), j, seen)
			if (truth__int(seen, "tid") == exact__tid(w->pid, (pid_t)truth__int(thread, "tid")))
				counted += truth__int(seen, "n");
	}
	results__note_numbers(in, "container", counted, made, json_object_size(json_object_get(summary, "losses")));
}

/*
 * In the container /usr/bin/python3 is another interpreter, and the file that carries it is a stripped copy, under the name that
 * the original has outside. A process that runs the original must not notice.
 */
ParameterizedTest(struct interpreter *in, containers, another_root_with_another_interpreter_under_the_same_name)
{
	struct workload w, outside, hog;
	struct root r;
	struct exact e;

	own_image__use(in);
	root__make(&r);
	r.pivot = true;
	must_run("cp --remove-destination '%s' '%s/merged/usr/bin/python3'", in->exe, r.dir);
	must_run("strip --strip-all -o '%s/merged%s' '%s'", r.dir, in->image, in->image);
	if (strcmp(in->exe, in->image) == 0)
		must_run("cp --remove-destination '%s/merged%s' '%s/merged/usr/bin/python3'", r.dir, in->image, r.dir);
	r.python = *in;
	snprintf(r.python.home, sizeof(r.python.home), "%s", in->prefix);
	workload__start(&outside, in, "release_loop.py 1 1");
	workload__spawn_program(&w, CLONE_NEWNS | CLONE_NEWPID, stock_argv, enter, &r);
	cr_expect_eq(await_ready(&w), 1);
	exact__attach(&e, &w, 1, NULL, "--no-store");
	cr_expect_gt(code__changed_bytes(w.pid), 0, "nothing is planted in the container");
	cr_expect_eq(code__changed_bytes(outside.pid), 0, "the host's %s was written to", in->image);
	exact__expect(&e);
	cr_expect_eq(strncmp(json_string_value(json_object_get(exact__summary(&e, w.pid), "python")), in->version, 4), 0);
	note_count(&e, &w, in);
	exact__end(&e);
	workload__quit(&w);
	workload__quit(&outside);
	workload__spawn_program(&hog, CLONE_NEWNS | CLONE_NEWPID, hog_argv, enter, &r);
	cr_expect_eq(await_ready(&hog), 1);
	hogs__expect_all(&hog, in, 1, "hog in a container");
	workload__quit(&hog);
}

static void expect_said(const char *part, const char *command, pid_t pid)
{
	struct program p;

	program__run(&p, "\"$GILSCOPE\" %s %d", command, (int)pid);
	cr_expect_eq(p.status, 0, "%s: %s", command, p.err);
	cr_expect_not_null(strstr(p.out, part), "%s does not say \"%s\": %s", command, part, p.out);
	program__free(&p);
}

/* What the store knows of the process afterwards: meta, and the ids inside of its threads. */
static void expect_stored(struct workload *w)
{
	json_t *threads = json_object_get(workload__truth(w), "threads"), *thread;
	char part[64];
	size_t i;

	expect_said("\npid_inside\n1\n", "store cli --raw EVAL \"return redis.call('HGETALL', "
		    "redis.call('KEYS', 'gil:{*:'..ARGV[1]..':*}:meta')[1])\" 0", w->pid);
	json_array_foreach(threads, i, thread) {
		snprintf(part, sizeof(part), "\"inside\": %lld", truth__int(thread, "tid"));
		expect_said(part, "query --threads --json", w->pid);
	}
	expect_said("INSIDE", "query --threads", w->pid);
}

Test(containers, another_pid_namespace_is_shown_with_both_ids_everywhere)
{
	char dir[128], inside[32];
	struct workload w;
	json_t *summary, *row;

	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	workload__spawn_program(&w, CLONE_NEWPID, stock_argv, NULL, NULL);
	cr_expect_eq(await_ready(&w), 1);
	row = exact__listed(w.pid);
	cr_expect_eq(truth__int(row, "pid_inside"), 1);
	cr_expect_str_eq(json_string_value(json_object_get(row, "container")), "(own PIDs)");
	json_decref(row);
	snprintf(inside, sizeof(inside), "1 inside its PID namespace");
	expect_said(inside, "doctor --json", w.pid);
	summary = expect_exact(&w, NULL, "");
	json_decref(summary);
	expect_stored(&w);
	workload__quit(&w);
	temp_dir__remove(dir);
}

/* Light mode knows a holder by what Python has of it: its id inside. */
Test(containers, light_mode_names_a_holder_by_its_id_outside)
{
	char *argv[] = {(char *)"/usr/bin/python3", (char *)"tests/workloads/hog_victim.py", (char *)"20", NULL};
	struct workload w;
	struct exact e;
	json_t *cell, *hog;
	size_t i, named = 0;

	workload__spawn_program(&w, CLONE_NEWPID, argv, NULL, NULL);
	await_ready(&w);
	exact__attach(&e, &w, 1, NULL, "--no-store --mode light");
	hog = workload__thread((workload__go(&w), &w), "hog");
	exact__finish(&e);
	json_array_foreach(json_object_get(exact__summary(&e, w.pid), "blame"), i, cell) {
		json_t *holder = json_object_get(cell, "holder");

		if (truth__int(holder, "tid") == exact__tid(w.pid, (pid_t)truth__int(hog, "tid")))
			named++;
	}
	cr_expect_gt(named, 0, "the hog is blamed for nothing");
	exact__end(&e);
	workload__quit(&w);
}

/* A trace asks for names by the ids outside, and finds them where Python keeps them: by those inside. */
Test(containers, a_trace_of_another_pid_namespace_has_pythons_names)
{
	char dir[128], file[160], words[256], *text;
	struct timeline line;
	struct workload w;
	size_t len;

	temp_dir__make(dir, sizeof(dir));
	snprintf(file, sizeof(file), "%s/trace.json", dir);
	workload__spawn_program(&w, CLONE_NEWPID, hog_argv, NULL, NULL);
	await_ready(&w);
	snprintf(words, sizeof(words), "trace %d -o %s --duration 50s", (int)w.pid, file);
	watched__run(&w, words);
	text = must_read(file, &len);
	timeline__load(&line, text);
	free(text);
	/* The kernel calls it python3. */
	cr_expect_str_eq(timeline__track(&line, w.pid, w.pid), "MainThread");
	timeline__free(&line);
	workload__quit(&w);
	temp_dir__remove(dir);
}

/* Init of its own PID namespace, with one child. */
static pid_t spawn_init(int *ret_hold)
{
	int hold[2];
	pid_t init;

	cr_assert_eq(pipe2(hold, O_CLOEXEC), 0);
	init = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);
	if (init == 0) {
		char end;

		close(hold[1]);
		if (fork() >= 0 && read(hold[0], &end, 1) == 0)
			_exit(0);
		_exit(1);
	}
	cr_assert_gt(init, 0, "clone: %s", strerror(errno));
	close(hold[0]);
	*ret_hold = hold[1];
	return init;
}

static pid_t first_child(pid_t pid)
{
	char path[64];
	int child = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	for (int i = 0; i < 2000 && !child; i++) {
		FILE *f = fopen(path, "re");

		if (!f || fscanf(f, "%d", &child) != 1)
			usleep(10000);
		if (f)
			fclose(f);
	}
	cr_assert_gt(child, 0, "%s stays empty", path);
	return child;
}

Test(containers, a_child_has_an_id_of_its_own_in_its_parents_pid_namespace)
{
	struct target parent = {.pidfd = -1, .image.fd = -1}, *child;
	uint64_t start_ticks, start_stack;
	int hold;
	pid_t pid;

	parent.pid = spawn_init(&hold);
	parent.pid_inside = target__id_inside(parent.pid, parent.pid);
	cr_expect_eq(parent.pid_inside, 1);
	pid = first_child(parent.pid);
	cr_assert_eq(target__stat(pid, pid, &start_ticks, &start_stack), 0);
	child = target__of_child(&parent, pid, start_ticks);
	cr_assert_not_null(child);
	cr_expect_eq(child->pid_inside, 2, "%d: the parent is %d", (int)child->pid_inside, (int)parent.pid_inside);
	target__close(child);
	/* One that is gone: its id is not known, and not its parent's. */
	close(hold);
	cr_assert_eq(waitpid(parent.pid, NULL, 0), parent.pid);
	child = target__of_child(&parent, pid, start_ticks);
	cr_expect_eq(child->pid_inside, 0);
	target__close(child);
}

static void write_file(pid_t pid, const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	must_write(path, text, strlen(text));
}

/* Root in its user namespace, nobody outside. */
static void become_root_inside(void *arg)
{
	char go;

	if (read(*(int *)arg, &go, 1) != 1 || setresgid(0, 0, 0) || setresuid(0, 0, 0))
		_exit(124);
}

Test(containers, a_user_namespace_of_its_own)
{
	struct workload w;
	int mapped[2];

	cr_assert_eq(pipe(mapped), 0);
	workload__spawn_program(&w, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS, stock_argv, become_root_inside, &mapped[0]);
	write_file(w.pid, "uid_map", "0 65534 1");
	write_file(w.pid, "gid_map", "0 65534 1");
	cr_assert_eq(write(mapped[1], "!", 1), 1);
	cr_expect_eq(await_ready(&w), 1);
	json_decref(expect_exact(&w, NULL, "--no-store"));
	workload__quit(&w);
}

Test(containers, a_root_that_cannot_be_written)
{
	struct workload w;
	struct root r;

	own_mounts__enter();
	root__make(&r);
	r.read_only = true;
	workload__spawn_program(&w, CLONE_NEWNS | CLONE_NEWPID, stock_argv, enter, &r);
	cr_expect_eq(await_ready(&w), 1);
	json_decref(expect_exact(&w, NULL, "--no-store"));
	workload__quit(&w);
}

/* ---- rights -------------------------------------------------------------------------------------------- */

#define RIGHTS "+bpf,+perfmon,+sys_ptrace"

/* The rights that the README asks for, and no user's but their own: a third one watches a process of nobody's. */
Test(containers, another_users_process_with_the_documented_rights_alone)
{
	static const char rights[] =
		"setpriv --reuid 65533 --regid 65533 --clear-groups --inh-caps=-all," RIGHTS " --ambient-caps=-all," RIGHTS
		" --bounding-set=-all," RIGHTS;
	char *argv[] = {(char *)"setpriv", (char *)"--reuid", (char *)"65534", (char *)"--regid", (char *)"65534",
			(char *)"--clear-groups", stock_argv[0], NULL, (char *)CALLS, (char *)"2", NULL};
	const char *output = getenv("GILSCOPE_OUTPUT");
	char dir[128], script[192];
	struct workload w;

	temp_dir__make(dir, sizeof(dir));
	must_run("cp tests/workloads/*.py '%s/gilscope' '%s' && mkdir '%s/workloads' && cp '%s/workloads/libgilwork.so' "
		 "'%s/workloads' && chmod -R a+rX '%s'", output, dir, dir, output, dir, dir);
	snprintf(script, sizeof(script), "%s/release_loop.py", dir);
	argv[7] = script;
	setenv("GILSCOPE_OUTPUT", dir, 1);
	setenv("OUTPUT", dir, 1);
	workload__spawn_program(&w, 0, argv, NULL, NULL);
	workload__await_ready(&w);
	json_decref(expect_exact(&w, rights, "--no-store"));
	workload__quit(&w);
	temp_dir__remove(dir);
}

/* Only read, write, exit and sigreturn are allowed to its threads while they count. */
Test(containers, a_process_under_strict_seccomp)
{
	char *argv[] = {stock_argv[0], (char *)"tests/workloads/confined.py", (char *)CALLS, NULL};
	struct workload w;

	workload__spawn_program(&w, 0, argv, NULL, NULL);
	workload__await_ready(&w);
	json_decref(expect_exact(&w, NULL, "--no-store"));
	workload__quit(&w);
}

/* ---- control groups ------------------------------------------------------------------------------------ */

static const char id64[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/* A hierarchy in which a group can be made: version 2's, or any of version 1. */
static bool make_group(char *path, size_t size)
{
	static const char *const places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd",
					     "/sys/fs/cgroup/pids"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char procs[PATH_MAX];

		snprintf(procs, sizeof(procs), "%s/cgroup.procs", places[i]);
		snprintf(path, size, "%s/gilscope-%d", places[i], (int)getpid());
		if (access(procs, W_OK) == 0 && mkdir(path, 0755) == 0)
			return true;
	}
	return false;
}

Test(containers, a_control_group_named_by_an_engine_names_the_container)
{
	char group[256], part[512], procs[600], number[16];
	struct workload w;
	json_t *row;

	cr_assert(make_group(group, sizeof(group)), "no control group can be made here");
	snprintf(part, sizeof(part), "%s/docker-%s.scope", group, id64);
	cr_assert_eq(mkdir(part, 0755), 0, "%s", strerror(errno));
	workload__spawn_program(&w, CLONE_NEWPID, stock_argv, NULL, NULL);
	await_ready(&w);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", part);
	snprintf(number, sizeof(number), "%d", (int)w.pid);
	must_write(procs, number, strlen(number));
	row = exact__listed(w.pid);
	cr_expect_str_eq(json_string_value(json_object_get(row, "container")), "0123456789ab");
	cr_expect_not_null(strstr(json_string_value(json_object_get(row, "cgroup")), id64));
	json_decref(row);
	expect_said("1 inside container 0123456789ab", "doctor --json", w.pid);
	json_decref(expect_exact(&w, NULL, "--no-store"));
	workload__quit(&w);
	cr_expect_eq(rmdir(part), 0);
	cr_expect_eq(rmdir(group), 0);
}

/* ---- gilscope in one of them ----------------------------------------------------------------------------- */

/* From here on this test's children are born where process `pid` lives. */
static void have_children_in(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(setns(fd, CLONE_NEWPID), 0, "%s: %s", path, strerror(errno));
	close(fd);
}

/* The ids of a process, from ours to its own, as on its NSpid line. */
static size_t ids_of(pid_t pid, int ids[8])
{
	char path[64], line[256], *rest, *word;
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	cr_assert_not_null(f);
	while (n == 0 && fgets(line, sizeof(line), f))
		for (rest = strncmp(line, "NSpid:", 6) == 0 ? line + 7 : NULL; rest && n < 8 && (word = strsep(&rest, "\t"));)
			ids[n++] = atoi(word);
	fclose(f);
	return n;
}

static pid_t only_child(pid_t pid)
{
	char path[64];
	int child = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "re");
	cr_assert(f && fscanf(f, "%d", &child) == 1, "%s", path);
	fclose(f);
	return child;
}

/* gilscope runs where this test's children are born, with a /proc that fits, and knows `w` as `pid` there. */
static void expect_exact_there(struct workload *w, int pid, bool deeper)
{
	char words[128], said[32], *out;
	json_t *summary;
	struct tool t;

	snprintf(words, sizeof(words), "attach %d --no-store --mode full --json", pid);
	tool__start_under(&t, "unshare --mount-proc", words);
	snprintf(said, sizeof(said), "(pid %d)", pid);
	tool__await(&t, said);
	workload__go(w);
	workload__truth(w);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0, "%s", tool__stderr(&t));
	out = tool__stdout(&t);
	summary = summary__of(out, 0);
	summary__expect_exact(summary, w, deeper ? "inside" : "tid");
	cr_expect_eq(code__changed_bytes(w->pid), 0);
	json_decref(summary);
	free(out);
	tool__clear(&t);
}

Test(containers, gilscope_inside_a_pid_namespace_counts_its_neighbours)
{
	struct workload w;

	own_image__use_stock();
	workload__spawn_program(&w, CLONE_NEWPID, stock_argv, NULL, NULL);
	cr_expect_eq(await_ready(&w), 1);
	have_children_in(w.pid);
	expect_exact_there(&w, 1, false);
	workload__quit(&w);
}

Test(containers, gilscope_inside_a_pid_namespace_counts_a_container_in_it)
{
	char *argv[] = {(char *)"unshare", (char *)"--pid", (char *)"--kill-child", stock_argv[0], stock_argv[1], (char *)CALLS,
			(char *)"2", NULL};
	struct workload outer, inner;
	pid_t unshare_pid;
	int ids[8];

	own_image__use_stock();
	workload__spawn_program(&outer, CLONE_NEWPID, stock_argv, NULL, NULL);
	await_ready(&outer);
	have_children_in(outer.pid);
	workload__spawn_program(&inner, 0, argv, NULL, NULL);
	cr_expect_eq(await_ready(&inner), 1);
	unshare_pid = inner.pid;
	inner.pid = only_child(unshare_pid);
	cr_assert_eq(ids_of(inner.pid, ids), 3);
	cr_assert_gt(ids[1], 1);
	expect_exact_there(&inner, ids[1], true);
	inner.pid = unshare_pid;
	workload__quit(&inner);
	workload__quit(&outer);
}

Test(containers, gilscope_with_a_proc_of_another_pid_namespace_refuses)
{
	char attach[64], *err, *out;
	const char *const words[] = {attach, "attach --all --no-store --duration 1s", "ls", "ls --json"};
	struct workload w;
	struct tool t;

	own_image__use_stock();
	workload__spawn_program(&w, CLONE_NEWPID, stock_argv, NULL, NULL);
	await_ready(&w);
	have_children_in(w.pid);
	snprintf(attach, sizeof(attach), "attach %d --no-store", (int)w.pid);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		cr_expect_eq(tool__run(&t, words[i]), 1, "%s", words[i]);
		err = tool__stderr(&t);
		out = tool__stdout(&t);
		cr_expect_not_null(strstr(err, "/proc shows another PID namespace"), "%s: %s", words[i], err);
		cr_expect_str_empty(out, "%s: %s", words[i], out);
		cr_expect_eq(code__changed_bytes(w.pid), 0);
		free(out);
		free(err);
		tool__clear(&t);
	}
	workload__quit(&w);
}
