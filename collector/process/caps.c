/* SPDX-License-Identifier: GPL-2.0-only */
/* See caps.h. */
#include "caps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector/base/log.h"

#define CAP_KILL_NUMBER 5

enum holder {
	CAP_OF_GILSCOPE = 1,
	CAP_OF_PLANTER = 2,
	CAP_OF_BOTH = 3,
};

static const struct {
	const char *name, *text, *when;
	int number;
	enum holder holder;
} caps[CAPS_COUNT] = {
#define X(name_, number_, holder_, text_, when_) [name_##_INDEX] = {#name_, text_, when_, number_, holder_},
	CAPS(X)
#undef X
};

static bool bit(uint64_t set, int number)
{
	return set >> number & 1;
}

bool caps__has(uint64_t set, enum cap cap)
{
	bool split_off = cap == CAP_BPF_INDEX || cap == CAP_PERFMON_INDEX || cap == CAP_CHECKPOINT_RESTORE_INDEX;

	return bit(set, caps[cap].number) || (split_off && set & CAP_SYS_ADMIN_BIT);
}

const char *caps__name(enum cap cap)
{
	return caps[cap].name;
}

const char *caps__text(enum cap cap)
{
	return caps[cap].text;
}

const char *caps__when(enum cap cap)
{
	return caps[cap].when;
}

static uint64_t parse(const char *status, const char *key)
{
	const char *line = strstr(status, key);

	return line ? strtoull(line + strlen(key), NULL, 16) : 0;
}

uint64_t caps__parse(const char *status)
{
	return parse(status, "\nCapEff:");
}

/* Of the calling thread, as caps__set() sets them. */
static uint64_t read_own(const char *key)
{
	char text[8192];
	int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return 0;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return 0;
	text[len] = '\0';
	return parse(text, key);
}

uint64_t caps__effective(void)
{
	return read_own("\nCapEff:");
}

uint64_t caps__permitted(void)
{
	return read_own("\nCapPrm:");
}

bool caps__can_attach(uint64_t effective)
{
	return caps__has(effective, CAP_BPF_INDEX) && caps__has(effective, CAP_PERFMON_INDEX);
}

int caps__check_set(uint64_t effective, struct reason *why)
{
	bool bpf = caps__has(effective, CAP_BPF_INDEX), perfmon = caps__has(effective, CAP_PERFMON_INDEX);

	if (bpf && perfmon)
		return 0;
	return reason__set(why, -EPERM, "%s%s%s missing: run gilscope as root (sudo), or grant it these capabilities",
			   bpf ? "" : "CAP_BPF", bpf || perfmon ? "" : " and ",
			   perfmon ? " is" : bpf ? "CAP_PERFMON is" : "CAP_PERFMON are");
}

int caps__check(struct reason *why)
{
	return caps__check_set(caps__effective(), why);
}

static uint64_t all_of(enum holder holder)
{
	uint64_t set = 0;

	for (int i = 0; i < CAPS_COUNT; i++)
		if (caps[i].holder & holder)
			set |= CAP_BIT(caps[i].number);
	return set;
}

uint64_t caps__kept(uint64_t effective, bool signals_others)
{
	uint64_t keep = all_of(CAP_OF_GILSCOPE);

	if (signals_others)
		keep |= CAP_BIT(CAP_KILL_NUMBER);
	if (!bit(effective, caps[CAP_BPF_INDEX].number) || !bit(effective, caps[CAP_PERFMON_INDEX].number))
		keep |= CAP_SYS_ADMIN_BIT;
	return effective & keep;
}

uint64_t caps__of_planter(uint64_t permitted)
{
	return permitted & all_of(CAP_OF_PLANTER);
}

uint64_t caps__of_reader(uint64_t effective)
{
	return effective & all_of(CAP_OF_GILSCOPE) & ~all_of(CAP_OF_PLANTER);
}

const char *caps__names(uint64_t set, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (int i = 0; i < CAPS_COUNT && len < size; i++)
		if (bit(set, caps[i].number))
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "", caps[i].name);
	return buf;
}

int caps__set(uint64_t effective, uint64_t permitted)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct set[2] = {{0}};

	for (int i = 0; i < 2; i++) {
		set[i].effective = (uint32_t)(effective >> (32 * i));
		set[i].permitted = (uint32_t)(permitted >> (32 * i));
	}
	return syscall(SYS_capset, &header, set) ? -errno : 0;
}

static int say_kept(int err, uint64_t kept, struct reason *why)
{
	char names[256];

	if (err)
		return reason__set(why, err, "can't give up the rights that are not needed: %s", strerror(-err));
	log_verbose("of its rights gilscope keeps %s", caps__names(kept, names, sizeof(names)));
	return 0;
}

void caps__seal(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap) < 0)
			break; /* that takes CAP_SETPCAP; without a right there is none to come back */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int caps__give_up(void)
{
	caps__seal();
	return caps__set(0, 0);
}

int caps__keep(bool signals_others, struct reason *why)
{
	uint64_t kept = caps__kept(caps__effective(), signals_others);

	caps__seal();
	return say_kept(caps__set(kept, kept), kept, why);
}

int caps__set_aside(uint64_t *ret_aside, struct reason *why)
{
	uint64_t effective = caps__effective(), kept = caps__kept(effective, false);
	int err;

	caps__seal();
	err = say_kept(caps__set(kept, caps__permitted()), kept, why);

	if (!err)
		*ret_aside = effective & ~kept;
	return err;
}

void caps__take_back(uint64_t aside)
{
	if (caps__set(caps__effective() | aside, caps__permitted()))
		log_debug("rights that were set aside can't be taken back");
}
