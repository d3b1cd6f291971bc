/* SPDX-License-Identifier: GPL-2.0-only */
/* Where this user's sockets and locks are while gilscope runs. Pure but for looking at the file system. */
#ifndef GILSCOPE_RUN_DIR_H
#define GILSCOPE_RUN_DIR_H

#include <limits.h>

#define RUN_DIR_SYSTEM "/run/gilscope"

/*
 * /run/gilscope for root; else below XDG_RUNTIME_DIR, or what it usually is, or /tmp/gilscope-UID, which anybody may have made
 * before: to be opened with sure_path__dir() alone.
 */
void run_dir__path(char dir[PATH_MAX]);

/* A directory from the environment, NULL if it is not set or not absolute (then XDG says to ignore it). */
const char *run_dir__from_env(const char *name);

#endif
