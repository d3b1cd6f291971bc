/* SPDX-License-Identifier: GPL-2.0-only */
/* See task_state.h. */
#include "task_state.h"

#include <stdio.h>
#include <sys/syscall.h>

/* ---- system calls by name: those that block ---- */

static const struct {
	long number;
	const char *name;
} calls[] = {
#define CALL(name) {SYS_##name, #name}
	CALL(futex), CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(pread64), CALL(pwrite64), CALL(fsync),
	CALL(fdatasync), CALL(flock), CALL(fcntl), CALL(ioctl), CALL(openat), CALL(close), CALL(unlinkat), CALL(ppoll),
	CALL(pselect6), CALL(epoll_pwait), CALL(nanosleep), CALL(clock_nanosleep), CALL(accept), CALL(accept4), CALL(connect),
	CALL(recvfrom), CALL(recvmsg), CALL(sendto), CALL(sendmsg), CALL(wait4), CALL(waitid), CALL(rt_sigtimedwait),
	CALL(rt_sigsuspend), CALL(semop), CALL(semtimedop), CALL(msgrcv), CALL(msgsnd), CALL(mq_timedreceive), CALL(splice),
	CALL(sendfile), CALL(io_getevents), CALL(getrandom), CALL(mmap), CALL(munmap), CALL(madvise), CALL(execve), CALL(sync),
#ifdef SYS_poll
	CALL(poll), CALL(select), CALL(pause), CALL(epoll_wait), CALL(open), CALL(unlink),
#endif
#ifdef SYS_futex_waitv
	CALL(futex_waitv),
#endif
#undef CALL
};

void task_state__call_name(long number, char *buf, size_t size)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].number == number) {
			snprintf(buf, size, "%s", calls[i].name);
			return;
		}
	snprintf(buf, size, "system call %ld", number);
}

const char *task_state__words(const struct task_state *s, char buf[TASK_DOING_SIZE])
{
	const char *what = s->letter == 'T' ? "stopped" : s->letter == 't' ? "held by a tracer" :
			   s->letter == 'D' ? "in uninterruptible sleep" : "asleep";

	buf[0] = '\0';
	if (!task_state__is_off(s))
		return buf;
	snprintf(buf, TASK_DOING_SIZE, "%s%s%s%s%s%s", what, s->call[0] ? " in " : "", s->call, s->wchan[0] ? " (" : "", s->wchan,
		 s->wchan[0] ? ")" : "");
	return buf;
}

static uint64_t grown(uint64_t from, uint64_t to, uint64_t at_most)
{
	uint64_t by = to > from ? to - from : 0;

	return by < at_most ? by : at_most;
}

/*
 * Who is off a CPU at both ends and never slept in between was off all the while; who can run at both ends and never slept in
 * between had a CPU or waited for one, which the kernel has not added yet while it lasts.
 */
struct task_spent task_state__spent(const struct task_state *from, const struct task_state *to, uint64_t len_ns)
{
	struct task_spent spent = {0};
	uint64_t rest;

	if (!from->timed || !to->timed || !from->letter || !to->letter) {
		spent.unknown_ns = len_ns;
		return spent;
	}
	spent.on_ns = grown(from->cpu_ns, to->cpu_ns, len_ns);
	spent.delay_ns = grown(from->delay_ns, to->delay_ns, len_ns - spent.on_ns);
	rest = len_ns - spent.on_ns - spent.delay_ns;
	if (task_state__is_off(to))
		spent.asleep_ns = rest;
	else if (!task_state__is_off(from) && from->slept == to->slept)
		spent.delay_ns += rest;
	else
		spent.unknown_ns = rest;
	return spent;
}
