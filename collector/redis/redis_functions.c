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

/* Of a text that somebody else wrote, too. 0: it names none. */
static unsigned int version_of(const char *code, size_t len)
{
	static const char mark[] = "\nlocal VERSION = ";
	const char *at = memmem(code, len, mark, sizeof(mark) - 1), *end = code + len;
	unsigned int version = 0;

	for (at = at ? at + sizeof(mark) - 1 : end; at < end && *at >= '0' && *at <= '9' && version < 100000000; at++)
		version = version * 10 + (unsigned int)(*at - '0');
	return version;
}

unsigned int redis_functions__own_version(void)
{
	return version_of(text, sizeof(text) - 1);
}

/* ---- what is there ---- */

struct look {
	enum functions_found found;
	struct reason *why;
};

static const struct redisReply *field_of(const struct redisReply *library, const char *name)
{
	for (size_t i = 0; library->type == REDIS_REPLY_ARRAY && i + 1 < library->elements; i += 2) {
		const struct redisReply *key = library->element[i];

		if (key && key->str && strcmp(key->str, name) == 0)
			return library->element[i + 1];
	}
	return NULL;
}

static void judge(struct look *l, const char *code, size_t len)
{
	unsigned int own = redis_functions__own_version(), version = version_of(code, len);

	if (len == sizeof(text) - 1 && memcmp(code, text, len) == 0) {
		l->found = FUNCTIONS_OURS;
		return;
	}
	l->found = version && version < own ? FUNCTIONS_OLDER : FUNCTIONS_FOREIGN;
	if (version > own)
		reason__set(l->why, 0, "its function library \"gilscope\" is version %u, and this program's is %u", version, own);
	else if (version == own)
		reason__set(l->why, 0, "its function library \"gilscope\" says that it is version %u, but its text is not that "
			    "of this program's version %u", version, own);
	else if (!version)
		reason__set(l->why, 0, "its function library \"gilscope\" is somebody else's: it names no version");
}

static int take_library(void *arg, size_t i, const struct redisReply *reply)
{
	struct look *l = arg;
	const struct redisReply *code = NULL;

	if (reply->type == REDIS_REPLY_ERROR) {
		l->found = FUNCTIONS_UNKNOWN;
		reason__set(l->why, 0, "%s", reply->str);
		return 0;
	}
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 && reply->element[0])
		code = field_of(reply->element[0], "library_code");
	if (code && code->str)
		judge(l, code->str, code->len);
	return 0;
}

static int ask(struct redisContext *c, int argc, const char *const *argv, const size_t *lens, int timeout_ms, int wake_fd,
	       redis_reply_fn *take, void *arg, struct reason *why)
{
	if (redis_conn__append(c, argc, argv, lens))
		return reason__set(why, -ENOMEM, "out of memory");
	return redis_conn__exchange(c, 1, timeout_ms, wake_fd, take, arg, why);
}

int redis_functions__look(struct redisContext *c, int timeout_ms, int wake_fd, enum functions_found *ret, struct reason *why)
{
	static const char *const argv[] = {"FUNCTION", "LIST", "LIBRARYNAME", "gilscope", "WITHCODE"};
	static const size_t lens[] = {8, 4, 11, 8, 8};
	struct look l = {.found = FUNCTIONS_NONE, .why = why};
	int err;

	why->text[0] = '\0';
	err = ask(c, 5, argv, lens, timeout_ms, wake_fd, take_library, &l, why);
	*ret = l.found;
	return err;
}

/* ---- loading ---- */

/* An error reply is its words, and none here. */
static int take_words(void *why, size_t i, const struct redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ERROR)
		reason__set(why, 0, "%s", reply->str);
	return 0;
}

int redis_functions__load(struct redisContext *c, int timeout_ms, int wake_fd, enum functions_found *ret, struct reason *why)
{
	const char *replace[] = {"FUNCTION", "LOAD", "REPLACE", text}, *add[] = {"FUNCTION", "LOAD", text};
	const size_t replace_lens[] = {8, 4, 7, sizeof(text) - 1}, add_lens[] = {8, 4, sizeof(text) - 1};
	int err = redis_functions__look(c, timeout_ms, wake_fd, ret, why);

	if (err || *ret == FUNCTIONS_OURS || *ret == FUNCTIONS_FOREIGN)
		return err;
	why->text[0] = '\0';
	if (*ret == FUNCTIONS_OLDER)
		return ask(c, 4, replace, replace_lens, timeout_ms, wake_fd, take_words, why, why);
	/* Whoever may not look may add: what is there already stays. */
	return ask(c, 3, add, add_lens, timeout_ms, wake_fd, take_words, why, why);
}
