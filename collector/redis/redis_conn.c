/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Connections: resolve, connect, TLS, greet; and the exchange of a pipeline under a deadline. See redis_conn.h.
 *
 * hiredis speaks the protocol on its own non-blocking contexts; the waiting is done here with poll(), because its
 * blocking mode knows a timeout per read() only (a server that sends a byte a second holds it for hours) and can't be
 * interrupted. Works with hiredis 0.14 to 1.x; what is worked around is named where it happens.
 */
#include "redis_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>
#ifdef HAVE_HIREDIS_SSL
#include <arpa/inet.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#endif

#include "collector/base/text.h"
#include "redis_sentinel.h"

#define EXCHANGE_SILENCES 4             /* the whole of an exchange, in timeouts */
#define MAX_BYTES (64u << 20)           /* of all replies of an exchange: a page of stacks has 40 MB at most */
#define MAX_ELEMENTS (1u << 19)         /* the same; the threads of one exchange have 400,000 at most */
#define MAX_NESTED 4096                 /* of an array inside a reply: functions of a library, say */
#define MAX_LINE (64u << 10)            /* of what is no bulk string: an error's words, a number */
#define TCP_DEAD_AFTER_MS 30000         /* unacknowledged data */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits for `events`. Returns revents (> 0), -ETIMEDOUT, -ECANCELED (wake_fd), -errno. */
static int await(int fd, short events, int64_t until_ms, int wake_fd)
{
	struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = wake_fd, .events = POLLIN}};

	for (;;) {
		int64_t left = until_ms - now_ms();
		int n = poll(p, 2, left > 0 ? (int)left : 0); /* a negative fd is ignored */

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[1].revents)
			return -ECANCELED;
		if (n > 0 && p[0].revents)
			return p[0].revents;
		if (left <= 0)
			return -ETIMEDOUT;
	}
}

/* ---- the parser's guard ---- */

/* What an exchange may still take; what is spent on a reply is not given back when the reply is freed. */
struct budget {
	size_t bytes, elements;
	bool spent; /* a reply wanted more elements */
};

/* An array costs more than its own element: its places are allocated on the server's word. False: refused. */
static bool spend(const redisReadTask *task, unsigned long long places)
{
	struct budget *budget = task->privdata;
	unsigned long long cost = 1 + places / 8;

	bool absurd = places > (task->parent ? MAX_NESTED : MAX_ELEMENTS);

	if (absurd || (budget && (cost > budget->elements || places > budget->elements))) {
		if (budget)
			budget->spent = true;
		return false; /* the reader reports "out of memory" and stops */
	}
	if (budget)
		budget->elements -= (size_t)cost;
	return true;
}

/* The type of the second parameter of createArray changed with 1.0. */
#if HIREDIS_MAJOR >= 1
typedef size_t array_len_t;
#else
typedef int array_len_t;
#endif

static redisReplyObjectFunctions unguarded, guarded;

static void *guarded_string(const redisReadTask *task, char *text, size_t len)
{
	return spend(task, 0) ? unguarded.createString(task, text, len) : NULL;
}

static void *guarded_array(const redisReadTask *task, array_len_t n)
{
	return spend(task, (unsigned long long)n) ? unguarded.createArray(task, n) : NULL;
}

static void *guarded_integer(const redisReadTask *task, long long value)
{
	return spend(task, 0) ? unguarded.createInteger(task, value) : NULL;
}

static void *guarded_nil(const redisReadTask *task)
{
	return spend(task, 0) ? unguarded.createNil(task) : NULL;
}

#if HIREDIS_MAJOR >= 1
static void *guarded_double(const redisReadTask *task, double value, char *text, size_t len)
{
	return spend(task, 0) ? unguarded.createDouble(task, value, text, len) : NULL;
}

static void *guarded_bool(const redisReadTask *task, int value)
{
	return spend(task, 0) ? unguarded.createBool(task, value) : NULL;
}
#endif

static void make_guarded(void)
{
	redisReader *reader = redisReaderCreate();

	if (!reader)
		return;
	unguarded = guarded = *reader->fn;
	guarded.createString = guarded_string;
	guarded.createArray = guarded_array;
	guarded.createInteger = guarded_integer;
	guarded.createNil = guarded_nil;
#if HIREDIS_MAJOR >= 1
	guarded.createDouble = guarded_double;
	guarded.createBool = guarded_bool;
#endif
	redisReaderFree(reader);
}

void redis_conn__guard(struct redisReader *reader)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_guarded);
	if (unguarded.createArray)
		reader->fn = &guarded;
}

/* ---- the exchange ---- */

int redis_conn__append(struct redisContext *c, int argc, const char *const *argv, const size_t *lens)
{
	/* hiredis takes char ** but writes to neither array nor strings. */
	if (redisAppendCommandArgv(c, argc, (const char **)argv, lens) != REDIS_OK)
		return -ENOMEM;
	return 0;
}

#define COMMAND_SIZE 48

/* The name of the command that waits to be sent, as in "CLIENT SETNAME" or "TIME"; "" if there is none. */
static void name_command(const struct redisContext *c, char name[COMMAND_SIZE])
{
	char first[20] = "", second[20] = "";

	sscanf(c->obuf ? c->obuf : "", "*%*d\r\n$%*d\r\n%19[A-Z_]\r\n$%*d\r\n%19[A-Z]", first, second);
	if (strcmp(first, "CLIENT") != 0 && strcmp(first, "FUNCTION") != 0)
		second[0] = '\0';
	snprintf(name, COMMAND_SIZE, "%s%s%s", first, second[0] ? " " : "", second);
}

static int hung_up(const char *command, struct reason *why)
{
	if (!command[0])
		return reason__set(why, -EPIPE, "the server closed the connection");
	return reason__set(why, -EPIPE, "the server closed the connection at %s (as a proxy does at a command that it does not "
			   "know: then give the address of the server itself)", command);
}

/* The context's error as a code and a sentence. */
static int context_error(const struct redisContext *c, const char *command, struct reason *why)
{
	int err = c->err;

	if (err == REDIS_ERR_IO && (errno == ECONNRESET || errno == EPIPE))
		err = REDIS_ERR_EOF; /* hung up with our words unread */
	switch (err) {
	case REDIS_ERR_EOF:
		return hung_up(command, why);
	case REDIS_ERR_PROTOCOL:
	case REDIS_ERR_OOM:
		return reason__set(why, -EPROTO, "what answers does not speak Redis's protocol (%s)", c->errstr);
	default:
		return reason__set(why, -ECONNRESET, "the connection broke (%s)", c->errstr);
	}
}

/* What redis_conn__exchange() was given. */
struct exchange {
	size_t n;
	int timeout_ms, wake_fd;
	redis_reply_fn *on_reply;
	void *arg;
	char command[COMMAND_SIZE]; /* the one that is sent; "": there are several */
};

/* Hands out the replies that have arrived. */
static int take_replies(struct redisContext *c, const struct exchange *x, size_t *got, struct reason *why)
{
	while (*got < x->n) {
		void *reply = NULL;
		int err = 0;

		if (redisGetReplyFromReader(c, &reply) != REDIS_OK)
			return context_error(c, x->command, why);
		if (!reply)
			return 0;
		if (x->on_reply)
			err = x->on_reply(x->arg, *got, reply);
		freeReplyObject(reply);
		++*got;
		if (err)
			return err;
	}
	return 0;
}

static int no_answer(int err, int64_t began_ms, struct reason *why)
{
	if (err == -ETIMEDOUT)
		return reason__set(why, err, "no answer within %lld ms", (long long)(now_ms() - began_ms));
	return reason__set(why, err, "%s", err == -ECANCELED ? "given up" : strerror(-err));
}

/* Whether the item that is being read is a line without an end: the reader searches it from its beginning at each look. */
static bool line_is_endless(const redisReader *reader)
{
	return reader->len - reader->pos > MAX_LINE && !memmem(reader->buf + reader->pos, MAX_LINE, "\r\n", 2);
}

static int read_more(struct redisContext *c, struct budget *budget, const char *command, struct reason *why)
{
	size_t before = c->reader->len, got;

	if (redisBufferRead(c) != REDIS_OK)
		return context_error(c, command, why);
	got = c->reader->len - before;
	if (got > budget->bytes)
		return reason__set(why, -EPROTO, "its answer is larger than %u MiB", MAX_BYTES >> 20);
	budget->bytes -= got;
	if (line_is_endless(c->reader))
		return reason__set(why, -EPROTO, "a line of its answer is longer than %u KiB", MAX_LINE >> 10);
	return 0;
}

/* Sends and reads until all replies have been handed out. Whatever comes, `end_ms` stays where it is. */
static int talk(struct redisContext *c, struct budget *budget, const struct exchange *x, struct reason *why)
{
	int64_t began = now_ms(), quiet = began + x->timeout_ms, end = began + (int64_t)x->timeout_ms * EXCHANGE_SILENCES;
	int sent = 0, err;
	size_t got = 0;

	for (;;) {
		err = take_replies(c, x, &got, why);
		if (err && budget->spent)
			return reason__set(why, -EPROTO, "its answer has more elements than anything that is asked for");
		if (err || got == x->n)
			return err;
		/* Data that is always there would never let poll() look at the clock. */
		if (now_ms() >= end)
			return reason__set(why, -ETIMEDOUT, "its answer has no end after %lld ms", (long long)(now_ms() - began));
		err = await(c->fd, (short)(POLLIN | (sent ? 0 : POLLOUT)), quiet < end ? quiet : end, x->wake_fd);
		if (err == -ETIMEDOUT && end <= quiet)
			continue;
		if (err < 0)
			return no_answer(err, began, why);
		/* Read first: a server that refuses says so before it hangs up. */
		if (err & ~POLLOUT) {
			int failed = read_more(c, budget, x->command, why);

			if (failed)
				return failed;
		}
		if ((err & POLLOUT) && !(err & (POLLERR | POLLHUP)) && redisBufferWrite(c, &sent) != REDIS_OK)
			return context_error(c, x->command, why);
		quiet = now_ms() + x->timeout_ms;
	}
}

int redis_conn__exchange(struct redisContext *c, size_t n, int timeout_ms, int wake_fd,
			 redis_reply_fn *on_reply, void *arg, struct reason *why)
{
	struct exchange x = {.n = n, .timeout_ms = timeout_ms, .wake_fd = wake_fd, .on_reply = on_reply, .arg = arg};
	struct budget budget = {.bytes = MAX_BYTES, .elements = MAX_ELEMENTS};
	int err;

	if (n == 1)
		name_command(c, x.command);
	c->reader->privdata = &budget;
	err = talk(c, &budget, &x, why);
	c->reader->privdata = NULL;
	return err;
}

static int class_errno(enum redis_class cls)
{
	switch (cls) {
	case REDIS_CLASS_TRANSIENT:
	case REDIS_CLASS_CAPACITY:
		return -EAGAIN;
	case REDIS_CLASS_CREDENTIALS:
		return -EACCES;
	default:
		return -EPROTO;
	}
}

static int refuse_error(void *arg, size_t i, const struct redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ERROR)
		return 0;
	return reason__set(arg, class_errno(redis_class__of(reply->str)), "%s", reply->str);
}

int redis_conn__do(struct redisContext *c, const char *const *argv, int timeout_ms, struct reason *why)
{
	size_t lens[16];
	int argc = 0;

	for (; argv[argc] && argc < 16; argc++)
		lens[argc] = strlen(argv[argc]);
	if (redis_conn__append(c, argc, argv, lens))
		return reason__set(why, -ENOMEM, "out of memory");
	return redis_conn__exchange(c, 1, timeout_ms, -1, refuse_error, why, why);
}

void redis_conn__close(struct redisContext *c)
{
	if (c)
		redisFree(c);
}

/* ---- connect ---- */

/* What open passes down. */
struct opening {
	const struct redis_url *url;
	int timeout_ms;
	int wake_fd;
};

/* Close-on-exec, keep-alive, and an end for data that nobody acknowledges. hiredis set TCP_NODELAY. */
static void set_options(const struct redisContext *c, bool is_unix)
{
	int on = 1, dead_ms = TCP_DEAD_AFTER_MS;

	fcntl(c->fd, F_SETFD, FD_CLOEXEC);
	if (is_unix)
		return;
	setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
}

/* Waits until the connect() that hiredis began is done. */
static int finish_connect(struct redisContext *c, const struct opening *o)
{
	int err, so_error = 0;
	socklen_t len = sizeof(so_error);

	err = await(c->fd, POLLOUT, now_ms() + o->timeout_ms, o->wake_fd);
	if (err < 0)
		return err;
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &so_error, &len) < 0)
		return -errno;
	return -so_error;
}

/* Takes over a context that hiredis just made. */
static int adopt(struct redisContext *c, const struct opening *o, struct redisContext **ret)
{
	int err = errno ? -errno : -EIO;

	if (!c)
		return -ENOMEM;
	if (!c->err) {
		set_options(c, o->url->is_unix);
		err = finish_connect(c, o);
	}
	if (err) {
		redisFree(c);
		return err;
	}
	redis_conn__guard(c->reader);
	*ret = c;
	return 0;
}

/* Who listens may not be who made the socket seem his. */
static int check_peer(const struct redisContext *c, const struct redis_url *url, struct reason *why)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (!url->peer_known)
		return 0;
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	if (peer.uid == url->peer)
		return 0;
	return reason__set(why, -EPERM, "a process of user %u listens there, not of user %u", peer.uid, url->peer);
}

static int connect_unix(const struct opening *o, struct redisContext **ret, struct reason *why)
{
	int err;

	errno = 0;
	err = adopt(redisConnectUnixNonBlock(o->url->path), o, ret);
	if (err)
		return err;
	err = check_peer(*ret, o->url, why);
	if (err) {
		redisFree(*ret);
		*ret = NULL;
	}
	return err;
}

/* Each address of the name in turn: hiredis's non-blocking connect would try the first one only. */
static int connect_tcp(const struct opening *o, struct redisContext **ret, struct reason *why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *a;
	int err = getaddrinfo(o->url->host, NULL, &hints, &list);

	if (err)
		return reason__set(why, -EHOSTUNREACH, "the name does not resolve (%s)",
				   err == EAI_SYSTEM ? strerror(errno) : gai_strerror(err));
	err = -EHOSTUNREACH;
	for (a = list; a; a = a->ai_next) {
		char numeric[NI_MAXHOST];

		if (getnameinfo(a->ai_addr, a->ai_addrlen, numeric, sizeof(numeric), NULL, 0, NI_NUMERICHOST))
			continue;
		errno = 0;
		err = adopt(redisConnectNonBlock(numeric, o->url->port), o, ret);
		if (err == 0 || err == -ECANCELED)
			break;
	}
	freeaddrinfo(list);
	return err;
}

static const char *connect_advice(int err)
{
	switch (err) {
	case -ECONNREFUSED:
		return "; is redis-server running there?";
	case -ENOENT:
		return "; no such socket, is redis-server running?";
	case -EACCES:
	case -EPERM:
		return "; use sudo, or join the group that owns the socket";
	default:
		return "";
	}
}

static int connect_any(const struct opening *o, struct redisContext **ret, struct reason *why)
{
	struct reason named = {""};
	int64_t began = now_ms();
	int err = o->url->is_unix ? connect_unix(o, ret, &named) : connect_tcp(o, ret, &named);

	if (err == 0)
		return 0;
	if (named.text[0])
		return reason__set(why, err, "%s", named.text);
	if (err == -ETIMEDOUT || err == -ECANCELED)
		return no_answer(err, began, why);
	return reason__set(why, err, "%s%s", strerror(-err), connect_advice(err));
}

/* ---- TLS ---- */

#ifdef HAVE_HIREDIS_SSL

bool redis_conn__has_tls(void)
{
	return true;
}

static int tls_error(SSL *ssl, struct reason *why)
{
	long verdict = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
	char text[160] = "handshake failed";
	unsigned long code = ERR_get_error();

	if (code)
		ERR_error_string_n(code, text, sizeof(text));
	if (verdict != X509_V_OK)
		return reason__set(why, -EACCES, "TLS: the server's certificate is refused: %s",
				   X509_verify_cert_error_string(verdict));
	return reason__set(why, -EPROTO, "TLS: %s", text);
}

/* The name (or address) that the certificate must carry: neither hiredis_ssl nor SNI checks it. */
static bool require_name(SSL *ssl, const char *name)
{
	unsigned char addr[16];

	if (inet_pton(AF_INET, name, addr) == 1 || inet_pton(AF_INET6, name, addr) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

static SSL *make_ssl(const struct redis_url *url, struct reason *why)
{
	const char *name = url->server_name[0] ? url->server_name : url->host;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = NULL;

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
		tls_error(NULL, why);
		goto out;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (url->ca_file[0] ? SSL_CTX_load_verify_locations(ctx, url->ca_file, NULL) != 1
			    : SSL_CTX_set_default_verify_paths(ctx) != 1) {
		reason__set(why, -EINVAL, "TLS: the certificates of %s can't be read",
			    url->ca_file[0] ? url->ca_file : "this system");
		goto out;
	}
	if (url->cert_file[0] && (SSL_CTX_use_certificate_chain_file(ctx, url->cert_file) != 1 ||
				  SSL_CTX_use_PrivateKey_file(ctx, url->key_file, SSL_FILETYPE_PEM) != 1 ||
				  SSL_CTX_check_private_key(ctx) != 1)) {
		reason__set(why, -EINVAL, "TLS: %s and %s are no certificate and its key, or can't be read", url->cert_file,
			    url->key_file);
		goto out;
	}
	ssl = SSL_new(ctx);
	if (!ssl || !require_name(ssl, name)) {
		tls_error(NULL, why);
		SSL_free(ssl);
		ssl = NULL;
	}
out:
	SSL_CTX_free(ctx);
	return ssl;
}

/* hiredis only begins the handshake on a non-blocking context; it is ended here, under the deadline. */
static int shake_hands(struct redisContext *c, SSL *ssl, const struct opening *o, struct reason *why)
{
	int64_t began = now_ms();

	for (;;) {
		int rv = SSL_do_handshake(ssl), kind, err;

		if (rv == 1)
			return 0;
		kind = SSL_get_error(ssl, rv);
		if (kind != SSL_ERROR_WANT_READ && kind != SSL_ERROR_WANT_WRITE)
			return tls_error(ssl, why);
		err = await(c->fd, kind == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, began + o->timeout_ms, o->wake_fd);
		if (err < 0)
			return no_answer(err, began, why);
	}
}

static int start_tls(struct redisContext *c, const struct opening *o, struct reason *why)
{
	SSL *ssl = make_ssl(o->url, why);

	if (!ssl)
		return -EPROTO;
	if (redisInitiateSSL(c, ssl) != REDIS_OK) {
		int err = tls_error(ssl, why);

		SSL_free(ssl); /* on success it is the context's */
		return err;
	}
	return shake_hands(c, ssl, o, why);
}

static int tls_usable(struct reason *why)
{
	return 0;
}

#else

bool redis_conn__has_tls(void)
{
	return false;
}

static int tls_usable(struct reason *why)
{
	return reason__set(why, -EPROTONOSUPPORT, "this build's hiredis %d.%d.%d has no TLS; use redis:// through a tunnel "
			   "(stunnel, ssh -L), or build where libhiredis has hiredis_ssl (1.0 and later)", HIREDIS_MAJOR,
			   HIREDIS_MINOR, HIREDIS_PATCH);
}

static int start_tls(struct redisContext *c, const struct opening *o, struct reason *why)
{
	return tls_usable(why);
}

#endif

/* ---- greeting ---- */

enum greeting {
	GREET_AUTH,
	GREET_NAME,
	GREET_SELECT,
	GREET_PING,
};

struct greet {
	struct redisContext *c;
	const struct opening *o;
	bool careful;           /* one by one, and without what is only a courtesy: some hang up at what they don't know */
	enum greeting sent[4];
	size_t n, answered;
	struct reason *why;
};

static int greet_reply(void *arg, size_t i, const struct redisReply *reply);

/* Hears what was said since the last time. */
static int greet_listen(struct greet *g)
{
	size_t n = g->n - g->answered;
	int err = redis_conn__exchange(g->c, n, g->o->timeout_ms, g->o->wake_fd, greet_reply, g, g->why);

	g->answered = g->n;
	return err;
}

static int greet_say(struct greet *g, enum greeting what, int argc, const char *const *argv)
{
	size_t lens[3];

	for (int i = 0; i < argc; i++)
		lens[i] = strlen(argv[i]);
	g->sent[g->n++] = what;
	if (redis_conn__append(g->c, argc, argv, lens))
		return reason__set(g->why, -ENOMEM, "out of memory");
	return g->careful ? greet_listen(g) : 0;
}

/* The first refusal that matters ends it: a server that has too many clients sends one and hangs up. */
static int greet_reply(void *arg, size_t i, const struct redisReply *reply)
{
	struct greet *g = arg;
	enum greeting what = g->sent[g->answered + i];
	enum redis_class cls;
	int err;

	if (reply->type != REDIS_REPLY_ERROR)
		return 0;
	cls = redis_class__of(reply->str);
	/* MISCONF and NOPERM on PING: it may not write, or not ping; whoever asks for more will be told. */
	if (what == GREET_PING && (cls == REDIS_CLASS_CAPACITY || strncmp(reply->str, "NOPERM", 6) == 0))
		return 0;
	if (what == GREET_NAME && cls != REDIS_CLASS_TRANSIENT)
		return 0; /* only a courtesy */
	err = class_errno(cls);
	if (what == GREET_AUTH && cls == REDIS_CLASS_BUG)
		err = -EACCES; /* AUTH with a user before 6.0: wrong number of arguments */
	return reason__set(g->why, err, "%s%s", reply->str, err == -EACCES ? " (check user and password)" : "");
}

static int greet(struct redisContext *c, const struct opening *o, bool careful, struct reason *why)
{
	const struct redis_url *url = o->url;
	const char *with_user[] = {"AUTH", url->user, url->password}, *plain[] = {"AUTH", url->password};
	const char *name[] = {"CLIENT", "SETNAME", "gilscope"}, *ping[] = {"PING"};
	struct greet g = {.c = c, .o = o, .careful = careful, .why = why};
	char db[16];
	const char *select[] = {"SELECT", db};
	int err = 0;

	snprintf(db, sizeof(db), "%d", url->db);
	if (url->user[0])
		err = greet_say(&g, GREET_AUTH, 3, with_user);
	else if (url->password[0])
		err = greet_say(&g, GREET_AUTH, 2, plain);
	if (!err && !careful)
		err = greet_say(&g, GREET_NAME, 3, name);
	if (!err && url->db)
		err = greet_say(&g, GREET_SELECT, 2, select);
	if (!err)
		err = greet_say(&g, GREET_PING, 1, ping);
	return err || careful ? err : greet_listen(&g);
}

static int reach(const struct opening *o, bool careful, struct redisContext **ret, struct reason *why)
{
	struct redisContext *c = NULL;
	int err = connect_any(o, &c, why);

	if (!err && o->url->tls)
		err = start_tls(c, o, why);
	if (!err)
		err = greet(c, o, careful, why);
	if (err)
		redis_conn__close(c);
	else
		*ret = c;
	return err;
}

static int reach_somehow(const struct opening *o, struct redisContext **ret, struct reason *why)
{
	int err = o->url->tls ? tls_usable(why) : 0;

	err = err ?: reach(o, false, ret, why);
	return err == -EPIPE ? reach(o, true, ret, why) : err;
}

/* ---- the master that sentinels name ---- */

/* The role in what ROLE answers. */
static int require_master(void *arg, size_t i, const struct redisReply *reply)
{
	const struct redisReply *role = reply->type == REDIS_REPLY_ARRAY && reply->elements ? reply->element[0] : NULL;

	if (reply->type == REDIS_REPLY_ERROR)
		return reason__set(arg, class_errno(redis_class__of(reply->str)), "%s", reply->str);
	if (role && role->str && strcmp(role->str, "master") == 0)
		return 0;
	return reason__set(arg, -EAGAIN, "the sentinels call it the master, and it says that it is none (yet)");
}

static int check_role(struct redisContext *c, const struct opening *o, struct reason *why)
{
	const char *argv[] = {"ROLE"};
	const size_t lens[] = {4};

	if (redis_conn__append(c, 1, argv, lens))
		return reason__set(why, -ENOMEM, "out of memory");
	return redis_conn__exchange(c, 1, o->timeout_ms, o->wake_fd, require_master, why, why);
}

static int reach_master(const struct opening *o, struct redisContext **ret, struct redis_node *ret_master, struct reason *why)
{
	struct redis_url master = *o->url;
	struct opening to_master = {.url = &master, .timeout_ms = o->timeout_ms, .wake_fd = o->wake_fd};
	struct redis_node node = {.port = 0};
	struct reason detail = {""};
	struct redisContext *c = NULL;
	int err = redis_sentinel__ask(o->url, o->timeout_ms, o->wake_fd, &node, why);

	if (err)
		return err;
	memcpy(master.host, node.host, sizeof(master.host));
	master.port = node.port;
	err = reach_somehow(&to_master, &c, &detail);
	explicit_bzero(&master, sizeof(master));
	err = err ?: check_role(c, o, &detail);
	if (err) {
		redis_conn__close(c);
		return reason__set(why, err, "the master at %s:%d: %s", node.host, node.port, detail.text);
	}
	*ret_master = node;
	*ret = c;
	return 0;
}

/* Any node of the cluster that can be reached. */
static int reach_any(const struct opening *o, struct redisContext **ret, struct reason *why)
{
	struct redis_url node = *o->url;
	struct opening to_node = {.url = &node, .timeout_ms = o->timeout_ms, .wake_fd = o->wake_fd};
	int err = -EINVAL;

	for (int i = 0; i < o->url->nodes_n && err && err != -ECANCELED; i++) {
		memcpy(node.host, o->url->nodes[i].host, sizeof(node.host));
		node.port = o->url->nodes[i].port;
		err = reach_somehow(&to_node, ret, why);
	}
	explicit_bzero(&node, sizeof(node));
	return err;
}

int redis_conn__open_master(const struct redis_url *url, int timeout_ms, int wake_fd, struct redisContext **ret,
			    struct redis_node *ret_master, struct reason *why)
{
	struct opening o = {.url = url, .timeout_ms = timeout_ms, .wake_fd = wake_fd};
	struct reason detail = {""};
	char where[512];
	int err = url->service[0] ? reach_master(&o, ret, ret_master, &detail) :
		  url->cluster ? reach_any(&o, ret, &detail) : reach_somehow(&o, ret, &detail);

	if (err)
		return reason__set(why, err, "%s: %s", redis_url__text(url, where, sizeof(where)), detail.text);
	return 0;
}

int redis_conn__open_until(const struct redis_url *url, int timeout_ms, int wake_fd,
			   struct redisContext **ret, struct reason *why)
{
	struct redis_node master;

	return redis_conn__open_master(url, timeout_ms, wake_fd, ret, &master, why);
}

int redis_conn__open(const struct redis_url *url, int timeout_ms, struct redisContext **ret, struct reason *why)
{
	return redis_conn__open_until(url, timeout_ms, -1, ret, why);
}
