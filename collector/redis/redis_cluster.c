/* SPDX-License-Identifier: GPL-2.0-only */
/* See redis_cluster.h. */
#include "redis_cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

/* ---- slots ---- */

/* CRC-16 as in XMODEM: polynomial 0x1021, no reflection (the cluster specification). */
static uint16_t crc16(const char *data, size_t len)
{
	uint16_t crc = 0;

	for (size_t i = 0; i < len; i++) {
		crc ^= (uint16_t)((unsigned char)data[i] << 8);
		for (int bit = 0; bit < 8; bit++)
			crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
	}
	return crc;
}

unsigned int cluster_slot__of(const char *key, size_t len)
{
	const char *open = memchr(key, '{', len);
	const char *close = open ? memchr(open, '}', len - (size_t)(open - key)) : NULL;

	if (close && close > open + 1)
		return crc16(open + 1, (size_t)(close - open - 1)) % CLUSTER_SLOTS;
	return crc16(key, len) % CLUSTER_SLOTS;
}

int cluster_slot__key_at(int argc, const char *const *argv)
{
	if (argc < 2)
		return 0;
	for (int i = 1; strcmp(argv[0], "XREAD") == 0 && i + 1 < argc; i++)
		if (strcmp(argv[i], "STREAMS") == 0)
			return i + 1;
	return 1;
}

/* ---- the map ---- */

static const struct redisReply *element(const struct redisReply *r, size_t i)
{
	return r && r->type == REDIS_REPLY_ARRAY && i < r->elements ? r->element[i] : NULL;
}

static bool read_integer(const struct redisReply *r, long long max, int *ret)
{
	if (!r || r->type != REDIS_REPLY_INTEGER || r->integer < 0 || r->integer > max)
		return false;
	*ret = (int)r->integer;
	return true;
}

/* [endpoint, port, ...]; an endpoint that is null, empty or "?" is the node that was asked. */
static bool read_node(const struct redisReply *r, const struct redis_node *asked, struct redis_node *ret)
{
	const struct redisReply *host = element(r, 0);

	if (!host || !read_integer(element(r, 1), 65535, &ret->port) || ret->port == 0)
		return false;
	if (host->type == REDIS_REPLY_NIL ||
	    (host->type == REDIS_REPLY_STRING && (host->len == 0 || strcmp(host->str, "?") == 0))) {
		memcpy(ret->host, asked->host, sizeof(ret->host));
		return true;
	}
	if (host->type != REDIS_REPLY_STRING || host->len >= sizeof(ret->host) || strlen(host->str) != host->len)
		return false;
	memcpy(ret->host, host->str, host->len + 1);
	return true;
}

/* Its place, or CLUSTER_NOBODY: there is no room. */
static uint16_t place_of(struct cluster_map *map, const struct redis_node *node)
{
	for (uint16_t i = 0; i < map->nodes_n; i++)
		if (redis_node__same(&map->nodes[i], node))
			return i;
	if (map->nodes_n == CLUSTER_MASTERS_MAX)
		return CLUSTER_NOBODY;
	map->nodes[map->nodes_n] = *node;
	return map->nodes_n++;
}

int cluster_map__read(const struct redisReply *r, const struct redis_node *asked, struct cluster_map *map)
{
	map->nodes_n = 0;
	for (int slot = 0; slot < CLUSTER_SLOTS; slot++)
		map->owner[slot] = CLUSTER_NOBODY;
	if (r->type != REDIS_REPLY_ARRAY || r->elements > CLUSTER_SLOTS)
		return -EPROTO;
	for (size_t i = 0; i < r->elements; i++) {
		struct redis_node node;
		int first, last;
		uint16_t place;

		if (!read_integer(element(r->element[i], 0), CLUSTER_SLOTS - 1, &first) ||
		    !read_integer(element(r->element[i], 1), CLUSTER_SLOTS - 1, &last) ||
		    !read_node(element(r->element[i], 2), asked, &node))
			return -EPROTO;
		place = place_of(map, &node);
		for (int slot = first; slot <= last; slot++)
			map->owner[slot] = place;
	}
	return 0;
}

struct asking {
	const struct redis_node *asked;
	struct cluster_map *map;
	struct reason *why;
};

static int take_map(void *arg, size_t i, const struct redisReply *r)
{
	struct asking *a = arg;

	if (r->type == REDIS_REPLY_ERROR)
		return reason__set(a->why, -EPROTO, "%s", r->str);
	if (cluster_map__read(r, a->asked, a->map))
		return reason__set(a->why, -EPROTO, "its answer to CLUSTER SLOTS is none");
	return a->map->nodes_n ? 0 : reason__set(a->why, -EAGAIN, "no node of the cluster has any slot (yet)");
}

int cluster_map__ask(struct redisContext *c, const struct redis_node *asked, int timeout_ms, int wake_fd,
		     struct cluster_map *map, struct reason *why)
{
	const char *argv[] = {"CLUSTER", "SLOTS"};
	const size_t lens[] = {7, 5};
	struct asking a = {.asked = asked, .map = map, .why = why};

	if (redis_conn__append(c, 2, argv, lens))
		return reason__set(why, -ENOMEM, "out of memory");
	return redis_conn__exchange(c, 1, timeout_ms, wake_fd, take_map, &a, why);
}

void cluster_url__of(const struct redis_url *cluster, const struct redis_node *node, struct redis_url *ret)
{
	*ret = *cluster;
	ret->cluster = false;
	memcpy(ret->host, node->host, sizeof(ret->host));
	ret->port = node->port;
}

static int ask_at(const struct redis_url *url, const struct redis_node *node, int timeout_ms, int wake_fd,
		  struct cluster_map *map, struct reason *why)
{
	struct redisContext *c = NULL;
	struct redis_url one;
	int err;

	cluster_url__of(url, node, &one);
	err = redis_conn__open_until(&one, timeout_ms, wake_fd, &c, why);
	explicit_bzero(&one, sizeof(one));
	err = err ?: cluster_map__ask(c, node, timeout_ms, wake_fd, map, why);
	redis_conn__close(c);
	return err;
}

int cluster_map__find(const struct redis_url *url, const struct cluster_map *known, int timeout_ms, int wake_fd,
		      struct cluster_map *map, struct reason *why)
{
	int err = -EAGAIN;

	for (uint16_t i = 0; known && i < known->nodes_n && err && err != -ECANCELED; i++)
		err = ask_at(url, &known->nodes[i], timeout_ms, wake_fd, map, why);
	for (int i = 0; i < url->nodes_n && err && err != -ECANCELED; i++)
		err = ask_at(url, &url->nodes[i], timeout_ms, wake_fd, map, why);
	return err;
}

void cluster_url__recognise(struct redis_url *url, int timeout_ms)
{
	struct cluster_map *map = url->cluster || url->service[0] || url->is_unix ? NULL : malloc(sizeof(*map));
	struct redis_node node = {.port = url->port};
	struct reason why_not;

	if (!map)
		return;
	memcpy(node.host, url->host, sizeof(node.host));
	if (!ask_at(url, &node, timeout_ms, -1, map, &why_not)) {
		url->cluster = true;
		url->nodes[0] = node;
		url->nodes_n = 1;
	}
	free(map);
}

/* ---- redirections ---- */

bool cluster_redirect__read(const char *error_text, const struct redis_node *asked, struct redis_node *ret)
{
	const char *colon = strrchr(error_text, ':'), *at;
	size_t len;

	if (strncmp(error_text, "ASK ", 4) != 0 && strncmp(error_text, "MOVED ", 6) != 0)
		return false;
	at = strrchr(error_text, ' ') + 1;
	if (!colon || colon < at)
		return false;
	len = (size_t)(colon - at);
	ret->port = (int)strtol(colon + 1, NULL, 10);
	if (len >= sizeof(ret->host) || ret->port < 1 || ret->port > 65535)
		return false;
	if (len == 0 || (len == 1 && *at == '?'))
		memcpy(ret->host, asked->host, sizeof(ret->host));
	else
		snprintf(ret->host, sizeof(ret->host), "%.*s", (int)len, at);
	return true;
}
