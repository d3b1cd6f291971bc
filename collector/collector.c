/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See collector.h. One loop, one thread: signals, the interval timer, the ends of targets, their forks and execs.
 *
 * At a boundary every observed process is collected, then the next boundary is published. Waiters are charged at least once
 * per switch interval, so the collection happens a little after the boundary (settle_ns), when nearly all have been; what
 * is still owed then is computed (blame_memo.h). An interval is cut short at the end of a run, at the exit of the only
 * target and before a change of mode.
 *
 * Who comes and goes is collector_procs.c; what the probes may cost, collector_modes.c; a trace, collector_trace.c. One
 * process's path is observed.c; a program started under observation, spawn.c.
 */
#include "collector_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/look/looks.h"
#include "collector/process/errand.h"
#include "collector/process/pulse.h"
#include "collector/redis/redis_server.h"
#include "collector/stacks/stack_book.h"
#include "collector/series/grid.h"
#include "collector/target/spawn.h"
#include "gc_looks.h"
#include "observed.h"

#define MS COLLECTOR_MS
#define SECOND COLLECTOR_SECOND
#define SETTLE_NS (8 * MS)          /* a switch interval (5 ms) and some */
#define CUT_NS (1 * MS)             /* lead of a boundary that is set at once */
#define TICK_NS COLLECTOR_TICK_NS
#define MARGIN_NS (20 * MS)         /* shortest interval */
#define FLUSH_TIMEOUT_MS 5000
#define LOOKED_AT_OFTEN 8           /* processes */
#define FORGET_NS (30 * SECOND)     /* see target_memory__forget() */

static struct grid_clocks read_clocks(void)
{
	struct timespec wall;
	struct grid_clocks now;

	clock_gettime(CLOCK_REALTIME, &wall);
	now.boot_ns = clock__boot_ns();
	now.mono_ns = clock__mono_ns();
	now.wall_ns = (int64_t)wall.tv_sec * (int64_t)SECOND + wall.tv_nsec;
	return now;
}

/* ---- telling ---- */

void collector__notice(struct collector *c, struct observed *o, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (c->events->notice)
		c->events->notice(c->events->arg, o ? &o->pub : NULL, text);
}

void collector__alert(struct collector *c, struct observed *o, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	collector__notice(c, o, "%s", text);
	observed_events__alert(o, &c->shop, text);
}

static void on_long(void *arg, uint32_t slot, const struct long_event *e)
{
	struct collector *c = arg;
	struct observed *o = roster__by_slot(&c->roster, slot);

	if (!o)
		return;
	observed_events__long(o, &c->shop, e, ((int64_t)e->at_ns + c->grid.offset_ns) / (int64_t)MS);
	if (c->events->lasting)
		c->events->lasting(c->events->arg, &o->pub, e);
}

static void on_stack(void *arg, uint32_t slot, const struct stack_time *s)
{
	struct collector *c = arg;
	struct observed *o = roster__by_slot(&c->roster, slot);

	if (o)
		c->events->stack(c->events->arg, &o->pub, s);
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

static void tell_of_keeping(struct collector *c, struct observed *o)
{
	uint32_t kept_s[TIER_COUNT];

	if (c->opts->sink && observed__kept_shorter(o, kept_s))
		collector__notice(c, o, "its threads' samples of 1 s, 10 s and 60 s are kept for %u, %u and %u minutes, as more "
				  "would take over %" PRIu64 " MB of Redis (--history-mb)", kept_s[TIER_BASE] / 60,
				  kept_s[TIER_10S] / 60, kept_s[TIER_60S] / 60, c->opts->schema.retention.max_bytes / 1000000);
}

static void hand_out_stacks(struct collector *c, struct observed *o, const struct proc_sample *s)
{
	for (size_t i = 0; c->events->stack && i < s->stacks.n; i++) {
		const struct stack_cell *cell = &s->stacks.cells[i];
		const struct thread_sample *t = &s->threads[cell->thread];

		c->events->stack(c->events->arg, &o->pub, &(struct stack_time){
			.thread = t->key, .name = t->name, .line = cell->line,
			.hold_ns = cell->w.hold_ns, .blame_ns = cell->w.blame_ns, .wait_ns = cell->w.wait_ns,
		});
	}
}

static int collect_looks(struct collector *c, struct observed *o, struct proc_sample **ret)
{
	int err = looked__collect(o, &c->shop, ret);

	if (!err)
		hand_out_stacks(c, o, *ret);
	return err;
}

/* The interval that has ended, by probes or by looks. */
static int collect(struct collector *c, struct observed *o, struct proc_sample **ret)
{
	if (c->shop.looks)
		return collect_looks(c, o, ret);
	if (!o->gone_at) {
		observed__mind_interpreter(o, &c->shop);
		runtimes__mind(c, o);
		sights__mind(c, o);
	}
	observed_look__before(o, &c->shop);
	return reader__collect(c->shop.reader, o->slot, ret);
}

static uint64_t interval_start(const struct collector *c)
{
	return c->shop.looks ? looks__interval_start(c->shop.looks) : reader__interval_start(c->shop.reader);
}

static void cut(struct collector *c)
{
	if (c->shop.looks)
		looks__cut(c->shop.looks, c->boundary);
	else
		reader__cut(c->shop.reader, c->boundary);
}

static void take_sample(struct collector *c, struct observed *o, bool partial)
{
	bool was_disabled = o->pub.gil_disabled;
	struct proc_sample *s;
	int err;

	if (!observed__was_there(o, interval_start(c)))
		return;
	err = collect(c, o, &s);
	if (err) {
		log_warn("process %d: an interval could not be read: %s", (int)o->target->pid, strerror(-err));
		return;
	}
	s->end_ms = c->boundary_ms;
	err = observed__publish(o, &c->shop, s, c->boundary, partial);
	if (err)
		log_warn("process %d: an interval could not be stored: %s", (int)o->target->pid, strerror(-err));
	tell_of_keeping(c, o);
	if (o->pub.gil_disabled != was_disabled)
		collector__notice(c, o, "this free-threaded Python has turned its GIL %s", was_disabled ? "on" :
				  "off: how long its threads wait for each other from here on is not measured");
	if (c->events->sample)
		c->events->sample(c->events->arg, &o->pub, s);
	proc_sample__free(s);
}

static void hand_out_samples(struct collector *c)
{
	struct sink_stats history;
	int err;

	if (!c->opts->samples || c->samples_lost)
		return;
	if (c->opts->sink)
		sink__stats(c->opts->sink, &history);
	err = sample_sink__interval(c->opts->samples, c->opts->sink ? &history : NULL);
	c->samples_lost = err == -EPIPE || err == -ECONNRESET;
	if (c->samples_lost)
		collector__notice(c, NULL, "the process that serves the metrics has ended: they are served no more");
	else if (err)
		log_warn("the metrics of an interval can't be handed on: %s", strerror(-err));
}

void collector__collect_all(struct collector *c, bool partial)
{
	for (size_t i = 0; i < c->roster.max; i++)
		if (roster__at(&c->roster, i))
			take_sample(c, c->roster.places[i], partial);
	hand_out_samples(c);
	if (c->events->interval)
		c->events->interval(c->events->arg, c->boundary_ms);
}

void collector__advance(struct collector *c)
{
	plan_boundary(c);
	if (c->shop.looks)
		looks__advance(c->shop.looks, c->boundary);
	else
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
void collector__cut_interval(struct collector *c)
{
	if (clock__mono_ns() + CUT_NS >= c->boundary) {
		sleep_until(c->boundary + settle_ns(c));
		collector__collect_all(c, false);
		collector__advance(c);
	}
	c->boundary = clock__mono_ns() + CUT_NS;
	c->boundary_ms = grid__stamp(&c->grid, c->boundary);
	cut(c);
	sleep_until(c->boundary + settle_ns(c));
}

/* ---- the loop ---- */

static void on_boundary(struct collector *c)
{
	collector__collect_all(c, false);
	procs__bury_the_gone(c);
	collector__advance(c);
}

/* A key that another program owns does not keep the rest from being written: said once, and not an absence. */
static bool is_refusal(struct collector *c, const struct sink_stats *stats)
{
	if (!stats->connected)
		return false;
	if (stats->commands_refused > c->refused) {
		if (!c->refused && stats->trouble[0])
			collector__notice(c, NULL, "%s", stats->trouble);
		c->refused = stats->commands_refused;
		memcpy(c->refusal, stats->trouble, sizeof(c->refusal));
	}
	return strcmp(c->refusal, stats->trouble) == 0;
}

/* The server may have come back empty: index, meta and every time to live must be set again. */
static void announce_anew(struct collector *c)
{
	for (size_t i = 0; i < c->roster.max; i++)
		if (roster__at(&c->roster, i))
			observed__announce(c->roster.places[i], &c->shop);
}

/* A server that throws keys away: said at once, and when it has. Its keys are given their times to live again. */
static void mind_eviction(struct collector *c, const struct sink_stats *stats)
{
	if (stats->policy[0] && !c->said_policy)
		collector__notice(c, NULL, "Redis may throw away any of the history when its memory is full (maxmemory-policy "
				  "%s): " REDIS_SERVER_ADVICE, stats->policy);
	c->said_policy |= stats->policy[0] != '\0';
	if (stats->keys_evicted != c->keys_evicted || stats->keys_lost != c->keys_lost)
		announce_anew(c);
	c->keys_evicted = stats->keys_evicted;
	c->keys_lost = stats->keys_lost;
	if (stats->keys_lost && !c->said_keys_lost)
		collector__notice(c, NULL, "keys of the history are gone from Redis (%llu so far), and what they held with them: "
				  "it has thrown them away, or somebody has deleted them",
				  (unsigned long long)stats->keys_lost);
	c->said_keys_lost |= stats->keys_lost > 0;
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
	mind_eviction(c, &stats);
	away = stats.trouble[0] != '\0' && !is_refusal(c, &stats);
	if (away && !c->sink_was_away)
		collector__notice(c, NULL, "%s", stats.trouble);
	else if (!away && c->sink_was_away)
		collector__notice(c, NULL, "Redis is back; %llu samples were dropped", (unsigned long long)stats.points_dropped);
	c->sink_was_away = away;
}

/* Of many processes only when they are collected, and once a second: it costs some small files each. */
static void look_at(struct collector *c, struct observed *o, uint64_t now)
{
	char news[HOLDING_WORDS_SIZE * 2];

	if (roster__count(&c->roster) <= LOOKED_AT_OFTEN || now >= o->look.looked_at + SECOND)
		observed_look__take(o, &c->shop);
	if (observed_look__news(o, &o->told, news)[0])
		collector__alert(c, o, "%s", news);
}

/* What probes need to be asked several times a second. False: they are lost, and nothing is to be done about it. */
static bool mind_probes(struct collector *c, uint64_t now)
{
	if (!probes__are_alive(c->shop.probes)) {
		c->err = reason__set(c->why, -EPIPE, "somebody ended the process that plants gilscope's probes "
				     "(gilscope-probes), and its probes with it: nothing is observed any more");
		c->end = END_ERROR;
		c->stop = true;
		return false;
	}
	for (size_t i = 0; i < c->roster.max; i++)
		if (roster__at(&c->roster, i)) {
			sights__mind(c, c->roster.places[i]);
			modes__mind_budget(c, c->roster.places[i], now);
			look_at(c, c->roster.places[i], now);
		}
	return true;
}

static void on_tick(struct collector *c, uint64_t now)
{
	uint64_t left = c->deadline == UINT64_MAX ? UINT64_MAX : c->deadline > now ? c->deadline - now : 0;

	c->next_tick = now + TICK_NS;
	if (c->shop.looks) {
		looked__mind_all(&c->shop, now);
		procs__look_around(c);
	} else if (!mind_probes(c, now)) {
		return;
	}
	mind_sink(c);
	if (now - c->forgot_at > FORGET_NS) {
		target_memory__forget(c->shop.memory);
		c->forgot_at = now;
	}
	if (c->events->tick)
		c->events->tick(c->events->arg, now - c->started, left);
}

static void set_timer(struct collector *c)
{
	uint64_t when = c->boundary + settle_ns(c), next_try = roster__next_try(&c->roster);
	struct itimerspec spec = {0};

	if (c->next_tick < when)
		when = c->next_tick;
	if (c->shop.probes && c->next_guard < when)
		when = c->next_guard;
	if (c->deadline < when)
		when = c->deadline;
	if (next_try < when)
		when = next_try;
	if (gc_looks__next(&c->shop) < when)
		when = gc_looks__next(&c->shop);
	if (c->traced && c->next_drain < when)
		when = c->next_drain;
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
	gc_looks__turn(&c->roster, &c->shop, now, c->boundary);
	tracing__drain(c, now);
	if (c->shop.probes)
		guarding__mind(c, now);
	procs__try_pending(c, now);
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
	if (info.ssi_signo == SIGHUP && c->events->hangup && !c->events->hangup(c->events->arg))
		return;
	c->end = END_SIGNAL;
	c->stop = true;
}

/* Those who came since the last turn. A pidfd wakes once, and leaves by being closed; who ended before we looked has none. */
static int watch_exits(struct collector *c)
{
	for (size_t i = 0; i < c->roster.max; i++) {
		struct observed *o = roster__at(&c->roster, i);
		struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = o};

		if (!o || o->exit_watched)
			continue;
		if (o->target->pidfd >= 0 && epoll_ctl(c->exits_fd, EPOLL_CTL_ADD, o->target->pidfd, &event))
			return reason__set(c->why, -errno, "can't watch process %d: %s", (int)o->target->pid, strerror(errno));
		o->exit_watched = true;
	}
	return 0;
}

static void on_exits(struct collector *c)
{
	struct epoll_event events[64];
	int n = epoll_wait(c->exits_fd, events, sizeof(events) / sizeof(events[0]), 0);

	for (int i = 0; i < n; i++) {
		struct observed *o = events[i].data.ptr;

		if (o->used && !o->gone_at)
			procs__on_exit_of(c, o);
	}
}

enum { POLL_SIGNAL, POLL_TIMER, POLL_EVENTS, POLL_EXITS, POLL_COUNT };

static int turn(struct collector *c)
{
	struct pollfd polls[POLL_COUNT] = {
		[POLL_SIGNAL] = {.fd = c->signal_fd, .events = POLLIN},
		[POLL_TIMER] = {.fd = c->timer_fd, .events = POLLIN},
		[POLL_EVENTS] = {.fd = c->shop.reader ? reader__fd(c->shop.reader) : -1, .events = POLLIN},
		[POLL_EXITS] = {.fd = c->exits_fd, .events = POLLIN},
	};
	int err = watch_exits(c);

	if (err)
		return err;
	set_timer(c);
	if (poll(polls, POLL_COUNT, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	pulse__beat();
	standstill__mind(c);
	if (polls[POLL_SIGNAL].revents)
		on_signal(c);
	if (polls[POLL_EVENTS].revents)
		reader__drain(c->shop.reader, procs__on_event, c);
	if (polls[POLL_TIMER].revents)
		on_timer(c);
	if (polls[POLL_EXITS].revents)
		on_exits(c);
	procs__end_early(c);
	return 0;
}

static int loop(struct collector *c)
{
	int err = 0;

	while (!err && !c->stop && (c->opts->all || roster__count(&c->roster) || roster__awaits(&c->roster)))
		err = turn(c);
	return err;
}

static void tell_given_up(struct collector *c)
{
	struct errand_counts counts = errand__counts();

	if (counts.abandoned)
		collector__notice(c, NULL, "%" PRIu64 " looks at the memory or the files of processes were given up, as they did "
				  "not come to their end, and %" PRIu64 " more were not tried for that reason: what they would "
				  "have told is not known", counts.abandoned, counts.refused);
}

/* What the looks of the run have taken, and how many there were: estimates rest on them. */
static void tell_looks(struct collector *c)
{
	struct looks_account account = looks__account(c->shop.looks);
	double seconds = (double)(clock__mono_ns() - c->started) / SECOND;

	collector__notice(c, NULL, "each process was looked at %.0f times a second, which took %.2f %% of a core of gilscope's "
			  "own", (double)account.rounds / seconds, 100 * (double)account.cpu_ns / (seconds * SECOND));
	if (account.lost)
		collector__notice(c, NULL, "%" PRIu64 " looks were lost, as they were not taken in in time", account.lost);
}

static void end_all(struct collector *c)
{
	struct observed **all = calloc(c->roster.max, sizeof(struct observed *));
	size_t n = 0;

	standstill__mind(c);
	/* What was told until now: who was born or ended in the last interval. */
	if (c->shop.reader)
		reader__drain(c->shop.reader, procs__on_event, c);
	if (all && roster__count(&c->roster)) {
		collector__cut_interval(c);
		tracing__end(c, c->boundary);
		collector__collect_all(c, true);
		if (c->shop.probes)
			probes__lift_all(c->shop.probes);
		for (size_t i = 0; i < c->roster.max; i++)
			if (roster__at(&c->roster, i))
				all[n++] = c->roster.places[i];
		procs__let_go(c, all, n, c->end);
	}
	free(all);
	if (c->shop.looks)
		tell_looks(c);
	procs__tell_missed(c);
	tell_given_up(c);
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

/* A process that has exec'd keeps its place until the interval's end, while it is observed anew. */
static uint32_t places_for(const struct collector_opts *opts, size_t procs)
{
	if (!opts->follow)
		return (uint32_t)procs * 2;
	return COLLECTOR_PROCS_MAX > procs ? COLLECTOR_PROCS_MAX : (uint32_t)procs;
}

struct probes_opts collector__probes_opts(const struct collector_opts *opts, size_t procs)
{
	return (struct probes_opts){
		.max_procs = places_for(opts, procs),
		.max_threads = procs > 4 ? 8192 : 4096,
		.no_multi = opts->no_multi,
		.trace_bytes = opts->trace ? opts->trace->ring_bytes : 0,
		.no_off_cpu = opts->no_off_cpu,
		.follow = opts->follow,
		.handed_down = opts->handed_down,
		.stacks = opts->stacks,
	};
}

static int open_probes(struct collector *c, const struct probes_opts *opts, struct reason *why)
{
	int err = probes__open(opts, &c->shop.probes, why);

	err = err ?: reader__new(c->shop.probes, &c->shop.reader, why);
	if (err)
		return err;
	reader__on_long(c->shop.reader, on_long, c);
	reader__on_stack(c->shop.reader, c->events->stack ? on_stack : NULL, c);
	return 0;
}

static void close_probes(struct collector *c)
{
	reader__free(c->shop.reader);
	probes__close(c->shop.probes);
	c->shop.reader = NULL;
	c->shop.probes = NULL;
}

static int open_looks(struct collector *c, struct reason *why)
{
	c->shop.recipes.no_sites = true;
	c->shop.looked_code = c->opts->stacks.on ? stack_book__new() : NULL;
	procs__look_around(c); /* whoever comes from here on is a newcomer */
	return looks__start(c->opts->look_rate, &c->shop.looks, why);
}

/* In place of probes, which can't be had for `why_not`; that is said when somebody is looked at. */
static int fall_back_on_looks(struct collector *c, const struct reason *why_not, struct reason *why)
{
	int err;

	close_probes(c);
	err = open_looks(c, why);
	if (err)
		return err;
	looks__begin(c->shop.looks, clock__mono_ns());
	c->no_probes = *why_not;
	return 0;
}

static void say_why_looks(struct collector *c)
{
	if (c->shop.looks && (c->opts->follow || c->opts->all))
		collector__notice(c, NULL, "without probes, processes that come are looked for %d times a second: what ends "
				  "sooner is in no number", (int)(SECOND / TICK_NS));
	if (!c->no_probes.text[0])
		return;
	collector__notice(c, NULL, "there are no probes, as %s", c->no_probes.text);
	collector__notice(c, NULL, "so its memory is looked at (look mode): holds, waits and who waited for whom are estimates, "
			  "and how often the GIL was taken and how long a hold was is not known");
}

static int open_instrument(struct collector *c, const struct probes_opts *opts, struct reason *why)
{
	struct reason why_not = {{0}};
	int err;

	if (c->opts->mode == MODE_LOOK)
		return open_looks(c, why);
	err = open_probes(c, opts, &why_not);
	if (err && c->opts->may_look)
		return fall_back_on_looks(c, &why_not, why);
	return err ? reason__set(why, err, "%s", why_not.text) : 0;
}

static int set_up(struct collector *c, size_t procs, struct reason *why)
{
	const struct probes_opts probes_opts = collector__probes_opts(c->opts, procs);
	struct grid_clocks now;
	int err;

	if (roster__init(&c->roster, probes_opts.max_procs))
		return reason__set(why, -ENOMEM, "out of memory");
	c->shop.memory = target_memory__new();
	c->signal_fd = open_signals();
	c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	c->exits_fd = epoll_create1(EPOLL_CLOEXEC);
	if (c->signal_fd < 0 || c->timer_fd < 0 || c->exits_fd < 0)
		return reason__set(why, -errno, "can't set up timers and signals: %s", strerror(errno));
	err = open_instrument(c, &probes_opts, why);
	if (err)
		return err;
	now = read_clocks();
	c->started = now.mono_ns;
	grid__init(&c->grid, c->opts->interval_ns, &now);
	if (c->shop.looks)
		looks__begin(c->shop.looks, now.mono_ns);
	else
		reader__begin(c->shop.reader, now.mono_ns, READER_NO_END);
	return 0;
}

/* From here on the loop, and what leads to it, stand still for a moment at most. */
static void begin_pulse(void)
{
	pulse__begin();
	errand__while_waiting(pulse__beat);
	standstill__watch();
}

static void tear_down(struct collector *c)
{
	standstill__unwatch();
	pulse__end();
	if (c->shop.probes && roster__count(&c->roster))
		probes__lift_all(c->shop.probes);
	for (size_t i = 0; i < c->roster.max; i++)
		if (roster__at(&c->roster, i))
			observed__stop(c->roster.places[i], &c->shop);
	looks__end(c->shop.looks);
	stack_book__free(c->shop.looked_code);
	close_probes(c);
	if (c->signal_fd >= 0)
		close(c->signal_fd);
	if (c->timer_fd >= 0)
		close(c->timer_fd);
	if (c->exits_fd >= 0)
		close(c->exits_fd);
	recipes__free(&c->shop.recipes);
	target_memory__free(c->shop.memory);
	roster__free(&c->roster);
	finder_known__free(&c->known);
}

static void set_deadline(struct collector *c)
{
	c->deadline = c->opts->duration_ns ? clock__mono_ns() + c->opts->duration_ns : UINT64_MAX;
	c->next_tick = clock__mono_ns() + TICK_NS;
	c->next_guard = clock__mono_ns() + GUARD_LOOK_NS;
}

/* Several PIDs: one that can't be observed is said and left out, unless none can. */
static int start_all(struct collector *c, const pid_t *pids, size_t n, struct reason *why)
{
	int err = 0;

	for (size_t i = 0; i < n; i++) {
		struct origin origin = {0};
		struct reason mine = {{0}};
		int one;

		if (roster__by_pid(&c->roster, pids[i]))
			continue; /* a child of one before */
		if (procs__start(c, pids[i], &origin, &mine, &one)) {
			if (c->opts->follow)
				procs__start_descendants(c, pids[i]);
			continue;
		}
		err = one;
		*why = mine;
		if (n > 1)
			log_warn("%s", mine.text);
	}
	return roster__count(&c->roster) ? 0 : err;
}

/* The same by looks where no probe can be planted in any of them, whatever the reason is but that they are no Python. */
static int start_all_somehow(struct collector *c, const pid_t *pids, size_t n, struct reason *why)
{
	struct reason by_looks = {{0}};
	int err = start_all(c, pids, n, why);

	if (!err || err == -ESRCH || err == -ENOEXEC || !c->opts->may_look || c->shop.looks)
		return err;
	if (fall_back_on_looks(c, why, &by_looks) || start_all(c, pids, n, &by_looks))
		return err;
	return 0;
}

static int run(struct collector *c)
{
	int err;

	say_why_looks(c);
	observed__begin(&c->shop); /* nobody may be there yet */
	plan_boundary(c);
	cut(c);
	set_deadline(c);
	c->end = END_EXIT;
	err = loop(c);
	end_all(c);
	/* What is not written by then, the sink counts and says when it is closed. */
	pulse__end();
	if (c->opts->sink && sink__flush(c->opts->sink, FLUSH_TIMEOUT_MS))
		log_verbose("Redis did not take the last samples within %d s", FLUSH_TIMEOUT_MS / 1000);
	return err ?: c->err;
}

int collector__run(const struct collector_opts *opts, const pid_t *pids, size_t pids_n,
		   const struct collector_events *events, struct reason *why)
{
	struct collector c = {
		.opts = opts, .events = events, .signal_fd = -1, .timer_fd = -1, .exits_fd = -1, .why = why,
		.shop = {.opts = opts},
	};
	int err = set_up(&c, pids_n ?: 1, why);

	if (!err)
		begin_pulse();
	if (!err && opts->all)
		err = procs__start_all(&c, why);
	err = err || !pids_n ? err : start_all_somehow(&c, pids, pids_n, why);
	err = err ?: run(&c);
	tear_down(&c);
	return err;
}

/* ---- a program of our own ---- */

/* Waits for the end of a child whose observation is over. */
static void await_child(struct collector *c)
{
	struct pollfd signals = {.fd = c->signal_fd, .events = POLLIN};

	for (reap_child(c); c->child; reap_child(c))
		if (poll(&signals, 1, -1) > 0)
			on_signal(c);
}

int collector__spawn(const struct collector_opts *opts, struct spawn *spawn, const struct collector_events *events,
		     int *ret_status, struct reason *why)
{
	struct collector c = {
		.opts = opts, .events = events, .signal_fd = -1, .timer_fd = -1, .exits_fd = -1, .why = why,
		.shop = {.opts = opts},
	};
	const struct origin origin = {.starting = true};
	struct reason not_python = {{0}};
	int one, err = set_up(&c, 1, why);

	err = err ?: spawn__start(spawn, &c.child, why);
	if (err) {
		tear_down(&c);
		return err;
	}
	/* It stands still where its interpreter is mapped and has not run yet, or it is not Python. */
	err = spawn__to_interpreter(c.child, c.signal_fd, &c.child_status, &not_python);
	if (err == -ECHILD) {
		c.child = 0;
		collector__notice(&c, NULL, "the program ended before it became Python: %s", not_python.text);
	} else {
		begin_pulse();
		if (!err && !procs__start(&c, c.child, &origin, &not_python, &one))
			err = one;
		spawn__let_run(c.child);
		if (err)
			collector__notice(&c, NULL, "the program runs unobserved: %s", not_python.text);
	}
	if (roster__count(&c.roster))
		run(&c);
	await_child(&c);
	tear_down(&c);
	*ret_status = c.child_status;
	return 0;
}
