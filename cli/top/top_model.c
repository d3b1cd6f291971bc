/* SPDX-License-Identifier: GPL-2.0-only */
/* See top_model.h. */
#include "top_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAST_S 300             /* what the lines in the header show in the end */
#define PAGE_ROWS 10           /* until the view says how many it shows */

void top_update__free(struct top_update *u)
{
	top_frame__free(u->now);
	top_frame__free(u->minute);
	free(u->points);
	free(u->choices);
	u->now = u->minute = NULL;
	u->points = NULL;
	u->choices = NULL;
}

void top_model__init(struct top_model *m)
{
	memset(m, 0, sizeof(*m));
	m->gil = -1;
	m->page_rows = PAGE_ROWS;
}

/* ---- frames ---- */

static void replace(struct top_frame **frame, struct top_frame *by, const struct top_frame *paused)
{
	if (*frame != paused)
		top_frame__free(*frame);
	*frame = by;
}

static void end_pause(struct top_model *m)
{
	if (m->paused_now != m->now)
		top_frame__free(m->paused_now);
	if (m->paused_minute != m->minute)
		top_frame__free(m->paused_minute);
	m->paused_now = m->paused_minute = NULL;
	m->paused = false;
	m->order_stale = true;
}

static void begin_pause(struct top_model *m)
{
	m->paused_now = m->now;
	m->paused_minute = m->minute;
	m->paused = true;
}

const struct top_frame *top_model__frame(const struct top_model *m)
{
	const struct top_frame *now = m->paused ? m->paused_now : m->now;
	const struct top_frame *minute = m->paused ? m->paused_minute : m->minute;

	return m->wants_minute && minute ? minute : now;
}

void top_model__forget_process(struct top_model *m)
{
	end_pause(m);
	replace(&m->now, NULL, NULL);
	replace(&m->minute, NULL, NULL);
	free(m->order);
	m->order = NULL;
	m->order_n = 0;
	m->who = (struct top_who){.pid = 0};
	m->state = TOP_STARTING;
	m->words[0] = m->source[0] = m->notice[0] = m->thr[0] = '\0';
	m->gil = -1;
	m->row = 0;
	m->sort_chosen = false;
	m->sort = TOP_SORT_HOLD;
	m->first_second = m->last_second = 0;
	memset(m->seconds, 0, sizeof(m->seconds));
}

void top_model__clear(struct top_model *m)
{
	top_model__forget_process(m);
	free(m->choices);
	m->choices = NULL;
	m->choices_n = 0;
}

/* ---- the past ---- */

static struct top_second *second_at(struct top_model *m, int64_t second)
{
	struct top_second *s = &m->seconds[second % TOP_HISTORY_S];

	if (s->second != second)
		*s = (struct top_second){.second = second};
	return s;
}

/* The part of a point that lies in one second. */
static void add_part(struct top_model *m, const struct top_point *p, int64_t second, double part)
{
	struct top_second *s = second_at(m, second);
	double observed = p->observed_us / 1e6 * part;

	s->observed_s += observed;
	if (!isnan(p->busy)) {
		s->busy_known_s += observed;
		s->busy_s += p->busy * observed;
	}
	if (!isnan(p->waiting))
		s->wait_s += p->waiting * observed;
}

static void add_point(struct top_model *m, const struct top_point *p)
{
	double d_ms = p->d_us / 1000;
	int64_t begin, last = (p->end_ms - 1) / 1000;

	if (!(d_ms > 0) || p->end_ms <= 0 || last <= m->last_second - TOP_HISTORY_S)
		return;
	begin = d_ms < TOP_HISTORY_S * 1000.0 ? p->end_ms - (int64_t)d_ms : p->end_ms - TOP_HISTORY_S * 1000;
	begin = begin > 0 ? begin : 0;
	for (int64_t s = begin / 1000; s <= last; s++) {
		double from = s * 1000.0 > (double)begin ? s * 1000.0 : (double)begin;
		double to = s * 1000.0 + 1000 < (double)p->end_ms ? s * 1000.0 + 1000 : (double)p->end_ms;

		if (to > from && s > last - TOP_HISTORY_S)
			add_part(m, p, s, (to - from) / d_ms);
	}
	if (!m->first_second || begin / 1000 < m->first_second)
		m->first_second = begin / 1000;
	if (last > m->last_second)
		m->last_second = last;
}

static size_t step_for(const struct top_model *m, size_t n)
{
	static const size_t steps[] = {1, 2, 5, 10, 15, 30, 60, 120, 300};
	int64_t known = m->last_second - m->first_second + 1;
	size_t span = known < PAST_S ? (size_t)known : PAST_S, i = 0;

	while (i + 1 < sizeof(steps) / sizeof(steps[0]) && n * steps[i] < span)
		i++;
	return steps[i];
}

void top_model__past(const struct top_model *m, size_t n, double *busy, double *waiting, size_t *ret_step_s)
{
	int64_t step = (int64_t)step_for(m, n), newest = m->last_second / step;

	*ret_step_s = (size_t)step;
	for (size_t i = 0; i < n; i++) {
		int64_t first = (newest - (int64_t)(n - 1 - i)) * step;
		struct top_second sum = {0};

		for (int64_t s = first; s < first + step && first > 0; s++) {
			const struct top_second *one = &m->seconds[s % TOP_HISTORY_S];

			if (one->second != s)
				continue;
			sum.observed_s += one->observed_s;
			sum.busy_known_s += one->busy_known_s;
			sum.busy_s += one->busy_s;
			sum.wait_s += one->wait_s;
		}
		busy[i] = sum.busy_known_s > 0 ? sum.busy_s / sum.busy_known_s : NAN;
		waiting[i] = sum.observed_s > 0 ? sum.wait_s / sum.observed_s : NAN;
	}
}

/* ---- updates ---- */

/* Where holds are not known, the order is by what is. */
static void choose_sort(struct top_model *m)
{
	if (!m->sort_chosen && m->now && m->now->d_us > 0)
		m->sort = isnan(m->now->is.hold) ? TOP_SORT_WAIT : TOP_SORT_HOLD;
}

static void take_frames(struct top_model *m, struct top_update *u)
{
	if (u->now) {
		replace(&m->now, u->now, m->paused_now);
		u->now = NULL;
		choose_sort(m);
	}
	if (u->minute) {
		replace(&m->minute, u->minute, m->paused_minute);
		u->minute = NULL;
	}
	for (size_t i = 0; i < u->points_n; i++)
		add_point(m, &u->points[i]);
	m->order_stale = true;
}

/* The cursor stays on its process. */
static void take_choices(struct top_model *m, struct top_update *u)
{
	const struct top_choice *old = top_model__choice(m);
	size_t chosen = 0;

	for (size_t i = 0; old && i < u->choices_n; i++)
		if (u->choices[i].pid == old->pid && strcmp(u->choices[i].id, old->id) == 0)
			chosen = i;
	free(m->choices);
	m->choices = u->choices;
	m->choices_n = u->choices_n;
	m->choices_known = true;
	m->chosen = chosen;
	u->choices = NULL;
}

void top_model__take(struct top_model *m, struct top_update *u, int64_t now_ms)
{
	switch (u->kind) {
	case TOP_UPDATE_WHO:
		m->who = u->who;
		break;
	case TOP_UPDATE_STATE:
		m->state = u->state;
		memcpy(m->words, u->words, sizeof(m->words));
		if (u->source[0])
			memcpy(m->source, u->source, sizeof(m->source));
		break;
	case TOP_UPDATE_FRAME:
		take_frames(m, u);
		break;
	case TOP_UPDATE_NOTICE:
		memcpy(m->notice, u->words, sizeof(m->notice));
		m->notice_ms = now_ms;
		break;
	case TOP_UPDATE_CHOICES:
		take_choices(m, u);
		break;
	}
	top_update__free(u);
}

/* ---- the order of threads ---- */

/* What a thread is ordered by; NAN: not known. */
static double sort_value(const struct top_thread *t, enum top_sort sort)
{
	switch (sort) {
	case TOP_SORT_HOLD:
		return t->is.hold;
	case TOP_SORT_WAIT:
		return t->is.wait;
	case TOP_SORT_BLAME:
		return t->blame;
	case TOP_SORT_HOLD_MAX:
		return t->is.hold_max;
	case TOP_SORT_WAIT_P99:
		return t->is.wait_p99;
	case TOP_SORT_COUNT:
		break;
	}
	return NAN;
}

/* Larger first, what is not known last. */
static int by_value(double x, double y)
{
	if (isnan(x) || isnan(y))
		return isnan(x) - isnan(y);
	return x < y ? 1 : x > y ? -1 : 0;
}

/* Shares that look the same are: rows would change places for nothing. */
static int by_share(double x, double y)
{
	return by_value(round(x * 1000), round(y * 1000));
}

/* The id settles a draw, so that equal rows do not change places from one interval to the next. */
static int compare(const void *a_, const void *b_, void *arg)
{
	const struct top_model *m = arg;
	const struct top_frame *f = top_model__frame(m);
	const struct top_thread *a = &f->threads[*(const size_t *)a_], *b = &f->threads[*(const size_t *)b_];
	double x = sort_value(a, m->sort), y = sort_value(b, m->sort);
	int by = m->sort <= TOP_SORT_BLAME ? by_share(x, y) : by_value(x, y);

	by = by ? by : by_share(a->is.hold, b->is.hold);
	by = by ? by : by_share(a->is.wait, b->is.wait);
	by = by ? by : a->tid < b->tid ? -1 : a->tid > b->tid;
	return by ? by : strcmp(a->thr, b->thr);
}

const size_t *top_model__order(struct top_model *m, size_t *ret_n)
{
	const struct top_frame *f = top_model__frame(m);
	size_t *order = f && m->order_stale ? calloc(f->threads_n + 1, sizeof(*order)) : NULL;

	if (order) {
		free(m->order);
		m->order = order;
		m->order_n = 0;
		for (size_t i = 0; i < f->threads_n; i++)
			if (m->gil < 0 || f->threads[i].gil == m->gil)
				order[m->order_n++] = i;
		qsort_r(order, m->order_n, sizeof(*order), compare, m);
		m->order_stale = false;
	}
	*ret_n = f && !m->order_stale ? m->order_n : 0;
	return m->order;
}

size_t top_model__cursor(struct top_model *m)
{
	size_t n;
	const size_t *order = top_model__order(m, &n);
	const struct top_frame *f = top_model__frame(m);

	for (size_t i = 0; m->thr[0] && i < n; i++)
		if (f->threads[order[i]].gil == m->thr_gil && strcmp(f->threads[order[i]].thr, m->thr) == 0)
			return m->row = i;
	return SIZE_MAX;
}

const struct top_choice *top_model__choice(const struct top_model *m)
{
	return m->chosen < m->choices_n ? &m->choices[m->chosen] : NULL;
}

/* ---- keys ---- */

/* A cursor `at` in `n` rows after a key that moves it; *ret_moved: it was one. */
static size_t move(size_t at, size_t n, size_t page, int key, bool *ret_moved)
{
	size_t last = n ? n - 1 : 0;

	*ret_moved = true;
	switch (key) {
	case TOP_KEY_UP:
	case 'k':
		return at > 0 ? at - 1 : 0;
	case TOP_KEY_DOWN:
	case 'j':
		return at < last ? at + 1 : last;
	case TOP_KEY_PAGE_UP:
		return at > page ? at - page : 0;
	case TOP_KEY_PAGE_DOWN:
		return at + page < last ? at + page : last;
	case TOP_KEY_HOME:
		return 0;
	case TOP_KEY_END:
		return last;
	}
	*ret_moved = false;
	return at;
}

static bool is_back(int key)
{
	return key == TOP_KEY_ESCAPE || key == TOP_KEY_ENTER || key == TOP_KEY_LEFT || key == 'q' || key == 'Q' || key == 127;
}

static void set_sort(struct top_model *m, enum top_sort sort)
{
	m->sort = sort;
	m->sort_chosen = true;
	m->order_stale = true;
}

static void next_gil(struct top_model *m)
{
	const struct top_frame *f = top_model__frame(m);
	int64_t next = -1;

	for (size_t i = 0; f && i < f->gils_n; i++)
		if (f->gils[i].gil > m->gil && (next < 0 || f->gils[i].gil < next))
			next = f->gils[i].gil;
	m->gil = next;
	m->order_stale = true;
}

/* The first step puts the cursor on the first row; later ones begin where it last stood. */
static bool move_thread(struct top_model *m, int key)
{
	size_t n, at, cursor = top_model__cursor(m);
	const size_t *order = top_model__order(m, &n);
	const struct top_thread *threads;
	bool moved;

	at = move(m->row, n, m->page_rows, key, &moved);
	if (!moved || !n)
		return moved;
	if (cursor == SIZE_MAX && !m->thr[0] && (key == TOP_KEY_DOWN || key == 'j'))
		at = 0;
	at = at < n ? at : n - 1;
	threads = top_model__frame(m)->threads;
	m->row = at;
	memcpy(m->thr, threads[order[at]].thr, sizeof(m->thr));
	m->thr_gil = threads[order[at]].gil;
	return true;
}

static enum top_action open_thread(struct top_model *m)
{
	size_t n;

	top_model__order(m, &n);
	if (!m->thr[0] && n)
		move_thread(m, TOP_KEY_HOME);
	if (m->thr[0])
		m->page = TOP_PAGE_THREAD;
	return TOP_NOTHING;
}

static enum top_action toggle_window(struct top_model *m)
{
	m->wants_minute = !m->wants_minute;
	m->order_stale = true;
	return TOP_OTHER_WINDOW;
}

static void toggle_pause(struct top_model *m)
{
	if (m->paused)
		end_pause(m);
	else if (m->now)
		begin_pause(m);
}

static bool is_sort_key(struct top_model *m, int key)
{
	static const struct {
		char keys[4];
		enum top_sort sort;
	} sorts[] = {{"H1", TOP_SORT_HOLD}, {"Ww2", TOP_SORT_WAIT}, {"Bb3", TOP_SORT_BLAME}, {"4", TOP_SORT_HOLD_MAX},
		     {"5", TOP_SORT_WAIT_P99}};

	for (size_t i = 0; i < sizeof(sorts) / sizeof(sorts[0]) && key > 0 && key < 128; i++)
		if (strchr(sorts[i].keys, key)) {
			set_sort(m, sorts[i].sort);
			return true;
		}
	if (key == '<' || key == TOP_KEY_LEFT)
		set_sort(m, (m->sort + TOP_SORT_COUNT - 1) % TOP_SORT_COUNT);
	else if (key == '>' || key == TOP_KEY_RIGHT)
		set_sort(m, (m->sort + 1) % TOP_SORT_COUNT);
	else
		return false;
	return true;
}

static enum top_action process_key(struct top_model *m, int key)
{
	if (move_thread(m, key) || is_sort_key(m, key))
		return TOP_NOTHING;
	switch (key) {
	case 'q':
	case 'Q':
		return TOP_QUIT;
	case 'l':
	case 'L':
		return TOP_LIST;
	case ' ':
	case 'p':
	case 'P':
		toggle_pause(m);
		return TOP_NOTHING;
	case 'm':
	case 'M':
		return toggle_window(m);
	case 'g':
	case 'G':
		next_gil(m);
		return TOP_NOTHING;
	case TOP_KEY_ENTER:
		return open_thread(m);
	}
	return TOP_NOTHING;
}

static enum top_action thread_key(struct top_model *m, int key)
{
	if (is_back(key))
		m->page = TOP_PAGE_PROCESS;
	else if (key == ' ' || key == 'p' || key == 'P' || key == 'm' || key == 'M')
		return process_key(m, key);
	else
		move_thread(m, key);
	return TOP_NOTHING;
}

static enum top_action list_key(struct top_model *m, int key)
{
	const struct top_choice *choice = top_model__choice(m);
	bool moved;
	size_t at = move(m->chosen, m->choices_n, m->page_rows, key, &moved);

	m->chosen = at;
	if (key == 'q' || key == 'Q')
		return TOP_QUIT;
	if (key == 'r' || key == 'R')
		return TOP_REFRESH;
	return key == TOP_KEY_ENTER && choice && !choice->note[0] ? TOP_OPEN : TOP_NOTHING;
}

enum top_action top_model__key(struct top_model *m, int key)
{
	if (key == TOP_KEY_QUIT)
		return TOP_QUIT;
	if (key == TOP_KEY_NONE || key == TOP_KEY_RESIZE)
		return TOP_NOTHING;
	if (m->help || key == '?' || key == 'h' || key == TOP_KEY_HELP) {
		m->help = !m->help;
		return TOP_NOTHING;
	}
	if (m->page == TOP_PAGE_LIST)
		return list_key(m, key);
	return m->page == TOP_PAGE_THREAD ? thread_key(m, key) : process_key(m, key);
}
