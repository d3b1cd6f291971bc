/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `gilscope report` has gathered and judged, for whoever puts it on paper: text and JSON in cmd_report.c, a page in
 * report_html.c. All of them read these same numbers.
 */
#ifndef GILSCOPE_REPORT_H
#define GILSCOPE_REPORT_H

#include <math.h>

#include "collector/analysis/verdict.h"
#include "collector/look/whereabouts.h"
#include "collector/schema/schema_blame.h"
#include "collector/schema/schema_marks.h"
#include "collector/schema/schema_stacks.h"
#include "collector/target/cpu_users.h"
#include "blame_table.h"
#include "budgets.h"
#include "code.h"
#include "functions.h"
#include "options.h"
#include "report_places.h"
#include "rows.h"

#define REPORT_NAME_SIZE BLAME_NAME_SIZE

/* One interval; NAN: not known. */
struct report_point {
	double t_ms, d_us; /* its end, wall clock since the epoch; its length */
	double util, waiters;
};

/* What was counted of a thread, over the intervals that counted takes. */
struct report_counted {
	uint32_t tid;
	uint64_t n, held_ns, len_ns;
};

/* Everything that is judged and shown, from whichever source. */
struct report {
	const struct options *o;
	struct budgets *budgets; /* judged where it is gathered; NULL: none */
	const char *word; /* how the user named the process */
	char id[SCHEMA_ID_SIZE], label[160], python[24];
	char runtime[SCHEMA_RUNTIME_SIZE]; /* which of several Pythons in the process it is; "": there is one */
	char when[96]; /* "the last 5m", "10 s just now" */
	struct schema_row all;
	struct verdict_input in;
	struct verdict_load *threads;
	char (*names)[REPORT_NAME_SIZE]; /* of the threads */
	char (*thrs)[BLAME_THR_SIZE];
	struct report_places places; /* where they spent their time */
	struct function_time *functions; /* of all threads, the worst first */
	size_t functions_n;
	struct verdict_pair *pairs; /* largest first */
	struct report_point *points; /* in the order of time */
	size_t points_n;
	struct schema_mark *marks;   /* of the range, in the order of time */
	size_t marks_n;
	struct report_counted *counted;
	size_t counted_n;
	struct stacks_sum stacks;    /* for the page only */
	const char *no_stacks;       /* why there are none, a sentence; NULL: there are, or nothing was long enough */
	double jammed_us;
	char cpu_users[CPU_USERS_TEXT]; /* verdict_input.cpu_users; "": not known */
	struct holding holding; /* what was seen by looking at the process */
	struct whereabouts whereabouts; /* where all threads are, after the look; looks 0: not known */
	struct verdict_stay *stays;
	struct verdict_gate *gates;
	bool gil_disabled; /* and nothing of it was ever seen */
	struct verdict verdict;
};

/* Of all waiting, what is neither in the pairs nor handover nor unknown: blame that was not kept pair by pair. us */
double report__other_blame(const struct report *r);

#endif
