/* SPDX-License-Identifier: GPL-2.0-only */
/* See stack_limit.h. Next: bpf/stack_limit.bpf.c. */
#include "stack_limit.h"

#include <errno.h>

#include <bpf/libbpf.h>

#include "stack_limit.skel.h"
#include "uprobe_link.h"

/* Loads the large program or the small one: 0, or -errno if the kernel refuses it. */
static int try_one(bool large, bool multi)
{
	struct stack_limit_bpf *skel = stack_limit_bpf__open();
	int err;

	if (!skel)
		return -errno;
	bpf_program__set_autoload(skel->progs.large, large);
	bpf_program__set_autoload(skel->progs.small, !large);
	if (multi)
		bpf_program__set_expected_attach_type(large ? skel->progs.large : skel->progs.small,
						      UPROBE_MULTI_ATTACH_TYPE);
	err = stack_limit_bpf__load(skel);
	stack_limit_bpf__destroy(skel);
	return err;
}

int stack_limit__check(bool multi, struct reason *ret_why)
{
	libbpf_print_fn_t talk = libbpf_set_print(NULL);
	int err = try_one(false, multi);
	bool limited = err || try_one(true, multi);

	libbpf_set_print(talk);
	if (limited)
		return err;
	return reason__set(ret_why, -ENOTSUP, "this kernel gives programs at uprobes stacks that threads share, which would "
			   "corrupt them: gilscope loads none; please report this kernel's version");
}
