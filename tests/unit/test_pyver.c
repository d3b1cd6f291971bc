/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Versions, offsets and live GILs. The oracles: `python -V`, offsets taken from 25 sets of headers, and the headers of
 * this machine. Hostile memory is our own: the walk is pointed at lists that this test has bent.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/cpython/pyinterps.h"
#include "collector/cpython/pyver.h"
#include "collector/process/procmem.h"
#include "collector/python/pygils.h"
#include "collector/python/pytid.h"
#include "../support/pythons.h"

#define OFFSETS "tests/unit/data/offsets.csv"

static struct elffile *must_open_file(const char *path, int *ret_fd)
{
	struct reason why = {""};
	struct elffile *ef = NULL;

	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(*ret_fd, 0, "%s", path);
	cr_assert_eq(elffile__open(*ret_fd, &ef, &why), 0, "%s: %s", path, why.text);
	return ef;
}

static void must_know(struct elffile *ef, const char *path, struct pyver *ver, struct pyoffsets *off)
{
	struct reason why = {""};

	cr_assert_eq(pyver__identify(ef, path, ver, &why), 0, "%s", why.text);
	cr_assert_eq(pyver__offsets(ef, ver, off, &why), 0, "%s", why.text);
}

/* ---- the table of offsets by field name ----------------------------------------------------------------------- */

static const struct {
	char name[40];   /* in the CSV */
	char member[40]; /* in struct pyoffsets and in the generated table */
	size_t at;
} fields[] = {
#define FIELD(name, member) {name, #member, offsetof(struct pyoffsets, member)}
	FIELD("gil.interval", gil_interval),
	FIELD("gil.last_holder", gil_last_holder),
	FIELD("gil.locked", gil_locked),
	FIELD("gil.cond", gil_cond),
	FIELD("gil.switch_cond", gil_switch_cond),
	FIELD("gil.enabled", gil_enabled),
	FIELD("runtime.ceval.gil", runtime_gil),
	FIELD("runtime.interpreters.head", runtime_interpreters_head),
	FIELD("runtime.ceval.gil_drop_request", runtime_gil_drop_request),
	FIELD("interp.next", interp_next),
	FIELD("interp.id", interp_id),
	FIELD("interp.threads.head", interp_threads_head),
	FIELD("interp.ceval.gil", interp_gil),
	FIELD("interp.ceval.gil_drop_request", interp_gil_drop_request),
	FIELD("tstate.next", tstate_next),
	FIELD("tstate.interp", tstate_interp),
	FIELD("tstate.thread_id", tstate_thread_id),
	FIELD("tstate.native_thread_id", tstate_native_thread_id),
	FIELD("tstate.eval_breaker", tstate_eval_breaker),
	FIELD("interp.modules", interp_modules),
	FIELD("interp.imports.modules", interp_modules), /* 3.12+ */
	FIELD("object.ob_type", ob_type),
	FIELD("type.tp_basicsize", type_basicsize),
	FIELD("type.tp_flags", type_flags),
	FIELD("type.tp_dictoffset", type_dictoffset),
	FIELD("heaptype.ht_cached_keys", type_cached_keys),
	FIELD("unicode.length", unicode_length),
	FIELD("unicode.state", unicode_state),
	FIELD("sizeof(PyASCIIObject)", unicode_ascii_size),
	FIELD("sizeof(PyCompactUnicodeObject)", unicode_compact_size),
	FIELD("long.ob_size", long_size),
	FIELD("long.lv_tag", long_size), /* 3.12+ */
	FIELD("long.ob_digit", long_digit),
	FIELD("dict.ma_keys", dict_keys),
	FIELD("dict.ma_values", dict_values),
	FIELD("dictkeys.dk_size", keys_size),
	FIELD("dictkeys.dk_log2_size", keys_log2_size),
	FIELD("dictkeys.dk_nentries", keys_nentries),
	FIELD("dictkeys.dk_indices", keys_indices),
	FIELD("dictvalues.values", values_values),
	FIELD("type.tp_name", type_name),
	FIELD("bytes.ob_size", bytes_size),
	FIELD("bytes.ob_sval", bytes_data),
	FIELD("tstate.frame", tstate_frame),
	FIELD("tstate.cframe", tstate_frame),        /* 3.11, 3.12 */
	FIELD("tstate.current_frame", tstate_frame), /* 3.13+ */
	FIELD("cframe.current_frame", cframe_frame),
	FIELD("frame.f_back", frame_previous),
	FIELD("iframe.previous", frame_previous),    /* 3.11+ */
	FIELD("frame.f_code", frame_code),
	FIELD("iframe.f_code", frame_code),          /* 3.11, 3.12 */
	FIELD("iframe.f_executable", frame_code),    /* 3.13+ */
	FIELD("frame.f_lasti", frame_at),
	FIELD("iframe.prev_instr", frame_at),        /* 3.11, 3.12 */
	FIELD("iframe.instr_ptr", frame_at),         /* 3.13+ */
	FIELD("iframe.owner", frame_owner),
	FIELD("code.co_filename", code_filename),
	FIELD("code.co_firstlineno", code_firstlineno),
	FIELD("code.co_lnotab", code_lines),
	FIELD("code.co_linetable", code_lines),      /* 3.10+ */
	FIELD("code.co_code_adaptive", code_bytes),
#undef FIELD
};
#define FIELDS_N (sizeof(fields) / sizeof(fields[0]))

/* What the CSV does not name. */
static const struct {
	char member[40];
	size_t at;
} gc_fields[] = {
	{"interp_gc", offsetof(struct pyoffsets, interp_gc)},
	{"gc_collecting", offsetof(struct pyoffsets, gc_collecting)},
	{"gc_stats", offsetof(struct pyoffsets, gc_stats)},
};

static uint32_t *field_of(struct pyoffsets *off, const char *name)
{
	for (size_t i = 0; i < FIELDS_N; i++)
		if (strcmp(fields[i].name, name) == 0)
			return (uint32_t *)((char *)off + fields[i].at);
	return NULL;
}

/* One set of headers of the CSV. */
struct header_set {
	char build[32], version[16];
	int minor;
	bool free_threaded;
	struct pyoffsets off; /* fields that the CSV doesn't name are PYOFF_NONE */
};

static size_t read_header_sets(struct header_set *sets, size_t max)
{
	char line[160], build[32], version[16], name[64];
	FILE *f = fopen(OFFSETS, "re");
	unsigned long offset;
	size_t n = 0;

	cr_assert_not_null(f, "%s", OFFSETS);
	while (fgets(line, sizeof(line), f)) {
		struct header_set *set;

		if (line[0] == '#')
			continue;
		cr_assert_eq(sscanf(line, "%31[^,],%15[^,],%63[^,],%lu", build, version, name, &offset), 4, "%s", line);
		if (n == 0 || strcmp(sets[n - 1].build, build) != 0) {
			cr_assert_lt(n, max);
			memset(&sets[n], 0, sizeof(sets[n]));
			for (size_t i = 0; i < FIELDS_N; i++)
				*field_of(&sets[n].off, fields[i].name) = PYOFF_NONE;
			strcpy(sets[n].build, build);
			strcpy(sets[n].version, version);
			sets[n].minor = atoi(version + 2);
			n++;
		}
		set = &sets[n - 1];
		if (strcmp(name, "config.Py_GIL_DISABLED") == 0)
			set->free_threaded = offset != 0;
		else if (strcmp(name, "sizeof(_PyRuntimeState)") == 0)
			set->off.runtime_size = offset;
		else if (field_of(&set->off, name))
			*field_of(&set->off, name) = (uint32_t)offset;
		else
			cr_assert(false, "%s: unknown field", name);
	}
	fclose(f);
	return n;
}

static void expect_same_offsets(struct pyoffsets *got, struct pyoffsets *want, const char *what)
{
	for (size_t i = 0; i < FIELDS_N; i++)
		cr_expect_eq(*field_of(got, fields[i].name), *field_of(want, fields[i].name), "%s: %s is %d, not %d", what,
			     fields[i].name, (int)*field_of(got, fields[i].name), (int)*field_of(want, fields[i].name));
}

/* ---- libraries that pretend to be a CPython ------------------------------------------------------------------- */

struct words {
	uint64_t word[60];
};

/* Makes a library with _PyRuntime (of `size` bytes, beginning with `words`) and, unless 0, Py_Version. */
static void make_runtime(const char *path, const struct words *words, uint64_t size, uint64_t version)
{
	char source[4096];
	int n = snprintf(source, sizeof(source), "struct { unsigned long w[60]; char rest[%llu]; } _PyRuntime = {{",
			 (unsigned long long)(size - sizeof(*words)));

	for (size_t i = 0; i < 60; i++)
		n += snprintf(source + n, sizeof(source) - (size_t)n, "%lluu,", (unsigned long long)words->word[i]);
	n += snprintf(source + n, sizeof(source) - (size_t)n, "}, {1}};\n");
	if (version)
		snprintf(source + n, sizeof(source) - (size_t)n, "const unsigned long Py_Version = %lluu;\n",
			 (unsigned long long)version);
	must_compile(path, "-fdata-sections", source);
}

/* The words as CPython `minor` lays them out, written down independently of pyver.c, from its declarations. */
static struct words words_of(const struct header_set *set)
{
	const struct pyoffsets *o = &set->off;
	const int g = set->minor == 13 ? 14 : 15, t = set->minor == 13 ? 19 : 22;
	const int id = set->minor == 15 ? 30 : t + 5, f = set->minor == 13 ? 28 : set->minor == 14 ? 31 : 39;
	const int c = set->minor == 13 ? 34 : f + 8;
	const uint64_t gil = 7752;
	struct words w = {{0}};

	memcpy(&w.word[0], "xdebugpy", 8);
	w.word[1] = 3u << 24 | (uint64_t)set->minor << 16 | 0xf0;
	w.word[2] = set->free_threaded;
	w.word[3] = o->runtime_size;
	w.word[5] = o->runtime_interpreters_head;
	w.word[6] = 220000; /* sizeof(PyInterpreterState), about */
	w.word[7] = o->interp_id;
	w.word[8] = o->interp_next;
	w.word[9] = o->interp_threads_head;
	w.word[set->minor == 13 ? 11 : 12] = o->interp_modules;
	w.word[g] = o->interp_gil;
	w.word[g + 1] = gil;
	w.word[g + 3] = gil + o->gil_locked;
	w.word[g + 4] = gil + o->gil_last_holder;
	w.word[t] = 832; /* sizeof(PyThreadState), about */
	w.word[t + 2] = o->tstate_next;
	w.word[t + 3] = o->tstate_interp;
	w.word[id] = o->tstate_thread_id;
	w.word[id + 1] = o->tstate_native_thread_id;
	w.word[set->minor == 13 ? 23 : 26] = o->tstate_frame;
	w.word[f] = 96; /* sizeof(_PyInterpreterFrame), about */
	w.word[f + 1] = o->frame_previous;
	w.word[f + 2] = o->frame_code;
	w.word[f + 3] = o->frame_at;
	w.word[f + 5] = o->frame_owner;
	w.word[c] = 248; /* sizeof(PyCodeObject), about */
	w.word[c + 1] = o->code_filename;
	w.word[c + 2] = o->code_filename + 8;
	w.word[c + 3] = o->code_filename + 16;
	w.word[c + 4] = o->code_lines;
	w.word[c + 5] = o->code_firstlineno;
	w.word[c + 9] = o->code_bytes;
	return w;
}

/* ---- versions --------------------------------------------------------------------------------------------------- */

Test(pyver, the_file_tells_the_version_that_the_program_prints)
{
	static struct python pythons[PYTHONS_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8);

	for (size_t i = 0; i < n; i++) {
		char command[PATH_MAX + 16], line[64] = "", want[64] = "";
		struct reason why = {""};
		struct elffile *ef;
		struct pyver ver;
		FILE *f;
		int fd;

		snprintf(command, sizeof(command), "'%.4000s' -V", pythons[i].exe);
		f = popen(command, "re");
		cr_assert_not_null(fgets(line, sizeof(line), f));
		pclose(f);
		cr_assert_eq(sscanf(line, "Python %63s", want), 1, "%s", line);
		ef = must_open_file(pythons[i].image, &fd);
		cr_assert_eq(pyver__identify(ef, pythons[i].image, &ver, &why), 0, "%s", why.text);
		cr_expect(strncmp(ver.text, want, strlen(ver.text)) == 0, "%s: %s, not %s", pythons[i].image, ver.text, want);
		cr_expect(ver.major == 3 && ver.minor == pythons[i].minor);
		elffile__close(ef);
		close(fd);
	}
}

Test(pyver, a_version_is_written_as_people_write_it)
{
	static const struct {
		uint64_t hex;
		int free_threaded;
		char text[24];
	} cases[] = {
		{0x030b02f0, 0, "3.11.2"}, {0x030e00c1, 0, "3.14.0rc1"}, {0x030d00f0, 1, "3.13.0t"},
		{0x030f00a3, 0, "3.15.0a3"}, {0x030e0ab2, 1, "3.14.10b2t"},
	};
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct words w = {{0}};
		struct reason why = {""};
		struct elffile *ef;
		struct pyver ver;
		int fd;

		memcpy(&w.word[0], "xdebugpy", 8);
		w.word[2] = (uint64_t)cases[i].free_threaded;
		make_runtime(path, &w, 1000, cases[i].hex);
		ef = must_open_file(path, &fd);
		cr_assert_eq(pyver__identify(ef, "/x/python", &ver, &why), 0, "%s", why.text);
		cr_expect_str_eq(ver.text, cases[i].text);
		cr_expect_str_eq(ver.found_by, "Py_Version");
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

/* Told by what they export. Their layout is not taken for that of a build of the same size. */
Test(pyver, debug_builds_are_told_by_what_they_export)
{
	static const struct {
		char exports[96];
		char text[24];
		bool debug, traces_refs;
		enum pyoffsets_source source;
	} cases[] = {
		{"", "3.11.2", false, false, PYOFFSETS_TABLE},
		{"void _Py_NegativeRefcount(void) {}", "3.11.2d", true, false, PYOFFSETS_TABLE_UNKNOWN},
		{"void _Py_PrintReferences(void) {}", "3.11.2", false, true, PYOFFSETS_TABLE_UNKNOWN},
	};
	char dir[PATH_MAX], path[PATH_MAX + 16], source[512];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {""};
		struct pyoffsets off;
		struct elffile *ef;
		struct pyver ver;
		int fd;

		snprintf(source, sizeof(source), "char _PyRuntime[166688] = {1}; const unsigned long Py_Version = 0x030b02f0; %s",
			 cases[i].exports);
		must_compile(path, "", source);
		ef = must_open_file(path, &fd);
		cr_assert_eq(pyver__identify(ef, "/x/python", &ver, &why), 0, "%s", why.text);
		cr_expect_str_eq(ver.text, cases[i].text);
		cr_expect(ver.debug == cases[i].debug && ver.traces_refs == cases[i].traces_refs, "case %zu", i);
		cr_assert_eq(pyver__offsets(ef, &ver, &off, &why), 0, "%s", why.text);
		cr_expect_eq(off.source, cases[i].source, "case %zu", i);
		cr_expect_eq(off.interp_modules == PYOFF_NONE, cases[i].traces_refs, "case %zu", i);
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

/* 3.13 and later say it themselves; a function that only such builds export counts where they do not. */
Test(pyver, free_threaded_builds_are_told_from_the_file)
{
	static const struct {
		uint64_t word;
		bool described, exported, free_threaded;
	} cases[] = {{0, true, false, false}, {1, true, false, true}, {0, true, true, false}, {0, false, true, true},
		     {0, false, false, false}};
	char dir[PATH_MAX], path[PATH_MAX + 16], source[512];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {""};
		struct elffile *ef;
		struct pyver ver;
		int fd;

		snprintf(source, sizeof(source), "struct { char cookie[8]; unsigned long version, free_threaded, rest[500]; } "
			 "_PyRuntime = {\"%s\", 0x030d05f0, %d, {1}}; const unsigned long Py_Version = 0x030d05f0; %s",
			 cases[i].described ? "xdebugpy" : "", (int)cases[i].word,
			 cases[i].exported ? "void PyUnstable_Module_SetGIL(void) {}" : "");
		must_compile(path, "", source);
		ef = must_open_file(path, &fd);
		cr_assert_eq(pyver__identify(ef, "/x/python", &ver, &why), 0, "%s", why.text);
		cr_expect_eq(ver.free_threaded, cases[i].free_threaded, "case %zu", i);
		cr_expect_str_eq(ver.text, cases[i].free_threaded ? "3.13.5t" : "3.13.5");
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

Test(pyver, without_py_version_other_evidence_counts_in_order)
{
	static const struct {
		char source[160];
		char path[48];
		char text[24];
		char found_by[24];
	} cases[] = {
		{"char _PyRuntime[4096] = {1}; const char v[] = \"\\0003.9.2\";", "/usr/bin/python3.9", "3.9.2", "version string"},
		{"char _PyRuntime[4096] = {1}; const char v[] = \"\\0003.10.0rc1\";", "/usr/bin/python", "3.10.0", "version string"},
		{"char _PyRuntime[4096] = {1}; const char v[] = \"\\0003.40.1\\0003.8.18\";", "/opt/app", "3.8.18", "version string"},
		{"char _PyRuntime[4096] = {1}; const char v[] = \"\\0/opt/3.9.18\";", "libpython3.9.so.1.0", "3.9.18", "version string"},
		{"char _PyRuntime[4096] = {1}; const char v[] = \"\\0/opt/3.9.18\";", "libpython3.8.so.1.0", "3.8", "file name"},
		{"char _PyRuntime[4096] = {1}; const char v[] = \"\\0003.8.18x\";", "/a/libpython3.8.so.1", "3.8", "file name"},
		/* No name tells: the library's directory does. */
		{"char _PyRuntime[4096] = {1}; const char v[] = \"\\0/opt/3.9.18\\0python3.9\";", "/memfd:x", "3.9.18", "version string"},
		{"char _PyRuntime[4096] = {1}; const char v[] = \"\\0/opt/3.9.18\\0lib/python3.8\";", "/memfd:x", "3.8", "library's name"},
		{"char _PyRuntime[4096] = {1}; const char v[] = \"libpython3.8.so\\0python3.9\";", "/opt/app", "3.9", "library's name"},
	};
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {""};
		struct elffile *ef;
		struct pyver ver;
		int fd;

		must_compile(path, "", cases[i].source);
		ef = must_open_file(path, &fd);
		cr_assert_eq(pyver__identify(ef, cases[i].path, &ver, &why), 0, "case %zu: %s", i, why.text);
		cr_expect_str_eq(ver.text, cases[i].text, "case %zu: %s", i, ver.text);
		cr_expect_str_eq(ver.found_by, cases[i].found_by, "case %zu: %s", i, ver.found_by);
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

Test(pyver, what_is_not_a_usable_cpython_is_refused_in_words)
{
	static const struct {
		char source[128];
		char path[32];
		char says[48];
	} cases[] = {
		{"int main_thing = 1;", "/bin/true", "defines no _PyRuntime"},
		{"char _PyRuntime[4096] = {1};", "/opt/app", "does not tell which CPython"},
		{"char _PyRuntime[4096] = {1}; const char v[] = \"\\0003.7.16\";", "libpython3.7m.so", "CPython 3.7.16: 3.8 or newer"},
		{"char _PyRuntime[4096] = {1};", "libpython3.7m.so.1.0", "CPython 3.7: 3.8 or newer"},
	};
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {""};
		struct elffile *ef;
		struct pyver ver;
		int fd;

		must_compile(path, "", cases[i].source);
		ef = must_open_file(path, &fd);
		cr_expect_eq(pyver__identify(ef, cases[i].path, &ver, &why), -ENOEXEC, "case %zu", i);
		cr_expect(strstr(why.text, cases[i].says), "case %zu: %s", i, why.text);
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

/* ---- offsets ---------------------------------------------------------------------------------------------------- */

Test(pyver, offsets_are_those_of_every_known_set_of_headers)
{
	static struct header_set sets[40];
	size_t n = read_header_sets(sets, 40);
	char dir[PATH_MAX], path[PATH_MAX + 16];

	cr_assert_eq(n, 25);
	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	for (size_t i = 0; i < n; i++) {
		struct words w = sets[i].minor >= 13 ? words_of(&sets[i]) : (struct words){{0}};
		struct pyoffsets off = {0};
		struct elffile *ef;
		struct pyver ver;
		int fd;

		make_runtime(path, &w, sets[i].off.runtime_size, 3u << 24 | (uint64_t)sets[i].minor << 16 | 0xf0);
		ef = must_open_file(path, &fd);
		must_know(ef, path, &ver, &off);
		expect_same_offsets(&off, &sets[i].off, sets[i].build);
		cr_expect_eq(ver.free_threaded, sets[i].free_threaded, "%s", sets[i].build);
		if (sets[i].minor >= 13)
			cr_expect_eq(off.source, PYOFFSETS_DEBUG, "%s", sets[i].build);
		else /* 3.11.0rc1 was smaller than 3.11.0: the one without a finger-print of its own */
			cr_expect_eq(off.source, strstr(sets[i].version, "rc") ? PYOFFSETS_TABLE_UNKNOWN : PYOFFSETS_TABLE, "%s",
				     sets[i].build);
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

static char *run_and_read(const char *command)
{
	char path[] = "/tmp/gilscope-gen-XXXXXX", *text;
	int fd = mkstemp(path);
	size_t len;

	cr_assert_geq(fd, 0);
	close(fd);
	must_run("%s > '%s'", command, path);
	text = must_read(path, &len);
	unlink(path);
	return text;
}

/* From 3.13 on the size of _PyRuntime differs between patch releases: it is no finger-print there, the file describes itself. */
static const char *lasting_part(const char *row)
{
	const char *part = strstr(row, "\n\t\t.gil_interval");

	return atoi(row + strlen("{\n\t.minor = ")) >= 13 && part ? part : row;
}

/* Each row that the headers here give stands, to the letter, in the committed table. */
Test(pyver, the_committed_table_is_what_the_headers_say)
{
	char *made = run_and_read("collector/cpython/gen_pyoffsets.sh"), *committed, *row, *end;
	int rows = 0;
	size_t len;

	committed = must_read("collector/cpython/pyoffsets.inc", &len);
	for (row = strstr(made, "{\n\t.minor"); row; row = strstr(end + 1, "{\n\t.minor"), rows++) {
		end = strstr(row, "\n},\n");
		cr_assert_not_null(end);
		*end = '\0';
		cr_expect_not_null(strstr(committed, lasting_part(row)), "differs from the headers: %s", row);
	}
	free(made);
	free(committed);
	if (rows == 0)
		cr_skip_test("no CPython headers with internal/ on this machine");
}

static void include_dir(const struct python *python, char *dir, size_t size)
{
	const char *bin = strstr(python->exe, "/bin/python");

	cr_assert_not_null(bin);
	snprintf(dir, size, "%.*s/include/python3.%d", (int)(bin - python->exe), python->exe, python->minor);
}

static bool describes_itself_and_has_headers(const struct python *python)
{
	char dir[PATH_MAX], header[PATH_MAX + 64];

	if (python->minor < 13)
		return false;
	include_dir(python, dir, sizeof(dir));
	snprintf(header, sizeof(header), "%s/internal/pycore_gil.h", dir);
	return access(header, R_OK) == 0;
}

ParameterizedTestParameters(pyver, self_described_offsets_agree_with_the_headers_of_this_machine)
{
	static struct python pythons[PYTHONS_MAX];

	return cr_make_param_array(struct python, pythons,
				   pythons__find_some(pythons, PYTHONS_MAX, describes_itself_and_has_headers));
}

/* From 3.13 on: what the file says of itself is what its headers say. */
ParameterizedTest(struct python *python, pyver, self_described_offsets_agree_with_the_headers_of_this_machine)
{
	char command[PATH_MAX + 128], dir[PATH_MAX], *made;
	struct pyoffsets off;
	struct elffile *ef;
	struct pyver ver;
	int fd;

	include_dir(python, dir, sizeof(dir));
	snprintf(command, sizeof(command), "collector/cpython/gen_pyoffsets.sh --all '%s'", dir);
	made = run_and_read(command);
	ef = must_open_file(python->image, &fd);
	must_know(ef, python->image, &ver, &off);
	for (size_t f = 0; f < FIELDS_N; f++) {
		uint32_t offset = *field_of(&off, fields[f].name);
		char line[80];

		if (offset == PYOFF_NONE)
			continue;
		snprintf(line, sizeof(line), ".%.39s = %u,", fields[f].member, offset);
		cr_expect_not_null(strstr(made, line), "%s: the headers do not say %s", python->image, line);
	}
	for (size_t f = 0; f < sizeof(gc_fields) / sizeof(gc_fields[0]); f++) {
		char line[80];

		snprintf(line, sizeof(line), ".%.39s = %u,", gc_fields[f].member, *(uint32_t *)((char *)&off + gc_fields[f].at));
		cr_expect_not_null(strstr(made, line), "%s: the headers do not say %s", python->image, line);
	}
	free(made);
	elffile__close(ef);
	close(fd);
}

/* _PyRuntime with `n` words. */
static void make_long_runtime(const char *path, const uint64_t *words, size_t n, uint64_t size)
{
	char source[8192];
	int len = snprintf(source, sizeof(source), "struct { unsigned long w[%zu]; char rest[%llu]; } _PyRuntime = {{", n,
			   (unsigned long long)(size - n * 8));

	for (size_t i = 0; i < n; i++)
		len += snprintf(source + len, sizeof(source) - (size_t)len, "%lluu,", (unsigned long long)words[i]);
	snprintf(source + len, sizeof(source) - (size_t)len, "}, {1}};\nconst unsigned long Py_Version = %lluu;\n",
		 (unsigned long long)words[1]);
	must_compile(path, "-fdata-sections", source);
}

/* Where the garbage collector is: the words of strings come before its own, at another place in each version. */
Test(pyver, the_garbage_collectors_words_are_those_behind_the_strings)
{
	static struct header_set sets[40];
	static const struct {
		int minor;
		size_t at;           /* of {size, collecting, ...} */
		uint64_t words[5];   /* those */
		uint64_t torn[4];    /* instead of the one before, and of the three behind: 0: as it was */
		uint32_t interp, collecting, stats, ring;
	} cases[] = {
		{13, 71, {240, 200}, {0}, 7400, 200, 128, PYOFF_NONE},
		{14, 81, {264, 192}, {0}, 7400, 192, 120, PYOFF_NONE},
		{15, 93, {240, 128, 136, 1112, 120}, {0}, 7400, 128, PYOFF_NONE, 120},
		{15, 93, {240, 128, 136, 1120, 120}, {0}, 7400, 128, PYOFF_NONE, PYOFF_NONE},
		{14, 81, {264, 264}, {0}, PYOFF_NONE, PYOFF_NONE, PYOFF_NONE, PYOFF_NONE},
		{14, 81, {1ull << 40, 192}, {0}, PYOFF_NONE, PYOFF_NONE, PYOFF_NONE, PYOFF_NONE},
		{14, 81, {264, 192}, {41}, PYOFF_NONE, PYOFF_NONE, PYOFF_NONE, PYOFF_NONE},
		{14, 81, {264, 192}, {0, 32, 16, 40}, PYOFF_NONE, PYOFF_NONE, PYOFF_NONE, PYOFF_NONE},
	};
	size_t n = read_header_sets(sets, 40);
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		uint64_t words[128] = {0};
		struct pyoffsets off;
		struct elffile *ef;
		struct pyver ver;
		int fd;

		for (size_t i = 0; i < n; i++)
			if (sets[i].minor == cases[c].minor && !sets[i].free_threaded)
				memcpy(words, words_of(&sets[i]).word, sizeof(struct words));
		cr_assert_neq(words[0], 0);
		words[cases[c].minor == 13 ? 10 : 11] = 7400;
		words[cases[c].at - 3] = 32, words[cases[c].at - 2] = 16, words[cases[c].at - 1] = cases[c].torn[0] ?: 40;
		memcpy(words + cases[c].at, cases[c].words, sizeof(cases[c].words));
		if (cases[c].torn[1])
			memcpy(words + cases[c].at + 8, cases[c].torn + 1, 3 * sizeof(uint64_t));
		make_long_runtime(path, words, 128, words[3]);
		ef = must_open_file(path, &fd);
		must_know(ef, path, &ver, &off);
		cr_expect_eq(off.interp_gc, cases[c].interp, "case %zu: %d", c, (int)off.interp_gc);
		cr_expect_eq(off.gc_collecting, cases[c].collecting, "case %zu: %d", c, (int)off.gc_collecting);
		cr_expect_eq(off.gc_stats, cases[c].stats, "case %zu: %d", c, (int)off.gc_stats);
		cr_expect_eq(off.gc_ring, cases[c].ring, "case %zu: %d", c, (int)off.gc_ring);
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

/* A layout of frames that can't be costs the stacks, not the rest. */
Test(pyver, frames_that_contradict_themselves_are_not_known)
{
	static struct header_set sets[40];
	size_t n = read_header_sets(sets, 40);
	static const uint64_t absurd[] = {UINT64_MAX, UINT64_MAX - 7, 1u << 31, 1ull << 40};
	static const int used[] = {23, 29, 30, 31, 33, 35, 36, 37, 38, 39, 43};
	char dir[PATH_MAX], path[PATH_MAX + 16];
	struct header_set *set = NULL;

	for (size_t i = 0; i < n; i++)
		if (sets[i].minor == 13)
			set = &sets[i];
	cr_assert_not_null(set);
	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++) {
		struct words w = words_of(set);
		struct pyoffsets off;
		struct elffile *ef;
		struct pyver ver;
		int fd;

		w.word[used[i]] = absurd[i % (sizeof(absurd) / sizeof(absurd[0]))];
		make_runtime(path, &w, set->off.runtime_size, 0x030d00f0);
		ef = must_open_file(path, &fd);
		must_know(ef, path, &ver, &off);
		cr_expect_eq(off.frame_code, PYOFF_NONE, "word %d", used[i]);
		cr_expect_eq(off.interp_modules, set->off.interp_modules);
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

/* What the words leave out follows from the machine: pthread_mutex_t has 8 bytes more on aarch64. */
Test(pyver, self_described_offsets_depend_on_the_machine)
{
	static struct header_set sets[40];
	size_t n = read_header_sets(sets, 40), len, seen = 0;
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/runtime.so", dir);
	for (size_t i = 0; i < n; i++) {
		struct words words = words_of(&sets[i]);
		struct pyoffsets off;
		struct elffile *ef;
		struct pyver ver;
		char *bytes;
		int fd;

		if (sets[i].minor < 13)
			continue;
		make_runtime(path, &words, sets[i].off.runtime_size, 0);
		bytes = must_read(path, &len);
		bytes[0x12] = (char)EM_AARCH64; /* e_machine */
		must_write(path, bytes, len);
		free(bytes);
		ef = must_open_file(path, &fd);
		must_know(ef, path, &ver, &off);
		cr_expect_eq(off.gil_cond, sets[i].off.gil_cond);
		cr_expect_eq(off.gil_switch_cond, sets[i].off.gil_switch_cond + 8);
		elffile__close(ef);
		close(fd);
		seen++;
	}
	cr_expect_gt(seen, 0);
	temp_dir__remove(dir);
}

Test(pyver, self_descriptions_that_contradict_themselves_are_refused)
{
	static struct header_set sets[40];
	size_t n = read_header_sets(sets, 40);
	static const uint64_t absurd[] = {UINT64_MAX, UINT64_MAX - 7, 1u << 31, 3, 1ull << 40};
	static const int used[] = {3, 5, 7, 8, 9, 14, 15, 17, 18, 21, 22, 24, 25};
	char dir[PATH_MAX], path[PATH_MAX + 16];
	struct header_set *set = NULL;

	for (size_t i = 0; i < n; i++)
		if (sets[i].minor == 13 && !sets[i].free_threaded)
			set = &sets[i];
	cr_assert_not_null(set);
	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	make_runtime(path, &(struct words){{0}}, set->off.runtime_size, 0x030d00f0);
	for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++)
		for (size_t a = 0; a < sizeof(absurd) / sizeof(absurd[0]); a++) {
			struct words w = words_of(set);
			struct elf_symbol runtime;
			struct pyoffsets off;
			struct reason why = {""};
			struct elffile *ef;
			struct pyver ver;
			uint64_t offset;
			char *bytes;
			size_t len;
			int fd;

			w.word[used[i]] = absurd[a];
			ef = must_open_file(path, &fd);
			cr_assert_eq(elffile__dynsym(ef, "_PyRuntime", &runtime), 0);
			cr_assert_eq(elffile__offset_of(ef, runtime.vaddr, &offset), 0);
			elffile__close(ef);
			close(fd);
			bytes = must_read(path, &len);
			memcpy(bytes + offset, &w, sizeof(w));
			fd = memory_file(bytes, len);
			free(bytes);
			cr_assert_eq(elffile__open(fd, &ef, &why), 0);
			cr_assert_eq(pyver__identify(ef, "x", &ver, &why), 0);
			cr_expect_eq(pyver__offsets(ef, &ver, &off, &why), -ENOTSUP, "word %d = %llx", used[i],
				     (unsigned long long)absurd[a]);
			cr_expect(strstr(why.text, "contradict"), "%s", why.text);
			elffile__close(ef);
			close(fd);
		}
	temp_dir__remove(dir);
}

Test(pyver, versions_without_a_known_layout_are_refused)
{
	static const struct {
		uint64_t version;
		char says[48];
	} cases[] = {{0x031000f0, "newer than this gilscope knows"}, {0x030d00f0, "does not describe itself"}};
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/lib.so", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {""};
		struct pyoffsets off;
		struct elffile *ef;
		struct pyver ver;
		int fd;

		make_runtime(path, &(struct words){{0}}, 4096, cases[i].version);
		ef = must_open_file(path, &fd);
		cr_assert_eq(pyver__identify(ef, "x", &ver, &why), 0);
		cr_expect_eq(pyver__offsets(ef, &ver, &off, &why), -ENOTSUP);
		cr_expect(strstr(why.text, cases[i].says), "%s", why.text);
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

/* ---- live processes ----------------------------------------------------------------------------------------------- */

/* A target seen through all the steps up to its GILs. */
struct sight {
	struct target *t;
	struct elffile *ef;
	struct pyver ver;
	struct pyoffsets off;
	struct gil_address gils[8];
	int gils_n;
	bool enabled;
};

static void look(pid_t pid, struct sight *s)
{
	struct reason why = {""};

	cr_assert_eq(target__open(pid, &s->t, &why), 0, "%s", why.text);
	cr_assert_eq(elffile__open(s->t->image.fd, &s->ef, &why), 0, "%s", why.text);
	must_know(s->ef, s->t->image.path, &s->ver, &s->off);
	cr_assert_eq(pygils__find(s->t, s->ef, &s->off, s->gils, 8, &s->gils_n, &s->enabled, &why), 0, "%s: %s",
		     s->t->image.path, why.text);
}

static void look_away(struct sight *s)
{
	elffile__close(s->ef);
	target__close(s->t);
}

/* A python that waits on its standard input has released the GIL; its main thread was the last to hold it. */
Test(pyver, every_python_here_shows_one_gil_last_held_by_its_main_thread)
{
	static struct python pythons[PYTHONS_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8);

	for (size_t i = 0; i < n; i++) {
		struct child child;
		uint64_t holder = 0;
		struct sight s;

		child__start_python(&child, pythons[i].exe);
		look(child.pid, &s);
		cr_expect_eq(s.gils_n, 1, "%s", pythons[i].exe);
		cr_expect_eq(s.gils[0].interp_id, 0);
		cr_expect_eq(s.gils[0].interp != 0, pythons[i].minor >= 12);
		cr_expect(s.enabled);
		cr_assert_eq(procmem__read_u64(child.pid, s.gils[0].gil + s.off.gil_last_holder, &holder), 0);
		cr_expect_eq(pytid__of_tstate(child.pid, &s.off, holder), child.pid, "%s", pythons[i].exe);
		cr_expect_eq(pytid__of_tstate(child.pid, &s.off, 8), 0, "a wild pointer has no thread");
		look_away(&s);
		child__stop(&child);
	}
}

/* 3.12+: interpreters of their own GIL, each counted once and main first, however many there are. */
static bool since_3_12(const struct python *python)
{
	return python->minor >= 12;
}

ParameterizedTestParameters(pyver, interpreters_with_a_gil_of_their_own_are_told_apart)
{
	static struct python pythons[PYTHONS_MAX];

	return cr_make_param_array(struct python, pythons, pythons__find_some(pythons, PYTHONS_MAX, since_3_12));
}

ParameterizedTest(struct python *python, pyver, interpreters_with_a_gil_of_their_own_are_told_apart)
{
	static const char code[] = "import sys\n"
				   "try:\n import _interpreters as i\n k = 'isolated'\n"
				   "except ImportError:\n import _xxsubinterpreters as i\n k = None\n"
				   "a = [i.create(k) if k else i.create(isolated=True) for _ in range(11)]\n"
				   "print('ready', flush=True); sys.stdin.read()\n";
	char *const argv[] = {python->exe, "-c", (char *)code, NULL};
	struct child child;
	struct sight s;

	child__start(&child, argv, NULL);
	look(child.pid, &s);
	cr_expect_eq(s.gils_n, 8, "as many as were asked for, not %d", s.gils_n);
	for (int a = 0; a < s.gils_n; a++) {
		cr_expect_eq(s.gils[a].interp_id, a);
		for (int b = 0; b < a; b++)
			cr_expect_neq(s.gils[a].gil, s.gils[b].gil);
	}
	look_away(&s);
	child__stop(&child);
}

ParameterizedTestParameters(pyver, interpreters_come_and_go_on_the_list)
{
	static struct python pythons[PYTHONS_MAX];

	return cr_make_param_array(struct python, pythons, pythons__find_some(pythons, PYTHONS_MAX, since_3_12));
}

ParameterizedTest(struct python *python, pyver, interpreters_come_and_go_on_the_list)
{
	static const char code[] = "import sys\n"
				   "try:\n import _interpreters as i\n"
				   "except ImportError:\n import _xxsubinterpreters as i\n"
				   "a = [i.create() for _ in range(4)]\n"
				   "i.destroy(a[1])\n"
				   "print('ready', flush=True); sys.stdin.read()\n";
	char *const argv[] = {python->exe, "-c", (char *)code, NULL};
	uint64_t ids[8], runtime;
	struct elf_symbol symbol;
	struct child child;
	struct sight s;
	int n = 0;

	child__start(&child, argv, NULL);
	look(child.pid, &s);
	cr_assert_eq(elffile__dynsym(s.ef, "_PyRuntime", &symbol), 0);
	runtime = symbol.vaddr + s.t->image.bias;
	cr_assert_eq(pyinterps__ids(child.pid, &s.off, runtime, ids, 8, &n), 0);
	cr_assert_eq(n, 4);
	cr_expect(ids[0] == 4 && ids[1] == 3 && ids[2] == 1 && ids[3] == 0);
	cr_expect_eq(pyinterps__ids(child.pid, &s.off, runtime, ids, 3, &n), -EAGAIN, "a list that is longer");
	cr_expect_eq(pyinterps__ids(child.pid, &s.off, 0x1000, ids, 8, &n), -EAGAIN, "a wrong address");
	cr_expect_eq(pyinterps__main_gil(child.pid, &s.off, runtime), s.gils[0].gil);
	look_away(&s);
	child__stop(&child);
}

/* ---- hostile memory ------------------------------------------------------------------------------------------------ */

/* A runtime in our own memory, in the layout of 3.12: the walk reads it as it would read a target. */
struct fake {
	uint8_t runtime[4096] __attribute__((aligned(16)));
	uint8_t interp[2][4096];
	uint8_t tstate[2][512];
	uint8_t gil[512];
	struct target target;
	struct elffile *ef;
	struct pyoffsets off;
	int fd;
	char dir[PATH_MAX];
};

static void put(void *base, uint32_t offset, uint64_t value)
{
	memcpy((uint8_t *)base + offset, &value, sizeof(value));
}

static void put_int(void *base, uint32_t offset, int32_t value)
{
	memcpy((uint8_t *)base + offset, &value, sizeof(value));
}

/* One interpreter, two threads, the first of which holds the GIL. */
static void fake__fill(struct fake *f)
{
	const struct pyoffsets *o = &f->off;

	memset(f->runtime, 0, sizeof(f->runtime));
	memset(f->interp, 0, sizeof(f->interp));
	memset(f->tstate, 0, sizeof(f->tstate));
	memset(f->gil, 0, sizeof(f->gil));
	put(f->runtime, o->runtime_interpreters_head, (uintptr_t)f->interp[0]);
	put(f->interp[0], o->interp_threads_head, (uintptr_t)f->tstate[0]);
	put(f->interp[0], o->interp_gil, (uintptr_t)f->gil);
	put(f->tstate[0], o->tstate_next, (uintptr_t)f->tstate[1]);
	put(f->tstate[0], o->tstate_interp, (uintptr_t)f->interp[0]);
	put(f->tstate[1], o->tstate_interp, (uintptr_t)f->interp[0]);
	put(f->gil, o->gil_interval, 5000);
	put(f->gil, o->gil_last_holder, (uintptr_t)f->tstate[0]);
	put_int(f->gil, o->gil_locked, 1);
}

static void fake__open(struct fake *f)
{
	struct elf_symbol runtime;
	struct pyver ver;
	char path[PATH_MAX + 16];

	memset(f, 0, sizeof(*f));
	temp_dir__make(f->dir, sizeof(f->dir));
	snprintf(path, sizeof(path), "%s/lib.so", f->dir);
	make_runtime(path, &(struct words){{0}}, 459944, 0x030c01f0);
	f->ef = must_open_file(path, &f->fd);
	must_know(f->ef, path, &ver, &f->off);
	cr_assert_eq(elffile__dynsym(f->ef, "_PyRuntime", &runtime), 0);
	f->target.pid = getpid();
	f->target.image.bias = (uintptr_t)f->runtime - runtime.vaddr;
	fake__fill(f);
}

static void fake__close(struct fake *f)
{
	elffile__close(f->ef);
	close(f->fd);
	temp_dir__remove(f->dir);
}

static int fake__walk(struct fake *f, int *ret_n, struct reason *why)
{
	struct gil_address gils[4];
	bool enabled;

	return pygils__find(&f->target, f->ef, &f->off, gils, 4, ret_n, &enabled, why);
}

Test(pyver, a_sound_runtime_in_memory_is_accepted)
{
	static struct fake f;
	struct reason why = {""};
	int n = 0;

	fake__open(&f);
	cr_expect_eq(fake__walk(&f, &n, &why), 0, "%s", why.text);
	cr_expect_eq(n, 1);
	put_int(f.gil, f.off.gil_locked, -1);
	cr_expect_eq(fake__walk(&f, &n, &why), 0, "before its first use: %s", why.text);
	put_int(f.gil, f.off.gil_locked, 0);
	put(f.gil, f.off.gil_last_holder, (uintptr_t)f.tstate[1] + 8);
	cr_expect_eq(fake__walk(&f, &n, &why), 0, "a holder that has ended may dangle: %s", why.text);
	fake__close(&f);
}

/* Off the list, with the GIL still: for as long as it has no CPU. */
Test(pyver, holder_that_is_about_to_end_is_believed_by_its_way_back)
{
	static struct fake f;
	struct reason why = {""};
	int n = 0;

	fake__open(&f);
	put(f.interp[0], f.off.interp_threads_head, (uintptr_t)f.tstate[1]);
	put(f.tstate[0], f.off.tstate_next, 0);
	cr_expect_eq(fake__walk(&f, &n, &why), 0, "%s", why.text);
	cr_expect_eq(n, 1);
	put(f.tstate[0], f.off.tstate_interp, (uintptr_t)f.interp[1]);
	cr_expect_eq(fake__walk(&f, &n, &why), -ENOTSUP, "it has no way back");
	fake__close(&f);
}

enum bend {
	BEND_LOCKED, BEND_INTERVAL_0, BEND_INTERVAL_HUGE, BEND_HOLDER_STRANGER, BEND_HOLDER_ODD, BEND_HOLDER_KERNEL,
	BEND_HOLDER_NULL, BEND_THREAD_RING, BEND_INTERP_RING, BEND_HEAD_WILD, BEND_NEXT_WILD, BEND_GIL_WILD, BEND_BACK, BEND_ID,
	BENDS,
};

static void bend(struct fake *f, enum bend how)
{
	const struct pyoffsets *o = &f->off;

	switch (how) {
	case BEND_LOCKED: put_int(f->gil, o->gil_locked, 7); break;
	case BEND_INTERVAL_0: put(f->gil, o->gil_interval, 0); break;
	case BEND_INTERVAL_HUGE: put(f->gil, o->gil_interval, UINT64_MAX); break;
	case BEND_HOLDER_STRANGER: put(f->gil, o->gil_last_holder, (uintptr_t)f->interp[1]); break;
	case BEND_HOLDER_ODD: put(f->gil, o->gil_last_holder, (uintptr_t)f->tstate[0] + 1); break;
	case BEND_HOLDER_KERNEL: put(f->gil, o->gil_last_holder, 0xffff888000000000); break;
	case BEND_HOLDER_NULL: put(f->gil, o->gil_last_holder, 0); break;
	case BEND_THREAD_RING:
		put(f->tstate[1], o->tstate_next, (uintptr_t)f->tstate[0]);
		put(f->gil, o->gil_last_holder, (uintptr_t)f->interp[1]);
		break;
	case BEND_INTERP_RING: put(f->interp[0], o->interp_next, (uintptr_t)f->interp[0]); break;
	case BEND_HEAD_WILD: put(f->runtime, o->runtime_interpreters_head, 0x10); break;
	case BEND_NEXT_WILD: put(f->interp[0], o->interp_next, 0x7ffffffff000); break;
	case BEND_GIL_WILD: put(f->interp[0], o->interp_gil, 0x7ffffffff000); break;
	case BEND_BACK: put(f->tstate[0], o->tstate_interp, (uintptr_t)f->interp[1]); break;
	case BEND_ID: put(f->interp[0], o->interp_id, UINT64_MAX); break;
	case BENDS: break;
	}
}

Test(pyver, implausible_memory_is_refused_and_never_followed_for_ever)
{
	static struct fake f;

	fake__open(&f);
	for (int how = 0; how < BENDS; how++) {
		struct reason why = {""};
		int n = 77;

		fake__fill(&f);
		bend(&f, (enum bend)how);
		cr_expect_eq(fake__walk(&f, &n, &why), -ENOTSUP, "bend %d", how);
		cr_expect_eq(n, 77, "the result was touched");
		cr_expect(strstr(why.text, "does not look like its CPython"), "bend %d: %s", how, why.text);
	}
	fake__close(&f);
}

Test(pyver, a_runtime_that_has_not_started_is_told_from_a_wrong_one)
{
	static struct fake f;
	struct reason why = {""};
	int n;

	fake__open(&f);
	put(f.runtime, f.off.runtime_interpreters_head, 0);
	cr_expect_eq(fake__walk(&f, &n, &why), -EAGAIN);
	cr_expect(strstr(why.text, "not started"), "%s", why.text);
	fake__fill(&f);
	put(f.interp[0], f.off.interp_gil, 0);
	cr_expect_eq(fake__walk(&f, &n, &why), -EAGAIN, "an interpreter in the making");
	f.target.pid = 0x3fffffff;
	cr_expect_eq(fake__walk(&f, &n, &why), -ESRCH);
	fake__close(&f);
}

Test(pyver, a_gil_that_is_switched_off_is_said)
{
	static struct fake f;
	struct gil_address gils[4];
	struct reason why = {""};
	bool enabled = true;
	int n;

	fake__open(&f);
	f.off.gil_enabled = 300; /* out of what is read of a GIL: no such layout is known */
	cr_expect_eq(pygils__find(&f.target, f.ef, &f.off, gils, 4, &n, &enabled, &why), -ENOTSUP);
	f.off.gil_enabled = 24;
	cr_assert_eq(pygils__find(&f.target, f.ef, &f.off, gils, 4, &n, &enabled, &why), 0, "%s", why.text);
	cr_expect_not(enabled);
	put_int(f.gil, 24, 1);
	cr_assert_eq(pygils__find(&f.target, f.ef, &f.off, gils, 4, &n, &enabled, &why), 0);
	cr_expect(enabled);
	fake__close(&f);
}
