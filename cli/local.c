/* SPDX-License-Identifier: GPL-2.0-only */
/* See local.h. */
#include "local.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/plan/image.h"
#include "collector/process/expendable.h"
#include "collector/process/theirs.h"
#include "collector/target/shadow_stack.h"
#include "collector/target/target.h"
#include "inspect.h"

#define CACHE_SIZE 16
#define TEXTS_MAX 64

/* What is true of a file is true of every process that runs it. */
struct cached {
	uint64_t dev, ino;
	char python[24], how[400], method[32];
	bool can;
	struct site_text texts[TEXTS_MAX]; /* what each process must have in memory for that */
	size_t texts_n;
	uint64_t texts_ino;
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

/* What looking at a process came to: what its file tells, and what the process itself does. */
struct judgement {
	struct cached file;
	char gil[24];      /* "": not known */
	char moved[600];   /* why this process can't be probed though others with its file can */
	bool gil_is_off;
};

struct judging {
	const struct target *target;
	bool with_sites;   /* nothing is known of its file yet */
};

/* How it would be probed, or why not. */
static void judge_file(const struct inspection *in, struct cached *ret)
{
	if (in->reached > INSPECT_PYTHON)
		snprintf(ret->python, sizeof(ret->python), "%s", in->python.text);
	ret->can = in->reached > INSPECT_OFFSETS;
	if (in->plan) {
		ret->texts_n = image__texts(in->plan, ret->texts, TEXTS_MAX);
		ret->texts_ino = image__texts_inode(in->target, in->plan);
	}
	if (in->reached <= INSPECT_OFFSETS)
		snprintf(ret->how, sizeof(ret->how), "no: %.380s", in->why.text);
	else
		snprintf(ret->how, sizeof(ret->how), "%s", in->plan->light ? "full, light" : "full only");
	if (ret->can)
		snprintf(ret->method, sizeof(ret->method), "%s", in->plan->method);
}

static void judge(void *arg, void *result)
{
	const struct judging *j = arg;
	struct judgement *ret = result;
	struct inspection in;

	*ret = (struct judgement){.gil = ""};
	inspect__begin(&in, j->target, j->with_sites);
	if (j->with_sites)
		judge_file(&in, &ret->file);
	ret->gil_is_off = in.reached == INSPECT_DONE && !in.gil_enabled;
	snprintf(ret->gil, sizeof(ret->gil), "%s",
		 in.reached == INSPECT_GILS && in.err == -EAGAIN ? "not started" : inspect__gil_kind(&in));
	inspect__end(&in);
}

/* An interpreter that neither root nor we built: whatever is in its file happens to a child. False: no verdict to be kept. */
static bool judge_theirs(struct judging *j, uid_t owner, struct judgement *ret)
{
	const int keep[] = {j->target->image.fd, j->target->pidfd};
	struct expendable limits = {.cpu_ms = 600, .wall_ms = 3000, .keep = keep, .keep_n = 2, .needs_rights = true};
	const char *words = "files of its owner take too much work";
	int err = 0;

	*ret = (struct judgement){.gil = ""};
	if (!expendable__is_banned(owner)) {
		err = expendable__run(&limits, judge, j, ret, sizeof(*ret));
		if (!err)
			return true;
		words = err == -ETIMEDOUT ? "its file takes too long to read" : "its file cannot be read safely";
		expendable__blame(owner);
	}
	snprintf(ret->file.how, sizeof(ret->file.how), "no: %s (user %u)", words, (unsigned int)owner);
	return false;
}

static const struct cached *find_cached(const struct local *l, const struct target *t)
{
	for (size_t i = 0; i < l->cached_n; i++)
		if (l->cache[i].dev == t->image.dev && l->cache[i].ino == t->image.ino)
			return &l->cache[i];
	return NULL;
}

/* A file that can be probed in a process that does not run its code: `how` says why it is not. */
static bool runs_other_code(const struct target *t, const struct cached *file, char *how, size_t size)
{
	struct reason why = {""};

	if (!file->can || site_texts__check(file->texts, file->texts_n, t->pid, file->texts_ino, NULL, &why) != -ENOTSUP)
		return false;
	snprintf(how, size, "no: %s%s", t->image.text_elsewhere ? "text not the file's: can't be probed: " : "", why.text);
	return true;
}

/* The GIL's kind is the process's, not the file's: it needs a look at live values. */
static void put_judgement(struct local *l, const struct target *t, struct judgement *verdict, struct local_proc *p)
{
	const struct cached *old = find_cached(l, t);
	struct judging j = {.target = t, .with_sites = !old};
	struct stat st = {.st_uid = (uid_t)-1};
	bool is_final = true;

	if (theirs__fstat(t->image.fd, &st) == 0 && !theirs__is_foreign(t->image.fd))
		judge(&j, verdict);
	else
		is_final = judge_theirs(&j, st.st_uid, verdict);
	if (old)
		verdict->file = *old;
	verdict->file.dev = t->image.dev;
	verdict->file.ino = t->image.ino;
	if (!old && is_final && l->cached_n < CACHE_SIZE)
		l->cache[l->cached_n++] = verdict->file;
	p->gil = verdict->gil[0] ? verdict->gil : NULL;
	p->python = verdict->file.python[0] ? verdict->file.python : NULL;
	p->probe = verdict->gil_is_off ? "free-threaded, its GIL is off: other waits are not measured" : verdict->file.how;
	p->method = verdict->file.can ? verdict->file.method : NULL;
	p->can = verdict->file.can;
	if (runs_other_code(t, &verdict->file, verdict->moved, sizeof(verdict->moved))) {
		p->probe = verdict->moved;
		p->method = NULL;
		p->can = false;
	} else if (p->can && shadow_stack__has(t->pid)) {
		snprintf(verdict->moved, sizeof(verdict->moved), "a process with a shadow stack %s",
			 shadow_fate__text(SHADOW_UNTRIED));
		p->probe = verdict->moved;
	}
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
	struct judgement verdict;
	char user[256], comm[64], why[512], runtime[RUNTIMES_TEXT_SIZE];

	p.user = user_of(pid, user, sizeof(user));
	if (t) {
		p.label = t->label;
		p.exe = t->exe;
		p.runtime = runtimes__text(&t->runtimes, runtime)[0] ? runtime : NULL;
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
	return target__each(NULL, on_process, l, why);
}
