/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose code a frame is: the application's, or a library's that it calls. By the file's path alone: where Python installs its own
 * modules (lib/python3.11) and others' (site-packages, dist-packages), and what is no file at all (<frozen ...>, <string>).
 * An application that is installed like a library is known by its package: the user's word (--app), or the outermost package on a
 * stack that is no server or framework by the table here. Pure but for that word.
 */
#ifndef GILSCOPE_APP_CODE_H
#define GILSCOPE_APP_CODE_H

#include <stdbool.h>
#include <stddef.h>

#include "collector/python/pystack.h"

/* Of a file's path as code objects have it; "" (not known) is nobody's. */
bool app_code__is(const char *file);

/* The user's word: this package is the application. NULL: none. Once, before stacks are read; the text stays the caller's. */
void app_code__name_package(const char *package);

/*
 * The frame that stands for the application: the innermost one of its package if the user named that; else the innermost one
 * outside of all libraries; else that of the outermost package that is no server or framework. `frames` innermost first; n: none.
 */
size_t app_code__innermost(const struct pysymbol *frames, size_t n);

/* What a program would write to call a library's function: "json.dumps", of json/__init__.py; bounded. Returns buf. */
const char *app_code__dotted(const struct pysymbol *symbol, char *buf, size_t size);

/*
 * A frame as pystack__describe() has it, shorter: "outer.<locals>.save (shop/orders.py:31)" as "save (orders.py:31)". A file
 * that has its name of Python (__init__.py) keeps its directory. Returns buf.
 */
const char *app_code__short(const char *frame, char *buf, size_t size);

/*
 * C code as native.h names it, in the words of a sentence: "_json.cpython-311-x86_64-linux-gnu.so: encode.isra.0" as
 * "_json: encode", a function of the interpreter's without its file, and no place in numbers: "". Returns buf.
 */
const char *app_code__native(const char *native, char *buf, size_t size);

/* Whether that C code is the interpreter's own file: "libpython3.11.so.1.0: x_add" or "python3.11+0x5e0340". */
bool app_code__is_interpreter(const char *native);

#endif
