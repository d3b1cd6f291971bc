/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Thread names against what the programs say of themselves, on every interpreter of this machine. Hand-made and broken
 * memory is tests/unit/test_pynames.c's.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/text.h"
#include "collector/python/pynames.h"
#include "collector/target/target.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/python_memory.h"
#include "../support/workload.h"

TestSuite(names, .timeout = 300);

static uint64_t boot_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static struct pynames *names_of(pid_t pid)
{
	struct python_memory memory;
	struct pynames *n;

	python_memory__open(&memory, pid);
	cr_assert_eq(pynames__new(pid, memory.runtime, &memory.off, &n), 0);
	python_memory__close(&memory);
	return n;
}

/* Tells the program to do something; its threads and their names afterwards. */
static json_t *ask(struct workload *w, const char *word)
{
	json_t *answer = workload__ask(w, word), *threads = json_incref(json_object_get(answer, "threads"));

	cr_assert_not_null(threads, "%s", word);
	json_decref(answer);
	return threads;
}

/* Every thread has the name that it says it has, and no other thread has one. */
static void expect_names(struct pynames *n, json_t *threads, const char *when)
{
	const struct pythread *all;
	size_t all_n, named = 0, i;
	json_t *thread;

	cr_assert_eq(pynames__refresh(n, boot_ns()), 0, "%s", when);
	json_array_foreach(threads, i, thread) {
		pid_t tid = (pid_t)json_integer_value(json_array_get(thread, 0));
		const char *raw = json_string_value(json_array_get(thread, 1));
		const char *got = pynames__find(n, boot_ns(), tid, 0, 1);
		char want[THREAD_NAME_SIZE];

		text__clean(want, sizeof(want), raw, strlen(raw));
		cr_expect_str_eq(got ?: "(none)", want, "%s: thread %d is %s, not %s", when, (int)tid, got, want);
	}
	all = pynames__all(n, &all_n);
	for (i = 0; i < all_n; i++)
		named += all[i].name[0] != '\0';
	cr_expect_eq(named, json_array_size(threads), "%s: %zu names", when, named);
	json_decref(threads);
}

static void expect_no_names(struct pynames *n)
{
	const struct pythread *all;
	size_t all_n;

	pynames__refresh(n, boot_ns());
	all = pynames__all(n, &all_n);
	for (size_t i = 0; i < all_n; i++)
		cr_expect_str_eq(all[i].name, "", "thread %d", (int)all[i].tid);
}

ParameterizedTestParameters(names, are_those_that_threads_say_they_have)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, names, are_those_that_threads_say_they_have)
{
	struct pynames *n;
	struct workload w;

	workload__start(&w, in, "names.py");
	n = names_of(w.pid);
	expect_names(n, ask(&w, "list"), "at first");
	expect_names(n, ask(&w, "rename"), "renamed");
	expect_names(n, ask(&w, "attributes"), "with attributes of their own");
	expect_names(n, ask(&w, "many"), "200 more");
	cr_expect_str_eq(pynames__find(n, boot_ns(), w.pid, 0, 1), "MainThread");
	expect_names(n, ask(&w, "greenlets"), "as gevent has them");
	pynames__free(n);
	workload__quit(&w);
}

ParameterizedTestParameters(names, of_a_program_without_threading_are_nobodys)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, names, of_a_program_without_threading_are_nobodys)
{
	struct pynames *n;
	struct workload w;

	workload__start(&w, in, "names.py");
	json_decref(ask(&w, "delete"));
	n = names_of(w.pid);
	expect_no_names(n);
	json_decref(ask(&w, "replace"));
	expect_no_names(n);
	expect_names(n, ask(&w, "restore"), "restored");
	pynames__free(n);
	workload__quit(&w);
}

ParameterizedTestParameters(names, are_found_in_another_pid_namespace)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

/* The container knows its threads by other ids than the machine does. */
ParameterizedTest(struct interpreter *in, names, are_found_in_another_pid_namespace)
{
	char path[64], seen[16][THREAD_NAME_SIZE];
	struct dirent *task;
	struct pynames *n;
	struct workload w;
	json_t *threads;
	size_t tasks = 0;
	DIR *dir;

	bpf_env__require(); /* who may load BPF may do this too */
	cr_assert_eq(unshare(CLONE_NEWPID), 0);
	workload__spawn(&w, in, "names.py");
	free(workload__hear(&w));
	threads = ask(&w, "list");
	n = names_of(w.pid);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)w.pid);
	dir = opendir(path);
	cr_assert_not_null(dir);
	while ((task = readdir(dir))) {
		pid_t tid = atoi(task->d_name);
		const char *name = tid > 0 ? pynames__find(n, boot_ns(), tid, 0, 1) : NULL;

		cr_expect(name || tid <= 0, "thread %d has no name", (int)tid);
		if (name && tasks < 16)
			strcpy(seen[tasks++], name);
	}
	closedir(dir);
	cr_expect_eq(tasks, json_array_size(threads));
	for (size_t i = 1; i < tasks; i++)
		for (size_t j = 0; j < i; j++)
			cr_expect_str_neq(seen[i], seen[j], "two threads are %s", seen[i]);
	cr_expect_str_eq(pynames__find(n, boot_ns(), w.pid, 0, 1) ?: "", "MainThread");
	json_decref(threads);
	pynames__free(n);
	workload__kill(&w);
}

/* By way of the probes: a holder's name in a sample, the kernel's where Python has none. */
static void expect_name_in_sample(struct observer *o, pid_t tid, const char *name)
{
	struct proc_sample *s = observer__interval(o);
	const struct thread_sample *t = observer__thread(s, tid);

	cr_assert_not_null(t, "thread %d is missing", (int)tid);
	cr_expect_str_eq(t->name, name);
	proc_sample__free(s);
}

Test(names, reach_the_samples_and_follow_a_renaming)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "names.py");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	json_decref(ask(&w, "main=front desk"));
	expect_name_in_sample(&o, w.pid, "front desk");
	json_decref(ask(&w, "main=back office"));
	usleep((useconds_t)(PYNAMES_PERIOD_NS / 1000));
	json_decref(ask(&w, "list"));
	expect_name_in_sample(&o, w.pid, "back office");
	observer__detach(&o);
	workload__quit(&w);
}

Test(names, are_the_kernels_where_python_has_none)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;
	char comm[THREAD_NAME_SIZE];

	interpreter__stock(&stock);
	workload__start(&w, &stock, "names.py");
	json_decref(ask(&w, "delete"));
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	json_decref(ask(&w, "list"));
	cr_assert_eq(target__thread_comm(w.pid, w.pid, comm, sizeof(comm)), 0);
	expect_name_in_sample(&o, w.pid, comm);
	observer__detach(&o);
	workload__quit(&w);
}

/* ---- of processes ---- */

static void expect_labels(const struct interpreter *in, const char *method, const char *part)
{
	char command[64], want[128];
	struct workload w;
	char *born;
	int pid, len;

	snprintf(command, sizeof(command), "family.py pool %s 2 1", method);
	workload__start(&w, in, command);
	workload__go(&w);
	born = workload__hear(&w);
	for (const char *at = born + strlen("born"); sscanf(at, "%d%n", &pid, &len) == 1; at += len) {
		struct reason why = {0};
		struct target *t;

		cr_assert_eq(target__open(pid, &t, &why), 0, "%s", why.text);
		snprintf(want, sizeof(want), "%s family.py%s", strrchr(in->exe, '/') + 1, part);
		cr_expect_str_eq(t->label, want, "%s, %s", in->version, method);
		target__close(t);
	}
	free(born);
	workload__go(&w);
	workload__truth(&w);
	workload__quit(&w);
}

Test(names, of_helpers_say_for_which_program_they_work)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	cr_assert_gt(n, 0);
	for (size_t i = 0; i < n; i++) {
		expect_labels(&found[i], "fork", "");
		expect_labels(&found[i], "spawn", ": spawned worker");
		expect_labels(&found[i], "forkserver", ": fork server worker");
	}
}
