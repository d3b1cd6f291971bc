/* SPDX-License-Identifier: GPL-2.0-only */
/* Whose code a file is: the application's, or a library's, and what a program writes to call that. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "collector/stacks/app_code.h"

TestSuite(app_code);

Test(app_code, code_outside_of_libraries_is_the_applications)
{
	static const char *const ours[] = {
		"/srv/shop/shop.py", "shop.py", "/opt/python3.11/shop.py", "/export/me/lib/shop.py", "/srv/lib/python/shop.py",
		"/srv/site-packages.py", "/home/python3/lib/x.py",
	};
	static const char *const theirs[] = {
		"/usr/lib/python3.11/json/__init__.py", "/usr/lib/python3/dist-packages/flask/app.py", "<frozen os>",
		    "<string>", "",
		"/srv/venv/lib/python3.12/site-packages/orm/query.py",
		    "/export/me/.pyenv/versions/3.13.0/lib/python3.13t/threading.py",
		"/usr/lib64/python3.9/json/encoder.py", "/opt/x/site-packages/a.py",
	};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		cr_expect(app_code__is(ours[i]), "%s", ours[i]);
	for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++)
		cr_expect_not(app_code__is(theirs[i]), "%s", theirs[i]);
}

Test(app_code, a_librarys_function_is_named_as_programs_write_it)
{
	static const char *const cases[][3] = {
		{"dumps", "/usr/lib/python3.11/json/__init__.py", "json.dumps"},
		{"JSONEncoder.encode", "/usr/lib/python3.11/json/encoder.py", "json.encoder.JSONEncoder.encode"},
		{"get", "/v/lib/python3.12/site-packages/orm/query.py", "orm.query.get"},
		{"_find_spec", "<frozen importlib._bootstrap>", "importlib._bootstrap._find_spec"},
		{"f", "", "f"},
	};
	char buf[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pysymbol symbol = {.line = 1};

		snprintf(symbol.function, sizeof(symbol.function), "%s", cases[i][0]);
		snprintf(symbol.file, sizeof(symbol.file), "%s", cases[i][1]);
		cr_expect_str_eq(app_code__dotted(&symbol, buf, sizeof(buf)), cases[i][2]);
		cr_expect_lt(strlen(app_code__dotted(&symbol, buf, 5)), 5u);
	}
}

Test(app_code, names_survive_where_there_is_little_room)
{
	char buf[160];

	cr_expect_str_eq(app_code__short("make.<locals>.save.<locals>.one (shop/orders.py:31)", buf, sizeof(buf)),
			 "one (orders.py:31)");
	cr_expect_str_eq(app_code__short("main (shop/__main__.py:3)", buf, sizeof(buf)), "main (shop/__main__.py:3)");
	cr_expect_str_eq(app_code__short("f (a.<locals>.py)", buf, sizeof(buf)), "f (a.<locals>.py)");
	cr_expect_str_eq(app_code__short("(no Python code)", buf, sizeof(buf)), "(no Python code)");
	cr_expect_str_eq(app_code__short("", buf, sizeof(buf)), "");
}

/* A stack of these files, innermost first: which of them stands for the application. NULL ends the list. */
static size_t innermost(const char *const *files, size_t *ret_n)
{
	struct pysymbol frames[8] = {{.line = 0}};
	size_t n = 0;

	for (; files[n]; n++)
		snprintf(frames[n].file, sizeof(frames[n].file), "%s", files[n]);
	*ret_n = n;
	return app_code__innermost(frames, n);
}

#define SITE "/v/lib/python3.12/site-packages/"

Test(app_code, application_is_the_innermost_code_outside_or_the_outermost_package_that_serves_nobody)
{
	static const struct {
		const char *files[8];
		size_t at;
	} cases[] = {
		{{"/usr/lib/python3.12/json/encoder.py", "/srv/shop/db.py", "/srv/shop/web.py", SITE "flask/app.py"}, 1},
		{{"/usr/lib/python3.12/json/encoder.py", SITE "orm/q.py", SITE "shop/db.py", SITE "shop/web.py", SITE "flask/app.py",
		  SITE "gunicorn/workers/sync.py"}, 2},
		{{SITE "orm/q.py", SITE "shop.py", SITE "celery/app/trace.py", "/usr/lib/python3.12/threading.py"}, 1},
		{{"<string>", SITE "gunicorn/arbiter.py"}, 2},
		{{"/usr/lib/python3.12/threading.py"}, 1},
		{{NULL}, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n, at = innermost(cases[i].files, &n);

		cr_expect_eq(at, cases[i].at, "case %zu: %zu of %zu", i, at, n);
	}
}

Test(app_code, application_is_the_package_that_the_user_names)
{
	static const char *const installed[] = {SITE "orm/q.py", SITE "shop/db.py", "/srv/run.py", NULL};
	static const char *const lying[] = {"/srv/tools/log.py", "/srv/shop/db.py", "/srv/run.py", NULL};
	static const char *const other[] = {"/usr/lib/python3.12/json/encoder.py", "/srv/shopping/db.py", NULL};
	size_t n;

	app_code__name_package("shop");
	cr_expect_eq(innermost(installed, &n), 1);
	cr_expect_eq(innermost(lying, &n), 1);
	cr_expect_eq(innermost(other, &n), 1, "not on that stack: as without");
	app_code__name_package(NULL);
	cr_expect_eq(innermost(installed, &n), 2);
	cr_expect_eq(innermost(lying, &n), 0);
}

Test(app_code, c_code_is_named_in_words)
{
	char buf[160];

	cr_expect_str_eq(app_code__native("_json.cpython-311-x86_64-linux-gnu.so: encode.isra.0", buf, sizeof(buf)),
			 "_json: encode");
	cr_expect_str_eq(app_code__native("libpython3.11.so.1.0: list_sort", buf, sizeof(buf)), "list_sort");
	cr_expect_str_eq(app_code__native("python3.11+0x5e0340", buf, sizeof(buf)), "");
	cr_expect_str_eq(app_code__native("libz.so.1.2.13+0x40", buf, sizeof(buf)), "libz");
	cr_expect_str_eq(app_code__native("_pickle.abi3.so", buf, sizeof(buf)), "_pickle");
	cr_expect_str_eq(app_code__native("libc.so.6: usleep", buf, sizeof(buf)), "usleep");
	cr_expect_str_eq(app_code__native("garbage collection", buf, sizeof(buf)), "garbage collection");
	cr_expect_str_eq(app_code__native("", buf, sizeof(buf)), "");
	cr_expect_str_eq(app_code__native("_pickle.cpython-311-x86_64-linux-gnu.so: _pickle.dumps", buf, sizeof(buf)),
			 "_pickle.dumps");
	cr_expect_str_eq(app_code__native("python3.11: list.sort", buf, sizeof(buf)), "list.sort");
}
