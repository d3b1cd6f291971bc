/* SPDX-License-Identifier: GPL-2.0-only */
/* See redis_functions.h. The text is put into the program by the Makefile; its version stands in it. */
#include "redis_functions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

static const char text[] = {
#include "functions.inc"
	'\0'
};

const char *redis_functions__text(size_t *ret_len)
{
	*ret_len = sizeof(text) - 1;
	return text;
}

unsigned int redis_functions__own_version(void)
{
	const char *at = strstr(text, "\nlocal VERSION = ");
	unsigned int version = 0;

	return at && sscanf(at, "\nlocal VERSION = %9u\n", &version) == 1 ? version : 0;
}

struct answer {
	long long number; /* of an integer reply */
	struct reason *why;
};

static int take_answer(void *arg, size_t i, const struct redisReply *reply)
{
	struct answer *a = arg;

	if (reply->type == REDIS_REPLY_INTEGER)
		a->number = reply->integer;
	if (reply->type == REDIS_REPLY_ERROR)
		reason__set(a->why, 0, "%s", reply->str);
	return 0;
}

/* One command; an error reply goes into `why` and is none here. */
static int ask(struct redisContext *c, int argc, const char *const *argv, const size_t *lens, int timeout_ms, int wake_fd,
	       long long *ret, struct reason *why)
{
	struct answer a = {.why = why};
	int err;

	why->text[0] = '\0';
	if (redis_conn__append(c, argc, argv, lens))
		return reason__set(why, -ENOMEM, "out of memory");
	err = redis_conn__exchange(c, 1, timeout_ms, wake_fd, take_answer, &a, why);
	*ret = a.number;
	return err;
}

int redis_functions__version(struct redisContext *c, int timeout_ms, int wake_fd, unsigned int *ret, struct reason *why)
{
	static const char *const argv[] = {"FCALL_RO", "gil_version", "0"};
	static const size_t lens[] = {8, 11, 1};
	long long version = 0;
	int err = ask(c, 3, argv, lens, timeout_ms, wake_fd, &version, why);

	*ret = !err && version > 0 && version < UINT32_MAX ? (unsigned int)version : 0;
	return err;
}

int redis_functions__load(struct redisContext *c, int timeout_ms, int wake_fd, struct reason *why)
{
	const char *argv[] = {"FUNCTION", "LOAD", "REPLACE", text};
	const size_t lens[] = {8, 4, 7, sizeof(text) - 1};
	unsigned int version;
	long long ignored = 0;
	int err = redis_functions__version(c, timeout_ms, wake_fd, &version, why);

	if (err || version >= redis_functions__own_version())
		return err;
	return ask(c, 4, argv, lens, timeout_ms, wake_fd, &ignored, why);
}
