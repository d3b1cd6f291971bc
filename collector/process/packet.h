/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets on a socket pair between two processes of ours; descriptors may come along with them (SCM_RIGHTS).
 */
#ifndef GILSCOPE_PACKET_H
#define GILSCOPE_PACKET_H

#include <stdbool.h>
#include <stddef.h>

#define PACKET_FDS_MAX 2

/* `fds` (fds[0] -1: none) stay the caller's. 0 or -EPIPE. */
int packet__send(int sock, const void *data, size_t size, const int *fds, size_t fds_n);

/* Fills fds[PACKET_FDS_MAX] with what came along, else -1; they are the caller's. False: the other side is gone. */
bool packet__receive(int sock, void *data, size_t size, int *fds);

#endif
