/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All budgets of one run of gilscope: what was told of single holds on the way, the judgement on each process, and how it is
 * said: a sentence each on standard error, lines of JSON, JUnit XML, Markdown. A NULL stands for none: every function takes it.
 */
#ifndef GILSCOPE_BUDGETS_H
#define GILSCOPE_BUDGETS_H

#include "budget.h"
#include "options.h"
#include "rows.h"

struct budgets;

/* Of --budget and --budget-file, and opens the files that are to be written. *ret is NULL where there is none. 0 or -errno. */
int budgets__open(const struct options *o, struct budgets **ret, struct reason *why);

/* Asks for single holds and waits to be told, and for stacks, from as short ones as can break a budget. */
void budgets__tune(const struct budgets *b, struct stack_opts *stacks);

/* A hold or wait over such a threshold, of that process. */
void budgets__lasting(struct budgets *b, const char *id, const struct long_event *e);

/* The end of a process: each budget is judged. */
void budgets__judge(struct budgets *b, const struct who *who, const struct proc_sample *totals);

/* The same of what somebody else has gathered. */
void budgets__judge_subject(struct budgets *b, const struct who *who, struct budget_subject *s);

/* Nothing could be observed: no budget can be told. */
void budgets__fail(struct budgets *b, const struct reason *why);

/* Array of what was judged; NULL: no memory, or no budget. */
json_t *budgets__json(const struct budgets *b);

/* Says how it is, and writes the files. EXIT_OK, EXIT_BUDGET_BROKEN, EXIT_BUDGET_UNTOLD (if a file could not be written, too). */
int budgets__finish(struct budgets *b);
void budgets__free(struct budgets *b);

#endif
