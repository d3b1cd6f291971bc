/* SPDX-License-Identifier: GPL-2.0-only */
/* See top_view.h. Here is the page of a process; the other pages are in top_pages.c, what they are made of in top_parts.c. */
#include "top_view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/human.h"
#include "cli/out.h"
#include "cli/rows.h"
#include "collector/base/text.h"
#include "top_pages.h"
#include "top_parts.h"

#define SPARK_MAX 400
#define LABEL_COLUMNS 17       /* "GIL busy  66.8%  " */
#define PAST_COLUMNS 10        /* "    2 min" */
#define SPARK_MIN 8
#define PAIRS_MIN_LINES 16     /* lower terminals have no pairs, ... */
#define LOW_LINES 12           /* ... hardly a header ... */
#define TINY_LINES 5           /* ... or none */
#define GILS_SHOWN 8
#define NOTICE_MS 10000
#define MUCH 0.5               /* shares from here on stand out */
#define TOO_MUCH 0.9

/* ---- the header ---- */

static const char *clock_text(char buf[16], int64_t ms)
{
	time_t when = (time_t)(ms / 1000);
	struct tm tm;

	strcpy(buf, "--:--:--");
	if (ms > 0 && localtime_r(&when, &tm))
		strftime(buf, 16, "%H:%M:%S", &tm);
	return buf;
}

/* On the right: which time is shown. */
static size_t put_when(const struct top_model *m, const struct top_frame *f, struct canvas *c)
{
	char text[80], span[HUMAN_SIZE], clock[16];

	if (!f)
		return c->columns;
	snprintf(text, sizeof(text), "%s%s to %s", m->paused ? "PAUSED  " : "", human__us(span, f->d_us),
		 clock_text(clock, f->end_ms));
	return canvas__put_right(c, 0, c->columns, c->columns / 2, m->paused ? LOOK_WARN : LOOK_FAINT, text);
}

static void title_line(const struct top_model *m, const struct top_frame *f, struct canvas *c)
{
	size_t end = put_when(m, f, c), room = end > PART_GAP ? end - PART_GAP : 0, column;
	char pieces[3][192] = {"", "", ""};
	const char *label = m->who.label[0] ? m->who.label : "gilscope top";

	if (m->who.pid)
		snprintf(pieces[0], sizeof(pieces[0]), "  pid %d%s%s", (int)m->who.pid, m->who.host[0] ? " on " : "",
			 m->who.host);
	if (m->who.python[0])
		snprintf(pieces[1], sizeof(pieces[1]), "  CPython %s", m->who.python);
	if (m->who.mode[0])
		snprintf(pieces[2], sizeof(pieces[2]), "  %s mode", m->who.mode);
	/* The label may be cut, but for the sake of its PID alone. */
	column = text__columns(label);
	if (column + text__columns(pieces[0]) > room)
		column = room > text__columns(pieces[0]) ? room - text__columns(pieces[0]) : 0;
	column = canvas__put(c, 0, 0, column, LOOK_STRONG, label);
	for (size_t i = 0; i < 3 && column + text__columns(pieces[i]) <= room; i++)
		column = canvas__put(c, 0, column, SIZE_MAX, i == 0 ? LOOK_STRONG : LOOK_PLAIN, pieces[i]);
}

/* What is not as it should be, in at most three lines. */
static size_t banner(const struct top_model *m, struct canvas *c, size_t line, int64_t now_ms)
{
	size_t max = c->lines >= PAIRS_MIN_LINES ? 3 : 1;

	if (m->state == TOP_AWAY || m->state == TOP_ENDED)
		line = part__wrap(c, line, 0, max, LOOK_WARN, m->words);
	else if (m->state == TOP_FAILED)
		line = part__wrap(c, line, 0, max, LOOK_BAD, m->words);
	if (m->notice[0] && now_ms - m->notice_ms < NOTICE_MS)
		line = part__wrap(c, line, 0, max, LOOK_STRONG, m->notice);
	return line;
}

static enum look look_of_share(double share)
{
	return share >= TOO_MUCH ? LOOK_BAD : share >= MUCH ? LOOK_WARN : LOOK_STRONG;
}

/* The numbers of the chosen GIL, or of all. */
static const struct top_numbers *shown_numbers(const struct top_model *m, const struct top_frame *f)
{
	for (size_t i = 0; i < f->gils_n; i++)
		if (m->gil >= 0 && f->gils[i].gil == m->gil)
			return &f->gils[i].is;
	return &f->is;
}

struct past {
	double busy[SPARK_MAX], waiting[SPARK_MAX];
	size_t n, step_s;
};

static void put_past(struct canvas *c, size_t line, const struct past *past, const double *values, double full,
		     const char *right)
{
	char buf[3 * SPARK_MAX + 8];

	if (past->n < SPARK_MIN)
		return;
	part__spark(buf, sizeof(buf), values, past->n, full, c->ascii);
	canvas__put(c, line, LABEL_COLUMNS, past->n, LOOK_GOOD, buf);
	canvas__put_right(c, line, c->columns, PAST_COLUMNS, LOOK_FAINT, right);
}

static size_t busy_line(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line,
			const struct past *past)
{
	const struct top_numbers *is = shown_numbers(m, f);
	char share[HUMAN_SIZE], span[HUMAN_SIZE], busy[HUMAN_SIZE + 1];
	size_t seconds = past->n * past->step_s;

	snprintf(busy, sizeof(busy), "%s%s", f->estimated ? "~" : "", human__share(share, is->hold));
	canvas__put(c, line, 0, SIZE_MAX, LOOK_PLAIN, "GIL busy");
	canvas__put_right(c, line, LABEL_COLUMNS - 2, 7, look_of_share(is->hold), busy);
	if (isnan(is->hold)) {
		canvas__put(c, line, LABEL_COLUMNS, SIZE_MAX, LOOK_FAINT, "(light mode sees only who queues)");
		return line + 1;
	}
	if (seconds < 120)
		snprintf(span, sizeof(span), "%zu s", seconds);
	else
		snprintf(span, sizeof(span), "%zu min", seconds / 60);
	put_past(c, line, past, past->busy, 1, span);
	return line + 1;
}

static size_t waiting_line(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line,
			   const struct past *past)
{
	double waiting = shown_numbers(m, f)->wait, peak = 0;
	char text[40];

	canvas__put(c, line, 0, SIZE_MAX, LOOK_PLAIN, "Waiting");
	snprintf(text, sizeof(text), "%.2f", waiting);
	canvas__put_right(c, line, LABEL_COLUMNS - 2, 7, waiting >= 1 ? LOOK_WARN : LOOK_STRONG,
			  isnan(waiting) ? "-" : text);
	for (size_t i = 0; i < past->n; i++)
		peak = past->waiting[i] > peak ? past->waiting[i] : peak;
	snprintf(text, sizeof(text), "peak %.1f", peak);
	put_past(c, line, past, past->waiting, peak > 1 ? peak : 1, text);
	return line + 1;
}

static void rate(struct part_flow *flow, double per_s, const char *what)
{
	char buf[HUMAN_SIZE];

	if (!isnan(per_s))
		part__add(flow, LOOK_PLAIN, "%s %s", human__count(buf, per_s), what);
}

static void share_of(struct part_flow *flow, const char *what, double share, const char *of)
{
	char buf[HUMAN_SIZE];

	if (!isnan(share))
		part__add(flow, LOOK_PLAIN, "%s %s%s", what, human__share(buf, share), of);
}

#define OFF_CPU_SAID 0.01

/* What keeps holds long without anybody computing; little of it is nothing to say. */
static void off_cpu(struct part_flow *flow, const struct off_shares *off)
{
	char text[128];

	if (off->asleep >= OFF_CPU_SAID || off->stopped >= OFF_CPU_SAID || off->starved >= OFF_CPU_SAID)
		part__add(flow, LOOK_WARN, "held: %s", rows__off_words(off, text, sizeof(text)));
}

static void garbage(struct part_flow *flow, const struct gc_shares *gc)
{
	char text[96];

	if (rows__gc_words(gc, text, sizeof(text))[0])
		part__add(flow, LOOK_WARN, "%s", text);
}

static void losses(struct part_flow *flow, const struct top_frame *f)
{
	char buf[HUMAN_SIZE];

	if (isnan(f->lost))
		return;
	if (f->losses[0])
		part__add(flow, LOOK_BAD, "%s", f->losses);
	else
		part__add(flow, f->lost > 0 ? LOOK_BAD : LOOK_PLAIN, "lost %s", human__count(buf, f->lost));
}

static void coverage(struct part_flow *flow, const struct top_frame *f)
{
	char buf[HUMAN_SIZE];

	if (f->d_us > 0 && f->observed_us < f->d_us * 0.9995)
		part__add(flow, LOOK_WARN, "observed %s of it", human__share(buf, f->observed_us / f->d_us));
}

static size_t rate_lines(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line)
{
	const struct top_numbers *is = shown_numbers(m, f);
	struct part_flow flow = {.c = c, .line = line, .end = line + (c->lines < PAIRS_MIN_LINES ? 1 : 3)};
	char buf[HUMAN_SIZE];

	rate(&flow, is->n, "acquires/s");
	rate(&flow, is->c, "contended/s");
	rate(&flow, is->forced, "forced/s");
	off_cpu(&flow, &is->hold_off);
	if (f->tracers[0])
		part__add(&flow, LOOK_WARN, "stopped by %s", f->tracers);
	garbage(&flow, &is->gc);
	if (m->gil < 0 && f->is.wait > 0)
		share_of(&flow, "handover", f->handover / f->is.wait, " of waiting");
	if (!isnan(f->threads_alive))
		part__add(&flow, LOOK_PLAIN, "%s threads", human__count(buf, f->threads_alive));
	share_of(&flow, "CPU", f->cpu, "");
	share_of(&flow, "probes cost", f->cost, " of a core");
	coverage(&flow, f);
	losses(&flow, f);
	if (m->source[0])
		part__add(&flow, LOOK_PLAIN, "%s", m->source);
	return part__flow_end(&flow);
}

/* Several GILs: how busy each is, and which is shown. */
static size_t gils_line(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line)
{
	struct part_flow flow = {.c = c, .line = line, .end = line + 1};
	char name[16], share[HUMAN_SIZE];

	if (!f->gils_n)
		return line;
	part__add(&flow, m->gil < 0 ? LOOK_STRONG : LOOK_PLAIN, "GILs: %sall %zu%s", m->gil < 0 ? "[" : "", f->gils_n,
		  m->gil < 0 ? "]" : "");
	for (size_t i = 0; i < f->gils_n; i++) {
		const struct top_gil *g = &f->gils[i];
		bool chosen = m->gil >= 0 && g->gil == m->gil;

		if (i < GILS_SHOWN || chosen)
			part__add(&flow, chosen ? LOOK_STRONG : LOOK_PLAIN, "%s%s %s%s", chosen ? "[" : "",
				  rows__gil_name(g->gil, name, sizeof(name)),
				  human__share(share, isnan(g->is.hold) ? g->is.wait : g->is.hold), chosen ? "]" : "");
	}
	return part__flow_end(&flow);
}

/* Two numbers are all there is room for. */
static size_t low_header(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line)
{
	const struct top_numbers *is = shown_numbers(m, f);
	char share[HUMAN_SIZE];
	size_t column = canvas__say(c, line, 0, look_of_share(is->hold), "GIL busy %s%s", f->estimated ? "~" : "",
				    human__share(share, is->hold));

	if (!isnan(is->wait))
		canvas__say(c, line, column + PART_GAP, LOOK_STRONG, "%.2f waiting", is->wait);
	return line + 1;
}

static size_t header(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line)
{
	struct past *past;
	size_t room = c->columns > LABEL_COLUMNS + PAST_COLUMNS ? c->columns - LABEL_COLUMNS - PAST_COLUMNS : 0;

	if (c->lines < TINY_LINES)
		return line;
	if (c->lines < LOW_LINES)
		return low_header(m, f, c, line);
	past = calloc(1, sizeof(*past));
	if (!past)
		return line;
	/* The past is kept of the process as a whole. */
	past->n = m->gil >= 0 ? 0 : room < SPARK_MAX ? room : SPARK_MAX;
	top_model__past(m, past->n, past->busy, past->waiting, &past->step_s);
	line = busy_line(m, f, c, line, past);
	line = waiting_line(m, f, c, line, past);
	free(past);
	if (f->standing[0])
		line = part__wrap(c, line, 0, 2, LOOK_BAD, f->standing);
	line = gils_line(m, f, c, line);
	return rate_lines(m, f, c, line);
}

/* ---- the threads ---- */

enum { NAME, TID, INSIDE, HOLD, WAIT, BLAME, HOLD_MAX, WAIT_P99, CONTENDED, ACQUIRES, FORCED, COLUMNS_N };

static const struct part_column columns[COLUMNS_N] = {
	[NAME] = {"THREAD", 0, 0, true},
	[TID] = {"TID", 7, 6, false},
	[INSIDE] = {"INSIDE", 7, 7, false},
	[HOLD] = {"HOLD", 6, 1, false},
	[WAIT] = {"WAIT", 6, 2, false},
	[BLAME] = {"BLAME", 7, 3, false},
	[HOLD_MAX] = {"MAX HOLD", 8, 4, false},
	[WAIT_P99] = {"P99 WAIT", 8, 5, false},
	[CONTENDED] = {"CONT/S", 6, 8, false},
	[ACQUIRES] = {"ACQ/S", 6, 9, false},
	[FORCED] = {"FORCED", 6, 10, false},
};

#define NAME_COLUMNS_MIN 14
#define NAME_COLUMNS_MAX 40

static const size_t sort_columns[TOP_SORT_COUNT] = {
	[TOP_SORT_HOLD] = HOLD, [TOP_SORT_WAIT] = WAIT, [TOP_SORT_BLAME] = BLAME, [TOP_SORT_HOLD_MAX] = HOLD_MAX,
	[TOP_SORT_WAIT_P99] = WAIT_P99,
};

static void cell_share(struct canvas *c, size_t line, size_t *x, size_t width, double share, bool stands_out)
{
	char buf[HUMAN_SIZE];
	enum look look = stands_out && share >= MUCH ? look_of_share(share) : share == 0 ? LOOK_FAINT : LOOK_PLAIN;

	part__cell(c, line, x, width, false, look, human__share(buf, share));
}

static void cell_us(struct canvas *c, size_t line, size_t *x, size_t width, double us)
{
	char buf[HUMAN_SIZE];

	part__cell(c, line, x, width, false, us == 0 ? LOOK_FAINT : LOOK_PLAIN, human__us(buf, us));
}

static void cell_count(struct canvas *c, size_t line, size_t *x, size_t width, double n)
{
	char buf[HUMAN_SIZE];

	part__cell(c, line, x, width, false, n == 0 ? LOOK_FAINT : LOOK_PLAIN, human__count(buf, n));
}

static void cell_id(struct canvas *c, size_t line, size_t *x, size_t width, uint32_t id)
{
	char buf[16];

	snprintf(buf, sizeof(buf), "%u", id);
	part__cell(c, line, x, width, false, LOOK_PLAIN, id ? buf : "-");
}

static void thread_line(struct canvas *c, size_t line, const size_t *widths, const struct top_thread *t, bool chosen)
{
	char name[TOP_NAME_SIZE * 2];
	size_t x = 0;

	part__cell(c, line, &x, widths[NAME], true, LOOK_PLAIN, out__cut_middle(name, sizeof(name), t->name, widths[NAME]));
	cell_id(c, line, &x, widths[TID], t->tid);
	cell_id(c, line, &x, widths[INSIDE], t->inside);
	cell_share(c, line, &x, widths[HOLD], t->is.hold, true);
	cell_share(c, line, &x, widths[WAIT], t->is.wait, false);
	cell_share(c, line, &x, widths[BLAME], t->blame, true);
	cell_us(c, line, &x, widths[HOLD_MAX], t->is.hold_max);
	cell_us(c, line, &x, widths[WAIT_P99], t->is.wait_p99);
	cell_count(c, line, &x, widths[CONTENDED], t->is.c);
	cell_count(c, line, &x, widths[ACQUIRES], t->is.n);
	cell_count(c, line, &x, widths[FORCED], t->is.forced);
	if (chosen)
		canvas__paint(c, line, 0, c->columns, LOOK_CHOSEN);
}

/* Of the threads that are not on the screen. */
static void rest_line(struct canvas *c, size_t line, const struct top_frame *f, const size_t *order, size_t n, size_t first,
		      size_t rows)
{
	double hold = 0, wait = 0;
	char h[HUMAN_SIZE], w[HUMAN_SIZE];

	for (size_t i = 0; i < n; i++)
		if (i < first || i >= first + rows) {
			hold += f->threads[order[i]].is.hold;
			wait += f->threads[order[i]].is.wait;
		}
	canvas__say(c, line, 0, LOOK_FAINT, "%zu-%zu of %zu; the others together: hold %s%s, wait %s", first + 1, first + rows,
		    n, f->estimated ? "~" : "", human__share(h, hold), human__share(w, wait));
}

static bool any_inside(const struct top_frame *f)
{
	for (size_t i = 0; i < f->threads_n; i++)
		if (f->threads[i].inside)
			return true;
	return false;
}

static void thread_table(struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line, size_t end)
{
	struct part_column cols[COLUMNS_N];
	size_t widths[COLUMNS_N], n, cursor = top_model__cursor(m), rows = end > line + 1 ? end - line - 1 : 0;
	const size_t *order = top_model__order(m, &n);
	bool rest = n > rows && rows > 1;

	memcpy(cols, columns, sizeof(cols));
	if (f->estimated)
		cols[HOLD].title = "~HOLD";
	if (!any_inside(f))
		cols[INSIDE].rank = PART_NEVER;
	part__fit(cols, COLUMNS_N, c->columns, NAME_COLUMNS_MIN, NAME_COLUMNS_MAX, widths);
	part__heading(c, line, cols, widths, COLUMNS_N, sort_columns[m->sort]);
	rows -= rest;
	m->page_rows = rows ? rows : 1;
	if (!n && rows)
		canvas__put(c, line + 1, 0, SIZE_MAX, LOOK_FAINT, isnan(f->is.hold) ? "No thread had to wait for the GIL." :
			    "No thread used the GIL.");
	m->first_row = part__scroll(m->first_row, cursor, n, m->page_rows);
	for (size_t i = 0; i < rows && m->first_row + i < n; i++)
		thread_line(c, line + 1 + i, widths, &f->threads[order[m->first_row + i]], m->first_row + i == cursor);
	if (rest)
		rest_line(c, end - 1, f, order, n, m->first_row, rows);
}

/* ---- the page ---- */

static void put_keys(const struct top_model *m, const struct top_frame *f, struct canvas *c)
{
	const struct part_key keys[] = {
		{"H", "Hold", 4}, {"W", "Wait", 5}, {"B", "Blame", 6},
		{"p", m->paused ? "Go on" : "Pause", 3},
		{"m", m->wants_minute ? "Interval" : "Minute", 8},
		{"g", "GIL", f && f->gils_n ? 7 : 0},
		{"Enter", "Thread", 9}, {"l", "List", 10}, {"?", "Help", 2}, {"q", "Quit", 1},
	};

	part__keys(c, keys, sizeof(keys) / sizeof(keys[0]));
}

/* How much of the page's lower end the pairs get. The same for every frame: what jumps cannot be read. */
static size_t pair_lines(const struct canvas *c, const struct top_frame *f, size_t body)
{
	size_t lines = f->code_known ? body * 4 / 9 : body / 3;

	if (c->lines < PAIRS_MIN_LINES || body < 8)
		return 0;
	return lines < 4 ? 4 : lines > 20 ? 20 : lines;
}

static void process_page(struct top_model *m, struct canvas *c, int64_t now_ms)
{
	const struct top_frame *f = top_model__frame(m);
	size_t line, end = c->lines - 1, pairs;

	title_line(m, f, c);
	line = banner(m, c, 1, now_ms);
	if (c->lines > 2)
		put_keys(m, f, c);
	else
		end = c->lines;
	if (!f) {
		if (m->state == TOP_STARTING || m->state == TOP_LIVE)
			part__wrap(c, line + (c->lines > LOW_LINES), 0, 3, LOOK_PLAIN, m->words[0] ? m->words :
				   "Waiting for the end of the first interval.");
		return;
	}
	if (f->no_gil) {
		part__wrap(c, line, 0, 3, LOOK_STRONG, NO_GIL_SAYS);
		return;
	}
	line = header(m, f, c, line);
	pairs = end > line ? pair_lines(c, f, end - line) : 0;
	thread_table(m, f, c, line, end - pairs);
	if (pairs)
		top_pairs__draw(m, f, c, end - pairs, end);
}

void top_view__draw(struct top_model *m, struct canvas *c, int64_t now_ms)
{
	if (m->help)
		top_help__draw(m, c);
	else if (m->page == TOP_PAGE_LIST)
		top_list__draw(m, c, now_ms);
	else if (m->page == TOP_PAGE_THREAD && top_model__frame(m))
		top_thread__draw(m, c);
	else
		process_page(m, c, now_ms);
}
