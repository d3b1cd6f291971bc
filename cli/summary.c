/* SPDX-License-Identifier: GPL-2.0-only */
/* See summary.h. Two narrow tables instead of a wide one: shares and counts, then the lengths of single holds and waits. */
#include "summary.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/standstill.h"
#include "collector/base/text.h"
#include "collector/schema/schema.h"
#include "blame_table.h"
#include "code.h"
#include "human.h"
#include "options.h"
#include "out.h"

enum { S_NAME, S_TID, S_INSIDE, S_HOLD, S_WAIT, S_ACQUIRES, S_CONTENDED, S_FORCED };

#define SHARES_OF(hold_title, wait_title) { \
	[S_NAME] = {"name", "THREAD", OUT_TEXT, OUT_FLEX | OUT_MIDDLE}, \
	[S_TID] = {"tid", "TID", OUT_ID, 0}, \
	[S_INSIDE] = {"inside", "INSIDE", OUT_ID, OUT_SPARE}, \
	[S_HOLD] = {"hold", hold_title, OUT_SHARE, 0}, \
	[S_WAIT] = {"wait", wait_title, OUT_SHARE, 0}, \
	[S_ACQUIRES] = {"n", "ACQUIRES", OUT_TOTAL, 0}, \
	[S_CONTENDED] = {"c", "CONTENDED", OUT_TOTAL, 0}, \
	[S_FORCED] = {"forced", "FORCED OUT", OUT_TOTAL, 0}, \
}

static const struct out_column shares[] = SHARES_OF("HOLDS", "WAITS"), about_shares[] = SHARES_OF("~HOLDS", "WAITS"),
	looked_shares[] = SHARES_OF("~HOLDS", "~WAITS");

enum { G_NAME, G_HOLD, G_WAIT, G_ACQUIRES, G_CONTENDED, G_FORCED, G_HOLD_MAX };

#define GIL_COLUMNS_OF(busy_title) { \
	[G_NAME] = {"gil", "GIL", OUT_TEXT, 0}, \
	[G_HOLD] = {"util", busy_title, OUT_SHARE, 0}, \
	[G_WAIT] = {"waiters", "WAITING", OUT_REAL, 0}, \
	[G_ACQUIRES] = {"n", "ACQUIRES", OUT_TOTAL, 0}, \
	[G_CONTENDED] = {"c", "CONTENDED", OUT_TOTAL, 0}, \
	[G_FORCED] = {"forced", "FORCED OUT", OUT_TOTAL, 0}, \
	[G_HOLD_MAX] = {"hold_max", "MAX HOLD", OUT_US, 0}, \
}

static const struct out_column gil_columns[] = GIL_COLUMNS_OF("BUSY"), about_gil_columns[] = GIL_COLUMNS_OF("~BUSY");

enum { L_NAME, L_TID, L_HOLD_P50, L_HOLD_P99, L_HOLD_MAX, L_WAIT_P50, L_WAIT_P99, L_WAIT_MAX };

static const struct out_column lengths[] = {
	[L_NAME] = {"name", "THREAD", OUT_TEXT, OUT_FLEX | OUT_MIDDLE},
	[L_TID] = {"tid", "TID", OUT_ID, 0},
	[L_HOLD_P50] = {"hold_p50", "HOLD P50", OUT_US, 0},
	[L_HOLD_P99] = {"hold_p99", "P99", OUT_US, 0},
	[L_HOLD_MAX] = {"hold_max", "MAX", OUT_US, 0},
	[L_WAIT_P50] = {"wait_p50", "WAIT P50", OUT_US, 0},
	[L_WAIT_P99] = {"wait_p99", "P99", OUT_US, 0},
	[L_WAIT_MAX] = {"wait_max", "MAX", OUT_US, 0},
};

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* "the process ended", "the time is over" ... */
static const char *words_of_end(enum collector_end how)
{
	switch (how) {
	case END_EXIT:
		return "the process ended";
	case END_EXEC:
		return "the process became another program";
	case END_RUNTIME:
		return "another Python of the process runs, and this one has no interpreter";
	case END_DURATION:
		return "the time is over";
	case END_SIGNAL:
		return "stopped by you";
	case END_ERROR:
		break;
	}
	return "stopped by an error";
}

static void fact(FILE *to, const char *what, const char *value, const char *gloss)
{
	fprintf(to, "  %-10s %9s  %s\n", what, value, gloss);
}

static void fact_not_in(FILE *to, const char *what, const char *mode)
{
	char gloss[96];

	snprintf(gloss, sizeof(gloss), "not known in %s", mode);
	fact(to, what, "-", gloss);
}

static void fact_unknown(FILE *to, const char *what, const char *why)
{
	char gloss[96];

	snprintf(gloss, sizeof(gloss), "not known: %s", why);
	fact(to, what, "-", gloss);
}

static void heading(FILE *to, const struct who *who, const struct proc_sample *t, enum collector_end how, size_t width)
{
	uint64_t span_ns = t->no_gil ? t->len_ns : t->observed_ns;
	char label[512], observed[HUMAN_SIZE];

	fprintf(to, "%s (pid %d), CPython %s\n", out__cut(label, sizeof(label), who->label, width > 48 ? width - 40 : 24),
		(int)who->pid, who->python);
	fprintf(to, "observed for %s in %s; %s\n", human__us(observed, (double)span_ns / 1e3), rows__mode(t),
		words_of_end(how));
}

#define SHOWN_PAIRS 5
#define OFF_CPU_SAID 0.01
#define GC_SAID 0.01

/* "of that py-spy (PID 4711) stopped its holder". Returns buf. */
static const char *stopped_by(const struct whys *w, char buf[WHYS_WORDS_SIZE + 32])
{
	const struct why *most = whys__most(w, true);
	char words[WHYS_WORDS_SIZE];

	if (!whys__tracers(w, words)[0])
		snprintf(words, sizeof(words), "something");
	if (most && most->kind != GIL_WHY_TRACER)
		why__words(most, words);
	snprintf(buf, WHYS_WORDS_SIZE + 32, "of that %s stopped its holder", words);
	return buf;
}

/* What keeps holds long without anybody computing, and waits with them; little of it is nothing to say. */
static void off_cpu(FILE *to, const struct schema_row *row, enum schema_field whole)
{
	struct off_shares off = rows__off(row, whole);
	bool hold = whole == FIELD_HOLD;
	char buf[HUMAN_SIZE], by[WHYS_WORDS_SIZE + 32];

	if (off.asleep >= OFF_CPU_SAID)
		fact(to, "asleep", human__share(buf, off.asleep), hold ? "of that its holder slept (system call, page fault)" :
		     "of the waiting, the holder slept");
	if (off.stopped >= OFF_CPU_SAID)
		fact(to, "stopped", human__share(buf, off.stopped), hold ? stopped_by(&row->whys, by) :
		     "of the waiting, the holder was stopped");
	if (off.starved >= OFF_CPU_SAID)
		fact(to, "no CPU", human__share(buf, off.starved), hold ? "of that its holder could have run, but had no CPU" :
		     "of the waiting, the holder had no CPU");
}

/* Of the time it was held, as the lines before; where it is sampled, with its error. */
static void garbage(FILE *to, const struct schema_row *row)
{
	double hold = rows__field(row, FIELD_HOLD), gc = rows__field(row, FIELD_GC), err = rows__field(row, FIELD_GC_ERR);
	char buf[HUMAN_SIZE], gloss[128], share[HUMAN_SIZE];

	if (!(gc >= GC_SAID * hold) || !(hold > 0))
		return;
	snprintf(gloss, sizeof(gloss), "of that garbage was collected");
	if (!isnan(err))
		text__append(gloss, sizeof(gloss), " (sampled, +- %s)", human__share(share, err / hold));
	fact(to, "garbage", human__share(buf, gc / hold), gloss);
	if (rows__field(row, FIELD_GC_MAX) > 0)
		fact(to, "longest", human__us(buf, rows__field(row, FIELD_GC_MAX)),
		     isnan(err) ? "collection" : "collection, at least");
}

static void waiting(FILE *to, const struct schema_row *row, const char *mode)
{
	char buf[HUMAN_SIZE];
	double wait = rows__field(row, FIELD_WAIT);

	snprintf(buf, sizeof(buf), "%s%.2f", row->has & 1ull << FIELD_LOOKS ? "~" : "", rows__field(row, FIELD_WAITERS));
	if (isnan(rows__field(row, FIELD_WAITERS)))
		fact_not_in(to, "waiting", mode);
	else
		fact(to, "waiting", buf, "threads queued for it on average");
	if (wait > 0 && isnan(rows__field(row, FIELD_HANDOVER)))
		fact(to, "handover", "-", "not known in light mode");
	else if (wait > 0)
		fact(to, "handover", human__share(buf, rows__field(row, FIELD_HANDOVER) / wait),
		     "of the waiting, nobody held it (wake-ups, too few CPUs)");
}

/* How busy the GIL was, or GILs were; of an estimate that it is one, and its error. */
static void busy_fact(FILE *to, const char *what, const struct proc_sample *t, const struct schema_row *row, const char *gloss)
{
	char buf[HUMAN_SIZE], error[HUMAN_SIZE], about[128];

	if (!(row->has & (1ull << FIELD_UTIL | 1ull << FIELD_UTIL_EST))) {
		fact_unknown(to, what, rows__busy_why(t));
		return;
	}
	snprintf(about, sizeof(about), "%s", gloss);
	if (metrics__is_estimate(&t->total))
		text__append(about, sizeof(about), " (estimate, +- %s)", human__share(error, rows__busy_error(t)));
	fact(to, what, rows__busy(row, buf), about);
}

static void busy(FILE *to, const struct proc_sample *t, const struct schema_row *row)
{
	char several[64];

	if (t->gils_n > 1)
		snprintf(several, sizeof(several), "of the time the busiest of %zu GILs was held", t->gils_n);
	else
		strcpy(several, "of the time a thread held the GIL");
	busy_fact(to, "GIL busy", t, row, several);
	off_cpu(to, row, FIELD_HOLD);
	garbage(to, row);
	waiting(to, row, rows__mode(t));
	off_cpu(to, row, FIELD_WAIT);
}

/* What hangs or stands still, or did: such a time is no other's fault. */
static void standing(FILE *to, const struct proc_sample *t)
{
	enum standstill kind = holding__mostly(&t->holding);
	char buf[HUMAN_SIZE], words[HOLDING_WORDS_SIZE];

	if (holding__still_ns(&t->holding))
		fact(to, standstill__name(kind), human__share(buf, fmin(1, rows__share(t, holding__still_ns(&t->holding)))),
		     "of the time at least none of its threads could run");
	if (t->holding.gone_ns)
		fact(to, "gone", human__share(buf, fmin(1, rows__share(t, t->holding.gone_ns))),
		     "of the time at least its holder was not there any more");
	if (holding__words(&t->holding, words)[0])
		fprintf(to, "  at the end %s\n", words);
}

static void one_count(FILE *to, const char *what, double n, double seconds, const char *gloss, const char *mode)
{
	char total[HUMAN_SIZE], rate[HUMAN_SIZE];

	if (isnan(n))
		fact_not_in(to, what, mode);
	else
		fprintf(to, "  %-10s %9s  %s (%s/s)\n", what, human__grouped(total, (uint64_t)n), gloss,
			human__count(rate, n / seconds));
}

static void counts(FILE *to, const struct schema_row *row, double seconds, const char *mode)
{
	one_count(to, "acquires", rows__field(row, FIELD_N), seconds, "times a thread took it", mode);
	one_count(to, "contended", rows__field(row, FIELD_C), seconds, "of them had to wait", mode);
	one_count(to, "forced", rows__field(row, FIELD_FORCED), seconds, "times taken from a thread for a waiting one", mode);
}

/* What estimates rest on, and what looks alone count. */
static void looks(FILE *to, const struct schema_row *row, double seconds)
{
	if (!(row->has & 1ull << FIELD_LOOKS))
		return;
	one_count(to, "looks", rows__field(row, FIELD_LOOKS), seconds, "at its GIL, all times are estimates from them", "");
	one_count(to, "switches", rows__field(row, FIELD_SWITCHES), seconds, "times another thread took it", "");
}

static void price(FILE *to, const struct proc_sample *t)
{
	char buf[HUMAN_SIZE], losses[512];

	fact(to, "cost", human__share(buf, rows__share(t, t->cost_ns)),
	     "of a core: gilscope's own cost in the process (estimate)");
	if (t->total.unknown_ns && t->total.wait_ns)
		fact(to, "unknown", human__share(buf, (double)t->total.unknown_ns / (double)t->total.wait_ns),
		     "of the waiting, the holder is not known");
	fprintf(to, "  %s\n", rows__losses(t, losses, sizeof(losses)));
}

static void kept(FILE *to, const struct who *who)
{
	char buf[HUMAN_SIZE];

	if (who->kept_sites)
		fact(to, "kept", human__grouped(buf, who->kept_sites),
		     "breakpoints stay until the process ends: it has changed its code there");
}

/* A free-threaded Python that had its GIL on for a while: start-up, the import of an extension module. */
static void without_gil(FILE *to, const struct proc_sample *t)
{
	char buf[HUMAN_SIZE];

	if (t->no_gil_ns)
		fact(to, "no GIL", human__share(buf, (double)t->no_gil_ns / (double)t->len_ns),
		     "of the run, in which other waits were not measured; the rest is shown");
}

static void gil_row(struct out *table, const struct proc_sample *t, const struct gil_sample *g)
{
	static const enum schema_field fields[] = {
		[G_HOLD] = FIELD_UTIL, [G_WAIT] = FIELD_WAITERS, [G_ACQUIRES] = FIELD_N, [G_CONTENDED] = FIELD_C,
		[G_FORCED] = FIELD_FORCED, [G_HOLD_MAX] = FIELD_HOLD_MAX,
	};
	struct schema_row row;
	char name[16];

	schema_row__from(t, &g->m, true, &row);
	out__row(table);
	out__text(table, G_NAME, rows__gil_name(g->gil, name, sizeof(name)));
	for (size_t c = G_HOLD; c <= G_HOLD_MAX; c++)
		out__num(table, c, rows__field(&row, fields[c]));
	if (metrics__is_estimate(&g->m))
		out__num(table, G_HOLD, rows__field(&row, FIELD_UTIL_EST));
}

/* Where there are several; those that do not fit are the least busy ones. */
static void gils(FILE *to, const struct proc_sample *t, const struct summary_opts *opts)
{
	const struct gil_sample **sorted = t->gils_n > 1 ? rows__gils(t) : NULL;
	bool about = metrics__is_estimate(&t->total);
	struct out *table = sorted ? out__new(about ? about_gil_columns : gil_columns, COUNT_OF(gil_columns)) : NULL;
	size_t most = opts->max_threads ? opts->max_threads : SIZE_MAX;

	for (size_t i = 0; table && sorted[i] && i < most; i++)
		gil_row(table, t, sorted[i]);
	if (table && !out__error(table)) {
		fputc('\n', to);
		out__table(table, to, opts->width);
		if (t->gils_n > most)
			fprintf(to, "and %zu more GILs (--json has all)\n", t->gils_n - most);
	}
	out__free(table);
	free(sorted);
}

static void share_row(struct out *table, const struct proc_sample *t, const struct thread_sample *thread)
{
	char name[THREAD_NAME_SIZE + 16];
	const struct metrics *m = &thread->m;
	struct schema_row row;

	schema_row__from(t, m, false, &row);
	out__row(table);
	out__text(table, S_NAME, rows__name(thread, name, sizeof(name)));
	if (thread->key.tid)
		out__num(table, S_TID, thread->key.tid);
	if (thread->key.inside)
		out__num(table, S_INSIDE, thread->key.inside);
	out__num(table, S_HOLD, rows__hold_share(t, m));
	if (metrics__knows_wait(m))
		out__num(table, S_WAIT, rows__wait_share(t, m->wait_ns));
	out__num(table, S_ACQUIRES, rows__field(&row, FIELD_N));
	out__num(table, S_CONTENDED, rows__field(&row, FIELD_C));
	out__num(table, S_FORCED, rows__field(&row, FIELD_FORCED));
}

static void length_row(struct out *table, const struct proc_sample *t, const struct thread_sample *thread)
{
	static const enum schema_field fields[] = {
		[L_HOLD_P50] = FIELD_HOLD_P50, [L_HOLD_P99] = FIELD_HOLD_P99, [L_HOLD_MAX] = FIELD_HOLD_MAX,
		[L_WAIT_P50] = FIELD_WAIT_P50, [L_WAIT_P99] = FIELD_WAIT_P99,
	};
	char name[THREAD_NAME_SIZE + 16];
	struct schema_row row;

	schema_row__from(t, &thread->m, false, &row);
	out__row(table);
	out__text(table, L_NAME, rows__name(thread, name, sizeof(name)));
	if (thread->key.tid)
		out__num(table, L_TID, thread->key.tid);
	for (size_t c = L_HOLD_P50; c < L_WAIT_MAX; c++)
		out__num(table, c, rows__field(&row, fields[c]));
	rows__put_longest_wait(table, L_WAIT_MAX, &row);
}

typedef void row_fn(struct out *table, const struct proc_sample *t, const struct thread_sample *thread);

static void threads(FILE *to, const struct proc_sample *t, const struct thread_sample *const *sorted, size_t n,
		    const struct out_column *columns, size_t columns_n, row_fn *add, size_t width)
{
	struct out *table = out__new(columns, columns_n);

	for (size_t i = 0; table && i < n; i++)
		add(table, t, sorted[i]);
	if (table && !out__error(table)) {
		fputc('\n', to);
		out__table(table, to, width);
	}
	out__free(table);
}

static void rest(FILE *to, const struct proc_sample *t, const struct thread_sample *const *from)
{
	struct rest sum = rows__rest(from);
	char hold[HUMAN_SIZE], wait[HUMAN_SIZE];

	if (sum.n)
		fprintf(to, "and %zu more threads: hold %s%s, wait %s together (--json has all)\n", sum.n,
			metrics__is_estimate(&t->total) ? "~" : "",
			human__share(hold, t->total.known & (KNOWN_HOLD | KNOWN_HOLD_EST) ? rows__share(t, sum.hold_ns) : NAN),
			human__share(wait, rows__wait_share(t, sum.wait_ns)));
}

static void tables(FILE *to, const struct proc_sample *t, const struct summary_opts *opts)
{
	bool about = metrics__is_estimate(&t->total);
	const struct out_column *columns = t->total.looks ? looked_shares : about ? about_shares : shares;
	size_t n = 0;
	const struct thread_sample **sorted = rows__sorted(t, &n);

	if (opts->max_threads && opts->max_threads < n)
		n = opts->max_threads;
	if (sorted && !n)
		fputs("\nNo thread took the GIL or waited for it meanwhile.\n", to);
	if (sorted && n) {
		threads(to, t, sorted, n, columns, COUNT_OF(shares), share_row, opts->width);
		rest(to, t, sorted + n);
		threads(to, t, sorted, n, lengths, COUNT_OF(lengths), length_row, opts->width);
	}
	free(sorted);
}

void summary__print(FILE *to, const struct who *who, const struct proc_sample *totals, const struct summary_opts *opts)
{
	struct schema_row row;

	heading(to, who, totals, opts->how, opts->width);
	if (totals->no_gil) {
		fputs("  ", to);
		options__wrap(to, NO_GIL_SAYS, 2, 2);
		return;
	}
	schema_row__from(totals, &totals->total, true, &row);
	fputc('\n', to);
	without_gil(to, totals);
	busy(to, totals, &row);
	standing(to, totals);
	counts(to, &row, rows__seconds(totals), rows__mode(totals));
	looks(to, &row, rows__seconds(totals));
	price(to, totals);
	kept(to, who);
	gils(to, totals, opts);
	tables(to, totals, opts);
	blame_table__print(to, totals, SHOWN_PAIRS, opts->width);
	code__print(to, totals, opts->width);
}

void summary__sum(FILE *to, const char *who, const struct proc_sample *sum)
{
	char buf[HUMAN_SIZE];
	struct schema_row row;

	schema_row__from(sum, &sum->total, true, &row);
	fprintf(to, "%s\nobserved within %s in %s\n\n", who, human__us(buf, (double)sum->len_ns / 1e3), rows__mode(sum));
	busy_fact(to, "GILs busy", sum, &row, "of one: 200% are two processes busy all the time");
	waiting(to, &row, rows__mode(sum));
	counts(to, &row, rows__seconds(sum), rows__mode(sum));
	price(to, sum);
	if ((double)sum->observed_ns < 0.999 * (double)sum->len_ns)
		fact(to, "seen", human__share(buf, (double)sum->observed_ns / (double)sum->len_ns),
		     "of the time they lived; the rest is before probes were in place");
}

void summary__history(FILE *to, const struct summary_history *h, const char *id)
{
	char key[256];

	fprintf(to, "\nThe history is in %s. To read it:\n", h->where);
	fprintf(to, "  %s %s%s%s\n", h->query, id, h->family ? " --tree" : "", h->query_options);
	fprintf(to, "  %s --raw ZREVRANGE '%s' 0 -1\n", h->client,
		schema__global_key(key, sizeof(key), h->prefix, "menu"));
	fprintf(to, "  %s --raw ZRANGE '%s' -3 -1\n", h->client,
		schema__proc_key(key, sizeof(key), h->prefix, id, "p:1s"));
	if (h->no_waits)
		fprintf(to, "  %s --raw ZRANGE '%s' -3 -1\n", h->client,
			schema__proc_key(key, sizeof(key), h->prefix, id, "blame:1s"));
	else
		fprintf(to, "  %s ZREVRANGE '%s' 0 4 WITHSCORES\n", h->client,
			schema__proc_key(key, sizeof(key), h->prefix, id, h->no_holds ? "top:wait" : "top:hold"));
}
