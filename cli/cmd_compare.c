/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope compare: two times of a process, or two processes, and what is different beyond what it varies by itself. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/analysis/thread_pools.h"
#include "collector/schema/schema_marks.h"
#include "args.h"
#include "cmds.h"
#include "compare.h"
#include "history.h"
#include "out.h"
#include "rows.h"

#define DEFAULT_SINCE "15m"
#define AROUND_MS (5 * 60000ll)
#define MARK_AGE_MS (SCHEMA_MARKS_KEPT_S * 1000ll)
#define SHARE_MIN 0.002 /* of the time: a smaller difference is nobody's trouble */
#define LOOKED_AT 0.005 /* of the time: pools and functions that have less on both sides are not looked at */
#define MOST_OF_A_KIND 12
#define COUNTERS_MAX 4

struct comparing {
	const struct options *o;
	struct history history;
	struct query *q;
	int64_t now_ms;
	struct comparison c;
};

/* ---- which times ---- */

/* "10:00..10:15" */
static int read_range(const char *what, const char *text, int64_t now_ms, struct query_range *ret, struct reason *why)
{
	const char *dots = strstr(text, "..");
	char from[64];
	int err;

	if (!dots || dots == text || (size_t)(dots - text) >= sizeof(from))
		return reason__set(why, -EINVAL, "%s: '%s' is not a range (write 10:00..10:15, or 30m..15m for ago)", what, text);
	snprintf(from, sizeof(from), "%.*s", (int)(dots - text), text);
	err = args__time(what, from, now_ms, &ret->since_ms, why);
	err = err ? err : args__time(what, dots + 2, now_ms, &ret->until_ms, why);
	if (!err && ret->since_ms >= ret->until_ms)
		err = reason__set(why, -EINVAL, "%s: '%s' does not begin before it ends", what, text);
	return err;
}

/* "release 1.4.2=10m": the text of a mark, and for how long on either side of it. */
static int64_t read_around(const char *text, char name[SCHEMA_MARK_TEXT + 1])
{
	const char *equals = strrchr(text, '=');
	struct reason why;
	uint64_t ns = 0;

	if (equals && args__duration("--around", equals + 1, 1000000000ull, 86400 * 1000000000ull, &ns, &why))
		equals = NULL;
	snprintf(name, SCHEMA_MARK_TEXT + 1, "%.*s", (int)(equals ? (size_t)(equals - text) : strlen(text)), text);
	return equals ? (int64_t)(ns / 1000000) : AROUND_MS;
}

/* The newest mark that has these words. */
static int find_mark(struct comparing *m, const char *name, int64_t *ret_ms, struct reason *why)
{
	struct schema_mark *marks = NULL;
	size_t n = 0;
	int err = query__marks(m->q, m->c.sides[0].proc.id, m->now_ms - MARK_AGE_MS, m->now_ms, &marks, &n, why);
	bool found = false;

	for (size_t i = 0; !err && i < n; i++)
		if (strcasestr(marks[i].text, name)) {
			*ret_ms = marks[i].t_ms;
			found = true;
		}
	free(marks);
	if (!err && !found)
		err = reason__set(why, -ENOENT, "--around: there is no mark '%s' (gilscope mark lists them)", name);
	return err;
}

static int set_around(struct comparing *m, struct reason *why)
{
	char name[SCHEMA_MARK_TEXT + 1];
	int64_t span = read_around(m->o->around, name), at = 0;
	int err = find_mark(m, name, &at, why);

	m->c.sides[0].range = (struct query_range){.since_ms = at - span, .until_ms = at};
	m->c.sides[1].range = (struct query_range){.since_ms = at, .until_ms = at + span};
	return err;
}

static int set_both(struct comparing *m, struct reason *why)
{
	for (int i = 0; i < 2; i++) {
		struct compare_side *s = &m->c.sides[i];
		int64_t base = s->proc.live ? m->now_ms : s->proc.last_ms;
		int err = args__time("--since", m->o->since ? m->o->since : DEFAULT_SINCE, base, &s->range.since_ms, why);

		s->range.until_ms = base;
		if (!err && m->o->until)
			err = args__time("--until", m->o->until, base, &s->range.until_ms, why);
		if (!err && s->range.since_ms >= s->range.until_ms)
			err = reason__set(why, -EINVAL, "--since is not before --until");
		if (err)
			return err;
	}
	return 0;
}

/* One tier for both, the coarser: intervals of one length vary alike. */
static void set_step(struct comparing *m)
{
	enum tier tier = TIER_BASE;

	for (int i = 0; i < 2; i++) {
		enum tier its = query__tier(&m->c.sides[i].proc, &m->c.sides[i].range, true, m->now_ms);

		tier = its > tier ? its : tier;
	}
	for (int i = 0; i < 2; i++)
		m->c.sides[i].range.step_s = m->o->step_s ? m->o->step_s : tier == TIER_60S ? 60 : tier == TIER_10S ? 10 : 1;
}

static int set_ranges(struct comparing *m, bool two, struct reason *why)
{
	int err;

	if (two)
		err = set_both(m, why);
	else if (m->o->around)
		err = set_around(m, why);
	else {
		err = read_range("--before", m->o->before, m->now_ms, &m->c.sides[0].range, why);
		err = err ? err : read_range("--after", m->o->after, m->now_ms, &m->c.sides[1].range, why);
	}
	if (!err)
		set_step(m);
	return err;
}

/* ---- what is compared ---- */

static double of_us(const struct schema_row *row, const struct compare_side *s, size_t i)
{
	return s->observed_us[i];
}

static double held(const struct schema_row *row, const struct compare_side *s, size_t i)
{
	return compare_side__held(row);
}

#define FIELD_OF(name, f) \
	static double name(const struct schema_row *row, const struct compare_side *s, size_t i) \
	{ \
		return rows__field(row, f); \
	}
FIELD_OF(waited, FIELD_WAIT)
FIELD_OF(acquires, FIELD_N)
FIELD_OF(contended, FIELD_C)
FIELD_OF(handover, FIELD_HANDOVER)
FIELD_OF(collected, FIELD_GC)
FIELD_OF(cpu, FIELD_CPU)

static double acquires_e6(const struct schema_row *row, const struct compare_side *s, size_t i)
{
	return rows__field(row, FIELD_N) * 1e6;
}

typedef double part_fn(const struct schema_row *row, const struct compare_side *s, size_t i);

/* Of the process: each a ratio of two sums over intervals. */
static const struct {
	const char *key, *words;
	enum compared_unit unit;
	double smallest;
	part_fn *num, *den;
} quantities[] = {
	{"util", "GIL busy", COMPARED_SHARE, SHARE_MIN, held, of_us},
	{"waiters", "threads waiting", COMPARED_NUMBER, SHARE_MIN, waited, of_us},
	{"hold_mean", "mean hold", COMPARED_US, 0, held, acquires},
	{"wait_mean", "mean wait", COMPARED_US, 0, waited, contended},
	{"n_rate", "acquires/s", COMPARED_NUMBER, 0, acquires_e6, of_us},
	{"contended", "contended", COMPARED_SHARE, SHARE_MIN, contended, acquires},
	{"handover", "handover", COMPARED_SHARE, SHARE_MIN, handover, of_us},
	{"gc", "garbage collection", COMPARED_SHARE, SHARE_MIN, collected, of_us},
	{"cpu", "CPUs used", COMPARED_NUMBER, SHARE_MIN, cpu, of_us},
};

static struct compared *new_compared(struct comparison *c)
{
	struct compared *list;

	if (c->n == c->room) {
		list = reallocarray(c->list, c->room + 64, sizeof(*list));
		if (!list)
			return NULL;
		c->list = list;
		c->room += 64;
	}
	c->list[c->n] = (struct compared){0};
	return &c->list[c->n++];
}

/* The values of one side; free() num, which has den behind it. NULL: no memory. */
static double *values_of(const struct compare_side *s, part_fn *num, part_fn *den, struct change_series *ret)
{
	double *values = calloc(2 * s->n + 1, sizeof(*values));

	for (size_t i = 0; values && i < s->n; i++) {
		values[i] = num(&s->rows[i], s, i);
		values[s->n + i] = den(&s->rows[i], s, i);
	}
	*ret = (struct change_series){values, values ? values + s->n : NULL, s->n};
	return values;
}

static int compare_process(struct comparison *c)
{
	for (size_t i = 0; i < sizeof(quantities) / sizeof(quantities[0]); i++) {
		struct compared *one = new_compared(c);
		struct change_series sides[2];
		double *a = values_of(&c->sides[0], quantities[i].num, quantities[i].den, &sides[0]);
		double *b = values_of(&c->sides[1], quantities[i].num, quantities[i].den, &sides[1]);

		if (one && a && b) {
			one->of = COMPARED_PROCESS;
			one->unit = quantities[i].unit;
			one->key = quantities[i].key;
			one->words = quantities[i].words;
			change__measure(&sides[0], &sides[1], quantities[i].smallest, &one->change);
		}
		free(a);
		free(b);
		if (!one || !a || !b)
			return -ENOMEM;
	}
	return 0;
}

/* ---- per unit of work ---- */

static double sum_between(const struct compare_side *s, part_fn *num, int64_t from_ms, int64_t to_ms)
{
	double sum = 0;

	for (size_t i = 0; i < s->n; i++) {
		double t = rows__field(&s->rows[i], FIELD_T);

		if (t > (double)from_ms && t <= (double)to_ms)
			sum += num(&s->rows[i], s, i);
	}
	return sum;
}

/*
 * From one reading of the counter to the next: what was done in that time, and how far it came. One that went back began anew,
 * and says nothing. The series is in `values`, twice as long as there are marks.
 */
static struct change_series between_readings(const struct compare_side *s, const char *name, part_fn *num, double *values)
{
	struct change_series series = {values, values + s->marks_n, 0};
	const struct schema_mark *last = NULL;

	for (size_t i = 0; i < s->marks_n; i++) {
		const struct schema_mark *m = &s->marks[i];

		if (strcmp(m->count_name, name) != 0)
			continue;
		if (last && m->count >= last->count) {
			values[series.n] = sum_between(s, num, last->t_ms, m->t_ms);
			values[s->marks_n + series.n++] = m->count - last->count;
		}
		last = m;
	}
	return series;
}

static int compare_per_unit(struct comparison *c, const char *name)
{
	static const struct {
		const char *key, *words;
		part_fn *num;
	} done[] = {{"hold_each", "hold each", held}, {"wait_each", "wait each", waited}};
	double *a = calloc(2 * c->sides[0].marks_n + 1, sizeof(*a));
	double *b = calloc(2 * c->sides[1].marks_n + 1, sizeof(*b));
	int err = a && b ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < sizeof(done) / sizeof(done[0]); i++) {
		struct change_series before = between_readings(&c->sides[0], name, done[i].num, a);
		struct change_series after = between_readings(&c->sides[1], name, done[i].num, b);
		struct compared *one = before.n && after.n ? new_compared(c) : NULL;

		if (!one)
			continue;
		one->of = COMPARED_PROCESS;
		one->unit = COMPARED_US;
		one->key = done[i].key;
		one->words = done[i].words;
		snprintf(one->name, sizeof(one->name), "%s:", name);
		change__measure(&before, &after, 0, &one->change);
	}
	free(a);
	free(b);
	return err;
}

/* The first counters that marks on the first side have: whoever can write marks decides how many there are. */
static int compare_units(struct comparison *c)
{
	const struct compare_side *s = &c->sides[0];
	size_t counters = 0;

	for (size_t i = 0; i < s->marks_n && counters < COUNTERS_MAX; i++) {
		const char *name = s->marks[i].count_name;
		size_t first = 0;

		while (strcmp(s->marks[first].count_name, name) != 0)
			first++;
		if (!name[0] || first != i)
			continue;
		counters++;
		if (compare_per_unit(c, name))
			return -ENOMEM;
	}
	return 0;
}

/* ---- pools and functions ---- */

/* Groups of series that are one on both sides: threads of a pool, a function. */
struct group {
	char name[SIDE_NAME_SIZE];
	double *values[2][2]; /* by side; of hold and other */
	double sum;
};

struct groups {
	struct group *list;
	size_t n;
};

static void free_groups(struct groups *g)
{
	for (size_t i = 0; i < g->n; i++)
		for (int k = 0; k < 4; k++)
			free(g->list[i].values[k / 2][k % 2]);
	free(g->list);
}

static int make_groups(struct groups *g, size_t n, size_t before, size_t after)
{
	g->list = calloc(n + 1, sizeof(*g->list));
	if (!g->list)
		return -ENOMEM;
	for (g->n = 0; g->n < n; g->n++)
		for (int k = 0; k < 4; k++) {
			g->list[g->n].values[k / 2][k % 2] = calloc((k / 2 ? after : before) + 1, sizeof(double));
			if (!g->list[g->n].values[k / 2][k % 2]) {
				g->n++;
				return -ENOMEM;
			}
		}
	return 0;
}

static void add_to_group(struct group *g, int side, const struct side_series *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		g->values[side][0][i] += s->hold[i];
		g->values[side][1][i] += s->other[i];
	}
	g->sum += s->sum;
}

static int largest_first(const void *a, const void *b)
{
	double x = ((const struct group *)a)->sum, y = ((const struct group *)b)->sum;

	return (x < y) - (x > y);
}

static double share_of(const double *values, const double *observed, size_t n)
{
	double sum = 0, all = 0;

	for (size_t i = 0; i < n; i++) {
		sum += values[i];
		all += observed[i];
	}
	return all > 0 ? sum / all : 0;
}

/* Of one kind, the largest, as shares of the time: what they hold, and the other. */
static int compare_groups(struct comparison *c, struct groups *g, enum compared_of of, const char *const keys[2],
			  const char *const words[2], double *const observed[2], const size_t n[2])
{
	qsort(g->list, g->n, sizeof(*g->list), largest_first);
	for (size_t i = 0; i < g->n && i < MOST_OF_A_KIND; i++)
		for (int k = 0; k < 2; k++) {
			const struct change_series before = {g->list[i].values[0][k], observed[0], n[0]};
			const struct change_series after = {g->list[i].values[1][k], observed[1], n[1]};
			struct compared *one;

			if (share_of(before.num, observed[0], n[0]) < LOOKED_AT &&
			    share_of(after.num, observed[1], n[1]) < LOOKED_AT)
				continue;
			one = new_compared(c);
			if (!one)
				return -ENOMEM;
			one->of = of;
			one->unit = COMPARED_SHARE;
			one->key = keys[k];
			one->words = words[k];
			snprintf(one->name, sizeof(one->name), "%s", g->list[i].name);
			change__measure(&before, &after, SHARE_MIN, &one->change);
		}
	return 0;
}

/* Names of both sides' series, each once; index[side][i] is that of series i. NULL: no memory. */
static const char **union_of(const struct side_list *const lists[2], size_t *index[2], size_t *ret_n)
{
	const char **names = calloc(lists[0]->n + lists[1]->n + 1, sizeof(*names));

	*ret_n = 0;
	for (int side = 0; side < 2; side++) {
		index[side] = calloc(lists[side]->n + 1, sizeof(size_t));
		for (size_t i = 0; names && index[side] && i < lists[side]->n; i++) {
			size_t at = 0;

			while (at < *ret_n && strcmp(names[at], lists[side]->list[i].name) != 0)
				at++;
			if (at == *ret_n)
				names[(*ret_n)++] = lists[side]->list[i].name;
			index[side][i] = at;
		}
	}
	if (index[0] && index[1])
		return names;
	free(names);
	return NULL;
}

/* Adds each side's series to the group of its name. */
static int fill_groups(struct groups *g, const struct side_list *const lists[2], size_t *const index[2], const size_t *group_of,
		       size_t groups_n)
{
	int err = make_groups(g, groups_n, lists[0]->of, lists[1]->of);

	for (int side = 0; !err && side < 2; side++)
		for (size_t i = 0; i < lists[side]->n; i++) {
			size_t at = index[side][i];

			add_to_group(&g->list[group_of ? group_of[at] : at], side, &lists[side]->list[i], lists[side]->of);
		}
	return err;
}

/* Threads by name, and those whose names differ in a number only as one: tids mean nothing after a restart. */
static int compare_pools(struct comparison *c)
{
	static const char *const keys[2] = {"hold", "wait"}, *const words[2] = {"holds", "waits"};
	const struct side_list *const lists[2] = {&c->sides[0].threads, &c->sides[1].threads};
	double *const observed[2] = {c->sides[0].observed_us, c->sides[1].observed_us};
	const size_t n[2] = {c->sides[0].n, c->sides[1].n};
	size_t *index[2] = {NULL, NULL}, names_n = 0, pools_n = 0;
	const char **names = union_of(lists, index, &names_n);
	size_t *pool_of = calloc(names_n + 1, sizeof(*pool_of));
	struct thread_pool *pools = names && pool_of ? thread_pools__make(names, names_n, pool_of, &pools_n) : NULL;
	struct groups g = {0};
	int err = pools ? fill_groups(&g, lists, index, pool_of, pools_n) : -ENOMEM;

	for (size_t i = 0; !err && i < pools_n; i++)
		snprintf(g.list[i].name, sizeof(g.list[i].name), "%s", pools[i].name);
	err = err ? err : compare_groups(c, &g, COMPARED_POOL, keys, words, observed, n);
	free_groups(&g);
	free(pools);
	free(pool_of);
	free(names);
	free(index[0]);
	free(index[1]);
	return err;
}

static int compare_code(struct comparison *c)
{
	static const char *const keys[2] = {"hold", "blame"}, *const words[2] = {"holds", "made others wait"};
	const struct side_list *const lists[2] = {&c->sides[0].functions, &c->sides[1].functions};
	double *const observed[2] = {c->sides[0].piece_us, c->sides[1].piece_us};
	const size_t n[2] = {c->sides[0].functions.of, c->sides[1].functions.of};
	size_t *index[2] = {NULL, NULL}, names_n = 0;
	const char **names = union_of(lists, index, &names_n);
	struct groups g = {0};
	int err = names ? fill_groups(&g, lists, index, NULL, names_n) : -ENOMEM;

	for (size_t i = 0; !err && i < names_n; i++)
		snprintf(g.list[i].name, sizeof(g.list[i].name), "%s", names[i]);
	err = err ? err : compare_groups(c, &g, COMPARED_CODE, keys, words, observed, n);
	free_groups(&g);
	free(names);
	free(index[0]);
	free(index[1]);
	return err;
}

/* ---- the command ---- */

static int open_history(struct comparing *m, int words_n, char **words, struct reason *why)
{
	int choices, err = history__open_reader(m->o, &m->history, why);

	err = err ? err : query__open(&m->history.url, m->o->prefix, &m->q, why);
	err = err ? err : query__now(m->q, &m->now_ms, why);
	for (int i = 0; !err && i < 2; i++)
		err = query__resolve(m->q, words[i < words_n ? i : 0], &m->c.sides[i].proc, &choices, why);
	return err;
}

static int compare(struct comparing *m, int words_n, char **words, struct reason *why)
{
	int err = open_history(m, words_n, words, why);

	err = err ? err : set_ranges(m, words_n == 2, why);
	for (int i = 0; !err && i < 2; i++)
		err = compare_side__read(&m->c.sides[i], m->q, m->now_ms, why);
	if (err)
		return err;
	if (compare_process(&m->c) || compare_units(&m->c) || compare_pools(&m->c) || compare_code(&m->c))
		return reason__set(why, -ENOMEM, "not enough memory");
	return 0;
}

static void print(const struct comparing *m)
{
	size_t width, lines;

	out__terminal(STDOUT_FILENO, &width, &lines);
	if (m->o->format == FORMAT_JSON)
		out__dump(compare__json(&m->c), stdout, true);
	else if (m->o->markdown)
		compare__markdown(&m->c, stdout);
	else
		compare__print(&m->c, stdout, width);
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct comparing m = {.o = o};
	struct reason why = {0};
	struct change *changes = NULL;
	int err = compare(&m, argc, argv, &why);

	if (!err) {
		changes = calloc(m.c.n + 1, sizeof(*changes));
		err = changes ? 0 : reason__set(&why, -ENOMEM, "not enough memory");
	}
	for (size_t i = 0; !err && i < m.c.n; i++)
		changes[i] = m.c.list[i].change;
	if (!err) {
		changes__judge(changes, m.c.n, o->at_least);
		for (size_t i = 0; i < m.c.n; i++)
			m.c.list[i].change = changes[i];
		print(&m);
	}
	free(changes);
	free(m.c.list);
	compare_side__free(&m.c.sides[0]);
	compare_side__free(&m.c.sides[1]);
	query__close(m.q);
	history__close(&m.history);
	return err ? options__fail(verb, err == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &why) : EXIT_OK;
}

static int check(const struct options *o, int args, struct reason *why)
{
	bool ranges = o->before || o->after;

	if (args == 2 && (ranges || o->around))
		return reason__set(why, -EINVAL, "two processes are compared over one range: --since and --until");
	if (args == 1 && (o->since || o->until))
		return reason__set(why, -EINVAL, "--since and --until are for two processes; for one, --before and --after, or "
				   "--around");
	if (args == 1 && (ranges && o->around))
		return reason__set(why, -EINVAL, "--around and --before exclude each other");
	if (args == 1 && !o->around && !(o->before && o->after))
		return reason__set(why, -EINVAL, "which two times? (--before 10:00..10:15 --after 10:20..10:35, or --around "
				   "MARK)");
	if (o->markdown && o->format == FORMAT_JSON)
		return reason__set(why, -EINVAL, "--markdown and --json exclude each other");
	return 0;
}

const struct verb verb_compare = {
	.name = "compare",
	.args = "PROCESS [PROCESS]",
	.summary = "before and after: what changed beyond chance, for whom, in which code",
	.about = "Compares two times of one process (--before and --after, or --around a mark), or two "
		 "processes over the same time, by what is in Redis. The first sentence says what changed for whom and by how "
		 "much, the second in which code; if nothing did, how much would have been seen. Threads are matched by their "
		 "names, pools as one; functions by name and file.",
	.options = {OPTION_BEFORE, OPTION_AFTER, OPTION_AROUND, OPTION_SINCE, OPTION_UNTIL, OPTION_AT_LEAST, OPTION_STEP,
		    OPTION_MARKDOWN, OPTION_JSON, OPTION_REDIS, OPTION_PASSWORD_FILE, OPTION_SENTINEL_PASSWORD_FILE,
		    OPTION_PREFIX},
	.own_help = {{OPTION_SINCE, "two processes: start of the range, 5m (ago), 10:05, 2026-11-23T10:00:00[Z], @SECONDS "
				     "(default 15m)"},
		     {OPTION_UNTIL, "two processes: end of the range (default: now)"}},
	.min_args = 1,
	.max_args = 2,
	.missing = "which process? (gilscope compare PID --around MARK; gilscope ls shows what Redis knows)",
	.check = check,
	.run = run,
};
