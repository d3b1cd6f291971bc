/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What observing costs: one target, its probes changed between rounds, all variants in turn in every round. Prints the
 * medians with their spread, and ratios of what is added to the bare price. A machine shared with others is noisy: only
 * the ratios within one run mean something. What each question means stands in tests/workloads/bench_target.py.
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
	ALL_STACKS,
	FULL_BLIND,
	LIGHT,
	CLASSIC,
	VARIANTS,
};

/* Blame has no option: where somebody waits it is counted, elsewhere its code is not reached. */
static const struct {
	const char *name;
	struct probes_opts opts;
} variants[VARIANTS] = {
	[BARE] = {"bare", {0}},
	[EMPTY] = {"empty programs on the same sites", {.empty_programs = true, .no_off_cpu = true}},
	[FULL] = {"full with --stacks off", {0}},
	[STACKS] = {"full (stacks of 5 ms and more)", {.stacks = {.on = true, .threshold_ns = 5000000}}},
	[ALL_STACKS] = {"full with --stacks 0 (all that waits)", {.stacks = {.on = true, .threshold_ns = 0}}},
	[FULL_BLIND] = {"full with --stacks off --no-off-cpu", {.no_off_cpu = true}},
	[LIGHT] = {"light (stacks of 5 ms and more)", {.stacks = {.on = true, .threshold_ns = 5000000}}},
	[CLASSIC] = {"take_gil entry + return, drop_gil entry", {0}},
};

#define LONG_HOLD_NS 100000000

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_cost: %s: %s\n", what, why);
	exit(1);
}

/* ---- probes of each variant ---- */

struct rig {
	struct workload target;
	struct target *t;
	struct elffile *elf;
	struct pyver version;
	struct pyoffsets offsets;
	struct site_plan *plan;
	struct probes *probes[VARIANTS]; /* NULL: bare, classic */
	uint32_t slot[VARIANTS];
	struct classic_bpf *classic;
	struct bpf_link *classic_links[3];
	uint64_t take, drop; /* file offsets, 0: no symbols */
};

static struct probes *open_probes(enum variant v)
{
	struct probes_opts opts = variants[v].opts;
	struct reason why;
	struct probes *p;

	opts.max_procs = 1;
	opts.stacks.long_hold_ns = LONG_HOLD_NS;
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

	if (pygils__find(rig->t, rig->elf, &rig->offsets, gils, GIL_PER_PROC, &who.gils_n, &enabled, &why) ||
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
	for (enum variant v = EMPTY; v < CLASSIC; v++) {
		rig->probes[v] = open_probes(v);
		rig->slot[v] = add(rig, rig->probes[v]);
	}
	rig->take = symbol_offset(rig, "take_gil");
	rig->drop = symbol_offset(rig, "drop_gil");
	rig->classic = rig->take && rig->drop ? classic_bpf__open_and_load() : NULL;
}

static void tear_down(struct rig *rig)
{
	for (enum variant v = EMPTY; v < CLASSIC; v++)
		probes__close(rig->probes[v]);
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

	if (rig->probes[v] && probes__plant(rig->probes[v], rig->slot[v], v == LIGHT ? GIL_MODE_LIGHT : GIL_MODE_FULL, &why))
		die(variants[v].name, why.text);
	if (rig->probes[v] && v != EMPTY)
		probes__arm(rig->probes[v], rig->slot[v], &armed_at);
	if (v == CLASSIC) {
		rig->classic_links[0] = classic_link(rig, rig->classic->progs.take_entry, false, rig->take);
		rig->classic_links[1] = classic_link(rig, rig->classic->progs.take_return, true, rig->take);
		rig->classic_links[2] = classic_link(rig, rig->classic->progs.drop_entry, false, rig->drop);
	}
}

static void lift(struct rig *rig, enum variant v)
{
	if (rig->probes[v])
		probes__lift(rig->probes[v], rig->slot[v]);
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

/* By round. */
struct row {
	double value[ROUNDS_MAX];
};

struct summary {
	double median, low, high; /* quartiles */
};

static struct summary sum_up(const struct row *row, int rounds)
{
	struct row sorted = *row;

	qsort(sorted.value, (size_t)rounds, sizeof(double), compare_doubles);
	return (struct summary){sorted.value[rounds / 2], sorted.value[rounds / 4], sorted.value[3 * rounds / 4]};
}

/* Of what was measured in the same round: what a busy machine does to all of a round falls out. */
static struct summary added(const struct row *row, const struct row *base, int rounds)
{
	struct row by_round;

	for (int i = 0; i < rounds; i++)
		by_round.value[i] = row->value[i] - base->value[i];
	return sum_up(&by_round, rounds);
}

static struct summary ratio(const struct row *row, const struct row *base, int rounds)
{
	struct row by_round;

	for (int i = 0; i < rounds; i++)
		by_round.value[i] = row->value[i] / base->value[i];
	return sum_up(&by_round, rounds);
}

static bool possible(const struct rig *rig, enum variant v)
{
	return (v != CLASSIC || rig->classic) && (v != LIGHT || rig->plan->light);
}

enum question {
	PAIR,
	YIELD,
	FORCE,
	READ,
	CPU,
	QUESTIONS,
};

static const char *const questions[QUESTIONS] = {
	[PAIR] = "pair 50000",
	[YIELD] = "yield 10000",
	[FORCE] = "force 40000",
	[READ] = "read 8 300",
	[CPU] = "cpu 3 300",
};

/* What an answer consists of: others than YIELD's and FORCE's have one number. */
enum number {
	NUMBER,
	BY_CLOCK,
	BLOCKED,
	NUMBERS,
};

struct results {
	int rounds;
	struct row rows[QUESTIONS][VARIANTS][NUMBERS];
};

static void ask(struct rig *rig, enum question q, struct row rows[NUMBERS], int round)
{
	char *line, *at;

	workload__say(&rig->target, questions[q]);
	line = at = workload__hear(&rig->target);
	for (int i = 0; i < NUMBERS; i++)
		rows[i].value[round] = strtod(at, &at);
	free(line);
}

static void measure(struct rig *rig, struct results *r)
{
	for (int round = 0; round < r->rounds; round++)
		for (enum variant v = BARE; v < VARIANTS; v++) {
			if (!possible(rig, v))
				continue;
			plant(rig, v);
			for (enum question q = 0; q < QUESTIONS; q++)
				ask(rig, q, r->rows[q][v], round);
			lift(rig, v);
		}
}

/* ---- telling ---- */

static void print_pairs(const struct rig *rig, const struct results *r)
{
	struct summary of[VARIANTS];
	double limit;

	for (enum variant v = BARE; v < VARIANTS; v++)
		of[v] = sum_up(&r->rows[PAIR][v][NUMBER], r->rounds);
	limit = of[EMPTY].median - of[BARE].median;
	for (enum variant v = BARE; v < VARIANTS; v++) {
		double more = of[v].median - of[BARE].median;

		if (!possible(rig, v))
			continue;
		printf("  %-42s %8.0f ns  [%.0f .. %.0f]", variants[v].name, of[v].median, of[v].low, of[v].high);
		if (v != BARE)
			printf("  +%.0f ns", more);
		if (v != BARE && v != EMPTY && v != LIGHT)
			printf(" = %.2f x the limit's", more / limit);
		if (v == LIGHT)
			printf(" = %+.1f %%", 100 * more / of[BARE].median);
		printf("\n");
	}
	if (rig->classic)
		printf("  full adds %.2f x what the classic design adds\n",
		       (of[STACKS].median - of[BARE].median) / (of[CLASSIC].median - of[BARE].median));
}

static void print_ratio(const char *what, const struct row *row, const struct row *base, int rounds)
{
	struct summary of = ratio(row, base, rounds);

	printf("  %-60s %.3f x  [%.3f .. %.3f]\n", what, of.median, of.low, of.high);
}

/* A pair that nobody waits for reaches neither blame nor a stack: that it costs nothing to have them is shown here. */
static void print_nothing_contended(const struct rig *rig, const struct results *r)
{
	const struct row(*rows)[NUMBERS] = r->rows[PAIR];

	print_ratio("full, with stacks to without (limit 1.15)", rows[STACKS], rows[FULL], r->rounds);
	print_ratio("full, with all stacks to without (limit 1.15)", rows[ALL_STACKS], rows[FULL], r->rounds);
	if (possible(rig, LIGHT))
		print_ratio("light, with stacks, to bare", rows[LIGHT], rows[BARE], r->rounds);
}

static void print_contended(const struct rig *rig, const struct results *r, enum question q)
{
	const struct row(*rows)[NUMBERS] = r->rows[q];
	struct summary blocked = sum_up(&rows[BARE][BLOCKED], r->rounds);
	struct summary clock = ratio(&rows[BARE][BY_CLOCK], &rows[BARE][NUMBER], r->rounds);

	for (enum variant v = BARE; v < CLASSIC; v++) {
		struct summary cpu = sum_up(&rows[v][NUMBER], r->rounds);
		struct summary more = added(&rows[v][NUMBER], &rows[BARE][NUMBER], r->rounds);
		struct summary times = ratio(&rows[v][NUMBER], &rows[BARE][NUMBER], r->rounds);

		if (!possible(rig, v))
			continue;
		printf("  %-42s %8.2f us  [%.2f .. %.2f]", variants[v].name, cpu.median / 1e3, cpu.low / 1e3,
		       cpu.high / 1e3);
		if (v != BARE)
			printf("  %+.2f us [%.2f .. %.2f], %.2f x bare", more.median / 1e3, more.low / 1e3, more.high / 1e3,
			       times.median);
		printf("\n");
	}
	print_ratio("full, with stacks of 5 ms and more to without", rows[STACKS], rows[FULL], r->rounds);
	printf("  (bare: by the clock %.3f x the CPU time; a thread blocked %.2f times per acquire)\n", clock.median,
	       blocked.median);
}

static void print_rates(const struct rig *rig, const struct results *r, enum question q, const char *unit)
{
	struct summary bare = sum_up(&r->rows[q][BARE][NUMBER], r->rounds);

	for (enum variant v = BARE; v < CLASSIC; v++) {
		struct summary of = sum_up(&r->rows[q][v][NUMBER], r->rounds);

		if (possible(rig, v))
			printf("  %-42s %10.0f %s  [%.0f .. %.0f]  %+.1f %%\n", variants[v].name, of.median, unit, of.low,
			       of.high, 100 * (of.median / bare.median - 1));
	}
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
	struct summary before, after;

	for (int round = 0; round < rounds; round++) {
		bare.value[round] = switch_ns();
		plant(rig, FULL);
		full.value[round] = switch_ns();
		lift(rig, FULL);
	}
	before = sum_up(&bare, rounds);
	after = sum_up(&full, rounds);
	printf(" %s:\n  bare %.0f ns [%.0f .. %.0f], full %.0f ns [%.0f .. %.0f]: %+.0f ns, %.3f x\n", title, before.median,
	       before.low, before.high, after.median, after.low, after.high, after.median - before.median,
	       after.median / before.median);
}

static void run(const struct interpreter *in, int rounds)
{
	static struct results results;
	struct rig rig;

	set_up(&rig, in);
	results = (struct results){.rounds = rounds};
	measure(&rig, &results);
	printf("%s (%s), %d interleaved rounds, medians [quartiles]\n", in->exe, in->version, rounds);
	printf(" an uncontended pair of release and acquire:\n");
	print_pairs(&rig, &results);
	printf(" what stacks and blame cost such a pair:\n");
	print_nothing_contended(&rig, &results);
	printf(" an acquire that finds the GIL taken, CPU time (two threads on one CPU that let go by themselves):\n");
	print_contended(&rig, &results, YIELD);
	printf(" an acquire that forces its holder out, CPU time (two threads on one CPU):\n");
	print_contended(&rig, &results, FORCE);
	printf(" eight threads in an os.read loop:\n");
	print_rates(&rig, &results, READ, "reads/s");
	printf(" three CPU-bound threads:\n");
	print_rates(&rig, &results, CPU, "turns/s");
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
