/* SPDX-License-Identifier: GPL-2.0-only */
/* The options of the verbs: usage errors in a sentence, help on 80 columns, and the manual page that says the same. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmds.h"
#include "collector/base/text.h"

#define MAN_PAGE "cli/gilscope.8"
#define MAX_WORDS 16

static const struct verb *const verbs[] = {&verb_attach, &verb_run, &verb_ls, &verb_doctor, &verb_query, &verb_store, &verb_dump,
					     &verb_daemon, &verb_status};

#define VERBS_N (sizeof(verbs) / sizeof(verbs[0]))

/* Parses "attach --interval 5x 1" split at blanks; "_" stands for an empty word. */
static int parse(const struct verb *verb, const char *words, struct options *o, int *first, struct reason *why)
{
	static char *copy; /* kept: options point into it */
	char *argv[MAX_WORDS + 1];
	int argc = 0;

	free(copy);
	copy = strdup(words);
	for (char *word = strtok(copy, " "); word && argc < MAX_WORDS; word = strtok(NULL, " "))
		argv[argc++] = strcmp(word, "_") == 0 ? (char *)"" : word;
	argv[argc] = NULL;
	options__init(o);
	return options__parse(verb, argc, argv, o, first, why);
}

Test(options, wrong_usage_gets_one_sentence_that_names_it)
{
	static const struct {
		char verb; /* index */
		char words[96];
		char part[96];
	} cases[] = {
		{0, "attach", "which process?"},
		{0, "attach --frob 1", "there is no option --frob (gilscope attach --help names them)"},
		{0, "attach --intervl 1s 1", "there is no option --intervl, did you mean --interval?"},
		{0, "attach --intervl=1s 1", "did you mean --interval?"},
		{0, "attach -z 1", "there is no option -z"},
		{0, "attach --interval", "--interval needs a value (TIME)"},
		{0, "attach -i", "--interval needs a value (TIME)"},
		{0, "attach --json=1 1", "--json takes no value"},
		{0, "attach --interval 5x 1", "--interval: '5x' is not a duration"},
		{0, "attach --interval -1 1", "--interval: '-1' is not a duration"},
		{0, "attach --interval _ 1", "--interval: '' is not a duration"},
		{0, "attach --interval 1ms 1", "--interval: 1ms is out of range (100ms to 60m)"},
		{0, "attach --duration abc 1", "--duration: 'abc' is not a duration"},
		{0, "attach --mode turbo 1", "--mode: 'turbo' is none of auto, full, light and look"},
		{0, "attach --stacks 5 1", "--stacks: '5' is not a duration"},
		{0, "attach --stacks off --alert-hold 1s 1", "not with --stacks off"},
		{0, "attach --alert-hold 0 1", "--alert-hold: 0 is out of range"},
		{0, "attach --alert-wait x 1", "--alert-wait: 'x' is not a duration"},
		{0, "attach --max-overhead 200% 1", "--max-overhead: 200% is out of range"},
		{0, "attach --all 1", "--all and PIDs exclude each other"},
		{0, "attach --user root 1", "need --all"},
		{0, "attach --match x 1", "need --all"},
		{0, "attach --all --match [a", "--match: '[a' is no extended regular expression"},
		{0, "attach --all --match _", "--match: is empty"},
		{0, "attach --all --cgroup web", "--cgroup: 'web' is no path of a cgroup"},
		{0, "attach --label _ 1", "--label: is empty"},
		{0, "attach --host a/b 1", "--host: 'a/b' may have letters"},
		{0, "attach --prefix g{il} 1", "--prefix: 'g{il}' may have"},
		{0, "attach --retention 1h,2h 1", "--retention: '1h,2h' must be three durations"},
		{0, "attach --retention 1h,2h,3h,4h 1", "--retention: '1h,2h,3h,4h' must be three durations"},
		{0, "attach --retention 1h,x,3h 1", "--retention: 'x' is not a duration"},
		{0, "attach --thread-retention 1s,1h,1h 1", "--thread-retention: 1s is out of range"},
		{0, "attach --since 5m 1", "there is no option --since"},
		{1, "run", "which command?"},
		{1, "run --", "which command?"},
		{2, "ls 1", "'1' is too many (usage: gilscope ls)"},
		{3, "doctor 1 2", "'2' is too many"},
		{4, "query", "which process?"},
		{4, "query a --metric hold,wiat", "--metric: there is no 'wiat', did you mean 'wait'?"},
		{4, "query a --metric _", "--metric: there is no ''"},
		{4, "query a --metric hold,", "--metric: there is no ''"},
		{4, "query a --step 2s", "--step: '2s' is none of 1s, 10s and 60s"},
		{4, "query a --since yesterday", "--since: 'yesterday' is not a time"},
		{4, "query a --format xml", "--format: 'xml' is none of table, json and csv"},
		{5, "store", "what about it?"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {0};
		struct options o;
		int first;

		cr_expect_lt(parse(verbs[(int)cases[i].verb], cases[i].words, &o, &first, &why), 0, "%s", cases[i].words);
		cr_expect(strstr(why.text, cases[i].part), "%s: %s", cases[i].words, why.text);
		cr_expect_null(strchr(why.text, '\n'));
	}
}

/* ---- the daemon's file ---- */

static char config_path[64];

static void write_config(const char *text)
{
	int fd;

	strcpy(config_path, "/tmp/gilscope-test-XXXXXX");
	fd = mkstemp(config_path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* "daemon --config FILE", and more words. */
static int parse_daemon(const char *text, const char *more, struct options *o, struct reason *why)
{
	char words[256];
	int first, err;

	write_config(text);
	snprintf(words, sizeof(words), "daemon --config %s %s", config_path, more);
	err = parse(&verb_daemon, words, o, &first, why);
	unlink(config_path);
	return err;
}

Test(options, a_wrong_file_is_refused_with_the_line)
{
	static const struct {
		char text[96];
		char part[96];
	} cases[] = {
		{"interval = 1s\n\nintervl = 2s\n", ":3: there is no option 'intervl', did you mean 'interval'?"},
		{"interval 1s\n", ":1: 'interval 1s' is no \"name = value\""},
		{"# x\ninterval = 5x\n", ":2: --interval: '5x' is not a duration"},
		{"no-store = maybe\n", ":1: no-store: 'maybe' is neither yes nor no"},
		{"interval = 1s\nmode = auto\ninterval = 1s\n", ":3: interval is set a second time (first on line 1)"},
		{"config = x\n", ":1: there is no option 'config'"},
		{"check-config = yes\n", ":1: there is no option 'check-config'"},
		{"all = yes\n", ":1: there is no option 'all'"},
		{"stacks = off\nalert-hold = 1s\n", "not with stacks off"},
		{"= 1\n", ":1: there is no option ''"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reason why = {{0}};
		struct options o;

		cr_expect_neq(parse_daemon(cases[i].text, "", &o, &why), 0, "%s", cases[i].text);
		cr_expect(strstr(why.text, cases[i].part), "%s: %s", cases[i].text, why.text);
		options__drop(&o);
	}
}

Test(options, a_file_that_is_not_there_is_refused)
{
	struct reason why = {{0}};
	struct options o;
	int first;

	cr_expect_neq(parse(&verb_daemon, "daemon --config /nonexistent/x", &o, &first, &why), 0);
	cr_expect_str_eq(why.text, "/nonexistent/x: No such file or directory");
}

Test(options, the_command_line_goes_before_the_environment_and_that_before_the_file)
{
	static const char text[] = "  interval=5s \r\nredis = redis://file:1\nno-store = no\nno-off-cpu = yes\nmatch = a = b\n";
	struct reason why = {{0}};
	struct options o;

	unsetenv("GILSCOPE_REDIS");
	cr_assert_eq(parse_daemon(text, "", &o, &why), 0, "%s", why.text);
	cr_expect_eq(o.interval_ns, 5000000000ull);
	cr_expect_str_eq(o.redis, "redis://file:1");
	cr_expect_not(o.redis_in_argv);
	cr_expect_not(o.no_store);
	cr_expect(o.no_off_cpu);
	cr_expect_str_eq(o.match, "a = b");
	options__drop(&o);
	setenv("GILSCOPE_REDIS", "redis://environment:1", 1);
	cr_assert_eq(parse_daemon(text, "--interval 2s", &o, &why), 0, "%s", why.text);
	cr_expect_eq(o.interval_ns, 2000000000ull);
	cr_expect_str_eq(o.redis, "redis://environment:1");
	options__drop(&o);
	cr_assert_eq(parse_daemon(text, "--redis redis://words:1", &o, &why), 0, "%s", why.text);
	cr_expect_str_eq(o.redis, "redis://words:1");
	options__drop(&o);
	unsetenv("GILSCOPE_REDIS");
}

Test(options, what_is_right_arrives)
{
	struct options o;
	int first = 0;

	cr_assert_eq(parse(&verb_attach, "attach 42 -i 500ms --duration=30s -m light --max-overhead 5% --json --no-store "
			   "-l shop 43", &o, &first, NULL), 0);
	cr_expect_eq(first, 12); /* arguments are moved behind the options */
	cr_expect_eq(o.interval_ns, 500000000);
	cr_expect_eq(o.duration_ns, 30000000000);
	cr_expect_eq(o.mode, MODE_LIGHT);
	cr_expect_float_eq(o.max_overhead, 0.05, 1e-9);
	cr_expect_eq(o.format, FORMAT_JSON);
	cr_expect(o.no_store);
	cr_expect_str_eq(o.label, "shop");
}

Test(options, the_commands_own_options_stay_its_own)
{
	struct options o;
	int first = 0;

	cr_expect_eq(parse(&verb_run, "run --json -- python3 --interval 5x", &o, &first, NULL), 0);
	cr_expect_eq(first, 3);
	cr_expect_eq(parse(&verb_run, "run python3 --interval 5x", &o, &first, NULL), 0);
	cr_expect_eq(first, 1);
	cr_expect_eq(parse(&verb_store, "store cli --json", &o, &first, NULL), 0);
	cr_expect_eq(o.format, FORMAT_TABLE);
}

Test(options, metrics_may_be_given_in_pieces)
{
	struct options o;
	int first;

	cr_expect_eq(parse(&verb_query, "query a -M hold,wait -M n", &o, &first, NULL), 0);
	cr_expect_eq(o.metrics, 1ull << FIELD_HOLD | 1ull << FIELD_WAIT | 1ull << FIELD_N);
}

Test(options, help_is_asked_for_with_anything_else_missing)
{
	struct options o;
	int first;

	for (size_t i = 0; i < VERBS_N; i++) {
		char words[64];

		snprintf(words, sizeof(words), "%s --help", verbs[i]->name);
		cr_expect_eq(parse(verbs[i], words, &o, &first, NULL), 0);
		cr_expect(o.help, "%s", words);
	}
}

/* ---- help and manual page ---- */

static char *help_of(const struct verb *verb)
{
	static char *text; /* a local would look dangling to gcc 12 */
	size_t len;
	FILE *to = open_memstream(&text, &len);

	options__help(verb, to);
	fclose(to);
	return text;
}

Test(options, help_fits_80_columns)
{
	for (size_t i = 0; i < VERBS_N; i++) {
		char *help = help_of(verbs[i]), *at = help, *line;

		while ((line = strsep(&at, "\n"))) {
			cr_expect_leq(text__columns(line), 80, "%s", line);
			cr_expect(!*line || line[strlen(line) - 1] != ' ', "blank at the end of: %s|", line);
		}
		free(help);
		cr_expect_leq(strlen(verbs[i]->summary), 80 - 12, "%s", verbs[i]->summary);
	}
}

Test(options, help_names_every_metric)
{
	char *help = help_of(&verb_query);

	for (int f = 0; f < FIELD_COUNT; f++) {
		char word[40];

		snprintf(word, sizeof(word), "\n  %s ", schema_field__name((enum schema_field)f));
		cr_expect(strstr(help, word), "%s", word);
	}
	free(help);
}

/* The manual page with its "\-" as "-" and its font changes left out. */
static char *read_man(void)
{
	FILE *file = fopen(MAN_PAGE, "r");
	char *text = calloc(1, 65536);
	size_t len = 0;
	int c;

	cr_assert(file, "%s", MAN_PAGE);
	while ((c = fgetc(file)) != EOF && len < 65535) {
		if (c == '\\') {
			c = fgetc(file);
			if (c == 'f') {
				fgetc(file);
				continue;
			}
		}
		text[len++] = (char)c;
	}
	fclose(file);
	return text;
}

/* The part of the page from the line that begins with `from` to the next line that begins with `to`. */
static char *part_of(const char *man, const char *from, const char *to)
{
	const char *begin = strstr(man, from), *end;

	cr_assert(begin, "%s", from);
	end = strstr(begin + 1, to);
	return strndup(begin, end ? (size_t)(end - begin) : strlen(begin));
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || (c >= '0' && c <= '9');
}

/* Whether "--name" stands in `text` as a whole word. */
static bool names(const char *text, const char *name)
{
	char word[64];
	size_t len = (size_t)snprintf(word, sizeof(word), "--%s", name);

	for (const char *at = text; (at = strstr(at, word)); at += len)
		if (!is_word(at[len]) && (at == text || !is_word(at[-1])))
			return true;
	return false;
}

/* Whether "--name" begins an entry of the help's list; explanations may mention others. */
static bool lists(const char *help, const char *name)
{
	char word[64];

	for (const char *at = help; (at = strstr(at, "\n  ")); at++) {
		snprintf(word, sizeof(word), "%.60s", at + 7);
		word[strcspn(word, " \n")] = '\0';
		if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, name) == 0)
			return true;
	}
	return false;
}

static bool takes(const struct verb *verb, enum option_id id)
{
	for (size_t i = 0; i < VERB_OPTIONS_MAX && verb->options[i] != OPTION_END; i++)
		if (verb->options[i] == id)
			return true;
	return id == OPTION_VERBOSE || id == OPTION_HELP;
}

Test(options, the_manual_page_and_help_name_the_same_options_of_each_verb)
{
	char *man = read_man();

	for (size_t i = 0; i < VERBS_N; i++) {
		char head[64], *part, *list, *help = help_of(verbs[i]);

		snprintf(head, sizeof(head), ".SS \"gilscope %s ", verbs[i]->name);
		part = part_of(man, head, "\n.S");
		list = strstr(part, "\nOptions:");
		cr_assert(list, "%s", head);
		for (int id = 1; id < OPTION_COUNT; id++) {
			const char *name = options__name((enum option_id)id);

			bool taken = takes(verbs[i], (enum option_id)id);

			cr_expect_eq(lists(help, name), taken, "help of %s and --%s", verbs[i]->name, name);
			cr_expect_eq(names(list, name), taken, "manual page: %s and --%s", verbs[i]->name, name);
		}
		free(part);
		free(help);
	}
	free(man);
}

Test(options, the_manual_page_explains_every_option_and_no_other)
{
	char *man = read_man(), *part = part_of(man, "\n.SH OPTIONS", "\n.SH EXIT"), *at = part + 1, *line;

	for (int id = 1; id < OPTION_COUNT; id++)
		cr_expect(names(part, options__name((enum option_id)id)), "--%s", options__name((enum option_id)id));
	for (bool entry = false; (line = strsep(&at, "\n")); entry = strcmp(line, ".TP") == 0) {
		const char *name = entry ? strstr(line, "--") : NULL;
		bool known = !entry;

		for (int id = 1; id < OPTION_COUNT && name; id++)
			known = known || names(name, options__name((enum option_id)id));
		cr_expect(known, "an option that no verb has: %s", line);
	}
	free(part);
	free(man);
}

Test(options, wrapped_text_never_ends_in_blanks_and_keeps_paragraphs)
{
	char *text;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	options__wrap(to, "one two\n\nthree", 0, 4);
	fclose(to);
	cr_expect_str_eq(text, "one two\n\n    three\n");
	free(text);
}
