/* SPDX-License-Identifier: GPL-2.0-only */
/* See watched.h. */
#include "watched.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>

#include "tool.h"

#define PATIENCE 60 /* seconds, for gilscope's end */

void watched__run(struct workload *w, const char *words)
{
	struct tool t;

	tool__start(&t, words);
	tool__await(&t, "armed in");
	workload__go(w);
	workload__truth(w);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, PATIENCE), 0, "%s: %s", words, tool__stderr(&t));
	tool__clear(&t);
}
