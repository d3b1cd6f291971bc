/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `top` knows and what the person at the keys wants to see of it. Pure: updates and keys come in, top_view.h draws.
 *
 *   sources --update--> model <--key-- person        model --> view --> canvas --> terminal
 *
 * A paused model goes on taking updates; it shows the frame that it was paused at.
 */
#ifndef GILSCOPE_TOP_MODEL_H
#define GILSCOPE_TOP_MODEL_H

#include <sys/types.h>

#include "top_frame.h"

#define TOP_HISTORY_S 900     /* seconds of the past that are kept for the lines in the header */
#define TOP_WORDS 400

/* ---- what comes in ---- */

/* Who is shown. */
struct top_who {
	char id[SCHEMA_ID_SIZE], label[160], python[24], mode[24];
	char host[65];            /* "": this one */
	pid_t pid;
};

enum top_state {
	TOP_STARTING,  /* nothing to show yet: `words` say what is waited for */
	TOP_LIVE,
	TOP_AWAY,      /* no news; `words` say why. It goes on trying */
	TOP_ENDED,     /* there will be no more; `words` say why. What is shown is the last of it */
	TOP_FAILED,    /* it could not begin */
};

/* How busy a stretch of time was, for the lines in the header. */
struct top_point {
	int64_t end_ms;
	double d_us, observed_us;
	double busy, waiting; /* NAN: not known */
};

/* A process that can be opened. */
struct top_choice {
	char id[SCHEMA_ID_SIZE];   /* Redis has numbers of it, "": not */
	char label[160], python[24], user[33];
	char host[65];             /* "": this one */
	char note[TOP_WORDS];      /* why it cannot be opened, "": it can */
	pid_t pid;
	bool observed;             /* by somebody, now */
	double busy, waiting, threads; /* NAN: not known */
	int64_t seen_ms_ago;       /* Redis heard of it, -1: never */
};

enum top_kind {
	TOP_UPDATE_WHO,
	TOP_UPDATE_STATE,
	TOP_UPDATE_FRAME,
	TOP_UPDATE_NOTICE,
	TOP_UPDATE_CHOICES,
};

/* Everything that a source tells; what is not of its kind is zero. */
struct top_update {
	enum top_kind kind;
	struct top_who who;
	enum top_state state;
	char words[TOP_WORDS];       /* of a state, or the notice */
	char source[64];             /* "from Redis", "attached, no history" */
	struct top_frame *now, *minute; /* the last interval, the last minute; NULL: not told. Owned */
	struct top_point *points;    /* new ones, oldest first. Owned */
	size_t points_n;
	struct top_choice *choices;  /* owned */
	size_t choices_n;
};

void top_update__free(struct top_update *u);

/* ---- the model ---- */

enum top_page {
	TOP_PAGE_LIST,
	TOP_PAGE_PROCESS,
	TOP_PAGE_THREAD,
};

/* What threads may be ordered by. */
enum top_sort {
	TOP_SORT_HOLD,
	TOP_SORT_WAIT,
	TOP_SORT_BLAME,
	TOP_SORT_HOLD_MAX,
	TOP_SORT_WAIT_P99,
	TOP_SORT_COUNT,
};

/* A second of the past. */
struct top_second {
	int64_t second;         /* since the epoch: which one it is */
	double observed_s, busy_s, wait_s;
	double busy_known_s;    /* of observed_s: how much is known of busy_s, in light mode nothing */
};

struct top_model {
	enum top_page page;
	bool help;
	bool alone;             /* opened by name: there is no list to go back to unless asked for */

	struct top_choice *choices;
	size_t choices_n, chosen; /* the cursor */
	bool choices_known;

	struct top_who who;
	enum top_state state;
	char words[TOP_WORDS], source[64];
	char notice[TOP_WORDS];
	int64_t notice_ms;      /* when it came */

	struct top_frame *now, *minute;               /* the newest */
	struct top_frame *paused_now, *paused_minute; /* what is shown while it is paused */
	bool paused;
	bool wants_minute;      /* the last minute instead of the last interval */
	enum top_sort sort;
	bool sort_chosen;       /* by the person */
	int64_t gil;            /* -1: all */
	char thr[BLAME_THR_SIZE]; /* the thread under the cursor, "": none yet */
	uint32_t thr_gil;
	size_t row;             /* where it stood */
	size_t first_row, first_choice; /* the ones at the top of the screen */
	size_t page_rows;       /* rows that the view had room for */

	struct top_second seconds[TOP_HISTORY_S]; /* ring, by second */
	int64_t first_second, last_second;        /* 0: none yet */

	size_t *order;          /* of the shown frame's threads */
	size_t order_n;
	bool order_stale;
};

void top_model__init(struct top_model *m);
void top_model__clear(struct top_model *m);

/* Takes an update and what it owns. `now_ms`: wall clock. */
void top_model__take(struct top_model *m, struct top_update *u, int64_t now_ms);

/* Forgets the process, for another one. */
void top_model__forget_process(struct top_model *m);

/* The frame to draw; NULL: there is none yet. */
const struct top_frame *top_model__frame(const struct top_model *m);

/* Indices of its threads in the chosen order, those of other GILs than the chosen one left out. *ret_n of them. */
const size_t *top_model__order(struct top_model *m, size_t *ret_n);

/* The row of the thread under the cursor in that order; SIZE_MAX: there is none. */
size_t top_model__cursor(struct top_model *m);

/*
 * The past in `n` equal steps of *ret_step_s seconds up to the last second: values[n - 1] is the newest; NAN: nothing is known
 * of that time. As long as little is known the steps are short, in the end all of them cover at least five minutes.
 */
void top_model__past(const struct top_model *m, size_t n, double *busy, double *waiting, size_t *ret_step_s);

/* ---- keys ---- */

/* Keys that are no characters. Characters are themselves. */
enum top_key {
	TOP_KEY_NONE = 0,
	TOP_KEY_ENTER = '\r',
	TOP_KEY_ESCAPE = 27,
	TOP_KEY_UP = 0x110000, /* behind Unicode */
	TOP_KEY_DOWN,
	TOP_KEY_LEFT,
	TOP_KEY_RIGHT,
	TOP_KEY_PAGE_UP,
	TOP_KEY_PAGE_DOWN,
	TOP_KEY_HOME,
	TOP_KEY_END,
	TOP_KEY_HELP,
	TOP_KEY_QUIT,
	TOP_KEY_RESIZE,
};

/* What the program has to do about a key. */
enum top_action {
	TOP_NOTHING,      /* but to draw */
	TOP_QUIT,
	TOP_OPEN,         /* top_model__choice() */
	TOP_LIST,         /* leave the process, list what there is */
	TOP_REFRESH,
	TOP_OTHER_WINDOW, /* wants_minute has changed */
};

enum top_action top_model__key(struct top_model *m, int key);

/* What the list's cursor is on, NULL: nothing. */
const struct top_choice *top_model__choice(const struct top_model *m);

#endif
