/* SPDX-License-Identifier: GPL-2.0-only */
/* Samples with round numbers, as the reader would hand them out, for tests of what is made of them. */
#ifndef GILSCOPE_TESTS_MADE_UP_H
#define GILSCOPE_TESTS_MADE_UP_H

#include "collector/schema/schema.h"
#include "collector/series/sample.h"

/* One observed second of full mode, ended on 2026-11-23 at 08:00:00 UTC; no threads yet. */
struct proc_sample *made_up__second(void);

/* Leaves its first `n` threads and frees what the others own. The total stays as it was. */
void made_up__keep_threads(struct proc_sample *s, size_t n);

/* Adds a thread and its numbers to the total: ms of hold and wait, acquires, of which `contended` waited. */
struct thread_sample *made_up__thread(struct proc_sample *s, uint32_t tid, const char *name, uint64_t hold_ms,
				      uint64_t wait_ms, uint64_t acquires, uint64_t contended);

/* Adds the GIL of that interpreter, with the numbers of its threads so far. */
void made_up__gil(struct proc_sample *s, uint32_t gil);

/* Takes away what light mode does not see. */
void made_up__light(struct proc_sample *s);

/* A writer of the schema for one process, with the usual options; the caller's to free. */
struct schema_writer *made_up__writer(void);

#endif
