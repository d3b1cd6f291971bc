/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What attaching takes and what the observer itself needs: time to the first armed probe and its parts, planting and lifting
 * by either method with the longest gap that the target saw meanwhile, then memory and CPU time of `gilscope attach` at
 * work. Medians with quartiles over rounds in which all variants take turns; a shared machine is noisy, so the load is said
 * and each gap stands beside that of a round in which nothing happened. bench_cost.c has the price of a probe hit.
 *
 * usage: bench_attach [ROUNDS]
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collector/probes/probe_check.h"
#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/pythons.h"
#include "../support/workload.h"
#include "gil.skel.h"

#define ROUNDS_MAX 99
#define STALL_MS 250      /* how long the target watches the clock */
#define LONG_STALL_MS 2200 /* the same while perf links are lifted, one after the other */
#define LEAD_MS 30        /* of which before we act */
#define WARM_S 4
#define CPU_S 15
#define MEMORY_S 75 /* the minute and its windows are full then */

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_attach: %s: %s\n", what, why);
	exit(1);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* ---- rows ---- */

struct row {
	double value[ROUNDS_MAX];
	int n;
};

static void note(struct row *row, double value)
{
	if (row->n < ROUNDS_MAX)
		row->value[row->n++] = value;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print_row(const char *name, const char *unit, struct row *row)
{
	qsort(row->value, (size_t)row->n, sizeof(double), compare_doubles);
	printf("  %-44s %8.2f %s  [%.2f .. %.2f]\n", name, row->value[row->n / 2], unit, row->value[row->n / 4],
	       row->value[3 * row->n / 4]);
}

static void print_load(void)
{
	double load[3];

	if (getloadavg(load, 3) == 3)
		printf("  (load average %.1f %.1f %.1f on %ld CPUs)\n", load[0], load[1], load[2],
		       sysconf(_SC_NPROCESSORS_ONLN));
}

/* ---- the parts of attaching, in this process ---- */

enum method {
	MULTI,
	PERF,
	METHODS,
};

static const char *const method_names[METHODS] = {[MULTI] = "uprobe_multi", [PERF] = "perf links"};

struct parts {
	struct row load, rehearsal, plan, plant, lift, plant_gap, lift_gap;
};

/* A target and all that is known of its interpreter. */
struct subject {
	struct workload work;
	struct target *t;
	struct elffile *elf;
	struct pyver version;
	struct pyoffsets offsets;
	struct site_plan *plan;
	struct gil_address gils[GIL_PER_PROC];
	int gils_n;
};

static void plan_subject(struct subject *s)
{
	struct reason why;
	bool enabled;

	if (target__open(s->work.pid, &s->t, &why) || elffile__open(s->t->image.fd, &s->elf, &why) ||
	    pyver__identify(s->elf, s->t->image.path, &s->version, &why) ||
	    pyver__offsets(s->elf, &s->version, &s->offsets, &why) || sites__plan(s->elf, &s->plan, &why) ||
	    pygils__find(s->t, s->elf, &s->offsets, s->gils, GIL_PER_PROC, &s->gils_n, &enabled, &why))
		die("plan", why.text);
}

static void forget_subject(struct subject *s)
{
	site_plan__free(s->plan);
	elffile__close(s->elf);
	target__close(s->t);
}

static struct probes *open_probes(enum method method)
{
	struct probes_opts opts = {.max_procs = 1, .max_threads = 4096, .no_multi = method == PERF};
	struct probes *p;
	struct reason why;

	if (probes__open(&opts, &p, &why))
		die("probes", why.text);
	if (probes__features(p)->multi != (method == MULTI))
		die(method_names[method], probes__features(p)->multi_why);
	return p;
}

/* Opening is loading and the rehearsal: the latter is done once more to know its part. */
static struct probes *time_opening(enum method method, struct parts *parts)
{
	double begin = now_ms(), opened, rehearsal;
	struct probes *p = open_probes(method);
	struct gil_bpf *skel = probes__skeleton(p);
	struct probes_features features = {.multi_why = ""};
	struct probe_check check = {
		.program = skel->progs.gil_check, .hits = skel->bss->check_hits, .tgid = &skel->bss->check_tgid,
		.multi = method == MULTI, .planter = probes__planter(p),
	};

	opened = now_ms();
	if (probe_check__run(&check, &features))
		die("rehearsal", strerror(errno));
	rehearsal = now_ms() - opened;
	note(&parts->rehearsal, rehearsal);
	note(&parts->load, opened - begin - rehearsal);
	return p;
}

/* The target watches the clock while `p` plants and, the next time, lifts. */
static void watch_clock(struct subject *s, int ms)
{
	char question[32];

	snprintf(question, sizeof(question), "stall %d", ms);
	workload__say(&s->work, question);
	pause_ms(LEAD_MS);
}

static double longest_gap_ms(struct subject *s)
{
	char *line = workload__hear(&s->work);
	double gap = strtod(line, NULL) / 1e6;

	free(line);
	return gap;
}

static void plant_and_lift(struct subject *s, struct probes *p, int lift_ms, struct parts *parts)
{
	struct probes_subject who = {
		.target = s->t, .plan = s->plan, .offsets = &s->offsets, .gils = s->gils, .gils_n = s->gils_n,
	};
	struct reason why;
	uint32_t slot;
	double begin;

	if (probes__add(p, &who, &slot, &why))
		die("target", why.text);
	watch_clock(s, STALL_MS);
	begin = now_ms();
	if (probes__plant(p, slot, GIL_MODE_FULL, &why))
		die("probes", why.text);
	note(&parts->plant, now_ms() - begin);
	note(&parts->plant_gap, longest_gap_ms(s));
	watch_clock(s, lift_ms);
	begin = now_ms();
	probes__lift(p, slot);
	note(&parts->lift, now_ms() - begin);
	note(&parts->lift_gap, longest_gap_ms(s));
	probes__remove(p, slot);
}

static void attach_once(struct subject *s, enum method method, struct parts *parts)
{
	struct probes *p = time_opening(method, parts);
	double begin = now_ms();

	plan_subject(s);
	note(&parts->plan, now_ms() - begin);
	plant_and_lift(s, p, method == MULTI ? STALL_MS : LONG_STALL_MS, parts);
	forget_subject(s);
	probes__close(p);
}

static void print_control(int ms, struct row *gaps)
{
	char name[64];

	snprintf(name, sizeof(name), "target's longest gap in %d ms of nothing", ms);
	print_row(name, "ms", gaps);
}

static void print_parts(struct parts parts[METHODS], struct row *control, struct row *long_control)
{
	for (enum method m = 0; m < METHODS; m++) {
		printf(" parts of attaching and detaching, %s:\n", method_names[m]);
		print_row("load the programs", "ms", &parts[m].load);
		print_row("rehearsal on a child of our own", "ms", &parts[m].rehearsal);
		print_row("plan the sites, find the GIL", "ms", &parts[m].plan);
		print_row("plant", "ms", &parts[m].plant);
		print_row("lift", "ms", &parts[m].lift);
		print_row("target's longest gap around planting", "ms", &parts[m].plant_gap);
		print_row("target's longest gap around lifting", "ms", &parts[m].lift_gap);
	}
	printf(" to compare the gaps with:\n");
	print_control(STALL_MS, control);
	print_control(LONG_STALL_MS, long_control);
}

static void do_nothing(struct subject *s, int ms, struct row *gaps)
{
	watch_clock(s, ms);
	note(gaps, longest_gap_ms(s));
}

static void bench_parts(const struct interpreter *in, int rounds)
{
	static struct parts parts[METHODS];
	static struct row control, long_control;
	struct subject s = {0};

	workload__start(&s.work, in, "bench_target.py");
	for (int round = 0; round < rounds; round++) {
		for (enum method m = 0; m < METHODS; m++)
			attach_once(&s, m, &parts[m]);
		do_nothing(&s, STALL_MS, &control);
		do_nothing(&s, LONG_STALL_MS, &long_control);
	}
	workload__kill(&s.work);
	print_parts(parts, &control, &long_control);
}

/* ---- gilscope itself as a process ---- */

struct run {
	pid_t pid;
	FILE *err;
};

static void child_main(pid_t target, const char *options, int err)
{
	char command[PATH_MAX + 128];
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	snprintf(command, sizeof(command), "exec \"$OUTPUT/gilscope\" attach %d %s", (int)target, options);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* Starts it and waits for "armed"; returns how long that took. */
static double run__start(struct run *r, pid_t target, const char *options)
{
	double begin = now_ms();
	char line[512];
	int pipes[2];

	if (pipe2(pipes, O_CLOEXEC))
		die("pipe", strerror(errno));
	r->pid = fork();
	if (r->pid == 0)
		child_main(target, options, pipes[1]);
	close(pipes[1]);
	r->err = fdopen(pipes[0], "r");
	while (r->err && fgets(line, sizeof(line), r->err))
		if (strstr(line, "armed in"))
			return now_ms() - begin;
	die("gilscope attach", "it ended without arming");
	return 0;
}

static double run__stop(struct run *r)
{
	double begin = now_ms();

	kill(r->pid, SIGTERM);
	waitpid(r->pid, NULL, 0);
	fclose(r->err);
	return now_ms() - begin;
}

static void bench_command(const struct interpreter *in, int rounds)
{
	static struct row bare, stored, stop;
	struct workload work;
	struct run r;

	workload__start(&work, in, "bench_target.py");
	for (int round = 0; round < rounds; round++) {
		note(&bare, run__start(&r, work.pid, "--no-store"));
		note(&stop, run__stop(&r));
		note(&stored, run__start(&r, work.pid, ""));
		run__stop(&r);
	}
	workload__kill(&work);
	printf(" gilscope attach, from its start to \"armed\" (goal: 300 ms):\n");
	print_row("without a store", "ms", &bare);
	print_row("with the embedded store", "ms", &stored);
	print_row("from SIGTERM to its end, without a store", "ms", &stop);
}

/* ---- what it needs ---- */

/* A "Name:  123 kB" line of /proc/PID/FILE, 0 if there is none. */
static long kib_of(pid_t pid, const char *file, const char *field)
{
	char path[64], line[256];
	long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, field, strlen(field)) == 0)
			kib = strtol(line + strlen(field), NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

static long first_number(const char *path)
{
	FILE *f = fopen(path, "re");
	long n = 0;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

/* CPU time of all threads in ms: finer than the clock ticks of /proc/PID/stat. */
static double cpu_ms(pid_t pid)
{
	char pattern[64];
	double ns = 0;
	glob_t threads;

	snprintf(pattern, sizeof(pattern), "/proc/%d/task/*/schedstat", (int)pid);
	if (glob(pattern, 0, NULL, &threads))
		return 0;
	for (size_t i = 0; i < threads.gl_pathc; i++)
		ns += (double)first_number(threads.gl_pathv[i]);
	globfree(&threads);
	return ns / 1e6;
}

static pid_t planter_of(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	return (pid_t)first_number(path);
}

static pid_t store_pid(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.90s/redis.sock", getenv("GILSCOPE_STORE_DIR"));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	close(fd);
	return peer.pid;
}

/* Now, and the most that it ever was: what is there for a moment at an interval's end is in the latter alone. */
static void print_memory(const char *who, pid_t pid)
{
	printf("  %-44s %8.1f MB steady, %.1f MB at its peak  [without shared pages %.1f]\n", who,
	       (double)kib_of(pid, "status", "VmRSS:") / 1024, (double)kib_of(pid, "status", "VmHWM:") / 1024,
	       (double)kib_of(pid, "status", "RssAnon:") / 1024);
}

static void print_memories(pid_t pid, int threads)
{
	printf(" resident memory, %d busy threads (goal: 20 MB):\n", threads);
	print_memory("gilscope", pid);
	print_memory("its process that plants and lifts", planter_of(pid));
	print_memory("redis-server of the embedded store", store_pid());
}

static void start_busy(struct workload *work, const struct interpreter *in, int threads)
{
	char command[64];

	snprintf(command, sizeof(command), "cpu_threads.py %d 300", threads);
	workload__start(work, in, command);
	workload__go(work);
}

static void print_cpu(const char *mode, double ms, double store_ms)
{
	char name[64];

	snprintf(name, sizeof(name), "gilscope --mode %s", mode);
	printf("  %-44s %8.2f %%   [%.1f ms in %d s]\n", name, ms / (10.0 * CPU_S), ms, CPU_S);
	printf("  %-44s %8.2f %%\n", "  and redis-server", store_ms / (10.0 * CPU_S));
}

static void bench_cpu(const struct interpreter *in, const char *mode, bool memory)
{
	struct workload work;
	double before, store_before;
	char options[64];
	pid_t store;
	struct run r;

	snprintf(options, sizeof(options), "--mode %s", mode);
	start_busy(&work, in, 32);
	run__start(&r, work.pid, options);
	pause_ms(WARM_S * 1000);
	store = store_pid();
	before = cpu_ms(r.pid);
	store_before = cpu_ms(store);
	pause_ms(CPU_S * 1000);
	print_cpu(mode, cpu_ms(r.pid) - before, cpu_ms(store) - store_before);
	if (memory)
		print_memories(r.pid, 32);
	run__stop(&r);
	workload__kill(&work);
}

static void print_kernel_memory(void)
{
	struct probes *p = open_probes(MULTI);

	printf("  %-44s %8.1f MB\n", "kernel memory of the maps (4096 threads)", (double)probes__map_bytes(p) / 1048576);
	probes__close(p);
}

static void bench_memory(const struct interpreter *in)
{
	struct workload work;
	struct run r;

	start_busy(&work, in, 200);
	run__start(&r, work.pid, "--mode full");
	pause_ms(MEMORY_S * 1000);
	print_memories(r.pid, 200);
	run__stop(&r);
	workload__kill(&work);
	print_kernel_memory();
}

static void remove_store(const char *dir)
{
	pid_t store = store_pid();

	if (store > 0)
		kill(store, SIGTERM);
	pause_ms(300);
	temp_dir__remove(dir);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 7;
	struct interpreter stock;
	char dir[64];

	if (rounds < 1 || rounds > ROUNDS_MAX)
		die("usage", "bench_attach [ROUNDS], 1 to 99");
	setvbuf(stdout, NULL, _IOLBF, 0);
	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	interpreter__stock(&stock);
	printf("%s (%s), %d interleaved rounds, medians [quartiles]\n", stock.exe, stock.version, rounds);
	print_load();
	bench_command(&stock, rounds);
	bench_parts(&stock, rounds);
	print_load();
	printf(" CPU time with 32 busy threads, 1 s intervals, embedded store, share of a core (goal: 0.5 %%):\n");
	bench_cpu(&stock, "full", false);
	bench_cpu(&stock, "light", true);
	bench_memory(&stock);
	print_load();
	remove_store(dir);
	return 0;
}
