/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every Redis key and field name of schema version 1, encoding and decoding. Pure.
 *
 * The contract is README.md beside it; this is the only file that spells it. Writing: a
 * schema_writer per process turns samples into batches and knows which keys need a TTL or a trim.
 * Reading: members are decoded with every field optional; unknown fields are ignored.
 */
#ifndef GILSCOPE_SCHEMA_H
#define GILSCOPE_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

#include "collector/base/reason.h"
#include "collector/series/aggr.h"
#include "collector/series/hist.h"
#include "collector/series/sample.h"
#include "batch.h"
#include "schema_events.h"

#define SCHEMA_VERSION 1
#define SCHEMA_PREFIX "gil:"
#define SCHEMA_ID_SIZE 96          /* host (64) : pid : tag, terminated */

struct schema_retention {
	uint32_t proc_s[TIER_COUNT];   /* default 3600, 86400, 604800 */
	uint32_t thread_s[TIER_COUNT]; /* default 3600, 21600, 86400; wide rows and blame too */
	uint64_t max_bytes;            /* of a process's history, default 120 MB; beyond, threads go earlier (keep.h). 0: any */
};

struct schema_opts {
	const char *prefix;            /* NULL: SCHEMA_PREFIX */
	struct schema_retention retention;
	uint32_t max_thread_series;    /* 256 */
	uint32_t max_wide;             /* 32 */
	uint32_t max_blame;            /* 64 */
	uint32_t max_board;            /* 256 */
};

void schema_opts__default(struct schema_opts *opts);

/* Who the process is: the inputs of its <id> and what meta says. Strings are copied by schema_writer__new(). */
struct proc_ident {
	char host[65];                 /* [A-Za-z0-9_.-]{1,64} */
	uint32_t pid;
	char boot_id[40];
	uint64_t pidns_ino, start_ticks, start_stack;
	const char *exe, *label, *python; /* cleaned */
	const char *image;             /* file that carries the probes */
	const char *method;            /* how the sites were found */
	const char *notes;             /* what that way cannot see, and what it costs; "" or NULL: nothing */
	const char *runtime;           /* which of several Pythons in the process it is; "" or NULL: there is one */
	const char *container, *cgroup; /* see target.h; "" or NULL: none */
	uint32_t pid_inside;           /* in the PID namespace of its own; 0: none */
	uint32_t sites;
	uint32_t cpus;                 /* that the process may run on, 0: not known */
	uint32_t interval_ms;
	int64_t started_ms;
	double price_ns;               /* calibrated cost of a probe hit */
	const char *parent, *root;     /* ids: of the observed process that forked it, of its family's first; "" or NULL: none */
};

#define SCHEMA_RUNTIME_SIZE 512 /* of proc_ident.runtime, with its end */

/* Builds <id> = host:pid:tag into `id`. */
void schema__id(const struct proc_ident *who, char id[SCHEMA_ID_SIZE]);

/* Replaces what may not stand in the host part by '-'; empty becomes "localhost". */
void schema__clean_host(char dst[65], const char *src);

struct schema_writer;
struct long_event;

struct schema_writer *schema_writer__new(const struct schema_opts *opts, const struct proc_ident *who);
void schema_writer__free(struct schema_writer *w);
/* The id in its keys, for tests. */
const char *schema_writer__id(const struct schema_writer *w);

/*
 * Appends to `b` what one sample writes. For TIER_BASE: p, g:<n>, t:<thr>, hold/wait wide rows, blame, last, procs, menu,
 * threads, now:*, top:* (from `totals`, which may be NULL and is used here only) and meta's changing fields; for the others
 * p, g, t, wide, blame, all. TTLs with a key's first write and again about once a minute, together with the trim. 0 or -ENOMEM.
 */
int schema_writer__sample(struct schema_writer *w, enum tier tier, const struct proc_sample *s,
			  const struct proc_sample *totals, struct batch *b);

/*
 * Everything the server must know to make sense of the rest: gil:schema, meta, index entries, TTLs. Sent at the start
 * and again after each reconnect (the server may have come back empty). `lost_*` and `last_ms` as of the last sample.
 * The next samples then set every TTL again and rewrite the boards, so call it when there is a reason to.
 */
int schema_writer__announce(struct schema_writer *w, struct batch *b);

/*
 * What the sink lost since it was opened, for meta (lost_sink_*): from sink_stats. Of all processes that share it.
 */
struct sink_losses {
	uint64_t points, batches, refused;
	uint64_t keys;      /* of the history, thrown away by the server or somebody */
	bool keys_known;    /* the server can tell of those */
	uint64_t failover;  /* points that a new master may lack */
	uint64_t renumbered; /* events that got another id: no loss */
};

void schema_writer__set_sink_losses(struct schema_writer *w, const struct sink_losses *lost);

/* In how many places of the process breakpoints stay when it is let go, for meta (kept_sites, written where there are any). */
void schema_writer__set_kept_sites(struct schema_writer *w, uint32_t n);

/* Which of several Pythons is observed, for meta. 0 or -ENOMEM. */
int schema_writer__set_runtime(struct schema_writer *w, const char *text);

/*
 * A long hold or wait, at `t_ms` of the wall clock, into `long` and, as an event (schema_events.h, `host` too), into the streams.
 * 0 or -ENOMEM.
 */
int schema_writer__long(struct schema_writer *w, const struct long_event *e, int64_t t_ms, struct event_ids *host,
			struct batch *b);

/* Whether rows of threads are now kept shorter than asked for, the first time: true once. How long, in seconds, by tier. */
bool schema_writer__kept_shorter(struct schema_writer *w, uint32_t ret_s[TIER_COUNT]);

/* Marks the end in meta (ended_ms, exit reason). */
int schema_writer__end(struct schema_writer *w, int64_t ended_ms, const char *how, struct batch *b);

/* ---- reading ---- */

/* Keys, for readers. `what` as in "p:1s", "meta", "now:hold". Returns buf. */
const char *schema__proc_key(char *buf, size_t size, const char *prefix, const char *id, const char *what);
const char *schema__global_key(char *buf, size_t size, const char *prefix, const char *what);

/*
 * Numeric fields of process and thread samples: one table for writer, reader, merging, CLI table, help, JSON and README.md.
 * X(identifier, field name, unit, how two rows become one, explanation). Units: us, n (count), ratio, kib, ms.
 */
#define SCHEMA_FIELDS(X) \
	X(T, "t", "ms", OWN, "end of the interval, wall clock") \
	X(D, "d", "us", SUM, "length of the interval") \
	X(HOLD, "hold", "us", SUM, "time holding the GIL") \
	X(UTIL, "util", "ratio", OWN, "hold / observed time") \
	X(WAIT, "wait", "us", SUM, "time waiting for the GIL, hand-offs included") \
	X(HANDOVER, "handover", "us", SUM, "of wait: nobody held it") \
	X(UNKNOWN, "unknown", "us", RARE, "of wait: the holder is not known") \
	X(WAITERS, "waiters", "ratio", OWN, "wait / observed time (wait_cov where it is there): mean queue length") \
	X(N, "n", "n", SUM, "acquires") \
	X(C, "c", "n", SUM, "acquires that waited (contended)") \
	X(FORCED, "forced", "n", SUM, "releases that a waiter asked for") \
	X(INFERRED, "inferred", "n", RARE, "light mode: hand-offs whose end no waiter saw") \
	X(THREADS, "threads", "n", LATEST, "live threads") \
	X(HOLD_P50, "hold_p50", "us", OWN, "median hold") \
	X(HOLD_P99, "hold_p99", "us", OWN, "99th percentile of holds") \
	X(HOLD_MAX, "hold_max", "us", MAX, "longest hold") \
	X(WAIT_P50, "wait_p50", "us", OWN, "median wait") \
	X(WAIT_P99, "wait_p99", "us", OWN, "99th percentile of waits") \
	X(WAIT_MAX, "wait_max", "us", MAX, "longest wait") \
	X(CPU, "cpu", "us", SUM, "CPU time of the process") \
	X(RSS, "rss", "kib", LATEST, "resident memory of the process") \
	X(COST, "cost", "us", SUM, "gilscope's estimate of its own cost in the process") \
	X(LOST, "lost", "n", SUM, "losses and order violations, all kinds") \
	X(COV, "cov", "ratio", OWN, "observed share of the interval") \
	X(GILS, "gils", "n", MAX, "GILs in the process, if more than one") \
	X(G, "g", "n", OWN, "which GIL the thread is on, if not the main one (id of its interpreter)") \
	X(HOLD_BLOCKED, "hold_blocked", "us", OWN, "of hold: the holder slept, in a system call or a page fault") \
	X(HOLD_PREEMPTED, "hold_preempted", "us", OWN, "of hold: the holder was ready to run but had no CPU") \
	X(HOLD_UNSEEN, "hold_unseen", "us", OWN, "of hold: whether the holder ran is not known") \
	X(HOLD_STOPPED, "hold_stopped", "us", OWN, "of hold: a tracer, a signal or the freezer had stopped the holder") \
	X(WAIT_BLOCKED, "wait_blocked", "us", OWN, "of wait: the holder slept") \
	X(WAIT_PREEMPTED, "wait_preempted", "us", OWN, "of wait: the holder was ready to run but had no CPU") \
	X(WAIT_UNSEEN, "wait_unseen", "us", OWN, "of wait: whether the holder ran is not known") \
	X(WAIT_STOPPED, "wait_stopped", "us", OWN, "of wait: the holder was stopped") \
	X(INSIDE, "inside", "n", LATEST, "id of the thread in its own PID namespace, if it has one") \
	X(GC, "gc", "us", OWN, "of hold: the holder collected garbage") \
	X(GC_ERR, "gc_err", "us", OWN, "standard error of gc where it is sampled") \
	X(GC_WAIT, "gc_wait", "us", SUM, "of wait: the holder collected garbage") \
	X(GC_MAX, "gc_max", "us", MAX, "longest collection; a lower bound where it is sampled") \
	X(GC_N0, "gc_n0", "n", SUM, "collections of the youngest generation") \
	X(GC_N1, "gc_n1", "n", SUM, "collections of the middle generation") \
	X(GC_N2, "gc_n2", "n", SUM, "full collections") \
	X(STOPPED, "stopped", "us", SEEN, "no thread of it could run, stopped by a signal; a lower bound") \
	X(TRACED, "traced", "us", SEEN, "no thread of it could run, held by a tracer; a lower bound") \
	X(FROZEN, "frozen", "us", SEEN, "no thread of it could run, its control group was frozen; a lower bound") \
	X(HOLD_GONE, "hold_gone", "us", SEEN, "of hold: the holder no longer existed; a lower bound") \
	X(OVER, "over", "us", SEEN, "of hold, on a CPU: the holder went on after a waiter had asked for the GIL") \
	X(OVER_N, "over_n", "n", SEEN, "ended holds that a waiter had asked for") \
	X(OVER_LATE, "over_late", "n", SEEN, "of over_n: went on for 0.5 ms or more, which bytecode does not") \
	X(OVER_MAX, "over_max", "us", MAX, "longest time that a holder went on after it was asked") \
	X(SWITCH_MISSED, "switch_missed", "n", SEEN, "how often a holder lost or got a CPU without the kernel's telling") \
	X(HOLD_EST, "hold_est", "us", OWN, "instead of hold: an estimate (light mode, look mode)") \
	X(HOLD_ERR, "hold_err", "us", OWN, "standard error of hold_est") \
	X(UTIL_EST, "util_est", "ratio", OWN, "hold_est / observed time") \
	X(LOOKS, "looks", "n", SEEN, "looks at the GIL that the sample rests on (look mode): all its times are estimates") \
	X(WAIT_ERR, "wait_err", "us", OWN, "standard error of wait where it is an estimate") \
	X(SWITCHES, "switches", "n", SEEN, "changes of holder, exact (look mode)") \
	X(WAIT_COV, "wait_cov", "ratio", OWN, "share of the interval in which looks told who waited, if less than cov")

enum schema_field {
#define X(id, name, unit, merge, text) FIELD_##id,
	SCHEMA_FIELDS(X)
#undef X
	FIELD_COUNT,
};

/* How two rows of a series become one (schema_row__merge()). */
enum schema_merge {
	MERGE_SUM,    /* added; unknown where it is so in either */
	MERGE_RARE,   /* added; a row that knows its waits and lacks it has none */
	MERGE_SEEN,   /* added, as far as it was seen */
	MERGE_MAX,    /* the larger one */
	MERGE_LATEST, /* the later row's */
	MERGE_OWN,    /* by a rule of its own: shares, quantiles, parts, errors */
};

const char *schema_field__name(enum schema_field f);
const char *schema_field__unit(enum schema_field f);
const char *schema_field__text(enum schema_field f);
/* For tests: the function library has its own lists. */
enum schema_merge schema_field__merge(enum schema_field f);
int schema_field__by_name(const char *name); /* enum, or -ENOENT */

/* One decoded member of p:, g: or t:. */
struct schema_row {
	uint64_t has;                  /* bit per enum schema_field: absent is unknown, not zero */
	double value[FIELD_COUNT];
	bool has_hold_hist, has_wait_hist, has_over_hist;
	struct hist_coarse hold_hist, wait_hist;
	uint32_t over_hist[GIL_OVER_BUCKETS]; /* of struct gil_over: how late holders let go that were asked */
	struct whys whys;              /* of a process: its holders' time asleep and stopped, by reason */
};

/* Fills `row` straight from a sample, as the writer would encode it (CLI tables use it). `m` one of the sample's metrics. */
void schema_row__from(const struct proc_sample *s, const struct metrics *m, bool is_process,
		      struct schema_row *row);

/* JSON text of a row, as stored; with histograms if `hists`. malloc'd, caller frees; NULL: no memory. */
char *schema_row__encode(const struct schema_row *row, bool hists);

/* Decodes one member (hostile input, at most 1 MiB). 0, -EBADMSG (not a JSON object with a number "t"), -ENOMEM. */
int schema_row__decode(const char *json, size_t len, struct schema_row *row);

/* dst += src of the same series and t (partial intervals, restarts) or of a longer window. */
void schema_row__merge(struct schema_row *dst, const struct schema_row *src);

/* Sum of `n` > 0 rows of a series; the stamp is the last one's. */
void schema_row__sum(const struct schema_row *rows, size_t n, struct schema_row *ret);

#endif
