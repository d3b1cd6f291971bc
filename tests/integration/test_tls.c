/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TLS to a real redis-server, with certificates made for the test: the right ones are taken, wrong names, unknown issuers and
 * missing client certificates are refused in words. Only where hiredis has TLS: elsewhere rediss:// is refused, which
 * test_redis_conn.c tests.
 */
#ifdef HAVE_HIREDIS_SSL
#include <criterion/criterion.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/redis/redis_conn.h"
#include "../support/private_redis.h"
#include "../support/program.h"

#define TIMEOUT_MS 2000

static struct private_redis redis;
static struct program p;
static int tls_port;

/* An authority, a server that it vouches for under redis.test and 127.0.0.1, a client, and a stranger. */
static void make_certificates(const char *dir)
{
	program__run(&p, "cd '%s' && "
			 "new() { openssl req -new -newkey rsa:2048 -nodes -keyout $1.key -out $1.csr -subj /CN=$1; } && "
			 "sign() { openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $1.crt "
			 "-extfile $1.ext; } && "
			 "for a in ca stranger; do openssl req -x509 -newkey rsa:2048 -nodes -keyout $a.key -out $a.crt "
			 "-days 2 -subj /CN=$a; done && "
			 "echo 'subjectAltName=DNS:redis.test,IP:127.0.0.1' >server.ext && : >client.ext && "
			 "new server && sign server && new client && sign client", dir);
	cr_assert_eq(p.status, 0, "openssl: %s", p.err);
	program__free(&p);
}

static void set_up(bool ask_client)
{
	static char port[16], cert[128], key[128], ca[128];
	static const char *options[] = {"--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
					"--tls-ca-cert-file", ca, "--tls-auth-clients", "no", NULL};

	private_redis__init(&redis, false);
	make_certificates(redis.dir);
	tls_port = free_port();
	snprintf(port, sizeof(port), "%d", tls_port);
	snprintf(cert, sizeof(cert), "%s/server.crt", redis.dir);
	snprintf(key, sizeof(key), "%s/server.key", redis.dir);
	snprintf(ca, sizeof(ca), "%s/ca.crt", redis.dir);
	options[9] = ask_client ? "yes" : "no";
	private_redis__start(&redis, true, options);
}

static void set_up_open(void)
{
	set_up(false);
}

static void set_up_asking(void)
{
	set_up(true);
}

static void tear_down(void)
{
	private_redis__fini(&redis);
}

TestSuite(redis_tls, .fini = tear_down, .timeout = 300);

/* Connects to `host` with the parameters behind ?, in which each @ stands for the directory of the certificates. */
static int connect_to(const char *host, const char *parameters, struct reason *why)
{
	char text[1024] = "", *at = text;
	struct redisContext *c = NULL;
	struct redis_url url;
	int err;

	at += sprintf(at, "rediss://%s:%d?", host, tls_port);
	for (; *parameters; parameters++)
		at += *parameters == '@' ? sprintf(at, "%s", redis.dir) : sprintf(at, "%c", *parameters);
	cr_assert_eq(redis_url__parse(text, &url, why), 0, "%s", why->text);
	err = redis_conn__open(&url, TIMEOUT_MS, &c, why);
	if (!err) {
		const char *const ping[] = {"SET", "key", "value", NULL};

		cr_expect_eq(redis_conn__do(c, ping, TIMEOUT_MS, why), 0, "%s", why->text);
	}
	redis_conn__close(c);
	return err;
}

Test(redis_tls, server_with_the_right_certificate_is_taken, .init = set_up_open)
{
	struct reason why = {""};

	cr_expect_eq(connect_to("127.0.0.1", "cacert=@/ca.crt", &why), 0, "%s", why.text);
	cr_expect_eq(connect_to("127.0.0.1", "cacert=@/ca.crt&sni=redis.test", &why), 0, "%s", why.text);
	cr_expect_eq(connect_to("127.0.0.1", "cacert=@/ca.crt&db=3", &why), 0, "%s", why.text);
	cr_expect_str_eq(private_redis__ask(&redis, "GET key"), "value", "it went to that server");
}

Test(redis_tls, what_is_wrong_with_a_certificate_is_said, .init = set_up_open)
{
	static const struct {
		char host[16], parameters[64], part[48];
	} cases[] = {
		{"127.0.0.1", "cacert=@/ca.crt&sni=wrong.test", "mismatch"},
		{"localhost", "cacert=@/ca.crt", "mismatch"},
		{"127.0.0.1", "cacert=@/stranger.crt", "certificate"},
		{"127.0.0.1", "", "certificate"},
		{"127.0.0.1", "cacert=@/nothing.crt", "can't be read"},
		{"127.0.0.1", "cacert=@/ca.crt&cert=@/client.crt&key=@/server.key", "no certificate and its key"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {""};

		cr_expect_lt(connect_to(cases[i].host, cases[i].parameters, &why), 0, "%s was taken", cases[i].parameters);
		cr_expect_not_null(strstr(why.text, cases[i].part), "%s: %s", cases[i].parameters, why.text);
	}
}

Test(redis_tls, client_certificate_is_shown_where_it_is_asked_for, .init = set_up_asking)
{
	struct reason why = {""};

	cr_expect_lt(connect_to("127.0.0.1", "cacert=@/ca.crt", &why), 0, "without one it was let in");
	cr_expect_eq(connect_to("127.0.0.1", "cacert=@/ca.crt&cert=@/client.crt&key=@/client.key", &why), 0, "%s", why.text);
}

Test(redis_tls, plain_server_and_silence_are_no_hang, .init = set_up_open)
{
	struct reason why = {""};
	int port = tls_port;

	private_redis__pause(&redis);
	cr_expect_lt(connect_to("127.0.0.1", "cacert=@/ca.crt", &why), 0);
	cr_expect_not_null(strstr(why.text, "answer"), "%s", why.text);
	private_redis__resume(&redis);
	tls_port = port;
	cr_expect_eq(connect_to("127.0.0.1", "cacert=@/ca.crt", &why), 0, "%s", why.text);
}
#endif
