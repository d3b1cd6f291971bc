/* SPDX-License-Identifier: GPL-2.0-only */
/* See shadow_stack.h. */
#include "shadow_stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "collector/process/theirs.h"

#define TEXT_MAX (64u << 20)
#define ENVIRON_MAX (4u << 20)

/* HWCAP_GCS of arch/arm64/include/uapi/asm/hwcap.h, Linux 6.13. */
#define ARM64_HWCAP_GCS (1ul << 32)

/* A line that begins so and has the word. */
static const struct {
	const char *begin, *word;
} marks[SHADOW_MARKS] = {
	[SHADOW_IN_STATUS] = {"x86_Thread_features:", "shstk"}, /* not "x86_Thread_features_locked:" */
	[SHADOW_IN_SMAPS] = {"VmFlags:", "ss"},
	[SHADOW_IN_CPUINFO] = {"flags", "user_shstk"},
};

static bool has_word(const char *text, const char *word)
{
	static const char between[] = " \t\n:";
	size_t len = strlen(word);

	while (*(text += strspn(text, between))) {
		size_t n = strcspn(text, between);

		if (n == len && memcmp(text, word, len) == 0)
			return true;
		text += n;
	}
	return false;
}

bool shadow_stack__said(enum shadow_mark mark, FILE *text)
{
	size_t begin = strlen(marks[mark].begin), size = 0, seen = 0;
	bool said = false;
	char *line = NULL;
	ssize_t len;

	while (!said && seen < TEXT_MAX && (len = getline(&line, &size, text)) > 0) {
		seen += (size_t)len;
		said = strncmp(line, marks[mark].begin, begin) == 0 && has_word(line + begin, marks[mark].word);
	}
	free(line);
	return said;
}

static bool file_says(enum shadow_mark mark, const char *path)
{
	FILE *text = fopen(path, "re");
	bool said = text && shadow_stack__said(mark, text);

	if (text)
		fclose(text);
	return said;
}

static bool turns_on(const char *entry)
{
	static const char name[] = "GLIBC_TUNABLES=";

	return strncmp(entry, name, strlen(name)) == 0 && (strstr(entry, "x86_shstk") || strstr(entry, "aarch64_gcs"));
}

bool shadow_stack__asked_for(const char *environ, size_t len)
{
	const char *end = environ + len;

	while (environ < end && memchr(environ, '\0', (size_t)(end - environ))) {
		if (turns_on(environ))
			return true;
		environ += strlen(environ) + 1;
	}
	return false;
}

bool shadow_stack__possible(void)
{
#ifdef __aarch64__
	return getauxval(AT_HWCAP) & ARM64_HWCAP_GCS;
#else
	return file_says(SHADOW_IN_CPUINFO, "/proc/cpuinfo");
#endif
}

static bool asks_for_one(pid_t pid)
{
	char path[64], *text;
	size_t len;
	bool asks;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	if (theirs__slurp(pid, path, ENVIRON_MAX, &text, &len))
		return false;
	asks = shadow_stack__asked_for(text, len);
	free(text);
	return asks;
}

bool shadow_stack__has(pid_t pid)
{
	char status[64], smaps[64];

	if (!shadow_stack__possible())
		return false;
	snprintf(status, sizeof(status), "/proc/%d/status", (int)pid);
	snprintf(smaps, sizeof(smaps), "/proc/%d/smaps", (int)pid);
	return file_says(SHADOW_IN_STATUS, status) || file_says(SHADOW_IN_SMAPS, smaps) || asks_for_one(pid);
}

#define WITHOUT_PROBES "no probe is planted; gilscope dump needs none"
#define VERSIONS "Linux 6.6 to 6.18 do so on x86-64, and others may"

int shadow_fate__judge(enum shadow_fate fate, pid_t pid, struct reason *why)
{
	if (fate == SHADOW_SURVIVES)
		return 0;
	if (fate == SHADOW_KILLED)
		return reason__set(why, -ENOTSUP, "process %d runs with a shadow stack, and this kernel kills such a process at "
				   "a call that has a probe (tried on a child of gilscope's own; " VERSIONS "): "
				   WITHOUT_PROBES, (int)pid);
	return reason__set(why, -ENOTSUP, "process %d runs with a shadow stack, and some kernels kill such a process at a call "
			   "that has a probe (" VERSIONS "); what this one does could not be tried: " WITHOUT_PROBES, (int)pid);
}

const char *shadow_fate__text(enum shadow_fate fate)
{
	static const char *const texts[] = {
		[SHADOW_UNTRIED] = "is refused unless a child of gilscope's own survives a probe with one",
		[SHADOW_SURVIVES] = "survives its probes on this kernel; tried on a child of gilscope's own",
		[SHADOW_KILLED] = "would be killed by its probes on this kernel (" VERSIONS "), so it is refused; tried "
				  "on a child of gilscope's own",
		[SHADOW_UNKNOWN] = "is refused: some kernels kill it at a probe (" VERSIONS "), and what this one does "
				   "could not be tried",
	};

	return texts[fate];
}
