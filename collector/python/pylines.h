/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a place in a code object to its line, in each format that CPython has had: co_lnotab (3.8, 3.9: Objects/lnotab_notes.txt),
 * co_linetable of 3.10 (the same file) and of 3.11 on (Objects/locations.md). Tables come out of a target's memory: they may be
 * torn or lies, and are only ever read within their length. Pure.
 */
#ifndef GILSCOPE_PYLINES_H
#define GILSCOPE_PYLINES_H

#include <stddef.h>
#include <stdint.h>

#include "collector/cpython/pyfamily.h"

/* Line of the instruction at byte `at` of the code; 0: it has none, or the table does not reach it. */
uint32_t pylines__find(enum pyfamily_lines kind, const uint8_t *table, size_t len, uint32_t firstlineno, uint32_t at);

#endif
