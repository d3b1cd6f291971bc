/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where threads without a GIL wait for each other: against objdump on interpreters with symbols, against those on their stripped
 * copies, and on a small library whose calls are known, since a compiler's copies of functions are in no build at hand.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/plan/park_sites.h"
#include "../support/interpreters.h"
#include "../support/pythons.h"

static struct park_sites sites_of(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct park_sites sites;
	struct elffile *ef;

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(elffile__open(fd, &ef, NULL), 0, "%s", path);
	park_sites__find(ef, &sites);
	elffile__close(ef);
	close(fd);
	return sites;
}

static bool has(const struct park_sites *sites, uint64_t call)
{
	for (size_t i = 0; i < sites->n; i++)
		if (sites->at[i].call == call)
			return true;
	return false;
}

/* Calls of the park function as objdump decodes and names them; each must be a site. */
static size_t compare_with_objdump(const char *image, const struct park_sites *sites)
{
	char command[PATH_MAX + 256];
	uint64_t vaddr;
	size_t n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "objdump -d --no-show-raw-insn '%s' | sed -nE "
		 "'s/^ *([0-9a-f]+):\\s+call\\s.*<_PyParkingLot_Park(@plt|\\.[a-z.0-9]*)?>$/\\1/p'", image);
	f = popen(command, "re");
	cr_assert_not_null(f);
	for (; fscanf(f, "%" SCNx64, &vaddr) == 1; n++)
		cr_expect(has(sites, vaddr), "%s: 0x%" PRIx64, image, vaddr);
	cr_expect_eq(pclose(f), 0);
	return n;
}

static size_t count(const struct park_sites *sites, enum park_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < sites->n; i++)
		n += sites->at[i].kind == kind;
	return n;
}

static struct criterion_test_params built(bool stripped)
{
	static struct interpreter kept[INTERPRETERS_MAX];
	struct interpreter all[INTERPRETERS_MAX];
	size_t n = interpreters__without_gil(all, INTERPRETERS_MAX), kept_n = 0;

	for (size_t i = 0; i < n; i++)
		if (all[i].stripped == stripped)
			kept[kept_n++] = all[i];
	return cr_make_param_array(struct interpreter, kept, kept_n);
}

ParameterizedTestParameters(park_sites, of_an_interpreter_are_what_objdump_finds)
{
	return built(false);
}

ParameterizedTest(struct interpreter *in, park_sites, of_an_interpreter_are_what_objdump_finds)
{
	struct park_sites sites = sites_of(in->image);

	cr_expect_str_eq(sites.why_not.text, "");
	cr_expect_eq(compare_with_objdump(in->image, &sites), sites.n, "%s", in->version);
	cr_expect_eq(sites.n, in->minor == 13 ? 8 : 9, "%s: %zu", in->version, sites.n);
	cr_expect_eq(sites.jumps, 0);
	cr_expect_geq(count(&sites, PARK_OBJECT), 1);
	cr_expect_geq(count(&sites, PARK_LOCK), in->minor == 13 ? 1 : 2);
	cr_expect_geq(count(&sites, PARK_STOP), 1);
	cr_expect_geq(count(&sites, PARK_EVENT), 1);
	cr_expect_eq(count(&sites, PARK_UNTOLD), 0);
}

ParameterizedTestParameters(park_sites, of_a_stripped_interpreter_are_the_same)
{
	return built(true);
}

ParameterizedTest(struct interpreter *in, park_sites, of_a_stripped_interpreter_are_the_same)
{
	char whole[INTERPRETER_PATH], *mark;
	struct park_sites plain, sites = sites_of(in->image);

	snprintf(whole, sizeof(whole), "%s", in->image);
	mark = strstr(whole, "-stripped");
	cr_assert_not_null(mark);
	memmove(mark, mark + strlen("-stripped"), strlen(mark + strlen("-stripped")) + 1);
	plain = sites_of(whole);
	cr_assert_eq(sites.n, plain.n, "%zu and %zu", sites.n, plain.n);
	cr_expect_eq(count(&sites, PARK_STOP), 1);
	cr_expect_geq(count(&sites, PARK_OBJECT), 1);
	for (size_t i = 0; i < sites.n; i++) {
		cr_expect_eq(sites.at[i].call, plain.at[i].call);
		cr_expect_eq(sites.at[i].behind, plain.at[i].behind);
		cr_expect_eq(sites.at[i].function.start, plain.at[i].function.start);
		cr_expect(sites.at[i].kind == plain.at[i].kind || sites.at[i].kind == PARK_UNTOLD);
	}
}

Test(park_sites, an_interpreter_without_them_is_refused_in_words)
{
	struct interpreter stock;
	struct park_sites sites;
	char text[PARK_SITES_TEXT];

	interpreter__stock(&stock);
	if (stock.minor >= 13) /* it has the same locks, though it needs them less */
		return;
	sites = sites_of(stock.image);
	cr_expect_eq(sites.n, 0);
	cr_expect_str_eq(park_sites__text(&sites, text),
			 "where its threads wait for each other is not known: it does not export _PyParkingLot_Park");
}

/*
 * The shape of a build with link-time optimization: few call the exported function, the others call a copy. Its semaphores are
 * waited for by locks as well, whose callers are no sites; a tail call is none.
 */
static const char toy[] =
	"int sem_wait(void *); int sem_clockwait(void *, int, const void *);\n"
	"#define OUT __attribute__((noinline, visibility(\"default\")))\n"
	"#define IN static __attribute__((noinline, noclone, noipa))\n"
	"#ifndef WAIT\n#define WAIT semaphore\n#define MUTEX_WAIT semaphore\n#endif\n"
	"int shared;\n"
	"IN int on_platform(void *s) { int e = shared ? sem_wait(s) : sem_clockwait(s, 1, s); return e + shared; }\n"
	"IN int semaphore(void *s) { shared++; int e = on_platform(s); return e - shared; }\n"
	"IN int take_mutex(void *m) { int e = MUTEX_WAIT(m); return e ^ shared; }\n"
	"OUT int _PyParkingLot_Park(void *a) { int m = take_mutex(a); int e = WAIT(a); return e * shared + m; }\n"
	"IN int copy(void *a) { int m = take_mutex(a); int e = WAIT(a); return e * shared - m; }\n"
	"OUT int PyThread_acquire_lock_timed(void *l) { int e = sem_wait(l); return e + shared; }\n"
	"OUT int PyMutex_Lock(void *m) { int e = _PyParkingLot_Park(m); return e + shared; }\n"
	"IN int of_an_event(void *m) { int e = copy(m); return e + shared; }\n"
	"IN int of_a_queue(void *m) { int e = copy(m); int n = copy(m); return e + n + shared; }\n"
	"OUT int _PyParkingLot_Unpark(void *m) { int e = take_mutex(m); return e + shared; }\n"
	"IN int of_a_lock(void *m) { int e = PyThread_acquire_lock_timed(m); return e + shared; }\n"
	"OUT int tail(void *m) { return copy(m); }\n"
	"OUT int all(void *m) { int a = of_an_event(m), b = of_a_queue(m), c = _PyParkingLot_Unpark(m), d = of_a_lock(m);"
	" return a + b + c + d; }\n";

static void expect_sites_of_toy(const char *how)
{
	struct park_sites sites;
	char dir[PATH_MAX], path[PATH_MAX + 16], flags[160], text[PARK_SITES_TEXT];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/toy.so", dir);
	snprintf(flags, sizeof(flags), "-O2 -fno-semantic-interposition -fno-inline -fasynchronous-unwind-tables %s", how);
	must_compile(path, flags, toy);
	sites = sites_of(path);
	cr_expect_eq(sites.copies, 2, "%zu", sites.copies);
	cr_expect_eq(sites.n, 4, "%zu: %s", sites.n, sites.why_not.text);
	cr_expect_eq(sites.jumps, 1);
	cr_expect_eq(count(&sites, PARK_OBJECT), 1);
	cr_expect_str_eq(park_sites__text(&sites, text), "its threads sleep at 4 places of its code when they wait for each "
			 "other: 1 for an object's lock, 3 for what is not told");
	temp_dir__remove(dir);
}

Test(park_sites, copies_of_the_function_are_found_and_other_users_of_semaphores_left_out)
{
	expect_sites_of_toy("");
}

/* As 3.14 is built, while its mutexes still call the function. */
Test(park_sites, so_are_copies_that_wait_for_a_semaphore_themselves)
{
	expect_sites_of_toy("-DWAIT=sem_wait -DMUTEX_WAIT=on_platform");
}

Test(park_sites, a_shared_library_that_calls_itself_through_stubs_is_followed)
{
	expect_sites_of_toy("-fsemantic-interposition");
}
