/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope mark: write down beside the samples what happened at one moment, or list what was. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "collector/redis/query.h"
#include "args.h"
#include "cmds.h"
#include "history.h"
#include "marks.h"
#include "out.h"

#define DEFAULT_SINCE "24h"
#define WRITE_MS 5000

struct marking {
	const struct options *o;
	struct history history;
	struct query *q;
	struct query_proc proc;
	const char *id;        /* of --process; NULL: all */
	int64_t now_ms;
};

/* "requests=120000" */
static int take_count(const char *text, struct schema_mark *mark, struct reason *why)
{
	const char *equals = strrchr(text, '=');
	size_t len = equals ? (size_t)(equals - text) : 0;
	uint64_t n;
	int err;

	if (!len || len > SCHEMA_COUNT_NAME)
		return reason__set(why, -EINVAL, "--count: '%s' is not NAME=N", text);
	err = args__u64("--count", equals + 1, 0, 1000000000000000ull, &n, why);
	if (err)
		return -EINVAL;
	text__clean(mark->count_name, sizeof(mark->count_name), text, len);
	mark->count = (double)n;
	return 0;
}

static int compose(const struct options *o, const char *text, int64_t now_ms, struct schema_mark *ret, struct reason *why)
{
	int err = 0;

	if (!*text || strlen(text) > SCHEMA_MARK_TEXT)
		return reason__set(why, -EINVAL, "the text has 1 to %d bytes", SCHEMA_MARK_TEXT);
	text__clean(ret->text, sizeof(ret->text), text, strlen(text));
	ret->t_ms = now_ms;
	if (o->time)
		err = args__time("--time", o->time, now_ms, &ret->t_ms, why);
	if (!err && o->count)
		err = take_count(o->count, ret, why);
	return err;
}

/* It is there when the server has said so. */
static int write_mark(struct marking *m, const struct schema_mark *mark, struct reason *why)
{
	struct batch *b = batch__new();
	struct sink_stats stats;
	int err = b ? schema_mark__put(b, m->o->prefix, m->id, mark) : -ENOMEM;

	if (err) {
		batch__free(b);
		return reason__set(why, err, "not enough memory");
	}
	err = history__start_sink(&m->history, why);
	if (err) {
		batch__free(b);
		return err;
	}
	sink__write(m->history.sink, b);
	err = sink__flush(m->history.sink, WRITE_MS);
	sink__stats(m->history.sink, &stats);
	if (err || stats.commands_refused || stats.points_dropped)
		return reason__set(why, err ? err : -EACCES, "%s: the mark was not written%s%s", m->history.where,
				   stats.trouble[0] ? ": " : "", stats.trouble);
	return 0;
}

static int list(struct marking *m, struct reason *why)
{
	struct schema_mark *marks = NULL;
	int64_t since_ms, until_ms = m->now_ms;
	size_t n = 0;
	int err = args__time("--since", m->o->since ? m->o->since : DEFAULT_SINCE, m->now_ms, &since_ms, why);

	if (!err && m->o->until)
		err = args__time("--until", m->o->until, m->now_ms, &until_ms, why);
	err = err ? err : query__marks(m->q, m->id, since_ms, until_ms, &marks, &n, why);
	if (!err && m->o->format == FORMAT_JSON)
		out__dump(marks__json(marks, n), stdout, true);
	else if (!err && !n)
		puts("No mark in this range.");
	else if (!err)
		marks__print(stdout, marks, n);
	free(marks);
	return err;
}

static int open_history(struct marking *m, bool to_write, struct reason *why)
{
	int choices, err;

	err = (to_write ? history__open_writer : history__open_reader)(m->o, &m->history, why);
	if (!err && !m->history.where[0])
		err = reason__set(why, -EIO, "there is no history that it could be written to");
	err = err ? err : query__open(&m->history.url, m->o->prefix, &m->q, why);
	err = err ? err : query__now(m->q, &m->now_ms, why);
	if (err || !m->o->process)
		return err;
	err = query__resolve(m->q, m->o->process, &m->proc, &choices, why);
	m->id = m->proc.id;
	return err;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct marking m = {.o = o};
	struct schema_mark mark = {0};
	struct reason why = {0};
	/* The words are looked at before a store is started for them. */
	int err = argc ? compose(o, argv[0], 0, &mark, &why) : 0;

	err = err ? err : open_history(&m, argc > 0, &why);
	err = err || !argc ? err : compose(o, argv[0], m.now_ms, &mark, &why);
	err = err ? err : argc ? write_mark(&m, &mark, &why) : list(&m, &why);
	query__close(m.q);
	history__close(&m.history);
	return err ? options__fail(verb, err == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &why) : EXIT_OK;
}

/* What belongs to writing, and to listing. */
static int check(const struct options *o, int args, struct reason *why)
{
	if (!args && (o->time || o->count))
		return reason__set(why, -EINVAL, "which text? (gilscope mark \"release 1.4.2\"; --time and --count are its)");
	if (args && (o->since || o->until || o->format == FORMAT_JSON))
		return reason__set(why, -EINVAL, "--since, --until and --json list marks: without a text");
	return 0;
}

const struct verb verb_mark = {
	.name = "mark",
	.args = "[TEXT]",
	.summary = "write down what happened, beside the history (a release, a test)",
	.about = "Writes TEXT into the history at the time of the server's clock, for all processes or for one. report and "
		 "query show the marks of their range. Without TEXT it lists the marks of the last day. A "
		 "mark can also be set by redis-cli alone: ZADD gil:marks MILLISECONDS TEXT.",
	.options = {OPTION_PROCESS, OPTION_TIME, OPTION_COUNTER, OPTION_SINCE, OPTION_UNTIL, OPTION_JSON, OPTION_REDIS,
		    OPTION_PASSWORD_FILE, OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX},
	.own_help = {{OPTION_SINCE, "list marks from then on: 5m (ago), 2026-11-23T10:00:00[Z], @SECONDS (default 24h)"},
		     {OPTION_UNTIL, "list marks up to then (default: now)"}},
	.max_args = 1,
	.check = check,
	.run = run,
};
