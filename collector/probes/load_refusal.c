/* SPDX-License-Identifier: GPL-2.0-only */
/* See load_refusal.h. */
#include "load_refusal.h"

#include <errno.h>
#include <string.h>

#include "collector/process/caps.h"

#define MORE "gilscope -vv doctor shows all of it"

/* EPERM and EACCES without a verifier's log: missing rights, or something that forbids it to those who have them. */
static int say_forbidden(const struct load_refusal *r, struct reason *why)
{
	if (caps__check_set(r->effective, why))
		return -EPERM;
	return reason__set(why, r->err, "the kernel lets gilscope load no BPF program (%s), though it has CAP_BPF and "
			   "CAP_PERFMON: a security module, kernel lockdown or the container's seccomp filter forbids it",
			   strerror(-r->err));
}

int load_refusal__say(const struct load_refusal *r, struct reason *why)
{
	if (r->log->line[0])
		return reason__set(why, r->err, "the verifier of this kernel (%s) refuses gilscope's program %s: \"%s\"; "
				   MORE ", please report it", r->release, r->log->program, r->log->line);
	if (r->err == -EPERM || r->err == -EACCES)
		return say_forbidden(r, why);
	return reason__set(why, r->err, "gilscope's programs could not be loaded into this kernel (%s): %s%s%s; " MORE,
			   r->release, strerror(-r->err), r->log->last[0] ? ": " : "", r->log->last);
}
