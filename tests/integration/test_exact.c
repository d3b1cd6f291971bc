/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every interpreter of this machine and its stripped copy. Exact counts: a program makes N calls that release the GIL, and
 * nobody forces it out, so its threads acquire exactly N + 1 times between two gates. And times: a hog clocks its holds, its
 * victim its stalls.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../support/exact_count.h"
#include "../support/hogs.h"
#include "../support/interpreters.h"
#include "../support/pythons.h"

#define MANY 200003

TestSuite(exact, .timeout = 300);

Test(exact, every_interpreter_and_its_stripped_copy_acquires_n_times)
{
	struct interpreter found[INTERPRETERS_MAX], bare;
	size_t n = interpreters__find(found, INTERPRETERS_MAX);
	char dir[PATH_MAX], command[64];

	snprintf(command, sizeof(command), "release_loop.py %d --call cycle", MANY);
	for (size_t i = 0; i < n; i++) {
		exact_count__expect(&found[i], command);
		temp_dir__make(dir, sizeof(dir));
		interpreter__strip(&found[i], dir, &bare);
		exact_count__expect(&bare, command);
		temp_dir__remove(dir);
	}
}

/* They sleep while they hold, so that all of them play at once. */
static void expect_timed(const struct interpreter *in, size_t n, const char *what)
{
	struct workload w[INTERPRETERS_MAX];

	for (size_t i = 0; i < n; i++)
		workload__start(&w[i], &in[i], "hog_victim.py 20");
	hogs__expect_all(w, in, n, what);
	for (size_t i = 0; i < n; i++)
		workload__quit(&w[i]);
}

Test(exact, every_interpreter_and_its_stripped_copy_times_a_hog_and_its_victim)
{
	struct interpreter found[INTERPRETERS_MAX], bare[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);
	char dirs[INTERPRETERS_MAX][64];

	expect_timed(found, n, "hog");
	for (size_t i = 0; i < n; i++) {
		temp_dir__make(dirs[i], sizeof(dirs[i]));
		interpreter__strip(&found[i], dirs[i], &bare[i]);
	}
	expect_timed(bare, n, "hog");
	for (size_t i = 0; i < n; i++)
		temp_dir__remove(dirs[i]);
}

/* Bytecode, ctypes and the interpreter's own releases (inlined in the distribution's build). */
static const char mixed_commands[][48] = {
	"release_loop.py 20011 --call noop",
	"release_loop.py 20011 --call stat",
	"release_loop.py 20011 --call read",
	"release_loop.py 20011 --call crc32",
	"release_loop.py 3001 32 --call noop",
	"release_loop.py 3001 32 --call read",
};

Test(exact, stock_interpreter_counts_each_kind_of_release)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	for (size_t i = 0; i < sizeof(mixed_commands) / sizeof(mixed_commands[0]); i++)
		exact_count__expect(&stock, mixed_commands[i]);
}
