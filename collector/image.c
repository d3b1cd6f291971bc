/* SPDX-License-Identifier: GPL-2.0-only */
/* See image.h. */
#include "image.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "debugfile.h"

/* Nearly every interpreter imports its condition variables: then no symbol is needed, and no file looked for. */
static bool lacks_symbols(struct elffile *ef)
{
	struct elf_import import;

	return elffile__import(ef, "pthread_cond_timedwait", &import) != 0 && !elffile__symbols_origin(ef);
}

static void add_symbols(const struct target *t, struct elffile *ef)
{
	char path[64];
	int root;

	snprintf(path, sizeof(path), "/proc/%d/root", t->pid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return;
	debugfile__add(ef, root, t->image.path);
	close(root);
}

int image__open(const struct target *t, struct elffile **ret, struct reason *why)
{
	int err = elffile__open(t->image.fd, ret, why);

	if (!err && lacks_symbols(*ret))
		add_symbols(t, *ret);
	return err;
}
