/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pure half of redis_conn.h: URLs, passwords, reply classes, backoff. No socket, no hiredis.
 *
 * A URL may carry a password, so no refusal quotes a part of the URL that could be one: a password with an
 * unescaped '/' or '@' ends up in any field. Next: redis_conn.c.
 */
#include "redis_conn.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/text.h"

#define DEFAULT_PORT 6379
#define SENTINEL_PORT 26379
#define MAX_DB 1000000
#define PASSWORD_SIZE sizeof(((struct redis_url *)0)->password)

/* A piece of the URL: [at, at + len). */
struct piece {
	const char *at;
	size_t len;
};

static struct piece piece_until(const char *s, const char *stops)
{
	return (struct piece){s, strcspn(s, stops)};
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decodes into dst. 0, -EINVAL (broken or %00), -E2BIG. */
static int decode(struct piece p, char *dst, size_t size)
{
	size_t out = 0;

	for (size_t i = 0; i < p.len; i++) {
		char c = p.at[i];

		if (c == '%') {
			int hi = i + 2 < p.len ? hex_digit(p.at[i + 1]) : -1;
			int lo = i + 2 < p.len ? hex_digit(p.at[i + 2]) : -1;

			if (hi < 0 || lo < 0 || (hi == 0 && lo == 0))
				return -EINVAL;
			c = (char)(hi << 4 | lo);
			i += 2;
		}
		if (out + 1 >= size)
			return -E2BIG;
		dst[out++] = c;
	}
	dst[out] = '\0';
	return 0;
}

/* Digits only, the whole piece, min..max. 0 or -EINVAL. */
static int number(struct piece p, long min, long max, int *ret)
{
	long v = 0;

	if (p.len == 0 || p.len > 9)
		return -EINVAL;
	for (size_t i = 0; i < p.len; i++) {
		if (!isdigit((unsigned char)p.at[i]))
			return -EINVAL;
		v = v * 10 + (p.at[i] - '0');
	}
	if (v < min || v > max)
		return -EINVAL;
	*ret = (int)v;
	return 0;
}

static int parse_userinfo(struct piece p, struct redis_url *url, struct reason *why)
{
	const char *colon = memchr(p.at, ':', p.len);
	struct piece user = {p.at, colon ? (size_t)(colon - p.at) : p.len};
	struct piece password = {colon ? colon + 1 : p.at + p.len, 0};

	password.len = (size_t)(p.at + p.len - password.at);
	if (decode(user, url->user, sizeof(url->user)))
		return reason__set(why, -EINVAL, "Redis URL: the user name is too long or has a broken %%XX in it");
	if (decode(password, url->password, sizeof(url->password)))
		return reason__set(why, -EINVAL, "Redis URL: the password is too long or has a broken %%XX in it");
	url->password_in_url = url->password[0] != '\0';
	return 0;
}

/* A name, an IPv4 address, or an IPv6 address from between brackets (which may have a %scope). */
static bool host_is_sane(struct piece p, bool ipv6)
{
	if (p.len == 0 || p.len >= sizeof(((struct redis_node *)0)->host))
		return false;
	for (size_t i = 0; i < p.len; i++) {
		unsigned char c = (unsigned char)p.at[i];

		if (!isalnum(c) && c != '.' && c != '-' && c != '_' && !(ipv6 && (c == ':' || c == '%')))
			return false;
	}
	return true;
}

static int parse_hostport(struct piece p, int default_port, struct redis_node *ret, struct reason *why)
{
	bool ipv6 = p.len > 0 && p.at[0] == '[';
	const char *end = ipv6 ? memchr(p.at, ']', p.len) : memchr(p.at, ':', p.len);
	struct piece host = {p.at, end ? (size_t)(end - p.at) : p.len};
	const char *rest = p.at + host.len;

	if (ipv6) {
		if (!end)
			return reason__set(why, -EINVAL, "Redis URL: the ] after the IPv6 address is missing");
		host = (struct piece){p.at + 1, (size_t)(end - p.at - 1)};
		rest = end + 1;
	}
	if (host.len == 0 && !ipv6)
		host = (struct piece){"127.0.0.1", 9};
	if (!host_is_sane(host, ipv6))
		return reason__set(why, -EINVAL, "Redis URL: the host name is malformed (a @, / or : in the "
				   "password is written %%40, %%2F, %%3A)");
	memcpy(ret->host, host.at, host.len);
	ret->host[host.len] = '\0';
	ret->port = default_port;
	if (rest == p.at + p.len)
		return 0;
	if (*rest != ':' || number((struct piece){rest + 1, (size_t)(p.at + p.len - rest - 1)}, 1, 65535, &ret->port))
		return reason__set(why, -EINVAL, "Redis URL: the port must be a number from 1 to 65535");
	return 0;
}

/* What may stand behind the ? of rediss:// beside db. */
static const struct tls_parameter {
	const char *name;
	size_t at, size;
} tls_parameters[] = {
	{"cacert", offsetof(struct redis_url, ca_file), sizeof(((struct redis_url *)0)->ca_file)},
	{"cert", offsetof(struct redis_url, cert_file), sizeof(((struct redis_url *)0)->cert_file)},
	{"key", offsetof(struct redis_url, key_file), sizeof(((struct redis_url *)0)->key_file)},
	{"sni", offsetof(struct redis_url, server_name), sizeof(((struct redis_url *)0)->server_name)},
};
#define TLS_PARAMETERS (sizeof(tls_parameters) / sizeof(tls_parameters[0]))

static bool is_named(struct piece p, const char *name)
{
	return p.len == strlen(name) && memcmp(p.at, name, p.len) == 0;
}

static int parse_parameter(struct piece name, struct piece value, struct redis_url *url, struct reason *why)
{
	if (is_named(name, "db")) {
		if (number(value, 0, MAX_DB, &url->db))
			return reason__set(why, -EINVAL, "Redis URL: db= must be followed by a number");
		return 0;
	}
	if (url->nodes_n && !url->cluster && is_named(name, "sentinel_user")) {
		if (value.len == 0 || decode(value, url->sentinel_user, sizeof(url->sentinel_user)))
			return reason__set(why, -EINVAL, "Redis URL: the sentinels' user is empty, too long or has a "
					   "broken %%XX in it");
		return 0;
	}
	for (size_t i = 0; url->tls && i < TLS_PARAMETERS; i++) {
		const struct tls_parameter *p = &tls_parameters[i];

		if (!is_named(name, p->name))
			continue;
		if (value.len == 0 || decode(value, (char *)url + p->at, p->size))
			return reason__set(why, -EINVAL, "Redis URL: what follows %s= is empty, too long or has a broken "
					   "%%XX in it", p->name);
		return 0;
	}
	return reason__set(why, -EINVAL, "Redis URL: behind ? may stand db=N%s%s, joined by &",
			   url->nodes_n && !url->cluster ? ", sentinel_user=NAME" : "",
			   url->tls ? ", cacert=FILE, cert=FILE, key=FILE and sni=NAME" : "");
}

/* "?name=value&name=value". */
static int parse_query(const char *s, struct redis_url *url, struct reason *why)
{
	int err = 0;

	while (!err && *s && *++s) {
		struct piece both = piece_until(s, "&"), name = piece_until(s, "=&");
		struct piece value = {name.at + name.len, 0};

		if (*value.at == '=')
			value.at++;
		value.len = (size_t)(both.at + both.len - value.at);
		err = parse_parameter(name, value, url, why);
		s += both.len;
	}
	if (!err && !url->cert_file[0] != !url->key_file[0])
		err = reason__set(why, -EINVAL, "Redis URL: cert= and key= go together");
	return err;
}

static int set_path(struct piece p, bool encoded, struct redis_url *url, struct reason *why)
{
	int err;

	url->is_unix = true;
	if (!encoded && p.len < sizeof(url->path)) {
		memcpy(url->path, p.at, p.len);
		url->path[p.len] = '\0';
		return 0;
	}
	err = encoded ? decode(p, url->path, sizeof(url->path)) : -E2BIG;
	if (err == -E2BIG)
		return reason__set(why, -EINVAL, "Redis URL: the socket's path is longer than the %zu bytes that Linux allows",
				   sizeof(url->path) - 1);
	if (err)
		return reason__set(why, -EINVAL, "Redis URL: broken %%XX in the socket's path");
	return 0;
}

static int parse_unix(const char *s, struct redis_url *url, struct reason *why)
{
	struct piece authority = piece_until(s, "/?"), path;
	int err;

	if (authority.len > 0 && authority.at[authority.len - 1] != '@')
		return reason__set(why, -EINVAL, "Redis URL: a socket's path is absolute: unix:///path/to.sock");
	if (authority.len > 0) {
		err = parse_userinfo((struct piece){authority.at, authority.len - 1}, url, why);
		if (err)
			return err;
	}
	path = piece_until(s + authority.len, "?");
	if (path.len == 0)
		return reason__set(why, -EINVAL, "Redis URL: unix:// lacks the socket's path");
	err = set_path(path, true, url, why);
	return err ? err : parse_query(path.at + path.len, url, why);
}

/* What stands before the first / or ?: takes the user off, the hosts remain. */
static int parse_authority(const char *s, struct redis_url *url, struct piece *ret_hosts, struct reason *why)
{
	struct piece authority = piece_until(s, "/?");
	const char *at = memrchr(authority.at, '@', authority.len);

	*ret_hosts = authority;
	if (!at)
		return 0;
	*ret_hosts = (struct piece){at + 1, (size_t)(authority.at + authority.len - at - 1)};
	return parse_userinfo((struct piece){authority.at, (size_t)(at - authority.at)}, url, why);
}

/* "host:port,host": the nodes. */
static int parse_nodes(struct piece hosts, int default_port, struct redis_url *url, struct reason *why)
{
	const char *end = hosts.at + hosts.len;
	int err = 0;

	for (const char *s = hosts.at; s <= end && !err;) {
		const char *comma = memchr(s, ',', (size_t)(end - s)) ?: end;

		if (comma == s || url->nodes_n == REDIS_NODES_MAX)
			return reason__set(why, -EINVAL, "Redis URL: one of the hosts is empty, or there are more than %d",
					   REDIS_NODES_MAX);
		err = parse_hostport((struct piece){s, (size_t)(comma - s)}, default_port, &url->nodes[url->nodes_n++], why);
		s = comma + 1;
	}
	return err;
}

static int parse_sentinel(const char *s, struct redis_url *url, struct reason *why)
{
	struct piece hosts, service;
	int err = parse_authority(s, url, &hosts, why);
	const char *rest = hosts.at + hosts.len;

	err = err ?: parse_nodes(hosts, SENTINEL_PORT, url, why);
	if (err)
		return err;
	service = piece_until(rest + (*rest == '/'), "?");
	if (service.len == 0 || memchr(service.at, '/', service.len) || decode(service, url->service, sizeof(url->service)))
		return reason__set(why, -EINVAL, "Redis URL: behind the sentinels stands / and the name that they have for "
				   "the master, such as mymaster");
	return parse_query(service.at + service.len, url, why);
}

/* A cluster has database 0 alone, which may be named. */
static int parse_cluster(const char *s, struct redis_url *url, struct reason *why)
{
	struct piece hosts, db;
	int err = parse_authority(s, url, &hosts, why);
	const char *rest = hosts.at + hosts.len;

	url->cluster = true;
	err = err ?: parse_nodes(hosts, DEFAULT_PORT, url, why);
	if (err)
		return err;
	db = piece_until(rest + (*rest == '/'), "?");
	if (db.len > 0 && number(db, 0, MAX_DB, &url->db))
		return reason__set(why, -EINVAL, "Redis URL: behind the nodes of a cluster nothing stands but parameters");
	err = parse_query(db.at + db.len, url, why);
	if (!err && url->db)
		return reason__set(why, -EINVAL, "Redis URL: a cluster has no other database than 0");
	return err;
}

static int parse_tcp(const char *s, struct redis_url *url, struct reason *why)
{
	struct redis_node node;
	struct piece host, db;
	const char *rest;
	int err = parse_authority(s, url, &host, why);

	rest = host.at + host.len;
	err = err ?: parse_hostport(host, DEFAULT_PORT, &node, why);
	if (err)
		return err;
	memcpy(url->host, node.host, sizeof(url->host));
	url->port = node.port;
	if (*rest != '/')
		return parse_query(rest, url, why);
	db = piece_until(rest + 1, "?");
	if (db.len > 0 && number(db, 0, MAX_DB, &url->db))
		return reason__set(why, -EINVAL, "Redis URL: what follows the host's / must be the number of a database "
				   "(a / in the password is written %%2F)");
	return parse_query(db.at + db.len, url, why);
}

/* What leads to a server by TCP; Valkey's tools have names of their own for the same. */
struct scheme {
	const char *name;
	bool tls;
	int (*parse)(const char *s, struct redis_url *url, struct reason *why);
};

static const struct scheme schemes[] = {
	{"redis://", false, parse_tcp},
	{"rediss://", true, parse_tcp},
	{"valkey://", false, parse_tcp},
	{"valkeys://", true, parse_tcp},
	{"redis+sentinel://", false, parse_sentinel},
	{"rediss+sentinel://", true, parse_sentinel},
	{"redis+cluster://", false, parse_cluster},
	{"rediss+cluster://", true, parse_cluster},
};

/* NULL: none of these. */
static const struct scheme *find_scheme(const char *text)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strncmp(text, schemes[i].name, strlen(schemes[i].name)) == 0)
			return &schemes[i];
	return NULL;
}

int redis_url__parse(const char *text, struct redis_url *ret, struct reason *why)
{
	const struct scheme *scheme = find_scheme(text);
	struct redis_url url = {.tls = scheme && scheme->tls};
	int err;

	if (scheme) {
		err = scheme->parse(text + strlen(scheme->name), &url, why);
	} else if (strncmp(text, "unix://", 7) == 0) {
		err = parse_unix(text + 7, &url, why);
	} else if (text[0] == '/') {
		err = set_path((struct piece){text, strlen(text)}, false, &url, why);
	} else {
		err = reason__set(why, -EINVAL, "Redis URL: must begin with redis://, rediss://, redis+sentinel://, "
				  "redis+cluster:// (rediss+... with TLS), valkey://, valkeys:// or unix://, or "
				  "be a socket's absolute path");
	}
	if (!err)
		*ret = url;
	explicit_bzero(&url, sizeof(url));
	return err;
}

/* First line of a file into `password`. */
static int read_password(const char *file, char password[PASSWORD_SIZE], struct reason *why)
{
	char buf[PASSWORD_SIZE + 2];
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), err = 0;
	ssize_t len = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	if (len < 0)
		err = reason__set(why, -errno, "Redis password file %s: %s", file, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	buf[len] = '\0';
	if (memchr(buf, '\0', (size_t)len))
		err = -EINVAL;
	buf[strcspn(buf, "\r\n")] = '\0';
	if (err || buf[0] == '\0' || strlen(buf) >= PASSWORD_SIZE)
		err = reason__set(why, -EINVAL, "Redis password file %s: its first line is not a password (empty, too long "
				  "or binary)", file);
	else
		memcpy(password, buf, strlen(buf) + 1);
	explicit_bzero(buf, sizeof(buf));
	return err;
}

static int find_password(char password[PASSWORD_SIZE], const char *file, const char *const *names, size_t n, struct reason *why)
{
	if (password[0])
		return 0;
	if (file)
		return read_password(file, password, why);
	for (size_t i = 0; i < n; i++) {
		const char *value = getenv(names[i]);

		if (!value || !value[0])
			continue;
		if (strlen(value) >= PASSWORD_SIZE)
			return reason__set(why, -EINVAL, "%s: the password is too long", names[i]);
		memcpy(password, value, strlen(value) + 1);
		return 0;
	}
	return 0;
}

int redis_url__find_password(struct redis_url *url, const char *password_file, struct reason *why)
{
	static const char *const names[] = {"GILSCOPE_REDIS_PASSWORD", "REDISCLI_AUTH"};

	return find_password(url->password, password_file, names, 2, why);
}

int redis_url__find_sentinel_password(struct redis_url *url, const char *password_file, struct reason *why)
{
	static const char *const names[] = {"GILSCOPE_SENTINEL_PASSWORD"};

	return url->service[0] ? find_password(url->sentinel_password, password_file, names, 1, why) : 0;
}

#define PLAIN_IN_PATHS "/._-"
#define PLAIN_IN_NAMES "._-"

/* Appends `text`, percent-encoded but for letters, digits and `also`. */
static void append_encoded(char *dst, size_t size, const char *text, const char *also)
{
	size_t len = strlen(dst);

	for (; *text && len + 4 < size; text++) {
		bool plain = isalnum((unsigned char)*text) || strchr(also, *text);

		len += (size_t)snprintf(dst + len, size - len, plain ? "%c" : "%%%02X", (unsigned char)*text);
	}
}

/* "?name=value" or, where there are some already, "&name=value". */
static void append_parameter(char *dst, size_t size, const char *name, const char *value)
{
	size_t len = strlen(dst);

	snprintf(dst + len, size - len, "%c%s=", strchr(dst, '?') ? '&' : '?', name);
	append_encoded(dst, size, value, PLAIN_IN_PATHS);
}

static void append_parameters(char *dst, size_t size, const struct redis_url *url)
{
	if (url->sentinel_user[0])
		append_parameter(dst, size, "sentinel_user", url->sentinel_user);
	for (size_t i = 0; i < TLS_PARAMETERS; i++) {
		const char *value = (const char *)url + tls_parameters[i].at;

		if (value[0])
			append_parameter(dst, size, tls_parameters[i].name, value);
	}
}

static void append_plain(char *dst, size_t size, const char *text)
{
	size_t len = strlen(dst);

	snprintf(dst + len, size - len, "%s", text);
}

static void append_node(char *dst, size_t size, const char *host, int port)
{
	bool ipv6 = strchr(host, ':') != NULL;
	size_t len = strlen(dst);

	snprintf(dst + len, size - len, "%s%s%s:%d", ipv6 ? "[" : "", host, ipv6 ? "]" : "", port);
}

static void append_nodes(char *dst, size_t size, const struct redis_url *url)
{
	for (int i = 0; i < url->nodes_n; i++) {
		append_plain(dst, size, i ? "," : "");
		append_node(dst, size, url->nodes[i].host, url->nodes[i].port);
	}
}

/* Behind the user: what a host's name may be needs no encoding, a path is anything. */
static void append_place(char *dst, size_t size, const struct redis_url *url, bool encoded)
{
	const char *path = url->service[0] ? url->service : url->path;
	char db[24] = "";

	if (url->cluster) {
		append_nodes(dst, size, url);
	} else if (url->is_unix || url->service[0]) {
		append_nodes(dst, size, url);
		append_plain(dst, size, url->service[0] ? "/" : "");
		if (encoded)
			append_encoded(dst, size, path, url->service[0] ? PLAIN_IN_NAMES : PLAIN_IN_PATHS);
		else
			append_plain(dst, size, path);
		snprintf(db, sizeof(db), "?db=%d", url->db);
	} else {
		append_node(dst, size, url->host, url->port);
		snprintf(db, sizeof(db), "/%d", url->db);
	}
	append_plain(dst, size, url->db ? db : "");
}

static const char *scheme_of(const struct redis_url *url)
{
	if (url->is_unix)
		return "unix://";
	if (url->cluster)
		return url->tls ? "rediss+cluster://" : "redis+cluster://";
	if (url->service[0])
		return url->tls ? "rediss+sentinel://" : "redis+sentinel://";
	return url->tls ? "rediss://" : "redis://";
}

const char *redis_url__text(const struct redis_url *url, char *buf, size_t size)
{
	char raw[sizeof(url->nodes) + sizeof(url->path) + sizeof(url->user) + 128];

	snprintf(raw, sizeof(raw), "%s%s%s", scheme_of(url), url->user, url->user[0] ? "@" : "");
	append_place(raw, sizeof(raw), url, false);
	text__clean(buf, size, raw, strlen(raw));
	return buf;
}

const char *redis_url__whole(const struct redis_url *url, char *buf, size_t size)
{
	snprintf(buf, size, "%s", scheme_of(url));
	if (url->user[0]) {
		append_encoded(buf, size, url->user, PLAIN_IN_NAMES);
		append_plain(buf, size, "@");
	}
	append_place(buf, size, url, true);
	append_parameters(buf, size, url);
	return buf;
}

/* First words of error replies; what is not listed is a bug of ours. */
static const struct {
	const char *prefix;
	enum redis_class cls;
} classes[] = {
	{"LOADING ", REDIS_CLASS_TRANSIENT},
	{"BUSY ", REDIS_CLASS_TRANSIENT},
	{"MASTERDOWN ", REDIS_CLASS_TRANSIENT},
	{"NOREPLICAS ", REDIS_CLASS_TRANSIENT},
	{"CLUSTERDOWN ", REDIS_CLASS_TRANSIENT},
	{"TRYAGAIN ", REDIS_CLASS_TRANSIENT},
	{"ERR max number of clients", REDIS_CLASS_TRANSIENT},
	{"OOM ", REDIS_CLASS_CAPACITY},
	{"MISCONF ", REDIS_CLASS_CAPACITY},
	{"READONLY ", REDIS_CLASS_WRONG_NODE},
	{"MOVED ", REDIS_CLASS_WRONG_NODE},
	{"ASK ", REDIS_CLASS_WRONG_NODE},
	{"NOAUTH ", REDIS_CLASS_CREDENTIALS},
	{"WRONGPASS ", REDIS_CLASS_CREDENTIALS},
	{"NOPERM ", REDIS_CLASS_CREDENTIALS},
	{"ERR invalid password", REDIS_CLASS_CREDENTIALS}, /* before 6.0 */
	{"ERR AUTH ", REDIS_CLASS_CREDENTIALS},            /* a password where none is set */
	{"ERR Client sent AUTH", REDIS_CLASS_CREDENTIALS}, /* the same before 6.0 */
	{"WRONGTYPE ", REDIS_CLASS_KEY},
};

enum redis_class redis_class__of(const char *error_text)
{
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strncmp(error_text, classes[i].prefix, strlen(classes[i].prefix)) == 0)
			return classes[i].cls;
	return REDIS_CLASS_BUG;
}

const char *redis_class__advice(enum redis_class cls)
{
	switch (cls) {
	case REDIS_CLASS_TRANSIENT:
		return "samples are kept and sent again";
	case REDIS_CLASS_CAPACITY:
		return "give it memory or disk (maxmemory, maxmemory-policy volatile-ttl); samples are kept meanwhile";
	case REDIS_CLASS_WRONG_NODE:
		return "point --redis at the primary that owns these keys; samples are kept meanwhile";
	case REDIS_CLASS_CREDENTIALS:
		return "check user, password and ACL (keys gil:*); samples are kept meanwhile";
	case REDIS_CLASS_KEY:
		return "another program owns this key: delete or rename it; all else is written";
	case REDIS_CLASS_BUG:
		return "the command was dropped; please report this";
	default:
		return "";
	}
}

#define BACKOFF_FLOOR_MS 100
#define BACKOFF_SLOW_FLOOR_MS 1000
#define BACKOFF_CAP_MS 30000

int redis_backoff__ms(unsigned int attempt, enum redis_class cls, uint32_t random)
{
	bool slow = cls == REDIS_CLASS_CAPACITY || cls == REDIS_CLASS_CREDENTIALS;
	uint32_t floor = slow ? BACKOFF_SLOW_FLOOR_MS : BACKOFF_FLOOR_MS;
	uint64_t ceiling = (uint64_t)floor * 2 << (attempt < 16 ? attempt : 16);

	if (ceiling > BACKOFF_CAP_MS)
		ceiling = BACKOFF_CAP_MS;
	return (int)(floor + random % (ceiling - floor + 1));
}
