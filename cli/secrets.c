/* SPDX-License-Identifier: GPL-2.0-only */
/* See secrets.h. */
#include "secrets.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

/* Each may be a password, or a URL that has one. */
static const char *const variables[] = {"GILSCOPE_REDIS", "GILSCOPE_REDIS_PASSWORD", "REDISCLI_AUTH",
					"GILSCOPE_SENTINEL_PASSWORD"};

/* "...://user:PASSWORD@...": the same length, so that nothing else moves. */
static void mask_url(char *text)
{
	char *authority = strstr(text, "://"), *at, *colon;
	size_t len;

	if (!authority)
		return;
	authority += 3;
	len = strcspn(authority, "/?");
	at = memrchr(authority, '@', len);
	colon = at ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
	if (colon)
		memset(colon + 1, '*', (size_t)(at - colon - 1));
}

/* The copy takes its place in the environment before the kernel's text is wiped. */
static void hide_variable(const char *name)
{
	char *value = getenv(name), *copy;

	if (!value || !*value)
		return;
	copy = strdup(value);
	if (copy && setenv(name, copy, 1) == 0 && getenv(name) != value)
		explicit_bzero(value, strlen(value));
	if (copy)
		explicit_bzero(copy, strlen(copy));
	free(copy);
}

static char **copy_of(int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 1, sizeof(*copy));

	for (int i = 0; copy && i < argc; i++) {
		copy[i] = strdup(argv[i]);
		if (!copy[i])
			return NULL;
	}
	return copy;
}

char **secrets__hide(int argc, char **argv)
{
	char **copy = copy_of(argc, argv);

	prctl(PR_SET_DUMPABLE, 0);
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		hide_variable(variables[i]);
	if (!copy)
		return argv;
	for (int i = 1; i < argc; i++)
		mask_url(argv[i]);
	return copy;
}
