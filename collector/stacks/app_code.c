/* SPDX-License-Identifier: GPL-2.0-only */
/* See app_code.h. */
#include "app_code.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* What follows "python3.11/" if that stands at `at`; else NULL. */
static const char *behind_version(const char *at)
{
	static const char name[] = "python3";

	if (strncmp(at, name, sizeof(name) - 1) != 0)
		return NULL;
	at += sizeof(name) - 1;
	while (*at == '.' || *at == 't' || isdigit((unsigned char)*at)) /* 3.13t: free-threaded */
		at++;
	return *at == '/' ? at + 1 : NULL;
}

/* The path inside a directory of libraries, the innermost one; NULL: it is in none. */
static const char *inside_library(const char *file)
{
	static const char *const dirs[] = {"site-packages/", "dist-packages/"};
	const char *inside = NULL;

	for (const char *at = file; (at = strchr(at, '/')); ) {
		const char *lib = strncmp(at, "/lib/", 5) == 0 ? at + 5 : strncmp(at, "/lib64/", 7) == 0 ? at + 7 : NULL;

		at++;
		for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
			if (strncmp(at, dirs[i], strlen(dirs[i])) == 0)
				inside = at + strlen(dirs[i]);
		if (lib && behind_version(lib))
			inside = behind_version(lib);
	}
	return inside;
}

bool app_code__is(const char *file)
{
	return file[0] && file[0] != '<' && !inside_library(file);
}

/* "json/__init__.py" and "<frozen os>" as a module's name. */
static void name_module(const char *file, char *buf, size_t size)
{
	static const char init[] = ".__init__";
	const char *path = inside_library(file) ?: file, *end;
	size_t len = 0, suffix = sizeof(init) - 1;

	if (strncmp(path, "<frozen ", 8) == 0)
		path += 8;
	end = strpbrk(path, ">");
	if (!end)
		end = strlen(path) > 3 && strcmp(path + strlen(path) - 3, ".py") == 0 ? path + strlen(path) - 3
		    : path + strlen(path);
	for (; path < end && len + 1 < size; path++)
		buf[len++] = *path == '/' ? '.' : *path;
	buf[len] = '\0';
	if (len > suffix && strcmp(buf + len - suffix, init) == 0)
		buf[len - suffix] = '\0';
}

const char *app_code__dotted(const struct pysymbol *symbol, char *buf, size_t size)
{
	char module[PYSTACK_FILE_SIZE];

	name_module(symbol->file, module, sizeof(module));
	snprintf(buf, size, "%s%s%s", module, module[0] ? "." : "", symbol->function);
	return buf;
}
