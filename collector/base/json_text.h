/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * JSON written as text, straight away: members are made by the thousand each second. Compact, in the order of the calls, and
 * reals have few digits, so a member is a function of the data. Reading is jansson's business. Pure.
 */
#ifndef GILSCOPE_JSON_TEXT_H
#define GILSCOPE_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed is empty. */
struct json_text {
	char *text;
	size_t len, room;
	bool follows; /* a value stands before: a comma is due */
	bool failed;  /* no memory */
};

/* '{' or '[', and what closes it. */
void json_text__open(struct json_text *j, char bracket);
void json_text__close(struct json_text *j, char bracket);

/* The name of the value that comes next. Names and strings are valid UTF-8. */
void json_text__name(struct json_text *j, const char *name);
void json_text__string(struct json_text *j, const char *s);

/* An integer if it is one, else with four significant digits. */
void json_text__number(struct json_text *j, double value);
void json_text__integer(struct json_text *j, long long value);
void json_text__true(struct json_text *j);

/* The text, terminated, the caller's to free; `j` is empty then. NULL: no memory. */
char *json_text__take(struct json_text *j);

#endif
