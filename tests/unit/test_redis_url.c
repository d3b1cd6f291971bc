/* SPDX-License-Identifier: GPL-2.0-only */
/* URLs, passwords, reply classes and backoff: the pure half of redis_conn.h. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/redis/redis_conn.h"

struct good {
	char in[160];
	char text[160]; /* as shown: without the password */
	char password[32];
};

static struct good goods[] = {
	{"redis://h", "redis://h:6379", ""},
	{"redis://", "redis://127.0.0.1:6379", ""},
	{"redis://:7000", "redis://127.0.0.1:7000", ""},
	{"redis://h/", "redis://h:6379", ""},
	{"redis://h:1/3", "redis://h:1/3", ""},
	{"redis://h?db=4", "redis://h:6379/4", ""},
	{"redis://h:65535/0", "redis://h:65535", ""},
	{"redis://u:p@h", "redis://u@h:6379", "p"},
	{"redis://:p@h", "redis://h:6379", "p"},
	{"redis://u@h", "redis://u@h:6379", ""},
	{"redis://u:p%40%2f%3Aq%25@h", "redis://u@h:6379", "p@/:q%"},
	{"redis://u:a@b@h", "redis://u@h:6379", "a@b"},
	{"redis://[::1]:7/2", "redis://[::1]:7/2", ""},
	{"redis://[fe80::1%eth0]", "redis://[fe80::1%eth0]:6379", ""},
	{"rediss://u:p@h:6380/1", "rediss://u@h:6380/1", "p"},
	{"valkey://u:p@h/2", "redis://u@h:6379/2", "p"},
	{"valkeys://h:6380?sni=v", "rediss://h:6380", ""},
	{"unix:///run/r.sock", "unix:///run/r.sock", ""},
	{"unix:///run/r.sock?db=2", "unix:///run/r.sock?db=2", ""},
	{"unix://:p@/run/r.sock", "unix:///run/r.sock", "p"},
	{"unix:///a%20b%3Fc", "unix:///a b?c", ""},
	{"/run/r.sock", "unix:///run/r.sock", ""},
	{"/run/100%.sock?db=1", "unix:///run/100%.sock?db=1", ""},
	{"redis+sentinel://s/m", "redis+sentinel://s:26379/m", ""},
	{"redis+sentinel://u:p@s1:1,[::1],s3:3/m?db=2&sentinel_user=x", "redis+sentinel://u@s1:1,[::1]:26379,s3:3/m?db=2", "p"},
	{"redis+cluster://u:p@h1:1,h2/", "redis+cluster://u@h1:1,h2:6379", "p"},
	{"rediss+cluster://h1/0?sni=v", "rediss+cluster://h1:6379", ""},
	{"rediss+sentinel://s1,s2/a%20b?sni=v", "rediss+sentinel://s1:26379,s2:26379/a b", ""},
};

ParameterizedTestParameters(redis_url, is_understood)
{
	return cr_make_param_array(struct good, goods, sizeof(goods) / sizeof(goods[0]));
}

ParameterizedTest(struct good *g, redis_url, is_understood)
{
	struct redis_url url;
	struct reason why = {""};
	char buf[300];

	cr_assert_eq(redis_url__parse(g->in, &url, &why), 0, "%s: %s", g->in, why.text);
	cr_expect_str_eq(redis_url__text(&url, buf, sizeof(buf)), g->text);
	cr_expect_str_eq(url.password, g->password);
	cr_expect_eq(url.password_in_url, g->password[0] != '\0');
}

struct bad {
	char in[200];
};

static struct bad bads[] = {
	{""}, {"http://h"}, {"h:6379"}, {"redis:h"}, {"REDIS://h"}, {"redis://h:0"}, {"redis://h:65536"}, {"redis://h:"},
	{"redis://h:6x"}, {"redis://h: 6"}, {"redis://h:-6"}, {"redis://h:99999999999"}, {"redis://h/x"}, {"redis://h/-1"},
	{"redis://h/1/2"}, {"redis://h?x=1"}, {"redis://h?db="}, {"redis://h?db=1&x"}, {"redis://h h"}, {"redis://h\n"},
	{"redis://[::1"}, {"redis://[]"}, {"redis://[::1]x"}, {"redis://u:%zz@h"}, {"redis://u:%0@h"}, {"redis://u:%00@h"},
	{"redis://u:secret/word@h"}, {"redis://::1"}, {"unix://"}, {"unix://run/r.sock"}, {"unix://?db=1"},
	{"unix:///a?db=x"}, {"unix:///a%2"},
	{"redis://h?cacert=/ca"}, {"valkey://h?cacert=/ca"}, {"valkey:/h"}, {"rediss://h?cacert="}, {"rediss://h?cacert"}, {"rediss://h?cert=/c"}, {"rediss://h?key=/k"},
	{"redis+sentinel://"}, {"redis+sentinel://s"}, {"redis+sentinel://s/"}, {"redis+sentinel://s,/m"}, {"redis+sentinel://s/a/b"},
	{"redis+sentinel://s/m?sentinel_user="}, {"redis://h?sentinel_user=x"}, {"redis+sentinel://a,b,c,d,e,f,g,h,i,j/m"},
	{"redis+cluster://h/1"}, {"redis+cluster://h?db=1"}, {"redis+cluster://"},
	{"redis+cluster://h?sentinel_user=x"}, {"redis+sentinel://s/m?cacert=/ca"}, {"rediss://h?cacert=%zz"}, {"rediss://h?db=1&&sni=x"}, {"rediss://h?ca=/x"}, {"unix:///a?cacert=/ca"},
};

ParameterizedTestParameters(redis_url, is_refused_in_a_sentence)
{
	return cr_make_param_array(struct bad, bads, sizeof(bads) / sizeof(bads[0]));
}

ParameterizedTest(struct bad *b, redis_url, is_refused_in_a_sentence)
{
	struct redis_url url = {.port = 4711};
	struct reason why = {""};

	cr_expect_eq(redis_url__parse(b->in, &url, &why), -EINVAL, "%s was taken", b->in);
	cr_expect(strncmp(why.text, "Redis URL: ", 11) == 0, "%s: %s", b->in, why.text);
	cr_expect_null(strstr(why.text, "secret"), "the password is shown: %s", why.text);
	cr_expect_eq(url.port, 4711, "the result was touched");
}

Test(redis_url, certificates_stand_behind_the_question_mark)
{
	struct redis_url url, again;
	char text[400];

	cr_assert_eq(redis_url__parse("rediss://u:p@h:7/2?cacert=/etc/my%20ca.pem&cert=/c&key=/k&sni=redis.test", &url, NULL), 0);
	cr_expect_str_eq(url.ca_file, "/etc/my ca.pem");
	cr_expect_str_eq(url.cert_file, "/c");
	cr_expect_str_eq(url.key_file, "/k");
	cr_expect_str_eq(url.server_name, "redis.test");
	cr_expect_eq(url.db, 2);
	cr_expect_str_eq(redis_url__text(&url, text, sizeof(text)), "rediss://u@h:7/2");
	cr_expect_str_eq(redis_url__whole(&url, text, sizeof(text)),
			 "rediss://u@h:7/2?cacert=/etc/my%20ca.pem&cert=/c&key=/k&sni=redis.test");
	cr_assert_eq(redis_url__parse(text, &again, NULL), 0);
	cr_expect_str_eq(again.ca_file, url.ca_file);
	cr_expect_str_eq(again.server_name, url.server_name);
	cr_expect_str_eq(again.password, "");
	cr_assert_eq(redis_url__parse("rediss://h?cacert=/ca&db=3", &url, NULL), 0);
	cr_expect_eq(url.db, 3);
}

/* Found by fuzzing: what a URL has to encode came out as it was, and led elsewhere or nowhere. */
Test(redis_url, whole_leads_to_the_same_server_whatever_its_path_and_user_are)
{
	static const char *const cases[] = {
		"/tmp/a b?db=1%41.sock", "/\xe8\xe8\xa1/", "unix://a%40b:pw@/x%3Fy%25z?db=3", "redis://u%2Fx@[::1]:7/2", "/%",
		"redis://u%3Apw@h:1", "redis+sentinel://h/a%2Fb?db=3",
	};
	struct redis_url url, again;
	char text[4096];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_eq(redis_url__parse(cases[i], &url, NULL), 0, "%s", cases[i]);
		cr_assert_eq(redis_url__parse(redis_url__whole(&url, text, sizeof(text)), &again, NULL), 0, "%s", text);
		cr_expect_str_eq(again.path, url.path);
		cr_expect_str_eq(again.service, url.service);
		cr_expect_str_eq(again.user, url.user);
		cr_expect_str_eq(again.host, url.host);
		cr_expect_eq(again.db, url.db);
		cr_expect_str_eq(again.password, "");
	}
}

Test(redis_url, longest_socket_path_is_107_bytes)
{
	struct redis_url url;
	char text[200];

	snprintf(text, sizeof(text), "unix:///%0106d", 0);
	cr_expect_eq(redis_url__parse(text, &url, NULL), 0);
	cr_expect_eq(strlen(url.path), 107);
	snprintf(text, sizeof(text), "unix:///%0107d", 0);
	cr_expect_eq(redis_url__parse(text, &url, NULL), -EINVAL);
	cr_expect_eq(redis_url__parse(text + 7, &url, NULL), -EINVAL);
}

static void password_file(char path[64], const void *content, size_t len)
{
	int fd;

	strcpy(path, "/tmp/gilscope-password-XXXXXX");
	fd = mkstemp(path);
	cr_assert(fd >= 0 && write(fd, content, len) == (ssize_t)len);
	close(fd);
}

Test(redis_password, file_beats_environment_and_url_beats_both)
{
	struct redis_url url = {0};
	char path[64];

	password_file(path, "from file\r\nsecond line\n", 23);
	setenv("GILSCOPE_REDIS_PASSWORD", "from env", 1);
	setenv("REDISCLI_AUTH", "from redis-cli", 1);
	cr_expect_eq(redis_url__find_password(&url, path, NULL), 0);
	cr_expect_str_eq(url.password, "from file");
	cr_expect_not(url.password_in_url);

	url.password[0] = '\0';
	cr_expect_eq(redis_url__find_password(&url, NULL, NULL), 0);
	cr_expect_str_eq(url.password, "from env");
	url.password[0] = '\0';
	unsetenv("GILSCOPE_REDIS_PASSWORD");
	cr_expect_eq(redis_url__find_password(&url, NULL, NULL), 0);
	cr_expect_str_eq(url.password, "from redis-cli");
	cr_expect_eq(redis_url__find_password(&url, path, NULL), 0);
	cr_expect_str_eq(url.password, "from redis-cli");
	unlink(path);
}

Test(redis_password, unusable_file_is_named)
{
	static const struct {
		char content[8];
		size_t len;
	} cases[] = {{"", 0}, {"\nx", 2}, {"a\0b\n", 4}};
	struct redis_url url = {0};
	struct reason why = {""};
	char path[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		password_file(path, cases[i].content, cases[i].len);
		cr_expect_eq(redis_url__find_password(&url, path, &why), -EINVAL, "case %zu", i);
		cr_expect_not_null(strstr(why.text, path));
		cr_expect_str_eq(url.password, "");
		unlink(path);
	}
	cr_expect_eq(redis_url__find_password(&url, path, &why), -ENOENT);
	cr_expect_not_null(strstr(why.text, path));
}

Test(redis_password, too_long_is_refused_not_cut)
{
	struct redis_url url = {0};
	char text[700];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	setenv("GILSCOPE_REDIS_PASSWORD", text, 1);
	cr_expect_eq(redis_url__find_password(&url, NULL, NULL), -EINVAL);
	text[511] = '\0';
	setenv("GILSCOPE_REDIS_PASSWORD", text, 1);
	cr_expect_eq(redis_url__find_password(&url, NULL, NULL), 0);
	cr_expect_eq(strlen(url.password), 511);
}

struct reply {
	char text[80];
	enum redis_class cls;
};

static struct reply replies[] = {
	{"LOADING Redis is loading the dataset in memory", REDIS_CLASS_TRANSIENT},
	{"BUSY Redis is busy running a script.", REDIS_CLASS_TRANSIENT},
	{"MASTERDOWN Link with MASTER is down", REDIS_CLASS_TRANSIENT},
	{"NOREPLICAS Not enough good replicas to write.", REDIS_CLASS_TRANSIENT},
	{"CLUSTERDOWN Hash slot not served", REDIS_CLASS_TRANSIENT},
	{"TRYAGAIN Multiple keys request during rehashing", REDIS_CLASS_TRANSIENT},
	{"ERR max number of clients reached", REDIS_CLASS_TRANSIENT},
	{"OOM command not allowed when used memory > 'maxmemory'.", REDIS_CLASS_CAPACITY},
	{"MISCONF Redis is configured to save RDB snapshots", REDIS_CLASS_CAPACITY},
	{"READONLY You can't write against a read only replica.", REDIS_CLASS_WRONG_NODE},
	{"MOVED 12514 127.0.0.1:17103", REDIS_CLASS_WRONG_NODE},
	{"ASK 12514 127.0.0.1:17103", REDIS_CLASS_WRONG_NODE},
	{"NOAUTH Authentication required.", REDIS_CLASS_CREDENTIALS},
	{"WRONGPASS invalid username-password pair or user is disabled.", REDIS_CLASS_CREDENTIALS},
	{"NOPERM this user has no permissions", REDIS_CLASS_CREDENTIALS},
	{"ERR invalid password", REDIS_CLASS_CREDENTIALS},
	{"WRONGTYPE Operation against a key holding the wrong kind", REDIS_CLASS_KEY},
	{"ERR value is not a valid float", REDIS_CLASS_BUG},
	{"CROSSSLOT Keys in request don't hash to the same slot", REDIS_CLASS_BUG},
	{"BUSYKEY Target key name already exists.", REDIS_CLASS_BUG},
	{"", REDIS_CLASS_BUG},
};

ParameterizedTestParameters(redis_class, follows_the_first_word)
{
	return cr_make_param_array(struct reply, replies, sizeof(replies) / sizeof(replies[0]));
}

ParameterizedTest(struct reply *r, redis_class, follows_the_first_word)
{
	cr_expect_eq(redis_class__of(r->text), r->cls, "%s", r->text);
	cr_expect(redis_class__advice(r->cls)[0] != '\0');
}

Test(redis_backoff, grows_from_its_floor_to_its_cap)
{
	static const struct {
		unsigned int attempt;
		enum redis_class cls;
		int lowest, highest;
	} cases[] = {
		{0, REDIS_CLASS_TRANSIENT, 100, 200},
		{1, REDIS_CLASS_TRANSIENT, 100, 400},
		{4, REDIS_CLASS_WRONG_NODE, 100, 3200},
		{8, REDIS_CLASS_TRANSIENT, 100, 30000},
		{4000000000u, REDIS_CLASS_TRANSIENT, 100, 30000},
		{0, REDIS_CLASS_CAPACITY, 1000, 2000},
		{2, REDIS_CLASS_CREDENTIALS, 1000, 8000},
		{9, REDIS_CLASS_CAPACITY, 1000, 30000},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int span = cases[i].highest - cases[i].lowest + 1;

		cr_expect_eq(redis_backoff__ms(cases[i].attempt, cases[i].cls, 0), cases[i].lowest, "case %zu", i);
		cr_expect_eq(redis_backoff__ms(cases[i].attempt, cases[i].cls, (uint32_t)span - 1), cases[i].highest,
			     "case %zu", i);
		cr_expect_eq(redis_backoff__ms(cases[i].attempt, cases[i].cls, (uint32_t)span), cases[i].lowest,
			     "case %zu", i);
	}
}
