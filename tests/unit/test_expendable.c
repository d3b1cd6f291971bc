/* SPDX-License-Identifier: GPL-2.0-only */
/* Work that crashes, hangs, eats or looks around: what it does happens to its child alone. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/process/expendable.h"

static const struct expendable limits = {.cpu_ms = 100, .wall_ms = 2000};

static void answer(void *arg, void *ret)
{
	*(int *)ret = *(int *)arg + 1;
}

Test(expendable, result_comes_back)
{
	int arg = 41, ret = 0;

	cr_expect_eq(expendable__run(&limits, answer, &arg, &ret, sizeof(ret)), 0);
	cr_expect_eq(ret, 42);
}

static void crash(void *arg, void *ret)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void burn(void *arg, void *ret)
{
	for (volatile unsigned long i = 0;; i++)
		;
}

static void hang(void *arg, void *ret)
{
	for (;;)
		pause();
}

Test(expendable, work_that_does_not_end_well_is_an_error_and_no_more, .timeout = 30)
{
	int ret = 7;

	cr_expect_eq(expendable__run(&limits, crash, NULL, &ret, sizeof(ret)), -ECHILD);
	cr_expect_eq(expendable__run(&limits, burn, NULL, &ret, sizeof(ret)), -ETIMEDOUT);
	cr_expect_eq(expendable__run(&limits, hang, NULL, &ret, sizeof(ret)), -ETIMEDOUT);
	cr_expect_eq(ret, 7);
	cr_expect(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "a child is left");
}

/* What is open in the child, and its capabilities. */
static void look_around(void *arg, void *ret)
{
	char line[256], *text = ret;
	FILE *f = fopen("/proc/self/status", "r");

	snprintf(text, 64, "%d %d ", fcntl(((int *)arg)[0], F_GETFD) >= 0, fcntl(((int *)arg)[1], F_GETFD) >= 0);
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "CapPrm:", 7) == 0)
			snprintf(text + strlen(text), 32, "%llx", strtoull(line + 7, NULL, 16));
}

Test(expendable, child_has_what_it_needs_and_no_rights)
{
	int fds[] = {open("/dev/null", O_RDONLY), open("/dev/null", O_RDONLY)};
	struct expendable narrow = limits;
	char text[64] = "";

	narrow.keep = fds;
	narrow.keep_n = 1;
	cr_expect_eq(expendable__run(&narrow, look_around, fds, text, sizeof(text)), 0);
	cr_expect_str_eq(text, "1 0 0");
	close(fds[0]);
	close(fds[1]);
}

Test(expendable, user_of_three_bad_files_is_left_alone_for_a_while)
{
	for (int i = 0; i < 3; i++) {
		cr_expect_not(expendable__is_banned(1000), "%d", i);
		expendable__blame(1000);
	}
	cr_expect(expendable__is_banned(1000));
	cr_expect_not(expendable__is_banned(1001));
}

/* ---- rights ---- */

struct rights {
	unsigned long long effective, permitted, bounding;
	int no_new_privs;
};

static void look_at_rights(void *arg, void *ret)
{
	struct rights *r = ret;
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		sscanf(line, "CapEff: %llx", &r->effective);
		sscanf(line, "CapPrm: %llx", &r->permitted);
		sscanf(line, "CapBnd: %llx", &r->bounding);
		sscanf(line, "NoNewPrivs: %d", &r->no_new_privs);
	}
	(void)arg;
}

/* The bounding set of an ordinary user's can't be emptied: there is nothing to come out of it. */
Test(expendable, child_has_no_right_and_gets_none)
{
	struct rights r = {1, 1, 1, 0};

	cr_expect_eq(expendable__run(&limits, look_at_rights, NULL, &r, sizeof(r)), 0);
	cr_expect_eq(r.effective | r.permitted, 0);
	cr_expect(r.bounding == 0 || geteuid() != 0, "%llx", r.bounding);
	cr_expect_eq(r.no_new_privs, 1);
}
