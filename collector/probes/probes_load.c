/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bringing the programs into the kernel: open -> configure -> load -> rehearse on a child (probe_check.h), and again with less
 * where this kernel does not take all of it. What it can do ends in struct probes_features.
 */
#include "probes_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "collector/base/log.h"
#include "collector/process/caps.h"
#include "gil.skel.h"
#include "kernel_features.h"
#include "load_refusal.h"
#include "probe_check.h"
#include "stack_limit.h"

#define KIN_MAX 16384 /* processes of followed families that have no slot: most are not Python */

/* Of the thread that loads: libbpf calls back in it. */
static _Thread_local struct verifier_log said;

static int take_message(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char *text;

	if (level == LIBBPF_DEBUG || vasprintf(&text, fmt, args) < 0)
		return 0;
	verifier_log__take(&said, text);
	free(text);
	return 0;
}

/* Without a trace there is not even its map. */
static int size_trace(struct gil_bpf *skel, uint32_t bytes)
{
	skel->rodata->cfg_trace = bytes > 0;
	return bytes ? bpf_map__set_max_entries(skel->maps.trace, bytes) : bpf_map__set_autocreate(skel->maps.trace, false);
}

static int set_up_stacks(struct gil_bpf *skel, const struct probes_opts *opts)
{
	const struct stack_opts *stacks = &opts->stacks;
	int err;

	skel->rodata->cfg_stacks = stacks->on;
	skel->rodata->cfg_stack_ns = stacks->threshold_ns;
	skel->rodata->cfg_long_hold_ns = stacks->long_hold_ns;
	skel->rodata->cfg_long_wait_ns = stacks->long_wait_ns;
	err = bpf_map__set_max_entries(skel->maps.stack_scratch, stacks->on ? probes_opts__gil_slots(opts) : 1);
	err = err ?: bpf_map__set_max_entries(skel->maps.holder_regs, stacks->on ? probes_opts__gil_slots(opts) : 1);
	if (!stacks->on) {
		err = err ?: bpf_map__set_max_entries(skel->maps.native_events, (uint32_t)sysconf(_SC_PAGESIZE));
		err = err ?: bpf_map__set_max_entries(skel->maps.stack_sums, 1);
		err = err ?: bpf_map__set_max_entries(skel->maps.tick_sums, 1);
		err = err ?: bpf_map__set_max_entries(skel->maps.stack_events, (uint32_t)sysconf(_SC_PAGESIZE));
	}
	return err;
}

static int configure(const struct probes *p, struct gil_bpf *skel)
{
	const struct probes_opts *opts = &p->opts;
	int err;

	skel->rodata->cfg_max_procs = opts->max_procs;
	skel->rodata->cfg_off_cpu = p->features.off_cpu;
	err = bpf_map__set_max_entries(skel->maps.procs, opts->max_procs);
	err = err ?: bpf_map__set_max_entries(skel->maps.gils, probes_opts__gil_slots(opts));
	err = err ?: bpf_map__set_max_entries(skel->maps.free_gils, probes_opts__gil_slots(opts) - opts->max_procs);
	err = err ?: bpf_map__set_max_entries(skel->maps.threads, probes_opts__thread_slots(opts));
	err = err ?: bpf_map__set_max_entries(skel->maps.free_slots, opts->max_threads);
	err = err ?: bpf_map__set_max_entries(skel->maps.free_procs, opts->max_procs);
	err = err ?: bpf_map__set_max_entries(skel->maps.tgids, opts->max_procs);
	err = err ?: bpf_map__set_max_entries(skel->maps.kin, opts->follow ? KIN_MAX : 1);
	err = err ?: bpf_map__set_max_entries(skel->maps.blame, opts->max_pairs);
	err = err ?: size_trace(skel, opts->trace_bytes);
	return err ?: set_up_stacks(skel, opts);
}

static void use_multi(struct gil_bpf *skel)
{
	struct bpf_program *programs[] = {
		skel->progs.gil_signal, skel->progs.gil_contended, skel->progs.gil_wake, skel->progs.gil_collect,
		skel->progs.gil_empty, skel->progs.gil_check,
	};

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		bpf_program__set_expected_attach_type(programs[i], UPROBE_MULTI_ATTACH_TYPE);
}

/* Names what the kernel lacks of what is needed; 0: nothing that could be told. */
static int lacks_what_is_needed(struct reason *why)
{
	struct utsname os = {0};
	char missing[640];

	if (!kernel_features__missing(missing, sizeof(missing)))
		return 0;
	uname(&os);
	return reason__set(why, -ENOTSUP, "this kernel (%s) lacks what gilscope needs: %s", os.release, missing);
}

static int load_refused(int err, struct reason *why)
{
	struct utsname os = {0};
	struct load_refusal refusal = {
		.err = err, .effective = caps__effective(), .log = &said, .release = os.release,
	};

	if (lacks_what_is_needed(why))
		return err;
	uname(&os);
	return load_refusal__say(&refusal, why);
}

/* In a PID namespace the programs must count as we do: one of them, run by ourselves, finds out where we are. */
static int find_own_namespace(struct gil_bpf *skel, struct reason *why)
{
	struct bpf_test_run_opts run = {.sz = sizeof(run)};
	int err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.gil_where), &run);

	if (!err && (run.retval || !skel->bss->pidns_level))
		err = -EINVAL;
	return err ? reason__set(why, err, "gilscope runs inside a PID namespace and this kernel does not tell which (%s): "
				 "run it on the host, or in a container with the host's PID namespace", strerror(-err)) : 0;
}

static int load_skeleton(struct probes *p, bool multi, struct reason *why)
{
	bool contained = target__we_are_contained();
	int err = stack_limit__check(multi, why);

	if (err)
		return err == -ENOTSUP ? err : load_refused(err, why);
	p->skel = probes_programs__open(p->features.older);
	if (!p->skel)
		return load_refused(-errno, why);
	if (multi)
		use_multi(p->skel);
	bpf_program__set_autoload(p->skel->progs.gil_where, contained);
	bpf_program__set_autoload(p->skel->progs.gil_switch, p->features.off_cpu);
	bpf_program__set_autoload(p->skel->progs.gil_wakeup, p->features.off_cpu);
	err = configure(p, p->skel);
	err = err ?: gil_bpf__load(p->skel);
	if (err)
		err = load_refused(err, why);
	else if (contained)
		err = find_own_namespace(p->skel, why);
	if (err) {
		gil_bpf__destroy(p->skel);
		p->skel = NULL;
	}
	return err;
}

static void close_skeleton(struct probes *p)
{
	gil_bpf__destroy(p->skel);
	p->skel = NULL;
}

static struct probe_check check_with(struct probes *p, bool multi)
{
	return (struct probe_check){
		.program = p->skel->progs.gil_check,
		.hits = p->skel->bss->check_hits,
		.tgid = &p->skel->bss->check_tgid,
		.multi = multi,
		.planter = p->planter,
		.sampler = p->opts.stacks.on ? p->skel->progs.gil_sample : NULL,
	};
}

static int check(struct probes *p, bool multi)
{
	const struct probe_check check = check_with(p, multi);

	return probe_check__run(&check, &p->features);
}

enum shadow_fate probes__shadow_fate(struct probes *p)
{
	const struct probe_check check = check_with(p, p->features.multi);

	if (p->shadow_fate == SHADOW_UNTRIED)
		p->shadow_fate = probe_check__shadow_stack(&check);
	return p->shadow_fate;
}

/* With perf links, the last way. */
static int check_refused(const struct probes *p, int err, struct reason *why)
{
	bool rights = err == -EPERM || err == -EACCES;
	bool admin = planter__rights(p->planter, PLANTER_PERF) & CAP_SYS_ADMIN_BIT;

	if (rights && !admin)
		return reason__set(why, err, "CAP_SYS_ADMIN is missing: this kernel refuses probes without it where "
				   "uprobe_multi is not used (%s): run gilscope as root (sudo), or grant it that capability, too",
				   p->features.multi_why);
	if (rights)
		return reason__set(why, err, "the kernel refuses probes (%s), though gilscope has CAP_SYS_ADMIN: a security "
				   "module or the container's seccomp filter forbids them", strerror(-err));
	if (err == -ENODATA)
		return reason__set(why, err, "a probe was planted in a child of gilscope's own and did not fire: uprobes "
				   "do not work on this kernel");
	return reason__set(why, err, "a probe could not be planted in a child of gilscope's own (%s)%s", strerror(-err),
			   err == -ENOTSUP ? ": this kernel has no uprobes" : "");
}

static const char *why_no_multi(const struct probes *p)
{
	if (p->opts.no_multi)
		return "switched off";
	return kernel_feature__try(KERNEL_UPROBE_MULTI) == 0 ? "the kernel has none; Linux 6.6 and newer have it" : "";
}

static int load_for_multi(struct probes *p, struct reason *why)
{
	int err = load_skeleton(p, true, why);

	if (err)
		return err;
	err = check(p, true);
	if (!p->features.multi)
		close_skeleton(p);
	return err;
}

/* Loads for uprobe_multi if that works, else for perf links. */
static int load_best(struct probes *p, struct reason *why)
{
	int err = 0;

	said = (struct verifier_log){0};
	p->features.multi_why = why_no_multi(p);
	if (!p->features.multi_why[0])
		err = load_for_multi(p, why);
	if (err || p->features.multi)
		return err;
	log_verbose("one perf event per site instead of uprobe_multi: %s", p->features.multi_why);
	err = load_skeleton(p, false, why);
	if (err)
		return err;
	err = check(p, false);
	return err ? check_refused(p, err, why) : 0;
}

/*
 * Where the kernel itself does not have a function that the programs may call, libbpf looks for it in the kernel's modules, which
 * takes CAP_SYS_ADMIN (BPF_BTF_GET_NEXT_ID), and gives up without. The form for older kernels calls none.
 */
static bool lacks_called_function(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool lacks = btf && btf__find_by_name_kind(btf, "bpf_preempt_disable", BTF_KIND_FUNC) < 0;

	btf__free(btf);
	return lacks;
}

/* Whether the first form of the programs was refused for something that the other one does without. */
static bool needs_older(void)
{
	return kernel_feature__try(KERNEL_SWITCH_STATE) == 0 || lacks_called_function();
}

/* Whether less may be taken, since the programs were refused, and not for want of what all of them need. */
static bool may_take_less(const struct probes *p, int err)
{
	return err && err != -EPERM && err != -ENOTSUP && !p->skel;
}

/*
 * In the form for older kernels where the first one can't be loaded; last, without the programs at context switches, whose
 * tracepoint has changed before.
 */
static int load_what_is_taken(struct probes *p, struct reason *why)
{
	struct reason *first = &p->off_cpu_refusal;
	int err;

	p->features.older = kernel_feature__try(KERNEL_LOOP) == 0 || kernel_feature__is_masked(KERNEL_SWITCH_STATE);
	err = load_best(p, first);
	if (may_take_less(p, err) && !p->features.older && needs_older()) {
		p->features.older = true;
		err = load_best(p, first);
	}
	if (may_take_less(p, err) && p->features.off_cpu) {
		p->features.off_cpu = false;
		p->features.off_cpu_why = first->text;
		return load_best(p, why);
	}
	if (err && why)
		*why = *first;
	return err;
}

int probes_load__skeleton(struct probes *p, struct reason *why)
{
	int err = kernel_features__check_mask(why);

	if (err)
		return err;
	libbpf_set_print(take_message);
	p->features.multi_why = "";
	p->features.off_cpu = !p->opts.no_off_cpu;
	p->features.off_cpu_why = p->opts.no_off_cpu ? "switched off" : "";
	for (enum kernel_feature i = 0; !err && i < KERNEL_FEATURES; i++)
		if (kernel_feature__is_masked(i))
			err = lacks_what_is_needed(why);
	return err ?: load_what_is_taken(p, why);
}
