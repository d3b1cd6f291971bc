/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The probe plan and the offsets for aarch64, on any machine: against objdump's reading of the distribution's arm64 Python,
 * against what clang makes of its headers, and on small libraries assembled here. What these files are: fetch-arm64.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/cpython/pyver.h"
#include "collector/plan/image.h"
#include "collector/plan/sites.h"
#include "../support/pythons.h"

/* Where the packages are unpacked; skips the test if they could not be had. */
static const char *arm64_root(void)
{
	static char root[PATH_MAX];
	const char *dir = getenv("GILSCOPE_ARM64");
	char complete[PATH_MAX];

	snprintf(root, sizeof(root), "%s/tree", dir ? dir : ".output/arm64");
	snprintf(complete, sizeof(complete), "%s/complete", dir ? dir : ".output/arm64");
	if (access(complete, F_OK) != 0)
		cr_skip_test("the arm64 packages are not here: make deps fetches them");
	return root;
}

/* The interpreters in them: the executable and libpython. */
static size_t arm64_images(char images[][PATH_MAX], size_t max)
{
	static const char *const patterns[] = {"usr/bin/python3.*[0-9]", "usr/lib/*/libpython3.*.so.1.0"};
	const char *root = arm64_root();
	size_t n = 0;

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		char pattern[PATH_MAX + 64];
		glob_t g;

		snprintf(pattern, sizeof(pattern), "%s/%s", root, patterns[i]);
		if (glob(pattern, 0, NULL, &g) == 0)
			for (size_t j = 0; j < g.gl_pathc && n < max; j++)
				snprintf(images[n++], PATH_MAX, "%s", g.gl_pathv[j]);
		globfree(&g);
	}
	cr_assert_geq(n, 2, "an executable and a library");
	return n;
}

static struct elffile *must_open(const char *path, int *ret_fd)
{
	struct reason why = {""};
	struct elffile *ef;

	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(*ret_fd, 0, "%s", path);
	cr_assert_eq(elffile__open(*ret_fd, &ef, &why), 0, "%s: %s", path, why.text);
	cr_assert_eq(elffile__machine(ef), EM_AARCH64);
	return ef;
}

static int plan_file(const char *path, bool library, struct site_plan **ret, struct reason *why)
{
	int fd, err;
	struct elffile *ef = must_open(path, &fd);

	err = library ? sites__plan_library(ef, "", ret, why) : sites__plan(ef, ret, why);
	elffile__close(ef);
	close(fd);
	return err;
}

static size_t count(const struct site_plan *plan, enum site_role role)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->sites_n; i++)
		n += plan->sites[i].role == role;
	return n;
}

static enum site_role role_of(const char *callee)
{
	return strcmp(callee, "signal") == 0 ? SITE_SIGNAL : strcmp(callee, "timedwait") == 0 ? SITE_WAIT : SITE_HANDOFF;
}

/* ---- the distribution's interpreters ---------------------------------------------------------------------------- */

static void expect_site(const struct site_plan *plan, uint64_t vaddr, enum site_role role, const char *what)
{
	for (size_t i = 0; i < plan->sites_n; i++)
		if (plan->sites[i].vaddr == vaddr) {
			cr_expect_eq(plan->sites[i].role, role, "%s", what);
			return;
		}
	cr_expect_fail("not in the plan: %s", what);
}

Test(arm64, objdump_finds_the_same_calls)
{
	char images[4][PATH_MAX], command[PATH_MAX + 256], line[256], callee[32];
	size_t n = arm64_images(images, 4);

	for (size_t i = 0; i < n; i++) {
		struct site_plan *plan = NULL;
		struct reason why = {""};
		size_t seen = 0;
		uint64_t vaddr;
		FILE *f;

		cr_assert_eq(plan_file(images[i], false, &plan, &why), 0, "%s: %s", images[i], why.text);
		snprintf(command, sizeof(command),
			 "aarch64-linux-gnu-objdump -d --no-show-raw-insn '%s' | sed -nE "
			 "'s/^ *([0-9a-f]+):\\s+(bl|b)\\s.*<pthread_cond_(signal|timedwait|wait)@plt>$/\\1 \\3/p'",
			 images[i]);
		f = popen(command, "re");
		cr_assert_not_null(f);
		for (; fgets(line, sizeof(line), f); seen++) {
			cr_assert_eq(sscanf(line, "%" SCNx64 " %31s", &vaddr, callee), 2, "%s", line);
			expect_site(plan, vaddr, role_of(callee), line);
		}
		cr_expect_eq(pclose(f), 0);
		cr_expect_eq(seen, plan->sites_n - count(plan, SITE_WAKE), "%s", images[i]);
		cr_expect_geq(count(plan, SITE_SIGNAL), 2);
		cr_expect_geq(count(plan, SITE_HANDOFF), 1);
		cr_expect(plan->light && count(plan, SITE_WAKE) == count(plan, SITE_WAIT), "%s", images[i]);
		cr_expect_str_eq(plan->notes, "", "%s: %s", images[i], plan->notes);
		for (size_t s = 0; s < plan->sites_n; s++)
			cr_expect(plan->sites[s].price == SITE_EMULATED && plan->sites[s].vaddr % 4 == 0);
		site_plan__free(plan);
	}
}

/* Without section headers the PLT is looked for in all of the code. */
Test(arm64, section_headers_are_not_needed)
{
	char images[4][PATH_MAX], dir[PATH_MAX], copy[PATH_MAX + 16];
	size_t n = arm64_images(images, 4), len;

	temp_dir__make(dir, sizeof(dir));
	snprintf(copy, sizeof(copy), "%s/bare", dir);
	for (size_t i = 0; i < n; i++) {
		struct site_plan *whole = NULL, *bare = NULL;
		char *bytes = must_read(images[i], &len);

		memset(bytes + 0x28, 0, 8); /* e_shoff */
		memset(bytes + 0x3c, 0, 4); /* e_shnum, e_shstrndx */
		must_write(copy, bytes, len);
		free(bytes);
		cr_assert_eq(plan_file(images[i], false, &whole, NULL), 0);
		cr_assert_eq(plan_file(copy, false, &bare, NULL), 0);
		cr_assert_eq(whole->sites_n, bare->sites_n, "%s", images[i]);
		for (size_t s = 0; s < whole->sites_n; s++)
			cr_expect_eq(whole->sites[s].vaddr, bare->sites[s].vaddr);
		site_plan__free(whole);
		site_plan__free(bare);
	}
	temp_dir__remove(dir);
}

/* In an emulator: a breakpoint would be put into bytes that are only read. */
Test(arm64, a_process_of_another_machine_is_refused)
{
	static struct target t = {.pid = 4242};
	char images[4][PATH_MAX];
	struct site_plan *plan = NULL;
	struct reason why = {""};
	struct elffile *ef;
	int fd;

	arm64_images(images, 4);
	ef = must_open(images[0], &fd);
	cr_expect_eq(image__plan(&t, ef, &(struct pyver){0}, &plan, &why), -ENOTSUP);
	cr_expect_null(plan);
	cr_expect(strstr(why.text, "process 4242 runs code of another machine"), "%s", why.text);
	elffile__close(ef);
	close(fd);
}

/* ---- offsets -------------------------------------------------------------------------------------------------------- */

/* What the headers must agree to; the names changed with the versions as pyoffsets_gen.c has it. */
static void write_claims(const char *path, const struct pyver *ver, const struct pyoffsets *off)
{
	FILE *f = fopen(path, "we");

	cr_assert_not_null(f);
	fprintf(f, "#define Py_BUILD_CORE 1\n#include <Python.h>\n#include <stddef.h>\n#include \"internal/pycore_gil.h\"\n"
		   "#include \"internal/pycore_interp.h\"\n#include \"internal/pycore_runtime.h\"\n"
		   "#define IS(a, b) _Static_assert((a) == (b), #a)\n"
		   "#define AT(s, m, at) IS(offsetof(s, m), at)\n");
	fprintf(f, "IS(PY_MINOR_VERSION, %d);\n", ver->minor);
	fprintf(f, "AT(struct _gil_runtime_state, interval, %u);\nAT(struct _gil_runtime_state, last_holder, %u);\n"
		   "AT(struct _gil_runtime_state, locked, %u);\nAT(struct _gil_runtime_state, cond, %u);\n"
		   "AT(struct _gil_runtime_state, switch_cond, %u);\n",
		off->gil_interval, off->gil_last_holder, off->gil_locked, off->gil_cond, off->gil_switch_cond);
	fprintf(f, "AT(_PyRuntimeState, interpreters.head, %u);\nAT(PyInterpreterState, next, %u);\n"
		   "AT(PyInterpreterState, id, %u);\nAT(PyThreadState, next, %u);\nAT(PyThreadState, interp, %u);\n"
		   "AT(PyThreadState, thread_id, %u);\n",
		off->runtime_interpreters_head, off->interp_next, off->interp_id, off->tstate_next, off->tstate_interp,
		off->tstate_thread_id);
	if (ver->minor < 13)
		fprintf(f, "IS(sizeof(_PyRuntimeState), %" PRIu64 ");\n", off->runtime_size);
	if (off->runtime_gil != PYOFF_NONE)
		fprintf(f, "AT(_PyRuntimeState, ceval.gil, %u);\n", off->runtime_gil);
	if (off->interp_gil != PYOFF_NONE)
		fprintf(f, "AT(PyInterpreterState, ceval.gil, %u);\n", off->interp_gil);
	if (off->interp_gil_drop_request != PYOFF_NONE)
		fprintf(f, "AT(PyInterpreterState, ceval.gil_drop_request, %u);\n", off->interp_gil_drop_request);
	if (off->tstate_native_thread_id != PYOFF_NONE)
		fprintf(f, "AT(PyThreadState, native_thread_id, %u);\n", off->tstate_native_thread_id);
	if (off->tstate_eval_breaker != PYOFF_NONE)
		fprintf(f, "AT(PyThreadState, eval_breaker, %u);\n", off->tstate_eval_breaker);
	fprintf(f, "AT(PyInterpreterState, gc, %u);\nAT(struct _gc_runtime_state, collecting, %u);\n"
		   "AT(struct _gc_runtime_state, generation_stats, %u);\n", off->interp_gc, off->gc_collecting, off->gc_stats);
	if (ver->minor >= 11)
		fprintf(f, "AT(PyInterpreterState, threads.head, %u);\n", off->interp_threads_head);
	fclose(f);
}

static int claims_hold(const char *path, const struct pyver *ver)
{
	const char *clang = getenv("CLANG"), *root = arm64_root();
	char command[6 * PATH_MAX];

	snprintf(command, sizeof(command),
		 "%s --target=aarch64-linux-gnu -fsyntax-only -w -nostdlibinc -isystem '%s/usr/include/aarch64-linux-gnu' "
		 "-isystem '%s/usr/include' -I'%s/usr/include/python3.%d' -I'%s/usr/include/python3.%d/internal' '%s' 2>'%s.log'",
		 clang ? clang : "clang", root, root, root, ver->minor, root, ver->minor, path, path);
	return system(command); /* NOLINT: our own command line */
}

/* The compiler's own layout for that machine, from the headers that its packages have. */
Test(arm64, the_headers_of_the_arm64_packages_agree_with_the_offsets)
{
	char images[4][PATH_MAX], dir[PATH_MAX], path[PATH_MAX + 16];
	size_t n = arm64_images(images, 4);

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/claims.c", dir);
	for (size_t i = 0; i < n; i++) {
		struct elf_symbol runtime;
		struct reason why = {""};
		struct pyoffsets off;
		struct pyver ver;
		int fd;
		struct elffile *ef = must_open(images[i], &fd);

		cr_assert_eq(pyver__identify(ef, images[i], &ver, &why), 0, "%s", why.text);
		cr_assert_eq(pyver__offsets(ef, &ver, &off, &why), 0, "%s", why.text);
		cr_expect_eq(off.source, ver.minor < 13 ? PYOFFSETS_TABLE : PYOFFSETS_DEBUG, "%s %s", images[i], ver.text);
		cr_assert_eq(elffile__dynsym(ef, "_PyRuntime", &runtime), 0);
		cr_expect_eq(off.runtime_size, runtime.size);
		write_claims(path, &ver, &off);
		cr_expect_eq(claims_hold(path, &ver), 0, "%s: see the static assertions of claims.c", images[i]);
		off.gil_switch_cond -= 8; /* as on x86-64 */
		write_claims(path, &ver, &off);
		cr_expect_neq(claims_hold(path, &ver), 0, "the headers agree to everything");
		elffile__close(ef);
		close(fd);
	}
	temp_dir__remove(dir);
}

/* Each row that the headers here give stands in the committed table. */
Test(arm64, the_committed_table_is_what_the_headers_of_this_machine_say)
{
	char dir[PATH_MAX], path[PATH_MAX + 16], *made, *committed, *row, *end;
	size_t len;

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/table", dir);
	must_run("collector/cpython/gen_pyoffsets.sh --aarch64 >'%s'", path);
	made = must_read(path, &len);
	committed = must_read("collector/cpython/pyoffsets_arm64.inc", &len);
	for (row = strstr(made, "{\n\t.minor"); row; row = strstr(end + 1, "{\n\t.minor")) {
		end = strstr(row, "\n},\n");
		cr_assert_not_null(end);
		*end = '\0';
		cr_expect_not_null(strstr(committed, row), "differs from the headers: %s", row);
	}
	free(made);
	free(committed);
	temp_dir__remove(dir);
}

/* ---- instructions of which everything is known ---------------------------------------------------------------------- */

#define FUNC(name, body) ".globl " name "\n" LOCAL(name, body)
#define LOCAL(name, body) \
	".type " name ",%function\n" name ":\n.cfi_startproc\n" body ".cfi_endproc\n.size " name ",.-" name "\n"
#define SIGNAL "bl pthread_cond_signal\n"
#define WAIT "bl pthread_cond_timedwait\ncmp w0, #110\nb.eq 1f\n1: nop\n"
#define BASE FUNC("take", SIGNAL WAIT SIGNAL "ret\n")
#define SLOT(reg) "adrp " reg ", :got:pthread_cond_signal\n"
#define FROM(dest, reg) "ldr " dest ", [" reg ", :got_lo12:pthread_cond_signal]\n"
#define OWN_LIBC(inside) \
	LOCAL("helper", "b pthread_cond_signal\n") LOCAL("handler", "bl helper\nret\n") \
	LOCAL("pthread_cond_signal", "ret\n") LOCAL("__pthread_cond_wait", "b pthread_cond_timedwait\n") \
	LOCAL("pthread_cond_timedwait", inside "ret\n")

struct arm64_case {
	char what[48];
	char code[1024];
	int signals, waits, handoffs, wakes;
	bool light, incomplete;
	char notes[40]; /* to be found in the notes, "" if there must be none */
};

static const struct arm64_case cases[] = {
	{"plain calls", BASE FUNC("drop", "bl pthread_cond_wait\nret\n"), 2, 1, 1, 1, true, false, ""},
	{"tail jump", BASE FUNC("f", "b pthread_cond_signal\n"), 3, 1, 0, 1, true, false, ""},
	{"an instruction newer than the decoder", BASE FUNC("f", ".word 0xb8e10041\n" SIGNAL "ret\n"), 3, 1, 0, 1, true, false, ""},
	{"call through the GOT", BASE FUNC("f", SLOT("x1") FROM("x1", "x1") "blr x1\nret\n"), 3, 1, 0, 1, true, false, ""},
	{"with other instructions between",
	 BASE FUNC("f", SLOT("x2") "mov x19, x0\n" FROM("x1", "x2") "add x0, x19, #32\nstr x0, [sp]\nblr x1\nret\n"),
	 3, 1, 0, 1, true, false, ""},
	{"tail jump through the GOT", BASE FUNC("f", SLOT("x16") FROM("x17", "x16") "br x17\n"), 3, 1, 0, 1, true, false, ""},
	{"a register kept over calls", BASE FUNC("f", SLOT("x1") FROM("x19", "x1") "blr x19\nblr x19\nret\n"), 2, 1, 0, 1, true, true,
	 "taken into a register"},
	{"a branch before the call", BASE FUNC("f", SLOT("x1") FROM("x1", "x1") "cbz x0, 1f\nblr x1\n1: ret\n"), 2, 1, 0, 1, true, true,
	 "taken into a register"},
	{"a call that others come to", BASE FUNC("f", "cbz x0, 1f\n" SLOT("x1") FROM("x1", "x1") "1: blr x1\nret\n"), 2, 1, 0, 1, true,
	 true, "taken into a register"},
	{"another call before it", BASE FUNC("f", SLOT("x1") FROM("x1", "x1") "blr x2\nblr x1\nret\n"), 2, 1, 0, 1, true, true,
	 "taken into a register"},
	{"the address overwritten", BASE FUNC("f", SLOT("x1") FROM("x1", "x1") "mov w1, w2\nblr x1\nret\n"), 2, 1, 0, 1, true, true,
	 "taken into a register"},
	{"a load from another page", BASE FUNC("f", SLOT("x1") "mov x1, x2\n" FROM("x3", "x1") "blr x3\nret\n"), 2, 1, 0, 1, true, false,
	 ""},
	{"a page made in another function", BASE FUNC("f", SLOT("x1") "ret\n") FUNC("g", FROM("x3", "x1") "blr x3\nret\n"), 2, 1, 0, 1, true,
	 false, ""},
	{"function without an FDE", BASE ".globl f\nf: bl pthread_cond_signal\nret\n", 2, 1, 0, 1, true, true, "not proven an instruction"},
	{"cbnz as the wake", FUNC("take", SIGNAL SIGNAL "bl pthread_cond_timedwait\nldr w4, [sp, #8]\ncbnz w0, 1f\n1: ret\n"), 2, 1, 0, 1,
	 true, false, ""},
	{"tbz as the wake", FUNC("take", SIGNAL SIGNAL "bl pthread_cond_timedwait\ntbz w0, #1, 1f\n1: ret\n"), 2, 1, 0, 1, true, false, ""},
	{"a call before the wake", FUNC("take", SIGNAL SIGNAL "bl pthread_cond_timedwait\nblr x1\ncbz w0, 1f\n1: ret\n"), 2, 1, 0, 0, false,
	 false, "no light mode"},
	{"a wake that others come to", FUNC("take", SIGNAL SIGNAL "b 2f\nbl pthread_cond_timedwait\n2: cbz w0, 1f\n1: ret\n"), 2, 1, 0, 0,
	 false, false, "no light mode"},
	{"own functions", OWN_LIBC("") BASE FUNC("drop", "bl __pthread_cond_wait\nret\n"), 3, 1, 1, 1, true, false, "nothing is missed"},
	{"a call inside the library", OWN_LIBC("bl helper\n") BASE, 2, 1, 0, 1, true, false, "nothing is missed"},
	{"a handler inside the library", OWN_LIBC("adrp x0, handler\nadd x0, x0, :lo12:handler\n") BASE, 2, 1, 0, 1, true, false,
	 "nothing is missed"},
	{"a near handler inside the library", OWN_LIBC("adr x0, handler\n") BASE, 2, 1, 0, 1, true, false, "nothing is missed"},
};

static void must_assemble(const char *path, const char *source)
{
	char input[PATH_MAX + 16];

	snprintf(input, sizeof(input), "%s.s", path);
	must_write(input, source, strlen(source));
	must_run("aarch64-linux-gnu-as -march=armv8.3-a -o '%s.o' '%s' && "
		 "aarch64-linux-gnu-ld -shared -o '%s' '%s.o'",
		 path, input, path, path);
}

Test(arm64, known_instructions_are_told_for_what_they_are)
{
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/code.so", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct arm64_case *c = &cases[i];
		struct site_plan *plan = NULL;
		struct reason why = {""};

		must_assemble(path, c->code);
		cr_expect_eq(plan_file(path, false, &plan, &why), 0, "%s: %s", c->what, why.text);
		if (!plan)
			continue;
		cr_expect_eq((int)count(plan, SITE_SIGNAL), c->signals, "%s: %zu signals", c->what, count(plan, SITE_SIGNAL));
		cr_expect_eq((int)count(plan, SITE_WAIT), c->waits, "%s: %zu waits", c->what, count(plan, SITE_WAIT));
		cr_expect_eq((int)count(plan, SITE_HANDOFF), c->handoffs, "%s: %zu handoffs", c->what, count(plan, SITE_HANDOFF));
		cr_expect_eq((int)count(plan, SITE_WAKE), c->wakes, "%s: %zu wakes", c->what, count(plan, SITE_WAKE));
		cr_expect_eq(plan->light, c->light, "%s", c->what);
		cr_expect_eq(plan->incomplete, c->incomplete, "%s: %s", c->what, plan->notes);
		cr_expect(c->notes[0] ? strstr(plan->notes, c->notes) != NULL : plan->notes[0] == '\0', "%s: '%s'", c->what,
			  plan->notes);
		for (size_t s = 0; s < plan->sites_n; s++)
			cr_expect_eq(plan->sites[s].price, SITE_EMULATED, "%s", c->what);
		site_plan__free(plan);
	}
	temp_dir__remove(dir);
}

/* Only programs get stubs with bti: those of libraries are never reached through a pointer. */
Test(arm64, stubs_of_every_kind_are_known)
{
	static const char *const flags[] = {"", "-z now", "-z force-bti", "-z pac-plt", "-z force-bti -z pac-plt"};
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/libc.so", dir);
	must_assemble(path, FUNC("pthread_cond_signal", "ret\n") FUNC("pthread_cond_timedwait", "ret\n"));
	snprintf(path, sizeof(path), "%s/program", dir);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct site_plan *plan = NULL;
		struct reason why = {""};

		must_write(path, ".globl _start\n_start:\n" BASE, strlen(".globl _start\n_start:\n" BASE));
		must_run("cd '%s' && aarch64-linux-gnu-as -o program.o program && "
			 "aarch64-linux-gnu-ld %s -o program program.o libc.so 2>program.log", dir, flags[i]);
		cr_assert_eq(plan_file(path, false, &plan, &why), 0, "%s: %s", flags[i], why.text);
		cr_expect_eq(plan->sites_n, 4, "%s", flags[i]);
		site_plan__free(plan);
	}
	temp_dir__remove(dir);
}

static const struct {
	char what[32];
	char body[96]; /* of pthread_cond_signal */
	uint64_t at;
	enum site_price price;
} entries[] = {
	{"adrp", "adrp x1, here\nret\n", 0, SITE_EMULATED},
	{"bti and adrp", "bti c\nadrp x1, here\nret\n", 4, SITE_EMULATED},
	{"the argument copied, adr", "mov x19, x0\nadr x1, here\nret\n", 4, SITE_EMULATED},
	{"a frame", "stp x29, x30, [sp, #-32]!\nret\n", 0, SITE_STEPPED},
	{"the argument overwritten", "ldr w0, [x0]\nadrp x1, here\nret\n", 0, SITE_STEPPED},
	{"a branch", "cbz x0, 1f\nadrp x1, here\n1: ret\n", 0, SITE_STEPPED},
};

Test(arm64, entries_of_the_c_library_are_probed_where_it_is_certain)
{
	char dir[PATH_MAX], path[PATH_MAX + 16], code[1024];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/libc.so", dir);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct site_plan *plan = NULL;
		struct reason why = {""};

		snprintf(code, sizeof(code), ".globl pthread_cond_signal\n.type pthread_cond_signal,%%function\nhere:\n"
			 "pthread_cond_signal:\n.cfi_startproc\n%s.cfi_endproc\n%s", entries[i].body,
			 FUNC("pthread_cond_timedwait", "ret\n") FUNC("pthread_cond_wait", "ret\n"));
		must_assemble(path, code);
		cr_assert_eq(plan_file(path, true, &plan, &why), 0, "%s: %s", entries[i].what, why.text);
		for (size_t s = 0; s < plan->sites_n; s++) {
			const struct site *site = &plan->sites[s];

			if (site->role != SITE_SIGNAL)
				continue;
			cr_expect_eq(site->vaddr - site->function.start, entries[i].at, "%s", entries[i].what);
			cr_expect_eq(site->price, entries[i].price, "%s", entries[i].what);
		}
		site_plan__free(plan);
	}
	temp_dir__remove(dir);
}
