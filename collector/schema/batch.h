/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Redis commands as data: what schema makes and a sink sends. Knows nothing of a protocol. Pure.
 *
 * Arguments are binary-safe. A batch is idempotent: sending it again leaves the same state.
 */
#ifndef GILSCOPE_BATCH_H
#define GILSCOPE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;

struct batch *batch__new(void);
void batch__free(struct batch *b);

/* Begins a command; arguments follow with batch__arg*(). Errors are sticky: see batch__error(). */
void batch__command(struct batch *b, const char *name);
void batch__arg(struct batch *b, const char *s);
void batch__arg_mem(struct batch *b, const void *data, size_t len);
void batch__arg_pair(struct batch *b, const char *first, const char *second); /* one argument: both, joined */
void batch__arg_int(struct batch *b, long long v);
void batch__arg_fmt(struct batch *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts another text in the place of argument `arg` of command `i`, which are there. 0 or -ENOMEM. */
int batch__replace_arg(struct batch *b, size_t i, size_t arg, const char *s);

/* 0, or -ENOMEM if any append failed (the batch must then be dropped). */
int batch__error(const struct batch *b);

/*
 * How many samples (process, thread, wide and blame rows) the batch carries, and when they were made (wall clock,
 * ms): what is lost if it is dropped. Set by schema.
 */
void batch__set_points(struct batch *b, uint32_t points, int64_t made_ms);
uint32_t batch__points(const struct batch *b);
int64_t batch__made_ms(const struct batch *b);

/* One of its points is the newest command's. */
void batch__mark_point(struct batch *b);

/* Appends command i of `from`, with its points. */
void batch__copy(struct batch *b, const struct batch *from, size_t i);

size_t batch__commands(const struct batch *b);
size_t batch__bytes(const struct batch *b); /* memory it takes */

/* Command i as argv with lengths; the arrays are the batch's, valid until it changes. Returns argc. */
int batch__get(const struct batch *b, size_t i, const char *const **ret_argv, const size_t **ret_lens);

#endif
