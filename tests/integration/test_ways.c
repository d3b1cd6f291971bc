/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * doctor tells by trying which modes can be had for a process, and what the next better one takes: under filters that refuse
 * system calls, without capabilities, in a user namespace, of another user's process.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../support/interpreters.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/refusal.h"
#include "../support/workload.h"

/* A copy of the program where everybody may execute it, wherever it was built. */
static char dir[128];

static void set_up(void)
{
	temp_dir__make(dir, sizeof(dir));
	must_run("chmod 755 '%s' && cp '%s' '%s/gilscope'", dir, program__path(), dir);
	setenv("GILSCOPE_STORE_DIR", "/nonexistent", 1);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(ways, .init = set_up, .fini = tear_down, .timeout = 120);

static const int bpf_calls[] = {SYS_bpf, SYS_perf_event_open};
static const int reading = SYS_process_vm_readv;

#define NOBODY "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all -- "

/* What doctor finds for that process. */
struct found {
	struct program p;
	json_t *json;
	char modes[64];    /* "full light look" */
};

static void ask(struct found *f, const char *under, pid_t pid)
{
	const json_t *mode;
	size_t i;

	program__run(&f->p, "%s '%s/gilscope' doctor --json %d < /dev/null", under, dir, (int)pid);
	f->json = json_loads(f->p.out, 0, NULL);
	cr_assert_not_null(f->json, "%s%s", f->p.out, f->p.err);
	f->modes[0] = '\0';
	json_array_foreach(json_object_get(f->json, "modes"), i, mode)
		snprintf(f->modes + strlen(f->modes), sizeof(f->modes) - strlen(f->modes), "%s%s", i ? " " : "",
			 json_string_value(mode));
}

/* The text and the remedy of its finding of that topic; "": there is none. */
static const char *finding(const struct found *f, const char *topic)
{
	static char said[2048];
	const json_t *one;
	size_t i;

	said[0] = '\0';
	json_array_foreach(json_object_get(f->json, "findings"), i, one)
		if (strcmp(json_string_value(json_object_get(one, "topic")), topic) == 0)
			snprintf(said, sizeof(said), "%s %s", json_string_value(json_object_get(one, "text")),
				 json_string_value(json_object_get(one, "remedy")) ?: "");
	return said;
}

static void expect(const struct found *f, const char *modes, const char *says)
{
	cr_expect_str_eq(f->modes, modes, "%s", f->p.out);
	cr_expect_not_null(strstr(finding(f, "modes"), says), "%s", finding(f, "modes"));
	cr_expect_eq(json_is_true(json_object_get(f->json, "can_attach")), modes[0] != '\0');
	cr_expect_eq(f->p.status, modes[0] ? 0 : 1);
}

static void done(struct found *f)
{
	json_decref(f->json);
	program__free(&f->p);
}

static void start(struct workload *w)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(w, &stock, "release_loop.py 3");
}

/* ---- everything, and what is taken away ---- */

Test(ways, with_bpf_are_all)
{
	struct workload w;
	struct found f;

	start(&w);
	ask(&f, "", w.pid);
	expect(&f, "full light look", "full, light and look mode can be had");
	done(&f);
	workload__kill(&w);
}

Test(ways, under_a_filter_that_refuses_bpf_is_look)
{
	struct workload w;
	struct found f;

	start(&w);
	refusal__install(bpf_calls, 2, EPERM);
	ask(&f, "", w.pid);
	expect(&f, "look", "look mode alone can be had");
	cr_expect_str_eq(finding(&f, "memory"), "");
	done(&f);
	workload__kill(&w);
}

Test(ways, under_a_filter_that_refuses_reading_memory_too_is_look_by_a_file)
{
	struct workload w;
	struct found f;

	start(&w);
	refusal__install(bpf_calls, 2, EPERM);
	refusal__install(&reading, 1, EPERM);
	ask(&f, "", w.pid);
	expect(&f, "look", "look mode alone can be had");
	cr_expect_not_null(strstr(finding(&f, "memory"), "/proc/PID/mem"), "%s", f.p.out);
	done(&f);
	workload__kill(&w);
}

/* ---- other users ---- */

/* A Python of user nobody's. `undumpable`: it keeps its memory to itself. */
static void start_nobodys(struct workload *w, bool undumpable)
{
	const char *code = undumpable ? "import ctypes; ctypes.CDLL(None).prctl(4, 0); print('ready', flush=True); input()" :
					"print('ready', flush=True); input()";
	char *argv[] = {(char *)"setpriv", (char *)"--reuid", (char *)"65534", (char *)"--regid", (char *)"65534",
			(char *)"--clear-groups", (char *)"/usr/bin/python3", (char *)"-c", (char *)code, NULL};

	workload__spawn_program(w, 0, argv, NULL, NULL);
	free(workload__hear(w));
}

Test(ways, of_the_same_user_without_rights_is_look)
{
	struct workload w;
	struct found f;

	start_nobodys(&w, false);
	ask(&f, NOBODY, w.pid);
	expect(&f, "look", "look mode alone can be had");
	done(&f);
	workload__kill(&w);
}

Test(ways, of_the_same_user_who_is_not_dumpable_are_times_alone)
{
	struct workload w;
	struct found f;

	start_nobodys(&w, true);
	ask(&f, NOBODY, w.pid);
	expect(&f, "", "the states and the CPU time of its threads can be read, but not its memory");
	cr_expect_not_null(strstr(finding(&f, "modes"), "not dumpable"), "%s", finding(&f, "modes"));
	cr_expect_not_null(strstr(finding(&f, "modes"), "CAP_SYS_PTRACE (sudo) does it"), "%s", finding(&f, "modes"));
	done(&f);
	/* And so it does. */
	ask(&f, "setpriv --bounding-set -all,+sys_ptrace --inh-caps -all --", w.pid);
	expect(&f, "look", "look mode alone can be had");
	done(&f);
	workload__kill(&w);
}

Test(ways, of_another_user_are_times_alone)
{
	struct workload w;
	struct found f;

	start(&w);
	ask(&f, NOBODY, w.pid);
	expect(&f, "", "nothing of its GIL is known");
	cr_expect_not_null(strstr(finding(&f, "modes"), "It runs as user 0 and gilscope as user 65534"), "%s",
			   finding(&f, "modes"));
	done(&f);
	workload__kill(&w);
}

/* ---- in a container ---- */

/* As root of a user namespace of its own, beside a process of the same one. */
Test(ways, in_a_container_without_added_rights_is_look)
{
	struct workload w;
	struct found f;
	char under[96];
	char *argv[] = {(char *)"unshare", (char *)"--user", (char *)"--map-root-user", (char *)"/usr/bin/python3", (char *)"-c",
			(char *)"print('ready', flush=True); input()", NULL};

	workload__spawn_program(&w, 0, argv, NULL, NULL);
	free(workload__hear(&w));
	snprintf(under, sizeof(under), "nsenter --user --preserve-credentials --target %d", (int)w.pid);
	refusal__install(bpf_calls, 2, EPERM);
	ask(&f, under, w.pid);
	expect(&f, "look", "look mode alone can be had");
	done(&f);
	workload__kill(&w);
}
