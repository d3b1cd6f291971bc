/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What observing costs: one target, its probes changed between rounds, all variants in turn in every round. Prints the
 * medians with their spread, and ratios of what is added to the bare price. A machine shared with others is noisy: only
 * the ratios within one run mean something.
 *
 * usage: bench_cost [ROUNDS]
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/workload.h"
#include "classic.skel.h"

#define ROUNDS_MAX 99

enum variant {
	BARE,
	EMPTY,
	FULL,
	STACKS,
	FULL_BLIND,
	LIGHT,
	CLASSIC,
	VARIANTS,
};

static const char *const variant_names[VARIANTS] = {
	[BARE] = "bare", [EMPTY] = "empty programs on the same sites", [FULL] = "full",
	[STACKS] = "full, stacks of 5 ms and more",
	[FULL_BLIND] = "full with --no-off-cpu", [LIGHT] = "light",
	[CLASSIC] = "take_gil entry + return, drop_gil entry",
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_cost: %s: %s\n", what, why);
	exit(1);
}

static double ask(struct workload *w, const char *question)
{
	double answer;
	char *line;

	workload__say(w, question);
	line = workload__hear(w);
	answer = strtod(line, NULL);
	free(line);
	return answer;
}

/* ---- probes of each variant ---- */

struct rig {
	struct workload target;
	struct target *t;
	struct elffile *elf;
	struct pyver version;
	struct pyoffsets offsets;
	struct site_plan *plan;
	struct probes *real, *stacks, *blind, *empty;
	uint32_t slot, stacks_slot, blind_slot, empty_slot;
	struct classic_bpf *classic;
	struct bpf_link *classic_links[3];
	uint64_t take, drop; /* file offsets, 0: no symbols */
};

static struct probes *open_probes(bool empty, bool stacks, bool no_off_cpu)
{
	struct probes_opts opts = {
		.max_procs = 1, .empty_programs = empty, .no_off_cpu = no_off_cpu,
		.stacks = {.on = stacks, .threshold_ns = 5000000, .long_hold_ns = 100000000},
	};
	struct reason why;
	struct probes *p;

	if (probes__open(&opts, &p, &why))
		die("probes", why.text);
	return p;
}

static uint32_t add(struct rig *rig, struct probes *p)
{
	struct gil_address gils[GIL_PER_PROC];
	struct probes_subject who = {.target = rig->t, .plan = rig->plan, .offsets = &rig->offsets, .gils = gils};
	struct reason why;
	bool enabled;
	uint32_t slot;

	if (pyver__find_gils(rig->t, rig->elf, &rig->offsets, gils, GIL_PER_PROC, &who.gils_n, &enabled, &why) ||
	    probes__add(p, &who, &slot, &why))
		die("target", why.text);
	return slot;
}

/* Offset of a function in the image's full symbol table, by nm; 0 if stripped. */
static uint64_t symbol_offset(struct rig *rig, const char *name)
{
	unsigned long long vaddr = 0;
	uint64_t offset = 0;
	char command[PATH_MAX + 64];
	FILE *nm;

	snprintf(command, sizeof(command), "nm /proc/%d/fd/%d 2>/dev/null | awk '$3==\"%s\"{print $1}'",
		 (int)getpid(), rig->t->image.fd, name);
	nm = popen(command, "r");
	if (nm && fscanf(nm, "%llx", &vaddr) == 1 && elffile__offset_of(rig->elf, vaddr, &offset))
		offset = 0;
	if (nm)
		pclose(nm);
	return offset;
}

static void set_up(struct rig *rig, const struct interpreter *in)
{
	struct reason why;

	*rig = (struct rig){0};
	workload__start(&rig->target, in, "bench_target.py");
	if (target__open(rig->target.pid, &rig->t, &why) || elffile__open(rig->t->image.fd, &rig->elf, &why) ||
	    pyver__identify(rig->elf, rig->t->image.path, &rig->version, &why) ||
	    pyver__offsets(rig->elf, &rig->version, &rig->offsets, &why) ||
	    sites__plan(rig->elf, &rig->plan, &why))
		die("plan", why.text);
	rig->real = open_probes(false, false, false);
	rig->stacks = open_probes(false, true, false);
	rig->blind = open_probes(false, false, true);
	rig->empty = open_probes(true, false, true);
	rig->slot = add(rig, rig->real);
	rig->stacks_slot = add(rig, rig->stacks);
	rig->blind_slot = add(rig, rig->blind);
	rig->empty_slot = add(rig, rig->empty);
	rig->take = symbol_offset(rig, "take_gil");
	rig->drop = symbol_offset(rig, "drop_gil");
	rig->classic = rig->take && rig->drop ? classic_bpf__open_and_load() : NULL;
}

static void tear_down(struct rig *rig)
{
	probes__close(rig->real);
	probes__close(rig->stacks);
	probes__close(rig->blind);
	probes__close(rig->empty);
	classic_bpf__destroy(rig->classic);
	site_plan__free(rig->plan);
	elffile__close(rig->elf);
	target__close(rig->t);
	workload__kill(&rig->target);
}

static struct bpf_link *classic_link(struct rig *rig, struct bpf_program *program, bool on_return, uint64_t at)
{
	LIBBPF_OPTS(bpf_uprobe_opts, opts, .retprobe = on_return);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", rig->t->image.fd);
	return bpf_program__attach_uprobe_opts(program, rig->target.pid, path, at, &opts);
}

static void plant(struct rig *rig, enum variant v)
{
	struct reason why;
	uint64_t armed_at;

	if (v == EMPTY && probes__plant(rig->empty, rig->empty_slot, GIL_MODE_FULL, &why))
		die("empty programs", why.text);
	if (v == FULL || v == LIGHT || v == FULL_BLIND) {
		struct probes *p = v == FULL_BLIND ? rig->blind : rig->real;
		uint32_t slot = v == FULL_BLIND ? rig->blind_slot : rig->slot;

		if (probes__plant(p, slot, v == LIGHT ? GIL_MODE_LIGHT : GIL_MODE_FULL, &why))
			die("probes", why.text);
		probes__arm(p, slot, &armed_at);
	}
	if (v == STACKS) {
		if (probes__plant(rig->stacks, rig->stacks_slot, GIL_MODE_FULL, &why))
			die("probes", why.text);
		probes__arm(rig->stacks, rig->stacks_slot, &armed_at);
	}
	if (v == CLASSIC) {
		rig->classic_links[0] = classic_link(rig, rig->classic->progs.take_entry, false, rig->take);
		rig->classic_links[1] = classic_link(rig, rig->classic->progs.take_return, true, rig->take);
		rig->classic_links[2] = classic_link(rig, rig->classic->progs.drop_entry, false, rig->drop);
	}
}

static void lift(struct rig *rig, enum variant v)
{
	if (v == EMPTY)
		probes__lift(rig->empty, rig->empty_slot);
	if (v == FULL || v == LIGHT)
		probes__lift(rig->real, rig->slot);
	if (v == STACKS)
		probes__lift(rig->stacks, rig->stacks_slot);
	if (v == FULL_BLIND)
		probes__lift(rig->blind, rig->blind_slot);
	if (v == CLASSIC)
		for (int i = 0; i < 3; i++)
			bpf_link__destroy(rig->classic_links[i]);
}

/* ---- rounds ---- */

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct row {
	double value[ROUNDS_MAX];
	double median, low, high; /* quartiles */
};

static void sum_up(struct row *row, int rounds)
{
	qsort(row->value, (size_t)rounds, sizeof(double), compare_doubles);
	row->median = row->value[rounds / 2];
	row->low = row->value[rounds / 4];
	row->high = row->value[3 * rounds / 4];
}

static bool possible(const struct rig *rig, enum variant v)
{
	return (v != CLASSIC || rig->classic) && (v != LIGHT || rig->plan->light);
}

static void measure(struct rig *rig, const char *question, int rounds, struct row rows[VARIANTS])
{
	for (int round = 0; round < rounds; round++)
		for (enum variant v = BARE; v < VARIANTS; v++) {
			if (!possible(rig, v))
				continue;
			plant(rig, v);
			rows[v].value[round] = ask(&rig->target, question);
			lift(rig, v);
		}
	for (enum variant v = BARE; v < VARIANTS; v++)
		sum_up(&rows[v], rounds);
}

static void print_added(const struct rig *rig, struct row rows[VARIANTS])
{
	double limit = rows[EMPTY].median - rows[BARE].median;

	for (enum variant v = BARE; v < VARIANTS; v++) {
		double added = rows[v].median - rows[BARE].median;

		if (!possible(rig, v))
			continue;
		printf("  %-42s %8.0f ns  [%.0f .. %.0f]", variant_names[v], rows[v].median, rows[v].low,
		       rows[v].high);
		if (v != BARE)
			printf("  +%.0f ns", added);
		if (v == FULL || v == STACKS || v == FULL_BLIND || v == CLASSIC)
			printf(" = %.2f x the limit's", added / limit);
		if (v == LIGHT)
			printf(" = %+.1f %%", 100 * added / rows[BARE].median);
		printf("\n");
	}
	if (rig->classic)
		printf("  full adds %.2f x what the classic design adds\n",
		       (rows[FULL].median - rows[BARE].median) / (rows[CLASSIC].median - rows[BARE].median));
}

static void print_rates(const struct rig *rig, const char *unit, struct row rows[VARIANTS])
{
	for (enum variant v = BARE; v < CLASSIC; v++)
		if (possible(rig, v))
			printf("  %-42s %10.0f %s  [%.0f .. %.0f]  %+.1f %%\n", variant_names[v],
			       rows[v].median, unit, rows[v].low, rows[v].high,
			       100 * (rows[v].median / rows[BARE].median - 1));
}

/* ---- context switches ---- */

#define SWITCHES 100000

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void throw_back(int from, int to)
{
	char ball;

	while (read(from, &ball, 1) == 1 && write(to, &ball, 1) == 1)
		;
	_exit(0);
}

/* On one CPU, and before everybody else there: whoever came between would be measured, too. */
static void be_alone(bool alone)
{
	const struct sched_param first = {.sched_priority = 1}, usual = {0};
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (int cpu = 0; cpu < (alone ? 1 : CPU_SETSIZE); cpu++)
		CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) ||
	    sched_setscheduler(0, alone ? SCHED_FIFO : SCHED_OTHER, alone ? &first : &usual))
		die("switches", strerror(errno));
}

/* ns of two processes on one CPU, neither of which holds a GIL, per switch from one to the other and the wake-up before it. */
static double switch_ns(void)
{
	int there[2], back[2];
	double begin, end;
	char ball = 0;
	pid_t other;

	if (pipe(there) || pipe(back))
		die("switches", strerror(errno));
	be_alone(true);
	other = fork();
	if (other == 0) {
		close(there[1]);
		throw_back(there[0], back[1]);
	}
	begin = now_ns();
	for (int i = 0; i < SWITCHES / 2; i++)
		if (write(there[1], &ball, 1) != 1 || read(back[0], &ball, 1) != 1)
			die("switches", strerror(errno));
	end = now_ns();
	be_alone(false);
	close(there[1]);
	waitpid(other, NULL, 0);
	close(there[0]);
	close(back[0]);
	close(back[1]);
	return (end - begin) / SWITCHES;
}

/* What all others on the machine pay while somebody is observed. */
static void measure_switches(struct rig *rig, int rounds, const char *title)
{
	static struct row bare, full;

	for (int round = 0; round < rounds; round++) {
		bare.value[round] = switch_ns();
		plant(rig, FULL);
		full.value[round] = switch_ns();
		lift(rig, FULL);
	}
	sum_up(&bare, rounds);
	sum_up(&full, rounds);
	printf(" %s:\n  bare %.0f ns [%.0f .. %.0f], full %.0f ns [%.0f .. %.0f]: %+.0f ns, %.3f x\n", title, bare.median,
	       bare.low, bare.high, full.median, full.low, full.high, full.median - bare.median,
	       full.median / bare.median);
}

static void run(const struct interpreter *in, int rounds)
{
	static struct row rows[VARIANTS];
	struct rig rig;

	set_up(&rig, in);
	printf("%s (%s), %d interleaved rounds, medians [quartiles]\n", in->exe, in->version, rounds);
	printf(" an uncontended pair of release and acquire:\n");
	measure(&rig, "pair 50000", rounds, rows);
	print_added(&rig, rows);
	printf(" eight threads in an os.read loop:\n");
	measure(&rig, "read 8 300", rounds, rows);
	print_rates(&rig, "reads/s", rows);
	printf(" three CPU-bound threads:\n");
	measure(&rig, "cpu 3 300", rounds, rows);
	print_rates(&rig, "turns/s", rows);
	measure_switches(&rig, rounds, "a wake-up and a context switch of somebody else");
	tear_down(&rig);
}

int main(int argc, char **argv)
{
	static struct interpreter found[INTERPRETERS_MAX];
	int rounds = argc > 1 ? atoi(argv[1]) : 9;
	size_t n = interpreters__find(found, INTERPRETERS_MAX);
	struct interpreter stock;

	if (rounds < 1 || rounds > ROUNDS_MAX)
		die("usage", "bench_cost [ROUNDS], 1 to 99");
	interpreter__stock(&stock);
	run(&stock, rounds);
	/* One with symbols, for the classic design. */
	for (size_t i = 0; i < n; i++)
		if (found[i].minor == stock.minor && strcmp(found[i].exe, stock.exe)) {
			run(&found[i], rounds);
			break;
		}
	return 0;
}
