/* SPDX-License-Identifier: GPL-2.0-only */
/* See human.h. */
#include "human.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Three significant digits: 1.23, 12.3, 123. The bounds are where rounding would add a digit. */
static const char *three_digits(char buf[HUMAN_SIZE], double v, const char *unit)
{
	int decimals = v < 9.995 ? 2 : v < 99.95 ? 1 : 0;

	snprintf(buf, HUMAN_SIZE, "%.*f%s", decimals, v, unit);
	return buf;
}

const char *human__us(char buf[HUMAN_SIZE], double us)
{
	if (!(us >= 0))
		return strcpy(buf, "-");
	if (us == 0)
		return strcpy(buf, "0");
	if (us < 999.5) {
		snprintf(buf, HUMAN_SIZE, us < 9.95 && us != floor(us) ? "%.1f us" : "%.0f us", us);
		return buf;
	}
	if (us < 999500)
		return three_digits(buf, us / 1e3, " ms");
	if (us < 9999.5e6)
		return three_digits(buf, us / 1e6, " s");
	return three_digits(buf, us / 3600e6, " h");
}

const char *human__span(char buf[HUMAN_SIZE], uint64_t ns)
{
	static const struct {
		char unit[4];
		uint64_t ns;
		uint64_t most; /* of this unit, before the next coarser one is used */
	} steps[] = {
		{"us", 1000, 1000},
		{"ms", 1000000, 1000},
		{"s", 1000000000, 120},
		{"m", 60000000000, 120},
		{"h", 3600000000000, 48},
		{"d", 86400000000000, UINT64_MAX},
	};
	size_t i = sizeof(steps) / sizeof(steps[0]) - 1;

	if (ns == 0)
		return strcpy(buf, "0");
	while (i > 0 && (ns % steps[i].ns || ns / steps[i - 1].ns < steps[i - 1].most))
		i--;
	snprintf(buf, HUMAN_SIZE, "%llu%.3s", (unsigned long long)(ns / steps[i].ns), steps[i].unit);
	return buf;
}

const char *human__share(char buf[HUMAN_SIZE], double share)
{
	if (!(share >= 0))
		return strcpy(buf, "-");
	/* A trace of something is not nothing. */
	if (share > 0 && share < 0.0005)
		return strcpy(buf, "<0.1%");
	snprintf(buf, HUMAN_SIZE, "%.1f%%", share * 100);
	return buf;
}

const char *human__count(char buf[HUMAN_SIZE], double n)
{
	if (!(n >= 0))
		return strcpy(buf, "-");
	if (n < 9999.5)
		return human__grouped(buf, (uint64_t)llround(n));
	if (n < 999500)
		return three_digits(buf, n / 1e3, "k");
	if (n < 999.5e6)
		return three_digits(buf, n / 1e6, "M");
	if (n < 999.5e9)
		return three_digits(buf, n / 1e9, "G");
	snprintf(buf, HUMAN_SIZE, "%.2e", n);
	return buf;
}

const char *human__grouped(char buf[HUMAN_SIZE], uint64_t n)
{
	char plain[24];
	int len = snprintf(plain, sizeof(plain), "%llu", (unsigned long long)n);
	size_t out = 0;

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			buf[out++] = ',';
		buf[out++] = plain[i];
	}
	buf[out] = '\0';
	return buf;
}

const char *human__kib(char buf[HUMAN_SIZE], double kib)
{
	if (!(kib >= 0))
		return strcpy(buf, "-");
	if (kib < 999.5)
		return three_digits(buf, kib, " KiB");
	if (kib < 1023488)
		return three_digits(buf, kib / 1024, " MiB");
	return three_digits(buf, kib / 1048576, " GiB");
}

const char *human__ago(char buf[HUMAN_SIZE], int64_t ms)
{
	int64_t s = ms / 1000;

	if (s < 2)
		return strcpy(buf, "now");
	if (s < 120)
		snprintf(buf, HUMAN_SIZE, "%lld s ago", (long long)s);
	else if (s < 7200)
		snprintf(buf, HUMAN_SIZE, "%lld min ago", (long long)(s / 60));
	else if (s < 172800)
		snprintf(buf, HUMAN_SIZE, "%lld h ago", (long long)(s / 3600));
	else
		snprintf(buf, HUMAN_SIZE, "%lld d ago", (long long)(s / 86400));
	return buf;
}
