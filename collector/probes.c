/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See probes.h. Life of a process slot, links and arming; the check of the kernel's features is probe_check.c's.
 *
 * Probes are planted by a process of their own (planter.h), by inode through /proc/self/fd/N, N being the descriptor that
 * the sites were found in: no name is looked up twice. Order matters: a slot is filled in while disarmed, planted, armed
 * last; lifted before it is emptied.
 */
#include "probes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "clock.h"
#include "families.h"
#include "gil.skel.h"
#include "log.h"
#include "planter.h"
#include "probe_check.h"
#include "pystack.h"

#define KIN_MAX 16384 /* processes of followed families that have no slot: most are not Python */
#define THREADS_STEP ((size_t)256 * 1024) /* the thread table is mapped in pieces of this size: whole pages everywhere */

enum site_group {
	GROUP_CONTENDED, /* WAIT and HANDOFF: planted in both modes */
	GROUP_SIGNAL,    /* full */
	GROUP_WAKE,      /* light */
	GROUP_COUNT,
};

_Static_assert((int)GROUP_COUNT == FAMILY_GROUPS, "families plant the same groups");

struct proc_slot {
	bool used;
	pid_t pid;
	int image_fd;
	enum gil_mode mode;
	struct uprobe_sites sites[GROUP_COUNT];
	uint32_t links[GROUP_COUNT]; /* the planter's numbers, 0: not planted */
	struct family *family;  /* whose probes it has instead of its own, or NULL */
	int pidfd;              /* the target's; -1: gone already */
	bool told;              /* `tgids` knows it: what becomes of it is told with its slot */
	uint64_t runtime;       /* of the one that a family begins with, as `off` */
	const struct pyoffsets *off;
};

struct probes {
	struct probes_opts opts;
	struct probes_features features;
	struct gil_bpf *skel;
	struct planter *planter;
	struct families *families; /* NULL: nobody shares probes */
	struct gil_proc *procs; /* mapped */
	struct gil_state *gils;
	struct gil_thread *threads;
	struct gil_family *templates;
	size_t procs_len, gils_len, threads_len, templates_len;
	size_t threads_mapped;  /* bytes of the thread table that are there; the rest is reserved */
	struct proc_slot *slots;
};

/* ---- opening ---- */

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

static uint32_t all_slots(const struct probes_opts *opts)
{
	return GIL_SLOT_OTHER + opts->max_procs + opts->max_threads;
}

/* One each, and some for the few programs that have more: a process's share if there is but one. */
static uint32_t all_gils(const struct probes_opts *opts)
{
	return opts->max_procs + (opts->max_procs / 2 > GIL_PER_PROC - 1 ? opts->max_procs / 2 : GIL_PER_PROC - 1);
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
	err = bpf_map__set_max_entries(skel->maps.stack_scratch, stacks->on ? all_gils(opts) : 1);
	err = err ?: bpf_map__set_max_entries(skel->maps.holder_regs, stacks->on ? all_gils(opts) : 1);
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
	err = err ?: bpf_map__set_max_entries(skel->maps.gils, all_gils(opts));
	err = err ?: bpf_map__set_max_entries(skel->maps.free_gils, all_gils(opts) - opts->max_procs);
	err = err ?: bpf_map__set_max_entries(skel->maps.threads, all_slots(opts));
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

static int load_refused(int err, struct reason *why)
{
	struct utsname os = {0};

	uname(&os);
	if (err == -EPERM || err == -EACCES)
		return reason__set(why, err, "the kernel refuses to load BPF programs: run gilscope as root "
				   "(sudo), or grant it CAP_BPF and CAP_PERFMON");
	return reason__set(why, err, "kernel %s does not take gilscope's BPF programs (%s): it needs Linux 5.17 or "
			   "newer with BTF in /sys/kernel/btf/vmlinux; gilscope -vv says more",
			   os.release, strerror(-err));
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
	int err;

	p->skel = gil_bpf__open();
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

static void *map_refused(const struct bpf_map *map, size_t len, struct reason *why)
{
	reason__set(why, -errno, "can't map the BPF table \"%s\" (%zu bytes): %s", bpf_map__name(map), len,
		    strerror(errno));
	return NULL;
}

static void *map_table(struct bpf_map *map, size_t len, struct reason *why)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return mem == MAP_FAILED ? map_refused(map, len, why) : mem;
}

static void *reserve(void *at, size_t len)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0);

	return mmap(at, len, PROT_READ | PROT_WRITE, flags, -1, 0);
}

/*
 * Mapping a BPF array makes all of it resident at once (kernel/bpf/arraymap.c, array_map_mmap), here and in every child. So
 * the thread table is mapped only as far as it is used; the rest is zero pages, which read as free slots.
 */
static void *reserve_table(struct bpf_map *map, size_t len, struct reason *why)
{
	void *mem = reserve(NULL, len);

	return mem == MAP_FAILED ? map_refused(map, len, why) : mem;
}

static void map_threads_to(struct probes *p, size_t end)
{
	size_t from = p->threads_mapped, to = (end + THREADS_STEP - 1) / THREADS_STEP * THREADS_STEP;
	char *at = (char *)p->threads + from;

	to = to < p->threads_len ? to : p->threads_len;
	p->threads_mapped = to;
	if (mmap(at, to - from, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, bpf_map__fd(p->skel->maps.threads),
		 (off_t)from) != MAP_FAILED)
		return;
	log_warn("can't map %zu bytes more of the thread table, further threads stay unseen: %s", to - from,
		 strerror(errno));
	reserve(at, to - from); /* the attempt may have left a hole */
}

static int map_tables(struct probes *p, struct reason *why)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	p->procs_len = (p->opts.max_procs * sizeof(*p->procs) + page - 1) / page * page;
	p->gils_len = (all_gils(&p->opts) * sizeof(*p->gils) + page - 1) / page * page;
	p->threads_len = (all_slots(&p->opts) * sizeof(*p->threads) + page - 1) / page * page;
	p->procs = map_table(p->skel->maps.procs, p->procs_len, why);
	p->gils = map_table(p->skel->maps.gils, p->gils_len, why);
	p->templates_len = (GIL_FAMILIES * sizeof(*p->templates) + page - 1) / page * page;
	p->threads = reserve_table(p->skel->maps.threads, p->threads_len, why);
	p->templates = map_table(p->skel->maps.families, p->templates_len, why);
	return p->procs && p->gils && p->threads && p->templates ? 0 : -ENOMEM;
}

/* Makes a process slot ready for whoever gets it next: a process of ours, or a child in the moment of its fork. */
static int free_proc(struct probes *p, uint32_t slot)
{
	struct gil_thread *other = probes__thread(p, GIL_SLOT_OTHER + slot);
	struct gil_proc *proc = probes__proc(p, slot);

	for (uint32_t gil = 1; gil < GIL_PER_PROC; gil++)
		if (proc->gil_addr[gil] > GIL_PLACE_FREE)
			probes__free_gil(p, slot, gil);
	*proc = (struct gil_proc){.gil_slot = {slot}};
	memset(probes__gil(p, slot, 0), 0, sizeof(struct gil_state));
	memset(other, 0, sizeof(*other));
	other->state = GIL_THREAD_LIVE;
	other->proc = slot;
	return bpf_map_update_elem(bpf_map__fd(p->skel->maps.free_procs), NULL, &slot, BPF_ANY) ? -errno : 0;
}

static int free_all_procs(struct probes *p)
{
	int err = 0;

	for (uint32_t slot = p->opts.max_procs; !err && slot > 0; slot--)
		err = free_proc(p, slot - 1);
	return err;
}

static int fill_free_slots(struct probes *p)
{
	int fd = bpf_map__fd(p->skel->maps.free_slots);

	int gils_fd = bpf_map__fd(p->skel->maps.free_gils);

	for (uint32_t slot = all_slots(&p->opts) - 1; slot >= probes__first_thread(p); slot--)
		if (bpf_map_update_elem(fd, NULL, &slot, BPF_ANY))
			return -errno;
	for (uint32_t slot = all_gils(&p->opts) - 1; slot >= p->opts.max_procs; slot--)
		if (bpf_map_update_elem(gils_fd, NULL, &slot, BPF_ANY))
			return -errno;
	return 0;
}

/* The programs on thread exit, fork and exec see the whole machine and return at once for whom we don't observe. */
static int attach_tracepoints(struct probes *p, struct reason *why)
{
	struct gil_bpf *skel = p->skel;

	skel->links.gil_task_exit = bpf_program__attach(skel->progs.gil_task_exit);
	skel->links.gil_exec = bpf_program__attach(skel->progs.gil_exec);
	skel->links.gil_fork = bpf_program__attach(skel->progs.gil_fork);
	if (!skel->links.gil_task_exit || !skel->links.gil_exec || !skel->links.gil_fork)
		return reason__set(why, -errno, "can't attach to the scheduler's tracepoints (%s): gilscope needs "
				   "CAP_PERFMON and a kernel with BTF", strerror(errno));
	return 0;
}

static void unwatch_switches(struct probes *p)
{
	bpf_link__destroy(p->skel->links.gil_switch);
	bpf_link__destroy(p->skel->links.gil_wakeup);
	p->skel->links.gil_switch = p->skel->links.gil_wakeup = NULL;
}

static void watch_switches(struct probes *p)
{
	struct gil_bpf *skel = p->skel;

	skel->links.gil_switch = bpf_program__attach(skel->progs.gil_switch);
	skel->links.gil_wakeup = bpf_program__attach(skel->progs.gil_wakeup);
	if (skel->links.gil_switch && skel->links.gil_wakeup)
		return;
	unwatch_switches(p);
	p->features.off_cpu = false;
	p->features.off_cpu_why = "the kernel refuses to attach to its context switches";
	log_warn("what holders of the GIL do off the CPU stays unknown: %s", p->features.off_cpu_why);
}

static bool is_any_in(const struct probes *p, enum gil_mode mode)
{
	for (uint32_t slot = 0; slot < p->opts.max_procs; slot++)
		if (p->slots[slot].used && p->slots[slot].mode == mode)
			return true;
	return false;
}

/* All switches of the machine pay for it: only while holds are counted. Children may be born into a family at any moment. */
static void mind_switches(struct probes *p)
{
	bool watched = p->skel->links.gil_switch != NULL;
	bool wanted = is_any_in(p, GIL_MODE_FULL) || (watched && p->families && !is_any_in(p, GIL_MODE_LIGHT));

	if (!p->features.off_cpu || wanted == watched)
		return;
	if (wanted)
		watch_switches(p);
	else
		unwatch_switches(p);
}

static int start_planter(struct probes *p, struct reason *why)
{
	int err = planter__start(&p->planter);

	return err ? reason__set(why, err, "can't start the process that plants the probes: %s", strerror(-err)) : 0;
}

static struct bpf_program *program_of(const struct probes *p, enum site_group group)
{
	if (p->opts.empty_programs)
		return p->skel->progs.gil_empty;
	switch (group) {
	case GROUP_SIGNAL:
		return p->skel->progs.gil_signal;
	case GROUP_WAKE:
		return p->skel->progs.gil_wake;
	default:
		return p->skel->progs.gil_contended;
	}
}

static void start_families(struct probes *p)
{
	const struct bpf_program *programs[GROUP_COUNT];

	for (int group = 0; group < GROUP_COUNT; group++)
		programs[group] = program_of(p, group);
	if (p->opts.follow && p->opts.handed_down)
		p->families = families__new(p->planter, programs, p->features.multi, p->templates);
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
		if (err == -EPERM || err == -EACCES)
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

/* The programs at context switches need a kernel that hands them the state of who leaves (5.18): else without them. */
static int load_all(struct probes *p, struct reason *why)
{
	int err;

	p->features.off_cpu = !p->opts.no_off_cpu;
	p->features.off_cpu_why = p->opts.no_off_cpu ? "switched off" : "";
	err = load_best(p, why);
	if (!err || !p->features.off_cpu)
		return err;
	p->features.off_cpu = false;
	p->features.off_cpu_why = "the kernel does not take the programs for it (Linux 5.18 and newer do)";
	return load_best(p, why);
}

int probes__open(const struct probes_opts *opts, struct probes **ret, struct reason *why)
{
	struct probes *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	libbpf_set_print(quiet_print);
	p->opts = *opts;
	p->opts.max_procs = opts->max_procs ?: 1;
	p->opts.max_threads = opts->max_threads ?: 2048;
	p->opts.max_pairs = opts->max_pairs ?: 65536;
	p->features.multi_why = "";
	p->slots = calloc(p->opts.max_procs, sizeof(*p->slots));
	err = p->slots ? load_all(p, why) : -ENOMEM;
	err = err ?: map_tables(p, why);
	err = err ?: fill_free_slots(p);
	err = err ?: free_all_procs(p);
	err = err ?: attach_tracepoints(p, why);
	err = err ?: start_planter(p, why);
	if (err) {
		probes__close(p);
		return err;
	}
	start_families(p);
	*ret = p;
	return 0;
}

static void unmap(void *mem, size_t len)
{
	if (mem)
		munmap(mem, len);
}

void probes__close(struct probes *p)
{
	if (!p)
		return;
	probes__lift_all(p);
	for (uint32_t i = 0; p->slots && i < p->opts.max_procs; i++)
		if (p->slots[i].used)
			probes__remove(p, i);
	families__free(p->families);
	planter__stop(p->planter);
	unmap(p->procs, p->procs_len);
	unmap(p->gils, p->gils_len);
	unmap(p->threads, p->threads_len);
	unmap(p->templates, p->templates_len);
	gil_bpf__destroy(p->skel);
	free(p->slots);
	free(p);
}

/* ---- access for the reader ---- */

const struct probes_features *probes__features(const struct probes *p)
{
	return &p->features;
}

struct gil_bpf *probes__skeleton(struct probes *p)
{
	return p->skel;
}

struct gil_proc *probes__proc(struct probes *p, uint32_t slot)
{
	return &p->procs[slot];
}

struct gil_state *probes__gil(struct probes *p, uint32_t slot, uint32_t gil)
{
	return &p->gils[p->procs[slot].gil_slot[gil]];
}

struct gil_thread *probes__thread(struct probes *p, uint32_t thread_slot)
{
	size_t end = (thread_slot + 1) * sizeof(*p->threads);

	if (end > p->threads_mapped)
		map_threads_to(p, end);
	return &p->threads[thread_slot];
}

uint32_t probes__first_thread(const struct probes *p)
{
	return GIL_SLOT_OTHER + p->opts.max_procs;
}

uint32_t probes__thread_slots(const struct probes *p)
{
	return all_slots(&p->opts);
}

bool probes__are_alive(const struct probes *p)
{
	return planter__is_alive(p->planter);
}

enum plant_method probes__method(const struct probes *p, uint32_t slot)
{
	if (p->slots[slot].family)
		return PLANT_FAMILY;
	return p->features.multi ? PLANT_MULTI : PLANT_PERF;
}

bool probes__is_kin(const struct probes *p, uint32_t slot)
{
	return p->slots[slot].family != NULL;
}

enum gil_mode probes__mode(const struct probes *p, uint32_t slot)
{
	return p->slots[slot].mode;
}

pid_t probes__pid(const struct probes *p, uint32_t slot)
{
	return p->slots[slot].used ? p->slots[slot].pid : 0;
}

uint64_t probes__map_bytes(const struct probes *p)
{
	return p->procs_len + p->gils_len + p->threads_len +
	       (uint64_t)p->opts.max_pairs * (sizeof(struct gil_blame_key) + sizeof(struct gil_blame) + 48) +
	       (uint64_t)p->opts.max_threads * 4 + 64 * 1024;
}

/* ---- a process slot ---- */

static const struct {
	enum site_group group;
	enum gil_site_kind kind;
} role_map[] = {
	[SITE_SIGNAL] = {GROUP_SIGNAL, GIL_SITE_SIGNAL},
	[SITE_WAIT] = {GROUP_CONTENDED, GIL_SITE_WAIT},
	[SITE_HANDOFF] = {GROUP_CONTENDED, GIL_SITE_HANDOFF},
	[SITE_WAKE] = {GROUP_WAKE, GIL_SITE_WAKE},
};

/* How far behind _PyRuntime a site lies, as cookies have it; 0 where that is not known. */
static uint64_t way_to(const struct site *site, const struct probes_subject *who)
{
	int64_t way = (int64_t)(site->vaddr + who->target->image.bias - who->runtime);

	if (!who->runtime || who->plan->library_fd >= 0 || way != (int32_t)way)
		return 0;
	return (uint64_t)(uint32_t)way << 32;
}

static int sort_sites(struct proc_slot *s, uint32_t slot, const struct probes_subject *who)
{
	for (size_t i = 0; i < who->plan->sites_n; i++) {
		const struct site *site = &who->plan->sites[i];
		int err = uprobe_sites__add(&s->sites[role_map[site->role].group], site->offset,
					    way_to(site, who) | GIL_COOKIE(slot, role_map[site->role].kind));

		if (err)
			return err;
	}
	return 0;
}

/* How the programs can tell a forced release on this version. */
static void set_drop_request(struct gil_proc *proc, const struct pyoffsets *off, uint64_t runtime_addr)
{
	proc->drop_kind = GIL_DROP_NONE;
	if (off->tstate_eval_breaker != PYOFF_NONE) {
		proc->drop_kind = GIL_DROP_TSTATE;
		proc->drop_where = off->tstate_eval_breaker;
	} else if (off->interp_gil_drop_request != PYOFF_NONE) {
		proc->drop_kind = GIL_DROP_INTERP;
		proc->drop_where = off->interp_gil_drop_request;
	} else if (off->runtime_gil_drop_request != PYOFF_NONE) {
		proc->drop_kind = GIL_DROP_ADDRESS;
		proc->drop_where = runtime_addr + off->runtime_gil_drop_request;
	}
}

/* The GILs that are there; those that find no slot are learned when there is one. */
static void place_gils(struct probes *p, uint32_t slot, const struct gil_address *gils, int gils_n)
{
	int fd = bpf_map__fd(p->skel->maps.free_gils);
	struct gil_proc *proc = probes__proc(p, slot);

	proc->gil_slot[0] = slot;
	memset(probes__gil(p, slot, 0), 0, sizeof(struct gil_state));
	for (int i = 0; i < gils_n && i < GIL_PER_PROC; i++) {
		if (i > 0 && bpf_map_lookup_and_delete_elem(fd, NULL, &proc->gil_slot[i]))
			break;
		proc->gil_owner[i].interp = gils[i].interp;
		proc->gil_owner[i].id = (uint64_t)gils[i].interp_id;
		proc->gil_addr[i] = gils[i].gil;
	}
}

void probes__free_gil(struct probes *p, uint32_t slot, uint32_t gil)
{
	struct gil_proc *proc = probes__proc(p, slot);

	memset(probes__gil(p, slot, gil), 0, sizeof(struct gil_state));
	proc->gil_owner[gil] = (struct gil_owner){0};
	if (gil > 0 && bpf_map_update_elem(bpf_map__fd(p->skel->maps.free_gils), NULL, &proc->gil_slot[gil], BPF_ANY))
		log_debug("GIL slot %u could not be given back", proc->gil_slot[gil]);
	__atomic_store_n(&proc->gil_addr[gil], GIL_PLACE_FREE, __ATOMIC_SEQ_CST);
}

static void fill_layout(struct gil_proc *proc, const struct pyoffsets *off)
{
	memset(proc, 0, sizeof(*proc));
	proc->off_locked = off->gil_locked;
	proc->off_last_holder = off->gil_last_holder;
	proc->off_cond = off->gil_cond;
	proc->off_switch_cond = off->gil_switch_cond;
	proc->off_tstate_interp = off->tstate_interp;
	proc->off_interp_gil = off->interp_gil == PYOFF_NONE ? 0 : off->interp_gil;
	proc->off_interp_id = off->interp_id;
	pystack__layout(off, &proc->frames);
}

static void fill_proc(struct gil_proc *proc, const struct probes_subject *who)
{
	fill_layout(proc, who->offsets);
	set_drop_request(proc, who->offsets, who->runtime);
	if (!who->runtime && proc->drop_kind == GIL_DROP_ADDRESS)
		proc->drop_kind = GIL_DROP_NONE;
	proc->tgid = (uint32_t)who->target->pid;
	proc->in_library = !sites__shareable(who->plan);
}

/* What is the same in all processes of the file. */
static void fill_family(struct gil_family *family, const struct pyoffsets *off)
{
	*family = (struct gil_family){
		.runtime_gil = off->runtime_gil == PYOFF_NONE ? 0 : off->runtime_gil,
		.runtime_interpreters = off->runtime_interpreters_head,
		.interp_next = off->interp_next,
	};
	fill_layout(&family->proc, off);
	family->proc.follow = GIL_FOLLOW_COUNTED;
	set_drop_request(&family->proc, off, 0);
}

/* Takes the newest free slot. */
static int take_slot(struct probes *p, uint32_t *ret)
{
	return bpf_map_lookup_and_delete_elem(bpf_map__fd(p->skel->maps.free_procs), NULL, ret) ? -ENOSPC : 0;
}

/* ---- who is told of, and with which slot ---- */

static bool has_ended(int pidfd)
{
	struct pollfd end = {.fd = pidfd, .events = POLLIN};

	return pidfd < 0 || poll(&end, 1, 0) != 0;
}

/* The entry may be another's by now: of the program that it exec'd, or of one that got its PID. */
static void forget_tgid(struct probes *p, pid_t pid, uint32_t slot)
{
	int fd = bpf_map__fd(p->skel->maps.tgids);
	uint32_t tgid = (uint32_t)pid, value;

	if (!bpf_map_lookup_elem(fd, &tgid, &value) && value == slot)
		bpf_map_delete_elem(fd, &tgid);
}

/* Of a followed process, since when it is what it is, and whether an event of it was turned away; false: it is no such. */
static bool find_kin(const struct probes *p, pid_t pid, struct gil_kin *ret)
{
	uint32_t tgid = (uint32_t)pid;

	return bpf_map_lookup_elem(bpf_map__fd(p->skel->maps.kin), &tgid, ret) == 0;
}

/*
 * From here on the process is that of this slot. A followed one can be given a slot by the programs as well (families.h): whoever
 * is first has it. An entry that nobody deletes would be that of the next process with its PID: the programs delete it at the
 * exit, so it must not be made after that.
 */
static int tell(struct probes *p, uint32_t slot)
{
	struct proc_slot *s = &p->slots[slot];
	int tgids = bpf_map__fd(p->skel->maps.tgids);
	uint32_t tgid = (uint32_t)s->pid;

	if (bpf_map_update_elem(tgids, &tgid, &slot, p->opts.follow ? BPF_NOEXIST : BPF_ANY))
		return errno == EEXIST ? -EALREADY : -errno;
	s->told = true;
	if (has_ended(s->pidfd)) {
		forget_tgid(p, s->pid, slot);
		return -ESRCH;
	}
	return 0;
}

int probes__add(struct probes *p, const struct probes_subject *who, uint32_t *ret_slot, struct reason *why)
{
	struct proc_slot *s;
	struct gil_kin kin;
	uint32_t slot;
	int err = take_slot(p, &slot);

	if (err)
		return reason__set(why, err, "no room for another process: gilscope was set up for %u",
				   p->opts.max_procs);
	s = &p->slots[slot];
	*s = (struct proc_slot){
		.used = true, .pid = who->target->pid, .image_fd = -1, .pidfd = who->target->pidfd, .runtime = who->runtime,
		.off = who->offsets,
	};
	fill_proc(probes__proc(p, slot), who);
	probes__proc(p, slot)->follow = p->opts.follow ? GIL_FOLLOW_TOLD : GIL_FOLLOW_NOT;
	place_gils(p, slot, who->gils, who->gils_n);
	err = sort_sites(s, slot, who);
	if (!err) {
		s->image_fd = fcntl(who->plan->library_fd >= 0 ? who->plan->library_fd : who->target->image.fd,
				    F_DUPFD_CLOEXEC, 0);
		err = s->image_fd < 0 ? -errno : 0;
	}
	/* Kin is told of as it is, and has its slot when that counts (probes__arm). */
	if (!err && !find_kin(p, s->pid, &kin))
		err = tell(p, slot);
	if (err) {
		probes__remove(p, slot);
		return reason__set(why, err, "can't set up process %d: %s", (int)who->target->pid, strerror(-err));
	}
	*ret_slot = slot;
	return 0;
}

void probes__disown(struct probes *p, uint32_t slot)
{
	probes__disarm(p, slot);
	forget_tgid(p, (pid_t)probes__proc(p, slot)->tgid, slot);
	if (free_proc(p, slot))
		log_debug("process slot %u could not be given back", slot);
}

static int plant_in_family(struct probes *p, struct proc_slot *s, enum gil_mode mode);

/* Counts with the family's probes, or will when they are planted again: its last relative may be gone by now. */
static int join(struct probes *p, struct proc_slot *s, struct family *family, uint64_t counted_since, bool *ret_late)
{
	enum gil_mode mode = family__mode(family) != GIL_MODE_OFF ? family__mode(family) : s->mode;
	int err;

	family__born(family);
	s->family = family;
	err = plant_in_family(p, s, mode);
	*ret_late = counted_since <= family__planted_at(family);
	return err;
}

static int copy_sites(struct uprobe_sites *dst, const struct uprobe_sites *src, uint32_t slot)
{
	int err = 0;

	for (size_t i = 0; !err && i < src->n; i++)
		err = uprobe_sites__add(dst, src->offsets[i], GIL_COOKIE(slot, GIL_COOKIE_KIND(src->cookies[i])));
	return err;
}

int probes__adopt(struct probes *p, uint32_t parent_slot, pid_t child, uint32_t child_slot, uint64_t forked_at, bool *ret_late)
{
	const struct proc_slot *parent = &p->slots[parent_slot];
	struct proc_slot *s = &p->slots[child_slot];
	int err;

	*s = (struct proc_slot){.used = true, .told = true, .pid = child, .mode = parent->mode, .pidfd = -1};
	s->image_fd = fcntl(parent->image_fd, F_DUPFD_CLOEXEC, 0);
	err = s->image_fd < 0 ? -errno : 0;
	for (int group = 0; !err && group < GROUP_COUNT; group++)
		err = copy_sites(&s->sites[group], &parent->sites[group], child_slot);
	*ret_late = true;
	if (!err && parent->family)
		err = join(p, s, parent->family, forked_at, ret_late);
	if (err)
		probes__remove(p, child_slot);
	return err;
}

int probes__adopt_newcomer(struct probes *p, const struct gil_event *e, bool *ret_late)
{
	struct family *family = families__by_number(p->families, e->family);
	struct proc_slot *s = &p->slots[e->proc];
	int err = family ? 0 : -ENOENT;

	*s = (struct proc_slot){
		.used = true, .told = true, .pid = (pid_t)e->tgid, .pidfd = -1, .image_fd = -1,
		.mode = (enum gil_mode)probes__proc(p, e->proc)->mode,
	};
	if (!err) {
		s->image_fd = fcntl(family__image(family), F_DUPFD_CLOEXEC, 0);
		err = s->image_fd < 0 ? -errno : 0;
	}
	for (int group = 0; !err && group < GROUP_COUNT; group++)
		err = copy_sites(&s->sites[group], family__sites(family, group), e->proc);
	err = err ?: join(p, s, family, e->at, ret_late);
	if (err)
		probes__remove(p, e->proc);
	return err;
}

uint32_t probes__family(const struct probes *p, uint32_t slot)
{
	return p->slots[slot].family ? family__number(p->slots[slot].family) : GIL_FAMILIES;
}

bool probes__is_family_file(const struct probes *p, uint32_t family, int image_fd)
{
	const struct family *of = families__by_number(p->families, family);
	struct stat file, theirs;

	return of && !fstat(family__image(of), &file) && !fstat(image_fd, &theirs) && file.st_dev == theirs.st_dev &&
	       file.st_ino == theirs.st_ino;
}

/* ---- planting and lifting ---- */

static bool wants(enum gil_mode mode, enum site_group group)
{
	return group == GROUP_CONTENDED || (group == GROUP_SIGNAL && mode == GIL_MODE_FULL) ||
	       (group == GROUP_WAKE && mode == GIL_MODE_LIGHT);
}

static int plant_group(struct probes *p, struct proc_slot *s, enum site_group group, struct reason *why)
{
	struct uprobe_place place = {.image_fd = s->image_fd, .pid = s->pid};
	int err;

	if (s->links[group] || s->sites[group].n == 0)
		return 0;
	err = planter__plant(p->planter, program_of(p, group), &place, &s->sites[group], p->features.multi,
			     &s->links[group]);
	if (err)
		return reason__set(why, err, "can't plant %zu probes in process %d: %s", s->sites[group].n,
				   (int)s->pid, strerror(-err));
	return 0;
}

/* The same sites as its own, told apart by process. */
static int enter_family(struct probes *p, struct proc_slot *s)
{
	struct gil_family layout;

	fill_family(&layout, s->off);
	return families__enter(p->families, s->image_fd, s->sites, &layout, &s->family);
}

static void leave_family(struct probes *p, struct proc_slot *s)
{
	if (s->family)
		family__leave(p->families, s->family);
	s->family = NULL;
}

/* In the family's mode: who is new in it does not change that of the others. */
static int become_kin(struct probes *p, struct proc_slot *s, enum gil_mode mode)
{
	int err = enter_family(p, s);

	if (!err && family__mode(s->family) != GIL_MODE_OFF)
		mode = family__mode(s->family);
	return err ?: plant_in_family(p, s, mode);
}

static int plant_in_family(struct probes *p, struct proc_slot *s, enum gil_mode mode)
{
	uint32_t groups = 0;
	int err;

	for (int group = 0; group < GROUP_COUNT; group++)
		groups |= (uint32_t)wants(mode, group) << group;
	err = family__set_groups(p->families, s->family, groups, mode);
	if (err)
		leave_family(p, s);
	else
		s->mode = mode;
	return err;
}

/* Not in the C library: every process of the machine would meet the probes. */
static bool can_share(struct probes *p, uint32_t slot)
{
	return p->families && !probes__proc(p, slot)->in_library;
}

int probes__plant(struct probes *p, uint32_t slot, enum gil_mode mode, struct reason *why)
{
	struct proc_slot *s = &p->slots[slot];

	int err;

	if (can_share(p, slot)) {
		err = s->family ? plant_in_family(p, s, mode) : become_kin(p, s, mode);
		mind_switches(p);
		return err ? reason__set(why, err, "can't plant the probes of process %d and its children: %s", (int)s->pid,
					 strerror(-err)) : 0;
	}
	for (int group = 0; group < GROUP_COUNT; group++) {
		err = wants(mode, group) ? plant_group(p, s, group, why) : 0;
		if (err) {
			probes__lift(p, slot);
			return err;
		}
	}
	s->mode = mode;
	mind_switches(p);
	return 0;
}

/*
 * Since when every event of a followed process is seen, that has no slot until now: since it began, if the probes were there and
 * none of its events was turned away, for the first one would have given it a slot.
 */
static uint64_t unmissed_since(const struct probes *p, const struct proc_slot *s, uint64_t now)
{
	struct gil_kin kin;

	if (!s->family || !find_kin(p, s->pid, &kin) || kin.turned_away || kin.began < family__planted_at(s->family))
		return now;
	return kin.began;
}

/* It counts already: whatever it does from here on, and nothing before. */
static int tell_kin(struct probes *p, uint32_t slot)
{
	struct proc_slot *s = &p->slots[slot];
	uint32_t tgid = (uint32_t)s->pid;
	int err = tell(p, slot);

	if (err) {
		probes__disarm(p, slot);
		return err;
	}
	probes__proc(p, slot)->armed_at = unmissed_since(p, s, probes__proc(p, slot)->armed_at);
	bpf_map_delete_elem(bpf_map__fd(p->skel->maps.kin), &tgid);
	return 0;
}

int probes__arm(struct probes *p, uint32_t slot, uint64_t *ret_armed_at)
{
	struct gil_proc *proc = probes__proc(p, slot);
	int err = 0;

	proc->mode = p->slots[slot].mode;
	proc->follow = !p->opts.follow ? GIL_FOLLOW_NOT :
		       p->slots[slot].family ? GIL_FOLLOW_COUNTED : GIL_FOLLOW_TOLD;
	proc->arm_gen++;
	proc->armed_at = clock__mono_ns();
	__atomic_store_n(&proc->armed, 1, __ATOMIC_SEQ_CST);
	if (!p->slots[slot].told)
		err = tell_kin(p, slot);
	*ret_armed_at = proc->armed_at;
	return err;
}

void probes__disarm(struct probes *p, uint32_t slot)
{
	__atomic_store_n(&probes__proc(p, slot)->armed, 0, __ATOMIC_SEQ_CST);
}

static void lift_group(struct probes *p, struct proc_slot *s, enum site_group group)
{
	planter__lift(p->planter, s->links[group]);
	s->links[group] = 0;
}

void probes__lift(struct probes *p, uint32_t slot)
{
	struct proc_slot *s = &p->slots[slot];

	probes__disarm(p, slot);
	for (int group = 0; group < GROUP_COUNT; group++)
		lift_group(p, s, group);
	leave_family(p, s);
	s->mode = GIL_MODE_OFF;
	mind_switches(p);
}

void probes__drop(struct probes *p, uint32_t slot)
{
	struct proc_slot *s = &p->slots[slot];

	probes__disarm(p, slot);
	for (int group = 0; group < GROUP_COUNT; group++) {
		planter__drop(p->planter, s->links[group]);
		s->links[group] = 0;
	}
	leave_family(p, s);
	s->mode = GIL_MODE_OFF;
	mind_switches(p);
}

void probes__lift_all(struct probes *p)
{
	for (uint32_t slot = 0; p->procs && slot < p->opts.max_procs; slot++)
		if (p->slots[slot].used)
			probes__disarm(p, slot);
	families__drop(p->families);
	for (uint32_t slot = 0; p->procs && slot < p->opts.max_procs; slot++)
		if (p->slots[slot].used)
			probes__drop(p, slot);
	if (p->planter)
		planter__settle(p->planter);
}

void probes__tell_execs(struct probes *p, bool tell)
{
	p->skel->bss->gil_tell_execs = tell;
}

int probes__switch(struct probes *p, uint32_t slot, enum gil_mode mode, uint64_t *ret_armed_at, struct reason *why)
{
	struct proc_slot *s = &p->slots[slot];
	int err;

	probes__disarm(p, slot);
	for (int group = 0; group < GROUP_COUNT; group++)
		if (!wants(mode, group))
			lift_group(p, s, group);
	err = probes__plant(p, slot, mode, why);
	return err ?: probes__arm(p, slot, ret_armed_at);
}

bool probes__is_followed(const struct probes *p, pid_t pid)
{
	uint32_t tgid = (uint32_t)pid, slot;
	struct gil_kin kin;

	return bpf_map_lookup_elem(bpf_map__fd(p->skel->maps.tgids), &tgid, &slot) == 0 || find_kin(p, pid, &kin);
}

void probes__unfollow(struct probes *p, pid_t pid)
{
	uint32_t tgid = (uint32_t)pid;

	bpf_map_delete_elem(bpf_map__fd(p->skel->maps.kin), &tgid);
}

/* What it is now is no news: it begins with its next exec, as a child in its parent's memory does. */
void probes__follow(struct probes *p, pid_t pid)
{
	struct gil_kin kin = {0};
	uint32_t tgid = (uint32_t)pid;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd < 0)
		return;
	if (bpf_map_update_elem(bpf_map__fd(p->skel->maps.kin), &tgid, &kin, BPF_NOEXIST))
		log_debug("process %d is not followed: %s", (int)pid, strerror(errno));
	else if (has_ended(pidfd)) /* see tell() */
		probes__unfollow(p, pid);
	close(pidfd);
}

void probes__remove(struct probes *p, uint32_t slot)
{
	struct proc_slot *s = &p->slots[slot];

	if (!s->used)
		return;
	if (p->procs)
		probes__lift(p, slot);
	forget_tgid(p, s->pid, slot);
	for (int group = 0; group < GROUP_COUNT; group++)
		uprobe_sites__clear(&s->sites[group]);
	if (s->image_fd >= 0)
		close(s->image_fd);
	s->used = false;
	if (p->procs && free_proc(p, slot))
		log_debug("process slot %u could not be given back", slot);
}

/*
 * Lifting a consumer makes the kernel look at every process that maps the file and take out the breakpoints that nobody
 * wants there (kernel/events/uprobes.c, register_for_each_vma). The consumer's PID filter is ourselves: it plants nothing.
 */
int probes__heal(struct probes *p, uint32_t slot, pid_t child)
{
	struct proc_slot *s = &p->slots[slot];
	struct uprobe_place place = {.image_fd = s->image_fd, .pid = getpid()};
	int err = 0;

	if (!p->features.multi) /* perf links: each breakpoint goes at its first hit */
		return 0;
	for (int group = 0; group < GROUP_COUNT && !err; group++) {
		uint32_t link = 0;

		if (!s->links[group])
			continue;
		err = planter__plant(p->planter, program_of(p, group), &place, &s->sites[group], true, &link);
		planter__lift(p->planter, link);
	}
	log_debug("healed forked child %d: %d", (int)child, err);
	return err;
}
