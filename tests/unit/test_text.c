/* SPDX-License-Identifier: GPL-2.0-only */
/* Text from outside: nothing that a terminal obeys comes through, nothing else is lost. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "collector/base/text.h"

struct text_case {
	char in[32];
	size_t len; /* 0: up to the NUL */
	char out[32];
};

static size_t len_of(const struct text_case *c)
{
	return c->len ? c->len : strlen(c->in);
}

Test(text, ordinary_text_stays_as_it_is)
{
	static const char cases[][32] = {"", "MainThread", "worker-1 (queue)", "Grüße", "日本語", "a|b", "🐍 pool", "~!@#$%^&*()"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char out[64];

		cr_expect_eq(text__clean(out, sizeof(out), cases[i], strlen(cases[i])), strlen(cases[i]));
		cr_expect_str_eq(out, cases[i]);
	}
}

Test(text, what_a_terminal_obeys_becomes_a_question_mark)
{
	static const struct text_case cases[] = {
		{"\x1b[2Jboo", 0, "?[2Jboo"},       {"a\nb\tc\r", 0, "a?b?c?"},
		{"a\0b", 3, "a?b"},                  {"\x7f", 0, "?"},
		{"\xc2\x9b""31m", 0, "?31m"},        {"x\xe2\x80\xae""evil", 0, "x?evil"},
		{"\xe2\x80\xa8", 0, "?"},            {"\xe2\x81\xa6", 0, "?"},
		{"\xe2\x80\x8b", 0, "?"},            {"\xef\xbb\xbfx", 0, "?x"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char out[64];

		text__clean(out, sizeof(out), cases[i].in, len_of(&cases[i]));
		cr_expect_str_eq(out, cases[i].out, "case %zu gave '%s'", i, out);
	}
}

Test(text, malformed_utf8_becomes_question_marks_byte_by_byte)
{
	static const struct text_case cases[] = {
		{"\xff\xfe", 0, "??"},           {"\xc3", 0, "?"},                 {"\xc3(", 0, "?("},
		{"\xc0\xaf", 0, "??"},           {"\xe0\x80\xaf", 0, "???"},       {"\xed\xa0\x80", 0, "???"},
		{"\xf4\x90\x80\x80", 0, "????"}, {"\xf8\x88\x80\x80\x80", 0, "?????"}, {"\xe2\x82", 0, "??"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char out[64];

		text__clean(out, sizeof(out), cases[i].in, len_of(&cases[i]));
		cr_expect_str_eq(out, cases[i].out, "case %zu gave '%s'", i, out);
	}
}

Test(text, a_character_is_never_cut)
{
	static const char in[] = "aé日🐍";

	for (size_t size = 1; size <= sizeof(in); size++) {
		char out[16], again[16];
		size_t len = text__clean(out, size, in, strlen(in));

		cr_expect_lt(len, size);
		cr_expect_eq(strlen(out), len);
		cr_expect_eq(memcmp(out, in, len), 0, "size %zu gave '%s'", size, out);
		cr_expect_eq(text__clean(again, sizeof(again), out, len), len);
		cr_expect_str_eq(again, out, "size %zu: cut inside a character", size);
	}
}

Test(text, a_member_holds_no_bar)
{
	char out[32];

	text__clean_member(out, sizeof(out), "a|b||c", 6);
	cr_expect_str_eq(out, "a/b//c");
}

Test(text, wide_characters_take_two_columns)
{
	static const struct {
		char in[32];
		size_t columns;
	} cases[] = {{"", 0}, {"abc", 3}, {"é", 1}, {"日本", 4}, {"한", 2}, {"🐍", 2}, {"ａ", 2}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(text__columns(cases[i].in), cases[i].columns, "'%s'", cases[i].in);
}

Test(text, numbers_are_those_of_printf)
{
	static const long long odd[] = {0, 1, -1, 9, 10, -10, 1234567890123456789, INT64_MAX, INT64_MIN};
	char text[TEXT_INT_SIZE], expected[32];

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		snprintf(expected, sizeof(expected), "%lld", odd[i]);
		cr_assert_eq(text__int(text, odd[i]), strlen(expected));
		cr_assert_str_eq(text, expected);
	}
}
