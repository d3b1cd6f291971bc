/* SPDX-License-Identifier: GPL-2.0-only */
/* See trace_json.h. One event a line, so that a file that was cut short can be mended with an editor. */
#include "trace_json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "collector/base/keymap.h"

#define IDS_END 4194304u             /* PIDs and thread ids are below (include/linux/threads.h, PID_MAX_LIMIT) */
#define TRACK_GIL (IDS_END + 1)      /* "thread" of a GIL itself */
#define NAME_AGAIN_NS 600000000ull   /* a thread without a name of Python's is asked for it again after this time */

#define AT_THE_END (UINT64_MAX - NAME_AGAIN_NS)

struct name {
	uint32_t tid;
	bool final;
	uint64_t next_try;     /* ns */
	char text[THREAD_NAME_SIZE];
	char *quoted;          /* as JSON; NULL: not made yet */
};

/* A thread on a GIL that has been written of. */
struct track {
	uint32_t gil, tid;
};

struct trace_json {
	FILE *to;
	struct trace_json_head head;
	char *id, *label, *python;
	uint64_t size, flows;
	bool any, no_memory;
	struct name *names;
	size_t names_n;
	struct track *tracks;
	size_t tracks_n;
	struct keymap name_index, track_index; /* by tid; by GIL and tid */
};

/* ---- JSON ---- */

static void put(struct trace_json *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct trace_json *j, const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vfprintf(j->to, fmt, args);
	va_end(args);
	j->size += len > 0 ? (uint64_t)len : 0;
}

/* Text as JSON, caller frees. What is not UTF-8 (nothing of ours) becomes "". */
static char *quoted(struct trace_json *j, const char *text)
{
	json_t *string = json_string(text);
	char *json = json_dumps(string ? string : json_null(), JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

	json_decref(string);
	j->no_memory = j->no_memory || !json;
	return json;
}

/* Microseconds with three decimals: exact. */
#define US "%" PRIu64 ".%03u"
#define US_OF(ns) (ns) / 1000, (unsigned int)((ns) % 1000)

/*
 * A length, short of a tenth of a nanosecond. Viewers add begin and length in floating point, after they have subtracted the
 * first begin: of a wait that ends where a hold begins the sum may come out above that, and speedscope would draw one inside of
 * the other. Rounded to nanoseconds it is exact.
 */
static void put_length(struct trace_json *j, uint64_t ns)
{
	if (ns)
		put(j, ",\"dur\":" US "9", US_OF(ns - 1));
	else
		put(j, ",\"dur\":0");
}

static uint64_t since_begin(const struct trace_json *j, uint64_t at)
{
	return at > j->head.begin_ns ? at - j->head.begin_ns : 0;
}

static void note_track(struct trace_json *j, uint32_t gil, uint32_t tid)
{
	struct track *tracks;

	if (keymap__get(&j->track_index, gil, tid) != KEYMAP_NONE)
		return;
	tracks = reallocarray(j->tracks, j->tracks_n + 1, sizeof(*tracks));
	if (tracks)
		j->tracks = tracks;
	if (!tracks || keymap__put(&j->track_index, gil, tid, (uint32_t)j->tracks_n)) {
		j->no_memory = true;
		return;
	}
	tracks[j->tracks_n++] = (struct track){gil, tid};
}

/* What a viewer takes for the process: one for each GIL, the main one under its own number. */
static uint32_t group_of(struct trace_json *j, uint32_t gil)
{
	if (gil == 0)
		return (uint32_t)j->head.pid;
	note_track(j, gil, TRACK_GIL);
	return TRACK_GIL + 1 + keymap__get(&j->track_index, gil, TRACK_GIL);
}

static void begin_event(struct trace_json *j, char phase, uint32_t gil, uint32_t tid, uint64_t ns)
{
	put(j, "%s{\"ph\":\"%c\",\"pid\":%u,\"tid\":%u,\"ts\":" US, j->any ? ",\n" : "", phase, group_of(j, gil), tid,
	    US_OF(ns));
	j->any = true;
}

/* ---- names ---- */

static struct name *name_entry(struct trace_json *j, uint32_t tid)
{
	uint32_t index = keymap__get(&j->name_index, tid, 0);
	struct name *names;

	if (index != KEYMAP_NONE)
		return &j->names[index];
	names = reallocarray(j->names, j->names_n + 1, sizeof(*names));
	if (names)
		j->names = names;
	if (!names || keymap__put(&j->name_index, tid, 0, (uint32_t)j->names_n)) {
		j->no_memory = true;
		return NULL;
	}
	names[j->names_n] = (struct name){.tid = tid};
	return &names[j->names_n++];
}

static void set_name(struct name *n, const char *text)
{
	if (!text[0] || strcmp(text, n->text) == 0)
		return;
	snprintf(n->text, sizeof(n->text), "%s", text);
	free(n->quoted);
	n->quoted = NULL;
}

void trace_json__name(struct trace_json *j, uint32_t tid, const char *name)
{
	struct name *n = name_entry(j, tid);

	if (n && !n->text[0])
		set_name(n, name);
}

static void ask_name(struct trace_json *j, struct name *n, uint64_t at)
{
	char text[THREAD_NAME_SIZE];

	if (n->final || at < n->next_try || !n->tid || !j->head.name)
		return;
	n->final = j->head.name(j->head.arg, n->tid, text);
	n->next_try = at + NAME_AGAIN_NS;
	set_name(n, text);
}

/* A thread's name, quoted; it belongs to the table. */
static const char *name_of(struct trace_json *j, uint32_t tid, uint64_t at)
{
	struct name *n = name_entry(j, tid);
	char number[32];

	if (!n)
		return "null";
	ask_name(j, n, at);
	if (n->quoted)
		return n->quoted;
	snprintf(number, sizeof(number), tid ? "thread %u" : "not known", tid);
	n->quoted = quoted(j, n->text[0] ? n->text : number);
	return n->quoted ? n->quoted : "null";
}

/* ---- what trace.h tells ---- */

static void put_edge(struct trace_json *j, const char *key, enum trace_edge edge, const char **separator)
{
	static const char *const words[] = {
		[EDGE_SEEN] = NULL, [EDGE_RECORDING] = "cut: recording", [EDGE_LOSS] = "cut: events lost",
		[EDGE_FIRST] = "first sign of this thread", [EDGE_EXIT] = "thread ended",
	};

	if (!words[edge])
		return;
	put(j, "%s\"%s\":\"%s\"", *separator, key, words[edge]);
	*separator = ",";
}

static void put_args(struct trace_json *j, const struct trace_slice *s)
{
	const char *separator = ",\"args\":{";

	if (s->forced) {
		put(j, "%s\"forced\":true", separator);
		separator = ",";
	}
	put_edge(j, "begin", s->begin, &separator);
	put_edge(j, "end", s->end, &separator);
	put(j, "%s}", separator[1] ? "" : "}");
}

static void on_slice(void *arg, const struct trace_slice *s)
{
	static const char *const names[] = {
		[TRACE_HELD] = "held", [TRACE_WAITING] = "waiting", [TRACE_HANDOFF] = "hand-off",
		[TRACE_COLLECTING] = "garbage collection",
	};
	uint64_t from = since_begin(arg, s->from), to = since_begin(arg, s->to);
	struct trace_json *j = arg;
	const char *name = name_of(j, s->tid, s->to);

	note_track(j, s->gil, TRACK_GIL);
	note_track(j, s->gil, s->tid);
	begin_event(j, 'X', s->gil, s->tid, from);
	put_length(j, to - from);
	put(j, ",\"cat\":\"%s\",\"name\":\"%s\"", s->state == TRACE_COLLECTING ? "gc" : "gil", names[s->state]);
	put_args(j, s);
	if (s->state != TRACE_HELD)
		return;
	begin_event(j, 'X', s->gil, TRACK_GIL, from);
	put_length(j, to - from);
	put(j, ",\"cat\":\"holder\",\"name\":%s}", name);
}

static void on_flow(void *arg, const struct trace_flow *f)
{
	struct trace_json *j = arg;

	j->flows++;
	begin_event(j, 's', f->gil, f->from_tid, since_begin(j, f->from_at));
	put(j, ",\"cat\":\"gil\",\"name\":\"lets go\",\"id\":%" PRIu64 "}", j->flows);
	begin_event(j, 'f', f->gil, f->to_tid, since_begin(j, f->to_at));
	put(j, ",\"cat\":\"gil\",\"name\":\"lets go\",\"id\":%" PRIu64 ",\"bp\":\"e\"}", j->flows);
}

static void on_waiters(void *arg, uint32_t gil, uint64_t at, uint32_t n)
{
	struct trace_json *j = arg;

	begin_event(j, 'C', gil, TRACK_GIL, since_begin(j, at));
	put(j, ",\"name\":\"waiting threads\",\"args\":{\"threads\":%u}}", n);
}

static void put_loss(struct trace_json *j, uint64_t n)
{
	if (n)
		put(j, ",\"cat\":\"lost\",\"name\":\"events lost\",\"args\":{\"events\":%" PRIu64 "}}", n);
	else
		put(j, ",\"cat\":\"lost\",\"name\":\"not observed\"}");
}

static void on_loss(void *arg, uint32_t gil, uint64_t from, uint64_t to, uint64_t n)
{
	struct trace_json *j = arg;
	uint64_t begin = since_begin(j, from), end = since_begin(j, to);

	note_track(j, gil, TRACK_GIL);
	begin_event(j, 'X', gil, TRACK_GIL, begin);
	put_length(j, end - begin);
	put_loss(j, n);
	begin_event(j, 'i', gil, TRACK_GIL, begin);
	put(j, ",\"s\":\"p\"");
	put_loss(j, n);
}

struct trace_out trace_json__out(struct trace_json *j)
{
	return (struct trace_out){
		.arg = j, .slice = on_slice, .flow = on_flow, .waiters = on_waiters, .loss = on_loss,
	};
}

/* ---- begin and end of the file ---- */

static void json_free(struct trace_json *j)
{
	for (size_t i = 0; i < j->names_n; i++)
		free(j->names[i].quoted);
	free(j->names);
	free(j->tracks);
	free(j->id);
	free(j->label);
	free(j->python);
	keymap__free(&j->name_index);
	keymap__free(&j->track_index);
	free(j);
}

struct trace_json *trace_json__new(FILE *to, const struct trace_json_head *head)
{
	struct trace_json *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->to = to;
	j->head = *head;
	j->id = quoted(j, head->id);
	j->label = quoted(j, head->label);
	j->python = quoted(j, head->python);
	if (j->no_memory) {
		json_free(j);
		return NULL;
	}
	put(j, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
	return j;
}

uint64_t trace_json__size(const struct trace_json *j)
{
	return j->size;
}

static void put_meta(struct trace_json *j, uint32_t gil, uint32_t tid, const char *what, const char *key, const char *json)
{
	begin_event(j, 'M', gil, tid, 0);
	put(j, ",\"name\":\"%s\",\"args\":{\"%s\":%s}}", what, key, json);
}

static void put_group(struct trace_json *j, uint32_t gil)
{
	char name[sizeof("GIL of interpreter 4294967295")], number[16], *label = j->label;

	snprintf(number, sizeof(number), "%u", gil);
	snprintf(name, sizeof(name), gil ? "GIL of interpreter %u" : "main", gil);
	put_meta(j, gil, TRACK_GIL, "process_sort_index", "sort_index", number);
	begin_event(j, 'M', gil, TRACK_GIL, 0);
	put(j, ",\"name\":\"process_name\",\"args\":{\"name\":%.*s%s%s\"}}", (int)strlen(label) - 1, label, gil ? ": " : "",
	    gil ? name : "");
	put_meta(j, gil, TRACK_GIL, "thread_name", "name", "\"who holds the GIL\"");
	put_meta(j, gil, TRACK_GIL, "thread_sort_index", "sort_index", "-1");
}

/* By now all names are as good as they will ever be. */
static void put_tracks(struct trace_json *j)
{
	for (size_t i = 0; i < j->tracks_n; i++) {
		const struct track *track = &j->tracks[i];

		if (track->tid == TRACK_GIL)
			put_group(j, track->gil);
		else
			put_meta(j, track->gil, track->tid, "thread_name", "name", name_of(j, track->tid, AT_THE_END));
	}
}

static void put_other(struct trace_json *j, const struct trace_json_tail *tail)
{
	time_t second = (time_t)(j->head.wall_ns / 1000000000);
	char begin[32] = "";
	struct tm tm;

	if (gmtime_r(&second, &tm))
		strftime(begin, sizeof(begin), "%Y-%m-%dT%H:%M:%S", &tm);
	put(j, "\"otherData\":{\"producer\":\"gilscope %s\",\"id\":%s,\"label\":%s,\"python\":%s,\"pid\":%d,",
	    j->head.version, j->id, j->label, j->python, (int)j->head.pid);
	put(j, "\"begin\":\"%s.%09dZ\",\"begin_ns\":%" PRId64 ",\"length_us\":" US ",", begin,
	    (int)(j->head.wall_ns % 1000000000), j->head.wall_ns, US_OF(since_begin(j, tail->end_ns)));
	put(j, "\"events\":%" PRIu64 ",\"events_lost\":%" PRIu64 ",\"ended\":\"%s\"", tail->events, tail->lost, tail->ended);
	if (tail->unobserved_ns)
		put(j, ",\"unobserved_us\":" US, US_OF(tail->unobserved_ns));
	put(j, "}");
}

int trace_json__close(struct trace_json *j, const struct trace_json_tail *tail)
{
	int err;

	put_tracks(j);
	put(j, "\n],\n");
	put_other(j, tail);
	put(j, "}\n");
	errno = 0;
	err = fflush(j->to) || ferror(j->to) ? -(errno ? errno : EIO) : 0;
	if (!err && j->no_memory)
		err = -ENOMEM;
	json_free(j);
	return err;
}
