/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What C code is known for, and what helps there: an application's developer calls json.dumps, and knows of no function that its
 * encoder is made of. One row each, told by the C function or its file, or by the library's function that was called.
 */
#include "verdict_inside.h"

#include <string.h>

#define NAMES 8
#define LARGE_KIB (256.0 * 1024) /* of memory: its tables take milliseconds to copy */

static const struct row {
	const char *native[NAMES]; /* begin the file's name, or the function's: "_json.", "list_sort" */
	const char *called[4];     /* begin what was called: "json." */
	struct operation is;
} rows[] = {
	/* The first, of verdict_operation__fork(). */
	{{"os_fork", "posix.fork", "fork", "__libc_fork", "_Fork", "__GI__Fork", "os_forkpty", "_posixsubprocess."},
	 {"os.fork", "multiprocessing.popen_fork.", "subprocess."},
	 {"forks: the kernel copies the tables of all of the process's memory, with the GIL held",
	  "fork before the memory is filled, or from a small helper (forkserver, posix_spawn, no preexec_fn).",
	  "How long a fork takes grows with the memory of the process. subprocess without preexec_fn and posix_spawn copy no "
	  "tables, multiprocessing's \"spawn\" and \"forkserver\" begin with a small process; or fork before the memory is "
	  "filled."}},
	{{"_json.", "encoder_listencode", "scanner_call", "scan_once", "_parse_object", "json."}, {"json."},
	 {"reads or writes JSON, which keeps the GIL until the whole object is done",
	  "dump or load less at a time (pages, streaming), or do it in another process.",
	  "Smaller objects let others in between. Other JSON libraries are faster, but keep the GIL too. A process of its own "
	  "for large ones keeps everybody else free."}},
	{{"_pickle.", "pickle.", "_pickle"}, {"pickle."},
	 {"pickles or unpickles, which keeps the GIL until the whole object is done",
	  "pickle less at a time, or in another process.",
	  "Smaller objects let others in between. Do not send large ones through queues of multiprocessing; share memory, or "
	  "files."}},
	{{"_sre", "sre_", "pattern_", "re.Pattern", "re.Scanner"}, {"re."},
	 {"matches a regular expression, which keeps the GIL until it is through",
	  "mend that regular expression: one that backtracks takes time exponential in the text's length.",
	  "Look for nested repeats such as (a+)+ and for .* twice; atomic groups and possessive repeats (Python 3.11) do not "
	  "backtrack. Bound the length of the text, or match in another process."}},
	{{"list_sort", "builtin_sorted", "list.sort", "builtins.sorted", "binarysort", "merge_at"}, {"heapq."},
	 {"sorts a list, which keeps the GIL while no Python code compares",
	  "sort less at a time: keep it sorted (bisect, a heap), or let the database or another process sort.",
	  "Sorting in one go keeps everybody out; a key of plain numbers or texts makes it faster."}},
	{{"_csv."}, {"csv."},
	 {"reads or writes CSV", "read or write fewer rows at a time, or do it in another process.",
	  "Each row is short, but rows from a list in memory come without a pause: write in pieces."}},
	{{"long_to_decimal", "PyLong_FromString", "long_from_string", "k_mul", "k_lopsided", "x_mul", "x_divrem", "long_pow"}, {NULL},
	 {"computes with very large integers, which keeps the GIL until the number is done",
	  "do without integers of so many digits, or compute them in another process (gmpy2 is faster).",
	  "Converting to and from decimal takes time quadratic in the digits: hexadecimal takes linear time."}},
	{{"builtin_compile", "builtins.compile", "_PyPegen", "PyAST", "compiler_", "_PyCompile", "compile", "PyMarshal"},
	 {"importlib.", "imp.", "ast."},
	 {"compiles or imports Python code while it serves",
	  "import and compile at start-up, not while it serves.",
	  "Import modules at the top of the program, and keep what was compiled (compile() once, re.compile() once)."}},
	{{"_sqlite3.", "libsqlite3"}, {"sqlite3."},
	 {"has SQLite call back into Python, for each row",
	  "let SQL do it: a Python function that SQLite calls takes the GIL for each row.",
	  "Fetch rows first and compute then, or write the function as an expression of SQL."}},
	{{"zlib.", "libz.", "_bz2.", "_lzma."}, {"zlib.", "gzip.", "bz2.", "lzma."},
	 {"compresses: small pieces keep the GIL, large ones let go of it",
	  "compress larger pieces at a time: those are done without the GIL.",
	  "Each call on a small piece holds the GIL or takes it anew; a buffer of 64 KiB and more makes that rare."}},
	{{NULL}, {"copy."},
	 {"copies objects deeply, in Python code",
	  "copy less: share what does not change, or copy by hand what does.",
	  "copy.deepcopy() runs Python code for each object; a constructor or a slice of one's own is faster by far."}},
	{{NULL}, {"logging."},
	 {"writes a log", "log less there, or let a QueueHandler write it in another thread.",
	  "Handlers of logging format and write in the thread that logs, one at a time."}},
};

static bool begins_with_one(const char *text, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n && list[i]; i++)
		if (strncmp(text, list[i], strlen(list[i])) == 0)
			return true;
	return false;
}

static bool is_of(const struct row *row, const char *native, const char *called)
{
	const char *function = strstr(native, ": ");

	return begins_with_one(native, row->native, NAMES) || (function && begins_with_one(function + 2, row->native, NAMES)) ||
	       begins_with_one(called, row->called, sizeof(row->called) / sizeof(row->called[0]));
}

const struct operation *verdict_operation__of(const struct verdict_place *p)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (is_of(&rows[i], p->native ? p->native : "", p->called ? p->called : ""))
			return &rows[i].is;
	return NULL;
}

const struct operation *verdict_operation__fork(void)
{
	return &rows[0].is;
}

bool verdict_operation__is_long_fork(const struct verdict_input *in, const struct verdict_place *p)
{
	const struct operation *is = verdict_operation__of(p);

	return is == verdict_operation__fork() && in->rss_kib >= LARGE_KIB;
}
