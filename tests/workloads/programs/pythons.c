/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * usage: pythons FILE...
 *
 * A C program that loads several Pythons, each libpython as one of its own (`own:FILE`: in a link-map namespace of its own), and
 * starts none. It says `ready PID`, then obeys, one line each, saying `done` after it:
 *
 *     start N THREADS   starts the N-th Python (0, 1 ...) with so many threads that compute, named pN-0, pN-1 ...
 *     idle N            starts it with nothing to do
 *     end N             ends it
 *     load FILE         loads one more
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PYTHONS_MAX 8

/* The public C API, the same since 3.2. */
struct python {
	void (*initialize)(int handlers);
	int (*run)(const char *code);
	void *(*let_go)(void);
	void (*take)(void *tstate);
	int (*finalize)(void);
	void *tstate;
	pthread_t thread;
	int number, threads;
};

static struct python pythons[PYTHONS_MAX];
static int loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static enum { NOTHING, START, END } wanted[PYTHONS_MAX];

static void die(const char *what)
{
	fprintf(stderr, "pythons: %s\n", what);
	_exit(1);
}

static void *must_find(void *library, const char *name)
{
	void *found = dlsym(library, name);

	if (!found)
		die(dlerror());
	return found;
}

static void start(struct python *p)
{
	char code[512];

	p->initialize(0);
	snprintf(code, sizeof(code),
		 "import threading\n"
		 "def compute():\n"
		 "    while True: sum(range(1000))\n"
		 "for i in range(%d): threading.Thread(target=compute, name='p%d-%%d' %% i, daemon=True).start()\n",
		 p->threads, p->number);
	if (p->run(code))
		die("it does not run");
	p->tstate = p->let_go();
}

/* Each Python has a thread that starts and ends it. */
static void *serve(void *arg)
{
	struct python *p = arg;

	for (;;) {
		pthread_mutex_lock(&lock);
		while (wanted[p->number] == NOTHING)
			pthread_cond_wait(&changed, &lock);
		pthread_mutex_unlock(&lock);
		if (wanted[p->number] == START) {
			start(p);
		} else {
			p->take(p->tstate);
			p->finalize();
		}
		pthread_mutex_lock(&lock);
		wanted[p->number] = NOTHING;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void load(const char *file)
{
	int (*make_thread)(pthread_t *ret, const pthread_attr_t *how, void *(*start)(void *arg), void *arg);
	struct python *p = &pythons[loaded];
	void *library = strncmp(file, "own:", 4) == 0 ? dlmopen(LM_ID_NEWLM, file + 4, RTLD_NOW | RTLD_LOCAL) :
							dlopen(file, RTLD_NOW | RTLD_LOCAL);

	if (!library || loaded == PYTHONS_MAX)
		die(library ? "too many" : dlerror());
	*(void **)&p->initialize = must_find(library, "Py_InitializeEx");
	*(void **)&p->run = must_find(library, "PyRun_SimpleString");
	*(void **)&p->let_go = must_find(library, "PyEval_SaveThread");
	*(void **)&p->take = must_find(library, "PyEval_RestoreThread");
	*(void **)&p->finalize = must_find(library, "Py_FinalizeEx");
	/* That of the C library that it has: another's threads know nothing of its thread-local variables. */
	*(void **)&make_thread = must_find(library, "pthread_create");
	p->number = loaded++;
	if (make_thread(&p->thread, NULL, serve, p))
		die("no thread");
}

static void want(int number, int what)
{
	if (number < 0 || number >= loaded)
		die("no such Python");
	pthread_mutex_lock(&lock);
	wanted[number] = what;
	pthread_cond_broadcast(&changed);
	while (wanted[number] != NOTHING)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void obey(char *line)
{
	int number = 0, threads = 0;

	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "load ", 5) == 0) {
		load(line + 5);
	} else if (sscanf(line, "start %d %d", &number, &threads) == 2 || sscanf(line, "idle %d", &number) == 1) {
		pythons[number].threads = threads;
		want(number, START);
	} else if (sscanf(line, "end %d", &number) == 1) {
		want(number, END);
	} else {
		_exit(0);
	}
}

int main(int argc, char **argv)
{
	char line[4096];

	for (int i = 1; i < argc; i++)
		load(argv[i]);
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		obey(line);
		puts("done");
		fflush(stdout);
	}
	_exit(0);
}
