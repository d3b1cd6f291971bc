/* SPDX-License-Identifier: GPL-2.0-only */
/* See image.h. */
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/elf/debugfile.h"
#include "collector/process/theirs.h"

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

/* ---- the C library ---------------------------------------------------------------------------- */

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* glibc before 2.34: what libc.so.6 has under these names leads here. */
static bool is_libpthread(const char *name)
{
	return begins(name, "libpthread.so.0") || begins(name, "libpthread-2.");
}

static bool is_libc(const char *name)
{
	return begins(name, "libc.so.6") || begins(name, "libc-2.") || begins(name, "ld-musl-") || begins(name, "libc.musl-");
}

static int open_c_library(const struct target *t)
{
	int fd = target__open_library(t, is_libpthread);

	return fd >= 0 ? fd : target__open_library(t, is_libc);
}

int image__open_c_library(const struct target *t, int *ret_fd)
{
	int fd = open_c_library(t);

	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

/* `why_not`: why the interpreter's file would not do. */
static int plan_library(const struct target *t, const char *why_not, struct site_plan **ret)
{
	int fd = open_c_library(t), err;
	struct elffile *library;

	if (fd < 0)
		return fd;
	err = elffile__open(fd, &library, NULL);
	if (!err) {
		err = sites__plan_library(library, why_not, ret, NULL);
		elffile__close(library);
	}
	if (err)
		close(fd);
	else
		(*ret)->library_fd = fd;
	return err;
}

/* A program of another machine runs in an emulator: what executes is not its code. */
static bool is_foreign(struct elffile *ef)
{
#if defined(__x86_64__)
	return elffile__machine(ef) != EM_X86_64;
#elif defined(__aarch64__)
	return elffile__machine(ef) != EM_AARCH64;
#else
	return true;
#endif
}

static int plan_any(const struct target *t, struct elffile *ef, struct site_plan **ret, struct reason *why)
{
	struct site_plan *own = NULL;
	struct reason why_not = {""};
	int err;

	if (is_foreign(ef))
		return reason__set(why, -ENOTSUP, "process %d runs code of another machine (in an emulator?)", (int)t->pid);
	err = sites__plan(ef, &own, &why_not);
	if (!err && !own->incomplete) {
		*ret = own;
		return 0;
	}
	if (err && err != -ENOTSUP)
		return reason__set(why, err, "%s", why_not.text);
	if (plan_library(t, own ? own->notes : "the interpreter's own calls cannot be told", ret) == 0) {
		site_plan__free(own);
		return 0;
	}
	*ret = own; /* what is certain is better than nothing, and its notes say what is missing */
	return err ? reason__set(why, err, "%s", why_not.text) : 0;
}

int image__plan(const struct target *t, struct elffile *ef, const struct pyver *python, struct site_plan **ret,
		struct reason *why)
{
	int err = plan_any(t, ef, ret, why);

	if (!err && python->free_threaded)
		park_sites__find(ef, &(*ret)->park);
	return err;
}

size_t image__texts(const struct site_plan *plan, struct site_text *ret, size_t max)
{
	size_t n = plan->sites_n < max ? plan->sites_n : max;

	for (size_t i = 0; i < n; i++)
		ret[i] = plan->sites[i].text;
	return n;
}

uint64_t image__texts_inode(const struct target *t, const struct site_plan *plan)
{
	struct stat st;

	if (plan->library_fd < 0)
		return t->image.ino;
	return theirs__fstat(plan->library_fd, &st) ? 0 : st.st_ino;
}
