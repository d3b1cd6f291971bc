/* SPDX-License-Identifier: GPL-2.0-only */
/* A library that was made to keep whoever reads it busy. What fails here fails the test. */
#ifndef GILSCOPE_TESTS_HOSTILE_ELF_H
#define GILSCOPE_TESTS_HOSTILE_ELF_H

#include <stddef.h>

/*
 * Writes it to `fd`, which it leaves at its end: `symbols` entries in .dynsym, each with a name somewhere in a string table of
 * `names` bytes in which no name ends. With `sparse` the symbols are a hole in the file: huge, and quickly made.
 */
void hostile_elf__write(int fd, size_t symbols, size_t names, int sparse);

/*
 * Makes the program in the file `fd` one with a symbol table of `bytes` bytes, which is a hole behind its end: it runs as before,
 * and whoever reads all its symbols needs as much memory.
 */
void hostile_elf__inflate(int fd, size_t bytes);

#endif
