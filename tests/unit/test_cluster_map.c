/* SPDX-License-Identifier: GPL-2.0-only */
/* Slots of keys, and what nodes say of who has them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/redis/redis_cluster.h"

/* As CLUSTER KEYSLOT answers. */
Test(cluster_map, slots_are_those_of_the_server)
{
	static const struct {
		char key[64];
		unsigned int slot;
	} cases[] = {
		{"123456789", 12739}, {"foo", 12182}, {"{foo}bar", 12182}, {"x{foo}{bar}", 12182}, {"", 0}, {"foo{}{bar}", 8363},
		{"foo{{bar}}zap", 4015}, {"{user1000}.following", 3443},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(cluster_slot__of(cases[i].key, strlen(cases[i].key)), cases[i].slot, "%s: %u", cases[i].key,
			     cluster_slot__of(cases[i].key, strlen(cases[i].key)));
}

static const struct redis_node asked = {.host = "10.0.0.9", .port = 7000};
static struct cluster_map map;

static int read_map(const char *text)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;
	int err;

	redisReaderFeed(reader, text, strlen(text));
	cr_assert_eq(redisReaderGetReply(reader, &reply), REDIS_OK);
	cr_assert_not_null(reply);
	err = cluster_map__read(reply, &asked, &map);
	freeReplyObject(reply);
	redisReaderFree(reader);
	return err;
}

#define NODE(host_len, host, port) "*2\r\n$" host_len "\r\n" host "\r\n:" port "\r\n"

Test(cluster_map, masters_have_their_slots_and_the_rest_is_nobodys)
{
	cr_assert_eq(read_map("*2\r\n*4\r\n:0\r\n:99\r\n" NODE("8", "10.0.0.1", "7001") NODE("8", "10.0.0.5", "7005")
			      "*3\r\n:200\r\n:16383\r\n" NODE("8", "10.0.0.2", "7002")), 0);
	cr_assert_eq(map.nodes_n, 2);
	cr_expect_str_eq(map.nodes[map.owner[99]].host, "10.0.0.1");
	cr_expect_eq(map.owner[100], CLUSTER_NOBODY);
	cr_expect_eq(map.nodes[map.owner[16383]].port, 7002);
}

Test(cluster_map, an_endpoint_that_is_none_is_the_node_that_was_asked)
{
	static const char *const endpoints[] = {"$0\r\n\r\n", "$1\r\n?\r\n", "$-1\r\n"};

	for (size_t i = 0; i < 3; i++) {
		char text[128];

		snprintf(text, sizeof(text), "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n%s:7000\r\n", endpoints[i]);
		cr_assert_eq(read_map(text), 0, "%zu", i);
		cr_expect_str_eq(map.nodes[0].host, "10.0.0.9");
	}
}

Test(cluster_map, what_is_no_map_is_refused)
{
	static const char *const texts[] = {
		":1\r\n", "*1\r\n:1\r\n", "*1\r\n*3\r\n:0\r\n:16384\r\n" NODE("1", "h", "1"),
		"*1\r\n*3\r\n:-1\r\n:1\r\n" NODE("1", "h", "1"), "*1\r\n*3\r\n:0\r\n:1\r\n" NODE("1", "h", "0"),
		"*1\r\n*3\r\n:0\r\n:1\r\n" NODE("1", "h", "65536"), "*1\r\n*2\r\n:0\r\n:1\r\n",
		"*1\r\n*3\r\n:0\r\n:1\r\n*0\r\n", "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n:7\r\n:7\r\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		cr_expect_eq(read_map(texts[i]), -EPROTO, "%s", texts[i]);
}

Test(cluster_map, redirections_name_a_node)
{
	struct redis_node node;

	cr_expect(cluster_redirect__read("MOVED 12514 127.0.0.1:17103", &asked, &node));
	cr_expect_str_eq(node.host, "127.0.0.1");
	cr_expect_eq(node.port, 17103);
	cr_expect(cluster_redirect__read("ASK 1 ::1:7000", &asked, &node));
	cr_expect_str_eq(node.host, "::1");
	cr_expect(cluster_redirect__read("ASK 1 :7001", &asked, &node));
	cr_expect_str_eq(node.host, "10.0.0.9");
	cr_expect_not(cluster_redirect__read("MOVED 1 host", &asked, &node));
	cr_expect_not(cluster_redirect__read("MOVED 1 host:0", &asked, &node));
	cr_expect_not(cluster_redirect__read("TRYAGAIN 1 host:1", &asked, &node));
	cr_expect_not(cluster_redirect__read("ASK ", &asked, &node));
}
