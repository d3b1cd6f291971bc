/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope flame: which Python code held the GIL, waited for it or made others wait, as a flame graph. Of what Redis has of a
 * process; one that nobody observes is looked at, as attach does, without a history. stack_flame.h makes the graph of either,
 * flame_svg.h draws it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/probes/ticks.h"
#include "collector/process/caps.h"
#include "args.h"
#include "cmds.h"
#include "human.h"
#include "kin.h"
#include "out.h"
#include "outfile.h"
#include "past.h"
#include "stack_flame.h"

#define DEFAULT_NS (10ull * 1000000000)
#define DEFAULT_SINCE "5m"

struct view {
	const struct options *o;
	struct stacks_sum stacks;
	struct outfile file; /* opened before anything is looked at: one that can't be written is no use after minutes */
	char who[320];
	int err;
	bool known; /* the frames of this Python are */
	bool looked; /* there were no probes: estimates, and nothing of code that waits */
};

/* ---- from looking ---- */

static void on_stack(void *arg, const struct collector_proc *proc, const struct stack_time *s)
{
	struct view *v = arg;

	v->err = stack_flame__collect(&v->stacks, s) ?: v->err;
}

static void on_ended(void *arg, const struct collector_proc *proc, const struct proc_sample *totals, enum collector_end how)
{
	struct view *v = arg;

	v->known = totals->code_known;
	v->looked = totals->mode == GIL_MODE_LOOK;
	snprintf(v->who, sizeof(v->who), "%s (pid %d)", proc->target->label, (int)proc->target->pid);
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
		.mode = v->o->mode == MODE_AUTO ? MODE_FULL : v->o->mode,
		.max_overhead = 1,
		.look_rate = (uint32_t)v->o->look_rate,
		.may_look = v->o->mode == MODE_AUTO && v->o->weight != WEIGHT_WAIT,
		.stacks = {.on = true, .threshold_ns = v->o->stacks_ns, .tick_ns = TICKS_FINE_NS},
	};
	struct collector_events events = {
		.arg = v, .armed = on_armed, .notice = on_notice, .ended = on_ended, .stack = on_stack,
	};
	uint64_t aside;
	int err = opts.mode == MODE_LOOK || opts.may_look ? 0 : caps__check(why);

	err = err ? err : probes__set_rights_aside(&aside, why);
	if (err)
		return err;
	schema_opts__default(&opts.schema);
	kin__mention(&pid, 1, "flame takes one PID");
	err = collector__run(&opts, &pid, 1, &events, why);
	caps__take_back(aside);
	err = kin__explain(pid, err, why);
	if (!err && v->err)
		err = reason__set(why, v->err, "the stacks could not be kept: %s", strerror(-v->err));
	if (!err && !v->known)
		err = reason__set(why, -ENODATA, "the frames of this Python are not known: there are no stacks of process %d",
				  (int)pid);
	return err;
}

/* ---- from Redis ---- */

static int read_past(struct view *v, struct past *p, struct reason *why)
{
	int err = query__stacks(p->q, &p->proc, &p->range, p->now_ms, &v->stacks, why);

	snprintf(v->who, sizeof(v->who), "%s (%s)", p->proc.label, p->proc.id);
	if (err)
		return err;
	if (!v->stacks.n)
		return reason__set(why, -ENODATA, "no stacks are stored of %s in that time%s", p->proc.id, p->proc.live ?
				   ": they come every 10 s, of long holds and waits (attach --stacks; --duration looks anew)" :
				   " (attach --stacks off stores none, --since goes further back)");
	log_info("%s of %s out of Redis, since %s %s", p->proc.live ? "what is stored" : "the last that is stored", v->who,
		 v->o->since ? v->o->since : DEFAULT_SINCE, p->proc.live ? "ago" : "before its end");
	return 0;
}

/* A look that was asked for by its length is one, whoever else observes. */
static int gather(struct view *v, const char *word, struct reason *why)
{
	struct past p = {.o = v->o};
	pid_t pid = 0;
	int err = v->o->duration_ns ? args__pid(word, &pid, why) :
				      past__open_or_pid(&p, v->o, word, DEFAULT_SINCE, &pid, why);

	err = err ?: pid ? look(v, pid, why) : read_past(v, &p, why);
	past__close(&p);
	return err;
}

/* ---- on paper ---- */

static int check_output(const struct options *o, struct reason *why)
{
	if (o->output || o->folded || !isatty(STDOUT_FILENO))
		return 0;
	return reason__set(why, -EINVAL, "a picture is nothing to read on a terminal: give it a file (-o flame.svg), or "
			   "--folded");
}

static int write_out(struct view *v, const struct flame *flame, struct reason *why)
{
	const char *words = stack_flame__words(v->o->weight);
	FILE *to = v->file.to ? v->file.to : stdout;
	char weight[HUMAN_SIZE], title[480];
	int err = 0;

	snprintf(title, sizeof(title), "%s: %s%s%s", v->who, words, v->o->no_threads ? ", all threads together" : "",
		 v->looked ? ", estimated (look mode)" : "");
	if (v->o->folded)
		flame__fold(flame, 1000, to);
	else
		flame__write(flame, title, FLAME_NS, to);
	if (v->file.to)
		err = outfile__keep(&v->file, why);
	else
		err = out__flush(to, "standard output", why);
	if (err || (!v->file.to && out__reader_left(to)))
		return err;
	log_info("%s%s of %s", v->looked ? "about " : "", human__us(weight, (double)flame__total(flame) / 1e3), words);
	if (!flame__total(flame) && v->looked)
		log_info("no look found a thread with the GIL%s", v->o->weight == WEIGHT_BLAME ? " while another waited" : "");
	else if (!flame__total(flame))
		log_info("no hold or wait was long enough to be asked for its code (--stacks 0 asks every hold that made "
			 "somebody wait)");
	return 0;
}

static int draw(struct view *v, struct reason *why)
{
	struct flame *flame = stack_flame__of(&v->stacks, v->o->weight, !v->o->no_threads);
	int err = flame ? write_out(v, flame, why) : reason__set(why, -ENOMEM, "not enough memory");

	flame__free(flame);
	return err;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct view v = {.o = o};
	struct reason why = {0};
	int err = check_output(o, &why);

	if (!err && o->output)
		err = outfile__open(&v.file, "--output", o->output, &why);
	err = err ? err : gather(&v, argv[0], &why);
	err = err ? err : draw(&v, &why);
	outfile__drop(&v.file);
	stacks_sum__free(&v.stacks);
	return err ? options__fail(verb, err == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &why) : EXIT_OK;
}

static int check(const struct options *o, int args, struct reason *why)
{
	if (o->duration_ns && (o->since || o->until))
		return reason__set(why, -EINVAL, "--duration looks at what comes, --since and --until at what is stored: one of "
				   "both");
	if (o->mode == MODE_LOOK && o->weight == WEIGHT_WAIT)
		return reason__set(why, -EINVAL, "looks tell whom code holds up, not which code waits: no --weight wait in "
				   "--mode look");
	return o->no_stacks ? reason__set(why, -EINVAL, "--stacks off leaves nothing to draw") : 0;
}

const struct verb verb_flame = {
	.name = "flame",
	.args = "PROCESS",
	.summary = "a flame graph (SVG) of the code that makes others wait",
	.about = "Draws the Python stacks in which the GIL was held or waited for, as one SVG file that any browser "
		 "opens: the width of a box is its share, a click zooms. --weight chooses the waiting that a stack caused "
		 "in other threads (blame, the default), the time that it held the GIL, or the time that it waited. "
		 "PROCESS is a PID, an id as shown by gilscope ls, or part of a program's name. If the process is being "
		 "observed, here or on another machine, or has ended, flame draws what Redis has of the last five minutes "
		 "(--since for more). If nobody observes it, flame attaches to it for ten seconds, which needs the rights "
		 "of attach; --duration attaches in any case. "
		 "Where probes can't be had, it looks (--mode look). Waits shorter than --stacks are not included.",
	.options = {OPTION_WEIGHT, OPTION_SINCE, OPTION_UNTIL, OPTION_DURATION, OPTION_MODE, OPTION_LOOK_RATE,
		    OPTION_STACKS, OPTION_FOLDED,
		    OPTION_NO_THREADS, OPTION_OUTPUT, OPTION_REDIS, OPTION_PASSWORD_FILE,
		    OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX},
	.min_args = 1,
	.max_args = 1,
	.missing = "which process? (gilscope flame PID; gilscope ls shows the Python processes here)",
	.check = check,
	.reads_processes = true,
	.run = run,
};
