/* SPDX-License-Identifier: GPL-2.0-only */
/* See top_pages.h. */
#include "top_pages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/human.h"
#include "cli/out.h"
#include "cli/rows.h"
#include "collector/base/text.h"
#include "top_parts.h"

#define BLAMED_MUCH 0.25
#define REST_SAID 0.0005 /* less is shown as nothing */

/* ---- who waits for whom ---- */

/* A line of the table: a pair, or waiting that is nobody's fault. */
struct pair_line {
	const char *victim, *holder;
	double share;
};

enum { VICTIM, HOLDER, TIME, OF_ALL, BAR, PAIR_COLUMNS };

static const struct part_column pair_columns[PAIR_COLUMNS] = {
	[VICTIM] = {"WHO WAITED", 0, 0, true},
	[HOLDER] = {"FOR WHOM", 22, 1, true},
	[TIME] = {"TIME", 6, 2, false},
	[OF_ALL] = {"OF WAITING", 10, 3, false},
	[BAR] = {"", 12, 4, true},
};

static int larger_first(const void *a_, const void *b_)
{
	const struct pair_line *a = a_, *b = b_;

	return a->share < b->share ? 1 : a->share > b->share ? -1 : 0;
}

/* What belongs to the chosen GIL, or to the thread `only` (SIZE_MAX: anyone). */
static bool belongs(const struct top_model *m, const struct top_frame *f, const struct top_pair *p, size_t only)
{
	if (only != SIZE_MAX)
		return p->victim == only || p->holder == only;
	return m->gil < 0 || f->threads[p->victim].gil == m->gil;
}

/* All of the waiting that is known, largest first; *ret_n lines. Freed by the caller. NULL: no memory. */
static struct pair_line *blame_lines(const struct top_model *m, const struct top_frame *f, size_t only, size_t *ret_n)
{
	struct pair_line *lines = calloc(f->pairs_n + 3, sizeof(*lines));
	double rest = f->is.wait - f->unknown - (isnan(f->handover) ? 0 : f->handover);
	size_t n = 0;

	if (!lines)
		return NULL;
	for (size_t i = 0; i < f->pairs_n; i++)
		if (belongs(m, f, &f->pairs[i], only))
			lines[n++] = (struct pair_line){f->threads[f->pairs[i].victim].name,
							 f->threads[f->pairs[i].holder].name, f->pairs[i].share};
	for (size_t i = 0; i < f->pairs_n; i++)
		rest -= f->pairs[i].share;
	/* Redis has the largest pairs, and each in whole microseconds. */
	if (only == SIZE_MAX && m->gil < 0 && rest >= REST_SAID)
		lines[n++] = (struct pair_line){"(all)", "(all other pairs)", rest};
	if (only == SIZE_MAX && m->gil < 0 && f->handover > 0)
		lines[n++] = (struct pair_line){"(all)", "(nobody: handover)", f->handover};
	if (only == SIZE_MAX && m->gil < 0 && f->unknown > 0)
		lines[n++] = (struct pair_line){"(all)", "(not known)", f->unknown};
	qsort(lines, n, sizeof(*lines), larger_first);
	*ret_n = n;
	return lines;
}

static double all_waiting(const struct top_model *m, const struct top_frame *f)
{
	for (size_t i = 0; i < f->gils_n; i++)
		if (m->gil >= 0 && f->gils[i].gil == m->gil)
			return f->gils[i].is.wait;
	return f->is.wait;
}

static void put_pair(struct canvas *c, size_t line, const size_t *widths, const struct pair_line *p, double all)
{
	char name[TOP_NAME_SIZE * 2], buf[HUMAN_SIZE], bar[64];
	size_t x = 0;
	bool somebody = p->holder[0] != '(';
	enum look look = somebody && p->share >= BLAMED_MUCH ? LOOK_BAD : LOOK_PLAIN;

	part__cell(c, line, &x, widths[VICTIM], true, LOOK_PLAIN, out__cut_middle(name, sizeof(name), p->victim, widths[VICTIM]));
	part__cell(c, line, &x, widths[HOLDER], true, look, out__cut_middle(name, sizeof(name), p->holder, widths[HOLDER]));
	part__cell(c, line, &x, widths[TIME], false, LOOK_PLAIN, human__share(buf, p->share));
	part__cell(c, line, &x, widths[OF_ALL], false, LOOK_PLAIN, all > 0 ? human__share(buf, p->share / all) : "-");
	if (all > 0)
		part__cell(c, line, &x, widths[BAR], true, LOOK_WARN,
			   part__bar(bar, sizeof(bar), p->share / all, widths[BAR], c->ascii));
}

/* The table of pairs in lines [line, end). */
static void pair_table(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line, size_t end,
		       size_t only)
{
	size_t widths[PAIR_COLUMNS], n = 0;
	struct pair_line *lines = blame_lines(m, f, only, &n);
	struct part_column cols[PAIR_COLUMNS];

	if (!lines || line >= end)
		goto out;
	memcpy(cols, pair_columns, sizeof(cols));
	cols[HOLDER].width = c->columns > 120 ? 36 : c->columns < 60 ? c->columns / 3 : 22;
	cols[BAR].width = c->columns > 120 ? 20 : 12;
	if (f->sampled) {
		cols[TIME].title = "~TIME";
		cols[HOLDER].title = "FOR WHOM (SAMPLED)";
	}
	part__fit(cols, PAIR_COLUMNS, c->columns, 12, cols[HOLDER].width, widths);
	part__heading(c, line++, cols, widths, PAIR_COLUMNS, SIZE_MAX);
	if (!n && line < end)
		canvas__put(c, line, 0, SIZE_MAX, LOOK_FAINT, only == SIZE_MAX ? "Nobody waited for anybody." :
			    "It waited for nobody, and nobody for it.");
	for (size_t i = 0; i < n && line < end; i++)
		put_pair(c, line++, widths, &lines[i], all_waiting(m, f));
out:
	free(lines);
}

enum { PLACE, CODE_THREAD, CODE_BLAME, CODE_HOLD, CODE_WAIT, CODE_COLUMNS };

static const struct part_column code_columns[CODE_COLUMNS] = {
	[PLACE] = {"IN THIS CODE", 0, 0, true},
	[CODE_THREAD] = {"OF THREAD", 18, 3, true},
	[CODE_BLAME] = {"BLAME", 7, 1, false},
	[CODE_HOLD] = {"HOLD", 6, 2, false},
	[CODE_WAIT] = {"WAIT", 6, 4, false},
};

static void put_code(const struct top_frame *f, struct canvas *c, size_t line, const size_t *widths, const struct top_code *code)
{
	char text[CODE_TEXT_SIZE * 2], buf[HUMAN_SIZE], who[HUMAN_SIZE];
	size_t x = 0;

	snprintf(who, sizeof(who), "%zu threads", code->threads);
	part__cell(c, line, &x, widths[PLACE], true, LOOK_PLAIN, out__cut_middle(text, sizeof(text), code->place, widths[PLACE]));
	part__cell(c, line, &x, widths[CODE_THREAD], true, LOOK_PLAIN,
		   out__cut_middle(text, sizeof(text), code->threads > 1 ? who : f->threads[code->thread].name,
				   widths[CODE_THREAD]));
	part__cell(c, line, &x, widths[CODE_BLAME], false, code->blame >= BLAMED_MUCH ? LOOK_BAD : LOOK_PLAIN,
		   human__share(buf, code->blame));
	part__cell(c, line, &x, widths[CODE_HOLD], false, LOOK_PLAIN, human__share(buf, code->hold));
	part__cell(c, line, &x, widths[CODE_WAIT], false, LOOK_PLAIN, human__share(buf, code->wait));
}

/* The code that made others wait, in lines [line, end); of the thread `only` all that is known of it. */
static void code_table(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line, size_t end,
		       size_t only)
{
	const struct top_code *list = only == SIZE_MAX ? f->places : f->code;
	size_t list_n = only == SIZE_MAX ? f->places_n : f->code_n;
	struct part_column cols[CODE_COLUMNS];
	size_t widths[CODE_COLUMNS], n = 0;

	if (line >= end)
		return;
	memcpy(cols, code_columns, sizeof(cols));
	if (f->estimated)
		cols[CODE_HOLD].title = "~HOLD";
	if (only == SIZE_MAX)
		cols[CODE_WAIT].rank = PART_NEVER;
	else
		cols[CODE_THREAD].rank = PART_NEVER;
	part__fit(cols, CODE_COLUMNS, c->columns, 20, SIZE_MAX, widths);
	part__heading(c, line++, cols, widths, CODE_COLUMNS, SIZE_MAX);
	for (size_t i = 0; i < list_n && line < end; i++) {
		const struct top_code *code = &list[i];
		bool shown = only != SIZE_MAX ? code->thread == only : code->blame > 0 &&
			     (m->gil < 0 || f->threads[code->thread].gil == m->gil);

		if (shown) {
			put_code(f, c, line++, widths, code);
			n++;
		}
	}
	if (!n && line < end)
		canvas__put(c, line, 0, SIZE_MAX, LOOK_FAINT, only == SIZE_MAX ? "No long hold made anybody wait." :
			    "None of its holds and waits was long.");
}

void top_pairs__draw(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line, size_t end)
{
	size_t code = f->code_known ? (end - line) / 2 : 0;

	pair_table(m, f, c, line, end - code, SIZE_MAX);
	if (code)
		code_table(m, f, c, end - code, end, SIZE_MAX);
}

/* ---- one thread ---- */

static size_t put_length(struct canvas *c, size_t line, const char *what, double p50, double p99, const char *bound, double max)
{
	char a[HUMAN_SIZE], b[HUMAN_SIZE], d[HUMAN_SIZE];

	canvas__say(c, line, 0, LOOK_PLAIN, "%-14s  p50 %9s  p99 %9s  max %s%9s", what, human__us(a, p50), human__us(b, p99),
		    isnan(max) ? "" : bound, human__us(d, max));
	return line + 1;
}

/* A share of the time, and what the holder did meanwhile as far as that is known. */
static void put_share(struct canvas *c, size_t line, const char *what, double share, const char *who,
		      const struct off_shares *off)
{
	char buf[HUMAN_SIZE], text[128];
	size_t column = canvas__say(c, line, 0, LOOK_PLAIN, "%-14s  %6s", what, human__share(buf, share));

	if (rows__off_words(off, text, sizeof(text))[0])
		canvas__say(c, line, column, off->on < 0.99 ? LOOK_WARN : LOOK_PLAIN, "%s%s", who, text);
	else
		canvas__put(c, line, column, SIZE_MAX, LOOK_PLAIN, " of the time");
}

static size_t put_thread(struct canvas *c, size_t line, const struct top_thread *t, bool estimated, bool looked)
{
	char a[HUMAN_SIZE], b[HUMAN_SIZE], d[HUMAN_SIZE];

	put_share(c, line++, estimated ? "Holds it, about" : "Holds the GIL", t->is.hold, ": ", &t->is.hold_off);
	put_share(c, line++, "Waits for it", t->is.wait, ", holders ", &t->is.wait_off);
	canvas__say(c, line++, 0, LOOK_PLAIN, "Makes wait      %6s of the time (more than 100%%: several threads at once)",
		    human__share(a, t->blame));
	canvas__say(c, line++, 0, LOOK_PLAIN, "Per second      %s acquires, %s of them waited, %s times it was made to let go",
		    human__count(a, t->is.n), human__count(b, t->is.c), human__count(d, t->is.forced));
	line = put_length(c, line, "One hold", t->is.hold_p50, t->is.hold_p99, "", t->is.hold_max);
	return put_length(c, line, "One wait", t->is.wait_p50, t->is.wait_p99, looked ? ">=" : "", t->is.wait_max) + 1;
}

void top_thread__draw(struct top_model *m, struct canvas *c)
{
	static const struct part_key keys[] = {
		{"Esc", "Back", 1}, {"Up/Down", "Other thread", 2}, {"p", "Pause", 3}, {"m", "Minute", 4}, {"?", "Help", 5},
	};
	const struct top_frame *f = top_model__frame(m);
	size_t at = top_frame__find(f, m->thr, m->thr_gil), line = 1, column;

	if (at == SIZE_MAX) {
		canvas__say(c, 0, 0, LOOK_STRONG, "Thread %.*s", (int)strcspn(m->thr, "."), m->thr);
		part__wrap(c, 2, 0, 2, LOOK_PLAIN, "It neither held the GIL nor waited for it in this time, or it has ended.");
	} else {
		const struct top_thread *t = &f->threads[at];

		column = canvas__put(c, 0, 0, SIZE_MAX, LOOK_STRONG, t->name);
		if (t->tid)
			column = canvas__say(c, 0, column + PART_GAP, LOOK_PLAIN, "tid %u", t->tid);
		if (t->inside)
			column = canvas__say(c, 0, column + PART_GAP, LOOK_PLAIN, "inside %u", t->inside);
		canvas__say(c, 0, column + PART_GAP, LOOK_PLAIN, "of %s (pid %d)%s", m->who.label, (int)m->who.pid,
			    m->paused ? "  PAUSED" : "");
		line = put_thread(c, line + (c->lines >= 16), t, f->estimated, f->looked);
		if (line + 2 < c->lines) {
			size_t end = c->lines - 1, code = f->code_known ? (end - line) / 2 : 0;

			pair_table(m, f, c, line, end - code, at);
			code_table(m, f, c, end - code, end, at);
		}
	}
	canvas__paint(c, c->lines - 1, 0, c->columns, LOOK_PLAIN);
	part__keys(c, keys, sizeof(keys) / sizeof(keys[0]));
}

/* ---- the list ---- */

enum { PID, BUSY, WAITING, THREADS, PYTHON, USER, HOST, STATE, PROGRAM, LIST_COLUMNS };

static const struct part_column list_columns[LIST_COLUMNS] = {
	[PID] = {"PID", 7, 1, false},
	[BUSY] = {"BUSY", 6, 2, false},
	[WAITING] = {"WAITING", 7, 3, false},
	[THREADS] = {"THREADS", 7, 5, false},
	[PYTHON] = {"PYTHON", 8, 7, true},
	[USER] = {"USER", 8, 8, true},
	[HOST] = {"HOST", 12, 6, true},
	[STATE] = {"OBSERVED", 11, 4, true},
	[PROGRAM] = {"PROGRAM", 0, 0, true},
};

static const char *state_of(const struct top_choice *p, char *buf, size_t size)
{
	char ago[HUMAN_SIZE];

	if (p->observed)
		return "now";
	if (p->note[0])
		return "cannot be";
	if (p->seen_ms_ago < 0)
		return "never";
	snprintf(buf, size, "%s", p->seen_ms_ago < 2000 ? "till now" : human__ago(ago, p->seen_ms_ago));
	return buf;
}

static void choice_line(struct canvas *c, size_t line, const size_t *widths, const struct top_choice *p, bool chosen)
{
	char buf[HUMAN_SIZE], id[16];
	size_t x = 0;

	snprintf(id, sizeof(id), "%d", (int)p->pid);
	part__cell(c, line, &x, widths[PID], false, LOOK_PLAIN, id);
	part__cell(c, line, &x, widths[BUSY], false, p->busy >= 0.9 ? LOOK_BAD : p->busy >= 0.5 ? LOOK_WARN : LOOK_PLAIN,
		   human__share(buf, p->busy));
	snprintf(id, sizeof(id), "%.2f", p->waiting);
	part__cell(c, line, &x, widths[WAITING], false, LOOK_PLAIN, isnan(p->waiting) ? "-" : id);
	part__cell(c, line, &x, widths[THREADS], false, LOOK_PLAIN, human__count(buf, p->threads));
	part__cell(c, line, &x, widths[PYTHON], true, LOOK_PLAIN, p->python[0] ? p->python : "-");
	part__cell(c, line, &x, widths[USER], true, LOOK_PLAIN, p->user[0] ? p->user : "-");
	part__cell(c, line, &x, widths[HOST], true, LOOK_PLAIN, p->host[0] ? p->host : "(here)");
	part__cell(c, line, &x, widths[STATE], true, p->observed ? LOOK_GOOD : p->note[0] ? LOOK_WARN : LOOK_FAINT,
		   state_of(p, buf, sizeof(buf)));
	part__cell(c, line, &x, widths[PROGRAM], true, LOOK_PLAIN, p->label[0] ? p->label : "?");
	if (chosen)
		canvas__paint(c, line, 0, c->columns, LOOK_CHOSEN);
}

static void list_title(const struct top_model *m, struct canvas *c)
{
	size_t observed = 0, column;

	for (size_t i = 0; i < m->choices_n; i++)
		observed += m->choices[i].observed;
	column = canvas__put(c, 0, 0, SIZE_MAX, LOOK_STRONG, "Python processes");
	canvas__say(c, 0, column + PART_GAP, LOOK_PLAIN, "%zu known, %zu observed now", m->choices_n, observed);
}

/* Why the one under the cursor cannot be opened, or what went wrong. */
static void list_words(const struct top_model *m, struct canvas *c, size_t line, int64_t now_ms)
{
	const struct top_choice *choice = top_model__choice(m);

	if (m->notice[0] && now_ms - m->notice_ms < 10000)
		part__wrap(c, line, 0, 2, LOOK_WARN, m->notice);
	else if (choice && choice->note[0])
		part__wrap(c, line, 0, 2, LOOK_WARN, choice->note);
	else if (choice && !choice->observed && !choice->id[0])
		canvas__say(c, line, 0, LOOK_FAINT, "Nobody observes process %d yet: Enter attaches to it, as gilscope attach "
			    "does.", (int)choice->pid);
}

static bool any_host(const struct top_model *m)
{
	for (size_t i = 0; i < m->choices_n; i++)
		if (m->choices[i].host[0])
			return true;
	return false;
}

void top_list__draw(struct top_model *m, struct canvas *c, int64_t now_ms)
{
	static const struct part_key keys[] = {
		{"Enter", "Open", 2}, {"Up/Down", "Choose", 4}, {"r", "Refresh", 5}, {"?", "Help", 3}, {"q", "Quit", 1},
	};
	size_t widths[LIST_COLUMNS], words = c->lines >= 12 ? 2 : 0, head = c->lines > 4;
	size_t rows = c->lines > head + 2 + words ? c->lines - head - 2 - words : 1;
	struct part_column cols[LIST_COLUMNS];

	memcpy(cols, list_columns, sizeof(cols));
	if (!any_host(m))
		cols[HOST].rank = PART_NEVER;
	if (head)
		list_title(m, c);
	part__fit(cols, LIST_COLUMNS, c->columns, 24, SIZE_MAX, widths);
	part__heading(c, head, cols, widths, LIST_COLUMNS, SIZE_MAX);
	m->page_rows = rows;
	m->first_choice = part__scroll(m->first_choice, m->chosen, m->choices_n, rows);
	for (size_t i = 0; i < rows && m->first_choice + i < m->choices_n; i++)
		choice_line(c, head + 1 + i, widths, &m->choices[m->first_choice + i], m->first_choice + i == m->chosen);
	if (!m->choices_n)
		part__wrap(c, head + 1, 0, 2, LOOK_PLAIN, m->choices_known ? "No Python process runs here (or none that you may "
			   "see), and Redis knows none." : "Looking for Python processes ...");
	if (words)
		list_words(m, c, c->lines - 1 - words, now_ms);
	if (c->lines > 2)
		part__keys(c, keys, sizeof(keys) / sizeof(keys[0]));
}

/* ---- help ---- */

static const struct {
	const char *key, *text;
} help[] = {
	{"", "What the numbers mean (of the last interval, or of the last minute)"},
	{"GIL busy", "share of the time in which a thread had the GIL"},
	{"Waiting", "threads that queue for it, on average"},
	{"HOLD", "share of the time in which this thread had it"},
	{"WAIT", "share of the time in which this thread queued for it"},
	{"BLAME", "how long others queued while it had it; 200%: two all the time"},
	{"MAX HOLD", "the longest it had it at a stretch"},
	{"P99 WAIT", "99 of 100 of its waits were shorter"},
	{"handover", "waiting while nobody had it: the next one was being woken up"},
	{"code", "where its long holds were, that others waited for (--stacks)"},
	{"~", "an estimate (light mode: holds are seen at ticks of CPU time; look mode: by looks)"},
	{"-", "not known"},
	{"", "Keys"},
	{"H W B 4 5", "order by hold, wait, blame, longest hold, P99 wait (< >: next)"},
	{"p Space", "pause, go on"},
	{"m", "the last minute instead of the last interval, and back"},
	{"g", "the next GIL, where there are several"},
	{"Up Down", "choose a thread (also j k PgUp PgDn Home End); Enter: all about it"},
	{"l", "the list of processes (what was attached to here is let go)"},
	{"q Ctrl-C", "quit; the probes are lifted"},
};

void top_help__draw(const struct top_model *m, struct canvas *c)
{
	static const struct part_key keys[] = {{"any key", "Back", 1}};
	size_t line = 0, room = c->lines > 2 ? c->lines - 1 : c->lines;

	for (size_t i = 0; i < sizeof(help) / sizeof(help[0]) && line < room; i++) {
		if (!help[i].key[0]) {
			line += i > 0 && c->lines >= 22;
			canvas__put(c, line++, 0, SIZE_MAX, LOOK_STRONG, help[i].text);
			continue;
		}
		canvas__put(c, line, 2, 10, LOOK_KEY, help[i].key);
		line = part__wrap(c, line, 13, c->columns >= 80 && c->lines < 24 ? 1 : 2, LOOK_PLAIN, help[i].text);
	}
	if (c->lines > 2)
		part__keys(c, keys, 1);
}
