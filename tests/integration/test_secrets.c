/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Passwords on gilscope's command line and in its environment: as others see its process, and as the program that it runs has
 * them.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/bpf_env.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/workload.h"

TestSuite(secrets, .init = bpf_env__require, .timeout = 60);

#define SECRET "hush3"

static void expect_no_secret(pid_t pid, const char *file)
{
	must_run("test -n \"$(tr -d '\\0' </proc/%d/%s)\" && ! grep -q " SECRET " /proc/%d/%s", (int)pid, file, (int)pid, file);
}

Test(secrets, neither_command_line_nor_environment_shows_them)
{
	struct interpreter stock;
	struct workload w;
	struct tool t;
	char words[160];

	setenv("GILSCOPE_REDIS_PASSWORD", SECRET "-1", 1);
	setenv("REDISCLI_AUTH", SECRET "-2", 1);
	setenv("GILSCOPE_REDIS", "redis://:" SECRET "-3@127.0.0.1:1", 1);
	interpreter__stock(&stock);
	workload__start(&w, &stock, "cpu_threads.py 2 60");
	workload__go(&w);
	snprintf(words, sizeof(words), "attach %d --redis redis://user:" SECRET "@127.0.0.1:1/2", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed in");
	expect_no_secret(t.pid, "cmdline");
	expect_no_secret(t.pid, "environ");
	must_run("tr '\\0' ' ' </proc/%d/cmdline | grep -q -- '--redis redis://user:[*]*@127.0.0.1:1/2 $'", (int)t.pid);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 20), 0);
	tool__clear(&t);
	workload__kill(&w);
}

/* Of a process that its user may look into the kernel says that its files are that user's. */
Test(secrets, its_own_user_reads_no_memory)
{
	struct program p;
	char dir[64];

	temp_dir__make(dir, sizeof(dir));
	must_run("chmod 711 %s && cp '%s' %s/gilscope && install -d -o 65534 -m 700 %s/store", dir, program__path(), dir, dir);
	program__run(&p, "GILSCOPE_STORE_DIR=%s/store setpriv --reuid=65534 --regid=65534 --clear-groups "
		     "%s/gilscope store serve >%s/url & while ! [ -s %s/url ]; do sleep 0.05; done; "
		     "stat -c %%u /proc/$!/environ; kill $!; wait", dir, dir, dir, dir);
	cr_expect_str_eq(p.out, "0\n", "%s %s", p.out, p.err);
	program__free(&p);
	temp_dir__remove(dir);
}

/* What was meant for it is its own. */
Test(secrets, program_that_run_starts_gets_them_as_they_were)
{
	struct program p;

	program__run(&p, "REDISCLI_AUTH=" SECRET " GILSCOPE_REDIS=unix:///nonexistent \"$GILSCOPE\" run --no-store -- "
		     "/usr/bin/python3 -c 'import os, sys; "
		     "print(os.environ[\"REDISCLI_AUTH\"], os.environ[\"GILSCOPE_REDIS\"], sys.argv[1])' "
		     "redis://:pass@host");
	cr_expect_str_eq(p.out, SECRET " unix:///nonexistent redis://:pass@host\n", "%s%s", p.out, p.err);
	program__free(&p);
}
