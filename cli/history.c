/* SPDX-License-Identifier: GPL-2.0-only */
/* See history.h. */
#include "history.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/redis/redis_cluster.h"
#include "collector/redis/sink_cluster.h"
#include "collector/redis/sink_redis.h"
#include "collector/base/log.h"

#define RECOGNISE_MS 1000 /* for a server to say whether it is a node of a cluster */

/* ---- words for shells ---- */

/* `text` so that a shell reads it as one word. Returns dst. */
static const char *quote_word(char *dst, size_t size, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,";
	size_t out = 0;

	if (*text && strspn(text, plain) == strlen(text)) {
		snprintf(dst, size, "%s", text);
		return dst;
	}
	dst[out++] = '\'';
	for (; *text && out + 6 < size; text++) {
		if (*text == '\'')
			out += (size_t)snprintf(dst + out, size - out, "'\\''");
		else
			dst[out++] = *text;
	}
	snprintf(dst + out, size - out, "'");
	return dst;
}

/* Whether a shell that is told "gilscope" would start this program. */
static bool in_path(const struct stat *self)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];
	struct stat st;

	while (path && *path) {
		size_t len = strcspn(path, ":");

		snprintf(file, sizeof(file), "%.*s/gilscope", (int)len, path);
		if (access(file, X_OK) == 0 && stat(file, &st) == 0)
			return st.st_dev == self->st_dev && st.st_ino == self->st_ino;
		path += len + (path[len] == ':');
	}
	return false;
}

static const char *program(char *buf, size_t size)
{
	char path[PATH_MAX];
	struct stat self;
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (len <= 0 || stat("/proc/self/exe", &self) || in_path(&self))
		return "gilscope";
	path[len] = '\0';
	return quote_word(buf, size, path);
}

/* How this very program is called from a shell: "gilscope", or its path; with sudo and GILSCOPE_STORE_DIR in front if needed. */
static const char *own_command(char *buf, size_t size)
{
	const char *dir = getenv("GILSCOPE_STORE_DIR");
	char quoted[PATH_MAX], file[PATH_MAX];
	bool sudo = geteuid() == 0 && getenv("SUDO_UID");

	snprintf(buf, size, "%s%s%s%s%s", sudo ? "sudo " : "", dir && *dir ? "GILSCOPE_STORE_DIR=" : "",
		 dir && *dir ? quote_word(quoted, sizeof(quoted), dir) : "", dir && *dir ? " " : "",
		 program(file, sizeof(file)));
	return buf;
}

/* The password of a pasted line comes from where it came from here, never from the line itself. */
static const char *auth_words(const struct options *o, const struct redis_url *url, char *buf, size_t size)
{
	const char *env = getenv("GILSCOPE_REDIS_PASSWORD");
	char quoted[PATH_MAX];

	buf[0] = '\0';
	if (!url->password[0])
		return buf;
	if (url->password_in_url)
		snprintf(buf, size, "REDISCLI_AUTH=PASSWORD ");
	else if (o->password_file)
		snprintf(buf, size, "REDISCLI_AUTH=\"$(head -n 1 %s)\" ",
			 quote_word(quoted, sizeof(quoted), o->password_file));
	else if (env && *env)
		snprintf(buf, size, "REDISCLI_AUTH=\"$GILSCOPE_REDIS_PASSWORD\" ");
	return buf;
}

static void append_option(struct history *h, const char *name, const char *value)
{
	size_t len = strlen(h->query_options);
	char quoted[sizeof(h->query_options)];

	snprintf(h->query_options + len, sizeof(h->query_options) - len, " %s %s", name,
		 quote_word(quoted, sizeof(quoted), value));
}

/* redis-cli's words for a TLS connection like ours. */
static const char *tls_words(const struct redis_url *url, char *buf, size_t size)
{
	const struct {
		const char *option, *value;
	} words[] = {
		{"--cacert", url->ca_file}, {"--cert", url->cert_file}, {"--key", url->key_file}, {"--sni", url->server_name},
	};
	char quoted[PATH_MAX];
	size_t len;

	snprintf(buf, size, "%s", url->tls ? " --tls" : "");
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		len = strlen(buf);
		if (words[i].value[0])
			snprintf(buf + len, size - len, " %s %s", words[i].option,
				 quote_word(quoted, sizeof(quoted), words[i].value));
	}
	return buf;
}

/* redis-cli knows no sentinels: a shell asks the first of them. */
static void describe_master(struct history *h, const char *auth, const char *user)
{
	const struct redis_node *sentinel = &h->url.nodes[0];
	char name[300];

	snprintf(h->client, sizeof(h->client), "%.500sredis-cli%s -u redis://\"$(redis-cli -h %.255s -p %d --raw SENTINEL "
		 "GET-MASTER-ADDR-BY-NAME %s | paste -sd:)\"/%d", auth, user, sentinel->host, sentinel->port,
		 quote_word(name, sizeof(name), h->url.service), h->url.db);
}

static void describe_server(const struct options *o, struct history *h)
{
	char text[12000], quoted[12100], self[PATH_MAX], auth[PATH_MAX + 64], user[300] = "", name[280], tls[4200];
	const char *url = redis_url__text(&h->url, text, sizeof(text));

	quote_word(quoted, sizeof(quoted), url);
	snprintf(h->where, sizeof(h->where), "Redis at %.400s", url);
	if (h->url.user[0])
		snprintf(user, sizeof(user), " --user %s", quote_word(name, sizeof(name), h->url.user));
	auth_words(o, &h->url, auth, sizeof(auth));
	if (h->url.service[0])
		describe_master(h, auth, user);
	else if (h->url.is_unix)
		snprintf(h->client, sizeof(h->client), "%.500sredis-cli%s -s %s -n %d", auth, user,
			 quote_word(quoted, sizeof(quoted), h->url.path), h->url.db);
	else if (h->url.cluster)
		snprintf(h->client, sizeof(h->client), "%.300sredis-cli -c%s%s -h %.260s -p %d", auth, user,
			 tls_words(&h->url, tls, sizeof(tls)), h->url.nodes[0].host, h->url.nodes[0].port);
	else
		snprintf(h->client, sizeof(h->client), "%.300sredis-cli%s%s -h %.260s -p %d -n %d", auth, user,
			 tls_words(&h->url, tls, sizeof(tls)), h->url.host, h->url.port, h->url.db);
	snprintf(h->query, sizeof(h->query), "%.1200s query", own_command(self, sizeof(self)));
	if (o->redis_in_argv)
		append_option(h, "--redis", redis_url__whole(&h->url, text, sizeof(text)));
	if (o->password_file)
		append_option(h, "--redis-password-file", o->password_file);
	if (o->sentinel_password_file)
		append_option(h, "--sentinel-password-file", o->sentinel_password_file);
	if (o->prefix)
		append_option(h, "--prefix", o->prefix);
}

static void describe_store(const struct options *o, const struct store_paths *paths, struct history *h)
{
	char self[PATH_MAX];

	own_command(self, sizeof(self));
	snprintf(h->where, sizeof(h->where), "gilscope's own store (%s)", paths->socket);
	snprintf(h->client, sizeof(h->client), "%.1000s store cli", self);
	snprintf(h->query, sizeof(h->query), "%.1200s query", self);
	if (o->prefix)
		append_option(h, "--prefix", o->prefix);
}

/* ---- opening and closing ---- */

int history__url(const struct options *o, struct redis_url *ret, bool *ret_given, struct reason *why)
{
	int err;

	*ret_given = o->redis != NULL;
	if (!o->redis)
		return 0;
	err = redis_url__parse(o->redis, ret, why);
	if (err)
		return err;
	if (ret->tls && !redis_conn__has_tls())
		return reason__set(why, -EPROTONOSUPPORT, "%s: this gilscope was built without TLS: install "
				   "libhiredis with SSL and libssl-dev and build again, or use redis://",
				   o->redis_in_argv ? "--redis" : "GILSCOPE_REDIS");
	if (ret->password_in_url && o->redis_in_argv)
		log_warn("--redis: everybody on this machine could read that password when gilscope started (ps): better "
			 "--redis-password-file, or GILSCOPE_REDIS_PASSWORD");
	err = redis_url__find_password(ret, o->password_file, why);
	return err ?: redis_url__find_sentinel_password(ret, o->sentinel_password_file, why);
}

/* A redis-server of ours that was killed is ours to start again. */
static int revive_store(void *store, struct reason *why)
{
	return store__revive(store, why);
}

int history__start_sink(struct history *h, struct reason *why)
{
	struct sink_redis_opts opts = {
		.url = &h->url, .before_connect = h->store ? revive_store : NULL, .arg = h->store,
	};

	if (!h->where[0])
		return 0;
	return h->url.cluster ? sink_cluster__new(&opts, &h->sink, why) : sink_redis__new(&opts, &h->sink, why);
}

/* Share in the store, and its address. */
static int open_store(const struct options *o, const struct store_paths *paths, struct history *h, struct reason *why)
{
	int err = store__open(paths, &h->store, why);

	if (err)
		return err;
	describe_store(o, paths, h);
	h->url = *store__address(h->store);
	return 0;
}

void history__prepare(const struct options *o)
{
	struct store_paths paths;
	struct reason why = {0};
	struct redis_url url;
	bool given;
	int err = history__url(o, &url, &given, &why);

	if (err || given || o->no_store)
		return;
	err = store__paths(&paths, &why);
	err = err ? err : store__prepare(&paths, &why);
	if (err)
		log_verbose("%s", why.text); /* said again by whoever opens it */
}

int history__open_writer(const struct options *o, struct history *ret, struct reason *why)
{
	struct store_paths paths;
	struct reason no_store = {0};
	bool given;
	int err;

	memset(ret, 0, sizeof(*ret));
	err = history__url(o, &ret->url, &given, why);
	if (err || o->no_store)
		return err;
	if (given) {
		cluster_url__recognise(&ret->url, RECOGNISE_MS);
		describe_server(o, ret);
		return 0;
	}
	err = store__paths(&paths, &no_store);
	err = err ? err : open_store(o, &paths, ret, &no_store);
	if (err) {
		log_warn("no history will be kept: %s", no_store.text);
		history__close(ret);
		memset(ret, 0, sizeof(*ret));
	}
	return 0;
}

int history__open_reader(const struct options *o, struct history *ret, struct reason *why)
{
	struct store_paths paths;
	bool given;
	int err;

	memset(ret, 0, sizeof(*ret));
	err = history__url(o, &ret->url, &given, why);
	if (err)
		return err;
	if (given) {
		cluster_url__recognise(&ret->url, RECOGNISE_MS);
		describe_server(o, ret);
	} else {
		err = store__find(&paths, why);
		err = err ? err : open_store(o, &paths, ret, why);
	}
	if (err)
		history__close(ret);
	return err;
}

/* What the run itself lost; what is still queued now is told by the sink as it closes (the collector has waited for it). */
static void tell_losses(const struct history *h)
{
	struct sink_stats stats;

	sink__stats(h->sink, &stats);
	if (stats.points_dropped)
		log_warn("%s: %" PRIu64 " samples were dropped (buffer full or too old)", h->where, stats.points_dropped);
	if (stats.points_unsure)
		log_warn("%s: %" PRIu64 " samples at most may be missing: the master that had them was replaced", h->where,
			 stats.points_unsure);
	if (stats.commands_refused)
		log_warn("%s: the server refused %" PRIu64 " commands%s%s", h->where, stats.commands_refused,
			 stats.trouble[0] ? ": " : "", stats.trouble);
	if (stats.keys_lost)
		log_warn("%s: %" PRIu64 " keys of the history at least were thrown away or deleted meanwhile: it is not complete",
			 h->where, stats.keys_lost);
	else if (stats.keys_evicted && !stats.keys_known)
		log_warn("%s: the server has thrown away %" PRIu64 " keys meanwhile, and does not tell whether they were of the "
			 "history", h->where, stats.keys_evicted);
}

bool history__arrives(const struct history *h)
{
	struct sink_stats stats;

	if (!h->sink)
		return false;
	sink__stats(h->sink, &stats);
	return stats.connected && stats.batches_written > 0;
}

void history__close(struct history *h)
{
	if (h->sink)
		tell_losses(h);
	sink__close(h->sink);
	store__close(h->store);
	h->sink = NULL;
	h->store = NULL;
}

const char *history__state(const struct history *h, char *buf, size_t size)
{
	struct sink_stats stats;

	buf[0] = '\0';
	if (!h->sink)
		return buf;
	sink__stats(h->sink, &stats);
	if (stats.trouble[0])
		snprintf(buf, size, "history waits (%" PRIu64 " batches): %s", stats.queued_batches, stats.trouble);
	else if (!stats.connected)
		snprintf(buf, size, "history: connecting");
	else
		snprintf(buf, size, "history on");
	if (stats.points_dropped)
		snprintf(buf + strlen(buf), size - strlen(buf), ", %" PRIu64 " samples dropped", stats.points_dropped);
	return buf;
}
