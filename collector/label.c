/* SPDX-License-Identifier: GPL-2.0-only */
/* See label.h. Options are those of `python3 --help`, 3.8 to 3.15 (Python/initconfig.c, SHORT_OPTS). */
#include "label.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

#define CMDLINE_MAX 8192 /* bytes looked at */
#define ARGUMENTS_MAX 64 /* interpreter options in front of the script */

struct word {
	const char *text;
	size_t len;
};

/* Takes the next NUL-ended argument. False at the end. */
static bool next_word(const char **at, const char *end, struct word *ret)
{
	const char *nul;

	if (*at >= end)
		return false;
	nul = memchr(*at, '\0', (size_t)(end - *at));
	ret->text = *at;
	ret->len = nul ? (size_t)(nul - *at) : (size_t)(end - *at);
	*at += ret->len + 1;
	return true;
}

static struct word base_name(struct word w)
{
	const char *slash = memrchr(w.text, '/', w.len);

	if (!slash || slash + 1 == w.text + w.len)
		return w;
	return (struct word){slash + 1, w.len - (size_t)(slash + 1 - w.text)};
}

/* A title up to its first blank or colon's end: "gunicorn: master [app]" is gunicorn. */
static struct word first_token(struct word w)
{
	for (size_t i = 0; i < w.len; i++)
		if (w.text[i] == ' ' || w.text[i] == '\t') {
			w.len = i;
			break;
		}
	while (w.len > 1 && w.text[w.len - 1] == ':')
		w.len--;
	return w;
}

/* "python", "python3", "python3.11", "python3.13t", "python3-dbg" ... */
static bool is_python(struct word program)
{
	return program.len >= 6 && memcmp(program.text, "python", 6) == 0;
}

/* The first letter of a cluster ("-Eum") that takes an argument, as an index; 0: none. */
static size_t argument_letter(struct word option)
{
	for (size_t i = 1; i < option.len; i++)
		if (memchr("cmWX", option.text[i], 4))
			return i;
	return 0;
}

/* What the interpreter runs: " app.py", " -m module", " -c" (the program text itself stays out) or nothing. */
struct subject {
	const char *flag;
	struct word name;
};

/* A short option. True if it ends the options. */
static bool take_option(struct word option, const char **at, const char *end, struct subject *ret)
{
	size_t i = argument_letter(option);
	struct word argument = {option.text + i + 1, option.len - i - 1};

	if (i == 0)
		return false;
	if (option.text[i] == 'c') {
		ret->flag = " -c";
		return true;
	}
	if (argument.len == 0)
		next_word(at, end, &argument);
	if (option.text[i] != 'm')
		return false;
	*ret = (struct subject){" -m ", argument};
	return true;
}

static struct subject find_subject(const char *at, const char *end)
{
	static const char hash_pycs[] = "--check-hash-based-pycs"; /* the only long option with an argument */
	struct subject ret = {"", {"", 0}};
	struct word w;

	for (int i = 0; i < ARGUMENTS_MAX && next_word(&at, end, &w); i++) {
		if (w.len == 0 || w.text[0] != '-')
			return (struct subject){w.len > 0 ? " " : "", base_name(w)};
		if (w.len == 1)
			return ret; /* "-": reads its program from standard input */
		if (w.text[1] != '-') {
			if (take_option(w, &at, end, &ret))
				return ret;
		} else if (w.len == sizeof(hash_pycs) - 1 && memcmp(w.text, hash_pycs, w.len) == 0) {
			next_word(&at, end, &w);
		}
	}
	return ret;
}

/* Whether nothing but NUL follows: then the process has written a title over its arguments. */
static bool is_last(const char *at, const char *end)
{
	while (at < end && *at == '\0')
		at++;
	return at >= end;
}

void label__from_cmdline(const char *cmdline, size_t len, const char *comm, char *buf, size_t size)
{
	const char *at = cmdline, *end = cmdline + (len < CMDLINE_MAX ? len : CMDLINE_MAX);
	struct word program = {"", 0};
	struct subject subject = {"", {"", 0}};
	char raw[768];

	next_word(&at, end, &program);
	program = base_name(is_last(at, end) ? first_token(program) : program);
	if (program.len == 0)
		program = (struct word){comm, strlen(comm)};
	if (is_python(program))
		subject = find_subject(at, end);
	snprintf(raw, sizeof(raw), "%.*s%s%.*s", (int)(program.len < 255 ? program.len : 255), program.text,
		 subject.flag, (int)(subject.name.len < 500 ? subject.name.len : 500), subject.name.text);
	text__clean(buf, size, raw, strlen(raw));
}
