/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See verdict.h. The rules, one function each, worst pattern first; all thresholds stand here.
 *
 * Why 20 ms is long: from its fifth millisecond on a waiter asks for the GIL (the switch interval), and bytecode gives it up
 * at its next check, microseconds later. A hold of four intervals during which others wait has run no bytecode: it was C code,
 * asleep or not, or it had no CPU. How much of each is known of a thread's holds together: where it lacked a CPU for much of
 * them, C code is not claimed.
 */
#include "verdict_inside.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "overs.h"
#include "text.h"

#define SWITCH_US 5000.0 /* sys.getswitchinterval()'s default */
#define LONG_US (4 * SWITCH_US)
#define LATE_US SWITCH_US /* where it is known that the holder goes on when it is asked: from there on somebody may ask */
#define LONG_BLAME 0.02 /* of the time: what a long hold must have made others wait */
#define BUSY 0.9
#define SOME_WAITERS 0.1
#define JAMMED_PARTLY 0.05     /* of the time */
#define WORKER_HOLD 0.1        /* of the time: who holds that much and is forced to let go computes */
#define SMALL_WORKER_HOLD 0.01 /* where there are many, each has little: they count if together ... */
#define SMALL_WORKERS_HOLD 0.5 /* ... they have that much */
#define FORCED_SHARE 0.2       /* of a computing thread's releases are asked for by others */
#define CONVOY_WAITED 0.3      /* of a convoyed thread's acquires wait */
#define CONVOY_RATE 5.0        /* acquires per second */
#define CONVOY_SHORT_US 1000.0 /* its holds are shorter than that, on average and mostly */
/*
 * What it pays per wait, on average and mostly. Who comes while another asks already pays the rest of that one's switch
 * interval: two threads that come in turn 2 ms apart wait 3 ms each (measured), many threads half an interval.
 */
#define CONVOY_MEAN_US (0.4 * SWITCH_US)
#define CONVOY_WAIT_US (0.2 * SWITCH_US)
#define OFF_CPU 0.05        /* of the time held, or of the time and all waiting waited, while the holder did not run */
#define OFF_CPU_SAID 0.01   /* of the holds: that much is mentioned */
#define MAY_BE_STARVED 0.25 /* of a thread's holds without a CPU: its longest one may be of that kind, ... */
#define IS_STARVED 0.5      /* ... and here is taken to be, unless much is left without that */
#define HANDOVER_SHARE 0.25 /* of the waiting */
#define HANDOVER_WAITERS 0.2
#define FREE_QUEUE 0.5 /* queueing for a GIL that is free, or whose holder has no CPU, counts from here on, ... */
#define GAIN_WORTH 1.1 /* ... if that much could be gained; else the CPUs are the limit */
#define QUEUE 8.0
#define GC_TIME 0.05           /* of the time: garbage collection is a finding from here on, ... */
#define GC_WAITING 0.02        /* ... or where others waited for it for so much of it, ... */
#define GC_SURE 2.0            /* ... standard errors of what is sampled left out */
#define GC_EXPLAINS 0.5        /* of a thread's holds: what is long of them is that */
#define UNSEEN_SAID 0.05       /* of the holds: less of the unknown changes nothing */
#define COMPUTES 0.3           /* of what it held it used a CPU, or wanted one, or else it does not compute */
#define STOOD_STILL 0.9        /* of the time: nothing else can be said then */
#define STOOD_STILL_PARTLY 0.05
#define ENOUGH_US 200000.0 /* to say anything */
#define GAIN_SAID 1.05     /* less is next to nothing */
#define SOME_HELD 0.1          /* of the time */
#define IDLE_CPU 0.01      /* of a CPU: a process that uses less does next to nothing */
#define SOME_CPU 0.1       /* of a CPU, without the GIL: is said to be part of where the time goes */

static double share(const struct verdict_input *in, double us)
{
	return us / in->observed_us;
}

static double waiters(const struct verdict_input *in)
{
	return share(in, in->all.wait_us);
}

/*
 * How many of them wait because somebody has it: not while it is free, nor for a holder that waits for a CPU or is stopped.
 * Where that is not told apart (light mode): all.
 */
static double waiters_for_holders(const struct verdict_input *in)
{
	double for_cpu = isnan(in->all.wait_preempted) ? 0 : in->all.wait_preempted + in->all.wait_stopped;

	return share(in, in->all.wait_us - (isnan(in->handover_us) ? 0 : in->handover_us) - for_cpu);
}

/* The share of holds of which it is not known whether the holder ran. */
static double unseen(const struct verdict_load *t)
{
	return t->hold_unseen > 0 && t->hold_us > 0 ? t->hold_unseen / t->hold_us : 0;
}

/* Whether what was held can have been spent computing: the process had, or wanted, CPUs for that. */
static bool may_compute(const struct verdict_input *in, double held_us)
{
	double wanted = in->all.hold_preempted > 0 ? in->all.hold_preempted : 0;

	return isnan(in->cpu_us) || in->cpu_us + wanted >= COMPUTES * held_us;
}

/* CPUs' worth of work that the process does without the GIL: native code that released it, system calls. Not known: NAN. */
static double without_gil(const struct verdict_input *in)
{
	const struct verdict_load *all = &in->all;
	double off = all->hold_blocked + all->hold_preempted + all->hold_stopped;

	if (isnan(in->cpu_us) || isnan(all->hold_us) || unseen(all) >= UNSEEN_SAID)
		return NAN;
	return fmax(0, share(in, in->cpu_us - (all->hold_us - (isnan(off) ? 0 : off))));
}

/* ---- words ---- */

const char *verdict__ms(char buf[32], double us)
{
	if (us < 1000)
		snprintf(buf, 32, "%.0f us", us);
	else if (us < 1000000)
		snprintf(buf, 32, "%.3g ms", us / 1000);
	else
		snprintf(buf, 32, "%.3g s", us / 1000000);
	return buf;
}

struct verdict_finding *verdict__claim(struct verdict *v, enum verdict_pattern pattern, size_t thread)
{
	struct verdict_finding *f = &v->findings[v->findings_n++];

	f->pattern = pattern;
	f->thread = thread;
	return f;
}

static void say_others(char *text, size_t size, size_t others, const char *doing)
{
	if (others)
		text__append(text, size, " %zu other thread%s %s.", others, others == 1 ? "" : "s", doing);
}

/* Which function it was, if that is known, and no other finding says it. */
static void say_code(const struct verdict *v, struct verdict_finding *f, const struct verdict_input *in)
{
	const struct verdict_code *code = in->codes ? &in->codes[f->thread] : NULL;
	char a[32];

	for (const struct verdict_finding *other = v->findings; other < f; other++)
		if (other->thread == f->thread && other->pattern != PATTERN_STARVED_HOLDER)
			return;
	if (code && code->place && code->us > 0)
		text__append(f->evidence, sizeof(f->evidence), " %s's worst place is %s: others waited %s for that.",
			     in->threads[f->thread].name, code->place, verdict__ms(a, code->us));
}

#define SAY(text, ...) text__append(text, sizeof(text), __VA_ARGS__)

/* ---- who is to blame ---- */

static double blame_of(const struct verdict_input *in, size_t holder)
{
	double us = 0;

	for (size_t i = 0; i < in->pairs_n; i++)
		if (in->pairs[i].holder == holder && in->pairs[i].victim != holder)
			us += in->pairs[i].us;
	return us;
}

/* The thread that most of `holder`'s blame is on, SIZE_MAX: nobody. */
static size_t worst_victim(const struct verdict_input *in, size_t holder)
{
	const struct verdict_pair *worst = NULL;

	for (size_t i = 0; i < in->pairs_n; i++)
		if (in->pairs[i].holder == holder && in->pairs[i].victim != holder &&
		    (!worst || in->pairs[i].us > worst->us))
			worst = &in->pairs[i];
	return worst ? worst->victim : SIZE_MAX;
}

/* ---- the patterns ---- */

/* Shares of a thread's holds; not known: NAN. */
static double asleep(const struct verdict_load *t)
{
	return t->hold_blocked / t->hold_us;
}

static double starved(const struct verdict_load *t)
{
	return t->hold_preempted / t->hold_us;
}

static double stopped(const struct verdict_load *t)
{
	return t->hold_stopped / t->hold_us;
}

/* It would have run on, had it been let. */
static double kept_off(const struct verdict_load *t)
{
	return starved(t) + stopped(t);
}

/*
 * Bytecode lets go when it is asked, but without a CPU it does so late. What is left of its longest holds on a CPU tells; where
 * it lacked one for most of its holds, the longest ones lacked it for even more, so twice as much must be left.
 */
static bool may_be_bytecode(const struct verdict_load *t)
{
	double left_us = t->hold_p99 * (1 - kept_off(t));

	if (overs__kind(t->over_n, t->over_late) == LETS_GO_LATE)
		return false;
	if (kept_off(t) >= IS_STARVED)
		return !(left_us >= 2 * LONG_US);
	return kept_off(t) >= MAY_BE_STARVED && t->forced >= FORCED_SHARE * t->n && !(left_us >= LONG_US);
}

/* Its long holds have a name of their own. */
static bool collects(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];

	return (t->gc_us > 0 && t->gc_us >= GC_EXPLAINS * t->hold_us) || (in->codes && in->codes[thread].gc);
}

static bool holds_long(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];
	double long_us = overs__kind(t->over_n, t->over_late) == LETS_GO_LATE ? LATE_US : LONG_US;
	size_t victim = worst_victim(in, thread);

	return t->hold_max - verdict_stuck__excused_us(in) >= long_us && victim != SIZE_MAX &&
	       share(in, blame_of(in, thread)) >= LONG_BLAME && in->threads[victim].wait_max >= long_us && !may_be_bytecode(t) &&
	       !collects(in, thread);
}

/* What it did when it was asked to let go. */
static void say_over(const struct verdict_load *t, char *text, size_t size)
{
	char a[32], b[32];

	if (overs__kind(t->over_n, t->over_late) == LETS_GO_LATE)
		text__append(text, size, " Asked to let go %.0f times, it went on for %s on average, %s at most.", t->over_n,
			     verdict__ms(a, t->over_us / t->over_n), verdict__ms(b, t->over_max));
}

/* What a long hold was, as far as that is known of all holds of the thread. */
static void say_kind(const struct verdict_input *in, const struct verdict_load *t, char *text, size_t size)
{
	if (unseen(t) >= 0.5)
		text__append(text, size,
			     "C code that does not let go, or a holder that slept or had no CPU: which is not known%s",
			     may_compute(in, t->hold_us) ? "." : ", but the process had no CPU time for the first.");
	else if (asleep(t) >= 0.5)
		text__append(text, size, "a call that sleeps with the GIL, for %.0f %% of the time that it had it.",
			     100 * asleep(t));
	else if (kept_off(t) < MAY_BE_STARVED)
		text__append(text, size, "C code that does not let go.");
	else if (stopped(t) >= starved(t))
		text__append(text, size,
			     "C code that does not let go, or a holder that was stopped: it was for %.0f %% of its holds.",
			     100 * stopped(t));
	else if (starved(t) >= MAY_BE_STARVED)
		text__append(text, size,
			     "C code that does not let go, or a holder without a CPU: it lacked one for %.0f %% of its holds.",
			     100 * starved(t));
	else
		text__append(text, size, "C code that does not let go, or a holder that slept or had no CPU.");
}

static bool knows_call(const struct verdict_input *in, size_t thread)
{
	return in->codes && in->codes[thread].native;
}

static void long_holds(const struct verdict_input *in, struct verdict *v)
{
	size_t n = 0, worst = 0, victim;
	const struct verdict_load *t;
	struct verdict_finding *f;
	char a[32], b[32];

	for (size_t i = 0; i < in->threads_n; i++)
		if (!verdict_stuck__explains(v, i) && holds_long(in, i) && (!n++ || blame_of(in, i) > blame_of(in, worst)))
			worst = i;
	if (!n)
		return;
	t = &in->threads[worst];
	victim = worst_victim(in, worst);
	f = verdict__claim(v, PATTERN_LONG_HOLD, worst);
	SAY(f->evidence, "%s kept the GIL for up to %s at a stretch", t->name, verdict__ms(a, t->hold_max));
	if (t->hold_p99 >= LONG_US)
		SAY(f->evidence, " (p99 %s)", verdict__ms(a, t->hold_p99));
	SAY(f->evidence,
	    " and so made others wait %s in all, %s the most, for up to %s at a time. Python code that runs gives it "
	    "up 5 ms after somebody asks: this is ",
	    verdict__ms(a, blame_of(in, worst)), in->threads[victim].name, verdict__ms(b, in->threads[victim].wait_max));
	say_kind(in, t, f->evidence, sizeof(f->evidence));
	say_over(t, f->evidence, sizeof(f->evidence));
	say_code(v, f, in);
	say_others(f->evidence, sizeof(f->evidence), n - 1, "did the same");
	if (starved(t) >= MAY_BE_STARVED)
		SAY(f->remedy, "See first that it gets a CPU. If it stays so: ");
	if (!knows_call(in, worst))
		SAY(f->remedy, "Find the call (gdb, perf, or py-spy --native while it lasts). ");
	SAY(f->remedy,
	    "An extension can release the GIL around it (Py_BEGIN_ALLOW_THREADS, \"with nogil\"). What never does, as json "
	    "and re, wants smaller pieces, or a process of its own.");
}

/* The thread with most of that kind of time, SIZE_MAX: nobody has any. */
static size_t worst_of(const struct verdict_input *in, double (*us_of)(const struct verdict_load *t))
{
	size_t worst = SIZE_MAX;

	for (size_t i = 0; i < in->threads_n; i++)
		if (us_of(&in->threads[i]) > 0 &&
		    (worst == SIZE_MAX || us_of(&in->threads[i]) > us_of(&in->threads[worst])))
			worst = i;
	return worst;
}

static double blocked_us(const struct verdict_load *t)
{
	return t->hold_blocked;
}

static double preempted_us(const struct verdict_load *t)
{
	return t->hold_preempted;
}

static double stopped_us(const struct verdict_load *t)
{
	return t->hold_stopped;
}

static double gc_us(const struct verdict_load *t)
{
	return t->gc_us;
}

/* How many collections there were, where that is known. */
static void say_collections(const struct verdict_input *in, char *text, size_t size)
{
	if (isnan(in->gc_n[0] + in->gc_n[1] + in->gc_n[2]))
		return;
	text__append(text, size, ", in %.0f full collection%s and %.0f of the young generations", in->gc_n[2],
		     in->gc_n[2] == 1 ? "" : "s", in->gc_n[0] + in->gc_n[1]);
}

static void say_longest(const struct verdict_input *in, char *text, size_t size)
{
	char a[32];

	if (in->gc_max_us > 0)
		text__append(text, size, ", the longest %s%s", isnan(in->gc_err_us) ? "" : "at least ",
			     verdict__ms(a, in->gc_max_us));
}

/* What of the times of garbage collection is sure. */
static double surely(const struct verdict_input *in, double us)
{
	return us - (isnan(in->gc_err_us) ? 0 : GC_SURE * in->gc_err_us);
}

static void garbage(const struct verdict_input *in, struct verdict *v)
{
	size_t worst = worst_of(in, gc_us);
	struct verdict_finding *f;
	char a[32], b[32];

	if (!(surely(in, in->all.gc_us) >= GC_TIME * in->observed_us) &&
	    !(surely(in, in->gc_wait_us) >= GC_WAITING * in->observed_us))
		return;
	f = verdict__claim(v, PATTERN_GARBAGE, worst);
	SAY(f->evidence, "Garbage collection held the GIL for %s (%.0f %% of the time", verdict__ms(a, in->all.gc_us),
	    100 * share(in, in->all.gc_us));
	if (in->all.hold_us > 0)
		SAY(f->evidence, ", %.0f %% of all that it was held", 100 * in->all.gc_us / in->all.hold_us);
	SAY(f->evidence, ")");
	say_collections(in, f->evidence, sizeof(f->evidence));
	say_longest(in, f->evidence, sizeof(f->evidence));
	if (in->gc_wait_us > 0)
		SAY(f->evidence, "; others waited %s meanwhile", verdict__ms(b, in->gc_wait_us));
	SAY(f->evidence, ".");
	if (worst != SIZE_MAX) {
		SAY(f->evidence, " %s ran the most of it, %s: a collection is run by whoever happens to make the object that "
		    "is one too many.", in->threads[worst].name, verdict__ms(b, in->threads[worst].gc_us));
		say_code(v, f, in);
	}
	if (!isnan(in->gc_err_us))
		SAY(f->evidence, " These times are sampled, give or take %s.", verdict__ms(b, in->gc_err_us));
	SAY(f->remedy, "gc.freeze() once all is loaded that stays takes it out of every collection. gc.set_threshold() with "
	    "larger numbers makes them rarer; gc.disable() around what is urgent, and gc.collect() where a pause hurts nobody, "
	    "moves them. What has no cycles is freed without.");
}

/* Each of many who wait adds to the sum, so that little becomes much of the time: it must be a share of the waiting, too. */
static bool is_much(const struct verdict_input *in, double hold_us, double wait_us)
{
	return share(in, hold_us) >= OFF_CPU || (share(in, wait_us) >= OFF_CPU && wait_us >= OFF_CPU * in->all.wait_us);
}

static void say_who_waited(const struct verdict_input *in, size_t holder, double wait_us, char *text, size_t size)
{
	size_t victim = holder == SIZE_MAX ? SIZE_MAX : worst_victim(in, holder);
	char a[32];

	if (!(wait_us >= 1) || victim == SIZE_MAX)
		text__append(text, size, " Nobody else wanted it meanwhile.");
	else
		text__append(text, size, " Others waited %s for that, %s the most.", verdict__ms(a, wait_us),
			     in->threads[victim].name);
}

/* What most of it was in, where that is known. */
static const struct why *slept_in(const struct verdict_input *in, char *text, size_t size)
{
	const struct why *most = in->whys ? whys__most(in->whys, false) : NULL;
	char words[WHY_WORDS_SIZE], a[32];

	if (most)
		text__append(text, size, " They slept in %s for %s of that.", why__words(most, words),
			     verdict__ms(a, (double)most->ns / 1e3));
	return most;
}

static void advise_on_sleep(const struct verdict_input *in, const struct why *most, struct verdict_finding *f)
{
	if (most && most->kind == GIL_WHY_FAULT) {
		SAY(f->remedy, "The program's memory is not there when it is touched: memory is short, or a file that is mapped "
			       "comes from slow storage.");
		return;
	}
	SAY(f->remedy, "This is a bug of an extension: it blocks (I/O, a lock, a sleep) without releasing the GIL. ");
	if (!knows_call(in, f->thread))
		SAY(f->remedy, "Find the call (gdb, or py-spy dump --native while it lasts). ");
	SAY(f->remedy, "Have it release the GIL around the call (Py_BEGIN_ALLOW_THREADS; ctypes.CDLL instead of PyDLL).%s",
	    most ? "" : " If it is page faults, memory is short.");
}

static void blocked_holds(const struct verdict_input *in, struct verdict *v)
{
	double stopped = in->all.hold_stopped > 0 ? in->all.hold_stopped : 0;
	double excused = fmax(0, verdict_stuck__excused_us(in) - stopped);
	size_t worst = worst_of(in, blocked_us);
	struct verdict_finding *f;
	char a[32], b[32];

	if (worst == SIZE_MAX || verdict_stuck__explains(v, worst) ||
	    !is_much(in, in->all.hold_blocked - excused, in->all.wait_blocked))
		return;
	f = verdict__claim(v, PATTERN_BLOCKED_HOLD, worst);
	SAY(f->evidence,
	    "The GIL was held for %s (%.0f %% of the time) by threads that slept in a system call or a page fault: by %s for "
	    "%s.",
	    verdict__ms(a, in->all.hold_blocked), 100 * share(in, in->all.hold_blocked), in->threads[worst].name,
	    verdict__ms(b, blocked_us(&in->threads[worst])));
	advise_on_sleep(in, slept_in(in, f->evidence, sizeof(f->evidence)), f);
	say_who_waited(in, worst, in->all.wait_blocked, f->evidence, sizeof(f->evidence));
	say_code(v, f, in);
}

/* "py-spy (PID 4711)": who stops holders the most, or "something". Whether it is a tracer. */
static bool who_stops(const struct verdict_input *in, char words[WHYS_WORDS_SIZE])
{
	const struct why *most = in->whys ? whys__most(in->whys, true) : NULL;
	char one[WHY_WORDS_SIZE];

	if (most && most->kind == GIL_WHY_TRACER)
		return whys__tracers(in->whys, words)[0] != '\0';
	snprintf(words, WHYS_WORDS_SIZE, "%s", most ? why__words(most, one) : "Something");
	words[0] = (char)toupper((unsigned char)words[0]);
	return false;
}

/* What a tracer does to the program is not the program's doing; and two profilers at once are one too many. */
static void stopped_holders(const struct verdict_input *in, struct verdict *v)
{
	size_t worst = worst_of(in, stopped_us);
	char who[WHYS_WORDS_SIZE], a[32];
	struct verdict_finding *f;

	if (worst == SIZE_MAX || verdict_stuck__is_claimed(v, PATTERN_STANDSTILL) ||
	    !is_much(in, in->all.hold_stopped, in->all.wait_stopped))
		return;
	f = verdict__claim(v, PATTERN_STOPPED_HOLDER, worst);
	if (who_stops(in, who))
		SAY(f->remedy, "Two profilers or debuggers at once disturb each other: what it does to the program is in all "
			       "numbers here, as holds and waits that the program alone would not have. Look with one at a time; "
			       "py-spy --nonblocking does not stop the program.");
	else
		SAY(f->remedy, "Find who stops the process (SIGSTOP, a shell's job control, the freezer of its control group).");
	SAY(f->evidence, "%s stopped the holder for %s (%.0f %% of the time), most of it %s.", who,
	    verdict__ms(a, in->all.hold_stopped), 100 * share(in, in->all.hold_stopped), in->threads[worst].name);
	say_who_waited(in, worst, in->all.wait_stopped, f->evidence, sizeof(f->evidence));
}

static void starved_holders(const struct verdict_input *in, struct verdict *v)
{
	size_t worst = worst_of(in, preempted_us);
	struct verdict_finding *f;
	char a[32];

	if (worst == SIZE_MAX || !is_much(in, in->all.hold_preempted, in->all.wait_preempted))
		return;
	f = verdict__claim(v, PATTERN_STARVED_HOLDER, worst);
	SAY(f->evidence,
	    "The GIL was held for %s (%.0f %% of the time) by threads that could have run but had no CPU, most of it by %s.",
	    verdict__ms(a, in->all.hold_preempted), 100 * share(in, in->all.hold_preempted), in->threads[worst].name);
	say_who_waited(in, worst, in->all.wait_preempted, f->evidence, sizeof(f->evidence));
	SAY(f->remedy, "Too few CPUs: look at the machine's load and at the cgroup's limit (nr_throttled in its cpu.stat). "
		       "Give the process more CPU, or take load away; it may run on %d.", in->cpus);
}

struct workers {
	size_t n, heaviest;
	double held_us, forced;
};

/* Who holds at least `floor` of the time and is made to let go by others. */
static struct workers workers_above(const struct verdict_input *in, double floor)
{
	struct workers w = {0};

	for (size_t i = 0; i < in->threads_n; i++) {
		const struct verdict_load *t = &in->threads[i];

		if (!(share(in, t->hold_us) >= floor) || !(t->forced >= FORCED_SHARE * t->n) || t->forced < 1)
			continue;
		if (!w.n++ || t->hold_us > in->threads[w.heaviest].hold_us)
			w.heaviest = i;
		w.held_us += t->hold_us;
		w.forced += t->forced;
	}
	return w;
}

static void cpu_sharing(const struct verdict_input *in, struct verdict *v)
{
	struct workers w = workers_above(in, WORKER_HOLD), small = workers_above(in, SMALL_WORKER_HOLD);
	struct verdict_finding *f;

	if (w.n < 2 && share(in, small.held_us) >= SMALL_WORKERS_HOLD &&
	    in->threads[small.heaviest].hold_us < small.held_us / 2)
		w = small;
	if (w.n < 2 || !(waiters(in) >= SOME_WAITERS) || !may_compute(in, w.held_us - verdict_stuck__excused_us(in)))
		return;
	f = verdict__claim(v, PATTERN_CPU_SHARING, w.heaviest);
	SAY(f->evidence,
	    "%zu threads compute and share one GIL: together they held it %.1f %% of the time and had it taken away %.0f "
	    "times a second.",
	    w.n, 100 * share(in, w.held_us), w.forced / (in->observed_us / 1e6));
	say_code(v, f, in);
	SAY(f->remedy, "More threads do not make this faster. Use processes (multiprocessing, a prefork server), "
		       "native code that "
		       "releases the GIL (numpy, compiled extensions), or a free-threaded Python.");
}

/*
 * Bytecode lets go soon after it is asked: some switch intervals later even if it lacks a CPU for a moment, for each of those
 * that queue. Who waits for longer waits for C code, which nobody can take the GIL from, or for somebody without a CPU. While
 * the GIL is free that is nobody's doing.
 */
static bool lets_go_when_asked(const struct verdict_input *in, const struct verdict_load *holder,
			       const struct verdict_load *victim)
{
	double handover = in->handover_us > 0 ? in->handover_us / in->all.wait_us : 0;

	return holder->forced >= FORCED_SHARE * holder->n && overs__kind(holder->over_n, holder->over_late) != LETS_GO_LATE &&
	       (victim->wait_p50 * (1 - handover) < LONG_US * fmax(1, waiters(in)) || kept_off(holder) >= MAY_BE_STARVED);
}

/* Who computes while `victim` waits: it is taken from, every switch interval. */
static size_t taken_from(const struct verdict_input *in, size_t victim)
{
	size_t best = SIZE_MAX;
	double most = 0;

	for (size_t i = 0; i < in->pairs_n; i++) {
		const struct verdict_pair *p = &in->pairs[i];

		if (p->victim != victim || p->holder == victim || p->us <= most ||
		    !lets_go_when_asked(in, &in->threads[p->holder], &in->threads[victim]))
			continue;
		most = p->us;
		best = p->holder;
	}
	return best;
}

static bool is_convoyed(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];

	return t->n >= CONVOY_RATE * in->observed_us / 1e6 && t->c >= CONVOY_WAITED * t->n &&
	       t->hold_us <= CONVOY_SHORT_US * t->n && t->hold_p50 <= CONVOY_SHORT_US &&
	       t->wait_us >= CONVOY_MEAN_US * t->c && t->wait_p50 >= CONVOY_WAIT_US && taken_from(in, thread) != SIZE_MAX;
}

static void convoys(const struct verdict_input *in, struct verdict *v)
{
	size_t n = 0, worst = 0;
	const struct verdict_load *t;
	struct verdict_finding *f;
	char a[32], b[32];

	for (size_t i = 0; i < in->threads_n; i++)
		if (is_convoyed(in, i) && (!n++ || in->threads[i].wait_us > in->threads[worst].wait_us))
			worst = i;
	if (!n)
		return;
	t = &in->threads[worst];
	f = verdict__claim(v, PATTERN_CONVOY, worst);
	SAY(f->evidence,
	    "%s needs the GIL only for moments (half of its holds are below %s), but %.0f %% of its takes had to "
	    "wait, "
	    "half of them %s or longer: each time until %s is made to let go.",
	    t->name, verdict__ms(a, t->hold_p50), 100 * t->c / t->n, verdict__ms(b, t->wait_p50),
	    in->threads[taken_from(in, worst)].name);
	say_others(f->evidence, sizeof(f->evidence), n - 1, n == 2 ? "pays the same" : "pay the same");
	SAY(f->remedy, "Keep what computes out of the process that serves. A shorter sys.setswitchinterval() (say "
		       "0.0005) trades "
		       "throughput for latency; fewer releases per request (larger reads, batching) help too.");
}

static void slow_handover(const struct verdict_input *in, struct verdict *v)
{
	double part = in->handover_us / in->all.wait_us;
	struct verdict_finding *f;
	char a[32];

	if (!(waiters(in) >= HANDOVER_WAITERS) || !(part >= HANDOVER_SHARE) ||
	    verdict_stuck__still_share(in) >= STOOD_STILL_PARTLY)
		return;
	f = verdict__claim(v, PATTERN_HANDOVER, SIZE_MAX);
	SAY(f->evidence,
	    "During %.0f %% of the waiting (%s) nobody held the GIL: it was free, and the next thread was still "
	    "being woken "
	    "or had no CPU.",
	    100 * part, verdict__ms(a, in->handover_us));
	SAY(f->remedy, "Many short releases cost a wake-up each: fewer threads or larger pieces of I/O per call. If "
		       "the machine's CPUs "
		       "are all busy, or a cgroup limits them, give it more.");
}

static void long_queue(const struct verdict_input *in, struct verdict *v)
{
	struct verdict_finding *f;

	if (!(waiters(in) >= QUEUE))
		return;
	f = verdict__claim(v, PATTERN_MANY_THREADS, SIZE_MAX);
	SAY(f->evidence, "%.1f threads queue for the GIL on average: each has to let all others go first.",
	    waiters(in));
	SAY(f->remedy, "A pool much smaller than %zu threads would do the same work with less waiting per task.",
	    in->threads_n);
}

static size_t heaviest_thread(const struct verdict_input *in)
{
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < in->threads_n; i++)
		if (best == SIZE_MAX || in->threads[i].hold_us > in->threads[best].hold_us)
			best = i;
	return best;
}

/* Of what it held it was seen on a CPU for the most part, or wanting one; and the process used that much. */
static bool runs_mostly(const struct verdict_input *in, const struct verdict_load *t)
{
	double ours = t->hold_us - verdict_stuck__excused_us(in);
	double off = isnan(t->hold_blocked + t->hold_stopped) ? 0 : t->hold_blocked + t->hold_stopped;

	return unseen(t) < 0.5 && off - verdict_stuck__excused_us(in) < 0.5 * ours && may_compute(in, ours);
}

static void one_thread(const struct verdict_input *in, struct verdict *v)
{
	size_t who = heaviest_thread(in);
	struct verdict_finding *f;

	if (!(in->util >= BUSY) || waiters(in) >= SOME_WAITERS || who == SIZE_MAX || verdict_stuck__explains(v, who) ||
	    !runs_mostly(in, &in->threads[who]))
		return;
	f = verdict__claim(v, PATTERN_ONE_THREAD, who);
	SAY(f->evidence,
	    "%s computes by itself (it held the GIL %.1f %% of the time) and hardly anybody wants it meanwhile: %.2f "
	    "threads "
	    "waited on average.",
	    in->threads[who].name, 100 * share(in, in->threads[who].hold_us), waiters(in));
	SAY(f->remedy, "The GIL is not what limits it: make that code faster, or spread the work over processes. A "
		       "profiler (py-spy) "
		       "shows where its time goes.");
}

/* What explains some waiting, but not where the time of a process goes that hardly waits. */
static bool leaves_time_unexplained(const struct verdict *v)
{
	for (size_t i = 0; i < v->findings_n; i++)
		if (v->findings[i].pattern != PATTERN_STARVED_HOLDER && v->findings[i].pattern != PATTERN_HANDOVER &&
		    v->findings[i].pattern != PATTERN_GARBAGE)
			return false;
	return true;
}

/* Somebody has it, and it is not known what for: no advice is better than a wrong one. */
static void held_unseen(const struct verdict_input *in, struct verdict *v)
{
	struct verdict_finding *f = verdict__claim(v, PATTERN_FINE, SIZE_MAX);

	SAY(f->evidence, "The GIL was held %.1f %% of the time, and of %.0f %% of that it is not known whether the holder ran.",
	    100 * in->util, 100 * unseen(&in->all));
	if (!isnan(in->cpu_us))
		SAY(f->evidence, " The process used %.1f %% of a CPU.", 100 * share(in, in->cpu_us));
	SAY(f->remedy, "gilscope dump shows who has it, and what that thread does now.");
}

static void fine(const struct verdict_input *in, struct verdict *v)
{
	double cpu = share(in, in->cpu_us), outside = without_gil(in);
	struct verdict_finding *f;

	if (v->bound != BOUND_NO || !leaves_time_unexplained(v))
		return;
	if (in->util >= SOME_HELD && unseen(&in->all) >= 0.5) {
		held_unseen(in, v);
		return;
	}
	f = verdict__claim(v, PATTERN_FINE, SIZE_MAX);
	if (isnan(in->util))
		SAY(f->evidence, "Hardly anybody waited for the GIL, %.2f threads on average", waiters(in));
	else
		SAY(f->evidence, "The GIL was free %.1f %% of the time", 100 * (1 - in->util));
	if (cpu < IDLE_CPU)
		SAY(f->evidence, ", and the process did next to nothing: it used %.1f %% of a CPU", 100 * cpu);
	else if (!isnan(cpu))
		SAY(f->evidence, ", and the process used %.1f %% of a CPU", 100 * cpu);
	if (outside >= IDLE_CPU)
		SAY(f->evidence, ", %.1f %% of it without the GIL", fmin(100, 100 * outside / cpu));
	SAY(f->evidence, ".");
	if (outside >= BUSY)
		SAY(f->remedy, "The time goes into native code that has released the GIL, or system calls: profile that "
			       "(perf).");
	else if (outside >= SOME_CPU)
		SAY(f->remedy, "Part of the time goes into native code that has released the GIL, or system calls: profile that "
			       "(perf). The rest goes elsewhere: I/O, other services, locks, CPUs that are busy with others.");
	else
		SAY(f->remedy, "The time goes elsewhere: look at I/O, at other services and locks.");
}

/* ---- the whole ---- */

/*
 * Without the GIL whoever waits could run, as far as there are CPUs: at most (work now + waiting) / work now times as much, work
 * being holds and what runs without the GIL anyway. An upper bound: other locks, memory and the work itself may allow less.
 */
static double wanted_cpus(const struct verdict_input *in)
{
	double outside = without_gil(in);

	return in->util + (isnan(outside) ? 0 : outside) + waiters(in);
}

/* Of them those that would be busy: who sleeps with the GIL, or is stopped, is not. */
static double busy_cpus(const struct verdict_input *in)
{
	double off = in->all.hold_blocked + in->all.hold_stopped;

	return wanted_cpus(in) - (off > 0 ? share(in, off) : 0);
}

static double most_gained(const struct verdict_input *in)
{
	double wanted = wanted_cpus(in);

	if (isnan(in->util) || !(in->util > 0.001) || in->gils > 1 || unseen(&in->all) >= UNSEEN_SAID ||
	    verdict_stuck__still_share(in) >= STOOD_STILL_PARTLY)
		return NAN;
	return fmax(1, fmin(wanted, in->cpus) / (wanted - waiters(in)));
}

/* Does it queue without anybody's computing, and not just because its work fills the CPUs? */
static bool queues_anyway(const struct verdict_input *in)
{
	return waiters(in) >= FREE_QUEUE && !(most_gained(in) < GAIN_WORTH);
}

static enum gil_bound judge(const struct verdict_input *in)
{
	if (!(in->observed_us >= ENOUGH_US) || isnan(waiters(in)) || verdict_stuck__still_share(in) >= STOOD_STILL)
		return BOUND_UNKNOWN;
	if (in->util >= BUSY && waiters(in) >= VERDICT_JAMMED_WAITERS)
		return BOUND_YES;
	if (waiters_for_holders(in) >= SOME_WAITERS || in->jammed >= JAMMED_PARTLY || queues_anyway(in))
		return BOUND_PARTLY;
	return BOUND_NO; /* in light mode, too: who queues is known there */
}

static void say_off_cpu(const struct verdict_load *all, char *text, size_t size)
{
	if (asleep(all) >= OFF_CPU_SAID || starved(all) >= OFF_CPU_SAID)
		text__append(text, size, " %.0f %% of that asleep and %.0f %% without a CPU,", 100 * asleep(all),
			     100 * starved(all));
	if (stopped(all) >= OFF_CPU_SAID)
		text__append(text, size, " %.0f %% stopped,", 100 * stopped(all));
	if (unseen(all) >= UNSEEN_SAID)
		text__append(text, size, " of %.0f %% of that it is not known whether the holder ran,", 100 * unseen(all));
}

static bool stuck_for_ever(const struct verdict *v)
{
	return verdict_stuck__is_claimed(v, PATTERN_GONE_HOLDER) || verdict_stuck__is_claimed(v, PATTERN_STUCK_HOLDER);
}

static void headline(const struct verdict_input *in, struct verdict *v)
{
	static const char *const words[] = {
		[BOUND_UNKNOWN] = "NOT ENOUGH WAS SEEN to tell.",
		[BOUND_NO] = "NOT GIL-BOUND.",
		[BOUND_PARTLY] = "PARTLY GIL-BOUND.",
		[BOUND_YES] = "GIL-BOUND.",
	};

	if (verdict_stuck__still_share(in) >= STOOD_STILL) {
		SAY(v->headline, "NOTHING RAN. The process stood still nearly all the time: whether it is bound by the GIL can't "
				 "be told.");
		return;
	}
	SAY(v->headline, "%s%s", stuck_for_ever(v) ? "STUCK. " : "", words[v->bound]);
	if (v->bound == BOUND_UNKNOWN)
		return;
	if (isnan(in->util))
		SAY(v->headline, " How long the GIL was held is not known (light mode);");
	else
		SAY(v->headline, " The GIL was held %.1f %% of the time%s,", 100 * in->util,
		    in->gils > 1 ? " (the busiest of several)" : "");
	if (!verdict_stuck__is_claimed(v, PATTERN_GONE_HOLDER))
		say_off_cpu(&in->all, v->headline, sizeof(v->headline));
	SAY(v->headline, " %.2f threads waited for it on average", waiters(in));
	if (in->jammed > 0 && in->jammed < 1 && v->bound != BOUND_NO)
		SAY(v->headline, "; it was jammed (held above 90 %%, others queueing) %.0f %% of the time",
		    100 * in->jammed);
	SAY(v->headline, ".");
}

static void gain(const struct verdict_input *in, struct verdict *v)
{
	double outside = without_gil(in);
	char a[32], b[32];

	/* What hangs does no work, so there is nothing to compare with. */
	v->gain_max = v->bound == BOUND_UNKNOWN || stuck_for_ever(v) ? NAN : most_gained(in);
	if (isnan(v->gain_max))
		return;
	if (v->gain_max < GAIN_SAID)
		SAY(v->gain, "Without the GIL it would gain next to nothing: at best %.2f times the work.",
		    v->gain_max);
	else if (v->bound == BOUND_NO)
		SAY(v->gain, "All that there is to gain without the GIL is the waiting for it: %s of all threads together, in "
			     "%s.",
		    verdict__ms(a, in->all.wait_us), verdict__ms(b, in->observed_us));
	else
		SAY(v->gain,
		    "Without the GIL it could do at best %.2f times the work: threads that hold it%s wait for it%s would keep "
		    "%.2f CPUs busy, and there %s %d.",
		    v->gain_max, outside >= 0.01 ? "," : " or", outside >= 0.01 ? " or run without it" : "",
		    busy_cpus(in), in->cpus == 1 ? "is" : "are", in->cpus);
	if (v->bound != BOUND_NO && v->gain_max >= GAIN_SAID && starved(&in->all) >= MAY_BE_STARVED)
		SAY(v->gain, " That takes CPUs to be free: holders lacked one for %.0f %% of their time.",
		    100 * starved(&in->all));
}

static void limits(const struct verdict_input *in, struct verdict *v)
{
	char tracers[WHYS_WORDS_SIZE], a[32];

	if (in->cov < 0.99)
		SAY(v->limits, "Only %.1f %% of the time was observed. ", 100 * in->cov);
	if (in->lost > 0)
		SAY(v->limits, "%.0f events were lost or out of order. ", in->lost);
	if (in->whys && whys__ns(in->whys, GIL_WHY_TRACER) && !verdict_stuck__is_claimed(v, PATTERN_STOPPED_HOLDER))
		SAY(v->limits, "%s stopped holders for %s: two profilers or debuggers at once disturb each other. ",
		    whys__tracers(in->whys, tracers), verdict__ms(a, (double)whys__ns(in->whys, GIL_WHY_TRACER) / 1e3));
	if (in->sampled)
		SAY(v->limits, "Light mode: who made whom wait is sampled, single holds are unknown; --mode full tells more, at "
			       "a higher cost to the process. ");
	if (in->about_held > 0)
		SAY(v->limits, "About %.1f %% of the time the GIL was held, give or take %.1f (an estimate). ",
		    100 * in->about_held, 100 * in->about_held_err);
	if (in->unknown_us > 0.01 * in->all.wait_us)
		SAY(v->limits, "Of %.1f %% of the waiting the holder is unknown. ",
		    100 * in->unknown_us / in->all.wait_us);
	if (v->limits[0])
		v->limits[strlen(v->limits) - 1] = '\0';
}

void verdict__reach(const struct verdict_input *in, struct verdict *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->bound = judge(in);
	verdict_stuck__claim(in, ret);
	headline(in, ret);
	gain(in, ret);
	if (ret->bound == BOUND_UNKNOWN) {
		limits(in, ret);
		return;
	}
	garbage(in, ret);
	long_holds(in, ret);
	blocked_holds(in, ret);
	stopped_holders(in, ret);
	starved_holders(in, ret);
	cpu_sharing(in, ret);
	convoys(in, ret);
	slow_handover(in, ret);
	long_queue(in, ret);
	one_thread(in, ret);
	fine(in, ret);
	limits(in, ret);
}

const char *gil_bound__name(enum gil_bound bound)
{
	static const char *const names[] = {
		[BOUND_UNKNOWN] = "unknown",
		[BOUND_NO] = "no",
		[BOUND_PARTLY] = "partly",
		[BOUND_YES] = "yes",
	};

	return names[bound];
}

const char *verdict_pattern__name(enum verdict_pattern p)
{
	static const char *const names[PATTERN_COUNT] = {
#define X(id, name) [PATTERN_##id] = name,
		VERDICT_PATTERNS(X)
#undef X
	};

	return p < PATTERN_COUNT ? names[p] : "?";
}
