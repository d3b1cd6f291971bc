/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Talk to the person at the terminal: standard error, one sentence a line.
 *
 * Thread-safe. Control characters in the formatted text are replaced, so names and paths from
 * outside may be passed as they are. Data never goes through here.
 */
#ifndef GILSCOPE_LOG_H
#define GILSCOPE_LOG_H

enum log_level {
	LOG_QUIET = 0,  /* errors only */
	LOG_NORMAL = 1, /* and warnings and notices */
	LOG_VERBOSE = 2, /* and decisions (-v) */
	LOG_DEBUG = 3,  /* and details for developers (-vv) */
};

void log__set_level(enum log_level level);
enum log_level log__level(void);

/* Each line begins with its priority for the journal, "<3>" to "<7>", in place of the program's name: the journal has that. */
void log__for_journal(void);

/*
 * Whoever has taken the terminal gets the sentences instead, cleaned, without newline; from any thread, so it must be quick
 * and may not talk itself. NULL: standard error again.
 */
void log__set_listener(void (*listener)(const char *sentence));

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_verbose(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
