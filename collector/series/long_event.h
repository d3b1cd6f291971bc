/* SPDX-License-Identifier: GPL-2.0-only */
/* One hold or wait that is worth telling by itself: from the reader to screen and store. */
#ifndef GILSCOPE_LONG_EVENT_H
#define GILSCOPE_LONG_EVENT_H

#include "sample.h"
#include "stack_text.h"

#define LONG_VICTIMS_SIZE 256

/* A hold or wait over its threshold (stack_opts), told by the programs. */
struct long_event {
	bool wait;               /* of a wait, else of a hold */
	bool ended;              /* it is over; else it goes on */
	struct thread_key thread;/* who holds, or waits */
	char name[THREAD_NAME_SIZE];
	struct thread_key holder;/* of a wait that goes on: who holds now */
	char holder_name[THREAD_NAME_SIZE];
	uint32_t gil;            /* whose GIL */
	uint32_t waiters;        /* threads waiting at that moment */
	uint32_t victims_n;      /* of a hold that goes on: so many of them stand in `victims` by name */
	char victims[LONG_VICTIMS_SIZE]; /* "a, b and 3 more", `waiters` in all; "": none is known by name */
	uint64_t at_ns;          /* CLOCK_MONOTONIC */
	uint64_t since_ns;
	uint64_t waited_ns;      /* of a hold: how long others have waited during it, in sum */
	const struct stack_text *stack; /* the holder's; of a wait that has ended the waiter's. NULL: not known. The call's */
	const char *native;      /* C code that was seen inside it, by name; NULL: none. The call's */
};

/* Names one of those who waited, unless `waiters` are named already or there is no room for the name. */
void long_event__add_victim(struct long_event *e, const char *name);

/* After the last name: says how many of `waiters` have none. */
void long_event__count_victims(struct long_event *e);

#endif
