/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What becomes of a loop that stood still (pulse.h): the planter has lifted its probes. When the loop turns again, it plants them
 * anew and says so; when it does not, a thread of its own minds the signals that wait for it.
 */
#include "collector_inside.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/process/procstat.h"
#include "collector/process/pulse.h"

#define LOOK_MS 500
#define MOMENT_NS 2000000

/* ---- it turns again ---- */

static bool is_there(const struct observed *o)
{
	return o && !o->gone_at;
}

/* What was open when the probes were lifted may have ended since: of the running interval nothing is certain. */
static void spoil_interval(struct collector *c)
{
	for (size_t i = 0; i < c->roster.max; i++)
		if (is_there(roster__at(&c->roster, i)))
			observed__spoil(c->roster.places[i], &c->shop);
}

static void plant_anew(struct collector *c)
{
	for (size_t i = 0; i < c->roster.max; i++)
		if (is_there(roster__at(&c->roster, i))) {
			observed__pause(c->roster.places[i], &c->shop);
			observed__lift(c->roster.places[i], &c->shop);
		}
	probes__begin_anew(c->shop.probes);
	for (size_t i = 0; i < c->roster.max; i++)
		if (is_there(roster__at(&c->roster, i)))
			modes__switch_one(c, c->roster.places[i], c->roster.places[i]->pub.mode);
}

static void recover(struct collector *c, double lifted_s)
{
	tracing__lifted(c);
	spoil_interval(c);
	collector__cut_interval(c);
	spoil_interval(c);
	collector__collect_all(c, true);
	plant_anew(c);
	tracing__is_back(c);
	collector__advance(c);
	collector__notice(c, NULL, "gilscope stood still (it was stopped, or something kept it waiting): its probes were lifted "
			  "%.1f s ago, and are planted again; what happened meanwhile is not known", lifted_s);
}

/* It may be in the middle of it, and we about to end: what the programs counted ended when it began, so that is to be told. */
static uint32_t await_lifted(const struct collector *c, uint64_t *ret_at_ns)
{
	const struct timespec moment = {.tv_nsec = MOMENT_NS};
	uint32_t times = pulse__times_lost(ret_at_ns);

	while (times == c->times_lost && probes__are_alive(c->shop.probes)) {
		pulse__beat();
		nanosleep(&moment, NULL);
		times = pulse__times_lost(ret_at_ns);
	}
	return times;
}

void standstill__mind(struct collector *c)
{
	uint64_t at;
	uint32_t times;

	if (!pulse__is_lifted_since(c->times_lost))
		return;
	times = await_lifted(c, &at);
	if (times == c->times_lost) /* the planter is gone, which the loop finds out */
		return;
	if (roster__count(&c->roster))
		recover(c, (double)(clock__mono_ns() - at) / 1e9);
	else
		probes__begin_anew(c->shop.probes);
	c->times_lost = times; /* only now do probes prove anything (sights__mind()) */
}

/* ---- it does not ---- */

static struct {
	pthread_t thread;
	pid_t loop; /* the thread that it watches */
	int stop_fd;
	bool runs;
} watchman = {.stop_fd = -1};

static bool is_told_to_end(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) || sigismember(&pending, SIGHUP));
}

/* The planter has lifted everything, and nobody is there to take the signal. Who waits for a CPU will be. */
static bool is_kept(void)
{
	struct procstat loop;

	return pulse__is_known_lost() && is_told_to_end() &&
	       (procstat__read(getpid(), watchman.loop, &loop) || loop.state != 'R');
}

/* Twice: after a stop of the whole process this thread may be the first to go on. */
static void *watch(void *arg)
{
	struct pollfd p = {.fd = watchman.stop_fd, .events = POLLIN};
	bool kept = false;

	(void)arg;
	while (poll(&p, 1, LOOK_MS) <= 0) {
		bool before = kept;

		kept = is_kept();
		if (before && kept) {
			log_error("something keeps gilscope waiting, so it ends without its summary; its probes are lifted");
			_exit(1);
		}
	}
	return NULL;
}

void standstill__watch(void)
{
	sigset_t all, before;

	watchman.loop = gettid();
	watchman.stop_fd = eventfd(0, EFD_CLOEXEC);
	if (watchman.stop_fd < 0)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	watchman.runs = pthread_create(&watchman.thread, NULL, watch, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void standstill__unwatch(void)
{
	if (watchman.runs) {
		eventfd_write(watchman.stop_fd, 1);
		pthread_join(watchman.thread, NULL);
	}
	if (watchman.stop_fd >= 0)
		close(watchman.stop_fd);
	watchman.runs = false;
	watchman.stop_fd = -1;
}
