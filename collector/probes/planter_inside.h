/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What gilscope (planter.c) and its planter (planter_process.c) say to each other. Orders and answers are packets on a
 * socket pair, one answer for each order; descriptors come along with them (SCM_RIGHTS). A second pair, between the
 * processes themselves, brings the sockets of new beds.
 */
#ifndef GILSCOPE_PLANTER_INSIDE_H
#define GILSCOPE_PLANTER_INSIDE_H

#include "collector/process/packet.h"
#include "planter.h"

enum order_kind {
	ORDER_IDLE,  /* comes with the descriptor of a program that does nothing: for what is kept planted (planter_keep.c), */
		     /* and that of the map with the word that says that probes are being lifted */
	ORDER_PLANT, /* comes with the program's descriptor and the file's */
	ORDER_LIFT,
	ORDER_DROP,  /* lift, and answer before that is done */
	ORDER_SETTLE,/* answer when all that was dropped is lifted */
	ORDER_TIMER, /* the answer comes with a descriptor */
	ORDER_SHED,
	ORDER_COMPARE, /* everybody's code with the texts */
	ORDER_KEPT,    /* how many places are kept of the process `about` */
};

struct order {
	enum order_kind kind;
	uint32_t link;
	pid_t pid;          /* ORDER_TIMER: a thread's */
	pid_t about;
	uint64_t ino;
	uint32_t multi;
	uint32_t sites_n;
	uint32_t word_at;   /* ORDER_IDLE: where in the map the word is */
	uint64_t period_ns;
	uint64_t offsets[PLANTER_SITES_MAX];
	uint64_t cookies[PLANTER_SITES_MAX];
	struct site_text texts[PLANTER_SITES_MAX];
};

#define LOOK_NS 1000000000ull /* so long processes are looked at, before planting in all of them or lifting */

/* Places that stay planted, as lifting the probe would kill the process. */
struct kept_sites {
	uint32_t n;
	uint32_t lost;   /* those that ought to be, but cannot */
	pid_t pid;       /* one of the processes */
};

struct answer {
	int err;
	uint32_t link;
	uint64_t rights; /* that the deed took or was refused with; ORDER_SHED: that are left */
	struct kept_sites kept; /* since the last answer */
	uint32_t kept_of;       /* ORDER_KEPT */
	uint32_t kept_all;      /* places that are kept now, of all processes */
	pid_t differs;          /* ORDER_COMPARE: who it is */
};

/*
 * What the planter does from its fork on; `control` brings the sockets of beds. When that closes and nothing but kept places is
 * left, it says so there with one byte, and stays.
 */
void planter_process__main(int control) __attribute__((noreturn));

/* uprobe_link__open() with as few rights as will do. */
int planter_process__open(int program_fd, const struct uprobe_place *place, const struct uprobe_sites *sites, bool multi,
			  struct uprobe_link **ret);

/* ---- planter_everybody.c ---- */

/* Those who execute the file with that inode number, as mappings show it, as far as they are found until then. Free *ret. */
size_t everybody__find(uint64_t ino, uint64_t until_ns, pid_t **ret);

/*
 * Whether all of them run the file's own code at these places, at most PLANTER_SITES_MAX: 0, -EXDEV (*ret_pid does not, or cannot
 * be read), -ETIMEDOUT (not all were looked at) or -errno.
 */
int everybody__compare(const struct site_text *texts, size_t n, uint64_t ino, uint64_t until_ns, pid_t *ret_pid);

/* ---- planter_keep.c: all of it in the planter's one thread ---- */

/* What must be known of probes to lift them. */
struct planted {
	struct uprobe_place place; /* its descriptor is ours */
	bool multi;
	struct site_text *texts;   /* of the sites of which it is known */
	size_t n;
};

/* Copies all that it is given. 0 or -ENOMEM. Free with planted__clear(). */
int planted__init(struct planted *ret, const struct uprobe_place *place, const struct site_text *texts, size_t n, bool multi);
void planted__clear(struct planted *p);

/* To be called right before they are lifted: keeps those that must stay, and adds up in *report. */
void planted__mind(const struct planted *p, struct kept_sites *report);

/* The program for what is kept; the descriptor stays the caller's. */
void planter_keep__set_idle(int program_fd);

/* How many places are kept; of one process. */
size_t planter_keep__count(void);
uint32_t planter_keep__count_of(pid_t pid);

/* Lets go of those whose process has ended. */
void planter_keep__mind_ends(void);

#endif
