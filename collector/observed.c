/* SPDX-License-Identifier: GPL-2.0-only */
/* See observed.h. */
#include "observed.h"

#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/cpython/pyinterps.h"
#include "collector/look/gc_watch.h"
#include "collector/look/looks.h"
#include "collector/plan/image.h"
#include "collector/process/procmem.h"
#include "collector/python/pygils.h"
#include "gc_looks.h"
#include "writer_lock.h"

#define SHORT_NS 2000000ull /* boundaries follow the wall clock: so much shorter is no part of an interval */
#define RETRY_FULL_FIRST_NS (30ull * 1000000000)

/* ---- probes outside of the interpreter ---- */

/* Zeros where it can't be read. */
static struct gil_words look_at_main_gil(const struct observed *o, const struct gil_proc *proc)
{
	struct gil_words words = {0};

	gil_words__read(o->target->pid, &o->recipe->offsets, proc->gil_addr[0], &words);
	return words;
}

static bool has_changed(const struct gil_words *was, const struct gil_words *is)
{
	return was->last_holder && is->last_holder && (gil_words__taken_since(was, is) || is->locked < was->locked);
}

/*
 * Probes in the C library see nothing of an interpreter with other condition variables. That would look like a process that
 * does nothing: so as long as no acquire has been seen, the GIL itself is looked at, and what changes unseen is not observed.
 * With other events about, one look may just have come between an acquire and the sample that has it: two must agree.
 */
static void note_sight(struct observed *o, struct workshop *shop, const struct proc_sample *s)
{
	struct gil_words is;
	bool any_event;

	if (!shop->probes || o->recipe->plan->library_fd < 0 || o->sighted)
		return;
	o->sighted = s->total.acquires > 0;
	o->blind = o->blind && !o->sighted;
	if (o->sighted || o->blind)
		return;
	is = look_at_main_gil(o, probes__proc(shop->probes, o->slot));
	any_event = probes__gil(shop->probes, o->slot, 0)->cur.events > 0;
	if (!has_changed(&o->armed_as, &is) ||
	    (any_event && (!gil_words__taken_since(&o->armed_as, &is) || ++o->strange_looks < 2)))
		return;
	o->blind = true;
	log_warn("process %d takes its GIL without the C library's condition variables: nothing of it can be seen",
		 (int)o->target->pid);
}

/* ---- on the way in ---- */

/* The sites of the file, and what they cost here. */
static int make_plan(struct observed *o, struct workshop *shop, struct reason *why)
{
	int err = recipes__take(&shop->recipes, o->target, &o->recipe, why);

	if (!err && o->recipe->runtime)
		o->runtime = o->recipe->runtime + o->target->image.bias;
	return err;
}

static void set_prices(struct observed *o, const struct probes_features *features)
{
	for (size_t i = 0; i < o->recipe->plan->sites_n; i++) {
		const struct site *site = &o->recipe->plan->sites[i];
		double price = site->price == SITE_EMULATED ? features->price_ns : features->stepped_price_ns;

		if (price > o->price_ns[probes__kind_of(site->role)])
			o->price_ns[probes__kind_of(site->role)] = price;
	}
}

/* 3.8 to 3.11 before their start-up is through: the only GIL stands at a fixed place. */
static int main_gil_address(const struct observed *o, struct gil_address *ret)
{
	if (o->recipe->offsets.runtime_gil == PYOFF_NONE || !o->runtime)
		return 0;
	*ret = (struct gil_address){.gil = o->runtime + o->recipe->offsets.runtime_gil};
	return 1;
}

int observed__find_gils(struct observed *o, bool starting, struct gil_address gils[], int *ret_n, struct reason *why)
{
	bool enabled = true;
	int err = -EAGAIN;

	if (!starting)
		err = pygils__find_at(o->target, o->recipe->runtime, &o->recipe->offsets, gils, GIL_PER_PROC, ret_n,
					  &enabled, why);
	if (err == -EAGAIN) { /* still starting: later GILs are learned from their first events */
		*ret_n = main_gil_address(o, gils);
		err = 0;
	}
	o->pub.gil_disabled = !err && !enabled;
	return err;
}

static enum gil_mode first_mode(const struct observed *o, const struct collector_opts *opts)
{
	return opts->mode == MODE_LIGHT && o->recipe->plan->light ? GIL_MODE_LIGHT : GIL_MODE_FULL;
}

void observed__begin(struct workshop *shop)
{
	if (!shop->begun && shop->looks)
		looks__begin(shop->looks, clock__mono_ns());
	else if (!shop->begun)
		reader__begin(shop->reader, clock__mono_ns(), READER_NO_END);
	shop->begun = true;
}

/* Only a hint, since the target runs on between the words. */
static uint64_t seed_of(const struct observed *o, uint64_t gil)
{
	struct gil_words words;

	/* Up to 3.11 it stays locked when its interpreter is finalized. */
	if (pyinterps__is_empty(o->target->pid, &o->recipe->offsets, o->runtime) ||
	    gil_words__read(o->target->pid, &o->recipe->offsets, gil, &words))
		return 0;
	return gil_words__holder(&words);
}

/* Reads locked and last_holder of each GIL after arming: the seed. */
static void seed_gils(struct observed *o, struct workshop *shop)
{
	const struct gil_proc *proc = probes__proc(shop->probes, o->slot);

	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		o->seeds[i] = seed_of(o, proc->gil_addr[i]);
		reader__seed(shop->reader, o->slot, i, o->seeds[i]);
	}
	observed_look__take(o, shop);
}

static int plant_and_arm(struct observed *o, struct workshop *shop, bool starting, struct reason *why)
{
	struct gil_address gils[GIL_PER_PROC];
	struct probes_subject who = {
		.target = o->target, .plan = o->recipe->plan, .offsets = &o->recipe->offsets, .runtime = o->runtime,
		.gils = gils,
	};
	uint64_t armed_at;
	int err = observed__find_gils(o, starting, gils, &who.gils_n, why);

	err = err ?: probes__add(shop->probes, &who, &o->slot, why);
	if (err)
		return err;
	o->used = true;
	observed__guard(o, shop, !starting);
	err = reader__watch(shop->reader, o->slot, &o->recipe->offsets, o->runtime, o->born_at, o->price_ns);
	err = err ?: probes__plant(shop->probes, o->slot, first_mode(o, shop->opts), why);
	if (err)
		return err;
	observed__begin(shop);
	err = probes__arm(shop->probes, o->slot, &armed_at);
	if (err)
		return reason__set(why, err, "process %d %s", (int)o->target->pid,
				   err == -EALREADY ? "counts already" : "can't be counted");
	seed_gils(o, shop);
	o->armed_as = look_at_main_gil(o, probes__proc(shop->probes, o->slot));
	gc_looks__begin(o, shop);
	return 0;
}

static void copy_text(char *dst, size_t size, const char *src)
{
	snprintf(dst, size, "%s", src);
}

static void boot_id(char *dst, size_t size)
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	copy_text(dst, size, "");
	if (!f)
		return;
	if (!fgets(dst, (int)size, f))
		dst[0] = '\0';
	dst[strcspn(dst, "\n")] = '\0';
	fclose(f);
}

static void identify(struct observed *o, struct workshop *shop, struct proc_ident *who)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1))
		name[0] = '\0';
	*who = (struct proc_ident){
		.pid = (uint32_t)o->target->pid,
		.pidns_ino = o->target->pidns_ino,
		.start_ticks = o->target->start_ticks,
		.start_stack = o->target->start_stack,
		.exe = o->target->exe,
		.label = shop->opts->label ?: o->target->label,
		.python = o->recipe->python.text,
		.image = o->target->image.path,
		.method = shop->looks ? "looks" : o->recipe->plan->method,
		.notes = shop->looks ? "" : o->recipe->plan->notes,
		.container = o->target->container,
		.cgroup = o->target->cgroup,
		.pid_inside = (uint32_t)o->target->pid_inside,
		.sites = shop->looks ? 0 : (uint32_t)o->recipe->plan->sites_n,
		.cpus = target__cpus(o->target->pid),
		.interval_ms = (uint32_t)(shop->opts->interval_ns / 1000000),
		.started_ms = clock__wall_ms(),
		.price_ns = shop->looks ? 0 : probes__features(shop->probes)->price_ns,
		.parent = o->parent,
		.root = o->root,
	};
	schema__clean_host(who->host, shop->opts->host ?: name);
	boot_id(who->boot_id, sizeof(who->boot_id));
}

/* What follows from a sample is made ready before the first one. */
static int prepare_output(struct observed *o, struct workshop *shop, struct reason *why)
{
	struct aggr_opts aggr_opts = {.interval_ns = shop->opts->interval_ns};
	char runtime[RUNTIMES_TEXT_SIZE];
	struct proc_ident who;
	int err;

	identify(o, shop, &who);
	who.runtime = runtimes__text(&o->target->runtimes, runtime);
	schema__id(&who, o->id);
	if (shop->opts->follow && !o->root[0])
		copy_text(o->root, sizeof(o->root), o->id);
	if (shop->opts->sink) {
		err = writer_lock__take(o->id, &o->lock_fd, why);
		if (err)
			return err;
	}
	o->aggr = aggr__new(&aggr_opts);
	o->writer = schema_writer__new(&shop->opts->schema, &who);
	if (!o->aggr || !o->writer)
		return reason__set(why, -ENOMEM, "out of memory");
	sample_sink__begin(shop->opts->samples, o->id, &who);
	return 0;
}

struct batch *observed__batch(const struct workshop *shop)
{
	return shop->opts->sink ? batch__new() : NULL;
}

/* What the sink lost so far, of all processes, for the process's meta. */
static void note_sink_losses(struct observed *o, struct workshop *shop, struct sink_stats *stats)
{
	sink__stats(shop->opts->sink, stats);
	schema_writer__set_sink_losses(o->writer, &(struct sink_losses){
		.points = stats->points_dropped, .batches = stats->batches_dropped, .refused = stats->commands_refused,
		.keys = stats->keys_lost, .keys_known = stats->keys_known, .failover = stats->points_unsure,
		.renumbered = stats->events_renumbered,
	});
}

static void note_kept_sites(struct observed *o, struct workshop *shop)
{
	uint32_t now = shop->probes ? probes__kept(shop->probes, o->slot) : 0;

	if (now > o->pub.kept_sites)
		o->pub.kept_sites = now;
	schema_writer__set_kept_sites(o->writer, o->pub.kept_sites);
}

void observed__announce(struct observed *o, struct workshop *shop)
{
	struct batch *b = observed__batch(shop);
	struct sink_stats stats;

	if (!b)
		return;
	note_sink_losses(o, shop, &stats);
	if (schema_writer__announce(o->writer, b) || batch__error(b)) {
		batch__free(b);
		return;
	}
	sink__announce(shop->opts->sink, o->id, b);
}

void observed__tell_runtimes(struct observed *o, struct workshop *shop)
{
	char text[RUNTIMES_TEXT_SIZE];

	if (schema_writer__set_runtime(o->writer, runtimes__text(&o->target->runtimes, text)))
		log_debug("process %d: no memory for what its meta says", (int)o->target->pid);
	observed__announce(o, shop);
}

static void publish_self(struct observed *o, struct workshop *shop)
{
	o->pub.id = o->id;
	o->pub.target = o->target;
	o->pub.python = &o->recipe->python;
	o->pub.parent = o->parent;
	o->pub.root = o->root;
	if (shop->looks) {
		o->pub.mode = GIL_MODE_LOOK;
		return;
	}
	o->pub.plan = o->recipe->plan;
	o->pub.features = probes__features(shop->probes);
	o->pub.method = probes__method(shop->probes, o->slot);
	o->pub.mode = probes__mode(shop->probes, o->slot);
	if (o->pub.mode == GIL_MODE_LIGHT && !o->light_since) /* its relatives have changed to it, or it was asked for */
		o->light_since = clock__mono_ns();
}

/* The interpreter's file was read into memory for the plan: megabytes that nobody needs from here on. */
static void drop_file(const struct workshop *shop)
{
	sites__rest();
#ifdef __GLIBC__
	if (!shop->opts->follow) /* else more processes of it will come */
		malloc_trim(0);
#endif
}

static void come_from(struct observed *o, const struct origin *origin)
{
	*o = (struct observed){
		.lock_fd = -1, .retry_after_ns = RETRY_FULL_FIRST_NS, .begun_at = clock__mono_ns(), .born_at = origin->born_at,
	};
	copy_text(o->parent, sizeof(o->parent), origin->parent ?: "");
	copy_text(o->root, sizeof(o->root), origin->root ?: "");
}

static int open_target(struct observed *o, struct workshop *shop, pid_t pid, const struct origin *origin, struct reason *why)
{
	int err = 0;

	o->libraries_kib = target__libraries_kib(pid);
	if (!origin->only || finder__may_fit(origin->only, pid))
		err = target__open_with(shop->memory, pid, &o->target, why);

	if (err || !origin->only || (o->target && finder__fits(origin->only, o->target)))
		return err;
	return reason__set(why, -ESRCH, "process %d is not one of those asked for", (int)pid);
}

int observed__start(struct observed *o, struct workshop *shop, pid_t pid, const struct origin *origin, struct reason *why)
{
	uint64_t rss;
	int err;

	come_from(o, origin);
	err = open_target(o, shop, pid, origin, why);
	err = err ?: make_plan(o, shop, why);
	err = err ?: prepare_output(o, shop, why);
	if (!err && shop->looks) {
		err = looked__start(o, shop, origin->starting, why);
	} else if (!err) {
		set_prices(o, probes__features(shop->probes));
		err = plant_and_arm(o, shop, origin->starting, why);
	}
	if (err) {
		observed__stop(o, shop);
		return err;
	}
	drop_file(shop);
	publish_self(o, shop);
	if (target__usage(pid, &o->cpu_ns, &rss))
		o->cpu_ns = UINT64_MAX;
	observed__announce(o, shop);
	observed_events__begin(o, shop);
	return 0;
}

static uint64_t ticks_of(uint64_t boot_ns)
{
	return boot_ns / (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* What it is, it has from its parent. */
static int inherit(struct observed *o, struct workshop *shop, const struct observed *parent, const struct gil_event *e)
{
	struct origin origin = {.born_at = e->at, .parent = parent->id, .root = parent->root};

	come_from(o, &origin);
	o->target = target__of_child(parent->target, (pid_t)e->child, ticks_of(e->start_boot_ns));
	if (!o->target)
		return -ENOMEM;
	if (o->target->pidfd < 0)
		o->gone_at = clock__mono_ns();
	o->recipe = recipes__share(&shop->recipes, parent->recipe);
	o->runtime = parent->runtime;
	o->libraries_kib = parent->libraries_kib;
	o->pub.gil_disabled = parent->pub.gil_disabled;
	memcpy(o->price_ns, parent->price_ns, sizeof(o->price_ns));
	o->light_since = parent->light_since;
	return 0;
}

/* It has the slot, and counts: `late`, then not from its beginning. */
static int take_over(struct observed *o, struct workshop *shop, uint32_t slot, bool late)
{
	uint64_t armed_at;
	int err;

	o->used = true;
	o->slot = slot;
	if (late) {
		probes__disarm(shop->probes, o->slot);
		probes__arm(shop->probes, o->slot, &armed_at);
	}
	observed__guard(o, shop, false);
	err = reader__watch(shop->reader, o->slot, &o->recipe->offsets, o->runtime, o->born_at, o->price_ns);
	if (!err)
		gc_looks__begin(o, shop);
	return err;
}

int observed__adopt(struct observed *o, struct workshop *shop, const struct observed *parent, const struct gil_event *e,
		    struct reason *why)
{
	bool late = false;
	int err = inherit(o, shop, parent, e);

	err = err ?: prepare_output(o, shop, why);
	if (err)
		probes__disown(shop->probes, e->child_proc);
	err = err ?: probes__adopt(shop->probes, parent->slot, (pid_t)e->child, e->child_proc, &o->recipe->offsets, e->at, &late);
	err = err ?: take_over(o, shop, e->child_proc, late);
	if (err) {
		observed__stop(o, shop);
		return reason__set(why, err, "child %u of process %u can't be followed: %s", e->child, e->tgid,
				   strerror(-err));
	}
	publish_self(o, shop);
	observed__announce(o, shop);
	observed_events__begin(o, shop);
	return 0;
}

/* ---- a child that has executed the file of its family ---- */

/* Whether it is still the program that took the GIL: its PID may be another's by now, or it another program. */
static bool is_the_one(const struct target *t, struct workshop *shop, const struct gil_event *e)
{
	return t->start_ticks == ticks_of(e->start_boot_ns) && (!t->start_stack || t->start_stack == e->start_stack) &&
	       probes__is_family_file(shop->probes, e->family, t->image.fd);
}

/* What is known of it, if it has ended before it could be looked at, is its file and what the event says. */
static int reconstruct(struct observed *o, const struct observed *relative, const struct gil_event *e, struct reason *why)
{
	if (!relative)
		return reason__set(why, -ESRCH, "process %u has ended", e->tgid);
	o->target = target__of_exec(relative->target, (pid_t)e->tgid, ticks_of(e->start_boot_ns), e->start_stack, e->comm);
	return o->target ? 0 : reason__set(why, -ENOMEM, "out of memory");
}

static int look_at_newcomer(struct observed *o, struct workshop *shop, const struct observed *relative,
			    const struct gil_event *e, struct reason *why)
{
	int err;

	o->libraries_kib = target__libraries_kib((pid_t)e->tgid);
	err = target__open_with(shop->memory, (pid_t)e->tgid, &o->target, why);
	if (err || is_the_one(o->target, shop, e))
		return err ? reconstruct(o, relative, e, why) : 0;
	target__close(o->target);
	o->target = NULL;
	return reconstruct(o, relative, e, why);
}

static int get_ready(struct observed *o, struct workshop *shop, const struct observed *relative, struct reason *why)
{
	int err;

	if (o->target->image.fd >= 0) {
		err = make_plan(o, shop, why);
	} else {
		o->recipe = recipes__share(&shop->recipes, relative->recipe);
		o->gone_at = clock__mono_ns();
		err = 0;
	}
	err = err ?: prepare_output(o, shop, why);
	if (!err)
		set_prices(o, probes__features(shop->probes));
	return err;
}

int observed__adopt_newcomer(struct observed *o, struct workshop *shop, const struct observed *relative,
			     const struct gil_event *e, const struct origin *origin, struct reason *why)
{
	bool late = false;
	uint64_t rss;
	int err;

	come_from(o, origin);
	err = look_at_newcomer(o, shop, relative, e, why);
	err = err ?: get_ready(o, shop, relative, why);
	if (err)
		probes__disown(shop->probes, e->proc);
	else if ((err = probes__adopt_newcomer(shop->probes, e, &o->recipe->offsets, &late)))
		reason__set(why, err, "process %u can't be followed: %s", e->tgid, strerror(-err));
	err = err ?: take_over(o, shop, e->proc, late);
	if (err) {
		observed__stop(o, shop);
		return err;
	}
	drop_file(shop);
	publish_self(o, shop);
	if (target__usage(o->target->pid, &o->cpu_ns, &rss))
		o->cpu_ns = UINT64_MAX;
	observed__announce(o, shop);
	observed_events__begin(o, shop);
	return 0;
}

/* ---- a process without an interpreter ---- */

/* Since when the hold lasts that is open now; `bound` if there is none. */
static uint64_t open_hold_since(const struct observed *o, struct workshop *shop, uint64_t bound)
{
	const struct gil_proc *proc = probes__proc(shop->probes, o->slot);
	uint64_t since = bound;

	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		const struct gil_view *gil = &probes__gil(shop->probes, o->slot, i)->cur;

		if (proc->gil_addr[i] > GIL_PLACE_LAST && gil->state == GIL_OWNER_HELD && gil->acquired_at < since)
			since = gil->acquired_at;
	}
	return since;
}

void observed__forget_open(struct observed *o, struct workshop *shop, const char *what)
{
	uint64_t armed_at;

	probes__disarm(shop->probes, o->slot);
	if (reader__forget_open(shop->reader, o->slot, reader__interval_start(shop->reader)))
		log_debug("process %d: what was open when it %s can't be forgotten", (int)o->target->pid, what);
	probes__arm(shop->probes, o->slot, &armed_at);
}

/* One that is still starting has no interpreter, either: nothing of it can be open. */
static bool may_be_open(const struct observed *o, struct workshop *shop)
{
	const struct gil_proc *proc = probes__proc(shop->probes, o->slot);

	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		const struct gil_view *gil = &probes__gil(shop->probes, o->slot, i)->cur;

		if (proc->gil_addr[i] > GIL_PLACE_LAST && (gil->events || gil->state == GIL_OWNER_HELD))
			return true;
	}
	return false;
}

void observed__mind_interpreter(struct observed *o, struct workshop *shop)
{
	bool finalized = pyinterps__is_empty(o->target->pid, &o->recipe->offsets, o->runtime);
	uint64_t bound = reader__interval_end(shop->reader);

	if (finalized && !o->finalized && may_be_open(o, shop)) {
		probes__disarm(shop->probes, o->slot);
		o->open_since = open_hold_since(o, shop, bound);
		observed__forget_open(o, shop, "was finalized");
		seed_gils(o, shop);
	}
	o->finalized = finalized;
}

/* ---- changing the mode ---- */

void observed__spoil(struct observed *o, struct workshop *shop)
{
	if (reader__forget_open(shop->reader, o->slot, reader__interval_start(shop->reader)))
		log_debug("process %d: what was open when its probes were lifted can't be forgotten", (int)o->target->pid);
	o->spoilt = true;
}

void observed__pause(struct observed *o, struct workshop *shop)
{
	probes__disarm(shop->probes, o->slot);
	o->paused_at = clock__mono_ns();
}

void observed__thin(struct observed *o, struct workshop *shop, enum gil_mode mode)
{
	probes__thin(shop->probes, o->slot, mode);
}

int observed__switch(struct observed *o, struct workshop *shop, enum gil_mode mode, struct reason *why)
{
	uint64_t begin = o->paused_at ?: clock__mono_ns(), changed = reader__interval_end(shop->reader), armed_at;
	enum gil_mode before = o->pub.mode;
	int err = reader__forget_open(shop->reader, o->slot, changed);

	if (err)
		return reason__set(why, err, "what is open in process %d can't be forgotten: %s", (int)o->target->pid,
				   strerror(-err));
	err = probes__switch(shop->probes, o->slot, mode, &armed_at, why);

	if (err)
		return err;
	/* What is armed anew counts from then on: the reader knows of no time before. */
	o->armed_before_ns = o->pub.mode != GIL_MODE_GUARDED && mode != GIL_MODE_GUARDED && begin > changed ? begin - changed : 0;
	o->paused_at = 0;
	o->pub.mode = mode;
	o->pub.method = probes__method(shop->probes, o->slot);
	seed_gils(o, shop);
	gc_looks__armed(o, shop);
	if (mode != before)
		observed_events__mode(o, shop, before);
	return 0;
}

static uint64_t total_cost_ns(const struct observed *o, struct workshop *shop)
{
	double cost = 0;

	for (int kind = GIL_SITE_SIGNAL; kind < GIL_SITES_END; kind++)
		cost += (double)reader__hits(shop->reader, o->slot, (enum gil_site_kind)kind) * o->price_ns[kind];
	return (uint64_t)cost;
}

double observed__cost_share(struct observed *o, struct workshop *shop, uint64_t now_ns, uint64_t *ret_span_ns)
{
	uint64_t cost = total_cost_ns(o, shop), before = o->hits_cost_ns;

	*ret_span_ns = o->looked_at ? now_ns - o->looked_at : 0;
	o->hits_cost_ns = cost;
	o->looked_at = now_ns;
	return *ret_span_ns ? (double)(cost - before) / (double)*ret_span_ns : 0;
}

/* ---- on the way out ---- */

/* The time after its end is no time in which it did nothing. */
static void end_early(struct proc_sample *s, uint64_t by_ns)
{
	s->len_ns -= by_ns < s->len_ns ? by_ns : s->len_ns;
	s->observed_ns -= by_ns < s->observed_ns ? by_ns : s->observed_ns;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Disarmed for a change of its probes that did not come to an end: from then on nothing of it was seen. */
static void leave_out_the_change(const struct observed *o, struct proc_sample *s, uint64_t end)
{
	uint64_t begin = end - min_u64(end, s->len_ns), armed = o->paused_at > begin ? o->paused_at - begin : 0;

	if (o->paused_at)
		s->observed_ns = min_u64(s->observed_ns, armed);
}

static void complete(struct observed *o, struct proc_sample *s, uint64_t bound)
{
	uint64_t cpu, rss;

	/* Its last hold ended at some time before the boundary, nobody knows when. */
	if (o->open_since)
		s->observed_ns = s->len_ns - (bound > o->open_since ? min_u64(bound - o->open_since, s->len_ns) : 0);
	o->open_since = 0;
	if (o->gone_at && o->gone_at < bound)
		end_early(s, bound - o->gone_at);
	leave_out_the_change(o, s, o->gone_at && o->gone_at < bound ? o->gone_at : bound);
	s->observed_ns += o->armed_before_ns;
	if (s->observed_ns > s->len_ns)
		s->observed_ns = s->len_ns;
	if (o->blind || o->spoilt)
		s->observed_ns = 0;
	o->spoilt = false;
	if (o->sights.blind || o->sights.unseen)
		proc_sample__withhold(s);
	s->lost[GIL_LOSS_MOVED_UNSEEN] += o->sights.unseen;
	o->sights.unseen = 0;
	o->armed_before_ns = 0;
	if (target__usage(o->target->pid, &cpu, &rss))
		return;
	if (o->cpu_ns != UINT64_MAX && cpu >= o->cpu_ns)
		s->cpu_ns = cpu - o->cpu_ns;
	o->cpu_ns = cpu;
	s->rss_kib = rss;
}

/*
 * A free-threaded Python may turn its GIL on (an extension module asks for it while it is imported, some for good) and off.
 * Where it was off at both ends and nobody took it between, there was none.
 */
static void look_at_gil(struct observed *o, struct proc_sample *s)
{
	uint32_t enabled = !o->pub.gil_disabled; /* as it was, where it can't be read any more */
	uint64_t gil;

	if (o->recipe->offsets.gil_enabled == PYOFF_NONE)
		return;
	gil = pyinterps__main_gil(o->target->pid, &o->recipe->offsets, o->runtime);
	if (gil && procmem__read_u32(o->target->pid, gil + o->recipe->offsets.gil_enabled, &enabled))
		log_debug("process %d: whether its GIL is on can't be read", (int)o->target->pid);
	s->no_gil = o->pub.gil_disabled && !enabled && !s->total.acquires && !s->total.hold_ns;
	if (s->no_gil)
		s->observed_ns = 0;
	s->no_gil_ns = s->no_gil ? s->len_ns : 0;
	o->pub.gil_disabled = !enabled;
}

struct outlet {
	struct observed *o;
	struct batch *batch;
};

static int emit_window(void *arg, enum tier tier, const struct proc_sample *window)
{
	struct outlet *out = arg;

	return schema_writer__sample(out->o->writer, tier, window, NULL, out->batch);
}

void observed__send(struct workshop *shop, struct batch *b, int err)
{
	if (err || batch__error(b))
		batch__free(b);
	else
		sink__write(shop->opts->sink, b);
}

static int store(struct observed *o, struct workshop *shop, const struct proc_sample *s)
{
	struct outlet out = {.o = o, .batch = batch__new()};
	struct sink_stats stats;
	int err;

	if (!out.batch)
		return -ENOMEM;
	note_sink_losses(o, shop, &stats);
	err = aggr__add(o->aggr, s, emit_window, &out);
	err = err ?: schema_writer__sample(o->writer, TIER_BASE, s, aggr__totals(o->aggr), out.batch);
	err = err ?: observed_events__losses(o, shop, s, &stats, out.batch);
	observed__send(shop, out.batch, err);
	return err;
}

int observed__publish(struct observed *o, struct workshop *shop, struct proc_sample *s, uint64_t bound, bool partial)
{
	o->published = true;
	note_sight(o, shop, s);
	complete(o, s, bound);
	gc_looks__settle(o, shop, s, bound);
	look_at_gil(o, s);
	s->wait_unseen_ns = min_u64(s->wait_unseen_ns, s->observed_ns);
	observed_look__into(o, shop, s);
	note_kept_sites(o, shop);
	s->partial = partial || s->observed_ns < s->len_ns || s->len_ns + SHORT_NS < shop->opts->interval_ns;
	sample_sink__sample(shop->opts->samples, o->id, s);
	return shop->opts->sink ? store(o, shop, s) : aggr__add(o->aggr, s, NULL, NULL);
}

bool observed__kept_shorter(struct observed *o, uint32_t ret_s[TIER_COUNT])
{
	return schema_writer__kept_shorter(o->writer, ret_s);
}

void observed__finish(struct observed *o, struct workshop *shop, int64_t end_ms, const char *how)
{
	struct outlet out = {.o = o, .batch = observed__batch(shop)};
	int err;

	note_kept_sites(o, shop);
	if (!out.batch)
		return;
	err = aggr__flush(o->aggr, emit_window, &out);
	err = err ?: schema_writer__end(o->writer, end_ms, how, out.batch);
	err = err ?: observed_events__end(o, shop, end_ms, how, out.batch);
	observed__send(shop, out.batch, err);
	observed__announce(o, shop);
}

void observed__lift(struct observed *o, struct workshop *shop)
{
	if (shop->looks)
		looked__stop(o, shop);
	else if (o->gone_at)
		probes__drop(shop->probes, o->slot);
	else
		probes__lift(shop->probes, o->slot);
}

void observed__free(struct observed *o, struct workshop *shop)
{
	if (shop->looks)
		looked__stop(o, shop);
	else if (o->used)
		probes__remove(shop->probes, o->slot);
	sample_sink__end(shop->opts->samples, o->id);
	writer_lock__drop(o->id, o->lock_fd);
	schema_writer__free(o->writer);
	gc_watch__free(o->gc);
	aggr__free(o->aggr);
	recipes__give_back(&shop->recipes, o->recipe);
	target__close(o->target);
	*o = (struct observed){.lock_fd = -1};
}

void observed__stop(struct observed *o, struct workshop *shop)
{
	if (o->used) {
		observed__lift(o, shop);
		if (shop->reader)
			reader__forget(shop->reader, &o->slot, 1);
	}
	observed__free(o, shop);
}
