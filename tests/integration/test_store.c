/* SPDX-License-Identifier: GPL-2.0-only */
/* The embedded store: shared, found, ended with its last user however that one ends, and robust against what lies about. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/redis/redis_conn.h"
#include "collector/redis/store.h"
#include "collector/writer_lock.h"
#include "../support/private_redis.h"

TestSuite(store, .timeout = 300);

static char base[64];
static struct store_paths paths;
static struct private_redis client; /* only to ask questions at paths.socket */

static void setup(void)
{
	struct reason why = {""};

	private_redis__init(&client, false); /* skips without redis-server */
	private_redis__fini(&client);
	strcpy(base, "/tmp/gilscope-store-XXXXXX");
	cr_assert_not_null(mkdtemp(base));
	setenv("GILSCOPE_STORE_DIR", base, 1);
	cr_assert_eq(store__paths(&paths, &why), 0, "%s", why.text);
	strcpy(client.socket, paths.socket);
	snprintf(client.secret, sizeof(client.secret), "%s/secret", base);
}

static bool nobody_listens(void *arg)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rv;

	strcpy(addr.sun_path, paths.socket);
	rv = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	close(fd);
	return rv < 0;
}

/* Whether the lock file NAME is free: the hand that watches holds watch.lock as long as it lives. */
static bool lock_is_free(void *name)
{
	char path[PATH_MAX + 16];
	bool got;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", paths.run_dir, (const char *)name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	got = flock(fd, LOCK_EX | LOCK_NB) == 0;
	close(fd);
	return got;
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
	char command[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	cr_assert_eq(system(command), 0, "%s", command);
}

/* Nothing may be left behind, whatever the test did. */
static void teardown(void)
{
	cr_expect(eventually(nobody_listens, NULL, 60000), "a server is left behind");
	cr_expect(eventually(lock_is_free, "watch.lock", 60000), "a watcher is left behind");
	shell("rm -rf %s", base);
}

static struct store *open_store(void)
{
	struct store *s = NULL;
	struct reason why = {""};

	cr_assert_eq(store__open(&paths, &s, &why), 0, "%s", why.text);
	return s;
}

Test(store, keeps_its_data_from_one_use_to_the_next, .init = setup, .fini = teardown)
{
	struct store *s = open_store();

	cr_expect_str_eq(store__address(s)->path, paths.socket);
	private_redis__ask(&client, "ZADD z 1 a 2 b");
	store__close(s);
	cr_expect(nobody_listens(NULL), "the last one out did not stop it");
	s = open_store();
	cr_expect_eq(private_redis__int(&client, "ZCARD z"), 2);
	store__close(s);
}

static const char *info(const char *section, const char *field)
{
	static char value[256];
	const char *text = private_redis__ask(&client, "INFO %s", section), *at = strstr(text, field);

	cr_assert_not_null(at, "%s", field);
	sscanf(at + strlen(field), ":%255[^\r\n]", value);
	return value;
}

Test(store, server_is_capped_private_and_without_tcp, .init = setup, .fini = teardown)
{
	struct store *s = open_store();
	char expected[32];
	struct stat st;

	snprintf(expected, sizeof(expected), "%llu", store__cap(s));
	cr_expect_leq(store__cap(s), 512ull << 20);
	cr_expect_str_eq(info("memory", "maxmemory"), expected);
	cr_expect_str_eq(info("memory", "maxmemory_policy"), "volatile-ttl");
	cr_expect_str_eq(info("persistence", "aof_enabled"), "1");
	cr_expect_str_eq(info("server", "tcp_port"), "0");
	cr_assert_eq(stat(paths.socket, &st), 0);
	cr_expect_eq(st.st_mode & 0777, geteuid() == 0 ? 0777 : 0700);
	cr_assert_eq(stat(paths.run_dir, &st), 0);
	cr_expect_eq(st.st_mode & 027, 0, "its directory lets nobody else in: %o", st.st_mode);
	cr_assert_eq(stat(paths.data_dir, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0750);
	store__close(s);
}

Test(store, root_store_lets_nobody_write_files_through_it, .init = setup, .fini = teardown)
{
	static const char *const commands[] = {"CONFIG GET dir", "MODULE LIST", "DEBUG SLEEP 0", "REPLICAOF NO ONE", "SAVE"};
	struct store *s = open_store();

	for (size_t i = 0; geteuid() == 0 && i < sizeof(commands) / sizeof(commands[0]); i++)
		cr_expect_not_null(strstr(private_redis__ask(&client, "%s", commands[i]), "unknown command"), "%s", commands[i]);
	store__close(s);
}

Test(store, last_one_out_stops_it, .init = setup, .fini = teardown)
{
	struct store *one = open_store(), *two = open_store(), *three;

	store__close(one);
	cr_expect_eq(private_redis__int(&client, "DBSIZE"), 0);
	three = open_store();
	store__close(two);
	cr_expect_eq(private_redis__int(&client, "DBSIZE"), 0);
	store__close(three);
	cr_expect(nobody_listens(NULL));
}

/* A user of its own process: opens, says so, holds the store until it is told to end. */
struct user {
	pid_t pid;
	int said, end;
};

static struct user start_user(void)
{
	int said[2], end[2];
	struct user u;
	char ok;

	cr_assert(pipe2(said, O_CLOEXEC) == 0 && pipe2(end, O_CLOEXEC) == 0);
	u.pid = fork();
	if (u.pid == 0) {
		struct store *s = NULL;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(end[1]);
		ok = store__open(&paths, &s, NULL) == 0;
		if (write(said[1], &ok, 1) == 1 && ok && read(end[0], &ok, 1) == 0)
			store__close(s);
		_exit(0);
	}
	close(said[1]);
	close(end[0]);
	u.said = said[0];
	u.end = end[1];
	return u;
}

static void expect_open(struct user *u)
{
	char ok = 0;

	cr_assert(read(u->said, &ok, 1) == 1 && ok, "a user could not open the store");
}

static void end_user(struct user *u, int signo)
{
	if (signo)
		kill(u->pid, signo);
	close(u->end);
	close(u->said);
	waitpid(u->pid, NULL, 0);
}

Test(store, is_shared_by_processes_that_start_at_the_same_moment, .init = setup, .fini = teardown)
{
	struct user users[6];
	char server[256];

	for (size_t i = 0; i < 6; i++)
		users[i] = start_user();
	for (size_t i = 0; i < 6; i++)
		expect_open(&users[i]);
	snprintf(server, sizeof(server), "%s", info("server", "process_id"));
	/* Backwards: a later one inherited the pipes of those before it. */
	for (size_t i = 6; i-- > 0;) {
		cr_expect_str_eq(info("server", "process_id"), server);
		end_user(&users[i], 0);
	}
	cr_expect(nobody_listens(NULL));
}

Test(store, killed_users_leave_no_server_behind, .init = setup, .fini = teardown)
{
	struct user one = start_user(), two;

	expect_open(&one);
	two = start_user();
	expect_open(&two);
	end_user(&one, SIGKILL);
	cr_expect_not(eventually(nobody_listens, NULL, 300), "the other one still uses it");
	end_user(&two, SIGKILL);
	cr_expect(eventually(nobody_listens, NULL, 60000), "nobody stopped it");
}

Test(store, survives_its_starter, .init = setup, .fini = teardown)
{
	struct user one = start_user();
	struct store *s;

	expect_open(&one);
	s = open_store();
	end_user(&one, SIGKILL);
	cr_expect_str_eq(private_redis__ask(&client, "PING"), "PONG");
	store__close(s);
	cr_expect(nobody_listens(NULL));
}

/* The hand of this store: its open files are in our directory. */
static pid_t hand(void)
{
	FILE *f = popen("pgrep -x gilscope-store", "r");
	char line[32], path[64], root[PATH_MAX];
	pid_t found = 0;

	while (f && fgets(line, sizeof(line), f)) {
		pid_t pid = (pid_t)atoi(line);

		for (int fd = 3; fd < 8; fd++) {
			ssize_t n;

			snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
			n = readlink(path, root, sizeof(root) - 1);
			if (n > 0 && strncmp(root, base, strlen(base)) == 0)
				found = pid;
		}
	}
	if (f)
		pclose(f);
	return found;
}

Test(store, hand_shows_its_name_and_holds_nothing_else, .init = setup, .fini = teardown)
{
	int extra = open("/dev/null", O_RDONLY); /* not close-on-exec */
	struct store *s = open_store();
	char path[64], text[256] = "";
	pid_t pid = hand();
	FILE *f;
	int fds;

	cr_assert_gt(pid, 0, "no hand");
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	f = fopen(path, "r");
	cr_assert(f && fread(text, 1, sizeof(text) - 1, f) > 0);
	fclose(f);
	cr_expect_str_eq(text, "gilscope-store");
	snprintf(text, sizeof(text), "ls /proc/%d/fd | wc -l", (int)pid);
	f = popen(text, "r");
	cr_assert(f && fscanf(f, "%d", &fds) == 1);
	pclose(f);
	cr_expect_eq(fds, 10, "3 standard ones, the line to gilscope, two directories, the log and three locks: %d", fds);
	store__close(s);
	close(extra);
}

/* Of two that were killed one hand watches on, and that is enough. */
Test(store, one_hand_outlives_many_users, .init = setup, .fini = teardown)
{
	struct store *s = open_store();
	struct user one = start_user(), two;

	expect_open(&one);
	two = start_user();
	expect_open(&two);
	end_user(&two, SIGKILL);
	end_user(&one, SIGKILL);
	cr_expect_str_eq(private_redis__ask(&client, "PING"), "PONG");
	store__close(s);
	cr_expect(eventually(nobody_listens, NULL, 60000));
}

/* Its user and its hand were killed at once. */
Test(store, server_that_all_its_users_left_running_is_used_again, .init = setup, .fini = teardown)
{
	struct user u = start_user();
	struct store *s;

	expect_open(&u);
	kill(hand(), SIGKILL);
	end_user(&u, SIGKILL);
	cr_expect_not(eventually(nobody_listens, NULL, 200));
	private_redis__ask(&client, "SET k v");
	s = open_store();
	cr_expect_str_eq(private_redis__ask(&client, "GET k"), "v");
	store__close(s);
	cr_expect(nobody_listens(NULL));
}

Test(store, stale_socket_is_no_obstacle, .init = setup, .fini = teardown)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, paths.socket);
	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	store__close(open_store());
}

Test(store, killed_server_loses_at_most_its_last_second, .init = setup, .fini = teardown)
{
	struct store *s = open_store();

	private_redis__ask(&client, "SET k v");
	private_redis__ask(&client, "WAITAOF 1 0 0"); /* unknown before 7.2: the kernel has the write anyway */
	kill((pid_t)atoi(info("server", "process_id")), SIGKILL);
	cr_assert(eventually(nobody_listens, NULL, 60000));
	store__close(s);
	s = open_store();
	cr_expect_str_eq(private_redis__ask(&client, "GET k"), "v");
	store__close(s);
}

Test(store, killed_server_is_revived, .init = setup, .fini = teardown)
{
	struct store *s = open_store();
	pid_t first = (pid_t)atoi(info("server", "process_id"));
	struct reason why;

	cr_expect_eq(store__revive(s, &why), 0);
	cr_expect_eq(atoi(info("server", "process_id")), first, "one that lives is left alone");
	kill(first, SIGKILL);
	cr_assert(eventually(nobody_listens, NULL, 60000));
	cr_assert_eq(store__revive(s, &why), 0, "%s", why.text);
	cr_expect_neq(atoi(info("server", "process_id")), first);
	store__close(s);
	cr_expect(eventually(nobody_listens, NULL, 60000), "its last user ends the new one too");
}

Test(store, torn_tail_of_the_file_costs_the_tail_only, .init = setup, .fini = teardown)
{
	struct store *s = open_store();

	private_redis__ask(&client, "SET first 1");
	private_redis__ask(&client, "SET second 2");
	store__close(s);
	shell("truncate -s -3 %s/appendonlydir/*.incr.aof", paths.data_dir);
	s = open_store();
	cr_expect_eq(private_redis__int(&client, "GET first"), 1);
	cr_expect_eq(private_redis__int(&client, "EXISTS second"), 0);
	store__close(s);
	shell("test ! -e %s/appendonlydir.damaged-1", paths.data_dir);
}

/* What damages the file beyond repair; %s is its directory. */
static const char *const damages[] = {
	"printf 'garbage in the middle of it' | dd of=$(echo %s/*.incr.aof) bs=1 seek=20 conv=notrunc status=none",
	"printf garbage | dd of=$(echo %s/*.base.rdb) bs=1 seek=0 conv=notrunc status=none",
	"echo nonsense > %s/appendonly.aof.manifest",
	"rm %s/*.base.rdb",
};

Test(store, damaged_data_is_moved_aside_never_deleted, .init = setup, .fini = teardown)
{
	char dir[PATH_MAX + 16], command[PATH_MAX + 256];

	snprintf(dir, sizeof(dir), "%s/appendonlydir", paths.data_dir);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		struct store *s = open_store();

		private_redis__ask(&client, "SET first 1");
		private_redis__ask(&client, "SET second 2");
		store__close(s);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(command, sizeof(command), damages[i], dir);
#pragma GCC diagnostic pop
		shell("%.500s", command);
		s = open_store();
		cr_expect_eq(private_redis__int(&client, "DBSIZE"), 0, "case %zu", i);
		store__close(s);
		shell("test -d %s.damaged-%zu", dir, i + 1);
	}
}

Test(store, clear_works_with_and_without_a_server, .init = setup, .fini = teardown)
{
	struct reason why = {""};
	struct store *s;

	cr_expect_eq(store__clear(&paths, &why), 0, "%s", why.text);
	s = open_store();
	private_redis__ask(&client, "SET k v");
	cr_expect_eq(store__clear(&paths, &why), 0, "%s", why.text);
	cr_expect_eq(private_redis__int(&client, "DBSIZE"), 0);
	private_redis__ask(&client, "SET k v");
	store__close(s);
	cr_expect_eq(store__clear(&paths, &why), 0, "%s", why.text);
	s = open_store();
	cr_expect_eq(private_redis__int(&client, "DBSIZE"), 0);
	store__close(s);
}

Test(store, reader_finds_it_running_stopped_or_not_at_all, .init = setup, .fini = teardown)
{
	struct store_paths found;
	struct reason why = {""};
	struct store *s;

	cr_expect_eq(store__find(&found, &why), -ENOENT);
	cr_expect_not_null(strstr(why.text, "nothing has been stored yet"), "%s", why.text);
	s = open_store();
	cr_expect_eq(store__find(&found, &why), 0, "%s", why.text);
	cr_expect_str_eq(found.socket, paths.socket);
	store__close(s);
	cr_expect_eq(store__find(&found, &why), 0, "%s", why.text);
}

/* Runs `act` as that user in a child; its exit status says whether its claims hold. */
static void as_user(uid_t uid, int (*act)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
			_exit(99);
		_exit(act());
	}
	waitpid(pid, &status, 0);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "claim %d does not hold", WEXITSTATUS(status));
}

static int claim_hidden(void)
{
	struct store_paths found;
	struct reason why = {""};
	struct store *s;

	if (store__find(&found, &why) != -EACCES || !strstr(why.text, "use sudo, or join group gilscope"))
		return 1;
	return store__open(&paths, &s, &why) < 0 && strstr(why.text, paths.run_dir) ? 0 : 2;
}

static int claim_foreign(void)
{
	struct store_paths found;
	struct reason why = {""};
	struct store *s;

	if (store__find(&found, &why) != -EACCES || !strstr(why.text, "not yours to start"))
		return 1;
	return store__open(&paths, &s, &why) == -EPERM && strstr(why.text, "belongs to another user (uid 0)") ? 0 : 2;
}

Test(store, store_of_another_user_is_refused_in_words, .init = setup, .fini = teardown)
{
	struct store *s = open_store();

	as_user(65534, claim_hidden);
	store__close(s);
	cr_assert_eq(chmod(base, 0755), 0);
	as_user(65534, claim_foreign);
}

/* ---- a directory that somebody made under our name ---- */

static int victim; /* a user id of this run's own: its directory has a fixed name */
static int trap; /* a listening socket of user nobody's, in the place of ours */

static void set_trap(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	victim = 100000 + (int)getpid();
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/gilscope-%d/redis.sock", victim);
	shell("rm -rf /tmp/gilscope-%d && mkdir -m 777 /tmp/gilscope-%d && chown 65534 /tmp/gilscope-%d", victim, victim, victim);
	trap = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cr_assert_eq(bind(trap, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(chmod(addr.sun_path, 0777), 0);
	cr_assert_eq(listen(trap, 4), 0);
	cr_assert_eq(chmod(base, 0755), 0);
	shell("mkdir -m 700 %s/home && chown %d %s/home", base, victim, base);
}

static bool trap_caught_somebody(void)
{
	int fd = accept(trap, NULL, NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void move_in(void)
{
	char home[96];

	snprintf(home, sizeof(home), "%s/home", base);
	unsetenv("GILSCOPE_STORE_DIR");
	unsetenv("XDG_RUNTIME_DIR");
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", home, 1);
}

/* As the user whose directory it should be. */
static int claim_trapped(void)
{
	struct store_paths own, found;
	struct reason why = {""};
	struct store *s = NULL;
	char expected[64];
	int fd = -1;

	move_in();
	snprintf(expected, sizeof(expected), "/tmp/gilscope-%d/", victim);
	if (store__paths(&own, &why) || strncmp(own.socket, expected, strlen(expected)) != 0)
		return 1;
	if (store__find(&found, &why) == 0 && strcmp(found.socket, own.socket) == 0)
		return 2;
	if (store__open(&own, &s, &why) != -EPERM || !strstr(why.text, "belongs to another user (uid 65534)"))
		return 3;
	if (store__clear(&own, &why) != -EPERM)
		return 4;
	if (writer_lock__take("h:1:00000001", &fd, &why) != -EPERM || !strstr(why.text, "belongs to another user (uid 65534)"))
		return 5;
	return 0;
}

Test(store, directory_that_another_user_made_under_our_name_is_not_believed, .init = setup, .fini = teardown)
{
	char lock[64];

	set_trap();
	as_user((uid_t)victim, claim_trapped);
	cr_expect_not(trap_caught_somebody(), "it was talked to");
	snprintf(lock, sizeof(lock), "/tmp/gilscope-%d/h:1:00000001.lock", victim);
	cr_expect_neq(access(lock, F_OK), 0);
	close(trap);
	shell("rm -rf /tmp/gilscope-%d", victim);
}

/* Ours, but open to all since it was made so: it is taken back before anything is believed. */
Test(store, own_directory_is_closed_to_others, .init = setup, .fini = teardown)
{
	struct stat st;

	cr_assert_eq(chmod(base, 01777), 0);
	store__close(open_store());
	cr_assert_eq(stat(base, &st), 0);
	cr_expect_eq(st.st_mode & 027, 0, "%o", st.st_mode);
}

Test(store, obstacles_are_named, .init = setup, .fini = teardown)
{
	struct reason why = {""};
	struct store *s = NULL;
	char long_dir[160] = "/tmp/", file[128];

	shell("echo x > %s/data", base);
	cr_expect_eq(store__open(&paths, &s, &why), -ENOTDIR);
	cr_expect_not_null(strstr(why.text, "not a directory"), "%s", why.text);
	shell("rm %s/data; mkdir %s", base, paths.socket);
	cr_expect_eq(store__open(&paths, &s, &why), -EEXIST);
	cr_expect_not_null(strstr(why.text, "redis.sock is in the way"), "%s", why.text);
	shell("rmdir %s", paths.socket);

	memset(long_dir + 5, 'd', 100);
	setenv("GILSCOPE_STORE_DIR", long_dir, 1);
	cr_expect_eq(store__paths(&paths, &why), -ENAMETOOLONG);
	cr_expect_not_null(strstr(why.text, "below 108"), "%s", why.text);
	setenv("GILSCOPE_STORE_DIR", "relative", 1);
	cr_expect_eq(store__paths(&paths, &why), -EINVAL);
	snprintf(file, sizeof(file), "%s", base);
	setenv("GILSCOPE_STORE_DIR", file, 1);
	cr_assert_eq(store__paths(&paths, &why), 0);
}

Test(store, longest_socket_path_works, .init = setup, .fini = teardown)
{
	char dir[160];
	struct reason why = {""};

	/* 107 bytes with "/redis.sock" behind it; a blank and a % to be encoded in the URL. */
	snprintf(dir, sizeof(dir), "%s/%%20 ", base);
	memset(dir + strlen(dir), 'd', 96 - strlen(dir));
	dir[96] = '\0';
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	cr_assert_eq(store__paths(&paths, &why), 0, "%s", why.text);
	cr_expect_eq(strlen(paths.socket), 107);
	store__close(open_store());
	dir[96] = 'd';
	dir[97] = '\0';
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	cr_expect_eq(store__paths(&(struct store_paths){.lock = ""}, &why), -ENAMETOOLONG);
}

Test(store, missing_redis_server_says_how_to_get_it, .init = setup, .fini = teardown)
{
	struct reason why = {""};
	struct store *s = NULL;

	setenv("PATH", base, 1);
	cr_expect_eq(store__open(&paths, &s, &why), -ENOENT);
	cr_expect_not_null(strstr(why.text, "apt-get install redis-server"), "%s", why.text);
	setenv("PATH", "/usr/bin:/bin", 1);
}
