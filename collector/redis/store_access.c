/* SPDX-License-Identifier: GPL-2.0-only */
/* See store_access.h. The secret lasts as long as the directory does: a server that is started again knows the same. */
#include "store_access.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "redis_conn.h"
#include "store_dirs.h"

#define SECRET_FILE "secret"
#define SECRET_BYTES 32
#define SECRET_SIZE (2 * SECRET_BYTES + 1)
#define WRITER "gilscope"


/* ---- the secret ---- */

static int make_secret(int dir)
{
	unsigned char bytes[SECRET_BYTES];
	char text[SECRET_SIZE];
	int fd, err = 0;

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	unlinkat(dir, SECRET_FILE, 0); /* one that nobody can read or use */
	fd = openat(dir, SECRET_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, sizeof(text) - 1) != (ssize_t)sizeof(text) - 1)
		err = -EIO;
	close(fd);
	explicit_bzero(text, sizeof(text));
	return err;
}

/* 0, -EBADMSG (not a secret of ours), -errno. */
static int read_secret(int dir, char secret[SECRET_SIZE])
{
	int fd = openat(dir, SECRET_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, secret, SECRET_SIZE);
	close(fd);
	if (n != SECRET_SIZE - 1)
		return -EBADMSG;
	secret[n] = '\0';
	for (ssize_t i = 0; i < n; i++)
		if (!isxdigit((unsigned char)secret[i]))
			return -EBADMSG;
	return 0;
}

int store_access__configure(int dir, char *config, size_t size, struct reason *why)
{
	size_t len = strlen(config);
	char secret[SECRET_SIZE];
	int err = read_secret(dir, secret);

	if (err == -ENOENT || err == -EBADMSG || err == -ELOOP) {
		err = make_secret(dir);
		err = err ?: read_secret(dir, secret);
	}
	if (err)
		return reason__set(why, err, "store: its secret: %s", strerror(-err));
	/* While the server reads its file it is the default user, and would skip transactions that this one may not do. */
	snprintf(config + len, size - len, "user default on >%s ~* +@all\nuser " WRITER " on >%s ~* +@all\n", secret, secret);
	explicit_bzero(secret, sizeof(secret));
	return 0;
}

/* ---- logging in ---- */

/* An older gilscope's server, behind a socket that is no link, knows no users. */
static bool has_users(int dir)
{
	char target[8];

	return readlinkat(dir, STORE_SOCKET_NAME, target, sizeof(target)) > 0;
}

static void log_in(const struct store_paths *paths, struct redis_url *url)
{
	int dir = open(paths->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char secret[SECRET_SIZE];

	if (dir >= 0 && has_users(dir) && read_secret(dir, secret) == 0) {
		snprintf(url->user, sizeof(url->user), WRITER);
		snprintf(url->password, sizeof(url->password), "%s", secret);
		explicit_bzero(secret, sizeof(secret));
	}
	if (dir >= 0)
		close(dir);
}

void store_access__address(const struct store_paths *paths, struct redis_url *ret)
{
	*ret = (struct redis_url){.is_unix = true};
	snprintf(ret->path, sizeof(ret->path), "%s", paths->socket);
	log_in(paths, ret);
	if (store_dirs__judge_socket(paths, &ret->peer, NULL) == 0)
		ret->peer_known = true;
}

/* ---- readers ---- */

/* In this order: the first takes all away, the last lets them in. */
static const char *const readers_rights[] = {
	"-@all", "+@read", "-@dangerous", "+auth", "+hello", "+ping", "+echo", "+select", "+time", "+info", "+command", "+multi",
	"+exec", "+discard",
	/* Not every server knows these. */
	"+fcall_ro", "+eval_ro", "+function|list", "+client|setname", "+client|setinfo", "+client|getname", "+client|id", "+quit",
	"+reset", "nopass",
};

int store_access__let_readers(struct redisContext *c, int timeout_ms, struct reason *why)
{
	for (size_t i = 0; i < sizeof(readers_rights) / sizeof(readers_rights[0]); i++) {
		const char *argv[] = {"ACL", "SETUSER", "default", readers_rights[i], NULL};
		struct reason refused;
		int err = redis_conn__do(c, argv, timeout_ms, &refused);

		if (err && (i == 0 || err != -EPROTO))
			return reason__set(why, err, "store: its readers' rights: %s", refused.text);
	}
	return 0;
}
