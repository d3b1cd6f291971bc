/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope ls: the Python processes of this machine (local.h), and those that Redis knows. Works without privileges as far
 * as /proc lets it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/process/caps.h"
#include "collector/redis/query.h"
#include "cmds.h"
#include "history.h"
#include "local.h"
#include "out.h"

enum { PID, VERSION, THREADS, USER, GIL, LABEL, CONTAINER, PROBE, METHOD, CAN, EXE, INSIDE, CGROUP, RUNTIME };

static const struct out_column here[] = {
	[PID] = {"pid", "PID", OUT_ID, 0},
	[VERSION] = {"python", "PYTHON", OUT_TEXT, 0},
	[THREADS] = {"threads", "THREADS", OUT_COUNT, 0},
	[USER] = {"user", "USER", OUT_TEXT, OUT_FLEX},
	[GIL] = {"gil", "GIL", OUT_TEXT, OUT_FLEX},
	[LABEL] = {"label", "PROGRAM", OUT_TEXT, OUT_FLEX},
	[CONTAINER] = {"container", "CONTAINER", OUT_TEXT, OUT_FLEX | OUT_SPARE},
	[PROBE] = {"probe", "PROBES", OUT_TEXT, OUT_FLEX},
	[METHOD] = {"method", "", OUT_TEXT, OUT_DETAIL},
	[CAN] = {"can_probe", "", OUT_BOOL, OUT_DETAIL},
	[EXE] = {"exe", "", OUT_TEXT, OUT_DETAIL},
	[INSIDE] = {"pid_inside", "", OUT_ID, OUT_DETAIL},
	[CGROUP] = {"cgroup", "", OUT_TEXT, OUT_DETAIL},
	[RUNTIME] = {"runtime", "RUNTIME", OUT_TEXT, OUT_FLEX | OUT_SPARE | OUT_DROP},
};

enum { ID, KNOWN_LABEL, KNOWN_PYTHON, MODE, SEEN, LAST_MS, LIVE };

static const struct out_column known[] = {
	[ID] = {"id", "ID", OUT_TEXT, OUT_FLEX},
	[KNOWN_LABEL] = {"label", "PROGRAM", OUT_TEXT, OUT_FLEX},
	[KNOWN_PYTHON] = {"python", "PYTHON", OUT_TEXT, 0},
	[MODE] = {"mode", "MODE", OUT_TEXT, 0},
	[SEEN] = {"seen_ms_ago", "LAST SEEN", OUT_AGO, 0},
	[LAST_MS] = {"last_ms", "", OUT_COUNT, OUT_DETAIL},
	[LIVE] = {"live", "", OUT_BOOL, OUT_DETAIL},
};

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* ---- processes here ---- */

/* What is not known is left out. */
static void put(struct out *table, size_t column, const char *text)
{
	if (text)
		out__text(table, column, text);
}

static int add_here(void *arg, const struct local_proc *p)
{
	struct out *table = arg;

	out__row(table);
	out__num(table, PID, p->pid);
	if (p->threads)
		out__num(table, THREADS, (double)p->threads);
	put(table, USER, p->user);
	put(table, LABEL, p->label);
	put(table, EXE, p->exe);
	put(table, CONTAINER, p->container);
	if (p->inside)
		out__num(table, INSIDE, p->inside);
	put(table, CGROUP, p->cgroup);
	put(table, RUNTIME, p->runtime);
	put(table, VERSION, p->python);
	put(table, GIL, p->gil);
	put(table, PROBE, p->probe);
	put(table, METHOD, p->method);
	out__num(table, CAN, p->can);
	return out__error(table);
}

static struct out *list_here(struct reason *why)
{
	struct out *table = out__new(here, COUNT_OF(here));
	struct local *local = local__new();
	int err = table && local ? local__each(local, add_here, table, why) : -ENOMEM;

	local__free(local);
	if (!err)
		return table;
	if (!why->text[0])
		reason__set(why, err, "can't list the processes: %s", strerror(-err));
	out__free(table);
	return NULL;
}

/* ---- processes that Redis knows ---- */

static void add_known(struct out *table, const struct query_proc *proc, int64_t now_ms)
{
	out__row(table);
	out__text(table, ID, proc->id);
	out__text(table, KNOWN_LABEL, proc->label);
	out__text(table, KNOWN_PYTHON, proc->python);
	out__text(table, MODE, proc->mode);
	out__num(table, SEEN, proc->live ? 0 : (double)(now_ms - proc->last_ms));
	out__num(table, LAST_MS, (double)proc->last_ms);
	out__num(table, LIVE, proc->live);
}

static int fill_known(const struct options *o, const struct history *h, struct out *table, struct reason *why)
{
	struct query_proc *procs = NULL;
	struct query *q = NULL;
	int64_t now_ms = 0;
	size_t n = 0;
	int err = query__open(&h->url, o->prefix, &q, why);

	err = err ? err : query__now(q, &now_ms, why);
	err = err ? err : query__procs(q, &procs, &n, why);
	for (size_t i = 0; !err && i < n; i++)
		add_known(table, &procs[i], now_ms);
	free(procs);
	query__close(q);
	return err;
}

/* No store is no news; a server that was named and does not answer is. */
static struct out *list_known(const struct options *o)
{
	struct out *table = out__new(known, COUNT_OF(known));
	struct history h;
	struct reason why = {0};
	int err = history__open_reader(o, &h, &why);

	if (!err && table) {
		err = fill_known(o, &h, table, &why);
		history__close(&h);
	}
	if (err && o->redis)
		log_warn("ls: %s", why.text);
	else if (err)
		log_verbose("ls: no history: %s", why.text);
	return table;
}

/* ---- both ---- */

static void print(const struct out *processes, const struct out *history)
{
	size_t width, lines;

	out__terminal(STDOUT_FILENO, &width, &lines);
	if (log__level() >= LOG_VERBOSE)
		width = 0;
	if (out__rows(processes))
		out__table(processes, stdout, width);
	else
		puts("No Python process runs here (or none that you may see).");
	if (history && out__rows(history)) {
		puts("\nKnown to Redis:");
		out__table(history, stdout, width);
	}
	if (out__rows(processes) && !caps__can_attach(caps__effective()))
		log_info("attaching needs root or CAP_BPF and CAP_PERFMON: sudo gilscope attach PID");
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct reason why = {0};
	struct out *processes = list_here(&why), *history;
	int status = EXIT_OK;

	if (!processes)
		return options__fail(verb, EXIT_FAILED, &why);
	history = list_known(o);
	if (o->format == FORMAT_JSON)
		out__dump(json_pack("{s:o, s:o}", "processes", out__json(processes), "known",
				    history ? out__json(history) : json_array()), stdout, true);
	else
		print(processes, history);
	out__free(processes);
	out__free(history);
	return status;
}

const struct verb verb_ls = {
	.name = "ls",
	.args = "",
	.summary = "list Python processes: version, threads, whether they can be probed",
	.about = "Lists the CPython processes on this machine, whether and how gilscope can probe them (or why not), and "
		 "the processes whose history is in Redis. Programs that embed Python (uwsgi, Apache) are included; GIL "
		 "is \"not started\" if they have not initialised it yet. CONTAINER is the name of the container's "
		 "control group, or says that the process has PIDs or a root directory of its own. Without root, ls shows "
		 "only what /proc shows to everybody. -v and --json show everything in full.",
	.options = {OPTION_REDIS, OPTION_PASSWORD_FILE, OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX, OPTION_JSON},
	.reads_processes = true,
	.run = run,
};
