/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of the kernel's features as far as no kernel is asked: keys, sentences, and what GILSCOPE_LACKS takes away. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collector/probes/kernel_features.h"

#define MASK "GILSCOPE_LACKS"

Test(kernel_features, each_has_a_key_of_its_own_a_name_and_a_use)
{
	for (enum kernel_feature i = 0; i < KERNEL_FEATURES; i++) {
		cr_expect_gt(strlen(kernel_feature__key(i)), 2);
		cr_expect_gt(strlen(kernel_feature__name(i)), 5);
		cr_expect_gt(strlen(kernel_feature__use(i)), 10);
		for (enum kernel_feature j = 0; j < i; j++)
			cr_expect_str_neq(kernel_feature__key(i), kernel_feature__key(j));
	}
}

Test(kernel_features, the_level_of_lockdown_is_the_word_in_brackets)
{
	cr_expect_eq(lockdown__parse("[none] integrity confidentiality\n"), LOCKDOWN_NONE);
	cr_expect_eq(lockdown__parse("none [integrity] confidentiality\n"), LOCKDOWN_INTEGRITY);
	cr_expect_eq(lockdown__parse("none integrity [confidentiality]\n"), LOCKDOWN_CONFIDENTIALITY);
	cr_expect_eq(lockdown__parse("none integrity confidentiality\n"), LOCKDOWN_UNKNOWN);
	cr_expect_eq(lockdown__parse("[integrity"), LOCKDOWN_UNKNOWN);
	cr_expect_eq(lockdown__parse(""), LOCKDOWN_UNKNOWN);
}

Test(kernel_features, those_that_are_named_are_missing)
{
	setenv(MASK, "loop,,attach_cookies,", 1);
	cr_expect_eq(kernel_feature__try(KERNEL_LOOP), 0);
	cr_expect_eq(kernel_feature__try(KERNEL_ATTACH_COOKIES), 0);
	cr_expect(kernel_feature__is_masked(KERNEL_LOOP));
	cr_expect_not(kernel_feature__is_masked(KERNEL_ATOMICS));
}

/* A part of a key, or more than one, is none. */
Test(kernel_features, a_list_names_whole_keys)
{
	setenv(MASK, "attach,ring_buffers2,task_storage", 1);
	cr_expect_not(kernel_feature__is_masked(KERNEL_ATTACH_COOKIES));
	cr_expect_not(kernel_feature__is_masked(KERNEL_RING_BUFFERS));
	cr_expect(kernel_feature__is_masked(KERNEL_TASK_STORAGE));
}

Test(kernel_features, what_is_missing_is_listed_if_it_is_needed)
{
	char buf[512];

	setenv(MASK, "loop,attach_cookies,ring_buffers", 1);
	cr_expect_geq(kernel_features__missing(buf, sizeof(buf)), 2u);
	cr_expect(strstr(buf, kernel_feature__name(KERNEL_RING_BUFFERS)), "%s", buf);
	cr_expect(strstr(buf, kernel_feature__name(KERNEL_ATTACH_COOKIES)), "%s", buf);
	cr_expect_null(strstr(buf, kernel_feature__name(KERNEL_LOOP)), "%s", buf);
}

Test(kernel_features, a_list_that_is_too_long_is_cut)
{
	char buf[24];

	setenv(MASK, "attach_cookies,ring_buffers", 1);
	cr_expect_geq(kernel_features__missing(buf, sizeof(buf)), 2u);
	cr_expect_lt(strlen(buf), sizeof(buf));
}

Test(kernel_features, unknown_names_are_an_error)
{
	struct reason why = {0};

	setenv(MASK, "loop,loops", 1);
	cr_expect_eq(kernel_features__check_mask(&why), -EINVAL);
	cr_expect(strstr(why.text, "loops"), "%s", why.text);
	setenv(MASK, "loop", 1);
	cr_expect_eq(kernel_features__check_mask(&why), 0);
	unsetenv(MASK);
	cr_expect_eq(kernel_features__check_mask(&why), 0);
}
