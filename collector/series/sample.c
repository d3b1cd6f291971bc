/* SPDX-License-Identifier: GPL-2.0-only */
/* See sample.h. */
#include "sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/gil_off.h"
#include "collector/base/text.h"
#include "overs.h"

/*
 * Room for one more element of `size` bytes in an array of `n`, which is full wherever its length is a multiple of a step: an
 * eighth of it at most, or 8. So the capacity need not be stored.
 */
static void *grow(void **array, size_t n, size_t size)
{
	size_t step = 8;
	void *grown;

	while (step * 8 <= n)
		step *= 2;
	if (n % step != 0)
		return *array;
	grown = reallocarray(*array, n + step, size);
	if (grown)
		*array = grown;
	return grown;
}

static void *append(void **array, size_t *n, size_t size)
{
	void *element;

	if (!grow(array, *n, size))
		return NULL;
	element = (char *)*array + *n * size;
	memset(element, 0, size);
	(*n)++;
	return element;
}

struct proc_sample *proc_sample__new(void)
{
	struct proc_sample *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->total.known = KNOWN_ALL;
	s->cpu_ns = UINT64_MAX;
	s->rss_kib = UINT64_MAX;
	return s;
}

void proc_sample__empty(struct proc_sample *s)
{
	for (size_t i = 0; i < s->gils_n; i++)
		metrics__clear(&s->gils[i].m);
	for (size_t i = 0; i < s->threads_n; i++)
		metrics__clear(&s->threads[i].m);
	metrics__clear(&s->total);
	stack_cells__clear(&s->stacks);
	*s = (struct proc_sample){
		.gils = s->gils, .threads = s->threads, .blame = s->blame, .code = s->code, .stacks = s->stacks,
	};
}

void proc_sample__withhold(struct proc_sample *s)
{
	struct proc_sample was = *s;
	uint32_t known = s->total.known;

	proc_sample__empty(s);
	was.total = (struct metrics){.known = known};
	for (size_t i = 0; i < was.gils_n; i++)
		was.gils[i].m.known = known;
	was.threads_n = was.blame_n = was.code_n = 0;
	was.code_rest = s->code_rest;
	was.stacks = s->stacks;
	was.whys = (struct whys){0};
	was.switches_missed = 0;
	was.observed_ns = was.wait_unseen_ns = 0;
	*s = was;
}

void proc_sample__free(struct proc_sample *s)
{
	if (!s)
		return;
	proc_sample__empty(s);
	free(s->gils);
	free(s->threads);
	free(s->blame);
	free(s->code);
	stack_cells__free(&s->stacks);
	free(s);
}

const char *proc_sample__gil_kind(const struct proc_sample *s)
{
	return s->no_gil ? "free-threaded" : s->gils_n > 1 ? "per-interpreter"
							   : "gil";
}

struct thread_sample *proc_sample__add_thread(struct proc_sample *s)
{
	return append((void **)&s->threads, &s->threads_n, sizeof(*s->threads));
}

struct gil_sample *proc_sample__add_gil(struct proc_sample *s)
{
	return append((void **)&s->gils, &s->gils_n, sizeof(*s->gils));
}

struct blame_cell *proc_sample__add_blame(struct proc_sample *s)
{
	return append((void **)&s->blame, &s->blame_n, sizeof(*s->blame));
}

static int make_places(struct blame_places *places, size_t n)
{
	size_t room = places->room ? places->room : 64;
	struct blame_place *grown;

	if (n <= places->room)
		return 0;
	while (room < n)
		room *= 2;
	grown = reallocarray(places->threads, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + places->room, 0, (room - places->room) * sizeof(*grown));
	places->threads = grown;
	places->room = room;
	return 0;
}

/* The pair's cell: the newest of its holder, or, of a victim that came back, any since its first. */
static struct blame_cell *find_cell(struct proc_sample *s, const struct blame_places *places, uint32_t victim, uint32_t holder)
{
	size_t at = places->threads[holder].as_holder;

	if (at < s->blame_n && s->blame[at].victim == victim && s->blame[at].holder == holder)
		return &s->blame[at];
	if (places->threads[victim].came_back)
		for (at = places->threads[victim].as_victim; at < s->blame_n; at++)
			if (s->blame[at].victim == victim && s->blame[at].holder == holder)
				return &s->blame[at];
	return NULL;
}

static void note_victim(const struct proc_sample *s, struct blame_place *place, uint32_t victim)
{
	if (place->as_victim >= s->blame_n || s->blame[place->as_victim].victim != victim)
		*place = (struct blame_place){.as_holder = place->as_holder, .as_victim = (uint32_t)s->blame_n};
	else if (s->blame[s->blame_n - 1].victim != victim)
		place->came_back = true;
}

int proc_sample__charge(struct proc_sample *s, struct blame_places *places, uint32_t victim, uint32_t holder, uint64_t ns)
{
	struct blame_cell *cell;

	if (make_places(places, (size_t)(victim > holder ? victim : holder) + 1))
		return -ENOMEM;
	note_victim(s, &places->threads[victim], victim);
	cell = find_cell(s, places, victim, holder);
	if (!cell) {
		cell = proc_sample__add_blame(s);
		if (!cell)
			return -ENOMEM;
		*cell = (struct blame_cell){.victim = victim, .holder = holder};
		places->threads[holder].as_holder = (uint32_t)(s->blame_n - 1);
	}
	cell->ns += ns;
	return 0;
}

void blame_places__free(struct blame_places *places)
{
	free(places->threads);
	*places = (struct blame_places){0};
}

uint64_t *proc_sample__blamed(const struct proc_sample *s)
{
	uint64_t *ns = calloc(s->threads_n + 1, sizeof(*ns));

	for (size_t i = 0; ns && i < s->blame_n; i++)
		if (s->blame[i].holder < s->threads_n)
			ns[s->blame[i].holder] += s->blame[i].ns;
	return ns;
}

void code_cell__set_place(struct code_cell *cell, const char *function, const char *file, uint32_t line, uint32_t firstlineno)
{
	size_t len = strlen(file);

	if (len >= sizeof(cell->file)) {
		file += len - (sizeof(cell->file) - 1);
		while ((*file & 0xc0) == 0x80)
			file++;
	}
	text__clean(cell->function, sizeof(cell->function), function, strlen(function));
	text__clean(cell->file, sizeof(cell->file), file, strlen(file));
	cell->line = line;
	cell->firstlineno = firstlineno;
	cell->place = text__hash(text__hash(TEXT_HASH ^ line, cell->function), cell->file);
}

void code_cell__set_caller(struct code_cell *cell, const char *caller)
{
	text__clean(cell->caller, sizeof(cell->caller), caller, strlen(caller));
	if (cell->caller[0])
		cell->place = text__hash(cell->place, cell->caller);
}

void code_cell__set_native(struct code_cell *cell, const char *native)
{
	bool held = native && cell->hold_ns + cell->blame_ns > 0;

	text__clean(cell->native, sizeof(cell->native), held ? native : "", held ? strlen(native) : 0);
	cell->native_ns = cell->native[0] ? cell->hold_ns + cell->blame_ns : 0;
}

/* One line of Python may call several functions: the heavier one counts. */
static void add_native(struct code_cell *dst, const struct code_cell *src)
{
	if (!src->native[0])
		return;
	if (strcmp(dst->native, src->native) == 0) {
		dst->native_ns += src->native_ns;
	} else if (!dst->native[0] || src->native_ns > dst->native_ns) {
		memcpy(dst->native, src->native, sizeof(dst->native));
		dst->native_ns = src->native_ns;
	}
}

static void add_code(struct code_cell *dst, const struct code_cell *src)
{
	add_native(dst, src);
	dst->times += src->times;
	dst->ticks += src->ticks;
	dst->hold_var += src->hold_var;
	dst->hold_ns += src->hold_ns;
	dst->blame_ns += src->blame_ns;
	dst->wait_ns += src->wait_ns;
	dst->over_ns += src->over_ns;
	gil_off_add(&dst->hold_off, &src->hold_off);
	gil_off_add(&dst->blame_off, &src->blame_off);
}

static void add_rest(struct code_rest *rest, const struct code_cell *cell)
{
	rest->hold_ns += cell->hold_ns;
	rest->blame_ns += cell->blame_ns;
	rest->wait_ns += cell->wait_ns;
}

int proc_sample__add_code(struct proc_sample *s, const struct code_cell *cell, size_t max)
{
	struct code_cell *fresh;

	for (size_t i = 0; i < s->code_n; i++)
		if (s->code[i].place == cell->place && s->code[i].thread == cell->thread) {
			add_code(&s->code[i], cell);
			return 0;
		}
	if (s->code_n >= max) {
		add_rest(&s->code_rest, cell);
		return 0;
	}
	fresh = append((void **)&s->code, &s->code_n, sizeof(*s->code));
	if (!fresh)
		return -ENOMEM;
	*fresh = *cell;
	return 0;
}

static int by_guilt(const void *a, const void *b)
{
	const struct code_cell *x = *(const struct code_cell *const *)a, *y = *(const struct code_cell *const *)b;

	if (x->blame_ns != y->blame_ns)
		return x->blame_ns > y->blame_ns ? -1 : 1;
	if (x->hold_ns != y->hold_ns)
		return x->hold_ns > y->hold_ns ? -1 : 1;
	if (x->wait_ns != y->wait_ns)
		return x->wait_ns > y->wait_ns ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

const struct code_cell **proc_sample__sorted_code(const struct proc_sample *s)
{
	const struct code_cell **sorted = calloc(s->code_n + 1, sizeof(*sorted));

	for (size_t i = 0; sorted && i < s->code_n; i++)
		sorted[i] = &s->code[i];
	if (sorted)
		qsort(sorted, s->code_n, sizeof(*sorted), by_guilt);
	return sorted;
}

int proc_sample__cap_code(struct proc_sample *s, size_t max)
{
	const struct code_cell **sorted;
	struct code_cell *kept;

	if (s->code_n <= max)
		return 0;
	sorted = proc_sample__sorted_code(s);
	kept = calloc(s->code_n + max / 8 + 8, sizeof(*kept)); /* room for append() up to its next step */
	for (size_t i = 0; sorted && kept && i < s->code_n; i++) {
		if (i < max)
			kept[i] = *sorted[i];
		else
			add_rest(&s->code_rest, sorted[i]);
	}
	free(sorted);
	if (!sorted || !kept) {
		free(kept);
		return -ENOMEM;
	}
	free(s->code);
	s->code = kept;
	s->code_n = max;
	return 0;
}

long proc_sample__find_thread(const struct proc_sample *s, const struct thread_key *key, uint32_t gil)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (s->threads[i].gil == gil && thread_key__equal(&s->threads[i].key, key))
			return (long)i;
	return -1;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void gc_time__add(struct gc_time *dst, const struct gc_time *src)
{
	dst->hold_ns += src->hold_ns;
	dst->wait_ns += src->wait_ns;
	dst->max_ns = max_u64(dst->max_ns, src->max_ns);
	dst->err2 += src->err2;
	for (size_t i = 0; i < sizeof(dst->n) / sizeof(dst->n[0]); i++)
		dst->n[i] += src->n[i];
}

uint32_t metrics__known_of_both(const struct metrics *a, const struct metrics *b)
{
	uint32_t both = a->known & b->known, of_waits = KNOWN_WAIT_EST | KNOWN_HANDOVER | (both & KNOWN_GC ? KNOWN_GC_WAIT : 0);

	return a->looks && b->looks ? both | ((a->known | b->known) & of_waits) : both;
}

/* What adds up over time as well as over threads. */
static int add_ended(struct metrics *dst, const struct metrics *src)
{
	int err;

	dst->known = metrics__known_of_both(dst, src);
	dst->hold_ns += src->hold_ns;
	dst->wait_ns += src->wait_ns;
	dst->handover_ns += src->handover_ns;
	dst->unknown_ns += src->unknown_ns;
	dst->acquires += src->acquires;
	dst->contended += src->contended;
	dst->forced += src->forced;
	dst->inferred += src->inferred;
	gil_off_add(&dst->hold_off, &src->hold_off);
	gil_off_add(&dst->wait_off, &src->wait_off);
	overs__add(&dst->over, &src->over);
	dst->hold_max_ns = max_u64(dst->hold_max_ns, src->hold_max_ns);
	dst->wait_max_ns = max_u64(dst->wait_max_ns, src->wait_max_ns);
	gc_time__add(&dst->gc, &src->gc);
	dst->hold_est.ns += src->hold_est.ns;
	dst->hold_est.err2 += src->hold_est.err2;
	dst->wait_err2 += src->wait_err2;
	dst->looks += src->looks;
	dst->switches += src->switches;
	err = hist__add(&dst->hold, &src->hold);
	return hist__add(&dst->wait, &src->wait) ?: err;
}

static int add_open(struct metrics *dst, const struct metrics *src)
{
	int err = hist__add(&dst->hold_open, &src->hold_open);

	dst->waiting += src->waiting;
	return hist__add(&dst->wait_open, &src->wait_open) ?: err;
}

const char *gil_mode__name(enum gil_mode mode, const char *other)
{
	static const char *const names[GIL_MODES] = {
		[GIL_MODE_FULL] = "full", [GIL_MODE_LIGHT] = "light", [GIL_MODE_HOLDS] = "holds", [GIL_MODE_GUARDED] = "guarded",
		[GIL_MODE_LOOK] = "look",
	};

	return names[mode] ?: other;
}

int metrics__merge(struct metrics *dst, const struct metrics *src)
{
	metrics__clear_open(dst);
	return metrics__sum(dst, src);
}

int metrics__sum(struct metrics *dst, const struct metrics *src)
{
	int err = add_ended(dst, src);

	return add_open(dst, src) ?: err;
}

void metrics__clear_open(struct metrics *m)
{
	m->waiting = 0;
	hist__clear(&m->hold_open);
	hist__clear(&m->wait_open);
}

void metrics__clear(struct metrics *m)
{
	hist__clear(&m->hold);
	hist__clear(&m->wait);
	metrics__clear_open(m);
	memset(m, 0, sizeof(*m));
}
