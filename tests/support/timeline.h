/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A trace file, loaded as a viewer would load it, and what must hold of every one: see timeline__load(). What fails here fails
 * the test.
 */
#ifndef GILSCOPE_TESTS_TIMELINE_H
#define GILSCOPE_TESTS_TIMELINE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct timeline_slice {
	json_int_t pid, tid;
	const char *category, *name;
	uint64_t from, to; /* ns since recording began */
	double from_us, dur_us; /* as they stand there */
	const json_t *args; /* NULL: none */
};

struct timeline {
	json_t *json;
	const json_t *other;
	struct timeline_slice *slices; /* in the order of the file */
	size_t slices_n, flows_n, losses_n;
	size_t nested_n; /* slices of collections, which lie inside of others */
};

/*
 * Reads the text of a file and asserts: every event is of a known kind and complete; the slices of a track come in order and do
 * not overlap, in a viewer's floating point arithmetic either; every track and group has a name; every arrow has two ends, the
 * first inside of a hold, the second inside of a wait, not earlier; counters never fall below zero, do not go back in time, end
 * at zero and make up exactly the waiting that is drawn; the track of the GIL has exactly the holds of all threads; nothing lies
 * across a loss.
 */
void timeline__load(struct timeline *t, const char *text);
void timeline__free(struct timeline *t);

/* Slices called `name` of a thread (0: of all threads), their number and their sum in ns. */
size_t timeline__count(const struct timeline *t, json_int_t tid, const char *name);
uint64_t timeline__sum(const struct timeline *t, json_int_t tid, const char *name);

/* What a track is called; NULL: there is none. */
const char *timeline__track(const struct timeline *t, json_int_t pid, json_int_t tid);

#endif
