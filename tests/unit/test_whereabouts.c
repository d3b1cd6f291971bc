/* SPDX-License-Identifier: GPL-2.0-only */
/* What a stack says of where a thread is: the application's code, and whether an event loop is in a callback. */
#include <criterion/criterion.h>
#include <string.h>

#include "collector/look/whereabouts.h"

#define LIB "/usr/lib/python3.11/"

static const struct pysymbol loop[] = {
	{"BaseEventLoop._run_once", LIB "asyncio/base_events.py", 1922, 1},
	{"BaseEventLoop.run_forever", LIB "asyncio/base_events.py", 607, 1},
	{"main", "/srv/shop/app.py", 80, 70},
};

/* These frames inside of the loop's. */
static struct whereabouts_stack read_within(const struct pysymbol *inner, size_t n)
{
	struct whereabouts_stack stack;
	struct pysymbol frames[8];

	memcpy(frames, inner, n * sizeof(*inner));
	memcpy(frames + n, loop, sizeof(loop));
	whereabouts__read_stack(frames, n + 3, &stack);
	return stack;
}

Test(whereabouts, callback_is_what_the_loop_runs)
{
	static const struct pysymbol inner[] = {
		{"fetch_user", "/srv/shop/user.py", 9, 1}, {"user", "/srv/shop/user.py", 30, 1},
		{"Handle._run", LIB "asyncio/events.py", 80, 1},
	};
	struct whereabouts_stack s = read_within(inner, 3);

	cr_expect(s.loop && s.callback && s.application);
	cr_expect_str_eq(s.code, "fetch_user (user.py:9)");
}

Test(whereabouts, waiting_for_events_is_no_callback)
{
	static const struct pysymbol inner[] = {{"EpollSelector.select", LIB "selectors.py", 468, 1}};
	struct whereabouts_stack s = read_within(inner, 1);

	cr_expect(s.loop && !s.callback && !s.application);
	cr_expect_str_eq(s.code, "main (app.py:80) -> asyncio.base_events.BaseEventLoop.run_forever");
	s = read_within(NULL, 0);
	cr_expect(s.loop && !s.callback);
}

Test(whereabouts, no_code_is_no_place)
{
	static const struct pysymbol library[] = {{"_worker", LIB "concurrent/futures/thread.py", 81, 1}};
	struct whereabouts_stack s;

	whereabouts__read_stack(NULL, 0, &s);
	cr_expect_str_eq(s.code, "");
	cr_expect(!s.loop && !s.callback && !s.application);
	whereabouts__read_stack(library, 1, &s);
	cr_expect_str_eq(s.code, "_worker (thread.py:81)");
	cr_expect(!s.application);
}
