/* SPDX-License-Identifier: GPL-2.0-only */
/* See exact_count.h. */
#include "exact_count.h"

#include <criterion/criterion.h>

#include "observer.h"
#include "results.h"
#include "workload.h"

void exact_count__expect_by(const struct interpreter *in, const char *command, const char *method)
{
	struct workload w;
	struct observer o;
	json_t *truth, *threads, *thread;
	long long seen = 0, made = 0;
	size_t i;

	workload__start(&w, in, command);
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	if (method)
		cr_expect_str_eq(o.proc.recipe->plan->method, method);
	workload__go(&w);
	truth = workload__truth(&w);
	proc_sample__free(observer__interval(&o));
	threads = json_object_get(truth, "threads");
	cr_assert_gt(json_array_size(threads), 0);
	json_array_foreach(threads, i, thread) {
		pid_t tid = (pid_t)truth__int(thread, "tid");
		const struct thread_sample *mine = observer__thread(observer__totals(&o), tid);

		cr_assert_not_null(mine, "%s: thread %d is missing", in->version, tid);
		cr_expect_eq((long long)mine->m.acquires, truth__int(thread, "acquires"),
			     "%s%s: thread %d: %llu acquires, it made %lld", in->version,
			     in->stripped ? " stripped" : "", tid, (unsigned long long)mine->m.acquires,
			     truth__int(thread, "acquires"));
		cr_expect_eq(mine->m.forced, 0);
		seen += (long long)mine->m.acquires;
		made += truth__int(thread, "acquires");
	}
	results__note(in, "one GIL", o.proc.recipe->plan, observer__totals(&o), seen, made);
	observer__assert_lossless(observer__totals(&o));
	observer__detach(&o);
	workload__quit(&w);
}

void exact_count__expect(const struct interpreter *in, const char *command)
{
	exact_count__expect_by(in, command, NULL);
}
