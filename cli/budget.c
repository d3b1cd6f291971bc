/* SPDX-License-Identifier: GPL-2.0-only */
/* The words of a budget; see budget.h. Which metrics there are is schema.h's table. */
#include "budget.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "collector/base/text.h"
#include "args.h"
#include "suggest.h"

#define NAME_SIZE 32
#define YEAR_NS (366ull * 86400 * 1000000000)
#define VALUE_MAX 1e15

#define BIT(f) (1ull << FIELD_##f)

/* These say what a row is, or how sure: nothing to promise. */
#define NO_PROMISE (BIT(T) | BIT(D) | BIT(G) | BIT(INSIDE) | BIT(HOLD_EST) | BIT(HOLD_ERR) | BIT(UTIL_EST) | BIT(WAIT_ERR) | \
		    BIT(GC_ERR))

/* What a thread has of its own, and a place. */
#define OF_THREADS (BIT(HOLD) | BIT(WAIT) | BIT(HANDOVER) | BIT(UNKNOWN) | BIT(N) | BIT(C) | BIT(FORCED) | BIT(INFERRED) | \
		    BIT(HOLD_P50) | BIT(HOLD_P99) | BIT(HOLD_MAX) | BIT(WAIT_P50) | BIT(WAIT_P99) | BIT(WAIT_MAX) | \
		    BIT(HOLD_BLOCKED) | BIT(HOLD_PREEMPTED) | BIT(HOLD_UNSEEN) | BIT(HOLD_STOPPED) | BIT(WAIT_BLOCKED) | \
		    BIT(WAIT_PREEMPTED) | BIT(WAIT_UNSEEN) | BIT(WAIT_STOPPED) | BIT(OVER) | BIT(OVER_N) | BIT(OVER_LATE) | \
		    BIT(OVER_MAX))
#define OF_PLACES (BIT(HOLD) | BIT(HOLD_MAX))

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), of = strlen(end);

	return len > of && strcmp(text + len - of, end) == 0;
}

static bool is_unit(enum schema_field f, const char *unit)
{
	return strcmp(schema_field__unit(f), unit) == 0;
}

/* Neither a maximum nor a quantile: of those there is no share and no rate. */
static bool adds_up(enum schema_field f)
{
	const char *name = schema_field__name(f);

	return !ends_with(name, "_max") && !ends_with(name, "_p50") && !ends_with(name, "_p99");
}

static int no_such_metric(const char *what, const char *name, struct reason *why)
{
	const char *names[FIELD_COUNT], *near;

	for (int f = 0; f < FIELD_COUNT; f++)
		names[f] = schema_field__name((enum schema_field)f);
	near = suggest__word(name, names, FIELD_COUNT);
	return reason__set(why, -EINVAL, "%s: there is no metric '%s'%s%s%s (gilscope query --help names them)", what, name,
			   near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* "wait", "wait_share", "n_rate". */
static int find_metric(const char *what, char *name, struct budget *b, struct reason *why)
{
	int field = schema_field__by_name(name);

	if (field < 0 && ends_with(name, "_share"))
		b->kind = BUDGET_SHARE;
	else if (field < 0 && ends_with(name, "_rate"))
		b->kind = BUDGET_RATE;
	if (b->kind != BUDGET_VALUE) {
		char *end = strrchr(name, '_');

		*end = '\0';
		field = schema_field__by_name(name);
		*end = '_';
	}
	if (field < 0)
		return no_such_metric(what, name, why);
	b->field = (enum schema_field)field;
	if (NO_PROMISE >> field & 1)
		return reason__set(why, -EINVAL, "%s: '%s' is nothing that a program can promise", what, name);
	if (b->kind == BUDGET_SHARE && !(is_unit(b->field, "us") && adds_up(b->field)))
		return reason__set(why, -EINVAL, "%s: there is no share of time of '%s'", what, schema_field__name(b->field));
	if (b->kind == BUDGET_RATE && !(is_unit(b->field, "n") && schema_field__merge(b->field) != MERGE_LATEST))
		return reason__set(why, -EINVAL, "%s: there is no rate of '%s'", what, schema_field__name(b->field));
	return 0;
}

/* What stands between the braces: "thread=web-*". */
static int set_selector(const char *what, const char *text, size_t len, struct budget *b, struct reason *why)
{
	static const struct {
		const char *word;
		enum budget_of of;
		uint64_t fields;
	} selectors[] = {{"thread=", BUDGET_OF_THREAD, OF_THREADS}, {"place=", BUDGET_OF_PLACE, OF_PLACES}};

	for (size_t i = 0; i < sizeof(selectors) / sizeof(selectors[0]); i++) {
		size_t word = strlen(selectors[i].word);

		if (len <= word || strncmp(text, selectors[i].word, word) != 0)
			continue;
		if (len - word >= sizeof(b->pattern))
			return reason__set(why, -EINVAL, "%s: the pattern is longer than %zu bytes", what,
					   sizeof(b->pattern) - 1);
		if (!(selectors[i].fields >> b->field & 1))
			return reason__set(why, -EINVAL, "%s: '%s' is not known of a %.*s by itself", what,
					   schema_field__name(b->field), (int)word - 1, selectors[i].word);
		b->of = selectors[i].of;
		memcpy(b->pattern, text + word, len - word);
		b->pattern[len - word] = '\0';
		return 0;
	}
	return reason__set(why, -EINVAL, "%s: '{%.*s}' is neither {thread=PATTERN} nor {place=PATTERN}", what, (int)len, text);
}

static int set_size(const char *what, const char *text, double *ret, struct reason *why)
{
	static const struct {
		char end[4];
		double kib;
	} units[] = {{"KiB", 1}, {"MiB", 1024}, {"GiB", 1024 * 1024}};
	char number[NAME_SIZE];

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t len = strlen(text) - strlen(units[i].end);
		int err;

		if (!ends_with(text, units[i].end) || len >= sizeof(number))
			continue;
		snprintf(number, sizeof(number), "%.*s", (int)len, text);
		err = args__number(what, number, VALUE_MAX, ret, why);
		*ret *= units[i].kib;
		return err;
	}
	return reason__set(why, -EINVAL, "%s: '%s' is not a size (write 500MiB)", what, text);
}

static int set_limit(const char *what, const char *text, struct budget *b, struct reason *why)
{
	uint64_t ns;
	int err;

	if (b->kind == BUDGET_VALUE && is_unit(b->field, "kib"))
		return set_size(what, text, &b->limit, why);
	if (b->kind != BUDGET_VALUE || !is_unit(b->field, "us"))
		return args__number(what, text, VALUE_MAX, &b->limit, why);
	err = args__duration(what, text, 0, YEAR_NS, &ns, why);
	b->limit = err ? 0 : (double)ns / 1e3;
	return err ? -EINVAL : 0;
}

/* The order, and where the limit stands; NULL: there is none. */
static const char *read_order(const char *text, enum budget_order *ret)
{
	bool or_equal = text[0] && text[1] == '=';

	if (*text != '<' && *text != '>')
		return NULL;
	*ret = *text == '<' ? (or_equal ? BUDGET_AT_MOST : BUDGET_BELOW) : (or_equal ? BUDGET_AT_LEAST : BUDGET_ABOVE);
	text += or_equal ? 2 : 1;
	return text + strspn(text, " ");
}

int budget__parse(const char *what, const char *text, struct budget *ret, struct reason *why)
{
	size_t len = strcspn(text, " {<>="), inside;
	struct budget b = {.of = BUDGET_OF_PROCESS};
	const char *p = text + len, *value;
	char name[NAME_SIZE];
	int err;

	text__clean(b.text, sizeof(b.text), text, strlen(text));
	if (strcmp(b.text, text) != 0)
		return reason__set(why, -EINVAL, "%s: is longer than %zu bytes, or has characters that cannot be shown", what,
				   sizeof(b.text) - 1);
	if (len == 0 || len >= sizeof(name))
		return reason__set(why, -EINVAL, "%s: '%s' does not begin with a metric (write hold_max<50ms)", what, text);
	snprintf(name, sizeof(name), "%.*s", (int)len, text);
	err = find_metric(what, name, &b, why);
	if (err)
		return err;
	if (*p == '{') {
		inside = strcspn(p + 1, "}");
		if (!p[1 + inside])
			return reason__set(why, -EINVAL, "%s: '%s' has no } for its {", what, text);
		err = set_selector(what, p + 1, inside, &b, why);
		p += inside + 2;
	}
	if (err)
		return err;
	value = read_order(p + strspn(p, " "), &b.order);
	if (!value)
		return reason__set(why, -EINVAL, "%s: '%s' has none of <, <=, > and >= behind the metric", what, text);
	err = set_limit(what, value, &b, why);
	if (!err)
		*ret = b;
	return err;
}

/* Without the comment, and blanks at both ends. */
static char *trimmed(char *line)
{
	size_t len;

	line[strcspn(line, "#\n")] = '\0';
	while (isspace((unsigned char)*line))
		line++;
	for (len = strlen(line); len && isspace((unsigned char)line[len - 1]); len--)
		line[len - 1] = '\0';
	return line;
}

int budget__read_file(const char *path, struct budget *list, size_t max, size_t *n, struct reason *why)
{
	char line[BUDGET_TEXT_SIZE * 2], what[64];
	FILE *from = fopen(path, "re");
	int err = 0, number = 0;

	if (!from)
		return reason__set(why, -errno, "--budget-file: %s: %s", path, strerror(errno));
	while (!err && fgets(line, sizeof(line), from)) {
		bool whole = strchr(line, '\n') || feof(from);
		char *text = trimmed(line);

		snprintf(what, sizeof(what), "--budget-file, line %d", ++number);
		if (!whole)
			err = reason__set(why, -EINVAL, "%s: is too long", what);
		else if (*text && *n == max)
			err = reason__set(why, -EINVAL, "%s: more than %zu budgets", what, max);
		else if (*text)
			err = budget__parse(what, text, &list[(*n)++], why);
	}
	if (!err && ferror(from))
		err = reason__set(why, -EIO, "--budget-file: %s: cannot be read", path);
	fclose(from);
	return err;
}

bool budget__is_of_longest(const struct budget *b, enum schema_field field)
{
	return b->field == field && (b->order == BUDGET_BELOW || b->order == BUDGET_AT_MOST);
}

bool budget__fits_thread(const struct budget *b, const char *name)
{
	return fnmatch(b->pattern, name, 0) == 0;
}

bool budget__fits_place(const struct budget *b, const char *function, const char *file)
{
	return fnmatch(b->pattern, function, 0) == 0 || fnmatch(b->pattern, file, 0) == 0;
}

const char *budget_state__name(enum budget_state state)
{
	static const char *const names[] = {[BUDGET_KEPT] = "kept", [BUDGET_UNTOLD] = "untold", [BUDGET_BROKEN] = "broken"};

	return names[state];
}
