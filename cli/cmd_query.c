/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope query: one process's history out of Redis, as a table, JSON or CSV. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/base/text.h"
#include "blame_table.h"
#include "cmds.h"
#include "human.h"
#include "marks.h"
#include "out.h"
#include "past.h"
#include "rows.h"
#include "tree.h"

#define DEFAULT_SINCE "5m"
#define SHOWN_THREADS 10
#define SHOWN_PAIRS 5

#define BIT(f) (1ull << FIELD_##f)

/* What is shown without --metric: what fits 80 columns. */
#define PROC_METRICS (BIT(UTIL) | BIT(WAITERS) | BIT(N) | BIT(C) | BIT(FORCED) | BIT(WAIT_P99) | BIT(HOLD_MAX))
#define THREAD_METRICS (BIT(HOLD) | BIT(WAIT) | BIT(N) | BIT(C) | BIT(FORCED) | BIT(WAIT_P99) | BIT(HOLD_MAX))

/* Columns made of fields: the stamp first, then the chosen ones. */
struct field_columns {
	struct out_column columns[FIELD_COUNT + 1];
	enum schema_field fields[FIELD_COUNT + 1];
	char titles[FIELD_COUNT + 1][24];
	size_t n;
};

struct answer {
	const struct options *o;
	struct past past;
	struct query_thread thread; /* if o->thread */
	char gils[1024];            /* ids, as meta has them */
	struct out *threads, *tree;
	struct out *blame;          /* who waited for whom; with the threads */
	bool blame_sampled;
};

/* ---- columns ---- */

static enum out_unit unit_of(enum schema_field f)
{
	const char *unit = schema_field__unit(f);

	if (f == FIELD_UTIL || f == FIELD_COV)
		return OUT_SHARE;
	if (strcmp(unit, "us") == 0)
		return OUT_US;
	if (strcmp(unit, "kib") == 0)
		return OUT_KIB;
	if (strcmp(unit, "ratio") == 0)
		return OUT_REAL;
	return strcmp(unit, "ms") == 0 ? OUT_CLOCK : OUT_TOTAL;
}

/* "wait_p99" above a column is "WAIT P99"; one-letter names are spelled out. */
static void title_of(enum schema_field f, char *ret, size_t size)
{
	const char *name = schema_field__name(f);

	switch (f) {
	case FIELD_T:
		name = "time";
		break;
	case FIELD_N:
		name = "acquires";
		break;
	case FIELD_C:
		name = "contended";
		break;
	case FIELD_UTIL:
		name = "busy";
		break;
	default:
		break;
	}
	snprintf(ret, size, "%s", name);
	for (; *ret; ret++)
		*ret = *ret == '_' ? ' ' : (char)(*ret >= 'a' && *ret <= 'z' ? *ret - 32 : *ret);
}

static void add_column(struct field_columns *c, enum schema_field f)
{
	title_of(f, c->titles[c->n], sizeof(c->titles[0]));
	c->columns[c->n] = (struct out_column){schema_field__name(f), c->titles[c->n], unit_of(f), 0};
	c->fields[c->n] = f;
	c->n++;
}

static void choose_columns(struct field_columns *c, uint64_t metrics)
{
	c->n = 0;
	add_column(c, FIELD_T);
	for (int f = FIELD_T + 1; f < FIELD_COUNT; f++)
		if (metrics >> f & 1)
			add_column(c, (enum schema_field)f);
}

static void add_row(struct out *table, const struct field_columns *c, const struct schema_row *row)
{
	out__row(table);
	for (size_t i = 0; i < c->n; i++)
		if (row->has >> c->fields[i] & 1)
			out__num(table, i, row->value[c->fields[i]]);
}

/* ---- what was asked for ---- */

/* By its tid as in the key, else by a part of its name; of several the one seen last. */
static int find_thread(struct answer *a, struct reason *why)
{
	struct query_thread *all = NULL;
	const struct query_thread *best = NULL;
	size_t n = 0, matches = 0;
	int err = query__threads(a->past.q, a->past.proc.id, 0, &all, &n, why);

	for (size_t i = 0; !err && i < n; i++) {
		if (strcmp(all[i].thr, a->o->thread) == 0) {
			best = &all[i];
			matches = 1;
			break;
		}
		if (strcasestr(all[i].name, a->o->thread)) {
			matches++;
			best = !best || all[i].last_ms > best->last_ms ? &all[i] : best;
		}
	}
	if (best)
		a->thread = *best;
	else if (!err)
		err = reason__set(why, -ENOENT, "%s has no thread '%s' (gilscope query %s --threads lists them)",
				  a->past.proc.id, a->o->thread, a->past.proc.id);
	if (matches > 1)
		log_info("%zu threads match '%s': showing %s %s", matches, a->o->thread, a->thread.thr, a->thread.name);
	free(all);
	return err;
}

/* Whether `id` is one of "0,1,5". */
static bool is_listed(const char *list, const char *id)
{
	size_t len = strlen(id);

	for (; *list; list += strcspn(list, ","), list += *list == ',')
		if (strcspn(list, ",") == len && strncmp(list, id, len) == 0)
			return true;
	return false;
}

/* The GILs that have series, "" where there is but one. */
static int list_gils(struct answer *a, struct reason *why)
{
	char **pairs = NULL;
	size_t n = 0;
	int err = query__hash(a->past.q, a->past.proc.id, "meta", &pairs, &n, why);

	for (size_t i = 0; !err && i < n; i++)
		if (strcmp(pairs[2 * i], "gils") == 0)
			snprintf(a->gils, sizeof(a->gils), "%s", pairs[2 * i + 1]);
	free(pairs);
	return err;
}

static int check_gil(const struct answer *a, struct reason *why)
{
	if (!a->o->gil || is_listed(a->gils, a->o->gil))
		return 0;
	if (!a->gils[0])
		return reason__set(why, -ENOENT, "%s has no more than one GIL: leave --gil away", a->past.proc.id);
	return reason__set(why, -ENOENT, "%s has no GIL %s; it has %s", a->past.proc.id, a->o->gil, a->gils);
}

static int fetch_series(struct answer *a, struct reason *why)
{
	char series[64] = "p";

	if (a->o->thread)
		snprintf(series, sizeof(series), "t:%s", a->thread.thr);
	else if (a->o->gil)
		snprintf(series, sizeof(series), "g:%s", a->o->gil);
	return past__fetch(&a->past, series, why);
}

/* ---- threads ---- */

enum { T_NAME, T_THREAD, T_INSIDE, T_HOLDS, T_WAITS, T_HOLD, T_WAIT, T_N, T_C, T_FORCED, T_WAIT_MAX, T_HOLD_MAX };

static const struct out_column thread_columns[] = {
	[T_NAME] = {"name", "THREAD", OUT_TEXT, OUT_FLEX | OUT_MIDDLE},
	[T_THREAD] = {"thread", "TID", OUT_TEXT, 0},
	[T_INSIDE] = {"inside", "INSIDE", OUT_ID, OUT_SPARE},
	[T_HOLDS] = {"hold_share", "HOLDS", OUT_SHARE, 0},
	[T_WAITS] = {"wait_share", "WAITS", OUT_SHARE, 0},
	[T_HOLD] = {"hold", "", OUT_US, OUT_DETAIL},
	[T_WAIT] = {"wait", "", OUT_US, OUT_DETAIL},
	[T_N] = {"n", "ACQUIRES", OUT_TOTAL, 0},
	[T_C] = {"c", "CONTENDED", OUT_TOTAL, 0},
	[T_FORCED] = {"forced", "FORCED", OUT_TOTAL, 0},
	[T_WAIT_MAX] = {"wait_max", "MAX WAIT", OUT_US, 0},
	[T_HOLD_MAX] = {"hold_max", "MAX HOLD", OUT_US, 0},
};

static void add_thread(struct out *table, const struct past_thread *total, double span_us)
{
	static const struct {
		size_t column;
		enum schema_field f;
	} plain[] = {{T_INSIDE, FIELD_INSIDE}, {T_HOLD, FIELD_HOLD}, {T_WAIT, FIELD_WAIT}, {T_N, FIELD_N}, {T_C, FIELD_C},
		     {T_FORCED, FIELD_FORCED}, {T_HOLD_MAX, FIELD_HOLD_MAX}};

	out__row(table);
	out__text(table, T_THREAD, total->thread.thr);
	out__text(table, T_NAME, total->thread.name);
	out__num(table, T_HOLDS, rows__field(&total->sum, FIELD_HOLD) / span_us);
	out__num(table, T_WAITS, rows__field(&total->sum, FIELD_WAIT) / span_us);
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		out__num(table, plain[i].column, rows__field(&total->sum, plain[i].f));
	rows__put_longest_wait(table, T_WAIT_MAX, &total->sum);
}

static int fetch_threads(struct answer *a, size_t max, struct reason *why)
{
	int err = past__fetch_threads(&a->past, why);

	a->threads = out__new(thread_columns, sizeof(thread_columns) / sizeof(thread_columns[0]));
	if (!err && !a->threads)
		err = reason__set(why, -ENOMEM, "not enough memory");
	for (size_t i = 0; !err && i < a->past.threads_n && i < max; i++)
		add_thread(a->threads, &a->past.threads[i], past__span_us(&a->past));
	return err;
}

/* ---- who waited for whom ---- */

struct names {
	char (*names)[BLAME_NAME_SIZE];
	char (*thrs)[BLAME_THR_SIZE];
	size_t n;
};

static int name_threads(const struct past *p, struct names *ret)
{
	*ret = (struct names){
		.names = calloc(p->threads_n + 1, sizeof(*ret->names)), .thrs = calloc(p->threads_n + 1, sizeof(*ret->thrs)),
	};
	if (!ret->names || !ret->thrs)
		return -ENOMEM;
	for (; ret->n < p->threads_n; ret->n++) {
		const struct query_thread *t = &p->threads[ret->n].thread;

		snprintf(ret->thrs[ret->n], sizeof(*ret->thrs), "%s", t->thr);
		text__clean(ret->names[ret->n], THREAD_NAME_SIZE, t->name[0] ? t->name : t->thr,
			    strlen(t->name[0] ? t->name : t->thr));
	}
	blame_table__tell_apart(ret->names, ret->thrs, ret->n);
	return 0;
}

/* "other" and "unknown" are nobody's rows. */
static const char *name_of(const struct names *names, const char *thr)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->thrs[i], thr) == 0)
			return names->names[i];
	return thr;
}

static struct out *make_blame(const struct past *p, const struct blame_sum *sum, const struct schema_row *all, size_t max)
{
	struct blame_line *lines = calloc(sum->pairs_n + 1, sizeof(*lines));
	struct out *table = NULL;
	struct names names;

	if (!name_threads(p, &names) && lines) {
		for (size_t i = 0; i < sum->pairs_n; i++)
			lines[i] = (struct blame_line){name_of(&names, sum->pairs[i].victim),
						       name_of(&names, sum->pairs[i].holder), sum->pairs[i].us};
		table = blame_table__new(&(struct blame_input){
			.lines = lines, .n = sum->pairs_n, .wait_us = rows__field(all, FIELD_WAIT),
			.handover_us = rows__field(all, FIELD_HANDOVER), .unknown_us = rows__field(all, FIELD_UNKNOWN),
			.sampled = sum->sampled,
		}, max);
	}
	free(names.names);
	free(names.thrs);
	free(lines);
	return table;
}

/* The whole is read in the tier of its parts, whichever the series is shown in. */
static int fetch_blame(struct answer *a, size_t max, struct reason *why)
{
	struct past *p = &a->past;
	enum tier tier = query__tier(&p->proc, &p->range, true, p->now_ms);
	struct blame_sum sum = {0};
	struct schema_row *rows = NULL, all;
	size_t n = 0;
	int err = query__series(p->q, p->proc.id, "p", tier, &p->range, &rows, &n, why);

	err = err ? err : query__blame(p->q, p->proc.id, tier, &p->range, &sum, why);
	if (!err && n && sum.pairs_n) {
		schema_row__sum(rows, n, &all);
		a->blame = make_blame(p, &sum, &all, max);
		a->blame_sampled = sum.sampled;
		err = a->blame ? 0 : reason__set(why, -ENOMEM, "not enough memory");
	}
	blame_sum__free(&sum);
	free(rows);
	return err;
}

/* ---- the answer on paper ---- */

static void print_heading(const struct answer *a)
{
	const struct query_proc *proc = &a->past.proc;
	const char *what = a->o->thread ? ", thread " : a->o->gil ? ", GIL " : "";
	const char *which = a->o->thread ? a->thread.thr : a->o->gil ? a->o->gil : "";
	uint64_t ns = tier__step_ns(a->past.tier, (uint64_t)proc->interval_ms * 1000000);
	char step[HUMAN_SIZE];

	printf("%s, %s, %s mode%s%s%s%s; one row is %s\n", proc->id, proc->label, proc->mode[0] ? proc->mode : "?", what, which,
	       a->o->thread ? " " : "", a->o->thread ? a->thread.name : "", human__span(step, ns ? ns : 1000000000));
	if (strcmp(proc->gil, "free-threaded") == 0)
		options__wrap(stdout, NO_GIL_SAYS, 0, 0);
	if (a->gils[0] && !a->o->gil && !a->o->thread)
		printf("It has several GILs, of the interpreters %s: busy is the busiest one (--gil ID shows one of them).\n",
		       a->gils);
	putchar('\n');
}

static void print_series(const struct answer *a, const struct field_columns *c, struct out *table)
{
	struct schema_row sum;
	size_t width, lines;

	if (a->past.rows_n) {
		schema_row__sum(a->past.rows, a->past.rows_n, &sum);
		add_row(table, c, &sum);
		out__text(table, 0, "total");
	}
	out__terminal(STDOUT_FILENO, &width, &lines);
	print_heading(a);
	if (a->past.rows_n)
		out__table(table, stdout, width);
	else
		puts("Nothing was stored in this range.");
}

static void print_threads(const struct answer *a)
{
	size_t width, lines;

	out__terminal(STDOUT_FILENO, &width, &lines);
	if (a->threads && out__rows(a->threads))
		out__table(a->threads, stdout, width);
	if (a->blame && out__rows(a->blame)) {
		putchar('\n');
		out__table(a->blame, stdout, width);
	}
}

/* Totals have the fields that were chosen, and histograms have gone into their percentiles. */
static json_t *totals_json(const struct answer *a, const struct field_columns *c)
{
	struct schema_row sum;
	json_t *json = json_object();

	if (!a->past.rows_n)
		return json;
	schema_row__sum(a->past.rows, a->past.rows_n, &sum);
	for (size_t i = 0; json && i < c->n; i++)
		if (sum.has >> c->fields[i] & 1)
			json_object_set_new(json, c->columns[i].key, out__json_num(sum.value[c->fields[i]]));
	return json;
}

static void dump_json(const struct answer *a, const struct field_columns *c, const struct out *table)
{
	const struct query_proc *proc = &a->past.proc;
	json_t *json = json_pack("{s:s, s:s, s:i, s:b, s:s, s:s, s:I, s:I, s:o, s:o}", "id", proc->id, "label", proc->label,
				 "pid", (int)proc->pid, "live", (int)proc->live, "mode", proc->mode,
				 "tier", tier__name(a->past.tier), "since_ms", (json_int_t)a->past.range.since_ms,
				 "until_ms", (json_int_t)a->past.range.until_ms, "rows", out__json(table),
				 "totals", totals_json(a, c));

	if (json && a->o->gil)
		json_object_set_new(json, "g", json_integer(atoi(a->o->gil)));
	if (json && proc->gil[0])
		json_object_set_new(json, "gil", json_string(proc->gil));
	if (json && a->o->thread)
		json_object_set_new(json, "thread", json_pack("{s:s, s:s}", "thread", a->thread.thr, "name", a->thread.name));
	if (json && a->past.marks_n)
		json_object_set_new(json, "marks", marks__json(a->past.marks, a->past.marks_n));
	if (json && a->threads)
		json_object_set_new(json, "threads", out__json(a->threads));
	if (json && a->blame) {
		json_object_set_new(json, "blame", out__json(a->blame));
		json_object_set_new(json, "blame_sampled", json_boolean(a->blame_sampled));
	}
	out__dump(json, stdout, true);
}

/* The family of the process, by its root. */
static void print_tree(const struct answer *a)
{
	const char *root = a->past.proc.root[0] ? a->past.proc.root : a->past.proc.id;
	size_t width, lines;

	if (a->o->format == FORMAT_JSON) {
		out__dump(json_pack("{s:s, s:I, s:I, s:o}", "root", root, "since_ms", (json_int_t)a->past.range.since_ms,
				    "until_ms", (json_int_t)a->past.range.until_ms, "processes", out__json(a->tree)),
			  stdout, true);
		return;
	}
	if (a->o->format == FORMAT_CSV) {
		out__csv(a->tree, stdout);
		return;
	}
	out__terminal(STDOUT_FILENO, &width, &lines);
	printf("the family of %s\n\n", root);
	if (out__rows(a->tree))
		out__table(a->tree, stdout, width);
	else
		puts("Nothing was stored in this range.");
}

static void print(const struct answer *a)
{
	struct field_columns c;
	struct out *table;

	choose_columns(&c, a->o->metrics ? a->o->metrics : a->o->thread ? THREAD_METRICS : PROC_METRICS);
	table = out__new(c.columns, c.n);
	for (size_t i = 0; table && i < a->past.rows_n; i++)
		add_row(table, &c, &a->past.rows[i]);
	if (!table || out__error(table))
		log_error("query: not enough memory");
	else if (a->o->format == FORMAT_JSON)
		dump_json(a, &c, table);
	else if (a->o->format == FORMAT_CSV)
		out__csv(a->o->threads ? a->threads : table, stdout);
	else if (a->o->threads)
		print_heading(a), print_threads(a);
	else {
		print_series(a, &c, table);
		fputs(a->threads && out__rows(a->threads) ? "\n" : "", stdout);
		print_threads(a);
		fputs(a->past.marks_n ? "\n" : "", stdout);
		marks__print(stdout, a->past.marks, a->past.marks_n);
	}
	out__free(table);
}

/* A table closes with the busiest threads; data formats have them when asked. */
static int answer(struct answer *a, const char *word, struct reason *why)
{
	bool threads = a->o->threads ||
		       (a->o->format == FORMAT_TABLE && !a->o->thread && !a->o->gil && !a->o->metrics);
	int err = past__open(&a->past, a->o, word, DEFAULT_SINCE, why);

	if (!err && a->o->tree)
		return tree__fetch(a->past.q, &a->past.proc, &a->past.range, a->past.now_ms, &a->tree, why);
	err = err ? err : list_gils(a, why);
	err = err ? err : check_gil(a, why);
	err = err ? err : past__fetch_marks(&a->past, why);
	err = err || !a->o->thread ? err : find_thread(a, why);
	err = err ? err : fetch_series(a, why);
	err = err || !threads ? err : fetch_threads(a, a->o->threads ? SIZE_MAX : SHOWN_THREADS, why);
	err = err || !threads ? err : fetch_blame(a, a->o->threads ? SIZE_MAX : SHOWN_PAIRS, why);
	return err;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct answer a = {.o = o};
	struct reason why = {0};
	int err;

	if ((o->thread != NULL) + o->threads + o->tree + (o->gil != NULL) > 1) {
		reason__set(&why, -EINVAL, "--thread, --threads, --gil and --tree exclude each other");
		return options__fail(verb, EXIT_USAGE, &why);
	}
	err = answer(&a, argv[0], &why);
	if (!err && a.tree)
		print_tree(&a);
	else if (!err)
		print(&a);
	past__close(&a.past);
	out__free(a.threads);
	out__free(a.blame);
	out__free(a.tree);
	return err ? options__fail(verb, err == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &why) : EXIT_OK;
}

#define METRIC_COLUMN 25

static void list_metrics(FILE *to)
{
	fputs("\nmetrics, for --metric (what is not known is left out):\n", to);
	for (int f = 0; f < FIELD_COUNT; f++) {
		const char *unit = schema_field__unit((enum schema_field)f);

		fprintf(to, "  %-16s %-6s", schema_field__name((enum schema_field)f), strcmp(unit, "n") == 0 ? "" : unit);
		options__wrap(to, schema_field__text((enum schema_field)f), METRIC_COLUMN, METRIC_COLUMN);
	}
}

const struct verb verb_query = {
	.name = "query",
	.args = "PROCESS",
	.summary = "a process's history from Redis, as a table, JSON or CSV",
	.about = "Shows the history of a process: a PID, an id as shown by gilscope ls, or part of a program's name. If "
		 "several match, query takes one that is still running, else the newest. Without --thread or --gil it "
		 "shows the series of the whole process, the busiest threads, and who waited for whom (--threads: all of "
		 "them). With --tree it shows the processes that were observed together (attach --children); PROCESS can "
		 "be any of them.",
	.more = list_metrics,
	.options = {OPTION_METRIC, OPTION_THREAD, OPTION_THREADS, OPTION_TREE, OPTION_GIL, OPTION_SINCE,
		    OPTION_UNTIL, OPTION_STEP, OPTION_FORMAT, OPTION_JSON, OPTION_REDIS, OPTION_PASSWORD_FILE,
		    OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX},
	.min_args = 1,
	.max_args = 1,
	.missing = "which process? (gilscope query PID; gilscope ls shows what Redis knows)",
	.run = run,
};
