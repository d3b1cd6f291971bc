/* SPDX-License-Identifier: GPL-2.0-only */
/* Files that a child looks into: it finds what we would find, and may come to grief over it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/plan/apart.h"
#include "collector/plan/image.h"
#include "collector/process/theirs.h"
#include "../support/hostile_elf.h"
#include "../support/pythons.h"
#include "../support/workload.h"

TestSuite(apart, .timeout = 120);

static void expect_same_plan(const struct site_plan *a, const struct site_plan *b)
{
	cr_assert_eq(a->sites_n, b->sites_n);
	cr_expect(a->method == b->method || strcmp(a->method, b->method) == 0);
	cr_expect(a->light == b->light && a->incomplete == b->incomplete && strcmp(a->notes, b->notes) == 0);
	for (size_t i = 0; i < a->sites_n; i++) {
		const struct site *x = &a->sites[i], *y = &b->sites[i];

		cr_expect(x->role == y->role && x->price == y->price && x->offset == y->offset && x->vaddr == y->vaddr);
		cr_expect(x->text.len == y->text.len && memcmp(x->text.bytes, y->text.bytes, x->text.len) == 0);
		cr_expect_str_eq(x->insn, y->insn);
	}
}

Test(apart, child_finds_what_we_find)
{
	struct interpreter stock;
	struct site_plan *plan;
	struct elffile *ef;
	struct pyver python;
	struct pyoffsets offsets;
	struct target *t;
	struct workload w;
	struct reason why;
	struct apart a;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "release_loop.py 1");
	cr_assert_eq(target__open(w.pid, &t, &why), 0, "%s", why.text);
	apart__look(t, true, &a);
	cr_assert_eq(a.reached, APART_DONE, "%s", a.why.text);
	cr_assert_eq(image__open(t, &ef, &why), 0);
	cr_assert_eq(pyver__identify(ef, t->image.path, &python, &why), 0);
	cr_assert_eq(pyver__offsets(ef, &python, &offsets, &why), 0);
	cr_assert_eq(image__plan(t, ef, &python, &plan, &why), 0);
	expect_same_plan(a.plan, plan);
	cr_expect_str_eq(a.python.text, python.text);
	cr_expect_str_eq(a.python.found_by, python.found_by);
	cr_expect_eq(memcmp(&a.offsets, &offsets, sizeof(offsets)), 0);
	cr_expect_neq(a.runtime, 0);
	site_plan__free(a.plan);
	site_plan__free(plan);
	elffile__close(ef);
	target__close(t);
	workload__quit(&w);
}

Test(apart, file_that_is_no_interpreter_is_refused_by_the_child)
{
	struct target t = {.pid = getpid(), .pidfd = -1, .image = {.fd = memfd_create("hostile", 0), .path = "/some/file"}};
	struct apart a;

	cr_assert_geq(t.image.fd, 0);
	hostile_elf__write(t.image.fd, 1000, 4096, 0);
	apart__look(&t, true, &a);
	cr_expect_eq(a.reached, APART_PYTHON);
	cr_expect_lt(a.err, 0);
	cr_expect_null(a.plan);
	cr_expect_neq(a.why.text[0], '\0');
	close(t.image.fd);
}

Test(apart, is_for_files_that_are_not_roots_alone)
{
	char path[] = "/tmp/gilscope-apart-XXXXXX";
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_expect_not(theirs__is_foreign(fd));
	cr_assert_eq(fchmod(fd, 0666), 0);
	cr_expect(theirs__is_foreign(fd), "anybody may write it");
	close(fd);
	unlink(path);
}
