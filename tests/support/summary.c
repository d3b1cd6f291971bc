/* SPDX-License-Identifier: GPL-2.0-only */
/* See summary.h. */
#include "summary.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

json_t *summary__of(const char *lines, pid_t pid)
{
	char *copy = strdup(lines), *rest = copy;
	json_t *found = NULL;

	while (rest && !found) {
		json_t *line = json_loads(strsep(&rest, "\n"), 0, NULL);
		const char *type = json_string_value(json_object_get(line, "type"));

		if (type && strcmp(type, "summary") == 0 && (!pid || truth__int(line, "pid") == pid))
			found = json_incref(line);
		json_decref(line);
	}
	cr_assert_not_null(found, "no summary of %d: %s", (int)pid, lines);
	free(copy);
	return found;
}

static long long counted(json_t *summary, const char *tid_field, long long tid)
{
	json_t *thread;
	size_t i;

	json_array_foreach(json_object_get(summary, "threads"), i, thread)
		if (truth__int(thread, tid_field) == tid)
			return truth__int(thread, "n");
	return -1;
}

void summary__expect_exact(json_t *summary, struct workload *w, const char *tid_field)
{
	json_t *truth;
	size_t i;

	json_array_foreach(json_object_get(workload__truth(w), "threads"), i, truth)
		cr_expect_eq(counted(summary, tid_field, truth__int(truth, "tid")), truth__int(truth, "acquires"),
			     "thread %lld: %lld acquires", truth__int(truth, "tid"),
			     counted(summary, tid_field, truth__int(truth, "tid")));
	cr_expect_eq(json_object_size(json_object_get(summary, "losses")), 0);
}
