/* SPDX-License-Identifier: GPL-2.0-only */
/* See past.h. */
#include "past.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/log.h"
#include "args.h"
#include "rows.h"

/* ---- which process, which time ---- */

static int find_proc(struct past *p, const char *word, struct reason *why)
{
	int choices = 0, err = query__resolve(p->q, word, &p->proc, &choices, why);

	if (!err && choices > 1)
		log_info("%d processes match '%s': showing %s, %s (%s); gilscope ls lists them", choices, word, p->proc.id,
			 p->proc.label, p->proc.live ? "live" : "the newest");
	return err;
}

static int set_range(struct past *p, const char *default_since, struct reason *why)
{
	int64_t base = p->proc.live ? p->now_ms : p->proc.last_ms;
	int err = args__time("--since", p->o->since ? p->o->since : default_since, base, &p->range.since_ms, why);

	p->range.until_ms = base;
	if (!err && p->o->until)
		err = args__time("--until", p->o->until, base, &p->range.until_ms, why);
	if (!err && p->range.since_ms >= p->range.until_ms)
		err = reason__set(why, -EINVAL, "--since is not before --until");
	p->range.step_s = p->o->step_s;
	return err;
}

int past__open(struct past *p, const struct options *o, const char *word, const char *default_since, struct reason *why)
{
	int err;

	*p = (struct past){.o = o};
	err = history__open_reader(o, &p->history, why);
	err = err ? err : query__open(&p->history.url, o->prefix, &p->q, why);
	err = err ? err : query__now(p->q, &p->now_ms, why);
	err = err ? err : find_proc(p, word, why);
	return err ? err : set_range(p, default_since, why);
}

int past__open_or_pid(struct past *p, const struct options *o, const char *word, const char *default_since, pid_t *ret_pid,
		      struct reason *why)
{
	struct reason no_pid;
	pid_t pid = 0;
	bool is_pid = args__pid(word, &pid, &no_pid) == 0, here = is_pid && (kill(pid, 0) == 0 || errno == EPERM);
	int err = past__open(p, o, word, default_since, why);

	*ret_pid = 0;
	if (here && err != -EINVAL && (err || (!p->proc.live && !o->since))) {
		*ret_pid = pid;
		err = 0;
	}
	if (err == -ENOENT && is_pid && !here)
		err = reason__set(why, err, "there is no process %d, and no history of one (gilscope ls shows what there is)",
				  (int)pid);
	return err;
}

void past__close(struct past *p)
{
	if (p->q && query__skipped(p->q))
		log_warn("query: %llu members are not what the schema says and were left out",
			 (unsigned long long)query__skipped(p->q));
	query__close(p->q);
	history__close(&p->history);
	free(p->rows);
	free(p->threads);
	free(p->marks);
	*p = (struct past){0};
}

/* ---- series ---- */

int past__fetch(struct past *p, const char *series, struct reason *why)
{
	p->tier = query__tier(&p->proc, &p->range, series[0] == 't', p->now_ms);
	return query__series(p->q, p->proc.id, series, p->tier, &p->range, &p->rows, &p->rows_n, why);
}

int past__fetch_marks(struct past *p, struct reason *why)
{
	return query__marks(p->q, p->proc.id, p->range.since_ms, p->range.until_ms, &p->marks, &p->marks_n, why);
}

double past__span_us(const struct past *p)
{
	double sum = 0;

	for (size_t i = 0; i < p->rows_n; i++) {
		double cov = rows__field(&p->rows[i], FIELD_COV);

		sum += rows__field(&p->rows[i], FIELD_D) * (isnan(cov) ? 1 : cov);
	}
	return sum;
}

/* ---- threads ---- */

static double weight(const struct schema_row *row)
{
	double hold = rows__field(row, FIELD_HOLD), wait = rows__field(row, FIELD_WAIT);

	return isnan(hold) ? (isnan(wait) ? 0 : wait) : hold;
}

static int heavier_first(const void *a, const void *b)
{
	double x = weight(&((const struct past_thread *)a)->sum), y = weight(&((const struct past_thread *)b)->sum);

	return x < y ? 1 : x > y ? -1
				 : 0;
}

/* Adds one thread's total, if it did anything in the range. */
static int add_thread(struct past *p, const struct query_thread *thread, enum tier tier, struct reason *why)
{
	struct schema_row *rows = NULL;
	char series[64];
	size_t n = 0;
	int err;

	snprintf(series, sizeof(series), "t:%s", thread->thr);
	err = query__series(p->q, p->proc.id, series, tier, &p->range, &rows, &n, why);
	if (!err && n) {
		p->threads[p->threads_n].thread = *thread;
		schema_row__sum(rows, n, &p->threads[p->threads_n].sum);
		p->threads_n++;
	}
	free(rows);
	return err;
}

int past__fetch_threads(struct past *p, struct reason *why)
{
	enum tier tier = query__tier(&p->proc, &p->range, true, p->now_ms);
	struct query_thread *all = NULL;
	size_t n = 0;
	int err = query__threads(p->q, p->proc.id, p->range.since_ms, &all, &n, why);

	if (!err) {
		p->threads = calloc(n + 1, sizeof(*p->threads));
		err = p->threads ? 0 : reason__set(why, -ENOMEM, "not enough memory");
	}
	for (size_t i = 0; !err && i < n; i++)
		err = add_thread(p, &all[i], tier, why);
	if (!err)
		qsort(p->threads, p->threads_n, sizeof(*p->threads), heavier_first);
	free(all);
	return err;
}
