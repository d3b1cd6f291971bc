/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The capabilities that gilscope uses: what for, when, and in which of its processes. doctor prints this table, the README
 * and the manual page repeat it (tests/unit/test_caps.c compares them). Which of them a kernel asks for is never concluded
 * from its version: the planter tries (planter.h).
 */
#ifndef GILSCOPE_CAPS_H
#define GILSCOPE_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/base/reason.h"

/* X(name, number, who keeps it, what for, when) */
#define CAPS(X) \
	X(CAP_BPF, 39, CAP_OF_BOTH, "load the probe programs", "always") \
	X(CAP_PERFMON, 38, CAP_OF_BOTH, "load the probe programs, and time threads on the CPU", "always") \
	X(CAP_SYS_PTRACE, 19, CAP_OF_GILSCOPE, "read the memory of processes", "for processes of other users") \
	X(CAP_DAC_READ_SEARCH, 2, CAP_OF_GILSCOPE, "open the files of processes", "in other users' private directories") \
	X(CAP_CHECKPOINT_RESTORE, 40, CAP_OF_GILSCOPE, "open interpreters that were replaced or deleted", \
	  "for those; CAP_SYS_ADMIN does it, too") \
	X(CAP_SYS_ADMIN, 21, CAP_OF_PLANTER, "plant probes one by one, and time threads on the CPU", \
	  "where the kernel refuses it without: found out by trying")

enum cap {
#define X(name, number, holder, text, when) name##_INDEX,
	CAPS(X)
#undef X
	CAPS_COUNT,
};

#define CAP_BIT(number) (1ull << (number))
#define CAP_BPF_BIT CAP_BIT(39)
#define CAP_PERFMON_BIT CAP_BIT(38)
#define CAP_SYS_ADMIN_BIT CAP_BIT(21)

/* Whether a set has it. CAP_SYS_ADMIN contains what CAP_BPF, CAP_PERFMON and CAP_CHECKPOINT_RESTORE took out of it. */
bool caps__has(uint64_t set, enum cap cap);
const char *caps__name(enum cap cap);
const char *caps__text(enum cap cap);
const char *caps__when(enum cap cap);

/* Capabilities of this process that are in force, and all that it may put in force; 0 if they can't be read. */
uint64_t caps__effective(void);
uint64_t caps__permitted(void);

/* Effective capabilities out of the text of /proc/PID/status, for tests. */
uint64_t caps__parse(const char *status);

/* Sets both sets of the calling thread. 0 or -errno. */
int caps__set(uint64_t effective, uint64_t permitted);

/* Whether attaching can work at all: CAP_BPF and CAP_PERFMON. */
bool caps__can_attach(uint64_t effective);

/* The same for a set: 0, or -EPERM with the sentence. */
int caps__check_set(uint64_t effective, struct reason *why);

/* The same for this process. */
int caps__check(struct reason *why);

/*
 * What nobody of ours may ever get again, the calling thread and all that it starts: an empty bounding set (as far as
 * CAP_SETPCAP goes), no ambient set, no_new_privs. The sets in force stay.
 */
void caps__seal(void);

/* The same, and no capability is left. 0 or -errno. */
int caps__give_up(void);

/*
 * Gives up for good, for the calling thread and those that it starts, every capability but those that observing takes
 * (and CAP_KILL, where signals are passed on to a program of another user's), and seals the rest. CAP_SYS_ADMIN stays only
 * where it stands for one of them. 0 or -errno with the sentence. Start the planter first: probes__give_up_rights() does both.
 */
int caps__keep(bool signals_others, struct reason *why);

/*
 * As caps__keep(), but only puts them out of force: caps__take_back() with *ret_aside puts them in force again, as far as it can.
 */
int caps__set_aside(uint64_t *ret_aside, struct reason *why);
void caps__take_back(uint64_t aside);

/* The set that caps__keep() leaves of `effective`. */
uint64_t caps__kept(uint64_t effective, bool signals_others);

/* The set that the planter begins with, of `permitted`. */
uint64_t caps__of_planter(uint64_t permitted);

/* The set of those who read processes' memory and files for gilscope (errand.h), of `effective`. */
uint64_t caps__of_reader(uint64_t effective);

/* The names of a set's capabilities as far as the table has them: "CAP_BPF, CAP_PERFMON". Returns buf. */
const char *caps__names(uint64_t set, char *buf, size_t size);

#endif
