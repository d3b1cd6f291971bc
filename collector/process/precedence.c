/* SPDX-License-Identifier: GPL-2.0-only */
/* See precedence.h. */
#include "precedence.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector/base/log.h"

#define FIRST (-20)
#define SLICE_NS 100000 /* the shortest that the kernel grants */

static bool is_plain(void)
{
	return sched_getscheduler(0) == SCHED_OTHER && getpriority(PRIO_PROCESS, 0) == 0;
}

static void go_first(int policy)
{
	const struct sched_param plain = {0};

	if (sched_setscheduler(0, policy, &plain) || setpriority(PRIO_PROCESS, 0, FIRST))
		log_debug("gilscope does not go before other threads: %s", strerror(errno));
}

void precedence__take(void)
{
	if (is_plain()) /* the policy first of all, so that nobody inherits it */
		go_first(SCHED_OTHER | SCHED_RESET_ON_FORK);
}

void precedence__take_with_children(void)
{
	if (is_plain())
		go_first(SCHED_OTHER);
}

/* struct sched_attr, which some C libraries have and some do not. */
struct slice_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

void precedence__run_shortly(void)
{
	struct slice_attr attr = {.size = sizeof(attr), .nice = getpriority(PRIO_PROCESS, 0), .runtime = SLICE_NS};

	if (sched_getscheduler(0) == SCHED_OTHER && syscall(SYS_sched_setattr, 0, &attr, 0))
		log_debug("gilscope may be late where CPUs are few: %s", strerror(errno));
}
