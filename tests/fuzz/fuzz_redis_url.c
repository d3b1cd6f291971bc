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

/* What was written out must read back as the same, but for the password. */
static void check_round(const struct redis_url *url)
{
	char text[16384];
	struct redis_url again;

	expect(strlen(redis_url__text(url, text, sizeof(text))) < sizeof(text));
	redis_url__whole(url, text, sizeof(text));
	if (strlen(url->password) > 8 && !strstr(url->path, url->password) && !strstr(url->host, url->password) &&
	    !strstr(url->user, url->password) && !strstr(url->ca_file, url->password) && !strstr(url->cert_file, url->password) &&
	    !strstr(url->key_file, url->password) && !strstr(url->server_name, url->password))
		expect(!strstr(text, url->password));
	expect(redis_url__parse(text, &again, NULL) == 0);
	expect(again.is_unix == url->is_unix && again.tls == url->tls && again.db == url->db);
	expect(strcmp(again.path, url->path) == 0);
	expect(url->is_unix || (strcmp(again.host, url->host) == 0 && again.port == url->port));
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
		expect(url.db >= 0 && (url.is_unix || (url.port > 0 && url.port < 65536)));
		check_round(&url);
	}
	free(text);
	return 0;
}
