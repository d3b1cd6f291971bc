/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Families: children are observed from their first acquire on, each by itself and in the sum, whatever becomes of them. The truth
 * is the children's own (tests/workloads/family.py says what each acquire is).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/counted.h"
#include "../support/hogs.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/own_images.h"
#include "../support/private_redis.h"
#include "../support/pythons.h"
#include "../support/results.h"
#include "../support/status.h"
#include "../support/tool.h"
#include "../support/workload.h"

static void set_up(void)
{
	bpf_env__require();
	own_image__use_stock();
}

TestSuite(families, .init = set_up, .timeout = 300);

struct run {
	struct workload w;
	struct counted counts;
	struct tool t;
	json_t *lines;
	char *said;           /* on standard error */
};

static void watch(struct run *r, const char *options)
{
	char words[160];

	snprintf(words, sizeof(words), "attach %d --children --no-store --json -v %s %s", (int)r->w.pid,
		 strstr(options, "--mode") ? "" : "--mode full", options);
	tool__start(&r->t, words);
	tool__await(&r->t, "planted by probes that its children share");
}

static void start_on(struct run *r, const struct interpreter *in, const char *command, const char *options)
{
	memset(r, 0, sizeof(*r));
	own_image__use(in);
	workload__start(&r->w, in, command);
	watch(r, options);
}

/* The same under the counter, which is what the children's own numbers come from: end_counted() ends it. */
static void start_counted(struct run *r, const struct interpreter *in, const char *command, const char *options)
{
	memset(r, 0, sizeof(*r));
	own_image__use(in);
	counted__start(&r->counts, &r->w, in, command);
	watch(r, options);
}

static void start(struct run *r, const char *command, const char *options)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	start_on(r, &stock, command, options);
}

/* Waits for gilscope's end and reads all that it wrote. */
static void finish(struct run *r)
{
	char *out, *err;
	int status = tool__wait(&r->t, 60);

	err = tool__stderr(&r->t);
	cr_assert_eq(status, 0, "status %d: %s", status, err);
	r->said = err;
	out = tool__stdout(&r->t);
	r->lines = json_lines__parse(out);
	free(out);
	tool__clear(&r->t);
}

/* Of the last program that had the PID: those before have ended in an exec. */
static const json_t *line_of(const struct run *r, const char *type, pid_t pid)
{
	const json_t *line, *last = NULL;
	size_t i;

	json_array_foreach(r->lines, i, line) {
		const char *end = json_string_value(json_object_get(line, "end"));

		if (strcmp(json_string_value(json_object_get(line, "type")), type) == 0 &&
		    (!pid || json_integer_value(json_object_get(line, "pid")) == pid) && (!end || strcmp(end, "exec") != 0))
			last = line;
	}
	return last;
}

static const json_t *summary_of(const struct run *r, pid_t pid)
{
	const json_t *line = line_of(r, "summary", pid);

	cr_assert_not_null(line, "process %d has no summary", (int)pid);
	return line;
}

static size_t count_of(const struct run *r, const char *type)
{
	const json_t *line;
	size_t i, n = 0;

	json_array_foreach(r->lines, i, line)
		n += strcmp(json_string_value(json_object_get(line, "type")), type) == 0;
	return n;
}

static double real(const json_t *object, const char *group, const char *field)
{
	return json_number_value(json_object_get(json_object_get(object, group), field));
}

/* cov in a summary is rounded to four digits. */
static void expect_all_seen(const json_t *line)
{
	cr_expect_eq(real(line, "process", "cov"), 1, "%s", json_dumps(line, JSON_COMPACT));
	cr_expect_eq(json_object_size(json_object_get(line, "losses")), 0, "%s", json_dumps(line, JSON_COMPACT));
}

/*
 * After a fork CPython acquires the GIL that it has made anew, in newer builds twice: as often in all children of a build, so
 * whoever differs has lost some.
 */
static void expect_children_counted(const struct run *r, const char *version)
{
	json_t *children = json_object_get(r->w.truth, "children"), *child;
	json_int_t after_fork = -1;
	size_t i;

	cr_assert_gt(json_array_size(children), 0);
	json_array_foreach(children, i, child) {
		pid_t pid = (pid_t)json_integer_value(json_array_get(child, 0));
		json_int_t truth = json_integer_value(json_array_get(child, 1));
		const json_t *line = summary_of(r, pid);

		if (after_fork < 0)
			after_fork = json__int(line, "process.n") - truth;
		cr_expect_eq(json__int(line, "process.n"), truth + after_fork, "%s: child %d: %lld acquires, it made %lld + %lld",
			     version, (int)pid, (long long)json__int(line, "process.n"), (long long)truth, (long long)after_fork);
		expect_all_seen(line);
	}
	cr_expect(after_fork == 1 || after_fork == 2, "%s: %lld acquires after a fork", version, (long long)after_fork);
}

static void end(struct run *r)
{
	json_decref(r->lines);
	free(r->said);
}

static void end_counted(struct run *r)
{
	workload__quit(&r->w);
	counted__end(&r->counts);
	end(r);
}

static void prefork_on(const struct interpreter *in)
{
	struct run r;

	start_on(&r, in, "family.py prefork 5 5003", "");
	workload__go(&r.w);
	workload__truth(&r.w);
	cr_expect_eq(json_array_size(json_object_get(r.w.truth, "children")), 10);
	kill(r.t.pid, SIGINT);
	finish(&r);
	expect_children_counted(&r, in->version);
	cr_expect_eq(breakpoints__await_none(r.w.pid), 0);
	workload__quit(&r.w);
	end(&r);
}

Test(families, forked_children_and_theirs_count_from_their_first_acquire_on_every_interpreter)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	for (size_t i = 0; i < n; i++)
		prefork_on(&found[i]);
}

static const json_t *thread_of(const json_t *summary, json_int_t tid)
{
	json_t *thread;
	size_t i;

	json_array_foreach(json_object_get(summary, "threads"), i, thread)
		if (json__int(thread, "tid") == tid)
			return thread;
	return NULL;
}

/*
 * Each process of the pool, and in it the thread that counts; by its id: it lives for some milliseconds, and where gilscope has
 * no CPU in them nobody reads what Python called it.
 */
static void expect_pool_counted(const struct run *r, json_t *truth, const struct interpreter *in, const char *what)
{
	json_int_t seen = 0, made = 0;
	json_t *child;
	size_t i;

	json_array_foreach(json_object_get(truth, "children"), i, child) {
		pid_t pid = (pid_t)json_integer_value(json_array_get(child, 0));
		const json_t *thread = thread_of(summary_of(r, pid), json_integer_value(json_array_get(child, 1)));

		cr_assert_not_null(thread, "%s: process %d: its thread is missing", what, (int)pid);
		cr_expect_eq(json__int(thread, "n"), json_integer_value(json_array_get(child, 2)),
			     "%s: process %d: %lld acquires, it made %lld", what, (int)pid, (long long)json__int(thread, "n"),
			     (long long)json_integer_value(json_array_get(child, 2)));
		cr_expect_eq(json_object_size(json_object_get(summary_of(r, pid), "losses")), 0, "%s %s", what,
			     json_dumps(json_object_get(summary_of(r, pid), "losses"), JSON_COMPACT));
		seen += json__int(thread, "n");
		made += json_integer_value(json_array_get(child, 2));
	}
	results__note_numbers(in, "pool", seen, made, 0);
}

/* `born`: "born PID..." */
static void await_watched(struct tool *t, const char *born)
{
	char pid[32];
	int at = 0, len, n;

	for (born += strlen("born"); sscanf(born, "%d%n", &n, &len) == 1; born += len) {
		snprintf(pid, sizeof(pid), "(pid %d)", n);
		tool__await(t, pid);
		at++;
	}
	cr_assert_gt(at, 0);
}

/* Before 3.10 a spawned one is watched as a fork first, and anew after its exec. */
static void await_execs(struct tool *t, const char *born, const struct interpreter *in, const char *method)
{
	char anew[64];
	int len, n;

	if (in->minor >= 10 || strcmp(method, "spawn") != 0)
		return;
	for (born += strlen("born"); sscanf(born, "%d%n", &n, &len) == 1; born += len) {
		snprintf(anew, sizeof(anew), "process %d has become another Python program", n);
		tool__await(t, anew);
	}
}

static const char *const methods[] = {"fork", "spawn", "forkserver"};

static void pool_on(const struct interpreter *in, const char *method)
{
	char command[64], what[64], *born;
	json_t *truth;
	struct run r;

	snprintf(command, sizeof(command), "family.py pool %s 4 2003", method);
	snprintf(what, sizeof(what), "%s %s", in->version, method);
	start_on(&r, in, command, "");
	workload__go(&r.w);
	born = workload__hear(&r.w);
	await_watched(&r.t, born);
	await_execs(&r.t, born, in, method);
	free(born);
	workload__go(&r.w);
	truth = workload__truth(&r.w);
	cr_expect_eq(json_array_size(json_object_get(truth, "children")), 4);
	kill(r.t.pid, SIGINT);
	finish(&r);
	expect_pool_counted(&r, truth, in, what);
	workload__quit(&r.w);
	end(&r);
}

Test(families, threads_in_every_process_of_a_pool_count_exactly_on_every_interpreter)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	for (size_t i = 0; i < n; i++)
		for (size_t m = 0; m < sizeof(methods) / sizeof(methods[0]); m++)
			pool_on(&found[i], methods[m]);
}

/* One that has ended counts as one of those who share the probes until its last interval is told, here for 20 s. */
Test(families, who_comes_after_gilscope_stood_still_is_counted_though_a_relative_has_ended_before)
{
	struct interpreter stock;
	struct workload ends;
	char words[64], *born;
	struct run r;

	interpreter__stock(&stock);
	own_image__use(&stock);
	workload__start(&ends, &stock, "release_loop.py 3");
	snprintf(words, sizeof(words), "%d --interval 20s", (int)ends.pid);
	start_on(&r, &stock, "family.py pool fork 4 2003", words);
	snprintf(words, sizeof(words), "born %d", (int)ends.pid);
	await_watched(&r.t, words);
	workload__kill(&ends);
	usleep(300000);
	tool__stand_still(&r.t, r.w.pid);
	workload__go(&r.w);
	born = workload__hear(&r.w);
	await_watched(&r.t, born);
	free(born);
	workload__go(&r.w);
	workload__truth(&r.w);
	kill(r.t.pid, SIGINT);
	finish(&r);
	expect_pool_counted(&r, r.w.truth, &stock, "stood still");
	workload__quit(&r.w);
	end(&r);
}

/* Several roots at once: observes them with the children that they have. */
static void attach_roots(struct run *r, const struct workload *roots, size_t n)
{
	char words[512] = "attach";
	size_t len = strlen(words);

	memset(r, 0, sizeof(*r));
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(words + len, sizeof(words) - len, " %d", (int)roots[i].pid);
	snprintf(words + len, sizeof(words) - len, " --children --no-store --json --mode full -v");
	tool__start(&r->t, words);
}

static void expect_pool_timed(const struct run *r, struct workload *root, const struct interpreter *in, const char *method)
{
	json_t *children = json_object_get(workload__truth(root), "children"), *child;
	char who[64];
	size_t i;

	snprintf(who, sizeof(who), "%s %s", in->version, method);
	cr_expect_eq(json_array_size(children), 2);
	json_array_foreach(children, i, child) {
		pid_t pid = (pid_t)truth__int(child, "pid");

		hogs__expect((json_t *)summary_of(r, pid), pid, json_object_get(child, "threads"), who);
		cr_expect_eq(code__await_unchanged(pid), 0, "%s: process %d kept breakpoints", who, (int)pid);
	}
}

static void hogs_on(const struct interpreter *in, size_t n, const char *method)
{
	struct workload roots[INTERPRETERS_MAX];
	char command[64], *born[INTERPRETERS_MAX];
	struct run r;

	snprintf(command, sizeof(command), "family.py hogs %s 2 12", method);
	for (size_t i = 0; i < n; i++) {
		workload__start(&roots[i], &in[i], command);
		workload__go(&roots[i]);
	}
	for (size_t i = 0; i < n; i++)
		born[i] = workload__hear(&roots[i]);
	attach_roots(&r, roots, n);
	for (size_t i = 0; i < n; i++) {
		await_watched(&r.t, born[i]);
		free(born[i]);
	}
	for (size_t i = 0; i < n; i++)
		workload__go(&roots[i]);
	for (size_t i = 0; i < n; i++)
		workload__truth(&roots[i]);
	kill(r.t.pid, SIGINT);
	finish(&r);
	for (size_t i = 0; i < n; i++) {
		expect_pool_timed(&r, &roots[i], &in[i], method);
		workload__quit(&roots[i]);
	}
	end(&r);
}

Test(families, a_hog_and_its_victim_in_every_process_of_a_pool_are_timed_on_every_interpreter)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	for (size_t m = 0; m < sizeof(methods) / sizeof(methods[0]); m++)
		hogs_on(found, n, methods[m]);
}

/* ---- children that execute a Python ---- */

/* Each thread as the child itself has counted it, and none beside. */
static void expect_child_counted(const struct run *r, json_t *child, const char *version)
{
	const char *how = json_string_value(json_array_get(child, 0));
	pid_t pid = (pid_t)json_integer_value(json_array_get(child, 1));
	json_t *tids = json_array_get(child, 2), *threads, *thread;
	const json_t *line = summary_of(r, pid), *root = summary_of(r, r->w.pid);
	json_int_t sum = (json_int_t)counted__acquires(&r->counts, pid);
	size_t i;

	json_array_foreach(tids, i, thread)
		sum += (json_int_t)counted__acquires(&r->counts, json_integer_value(thread));
	cr_expect_eq(json__int(line, "process.n"), sum, "%s %s: child %d: %lld acquires, it made %lld", version, how, (int)pid,
		     (long long)json__int(line, "process.n"), (long long)sum);
	threads = json_object_get(line, "threads");
	cr_expect_eq(json_array_size(threads), 1 + json_array_size(tids), "%s %s", version, how);
	json_array_foreach(threads, i, thread)
		cr_expect_eq(json__int(thread, "n"), (json_int_t)counted__acquires(&r->counts, json__int(thread, "tid")),
			     "%s %s: child %d: thread %lld", version, how, (int)pid, (long long)json__int(thread, "tid"));
	expect_all_seen(line);
	cr_expect(json_equal(json_object_get(line, "root"), json_object_get(root, "id")), "%s %s", version, how);
}

/* Whatever a process was, its holds last no longer than itself. */
static void expect_no_hold_beyond_life(const struct run *r)
{
	const json_t *line;
	size_t i;

	json_array_foreach(r->lines, i, line)
		if (strcmp(json_string_value(json_object_get(line, "type")), "summary") == 0)
			cr_expect_leq(real(line, "process", "hold"), real(line, "process", "d") + 1, "pid %lld",
				      (long long)json__int(line, "pid"));
}

static void expect_executed_counted(const struct run *r, const char *version)
{
	json_t *children = json_object_get(r->w.truth, "children"), *child;
	size_t i;

	cr_assert_gt(json_array_size(children), 0);
	json_array_foreach(children, i, child)
		expect_child_counted(r, child, version);
	expect_no_hold_beyond_life(r);
}

static void executed_on(const struct interpreter *in)
{
	struct run r;

	start_counted(&r, in, "family.py executed 503", "");
	workload__go(&r.w);
	workload__truth(&r.w);
	kill(r.t.pid, SIGINT);
	finish(&r);
	expect_executed_counted(&r, in->version);
	end_counted(&r);
}

/* Start-up included, whichever way it is executed: fork, vfork, posix_spawn, by a shell, again and again, multiprocessing. */
Test(families, children_that_execute_the_interpreter_count_from_their_first_acquire_on_every_interpreter)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	for (size_t i = 0; i < n; i++)
		if (!found[i].free_threaded)
			executed_on(&found[i]);
}

/* gilscope stands still while they live, over several ends of an interval: the programs in the kernel need it for nothing. */
Test(families, who_ended_before_gilscope_could_look_counts_all_the_same)
{
	struct interpreter stock;
	struct run r;

	interpreter__stock(&stock);
	start_counted(&r, &stock, "family.py executed 503 subprocess orphan again fork posix_spawn", "--interval 100ms");
	tool__freeze(&r.t);
	workload__go(&r.w);
	workload__truth(&r.w);
	tool__thaw(&r.t);
	kill(r.t.pid, SIGINT);
	finish(&r);
	expect_executed_counted(&r, stock.version);
	end_counted(&r);
}

/* Only who queues meets a probe: nothing else can be missed. */
Test(families, executed_children_are_seen_as_a_whole_in_light_mode_too)
{
	struct interpreter stock;
	json_t *child;
	struct run r;
	size_t i;

	interpreter__stock(&stock);
	start_counted(&r, &stock, "family.py executed 503 subprocess spawn", "--mode light");
	workload__go(&r.w);
	workload__truth(&r.w);
	kill(r.t.pid, SIGINT);
	finish(&r);
	json_array_foreach(json_object_get(r.w.truth, "children"), i, child) {
		const json_t *line = summary_of(&r, (pid_t)json_integer_value(json_array_get(child, 1)));

		cr_expect_str_eq(json_string_value(json_object_get(line, "mode")), "light");
		expect_all_seen(line);
	}
	end_counted(&r);
}

/* One that needs nothing in its environment, and whose file is not that of `stock`. false: this machine has none. */
static bool find_another(const struct interpreter *stock, struct interpreter *ret)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	for (size_t i = 0; i < n; i++) {
		if (found[i].free_threaded || found[i].home[0] || found[i].library_path[0] ||
		    strcmp(found[i].image, stock->image) == 0)
			continue;
		*ret = found[i];
		return true;
	}
	return false;
}

/* Where there is but one interpreter, a copy of it in `dir` is another to whoever looks at files. */
static void get_another(const struct interpreter *stock, const char *dir, struct interpreter *ret)
{
	if (find_another(stock, ret))
		return;
	*ret = *stock;
	snprintf(ret->exe, sizeof(ret->exe), "%s/python3", dir);
	must_run("cp '%s' '%s'", stock->exe, ret->exe);
	if (strcmp(stock->image, stock->exe) == 0)
		snprintf(ret->image, sizeof(ret->image), "%s", ret->exe);
	cr_assert_str_neq(ret->image, stock->image, "the only interpreter is a libpython");
}

/* Nobody could know it beforehand; from the second one on somebody does, as long as the first lives. */
Test(families, another_build_is_planted_in_when_it_is_found_and_says_what_it_misses)
{
	struct interpreter stock, other;
	char command[400], dir[128], said[32], *line;
	json_int_t n, truth;
	json_t *children;
	struct run r;
	pid_t pid;

	interpreter__stock(&stock);
	temp_dir__make(dir, sizeof(dir));
	get_another(&stock, dir, &other);
	own_image__use(&other);
	snprintf(command, sizeof(command), "family.py builds %s 1003", other.exe);
	start_counted(&r, &stock, command, "");
	workload__go(&r.w);
	line = workload__hear(&r.w);
	pid = (pid_t)atoi(line);
	free(line);
	snprintf(said, sizeof(said), "(pid %d)", (int)pid);
	tool__await(&r.t, said);
	workload__go(&r.w);
	children = json_object_get(workload__truth(&r.w), "children");
	kill(r.t.pid, SIGINT);
	finish(&r);
	n = json__int(summary_of(&r, pid), "process.n");
	truth = (json_int_t)counted__acquires(&r.counts, pid);
	for (size_t i = 0; i < 2; i++)
		truth += (json_int_t)counted__acquires(&r.counts, json_integer_value(
			json_array_get(json_array_get(json_array_get(children, 0), 2), i)));
	cr_expect_leq(n, truth);
	cr_expect(n == truth || real(summary_of(&r, pid), "process", "cov") < 1, "%lld of %lld, and it says nothing",
		  (long long)n, (long long)truth);
	expect_child_counted(&r, json_array_get(children, 1), other.version);
	expect_no_hold_beyond_life(&r);
	end_counted(&r);
	must_run("umount -l '%s'; rm -r '%s'", other.image, dir);
}

/* What the first one exceeds all change for, and who comes later does not change it back for the others. */
Test(families, executed_children_have_the_mode_that_their_relatives_have_changed_to)
{
	struct interpreter stock;
	json_t *children, *child;
	char command[320];
	struct run r;
	size_t i;

	interpreter__stock(&stock);
	snprintf(command, sizeof(command), "family.py builds %s 300000", stock.exe);
	start_counted(&r, &stock, command, "--mode auto --max-overhead 0.1% --interval 200ms");
	workload__go(&r.w);
	free(workload__hear(&r.w));
	tool__await(&r.t, "changed to light mode");
	workload__go(&r.w);
	children = json_object_get(workload__truth(&r.w), "children");
	kill(r.t.pid, SIGINT);
	finish(&r);
	cr_expect_null(strstr(r.said, "trying full mode again"), "%s", r.said);
	child = json_array_get(children, 1);
	cr_expect_str_eq(json_string_value(json_object_get(
		summary_of(&r, (pid_t)json_integer_value(json_array_get(child, 1))), "mode")), "light");
	expect_all_seen(summary_of(&r, (pid_t)json_integer_value(json_array_get(child, 1))));
	json_array_foreach(children, i, child)
		cr_expect_eq(json_object_size(json_object_get(
			summary_of(&r, (pid_t)json_integer_value(json_array_get(child, 1))), "losses")), 0);
	end_counted(&r);
}

/* A process with the id that it is told: clone3() can. 0 in the child; the PID; -1: that id is not to be had now. */
static pid_t fork_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* The same file, in a process that no follower has ever seen, with the PID of one that has been followed. */
static bool run_stranger_as(pid_t pid)
{
	pid_t child = fork_as(pid);
	int status;

	if (child < 0) {
		cr_assert_eq(errno, EEXIST, "clone3: %s", strerror(errno));
		return false;
	}
	if (child == 0) {
		execl("/usr/bin/python3", "python3", "-I", "-S", "-c", "import os\nfor _ in range(1000): os.stat('/')", NULL);
		_exit(127);
	}
	cr_assert_eq(waitpid(child, &status, 0), pid);
	cr_assert_eq(status, 0);
	return true;
}

/* Python and not, with a slot and without one: that a PID was a relative's once is nobody's right to be counted. */
Test(families, who_has_the_pid_of_a_relative_that_ended_counts_nowhere)
{
	json_t *children, *child;
	struct interpreter stock;
	size_t i, strangers = 0;
	struct run r;

	interpreter__stock(&stock);
	start_counted(&r, &stock, "family.py executed 101 true subprocess true fork shell true", "");
	workload__go(&r.w);
	children = json_object_get(workload__truth(&r.w), "children");
	json_array_foreach(children, i, child)
		strangers += run_stranger_as((pid_t)json_integer_value(json_array_get(child, 1)));
	cr_assert_gt(strangers, 0, "no PID was to be had again, so nothing is tested");
	kill(r.t.pid, SIGINT);
	finish(&r);
	json_array_foreach(children, i, child) {
		pid_t pid = (pid_t)json_integer_value(json_array_get(child, 1));

		if (json_array_size(json_array_get(child, 2)))
			expect_child_counted(&r, child, stock.version);
		else
			cr_expect_null(line_of(&r, "summary", pid), "process %d was never Python, and is told of", (int)pid);
	}
	/* The root, three Pythons, and what one of them was between fork and exec. */
	cr_expect_eq(count_of(&r, "summary"), 5);
	end_counted(&r);
}

/* Its time is that between fork and exit, not that of the intervals. */
static void expect_as_long_as_it_lived(const struct run *r, json_t *child)
{
	const json_t *line = summary_of(r, (pid_t)json_integer_value(json_array_get(child, 0)));
	double us = real(line, "process", "d"), most = json_number_value(json_array_get(child, 2)) / 1e3;

	cr_expect_gt(us, 0);
	cr_expect_leq(us, most + 1, "%.0f us, it lived for %.0f at most", us, most);
}

Test(families, two_hundred_short_children_are_all_told_of)
{
	struct run r;
	const json_t *sum;
	json_int_t n = 0;
	json_t *child;
	size_t i;

	start(&r, "family.py bomb 200 101", "");
	workload__go(&r.w);
	workload__truth(&r.w);
	kill(r.t.pid, SIGINT);
	finish(&r);
	expect_children_counted(&r, "stock");
	json_array_foreach(json_object_get(r.w.truth, "children"), i, child)
		expect_as_long_as_it_lived(&r, child);
	sum = line_of(&r, "sum_summary", 0);
	cr_assert_not_null(sum);
	cr_expect_eq(json__int(sum, "processes"), 201);
	for (i = 0; i < json_array_size(r.lines); i++)
		if (strcmp(json_string_value(json_object_get(json_array_get(r.lines, i), "type")), "summary") == 0)
			n += json__int(json_array_get(r.lines, i), "process.n");
	cr_expect_eq(json__int(sum, "process.n"), n, "the sum is not that of its parts");
	cr_expect_eq(breakpoints__await_none(r.w.pid), 0);
	workload__quit(&r.w);
	end(&r);
}

/* A place for each of 256: who comes later is turned away in words, counted, and what is said of the others is all there. */
Test(families, beyond_256_at_once_the_others_are_counted_and_said)
{
	char *line, said[64];
	json_t *truth, *pids;
	pid_t first, last;
	struct run r;
	size_t i, n = 0;

	start(&r, "family.py serve 270 1 500", "--interval 10s");
	workload__go(&r.w);
	line = workload__hear(&r.w);
	truth = json_loads(line, 0, NULL);
	free(line);
	pids = json_object_get(truth, "children");
	cr_assert_eq(json_array_size(pids), 270);
	first = (pid_t)json_integer_value(json_array_get(pids, 0));
	last = (pid_t)json_integer_value(json_array_get(pids, 269));
	snprintf(said, sizeof(said), "process %d is one too many", (int)last);
	tool__await(&r.t, said);
	kill(r.t.pid, SIGINT);
	finish(&r);
	cr_expect(strstr(r.said, "is not observed, nor are further ones until one ends: 256 are at once at most"), "%s", r.said);
	cr_expect(strstr(r.said, "15 processes found no place and are in no number"), "%s", r.said);
	cr_expect_eq(count_of(&r, "summary"), 256);
	for (i = 0; i < 270; i++)
		n += line_of(&r, "summary", (pid_t)json_integer_value(json_array_get(pids, i))) != NULL;
	cr_expect_eq(n, 255);
	cr_expect_eq(breakpoints__await_none(first), 0);
	cr_expect_eq(breakpoints__await_none(last), 0, "one that was turned away");
	json_decref(truth);
	workload__quit(&r.w);
	end(&r);
}

Test(families, run_goes_on_while_a_child_lives_though_its_root_has_ended)
{
	json_t *children, *child;
	size_t i;
	struct run r;

	start(&r, "family.py orphans 3 503", "");
	workload__go(&r.w);
	children = json_object_get(workload__truth(&r.w), "children");
	cr_expect_eq(json_array_size(children), 3);
	finish(&r); /* by itself */
	expect_children_counted(&r, "stock");
	json_array_foreach(children, i, child)
		cr_expect_str_eq(json_string_value(json_object_get(
			summary_of(&r, (pid_t)json_integer_value(json_array_get(child, 0))), "end")), "exit");
	workload__kill(&r.w);
	end(&r);
}

Test(families, children_that_become_something_else_are_told_apart)
{
	json_t *truth, *python;
	struct run r;
	pid_t other;

	start(&r, "family.py mixed", "");
	workload__go(&r.w);
	truth = workload__truth(&r.w);
	other = (pid_t)truth__int(truth, "other");
	python = json_object_get(truth, "python");
	cr_expect_eq(code__changed_bytes(other), 0, "somebody planted in what is not Python");
	for (size_t i = 0; i < 2; i++) {
		char said[32];

		snprintf(said, sizeof(said), "(pid %d)", (int)json_integer_value(json_array_get(python, i)));
		if (i == 1) /* the shell is not Python; its child is */
			tool__await(&r.t, said);
	}
	kill(r.t.pid, SIGINT);
	finish(&r);
	cr_expect_null(line_of(&r, "summary", other));
	cr_expect_eq(count_of(&r, "summary"), 3, "the root, the shell's child and the spawned one: %zu", count_of(&r, "summary"));
	workload__quit(&r.w);
	end(&r);
}

/* The probes are in the file, so it meets them as well: that is all that it may notice. */
static void stand_by(const char *command)
{
	struct interpreter stock;
	struct workload stranger;
	struct run r;

	interpreter__stock(&stock);
	workload__start(&stranger, &stock, command);
	start(&r, "family.py prefork 3 5003", "");
	cr_expect_gt(code__changed_bytes(stranger.pid), 0, "the stranger has no breakpoint, so nothing is tested");
	workload__go(&stranger);
	workload__go(&r.w);
	workload__truth(&r.w);
	workload__truth(&stranger);
	kill(r.t.pid, SIGINT);
	finish(&r);
	expect_children_counted(&r, "stock");
	cr_expect_eq(count_of(&r, "summary"), 1 + json_array_size(json_object_get(r.w.truth, "children")));
	cr_expect_null(line_of(&r, "summary", stranger.pid));
	cr_expect_eq(breakpoints__await_none(stranger.pid), 0);
	workload__quit(&stranger);
	workload__quit(&r.w);
	end(&r);
}

Test(families, a_stranger_of_the_same_interpreter_counts_nowhere_and_keeps_nothing)
{
	stand_by("family.py prefork 2 3001");
	stand_by("family.py executed 503 subprocess fork shell again");
}

static size_t sums_said(const struct tool *t)
{
	char *out = tool__stdout(t);
	size_t n = 0;

	for (const char *at = out; (at = strstr(at, "\"sum_interval\"")); at++)
		n++;
	free(out);
	return n;
}

/* Waits for so many intervals more of the sum. */
static void await_sums(const struct tool *t, size_t more)
{
	size_t n = sums_said(t), enough = n + more;

	for (int i = 0; n < enough && i < 600; i++) {
		usleep(100000);
		n = sums_said(t);
	}
	cr_assert_geq(n, enough, "only %zu intervals", n);
}

/* A server that runs already: its workers are found, a killed one is no loss to the others. */
Test(families, workers_that_are_there_are_found_and_summed_up)
{
	const json_t *sum;
	double hold = 0;
	char *line, said[32];
	json_t *pids, *truth;
	struct run r;

	start(&r, "family.py serve 4 3", "--interval 300ms");
	workload__go(&r.w);
	line = workload__hear(&r.w);
	truth = json_loads(line, 0, NULL);
	free(line);
	pids = json_object_get(truth, "children");
	cr_assert_eq(json_array_size(pids), 4);
	for (size_t i = 0; i < 4; i++) {
		snprintf(said, sizeof(said), "(pid %d)", (int)json_integer_value(json_array_get(pids, i)));
		tool__await(&r.t, said);
	}
	await_sums(&r.t, 2);
	workload__say(&r.w, "kill");
	await_sums(&r.t, 2);
	kill(r.t.pid, SIGINT);
	finish(&r);
	cr_expect_eq(count_of(&r, "summary"), 5);
	for (size_t i = 0; i < 4; i++) {
		const json_t *summary = summary_of(&r, (pid_t)json_integer_value(json_array_get(pids, i)));

		hold += real(summary, "process", "hold");
		cr_expect_gt(real(summary, "process", "hold"), 0);
		cr_expect_str_eq(json_string_value(json_object_get(summary, "end")), i ? "signal" : "exit");
		cr_expect_not_null(json_object_get(summary, "parent"));
		cr_expect(json_equal(json_object_get(summary, "root"), json_object_get(summary_of(&r, r.w.pid), "id")));
	}
	sum = line_of(&r, "sum_summary", 0);
	cr_assert_not_null(sum);
	hold += real(summary_of(&r, r.w.pid), "process", "hold");
	/* Microseconds, rounded down in each. */
	cr_expect_float_eq(real(sum, "process", "hold"), hold, 5, "%f of %f", real(sum, "process", "hold"), hold);
	cr_expect_gt(count_of(&r, "sum_interval"), 2);
	cr_expect_eq(breakpoints__await_none((pid_t)json_integer_value(json_array_get(pids, 3))), 0);
	json_decref(truth);
	workload__quit(&r.w);
	end(&r);
}

/* The second one meets the breakpoints that the first one's probes have put in everybody who runs the file. */
Test(families, probes_that_relatives_share_are_not_called_another_tracers)
{
	struct interpreter stock;
	struct workload other;
	char words[64];
	struct run r;

	interpreter__stock(&stock);
	own_image__use(&stock);
	workload__start(&other, &stock, "release_loop.py 3");
	snprintf(words, sizeof(words), "%d", (int)other.pid);
	start_on(&r, &stock, "release_loop.py 3", words);
	snprintf(words, sizeof(words), "born %d", (int)other.pid);
	await_watched(&r.t, words);
	kill(r.t.pid, SIGINT);
	finish(&r);
	cr_expect_not_null(strstr(r.said, "places already: those that gilscope has planted for its relatives"), "%s", r.said);
	cr_expect_null(strstr(r.said, "another tracer's"), "%s", r.said);
	workload__kill(&other);
	workload__kill(&r.w);
	end(&r);
}

Test(families, run_observes_the_children_of_its_command)
{
	struct run r = {0};
	struct tool t;
	char words[200], *out;
	const json_t *line;
	size_t i, workers = 0;

	snprintf(words, sizeof(words), "run --children --no-store --json --mode full --output /dev/stdout -- /usr/bin/python3 "
		 "tests/workloads/forked.py 3 1003");
	cr_expect_eq(tool__run(&t, words), 7, "the command's own status");
	out = tool__stdout(&t);
	r.lines = json_lines__parse(out);
	free(out);
	json_array_foreach(r.lines, i, line)
		if (strcmp(json_string_value(json_object_get(line, "type")), "summary") == 0 && json_object_get(line, "parent")) {
			workers++;
			cr_expect(json__int(line, "process.n") == 1 + 1003 || json__int(line, "process.n") == 2 + 1003);
			expect_all_seen(line);
		}
	cr_expect_eq(workers, 3);
	tool__clear(&t);
	end(&r);
}

/* Who shares probes changes mode together and once; the samples of all say so. */
Test(families, what_one_exceeds_all_change_for)
{
	struct tool t;
	const json_t *line;
	char *out, *err;
	json_t *lines;
	size_t i, n = 0;

	cr_expect_eq(tool__run(&t, "run --children --no-store --json --mode auto --max-overhead 0.1% --interval 200ms "
			       "--output /dev/stdout -- /usr/bin/python3 tests/workloads/forked.py 3 1500000"), 7);
	err = tool__stderr(&t);
	out = tool__stdout(&t);
	lines = json_lines__parse(out);
	cr_expect_not_null(strstr(err, "changed to light mode"), "%s", err);
	cr_expect_null(strstr(err, "trying full mode again"), "%s", err);
	json_array_foreach(lines, i, line)
		if (strcmp(json_string_value(json_object_get(line, "type")), "summary") == 0 && json_object_get(line, "parent")) {
			n++;
			/* One may end at bare speed while its probes are changed: it never was in light mode. */
			cr_expect(strcmp(json_string_value(json_object_get(line, "mode")), "full") != 0 ||
				  real(line, "process", "cov") < 1, "%s", json_dumps(line, JSON_COMPACT));
			cr_expect_eq(json_object_size(json_object_get(line, "losses")), 0, "%s", json_dumps(line, JSON_COMPACT));
		}
	cr_expect_eq(n, 3);
	json_decref(lines);
	free(out);
	free(err);
	tool__clear(&t);
}

static bool has_said(struct tool *t, const char *text, int times)
{
	char *said = tool__stderr(t);

	for (const char *at = said; (at = strstr(at, text)); at++)
		times--;
	free(said);
	return times <= 0;
}

/* A gilscope that stands still for longer than a second has its probes lifted: children get theirs back, too. */
Test(families, children_are_planted_in_again_after_gilscope_stood_still)
{
	struct tool t;

	tool__start(&t, "run --children --no-store --mode full -v -- /usr/bin/python3 tests/workloads/forked.py 2 5s");
	for (int i = 0; i < 6000 && !has_said(&t, "watching ", 3); i++)
		usleep(10000);
	cr_assert(has_said(&t, "watching ", 3));
	tool__stand_still(&t, status__child(t.pid, "python3"));
	cr_expect_eq(tool__wait(&t, 60), 7);
	cr_expect_not(has_said(&t, "can't", 1), "%s", tool__stderr(&t));
	tool__clear(&t);
}

/* Without probes that are handed down a child is planted in when it has been heard of. `stopped`: none is heard of in time. */
static void observe_by_hearsay(struct run *r, bool stopped)
{
	struct interpreter stock;
	char said[32];

	memset(r, 0, sizeof(*r));
	interpreter__stock(&stock);
	workload__start(&r->w, &stock, "family.py prefork 5 20003");
	tool__start(&r->t, "attach --all --match family.py --no-store --json --mode full -v");
	snprintf(said, sizeof(said), "(pid %d)", (int)r->w.pid);
	tool__await(&r->t, said);
	if (stopped)
		tool__freeze(&r->t);
	workload__go(&r->w);
	workload__truth(&r->w);
	if (stopped)
		tool__thaw(&r->t);
	kill(r->t.pid, SIGINT);
	finish(r);
}

static void expect_missed_is_said(const struct run *r, json_t *child)
{
	const json_t *line = line_of(r, "summary", (pid_t)json_integer_value(json_array_get(child, 0)));
	json_int_t truth = json_integer_value(json_array_get(child, 1)), n = line ? json__int(line, "process.n") : 0;

	/* CPython acquires the GIL once or twice after a fork. */
	cr_expect_leq(n, truth + 2);
	if (!line)
		cr_expect(strstr(r->said, "forked children ended before they could be observed"), "%s", r->said);
	else if (n <= truth)
		cr_expect_lt(real(line, "process", "cov"), 1, "%lld of %lld, and it says nothing", (long long)n,
			     (long long)truth);
}

Test(families, what_is_missed_of_a_child_shows_in_its_cov)
{
	struct run r;
	json_t *child;
	size_t i;

	observe_by_hearsay(&r, false);
	json_array_foreach(json_object_get(r.w.truth, "children"), i, child)
		expect_missed_is_said(&r, child);
	workload__quit(&r.w);
	end(&r);
}

Test(families, children_that_nobody_heard_of_in_time_are_counted_and_said)
{
	struct run r;
	json_t *child;
	size_t i;

	observe_by_hearsay(&r, true);
	cr_expect_not_null(strstr(r.said, "forked children ended before they could be observed and are in no number"), "%s",
			   r.said);
	json_array_foreach(json_object_get(r.w.truth, "children"), i, child)
		cr_expect_null(line_of(&r, "summary", (pid_t)json_integer_value(json_array_get(child, 0))),
			       "a child that nobody looked at has numbers");
	workload__quit(&r.w);
	end(&r);
}

/* Ids and numbers of a family as Redis has them, and as query --tree shows them. */
Test(families, history_knows_who_belongs_together_and_query_sums_up)
{
	struct private_redis redis;
	struct interpreter stock;
	struct workload w;
	struct tool t, q;
	char words[320], root[96], ids[512], *out, *line;
	const char *text;
	json_t *children, *answer, *rows;
	double n = 0, sum;
	pid_t worker;

	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	interpreter__stock(&stock);
	workload__start(&w, &stock, "family.py serve 3 2");
	workload__go(&w);
	line = workload__hear(&w);
	children = json_loads(line, 0, NULL);
	worker = (pid_t)json_integer_value(json_array_get(json_object_get(children, "children"), 1));
	snprintf(words, sizeof(words), "attach %d --children --mode full --interval 200ms --duration 2500ms --redis %s",
		 (int)w.pid, redis.url);
	cr_assert_eq(tool__run(&t, words), 0, "%s", tool__stderr(&t));
	out = tool__stdout(&t);
	cr_expect(strstr(out, "4 processes"), "%s", out);
	cr_expect(strstr(out, "sum of 4"), "%s", out);
	cr_expect(strstr(out, "--tree"), "%s", out);
	free(out);
	tool__clear(&t);

	for (int i = 0; i < 4; i++) {
		text = private_redis__ask(&redis, "ZRANGE gil:procs %d %d", i, i);
		snprintf(root, sizeof(root), "%s", text);
		if (atoi(strchr(root, ':') + 1) == w.pid)
			break;
	}
	cr_assert_eq(atoi(strchr(root, ':') + 1), w.pid, "%s", root);
	cr_expect_eq(private_redis__int(&redis, "ZCARD gil:{%s}:kin", root), 4);
	cr_expect_gt(private_redis__int(&redis, "TTL gil:{%s}:kin", root), 0);
	text = private_redis__ask(&redis, "ZREVRANGE gil:procs 0 -1");
	snprintf(ids, sizeof(ids), "%s", text);
	for (char *at = ids, *id; (id = strsep(&at, "\n"));) {
		cr_expect_str_eq(private_redis__ask(&redis, "HGET gil:{%s}:meta root", id), root);
		if (strcmp(id, root) != 0)
			cr_expect_str_eq(private_redis__ask(&redis, "HGET gil:{%s}:meta parent", id), root);
	}

	snprintf(words, sizeof(words), "query %d --tree --json --since 1h --redis %s", (int)worker, redis.url);
	cr_assert_eq(tool__run(&q, words), 0, "%s", tool__stderr(&q));
	out = tool__stdout(&q);
	answer = json_loads(out, 0, NULL);
	cr_assert_not_null(answer, "%s", out);
	cr_expect_str_eq(json_string_value(json_object_get(answer, "root")), root, "any of them names the family");
	rows = json_object_get(answer, "processes");
	cr_assert_eq(json_array_size(rows), 5, "%s", out);
	n = 0;
	for (size_t i = 0; i < 4; i++)
		n += json_number_value(json_object_get(json_array_get(rows, i), "n"));
	sum = json_number_value(json_object_get(json_array_get(rows, 4), "n"));
	cr_expect_gt(n, 0);
	cr_expect_eq(sum, n, "%s", out);
	free(out);
	tool__clear(&q);
	json_decref(answer);
	json_decref(children);
	free(line);
	private_redis__fini(&redis);
	workload__quit(&w);
}
