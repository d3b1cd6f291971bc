/* SPDX-License-Identifier: GPL-2.0-only */
/* JSON as it is written: to the letter, and as another reader of JSON understands it. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/json_text.h"

Test(json_text, values_follow_one_another_to_the_letter)
{
	struct json_text j = {0};
	char *text;

	json_text__open(&j, '{');
	json_text__name(&j, "t");
	json_text__integer(&j, 1795339305000);
	json_text__name(&j, "list");
	json_text__open(&j, '[');
	json_text__open(&j, '[');
	json_text__string(&j, "a");
	json_text__number(&j, -0.5);
	json_text__close(&j, ']');
	json_text__open(&j, '{');
	json_text__close(&j, '}');
	json_text__true(&j);
	json_text__close(&j, ']');
	json_text__name(&j, "n");
	json_text__number(&j, 3);
	json_text__close(&j, '}');
	text = json_text__take(&j);
	cr_assert_str_eq(text, "{\"t\":1795339305000,\"list\":[[\"a\",-0.5],{},true],\"n\":3}");
	free(text);
}

static char *text_of(double value)
{
	struct json_text j = {0};

	json_text__number(&j, value);
	return json_text__take(&j);
}

/* Jansson writes, reads and writes: the same each time. */
Test(json_text, numbers_are_those_of_another_writer)
{
	srandom(4242);
	for (int i = 0; i < 100000; i++) {
		double value = ldexp((double)random() - (double)RAND_MAX / 2, (int)(random() % 120) - 90);
		json_t *json = value == floor(value) && fabs(value) < 9007199254740992.0 ? json_integer((json_int_t)value)
											 : json_real(value);
		char *expected = json_dumps(json, JSON_ENCODE_ANY | JSON_REAL_PRECISION(4)), *text = text_of(value);

		cr_assert_str_eq(text, expected, "%a", value);
		free(text);
		free(expected);
		json_decref(json);
	}
}

Test(json_text, any_string_comes_back)
{
	char s[] = "0123456789\\\"/\xc3\xa4\x01\x1f\n\t~";

	srandom(77);
	for (int i = 0; i < 2000; i++) {
		struct json_text j = {0};
		json_t *json;
		char *text;

		for (size_t k = 0; k + 1 < sizeof(s); k++)
			if ((unsigned char)s[k] < 0x80)
				s[k] = (char)(1 + random() % 127);
		json_text__string(&j, s);
		text = json_text__take(&j);
		json = json_loads(text, JSON_DECODE_ANY, NULL);
		cr_assert_str_eq(json_string_value(json), s, "%s", text);
		json_decref(json);
		free(text);
	}
}

Test(json_text, it_grows_as_long_as_it_must)
{
	struct json_text j = {0};
	char *text;

	json_text__open(&j, '[');
	for (int i = 0; i < 10000; i++)
		json_text__integer(&j, i);
	json_text__close(&j, ']');
	text = json_text__take(&j);
	cr_assert_eq(strlen(text), 10 + 90 * 2 + 900 * 3 + 9000 * 4 + 9999 + 2);
	free(text);
}
