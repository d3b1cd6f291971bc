/* SPDX-License-Identifier: GPL-2.0-only */
/* The commands, one file each; main.c has the table. */
#ifndef GILSCOPE_CMDS_H
#define GILSCOPE_CMDS_H

#include "options.h"

extern const struct verb verb_attach;
extern const struct verb verb_run;
extern const struct verb verb_top;
extern const struct verb verb_ls;
extern const struct verb verb_doctor;
extern const struct verb verb_query;
extern const struct verb verb_events;
extern const struct verb verb_report;
extern const struct verb verb_flame;
extern const struct verb verb_dump;
extern const struct verb verb_trace;
extern const struct verb verb_compare;
extern const struct verb verb_mark;
extern const struct verb verb_store;
extern const struct verb verb_daemon;
extern const struct verb verb_status;

#endif
