/* SPDX-License-Identifier: GPL-2.0-only */
/* Many processes at once: who is related, who waits to be looked at, and what they do together. */
#include <criterion/criterion.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/family.h"
#include "cli/tree.h"
#include "collector/base/text.h"
#include "collector/roster.h"
#include "collector/process/procstat.h"
#include "collector/target/finder.h"
#include "../support/made_up.h"

#define MS 1000000ull

/* ---- finder ---- */

Test(finder, cgroup_means_itself_and_what_is_below)
{
	static const struct {
		char line[64], cgroup[40];
		bool in;
	} cases[] = {
		{"0::/system.slice/web.service\n", "/system.slice/web.service", true},
		{"0::/system.slice/web.service\n", "/system.slice", true},
		{"0::/system.slice/web.service\n", "/system.slice/", true},
		{"0::/system.slice/web.service\n", "/system.slice/web", false},
		{"0::/system.slice/web.service/a\n", "/system.slice/web.service", true},
		{"0::/\n", "/", true},
		{"0::/user.slice\n", "/", true},
		{"4:memory,cpu:/x:y/z\n", "/x:y", true},
		{"nonsense", "/x", false},
		{"0:", "/", false},
		{"", "/", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(finder__is_in_cgroup(cases[i].line, cases[i].cgroup), cases[i].in, "%s in %s", cases[i].line,
			     cases[i].cgroup);
}

Test(finder, filters_go_by_user_and_label_and_never_let_itself_through)
{
	struct target t = {.pid = 1, .uid = 1000, .label = "gunicorn: worker [shop]"};
	struct finder_filter filter = {.by_user = true, .uid = 1000};
	regex_t regex;

	cr_expect(finder__fits(&filter, &t));
	filter.uid = 0;
	cr_expect_not(finder__fits(&filter, &t));
	cr_assert_eq(regcomp(&regex, "worker.*(shop|bank)", REG_EXTENDED | REG_NOSUB), 0);
	filter = (struct finder_filter){.match = &regex};
	cr_expect(finder__fits(&filter, &t));
	strcpy(t.label, "gunicorn: master [shop]");
	cr_expect_not(finder__fits(&filter, &t));
	regfree(&regex);
	filter = (struct finder_filter){0};
	cr_expect(finder__fits(&filter, &t));
	t.pid = getpid();
	cr_expect_not(finder__fits(&filter, &t));
}

static pid_t fork_that_waits(int *ret_pipe)
{
	int fds[2];
	pid_t pid;

	cr_assert_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		char byte;
		pid_t child;

		close(fds[1]);
		child = fork();
		if (read(fds[0], &byte, 1) < 0)
			_exit(1);
		if (child > 0)
			waitpid(child, NULL, 0);
		_exit(0);
	}
	close(fds[0]);
	*ret_pipe = fds[1];
	return pid;
}

Test(finder, descendants_come_after_their_parents)
{
	int go;
	pid_t child = fork_that_waits(&go), *found = NULL;
	size_t n = 0, at_child = 0;

	for (int i = 0; i < 12000 && n < 2; i++) {
		free(found);
		cr_assert_eq(finder__descendants(getpid(), &found, &n), 0);
		usleep(5000);
	}
	cr_assert_eq(n, 2, "a child and its child: %zu", n);
	while (at_child < n && found[at_child] != child)
		at_child++;
	cr_assert_eq(at_child, 0);
	cr_expect_eq(procstat__parent(found[1]), child);
	cr_expect_eq(procstat__parent(child), getpid());
	cr_expect_eq(procstat__parent(999999999), 0);
	free(found);
	close(go);
	waitpid(child, NULL, 0);
}

/* ---- roster ---- */

Test(roster, pending_are_looked_at_ever_more_rarely_and_then_given_up)
{
	struct roster r;
	struct pending p = {.pid = 42};
	uint64_t now = 1000 * MS;
	int looks = 0;

	cr_assert_eq(roster__init(&r, 2), 0);
	cr_expect_eq(roster__next_try(&r), UINT64_MAX);
	cr_expect(roster__await(&r, &p));
	cr_expect(roster__await(&r, &p), "the same PID again");
	cr_expect_eq(r.pending_n, 1);
	while (r.pending_n) {
		looks++;
		cr_assert_leq(r.pending[0].next_try, now);
		if (roster__postpone(&r, &r.pending[0], now))
			now = r.pending[0].next_try;
	}
	cr_expect_geq(now, 3000 * MS);
	cr_expect_lt(now, 8000 * MS);
	cr_expect_lt(looks, 12, "%d looks", looks);
	roster__free(&r);
}

Test(roster, who_waits_is_bounded)
{
	struct roster r;

	cr_assert_eq(roster__init(&r, 2), 0);
	for (int i = 1; i <= ROSTER_PENDING_MAX; i++)
		cr_assert(roster__await(&r, &(struct pending){.pid = i}));
	cr_expect_not(roster__await(&r, &(struct pending){.pid = 999999}));
	roster__drop(&r, &r.pending[3]);
	cr_expect(roster__await(&r, &(struct pending){.pid = 999999}));
	roster__free(&r);
}

Test(roster, one_pid_is_found_among_the_living_only)
{
	struct target first = {.pid = 7}, second = {.pid = 7};
	struct observed *a, *b;
	struct roster r;

	cr_assert_eq(roster__init(&r, 2), 0);
	a = roster__place(&r);
	*a = (struct observed){.used = true, .slot = 5, .target = &first, .gone_at = 1};
	b = roster__place(&r);
	cr_assert_neq(a, b);
	*b = (struct observed){.used = true, .slot = 6, .target = &second};
	cr_expect_null(roster__place(&r), "both places are taken");
	cr_expect_eq(roster__by_pid(&r, 7), b);
	cr_expect_eq(roster__by_slot(&r, 5), a);
	cr_expect_eq(roster__count(&r), 2);
	cr_expect_eq(roster__living(&r), 1);
	a->used = false;
	cr_expect_eq(roster__place(&r), a, "a place is used again");
	roster__free(&r);
}

/* ---- the sum of a family ---- */

static struct proc_sample *second_of(uint64_t hold_ms, uint64_t wait_ms, uint64_t n)
{
	struct proc_sample *s = made_up__second();

	made_up__thread(s, 1, "t", hold_ms, wait_ms, n, 1);
	return s;
}

static const struct who whos[] = {
	{.id = "h:1:a", .label = "master", .python = "3.11.2", .pid = 1},
	{.id = "h:2:b", .label = "worker", .python = "3.11.2", .pid = 2},
	{.id = "h:3:c", .label = "worker", .python = "3.11.2", .pid = 3},
};

Test(family, sum_adds_what_processes_did_side_by_side)
{
	struct family_table *f = family_table__new();
	const struct proc_sample *sum;
	uint64_t hold = 0, n = 0;

	cr_assert_null(family_table__sum(f));
	for (size_t i = 0; i < 3; i++) {
		struct proc_sample *s = second_of(100 * (i + 1), 10, 1000 * (i + 1));

		hold += s->total.hold_ns;
		n += s->total.acquires;
		s->lost[GIL_LOSS_NO_PROC] = 1;
		cr_assert_eq(family_table__add(f, &whos[i], s, NULL), 0);
		proc_sample__free(s);
	}
	sum = family_table__sum(f);
	cr_expect_eq(family_table__count(f), 3);
	cr_expect_eq(sum->total.hold_ns, hold);
	cr_expect_eq(sum->total.acquires, n);
	cr_expect_eq(sum->lost[GIL_LOSS_NO_PROC], 3);
	cr_expect_eq(sum->len_ns, 1000 * MS, "they ran side by side");
	cr_expect_eq(family_table__busiest(f), 3);
	family_table__clear(f);
	cr_expect_null(family_table__sum(f));
	family_table__free(f);
}

Test(family, sum_of_what_was_seen_in_part_is_seen_in_part)
{
	struct family_table *f = family_table__new();
	struct proc_sample *s = second_of(100, 10, 100);
	const struct proc_sample *sum;

	family_table__add(f, &whos[0], s, NULL);
	s->observed_ns = s->len_ns / 2;
	family_table__add(f, &whos[1], s, NULL);
	sum = family_table__sum(f);
	cr_expect_float_eq((double)sum->observed_ns / (double)sum->len_ns, 0.75, 1e-6);
	proc_sample__free(s);
	family_table__free(f);
}

Test(family, thousands_that_ended_are_in_the_sum_and_few_in_the_table)
{
	struct family_table *f = family_table__new();
	struct proc_sample *s = second_of(1, 1, 1), *busy = second_of(900, 1, 1);
	struct who who = whos[1];
	char *text = NULL;
	size_t len, lines = 0;
	FILE *to;

	family_table__add(f, &whos[0], busy, NULL);
	for (int i = 0; i < 2000; i++) {
		who.pid = 100 + i;
		family_table__add(f, &who, s, "exit");
	}
	cr_expect_eq(family_table__count(f), 2001);
	cr_expect_eq(family_table__sum(f)->total.hold_ns, busy->total.hold_ns + 2000 * s->total.hold_ns);
	to = open_memstream(&text, &len);
	family_table__print(f, to, 80, 10);
	fclose(to);
	cr_expect(strstr(text, "master"), "the busiest stands first: %s", text);
	cr_expect(strstr(text, "sum of 2001"), "%s", text);
	cr_expect(strstr(text, "more, less busy"), "%s", text);
	for (char *at = text, *line; (line = strsep(&at, "\n"));) {
		lines += *line != '\0';
		cr_expect_leq(text__columns(line), 80, "%s", line);
	}
	cr_expect_leq(lines, 10, "%zu lines", lines);
	free(text);
	proc_sample__free(s);
	proc_sample__free(busy);
	family_table__free(f);
}

Test(tree, processes_add_though_they_share_their_time)
{
	struct schema_row sum = {0}, a, b;
	struct proc_sample *s = second_of(300, 100, 10), *t = second_of(500, 100, 30);

	s->live_threads = 3;
	t->live_threads = 4;
	schema_row__from(s, &s->total, true, &a);
	schema_row__from(t, &t->total, true, &b);
	tree__add(&sum, &a);
	tree__add(&sum, &b);
	tree__set_shares(&sum, 1e6);
	cr_expect_float_eq(sum.value[FIELD_HOLD], a.value[FIELD_HOLD] + b.value[FIELD_HOLD], 1e-6);
	cr_expect_float_eq(sum.value[FIELD_N], 40, 1e-6);
	cr_expect_float_eq(sum.value[FIELD_UTIL], sum.value[FIELD_HOLD] / 1e6, 1e-9);
	cr_expect_float_eq(sum.value[FIELD_THREADS], 7, 1e-9);
	cr_expect_float_eq(sum.value[FIELD_D], 1e6, 1e-9);
	proc_sample__free(s);
	proc_sample__free(t);
}
