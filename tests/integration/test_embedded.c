/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Python inside something else: servers, C programs and programs in one file. Each is found by the mapped image that defines
 * _PyRuntime, whatever the process is called; its own threads are counted exactly; and `ls` shows it under a name that a person
 * knows it by.
 */
#include <criterion/criterion.h>
#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/exact.h"
#include "../support/hogs.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/observer.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/server.h"

#define CALLS 2003
#define HOLDS "12"
#define WORKERS_MAX 4

TestSuite(embedded, .init = bpf_env__require, .timeout = 300);

/* ---- how they are shown ---- */

/* A label that ends in "*" stands for all that begin like it. */
static void expect_label(const char *seen, const char *label)
{
	size_t len = strlen(label);

	if (label[len - 1] == '*')
		cr_expect_eq(strncmp(seen, label, len - 1), 0, "%s is not like %s", seen, label);
	else
		cr_expect_str_eq(seen, label);
}

static void expect_listed(pid_t pid, const char *label)
{
	json_t *row = exact__listed(pid);

	expect_label(json_string_value(json_object_get(row, "label")), label);
	cr_expect(json_is_true(json_object_get(row, "can_probe")), "%s: %s", label,
		  json_string_value(json_object_get(row, "probe")));
	json_decref(row);
}

/* ---- servers ---- */

static void require(const char *path)
{
	cr_assert_eq(access(path, R_OK), 0, "%s is not installed: make deps", path);
}

/* What people pick a process by, in Redis: one entry per worker. */
static void expect_in_menu(const struct workload *w, size_t workers, const char *label)
{
	char part[256];
	struct program p;

	program__run(&p, "\"$GILSCOPE\" store cli --raw ZREVRANGE gil:menu 0 -1");
	for (size_t i = 0; i < workers; i++) {
		const char *entry;

		snprintf(part, sizeof(part), ":%d:", (int)w[i].pid);
		entry = strstr(p.out, part);
		cr_assert_not_null(entry, "process %d is not in the menu: %s%s", (int)w[i].pid, p.out, p.err);
		snprintf(part, sizeof(part), "%.*s", (int)strcspn(strchr(entry, '|') + 1, "\n"), strchr(entry, '|') + 1);
		*strrchr(part, '(') = '\0';
		part[strlen(part) - 1] = '\0'; /* "<label> (host:pid)" */
		expect_label(part, label);
	}
	program__free(&p);
}

/* Attaches to all workers of the server at once; each is called `label`. */
static void expect_exact_workers(struct server *s, size_t workers, const char *label)
{
	struct workload w[WORKERS_MAX];
	struct exact e;
	char store[192];

	snprintf(store, sizeof(store), "%s/store", s->dir);
	setenv("GILSCOPE_STORE_DIR", store, 1);
	for (size_t i = 0; i < workers; i++)
		server__accept(s, &w[i]);
	for (size_t i = 0; i < workers; i++)
		expect_listed(w[i].pid, label);
	exact__attach(&e, w, workers, NULL, "");
	exact__expect(&e);
	expect_in_menu(w, workers, label);
	for (size_t i = 0; i < workers; i++) {
		expect_label(json_string_value(json_object_get(exact__summary(&e, w[i].pid), "label")), label);
		workload__quit(&w[i]);
	}
	exact__end(&e);
}

static const char *const uwsgi[] = {
	"/usr/bin/uwsgi", "--plugin", "python3", "--http-socket", "%s/http", "--wsgi-file", "%s/served.py", "--master",
	"--processes", "2", "--threads", "3", NULL,
};

/* In each worker one request is a hog and the others are its victims. */
static void expect_timed_workers(const char *const argv[], int requests, size_t workers)
{
	struct interpreter stock[WORKERS_MAX];
	struct workload w[WORKERS_MAX];
	struct server s;

	setenv("GILSCOPE_HOLDS", HOLDS, 1);
	server__prepare(&s, 3, 0);
	server__start(&s, argv);
	for (int i = 0; i < requests; i++)
		server__request(&s);
	for (size_t i = 0; i < workers; i++) {
		interpreter__stock(&stock[i]);
		server__accept(&s, &w[i]);
	}
	hogs__expect_all(w, stock, workers, NULL);
	for (size_t i = 0; i < workers; i++)
		workload__quit(&w[i]);
	server__stop(&s);
}

Test(embedded, uwsgi_workers_are_timed)
{
	require("/usr/lib/uwsgi/plugins/python3_plugin.so");
	expect_timed_workers(uwsgi, 6, 2);
}

Test(embedded, uwsgi_with_two_workers_of_three_threads)
{
	struct server s;

	require("/usr/lib/uwsgi/plugins/python3_plugin.so");
	server__prepare(&s, 3, CALLS);
	server__start(&s, uwsgi);
	for (int i = 0; i < 6; i++)
		server__request(&s);
	expect_exact_workers(&s, 2, "uwsgi served.py");
	server__stop(&s);
}

Test(embedded, gunicorn_with_two_sync_workers)
{
	static const char *const argv[] = {
		"/usr/bin/gunicorn", "--bind", "unix:%s/http", "--chdir", "%s", "--workers", "2", "served:application", NULL,
	};
	struct server s;

	require(argv[0]);
	server__prepare(&s, 1, CALLS);
	server__start(&s, argv);
	for (int i = 0; i < 2; i++)
		server__request(&s);
	expect_exact_workers(&s, 2, "gunicorn: worker [served:application]");
	server__stop(&s);
}

static const char *const gunicorn[] = {
	"/usr/bin/gunicorn", "--bind", "unix:%s/http", "--chdir", "%s", "--worker-class", "gthread", "--threads", "3",
	"--name", "shop", "served:application", NULL,
};

Test(embedded, gunicorn_worker_is_timed)
{
	require(gunicorn[0]);
	expect_timed_workers(gunicorn, 3, 1);
}

static pid_t parent_of(pid_t pid)
{
	char path[64];
	int parent = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	cr_assert(f && fscanf(f, "%*d (%*[^)]) %*c %d", &parent) == 1, "%s", path);
	fclose(f);
	return parent;
}

/* What was seen of each adds up to what is said of all. */
static void expect_sum(const struct exact *e)
{
	char *out = tool__stdout(&e->tool);
	json_t *lines = json_lines__parse(out), *line;
	json_int_t n = 0;
	size_t i, sums = 0;

	json_array_foreach(lines, i, line) {
		const char *type = json_string_value(json_object_get(line, "type"));

		if (strcmp(type, "summary") == 0)
			n += json__int(line, "process.n");
		if (strcmp(type, "sum_summary") != 0)
			continue;
		sums++;
		cr_expect_eq(json__int(line, "processes"), 5);
		cr_expect_eq(json__int(line, "process.n"), n);
	}
	cr_expect_eq(sums, 1);
	json_decref(lines);
	free(out);
}

/* The same, of what Redis has. */
static void expect_stored_sum(pid_t root)
{
	json_t *answer, *rows;
	struct program p;
	json_int_t n = 0;

	program__run(&p, "\"$GILSCOPE\" query %d --tree --json --since 1h", (int)root);
	cr_expect_eq(p.status, 0, "%s", p.err);
	answer = json_loads(p.out, 0, NULL);
	rows = json_object_get(answer, "processes");
	cr_assert_eq(json_array_size(rows), 6, "five and their sum: %s", p.out);
	for (size_t i = 0; i < 5; i++)
		n += json__int(json_array_get(rows, i), "n");
	cr_expect_eq(json__int(json_array_get(rows, 5), "n"), n, "%s", p.out);
	json_decref(answer);
	program__free(&p);
}

/* One command for the whole service: each worker exactly, and their sum, on screen and in Redis. */
Test(embedded, gunicorn_tree_of_four_workers_is_shown_one_by_one_and_in_sum)
{
	static const char *const argv[] = {
		"/usr/bin/gunicorn", "--bind", "unix:%s/http", "--chdir", "%s", "--workers", "4", "served:application", NULL,
	};
	struct workload w[WORKERS_MAX];
	struct exact e = {.workloads = w, .n = 4};
	char words[96], store[192], said[32];
	struct server s;
	pid_t master;

	require(argv[0]);
	server__prepare(&s, 1, CALLS);
	snprintf(store, sizeof(store), "%s/store", s.dir);
	setenv("GILSCOPE_STORE_DIR", store, 1);
	server__start(&s, argv);
	for (int i = 0; i < 4; i++)
		server__request(&s);
	for (int i = 0; i < 4; i++)
		server__accept(&s, &w[i]);
	master = parent_of(w[0].pid);
	snprintf(words, sizeof(words), "attach %d --children --mode full --interval 10s --json -v", (int)master);
	tool__start(&e.tool, words);
	for (int i = 0; i < 4; i++) {
		snprintf(said, sizeof(said), "(pid %d)", (int)w[i].pid);
		tool__await(&e.tool, said);
	}
	exact__expect(&e);
	expect_sum(&e);
	expect_stored_sum(master);
	for (int i = 0; i < 4; i++)
		workload__quit(&w[i]);
	exact__end(&e);
	server__stop(&s);
}

Test(embedded, gunicorn_with_a_worker_of_three_threads)
{
	struct server s;

	require(gunicorn[0]);
	server__prepare(&s, 3, CALLS);
	server__start(&s, gunicorn);
	for (int i = 0; i < 3; i++)
		server__request(&s);
	expect_exact_workers(&s, 1, "gunicorn: worker [shop]");
	server__stop(&s);
}

/* Of nobody's, so that it changes no user and a system's own Apache is nothing to it. */
static const char *const apache[] = {
	"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "/usr/sbin/apache2", "-f", "%s/apache.conf",
	"-DFOREGROUND", NULL,
};

static const char apache_conf[] =
	"ServerRoot %1$s\n"
	"DefaultRuntimeDir %1$s\n"
	"PidFile %1$s/apache.pid\n"
	"ErrorLog %1$s/log\n"
	"ServerName localhost\n"
	"Listen 127.0.0.1:8080\n"
	"LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n"
	"LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n"
	"LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so\n"
	"StartServers 1\nServerLimit 1\nThreadLimit 4\nThreadsPerChild 4\nMaxRequestWorkers 4\n"
	"MinSpareThreads 1\nMaxSpareThreads 4\n"
	"WSGISocketPrefix %1$s/wsgi\n"
	"WSGIScriptAlias / %1$s/served.py\n"
	"<Directory %1$s>\nRequire all granted\n</Directory>\n"
	"%2$s";

static void start_apache(struct server *s, const char *more)
{
	char path[192], conf[4096];

	require("/usr/lib/apache2/modules/mod_wsgi.so");
	server__own_network();
	snprintf(path, sizeof(path), "%s/apache.conf", s->dir);
	snprintf(conf, sizeof(conf), apache_conf, s->dir, more);
	must_write(path, conf, strlen(conf));
	server__start(s, apache);
}

Test(embedded, mod_wsgi_with_two_daemon_processes_of_two_threads)
{
	char more[256];
	struct server s;

	server__prepare(&s, 2, CALLS);
	snprintf(more, sizeof(more), "WSGIDaemonProcess shop processes=2 threads=2 display-name=%%{GROUP} home=%s\n"
		 "WSGIProcessGroup shop\n", s.dir);
	start_apache(&s, more);
	for (int i = 0; i < 4; i++)
		server__request_port(&s);
	expect_exact_workers(&s, 2, "(wsgi:shop)");
	server__stop(&s);
}

Test(embedded, mod_wsgi_inside_the_servers_own_process)
{
	struct server s;

	server__prepare(&s, 3, CALLS);
	start_apache(&s, "");
	for (int i = 0; i < 3; i++)
		server__request_port(&s);
	expect_exact_workers(&s, 1, "apache2");
	server__stop(&s);
}

/* Its broker is a directory. Each task goes to a process of the pool, or to a thread. */
static void expect_exact_celery(const char *pool, int threads, size_t workers, const char *label)
{
	const char *const argv[] = {
		"/usr/bin/python3", "-m", "celery", "--workdir", "%s", "-A", "served_celery", "worker", "-n", "shop@here",
		"-P", pool, "-c", pool[0] == 'p' ? "2" : "3", "--without-gossip", "--without-mingle", NULL,
	};
	char broker[192];
	struct server s;

	require("/usr/lib/python3/dist-packages/celery/__init__.py");
	server__prepare(&s, threads, CALLS);
	snprintf(broker, sizeof(broker), "%s/broker", s.dir);
	must_run("mkdir '%s' && cp tests/workloads/served_celery.py '%s'", broker, s.dir);
	setenv("GILSCOPE_BROKER", broker, 1);
	setenv("C_FORCE_ROOT", "1", 1);
	server__start(&s, argv);
	must_run("/usr/bin/python3 '%s/served_celery.py' %zu", s.dir, (size_t)threads * workers);
	expect_exact_workers(&s, workers, label);
	server__stop(&s);
}

Test(embedded, celery_with_two_processes)
{
	expect_exact_celery("prefork", 1, 2, "celeryd: shop@here:ForkPoolWorker-*");
}

Test(embedded, celery_with_three_threads)
{
	expect_exact_celery("threads", 3, 1, "celeryd: shop@here:MainProcess");
}

/* ---- programs ---- */

static const char *built(const char *name)
{
	static char path[4096];
	const char *output = getenv("GILSCOPE_OUTPUT");

	snprintf(path, sizeof(path), "%s/workloads/%s", output ? output : ".output", name);
	return path;
}

static void expect_exact_program(char *const argv[], const char *label)
{
	struct workload w;
	struct exact e;

	workload__spawn_program(&w, 0, argv, NULL, NULL);
	workload__await_ready(&w);
	expect_listed(w.pid, label);
	exact__attach(&e, &w, 1, NULL, "--no-store");
	exact__expect(&e);
	exact__end(&e);
	workload__quit(&w);
}

Test(embedded, c_program_with_libpython)
{
	char *argv[] = {(char *)built("embed"), (char *)"20011", (char *)"3", NULL};

	expect_exact_program(argv, "embed");
}

Test(embedded, c_program_with_libpython_linked_into_it)
{
	char *argv[] = {(char *)built("embed-static"), (char *)"20011", (char *)"3", NULL};

	expect_exact_program(argv, "embed-static");
}

/* A copy of hidden/ in `dir`, to which a shell command has done something ($L is its library). Returns its program. */
static char *hidden_in(const char *dir, const char *with)
{
	static char path[4200];

	must_run("cp -r '%s' '%s/hidden' && L='%s/hidden/libplugin.so' && %s", built("hidden"), dir, dir, with);
	snprintf(path, sizeof(path), "%s/hidden/host", dir);
	return path;
}

/* A plug-in that has CPython linked in and exports nothing of it: found by its section, stripped or not. */
Test(embedded, library_that_keeps_its_python_to_itself)
{
	static const char *const ways[] = {"true", "strip \"$L\""};
	char dir[64];

	for (size_t i = 0; i < 2; i++) {
		char *argv[] = {NULL, (char *)"20011", (char *)"3", NULL};

		temp_dir__make(dir, sizeof(dir));
		argv[0] = hidden_in(dir, ways[i]);
		expect_exact_program(argv, "host");
		temp_dir__remove(dir);
	}
}

/* Without its section headers, too, nothing is left to know it by. */
Test(embedded, library_in_which_nothing_tells_of_a_python_is_refused)
{
	char dir[64], words[64], *err, *argv[] = {NULL, (char *)"20011", (char *)"3", NULL};
	struct workload w;
	size_t changed;
	struct tool t;

	temp_dir__make(dir, sizeof(dir));
	argv[0] = hidden_in(dir, "strip \"$L\" && dd if=/dev/zero of=\"$L\" bs=1 seek=40 count=8 conv=notrunc 2>/dev/null && "
			    "dd if=/dev/zero of=\"$L\" bs=1 seek=60 count=4 conv=notrunc 2>/dev/null");
	workload__spawn_program(&w, 0, argv, NULL, NULL);
	workload__await_ready(&w);
	snprintf(words, sizeof(words), "attach %d --no-store --duration 1s", (int)w.pid);
	cr_expect_eq(tool__run_watching(&t, words, w.pid, &changed), 1);
	err = tool__stderr(&t);
	cr_expect(strstr(err, "is not a CPython process: no file that it runs defines _PyRuntime"), "%s", err);
	cr_expect_eq(changed, 0, "its code was written to");
	free(err);
	tool__clear(&t);
	workload__kill(&w);
	temp_dir__remove(dir);
}

/* Like a server that starts its interpreter with the first request: what it links is there, what it counts is not yet. */
Test(embedded, c_program_that_starts_its_interpreter_later)
{
	char *argv[] = {(char *)built("embed"), (char *)"20011", (char *)"3", (char *)"late", NULL};
	struct workload w;
	json_t *row;

	workload__spawn_program(&w, 0, argv, NULL, NULL);
	workload__await_ready(&w);
	row = exact__listed(w.pid);
	cr_expect_str_eq(json_string_value(json_object_get(row, "gil")), "not started");
	json_decref(row);
	workload__kill(&w);
	expect_exact_program(argv, "embed");
}

static void start_onefile(struct workload *w, const struct interpreter *in, const char *way)
{
	char *argv[] = {(char *)built("onefile"), (char *)way, (char *)in->image, (char *)"tests/workloads/release_loop.py",
			(char *)"20011", (char *)"2", (char *)"--call", (char *)"noop", NULL};

	setenv("PYTHONHOME", in->prefix, 1);
	workload__spawn_program(w, 0, argv, NULL, NULL);
	workload__await_ready(w);
}

/* The distribution's own Python once more, as the library that stands beside its executable. */
static void use_library(struct interpreter *in)
{
	char pattern[PATH_MAX];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "/usr/lib/*/libpython3.%d.so.1.0", in->minor);
	cr_assert_eq(glob(pattern, 0, NULL, &found), 0, "%s is missing (make deps)", pattern);
	snprintf(in->image, sizeof(in->image), "%s", found.gl_pathv[0]);
	globfree(&found);
}

/* Its file has no name any more, or never had one (memfd). */
Test(embedded, programs_in_one_file_whose_interpreter_is_deleted)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX - 1), started = 0;
	struct workload w[2 * INTERPRETERS_MAX];
	struct exact e;

	interpreter__stock(&found[n]);
	use_library(&found[n++]);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(found[i].image, found[i].exe) == 0)
			continue;
		start_onefile(&w[started++], &found[i], "unlink");
		start_onefile(&w[started++], &found[i], "memfd");
	}
	expect_listed(w[0].pid, "onefile");
	expect_listed(w[1].pid, "onefile");
	exact__attach(&e, w, started, NULL, "--no-store");
	exact__expect(&e);
	for (size_t i = 0; i < started; i++)
		workload__quit(&w[i]);
	exact__end(&e);
}

/* ---- an interpreter that ends, and another one ---- */

static void expect_word(struct workload *w, const char *word)
{
	char *line = workload__hear(w);

	cr_assert_str_eq(line, word);
	free(line);
}

/* Python is asked for its next step, and does it. */
static void next_step(struct workload *w, const char *word)
{
	workload__go(w);
	expect_word(w, word);
}

static struct metrics interval_of(struct observer *o, uint64_t *ret_observed_ns)
{
	struct proc_sample *s = observer__interval(o);
	struct metrics m = {.hold_ns = s->total.hold_ns, .wait_ns = s->total.wait_ns, .acquires = s->total.acquires};

	cr_expect_eq(s->lost[GIL_LOSS_WENT_BACK], 0);
	*ret_observed_ns = s->observed_ns;
	proc_sample__free(s);
	return m;
}

static bool has_one_thread(void *arg)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)*(pid_t *)arg);
	return stat(path, &st) == 0 && st.st_nlink == 3;
}

/*
 * Nobody holds a GIL, or waits for one, where there is no interpreter; and that is known. Its daemon threads waited at its end,
 * and are gone once each has had the GIL for a last time.
 */
static void expect_nothing(struct observer *o)
{
	uint64_t observed;
	struct metrics m;

	cr_assert(eventually(has_one_thread, &o->proc.target->pid, 60000), "its threads do not end");
	interval_of(o, &observed); /* in which it ended */
	usleep(100000);
	m = interval_of(o, &observed);
	cr_expect_eq(m.hold_ns, 0);
	cr_expect_eq(m.wait_ns, 0);
	cr_expect_eq(m.acquires, 0);
	cr_expect_gt(observed, 0);
}

/* Threads that spin. */
static void expect_busy(struct observer *o)
{
	uint64_t observed;
	struct metrics m;

	interval_of(o, &observed);
	usleep(300000);
	m = interval_of(o, &observed);
	cr_expect_gt(m.hold_ns, observed / 2);
	cr_expect_leq(m.hold_ns, observed);
	cr_expect_leq(m.wait_ns, 3 * observed);
}

Test(embedded, nobody_has_a_gil_between_two_interpreters)
{
	char *argv[] = {(char *)built("reinit"), (char *)"3", NULL};
	struct observer o;
	struct workload w;

	workload__spawn_program(&w, 0, argv, NULL, NULL);
	workload__await_ready(&w);
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	expect_busy(&o);
	for (int round = 0; round < 2; round++) {
		next_step(&w, "finalized");
		expect_nothing(&o);
		next_step(&w, "running");
		expect_busy(&o);
	}
	observer__detach(&o);
	workload__kill(&w);
}

Test(embedded, attaching_between_two_interpreters_finds_no_holder)
{
	char *argv[] = {(char *)built("reinit"), (char *)"2", NULL};
	struct observer o;
	struct workload w;

	workload__spawn_program(&w, 0, argv, NULL, NULL);
	workload__await_ready(&w);
	next_step(&w, "finalized");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	expect_nothing(&o);
	next_step(&w, "running");
	expect_busy(&o);
	observer__detach(&o);
	workload__kill(&w);
}
