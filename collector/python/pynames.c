/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See pynames.h.
 *
 * An object is believed for its type alone: strings have the type of the string "threading" in sys.modules, dicts that of
 * sys.modules, keys of _active one type among themselves. Names of members below are those of CPython: dictobject.c and
 * pycore_dict.h, unicodeobject.h, longintrepr.h, pycore_object.h.
 *
 * A reading follows some seven pointers per thread. Little changes from one reading to the next, so each begins by fetching
 * all that the last one asked for, hundreds of places per system call, and asks the target only for what is new.
 */
#include "pynames.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/base/circle.h"
#include "collector/base/text.h"
#include "collector/cpython/pyfamily.h"
#include "collector/process/procmaps.h"
#include "collector/process/procmem.h"
#include "collector/target/target.h"
#include "pycode.h"
#include "pystr.h"
#include "pytid.h"

#define INTERPRETERS_MAX 64
#define THREADS_MAX 16384
#define ENTRIES_MAX 65536            /* of a dict */
#define BUDGET_BYTES (16u << 20)     /* read per attempt */
#define READ_MAX (1u << 20)          /* in one piece: see procmem.h */
#define ATTEMPTS 3                   /* the target runs on while it is read: a torn look is repeated */
#define MEMOS 8                      /* types and key tables remembered during a reading */
#define KEYS_AT_ONCE 128             /* strings compared per system call */
#define TEXT_MAX 16                  /* longest of the keys looked for */
#define AHEAD_WINDOW 512             /* places that the next one asked for may be further on */
#define PREHEADER 32                 /* bytes before an object that may belong to it */

/* Include/object.h: Py_TPFLAGS_INLINE_VALUES (3.13+), Py_TPFLAGS_MANAGED_DICT (3.11+). */
#define INLINE_VALUES (1u << 2)
#define MANAGED_DICT (1u << 4)

/* A key looked for, and where its string was found last: the same string mostly stands there for ever. */
struct key {
	char text[TEXT_MAX];
	uint64_t at;
};

struct pynames {
	pid_t pid;
	uint64_t runtime;
	struct pyoffsets off;
	bool foreign;              /* the target counts its ids in another PID namespace */
	struct pythread *threads;  /* sorted by tstate */
	struct pythread **by_tid;
	size_t n;
	uint64_t read_at;          /* when the reading of `threads` began, 0: never */
	uint64_t tried_at;
	struct key threading, active, name;
	struct procmem_piece *asked; /* what the last reading asked for, in its order */
	size_t asked_n;
	uint8_t *entries;          /* scratch: the entries of one dict */
	size_t entries_size;
};

/* The entries of a dict, or of the keys that instances of a class share. */
struct table {
	uint64_t keys, entries, values; /* values: of a split table, else 0 */
	uint32_t n, stride, key_at;     /* the value follows the key */
};

struct shape {
	uint64_t type, cached_keys, basicsize, dictoffset, flags;
};

struct walk {
	struct pynames *names;
	const struct pyoffsets *off;
	const struct pyfamily *family;
	size_t budget;
	uint64_t str_type, int_type, dict_type;
	struct pythread *threads;
	size_t n, room;
	uint8_t *ahead;            /* what was fetched of names->asked; NULL: nothing */
	size_t ahead_at;           /* the next of them that is expected */
	struct procmem_piece *asked;
	size_t asked_n, asked_room;
	struct shape shapes[MEMOS];
	size_t shapes_n;
	struct {
		uint64_t keys;
		uint32_t index;
	} places[MEMOS];           /* of _name in shared keys */
	size_t places_n;
};

/* ---- reading ---- */

static uint64_t u64_at(const uint8_t *p, uint32_t offset)
{
	uint64_t v;

	memcpy(&v, p + offset, sizeof(v));
	return v;
}

static uint32_t u32_at(const uint8_t *p, uint32_t offset)
{
	uint32_t v;

	memcpy(&v, p + offset, sizeof(v));
	return v;
}

/* Fetches what the last reading asked for. Without memory for it the target is asked for each piece. */
static void fetch_ahead(struct walk *w)
{
	struct procmem_piece *asked = w->names->asked;
	size_t n = w->names->asked_n, total = 0;

	for (size_t i = 0; i < n; i++)
		total += asked[i].len;
	w->ahead = total ? malloc(total) : NULL;
	if (!w->ahead)
		return;
	total = 0;
	for (size_t i = 0; i < n; i++) {
		asked[i].buf = w->ahead + total;
		total += asked[i].len;
	}
	procmem__read_many(w->names->pid, asked, n);
}

static bool take_from_ahead(struct walk *w, uint64_t addr, void *buf, size_t len)
{
	const struct procmem_piece *asked = w->names->asked;
	size_t end = w->ahead_at + AHEAD_WINDOW;

	for (size_t i = w->ahead_at; w->ahead && i < w->names->asked_n && i < end; i++) {
		if (asked[i].addr != addr || asked[i].len != len)
			continue;
		w->ahead_at = i + 1;
		if (asked[i].ok)
			memcpy(buf, asked[i].buf, len);
		return asked[i].ok;
	}
	return false;
}

static void note_asked(struct walk *w, uint64_t addr, size_t len)
{
	if (w->asked_n == w->asked_room) {
		size_t room = w->asked_room ? 2 * w->asked_room : 256;
		struct procmem_piece *more = realloc(w->asked, room * sizeof(*more));

		if (!more)
			return;
		w->asked = more;
		w->asked_room = room;
	}
	w->asked[w->asked_n++] = (struct procmem_piece){.addr = addr, .len = len};
}

static int fetch(struct walk *w, uint64_t addr, void *buf, size_t len)
{
	if (len > w->budget)
		return -EINVAL;
	w->budget -= len;
	note_asked(w, addr, len);
	return take_from_ahead(w, addr, buf, len) ? 0 : procmem__read(w->names->pid, addr, buf, len);
}

static int fetch_pointer(struct walk *w, uint64_t addr, uint64_t *ret)
{
	int err = fetch(w, addr, ret, sizeof(*ret));

	return err ?: pycode__is_pointer(*ret) ? 0 : -EINVAL;
}

/* ---- strings and numbers ---- */

/* Whether the bytes of an object are those of the string `text`. */
static bool is_text(const struct walk *w, const uint8_t *object, const char *text)
{
	struct pystr state = pystr__head(w->off, object);
	uint64_t type = u64_at(object, w->off->ob_type);

	return pycode__is_pointer(type) && (!w->str_type || type == w->str_type) && state.kind == 1 && state.compact &&
	       state.ascii && state.length == strlen(text) &&
	       memcmp(object + w->off->unicode_ascii_size, text, strlen(text)) == 0;
}

/* A str of any length: as much of it as a name takes. */
static int read_name(struct walk *w, uint64_t object, char *name)
{
	const struct pyoffsets *off = w->off;
	uint8_t head[96], chars[4 * THREAD_NAME_SIZE];
	char utf8[4 * THREAD_NAME_SIZE];
	struct pystr state;
	size_t n, len = 0;
	int err = fetch(w, object, head, off->unicode_ascii_size);

	if (err)
		return err;
	state = pystr__head(off, head);
	if (u64_at(head, off->ob_type) != w->str_type || !pystr__is_sane(&state))
		return -EINVAL;
	n = state.length < THREAD_NAME_SIZE ? (size_t)state.length : THREAD_NAME_SIZE;
	err = n ? fetch(w, object + state.data, chars, n * state.kind) : 0;
	if (!err)
		len = pystr__utf8(utf8, chars, state.kind, n);
	if (!err)
		text__clean(name, THREAD_NAME_SIZE, utf8, len);
	return err;
}

/* An int of one or two digits of 30 bits: an address has no more. */
static int read_int(struct walk *w, uint64_t object, uint64_t *ret)
{
	const struct pyoffsets *off = w->off;
	uint64_t size, type;
	uint8_t bytes[64];
	int err = fetch(w, object, bytes, off->long_digit + 8);

	if (err)
		return err;
	type = u64_at(bytes, off->ob_type);
	w->int_type = w->int_type ?: type;
	size = u64_at(bytes, off->long_size);
	if (w->family->long_is_tagged) /* lv_tag: digits, a bit for small ones, sign (0: positive) */
		size = size & 3 ? 0 : size >> 3;
	if (type != w->int_type || type == w->str_type || (size != 1 && size != 2))
		return -EINVAL;
	*ret = u32_at(bytes, off->long_digit);
	if (size == 2)
		*ret |= (uint64_t)u32_at(bytes, off->long_digit + 4) << 30;
	return 0;
}

/* ---- dicts ---- */

/* Up to 3.10: dk_size indices, each as wide as that number needs. */
static int old_index_bytes(const struct pyoffsets *off, const uint8_t *head, uint64_t *ret_size, uint64_t *ret_bytes)
{
	*ret_size = u64_at(head, off->keys_size);
	if (*ret_size > 2 * ENTRIES_MAX)
		return -EINVAL;
	*ret_bytes = *ret_size * (*ret_size <= 0xff ? 1 : *ret_size <= 0xffff ? 2 : 4);
	return 0;
}

static int new_index_bytes(const struct pyoffsets *off, const uint8_t *head, uint64_t *ret_size, uint64_t *ret_bytes)
{
	uint8_t log2_size = head[off->keys_log2_size], log2_bytes = head[off->keys_log2_size + 1];

	if (log2_size > 17 || log2_bytes < log2_size || log2_bytes > log2_size + 3)
		return -EINVAL;
	*ret_size = 1ull << log2_size;
	*ret_bytes = 1ull << log2_bytes;
	return 0;
}

static int open_keys(struct walk *w, uint64_t keys, struct table *ret)
{
	const struct pyoffsets *off = w->off;
	bool old = off->keys_size != PYOFF_NONE, general;
	uint64_t size, bytes, n;
	uint8_t head[64];
	int err = pycode__is_pointer(keys) ? fetch(w, keys, head, off->keys_indices) : -EINVAL;

	err = err ?: old ? old_index_bytes(off, head, &size, &bytes) : new_index_bytes(off, head, &size, &bytes);
	if (err)
		return err;
	n = u64_at(head, off->keys_nentries);
	if (n > size || n > ENTRIES_MAX)
		return -EINVAL;
	general = old || head[off->keys_log2_size + 2] == 0; /* dk_kind: DICT_KEYS_GENERAL has room for hashes */
	*ret = (struct table){
		.keys = keys, .entries = keys + off->keys_indices + bytes, .n = (uint32_t)n,
		.stride = general ? 24 : 16, .key_at = general ? 8 : 0,
	};
	return 0;
}

static int open_dict(struct walk *w, uint64_t dict, struct table *ret)
{
	const struct pyoffsets *off = w->off;
	uint8_t head[96];
	uint64_t values;
	int err = pycode__is_pointer(dict) ? fetch(w, dict, head, off->dict_values + 8) : -EINVAL;

	if (err)
		return err;
	w->dict_type = w->dict_type ?: u64_at(head, off->ob_type);
	values = u64_at(head, off->dict_values);
	if (u64_at(head, off->ob_type) != w->dict_type || (values && !pycode__is_pointer(values)))
		return -EINVAL;
	err = open_keys(w, u64_at(head, off->dict_keys), ret);
	if (!err && values)
		ret->values = values + (off->values_values == PYOFF_NONE ? 0 : off->values_values);
	return err;
}

/* Reads all entries into the scratch buffer. */
static int read_entries(struct walk *w, const struct table *t)
{
	struct pynames *names = w->names;
	size_t len = (size_t)t->n * t->stride;
	int err = 0;

	if (len > names->entries_size) {
		uint8_t *bigger = realloc(names->entries, len);

		if (!bigger)
			return -ENOMEM;
		names->entries = bigger;
		names->entries_size = len;
	}
	for (size_t at = 0; !err && at < len; at += READ_MAX)
		err = fetch(w, t->entries + at, names->entries + at, len - at < READ_MAX ? len - at : READ_MAX);
	return err;
}

static uint64_t key_of(const struct walk *w, const struct table *t, uint32_t index)
{
	return u64_at(w->names->entries, index * t->stride + t->key_at);
}

static int value_of(struct walk *w, const struct table *t, uint32_t index, uint64_t *ret)
{
	if (t->values)
		return fetch_pointer(w, t->values + 8ull * index, ret);
	*ret = u64_at(w->names->entries, index * t->stride + t->key_at + 8);
	return pycode__is_pointer(*ret) ? 0 : -EINVAL;
}

/* Compares the keys from `first` on with a text, a number of them at a time; moves `first` on. */
static bool compare_some(struct walk *w, const struct table *t, const char *text, uint32_t *first, uint32_t *ret)
{
	uint8_t bytes[KEYS_AT_ONCE][96 + TEXT_MAX];
	struct procmem_piece pieces[KEYS_AT_ONCE];
	size_t len = w->off->unicode_ascii_size + strlen(text), n = 0;
	uint32_t index[KEYS_AT_ONCE];

	for (; *first < t->n && n < KEYS_AT_ONCE && len <= w->budget; (*first)++) {
		if (!pycode__is_pointer(key_of(w, t, *first)))
			continue;
		pieces[n] = (struct procmem_piece){.addr = key_of(w, t, *first), .buf = bytes[n], .len = len};
		index[n++] = *first;
		w->budget -= len;
	}
	procmem__read_many(w->names->pid, pieces, n);
	for (size_t i = 0; i < n; i++) {
		if (!pieces[i].ok || !is_text(w, bytes[i], text))
			continue;
		w->str_type = w->str_type ?: u64_at(bytes[i], w->off->ob_type);
		*ret = index[i];
		return true;
	}
	return false;
}

/* Whether the string found by an earlier reading still stands there. Tells what type strings have, too. */
static void check_memory_of(struct walk *w, struct key *key)
{
	uint8_t bytes[96 + TEXT_MAX];

	if (!key->at || fetch(w, key->at, bytes, w->off->unicode_ascii_size + strlen(key->text)) ||
	    !is_text(w, bytes, key->text))
		key->at = 0;
	else
		w->str_type = w->str_type ?: u64_at(bytes, w->off->ob_type);
}

/* Reads a table's entries and finds a key in it: by its address, which is nearly always the same, else by its text. */
static int find_key(struct walk *w, const struct table *t, struct key *key, uint32_t *ret)
{
	uint32_t first = 0;
	int err = read_entries(w, t);

	if (err)
		return err;
	for (uint32_t i = 0; key->at && i < t->n; i++)
		if (key_of(w, t, i) == key->at) {
			*ret = i;
			return 0;
		}
	while (first < t->n && w->budget > 96 + TEXT_MAX)
		if (compare_some(w, t, key->text, &first, ret)) {
			key->at = key_of(w, t, *ret);
			return 0;
		}
	return -ENOENT;
}

static int get(struct walk *w, uint64_t dict, struct key *key, uint64_t *ret)
{
	struct table t;
	uint32_t index;
	int err = open_dict(w, dict, &t);

	err = err ?: find_key(w, &t, key, &index);
	return err ?: value_of(w, &t, index, ret);
}

/* ---- attributes of an instance ---- */

static int shape_of(struct walk *w, uint64_t type, struct shape *ret)
{
	const struct pyoffsets *off = w->off;
	uint8_t bytes[1024];
	int err;

	for (size_t i = 0; i < w->shapes_n; i++)
		if (w->shapes[i].type == type) {
			*ret = w->shapes[i];
			return 0;
		}
	err = pycode__is_pointer(type) ? fetch(w, type, bytes, off->type_cached_keys + 8) : -EINVAL;
	if (err)
		return err;
	*ret = (struct shape){
		.type = type, .flags = u64_at(bytes, off->type_flags),
		.basicsize = u64_at(bytes, off->type_basicsize), .dictoffset = u64_at(bytes, off->type_dictoffset),
		.cached_keys = u64_at(bytes, off->type_cached_keys),
	};
	if (ret->basicsize > 65536)
		return -EINVAL;
	if (w->shapes_n < MEMOS)
		w->shapes[w->shapes_n++] = *ret;
	return 0;
}

static int open_values(struct walk *w, const struct shape *shape, uint64_t values, struct table *ret)
{
	int err = pycode__is_pointer(values) ? open_keys(w, shape->cached_keys, ret) : -EINVAL;

	ret->values = values + w->off->values_values;
	return err;
}

/* Attributes that the interpreter manages itself. */
static int open_managed(struct walk *w, uint64_t object, const uint8_t *before, const struct shape *shape,
			struct table *ret)
{
	const struct pyoffsets *off = w->off;
	uint64_t dict = u64_at(before, off->gil_enabled == 0 ? PREHEADER - 8 : PREHEADER - 24);

	if (w->family->attributes == ATTRIBUTES_TWO_POINTERS && u64_at(before, 0))
		return open_values(w, shape, u64_at(before, 0), ret);
	if (w->family->attributes == ATTRIBUTES_TAGGED_POINTER && (dict & 1))
		return open_values(w, shape, dict + 1, ret);
	if (w->family->attributes == ATTRIBUTES_BEHIND && !dict && (shape->flags & INLINE_VALUES))
		return open_values(w, shape, object + shape->basicsize, ret);
	return open_dict(w, dict, ret);
}

static int open_attributes(struct walk *w, uint64_t object, struct table *ret)
{
	uint8_t bytes[PREHEADER + 64];
	struct shape shape;
	uint64_t dict;
	int err = pycode__is_pointer(object) ? fetch(w, object - PREHEADER, bytes, PREHEADER + w->off->ob_type + 8) : -EINVAL;

	err = err ?: shape_of(w, u64_at(bytes + PREHEADER, w->off->ob_type), &shape);
	if (err)
		return err;
	if (w->family->attributes != ATTRIBUTES_BY_DICTOFFSET && (shape.flags & MANAGED_DICT))
		return open_managed(w, object, bytes, &shape, ret);
	if (shape.dictoffset == 0 || shape.dictoffset > 65536 || shape.dictoffset % 8)
		return -EINVAL;
	err = fetch_pointer(w, object + shape.dictoffset, &dict);
	return err ?: open_dict(w, dict, ret);
}

/* The place of _name among shared keys is looked for once per class. */
static int find_name(struct walk *w, const struct table *t, uint32_t *ret)
{
	int err;

	for (size_t i = 0; t->values && i < w->places_n; i++)
		if (w->places[i].keys == t->keys) {
			*ret = w->places[i].index;
			return 0;
		}
	err = find_key(w, t, &w->names->name, ret);
	if (!err && t->values && w->places_n < MEMOS) {
		w->places[w->places_n].keys = t->keys;
		w->places[w->places_n++].index = *ret;
	}
	return err;
}

static int name_of_instance(struct walk *w, uint64_t object, char *name)
{
	struct table t;
	uint32_t index;
	uint64_t value;
	int err = open_attributes(w, object, &t);

	err = err ?: find_name(w, &t, &index);
	err = err ?: value_of(w, &t, index, &value);
	return err ?: read_name(w, value, name);
}

/* ---- thread states ---- */

static int add_thread(struct walk *w, const struct pythread *t)
{
	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 64;
		struct pythread *more = realloc(w->threads, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		w->threads = more;
		w->room = room;
	}
	w->threads[w->n++] = *t;
	return 0;
}

static int by_tstate(const void *a, const void *b)
{
	const struct pythread *x = a, *y = b;

	return x->tstate < y->tstate ? -1 : x->tstate > y->tstate;
}

/*
 * 3.8 to 3.10: from struct pthread. /proc is asked whether it can be true, which takes time, once per thread. In another
 * namespace it cannot tell; what is wrong then is an id that no thread has.
 */
static pid_t tid_from_pthread(struct walk *w, const struct pythread *t)
{
	const struct pythread *last = w->names->n ?
		bsearch(t, w->names->threads, w->names->n, sizeof(*t), by_tstate) : NULL;
	bool verified = last && last->tid && last->ident == t->ident;
	uint32_t tid;

	if ((verified || w->names->foreign) && !fetch(w, t->ident + PYVER_PTHREAD_TID, &tid, sizeof(tid)) &&
	    tid <= INT32_MAX && (w->names->foreign || tid == (uint32_t)last->tid))
		return (pid_t)tid;
	return w->names->foreign ? 0 : pytid__of_tstate(w->names->pid, w->off, t->tstate);
}

static int list_threads(struct walk *w, uint64_t interp)
{
	const struct pyoffsets *off = w->off;
	struct circle circle = {0};
	uint8_t bytes[256];
	uint64_t at;
	int err = fetch(w, interp + off->interp_threads_head, &at, sizeof(at));

	while (!err && at) {
		struct pythread t = {.tstate = at, .order = (uint32_t)w->n};

		if (!pycode__is_pointer(at) || w->n >= THREADS_MAX || circle__closed(&circle, at))
			return -EINVAL;
		err = fetch(w, at, bytes, sizeof(bytes));
		if (err)
			break;
		if (u64_at(bytes, off->tstate_interp) != interp)
			return -EINVAL;
		t.ident = u64_at(bytes, off->tstate_thread_id);
		t.tid = off->tstate_native_thread_id == PYOFF_NONE ?
			tid_from_pthread(w, &t) :
			(pid_t)(u64_at(bytes, off->tstate_native_thread_id) & INT32_MAX);
		err = add_thread(w, &t);
		at = u64_at(bytes, off->tstate_next);
	}
	return err;
}

static int by_ident(const void *a, const void *b)
{
	const struct pythread *x = a, *y = b;

	return x->ident != y->ident ? (x->ident < y->ident ? -1 : 1) : x->order < y->order ? -1 : x->order > y->order;
}

/* A thread has a state in each interpreter that it enters; one of them may know its name. */
static int by_tid(const void *a, const void *b)
{
	const struct pythread *x = *(struct pythread *const *)a, *y = *(struct pythread *const *)b;

	if (x->tid != y->tid)
		return x->tid < y->tid ? -1 : 1;
	if (!x->name[0] != !y->name[0])
		return x->name[0] ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* The newest of an interpreter's thread states with that ident: one that a thread left behind has an old one. */
static struct pythread *thread_of_ident(struct pythread *sorted, size_t n, uint64_t ident)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (sorted[mid].ident < ident)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n && sorted[low].ident == ident ? &sorted[low] : NULL;
}

/* ---- one interpreter ---- */

struct active {
	uint64_t ident_object, thread;
};

/* Copies the pairs of _active, since the scratch buffer is needed for what they point to. */
static int read_active(struct walk *w, uint64_t dict, struct active **ret, size_t *ret_n)
{
	struct active *pairs;
	struct table t;
	size_t n = 0;
	int err = open_dict(w, dict, &t);

	err = err ?: t.values ? -EINVAL : read_entries(w, &t);
	if (err)
		return err;
	pairs = calloc(t.n + 1, sizeof(*pairs));
	if (!pairs)
		return -ENOMEM;
	for (uint32_t i = 0; i < t.n && n < THREADS_MAX; i++) {
		pairs[n].ident_object = key_of(w, &t, i);
		if (pycode__is_pointer(pairs[n].ident_object) && !value_of(w, &t, i, &pairs[n].thread))
			n++;
	}
	*ret = pairs;
	*ret_n = n;
	return 0;
}

/* Whether an object is threading's own _MainThread: by the name of its class, PyTypeObject.tp_name behind ob_size. */
static bool is_main_thread(struct walk *w, uint64_t object)
{
	static const char class[] = "_MainThread";
	char found[sizeof(class)];
	uint64_t type, name;

	return !fetch_pointer(w, object + w->off->ob_type, &type) && !fetch_pointer(w, type + w->off->ob_type + 16, &name) &&
	       !fetch(w, name, found, sizeof(found)) && memcmp(found, class, sizeof(class)) == 0;
}

/*
 * gevent and eventlet replace get_ident(): threading then knows its main thread by a greenlet's address, which is no thread's
 * ident. The main thread is the process's first.
 */
static void name_main_thread(struct walk *w, uint64_t object, size_t first)
{
	pid_t inside = w->names->foreign ? target__id_inside(w->names->pid, w->names->pid) : w->names->pid;

	for (size_t i = first; i < w->n; i++) {
		struct pythread *t = &w->threads[i];

		if (t->tid == inside && !t->name[0] && is_main_thread(w, object) && name_of_instance(w, object, t->name))
			t->name[0] = '\0';
	}
}

/* A thread that cannot be named now is without a name; the others are not worse for it. */
static void name_threads(struct walk *w, const struct active *pairs, size_t pairs_n, size_t first)
{
	uint64_t ident;

	if (w->n == first)
		return;
	qsort(w->threads + first, w->n - first, sizeof(*w->threads), by_ident);
	for (size_t i = 0; i < pairs_n; i++) {
		struct pythread *t;

		if (read_int(w, pairs[i].ident_object, &ident))
			continue;
		t = thread_of_ident(w->threads + first, w->n - first, ident);
		if (!t)
			name_main_thread(w, pairs[i].thread, first);
		else if (name_of_instance(w, pairs[i].thread, t->name))
			t->name[0] = '\0';
	}
}

static int visit_interpreter(struct walk *w, uint64_t interp)
{
	struct pynames *names = w->names;
	size_t first = w->n, pairs_n = 0;
	uint64_t modules, module, dict, active;
	struct active *pairs = NULL;
	int err = list_threads(w, interp);

	err = err ?: fetch(w, interp + w->off->interp_modules, &modules, sizeof(modules));
	if (err || !modules) /* an interpreter that is being made has none yet */
		return err;
	err = get(w, modules, &names->threading, &module);
	/* PyModuleObject.md_dict (moduleobject.c) follows the head of the object. */
	err = err ?: fetch_pointer(w, module + w->off->ob_type + 8, &dict);
	err = err ?: get(w, dict, &names->active, &active);
	err = err ?: read_active(w, active, &pairs, &pairs_n);
	if (!err)
		name_threads(w, pairs, pairs_n, first);
	free(pairs);
	return err == -ENOENT ? 0 : err; /* a program need not have imported threading */
}

static int walk_once(struct walk *w)
{
	uint64_t interp;
	int err;

	check_memory_of(w, &w->names->threading);
	check_memory_of(w, &w->names->active);
	check_memory_of(w, &w->names->name);
	err = fetch(w, w->names->runtime + w->off->runtime_interpreters_head, &interp, sizeof(interp));
	for (int i = 0; !err && interp; i++) {
		if (i == INTERPRETERS_MAX || !pycode__is_pointer(interp))
			return -EINVAL;
		err = visit_interpreter(w, interp);
		err = err ?: fetch(w, interp + w->off->interp_next, &interp, sizeof(interp));
	}
	return err;
}

/* ---- the cache ---- */

/* What buffers on the stack must hold. */
static bool offsets_usable(const struct pyoffsets *off)
{
	return off->interp_modules != PYOFF_NONE && off->ob_type <= 24 && off->type_cached_keys <= 1000 &&
	       off->type_flags < off->type_cached_keys && off->unicode_state + 4 <= off->unicode_ascii_size &&
	       off->unicode_ascii_size <= 96 && off->long_digit <= 48 && off->dict_values <= 80 &&
	       off->keys_indices >= 24 && off->keys_indices <= 64 && off->tstate_next <= 248 &&
	       off->tstate_interp <= 248 && off->tstate_thread_id <= 248 &&
	       (off->tstate_native_thread_id == PYOFF_NONE || off->tstate_native_thread_id <= 248);
}

int pynames__new(pid_t pid, uint64_t runtime, const struct pyoffsets *off, struct pynames **ret)
{
	struct pynames *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	*n = (struct pynames){
		.pid = pid, .runtime = runtime, .off = *off, .foreign = target__id_inside(pid, pid) != 0,
		.threading = {"threading", 0}, .active = {"_active", 0}, .name = {"_name", 0},
	};
	*ret = n;
	return 0;
}

void pynames__free(struct pynames *n)
{
	if (!n)
		return;
	free(n->threads);
	free(n->by_tid);
	free(n->asked);
	free(n->entries);
	free(n);
}

/* The walk's threads become the cache's. */
static int keep(struct pynames *n, struct walk *w)
{
	struct pythread **index = calloc(w->n + 1, sizeof(*index));

	if (!index)
		return -ENOMEM;
	if (w->n)
		qsort(w->threads, w->n, sizeof(*w->threads), by_tstate);
	for (size_t i = 0; i < w->n; i++)
		index[i] = &w->threads[i];
	qsort(index, w->n, sizeof(*index), by_tid);
	free(n->threads);
	free(n->by_tid);
	n->threads = w->threads;
	n->by_tid = index;
	n->n = w->n;
	w->threads = NULL;
	free(n->asked);
	n->asked = w->asked;
	n->asked_n = w->asked_n;
	w->asked = NULL;
	return 0;
}

int pynames__refresh(struct pynames *n, uint64_t now_ns)
{
	int err = -ENOTSUP;

	n->tried_at = now_ns;
	if (!offsets_usable(&n->off))
		return err;
	for (int i = 0; i < ATTEMPTS; i++) {
		struct walk w = {.names = n, .off = &n->off, .family = pyfamily__of_offsets(&n->off), .budget = BUDGET_BYTES};

		if (i == 0)
			fetch_ahead(&w);
		err = walk_once(&w);
		free(w.ahead);
		err = err ?: keep(n, &w);
		free(w.threads);
		free(w.asked);
		if (!err)
			n->read_at = now_ns;
		if (err != -EFAULT && err != -EINVAL)
			break;
	}
	return err;
}

static const struct pythread *find_tid(const struct pynames *n, pid_t tid)
{
	size_t low = 0, high = n->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (n->by_tid[mid]->tid < tid)
			low = mid + 1;
		else
			high = mid;
	}
	return tid > 0 && low < n->n && n->by_tid[low]->tid == tid ? n->by_tid[low] : NULL;
}

static const struct pythread *look_up(const struct pynames *n, pid_t tid, uint64_t tstate, uint64_t start_ns)
{
	const struct pythread key = {.tstate = tstate}, *t;

	if (!n->n || start_ns >= n->read_at)
		return NULL;
	if (!tstate)
		return find_tid(n, n->foreign ? target__id_inside(n->pid, tid) : tid);
	t = bsearch(&key, n->threads, n->n, sizeof(key), by_tstate);
	return t && !t->name[0] && t->tid > 0 ? find_tid(n, t->tid) : t;
}

static bool is_time(const struct pynames *n, uint64_t now_ns, bool unknown)
{
	uint64_t age = now_ns - n->tried_at;

	return !n->tried_at || age >= PYNAMES_PERIOD_NS || (unknown && age >= PYNAMES_GAP_NS);
}

const char *pynames__find(struct pynames *n, uint64_t now_ns, pid_t tid, uint64_t tstate, uint64_t start_ns)
{
	const struct pythread *t;

	if (n->off.interp_modules == PYOFF_NONE)
		return NULL;
	t = look_up(n, tid, tstate, start_ns);
	if (is_time(n, now_ns, !t)) {
		pynames__refresh(n, now_ns);
		t = look_up(n, tid, tstate, start_ns);
	}
	return t && t->name[0] ? t->name : NULL;
}

const struct pythread *pynames__all(const struct pynames *n, size_t *ret_n)
{
	*ret_n = n->n;
	return n->threads;
}
