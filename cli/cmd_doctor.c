/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope doctor: what this machine can do, and with a PID the whole probe plan with the reason for every choice. Each
 * finding that is not fine has a remedy. Changes nothing: probes are tried on a child of its own only.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/collector.h"
#include "collector/cpython/gc_words.h"
#include "collector/probes/kernel_features.h"
#include "collector/probes/switch_check.h"
#include "collector/probes/probes.h"
#include "collector/probes/ticks.h"
#include "collector/process/caps.h"
#include "collector/process/reach.h"
#include "collector/python/pygils.h"
#include "collector/redis/query.h"
#include "collector/redis/redis_functions.h"
#include "collector/redis/redis_server.h"
#include "args.h"
#include "cmds.h"
#include "history.h"
#include "inspect.h"
#include "kin.h"
#include "out.h"
#include "observing.h"

#define WIDTH 80
#define TOPIC_COLUMN 18
#define GRANT "Run it with sudo, or give the program the capability (setcap)."

enum level {
	FINE,    /* nothing to do */
	NOTE,    /* works, but could be better, or could not be checked */
	WRONG,   /* no probe can be planted: full and light mode can't be had */
};

struct doctor {
	const struct options *o;
	json_t *findings; /* NULL: a person reads */
	enum shadow_fate shadow_fate;
	size_t kept_sites;
	bool can_probe;       /* full mode can be had, */
	bool can_light;       /* light mode, */
	bool can_look;        /* and look mode */
	struct reach reach;   /* of the process asked for, or one of our own */
};

/* One finding; `remedy` NULL where there is nothing to do. */
static void find(struct doctor *d, enum level level, const char *topic, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static void find(struct doctor *d, enum level level, const char *topic, const char *remedy, const char *fmt, ...)
{
	static const char *const words[] = {[FINE] = "ok", [NOTE] = "note", [WRONG] = "WRONG"};
	static const char *const keys[] = {[FINE] = "ok", [NOTE] = "note", [WRONG] = "wrong"};
	struct reason text;
	char raw[sizeof(text.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	reason__set(&text, 0, "%s", raw); /* cleans it */
	if (level == WRONG)
		d->can_probe = false;
	if (d->findings) {
		json_array_append_new(d->findings, json_pack("{s:s, s:s, s:s, s:s*}", "level", keys[level], "topic", topic,
							     "text", text.text, "remedy", remedy));
		return;
	}
	printf("%-5s  %-9s  ", words[level], topic);
	options__wrap(stdout, text.text, TOPIC_COLUMN, TOPIC_COLUMN);
	if (remedy) {
		printf("%*s", TOPIC_COLUMN, "");
		options__wrap(stdout, remedy, TOPIC_COLUMN, TOPIC_COLUMN);
	}
}

/* ---- the machine ---- */

static void check_kernel(struct doctor *d)
{
	struct utsname u;

	if (uname(&u)) {
		find(d, NOTE, "kernel", NULL, "its version could not be read");
		return;
	}
	find(d, FINE, "kernel", NULL, "Linux %s", u.release);
	if (strcmp(u.machine, "aarch64") == 0)
		find(d, NOTE, "machine", NULL, "aarch64: gilscope is tested on emulated machines of this kind only");
	else if (strcmp(u.machine, "x86_64") != 0)
		find(d, WRONG, "machine", "gilscope reads x86-64 and aarch64 code.", "this machine is %s", u.machine);
}

static void report_missing(struct doctor *d, enum kernel_feature feature)
{
	if (kernel_feature__is_needed(feature))
		find(d, WRONG, "features", "Use a kernel that has it, or whose configuration switches it on.",
		     "the kernel lacks %s: %s", kernel_feature__name(feature), kernel_feature__use(feature));
	else
		find(d, NOTE, "features", NULL, "the kernel lacks %s: %s", kernel_feature__name(feature),
		     kernel_feature__use(feature));
}

/* What the programs use of the kernel, each tried by itself. */
static void check_features(struct doctor *d)
{
	int missing = 0, untold = 0;

	for (enum kernel_feature i = 0; i < KERNEL_FEATURES; i++) {
		int there = kernel_feature__try(i);

		if (there == 0)
			report_missing(d, i);
		missing += there == 0;
		untold += there < 0;
	}
	if (untold)
		find(d, NOTE, "features", NULL, "%d of the %d features that gilscope's programs use could not be looked for "
		     "without CAP_BPF and CAP_PERFMON", untold, KERNEL_FEATURES);
	else if (!missing)
		find(d, FINE, "features", NULL, "the kernel has all that gilscope's programs use: BTF, uprobes, ring buffers, "
		     "task storage, attach cookies, bpf_loop and %d more", KERNEL_FEATURES - 6);
}

/* Not a word where there is none. What it takes away is a finding of check_features(). */
static void check_lockdown(struct doctor *d)
{
	enum lockdown level = lockdown__level();

	if (level == LOCKDOWN_INTEGRITY)
		find(d, FINE, "lockdown", NULL,
		     "the kernel is locked down (integrity), which forbids nothing that gilscope uses");
	else if (level == LOCKDOWN_CONFIDENTIALITY)
		find(d, NOTE, "lockdown", "Boot with lockdown=integrity, which forbids nothing that gilscope uses.",
		     "the kernel is locked down (confidentiality): no BPF program may read its memory, as gilscope's have to");
}

/* A switch in a thousand may lie at the edge of what is counted. */
#define SWITCHES_TOLD 0.98

/* Whether the kernel tells of its switches, on each CPU that may be tried. */
static void check_switches(struct doctor *d)
{
	struct switch_count count;
	int tried = 0, deaf = 0, err = 0;

	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF) && (!err || err == -EINVAL); cpu++) {
		err = switch_check__cpu(cpu, &count);
		if (err || !count.happened)
			continue;
		tried++;
		if ((double)count.told >= SWITCHES_TOLD * (double)count.happened)
			continue;
		deaf++;
		find(d, NOTE, "switches", NULL, "the kernel told of %llu of %llu context switches on CPU %d (sched_switch): "
		     "holders that lose their CPU unseen are told by the kernel's own account of them (switch_missed)",
		     (unsigned long long)count.told, (unsigned long long)count.happened, cpu);
	}
	if (!tried)
		find(d, NOTE, "switches", NULL, "whether the kernel tells of all context switches could not be tried: %s",
		     err == -ENOENT ? "tracefs is not mounted (mount -t tracefs tracefs /sys/kernel/tracing)" : strerror(-err));
	else if (!deaf)
		find(d, FINE, "switches", NULL, "the kernel tells of context switches on %d CPU%s that were tried", tried,
		     tried == 1 ? "" : "s");
}

/* CAP_SYS_ADMIN is another matter: whether it is needed is known when probes were tried. */
static void check_caps(struct doctor *d)
{
	uint64_t effective = caps__effective();

	for (int i = 0; i < CAPS_COUNT; i++) {
		enum cap cap = (enum cap)i;
		bool needed = cap == CAP_BPF_INDEX || cap == CAP_PERFMON_INDEX;

		if (cap == CAP_SYS_ADMIN_INDEX)
			continue;
		if (caps__has(effective, cap))
			find(d, FINE, "rights", NULL, "%s: %s (%s)", caps__name(cap), caps__text(cap), caps__when(cap));
		else
			find(d, needed ? WRONG : NOTE, "rights", needed ? GRANT : NULL, "%s is missing: cannot %s (%s)",
			     caps__name(cap), caps__text(cap), caps__when(cap));
	}
}

static void check_namespace(struct doctor *d)
{
	if (target__we_are_contained())
		find(d, NOTE, "pids", "Run gilscope on the host to see all of them.",
		     "this is a PID namespace (a container): gilscope sees the processes in it, and counts as it does");
}

static void report_probes(struct doctor *d, const struct probes_features *f)
{
	if (f->multi)
		find(d, FINE, "probes", NULL, "one uprobe_multi link carries all probes of a process: lifting them takes "
		     "about 0.04 s; tried on a child of gilscope's own");
	else
		find(d, NOTE, "probes", "Linux 6.6 or later has uprobe_multi.", "uprobe_multi is not used (%s): each probe is "
		     "a link of its own; lifting them takes 1 to 2 s, with pauses of some 16 ms in the process",
		     f->multi_why && *f->multi_why ? f->multi_why : "not available");
	if (f->off_cpu)
		find(d, FINE, "off cpu", NULL, "whether a holder of the GIL runs, sleeps or lacks a CPU is told in full mode");
	else
		find(d, NOTE, "off cpu", NULL, "whether a holder of the GIL runs, sleeps or lacks a CPU stays unknown: %s",
		     f->off_cpu_why);
	if (f->timer)
		find(d, FINE, "ticks", NULL,
		     "which code a holder of the GIL spends its time in is told by a timer of its CPU time");
	else
		find(d, NOTE, "ticks", NULL, TICKS_LOST "%s", f->timer_why);
	if (f->price_ns > 0)
		find(d, FINE, "price", NULL, "a probe hit costs about %.2f us here (%.1f us where it has to be single-stepped)",
		     f->price_ns / 1e3, f->stepped_price_ns / 1e3);
}

static void report_admin(struct doctor *d, const struct probes_features *f)
{
	const char *name = caps__name(CAP_SYS_ADMIN_INDEX), *text = caps__text(CAP_SYS_ADMIN_INDEX);

	if (caps__effective() & CAP_SYS_ADMIN_BIT)
		find(d, FINE, "rights", NULL, "%s: stands for those that are missing", name);
	else if (f->planter_rights & CAP_SYS_ADMIN_BIT)
		find(d, FINE, "rights", NULL, "%s: %s; this kernel refuses %s without it (tried), so the process that "
		     "plants keeps it, and no other does", name, text,
		     f->multi ? "the latter" : f->timer_needs_admin ? "both" : "the former");
	else if (!f->timer)
		find(d, NOTE, "rights", GRANT, "%s is missing: cannot time threads on the CPU", name);
	else
		find(d, FINE, "rights", NULL, "%s is not needed on this kernel (tried), and given up", name);
}

/* As attach does, its rights included. */
static int open_as_attach(struct doctor *d, struct probes **ret, struct reason *why)
{
	const struct collector_opts opts = observing__opts_of(d->o);
	const struct probes_opts probes_opts = collector__probes_opts(&opts, 1);
	int err = probes__give_up_rights(false, why);

	return err ? err : probes__open(&probes_opts, ret, why);
}

/* Most machines have no such thing: not a word then. */
static void report_shadow_stacks(struct doctor *d, struct probes *probes)
{
	if (!shadow_stack__possible())
		return;
	d->shadow_fate = probes__shadow_fate(probes);
	find(d, d->shadow_fate == SHADOW_SURVIVES ? FINE : NOTE, "shadow", NULL, "a process with a shadow stack %s",
	     shadow_fate__text(d->shadow_fate));
}

/* Gives up rights: what is checked afterwards is checked with those that attach has, too. */
static void check_probes(struct doctor *d)
{
	struct probes *probes = NULL;
	struct reason why = {0};

	if (!caps__can_attach(caps__effective())) {
		find(d, NOTE, "probes", NULL, "could not be tried without CAP_BPF and CAP_PERFMON");
		return;
	}
	if (open_as_attach(d, &probes, &why)) {
		find(d, WRONG, "probes", NULL, "%s", why.text);
	} else {
		report_probes(d, probes__features(probes));
		report_shadow_stacks(d, probes);
		report_admin(d, probes__features(probes));
	}
	probes__close(probes);
}

/* ---- the history ---- */

static const char *find_program(const char *name, char *buf, size_t size)
{
	const char *path = getenv("PATH");

	if (!path || !*path)
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	while (*path) {
		size_t len = strcspn(path, ":");

		snprintf(buf, size, "%.*s/%s", (int)len, path, name);
		if (access(buf, X_OK) == 0)
			return buf;
		path += len + (path[len] == ':');
	}
	return NULL;
}

static void check_own_store(struct doctor *d)
{
	struct store_paths paths;
	struct reason why = {0};
	char file[4096];

	if (find_program("redis-server", file, sizeof(file)))
		find(d, FINE, "history", NULL, "redis-server is installed (%s)", file);
	else
		find(d, NOTE, "history", "apt install redis-server, or give --redis URL.",
		     "redis-server is not installed: attach works, but keeps no history of its own");
	if (store__paths(&paths, &why))
		find(d, NOTE, "history", NULL, "%s", why.text);
	else if (access(paths.data_dir, F_OK))
		find(d, FINE, "history", NULL, "nothing stored yet; it will be in %s", paths.data_dir);
	else if (access(paths.data_dir, W_OK))
		find(d, NOTE, "history", "Run it with sudo.", "%s cannot be written: %s", paths.data_dir, strerror(errno));
	else
		find(d, FINE, "history", NULL, "it is in %s, %s", paths.data_dir,
		     access(paths.socket, F_OK) ? "the store is not running" : "the store is running");
}

#define CHECK_MS 5000

/* What dashboards call on the server. */
static void check_functions(struct doctor *d, const struct redis_url *url)
{
	static const char *const lack[] = {[FUNCTIONS_NONE] = "Redis has no", [FUNCTIONS_OLDER] = "Redis has an older",
					   [FUNCTIONS_UNKNOWN] = "Redis does not tell whether it has a"};
	enum functions_found found = FUNCTIONS_UNKNOWN;
	struct redisContext *c = NULL;
	struct reason why = {0};
	int err = redis_conn__open(url, CHECK_MS, &c, &why);

	err = err ? err : redis_functions__look(c, CHECK_MS, -1, &found, &why);
	redis_conn__close(c);
	if (err)
		found = FUNCTIONS_UNKNOWN;
	if (found == FUNCTIONS_OURS)
		find(d, FINE, "functions", NULL, "the function library for dashboards is loaded (version %u)",
		     redis_functions__own_version());
	else if (found == FUNCTIONS_FOREIGN)
		find(d, NOTE, "functions", "Dashboards call it, gilscope does not, and leaves it as it is. Look at it "
		     "with redis-cli FUNCTION LIST LIBRARYNAME gilscope WITHCODE.", "Redis: %s", why.text);
	else
		find(d, NOTE, "functions", "attach loads it where it may. By hand, with more rights: redis-cli -x FUNCTION LOAD "
		     "REPLACE < dashboards/lua/gilscope.lua (below share/gilscope where gilscope is installed).",
		     "%s function library for dashboards%s%s", lack[found], why.text[0] ? ": " : "", why.text);
}

/* Whether what is written will be there later. */
static void check_eviction(struct doctor *d, const struct redis_url *url)
{
	struct redis_server server = {0};
	struct redisContext *c = NULL;
	struct reason why = {0};
	int err = redis_conn__open(url, CHECK_MS, &c, &why);

	err = err ? err : redis_server__look(c, CHECK_MS, -1, &server, &why);
	redis_conn__close(c);
	if (err || !server.policy[0])
		find(d, NOTE, "history", NULL, "whether Redis throws keys away when its memory is full could not be seen%s%s",
		     why.text[0] ? ": " : "", why.text);
	else if (redis_server__evicts(&server))
		find(d, NOTE, "history", "Better " REDIS_SERVER_ADVICE ".", "Redis may throw away any of the history when its "
		     "memory is full: maxmemory-policy is %s%s", server.policy,
		     server.max_bytes ? "" : " (without a maxmemory so far)");
	else
		find(d, FINE, "history", NULL, "when its memory is full Redis %s (maxmemory-policy %s)",
		     strcmp(server.policy, "noeviction") ? "throws away first what is kept for the shortest time" :
							   "refuses samples, which are kept meanwhile", server.policy);
}

/* What the collector can't do without; not with what rights. */
static void check_commands(struct doctor *d, const struct redis_url *url)
{
	static const char *const commands[][2] = {{"MULTI"}, {"EXEC"}};
	struct redisContext *c = NULL;
	struct reason why = {0};
	int err = redis_conn__open(url, CHECK_MS, &c, &why);

	for (size_t i = 0; err != -EPIPE && c && i < sizeof(commands) / sizeof(commands[0]); i++)
		err = redis_conn__do(c, commands[i], CHECK_MS, &why);
	redis_conn__close(c);
	if (err == -EPIPE)
		find(d, NOTE, "history", NULL, "Redis can't be written to: %s", why.text);
}

static void check_redis(struct doctor *d)
{
	struct redis_url url = {0};
	struct reason why = {0};
	struct query *q = NULL;
	int64_t now;
	char text[512];
	bool given;
	int err = history__url(d->o, &url, &given, &why);

	if (!err && !given) {
		check_own_store(d);
		return;
	}
	err = err ? err : query__open(&url, d->o->prefix, &q, &why);
	err = err ? err : query__now(q, &now, &why);
	if (err)
		find(d, NOTE, "history", "attach works without it and sends what it buffered when it is back.",
		     "Redis is not usable: %s", why.text);
	else {
		find(d, FINE, "history", NULL, "Redis answers at %s", redis_url__text(&url, text, sizeof(text)));
		check_commands(d, &url);
		check_eviction(d, &url);
		check_functions(d, &url);
	}
	query__close(q);
}

/* ---- the process ---- */

static void report_file(struct doctor *d, const struct inspection *in)
{
	static const char *const sources[] = {[IMAGE_EXE] = "/proc/PID/exe", [IMAGE_MAP_FILES] = "/proc/PID/map_files",
					      [IMAGE_ROOT] = "/proc/PID/root"};
	const struct image *image = &in->target->image;
	char inside[128], runtime[RUNTIMES_TEXT_SIZE];

	find(d, FINE, "process", NULL, "%s (pid %d), user %u%s", in->target->label, (int)in->target->pid,
	     (unsigned int)in->target->uid, in->target->other_mount_ns ? ", in a mount namespace of its own" : "");
	if (target__is_contained(in->target))
		find(d, FINE, "container", NULL, "it is %s; names of files are those that it sees",
		     inspect__inside(in->target, inside, sizeof(inside)));
	if (in->target->cgroup[0])
		find(d, FINE, "cgroup", NULL, "%s", in->target->cgroup);
	find(d, FINE, "file", NULL, "the interpreter is in %s%s, opened through %s", image->path,
	     image->deleted ? " (replaced or deleted since)" : "", sources[image->source]);
	if (image->text_elsewhere)
		find(d, NOTE, "file", NULL, "none of its code is mapped from there: it was moved to other memory");
	if (runtimes__text(&in->target->runtimes, runtime)[0])
		find(d, NOTE, "runtime", NULL, "%s", runtime);
	if (in->build_id[0])
		find(d, FINE, "file", NULL, "build id %s", in->build_id);
}

static void report_shadow_stack(struct doctor *d, pid_t pid)
{
	struct reason why;

	if (shadow_stack__has(pid) && shadow_fate__judge(d->shadow_fate, pid, &why))
		find(d, d->shadow_fate == SHADOW_UNTRIED ? NOTE : WRONG, "shadow", NULL, "%s", why.text);
}

static void report_python(struct doctor *d, const struct inspection *in)
{
	find(d, FINE, "python", NULL, "CPython %s%s%s, told by its %s", in->python.text,
	     in->python.free_threaded ? " (free-threaded build)" : "", in->python.debug ? " (debug build)" : "",
	     in->python.found_by);
	if (in->python.debug)
		find(d, NOTE, "python", NULL, "a debug build is slow by itself: its holds are longer than those in production");
	if (in->python.traces_refs)
		find(d, NOTE, "python", NULL, "built with --with-trace-refs: threads are called what the kernel calls them");
}

static void report_plan(struct doctor *d, const struct inspection *in)
{
	char park[PARK_SITES_TEXT];
	size_t dear = 0;

	for (size_t i = 0; i < in->plan->sites_n; i++)
		dear += in->plan->sites[i].price == SITE_STEPPED;
	find(d, FINE, "plan", NULL, "%zu sites found by the method \"%s\"; modes: %s", in->plan->sites_n, in->plan->method,
	     in->plan->light ? "full and light" : "full only");
	if (dear)
		find(d, NOTE, "plan", NULL, "%zu of them cannot be emulated by the kernel and cost ten times as much", dear);
	if (in->plan->notes[0])
		find(d, NOTE, "plan", NULL, "%s", in->plan->notes);
	if (park_sites__text(&in->plan->park, park)[0])
		find(d, in->plan->park.n ? FINE : NOTE, "waits", NULL, "free-threaded: %s; gilscope does not measure them", park);
	if (sites__shareable(in->plan))
		find(d, FINE, "children", NULL, "attach --children shares these probes with its forked children: they count from "
		     "their first acquire, and other processes that run the same file meet the probes, too");
	else
		find(d, NOTE, "children", "Its cov says how much of a child was seen.",
		     "attach --children cannot share probes in the C library, lest every process of the machine meet them: "
		     "a forked child counts from some milliseconds after its fork");
}

static void report_gil(struct doctor *d, const struct gil_address *gil)
{
	char sharers[48] = "";

	if (gil->users > 1)
		snprintf(sharers, sizeof(sharers), ", shared by %d interpreters", gil->users);
	find(d, FINE, "gil", NULL, "GIL of interpreter %" PRId64 " at 0x%" PRIx64 "%s, its fields hold plausible values",
	     gil->interp_id, gil->gil, sharers);
}

static void report_gils(struct doctor *d, const struct inspection *in)
{
	if (!in->gil_enabled) {
		find(d, NOTE, "gil", NULL, "this free-threaded Python runs without its GIL, which is measured only if it turns "
		     "it on (python -X gil=1, or an extension module that asks for it); other waits of its threads are not");
		return;
	}
	for (int i = 0; i < in->gils_n; i++)
		report_gil(d, &in->gils[i]);
	if (in->gils_n == GIL_PER_PROC)
		find(d, NOTE, "gil", NULL, "gilscope tells %d GILs of a process apart at a time: what is done with further "
		     "ones is counted as lost", GIL_PER_PROC);
}

/* How much of the time is garbage collection, and whether that is measured. */
static void report_gc(struct doctor *d, const struct inspection *in)
{
	static const char *const ways[] = {
		[GC_SITES_FOUND] = "measured in full mode, at both ends (probes gc-start and gc-done), else sampled",
		[GC_SITES_NO_NOTES] = "sampled, by looking at gc.collecting in the process's memory: this build has no notes "
				      "(gc__start, gc__done) and no symbols that tell what collects",
		[GC_SITES_UNPROVEN] = "sampled, by looking at gc.collecting in the process's memory: what this build's notes "
				      "(gc__start, gc__done) belong to is not certain",
		[GC_SITES_NO_CALLS] = "sampled, by looking at gc.collecting in the process's memory: this build has no notes "
				      "(gc__start, gc__done), and its symbols do not tell for certain where a collection "
				      "begins and ends",
	};

	if (!gc_words__are_known(&in->offsets))
		find(d, NOTE, "gc", NULL, "where this CPython's garbage collector is, is not known: nothing is said of it");
	else
		find(d, FINE, "gc", NULL, "garbage collection: its times are %s%s",
		     ways[in->plan ? in->plan->gc : GC_SITES_NO_NOTES],
		     in->offsets.gc_stats != PYOFF_NONE || in->offsets.gc_ring != PYOFF_NONE ?
		     "; the number of collections is the interpreter's own count" : "");
}

/* Each step that was reached, then the one that failed. */
static void report_inspection(struct doctor *d, const struct inspection *in)
{
	static const char *const topics[] = {[INSPECT_FILE] = "file", [INSPECT_PYTHON] = "python", [INSPECT_SITES] = "plan",
					     [INSPECT_OFFSETS] = "offsets", [INSPECT_GILS] = "gil"};

	report_file(d, in);
	if (in->reached > INSPECT_PYTHON)
		report_python(d, in);
	if (in->reached > INSPECT_SITES)
		report_plan(d, in);
	if (in->moved.text[0])
		find(d, WRONG, "code", NULL, "%s", in->moved.text);
	if (in->reached > INSPECT_OFFSETS)
		find(d, FINE, "offsets", NULL, "%s", inspect__offsets_source(in));
	if (in->reached > INSPECT_OFFSETS)
		report_gc(d, in);
	if (in->reached == INSPECT_DONE)
		report_gils(d, in);
	else if (in->err == -EAGAIN)
		find(d, NOTE, "gil", NULL, "%s", in->why.text);
	else
		find(d, WRONG, topics[in->reached], NULL, "%s", in->why.text);
}

enum { ROLE, OFFSET, FUNCTION, INSN, PRICE };

static const struct out_column site_columns[] = {
	[ROLE] = {"role", "SITE", OUT_TEXT, 0},
	[OFFSET] = {"offset", "FILE OFFSET", OUT_TEXT, 0},
	[FUNCTION] = {"function", "IN", OUT_TEXT, OUT_FLEX},
	[INSN] = {"instruction", "INSTRUCTION", OUT_TEXT, OUT_FLEX},
	[PRICE] = {"price", "PRICE", OUT_TEXT, 0},
};

static void add_site(struct out *table, const struct site *site)
{
	char text[96];

	out__row(table);
	out__text(table, ROLE, site_role__name(site->role));
	snprintf(text, sizeof(text), "0x%" PRIx64, site->offset);
	out__text(table, OFFSET, text);
	if (site->symbol[0])
		snprintf(text, sizeof(text), "%s", site->symbol);
	else
		snprintf(text, sizeof(text), "0x%" PRIx64 "+0x%" PRIx64, site->function.start,
			 site->vaddr - site->function.start);
	out__text(table, FUNCTION, text);
	out__text(table, INSN, site->insn);
	out__text(table, PRICE, site->price == SITE_EMULATED ? "cheap" : "stepped");
}

static struct out *list_sites(const struct site_plan *plan)
{
	struct out *table = out__new(site_columns, sizeof(site_columns) / sizeof(site_columns[0]));

	for (size_t i = 0; table && plan && i < plan->sites_n; i++)
		add_site(table, &plan->sites[i]);
	return table;
}

/* ---- what can be had ---- */

/* Whether its GIL is found: with that and its memory, it can be looked at. Sites are of probes alone. */
static bool is_gil_known(const struct target *t, const struct inspection *in)
{
	struct inspection again;
	bool known;

	if (in->reached != INSPECT_SITES)
		return in->reached == INSPECT_DONE || in->err == -EAGAIN;
	inspect__begin(&again, t, false);
	known = again.reached == INSPECT_DONE || again.err == -EAGAIN;
	inspect__end(&again);
	return known;
}

/* A process of our own, as good as any of our user's. */
static struct reach reach_of_own(void)
{
	struct reach found;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	found = pid > 0 ? reach__try(pid) : (struct reach){.memory = REACH_NOT};
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return found;
}

static void report_file_way(struct doctor *d)
{
	if (d->reach.memory == REACH_FILE)
		find(d, FINE, "memory", NULL, "process_vm_readv is refused here, as by a sandbox: memory is read from "
		     "/proc/PID/mem, which does as well");
}

/* Without a process: what looks could reach. */
static void check_own_reach(struct doctor *d)
{
	d->reach = reach_of_own();
	d->can_look = d->reach.memory != REACH_NOT;
	report_file_way(d);
	if (!d->can_look)
		find(d, NOTE, "look", GRANT, "look mode, which needs no probe, can't be had: not even the memory of a process "
		     "that gilscope has started can be read");
	else
		find(d, FINE, "look", NULL, "look mode, which needs no probe, can be had for processes of %s",
		     caps__has(caps__effective(), CAP_SYS_PTRACE_INDEX) ? "all users" : "this user (doctor PID tells of one)");
}

#define NO_MODE "no mode can be had for this process: "

/* Which modes can be had for a process, and what the next better one takes. */
static void report_modes(struct doctor *d, pid_t pid)
{
	char needs[REACH_NEEDS_SIZE];

	report_file_way(d);
	if (d->can_probe)
		find(d, FINE, "modes", NULL, "full%s%s mode can be had for this process",
		     d->can_light ? d->can_look ? ", light" : " and light" : "", d->can_look ? " and look" : "");
	else if (d->can_look)
		find(d, NOTE, "modes", "Full and light mode take what is WRONG above.", "look mode alone can be had for this "
		     "process: its GIL is looked at, without a probe, and all that follows is an estimate");
	else if (d->reach.memory != REACH_NOT)
		find(d, NOTE, "modes", NULL, NO_MODE "its memory can be read, but where its GIL is, is not known");
	else
		find(d, NOTE, "modes", reach__needs(pid, needs)[0] ? needs : NULL, "%s", d->reach.times ?
		     NO_MODE "the states and the CPU time of its threads can be read, but not its memory, so nothing of its GIL "
		     "is known" : NO_MODE "nothing of it can be read");
}

static json_t *modes_json(const struct doctor *d)
{
	json_t *list = json_array();

	if (d->can_probe)
		json_array_append_new(list, json_string("full"));
	if (d->can_probe && d->can_light)
		json_array_append_new(list, json_string("light"));
	if (d->can_look)
		json_array_append_new(list, json_string("look"));
	return list;
}

/* The plan of one process; *ret_sites for the end of the report. */
static void check_process(struct doctor *d, pid_t pid, struct out **ret_sites)
{
	struct target *t = NULL;
	struct inspection in;
	struct reason why = {0};

	d->reach = reach__try(pid);
	if (kin__explain(pid, target__open(pid, &t, &why), &why)) {
		find(d, WRONG, "process", NULL, "%s", why.text);
		report_modes(d, pid);
		return;
	}
	inspect__begin(&in, t, true);
	report_inspection(d, &in);
	report_shadow_stack(d, pid);
	d->can_light = in.plan && in.plan->light;
	d->can_look = d->reach.memory != REACH_NOT && is_gil_known(t, &in);
	report_modes(d, pid);
	*ret_sites = list_sites(in.plan);
	d->kept_sites = in.kept_sites;
	inspect__end(&in);
	target__close(t);
}

/* ---- the report ---- */

static bool can_attach(const struct doctor *d)
{
	return d->can_probe || d->can_look;
}

static void conclude(struct doctor *d, const struct out *sites)
{
	size_t width, lines;

	if (d->findings) {
		out__dump(json_pack("{s:b, s:o, s:o, s:o, s:o*}", "can_attach", (int)can_attach(d), "modes", modes_json(d),
				    "findings", d->findings, "sites", sites ? out__json(sites) : json_array(), "kept_sites",
				    d->kept_sites ? json_integer((json_int_t)d->kept_sites) : NULL), stdout, true);
		return;
	}
	if (sites && out__rows(sites)) {
		out__terminal(STDOUT_FILENO, &width, &lines);
		putchar('\n');
		out__table(sites, stdout, log__level() >= LOG_VERBOSE ? 0 : width);
	}
	printf("\ncan attach: %s\n", d->can_probe ? "yes" : d->can_look ? "yes, in look mode" : "no");
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct doctor d = {.o = o, .can_probe = true, .can_light = true};
	struct out *sites = NULL;
	struct reason why = {0};
	pid_t pid = 0;

	if (argc > 0 && args__pid(argv[0], &pid, &why))
		return options__fail(verb, EXIT_USAGE, &why);
	if (o->format == FORMAT_JSON)
		d.findings = json_array();
	check_kernel(&d);
	check_features(&d);
	check_lockdown(&d);
	check_switches(&d);
	check_caps(&d);
	check_namespace(&d);
	check_redis(&d); /* the store's files may take rights that observing does not */
	check_probes(&d);
	if (pid)
		check_process(&d, pid, &sites);
	else
		check_own_reach(&d);
	conclude(&d, sites);
	out__free(sites);
	return can_attach(&d) ? EXIT_OK : EXIT_FAILED;
}

const struct verb verb_doctor = {
	.name = "doctor",
	.args = "[PID]",
	.summary = "check this machine and, with a PID, how that process would be probed",
	.about = "Checks the kernel, the rights, the probes (on a child process of its own) and the history, and names a "
		 "remedy for each problem. With a PID it prints the whole plan: which file, which CPython, where the GIL "
		 "is, and every place that would get a probe: signal (the GIL is taken or released), wait (a thread "
		 "begins to queue), handoff (a thread gave the GIL up for another), wake (shows an acquire in light "
		 "mode). It plants nothing in the process. The exit status is 0 if attaching can work, else 1.",
	.options = {OPTION_REDIS, OPTION_PASSWORD_FILE, OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX, OPTION_JSON},
	.max_args = 1,
	.reads_processes = true,
	.run = run,
};
