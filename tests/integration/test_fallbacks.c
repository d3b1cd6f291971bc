/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interpreters whose calls of pthread_cond_* go through no PLT: either counted to the last acquire or refused in a sentence.
 * Made here: CPython and the C library in one program (link-static), a toy with another C library, and copies of the stock
 * interpreter whose imports have other names, which a small library has.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/exact_count.h"
#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define BY_SYMBOLS "call sites by symbols"

TestSuite(fallbacks, .timeout = 300);

static char dir[PATH_MAX];

static void make_dir(void)
{
	temp_dir__make(dir, sizeof(dir));
}

static void remove_dir(void)
{
	temp_dir__remove(dir);
}

/* A copy of the static interpreter in `dir`, which the shell command `with` ($P is its path) has changed. */
static struct interpreter static_python(const char *with)
{
	const char *output = getenv("GILSCOPE_OUTPUT");
	struct interpreter in;

	interpreter__stock(&in);
	snprintf(in.exe, sizeof(in.exe), "%.200s/static-python", dir);
	snprintf(in.image, sizeof(in.image), "%s", in.exe);
	strcat(in.origin, ", libc in it");
	must_run("cp '%s/static/python' '%s'; cd '%s'; P='%s'; %s", output ? output : ".output", in.exe, dir, in.exe, with);
	return in;
}

Test(fallbacks, a_linked_in_c_library_is_counted_exactly, .init = make_dir, .fini = remove_dir)
{
	struct interpreter in = static_python("true");

	exact_count__expect_by(&in, "static 200003", BY_SYMBOLS);
	exact_count__expect_by(&in, "static 3001 32", BY_SYMBOLS);
}

/* Light mode's own probes, too: it counts the waits that full mode counts beside it. */
Test(fallbacks, light_mode_works_with_a_linked_in_c_library, .init = make_dir, .fini = remove_dir)
{
	struct interpreter in = static_python("true");
	struct observer full, light;
	uint64_t seen, want;
	struct workload w;

	workload__start(&w, &in, "static 100003 8");
	observer__attach(&full, w.pid, GIL_MODE_FULL);
	observer__attach(&light, w.pid, GIL_MODE_LIGHT);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&full));
	proc_sample__free(observer__interval(&light));
	want = observer__totals(&full)->total.contended;
	seen = observer__totals(&light)->total.contended;
	cr_expect_gt(want, 10, "%" PRIu64 " waits", want);
	cr_expect_leq(seen > want ? seen - want : want - seen, want / 200 + 1, "light counts %" PRIu64 ", full %" PRIu64, seen,
		      want);
	observer__assert_lossless(observer__totals(&light));
	observer__detach(&light);
	observer__detach(&full);
	workload__quit(&w);
}

/* Where the symbols of a stripped one may be: the ways in which distributions keep them. */
static const char *const separate[] = {
	"objcopy --only-keep-debug $P x.debug && strip $P && objcopy --add-gnu-debuglink=x.debug $P",
	"mkdir .debug && objcopy --only-keep-debug $P .debug/x.debug && strip $P && "
	"objcopy --add-gnu-debuglink=.debug/x.debug $P",
	"nm -f posix $P | cut -d' ' -f1 | grep -E '^_*pthread_cond_' >names && objcopy --only-keep-debug $P packed && "
	"objcopy -S --keep-symbols=names packed && xz packed && strip $P && objcopy --add-section .gnu_debugdata=packed.xz $P",
};

Test(fallbacks, symbols_in_a_separate_file_will_do, .init = make_dir, .fini = remove_dir)
{
	for (size_t i = 0; i < sizeof(separate) / sizeof(separate[0]); i++) {
		struct interpreter in = static_python(separate[i]);

		exact_count__expect_by(&in, "static 20011 4", BY_SYMBOLS);
		must_run("rm -rf '%s'/* '%s'/.debug", dir, dir);
	}
}

/* Of probes, in one sentence, and nothing is planted. Looks need no site. */
static void expect_refused(pid_t pid, const char *part)
{
	char words[64], *err;
	struct program p;
	size_t changed;
	struct tool t;

	program__run(&p, "$GILSCOPE doctor %d", (int)pid);
	cr_expect_eq(p.status, 0);
	cr_expect(strstr(p.out, "can attach: yes, in look mode"), "%s", p.out);
	program__free(&p);
	snprintf(words, sizeof(words), "attach --mode full --no-store --duration 1s %d", (int)pid);
	cr_expect_eq(tool__run_watching(&t, words, pid, &changed), 1);
	err = tool__stderr(&t);
	cr_expect(strstr(err, part), "%s", err);
	cr_expect_eq(strchr(err, '\n'), err + strlen(err) - 1, "one line: %s", err);
	cr_expect_eq(changed, 0, "its code was written to");
	free(err);
	tool__clear(&t);
}

/* Neither an import nor a symbol: the sentence says what would help. */
Test(fallbacks, without_any_symbol_it_is_refused, .init = make_dir, .fini = remove_dir)
{
	struct interpreter in = static_python("strip $P");
	struct workload w;

	workload__start(&w, &in, "static 5");
	expect_refused(w.pid, "install its debug symbols");
	workload__go(&w);
	cr_expect_eq(truth__int(json_array_get(json_object_get(workload__truth(&w), "threads"), 0), "acquires"), 6);
	workload__quit(&w);
}

/* Linked in without the records of its functions, the C library's own calls could be anybody's. */
Test(fallbacks, a_c_library_without_proof_of_its_functions_is_refused, .init = make_dir, .fini = remove_dir)
{
	struct interpreter in = static_python("objcopy --dump-section .eh_frame=old $P && "
					      "head -c $(stat -c %s old) /dev/zero >new && "
					      "objcopy --update-section .eh_frame=new $P");
	struct workload w;

	workload__start(&w, &in, "static 5");
	expect_refused(w.pid, "cannot be told apart");
	workload__kill(&w);
}

static void expect_doctor_says(pid_t pid, const char *part)
{
	struct program p;

	program__run(&p, "$GILSCOPE doctor --json %d", (int)pid);
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect(strstr(p.out, part), "not \"%s\" but: %s", part, p.out);
	program__free(&p);
}

/* ---- another C library --------------------------------------------------------------------------------------------- */

static struct interpreter toy_python(const char *name)
{
	const char *output = getenv("GILSCOPE_OUTPUT");
	struct interpreter in = {.version = "toy"};

	snprintf(in.exe, sizeof(in.exe), "%.200s/workloads/%s", output ? output : ".output", name);
	snprintf(in.image, sizeof(in.image), "%s", in.exe);
	cr_assert_eq(access(in.exe, X_OK), 0, "%s is not built: make deps", in.exe);
	return in;
}

/* A build with -fno-plt calls through the GOT: as exact, but each call is single-stepped, and doctor says so. */
Test(fallbacks, calls_through_the_got_are_counted_exactly_and_said_to_be_dear)
{
	struct interpreter in = toy_python("toy-noplt");
	struct workload w;

	exact_count__expect_by(&in, "toy 20011 4", "call sites");
	workload__start(&w, &in, "toy 1");
	expect_doctor_says(w.pid, "4 of them cannot be emulated by the kernel and cost ten times as much");
	workload__quit(&w);
}

/* musl's functions have the same names; a toy has CPython's way of calling them. */
Test(fallbacks, calls_into_musl_are_counted_exactly)
{
	struct interpreter in = toy_python("toy-musl");

	exact_count__expect_by(&in, "toy 200003", "call sites");
	exact_count__expect_by(&in, "toy 3001 32", "call sites");
}

/* It comes without records of its functions. */
Test(fallbacks, musl_linked_in_is_refused)
{
	struct interpreter in = toy_python("toy-musl-static");
	struct workload w;

	workload__start(&w, &in, "toy 5");
	expect_refused(w.pid, "the C library is linked in without .eh_frame entries (by its .symtab): its calls and the "
		       "interpreter's cannot be told apart");
	workload__kill(&w);
}

/* ---- imports under other names ----------------------------------------------------------------------------------- */

#define HEAD "#include <pthread.h>\n"
#define CLOCKWAIT "int pthread_cond_clockwait(pthread_cond_t *, pthread_mutex_t *, int, const struct timespec *);\n"
#define SIGNAL "int qthread_cond_signal(pthread_cond_t *c) "
#define WAIT "int qthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m) "
#define TIMEDWAIT "int qthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t) "

static const char forwards[] = HEAD
	SIGNAL "{ return pthread_cond_signal(c); }\n"
	WAIT "{ return pthread_cond_wait(c, m); }\n"
	TIMEDWAIT "{ return pthread_cond_timedwait(c, m, t); }\n";

/* The same effect by other functions of the C library, which no probe is at. */
static const char avoids[] = HEAD CLOCKWAIT
	SIGNAL "{ return pthread_cond_broadcast(c); }\n"
	WAIT "{ struct timespec t = {1 << 30}; return pthread_cond_clockwait(c, m, 1, &t); }\n"
	TIMEDWAIT "{ return pthread_cond_clockwait(c, m, 1, t); }\n";

/* Waits are seen then, but nobody who takes the GIL. */
static const char half[] = HEAD
	SIGNAL "{ return pthread_cond_broadcast(c); }\n"
	WAIT "{ return pthread_cond_wait(c, m); }\n"
	TIMEDWAIT "{ return pthread_cond_timedwait(c, m, t); }\n";

/* A copy of an interpreter that calls qthread_cond_*, and the library that it finds them in. */
static struct interpreter rename_imports(const struct interpreter *in, const char *library)
{
	struct interpreter copy;
	char path[PATH_MAX + 16];

	unsetenv("LD_PRELOAD");
	interpreter__strip(in, dir, &copy);
	must_run("sed -i 's/pthread_cond_\\(signal\\|wait\\|timedwait\\)/qthread_cond_\\1/g' '%s'", copy.image);
	snprintf(path, sizeof(path), "%s/shim.so", dir);
	must_compile(path, "-Wl,--no-as-needed -lc", library); /* linked, so that the names get their versions */
	setenv("LD_PRELOAD", path, 1);
	return copy;
}

static struct interpreter renamed_python(const char *library)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	return rename_imports(&stock, library);
}

Test(fallbacks, every_interpreter_is_counted_exactly_in_the_c_library, .init = make_dir, .fini = remove_dir)
{
	struct interpreter found[INTERPRETERS_MAX], in;
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	for (size_t i = 0; i < n; i++) {
		in = rename_imports(&found[i], forwards);
		exact_count__expect_by(&in, "release_loop.py 20011 4 --call cycle", "C library entries");
	}
}

Test(fallbacks, calls_that_cannot_be_told_are_counted_exactly_in_the_c_library, .init = make_dir, .fini = remove_dir)
{
	static const char *const commands[] = {
		"release_loop.py 200003 --call cycle", "release_loop.py 20011 --call stat", "release_loop.py 20011 --call crc32",
		"release_loop.py 3001 32 --call read", "release_loop.py 3001 32 --call cycle",
	};
	struct interpreter in = renamed_python(forwards);

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		exact_count__expect_by(&in, commands[i], "C library entries");
}

Test(fallbacks, doctor_says_whether_children_can_share_the_probes, .init = make_dir, .fini = remove_dir)
{
	struct interpreter stock, in;
	struct workload w;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "release_loop.py 1");
	expect_doctor_says(w.pid, "attach --children shares these probes with its forked children");
	workload__quit(&w);
	in = renamed_python(forwards);
	workload__start(&w, &in, "release_loop.py 1");
	unsetenv("LD_PRELOAD");
	expect_doctor_says(w.pid, "attach --children cannot share probes in the C library");
	workload__quit(&w);
}

/* By doctor, and in the meta of its history. */
static void expect_noted(pid_t pid, const char *method, const char *note)
{
	char says[128];
	struct program p;

	snprintf(says, sizeof(says), "by the method \\\"%s\\\"", method);
	expect_doctor_says(pid, says);
	expect_doctor_says(pid, note);
	program__run(&p, "export GILSCOPE_STORE_DIR='%s/store'; "
		     "\"$GILSCOPE\" attach %d --duration 300ms >&2 && "
		     "\"$GILSCOPE\" store cli --raw EVAL \"return redis.call('HMGET', "
		     "redis.call('KEYS', 'gil:{*:'..ARGV[1]..':*}:meta')[1], 'method', 'notes')\" 0 %d",
		     dir, (int)pid, (int)pid);
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect_eq(strncmp(p.out, method, strlen(method)), 0, "%s", p.out);
	cr_expect(strstr(p.out, note), "not \"%s\" but: %s", note, p.out);
	program__free(&p);
}

Test(fallbacks, what_each_cannot_see_is_said_and_stored, .init = make_dir, .fini = remove_dir)
{
	struct interpreter in = static_python("true");
	struct workload w;

	workload__start(&w, &in, "static 1");
	expect_noted(w.pid, BY_SYMBOLS, "the C library is linked in, its .symtab tells where: nothing is missed, and a probe "
		     "costs no more");
	workload__quit(&w);
	in = renamed_python(forwards);
	workload__start(&w, &in, "release_loop.py 1");
	unsetenv("LD_PRELOAD");
	expect_noted(w.pid, "C library entries", "the probes are in the C library, where every pthread_cond call of the process "
		     "meets them; no light mode, and nothing is seen of an interpreter that has other condition variables");
	workload__quit(&w);
}

static void expect_blind(const char *library)
{
	struct interpreter in = renamed_python(library);
	struct proc_sample *s;
	struct workload w;
	struct observer o;

	workload__start(&w, &in, "release_loop.py 20011 4 --call cycle");
	unsetenv("LD_PRELOAD");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	s = observer__interval(&o);
	cr_expect_gt(s->observed_ns, 0, "nothing has happened yet");
	proc_sample__free(s);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	s = observer__interval(&o);
	cr_expect(o.proc.blind && !o.proc.sighted);
	cr_expect_eq(s->observed_ns, 0);
	proc_sample__free(s);
	observer__detach(&o);
	workload__quit(&w);
}

Test(fallbacks, what_is_not_seen_is_not_observed, .init = make_dir, .fini = remove_dir)
{
	expect_blind(avoids);
	expect_blind(half);
}

/*
 * Threads that take the GIL from each other all the time, beside others that wait on conditions of their own. A waiter that
 * times out just when it is woken passes the signal on, from inside the C library: that is no release.
 */
Test(fallbacks, what_the_c_library_signals_itself_is_no_release, .init = make_dir, .fini = remove_dir)
{
	struct interpreter in = renamed_python(forwards);
	struct workload w;
	struct observer o;

	workload__start(&w, &in, "condvar_idle.py 4 --pollers 2 --contenders 8 --switch-interval 0.00002");
	unsetenv("LD_PRELOAD");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	workload__go(&w);
	workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	cr_expect_gt(observer__totals(&o)->total.contended, 1000);
	observer__assert_lossless(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
}
