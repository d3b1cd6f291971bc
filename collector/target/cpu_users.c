/* SPDX-License-Identifier: GPL-2.0-only */
/* See cpu_users.h. */
#include "cpu_users.h"

#include <dirent.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/text.h"
#include "collector/process/procmaps.h"
#include "collector/process/procstat.h"

#define PROCESSES_MAX 8192
#define TEXT_MAX (1u << 20)
#define SHOWN 3      /* others, by name */
#define SAID 0.02    /* of the time of those CPUs: less is not worth a word */
#define LINKS_MAX 64 /* from a process up to the target */

struct user {
	pid_t pid, parent;
	uint64_t start, ticks, reaped;
	int cpu;
	char name[32];
};

/* One look. */
struct sight {
	uint64_t at_ns, busy_ticks, stolen_ticks; /* the latter two of the CPUs in question */
	struct user *users;
	size_t users_n;
	double throttled_us;
};

struct cpu_users {
	pid_t pid;
	cpu_set_t set;
	char group[512]; /* the directory of the cgroup with the lowest limit; "": there is none */
	double limit;    /* in CPUs */
	struct sight before;
};

/* ---- the limit ---- */

double cpu_users__limit(const char *text)
{
	double quota, period;

	return sscanf(text, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0 ? quota / period : 0;
}

double cpu_users__throttled_us(const char *text)
{
	const char *at = strstr(text, "throttled_usec ");

	return at ? strtod(at + strlen("throttled_usec "), NULL) : 0;
}

/* The text of a file of that directory; NULL: there is none. Caller frees. */
static char *read_text(const char *dir, const char *file)
{
	char path[600], *text;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	if (procmaps__slurp(path, TEXT_MAX, &text, &len) != 0)
		return NULL;
	text[len > 0 ? len - 1 : 0] = '\0';
	return text;
}

static double limit_of(const char *dir)
{
	char *text = read_text(dir, "cpu.max");
	double limit = text ? cpu_users__limit(text) : 0;

	free(text);
	return limit;
}

/* From the process's group up to the root: the lowest limit counts. Version 2 only. */
static void find_limit(struct cpu_users *u)
{
	static const char root[] = "/sys/fs/cgroup";
	char proc[32], dir[512], *text, *path;

	snprintf(proc, sizeof(proc), "/proc/%d", (int)u->pid);
	text = read_text(proc, "cgroup");
	path = text ? strstr(text, "0::/") : NULL;
	if (path) {
		path += strlen("0::");
		snprintf(dir, sizeof(dir), "%s%.*s", root, (int)strcspn(path, "\n"), path);
	}
	while (path && strlen(dir) > strlen(root)) {
		double limit = limit_of(dir);

		if (limit > 0 && (!u->group[0] || limit < u->limit)) {
			u->limit = limit;
			memcpy(u->group, dir, sizeof(u->group));
		}
		*strrchr(dir, '/') = '\0';
	}
	free(text);
}

static double throttled_now(const struct cpu_users *u)
{
	char *text = u->group[0] ? read_text(u->group, "cpu.stat") : NULL;
	double us = text ? cpu_users__throttled_us(text) : 0;

	free(text);
	return us;
}

/* ---- a look ---- */

static void add_user(struct sight *s, pid_t pid)
{
	struct procstat fields;
	struct user *u = &s->users[s->users_n];

	if (procstat__read(pid, 0, &fields) != 0)
		return;
	*u = (struct user){
		.pid = pid, .parent = fields.parent, .start = fields.start_ticks, .ticks = fields.cpu_ticks,
		.reaped = fields.reaped_ticks, .cpu = fields.cpu,
	};
	text__clean(u->name, sizeof(u->name), fields.comm, strlen(fields.comm));
	s->users_n++;
}

static void read_users(struct sight *s)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && s->users_n < PROCESSES_MAX && (entry = readdir(dir)))
		if (procstat__id(entry->d_name) > 0)
			add_user(s, procstat__id(entry->d_name));
	if (dir)
		closedir(dir);
}

/* Lines "cpu3 user nice system idle iowait irq softirq steal ...", proc_stat(5). */
static void read_cpus(const cpu_set_t *set, struct sight *s)
{
	char *text = read_text("/proc", "stat"), *line = text;

	for (; line && strncmp(line, "cpu", 3) == 0; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		unsigned long long t[8];
		unsigned int cpu;

		if (sscanf(line, "cpu%u %llu %llu %llu %llu %llu %llu %llu %llu", &cpu, &t[0], &t[1], &t[2], &t[3], &t[4], &t[5],
			   &t[6], &t[7]) != 9 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, set))
			continue;
		s->busy_ticks += t[0] + t[1] + t[2] + t[5] + t[6];
		s->stolen_ticks += t[7];
	}
	free(text);
}

static bool take_sight(const struct cpu_users *u, struct sight *s)
{
	*s = (struct sight){.at_ns = clock__mono_ns(), .users = calloc(PROCESSES_MAX, sizeof(*s->users))};
	if (!s->users)
		return false;
	s->throttled_us = throttled_now(u);
	read_cpus(&u->set, s);
	read_users(s);
	return true;
}

struct cpu_users *cpu_users__begin(pid_t pid)
{
	struct cpu_users *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->pid = pid;
	if (sched_getaffinity(pid, sizeof(u->set), &u->set) != 0) {
		free(u);
		return NULL;
	}
	find_limit(u);
	if (take_sight(u, &u->before))
		return u;
	free(u);
	return NULL;
}

/* ---- the difference ---- */

static const struct user *find(const struct sight *s, pid_t pid)
{
	for (size_t i = 0; i < s->users_n; i++)
		if (s->users[i].pid == pid)
			return &s->users[i];
	return NULL;
}

/* What it used since the first look: all of it, if it was not there then. */
static uint64_t used_ticks(const struct cpu_users *u, const struct user *now, bool reaped)
{
	const struct user *before = find(&u->before, now->pid);
	uint64_t is = reaped ? now->reaped : now->ticks, was;

	if (!before || before->start != now->start)
		return is;
	was = reaped ? before->reaped : before->ticks;
	return is > was ? is - was : 0;
}

static bool is_below(const struct cpu_users *u, const struct sight *now, const struct user *one)
{
	for (int i = 0; one && i < LINKS_MAX; i++) {
		if (one->parent == u->pid)
			return true;
		one = find(now, one->parent);
	}
	return false;
}

struct shares {
	double own, children, others[SHOWN], rest, stolen;
	const struct user *other[SHOWN]; /* the largest first; NULL: no more */
};

static void note_other(struct shares *s, const struct user *one, double share)
{
	for (size_t i = 0; i < SHOWN; i++)
		if (share > s->others[i]) {
			memmove(&s->others[i + 1], &s->others[i], (SHOWN - 1 - i) * sizeof(s->others[0]));
			memmove(&s->other[i + 1], &s->other[i], (SHOWN - 1 - i) * sizeof(s->other[0]));
			s->others[i] = share;
			s->other[i] = one;
			return;
		}
}

/* Of the time of its CPUs. */
static void divide(const struct cpu_users *u, const struct sight *now, struct shares *s)
{
	double all = (double)(now->at_ns - u->before.at_ns) / 1e9 * (double)sysconf(_SC_CLK_TCK) * CPU_COUNT(&u->set);

	for (size_t i = 0; i < now->users_n; i++) {
		const struct user *one = &now->users[i];
		double share = (double)used_ticks(u, one, false) / all;

		if (one->pid == u->pid) {
			s->own = share;
			s->children += (double)used_ticks(u, one, true) / all;
		} else if (share > 0 && is_below(u, now, one)) {
			s->children += share;
		} else if (one->cpu >= 0 && one->cpu < CPU_SETSIZE && CPU_ISSET(one->cpu, &u->set)) {
			note_other(s, one, share);
		}
	}
	s->stolen = (double)(now->stolen_ticks - u->before.stolen_ticks) / all;
	s->rest = (double)(now->busy_ticks - u->before.busy_ticks) / all - s->own - s->children;
	for (size_t i = 0; i < SHOWN; i++)
		s->rest -= s->others[i];
}

static void say_limits(const struct cpu_users *u, double throttled_us, char *words)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	int mine = CPU_COUNT(&u->set);

	if (mine < online)
		text__append(words, CPU_USERS_TEXT, "It may use %d of the machine's %ld CPUs (affinity or cpuset).", mine,
			     online);
	else
		text__append(words, CPU_USERS_TEXT, "It may use all of the machine's CPUs, %d.", mine);
	if (u->limit > 0)
		text__append(words, CPU_USERS_TEXT, " Its cgroup is limited to %.3g CPUs, and was stopped by that for %.3g s.",
			     u->limit, throttled_us / 1e6);
}

static void say_shares(const struct shares *s, char *words)
{
	text__append(words, CPU_USERS_TEXT, " Of their time it used %.0f %%", 100 * s->own);
	if (s->children >= SAID)
		text__append(words, CPU_USERS_TEXT, ", its children %.0f %%", 100 * s->children);
	for (size_t i = 0; i < SHOWN && s->other[i] && s->others[i] >= SAID; i++)
		text__append(words, CPU_USERS_TEXT, ", %s (PID %d) %.0f %%", s->other[i]->name, (int)s->other[i]->pid,
			     100 * s->others[i]);
	if (s->rest >= SAID)
		text__append(words, CPU_USERS_TEXT, ", others %.0f %%", 100 * s->rest);
	if (s->stolen >= SAID)
		text__append(words, CPU_USERS_TEXT, "; %.0f %% went to other machines of the host (steal)", 100 * s->stolen);
	text__append(words, CPU_USERS_TEXT, ".");
}

void cpu_users__end(struct cpu_users *u, char words[CPU_USERS_TEXT], double *ret_throttled_us)
{
	struct shares s = {.own = 0};
	struct sight now;

	words[0] = '\0';
	*ret_throttled_us = 0;
	if (u && take_sight(u, &now)) {
		divide(u, &now, &s);
		*ret_throttled_us = fmax(0, now.throttled_us - u->before.throttled_us);
		say_limits(u, *ret_throttled_us, words);
		say_shares(&s, words);
		free(now.users);
	}
	if (u)
		free(u->before.users);
	free(u);
}
