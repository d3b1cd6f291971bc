/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looks in place of probes, in attach: what the observed program itself clocked against what is estimated, where bpf() and
 * perf_event_open() are refused and gilscope has no capability at all.
 *
 * Estimates may be off by chance: as many standard errors as are allowed here no run exceeds more often than once in a million.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/json_lines.h"
#include "../support/pythons.h"
#include "../support/refusal.h"
#include "../support/tool.h"
#include "../support/workload.h"

TestSuite(look, .timeout = 240);

#define ERRORS 5.5
#define POINT 0.01 /* of the time: bytecode beside what the program clocks */
#define NOBODY 65534

/* From here on neither this process nor a child of it can have BPF; as another user than root, it has no capability either. */
static void give_up_bpf(void)
{
	static const int calls[] = {SYS_bpf, SYS_perf_event_open};

	refusal__install(calls, 2, EPERM);
	cr_assert_eq(syscall(SYS_bpf, 0, NULL, 0), -1);
	cr_assert_eq(errno, EPERM);
}

static void give_up_rights(void)
{
	if (geteuid() == 0)
		cr_assert_eq(setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY), 0);
}

/* `gilscope VERB PID OPTIONS` from when it says "begun" until the workload's end. What it wrote; the truth is in `w`. */
static char *watch(struct workload *w, const struct interpreter *in, const char *command, const char *verb, const char *options,
		   const char *begun, const char *says)
{
	char words[256];
	struct tool t;
	char *out;

	workload__start(w, in, command);
	snprintf(words, sizeof(words), "%s %d %s", verb, (int)w->pid, options);
	tool__start(&t, words);
	tool__await(&t, begun);
	if (says)
		tool__await(&t, says);
	workload__go(w);
	workload__truth(w);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0);
	out = tool__stdout(&t);
	tool__clear(&t);
	return out;
}

/* Attaches to the workload until its end, and says that on the way (NULL: whatever). */
static json_t *observe_on(struct workload *w, const struct interpreter *in, const char *command, const char *options,
			  const char *says)
{
	char words[128], *out;
	json_t *lines;

	snprintf(words, sizeof(words), "--no-store --json %s", options);
	out = watch(w, in, command, "attach", words, "watching", says);
	lines = json_lines__parse(out);
	free(out);
	return lines;
}

static json_t *observe(struct workload *w, const char *command, const char *options, const char *says)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	return observe_on(w, &stock, command, options, says);
}

/* Each thread's hold within what is allowed of what it clocked. */
static void expect_holds(const json_t *summary, struct workload *w, double most_error)
{
	double len = (double)json__int(summary, "process.d");
	json_t *thread;
	size_t i;

	json_array_foreach(json_object_get(w->truth, "threads"), i, thread) {
		const char *name = json_string_value(json_object_get(thread, "name"));
		const json_t *row = json__thread(summary, name);
		double truth = (double)truth__int(thread, "hold_ns") / 1e3, told, err;

		if (truth == 0)
			continue;
		cr_assert(row, "no row of %s", name);
		told = (double)json__int(row, "hold_est");
		err = (double)json__int(row, "hold_err");
		cr_expect(fabs(told - truth) <= ERRORS * err + POINT * len, "%s: %.0f us told, +- %.0f, of %.0f us held", name,
			  told, err, truth);
		cr_expect_lt(err, most_error * len, "%s: the error is %.0f us of %.0f us", name, err, len);
		cr_expect_gt(json__int(row, "looks"), 0);
	}
}

Test(look, shares_of_holds_are_those_that_threads_clocked_without_bpf_and_without_rights)
{
	json_t *lines;
	const json_t *summary;
	struct workload w;

	give_up_rights();
	give_up_bpf();
	lines = observe(&w, "looked.py 6 37 11 4", "--mode look", NULL);
	summary = json_lines__summary(lines);
	cr_expect_str_eq(json_string_value(json_object_get(summary, "mode")), "look");
	cr_expect(json_is_true(json_object_get(summary, "blame_sampled")));
	cr_expect_null(json_object_get(json_object_get(summary, "process"), "n"), "acquires are not known");
	cr_expect_null(json_object_get(json_object_get(summary, "process"), "hold"), "holds are estimates");
	expect_holds(summary, &w, 0.05);
	cr_expect_null(json__thread(summary, "idle"), "it never had the GIL, and never wanted it");
	json_decref(lines);
	workload__quit(&w);
}

/* Two threads that hold the GIL for parts of the time, and one that comes for it meanwhile: what each version keeps where. */
Test(look, shares_of_holds_and_waits_are_right_on_every_interpreter)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	give_up_bpf();
	for (size_t i = 0; i < n; i++) {
		const json_t *summary, *row;
		struct workload w;
		json_t *lines;

		lines = observe_on(&w, &found[i], "looked.py 2 --hold-ms 5 40 20", "--mode look", NULL);
		summary = json_lines__summary(lines);
		cr_log_info("%s", found[i].version);
		expect_holds(summary, &w, 0.2);
		row = json__thread(summary, "hog-20");
		cr_expect(row && json_is_integer(json_object_get(row, "wait")), "%s: who waits is not known", found[i].version);
		json_decref(lines);
		workload__quit(&w);
	}
}

/* What is missing, and the words for it. */
static const struct {
	bool has_rights;
	const char says[64];
} absences[] = {
	{true, "there are no probes, as "},
	{false, "there are no probes, as CAP_BPF and CAP_PERFMON are missing"},
};

Test(look, take_the_place_of_probes_that_cannot_be_had_and_that_is_said)
{
	for (size_t i = 0; i < sizeof(absences) / sizeof(absences[0]); i++) {
		const json_t *summary;
		struct workload w;
		json_t *lines;

		if (i == 0)
			give_up_bpf();
		if (!absences[i].has_rights)
			give_up_rights();
		lines = observe(&w, "looked.py 3 --hold-ms 5 40", "", absences[i].says);
		summary = json_lines__summary(lines);
		cr_expect_str_eq(json_string_value(json_object_get(summary, "mode")), "look");
		expect_holds(summary, &w, 0.2);
		json_decref(lines);
		workload__quit(&w);
	}
}

/* Of an array of JSON, what its objects have under `field` where `key` is `value`, in sum. */
static double sum_where(const json_t *list, const char *key, const char *value, const char *field)
{
	const json_t *one;
	double sum = 0;
	size_t i;

	json_array_foreach(list, i, one) {
		const char *is = json_string_value(json_object_get(one, key));

		if (is && strcmp(is, value) == 0)
			sum += json_number_value(json_object_get(one, field));
	}
	return sum;
}

Test(look, code_that_holds_is_told_of_each_thread)
{
	const json_t *summary;
	struct workload w;
	double held, all;
	json_t *lines;

	lines = observe(&w, "looked.py 6 40", "--mode look", NULL);
	summary = json_lines__summary(lines);
	all = (double)json__int(summary, "process.hold_est");
	held = sum_where(json_object_get(summary, "code"), "function", "hog", "hold_est");
	cr_expect(held > 0.6 * all && held < 1.01 * all, "%.0f us of %.0f us are of the function that held", held, all);
	json_decref(lines);
	workload__quit(&w);
}

/* Microseconds of the folded stacks that begin so and have that function (NULL: any) in them. */
static double sum_folded(const char *folded, const char *begin, const char *function)
{
	double sum = 0;

	for (const char *line = folded; *line;) {
		const char *end = strchrnul(line, '\n'), *has = function ? strstr(line, function) : line, *weight = end;

		while (weight > line && weight[-1] != ' ')
			weight--;
		if (strncmp(line, begin, strlen(begin)) == 0 && has && has < end)
			sum += atof(weight);
		line = *end ? end + 1 : end;
	}
	return sum;
}

/* A tenth of the time: fifty looks a second at the code leave 0.028 of it open. */
Test(look, flame_draws_the_code_that_they_found_with_the_gil)
{
	double truth, thread, other, function;
	struct interpreter stock;
	struct workload w;
	char *folded;

	give_up_rights();
	give_up_bpf();
	interpreter__stock(&stock);
	folded = watch(&w, &stock, "looked.py 6 40", "flame", "--weight hold --folded --duration 60s", "armed in", NULL);
	truth = (double)truth__int(workload__thread(&w, "hog-40"), "hold_ns") / 1e3;
	thread = sum_folded(folded, "hog-40;", NULL);
	function = sum_folded(folded, "hog-40;", ";hog (workloads/looked.py:");
	other = sum_folded(folded, "(other stacks)", NULL);
	cr_expect(thread + other > truth - 600e3 && thread < truth + 600e3, "%.0f and %.0f us of others, of %.0f us held", thread,
		  other, truth);
	cr_expect_gt(function, 0.5 * truth, "%.0f us of %.0f us held: %s", function, truth, folded);
	free(folded);
	workload__quit(&w);
}

Test(look, report_judges_by_them_and_says_so)
{
	struct interpreter stock;
	struct workload w;
	struct tool t;
	char *out, words[128];

	give_up_bpf();
	give_up_rights();
	interpreter__stock(&stock);
	workload__start(&w, &stock, "hog_victim.py 100000 --hold-ms 50 --victims 2");
	workload__go(&w);
	snprintf(words, sizeof(words), "report %d --duration 4s", (int)w.pid);
	cr_expect_eq(tool__run(&t, words), 0);
	out = tool__stdout(&t);
	cr_expect(strstr(out, "GIL: YES"), "%s", out);
	cr_expect(strstr(out, "hog"), "%s", out);
	cr_expect(strstr(out, "Look mode: all times are"), "%s", out);
	free(out);
	out = tool__stderr(&t);
	cr_expect(strstr(out, "there are no probes, as CAP_BPF"), "%s", out);
	free(out);
	tool__clear(&t);
	workload__kill(&w);
}

Test(look, garbage_collection_is_what_the_program_clocked)
{
	const json_t *summary;
	double gc, err, clocked;
	struct workload w;
	json_t *lines;

	lines = observe(&w, "garbage.py 8 --explicit", "--mode look", NULL);
	summary = json_lines__summary(lines);
	gc = (double)json__int(summary, "process.gc");
	err = (double)json__int(summary, "process.gc_err");
	clocked = (double)truth__int(w.truth, "gc_ns") / 1e3;
	cr_expect(fabs(gc - clocked) <= ERRORS * err + 0.03 * clocked, "%.0f us told, +- %.0f, of %.0f us", gc, err, clocked);
	cr_expect_eq(json__int(summary, "process.gc_n2"), truth__int(w.truth, "n2"));
	json_decref(lines);
	workload__quit(&w);
}

/* The process that looks for gilscope: a child of one of its readers. 0: there is none now. */
static pid_t looker_of(pid_t gilscope)
{
	char words[256], line[32] = "";
	FILE *p;

	snprintf(words, sizeof(words), "for p in $(pgrep -x gilscope-looks); do r=$(ps -o ppid= -p $p); "
		 "n=$(ps -o ppid= -p ${r:-1}); "
		 "[ \"$(ps -o ppid= -p ${n:-1} | tr -d ' ')\" = %d ] && echo $p; done", (int)gilscope);
	p = popen(words, "r");
	cr_assert(p);
	if (!fgets(line, sizeof(line), p))
		line[0] = '\0';
	pclose(p);
	return (pid_t)atoi(line);
}

Test(look, another_process_looks_where_somebody_has_killed_the_one_that_did)
{
	struct interpreter stock;
	struct workload w;
	char words[128], *out;
	struct tool t;
	pid_t looker;
	json_t *lines;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "looked.py 8 --hold-ms 5 40");
	snprintf(words, sizeof(words), "attach %d --mode look --no-store --json --interval 500ms", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "watching");
	looker = looker_of(t.pid);
	cr_assert_gt(looker, 0);
	cr_assert_eq(kill(looker, SIGKILL), 0);
	while (looker_of(t.pid) == looker || !looker_of(t.pid))
		usleep(100000);
	workload__go(&w);
	workload__truth(&w);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0);
	out = tool__stdout(&t);
	lines = json_lines__parse(out);
	cr_expect_lt(json_number_value(json_object_get(json_object_get(json_lines__summary(lines), "process"), "cov")), 0.98,
		     "in between nobody looked");
	expect_holds(json_lines__summary(lines), &w, 0.2);
	json_decref(lines);
	free(out);
	tool__clear(&t);
	workload__quit(&w);
}

Test(look, what_asks_for_probes_is_not_given_looks)
{
	struct interpreter stock;
	struct workload w;
	struct tool t;
	char *err, words[128];

	give_up_bpf();
	give_up_rights();
	interpreter__stock(&stock);
	workload__start(&w, &stock, "looked.py 1 10");
	snprintf(words, sizeof(words), "attach %d --mode full --no-store", (int)w.pid);
	cr_expect_eq(tool__run(&t, words), 1);
	err = tool__stderr(&t);
	cr_expect(strstr(err, "CAP_BPF and CAP_PERFMON are missing"), "%s", err);
	free(err);
	tool__clear(&t);
	workload__kill(&w);
}

Test(look, a_program_that_keeps_step_with_the_looks_is_told_no_less_right)
{
	json_t *lines;
	struct workload w;

	lines = observe(&w, "looked.py 6 --hold-ms 2 --even 50", "--mode look --look-rate 250", NULL);
	expect_holds(json_lines__summary(lines), &w, 0.05);
	json_decref(lines);
	workload__quit(&w);
}

Test(look, waiting_is_charged_to_whom_the_victim_waited_for)
{
	const json_t *summary, *cell;
	double blamed = 0, stalled, error;
	struct workload w;
	json_t *lines;
	size_t i;

	lines = observe(&w, "hog_victim.py 60 --hold-ms 50 --victims 1", "--mode look", NULL);
	summary = json_lines__summary(lines);
	json_array_foreach(json_object_get(summary, "blame"), i, cell) {
		cr_expect_str_eq(json_string_value(json_object_get(json_object_get(cell, "victim"), "name")), "victim-0");
		cr_expect_str_eq(json_string_value(json_object_get(json_object_get(cell, "holder"), "name")), "hog");
		blamed += (double)json__int(cell, "us");
	}
	stalled = (double)truth__int(workload__thread(&w, "victim-0"), "stall_ns") / 1e3;
	error = (double)json__int(json__thread(summary, "victim-0"), "wait_err");
	cr_expect(fabs(blamed - stalled) <= ERRORS * error + 0.1 * stalled, "%.0f us of %.0f us stalled", blamed, stalled);
	cr_expect_gt(json__int(summary, "process.switches"), 60);
	json_decref(lines);
	workload__quit(&w);
}

/* Whether there is a summary of that process. */
static bool has_summary(const json_t *lines, json_int_t pid)
{
	const json_t *line;
	size_t i;

	json_array_foreach(lines, i, line)
		if (strcmp(json_string_value(json_object_get(line, "type")), "summary") == 0 && json__int(line, "pid") == pid)
			return true;
	return false;
}

/* Until gilscope says that it watches that process. */
static void await_watched(struct tool *t, json_int_t pid)
{
	char said[32];

	snprintf(said, sizeof(said), "(pid %d)", (int)pid);
	tool__await(t, said);
}

static json_t *end_of(struct tool *t)
{
	json_t *lines;
	char *out;

	kill(t->pid, SIGINT);
	cr_assert_eq(tool__wait(t, 60), 0);
	out = tool__stdout(t);
	lines = json_lines__parse(out);
	free(out);
	tool__clear(t);
	return lines;
}

Test(look, children_are_found_that_fork_or_execute_a_python)
{
	static const char *const commands[] = {"family.py mixed", "family.py serve 2 1 100"};

	give_up_rights();
	give_up_bpf();
	for (size_t i = 0; i < 2; i++) {
		struct interpreter stock;
		struct workload w;
		struct tool t;
		char words[128];
		json_t *truth, *lines, *pid;
		size_t k;

		interpreter__stock(&stock);
		workload__start(&w, &stock, commands[i]);
		snprintf(words, sizeof(words), "attach %d --mode look --children --no-store --json -v", (int)w.pid);
		tool__start(&t, words);
		await_watched(&t, w.pid);
		workload__go(&w);
		truth = json_object_get(workload__truth(&w), i ? "children" : "python");
		cr_assert_eq(json_array_size(truth), 2);
		json_array_foreach(truth, k, pid)
			await_watched(&t, json_integer_value(pid));
		lines = end_of(&t);
		json_array_foreach(truth, k, pid)
			cr_expect(has_summary(lines, json_integer_value(pid)), "process %d has none",
				  (int)json_integer_value(pid));
		cr_expect(has_summary(lines, w.pid));
		json_decref(lines);
		workload__quit(&w);
	}
}

Test(look, all_that_come_are_found_and_nobody_else)
{
	char words[160], dir[64], path[128];
	struct interpreter stock;
	struct workload stranger;
	json_t *lines;
	struct tool t;
	pid_t pid;

	give_up_rights();
	give_up_bpf();
	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/mine_%d.py", dir, (int)getpid());
	must_write(path, "import time\nwhile True: time.sleep(0.1)\n", 41);
	interpreter__stock(&stock);
	snprintf(words, sizeof(words), "attach --all --match mine_%d.py --mode look --no-store --json -v", (int)getpid());
	tool__start(&t, words);
	tool__await(&t, "times a second");
	workload__start(&stranger, &stock, "looked.py 1 10");
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		execl("/usr/bin/python3", "python3", path, (char *)NULL);
		_exit(127);
	}
	await_watched(&t, pid);
	lines = end_of(&t);
	cr_expect(has_summary(lines, pid));
	cr_expect_not(has_summary(lines, stranger.pid), "nobody asked for it");
	json_decref(lines);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	workload__kill(&stranger);
	temp_dir__remove(dir);
}

/* ---- in a container ---- */

/* Holds the GIL for 2 ms of every 5 from when there is a file "go" on, and writes how long in all. */
static const char sleeper[] =
	"import ctypes, os, sys, threading, time\n"
	"keep, now = ctypes.PyDLL(None), time.monotonic_ns\n"
	"def hog():\n"
	"    held = 0\n"
	"    while not os.path.exists(sys.argv[1] + '/go'): time.sleep(0.01)\n"
	"    end = now() + 4 * 10 ** 9\n"
	"    while now() < end:\n"
	"        begin = now()\n"
	"        keep.usleep(2000)\n"
	"        held += now() - begin\n"
	"        time.sleep(0.003)\n"
	"    open(sys.argv[1] + '/held', 'w').write(str(held // 1000))\n"
	"thread = threading.Thread(target=hog, name='hog')\n"
	"thread.start()\nthread.join()\n";
static const char beside[] = "#!/bin/sh\ncd ${0%/*}\n/usr/bin/python3 sleeper.py . &\nexec \"$@\" $!\n";

/* Without a capability, in PID and mount namespaces of its own, under a filter that refuses bpf() and perf_event_open(). */
Test(look, in_a_container_without_added_rights_are_right)
{
	char dir[64], path[128], under[320], *out, *held;
	const json_t *summary;
	json_t *lines;
	struct tool t;
	double told, truth;
	size_t len;

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/sleeper.py", dir);
	must_write(path, sleeper, sizeof(sleeper) - 1);
	snprintf(path, sizeof(path), "%s/beside", dir);
	must_write(path, beside, sizeof(beside) - 1);
	snprintf(under, sizeof(under), "unshare --pid --fork --kill-child --mount-proc setpriv --bounding-set -all "
		 "--inh-caps -all --no-new-privs sh %s", path);
	give_up_bpf();
	tool__start_under(&t, under, "attach --no-store --json");
	tool__await(&t, "there are no probes, as CAP_BPF and CAP_PERFMON are missing");
	snprintf(path, sizeof(path), "%s/go", dir);
	must_write(path, "", 0);
	cr_assert_eq(tool__wait(&t, 60), 0, "%s", tool__stderr(&t));
	out = tool__stdout(&t);
	lines = json_lines__parse(out);
	summary = json_lines__summary(lines);
	snprintf(path, sizeof(path), "%s/held", dir);
	held = must_read(path, &len);
	truth = atof(held);
	told = (double)json__int(json__thread(summary, "hog"), "hold_est");
	cr_expect(fabs(told - truth) <= ERRORS * (double)json__int(json__thread(summary, "hog"), "hold_err") + 0.02 * 4e6,
		  "%.0f us told of %.0f us held", told, truth);
	free(held);
	free(out);
	json_decref(lines);
	tool__clear(&t);
	temp_dir__remove(dir);
}

Test(look, what_looks_cannot_do_is_refused_in_words)
{
	struct interpreter stock;
	struct workload w;
	struct tool t;
	char *err, words[128];

	interpreter__stock(&stock);
	workload__start(&w, &stock, "looked.py 1 10");
	snprintf(words, sizeof(words), "attach %d --mode look --no-store --alert-hold 1s", (int)w.pid);
	cr_expect_neq(tool__run(&t, words), 0);
	err = tool__stderr(&t);
	cr_expect(strstr(err, "see no hold or wait begin and end"), "%s", err);
	free(err);
	tool__clear(&t);
	workload__kill(&w);
}
