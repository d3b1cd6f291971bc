/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the kernel's control groups put a process, out of the text of /proc/PID/cgroup. Pure.
 *
 * Container engines name a group after the container: what they write there is the only thing about it that needs no
 * engine's help to be read. Nothing here is used for more than to tell people which is which.
 */
#ifndef GILSCOPE_CGROUP_H
#define GILSCOPE_CGROUP_H

#include <stddef.h>

/*
 * The path that says most: version 2's, else systemd's, else any other that is not the root; "" if all are. Cleaned.
 */
void cgroup__path(const char *text, size_t len, char *buf, size_t size);

/*
 * What the container is called, "" if none can be told: the first 12 digits of the 64 that docker, podman, containerd and
 * cri-o use as its id, as their own listings show it; the name of an LXC container or of a systemd machine. Cleaned.
 */
void cgroup__container(const char *text, size_t len, char *buf, size_t size);

#endif
