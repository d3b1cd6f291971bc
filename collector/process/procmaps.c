/* SPDX-License-Identifier: GPL-2.0-only */
/* See procmaps.h. The format is that of fs/proc/task_mmu.c, show_map_vma(). */
#include "procmaps.h"

#define EXECUTE_MAX (8u << 20)

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What is left of a line. Every take_*() moves it on, or fails and spoils the line. */
struct cursor {
	const char *at;
	const char *end;
	bool bad;
};

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint64_t take_number(struct cursor *c, unsigned int base)
{
	const char *from = c->at;
	uint64_t value = 0;

	for (; c->at < c->end; c->at++) {
		int digit = hex_digit(*c->at);

		if (digit < 0 || digit >= (int)base)
			break;
		if (value > (UINT64_MAX - (uint64_t)digit) / base)
			c->bad = true;
		value = value * base + (uint64_t)digit;
	}
	if (c->at == from)
		c->bad = true;
	return value;
}

static void take_char(struct cursor *c, char want)
{
	if (c->at < c->end && *c->at == want)
		c->at++;
	else
		c->bad = true;
}

/* "r-xp " */
static void take_permissions(struct cursor *c, struct proc_map *map)
{
	if (c->end - c->at < 5 || c->at[4] != ' ') {
		c->bad = true;
		return;
	}
	map->write = c->at[1] == 'w';
	map->exec = c->at[2] == 'x';
	map->shared = c->at[3] == 's';
	c->at += 5;
}

int procmaps__parse(const char *line, size_t len, struct proc_map *ret)
{
	struct cursor c = {.at = line, .end = line + len};
	struct proc_map map = {0};
	uint64_t major, minor;

	if (len > 0 && line[len - 1] == '\n')
		c.end--;
	map.start = take_number(&c, 16);
	take_char(&c, '-');
	map.end = take_number(&c, 16);
	take_char(&c, ' ');
	take_permissions(&c, &map);
	map.offset = take_number(&c, 16);
	take_char(&c, ' ');
	major = take_number(&c, 16);
	take_char(&c, ':');
	minor = take_number(&c, 16);
	take_char(&c, ' ');
	map.ino = take_number(&c, 10);
	if (c.bad || map.start >= map.end || major > UINT32_MAX || minor > UINT32_MAX)
		return -EINVAL;
	map.dev = makedev((unsigned int)major, (unsigned int)minor);
	while (c.at < c.end && *c.at == ' ')
		c.at++;
	map.path = c.at;
	map.path_len = (size_t)(c.end - c.at);
	*ret = map;
	return 0;
}

size_t procmaps__line_len(const char *text, size_t len)
{
	const char *newline = len > 0 ? memchr(text, '\n', len) : NULL;

	return newline ? (size_t)(newline - text) + 1 : len;
}

int procmaps__path(const struct proc_map *map, bool newlines, char *buf, size_t size)
{
	size_t out = 0;

	for (size_t i = 0; i < map->path_len; i++) {
		bool newline = newlines && map->path_len - i >= 4 &&
			       memcmp(map->path + i, "\\012", 4) == 0;

		if (out + 1 >= size)
			return -ENAMETOOLONG;
		buf[out++] = newline ? '\n' : map->path[i];
		i += newline ? 3 : 0;
	}
	buf[out] = '\0';
	return 0;
}

/* Fills the buffer from `fd`, growing it. 0 or -errno; the buffer is the caller's either way. */
static int slurp_fd(int fd, size_t max, char **buf, size_t *len)
{
	size_t room = 0;

	for (;;) {
		ssize_t got;

		if (*len == room) {
			char *more;

			if (room >= max)
				return -EFBIG;
			room = room ? 2 * room : 16384;
			more = realloc(*buf, room);
			if (!more)
				return -ENOMEM;
			*buf = more;
		}
		got = read(fd, *buf + *len, room - *len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : 0;
		*len += (size_t)got;
	}
}

int procmaps__slurp(const char *path, size_t max, char **ret, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	char *buf = NULL;
	int err;

	if (fd < 0)
		return -errno;
	err = slurp_fd(fd, max, &buf, &len);
	close(fd);
	if (err) {
		free(buf);
		return err;
	}
	*ret = buf;
	*ret_len = len;
	return 0;
}

bool procmaps__execute(pid_t pid, uint64_t ino)
{
	char path[64], *text;
	size_t len, line;
	bool found = false;
	struct proc_map map;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	if (procmaps__slurp(path, EXECUTE_MAX, &text, &len))
		return false;
	for (const char *at = text; !found && (line = procmaps__line_len(at, len)) > 0; at += line, len -= line)
		found = !procmaps__parse(at, line, &map) && map.exec && map.ino == ino;
	free(text);
	return found;
}
