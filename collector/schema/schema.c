/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See schema.h. Names: <id>, keys, retention, and the few shapes of command that everything is written with.
 *
 * Of the other files, schema_row.c is one member, schema_sample.c one sample, schema_threads.c, schema_wide.c and
 * schema_board.c its parts, schema_meta.c what is announced, schema_ttl.c what is said at the end, schema_series.c which
 * thread has which series.
 */
#include "schema.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema_writer.h"

#define SLACK_S 300

void schema_opts__default(struct schema_opts *opts)
{
	*opts = (struct schema_opts){
		.prefix = SCHEMA_PREFIX,
		.retention = {.proc_s = {3600, 86400, 604800}, .thread_s = {3600, 21600, 86400}, .max_bytes = 120 * 1000000},
		.max_thread_series = 256,
		.max_wide = 32,
		.max_blame = 64,
		.max_board = 256,
	};
}

/* ---- <id> ---- */

static bool host_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
	       c == '-';
}

void schema__clean_host(char dst[65], const char *src)
{
	size_t n = 0;

	for (; src && src[n] && n < 64; n++)
		dst[n] = host_char(src[n]) ? src[n] : '-';
	dst[n] = '\0';
	if (n == 0)
		strcpy(dst, "localhost");
}

/* FNV-1a, 64 bit, folded to 32: short, without tables, and well enough spread for a handful of words. */
static uint32_t hash(const char *text)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 0x100000001b3ull;
	return (uint32_t)(h ^ h >> 32);
}

void schema__id(const struct proc_ident *who, char id[SCHEMA_ID_SIZE])
{
	char inputs[160], host[65];

	schema__clean_host(host, who->host);
	snprintf(inputs, sizeof(inputs), "%.39s %" PRIu64 " %" PRIu64 " %" PRIu64, who->boot_id, who->pidns_ino,
		 who->start_ticks, who->start_stack);
	snprintf(id, SCHEMA_ID_SIZE, "%s:%" PRIu32 ":%08" PRIx32, host, who->pid, hash(inputs));
}

/* ---- keys ---- */

const char *schema__proc_key(char *buf, size_t size, const char *prefix, const char *id, const char *what)
{
	snprintf(buf, size, "%s{%s}:%s", prefix ? prefix : SCHEMA_PREFIX, id, what);
	return buf;
}

const char *schema__global_key(char *buf, size_t size, const char *prefix, const char *what)
{
	snprintf(buf, size, "%s%s", prefix ? prefix : SCHEMA_PREFIX, what);
	return buf;
}

void schema_put__command(struct schema_writer *w, struct batch *b, const char *command, const char *what)
{
	batch__command(b, command);
	batch__arg_pair(b, w->stem, what);
}

void schema_put__global(struct schema_writer *w, struct batch *b, const char *command, const char *what)
{
	batch__command(b, command);
	batch__arg_pair(b, w->opts.prefix, what);
}

void schema_put__expire(struct schema_writer *w, struct batch *b, const char *what, uint32_t ttl_s)
{
	schema_put__command(w, b, "EXPIRE", what);
	batch__arg_int(b, ttl_s);
}

void schema_put__pair(struct batch *b, const char *name, const char *value)
{
	batch__arg(b, name);
	batch__arg(b, value);
}

void schema_put__pair_int(struct batch *b, const char *name, long long value)
{
	batch__arg(b, name);
	batch__arg_int(b, value);
}

void schema_put__score(struct batch *b, long long score, const char *member)
{
	batch__arg_int(b, score);
	batch__arg(b, member);
}

/* ---- retention ---- */

uint32_t schema__longest_s(const struct schema_writer *w)
{
	const struct schema_retention *r = &w->opts.retention;
	uint32_t longest = 0;

	for (int tier = 0; tier < TIER_COUNT; tier++) {
		longest = r->proc_s[tier] > longest ? r->proc_s[tier] : longest;
		longest = r->thread_s[tier] > longest ? r->thread_s[tier] : longest;
	}
	return longest;
}

uint32_t schema__board_ttl_s(const struct schema_writer *w)
{
	uint32_t interval_s = w->who.interval_ms / 1000;

	return BOARD_TTL_S > 3 * interval_s ? BOARD_TTL_S : 3 * interval_s;
}

/* Longer than the retention by more than the time between two settings, also where intervals are long. */
uint32_t schema__ttl_s(const struct schema_writer *w, uint32_t retention_s)
{
	uint64_t ttl = (uint64_t)retention_s + SLACK_S + 2 * (uint64_t)(w->who.interval_ms / 1000);

	return ttl < INT32_MAX ? (uint32_t)ttl : INT32_MAX;
}

bool schema_put__due(const struct schema_writer *w, struct arming *a, int64_t now_ms)
{
	if (a->epoch == w->epoch && now_ms >= a->at_ms && now_ms - a->at_ms < REARM_MS)
		return false;
	*a = (struct arming){.at_ms = now_ms, .epoch = w->epoch};
	return true;
}

int schema_put__row(struct schema_writer *w, struct batch *b, const char *what, int64_t t, char *text,
		    uint32_t retention_s, struct arming *a, bool expire_now)
{
	bool kept = a->epoch && t >= a->at_ms && t - a->at_ms < (int64_t)retention_s * 1000;
	bool due = schema_put__due(w, a, t);

	if (!text)
		return -ENOMEM;
	schema_put__command(w, b, "ZADD", what);
	schema_put__score(b, t, text);
	free(text);
	w->points++;
	batch__mark_point(b);
	if (due) {
		schema_put__command(w, b, "ZREMRANGEBYSCORE", what);
		batch__arg(b, "-inf");
		batch__arg_fmt(b, "(%" PRId64, t - (int64_t)retention_s * 1000);
	}
	/* It has a time to live since it was armed, unless somebody has thrown it away: the sink counts where this sets one. */
	if (due && kept) {
		schema_put__expire(w, b, what, schema__ttl_s(w, retention_s));
		batch__arg(b, "NX");
	}
	if (due || expire_now)
		schema_put__expire(w, b, what, schema__ttl_s(w, retention_s));
	return 0;
}

int schema_put__sample(struct schema_writer *w, struct batch *b, const char *series, enum keep_kind kind, enum tier tier,
		       int64_t t, char *text, struct arming *a, bool expire_now)
{
	char what[64];

	if (text)
		keep__add(&w->keep, kind, tier, t, strlen(text));
	snprintf(what, sizeof(what), "%s:%s", series, tier__name(tier));
	return schema_put__row(w, b, what, t, text, keep__seconds(&w->keep, kind, tier), a, expire_now);
}
