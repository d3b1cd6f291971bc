/* SPDX-License-Identifier: GPL-2.0-only */
/* See status.h. */
#include "status.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "program.h"

static char *read_file(const char *path)
{
	static char text[16384];
	FILE *f = fopen(path, "r");

	cr_assert(f, "%s", path);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	return text;
}

static const char *field(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	cr_assert(at, "no %s in %s", key, text);
	return at + strlen(key);
}

static uint64_t set_of(const char *text, const char *key)
{
	return strtoull(field(text, key), NULL, 16);
}

void status__read(pid_t pid, pid_t tid, struct status *ret)
{
	char path[64];
	const char *text, *core;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)tid);
	text = read_file(path);
	sscanf(field(text, "Name:\t"), "%31[^\n]", ret->name);
	sscanf(field(text, "\nUid:\t"), "%*u %u", &ret->uid);
	ret->inherited = set_of(text, "\nCapInh:\t");
	ret->permitted = set_of(text, "\nCapPrm:\t");
	ret->effective = set_of(text, "\nCapEff:\t");
	ret->bounding = set_of(text, "\nCapBnd:\t");
	ret->ambient = set_of(text, "\nCapAmb:\t");
	ret->no_new_privs = atoi(field(text, "\nNoNewPrivs:\t"));
	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	core = field(read_file(path), "Max core file size");
	if (sscanf(core, "%*s %lld", &ret->core_limit) != 1)
		ret->core_limit = -1;
}

pid_t status__child(pid_t pid, const char *name)
{
	struct program p;
	pid_t child;

	program__run(&p, "pgrep -P %d -x %s", (int)pid, name);
	child = (pid_t)atoi(p.out);
	program__free(&p);
	return child;
}

pid_t status__listener(const char *socket_path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	close(fd);
	return peer.pid;
}
