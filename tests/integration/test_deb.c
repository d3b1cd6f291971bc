/* SPDX-License-Identifier: GPL-2.0-only */
/* The Debian package: lintian has nothing against it, dpkg installs and purges it, and bash completes what it brings. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/program.h"
#include "../support/pythons.h"

static char dir[128], package[192];

/* Of the program as it is built: a test builds nothing. */
static void set_up(void)
{
	struct program p;

	temp_dir__make(dir, sizeof(dir));
	snprintf(package, sizeof(package), "%s/gilscope.deb", dir);
	program__run(&p, "make -s -o \"$(dirname $GILSCOPE)/gilscope\" OUTPUT=\"$(dirname $GILSCOPE)\" PREFIX=/usr "
		     "DESTDIR=%s/tree install && cli/package/make-deb %s/tree 1.2.3 %s", dir, dir, package);
	cr_assert_eq(p.status, 0, "%s%s", p.out, p.err);
	program__free(&p);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(deb, .init = set_up, .fini = tear_down, .timeout = 300);

static void expect(const char *wanted, const char *command)
{
	struct program p;

	program__run(&p, "%s", command);
	cr_expect_str_eq(p.out, wanted, "%s\nsays:\n%s%s", command, p.out, p.err);
	program__free(&p);
}

Test(deb, lintian_finds_no_error_and_no_warning)
{
	char command[640];

	snprintf(command, sizeof(command), "lintian --allow-root --fail-on error,warning %s >%s/said 2>&1 || cat %s/said",
		 package, dir, dir);
	expect("", command);
}

Test(deb, needs_the_libraries_that_the_program_is_linked_with_and_loads)
{
	static const char *const needed[] = {"libbpf", "libhiredis", "libjansson", "libelf", "libdw", "libncursesw",
					     "libcapstone"};
	struct program p;

	program__run(&p, "dpkg-deb -f %s Depends", package);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		cr_expect_not_null(strstr(p.out, needed[i]), "%s: %s", needed[i], p.out);
	program__free(&p);
	program__run(&p, "dpkg-deb -f %s Recommends", package);
	cr_expect_not_null(strstr(p.out, "redis-server"), "%s", p.out);
	cr_expect_not_null(strstr(p.out, "libmicrohttpd12"), "%s", p.out);
	program__free(&p);
}

Test(deb, is_installed_upgraded_removed_and_purged)
{
	char command[320];

	snprintf(command, sizeof(command), "tests/support/try-deb %s 2>&1 | sed 's/gilscope [0-9.]*$/gilscope VERSION/'",
		 package);
	expect("installed: gilscope VERSION\n"
	       "enabled: yes\n"
	       "unit: correct\n"
	       "upgraded: /etc/gilscope/gilscope.conf: correct, interval = 2s\n"
	       "removed: /etc/gilscope /etc/systemd/system/multi-user.target.wants/gilscope.service \n"
	       "purged: \n", command);
}

/* What bash offers for these words, the last of which is being typed. */
static void expect_completed(const char *words, const char *wanted)
{
	char command[640];

	snprintf(command, sizeof(command), "PATH=\"$(dirname $GILSCOPE):$PATH\" bash -c '. cli/package/bash-completion; "
		 "COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _gilscope; echo ${COMPREPLY[@]}'", words);
	expect(wanted, command);
}

Test(deb, bash_completes_verbs_and_the_options_of_each)
{
	expect_completed("gilscope at", "attach\n");
	expect_completed("gilscope st", "store status\n");
	expect_completed("gilscope -v dae", "daemon\n");
	expect_completed("gilscope attach --metr", "--metrics --metrics-series\n");
	expect_completed("gilscope query --metr", "--metric\n");
	expect_completed("gilscope daemon --check", "--check-config\n");
}
