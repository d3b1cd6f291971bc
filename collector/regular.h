/* SPDX-License-Identifier: GPL-2.0-only */
/* Opens regular files and nothing else: a FIFO would block, a device could act. Pure. */
#ifndef GILSCOPE_REGULAR_H
#define GILSCOPE_REGULAR_H

#include <sys/stat.h>

/* Opens `path` for reading, once it has been looked at. A descriptor (close-on-exec), -ENOEXEC (no regular file), -errno. */
int regular__open(const char *path, struct stat *ret_st);

/*
 * The same below the directory `root`, which is taken for "/": absolute paths, symbolic links and ".." stay inside it
 * (openat2 with RESOLVE_IN_ROOT, Linux 5.6).
 */
int regular__open_in(int root, const char *path, struct stat *ret_st);

#endif
