/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exact counts on every interpreter of this machine and on stripped copies. The truth is the program's own: it makes N
 * calls that release the GIL, and nobody forces it out, so its threads acquire exactly N + 1 times between two gates.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/pythons.h"
#include "../support/workload.h"

#define MANY 200003

TestSuite(exact, .timeout = 300);

/* Attaches at the gate, lets it run, compares each thread's acquires with what it says of itself. */
static void expect_exact_counts(const struct interpreter *in, const char *command)
{
	struct workload w;
	struct observer o;
	json_t *truth, *threads, *thread;
	size_t i;

	workload__start(&w, in, command);
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	truth = workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	threads = json_object_get(truth, "threads");
	cr_assert_gt(json_array_size(threads), 0);
	json_array_foreach(threads, i, thread) {
		pid_t tid = (pid_t)truth__int(thread, "tid");
		const struct thread_sample *mine = observer__thread(observer__totals(&o), tid);

		cr_assert_not_null(mine, "%s: thread %d is missing", in->version, tid);
		cr_expect_eq((long long)mine->m.acquires, truth__int(thread, "acquires"),
			     "%s%s: thread %d: %llu acquires, it made %lld", in->version,
			     in->stripped ? " stripped" : "", tid, (unsigned long long)mine->m.acquires,
			     truth__int(thread, "acquires"));
		cr_expect_eq(mine->m.forced, 0);
	}
	observer__assert_lossless(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
}

Test(exact, every_interpreter_and_its_stripped_copy_acquires_n_times)
{
	struct interpreter found[INTERPRETERS_MAX], bare;
	size_t n = interpreters__find(found, INTERPRETERS_MAX);
	char dir[PATH_MAX], command[64];

	snprintf(command, sizeof(command), "release_loop.py %d --call cycle", MANY);
	for (size_t i = 0; i < n; i++) {
		expect_exact_counts(&found[i], command);
		temp_dir__make(dir, sizeof(dir));
		interpreter__strip(&found[i], dir, &bare);
		expect_exact_counts(&bare, command);
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
		expect_exact_counts(&stock, mixed_commands[i]);
}
