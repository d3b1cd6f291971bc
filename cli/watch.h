/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What attach and run share: from the options to a collector, and from the collector's callbacks to the screen, to lines,
 * or to JSON. cmd_attach.c and cmd_run.c only say what is observed.
 */
#ifndef GILSCOPE_WATCH_H
#define GILSCOPE_WATCH_H

#include "options.h"

struct watch;

/*
 * Opens the output and the history, and gives up rights. `command`: run's; then nothing is painted, the terminal is that
 * program's. 0 or -errno.
 */
struct spawn;
int watch__open(const struct options *o, const struct spawn *command, struct watch **ret, struct reason *why);

const struct collector_opts *watch__opts(const struct watch *w);
const struct collector_events *watch__events(const struct watch *w);

/*
 * Gives terminal, history and output back, and says what became of the budgets; `failed`: why nothing could be observed, NULL: it
 * could. The exit status: EXIT_OK, of a budget, or EXIT_FAILED if the output could not be written (said). NULL is legal.
 */
int watch__close(struct watch *w, const struct reason *failed);

#endif
