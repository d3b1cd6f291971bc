/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loops of more turns than the verifier can walk one by one, in two forms: gil_older.bpf.c is gil.bpf.c for kernels that lack
 * something it uses (GIL_OLDER_KERNEL), bpf_loop() above all (5.17).
 *
 *   bpf_loop()       the body is a function that the kernel calls back, and is verified once
 *   without it       the body is a global function. Such a function is verified once, with any arguments; where it is called the
 *                    verifier only passes by, so that a turn of the loop costs it some ten instructions
 *
 * A global function takes numbers and pointers to memory of a known type, but no pointer that it finds in memory. So a body has
 * its turn and two pointers, in both forms: what else it needs, it finds behind them. A body ends the loop itself, since the
 * second form makes as many turns as there can be at most.
 */
#ifndef GILSCOPE_GIL_LOOP_BPF_H
#define GILSCOPE_GIL_LOOP_BPF_H

/*
 * Begins the definition of a body:
 *
 *   GIL_LOOP_BODY(name, struct a, a, struct b, b)   is given `__u64 turn`, counted from 0; returns 1 to end the loop, else 0
 *   {
 *           ...
 *   }
 *
 * gil_loop(turns, most, name, a, b) calls it `turns` times, a constant `most` at most.
 */
#ifndef GIL_OLDER_KERNEL

struct gil_loop_args {
	void *first, *second;
};

#define GIL_LOOP_BODY(name, type_a, a, type_b, b)                                          \
	static __always_inline long name##_turn(__u64 turn, type_a *a, type_b *b);         \
	static __noinline long name(__u64 turn, struct gil_loop_args *args)                \
	{                                                                                  \
		return name##_turn(turn, args->first, args->second);                                \
	}                                                                                  \
	static __always_inline long name##_turn(__u64 turn, type_a *a, type_b *b)

/* A single turn is worth no call of a helper. */
#define gil_loop(turns, most, name, a_, b_)                                                \
	do {                                                                               \
		struct gil_loop_args args_ = {(void *)(a_), (void *)(b_)}; \
											   \
		if ((turns) == 1)                                                          \
			name(0, &args_);                                                   \
		else                                                                       \
			bpf_loop(turns, name, &args_, 0);                                  \
	} while (0)

#else

/* The barrier makes `turn` an argument that is used: clang passes nothing for one that is not, which the verifier refuses. */
#define GIL_LOOP_BODY(name, type_a, a, type_b, b)                                          \
	static __always_inline long name##_turn(__u64 turn, type_a *a, type_b *b);         \
	__noinline int name(__u64 turn, type_a *first, type_b *second)                     \
	{                                                                                  \
		barrier_var(turn);                                                         \
		return !first || !second || name##_turn(turn, first, second);              \
	}                                                                                  \
	static __always_inline long name##_turn(__u64 turn, type_a *a, type_b *b)

#define gil_loop(turns, most, name, a_, b_)                                                \
	do {                                                                               \
		for (__u64 turn_ = 0; turn_ < (most); turn_++)                             \
			if (name(turn_, a_, b_))                                           \
				break;                                                     \
	} while (0)

#endif
#endif
