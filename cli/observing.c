/* SPDX-License-Identifier: GPL-2.0-only */
/* See observing.h. */
#include "observing.h"

#include <errno.h>
#include <pwd.h>

#include "collector/base/log.h"
#include "collector/process/caps.h"
#include "collector/target/spawn.h"

#define LONG_HOLD_NS 100000000ull

/* Whether looks can do all that is asked for, where probes can't be had. */
static bool may_look(const struct options *o)
{
	return o->mode == MODE_AUTO && !o->alert_hold_ns && !o->alert_wait_ns;
}

int observing__check(const struct options *o, struct reason *why)
{
	if (o->mode != MODE_LOOK)
		return may_look(o) ? 0 : caps__check(why);
	if (o->alert_hold_ns || o->alert_wait_ns)
		return reason__set(why, -EINVAL, "looks see no hold or wait begin and end: no --alert-hold and --alert-wait in "
				   "--mode look");
	return 0;
}

/* Long holds are kept as history from 100 ms on, long waits if they are asked for. */
static struct stack_opts stacks_of(const struct options *o)
{
	return (struct stack_opts){
		.on = !o->no_stacks, .threshold_ns = o->stacks_ns,
		.long_hold_ns = o->alert_hold_ns ?: LONG_HOLD_NS,
		.long_wait_ns = o->alert_wait_ns,
	};
}

struct collector_opts observing__opts_of(const struct options *o)
{
	struct collector_opts opts = {
		.interval_ns = o->interval_ns,
		.duration_ns = o->duration_ns,
		.mode = o->mode,
		.max_overhead = o->max_overhead,
		.look_rate = (uint32_t)o->look_rate,
		.stacks = stacks_of(o),
		.no_off_cpu = o->no_off_cpu,
		.label = o->label,
		.host = o->host,
		.follow = o->children || o->all,
		.handed_down = o->children,
	};

	schema_opts__default(&opts.schema);
	opts.schema.retention = o->retention;
	if (o->prefix)
		opts.schema.prefix = o->prefix;
	return opts;
}

static void fill_opts(struct observing *g)
{
	g->opts = observing__opts_of(g->options);
	g->opts.may_look = may_look(g->options);
	g->opts.sink = g->history.sink;
	g->opts.samples = g->samples;
	g->opts.all = g->options->all ? &g->filter : NULL;
}

static int set_filter(struct observing *g, struct reason *why)
{
	const struct options *o = g->options;

	if (o->all && o->user) {
		const struct passwd *user = getpwnam(o->user);

		if (!user)
			return reason__set(why, -EINVAL, "there is no user \"%s\" on this host", o->user);
		g->filter.by_user = true;
		g->filter.uid = user->pw_uid;
	}
	if (o->match) {
		g->has_match = regcomp(&g->match, o->match, REG_EXTENDED | REG_NOSUB) == 0;
		g->filter.match = g->has_match ? &g->match : NULL;
	}
	g->filter.cgroup = o->cgroup;
	return 0;
}

/* Where it listens is said: the port may be any free one. */
static int open_metrics(struct observing *g, struct reason *why)
{
	const struct options *o = g->options;
	struct metrics_opts opts = {.at = &o->metrics_at, .max_series = (uint32_t)o->metrics_series,
				    .interval_ns = o->interval_ns, .label = o->label};
	int err;

	if (!o->metrics_on)
		return 0;
	err = metrics__open(&opts, &g->samples, g->metrics_at, why);
	if (!err)
		log_info("serving metrics at %s", g->metrics_at);
	return err;
}

int observing__open(struct observing *ret, const struct options *o, const struct spawn *command, struct reason *why)
{
	int err;

	*ret = (struct observing){.options = o};
	err = set_filter(ret, why);
	err = err ? err : open_metrics(ret, why);
	err = err ? err : history__open_writer(o, &ret->history, why);
	/* The store is up: from here on only what observing takes. Before the sink's thread, which inherits. */
	err = err ? err : probes__give_up_rights(command && spawn__is_others(command), why);
	err = err ? err : history__start_sink(&ret->history, why);
	if (err)
		observing__close(ret);
	else
		fill_opts(ret);
	return err;
}

void observing__close(struct observing *g)
{
	history__close(&g->history);
	sample_sink__close(g->samples);
	g->samples = NULL;
	if (g->has_match)
		regfree(&g->match);
	g->has_match = false;
}
