/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may do what in root's store: its server is nobody in particular, its group reads and no more, and neither can make gilscope
 * wait, talk to somebody else or write where it should not. And what an older gilscope left, running or lying there, goes on.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <hiredis/hiredis.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/redis/redis_conn.h"
#include "collector/redis/store.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/status.h"

static char base[64];
static struct store_paths paths;
static struct private_redis writer, reader; /* only to ask at paths.socket */

static bool nobody_listens(void *arg)
{
	return status__listener(paths.socket) == 0;
}

static void setup(void)
{
	struct reason why = {""};

	private_redis__init(&writer, false);
	private_redis__fini(&writer);
	strcpy(base, "/tmp/gilscope-store-XXXXXX");
	cr_assert_not_null(mkdtemp(base));
	setenv("GILSCOPE_STORE_DIR", base, 1);
	cr_assert_eq(store__paths(&paths, &why), 0, "%s", why.text);
	strcpy(writer.socket, paths.socket);
	snprintf(writer.secret, sizeof(writer.secret), "%s/secret", base);
	strcpy(reader.socket, paths.socket);
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
	char command[1024];
	struct program p;
	va_list args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	program__run(&p, "%s", command);
	cr_assert_eq(p.status, 0, "%s: %s%s", command, p.out, p.err);
	program__free(&p);
}

static void teardown(void)
{
	cr_expect(eventually(nobody_listens, NULL, 60000), "a server is left behind");
	run("rm -rf %s", base);
}

TestSuite(store_rights, .init = setup, .fini = teardown, .timeout = 300);

static struct store *open_store(void)
{
	struct store *s = NULL;
	struct reason why = {""};

	cr_assert_eq(store__open(&paths, &s, &why), 0, "%s", why.text);
	return s;
}

static uid_t owner_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static uid_t owner_of(const char *fmt, ...)
{
	char path[256];
	struct stat st;
	va_list args;

	va_start(args, fmt);
	vsnprintf(path, sizeof(path), fmt, args);
	va_end(args);
	cr_assert_eq(lstat(path, &st), 0, "%s: %s", path, strerror(errno));
	return st.st_uid;
}

static uid_t servers_user(void)
{
	pid_t pid = status__listener(paths.socket);
	struct status s;

	cr_assert_gt(pid, 0, "nobody listens");
	status__read(pid, pid, &s);
	return s.uid;
}

/* ---- readers ---- */

static const char *const refused[] = {
	"SET k v", "ZADD z 1 a", "DEL k", "EVAL return{1} 0", "FCALL gil_version 0", "FUNCTION FLUSH", "SCRIPT FLUSH",
	"ACL LIST", "ACL SETUSER default +@all", "CLIENT PAUSE 100000", "CLIENT KILL TYPE normal", "CLIENT LIST", "FLUSHALL",
	"FLUSHDB", "KEYS *",
	"SHUTDOWN", "MONITOR", "SWAPDB 0 1", "MIGRATE h 1 k 0 1", "BGREWRITEAOF", "SLOWLOG RESET", "LATENCY RESET", "FAILOVER",
	"CLUSTER RESET", "SUBSCRIBE c", "PUBLISH c m", "SORT k STORE d", "RESTORE k 0 x", "EXPIRE k 1", "MOVE k 1", "PERSIST k",
};

static const char *const allowed[] = {
	"PING", "SELECT 0", "TIME", "ZRANGE z 0 -1", "HGETALL h", "TYPE z", "SCAN 0", "INFO server", "CLIENT SETNAME me",
	"EXISTS z", "COMMAND COUNT", "ZCARD z", "MEMORY USAGE z",
};

Test(store_rights, readers_read_and_call_functions_that_read_and_nothing_else)
{
	struct store *s = open_store();

	private_redis__ask(&writer, "ZADD z 1 a");
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		cr_expect_eq(strncmp(private_redis__ask(&reader, "%s", refused[i]), "NOPERM", 6), 0, "%s", refused[i]);
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		const char *said = private_redis__ask(&reader, "%s", allowed[i]);

		cr_expect(strncmp(said, "NOPERM", 6) && strncmp(said, "ERR", 3), "%s: %s", allowed[i], said);
	}
	/* Redis 7 knows functions; it says that this one is not there, not that it may not be called. */
	if (strncmp(private_redis__ask(&writer, "FUNCTION LIST"), "ERR unknown", 11) != 0)
		cr_expect_not_null(strstr(private_redis__ask(&reader, "FCALL_RO nothing 0"), "not found"));
	store__close(s);
}

/* A server reads its file as the default user, and what that one may not do it leaves out: a transaction, here a script's. */
Test(store_rights, what_was_written_in_a_transaction_is_there_after_a_new_start)
{
	struct store *s = open_store();

	private_redis__ask(&writer, "EVAL redis.call('SET','a','1')redis.call('SET','b','2')return{1} 0");
	store__close(s);
	s = open_store();
	cr_expect_str_eq(private_redis__ask(&reader, "GET a"), "1");
	cr_expect_str_eq(private_redis__ask(&reader, "GET b"), "2");
	store__close(s);
}

/* A member of root's group, as those of group gilscope are where it exists. */
static int as_member(int (*act)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgroups(0, NULL) || setresgid(0, 0, 0) || setresuid(31007, 31007, 31007))
			_exit(99);
		_exit(act());
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool is_out_of_reach(const char *name, int how)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%s", paths.run_dir, name);
	return open(path, how | O_CLOEXEC) < 0 && errno == EACCES;
}

static int claim_member(void)
{
	static const char *const names[] = {"lock", "start.lock", "watch.lock", "secret"};
	struct store_paths found;
	struct store *s = NULL;
	struct redisContext *c = NULL;
	struct reason why = {""};
	static const char *const set[] = {"SET", "k", "v", NULL}, *const get[] = {"ZCARD", "z", NULL};
	int err;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!is_out_of_reach(names[i], O_RDONLY) || !is_out_of_reach(names[i], O_WRONLY))
			return 1 + (int)i;
	if (store__find(&found, &why) || store__open(&found, &s, &why))
		return 10;
	if (store__address(s)->user[0] || redis_conn__open(store__address(s), 5000, &c, &why))
		return 11;
	if (redis_conn__do(c, get, 5000, &why))
		return 12;
	err = redis_conn__do(c, set, 5000, &why);
	redis_conn__close(c);
	store__close(s);
	return err == -EACCES ? 0 : 13;
}

Test(store_rights, members_of_the_group_read_and_can_hold_no_lock)
{
	char lock[PATH_MAX];
	struct store *s;

	/* An older version's locks were open to the group. */
	snprintf(lock, sizeof(lock), "%s/lock", base);
	close(open(lock, O_RDONLY | O_CREAT | O_CLOEXEC, 0640));
	s = open_store();
	cr_assert_eq(chmod(base, 0750), 0);
	cr_expect_eq(as_member(claim_member), 0, "claim %d", as_member(claim_member));
	store__close(s);
	cr_expect(nobody_listens(NULL), "the last one out stopped it");
}

/* ---- the server's user ---- */

/* Its directory is its own: it may put there what it likes, but root talks to nobody else for that. */
Test(store_rights, socket_that_leads_to_somebody_else_is_not_talked_to)
{
	struct store *s = open_store();
	struct redis_url address = *store__address(s);
	struct redisContext *c = NULL;
	struct reason why = {""};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int trap = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), got;

	cr_assert_eq(redis_conn__open(&address, 5000, &c, &why), 0, "%s", why.text);
	redis_conn__close(c);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/trap", base);
	cr_assert_eq(bind(trap, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(listen(trap, 4), 0);
	run("mv %s/server/redis.sock %s/server/kept; ln -s ../trap %s/server/redis.sock", base, base, base);
	cr_expect_eq(redis_conn__open(&address, 5000, &c, &why), -EPERM, "%s", why.text);
	cr_expect_not_null(strstr(why.text, "a process of user 0 listens there"), "%s", why.text);
	got = accept(trap, NULL, NULL);
	cr_assert_geq(got, 0);
	cr_expect_eq(read(got, addr.sun_path, 1), 0, "nothing was said to it");
	run("mv -T %s/server/kept %s/server/redis.sock", base, base);
	close(got);
	close(trap);
	store__close(s);
}

Test(store_rights, link_in_the_place_of_the_data_is_not_followed)
{
	struct reason why = {""};
	struct store *s = open_store();

	store__close(s);
	run("mkdir %s/precious; echo x > %s/precious/file", base, base);
	run("rm -rf %s/data/appendonlydir; ln -s %s/precious %s/data/appendonlydir", base, base, base);
	run("chown -h $(stat -c %%u %s/data) %s/data/appendonlydir", base, base);
	cr_expect_eq(store__clear(&paths, &why), 0, "%s", why.text);
	run("test -e %s/precious/file", base);
	run("test ! -e %s/data/appendonlydir", base);
}

/* ---- what an older gilscope left ---- */

static void start_old_server(void)
{
	run("mkdir -p %s/data; redis-server --port 0 --daemonize yes --save '' --appendonly yes --unixsocket %s/redis.sock "
	    "--dir %s/data --pidfile %s/redis.pid --logfile %s/redis.log", base, base, base, base, base);
	for (int tries = 0; tries < 600 && nobody_listens(NULL); tries++)
		usleep(100000);
	cr_assert_str_eq(private_redis__ask(&reader, "SET k old"), "OK");
}

static void expect_handed_over(void)
{
	cr_expect_neq(servers_user(), 0);
	cr_expect_eq(owner_of("%s/data", base), servers_user());
	cr_expect_eq(owner_of("%s/data/appendonlydir", base), servers_user());
	cr_expect_eq(owner_of("%s/data/appendonlydir/appendonly.aof.manifest", base), servers_user());
}

Test(store_rights, data_of_an_older_gilscope_is_handed_over_and_nothing_else)
{
	struct store *s;

	start_old_server();
	run("kill $(cat %s/redis.pid)", base);
	cr_assert(eventually(nobody_listens, NULL, 60000));
	run("cd %s; echo x > precious; ln -s ../../precious data/appendonlydir/link; ln precious data/appendonlydir/twice", base);
	s = open_store();
	cr_expect_str_eq(private_redis__ask(&reader, "GET k"), "old");
	expect_handed_over();
	cr_expect_eq(owner_of("%s/precious", base), 0);
	store__close(s);
}

Test(store_rights, server_of_an_older_gilscope_is_replaced_when_nobody_uses_it)
{
	struct store *s;

	start_old_server();
	cr_assert_eq(servers_user(), 0);
	s = open_store();
	cr_expect_str_eq(private_redis__ask(&reader, "GET k"), "old");
	expect_handed_over();
	store__close(s);
}

Test(store_rights, server_of_an_older_gilscope_serves_on_while_that_one_lives)
{
	char lock[PATH_MAX];
	struct store *s;
	int old;

	start_old_server();
	snprintf(lock, sizeof(lock), "%s/lock", base);
	old = open(lock, O_RDONLY | O_CREAT | O_CLOEXEC, 0640);
	cr_assert_eq(flock(old, LOCK_SH), 0);
	s = open_store();
	cr_expect_eq(servers_user(), 0);
	cr_expect_str_eq(private_redis__ask(&reader, "GET k"), "old");
	store__close(s);
	cr_expect_not(nobody_listens(NULL), "the older one uses it");
	close(old);
	s = open_store();
	cr_expect_str_eq(private_redis__ask(&reader, "GET k"), "old");
	expect_handed_over();
	store__close(s);
}

/* ---- an ordinary user's ---- */

static int claim_own(void)
{
	struct store *s = NULL;
	struct reason why = {""};
	struct status st;
	pid_t pid;

	if (store__open(&paths, &s, &why)) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	pid = status__listener(paths.socket);
	status__read(pid, pid, &st);
	store__close(s);
	if (st.uid != geteuid() || st.no_new_privs != 1 || st.permitted || st.core_limit != 0)
		return 2;
	return 0;
}

Test(store_rights, server_of_an_ordinary_user_is_that_users_and_gains_no_right)
{
	struct reason why = {""};
	char dir[96];

	cr_assert_eq(chmod(base, 0755), 0);
	snprintf(dir, sizeof(dir), "%s/own", base);
	cr_assert_eq(mkdir(dir, 0700), 0);
	cr_assert_eq(chown(dir, 31007, 0), 0);
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	cr_assert_eq(store__paths(&paths, &why), 0);
	cr_expect_eq(as_member(claim_own), 0);
}
