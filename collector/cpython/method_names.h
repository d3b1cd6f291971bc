/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * C functions by the names that Python has for them, of an interpreter or an extension without symbols: what Python can call
 * stands in tables of PyMethodDef (name, function, flags, documentation), and those belong to types and modules, which have
 * names, too. Found in a file's data as the loader will have relocated it. What is no table by its flags, by pointers to code
 * and to a name that could be one in Python is none. The file is hostile input: all is bounded, and a wrong name is no more
 * than that. Pure.
 */
#ifndef GILSCOPE_METHOD_NAMES_H
#define GILSCOPE_METHOD_NAMES_H

#include <stdint.h>

#include "collector/elf/elffile.h"

#define METHOD_NAME_SIZE 80

struct method_names;

/* Reads the whole file's tables; a file without any has none. NULL: no memory. */
struct method_names *method_names__new(struct elffile *ef);
void method_names__free(struct method_names *m);

/*
 * The function that begins at this ELF virtual address: "list.sort", "re.Pattern.match", "_pickle.dumps", or without its owner
 * where that is not known. NULL: none, or several names. Valid as long as `m`.
 */
const char *method_names__at(const struct method_names *m, uint64_t vaddr);

#endif
