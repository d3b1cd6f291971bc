/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope daemon: every Python process of the host, for good, as a service. It shows nothing: its numbers go to Redis and to
 * Prometheus, and how it is doing to `gilscope status`.
 *
 * SIGHUP reads the configuration again. One that is right ends the observation and begins it anew with the new options, in this
 * process; one that is wrong, or can't be had, changes nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "cmds.h"
#include "code.h"
#include "observing.h"
#include "rows.h"
#include "service.h"

#define SECOND_NS 1000000000ull

/* One observed process, for `status`. */
struct subject {
	char id[SCHEMA_ID_SIZE];
	char label[128];
	pid_t pid;
	const char *mode;
	double cov, util, waiters; /* of its last interval, NAN: not known */
};

struct daemon {
	const struct verb *verb;
	struct options *options, *next; /* next: to be taken after SIGHUP; NULL: none */
	struct observing observing;
	struct collector_events events;
	struct service *service;
	struct subject *subjects;
	size_t subjects_n, subjects_room;
	uint64_t began_ns;
	bool ready;
	size_t told;               /* number of processes that the manager knows of */
};

/* ---- who is observed ---- */

static struct subject *subject_of(struct daemon *d, const char *id)
{
	for (size_t i = 0; i < d->subjects_n; i++)
		if (strcmp(d->subjects[i].id, id) == 0)
			return &d->subjects[i];
	return NULL;
}

static struct subject *add_subject(struct daemon *d, const struct collector_proc *proc)
{
	struct subject *s = subject_of(d, proc->id), *grown;

	if (s)
		return s;
	if (d->subjects_n == d->subjects_room) {
		grown = reallocarray(d->subjects, d->subjects_room + 64, sizeof(*grown));
		if (!grown)
			return NULL;
		d->subjects = grown;
		d->subjects_room += 64;
	}
	s = &d->subjects[d->subjects_n++];
	*s = (struct subject){.pid = proc->target->pid, .mode = "", .cov = NAN, .util = NAN, .waiters = NAN};
	snprintf(s->id, sizeof(s->id), "%s", proc->id);
	snprintf(s->label, sizeof(s->label), "%s", proc->target->label);
	return s;
}

static void on_armed(void *arg, const struct collector_proc *proc, double plan_ms)
{
	add_subject(arg, proc);
	log_verbose("watching %s (pid %d), CPython %s: armed in %.0f ms", proc->target->label, (int)proc->target->pid,
		    proc->python->text, plan_ms);
}

static void on_sample(void *arg, const struct collector_proc *proc, const struct proc_sample *s)
{
	struct subject *subject = add_subject(arg, proc);
	struct schema_row row;

	if (!subject)
		return;
	schema_row__from(s, &s->total, true, &row);
	subject->mode = gil_mode__name(proc->mode, "changing");
	subject->cov = rows__field(&row, FIELD_COV);
	subject->util = rows__field(&row, FIELD_UTIL);
	subject->waiters = rows__field(&row, FIELD_WAITERS);
}

static void on_ended(void *arg, const struct collector_proc *proc, const struct proc_sample *totals, enum collector_end how)
{
	struct daemon *d = arg;
	struct subject *s = subject_of(d, proc->id);

	log_verbose("%s (pid %d) is observed no more: %s", proc->target->label, (int)proc->target->pid, collector_end__name(how));
	if (s)
		*s = d->subjects[--d->subjects_n];
}

static void on_notice(void *arg, const struct collector_proc *proc, const char *sentence)
{
	if (proc)
		log_info("%s (pid %d): %s", proc->target->label, (int)proc->target->pid, sentence);
	else
		log_info("%s", sentence);
}

/* What was asked for with alert-hold and alert-wait. */
static void on_lasting(void *arg, const struct collector_proc *proc, const struct long_event *e)
{
	const struct daemon *d = arg;
	uint64_t limit = e->wait ? d->options->alert_wait_ns : d->options->alert_hold_ns;
	char text[1024];

	if (limit && e->at_ns - e->since_ns >= limit)
		on_notice(arg, proc, code__long(e, text, sizeof(text)));
}

/* ---- status ---- */

static json_t *known_number(double value)
{
	return isnan(value) ? json_null() : json_real(value);
}

static json_t *subjects_json(const struct daemon *d)
{
	json_t *all = json_array();

	for (size_t i = 0; i < d->subjects_n; i++) {
		const struct subject *s = &d->subjects[i];

		json_array_append_new(all, json_pack("{s:s, s:s, s:i, s:s, s:o, s:o, s:o}", "id", s->id, "label", s->label, "pid",
						     (int)s->pid, "mode", s->mode, "cov", known_number(s->cov), "util",
						     known_number(s->util), "waiters", known_number(s->waiters)));
	}
	return all;
}

/* What is wrong goes to `trouble`, too. */
static json_t *history_json(const struct daemon *d, json_t *trouble)
{
	struct sink_stats stats;

	if (d->options->no_store)
		return json_null();
	if (!d->observing.history.sink) {
		json_array_append_new(trouble, json_string("no history is kept"));
		return json_null();
	}
	sink__stats(d->observing.history.sink, &stats);
	if (stats.trouble[0])
		json_array_append_new(trouble, json_string(stats.trouble));
	return json_pack("{s:s, s:b, s:I, s:I, s:I}", "where", d->observing.history.where, "connected", (int)stats.connected,
			 "written", (json_int_t)stats.points_written, "dropped", (json_int_t)stats.points_dropped,
			 "queued_bytes", (json_int_t)stats.queued_bytes);
}

static char *status_text(const struct daemon *d)
{
	json_t *trouble = json_array(), *history = history_json(d, trouble), *status;
	const char *metrics = d->observing.metrics_at[0] ? d->observing.metrics_at : NULL;
	char *text;

	status = json_pack("{s:s, s:s, s:i, s:I, s:s?, s:b, s:o, s:o, s:s?, s:o}", "type", "status", "version", GILSCOPE_VERSION,
			   "pid", (int)getpid(), "uptime_s", (json_int_t)((clock__mono_ns() - d->began_ns) / SECOND_NS),
			   "config", d->options->config, "well", json_array_size(trouble) == 0, "trouble", trouble, "history",
			   history, "metrics", metrics, "processes", subjects_json(d));
	text = status ? json_dumps(status, JSON_COMPACT) : NULL;
	json_decref(status);
	return text;
}

static void tell_manager(struct daemon *d)
{
	char text[128];

	if (d->ready && d->told == d->subjects_n)
		return;
	snprintf(text, sizeof(text), "READY=1\nSTATUS=observing %zu Python process%s", d->subjects_n,
		 d->subjects_n == 1 ? "" : "es");
	service__tell(d->service, text);
	d->ready = true;
	d->told = d->subjects_n;
}

static void on_tick(void *arg, uint64_t elapsed_ns, uint64_t remaining_ns)
{
	struct daemon *d = arg;
	int client;
	char *text;

	tell_manager(d);
	client = service__turn(d->service);
	if (client < 0)
		return;
	text = status_text(d);
	service__answer(client, text ?: "");
	free(text);
}

/* ---- the configuration ---- */

/* Every Python of the host is what a daemon is for. */
static int settle(struct options *o, struct reason *why)
{
	o->all = true;
	return observing__check(o, why);
}

/* The options anew, as a whole or not at all. */
static struct options *read_anew(const struct daemon *d, struct reason *why)
{
	struct options *next = calloc(1, sizeof(*next));
	enum log_level level = log__level();
	int first;

	if (!next) {
		reason__set(why, -ENOMEM, "not enough memory");
		return NULL;
	}
	options__init(next);
	log__set_level(d->options->level);
	if (!options__parse(d->verb, d->options->argc, d->options->argv, next, &first, why) && !settle(next, why))
		return next;
	log__set_level(level);
	options__drop(next);
	free(next);
	return NULL;
}

static bool on_hangup(void *arg)
{
	struct daemon *d = arg;
	struct reason why = {{0}};

	d->next = read_anew(d, &why);
	if (!d->next)
		log_error("the configuration stays as it was: %s", why.text);
	return d->next != NULL;
}

/* The observation has ended for the new options. Where these can't be had, the old ones stay. 0, or -errno: neither can. */
static int change(struct daemon *d, struct reason *why)
{
	struct options *old = d->options;
	struct reason why_not = {{0}};

	service__tell(d->service, "RELOADING=1");
	d->ready = false;
	observing__close(&d->observing);
	if (observing__open(&d->observing, d->next, NULL, &why_not)) {
		log_error("the configuration stays as it was: %s", why_not.text);
		options__drop(d->next);
		free(d->next);
		d->next = NULL;
		return observing__open(&d->observing, old, NULL, why);
	}
	d->options = d->next;
	d->next = NULL;
	options__drop(old);
	free(old);
	log_info("the configuration was read again");
	return 0;
}

/* ---- the run ---- */

static int observe(struct daemon *d, struct reason *why)
{
	int err;

	do {
		err = collector__run(&d->observing.opts, NULL, 0, &d->events, why);
		d->subjects_n = 0;
		if (!err && d->next)
			err = change(d, why);
		else
			break;
	} while (!err);
	service__tell(d->service, "STOPPING=1");
	return err;
}

static int start(struct daemon *d, struct reason *why)
{
	int err = settle(d->options, why);

	/* Before the rights are given up: what may be needed after SIGHUP. */
	if (!err)
		history__prepare(d->options);
	err = err ? err : service__open(&d->service, why);
	err = err ? err : observing__open(&d->observing, d->options, NULL, why);
	return err;
}

static void fill_events(struct daemon *d)
{
	d->events = (struct collector_events){
		.arg = d, .armed = on_armed, .sample = on_sample, .notice = on_notice, .lasting = on_lasting, .ended = on_ended,
		.hangup = on_hangup, .tick = on_tick,
	};
}

static int serve(const struct verb *verb, struct options *o)
{
	struct daemon d = {.verb = verb, .options = o, .began_ns = clock__mono_ns()};
	struct reason why = {{0}};
	int err;

	fill_events(&d);
	err = start(&d, &why);
	err = err ? err : observe(&d, &why);
	observing__close(&d.observing);
	service__close(d.service);
	free(d.subjects);
	options__drop(d.options);
	free(d.options);
	return err ? options__fail(verb, err == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &why) : EXIT_OK;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct options *own;

	if (o->check_config) {
		printf("%s: correct\n", o->config ?: "no configuration file");
		options__drop(o);
		return EXIT_OK;
	}
	if (getenv("JOURNAL_STREAM"))
		log__for_journal();
	own = malloc(sizeof(*own));
	if (!own)
		return EXIT_FAILED;
	*own = *o;
	return serve(verb, own);
}

static int check_stacks(const struct options *o, int args, struct reason *why)
{
	if (o->no_stacks && (o->alert_hold_ns || o->alert_wait_ns))
		return reason__set(why, -EINVAL, "alert-hold and alert-wait need stacks: not with stacks off");
	return 0;
}

const struct verb verb_daemon = {
	.name = "daemon",
	.args = "",
	.summary = "observe every Python process of this host, as a service",
	.about = "Observes every Python process of this host, including future ones, until it is told to end (SIGTERM). It "
		 "shows nothing: the numbers go to Redis and, with --metrics, to Prometheus; gilscope status shows how it "
		 "is doing. Options can stand in a file; SIGHUP reads it again, and a file with an error changes nothing. "
		 "Under systemd it says when it is ready, and its loop feeds the watchdog.",
	.options = {OPTION_CONFIG, OPTION_CHECK_CONFIG, OPTION_INTERVAL, OPTION_MODE, OPTION_LOOK_RATE, OPTION_MAX_OVERHEAD,
		    OPTION_NO_OFF_CPU, OPTION_STACKS, OPTION_ALERT_HOLD, OPTION_ALERT_WAIT, OPTION_USER,
		    OPTION_CGROUP, OPTION_MATCH,
		    OPTION_REDIS, OPTION_PASSWORD_FILE, OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX, OPTION_RETENTION,
		    OPTION_THREAD_RETENTION, OPTION_HISTORY_MB, OPTION_NO_STORE, OPTION_METRICS, OPTION_METRICS_SERIES,
		    OPTION_HOST},
	.own_help = {{OPTION_USER, "only processes of this user"},
		     {OPTION_CGROUP, "only processes in this cgroup and below"},
		     {OPTION_MATCH, "only processes whose program and script, as shown by ls, match this extended regular "
		      "expression"}},
	.check = check_stacks,
	.reads_processes = true,
	.run = run,
};
