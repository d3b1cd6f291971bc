/* SPDX-License-Identifier: GPL-2.0-only */
/* See caps.h. */
#include "caps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../collector/log.h"

#define SYS_ADMIN 21
#define SETGID 6
#define SETUID 7

static const struct {
	const char *name, *text;
	int number;
} caps[CAPS_COUNT] = {
#define X(name_, number_, text_) [name_##_INDEX] = {#name_, text_, number_},
	CAPS(X)
#undef X
};

static bool bit(uint64_t set, int number)
{
	return set >> number & 1;
}

bool caps__has(uint64_t effective, enum cap cap)
{
	bool split_off = cap == CAP_BPF_INDEX || cap == CAP_PERFMON_INDEX || cap == CAP_CHECKPOINT_RESTORE_INDEX;

	return bit(effective, caps[cap].number) || (split_off && bit(effective, SYS_ADMIN));
}

const char *caps__name(enum cap cap)
{
	return caps[cap].name;
}

const char *caps__text(enum cap cap)
{
	return caps[cap].text;
}

uint64_t caps__parse(const char *status)
{
	const char *line = strstr(status, "\nCapEff:");

	return line ? strtoull(line + strlen("\nCapEff:"), NULL, 16) : 0;
}

uint64_t caps__effective(void)
{
	char text[8192];
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return 0;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return 0;
	text[len] = '\0';
	return caps__parse(text);
}

bool caps__can_attach(uint64_t effective)
{
	return caps__has(effective, CAP_BPF_INDEX) && caps__has(effective, CAP_PERFMON_INDEX);
}

int caps__check(struct reason *why)
{
	uint64_t effective = caps__effective();
	bool bpf = caps__has(effective, CAP_BPF_INDEX), perfmon = caps__has(effective, CAP_PERFMON_INDEX);

	if (bpf && perfmon)
		return 0;
	return reason__set(why, -EPERM, "%s%s%s missing: run gilscope as root (sudo), or grant it these capabilities",
			   bpf ? "" : "CAP_BPF", bpf || perfmon ? "" : " and ",
			   perfmon ? " is" : bpf ? "CAP_PERFMON is" : "CAP_PERFMON are");
}

uint64_t caps__kept(uint64_t effective, bool starts_program)
{
	uint64_t keep = 0;

	for (int i = 0; i < CAPS_COUNT; i++)
		keep |= 1ull << caps[i].number;
	if (starts_program)
		keep |= 1ull << SETUID | 1ull << SETGID;
	if (!bit(effective, caps[CAP_BPF_INDEX].number) || !bit(effective, caps[CAP_PERFMON_INDEX].number))
		keep |= 1ull << SYS_ADMIN;
	return effective & keep;
}

static void say_kept(uint64_t kept)
{
	char names[160] = "";

	for (int i = 0; i < CAPS_COUNT; i++)
		if (bit(kept, caps[i].number)) {
			strcat(names, names[0] ? ", " : "");
			strcat(names, caps[i].name);
		}
	log_verbose("of its rights gilscope keeps %s", names);
}

int caps__keep(bool starts_program, struct reason *why)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct set[2] = {{0}};
	uint64_t kept = caps__kept(caps__effective(), starts_program);

	for (int i = 0; i < 2; i++) {
		set[i].effective = (uint32_t)(kept >> (32 * i));
		set[i].permitted = set[i].effective;
	}
	if (syscall(SYS_capset, &header, set))
		return reason__set(why, -errno, "can't give up the rights that are not needed: %s", strerror(errno));
	say_kept(kept);
	return 0;
}
