/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a holder does with its hold, against what it says of itself: it clocks its CPU time and asks the scheduler how long it
 * lacked a CPU, inside its holds and from before the first to after the last. What is measured lies between the two, however
 * busy the machine is.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/series/overs.h"
#include "../support/account.h"
#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/tool.h"
#include "../support/workload.h"

TestSuite(off_cpu, .timeout = 300);

/*
 * Two clocks of the kernel, of which the program's may leave out interrupts and what the hypervisor stole
 * (kernel/sched/core.c, update_rq_clock_task()): as much of that as there was is allowed for.
 */
#define SLACK_NS 3e6
#define SLACK 0.02

struct parts {
	double whole, on, blocked, preempted, unseen, stopped;
};

static struct parts parts_of(uint64_t whole, const struct gil_off *off)
{
	struct parts p = {
		.whole = (double)whole, .blocked = (double)off->ns[GIL_OFF_BLOCKED],
		.preempted = (double)off->ns[GIL_OFF_PREEMPTED], .unseen = (double)off->ns[GIL_OFF_UNSEEN],
		.stopped = (double)off->ns[GIL_OFF_STOPPED],
	};

	p.on = p.whole - p.blocked - p.preempted - p.unseen - p.stopped;
	return p;
}

static const struct metrics *metrics_of(struct observer *o, json_t *thread)
{
	const struct thread_sample *t = observer__thread(observer__totals(o), (pid_t)truth__int(thread, "tid"));

	cr_assert_not_null(t, "thread %lld is missing", truth__int(thread, "tid"));
	cr_assert(t->m.known & KNOWN_OFF_CPU);
	return &t->m;
}

static void expect_between(const char *what, double low, double got, double high, double taken)
{
	double slack = SLACK_NS + taken;

	cr_expect(got >= low * (1 - SLACK) - slack && got <= high * (1 + SLACK) + slack,
		  "%s: %.0f ns, the program says %.0f to %.0f (others took %.0f)", what, got, low, high, taken);
}

static struct parts expect_hold(struct observer *o, json_t *worker, double taken)
{
	const struct metrics *m = metrics_of(o, worker);
	struct parts got = parts_of(m->hold_ns, &m->hold_off);
	double wall = (double)truth__int(worker, "inside_wall_ns"), cpu = (double)truth__int(worker, "inside_cpu_ns"),
	       delay = (double)truth__int(worker, "inside_delay_ns");

	cr_expect_eq((long long)m->acquires, truth__int(worker, "holds"));
	expect_between("held on a CPU", cpu, got.on, (double)truth__int(worker, "all_cpu_ns"), taken);
	expect_between("held without a CPU", delay, got.preempted, (double)truth__int(worker, "all_delay_ns"), taken);
	expect_between("held asleep or stopped", wall - cpu - delay, got.blocked + got.stopped, got.whole - cpu - delay, taken);
	cr_expect_eq(got.unseen, 0, "its acquire was seen: %.0f ns", got.unseen);
	return got;
}

/* Nobody can have waited longer for a holder in some state than a holder was in it. */
static struct parts expect_wait(struct observer *o, json_t *victim, const struct parts *hold)
{
	const struct metrics *m = metrics_of(o, victim);
	const struct proc_sample *all = observer__totals(o);
	struct parts got = parts_of(m->wait_ns - m->handover_ns, &m->wait_off),
		     held = parts_of(all->total.hold_ns, &all->total.hold_off);

	cr_expect_leq(got.on, held.on + SLACK_NS);
	cr_expect_leq(got.blocked, held.blocked + SLACK_NS);
	cr_expect_leq(got.preempted, held.preempted + SLACK_NS);
	cr_expect_leq(got.stopped, held.stopped + SLACK_NS);
	cr_expect_gt(got.whole, 0.1 * hold->whole, "the victim wants it all the while");
	return got;
}

/* ---- a tracer, as profilers and debuggers are ---- */

#define TRACER "stop-and-go"
#define STOP_US 8000

/* All threads that there are, one after the other, or none if the process is gone. */
static size_t seize(pid_t pid, pid_t tids[16])
{
	struct dirent *entry;
	char path[48];
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && n < 16 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && !ptrace(PTRACE_SEIZE, atoi(entry->d_name), NULL, NULL))
			tids[n++] = atoi(entry->d_name);
	if (dir)
		closedir(dir);
	return n;
}

/* Stops them all for a moment, again and again, until it is killed. */
static void stop_and_go(pid_t pid)
{
	pid_t tids[16];
	size_t n = seize(pid, tids);

	prctl(PR_SET_NAME, TRACER);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;; usleep(STOP_US)) {
		for (size_t i = 0; i < n; i++)
			if (!ptrace(PTRACE_INTERRUPT, tids[i], NULL, NULL))
				waitpid(tids[i], NULL, __WALL);
		usleep(STOP_US);
		for (size_t i = 0; i < n; i++)
			ptrace(PTRACE_CONT, tids[i], NULL, NULL);
	}
}

static pid_t start_tracer(pid_t pid)
{
	pid_t tracer = fork();

	cr_assert_geq(tracer, 0);
	if (tracer == 0)
		stop_and_go(pid);
	return tracer;
}

static void end_tracer(pid_t tracer)
{
	if (!tracer)
		return;
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
}

/* Whoever holds the GIL when all are stopped: mostly the worker, once in a while another. */
static void expect_named(const struct proc_sample *all, pid_t tracer)
{
	double stopped_ns = (double)all->total.hold_off.ns[GIL_OFF_STOPPED];
	const struct why *why = whys__most(&all->whys, true);

	cr_assert_not_null(why);
	cr_expect_eq(why->kind, GIL_WHY_TRACER);
	cr_expect_str_eq(why->name, TRACER);
	cr_expect_eq(why->pid, (uint32_t)tracer);
	cr_expect_float_eq((double)why->ns, stopped_ns, SLACK_NS, "the parts are %" PRIu64 " of %.0f ns", why->ns, stopped_ns);
}

/* ---- what it is compared with ---- */

/* Runs `command`, with a tracer on it if so asked, cutting an interval now and then, and compares. */
static struct parts observe_traced(const char *command, struct parts *ret_wait, bool traced)
{
	pid_t tracer = 0;
	struct interpreter stock;
	struct workload w;
	struct observer o;
	struct parts hold;
	double taken = account__taken_ns();

	interpreter__stock(&stock);
	workload__start(&w, &stock, command);
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	if (traced)
		tracer = start_tracer(w.pid);
	workload__go(&w);
	for (int i = 0; i < 4; i++) {
		usleep(130000);
		proc_sample__free(observer__interval(&o));
	}
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	hold = expect_hold(&o, workload__thread(&w, "worker"), account__taken_ns() - taken);
	*ret_wait = expect_wait(&o, workload__thread(&w, "victim"), &hold);
	if (traced)
		expect_named(observer__totals(&o), tracer);
	end_tracer(tracer);
	observer__assert_lossless(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
	return hold;
}

static struct parts observe(const char *command, struct parts *ret_wait)
{
	return observe_traced(command, ret_wait, false);
}

Test(off_cpu, who_is_stopped_by_a_tracer_does_not_sleep_and_the_tracer_is_named)
{
	struct parts wait, hold = observe_traced("off_cpu.py 20 --work-ms 20", &wait, true);

	cr_expect_gt(hold.stopped, 0.2 * hold.whole, "it is stopped for half of the time");
	cr_expect_lt(hold.blocked, 0.05 * hold.whole, "it never sleeps: %.0f ns", hold.blocked);
	cr_expect_gt(wait.stopped, 0);
}

static enum lets_go kind_of(const struct gil_over *over)
{
	return overs__kind((double)over->n, (double)overs__late(over));
}

/* The victim asks for each hold of 15 ms, five after it began to wait; nobody can take it before the call is done. */
Test(off_cpu, c_code_goes_on_when_it_is_asked_to_let_go)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;
	const struct metrics *m;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "off_cpu.py 20 --work-ms 15");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	m = metrics_of(&o, workload__thread(&w, "worker"));
	cr_expect_eq(kind_of(&m->over), LETS_GO_LATE, "%llu of %llu were late", (unsigned long long)overs__late(&m->over),
		     (unsigned long long)m->over.n);
	cr_expect_leq(m->over.n, m->acquires);
	cr_expect_leq((double)m->over.ns,
		      (double)truth__int(workload__thread(&w, "worker"), "all_cpu_ns") * (1 + SLACK) + SLACK_NS,
		      "it went on for no longer than it ran");
	cr_expect_leq(m->over.max_ns, m->hold_max_ns);
	observer__detach(&o);
	workload__quit(&w);
}

Test(off_cpu, bytecode_lets_go_when_it_is_asked)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "cpu_threads.py 2 1");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	for (int i = 0; i < 2; i++) {
		const struct gil_over *over = &metrics_of(&o, workload__thread(&w, i ? "cpu-1" : "cpu-0"))->over;

		cr_expect_eq(kind_of(over), LETS_GO_SOON, "%llu of %llu were late, %llu ns in all",
			     (unsigned long long)overs__late(over), (unsigned long long)over->n, (unsigned long long)over->ns);
	}
	observer__detach(&o);
	workload__quit(&w);
}

Test(off_cpu, who_sleeps_with_the_gil_is_blocked)
{
	struct parts wait, hold = observe("off_cpu.py 20 --sleep-ms 40", &wait);

	cr_expect_gt(hold.blocked, 20 * 39e6);
	cr_expect_gt(wait.blocked, wait.on);
}

Test(off_cpu, who_computes_beside_another_on_its_cpu_is_preempted)
{
	struct parts wait, hold = observe("off_cpu.py 20 --work-ms 40 --crowded", &wait);

	cr_expect_gt(hold.preempted, 0.1 * hold.whole, "the CPU is shared");
	cr_expect_lt(hold.blocked, 0.1 * hold.whole, "it never sleeps");
	cr_expect_gt(wait.preempted, 0);
}

Test(off_cpu, holds_of_several_kinds_are_told_apart)
{
	struct parts wait, hold = observe("off_cpu.py 20 --sleep-ms 20 --work-ms 20 --crowded", &wait);

	cr_expect_gt(hold.blocked, 20 * 19e6);
	cr_expect_geq(hold.on, 20 * 19e6);
	cr_expect_gt(hold.preempted, 0);
}

/* A hold that lasts is split at the interval's end like any other, and shows what it is spent on. */
Test(off_cpu, long_sleep_is_visible_while_it_lasts)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;
	struct proc_sample *s;
	struct parts hold;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "long_hold.py told");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__hold(&w);
	usleep(500000);
	proc_sample__free(observer__interval(&o));
	usleep(1000000);
	s = observer__interval(&o);
	hold = parts_of(s->total.hold_ns, &s->total.hold_off);
	cr_expect_geq(hold.whole, 0.99 * (double)s->len_ns);
	cr_expect_geq(hold.blocked, 0.99 * (double)s->len_ns, "blocked %.0f of %" PRIu64, hold.blocked, s->len_ns);
	cr_expect_geq(s->total.wait_off.ns[GIL_OFF_BLOCKED], 0.9 * (double)s->len_ns, "and so is what the victim waits for");
	proc_sample__free(s);
	workload__go(&w);
	workload__truth(&w);
	observer__detach(&o);
	workload__quit(&w);
}

/* What was going on when the probes were armed: nobody knows, and that is said. */
Test(off_cpu, hold_that_was_there_before_is_unseen)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;
	struct proc_sample *s;
	const struct metrics *m;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "long_hold.py told");
	workload__hold(&w);
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	usleep(500000);
	s = observer__interval(&o);
	cr_expect_eq(s->total.hold_off.ns[GIL_OFF_UNSEEN], s->total.hold_ns);
	cr_expect_eq(s->total.wait_off.ns[GIL_OFF_UNSEEN], s->total.wait_ns - s->total.handover_ns - s->total.unknown_ns);
	proc_sample__free(s);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	m = metrics_of(&o, workload__thread(&w, "hog"));
	cr_expect_eq(m->hold_off.ns[GIL_OFF_UNSEEN], m->hold_ns);
	observer__detach(&o);
	workload__quit(&w);
}

/* What `attach` says of a worker that sleeps with the GIL. */
static void expect_attach(const char *option, bool parts)
{
	struct interpreter stock;
	struct workload w;
	struct tool t;
	char words[96], *out;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "off_cpu.py 3 --sleep-ms 10 --go-on");
	workload__go(&w);
	snprintf(words, sizeof(words), "attach %d --duration 1s --mode full --no-store --json%s", (int)w.pid, option);
	cr_assert_eq(tool__run(&t, words), 0, "%s", tool__stderr(&t));
	out = tool__stdout(&t);
	cr_expect_not_null(strstr(out, "\"hold\":"));
	cr_expect_eq(strstr(out, "\"hold_blocked\":") != NULL, parts, "%s: %s", option, out);
	cr_expect_eq(strstr(out, "\"wait_preempted\":") != NULL, parts);
	cr_expect(parts || !strstr(out, "_unseen"), "not known is not unseen");
	free(out);
	tool__clear(&t);
	workload__kill(&w);
}

Test(off_cpu, switched_off_is_not_known_and_not_zero)
{
	expect_attach("", true);
	expect_attach(" --no-off-cpu", false);
}

Test(off_cpu, light_mode_knows_nothing_of_it)
{
	struct interpreter stock;
	struct workload w;
	struct observer o;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "hog_victim.py 5");
	observer__attach(&o, w.pid, GIL_MODE_LIGHT);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	cr_expect_eq(observer__totals(&o)->total.known & KNOWN_OFF_CPU, 0);
	observer__detach(&o);
	workload__quit(&w);
}
