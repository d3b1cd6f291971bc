/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exact counts on every interpreter of this machine and on stripped copies. The truth is the program's own: it makes N
 * calls that release the GIL, and nobody forces it out, so its threads acquire exactly N + 1 times between two gates.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../support/exact_count.h"
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
