/* SPDX-License-Identifier: GPL-2.0-only */
/* See capstone_lib.h. The file has the major version of the header that this was compiled with. */
#include "capstone_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define CAPSTONE_FILE "libcapstone.so." TEXT(CS_API_MAJOR)

struct capstone capstone;
static void *library;

int capstone__load(struct reason *why)
{
	bool complete = true;

	if (library)
		return 0;
	library = dlopen(CAPSTONE_FILE, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return reason__set(why, -ENOTSUP, "%s can't be loaded (%s): it decodes the interpreter, so that no probe lands "
				   "between two instructions; install it", CAPSTONE_FILE, dlerror());
#define X(name) \
	capstone.name = (__typeof__(capstone.name))dlsym(library, "cs_" #name); \
	complete = complete && capstone.name;
	CAPSTONE_FUNCTIONS(X)
#undef X
	if (complete)
		return 0;
	capstone__unload();
	return reason__set(why, -ENOTSUP, "%s lacks functions that Capstone has had since version 4", CAPSTONE_FILE);
}

void capstone__unload(void)
{
	if (library)
		dlclose(library);
	library = NULL;
	capstone = (struct capstone){0};
}
