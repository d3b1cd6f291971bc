/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is said about a process rather than measured: meta, the index entries, gil:schema; and the life of a
 * writer, which remembers all of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "schema_writer.h"

/* ---- the writer ---- */

/* A cleaned copy of at most `max` bytes; NULL stands for "". NULL: no memory. */
static char *copy_text(const char *src, size_t max)
{
	char *copy = malloc(max + 1);

	if (copy)
		text__clean_member(copy, max + 1, src ? src : "", src ? strlen(src) : 0);
	return copy;
}

static bool copy_ident(struct proc_ident *dst, const struct proc_ident *src)
{
	*dst = *src;
	schema__clean_host(dst->host, src->host);
	text__clean(dst->boot_id, sizeof(dst->boot_id), src->boot_id, strnlen(src->boot_id, sizeof(src->boot_id)));
	dst->exe = copy_text(src->exe, 255);
	dst->label = copy_text(src->label, 127);
	dst->python = copy_text(src->python, 63);
	dst->image = copy_text(src->image, 255);
	dst->method = copy_text(src->method, 127);
	dst->notes = copy_text(src->notes, 511);
	dst->runtime = copy_text(src->runtime, SCHEMA_RUNTIME_SIZE - 1);
	dst->container = copy_text(src->container, 63);
	dst->cgroup = copy_text(src->cgroup, 255);
	dst->parent = copy_text(src->parent, SCHEMA_ID_SIZE - 1);
	dst->root = copy_text(src->root, SCHEMA_ID_SIZE - 1);
	return dst->exe && dst->label && dst->python && dst->image && dst->method && dst->notes && dst->runtime &&
	       dst->container && dst->cgroup && dst->parent && dst->root;
}

static void free_ident(struct proc_ident *who)
{
	free((char *)who->exe);
	free((char *)who->label);
	free((char *)who->python);
	free((char *)who->image);
	free((char *)who->method);
	free((char *)who->notes);
	free((char *)who->runtime);
	free((char *)who->container);
	free((char *)who->cgroup);
	free((char *)who->parent);
	free((char *)who->root);
}

struct schema_writer *schema_writer__new(const struct schema_opts *opts, const struct proc_ident *who)
{
	struct schema_writer *w = calloc(1, sizeof(*w));
	char *prefix = strdup(opts->prefix ? opts->prefix : SCHEMA_PREFIX);

	if (!w || !prefix) {
		free(prefix);
		free(w);
		return NULL;
	}
	w->opts = *opts;
	w->opts.prefix = prefix;
	keep__init(&w->keep, opts->retention.proc_s, opts->retention.thread_s, opts->retention.max_bytes);
	w->epoch = 1;
	schema__id(who, w->id);
	if (asprintf(&w->stem, "%s{%s}:", w->opts.prefix, w->id) < 0)
		w->stem = NULL;
	if (!w->stem || !copy_ident(&w->who, who) ||
	    series_table__init(&w->series, opts->max_thread_series,
			       (int64_t)opts->retention.thread_s[TIER_BASE] * 1000) != 0) {
		schema_writer__free(w);
		return NULL;
	}
	return w;
}

void schema_writer__free(struct schema_writer *w)
{
	if (!w)
		return;
	series_table__free(&w->series);
	minute__free(&w->minute);
	free_ident(&w->who);
	free(w->place);
	free((char *)w->opts.prefix);
	free(w->stem);
	free(w);
}

const char *schema_writer__id(const struct schema_writer *w)
{
	return w->id;
}

static bool same_losses(const struct sink_losses *a, const struct sink_losses *b)
{
	return a->points == b->points && a->batches == b->batches && a->refused == b->refused && a->keys == b->keys &&
	       a->keys_known == b->keys_known && a->failover == b->failover && a->renumbered == b->renumbered;
}

void schema_writer__set_sink_losses(struct schema_writer *w, const struct sink_losses *lost)
{
	w->lost_changed |= !same_losses(&w->sink_lost, lost);
	w->sink_lost = *lost;
}

void schema_writer__set_kept_sites(struct schema_writer *w, uint32_t n)
{
	w->kept_sites = n;
}

int schema_writer__set_runtime(struct schema_writer *w, const char *text)
{
	char *copy = copy_text(text, SCHEMA_RUNTIME_SIZE - 1);

	if (!copy)
		return -ENOMEM;
	free((char *)w->who.runtime);
	w->who.runtime = copy;
	return 0;
}

/* ---- meta ---- */

static void put_lost(struct schema_writer *w, struct batch *b)
{
#define X(id, name, text) schema_put__pair_int(b, "lost_" name, (long long)w->lost[GIL_LOSS_##id]);
	GIL_LOSSES(X)
#undef X
	schema_put__pair_int(b, "lost_sink_points", (long long)w->sink_lost.points);
	schema_put__pair_int(b, "lost_sink_batches", (long long)w->sink_lost.batches);
	schema_put__pair_int(b, "lost_sink_refused", (long long)w->sink_lost.refused);
	if (w->sink_lost.keys_known)
		schema_put__pair_int(b, "lost_sink_keys", (long long)w->sink_lost.keys);
	if (w->sink_lost.failover)
		schema_put__pair_int(b, "lost_failover", (long long)w->sink_lost.failover);
	if (w->sink_lost.renumbered)
		schema_put__pair_int(b, "events_renumbered", (long long)w->sink_lost.renumbered);
}

/* The GILs that have series, as "0,1,5"; nothing where there is but one. */
static void put_gils(struct schema_writer *w, struct batch *b)
{
	char list[SCHEMA_MAX_GILS * 11 + 1] = "";
	size_t len = 0;

	for (size_t i = 0; i < SCHEMA_MAX_GILS; i++)
		if (w->gils[i].seen_ms)
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%" PRIu32, len ? "," : "", w->gils[i].gil);
	if (len)
		schema_put__pair(b, "gils", list);
}

static void put_kept_sites(const struct schema_writer *w, struct batch *b)
{
	if (w->kept_sites)
		schema_put__pair_int(b, "kept_sites", w->kept_sites);
}

static void put_changing(struct schema_writer *w, struct batch *b)
{
	schema_put__pair_int(b, "last_ms", w->last_ms);
	schema_put__pair(b, "mode", gil_mode__name(w->mode, "off"));
	schema_put__pair(b, "gil", w->gil_kind);
	schema_put__pair_int(b, "threads_merged", (long long)w->series.merged_n);
	schema_put__pair_int(b, "gils_left_out", (long long)w->gils_left_out);
	put_gils(w, b);
	put_kept_sites(w, b);
}

/* Seconds that each tier is kept: a reader chooses by it where to look. */
static void put_keep(const struct schema_writer *w, struct batch *b, const char *name, enum keep_kind kind)
{
	_Static_assert(TIER_COUNT == 3, "a tier is missing");
	batch__arg(b, name);
	batch__arg_fmt(b, "%" PRIu32 ",%" PRIu32 ",%" PRIu32, keep__seconds(&w->keep, kind, TIER_BASE),
		       keep__seconds(&w->keep, kind, TIER_10S), keep__seconds(&w->keep, kind, TIER_60S));
}

static void put_ident(struct schema_writer *w, struct batch *b)
{
	const struct proc_ident *who = &w->who;
	char number[32];

	schema_put__pair_int(b, "schema", SCHEMA_VERSION);
	schema_put__pair(b, "writer", "gilscope " GILSCOPE_VERSION);
	schema_put__pair_int(b, "pid", who->pid);
	schema_put__pair(b, "host", who->host);
	schema_put__pair(b, "exe", who->exe);
	schema_put__pair(b, "label", who->label);
	schema_put__pair(b, "python", who->python);
	schema_put__pair(b, "image", who->image);
	schema_put__pair(b, "method", who->method);
	if (who->notes[0])
		schema_put__pair(b, "notes", who->notes);
	if (who->runtime[0])
		schema_put__pair(b, "runtime", who->runtime);
	if (who->pid_inside)
		schema_put__pair_int(b, "pid_inside", who->pid_inside);
	if (who->container[0])
		schema_put__pair(b, "container", who->container);
	if (who->cgroup[0])
		schema_put__pair(b, "cgroup", who->cgroup);
	schema_put__pair_int(b, "sites", who->sites);
	if (who->cpus)
		schema_put__pair_int(b, "cpus", who->cpus);
	schema_put__pair_int(b, "interval_ms", who->interval_ms);
	schema_put__pair_int(b, "started_ms", who->started_ms);
	snprintf(number, sizeof(number), "%.4g", who->price_ns);
	schema_put__pair(b, "price_ns", number);
	put_keep(w, b, "keep_proc_s", KEEP_PROC);
	put_keep(w, b, "keep_thread_s", KEEP_THREADS);
	if (*who->parent)
		schema_put__pair(b, "parent", who->parent);
	if (*who->root)
		schema_put__pair(b, "root", who->root);
}

#define KIN_MAX 1024 /* members that a family's index remembers */

static void kin_command(struct schema_writer *w, struct batch *b, const char *command)
{
	char key[256];

	batch__command(b, command);
	batch__arg(b, schema__proc_key(key, sizeof(key), w->opts.prefix, w->who.root, "kin"));
}

/* A family is found by its root: who belongs to it stands in a key of the root's, the newest of them. */
static void write_kin(struct schema_writer *w, int64_t seen_ms, struct batch *b)
{
	if (!*w->who.root)
		return;
	kin_command(w, b, "ZADD");
	schema_put__score(b, seen_ms, w->id);
	kin_command(w, b, "ZREMRANGEBYRANK");
	batch__arg_int(b, 0);
	batch__arg_int(b, -KIN_MAX - 1);
	kin_command(w, b, "EXPIRE");
	batch__arg_int(b, schema__ttl_s(w, schema__longest_s(w)));
}

/* What the tag of <id> was made of: 64-bit words, more than a double holds, so they stay text. */
static void put_tag_inputs(struct schema_writer *w, struct batch *b)
{
	const struct proc_ident *who = &w->who;
	char number[32];

	schema_put__pair(b, "boot_id", who->boot_id);
	snprintf(number, sizeof(number), "%" PRIu64, who->pidns_ino);
	schema_put__pair(b, "pidns", number);
	snprintf(number, sizeof(number), "%" PRIu64, who->start_ticks);
	schema_put__pair(b, "start_ticks", number);
	snprintf(number, sizeof(number), "%" PRIu64, who->start_stack);
	schema_put__pair(b, "start_stack", number);
}

void schema_write__schema(struct schema_writer *w, struct batch *b)
{
	schema_put__global(w, b, "HSET", "schema");
	schema_put__pair_int(b, "version", SCHEMA_VERSION);
	schema_put__pair(b, "time", "ms since the epoch, end of the interval");
	schema_put__pair(b, "duration", "us");
	schema_put__pair(b, "share", "0..1 of the observed time");
	schema_put__pair(b, "memory", "KiB");
	schema_put__pair_int(b, "hist_buckets", HIST_COARSE_BUCKETS);
	schema_put__pair(b, "hist_floor_ns",
			 "bucket b: o = b >> 2, s = b & 3; o = 0: s * 128, else (4 + s) * 2^(o + 6)");
	schema_put__pair(b, "hist_value",
			 "[a, b): 2ab / (a + b), from 512 ns on at most 1/9 off; the last one is open, see *_max");
	schema_put__pair(b, "over_floor_ns", "bucket b of oh: b = 0: 0, else 2^(b + 13); the last one is open, see over_max");
	schema_put__global(w, b, "EXPIRE", "schema");
	batch__arg_int(b, schema__ttl_s(w, schema__longest_s(w)));
}

/* All of it once a minute: somebody may have emptied the server without breaking the connection. */
void schema_write__meta(struct schema_writer *w, struct batch *b)
{
	bool due = schema_put__due(w, &w->singles[KEY_META], w->last_ms);

	schema_put__command(w, b, "HSET", "meta");
	if (due) {
		put_ident(w, b);
		put_tag_inputs(w, b);
	}
	put_changing(w, b);
	if (w->lost_changed || due)
		put_lost(w, b);
	w->lost_changed = false;
	if (due)
		schema_put__expire(w, b, "meta", schema__ttl_s(w, schema__longest_s(w)));
}

bool schema_writer__kept_shorter(struct schema_writer *w, uint32_t ret_s[TIER_COUNT])
{
	if (w->told_short || !keep__is_short(&w->keep))
		return false;
	w->told_short = true;
	for (int tier = 0; tier < TIER_COUNT; tier++)
		ret_s[tier] = keep__seconds(&w->keep, KEEP_THREADS, (enum tier)tier);
	return true;
}

static void put_end(struct schema_writer *w, struct batch *b)
{
	schema_put__command(w, b, "HSET", "meta");
	schema_put__pair_int(b, "ended_ms", w->ended_ms);
	schema_put__pair(b, "end", w->ended_how);
	put_kept_sites(w, b);
}

/* An earlier run may have left its end in meta. */
static void take_back_end(struct schema_writer *w, struct batch *b)
{
	schema_put__command(w, b, "HDEL", "meta");
	batch__arg(b, "ended_ms");
	batch__arg(b, "end");
	if (!w->holding_written) {
		batch__arg(b, "holding");
		batch__arg(b, "held_by");
		batch__arg(b, "standstill");
	}
}

static void announce_index(struct schema_writer *w, struct batch *b)
{
	int64_t seen = w->last_ms ? w->last_ms : w->who.started_ms;

	schema_put__global(w, b, "ZADD", "procs");
	schema_put__score(b, seen, w->id);
	schema_put__global(w, b, "ZADD", "menu");
	batch__arg_int(b, seen);
	batch__arg_fmt(b, "%s|%s (%s:%" PRIu32 ")", w->id, w->who.label, w->who.host, w->who.pid);
	write_kin(w, seen, b);
}

int schema_writer__announce(struct schema_writer *w, struct batch *b)
{
	/* The server may have come back without any key: none of the TTLs can be relied on. */
	w->epoch++;
	schema_write__schema(w, b);
	schema_put__command(w, b, "HSET", "meta");
	put_ident(w, b);
	put_tag_inputs(w, b);
	if (w->last_ms)
		put_changing(w, b);
	put_lost(w, b);
	if (w->ended_ms)
		put_end(w, b);
	else
		take_back_end(w, b);
	schema_put__expire(w, b, "meta", schema__ttl_s(w, schema__longest_s(w)));
	announce_index(w, b);
	return batch__error(b);
}

int schema_writer__end(struct schema_writer *w, int64_t ended_ms, const char *how, struct batch *b)
{
	w->ended_ms = ended_ms;
	text__clean(w->ended_how, sizeof(w->ended_how), how, strlen(how));
	put_end(w, b);
	schema_write__ttls(w, b);
	return batch__error(b);
}
