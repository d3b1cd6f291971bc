/* SPDX-License-Identifier: GPL-2.0-only */
/* See python_memory.h. */
#include "python_memory.h"

#include <criterion/criterion.h>

#include "collector/target/target.h"

static void find_layout(struct python_memory *m, pid_t pid)
{
	struct reason why = {""};
	struct elf_symbol runtime;
	struct target *t = NULL;
	struct elffile *ef = NULL;
	struct pyver ver;

	cr_assert_eq(target__open(pid, &t, &why), 0, "%s", why.text);
	cr_assert_eq(elffile__open(t->image.fd, &ef, &why), 0, "%s", why.text);
	cr_assert_eq(pyver__identify(ef, t->image.path, &ver, &why), 0, "%s", why.text);
	cr_assert_eq(pyver__offsets(ef, &ver, &m->off, &why), 0, "%s", why.text);
	cr_assert_eq(elffile__dynsym(ef, "_PyRuntime", &runtime), 0);
	m->runtime = runtime.vaddr + t->image.bias;
	elffile__close(ef);
	target__close(t);
}

void python_memory__open(struct python_memory *m, pid_t pid)
{
	find_layout(m, pid);
	cr_assert_eq(pynames__new(pid, m->runtime, &m->off, &m->names), 0);
	cr_assert_eq(pystack__new(pid, &m->off, &m->stacks), 0);
	cr_assert_eq(pynames__refresh(m->names, 1), 0);
}

void python_memory__close(struct python_memory *m)
{
	pystack__free(m->stacks);
	pynames__free(m->names);
}
