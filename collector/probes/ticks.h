/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Timers of threads' own CPU time, at which a program looks what code a holder of the GIL is in (gil_sample in bpf/gil.bpf.c).
 *
 * A thread that begins later inherits the timer of the one that started it (perf_event_attr.inherit_thread, Linux 5.13), so
 * that even one that lives for some milliseconds has its ticks; where the kernel knows no such thing, ticks__want() is for
 * newcomers. A timer costs nothing while its thread does not run. Includes no libbpf: a program is its descriptor.
 */
#ifndef GILSCOPE_TICKS_H
#define GILSCOPE_TICKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TICKS_TIMERS_MAX 512         /* descriptors; threads that inherit one need none */
#define TICKS_MOVED_MAX 32           /* timers that go from one thread of a process to another, in an interval */
#define TICKS_USUAL_NS 4000000ull    /* of CPU time between two ticks of a thread: 250 a second of it */
#define TICKS_FINE_NS 1000000ull     /* for a look of some seconds */
#define TICKS_MOST 0.02              /* of a core that looks may cost a process; where they would cost more, fewer are taken */
#define TICKS_TRAP_NS 1000ull        /* of the interrupt around a look */
/* Without them. */
#define TICKS_LOST "which code a holder of the GIL spends its time in is seen only when others wait and where long holds end: "

struct planter;
struct ticks;

/*
 * `program_fd`: of gil_sample; `planter` opens the timers; `why_not`: "", or why the kernel is known to refuse them, which is
 * said when the first one is wanted. All stay the caller's. `period_ns` > 0: of each thread's CPU time, and a few percent
 * more or less, so that no program keeps step with it. NULL: no memory.
 */
struct ticks *ticks__new(int program_fd, struct planter *planter, const char *why_not, uint64_t period_ns);
void ticks__free(struct ticks *t);

/* Whether a timer of that thread of that process can be started: 0 or -errno. It is gone again on return. */
int ticks__try(int program_fd, struct planter *planter, pid_t pid, pid_t tid);

/* Starts timers of all threads of a process. Where the kernel refuses there are none, with one warning. */
void ticks__follow(struct ticks *t, pid_t pid);

/*
 * Once for each interval of a process, for each of its threads: how long it held the GIL. Begin with all of them idle. Where
 * there are no more timers, who holds for longer gets that of who did for less.
 */
void ticks__all_idle(struct ticks *t, pid_t pid);
void ticks__held(struct ticks *t, pid_t pid, pid_t tid, uint64_t ns);

/* Starts the timer of one thread, which has none as it seems; one that this was called for before is left alone. */
void ticks__want(struct ticks *t, pid_t pid, pid_t tid, uint64_t held_ns);

/* Whether every thread that one was wanted for has a timer, or inherits one: none was refused, and there was room. */
bool ticks__are_on_all(const struct ticks *t);

/* Takes the timers of a process away. */
void ticks__forget(struct ticks *t, pid_t pid);

#endif
