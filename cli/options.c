/* SPDX-License-Identifier: GPL-2.0-only */
/* See options.h. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/look/look_ring.h"
#include "collector/metrics/microhttpd_lib.h"
#include "collector/redis/redis_conn.h"
#include "collector/stacks/app_code.h"
#include "args.h"
#include "budget.h"
#include "suggest.h"

#define WIDTH 80
#define HELP_COLUMN 26     /* where explanations begin */
#define NS_PER_MS 1000000ull
#define NS_PER_H (3600ull * 1000000000ull)
#define LONG_BASE 256      /* getopt's values of long options: above every letter */

struct option_entry {
	const char *name;
	char letter;
	const char *arg;   /* NULL: a switch */
	const char *help;
	int (*set)(struct options *o, const char *value, struct reason *why);
};

static int set_interval(struct options *o, const char *value, struct reason *why)
{
	return args__duration("--interval", value, 100 * NS_PER_MS, NS_PER_H, &o->interval_ns, why);
}

static int set_duration(struct options *o, const char *value, struct reason *why)
{
	return args__duration("--duration", value, 100 * NS_PER_MS, 366 * 24 * NS_PER_H, &o->duration_ns, why);
}

static int set_mode(struct options *o, const char *value, struct reason *why)
{
	static const char *const names[] = {[MODE_AUTO] = "auto", [MODE_FULL] = "full", [MODE_LIGHT] = "light",
					    [MODE_LOOK] = "look"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(value, names[i]) == 0) {
			o->mode = (enum mode_wish)i;
			return 0;
		}
	}
	return reason__set(why, -EINVAL, "--mode: '%s' is none of auto, full, light and look", value);
}

static int set_look_rate(struct options *o, const char *value, struct reason *why)
{
	return args__u64("--look-rate", value, 1, LOOK_RATE_MAX, &o->look_rate, why);
}

static int set_max_overhead(struct options *o, const char *value, struct reason *why)
{
	return args__share("--max-overhead", value, &o->max_overhead, why);
}

static int set_stacks(struct options *o, const char *value, struct reason *why)
{
	o->no_stacks = strcmp(value, "off") == 0;
	if (o->no_stacks)
		return 0;
	if (strcmp(value, "0") == 0) {
		o->stacks_ns = 0;
		return 0;
	}
	return args__duration("--stacks", value, NS_PER_MS / 1000, NS_PER_H, &o->stacks_ns, why);
}

static int set_alert_hold(struct options *o, const char *value, struct reason *why)
{
	return args__duration("--alert-hold", value, NS_PER_MS, NS_PER_H, &o->alert_hold_ns, why);
}

static int set_alert_wait(struct options *o, const char *value, struct reason *why)
{
	return args__duration("--alert-wait", value, NS_PER_MS, NS_PER_H, &o->alert_wait_ns, why);
}

/* A text that ends up on screens and in Redis members: not empty, not endless. */
static int set_text(const char *what, const char *value, size_t max, const char **ret, struct reason *why)
{
	if (!*value)
		return reason__set(why, -EINVAL, "%s: is empty", what);
	if (strlen(value) > max)
		return reason__set(why, -EINVAL, "%s: is longer than %zu bytes", what, max);
	*ret = value;
	return 0;
}

static int set_path(const char *what, const char *value, const char **ret, struct reason *why)
{
	return set_text(what, value, 4095, ret, why);
}

static int set_budget(struct options *o, const char *value, struct reason *why)
{
	struct budget parsed;
	int err = budget__parse("--budget", value, &parsed, why);

	if (err)
		return err;
	if (o->budgets_n == BUDGETS_MAX)
		return reason__set(why, -EINVAL, "--budget: more than %d", BUDGETS_MAX);
	o->budgets[o->budgets_n++] = value;
	return 0;
}

static int set_budget_file(struct options *o, const char *value, struct reason *why)
{
	return set_path("--budget-file", value, &o->budget_file, why);
}

static int set_budget_junit(struct options *o, const char *value, struct reason *why)
{
	return set_path("--budget-junit", value, &o->budget_junit, why);
}

static int set_budget_markdown(struct options *o, const char *value, struct reason *why)
{
	return set_path("--budget-markdown", value, &o->budget_markdown, why);
}

static int set_children(struct options *o, const char *value, struct reason *why)
{
	o->children = true;
	return 0;
}

static int set_all(struct options *o, const char *value, struct reason *why)
{
	o->all = true;
	return 0;
}

static int set_label(struct options *o, const char *value, struct reason *why)
{
	return set_text("--label", value, 127, &o->label, why);
}

static int set_app(struct options *o, const char *value, struct reason *why)
{
	const char *package = NULL;
	int err = set_text("--app", value, 64, &package, why);

	if (!err)
		app_code__name_package(package);
	return err;
}

static int set_host(struct options *o, const char *value, struct reason *why)
{
	char clean[65];
	int err = set_text("--host", value, 64, &o->host, why);

	if (err)
		return err;
	schema__clean_host(clean, value);
	if (strcmp(clean, value) != 0)
		return reason__set(why, -EINVAL, "--host: '%s' may have letters, digits, '_', '.' and '-' only", value);
	return 0;
}

#define SECOND_NS 1000000000ull
#define MINUTE_NS (60 * SECOND_NS)
#define YEAR_NS (366 * 1440 * MINUTE_NS)

/* "1h,24h,7d": how long the tiers 1s, 10s, 60s are kept. */
static int set_tiers(const char *what, const char *value, uint32_t ret_s[TIER_COUNT], struct reason *why)
{
	char copy[128], *rest = copy, *word;
	uint32_t seconds[TIER_COUNT];
	int n = 0;

	snprintf(copy, sizeof(copy), "%s", value);
	while (n < TIER_COUNT && (word = strsep(&rest, ","))) {
		uint64_t ns;
		int err = args__duration(what, word, MINUTE_NS, YEAR_NS, &ns, why);

		if (err)
			return err;
		seconds[n++] = (uint32_t)(ns / SECOND_NS);
	}
	if (n != TIER_COUNT || rest || strlen(value) >= sizeof(copy))
		return reason__set(why, -EINVAL, "%s: '%s' must be three durations, for samples of 1 s, 10 s and 60 s "
				   "(1h,24h,7d)", what, value);
	memcpy(ret_s, seconds, sizeof(seconds));
	return 0;
}

static int set_retention(struct options *o, const char *value, struct reason *why)
{
	return set_tiers("--retention", value, o->retention.proc_s, why);
}

static int set_thread_retention(struct options *o, const char *value, struct reason *why)
{
	return set_tiers("--thread-retention", value, o->retention.thread_s, why);
}

static int set_history_mb(struct options *o, const char *value, struct reason *why)
{
	uint64_t mb;
	int err = args__u64("--history-mb", value, 0, 1000000, &mb, why);

	if (!err)
		o->retention.max_bytes = mb * 1000000;
	return err;
}

static int set_user(struct options *o, const char *value, struct reason *why)
{
	return set_text("--user", value, 255, &o->user, why);
}

/* "/system.slice/web.service", or the path where cgroup file systems are mounted. */
static int set_cgroup(struct options *o, const char *value, struct reason *why)
{
	static const char mount[] = "/sys/fs/cgroup";
	int err = set_text("--cgroup", value, 4095, &o->cgroup, why);

	if (!err && strncmp(value, mount, sizeof(mount) - 1) == 0)
		o->cgroup = value + sizeof(mount) - 1;
	if (!err && o->cgroup[0] != '/')
		return reason__set(why, -EINVAL, "--cgroup: '%s' is no path of a cgroup (/system.slice/web.service)", value);
	return err;
}

static int set_match(struct options *o, const char *value, struct reason *why)
{
	char words[128];
	regex_t regex;
	int err = set_text("--match", value, 1023, &o->match, why);

	if (err)
		return err;
	err = regcomp(&regex, value, REG_EXTENDED | REG_NOSUB);
	if (err) {
		regerror(err, &regex, words, sizeof(words));
		return reason__set(why, -EINVAL, "--match: '%s' is no extended regular expression: %s", value, words);
	}
	regfree(&regex);
	return 0;
}

static int set_redis(struct options *o, const char *value, struct reason *why)
{
	struct redis_url url;
	int err = redis_url__parse(value, &url, why);

	if (err)
		return err;
	o->redis_in_argv = true;
	return set_text("--redis", value, 4096, &o->redis, why);
}

static int set_password_file(struct options *o, const char *value, struct reason *why)
{
	return set_path("--redis-password-file", value, &o->password_file, why);
}

static int set_sentinel_password_file(struct options *o, const char *value, struct reason *why)
{
	return set_path("--sentinel-password-file", value, &o->sentinel_password_file, why);
}

/* Braces would move Redis Cluster's hash tag; blanks and quotes would break every line that is shown to be pasted. */
static int set_prefix(struct options *o, const char *value, struct reason *why)
{
	int err = set_text("--prefix", value, 64, &o->prefix, why);

	if (err)
		return err;
	for (const char *p = value; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || strchr("{}'\"\\*?[]|", *p))
			return reason__set(why, -EINVAL, "--prefix: '%s' may have visible ASCII characters except "
					   "{ } [ ] ' \" \\ * ? |", value);
	return 0;
}

static int set_no_store(struct options *o, const char *value, struct reason *why)
{
	o->no_store = true;
	return 0;
}

static int set_metrics(struct options *o, const char *value, struct reason *why)
{
	struct reason part = {{0}};
	int err = metrics_address__parse(value, &o->metrics_at, &part);

	err = err ?: microhttpd__check(&part);
	if (err)
		return reason__set(why, -EINVAL, "--metrics: %s", part.text);
	o->metrics_on = true;
	return 0;
}

static int set_metrics_series(struct options *o, const char *value, struct reason *why)
{
	return args__u64("--metrics-series", value, 1000, 1000000, &o->metrics_series, why);
}

static int set_no_off_cpu(struct options *o, const char *value, struct reason *why)
{
	o->no_off_cpu = true;
	return 0;
}

static int unknown_metric(const char *name, struct reason *why)
{
	const char *names[FIELD_COUNT], *near;

	for (int f = 0; f < FIELD_COUNT; f++)
		names[f] = schema_field__name((enum schema_field)f);
	near = suggest__word(name, names, FIELD_COUNT);
	return reason__set(why, -EINVAL, "--metric: there is no '%s'%s%s%s (gilscope query --help names them)", name,
			   near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* "hold,wait,wait_p99"; may be given several times. */
static int set_metric(struct options *o, const char *value, struct reason *why)
{
	char name[32];
	size_t len;

	for (;; value += len + 1) {
		int field;

		len = strcspn(value, ",");
		snprintf(name, sizeof(name), "%.*s", (int)(len < 31 ? len : 31), value);
		field = schema_field__by_name(name);
		if (field < 0)
			return unknown_metric(name, why);
		o->metrics |= 1ull << field;
		if (!value[len])
			return 0;
	}
}

static int set_thread(struct options *o, const char *value, struct reason *why)
{
	return set_text("--thread", value, 255, &o->thread, why);
}

static int set_threads(struct options *o, const char *value, struct reason *why)
{
	o->threads = true;
	return 0;
}

/* As the interpreter numbers itself; which there are, only the history knows. */
static int set_gil(struct options *o, const char *value, struct reason *why)
{
	size_t digits = strspn(value, "0123456789");

	if (digits < 1 || digits > 9 || value[digits])
		return reason__set(why, -EINVAL, "--gil: '%s' is not the id of an interpreter (0 is the main one)", value);
	o->gil = value;
	return 0;
}

static int set_tree(struct options *o, const char *value, struct reason *why)
{
	o->tree = true;
	return 0;
}

/* Their meaning needs the process's clock; here only the spelling is checked. */
static int set_since(struct options *o, const char *value, struct reason *why)
{
	int64_t ms;

	o->since = value;
	return args__time("--since", value, 0, &ms, why);
}

static int set_until(struct options *o, const char *value, struct reason *why)
{
	int64_t ms;

	o->until = value;
	return args__time("--until", value, 0, &ms, why);
}

static int set_before(struct options *o, const char *value, struct reason *why)
{
	return set_text("--before", value, 127, &o->before, why);
}

static int set_after(struct options *o, const char *value, struct reason *why)
{
	return set_text("--after", value, 127, &o->after, why);
}

static int set_around(struct options *o, const char *value, struct reason *why)
{
	return set_text("--around", value, 220, &o->around, why);
}

static int set_at_least(struct options *o, const char *value, struct reason *why)
{
	return args__share("--at-least", value, &o->at_least, why);
}

static int set_markdown(struct options *o, const char *value, struct reason *why)
{
	o->markdown = true;
	return 0;
}

static int set_process(struct options *o, const char *value, struct reason *why)
{
	return set_text("--process", value, 255, &o->process, why);
}

static int set_time(struct options *o, const char *value, struct reason *why)
{
	int64_t ms;

	o->time = value;
	return args__time("--time", value, 0, &ms, why);
}

static int set_count(struct options *o, const char *value, struct reason *why)
{
	return set_text("--count", value, 255, &o->count, why);
}

static int set_step(struct options *o, const char *value, struct reason *why)
{
	static const struct {
		char name[4];
		uint32_t s;
	} steps[] = {{"1s", 1}, {"10s", 10}, {"60s", 60}, {"1m", 60}};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (strcmp(value, steps[i].name) == 0) {
			o->step_s = steps[i].s;
			return 0;
		}
	}
	return reason__set(why, -EINVAL, "--step: '%s' is none of 1s, 10s and 60s", value);
}

static int set_format(struct options *o, const char *value, struct reason *why)
{
	static const char *const names[] = {[FORMAT_TABLE] = "table", [FORMAT_JSON] = "json", [FORMAT_CSV] = "csv"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(value, names[i]) == 0) {
			o->format = (enum output_format)i;
			return 0;
		}
	}
	return reason__set(why, -EINVAL, "--format: '%s' is none of table, json and csv", value);
}

static int set_json(struct options *o, const char *value, struct reason *why)
{
	o->format = FORMAT_JSON;
	return 0;
}

static int set_output(struct options *o, const char *value, struct reason *why)
{
	return set_path("--output", value, &o->output, why);
}

static int set_weight(struct options *o, const char *value, struct reason *why)
{
	static const char *const names[] = {[WEIGHT_BLAME] = "blame", [WEIGHT_HOLD] = "hold", [WEIGHT_WAIT] = "wait"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(value, names[i]) == 0) {
			o->weight = (enum flame_weight)i;
			return 0;
		}
	}
	return reason__set(why, -EINVAL, "--weight: '%s' is none of blame, hold and wait", value);
}

static int set_folded(struct options *o, const char *value, struct reason *why)
{
	o->folded = true;
	return 0;
}

static int set_no_threads(struct options *o, const char *value, struct reason *why)
{
	o->no_threads = true;
	return 0;
}

static int set_html(struct options *o, const char *value, struct reason *why)
{
	return set_path("--html", value, &o->html, why);
}

static int set_max_events(struct options *o, const char *value, struct reason *why)
{
	return args__u64("--max-events", value, 1000, 1000000000, &o->max_events, why);
}

static int set_yes(struct options *o, const char *value, struct reason *why)
{
	o->yes = true;
	return 0;
}

static int set_follow(struct options *o, const char *value, struct reason *why)
{
	o->follow = true;
	return 0;
}

static int set_config(struct options *o, const char *value, struct reason *why)
{
	return set_text("--config", value, 4095, &o->config, why);
}

static int set_check_config(struct options *o, const char *value, struct reason *why)
{
	o->check_config = true;
	return 0;
}

static int set_verbose(struct options *o, const char *value, struct reason *why)
{
	if (log__level() < LOG_DEBUG)
		log__set_level((enum log_level)(log__level() + 1));
	return 0;
}

static int set_help(struct options *o, const char *value, struct reason *why)
{
	o->help = true;
	return 0;
}

static const struct option_entry entries[OPTION_COUNT] = {
	[OPTION_INTERVAL] = {"interval", 'i', "TIME", "length of one sample, 100ms to 1h (default 1s)", set_interval},
	[OPTION_DURATION] = {"duration", 'd', "TIME", "attach for this long (default 10s)", set_duration},
	[OPTION_MODE] = {"mode", 'm', "MODE",
		"full: probes at each acquire and release; light: probes only where threads queue, so waits are exact and "
		"holds estimated; auto (default): full as long as it costs little, else light; look: no probes, the "
		"process's memory is read many times a second, and all times are estimates", set_mode},
	[OPTION_APP] = {"app", 0, "PACKAGE",
		"this Python package is the application: its code is named, whatever it calls", set_app},
	[OPTION_LOOK_RATE] = {"look-rate", 0, "N",
		"in look mode, look at most N times a second (default 1000, at most 10000)", set_look_rate},
	[OPTION_MAX_OVERHEAD] = {"max-overhead", 0, "SHARE",
		"cost in the process that auto allows, as a share of one core (default 2%)", set_max_overhead},
	[OPTION_NO_OFF_CPU] = {"no-off-cpu", 0, NULL,
		"do not measure whether holders of the GIL run, sleep or lack a CPU: avoids a hook in every context "
		"switch of the machine", set_no_off_cpu},
	[OPTION_STACKS] = {"stacks", 0, "TIME",
		"record the Python stack of holds and waits of at least this length (default 5ms; 0: of every hold that "
		"made somebody wait; off: none)", set_stacks},
	[OPTION_ALERT_HOLD] = {"alert-hold", 0, "TIME",
		"report at once when a thread holds the GIL for longer than this: who, in which function, and who waits; "
		"and again when the hold ends", set_alert_hold},
	[OPTION_ALERT_WAIT] = {"alert-wait", 0, "TIME",
		"the same for a thread that waits for longer than this", set_alert_wait},
	[OPTION_BUDGET] = {"budget", 0, "EXPR",
		"a promise: METRIC<VALUE, also of a thread or place (hold_max<50ms, wait_share<5%, "
		"hold_max{thread=web-*}<20ms); may be given several times. Exit status 3: one is broken; 4: one cannot be told",
		set_budget},
	[OPTION_BUDGET_FILE] = {"budget-file", 0, "FILE", "read budgets from FILE, one in each line", set_budget_file},
	[OPTION_BUDGET_JUNIT] = {"budget-junit", 0, "FILE", "write what became of the budgets to FILE, as JUnit XML",
		set_budget_junit},
	[OPTION_BUDGET_MARKDOWN] = {"budget-markdown", 0, "FILE",
		"write it to FILE as Markdown, for a build's summary page", set_budget_markdown},
	[OPTION_CHILDREN] = {"children", 0, NULL,
		"also observe child processes, existing and future ones, and their children: each by itself, and their "
		"sum", set_children},
	[OPTION_ALL] = {"all", 0, NULL,
		"observe every Python process of this host, including future ones, filtered by --user, --cgroup and "
		"--match", set_all},
	[OPTION_CGROUP] = {"cgroup", 0, "PATH", "with --all: only processes in this cgroup and below", set_cgroup},
	[OPTION_MATCH] = {"match", 0, "REGEX",
		"with --all: only processes whose program and script, as shown by ls, match this extended regular "
		"expression", set_match},
	[OPTION_LABEL] = {"label", 'l', "TEXT", "name to show and store instead of the program's", set_label},
	[OPTION_HOST] = {"host", 0, "NAME", "host name to store instead of this machine's", set_host},
	[OPTION_USER] = {"user", 'u', "NAME", "only processes of this user (with --all)", set_user},
	[OPTION_REDIS] = {"redis", 'r', "URL",
		"Redis server: redis://[user[:pass]@]host[:port][/db], rediss:// (TLS), valkey://, valkeys://, "
		"redis+sentinel://host[:port],.../NAME, redis+cluster://host[:port],... or unix:///path[?db=N] "
		"(default: $GILSCOPE_REDIS, else the embedded store)", set_redis},
	[OPTION_PASSWORD_FILE] = {"redis-password-file", 0, "FILE",
		"read the Redis password from the first line of FILE (default: $GILSCOPE_REDIS_PASSWORD or "
		"$REDISCLI_AUTH)", set_password_file},
	[OPTION_SENTINEL_PASSWORD_FILE] = {"sentinel-password-file", 0, "FILE",
		"read the password of the sentinels from the first line of FILE (default: "
		"$GILSCOPE_SENTINEL_PASSWORD)", set_sentinel_password_file},
	[OPTION_RETENTION] = {"retention", 0, "A,B,C",
		"keep the process's samples of 1 s, 10 s and 60 s for A, B and C (default 1h,24h,7d)", set_retention},
	[OPTION_THREAD_RETENTION] = {"thread-retention", 0, "A,B,C",
		"the same for samples of threads, wide rows and blame (default 1h,6h,24h)", set_thread_retention},
	[OPTION_HISTORY_MB] = {"history-mb", 0, "N",
		"limit the history of one process to about N MB of Redis by keeping thread data for a shorter time "
		"(default 120; 0: no limit)", set_history_mb},
	[OPTION_PREFIX] = {"prefix", 0, "TEXT", "prefix of all Redis keys (default gil:)", set_prefix},
	[OPTION_NO_STORE] = {"no-store", 0, NULL, "keep no history", set_no_store},
	[OPTION_METRICS] = {"metrics", 0, "[ADDR:]PORT",
		"serve the numbers to Prometheus at http://ADDR:PORT/metrics (default ADDR: 127.0.0.1; PORT 0: a free one)",
		set_metrics},
	[OPTION_METRICS_SERIES] = {"metrics-series", 0, "N",
		"serve at most N series; further threads and processes are added up (default 20000)", set_metrics_series},
	[OPTION_METRIC] = {"metric", 'M', "NAMES", "columns to show, separated by commas", set_metric},
	[OPTION_THREAD] = {"thread", 't', "THREAD", "the series of one thread: its tid or part of its name", set_thread},
	[OPTION_THREADS] = {"threads", 'T', NULL, "totals of each thread instead of a series", set_threads},
	[OPTION_GIL] = {"gil", 'g', "ID",
		"if there are several GILs, the series of the one whose interpreter has this id (0: main)", set_gil},
	[OPTION_TREE] = {"tree", 0, NULL, "totals of each process observed together with this one, and their sum", set_tree},
	[OPTION_BEFORE] = {"before", 0, "A..B", "the time before: 10:00..10:15 (of the day), 30m..15m (ago), or as for --since",
		set_before},
	[OPTION_AFTER] = {"after", 0, "C..D", "the time after", set_after},
	[OPTION_AROUND] = {"around", 0, "MARK[=TIME]",
		"before and after the newest mark that has this text, for TIME each (default 5m)", set_around},
	[OPTION_AT_LEAST] = {"at-least", 0, "SHARE", "name no smaller change (default 2%)", set_at_least},
	[OPTION_MARKDOWN] = {"markdown", 0, NULL, "write Markdown, at most 60 lines, for a pull request", set_markdown},
	[OPTION_PROCESS] = {"process", 'p', "PROCESS",
		"only of this process: a PID, an id, or part of a program's name (default: of all)", set_process},
	[OPTION_TIME] = {"time", 0, "TIME", "when it was: 5m (ago), 2026-11-23T10:00:00[Z], @SECONDS (default: now)", set_time},
	[OPTION_COUNTER] = {"count", 'c', "NAME=N",
		"how far a counter of the program's work had come by then (requests=120000)", set_count},
	[OPTION_SINCE] = {"since", 's', "TIME",
		"start of the range: 5m (ago), 10:05, 2026-11-23T10:00:00[Z], @SECONDS (default 5m); if the process has ended, "
		"5m counts back from its end", set_since},
	[OPTION_UNTIL] = {"until", 0, "TIME", "end of the range (default: now)", set_until},
	[OPTION_STEP] = {"step", 0, "STEP", "1s, 10s or 60s (default: what fits the range and is still kept)", set_step},
	[OPTION_FORMAT] = {"format", 'f', "FORMAT", "table (default), json or csv", set_format},
	[OPTION_JSON] = {"json", 'j', NULL, "write JSON instead of a table", set_json},
	[OPTION_OUTPUT] = {"output", 'o', "FILE", "write the results to FILE instead of standard output", set_output},
	[OPTION_HTML] = {"html", 0, "FILE",
		"also write the report as a page to FILE: one file that loads nothing and runs no script", set_html},
	[OPTION_WEIGHT] = {"weight", 'w', "WEIGHT",
		"blame: waiting that the code caused in others (default); hold: its time with the GIL; wait: its time "
		"waiting for it", set_weight},
	[OPTION_FOLDED] = {"folded", 0, NULL, "write folded stacks (thread;frame;frame microseconds) instead of a picture",
			   set_folded},
	[OPTION_NO_THREADS] = {"no-threads", 0, NULL,
		"add up the stacks of all threads: shows a pool as one", set_no_threads},
	[OPTION_MAX_EVENTS] = {"max-events", 0, "N",
		"end the trace after N events, at least 1000 (default 1000000, a file of about 110 MB)", set_max_events},
	[OPTION_YES] = {"yes", 'y', NULL, "do not ask for confirmation", set_yes},
	[OPTION_FOLLOW] = {"follow", 0, NULL, "continue with new events until Ctrl-C", set_follow},
	[OPTION_CONFIG] = {"config", 0, "FILE",
		"read options from FILE, one \"name = value\" a line, with the long names (default " OPTIONS_CONFIG ", if it is "
		"there)", set_config},
	[OPTION_CHECK_CONFIG] = {"check-config", 0, NULL, "check the configuration and exit", set_check_config},
	[OPTION_VERBOSE] = {"verbose", 'v', NULL, "explain decisions; twice: in more detail", set_verbose},
	[OPTION_HELP] = {"help", 'h', NULL, "show this help", set_help},
};

void options__init(struct options *o)
{
	const char *redis = getenv("GILSCOPE_REDIS");
	struct schema_opts schema;

	memset(o, 0, sizeof(*o));
	o->interval_ns = 1000 * NS_PER_MS;
	o->max_overhead = 0.02;
	o->at_least = 0.02;
	o->look_rate = LOOK_RATE_DEFAULT;
	o->max_events = 1000000;
	o->metrics_series = 20000;
	o->stacks_ns = 5 * NS_PER_MS;
	o->redis = redis && *redis ? redis : NULL;
	schema_opts__default(&schema);
	o->retention = schema.retention;
}

const char *options__name(enum option_id id)
{
	return entries[id].name;
}

/* The verb's options and the two that all have, in order; returns how many. */
static size_t list_options(const struct verb *verb, enum option_id ids[VERB_OPTIONS_MAX + 2])
{
	size_t n = 0;

	while (n < VERB_OPTIONS_MAX && verb->options[n] != OPTION_END) {
		ids[n] = verb->options[n];
		n++;
	}
	ids[n++] = OPTION_VERBOSE;
	ids[n++] = OPTION_HELP;
	return n;
}

/* getopt's two descriptions of the same list. "+": stop at the first argument; ":": tell a missing value apart. */
static void describe(const enum option_id *ids, size_t n, bool stop_at_first, struct option *longs, char *letters)
{
	if (stop_at_first)
		*letters++ = '+';
	*letters++ = ':';
	for (size_t i = 0; i < n; i++) {
		const struct option_entry *e = &entries[ids[i]];

		longs[i] = (struct option){e->name, e->arg ? required_argument : no_argument, NULL, LONG_BASE + ids[i]};
		if (!e->letter)
			continue;
		*letters++ = e->letter;
		if (e->arg)
			*letters++ = ':';
	}
	longs[n] = (struct option){0};
	*letters = '\0';
}

static const struct option_entry *entry_of(const enum option_id *ids, size_t n, int code)
{
	for (size_t i = 0; i < n && code; i++)
		if (code == LONG_BASE + (int)ids[i] || (code < LONG_BASE && code == entries[ids[i]].letter))
			return &entries[ids[i]];
	return NULL;
}

static int unknown_option(const struct verb *verb, const char *typed, const enum option_id *ids, size_t n,
			  struct reason *why)
{
	const char *names[VERB_OPTIONS_MAX + 2], *near = NULL;
	char word[64];

	for (size_t i = 0; i < n; i++)
		names[i] = entries[ids[i]].name;
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(typed, "="), typed);
	if (strncmp(word, "--", 2) == 0)
		near = suggest__word(word + 2, names, n);
	if (near)
		return reason__set(why, -EINVAL, "there is no option %s, did you mean --%s?", word, near);
	return reason__set(why, -EINVAL, "there is no option %s (gilscope %s --help names them)", word, verb->name);
}

/* getopt's '?' in a sentence. It stands for: no such option, two that begin like this, or a value for a switch. */
static int refuse_option(const struct verb *verb, const char *word, const enum option_id *ids, size_t n, struct reason *why)
{
	const struct option_entry *e = entry_of(ids, n, optopt);
	char letter[3] = {'-', (char)optopt, '\0'};

	if (e)
		return reason__set(why, -EINVAL, "--%s takes no value", e->name);
	return unknown_option(verb, strncmp(word, "--", 2) == 0 || optopt >= LONG_BASE || optopt == 0 ? word : letter,
			      ids, n, why);
}

static int check_count(const struct verb *verb, int count, const char *extra, struct reason *why)
{
	if (count < verb->min_args)
		return reason__set(why, -EINVAL, "%s", verb->missing);
	if (verb->max_args >= 0 && count > verb->max_args)
		return reason__set(why, -EINVAL, "'%s' is too many (usage: gilscope %s%s%s)", extra, verb->name,
				   *verb->args ? " " : "", verb->args);
	return 0;
}

/* The words of the command line, into `o`. */
static int parse_words(const struct verb *verb, int argc, char **argv, struct options *o, struct reason *why)
{
	enum option_id ids[VERB_OPTIONS_MAX + 2];
	struct option longs[VERB_OPTIONS_MAX + 3];
	char letters[2 * (VERB_OPTIONS_MAX + 2) + 3];
	size_t n = list_options(verb, ids);
	int code, err;

	describe(ids, n, verb->stop_at_first, longs, letters);
	opterr = 0;
	optind = 0; /* glibc: begin anew */
	for (;;) {
		int at = optind > 0 ? optind : 1;
		const struct option_entry *e;

		code = getopt_long(argc, argv, letters, longs, NULL);
		if (code == -1)
			return 0;
		if (code == ':') {
			e = entry_of(ids, n, optopt);
			return reason__set(why, -EINVAL, "--%s needs a value (%s)", e ? e->name : "?", e ? e->arg : "?");
		}
		e = code == '?' ? NULL : entry_of(ids, n, code);
		if (!e)
			return refuse_option(verb, argv[optind > at ? optind - 1 : at], ids, n, why);
		err = e->set(o, optarg, why);
		if (err || o->help)
			return err;
	}
}

/* ---- the file ---- */

#define CONFIG_MAX 65536

static bool takes(const struct verb *verb, enum option_id id)
{
	for (size_t i = 0; i < VERB_OPTIONS_MAX && verb->options[i] != OPTION_END; i++)
		if (verb->options[i] == id)
			return true;
	return false;
}

static bool is_for_files(enum option_id id)
{
	return id != OPTION_CONFIG && id != OPTION_CHECK_CONFIG && id != OPTION_HELP;
}

/* The option of that name that a file may set; OPTION_END with the sentence. */
static enum option_id option_of_file(const struct verb *verb, const char *name, struct reason *why)
{
	const char *names[VERB_OPTIONS_MAX + 2], *near;
	enum option_id ids[VERB_OPTIONS_MAX + 2];
	size_t n = list_options(verb, ids), known = 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_for_files(ids[i]))
			continue;
		if (strcmp(entries[ids[i]].name, name) == 0)
			return ids[i];
		names[known++] = entries[ids[i]].name;
	}
	near = suggest__word(name, names, known);
	reason__set(why, -EINVAL, "there is no option '%s'%s%s%s", name, near ? ", did you mean '" : "", near ? near : "",
		    near ? "'?" : "");
	return OPTION_END;
}

/* A switch is yes or no. */
static int set_switch(const struct option_entry *e, struct options *o, const char *value, struct reason *why)
{
	if (strcmp(value, "yes") == 0)
		return e->set(o, NULL, why);
	return strcmp(value, "no") == 0 ? 0 : reason__set(why, -EINVAL, "%s: '%s' is neither yes nor no", e->name, value);
}

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && strchr(" \t\r", end[-1]))
		*--end = '\0';
	return text + strspn(text, " \t");
}

/* One line; `lines`: where each option was set before, 0: not yet. */
static int take_line(const struct verb *verb, char *line, unsigned int number, unsigned int lines[OPTION_COUNT],
		     struct options *o, struct reason *why)
{
	char *value, *name = trim(line);
	enum option_id id;

	if (!*name || *name == '#')
		return 0;
	value = strchr(name, '=');
	if (!value)
		return reason__set(why, -EINVAL, "'%s' is no \"name = value\"", name);
	*value++ = '\0';
	name = trim(name);
	value = trim(value);
	id = option_of_file(verb, name, why);
	if (id == OPTION_END)
		return -EINVAL;
	if (lines[id])
		return reason__set(why, -EINVAL, "%s is set a second time (first on line %u)", name, lines[id]);
	lines[id] = number;
	return entries[id].arg ? entries[id].set(o, value, why) : set_switch(&entries[id], o, value, why);
}

static int read_file(const char *path, char **ret, struct reason *why)
{
	FILE *from = fopen(path, "re");
	char *text = from ? calloc(1, CONFIG_MAX + 1) : NULL;
	size_t len = text ? fread(text, 1, CONFIG_MAX + 1, from) : 0;
	int err = 0;

	if (!from)
		return reason__set(why, -errno, "%s: %s", path, strerror(errno));
	if (!text)
		err = reason__set(why, -ENOMEM, "not enough memory");
	else if (ferror(from))
		err = reason__set(why, -EINVAL, "%s can't be read", path);
	else if (len > CONFIG_MAX || memchr(text, 0, len))
		err = reason__set(why, -EINVAL, "%s is no text of at most %d bytes", path, CONFIG_MAX);
	fclose(from);
	if (err)
		free(text);
	else
		*ret = text;
	return err;
}

/* All of it, into `o`, whose texts are parts of o->file then. */
static int take_file(const struct verb *verb, const char *path, struct options *o, struct reason *why)
{
	unsigned int lines[OPTION_COUNT] = {0}, number = 0;
	struct reason part = {{0}};
	char *rest, *line;
	int err = read_file(path, &o->file, why);

	if (err)
		return err;
	for (rest = o->file; !err && (line = strsep(&rest, "\n"));)
		err = take_line(verb, line, ++number, lines, o, &part);
	o->redis_in_argv = false;
	return err ? reason__set(why, -EINVAL, "%s:%u: %s", path, number, part.text) : 0;
}

/* `o` has what the command line says: anew, with the file below it and the environment between. */
static int put_below(const struct verb *verb, int argc, char **argv, enum log_level level, struct options *o, struct reason *why)
{
	const char *path = o->config ?: access(OPTIONS_CONFIG, F_OK) == 0 ? OPTIONS_CONFIG : NULL, *environment;
	int err;

	if (!path)
		return 0;
	options__init(o);
	environment = o->redis;
	log__set_level(level);
	err = take_file(verb, path, o, why);
	o->redis = environment ?: o->redis;
	err = err ? err : parse_words(verb, argc, argv, o, why);
	o->config = path;
	return err;
}

void options__drop(struct options *o)
{
	free(o->file);
	o->file = NULL;
}

int options__parse(const struct verb *verb, int argc, char **argv, struct options *o, int *ret_first, struct reason *why)
{
	enum log_level level = log__level();
	int count, err = parse_words(verb, argc, argv, o, why);

	if (!err && !o->help && takes(verb, OPTION_CONFIG))
		err = put_below(verb, argc, argv, level, o, why);
	if (err || o->help)
		return err;
	o->argc = argc;
	o->argv = argv;
	o->level = level;
	*ret_first = optind;
	count = argc - optind;
	err = verb->check ? verb->check(o, count, why) : 0;
	return err ? err : check_count(verb, count, verb->max_args >= 0 && count > verb->max_args ?
			   argv[optind + verb->max_args] : "", why);
}

/* ---- help ---- */

void options__wrap(FILE *to, const char *text, size_t column, size_t indent)
{
	bool fresh = true; /* nothing stands on this line yet, behind the indent */

	while (*text) {
		size_t len = strcspn(text, " \n");

		if (!fresh && column + 1 + len > WIDTH) {
			fprintf(to, "\n%*s", (int)indent, "");
			column = indent;
			fresh = true;
		}
		column += (size_t)fprintf(to, "%s%.*s", fresh ? "" : " ", (int)len, text);
		fresh = false;
		text += len;
		if (*text == '\n') {
			fprintf(to, "\n%*s", (int)(text[1] == '\n' || !text[1] ? 0 : indent), "");
			column = indent;
			fresh = true;
		}
		text += *text != '\0';
	}
	fputc('\n', to);
}

static const char *help_of(const struct verb *verb, enum option_id id)
{
	for (int i = 0; i < VERB_OWN_HELP_MAX && verb->own_help[i].help; i++)
		if (verb->own_help[i].id == id)
			return verb->own_help[i].help;
	return entries[id].help;
}

static void help_option(const struct option_entry *e, const char *help, FILE *to)
{
	char head[64];
	int len;

	if (e->letter)
		len = snprintf(head, sizeof(head), "  -%c, --%s%s%s", e->letter, e->name, e->arg ? " " : "",
			       e->arg ? e->arg : "");
	else
		len = snprintf(head, sizeof(head), "      --%s%s%s", e->name, e->arg ? " " : "", e->arg ? e->arg : "");
	if (len + 2 > HELP_COLUMN)
		fprintf(to, "%s\n%*s", head, HELP_COLUMN, "");
	else
		fprintf(to, "%-*s", HELP_COLUMN, head);
	options__wrap(to, help, HELP_COLUMN, HELP_COLUMN);
}

void options__help(const struct verb *verb, FILE *to)
{
	enum option_id ids[VERB_OPTIONS_MAX + 2];
	size_t n = list_options(verb, ids);

	fprintf(to, "usage: gilscope %s [options]%s%s\n\n", verb->name, *verb->args ? " " : "", verb->args);
	options__wrap(to, verb->about, 0, 0);
	fputs("\noptions:\n", to);
	for (size_t i = 0; i < n; i++)
		help_option(&entries[ids[i]], help_of(verb, ids[i]), to);
	if (verb->more)
		verb->more(to);
}

int options__fail(const struct verb *verb, int status, const struct reason *why)
{
	log_error("%s: %s", verb->name, why->text);
	return status;
}
