/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * usage: toy-python SCRIPT N [THREADS [lawless]]
 *
 * What CPython 3.11 looks like to somebody who reads its file and its memory, and how it takes and drops its GIL, without
 * the rest: for C libraries that no Python here is linked with (musl). SCRIPT is not read; each thread acquires N + 1 times
 * between the gates, as in static_python.c (same talk, same truth).
 *
 * lawless: all threads make the calls of a GIL at once, without any lock. No CPython does; a program that is out to harm its
 * observer may.
 *
 * Of 3.11's structures only what gilscope's table has of them is there (collector/cpython/pyoffsets.inc): the runtime's list of
 * interpreters and its GIL, the interpreter's list of threads, and their way back.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 32
#define INTERVAL_US 1000000000ull

struct tstate {
	void *prev;
	struct tstate *next;
	void *interp;
	char rest[336];
};

struct interp {
	struct interp *next;
	void *unused;
	struct tstate *threads;
	char more[24];
	int64_t id;
	char rest[4096];
};

struct gil {
	unsigned long interval;
	struct tstate *last_holder;
	int locked;
	unsigned long switch_number;
	pthread_cond_t cond;
	pthread_mutex_t mutex;
	pthread_cond_t switch_cond;
	pthread_mutex_t switch_mutex;
};

struct runtime {
	char head[40];
	struct interp *interpreters, *main;
	char more[360 - 56];
	struct gil gil;
	char rest[166688 - 360 - sizeof(struct gil)];
};

_Static_assert(sizeof(pthread_cond_t) == 48 && sizeof(pthread_mutex_t) == 40, "another layout of the GIL");
_Static_assert(sizeof(struct runtime) == 166688, "another size");

__attribute__((used)) const unsigned long Py_Version = 0x030b02f0;
__attribute__((used, section(".PyRuntime"))) struct runtime _PyRuntime = {
	.gil = {.interval = INTERVAL_US, .cond = PTHREAD_COND_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER,
		.switch_cond = PTHREAD_COND_INITIALIZER, .switch_mutex = PTHREAD_MUTEX_INITIALIZER},
};

static struct interp interp;
static struct tstate tstates[THREADS_MAX + 1];

/* ---- the GIL ------------------------------------------------------------------------------------------ */

static int lawless;

static void lock(pthread_mutex_t *mutex)
{
	if (!lawless)
		pthread_mutex_lock(mutex);
}

static void unlock(pthread_mutex_t *mutex)
{
	if (!lawless)
		pthread_mutex_unlock(mutex);
}

static struct timespec in_an_interval(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += INTERVAL_US / 1000000;
	return ts;
}

/* Waits until somebody lets go; the lawless look away for a moment, with a lock of their own. */
static void await_release(struct gil *gil)
{
	pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER, *mutex = lawless ? &own : &gil->mutex;
	struct timespec ts = {0};

	if (lawless)
		pthread_mutex_lock(&own);
	else
		ts = in_an_interval();
	pthread_cond_timedwait(&gil->cond, mutex, &ts);
	if (lawless)
		pthread_mutex_unlock(&own);
}

__attribute__((noinline)) static void take_gil(struct tstate *t)
{
	struct gil *gil = &_PyRuntime.gil;

	lock(&gil->mutex);
	while (gil->locked) {
		await_release(gil);
		if (lawless)
			break;
	}
	lock(&gil->switch_mutex);
	gil->locked = 1;
	gil->last_holder = t;
	gil->switch_number++;
	pthread_cond_signal(&gil->switch_cond);
	unlock(&gil->switch_mutex);
	unlock(&gil->mutex);
}

__attribute__((noinline)) static void drop_gil(struct tstate *t, int forced)
{
	struct gil *gil = &_PyRuntime.gil;

	lock(&gil->mutex);
	gil->last_holder = t;
	gil->locked = 0;
	pthread_cond_signal(&gil->cond);
	unlock(&gil->mutex);
	if (!forced)
		return;
	pthread_mutex_lock(&gil->switch_mutex);
	if (gil->last_holder == t)
		pthread_cond_wait(&gil->switch_cond, &gil->switch_mutex);
	pthread_mutex_unlock(&gil->switch_mutex);
}

/* ---- threads, between two gates ------------------------------------------------------------------------- */

static pthread_barrier_t start, end, never;
static uint64_t cycles;
static volatile int forced;
static int tids[THREADS_MAX];

static void *loop(void *arg)
{
	intptr_t index = (intptr_t)arg;
	struct tstate *t = &tstates[index + 1];

	tids[index] = (int)syscall(SYS_gettid);
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&start);
	take_gil(t);
	for (uint64_t i = 0; i < cycles; i++) {
		drop_gil(t, forced);
		take_gil(t);
	}
	drop_gil(t, forced);
	pthread_barrier_wait(&end);
	pthread_barrier_wait(&never);
	return NULL;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void begin_interpreter(int threads)
{
	_PyRuntime.interpreters = _PyRuntime.main = &interp;
	for (int i = 0; i <= threads; i++) {
		tstates[i].interp = &interp;
		tstates[i].next = interp.threads;
		interp.threads = &tstates[i];
	}
	take_gil(&tstates[0]);
	drop_gil(&tstates[0], 0);
}

/* Waits for a line from the observer; `quit` and the end of input end the program. */
static void expect(const char *word)
{
	char line[64];

	if (!fgets(line, sizeof(line), stdin) || strncmp(line, word, strlen(word)) != 0)
		_exit(strncmp(line, "quit", 4) == 0 ? 0 : 1);
}

int main(int argc, char **argv)
{
	int n = argc > 3 ? atoi(argv[3]) : 1;
	uint64_t began;
	pthread_t thread;

	cycles = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
	if (n < 1 || n > THREADS_MAX)
		return 2;
	lawless = argc > 4 && strcmp(argv[4], "lawless") == 0;
	pthread_barrier_init(&start, NULL, (unsigned int)n + 1);
	pthread_barrier_init(&end, NULL, (unsigned int)n + 1);
	pthread_barrier_init(&never, NULL, (unsigned int)n + 1);
	begin_interpreter(n);
	for (intptr_t i = 0; i < n; i++)
		pthread_create(&thread, NULL, loop, (void *)i);
	pthread_barrier_wait(&start);
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	expect("go");
	began = now_ns();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&end);
	printf("{\"pid\": %d, \"begin_ns\": %llu, \"end_ns\": %llu, \"threads\": [", (int)getpid(), (unsigned long long)began,
	       (unsigned long long)now_ns());
	for (int i = 0; i < n; i++)
		printf("%s{\"tid\": %d, \"acquires\": %llu, \"forced\": 0}", i ? ", " : "", tids[i],
		       (unsigned long long)cycles + 1);
	printf("]}\n");
	fflush(stdout);
	expect("quit");
	_exit(0);
}
