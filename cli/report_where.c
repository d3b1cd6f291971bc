/* SPDX-License-Identifier: GPL-2.0-only */
/* See report_where.h. */
#include "report_where.h"

#include <stdlib.h>
#include <string.h>

#include "collector/analysis/thread_pools.h"
#include "inspect.h"

enum { W_WHO, W_CODE, W_DOING, W_SHARE };

static const struct out_column columns[] = {
	[W_WHO] = {"threads", "THREADS", OUT_TEXT, OUT_FLEX | OUT_MIDDLE},
	[W_CODE] = {"code", "WHERE THEY WERE", OUT_TEXT, OUT_FLEX},
	[W_DOING] = {"doing", "DOING", OUT_TEXT, OUT_FLEX},
	[W_SHARE] = {"share", "OF THEIR TIME", OUT_SHARE, 0},
};

/* ---- looking ---- */

static void tell_judge(struct report *r)
{
	const struct whereabouts *w = &r->whereabouts;
	double looks = w->looks;

	r->stays = calloc(w->cells_n + 1, sizeof(*r->stays));
	r->gates = calloc(w->gates_n + 1, sizeof(*r->gates));
	if (!r->stays || !r->gates)
		return;
	for (size_t i = 0; i < w->cells_n; i++) {
		const struct whereabouts_cell *c = &w->cells[i];

		r->stays[i] = (struct verdict_stay){
			.name = c->name, .code = c->code, .call = c->doing == DOING_CALL || c->doing == DOING_LOCK ? c->call : "",
			.locked = c->doing == DOING_LOCK, .callback = c->callback, .share = c->looks / looks,
			.longest_us = (double)c->longest_ns / 1e3,
		};
	}
	for (size_t i = 0; i < w->gates_n; i++) {
		const struct whereabouts_gate *g = &w->gates[i];

		r->gates[i] = (struct verdict_gate){
			.code = g->code, .held = g->held, .share = g->looks / looks, .blocked = (double)g->blocked / g->looks,
			.inside = (double)g->inside / g->looks, .crowded = (double)g->crowded / g->looks,
		};
	}
	r->in.looks = looks;
	r->in.stays = r->stays;
	r->in.stays_n = w->cells_n;
	r->in.gates = r->gates;
	r->in.gates_n = w->gates_n;
}

/* A process that has ended meanwhile, or whose memory is not ours to read, is nowhere. */
void report_where__look(struct report *r, pid_t pid)
{
	struct inspection in = {0};
	struct target *t = NULL;
	struct reason why = {0};

	if (target__open(pid, &t, &why) != 0)
		return;
	inspect__begin(&in, t, false);
	if (in.reached == INSPECT_DONE && in.runtime && in.gil_enabled &&
	    whereabouts__take(&r->whereabouts, pid, in.runtime + t->image.bias, &in.offsets, in.gils, (size_t)in.gils_n) == 0)
		tell_judge(r);
	inspect__end(&in);
	target__close(t);
}

void report_where__free(struct report *r)
{
	whereabouts__free(&r->whereabouts);
	free(r->stays);
	free(r->gates);
}

/* ---- on paper ---- */

struct where_row {
	size_t pool;
	const struct whereabouts_cell *cell; /* the first of them */
	double looks;
};

static bool is_row(const struct where_row *row, size_t pool, const struct whereabouts_cell *c)
{
	return row->pool == pool && row->cell->doing == c->doing && strcmp(row->cell->code, c->code) == 0 &&
	       strcmp(row->cell->call, c->call) == 0;
}

static size_t sum_rows(const struct whereabouts *w, const size_t *pool_of, struct where_row *rows)
{
	size_t n = 0, at;

	for (size_t i = 0; i < w->cells_n; i++) {
		for (at = 0; at < n && !is_row(&rows[at], pool_of[i], &w->cells[i]); at++)
			;
		if (at == n)
			rows[n++] = (struct where_row){.pool = pool_of[i], .cell = &w->cells[i]};
		rows[at].looks += w->cells[i].looks;
	}
	return n;
}

static int longest_first(const void *a, const void *b)
{
	double x = ((const struct where_row *)a)->looks, y = ((const struct where_row *)b)->looks;

	return x < y ? 1 : x > y ? -1 : 0;
}

static const char *words_of(const struct whereabouts_cell *c, char buf[TASK_DOING_SIZE])
{
	static const char *const words[] = {
		[DOING_RUNS] = "runs, or wants a CPU", [DOING_GIL] = "waits for the GIL", [DOING_LOCK] = "waits for a lock",
		[DOING_CALL] = "", [DOING_OTHER] = "asleep",
	};

	if (c->doing == DOING_CALL)
		snprintf(buf, TASK_DOING_SIZE, "asleep in %s", c->call);
	else
		snprintf(buf, TASK_DOING_SIZE, "%s", words[c->doing]);
	return buf;
}

/* A thread is in several cells, and counts once. */
static size_t count_members(const struct whereabouts *w, const size_t *pool_of, size_t pool)
{
	size_t n = 0;

	for (size_t i = 0; i < w->cells_n; i++) {
		bool known = false;

		for (size_t k = 0; k < i; k++)
			known |= w->cells[k].tid == w->cells[i].tid;
		n += !known && pool_of[i] == pool;
	}
	return n;
}

/* The pools of the threads in these cells: a thread is named once. */
static struct thread_pool *pools_of(const struct whereabouts *w, size_t *pool_of)
{
	const char **names = calloc(w->cells_n + 1, sizeof(*names));
	size_t *first = calloc(w->cells_n + 1, sizeof(*first)), *of = calloc(w->cells_n + 1, sizeof(*of)), n = 0, pools_n;
	struct thread_pool *pools = NULL;

	for (size_t i = 0; names && first && i < w->cells_n; i++) {
		size_t k = 0;

		while (k < i && w->cells[k].tid != w->cells[i].tid)
			k++;
		first[i] = k < i ? first[k] : n;
		if (k == i)
			names[n++] = w->cells[i].name;
	}
	if (names && first && of)
		pools = thread_pools__make(names, n, of, &pools_n);
	for (size_t i = 0; pools && i < w->cells_n; i++)
		pool_of[i] = of[first[i]];
	free(of);
	free(first);
	free(names);
	return pools;
}

static void add_rows(struct out *table, const struct whereabouts *w, const struct where_row *rows, size_t n,
		     const struct thread_pool *pools, const size_t *pool_of)
{
	char words[TASK_DOING_SIZE];

	for (size_t i = 0; i < n; i++) {
		out__row(table);
		out__text(table, W_WHO, pools[rows[i].pool].name);
		out__text(table, W_CODE, rows[i].cell->code[0] ? rows[i].cell->code : "(no Python code)");
		out__text(table, W_DOING, words_of(rows[i].cell, words));
		out__num(table, W_SHARE, rows[i].looks / w->looks / (double)count_members(w, pool_of, rows[i].pool));
	}
}

struct out *report_where__table(const struct report *r, size_t max)
{
	const struct whereabouts *w = &r->whereabouts;
	struct where_row *rows = calloc(w->cells_n + 1, sizeof(*rows));
	size_t *pool_of = calloc(w->cells_n + 1, sizeof(*pool_of)), n;
	struct thread_pool *pools = rows && pool_of && w->looks ? pools_of(w, pool_of) : NULL;
	struct out *table = pools ? out__new(columns, sizeof(columns) / sizeof(columns[0])) : NULL;

	if (table) {
		n = sum_rows(w, pool_of, rows);
		qsort(rows, n, sizeof(*rows), longest_first);
		add_rows(table, w, rows, n < max ? n : max, pools, pool_of);
	}
	free(pools);
	free(pool_of);
	free(rows);
	return table;
}

json_t *report_where__gates_json(const struct report *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->in.gates_n; i++) {
		const struct verdict_gate *g = &r->gates[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "code", g->code, "held", g->held, "share",
						      out__json_num(g->share), "blocked", out__json_num(g->blocked), "inside",
						      out__json_num(g->inside), "crowded", out__json_num(g->crowded)));
	}
	return list;
}
