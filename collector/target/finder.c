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

struct relation {
	pid_t pid, parent;
};

static int list_relations(struct relation **ret, size_t *ret_n)
{
	struct relation *all = NULL, *grown;
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	size_t n = 0, room = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (!isdigit((unsigned char)entry->d_name[0]) || pid <= 0)
			continue;
		if (n == room) {
			grown = reallocarray(all, room + 256, sizeof(*grown));
			if (!grown)
				break;
			all = grown;
			room += 256;
		}
		all[n++] = (struct relation){.pid = pid, .parent = procstat__parent(pid)};
	}
	closedir(dir);
	*ret = all;
	*ret_n = n;
	return all ? 0 : -ENOMEM;
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
