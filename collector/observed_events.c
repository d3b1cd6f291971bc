/* SPDX-License-Identifier: GPL-2.0-only */
/* See observed_events.h. */
#include "observed_events.h"

#include <string.h>

#include "collector/base/clock.h"
#include "collector/base/text.h"
#include "collector/schema/schema_events.h"
#include "observed.h"

#define TELL_AGAIN_MS 60000

static const char *const loss_names[] = {
#define X(id, name, text) [GIL_LOSS_##id] = name,
	GIL_LOSSES(X)
#undef X
};

static int put(struct observed *o, struct workshop *shop, const struct schema_event *e, struct batch *b)
{
	return schema_writer__event(o->writer, e, &shop->host_events, b);
}

/* In a batch of its own. */
static void tell(struct observed *o, struct workshop *shop, const struct schema_event *e)
{
	struct batch *b = observed__batch(shop);

	if (b)
		observed__send(shop, b, put(o, shop, e, b));
}

void observed_events__begin(struct observed *o, struct workshop *shop)
{
	struct schema_event e;

	schema_event__begin(&e, SCHEMA_EVENT_BEGIN, clock__wall_ms());
	schema_event__number(&e, "pid", o->target->pid);
	schema_event__text(&e, "label", shop->opts->label ?: o->target->label);
	schema_event__text(&e, "python", o->recipe->python.text);
	schema_event__text(&e, "mode", gil_mode__name(o->pub.mode, "off"));
	tell(o, shop, &e);
}

void observed_events__mode(struct observed *o, struct workshop *shop, enum gil_mode before)
{
	struct schema_event e;

	schema_event__begin(&e, SCHEMA_EVENT_MODE, clock__wall_ms());
	schema_event__text(&e, "mode", gil_mode__name(o->pub.mode, "off"));
	schema_event__text(&e, "before", gil_mode__name(before, "off"));
	tell(o, shop, &e);
}

void observed_events__alert(struct observed *o, struct workshop *shop, const char *text)
{
	struct schema_event e;
	char clean[512];

	text__clean(clean, sizeof(clean), text, strlen(text));
	schema_event__begin(&e, SCHEMA_EVENT_ALERT, clock__wall_ms());
	schema_event__text(&e, "text", clean);
	tell(o, shop, &e);
}

void observed_events__long(struct observed *o, struct workshop *shop, const struct long_event *e, int64_t t_ms)
{
	struct batch *b = observed__batch(shop);

	if (b)
		observed__send(shop, b, schema_writer__long(o->writer, e, t_ms, &shop->host_events, b));
}

/* ---- losses ---- */

static int put_loss(struct observed *o, struct workshop *shop, int64_t t_ms, const char *what, uint64_t n, struct batch *b)
{
	struct schema_event e;

	schema_event__begin(&e, SCHEMA_EVENT_LOSS, t_ms);
	schema_event__text(&e, "what", what);
	schema_event__number(&e, "n", (long long)n);
	return put(o, shop, &e, b);
}

static bool is_due(const struct untold *u, enum gil_loss what, int64_t t_ms)
{
	return !u->told_ms[what] || t_ms < u->told_ms[what] || t_ms - u->told_ms[what] >= TELL_AGAIN_MS;
}

/* Those that are due, or all. */
static int tell_losses(struct observed *o, struct workshop *shop, int64_t t_ms, bool all, struct batch *b)
{
	struct untold *u = &o->untold;
	int err = 0;

	for (enum gil_loss what = 0; what < GIL_LOSS_COUNT && !err; what++) {
		if (!u->lost[what] || (!all && !is_due(u, what, t_ms)))
			continue;
		err = put_loss(o, shop, t_ms, loss_names[what], u->lost[what], b);
		u->lost[what] = 0;
		u->told_ms[what] = t_ms;
	}
	return err;
}

static int tell_sink_loss(struct observed *o, struct workshop *shop, int64_t t_ms, const struct sink_stats *stats,
			  struct batch *b)
{
	uint64_t lost = stats->points_dropped - shop->told_dropped;

	if (!lost || (shop->told_dropped_ms && t_ms - shop->told_dropped_ms < TELL_AGAIN_MS))
		return 0;
	shop->told_dropped = stats->points_dropped;
	shop->told_dropped_ms = t_ms;
	return put_loss(o, shop, t_ms, "sink_points", lost, b);
}

int observed_events__losses(struct observed *o, struct workshop *shop, const struct proc_sample *s,
			    const struct sink_stats *stats, struct batch *b)
{
	for (size_t i = 0; i < GIL_LOSS_COUNT; i++)
		o->untold.lost[i] += s->lost[i];
	return tell_sink_loss(o, shop, s->end_ms, stats, b) ?: tell_losses(o, shop, s->end_ms, false, b);
}

int observed_events__end(struct observed *o, struct workshop *shop, int64_t end_ms, const char *how, struct batch *b)
{
	struct schema_event e;
	int err = tell_losses(o, shop, end_ms, true, b);

	schema_event__begin(&e, SCHEMA_EVENT_END, end_ms);
	schema_event__text(&e, "end", how);
	return err ?: put(o, shop, &e, b);
}
