/* SPDX-License-Identifier: GPL-2.0-only */
/* See cgroup.h. Lines are "ID:CONTROLLERS:PATH" (cgroups(7)); version 2 has id 0 and no controllers. */
#include "cgroup.h"

#include <stdbool.h>
#include <string.h>

#include "collector/base/text.h"

#define ID_DIGITS 64
#define ID_SHOWN 12

struct piece {
	const char *text;
	size_t len;
};

static bool begins_with(struct piece p, const char *prefix)
{
	return p.len >= strlen(prefix) && memcmp(p.text, prefix, strlen(prefix)) == 0;
}

static bool ends_with(struct piece p, const char *suffix)
{
	return p.len >= strlen(suffix) && memcmp(p.text + p.len - strlen(suffix), suffix, strlen(suffix)) == 0;
}

/* Takes what stands before the next `separator`, which is skipped. False at the end. */
static bool next_piece(struct piece *rest, char separator, struct piece *ret)
{
	const char *at;

	if (rest->len == 0)
		return false;
	at = memchr(rest->text, separator, rest->len);
	ret->text = rest->text;
	ret->len = at ? (size_t)(at - rest->text) : rest->len;
	rest->text += ret->len + (at != NULL);
	rest->len -= ret->len + (at != NULL);
	return true;
}

/* The three fields of a line; the path may hold colons. */
static bool split_line(struct piece line, struct piece *ret_id, struct piece *ret_controllers, struct piece *ret_path)
{
	if (!next_piece(&line, ':', ret_id) || !next_piece(&line, ':', ret_controllers))
		return false;
	*ret_path = line;
	return line.len > 0 && line.text[0] == '/';
}

void cgroup__path(const char *text, size_t len, char *buf, size_t size)
{
	struct piece rest = {text, len}, line, id, controllers, path, best = {"", 0};
	int best_rank = 0;

	while (next_piece(&rest, '\n', &line)) {
		int rank = 1;

		if (!split_line(line, &id, &controllers, &path) || path.len == 1)
			continue;
		if (begins_with(controllers, "name=systemd"))
			rank = 2;
		if (controllers.len == 0)
			rank = 3;
		if (rank > best_rank) {
			best = path;
			best_rank = rank;
		}
	}
	text__clean(buf, size, best.text, best.len);
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* The id in "docker-<id>.scope", "cri-containerd-<id>.scope", "<id>"; empty: there is none. */
static struct piece id_in(struct piece part)
{
	size_t run = 0;

	for (size_t i = 0; i < part.len; i++) {
		run = is_hex(part.text[i]) ? run + 1 : 0;
		if (run == ID_DIGITS && (i + 1 == part.len || !is_hex(part.text[i + 1])))
			return (struct piece){part.text + i + 1 - ID_DIGITS, ID_SHOWN};
	}
	return (struct piece){"", 0};
}

static struct piece inner(struct piece part, const char *prefix, const char *suffix)
{
	return (struct piece){part.text + strlen(prefix), part.len - strlen(prefix) - strlen(suffix)};
}

/* "lxc.payload.NAME" and "lxc/NAME"; "machine-NAME.scope". */
static struct piece name_in(struct piece part, struct piece before)
{
	if (begins_with(part, "lxc.payload."))
		return inner(part, "lxc.payload.", "");
	if (before.len == 3 && begins_with(before, "lxc"))
		return part;
	if (begins_with(part, "machine-") && ends_with(part, ".scope") && part.len > strlen("machine-.scope"))
		return inner(part, "machine-", ".scope");
	return (struct piece){"", 0};
}

/* The innermost container that a path names. */
static struct piece container_in(struct piece path)
{
	struct piece part, before = {"", 0}, found = {"", 0};

	while (next_piece(&path, '/', &part)) {
		struct piece id = id_in(part), name = name_in(part, before);

		if (id.len || name.len)
			found = id.len ? id : name;
		before = part;
	}
	return found;
}

void cgroup__container(const char *text, size_t len, char *buf, size_t size)
{
	struct piece rest = {text, len}, line, id, controllers, path, found = {"", 0};

	while (found.len == 0 && next_piece(&rest, '\n', &line))
		if (split_line(line, &id, &controllers, &path))
			found = container_in(path);
	text__clean(buf, size, found.text, found.len);
}
