/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See window.h. Adding goes: total, GILs, room for newcomers (folding ended threads if need be), a place
 * for each thread, its metrics, then blame cells through the places. Indices of threads change only while
 * room is made, before any place is handed out.
 */
#include "window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t low_word(const struct thread_key *key, uint32_t gil)
{
	return (uint64_t)key->tid << 32 | gil;
}

static uint32_t find(const struct window *w, const struct thread_key *key, uint32_t gil)
{
	return keymap__get(&w->threads, key->start_ticks, low_word(key, gil));
}

/* ---- the process as a whole ---- */

static uint64_t add_if_known(uint64_t a, uint64_t b)
{
	return a == UINT64_MAX || b == UINT64_MAX ? UINT64_MAX : a + b;
}

static void begin(struct window *w, const struct proc_sample *s)
{
	struct proc_sample *d = &w->sample;

	d->mode = s->mode;
	d->no_gil = s->no_gil;
	d->total.known = 0;
	d->cpu_ns = 0;
	w->begun = true;
}

/* What is known of all that was observed; where nothing was, `cov` says so. */
static uint32_t known_with(struct window *w, const struct proc_sample *s)
{
	bool seen = w->seen, unseen = s->mode == GIL_MODE_GUARDED;

	w->seen |= !unseen;
	return unseen ? w->sample.total.known : seen ? metrics__known_of_both(&w->sample.total, &s->total) : s->total.known;
}

static int add_process(struct window *w, const struct proc_sample *s)
{
	struct proc_sample *d = &w->sample;
	uint32_t known;
	int err;

	if (!w->begun)
		begin(w, s);
	known = known_with(w, s);
	d->end_ms = s->end_ms;
	d->len_ns += s->len_ns;
	d->observed_ns += s->observed_ns;
	d->wait_unseen_ns += s->wait_unseen_ns;
	if (d->mode != s->mode)
		d->mode = GIL_MODE_OFF;
	d->blame_sampled |= s->blame_sampled;
	d->partial |= s->partial;
	d->no_gil &= s->no_gil;
	d->no_gil_ns += s->no_gil_ns;
	d->live_threads = s->live_threads;
	d->cost_ns += s->cost_ns;
	d->hits += s->hits;
	d->cpu_ns = add_if_known(d->cpu_ns, s->cpu_ns);
	d->rss_kib = s->rss_kib;
	holding__merge(&d->holding, &s->holding);
	whys__merge(&d->whys, &s->whys);
	d->switches_missed += s->switches_missed;
	for (size_t i = 0; i < GIL_LOSS_COUNT; i++)
		d->lost[i] += s->lost[i];
	err = metrics__merge(&d->total, &s->total);
	d->total.known = known;
	return err;
}

/*
 * What was open at the end of the last sample is over or open in the next one, older. What is known of a part
 * is at most what was known of the process all the time.
 */
static void settle(struct window *w)
{
	struct proc_sample *d = &w->sample;

	for (size_t i = 0; i < d->gils_n; i++) {
		metrics__clear_open(&d->gils[i].m);
		d->gils[i].m.known &= d->total.known;
	}
	for (size_t i = 0; i < d->threads_n; i++) {
		metrics__clear_open(&d->threads[i].m);
		d->threads[i].m.known &= d->total.known;
	}
}

static struct gil_sample *find_gil(const struct proc_sample *d, uint32_t gil)
{
	for (size_t i = 0; i < d->gils_n; i++)
		if (d->gils[i].gil == gil)
			return &d->gils[i];
	return NULL;
}

/* Under which number a GIL is kept: programs that make interpreters by the thousand fill no memory with them. */
static uint32_t gil_number(const struct window *w, uint32_t gil)
{
	if (gil == 0 || w->sample.gils_n < WINDOW_MAX_GILS || find_gil(&w->sample, gil))
		return gil;
	return GIL_NUMBER_OTHER;
}

static struct gil_sample *get_gil(struct window *w, uint32_t gil)
{
	struct proc_sample *d = &w->sample;
	uint32_t number = gil_number(w, gil);
	struct gil_sample *g = find_gil(d, number);

	if (g)
		return g;
	g = proc_sample__add_gil(d);
	if (g) {
		g->gil = number;
		g->m.known = d->total.known;
	}
	return g;
}

static int add_gils(struct window *w, const struct proc_sample *s)
{
	int err = 0;

	for (size_t i = 0; i < s->gils_n; i++) {
		struct gil_sample *d = get_gil(w, s->gils[i].gil);

		if (!d)
			return -ENOMEM;
		d->addr = s->gils[i].addr;
		err = metrics__sum(&d->m, &s->gils[i].m) ?: err;
	}
	return err;
}

/* ---- folding ---- */

static uint32_t append_thread(struct window *w, const struct thread_key *key, uint32_t gil)
{
	struct proc_sample *d = &w->sample;
	struct thread_sample *t = proc_sample__add_thread(d);
	uint32_t index = (uint32_t)d->threads_n - 1;

	if (!t)
		return KEYMAP_NONE;
	t->key = *key;
	t->gil = gil;
	t->m.known = d->total.known;
	if (keymap__put(&w->threads, key->start_ticks, low_word(key, gil), index) != 0) {
		d->threads_n--;
		return KEYMAP_NONE;
	}
	return index;
}

static uint32_t get_other(struct window *w, uint32_t gil)
{
	static const struct thread_key other = {.tid = 0, .start_ticks = PSEUDO_OTHER};
	uint32_t index = find(w, &other, gil);

	if (index == KEYMAP_NONE) {
		index = append_thread(w, &other, gil);
		if (index != KEYMAP_NONE)
			strcpy(w->sample.threads[index].name, "other");
	}
	return index;
}

struct candidate {
	uint64_t weight;
	uint32_t index;
};

static int by_weight(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->weight != y->weight)
		return x->weight < y->weight ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Ended threads, the least interesting first. Returns their number. */
static size_t list_ended(const struct proc_sample *d, struct candidate *list)
{
	size_t n = 0;

	for (size_t i = 0; i < d->threads_n; i++) {
		const struct thread_sample *t = &d->threads[i];

		if (t->exited && t->key.tid != 0)
			list[n++] = (struct candidate){metrics__held(&t->m) + t->m.wait_ns, (uint32_t)i};
	}
	qsort(list, n, sizeof(*list), by_weight);
	return n;
}

/* Sums thread `from` into its GIL's pseudo-thread and notes where it went. */
static int fold_one(struct window *w, uint32_t from, uint32_t *moved)
{
	uint32_t to = get_other(w, w->sample.threads[from].gil);
	int err;

	if (to == KEYMAP_NONE)
		return -ENOMEM;
	err = metrics__sum(&w->sample.threads[to].m, &w->sample.threads[from].m);
	metrics__clear(&w->sample.threads[from].m);
	moved[from] = to;
	w->folded++;
	return err;
}

/* Closes the gaps of folded threads; `moved` becomes old index -> new index for all. */
static int compact_threads(struct window *w, uint32_t *moved)
{
	struct proc_sample *d = &w->sample;
	size_t n = d->threads_n, kept = 0;
	int err = 0;

	keymap__clear(&w->threads);
	for (size_t i = 0; i < n; i++) {
		struct thread_sample *t = &d->threads[i];

		if (moved[i] != KEYMAP_NONE)
			continue;
		if (kept != i)
			d->threads[kept] = *t;
		t = &d->threads[kept];
		err = keymap__put(&w->threads, t->key.start_ticks, low_word(&t->key, t->gil), (uint32_t)kept) ?: err;
		moved[i] = (uint32_t)kept++ | 0x80000000u;
	}
	/* Folded ones point at the old index of their pseudo-thread: follow it. */
	for (size_t i = 0; i < n; i++)
		if (!(moved[i] & 0x80000000u))
			moved[i] = moved[moved[i]];
	for (size_t i = 0; i < n; i++)
		moved[i] &= 0x7fffffffu;
	d->threads_n = kept;
	return err;
}

/*
 * Place of a pair, or PAIR_NONE. Samples tend to list their pairs in the same order, so the one behind the last
 * is tried first: with tens of thousands of pairs that is cheaper than a hash by far.
 */
static uint32_t find_pair(struct window *w, uint32_t victim, uint32_t holder)
{
	const struct proc_sample *d = &w->sample;
	uint32_t at = (uint32_t)w->next_pair;

	if (at >= d->blame_n || d->blame[at].victim != victim || d->blame[at].holder != holder)
		at = pair_index__find(&w->pairs, d->blame, victim, holder);
	if (at != PAIR_NONE)
		w->next_pair = (size_t)at + 1;
	return at;
}

static int add_pair(struct window *w, uint32_t victim, uint32_t holder, uint64_t ns)
{
	struct proc_sample *d = &w->sample;
	uint32_t at = find_pair(w, victim, holder);
	struct blame_cell *cell;

	if (at != PAIR_NONE) {
		d->blame[at].ns += ns;
		return 0;
	}
	cell = proc_sample__add_blame(d);
	if (!cell)
		return -ENOMEM;
	*cell = (struct blame_cell){victim, holder, ns};
	return pair_index__add(&w->pairs, d->blame, (uint32_t)d->blame_n - 1);
}

/* Rewrites the cells in place: the array never becomes longer than what was read of it. */
static int remap_pairs(struct window *w, const uint32_t *moved)
{
	struct proc_sample *d = &w->sample;
	size_t kept = 0;

	pair_index__clear(&w->pairs);
	for (size_t i = 0; i < d->blame_n; i++) {
		struct blame_cell c = {moved[d->blame[i].victim], moved[d->blame[i].holder],
				       d->blame[i].ns};
		uint32_t at = pair_index__find(&w->pairs, d->blame, c.victim, c.holder);

		if (at != PAIR_NONE) {
			d->blame[at].ns += c.ns;
			continue;
		}
		d->blame[kept] = c;
		if (pair_index__add(&w->pairs, d->blame, (uint32_t)kept) != 0)
			return -ENOMEM;
		kept++;
	}
	d->blame_n = kept;
	return 0;
}

static void remap_code(struct proc_sample *d, const uint32_t *moved)
{
	for (size_t i = 0; i < d->code_n; i++)
		d->code[i].thread = moved[d->code[i].thread];
}

static int fold_listed(struct window *w, const struct candidate *list, size_t n, uint32_t *moved)
{
	for (size_t i = 0; i < n; i++)
		if (fold_one(w, list[i].index, moved) != 0)
			return -ENOMEM;
	if (compact_threads(w, moved) != 0)
		return -ENOMEM;
	remap_code(&w->sample, moved);
	stack_cells__remap(&w->sample.stacks, moved);
	return remap_pairs(w, moved);
}

/*
 * Makes room for `need` threads out of the ended ones, as far as they go. A quarter of the table at a time,
 * so that its cost is spread over many births.
 */
static int fold_ended(struct window *w, size_t need)
{
	size_t n = w->sample.threads_n, want = need > w->max_threads / 4 ? need : w->max_threads / 4;
	struct candidate *list = calloc(n + 1, sizeof(*list));
	/* get_other() may add one per GIL while folding. */
	uint32_t *moved = malloc((2 * n + 1) * sizeof(*moved));
	int err = -ENOMEM;

	if (list && moved) {
		memset(moved, 0xff, (2 * n + 1) * sizeof(*moved));
		n = list_ended(&w->sample, list);
		err = n > 0 ? fold_listed(w, list, n < want ? n : want, moved) : 0;
	}
	free(list);
	free(moved);
	return err;
}

/* ---- threads and blame ---- */

static int reserve_places(struct window *w, size_t n)
{
	uint32_t *grown;

	if (n <= w->place_cap)
		return 0;
	grown = reallocarray(w->place, n, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	w->place = grown;
	w->place_cap = n;
	return 0;
}

static size_t count_newcomers(const struct window *w, const struct proc_sample *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->threads_n; i++)
		n += find(w, &s->threads[i].key, gil_number(w, s->threads[i].gil)) == KEYMAP_NONE;
	return n;
}

static int make_room(struct window *w, const struct proc_sample *s)
{
	size_t wanted = w->sample.threads_n + count_newcomers(w, s);

	return wanted > w->max_threads ? fold_ended(w, wanted - w->max_threads) : 0;
}

/* Where a thread's metrics go: its own place, a new one, or with the others when all is full. */
static uint32_t get_place(struct window *w, const struct thread_sample *t)
{
	uint32_t gil = gil_number(w, t->gil), index = find(w, &t->key, gil);

	if (index != KEYMAP_NONE)
		return index;
	if (t->key.tid == 0 || w->sample.threads_n < w->max_threads)
		return append_thread(w, &t->key, gil);
	w->folded++;
	return get_other(w, gil);
}

static int add_thread(struct window *w, const struct thread_sample *t, uint32_t *ret_place)
{
	uint32_t index = get_place(w, t);
	struct thread_sample *d;
	int err;

	*ret_place = index;
	if (index == KEYMAP_NONE)
		return -ENOMEM;
	d = &w->sample.threads[index];
	err = metrics__sum(&d->m, &t->m);
	if (!thread_key__equal(&d->key, &t->key))
		return err;
	d->exited = t->exited;
	if (t->name[0])
		memcpy(d->name, t->name, sizeof(d->name));
	return err;
}

static int add_threads(struct window *w, const struct proc_sample *s)
{
	int err = 0;

	for (size_t i = 0; i < s->threads_n; i++)
		if (add_thread(w, &s->threads[i], &w->place[i]) != 0)
			err = -ENOMEM;
	return err;
}

static int add_cell(struct window *w, const struct proc_sample *s, const struct blame_cell *c)
{
	uint32_t victim, holder;

	if (c->victim >= s->threads_n || c->holder >= s->threads_n)
		return 0;
	victim = w->place[c->victim];
	holder = w->place[c->holder];
	if (victim == KEYMAP_NONE || holder == KEYMAP_NONE)
		return -ENOMEM;
	if (w->sample.blame_n >= WINDOW_MAX_PAIRS &&
	    pair_index__find(&w->pairs, w->sample.blame, victim, holder) == PAIR_NONE)
		holder = get_other(w, w->sample.threads[holder].gil);
	return holder == KEYMAP_NONE ? -ENOMEM : add_pair(w, victim, holder, c->ns);
}

static int add_blame(struct window *w, const struct proc_sample *s)
{
	int err = 0;

	w->next_pair = 0;
	for (size_t i = 0; i < s->blame_n; i++)
		if (add_cell(w, s, &s->blame[i]) != 0)
			err = -ENOMEM;
	return err;
}

static int add_code(struct window *w, const struct proc_sample *s)
{
	int err = 0;

	w->sample.code_known |= s->code_known;
	w->sample.code_rest.hold_ns += s->code_rest.hold_ns;
	w->sample.code_rest.blame_ns += s->code_rest.blame_ns;
	w->sample.code_rest.wait_ns += s->code_rest.wait_ns;
	for (size_t i = 0; i < s->code_n; i++) {
		struct code_cell cell = s->code[i];

		if (cell.thread >= s->threads_n || w->place[cell.thread] == KEYMAP_NONE)
			continue;
		cell.thread = w->place[cell.thread];
		err = proc_sample__add_code(&w->sample, &cell, WINDOW_MAX_CODE) ?: err;
	}
	return err;
}

static int add_stacks(struct window *w, const struct proc_sample *s)
{
	struct stack_cells *all = &w->sample.stacks;
	int err = 0;

	if (w->no_stacks)
		return 0;
	stack_weights__add(&all->rest, &s->stacks.rest);
	for (size_t i = 0; i < s->stacks.n; i++) {
		const struct stack_cell *cell = &s->stacks.cells[i];

		if (cell->thread < s->threads_n && w->place[cell->thread] != KEYMAP_NONE)
			err = stack_cells__add(all, w->place[cell->thread], cell->line, &cell->w, WINDOW_MAX_STACKS) ?: err;
	}
	return err;
}

int window__add(struct window *w, const struct proc_sample *s)
{
	int err;

	if (reserve_places(w, s->threads_n) != 0)
		return -ENOMEM;
	err = add_process(w, s);
	settle(w);
	err = make_room(w, s) ?: err;
	err = add_gils(w, s) ?: err;
	err = add_threads(w, s) ?: err;
	err = add_blame(w, s) ?: err;
	err = add_code(w, s) ?: err;
	return add_stacks(w, s) ?: err;
}

void window__clear(struct window *w)
{
	proc_sample__empty(&w->sample);
	w->begun = w->seen = false;
	w->folded = 0;
	/* A burst of threads must not leave its memory behind. */
	if (w->threads.capacity > 1024)
		keymap__free(&w->threads);
	if (w->pairs.capacity > 4096)
		pair_index__free(&w->pairs);
	keymap__clear(&w->threads);
	pair_index__clear(&w->pairs);
}

void window__free(struct window *w)
{
	proc_sample__empty(&w->sample);
	free(w->sample.gils);
	free(w->sample.threads);
	free(w->sample.blame);
	free(w->sample.code);
	stack_cells__free(&w->sample.stacks);
	free(w->place);
	keymap__free(&w->threads);
	pair_index__free(&w->pairs);
}
