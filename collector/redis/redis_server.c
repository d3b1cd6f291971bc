/* SPDX-License-Identifier: GPL-2.0-only */
/* See redis_server.h. The fields are those of INFO in Redis 4 and later, and in Valkey. */
#include "redis_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "collector/base/text.h"

/* What follows "\nNAME:" up to the line's end; NULL: it is not there. */
static const char *find_field(const char *info, const char *name, size_t *ret_len)
{
	size_t len = strlen(name);

	for (const char *line = info; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncmp(line, name, len) == 0 && line[len] == ':') {
			*ret_len = strcspn(line + len + 1, "\r\n");
			return line + len + 1;
		}
	return NULL;
}

static void take_number(const char *info, const char *name, uint64_t *ret)
{
	size_t len;
	const char *at = find_field(info, name, &len);

	if (at && len && len < 20 && strspn(at, "0123456789") == len)
		*ret = strtoull(at, NULL, 10);
}

static int take_info(void *arg, size_t i, const struct redisReply *reply)
{
	struct redis_server *s = arg;
	const char *at;
	size_t len;

	if (reply->type != REDIS_REPLY_STRING || !reply->str)
		return 0;
	at = find_field(reply->str, "maxmemory_policy", &len);
	if (at)
		text__clean(s->policy, sizeof(s->policy), at, len);
	take_number(reply->str, "maxmemory", &s->max_bytes);
	take_number(reply->str, "evicted_keys", &s->evicted_keys);
	return 0;
}

/* One after the other: several sections at once are asked for since Redis 7 only. */
int redis_server__look(struct redisContext *c, int timeout_ms, int wake_fd, struct redis_server *ret, struct reason *why)
{
	static const char *const sections[] = {"memory", "stats"};
	int err = 0;

	*ret = (struct redis_server){0};
	for (size_t i = 0; !err && i < sizeof(sections) / sizeof(sections[0]); i++) {
		const char *argv[] = {"INFO", sections[i]};
		const size_t lens[] = {4, strlen(sections[i])};

		if (redis_conn__append(c, 2, argv, lens))
			return reason__set(why, -ENOMEM, "out of memory");
		err = redis_conn__exchange(c, 1, timeout_ms, wake_fd, take_info, ret, why);
	}
	return err;
}

bool redis_server__evicts(const struct redis_server *s)
{
	return s->policy[0] && strcmp(s->policy, "noeviction") != 0 && strcmp(s->policy, "volatile-ttl") != 0;
}
