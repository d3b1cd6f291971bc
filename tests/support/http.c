/* SPDX-License-Identifier: GPL-2.0-only */
/* See http.h. */
#include "http.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define PATIENCE 60 /* seconds */

int http__connect(int port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct timeval limit = {.tv_sec = PATIENCE};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0, "nobody listens on port %d", port);
	return fd;
}

static char *read_all(int fd)
{
	char *text = NULL, part[4096];
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0)
		fwrite(part, 1, (size_t)n, to);
	fclose(to);
	cr_assert_eq(n, 0, "no end of the answer within %d s", PATIENCE);
	return text;
}

void http__await_end(int fd)
{
	free(read_all(fd));
	close(fd);
}

void http__ask(int port, const char *method, const char *path, const char *accept, struct http_answer *ret)
{
	int fd = http__connect(port);
	char *end;

	dprintf(fd, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path);
	if (accept)
		dprintf(fd, "Accept: %s\r\n", accept);
	dprintf(fd, "\r\n");
	ret->text = read_all(fd);
	close(fd);
	cr_assert_eq(sscanf(ret->text, "HTTP/1.1 %d", &ret->status), 1, "no answer: %s", ret->text);
	end = strstr(ret->text, "\r\n\r\n");
	cr_assert_not_null(end, "%s", ret->text);
	ret->body = end + 4;
}

void http_answer__free(struct http_answer *a)
{
	free(a->text);
	*a = (struct http_answer){0};
}
