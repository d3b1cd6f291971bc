/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes batches to Redis: a bounded queue in front of one thread that owns the connection.
 *
 *   write() --> queue --> flight --> Redis           connection lost, LOADING, OOM, READONLY, NOPERM ...:
 *               (bounded)   ^  |                     flight goes back to the queue's head, a pause, again
 *                           |__| all of it again
 *
 * A batch is idempotent, so whatever is in doubt is sent again as a whole; only an error reply that sending again can't
 * cure (WRONGTYPE, a bug) is counted and passed over. Announces go first after each connect: the server may have come
 * back empty. The queue drops its oldest batches, counted, when it is full or they are too old; what is in flight is not
 * touched. What a master has acknowledged its replica may lack: with Sentinel a batch is kept for a minute more, and sent again
 * to the next master. close() wakes every wait through an eventfd; only a name look-up can't be interrupted, so the
 * thread is then left to end by itself.
 */
#include "sink_redis.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "collector/base/log.h"
#include "collector/base/text.h"
#include "collector/schema/schema_events.h"
#include "redis_cluster.h"
#include "redis_conn.h"
#include "redis_events.h"
#include "redis_functions.h"
#include "redis_sentinel.h"
#include "redis_server.h"

#define DEFAULT_MAX_BYTES (64ull << 20)
#define DEFAULT_MAX_AGE_S 900
#define DEFAULT_COMMANDS 500
#define MAX_COMMANDS 1000
#define DEFAULT_TIMEOUT_MS 5000
#define ORPHAN_AFTER_MS 1000
#define KEPT_MS 60000       /* what is acknowledged, for the next master */
#define KEPT_PART 4         /* of max_bytes, at most */
#define SERVER_LOOK_MS 5000 /* between two looks at the server's memory */

/* A batch on its way. Counted references: an announce may be replaced while it is being sent. */
struct parcel {
	struct batch *b;
	unsigned int refs;
	size_t bytes;
	uint32_t points;
	int64_t queued_ms; /* monotonic: the wall clock may step */
	int64_t landed_ms; /* the same, when it was acknowledged last; 0: not yet */
	struct parcel *next;
};

struct fifo {
	struct parcel *head, **tail;
	uint64_t bytes, batches;
};

struct announce {
	char *id;
	struct parcel *parcel;
	bool due;
	struct announce *next;
};

/* A command of a parcel. */
struct place {
	const struct parcel *p;
	size_t i;
};

/* A command that was answered by ASK. */
struct asked {
	struct place at;
	char text[128];
};

/* What one attempt at sending met. */
struct tally {
	enum redis_class worst;   /* of what sending again may cure, else OK */
	uint64_t commands;
	uint64_t refused;         /* replies that sending again can't cure */
	struct place at;          /* the command whose reply is next */
	struct asked *asked;      /* commands whose key is at another node for now */
	size_t asked_n;
	bool follows_ask;
	struct place *stale;      /* events whose ids their streams would not take */
	size_t stale_n;
	uint64_t renumbered;
	uint64_t keys_lost;
	bool keys_known;
	char text[160];           /* the error that decides, as the server put it */
	char refused_text[160];
};

struct sink_redis {
	struct sink sink;
	struct redis_url url;
	char where[300];
	struct sink_redis_opts opts;
	int stop_fd;              /* eventfd: readable when closing */
	pthread_t thread;

	pthread_mutex_t lock;     /* everything below */
	pthread_cond_t work, progress;
	struct fifo queue, flight;
	struct fifo kept;         /* acknowledged by `kept_by`, which sentinels may replace */
	struct redis_node kept_by;
	uint64_t unkept;          /* points that there was no room to keep, the last of them at `unkept_ms` */
	int64_t unkept_ms;
	struct announce *announces;
	struct sink_stats stats;
	bool closing, ended, orphaned;
	unsigned int attempt;     /* failures since the last success */
	bool told_of_functions;  /* the sink's thread alone */
	bool was_connected;

	/* The thread's own. */
	struct redisContext *conn;
	struct redis_node master; /* that it leads to, by sentinels */
	struct redis_server server; /* at the last look */
	int64_t server_at;        /* ms, monotonic: when that was; 0: on this connection not yet */
	bool no_info;             /* it hangs up when it is looked at */
	bool careful;             /* one command at a time, after the server hung up on many: at which one? */
};

static int64_t mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static struct timespec in_ms(int64_t ms)
{
	int64_t at = mono_ms() + ms;

	return (struct timespec){.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000};
}

/* ---- parcels and queues; all under the lock ---- */

static struct parcel *parcel__new(struct batch *b)
{
	struct parcel *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	*p = (struct parcel){.b = b, .refs = 1, .bytes = batch__bytes(b) + sizeof(*p), .points = batch__points(b),
			     .queued_ms = mono_ms()};
	return p;
}

static void parcel__put(struct parcel *p)
{
	if (!p || --p->refs > 0)
		return;
	batch__free(p->b);
	free(p);
}

static void fifo__init(struct fifo *f)
{
	*f = (struct fifo){.head = NULL};
	f->tail = &f->head;
}

static void fifo__push(struct fifo *f, struct parcel *p)
{
	p->next = NULL;
	*f->tail = p;
	f->tail = &p->next;
	f->bytes += p->bytes;
	f->batches++;
}

static struct parcel *fifo__pop(struct fifo *f)
{
	struct parcel *p = f->head;

	if (!p)
		return NULL;
	f->head = p->next;
	if (!f->head)
		f->tail = &f->head;
	f->bytes -= p->bytes;
	f->batches--;
	return p;
}

/* Puts all of `from` before `to`. */
static void fifo__give_back(struct fifo *from, struct fifo *to)
{
	if (!from->head)
		return;
	*from->tail = to->head;
	if (!to->head)
		to->tail = from->tail;
	to->head = from->head;
	to->bytes += from->bytes;
	to->batches += from->batches;
	fifo__init(from);
}

static void drop_oldest(struct sink_redis *s)
{
	struct parcel *p = fifo__pop(&s->queue);

	if (p->landed_ms) {
		s->stats.points_unsure += p->points;
	} else {
		s->stats.batches_dropped++;
		s->stats.points_dropped += p->points;
	}
	parcel__put(p);
}

/* Keeps the queue within its bounds. Returns how many batches that cost. */
static unsigned int trim(struct sink_redis *s)
{
	int64_t oldest = mono_ms() - (int64_t)s->opts.max_age_s * 1000;
	unsigned int dropped = 0;

	while (s->queue.head && (s->queue.bytes + s->flight.bytes > s->opts.max_bytes ||
				 s->queue.head->queued_ms < oldest)) {
		drop_oldest(s);
		dropped++;
	}
	return dropped;
}

static bool announce_due(const struct sink_redis *s)
{
	for (const struct announce *a = s->announces; a; a = a->next)
		if (a->due)
			return true;
	return false;
}

static void set_trouble(struct sink_redis *s, const char *text)
{
	text__clean(s->stats.trouble, sizeof(s->stats.trouble), text, strlen(text));
}

/* ---- sending; the lock is not held ---- */

static void refuse(struct tally *t, const char *text)
{
	t->refused++;
	if (!t->refused_text[0])
		snprintf(t->refused_text, sizeof(t->refused_text), "%s", text);
}

/* An error reply, alone or inside EXEC's. */
static void tally_error(struct tally *t, const char *text)
{
	enum redis_class cls = redis_class__of(text);

	if (cls == REDIS_CLASS_KEY || cls == REDIS_CLASS_BUG) {
		refuse(t, text);
		return;
	}
	/* Of several kinds the one decides that takes longest to cure; they are in that order. */
	if (cls > t->worst) {
		t->worst = cls;
		snprintf(t->text, sizeof(t->text), "%s", text);
	}
}

/* Moves on to the next command, and gives this one. */
static int next_place(struct tally *t, struct place *ret, const char *const **ret_argv)
{
	const size_t *lens;

	*ret = t->at;
	if (++t->at.i == batch__commands(t->at.p->b))
		t->at = (struct place){.p = t->at.p->next};
	return batch__get(ret->p->b, ret->i, ret_argv, &lens);
}

/* A row's "EXPIRE key s NX" sets nothing, unless the key has been made anew since it was armed (schema_put__row()). */
static bool is_check(int argc, const char *const *argv)
{
	return argc == 4 && strcmp(argv[0], "EXPIRE") == 0;
}

static void note_stale(struct tally *t, const struct place *where, const char *text)
{
	struct place *grown = reallocarray(t->stale, t->stale_n + 1, sizeof(*grown));

	if (!grown) {
		refuse(t, text);
		return;
	}
	t->stale = grown;
	t->stale[t->stale_n++] = *where;
}

/* An event is a by-product: who may not write it (an ACL of an older release) still writes all else. */
static void tally_event(struct tally *t, const struct place *where, const char *text)
{
	if (redis_events__is_stale(text))
		note_stale(t, where, text);
	else if (strncmp(text, "NOPERM", 6) == 0)
		refuse(t, text);
	else
		tally_error(t, text);
}

/* A slot on its way: this key has gone already, or is new. */
static void note_asked(struct tally *t, const struct place *where, const char *text)
{
	struct asked *grown = reallocarray(t->asked, t->asked_n + 1, sizeof(*grown));

	if (!grown) {
		tally_error(t, "TRYAGAIN ");
		return;
	}
	t->asked = grown;
	t->asked[t->asked_n].at = *where;
	snprintf(t->asked[t->asked_n].text, sizeof(t->asked[0].text), "%s", text);
	t->asked_n++;
}

static int tally_reply(void *arg, size_t i, const struct redisReply *reply)
{
	struct tally *t = arg;
	const char *const *argv;
	struct place where;
	int argc = next_place(t, &where, &argv);

	t->commands++;
	if (t->follows_ask && reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "ASK ", 4) == 0) {
		note_asked(t, &where, reply->str);
		return 0;
	}
	if (is_check(argc, argv)) {
		t->keys_known |= reply->type == REDIS_REPLY_INTEGER;
		t->keys_lost += reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
		return 0;
	}
	if (reply->type == REDIS_REPLY_ERROR && schema_event__id_at(argc, argv)) {
		tally_event(t, &where, reply->str);
		return 0;
	}
	if (reply->type == REDIS_REPLY_ERROR) {
		/* EXECABORT only repeats that a command before it was refused, which has been counted. */
		if (strncmp(reply->str, "EXECABORT", 9) != 0)
			tally_error(t, reply->str);
		return 0;
	}
	if (reply->type != REDIS_REPLY_ARRAY)
		return 0;
	for (size_t k = 0; k < reply->elements; k++)
		if (reply->element[k] && reply->element[k]->type == REDIS_REPLY_ERROR)
			tally_error(t, reply->element[k]->str);
	return 0;
}

/* Sends what has been appended. */
static int exchange(struct sink_redis *s, size_t n, struct tally *t, struct reason *why)
{
	return n == 0 ? 0 : redis_conn__exchange(s->conn, n, s->opts.timeout_ms, s->stop_fd, tally_reply, t, why);
}

/* Sends a list of parcels in pipelines of commands_per_batch. */
static int send_parcels(struct sink_redis *s, const struct parcel *p, struct tally *t, struct reason *why)
{
	size_t pending = 0, at_once = s->careful ? 1 : s->opts.commands_per_batch;

	t->at = (struct place){.p = p};
	for (; p; p = p->next) {
		for (size_t i = 0; i < batch__commands(p->b); i++) {
			const char *const *argv;
			const size_t *lens;
			int argc = batch__get(p->b, i, &argv, &lens), err;

			if (redis_conn__append(s->conn, argc, argv, lens))
				return reason__set(why, -ENOMEM, "out of memory");
			if (++pending < at_once)
				continue;
			err = exchange(s, pending, t, why);
			if (err)
				return err;
			pending = 0;
		}
	}
	return exchange(s, pending, t, why);
}

/* Finds out what became of events that were not taken, and gives them the next id if they are not there. */
static int mend_events(struct sink_redis *s, struct tally *t, struct reason *why)
{
	char refusal[REDIS_REFUSAL_SIZE];
	enum event_outcome outcome;
	int err = 0;

	for (size_t i = 0; i < t->stale_n && !err; i++) {
		const struct place *at = &t->stale[i];

		err = redis_events__mend(s->conn, at->p->b, at->i, s->opts.timeout_ms, s->stop_fd, &outcome, refusal, why);
		t->renumbered += !err && outcome == EVENT_RENUMBERED;
		if (!err && outcome == EVENT_REFUSED)
			refuse(t, refusal);
	}
	return err;
}

/* ---- a slot that is moving ---- */

static bool is_command(const struct batch *b, size_t i, const char *name)
{
	const char *const *argv;
	const size_t *lens;

	return batch__get(b, i, &argv, &lens) && strcmp(argv[0], name) == 0;
}

/* The transaction around command i, first and last; itself if there is none. */
static void find_transaction(const struct batch *b, size_t i, size_t *ret_first, size_t *ret_last)
{
	size_t first = i, last = i;

	while (first > 0 && !is_command(b, first, "MULTI") && !is_command(b, first, "EXEC"))
		first--;
	*ret_first = *ret_last = i;
	if (!is_command(b, first, "MULTI"))
		return;
	while (last + 1 < batch__commands(b) && !is_command(b, last, "EXEC"))
		last++;
	*ret_first = first;
	*ret_last = last;
}

/* Replies to what was asked elsewhere: what does not succeed is tried again as a whole. */
static int take_asked(void *arg, size_t i, const struct redisReply *reply)
{
	struct tally *t = arg;

	if (reply->type == REDIS_REPLY_ERROR && redis_events__is_stale(reply->str))
		tally_error(t, "TRYAGAIN "); /* by then the slot has settled, and the event is looked for there */
	else if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "EXECABORT", 9) != 0)
		tally_error(t, reply->str);
	return 0;
}

/* ASKING stands before a command, and before MULTI for all of it. */
static int ask_one(struct sink_redis *s, const struct asked *a, struct tally *t, size_t *ret_last, struct reason *why)
{
	const char *asking[] = {"ASKING"}, *const *argv;
	const size_t asking_len[] = {6}, *lens;
	struct redisContext *c = NULL;
	struct redis_node here = {.port = s->url.port}, there;
	struct redis_url url;
	size_t first, n = 0;
	int err;

	memcpy(here.host, s->url.host, sizeof(here.host));
	find_transaction(a->at.p->b, a->at.i, &first, ret_last);
	if (!cluster_redirect__read(a->text, &here, &there))
		return reason__set(why, -EPROTO, "\"%.100s\" names no node", a->text);
	cluster_url__of(&s->url, &there, &url);
	err = redis_conn__open_until(&url, s->opts.timeout_ms, s->stop_fd, &c, why);
	explicit_bzero(&url, sizeof(url));
	if (err)
		return err;
	err = redis_conn__append(c, 1, asking, asking_len);
	for (size_t i = first; i <= *ret_last && !err; i++, n++) {
		int argc = batch__get(a->at.p->b, i, &argv, &lens);

		err = redis_conn__append(c, argc, argv, lens);
	}
	err = err ? reason__set(why, err, "out of memory") :
		    redis_conn__exchange(c, n + 1, s->opts.timeout_ms, s->stop_fd, take_asked, t, why);
	redis_conn__close(c);
	return err;
}

static int ask_elsewhere(struct sink_redis *s, struct tally *t, struct reason *why)
{
	int err = 0;

	for (size_t i = 0; i < t->asked_n && !err; i++) {
		const struct parcel *p = t->asked[i].at.p;
		size_t last;

		err = ask_one(s, &t->asked[i], t, &last, why);
		while (i + 1 < t->asked_n && t->asked[i + 1].at.p == p && t->asked[i + 1].at.i <= last)
			i++; /* of the same transaction */
	}
	return err;
}

static int send_flight(struct sink_redis *s, struct tally *t, struct reason *why)
{
	int err = send_parcels(s, s->flight.head, t, why);

	if (!err && t->worst == REDIS_CLASS_OK)
		err = ask_elsewhere(s, t, why);
	free(t->asked);
	t->asked = NULL;
	if (!err && t->worst == REDIS_CLASS_OK)
		err = mend_events(s, t, why);
	free(t->stale);
	t->stale = NULL;
	return err;
}

/* ---- the thread ---- */

static void disconnect(struct sink_redis *s)
{
	redis_conn__close(s->conn);
	s->conn = NULL;
	s->server_at = 0;
	s->stats.connected = false;
	for (struct announce *a = s->announces; a; a = a->next)
		a->due = true;
}

static uint32_t random_u32(void)
{
	uint32_t r;

	return getrandom(&r, sizeof(r), GRND_NONBLOCK) == sizeof(r) ? r : (uint32_t)mono_ms() * 2654435761u;
}

/* Waits before the next attempt; close() ends it. Samples that come meanwhile don't. */
static void back_off(struct sink_redis *s, enum redis_class cls)
{
	int pause = redis_backoff__ms(s->attempt++, cls, random_u32());
	struct timespec until = in_ms(pause);

	log_verbose("sink: %s; next try in %d ms", s->stats.trouble, pause);
	while (!s->closing && pthread_cond_timedwait(&s->work, &s->lock, &until) != ETIMEDOUT)
		;
	trim(s);
}

/* What went wrong on the way, with what is being done about it. */
static void lost_connection(struct sink_redis *s, int err, const struct reason *why)
{
	char text[sizeof(why->text) + 400];
	bool named = strncmp(why->text, s->where, strlen(s->where)) == 0;

	snprintf(text, sizeof(text), "%s%s%s (samples are kept and sent later)", named ? "" : s->where, named ? "" : ": ",
		 why->text);
	set_trouble(s, text);
	disconnect(s);
	back_off(s, err == -EACCES ? REDIS_CLASS_CREDENTIALS : REDIS_CLASS_TRANSIENT);
}

/* ---- a node of a cluster ---- */

/* The link that points to the announce of `id`, or to the end of the list. */
static struct announce **find_announce(struct sink_redis *s, const char *id)
{
	struct announce **link = &s->announces;

	while (*link && strcmp((*link)->id, id) != 0)
		link = &(*link)->next;
	return link;
}

static void free_announce(struct announce *a)
{
	parcel__put(a->parcel);
	free(a->id);
	free(a);
}

/* Takes an announce out of the list, to be put back or not. */
static void pass_announces(struct sink_redis *s)
{
	struct announce *a, *all = s->announces;

	s->announces = NULL;
	while ((a = all)) {
		bool passed;

		all = a->next;
		pthread_mutex_unlock(&s->lock);
		passed = s->opts.lane->pass_announce(s->opts.lane->arg, &s->sink, a->id, a->parcel->b);
		pthread_mutex_lock(&s->lock);
		if (passed)
			a->parcel->b = NULL; /* the other's */
		if (passed || *find_announce(s, a->id)) {
			free_announce(a);
			continue;
		}
		a->next = s->announces;
		s->announces = a;
	}
}

/* Asks who has which slot, and passes on what is another's. The lock is given up meanwhile; what is under way is in flight. */
static void look_around(struct sink_redis *s, struct redisContext *conn)
{
	const struct sink_lane *lane = s->opts.lane;
	struct fifo mine;

	fifo__init(&mine);
	pthread_mutex_unlock(&s->lock);
	lane->look(lane->arg, &s->sink, conn, s->stop_fd);
	pthread_mutex_lock(&s->lock);
	while (s->queue.head && !s->closing) {
		struct parcel *p = fifo__pop(&s->queue);
		bool passed;

		fifo__push(&s->flight, p);
		pthread_mutex_unlock(&s->lock);
		passed = lane->pass(lane->arg, &s->sink, p->b);
		pthread_mutex_lock(&s->lock);
		fifo__pop(&s->flight);
		if (!passed) {
			fifo__push(&mine, p);
			continue;
		}
		p->b = NULL; /* the other's */
		parcel__put(p);
	}
	fifo__give_back(&mine, &s->queue);
	pass_announces(s);
}

/* Whether nothing is left to do here: what was is others' by now. */
static bool is_relieved(struct sink_redis *s)
{
	if (s->queue.head || announce_due(s))
		return false;
	set_trouble(s, "");
	s->attempt = 0;
	return true;
}

/* A node says that it is not the one (any more). Where the map says that it is, that will be settled in a moment. */
static void redirected(struct sink_redis *s, const char *text)
{
	look_around(s, s->conn);
	if (s->closing || is_relieved(s))
		return;
	set_trouble(s, text);
	back_off(s, REDIS_CLASS_WRONG_NODE);
}

static int open_connection(struct sink_redis *s, struct redisContext **ret, struct reason *why)
{
	return redis_conn__open_master(&s->url, s->opts.timeout_ms, s->stop_fd, ret, &s->master, why);
}

static void say_of_functions(struct sink_redis *s, enum functions_found found, const struct reason *why)
{
	if (found == FUNCTIONS_FOREIGN && !s->told_of_functions)
		log_warn("%s: %s: dashboards call it, gilscope does not, and leaves it as it is", s->where, why->text);
	else if (why->text[0])
		log_verbose("sink: %s does not take the function library for dashboards: %s", s->where, why->text);
	s->told_of_functions |= found == FUNCTIONS_FOREIGN;
}

/* Readers' functions; without them only readers miss something: a server that hangs up at them is reached again. */
static int bring_functions(struct sink_redis *s, struct redisContext **conn, struct reason *why)
{
	enum functions_found found = FUNCTIONS_NONE;
	int err = redis_functions__load(*conn, s->opts.timeout_ms, s->stop_fd, &found, why);

	if (!err || err == -EPIPE)
		say_of_functions(s, found, why);
	if (!err)
		return 0;
	redis_conn__close(*conn);
	*conn = NULL;
	return err == -EPIPE ? open_connection(s, conn, why) : err;
}

/* What the master before acknowledged the new one may lack; sent again it adds nothing that is there. */
static void mind_master(struct sink_redis *s)
{
	bool first = s->kept_by.port == 0;
	bool same = s->kept_by.port == s->master.port && strcmp(s->kept_by.host, s->master.host) == 0;

	s->kept_by = s->master;
	if (first || same)
		return;
	log_verbose("sink: %s:%d is the master now: %llu batches are sent again", s->master.host, s->master.port,
		    (unsigned long long)s->kept.batches);
	if (mono_ms() - s->unkept_ms < KEPT_MS)
		s->stats.points_unsure += s->unkept;
	s->unkept = 0;
	fifo__give_back(&s->kept, &s->queue);
}

/* Connects if need be. The lock is given up meanwhile. */
static bool connected(struct sink_redis *s)
{
	struct redisContext *conn = NULL;
	struct reason why;
	int err;

	if (s->conn)
		return true;
	pthread_mutex_unlock(&s->lock);
	err = s->opts.before_connect ? s->opts.before_connect(s->opts.arg, &why) : 0;
	err = err ?: open_connection(s, &conn, &why);
	err = err ?: bring_functions(s, &conn, &why);
	pthread_mutex_lock(&s->lock);
	if (s->closing) {
		redis_conn__close(conn);
		return false;
	}
	if (err && s->opts.lane) {
		look_around(s, NULL);
		if (s->closing || is_relieved(s))
			return false;
	}
	if (err) {
		lost_connection(s, err, &why);
		return false;
	}
	s->conn = conn;
	if (s->opts.lane)
		look_around(s, conn);
	if (s->url.service[0])
		mind_master(s);
	s->stats.connected = true;
	s->stats.reconnects += s->was_connected;
	s->was_connected = true;
	return true;
}

/* Judges what an attempt met. True: it is done. False: it has to be made again, after a pause that is over now. */
static bool settled(struct sink_redis *s, int err, const struct tally *t, const struct reason *why)
{
	char text[700];

	if (s->closing)
		return false;
	if (err == -EPIPE && !s->careful) {
		s->careful = true;
		disconnect(s);
		return false;
	}
	if (err) {
		lost_connection(s, err, why);
		return false;
	}
	if (t->worst != REDIS_CLASS_OK) {
		snprintf(text, sizeof(text), "%s answers \"%s\": %s", s->where, t->text, redis_class__advice(t->worst));
		set_trouble(s, text);
		/* Another node, or another password, needs another connection. */
		if (t->worst == REDIS_CLASS_WRONG_NODE || t->worst == REDIS_CLASS_CREDENTIALS)
			disconnect(s);
		back_off(s, t->worst);
		return false;
	}
	s->attempt = 0;
	s->stats.commands_written += t->commands - t->refused;
	s->stats.commands_refused += t->refused;
	s->stats.keys_lost += t->keys_lost;
	s->stats.keys_known |= t->keys_known;
	text[0] = '\0';
	if (t->refused)
		snprintf(text, sizeof(text), "%s answers \"%s\": %s", s->where, t->refused_text,
			 redis_class__advice(redis_class__of(t->refused_text)));
	set_trouble(s, text);
	return true;
}

/* Sends one announce that is due. */
static void send_announce(struct sink_redis *s)
{
	struct announce *a = s->announces;
	struct tally t = {.worst = REDIS_CLASS_OK};
	struct reason why = {""};
	struct parcel *p;
	int err;

	while (!a->due)
		a = a->next;
	p = a->parcel;
	p->refs++;
	a->due = false; /* made due again by a disconnect, or by a newer one */
	pthread_mutex_unlock(&s->lock);
	err = send_parcels(s, p, &t, &why);
	pthread_mutex_lock(&s->lock);
	if (err || t.worst != REDIS_CLASS_OK)
		for (a = s->announces; a; a = a->next)
			a->due |= a->parcel == p;
	parcel__put(p);
	if (s->opts.lane && !err && t.worst == REDIS_CLASS_WRONG_NODE)
		redirected(s, t.text);
	else
		settled(s, err, &t, &why);
}

/* Moves the head of the queue into flight: as many batches as one pipeline takes, at least one. */
static void take_off(struct sink_redis *s)
{
	size_t commands = 0;

	while (s->queue.head) {
		commands += batch__commands(s->queue.head->b);
		if (s->flight.head && commands > s->opts.commands_per_batch)
			return;
		fifo__push(&s->flight, fifo__pop(&s->queue));
	}
}

static void forget_kept(struct sink_redis *s, int64_t now)
{
	struct parcel *p;

	while (s->kept.head && now - s->kept.head->landed_ms >= KEPT_MS)
		parcel__put(fifo__pop(&s->kept));
	while (s->kept.bytes > s->opts.max_bytes / KEPT_PART) {
		p = fifo__pop(&s->kept);
		s->unkept = (now - s->unkept_ms < KEPT_MS ? s->unkept : 0) + p->points;
		s->unkept_ms = now;
		parcel__put(p);
	}
}

static void land(struct sink_redis *s)
{
	int64_t now = mono_ms();
	struct parcel *p;

	while ((p = fifo__pop(&s->flight)) != NULL) {
		if (!p->landed_ms) {
			s->stats.batches_written++;
			s->stats.points_written += p->points;
		}
		p->landed_ms = now;
		if (s->url.service[0])
			fifo__push(&s->kept, p);
		else
			parcel__put(p);
	}
	forget_kept(s, now);
}

static void send_queue(struct sink_redis *s)
{
	struct tally t = {.worst = REDIS_CLASS_OK, .follows_ask = s->opts.lane};
	struct reason why = {""};
	int err;

	take_off(s);
	pthread_mutex_unlock(&s->lock);
	err = send_flight(s, &t, &why);
	pthread_mutex_lock(&s->lock);
	s->stats.events_renumbered += t.renumbered;
	/* settled() may pause, and what is in flight is out of trim()'s reach: so judge with it back in the queue. */
	if (!err && t.worst == REDIS_CLASS_OK && !s->closing) {
		s->careful = false;
		land(s);
		settled(s, err, &t, &why);
		return;
	}
	fifo__give_back(&s->flight, &s->queue);
	trim(s);
	if (s->opts.lane && !err && t.worst == REDIS_CLASS_WRONG_NODE)
		redirected(s, t.text);
	else
		settled(s, err, &t, &why);
}

static bool server_due(const struct sink_redis *s)
{
	return s->conn && !s->no_info && (!s->server_at || mono_ms() - s->server_at >= SERVER_LOOK_MS);
}

/* Sentinels have made another the master, though this one may not know it yet: what it is told now, it will forget. */
static bool is_replaced(const struct sink_redis *s)
{
	struct redis_node now;
	struct reason why;

	return s->url.service[0] && !redis_sentinel__ask(&s->url, s->opts.timeout_ms, s->stop_fd, &now, &why) &&
	       (now.port != s->master.port || strcmp(now.host, s->master.host) != 0);
}

/* Whether it throws keys away, and whether it did; not to be had is no trouble. And whether it is the master still. */
static void look_at_server(struct sink_redis *s)
{
	struct redis_server now;
	struct reason why = {""};
	bool first = !s->server_at;
	int err;

	pthread_mutex_unlock(&s->lock);
	err = is_replaced(s) ? -ESTALE : redis_server__look(s->conn, s->opts.timeout_ms, s->stop_fd, &now, &why);
	pthread_mutex_lock(&s->lock);
	if (s->closing)
		return;
	if (err) {
		s->no_info = err == -EPIPE;
		disconnect(s);
		return;
	}
	if (!first && now.evicted_keys > s->server.evicted_keys)
		s->stats.keys_evicted += now.evicted_keys - s->server.evicted_keys;
	s->server = now;
	s->server_at = mono_ms();
	snprintf(s->stats.policy, sizeof(s->stats.policy), "%s", redis_server__evicts(&now) ? now.policy : "");
}

static void sink_redis__free(struct sink_redis *s);

static void *sink_thread(void *arg)
{
	struct sink_redis *s = arg;
	bool orphaned;

	pthread_setname_np(pthread_self(), "gilscope-sink");
	pthread_mutex_lock(&s->lock);
	while (!s->closing) {
		pthread_cond_broadcast(&s->progress);
		if (!s->queue.head && !announce_due(s)) {
			pthread_cond_wait(&s->work, &s->lock);
			continue;
		}
		if (!connected(s))
			continue;
		if (server_due(s))
			look_at_server(s);
		else if (announce_due(s))
			send_announce(s);
		else if (s->queue.head)
			send_queue(s);
	}
	disconnect(s);
	s->ended = true;
	pthread_cond_broadcast(&s->progress);
	orphaned = s->orphaned;
	pthread_mutex_unlock(&s->lock);
	if (orphaned)
		sink_redis__free(s);
	return NULL;
}

/* ---- the sink's operations ---- */

static int sink_redis__write(struct sink *sink, struct batch *b)
{
	struct sink_redis *s = (struct sink_redis *)sink;
	struct parcel *p = batch__error(b) ? NULL : parcel__new(b);
	unsigned int dropped;

	pthread_mutex_lock(&s->lock);
	if (!p) {
		s->stats.batches_dropped++;
		s->stats.points_dropped += batch__points(b);
		pthread_mutex_unlock(&s->lock);
		batch__free(b);
		return -ENOBUFS;
	}
	fifo__push(&s->queue, p);
	dropped = trim(s);
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
	return dropped ? -ENOBUFS : 0;
}

static void forget_announce(struct sink_redis *s, const char *id)
{
	struct announce **link = find_announce(s, id), *a = *link;

	if (!a)
		return;
	*link = a->next;
	free_announce(a);
}

static int set_announce(struct sink_redis *s, const char *id, struct parcel *p)
{
	struct announce **link = find_announce(s, id), *a = *link;

	if (!a) {
		a = calloc(1, sizeof(*a));
		if (a && !(a->id = strdup(id))) {
			free(a);
			a = NULL;
		}
		if (!a)
			return -ENOMEM;
		*link = a;
	}
	parcel__put(a->parcel);
	a->parcel = p;
	a->due = true;
	return 0;
}

static int sink_redis__announce(struct sink *sink, const char *id, struct batch *b)
{
	struct sink_redis *s = (struct sink_redis *)sink;
	struct parcel *p = b && !batch__error(b) ? parcel__new(b) : NULL;
	int err = 0;

	if (b && !p) {
		batch__free(b);
		return -ENOMEM;
	}
	pthread_mutex_lock(&s->lock);
	if (!p)
		forget_announce(s, id);
	else
		err = set_announce(s, id, p);
	if (err)
		parcel__put(p);
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static int sink_redis__flush(struct sink *sink, int timeout_ms)
{
	struct sink_redis *s = (struct sink_redis *)sink;
	struct timespec until = in_ms(timeout_ms);
	bool pending;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		pending = s->queue.head || s->flight.head || announce_due(s);
		if (!pending || err)
			break;
		err = pthread_cond_timedwait(&s->progress, &s->lock, &until);
	}
	pthread_mutex_unlock(&s->lock);
	return pending ? -ETIMEDOUT : 0;
}

static void sink_redis__stats(struct sink *sink, struct sink_stats *ret)
{
	struct sink_redis *s = (struct sink_redis *)sink;

	pthread_mutex_lock(&s->lock);
	*ret = s->stats;
	ret->queued_bytes = s->queue.bytes + s->flight.bytes;
	ret->queued_batches = s->queue.batches + s->flight.batches;
	pthread_mutex_unlock(&s->lock);
}

static void sink_redis__free(struct sink_redis *s)
{
	struct parcel *p;

	while ((p = fifo__pop(&s->queue)) || (p = fifo__pop(&s->flight)) || (p = fifo__pop(&s->kept)))
		parcel__put(p);
	while (s->announces)
		forget_announce(s, s->announces->id);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->progress);
	pthread_mutex_destroy(&s->lock);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	explicit_bzero(&s->url, sizeof(s->url));
	free(s);
}

static void say_what_is_lost(const struct sink_redis *s)
{
	const struct fifo *const waiting[] = {&s->flight, &s->queue};
	uint64_t batches = 0, points = 0;

	for (size_t i = 0; i < 2; i++)
		for (const struct parcel *p = waiting[i]->head; p; p = p->next) {
			batches += !p->landed_ms;
			points += p->landed_ms ? 0 : p->points;
		}
	if (batches)
		log_warn("sink: %llu samples (batches: %llu) could not be written to %s and are dropped",
			 (unsigned long long)points, (unsigned long long)batches, s->where);
}

static void sink_redis__close(struct sink *sink)
{
	struct sink_redis *s = (struct sink_redis *)sink;
	struct timespec until = in_ms(ORPHAN_AFTER_MS);
	uint64_t one = 1;
	bool orphan;

	pthread_mutex_lock(&s->lock);
	say_what_is_lost(s);
	s->closing = true;
	if (write(s->stop_fd, &one, sizeof(one)) < 0)
		log_debug("sink: eventfd: %s", strerror(errno));
	pthread_cond_broadcast(&s->work);
	while (!s->ended && pthread_cond_timedwait(&s->progress, &s->lock, &until) != ETIMEDOUT)
		;
	/* It hangs in a name look-up, which can't be interrupted: it frees the sink when that returns. */
	orphan = s->orphaned = !s->ended;
	if (orphan)
		pthread_detach(s->thread);
	pthread_mutex_unlock(&s->lock);
	if (orphan)
		return;
	pthread_join(s->thread, NULL);
	sink_redis__free(s);
}

static const struct sink_ops sink_redis_ops = {
	.write = sink_redis__write,
	.announce = sink_redis__announce,
	.flush = sink_redis__flush,
	.stats = sink_redis__stats,
	.close = sink_redis__close,
};

static void set_opts(struct sink_redis *s, const struct sink_redis_opts *opts)
{
	s->opts = *opts;
	s->url = *opts->url;
	s->opts.url = &s->url;
	if (!s->opts.max_bytes)
		s->opts.max_bytes = DEFAULT_MAX_BYTES;
	if (!s->opts.max_age_s)
		s->opts.max_age_s = DEFAULT_MAX_AGE_S;
	if (!s->opts.commands_per_batch)
		s->opts.commands_per_batch = DEFAULT_COMMANDS;
	if (s->opts.commands_per_batch > MAX_COMMANDS)
		s->opts.commands_per_batch = MAX_COMMANDS;
	if (s->opts.timeout_ms <= 0)
		s->opts.timeout_ms = DEFAULT_TIMEOUT_MS;
	redis_url__text(&s->url, s->where, sizeof(s->where));
}

static void init_sync(struct sink_redis *s)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->work, &attr);
	pthread_cond_init(&s->progress, &attr);
	pthread_condattr_destroy(&attr);
}

/* The thread takes no signal: SIGINT is the collector's, SIGPIPE nobody's. */
static int start_thread(struct sink_redis *s)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&s->thread, NULL, sink_thread, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

int sink_redis__new(const struct sink_redis_opts *opts, struct sink **ret, struct reason *why)
{
	struct sink_redis *s;
	int err;

	if (opts->url->tls && !redis_conn__has_tls())
		return redis_conn__open(opts->url, 1, NULL, why); /* refuses in its own words */
	s = calloc(1, sizeof(*s));
	if (!s)
		return reason__set(why, -ENOMEM, "sink: out of memory");
	s->sink.ops = &sink_redis_ops;
	set_opts(s, opts);
	init_sync(s);
	fifo__init(&s->queue);
	fifo__init(&s->flight);
	fifo__init(&s->kept);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = s->stop_fd < 0 ? -errno : start_thread(s);
	if (err) {
		sink_redis__free(s);
		return reason__set(why, err, "sink: can't start its thread: %s", strerror(-err));
	}
	*ret = &s->sink;
	return 0;
}
