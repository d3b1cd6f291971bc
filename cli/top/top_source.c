/* SPDX-License-Identifier: GPL-2.0-only */
/* See top_source.h. */
#include "top_source_inside.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- the queue ---- */

void top_source__post(struct top_source *s, struct top_update *u)
{
	pthread_mutex_lock(&s->lock);
	if (s->queued == TOP_QUEUE_MAX) {
		top_update__free(&s->queue[s->first]);
		s->first = (s->first + 1) % TOP_QUEUE_MAX;
		s->queued--;
	}
	s->queue[(s->first + s->queued) % TOP_QUEUE_MAX] = *u;
	s->queued++;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->fd, 1);
}

bool top_source__next(struct top_source *s, struct top_update *ret)
{
	eventfd_t count;
	bool any;

	pthread_mutex_lock(&s->lock);
	any = s->queued > 0;
	if (any) {
		*ret = s->queue[s->first];
		s->first = (s->first + 1) % TOP_QUEUE_MAX;
		s->queued--;
	} else if (eventfd_read(s->fd, &count) < 0 && errno != EAGAIN) {
		s->told_to_end = true; /* cannot be */
	}
	pthread_mutex_unlock(&s->lock);
	return any;
}

void top_source__state(struct top_source *s, enum top_state state, const char *source, const char *fmt, ...)
{
	struct top_update u = {.kind = TOP_UPDATE_STATE, .state = state};
	va_list args;

	va_start(args, fmt);
	vsnprintf(u.words, sizeof(u.words), fmt, args);
	va_end(args);
	snprintf(u.source, sizeof(u.source), "%s", source ? source : "");
	top_source__post(s, &u);
}

void top_source__notice(struct top_source *s, const char *sentence)
{
	struct top_update u = {.kind = TOP_UPDATE_NOTICE};

	snprintf(u.words, sizeof(u.words), "%s", sentence);
	top_source__post(s, &u);
}

/* ---- the thread ---- */

bool top_source__sleep(struct top_source *s, int ms)
{
	struct pollfd polls[] = {{.fd = s->stop_fd, .events = POLLIN}, {.fd = s->wake_fd, .events = POLLIN}};
	eventfd_t count;

	if (poll(polls, 2, ms) > 0 && polls[1].revents)
		eventfd_read(s->wake_fd, &count);
	return !s->stop;
}

void top_source__own_host(const struct top_source *s, char host[65])
{
	char name[256] = "";

	if (s->o->host)
		snprintf(name, sizeof(name), "%s", s->o->host);
	else
		gethostname(name, sizeof(name) - 1);
	schema__clean_host(host, name);
}

static void *thread_main(void *arg)
{
	struct top_source *s = arg;

	s->run(s);
	return NULL;
}

/* Signals are for the thread that has the terminal; but a crash must find its way to who gives the terminal back. */
static int start_thread(struct top_source *s)
{
	const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
	sigset_t all, before;
	int err;

	sigfillset(&all);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(&all, own[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&s->thread, NULL, thread_main, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

static void free_source(struct top_source *s)
{
	while (s->queued) {
		top_update__free(&s->queue[s->first]);
		s->first = (s->first + 1) % TOP_QUEUE_MAX;
		s->queued--;
	}
	if (s->fd >= 0)
		close(s->fd);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static int start(struct top_source *s, struct top_source **ret, struct reason *why)
{
	int err;

	pthread_mutex_init(&s->lock, NULL);
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = s->fd < 0 || s->stop_fd < 0 || s->wake_fd < 0 ? -errno : start_thread(s);
	if (err) {
		free_source(s);
		return reason__set(why, err, "can't start a thread: %s", strerror(-err));
	}
	*ret = s;
	return 0;
}

static struct top_source *new_source(const struct options *o, void (*run)(struct top_source *s), struct reason *why)
{
	struct top_source *s = calloc(1, sizeof(*s));

	if (!s) {
		reason__set(why, -ENOMEM, "not enough memory");
		return NULL;
	}
	s->o = o;
	s->run = run;
	return s;
}

int top_source__list(const struct options *o, struct top_source **ret, struct reason *why)
{
	struct top_source *s = new_source(o, top_list__run, why);

	return s ? start(s, ret, why) : -ENOMEM;
}

int top_source__redis(const struct options *o, const char *id, bool minute, struct top_source **ret, struct reason *why)
{
	struct top_source *s = new_source(o, top_redis__run, why);

	if (!s)
		return -ENOMEM;
	snprintf(s->id, sizeof(s->id), "%s", id);
	s->wants_minute = minute;
	return start(s, ret, why);
}

int top_source__attach(const struct options *o, pid_t pid, struct top_source **ret, struct reason *why)
{
	struct top_source *s = new_source(o, top_attach__run, why);

	if (!s)
		return -ENOMEM;
	s->pid = pid;
	s->listens_to_signals = true;
	return start(s, ret, why);
}

/* ---- from outside ---- */

int top_source__fd(const struct top_source *s)
{
	return s->fd;
}

void top_source__refresh(struct top_source *s)
{
	eventfd_write(s->wake_fd, 1);
}

void top_source__want_minute(struct top_source *s, bool wanted)
{
	s->wants_minute = wanted;
	top_source__refresh(s);
}

bool top_source__was_told_to_end(const struct top_source *s)
{
	return s->told_to_end;
}

void top_source__stop(struct top_source *s)
{
	if (!s)
		return;
	s->stop = true;
	eventfd_write(s->stop_fd, 1);
	if (s->listens_to_signals)
		pthread_kill(s->thread, SIGTERM); /* stays with the thread until it listens */
	pthread_join(s->thread, NULL);
	free_source(s);
}
