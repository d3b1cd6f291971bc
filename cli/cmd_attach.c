/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope attach: observe processes that run already. */
#include <errno.h>
#include <stdlib.h>

#include "collector/target/target.h"
#include "args.h"
#include "budgets.h"
#include "cmds.h"
#include "kin.h"
#include "observing.h"
#include "watch.h"

static int read_pids(char **argv, int argc, pid_t *pids, struct reason *why)
{
	for (int i = 0; i < argc; i++) {
		int err = args__pid(argv[i], &pids[i], why);

		if (err)
			return err;
		for (int j = 0; j < i; j++)
			if (pids[j] == pids[i])
				return reason__set(why, -EINVAL, "process %d is given twice", (int)pids[i]);
	}
	return 0;
}

/* A mistyped PID is told at once, before a store is started for it; so are missing rights. */
static int look_at(const pid_t *pids, int n, struct reason *why)
{
	for (int i = 0; i < n; i++) {
		struct target *t;
		int err = kin__explain(pids[i], target__open(pids[i], &t, why), why);

		if (err)
			return err;
		target__close(t);
	}
	return 0;
}

/* Who asked for budgets is told of each that it cannot be told, in the files, too. */
static int cannot_observe(const struct verb *verb, const struct options *o, int err, const struct reason *why)
{
	struct budgets *budgets = NULL;
	struct reason unusable;
	int status;

	options__fail(verb, EXIT_FAILED, why);
	if (err == -EINVAL)
		return EXIT_USAGE;
	err = budgets__open(o, &budgets, &unusable);
	if (err)
		return options__fail(verb, err == -EINVAL ? EXIT_USAGE : EXIT_BUDGET_UNTOLD, &unusable);
	budgets__fail(budgets, why);
	status = budgets__finish(budgets);
	budgets__free(budgets);
	return status == EXIT_OK ? EXIT_FAILED : status;
}

static int attach(const struct verb *verb, const struct options *o, const pid_t *pids, int n)
{
	struct reason why = {0};
	struct watch *w = NULL;
	int failed = o->budgets_n || o->budget_file ? EXIT_BUDGET_UNTOLD : EXIT_FAILED;
	int status, err = look_at(pids, n, &why);

	err = err ? err : observing__check(o, &why);
	if (err)
		return cannot_observe(verb, o, err, &why);
	err = watch__open(o, NULL, &w, &why);
	if (err)
		return options__fail(verb, err == -EINVAL ? EXIT_USAGE : failed, &why);
	if (!o->children)
		kin__mention(pids, (size_t)n, "--children observes them, too");
	err = collector__run(watch__opts(w), pids, (size_t)n, watch__events(w), &why);
	status = watch__close(w, err ? &why : NULL);
	if (err)
		options__fail(verb, EXIT_FAILED, &why);
	return err && status == EXIT_OK ? EXIT_FAILED : status;
}

/* Who is meant: those named, or all; the filters are for all. */
static int check_who(const struct options *o, int args, struct reason *why)
{
	if (o->all && args)
		return reason__set(why, -EINVAL, "--all and PIDs exclude each other");
	if (!o->all && !args)
		return reason__set(why, -EINVAL, "which process? (gilscope attach PID, or --all; gilscope ls shows the Python "
				   "processes here)");
	if (o->no_stacks && (o->alert_hold_ns || o->alert_wait_ns))
		return reason__set(why, -EINVAL, "--alert-hold and --alert-wait need stacks: not with --stacks off");
	if (!o->all && (o->user || o->cgroup || o->match))
		return reason__set(why, -EINVAL, "--user, --cgroup and --match choose among all: they need --all");
	return 0;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	pid_t *pids = calloc((size_t)argc + 1, sizeof(*pids));
	struct reason why = {0};
	int status;

	if (!pids)
		return EXIT_FAILED;
	if (read_pids(argv, argc, pids, &why))
		status = options__fail(verb, EXIT_USAGE, &why);
	else
		status = attach(verb, o, pids, argc);
	free(pids);
	return status;
}

const struct verb verb_attach = {
	.name = "attach",
	.args = "PID... | --all",
	.summary = "observe running processes: who holds the GIL, who waits for it",
	.about = "Observes running CPython processes (3.8 or later) without modifying them, until they exit, the duration "
		 "ends or Ctrl-C is pressed. On a terminal it repaints a table at each interval; elsewhere it writes one "
		 "line per interval. At the end it prints a summary. The numbers also go to Redis, for gilscope query, "
		 "redis-cli and Grafana. Needs root or some capabilities (see gilscope doctor).",
	.options = {OPTION_INTERVAL, OPTION_DURATION, OPTION_MODE, OPTION_LOOK_RATE, OPTION_APP, OPTION_MAX_OVERHEAD,
		    OPTION_NO_OFF_CPU, OPTION_STACKS, OPTION_ALERT_HOLD, OPTION_ALERT_WAIT, OPTION_BUDGET, OPTION_BUDGET_FILE,
		    OPTION_BUDGET_JUNIT, OPTION_BUDGET_MARKDOWN, OPTION_CHILDREN,
		    OPTION_ALL, OPTION_USER, OPTION_CGROUP, OPTION_MATCH, OPTION_REDIS, OPTION_PASSWORD_FILE,
		    OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX, OPTION_RETENTION, OPTION_THREAD_RETENTION,
		    OPTION_HISTORY_MB, OPTION_NO_STORE, OPTION_METRICS, OPTION_METRICS_SERIES,
		    OPTION_LABEL, OPTION_HOST, OPTION_JSON, OPTION_OUTPUT},
	.own_help = {{OPTION_DURATION, "stop after this long (default: at Ctrl-C, or when the process ends)"}},
	.max_args = -1,
	.check = check_who,
	.reads_processes = true,
	.run = run,
};
