/* SPDX-License-Identifier: GPL-2.0-only */
/* How much room a thread's name has, wherever one is kept. */
#ifndef GILSCOPE_THREAD_NAME_H
#define GILSCOPE_THREAD_NAME_H

#define THREAD_NAME_SIZE 64 /* bytes, with its NUL; a longer name is cut at a whole character */

#endif
