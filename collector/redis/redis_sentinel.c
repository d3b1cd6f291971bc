/* SPDX-License-Identifier: GPL-2.0-only */
/* See redis_sentinel.h. */
#include "redis_sentinel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "redis_conn.h"

#define ONE_MS 1000 /* for one sentinel: it answers from memory */

/* What a sentinel says. `port` 0: it knows no such master. */
struct votes {
	struct redis_node of[REDIS_NODES_MAX];
	int count[REDIS_NODES_MAX];
	int n;
};

struct answer {
	struct redis_node node;
	bool valid;
};

static bool is_short_text(const struct redisReply *r, size_t size)
{
	return r && r->type == REDIS_REPLY_STRING && r->len > 0 && r->len < size && strlen(r->str) == r->len;
}

/* Host and port, or nothing at all. */
static int take_address(void *arg, size_t i, const struct redisReply *r)
{
	struct answer *a = arg;
	long port;

	if (r->type == REDIS_REPLY_NIL) {
		a->valid = true;
		return 0;
	}
	if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 || !is_short_text(r->element[0], sizeof(a->node.host)) ||
	    !is_short_text(r->element[1], 6))
		return 0;
	port = strtol(r->element[1]->str, NULL, 10);
	if (port < 1 || port > 65535)
		return 0;
	snprintf(a->node.host, sizeof(a->node.host), "%s", r->element[0]->str);
	a->node.port = (int)port;
	a->valid = true;
	return 0;
}

static int ask_one(const struct redis_url *url, int which, int timeout_ms, int wake_fd, struct answer *ret, struct reason *why)
{
	const char *argv[] = {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", url->service};
	const size_t lens[] = {8, 23, strlen(url->service)};
	struct redis_url sentinel = *url;
	struct redisContext *c = NULL;
	int err;

	sentinel.service[0] = '\0';
	sentinel.db = 0;
	memcpy(sentinel.host, url->nodes[which].host, sizeof(sentinel.host));
	sentinel.port = url->nodes[which].port;
	memcpy(sentinel.user, url->sentinel_user, sizeof(sentinel.user));
	memcpy(sentinel.password, url->sentinel_password, sizeof(sentinel.password));
	err = redis_conn__open_until(&sentinel, timeout_ms, wake_fd, &c, why);
	explicit_bzero(&sentinel, sizeof(sentinel));
	if (err)
		return err;
	if (redis_conn__append(c, 3, argv, lens))
		err = reason__set(why, -ENOMEM, "out of memory");
	else
		err = redis_conn__exchange(c, 1, timeout_ms, wake_fd, take_address, ret, why);
	redis_conn__close(c);
	return err;
}

/* How many have said this by now. */
static int cast(struct votes *v, const struct redis_node *node)
{
	int i = 0;

	while (i < v->n && (v->of[i].port != node->port || strcmp(v->of[i].host, node->host) != 0))
		i++;
	if (i == v->n)
		v->of[v->n++] = *node;
	return ++v->count[i];
}

static int no_majority(const struct redis_url *url, int answered, const struct reason *last, struct reason *why)
{
	if (answered > url->nodes_n / 2)
		return reason__set(why, -EAGAIN, "its sentinels do not agree on who the master is");
	return reason__set(why, -EAGAIN, "%d of its %d sentinels answered, which is no majority (%s)", answered, url->nodes_n,
			   last->text);
}

int redis_sentinel__ask(const struct redis_url *url, int timeout_ms, int wake_fd, struct redis_node *ret_master,
			struct reason *why)
{
	struct reason last = {"what it said is no address"};
	struct votes votes = {.n = 0};
	int answered = 0;

	for (int i = 0; i < url->nodes_n; i++) {
		struct answer a = {.valid = false};
		int err = ask_one(url, i, timeout_ms < ONE_MS ? timeout_ms : ONE_MS, wake_fd, &a, &last);

		if (err == -ECANCELED)
			return reason__set(why, err, "%s", last.text);
		if (err || !a.valid)
			continue;
		answered++;
		if (cast(&votes, &a.node) <= url->nodes_n / 2)
			continue;
		if (!a.node.port)
			return reason__set(why, -ENOENT, "its sentinels know no master \"%s\"", url->service);
		*ret_master = a.node;
		return 0;
	}
	return no_majority(url, answered, &last, why);
}
