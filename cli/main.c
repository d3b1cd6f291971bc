/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope: the options in front of the verb, and the table of verbs. What a verb does is in cmd_<verb>.c; what its
 * options mean is in options.c.
 */
#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "collector/base/log.h"
#include "collector/probes/planter.h"
#include "collector/process/errand.h"
#include "collector/redis/store.h"
#include "collector/target/spawn.h"
#include "args.h"
#include "cmds.h"
#include "out.h"
#include "secrets.h"
#include "suggest.h"

#ifndef GILSCOPE_VERSION
#define GILSCOPE_VERSION "unknown"
#endif

static const struct verb *const verbs[] = {
	&verb_attach,
	&verb_run,
	&verb_top,
	&verb_ls,
	&verb_doctor,
	&verb_report,
	&verb_dump,
	&verb_query,
	&verb_events,
	&verb_trace,
	&verb_flame,
	&verb_compare,
	&verb_mark,
	&verb_store,
	&verb_daemon,
	&verb_status,
};

#define VERBS_N (sizeof(verbs) / sizeof(verbs[0]))

static int help(void)
{
	puts("usage: gilscope [-v] VERB [options]\n");
	options__wrap(stdout, "gilscope attaches to a running Python process without modifying it, and measures exactly which "
		      "threads hold the GIL (the lock that lets only one thread at a time run Python code) and which wait for "
		      "it. It shows them live and keeps a history in Redis.", 0, 0);
	puts("\nverbs:");
	for (size_t i = 0; i < VERBS_N; i++)
		printf("  %-8s  %s\n", verbs[i]->name, verbs[i]->summary);
	puts("\noptions:\n"
	     "  -v, --verbose  explain decisions; twice: in more detail\n"
	     "  -V, --version  show the version\n"
	     "  -h, --help     show this help; gilscope VERB --help shows a verb's options\n\n"
	     "start here:\n"
	     "  gilscope ls                          list the Python processes on this machine\n"
	     "  sudo gilscope attach PID             observe one until Ctrl-C\n"
	     "  sudo gilscope doctor PID             check whether it can be observed, and why");
	return EXIT_OK;
}

static int version(void)
{
	puts("gilscope " GILSCOPE_VERSION);
	return EXIT_OK;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < VERBS_N; i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

static int no_such_verb(const char *name)
{
	const char *names[VERBS_N], *near;
	struct reason why;
	pid_t pid;

	for (size_t i = 0; i < VERBS_N; i++)
		names[i] = verbs[i]->name;
	near = suggest__word(name, names, VERBS_N);
	if (args__pid(name, &pid, &why) == 0)
		log_error("what about process %d? (gilscope attach %d, or gilscope --help)", (int)pid, (int)pid);
	else if (near)
		log_error("there is no verb '%s', did you mean 'gilscope %s'?", name, near);
	else
		log_error("there is no verb '%s' (gilscope --help names them)", name);
	return EXIT_USAGE;
}

static int no_such_option(const char *name)
{
	log_error("there is no option %s in front of the verb (gilscope --help names them)", name);
	return EXIT_USAGE;
}

/* Takes the options in front of the verb. -1: go on with argv[*ret_at]; else the exit status. */
static int global_options(int argc, char **argv, int *ret_at)
{
	int i;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		const char *arg = argv[i];

		if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0)
			return help();
		if (strcmp(arg, "-V") == 0 || strcmp(arg, "--version") == 0)
			return version();
		if (strcmp(arg, "-vv") == 0)
			log__set_level(LOG_DEBUG);
		else if (strcmp(arg, "-v") == 0 || strcmp(arg, "--verbose") == 0)
			log__set_level(log__level() < LOG_VERBOSE ? LOG_VERBOSE : LOG_DEBUG);
		else
			return no_such_option(arg);
	}
	*ret_at = i;
	return -1;
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
	int usage = verb->usage_status ? verb->usage_status : EXIT_USAGE;
	struct options o;
	struct reason why = {0};
	int first = argc;

	options__init(&o);
	if (options__parse(verb, argc, argv, &o, &first, &why))
		return options__fail(verb, usage, &why);
	if (o.help) {
		options__help(verb, stdout);
		return EXIT_OK;
	}
	if (verb->reads_processes && errand__prepare())
		log_verbose("processes are read by gilscope itself: no other can be started for that");
	return verb->run(verb, &o, argc - first, argv + first);
}

/* A reader that went away (| head) is no failure; a full disk is. */
static int finish(int status)
{
	struct reason why;

	if (!out__flush(stdout, "standard output", &why) || status != EXIT_OK)
		return status;
	log_error("%s", why.text);
	return EXIT_FAILED;
}

/* Large tables go back to the system when they are freed. Left alone, glibc keeps them in a heap full of holes. */
static void keep_heap_small(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
}

int main(int argc, char **argv)
{
	const struct verb *verb;
	int at = 1, status;

	spawn__remember_signals();
	argv = secrets__hide(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	keep_heap_small();
	status = global_options(argc, argv, &at);
	if (status >= 0)
		return finish(status);
	if (at == argc) {
		log_error("which verb? (gilscope --help names them)");
		return EXIT_USAGE;
	}
	verb = find_verb(argv[at]);
	if (!verb)
		return no_such_verb(argv[at]);
	status = run_verb(verb, argc - at, argv + at);
	planter__dismiss();
	errand__dismiss();
	store__dismiss();
	return finish(status);
}
