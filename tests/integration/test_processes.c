/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every process of ours, whatever the verb: no thread of any of them has a right that its part does not take, nor can get one
 * back. And the opposite of the program that `run` starts: to it everything is as if gilscope were not there.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/process/caps.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/status.h"
#include "../support/terminal.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define COLLECTOR_MAY (CAP_BIT(39) | CAP_BIT(38) | CAP_BIT(19) | CAP_BIT(2) | CAP_BIT(40))
#define PLANTER_MAY (CAP_BIT(39) | CAP_BIT(38) | CAP_BIT(21))

static char dir[64], redis_socket[108];
static struct tool t;
static struct terminal screen;
static struct workload w;

static bool nobody_listens(void *arg)
{
	return status__listener(redis_socket) == 0;
}

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	snprintf(redis_socket, sizeof(redis_socket), "%s/redis.sock", dir);
}

static void tear_down(void)
{
	terminal__close(&screen);
	if (t.err[0])
		tool__clear(&t);
	if (w.pid)
		workload__kill(&w);
	if (!dir[0])
		return;
	cr_expect(eventually(nobody_listens, NULL, 60000), "a server is left behind");
	temp_dir__remove(dir);
}

TestSuite(processes, .init = set_up, .fini = tear_down, .timeout = 300);

static void start_workload(void)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "cpu_threads.py 2 600");
	workload__go(&w);
}

/* ---- ours ---- */

/* What a process of that name may have: permitted, effective, whether it is still root. */
static const struct part {
	const char *name;
	uint64_t may_hold, may_use;
	bool unprivileged; /* another user than root, and no dump */
} parts[] = {
	{"gilscope-probes", PLANTER_MAY, 0, false},
	{"gilscope-store", 0, 0, true},
	{"redis-server", 0, 0, true},
	{"gilscope", COLLECTOR_MAY, COLLECTOR_MAY, false},
};

static const struct part *part_of(const char *name)
{
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (strcmp(parts[i].name, name) == 0)
			return &parts[i];
	return NULL;
}

static void expect_least(const struct status *s, const struct part *part, pid_t tid)
{
	cr_expect_eq(s->permitted & ~part->may_hold, 0, "%s (%d): permitted %" PRIx64, part->name, tid, s->permitted);
	cr_expect_eq(s->effective & ~part->may_use, 0, "%s (%d): effective %" PRIx64, part->name, tid, s->effective);
	cr_expect_eq(s->inherited | s->ambient, 0, "%s (%d): inherited %" PRIx64, part->name, tid, s->inherited);
	cr_expect_eq(s->bounding, 0, "%s (%d): bounding %" PRIx64, part->name, tid, s->bounding);
	cr_expect_eq(s->no_new_privs, 1, "%s (%d): no_new_privs", part->name, tid);
	if (!part->unprivileged || geteuid() != 0)
		return;
	cr_expect_neq(s->uid, 0, "%s (%d) is root", part->name, tid);
	cr_expect_eq(s->core_limit, 0, "%s (%d) may dump", part->name, tid);
}

/* All threads of a process of ours; of others 0. */
static int expect_least_of(pid_t pid, const char *as)
{
	char path[64];
	struct status s;
	const struct dirent *e;
	const struct part *part;
	int threads = 0;
	DIR *tasks;

	status__read(pid, pid, &s);
	part = part_of(as ? as : s.name);
	if (!part)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks && (e = readdir(tasks)) != NULL)
		if (e->d_name[0] != '.') {
			status__read(pid, (pid_t)atoi(e->d_name), &s);
			expect_least(&s, part, (pid_t)atoi(e->d_name));
			threads++;
		}
	closedir(tasks);
	return threads;
}

static pid_t hand_of(const char *store)
{
	struct program p;
	pid_t pid;

	/* Its directories are open in it; nothing else of that name has this one's. */
	program__run(&p, "for p in $(pgrep -x gilscope-store); do "
		     "[ \"$(readlink /proc/$p/cwd)\" = %s/server ] && echo $p; done; true", store);
	pid = (pid_t)atoi(p.out);
	program__free(&p);
	return pid;
}

static void expect_all_least(pid_t gilscope, int threads_at_least, bool plants)
{
	pid_t planter = status__child(gilscope, "gilscope-probes"), hand = hand_of(dir), server = status__listener(redis_socket);

	cr_expect_geq(expect_least_of(gilscope, "gilscope"), threads_at_least);
	cr_assert_gt(hand, 1);
	cr_assert_gt(server, 1);
	cr_expect_eq(expect_least_of(hand, NULL), 1);
	cr_expect_gt(expect_least_of(server, "redis-server"), 0);
	cr_expect_eq(planter > 0, plants);
	if (planter > 0)
		cr_expect_gt(expect_least_of(planter, NULL), 0);
}

static bool hand_is_gone(void *arg)
{
	return hand_of(dir) == 0;
}

static void expect_nobody_left(void)
{
	cr_expect(eventually(nobody_listens, NULL, 60000), "its server is left");
	cr_expect(eventually(hand_is_gone, NULL, 60000), "its hand is left");
}

Test(processes, of_attach_have_no_right_that_they_do_not_use)
{
	char words[64];

	start_workload();
	snprintf(words, sizeof(words), "attach %d", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed in");
	expect_all_least(t.pid, 2, true); /* the sink's thread */
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	expect_nobody_left();
}

Test(processes, of_run_have_no_right_that_they_do_not_use)
{
	tool__start(&t, "run -- /usr/bin/python3 -I -S -c __import__('time').sleep(600)");
	tool__await(&t, "armed in");
	expect_all_least(t.pid, 2, true);
	kill(t.pid, SIGTERM);
	cr_expect_eq(tool__wait(&t, 60), 128 + SIGTERM);
	expect_nobody_left();
}

Test(processes, of_store_serve_have_no_right_that_they_do_not_use)
{
	struct status s;

	tool__start(&t, "store serve");
	tool__await(&t, "the store runs on");
	expect_all_least(t.pid, 1, false);
	status__read(t.pid, t.pid, &s);
	cr_expect_eq(s.permitted, 0, "it observes nobody");
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	expect_nobody_left();
}

Test(processes, of_top_have_no_right_that_they_do_not_use)
{
	char words[64];

	start_workload();
	snprintf(words, sizeof(words), "top %d", (int)w.pid);
	terminal__start(&screen, 80, 24, NULL, words);
	terminal__await(&screen, "history on");
	expect_all_least(terminal__pid(&screen), 3, true); /* the source's, the sink's */
	terminal__type(&screen, "q");
	cr_expect_eq(terminal__end(&screen), 0);
	expect_nobody_left();
}

/* The sink asks for the server again when all rights are gone. */
Test(processes, killed_server_comes_back_without_rights)
{
	char words[64];
	pid_t first;

	start_workload();
	snprintf(words, sizeof(words), "attach %d", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed in");
	first = status__listener(redis_socket);
	cr_assert_gt(first, 1);
	kill(first, SIGKILL);
	for (int tries = 0; tries < 1200 && (nobody_listens(NULL) || status__listener(redis_socket) == first); tries++)
		usleep(50000);
	cr_expect_neq(status__listener(redis_socket), first);
	expect_all_least(t.pid, 2, true);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	expect_nobody_left();
}

/* ---- the program that run starts ---- */

/* All that a program may notice of what it was given, but for its numbers. */
#define TELL \
	"import ctypes, os\n" \
	"keys = ('Uid', 'Gid', 'Groups', 'Umask', 'SigB', 'SigI', 'SigC', 'Cap', 'NoNewPrivs', 'Seccomp', 'Threads')\n" \
	"for line in open('/proc/self/status'):\n" \
	"    if line.startswith(keys): print(line, end='')\n" \
	"print(open('/proc/self/limits').read())\n" \
	"libc = ctypes.CDLL(None)\n" \
	"print('dumpable', libc.prctl(3, 0, 0, 0, 0), 'pdeathsig', libc.prctl(2, 0, 0, 0, 0))\n" \
	"print('fds', sorted(os.listdir('/proc/self/fd')), 'cwd', os.getcwd())\n" \
	"print('oom', open('/proc/self/oom_score_adj').read(), 'nice', os.nice(0), sorted(os.sched_getaffinity(0)))\n" \
	"print('securebits', libc.prctl(27, 0, 0, 0, 0), 'keepcaps', libc.prctl(7, 0, 0, 0, 0))\n" \
	"print(sorted(k for k in os.environ), os.environ.get('HOME'))\n"

/* In which it is started: nothing special, then whatever a caller may have set. %s is the command. */
static const char *const surroundings[] = {
	"%s", "env --ignore-signal=PIPE,HUP,USR1 --block-signal=USR2,CHLD %s", "nohup %s",
	"prlimit --nofile=300:400 --core=7:9 %s",
	"setpriv --bounding-set=-sys_time,-net_raw %s", "setpriv --no-new-privs %s", "nice -n 3 %s",
	"sh -c 'umask 013; exec 7</dev/null; trap \"\" INT TERM; %s'", "env -i PATH=/usr/bin %s",
};

static void expect_same(const char *surrounding, const char *before)
{
	char bare[512], observed[640], command[1024], script[96];
	struct program one, two;
	FILE *f;

	snprintf(script, sizeof(script), "%s/tell.py", dir);
	f = fopen(script, "w");
	cr_assert(f && fputs(TELL, f) >= 0);
	fclose(f);
	snprintf(bare, sizeof(bare), "/usr/bin/python3 -I -S %s", script);
	snprintf(observed, sizeof(observed), "%s run --no-store %s-- %s", program__path(), before, bare);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(command, sizeof(command), surrounding, bare);
	program__run(&one, "%s", command);
	snprintf(command, sizeof(command), surrounding, observed);
#pragma GCC diagnostic pop
	program__run(&two, "%s", command);
	cr_assert_eq(one.status, 0, "%s: %s", surrounding, one.err);
	cr_expect_eq(two.status, 0, "%s: %s", surrounding, two.err);
	cr_expect_str_eq(two.out, one.out, "%s", surrounding);
	program__free(&two);
	program__free(&one);
}

Test(processes, program_that_run_starts_finds_all_as_without_gilscope)
{
	for (size_t i = 0; i < sizeof(surroundings) / sizeof(surroundings[0]); i++)
		expect_same(surroundings[i], "");
}

/* As another user it has what that user's programs have; SIGTERM reaches it nevertheless. */
Test(processes, program_of_another_user_is_started_and_ended)
{
	struct status s;
	pid_t program;

	tool__start(&t, "run --no-store --user nobody -- /usr/bin/python3 -I -S -c __import__('time').sleep(600)");
	tool__await(&t, "armed in");
	program = status__child(t.pid, "python3");
	cr_assert_gt(program, 1);
	status__read(program, program, &s);
	cr_expect_neq(s.uid, 0);
	cr_expect_eq(s.permitted | s.effective, 0);
	cr_expect_neq(s.bounding, 0);
	cr_expect_eq(s.no_new_privs, 0);
	kill(t.pid, SIGTERM);
	cr_expect_eq(tool__wait(&t, 60), 128 + SIGTERM);
}
