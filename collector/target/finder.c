/* SPDX-License-Identifier: GPL-2.0-only */
/* See finder.h. */
#include "finder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/process/procstat.h"

bool finder__is_in_cgroup(const char *line, const char *cgroup)
{
	size_t len = strlen(cgroup);
	const char *path = strchr(line, ':'); /* number:controllers:path, path in the root's own words */

	path = path ? strchr(path + 1, ':') : NULL;
	if (!path)
		return false;
	path++;
	while (len && cgroup[len - 1] == '/')
		len--;
	return strncmp(path, cgroup, len) == 0 && (path[len] == '/' || path[len] == '\n' || path[len] == '\0');
}

static bool is_in_cgroup(pid_t pid, const char *cgroup)
{
	char path[32], line[4096];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = finder__is_in_cgroup(line, cgroup);
	if (f)
		fclose(f);
	return found;
}

static bool is_meant(const struct finder_filter *filter, pid_t pid, uid_t uid)
{
	if (pid == getpid() || (filter->by_user && uid != filter->uid))
		return false;
	return !filter->cgroup || is_in_cgroup(pid, filter->cgroup);
}

bool finder__may_fit(const struct finder_filter *filter, pid_t pid)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return stat(path, &st) == 0 && is_meant(filter, pid, st.st_uid);
}

bool finder__fits(const struct finder_filter *filter, const struct target *t)
{
	return is_meant(filter, t->pid, t->uid) && (!filter->match || regexec(filter->match, t->label, 0, NULL, 0) == 0);
}

struct pid_list {
	pid_t *pids;
	size_t n, room;
};

static int add_pid(struct pid_list *list, pid_t pid)
{
	pid_t *grown;

	if (list->n == list->room) {
		grown = reallocarray(list->pids, list->room + 256, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		list->pids = grown;
		list->room += 256;
	}
	list->pids[list->n++] = pid;
	return 0;
}

/* All PIDs of /proc; to be freed in any case. 0 or -errno. */
static int list_pids(struct pid_list *ret)
{
	DIR *dir = opendir("/proc");
	int err = dir ? 0 : -errno;

	*ret = (struct pid_list){0};
	for (const struct dirent *entry = dir ? readdir(dir) : NULL; entry && !err; entry = readdir(dir)) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (isdigit((unsigned char)entry->d_name[0]) && pid > 0)
			err = add_pid(ret, pid);
	}
	if (dir)
		closedir(dir);
	return err;
}

struct relation {
	pid_t pid, parent;
};

static int list_relations(struct relation **ret, size_t *ret_n)
{
	struct pid_list list;
	int err = list_pids(&list);
	struct relation *all = err || !list.n ? NULL : calloc(list.n, sizeof(*all));

	for (size_t i = 0; all && i < list.n; i++)
		all[i] = (struct relation){.pid = list.pids[i], .parent = procstat__parent(list.pids[i])};
	free(list.pids);
	if (!all)
		return err ?: -ENOMEM;
	*ret = all;
	*ret_n = list.n;
	return 0;
}

/* Generation by generation: who is found is looked up in turn. */
int finder__descendants(pid_t root, pid_t **ret, size_t *ret_n)
{
	struct relation *all = NULL;
	size_t all_n = 0, n = 0, next = 0;
	pid_t *found, of = root;
	int err = list_relations(&all, &all_n);

	if (err)
		return err;
	found = calloc(all_n, sizeof(*found));
	while (found) {
		for (size_t i = 0; i < all_n; i++)
			if (all[i].parent == of && all[i].pid != root) {
				found[n++] = all[i].pid;
				all[i].parent = 0;
			}
		if (next == n)
			break;
		of = found[next++];
	}
	free(all);
	if (!found)
		return -ENOMEM;
	*ret = found;
	*ret_n = n;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

int finder__newcomers(struct finder_known *known, struct finder_newcomer **ret, size_t *ret_n)
{
	struct pid_list list;
	int err = list_pids(&list);
	struct finder_newcomer *found = err ? NULL : calloc(list.n + 1, sizeof(*found));
	size_t n = 0;

	if (!found) {
		free(list.pids);
		return err ?: -ENOMEM;
	}
	qsort(list.pids, list.n, sizeof(pid_t), by_number);
	for (size_t i = 0, k = 0; i < list.n; i++) {
		bool again;

		while (k < known->n && known->pids[k] < list.pids[i])
			k++;
		again = k < known->n && known->pids[k] == list.pids[i];
		if (!again || (unsigned int)list.pids[i] % FINDER_TURNS == known->turn % FINDER_TURNS)
			found[n++] = (struct finder_newcomer){.pid = list.pids[i], .again = again};
	}
	free(known->pids);
	*known = (struct finder_known){.pids = list.pids, .n = list.n, .turn = known->turn + 1};
	*ret = found;
	*ret_n = n;
	return 0;
}

void finder_known__free(struct finder_known *known)
{
	free(known->pids);
	*known = (struct finder_known){0};
}
