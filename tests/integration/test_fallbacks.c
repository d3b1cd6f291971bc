/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interpreters whose calls of pthread_cond_* go through no PLT: either counted to the last acquire or refused in a sentence.
 * What they are made of: link-static (CPython and the C library in one program).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../support/exact.h"
#include "../support/interpreters.h"
#include "../support/program.h"
#include "../support/pythons.h"
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
	struct interpreter in = {.version = "static"};

	snprintf(in.exe, sizeof(in.exe), "%.200s/static-python", dir);
	must_run("cp '%s/static/python' '%s'; cd '%s'; P='%s'; %s", output ? output : ".output", in.exe, dir, in.exe, with);
	return in;
}

Test(fallbacks, a_linked_in_c_library_is_counted_exactly, .init = make_dir, .fini = remove_dir)
{
	struct interpreter in = static_python("true");

	exact__expect_by(&in, "static 200003", BY_SYMBOLS);
	exact__expect_by(&in, "static 3001 32", BY_SYMBOLS);
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

		exact__expect_by(&in, "static 20011 4", BY_SYMBOLS);
		must_run("rm -rf '%s'/* '%s'/.debug", dir, dir);
	}
}

/* Neither an import nor a symbol: nothing is planted, and the sentence says what would help. */
Test(fallbacks, without_any_symbol_it_is_refused, .init = make_dir, .fini = remove_dir)
{
	struct interpreter in = static_python("strip $P");
	struct workload w;
	struct program p;

	workload__start(&w, &in, "static 5");
	program__run(&p, "$GILSCOPE doctor %d", (int)w.pid);
	cr_expect_eq(p.status, 1);
	cr_expect(strstr(p.out, "can attach: no"), "%s", p.out);
	program__free(&p);
	program__run(&p, "$GILSCOPE attach --no-store --duration 1s %d", (int)w.pid);
	cr_expect_eq(p.status, 1);
	cr_expect(strstr(p.err, "install its debug symbols"), "%s", p.err);
	program__free(&p);
	workload__go(&w);
	cr_expect_eq(truth__int(json_array_get(json_object_get(workload__truth(&w), "threads"), 0), "acquires"), 6);
	workload__quit(&w);
}
