/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of functions as their authors wrote them, and names that mean harm. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "collector/stacks/demangle.h"

#define ROOM 80

static const struct {
	const char *symbol, *name;
} cases[] = {
	{"crc32_z", "crc32_z"},
	{"_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault"},
	{"_Zebra", "_Zebra"},
	{"_Rust", "_Rust"},
	{"_Z", "_Z"},
	{"", ""},
	{"_ZN5torch8autograd6Engine7executeEv", "torch::autograd::Engine::execute"},
	{"_ZN2ns5Model7forwardEPKfm", "ns::Model::forward"},
	{"_ZN2ns5Model7forwardEPKfm.constprop.0", "ns::Model::forward"},
	{"_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back"},
	{"_ZN12_GLOBAL__N_14workEv", "(anonymous namespace)::work"},
	{"_ZN1alsIiEEvT_", "a::operator<< <int>"},
	/* too long: what templates are made of is left out, operators are not */
	{"_ZN8matrices12SparseMatrixISt6vectorISt4pairIN7numbers7ComplexIdEENS3_8RationalIlEEESaIS8_EEE7forwardEv",
	 "matrices::SparseMatrix<..>::forward"},
	{"_ZN8matrices12SparseMatrixISt6vectorISt4pairIN7numbers7ComplexIdEENS3_8RationalIlEEESaIS8_EEElsERS9_",
	 "matrices::SparseMatrix<..>::operator<<"},
	{"_ZN1aIJEE1bILi1EE90wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwEv",
	 "a<>::b<1>::wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww"},
	/* Rust, both manglings */
	{"_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"},
	{"_ZN52_$LT$polars..Frame$u20$as$u20$core..clone..Clone$GT$5clone17h0123456789abcdefE",
	 "<polars::Frame as core::clone::Clone>::clone"},
	{"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
	{"_RINvNtC3std3mem8align_ofdE", "std::mem::align_of::<f64>"},
};

Test(demangle, gives_names_as_their_authors_wrote_them)
{
	char name[ROOM];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		demangle__name(cases[i].symbol, name, sizeof(name));
		cr_expect_str_eq(name, cases[i].name, "%s: %s", cases[i].symbol, name);
	}
}

Test(demangle, keeps_to_the_room_that_there_is)
{
	char name[24];

	demangle__name("_ZN8matrices12SparseMatrixIdE7forwardEv", name, sizeof(name));
	cr_expect_eq(strncmp(name, "matrices::SparseMatrix", 22), 0, "%s", name);
	cr_expect_lt(strlen(name), sizeof(name));
}

/* f<p<p<p<int, int>, p<int, int>>, ...>>: written out, each level is twice as long as the one inside it. */
static void make_bomb(char *symbol, size_t size, int levels)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t len = (size_t)snprintf(symbol, size, "_Z1fI");

	for (int i = 0; i < levels; i++)
		len += (size_t)snprintf(symbol + len, size - len, "1pI");
	len += (size_t)snprintf(symbol + len, size - len, "iiE");
	for (int i = levels; i < 2 * levels - 1; i++)
		len += (size_t)snprintf(symbol + len, size - len, "S%.*s%c_E", i >= 36, &digits[i / 36], digits[i % 36]);
	snprintf(symbol + len, size - len, "Evv");
}

Test(demangle, a_name_that_would_take_a_year_to_write_stays_as_it_is, .timeout = 60)
{
	char symbol[DEMANGLE_RAW_SIZE], name[ROOM];

	make_bomb(symbol, sizeof(symbol), 3);
	demangle__name(symbol, name, sizeof(name));
	cr_expect_str_eq(name, "f<p<p<p<int, int>, p<int, int> >, p<p<int, int>, p<int, int> > > >");
	make_bomb(symbol, sizeof(symbol), 16);
	demangle__name(symbol, name, sizeof(name));
	cr_expect_str_eq(name, "f<.."); /* half a million bytes, of which two thousand are looked at */
	make_bomb(symbol, sizeof(symbol), 60);
	demangle__name(symbol, name, sizeof(name));
	cr_expect_eq(strncmp(name, "_Z1fI1pI", 8), 0, "%s", name);
}

Test(demangle, a_name_that_goes_deep_does_no_harm)
{
	static const char *const bricks[] = {"P", "N1a", "I1a", "L", "X", "J", "F", "A_", "Dp", "S_", "sr1a", "cvT_"};
	char symbol[DEMANGLE_RAW_SIZE + 16], name[ROOM];

	for (size_t i = 0; i < sizeof(bricks) / sizeof(bricks[0]); i++)
		for (size_t limit = 100; limit < sizeof(symbol); limit += 646) {
			size_t len = (size_t)snprintf(symbol, sizeof(symbol), "%s", i % 2 ? "_Z1f" : "_RNvC1a1f");

			while (len + strlen(bricks[i]) < limit)
				len += (size_t)snprintf(symbol + len, sizeof(symbol) - len, "%s", bricks[i]);
			demangle__name(symbol, name, sizeof(name));
			cr_expect_gt(strlen(name), 0);
			cr_expect_lt(strlen(name), sizeof(name));
		}
}
