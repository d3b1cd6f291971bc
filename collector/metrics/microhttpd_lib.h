/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libmicrohttpd, loaded by the process that serves, so that nobody else maps it and what it needs. Where it was not installed
 * when gilscope was built, loading fails.
 */
#ifndef GILSCOPE_MICROHTTPD_LIB_H
#define GILSCOPE_MICROHTTPD_LIB_H

#include "collector/base/reason.h"

#ifdef HAVE_MICROHTTPD
#include <microhttpd.h>

/* The functions in use: X(name); that of the library is MHD_<name>. */
#define MICROHTTPD_FUNCTIONS(X) \
	X(start_daemon) X(run) X(get_daemon_info) X(get_timeout) X(create_response_from_fd_at_offset64) \
	X(create_response_from_buffer) X(add_response_header) X(queue_response) X(destroy_response) X(lookup_connection_value) \
	X(get_connection_info)

struct microhttpd {
#define X(name) __typeof__(MHD_##name) *name;
	MICROHTTPD_FUNCTIONS(X)
#undef X
};

/* Valid after microhttpd__load(). */
extern struct microhttpd microhttpd;
#endif

/* 0, or -ENOTSUP with the reason: not installed, then or now. */
int microhttpd__load(struct reason *why);

/* Whether gilscope was built with it. 0, or -ENOTSUP with the reason. */
int microhttpd__check(struct reason *why);

#endif
