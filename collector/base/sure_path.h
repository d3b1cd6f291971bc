/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names in directories where others may write: what somebody else put there (a symbolic link, a file, a pipe, a directory under
 * the name of ours) must not decide where root writes, nor whom we talk to. The kernel's fs.protected_symlinks says the same of
 * links where it is set; this holds wherever it is not. Pure.
 */
#ifndef GILSCOPE_SURE_PATH_H
#define GILSCOPE_SURE_PATH_H

#include <limits.h>
#include <sys/stat.h>

#include "reason.h"

/*
 * Opens the directory that has the last component of `path`, component by component: a link that another user made in a
 * directory where others may write is not followed. The component goes into `name`, not looked at. An O_PATH descriptor,
 * close-on-exec, or -EACCES (such a link), -EISDIR (no component to speak of: "/", "..", "dir/"), -errno, all with a sentence.
 */
int sure_path__parent(const char *path, char name[NAME_MAX + 1], struct reason *why);

/*
 * Whether what stands in directory `dir` may be believed: others may not write there, or its owner is this user, root or
 * the directory's owner. 0, or -EACCES with a sentence that begins with `path`.
 */
int sure_path__judge(int dir, const struct stat *st, const char *path, struct reason *why);

/*
 * Opens a directory that is to be ours: its owner is this user, or root, and nobody else may write there; what the mode of our
 * own lets others do is taken back first. O_PATH descriptor, what it is into *ret_st. -ENOENT, -ENOTDIR, -EPERM (somebody
 * else's), -errno, all with a sentence.
 */
int sure_path__dir(const char *path, struct stat *ret_st, struct reason *why);

#endif
