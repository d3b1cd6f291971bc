/* SPDX-License-Identifier: GPL-2.0-only */
/* System calls that are refused, as sandboxes refuse them (seccomp). */
#ifndef GILSCOPE_TESTS_REFUSAL_H
#define GILSCOPE_TESTS_REFUSAL_H

#include <stddef.h>

/* From here on these calls fail with `err` in the caller and all that it starts, at most 8. Fails the test if that is refused. */
void refusal__install(const int *calls, size_t n, int err);

#endif
