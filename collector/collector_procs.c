/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who comes and who goes: named processes, their children (--children), every Python of the host (--all), execs and exits.
 * Who is who is the roster's.
 *
 * Events come in the kernel's order, so a child is known before it forks, execs or ends. A process that ended keeps its place
 * until the boundary that ends the interval for all: its last interval is as long as it lived.
 */
#include "collector_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/process/procstat.h"
#include "collector/target/finder.h"

#define LAST_WORDS_MS 1000
#define SCANS_MAX 8          /* looks for children that were forked during the one before */
#define ANCESTORS_MAX 64

/* ---- the end ---- */

const char *collector_end__name(enum collector_end how)
{
	static const char *const names[] = {
#define X(id, name) [END_##id] = name,
		COLLECTOR_ENDS(X)
#undef X
	};

	return names[how];
}

static void say_good_bye(struct collector *c, struct observed *o, enum collector_end how)
{
	if (o == c->traced)
		tracing__end(c, c->boundary);
	observed__finish(o, &c->shop, c->boundary_ms, collector_end__name(how));
	/* The summary of the last one says where the history is: let it be there. */
	if (c->opts->sink && roster__count(&c->roster) == 1 && !c->opts->all)
		sink__flush(c->opts->sink, LAST_WORDS_MS);
	if (c->events->ended)
		c->events->ended(c->events->arg, &o->pub, aggr__totals(o->aggr), how);
}

void procs__let_go(struct collector *c, struct observed *const *who, size_t n, enum collector_end how)
{
	uint32_t *slots = calloc(n ?: 1, sizeof(*slots));
	size_t forgotten = c->shop.reader ? n : 0;

	for (size_t i = 0; i < n; i++) {
		say_good_bye(c, who[i], who[i]->gone_at ? who[i]->gone_how : how);
		observed__lift(who[i], &c->shop);
	}
	for (size_t i = 0; slots && i < forgotten; i++)
		slots[i] = who[i]->slot;
	if (slots && forgotten)
		reader__forget(c->shop.reader, slots, forgotten);
	for (size_t i = 0; i < n; i++) {
		if (!slots && forgotten)
			reader__forget(c->shop.reader, &who[i]->slot, 1);
		observed__free(who[i], &c->shop);
	}
	free(slots);
}

static void is_gone(struct observed *o, uint64_t at, enum collector_end how)
{
	o->gone_at = at;
	o->gone_how = how;
}

void procs__on_exit_of(struct collector *c, struct observed *o)
{
	is_gone(o, clock__mono_ns(), END_EXIT);
}

/* Who went after the boundary has done something since that the next interval will tell. */
void procs__bury_the_gone(struct collector *c)
{
	struct observed **gone = calloc(c->roster.max, sizeof(struct observed *));
	size_t n = 0;

	for (size_t i = 0; gone && i < c->roster.max; i++) {
		struct observed *o = roster__at(&c->roster, i);

		if (o && o->gone_at && o->gone_at <= c->boundary)
			gone[n++] = o;
	}
	if (n)
		procs__let_go(c, gone, n, END_EXIT);
	free(gone);
}

void procs__end_early(struct collector *c)
{
	if (c->opts->all || !roster__count(&c->roster) || roster__living(&c->roster))
		return;
	collector__cut_interval(c);
	collector__collect_all(c, true);
	procs__bury_the_gone(c);
	collector__advance(c);
}

/* ---- the beginning ---- */

/* Measuring begins if it turns its GIL on. */
static void tell_no_gil(struct collector *c, struct observed *o)
{
	char park[PARK_SITES_TEXT] = "";

	if (o->recipe->plan)
		park_sites__text(&o->recipe->plan->park, park);
	collector__notice(c, o, "this free-threaded Python (%s) runs without its GIL: nobody waits for that, and how long its "
			  "threads wait for each other is not measured%s%s%s", o->recipe->python.text, park[0] ? " (" : "", park,
			  park[0] ? ")" : "");
}

static void tell_armed(struct collector *c, struct observed *o, uint64_t begun)
{
	if (c->events->armed)
		c->events->armed(c->events->arg, &o->pub, (double)(clock__mono_ns() - begun) / 1e6);
	tracing__begin(c, o);
	if (c->opts->mode == MODE_LIGHT && !o->recipe->plan->light)
		collector__notice(c, o, "light mode needs a conditional jump behind each wait, which this interpreter has not: "
				  "full mode is used");
	if (c->opts->handed_down && c->shop.probes && !probes__is_kin(c->shop.probes, o->slot) && !c->said_not_shared) {
		c->said_not_shared = true;
		collector__notice(c, o, "the probes of process %d are %snot shared with its children: their first milliseconds "
				  "will not be seen (their cov says how much)", (int)o->target->pid,
				  sites__shareable(o->recipe->plan) ? "" : "in the C library and ");
	}
	runtimes__tell(c, o);
	if (o->pub.gil_disabled)
		tell_no_gil(c, o);
}

/* Said once, counted always. */
static void turn_away(struct collector *c, pid_t pid)
{
	c->roster.turned_away++;
	if (c->said_full)
		log_verbose("process %d is one too many", (int)pid);
	else
		collector__notice(c, NULL, "process %d is not observed, nor are further ones until one ends: %zu are at once at "
				  "most", (int)pid, c->roster.max);
	c->said_full = true;
}

struct observed *procs__start(struct collector *c, pid_t pid, const struct origin *origin, struct reason *why, int *ret_err)
{
	struct observed *o = roster__place(&c->roster);
	uint64_t begun = clock__mono_ns();

	if (!o) {
		turn_away(c, pid);
		*ret_err = reason__set(why, -ENOSPC, "%zu processes are observed already", c->roster.max);
		return NULL;
	}
	*ret_err = observed__start(o, &c->shop, pid, origin, why);
	if (*ret_err)
		return NULL;
	tell_armed(c, o, begun);
	return o;
}

/* The nearest ancestor that is observed, or NULL. */
static const struct observed *ancestor(const struct collector *c, pid_t pid)
{
	const struct observed *o = NULL;

	for (int i = 0; !o && i < ANCESTORS_MAX && pid > 1; i++) {
		pid = procstat__parent(pid);
		o = pid > 1 ? roster__by_pid(&c->roster, pid) : NULL;
	}
	return o;
}

/* Whom a followed process descends from: as it was forked, since those between may be gone; else as it is now. */
static const struct observed *origin_of(const struct collector *c, const struct gil_event *e)
{
	const struct observed *o = e->child ? roster__latest_by_pid(&c->roster, (pid_t)e->child) : NULL;

	return o ? o : ancestor(c, (pid_t)e->tgid);
}

static void set_relations(struct pending *p, const char *parent, const char *root)
{
	snprintf(p->parent, sizeof(p->parent), "%s", parent);
	snprintf(p->root, sizeof(p->root), "%s", root);
}

static void await(struct collector *c, const struct pending *p)
{
	if (!roster__await(&c->roster, p))
		turn_away(c, p->pid);
}

static void await_child_of(struct collector *c, const struct observed *parent, pid_t pid, uint64_t born_at, bool is_fork)
{
	struct pending p = {.pid = pid, .born_at = born_at, .wanted = parent != NULL, .is_fork = is_fork};

	if (parent)
		set_relations(&p, parent->id, parent->root);
	await(c, &p);
}

/* Whether what it does is told already. */
static bool is_followed(const struct collector *c, pid_t pid)
{
	return c->shop.probes ? probes__is_followed(c->shop.probes, pid) : roster__by_pid(&c->roster, pid) != NULL;
}

/* A shell, say: what it will start. Looks find that by themselves. */
static void follow_found(struct collector *c, pid_t pid)
{
	if (!c->shop.probes)
		return;
	probes__follow(c->shop.probes, pid);
	if (!ancestor(c, pid)) /* ended meanwhile, and its PID is another's */
		probes__unfollow(c->shop.probes, pid);
}

void procs__start_descendants(struct collector *c, pid_t root)
{
	bool found = true;

	for (int scan = 0; found && scan < SCANS_MAX; scan++) {
		pid_t *pids = NULL;
		size_t n = 0;

		found = false;
		if (finder__descendants(root, &pids, &n))
			return;
		for (size_t i = 0; i < n; i++) {
			const struct observed *parent = ancestor(c, pids[i]);
			struct origin origin = {.parent = parent ? parent->id : NULL, .root = parent ? parent->root : NULL};
			struct reason why = {{0}};
			int err;

			/* Forked since: its event is on the way. It may be about to exec, and only look like Python. */
			if (is_followed(c, pids[i]))
				continue;
			if (procs__start(c, pids[i], &origin, &why, &err))
				found = true;
			else if (err != -ESRCH)
				follow_found(c, pids[i]);
		}
		free(pids);
	}
}

/* ---- pending ---- */

static bool has_ended(pid_t pid)
{
	uint64_t ticks, stack;

	return target__stat(pid, 0, &ticks, &stack) == -ESRCH;
}

static void tell_another(struct collector *c, struct observed *o)
{
	collector__notice(c, o, "process %d has become another Python program: observed anew as %s", (int)o->target->pid, o->id);
}

static void try_one(struct collector *c, struct pending *waiting, uint64_t now)
{
	struct pending p = *waiting;
	struct origin origin = {
		.born_at = p.born_at, .parent = p.parent, .root = p.root, .only = p.wanted ? NULL : c->opts->all,
	};
	struct reason why = {{0}};
	bool over;
	int err = 0;
	struct observed *o = procs__start(c, p.pid, &origin, &why, &err);

	if (o) {
		roster__drop(&c->roster, waiting);
		if (p.was_observed)
			tell_another(c, o);
		return;
	}
	if (err == -EALREADY) { /* its birth is told in a moment */
		roster__postpone(&c->roster, waiting, now);
		return;
	}
	over = err == -ESRCH && p.is_fork;
	waiting->over = over;
	c->roster.missed += over;
	c->roster.unseen += c->opts->all && !p.is_fork && !waiting->deadline && has_ended(p.pid);
	if ((err == -ESRCH && !over) || err == -ENOSPC)
		roster__drop(&c->roster, waiting);
	else if (roster__postpone(&c->roster, waiting, now))
		return;
	if (p.was_observed)
		collector__notice(c, NULL, "process %d is no longer observed: %s", (int)p.pid, why.text);
	else
		log_verbose("process %d is not observed: %s", (int)p.pid, why.text);
}

void procs__try_pending(struct collector *c, uint64_t now)
{
	for (size_t i = 0; i < c->roster.pending_n; i++) {
		struct pending *p = &c->roster.pending[i];
		pid_t pid = p->pid;

		if (p->next_try > now)
			continue;
		if (p->over)
			roster__drop(&c->roster, p);
		else
			try_one(c, p, now);
		if (i < c->roster.pending_n && p->pid != pid)
			i--; /* another has its place now */
	}
}

static int start_found(void *arg, pid_t pid, const struct target *t, const char *why_not)
{
	struct collector *c = arg;
	struct origin origin = {0};
	struct reason why = {{0}};
	const struct observed *parent;
	int err;

	if (!t) {
		log_verbose("process %d is not observed: %s", (int)pid, why_not);
		return 0;
	}
	if (!finder__fits(c->opts->all, t) || is_followed(c, pid))
		return 0;
	parent = ancestor(c, pid);
	if (parent)
		origin = (struct origin){.parent = parent->id, .root = parent->root};
	if (!procs__start(c, pid, &origin, &why, &err) && err != -ENOSPC)
		log_warn("%s", why.text);
	return 0;
}

static bool may_be_meant(void *arg, pid_t pid)
{
	const struct collector *c = arg;

	return finder__may_fit(c->opts->all, pid);
}

/* Execs are told before the look around: whoever comes meanwhile is found by one or the other. */
int procs__start_all(struct collector *c, struct reason *why)
{
	if (c->shop.probes)
		probes__tell_execs(c->shop.probes, true);
	return target__each(may_be_meant, start_found, c, why);
}

void procs__tell_missed(struct collector *c)
{
	for (size_t i = 0; i < c->roster.pending_n; i++)
		c->roster.missed += c->roster.pending[i].is_fork && !c->roster.pending[i].over;
	if (c->roster.missed)
		collector__notice(c, NULL, "%llu forked children ended before they could be observed and are in no number",
				  (unsigned long long)c->roster.missed);
	if (c->roster.unseen)
		collector__notice(c, NULL, "%llu programs ended before they could be looked at: those of them that were "
				  "Python are in no number", (unsigned long long)c->roster.unseen);
	if (c->roster.turned_away)
		collector__notice(c, NULL, "%llu processes found no place and are in no number",
				  (unsigned long long)c->roster.turned_away);
}

/* ---- events ---- */

static void adopt(struct collector *c, struct observed *parent, const struct gil_event *e)
{
	struct observed *o = roster__place(&c->roster);
	struct reason why = {{0}};

	if (!o || observed__adopt(o, &c->shop, parent, e, &why)) {
		if (!o)
			probes__disown(c->shop.probes, e->child_proc);
		log_warn("%s", o ? why.text : "no room for another process");
		return;
	}
	if (c->events->armed)
		c->events->armed(c->events->arg, &o->pub, 0);
}

static void heal(struct collector *c, struct observed *o, const struct gil_event *e)
{
	if (probes__heal(c->shop.probes, o->slot, (pid_t)e->child))
		collector__notice(c, o, "child %u of process %u keeps inherited breakpoints until the probes are lifted",
				  e->child, e->tgid);
	else
		log_verbose("process %u forked %u: its inherited breakpoints are taken out", e->tgid, e->child);
}

/*
 * Of a process that has no slot: one that waits to be observed, then its child is Python too; else it is not, and what its child
 * becomes an exec will tell.
 */
static void await_grandchild(struct collector *c, const struct gil_event *e)
{
	const struct pending *parent = roster__find_pending(&c->roster, (pid_t)e->tgid);
	struct pending p = {.pid = (pid_t)e->child, .born_at = e->at, .wanted = true, .is_fork = true};

	if (!parent || !parent->is_fork)
		return;
	set_relations(&p, "", parent->root);
	await(c, &p);
}

static void on_fork(struct collector *c, struct observed *o, const struct gil_event *e)
{
	if (e->child_proc != GIL_PROC_NONE && !o) {
		probes__disown(c->shop.probes, e->child_proc);
		return;
	}
	if (!o)
		o = roster__by_pid(&c->roster, (pid_t)e->tgid);
	if (!o) {
		await_grandchild(c, e);
		return;
	}
	if (!c->opts->follow)
		heal(c, o, e);
	else if (e->child_proc != GIL_PROC_NONE)
		adopt(c, o, e);
	else
		await_child_of(c, o, (pid_t)e->child, e->at, true);
}

void procs__begin_anew(struct collector *c, struct observed *o)
{
	struct pending p = {.pid = o->target->pid, .born_at = c->boundary, .wanted = true};

	is_gone(o, c->boundary, END_RUNTIME);
	set_relations(&p, o->parent, c->opts->follow ? o->root : "");
	await(c, &p);
}

/* One that was not observed is of the family of whoever started it. */
static void on_exec(struct collector *c, struct observed *o, const struct gil_event *e)
{
	struct pending p = {.pid = (pid_t)e->tgid, .born_at = e->at, .was_observed = true, .wanted = true};

	/* Found meanwhile: after this exec, or before it and a slot later. */
	if (!o)
		o = roster__by_pid(&c->roster, (pid_t)e->tgid);
	if (o && e->proc == GIL_PROC_NONE && o->begun_at > e->at)
		return;
	if (!o) {
		await_child_of(c, origin_of(c, e), (pid_t)e->tgid, e->at, false);
		return;
	}
	is_gone(o, e->at, END_EXEC);
	set_relations(&p, o->parent, c->opts->follow ? o->root : "");
	await(c, &p);
}

/* ---- newcomers: they count since their first event ---- */

static const struct observed *of_family(const struct collector *c, uint32_t family)
{
	for (size_t i = 0; i < c->roster.max; i++) {
		const struct observed *o = roster__at(&c->roster, i);

		if (o && probes__family(c->shop.probes, o->slot) == family)
			return o;
	}
	return NULL;
}

static void tell_newcomer(struct collector *c, struct observed *o, bool was_observed)
{
	if (c->events->armed)
		c->events->armed(c->events->arg, &o->pub, 0);
	if (was_observed)
		tell_another(c, o);
}

static void on_birth(struct collector *c, const struct gil_event *e)
{
	const struct observed *relative = of_family(c, e->family), *parent = origin_of(c, e);
	struct pending *waiting = roster__find_pending(&c->roster, (pid_t)e->tgid);
	struct origin origin = {
		.born_at = e->began, .parent = parent ? parent->id : NULL, .root = parent ? parent->root : NULL,
	};
	struct observed *o = roster__place(&c->roster);
	struct pending was = {0};
	struct reason why = {{0}};

	if (waiting) {
		was = *waiting;
		roster__drop(&c->roster, waiting);
		origin.parent = was.parent;
		origin.root = was.root;
	}
	if (!o) {
		probes__disown(c->shop.probes, e->proc);
		turn_away(c, (pid_t)e->tgid);
	} else if (observed__adopt_newcomer(o, &c->shop, relative, e, &origin, &why)) {
		log_warn("%s", why.text);
	} else {
		tell_newcomer(c, o, was.was_observed);
	}
}

static void on_exit_event(struct observed *o, const struct gil_event *e)
{
	if (o)
		is_gone(o, e->at, END_EXIT);
}

/* ---- without probes: who came is looked for ---- */

/* ns, CLOCK_MONOTONIC: when its process was forked; 0: not known. */
static uint64_t birth_of(pid_t pid)
{
	uint64_t ticks, stack, lives;

	if (target__stat(pid, 0, &ticks, &stack))
		return 0;
	lives = clock__boot_ns() - ticks * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
	return clock__mono_ns() - lives;
}

/* One that was there before and is no child has one try: it is another program by now, or none of ours. */
static void consider(struct collector *c, const struct finder_newcomer *who, uint64_t now)
{
	const struct observed *parent = ancestor(c, who->pid);
	struct pending *waiting;

	if (who->pid == getpid() || roster__latest_by_pid(&c->roster, who->pid) || roster__find_pending(&c->roster, who->pid) ||
	    (!parent && !c->opts->all) || (!parent && !finder__may_fit(c->opts->all, who->pid)))
		return;
	await_child_of(c, parent, who->pid, who->again ? now : birth_of(who->pid), false);
	waiting = who->again && !parent ? roster__find_pending(&c->roster, who->pid) : NULL;
	if (waiting)
		waiting->deadline = now;
}

/* An exec changes where its stack begins. */
static void mind_execs(struct collector *c, uint64_t now)
{
	for (size_t i = 0; i < c->roster.max; i++) {
		struct observed *o = roster__at(&c->roster, i);
		struct pending p = {.was_observed = true, .wanted = true, .born_at = now};
		uint64_t ticks, stack;

		if (!o || o->gone_at || !o->target->start_stack || target__stat(o->target->pid, 0, &ticks, &stack) || !stack ||
		    stack == o->target->start_stack || ticks != o->target->start_ticks)
			continue;
		p.pid = o->target->pid;
		is_gone(o, now, END_EXEC);
		set_relations(&p, o->parent, c->opts->follow ? o->root : "");
		await(c, &p);
	}
}

void procs__look_around(struct collector *c)
{
	struct finder_newcomer *found = NULL;
	uint64_t now = clock__mono_ns();
	bool first = !c->known.n;
	size_t n = 0;

	mind_execs(c, now);
	if ((!c->opts->follow && !c->opts->all) || finder__newcomers(&c->known, &found, &n))
		return;
	/* Those who were there from the beginning are found otherwise. */
	for (size_t i = 0; !first && i < n; i++)
		consider(c, &found[i], now);
	free(found);
}

/* ---- events ---- */

void procs__on_event(void *arg, const struct gil_event *e)
{
	struct collector *c = arg;
	struct observed *o = roster__by_slot(&c->roster, e->proc);

	if (o && (uint32_t)o->target->pid != e->tgid)
		o = NULL;
	switch (e->kind) {
	case GIL_EVENT_FORK:
		on_fork(c, o, e);
		break;
	case GIL_EVENT_EXEC:
		on_exec(c, o, e);
		break;
	case GIL_EVENT_EXIT:
		on_exit_event(o, e);
		break;
	case GIL_EVENT_BORN:
		on_birth(c, e);
		break;
	}
}
