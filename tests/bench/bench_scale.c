/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What gilscope needs for many processes: a family of 200 with 32 threads each, that take the GIL rarely or often, with and
 * without a history. CPU time and memory are those of gilscope's own process, out of /proc; the limits are 5 % of a core and
 * 100 MB. How long it takes until all are observed, and to let go of all, stands beside.
 *
 * usage: bench_scale [PROCESSES [THREADS [SECONDS]]]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../support/interpreters.h"
#include "../support/private_redis.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define CPU_LIMIT 5.0
#define MB_LIMIT 100.0
#define SETTLE_S 12 /* the windows of ten seconds are full then */

struct usage {
	double cpu_s, rss_mb, anonymous_mb;
};

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void read_cpu(pid_t pid, struct usage *ret)
{
	unsigned long user = 0, system = 0;
	char path[32], text[1024] = "";
	const char *end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f && fgets(text, sizeof(text), f) && (end = strrchr(text, ')')) &&
	    sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
		ret->cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
	if (f)
		fclose(f);
}

static void read_memory(pid_t pid, struct usage *ret)
{
	char path[32], line[128];
	double kib;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmRSS: %lf", &kib) == 1)
			ret->rss_mb = kib / 1024;
		if (sscanf(line, "RssAnon: %lf", &kib) == 1)
			ret->anonymous_mb = kib / 1024;
	}
	if (f)
		fclose(f);
}

static struct usage usage_of(pid_t pid)
{
	struct usage ret = {0};

	read_cpu(pid, &ret);
	read_memory(pid, &ret);
	return ret;
}

static int count_of(const struct tool *t, const char *what)
{
	char *text = tool__stderr(t);
	int n = 0;

	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	free(text);
	return n;
}

static double await_all(const struct tool *t, int processes, double begin)
{
	while (count_of(t, "armed in") < processes && now_s() - begin < 120)
		usleep(20000);
	return now_s() - begin;
}

static void measure(int processes, int threads, int nap_ms, int seconds, const char *redis)
{
	struct interpreter stock;
	struct usage before, after;
	struct workload w;
	struct tool t;
	char words[320];
	double begin, armed_s, lift_s;

	interpreter__stock(&stock);
	snprintf(words, sizeof(words), "family.py serve %d %d %d", processes - 1, threads, nap_ms);
	workload__start(&w, &stock, words);
	sleep(3); /* their threads begin */
	begin = now_s();
	snprintf(words, sizeof(words), "attach %d --children -v --mode full --output /dev/null %s %s", (int)w.pid,
		 redis ? "--redis" : "--no-store", redis ? redis : "");
	tool__start(&t, words);
	armed_s = await_all(&t, processes, begin);
	sleep(SETTLE_S);
	before = usage_of(t.pid);
	begin = now_s();
	sleep((unsigned int)seconds);
	after = usage_of(t.pid);
	printf("  %d acquires/s, %-10s %5.1f %% of a core (limit %.0f), %6.1f MB (limit %.0f), of them %.1f MB its own",
	       processes * threads * 1000 / nap_ms, redis ? "history:" : "no store:",
	       100 * (after.cpu_s - before.cpu_s) / (now_s() - begin), CPU_LIMIT, after.rss_mb, MB_LIMIT, after.anonymous_mb);
	begin = now_s();
	kill(t.pid, SIGINT);
	tool__wait(&t, 60);
	lift_s = now_s() - begin;
	printf("; all observed after %.1f s, let go of in %.1f s\n", armed_s, lift_s);
	tool__clear(&t);
	workload__kill(&w);
}

int main(int argc, char **argv)
{
	int processes = argc > 1 ? atoi(argv[1]) : 200, threads = argc > 2 ? atoi(argv[2]) : 32;
	int seconds = argc > 3 ? atoi(argv[3]) : 20;
	static const int naps_ms[] = {5000, 2000}; /* the latter is about a core of work */
	struct private_redis redis;

	if (processes < 2 || processes > 256 || threads < 1 || threads > 256 || seconds < 1) {
		fprintf(stderr, "usage: bench_scale [PROCESSES (2..256) [THREADS (1..256) [SECONDS]]]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%d processes of %d threads:\n", processes, threads);
	for (size_t i = 0; i < sizeof(naps_ms) / sizeof(naps_ms[0]); i++) {
		measure(processes, threads, naps_ms[i], seconds, NULL);
		private_redis__init(&redis, false);
		private_redis__start(&redis, true, NULL);
		measure(processes, threads, naps_ms[i], seconds, redis.url);
		private_redis__fini(&redis);
	}
	return 0;
}
