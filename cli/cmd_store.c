/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope store: where the embedded store is, redis-cli on it, keep it running, empty it. Each action is a small verb. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/process/caps.h"
#include "collector/redis/redis_conn.h"
#include "collector/redis/store.h"
#include "cmds.h"
#include "human.h"
#include "out.h"
#include "suggest.h"

/* ---- path ---- */

static bool answers(const char *socket_path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool yes;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	yes = fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0;
	if (fd >= 0)
		close(fd);
	return yes;
}

static int run_path(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct store_paths paths;
	struct reason why = {0};

	/* The one that readers use; where there is none yet, the one that a writer would make. */
	if (store__find(&paths, &why) && store__paths(&paths, &why))
		return options__fail(verb, EXIT_FAILED, &why);
	if (o->format == FORMAT_JSON) {
		out__dump(json_pack("{s:s, s:s, s:s, s:b}", "socket", paths.socket, "data", paths.data_dir, "log", paths.log,
				    "running", (int)answers(paths.socket)), stdout, true);
		return EXIT_OK;
	}
	puts(paths.socket);
	log_info("%s; data in %s, log in %s", answers(paths.socket) ? "running" : "not running", paths.data_dir, paths.log);
	return EXIT_OK;
}

static const struct verb verb_path = {
	.name = "store path",
	.args = "",
	.about = "Prints the path of the store's socket (for redis-cli -s) and where its data and log are.",
	.options = {OPTION_JSON},
	.run = run_path,
};

/* ---- cli ---- */

static int exec_client(const struct redis_url *store, int argc, char **argv)
{
	char **args = calloc((size_t)argc + 6, sizeof(*args));
	int n = 0;

	if (!args)
		return EXIT_RUN_FAILED;
	args[n++] = (char *)"redis-cli";
	args[n++] = (char *)"-s";
	args[n++] = (char *)store->path;
	/* Who may know the secret may write; redis-cli takes it from where nobody else sees it. */
	if (store->user[0] && setenv("REDISCLI_AUTH", store->password, 1) == 0) {
		args[n++] = (char *)"--user";
		args[n++] = (char *)store->user;
	}
	memcpy(args + n, argv, (size_t)argc * sizeof(*args));
	signal(SIGPIPE, SIG_DFL);
	execvp(args[0], args);
	log_error("store cli: redis-cli cannot be started: %s (apt install redis-tools)", strerror(errno));
	return EXIT_RUN_NOT_FOUND;
}

/* Ctrl-C is redis-cli's business; we stay to give the store back. */
static int run_client(const struct redis_url *store, int argc, char **argv)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child < 0) {
		log_error("store cli: %s", strerror(errno));
		return EXIT_FAILED;
	}
	if (child == 0)
		_exit(exec_client(store, argc, argv));
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAILED;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* With a share in the store, so that it is there while redis-cli runs, and is stopped again if nobody else uses it. */
static int run_cli(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct store_paths paths;
	struct reason why = {0};
	struct store *store = NULL;
	int status, err = store__find(&paths, &why);

	err = err ? err : store__open(&paths, &store, &why);
	if (err)
		return options__fail(verb, EXIT_FAILED, &why);
	status = run_client(store__address(store), argc, argv);
	store__close(store);
	return status;
}

static const struct verb verb_cli = {
	.name = "store cli",
	.args = "[ARG...]",
	.about = "Runs redis-cli on the store, and starts the store for that time if it is not running. All arguments "
		 "after cli are passed to redis-cli: gilscope store cli --raw ZREVRANGE gil:menu 0 -1",
	.stop_at_first = true,
	.max_args = -1,
	.run = run_cli,
};

/* ---- serve ---- */

/* For readers, who need not log in. */
static void print_address(const struct redis_url *store)
{
	struct redis_url url = *store;
	char text[512];

	url.user[0] = '\0';
	puts(redis_url__whole(&url, text, sizeof(text)));
}

static int run_serve(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct store_paths paths;
	struct reason why = {0};
	struct store *store = NULL;
	sigset_t ends;
	int sig, err;

	/* Before the server is started, which must not see them: it is stopped in good order. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	err = store__paths(&paths, &why);
	err = err ? err : store__open(&paths, &store, &why);
	if (err)
		return options__fail(verb, EXIT_FAILED, &why);
	/* Its hand has the locks and the server: nothing is left to be done that takes a right. */
	if (caps__give_up())
		log_warn("store serve: rights that it does not need can't be given up");
	print_address(store__address(store));
	fflush(stdout);
	log_info("the store runs on %s, at most %llu MiB; Ctrl-C ends", paths.socket, store__cap(store) >> 20);
	sigwait(&ends, &sig);
	store__close(store);
	return EXIT_OK;
}

static const struct verb verb_serve = {
	.name = "store serve",
	.args = "",
	.about = "Keeps the store running until Ctrl-C, so that Grafana can read it between two runs of attach. Prints its URL.",
	.run = run_serve,
};

/* ---- clear ---- */

/* 1 yes, 0 no. */
static int confirmed(const char *data_dir)
{
	char answer[16] = "";

	fprintf(stderr, "Delete everything that gilscope stored in %s? [y/N] ", data_dir);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int run_clear(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct store_paths paths;
	struct reason why = {0};
	int err = store__paths(&paths, &why);

	if (err)
		return options__fail(verb, EXIT_FAILED, &why);
	if (!o->yes && !isatty(STDIN_FILENO)) {
		reason__set(&why, -EINVAL, "this deletes the history, and nobody is here to be asked: add --yes");
		return options__fail(verb, EXIT_USAGE, &why);
	}
	if (!o->yes && !confirmed(paths.data_dir)) {
		log_info("nothing was deleted");
		return EXIT_FAILED;
	}
	if (store__clear(&paths, &why))
		return options__fail(verb, EXIT_FAILED, &why);
	log_info("%s is empty now", paths.data_dir);
	return EXIT_OK;
}

static const struct verb verb_clear = {
	.name = "store clear",
	.args = "",
	.about = "Deletes everything in the store, after asking for confirmation (not with --yes).",
	.options = {OPTION_YES},
	.run = run_clear,
};

/* ---- the verb ---- */

static const struct verb *const actions[] = {&verb_path, &verb_cli, &verb_serve, &verb_clear};

#define ACTIONS_N (sizeof(actions) / sizeof(actions[0]))

static const char *action_name(const struct verb *action)
{
	return strchr(action->name, ' ') + 1;
}

static int no_such_action(const struct verb *verb, const char *word)
{
	const char *names[ACTIONS_N], *near;
	struct reason why;

	for (size_t i = 0; i < ACTIONS_N; i++)
		names[i] = action_name(actions[i]);
	near = suggest__word(word, names, ACTIONS_N);
	reason__set(&why, -EINVAL, "'%s' is none of path, cli, serve and clear%s%s%s", word, near ? ": did you mean " : "",
		    near ? near : "", near ? "?" : "");
	return options__fail(verb, EXIT_USAGE, &why);
}

static int run_action(const struct verb *action, struct options *o, int argc, char **argv)
{
	struct reason why = {0};
	int first = argc;

	if (action == &verb_cli) /* redis-cli reads its own options */
		return action->run(action, o, argc - 1, argv + 1);
	if (options__parse(action, argc, argv, o, &first, &why))
		return options__fail(action, EXIT_USAGE, &why);
	if (o->help) {
		options__help(action, stdout);
		return EXIT_OK;
	}
	return action->run(action, o, argc - first, argv + first);
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	for (size_t i = 0; i < ACTIONS_N; i++)
		if (strcmp(argv[0], action_name(actions[i])) == 0)
			return run_action(actions[i], o, argc, argv);
	return no_such_action(verb, argv[0]);
}

const struct verb verb_store = {
	.name = "store",
	.args = "path | cli [ARG...] | serve | clear",
	.summary = "the embedded Redis: its socket, redis-cli on it, serve, clear",
	.about = "Without --redis, gilscope keeps its history in a Redis server of its own. It starts this server on a unix "
		 "socket when it is needed and stops it when nobody uses it.\n\n"
		 "path: prints the path of the socket (--json: everything).\n"
		 "cli ARG...: runs redis-cli on it.\n"
		 "serve: keeps it running until Ctrl-C, for Grafana.\n"
		 "clear: deletes everything in it, after asking for confirmation (not with --yes).",
	.options = {OPTION_JSON, OPTION_YES},
	.stop_at_first = true,
	.min_args = 1,
	.max_args = -1,
	.missing = "what about it? (gilscope store path, cli, serve or clear)",
	.run = run,
};
