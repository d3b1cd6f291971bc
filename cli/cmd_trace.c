/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope trace: a timeline of one process as Chrome trace JSON. It observes as attach does, without a history; the collector
 * hands over single events, trace.h makes slices of them, trace_json.h writes them.
 */
#include <errno.h>
#include <signal.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "collector/analysis/trace.h"
#include "collector/analysis/trace_json.h"
#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/base/text.h"
#include "collector/probes/probes.h"
#include "collector/process/caps.h"
#include "args.h"
#include "cmds.h"
#include "human.h"
#include "kin.h"
#include "live.h"
#include "out.h"
#include "outfile.h"
#include "rows.h"
#include "screen.h"

#define DEFAULT_NS (10ull * 1000000000)
#define RING_BYTES (4u << 20) /* 131,072 events: 20 ms of 6 million a second */

struct recording {
	const struct options *o;
	struct outfile file;
	FILE *to;
	struct collector *collector; /* while it runs */
	struct trace *trace;
	struct trace_json *json;
	uint64_t begin_ns, end_ns, newest;
	const char *ended;
	int err;
	bool is_over;
};

/* ---- events ---- */

static bool find_name(void *arg, uint32_t tid, char name[THREAD_NAME_SIZE])
{
	const struct recording *r = arg;

	name[0] = '\0';
	return r->collector && collector__thread_name(r->collector, (pid_t)tid, name);
}

static void on_begin(void *arg, struct collector *c, const struct collector_proc *proc, uint64_t armed_at)
{
	struct recording *r = arg;
	char label[256];
	struct trace_json_head head = {
		.pid = proc->target->pid, .id = proc->id, .label = label, .python = proc->python->text,
		.version = GILSCOPE_VERSION, .begin_ns = armed_at, .name = find_name, .arg = r,
	};
	struct timespec wall;
	struct trace_out out;

	clock_gettime(CLOCK_REALTIME, &wall);
	head.wall_ns = (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec - (int64_t)(clock__mono_ns() - armed_at);
	text__clean(label, sizeof(label), proc->target->label, strlen(proc->target->label));
	r->collector = c;
	r->begin_ns = r->newest = armed_at;
	r->json = trace_json__new(r->to, &head);
	if (r->json) {
		out = trace_json__out(r->json);
		r->trace = trace__new(&out);
	}
	r->err = r->trace ? 0 : -ENOMEM;
}

static void end_at(struct recording *r, uint64_t end_ns, const char *how)
{
	if (r->is_over)
		return;
	r->is_over = true;
	r->ended = how;
	r->end_ns = end_ns;
	trace__end_at(r->trace, end_ns);
}

static bool on_event(void *arg, const struct gil_trace_event *e)
{
	struct recording *r = arg;

	if (!r->trace)
		return false;
	r->err = r->err ? r->err : trace__event(r->trace, e);
	if (e->at > r->newest)
		r->newest = e->at;
	if (trace__events(r->trace) >= r->o->max_events)
		end_at(r, r->newest, "max-events");
	return !r->err && !r->is_over && !ferror(r->to);
}

static void on_end(void *arg, uint64_t end_ns)
{
	struct recording *r = arg;

	r->collector = NULL;
	if (r->trace)
		end_at(r, end_ns, "");
}

/* ---- talk ---- */

static void on_armed(void *arg, const struct collector_proc *proc, double plan_ms)
{
	const struct recording *r = arg;

	/* It exec'd, and is another program now. */
	if (r->json) {
		kill(getpid(), SIGTERM);
		return;
	}
	log_info("tracing %s (pid %d), CPython %s: armed in %.0f ms", proc->target->label, (int)proc->target->pid,
		 proc->python->text, plan_ms);
	if (screen__possible(STDERR_FILENO))
		screen__begin(STDERR_FILENO);
}

static const char *say_size(char *buf, size_t size, const struct recording *r)
{
	char events[HUMAN_SIZE], kib[HUMAN_SIZE], lost[HUMAN_SIZE];

	snprintf(buf, size, "%s events, %s, lost %s", human__grouped(events, trace__events(r->trace)),
		 human__kib(kib, (double)trace_json__size(r->json) / 1024), human__grouped(lost, trace__lost(r->trace)));
	return buf;
}

static void on_tick(void *arg, uint64_t elapsed_ns, uint64_t remaining_ns)
{
	const struct recording *r = arg;
	char text[256], progress[128], size[128];

	if (!screen__is_on() || !r->trace)
		return;
	snprintf(text, sizeof(text), "%s: %s", live__progress(progress, sizeof(progress), elapsed_ns, remaining_ns),
		 say_size(size, sizeof(size), r));
	screen__status(text);
}

static void on_notice(void *arg, const struct collector_proc *proc, const char *sentence)
{
	screen__erase();
	log_info("%s", sentence);
}

/* The names of threads that came and went between two looks. */
static void on_ended(void *arg, const struct collector_proc *proc, const struct proc_sample *totals, enum collector_end how)
{
	struct recording *r = arg;

	for (size_t i = 0; r->json && i < totals->threads_n; i++)
		if (totals->threads[i].key.tid)
			trace_json__name(r->json, totals->threads[i].key.tid, totals->threads[i].name);
	if (!r->ended || !r->ended[0])
		r->ended = collector_end__name(how);
}

static void say_result(const struct recording *r)
{
	char span[HUMAN_SIZE], size[128];

	log_info("%s recorded: %s%s%s", human__us(span, (double)(r->end_ns - r->begin_ns) / 1e3), say_size(size, sizeof(size), r),
		 r->o->output ? ", in " : "", r->o->output ? r->o->output : "");
	if (r->ended && strcmp(r->ended, "max-events") == 0)
		log_info("it ended early, at --max-events %llu", (unsigned long long)r->o->max_events);
	if (trace__lost(r->trace))
		log_warn("events were lost; the trace shows where (\"events lost\"), and draws nothing across");
	if (trace__unobserved_ns(r->trace))
		log_warn("for %s nothing was observed, since gilscope stood still; the trace shows when (\"not observed\"), and "
			 "draws nothing across", human__us(span, (double)trace__unobserved_ns(r->trace) / 1e3));
	if (r->o->output)
		log_info("open it in ui.perfetto.dev, speedscope or chrome://tracing");
}

/* ---- the command ---- */

static int record(struct recording *r, pid_t pid, struct reason *why)
{
	struct collector_trace trace = {
		.arg = r, .ring_bytes = RING_BYTES, .begin = on_begin, .event = on_event, .end = on_end,
	};
	struct collector_opts opts = {
		.interval_ns = r->o->interval_ns,
		.duration_ns = r->o->duration_ns ? r->o->duration_ns : DEFAULT_NS,
		.mode = MODE_FULL,
		.max_overhead = 1,
		.trace = &trace,
	};
	struct collector_events events = {
		.arg = r, .armed = on_armed, .notice = on_notice, .ended = on_ended, .tick = on_tick,
	};
	int err;

	schema_opts__default(&opts.schema);
	kin__mention(&pid, 1, "trace takes one PID");
	err = kin__explain(pid, collector__run(&opts, &pid, 1, &events, why), why);
	screen__end();
	if (!err && !r->trace)
		return reason__set(why, -ENODATA, "process %d could not be traced", (int)pid);
	return err;
}

/* Completes the file, after a failure too: what was recorded until then can be looked at. */
static int finish(struct recording *r, int err, struct reason *why)
{
	struct trace_json_tail tail = {.end_ns = r->end_ns, .ended = r->ended ? r->ended : "error"};
	int written;

	if (r->trace) {
		trace__close(r->trace);
		tail.events = trace__events(r->trace);
		tail.lost = trace__lost(r->trace);
		tail.unobserved_ns = trace__unobserved_ns(r->trace);
	}
	written = trace_json__close(r->json, &tail);
	written = r->err ? r->err : written;
	if (written && out__reader_left(r->to)) { /* | head: it has what it wanted */
		__fpurge(r->to);
		return err;
	}
	if (written)
		return err ? err : reason__set(why, written, "%s could not be written to its end: %s",
					       r->o->output ? r->o->output : "standard output", strerror(-written));
	written = r->file.to ? outfile__keep(&r->file, err ? NULL : why) : 0;
	if (r->trace && !written)
		say_result(r);
	return err ? err : written;
}

static int open_output(struct recording *r, struct reason *why)
{
	int err;

	r->to = stdout;
	if (!r->o->output && isatty(STDOUT_FILENO))
		return reason__set(why, -EINVAL, "a trace is nothing to read on a terminal: give it a file (-o trace.json)");
	if (!r->o->output)
		return 0;
	/* It has its name while the rights last: those that are kept do not write into another user's directory. */
	err = outfile__open_stream(&r->file, "--output", r->o->output, why);
	r->to = r->file.to;
	return err;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct recording r = {.o = o};
	struct reason why = {0};
	pid_t pid;
	int err = args__pid(argv[0], &pid, &why);

	err = err ? err : open_output(&r, &why);
	if (err)
		return options__fail(verb, err == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &why);
	err = caps__check(&why);
	err = err ? err : probes__give_up_rights(false, &why);
	err = err ? err : record(&r, pid, &why);
	if (r.json)
		err = finish(&r, err, &why);
	trace__free(r.trace);
	outfile__drop(&r.file);
	return err ? options__fail(verb, EXIT_FAILED, &why) : EXIT_OK;
}

const struct verb verb_trace = {
	.name = "trace",
	.args = "PID",
	.summary = "a timeline of every acquire and release, for ui.perfetto.dev",
	.about = "Records each acquire, release, wait and hand-off of a running process for 10 s (or --duration) and "
		 "writes them as a timeline in Chrome's trace format, which ui.perfetto.dev, speedscope and "
		 "chrome://tracing load: a track for each thread (held, waiting, hand-off), a track for who holds the "
		 "GIL, arrows from the thread that released it to the waiter that took over, and the number of waiting "
		 "threads. Lost events are counted and marked, and nothing is drawn across them. Needs the rights of "
		 "attach.",
	.options = {OPTION_DURATION, OPTION_OUTPUT, OPTION_MAX_EVENTS},
	.own_help = {{OPTION_DURATION, "record for this long (default 10s)"}},
	.min_args = 1,
	.max_args = 1,
	.missing = "which process? (gilscope trace PID; gilscope ls shows the Python processes here)",
	.reads_processes = true,
	.run = run,
};
