/* SPDX-License-Identifier: GPL-2.0-only */
/* Words of the command line: what is taken, what is refused, and that a refusal names the option and the word. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/args.h"
#include "cli/suggest.h"

#define MS 1000000ull
#define S 1000000000ull

Test(args, durations_are_read_to_the_nanosecond)
{
	static const struct {
		char in[24];
		uint64_t ns;
	} cases[] = {
		{"0", 0}, {"1us", 1000}, {"500ms", 500 * MS}, {"1s", S}, {"0.5s", S / 2}, {"2.5m", 150 * S},
		{"24h", 86400 * S}, {"7d", 7 * 86400 * S}, {"0.000001s", 1000}, {"1.0000000001s", S}, {"0s", 0},
		{"18446744073s", 18446744073 * S}, {"007s", 7 * S},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {0};
		uint64_t ns = 1;

		cr_expect_eq(args__duration("--d", cases[i].in, 0, UINT64_MAX, &ns, &why), 0, "%s: %s", cases[i].in, why.text);
		cr_expect_eq(ns, cases[i].ns, "%s gave %llu", cases[i].in, (unsigned long long)ns);
	}
}

Test(args, half_understood_durations_are_refused)
{
	static const char cases[][32] = {"abc", "5x", "-1", "-1s", "", " 5s", "5 s", "1s ", "1e3", "1e3s", "5", "s", ".5s",
					 "1.s", "1.5", "0x10s", "+1s", "1S", "1sec", "1,5s", "inf", "nan", "1s1s", "00",
					 "99999999999999999999999"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {0};
		uint64_t ns = 77;

		cr_expect_eq(args__duration("--interval", cases[i], 0, UINT64_MAX, &ns, &why), -EINVAL, "'%s'", cases[i]);
		cr_expect_eq(ns, 77, "'%s' touched the result", cases[i]);
		cr_expect(strstr(why.text, "--interval: '") == why.text && strstr(why.text, cases[i]), "%s", why.text);
	}
}

Test(args, durations_that_overflow_are_out_of_range)
{
	static const char cases[][40] = {"9999999999999999999999s", "18446744074s", "300000d", "9999999999999999999999d"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t ns;

		cr_expect_eq(args__duration("--d", cases[i], 0, UINT64_MAX, &ns, NULL), -ERANGE, "'%s'", cases[i]);
	}
}

Test(args, a_duration_out_of_bounds_names_the_bounds_as_they_are_typed)
{
	struct reason why = {0};
	uint64_t ns;

	cr_expect_eq(args__duration("--interval", "99ms", 100 * MS, 3600 * S, &ns, &why), -ERANGE);
	cr_expect_str_eq(why.text, "--interval: 99ms is out of range (100ms to 60m)");
	cr_expect_eq(args__duration("--interval", "61m", 100 * MS, 3600 * S, &ns, &why), -ERANGE);
	cr_expect_eq(args__duration("--interval", "100ms", 100 * MS, 3600 * S, &ns, &why), 0);
	cr_expect_eq(args__duration("--interval", "1h", 100 * MS, 3600 * S, &ns, &why), 0);
}

Test(args, whole_numbers_only)
{
	static const char bad[][32] = {"abc", "5x", "-1", "", " 5", "5 ", "1e3", "1.0", "0x10", "+1"};
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(args__u64("n", bad[i], 0, 100, &n, NULL), -EINVAL, "'%s'", bad[i]);
	cr_expect_eq(args__u64("n", "9999999999999999999999", 0, UINT64_MAX, &n, NULL), -ERANGE);
	cr_expect_eq(args__u64("n", "101", 0, 100, &n, NULL), -ERANGE);
	cr_expect_eq(args__u64("n", "0", 1, 100, &n, NULL), -ERANGE);
	cr_expect_eq(args__u64("n", "18446744073709551615", 0, UINT64_MAX, &n, NULL), 0);
	cr_expect_eq(n, UINT64_MAX);
}

Test(args, shares_are_percent_or_fraction)
{
	static const struct {
		char in[16];
		double value;
	} good[] = {{"2%", 0.02}, {"0.5%", 0.005}, {"0.02", 0.02}, {"0", 0}, {"1", 1}, {"100%", 1}, {"0%", 0}};
	static const char bad[][24] = {"abc", "%", "", "-1%", "2%%", "2 %", " 2%", "2e0%", ".5", "5.", "2percent"};
	static const char far[][40] = {"101%", "2", "100.0001%", "9999999999999999999999%"};
	double value = 0;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		cr_expect_eq(args__share("s", good[i].in, &value, NULL), 0, "'%s'", good[i].in);
		cr_expect_float_eq(value, good[i].value, 1e-12, "'%s' gave %g", good[i].in, value);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(args__share("s", bad[i], &value, NULL), -EINVAL, "'%s'", bad[i]);
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++)
		cr_expect_eq(args__share("s", far[i], &value, NULL), -ERANGE, "'%s'", far[i]);
}

Test(args, pids_are_whole_and_possible)
{
	static const char bad[][32] = {"abc", "12a", "-1", "", " 1", "1 ", "1e3", "1.5"};
	static const char far[][32] = {"0", "4194305", "9999999999999999999999"};
	struct reason why = {0};
	pid_t pid = 0;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(args__pid(bad[i], &pid, NULL), -EINVAL, "'%s'", bad[i]);
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++)
		cr_expect_eq(args__pid(far[i], &pid, NULL), -ERANGE, "'%s'", far[i]);
	cr_expect_eq(args__pid("4194304", &pid, &why), 0);
	cr_expect_eq(pid, 4194304);
}

static int64_t time_of(const char *text)
{
	int64_t ms = -1;

	return args__time("--since", text, 1000000, &ms, NULL) ? -1 : ms;
}

Test(args, times_are_ago_calendar_or_epoch)
{
	setenv("TZ", "UTC-2", 1); /* two hours east */
	tzset();
	cr_expect_eq(time_of("5m"), 1000000 - 300000);
	cr_expect_eq(time_of("0"), 1000000);
	cr_expect_eq(time_of("@1795339305"), 1795339305000);
	cr_expect_eq(time_of("@1795339305123"), 1795339305123);
	cr_expect_eq(time_of("2026-11-23T10:00:00Z"), 1795428000000);
	cr_expect_eq(time_of("2026-11-23T10:00:00"), 1795428000000 - 7200000);
}

Test(args, a_time_of_the_day_is_the_last_one)
{
	const int64_t noon = 1795428000000; /* two hours east of UTC */
	static const struct {
		char text[12];
		int64_t before_ms; /* noon; -1: it is no time */
	} cases[] = {{"12:00", 0}, {"10:30", 5400000}, {"11:59:59", 1000}, {"12:00:01", 86399000}, {"23:59", 43260000},
		     {"25:00", -1}, {"12:60", -1}, {"12:00x", -1}, {"12:", -1}, {":30", -1}, {" 12:00", -1}, {"12:00:61x", -1}};

	setenv("TZ", "UTC-2", 1);
	tzset();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t ms = noon + 1;
		int err = args__time("--since", cases[i].text, noon, &ms, NULL);

		cr_expect_eq(err, cases[i].before_ms < 0 ? -EINVAL : 0, "'%s': %d", cases[i].text, err);
		cr_expect_eq(noon - ms, cases[i].before_ms, "'%s': %lld", cases[i].text, (long long)ms);
	}
}

Test(args, odd_times_are_refused_with_examples)
{
	static const char bad[][40] = {"abc", "5x", "-1", "", " 5m", "@", "@-1", "@1.5", "@99999999999999999999999",
				       "2026-11-23", "2026-11-23T10:00", "2026-02-31T10:00:00", "2026-11-23T10:00:00+01",
				       " 2026-11-23T10:00:00", "2026-13-01T00:00:00Z", "5"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct reason why = {0};
		int64_t ms = 7;

		cr_expect_eq(args__time("--since", bad[i], 0, &ms, &why), -EINVAL, "'%s'", bad[i]);
		cr_expect(strstr(why.text, "--since: '") == why.text, "%s", why.text);
	}
}

Test(suggest, a_slip_finds_its_word)
{
	static const char *const words[] = {"attach", "run", "ls", "doctor", "query", "store"};
	static const struct {
		char typed[40];
		char meant[16]; /* "": nothing */
	} cases[] = {
		{"atach", "attach"}, {"attahc", "attach"}, {"docter", "doctor"}, {"doc", "doctor"}, {"rnu", "run"},
		{"sl", "ls"}, {"qery", "query"}, {"frobnicate", ""}, {"", ""}, {"x", ""},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *got = suggest__word(cases[i].typed, words, sizeof(words) / sizeof(words[0]));

		cr_expect_str_eq(got ? got : "", cases[i].meant, "'%s'", cases[i].typed);
	}
}
