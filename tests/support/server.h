/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Servers that run Python inside themselves (uwsgi, Apache, gunicorn, celery), with tests/workloads/served.py as what they
 * serve: started in a temporary directory, asked, and their processes listened to as workloads.
 *
 * What goes wrong here fails the test. Everything that a server has started ends with the test, however that ends.
 */
#ifndef GILSCOPE_TESTS_SERVER_H
#define GILSCOPE_TESTS_SERVER_H

#include <stddef.h>
#include <sys/types.h>

#include "workload.h"

#define SERVER_REQUESTS_MAX 16

struct server {
	char dir[128];    /* with served.py in it; anybody may write there */
	int talk;         /* where served.py connects to */
	pid_t keeper;     /* stands between the test and the server, and ends it */
	int requests[SERVER_REQUESTS_MAX];
	size_t requests_n;
};

/*
 * Makes the directory, and the environment of a server whose processes serve `threads` requests at a time with `calls`
 * releases of the GIL each.
 */
void server__prepare(struct server *s, int threads, int calls);

/* Starts argv[0] (looked up in PATH). In its words %s stands for the directory. Output goes to DIR/log. */
void server__start(struct server *s, const char *const argv[]);

/* Sends a request to the unix socket DIR/http, as soon as somebody listens there, and leaves it open. */
void server__request(struct server *s);

/* The same, to port 8080 of 127.0.0.1. */
void server__request_port(struct server *s);

/* Waits for the next process of the server whose requests are all at their start gates. */
void server__accept(struct server *s, struct workload *w);

/* Reads every answer, each of which must be "done"; then ends the server and removes the directory. */
void server__stop(struct server *s);

/* A network namespace of the test's own, in which port 8080 is free. */
void server__own_network(void);

#endif
