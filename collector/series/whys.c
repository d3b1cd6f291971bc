/* SPDX-License-Identifier: GPL-2.0-only */
/* See whys.h. */
#include "whys.h"

#include <stdio.h>
#include <string.h>

#include "collector/base/task_state.h"
#include "collector/base/text.h"

static const char *const kinds[GIL_WHY_COUNT] = {
	[GIL_WHY_NONE] = "",
#define X(id, name) [GIL_WHY_##id] = name,
	GIL_WHYS(X)
#undef X
};

const char *gil_why_kind__name(enum gil_why_kind kind)
{
	return kind < GIL_WHY_COUNT ? kinds[kind] : "";
}

enum gil_why_kind gil_why_kind__by_name(const char *name)
{
	for (int kind = GIL_WHY_NONE + 1; kind < GIL_WHY_COUNT; kind++)
		if (strcmp(kinds[kind], name) == 0)
			return (enum gil_why_kind)kind;
	return GIL_WHY_NONE;
}

/* ---- adding ---- */

static bool is_same(const struct why *a, const struct why *b)
{
	return a->kind == b->kind && a->pid == b->pid && strcmp(a->name, b->name) == 0;
}

void whys__add(struct whys *w, const struct why *why)
{
	size_t i = 0;

	if (!why->ns)
		return;
	while (i < w->n && !is_same(&w->of[i], why))
		i++;
	if (i < w->n) {
		w->of[i].ns += why->ns;
	} else if (w->n < WHYS_MAX && why->kind != GIL_WHY_NONE) {
		w->of[w->n++] = *why;
	} else {
		w->rest_ns += why->ns;
	}
}

void whys__count(struct whys *w, const struct gil_why *why, uint64_t ns)
{
	struct why named = {.kind = why->kind, .ns = ns};

	if (why->kind >= GIL_WHY_COUNT)
		return;
	if (why->kind == GIL_WHY_TRACER) {
		named.pid = why->id;
		text__clean(named.name, sizeof(named.name), why->name, strnlen(why->name, sizeof(why->name)));
	} else if (why->kind == GIL_WHY_CALL) {
		task_state__call_name((long)why->id, named.name, sizeof(named.name));
	}
	whys__add(w, &named);
}

void whys__merge(struct whys *dst, const struct whys *src)
{
	for (size_t i = 0; i < src->n; i++)
		whys__add(dst, &src->of[i]);
	dst->rest_ns += src->rest_ns;
}

/* ---- asking ---- */

static bool is_stop(enum gil_why_kind kind)
{
	return kind == GIL_WHY_TRACER || kind == GIL_WHY_SIGNAL || kind == GIL_WHY_FROZEN;
}

const struct why *whys__most(const struct whys *w, bool stopped)
{
	const struct why *most = NULL;

	for (size_t i = 0; i < w->n; i++)
		if (is_stop(w->of[i].kind) == stopped && (!most || w->of[i].ns > most->ns))
			most = &w->of[i];
	return most;
}

uint64_t whys__ns(const struct whys *w, enum gil_why_kind kind)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < w->n; i++)
		ns += w->of[i].kind == kind ? w->of[i].ns : 0;
	return ns;
}

/* ---- words ---- */

static const char *tracer_words(const struct why *why, char *buf, size_t size)
{
	snprintf(buf, size, "%s", why->name[0] ? why->name : "a tracer");
	if (why->pid)
		text__append(buf, size, " (PID %u)", why->pid);
	return buf;
}

const char *why__words(const struct why *why, char buf[WHY_WORDS_SIZE])
{
	static const char *const words[GIL_WHY_COUNT] = {
		[GIL_WHY_FAULT] = "page faults",
		[GIL_WHY_SIGNAL] = "a signal (SIGSTOP)",
		[GIL_WHY_FROZEN] = "the freezer of its control group",
	};

	if (why->kind == GIL_WHY_TRACER)
		return tracer_words(why, buf, WHY_WORDS_SIZE);
	snprintf(buf, WHY_WORDS_SIZE, "%s", words[why->kind] ?: why->name);
	return buf;
}

const char *whys__tracers(const struct whys *w, char buf[WHYS_WORDS_SIZE])
{
	struct whys left = *w;
	char words[WHY_WORDS_SIZE];
	size_t said = 0;

	buf[0] = '\0';
	for (struct why *most; (most = (struct why *)whys__most(&left, true)); most->ns = 0, most->kind = GIL_WHY_NONE)
		if (most->kind == GIL_WHY_TRACER)
			text__append(buf, WHYS_WORDS_SIZE, "%s%s", said++ ? " and " : "", why__words(most, words));
	return buf;
}
