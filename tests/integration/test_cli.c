/* SPDX-License-Identifier: GPL-2.0-only */
/* The program as people meet it: usage errors, exit statuses, what goes to which stream, the terminal given back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "collector/probes/switch_check.h"
#include "../support/bpf_env.h"
#include "../support/own_images.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/pythons.h"

static struct program p;

static void teardown(void)
{
	program__free(&p);
}

TestSuite(cli, .fini = teardown, .timeout = 300);

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

Test(cli, wrong_usage_gets_one_sentence_on_stderr_and_status_2)
{
	static const struct {
		char args[80];
		char part[96];
		int status;
	} cases[] = {
		{"", "which verb? (gilscope --help names them)", 2},
		{"atach 1", "there is no verb 'atach', did you mean 'gilscope attach'?", 2},
		{"frobnicate", "there is no verb 'frobnicate' (gilscope --help names them)", 2},
		{"top", "top: it needs a terminal, and standard", 1},
		{"top a b", "top: 'b' is too many", 2},
		{"4242", "gilscope attach 4242", 2},
		{"--frob attach", "there is no option --frob in front of the verb", 2},
		{"attach", "attach: which process?", 2},
		{"attach abc", "attach: 'abc' is not a PID", 2},
		{"attach -1", "attach: there is no option -1", 2},
		{"attach 0", "attach: 0 is out of range for a PID", 2},
		{"attach 99999999999999999999", "is out of range for a PID", 2},
		{"attach 1 1", "attach: process 1 is given twice", 2},
		{"attach 1 --interval 5x", "attach: --interval: '5x' is not a duration", 2},
		{"attach 1 --children=x", "attach: --children", 2},
		{"attach --all --children 1", "attach: --all and PIDs exclude each other", 2},
		{"attach 4194304 --no-store", "attach: there is no process 4194304", 1},
		{"ls extra", "ls: 'extra' is too many", 2},
		{"doctor abc", "doctor: 'abc' is not a PID", 2},
		{"query", "query: which process?", 2},
		{"query a --thread b --threads", "query: --thread, --threads, --gil and --tree exclude each other", 2},
		{"query a --gil x", "query: --gil: 'x' is not the id of an interpreter (0 is the main one)", 2},
		{"query a --redis nonsense", "query: Redis URL: must begin with redis://", 2},
		{"store", "store: what about it?", 2},
		{"store pat", "store: 'pat' is none of path, cli, serve and clear: did you mean path?", 2},
		{"store clear", "store clear: this deletes the history, and nobody is here to be asked: add --yes", 2},
		{"store path 1", "store path: '1' is too many", 2},
		{"run", "run: which command?", 125},
		{"run --interval abc -- true", "run: --interval: 'abc' is not a duration", 125},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		program__run(&p, "\"$GILSCOPE\" %s", cases[i].args);
		cr_expect_eq(p.status, cases[i].status, "gilscope %s: %d", cases[i].args, p.status);
		cr_expect(strstr(p.err, cases[i].part), "gilscope %s: %s", cases[i].args, p.err);
		cr_expect_eq(count_lines(p.err), 1, "gilscope %s: %s", cases[i].args, p.err);
		cr_expect(strncmp(p.err, "gilscope: ", 10) == 0, "%s", p.err);
		cr_expect_str_empty(p.out);
		program__free(&p);
		p = (struct program){0};
	}
}

Test(cli, help_and_version_are_data)
{
	static const char cases[][24] = {"--help", "-h", "--version", "-V", "attach --help", "run -h", "ls --help",
					 "doctor --help", "query --help", "store --help", "store clear --help"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		program__run(&p, "\"$GILSCOPE\" %s", cases[i]);
		cr_expect_eq(p.status, 0, "%s", cases[i]);
		cr_expect(strlen(p.out) > 5, "%s", cases[i]);
		cr_expect_str_empty(p.err);
		program__free(&p);
		p = (struct program){0};
	}
}

Test(cli, a_full_disk_is_a_failure_and_a_reader_that_left_is_none)
{
	program__run(&p, "\"$GILSCOPE\" --help > /dev/full");
	cr_expect_eq(p.status, 1);
	cr_expect(strstr(p.err, "standard output: No space left on device"), "%s", p.err);
	program__free(&p);
	program__run(&p, "{ \"$GILSCOPE\" attach --help; echo $? >&2; } | true");
	cr_expect_str_eq(p.err, "0\n");
}

/* An entrypoint, a "sh -c": what is meant is what it has started. */
Test(cli, a_shell_that_wraps_a_python_is_refused_with_its_child, .init = bpf_env__require)
{
	static const char verbs[][8] = {"attach", "dump", "report", "flame", "trace"};
	char *const argv[] = {"/bin/sh", "-c", "/usr/bin/python3 -c 'print(\"ready\", flush=True); input()'; exit 0", NULL};
	struct child shell;
	char path[64], expected[64];
	int python;
	FILE *f;

	child__start(&shell, argv, NULL);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)shell.pid, (int)shell.pid);
	f = fopen(path, "re");
	cr_assert(f && fscanf(f, "%d", &python) == 1);
	fclose(f);
	snprintf(expected, sizeof(expected), "; below it there is one: %d (python3 -c)", python);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		program__run(&p, "\"$GILSCOPE\" %s %d", verbs[i], (int)shell.pid);
		cr_expect_eq(p.status, 1, "%s: %d", verbs[i], p.status);
		cr_expect(strstr(p.err, expected), "%s: %s", verbs[i], p.err);
		cr_expect_null(strstr(p.err, "not looked at"), "%s: %s", verbs[i], p.err);
		program__free(&p);
		p = (struct program){0};
	}
	program__run(&p, "\"$GILSCOPE\" doctor --json %d", (int)shell.pid);
	cr_expect(strstr(p.out, expected), "%s", p.out);
	child__stop(&shell);
}

/* Each verb that goes on for a while, or says more than a pipe's reader wants of it. */
Test(cli, a_reader_that_left_ends_every_verb_in_silence, .init = bpf_env__require)
{
	static const struct {
		char verb[8], options[48];
	} cases[] = {
		{"attach", "--no-store --json --duration 3s"}, {"attach", "--no-store --interval 100ms --duration 3s"},
		{"trace", "--duration 1s"}, {"flame", "--folded --duration 1s"}, {"report", "--json --duration 1s"},
		{"dump", "--json"},
	};
	struct child python;
	char words[400];

	child__start_python(&python, "/usr/bin/python3");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(words, sizeof(words), "%s %d %s", cases[i].verb, (int)python.pid, cases[i].options);
		program__run(&p, "{ \"$GILSCOPE\" %s; echo \"status $?\" >&2; } | head -c 50", words);
		cr_expect(strstr(p.err, "status 0"), "%s: %s", words, p.err);
		cr_expect_null(strstr(p.err, "standard output"), "%s: %s", words, p.err);
		program__free(&p);
		p = (struct program){0};
	}
	child__stop(&python);
}

Test(cli, ls_json_names_a_process_and_how_it_can_be_probed)
{
	struct child python;
	json_t *json;
	const json_t *row, *found = NULL;
	size_t i;

	child__start_python(&python, "/usr/bin/python3");
	program__run(&p, "GILSCOPE_STORE_DIR=/nonexistent \"$GILSCOPE\" ls --json");
	child__stop(&python);
	cr_expect_eq(p.status, 0);
	json = json_loads(p.out, 0, NULL);
	cr_assert(json, "%s", p.out);
	json_array_foreach(json_object_get(json, "processes"), i, row)
		if (json_integer_value(json_object_get(row, "pid")) == python.pid)
			found = row;
	cr_assert(found, "%s", p.out);
	cr_expect(json_is_true(json_object_get(found, "can_probe")));
	cr_expect_str_eq(json_string_value(json_object_get(found, "gil")), "gil");
	cr_expect(strncmp(json_string_value(json_object_get(found, "python")), "3.", 2) == 0);
	json_decref(json);
}

/* Through a copy where everybody may execute it, wherever it was built. */
Test(cli, doctor_without_rights_says_what_it_could_not_check)
{
	char dir[128];
	json_t *json;

	temp_dir__make(dir, sizeof(dir));
	must_run("chmod 755 '%s' && cp '%s' '%s/gilscope'", dir, program__path(), dir);
	program__run(&p, "GILSCOPE_STORE_DIR=/nonexistent setpriv --reuid 65534 --clear-groups "
		     "--bounding-set -all --inh-caps -all -- '%s/gilscope' doctor --json < /dev/null", dir);
	temp_dir__remove(dir);
	cr_expect_eq(p.status, 1);
	json = json_loads(p.out, 0, NULL);
	cr_assert(json, "%s%s", p.out, p.err);
	cr_expect(json_is_false(json_object_get(json, "can_attach")));
	cr_expect(strstr(p.out, "CAP_BPF is missing"));
	cr_expect(strstr(p.out, "could not be tried without CAP_BPF and CAP_PERFMON"));
	json_decref(json);
}

/* Played where securityfs would be; a kernel that is locked down in earnest is booted by tests/kernels. */
static void expect_lockdown(const char *file, const char *says)
{
	struct program doctor;

	must_run("printf '%%s\\n' '%s' > /sys/kernel/security/lockdown", file);
	program__run(&doctor, "\"$GILSCOPE\" doctor --json");
	if (says)
		cr_expect(strstr(doctor.out, says), "%s: %s%s", file, doctor.out, doctor.err);
	else
		cr_expect_null(strstr(doctor.out, "locked down"), "%s: %s", file, doctor.out);
	program__free(&doctor);
}

Test(cli, doctor_names_lockdown)
{
	own_mounts__enter();
	must_run("mount -t tmpfs tmpfs /sys/kernel/security");
	expect_lockdown("[none] integrity confidentiality", NULL);
	expect_lockdown("none [integrity] confidentiality", "the kernel is locked down (integrity), which forbids nothing");
	expect_lockdown("none integrity [confidentiality]", "the kernel is locked down (confidentiality): no BPF");
}

/* ---- with BPF ---- */

/* Each of our sleeps is a switch at least, by the kernel's own count of this thread's. */
Test(cli, doctor_tries_whether_the_kernel_tells_of_switches)
{
	struct switch_count count = {0};
	struct rusage before, after;
	cpu_set_t allowed, later;
	int cpu = sched_getcpu();

	bpf_env__require();
	cr_assert_eq(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	getrusage(RUSAGE_THREAD, &before);
	cr_assert_eq(switch_check__cpu(cpu, &count), 0);
	getrusage(RUSAGE_THREAD, &after);
	cr_assert_eq(sched_getaffinity(0, sizeof(later), &later), 0);
	cr_expect(CPU_EQUAL(&allowed, &later), "it may run where it might before");
	cr_expect_geq(count.happened, 50);
	cr_expect_geq(after.ru_nvcsw - before.ru_nvcsw, 50);
	cr_expect_leq(count.told, count.happened + 1);
	cr_expect_eq(switch_check__cpu(CPU_SETSIZE - 1, &count), -EINVAL, "there is no such CPU");
	program__run(&p, "\"$GILSCOPE\" doctor");
	cr_expect_not_null(strstr(p.out, "switches   the kernel t"), "%s", p.out);
}

Test(cli, run_passes_on_the_commands_status)
{
	static const struct {
		char args[96];
		int status;
	} cases[] = {
		{"/usr/bin/python3 -c 'raise SystemExit(7)'", 7},
		{"/usr/bin/python3 -c 'raise SystemExit(2)'", 2},
		{"/usr/bin/python3 -c 'import os; os.kill(os.getpid(), 9)'", 128 + SIGKILL},
		{"no-such-program-anywhere", 127},
		{"/etc/passwd", 126},
	};

	bpf_env__require();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		program__run(&p, "\"$GILSCOPE\" run --no-store -- %s", cases[i].args);
		cr_expect_eq(p.status, cases[i].status, "%s: %d %s", cases[i].args, p.status, p.err);
		cr_expect_str_empty(p.out);
		program__free(&p);
		p = (struct program){0};
	}
}

Test(cli, run_leaves_standard_output_to_the_command)
{
	bpf_env__require();
	program__run(&p, "\"$GILSCOPE\" run --no-store -- /usr/bin/python3 -c 'print(\"mine\")'");
	cr_expect_eq(p.status, 0);
	cr_expect_str_eq(p.out, "mine\n");
	cr_expect(strstr(p.err, "the process ended"), "%s", p.err);
	cr_expect(strstr(p.err, "acquires"), "%s", p.err);
}

Test(cli, attach_json_is_one_object_per_line_and_a_summary)
{
	struct child python;
	char *line, *at;
	size_t n = 0;
	json_t *json = NULL;

	bpf_env__require();
	child__start_python(&python, "/usr/bin/python3");
	program__run(&p, "\"$GILSCOPE\" attach %d --no-store --interval 100ms --duration 500ms --json", (int)python.pid);
	child__stop(&python);
	cr_expect_eq(p.status, 0, "%s", p.err);
	at = p.out;
	while ((line = strsep(&at, "\n")) && *line) {
		json_decref(json);
		json = json_loads(line, 0, NULL);
		cr_assert(json, "%s", line);
		n++;
	}
	cr_expect_geq(n, 2);
	cr_expect_str_eq(json_string_value(json_object_get(json, "type")), "summary");
	cr_expect_str_eq(json_string_value(json_object_get(json, "end")), "duration");
	cr_expect(json_object_get(json_object_get(json, "process"), "n"));
	json_decref(json);
}

static json_int_t process_n(const char *lines)
{
	const char *last = strstr(lines, "{\"type\":\"summary\"");
	json_t *json = json_loads(last ? last : "", 0, NULL);
	json_int_t n;

	cr_assert(json, "no summary: %s", lines);
	n = json_integer_value(json_object_get(json_object_get(json, "process"), "n"));
	json_decref(json);
	return n;
}

/* Two threads that yield to each other for as long as they are watched. */
static void start_busy_python(struct child *c)
{
	char *argv[] = {(char *)"/usr/bin/python3", (char *)"-u", (char *)"-c",
			(char *)"import threading, time\n"
				"def work():\n"
				"    while True: sum(range(1000)); time.sleep(0)\n"
				"threading.Thread(target=work, daemon=True).start()\n"
				"print('ready')\n"
				"work()\n", NULL};

	child__start(c, argv, NULL);
}

Test(cli, query_finds_in_the_store_what_attach_has_counted)
{
	struct program q;
	struct child python;
	char dir[256];
	json_t *json, *threads;
	size_t i;
	json_t *row;
	json_int_t n, sum = 0;

	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	start_busy_python(&python);
	program__run(&p, "GILSCOPE_STORE_DIR=%s \"$GILSCOPE\" attach %d --mode full --duration 2s --json --label shop", dir,
		     (int)python.pid);
	child__stop(&python);
	cr_assert_eq(p.status, 0, "%s", p.err);
	n = process_n(p.out);
	cr_expect_gt(n, 0);
	program__run(&q, "GILSCOPE_STORE_DIR=%s \"$GILSCOPE\" query sho --metric n --threads --json --since 1m", dir);
	cr_assert_eq(q.status, 0, "%s", q.err);
	json = json_loads(q.out, 0, NULL);
	cr_assert(json, "%s", q.out);
	cr_expect_eq(json_integer_value(json_object_get(json_object_get(json, "totals"), "n")), n);
	threads = json_object_get(json, "threads");
	json_array_foreach(threads, i, row)
		sum += json_integer_value(json_object_get(row, "n"));
	cr_expect_eq(sum, n, "%s", q.out);
	json_decref(json);
	program__free(&q);
	temp_dir__remove(dir);
}

Test(cli, the_lines_that_attach_shows_work_when_pasted)
{
	struct program lines;
	struct child python;
	char dir[256], *paste;

	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	start_busy_python(&python);
	program__run(&p, "GILSCOPE_STORE_DIR=%s \"$GILSCOPE\" attach %d --duration 2s", dir, (int)python.pid);
	child__stop(&python);
	cr_assert_eq(p.status, 0, "%s", p.err);
	paste = strstr(p.out, "To read it:\n");
	cr_assert(paste, "%s", p.out);
	paste += strlen("To read it:\n");
	cr_expect_eq(count_lines(paste), 4);
	for (char *line; (line = strsep(&paste, "\n")) && *line;) {
		program__run(&lines, "%s", line);
		cr_expect_eq(lines.status, 0, "%s: %s", line, lines.err);
		cr_expect(strlen(lines.out) > 5, "%s: %s", line, lines.out);
		cr_expect_null(strstr(lines.out, "ERR"));
		program__free(&lines);
	}
	temp_dir__remove(dir);
}

static size_t count_words(const char *text, const char *words)
{
	size_t n = 0;

	while ((text = strstr(text, words))) {
		text += strlen(words);
		n++;
	}
	return n;
}

Test(cli, redis_that_is_away_is_told_once_and_so_is_what_was_lost)
{
	struct child python;

	bpf_env__require();
	child__start_python(&python, "/usr/bin/python3");
	program__run(&p, "\"$GILSCOPE\" attach %d --redis unix:///nonexistent.sock -i 100ms -d 500ms", (int)python.pid);
	child__stop(&python);
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect_eq(count_words(p.err, "/nonexistent.sock: No such file or directory"), 1, "%s", p.err);
	cr_expect_eq(count_words(p.err, "samples are kept"), 1, "%s", p.err);
	cr_expect_eq(count_words(p.err, "lost") + count_words(p.err, "dropped"), 1, "%s", p.err);
	cr_expect_eq(count_lines(p.err), 3, "armed, away, dropped: %s", p.err);
}

Test(cli, key_of_another_program_is_told_as_that_and_keeps_nothing_else_back)
{
	struct private_redis redis;
	struct child python;

	bpf_env__require();
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	private_redis__ask(&redis, "SET gil:procs mine");
	child__start_python(&python, "/usr/bin/python3");
	program__run(&p, "\"$GILSCOPE\" attach %d --redis '%s' -i 100ms -d 1500ms", (int)python.pid, redis.url);
	child__stop(&python);
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect(strstr(p.err, "another program owns this key: delete or rename it; all else is written\n"), "%s", p.err);
	cr_expect_eq(count_words(p.err, "samples are kept"), 0, "%s", p.err);
	cr_expect_eq(count_words(p.err, "Redis is back"), 0, "%s", p.err);
	cr_expect_eq(count_lines(p.err), 3, "armed, refused, how often: %s", p.err);
	cr_expect_gt(private_redis__int(&redis, "ZCARD gil:menu"), 0, "the rest has arrived");
	cr_expect_str_eq(private_redis__ask(&redis, "GET gil:procs"), "mine");
	private_redis__fini(&redis);
}

Test(cli, light_mode_names_the_holders_that_meet_no_probe)
{
	static const char hog[] = "import ctypes, sys, threading, time\n"
				  "def work():\n"
				  "    print('ready', flush=True)\n"
				  "    ctypes.PyDLL(None).sleep(60)\n" /* with the GIL, so that it never queues */
				  "threading.Thread(target=work, name='hog', daemon=True).start()\n"
				  "while True: time.sleep(0.001)\n";
	char *argv[] = {(char *)"/usr/bin/python3", (char *)"-c", (char *)hog, NULL};
	struct child python;

	bpf_env__require();
	child__start(&python, argv, NULL);
	program__run(&p, "\"$GILSCOPE\" attach %d --no-store --mode light -i 1s -d 1s --json", (int)python.pid);
	child__stop(&python);
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect(strstr(p.out, "\"name\":\"hog\""), "%s", p.out);
	cr_expect_null(strstr(p.out, "(no name)"), "%s", p.out);
}

Test(cli, attach_ends_in_good_order_when_nobody_reads_on)
{
	struct child python;

	bpf_env__require();
	child__start_python(&python, "/usr/bin/python3");
	program__run(&p, "{ \"$GILSCOPE\" attach %d --no-store -i 100ms -d 30s; echo status $? >&2; } | head -n 1",
		     (int)python.pid);
	cr_expect(strstr(p.err, "status 0\n"), "%s", p.err);
	cr_expect_null(strstr(p.err, "standard output"), "%s", p.err);
	program__free(&p);
	program__run(&p, "\"$GILSCOPE\" attach %d --no-store -i 100ms -d 30s > /dev/full", (int)python.pid);
	child__stop(&python);
	cr_expect_eq(p.status, 1);
	cr_expect(strstr(p.err, "standard output: No space left on device\n"), "%s", p.err);
	cr_expect_null(strstr(strstr(p.err, "standard output") + 1, "standard output"), "said once: %s", p.err);
}

/* Starts attach on a terminal of its own; returns its master side. */
static int attach_on_terminal(pid_t target, pid_t *ret_pid)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	char pid[16];
	int master;

	snprintf(pid, sizeof(pid), "%d", (int)target);
	*ret_pid = forkpty(&master, NULL, NULL, &size);
	cr_assert(*ret_pid >= 0);
	if (*ret_pid == 0) {
		setenv("TERM", "xterm", 1);
		execl(program__path(), "gilscope", "attach", pid, "--no-store", "--interval", "100ms", (char *)NULL);
		_exit(127);
	}
	return master;
}

/* Reads on until `what` was said; what was said before stays in `all`. */
static void read_until(int fd, char *all, size_t size, const char *what)
{
	size_t len = strlen(all);
	ssize_t got;

	while (!strstr(all, what)) {
		got = read(fd, all + len, size - 1 - len);
		if (got <= 0)
			break;
		len += (size_t)got;
		all[len] = '\0';
	}
	cr_assert(strstr(all, what), "'%s' was not said: %s", what, all);
}

static bool echoes(int fd)
{
	struct termios t;

	cr_assert(tcgetattr(fd, &t) == 0);
	return t.c_lflag & ECHO;
}

static void end_on_terminal(const char *keys, int sig, int expected_status)
{
	static char all[1 << 20];
	struct child python;
	pid_t pid;
	int master, status;

	bpf_env__require();
	all[0] = '\0';
	child__start_python(&python, "/usr/bin/python3");
	master = attach_on_terminal(python.pid, &pid);
	read_until(master, all, sizeof(all), "Ctrl-C ends");
	cr_expect(strstr(all, "\033[?25l"), "the cursor is hidden while the table is painted");
	cr_expect_not(echoes(master));
	if (sig)
		kill(pid, sig);
	else
		cr_assert(write(master, keys, strlen(keys)) > 0);
	if (expected_status == 0)
		read_until(master, all, sizeof(all), "stopped by you");
	read_until(master, all, sizeof(all), "\033[?25h"); /* the cursor is shown again */
	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_expect_eq(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), expected_status);
	cr_expect(echoes(master));
	close(master);
	child__stop(&python);
}

Test(cli, ctrl_c_ends_with_a_summary_and_the_terminal_as_it_was)
{
	end_on_terminal("\003", 0, 0);
}

Test(cli, sigterm_ends_the_same_way)
{
	end_on_terminal(NULL, SIGTERM, 0);
}

Test(cli, a_fatal_signal_gives_the_terminal_back_too)
{
	end_on_terminal(NULL, SIGABRT, 128 + SIGABRT);
}
