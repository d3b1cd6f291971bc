/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the workloads do in C, called through ctypes: hold the GIL for a known time, let it go a known
 * number of times, and clock the waiting from inside.
 *
 * Functions that let go of the GIL themselves (cycle, hog, victim) must be called through ctypes.PyDLL,
 * which keeps the GIL around the call; those that block (gate_wait, gate_watch) through ctypes.CDLL,
 * which releases it once per call. No Python header is needed: the two functions used have been stable
 * for ever, and the interpreter resolves them when it loads this library.
 *
 * The exact part of a thread's life lies between two gates. At a gate the thread waits without the GIL,
 * so its next acquire and its last release fall on this side and that side of what is counted:
 *
 *     gate_wait(start)   observer attaches here          (released)
 *     acquire                                             1
 *     ... n times: release, acquire                       n
 *     release            gate_wait(end): observer reads here
 *
 * acquires = releases = n + 1, whatever other threads do, as long as nobody is forced to let go: the
 * workloads that count set the switch interval to 1000 s, so that no waiter ever asks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern void *PyEval_SaveThread(void);
extern void PyEval_RestoreThread(void *tstate);

#define GATES 8
#define IDLERS_MAX 64

/* What hog() and victim() found out about themselves; times are CLOCK_MONOTONIC. */
struct hog_truth {
	uint64_t holds;
	uint64_t stall_ns;     /* inside releases (hand-offs) and acquires, those at the gates left out */
	uint64_t hold_ns;
	uint64_t hold_min_ns;
	uint64_t hold_max_ns;
	uint64_t begin_ns;     /* of the first hold */
	uint64_t end_ns;       /* of the last one */
};

struct victim_truth {
	uint64_t acquires;     /* from the start gate to the end gate, that of the gate included */
	uint64_t stall_ns;     /* before release to after it, and before acquire to after it */
	uint64_t stall_max_ns; /* longest acquire */
	uint64_t handoff_ns;   /* the part of stall_ns inside releases */
	uint64_t stalls;       /* acquires that took longer than 20 us: they have waited */
	uint64_t begin_ns;
	uint64_t end_ns;
};

/* What worker() spent its time on: `in` its holds, and `all` from gate to gate. */
struct spent {
	uint64_t wall_ns;
	uint64_t cpu_ns;   /* on a CPU */
	uint64_t delay_ns; /* runnable, without a CPU */
};

struct span {
	uint64_t begin, end;
};

/* Bounds of what blamed_hog() held, and of what others waited for that at least. */
struct blamed_truth {
	uint64_t hold_low_ns, hold_high_ns;
	uint64_t blame_low_ns;
};

struct worker_truth {
	struct spent in, all;
	uint64_t holds;
};

/* What two threads did that took the GIL from each other. */
struct contest_truth {
	uint64_t wall_ns, cpu_ns; /* of the process, from when the first of them began to when both were through */
	uint64_t acquires;
	uint64_t blocked; /* times that one of them could not go on (yielding is no such time) */
};

#define CHAIN_MAX 8

/*
 * A chain of holders: while the first holds the GIL, the others block on it in turn, and then get it in turn; the last is the
 * victim that has waited for all of them. What each says of the newest scene, CLOCK_MONOTONIC, and what it is to do.
 */
struct chain {
	struct link {
		_Atomic uint64_t wanted;  /* before its acquire */
		uint64_t blocked;         /* the first one saw that it was blocked; 0: is the first */
		uint64_t got;             /* after its acquire */
		uint64_t letting, let_go; /* before and after its release */
		uint64_t hold_ns;         /* how long to hold */
		int tid;
		int call[2];              /* pipe: a byte begins its part; nobody waits for it on a futex */
	} links[CHAIN_MAX];
	int over[2];                      /* pipe: a byte from each that has let go */
	int n;
};

/* One thread gives, another is late to take. Times are sums over the rounds: bounds of what lies between the clocks. */
struct late {
	uint64_t rounds;
	uint64_t blame_low_ns, blame_high_ns; /* it waited while the giver held the GIL */
	uint64_t free_low_ns, free_high_ns;   /* it waited while nobody did */
	uint64_t least_ns;                    /* how late at least */
	_Atomic uint64_t wanted, got;         /* around its acquire of this round */
	int tid;                              /* of the taker */
	int call[2], over[2];                 /* pipes, as those of a chain */
};

void noop(void);
uint64_t now_ns(void);
int thread_id(void);
int in_futex(int tid);
void name_thread(const char *name);
void gate_wait(int gate);
void gate_open(int gate);
void gate_watch(int gate, int n);
void gate_shut(int gate);
void cycle(int start, int end, uint64_t n);
void cycle_holding(int start, int end, uint64_t n, uint64_t hold_ns);
void confined_cycle(int start, uint64_t n, int through, int never);
uint64_t cycle_ns(uint64_t n);
void nap(uint64_t ns);
void burn(uint64_t ns);
void compute(uint64_t ns);
void model_forward(uint64_t ns) __asm__("_ZN6engine5ModelIfE7forwardEmPKf"); /* as a C++ compiler would call it */
void hog(struct hog_truth *t, int start, int end, uint64_t n, uint64_t hold_ns, uint64_t gap_ns);
int hog_until_told(struct hog_truth *t, int start, int end);
void victim(struct victim_truth *t, int start, int end, const int *stop, uint64_t pause_ns);
void blamed_hog(struct blamed_truth *t, struct span *holds, int start, int end, uint64_t n, uint64_t hold_ns, int which,
		const int *victims, int victims_n);
void blamed_victim(struct span *waits, uint64_t room, uint64_t *n, int start, int end, const int *stop, uint64_t pause_ns);
int worker(struct worker_truth *t, int start, int end, uint64_t n, uint64_t sleep_ns, uint64_t work_ns, uint64_t gap_ns);
void share_one_cpu(void);
void contest_prepare(void);
void contest_begin(void);
void contest_yielding(uint64_t n);
void contest_turn(int who);
void contest_end(struct contest_truth *t);
int chain_open(struct chain *c, int n);
void chain_play(struct chain *c);
void chain_member(struct chain *c, int which, int start);
int late_open(struct late *l, uint64_t least_ns);
void late_giver(struct late *l, int start, int end, uint64_t n);
void late_taker(struct late *l, int start);
int idlers_start(int n, uint64_t period_ns, int *tids);
uint64_t idlers_stop(void);
void stuck_hold(int how, int pipe);
int stuck_tell(int waiter, int pipe);
int stuck_fork(void);

/* ---- small things --------------------------------------------------------------------------------- */

void noop(void)
{
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Whether a thread of this process is blocked on a futex, as one is that waits for the GIL. Keeps the GIL if that is held. */
int in_futex(int tid)
{
	char path[64], number[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, number, sizeof(number) - 1) < 0)
		number[0] = '\0';
	close(fd);
	return number[0] >= '0' && number[0] <= '9' && strtol(number, NULL, 10) == SYS_futex;
}

int thread_id(void)
{
	return (int)syscall(SYS_gettid);
}

/* The name that ps and /proc show; Python itself sets it from 3.14 on. */
void name_thread(const char *name)
{
	prctl(PR_SET_NAME, name);
}

/*
 * Threads that clock themselves should not lose the CPU between a clock and the GIL, however busy the machine is. They sleep
 * most of the time, so real-time priority takes nothing from others; where it is not allowed, truth is a little less sharp.
 */
static void be_prompt(void)
{
	const struct sched_param lowest = {.sched_priority = 1};

	pthread_setschedparam(pthread_self(), SCHED_FIFO, &lowest);
}

/* Takes the calling thread to the first CPU that the process may use, before everybody else there. */
void share_one_cpu(void)
{
	const struct sched_param lowest = {.sched_priority = 1};
	cpu_set_t allowed, one;
	int cpu = 0;

	sched_getaffinity(getpid(), sizeof(allowed), &allowed);
	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &allowed))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	pthread_setschedparam(pthread_self(), SCHED_RR, &lowest);
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

/* Sleeps, whatever signals come: a busy loop would be as good a hold, but takes a core from others. */
static void sleep_until(uint64_t when_ns)
{
	struct timespec ts = timespec_of(when_ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* ---- gates ------------------------------------------------------------------------------------------ */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static int gate_is_open[GATES];
static int gate_waiters[GATES];

/* Blocks until the gate is open; the caller must not hold the GIL. */
void gate_wait(int gate)
{
	pthread_mutex_lock(&gate_lock);
	gate_waiters[gate]++;
	pthread_cond_broadcast(&gate_moved);
	while (!gate_is_open[gate])
		pthread_cond_wait(&gate_moved, &gate_lock);
	gate_waiters[gate]--;
	pthread_mutex_unlock(&gate_lock);
}

void gate_open(int gate)
{
	pthread_mutex_lock(&gate_lock);
	gate_is_open[gate] = 1;
	pthread_cond_broadcast(&gate_moved);
	pthread_mutex_unlock(&gate_lock);
}

/* For the next round; whoever waited at it must have passed. */
void gate_shut(int gate)
{
	pthread_mutex_lock(&gate_lock);
	gate_is_open[gate] = 0;
	pthread_mutex_unlock(&gate_lock);
}

/* Blocks until n threads wait at the gate; the caller must not hold the GIL. */
void gate_watch(int gate, int n)
{
	pthread_mutex_lock(&gate_lock);
	while (gate_waiters[gate] < n)
		pthread_cond_wait(&gate_moved, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
}

/* From inside a PyDLL call: waits at a gate without the GIL. */
static void pass_gate(int gate)
{
	void *tstate = PyEval_SaveThread();

	gate_wait(gate);
	PyEval_RestoreThread(tstate);
}

/* ---- threads with a known number of acquires ---------------------------------------------------------- */

/* n + 1 acquires and n + 1 releases between the gates. */
void cycle(int start, int end, uint64_t n)
{
	pass_gate(start);
	for (uint64_t i = 0; i < n; i++)
		PyEval_RestoreThread(PyEval_SaveThread());
	pass_gate(end);
}

/* The same with a pause before each release: holds of that length, so that others have to wait. */
void cycle_holding(int start, int end, uint64_t n, uint64_t hold_ns)
{
	pass_gate(start);
	for (uint64_t i = 0; i < n; i++) {
		if (hold_ns)
			nap(hold_ns);
		PyEval_RestoreThread(PyEval_SaveThread());
	}
	pass_gate(end);
}

/*
 * The same under strict seccomp from the start gate on: says that it is through by a byte, since a gate needs futex(), and then
 * waits without the GIL for what never comes.
 */
void confined_cycle(int start, uint64_t n, int through, int never)
{
	char nothing;

	pass_gate(start);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return;
	for (uint64_t i = 0; i < n; i++)
		PyEval_RestoreThread(PyEval_SaveThread());
	PyEval_SaveThread();
	if (write(through, "!", 1) == 1 && read(never, &nothing, 1) == 1)
		noop();
	syscall(SYS_exit, 1);
}

/* n pairs of release and acquire, clocked: what a benchmark compares. */
uint64_t cycle_ns(uint64_t n)
{
	uint64_t begin = now_ns();

	for (uint64_t i = 0; i < n; i++)
		PyEval_RestoreThread(PyEval_SaveThread());
	return now_ns() - begin;
}

/* Through PyDLL a hold of this length, through CDLL a pause without the GIL. */
void nap(uint64_t ns)
{
	sleep_until(now_ns() + ns);
}

/* On a CPU, as far as it gets one. */
void burn(uint64_t ns)
{
	uint64_t end = now_ns() + ns;

	while (now_ns() < end)
		;
}

void model_forward(uint64_t ns)
{
	sleep_until(now_ns() + ns);
}

static void gap_once(struct hog_truth *t, uint64_t ns)
{
	uint64_t before = now_ns(), released, wanted;
	void *tstate = PyEval_SaveThread();

	released = now_ns();
	sleep_until(released + ns);
	wanted = now_ns();
	PyEval_RestoreThread(tstate);
	t->stall_ns += (released - before) + (now_ns() - wanted);
}

/* One that begun at `begin` ends now. */
static void end_hold(struct hog_truth *t, uint64_t begin)
{
	uint64_t len;

	t->end_ns = now_ns();
	len = t->end_ns - begin;
	if (t->holds == 0)
		t->begin_ns = begin;
	if (t->holds == 0 || len < t->hold_min_ns)
		t->hold_min_ns = len;
	if (len > t->hold_max_ns)
		t->hold_max_ns = len;
	t->hold_ns += len;
	t->holds++;
}

static void hold_once(struct hog_truth *t, uint64_t ns)
{
	uint64_t begin = now_ns();

	sleep_until(begin + ns);
	end_hold(t, begin);
}

/*
 * n holds of hold_ns, gap_ns without the GIL between them. Between the gates: exactly n acquires, and no
 * hold but these, since no bytecode runs in which a forced drop could split one.
 */
void hog(struct hog_truth *t, int start, int end, uint64_t n, uint64_t hold_ns, uint64_t gap_ns)
{
	be_prompt();
	pass_gate(start);
	for (uint64_t i = 0; i < n; i++) {
		if (i > 0)
			gap_once(t, gap_ns);
		hold_once(t, hold_ns);
	}
	pass_gate(end);
}

/*
 * One hold that says "held" when it has begun and ends when a line is heard. Nobody else can read or write meanwhile: that
 * takes the GIL.
 */
int hog_until_told(struct hog_truth *t, int start, int end)
{
	uint64_t begin;
	char byte = 0;

	be_prompt();
	pass_gate(start);
	begin = now_ns();
	if (write(STDOUT_FILENO, "held\n", 5) != 5)
		return -1;
	while (byte != '\n')
		if (read(STDIN_FILENO, &byte, 1) != 1)
			return -1;
	end_hold(t, begin);
	pass_gate(end);
	return 0;
}

#define STALLED_NS 20000u

/* One release, a pause without the GIL, one acquire; both ends clocked. */
static void stall_once(struct victim_truth *t, uint64_t pause_ns)
{
	uint64_t before = now_ns(), released, wanted, got;
	void *tstate = PyEval_SaveThread();

	released = now_ns();
	sleep_until(released + pause_ns);
	wanted = now_ns();
	PyEval_RestoreThread(tstate);
	got = now_ns();

	t->handoff_ns += released - before;
	t->stall_ns += (released - before) + (got - wanted);
	if (got - wanted > t->stall_max_ns)
		t->stall_max_ns = got - wanted;
	t->stalls += got - wanted > STALLED_NS;
	t->acquires++;
	t->end_ns = got;
}

/* Lets go and takes again until *stop; the acquire at the start gate is clocked like the others. */
void victim(struct victim_truth *t, int start, int end, const int *stop, uint64_t pause_ns)
{
	void *tstate = PyEval_SaveThread();
	uint64_t wanted, got;

	be_prompt();
	gate_wait(start);
	wanted = now_ns();
	PyEval_RestoreThread(tstate);
	got = now_ns();
	t->acquires = 1;
	t->stall_ns = t->stall_max_ns = got - wanted;
	t->stalls = got - wanted > STALLED_NS;
	t->begin_ns = wanted;
	while (!__atomic_load_n(stop, __ATOMIC_RELAXED))
		stall_once(t, pause_ns);
	pass_gate(end);
}

/* ---- hogs that take turns, and what they make others wait ------------------------------------------------ */

/* Victims that have passed the start gate: at it they are blocked, too. */
static _Atomic int victims_out;
static _Atomic unsigned int turn;

static void await_turn(unsigned int which)
{
	while (turn % 2 != which)
		sleep_until(now_ns() + 100000);
}

static void await_all_blocked(const int *tids, int n)
{
	while (victims_out < n)
		sleep_until(now_ns() + 100000);
	for (int i = 0; i < n; i++)
		while (!in_futex(tids[i]))
			sleep_until(now_ns() + 50000);
}

/*
 * n holds by turns with the other hog (`which` is 0 or 1), each of hold_ns from the moment that all victims are blocked. `holds`
 * has room for n spans: from before each acquire to after the release. No victim may ask for the GIL (never_force()).
 */
void blamed_hog(struct blamed_truth *t, struct span *holds, int start, int end, uint64_t n, uint64_t hold_ns, int which,
		const int *victims, int victims_n)
{
	void *tstate = PyEval_SaveThread();

	be_prompt();
	gate_wait(start);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t got, blocked, before;

		await_turn((unsigned int)which);
		holds[i].begin = now_ns();
		PyEval_RestoreThread(tstate);
		got = now_ns();
		await_all_blocked(victims, victims_n);
		blocked = now_ns();
		sleep_until(blocked + hold_ns);
		before = now_ns();
		tstate = PyEval_SaveThread();
		holds[i].end = now_ns();
		t->hold_low_ns += before - got;
		t->hold_high_ns += holds[i].end - holds[i].begin;
		t->blame_low_ns += (uint64_t)victims_n * (before - blocked);
		sleep_until(now_ns() + 3000000);
		turn++;
	}
	gate_wait(end);
	PyEval_RestoreThread(tstate);
}

/* Takes the GIL every pause_ns until *stop; its waits, clocks around each acquire, go to `waits`, at most `room`. */
void blamed_victim(struct span *waits, uint64_t room, uint64_t *n, int start, int end, const int *stop, uint64_t pause_ns)
{
	void *tstate = PyEval_SaveThread();

	be_prompt();
	gate_wait(start);
	victims_out++;
	while (!__atomic_load_n(stop, __ATOMIC_RELAXED) && *n < room) {
		sleep_until(now_ns() + pause_ns);
		waits[*n].begin = now_ns();
		PyEval_RestoreThread(tstate);
		waits[*n].end = now_ns();
		tstate = PyEval_SaveThread();
		++*n;
	}
	gate_wait(end);
	PyEval_RestoreThread(tstate);
}

/* ---- a thread that knows what it spent its holds on ----------------------------------------------------- */

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The scheduler's own account of this thread (Documentation/scheduler/sched-stats.rst): the second number. */
static uint64_t delay_ns(int schedstat)
{
	char text[96] = "", *blank;

	if (pread(schedstat, text, sizeof(text) - 1, 0) <= 0 || !(blank = strchr(text, ' ')))
		return 0;
	return strtoull(blank, NULL, 10);
}

static struct spent spent_so_far(int schedstat)
{
	return (struct spent){.wall_ns = now_ns(), .cpu_ns = cpu_ns(), .delay_ns = delay_ns(schedstat)};
}

static void add_spent(struct spent *sum, const struct spent *since, int schedstat)
{
	struct spent now = spent_so_far(schedstat);

	sum->wall_ns += now.wall_ns - since->wall_ns;
	sum->cpu_ns += now.cpu_ns - since->cpu_ns;
	sum->delay_ns += now.delay_ns - since->delay_ns;
}

void compute(uint64_t ns)
{
	uint64_t begin = cpu_ns();

	while (cpu_ns() - begin < ns)
		;
}

/*
 * n holds, in each of which it sleeps and then computes, gap_ns without the GIL between them. What is seen from outside lies
 * between `in`, which begins behind each acquire and ends before the release, and `all`. 0, or an errno.
 */
int worker(struct worker_truth *t, int start, int end, uint64_t n, uint64_t sleep_ns, uint64_t work_ns, uint64_t gap_ns)
{
	int schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	struct spent all, in;
	void *tstate;

	if (schedstat < 0)
		return errno;
	tstate = PyEval_SaveThread();
	gate_wait(start);
	all = spent_so_far(schedstat);
	for (uint64_t i = 0; i < n; i++) {
		if (i > 0)
			nap(gap_ns);
		PyEval_RestoreThread(tstate);
		in = spent_so_far(schedstat);
		if (sleep_ns)
			nap(sleep_ns);
		compute(work_ns);
		add_spent(&t->in, &in, schedstat);
		t->holds++;
		tstate = PyEval_SaveThread();
	}
	add_spent(&t->all, &all, schedstat);
	gate_wait(end);
	PyEval_RestoreThread(tstate);
	close(schedstat);
	return 0;
}

/* ---- two threads that take the GIL from each other ------------------------------------------------------ */

/*
 * Both on one CPU, with real-time priority: one runs until it yields or blocks, whatever else the machine does, so who comes
 * next is no matter of luck, and all the CPU's time is theirs. Round robin, lest one that never blocks keeps the other out.
 *
 *   contest_yielding():   has it, yields ----> finds it taken, blocks
 *                         lets go, yields ---> has it, yields
 *                         finds it taken ...
 *
 *   contest_turn() from a loop in Python:
 *                         has it, turns ...    waits; the switch interval is over: asks for it, blocks
 *                         is forced out, blocks until the other one has it
 *                                              has it, turns ...
 */
static struct contest_truth contest;
static uint64_t contest_began_ns, contest_began_cpu_ns;
static int contest_holder;

/* Of the calling thread; yielding counts with preemptions (kernel/sched/core.c, __schedule()). */
static uint64_t blocked_so_far(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return (uint64_t)usage.ru_nvcsw;
}

static uint64_t process_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Before the two are started. */
void contest_prepare(void)
{
	contest = (struct contest_truth){0};
	contest_began_ns = 0;
	contest_holder = 0;
	gate_shut(0);
}

/* At first, by each of the two threads, with the GIL. Passes gate 0. */
void contest_begin(void)
{
	share_one_cpu();
	pass_gate(0);
	if (!contest_began_ns) {
		contest_began_ns = now_ns();
		contest_began_cpu_ns = process_cpu_ns();
	}
	contest.blocked -= blocked_so_far();
}

/* n acquires. */
void contest_yielding(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		void *tstate = PyEval_SaveThread();

		sched_yield();
		PyEval_RestoreThread(tstate);
		contest.acquires++;
		sched_yield();
	}
}

/* One turn of a loop: lets a waiter run whose time is over. Another thread than at the turn before: it has acquired. */
void contest_turn(int who)
{
	contest.acquires += who != contest_holder;
	contest_holder = who;
	sched_yield();
}

/* At last, by each: what the second one is told is the truth. */
void contest_end(struct contest_truth *t)
{
	contest.blocked += blocked_so_far();
	contest.wall_ns = now_ns() - contest_began_ns;
	contest.cpu_ns = process_cpu_ns() - contest_began_cpu_ns;
	*t = contest;
}

/* ---- a chain of holders during one wait ------------------------------------------------------------------- */

/* Makes the pipes of a chain of n. 0 or an errno. */
int chain_open(struct chain *c, int n)
{
	if (n > CHAIN_MAX)
		return EINVAL;
	c->n = n;
	if (pipe(c->over))
		return errno;
	for (int i = 0; i < n; i++)
		if (pipe(c->links[i].call))
			return errno;
	return 0;
}

static void pipe_put(int to)
{
	while (write(to, "!", 1) != 1)
		;
}

static void pipe_take(int from)
{
	char byte;

	while (read(from, &byte, 1) != 1)
		;
}

/* One scene, from the first one's acquire until all have let go; the caller must not hold the GIL. */
void chain_play(struct chain *c)
{
	for (int i = 0; i < c->n; i++)
		c->links[i].wanted = c->links[i].blocked = 0;
	pipe_put(c->links[0].call[1]);
	for (int i = 0; i < c->n; i++)
		pipe_take(c->over[0]);
}

/*
 * Has the others block on the GIL in their order. Who lets go wakes the one that has waited for the longest
 * (pthread_cond_signal() by the order of the futex's queue), and all others sleep on.
 */
static void chain_fill(struct chain *c)
{
	for (int i = 1; i < c->n; i++) {
		struct link *one = &c->links[i];

		pipe_put(one->call[1]);
		while (!one->wanted || !in_futex(one->tid))
			sleep_until(now_ns() + 50000);
		one->blocked = now_ns();
	}
}

/* Number `which` of the chain in every scene, for ever. No waiter may ask for the GIL (never_force()). */
void chain_member(struct chain *c, int which, int start)
{
	struct link *me = &c->links[which];
	void *tstate = PyEval_SaveThread();

	be_prompt();
	gate_wait(start);
	for (;;) {
		pipe_take(me->call[0]);
		me->wanted = now_ns();
		PyEval_RestoreThread(tstate);
		me->got = now_ns();
		if (which == 0)
			chain_fill(c);
		if (me->hold_ns)
			nap(me->hold_ns);
		me->letting = now_ns();
		tstate = PyEval_SaveThread();
		me->let_go = now_ns();
		pipe_put(c->over[1]);
	}
}

/* ---- a thread that is late to take what it was given ------------------------------------------------------ */

static _Atomic uint64_t late_ns; /* how late the next time */
static _Atomic uint64_t late_end;

/* What keeps it is a signal's handler: from outside as good as having no CPU, and on a busy machine no less certain. */
static void be_late(int number)
{
	int before = errno;

	nap(late_ns);
	late_end = now_ns();
	errno = before;
}

/* 0 or an errno. */
int late_open(struct late *l, uint64_t least_ns)
{
	const struct sigaction action = {.sa_handler = be_late, .sa_flags = SA_RESTART};

	l->least_ns = least_ns;
	return sigaction(SIGUSR2, &action, NULL) || pipe(l->call) || pipe(l->over) ? errno : 0;
}

/* It is so late that what was held before is next to nothing of its waiting, however busy the machine is. */
#define LATER_THAN_HELD 50

static void give_once(struct late *l, void **tstate)
{
	uint64_t got, blocked, letting, let_go;

	l->wanted = 0;
	PyEval_RestoreThread(*tstate);
	got = now_ns();
	pipe_put(l->call[1]);
	while (!l->wanted || !in_futex(l->tid))
		sleep_until(now_ns() + 50000);
	blocked = now_ns();
	late_ns = l->least_ns + LATER_THAN_HELD * (blocked - got);
	syscall(SYS_tgkill, getpid(), l->tid, SIGUSR2);
	letting = now_ns();
	*tstate = PyEval_SaveThread();
	let_go = now_ns();
	pipe_take(l->over[0]);
	l->blame_low_ns += letting - blocked;
	l->blame_high_ns += let_go - l->wanted;
	l->free_low_ns += late_end > let_go ? late_end - let_go : 0;
	l->free_high_ns += l->got - letting;
	l->rounds++;
}

/* n rounds: holds the GIL until the taker is blocked on it, has it be late, and lets go. */
void late_giver(struct late *l, int start, int end, uint64_t n)
{
	void *tstate = PyEval_SaveThread();

	be_prompt();
	gate_wait(start);
	while (l->rounds < n)
		give_once(l, &tstate);
	gate_wait(end);
	PyEval_RestoreThread(tstate);
}

void late_taker(struct late *l, int start)
{
	void *tstate = PyEval_SaveThread();

	be_prompt();
	gate_wait(start);
	for (;;) {
		pipe_take(l->call[0]);
		l->wanted = now_ns();
		PyEval_RestoreThread(tstate);
		l->got = now_ns();
		tstate = PyEval_SaveThread();
		pipe_put(l->over[1]);
	}
}

/* ---- native threads that idle on condition variables of their own --------------------------------------- */

struct idler {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t never;
	uint64_t period_ns;
	uint64_t waits;
	_Atomic int tid;
};

static struct idler idlers[IDLERS_MAX];
static int idlers_n;
static _Atomic int idlers_quit;

static void *idle(void *arg)
{
	struct idler *me = arg;

	me->tid = thread_id();
	pthread_mutex_lock(&me->lock);
	while (!idlers_quit) {
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		ts = timespec_of((uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + me->period_ns);
		pthread_cond_timedwait(&me->never, &me->lock, &ts);
		me->waits++;
	}
	pthread_mutex_unlock(&me->lock);
	return NULL;
}

/* Starts n threads and stores their ids; may be called again for more, with another period. 0 or an errno. */
int idlers_start(int n, uint64_t period_ns, int *tids)
{
	for (int i = 0; i < n; i++) {
		struct idler *it = &idlers[idlers_n];
		int err;

		if (idlers_n == IDLERS_MAX)
			return ENOSPC;
		pthread_mutex_init(&it->lock, NULL);
		pthread_cond_init(&it->never, NULL);
		it->period_ns = period_ns;
		err = pthread_create(&it->thread, NULL, idle, it);
		if (err)
			return err;
		idlers_n++;
		while (!it->tid)
			usleep(100);
		tids[i] = it->tid;
	}
	return 0;
}

/* Ends them all; returns how often they waited. */
uint64_t idlers_stop(void)
{
	uint64_t waits = 0;

	idlers_quit = 1;
	for (int i = 0; i < idlers_n; i++) {
		pthread_join(idlers[i].thread, NULL);
		waits += idlers[i].waits;
	}
	idlers_n = 0;
	idlers_quit = 0;
	return waits;
}

/* ---- garbage collection ---- */

/*
 * As gc.callbacks and weakref's callbacks want it, called with the GIL. No bytecode runs between a collection's begin or end and
 * its clock, so nobody can take the GIL there.
 */
struct garbage {
	uint64_t begun_ns, let_go_ns; /* the one that goes on; of it without the GIL */
	uint64_t total_ns, longest_ns, n;
};

void garbage_clock(struct garbage *g, void *phase, void *info);
void garbage_let_go(struct garbage *g, uint64_t ns, void *reference);

/* At a collection's begin and at its end, by turns. */
void garbage_clock(struct garbage *g, void *phase, void *info)
{
	uint64_t now = now_ns(), len;

	if (!g->begun_ns) {
		g->let_go_ns = 0;
		g->begun_ns = now;
		return;
	}
	len = now - g->begun_ns - g->let_go_ns;
	g->begun_ns = 0;
	g->total_ns += len;
	g->n++;
	if (len > g->longest_ns)
		g->longest_ns = len;
}

void garbage_let_go(struct garbage *g, uint64_t ns, void *reference)
{
	uint64_t begin = now_ns();
	void *state = PyEval_SaveThread();

	sleep_until(begin + ns);
	PyEval_RestoreThread(state);
	g->let_go_ns += now_ns() - begin;
}

/* ---- stuck: the GIL is held and not let go (stuck.py) ---------------------------------------------------- */

enum { STUCK_MUTEX, STUCK_READ, STUCK_ENDED, STUCK_NAP, STUCK_SPIN, STUCK_STOPPED };

static _Atomic int stuck_tid;

/* By the thread that holds the GIL; through PyDLL. Of the pipe one byte is read. */
void stuck_hold(int how, int pipe)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	char byte;

	stuck_tid = thread_id();
	if (how == STUCK_MUTEX) {
		pthread_mutex_lock(&mutex);
		pthread_mutex_lock(&mutex); /* for ever */
	} else if (how == STUCK_READ) {
		if (read(pipe, &byte, 1) < 0)
			abort();
	} else if (how == STUCK_ENDED) {
		syscall(SYS_exit, 0); /* of this thread alone */
	} else if (how == STUCK_STOPPED) {
		kill(getpid(), SIGSTOP);
		nap(20000000); /* it reaches this thread a moment later: it stands here then, not somewhere in its end */
	} else if (how == STUCK_NAP) {
		nap(3600 * 1000000000ull);
	} else {
		for (;;)
			atomic_signal_fence(memory_order_seq_cst);
	}
}

/* 'S', 'R' ... of a thread; 0: there is none. */
static char letter_of(int pid, int tid)
{
	char path[64], text[512], *at = NULL;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n > 0) {
		text[n] = '\0';
		at = strrchr(text, ')');
	}
	return at ? at[2] : 0;
}

static void stuck_say(int pid, int waiter)
{
	char line[96];
	int len = snprintf(line, sizeof(line), "ready %d\n{\"pid\": %d, \"holder\": %d, \"waiter\": %d}\n", (int)getpid(), pid,
			   stuck_tid, waiter);

	if (write(1, line, (size_t)len) != len)
		abort();
}

/*
 * Without the GIL: waits until the holder has it and the waiter waits for it; returns the holder's id. Then says so, waits for
 * a line, and writes a byte to the pipe.
 */
int stuck_tell(int waiter, int pipe)
{
	char byte;

	while (!stuck_tid || !in_futex(waiter))
		usleep(1000);
	usleep(20000); /* it waits, instead of having just come to */
	stuck_say((int)getpid(), waiter);
	do
		if (read(0, &byte, 1) != 1)
			_exit(0);
	while (byte != '\n');
	if (write(pipe, "x", 1) != 1)
		abort();
	return stuck_tid;
}

/*
 * Without the GIL: forks while another thread holds it. In the child (returns 0) nobody will ever let go of it. The parent
 * (returns the child's id) says so when the child waits for it.
 */
int stuck_fork(void)
{
	pid_t child;
	char byte;

	while (!stuck_tid || letter_of(getpid(), stuck_tid) != 'S')
		usleep(1000);
	child = fork();
	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (child <= 0)
		return child;
	while (letter_of(child, child) != 'S')
		usleep(1000);
	usleep(20000);
	stuck_say(child, child);
	while (read(0, &byte, 1) == 1)
		;
	kill(child, SIGKILL);
	_exit(0);
}
