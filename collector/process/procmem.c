/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See procmem.h. Where errands are done by another process, addresses and lengths go to it and bytes come back, many pieces at a
 * time; else the bytes go where they belong at once.
 */
#include "procmem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "errand.h"

#define READ_MAX (1u << 20)
#define AT_ONCE 256       /* pieces per system call (IOV_MAX is 1024) */
#define FAULTS_MAX 64

/* ---- the reading itself ---- */

/*
 * The same by way of /proc/PID/mem: a sandbox may refuse the system call, but not a file. What the kernel itself refuses, it
 * refuses here as well.
 */
static size_t read_file(pid_t pid, struct procmem_piece *pieces, size_t n, int *ret_err)
{
	char path[32];
	size_t done = 0;
	ssize_t got = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	for (; done < n; done++) {
		got = pread(fd, pieces[done].buf, pieces[done].len, (off_t)pieces[done].addr);
		if (got != (ssize_t)pieces[done].len)
			break;
		pieces[done].ok = true;
	}
	*ret_err = done < n && got >= 0 ? 0 : done < n && errno != EIO ? -errno : 0;
	close(fd);
	return done;
}

static bool is_refused(int err)
{
	return err == -EPERM || err == -EACCES || err == -ENOSYS;
}

/* Reads pieces until one faults; the number read. The kernel stops at the first that it cannot read whole. */
static size_t read_some(pid_t pid, struct procmem_piece *pieces, size_t n, int *ret_err)
{
	struct iovec local[AT_ONCE], remote[AT_ONCE];
	size_t done = 0;
	ssize_t got;

	for (size_t i = 0; i < n; i++) {
		local[i] = (struct iovec){.iov_base = pieces[i].buf, .iov_len = pieces[i].len};
		remote[i] = (struct iovec){.iov_base = (void *)(uintptr_t)pieces[i].addr, .iov_len = pieces[i].len};
	}
	got = process_vm_readv(pid, local, n, remote, n, 0);
	*ret_err = got < 0 ? -errno : 0;
	if (is_refused(*ret_err))
		return read_file(pid, pieces, n, ret_err);
	while (done < n && got >= (ssize_t)pieces[done].len) {
		got -= (ssize_t)pieces[done].len;
		pieces[done++].ok = true;
	}
	return done;
}

/* The error of the last piece that could not be read. `*faults` counts them; too many, and the rest is given up. */
static int read_here(pid_t pid, struct procmem_piece *pieces, size_t n, int *faults)
{
	int err = 0, one;

	for (size_t i = 0; i < n && *faults < FAULTS_MAX;) {
		size_t want = n - i < AT_ONCE ? n - i : AT_ONCE, done = read_some(pid, pieces + i, want, &one);

		i += done;
		if (done < want) { /* over the one that could not be read */
			i++;
			++*faults;
			err = one ?: -EFAULT;
		}
	}
	return err;
}

/* ---- as an errand ---- */

/* In the bag: this, then the pieces' bytes one after the other. */
struct parcel {
	pid_t pid;
	uint32_t n;
	int faults;
	struct {
		uint64_t addr, len;
		bool ok;
	} pieces[AT_ONCE];
};

static int run(struct errand_bag *bag)
{
	struct parcel *parcel = bag->room;
	uint8_t *bytes = (uint8_t *)(parcel + 1);
	struct procmem_piece pieces[AT_ONCE];
	int err;

	for (uint32_t i = 0; i < parcel->n; i++) {
		pieces[i] = (struct procmem_piece){.addr = parcel->pieces[i].addr, .buf = bytes, .len = parcel->pieces[i].len};
		bytes += pieces[i].len;
	}
	err = read_here(parcel->pid, pieces, parcel->n, &parcel->faults);
	for (uint32_t i = 0; i < parcel->n; i++)
		parcel->pieces[i].ok = pieces[i].ok;
	return err;
}

/* As many as go at once. */
static uint32_t fill(struct parcel *parcel, const struct procmem_piece *pieces, size_t n)
{
	size_t room = ERRAND_ROOM - sizeof(*parcel);

	for (parcel->n = 0; parcel->n < n && parcel->n < AT_ONCE && pieces[parcel->n].len <= room; parcel->n++) {
		parcel->pieces[parcel->n].addr = pieces[parcel->n].addr;
		parcel->pieces[parcel->n].len = pieces[parcel->n].len;
		room -= pieces[parcel->n].len;
	}
	return parcel->n;
}

static void take_out(const struct parcel *parcel, struct procmem_piece *pieces)
{
	const uint8_t *bytes = (const uint8_t *)(parcel + 1);

	for (uint32_t i = 0; i < parcel->n; i++) {
		pieces[i].ok = parcel->pieces[i].ok;
		if (pieces[i].ok)
			memcpy(pieces[i].buf, bytes, pieces[i].len);
		bytes += pieces[i].len;
	}
}

/* *ret_n: how many pieces that was about. */
static int send(pid_t pid, struct procmem_piece *pieces, size_t n, int *faults, uint32_t *ret_n)
{
	struct errand_bag *bag = errand__pack();
	struct parcel *parcel;
	uint32_t sent;
	int err;

	*ret_n = 0;
	if (!bag)
		return -EAGAIN;
	parcel = bag->room;
	parcel->pid = pid;
	parcel->faults = *faults;
	sent = fill(parcel, pieces, n);
	err = errand__run(bag, run, pid, ERRAND_MEMORY_MS);
	if (err != -ETIMEDOUT && err != -EIO) {
		*faults = parcel->faults;
		parcel->n = sent; /* its memory is not ours alone */
		take_out(parcel, pieces);
		*ret_n = sent;
	}
	errand__unpack(bag);
	return err;
}

static int read_away(pid_t pid, struct procmem_piece *pieces, size_t n, int *faults)
{
	int err = 0;

	for (size_t i = 0; i < n && *faults < FAULTS_MAX;) {
		uint32_t done;
		int one = send(pid, pieces + i, n - i, faults, &done);

		err = one ?: err;
		if (!done)
			return err ?: -EINVAL; /* longer than all that fits */
		i += done;
	}
	return err;
}

/* ---- */

static int read_all(pid_t pid, struct procmem_piece *pieces, size_t n)
{
	int faults = 0;

	for (size_t i = 0; i < n; i++)
		pieces[i].ok = false;
	return errand__is_away() ? read_away(pid, pieces, n, &faults) : read_here(pid, pieces, n, &faults);
}

int procmem__read(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	struct procmem_piece piece = {.addr = addr, .buf = buf, .len = len};

	if (len == 0 || len > READ_MAX || addr + len < addr)
		return -EINVAL;
	return read_all(pid, &piece, 1);
}

int procmem__read_u32(pid_t pid, uint64_t addr, uint32_t *ret)
{
	return procmem__read(pid, addr, ret, sizeof(*ret));
}

int procmem__read_u64(pid_t pid, uint64_t addr, uint64_t *ret)
{
	return procmem__read(pid, addr, ret, sizeof(*ret));
}

void procmem__read_many(pid_t pid, struct procmem_piece *pieces, size_t n)
{
	read_all(pid, pieces, n);
}
