/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The process that plants and lifts. It is gilscope's child, waits for orders, and lives for nothing else.
 *
 * Why not gilscope itself: the kernel changes a target's text page by page (get_user_pages), and gives up in the middle if
 * the thread that asked has a SIGKILL pending (mm/gup.c, fatal_signal_pending()). A gilscope that is killed while it plants
 * or lifts would leave breakpoints behind. The planter is not the one that gets killed; when gilscope is gone, however it
 * went, its end of the socket closes, and the planter lifts everything and exits.
 */
#ifndef GILSCOPE_PLANTER_H
#define GILSCOPE_PLANTER_H

#include <stdbool.h>
#include <stdint.h>

#include "uprobe_link.h"

struct planter;

/*
 * Forks the planter. Call when the programs are loaded: it works with the descriptors that exist now. 0 or -errno.
 */
int planter__start(struct planter **ret);

/* Whether it is still there. When it is not, neither are its probes. */
bool planter__is_alive(const struct planter *planter);

/* Lifts what is still planted and ends the planter; returns when both are done. NULL is legal. */
void planter__stop(struct planter *planter);

/* As uprobe_link__open(); *ret_link is a number to lift it by, never 0. At most PLANTER_SITES_MAX sites. */
#define PLANTER_SITES_MAX 256
int planter__plant(struct planter *planter, const struct bpf_program *program, const struct uprobe_place *place,
		   const struct uprobe_sites *sites, bool multi, uint32_t *ret_link);

/* Lifts; returns when the breakpoints are gone. 0 is legal. */
void planter__lift(struct planter *planter, uint32_t link);

/* Lifts, and returns at once: for a process that is gone. planter__settle() returns when all of that is done. */
void planter__drop(struct planter *planter, uint32_t link);
void planter__settle(struct planter *planter);

#endif
