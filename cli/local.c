/* SPDX-License-Identifier: GPL-2.0-only */
/* See local.h. */
#include "local.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../collector/target.h"
#include "inspect.h"

#define CACHE_SIZE 16

/* What is true of a file is true of every process that runs it. */
struct cached {
	uint64_t dev, ino;
	char python[24], how[400], method[32];
	bool can;
};

struct local {
	struct cached cache[CACHE_SIZE];
	size_t cached_n;
	int (*visit)(void *arg, const struct local_proc *p);
	void *arg;
};

struct local *local__new(void)
{
	return calloc(1, sizeof(struct local));
}

void local__free(struct local *l)
{
	free(l);
}

static size_t count_threads(pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	return stat(path, &st) == 0 && st.st_nlink > 2 ? st.st_nlink - 2 : 0;
}

/* Its user's name, else number. NULL: it is gone. */
static const char *user_of(pid_t pid, char *buf, size_t size)
{
	char path[64];
	struct passwd *pw;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (stat(path, &st))
		return NULL;
	pw = getpwuid(st.st_uid);
	if (pw)
		snprintf(buf, size, "%s", pw->pw_name);
	else
		snprintf(buf, size, "%u", (unsigned int)st.st_uid);
	return buf;
}

/* How it would be probed, or why not. */
static void judge(const struct inspection *in, struct cached *ret)
{
	if (in->reached > INSPECT_PYTHON)
		snprintf(ret->python, sizeof(ret->python), "%s", in->python.text);
	ret->can = in->reached > INSPECT_OFFSETS;
	if (in->reached <= INSPECT_OFFSETS)
		snprintf(ret->how, sizeof(ret->how), "no: %.380s", in->why.text);
	else
		snprintf(ret->how, sizeof(ret->how), "%s", in->plan->light ? "full, light" : "full only");
	if (ret->can)
		snprintf(ret->method, sizeof(ret->method), "%s", in->plan->method);
}

static const struct cached *find_cached(const struct local *l, const struct target *t)
{
	for (size_t i = 0; i < l->cached_n; i++)
		if (l->cache[i].dev == t->image.dev && l->cache[i].ino == t->image.ino)
			return &l->cache[i];
	return NULL;
}

/* The GIL's kind is the process's, not the file's: it needs a look at live values. */
static void put_judgement(struct local *l, const struct target *t, struct cached *verdict, struct local_proc *p)
{
	const struct cached *old = find_cached(l, t);
	struct inspection in;
	bool gil_is_off;

	*verdict = old ? *old : (struct cached){.dev = t->image.dev, .ino = t->image.ino};
	inspect__begin(&in, t, !old);
	if (!old) {
		judge(&in, verdict);
		if (l->cached_n < CACHE_SIZE)
			l->cache[l->cached_n++] = *verdict;
	}
	gil_is_off = in.reached == INSPECT_DONE && !in.gil_enabled;
	if (in.reached == INSPECT_GILS && in.err == -EAGAIN)
		p->gil = "not started";
	else if (*inspect__gil_kind(&in))
		p->gil = inspect__gil_kind(&in);
	inspect__end(&in);
	p->python = verdict->python[0] ? verdict->python : NULL;
	p->probe = gil_is_off ? "nothing to measure: its GIL is off" : verdict->how;
	p->method = verdict->can ? verdict->method : NULL;
	p->can = verdict->can;
}

/* What its engine calls it, else what can be seen of it. */
static void put_container(const struct target *t, struct local_proc *p)
{
	if (t->container[0])
		p->container = t->container;
	else if (target__is_contained(t))
		p->container = t->pid_inside ? "(own PIDs)" : "(own root)";
	p->inside = t->pid_inside;
	p->cgroup = t->cgroup[0] ? t->cgroup : NULL;
}

static int on_process(void *arg, pid_t pid, const struct target *t, const char *why_not)
{
	struct local *l = arg;
	struct local_proc p = {.pid = pid, .threads = count_threads(pid)};
	struct cached verdict;
	char user[256], comm[64], why[512];

	p.user = user_of(pid, user, sizeof(user));
	if (t) {
		p.label = t->label;
		p.exe = t->exe;
		put_container(t, &p);
		put_judgement(l, t, &verdict, &p);
	} else {
		snprintf(why, sizeof(why), "no: %s", why_not ? why_not : "?");
		p.label = target__thread_comm(pid, pid, comm, sizeof(comm)) == 0 ? comm : NULL;
		p.probe = why;
	}
	return l->visit(l->arg, &p);
}

int local__each(struct local *l, int (*visit)(void *arg, const struct local_proc *p), void *arg, struct reason *why)
{
	l->visit = visit;
	l->arg = arg;
	return target__each(on_process, l, why);
}
