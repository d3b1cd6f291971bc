/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that see forks, execs and exits, attached: each event is told once, whichever of the programs that are alike the
 * kernel leaves out (bpf/gil_again.bpf.h). That can't be had at will: those that are not attached stand for those left out.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/gil_types.h"
#include "collector/probes/probes_inside.h"
#include "../support/bpf_env.h"
#include "gil.skel.h"

#define ALL_OF_THEM ((1 << GIL_ALIKE) - 1)

static struct gil_bpf *skel;
static struct ring_buffer *ring;
static struct gil_event heard[64];
static size_t heard_n;

static int hear(void *ctx, void *data, size_t size)
{
	cr_assert_geq(size, sizeof(heard[0]));
	if (heard_n < sizeof(heard) / sizeof(heard[0]))
		memcpy(&heard[heard_n++], data, sizeof(heard[0]));
	return 0;
}

static void load(void)
{
	struct bpf_test_run_opts run = {.sz = sizeof(run)};

	bpf_env__require();
	heard_n = 0;
	skel = probes_programs__open(false);
	cr_assert_not_null(skel);
	cr_assert_eq(bpf_map__set_max_entries(skel->maps.trace, (__u32)sysconf(_SC_PAGESIZE)), 0);
	cr_assert_eq(bpf_map__set_max_entries(skel->maps.native_events, (__u32)sysconf(_SC_PAGESIZE)), 0);
	cr_assert_eq(bpf_map__set_max_entries(skel->maps.stack_events, (__u32)sysconf(_SC_PAGESIZE)), 0);
	cr_assert_eq(gil_bpf__load(skel), 0, "%s", strerror(errno));
	cr_assert_eq(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.gil_where), &run), 0, "%s", strerror(errno));
	ring = ring_buffer__new(bpf_map__fd(skel->maps.events), hear, NULL, NULL);
	cr_assert_not_null(ring);
}

static void unload(void)
{
	ring_buffer__free(ring);
	gil_bpf__destroy(skel);
}

TestSuite(comings, .init = load, .fini = unload, .timeout = 300);

/* The links go with the skeleton. */
static void attach(struct bpf_program *program, struct bpf_link **ret)
{
	*ret = bpf_program__attach(program);
	cr_assert_not_null(*ret, "%s: %s", bpf_program__name(program), strerror(errno));
}

static void attach_execs(int which)
{
	if (which & 1)
		attach(skel->progs.gil_exec_1, &skel->links.gil_exec_1);
	if (which & 2)
		attach(skel->progs.gil_exec_2, &skel->links.gil_exec_2);
	if (which & 4)
		attach(skel->progs.gil_exec_3, &skel->links.gil_exec_3);
}

static void attach_exits(int which)
{
	if (which & 1)
		attach(skel->progs.gil_exit_1, &skel->links.gil_exit_1);
	if (which & 2)
		attach(skel->progs.gil_exit_2, &skel->links.gil_exit_2);
	if (which & 4)
		attach(skel->progs.gil_exit_3, &skel->links.gil_exit_3);
}

static int told(enum gil_event_kind kind, pid_t pid)
{
	int n = 0;

	ring_buffer__consume(ring);
	for (size_t i = 0; i < heard_n; i++)
		n += heard[i].kind == kind && heard[i].tgid == (__u32)pid;
	return n;
}

/* A child that waits for a byte before it does `act`. */
static pid_t start(int *ret_go, void (*act)(void))
{
	int pipe_ends[2];
	pid_t pid;
	char byte;

	cr_assert_eq(pipe(pipe_ends), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		close(pipe_ends[1]);
		if (read(pipe_ends[0], &byte, 1) == 1)
			act();
		_exit(1);
	}
	close(pipe_ends[0]);
	*ret_go = pipe_ends[1];
	return pid;
}

static void let_go(pid_t pid, int go)
{
	int status;

	cr_assert_eq(write(go, "", 1), 1);
	close(go);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
}

static void exec_twice(void)
{
	execl("/bin/sh", "sh", "-c", "exec /bin/true", (char *)NULL);
}

static void exec_once(void)
{
	execl("/bin/true", "true", (char *)NULL);
}

static void end_well(void)
{
	_exit(0);
}

static void expect_two_execs_told(int which)
{
	int go;
	pid_t pid;

	attach_execs(which);
	skel->bss->gil_tell_execs = 1;
	pid = start(&go, exec_twice);
	let_go(pid, go);
	cr_expect_eq(told(GIL_EVENT_EXEC, pid), 2, "%d told by programs %d", told(GIL_EVENT_EXEC, pid), which);
}

Test(comings, an_exec_is_told_once_by_all_programs)
{
	expect_two_execs_told(ALL_OF_THEM);
}

Test(comings, an_exec_that_the_first_program_is_left_out_of_is_told_once)
{
	expect_two_execs_told(ALL_OF_THEM & ~1);
}

Test(comings, an_exec_that_only_the_last_program_sees_is_told_once)
{
	expect_two_execs_told(4);
}

static void expect_exit_told(int which)
{
	__u32 slot = 0, tgid;
	int go;
	pid_t pid;

	attach_exits(which);
	pid = start(&go, end_well);
	tgid = (__u32)pid;
	cr_assert_eq(bpf_map_update_elem(bpf_map__fd(skel->maps.tgids), &tgid, &slot, BPF_ANY), 0);
	let_go(pid, go);
	cr_expect_eq(told(GIL_EVENT_EXIT, pid), 1, "%d told by programs %d", told(GIL_EVENT_EXIT, pid), which);
	cr_expect_neq(bpf_map_lookup_elem(bpf_map__fd(skel->maps.tgids), &tgid, &slot), 0);
}

Test(comings, an_exit_is_told_once_by_all_programs)
{
	expect_exit_told(ALL_OF_THEM);
}

Test(comings, an_exit_that_only_the_last_program_sees_is_told_once)
{
	expect_exit_told(4);
}

/* Children that end or execute something, one after the other, seen by these programs of three; others may, too. */
static struct gil_comings comings_of(enum gil_coming kind, int which, int children)
{
	(kind == GIL_COMING_EXIT ? attach_exits : attach_execs)(which);
	skel->bss->gil_comings_counted = 1;
	for (int i = 0; i < children; i++) {
		int go;
		pid_t pid = start(&go, kind == GIL_COMING_EXIT ? end_well : exec_once);

		let_go(pid, go);
	}
	skel->bss->gil_comings_counted = 0;
	usleep(100000); /* who is in a program now comes to its end */
	return skel->bss->gil_comings[kind];
}

static void expect_seen_by_all(enum gil_coming kind, int which)
{
	struct gil_comings c = comings_of(kind, which, 20);

	cr_expect_geq(c.early, 20, "%llu", (unsigned long long)c.early);
	cr_expect_leq(c.early - c.both, 1, "%llu, and %llu by the last", (unsigned long long)c.early, (unsigned long long)c.both);
}

Test(comings, what_an_earlier_program_and_the_last_one_see_is_counted_once)
{
	expect_seen_by_all(GIL_COMING_EXIT, ALL_OF_THEM);
}

Test(comings, an_exec_that_the_first_of_them_is_left_out_of_is_counted_once)
{
	expect_seen_by_all(GIL_COMING_EXEC, ALL_OF_THEM & ~1);
}

/* The last one was left out of all of them then: none of them is missed. */
Test(comings, what_the_last_program_is_left_out_of_is_not_missed)
{
	struct gil_comings c = comings_of(GIL_COMING_EXIT, ALL_OF_THEM & ~4, 20);

	cr_expect_geq(c.early, 20);
	cr_expect_eq(c.both, 0);
	cr_expect_eq(gil_comings__missed(&c, c.early), 0);
	cr_expect_eq(gil_comings__missed(&c, c.early + 2), 2, "two that nobody saw");
}

Test(comings, what_only_the_last_program_sees_is_not_missed_either)
{
	struct gil_comings c = comings_of(GIL_COMING_EXIT, 4, 20);

	cr_expect_eq(c.early, 0);
	cr_expect_eq(gil_comings__missed(&c, 0), 0);
}

static bool is_followed(pid_t pid)
{
	__u32 tgid = (__u32)pid;
	struct gil_kin kin;

	return bpf_map_lookup_elem(bpf_map__fd(skel->maps.kin), &tgid, &kin) == 0;
}

static void *do_nothing(void *arg)
{
	return arg;
}

/* The child looks by itself, first thing. */
Test(comings, a_fork_is_told_before_the_child_runs_and_a_thread_is_none)
{
	struct gil_kin own = {.began = 1, .relative = (__u32)getpid()};
	__u32 tgid = (__u32)getpid();
	pthread_t thread;
	int status;
	pid_t pid;

	attach(skel->progs.gil_fork, &skel->links.gil_fork);
	cr_assert_eq(bpf_map_update_elem(bpf_map__fd(skel->maps.kin), &tgid, &own, BPF_ANY), 0);
	cr_assert_eq(pthread_create(&thread, NULL, do_nothing, NULL), 0);
	pthread_join(thread, NULL);
	cr_expect_eq(told(GIL_EVENT_FORK, getpid()), 0, "a thread is told");
	pid = fork();
	if (!pid)
		_exit(is_followed(getpid()) ? 0 : 2);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
	cr_expect_eq(told(GIL_EVENT_FORK, getpid()), 1);
	cr_expect_eq(heard[0].child, (__u32)pid);
}
