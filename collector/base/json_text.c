/* SPDX-License-Identifier: GPL-2.0-only */
/* See json_text.h. */
#include "json_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define ROOM_MIN 512
#define DIGITS 4
#define MAX_EXACT 9007199254740992.0 /* 2^53: beyond it a double skips integers */

static char *reserve(struct json_text *j, size_t len)
{
	size_t room = j->room ? j->room : ROOM_MIN;
	char *grown;

	if (j->room - j->len >= len)
		return j->text + j->len;
	while (room - j->len < len)
		room *= 2;
	grown = j->failed ? NULL : realloc(j->text, room);
	if (!grown) {
		j->failed = true;
		return NULL;
	}
	j->text = grown;
	j->room = room;
	return j->text + j->len;
}

static void put(struct json_text *j, const char *data, size_t len)
{
	char *at = reserve(j, len);

	if (!at)
		return;
	memcpy(at, data, len);
	j->len += len;
}

/* Before each value and name. */
static void separate(struct json_text *j, bool follows)
{
	if (j->follows)
		put(j, ",", 1);
	j->follows = follows;
}

void json_text__open(struct json_text *j, char bracket)
{
	separate(j, false);
	put(j, &bracket, 1);
}

void json_text__close(struct json_text *j, char bracket)
{
	put(j, &bracket, 1);
	j->follows = true;
}

static void put_escaped(struct json_text *j, const char *s)
{
	char escape[8];

	put(j, "\"", 1);
	while (*s) {
		size_t plain = 0;

		while ((unsigned char)s[plain] >= 0x20 && s[plain] != '"' && s[plain] != '\\')
			plain++;
		put(j, s, plain);
		s += plain;
		if (*s == '"' || *s == '\\')
			put(j, escape, (size_t)snprintf(escape, sizeof(escape), "\\%c", *s++));
		else if (*s)
			put(j, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04X", (unsigned int)*s++));
	}
	put(j, "\"", 1);
}

void json_text__name(struct json_text *j, const char *name)
{
	separate(j, false);
	put_escaped(j, name);
	put(j, ":", 1);
}

void json_text__string(struct json_text *j, const char *s)
{
	separate(j, true);
	put_escaped(j, s);
}

void json_text__integer(struct json_text *j, long long value)
{
	char digits[TEXT_INT_SIZE];

	separate(j, true);
	put(j, digits, text__int(digits, value));
}

/* What printf() makes of it, as short as JSON has it: no plus sign or zeros in an exponent, and always told from an integer. */
static size_t format_real(char text[32], double value)
{
	char *e, *digits;

	snprintf(text, 32, "%.*g", DIGITS, value);
	e = strchr(text, 'e');
	if (!e)
		return strlen(strchr(text, '.') ? text : strcat(text, ".0"));
	e += e[1] == '-' ? 2 : 1;
	digits = e + strspn(e, "+0");
	memmove(e, digits, strlen(digits) + 1);
	return strlen(text);
}

void json_text__number(struct json_text *j, double value)
{
	char text[32];

	if (value == floor(value) && fabs(value) < MAX_EXACT) {
		json_text__integer(j, (long long)value);
		return;
	}
	separate(j, true);
	put(j, text, format_real(text, value));
}

void json_text__true(struct json_text *j)
{
	separate(j, true);
	put(j, "true", 4);
}

char *json_text__take(struct json_text *j)
{
	char *text = NULL;

	put(j, "", 1);
	if (j->failed)
		free(j->text);
	else
		text = j->text;
	*j = (struct json_text){0};
	return text;
}
