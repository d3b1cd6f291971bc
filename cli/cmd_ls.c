/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope ls: the Python processes of this machine, and those that Redis knows. Works without privileges as far as /proc
 * lets it; processes that share an interpreter's file share its analysis.
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../collector/log.h"
#include "../collector/query.h"
#include "../collector/target.h"
#include "caps.h"
#include "cmds.h"
#include "history.h"
#include "inspect.h"
#include "out.h"

#define CACHE_SIZE 16

enum { PID, VERSION, THREADS, USER, GIL, LABEL, CONTAINER, PROBE, METHOD, CAN, EXE, INSIDE, CGROUP };

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

/* What is true of a file is true of every process that runs it. */
struct cached {
	uint64_t dev, ino;
	char python[24], how[400], method[32];
	bool can;
};

struct listing {
	struct out *table;
	struct cached cache[CACHE_SIZE];
	size_t cached_n;
};

/* ---- processes here ---- */

static size_t count_threads(pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	return stat(path, &st) == 0 && st.st_nlink > 2 ? st.st_nlink - 2 : 0;
}

static void put_user(struct out *table, pid_t pid)
{
	char path[64], number[32];
	struct passwd *pw;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (stat(path, &st))
		return;
	pw = getpwuid(st.st_uid);
	snprintf(number, sizeof(number), "%u", (unsigned int)st.st_uid);
	out__text(table, USER, pw ? pw->pw_name : number);
}

/* How it would be probed, or why not. */
static void judge(const struct inspection *in, struct cached *ret)
{
	if (in->reached > INSPECT_PYTHON)
		snprintf(ret->python, sizeof(ret->python), "%s", in->python.text);
	ret->can = in->reached > INSPECT_OFFSETS;
	if (in->reached <= INSPECT_OFFSETS)
		snprintf(ret->how, sizeof(ret->how), "no: %.380s", in->why.text);
	else
		snprintf(ret->how, sizeof(ret->how), "%s", in->plan->light ? "full, light" : "full only");
	if (ret->can)
		snprintf(ret->method, sizeof(ret->method), "%s", in->plan->method);
}

static const struct cached *find_cached(const struct listing *l, const struct target *t)
{
	for (size_t i = 0; i < l->cached_n; i++)
		if (l->cache[i].dev == t->image.dev && l->cache[i].ino == t->image.ino)
			return &l->cache[i];
	return NULL;
}

/* The GIL's kind is the process's, not the file's: it needs a look at live values. */
static void put_judgement(struct listing *l, const struct target *t)
{
	const struct cached *old = find_cached(l, t);
	struct cached verdict = old ? *old : (struct cached){.dev = t->image.dev, .ino = t->image.ino};
	struct inspection in;
	bool gil_is_off;

	inspect__begin(&in, t, !old);
	if (!old) {
		judge(&in, &verdict);
		if (l->cached_n < CACHE_SIZE)
			l->cache[l->cached_n++] = verdict;
	}
	gil_is_off = in.reached == INSPECT_DONE && !in.gil_enabled;
	if (in.reached == INSPECT_GILS && in.err == -EAGAIN)
		out__text(l->table, GIL, "not started");
	else if (*inspect__gil_kind(&in))
		out__text(l->table, GIL, inspect__gil_kind(&in));
	inspect__end(&in);
	if (verdict.python[0])
		out__text(l->table, VERSION, verdict.python);
	out__text(l->table, PROBE, gil_is_off ? "nothing to measure: its GIL is off" : verdict.how);
	if (verdict.can)
		out__text(l->table, METHOD, verdict.method);
	out__num(l->table, CAN, verdict.can);
}

/* What its engine calls it, else what can be seen of it. */
static void put_container(struct out *table, const struct target *t)
{
	if (t->container[0])
		out__text(table, CONTAINER, t->container);
	else if (target__is_contained(t))
		out__text(table, CONTAINER, t->pid_inside ? "(own PIDs)" : "(own root)");
	if (t->pid_inside)
		out__num(table, INSIDE, t->pid_inside);
	if (t->cgroup[0])
		out__text(table, CGROUP, t->cgroup);
}

static int visit(void *arg, pid_t pid, const struct target *t, const char *why_not)
{
	struct listing *l = arg;
	char text[512];

	out__row(l->table);
	out__num(l->table, PID, pid);
	if (count_threads(pid))
		out__num(l->table, THREADS, (double)count_threads(pid));
	put_user(l->table, pid);
	if (t) {
		out__text(l->table, LABEL, t->label);
		out__text(l->table, EXE, t->exe);
		put_container(l->table, t);
		put_judgement(l, t);
	} else {
		if (target__thread_comm(pid, pid, text, 64) == 0)
			out__text(l->table, LABEL, text);
		snprintf(text, sizeof(text), "no: %s", why_not ? why_not : "?");
		out__text(l->table, PROBE, text);
		out__num(l->table, CAN, 0);
	}
	return out__error(l->table);
}

static struct out *list_here(struct reason *why)
{
	struct listing l = {.table = out__new(here, COUNT_OF(here))};
	int err = l.table ? target__each(visit, &l, why) : -ENOMEM;

	if (!err)
		return l.table;
	if (!why->text[0])
		reason__set(why, err, "can't list the processes: %s", strerror(-err));
	out__free(l.table);
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
	.summary = "list Python processes: version, threads, can they be watched and how",
	.about = "Lists the CPython processes on this machine, whether gilscope can put its probes into them and how (or why "
		 "not), and the processes that Redis has a history of. Programs with a Python inside (uwsgi, Apache) count; GIL "
		 "is \"not started\" where they have not begun it. CONTAINER is what a container's control group is called, or "
		 "that the process has PIDs or a root of its own. Without root it shows what /proc lets everybody see. "
		 "-v and --json show everything in full.",
	.options = {OPTION_REDIS, OPTION_PASSWORD_FILE, OPTION_PREFIX, OPTION_JSON},
	.run = run,
};
