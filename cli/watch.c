/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See watch.h. Data goes to one stream, talk to standard error. There are three ways of showing: VIEW_SCREEN repaints a
 * block per process in place, VIEW_LINES writes a line per interval, VIEW_JSON an object per interval; run shows nothing
 * until the summary unless it has a file for it.
 */
#include "watch.h"

#include <errno.h>
#include <signal.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "budgets.h"
#include "code.h"
#include "family.h"
#include "inspect.h"
#include "live.h"
#include "observing.h"
#include "out.h"
#include "outfile.h"
#include "screen.h"
#include "summary.h"

#define LEGEND_MIN_LINES 16 /* on a lower terminal the room is for threads */

static const char legend[] =
	"HOLD, WAIT: share of the time having the GIL, and queueing for it. Per second:\n"
	"ACQ takes of the GIL, CONT of them had to wait, FORCED taken from it for others.\n";

enum view {
	VIEW_QUIET,
	VIEW_SCREEN,
	VIEW_LINES,
	VIEW_JSON,
};

/* One process on the screen. */
struct panel {
	pid_t pid;
	char *text;
	int heading;
	bool ended;
};

struct watch {
	const struct options *options;
	struct observing observing;
	struct collector_events events;
	struct budgets *budgets;    /* NULL: none were asked for */
	enum view view;
	FILE *data;
	struct outfile file; /* of --output */
	bool several;
	pid_t first_pid;
	bool broken, failed;        /* nothing more can be written; and that is an error */
	struct panel *panels;
	size_t panels_n;
	/* Where a family is followed: */
	struct family_table *interval, *run; /* NULL: it is not */
	pid_t busiest;              /* in the last interval */
	char *table;                /* text of the table */
	char *first_summary;        /* of the first that ended: to be shown if it was the only one */
	char first_id[SCHEMA_ID_SIZE], root[SCHEMA_ID_SIZE];
	bool several_roots;
	bool no_holds;          /* some process was watched in light mode in the end, */
	bool no_waits;          /* or in look mode */
};

/* ---- the screen ---- */

static struct panel *panel_of(struct watch *w, pid_t pid)
{
	struct panel *panels;

	for (size_t i = 0; i < w->panels_n; i++)
		if (w->panels[i].pid == pid)
			return &w->panels[i];
	for (size_t i = 0; i < w->panels_n; i++)
		if (w->panels[i].ended) {
			free(w->panels[i].text);
			w->panels[i] = (struct panel){.pid = pid, .heading = -1};
			return &w->panels[i];
		}
	panels = reallocarray(w->panels, w->panels_n + 1, sizeof(*panels));
	if (!panels)
		return NULL;
	w->panels = panels;
	panels[w->panels_n] = (struct panel){.pid = pid, .heading = -1};
	return &panels[w->panels_n++];
}

static size_t panels_alive(const struct watch *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->panels_n; i++)
		n += !w->panels[i].ended;
	return n ? n : 1;
}

/* What each process gets of the terminal: the legend and the status line taken off. */
static struct live_size panel_size(const struct watch *w)
{
	struct live_size size;

	out__terminal(STDOUT_FILENO, &size.columns, &size.lines);
	size.lines -= size.lines >= LEGEND_MIN_LINES ? 4 : 1;
	if (w->interval && panels_alive(w) > 1) /* the busiest one's, below the table */
		size.lines /= 2;
	else
		size.lines = (size.lines - (panels_alive(w) - 1)) / panels_alive(w);
	return size;
}

/* Of a family the table, and the threads of the busiest process where the terminal has room. */
static void paint_family(struct watch *w)
{
	size_t columns, lines, table_lines;
	size_t len = 0;
	FILE *to;

	if (family_table__count(w->interval) < 2)
		return;
	out__terminal(STDOUT_FILENO, &columns, &lines);
	table_lines = lines / 2 > 6 ? lines / 2 : 6;
	free(w->table);
	w->table = NULL;
	to = open_memstream(&w->table, &len);
	if (!to)
		return;
	family_table__print(w->interval, to, columns, table_lines);
	fclose(to);
}

static bool has_panel(const struct watch *w, const struct panel *panel)
{
	return !panel->ended && panel->text && (!w->table || panel->pid == w->busiest);
}

static void paint(const struct watch *w)
{
	size_t len = 0, columns, lines;
	char *text = NULL;
	FILE *to = open_memstream(&text, &len);
	int heading = -1;
	bool first = true;

	if (!to)
		return;
	out__terminal(STDOUT_FILENO, &columns, &lines);
	if (w->table)
		fprintf(to, "%s\n", w->table);
	for (size_t i = 0; i < w->panels_n; i++) {
		if (!has_panel(w, &w->panels[i]))
			continue;
		heading = w->table ? 0 : first ? w->panels[i].heading : heading;
		fprintf(to, "%s%s", first ? "" : "\n", w->panels[i].text);
		first = false;
	}
	if (lines >= LEGEND_MIN_LINES && !first)
		fprintf(to, "\n%s", legend);
	if (fclose(to) == 0)
		screen__paint(text, heading);
	free(text);
}

static void show_panel(struct watch *w, const struct who *who, const struct proc_sample *s)
{
	struct panel *panel = panel_of(w, who->pid);
	char state[512];
	size_t len = 0;
	FILE *to;

	if (!panel)
		return;
	panel->ended = false; /* it may have exec'd and be observed anew */
	if (w->interval && panels_alive(w) > 1 && panel->pid != w->busiest)
		return;
	free(panel->text);
	panel->text = NULL;
	to = open_memstream(&panel->text, &len);
	if (!to)
		return;
	panel->heading = live__block(to, who, s, history__state(&w->observing.history, state, sizeof(state)), panel_size(w));
	fclose(to);
	if (!w->interval)
		paint(w);
}

/* ---- callbacks ---- */

static struct who who_of(const struct watch *w, const struct collector_proc *proc)
{
	struct who who = rows__who(proc);

	if (w->options->label)
		who.label = w->options->label;
	return who;
}

/* A reader that went away (| head) or a full disk: end the run in good order, by the way that Ctrl-C takes. */
static void check_data(struct watch *w)
{
	struct reason why;

	if (w->broken)
		return;
	w->failed = out__flush(w->data, w->file.to ? w->options->output : "standard output", &why) != 0;
	w->broken = w->failed || ferror(w->data);
	if (w->failed)
		log_error("%s", why.text);
	if (w->broken)
		kill(getpid(), SIGTERM);
}

/* What could not be written is known by now: nobody shall stumble over it again. */
static void forget_data(struct watch *w)
{
	__fpurge(w->data);
	clearerr(w->data);
}

static void put_json(struct watch *w, const struct who *who, const struct proc_sample *s, const char *how)
{
	out__dump(rows__json(who, s, how), w->data, false);
	check_data(w);
}

static void explain(const struct collector_proc *proc)
{
	static const char *const methods[] = {
		[PLANT_MULTI] = "one uprobe_multi link", [PLANT_PERF] = "a perf link each",
		[PLANT_FAMILY] = "probes that its children share",
	};

	if (!proc->features) {
		log_verbose("%s: no probe, its memory is looked at", proc->id);
		return;
	}
	log_verbose("%s: %zu sites by %s, planted by %s, %s mode, about %.2f us a hit", proc->id, proc->plan->sites_n,
		    proc->plan->method, methods[proc->method],
		    gil_mode__name(proc->mode, "no"), proc->features->price_ns / 1e3);
	if (proc->plan->notes[0])
		log_verbose("%s: %s", proc->id, proc->plan->notes);
}

static void on_armed(void *arg, const struct collector_proc *proc, double plan_ms)
{
	struct watch *w = arg;
	bool screen_is_stdout = w->view == VIEW_SCREEN;
	char inside[128];

	bool first = !w->first_pid;

	w->several = w->several || (!first && proc->target->pid != w->first_pid);
	if (first)
		w->first_pid = proc->target->pid;
	if (!w->root[0])
		snprintf(w->root, sizeof(w->root), "%s", proc->root);
	else if (strcmp(w->root, proc->root) != 0)
		w->several_roots = true;
	screen__erase();
	inspect__inside(proc->target, inside, sizeof(inside));
	/* Of a family only the first: the table has the others. */
	(w->run && !first ? log_verbose : log_info)("watching %s (pid %d)%s%s, CPython %s: armed in %.0f ms",
						    proc->target->label, (int)proc->target->pid, inside[0] ? ", " : "", inside,
						    proc->python->text, plan_ms);
	explain(proc);
	if (screen_is_stdout)
		screen__begin(STDOUT_FILENO);
	else if (w->view != VIEW_QUIET && w->options->duration_ns && screen__possible(STDERR_FILENO))
		screen__begin(STDERR_FILENO);
}

static void on_sample(void *arg, const struct collector_proc *proc, const struct proc_sample *s)
{
	struct watch *w = arg;
	struct who who = who_of(w, proc);

	if (w->interval)
		family_table__add(w->interval, &who, s, NULL);
	switch (w->view) {
	case VIEW_SCREEN:
		show_panel(w, &who, s);
		break;
	case VIEW_LINES:
		screen__erase();
		live__line(w->data, &who, s, w->several);
		check_data(w);
		break;
	case VIEW_JSON:
		screen__erase();
		put_json(w, &who, s, NULL);
		break;
	case VIEW_QUIET:
		break;
	}
}

/* All samples of an interval are in. */
static void on_interval(void *arg, int64_t end_ms)
{
	struct watch *w = arg;

	if (!w->interval)
		return;
	w->busiest = family_table__busiest(w->interval);
	if (w->view == VIEW_SCREEN) {
		paint_family(w);
		paint(w);
	} else if (w->view == VIEW_LINES && family_table__count(w->interval) > 1) {
		family_table__line(w->interval, w->data);
		check_data(w);
	} else if (w->view == VIEW_JSON && family_table__count(w->interval)) {
		out__dump(family_table__json(w->interval, w->several_roots ? NULL : w->root, false), w->data, false);
		check_data(w);
	}
	family_table__clear(w->interval);
}

static void on_notice(void *arg, const struct collector_proc *proc, const char *sentence)
{
	const struct watch *w = arg;

	screen__erase();
	if (proc && w->several)
		log_info("%s (pid %d): %s", proc->target->label, (int)proc->target->pid, sentence);
	else
		log_info("%s", sentence);
	if (w->view == VIEW_SCREEN)
		paint(w);
}

/* What was asked for with --alert-hold and --alert-wait, the moment it is known. */
static void on_lasting(void *arg, const struct collector_proc *proc, const struct long_event *e)
{
	const struct watch *w = arg;
	uint64_t limit = e->wait ? w->options->alert_wait_ns : w->options->alert_hold_ns;
	char text[1024];

	budgets__lasting(w->budgets, proc->id, e);
	if (!limit || e->at_ns - e->since_ns < limit)
		return;
	on_notice(arg, proc, code__long(e, text, sizeof(text)));
}

/* Lines to paste are shown where they would find something. */
static void print_history(const struct watch *w, const char *id)
{
	struct summary_history history = {
		.where = w->observing.history.where, .client = w->observing.history.client, .query = w->observing.history.query,
		.query_options = w->observing.history.query_options, .prefix = w->options->prefix,
		.family = w->several && !w->several_roots, .no_holds = w->no_holds,
		.no_waits = w->no_waits,
	};

	if (history__arrives(&w->observing.history))
		summary__history(w->data, &history, id);
	else if (w->observing.history.sink)
		fprintf(w->data, "\nNo history so far in %s.\n", w->observing.history.where);
}

static void write_summary(struct watch *w, FILE *to, const struct who *who, const struct proc_sample *totals,
			  enum collector_end how)
{
	struct summary_opts opts = {.how = how, .max_threads = 20};
	size_t lines;

	w->no_holds = w->no_holds || !(totals->total.known & KNOWN_HOLD);
	w->no_waits = w->no_waits || totals->mode == GIL_MODE_LOOK;
	out__terminal(fileno(w->data), &opts.width, &lines);
	fputc('\n', to);
	summary__print(to, who, totals, &opts);
}

static void print_summary(struct watch *w, const struct who *who, const struct proc_sample *totals, enum collector_end how)
{
	write_summary(w, w->data, who, totals, how);
	print_history(w, who->id);
	check_data(w);
}

/* Of a family one summary at the end: of the only process there was, or of all. */
static void keep_summary(struct watch *w, const struct who *who, const struct proc_sample *totals, enum collector_end how)
{
	size_t len = 0;
	FILE *to;

	family_table__add(w->run, who, totals, collector_end__name(how));
	if (w->first_id[0] || w->options->format == FORMAT_JSON)
		return;
	snprintf(w->first_id, sizeof(w->first_id), "%s", who->id);
	to = open_memstream(&w->first_summary, &len);
	if (!to)
		return;
	write_summary(w, to, who, totals, how);
	fclose(to);
}

static void print_family(struct watch *w)
{
	size_t width, lines;

	if (!w->run || !family_table__count(w->run) || w->broken)
		return;
	if (w->options->format == FORMAT_JSON) {
		out__dump(family_table__json(w->run, w->several_roots ? NULL : w->root, true), w->data, false);
		return;
	}
	out__terminal(fileno(w->data), &width, &lines);
	if (family_table__count(w->run) == 1) {
		fputs(w->first_summary ? w->first_summary : "", w->data);
	} else {
		fputc('\n', w->data);
		family_table__summary(w->run, w->data, width);
	}
	print_history(w, w->several_roots || !w->root[0] ? w->first_id : w->root);
	check_data(w);
}

static void on_ended(void *arg, const struct collector_proc *proc, const struct proc_sample *totals, enum collector_end how)
{
	struct watch *w = arg;
	struct who who = who_of(w, proc);
	struct panel *panel = w->view == VIEW_SCREEN ? panel_of(w, who.pid) : NULL;

	if (panel)
		panel->ended = true;
	screen__erase();
	budgets__judge(w->budgets, &who, totals);
	if (w->run)
		keep_summary(w, &who, totals, how);
	if (w->options->format == FORMAT_JSON)
		put_json(w, &who, totals, collector_end__name(how));
	else if (!w->run)
		print_summary(w, &who, totals, how);
}

static void on_tick(void *arg, uint64_t elapsed_ns, uint64_t remaining_ns)
{
	char text[128];

	if (screen__is_on())
		screen__status(live__progress(text, sizeof(text), elapsed_ns, remaining_ns));
}

/* ---- opening and closing ---- */

static enum view choose_view(const struct options *o, bool command_owns_terminal)
{
	if (command_owns_terminal && !o->output && o->format != FORMAT_JSON)
		return VIEW_QUIET;
	if (o->format == FORMAT_JSON)
		return VIEW_JSON;
	return !o->output && screen__possible(STDOUT_FILENO) ? VIEW_SCREEN : VIEW_LINES;
}

static int open_data(struct watch *w, bool command_owns_terminal, struct reason *why)
{
	int err;

	w->data = command_owns_terminal ? stderr : stdout;
	if (!w->options->output)
		return 0;
	err = outfile__open_stream(&w->file, "--output", w->options->output, why);
	w->data = w->file.to;
	return err;
}

static void fill_events(struct watch *w)
{
	w->events = (struct collector_events){
		.arg = w,
		.armed = on_armed,
		.sample = on_sample,
		.notice = on_notice,
		.lasting = on_lasting,
		.ended = on_ended,
		.interval = on_interval,
		.tick = on_tick,
	};
}

static int make_tables(struct watch *w, struct reason *why)
{
	if (!w->options->children && !w->options->all)
		return 0;
	w->interval = family_table__new();
	w->run = family_table__new();
	return w->interval && w->run ? 0 : reason__set(why, -ENOMEM, "not enough memory");
}

int watch__open(const struct options *o, const struct spawn *command, struct watch **ret, struct reason *why)
{
	const bool command_owns_terminal = command != NULL;
	struct watch *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return reason__set(why, -ENOMEM, "not enough memory");
	w->options = o;
	w->view = choose_view(o, command_owns_terminal);
	err = budgets__open(o, &w->budgets, why);
	err = err ? err : make_tables(w, why);
	err = err ? err : open_data(w, command_owns_terminal, why);
	err = err ? err : observing__open(&w->observing, o, command, why);
	if (err) {
		watch__close(w, why);
		return err;
	}
	budgets__tune(w->budgets, &w->observing.opts.stacks);
	fill_events(w);
	*ret = w;
	return 0;
}

const struct collector_opts *watch__opts(const struct watch *w)
{
	return &w->observing.opts;
}

const struct collector_events *watch__events(const struct watch *w)
{
	return &w->events;
}

/* Each a line, behind those of the samples. */
static void print_budgets(struct watch *w)
{
	json_t *list = w->options->format == FORMAT_JSON && !w->broken ? budgets__json(w->budgets) : NULL, *one;
	size_t i;

	json_array_foreach(list, i, one)
		out__dump(json_incref(one), w->data, false);
	json_decref(list);
}

int watch__close(struct watch *w, const struct reason *failed)
{
	struct reason why;
	int status;

	if (!w)
		return EXIT_OK;
	screen__end();
	print_family(w);
	if (failed)
		budgets__fail(w->budgets, failed);
	status = budgets__finish(w->budgets);
	print_budgets(w);
	budgets__free(w->budgets);
	family_table__free(w->interval);
	family_table__free(w->run);
	free(w->table);
	free(w->first_summary);
	observing__close(&w->observing);
	if (w->broken)
		forget_data(w);
	if (w->file.to && outfile__keep(&w->file, &why)) {
		w->failed = true;
		log_error("%s", why.text);
	}
	status = status == EXIT_OK && w->failed ? EXIT_FAILED : status;
	for (size_t i = 0; i < w->panels_n; i++)
		free(w->panels[i].text);
	free(w->panels);
	free(w);
	return status;
}
