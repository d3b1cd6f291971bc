/* SPDX-License-Identifier: GPL-2.0-only */
/* See exact.h. */
#include "exact.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

/* The last number on the NSpid line of a task: its id in the innermost namespace. */
static pid_t innermost(const char *status_path)
{
	char line[256], *last;
	pid_t id = 0;
	FILE *f = fopen(status_path, "re");

	while (f && !id && fgets(line, sizeof(line), f))
		if (strncmp(line, "NSpid:", 6) == 0 && (last = strrchr(line, '\t')))
			id = atoi(last);
	if (f)
		fclose(f);
	return id;
}

pid_t exact__tid(pid_t pid, pid_t inside)
{
	char path[512];
	struct dirent *task;
	pid_t found = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	cr_assert_not_null(dir, "%s", path);
	while (!found && (task = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, task->d_name);
		if (task->d_name[0] != '.' && innermost(path) == inside)
			found = atoi(task->d_name);
	}
	closedir(dir);
	cr_assert(found, "process %d has no thread that calls itself %d", (int)pid, (int)inside);
	return found;
}

void exact__attach(struct exact *e, struct workload *workloads, size_t n, const char *under, const char *options)
{
	char words[512], said[64];
	size_t len = (size_t)snprintf(words, sizeof(words), "attach");

	*e = (struct exact){.workloads = workloads, .n = n};
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(words + len, sizeof(words) - len, " %d", (int)workloads[i].pid);
	snprintf(words + len, sizeof(words) - len, " --mode full --interval 10s --json %s", options);
	tool__start_under(&e->tool, under, words);
	for (size_t i = 0; i < n; i++) {
		snprintf(said, sizeof(said), "(pid %d)", (int)workloads[i].pid);
		tool__await(&e->tool, said);
	}
}

/* The summaries among the lines that it said. */
static void read_summaries(struct exact *e)
{
	char *out = tool__stdout(&e->tool), *rest = out, key[16];

	e->summaries = json_object();
	for (char *line; (line = strsep(&rest, "\n"));) {
		json_t *said = json_loads(line, 0, NULL);
		const char *type = json_string_value(json_object_get(said, "type"));

		if (type && strcmp(type, "summary") == 0) {
			snprintf(key, sizeof(key), "%lld", truth__int(said, "pid"));
			json_object_set(e->summaries, key, said);
		}
		json_decref(said);
	}
	free(out);
}

json_t *exact__summary(struct exact *e, pid_t pid)
{
	char key[16];
	json_t *summary;

	snprintf(key, sizeof(key), "%d", (int)pid);
	summary = json_object_get(e->summaries, key);
	cr_assert_not_null(summary, "no summary of process %d", (int)pid);
	return summary;
}

static json_t *thread_of(json_t *summary, pid_t tid)
{
	json_t *thread;
	size_t i;

	json_array_foreach(json_object_get(summary, "threads"), i, thread)
		if (truth__int(thread, "tid") == tid)
			return thread;
	cr_assert_fail("thread %d is missing", (int)tid);
	return NULL;
}

static void expect_thread(json_t *summary, pid_t pid, json_t *truth)
{
	pid_t inside = (pid_t)truth__int(truth, "tid"), tid = exact__tid(pid, inside);
	json_t *seen = thread_of(summary, tid);
	const char *name = json_string_value(json_object_get(truth, "name"));

	cr_expect_eq(truth__int(seen, "n"), truth__int(truth, "acquires"), "thread %d of %d: %lld acquires, it made %lld",
		     (int)tid, (int)pid, truth__int(seen, "n"), truth__int(truth, "acquires"));
	cr_expect_eq(truth__int(seen, "forced"), truth__int(truth, "forced"));
	if (name)
		cr_expect_str_eq(json_string_value(json_object_get(seen, "name")), name);
	if (inside == tid)
		cr_expect_null(json_object_get(seen, "inside"));
	else
		cr_expect_eq(truth__int(seen, "inside"), inside, "thread %d", (int)tid);
}

static void expect_process(struct exact *e, struct workload *w)
{
	json_t *summary = exact__summary(e, w->pid), *threads = json_object_get(workload__truth(w), "threads"), *thread;
	size_t i;

	cr_expect_gt(json_array_size(threads), 0);
	json_array_foreach(threads, i, thread)
		expect_thread(summary, w->pid, thread);
	cr_expect_eq(json_object_size(json_object_get(summary, "losses")), 0, "process %d lost something", (int)w->pid);
}

void exact__finish(struct exact *e)
{
	kill(e->tool.pid, SIGINT);
	cr_assert_eq(tool__wait(&e->tool, 20), 0, "%s", tool__stderr(&e->tool));
	read_summaries(e);
}

void exact__expect(struct exact *e)
{
	for (size_t i = 0; i < e->n; i++)
		workload__go(&e->workloads[i]);
	for (size_t i = 0; i < e->n; i++)
		workload__truth(&e->workloads[i]);
	exact__finish(e);
	for (size_t i = 0; i < e->n; i++) {
		expect_process(e, &e->workloads[i]);
		cr_expect_eq(code__await_unchanged(e->workloads[i].pid), 0, "process %d kept breakpoints",
			     (int)e->workloads[i].pid);
	}
}

json_t *exact__listed(pid_t pid)
{
	json_t *all, *row, *found = NULL;
	struct program p;
	size_t i;

	program__run(&p, "\"$GILSCOPE\" ls --json");
	cr_assert_eq(p.status, 0, "%s", p.err);
	all = json_loads(p.out, 0, NULL);
	json_array_foreach(json_object_get(all, "processes"), i, row)
		if (truth__int(row, "pid") == pid)
			found = json_incref(row);
	cr_assert_not_null(found, "ls does not list process %d: %s", (int)pid, p.out);
	json_decref(all);
	program__free(&p);
	return found;
}

void exact__end(struct exact *e)
{
	json_decref(e->summaries);
	tool__clear(&e->tool);
}
