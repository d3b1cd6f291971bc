/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope run: start a command and observe it from its first take of the GIL. Its standard output stays its own: what was
 * measured goes to standard error or to --output.
 */
#include <errno.h>
#include <sys/wait.h>

#include "collector/target/spawn.h"
#include "cmds.h"
#include "observing.h"
#include "watch.h"

/* Our own failures in env's and nohup's words. */
static int own_failure(int err)
{
	return err == -ENOENT ? EXIT_RUN_NOT_FOUND : err == -EACCES || err == -ENOEXEC ? EXIT_RUN_CANNOT_EXEC :
	       EXIT_RUN_FAILED;
}

static int passed_on(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct reason why = {0};
	struct watch *w = NULL;
	struct spawn *spawn = NULL;
	int status = 0, kept, err = observing__check(o, &why);

	/* While everything is as the caller has it: so it is for the program. */
	err = err ? err : spawn__prepare(argv, o->user, &spawn, &why);
	err = err ? err : watch__open(o, spawn, &w, &why);
	if (err) {
		spawn__free(spawn);
		return options__fail(verb, EXIT_RUN_FAILED, &why);
	}
	err = collector__spawn(watch__opts(w), spawn, watch__events(w), &status, &why);
	kept = watch__close(w, err ? &why : NULL);
	spawn__free(spawn);
	if (err)
		return options__fail(verb, own_failure(err), &why);
	/* A command that failed has told its caller already. */
	return passed_on(status) ?: kept == EXIT_FAILED ? 0 : kept;
}

const struct verb verb_run = {
	.name = "run",
	.args = "-- COMMAND [ARG...]",
	.summary = "start a Python program and observe it from the beginning",
	.about = "Starts COMMAND and observes it from its first acquire of the GIL until it ends. The command keeps its "
		 "own input and output: the summary goes to standard error, or with --output to a file. Passes on the "
		 "command's exit status (128 + number if a signal killed it). Exit status 125 is a failure of gilscope, "
		 "126 a command that cannot be executed, 127 a command that was not found. If the command's is 0, 3 says that "
		 "a budget is broken, 4 that it cannot be told.",
	.options = {OPTION_INTERVAL, OPTION_DURATION, OPTION_MODE, OPTION_LOOK_RATE, OPTION_APP, OPTION_MAX_OVERHEAD,
		    OPTION_NO_OFF_CPU, OPTION_STACKS, OPTION_ALERT_HOLD, OPTION_ALERT_WAIT, OPTION_BUDGET, OPTION_BUDGET_FILE,
		    OPTION_BUDGET_JUNIT, OPTION_BUDGET_MARKDOWN, OPTION_CHILDREN,
		    OPTION_USER, OPTION_REDIS, OPTION_PASSWORD_FILE, OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX,
		    OPTION_RETENTION, OPTION_THREAD_RETENTION, OPTION_HISTORY_MB, OPTION_NO_STORE, OPTION_LABEL,
		    OPTION_HOST, OPTION_JSON, OPTION_OUTPUT},
	.own_help = {{OPTION_DURATION, "stop observing after this long (default: when the command ends)"},
		     {OPTION_USER, "run the command as this user (default under sudo: the user who called sudo)"},
		     {OPTION_OUTPUT, "write the results to FILE instead of standard error (standard output is the command's)"}},
	.stop_at_first = true,
	.min_args = 1,
	.max_args = -1,
	.missing = "which command? (gilscope run -- python3 app.py)",
	.usage_status = EXIT_RUN_FAILED,
	.reads_processes = true,
	.run = run,
};
