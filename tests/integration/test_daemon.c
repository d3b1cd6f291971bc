/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope daemon and gilscope status: who fits is observed, SIGHUP takes a configuration as a whole or not at all, the manager
 * is told, and monitoring gets an exit status. A script of a name that nobody else has stands for "mine".
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/own_images.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/tool.h"

#define PATIENCE_MS 60000
#define NOT_RUNNING 3
#define NO_ANSWER 4

static char dir[128], script[192], config[192];
static struct tool daemon_tool;
static pid_t mine;

static void start_mine(void)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	mine = fork();
	cr_assert_geq(mine, 0);
	if (mine == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[0], STDIN_FILENO);
		close(fds[1]);
		execl("/usr/bin/python3", "python3", script, (char *)NULL);
		_exit(127);
	}
	close(fds[0]); /* the other end stays open as long as the test runs */
}

static void set_up(void)
{
	static const char text[] = "import os, sys, threading\n"
				   "def work():\n"
				   "    fd = os.open('/dev/zero', os.O_RDONLY)\n"
				   "    while True: os.read(fd, 65536)\n"
				   "threading.Thread(target=work, daemon=True).start()\n"
				   "sys.stdin.read()\n";

	bpf_env__require();
	own_image__use_stock();
	temp_dir__make(dir, sizeof(dir));
	snprintf(script, sizeof(script), "%s/mine_%d.py", dir, (int)getpid());
	snprintf(config, sizeof(config), "%s/gilscope.conf", dir);
	must_write(script, text, sizeof(text) - 1);
	setenv("RUNTIME_DIRECTORY", dir, 1);
	start_mine();
}

static void tear_down(void)
{
	if (daemon_tool.pid)
		tool__clear(&daemon_tool);
	temp_dir__remove(dir);
}

TestSuite(daemon, .init = set_up, .fini = tear_down, .timeout = 300);

/* The configuration with further lines. */
static void configure(const char *more)
{
	char text[512];
	int len = snprintf(text, sizeof(text), "# of a test\nmatch = mine_%d\ninterval = 200ms\n%s", (int)getpid(), more);

	must_write(config, text, (size_t)len);
}

static void start(void)
{
	char words[256];

	snprintf(words, sizeof(words), "daemon --config %s", config);
	tool__start(&daemon_tool, words);
}

static int status(json_t **ret)
{
	struct program p;
	int code;

	program__run(&p, "$GILSCOPE status --json");
	code = p.status;
	if (ret)
		*ret = json_loads(p.out, 0, NULL);
	program__free(&p);
	return code;
}

/* Whether `mine` is among those that status names, alone and seen. */
static bool is_observed(void *arg)
{
	const json_t *processes, *one;
	json_t *said = NULL;
	bool observed;

	status(&said);
	processes = json_object_get(said, "processes");
	one = json_array_get(processes, 0);
	observed = json_array_size(processes) == 1 && json_integer_value(json_object_get(one, "pid")) == mine &&
		   json_real_value(json_object_get(one, "cov")) > 0;
	json_decref(said);
	return observed;
}

static void end(void)
{
	kill(daemon_tool.pid, SIGTERM);
	cr_assert_eq(tool__wait(&daemon_tool, 60), 0, "%s", tool__stderr(&daemon_tool));
}

Test(daemon, observes_who_fits_and_says_so)
{
	char *said;

	cr_expect_eq(status(NULL), NOT_RUNNING, "none runs yet");
	configure("no-store = yes\n");
	start();
	cr_assert(eventually(is_observed, NULL, PATIENCE_MS), "%s", tool__stderr(&daemon_tool));
	cr_expect_eq(status(NULL), 0);
	end();
	cr_expect_eq(status(NULL), NOT_RUNNING, "it has ended");
	cr_expect_eq(breakpoints__await_none(mine), 0);
	said = tool__stdout(&daemon_tool);
	cr_expect_str_empty(said, "it shows nothing: %s", said);
	free(said);
}

Test(daemon, a_second_one_is_refused)
{
	struct tool second;
	char words[256], *said;

	configure("no-store = yes\n");
	start();
	cr_assert(eventually(is_observed, NULL, PATIENCE_MS), "%s", tool__stderr(&daemon_tool));
	snprintf(words, sizeof(words), "daemon --config %s", config);
	cr_expect_eq(tool__run(&second, words), 1);
	said = tool__stderr(&second);
	cr_expect_not_null(strstr(said, "another gilscope daemon runs already"), "%s", said);
	free(said);
	tool__clear(&second);
	cr_expect(is_observed(NULL), "the first one goes on");
}

static bool has_metrics(void *arg)
{
	json_t *said = NULL;
	bool has;

	status(&said);
	has = json_is_string(json_object_get(said, "metrics"));
	json_decref(said);
	return has;
}

Test(daemon, sighup_takes_a_configuration_as_a_whole_or_not_at_all)
{
	configure("no-store = yes\n");
	start();
	cr_assert(eventually(is_observed, NULL, PATIENCE_MS), "%s", tool__stderr(&daemon_tool));
	configure("no-store = yes\nmetrics = 0\nintervl = 1s\n");
	kill(daemon_tool.pid, SIGHUP);
	tool__await(&daemon_tool, "the configuration stays as it was: ");
	tool__await(&daemon_tool, "gilscope.conf:6: there is no option 'intervl', did you mean 'interval'?");
	cr_expect(is_observed(NULL));
	cr_expect_not(has_metrics(NULL), "nothing of a wrong one is taken");
	configure("no-store = yes\nmetrics = 0\n");
	kill(daemon_tool.pid, SIGHUP);
	tool__await(&daemon_tool, "the configuration was read again");
	cr_expect(eventually(has_metrics, NULL, PATIENCE_MS));
	cr_expect(eventually(is_observed, NULL, PATIENCE_MS), "%s", tool__stderr(&daemon_tool));
	end();
}

static int open_manager(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = PATIENCE_MS / 1000};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_lt(strlen(path), sizeof(at.sun_path));
	strcpy(at.sun_path, path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* Hears messages until one begins with `state`. Before that none may begin with `not_before`. */
static void await_state(int manager, const char *state, const char *not_before)
{
	char text[256];

	do {
		ssize_t n = recv(manager, text, sizeof(text) - 1, 0);

		cr_assert_gt(n, 0, "no %s", state);
		text[n] = '\0';
		cr_assert(!not_before || strncmp(text, not_before, strlen(not_before)) != 0, "%s before %s", not_before, state);
	} while (strncmp(text, state, strlen(state)) != 0);
}

Test(daemon, manager_is_told_and_the_watchdog_fed)
{
	char path[160];
	int manager;

	snprintf(path, sizeof(path), "%s/notify", dir);
	manager = open_manager(path);
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "1000000", 1);
	configure("no-store = yes\n");
	start();
	await_state(manager, "READY=1", "WATCHDOG=1");
	await_state(manager, "WATCHDOG=1", "STOPPING=1");
	configure("no-store = yes\ninterval = 300ms\n"); /* given twice: wrong */
	kill(daemon_tool.pid, SIGHUP);
	tool__await(&daemon_tool, "interval is set a second time (first on line 3)");
	configure("no-store = yes\nmetrics = 0\n");
	kill(daemon_tool.pid, SIGHUP);
	await_state(manager, "RELOADING=1", "STOPPING=1");
	await_state(manager, "READY=1", "STOPPING=1");
	kill(daemon_tool.pid, SIGTERM);
	await_state(manager, "STOPPING=1", "RELOADING=1");
	cr_assert_eq(tool__wait(&daemon_tool, 60), 0, "%s", tool__stderr(&daemon_tool));
	close(manager);
}

static bool is_in_trouble(void *arg)
{
	json_t *said = NULL;
	bool trouble;

	trouble = status(&said) == 1 && json_array_size(json_object_get(said, "trouble")) == 1 &&
		  json_is_false(json_object_get(said, "well"));
	json_decref(said);
	return trouble;
}

Test(daemon, trouble_and_standing_still_have_exit_statuses_of_their_own)
{
	char line[256];

	snprintf(line, sizeof(line), "redis = unix://%s/nobody.sock\n", dir);
	configure(line);
	start();
	cr_expect(eventually(is_in_trouble, NULL, PATIENCE_MS), "%s", tool__stderr(&daemon_tool));
	tool__freeze(&daemon_tool);
	cr_expect_eq(status(NULL), NO_ANSWER);
	tool__thaw(&daemon_tool);
	cr_expect(eventually(is_in_trouble, NULL, PATIENCE_MS));
}
