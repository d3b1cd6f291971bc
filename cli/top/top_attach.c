/* SPDX-License-Identifier: GPL-2.0-only */
/* A source of `top`: observes a process itself, as attach does, its history included. See top_source.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/history.h"
#include "cli/rows.h"
#include "collector/base/text.h"
#include "collector/series/window.h"
#include "top_source_inside.h"

#define LAST_WORDS "This is the last of it; l lists others, q quits."

#define CELL_MS 10000
#define CELLS 7              /* a minute of complete ones, and the one that grows */
#define THREADS_MAX 4096

/* The last minute, in cells of ten seconds on the wall clock. */
struct minute {
	struct window cells[CELLS];
	int64_t numbers[CELLS];  /* which ten seconds each is, 0: none */
	size_t at;               /* the one that grows */
};

struct attached {
	struct top_source *s;
	struct minute minute;
	struct history history;
	char source[64];     /* told last */
	bool armed;
	bool ended;          /* and that was said */
};

static const char *source_words(const struct attached *a)
{
	char state[512];

	if (!a->history.sink)
		return "no history";
	history__state(&a->history, state, sizeof(state));
	return strncmp(state, "history waits", 13) == 0 ? "history waits" : "history on";
}

/* ---- the last minute ---- */

/* The complete cells of the last minute before `number`, together. NULL: there are none, or no memory. */
static struct top_frame *sum_up(const struct minute *m, int64_t number)
{
	struct window sum = {.max_threads = THREADS_MAX};
	struct top_frame *f = NULL;

	for (int64_t n = number - CELLS + 1; n < number; n++)
		for (size_t i = 0; i < CELLS; i++)
			if (m->numbers[i] == n && m->cells[i].begun)
				window__add(&sum, &m->cells[i].sample);
	if (sum.begun)
		f = top_frame__of_sample(&sum.sample);
	window__free(&sum);
	return f;
}

/* Takes a sample. The last minute whenever another cell is complete, else NULL. */
static struct top_frame *add_to_minute(struct minute *m, const struct proc_sample *s)
{
	int64_t number = (s->end_ms - 1) / CELL_MS;
	struct top_frame *f = NULL;

	if (number != m->numbers[m->at]) {
		f = m->numbers[m->at] ? sum_up(m, number) : NULL;
		m->at = (m->at + 1) % CELLS;
		m->numbers[m->at] = number;
		window__clear(&m->cells[m->at]);
		m->cells[m->at].max_threads = THREADS_MAX;
	}
	window__add(&m->cells[m->at], s);
	return f;
}

static void free_minute(struct minute *m)
{
	for (size_t i = 0; i < CELLS; i++)
		window__free(&m->cells[i]);
}

/* ---- what happens ---- */

/* Its mode may change at any time. */
static void tell_who(struct attached *a, const struct collector_proc *proc, enum gil_mode mode)
{
	struct top_update u = {.kind = TOP_UPDATE_WHO};

	u.who.pid = proc->target->pid;
	snprintf(u.who.id, sizeof(u.who.id), "%s", proc->id);
	text__clean(u.who.label, sizeof(u.who.label), proc->target->label, strlen(proc->target->label));
	snprintf(u.who.python, sizeof(u.who.python), "%s", proc->python->text);
	snprintf(u.who.mode, sizeof(u.who.mode), "%s", gil_mode__name(mode, "mixed"));
	top_source__post(a->s, &u);
}

static void on_armed(void *arg, const struct collector_proc *proc, double plan_ms)
{
	struct attached *a = arg;

	a->armed = true;
	tell_who(a, proc, proc->mode);
	snprintf(a->source, sizeof(a->source), "%s", source_words(a));
	top_source__state(a->s, TOP_LIVE, a->source, "Attached in %.0f ms. Waiting for the end of the first interval.", plan_ms);
}

static void on_sample(void *arg, const struct collector_proc *proc, const struct proc_sample *s)
{
	struct attached *a = arg;
	struct top_update u = {.kind = TOP_UPDATE_FRAME, .now = top_frame__of_sample(s)};

	tell_who(a, proc, s->mode);
	if (strcmp(a->source, source_words(a)) != 0) {
		snprintf(a->source, sizeof(a->source), "%s", source_words(a));
		top_source__state(a->s, TOP_LIVE, a->source, "%s", "");
	}
	if (!u.now)
		return;
	u.minute = add_to_minute(&a->minute, s);
	u.points = calloc(1, sizeof(*u.points));
	if (u.points)
		u.points[u.points_n++] = (struct top_point){u.now->end_ms, u.now->d_us, u.now->observed_us, u.now->is.hold,
							    u.now->is.wait};
	top_source__post(a->s, &u);
}

static void on_notice(void *arg, const struct collector_proc *proc, const char *sentence)
{
	const struct attached *a = arg;

	top_source__notice(a->s, sentence);
}

static void on_ended(void *arg, const struct collector_proc *proc, const struct proc_sample *totals, enum collector_end how)
{
	struct attached *a = arg;

	a->ended = how != END_ERROR;
	if (how == END_EXIT)
		top_source__state(a->s, TOP_ENDED, NULL, "The process has ended. " LAST_WORDS);
	else if (how == END_EXEC)
		top_source__state(a->s, TOP_ENDED, NULL, "The process has become a program that is not Python. " LAST_WORDS);
	else if (how == END_RUNTIME)
		top_source__state(a->s, TOP_ENDED, NULL, "This Python has no interpreter any more, another one of the "
				  "process has. " LAST_WORDS);
	else if (how == END_SIGNAL)
		a->s->told_to_end = !a->s->stop;
}

static void fill_opts(const struct attached *a, struct collector_opts *opts)
{
	const struct options *o = a->s->o;

	*opts = (struct collector_opts){
		.interval_ns = o->interval_ns,
		.mode = o->mode,
		.max_overhead = o->max_overhead,
		.look_rate = (uint32_t)o->look_rate,
		.may_look = o->mode == MODE_AUTO,
		.sink = a->history.sink,
		.stacks = {.on = !o->no_stacks, .threshold_ns = o->stacks_ns},
	};
	schema_opts__default(&opts->schema);
	opts->schema.retention = o->retention;
	if (o->prefix)
		opts->schema.prefix = o->prefix;
}

static int observe(struct attached *a, struct reason *why)
{
	struct collector_events events = {.arg = a, .armed = on_armed, .sample = on_sample, .notice = on_notice,
					  .ended = on_ended};
	struct collector_opts opts;
	int err = history__open_writer(a->s->o, &a->history, why);

	err = err ? err : history__start_sink(&a->history, why);
	if (err || a->s->stop)
		return err;
	fill_opts(a, &opts);
	return collector__run(&opts, &a->s->pid, 1, &events, why);
}

void top_attach__run(struct top_source *s)
{
	struct attached a = {.s = s};
	struct reason why = {""};
	int err;

	top_source__state(s, TOP_STARTING, NULL, "Attaching to process %d ...", (int)s->pid);
	err = observe(&a, &why);
	if (err && a.armed)
		top_source__state(s, TOP_ENDED, NULL, "Observing ended: %.300s", why.text);
	else if (err)
		top_source__state(s, TOP_FAILED, NULL, "Process %d can't be observed: %.300s", (int)s->pid, why.text);
	else if (!a.ended && !s->stop)
		top_source__state(s, TOP_FAILED, NULL, "Process %d could not be observed.", (int)s->pid);
	history__close(&a.history);
	free_minute(&a.minute);
}
