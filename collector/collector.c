/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See collector.h. One loop, one thread: signals, the interval timer, the ends of targets, their forks and execs.
 *
 * At a boundary every observed process is collected, then the next boundary is published. Waiters are charged at least once
 * per switch interval, so the collection happens a little after the boundary (settle_ns), when nearly all have been; what
 * is still owed then is computed (blame_memo.h). An interval is cut short at the end of a run, at the exit of the only
 * target and before a change of mode.
 *
 * One process's path is observed.c; a program started under observation, spawn.c.
 */
#include "collector.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "grid.h"
#include "log.h"
#include "observed.h"
#include "spawn.h"

#define MS 1000000ull
#define SECOND (1000 * MS)
#define SETTLE_NS (8 * MS)          /* a switch interval (5 ms) and some */
#define CUT_NS (1 * MS)             /* lead of a boundary that is set at once */
#define TICK_NS (250 * MS)
#define MARGIN_NS (20 * MS)         /* shortest interval */
#define FLUSH_TIMEOUT_MS 5000
#define LAST_WORDS_MS 1000
#define EXEC_PATIENCE_NS (2 * SECOND) /* an exec'd image must have mapped its interpreter by then */
#define URGENT 4.0                  /* times the budget within a tick: do not wait for the interval's end */
#define RETRY_FULL_MAX_NS (600 * SECOND)

/* A process that has exec'd and may be Python again in a moment. */
struct pending {
	pid_t pid;
	uint64_t deadline;
};

struct collector {
	const struct collector_opts *opts;
	const struct collector_events *events;
	struct workshop shop;
	struct grid grid;
	struct observed *procs;
	size_t procs_n;
	struct pending *pending;
	int signal_fd, timer_fd;
	uint64_t started, deadline;  /* ns, monotonic; deadline UINT64_MAX: none */
	uint64_t boundary, next_tick;
	int64_t boundary_ms;
	enum collector_end end;
	bool stop;
	int err;                     /* why it stopped, if not in good order */
	struct reason *why;
	pid_t child;                 /* collector__spawn()'s own, 0: none */
	int child_status;
	bool sink_was_away;
	uint64_t reconnects;         /* of the sink, when last looked */
	uint64_t refused;            /* commands that Redis refused so far, and what was said of it */
	char refusal[sizeof(((struct sink_stats *)NULL)->trouble)];
};

static struct grid_clocks read_clocks(void)
{
	struct timespec wall, boot;
	struct grid_clocks now;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	now.mono_ns = clock__mono_ns();
	now.wall_ns = (int64_t)wall.tv_sec * (int64_t)SECOND + wall.tv_nsec;
	now.boot_ns = (uint64_t)boot.tv_sec * SECOND + (uint64_t)boot.tv_nsec;
	return now;
}

/* ---- telling ---- */

static void notice(struct collector *c, struct observed *o, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void notice(struct collector *c, struct observed *o, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (c->events->notice)
		c->events->notice(c->events->arg, o ? &o->pub : NULL, text);
}

static void tell_armed(struct collector *c, struct observed *o, uint64_t begun)
{
	if (c->events->armed)
		c->events->armed(c->events->arg, &o->pub, (double)(clock__mono_ns() - begun) / 1e6);
	if (c->opts->mode == MODE_LIGHT && !o->plan->light)
		notice(c, o, "light mode needs a conditional jump behind each wait, which this interpreter has not: "
		       "full mode is used");
	if (o->pub.gil_disabled)
		notice(c, o, "this free-threaded Python runs without its GIL: there is nothing to hold or to wait for");
}

/* ---- the interval ---- */

static void plan_boundary(struct collector *c)
{
	struct grid_clocks now = read_clocks();

	c->boundary = grid__next(&c->grid, &now, MARGIN_NS, &c->boundary_ms);
}

static uint64_t settle_ns(const struct collector *c)
{
	return c->opts->interval_ns / 10 < SETTLE_NS ? c->opts->interval_ns / 10 : SETTLE_NS;
}

static void take_sample(struct collector *c, struct observed *o, bool partial)
{
	bool was_disabled = o->pub.gil_disabled;
	struct proc_sample *s;
	int err = reader__collect(c->shop.reader, o->slot, &s);

	if (err) {
		log_warn("process %d: an interval could not be read: %s", (int)o->target->pid, strerror(-err));
		return;
	}
	s->end_ms = c->boundary_ms;
	s->partial = partial || s->observed_ns < s->len_ns;
	err = observed__publish(o, &c->shop, s);
	if (err)
		log_warn("process %d: an interval could not be stored: %s", (int)o->target->pid, strerror(-err));
	if (o->pub.gil_disabled != was_disabled)
		notice(c, o, "this free-threaded Python has turned its GIL %s", was_disabled ? "on" : "off");
	if (c->events->sample)
		c->events->sample(c->events->arg, &o->pub, s, aggr__last_minute(o->aggr), aggr__totals(o->aggr));
	proc_sample__free(s);
}

static void collect_all(struct collector *c, bool partial)
{
	for (size_t i = 0; i < c->procs_n; i++)
		if (c->procs[i].used)
			take_sample(c, &c->procs[i], partial);
}

static void advance(struct collector *c)
{
	plan_boundary(c);
	reader__advance(c->shop.reader, c->boundary);
}

static void sleep_until(uint64_t when)
{
	struct timespec ts = {.tv_sec = (time_t)(when / SECOND), .tv_nsec = (long)(when % SECOND)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/*
 * Ends the running interval now. A planned boundary that has passed, or is about to, stands: records have seen it. The
 * interval that it ends is collected as ever, and what has happened since is an interval of its own.
 */
static void cut_interval(struct collector *c)
{
	if (clock__mono_ns() + CUT_NS >= c->boundary) {
		sleep_until(c->boundary + settle_ns(c));
		collect_all(c, false);
		advance(c);
	}
	c->boundary = clock__mono_ns() + CUT_NS;
	c->boundary_ms = grid__stamp(&c->grid, c->boundary);
	reader__cut(c->shop.reader, c->boundary);
	sleep_until(c->boundary + settle_ns(c));
}

/* ---- modes ---- */

/* At the end of an interval, which is cut short for it: no sample mixes two modes. */
static void change_mode(struct collector *c, struct observed *o, enum gil_mode mode)
{
	struct reason why = {{0}};

	cut_interval(c);
	collect_all(c, true);
	if (observed__switch(o, &c->shop, mode, &why)) {
		notice(c, o, "changing to %s mode failed, the process is let go: %s",
		       mode == GIL_MODE_FULL ? "full" : "light", why.text);
		o->gone_at = clock__mono_ns();
	}
	advance(c);
}

static void fall_back(struct collector *c, struct observed *o, double share)
{
	if (!o->plan->light) {
		if (!o->light_since)
			notice(c, o, "the probes cost %.1f %% of a core, above the budget of %.1f %%, but light mode is "
			       "not possible on this interpreter", 100 * share, 100 * c->opts->max_overhead);
		o->light_since = clock__mono_ns();
		return;
	}
	change_mode(c, o, GIL_MODE_LIGHT);
	o->light_since = clock__mono_ns();
	notice(c, o, "full mode cost %.1f %% of a core, above the budget of %.1f %%: changed to light mode (waits stay exact, "
	       "holds and uncontended acquires are unknown)", 100 * share, 100 * c->opts->max_overhead);
}

/* A burst should not cost the details for ever: look again now and then, ever more rarely. */
static void maybe_retry_full(struct collector *c, struct observed *o, uint64_t now)
{
	if (now - o->light_since < o->retry_after_ns)
		return;
	o->retry_after_ns = 2 * o->retry_after_ns > RETRY_FULL_MAX_NS ? RETRY_FULL_MAX_NS : 2 * o->retry_after_ns;
	change_mode(c, o, GIL_MODE_FULL);
	o->looked_at = 0; /* its price counts from now on */
	o->over_budget = 0;
	notice(c, o, "trying full mode again");
}

/* Looked at each tick: at once if far above the budget, else when above it over about an interval. */
static void mind_budget(struct collector *c, struct observed *o, uint64_t now)
{
	uint64_t span;
	double share;

	if (c->opts->mode != MODE_AUTO || o->gone_at)
		return;
	if (o->pub.mode == GIL_MODE_LIGHT) {
		maybe_retry_full(c, o, now);
		return;
	}
	if (o->looked_at && now - o->looked_at < TICK_NS / 2)
		return;
	share = observed__cost_share(o, &c->shop, now, &span);
	o->over_budget = span && share > c->opts->max_overhead ? o->over_budget + 1 : 0;
	if (o->over_budget * TICK_NS >= SECOND || (o->over_budget && share > URGENT * c->opts->max_overhead))
		fall_back(c, o, share);
}

/* ---- processes come and go ---- */

static struct observed *by_slot(struct collector *c, uint32_t slot)
{
	for (size_t i = 0; i < c->procs_n; i++)
		if (c->procs[i].used && c->procs[i].slot == slot)
			return &c->procs[i];
	return NULL;
}

static size_t observed_count(const struct collector *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->procs_n; i++)
		n += c->procs[i].used;
	return n;
}

static bool anything_pending(const struct collector *c)
{
	for (size_t i = 0; i < c->procs_n; i++)
		if (c->pending[i].pid)
			return true;
	return false;
}

static const char *const end_words[] = {
	[END_EXIT] = "exited", [END_EXEC] = "exec", [END_DURATION] = "duration", [END_SIGNAL] = "signal",
	[END_ERROR] = "error",
};

static void let_go(struct collector *c, struct observed *o, enum collector_end how)
{
	observed__finish(o, &c->shop, c->boundary_ms, end_words[how]);
	/* The summary of the last one says where the history is: let it be there. */
	if (c->opts->sink && observed_count(c) == 1)
		sink__flush(c->opts->sink, LAST_WORDS_MS);
	if (c->events->ended)
		c->events->ended(c->events->arg, &o->pub, aggr__totals(o->aggr), how);
	observed__stop(o, &c->shop);
}

/* The last interval of a process that is no more (or no more the same), then good-bye. */
static void last_sample(struct collector *c, struct observed *o, enum collector_end how)
{
	cut_interval(c);
	collect_all(c, true);
	let_go(c, o, how);
	advance(c);
}

static struct observed *start_one(struct collector *c, pid_t pid, bool starting, struct reason *why, int *ret_err)
{
	uint64_t begun = clock__mono_ns();

	for (size_t i = 0; i < c->procs_n; i++) {
		struct observed *o = &c->procs[i];

		if (o->used)
			continue;
		*ret_err = observed__start(o, &c->shop, pid, starting, why);
		if (*ret_err)
			return NULL;
		tell_armed(c, o, begun);
		return o;
	}
	*ret_err = -ENOSPC;
	return NULL;
}

static void await_python(struct collector *c, pid_t pid)
{
	for (size_t i = 0; i < c->procs_n; i++)
		if (!c->pending[i].pid) {
			c->pending[i] = (struct pending){.pid = pid, .deadline = clock__mono_ns() + EXEC_PATIENCE_NS};
			return;
		}
}

static void try_pending(struct collector *c, uint64_t now)
{
	for (size_t i = 0; i < c->procs_n; i++) {
		struct pending *p = &c->pending[i];
		struct reason why = {{0}};
		struct observed *o;
		int err;

		if (!p->pid)
			continue;
		o = start_one(c, p->pid, false, &why, &err);
		if (o)
			notice(c, o, "process %d has become another Python program: observed anew as %s", (int)p->pid, o->id);
		else if (now < p->deadline && err != -ESRCH)
			continue;
		else
			notice(c, NULL, "process %d is no longer observed: %s", (int)p->pid, why.text);
		p->pid = 0;
	}
}

static void on_event(void *arg, const struct gil_event *e)
{
	struct collector *c = arg;
	struct observed *o = by_slot(c, e->proc);
	pid_t pid;

	if (!o || (uint32_t)o->target->pid != e->tgid)
		return;
	if (e->kind == GIL_EVENT_FORK) {
		if (probes__heal(c->shop.probes, o->slot, (pid_t)e->child))
			notice(c, o, "child %u of process %u keeps inherited breakpoints until the probes are lifted",
			       e->child, e->tgid);
		else
			log_verbose("process %u forked %u: its inherited breakpoints are taken out", e->tgid, e->child);
	} else if (e->kind == GIL_EVENT_EXEC) {
		pid = o->target->pid;
		last_sample(c, o, END_EXEC);
		await_python(c, pid);
	}
}

static void on_exit_of(struct collector *c, struct observed *o)
{
	/* Alone: its end is told at once. Among others: at the boundary that ends the interval for all. */
	if (observed_count(c) == 1)
		last_sample(c, o, END_EXIT);
	else
		o->gone_at = clock__mono_ns();
}

/* Who went after the boundary has done something since that the next interval will tell. */
static void bury_the_gone(struct collector *c)
{
	for (size_t i = 0; i < c->procs_n; i++)
		if (c->procs[i].used && c->procs[i].gone_at && c->procs[i].gone_at <= c->boundary)
			let_go(c, &c->procs[i], END_EXIT);
}

/* ---- the loop ---- */

static void on_boundary(struct collector *c)
{
	collect_all(c, false);
	bury_the_gone(c);
	advance(c);
}

/* A key that another program owns does not keep the rest from being written: said once, and not an absence. */
static bool is_refusal(struct collector *c, const struct sink_stats *stats)
{
	if (!stats->connected)
		return false;
	if (stats->commands_refused > c->refused) {
		if (!c->refused && stats->trouble[0])
			notice(c, NULL, "%s", stats->trouble);
		c->refused = stats->commands_refused;
		memcpy(c->refusal, stats->trouble, sizeof(c->refusal));
	}
	return strcmp(c->refusal, stats->trouble) == 0;
}

/* The server may have come back empty: index, meta and every time to live must be set again. */
static void announce_anew(struct collector *c)
{
	for (size_t i = 0; i < c->procs_n; i++)
		if (c->procs[i].used)
			observed__announce(&c->procs[i], &c->shop);
}

/* One line when the store goes away and one when it is back. What becomes of samples meanwhile, the trouble says. */
static void mind_sink(struct collector *c)
{
	struct sink_stats stats;
	bool away;

	if (!c->opts->sink)
		return;
	sink__stats(c->opts->sink, &stats);
	if (stats.reconnects != c->reconnects)
		announce_anew(c);
	c->reconnects = stats.reconnects;
	away = stats.trouble[0] != '\0' && !is_refusal(c, &stats);
	if (away && !c->sink_was_away)
		notice(c, NULL, "%s", stats.trouble);
	else if (!away && c->sink_was_away)
		notice(c, NULL, "Redis is back; %llu samples were dropped", (unsigned long long)stats.points_dropped);
	c->sink_was_away = away;
}

static void on_tick(struct collector *c, uint64_t now)
{
	uint64_t left = c->deadline == UINT64_MAX ? UINT64_MAX : c->deadline > now ? c->deadline - now : 0;

	c->next_tick = now + TICK_NS;
	if (!probes__are_alive(c->shop.probes)) {
		c->err = reason__set(c->why, -EPIPE, "somebody ended the process that plants gilscope's probes "
				     "(gilscope-probes), and its probes with it: nothing is observed any more");
		c->end = END_ERROR;
		c->stop = true;
		return;
	}
	try_pending(c, now);
	mind_sink(c);
	for (size_t i = 0; i < c->procs_n; i++)
		if (c->procs[i].used)
			mind_budget(c, &c->procs[i], now);
	if (c->events->tick)
		c->events->tick(c->events->arg, now - c->started, left);
}

static void set_timer(struct collector *c)
{
	uint64_t when = c->boundary + settle_ns(c);
	struct itimerspec spec = {0};

	if (c->next_tick < when)
		when = c->next_tick;
	if (c->deadline < when)
		when = c->deadline;
	spec.it_value.tv_sec = (time_t)(when / SECOND);
	spec.it_value.tv_nsec = (long)(when % SECOND) ?: 1;
	timerfd_settime(c->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void on_timer(struct collector *c)
{
	uint64_t now, expirations;

	if (read(c->timer_fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
		log_debug("timerfd: %s", strerror(errno));
	now = clock__mono_ns();
	if (now >= c->boundary + settle_ns(c))
		on_boundary(c);
	if (now >= c->next_tick)
		on_tick(c, now);
	if (now >= c->deadline) {
		c->end = END_DURATION;
		c->stop = true;
	}
}

static void reap_child(struct collector *c)
{
	if (c->child && waitpid(c->child, &c->child_status, WNOHANG) == c->child)
		c->child = 0;
}

static void on_signal(struct collector *c)
{
	struct signalfd_siginfo info;

	if (read(c->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD) {
		reap_child(c);
		return;
	}
	/* The started program gets the terminal's Ctrl-C itself; we end when it does. */
	if (c->child) {
		if (info.ssi_signo == SIGTERM)
			kill(c->child, SIGTERM);
		return;
	}
	c->end = END_SIGNAL;
	c->stop = true;
}

enum { POLL_SIGNAL, POLL_TIMER, POLL_EVENTS, POLL_FIXED };

static size_t fill_polls(struct collector *c, struct pollfd *polls, struct observed **who)
{
	size_t n = POLL_FIXED;

	polls[POLL_SIGNAL] = (struct pollfd){.fd = c->signal_fd, .events = POLLIN};
	polls[POLL_TIMER] = (struct pollfd){.fd = c->timer_fd, .events = POLLIN};
	polls[POLL_EVENTS] = (struct pollfd){.fd = reader__fd(c->shop.reader), .events = POLLIN};
	for (size_t i = 0; i < c->procs_n; i++) {
		if (!c->procs[i].used || c->procs[i].gone_at)
			continue;
		who[n] = &c->procs[i];
		polls[n++] = (struct pollfd){.fd = c->procs[i].target->pidfd, .events = POLLIN};
	}
	return n;
}

static int turn(struct collector *c, struct pollfd *polls, struct observed **who)
{
	size_t n = fill_polls(c, polls, who);

	set_timer(c);
	if (poll(polls, n, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (polls[POLL_SIGNAL].revents)
		on_signal(c);
	if (polls[POLL_EVENTS].revents)
		reader__drain(c->shop.reader, on_event, c);
	if (polls[POLL_TIMER].revents)
		on_timer(c);
	for (size_t i = POLL_FIXED; i < n; i++)
		if (polls[i].revents && who[i]->used && !who[i]->gone_at)
			on_exit_of(c, who[i]);
	return 0;
}

static int loop(struct collector *c)
{
	struct pollfd *polls = calloc(c->procs_n + POLL_FIXED, sizeof(*polls));
	struct observed **who = calloc(c->procs_n + POLL_FIXED, sizeof(struct observed *));
	int err = polls && who ? 0 : -ENOMEM;

	while (!err && !c->stop && (observed_count(c) || anything_pending(c)))
		err = turn(c, polls, who);
	free(polls);
	free(who);
	return err;
}

static void end_all(struct collector *c)
{
	if (!observed_count(c))
		return;
	cut_interval(c);
	collect_all(c, true);
	for (size_t i = 0; i < c->procs_n; i++)
		if (c->procs[i].used)
			let_go(c, &c->procs[i], c->procs[i].gone_at ? END_EXIT : c->end);
}

/* ---- setting up ---- */

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int set_up(struct collector *c, struct reason *why)
{
	struct probes_opts probes_opts = {
		.max_procs = (uint32_t)c->procs_n,
		.max_threads = c->procs_n > 4 ? 8192 : 4096,
		.no_multi = c->opts->no_multi,
	};
	struct grid_clocks now;
	int err;

	c->procs = calloc(c->procs_n, sizeof(*c->procs));
	c->pending = calloc(c->procs_n, sizeof(*c->pending));
	if (!c->procs || !c->pending)
		return reason__set(why, -ENOMEM, "out of memory");
	for (size_t i = 0; i < c->procs_n; i++)
		c->procs[i].lock_fd = -1;
	c->signal_fd = open_signals();
	c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (c->signal_fd < 0 || c->timer_fd < 0)
		return reason__set(why, -errno, "can't set up timers and signals: %s", strerror(errno));
	err = probes__open(&probes_opts, &c->shop.probes, why);
	err = err ?: reader__new(c->shop.probes, &c->shop.reader, why);
	if (err)
		return err;
	now = read_clocks();
	c->started = now.mono_ns;
	grid__init(&c->grid, c->opts->interval_ns, &now);
	reader__begin(c->shop.reader, now.mono_ns, READER_NO_END);
	return 0;
}

static void tear_down(struct collector *c)
{
	for (size_t i = 0; c->procs && i < c->procs_n; i++)
		if (c->procs[i].used)
			observed__stop(&c->procs[i], &c->shop);
	reader__free(c->shop.reader);
	probes__close(c->shop.probes);
	if (c->signal_fd >= 0)
		close(c->signal_fd);
	if (c->timer_fd >= 0)
		close(c->timer_fd);
	free(c->procs);
	free(c->pending);
}

static void set_deadline(struct collector *c)
{
	c->deadline = c->opts->duration_ns ? clock__mono_ns() + c->opts->duration_ns : UINT64_MAX;
	c->next_tick = clock__mono_ns() + TICK_NS;
}

/* Several PIDs: one that can't be observed is said and left out, unless none can. */
static int start_all(struct collector *c, const pid_t *pids, size_t n, struct reason *why)
{
	int err = 0;

	for (size_t i = 0; i < n; i++) {
		struct reason mine = {{0}};
		int one;

		if (start_one(c, pids[i], false, &mine, &one))
			continue;
		err = one;
		*why = mine;
		if (n > 1)
			log_warn("%s", mine.text);
	}
	return observed_count(c) ? 0 : err;
}

static int run(struct collector *c)
{
	int err;

	plan_boundary(c);
	reader__cut(c->shop.reader, c->boundary);
	set_deadline(c);
	c->end = END_EXIT;
	err = loop(c);
	end_all(c);
	/* What is not written by then, the sink counts and says when it is closed. */
	if (c->opts->sink && sink__flush(c->opts->sink, FLUSH_TIMEOUT_MS))
		log_verbose("Redis did not take the last samples within %d s", FLUSH_TIMEOUT_MS / 1000);
	return err ?: c->err;
}

int collector__run(const struct collector_opts *opts, const pid_t *pids, size_t pids_n,
		   const struct collector_events *events, struct reason *why)
{
	struct collector c = {
		.opts = opts, .events = events, .procs_n = pids_n, .signal_fd = -1, .timer_fd = -1, .why = why,
		.shop = {.opts = opts},
	};
	int err = set_up(&c, why);

	err = err ?: start_all(&c, pids, pids_n, why);
	err = err ?: run(&c);
	tear_down(&c);
	return err;
}

/* ---- a program of our own ---- */

/* Waits for the end of a child whose observation is over. */
static void await_child(struct collector *c)
{
	while (c->child && waitpid(c->child, &c->child_status, 0) < 0 && errno == EINTR)
		;
	c->child = 0;
}

int collector__spawn(const struct collector_opts *opts, char *const argv[], const char *run_as,
		     const struct collector_events *events, int *ret_status, struct reason *why)
{
	struct collector c = {
		.opts = opts, .events = events, .procs_n = 1, .signal_fd = -1, .timer_fd = -1, .why = why,
		.shop = {.opts = opts},
	};
	struct reason not_python = {{0}};
	int one, err = set_up(&c, why);

	err = err ?: spawn__start(argv, run_as, &c.child, why);
	if (err) {
		tear_down(&c);
		return err;
	}
	/* It stands still where its interpreter is mapped and has not run yet, or it is not Python. */
	err = spawn__to_interpreter(c.child, &c.child_status, &not_python);
	if (err == -ECHILD) {
		c.child = 0;
		notice(&c, NULL, "the program ended before it became Python: %s", not_python.text);
	} else {
		if (!err && !start_one(&c, c.child, true, &not_python, &one))
			err = one;
		spawn__let_run(c.child);
		if (err)
			notice(&c, NULL, "the program runs unobserved: %s", not_python.text);
	}
	if (observed_count(&c))
		run(&c);
	await_child(&c);
	tear_down(&c);
	*ret_status = c.child_status;
	return 0;
}
