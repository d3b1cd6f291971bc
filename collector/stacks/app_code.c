/* SPDX-License-Identifier: GPL-2.0-only */
/* See app_code.h. */
#include "app_code.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* What follows "python3.11/" if that stands at `at`; else NULL. */
static const char *behind_version(const char *at)
{
	static const char name[] = "python3";

	if (strncmp(at, name, sizeof(name) - 1) != 0)
		return NULL;
	at += sizeof(name) - 1;
	while (*at == '.' || *at == 't' || isdigit((unsigned char)*at)) /* 3.13t: free-threaded */
		at++;
	return *at == '/' ? at + 1 : NULL;
}

static const char *named_package; /* of --app; NULL: none */

void app_code__name_package(const char *package)
{
	named_package = package;
}

/* The path inside a directory of libraries, the innermost one; NULL: it is in none. `own`: but for Python's own modules. */
static const char *inside(const char *file, bool own)
{
	static const char *const dirs[] = {"site-packages/", "dist-packages/"};
	const char *path = NULL;

	for (const char *at = file; (at = strchr(at, '/')); ) {
		const char *lib = strncmp(at, "/lib/", 5) == 0 ? at + 5 : strncmp(at, "/lib64/", 7) == 0 ? at + 7 : NULL;

		at++;
		for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
			if (strncmp(at, dirs[i], strlen(dirs[i])) == 0)
				path = at + strlen(dirs[i]);
		if (own && lib && behind_version(lib))
			path = behind_version(lib);
	}
	return path;
}

static const char *inside_library(const char *file)
{
	return inside(file, true);
}

bool app_code__is(const char *file)
{
	return file[0] && file[0] != '<' && !inside_library(file);
}

/* ---- applications that are installed like libraries ---- */

/* Servers, frameworks, and what starts programs: they call the application, or it them, and are not it. */
static const char *const no_applications[] = {
	"gunicorn", "uwsgi", "uwsgidecorators", "uvicorn", "hypercorn", "daphne", "waitress", "cheroot", "mod_wsgi",
	"granian", "gevent", "greenlet", "eventlet", "uvloop", "trio", "anyio", "sniffio", "asgiref", "curio", "celery",
	"kombu", "billiard", "vine", "amqp", "rq", "dramatiq", "huey", "arq", "apscheduler", "luigi", "airflow",
	"prefect", "dask", "distributed", "ray", "joblib", "loky", "django", "rest_framework", "channels", "flask",
	"werkzeug", "jinja2", "starlette", "fastapi", "pydantic", "aiohttp", "sanic", "quart", "tornado", "bottle",
	"cherrypy", "pyramid", "webob", "falcon", "litestar", "connexion", "twisted", "grpc", "click", "typer", "fire",
	"pytest", "_pytest", "pluggy", "IPython", "ipykernel", "traitlets", "jupyter_client", "sqlalchemy", "sentry_sdk",
	"ddtrace", "newrelic", "opentelemetry", "wrapt", "coverage", "debugpy", "pip", "pkg_resources", "setuptools",
	"supervisor", "streamlit", "gradio",
};

static bool is_package(const char *path, const char *package)
{
	size_t len = strlen(package);

	return strncmp(path, package, len) == 0 && (path[len] == '/' || strcmp(path + len, ".py") == 0);
}

/* Installed, or lying anywhere. */
static bool is_of_package(const char *file, const char *package)
{
	const char *installed = inside_library(file);

	if (installed)
		return is_package(installed, package);
	for (const char *at = file; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL)
		if (is_package(at, package))
			return true;
	return false;
}

/* The name of the package of others' libraries that a file is of, if that may be an application; false: it is none. */
static bool may_be_application(const char *file, char package[PYSTACK_FILE_SIZE])
{
	const char *path = file[0] != '<' ? inside(file, false) : NULL;
	size_t len = path ? strcspn(path, "/") : 0;

	if (!len || inside_library(file) != path)
		return false;
	snprintf(package, PYSTACK_FILE_SIZE, "%.*s", (int)(path[len] == '/' ? len : strcspn(path, ".")), path);
	for (size_t i = 0; i < sizeof(no_applications) / sizeof(no_applications[0]); i++)
		if (strcmp(package, no_applications[i]) == 0)
			return false;
	return true;
}

static size_t innermost_of(const struct pysymbol *frames, size_t n, const char *package)
{
	size_t at = 0;

	while (at < n && !is_of_package(frames[at].file, package))
		at++;
	return at;
}

size_t app_code__innermost(const struct pysymbol *frames, size_t n)
{
	char package[PYSTACK_FILE_SIZE];
	size_t at = named_package ? innermost_of(frames, n, named_package) : n;

	if (at < n)
		return at;
	for (at = 0; at < n && !app_code__is(frames[at].file); )
		at++;
	if (at < n)
		return at;
	for (size_t i = n; i-- > 0; )
		if (may_be_application(frames[i].file, package))
			return innermost_of(frames, n, package);
	return n;
}

/* ---- names ---- */

/* "json/__init__.py" and "<frozen os>" as a module's name. */
static void name_module(const char *file, char *buf, size_t size)
{
	static const char init[] = ".__init__";
	const char *path = inside_library(file) ?: file, *end;
	size_t len = 0, suffix = sizeof(init) - 1;

	if (strncmp(path, "<frozen ", 8) == 0)
		path += 8;
	end = strpbrk(path, ">");
	if (!end)
		end = strlen(path) > 3 && strcmp(path + strlen(path) - 3, ".py") == 0 ? path + strlen(path) - 3
		    : path + strlen(path);
	for (; path < end && len + 1 < size; path++)
		buf[len++] = *path == '/' ? '.' : *path;
	buf[len] = '\0';
	if (len > suffix && strcmp(buf + len - suffix, init) == 0)
		buf[len - suffix] = '\0';
}

const char *app_code__dotted(const struct pysymbol *symbol, char *buf, size_t size)
{
	char module[PYSTACK_FILE_SIZE];

	name_module(symbol->file, module, sizeof(module));
	snprintf(buf, size, "%s%s%s", module, module[0] ? "." : "", symbol->function);
	return buf;
}

/* Where what stands in a local function's name begins: behind the last "<locals>.". */
static const char *behind_locals(const char *function, size_t len)
{
	static const char locals[] = "<locals>.";
	const char *name = function, *end = function + len;

	for (const char *at = function; (at = strstr(at, locals)) && at < end; )
		name = at += sizeof(locals) - 1;
	return name < end ? name : function;
}

const char *app_code__short(const char *frame, char *buf, size_t size)
{
	const char *open = strstr(frame, " ("), *end = open ? open : frame + strlen(frame), *slash;
	const char *name = behind_locals(frame, (size_t)(end - frame));
	int len = (int)(end - name);

	slash = open ? strrchr(open, '/') : NULL;
	if (slash && strncmp(slash, "/__", 3) != 0)
		snprintf(buf, size, "%.*s (%s", len, name, slash + 1);
	else
		snprintf(buf, size, "%.*s%s", len, name, end);
	return buf;
}

bool app_code__is_interpreter(const char *native)
{
	return strncmp(native, "libpython", 9) == 0 || strncmp(native, "python", 6) == 0;
}

/* Without what the compiler added: "encode.isra.0". */
static size_t function_len(const char *function)
{
	static const char *const added[] = {".isra.", ".constprop.", ".part.", ".lto_priv.", ".cold", ".localalias"};
	size_t len = strlen(function);

	for (size_t i = 0; i < sizeof(added) / sizeof(added[0]); i++) {
		const char *at = strstr(function, added[i]);

		if (at && (size_t)(at - function) < len)
			len = (size_t)(at - function);
	}
	return len;
}

const char *app_code__native(const char *native, char *buf, size_t size)
{
	const char *function = strstr(native, ": "), *place = strstr(native, "+0x");
	size_t module = strlen(native);
	const char *const ends[] = {function, place, strstr(native, ".cpython-"), strstr(native, ".abi3"), strstr(native, ".so")};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (ends[i] && (size_t)(ends[i] - native) < module)
			module = (size_t)(ends[i] - native);
	buf[0] = '\0';
	if (app_code__is_interpreter(native) || strncmp(native, "libc.so", 7) == 0)
		module = 0;
	else
		snprintf(buf, size, "%.*s%s", (int)module, native, function ? ": " : "");
	if (function && module && strncmp(function + 2, native, module) == 0 && function[2 + module] == '.')
		buf[0] = '\0'; /* "_pickle.dumps" has its module */
	if (function && strlen(buf) + 1 < size)
		snprintf(buf + strlen(buf), size - strlen(buf), "%.*s", (int)function_len(function + 2), function + 2);
	return buf;
}
