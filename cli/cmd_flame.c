/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope flame: which Python code held the GIL, waited for it or made others wait, as a flame graph. It observes as attach
 * does, without a history; the collector hands over the stacks of each interval, flame_svg.h draws them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../collector/log.h"
#include "args.h"
#include "caps.h"
#include "cmds.h"
#include "flame_svg.h"
#include "human.h"

#define DEFAULT_NS (10ull * 1000000000)
#define LINE_SIZE 8192

struct view {
	const struct options *o;
	struct flame *flame;
	char title[256];
	int err;
	bool known; /* the frames of this Python are */
};

static uint64_t weight_of(const struct view *v, const struct stack_time *s)
{
	switch (v->o->weight) {
	case WEIGHT_HOLD:
		return s->hold_ns;
	case WEIGHT_WAIT:
		return s->wait_ns;
	default:
		return s->blame_ns;
	}
}

static void on_stack(void *arg, const struct collector_proc *proc, const struct stack_time *s)
{
	struct view *v = arg;
	uint64_t weight = weight_of(v, s);
	char line[LINE_SIZE];
	size_t len;

	if (!weight || v->err)
		return;
	snprintf(line, sizeof(line), "%s", s->name[0] ? s->name : "(no name)");
	for (char *p = line; (p = strchr(p, ';')); p++)
		*p = ',';
	len = strlen(line);
	snprintf(line + len, sizeof(line) - len, ";%s", s->line[0] ? s->line : "(no Python code)");
	v->err = flame__add(v->flame, line, weight);
}

static const char *weight_words(enum flame_weight weight)
{
	static const char *const words[] = {
		[WEIGHT_BLAME] = "other threads' waiting, by the code that held the GIL",
		[WEIGHT_HOLD] = "holding the GIL, by code",
		[WEIGHT_WAIT] = "waiting for the GIL, by code",
	};

	return words[weight];
}

static void on_ended(void *arg, const struct collector_proc *proc, const struct proc_sample *totals, enum collector_end how)
{
	struct view *v = arg;

	v->known = totals->code_known;
	snprintf(v->title, sizeof(v->title), "%s (pid %d): %s", proc->target->label, (int)proc->target->pid,
		 weight_words(v->o->weight));
}

static void on_armed(void *arg, const struct collector_proc *proc, double plan_ms)
{
	log_info("looking at %s (pid %d), CPython %s: armed in %.0f ms", proc->target->label, (int)proc->target->pid,
		 proc->python->text, plan_ms);
}

static void on_notice(void *arg, const struct collector_proc *proc, const char *sentence)
{
	log_info("%s", sentence);
}

static int look(struct view *v, pid_t pid, struct reason *why)
{
	struct collector_opts opts = {
		.interval_ns = v->o->interval_ns,
		.duration_ns = v->o->duration_ns ? v->o->duration_ns : DEFAULT_NS,
		.mode = MODE_FULL,
		.max_overhead = 1,
		.stacks = {.on = true, .threshold_ns = v->o->stacks_ns},
	};
	struct collector_events events = {
		.arg = v, .armed = on_armed, .notice = on_notice, .ended = on_ended, .stack = on_stack,
	};
	int err;

	schema_opts__default(&opts.schema);
	err = collector__run(&opts, &pid, 1, &events, why);
	if (!err && v->err)
		err = reason__set(why, v->err, "the stacks could not be kept: %s", strerror(-v->err));
	if (!err && !v->known)
		err = reason__set(why, -ENODATA, "the frames of this Python are not known: there are no stacks of process %d",
				  (int)pid);
	return err;
}

static int check_output(const struct options *o, struct reason *why)
{
	if (o->output || o->folded || !isatty(STDOUT_FILENO))
		return 0;
	return reason__set(why, -EINVAL, "a picture is nothing to read on a terminal: give it a file (-o flame.svg), or "
			   "--folded");
}

static int write_out(const struct view *v, struct reason *why)
{
	const char *name = v->o->output ? v->o->output : "standard output";
	FILE *to = v->o->output ? fopen(v->o->output, "we") : stdout;
	char weight[HUMAN_SIZE];
	bool failed;

	if (!to)
		return reason__set(why, -errno, "--output: %s: %s", name, strerror(errno));
	if (v->o->folded)
		flame__fold(v->flame, 1000, to);
	else
		flame__write(v->flame, v->title, FLAME_NS, to);
	failed = fflush(to) || ferror(to);
	failed = (to != stdout && fclose(to)) || failed;
	if (failed)
		return reason__set(why, -EIO, "%s: %s", name, strerror(errno));
	log_info("%s of %s", human__us(weight, (double)flame__total(v->flame) / 1e3), weight_words(v->o->weight));
	if (!flame__total(v->flame))
		log_info("no hold or wait was long enough to be asked for its code (--stacks 0 asks every hold that made "
			 "somebody wait)");
	return 0;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct view v = {.o = o, .flame = flame__new()};
	struct reason why = {0};
	pid_t pid;
	int err = args__pid(argv[0], &pid, &why);

	err = err ? err : check_output(o, &why);
	if (err || !v.flame) {
		flame__free(v.flame);
		return options__fail(verb, EXIT_USAGE, &why);
	}
	err = caps__check(&why);
	err = err ? err : look(&v, pid, &why);
	err = err ? err : write_out(&v, &why);
	flame__free(v.flame);
	return err ? options__fail(verb, EXIT_FAILED, &why) : EXIT_OK;
}

static int check(const struct options *o, int args, struct reason *why)
{
	return o->no_stacks ? reason__set(why, -EINVAL, "--stacks off leaves nothing to draw") : 0;
}

const struct verb verb_flame = {
	.name = "flame",
	.args = "PID",
	.summary = "which code makes others wait, as a flame graph (SVG)",
	.about = "Looks at a running process for a while (10 s, or --duration) and draws the Python stacks in which the GIL was "
		 "held or waited for: one SVG file that any browser opens, a box as wide as its share, a click zooms. The weight "
		 "is the waiting that a stack caused in other threads (blame, the default), the time that it held the GIL, or "
		 "the time that it waited. Asked are holds and waits of at least --stacks. Needs the rights of attach.",
	.options = {OPTION_WEIGHT, OPTION_DURATION, OPTION_STACKS, OPTION_FOLDED, OPTION_OUTPUT},
	.min_args = 1,
	.max_args = 1,
	.missing = "which process? (gilscope flame PID; gilscope ls shows the Python processes here)",
	.check = check,
	.run = run,
};
