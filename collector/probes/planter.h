/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The process that plants and lifts, and opens timers of threads. It is gilscope's child, waits for orders, and lives for
 * nothing else.
 *
 * Why not gilscope itself: the kernel changes a target's text page by page (get_user_pages), and gives up in the middle if
 * the thread that asked has a SIGKILL pending (mm/gup.c, fatal_signal_pending()). A gilscope that is killed while it plants
 * or lifts would leave breakpoints behind. The planter is not the one that gets killed; when gilscope is gone, however it
 * went, its end of the socket closes, and the planter lifts everything and exits. So it does without exiting when gilscope's
 * loop stands still (pulse.h): stopped, or kept waiting by something that no signal ends.
 *
 * What it must not lift, as the process has changed its own code there, it keeps (planter_keep.c): then it lives on until those
 * processes have ended, whatever becomes of gilscope.
 *
 * And it is the only process that keeps CAP_SYS_ADMIN, where planting takes that: it begins with what caps.h lets it have, with
 * nothing of it in force, tries each kind of order with as little as will do, and gives up the rest when it is told that all
 * kinds were tried. Its own life is in planter_process.c.
 */
#ifndef GILSCOPE_PLANTER_H
#define GILSCOPE_PLANTER_H

#include <stdbool.h>
#include <stdint.h>

#include "uprobe_link.h"

/* What takes rights. */
enum planter_deed {
	PLANTER_MULTI,  /* plant through uprobe_multi */
	PLANTER_PERF,   /* plant through perf events */
	PLANTER_TIMER,  /* time a thread on the CPU */
	PLANTER_DEEDS,
};

struct planter;

/*
 * Starts the process, if it is not there yet, with the rights that the caller has now, and keeps it for all struct planter
 * until planter__dismiss(). To be called before rights are given up; without it, it lives as long as any struct planter. 0 or
 * -errno.
 */
int planter__prepare(void);

/* Ends what planter__prepare() began, as soon as no struct planter is left. */
void planter__dismiss(void);

/* A bed of one's own in that process. 0 or -errno. */
int planter__start(struct planter **ret);

/* Whether it is still there. When it is not, neither are its probes. */
bool planter__is_alive(const struct planter *planter);

/* Lifts what is still planted; returns when that is done. NULL is legal. */
void planter__stop(struct planter *planter);

/*
 * For what has to stay planted when it is lifted: a program that does nothing. And the map whose word at that offset says that
 * the probes are being lifted: set before the planter lifts them of its own accord (pulse.h). The descriptors stay the caller's.
 */
void planter__set_idle(struct planter *planter, int program_fd, int map_fd, size_t word_at);

/* As uprobe_link__open(); *ret_link is a number to lift it by, never 0. At most PLANTER_SITES_MAX sites. */
#define PLANTER_SITES_MAX 256
int planter__plant(struct planter *planter, int program_fd, const struct uprobe_place *place, const struct uprobe_sites *sites,
		   bool multi, uint32_t *ret_link);

/*
 * Whether everybody who executes the file with that inode number (as mappings show it) runs its own code at all of these sites,
 * so that probes may be planted in all of them. 0, -EXDEV (process *ret_pid does not, or its memory cannot be read), -ETIMEDOUT
 * (there are too many to be looked at within a second) or another -errno. Sites without a text count as the file's.
 */
int planter__compare(struct planter *planter, uint64_t ino, const struct uprobe_sites *sites, size_t sites_n, pid_t *ret_pid);

/* Lifts; returns when the breakpoints are gone. 0 is legal. */
void planter__lift(struct planter *planter, uint32_t link);

/* Lifts, and returns at once: for a process that is gone. planter__settle() returns when all of that is done. */
void planter__drop(struct planter *planter, uint32_t link);
void planter__settle(struct planter *planter);

/*
 * In how many places of a process breakpoints stay, though the probes are lifted: it has changed its own code there
 * (planter_keep.c). Costs nothing as long as there are none of anybody's.
 */
uint32_t planter__kept(struct planter *planter, pid_t pid);

/*
 * A perf event that fires each `period_ns` of the thread's time on the CPU, and, where the kernel can, of that of the threads
 * that it will start, and theirs; disabled. Its descriptor, the caller's, is *ret_fd.
 * 0, -ESRCH (the thread has ended), -EACCES or another -errno.
 */
int planter__timer(struct planter *planter, pid_t tid, uint64_t period_ns, int *ret_fd);

/* The capabilities that a deed took when it last succeeded, or, after a refusal, those that it was refused with. */
uint64_t planter__rights(const struct planter *planter, enum planter_deed deed);

/* Every kind of deed that is going to be wanted was tried: gives up for good what none of them took. *ret_kept: what stays. */
int planter__shed(struct planter *planter, uint64_t *ret_kept);

#endif
