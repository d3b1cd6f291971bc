/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the history of a busy process takes in Redis, and how fast it gets there: made-up seconds of 32 threads go
 * through aggr, schema and sink exactly as those of the collector do, into a redis-server of the bench's own.
 *
 * Loaded is an hour of one process, by default: the base tier as long as it is kept. What is kept in the end is
 * scaled by the number of members, for as long as keep.c decides on a week of such rows, with the hash table of each key at
 * the size that it then has. Bytes are
 * MEMORY USAGE over all members of a key, allocation classes and what a key takes by itself included; INFO's
 * used_memory stands beside their sum.
 *
 * Then the dashboards: how long the server works on each of their queries, also over an hour of 16 threads and, out of the
 * coarser tiers, over a day of 32.
 *
 * usage: bench_redis [MINUTES]
 *        bench_redis dashboards [MINUTES]    a day by default, and what a reload of a dashboard weighs instead
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "collector/redis/redis_conn.h"
#include "collector/schema/keep.h"
#include "collector/schema/schema.h"
#include "collector/series/aggr.h"
#include "collector/series/hist.h"
#include "collector/series/long_event.h"
#include "collector/series/stack_text.h"
#include "collector/redis/sink_redis.h"
#include "collector/sink/sink.h"
#include "../support/private_redis.h"

#define THREADS 32
#define PROCESSES 4
#define LIMIT_MB 500
#define SECOND 1000000000ull
#define START_MS 1795339260000 /* on a minute's end */
#define CHUNK 60               /* intervals that are made, then sent */
#define CHUNKS_MAX 1440
#define FLUSH_MS 30000
#define PROBES 200
#define MB 1e6

static struct private_redis redis; /* the dying take it with them */

static void die(const char *what, const char *why)
{
	private_redis__fini(&redis);
	fprintf(stderr, "bench_redis: %s: %s\n", what, why);
	exit(1);
}

/* ---- made-up seconds ---- */

struct load {
	const char *name;
	uint32_t threads;
	unsigned int acquires;         /* per thread and second */
	double contended;              /* share of them */
	double hold_us[2], wait_us[2]; /* from, to: evenly spread over their logarithms */
	double handover;               /* share of the waiting */
	double forced;                 /* share of the releases */
	double off;                    /* share of holds and waits without a CPU; of that, some asleep */
};

/* The first as gilscope saw 32 threads that compute in pure Python: most waits are long, some end at once. */
static const struct load loads[] = {
	{"CPU-bound", THREADS, 5, 1, {4500, 8000}, {5000, 800000}, 0.01, 1, 0.06},
	{"I/O-heavy", THREADS, 200, 0.6, {2, 600}, {5, 20000}, 0.4, 0.02, 0.02},
};
static const struct load fewer = {"CPU-bound", THREADS / 2, 5, 1, {4500, 8000}, {5000, 400000}, 0.01, 1, 0.06};

static uint64_t state = 88172645463325252ull;

/* 0 .. 1; xorshift, so that each run has the same seconds. */
static double chance(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (double)(state >> 11) / 9007199254740992.0;
}

static uint64_t duration_ns(const double range_us[2])
{
	return (uint64_t)(1000 * range_us[0] * pow(range_us[1] / range_us[0], chance()));
}

static void one_acquire(const struct load *load, struct metrics *m)
{
	uint64_t hold = duration_ns(load->hold_us), wait;

	m->acquires++;
	m->hold_ns += hold;
	m->hold_max_ns = hold > m->hold_max_ns ? hold : m->hold_max_ns;
	m->forced += chance() < load->forced;
	hist__count(&m->hold, hold);
	if (chance() >= load->contended)
		return;
	wait = duration_ns(load->wait_us);
	m->contended++;
	m->wait_ns += wait;
	m->wait_max_ns = wait > m->wait_max_ns ? wait : m->wait_max_ns;
	hist__count(&m->wait, wait);
}

static void off_cpu(const struct load *load, uint64_t whole_ns, struct gil_off *ret)
{
	ret->ns[GIL_OFF_PREEMPTED] = (uint64_t)((double)whole_ns * load->off * (0.5 + chance()));
	ret->ns[GIL_OFF_BLOCKED] = ret->ns[GIL_OFF_PREEMPTED] / 100;
}

static void one_thread(const struct load *load, struct proc_sample *s, uint32_t i)
{
	struct thread_sample *t = proc_sample__add_thread(s);
	unsigned int n = (unsigned int)(load->acquires * (0.75 + chance() / 2) + 0.5);

	if (!t)
		die("sample", "no memory");
	t->key = (struct thread_key){.tid = 23810 + i, .start_ticks = 880000 + i};
	snprintf(t->name, sizeof(t->name), "worker-%u", i);
	t->m.known = KNOWN_ALL;
	while (n--)
		one_acquire(load, &t->m);
	t->m.handover_ns = (uint64_t)((double)t->m.wait_ns * load->handover * (0.5 + chance()));
	off_cpu(load, t->m.hold_ns, &t->m.hold_off);
	off_cpu(load, t->m.wait_ns, &t->m.wait_off);
	metrics__sum(&s->total, &t->m);
}

/* Everybody makes everybody else wait, some more than others. */
static void blame(struct proc_sample *s, uint32_t victim)
{
	uint64_t rest = s->threads[victim].m.wait_ns - s->threads[victim].m.handover_ns;
	uint32_t threads = (uint32_t)s->threads_n;

	for (uint32_t holder = 0; holder < threads; holder++) {
		struct blame_cell *c = holder == victim ? NULL : proc_sample__add_blame(s);
		bool last = holder == threads - 1 || (victim == threads - 1 && holder == threads - 2);

		if (!c)
			continue;
		*c = (struct blame_cell){victim, holder, last ? rest : (uint64_t)((double)rest * chance() / 12)};
		rest -= c->ns;
	}
}

/* Each thread in one of two lines of its own, as far as its holds are of those that are asked for their stack. */
static void code(struct proc_sample *s, uint32_t thread)
{
	const struct metrics *m = &s->threads[thread].m;
	struct code_cell cell = {.thread = thread, .times = 1, .hold_ns = m->hold_ns / 2, .blame_ns = m->wait_ns / 2};
	char function[32];

	if (m->hold_max_ns < 5000000)
		return;
	snprintf(function, sizeof(function), "Worker%u.compute", thread);
	code_cell__set_place(&cell, function, "/srv/service/lib/python3.11/site-packages/service/work.py",
			     100 + (uint32_t)(chance() * 2), 90);
	if (proc_sample__add_code(s, &cell, SIZE_MAX))
		die("sample", "no memory");
}

static struct proc_sample *make_second(const struct load *load, int64_t end_ms)
{
	struct proc_sample *s = proc_sample__new();

	if (!s)
		die("sample", "no memory");
	s->end_ms = end_ms;
	s->len_ns = s->observed_ns = SECOND;
	s->mode = GIL_MODE_FULL;
	s->live_threads = load->threads + 1;
	s->code_known = true;
	for (uint32_t i = 0; i < load->threads; i++)
		one_thread(load, s, i);
	for (uint32_t i = 0; i < load->threads; i++)
		blame(s, i);
	for (uint32_t i = 0; i < load->threads; i++)
		code(s, i);
	s->hits = 2 * s->total.acquires + s->total.contended;
	s->cost_ns = 1000 * s->hits;
	s->cpu_ns = (uint64_t)((0.9 + chance() / 10) * SECOND);
	s->rss_kib = 245760 + (uint64_t)(chance() * 4096);
	return s;
}

/* ---- the way of a sample, as in collector/observed.c ---- */

struct line {
	const struct load *load;
	struct sink *sink;
	struct aggr *aggr;
	struct schema_opts opts;
	struct schema_writer *writer;
	struct batch *batches[CHUNK], *batch; /* made, not sent; the one being made */
	struct event_ids host_events;
	int64_t now_ms;
	double cpu_s;                         /* in aggr and schema */
	unsigned int intervals;
	double rates[CHUNKS_MAX];             /* rows per second, of each chunk */
	unsigned int rates_n;
	long long used_before;
};

static double clock_s(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int emit_window(void *arg, enum tier tier, const struct proc_sample *window)
{
	struct line *line = arg;

	return schema_writer__sample(line->writer, tier, window, NULL, line->batch);
}

/* A hold of 300 ms, told while it goes on and at its end. */
static int put_long_hold(struct line *line, const struct proc_sample *s)
{
	struct stack_text stack = {
		.hash = 1,
		.leaf = {"Worker.compute", "/srv/service/lib/python3.11/site-packages/service/work.py", .line = 100},
		.line = (char *)"Thread._bootstrap (threading.py:1002);Thread._bootstrap_inner (threading.py:1045);"
				"Thread.run (threading.py:982);_worker (concurrent/futures/thread.py:83);"
				"_WorkItem.run (concurrent/futures/thread.py:58);Server.process (service/server.py:210);"
				"Router.dispatch (service/router.py:77);Worker.handle (service/work.py:61);"
				"Worker.compute (service/work.py:100)",
	};
	struct long_event e = {.thread = s->threads[0].key, .stack = &stack, .since_ns = SECOND};
	int err = 0;

	snprintf(e.name, sizeof(e.name), "%s", s->threads[0].name);
	for (int times = 1; times <= 2 && !err; times++) {
		e.ended = times == 2;
		e.at_ns = e.since_ns + (uint64_t)times * SECOND * 3 / 20;
		e.waited_ns = 31 * (e.at_ns - e.since_ns);
		err = schema_writer__long(line->writer, &e, s->end_ms - 300 + 150 * times, &line->host_events, line->batch);
	}
	return err;
}

static struct batch *make_batch(struct line *line, const struct proc_sample *s)
{
	double begin = clock_s(CLOCK_THREAD_CPUTIME_ID);
	int err;

	line->batch = batch__new();
	if (!line->batch)
		die("batch", "no memory");
	err = aggr__add(line->aggr, s, emit_window, line);
	err = err ?: schema_writer__sample(line->writer, TIER_BASE, s, aggr__totals(line->aggr), line->batch);
	if (line->intervals % CHUNK == 0)
		err = err ?: put_long_hold(line, s);
	if (err || batch__error(line->batch))
		die("sample", "no memory");
	line->cpu_s += clock_s(CLOCK_THREAD_CPUTIME_ID) - begin;
	line->intervals++;
	return line->batch;
}

static void send_chunk(struct line *line)
{
	struct sink_stats before, after;
	double begin;

	sink__stats(line->sink, &before);
	begin = clock_s(CLOCK_MONOTONIC);
	for (int i = 0; i < CHUNK; i++)
		if (sink__write(line->sink, line->batches[i]))
			die("sink", "dropped a batch");
	if (sink__flush(line->sink, FLUSH_MS))
		die("sink", "does not get its batches through");
	begin = clock_s(CLOCK_MONOTONIC) - begin;
	sink__stats(line->sink, &after);
	if (after.commands_refused)
		die("redis-server", "refused a command");
	line->rates[line->rates_n++] = (double)(after.points_written - before.points_written) / begin;
}

static void load_chunk(struct line *line)
{
	for (int i = 0; i < CHUNK; i++) {
		struct proc_sample *s = make_second(line->load, line->now_ms += 1000);

		line->batches[i] = make_batch(line, s);
		proc_sample__free(s);
	}
	send_chunk(line);
}

static void open_writer(struct line *line)
{
	struct aggr_opts aggr_opts = {.interval_ns = SECOND};
	struct proc_ident who = {
		.host = "web1", .pid = 23810, .boot_id = "5a2c0d1e-0000-4000-8000-000000000001",
		.start_ticks = 880000, .exe = "/usr/bin/python3.11", .label = "python3 service.py", .python = "3.11.2",
		.image = "/usr/bin/python3.11", .method = "call sites", .sites = 15,
		.interval_ms = 1000, .started_ms = START_MS, .price_ns = 1000,
	};

	schema_opts__default(&line->opts);
	line->aggr = aggr__new(&aggr_opts);
	line->writer = schema_writer__new(&line->opts, &who);
	if (!line->aggr || !line->writer)
		die("writer", "no memory");
}

static long long used_memory(struct line *line)
{
	const char *at = strstr(private_redis__ask(&redis, "INFO memory"), "used_memory:");

	return at ? strtoll(at + strlen("used_memory:"), NULL, 10) : 0;
}

static void set_up(struct line *line, const struct load *load)
{
	struct sink_redis_opts opts = {0};
	struct redis_url url;
	struct reason why;

	*line = (struct line){.load = load, .now_ms = START_MS};
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	line->used_before = used_memory(line);
	if (redis_url__parse(redis.url, &url, &why))
		die("sink", why.text);
	opts.url = &url;
	if (sink_redis__new(&opts, &line->sink, &why))
		die("sink", why.text);
	open_writer(line);
}

static void tear_down(struct line *line)
{
	sink__close(line->sink);
	schema_writer__free(line->writer);
	aggr__free(line->aggr);
	private_redis__fini(&redis);
}

/* ---- what it takes ---- */

enum kind {
	KIND_THREAD,
	KIND_PROCESS,
	KIND_HOLD,
	KIND_WAIT,
	KIND_BLAME,
	KIND_CODE,
	KINDS,
};

static const struct {
	const char *prefix, *title;
} kinds[KINDS] = {
	[KIND_THREAD] = {"t:", "thread sample"}, [KIND_PROCESS] = {"p:", "process sample"},
	[KIND_HOLD] = {"hold:", "wide row of holds"}, [KIND_WAIT] = {"wait:", "wide row of waits"},
	[KIND_BLAME] = {"blame:", "blame row"}, [KIND_CODE] = {"code:", "code row"},
};

struct usage {
	double bytes, members, keys;     /* as loaded */
	double text;                     /* of the bytes, what the members take: not the keys themselves */
	double kept_bytes, kept_members; /* at default retention */
};

struct usages {
	struct usage of[KINDS][TIER_COUNT];
	double empty;          /* bytes of a key without members */
	double other;          /* keys that do not grow with time */
};

/* Redis's tables of pointers have as many places as the next power of two. */
static double table_bytes(double members)
{
	double places = 4;

	while (places < members)
		places *= 2;
	return 8 * places;
}

/* What a sorted set takes before its first member: from how a made-up one grows. */
static double empty_bytes(void)
{
	double one, many;

	private_redis__ask(&redis, "ZADD probe 0 %0100d", 0);
	one = (double)private_redis__int(&redis, "MEMORY USAGE probe SAMPLES 0") - table_bytes(1);
	for (int i = 1; i <= PROBES; i++)
		private_redis__ask(&redis, "ZADD probe %d %0100d", i, i);
	many = (double)private_redis__int(&redis, "MEMORY USAGE probe SAMPLES 0") - table_bytes(PROBES + 1);
	private_redis__ask(&redis, "DEL probe");
	return one - (many - one) / PROBES;
}

static void add_key(enum kind kind, enum tier tier, const char *key, double bytes, struct usages *u)
{
	double members = (double)private_redis__int(&redis, "ZCARD %s", key);
	struct usage *usage = &u->of[kind][tier];

	usage->bytes += bytes;
	usage->members += members;
	usage->keys++;
	usage->text += bytes - u->empty - table_bytes(members);
}

static enum keep_kind keep_kind(enum kind kind)
{
	return kind == KIND_PROCESS ? KEEP_PROC : KEEP_THREADS;
}

static double step_s(enum tier tier)
{
	return (double)tier__step_ns(tier, SECOND) / 1e9;
}

/* A week of rows like those loaded, for the collector's own decision on how long it keeps them. */
static void fill(const struct usages *u, enum kind kind, enum tier tier, struct keep *keep)
{
	const struct usage *usage = &u->of[kind][tier];
	size_t len = usage->members > 0 ? (size_t)(usage->text / usage->members) : 0;
	size_t beside = KEEP_MEMBER_BYTES + KEEP_TEXT_BYTES;

	for (double s = 0; usage->keys > 0 && s < 7 * 86400; s += step_s(tier))
		for (int key = 0; key < (int)usage->keys; key++)
			keep__add(keep, keep_kind(kind), tier, START_MS + (int64_t)(1000 * s), len > beside ? len - beside : 0);
}

/* What is there in the end, rows being trimmed once a minute. */
static void project(const struct line *line, struct usages *u, struct keep *keep)
{
	const struct schema_retention *r = &line->opts.retention;

	keep__init(keep, r->proc_s, r->thread_s, r->max_bytes);
	for (int kind = 0; kind < KINDS; kind++)
		for (int tier = 0; tier < TIER_COUNT; tier++)
			fill(u, (enum kind)kind, (enum tier)tier, keep);
	keep__settle(keep);
	for (int kind = 0; kind < KINDS; kind++)
		for (int tier = 0; tier < TIER_COUNT; tier++) {
			double seconds = keep__seconds(keep, keep_kind((enum kind)kind), (enum tier)tier);
			double members = (seconds + 60) / step_s((enum tier)tier);
			struct usage *usage = &u->of[kind][tier];

			usage->kept_members = usage->keys * members;
			usage->kept_bytes = usage->keys * (u->empty + table_bytes(members)) +
					    usage->text / fmax(usage->members, 1) * usage->kept_members;
		}
}

/* `what` as in "t:4250:1s". False: not a series. */
static bool classify(const char *what, enum kind *ret_kind, enum tier *ret_tier)
{
	const char *end = strrchr(what, ':');

	for (int kind = 0; end && kind < KINDS; kind++)
		for (int tier = 0; tier < TIER_COUNT; tier++)
			if (strncmp(what, kinds[kind].prefix, strlen(kinds[kind].prefix)) == 0 &&
			    strcmp(end + 1, tier__name((enum tier)tier)) == 0) {
				*ret_kind = (enum kind)kind;
				*ret_tier = (enum tier)tier;
				return true;
			}
	return false;
}

static void take_stock(struct usages *u)
{
	char *keys, *save = NULL;

	*u = (struct usages){.empty = empty_bytes()};
	keys = strdup(private_redis__ask(&redis, "KEYS *"));
	for (char *key = strtok_r(keys, "\n", &save); key; key = strtok_r(NULL, "\n", &save)) {
		double bytes = (double)private_redis__int(&redis, "MEMORY USAGE %s SAMPLES 0", key);
		const char *what = strstr(key, "}:");
		enum kind kind;
		enum tier tier;

		if (what && classify(what + 2, &kind, &tier))
			add_key(kind, tier, key, bytes, u);
		else
			u->other += bytes;
	}
	free(keys);
}

/* ---- telling ---- */

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print_members(const struct usages *u)
{
	printf("  %-18s", "bytes each");
	for (int tier = 0; tier < TIER_COUNT; tier++)
		printf(" %8s", tier__name((enum tier)tier));
	printf("   kept, MB:");
	for (int tier = 0; tier < TIER_COUNT; tier++)
		printf(" %7s", tier__name((enum tier)tier));
	printf("\n");
	for (int kind = 0; kind < KINDS; kind++) {
		if (!u->of[kind][TIER_BASE].keys)
			continue;
		printf("  %-18s", kinds[kind].title);
		for (int tier = 0; tier < TIER_COUNT; tier++)
			printf(" %8.0f", u->of[kind][tier].kept_bytes / u->of[kind][tier].kept_members);
		printf("            ");
		for (int tier = 0; tier < TIER_COUNT; tier++)
			printf(" %7.1f", u->of[kind][tier].kept_bytes / MB);
		printf("\n");
	}
}

static void print_kept(const struct keep *keep)
{
	printf("  threads are kept for %u, %u and %u min (1 s, 10 s, 60 s), so that a process stays below %llu MB\n",
	       keep__seconds(keep, KEEP_THREADS, TIER_BASE) / 60, keep__seconds(keep, KEEP_THREADS, TIER_10S) / 60,
	       keep__seconds(keep, KEEP_THREADS, TIER_60S) / 60, (unsigned long long)(keep->limit / 1000000));
}

static void print_sums(struct line *line, const struct usages *u)
{
	double loaded = u->other, kept = u->other, threads = 0, hours = line->intervals / 3600.0;

	for (int kind = 0; kind < KINDS; kind++)
		for (int tier = 0; tier < TIER_COUNT; tier++) {
			loaded += u->of[kind][tier].bytes;
			kept += u->of[kind][tier].kept_bytes;
			threads += kind == KIND_THREAD ? u->of[kind][tier].bytes : 0;
		}
	if (hours <= 1) /* later, some of it is gone */
		printf("  a process-hour as written, all tiers: %.1f MB: %.2f MB for each of %u threads (a thread-hour), %.1f MB "
		       "for the process\n", (loaded - u->other) / hours / MB, threads / hours / line->load->threads / MB,
		       line->load->threads, (loaded - u->other - threads) / hours / MB);
	printf("  what was loaded and is kept: %.1f MB; used_memory grew by %.1f MB\n", loaded / MB,
	       (double)(used_memory(line) - line->used_before) / MB);
	printf("  a process at default retention: %.1f MB; %d of them: %.0f MB (limit %d)\n", kept / MB, PROCESSES,
	       PROCESSES * kept / MB, LIMIT_MB);
}

static void print_speed(struct line *line)
{
	unsigned int n = line->rates_n;

	qsort(line->rates, n, sizeof(*line->rates), ascending);
	printf("  samples flushed: %.0f /s [%.0f .. %.0f]; aggr and schema: %.2f ms of CPU per interval\n",
	       line->rates[n / 2], line->rates[n / 4], line->rates[n * 3 / 4],
	       1000 * line->cpu_s / line->intervals);
}

/* Panels of the dashboards over what was loaded, as Grafana asks. */
static void time_queries(const struct line *line, const char *script)
{
	char command[512];

	fflush(stdout);
	snprintf(command, sizeof(command), "python3 tests/bench/%s %s %lld %lld", script, redis.socket, (long long)START_MS,
		 (long long)line->now_ms);
	if (system(command))
		die("queries", command);
}

static void run(const struct load *load, int minutes)
{
	static struct line line;
	static struct keep keep;
	struct usages usages;

	set_up(&line, load);
	for (int i = 0; i < minutes; i++)
		load_chunk(&line);
	take_stock(&usages);
	project(&line, &usages, &keep);
	printf("%s: %u threads, %u acquires/s each, %d min loaded\n", load->name, load->threads, load->acquires, minutes);
	print_members(&usages);
	print_kept(&keep);
	print_sums(&line, &usages);
	print_speed(&line);
	time_queries(&line, "dashboard_queries.py");
	tear_down(&line);
}

static void run_dashboards(const struct load *load, int minutes)
{
	static struct line line;

	set_up(&line, load);
	for (int i = 0; i < minutes; i++)
		load_chunk(&line);
	printf("%s: %u threads, %u acquires/s each, %d min loaded\n", load->name, load->threads, load->acquires, minutes);
	time_queries(&line, "dashboard_reload.py");
	tear_down(&line);
}

int main(int argc, char **argv)
{
	bool dashboards = argc > 1 && strcmp(argv[1], "dashboards") == 0;
	const char *given = argc > 1 + dashboards ? argv[1 + dashboards] : NULL;
	int minutes = given ? atoi(given) : dashboards ? CHUNKS_MAX : 60;

	if (minutes < 3 || minutes > CHUNKS_MAX)
		die("usage", "bench_redis [dashboards] [MINUTES], 3 to 1440");
	if (dashboards) {
		run_dashboards(&loads[0], minutes);
		return 0;
	}
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
		run(&loads[i], minutes);
	if (!given) {
		run(&fewer, 60);
		run(&loads[0], CHUNKS_MAX);
	}
	printf("  (beyond what was loaded, tiers are scaled by their number of members)\n");
	return 0;
}
