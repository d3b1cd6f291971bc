/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope events: what happened to the observed processes, moment by moment, out of the streams of their hosts or of one
 * process; with --follow also what happens from now on.
 *
 * A stream is asked again each second rather than blocked upon: of many hosts each has its own, on a server of its own in a
 * cluster. What is read at once is shown in the order of its true times.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/redis/query.h"
#include "collector/series/long_event.h"
#include "args.h"
#include "cmds.h"
#include "code.h"
#include "history.h"
#include "human.h"
#include "out.h"

#define DEFAULT_SINCE "5m"
#define ASK_AGAIN_MS 1000
#define NEW_HOSTS_MS 5000       /* between two looks for hosts that have come */
#define SEEN_WITHIN_MS 60000    /* a host that is alive has been sampled since */

struct event {
	int64_t t_ms;
	size_t nth;                 /* as it came: of the same millisecond */
	json_t *fields;
};

struct feed {
	const struct options *o;
	struct history history;
	struct query *q;
	int64_t since_ms, until_ms; /* until: INT64_MAX: open */
	bool one;                   /* process; else hosts, which may become more */
	struct query_stream *streams;
	size_t streams_n;
	struct event *events;       /* read and not shown yet */
	size_t events_n;
	int64_t hosts_at_ms;        /* when hosts were looked for last */
};

/* ---- which streams ---- */

static int add_stream(struct feed *f, const char *kind, const char *of)
{
	struct query_stream *grown = reallocarray(f->streams, f->streams_n + 1, sizeof(*grown)), *s;

	if (!grown)
		return -ENOMEM;
	f->streams = grown;
	s = &f->streams[f->streams_n++];
	snprintf(s->of, sizeof(s->of), "%s%s", kind, of);
	/* An event's id is never before its time. */
	snprintf(s->last, sizeof(s->last), "%" PRId64, f->since_ms > 0 ? f->since_ms - 1 : 0);
	return 0;
}

static bool is_known(const struct feed *f, const char *host)
{
	for (size_t i = 0; i < f->streams_n; i++)
		if (strcmp(f->streams[i].of + strlen(SCHEMA_HOST_EVENTS), host) == 0)
			return true;
	return false;
}

static int find_hosts(struct feed *f, int64_t seen_since_ms, struct reason *why)
{
	char *names = NULL, *name;
	size_t n = 0;
	int err = query__hosts(f->q, seen_since_ms, &names, &n, why);

	name = names;
	for (size_t i = 0; i < n && !err; i++, name += strlen(name) + 1)
		if (!is_known(f, name) && add_stream(f, SCHEMA_HOST_EVENTS, name))
			err = reason__set(why, -ENOMEM, "not enough memory");
	free(names);
	f->hosts_at_ms = clock__wall_ms();
	return err;
}

static int find_process(struct feed *f, const char *word, struct reason *why)
{
	struct query_proc proc;
	int choices = 0, err = query__resolve(f->q, word, &proc, &choices, why);

	f->one = true;
	if (!err && choices > 1)
		log_info("%d processes match '%s': showing %s, %s", choices, word, proc.id, proc.label);
	return err ? err : add_stream(f, "", proc.id);
}

static int open_feed(struct feed *f, const struct options *o, const char *word, struct reason *why)
{
	int64_t now_ms = 0;
	int err;

	*f = (struct feed){.o = o, .until_ms = INT64_MAX};
	err = history__open_reader(o, &f->history, why);
	err = err ? err : query__open(&f->history.url, o->prefix, &f->q, why);
	err = err ? err : query__now(f->q, &now_ms, why);
	err = err ? err : args__time("--since", o->since ? o->since : DEFAULT_SINCE, now_ms, &f->since_ms, why);
	err = err || !o->until ? err : args__time("--until", o->until, now_ms, &f->until_ms, why);
	if (err)
		return err;
	return word ? find_process(f, word, why) : find_hosts(f, 0, why);
}

static void close_feed(struct feed *f)
{
	if (f->q && query__skipped(f->q))
		log_warn("events: %" PRIu64 " entries are not what the schema says and were left out", query__skipped(f->q));
	query__close(f->q);
	history__close(&f->history);
	free(f->streams);
	for (size_t i = 0; i < f->events_n; i++)
		json_decref(f->events[i].fields);
	free(f->events);
}

/* ---- one event ---- */

/* What is a number in a stream is one in JSON, too. */
static bool is_number(const char *name)
{
	static const char *const names[] = {"t", "since", "us", "g", "line", "others", "waiters", "n", "pid"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static json_t *value_of(const char *name, const char *text)
{
	char *end;
	long long number;

	if (strcmp(name, "open") == 0)
		return json_true();
	errno = 0;
	number = strtoll(text, &end, 10);
	if (is_number(name) && *text && !*end && !errno)
		return json_integer(number);
	return json_string(text);
}

static json_t *fields_of(const struct query_stream *stream, char *const *pairs, size_t n)
{
	size_t prefix = strlen(SCHEMA_HOST_EVENTS);
	json_t *fields = json_object();

	if (strncmp(stream->of, SCHEMA_HOST_EVENTS, prefix) != 0)
		json_object_set_new(fields, "id", json_string(stream->of));
	for (size_t i = 0; i < n; i++)
		json_object_set_new(fields, pairs[2 * i], value_of(pairs[2 * i], pairs[2 * i + 1]));
	return fields;
}

/* For query__events(). */
static int take(void *arg, const struct query_stream *stream, char *const *pairs, size_t n)
{
	struct feed *f = arg;
	struct event *grown = f->events;
	json_t *fields = fields_of(stream, pairs, n);
	int64_t t_ms = json_integer_value(json_object_get(fields, "t"));

	if (t_ms < f->since_ms || t_ms > f->until_ms) {
		json_decref(fields);
		return 0;
	}
	if ((f->events_n & (f->events_n - 1)) == 0) /* powers of two: it need not be stored how much there is */
		grown = reallocarray(f->events, f->events_n ? 2 * f->events_n : 1, sizeof(*grown));
	if (!grown || !fields) {
		json_decref(fields);
		return -ENOMEM;
	}
	f->events = grown;
	f->events[f->events_n] = (struct event){.t_ms = t_ms, .nth = f->events_n, .fields = fields};
	f->events_n++;
	return 0;
}

static const char *text_of(const json_t *fields, const char *name)
{
	const char *text = json_string_value(json_object_get(fields, name));

	return text ? text : "";
}

static uint64_t number_of(const json_t *fields, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(fields, name));

	return value > 0 ? (uint64_t)value : 0;
}

/* The sentence that attach says of it. */
static void say_long(const json_t *fields, char *buf, size_t size)
{
	struct stack_text stack = {.leaf = {
		.function = (char *)text_of(fields, "function"), .file = (char *)text_of(fields, "file"),
		.line = (uint32_t)number_of(fields, "line"),
	}};
	struct long_event e = {
		.wait = strcmp(text_of(fields, "kind"), "wait") == 0, .ended = !json_object_get(fields, "open"),
		.thread.tid = (uint32_t)strtoul(text_of(fields, "thr"), NULL, 10),
		.waiters = (uint32_t)number_of(fields, "waiters"),
		.at_ns = number_of(fields, "us") * 1000, .waited_ns = number_of(fields, "others") * 1000,
		.stack = json_object_get(fields, "function") ? &stack : NULL,
		.native = json_object_get(fields, "native") ? text_of(fields, "native") : NULL,
	};

	snprintf(e.name, sizeof(e.name), "%s", text_of(fields, "name"));
	snprintf(e.victims, sizeof(e.victims), "%s", text_of(fields, "victims"));
	code__long(&e, buf, size);
}

static void say(const json_t *fields, char *buf, size_t size)
{
	const char *kind = text_of(fields, "kind");

	if (strcmp(kind, "hold") == 0 || strcmp(kind, "wait") == 0)
		say_long(fields, buf, size);
	else if (strcmp(kind, "begin") == 0)
		snprintf(buf, size, "%s, CPython %s, %s mode", text_of(fields, "label"), text_of(fields, "python"),
			 text_of(fields, "mode"));
	else if (strcmp(kind, "end") == 0)
		snprintf(buf, size, "%s", text_of(fields, "end"));
	else if (strcmp(kind, "mode") == 0)
		snprintf(buf, size, "%s, %s before", text_of(fields, "mode"), text_of(fields, "before"));
	else if (strcmp(kind, "loss") == 0)
		snprintf(buf, size, "%s: %" PRIu64, text_of(fields, "what"), number_of(fields, "n"));
	else
		snprintf(buf, size, "%s", text_of(fields, "text"));
}

/* ---- showing them ---- */

static void show(const struct feed *f, const struct event *e)
{
	time_t seconds = (time_t)(e->t_ms / 1000);
	char when[32], text[1024];
	struct tm tm;

	if (f->o->format == FORMAT_JSON) {
		out__dump(json_incref(e->fields), stdout, false);
		return;
	}
	localtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%m-%d %H:%M:%S", &tm);
	say(e->fields, text, sizeof(text));
	printf("%s.%03d  %s  %-5s  %s\n", when, (int)(e->t_ms % 1000), text_of(e->fields, "id"),
	       text_of(e->fields, "kind"), text);
}

static int by_time(const void *a, const void *b)
{
	const struct event *e = a, *f = b;

	if (e->t_ms != f->t_ms)
		return e->t_ms < f->t_ms ? -1 : 1;
	return e->nth < f->nth ? -1 : 1;
}

static void show_all(struct feed *f)
{
	qsort(f->events, f->events_n, sizeof(*f->events), by_time);
	for (size_t i = 0; i < f->events_n; i++) {
		show(f, &f->events[i]);
		json_decref(f->events[i].fields);
	}
	free(f->events);
	f->events = NULL;
	f->events_n = 0;
	fflush(stdout);
}

/* ---- reading them ---- */

static int read_all(struct feed *f, struct reason *why)
{
	bool more = true;
	int err = 0;

	while (more && !err)
		err = query__events(f->q, f->streams, f->streams_n, take, f, &more, why);
	if (err == -ENOMEM)
		reason__set(why, err, "not enough memory");
	return err;
}

static int read_news(struct feed *f, struct reason *why)
{
	int64_t now_ms = clock__wall_ms(), server_ms = 0;
	bool look = !f->one && (now_ms < f->hosts_at_ms || now_ms - f->hosts_at_ms >= NEW_HOSTS_MS);
	int err = look ? query__now(f->q, &server_ms, why) : 0;

	if (look && !err)
		err = find_hosts(f, server_ms - SEEN_WITHIN_MS, why);
	return err ? err : read_all(f, why);
}

/* Until a signal, or nobody reads it any more. A server that goes away is asked until it is back: the streams remember. */
static int follow(struct feed *f, struct reason *why)
{
	bool away = false;
	struct pollfd p = {.events = POLLIN};
	sigset_t set;
	int err;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	p.fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (p.fd < 0)
		return reason__set(why, -errno, "signals can't be taken: %s", strerror(errno));
	while (poll(&p, 1, ASK_AGAIN_MS) == 0 && !ferror(stdout) && !out__reader_left(stdout)) {
		err = read_news(f, why);
		show_all(f);
		if (err && !away)
			log_warn("events: %s", why->text);
		away = err != 0;
	}
	close(p.fd);
	return 0;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct feed f;
	struct reason why = {0};
	int err = open_feed(&f, o, argc ? argv[0] : NULL, &why);

	if (!err)
		err = read_all(&f, &why);
	if (!err)
		show_all(&f);
	if (!err && o->follow)
		err = follow(&f, &why);
	close_feed(&f);
	return err ? options__fail(verb, err == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &why) : EXIT_OK;
}

const struct verb verb_events = {
	.name = "events",
	.args = "[PROCESS]",
	.summary = "long holds and waits, alerts, changes of mode, losses, as they happened",
	.about = "Shows the events that Redis has of all hosts, or of one process (a PID, an id as gilscope ls shows it, or part "
		 "of a program's name): when observation began and ended, changes of mode, holds and waits over their limits "
		 "(--alert-hold, --alert-wait of attach), alerts, and losses. With --follow also those to come, of hosts to come "
		 "too, until Ctrl-C.",
	.options = {OPTION_FOLLOW, OPTION_SINCE, OPTION_UNTIL, OPTION_JSON, OPTION_REDIS, OPTION_PASSWORD_FILE,
		    OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX},
	.max_args = 1,
	.run = run,
};
