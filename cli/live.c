/* SPDX-License-Identifier: GPL-2.0-only */
/* See live.h. Rates are per observed second, so that they mean the same at every --interval. */
#include "live.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/top/top_frame.h"
#include "collector/base/text.h"
#include "human.h"
#include "out.h"

#define LINES_MIN 3 /* titles, one thread, and the rest */
#define BAR_COLUMNS 32
#define BAR_BEFORE 19    /* "GIL busy  66.8%  []" */
#define LABEL_MIN 8
#define GILS_SHOWN 8
#define PAIRS_SHOWN 4
#define PAIRS_MIN_LINES 12 /* lower panels are for threads alone */
#define PAIR_MIN 0.005     /* of the time */
#define PAIR_NAME 20       /* columns */

enum { NAME, TID, INSIDE, HOLD, WAIT, ACQUIRES, CONTENDED, FORCED, WAIT_P99, HOLD_MAX };

#define COLUMNS_OF(hold_title, wait_title) { \
	[NAME] = {"name", "THREAD", OUT_TEXT, OUT_FLEX | OUT_MIDDLE}, \
	[TID] = {"tid", "TID", OUT_ID, 0}, \
	[INSIDE] = {"inside", "INSIDE", OUT_ID, OUT_SPARE}, \
	[HOLD] = {"hold", hold_title, OUT_SHARE, 0}, \
	[WAIT] = {"wait", wait_title, OUT_SHARE, 0}, \
	[ACQUIRES] = {"n", "ACQ/S", OUT_COUNT, OUT_DROP}, \
	[CONTENDED] = {"c", "CONT/S", OUT_COUNT, OUT_DROP}, \
	[FORCED] = {"forced", "FORCED", OUT_COUNT, OUT_DROP}, \
	[WAIT_P99] = {"wait_p99", "P99 WAIT", OUT_US, OUT_DROP}, \
	[HOLD_MAX] = {"hold_max", "MAX HOLD", OUT_US, OUT_DROP}, \
}

static const struct out_column exact[] = COLUMNS_OF("HOLD", "WAIT"), estimated[] = COLUMNS_OF("~HOLD", "WAIT"),
	looked[] = COLUMNS_OF("~HOLD", "~WAIT");

#define COLUMNS_N (sizeof(exact) / sizeof(exact[0]))

/* Words that flow: as many in a line as fit, two blanks between them. */
struct flow {
	FILE *to;
	size_t width, column, lines;
};

static void flow_add(struct flow *flow, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void flow_add(struct flow *flow, const char *fmt, ...)
{
	char text[256];
	va_list args;
	size_t need;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	need = text__columns(text);
	if (flow->column && flow->column + 2 + need > flow->width) {
		fputc('\n', flow->to);
		flow->column = 0;
		flow->lines++;
	}
	flow->column += (flow->column ? 2 : 0) + need;
	fprintf(flow->to, "%s%s", flow->column > need ? "  " : "", text);
}

static void flow_end(struct flow *flow)
{
	if (!flow->column)
		return;
	fputc('\n', flow->to);
	flow->column = 0;
	flow->lines++;
}

/* In a line that has room for what stands before it. */
static const char *bar(char buf[BAR_COLUMNS + 3], double share, size_t width)
{
	size_t room = width > BAR_BEFORE + BAR_COLUMNS ? BAR_COLUMNS : width > BAR_BEFORE + 4 ? width - BAR_BEFORE : 4;
	size_t full = (size_t)lround((share > 1 ? 1 : share) * (double)room);

	buf[0] = '[';
	memset(buf + 1, '#', full);
	memset(buf + 1 + full, '.', room - full);
	strcpy(buf + 1 + room, "]");
	return buf;
}

static void first_line(FILE *to, const struct who *who, const struct proc_sample *s, size_t width)
{
	char pieces[4][64], tail[sizeof(pieces)] = "", label[512];
	size_t room;

	snprintf(pieces[0], sizeof(pieces[0]), "  pid %d", (int)who->pid);
	snprintf(pieces[1], sizeof(pieces[1]), "  CPython %s", who->python);
	snprintf(pieces[2], sizeof(pieces[2]), "  %s", rows__mode(s));
	snprintf(pieces[3], sizeof(pieces[3]), "%s", s->partial ? "  (part of an interval)" : "");
	for (size_t i = 0; i < 4 && (i == 0 || strlen(tail) + strlen(pieces[i]) + LABEL_MIN <= width); i++)
		strcat(tail, pieces[i]);
	room = width > strlen(tail) + LABEL_MIN ? width - strlen(tail) : LABEL_MIN;
	fprintf(to, "%s%s\n", out__cut(label, sizeof(label), who->label, room), tail);
}

static void busy_line(struct flow *flow, const struct proc_sample *s, const struct schema_row *row)
{
	char share[HUMAN_SIZE], drawn[BAR_COLUMNS + 3];
	double util = rows__field(row, FIELD_UTIL), waiters = rows__field(row, FIELD_WAITERS), error = rows__busy_error(s);

	if (isnan(util))
		util = rows__field(row, FIELD_UTIL_EST);
	if (isnan(util))
		flow_add(flow, "GIL busy -  (%s)", rows__busy_why(s));
	else
		flow_add(flow, "GIL busy %6s  %s", rows__busy(row, share), bar(drawn, util, flow->width));
	if (!isnan(error))
		flow_add(flow, "estimate, +- %s", human__share(share, error));
	if (!isnan(waiters))
		flow_add(flow, "%s%.2f thread%s waiting", s->total.looks ? "~" : "", waiters, waiters == 1 ? "" : "s");
	flow_end(flow);
}

/* Several GILs: that the line above is of the busiest, and how busy the others are. */
static void gils_line(struct flow *flow, const struct proc_sample *s)
{
	const struct gil_sample **sorted = s->gils_n > 1 ? rows__gils(s) : NULL;
	bool holds = s->total.known & (KNOWN_HOLD | KNOWN_HOLD_EST), about = metrics__is_estimate(&s->total);
	char name[16], share[HUMAN_SIZE];

	if (!sorted)
		return;
	flow_add(flow, "the %s of %zu GILs:", holds ? "busiest" : "waits", s->gils_n);
	for (size_t i = 0; sorted[i] && i < GILS_SHOWN; i++) {
		const struct metrics *m = &sorted[i]->m;
		double part = holds ? rows__hold_share(s, m) : rows__wait_share(s, m->wait_ns);

		flow_add(flow, "%s %s%s", rows__gil_name(sorted[i]->gil, name, sizeof(name)), about ? "~" : "",
			 human__share(share, part));
	}
	if (s->gils_n > GILS_SHOWN)
		flow_add(flow, "and %zu more", s->gils_n - GILS_SHOWN);
	flow_end(flow);
	free(sorted);
}

/* What hangs or stands still; where it does not fit, dump and report have all of it. */
static void standing_line(struct flow *flow, const struct proc_sample *s)
{
	char words[HOLDING_WORDS_SIZE], shown[256];

	if (holding__words(&s->holding, words)[0])
		flow_add(flow, "%s", out__cut(shown, sizeof(shown), words, flow->width));
	flow_end(flow);
}

static void rate(struct flow *flow, double count, double seconds, const char *what)
{
	char buf[HUMAN_SIZE];

	if (!isnan(count))
		flow_add(flow, "%s %s", human__count(buf, count / seconds), what);
}

static void rate_lines(struct flow *flow, const struct proc_sample *s, const struct schema_row *row, const char *store)
{
	double seconds = rows__seconds(s), wait = rows__field(row, FIELD_WAIT), handover = rows__field(row, FIELD_HANDOVER);
	const struct gc_shares gc = rows__gc(row);
	char buf[HUMAN_SIZE], losses[512], words[96];

	rate(flow, rows__field(row, FIELD_N), seconds, "acquires/s");
	rate(flow, rows__field(row, FIELD_C), seconds, "contended/s");
	rate(flow, rows__field(row, FIELD_FORCED), seconds, "forced/s");
	rate(flow, rows__field(row, FIELD_LOOKS), seconds, "looks/s");
	rate(flow, rows__field(row, FIELD_SWITCHES), seconds, "changes of holder/s");
	if (wait > 0 && !isnan(handover))
		flow_add(flow, "handover %s of waiting", human__share(buf, handover / wait));
	if (rows__gc_words(&gc, words, sizeof(words))[0])
		flow_add(flow, "%s", words);
	flow_add(flow, "%u threads", s->live_threads);
	flow_add(flow, "cost %s of a core", human__share(buf, rows__share(s, s->cost_ns)));
	flow_add(flow, "%s", rows__losses(s, losses, sizeof(losses)));
	if (s->observed_ns < s->len_ns && s->len_ns)
		flow_add(flow, "observed %s of it", human__share(buf, (double)s->observed_ns / (double)s->len_ns));
	if (store && *store)
		flow_add(flow, "%s", store);
	flow_end(flow);
}

static void add_row(struct out *table, const struct proc_sample *s, const struct thread_sample *t)
{
	char name[THREAD_NAME_SIZE + 16];
	double seconds = rows__seconds(s);
	struct schema_row row;

	schema_row__from(s, &t->m, false, &row);
	out__row(table);
	out__text(table, NAME, rows__name(t, name, sizeof(name)));
	if (t->key.tid)
		out__num(table, TID, t->key.tid);
	if (t->key.inside)
		out__num(table, INSIDE, t->key.inside);
	out__num(table, HOLD, rows__hold_share(s, &t->m));
	if (metrics__knows_wait(&t->m))
		out__num(table, WAIT, rows__wait_share(s, t->m.wait_ns));
	out__num(table, ACQUIRES, rows__field(&row, FIELD_N) / seconds);
	out__num(table, CONTENDED, rows__field(&row, FIELD_C) / seconds);
	out__num(table, FORCED, rows__field(&row, FIELD_FORCED) / seconds);
	out__num(table, WAIT_P99, rows__field(&row, FIELD_WAIT_P99));
	out__num(table, HOLD_MAX, rows__field(&row, FIELD_HOLD_MAX));
}

static void rest_line(FILE *to, const struct proc_sample *s, const struct thread_sample *const *from)
{
	struct rest rest = rows__rest(from);
	char hold[HUMAN_SIZE], wait[HUMAN_SIZE];

	if (s->total.known & (KNOWN_HOLD | KNOWN_HOLD_EST))
		fprintf(to, "and %zu more threads: hold %s%s, wait %s together\n", rest.n,
			metrics__is_estimate(&s->total) ? "~" : "", human__share(hold, rows__share(s, rest.hold_ns)),
			human__share(wait, rows__wait_share(s, rest.wait_ns)));
	else
		fprintf(to, "and %zu more threads: wait %s together\n", rest.n,
			human__share(wait, rows__wait_share(s, rest.wait_ns)));
}

/* The table in `lines` lines: titles, threads, and one for the threads that have no room. */
static void thread_table(FILE *to, const struct proc_sample *s, const struct thread_sample *const *sorted, size_t n,
			 size_t width, size_t lines)
{
	bool by_looks = s->total.looks > 0, about = metrics__is_estimate(&s->total);
	struct out *table = out__new(by_looks ? looked : about ? estimated : exact, COLUMNS_N);
	size_t room = n + 1 <= lines ? n : lines - 2;

	for (size_t i = 0; table && i < room; i++)
		add_row(table, s, sorted[i]);
	if (table && !out__error(table)) {
		out__table(table, to, width);
		if (room < n)
			rest_line(to, s, sorted + room);
	}
	out__free(table);
}

/* Who waits for whom, the largest part: whose fault it is must not wait for the summary. Lines written, at most two. */
static size_t pair_lines(FILE *to, const struct proc_sample *s, size_t width)
{
	struct top_frame *f = top_frame__of_sample(s);
	struct flow flow = {.to = to, .width = width};
	char victim[TOP_NAME_SIZE * 2], holder[TOP_NAME_SIZE * 2], share[HUMAN_SIZE];

	for (size_t i = 0; f && i < f->pairs_n && i < PAIRS_SHOWN && f->pairs[i].share >= PAIR_MIN; i++) {
		const struct top_pair *p = &f->pairs[i];

		if (flow.lines == 1 && flow.column > width / 2)
			break;
		if (i == 0)
			flow_add(&flow, "%s:", f->sampled ? "waiting, sampled" : "waiting");
		flow_add(&flow, "%s for %s %s", out__cut_middle(victim, sizeof(victim), f->threads[p->victim].name, PAIR_NAME),
			 out__cut_middle(holder, sizeof(holder), f->threads[p->holder].name, PAIR_NAME),
			 human__share(share, p->share));
	}
	flow_end(&flow);
	top_frame__free(f);
	return flow.lines;
}

/* The same as a text, for it stands below the table, whose height it decides. */
static char *pair_text(const struct proc_sample *s, struct live_size size, size_t *ret_lines)
{
	char *text = NULL;
	size_t len;
	FILE *to = size.lines >= PAIRS_MIN_LINES ? open_memstream(&text, &len) : NULL;

	*ret_lines = 0;
	if (!to)
		return NULL;
	*ret_lines = pair_lines(to, s, size.columns);
	fclose(to);
	return text;
}

int live__block(FILE *to, const struct who *who, const struct proc_sample *s, const char *store, struct live_size size)
{
	struct flow flow = {.to = to, .width = size.columns, .lines = 1};
	const struct thread_sample **sorted;
	struct schema_row row;
	size_t n = 0, pairs = 0;
	char *text;

	first_line(to, who, s, size.columns);
	if (s->no_gil) {
		fputs("The GIL is disabled: nobody waits for it; other waits are not measured.\n", to);
		return -1;
	}
	schema_row__from(s, &s->total, true, &row);
	busy_line(&flow, s, &row);
	gils_line(&flow, s);
	standing_line(&flow, s);
	rate_lines(&flow, s, &row, store);
	sorted = rows__sorted(s, &n);
	text = pair_text(s, size, &pairs);
	if (size.lines < flow.lines + pairs + LINES_MIN)
		size.lines = flow.lines + pairs + LINES_MIN;
	if (n)
		thread_table(to, s, sorted, n, size.columns, size.lines - flow.lines - pairs);
	else
		fputs(s->mode == GIL_MODE_GUARDED ? "Nothing was looked at in this interval.\n" :
		      s->mode == GIL_MODE_LIGHT ? "No thread had to wait for the GIL in this interval.\n" :
		      "No thread used the GIL in this interval.\n", to);
	if (text)
		fputs(text, to);
	free(text);
	free(sorted);
	return n ? (int)flow.lines : -1;
}

/* ---- one line ---- */

static void put_clock(FILE *to, int64_t ms)
{
	time_t when = (time_t)(ms / 1000);
	char text[16] = "--:--:--";
	struct tm tm;

	if (localtime_r(&when, &tm))
		strftime(text, sizeof(text), "%H:%M:%S", &tm);
	fputs(text, to);
	if (ms % 1000)
		fprintf(to, ".%03d", (int)(ms % 1000));
}

static void put_numbers(FILE *to, const struct proc_sample *s)
{
	char busy[HUMAN_SIZE], rate[HUMAN_SIZE], forced[HUMAN_SIZE], cost[HUMAN_SIZE], losses[512], queue[16];
	char words[HOLDING_WORDS_SIZE];
	double seconds = rows__seconds(s), waiters;
	struct schema_row row;

	schema_row__from(s, &s->total, true, &row);
	waiters = rows__field(&row, FIELD_WAITERS);
	snprintf(queue, sizeof(queue), "%.2f", waiters);
	fprintf(to, "  busy %6s  waiting %5s  acq/s %5s  forced/s %5s  cost %5s",
		rows__busy(&row, busy), isnan(waiters) ? "-" : queue,
		human__count(rate, rows__field(&row, FIELD_N) / seconds),
		human__count(forced, rows__field(&row, FIELD_FORCED) / seconds),
		human__share(cost, rows__share(s, s->cost_ns)));
	if (s->gils_n > 1)
		fprintf(to, "  gils %zu", s->gils_n);
	if (s->partial)
		fprintf(to, "  over %s", human__us(busy, (double)s->observed_ns / 1e3));
	if (s->mode != GIL_MODE_FULL)
		fprintf(to, "  %s", rows__mode(s));
	if (rows__lost(s))
		fprintf(to, "  %s", rows__losses(s, losses, sizeof(losses)));
	if (holding__words(&s->holding, words)[0])
		fprintf(to, "  %s", words);
	fputc('\n', to);
}

void live__line(FILE *to, const struct who *who, const struct proc_sample *s, bool say_who)
{
	put_clock(to, s->end_ms);
	if (say_who)
		fprintf(to, "  pid %d", (int)who->pid);
	if (s->no_gil)
		fputs("  the GIL is disabled\n", to);
	else
		put_numbers(to, s);
}

void live__sum(FILE *to, size_t n, const struct proc_sample *sum)
{
	put_clock(to, sum->end_ms);
	fprintf(to, "  sum of %zu", n);
	put_numbers(to, sum);
}

/* Whole seconds are enough once a minute is over. */
static const char *seconds(char buf[HUMAN_SIZE], uint64_t ns)
{
	double s = (double)ns / 1e9;

	if (s < 60)
		snprintf(buf, HUMAN_SIZE, "%.1f s", s);
	else if (s < 3600)
		snprintf(buf, HUMAN_SIZE, "%d:%02d min", (int)s / 60, (int)s % 60);
	else
		snprintf(buf, HUMAN_SIZE, "%llu:%02d h", (unsigned long long)(s / 3600), (int)fmod(s / 60, 60));
	return buf;
}

const char *live__progress(char *buf, size_t size, uint64_t elapsed_ns, uint64_t remaining_ns)
{
	char elapsed[HUMAN_SIZE], total[HUMAN_SIZE], left[HUMAN_SIZE];

	if (remaining_ns == UINT64_MAX)
		snprintf(buf, size, "%s, Ctrl-C ends", seconds(elapsed, elapsed_ns));
	else
		snprintf(buf, size, "%s of %s, %s left", seconds(elapsed, elapsed_ns),
			 seconds(total, elapsed_ns + remaining_ns), seconds(left, remaining_ns));
	return buf;
}
