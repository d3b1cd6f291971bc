/* SPDX-License-Identifier: GPL-2.0-only */
/* See precedence.h. */
#include "precedence.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "log.h"

#define FIRST (-20)

void precedence__take(void)
{
	const struct sched_param plain = {0};

	if (sched_getscheduler(0) != SCHED_OTHER || getpriority(PRIO_PROCESS, 0) != 0)
		return;
	/* First of all, so that nobody inherits it. */
	if (sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &plain) || setpriority(PRIO_PROCESS, 0, FIRST))
		log_debug("gilscope does not go before other threads: %s", strerror(errno));
}
