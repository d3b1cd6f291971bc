/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What gilscope (planter.c) and its planter (planter_process.c) say to each other. Orders and answers are packets on a
 * socket pair, one answer for each order; descriptors come along with them (SCM_RIGHTS). A second pair, between the
 * processes themselves, brings the sockets of new beds.
 */
#ifndef GILSCOPE_PLANTER_INSIDE_H
#define GILSCOPE_PLANTER_INSIDE_H

#include "packet.h"
#include "planter.h"

enum order_kind {
	ORDER_PLANT, /* comes with the program's descriptor and the file's */
	ORDER_LIFT,
	ORDER_DROP,  /* lift, and answer before that is done */
	ORDER_SETTLE,/* answer when all that was dropped is lifted */
	ORDER_TIMER, /* the answer comes with a descriptor */
	ORDER_SHED,
};

struct order {
	enum order_kind kind;
	uint32_t link;
	pid_t pid;          /* ORDER_TIMER: a thread's */
	uint32_t multi;
	uint32_t sites_n;
	uint64_t period_ns;
	uint64_t offsets[PLANTER_SITES_MAX];
	uint64_t cookies[PLANTER_SITES_MAX];
};

struct answer {
	int err;
	uint32_t link;
	uint64_t rights; /* that the deed took or was refused with; ORDER_SHED: that are left */
};

/* What the planter does from its fork on; `control` brings the sockets of beds. */
void planter_process__main(int control) __attribute__((noreturn));

#endif
