/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names of C++ (Itanium ABI) and Rust functions as their authors wrote them, by libiberty: "ns::Model::forward(...)" instead of
 * "_ZN2ns5Model7forwardEPKf". Pure.
 */
#ifndef GILSCOPE_DEMANGLE_H
#define GILSCOPE_DEMANGLE_H

#include <stddef.h>

#define DEMANGLE_RAW_SIZE 2048 /* of a name that is looked at; longer ones are not */

/*
 * Writes what `symbol` is called to `dst`, cleaned, without parameters. If that is too long for `size` (at least 8) bytes, the
 * arguments of templates are left out ("Tensor<..>::at"), then its end. A name that is not mangled stays as it is, and so does
 * one from outside that would take long to write: each of its back references may double it.
 */
void demangle__name(const char *symbol, char *dst, size_t size);

#endif
