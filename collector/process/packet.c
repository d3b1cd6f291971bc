/* SPDX-License-Identifier: GPL-2.0-only */
/* See packet.h. */
#include "packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

union fd_message {
	struct cmsghdr header;
	char room[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
};

int packet__send(int sock, const void *data, size_t size, const int *fds, size_t fds_n)
{
	union fd_message control = {0};
	struct iovec part = {.iov_base = (void *)data, .iov_len = size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (fds_n && fds[0] >= 0) {
		message.msg_control = control.room;
		message.msg_controllen = CMSG_SPACE(fds_n * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(fds_n * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, fds_n * sizeof(int));
	}
	return sendmsg(sock, &message, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -EPIPE;
}

bool packet__receive(int sock, void *data, size_t size, int *fds)
{
	union fd_message control;
	struct iovec part = {.iov_base = data, .iov_len = size};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = control.room, .msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *header;
	ssize_t got;

	do
		got = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	for (int i = 0; i < PACKET_FDS_MAX; i++)
		fds[i] = -1;
	header = got >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len <= CMSG_LEN(PACKET_FDS_MAX * sizeof(int)))
		memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
	return got == (ssize_t)size;
}
