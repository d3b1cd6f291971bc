/* SPDX-License-Identifier: GPL-2.0-only */
/* See reason.h. */
#include "reason.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

int reason__set(struct reason *why, int err, const char *fmt, ...)
{
	char raw[sizeof(why->text)];
	va_list args;

	if (!why)
		return err;
	va_start(args, fmt);
	vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	text__clean(why->text, sizeof(why->text), raw, strlen(raw));
	return err;
}
