/* SPDX-License-Identifier: GPL-2.0-only */
/* See counted.h. */
#include "counted.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void counted__start(struct counted *c, struct workload *w, const struct interpreter *in, const char *command)
{
	char library[PATH_MAX];

	snprintf(c->path, sizeof(c->path), "/tmp/gilscope-counts-XXXXXX");
	c->fd = mkstemp(c->path);
	cr_assert_geq(c->fd, 0);
	snprintf(library, sizeof(library), "%s/workloads/libsignalcount.so", getenv("GILSCOPE_OUTPUT"));
	setenv("SIGNALCOUNT_FILE", c->path, 1);
	setenv("LD_PRELOAD", library, 1);
	workload__start(w, in, command);
	unsetenv("LD_PRELOAD");
}

uint64_t counted__signals(const struct counted *c, long long tid)
{
	uint64_t n = 0;

	cr_assert_eq(pread(c->fd, &n, sizeof(n), (off_t)(tid * (long long)sizeof(n))), (ssize_t)sizeof(n));
	return n;
}

uint64_t counted__acquires(const struct counted *c, long long tid)
{
	return (counted__signals(c, tid) + 1) / 2;
}

void counted__end(struct counted *c)
{
	unlink(c->path);
	close(c->fd);
}
