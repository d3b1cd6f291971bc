/* SPDX-License-Identifier: GPL-2.0-only */
/* See debugfile.h. The order is gdb's ("Separate Debug Files"), with what needs no search last. */
#include "debugfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collector/base/bytes.h"
#include "collector/process/theirs.h"

#define DEBUG_DIR "/usr/lib/debug"
#define LINK_SIZE_MAX 4096
#define CHECKED_MAX (1ll << 30)      /* size of a file whose checksum is computed */
#define PACKED_MAX (16u << 20)
#define UNPACKED_MAX (64u << 20)     /* real ones have some 100 KB */
#define UNPACK_MEMORY (128ull << 20) /* xz -9 needs 65 MB */

/* To read from, in the place of one that may only name a file. A negative descriptor is legal. */
static int readable(int fd)
{
	int content = fd < 0 ? fd : theirs__content(fd);

	if (fd >= 0)
		close(fd);
	return content;
}

/* Adds what an open file tells; closes it where it is of no use. A negative descriptor is legal. */
static int try_file(struct elffile *ef, int fd, bool known_to_fit, const char *origin)
{
	int err = fd < 0 ? fd : elffile__add_symbols(ef, fd, known_to_fit, origin);

	if (err && fd >= 0)
		close(fd);
	return err;
}

/* ---- by build-id ---------------------------------------------------------------------------- */

static int by_build_id(struct elffile *ef, int root, char *path, size_t size)
{
	struct stat st;
	char hex[64];
	int err;

	if (elffile__build_id(ef, hex, sizeof(hex)) != 0)
		return -ENOENT;
	snprintf(path, size, DEBUG_DIR "/.build-id/%.2s/%s.debug", hex, hex + 2);
	err = try_file(ef, readable(theirs__open_in(root, path, &st)), false, path);
	return err ? try_file(ef, readable(theirs__open(0, path, &st)), false, path) : 0;
}

/* ---- by .gnu_debuglink ---------------------------------------------------------------------- */

static bool checksum_fits(int fd, off_t len, uint32_t want)
{
	static const size_t step = 1u << 16;
	uint8_t *buf = malloc(step);
	uint32_t crc = 0;
	off_t at = 0;

	while (buf && at < len) {
		ssize_t got = pread(fd, buf, step, at);

		if (got <= 0)
			break;
		crc = lzma_crc32(buf, (size_t)got, crc);
		at += got;
	}
	free(buf);
	return at >= len && crc == want;
}

static int try_link(struct elffile *ef, int root, const char *path, uint32_t crc)
{
	struct stat st;
	int fd = readable(theirs__open_in(root, path, &st));

	if (fd < 0)
		return fd;
	if (st.st_size > CHECKED_MAX || !checksum_fits(fd, st.st_size, crc)) {
		close(fd);
		return -ESTALE;
	}
	return try_file(ef, fd, true, path);
}

/* The section holds a file name, NUL, padding to a multiple of 4, and the file's CRC-32. */
static int by_link(struct elffile *ef, int root, const char *image, char *path, size_t size)
{
	static const struct {
		const char *above, *below; /* the image's directory */
	} places[] = {{"", ""}, {"", "/.debug"}, {DEBUG_DIR, ""}};
	size_t len, name_len;
	uint32_t crc;
	const char *link = elffile__section_bytes(ef, ".gnu_debuglink", LINK_SIZE_MAX, &len);
	const char *slash = strrchr(image, '/');

	if (!link || !slash)
		return -ENOENT;
	name_len = strnlen(link, len);
	if (name_len == 0 || memchr(link, '/', name_len) || ((name_len + 4) & ~3ull) + 4 > len)
		return -ENOENT;
	crc = bytes__u32((const uint8_t *)link + ((name_len + 4) & ~3ull));
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, size, "%s%.*s%s/%s", places[i].above, (int)(slash - image), image, places[i].below, link);
		if (try_link(ef, root, path, crc) == 0)
			return 0;
	}
	return -ENOENT;
}

/* ---- .gnu_debugdata ------------------------------------------------------------------------- */

/* Unpacks into `fd`, at most UNPACKED_MAX bytes. */
static int unpack(lzma_stream *xz, const void *packed, size_t len, int fd)
{
	uint8_t out[1 << 14];
	lzma_ret rc = LZMA_OK;

	xz->next_in = packed;
	xz->avail_in = len;
	while (rc == LZMA_OK) {
		size_t got;

		xz->next_out = out;
		xz->avail_out = sizeof(out);
		rc = lzma_code(xz, LZMA_FINISH);
		got = sizeof(out) - xz->avail_out;
		if (xz->total_out > UNPACKED_MAX || write(fd, out, got) != (ssize_t)got)
			return -EFBIG;
	}
	return rc == LZMA_STREAM_END ? 0 : -ENOEXEC;
}

static int by_packed_section(struct elffile *ef)
{
	lzma_stream xz = LZMA_STREAM_INIT;
	size_t len;
	const void *packed = elffile__section_bytes(ef, ".gnu_debugdata", PACKED_MAX, &len);
	int fd, err;

	if (!packed)
		return -ENOENT;
	fd = memfd_create("gilscope-debugdata", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = lzma_stream_decoder(&xz, UNPACK_MEMORY, 0) == LZMA_OK ? unpack(&xz, packed, len, fd) : -ENOMEM;
	lzma_end(&xz);
	if (err) {
		close(fd);
		return err;
	}
	return try_file(ef, fd, true, "its .gnu_debugdata");
}

int debugfile__add(struct elffile *ef, int root, const char *path)
{
	char found[PATH_MAX + 256];

	if (by_build_id(ef, root, found, sizeof(found)) == 0 || by_link(ef, root, path, found, sizeof(found)) == 0 ||
	    by_packed_section(ef) == 0)
		return 0;
	return -ENOENT;
}
