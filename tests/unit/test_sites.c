/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The probe plan against three oracles: call sites labelled from debug information, objdump's decoding, and small
 * libraries assembled here whose every instruction is known.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/plan/sites.h"
#include "../support/pythons.h"

#define LABELLED "tests/unit/data/gil_sites.csv"

/* Plans a file; the build-id goes to `build_id` if that isn't NULL. */
static int plan_fd(int fd, struct site_plan **ret, char *build_id, struct reason *why)
{
	struct elffile *ef;
	int err = elffile__open(fd, &ef, why);

	if (err)
		return err;
	if (build_id && elffile__build_id(ef, build_id, 64) != 0)
		build_id[0] = '\0';
	err = sites__plan(ef, ret, why);
	elffile__close(ef);
	return err;
}

static int plan_file(const char *path, struct site_plan **ret, char *build_id, struct reason *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;

	cr_assert_geq(fd, 0, "%s", path);
	err = plan_fd(fd, ret, build_id, why);
	close(fd);
	return err;
}

static struct site_plan *must_plan(const char *path, char *build_id)
{
	struct site_plan *plan = NULL;
	struct reason why = {""};

	cr_assert_eq(plan_file(path, &plan, build_id, &why), 0, "%s: %s", path, why.text);
	return plan;
}

static size_t count(const struct site_plan *plan, enum site_role role)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->sites_n; i++)
		n += plan->sites[i].role == role;
	return n;
}

/* The calls, which are sites whatever the build. */
static size_t count_calls(const struct site_plan *plan)
{
	return count(plan, SITE_SIGNAL) + count(plan, SITE_WAIT) + count(plan, SITE_HANDOFF);
}

static const struct site *site_at(const struct site_plan *plan, uint64_t vaddr)
{
	for (size_t i = 0; i < plan->sites_n; i++)
		if (plan->sites[i].vaddr == vaddr)
			return &plan->sites[i];
	return NULL;
}

/* Whether readelf sees both notes. */
static bool has_notes(const char *image)
{
	char command[PATH_MAX + 64];
	int n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "readelf -n '%s' 2>/dev/null | grep -c 'Name: gc__'", image);
	f = popen(command, "re");
	cr_assert(f && fscanf(f, "%d", &n) == 1, "%s", command);
	pclose(f);
	return n == 2;
}

static void leave_out_gc(struct site_plan *plan)
{
	plan->sites_n -= count(plan, SITE_GC_START) + count(plan, SITE_GC_DONE);
}

static void expect_same_sites(const struct site_plan *a, const struct site_plan *b, const char *what)
{
	cr_assert_eq(a->sites_n, b->sites_n, "%s: %zu and %zu sites", what, a->sites_n, b->sites_n);
	cr_expect_eq(a->light, b->light, "%s", what);
	cr_expect_str_eq(a->notes, b->notes, "%s", what);
	for (size_t i = 0; i < a->sites_n; i++) {
		const struct site *x = &a->sites[i], *y = &b->sites[i];

		cr_expect(x->role == y->role && x->price == y->price && x->vaddr == y->vaddr &&
				  x->offset == y->offset && x->function.start == y->function.start &&
				  x->function.end == y->function.end && strcmp(x->insn, y->insn) == 0,
			  "%s: site %zu, 0x%" PRIx64 " and 0x%" PRIx64, what, i, x->vaddr, y->vaddr);
	}
}

/* ---- oracles -------------------------------------------------------------------------------------------- */

struct label {
	char build[64], build_id[64], callee[32], role[32];
	uint64_t vaddr, function;
};

/* The labelled sites of one build-id; 0 if it is not among them. */
static size_t labels_of(const char *build_id, struct label *ret, size_t max)
{
	FILE *f = fopen(LABELLED, "re");
	char line[256];
	size_t n = 0;

	cr_assert_not_null(f, "%s", LABELLED);
	while (n < max && fgets(line, sizeof(line), f)) {
		struct label *l = &ret[n];

		if (line[0] == '#')
			continue;
		cr_assert_eq(sscanf(line, "%63[^,],%63[^,],0x%" SCNx64 ",%31[^,],%31[^,],0x%" SCNx64, l->build,
				    l->build_id, &l->vaddr, l->callee, l->role, &l->function),
			     6, "%s", line);
		n += strcmp(l->build_id, build_id) == 0;
	}
	fclose(f);
	return n;
}

static enum site_role role_of_callee(const char *callee)
{
	return strcmp(callee, "pthread_cond_signal") == 0 ? SITE_SIGNAL :
	       strcmp(callee, "pthread_cond_timedwait") == 0 ? SITE_WAIT : SITE_HANDOFF;
}

static void expect_labelled(const struct site_plan *plan, const struct label *labels, size_t n)
{
	size_t planned = count_calls(plan);
	bool partial = strstr(labels[0].build, "-part");

	cr_expect(partial ? planned >= n : planned == n, "%s: %zu sites, %zu labelled", labels[0].build, planned, n);
	for (size_t i = 0; i < n; i++) {
		const struct site *site = site_at(plan, labels[i].vaddr);

		cr_assert_not_null(site, "%s: 0x%" PRIx64 " is missing", labels[i].build, labels[i].vaddr);
		cr_expect_eq(site->role, role_of_callee(labels[i].callee), "0x%" PRIx64, site->vaddr);
		cr_expect_eq(site->function.start, labels[i].function, "0x%" PRIx64, site->vaddr);
		cr_expect_eq(site->price, SITE_EMULATED);
	}
}

/*
 * Distributions rebuild their interpreters every few months, so on a given machine perhaps none is labelled: objdump, in
 * the test after the next, is the judge of all of them.
 */
Test(sites, the_plan_is_exactly_the_labelled_sites)
{
	static struct python pythons[PYTHONS_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8);

	for (size_t i = 0; i < n; i++) {
		struct label labels[64];
		char build_id[64];
		struct site_plan *plan = must_plan(pythons[i].image, build_id);
		size_t labels_n = labels_of(build_id, labels, 64);

		if (labels_n > 0)
			expect_labelled(plan, labels, labels_n);
		else
			fprintf(stderr, "sites: %s (%s) is not among the labelled builds\n", pythons[i].image, build_id);
		site_plan__free(plan);
	}
}

/* Calls of the three as objdump decodes them, by its own reading of the PLT; each must be in the plan. */
static size_t compare_with_objdump(const char *image, const struct site_plan *plan)
{
	char command[PATH_MAX + 256], line[512], name[64];
	size_t seen = 0;
	uint64_t vaddr;
	FILE *f;

	snprintf(command, sizeof(command),
		 "objdump -d --no-show-raw-insn '%s' | sed -nE "
		 "'s/^ *([0-9a-f]+):\\s+(call|jmp)\\s.*<(pthread_cond_(signal|timedwait|wait))@plt>$/\\1 \\3/p'",
		 image);
	f = popen(command, "re");
	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f)) {
		const struct site *site;

		cr_assert_eq(sscanf(line, "%" SCNx64 " %63s", &vaddr, name), 2, "%s", line);
		site = site_at(plan, vaddr);
		cr_expect(site && site->role == role_of_callee(name), "%s: %s", image, line);
		seen++;
	}
	cr_expect_eq(pclose(f), 0);
	return seen;
}

Test(sites, objdump_finds_the_same_calls)
{
	static struct python pythons[PYTHONS_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8);

	for (size_t i = 0; i < n; i++) {
		struct site_plan *plan = must_plan(pythons[i].image, NULL);

		cr_expect_eq(compare_with_objdump(pythons[i].image, plan), count_calls(plan),
			     "%s", pythons[i].image);
		site_plan__free(plan);
	}
}

Test(sites, every_python_here_can_be_planned_in_full_and_light)
{
	static struct python pythons[PYTHONS_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8);

	for (size_t i = 0; i < n; i++) {
		struct site_plan *plan = must_plan(pythons[i].image, NULL);

		cr_expect_geq(count(plan, SITE_WAIT), 1);
		cr_expect_geq(count(plan, SITE_SIGNAL), 2);
		cr_expect_geq(count(plan, SITE_HANDOFF), 1);
		cr_expect_eq(count(plan, SITE_WAKE), count(plan, SITE_WAIT));
		cr_expect(plan->light);
		cr_expect_str_eq(plan->method, "call sites");
		cr_expect_str_eq(plan->notes, "", "%s: %s", pythons[i].image, plan->notes);
		site_plan__free(plan);
	}
}

/* No symbols, no debug information, and then not even section headers. */
Test(sites, stripping_changes_nothing_in_the_plan)
{
	static struct python pythons[PYTHONS_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8), len;
	char dir[PATH_MAX], copy[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	for (size_t i = 0; i < n; i++) {
		struct site_plan *whole = must_plan(pythons[i].image, NULL), *stripped, *bare;
		char *bytes;

		snprintf(copy, sizeof(copy), "%s/stripped", dir);
		must_run("strip --strip-all -o '%s' '%s'", copy, pythons[i].image);
		stripped = must_plan(copy, NULL);
		if (!has_notes(pythons[i].image)) /* what collects is known by symbols then. Their sites are the last */
			leave_out_gc(whole);
		expect_same_sites(whole, stripped, pythons[i].image);
		bytes = must_read(copy, &len);
		memset(bytes + 0x28, 0, 8); /* e_shoff */
		memset(bytes + 0x3c, 0, 4); /* e_shnum, e_shstrndx */
		must_write(copy, bytes, len);
		bare = must_plan(copy, NULL);
		/* The notes that tell where collections begin and end are in no segment. */
		leave_out_gc(whole);
		expect_same_sites(whole, bare, "without section headers");
		cr_expect_eq(bare->gc, GC_SITES_NO_NOTES);
		free(bytes);
		site_plan__free(whole);
		site_plan__free(stripped);
		site_plan__free(bare);
	}
	temp_dir__remove(dir);
}

/* ---- instructions of which everything is known ------------------------------------------------------------- */

#define FUNC(name, body) \
	".globl " name "\n.type " name ",@function\n" name ":\n.cfi_startproc\n" body ".cfi_endproc\n.size " name ",.-" name "\n"
#define SIGNAL "push %rbx\ncall pthread_cond_signal@PLT\npop %rbx\n"
#define WAIT "call pthread_cond_timedwait@PLT\ncmp $110,%eax\nje 1f\n1: nop\n"
/* The least that a plan needs: one wait with its wake, two signals. */
#define BASE FUNC("take", SIGNAL WAIT SIGNAL "ret\n")

struct code_case {
	char what[48];
	char flags[32];
	char code[1024];
	int signals, waits, handoffs, wakes, stepped;
	bool light;
	char notes[64]; /* to be found in the notes, "" if there must be none */
};

static const struct code_case code_cases[] = {
	{"plain calls", "", BASE FUNC("drop", "call pthread_cond_wait@PLT\nret\n"), 2, 1, 1, 1, 0, true, ""},
	{"PLT with endbr64", "-Wl,-z,ibtplt", BASE, 2, 1, 0, 1, 0, true, ""},
	{"PLT bound at start", "-Wl,-z,now", BASE, 2, 1, 0, 1, 0, true, ""},
	{"PLT through .plt.got", "-Wl,-z,now", BASE FUNC("f", "mov pthread_cond_destroy@GOTPCREL(%rip),%rax\ncall pthread_cond_destroy@PLT\nret\n"),
	 2, 1, 0, 1, 0, true, ""},
	{"calls through the GOT", "",
	 BASE FUNC("f", "call *pthread_cond_signal@GOTPCREL(%rip)\ncall *pthread_cond_wait@GOTPCREL(%rip)\nret\n"),
	 3, 1, 1, 1, 2, true, ""},
	{"tail jump", "", BASE FUNC("f", "jmp pthread_cond_signal@PLT\n"), 3, 1, 0, 1, 0, true, ""},
	{"tail jump through the GOT", "", BASE FUNC("f", "jmp *pthread_cond_signal@GOTPCREL(%rip)\n"), 3, 1, 0, 1, 1, true, ""},
	{"call with a prefix", "", BASE FUNC("f", ".byte 0xf2\ncall pthread_cond_signal@PLT\nret\n"), 3, 1, 0, 1, 0, true, ""},
	{"function without an FDE", "", BASE ".globl f\nf: call pthread_cond_signal@PLT\nret\n", 2, 1, 0, 1, 0, true,
	 "not proven an instruction"},
	{"call inside an immediate", "",
	 BASE FUNC("f", ".byte 0x48,0xb8,0xe8\n.long pthread_cond_signal@PLT-4\n.byte 0,0,0\nret\n"), 2, 1, 0, 1, 0,
	 true, "not proven an instruction"},
	{"conditional tail jump", "", BASE FUNC("f", "test %eax,%eax\nje pthread_cond_signal@PLT\nret\n"), 2, 1, 0, 1, 0, true,
	 "conditional jump"},
	{"address in a register", "", BASE FUNC("f", "mov pthread_cond_signal@GOTPCREL(%rip),%rax\ncall *%rax\nret\n"), 3, 1, 0, 1,
	 1, true, ""},
	{"jump through a new register", "", BASE FUNC("f", "mov pthread_cond_signal@GOTPCREL(%rip),%r11\nlea 8(%rsi),%rdi\njmp *%r11\n"),
	 3, 1, 0, 1, 1, true, ""},
	{"another register is called", "", BASE FUNC("f", "mov pthread_cond_signal@GOTPCREL(%rip),%rax\ncall *%r8\nret\n"), 2, 1, 0, 1,
	 0, true, "taken into a register"},
	{"a register kept over calls", "", BASE FUNC("f", "mov pthread_cond_signal@GOTPCREL(%rip),%rbx\ncall *%rbx\ncall *%rbx\nret\n"),
	 2, 1, 0, 1, 0, true, "taken into a register"},
	{"half of it overwritten", "", BASE FUNC("f", "mov pthread_cond_signal@GOTPCREL(%rip),%rax\nxor %ax,%ax\ncall *%rax\nret\n"), 2, 1,
	 0, 1, 0, true, "taken into a register"},
	{"a branch before the call", "", BASE FUNC("f", "mov pthread_cond_signal@GOTPCREL(%rip),%rax\nje 1f\ncall *%rax\n1: ret\n"), 2, 1,
	 0, 1, 0, true, "taken into a register"},
	{"a call that others come to", "", BASE FUNC("f", "je 1f\nmov pthread_cond_signal@GOTPCREL(%rip),%rax\n1: call *%rax\nret\n"), 2,
	 1, 0, 1, 0, true, "taken into a register"},
	{"register reload before the wake", "",
	 FUNC("take", SIGNAL SIGNAL "call pthread_cond_timedwait@PLT\nmov 8(%rsp),%rdi\ncmp $110,%eax\nje 1f\n1: ret\n"),
	 2, 1, 0, 1, 0, true, ""},
	{"long wake jump", "",
	 FUNC("take", SIGNAL SIGNAL "call pthread_cond_timedwait@PLT\ntest %eax,%eax\njne 1f\n.skip 200,0x90\n1: ret\n"),
	 2, 1, 0, 1, 0, true, ""},
	{"call before the wake", "",
	 FUNC("take", SIGNAL SIGNAL "call pthread_cond_timedwait@PLT\ncall 2f\n2: cmp $110,%eax\nje 1f\n1: ret\n"), 2, 1, 0, 0,
	 0, false, "no light mode"},
	{"return before the wake", "",
	 FUNC("take", SIGNAL SIGNAL "call pthread_cond_timedwait@PLT\nret\ncmp $110,%eax\nje 1f\n1: ret\n"), 2, 1, 0, 0, 0,
	 false, "no light mode"},
	{"wake that others come to", "",
	 FUNC("take", SIGNAL SIGNAL "jmp 2f\ncall pthread_cond_timedwait@PLT\n2: cmp $110,%eax\nje 1f\n1: ret\n"), 2, 1, 0, 0, 0,
	 false, "no light mode"},
	{"one wake of two missing", "", BASE FUNC("f", "call pthread_cond_timedwait@PLT\nret\n"), 2, 2, 0, 1, 0, false,
	 "no light mode"},
	{"padding in mid-function", "", BASE FUNC("f", "nopw 0x0(%rax,%rax,1)\ncall pthread_cond_signal@PLT\nret\n"), 3, 1, 0, 1, 0,
	 true, ""},
};

static void expect_case(const struct code_case *c, const struct site_plan *plan)
{
	int stepped = 0;

	for (size_t i = 0; i < plan->sites_n; i++)
		stepped += plan->sites[i].price == SITE_STEPPED;
	cr_expect_eq((int)count(plan, SITE_SIGNAL), c->signals, "%s: %zu signals", c->what, count(plan, SITE_SIGNAL));
	cr_expect_eq((int)count(plan, SITE_WAIT), c->waits, "%s: %zu waits", c->what, count(plan, SITE_WAIT));
	cr_expect_eq((int)count(plan, SITE_HANDOFF), c->handoffs, "%s: %zu handoffs", c->what, count(plan, SITE_HANDOFF));
	cr_expect_eq((int)count(plan, SITE_WAKE), c->wakes, "%s: %zu wakes", c->what, count(plan, SITE_WAKE));
	cr_expect_eq(stepped, c->stepped, "%s: %d stepped", c->what, stepped);
	cr_expect_eq(plan->light, c->light, "%s", c->what);
	cr_expect_eq(plan->library_fd, -1);
	cr_expect_eq(plan->incomplete,
		     strstr(c->notes, "proven") || strstr(c->notes, "register") || strstr(c->notes, "conditional jump"), "%s",
		     c->what);
	cr_expect(c->notes[0] ? strstr(plan->notes, c->notes) != NULL : plan->notes[0] == '\0', "%s: '%s'", c->what,
		  plan->notes);
}

Test(sites, known_instructions_are_told_for_what_they_are)
{
	char dir[PATH_MAX], path[PATH_MAX + 16], flags[64];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/code.so", dir);
	for (size_t i = 0; i < sizeof(code_cases) / sizeof(code_cases[0]); i++) {
		struct site_plan *plan = NULL;
		struct reason why = {""};

		snprintf(flags, sizeof(flags), "-DASM %s", code_cases[i].flags);
		must_compile(path, flags, code_cases[i].code);
		cr_expect_eq(plan_file(path, &plan, NULL, &why), 0, "%s: %s", code_cases[i].what, why.text);
		if (plan)
			expect_case(&code_cases[i], plan);
		site_plan__free(plan);
	}
	temp_dir__remove(dir);
}

Test(sites, too_little_is_refused_with_the_reason)
{
	static const struct {
		char code[512];
		char says[96];
	} cases[] = {
		{FUNC("f", "ret\n"), "neither imports pthread_cond_timedwait nor has its own (by its .symtab)"},
		{FUNC("f", WAIT "ret\n"), "neither imports pthread_cond_signal nor"},
		{FUNC("f", SIGNAL SIGNAL "ret\n"), "neither imports pthread_cond_timedwait nor"},
		{FUNC("f", WAIT SIGNAL "ret\n"), "only 1 wait and 1 signal sites"},
		{"f: " WAIT SIGNAL SIGNAL "ret\n", "only 0 wait and 0 signal sites"},
	};
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/code.so", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct site_plan *plan = NULL;
		struct reason why = {""};

		must_compile(path, "-DASM", cases[i].code);
		cr_expect_eq(plan_file(path, &plan, NULL, &why), -ENOTSUP);
		cr_expect_null(plan);
		cr_expect(strstr(why.text, cases[i].says), "%s", why.text);
	}
	temp_dir__remove(dir);
}

/* However many calls there are that nothing proves, the sentence is whole. */
Test(sites, a_refusal_is_not_cut_off_by_the_number_of_its_reasons)
{
	static const char *const ends[] = {
		"what looks like a call of pthread_cond_signal at 0x", " (and at 79 more places) is not proven an instruction",
	};
	char dir[PATH_MAX], path[PATH_MAX + 16];
	struct site_plan *plan = NULL;
	struct reason why = {""};

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/code.so", dir);
	must_compile(path, "-DASM", ".globl f\nf:\n.rept 40\n" SIGNAL WAIT ".endr\nret\n");
	cr_expect_eq(plan_file(path, &plan, NULL, &why), -ENOTSUP);
	for (size_t i = 0; i < 2; i++)
		cr_expect(strstr(why.text, ends[i]), "%s", why.text);
	cr_expect_str_eq(strrchr(why.text, ' '), " instruction");
	cr_expect_lt(strlen(why.text), sizeof(why.text) / 2);
	temp_dir__remove(dir);
}

/* ---- where collections begin and end -------------------------------------------------------------------------- */

/* As <sys/sdt.h> writes them: the place is label 9 in front of it. */
#define NOTE(name, semaphore) \
	".pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n.4byte 2f-1f,4f-3f,3\n1: .asciz \"stapsdt\"\n2: .balign 4\n" \
	"3: .8byte 9b\n.8byte _.stapsdt.base\n.8byte " semaphore "\n.asciz \"python\"\n.asciz \"" name "\"\n.asciz \"\"\n" \
	"4: .balign 4\n.popsection\n"
#define NOTED(name, semaphore) "9: nop\n" NOTE(name, semaphore)
#define SEMAPHORES \
	".pushsection .stapsdt.base,\"a\"\n_.stapsdt.base: .space 1\n.popsection\n" \
	".pushsection .probes,\"aw\"\n.2byte 0\nstart_on: .2byte 0\ndone_on: .2byte 0\n.popsection\n"
#define DONE "cmpw $0,done_on(%rip)\njne 7f\n6: ret\n7:" NOTED("gc__done", "done_on") "jmp 6b\n"
#define COLLECT(start) BASE SEMAPHORES FUNC("collect", start DONE)
#define START_NOTE NOTED("gc__start", "start_on")

/* Hidden: else it would be called through the PLT. */
#define COLLECTOR FUNC("gc_collect_main", "nop\nret\n") ".hidden gc_collect_main\n"
#define CALLED "call gc_collect_main\nmov %rax,%rbp\ncall take\nret\n"
#define BY_CALLS(body) BASE COLLECTOR FUNC("PyGC_Collect", body)

/* 3.13 and later jump to the collector. */
#define JUMPED FUNC("PyGC_Collect", "jmp gc_collect_main\n") ".hidden gc_collect_main\n"
#define WORDS ".section .rodata\nbegins: .asciz \"start\"\nends: .asciz \"stop\"\nother: .asciz \"starts\"\n.text\n"
#define TELLER FUNC("invoke_gc_callback.isra.0", "nop\nret\n") ".hidden invoke_gc_callback.isra.0\n"
#define TELL(word) "lea " word "(%rip),%rsi\nmov %rax,%rdi\ncall invoke_gc_callback.isra.0\n"
#define BY_WORDS(body) BASE WORDS TELLER JUMPED FUNC("gc_collect_main", body)

static const struct {
	const char *what, *code;
	enum gc_sites_found found;
	const char *insn; /* of the first site */
} gc_cases[] = {
	{"no notes", BASE, GC_SITES_NO_NOTES, ""},
	{"as gcc compiles it", COLLECT("cmpw $0,start_on(%rip)\njne 5f\n8: nop\njmp 0f\n5:" START_NOTE "jmp 8b\n0:"), GC_SITES_FOUND,
	 "jne"},
	{"the note falls through", COLLECT("cmpw $0,start_on(%rip)\nje 5f\nmov 8(%rsp),%esi\n" START_NOTE "5: nop\n"), GC_SITES_FOUND,
	 "je"},
	{"loaded, then tested", COLLECT("movzwl start_on(%rip),%eax\ntest %ax,%ax\nje 5f\n" START_NOTE "5: nop\n"), GC_SITES_FOUND,
	 "je"},
	{"into a register of the newer ones", COLLECT("movzwl start_on(%rip),%r9d\ntest %r9w,%r9w\nje 5f\n" START_NOTE "5: nop\n"),
	 GC_SITES_FOUND, "je"},
	{"the note in another function, far away",
	 BASE SEMAPHORES FUNC("cold", "mov 8(%rsp),%esi\n" START_NOTE "jmp back\n") ".skip 400,0x90\n"
	 FUNC("collect", "cmpw $0,start_on(%rip)\njne cold\nback: nop\n" DONE), GC_SITES_FOUND, "jne"},
	{"compared twice", COLLECT("cmpw $0,start_on(%rip)\njne 5f\ncmpw $0,start_on(%rip)\nnop\n5:" START_NOTE), GC_SITES_UNPROVEN,
	 ""},
	{"its address is taken", COLLECT("lea start_on(%rip),%rax\ncmpw $0,start_on(%rip)\njne 5f\nnop\n5:" START_NOTE),
	 GC_SITES_UNPROVEN, ""},
	{"compared with something else", COLLECT("cmpw $1,start_on(%rip)\njne 5f\nnop\n5:" START_NOTE), GC_SITES_UNPROVEN, ""},
	{"four bytes are compared", COLLECT("cmpl $0,start_on(%rip)\njne 5f\nnop\n5:" START_NOTE), GC_SITES_UNPROVEN, ""},
	{"written to", COLLECT("movw $0,start_on(%rip)\nje 5f\n" START_NOTE "5: nop\n"), GC_SITES_UNPROVEN, ""},
	{"another jump comes to this one", COLLECT("je 8f\ncmpw $0,start_on(%rip)\n8: jne 5f\nnop\n5:" START_NOTE),
	 GC_SITES_UNPROVEN,
	 ""},
	{"another function's jump comes to it",
	 BASE SEMAPHORES FUNC("other", "jmp inside\n") ".skip 400,0x90\n"
	 FUNC("collect", "cmpw $0,start_on(%rip)\ninside: jne 5f\nnop\n5:" START_NOTE DONE), GC_SITES_UNPROVEN, ""},
	{"a call before the jump", COLLECT("cmpw $0,start_on(%rip)\ncall take\njne 5f\nnop\n5:" START_NOTE), GC_SITES_UNPROVEN,
	 ""},
	{"a call on the way to the note", COLLECT("cmpw $0,start_on(%rip)\njne 5f\njmp 8f\n5: call take\n" START_NOTE "8: nop\n"),
	 GC_SITES_UNPROVEN, ""},
	{"the jump leads elsewhere", COLLECT("cmpw $0,start_on(%rip)\njne 5f\njmp 5f\n" START_NOTE "5: ret\n"), GC_SITES_UNPROVEN,
	 ""},
	{"the comparison is in an immediate",
	 COLLECT(".byte 0x48,0xb8,0x66,0x83,0x3d\n.long start_on-.-5\n.byte 0\njne 5f\nnop\n5:" START_NOTE), GC_SITES_UNPROVEN,
	 ""},
	{"two notes of that name",
	 COLLECT("cmpw $0,start_on(%rip)\njne 5f\n8: nop\njmp 0f\n5:" START_NOTE "jmp 8b\n" START_NOTE "0:"), GC_SITES_UNPROVEN,
	 ""},
	{"always on", COLLECT(NOTED("gc__start", "0")), GC_SITES_UNPROVEN, ""},
	{"without notes, called", BY_CALLS(CALLED), GC_SITES_FOUND, "call"},
	{"by a copy of it, in 3.8", BASE FUNC("collect.constprop.1", "nop\nret\n") ".hidden collect.constprop.1\n"
	 FUNC("PyGC_Collect", "call collect.constprop.1\nmov %rax,%rbp\nret\n"), GC_SITES_FOUND, "call"},
	{"called, and jumped to", BY_CALLS(CALLED) FUNC("other", "jmp gc_collect_main\n"), GC_SITES_NO_CALLS, ""},
	{"its address is taken, too", BY_CALLS("lea gc_collect_main(%rip),%rax\n" CALLED), GC_SITES_NO_CALLS, ""},
	{"a jump comes to behind the call", BY_CALLS("je 5f\ncall gc_collect_main\n5: mov %rax,%rbp\ncall take\nret\n"),
	 GC_SITES_NO_CALLS, ""},
	{"called by others alone", BASE COLLECTOR FUNC("PyGC_Collect", "ret\n") FUNC("other", CALLED), GC_SITES_NO_CALLS, ""},
	{"the call is in an immediate",
	 BY_CALLS(CALLED ".byte 0x48,0xb8,0xe8\n.long gc_collect_main-.-4\n.byte 0,0,0\nret\n"), GC_SITES_NO_CALLS, ""},
	{"a function of that name far from it", BASE COLLECTOR ".skip 70000,0x90\n" FUNC("PyGC_Collect", CALLED),
	 GC_SITES_NO_CALLS, ""},
	{"jumped to, and tells its callbacks", BY_WORDS(TELL("begins") "nop\n" TELL("ends") "ret\n"), GC_SITES_FOUND, "call"},
	{"the beginning far behind the end", BY_WORDS("je 5f\n6: nop\n" TELL("ends") "ret\n5: nop\n" TELL("begins") "jmp 6b\n"),
	 GC_SITES_FOUND, "call"},
	{"tells the end twice", BY_WORDS(TELL("begins") TELL("ends") TELL("ends") "ret\n"), GC_SITES_NO_CALLS, ""},
	{"tells another word", BY_WORDS(TELL("other") TELL("ends") "ret\n"), GC_SITES_NO_CALLS, ""},
	{"tells the same twice", BY_WORDS(TELL("ends") TELL("ends") "ret\n"), GC_SITES_NO_CALLS, ""},
	{"a jump comes to the telling",
	 BY_WORDS("lea other(%rip),%rsi\nje 5f\nlea begins(%rip),%rsi\n5: mov %rax,%rdi\ncall invoke_gc_callback.isra.0\n"
		  TELL("ends") "ret\n"), GC_SITES_NO_CALLS, ""},
	{"a call between the word and the telling",
	 BY_WORDS("lea begins(%rip),%rsi\ncall take\ncall invoke_gc_callback.isra.0\n" TELL("ends") "ret\n"),
	 GC_SITES_NO_CALLS, ""},
	{"the end is told by another function",
	 BY_WORDS(TELL("begins") "ret\n") FUNC("another", TELL("ends") "ret\n"), GC_SITES_NO_CALLS, ""},
	{"its address is taken as well",
	 BY_WORDS(TELL("begins") TELL("ends") "lea invoke_gc_callback.isra.0(%rip),%rax\nret\n"), GC_SITES_NO_CALLS, ""},
	{"only one of the two", BASE SEMAPHORES FUNC("collect", "cmpw $0,start_on(%rip)\njne 5f\nnop\n5:" START_NOTE "ret\n"),
	 GC_SITES_NO_NOTES, ""},
};

Test(sites, ends_of_collections_are_where_they_are_proven)
{
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/code.so", dir);
	for (size_t i = 0; i < sizeof(gc_cases) / sizeof(gc_cases[0]); i++) {
		size_t expected = gc_cases[i].found == GC_SITES_FOUND;
		struct site_plan *plan;

		must_compile(path, "-DASM", gc_cases[i].code);
		plan = must_plan(path, NULL);
		cr_expect_eq(plan->gc, gc_cases[i].found, "%s: %d", gc_cases[i].what, plan->gc);
		cr_expect(count(plan, SITE_GC_START) == expected && count(plan, SITE_GC_DONE) == expected, "%s",
			  gc_cases[i].what);
		if (expected && plan->gc == GC_SITES_FOUND)
			cr_expect_eq(strncmp(plan->sites[plan->sites_n - 2].insn, gc_cases[i].insn, strlen(gc_cases[i].insn)), 0,
				     "%s: %s", gc_cases[i].what, plan->sites[plan->sites_n - 2].insn);
		site_plan__free(plan);
	}
	temp_dir__remove(dir);
}

/* All but one that is passed when the interpreter ends are emulated. */
Test(sites, ends_of_collections_are_found_in_every_interpreter)
{
	static struct python pythons[PYTHONS_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8);

	for (size_t i = 0; i < n; i++) {
		struct site_plan *plan = must_plan(pythons[i].image, NULL);

		cr_expect_eq(plan->gc, GC_SITES_FOUND, "%s: %d", pythons[i].image, plan->gc);
		for (size_t s = 0; s < plan->sites_n; s++)
			cr_expect(plan->sites[s].role < SITE_GC_START || plan->sites[s].price == SITE_EMULATED ||
				  strstr(plan->sites[s].symbol, "CollectNoFail"), "%s: %s",
				  pythons[i].image, plan->sites[s].insn);
		site_plan__free(plan);
	}
}

/* ---- the C library linked in --------------------------------------------------------------------------------- */

/* A local function as the linker leaves it in a static program: no import, no PLT. */
#define LOCAL(name, body) \
	".type " name ",@function\n" name ":\n.cfi_startproc\n" body ".cfi_endproc\n.size " name ",.-" name "\n"
#define OWN_LIBC(inside) \
	LOCAL("helper", "jmp pthread_cond_signal\n") LOCAL("handler", "call helper\nret\n") \
	LOCAL("pthread_cond_signal", "ret\n") LOCAL("__pthread_cond_wait", "jmp pthread_cond_timedwait\n") \
	LOCAL("pthread_cond_timedwait", inside "ret\n")
#define OWN_SIGNAL "call pthread_cond_signal\n"
#define OWN_WAIT "call pthread_cond_timedwait\ncmp $110,%eax\nje 1f\n1: nop\n"
#define OWN_BASE FUNC("take", OWN_SIGNAL OWN_WAIT OWN_SIGNAL "ret\n")

static const struct code_case own_cases[] = {
	{"own functions", "", OWN_LIBC("") OWN_BASE FUNC("drop", "call __pthread_cond_wait\nret\n"), 3, 1, 1, 1, 0, true,
	 "nothing is missed"},
	{"own tail call", "", OWN_LIBC("") OWN_BASE ".skip 200\n" FUNC("drop", "jmp pthread_cond_signal\n"), 4, 1, 0, 1, 0, true, ""},
	{"own call, padded", "", OWN_LIBC("") OWN_BASE FUNC("drop", ".byte 0x67\ncall pthread_cond_signal\nret\n"), 4, 1, 0, 1, 0,
	 true, ""},
	/* Made by the library itself, one or two steps inside, or by its handler; else the helper's is one more. */
	{"a call inside the library", "", OWN_LIBC("call helper\n") OWN_BASE, 2, 1, 0, 1, 0, true, ""},
	{"a call two steps inside", "", OWN_LIBC("call handler\n") OWN_BASE, 2, 1, 0, 1, 0, true, ""},
	{"a handler inside the library", "", OWN_LIBC("lea handler(%rip),%rax\n") OWN_BASE, 2, 1, 0, 1, 0, true, ""},
	{"a conditional jump", "", OWN_LIBC("call helper\n") FUNC("f", "je pthread_cond_signal\nret\n") OWN_BASE, 2, 1, 0, 1, 0, true,
	 "conditional jump"},
	{"a function without an FDE", "", OWN_LIBC("call helper\n") OWN_BASE ".globl f\nf: call pthread_cond_signal\nret\n", 2, 1, 0,
	 1, 0, true, "not proven an instruction"},
};

Test(sites, functions_of_the_file_itself_are_found_by_their_symbols)
{
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/code.so", dir);
	for (size_t i = 0; i < sizeof(own_cases) / sizeof(own_cases[0]); i++) {
		struct code_case c = own_cases[i];
		struct site_plan *plan = NULL;
		struct reason why = {""};

		must_compile(path, "-DASM", c.code);
		cr_assert_eq(plan_file(path, &plan, NULL, &why), 0, "%s: %s", c.what, why.text);
		cr_expect_str_eq(plan->method, "call sites by symbols");
		if (!c.notes[0]) /* how it was done is always said */
			snprintf(c.notes, sizeof(c.notes), "its .symtab tells where");
		expect_case(&c, plan);
		site_plan__free(plan);
	}
	temp_dir__remove(dir);
}

/* Without an FDE it can't be told what of the library is inside the three functions, and so what isn't the interpreter's. */
Test(sites, own_functions_without_an_fde_are_refused)
{
	struct site_plan *plan = NULL;
	struct reason why = {""};
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/code.so", dir);
	must_compile(path, "-DASM", OWN_BASE LOCAL("pthread_cond_timedwait", "ret\n")
		     ".type pthread_cond_signal,@function\npthread_cond_signal: ret\n");
	cr_expect_eq(plan_file(path, &plan, NULL, &why), -ENOTSUP);
	cr_expect(strstr(why.text, "cannot be told apart"), "%s", why.text);
	temp_dir__remove(dir);
}

/* Of a static interpreter: its own functions, or others that wait for something, told apart by the argument. */
static bool may_be_in_a_plan(const char *symbol)
{
	static const char *const words[] = {
		"_gil", "PyEval_",
		"gate_",         /* the program's */
		"version_lock_", /* of libgcc 13 and later, around its unwind tables */
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(symbol, words[i]))
			return true;
	return false;
}

static const char *static_python(void)
{
	static char path[PATH_MAX];
	const char *output = getenv("GILSCOPE_OUTPUT");

	snprintf(path, sizeof(path), "%s/static/python", output ? output : ".output");
	return path;
}

/* The names of the interpreter's own functions play no part, so that compiler's clones of them can't do harm. */
Test(sites, a_static_interpreter_is_planned_whatever_take_gil_is_called)
{
	static const char *const suffixes[] = {".constprop.0", ".isra.0", ".part.0", ".lto_priv.0", ".llvm.123", ".cold"};
	struct site_plan *plan = must_plan(static_python(), NULL), *renamed;
	char dir[PATH_MAX], copy[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(copy, sizeof(copy), "%s/copy", dir);
	cr_expect_geq(count(plan, SITE_SIGNAL), 2);
	cr_expect_geq(count(plan, SITE_HANDOFF), 1);
	cr_expect_eq(count(plan, SITE_WAIT), count(plan, SITE_WAKE));
	for (size_t i = 0; i < plan->sites_n; i++) {
		bool collects = plan->sites[i].role >= SITE_GC_START;

		cr_expect(collects ? strstr(plan->sites[i].symbol, "collect") != NULL : may_be_in_a_plan(plan->sites[i].symbol),
			  "%s is none of the interpreter's", plan->sites[i].symbol);
		cr_expect_eq(plan->sites[i].price, SITE_EMULATED);
	}
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		must_run("objcopy --redefine-sym take_gil=take_gil%s --redefine-sym drop_gil=drop_gil%s '%s' '%s'", suffixes[i],
			 suffixes[i], static_python(), copy);
		renamed = must_plan(copy, NULL);
		expect_same_sites(plan, renamed, suffixes[i]);
		site_plan__free(renamed);
	}
	site_plan__free(plan);
	temp_dir__remove(dir);
}

/* objdump's reading of the same calls, those inside the C library left out. */
Test(sites, objdump_finds_the_same_calls_in_a_static_interpreter)
{
	struct site_plan *plan = must_plan(static_python(), NULL);
	char command[PATH_MAX + 512], line[512];
	size_t seen = 0;
	uint64_t vaddr;
	FILE *f;

	snprintf(command, sizeof(command),
		 "objdump -d --no-show-raw-insn '%s' | awk '/^[0-9a-f]+ </ { inside = $2 ~ /^<__condvar_/ } "
		 "!inside && $2 ~ /^(call|jmp)$/ && $4 ~ /^<_*pthread_cond_(signal|timedwait|wait)>$/ { print $1 }'",
		 static_python());
	f = popen(command, "re");
	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f)) {
		cr_assert_eq(sscanf(line, "%" SCNx64 ":", &vaddr), 1);
		cr_expect(site_at(plan, vaddr), "%s", line);
		seen++;
	}
	cr_expect_eq(pclose(f), 0);
	cr_expect_eq(seen, count_calls(plan));
	site_plan__free(plan);
}

/* ---- the C library's own functions ------------------------------------------------------------------------------- */

static int plan_library(const char *path, struct site_plan **ret, struct reason *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;
	struct elffile *ef;

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(elffile__open(fd, &ef, why), 0, "%s", why->text);
	err = sites__plan_library(ef, "here is why", ret, why);
	elffile__close(ef);
	close(fd);
	return err;
}

#define OTHERS \
	FUNC("pthread_cond_timedwait", "push %rbx\npop %rbx\nret\n") FUNC("pthread_cond_wait", "push %r15\npop %r15\nret\n")

static const struct {
	char what[48];
	char code[512];
	int64_t at; /* bytes into pthread_cond_signal; -1: refused */
	enum site_price price;
} entry_cases[] = {
	{"push", FUNC("pthread_cond_signal", "push %rbx\npop %rbx\nret\n"), 0, SITE_EMULATED},
	{"push of a new register", FUNC("pthread_cond_signal", "push %r12\npop %r12\nret\n"), 0, SITE_EMULATED},
	{"endbr64 and push", FUNC("pthread_cond_signal", "endbr64\npush %rbx\npop %rbx\nret\n"), 4, SITE_EMULATED},
	{"the argument copied, then push", FUNC("pthread_cond_signal", "mov %rdi,%rax\npush %rbx\npop %rbx\nret\n"), 3, SITE_EMULATED},
	{"the argument overwritten", FUNC("pthread_cond_signal", "mov (%rdi),%rdi\npush %rbx\npop %rbx\nret\n"), 0, SITE_STEPPED},
	{"half of it overwritten", FUNC("pthread_cond_signal", "xor %edi,%edi\npush %rbx\npop %rbx\nret\n"), 0, SITE_STEPPED},
	{"overwritten by a string instruction", FUNC("pthread_cond_signal", "stosq\npush %rbx\npop %rbx\nret\n"), 0, SITE_STEPPED},
	{"a branch before the push", FUNC("pthread_cond_signal", "test %eax,%eax\nje 1f\npush %rbx\npop %rbx\n1: ret\n"), 0, SITE_STEPPED},
	{"a call before the push", FUNC("pthread_cond_signal", "call 1f\n1: push %rbx\npop %rbx\nret\n"), 0, SITE_STEPPED},
	{"a push that others come to", FUNC("pthread_cond_signal", "endbr64\n1: push %rbx\npop %rbx\njmp 1b\n"), 0, SITE_STEPPED},
	{"no push", FUNC("pthread_cond_signal", "ret\n"), 0, SITE_STEPPED},
	{"no FDE", ".globl pthread_cond_signal\n.type pthread_cond_signal,@function\npthread_cond_signal: push %rbx\nret\n", -1, 0},
	{"an entry inside an instruction", FUNC("f", ".byte 0x48,0xb8\n.globl pthread_cond_signal\n.type pthread_cond_signal,@function\n"
		"pthread_cond_signal: push %rbx\n.byte 0,0,0,0,0,0,0\nret\n"), -1, 0},
	{"no such function", FUNC("f", "ret\n"), -1, 0},
	{"no function", ".data\n.globl pthread_cond_signal\npthread_cond_signal: .quad 0\n", -1, 0},
	{"another one for old programs", FUNC("new", "endbr64\npush %rbx\npop %rbx\nret\n") FUNC("old", "ret\n")
	 ".symver new,pthread_cond_signal@@V2\n.symver old,pthread_cond_signal@V1\n", 4, SITE_EMULATED},
};

Test(sites, entries_of_the_c_library_are_probed_where_it_is_cheap_and_certain)
{
	char dir[PATH_MAX], path[PATH_MAX + 16], code[1024], flags[PATH_MAX + 64];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/versions", dir);
	must_write(path, "V1 {}; V2 {} V1;\n", 17);
	snprintf(flags, sizeof(flags), "-DASM -Wl,--version-script='%s'", path);
	snprintf(path, sizeof(path), "%s/libc.so", dir);
	for (size_t i = 0; i < sizeof(entry_cases) / sizeof(entry_cases[0]); i++) {
		struct site_plan *plan = NULL;
		struct reason why = {""};

		snprintf(code, sizeof(code), "%s%s", OTHERS, entry_cases[i].code);
		must_compile(path, strstr(code, ".symver") ? flags : "-DASM", code);
		cr_expect_eq(plan_library(path, &plan, &why), entry_cases[i].at < 0 ? -ENOTSUP : 0, "%s", entry_cases[i].what);
		if (entry_cases[i].at < 0) {
			cr_expect_null(plan);
			cr_expect_str_eq(why.text, "the C library's pthread_cond_signal is not certain", "%s",
					 entry_cases[i].what);
			continue;
		}
		cr_assert_not_null(plan, "%s: %s", entry_cases[i].what, why.text);
		cr_assert_eq(plan->sites_n, 3, "%s", entry_cases[i].what);
		cr_expect_not(plan->light);
		cr_expect_str_eq(plan->method, "C library entries");
		cr_expect(strstr(plan->notes, "here is why: the probes are in the C library"), "%s", plan->notes);
		for (size_t s = 0; s < plan->sites_n; s++) {
			const struct site *site = &plan->sites[s];

			if (site->role != SITE_SIGNAL)
				continue;
			cr_expect_eq((int64_t)(site->vaddr - site->function.start), entry_cases[i].at, "%s", entry_cases[i].what);
			cr_expect_eq(site->price, entry_cases[i].price, "%s", entry_cases[i].what);
		}
		site_plan__free(plan);
	}
	temp_dir__remove(dir);
}

/* ---- damaged files ----------------------------------------------------------------------------------------- */

static char *small_library(size_t *ret_len)
{
	char dir[PATH_MAX], path[PATH_MAX + 16], *bytes;

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/code.so", dir);
	must_compile(path, "-DASM -Wl,-z,noseparate-code", BASE);
	bytes = must_read(path, ret_len);
	temp_dir__remove(dir);
	return bytes;
}

/* A plan of these bytes may be refused, but every site in it must lie in the file. */
static void plan_bytes(const char *bytes, size_t len)
{
	int fd = memory_file(bytes, len);
	struct site_plan *plan = NULL;
	struct reason why = {""};

	if (plan_fd(fd, &plan, NULL, &why) != 0)
		cr_expect_neq(why.text[0], '\0', "refused without a word");
	for (size_t i = 0; plan && i < plan->sites_n; i++)
		cr_expect_lt(plan->sites[i].offset, len);
	site_plan__free(plan);
	close(fd);
}

Test(sites, a_file_cut_off_anywhere_does_no_harm)
{
	size_t len;
	char *bytes = small_library(&len);

	for (size_t cut = 0; cut < len; cut += cut < 512 ? 8 : 512)
		plan_bytes(bytes, cut);
	free(bytes);
}

Test(sites, any_word_of_a_file_may_be_absurd)
{
	static const uint32_t absurd[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
	size_t len;
	char *bytes = small_library(&len);

	for (size_t at = 0; at + 4 <= len; at += at < 0x1000 ? 4 : 8) {
		uint32_t kept;

		memcpy(&kept, bytes + at, 4);
		for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
			memcpy(bytes + at, &absurd[i], 4);
			plan_bytes(bytes, len);
		}
		memcpy(bytes + at, &kept, 4);
	}
	free(bytes);
}

/* The code claimed by a second, overlapping FDE: neither proves where instructions start. */
Test(sites, overlapping_functions_prove_nothing)
{
	struct site_plan *plan = NULL;
	struct reason why = {""};
	char dir[PATH_MAX], path[PATH_MAX + 16];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/code.so", dir);
	must_compile(path, "-DASM -Wl,--no-eh-frame-hdr",
		     "here: " BASE ".section .eh_frame,\"a\",@progbits\n"
			  "3: .long 5f-4f\n4: .long 0\n.byte 1\n.string \"zR\"\n.byte 1,0x78,16,1,0x1b\n.balign 4\n5:\n"
			  "6: .long 8f-7f\n7: .long 7b-3b\n.long here+1-.\n.long 16\n.byte 0\n.balign 4\n8:\n");
	cr_expect_eq(plan_file(path, &plan, NULL, &why), -ENOTSUP);
	cr_expect(strstr(why.text, "not proven an instruction"), "%s", why.text);
	site_plan__free(plan);
	temp_dir__remove(dir);
}
