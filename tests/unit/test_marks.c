/* SPDX-License-Identifier: GPL-2.0-only */
/* Marks: what is written comes back as it was, what somebody else wrote is read in safety. */
#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "collector/schema/schema_marks.h"

static const struct schema_mark release = {
	.t_ms = 1795339305123, .text = "release \"1.4.2\" \\ \xc3\xa4", .count_name = "requests", .count = 120000,
};

Test(marks, what_is_written_is_read)
{
	struct batch *b = batch__new();
	const char *const *argv;
	const size_t *lens;
	struct schema_mark back;

	cr_assert_eq(schema_mark__put(b, NULL, "web1:4242:9f3a01bc", &release), 0);
	cr_assert_eq(batch__commands(b), 4);
	cr_assert_eq(batch__get(b, 0, &argv, &lens), 4);
	cr_expect_str_eq(argv[1], "gil:{web1:4242:9f3a01bc}:marks");
	cr_expect_str_eq(argv[2], "1795339305123");
	cr_assert_eq(schema_mark__decode(argv[3], lens[3], 1795339305123.0, &back), 0);
	cr_expect_eq(back.t_ms, release.t_ms);
	cr_expect_str_eq(back.text, release.text);
	cr_expect_str_eq(back.count_name, "requests");
	cr_expect_eq(back.count, 120000);
	batch__free(b);
}

Test(marks, of_all_processes_nothing_new_is_taken_away)
{
	struct batch *b = batch__new();
	const char *const *argv;
	const size_t *lens;

	cr_assert_eq(schema_mark__put(b, "my:", NULL, &release), 0);
	for (size_t i = 0; i < batch__commands(b); i++) {
		batch__get(b, i, &argv, &lens);
		cr_expect_str_eq(argv[1], "my:marks");
		cr_expect_str_neq(argv[0], "ZREMRANGEBYRANK");
		if (strcmp(argv[0], "ZREMRANGEBYSCORE") == 0)
			cr_expect_str_eq(argv[3], "1792747305123", "%s", argv[3]);
	}
	batch__free(b);
}

Test(marks, text_of_others_is_read_in_safety)
{
	static const struct {
		const char *member;
		double score;
		const char *text; /* NULL: it is none */
	} cases[] = {
		{"release 1.4.2", 1e12, "release 1.4.2"},
		{"", 1e12, NULL},
		{"evil\x1b[31m\n", 1e12, "evil?[31m?"},
		{"\xff\xfe", 1e12, "??"},
		{"{broken", 1e12, "{broken"},
		{"{\"text\":\"a\\u001bb\",\"count\":[1]}", 1e12, "a?b"},
		{"{\"text\":\"a\",\"count\":{\"\":1,\"n\":\"x\"}}", 1e12, "a"},
		{"{\"text\":\"a\",\"count\":{\"n\":1e300}}", 1e12, "a"},
		{"{\"text\":\"a\",\"count\":{\"n\":-1}}", 1e12, "a"},
		{"{\"text\":5}", 1e12, NULL},
		{"{}", 1e12, NULL},
		{"a", -1, NULL},
		{"a", INFINITY, NULL},
		{"a", NAN, NULL},
		{"a", 1e300, NULL},
	};
	static char endless[5000];
	struct schema_mark m;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = schema_mark__decode(cases[i].member, strlen(cases[i].member), cases[i].score, &m);

		cr_expect_eq(err, cases[i].text ? 0 : -EBADMSG, "'%s': %d", cases[i].member, err);
		if (!err && cases[i].text) {
			cr_expect_str_eq(m.text, cases[i].text);
			cr_expect_str_empty(m.count_name);
		}
	}
	memset(endless, 'x', sizeof(endless));
	cr_assert_eq(schema_mark__decode(endless, sizeof(endless), 1e12, &m), 0);
	cr_expect_eq(strlen(m.text), SCHEMA_MARK_TEXT);
}
