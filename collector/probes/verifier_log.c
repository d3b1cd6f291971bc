/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See verifier_log.h. libbpf frames a log so (tools/lib/bpf/libbpf.c, bpf_object_load_prog()), in one message:
 *
 *	libbpf: prog 'NAME': -- BEGIN PROG LOAD LOG --
 *	...
 *	-- END PROG LOAD LOG --
 */
#include "verifier_log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "collector/base/log.h"

#define BEGIN "-- BEGIN PROG LOAD LOG --"
#define END "-- END PROG LOAD LOG --"
#define NAME_BEFORE "prog '"

/* What the verifier adds to every log (kernel/bpf/verifier.c, print_verification_stats()), and libbpf's frame. */
static bool is_statistics(const char *line)
{
	static const char *const starts[] = {"processed ", "verification time ", "stack depth ", "-- "};

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		if (strncmp(line, starts[i], strlen(starts[i])) == 0)
			return true;
	return !*line;
}

const char *verifier_log__reason(const char *text, char *buf, size_t size)
{
	char line[512];

	buf[0] = '\0';
	while (*text) {
		size_t len = strcspn(text, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)len, text);
		if (!is_statistics(line))
			snprintf(buf, size, "%s", line);
		text += len + (text[len] == '\n');
	}
	return buf;
}

static void take_name(struct verifier_log *log, const char *message)
{
	const char *name = strstr(message, NAME_BEFORE);

	name = name ? name + strlen(NAME_BEFORE) : "";
	snprintf(log->program, sizeof(log->program), "%.*s", (int)strcspn(name, "'"), name);
}

static void show(const char *text)
{
	size_t len = strlen(text);

	if (len > VERIFIER_LOG_SHOWN) {
		log_debug("(the first %zu bytes of the log are left out)", len - VERIFIER_LOG_SHOWN);
		text += len - VERIFIER_LOG_SHOWN;
	}
	while (*text) {
		len = strcspn(text, "\n");
		log_debug("%.*s", (int)len, text);
		text += len + (text[len] == '\n');
	}
}

void verifier_log__take(struct verifier_log *log, const char *message)
{
	const char *begin = strstr(message, BEGIN);

	show(message);
	if (begin) {
		take_name(log, message);
		verifier_log__reason(begin + strlen(BEGIN), log->line, sizeof(log->line));
		return;
	}
	if (!strstr(message, "failed to load ")) /* what follows from the cause */
		snprintf(log->last, sizeof(log->last), "%.*s", (int)strcspn(message, "\n"), message);
}
