/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope run: start a command and observe it from its first take of the GIL. Its standard output stays its own: what was
 * measured goes to standard error or to --output.
 */
#include <errno.h>
#include <sys/wait.h>

#include "collector/process/caps.h"
#include "collector/target/spawn.h"
#include "cmds.h"
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
	int status = 0, err = caps__check(&why);

	/* While everything is as the caller has it: so it is for the program. */
	err = err ? err : spawn__prepare(argv, o->user, &spawn, &why);
	err = err ? err : watch__open(o, spawn, &w, &why);
	if (err) {
		spawn__free(spawn);
		return options__fail(verb, EXIT_RUN_FAILED, &why);
	}
	err = collector__spawn(watch__opts(w), spawn, watch__events(w), &status, &why);
	watch__close(w);
	spawn__free(spawn);
	return err ? options__fail(verb, own_failure(err), &why) : passed_on(status);
}

const struct verb verb_run = {
	.name = "run",
	.args = "-- COMMAND [ARG...]",
	.summary = "start a Python program and watch it from its first moment",
	.about = "Starts COMMAND and observes it from its first take of the GIL to its end. Its input and output stay its "
		 "own: the summary goes to standard error, or with --output to a file. Passes on the command's exit status "
		 "(128 + number if a signal killed it); 125 is a failure of gilscope's own, 126 a command that cannot be "
		 "executed, 127 one that was not found.",
	.options = {OPTION_INTERVAL, OPTION_DURATION, OPTION_MODE, OPTION_MAX_OVERHEAD, OPTION_NO_OFF_CPU, OPTION_STACKS,
		    OPTION_ALERT_HOLD, OPTION_ALERT_WAIT, OPTION_CHILDREN, OPTION_USER,
		    OPTION_REDIS, OPTION_PASSWORD_FILE, OPTION_PREFIX, OPTION_RETENTION, OPTION_THREAD_RETENTION,
		    OPTION_HISTORY_MB, OPTION_NO_STORE, OPTION_LABEL, OPTION_HOST,
		    OPTION_JSON, OPTION_OUTPUT},
	.stop_at_first = true,
	.min_args = 1,
	.max_args = -1,
	.missing = "which command? (gilscope run -- python3 app.py)",
	.usage_status = EXIT_RUN_FAILED,
	.reads_processes = true,
	.run = run,
};
