/* SPDX-License-Identifier: GPL-2.0-only */
/* C functions by the names that Python has for them: of interpreters with symbols, which say where the functions are. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include "collector/cpython/method_names.h"
#include "../support/interpreters.h"

static const struct expected {
	const char *symbol, *name;
} expected[] = {
	{"builtin_sorted", "builtins.sorted"}, {"os_fork", "posix.fork"}, {"builtin_compile", "builtins.compile"},
	{"list_sort", "list.sort"}, {"dict_keys", NULL}, {"_PyEval_EvalFrameDefault", NULL}, {"PyObject_Call", NULL},
};

#define EXPECTED (sizeof(expected) / sizeof(expected[0]))

/* How many of those that have a symbol of this very name have that name in Python. Statics of one name: none is asked. */
static size_t check(struct elffile *ef, const char *image)
{
	struct method_names *m = method_names__new(ef);
	size_t found = 0;

	for (size_t i = 0; i < EXPECTED; i++) {
		uint64_t at[2];
		const char *name;

		if (elffile__functions(ef, expected[i].symbol, at, 0, 2) != 1)
			continue;
		name = method_names__at(m, at[0]);
		if (!expected[i].name) {
			cr_expect(!name || strcmp(name, "dict.keys") == 0, "%s: %s is %s", image, expected[i].symbol, name);
			continue;
		}
		cr_expect(name && strcmp(name, expected[i].name) == 0, "%s: %s is %s", image, expected[i].symbol,
			  name ?: "nothing");
		found++;
	}
	cr_expect_null(method_names__at(m, 0));
	method_names__free(m);
	return found;
}

Test(method_names, functions_have_the_names_that_python_has_for_them)
{
	struct interpreter list[INTERPRETERS_MAX];
	size_t n = interpreters__find(list, INTERPRETERS_MAX), found = 0;

	for (size_t i = 0; i < n; i++) {
		int fd = open(list[i].image, O_RDONLY | O_CLOEXEC);
		struct elffile *ef;

		cr_assert_geq(fd, 0);
		cr_assert_eq(elffile__open(fd, &ef, NULL), 0);
		found += check(ef, list[i].image);
		elffile__close(ef);
		close(fd);
	}
	cr_expect_gt(found, 0, "no interpreter has symbols");
}

/* A file without a table, and one that is cut off. */
Test(method_names, file_without_tables_has_none)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct method_names *m;
	struct elffile *ef;

	cr_assert_eq(elffile__open(fd, &ef, NULL), 0);
	m = method_names__new(ef);
	cr_assert_not_null(m);
	cr_expect_null(method_names__at(m, 0x401000));
	method_names__free(m);
	elffile__close(ef);
	close(fd);
}
