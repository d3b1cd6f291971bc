/* SPDX-License-Identifier: GPL-2.0-only */
/* URLs of Redis servers, as users and environments give them: what is taken must fit, and a password never comes out again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "collector/redis/redis_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
}

static void check_node(const char *host, int port)
{
	expect(host[0] && strlen(host) < sizeof(((struct redis_node *)0)->host) && port > 0 && port < 65536);
}

static void check_nodes(const struct redis_url *url)
{
	for (int i = 0; i < url->nodes_n; i++)
		check_node(url->nodes[i].host, url->nodes[i].port);
	expect(url->nodes_n <= REDIS_NODES_MAX && (url->nodes_n > 0) == (url->cluster || url->service[0]));
	if (!url->nodes_n && !url->is_unix)
		check_node(url->host, url->port);
}

static void check_same_nodes(const struct redis_url *url, const struct redis_url *again)
{
	expect(again->nodes_n == url->nodes_n && again->cluster == url->cluster && !strcmp(again->service, url->service));
	for (int i = 0; i < url->nodes_n; i++)
		expect(!strcmp(again->nodes[i].host, url->nodes[i].host) && again->nodes[i].port == url->nodes[i].port);
}

/* What was written out must read back as the same, but for the password. */
static void check_round(const struct redis_url *url)
{
	char text[16384];
	struct redis_url again;

	expect(strlen(redis_url__text(url, text, sizeof(text))) < sizeof(text));
	redis_url__whole(url, text, sizeof(text));
	if (strlen(url->password) > 8 && !strstr(url->path, url->password) && !strstr(url->host, url->password) &&
	    !strstr(url->user, url->password) && !strstr(url->ca_file, url->password) && !strstr(url->cert_file, url->password) &&
	    !strstr(url->key_file, url->password) && !strstr(url->server_name, url->password) &&
	    !strstr(url->service, url->password) && !strstr(url->sentinel_user, url->password))
		expect(!strstr(text, url->password));
	expect(redis_url__parse(text, &again, NULL) == 0);
	expect(again.is_unix == url->is_unix && again.tls == url->tls && again.db == url->db);
	expect(strcmp(again.path, url->path) == 0);
	expect(strcmp(again.host, url->host) == 0 && again.port == url->port);
	expect(!strcmp(again.user, url->user) && !strcmp(again.sentinel_user, url->sentinel_user));
	expect(!strcmp(again.ca_file, url->ca_file) && !strcmp(again.server_name, url->server_name));
	check_same_nodes(url, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct redis_url url;
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (redis_url__parse(text, &url, NULL) == 0) {
		expect(memchr(url.host, 0, sizeof(url.host)) && memchr(url.path, 0, sizeof(url.path)));
		expect(url.db >= 0);
		check_nodes(&url);
		check_round(&url);
	}
	free(text);
	return 0;
}
