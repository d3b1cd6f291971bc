/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * usage: static-python SCRIPT N [THREADS]
 *
 * CPython and the C library linked into one program, which imports nothing: an interpreter whose calls of pthread_cond_* go
 * through no PLT. It can load no ctypes, so it is a workload by itself: SCRIPT is not read, and each thread does what
 * release_loop.py --call cycle does (same talk, same truth: N + 1 acquires per thread between the gates, none forced).
 */
#include <Python.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 32
#define START 0
#define END 1

/* Of gilwork.c, linked in as well. */
void gate_open(int gate);
void gate_watch(int gate, int n);
void cycle(int start, int end, uint64_t n);
int thread_id(void);
uint64_t now_ns(void);

static uint64_t cycles;
static int tids[THREADS_MAX];

static void *loop(void *arg)
{
	PyGILState_STATE state = PyGILState_Ensure();

	tids[(intptr_t)arg] = thread_id();
	cycle(START, END, cycles);
	PyGILState_Release(state);
	return NULL;
}

/* Waits for a line from the observer; `quit` and the end of input end the program. */
static void expect(const char *word)
{
	char line[64];

	if (!fgets(line, sizeof(line), stdin) || strncmp(line, word, strlen(word)) != 0)
		_exit(strncmp(line, "quit", 4) == 0 ? 0 : 1);
}

static void say_truth(int n, uint64_t begin, uint64_t end)
{
	printf("{\"pid\": %d, \"begin_ns\": %llu, \"end_ns\": %llu, \"threads\": [", (int)getpid(),
	       (unsigned long long)begin, (unsigned long long)end);
	for (int i = 0; i < n; i++)
		printf("%s{\"tid\": %d, \"name\": \"loop-%d\", \"acquires\": %llu, \"forced\": 0}", i ? ", " : "", tids[i], i,
		       (unsigned long long)cycles + 1);
	printf("]}\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int n = argc > 3 ? atoi(argv[3]) : 1;
	uint64_t begin;

	if (argc < 3 || n < 1 || n > THREADS_MAX)
		return 2;
	cycles = strtoull(argv[2], NULL, 10);
	Py_Initialize();
	PyRun_SimpleString("import sys; sys.setswitchinterval(1000)");
	PyEval_SaveThread();
	for (int i = 0; i < n; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, loop, (void *)(intptr_t)i) != 0)
			return 1;
	}
	gate_watch(START, n);
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	expect("go");
	begin = now_ns();
	gate_open(START);
	gate_watch(END, n);
	say_truth(n, begin, now_ns());
	expect("quit");
	_exit(0);
}
