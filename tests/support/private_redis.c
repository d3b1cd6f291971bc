/* SPDX-License-Identifier: GPL-2.0-only */
/* See private_redis.h. */
#include "private_redis.h"

#include <criterion/criterion.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static long long clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

bool eventually(bool (*holds)(void *arg), void *arg, int limit_ms)
{
	long long end = clock_ms() + limit_ms;

	while (!holds(arg)) {
		if (clock_ms() > end)
			return holds(arg);
		pause_ms(10);
	}
	return true;
}

int free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	close(fd);
	return ntohs(a.sin_port);
}

void private_redis__init(struct private_redis *r, bool tcp)
{
	signal(SIGPIPE, SIG_IGN);
	if (access("/usr/bin/redis-server", X_OK) && access("/usr/local/bin/redis-server", X_OK)) {
		cr_assert_null(getenv("REQUIRE_REDIS"), "redis-server is not installed");
		cr_skip_test("redis-server is not installed");
	}
	*r = (struct private_redis){.dir = "/tmp/gilscope-redis-XXXXXX"};
	cr_assert_not_null(mkdtemp(r->dir));
	snprintf(r->socket, sizeof(r->socket), "%s/sock", r->dir);
	snprintf(r->url, sizeof(r->url), "unix://%s", r->socket);
	r->port = tcp ? free_port() : 0;
}

static void run_server(const struct private_redis *r, const char *const *options)
{
	char port[16];
	const char *argv[64] = {"redis-server", "--port", port, "--bind", "127.0.0.1", "--unixsocket", r->socket, "--dir",
				r->dir, "--logfile", "log", "--save", "", "--daemonize", "no"};
	int n = 15;

	snprintf(port, sizeof(port), "%d", r->port);
	for (; options && *options && n < 62; options++)
		argv[n++] = *options;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execvp(argv[0], (char **)argv);
	_exit(127);
}

static bool answers(void *arg)
{
	struct private_redis *r = arg;
	redisContext *c = redisConnectUnix(r->socket);
	redisReply *reply = c && !c->err ? redisCommand(c, "PING") : NULL;
	/* NOAUTH is an answer too. */
	bool up = reply && strncmp(reply->str, "LOADING", 7) != 0;

	freeReplyObject(reply);
	if (c)
		redisFree(c);
	return up;
}

void private_redis__start(struct private_redis *r, bool wait, const char *const *options)
{
	unlink(r->socket);
	r->pid = fork();
	cr_assert(r->pid >= 0);
	if (r->pid == 0)
		run_server(r, options);
	if (wait)
		cr_assert(eventually(answers, r, 60000), "redis-server does not come up");
}

static void end(struct private_redis *r, int signo)
{
	if (!r->pid)
		return;
	kill(r->pid, signo);
	waitpid(r->pid, NULL, 0);
	r->pid = 0;
}

void private_redis__kill(struct private_redis *r)
{
	end(r, SIGKILL);
}

void private_redis__stop(struct private_redis *r)
{
	end(r, SIGTERM);
}

void private_redis__pause(struct private_redis *r)
{
	kill(r->pid, SIGSTOP);
}

void private_redis__resume(struct private_redis *r)
{
	kill(r->pid, SIGCONT);
}

static void remove_tree(const char *what)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("rm", "rm", "-rf", "--", what, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

void private_redis__forget_data(struct private_redis *r)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/appendonlydir", r->dir);
	remove_tree(path);
	snprintf(path, sizeof(path), "%s/dump.rdb", r->dir);
	unlink(path);
}

void private_redis__fini(struct private_redis *r)
{
	private_redis__kill(r);
	if (r->dir[0])
		remove_tree(r->dir);
}

static void reply_text(const redisReply *reply, char *buf, size_t size)
{
	size_t len = strlen(buf);

	if (reply->type == REDIS_REPLY_INTEGER)
		snprintf(buf + len, size - len, "%lld", reply->integer);
	else if (reply->type == REDIS_REPLY_NIL)
		snprintf(buf + len, size - len, "nil");
	else if (reply->type != REDIS_REPLY_ARRAY)
		snprintf(buf + len, size - len, "%.*s", (int)reply->len, reply->str);
	for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
		if (i > 0)
			strncat(buf, "\n", size - strlen(buf) - 1);
		reply_text(reply->element[i], buf, size);
	}
}

static void log_in(const struct private_redis *r, redisContext *c)
{
	FILE *file = r->secret[0] ? fopen(r->secret, "r") : NULL;
	char password[128] = "";
	redisReply *reply;

	if (!file)
		return;
	cr_assert_not_null(fgets(password, sizeof(password), file));
	fclose(file);
	reply = redisCommand(c, "AUTH gilscope %s", password);
	cr_assert(reply && reply->type == REDIS_REPLY_STATUS, "%s", reply ? reply->str : "no answer");
	freeReplyObject(reply);
}

static const char *ask(struct private_redis *r, const char *fmt, va_list args)
{
	static char answer[65536];
	char line[1024], *save = NULL;
	const char *argv[32];
	redisContext *c = redisConnectUnix(r->socket);
	redisReply *reply;
	bool answered;
	int argc = 0;

	vsnprintf(line, sizeof(line), fmt, args);
	for (char *w = strtok_r(line, " ", &save); w && argc < 32; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	cr_assert(c && !c->err, "%s: %s", r->socket, c ? c->errstr : "no memory");
	log_in(r, c);
	reply = redisCommandArgv(c, argc, argv, NULL);
	answered = reply != NULL;
	answer[0] = '\0';
	if (answered)
		reply_text(reply, answer, sizeof(answer));
	freeReplyObject(reply);
	redisFree(c);
	return answered ? answer : NULL;
}

const char *private_redis__ask(struct private_redis *r, const char *fmt, ...)
{
	va_list args;
	const char *answer;

	va_start(args, fmt);
	answer = ask(r, fmt, args);
	va_end(args);
	cr_assert_not_null(answer, "no answer to %s", fmt);
	return answer;
}

const char *private_redis__try(struct private_redis *r, const char *fmt, ...)
{
	va_list args;
	const char *answer;

	va_start(args, fmt);
	answer = ask(r, fmt, args);
	va_end(args);
	return answer;
}

long long private_redis__int(struct private_redis *r, const char *fmt, ...)
{
	va_list args;
	const char *answer;
	char *end_of;
	long long v;

	va_start(args, fmt);
	answer = ask(r, fmt, args);
	va_end(args);
	cr_assert_not_null(answer, "no answer to %s", fmt);
	v = strtoll(answer, &end_of, 10);
	cr_assert(*answer && !*end_of, "not a number: %s", answer);
	return v;
}
