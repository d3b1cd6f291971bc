/* SPDX-License-Identifier: GPL-2.0-only */
/* See stuck_files.h. The protocol is that of linux/fuse.h; Documentation/filesystems/fuse.rst tells what it is about. */
#include "stuck_files.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own_images.h"

#define FILE_NODE 2
#define REQUEST_MAX (256u << 10)
#define LONG_S 3600

/* What the child knows. */
struct server {
	int device, source, orders;
	off_t size;
	int is_stalled; /* 'r': READ alone, 'a': all */
};

static void reply(const struct server *s, uint64_t unique, int error, const void *data, size_t len)
{
	struct fuse_out_header out = {.len = (uint32_t)(sizeof(out) + len), .error = error, .unique = unique};
	struct iovec parts[] = {{&out, sizeof(out)}, {(void *)data, len}};

	if (writev(s->device, parts, len ? 2 : 1) < 0 && errno != ENOENT) /* ENOENT: who asked has been killed */
		_exit(2);
}

static struct fuse_attr attributes(const struct server *s, uint64_t node)
{
	bool is_file = node == FILE_NODE;

	return (struct fuse_attr){
		.ino = node, .size = is_file ? (uint64_t)s->size : 0, .blocks = (uint64_t)s->size / 512 + 1, .nlink = 1,
		.mode = is_file ? S_IFREG | 0755 : S_IFDIR | 0755, .blksize = 4096,
	};
}

static void init(const struct server *s, uint64_t unique)
{
	/* Without FUSE_ASYNC_READ who reads waits for the server itself, and can't be killed. */
	struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = 65536, .max_write = 65536};

	reply(s, unique, 0, &out, sizeof(out));
}

static void look_up(const struct server *s, uint64_t unique, const char *name)
{
	struct fuse_entry_out out = {
		.nodeid = FILE_NODE, .entry_valid = LONG_S, .attr_valid = LONG_S, .attr = attributes(s, FILE_NODE),
	};

	if (strcmp(name, "file") == 0)
		reply(s, unique, 0, &out, sizeof(out));
	else
		reply(s, unique, -ENOENT, NULL, 0);
}

static void get_attributes(const struct server *s, uint64_t unique, uint64_t node)
{
	struct fuse_attr_out out = {.attr_valid = LONG_S, .attr = attributes(s, node)};

	reply(s, unique, 0, &out, sizeof(out));
}

static void read_file(const struct server *s, uint64_t unique, const struct fuse_read_in *in)
{
	static char bytes[REQUEST_MAX];
	ssize_t n = pread(s->source, bytes, in->size < sizeof(bytes) ? in->size : sizeof(bytes), (off_t)in->offset);

	reply(s, unique, n < 0 ? -EIO : 0, bytes, n < 0 ? 0 : (size_t)n);
}

static void answer(const struct server *s, const struct fuse_in_header *in, const void *arg)
{
	const struct fuse_open_out open_out = {.fh = 1, .open_flags = FOPEN_KEEP_CACHE};
	const struct fuse_statfs_out statfs_out = {.st = {.bsize = 4096, .namelen = 255}};

	switch (in->opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return; /* nobody waits */
	case FUSE_INIT:
		init(s, in->unique);
		return;
	case FUSE_LOOKUP:
		look_up(s, in->unique, arg);
		return;
	case FUSE_GETATTR:
		get_attributes(s, in->unique, in->nodeid);
		return;
	case FUSE_OPEN:
		reply(s, in->unique, 0, &open_out, sizeof(open_out));
		return;
	case FUSE_READ:
		read_file(s, in->unique, arg);
		return;
	case FUSE_STATFS:
		reply(s, in->unique, 0, &statfs_out, sizeof(statfs_out));
		return;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		reply(s, in->unique, 0, NULL, 0);
		return;
	default:
		reply(s, in->unique, -ENOSYS, NULL, 0);
	}
}

static bool is_silent(const struct server *s, uint32_t opcode)
{
	return s->is_stalled == 'a' || (s->is_stalled == 'r' && opcode == FUSE_READ);
}

static void serve_one(const struct server *s)
{
	static char request[REQUEST_MAX];
	const struct fuse_in_header *in = (const void *)request;
	ssize_t n = read(s->device, request, sizeof(request));

	if (n < 0 && errno == ENODEV)
		_exit(0); /* unmounted */
	if (n >= (ssize_t)sizeof(*in) && !is_silent(s, in->opcode))
		answer(s, in, in + 1);
}

static void drop_pages(const struct server *s)
{
	const struct fuse_notify_inval_inode_out node = {.ino = FILE_NODE};

	reply(s, 0, FUSE_NOTIFY_INVAL_INODE, &node, sizeof(node));
}

static void obey(struct server *s)
{
	char order, done = 0;

	if (read(s->orders, &order, 1) != 1)
		_exit(0);
	s->is_stalled = order;
	if (order == 'a')
		drop_pages(s);
	if (write(s->orders, &done, 1) != 1)
		_exit(0);
}

static _Noreturn void server_main(struct server *s)
{
	struct pollfd p[] = {{.fd = s->device, .events = POLLIN}, {.fd = s->orders, .events = POLLIN}};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents)
			obey(s);
		if (p[0].revents)
			serve_one(s);
	}
}

static int mount_on(const char *dir, struct server *s)
{
	char options[128];

	s->device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	cr_assert_geq(s->device, 0, "/dev/fuse: %s", strerror(errno));
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", s->device);
	return mount("gilscope-test", dir, "fuse", MS_NOSUID | MS_NODEV, options);
}

void stuck_files__mount(struct stuck_files *s, const char *dir, const char *source)
{
	struct server server = {.source = open(source, O_RDONLY | O_CLOEXEC)};
	struct stat st;
	int pair[2];

	cr_assert(server.source >= 0 && fstat(server.source, &st) == 0, "%s: %s", source, strerror(errno));
	server.size = st.st_size;
	own_mounts__enter();
	cr_assert_eq(mount_on(dir, &server), 0, "%s: %s", dir, strerror(errno));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	server.orders = pair[1];
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	snprintf(s->file, sizeof(s->file), "%s/file", dir);
	s->orders = pair[0];
	s->server = fork();
	cr_assert_geq(s->server, 0);
	if (s->server == 0) {
		close(pair[0]);
		server_main(&server);
	}
	close(pair[1]);
	close(server.device); /* the child's is the last: with it the connection ends */
	close(server.source);
}

void stuck_files__stall(struct stuck_files *s, int all)
{
	char order = all ? 'a' : 'r', done;

	cr_assert_eq(write(s->orders, &order, 1), 1);
	cr_assert_eq(read(s->orders, &done, 1), 1);
}

void stuck_files__end(struct stuck_files *s)
{
	if (!s->server)
		return;
	kill(s->server, SIGKILL);
	waitpid(s->server, NULL, 0);
	close(s->orders);
	umount2(s->dir, MNT_DETACH);
	*s = (struct stuck_files){0};
}
