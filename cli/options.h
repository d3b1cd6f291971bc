/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Options of all verbs: an option means the same everywhere, so there is one table of them, and a verb lists which of
 * them it takes. Parser, --help and the test of the manual page all read that table.
 */
#ifndef GILSCOPE_OPTIONS_H
#define GILSCOPE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "collector/base/log.h"
#include "collector/base/reason.h"
#include "collector/collector.h"
#include "collector/metrics/metrics_server.h"
#include "collector/schema/schema.h"

#define BUDGETS_MAX 64

#define EXIT_OK 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define EXIT_BUDGET_BROKEN 3
#define EXIT_BUDGET_UNTOLD 4 /* whether it is kept can't be told: never a pass */
/* What env, nice and timeout use too: `run` passes on its command's status, so its own must lie apart. */
#define EXIT_RUN_FAILED 125
#define EXIT_RUN_CANNOT_EXEC 126
#define EXIT_RUN_NOT_FOUND 127

enum output_format {
	FORMAT_TABLE,
	FORMAT_JSON,
	FORMAT_CSV,
};

enum flame_weight {
	WEIGHT_BLAME, /* others' waiting that a stack caused */
	WEIGHT_HOLD,
	WEIGHT_WAIT,
};

/* What was asked for; strings are argv's or the environment's. */
struct options {
	bool help;
	int argc;                  /* the words that this is from, */
	char **argv;
	enum log_level level;      /* and the level before their -v */
	char *file;                /* the text of the configuration, which strings below are parts of; NULL: none */
	uint64_t interval_ns, duration_ns;
	enum mode_wish mode;
	uint64_t look_rate;
	double max_overhead;
	uint64_t stacks_ns, alert_hold_ns, alert_wait_ns; /* the latter two 0: not */
	bool no_stacks;
	bool metrics_on;           /* serve metrics at `metrics_at` */
	struct metrics_address metrics_at;
	uint64_t metrics_series;   /* at most */
	bool children, all, no_store, no_off_cpu;
	const char *cgroup, *match; /* attach --all: only these */
	const char *label, *host, *user;
	const char *redis;         /* --redis, else GILSCOPE_REDIS, else NULL: the embedded store */
	bool redis_in_argv;
	const char *password_file, *sentinel_password_file;
	const char *prefix;        /* NULL: the default */
	struct schema_retention retention;
	enum output_format format;
	const char *budgets[BUDGETS_MAX]; /* each parsed once */
	size_t budgets_n;
	const char *budget_file, *budget_junit, *budget_markdown;
	const char *output;        /* file for data, NULL: the usual stream */
	const char *thread, *gil, *since, *until;
	const char *before, *after, *around; /* of a comparison */
	double at_least;           /* a smaller change is none */
	bool markdown;
	const char *process, *time, *count; /* of a mark */
	enum flame_weight weight;
	bool folded;
	bool no_threads;           /* stacks of all threads are added up */
	const char *html;          /* file for a page, NULL: none */
	uint64_t max_events;       /* of a trace */
	uint32_t step_s;           /* 0: by span and age */
	const char *config;        /* file of the daemon's options; NULL: the usual one, if it is there */
	bool check_config;
	uint64_t metrics;          /* bit per enum schema_field; 0: the usual ones */
	bool threads, tree, yes, follow;
};

enum option_id {
	OPTION_END,
	OPTION_INTERVAL,
	OPTION_DURATION,
	OPTION_MODE,
	OPTION_LOOK_RATE,
	OPTION_APP,
	OPTION_MAX_OVERHEAD,
	OPTION_NO_OFF_CPU,
	OPTION_STACKS,
	OPTION_ALERT_HOLD,
	OPTION_ALERT_WAIT,
	OPTION_BUDGET,
	OPTION_BUDGET_FILE,
	OPTION_BUDGET_JUNIT,
	OPTION_BUDGET_MARKDOWN,
	OPTION_CHILDREN,
	OPTION_ALL,
	OPTION_CGROUP,
	OPTION_MATCH,
	OPTION_LABEL,
	OPTION_HOST,
	OPTION_USER,
	OPTION_REDIS,
	OPTION_PASSWORD_FILE,
	OPTION_SENTINEL_PASSWORD_FILE,
	OPTION_PREFIX,
	OPTION_RETENTION,
	OPTION_THREAD_RETENTION,
	OPTION_HISTORY_MB,
	OPTION_NO_STORE,
	OPTION_METRICS,
	OPTION_METRICS_SERIES,
	OPTION_METRIC,
	OPTION_THREAD,
	OPTION_THREADS,
	OPTION_GIL,
	OPTION_TREE,
	OPTION_BEFORE,
	OPTION_AFTER,
	OPTION_AROUND,
	OPTION_AT_LEAST,
	OPTION_MARKDOWN,
	OPTION_PROCESS,
	OPTION_TIME,
	OPTION_COUNTER,
	OPTION_SINCE,
	OPTION_UNTIL,
	OPTION_STEP,
	OPTION_FORMAT,
	OPTION_JSON,
	OPTION_OUTPUT,
	OPTION_HTML,
	OPTION_WEIGHT,
	OPTION_FOLDED,
	OPTION_NO_THREADS,
	OPTION_MAX_EVENTS,
	OPTION_YES,
	OPTION_FOLLOW,
	OPTION_CONFIG,
	OPTION_CHECK_CONFIG,
	OPTION_VERBOSE,
	OPTION_HELP,
	OPTION_COUNT,
};

#define VERB_OWN_HELP_MAX 3
#define VERB_OPTIONS_MAX 36

struct verb {
	const char *name;
	const char *args;         /* "PID..." */
	const char *summary;      /* one line, for gilscope --help */
	const char *about;        /* for VERB --help: a paragraph or two */
	void (*more)(FILE *to);   /* and what comes after its options; NULL: nothing */
	enum option_id options[VERB_OPTIONS_MAX]; /* OPTION_END ends it; --verbose and --help come by themselves */
	struct {
		enum option_id id;
		const char *help;
	} own_help[VERB_OWN_HELP_MAX]; /* what the help of an option says for this verb alone; a NULL ends it */
	bool stop_at_first;       /* what follows the first word belongs to somebody else */
	int min_args, max_args;   /* max_args < 0: any number */
	const char *missing;      /* what to say when there are too few */
	/* What options and the number of arguments must have to do with each other; NULL: nothing. 0 or -EINVAL. */
	int (*check)(const struct options *o, int args, struct reason *why);
	bool reads_processes;     /* their memory and files: by errands (errand.h) */
	int usage_status;         /* exit status of a usage error, 0: EXIT_USAGE */
	int (*run)(const struct verb *verb, struct options *o, int argc, char **argv);
};

/* Defaults, the environment included. */
void options__init(struct options *o);

#define OPTIONS_CONFIG "/etc/gilscope/gilscope.conf"

/*
 * Reads argv (argv[0] is the verb) into `o`. 0, *ret_first is the index of the first argument; or -EINVAL with the
 * sentence. With --help nothing else is checked. Of a verb with --config the file is read, too: the command line goes before
 * the environment, and that before the file. Texts of the file live until options__drop().
 */
int options__parse(const struct verb *verb, int argc, char **argv, struct options *o, int *ret_first, struct reason *why);

/* Frees what belongs to `o` itself. */
void options__drop(struct options *o);

/* What VERB --help says, at most 80 columns wide. */
void options__help(const struct verb *verb, FILE *to);

/* Long name of an option, for tests. */
const char *options__name(enum option_id id);

/* Says "verb: sentence" and returns `status`. */
int options__fail(const struct verb *verb, int status, const struct reason *why);

/* Writes `text` in lines of at most 80 columns, each but the first indented by `indent`; the cursor stands at `column`. */
void options__wrap(FILE *to, const char *text, size_t column, size_t indent);

#endif
