/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See metrics_book.h. Three tables say what there is: what can be known (WHATS), counters of it (COUNTERS), and gauges.
 *
 * Labels are ids, names of threads, programs and units: no command line, no path and no function. What a process is called after
 * its script is in Redis, under the same id.
 */
#include "metrics_book.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/series/sample.h"

/* X(identifier, value of `what`, bits of metrics.known that it takes, bits that it excludes) */
#define WHATS(X) \
	X(HOLD, "hold", KNOWN_HOLD, 0) \
	X(HOLD_EST, "hold_estimated", KNOWN_HOLD_EST, KNOWN_HOLD) \
	X(WAIT, "wait", KNOWN_WAIT, 0) \
	X(WAIT_EST, "wait_estimated", KNOWN_WAIT_EST, KNOWN_WAIT) \
	X(HANDOVER, "handover", KNOWN_WAIT | KNOWN_HANDOVER, 0) \
	X(ACQUIRES, "acquires", KNOWN_ACQUIRES, 0) \
	X(FORCED, "forced", KNOWN_FORCED, 0) \
	X(HOLD_OFF, "hold_off_cpu", KNOWN_HOLD | KNOWN_OFF_CPU, 0) \
	X(WAIT_OFF, "wait_off_cpu", KNOWN_WAIT | KNOWN_OFF_CPU, 0) \
	X(GC, "gc", KNOWN_GC | KNOWN_GC_EXACT, 0) \
	X(GC_EST, "gc_estimated", KNOWN_GC, KNOWN_GC_EXACT) \
	X(GC_WAIT, "gc_wait", KNOWN_GC_WAIT, 0) \
	X(GC_N, "gc_collections", KNOWN_GC_NUMBERS, 0) \
	X(CPU, "cpu", 0, 0) \
	X(ANY, "any", 0, 0)

enum what {
#define X(id, name, takes, excludes) WHAT_##id,
	WHATS(X)
#undef X
	WHAT_COUNT,
};

static const struct {
	const char *name;
	uint32_t takes, excludes;
} whats[WHAT_COUNT] = {
#define X(id, name_, takes_, excludes_) [WHAT_##id] = {name_, takes_, excludes_},
	WHATS(X)
#undef X
};

/* X(what, field of the row, name without gilscope_ and _total, unit, whether threads have it, too) */
#define COUNTERS(X) \
	X(HOLD, HOLD, "hold_seconds", "seconds", true) \
	X(HOLD_EST, HOLD_EST, "hold_estimated_seconds", "seconds", true) \
	X(WAIT, WAIT, "wait_seconds", "seconds", true) \
	X(WAIT_EST, WAIT, "wait_estimated_seconds", "seconds", true) \
	X(HANDOVER, HANDOVER, "handover_seconds", "seconds", false) \
	X(ACQUIRES, N, "acquires", "", true) \
	X(WAIT, C, "contended_acquires", "", true) \
	X(FORCED, FORCED, "forced_releases", "", false) \
	X(HOLD_OFF, HOLD_BLOCKED, "hold_blocked_seconds", "seconds", false) \
	X(HOLD_OFF, HOLD_PREEMPTED, "hold_preempted_seconds", "seconds", false) \
	X(HOLD_OFF, HOLD_STOPPED, "hold_stopped_seconds", "seconds", false) \
	X(HOLD_OFF, HOLD_UNSEEN, "hold_unseen_seconds", "seconds", false) \
	X(WAIT_OFF, WAIT_BLOCKED, "wait_blocked_seconds", "seconds", false) \
	X(WAIT_OFF, WAIT_PREEMPTED, "wait_preempted_seconds", "seconds", false) \
	X(WAIT_OFF, WAIT_STOPPED, "wait_stopped_seconds", "seconds", false) \
	X(WAIT_OFF, WAIT_UNSEEN, "wait_unseen_seconds", "seconds", false) \
	X(GC, GC, "gc_seconds", "seconds", false) \
	X(GC_EST, GC, "gc_estimated_seconds", "seconds", false) \
	X(GC_WAIT, GC_WAIT, "gc_wait_seconds", "seconds", false) \
	X(GC_N, GC_N0, "gc_collections_young", "", false) \
	X(GC_N, GC_N1, "gc_collections_middle", "", false) \
	X(GC_N, GC_N2, "gc_collections_full", "", false) \
	X(CPU, CPU, "cpu_seconds", "seconds", false) \
	X(ANY, COST, "overhead_seconds", "seconds", false) \
	X(ANY, LOST, "lost_events", "", false)

static const struct counter {
	enum what what;
	enum schema_field field;
	const char *name, *unit;
	bool of_threads;
} counters[] = {
#define X(what_, field_, name_, unit_, of_threads_) {WHAT_##what_, FIELD_##field_, name_, unit_, of_threads_},
	COUNTERS(X)
#undef X
};

#define COUNTERS_N (sizeof(counters) / sizeof(counters[0]))

/* The two distributions; a bucket counts what is shorter than 2^edge ns. */
enum { DISTRIBUTION_HOLD, DISTRIBUTION_WAIT, DISTRIBUTION_COUNT };

static const struct {
	enum what what;
	const char *name, *help;
} distributions[DISTRIBUTION_COUNT] = {
	[DISTRIBUTION_HOLD] = {WHAT_HOLD, "hold_duration_seconds", "length of holds; a hold counts at its end, at full length"},
	[DISTRIBUTION_WAIT] = {WHAT_WAIT, "wait_duration_seconds", "length of waits; a wait counts at its end, at full length"},
};

static const uint8_t edges[METRICS_EDGES] = {12, 14, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30, 32};

/* Series of one process at most: counters, observed seconds, distributions with +Inf, gauges and info. */
#define GAUGES 6
#define PROCESS_SERIES (COUNTERS_N + WHAT_COUNT + DISTRIBUTION_COUNT * (METRICS_EDGES + 1) + GAUGES)
#define GLOBAL_SERIES 8
#define THREAD_IDLE_NS (3600ull * 1000000000)
#define OTHER "other"

struct thread_book {
	struct thread_key key;
	uint32_t gil;
	char name[THREAD_NAME_SIZE];
	uint64_t seen_ns, ended_ns; /* ended 0: not, as far as is known */
	uint64_t sum[COUNTERS_N];
};

struct process_book {
	char id[SCHEMA_ID_SIZE];    /* OTHER: all that have no place of their own */
	char host[65], label[128], program[128], unit[128], container[80], python[64];
	uint32_t pid;
	bool ended;
	uint64_t ended_ns;          /* 0: not noted yet */
	bool any;                   /* it has a sample */
	uint32_t known;             /* bit per enum what: in its newest sample */
	uint64_t sum[COUNTERS_N];   /* us, or a number, as the rows have it */
	uint64_t observed_us[WHAT_COUNT];
	uint64_t bucket[DISTRIBUTION_COUNT][METRICS_EDGES + 1];
	double cov, live_threads, rss_kib, lasting_s; /* of the newest sample; negative: not known */
	enum gil_mode mode;
	struct thread_book *threads; /* the first one is OTHER */
	size_t threads_n, threads_room;
	size_t next;                /* where the next one is if samples list them in the same order */
};

struct metrics_book {
	char label[128];            /* that the user has given */
	uint32_t max_series, series; /* series: those that have been given away */
	uint64_t now_ns;
	struct process_book **procs;
	size_t procs_n, procs_room;
	struct process_book *other; /* in procs, from the first that is folded on */
	uint64_t folded_procs, folded_threads;
};

static uint32_t thread_series(void)
{
	uint32_t n = 0;

	for (size_t i = 0; i < COUNTERS_N; i++)
		n += counters[i].of_threads;
	return n;
}

/* ---- who there is ---- */

struct metrics_book *metrics_book__new(uint32_t max_series, const char *label, uint64_t now_ns)
{
	struct metrics_book *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->max_series = max_series;
	b->now_ns = now_ns;
	snprintf(b->label, sizeof(b->label), "%s", label ?: "");
	/* The process that all others would be folded into has its place from the beginning. */
	b->series = GLOBAL_SERIES + PROCESS_SERIES + thread_series();
	return b;
}

static void free_process(struct process_book *p)
{
	if (!p)
		return;
	free(p->threads);
	free(p);
}

void metrics_book__free(struct metrics_book *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->procs_n; i++)
		free_process(b->procs[i]);
	free(b->procs);
	free(b);
}

static struct process_book *find(const struct metrics_book *b, const char *id)
{
	for (size_t i = 0; i < b->procs_n; i++)
		if (b->procs[i] != b->other && strcmp(b->procs[i]->id, id) == 0)
			return b->procs[i];
	return NULL;
}

static bool has_room(const struct metrics_book *b, size_t series)
{
	return b->series + series <= b->max_series;
}

/* An empty one with its thread OTHER, in the list. NULL: no memory. */
static struct process_book *add_process(struct metrics_book *b, const char *id)
{
	struct process_book *p = calloc(1, sizeof(*p));

	if (p && b->procs_n == b->procs_room) {
		struct process_book **grown = reallocarray(b->procs, b->procs_room + 16, sizeof(*grown));

		if (grown) {
			b->procs = grown;
			b->procs_room += 16;
		}
	}
	if (p)
		p->threads = calloc(4, sizeof(*p->threads));
	if (!p || !p->threads || b->procs_n == b->procs_room) {
		free_process(p);
		return NULL;
	}
	p->threads_room = 4;
	p->threads_n = 1;
	snprintf(p->threads[0].name, sizeof(p->threads[0].name), OTHER);
	snprintf(p->id, sizeof(p->id), "%s", id);
	b->procs[b->procs_n++] = p;
	return p;
}

static const char *last_part(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : path ?: "";
}

/* Of the label only what the user has given: what is made of a command line is none of a metric's. */
static void describe(const struct metrics_book *b, struct process_book *p, const struct proc_ident *who)
{
	memcpy(p->host, who->host, sizeof(p->host));
	p->pid = who->pid;
	snprintf(p->label, sizeof(p->label), "%s", b->label);
	snprintf(p->program, sizeof(p->program), "%s", last_part(who->exe));
	snprintf(p->unit, sizeof(p->unit), "%s", last_part(who->cgroup));
	snprintf(p->container, sizeof(p->container), "%s", who->container ?: "");
	snprintf(p->python, sizeof(p->python), "%s", who->python ?: "");
}

static struct process_book *folded_process(struct metrics_book *b)
{
	if (!b->other)
		b->other = add_process(b, OTHER);
	return b->other;
}

void metrics_book__begin(struct metrics_book *b, const char *id, const struct proc_ident *who)
{
	struct process_book *p = find(b, id);

	if (!p && has_room(b, PROCESS_SERIES + thread_series())) {
		p = add_process(b, id);
		if (p)
			b->series += (uint32_t)PROCESS_SERIES + thread_series();
	}
	if (!p) {
		b->folded_procs++;
		return;
	}
	p->ended = false;
	p->ended_ns = 0;
	describe(b, p, who);
}

void metrics_book__end(struct metrics_book *b, const char *id)
{
	struct process_book *p = find(b, id);

	if (p)
		p->ended = true;
}

/* ---- samples ---- */

static bool takes(const struct metrics *m, enum what what)
{
	return (m->known & whats[what].takes) == whats[what].takes && !(m->known & whats[what].excludes);
}

static bool is_of_gil(enum what what)
{
	return what != WHAT_CPU && what != WHAT_ANY;
}

/* What the sample knows of the process; where nothing was observed, nothing of its GIL is known. */
static uint32_t known_of(const struct proc_sample *s)
{
	uint32_t known = 1u << WHAT_ANY | (s->cpu_ns != UINT64_MAX ? 1u << WHAT_CPU : 0);

	for (int what = 0; what < WHAT_COUNT && s->observed_ns && !s->no_gil; what++)
		if (is_of_gil((enum what)what) && takes(&s->total, (enum what)what))
			known |= 1u << what;
	return known;
}

static void add_counters(uint64_t *sum, const struct schema_row *row, const struct metrics *m, bool of_thread)
{
	for (size_t i = 0; i < COUNTERS_N; i++)
		if ((!of_thread || counters[i].of_threads) && row->has >> counters[i].field & 1 && takes(m, counters[i].what))
			sum[i] += (uint64_t)row->value[counters[i].field];
}

static void add_distribution(uint64_t *bucket, const struct hist *h)
{
	for (size_t i = 0; i < h->n; i++) {
		size_t at = 0;

		while (at < METRICS_EDGES && h->buckets[i].index >= gil_hist_bucket(1ull << edges[at]))
			at++;
		bucket[at] += h->buckets[i].count;
	}
}

static struct thread_book *find_thread(struct process_book *p, const struct thread_sample *t)
{
	for (size_t i = 0; i < p->threads_n; i++) {
		size_t at = (p->next + i) % p->threads_n;

		if (at == 0 || !thread_key__equal(&p->threads[at].key, &t->key) || p->threads[at].gil != t->gil)
			continue;
		p->next = at + 1;
		return &p->threads[at];
	}
	return NULL;
}

static struct thread_book *add_thread(struct metrics_book *b, struct process_book *p, const struct thread_sample *t)
{
	if (p == b->other || t->key.tid == 0 || !has_room(b, thread_series()))
		return NULL;
	if (p->threads_n == p->threads_room) {
		struct thread_book *grown = reallocarray(p->threads, 2 * p->threads_room, sizeof(*grown));

		if (!grown)
			return NULL;
		p->threads = grown;
		p->threads_room *= 2;
	}
	b->series += thread_series();
	p->threads[p->threads_n] = (struct thread_book){.key = t->key, .gil = t->gil};
	return &p->threads[p->threads_n++];
}

/* Pseudo-threads are several already. */
static struct thread_book *thread_of(struct metrics_book *b, struct process_book *p, const struct thread_sample *t)
{
	struct thread_book *book = find_thread(p, t) ?: add_thread(b, p, t);

	if (book)
		return book;
	b->folded_threads += p != b->other && t->key.tid != 0;
	return &p->threads[0];
}

static void add_thread_sample(struct metrics_book *b, struct process_book *p, const struct proc_sample *s,
			      const struct thread_sample *t)
{
	struct thread_book *book = thread_of(b, p, t);
	struct schema_row row;

	schema_row__from(s, &t->m, false, &row);
	add_counters(book->sum, &row, &t->m, true);
	book->seen_ns = b->now_ns;
	if (book == &p->threads[0])
		return;
	if (t->name[0])
		memcpy(book->name, t->name, sizeof(book->name));
	if (t->exited && !book->ended_ns)
		book->ended_ns = b->now_ns;
}

static void set_gauges(struct process_book *p, const struct proc_sample *s, const struct schema_row *row)
{
	p->cov = s->len_ns ? (double)s->observed_ns / (double)s->len_ns : -1;
	p->live_threads = s->live_threads;
	p->rss_kib = row->has >> FIELD_RSS & 1 ? row->value[FIELD_RSS] : -1;
	p->lasting_s = s->holding.by == HOLDER_UNKNOWN ? 0 : (double)s->holding.lasted_ns / 1e9;
	p->mode = s->mode;
}

void metrics_book__sample(struct metrics_book *b, const char *id, const struct proc_sample *s)
{
	struct process_book *p = find(b, id) ?: folded_process(b);
	struct schema_row row;
	uint32_t known = known_of(s);

	if (!p)
		return;
	schema_row__from(s, &s->total, true, &row);
	p->any = true;
	p->known = known;
	add_counters(p->sum, &row, &s->total, false);
	for (int what = 0; what < WHAT_COUNT; what++)
		if (known >> what & 1)
			p->observed_us[what] += (is_of_gil((enum what)what) ? s->observed_ns : s->len_ns) / 1000;
	if (known >> WHAT_HOLD & 1)
		add_distribution(p->bucket[DISTRIBUTION_HOLD], &s->total.hold);
	if (known >> WHAT_WAIT & 1)
		add_distribution(p->bucket[DISTRIBUTION_WAIT], &s->total.wait);
	set_gauges(p, s, &row);
	for (size_t i = 0; i < s->threads_n; i++)
		add_thread_sample(b, p, s, &s->threads[i]);
}

/* ---- who is forgotten ---- */

static bool is_over(uint64_t ended_ns, uint64_t now_ns)
{
	return ended_ns && now_ns - ended_ns >= METRICS_KEEP_MS * 1000000ull;
}

static void forget_threads(struct metrics_book *b, struct process_book *p)
{
	size_t kept = 1;

	for (size_t i = 1; i < p->threads_n; i++) {
		const struct thread_book *t = &p->threads[i];

		if (is_over(t->ended_ns, b->now_ns) || b->now_ns - t->seen_ns > THREAD_IDLE_NS)
			b->series -= thread_series();
		else
			p->threads[kept++] = *t;
	}
	p->threads_n = kept;
}

static bool forget_process(struct metrics_book *b, struct process_book *p)
{
	if (p->ended && !p->ended_ns)
		p->ended_ns = b->now_ns ?: 1;
	if (!p->ended || (p->any && !is_over(p->ended_ns, b->now_ns)))
		return false;
	b->series -= (uint32_t)PROCESS_SERIES + (uint32_t)p->threads_n * thread_series();
	free_process(p);
	return true;
}

void metrics_book__pass(struct metrics_book *b, uint64_t now_ns)
{
	size_t kept = 0;

	b->now_ns = now_ns;
	for (size_t i = 0; i < b->procs_n; i++) {
		struct process_book *p = b->procs[i];

		forget_threads(b, p);
		if (p == b->other || !forget_process(b, p))
			b->procs[kept++] = p;
	}
	b->procs_n = kept;
}

/* ---- the text ---- */

struct writer {
	FILE *to;
	enum metrics_format format;
};

/* What stands in the quotes of a label. Texts are valid UTF-8 without control characters. */
static void put_escaped(FILE *to, const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', to);
		fputc(*s, to);
	}
}

static void put_label(FILE *to, const char *name, const char *value)
{
	fprintf(to, "%s=\"", name);
	put_escaped(to, value);
	fputc('"', to);
}

static void head(const struct writer *w, const char *name, const char *type, const char *unit, const char *help)
{
	bool open = w->format == METRICS_OPEN;
	const char *suffix = open ? "" : strcmp(type, "counter") == 0 ? "_total" : strcmp(type, "info") == 0 ? "_info" : "";

	fprintf(w->to, "# HELP gilscope_%s%s %s\n", name, suffix, help);
	fprintf(w->to, "# TYPE gilscope_%s%s %s\n", name, suffix, !open && strcmp(type, "info") == 0 ? "gauge" : type);
	if (open && *unit)
		fprintf(w->to, "# UNIT gilscope_%s %s\n", name, unit);
}

/* Seconds exactly as many as there are microseconds; else a number. */
static void put_sum(FILE *to, const char *unit, uint64_t sum)
{
	if (*unit)
		fprintf(to, " %" PRIu64 ".%06" PRIu64 "\n", sum / 1000000, sum % 1000000);
	else
		fprintf(to, " %" PRIu64 "\n", sum);
}

static bool knows(const struct process_book *p, enum what what)
{
	return p->any && p->known >> what & 1;
}

static void put_process_counter(const struct writer *w, const struct metrics_book *b, size_t i)
{
	const struct counter *c = &counters[i];

	head(w, c->name, "counter", c->unit, schema_field__text(c->field));
	for (size_t at = 0; at < b->procs_n; at++) {
		const struct process_book *p = b->procs[at];

		if (!knows(p, c->what))
			continue;
		fprintf(w->to, "gilscope_%s_total{", c->name);
		put_label(w->to, "id", p->id);
		fputc('}', w->to);
		put_sum(w->to, c->unit, p->sum[i]);
	}
}

static void put_thread(const struct writer *w, const struct process_book *p, const struct thread_book *t, size_t i)
{
	fprintf(w->to, "gilscope_thread_%s_total{", counters[i].name);
	put_label(w->to, "id", p->id);
	fputc(',', w->to);
	put_label(w->to, "thread", t->name);
	if (t->key.tid)
		fprintf(w->to, ",tid=\"%" PRIu32 ".%" PRIu64 "\"", t->key.tid, t->key.start_ticks);
	if (t->gil)
		fprintf(w->to, ",gil=\"%" PRIu32 "\"", t->gil);
	fputc('}', w->to);
	put_sum(w->to, counters[i].unit, t->sum[i]);
}

static void put_thread_counter(const struct writer *w, const struct metrics_book *b, size_t i)
{
	char name[64], help[256];

	snprintf(name, sizeof(name), "thread_%s", counters[i].name);
	snprintf(help, sizeof(help), "%s, of one thread", schema_field__text(counters[i].field));
	head(w, name, "counter", counters[i].unit, help);
	for (size_t at = 0; at < b->procs_n; at++)
		for (size_t t = 0; t < b->procs[at]->threads_n; t++)
			if (knows(b->procs[at], counters[i].what) && (t || b->procs[at]->threads[0].seen_ns))
				put_thread(w, b->procs[at], &b->procs[at]->threads[t], i);
}

static void put_observed(const struct writer *w, const struct metrics_book *b)
{
	head(w, "observed_seconds", "counter", "seconds",
	     "time in which what the label names was known: the divisor of its rate");
	for (size_t at = 0; at < b->procs_n; at++)
		for (int what = 0; what < WHAT_COUNT; what++) {
			const struct process_book *p = b->procs[at];

			if (!p->any || (!p->observed_us[what] && !knows(p, (enum what)what)))
				continue;
			fputs("gilscope_observed_seconds_total{", w->to);
			put_label(w->to, "id", p->id);
			fprintf(w->to, ",what=\"%s\"}", whats[what].name);
			put_sum(w->to, "seconds", p->observed_us[what]);
		}
}

/* No sum and so no count, either: how long the holds were that ended is not known to the nanosecond. */
static void put_buckets(const struct writer *w, const struct process_book *p, int d)
{
	uint64_t below = 0;

	for (size_t i = 0; i <= METRICS_EDGES; i++) {
		char edge[32] = "+Inf";

		below += p->bucket[d][i];
		if (i < METRICS_EDGES)
			snprintf(edge, sizeof(edge), "%.10g", (double)(1ull << edges[i]) / 1e9);
		fprintf(w->to, "gilscope_%s_bucket{", distributions[d].name);
		put_label(w->to, "id", p->id);
		fprintf(w->to, ",le=\"%s\"} %" PRIu64 "\n", edge, below);
	}
}

static void put_distribution(const struct writer *w, const struct metrics_book *b, int d)
{
	head(w, distributions[d].name, "histogram", "seconds", distributions[d].help);
	for (size_t at = 0; at < b->procs_n; at++)
		if (knows(b->procs[at], distributions[d].what))
			put_buckets(w, b->procs[at], d);
}

static double cov_of(const struct process_book *p) { return p->cov; }
static double live_threads_of(const struct process_book *p) { return p->live_threads; }
static double rss_of(const struct process_book *p) { return p->rss_kib < 0 ? -1 : p->rss_kib * 1024; }
static double lasting_of(const struct process_book *p) { return p->lasting_s; }

/* Of the newest sample, and so of nobody who has ended or is several. */
static void put_gauge(const struct writer *w, const struct metrics_book *b, const char *name, const char *unit,
		      const char *help, double (*value)(const struct process_book *))
{
	head(w, name, "gauge", unit, help);
	for (size_t at = 0; at < b->procs_n; at++) {
		const struct process_book *p = b->procs[at];

		if (!p->any || p->ended || p == b->other || value(p) < 0)
			continue;
		fprintf(w->to, "gilscope_%s{", name);
		put_label(w->to, "id", p->id);
		fprintf(w->to, "} %.12g\n", value(p));
	}
}

static void put_modes(const struct writer *w, const struct metrics_book *b)
{
	head(w, "mode", "gauge", "", "1 with the mode that the process is observed in");
	for (size_t at = 0; at < b->procs_n; at++) {
		const struct process_book *p = b->procs[at];

		if (!p->any || p->ended || p == b->other)
			continue;
		fputs("gilscope_mode{", w->to);
		put_label(w->to, "id", p->id);
		fprintf(w->to, ",mode=\"%s\"} 1\n", gil_mode__name(p->mode, "changing"));
	}
}

static void put_info(const struct writer *w, const struct process_book *p)
{
	const struct {
		const char *name, *value;
	} labels[] = {{"id", p->id}, {"host", p->host}, {"label", p->label}, {"program", p->program}, {"unit", p->unit},
		      {"container", p->container}, {"python", p->python}};

	fputs("gilscope_process_info{", w->to);
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		put_label(w->to, labels[i].name, labels[i].value);
		fputc(',', w->to);
	}
	fprintf(w->to, "pid=\"%" PRIu32 "\"} 1\n", p->pid);
}

static void put_infos(const struct writer *w, const struct metrics_book *b)
{
	head(w, "process", "info", "", "who a process is");
	for (size_t at = 0; at < b->procs_n; at++)
		if (b->procs[at]->any && b->procs[at] != b->other)
			put_info(w, b->procs[at]);
}

static void put_one(const struct writer *w, const char *name, const char *type, const char *help, uint64_t value)
{
	head(w, name, type, "", help);
	fprintf(w->to, "gilscope_%s%s %" PRIu64 "\n", name, strcmp(type, "counter") == 0 ? "_total" : "", value);
}

static uint64_t alive(const struct metrics_book *b)
{
	uint64_t n = 0;

	for (size_t i = 0; i < b->procs_n; i++)
		n += b->procs[i] != b->other && !b->procs[i]->ended;
	return n;
}

static void put_itself(const struct writer *w, const struct metrics_book *b, const struct sink_stats *history)
{
	head(w, "build", "info", "", "this gilscope");
	fputs("gilscope_build_info{version=\"" GILSCOPE_VERSION "\"} 1\n", w->to);
	put_one(w, "processes", "gauge", "processes with series of their own that are observed now", alive(b));
	put_one(w, "folded_processes", "counter", "processes added up in one called other, as --metrics-series allows no more",
		b->folded_procs);
	put_one(w, "folded_thread_samples", "counter", "samples of threads added up in one called other, for the same reason",
		b->folded_threads);
	if (!history)
		return;
	put_one(w, "history_connected", "gauge", "1 where Redis takes the history now", history->connected);
	put_one(w, "history_dropped_samples", "counter", "samples that Redis never got", history->points_dropped);
	put_one(w, "history_unsure_samples", "counter", "samples that a new master of Redis may lack", history->points_unsure);
	put_one(w, "history_refused_commands", "counter", "commands that Redis refused", history->commands_refused);
}

static void put_all(const struct writer *w, const struct metrics_book *b, const struct sink_stats *history)
{
	put_itself(w, b, history);
	put_infos(w, b);
	put_modes(w, b);
	put_gauge(w, b, "coverage_ratio", "ratio", "observed share of the last interval", cov_of);
	put_gauge(w, b, "threads", "", "live threads", live_threads_of);
	put_gauge(w, b, "resident_memory_bytes", "bytes", "resident memory of the process", rss_of);
	put_gauge(w, b, "hold_lasting_seconds", "seconds",
		  "how long the hold has lasted that goes on, at least; 0: none of 1 s or more", lasting_of);
	put_observed(w, b);
	for (size_t i = 0; i < COUNTERS_N; i++)
		put_process_counter(w, b, i);
	for (int d = 0; d < DISTRIBUTION_COUNT; d++)
		put_distribution(w, b, d);
	for (size_t i = 0; i < COUNTERS_N; i++)
		if (counters[i].of_threads)
			put_thread_counter(w, b, i);
	if (w->format == METRICS_OPEN)
		fputs("# EOF\n", w->to);
}

char *metrics_book__text(const struct metrics_book *b, enum metrics_format format, const struct sink_stats *history,
			 size_t *ret_len)
{
	char *text = NULL;
	struct writer w = {.to = open_memstream(&text, ret_len), .format = format};
	bool failed;

	if (!w.to)
		return NULL;
	put_all(&w, b, history);
	failed = ferror(w.to);
	if (!fclose(w.to) && !failed)
		return text;
	free(text);
	return NULL;
}
