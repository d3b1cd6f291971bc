/* SPDX-License-Identifier: GPL-2.0-only */
/* See metrics.h. */
#include "metrics.h"

#include <errno.h>
#include <stdlib.h>

#include "collector/base/clock.h"
#include "metrics_book.h"

struct metrics_sink {
	struct sample_sink sink;
	struct metrics_book *book;
	struct metrics_server *server;
};

static struct metrics_sink *of(struct sample_sink *sink)
{
	return (struct metrics_sink *)sink;
}

static void begin(struct sample_sink *sink, const char *id, const struct proc_ident *who)
{
	metrics_book__begin(of(sink)->book, id, who);
}

static void sample(struct sample_sink *sink, const char *id, const struct proc_sample *s)
{
	metrics_book__sample(of(sink)->book, id, s);
}

static void end(struct sample_sink *sink, const char *id)
{
	metrics_book__end(of(sink)->book, id);
}

static int interval(struct sample_sink *sink, const struct sink_stats *history)
{
	struct metrics_sink *m = of(sink);
	size_t open_len = 0, text_len = 0;
	char *open, *text;
	int err = -ENOMEM;

	metrics_book__pass(m->book, clock__mono_ns());
	open = metrics_book__text(m->book, METRICS_OPEN, history, &open_len);
	text = metrics_book__text(m->book, METRICS_TEXT, history, &text_len);
	if (open && text)
		err = metrics_server__give(m->server, open, open_len, text, text_len);
	free(open);
	free(text);
	return err;
}

static void close_sink(struct sample_sink *sink)
{
	metrics_server__stop(of(sink)->server);
	metrics_book__free(of(sink)->book);
	free(sink);
}

static const struct sample_sink_ops ops = {
	.begin = begin, .sample = sample, .end = end, .interval = interval, .close = close_sink,
};

int metrics__open(const struct metrics_opts *opts, struct sample_sink **ret, char where[METRICS_WHERE_SIZE], struct reason *why)
{
	struct metrics_sink *m = calloc(1, sizeof(*m));
	int err;

	if (m)
		m->book = metrics_book__new(opts->max_series, opts->label, clock__mono_ns());
	if (!m || !m->book) {
		free(m);
		return reason__set(why, -ENOMEM, "not enough memory");
	}
	m->sink.ops = &ops;
	err = metrics_server__start(opts->at, opts->interval_ns, &m->server, where, why);
	if (err) {
		close_sink(&m->sink);
		return err;
	}
	*ret = &m->sink;
	return 0;
}
