/* SPDX-License-Identifier: GPL-2.0-only */
/* Opens regular files and nothing else: a FIFO would block, a device could act. Pure. */
#ifndef GILSCOPE_REGULAR_H
#define GILSCOPE_REGULAR_H

/* Finds a file without opening it: a descriptor that only names it (O_PATH, close-on-exec), whatever it is; -errno. */
int regular__look(const char *path);

/*
 * The same below the directory `root`, which is taken for "/": absolute paths, symbolic links and ".." stay inside it
 * (openat2 with RESOLVE_IN_ROOT, Linux 5.6).
 */
int regular__look_in(int root, const char *path);

/* Opens for reading what was found, once fstat() has said that it is a regular file. A descriptor (close-on-exec) or -errno. */
int regular__reopen(int look);

#endif
