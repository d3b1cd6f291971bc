/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose code a frame is: the application's, or a library's that it calls. By the file's path alone: where Python installs its own
 * modules (lib/python3.11) and others' (site-packages, dist-packages), and what is no file at all (<frozen ...>, <string>). Pure.
 */
#ifndef GILSCOPE_APP_CODE_H
#define GILSCOPE_APP_CODE_H

#include <stdbool.h>
#include <stddef.h>

#include "collector/python/pystack.h"

/* Of a file's path as code objects have it; "" (not known) is nobody's. */
bool app_code__is(const char *file);

/* What a program would write to call a library's function: "json.dumps", of json/__init__.py; bounded. Returns buf. */
const char *app_code__dotted(const struct pysymbol *symbol, char *buf, size_t size);

#endif
