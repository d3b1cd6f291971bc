/* SPDX-License-Identifier: GPL-2.0-only */
/* See microhttpd_lib.h. */
#include "microhttpd_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef HAVE_MICROHTTPD

#define MICROHTTPD_FILE "libmicrohttpd.so.12" /* of every release since 0.9.55 */

struct microhttpd microhttpd;

int microhttpd__check(struct reason *why)
{
	return 0;
}

int microhttpd__load(struct reason *why)
{
	void *library = dlopen(MICROHTTPD_FILE, RTLD_NOW | RTLD_LOCAL);
	bool complete = true;

	if (!library)
		return reason__set(why, -ENOTSUP, "%s can't be loaded (%s): it serves the metrics; install it", MICROHTTPD_FILE,
				   dlerror());
#define X(name) \
	microhttpd.name = (__typeof__(microhttpd.name))dlsym(library, "MHD_" #name); \
	complete = complete && microhttpd.name;
	MICROHTTPD_FUNCTIONS(X)
#undef X
	return complete ? 0 : reason__set(why, -ENOTSUP, "%s lacks functions that libmicrohttpd has had since 0.9.55",
					  MICROHTTPD_FILE);
}

#else

int microhttpd__check(struct reason *why)
{
	return reason__set(why, -ENOTSUP, "this gilscope was built without libmicrohttpd, which serves the metrics");
}

int microhttpd__load(struct reason *why)
{
	return microhttpd__check(why);
}

#endif
