/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See probe_check.h. The child runs a tiny function of this file with two threads, before and after the probes are
 * planted in it, and times itself; the parent runs it too, which must not count. Kernels before 6.10 may apply the PID
 * filter of uprobe_multi to one thread only: then the hits are too few and perf links are used.
 */
#include "probe_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "collector/process/caps.h"
#include "planter.h"
#include "probes.h"
#include "ticks.h"

#define CALLS 300        /* per thread and round */
#define STEPPED_CALLS 40
#define ROUNDS 3         /* the cheapest counts: the machine is shared */
#define CHILD_PATIENCE_MS 5000

/* A call that the kernel emulates, in a function that does nothing else; then an instruction that it must step over. */
void probe_check_emulated(void);
void probe_check_stepped(void);
extern const char probe_check_call_site[], probe_check_step_site[];

#if defined(__x86_64__)
__asm__(".pushsection .text\n"
	".globl probe_check_emulated\n.type probe_check_emulated, @function\n"
	"probe_check_emulated:\n"
	"	sub $8, %rsp\n"
	".globl probe_check_call_site\nprobe_check_call_site:\n"
	"	call 1f\n"
	"	add $8, %rsp\n"
	"1:	ret\n"
	".size probe_check_emulated, . - probe_check_emulated\n"
	".globl probe_check_stepped\n.type probe_check_stepped, @function\n"
	"probe_check_stepped:\n"
	".globl probe_check_step_site\nprobe_check_step_site:\n"
	"	mov %rsp, %rax\n"
	"	ret\n"
	".size probe_check_stepped, . - probe_check_stepped\n"
	".popsection\n");
#elif defined(__aarch64__)
__asm__(".pushsection .text\n"
	".globl probe_check_emulated\n.type probe_check_emulated, %function\n"
	"probe_check_emulated:\n"
	"	stp x29, x30, [sp, #-16]!\n"
	".globl probe_check_call_site\nprobe_check_call_site:\n"
	"	bl 1f\n"
	"	ldp x29, x30, [sp], #16\n"
	"1:	ret\n"
	".size probe_check_emulated, . - probe_check_emulated\n"
	".globl probe_check_stepped\n.type probe_check_stepped, %function\n"
	"probe_check_stepped:\n"
	".globl probe_check_step_site\nprobe_check_step_site:\n"
	"	mov x0, x1\n"
	"	ret\n"
	".size probe_check_stepped, . - probe_check_stepped\n"
	".popsection\n");
#else
#error "no rehearsal function for this architecture"
#endif

/* What the child reports of one round: the shortest time per call in ns. */
struct timing {
	double emulated_ns, stepped_ns;
};

static double seconds_between(const struct timespec *a, const struct timespec *b)
{
	return (double)(b->tv_sec - a->tv_sec) * 1e9 + (double)(b->tv_nsec - a->tv_nsec);
}

static double time_calls(void (*function)(void), int calls)
{
	double best = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct timespec begin, end;
		double each;

		clock_gettime(CLOCK_MONOTONIC, &begin);
		for (int i = 0; i < calls; i++)
			function();
		clock_gettime(CLOCK_MONOTONIC, &end);
		each = seconds_between(&begin, &end) / calls;
		if (round == 0 || each < best)
			best = each;
	}
	return best;
}

static void *second_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < CALLS; i++)
		probe_check_emulated();
	return NULL;
}

static void run_round(struct timing *timing)
{
	pthread_t thread;
	bool started = pthread_create(&thread, NULL, second_thread, NULL) == 0;

	if (started)
		pthread_join(thread, NULL);
	timing->emulated_ns = time_calls(probe_check_emulated, CALLS);
	timing->stepped_ns = time_calls(probe_check_stepped, STEPPED_CALLS);
}

/* One byte in, one timing out, twice: without and with probes. */
static void child_main(int in, int out)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int round = 0; round < 2; round++) {
		struct timing timing;
		char go;

		if (read(in, &go, 1) != 1)
			_exit(1);
		run_round(&timing);
		if (write(out, &timing, sizeof(timing)) != sizeof(timing))
			_exit(1);
	}
	_exit(0);
}

struct child {
	pid_t pid;
	int to, from;
};

static int start_child(struct child *child, void (*main)(int in, int out))
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC))
		return -errno;
	if (pipe2(from, O_CLOEXEC)) {
		close(to[0]);
		close(to[1]);
		return -errno;
	}
	child->pid = fork();
	if (child->pid == 0) {
		close(to[1]);
		main(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	child->to = to[1];
	child->from = from[0];
	return child->pid < 0 ? -errno : 0;
}

static void end_child(struct child *child)
{
	close(child->to);
	close(child->from);
	if (child->pid > 0) {
		kill(child->pid, SIGKILL);
		waitpid(child->pid, NULL, 0);
	}
}

static int ask_child(struct child *child, struct timing *ret)
{
	struct pollfd wait = {.fd = child->from, .events = POLLIN};

	if (write(child->to, "g", 1) != 1)
		return -EPIPE;
	if (poll(&wait, 1, CHILD_PATIENCE_MS) != 1)
		return -ETIMEDOUT;
	return read(child->from, ret, sizeof(*ret)) == sizeof(*ret) ? 0 : -EPIPE;
}

/* Offset in our own executable's file of a code address. */
static int own_offset(const void *address, uint64_t *ret)
{
	uint64_t start, end, offset, want = (uintptr_t)address;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int err = -ENOENT;

	if (!maps)
		return -errno;
	while (err && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &start, &end, &offset) != 3)
			continue;
		if (want >= start && want < end) {
			*ret = want - start + offset;
			err = 0;
		}
	}
	fclose(maps);
	return err;
}

static int find_sites(struct uprobe_sites *sites)
{
	uint64_t call, step;
	int err = own_offset(probe_check_call_site, &call);

	err = err ?: own_offset(probe_check_step_site, &step);
	err = err ?: uprobe_sites__add(sites, call, 0, NULL);
	return err ?: uprobe_sites__add(sites, step, 1, NULL);
}

/* What is wrong with the hits that were seen, or "". */
static const char *judge(const struct probe_check *check)
{
	const uint64_t all = (uint64_t)CALLS * (ROUNDS + 1);

	if (check->hits[2])
		return "its PID filter lets other processes through";
	if (check->hits[0] < all)
		return "its PID filter misses threads, as that of Linux before 6.10 does";
	return "";
}

static int rehearse(const struct probe_check *check, struct child *child, const struct uprobe_sites *sites,
		    struct timing *bare, struct timing *probed)
{
	struct uprobe_place place = {.image_fd = -1, .pid = child->pid};
	uint32_t link = 0;
	int err = ask_child(child, bare);

	if (err)
		return err;
	place.image_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (place.image_fd < 0)
		return -errno;
	err = planter__plant(check->planter, bpf_program__fd(check->program), &place, sites, check->multi, &link);
	if (!err) {
		probe_check_emulated(); /* must not count */
		err = ask_child(child, probed);
	}
	planter__lift(check->planter, link);
	close(place.image_fd);
	return err;
}

static void try_timer(const struct probe_check *check, pid_t pid, struct probes_features *features)
{
	int err = check->sampler ? ticks__try(bpf_program__fd(check->sampler), check->planter, pid, pid) : 0;
	bool rights = err == -EACCES || err == -EPERM;
	bool admin = planter__rights(check->planter, PLANTER_TIMER) & CAP_SYS_ADMIN_BIT;

	features->timer = check->sampler && !err;
	features->timer_needs_admin = features->timer && admin;
	features->timer_why = !err ? "" : !rights ? "the kernel has no timer of a thread's CPU time" :
			      admin ? "the kernel refuses a timer of another thread's CPU time, even with CAP_SYS_ADMIN" :
			      "the kernel refuses a timer of another thread's CPU time without CAP_SYS_ADMIN";
}

static double added(double with, double without)
{
	return with > without ? with - without : 0;
}

/* ---- with a shadow stack ---- */

/* ARCH_SHSTK_ENABLE, ARCH_SHSTK_SHSTK (arch/x86/include/uapi/asm/prctl.h); PR_SET_SHADOW_STACK_STATUS, PR_SHADOW_STACK_ENABLE. */
#ifdef __x86_64__
#define SHADOW_SYSCALL 158 /* arch_prctl */
#define SHADOW_REQUEST 0x5001
#else
#define SHADOW_SYSCALL 167 /* prctl */
#define SHADOW_REQUEST 75
#endif

/* A function that turned one on can't return: nothing of it is on the new stack. So the system call stands in the caller. */
static inline __attribute__((always_inline)) long call_kernel(long number, long first, long second)
{
#ifdef __x86_64__
	long result = number;

	__asm__ volatile("syscall" : "+a"(result) : "D"(first), "S"(second), "d"(0l) : "rcx", "r11", "memory");
	return result;
#else
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = first;
	register long x1 __asm__("x1") = second;
	register long x2 __asm__("x2") = 0, x3 __asm__("x3") = 0, x4 __asm__("x4") = 0;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
#endif
}

enum { SHADOW_CHILD_LIVED, SHADOW_CHILD_HAS_NONE };

/* `out` is closed by its end. */
static void __attribute__((noinline)) run_with_shadow_stack(int in, int out)
{
	const struct rlimit no_core = {0};
	char go;

	(void)out;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &no_core);
	if (read(in, &go, 1) != 1 || call_kernel(SHADOW_SYSCALL, SHADOW_REQUEST, 1))
		_exit(SHADOW_CHILD_HAS_NONE);
	probe_check_emulated();
	call_kernel(SYS_exit_group, SHADOW_CHILD_LIVED, 0);
	__builtin_unreachable();
}

/* Its wait status, or -1: it did not end. */
static int await_end(struct child *child)
{
	struct pollfd ended = {.fd = child->from, .events = POLLIN};
	int status;

	/* The other end of that pipe is its alone. */
	if (poll(&ended, 1, CHILD_PATIENCE_MS) != 1 || waitpid(child->pid, &status, 0) != child->pid)
		return -1;
	child->pid = -1;
	return status;
}

/* How a child ends that turns on a shadow stack and makes the call; `sites` with a probe on it, NULL: without. */
static int end_of_shadow_child(const struct probe_check *check, const struct uprobe_sites *sites)
{
	struct child child = {.pid = -1, .to = -1, .from = -1};
	struct uprobe_place place;
	uint32_t link = 0;
	int status = -1;

	if (start_child(&child, run_with_shadow_stack))
		return -1;
	place = (struct uprobe_place){.image_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), .pid = child.pid};
	if ((!sites || !planter__plant(check->planter, bpf_program__fd(check->program), &place, sites, check->multi, &link)) &&
	    write(child.to, "g", 1) == 1)
		status = await_end(&child);
	end_child(&child);
	planter__lift(check->planter, link);
	close(place.image_fd);
	return status;
}

static bool lived(int status)
{
	return status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == SHADOW_CHILD_LIVED;
}

enum shadow_fate probe_check__shadow_stack(const struct probe_check *check)
{
	struct uprobe_sites sites = {0};
	enum shadow_fate fate = SHADOW_UNKNOWN;
	int status;

	/* Where it does not live without a probe either, its end says nothing. */
	if (!find_sites(&sites) && lived(end_of_shadow_child(check, NULL))) {
		status = end_of_shadow_child(check, &sites);
		fate = lived(status) ? SHADOW_SURVIVES : status != -1 && WIFSIGNALED(status) ? SHADOW_KILLED : SHADOW_UNKNOWN;
	}
	uprobe_sites__clear(&sites);
	return fate;
}

int probe_check__run(const struct probe_check *check, struct probes_features *features)
{
	struct uprobe_sites sites = {0};
	struct timing bare, probed;
	struct child child = {.pid = -1, .to = -1, .from = -1};
	int err = find_sites(&sites);

	err = err ?: start_child(&child, child_main);
	if (!err) {
		memset((void *)check->hits, 0, 3 * sizeof(*check->hits));
		*check->tgid = (uint32_t)child.pid;
		try_timer(check, child.pid, features);
		err = rehearse(check, &child, &sites, &bare, &probed);
		end_child(&child);
	}
	uprobe_sites__clear(&sites);
	if (check->multi) {
		features->multi_why = err ? "the kernel refuses it" : judge(check);
		features->multi = !features->multi_why[0];
		if (err || !features->multi)
			return 0;
	}
	if (err)
		return err;
	if (!check->hits[0])
		return -ENODATA;
	features->price_ns = added(probed.emulated_ns, bare.emulated_ns);
	features->stepped_price_ns = added(probed.stepped_ns, bare.stepped_ns);
	return 0;
}
