/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope status: how the daemon is doing, for people (a table), programs (--json) and monitoring (the exit status). */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/log.h"
#include "cmds.h"
#include "service.h"

#define PATIENCE_MS 5000 /* the daemon answers within a quarter of a second where its loop turns */
#define EXIT_NOT_RUNNING 3
#define EXIT_NO_ANSWER 4

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static long long int_of(const json_t *object, const char *name)
{
	return (long long)json_integer_value(json_object_get(object, name));
}

static void print_share(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	if (json_is_number(value))
		printf(" %6.1f%%", 100 * json_number_value(value));
	else
		printf(" %7s", "-");
}

static void print_processes(const json_t *processes)
{
	const json_t *p;
	size_t i;

	if (json_array_size(processes))
		printf("\n%9s %-8s %7s %7s  %s\n", "PID", "MODE", "BUSY", "SEEN", "PROGRAM");
	json_array_foreach (processes, i, p) {
		printf("%9lld %-8s", int_of(p, "pid"), text_of(p, "mode"));
		print_share(p, "util");
		print_share(p, "cov");
		printf("  %s\n", text_of(p, "label"));
	}
}

static void print(const json_t *status)
{
	const json_t *history = json_object_get(status, "history"), *one;
	size_t i;

	printf("gilscope %s, pid %lld, up for %lld s: %zu processes observed\n", text_of(status, "version"),
	       int_of(status, "pid"), int_of(status, "uptime_s"), json_array_size(json_object_get(status, "processes")));
	if (*text_of(status, "config"))
		printf("configuration: %s\n", text_of(status, "config"));
	if (json_is_object(history))
		printf("history: %s, %s, %lld samples written, %lld dropped\n", text_of(history, "where"),
		       json_is_true(json_object_get(history, "connected")) ? "connected" : "not connected",
		       int_of(history, "written"), int_of(history, "dropped"));
	if (*text_of(status, "metrics"))
		printf("metrics: %s\n", text_of(status, "metrics"));
	json_array_foreach (json_object_get(status, "trouble"), i, one)
		printf("trouble: %s\n", json_string_value(one));
	print_processes(json_object_get(status, "processes"));
}

static int show(const struct options *o, const char *text)
{
	json_t *status = json_loads(text, 0, NULL);
	int code = EXIT_NO_ANSWER;

	if (!json_is_object(status))
		log_error("status: the daemon's answer is not complete");
	else if (o->format == FORMAT_JSON)
		puts(text);
	else
		print(status);
	if (json_is_object(status))
		code = json_is_true(json_object_get(status, "well")) ? EXIT_OK : EXIT_FAILED;
	json_decref(status);
	return code;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct reason why = {{0}};
	char *text;
	int code, err = service__ask(PATIENCE_MS, &text, &why);

	if (err)
		return options__fail(verb, err == -ENOENT ? EXIT_NOT_RUNNING : EXIT_NO_ANSWER, &why);
	code = show(o, text);
	free(text);
	return code;
}

const struct verb verb_status = {
	.name = "status",
	.args = "",
	.summary = "show how gilscope daemon is doing",
	.about = "Asks the gilscope daemon of this user (of root: sudo) how it is doing: which processes it observes, and "
		 "whether Redis takes the history. The answer comes from the loop that observes. Exit status: 0 all is "
		 "well; 1 it runs, but with trouble; 3 no daemon runs; 4 it does not answer, or this user may not ask.",
	.options = {OPTION_JSON},
	.run = run,
};
