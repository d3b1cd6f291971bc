/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Passwords that gilscope was given on its command line or in its environment: whoever looks at the process later (ps,
 * /proc/PID/environ, a core dump) finds none. A program that `run` starts still gets its arguments and environment as they were.
 */
#ifndef GILSCOPE_SECRETS_H
#define GILSCOPE_SECRETS_H

/*
 * Wipes passwords in the memory of `argv` and of the environment that the kernel shows, and lets nobody read this process's
 * memory but root. Returns the arguments as they were, copied for the life of the process, and the environment has them, too;
 * `argv` itself if there is no memory. To be called first, before there are threads.
 */
char **secrets__hide(int argc, char **argv);

#endif
