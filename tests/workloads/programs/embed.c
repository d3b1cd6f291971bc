/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * usage: embed N THREADS [late]
 *
 * A C program with a Python inside: it starts the interpreter, and threads of its own that Python never heard of take the GIL
 * with PyGILState_Ensure() and release it N times each. It talks as workload.py says; truth: N + 1 acquires per thread between
 * the gates. Built against the shared and against the static libpython.
 *
 * late: it is ready before it starts its interpreter, as a server is that does so with its first request. Truth: one acquire
 * more per thread, by which it takes the GIL for the first time.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>

void gate_open(int gate);
void gate_watch(int gate, int n);
void cycle(int start, int end, uint64_t n);
void name_thread(const char *name);
uint64_t now_ns(void);
int thread_id(void);

#define START 0
#define END 1
#define THREADS_MAX 16

static uint64_t calls;
static int late;
static int tids[THREADS_MAX];

static void *teller(void *arg)
{
	int index = (int)(intptr_t)arg;
	char name[16];
	PyGILState_STATE state;

	snprintf(name, sizeof(name), "teller-%d", index);
	name_thread(name);
	tids[index] = thread_id();
	state = PyGILState_Ensure();
	cycle(START, END, calls);
	PyGILState_Release(state);
	return NULL;
}

static void expect(const char *word)
{
	char line[64];

	if (!fgets(line, sizeof(line), stdin) || strcmp(line, word) != 0)
		_exit(0);
}

static void report(uint64_t begin, int threads)
{
	printf("{\"pid\": %d, \"begin_ns\": %llu, \"end_ns\": %llu, \"threads\": [", (int)getpid(),
	       (unsigned long long)begin, (unsigned long long)now_ns());
	for (int i = 0; i < threads; i++)
		printf("%s{\"tid\": %d, \"name\": \"teller-%d\", \"acquires\": %llu, \"forced\": 0}", i ? ", " : "", tids[i], i,
		       (unsigned long long)calls + 1 + late);
	printf("]}\n");
	fflush(stdout);
}

/* Ready as soon as everything waits for `go`. */
static void be_ready(void)
{
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	expect("go\n");
}

static void start(int threads)
{
	pthread_t thread;

	Py_InitializeEx(0);
	if (PyRun_SimpleString("import sys; sys.setswitchinterval(1000)") || threads > THREADS_MAX)
		_exit(1);
	PyEval_SaveThread();
	for (intptr_t i = 0; i < threads; i++)
		pthread_create(&thread, NULL, teller, (void *)i);
	gate_watch(START, threads);
}

int main(int argc, char **argv)
{
	int threads = argc > 2 ? atoi(argv[2]) : 1;
	uint64_t begin;

	calls = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
	late = argc > 3 && strcmp(argv[3], "late") == 0;
	if (late)
		be_ready();
	start(threads);
	if (!late)
		be_ready();
	begin = now_ns();
	gate_open(START);
	gate_watch(END, threads);
	report(begin, threads);
	expect("quit\n");
	_exit(0);
}
