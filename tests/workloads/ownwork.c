/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sub-interpreters with threads in C, with a GIL of their own or sharing the main one (3.12 and later).
 *
 * All functions are called through ctypes.PyDLL in a thread of the main interpreter, which keeps its GIL around them; on
 * the way they go into the other interpreter and come back. The threads do what cycle() of gilwork.c does, whose gates
 * and counts apply: gilwork's library must be loaded before, with RTLD_GLOBAL. No bytecode runs in them, so that nobody
 * is ever forced to let go.
 *
 * No Python header is needed; what is declared here is the public C API since 3.12 (Include/cpython/pylifecycle.h).
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

struct interp_config { /* PyInterpreterConfig */
	int use_main_obmalloc, allow_fork, allow_exec, allow_threads, allow_daemon_threads;
	int check_multi_interp_extensions, gil;
};

struct status { /* PyStatus */
	int type;
	const char *func, *err_msg;
	int exitcode;
};

enum { GIL_SHARED = 1,
       GIL_OWN = 2 };

/* Weak: older interpreters, where nobody calls us, lack some of them. */
extern struct status Py_NewInterpreterFromConfig(void **ret, const struct interp_config *config) __attribute__((weak));
extern void Py_EndInterpreter(void *tstate) __attribute__((weak));
extern void *PyThreadState_Get(void);
extern void *PyThreadState_Swap(void *tstate);
extern void *PyThreadState_GetInterpreter(void *tstate) __attribute__((weak));
extern int64_t PyInterpreterState_GetID(void *interp) __attribute__((weak));
extern void *PyThreadState_New(void *interp);
extern void PyThreadState_Clear(void *tstate);
extern void PyThreadState_DeleteCurrent(void);
extern void PyEval_RestoreThread(void *tstate);

extern int thread_id(void);
extern void name_thread(const char *name);
extern void gate_wait(int gate);
extern void cycle_holding(int start, int end, uint64_t n, uint64_t hold_ns);

struct member {
	pthread_t thread;
	void *interp;
	int start, end;
	uint64_t n, hold_ns;
	_Atomic int tid;
};

void *interp_new(int own, int strict, int64_t *id);
void interp_end(void *tstate);
void memory_fill(void);
void members_start(void *tstate, struct member *members, int n);
void members_join(struct member *members, int n);

/* Its first thread state, in which nothing runs; NULL: refused. `strict`: a free-threaded build, which shares less. */
void *interp_new(int own, int strict, int64_t *id)
{
	const struct interp_config config = {
		.use_main_obmalloc = !own,
		.allow_threads = 1,
		.check_multi_interp_extensions = own || strict,
		.gil = own ? GIL_OWN : GIL_SHARED,
	};
	void *here = PyThreadState_Get(), *tstate = NULL;
	struct status status = Py_NewInterpreterFromConfig(&tstate, &config);

	if (status.type != 0)
		return NULL;
	*id = PyInterpreterState_GetID(PyThreadState_GetInterpreter(tstate));
	PyThreadState_Swap(here);
	return tstate;
}

/* Its threads must have been joined. */
void interp_end(void *tstate)
{
	void *here = PyThreadState_Swap(tstate);

	Py_EndInterpreter(tstate);
	PyThreadState_Swap(here);
}

static void *volatile fillings[64]; /* so that no compiler leaves them out */

/* Takes what an ended interpreter left, so that the next one stands elsewhere. Never touched, never freed. */
void memory_fill(void)
{
	for (int i = 0; i < 64; i++)
		fillings[i] = malloc(48 * 1024);
}

/* hold_ns 0: as fast as can be. */
static void *live(void *arg)
{
	struct member *m = arg;
	void *tstate = PyThreadState_New(m->interp);

	m->tid = thread_id();
	name_thread("member");
	PyEval_RestoreThread(tstate);
	cycle_holding(m->start, m->end, m->n, m->hold_ns);
	PyThreadState_Clear(tstate);
	PyThreadState_DeleteCurrent();
	return NULL;
}

/* Starts n threads in the interpreter of `tstate`; they come to their start gate by themselves. */
void members_start(void *tstate, struct member *members, int n)
{
	for (int i = 0; i < n; i++) {
		members[i].interp = PyThreadState_GetInterpreter(tstate);
		pthread_create(&members[i].thread, NULL, live, &members[i]);
		while (!members[i].tid)
			usleep(100);
	}
}

/* To be called without the GIL, when their end gate is open. */
void members_join(struct member *members, int n)
{
	for (int i = 0; i < n; i++)
		pthread_join(members[i].thread, NULL);
}
