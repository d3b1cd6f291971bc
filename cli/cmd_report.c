/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope report: the verdict in words, with the numbers that carry it. Of what Redis has of a process; one that nobody
 * observes is attached to for a while first. The judging is verdict.c's, the reading past.c's.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/analysis/thread_pools.h"
#include "collector/base/text.h"
#include "collector/probes/ticks.h"
#include "collector/process/caps.h"
#include "collector/schema/schema_code.h"
#include "collector/target/target.h"
#include "args.h"
#include "cmds.h"
#include "code.h"
#include "human.h"
#include "kin.h"
#include "marks.h"
#include "out.h"
#include "outfile.h"
#include "past.h"
#include "report.h"
#include "report_html.h"
#include "report_where.h"
#include "rows.h"
#include "stack_flame.h"
#include "standing.h"

#define DEFAULT_SINCE "5m"
#define DEFAULT_LOOK_NS (10ull * 1000000000)
#define MAX_OVERHEAD 0.2 /* what auto may cost: it is a short look, and the details are worth it */
#define SHOWN_FUNCTIONS 8
#define SHOWN_PAIRS 10
#define SHOWN_PLACES 8
#define POINTS_OF_PAGE 50 /* intervals of a look for --html: a chart of ten would be poor */

/* ---- what the judge wants ---- */

static struct verdict_load load_of(const struct schema_row *row, const char *name)
{
	return (struct verdict_load){
		.name = name,
		.hold_us = rows__field(row, FIELD_HOLD),
		.wait_us = rows__field(row, FIELD_WAIT),
		.n = rows__field(row, FIELD_N),
		.c = rows__field(row, FIELD_C),
		.forced = rows__field(row, FIELD_FORCED),
		.hold_p50 = rows__field(row, FIELD_HOLD_P50),
		.hold_p99 = rows__field(row, FIELD_HOLD_P99),
		.hold_max = rows__field(row, FIELD_HOLD_MAX),
		.wait_p50 = rows__field(row, FIELD_WAIT_P50),
		.wait_p99 = rows__field(row, FIELD_WAIT_P99),
		.wait_max = rows__field(row, FIELD_WAIT_MAX),
		.hold_blocked = rows__off_us(row, FIELD_HOLD_BLOCKED),
		.hold_preempted = rows__off_us(row, FIELD_HOLD_PREEMPTED),
		.hold_unseen = rows__off_us(row, FIELD_HOLD_UNSEEN),
		.hold_stopped = rows__off_us(row, FIELD_HOLD_STOPPED),
		.wait_blocked = rows__off_us(row, FIELD_WAIT_BLOCKED),
		.wait_preempted = rows__off_us(row, FIELD_WAIT_PREEMPTED),
		.wait_stopped = rows__off_us(row, FIELD_WAIT_STOPPED),
		.gc_us = rows__field(row, FIELD_GC),
		.over_us = rows__field(row, FIELD_OVER),
		.over_n = rows__field(row, FIELD_OVER_N),
		.over_late = rows__field(row, FIELD_OVER_LATE),
		.over_max = rows__field(row, FIELD_OVER_MAX),
		.rate = NAN,
		.brief_us = NAN,
	};
}

static int make_room(struct report *r, size_t threads, size_t pairs)
{
	r->threads = calloc(threads + 1, sizeof(*r->threads));
	r->names = calloc(threads + 1, sizeof(*r->names));
	r->thrs = calloc(threads + 1, sizeof(*r->thrs));
	r->pairs = calloc(pairs + 1, sizeof(*r->pairs));
	return r->threads && r->names && r->thrs && r->pairs ? 0 : -ENOMEM;
}

static void add_load(struct report *r, const char *name, const char *thr, const struct schema_row *row)
{
	size_t i = r->in.threads_n++;

	snprintf(r->thrs[i], sizeof(r->thrs[i]), "%s", thr);
	snprintf(r->names[i], sizeof(r->names[i]), "%s", name[0] ? name : thr);
	r->threads[i] = load_of(row, r->names[i]);
}

/* Of all threads together for the table, and of each for the judge. Without memory there is none. */
static void take_functions(struct report *r, struct function_part *parts, size_t n)
{
	if (!parts)
		return;
	report_places__take(&r->places, parts, n);
	r->in.places = r->places.list;
	r->in.places_n = r->places.n;
	r->functions = functions__sum(parts, n, SIZE_MAX, &r->functions_n);
}

static void note_interval(struct report *r, const struct schema_row *row)
{
	struct report_point *points = reallocarray(r->points, r->points_n + 1, sizeof(*points));

	if (points) {
		r->points = points;
		points[r->points_n++] = (struct report_point){
			.t_ms = rows__field(row, FIELD_T), .d_us = rows__field(row, FIELD_D),
			.util = rows__field(row, FIELD_UTIL), .waiters = rows__field(row, FIELD_WAITERS),
		};
	}
	if (rows__field(row, FIELD_UTIL) >= VERDICT_JAMMED_UTIL &&
	    rows__field(row, FIELD_WAITERS) >= VERDICT_JAMMED_WAITERS)
		r->jammed_us += rows__field(row, FIELD_D);
}

/* The average of these intervals. */
static struct verdict_part part_of(const struct report_point *points, size_t n)
{
	struct verdict_part part = {.us = 0};

	for (size_t i = 0; i < n; i++) {
		part.us += points[i].d_us;
		part.util += points[i].util * points[i].d_us;
		part.waiters += points[i].waiters * points[i].d_us;
	}
	part.util /= part.us;
	part.waiters /= part.us;
	return part;
}

static void take_parts(struct report *r)
{
	size_t third = r->points_n / 3;

	if (!third)
		return;
	r->in.first = part_of(r->points, third);
	r->in.last = part_of(r->points + r->points_n - third, third);
}

/* The thread that goes on holding; SIZE_MAX: none, or one without a row. */
static size_t holder_of(const struct report *r)
{
	char thr[BLAME_THR_SIZE];

	snprintf(thr, sizeof(thr), "%u", r->holding.tid);
	for (size_t i = 0; r->holding.tid && i < r->in.threads_n; i++)
		if (strcmp(r->thrs[i], thr) == 0)
			return i;
	return SIZE_MAX;
}

/* The estimate of light and look mode, as shares of the time. */
static void take_estimate(struct report *r, double observed_us)
{
	double about = rows__field(&r->all, FIELD_UTIL_EST), err = rows__field(&r->all, FIELD_HOLD_ERR);
	double looks = rows__field(&r->all, FIELD_LOOKS);

	r->in.gil_looks = isnan(looks) ? 0 : looks;
	r->in.about_held = isnan(about) ? 0 : about;
	r->in.about_held_err = isnan(err) || !(observed_us > 0) ? 0 : err / observed_us;
}

/* What both sources have in common: the process's row is there. */
static void fill_input(struct report *r, double observed_us, int cpus)
{
	double d = rows__field(&r->all, FIELD_D), unknown = rows__field(&r->all, FIELD_UNKNOWN);
	double lost = rows__field(&r->all, FIELD_LOST), gils = rows__field(&r->all, FIELD_GILS);

	r->in.all = load_of(&r->all, "");
	r->in.observed_us = observed_us;
	r->in.cov = d > 0 ? observed_us / d : 1;
	r->in.util = rows__field(&r->all, FIELD_UTIL);
	take_estimate(r, observed_us);
	r->in.handover_us = rows__field(&r->all, FIELD_HANDOVER);
	r->in.unknown_us = isnan(unknown) ? 0 : unknown;
	r->in.cpu_us = rows__field(&r->all, FIELD_CPU);
	r->in.rss_kib = rows__field(&r->all, FIELD_RSS);
	r->in.gc_err_us = rows__field(&r->all, FIELD_GC_ERR);
	r->in.gc_wait_us = rows__field(&r->all, FIELD_GC_WAIT);
	r->in.gc_max_us = rows__field(&r->all, FIELD_GC_MAX);
	for (int i = 0; i < 3; i++)
		r->in.gc_n[i] = rows__field(&r->all, FIELD_GC_N0 + i);
	r->in.jammed = d > 0 ? r->jammed_us / d : 0;
	r->in.lost = isnan(lost) ? 0 : lost;
	take_parts(r);
	r->in.gils = isnan(gils) ? 1 : (unsigned int)gils;
	r->in.cpus = cpus;
	r->in.holding = &r->holding;
	r->in.whys = &r->all.whys;
	r->in.holder = holder_of(r);
	r->gil_disabled = r->gil_disabled && !(r->in.all.n > 0) && !(r->in.all.wait_us > 0);
	r->in.threads = r->threads;
	r->in.pairs = r->pairs;
	blame_table__tell_apart(r->names, r->thrs, r->in.threads_n);
}

/* ---- from Redis ---- */

static size_t index_of(const struct report *r, const char *thr)
{
	for (size_t i = 0; i < r->in.threads_n; i++)
		if (strcmp(r->thrs[i], thr) == 0)
			return i;
	return SIZE_MAX;
}

static void take_pairs(struct report *r, const struct blame_sum *blame)
{
	for (size_t i = 0; i < blame->pairs_n; i++) {
		size_t victim = index_of(r, blame->pairs[i].victim), holder = index_of(r, blame->pairs[i].holder);

		if (victim != SIZE_MAX && holder != SIZE_MAX)
			r->pairs[r->in.pairs_n++] = (struct verdict_pair){victim, holder, blame->pairs[i].us};
	}
	r->in.sampled = blame->sampled;
}

/* Threads that have no row of their own are one. The caller frees; NULL: no memory. */
static struct function_part *parts_of(const struct report *r, const struct code_sum *code)
{
	struct function_part *parts = calloc(code->n + 1, sizeof(*parts));

	for (size_t i = 0; parts && i < code->n; i++) {
		const struct code_place *p = &code->places[i];
		size_t thread = index_of(r, p->thr);

		parts[i] = (struct function_part){
			.function = p->function, .file = p->file, .native = p->native, .caller = p->caller, .line = p->line,
			.thread = thread == SIZE_MAX ? r->in.threads_n : thread,
			.thread_name = thread == SIZE_MAX ? "(other threads)" : r->names[thread],
			.hold_us = isnan(r->in.all.hold_us) ? NAN : p->hold_us, .blame_us = p->blame_us,
			.over_us = p->over_us,
		};
		memcpy(parts[i].hold_off_us, p->hold_off_us, sizeof(parts[i].hold_off_us));
		memcpy(parts[i].blame_off_us, p->blame_off_us, sizeof(parts[i].blame_off_us));
	}
	return parts;
}

static void judge_past(const struct report *r, const struct past *p, struct function_part *parts, size_t parts_n)
{
	const struct who who = {.id = r->id, .label = r->label, .pid = (pid_t)p->proc.pid};
	struct budget_thread *threads = calloc(p->threads_n + 1, sizeof(*threads));
	struct budget_subject s = {
		.all = r->all, .observed_us = r->in.observed_us, .no_gil = r->gil_disabled, .threads = threads,
		.threads_n = threads ? p->threads_n : 0, .parts = parts, .parts_n = parts_n,
	};

	for (size_t i = 0; threads && i < p->threads_n; i++)
		threads[i] = (struct budget_thread){
			.name = p->threads[i].thread.name, .row = p->threads[i].sum,
			.several = !isdigit((unsigned char)p->threads[i].thread.thr[0]),
		};
	budgets__judge_subject(r->budgets, &who, &s);
	free(threads);
}

static void take_code(struct report *r, const struct past *p, const struct code_sum *code)
{
	struct function_part *parts = parts_of(r, code);

	take_functions(r, parts, code->n);
	judge_past(r, p, parts, code->n);
	free(parts);
}

_Static_assert(RUNTIMES_TEXT_SIZE <= SCHEMA_RUNTIME_SIZE, "the sentence is cut in Redis");

static uint64_t ns_of(const struct schema_row *row, enum schema_field f)
{
	double us = rows__field(row, f);

	return us > 0 && us < 1e15 ? (uint64_t)(us * 1e3) : 0;
}

static void describe_past(struct report *r, const struct past *p)
{
	snprintf(r->id, sizeof(r->id), "%s", p->proc.id);
	snprintf(r->label, sizeof(r->label), "%s", p->proc.label);
	snprintf(r->python, sizeof(r->python), "%s", p->proc.python);
	snprintf(r->runtime, sizeof(r->runtime), "%s", p->proc.runtime);
	r->gil_disabled = strncmp(p->proc.gil, "free-threaded", 13) == 0;
	snprintf(r->when, sizeof(r->when), "since %s %s", p->o->since ? p->o->since : DEFAULT_SINCE,
		 p->proc.live ? "ago" : "before its end");
}

/* What is so now, meta says, if the range reaches until now; for how long it was so, the samples. */
static void take_standing(struct report *r, const struct past *p)
{
	struct holding now = {0};

	if (p->proc.live && !p->o->until)
		schema_holding__decode(p->proc.holding, strlen(p->proc.holding), &now);
	now.gone_ns = ns_of(&r->all, FIELD_HOLD_GONE);
	for (int s = STANDSTILL_NONE + 1; s < STANDSTILL_COUNT; s++)
		now.still_ns[s] = ns_of(&r->all, FIELD_STOPPED + (s - STANDSTILL_STOPPED));
	r->holding = now;
	r->in.waiting = r->all.value[FIELD_WAITERS];
}

/* Only the page shows them. */
static int read_stacks(struct report *r, struct past *p, struct reason *why)
{
	int err = r->o->html ? query__stacks(p->q, &p->proc, &p->range, p->now_ms, &r->stacks, why) : 0;

	if (!err && !r->stacks.n)
		r->no_stacks = "No stacks are stored of that time. gilscope attach stores those of long holds and waits every "
			       "ten seconds (--stacks TIME: how long is long), unless --stacks is off.";
	return err;
}

/* One tier for all, so that the parts are of the same time as the whole: that of the threads where they are kept shorter. */
static void choose_tier(struct past *p)
{
	enum tier all = query__tier(&p->proc, &p->range, false, p->now_ms);
	enum tier threads = query__tier(&p->proc, &p->range, true, p->now_ms), tier = all > threads ? all : threads;

	p->range.step_s = tier == TIER_60S ? 60 : tier == TIER_10S ? 10 : 1;
}

static int read_past(struct report *r, struct past *p, struct reason *why)
{
	struct blame_sum blame = {0};
	struct code_sum code = {0};
	int err;

	choose_tier(p);
	err = past__fetch(p, "p", why);

	if (!err && !p->rows_n)
		err = reason__set(why, -ENODATA, "nothing was stored of %s in that time", p->proc.id);
	err = err ? err : past__fetch_threads(p, why);
	err = err ? err
		  : query__blame(p->q, p->proc.id, query__tier(&p->proc, &p->range, true, p->now_ms), &p->range,
				 &blame, why);
	err = err ? err
		  : query__code(p->q, p->proc.id, query__tier(&p->proc, &p->range, true, p->now_ms), &p->range, &code, why);
	err = err ? err : read_stacks(r, p, why);
	err = err ? err : query__marks(p->q, p->proc.id, p->range.since_ms, p->range.until_ms, &r->marks, &r->marks_n, why);
	if (!err && make_room(r, p->threads_n, blame.pairs_n))
		err = reason__set(why, -ENOMEM, "not enough memory");
	if (!err) {
		describe_past(r, p);
		schema_row__sum(p->rows, p->rows_n, &r->all);
		for (size_t i = 0; i < p->rows_n; i++)
			note_interval(r, &p->rows[i]);
		for (size_t i = 0; i < p->threads_n; i++)
			add_load(r, p->threads[i].thread.name, p->threads[i].thread.thr, &p->threads[i].sum);
		take_pairs(r, &blame);
		take_standing(r, p);
		fill_input(r, past__span_us(p), (int)(p->proc.cpus ? p->proc.cpus : 1));
		take_code(r, p, &code);
	}
	blame_sum__free(&blame);
	code_sum__free(&code);
	return err;
}

/* ---- from looking ---- */

static int larger_first(const void *a, const void *b)
{
	double x = ((const struct verdict_pair *)a)->us, y = ((const struct verdict_pair *)b)->us;

	return x < y ? 1 : x > y ? -1 : 0;
}

static void take_totals(struct report *r, const struct proc_sample *s)
{
	for (size_t i = 0; i < s->threads_n; i++) {
		char name[THREAD_NAME_SIZE + 16], thr[BLAME_THR_SIZE];
		struct schema_row row;

		schema_row__from(s, &s->threads[i].m, false, &row);
		snprintf(thr, sizeof(thr), "%u", s->threads[i].key.tid);
		add_load(r, rows__name(&s->threads[i], name, sizeof(name)), thr, &row);
	}
	for (size_t i = 0; i < s->blame_n; i++)
		r->pairs[r->in.pairs_n++] =
			(struct verdict_pair){s->blame[i].victim, s->blame[i].holder, (double)(s->blame[i].ns / 1000)};
	qsort(r->pairs, r->in.pairs_n, sizeof(*r->pairs), larger_first);
	r->in.sampled = s->blame_sampled;
}

static void take_code_of(struct report *r, const struct proc_sample *s)
{
	char (*names)[CODE_NAME_SIZE] = calloc(s->threads_n + 1, sizeof(*names));
	struct function_part *parts = names ? code__parts(s, names) : NULL;

	take_functions(r, parts, s->code_n);
	free(parts);
	free(names);
}

static struct report_counted *counted_of(struct report *r, const struct thread_key *key)
{
	struct report_counted *more;

	for (size_t i = 0; i < r->counted_n; i++)
		if (r->counted[i].tid == key->tid)
			return &r->counted[i];
	more = reallocarray(r->counted, r->counted_n + 1, sizeof(*more));
	if (!more)
		return NULL;
	r->counted = more;
	more[r->counted_n] = (struct report_counted){.tid = key->tid};
	return &more[r->counted_n++];
}

/* A part of the time may have passed in a mode that counts no takes. */
static void note_takes(struct report *r, const struct proc_sample *s)
{
	for (size_t i = 0; i < s->threads_n; i++) {
		const struct metrics *m = &s->threads[i].m;
		bool known = m->known & KNOWN_ACQUIRES && m->known & KNOWN_HOLD;
		struct report_counted *c = known ? counted_of(r, &s->threads[i].key) : NULL;

		if (!c)
			continue;
		c->n += m->acquires;
		c->held_ns += m->hold_ns;
		c->len_ns += s->observed_ns;
	}
}

static void take_counted(struct report *r)
{
	char thr[BLAME_THR_SIZE];

	for (size_t i = 0; i < r->counted_n; i++) {
		const struct report_counted *c = &r->counted[i];

		snprintf(thr, sizeof(thr), "%u", c->tid);
		for (size_t t = 0; c->n && c->len_ns && t < r->in.threads_n; t++)
			if (strcmp(r->thrs[t], thr) == 0) {
				r->threads[t].rate = (double)c->n / ((double)c->len_ns / 1e9);
				r->threads[t].brief_us = (double)c->held_ns / 1e3 / (double)c->n;
			}
	}
}

static void on_sample(void *arg, const struct collector_proc *proc, const struct proc_sample *s)
{
	struct schema_row row;

	schema_row__from(s, &s->total, true, &row);
	note_interval(arg, &row);
	note_takes(arg, s);
}

/* How long the process had run when the look began, of which the length is known. */
static double age_us(uint64_t start_ticks, uint64_t len_ns)
{
	double started = (double)start_ticks / (double)sysconf(_SC_CLK_TCK) * 1e6;

	return start_ticks ? fmax(1, (double)(clock__boot_ns() - len_ns) / 1e3 - started) : 0;
}

static void on_ended(void *arg, const struct collector_proc *proc, const struct proc_sample *totals,
		     enum collector_end how)
{
	struct report *r = arg;
	char span[HUMAN_SIZE];

	const struct who who = rows__who(proc);

	budgets__judge(r->budgets, &who, totals);
	if (make_room(r, totals->threads_n, totals->blame_n))
		return;
	snprintf(r->id, sizeof(r->id), "%s", proc->id);
	text__clean(r->label, sizeof(r->label), proc->target->label, strlen(proc->target->label));
	snprintf(r->python, sizeof(r->python), "%s", proc->python->text);
	runtimes__text(&proc->target->runtimes, r->runtime);
	r->gil_disabled = proc->gil_disabled;
	if (!totals->code_known)
		r->no_stacks = "The frames of this Python are not known, so there are no stacks.";
	snprintf(r->when, sizeof(r->when), "%s just now", human__us(span, (double)totals->len_ns / 1e3));
	schema_row__from(totals, &totals->total, true, &r->all);
	take_totals(r, totals);
	take_counted(r);
	r->holding = totals->holding;
	r->in.waiting = totals->total.waiting;
	fill_input(r, (double)totals->observed_ns / 1e3, (int)(target__cpus(proc->target->pid) ?: 1));
	r->in.age_us = age_us(proc->target->start_ticks, totals->len_ns);
	take_code_of(r, totals);
}

static void on_stack(void *arg, const struct collector_proc *proc, const struct stack_time *s)
{
	struct report *r = arg;

	if (stack_flame__collect(&r->stacks, s))
		r->no_stacks = "There was not enough memory for the stacks.";
}

static void on_lasting(void *arg, const struct collector_proc *proc, const struct long_event *e)
{
	struct report *r = arg;

	budgets__lasting(r->budgets, proc->id, e);
}

static void on_notice(void *arg, const struct collector_proc *proc, const char *sentence)
{
	log_info("%s", sentence);
}

/* A chart wants more points than a second each gives of a short look. */
static uint64_t interval_of(const struct options *o, uint64_t duration_ns)
{
	const uint64_t finest = 100 * 1000000ull;
	uint64_t ns = duration_ns / POINTS_OF_PAGE / finest * finest;

	if (!o->html || ns >= o->interval_ns)
		return o->interval_ns;
	return ns > finest ? ns : finest;
}

/* Attaches, without a history, for as long as was asked. */
static int look(struct report *r, pid_t pid, struct reason *why)
{
	uint64_t duration_ns = r->o->duration_ns ? r->o->duration_ns : DEFAULT_LOOK_NS;
	struct collector_opts opts = {
		.interval_ns = interval_of(r->o, duration_ns),
		.duration_ns = duration_ns,
		.mode = r->o->mode,
		.max_overhead = MAX_OVERHEAD,
		.look_rate = (uint32_t)r->o->look_rate,
		.may_look = r->o->mode == MODE_AUTO,
		.stacks = {.on = true, .threshold_ns = r->o->stacks_ns, .tick_ns = TICKS_FINE_NS},
	};
	struct collector_events events = {
		.arg = r, .sample = on_sample, .notice = on_notice, .ended = on_ended, .lasting = on_lasting,
		.stack = r->o->html ? on_stack : NULL,
	};
	struct cpu_users *users;
	char span[HUMAN_SIZE];
	uint64_t aside;
	int err = opts.mode == MODE_LOOK || opts.may_look ? 0 : caps__check(why);

	err = err ? err : probes__set_rights_aside(&aside, why);
	if (err)
		return err;
	schema_opts__default(&opts.schema);
	budgets__tune(r->budgets, &opts.stacks);
	log_info(r->o->duration_ns ? "looking at process %d for %s" : "nobody observes process %d yet: looking at it for %s",
		 (int)pid, human__span(span, opts.duration_ns));
	if (opts.mode == MODE_AUTO)
		log_info("it may cost the process up to %.0f %% of a core (--mode light and look cost less)", 100 * MAX_OVERHEAD);
	kin__mention(&pid, 1, "report takes one PID");
	users = cpu_users__begin(pid);
	err = collector__run(&opts, &pid, 1, &events, why);
	cpu_users__end(users, r->cpu_users, &r->in.throttled_us);
	r->in.cpu_users = r->cpu_users;
	if (!err && r->threads)
		report_where__look(r, pid);
	caps__take_back(aside);
	err = kin__explain(pid, err, why);
	if (!err && !r->threads)
		err = reason__set(why, -ENODATA, "process %d could not be looked at", (int)pid);
	return err;
}

/* ---- on paper ---- */

static void paragraph(const char *text)
{
	if (text[0])
		options__wrap(stdout, text, 0, 0), putchar('\n');
}

/* Whether it is the GIL, and what to do: what a reader needs who reads no further. */
static void print_answer(const struct verdict *v)
{
	options__wrap(stdout, v->headline, 0, 0);
	if (v->todo[0]) {
		fputs("Do: ", stdout);
		options__wrap(stdout, v->todo, 4, 4);
	}
	putchar('\n');
}

/* The last line: what shows more of that. */
static void print_next(const struct report *r)
{
	bool hangs = r->verdict.bound == BOUND_NO || r->verdict.bound == BOUND_UNKNOWN || isnan(r->verdict.gain_max);

	if (hangs)
		printf("\nNext, where its threads are now: gilscope dump %s\n", r->word);
	else
		printf("\nNext, the stacks of that: gilscope flame %s -o flame.svg\n", r->word);
}

static void print_findings(const struct verdict *v)
{
	for (size_t i = 0; i < v->findings_n; i++) {
		char number[24];

		snprintf(number, sizeof(number), "%zu. ", i + 1);
		fputs(number, stdout);
		options__wrap(stdout, v->findings[i].evidence, strlen(number), 3);
		fputs("   What usually helps: ", stdout);
		options__wrap(stdout, v->findings[i].remedy, 23, 3);
		putchar('\n');
	}
}

static double blamed_us(const struct report *r)
{
	return r->in.all.wait_us - r->in.unknown_us - (isnan(r->in.handover_us) ? 0 : r->in.handover_us);
}

double report__other_blame(const struct report *r)
{
	double us = blamed_us(r);

	for (size_t i = 0; i < r->in.pairs_n; i++)
		us -= r->pairs[i].us;
	return us;
}

static struct out *new_blame_table(const struct report *r, const struct blame_line *lines, size_t n, size_t max)
{
	return blame_table__new(&(struct blame_input){
		.lines = lines, .n = n, .wait_us = r->in.all.wait_us, .handover_us = r->in.handover_us,
		.unknown_us = r->in.unknown_us, .sampled = r->in.sampled,
	}, max);
}

static bool add_to_pair(struct blame_line *lines, size_t n, const struct blame_line *one)
{
	for (size_t i = 0; i < n; i++)
		if (lines[i].victim == one->victim && lines[i].holder == one->holder) {
			lines[i].us += one->us;
			return true;
		}
	return false;
}

static int longer_first(const void *a, const void *b)
{
	double x = ((const struct blame_line *)a)->us, y = ((const struct blame_line *)b)->us;

	return x < y ? 1 : x > y ? -1 : 0;
}

static struct out *table_of_pools(const struct report *r, const struct thread_pool *pools, const size_t *pool_of, size_t max)
{
	struct blame_line *lines = calloc(r->in.pairs_n + 1, sizeof(*lines));
	struct out *table = NULL;
	size_t n = 0;

	for (size_t i = 0; lines && i < r->in.pairs_n; i++) {
		struct blame_line one = {pools[pool_of[r->pairs[i].victim]].name, pools[pool_of[r->pairs[i].holder]].name,
					 r->pairs[i].us};

		if (!add_to_pair(lines, n, &one))
			lines[n++] = one;
	}
	if (lines) {
		qsort(lines, n, sizeof(*lines), longer_first);
		table = new_blame_table(r, lines, n, max);
	}
	free(lines);
	return table;
}

/* The largest pairs, then what completes them to all of the waiting. NULL: no memory. */
static struct out *blame_table(const struct report *r)
{
	struct blame_line *lines = calloc(r->in.pairs_n + 1, sizeof(*lines));
	struct out *table = NULL;

	for (size_t i = 0; lines && i < r->in.pairs_n; i++)
		lines[i] = (struct blame_line){r->names[r->pairs[i].victim], r->names[r->pairs[i].holder], r->pairs[i].us};
	if (lines)
		table = new_blame_table(r, lines, r->in.pairs_n, SIZE_MAX);
	free(lines);
	return table;
}

/* The same by pools: threads whose names differ in a number only are one. NULL: no memory. */
static struct out *pool_table(const struct report *r, size_t max)
{
	size_t n = r->in.threads_n, pools_n = 0;
	const char **names = calloc(n + 1, sizeof(*names));
	size_t *pool_of = calloc(n + 1, sizeof(*pool_of));
	struct thread_pool *pools = NULL;
	struct out *table = NULL;

	for (size_t i = 0; names && i < n; i++)
		names[i] = r->names[i];
	if (names && pool_of)
		pools = thread_pools__make(names, n, pool_of, &pools_n);
	if (pools)
		table = table_of_pools(r, pools, pool_of, max);
	free(pools);
	free(pool_of);
	free(names);
	return table;
}

static void print_table(struct out *table)
{
	size_t width, lines;

	out__terminal(STDOUT_FILENO, &width, &lines);
	if (table && out__rows(table) && !out__error(table)) {
		out__table(table, stdout, width);
		putchar('\n');
	}
	out__free(table);
}

static void print_basis(const struct report *r)
{
	char text[VERDICT_TEXT * 2], observed[HUMAN_SIZE], cost[HUMAN_SIZE], n[HUMAN_SIZE], grouped[HUMAN_SIZE];
	char c[HUMAN_SIZE + 32] = "";
	double acquires = r->in.all.n, contended = r->in.all.c;

	if (isnan(acquires))
		strcpy(n, "an unknown number of");
	else
		human__grouped(n, (uint64_t)acquires);
	if (isnan(contended))
		strcpy(c, "of which an unknown number");
	else
		text__append(c, sizeof(c), "%s of which", human__grouped(grouped, (uint64_t)contended));
	snprintf(text, sizeof(text),
		 "Rests on %s observed, %s acquires, %s waited; gilscope's own cost was %s of a core. %s",
		 human__us(observed, r->in.observed_us), n, c,
		 human__share(cost, rows__field(&r->all, FIELD_COST) / r->in.observed_us), r->verdict.limits);
	options__wrap(stdout, text, 0, 0);
}

static void print_runtime(const struct report *r)
{
	char text[SCHEMA_RUNTIME_SIZE + 16];

	if (!r->runtime[0])
		return;
	snprintf(text, sizeof(text), "Note: %s.", r->runtime);
	paragraph(text);
}

/* What it is, if not the GIL. */
static void print_whereabouts(const struct report *r)
{
	struct out *table = report_where__table(r, SHOWN_PLACES);

	if (table && out__rows(table))
		printf("Where the threads were, at %u looks afterwards:\n", r->whereabouts.looks);
	print_table(table);
}

static void print_text(const struct report *r)
{
	printf("%s (%s), CPython %s: %s\n\n", r->label, r->id, r->python, r->when);
	print_runtime(r);
	if (r->gil_disabled) {
		paragraph("GIL: NO. " NO_GIL_SAYS);
		return;
	}
	print_answer(&r->verdict);
	print_findings(&r->verdict);
	paragraph(r->verdict.cause);
	if (r->verdict.bound >= BOUND_PARTLY) {
		print_table(functions__short_table(r->functions, r->functions_n, SHOWN_FUNCTIONS, false));
		print_table(r->in.all.wait_us > 0 ? pool_table(r, SHOWN_PAIRS) : NULL);
	}
	print_whereabouts(r);
	paragraph(r->verdict.numbers);
	paragraph(r->verdict.gain);
	print_basis(r);
	fputs(r->marks_n ? "\n" : "", stdout);
	marks__print(stdout, r->marks, r->marks_n);
	print_next(r);
}

static json_t *finding_json(const struct report *r, const struct verdict_finding *f)
{
	json_t *json = json_pack("{s:s, s:s, s:s}", "pattern", verdict_pattern__name(f->pattern), "evidence", f->evidence,
				 "remedy", f->remedy);

	json_object_set_new(json, "todo", json_string(f->todo));

	if (r->in.all.wait_us > 0) {
		json_object_set_new(json, "waited", out__json_num(f->waited_us));
		json_object_set_new(json, "share", out__json_num(f->waited_us / r->in.all.wait_us));
	}
	if (f->thread != SIZE_MAX && f->thread < r->in.threads_n) {
		json_object_set_new(json, "thread", json_string(r->thrs[f->thread]));
		json_object_set_new(json, "name", json_string(r->names[f->thread]));
	}
	if (f->code)
		json_object_set_new(json, "code", json_string(f->code));
	if (f->holder < r->in.threads_n)
		json_object_set_new(json, "holder", json_string(r->names[f->holder]));
	return json;
}

static json_t *findings_json(const struct report *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->verdict.findings_n; i++)
		json_array_append_new(list, finding_json(r, &r->verdict.findings[i]));
	return list;
}

static void print_json(const struct report *r)
{
	struct out *table = blame_table(r), *code = functions__table(r->functions, r->functions_n, SIZE_MAX, false);
	struct out *where = report_where__table(r, SIZE_MAX);
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:i}", "id", r->id, "label", r->label,
				 "python", r->python, "gil_bound", gil_bound__name(r->verdict.bound), "headline",
				 r->verdict.headline, "todo", r->verdict.todo, "numbers", r->verdict.numbers, "gain",
				 r->verdict.gain, "limits", r->verdict.limits,
				 "findings", findings_json(r), "cpus", r->in.cpus);
	json_t *holding = standing__json(&r->holding);
	const struct {
		const char *name;
		double value;
	} numbers[] = {
		{"util", r->in.util},
		{"waiters", rows__field(&r->all, FIELD_WAITERS)},
		{"jammed", r->in.jammed},
		{"gain_max", r->verdict.gain_max},
		{"unexplained", r->verdict.unexplained},
		{"observed", r->in.observed_us},
		{"cov", r->in.cov},
		{"hold", r->in.all.hold_us},
		{"hold_est", rows__field(&r->all, FIELD_HOLD_EST)},
		{"hold_err", rows__field(&r->all, FIELD_HOLD_ERR)},
		{"hold_blocked", r->in.all.hold_blocked},
		{"hold_preempted", r->in.all.hold_preempted},
		{"hold_unseen", r->in.all.hold_unseen},
		{"hold_stopped", r->in.all.hold_stopped},
		{"wait", r->in.all.wait_us},
		{"wait_blocked", r->in.all.wait_blocked},
		{"wait_preempted", r->in.all.wait_preempted},
		{"wait_stopped", r->in.all.wait_stopped},
		{"handover", r->in.handover_us},
		{"unknown", r->in.unknown_us},
		{"gc", r->in.all.gc_us},
		{"gc_err", r->in.gc_err_us},
		{"gc_wait", r->in.gc_wait_us},
		{"gc_max", r->in.gc_max_us},
		{"gc_n0", r->in.gc_n[0]},
		{"gc_n1", r->in.gc_n[1]},
		{"gc_n2", r->in.gc_n[2]},
		{"cpu", r->in.cpu_us},
		{"over", r->in.all.over_us},
		{"over_n", r->in.all.over_n},
		{"over_late", r->in.all.over_late},
		{"over_max", r->in.all.over_max},
		{"n", r->in.all.n},
		{"c", r->in.all.c},
		{"lost", r->in.lost},
	};

	for (size_t i = 0; json && i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(json, numbers[i].name, out__json_num(numbers[i].value));
	if (json && json_object_size(holding))
		json_object_set(json, "holding", holding);
	json_decref(holding);
	if (json && (r->all.whys.n || r->all.whys.rest_ns))
		json_object_set_new(json, "why", rows__why_json(&r->all.whys));
	if (json && r->verdict.cause[0])
		json_object_set_new(json, "cause", json_string(r->verdict.cause));
	if (json && r->cpu_users[0])
		json_object_set_new(json, "cpu_users", json_string(r->cpu_users));
	if (json && r->runtime[0])
		json_object_set_new(json, "runtime", json_string(r->runtime));
	if (json && table)
		json_object_set_new(json, "blame", out__json(table));
	if (json && code)
		json_object_set_new(json, "code", out__json(code));
	if (json && where)
		json_object_set_new(json, "threads", out__json(where));
	if (json && r->in.gates_n)
		json_object_set_new(json, "gates", report_where__gates_json(r));
	if (json && r->marks_n)
		json_object_set_new(json, "marks", marks__json(r->marks, r->marks_n));
	if (json && r->budgets)
		json_object_set_new(json, "budgets", budgets__json(r->budgets));
	out__free(where);
	out__free(table);
	out__free(code);
	out__dump(json, stdout, true);
}

/* ---- the command ---- */

/* Redis first; a PID that it does not know as live is looked at. So is, whoever else observes it, one to look at for so long. */
static int gather(struct report *r, const char *word, struct reason *why)
{
	struct past p = {.o = r->o};
	pid_t pid = 0;
	int err = r->o->duration_ns ? args__pid(word, &pid, why) :
				      past__open_or_pid(&p, r->o, word, DEFAULT_SINCE, &pid, why);

	err = err ?: pid ? look(r, pid, why) : read_past(r, &p, why);
	past__close(&p);
	return err;
}

/* The exit status: what could not be gathered is no pass of any budget. */
static int conclude(const struct verb *verb, const struct report *r, int err, const struct reason *why)
{
	int status;

	if (err)
		options__fail(verb, EXIT_FAILED, why);
	if (err == -EINVAL)
		return budgets__free(r->budgets), EXIT_USAGE;
	if (err)
		budgets__fail(r->budgets, why);
	status = budgets__finish(r->budgets);
	budgets__free(r->budgets);
	return err && status == EXIT_OK ? EXIT_FAILED : status;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct report r = {.o = o, .word = argv[0]};
	struct reason why = {0};
	struct outfile page = {.to = NULL};
	/* Before anything is looked at: a page that can't be written is no use after minutes. */
	int status, err = o->html ? outfile__open(&page, "--html", o->html, &why) : 0;

	err = err ? err : budgets__open(o, &r.budgets, &why);
	err = err ? err : gather(&r, argv[0], &why);
	if (!err) {
		verdict__reach(&r.in, &r.verdict);
		if (o->format == FORMAT_JSON)
			print_json(&r);
		else
			print_text(&r);
		if (page.to) {
			report_html__write(&r, page.to);
			err = outfile__keep(&page, &why);
		}
	}
	outfile__drop(&page);
	status = conclude(verb, &r, err, &why);
	stacks_sum__free(&r.stacks);
	free(r.threads);
	free(r.names);
	free(r.thrs);
	report_where__free(&r);
	report_places__free(&r.places);
	free(r.functions);
	free(r.pairs);
	free(r.points);
	free(r.marks);
	free(r.counted);
	return status;
}

const struct verb verb_report = {
	.name = "report",
	.args = "PROCESS",
	.summary = "a diagnosis: is it the GIL, who makes whom wait, what helps",
	.about = "Prints a diagnosis in sentences: whether the GIL limits a process, what the process could gain at best "
		 "without it, which thread makes which others wait in which known pattern, and what usually helps; each "
		 "with the numbers that support it. PROCESS is a PID, an id as shown by gilscope ls, or part of a "
		 "program's name. report judges what Redis has of the last five minutes (--since for more). If nobody "
		 "observes the process, report attaches to it for ten seconds, which needs the rights of attach; "
		 "--duration attaches in any case.",
	.options = {OPTION_SINCE, OPTION_UNTIL, OPTION_DURATION, OPTION_MODE, OPTION_LOOK_RATE, OPTION_APP, OPTION_BUDGET,
		    OPTION_BUDGET_FILE, OPTION_BUDGET_JUNIT, OPTION_BUDGET_MARKDOWN, OPTION_JSON, OPTION_HTML,
		    OPTION_REDIS, OPTION_PASSWORD_FILE, OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX},
	.min_args = 1,
	.max_args = 1,
	.missing = "which process? (gilscope report PID; gilscope ls shows the Python processes here)",
	.reads_processes = true,
	.run = run,
};
