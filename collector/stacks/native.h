/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Native stacks by name: from registers and a copy of a stack (bpf/gil_native.bpf.h) to "module.so: function", for the C code
 * that runs inside the innermost Python call.
 *
 * registers, stack -> unwind.h, frame by frame -> the mapping that a frame lies in -> its file (target.h opens that inode)
 * -> name by .symtab, a debug file (debugfile.h) or .dynsym; else the name that Python has for it (method_names.h); else
 * "+0x1230", where the function begins in its file. The walk
 * ends at the interpreter's loop: what lies further out Python frames tell better. A name is given only if the code at that
 * address is the file's (mappings change while we look). Files are shared by all processes; their number is bounded. Not for
 * several threads.
 *
 * What is left out: the interpreter's own machinery of calls, and of the interpreter's other functions all that have no symbol,
 * unless nothing else is there: then the innermost one's place stands for it, "python3.11+0x1c2d30".
 * What the C library or libffi does inside an extension is the extension's.
 */
#ifndef GILSCOPE_NATIVE_H
#define GILSCOPE_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/gil_types.h"

#define NATIVE_NAME_SIZE 128
#define NATIVE_MODULE_SIZE 64
#define NATIVE_LINE_SIZE 1024

/* "": no C code that has a name was found, it may be bytecode that ran. */
struct native_chain {
	char name[NATIVE_NAME_SIZE];  /* the frame that says most: "libz.so.1.2.13: crc32_z"; cleaned */
	char module[NATIVE_MODULE_SIZE]; /* its file's name */
	char line[NATIVE_LINE_SIZE];  /* the way to it, "outermost;...;name"; a long one loses its outer end */
};

/* The files, and what is known of them. */
struct native_files;
struct native_files *native_files__new(void); /* NULL: no memory */
void native_files__free(struct native_files *files);

/* One process. Reads nothing yet. NULL: no memory. */
struct native *native__new(struct native_files *files, pid_t pid);
void native__free(struct native *n);

/*
 * The chain of a thread of the process with these registers; `stack_len` bytes of its stack are known from its pointer on.
 * `now_ns` (CLOCK_MONOTONIC): mappings are read anew now and then. false: nothing can be said for certain.
 */
bool native__name(struct native *n, uint64_t now_ns, const struct gil_regs *regs, const uint8_t *stack, size_t stack_len,
		  struct native_chain *ret);

#endif
