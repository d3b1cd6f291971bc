/* SPDX-License-Identifier: GPL-2.0-only */
/* See seeded.h. */
#include "seeded.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "collector/redis/redis_conn.h"
#include "collector/schema/schema.h"
#include "collector/series/aggr.h"
#include "collector/series/long_event.h"
#include "collector/redis/sink_redis.h"
#include "collector/sink/sink.h"

#define SECOND 1000000000ull
#define FLUSH_MS 30000

static const struct {
	uint32_t tid;
	const char *name;   /* as it is stored */
	unsigned int most;  /* acquires in a second */
	const char *called; /* what it calls itself, if not that */
} threads[SEEDED_THREADS] = {
	{4242, "MainThread", 3, NULL}, {4250, "intake", 6, NULL}, {4251, "worker \"1\"", 5, NULL},
	{4252, "worker-2", 4, NULL}, {4253, "report", 2, NULL},
	{4254, "naps/a lot", 3, "naps|a lot"},
};

uint32_t seeded__tid(int i)
{
	return threads[i].tid;
}

const char *seeded__name(int i)
{
	return threads[i].name;
}

int64_t seeded__end_ms(const struct seeded *s, uint32_t second)
{
	return s->start_ms + (second + 1) * 1000ll;
}

static bool is_gap(uint32_t second)
{
	return second >= SEEDED_GAP && second < SEEDED_GAP_END;
}

bool seeded__in(const struct seeded *s, uint32_t second, int64_t from, int64_t to)
{
	int64_t end = seeded__end_ms(s, second);

	return !is_gap(second) && end > from && end <= to;
}

/* ---- made-up seconds ---- */

static uint64_t state;

static uint32_t draw(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % below;
}

/* From a microsecond to 60 ms, evenly over the logarithm. */
static uint64_t draw_ns(void)
{
	return (uint64_t)(1000 * exp(draw(100000) / 100000.0 * log(60000)));
}

static void note(struct seeded *s, uint32_t second, int thread, bool wait, uint64_t ns)
{
	struct seeded_event *e = &s->events[s->events_n++];

	*e = (struct seeded_event){.second = second, .thread = (uint8_t)thread, .wait = wait, .ns = ns};
}

static void make_acquire(struct seeded *s, uint32_t second, int thread, struct metrics *m)
{
	struct seeded_cell *cell = &s->cells[second][thread];
	uint64_t hold = draw_ns(), wait = draw(4) ? draw_ns() : 0;

	note(s, second, thread, false, hold);
	hist__count(&m->hold, hold);
	cell->n++;
	cell->hold_ns += hold;
	cell->hold_max_ns = hold > cell->hold_max_ns ? hold : cell->hold_max_ns;
	cell->forced += draw(2);
	if (wait == 0)
		return;
	note(s, second, thread, true, wait);
	hist__count(&m->wait, wait);
	cell->c++;
	cell->wait_ns += wait;
	cell->wait_max_ns = wait > cell->wait_max_ns ? wait : cell->wait_max_ns;
}

/* A tenth is handover, the rest goes to the two threads behind the victim, whole microseconds to each but the last. */
static void make_blame(struct seeded_cell *cell, int victim)
{
	int first = (victim + 1) % SEEDED_THREADS, second = (victim + 2) % SEEDED_THREADS;
	uint64_t rest;

	cell->handover_ns = cell->wait_ns / 10;
	rest = cell->wait_ns - cell->handover_ns;
	cell->blamed_ns[first] = rest / 3;
	cell->blamed_ns[second] = rest - rest / 3;
}

/* Most run all the time; one sleeps, one has to share its CPU, one is stopped, and of one it is sometimes not known. */
static void make_off_cpu(struct seeded_cell *cell, int thread, uint32_t second)
{
	cell->hold_off_ns[GIL_OFF_BLOCKED] = thread == 4 ? cell->hold_ns / 3 : 0;
	cell->hold_off_ns[GIL_OFF_PREEMPTED] = thread == 2 && second % 2 ? cell->hold_ns / 2 : 0;
	cell->hold_off_ns[GIL_OFF_UNSEEN] = thread == 3 && second < 100 ? cell->hold_ns / 4 : 0;
	cell->hold_off_ns[GIL_OFF_STOPPED] = thread == 1 ? cell->hold_ns / 3 : 0;
}

uint64_t seeded__blamed_ns(const struct seeded *s, uint32_t i, int holder)
{
	uint64_t ns = 0;

	for (int victim = 0; victim < SEEDED_THREADS; victim++)
		ns += s->cells[i][victim].blamed_ns[holder];
	return ns;
}

uint64_t seeded__long_us(uint32_t i)
{
	return !is_gap(i) && i % SEEDED_LONG_STEP == 25 ? 100000 + 1000 * i : 0;
}

static void make_thread(struct seeded *s, uint32_t second, int thread, struct proc_sample *sample)
{
	bool idle = thread == SEEDED_IDLE && second >= SEEDED_IDLE_FROM && second < SEEDED_IDLE_END;
	struct seeded_cell *cell = &s->cells[second][thread];
	struct thread_sample *t = proc_sample__add_thread(sample);

	cr_assert_not_null(t);
	t->key = (struct thread_key){.tid = threads[thread].tid, .start_ticks = 1000};
	snprintf(t->name, sizeof(t->name), "%s", threads[thread].called ? threads[thread].called : threads[thread].name);
	for (unsigned int n = idle ? 0 : 1 + draw(threads[thread].most); n > 0; n--)
		make_acquire(s, second, thread, &t->m);
	make_blame(cell, thread);
	make_off_cpu(cell, thread, second);
	t->m.known = KNOWN_ALL;
	t->m.hold_ns = cell->hold_ns;
	t->m.wait_ns = cell->wait_ns;
	t->m.handover_ns = cell->handover_ns;
	memcpy(t->m.hold_off.ns, cell->hold_off_ns, sizeof(t->m.hold_off.ns));
	t->m.acquires = cell->n;
	t->m.contended = cell->c;
	t->m.forced = cell->forced;
	t->m.hold_max_ns = cell->hold_max_ns;
	t->m.wait_max_ns = cell->wait_max_ns;
	metrics__sum(&sample->total, &t->m);
}

static void add_blame(const struct seeded *s, uint32_t second, struct proc_sample *sample)
{
	for (uint32_t victim = 0; victim < SEEDED_THREADS; victim++) {
		for (uint32_t holder = 0; holder < SEEDED_THREADS; holder++) {
			uint64_t ns = s->cells[second][victim].blamed_ns[holder];

			if (ns)
				*proc_sample__add_blame(sample) = (struct blame_cell){victim, holder, ns};
		}
	}
}

static void add_place(struct proc_sample *sample, struct code_cell *cell, const char *function, const char *file, uint32_t line)
{
	code_cell__set_place(cell, function, file, line, line);
	cr_assert_eq(proc_sample__add_code(sample, cell, SIZE_MAX), 0);
}

static void add_code(const struct seeded *s, uint32_t second, struct proc_sample *sample)
{
	sample->code_known = true;
	for (uint32_t i = 0; i < SEEDED_THREADS; i++) {
		const struct seeded_cell *cell = &s->cells[second][i];
		struct code_cell one = {.thread = i, .times = 1, .hold_ns = cell->hold_ns / 2,
					.blame_ns = seeded__blamed_ns(s, second, (int)i) / 3};
		struct code_cell odd = {.thread = i, .times = 1, .hold_ns = cell->hold_ns - one.hold_ns,
					.wait_ns = cell->wait_ns};

		add_place(sample, &one, SEEDED_FUNCTION, SEEDED_FILE, SEEDED_LINE + i);
		add_place(sample, &odd, SEEDED_ODD_FUNCTION, SEEDED_ODD_FILE, SEEDED_ODD_LINE);
	}
}

static struct proc_sample *make_second(struct seeded *s, uint32_t second)
{
	struct proc_sample *sample = proc_sample__new();

	cr_assert_not_null(sample);
	sample->end_ms = seeded__end_ms(s, second);
	sample->len_ns = sample->observed_ns = SECOND;
	sample->mode = GIL_MODE_FULL;
	sample->live_threads = SEEDED_THREADS + 1;
	for (int i = 0; i < SEEDED_THREADS; i++)
		make_thread(s, second, i, sample);
	add_blame(s, second, sample);
	add_code(s, second, sample);
	sample->cost_ns = 1000000;
	sample->cpu_ns = SECOND / 2;
	sample->rss_kib = 51200;
	return sample;
}

/* ---- the way of a sample, as in collector/observed.c ---- */

struct line {
	struct sink *sink;
	struct aggr *aggr;
	struct schema_writer *writer;
	struct batch *batch;
	struct event_ids host_events;
};

static void open_line(struct line *line, struct private_redis *redis, const struct seeded *s)
{
	struct proc_ident who = {
		.host = "web1", .pid = 4242, .boot_id = "5a2c0d1e-0000-4000-8000-000000000001", .start_ticks = 1000,
		.exe = "/usr/bin/python3.11", .label = "python3 service.py", .python = "3.11.2",
		.image = "/usr/bin/python3.11", .method = "call sites", .sites = 15, .interval_ms = 1000,
		.started_ms = s->start_ms, .price_ns = 1000,
	};
	struct sink_redis_opts opts = {.timeout_ms = FLUSH_MS};
	struct schema_opts schema;
	struct redis_url url;
	struct reason why;

	schema_opts__default(&schema);
	line->aggr = aggr__new(&(struct aggr_opts){.interval_ns = SECOND});
	line->writer = schema_writer__new(&schema, &who);
	cr_assert(line->aggr && line->writer);
	cr_assert_eq(redis_url__parse(redis->url, &url, &why), 0, "%s", why.text);
	opts.url = &url;
	cr_assert_eq(sink_redis__new(&opts, &line->sink, &why), 0, "%s", why.text);
}

static int emit(void *arg, enum tier tier, const struct proc_sample *window)
{
	struct line *line = arg;

	return schema_writer__sample(line->writer, tier, window, NULL, line->batch);
}

static void send(struct line *line, const struct proc_sample *s)
{
	line->batch = batch__new();
	cr_assert_not_null(line->batch);
	cr_assert_eq(aggr__add(line->aggr, s, emit, line), 0);
	cr_assert_eq(schema_writer__sample(line->writer, TIER_BASE, s, aggr__totals(line->aggr), line->batch), 0);
	cr_assert_eq(sink__write(line->sink, line->batch), 0);
}

/* At its end the hold was twice as long. */
static void send_long(struct line *line, const struct seeded *s, uint32_t second)
{
	struct stack_text stack = {.hash = 1, .leaf = {SEEDED_ODD_FUNCTION, SEEDED_ODD_FILE, .line = SEEDED_ODD_LINE},
				   .line = (char *)"main (srv/app.py:3);" SEEDED_ODD_FUNCTION " (" SEEDED_ODD_FILE ":99)"};
	int thread = (int)(second / SEEDED_LONG_STEP) % SEEDED_THREADS;
	struct long_event e = {.thread = {.tid = threads[thread].tid, .start_ticks = 1000}, .stack = &stack, .since_ns = SECOND};
	struct batch *b = batch__new();

	cr_assert_not_null(b);
	snprintf(e.name, sizeof(e.name), "%s", threads[thread].name);
	for (uint64_t times = 1; times <= 2; times++) {
		e.ended = times == 2;
		e.at_ns = e.since_ns + times * 1000 * seeded__long_us(second);
		e.waited_ns = 3 * (e.at_ns - e.since_ns);
		cr_assert_eq(schema_writer__long(line->writer, &e, seeded__end_ms(s, second) - 30 + 10 * (int64_t)times,
						 &line->host_events, b), 0);
	}
	cr_assert_eq(sink__write(line->sink, b), 0);
}

static void announce(struct line *line)
{
	struct batch *b = batch__new();

	cr_assert_eq(schema_writer__announce(line->writer, b), 0);
	cr_assert_eq(sink__announce(line->sink, schema_writer__id(line->writer), b), 0);
}

static void close_line(struct line *line)
{
	struct sink_stats stats;

	cr_assert_eq(sink__flush(line->sink, FLUSH_MS), 0);
	sink__stats(line->sink, &stats);
	cr_assert_eq(stats.commands_refused, 0, "%s", stats.trouble);
	sink__close(line->sink);
	schema_writer__free(line->writer);
	aggr__free(line->aggr);
}

struct seeded *seeded__write(struct private_redis *redis)
{
	struct seeded *s = calloc(1, sizeof(*s));
	struct line line = {0};

	cr_assert_not_null(s);
	state = 88172645463325252ull;
	s->events = calloc(SEEDED_SECONDS * SEEDED_THREADS * 16, sizeof(*s->events));
	s->start_ms = (int64_t)time(NULL) / 60 * 60000 - SEEDED_SECONDS * 1000ll;
	open_line(&line, redis, s);
	snprintf(s->id, sizeof(s->id), "%s", schema_writer__id(line.writer));
	announce(&line);
	for (uint32_t i = 0; i < SEEDED_SECONDS; i++) {
		struct proc_sample *sample = is_gap(i) ? NULL : make_second(s, i);

		if (sample)
			send(&line, sample);
		if (seeded__long_us(i))
			send_long(&line, s, i);
		proc_sample__free(sample);
	}
	close_line(&line);
	return s;
}

void seeded__free(struct seeded *s)
{
	if (s)
		free(s->events);
	free(s);
}

/* ---- one thread that does not let go ---- */

#define HOLD_THREADS 4 /* the first holds, the others wait for it */

/* A second of the hold, which has lasted for `age_s`; 0: of ordinary work before or after it. */
static struct proc_sample *make_hold_second(int64_t end_ms, int age_s)
{
	struct proc_sample *s = proc_sample__new();

	cr_assert_not_null(s);
	*s = (struct proc_sample){.end_ms = end_ms, .len_ns = SECOND, .observed_ns = SECOND, .mode = GIL_MODE_FULL,
				  .live_threads = HOLD_THREADS, .total.known = KNOWN_ALL, .cpu_ns = UINT64_MAX,
				  .rss_kib = UINT64_MAX};
	for (int i = 0; i < HOLD_THREADS; i++) {
		struct thread_sample *t = proc_sample__add_thread(s);
		struct metrics *m = &t->m;
		uint64_t age = age_s > 0 ? (uint64_t)age_s * SECOND : 2000000;

		t->key = (struct thread_key){.tid = 7000 + (uint32_t)i, .start_ticks = 2000};
		snprintf(t->name, sizeof(t->name), "worker-%d", i);
		m->known = KNOWN_ALL;
		if (age_s > 0 && i == 0) {
			m->hold_ns = SECOND;
			m->hold_max_ns = age;
			hist__count(&m->hold_open, age);
		} else if (age_s > 0) {
			m->wait_ns = SECOND;
			m->waiting = 1;
			m->wait_max_ns = age;
			hist__count(&m->wait_open, age);
		} else {
			m->acquires = m->contended = 10;
			m->hold_ns = m->wait_ns = 10 * age;
			m->hold_max_ns = m->wait_max_ns = age;
			for (int k = 0; k < 10; k++) {
				hist__count(&m->hold, age);
				hist__count(&m->wait, age);
			}
		}
		metrics__sum(&s->total, m);
	}
	return s;
}

void seeded__write_hold(struct private_redis *redis, int observed_s, int began_s_ago, int ended_s_ago)
{
	struct seeded head = {.start_ms = ((int64_t)time(NULL) - observed_s) * 1000};
	struct line line = {0};

	open_line(&line, redis, &head);
	announce(&line);
	for (int ago = observed_s - 1; ago >= 0; ago--) {
		int age_s = ago < began_s_ago && ago >= ended_s_ago ? began_s_ago - ago : 0;
		struct proc_sample *sample = make_hold_second(head.start_ms + (observed_s - ago) * 1000ll, age_s);

		send(&line, sample);
		proc_sample__free(sample);
	}
	close_line(&line);
}
