/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interpreters of a test's own. Probes that children share are planted in a file, for all who map it: a test that plants some
 * would be met by the processes of every other test on the machine, and meet theirs.
 */
#ifndef GILSCOPE_TESTS_OWN_IMAGES_H
#define GILSCOPE_TESTS_OWN_IMAGES_H

#include "interpreters.h"

/* What this process and its children mount from here on is seen by them alone. Doing it again does nothing. */
void own_mounts__enter(void);

/*
 * From here on this process and its children find a copy where the image of `in` is (mounted over it, seen by them alone). The
 * copy lies in a directory of the build's that no other test uses meanwhile. Doing it again does nothing. Needs CAP_SYS_ADMIN;
 * fails the test without.
 */
void own_image__use(const struct interpreter *in);

/* The same for the distribution's. */
void own_image__use_stock(void);

#endif
