/* SPDX-License-Identifier: GPL-2.0-only */
/* See budgets.h. Threads, functions and files are the observed program's to name: they are cleaned where they come in. */
#include "budgets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/log.h"
#include "collector/base/text.h"
#include "markup.h"
#include "out.h"
#include "outfile.h"

#define TOLD_THREADS_MAX 16
#define VERDICTS_MAX 4096        /* of kept ones no more are listed; broken ones are */
#define SHORTEST_TOLD_NS 1000000ull /* as --alert-hold: shorter ones are too many to be told one by one */
#define STACK_SHOWN 400          /* bytes of a stack's inner end, on a screen */

/* The longest hold or wait of one thread. Its name may become known later: it is told by its id. */
struct told_thread {
	uint32_t tid;
	double us;
	char name[THREAD_NAME_SIZE];
	char words[BUDGET_SENTENCE_SIZE];
	char stack[STACK_TEXT_MAX];
};

/* What was told for one budget: of the threads that are the worst. */
struct told_budget {
	struct told_thread *threads;
	size_t n;
	double unplaced_us;
};

/* What was told of one process so far; an entry for each budget. */
struct told {
	char id[SCHEMA_ID_SIZE];
	struct told_budget *budgets;
};

struct verdict_of {
	const struct budget *budget;
	char who[256]; /* "app.py (pid 4711)"; "": nobody was observed */
	struct budget_result result;
};

struct budgets {
	struct budget list[BUDGETS_MAX];
	size_t n;
	struct told *told;
	size_t told_n;
	struct verdict_of *verdicts;
	size_t verdicts_n;
	size_t counts[BUDGET_BROKEN + 1];
	bool no_memory;
	struct outfile junit, markdown;
};

static void forget(struct budgets *b, struct told *told)
{
	for (size_t i = 0; i < b->n; i++)
		free(told->budgets[i].threads);
	free(told->budgets);
	*told = b->told[--b->told_n];
}

int budgets__open(const struct options *o, struct budgets **ret, struct reason *why)
{
	struct budgets *b;
	int err = 0;

	*ret = NULL;
	if (!o->budgets_n && !o->budget_file)
		return 0;
	b = calloc(1, sizeof(*b));
	if (!b)
		return reason__set(why, -ENOMEM, "not enough memory");
	for (size_t i = 0; !err && i < o->budgets_n; i++)
		err = budget__parse("--budget", o->budgets[i], &b->list[b->n++], why);
	if (!err && o->budget_file)
		err = budget__read_file(o->budget_file, b->list, BUDGETS_MAX, &b->n, why);
	if (!err && !b->n)
		err = reason__set(why, -EINVAL, "--budget-file: %s: has no budget", o->budget_file);
	if (!err && o->budget_junit)
		err = outfile__open(&b->junit, "--budget-junit", o->budget_junit, why);
	if (!err && o->budget_markdown)
		err = outfile__open(&b->markdown, "--budget-markdown", o->budget_markdown, why);
	if (err) {
		budgets__free(b);
		return err;
	}
	*ret = b;
	return 0;
}

void budgets__free(struct budgets *b)
{
	if (!b)
		return;
	while (b->told_n)
		forget(b, &b->told[b->told_n - 1]);
	outfile__drop(&b->junit);
	outfile__drop(&b->markdown);
	free(b->told);
	free(b->verdicts);
	free(b);
}

/* ---- single holds and waits ---- */

static uint64_t shortest_ns(const struct budgets *b, enum schema_field field)
{
	uint64_t shortest = UINT64_MAX;

	for (size_t i = 0; i < b->n; i++) {
		uint64_t ns = (uint64_t)(b->list[i].limit * 1e3);

		if (budget__is_of_longest(&b->list[i], field) && ns < shortest)
			shortest = ns > SHORTEST_TOLD_NS ? ns : SHORTEST_TOLD_NS;
	}
	return shortest;
}

void budgets__tune(const struct budgets *b, struct stack_opts *stacks)
{
	uint64_t hold, wait;

	if (!b)
		return;
	hold = shortest_ns(b, FIELD_HOLD_MAX);
	wait = shortest_ns(b, FIELD_WAIT_MAX);
	if (hold < stacks->long_hold_ns)
		stacks->long_hold_ns = hold;
	if (wait != UINT64_MAX && (!stacks->long_wait_ns || wait < stacks->long_wait_ns))
		stacks->long_wait_ns = wait;
	if (hold < stacks->threshold_ns)
		stacks->threshold_ns = hold;
	if (wait < stacks->threshold_ns)
		stacks->threshold_ns = wait;
}

static struct told *told_of(struct budgets *b, const char *id)
{
	struct told *told;

	for (size_t i = 0; i < b->told_n; i++)
		if (strcmp(b->told[i].id, id) == 0)
			return &b->told[i];
	told = reallocarray(b->told, b->told_n + 1, sizeof(*told));
	if (!told)
		return NULL;
	b->told = told;
	told += b->told_n;
	*told = (struct told){.budgets = calloc(b->n, sizeof(*told->budgets))};
	if (!told->budgets)
		return NULL;
	snprintf(told->id, sizeof(told->id), "%s", id);
	b->told_n++;
	return told;
}

/* Of a pattern of threads whose it is, names tell in the end. */
static bool is_meant(const struct budget *budget, const struct long_event *e)
{
	return budget__is_of_longest(budget, e->wait ? FIELD_WAIT_MAX : FIELD_HOLD_MAX) &&
	       (budget->of != BUDGET_OF_PLACE || !e->stack ||
		budget__fits_place(budget, e->stack->leaf.function, e->stack->leaf.file));
}

/* The thread's entry; a new one, or that of the thread that was the least, if this is longer. NULL: there is no place for it. */
static struct told_thread *place_of(struct told_budget *t, uint32_t tid, double us)
{
	struct told_thread *least = NULL;

	for (size_t i = 0; i < t->n; i++) {
		if (t->threads[i].tid == tid)
			return us > t->threads[i].us ? &t->threads[i] : NULL;
		if (!least || t->threads[i].us < least->us)
			least = &t->threads[i];
	}
	if (t->n == TOLD_THREADS_MAX)
		return us > least->us ? least : NULL;
	if (!t->threads)
		t->threads = calloc(TOLD_THREADS_MAX, sizeof(*t->threads));
	return t->threads ? &t->threads[t->n++] : NULL;
}

static void note(struct told_budget *t, const struct long_event *e, double us)
{
	struct told_thread *longest = place_of(t, e->thread.tid, us);

	if (!longest)
		return;
	longest->tid = e->thread.tid;
	longest->us = us;
	snprintf(longest->name, sizeof(longest->name), "%s", e->name);
	code__long_words(e, longest->words, sizeof(longest->words));
	snprintf(longest->stack, sizeof(longest->stack), "%s", e->stack ? e->stack->line : "");
}

void budgets__lasting(struct budgets *b, const char *id, const struct long_event *e)
{
	double us = e->at_ns > e->since_ns ? (double)(e->at_ns - e->since_ns) / 1e3 : 0;
	struct told *told = b ? told_of(b, id) : NULL;

	if (b && !told)
		b->no_memory = true;
	for (size_t i = 0; told && i < b->n; i++) {
		struct told_budget *t = &told->budgets[i];

		if (!is_meant(&b->list[i], e))
			continue;
		if (b->list[i].of == BUDGET_OF_PLACE && !e->stack)
			t->unplaced_us = us > t->unplaced_us ? us : t->unplaced_us;
		else
			note(t, e, us);
	}
}

static const char *name_of(const struct told_thread *t, const struct proc_sample *totals)
{
	for (size_t i = 0; i < totals->threads_n; i++)
		if (totals->threads[i].key.tid == t->tid && totals->threads[i].name[0])
			return totals->threads[i].name;
	return t->name;
}

static struct budget_longest longest_of(const struct budget *budget, const struct told_budget *t,
					const struct proc_sample *totals)
{
	struct budget_longest longest = {.unplaced_us = t->unplaced_us};

	for (size_t i = 0; i < t->n; i++) {
		const struct told_thread *one = &t->threads[i];
		const char *name = name_of(one, totals);

		if (one->us > longest.us && (budget->of != BUDGET_OF_THREAD || budget__fits_thread(budget, name)))
			longest = (struct budget_longest){one->us, code__long_name(name), one->words, one->stack, t->unplaced_us};
	}
	return longest;
}

/* ---- judging ---- */

/* Of kept ones beyond what is listed there is the count. */
static struct verdict_of *new_verdict(struct budgets *b)
{
	struct verdict_of *verdicts = reallocarray(b->verdicts, b->verdicts_n + 1, sizeof(*verdicts));

	if (!verdicts) {
		b->no_memory = true;
		return NULL;
	}
	b->verdicts = verdicts;
	verdicts[b->verdicts_n] = (struct verdict_of){0};
	return &verdicts[b->verdicts_n];
}

static void keep_verdict(struct budgets *b, const struct verdict_of *v)
{
	b->counts[v->result.state]++;
	if (b->verdicts_n < VERDICTS_MAX)
		b->verdicts_n++;
}

/* With `told` and `totals`, or without both. */
static void judge(struct budgets *b, const struct who *who, struct budget_subject *s, const struct told *told,
		  const struct proc_sample *totals)
{
	for (size_t i = 0; i < b->n; i++) {
		struct verdict_of *v = new_verdict(b);
		struct budget_longest longest;
		char label[200];

		if (!v)
			return;
		v->budget = &b->list[i];
		text__clean(label, sizeof(label), who->label, strlen(who->label));
		snprintf(v->who, sizeof(v->who), "%s (pid %d)", label, (int)who->pid);
		if (told)
			longest = longest_of(v->budget, &told->budgets[i], totals);
		budget__judge(v->budget, s, told ? &longest : NULL, &v->result);
		keep_verdict(b, v);
	}
}

void budgets__judge_subject(struct budgets *b, const struct who *who, struct budget_subject *s)
{
	if (b)
		judge(b, who, s, NULL, NULL);
}

/* What a sample says of its threads, by their names. NULL: no memory. */
static struct budget_thread *threads_of(const struct proc_sample *totals)
{
	struct budget_thread *threads = calloc(totals->threads_n + 1, sizeof(*threads));

	for (size_t i = 0; threads && i < totals->threads_n; i++) {
		const struct thread_sample *t = &totals->threads[i];

		threads[i].name = t->name;
		threads[i].several = t->key.tid == 0;
		schema_row__from(totals, &t->m, false, &threads[i].row);
	}
	return threads;
}

void budgets__judge(struct budgets *b, const struct who *who, const struct proc_sample *totals)
{
	char (*names)[CODE_NAME_SIZE] = b ? calloc(totals->threads_n + 1, sizeof(*names)) : NULL;
	struct budget_thread *threads = names ? threads_of(totals) : NULL;
	struct told *told = threads ? told_of(b, who->id) : NULL;
	struct budget_subject s = {
		.observed_us = (double)totals->observed_ns / 1e3, .no_gil = totals->no_gil,
		.threads = threads, .threads_n = totals->threads_n, .parts_n = totals->code_n,
	};

	if (told) {
		schema_row__from(totals, &totals->total, true, &s.all);
		s.parts = totals->code_known ? code__parts(totals, names) : NULL;
		judge(b, who, &s, told, totals);
		forget(b, told);
	} else if (b) {
		b->no_memory = true;
	}
	free(s.parts);
	free(threads);
	free(names);
}

void budgets__fail(struct budgets *b, const struct reason *why)
{
	for (size_t i = 0; b && i < b->n; i++) {
		struct verdict_of *v = new_verdict(b);

		if (!v)
			return;
		v->budget = &b->list[i];
		v->result.state = BUDGET_UNTOLD;
		v->result.low = v->result.high = NAN;
		text__clean(v->result.sentence, sizeof(v->result.sentence), why->text, strlen(why->text));
		keep_verdict(b, v);
	}
}

/* ---- saying ---- */

static const char *words_of(enum budget_state state)
{
	return state == BUDGET_KEPT ? "kept" : state == BUDGET_BROKEN ? "BROKEN" : "cannot be told";
}

/* The inner end of a stack, where that is all there is room for. */
static const char *inner_end(const char *stack)
{
	size_t len = strlen(stack);
	const char *frame = len > STACK_SHOWN ? strchr(stack + len - STACK_SHOWN, ';') : NULL;

	return frame ? frame + 1 : stack;
}

static void say(const struct verdict_of *v)
{
	const struct budget_result *r = &v->result;
	void (*log)(const char *fmt, ...) = r->state == BUDGET_KEPT ? log_info : log_error;

	log("budget %s: %s%s%s: %s%s%s", v->budget->text, words_of(r->state), v->who[0] ? ", " : "", v->who, r->sentence,
	    r->stack[0] ? "; stack: " : "", inner_end(r->stack));
}

/* JUnit's words: a broken promise is a failure, one that can't be told an error. */
static void junit_case(FILE *to, const struct verdict_of *v)
{
	static const char *const tags[] = {[BUDGET_UNTOLD] = "error", [BUDGET_BROKEN] = "failure"};
	const char *tag = tags[v->result.state];

	fputs("  <testcase classname=\"", to);
	markup__text(to, v->who[0] ? v->who : "gilscope");
	fputs("\" name=\"", to);
	markup__text(to, v->budget->text);
	if (!tag) {
		fputs("\"/>\n", to);
		return;
	}
	fprintf(to, "\">\n    <%s message=\"", tag);
	markup__text(to, v->result.sentence);
	fputs("\">", to);
	markup__text(to, v->result.stack);
	fprintf(to, "</%s>\n  </testcase>\n", tag);
}

static size_t judged_n(const struct budgets *b)
{
	return b->counts[BUDGET_KEPT] + b->counts[BUDGET_BROKEN] + b->counts[BUDGET_UNTOLD];
}

static void write_junit(const struct budgets *b, FILE *to)
{
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", to);
	fprintf(to, "<testsuite name=\"gilscope budgets\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\">\n",
		judged_n(b), b->counts[BUDGET_BROKEN], b->counts[BUDGET_UNTOLD]);
	for (size_t i = 0; i < b->verdicts_n; i++)
		junit_case(to, &b->verdicts[i]);
	fputs("</testsuite>\n", to);
}

static void write_markdown(const struct budgets *b, FILE *to)
{
	fprintf(to, "### gilscope: %zu of %zu budgets kept\n\n", b->counts[BUDGET_KEPT], judged_n(b));
	fputs("| budget | | process | |\n|---|---|---|---|\n", to);
	for (size_t i = 0; i < b->verdicts_n; i++) {
		const struct verdict_of *v = &b->verdicts[i];

		fputs("| ", to);
		markup__markdown(to, v->budget->text);
		fprintf(to, " | %s | ", words_of(v->result.state));
		markup__markdown(to, v->who);
		fputs(" | ", to);
		markup__markdown(to, v->result.sentence);
		if (v->result.stack[0]) {
			fputs("; stack: ", to);
			markup__markdown(to, inner_end(v->result.stack));
		}
		fputs(" |\n", to);
	}
}

static int write_file(const struct budgets *b, struct outfile *f, void (*write)(const struct budgets *b, FILE *to))
{
	struct reason why;

	if (!f->to)
		return 0;
	write(b, f->to);
	if (!outfile__keep(f, &why))
		return 0;
	log_error("%s", why.text);
	return -EIO;
}

static json_t *verdict_json(const struct verdict_of *v)
{
	json_t *json = json_pack("{s:s, s:s, s:s}", "budget", v->budget->text, "state", budget_state__name(v->result.state),
				 "sentence", v->result.sentence);

	if (json && v->who[0])
		json_object_set_new(json, "process", json_string(v->who));
	if (json && v->result.stack[0])
		json_object_set_new(json, "stack", json_string(v->result.stack));
	json_object_set_new(json, "low", out__json_num(v->result.low));
	json_object_set_new(json, "high", out__json_num(v->result.high));
	return json;
}

json_t *budgets__json(const struct budgets *b)
{
	json_t *list = b ? json_array() : NULL;

	for (size_t i = 0; list && i < b->verdicts_n; i++)
		json_array_append_new(list, verdict_json(&b->verdicts[i]));
	return list;
}

int budgets__finish(struct budgets *b)
{
	struct reason nobody;
	int err;

	if (!b)
		return EXIT_OK;
	if (!b->verdicts_n) {
		reason__set(&nobody, -ENODATA, b->no_memory ? "not enough memory" : "no Python process was observed to its end");
		budgets__fail(b, &nobody);
	}
	for (size_t i = 0; i < b->verdicts_n; i++)
		say(&b->verdicts[i]);
	err = write_file(b, &b->junit, write_junit);
	err = write_file(b, &b->markdown, write_markdown) ?: err;
	if (b->counts[BUDGET_BROKEN])
		return EXIT_BUDGET_BROKEN;
	return b->counts[BUDGET_UNTOLD] || b->no_memory || err ? EXIT_BUDGET_UNTOLD : EXIT_OK;
}
