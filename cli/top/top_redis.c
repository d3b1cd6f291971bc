/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A source of `top`: a process that somebody else observes, maybe on another machine, out of Redis. See top_source.h.
 *
 * Twice a second `last` is looked at: its stamp is written behind everything else of a sample, so what is asked for next is
 * there. The last minute comes from the tier of 10 s, when it is wanted. A server that goes away is asked again and again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/history.h"
#include "cli/human.h"
#include "cli/rows.h"
#include "collector/redis/query.h"
#include "collector/schema/schema_blame.h"
#include "collector/schema/schema_code.h"
#include "top_source_inside.h"

#define POLL_MS 500
#define RETRY_MS 1000
#define PAST_MS 300000     /* of the process, fetched at the beginning */
#define MINUTE_MS 60000
#define TEN_MS 10000
#define LOOK_MS 5000       /* meta (mode, end) is read this often, and when there are no news */
#define GILS_MAX 64

struct reading {
	struct top_source *s;
	struct history history;
	struct query *q;
	struct query_proc proc;
	int64_t shown_ms;        /* stamp of the newest sample told */
	int64_t minute_ms;       /* the same of the last minute */
	int64_t looked_at;       /* monotonic ms, when meta was read */
	bool told_away;
	uint32_t gils[GILS_MAX]; /* ids of the interpreters, where each has a GIL of its own */
	size_t gils_n;
	char losses[TOP_LOSSES_SIZE];
};

static int64_t mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- who it is ---- */

static void tell_who(const struct reading *r)
{
	struct top_update u = {.kind = TOP_UPDATE_WHO};
	char own[65];

	u.who.pid = (pid_t)r->proc.pid;
	memcpy(u.who.id, r->proc.id, sizeof(u.who.id));
	top_source__own_host(r->s, own);
	if (strcmp(r->proc.host, own) != 0)
		memcpy(u.who.host, r->proc.host, sizeof(u.who.host));
	memcpy(u.who.label, r->proc.label, sizeof(u.who.label));
	snprintf(u.who.python, sizeof(u.who.python), "%s", r->proc.python);
	snprintf(u.who.mode, sizeof(u.who.mode), "%s", r->proc.mode);
	top_source__post(r->s, &u);
}

static void tell_state(struct reading *r, int64_t now_ms)
{
	char ago[HUMAN_SIZE];

	human__ago(ago, now_ms - r->proc.last_ms);
	if (r->proc.ended_ms)
		top_source__state(r->s, TOP_ENDED, "from Redis", "Its observation ended (%s). This is the last of it; "
				  "l lists others, q quits.", ago);
	else if (!r->proc.live)
		top_source__state(r->s, TOP_AWAY, "from Redis", "Redis has had nothing new of it (last: %s): its observer "
				  "seems to be gone.", ago);
	else
		top_source__state(r->s, TOP_LIVE, "from Redis", "%s", "");
	r->told_away = false;
}

/* "0,3,17" */
static void take_gils(struct reading *r, const char *text)
{
	r->gils_n = 0;
	while (*text && r->gils_n < GILS_MAX) {
		char *end;
		unsigned long id = strtoul(text, &end, 10);

		if (end == text)
			break;
		r->gils[r->gils_n++] = (uint32_t)id;
		text = end + strspn(end, ", ");
	}
}

/* Losses since attach, by name: a sample has only their number. */
static void take_losses(struct reading *r, char **pairs, size_t n)
{
	size_t len = 0;

	r->losses[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		const char *name = pairs[2 * i];

		if (strncmp(name, "lost_", 5) != 0 || strcmp(pairs[2 * i + 1], "0") == 0 || len > sizeof(r->losses) - 80)
			continue;
		len += (size_t)snprintf(r->losses + len, sizeof(r->losses) - len, "%s%.40s %.20s",
					len ? ", " : "lost since attach: ", name + 5, pairs[2 * i + 1]);
	}
}

/* Fields of meta beyond those that every reader wants. */
static int look_at_meta(struct reading *r, struct reason *why)
{
	char **pairs = NULL;
	size_t n = 0;
	int err = query__hash(r->q, r->s->id, "meta", &pairs, &n, why);

	if (err)
		return err;
	take_losses(r, pairs, n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(pairs[2 * i], "gils") == 0)
			take_gils(r, pairs[2 * i + 1]);
	free(pairs);
	return 0;
}

static int look_at_process(struct reading *r, struct reason *why)
{
	int64_t now_ms = 0;
	int err = query__proc(r->q, r->s->id, &r->proc, why);

	err = err ? err : query__now(r->q, &now_ms, why);
	err = err ? err : look_at_meta(r, why);
	if (err)
		return err;
	r->looked_at = mono_ms();
	tell_who(r);
	tell_state(r, now_ms);
	return 0;
}

/* ---- a frame ---- */

/* The rows of the process in `range`, added up, and how many there were. */
static int sum_of(struct reading *r, const char *series, enum tier tier, const struct query_range *range,
		  struct schema_row *ret, size_t *ret_n, struct reason *why)
{
	struct schema_row *rows = NULL;
	int err;

	*ret_n = 0;
	err = query__series(r->q, r->s->id, series, tier, range, &rows, ret_n, why);
	if (!err && *ret_n)
		schema_row__sum(rows, *ret_n, ret);
	free(rows);
	return err;
}

static int fetch_gils(struct reading *r, enum tier tier, const struct query_range *range, struct top_gil_row *gils,
		      size_t *ret_n, struct reason *why)
{
	int err = 0;

	*ret_n = 0;
	for (size_t i = 0; !err && r->gils_n > 1 && i < r->gils_n; i++) {
		char series[32];
		size_t n;

		snprintf(series, sizeof(series), "g:%u", r->gils[i]);
		gils[*ret_n].gil = r->gils[i];
		err = sum_of(r, series, tier, range, &gils[*ret_n].row, &n, why);
		*ret_n += !err && n > 0;
	}
	return err;
}

static struct top_frame *make_frame(const struct reading *r, const struct schema_row *all,
				    const struct query_thread *threads, const struct schema_row *sums, size_t n,
				    const struct top_gil_row *gils, size_t gils_n, const struct blame_sum *blame,
				    const struct code_sum *code)
{
	struct top_row *rows = calloc(n + 1, sizeof(*rows));
	struct holding holding;
	struct top_frame *f;

	if (!rows)
		return NULL;
	for (size_t i = 0; i < n; i++)
		rows[i] = (struct top_row){threads[i].thr, threads[i].name, sums[i]};
	f = top_frame__of_rows(all, rows, n, gils, gils_n, blame, code);
	free(rows);
	if (!f)
		return NULL;
	f->no_gil = strncmp(r->proc.gil, "free-threaded", 13) == 0 && !(f->is.n > 0) && !(f->is.wait > 0);
	schema_holding__decode(r->proc.holding, strlen(r->proc.holding), &holding);
	holding__words(&holding, f->standing);
	if (f->lost > 0)
		memcpy(f->losses, r->losses, sizeof(f->losses));
	return f;
}

/* Everything about `range`. *ret NULL: nothing is known of it. */
static int fetch_frame(struct reading *r, enum tier tier, const struct query_range *range, struct top_frame **ret,
		       struct reason *why)
{
	struct top_gil_row *gils = calloc(GILS_MAX, sizeof(*gils));
	struct query_thread *threads = NULL;
	struct blame_sum blame = {0};
	struct code_sum code = {0};
	struct schema_row *sums = NULL, all;
	size_t n = 0, rows = 0, gils_n = 0;
	int err = gils ? 0 : -ENOMEM;

	*ret = NULL;
	err = err ? err : sum_of(r, "p", tier, range, &all, &rows, why);
	if (err || !rows)
		goto out;
	err = query__threads(r->q, r->s->id, range->since_ms, &threads, &n, why);
	sums = err ? NULL : calloc(n + 1, sizeof(*sums));
	err = err ? err : sums ? 0 : -ENOMEM;
	err = err ? err : query__thread_sums(r->q, r->s->id, threads, n, tier, range, sums, why);
	err = err ? err : query__blame(r->q, r->s->id, tier, range, &blame, why);
	err = err ? err : query__code(r->q, r->s->id, tier, range, &code, why);
	err = err ? err : fetch_gils(r, tier, range, gils, &gils_n, why);
	if (!err)
		*ret = make_frame(r, &all, threads, sums, n, gils, gils_n, &blame, &code);
out:
	blame_sum__free(&blame);
	code_sum__free(&code);
	free(sums);
	free(threads);
	free(gils);
	return err;
}

/* ---- the past ---- */

static int fetch_points(struct reading *r, const struct query_range *range, struct top_update *u, struct reason *why)
{
	struct schema_row *rows = NULL;
	size_t n = 0;
	int err = query__series(r->q, r->s->id, "p", TIER_BASE, range, &rows, &n, why);

	u->points = err ? NULL : calloc(n + 1, sizeof(*u->points));
	for (size_t i = 0; u->points && i < n; i++) {
		double t = rows__field(&rows[i], FIELD_T), d = rows__field(&rows[i], FIELD_D);
		double cov = rows__field(&rows[i], FIELD_COV);

		if (t > 0 && t < 9e15)
			u->points[u->points_n++] = (struct top_point){
				(int64_t)t, d, isnan(cov) ? d : d * cov, rows__field(&rows[i], FIELD_UTIL),
				rows__field(&rows[i], FIELD_WAITERS),
			};
	}
	free(rows);
	return err;
}

/* ---- news ---- */

/* The stamp of the newest sample: `last` says, while there are any; of one that has ended, meta. 0: unknown. */
static int newest_stamp(struct reading *r, int64_t *ret_ms, struct reason *why)
{
	char **pairs = NULL;
	size_t n = 0;
	int err = query__hash(r->q, r->s->id, "last", &pairs, &n, why);

	*ret_ms = r->shown_ms ? 0 : r->proc.last_ms;
	for (size_t i = 0; !err && i < n; i++)
		if (strcmp(pairs[2 * i], "t") == 0)
			*ret_ms = strtoll(pairs[2 * i + 1], NULL, 10);
	free(pairs);
	return err;
}

/* Of the last interval, or of all that there were in its last second. */
static int tell_newest(struct reading *r, int64_t stamp, struct reason *why)
{
	int64_t span = r->proc.interval_ms > 1000 ? r->proc.interval_ms : 1000;
	struct query_range now = {.since_ms = stamp - span, .until_ms = stamp};
	struct query_range past = {.since_ms = r->shown_ms ? r->shown_ms : stamp - PAST_MS, .until_ms = stamp};
	struct top_update u = {.kind = TOP_UPDATE_FRAME};
	int err = fetch_frame(r, TIER_BASE, &now, &u.now, why);

	err = err ? err : fetch_points(r, &past, &u, why);
	if (err) {
		top_update__free(&u);
		return err;
	}
	top_source__post(r->s, &u);
	r->shown_ms = stamp;
	return 0;
}

/* Six windows of ten seconds, once the last one is complete. */
static int tell_minute(struct reading *r, struct reason *why)
{
	int64_t stamp = (r->shown_ms - 1) / TEN_MS * TEN_MS;
	struct query_range range = {.since_ms = stamp - MINUTE_MS, .until_ms = stamp};
	struct top_update u = {.kind = TOP_UPDATE_FRAME};
	int err;

	if (!r->s->wants_minute || stamp <= 0 || stamp == r->minute_ms)
		return 0;
	err = fetch_frame(r, TIER_10S, &range, &u.minute, why);
	if (err)
		return err;
	if (u.minute)
		top_source__post(r->s, &u);
	r->minute_ms = stamp;
	return 0;
}

static int connect_again(struct reading *r, struct reason *why)
{
	int err = 0;

	if (!r->q) {
		history__close(&r->history);
		err = history__open_reader(r->s->o, &r->history, why);
		err = err ? err : query__open_until(&r->history.url, r->s->o->prefix, r->s->stop_fd, &r->q, why);
	}
	return err;
}

static int read_news(struct reading *r, struct reason *why)
{
	int64_t stamp = 0;
	int err = connect_again(r, why);

	if (!err && (!r->looked_at || r->told_away || mono_ms() - r->looked_at > LOOK_MS))
		err = look_at_process(r, why);
	err = err ? err : newest_stamp(r, &stamp, why);
	if (!err && stamp > r->shown_ms)
		err = tell_newest(r, stamp, why);
	return err ? err : tell_minute(r, why);
}

/* A server that was restarted on another socket is found again: the connection is made anew from its address. */
static void tell_away(struct reading *r, const struct reason *why)
{
	top_source__state(r->s, r->shown_ms ? TOP_AWAY : TOP_STARTING, "from Redis", "%.300s; trying again.%s", why->text,
			  r->shown_ms ? " What is shown is the last that is known." : "");
	r->told_away = true;
	query__close(r->q);
	r->q = NULL;
}

void top_redis__run(struct top_source *s)
{
	struct reading r = {.s = s};
	int err;

	top_source__state(s, TOP_STARTING, "from Redis", "Asking Redis ...");
	do {
		struct reason why = {""};

		err = read_news(&r, &why);
		if (err && !s->stop)
			tell_away(&r, &why);
	} while (top_source__sleep(s, err ? RETRY_MS : POLL_MS));
	query__close(r.q);
	history__close(&r.history);
}
