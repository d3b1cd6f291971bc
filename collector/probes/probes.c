/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See probes.h. Life cycle, process slots, links and arming. Rooms of their own: probes_inside.h lists them.
 *
 * Probes are planted by a process of their own (planter.h), by inode through /proc/self/fd/N, N being the descriptor that
 * the sites were found in: no name is looked up twice. Order matters: a slot is filled in while disarmed, planted, armed
 * last; lifted before it is emptied.
 */
#include "probes_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/plan/image.h"
#include "collector/plan/proc_layout.h"
#include "collector/process/caps.h"
#include "collector/process/precedence.h"
#include "collector/process/procstat.h"
#include "collector/process/theirs.h"
#include "gil.skel.h"
#include "ticks.h"

/* ---- opening ---- */

int probes_slot__free(struct probes *p, uint32_t slot)
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
		err = probes_slot__free(p, slot - 1);
	return err;
}

static int fill_free_slots(struct probes *p)
{
	int fd = bpf_map__fd(p->skel->maps.free_slots);
	int gils_fd = bpf_map__fd(p->skel->maps.free_gils);

	for (uint32_t slot = probes_opts__thread_slots(&p->opts) - 1; slot >= probes__first_thread(p); slot--)
		if (bpf_map_update_elem(fd, NULL, &slot, BPF_ANY))
			return -errno;
	for (uint32_t slot = probes_opts__gil_slots(&p->opts) - 1; slot >= p->opts.max_procs; slot--)
		if (bpf_map_update_elem(gils_fd, NULL, &slot, BPF_ANY))
			return -errno;
	return 0;
}

/* Programs that do the same at the same events: where the kernel leaves one out, another is there (bpf/gil_again.bpf.h). */
struct alike {
	struct bpf_program *programs[GIL_ALIKE];
	struct bpf_link **links[GIL_ALIKE];
};

static struct alike exit_programs(struct gil_bpf *skel)
{
	return (struct alike){{skel->progs.gil_exit_1, skel->progs.gil_exit_2, skel->progs.gil_exit_3},
			      {&skel->links.gil_exit_1, &skel->links.gil_exit_2, &skel->links.gil_exit_3}};
}

static struct alike exec_programs(struct gil_bpf *skel)
{
	return (struct alike){{skel->progs.gil_exec_1, skel->progs.gil_exec_2, skel->progs.gil_exec_3},
			      {&skel->links.gil_exec_1, &skel->links.gil_exec_2, &skel->links.gil_exec_3}};
}

static bool attach_alike(const struct alike *a)
{
	for (int i = 0; i < GIL_ALIKE; i++) {
		*a->links[i] = bpf_program__attach(a->programs[i]);
		if (!*a->links[i])
			return false;
	}
	return true;
}

/* The programs on thread exit, fork and exec see the whole machine and return at once for whom we don't observe. */
static int attach_tracepoints(struct probes *p, struct reason *why)
{
	struct gil_bpf *skel = p->skel;
	struct alike exits = exit_programs(skel), execs = exec_programs(skel);
	bool attached = attach_alike(&exits) && attach_alike(&execs);

	if (attached)
		skel->links.gil_fork = bpf_program__attach(skel->progs.gil_fork);
	if (!attached || !skel->links.gil_fork)
		return reason__set(why, -errno, "can't attach to the scheduler's tracepoints (%s): gilscope needs "
				   "CAP_PERFMON and a kernel with BTF", strerror(errno));
	skel->bss->gil_comings_counted = 1;
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

/*
 * All switches of the machine pay for it: only while holds are counted, or estimated (gil_light.bpf.h). Children may be born
 * into a family at any moment.
 */
static void mind_switches(struct probes *p)
{
	bool watched = p->skel->links.gil_switch != NULL;
	bool holds = is_any_in(p, GIL_MODE_FULL) || is_any_in(p, GIL_MODE_HOLDS) ||
		     (is_any_in(p, GIL_MODE_LIGHT) && p->opts.stacks.on);
	bool wanted = holds || (watched && p->families && !is_any_in(p, GIL_MODE_LIGHT));

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

/* All that takes rights was tried on a child of ours. */
static int shed_rights(struct probes *p, struct reason *why)
{
	char names[128];
	uint64_t *kept = &p->features.planter_rights;
	int err = planter__shed(p->planter, kept);

	if (err)
		return reason__set(why, err, "the process that plants the probes can't give up rights: %s", strerror(-err));
	log_verbose("the process that plants the probes keeps %s", *kept ? caps__names(*kept, names, sizeof(names)) :
		    "no right at all");
	if (p->opts.stacks.on && !p->features.timer)
		log_verbose(TICKS_LOST "%s", p->features.timer_why);
	return 0;
}

int probes__give_up_rights(bool signals_others, struct reason *why)
{
	int err = planter__prepare();

	precedence__take();
	if (err)
		return reason__set(why, err, "can't start the process that plants the probes: %s", strerror(-err));
	return caps__keep(signals_others, why);
}

int probes__set_rights_aside(uint64_t *ret_aside, struct reason *why)
{
	int err = planter__prepare();

	precedence__take();
	if (err)
		return reason__set(why, err, "can't start the process that plants the probes: %s", strerror(-err));
	return caps__set_aside(ret_aside, why);
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
	case GROUP_GC:
		return p->skel->progs.gil_collect;
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
		p->families = families__new(p->planter, programs, p->features.multi, p->tables.templates);
}

int probes__open(const struct probes_opts *opts, struct probes **ret, struct reason *why)
{
	struct probes *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->opts = *opts;
	p->opts.max_procs = opts->max_procs ?: 1;
	p->opts.max_threads = opts->max_threads ?: 2048;
	p->opts.max_pairs = opts->max_pairs ?: 65536;
	p->slots = calloc(p->opts.max_procs, sizeof(*p->slots));
	err = p->slots ? start_planter(p, why) : -ENOMEM;
	err = err ?: probes_load__skeleton(p, why);
	if (!err)
		planter__set_idle(p->planter, bpf_program__fd(p->skel->progs.gil_empty), bpf_map__fd(p->skel->maps.bss),
				  (size_t)((char *)&p->skel->bss->gil_being_lifted - (char *)p->skel->bss));
	err = err ?: tables__map(&p->tables, p->skel, &p->opts, why);
	err = err ?: fill_free_slots(p);
	err = err ?: free_all_procs(p);
	err = err ?: attach_tracepoints(p, why);
	err = err ?: shed_rights(p, why);
	if (err) {
		probes__close(p);
		return err;
	}
	start_families(p);
	*ret = p;
	return 0;
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
	tables__unmap(&p->tables);
	gil_bpf__destroy(p->skel);
	free(p->slots);
	free(p);
}

/* ---- access for the reader ---- */

const struct stack_opts *probes__stack_opts(const struct probes *p)
{
	return &p->opts.stacks;
}

const struct probes_features *probes__features(const struct probes *p)
{
	return &p->features;
}

struct planter *probes__planter(struct probes *p)
{
	return p->planter;
}

static uint64_t misses_of(const struct bpf_program *program)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &len) ? 0 : info.recursion_misses;
}

/* In this order: what happens meanwhile may be counted later, but nothing that was seen as missed. */
static uint64_t missed_by_all(const struct alike *a, const struct gil_comings *of)
{
	uint64_t left_out = misses_of(a->programs[GIL_ALIKE - 1]);
	uint64_t both = __atomic_load_n(&of->both, __ATOMIC_SEQ_CST);

	return gil_comings__missed(&(struct gil_comings){__atomic_load_n(&of->early, __ATOMIC_SEQ_CST), both}, left_out);
}

uint64_t probes__missed_events(struct probes *p)
{
	struct alike exits = exit_programs(p->skel), execs = exec_programs(p->skel);
	const struct gil_comings *of = p->skel->bss->gil_comings;
	uint64_t missed = misses_of(p->skel->progs.gil_fork) + missed_by_all(&exits, &of[GIL_COMING_EXIT]) +
			  missed_by_all(&execs, &of[GIL_COMING_EXEC]);

	if (missed > p->missed)
		p->missed = missed;
	return p->missed;
}

struct gil_bpf *probes__skeleton(struct probes *p)
{
	return p->skel;
}

struct gil_proc *probes__proc(struct probes *p, uint32_t slot)
{
	return &p->tables.procs[slot];
}

struct gil_state *probes__gil(struct probes *p, uint32_t slot, uint32_t gil)
{
	return &p->tables.gils[p->tables.procs[slot].gil_slot[gil]];
}

struct gil_thread *probes__thread(struct probes *p, uint32_t thread_slot)
{
	return tables__thread(&p->tables, thread_slot);
}

uint32_t probes__first_thread(const struct probes *p)
{
	return GIL_SLOT_OTHER + p->opts.max_procs;
}

uint32_t probes__thread_slots(const struct probes *p)
{
	return probes_opts__thread_slots(&p->opts);
}

bool probes__are_alive(const struct probes *p)
{
	return planter__is_alive(p->planter);
}

uint32_t probes__kept(struct probes *p, uint32_t slot)
{
	return planter__kept(p->planter, p->slots[slot].pid);
}

enum plant_method probes__method(const struct probes *p, uint32_t slot)
{
	if (p->slots[slot].family)
		return PLANT_FAMILY;
	return p->features.multi ? PLANT_MULTI : PLANT_PERF;
}

bool probes__see_gc(struct probes *p, uint32_t slot)
{
	return p->slots[slot].sites[GROUP_GC].n > 0 &&
	       group__is_wanted(GROUP_GC, (enum gil_mode)(probes__proc(p, slot)->mode % GIL_MODES));
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
	return p->tables.procs_len + p->tables.gils_len + p->tables.threads_len +
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
	[SITE_GC_START] = {GROUP_GC, GIL_SITE_GC_START},
	[SITE_GC_DONE] = {GROUP_GC, GIL_SITE_GC_DONE},
};

enum gil_site_kind probes__kind_of(enum site_role role)
{
	return role_map[role].kind;
}

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
		int err;

		/* Without a GIL nobody has it who collects: what that costs others is another question. */
		if (role_map[site->role].group == GROUP_GC && who->offsets->gil_enabled != PYOFF_NONE)
			continue;
		err = uprobe_sites__add(&s->sites[role_map[site->role].group], site->offset,
					    way_to(site, who) | GIL_COOKIE(slot, role_map[site->role].kind), &site->text);

		if (err)
			return err;
	}
	return 0;
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

/* Takes the newest free slot. */
static int take_slot(struct probes *p, uint32_t *ret)
{
	return bpf_map_lookup_and_delete_elem(bpf_map__fd(p->skel->maps.free_procs), NULL, ret) ? -ENOSPC : 0;
}

static void fill_proc(struct gil_proc *proc, const struct probes_subject *who)
{
	proc_layout__fill(proc, who->offsets, who->runtime);
	proc->tgid = (uint32_t)who->target->pid;
	proc->in_library = !sites__shareable(who->plan);
}

int probes__add(struct probes *p, const struct probes_subject *who, uint32_t *ret_slot, struct reason *why)
{
	struct proc_slot *s;
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
	s->ino = image__texts_inode(who->target, who->plan);
	err = s->ino ? sort_sites(s, slot, who) : -ENOMEM;
	if (!err) {
		s->image_fd = fcntl(who->plan->library_fd >= 0 ? who->plan->library_fd : who->target->image.fd,
				    F_DUPFD_CLOEXEC, 0);
		err = s->image_fd < 0 ? -errno : 0;
	}
	/* Kin is told of as it is, and has its slot when that counts (probes__arm). */
	if (!err && !probes_kin__is(p, s->pid))
		err = probes_kin__tell(p, slot);
	if (err) {
		probes__remove(p, slot);
		return reason__set(why, err, "can't set up process %d: %s", (int)who->target->pid, strerror(-err));
	}
	*ret_slot = slot;
	return 0;
}

/* ---- planting and lifting ---- */

static int plant_group(struct probes *p, struct proc_slot *s, enum site_group group, struct reason *why)
{
	struct uprobe_place place = {.image_fd = s->image_fd, .pid = s->pid, .about = s->pid, .ino = s->ino};
	int err;

	if (s->links[group] || s->sites[group].n == 0)
		return 0;
	err = planter__plant(p->planter, bpf_program__fd(program_of(p, group)), &place, &s->sites[group], p->features.multi,
			     &s->links[group]);
	if (err)
		return reason__set(why, err, "can't plant %zu probes in process %d: %s", s->sites[group].n,
				   (int)s->pid, strerror(-err));
	return 0;
}

/*
 * Not in the C library: every process of the machine would meet the probes. Nor where strangers with a shadow stack would be
 * killed by them.
 */
static bool can_share(struct probes *p, uint32_t slot)
{
	return p->families && !probes__proc(p, slot)->in_library &&
	       (!shadow_stack__possible() || probes__shadow_fate(p) == SHADOW_SURVIVES);
}

static int mind_shadow_stack(struct probes *p, pid_t pid, struct reason *why)
{
	return shadow_stack__has(pid) ? shadow_fate__judge(probes__shadow_fate(p), pid, why) : 0;
}

/* Whether the process has breakpoints of ours before any is planted for it: those that relatives share, or its parent's own. */
static bool has_ours(const struct probes *p, const struct proc_slot *s)
{
	pid_t parent = procstat__parent(s->pid);

	if (families__are_planted(p->families, s->ino))
		return true;
	for (uint32_t slot = 0; slot < p->opts.max_procs; slot++) {
		const struct proc_slot *other = &p->slots[slot];

		if (other->used && other->pid == parent && other->ino == s->ino && other->mode != GIL_MODE_OFF)
			return true;
	}
	return false;
}

/* Nothing is planted where the process does not run the file's own code. */
static int compare_texts(const struct probes *p, const struct proc_slot *s, struct reason *why)
{
	struct site_text texts[PLANTER_SITES_MAX];
	struct site_text_tally tally;
	size_t n = 0;
	int err;

	for (int group = 0; group < GROUP_COUNT; group++)
		n = uprobe_sites__texts(&s->sites[group], texts, n, PLANTER_SITES_MAX);
	err = site_texts__check(texts, n, s->pid, s->ino, &tally, why);
	if (tally.breakpoints)
		log_verbose("process %d has breakpoints at %zu of %zu places already: %s", (int)s->pid, tally.breakpoints, n,
			    has_ours(p, s) ? "those that gilscope has planted for its relatives" : "another tracer's");
	return err;
}

static int plant_own(struct probes *p, struct proc_slot *s, enum gil_mode mode, struct reason *why)
{
	int err = 0;

	for (int group = 0; !err && group < GROUP_COUNT; group++)
		err = group__is_wanted(group, mode) ? plant_group(p, s, group, why) : 0;
	if (!err)
		s->mode = mode;
	return err;
}

/* Shared with its relatives, or for itself. */
static int plant_somehow(struct probes *p, uint32_t slot, enum gil_mode mode, struct reason *why)
{
	struct proc_slot *s = &p->slots[slot];
	int err = can_share(p, slot) ? probes_kin__plant(p, s, mode) : -EXDEV;

	if (err == -EXDEV)
		return plant_own(p, s, mode, why);
	return err ? reason__set(why, err, "can't plant the probes of process %d and its children: %s", (int)s->pid,
				 strerror(-err)) : 0;
}

int probes__plant(struct probes *p, uint32_t slot, enum gil_mode mode, struct reason *why)
{
	struct proc_slot *s = &p->slots[slot];
	int err = compare_texts(p, s, why) ?: mind_shadow_stack(p, s->pid, why) ?: plant_somehow(p, slot, mode, why);

	if (err)
		probes__lift(p, slot);
	mind_switches(p);
	return err;
}

/* Who held when the probes were lifted may not hold any more: until an event tells, no switch and no tick is a holder's. */
static void forget_holders(struct probes *p, uint32_t slot)
{
	for (uint32_t place = 0; place < GIL_PER_PROC; place++) {
		struct gil_state *g = probes__gil(p, slot, place);

		if (probes__proc(p, slot)->gil_addr[place] <= GIL_PLACE_LAST)
			continue;
		__atomic_store_n(&g->holder_tid, 0, __ATOMIC_SEQ_CST);
		__atomic_store_n(&g->left.at, 0, __ATOMIC_SEQ_CST);
		__atomic_store_n(&g->was.at, 0, __ATOMIC_SEQ_CST);
	}
}

int probes__arm(struct probes *p, uint32_t slot, uint64_t *ret_armed_at)
{
	struct gil_proc *proc = probes__proc(p, slot);
	int err = 0;

	proc->mode = p->slots[slot].mode;
	proc->follow = !p->opts.follow ? GIL_FOLLOW_NOT :
		       p->slots[slot].family ? GIL_FOLLOW_COUNTED : GIL_FOLLOW_TOLD;
	proc->arm_gen++;
	forget_holders(p, slot);
	proc->armed_at = clock__mono_ns();
	__atomic_store_n(&proc->armed, 1, __ATOMIC_SEQ_CST);
	if (!p->slots[slot].told)
		err = probes_kin__tell_armed(p, slot);
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
	probes_kin__leave(p, s);
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
	probes_kin__leave(p, s);
	s->mode = GIL_MODE_OFF;
	mind_switches(p);
}

void probes__lift_all(struct probes *p)
{
	for (uint32_t slot = 0; p->tables.procs && slot < p->opts.max_procs; slot++)
		if (p->slots[slot].used)
			probes__disarm(p, slot);
	families__drop(p->families);
	for (uint32_t slot = 0; p->tables.procs && slot < p->opts.max_procs; slot++)
		if (p->slots[slot].used)
			probes__drop(p, slot);
	if (p->planter)
		planter__settle(p->planter);
}

void probes__begin_anew(struct probes *p)
{
	families__drop(p->families);
	__atomic_store_n(&p->skel->bss->gil_being_lifted, 0, __ATOMIC_SEQ_CST);
}

void probes__tell_execs(struct probes *p, bool tell)
{
	p->skel->bss->gil_tell_execs = tell;
}

void probes__thin(struct probes *p, uint32_t slot, enum gil_mode mode)
{
	for (int group = 0; group < GROUP_COUNT; group++)
		if (!group__is_wanted(group, mode))
			lift_group(p, &p->slots[slot], group);
}

int probes__switch(struct probes *p, uint32_t slot, enum gil_mode mode, uint64_t *ret_armed_at, struct reason *why)
{
	int err;

	probes__disarm(p, slot);
	probes__thin(p, slot, mode);
	err = probes__plant(p, slot, mode, why);
	return err ?: probes__arm(p, slot, ret_armed_at);
}

void probes__remove(struct probes *p, uint32_t slot)
{
	struct proc_slot *s = &p->slots[slot];

	if (!s->used)
		return;
	if (p->tables.procs)
		probes__lift(p, slot);
	probes_kin__forget(p, s->pid, slot);
	for (int group = 0; group < GROUP_COUNT; group++)
		uprobe_sites__clear(&s->sites[group]);
	if (s->image_fd >= 0)
		close(s->image_fd);
	s->used = false;
	if (p->tables.procs && probes_slot__free(p, slot))
		log_debug("process slot %u could not be given back", slot);
}

/*
 * Lifting a consumer makes the kernel look at every process that maps the file and take out the breakpoints that nobody
 * wants there (kernel/events/uprobes.c, register_for_each_vma). The consumer's PID filter is ourselves: it plants nothing.
 */
int probes__heal(struct probes *p, uint32_t slot, pid_t child)
{
	struct proc_slot *s = &p->slots[slot];
	struct uprobe_place place = {.image_fd = s->image_fd, .pid = getpid(), .about = child, .ino = s->ino};
	int err = 0;

	if (!p->features.multi) /* perf links: each breakpoint goes at its first hit */
		return 0;
	for (int group = 0; group < GROUP_COUNT && !err; group++) {
		uint32_t link = 0;

		if (!s->links[group])
			continue;
		err = planter__plant(p->planter, bpf_program__fd(program_of(p, group)), &place, &s->sites[group], true,
				     &link);
		planter__lift(p->planter, link);
	}
	log_debug("healed forked child %d: %d", (int)child, err);
	return err;
}
