/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A source of `top`: the Python processes of this machine and those that Redis knows, in one list. See top_source.h.
 *
 * A process here that Redis has numbers of by now is one line. What Redis had of a PID earlier stays a line of its own, unless
 * it may be the same process: that is told by PID and host only.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/history.h"
#include "cli/local.h"
#include "cli/rows.h"
#include "collector/base/text.h"
#include "collector/process/caps.h"
#include "collector/redis/query.h"
#include "top_source_inside.h"

#define REFRESH_MS 3000
#define LIVE_MAX 200        /* whose newest numbers are fetched */

struct listing {
	struct top_source *s;
	struct local *local;
	struct history history;
	struct query *q;
	char host[65];          /* this one, as ids have it */
	char cannot[TOP_WORDS]; /* why nothing can be attached to, "": it can */
	struct top_choice *choices;
	size_t n, room;
};

static struct top_choice *add_choice(struct listing *l)
{
	struct top_choice *grown;

	if (l->n == l->room) {
		grown = reallocarray(l->choices, l->room ? 2 * l->room : 32, sizeof(*grown));
		if (!grown)
			return NULL;
		l->choices = grown;
		l->room = l->room ? 2 * l->room : 32;
	}
	l->choices[l->n] = (struct top_choice){.busy = NAN, .waiting = NAN, .threads = NAN, .seen_ms_ago = -1};
	return &l->choices[l->n++];
}

static void copy(char *dst, size_t size, const char *text)
{
	text__clean(dst, size, text ? text : "", text ? strlen(text) : 0);
}

static int add_local(void *arg, const struct local_proc *p)
{
	struct listing *l = arg;
	struct top_choice *c = add_choice(l);

	if (!c)
		return -ENOMEM;
	c->pid = p->pid;
	c->threads = p->threads ? (double)p->threads : NAN;
	copy(c->label, sizeof(c->label), p->label);
	copy(c->user, sizeof(c->user), p->user);
	copy(c->python, sizeof(c->python), p->python);
	if (!p->can)
		copy(c->note, sizeof(c->note), p->probe);
	else
		copy(c->note, sizeof(c->note), l->cannot);
	return l->s->stop ? -ECANCELED : 0;
}

/* ---- what Redis knows ---- */

static void put_last(struct listing *l, struct top_choice *c)
{
	char **pairs = NULL;
	struct reason why;
	size_t n = 0;

	if (query__hash(l->q, c->id, "last", &pairs, &n, &why))
		return;
	for (size_t i = 0; i < n; i++) {
		const char *name = pairs[2 * i], *value = pairs[2 * i + 1];
		double v = strtod(value, NULL);

		if (strcmp(name, "util") == 0)
			c->busy = v;
		else if (strcmp(name, "waiters") == 0)
			c->waiting = v;
		else if (strcmp(name, "threads") == 0)
			c->threads = v;
	}
	free(pairs);
}

static struct top_choice *local_of(struct listing *l, const struct query_proc *p, size_t locals)
{
	for (size_t i = 0; i < locals && strcmp(p->host, l->host) == 0; i++)
		if (l->choices[i].pid == (pid_t)p->pid)
			return &l->choices[i];
	return NULL;
}

/* Numbers of a process that runs here and is observed now are its line's. */
static void add_known(struct listing *l, const struct query_proc *p, size_t locals, int64_t now_ms, size_t *live)
{
	struct top_choice *c = local_of(l, p, locals);

	if (c && !p->live) {
		if (c->seen_ms_ago < 0 && !c->observed)
			c->seen_ms_ago = now_ms - p->last_ms;
		return;
	}
	c = c ? c : add_choice(l);
	if (!c)
		return;
	c->pid = (pid_t)p->pid;
	c->observed = p->live;
	c->seen_ms_ago = now_ms - p->last_ms;
	snprintf(c->id, sizeof(c->id), "%s", p->id);
	snprintf(c->label, sizeof(c->label), "%s", p->label);
	snprintf(c->python, sizeof(c->python), "%s", p->python);
	c->note[0] = '\0';
	if (!c->user[0] && strcmp(p->host, l->host) != 0)
		snprintf(c->host, sizeof(c->host), "%s", p->host);
	if (p->live && (*live)++ < LIVE_MAX)
		put_last(l, c);
}

static int connect_again(struct listing *l, struct reason *why)
{
	int err = 0;

	if (!l->q) {
		history__close(&l->history);
		err = history__open_reader(l->s->o, &l->history, why);
		err = err ? err : query__open_until(&l->history.url, l->s->o->prefix, l->s->stop_fd, &l->q, why);
	}
	return err;
}

/* That there is no history yet is no news. */
static void list_known(struct listing *l)
{
	struct query_proc *procs = NULL;
	struct reason why = {""};
	size_t n = 0, live = 0, locals = l->n;
	int64_t now_ms = 0;
	int err = connect_again(l, &why);

	err = err ? err : query__now(l->q, &now_ms, &why);
	err = err ? err : query__procs(l->q, &procs, &n, &why);
	for (size_t i = 0; !err && i < n && !l->s->stop; i++)
		add_known(l, &procs[i], locals, now_ms, &live);
	free(procs);
	if (!err)
		return;
	query__close(l->q);
	l->q = NULL;
	if (err != -ENOENT && !l->s->stop)
		top_source__notice(l->s, why.text);
}

/* ---- the list ---- */

/* Who is observed now, busiest first; then who could be; then who was. */
static int rank(const struct top_choice *c)
{
	return c->observed ? 0 : !c->id[0] ? c->note[0] ? 2 : 1 : 3;
}

static int in_order(const void *a_, const void *b_)
{
	const struct top_choice *a = a_, *b = b_;
	double x = isnan(a->busy) ? -1 : a->busy, y = isnan(b->busy) ? -1 : b->busy;

	if (rank(a) != rank(b))
		return rank(a) - rank(b);
	if (rank(a) == 0 && x != y)
		return x < y ? 1 : -1;
	if (rank(a) == 3 && a->seen_ms_ago != b->seen_ms_ago)
		return a->seen_ms_ago < b->seen_ms_ago ? -1 : 1;
	return a->pid < b->pid ? -1 : a->pid > b->pid;
}

static void make_list(struct listing *l)
{
	struct top_update u = {.kind = TOP_UPDATE_CHOICES};
	struct reason why = {""};
	int err = local__each(l->local, add_local, l, &why);

	if (l->s->stop)
		return;
	if (err)
		top_source__notice(l->s, why.text[0] ? why.text : "The processes of this machine can't be listed.");
	list_known(l);
	qsort(l->choices, l->n, sizeof(*l->choices), in_order);
	u.choices = l->choices;
	u.choices_n = l->n;
	l->choices = NULL;
	l->n = l->room = 0;
	top_source__post(l->s, &u);
}

static void know_ourselves(struct listing *l)
{
	struct reason why;

	top_source__own_host(l->s, l->host);
	if (l->s->o->mode != MODE_AUTO && l->s->o->mode != MODE_LOOK && caps__check(&why))
		snprintf(l->cannot, sizeof(l->cannot), "Nobody observes it, and to attach to it: %.300s.", why.text);
}

void top_list__run(struct top_source *s)
{
	struct listing l = {.s = s, .local = local__new()};

	know_ourselves(&l);
	do {
		if (l.local)
			make_list(&l);
	} while (top_source__sleep(s, REFRESH_MS));
	free(l.choices);
	query__close(l.q);
	history__close(&l.history);
	local__free(l.local);
}
