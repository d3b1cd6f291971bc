/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bringing the programs into the kernel: open -> configure -> load -> rehearse on a child (probe_check.h), and again with less
 * where this kernel does not take all of it. What it can do ends in struct probes_features.
 */
#include "probes_inside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "gil.skel.h"
#include "kernel_features.h"
#include "log.h"
#include "probe_check.h"
#include "stack_limit.h"

#define KIN_MAX 16384 /* processes of followed families that have no slot: most are not Python */

static int quiet_print(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char text[512];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(text, sizeof(text), fmt, args);
	text[strcspn(text, "\n")] = '\0';
	log_debug("libbpf: %s", text);
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
		skel->progs.gil_signal, skel->progs.gil_contended, skel->progs.gil_wake,
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

	if (lacks_what_is_needed(why))
		return err;
	uname(&os);
	if (err == -EPERM || err == -EACCES)
		return reason__set(why, err, "the kernel refuses to load BPF programs: run gilscope as root "
				   "(sudo), or grant it CAP_BPF and CAP_PERFMON");
	return reason__set(why, err, "kernel %s does not take gilscope's BPF programs (%s), though it lacks nothing that they are "
			   "known to need; gilscope -vv says more", os.release, strerror(-err));
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
		load_refused(err, why);
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

static int check(struct probes *p, bool multi)
{
	struct probe_check check = {
		.program = p->skel->progs.gil_check,
		.hits = p->skel->bss->check_hits,
		.tgid = &p->skel->bss->check_tgid,
		.multi = multi,
	};

	return probe_check__run(&check, &p->features);
}

/* Loads for uprobe_multi if that works, else again for perf links. */
static int load_best(struct probes *p, struct reason *why)
{
	int err;

	if (!p->opts.no_multi) {
		err = load_skeleton(p, true, why);
		if (err == -EPERM || err == -EACCES || err == -ENOTSUP)
			return err;
		if (!err) {
			err = check(p, true);
			if (!err && p->features.multi)
				return 0;
			close_skeleton(p);
		} else {
			p->features.multi_why = "the kernel has no uprobe_multi (Linux 6.6 and newer have)";
		}
	} else {
		p->features.multi_why = "switched off";
	}
	log_verbose("one perf event per site instead of uprobe_multi: %s", p->features.multi_why);
	err = load_skeleton(p, false, why);
	if (err)
		return err;
	err = check(p, false);
	return err ? reason__set(why, err, "a probe on a child of gilscope's own did not work (%s): uprobes seem to be "
				 "switched off on this kernel", strerror(-err)) : 0;
}

/* Whether the first form of the programs was refused for something that the other one does without. */
static bool needs_older(void)
{
	return kernel_feature__try(KERNEL_SWITCH_STATE) == 0;
}

/*
 * In the form for older kernels where the first one can't be loaded; last, without the programs at context switches, whose
 * tracepoint has changed before.
 */
static int load_what_is_taken(struct probes *p, struct reason *why)
{
	int err;

	p->features.older = kernel_feature__try(KERNEL_LOOP) == 0 || kernel_feature__is_masked(KERNEL_SWITCH_STATE);
	err = load_best(p, why);
	if (err && err != -ENOTSUP && !p->features.older && needs_older()) {
		p->features.older = true;
		err = load_best(p, why);
	}
	if (!err || err == -ENOTSUP || !p->features.off_cpu)
		return err;
	p->features.off_cpu = false;
	p->features.off_cpu_why = "the kernel does not take the programs for it";
	return load_best(p, why);
}

int probes_load__skeleton(struct probes *p, struct reason *why)
{
	int err = kernel_features__check_mask(why);

	if (err)
		return err;
	libbpf_set_print(quiet_print);
	p->features.multi_why = "";
	p->features.off_cpu = !p->opts.no_off_cpu;
	p->features.off_cpu_why = p->opts.no_off_cpu ? "switched off" : "";
	for (enum kernel_feature i = 0; !err && i < KERNEL_FEATURES; i++)
		if (kernel_feature__is_masked(i))
			err = lacks_what_is_needed(why);
	return err ?: load_what_is_taken(p, why);
}
