/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope dump: the state now, with stacks. No probe is planted and nothing is stored: the process's memory and /proc are read
 * (snapshot.h), which needs the right to read them and no BPF.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/standstill.h"
#include "collector/base/text.h"
#include "collector/look/snapshot.h"
#include "args.h"
#include "cmds.h"
#include "code.h"
#include "human.h"
#include "inspect.h"
#include "kin.h"
#include "out.h"
#include "rows.h"
#include "standing.h"

#define SHARES_SHOWN 8

static const char *const states[] = {
	[SNAPSHOT_ELSEWHERE] = "elsewhere", [SNAPSHOT_HOLDS] = "holds", [SNAPSHOT_WAITS] = "waits",
};

/* ---- text ---- */

static size_t count(const struct snapshot *s, size_t gil, enum snapshot_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < s->threads_n; i++)
		n += s->threads[i].gil == gil && s->threads[i].state == state;
	return n;
}

static void print_stack(const struct snapshot_thread *t)
{
	char place[CODE_TEXT_SIZE];

	if (t->native[0])
		printf("    in %s\n", t->native);
	for (size_t i = 0; i < t->stack_n; i++)
		printf("    %s\n", code__place(t->stack[i].function, t->stack[i].file, t->stack[i].line, place));
	if (t->more)
		puts("    ...");
	if (!t->stack)
		puts("    (its frames could not be read)");
	else if (!t->stack_n)
		puts("    (no Python code)");
}

/* What a holder does; NULL: it is not the holder any more, or not known. */
static const struct task_state *doing(const struct snapshot *s, const struct snapshot_thread *t)
{
	const struct holder_look *look = &s->looks[t->gil].holder;

	return t->state == SNAPSHOT_HOLDS && look->kind == HOLDER_THREAD && look->tid == t->tid ? &look->task : NULL;
}

static void print_doing(const struct task_state *task)
{
	char words[TASK_DOING_SIZE];

	if (task && task_state__words(task, words)[0])
		printf(", %s", words);
}

static void print_thread(const struct snapshot *s, const struct snapshot_thread *t)
{
	char seen[HUMAN_SIZE];

	if (t->tid)
		printf("\n%s (%d) %s", t->name[0] ? t->name : "(no name)", (int)t->tid, states[t->state]);
	else
		printf("\n%s (gone) had it", t->name[0] ? t->name : "(no name)");
	if (t->seen_ns && t->tid)
		printf(", for %s at least", human__us(seen, (double)t->seen_ns / 1e3));
	print_doing(doing(s, t));
	puts(t->moving ? "; it runs, so its stack may be torn" : "");
	print_stack(t);
}

static int by_held(const void *a, const void *b)
{
	const struct snapshot_thread *x = *(const struct snapshot_thread *const *)a;
	const struct snapshot_thread *y = *(const struct snapshot_thread *const *)b;

	return x->held != y->held ? (x->held < y->held ? 1 : -1) : x->tid < y->tid ? -1 : x->tid > y->tid;
}

static double share(const struct snapshot *s, uint32_t looks)
{
	return s->again_looks ? (double)looks / s->again_looks : 0;
}

static void print_holders(const struct snapshot *s, const struct snapshot_thread *const *threads, size_t n)
{
	char text[HUMAN_SIZE];

	for (size_t i = 0; i < n && i < SHARES_SHOWN && threads[i]->held; i++)
		printf("%s %s %s", i ? "," : " (", threads[i]->name[0] ? threads[i]->name : "(no name)",
		       human__share(text, share(s, threads[i]->held)));
	puts(n > SHARES_SHOWN && threads[SHARES_SHOWN]->held ? ", ...)." : ").");
}

/* Of a GIL that nobody had at the last look: how often somebody has. */
static void print_shares(const struct snapshot *s, size_t gil)
{
	const struct snapshot_thread **threads = calloc(s->threads_n + 1, sizeof(*threads));
	char text[HUMAN_SIZE], span[HUMAN_SIZE];
	size_t n = 0;

	for (size_t i = 0; threads && i < s->threads_n; i++)
		if (s->threads[i].gil == gil)
			threads[n++] = &s->threads[i];
	printf("It was looked at %u times more within %s: ", s->again_looks, human__us(span, (double)s->again_ns / 1e3));
	if (s->looks[gil].held)
		printf("held at %s of them", human__share(text, share(s, s->looks[gil].held)));
	else
		puts("nobody ever had it.");
	if (threads && n)
		qsort(threads, n, sizeof(*threads), by_held);
	if (threads && n && threads[0]->held)
		print_holders(s, threads, n);
	else if (s->looks[gil].held)
		puts(", by threads that are new.");
	free(threads);
}

static void print_gil(const struct inspection *in, const struct snapshot *s, size_t gil)
{
	size_t waiters = count(s, gil, SNAPSHOT_WAITS), elsewhere = count(s, gil, SNAPSHOT_ELSEWHERE);
	char name[24];

	if (s->gils_n > 1)
		printf("\nGIL %s: ", rows__gil_name((uint32_t)in->gils[gil].interp_id, name, sizeof(name)));
	else
		printf("\nThe GIL ");
	if (holder_kind__is_gone(s->looks[gil].holder.kind))
		printf("is held by %s: nobody can take it; %zu thread%s wait%s for ever, %zu %s elsewhere.\n",
		       holder_kind__words(s->looks[gil].holder.kind), waiters, waiters == 1 ? "" : "s", waiters == 1 ? "s" : "",
		       elsewhere, elsewhere == 1 ? "is" : "are");
	else
		printf("%s; %zu thread%s wait%s for it, %zu %s elsewhere.\n",
		       count(s, gil, SNAPSHOT_HOLDS) ? "is held" : "is free", waiters, waiters == 1 ? "" : "s",
		       waiters == 1 ? "s" : "", elsewhere, elsewhere == 1 ? "is" : "are");
	if (s->looks[gil].again)
		print_shares(s, gil);
	if (s->looks[gil].collecting)
		printf("Garbage was being collected at %u of the %u looks that found it held.\n", s->looks[gil].collecting,
		       s->looks[gil].held_looks);
	for (int state = SNAPSHOT_HOLDS; state <= SNAPSHOT_WAITS; state++)
		for (size_t i = 0; i < s->threads_n; i++)
			if (s->threads[i].gil == gil && s->threads[i].state == (enum snapshot_state)state)
				print_thread(s, &s->threads[i]);
}

static void print_standstill(const struct snapshot *s)
{
	if (s->standstill == STANDSTILL_NONE)
		return;
	printf("\nThe process %s", standstill__words(s->standstill));
	if (s->tracer)
		printf(", process %d", (int)s->tracer);
	printf(": none of its threads runs. %s\n", standstill__remedy(s->standstill));
}

/* Of several Pythons in the process: which one this is. */
static void print_runtime(const struct target *t)
{
	char text[RUNTIMES_TEXT_SIZE];

	if (!runtimes__text(&t->runtimes, text)[0])
		return;
	fputs("Note: ", stdout);
	options__wrap(stdout, text, 6, 0);
}

static void print_text(const struct target *t, const struct inspection *in, const struct snapshot *s)
{
	char label[256];

	text__clean(label, sizeof(label), t->label, strlen(t->label));
	printf("%s (pid %d), CPython %s\n", label, (int)t->pid, in->python.text);
	print_runtime(t);
	if (!in->gil_enabled) {
		options__wrap(stdout, NO_GIL_SAYS, 0, 0);
		return;
	}
	print_standstill(s);
	for (size_t g = 0; g < s->gils_n; g++)
		print_gil(in, s, g);
}

/* ---- JSON ---- */

static json_t *stack_json(const struct snapshot_thread *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->stack_n; i++)
		json_array_append_new(list, json_pack("{ss ss sI}", "function", t->stack[i].function, "file", t->stack[i].file,
						      "line", (json_int_t)t->stack[i].line));
	return list;
}

static json_t *thread_json(const struct inspection *in, const struct snapshot *s, const struct snapshot_thread *t)
{
	json_t *json = json_pack("{si ss ss sI sI}", "tid", (int)t->tid, "name", t->name, "state", states[t->state], "seen",
				 (json_int_t)(t->seen_ns / 1000), "g", (json_int_t)in->gils[t->gil].interp_id);

	if (json && t->stack)
		json_object_update_new(json, json_pack("{so sb sb}", "stack", stack_json(t), "more", (int)t->more, "moving",
						       (int)t->moving));
	if (json && s->looks[t->gil].again)
		json_object_set_new(json, "held", out__json_num(share(s, t->held)));
	if (json && t->native[0])
		json_object_set_new(json, "native", json_string(t->native));
	if (json && doing(s, t))
		json_object_set_new(json, "task", standing__task_json(doing(s, t)));
	return json;
}

static json_t *gil_json(const struct inspection *in, const struct snapshot *s, size_t gil)
{
	json_t *json = json_pack("{sI}", "g", (json_int_t)in->gils[gil].interp_id);

	if (json && s->looks[gil].holder.kind != HOLDER_UNKNOWN)
		json_object_set_new(json, "held_by", json_string(holder_kind__name(s->looks[gil].holder.kind)));
	if (json && s->looks[gil].again)
		json_object_update_new(json, json_pack("{sI sI so}", "looks", (json_int_t)s->again_looks, "us",
						       (json_int_t)(s->again_ns / 1000), "held",
						       out__json_num(share(s, s->looks[gil].held))));
	if (json && s->looks[gil].held_looks)
		json_object_set_new(json, "collecting", out__json_num((double)s->looks[gil].collecting /
								      s->looks[gil].held_looks));
	return json;
}

static void print_json(const struct target *t, const struct inspection *in, const struct snapshot *s)
{
	json_t *threads = json_array(), *gils = json_array(), *json;
	char label[256], runtime[RUNTIMES_TEXT_SIZE];

	for (size_t g = 0; g < s->gils_n; g++)
		json_array_append_new(gils, gil_json(in, s, g));
	text__clean(label, sizeof(label), t->label, strlen(t->label));
	for (size_t i = 0; i < s->threads_n; i++)
		json_array_append_new(threads, thread_json(in, s, &s->threads[i]));
	json = json_pack("{si ss ss ss so so}", "pid", (int)t->pid, "label", label, "python", in->python.text, "gil",
			 inspect__gil_kind(in), "gils", gils, "threads", threads);
	if (json && s->standstill)
		json_object_set_new(json, "standstill", json_string(standstill__name(s->standstill)));
	if (json && s->tracer)
		json_object_set_new(json, "tracer", json_integer(s->tracer));
	if (json && runtimes__text(&t->runtimes, runtime)[0])
		json_object_set_new(json, "runtime", json_string(runtime));
	out__dump(json, stdout, true);
}

/* ---- the command ---- */

static int take(const struct target *t, struct inspection *in, struct snapshot *s, struct reason *why)
{
	int err;

	inspect__begin(in, t, false);
	if (in->reached < INSPECT_DONE) {
		*why = in->why;
		return in->err;
	}
	if (!in->gil_enabled)
		return 0;
	if (!in->runtime)
		return reason__set(why, -ENOTSUP, "process %d does not say where its interpreter's state is", (int)t->pid);
	err = snapshot__take(s, t->pid, in->runtime + t->image.bias, &in->offsets, in->gils, (size_t)in->gils_n);
	if (err == -ENOTSUP)
		return reason__set(why, err, "the threads of CPython %s can't be read: this layout of objects is not known",
				   in->python.text);
	return err ? reason__set(why, err, "process %d can't be looked at: %s", (int)t->pid, strerror(-err)) : 0;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct inspection in = {0};
	struct snapshot s = {0};
	struct reason why = {0};
	struct target *t = NULL;
	pid_t pid;
	int err = args__pid(argv[0], &pid, &why);

	if (err)
		return options__fail(verb, EXIT_USAGE, &why);
	err = kin__explain(pid, target__open(pid, &t, &why), &why);
	err = err ? err : take(t, &in, &s, &why);
	if (!err)
		(o->format == FORMAT_JSON ? print_json : print_text)(t, &in, &s);
	snapshot__free(&s);
	inspect__end(&in);
	target__close(t);
	return err ? options__fail(verb, EXIT_FAILED, &why) : EXIT_OK;
}

const struct verb verb_dump = {
	.name = "dump",
	.args = "PID",
	.summary = "right now: who holds the GIL, who waits for it, with Python stacks",
	.about = "Shows the threads of a process that hold the GIL or wait for it at this moment, each with its Python "
		 "stack, innermost function first. dump looks at the process ten times within a fifth of a second (0.8 s "
		 "if a thread is never seen at rest): what did not change has lasted at least that long. If nobody holds "
		 "the GIL at the last look, dump goes on looking for 50 ms and shows the holder that it finds, and how "
		 "often it found one. It plants nothing; reading the memory needs root, CAP_SYS_PTRACE, or the same user.",
	.options = {OPTION_JSON},
	.min_args = 1,
	.max_args = 1,
	.missing = "which process? (gilscope dump PID; gilscope ls shows the Python processes here)",
	.reads_processes = true,
	.run = run,
};
