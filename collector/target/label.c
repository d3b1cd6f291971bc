/* SPDX-License-Identifier: GPL-2.0-only */
/* See label.h. Options are those of `python3 --help`, 3.8 to 3.15 (Python/initconfig.c, SHORT_OPTS). */
#include "label.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "collector/base/text.h"

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

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool equals(struct word w, const char *text)
{
	return w.len == strlen(text) && memcmp(w.text, text, w.len) == 0;
}

static bool begins_with(struct word w, const char *text)
{
	return w.len >= strlen(text) && memcmp(w.text, text, strlen(text)) == 0;
}

static struct word trim(struct word w)
{
	while (w.len > 0 && is_blank(w.text[w.len - 1]))
		w.len--;
	return w;
}

/* The next word between blanks, empty at the end; *at is moved behind it. */
static struct word next_token(const char **at, const char *end)
{
	struct word w;

	while (*at < end && is_blank(**at))
		(*at)++;
	w.text = *at;
	while (*at < end && !is_blank(**at))
		(*at)++;
	w.len = (size_t)(*at - w.text);
	return w;
}

/* "[name]" at `at`: its length; 0 if there is none. */
static size_t bracketed(const char *at, const char *end)
{
	const char *close = at < end && *at == '[' ? memchr(at, ']', (size_t)(end - at)) : NULL;

	return close ? (size_t)(close + 1 - at) : 0;
}

/* "master", "worker", and the number behind it: the length of what the title says of its process's part in the program. */
static size_t role_len(const char *at, const char *end)
{
	const char *begin = at, *behind;
	struct word role = next_token(&at, end), number;

	if (!equals(role, "master") && !equals(role, "worker"))
		return 0;
	behind = at;
	number = next_token(&at, end);
	for (size_t i = 0; i < number.len; i++)
		if (number.text[i] < '0' || number.text[i] > '9')
			number.len = 0;
	return (size_t)((number.len ? at : behind) - begin);
}

/*
 * What a title says for certain of program and part, and nothing that might be an argument:
 * "gunicorn: worker [shop:app] ..." up to the bracket, "uWSGI worker 2 ..." up to the number, of "[celeryd: w1@host:MainProcess]
 * -active- (...)" what stands in the brackets, else the first word.
 */
static struct word name_in_title(struct word title)
{
	const char *at = title.text, *end = title.text + title.len;
	size_t len = bracketed(at, end);
	struct word first;

	if (len > 2)
		return (struct word){at + 1, len - 2};
	first = next_token(&at, end);
	while (at < end && is_blank(*at))
		at++;
	len = role_len(at, end);
	if (len > 0) {
		at += len;
		title.len = (size_t)(at - title.text);
		while (at < end && is_blank(*at))
			at++;
		len = bracketed(at, end);
		return len ? (struct word){title.text, (size_t)(at + len - title.text)} : title;
	}
	while (first.len > 1 && first.text[first.len - 1] == ':')
		first.len--;
	return base_name(first);
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

/* What the interpreter runs: " app.py", " -m module", " -c" (the program text itself stays out of labels) or nothing. */
struct subject {
	const char *flag;
	struct word name;
	struct word program; /* of -c: its text */
};

/* A short option. True if it ends the options. */
static bool take_option(struct word option, const char **at, const char *end, struct subject *ret)
{
	size_t i = argument_letter(option);
	struct word argument = {option.text + i + 1, option.len - i - 1};

	if (i == 0)
		return false;
	if (argument.len == 0)
		next_word(at, end, &argument);
	if (option.text[i] == 'c') {
		*ret = (struct subject){.flag = " -c", .name = {"", 0}, .program = argument};
		return true;
	}
	if (option.text[i] != 'm')
		return false;
	*ret = (struct subject){.flag = " -m ", .name = argument};
	return true;
}

static struct subject find_subject(const char *at, const char *end)
{
	static const char hash_pycs[] = "--check-hash-based-pycs"; /* the only long option with an argument */
	struct subject ret = {.flag = "", .name = {"", 0}};
	struct word w;

	for (int i = 0; i < ARGUMENTS_MAX && next_word(&at, end, &w); i++) {
		if (w.len == 0 || w.text[0] != '-')
			return (struct subject){.flag = w.len > 0 ? " " : "", .name = base_name(w)};
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

/* Of an option's argument what names a file or a module: "shop:make_app('...')" is called with arguments of its own. */
static struct subject served(struct word w)
{
	const char *call = memchr(w.text, '(', w.len);

	if (call)
		w.len = (size_t)(call - w.text);
	return (struct subject){.flag = " ", .name = base_name(w)};
}

/* The file or module that uwsgi is told to run or to be configured by, whichever is named first. */
static struct subject find_served(const char *at, const char *end)
{
	static const char *const options[] = {"--wsgi-file", "--file", "--module", "--wsgi", "-w", "--ini", "--yaml", "--pyrun"};
	struct word w;

	for (int i = 0; i < ARGUMENTS_MAX && next_word(&at, end, &w); i++) {
		if (w.len > 4 && w.text[0] != '-' && memcmp(w.text + w.len - 4, ".ini", 4) == 0)
			return served(w);
		for (size_t j = 0; j < sizeof(options) / sizeof(options[0]); j++) {
			size_t len = strlen(options[j]);

			if (equals(w, options[j]))
				return next_word(&at, end, &w) ? served(w) : (struct subject){.flag = "", .name = {"", 0}};
			if (w.len > len && begins_with(w, options[j]) && w.text[len] == '=')
				return served((struct word){w.text + len + 1, w.len - len - 1});
		}
	}
	return (struct subject){.flag = "", .name = {"", 0}};
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
	struct subject subject = {.flag = "", .name = {"", 0}};
	char raw[768];

	next_word(&at, end, &program);
	program = is_last(at, end) ? name_in_title(program) : base_name(program);
	program = trim(program);
	if (program.len == 0)
		program = (struct word){comm, strlen(comm)};
	if (is_python(program))
		subject = find_subject(at, end);
	else if (begins_with(program, "uwsgi"))
		subject = find_served(at, end);
	snprintf(raw, sizeof(raw), "%.*s%s%.*s", (int)(program.len < 255 ? program.len : 255), program.text,
		 subject.flag, (int)(subject.name.len < 500 ? subject.name.len : 500), subject.name.text);
	text__clean(buf, size, raw, strlen(raw));
}

/* How they begin: Lib/multiprocessing/{spawn,forkserver,resource_tracker}.py, and loky's copies of them. */
static const struct {
	const char *module, *part;
} helpers[] = {
	{"multiprocessing.spawn", "spawned worker"},
	{"multiprocessing.forkserver", LABEL_FORK_SERVER},
	{"multiprocessing.resource_tracker", "resource tracker"},
	{"multiprocessing.semaphore_tracker", "resource tracker"},
	{"loky.backend.popen_loky_posix", "loky worker"},
	{"loky.backend.resource_tracker", "resource tracker"},
};

/* "joblib.externals.loky.backend.resource_tracker" is "loky.backend.resource_tracker", vendored. */
static const char *part_of_module(struct word module)
{
	for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++) {
		size_t len = strlen(helpers[i].module);
		const char *end = module.text + module.len;

		if (module.len >= len && memcmp(end - len, helpers[i].module, len) == 0 &&
		    (module.len == len || end[-(ptrdiff_t)len - 1] == '.'))
			return helpers[i].part;
	}
	return NULL;
}

const char *label__part(const char *cmdline, size_t len)
{
	const char *at = cmdline, *end = cmdline + (len < CMDLINE_MAX ? len : CMDLINE_MAX);
	struct subject subject;
	struct word program;

	if (!next_word(&at, end, &program) || !is_python(base_name(program)))
		return NULL;
	subject = find_subject(at, end);
	if (strcmp(subject.flag, " -m ") == 0)
		return part_of_module(subject.name);
	if (!subject.program.text || !begins_with(subject.program, "from "))
		return NULL;
	at = subject.program.text;
	end = at + subject.program.len;
	next_token(&at, end);
	return part_of_module(next_token(&at, end));
}
