/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The writer's inside, shared by the schema's own files only: what is remembered of one process between samples,
 * and the parts that one sample is written in.
 */
#ifndef GILSCOPE_SCHEMA_WRITER_H
#define GILSCOPE_SCHEMA_WRITER_H

#include "collector/series/minute.h"
#include "keep.h"
#include "schema.h"
#include "schema_series.h"

#define BOARD_TTL_S 120
#define SCHEMA_MAX_GILS 64 /* GILs with series of their own */
#define REARM_MS 60000

#define SCHEMA_DIGITS 4 /* significant ones of a ratio */

enum wide_kind {
	WIDE_HOLD,
	WIDE_WAIT,
	WIDE_KINDS,
};

/* Keys with a TTL of their own that exist once per process or once altogether. */
enum single_key {
	KEY_META,
	KEY_THREADS,
	KEY_NOW,
	KEY_TOP,
	KEY_GLOBALS,
	KEY_LONG,
	KEY_EVENTS,
	SINGLE_KEYS,
};

/* The sample before, for zeros at the end of an idle stretch. */
struct previous {
	int64_t end_ms;
	uint64_t len_ns;
	uint32_t known;
};

/* A place among the series g:<n>. */
struct gil_series {
	uint32_t gil;    /* <n>: the id of the interpreter whose GIL it is */
	int64_t seen_ms; /* 0: free */
	struct arming tier[TIER_COUNT];
};

struct schema_writer {
	struct schema_opts opts;  /* prefix is ours */
	struct proc_ident who;    /* strings are ours */
	char id[SCHEMA_ID_SIZE];
	char *stem;               /* of its keys: all that stands before what is meant */
	struct series_table series;
	struct keep keep;
	struct arming keep_settled;
	bool told_short;          /* that threads are kept shorter than asked for */
	struct arming singles[SINGLE_KEYS];
	struct event_ids event_ids;
	struct arming procs[TIER_COUNT], alls[TIER_COUNT], blames[TIER_COUNT], codes[TIER_COUNT], stacks[TIER_COUNT];
	struct arming wides[WIDE_KINDS][TIER_COUNT];
	struct gil_series gils[SCHEMA_MAX_GILS];
	uint64_t gils_left_out; /* rows of GILs that found no place */
	const char *gil_kind;   /* of the newest sample; "per-interpreter" stays */
	struct previous previous[TIER_COUNT];
	struct minute minute;     /* of the base samples */
	uint32_t minute_known;    /* of it, when the boards were written last */
	bool blame_shown[TIER_COUNT];
	bool lost_changed;
	bool holding_written;     /* meta has fields of it */
	enum holder_kind held_by; /* then, as it says */
	enum standstill standstill;
	uint32_t epoch;           /* bumped when every TTL must be set again */
	uint64_t lost[GIL_LOSS_COUNT];
	struct sink_losses sink_lost;
	uint32_t kept_sites;
	enum gil_mode mode;
	int64_t last_ms, ended_ms;
	char ended_how[64];
	uint32_t *place;          /* of each thread of the sample being written */
	size_t place_cap;
	uint32_t points;          /* rows appended by the running call */
};

/* FIELD_COUNT fields in the order in which this row writes them. */
const uint8_t *schema_row__order(const struct schema_row *row);

/* ---- schema.c ---- */

/* Begins `command` on a key of the process, `what` as in "p:1s"; or on one of all processes. */
void schema_put__command(struct schema_writer *w, struct batch *b, const char *command, const char *what);
void schema_put__global(struct schema_writer *w, struct batch *b, const char *command, const char *what);
void schema_put__expire(struct schema_writer *w, struct batch *b, const char *what, uint32_t ttl_s);

/* Appends field and value of a hash, or score and member of a sorted set. */
void schema_put__pair(struct batch *b, const char *name, const char *value);
void schema_put__pair_int(struct batch *b, const char *name, long long value);
void schema_put__score(struct batch *b, long long score, const char *member);

/* Whether a key's TTL is due at `now_ms`; notes that it is being set. */
bool schema_put__due(const struct schema_writer *w, struct arming *a, int64_t now_ms);

/* ZADD of one row that carries its own time, with trim and TTL when due. Takes `text` (NULL: no memory). 0 or -ENOMEM. */
int schema_put__row(struct schema_writer *w, struct batch *b, const char *what, int64_t t, char *text,
		    uint32_t retention_s, struct arming *a, bool expire_now);

/* The same for a row of a series "<series>:<tier>", kept as long as its kind and tier. */
int schema_put__sample(struct schema_writer *w, struct batch *b, const char *series, enum keep_kind kind, enum tier tier,
		       int64_t t, char *text, struct arming *a, bool expire_now);

uint32_t schema__longest_s(const struct schema_writer *w);  /* retention */
uint32_t schema__ttl_s(const struct schema_writer *w, uint32_t retention_s);
uint32_t schema__board_ttl_s(const struct schema_writer *w); /* of now:* */

/* ---- the parts of a sample; s's threads are at w->place[] ---- */

int schema_write__threads(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b);
int schema_write__wide(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b);
int schema_write__blame(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b);

int schema_write__code(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b);
/* ---- schema_holding.c ---- */

/* Fields of meta. */
void schema_write__holding(struct schema_writer *w, const struct holding *h, struct batch *b);

int schema_write__stacks(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b);

/* now:* and, out of `totals` (which may be NULL), top:*, within a MULTI that the caller began. */
int schema_write__boards(struct schema_writer *w, const struct proc_sample *s, const struct proc_sample *totals,
			 struct batch *b);
/* Takes a renamed thread's old member out of them. */
void schema_write__unboard(struct schema_writer *w, const char *thr, const char *name, struct batch *b);

/* meta's changing fields, and the others now and then. */
void schema_write__meta(struct schema_writer *w, struct batch *b);
/* Every TTL of the process's keys, whatever was set before. */
void schema_write__ttls(struct schema_writer *w, struct batch *b);

/* gil:schema. */
void schema_write__schema(struct schema_writer *w, struct batch *b);

#endif
