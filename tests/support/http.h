/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests by hand to an HTTP server on this host. What fails here fails the test. */
#ifndef GILSCOPE_TESTS_HTTP_H
#define GILSCOPE_TESTS_HTTP_H

struct http_answer {
	int status;
	char *text;        /* all of it, the headers too */
	const char *body;  /* in `text` */
};

/* Sends "METHOD PATH" with an Accept header (NULL: none) to that port of 127.0.0.1, and reads until the server closes. */
void http__ask(int port, const char *method, const char *path, const char *accept, struct http_answer *ret);
void http_answer__free(struct http_answer *a);

/* A connection on which nothing is sent. */
int http__connect(int port);

/* Reads until its end; fails the test after a minute. */
void http__await_end(int fd);

#endif
