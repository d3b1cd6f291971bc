/* SPDX-License-Identifier: GPL-2.0-only */
#include "procstat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "procmaps.h"

#define TEXT_MAX (64u << 10)
#define STAT_FIELDS 50 /* that are read, of 52 */

/* Of a process, or of one of its threads. */
static int slurp(pid_t pid, pid_t tid, const char *file, char **ret, size_t *ret_len)
{
	char path[64];

	if (tid && tid != pid)
		snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)tid, file);
	else
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return procmaps__slurp(path, TEXT_MAX, ret, ret_len);
}

/* ---- stat ---- */

/* From its third field on: the second one, comm, may hold anything, ") R 1" included. */
static int parse_stat(const char *text, size_t len, struct procstat *ret)
{
	const char *at = memrchr(text, ')', len), *end = text + len, *open = memchr(text, '(', len);
	uint64_t field[STAT_FIELDS + 1] = {0};

	if (!at || end - at < 4 || !open || open > at)
		return -EINVAL;
	snprintf(ret->comm, sizeof(ret->comm), "%.*s", (int)(at - open - 1), open + 1);
	at += 2;
	ret->state = *at++;
	for (int i = 4; i <= STAT_FIELDS; i++) {
		while (at < end && *at == ' ')
			at++;
		if (at < end && *at == '-')
			at++;
		if (at >= end || *at < '0' || *at > '9')
			return -EINVAL;
		while (at < end && *at >= '0' && *at <= '9')
			field[i] = field[i] * 10 + (uint64_t)(*at++ - '0');
	}
	ret->parent = (pid_t)field[4];
	ret->flags = (unsigned int)field[9];
	ret->start_ticks = field[22];
	ret->cpu_ticks = field[14] + field[15];
	ret->reaped_ticks = field[16] + field[17];
	ret->cpu = (int)field[39];
	ret->start_stack = field[28];
	ret->arg_start = field[48];
	ret->arg_end = field[49];
	/* start_code is 1 for those who may not see it, and the start of the environment is put in place after the arguments. */
	ret->in_exec = field[26] != 1 && field[50] == 0;
	return 0;
}

int procstat__read(pid_t pid, pid_t tid, struct procstat *ret)
{
	char *text;
	size_t len;
	int err = slurp(pid, tid, "stat", &text, &len);

	if (err)
		return err == -ENOENT ? -ESRCH : err;
	err = parse_stat(text, len, ret);
	free(text);
	return err;
}

pid_t procstat__parent(pid_t pid)
{
	struct procstat fields;

	return procstat__read(pid, 0, &fields) ? 0 : fields.parent;
}

/* ---- status ---- */

char *procstat__status_line(pid_t pid, pid_t tid, const char *key, char **ret_text)
{
	char *line;
	size_t len;

	*ret_text = NULL;
	if (slurp(pid, tid, "status", ret_text, &len))
		return NULL;
	(*ret_text)[len > 0 ? len - 1 : 0] = '\0'; /* over its last newline */
	line = strstr(*ret_text, key);
	if (!line)
		return NULL;
	line += strlen(key);
	line[strcspn(line, "\n")] = '\0';
	return line;
}

uint64_t procstat__status_number(pid_t pid, pid_t tid, const char *key, int base)
{
	char *text, *line = procstat__status_line(pid, tid, key, &text);
	uint64_t number = line ? strtoull(line, NULL, base) : 0;

	free(text);
	return number;
}

pid_t procstat__id(const char *text)
{
	long id = strtol(text, NULL, 10);

	return id > 0 && id <= INT32_MAX ? (pid_t)id : 0;
}

pid_t procstat__status_id(pid_t pid, pid_t tid, const char *key)
{
	char *text, *line = procstat__status_line(pid, tid, key, &text);
	pid_t id = line ? procstat__id(line) : 0;

	free(text);
	return id;
}
