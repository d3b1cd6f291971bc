/* SPDX-License-Identifier: GPL-2.0-only */
/* See rows.h. */
#include "rows.h"

#include "code.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "collector/schema/schema.h"
#include "collector/schema/schema_whys.h"
#include "human.h"
#include "standing.h"

struct who rows__who(const struct collector_proc *proc)
{
	return (struct who){
		.id = proc->id,
		.label = proc->target->label,
		.python = proc->python->text,
		.pid = proc->target->pid,
		.parent = proc->parent,
		.root = proc->root,
		.kept_sites = proc->kept_sites,
	};
}

double rows__off_us(const struct schema_row *row, enum schema_field part)
{
	bool of_hold = part >= FIELD_HOLD_BLOCKED && part <= FIELD_HOLD_STOPPED;
	enum schema_field whole = of_hold ? FIELD_HOLD : FIELD_WAIT, first = of_hold ? FIELD_HOLD_BLOCKED : FIELD_WAIT_BLOCKED;

	if (rows__field(row, whole) == 0)
		return 0;
	if (!(row->has >> whole & row->has >> first & 1))
		return NAN;
	return row->has >> part & 1 ? row->value[part] : 0;
}

struct off_shares rows__off(const struct schema_row *row, enum schema_field whole)
{
	enum schema_field first = whole == FIELD_HOLD ? FIELD_HOLD_BLOCKED : FIELD_WAIT_BLOCKED;
	double all = rows__field(row, whole);
	struct off_shares off = {
		.asleep = rows__off_us(row, first + GIL_OFF_BLOCKED) / all,
		.starved = rows__off_us(row, first + GIL_OFF_PREEMPTED) / all,
		.unseen = rows__off_us(row, first + GIL_OFF_UNSEEN) / all,
		.stopped = rows__off_us(row, first + GIL_OFF_STOPPED) / all,
	};

	if (!(all > 0) || isnan(off.asleep))
		return (struct off_shares){NAN, NAN, NAN, NAN, NAN};
	/* Each is cut to whole microseconds. */
	off.on = fmax(0, 1 - off.asleep - off.stopped - off.starved - off.unseen);
	return off;
}

const char *rows__off_words(const struct off_shares *off, char *buf, size_t size)
{
	const struct {
		double share;
		const char *words;
	} parts[] = {
		{off->on, "on CPU"}, {off->asleep, "asleep"}, {off->stopped, "stopped"}, {off->starved, "without CPU"},
		{off->unseen, "not known"},
	};
	char share[HUMAN_SIZE];

	buf[0] = '\0';
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (parts[i].share >= 0.0005)
			text__append(buf, size, "%s%s %s", buf[0] ? ", " : "", human__share(share, parts[i].share),
				     parts[i].words);
	return buf;
}

#define GC_SAID 0.01

struct gc_shares rows__gc(const struct schema_row *row)
{
	double cov = rows__field(row, FIELD_COV), observed_us = rows__field(row, FIELD_D) * (isnan(cov) ? 1 : cov);
	double time = observed_us > 0 ? observed_us : NAN;

	return (struct gc_shares){
		.held = rows__field(row, FIELD_GC) / time, .err = rows__field(row, FIELD_GC_ERR) / time,
		.longest = rows__field(row, FIELD_GC_MAX),
	};
}

const char *rows__gc_words(const struct gc_shares *gc, char *buf, size_t size)
{
	char share[HUMAN_SIZE], longest[HUMAN_SIZE];

	buf[0] = '\0';
	if (!(gc->held >= GC_SAID))
		return buf;
	snprintf(buf, size, "garbage collection %s", human__share(share, gc->held));
	if (gc->longest > 0)
		text__append(buf, size, ", longest %s%s", isnan(gc->err) ? "" : "over ", human__us(longest, gc->longest));
	return buf;
}

const char *rows__mode(const struct proc_sample *s)
{
	static const char *const words[GIL_MODES] = {
		[GIL_MODE_OFF] = "several modes", [GIL_MODE_FULL] = "full mode", [GIL_MODE_LIGHT] = "light mode",
		[GIL_MODE_HOLDS] = "holds mode", [GIL_MODE_GUARDED] = "guarded mode",
		[GIL_MODE_LOOK] = "look mode",
	};

	return words[s->mode];
}

double rows__hold_share(const struct proc_sample *s, const struct metrics *m)
{
	double share = rows__share(s, metrics__held(m));

	if (!(m->known & (KNOWN_HOLD | KNOWN_HOLD_EST)))
		return NAN;
	return metrics__is_estimate(m) ? fmin(1, share) : share; /* it may err beyond all of the time, a share can't */
}

const char *rows__busy(const struct schema_row *row, char *buf)
{
	char share[HUMAN_SIZE];
	double about = rows__field(row, FIELD_UTIL_EST);

	human__share(share, isnan(about) ? rows__field(row, FIELD_UTIL) : about);
	buf[0] = '\0';
	text__append(buf, HUMAN_SIZE, "%s%s", isnan(about) ? "" : "~", share);
	return buf;
}

double rows__busy_error(const struct proc_sample *s)
{
	return metrics__is_estimate(&s->total) ? rows__share(s, (uint64_t)sqrt(s->total.hold_est.err2)) : NAN;
}

const char *rows__busy_why(const struct proc_sample *s)
{
	if (s->mode == GIL_MODE_LOOK)
		return "it could not be looked at";
	return s->mode == GIL_MODE_GUARDED ? "no probe was in" : "light mode sees only who queues";
}

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

/* The tid settles a draw, so that equal rows do not change places from one interval to the next. */
static int busier_first(const void *a_, const void *b_)
{
	const struct thread_sample *a = *(const struct thread_sample *const *)a_;
	const struct thread_sample *b = *(const struct thread_sample *const *)b_;
	int by_hold = compare(metrics__held(&a->m), metrics__held(&b->m));
	int by_wait = compare(a->m.wait_ns, b->m.wait_ns);
	int by_count = compare(a->m.acquires + a->m.contended, b->m.acquires + b->m.contended);

	if (by_hold || by_wait || by_count)
		return by_hold ? by_hold : by_wait ? by_wait : by_count;
	return -compare(a->key.tid, b->key.tid);
}

static bool did_something(const struct metrics *m)
{
	return metrics__held(m) || m->wait_ns || m->acquires || m->contended || m->forced || m->waiting;
}

const struct thread_sample **rows__sorted(const struct proc_sample *s, size_t *ret_n)
{
	const struct thread_sample **sorted = calloc(s->threads_n + 1, sizeof(struct thread_sample *));
	size_t n = 0;

	if (!sorted)
		return NULL;
	for (size_t i = 0; i < s->threads_n; i++)
		if (did_something(&s->threads[i].m))
			sorted[n++] = &s->threads[i];
	qsort(sorted, n, sizeof(struct thread_sample *), busier_first);
	if (ret_n)
		*ret_n = n;
	return sorted;
}

static const char *plain_name(const struct thread_sample *t)
{
	if (t->key.tid == 0)
		return t->key.start_ticks == PSEUDO_OTHER ? "(other threads)" : "(unknown)";
	return t->name[0] ? t->name : "(no name)";
}

const char *rows__name(const struct thread_sample *t, char *buf, size_t size)
{
	char gil[16];

	if (t->gil == 0)
		snprintf(buf, size, "%s", plain_name(t));
	else
		snprintf(buf, size, "%s %s", rows__gil_name(t->gil, gil, sizeof(gil)), plain_name(t));
	return buf;
}

const char *rows__gil_name(uint32_t gil, char *buf, size_t size)
{
	if (gil == 0 || gil == GIL_NUMBER_OTHER)
		snprintf(buf, size, "%s", gil == 0 ? "main" : "others");
	else
		snprintf(buf, size, "#%" PRIu32, gil);
	return buf;
}

static int busier_gil_first(const void *a_, const void *b_)
{
	const struct gil_sample *a = *(const struct gil_sample *const *)a_, *b = *(const struct gil_sample *const *)b_;
	int by_hold = compare(metrics__held(&a->m), metrics__held(&b->m));
	int by_wait = compare(a->m.wait_ns, b->m.wait_ns);

	return by_hold ? by_hold : by_wait ? by_wait : -compare(a->gil, b->gil);
}

const struct gil_sample **rows__gils(const struct proc_sample *s)
{
	const struct gil_sample **sorted = calloc(s->gils_n + 1, sizeof(struct gil_sample *));

	for (size_t i = 0; sorted && i < s->gils_n; i++)
		sorted[i] = &s->gils[i];
	if (sorted)
		qsort(sorted, s->gils_n, sizeof(struct gil_sample *), busier_gil_first);
	return sorted;
}

double rows__share(const struct proc_sample *s, uint64_t ns)
{
	return s->observed_ns ? (double)ns / (double)s->observed_ns : NAN;
}

double rows__wait_share(const struct proc_sample *s, uint64_t ns)
{
	uint64_t of_waits = proc_sample__waits_observed(s);

	return of_waits ? (double)ns / (double)of_waits : NAN;
}

void rows__put_longest_wait(struct out *table, size_t column, const struct schema_row *row)
{
	if (isnan(rows__field(row, FIELD_LOOKS)))
		out__num(table, column, rows__field(row, FIELD_WAIT_MAX));
	else
		out__at_least(table, column, rows__field(row, FIELD_WAIT_MAX));
}

double rows__seconds(const struct proc_sample *s)
{
	return s->observed_ns ? (double)s->observed_ns / 1e9 : 1;
}

uint64_t rows__lost(const struct proc_sample *s)
{
	uint64_t sum = 0;

	for (int i = 0; i < GIL_LOSS_COUNT; i++)
		sum += s->lost[i];
	return sum;
}

static const char *const loss_names[GIL_LOSS_COUNT] = {
#define X(id, name, text) [GIL_LOSS_##id] = name,
	GIL_LOSSES(X)
#undef X
};

const char *rows__losses(const struct proc_sample *s, char *buf, size_t size)
{
	const char *between = " (";
	size_t len = (size_t)snprintf(buf, size, "lost %" PRIu64, rows__lost(s));

	for (int i = 0; i < GIL_LOSS_COUNT && len < size; i++) {
		if (s->lost[i] == 0)
			continue;
		len += (size_t)snprintf(buf + len, size - len, "%s%s %" PRIu64, between, loss_names[i], s->lost[i]);
		between = ", ";
	}
	if (between[0] == ',' && len + 1 < size)
		strcpy(buf + len, ")");
	return buf;
}

struct rest rows__rest(const struct thread_sample *const *from)
{
	struct rest rest = {0};

	for (; *from; from++) {
		rest.n++;
		rest.hold_ns += metrics__held(&(*from)->m);
		rest.wait_ns += (*from)->m.wait_ns;
	}
	return rest;
}

/* ---- JSON ---- */

/* The row as Redis gets it, by way of its text: one spelling. */
static json_t *row_json(const struct proc_sample *s, const struct metrics *m, bool is_process)
{
	struct schema_row row;
	char *text;
	json_t *json;

	schema_row__from(s, m, is_process, &row);
	text = schema_row__encode(&row, false);
	json = text ? json_loads(text, 0, NULL) : NULL;
	free(text);
	return json;
}

json_t *rows__why_json(const struct whys *w)
{
	struct json_text j = {0};
	json_t *json, *list;
	char *text;

	json_text__open(&j, '{');
	schema_whys__put(&j, w);
	json_text__close(&j, '}');
	text = json_text__take(&j);
	json = text ? json_loads(text, 0, NULL) : NULL;
	list = json_incref(json_object_get(json, "why"));
	json_decref(json);
	free(text);
	return list;
}

static json_t *thread_json(const struct proc_sample *s, const struct thread_sample *t)
{
	json_t *json = row_json(s, &t->m, false);

	if (!json)
		return NULL;
	json_object_set_new(json, "tid", json_integer(t->key.tid));
	json_object_set_new(json, "name", json_string(t->key.tid ? t->name : plain_name(t)));
	if (t->key.tid)
		json_object_set_new(json, "start_ticks", json_integer((json_int_t)t->key.start_ticks));
	if (t->gil)
		json_object_set_new(json, "g", json_integer(t->gil));
	if (t->exited)
		json_object_set_new(json, "exited", json_true());
	return json;
}

static json_t *threads_json(const struct proc_sample *s)
{
	const struct thread_sample **sorted = rows__sorted(s, NULL);
	json_t *json = sorted ? json_array() : NULL;

	for (size_t i = 0; json && sorted[i]; i++) {
		if (json_array_append_new(json, thread_json(s, sorted[i]))) {
			json_decref(json);
			json = NULL;
		}
	}
	free(sorted);
	return json;
}

static json_t *party_json(const struct proc_sample *s, uint32_t index)
{
	char name[THREAD_NAME_SIZE + 16];

	if (index >= s->threads_n)
		return json_null();
	return json_pack("{s:i, s:s}", "tid", (int)s->threads[index].key.tid, "name",
			 rows__name(&s->threads[index], name, sizeof(name)));
}

static json_t *blame_json(const struct proc_sample *s)
{
	json_t *json = json_array();

	for (size_t i = 0; json && i < s->blame_n; i++)
		json_array_append_new(json, json_pack("{s:o, s:o, s:I}", "victim", party_json(s, s->blame[i].victim),
						      "holder", party_json(s, s->blame[i].holder),
						      "us", (json_int_t)(s->blame[i].ns / 1000)));
	return json;
}

/* "gils" of an object: only where there are several. */
static json_t *gils_json(const struct proc_sample *s)
{
	json_t *json = s->gils_n > 1 ? json_array() : NULL;

	for (size_t i = 0; json && i < s->gils_n; i++) {
		json_t *row = row_json(s, &s->gils[i].m, true);

		if (row && s->gils[i].gil != GIL_NUMBER_OTHER)
			json_object_set_new(row, "g", json_integer(s->gils[i].gil));
		json_array_append_new(json, row);
	}
	return json;
}

static json_t *losses_json(const struct proc_sample *s)
{
	json_t *json = json_object();

	for (int i = 0; json && i < GIL_LOSS_COUNT; i++)
		if (s->lost[i])
			json_object_set_new(json, loss_names[i], json_integer((json_int_t)s->lost[i]));
	return json;
}

static const char *mode_word(const struct proc_sample *s)
{
	return gil_mode__name(s->mode, "mixed");
}

/* jansson leaves a field out whose text is NULL. */
static const char *or_null(const char *text)
{
	return text && *text ? text : NULL;
}

/* "holding" of an object: only where there is something to tell. */
static json_t *holding_json(const struct proc_sample *s)
{
	json_t *json = standing__json(&s->holding);

	if (json_object_size(json))
		return json;
	json_decref(json);
	return NULL;
}

json_t *rows__json(const struct who *who, const struct proc_sample *s, const char *how)
{
	return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s*, s:s*, s:s, s:s, s:b, s:s*, s:o, s:o*, s:o, s:o, s:b, s:o*, s:o, s:o*, "
			 "s:o*}",
			 "type", how ? "summary" : "interval", "id", who->id, "pid", (int)who->pid, "label", who->label,
			 "python", who->python, "parent", or_null(who->parent), "root", or_null(who->root),
			 "gil", proc_sample__gil_kind(s), "mode", mode_word(s), "partial", (int)s->partial, "end", how,
			 "process", row_json(s, &s->total, true), "gils", gils_json(s), "threads", threads_json(s),
			 "blame", blame_json(s), "blame_sampled", (int)s->blame_sampled,
			 "code", code__json(s), "losses", losses_json(s), "holding", holding_json(s),
			 "kept_sites", who->kept_sites ? json_integer(who->kept_sites) : NULL);
}

json_t *rows__sum_json(const struct proc_sample *sum, size_t n, const char *root, bool last)
{
	return json_pack("{s:s, s:s*, s:I, s:s, s:b, s:o, s:o}", "type", last ? "sum_summary" : "sum_interval",
			 "root", or_null(root), "processes", (json_int_t)n, "mode", mode_word(sum),
			 "partial", (int)sum->partial, "process", row_json(sum, &sum->total, true),
			 "losses", losses_json(sum));
}
