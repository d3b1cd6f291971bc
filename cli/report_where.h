/* SPDX-License-Identifier: GPL-2.0-only */
/* Where all threads of a process are, for `gilscope report`: looked at, told to the judge, and shown. */
#ifndef GILSCOPE_REPORT_WHERE_H
#define GILSCOPE_REPORT_WHERE_H

#include <jansson.h>

#include "out.h"
#include "report.h"

/* Looks at the process for about a second, if that can be done; what was seen is the judge's input. */
void report_where__look(struct report *r, pid_t pid);
void report_where__free(struct report *r);

/* "Where the threads were": pools, code and what they did there, the most time first. NULL: nothing is known, or no memory. */
struct out *report_where__table(const struct report *r, size_t max);

/* Places where threads were blocked, and whether one was inside. */
json_t *report_where__gates_json(const struct report *r);

#endif
