/* SPDX-License-Identifier: GPL-2.0-only */
/* See workload.h. */
#include "workload.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 64
#define SILENCE_MS 60000

/* The child's side: never returns. */
static void become(const struct interpreter *in, const char *command)
{
	char words[512], script[PATH_MAX], *argv[WORDS_MAX + 2] = {(char *)in->exe, script}, *rest = words;
	size_t n = 2;

	snprintf(words, sizeof(words), "%s", command);
	snprintf(script, sizeof(script), "tests/workloads/%s", strsep(&rest, " "));
	while (rest && n < WORDS_MAX)
		argv[n++] = strsep(&rest, " ");
	interpreter__environment(in);
	execv(in->exe, argv);
}

/* Forks into new namespaces (CLONE_NEW... or 0), the ends of the talk in place. 0 in the child. */
static pid_t fork_talking(struct workload *w, int namespaces)
{
	int to[2], from[2];

	memset(w, 0, sizeof(*w));
	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(pipe2(to, O_CLOEXEC), 0);
	cr_assert_eq(pipe2(from, O_CLOEXEC), 0);
	w->pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, 0);
	cr_assert_geq(w->pid, 0, "clone: %s", strerror(errno));
	if (w->pid == 0) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return 0;
	}
	close(to[0]);
	close(from[1]);
	w->in = to[1];
	w->out = from[0];
	return w->pid;
}

void workload__spawn(struct workload *w, const struct interpreter *in, const char *command)
{
	if (fork_talking(w, 0) == 0) {
		become(in, command);
		_exit(127);
	}
}

void workload__spawn_program(struct workload *w, int namespaces, char *const argv[], void (*enter)(void *arg), void *arg)
{
	if (fork_talking(w, namespaces) == 0) {
		if (enter)
			enter(arg);
		execvp(argv[0], argv);
		_exit(127);
	}
}

void workload__adopt(struct workload *w, int channel)
{
	char *line;

	memset(w, 0, sizeof(*w));
	signal(SIGPIPE, SIG_IGN);
	w->in = channel;
	w->out = dup(channel);
	w->not_ours = true;
	line = workload__hear(w);
	cr_assert_eq(sscanf(line, "ready %d", &w->pid), 1, "instead of ready: %s", line);
	free(line);
}

void workload__await_ready(struct workload *w)
{
	char *line = workload__hear(w);
	int pid = 0;

	cr_assert(sscanf(line, "ready %d", &pid) == 1 && pid == w->pid, "instead of ready: %s", line);
	free(line);
}

void workload__start(struct workload *w, const struct interpreter *in, const char *command)
{
	workload__spawn(w, in, command);
	workload__await_ready(w);
}

void workload__say(struct workload *w, const char *line)
{
	cr_assert_eq(dprintf(w->in, "%s\n", line), (int)strlen(line) + 1);
}

void workload__go(struct workload *w)
{
	workload__say(w, "go");
}

void workload__hold(struct workload *w)
{
	char *line;

	workload__go(w);
	line = workload__hear(w);
	cr_assert_str_eq(line, "held");
	free(line);
}

/* Reads more into `heard`. */
static void listen_more(struct workload *w)
{
	struct pollfd p = {.fd = w->out, .events = POLLIN};
	char buf[16384];
	ssize_t got;

	cr_assert_eq(poll(&p, 1, SILENCE_MS), 1, "workload %d says nothing", (int)w->pid);
	got = read(w->out, buf, sizeof(buf));
	cr_assert_gt(got, 0, "workload %d has ended", (int)w->pid);
	w->heard = realloc(w->heard, w->heard_len + (size_t)got + 1);
	cr_assert_not_null(w->heard);
	memcpy(w->heard + w->heard_len, buf, (size_t)got);
	w->heard_len += (size_t)got;
	w->heard[w->heard_len] = '\0';
}

char *workload__hear(struct workload *w)
{
	char *end, *line;

	while (!w->heard || !(end = strchr(w->heard, '\n')))
		listen_more(w);
	line = strndup(w->heard, (size_t)(end - w->heard));
	cr_assert_not_null(line);
	w->heard_len -= (size_t)(end + 1 - w->heard);
	memmove(w->heard, end + 1, w->heard_len + 1);
	return line;
}

json_t *workload__ask(struct workload *w, const char *line)
{
	json_t *answer;
	char *heard;

	workload__say(w, line);
	heard = workload__hear(w);
	answer = json_loads(heard, 0, NULL);
	cr_assert_not_null(answer, "%s: %s", line, heard);
	free(heard);
	return answer;
}

json_t *workload__truth(struct workload *w)
{
	json_error_t error;
	char *line;

	if (w->truth)
		return w->truth;
	line = workload__hear(w);
	w->truth = json_loads(line, 0, &error);
	cr_assert_not_null(w->truth, "not JSON: %s: %s", error.text, line);
	free(line);
	return w->truth;
}

json_t *workload__thread(struct workload *w, const char *name)
{
	json_t *threads = json_object_get(workload__truth(w), "threads"), *thread;
	size_t i;

	json_array_foreach (threads, i, thread)
		if (strcmp(json_string_value(json_object_get(thread, "name")), name) == 0)
			return thread;
	cr_assert_fail("truth knows no thread %s", name);
	return NULL;
}

long long truth__int(json_t *object, const char *field)
{
	json_t *value = json_object_get(object, field);

	cr_assert(json_is_integer(value), "truth has no number %s", field);
	return json_integer_value(value);
}

static int let_go(struct workload *w)
{
	int status = 0;

	close(w->in);
	if (w->pid > 0 && !w->not_ours)
		cr_assert_eq(waitpid(w->pid, &status, 0), w->pid);
	close(w->out);
	free(w->heard);
	json_decref(w->truth);
	memset(w, 0, sizeof(*w));
	return status;
}

void workload__quit(struct workload *w)
{
	pid_t pid = w->pid;
	int status;

	workload__say(w, "quit");
	status = let_go(w);
	cr_assert_eq(status, 0, "workload %d ended with wait status %#x", (int)pid, status);
}

void workload__kill(struct workload *w)
{
	if (w->pid == 0)
		return;
	kill(w->pid, SIGKILL);
	let_go(w);
}
