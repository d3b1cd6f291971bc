/* SPDX-License-Identifier: GPL-2.0-only */
/* See log.h. Each sentence is one write(), so lines of two threads never mix. */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

static _Atomic int current_level = LOG_NORMAL;
static _Atomic bool for_journal;
static void (*_Atomic current_listener)(const char *sentence);

void log__set_level(enum log_level level)
{
	current_level = level;
}

enum log_level log__level(void)
{
	return (enum log_level)current_level;
}

void log__set_listener(void (*listener)(const char *sentence))
{
	current_listener = listener;
}

void log__for_journal(void)
{
	for_journal = true;
}

static void say(enum log_level level, const char *priority, const char *fmt, va_list args)
{
	void (*listener)(const char *sentence) = current_listener;
	char raw[1024], clean[1024], line[1152];
	int len;

	if ((int)level > current_level)
		return;
	vsnprintf(raw, sizeof(raw), fmt, args);
	text__clean(clean, sizeof(clean), raw, strlen(raw));
	if (listener) {
		listener(clean);
		return;
	}
	len = snprintf(line, sizeof(line), "%s%s\n", for_journal ? priority : "gilscope: ", clean);
	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		return; /* nobody is left to be told */
}

#define DEFINE_LOG(name, level, priority)               \
	void name(const char *fmt, ...)                 \
	{                                               \
		va_list args;                           \
							\
		va_start(args, fmt);                    \
		say(level, priority, fmt, args);        \
		va_end(args);                           \
	}

DEFINE_LOG(log_error, LOG_QUIET, "<3>")
DEFINE_LOG(log_warn, LOG_NORMAL, "<4>")
DEFINE_LOG(log_info, LOG_NORMAL, "<6>")
DEFINE_LOG(log_verbose, LOG_VERBOSE, "<7>")
DEFINE_LOG(log_debug, LOG_DEBUG, "<7>")
