/* SPDX-License-Identifier: GPL-2.0-only */
/* See pulse.h. What is read in /proc of the loop's thread asks nobody who could keep it back. */
#include "pulse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "collector/base/clock.h"

#define HEARD_NS (2 * PULSE_LOOK_MS * 1000000ull) /* of the time between two looks */

struct pulse {
	pid_t pid, tid;      /* of the thread that beats; tid 0: none does */
	uint64_t beat_ns;
	uint32_t times_begun, times_lost; /* to lift: equal unless it is being done */
	uint64_t lost_at_ns;
};

static struct pulse *shared;
static __thread bool beats_here;

/* What the planter saw when it looked last. */
static struct {
	uint64_t beat_ns, run_ns, at_ns;
	uint64_t silent_ns; /* between looks, without a beat */
	bool is_known_lost;
} seen;

int pulse__prepare(void)
{
	void *at;

	if (shared)
		return 0;
	at = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -ENOMEM;
	shared = at;
	return 0;
}

/* ---- the loop's side ---- */

void pulse__beat(void)
{
	if (shared && beats_here)
		__atomic_store_n(&shared->beat_ns, clock__mono_ns(), __ATOMIC_SEQ_CST);
}

void pulse__begin(void)
{
	if (!shared)
		return;
	beats_here = true;
	shared->pid = getpid();
	pulse__beat();
	__atomic_store_n(&shared->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
}

void pulse__end(void)
{
	if (shared && beats_here)
		__atomic_store_n(&shared->tid, 0, __ATOMIC_SEQ_CST);
	beats_here = false;
}

uint32_t pulse__times_lost(uint64_t *ret_at_ns)
{
	uint32_t n = shared ? __atomic_load_n(&shared->times_lost, __ATOMIC_SEQ_CST) : 0;

	*ret_at_ns = n ? shared->lost_at_ns : 0;
	return n;
}

bool pulse__is_lifted_since(uint32_t times)
{
	return shared && __atomic_load_n(&shared->times_begun, __ATOMIC_SEQ_CST) != times;
}

bool pulse__is_known_lost(void)
{
	uint64_t at;

	return pulse__times_lost(&at) && pulse__is_expected() && at > __atomic_load_n(&shared->beat_ns, __ATOMIC_SEQ_CST);
}

/* ---- the planter's side ---- */

bool pulse__is_expected(void)
{
	return shared && __atomic_load_n(&shared->tid, __ATOMIC_SEQ_CST) != 0;
}

/* A line of a small file in /proc; "" where there is none. */
static void read_line(const char *name, char *line, size_t size)
{
	char path[96];
	ssize_t n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)shared->pid, (int)shared->tid, name);
	f = fopen(path, "re");
	if (f) {
		n = (ssize_t)fread(line, 1, size - 1, f);
		fclose(f);
	}
	line[n > 0 ? n : 0] = '\0';
}

/* On a CPU, or waiting for one. */
static bool is_runnable(void)
{
	char stat[512], *end;

	read_line("stat", stat, sizeof(stat));
	end = strrchr(stat, ')');
	return end && end[1] == ' ' && end[2] == 'R';
}

/* Its time on CPUs so far; 0 where the kernel does not say. */
static uint64_t run_ns(void)
{
	char schedstat[128];
	uint64_t ns = 0;

	read_line("schedstat", schedstat, sizeof(schedstat));
	return sscanf(schedstat, "%" SCNu64, &ns) == 1 ? ns : 0;
}

/*
 * What passes between two looks counts as silence only as far as we were there to hear. A machine that stood still itself (a
 * virtual one that its host lets wait, or moves) is no sign: our timer and the loop's are both late, and we may be the first to
 * run.
 */
static void listen(uint64_t now_ns, bool is_new)
{
	uint64_t passed = now_ns - seen.at_ns;

	if (is_new)
		seen.silent_ns = 0;
	else
		seen.silent_ns += passed < HEARD_NS ? passed : HEARD_NS;
	seen.at_ns = now_ns;
}

bool pulse__is_lost(uint64_t now_ns)
{
	uint64_t beat = __atomic_load_n(&shared->beat_ns, __ATOMIC_SEQ_CST), ran = run_ns();
	bool has_run = ran != seen.run_ns, is_new = beat != seen.beat_ns, lost;

	listen(now_ns, is_new);
	seen.beat_ns = beat;
	seen.run_ns = ran;
	if (is_new)
		seen.is_known_lost = false;
	if (is_new || seen.is_known_lost || seen.silent_ns < PULSE_SILENCE_NS)
		return false;
	lost = (!has_run && !is_runnable()) || seen.silent_ns > PULSE_BUSY_NS;
	seen.is_known_lost = lost;
	return lost;
}

void pulse__note_lifting(void)
{
	__atomic_add_fetch(&shared->times_begun, 1, __ATOMIC_SEQ_CST);
}

void pulse__note_lost(uint64_t now_ns)
{
	shared->lost_at_ns = now_ns;
	__atomic_add_fetch(&shared->times_lost, 1, __ATOMIC_SEQ_CST);
}
