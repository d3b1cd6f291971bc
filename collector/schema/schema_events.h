/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events: what happened to a process at one moment, for the streams `events` of the process and of its host.
 *
 * A stream takes ids that grow only. An event's is its own millisecond, or the last id's where that is later (clocks step back),
 * and a sequence number; its true time is the field `t`. A batch that is sent twice carries the same ids twice, so nothing
 * stands there twice.
 */
#ifndef GILSCOPE_SCHEMA_EVENTS_H
#define GILSCOPE_SCHEMA_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct schema_writer;

#define SCHEMA_EVENTS "events"
#define SCHEMA_HOST_EVENTS "host:" /* in front of a host's name: in place of an <id>, which has two colons */

/* Kinds of events; X(identifier, word in the field "kind", explanation). */
#define SCHEMA_EVENT_KINDS(X) \
	X(BEGIN, "begin", "its observation began") \
	X(END, "end", "its observation ended") \
	X(MODE, "mode", "another mode") \
	X(HOLD, "hold", "a long hold") \
	X(WAIT, "wait", "a long wait") \
	X(ALERT, "alert", "what needs somebody's attention, as a sentence") \
	X(LOSS, "loss", "something was lost, and how much since the last such event")

enum schema_event_kind {
#define X(id, word, text) SCHEMA_EVENT_##id,
	SCHEMA_EVENT_KINDS(X)
#undef X
	SCHEMA_EVENT_COUNT,
};

/* The newest id that was given in a stream. Zeroed: none yet. */
struct event_ids {
	int64_t ms;
	uint64_t seq;
};

enum event_value {
	EVENT_TEXT,
	EVENT_NUMBER,
	EVENT_TRUE,
};

struct event_field {
	const char *name;
	enum event_value type;
	const char *text;  /* the caller's */
	long long number;
};

#define EVENT_FIELDS_MAX 20

/* One event, made with schema_event__begin() and the adders. Points at its caller's texts. */
struct schema_event {
	enum schema_event_kind kind;
	int64_t t_ms;      /* wall clock */
	struct event_field fields[EVENT_FIELDS_MAX];
	size_t n;
};

void schema_event__begin(struct schema_event *e, enum schema_event_kind kind, int64_t t_ms);
void schema_event__text(struct schema_event *e, const char *name, const char *value);
void schema_event__number(struct schema_event *e, const char *name, long long value);
void schema_event__true(struct schema_event *e, const char *name);

/* The same as a JSON object, fields in their order. malloc'd; NULL: no memory. */
char *schema_event__json(const struct schema_event *e);

/*
 * Appends it to the batch, for the stream of the process and that of its host. `host`: the newest id of the latter, shared by
 * all writers of this program. 0 or -ENOMEM.
 */
int schema_writer__event(struct schema_writer *w, const struct schema_event *e, struct event_ids *host, struct batch *b);

#define EVENT_ID_SIZE 44

/* The id `step` after `id` of a stream ("1795339305000-3"), and whether it is one. */
bool schema_event__next_id(const char *id, uint64_t step, char ret[EVENT_ID_SIZE]);

/* Where in an XADD of schema's the id stands: what is behind it are the fields. 0: it is no XADD of schema's. */
int schema_event__id_at(int argc, const char *const *argv);

#endif
