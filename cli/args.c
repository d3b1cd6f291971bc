/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See args.h. Digits are read by hand: strtol and strtod accept blanks, signs, "1e3", "0x10", "inf" and half a word,
 * and every one of those has been somebody's outage.
 */
#include "args.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "human.h"

#define PID_LIMIT (4u * 1024 * 1024) /* the kernel's own upper bound of pid_max */
#define MS_SINCE_1973 100000000000ll /* epoch numbers from here on are milliseconds, not seconds */

/* Reads decimal digits at *text and moves it behind them. -EINVAL: none there; -ERANGE: too many, but all read. */
static int digits(const char **text, uint64_t *ret)
{
	const char *p = *text;
	uint64_t value = 0;
	bool over = false;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++)
		over = over || __builtin_mul_overflow(value, 10, &value) ||
		       __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value);
	*text = p;
	*ret = value;
	return over ? -ERANGE : 0;
}

/* Reads ".5" at *text, in billionths (further digits are read and dropped). No point there is a fraction of 0. */
static int fraction(const char **text, uint64_t *ret_billionths)
{
	uint64_t value = 0, place = 100000000;
	const char *p = *text;

	*ret_billionths = 0;
	if (*p != '.')
		return 0;
	if (!isdigit((unsigned char)*++p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++, place /= 10)
		value += (uint64_t)(*p - '0') * place;
	*text = p;
	*ret_billionths = value;
	return 0;
}

int args__u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret, struct reason *why)
{
	const char *p = text;
	uint64_t value;
	int err = digits(&p, &value);

	if (err == -EINVAL || *p)
		return reason__set(why, -EINVAL, "%s: '%s' is not a whole number", what, text);
	if (err || value < min || value > max)
		return reason__set(why, -ERANGE, "%s: %s is out of range (%llu to %llu)", what, text,
				   (unsigned long long)min, (unsigned long long)max);
	*ret = value;
	return 0;
}

static int unit_ns(const char *unit, uint64_t *ret)
{
	static const struct {
		char name[4];
		uint64_t ns;
	} units[] = {
		{"us", 1000ull},
		{"ms", 1000000ull},
		{"s", 1000000000ull},
		{"m", 60 * 1000000000ull},
		{"h", 3600 * 1000000000ull},
		{"d", 86400 * 1000000000ull},
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(unit, units[i].name) == 0) {
			*ret = units[i].ns;
			return 0;
		}
	}
	return -EINVAL;
}

/* The number and unit of a duration, without its bounds. */
static int duration(const char *text, uint64_t *ret)
{
	uint64_t whole, billionths, unit, ns;
	const char *p = text;
	int err = digits(&p, &whole);

	if (err == -EINVAL || fraction(&p, &billionths))
		return -EINVAL;
	if (strcmp(text, "0") == 0) {
		*ret = 0;
		return 0;
	}
	if (unit_ns(p, &unit))
		return -EINVAL;
	if (err || __builtin_mul_overflow(whole, unit, &ns) ||
	    __builtin_add_overflow(ns, (uint64_t)((__uint128_t)billionths * unit / 1000000000u), &ns))
		return -ERANGE;
	*ret = ns;
	return 0;
}

int args__duration(const char *what, const char *text, uint64_t min_ns, uint64_t max_ns, uint64_t *ret, struct reason *why)
{
	char low[HUMAN_SIZE], high[HUMAN_SIZE];
	uint64_t ns = 0;
	int err = duration(text, &ns);

	if (err == -EINVAL)
		return reason__set(why, err, "%s: '%s' is not a duration (write 500ms, 30s, 5m or 24h)", what, text);
	if (err || ns < min_ns || ns > max_ns)
		return reason__set(why, -ERANGE, "%s: %s is out of range (%s to %s)", what, text,
				   human__span(low, min_ns), human__span(high, max_ns));
	*ret = ns;
	return 0;
}

/* "2%", "0.5", "150%"; -EINVAL, -ERANGE. */
static int real(const char *text, double *ret)
{
	uint64_t whole, billionths;
	const char *p = text;
	int err = digits(&p, &whole);

	if (err == -EINVAL || fraction(&p, &billionths) || (*p && strcmp(p, "%") != 0))
		return -EINVAL;
	*ret = (double)whole + (double)billionths / 1e9;
	if (*p == '%')
		*ret /= 100;
	return err;
}

int args__share(const char *what, const char *text, double *ret, struct reason *why)
{
	double value = 0;
	int err = real(text, &value);

	if (err == -EINVAL)
		return reason__set(why, -EINVAL, "%s: '%s' is not a share (write 2%% or 0.02)", what, text);
	if (err || value > 1)
		return reason__set(why, -ERANGE, "%s: %s is out of range (0%% to 100%%, or 0 to 1)", what, text);
	*ret = value;
	return 0;
}

int args__number(const char *what, const char *text, double max, double *ret, struct reason *why)
{
	double value = 0;
	int err = real(text, &value);

	if (err == -EINVAL)
		return reason__set(why, -EINVAL, "%s: '%s' is not a number (write 20, 2.5 or 5%%)", what, text);
	if (err || value > max)
		return reason__set(why, -EINVAL, "%s: %s is out of range (0 to %g)", what, text, max);
	*ret = value;
	return 0;
}

int args__pid(const char *text, pid_t *ret, struct reason *why)
{
	const char *p = text;
	uint64_t value;
	int err = digits(&p, &value);

	if (err == -EINVAL || *p)
		return reason__set(why, -EINVAL, "'%s' is not a PID (gilscope ls shows the Python processes here)", text);
	if (err || value == 0 || value > PID_LIMIT)
		return reason__set(why, -ERANGE, "%s is out of range for a PID (1 to %u)", text, PID_LIMIT);
	*ret = (pid_t)value;
	return 0;
}

/* "@1795339305", seconds or milliseconds since the epoch. */
static int epoch(const char *text, int64_t *ret_ms)
{
	const char *p = text + 1;
	uint64_t value;

	if (digits(&p, &value) || *p || value > INT64_MAX / 1000)
		return -EINVAL;
	*ret_ms = (int64_t)value >= MS_SINCE_1973 ? (int64_t)value : (int64_t)value * 1000;
	return 0;
}

/* "2026-11-23T10:00:00", local time, or UTC with a Z behind it. */
static int calendar(const char *text, int64_t *ret_ms)
{
	struct tm tm = {.tm_isdst = -1}, given;
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t when;

	if (!isdigit((unsigned char)*text) || !end || (*end && strcmp(end, "Z") != 0))
		return -EINVAL;
	given = tm;
	when = *end ? timegm(&tm) : mktime(&tm);
	/* 31 February is normalised to a day in March rather than refused. */
	if (tm.tm_mday != given.tm_mday || when < 0)
		return -EINVAL;
	*ret_ms = (int64_t)when * 1000;
	return 0;
}

/* "10:05" or "10:05:30", local time: the last time that it was so. */
static int time_of_day(const char *text, int64_t now_ms, int64_t *ret_ms)
{
	time_t now = (time_t)(now_ms / 1000), when;
	struct tm tm, given = {0};
	const char *end = strptime(text, "%H:%M:%S", &given);

	end = end ? end : strptime(text, "%H:%M", &given);
	if (!isdigit((unsigned char)*text) || !end || *end || !localtime_r(&now, &tm))
		return -EINVAL;
	tm.tm_hour = given.tm_hour;
	tm.tm_min = given.tm_min;
	tm.tm_sec = given.tm_sec;
	tm.tm_isdst = -1;
	when = mktime(&tm);
	if (when > now) {
		tm.tm_mday--;
		tm.tm_isdst = -1;
		when = mktime(&tm);
	}
	*ret_ms = (int64_t)when * 1000;
	return 0;
}

int args__time(const char *what, const char *text, int64_t now_ms, int64_t *ret_ms, struct reason *why)
{
	uint64_t ago;
	int err;

	if (*text == '@')
		err = epoch(text, ret_ms);
	else if (strchr(text, 'T'))
		err = calendar(text, ret_ms);
	else if (strchr(text, ':'))
		err = time_of_day(text, now_ms, ret_ms);
	else {
		err = duration(text, &ago);
		if (!err)
			*ret_ms = now_ms - (int64_t)(ago / 1000000);
	}
	if (err)
		return reason__set(why, -EINVAL, "%s: '%s' is not a time (write 5m for five minutes ago, "
				   "2026-11-23T10:00:00, or @ and seconds since the epoch)", what, text);
	return 0;
}
