/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names of threads, read from an interpreter that is made up in this process's own memory: sound, bent in one place, and
 * with garbage written over it. Real interpreters are tests/integration/test_names.c's.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/python/pynames.h"

#define WORLD_BYTES 65536
#define SECOND 1000000000ull
#define THREADS 3

/* A layout like 3.13's, with less space between members. */
static const struct pyoffsets layout = {
	.minor = 13, .gil_enabled = PYOFF_NONE, .runtime_interpreters_head = 0, .interp_next = 0,
	.interp_threads_head = 8, .interp_modules = 16, .tstate_next = 0, .tstate_interp = 8, .tstate_thread_id = 16,
	.tstate_native_thread_id = 24, .ob_type = 8, .type_basicsize = 32, .type_flags = 40, .type_dictoffset = 48,
	.type_cached_keys = 56, .unicode_length = 16, .unicode_state = 32, .unicode_ascii_size = 40,
	.unicode_compact_size = 56, .long_size = 16, .long_digit = 24, .dict_keys = 32, .dict_values = 40,
	.keys_size = PYOFF_NONE, .keys_log2_size = 8, .keys_nentries = 24, .keys_indices = 32, .values_values = 8,
};

/* The interpreter and where its parts lie, by address. */
static _Alignas(16) uint8_t world[WORLD_BYTES];
static size_t used;
static uint64_t *runtime, *interp, *tstates[THREADS], *modules, *module, *active, *active_keys, *thread_type;
static uint64_t *threads[THREADS], *idents[THREADS], *names[THREADS], *shared_keys;
static uint64_t str_type, int_type, dict_type;

static uint64_t address(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static uint64_t *take(size_t bytes)
{
	uint64_t *p = (uint64_t *)(world + used);

	used += (bytes + 15) & ~(size_t)15;
	cr_assert_leq(used, WORLD_BYTES - 4096);
	return p;
}

/* A str of characters that take `kind` bytes each; kind 0: ASCII. */
static uint64_t *make_str(const void *chars, size_t n, uint32_t kind)
{
	size_t width = kind ? kind : 1, head = kind ? layout.unicode_compact_size : layout.unicode_ascii_size;
	uint64_t *s = take(head + (n + 1) * width);

	s[1] = str_type;
	s[2] = n;
	s[4] = (kind ? kind : 1) << 2 | 1 << 5 | (kind ? 0 : 1) << 6;
	memcpy((uint8_t *)s + head, chars, n * width);
	return s;
}

static uint64_t *make_text(const char *text)
{
	return make_str(text, strlen(text), 0);
}

static uint64_t *make_int(uint64_t value)
{
	uint64_t *i = take(32);
	uint32_t digits[2] = {value & 0x3fffffff, (uint32_t)(value >> 30)};

	i[1] = int_type;
	i[2] = 2 << 3;
	memcpy(&i[3], digits, sizeof(digits));
	return i;
}

/* Keys with 8 places and `n` entries; general ones have room for a hash. */
static uint64_t *make_keys(bool general, uint64_t *const *keys, uint64_t *const *values, size_t n)
{
	uint64_t *k = take(32 + 8 + 8 * 24), *e = k + 5;

	k[1] = 3 | 3 << 8 | (general ? 0u : 1u) << 16;
	k[3] = n;
	for (size_t i = 0; i < n; i++) {
		if (general)
			*e++ = i;
		*e++ = address(keys[i]);
		*e++ = values ? address(values[i]) : 0;
	}
	return k;
}

static uint64_t *make_dict(uint64_t *keys)
{
	uint64_t *d = take(48);

	d[1] = dict_type;
	d[4] = address(keys);
	return d;
}

static void make_thread(size_t i, const char *name)
{
	static const uint64_t ident = 0x7f0000001000;

	names[i] = make_text(name);
	idents[i] = make_int(ident + i * 4096);
	threads[i] = take(96) + 4; /* behind what the interpreter keeps before an object */
	threads[i][1] = address(thread_type);
	threads[i][4 + 1 + 1] = address(names[i]); /* inline values, the second */
	tstates[i] = take(256);
	tstates[i][0] = i ? address(tstates[i - 1]) : 0;
	tstates[i][1] = address(interp);
	tstates[i][2] = ident + i * 4096;
	tstates[i][3] = 1000 + i;
}

static void make_world(void)
{
	uint64_t *threading, *name_key;

	memset(world, 0, sizeof(world));
	used = 0;
	str_type = address(take(64));
	int_type = address(take(64));
	dict_type = address(take(64));
	runtime = take(64);
	interp = take(64);
	runtime[0] = address(interp);
	thread_type = take(64);
	threading = make_text("threading");
	name_key = make_text("_name");
	shared_keys = make_keys(false, (uint64_t *[]){make_text("_target"), name_key}, NULL, 2);
	thread_type[4] = 32;
	thread_type[5] = 1 << 2 | 1 << 4;
	thread_type[7] = address(shared_keys);
	for (size_t i = 0; i < THREADS; i++)
		make_thread(i, (const char *[]){"MainThread", "worker", "journal"}[i]);
	interp[1] = address(tstates[THREADS - 1]);
	active_keys = make_keys(true, idents, threads, THREADS);
	active = make_dict(active_keys);
	module = take(32);
	module[2] = address(make_dict(make_keys(false, (uint64_t *[]){make_text("_active")}, &active, 1)));
	modules = make_dict(make_keys(false, (uint64_t *[]){make_text("sys"), threading},
				      (uint64_t *[]){module, module}, 2));
	interp[2] = address(modules);
}

static struct pynames *must_open(void)
{
	struct pynames *n = NULL;

	cr_assert_eq(pynames__new(getpid(), address(runtime), &layout, &n), 0);
	return n;
}

static const char *name_of(const struct pynames *n, size_t thread)
{
	const struct pythread *all;
	size_t all_n;

	all = pynames__all(n, &all_n);
	for (size_t i = 0; i < all_n; i++)
		if (all[i].tstate == address(tstates[thread]))
			return all[i].name;
	return "(not listed)";
}

Test(pynames, threads_of_a_sound_interpreter_are_named)
{
	struct pynames *n;

	make_world();
	n = must_open();
	cr_assert_eq(pynames__refresh(n, SECOND), 0);
	cr_expect_str_eq(name_of(n, 0), "MainThread");
	cr_expect_str_eq(name_of(n, 1), "worker");
	cr_expect_str_eq(name_of(n, 2), "journal");
	cr_expect_str_eq(pynames__find(n, 2 * SECOND, 1001, 0, 1), "worker", "by its id");
	cr_expect_str_eq(pynames__find(n, 2 * SECOND, 77, address(tstates[2]), 1), "journal", "by its thread state");
	cr_expect_null(pynames__find(n, 2 * SECOND, 77, 0, 1), "nobody's id");
	cr_expect_null(pynames__find(n, 2 * SECOND, 0, 0, 1), "no id");
	pynames__free(n);
}

Test(pynames, a_thread_keeps_its_name_in_an_interpreter_that_has_no_names)
{
	uint64_t *second, *tstate;
	struct pynames *n;

	make_world();
	second = take(64);
	tstate = take(256);
	second[0] = runtime[0];
	second[1] = address(tstate);
	tstate[1] = address(second);
	tstate[2] = tstates[1][2];
	tstate[3] = tstates[1][3];
	runtime[0] = address(second);
	n = must_open();
	cr_assert_eq(pynames__refresh(n, SECOND), 0);
	cr_expect_str_eq(pynames__find(n, 2 * SECOND, 1001, 0, 1) ?: "", "worker", "by its id");
	cr_expect_str_eq(pynames__find(n, 2 * SECOND, 77, address(tstate), 1) ?: "", "worker", "by its other state");
	pynames__free(n);
}

Test(pynames, a_name_is_cut_and_cleaned)
{
	static const uint8_t latin1[] = {'w', 0xf6, 'r', 'k', 'e', 'r'};
	static const uint16_t greek[] = {0x3b1, 0x3b2, 'x'}, torn[] = {'a', 0xd800, 'b'}, turned[] = {'a', 0x202e, 'b'};
	static const uint32_t emoji[] = {0x1f40d, 's'}, beyond[] = {'a', 0x7fffffff, 'b'};
	static char long_name[10240];
	struct {
		uint64_t *object;
		char want[THREAD_NAME_SIZE];
	} cases[10];
	size_t n = 0;

	make_world();
	memset(long_name, 'x', sizeof(long_name));
#define CASE(str, text) do { cases[n].object = str; strcpy(cases[n++].want, text); } while (0)
	CASE(make_text("e\033[31mred\n"), "e?[31mred?");
	CASE(make_str(latin1, 6, 1), "w\u00f6rker");
	CASE(make_str(greek, 3, 2), "\u03b1\u03b2x");
	CASE(make_str(torn, 3, 2), "a???b");
	CASE(make_str(turned, 3, 2), "a?b");
	CASE(make_str(emoji, 2, 4), "\U0001f40ds");
	CASE(make_str(beyond, 3, 4), "a????b");
	CASE(make_text(""), "");
	CASE(make_str(long_name, sizeof(long_name), 0), "");
	memset(cases[n - 1].want, 'x', THREAD_NAME_SIZE - 1);
	cases[n - 1].want[THREAD_NAME_SIZE - 1] = '\0';
#undef CASE
	for (size_t i = 0; i < n; i++) {
		struct pynames *p = must_open();

		threads[1][6] = address(cases[i].object);
		cr_assert_eq(pynames__refresh(p, SECOND), 0);
		cr_expect_str_eq(name_of(p, 1), cases[i].want, "case %zu: %s", i, name_of(p, 1));
		pynames__free(p);
	}
}

/* One thing is wrong; the worker is the thread that shows it. */
Test(pynames, what_fails_a_check_gives_no_name)
{
	static const struct {
		char what[48];
		uint64_t **object; /* bent */
		size_t word;
		uint64_t value;
		int err;
		bool others_named;
	} cases[] = {
		{"a name that is an int", &names[1], 1, 0x1000, 0, true},
		{"a name of characters of three bytes", &names[1], 4, 3 << 2 | 1 << 5, 0, true},
		{"a name that is not compact", &names[1], 4, 1 << 2 | 1 << 6, 0, true},
		{"a name of negative length", &names[1], 2, UINT64_MAX, 0, true},
		{"a name that leads out of memory", &threads[1], 6, 0x7ffffffff000, 0, true},
		{"a name at an odd address", &threads[1], 6, 0x1001, 0, true},
		{"no name", &threads[1], 6, 0, 0, true},
		{"a key that is no int", &idents[1], 1, 0x1000, 0, true},
		{"a negative key", &idents[1], 2, 2 << 3 | 2, 0, true},
		{"a key of a million digits", &idents[1], 2, 1000000 << 3, 0, true},
		{"a key of another thread", &idents[1], 3, 4242, 0, true},
		{"a thread without a type", &threads[1], 1, 0, 0, true},
		{"a thread whose type leads out of memory", &threads[1], 1, 0x7ffffffff000, 0, true},
		{"a dict that is none", &threads[1], -3, 0x7ffffffff000, 0, true},
		{"a class with absurd instances", &thread_type, 4, 1ull << 40, 0, false},
		{"a class without shared keys", &thread_type, 7, 0, 0, false},
		{"shared keys without an end", &shared_keys, 3, UINT64_MAX, 0, false},
		{"shared keys of absurd size", &shared_keys, 1, 60 | 60 << 8 | 1 << 16, 0, false},
		{"shared keys without _name", &shared_keys, 7, 0, 0, false},
		{"_active that is no dict", &active, 1, 0x1000, -EINVAL, false},
		{"_active that shares its keys", &active, 5, 0x1000, -EINVAL, false},
		{"_active with more entries than places", &active_keys, 3, 9, -EINVAL, false},
		{"a module without a dict", &module, 2, 0, -EINVAL, false},
		{"modules elsewhere", &interp, 2, 0x7ffffffff000, -EFAULT, false},
		{"no modules yet", &interp, 2, 0, 0, false},
		{"a thread state of another interpreter", &tstates[1], 1, 0x1000, -EINVAL, false},
		{"an interpreter elsewhere", &runtime, 0, 0x7ffffffff000, -EFAULT, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pynames *n;

		make_world();
		n = must_open();
		(*cases[i].object)[(ssize_t)cases[i].word] = cases[i].value;
		cr_expect_eq(pynames__refresh(n, SECOND), cases[i].err, "%s", cases[i].what);
		cr_expect(!strcmp(name_of(n, 1), "") || (cases[i].err && !strcmp(name_of(n, 1), "(not listed)")),
			  "%s: %s", cases[i].what, name_of(n, 1));
		cr_expect_eq(!strcmp(name_of(n, 2), "journal"), cases[i].others_named, "%s", cases[i].what);
		pynames__free(n);
	}
}

Test(pynames, lists_without_an_end_are_not_followed_for_ever)
{
	struct pynames *n;

	make_world();
	n = must_open();
	tstates[0][0] = address(tstates[2]);
	cr_expect_eq(pynames__refresh(n, SECOND), -EINVAL);
	tstates[0][0] = 0;
	interp[0] = address(interp);
	cr_expect_eq(pynames__refresh(n, SECOND), -EINVAL);
	pynames__free(n);
}

Test(pynames, a_failed_reading_keeps_the_names_it_had)
{
	struct pynames *n;

	make_world();
	n = must_open();
	cr_assert_eq(pynames__refresh(n, SECOND), 0);
	active[1] = 0x1000;
	cr_expect_eq(pynames__refresh(n, 2 * SECOND), -EINVAL);
	cr_expect_str_eq(name_of(n, 1), "worker");
	cr_expect_str_eq(pynames__find(n, 3 * SECOND, 1001, 0, SECOND - 1), "worker");
	cr_expect_null(pynames__find(n, 3 * SECOND, 1001, 0, SECOND + 1), "started since: may be another thread");
	pynames__free(n);
}

Test(pynames, names_are_read_again_after_a_while)
{
	struct pynames *n;

	make_world();
	n = must_open();
	cr_expect_str_eq(pynames__find(n, SECOND, 1001, 0, 1), "worker");
	threads[1][6] = address(make_text("renamed"));
	cr_expect_str_eq(pynames__find(n, SECOND + PYNAMES_PERIOD_NS - 1, 1001, 0, 1), "worker");
	cr_expect_str_eq(pynames__find(n, SECOND + PYNAMES_PERIOD_NS, 1001, 0, 1), "renamed");
	pynames__free(n);
}

Test(pynames, a_new_thread_under_an_old_id_does_not_inherit_its_name)
{
	const uint64_t born = SECOND + 1000;
	struct pynames *n;

	make_world();
	n = must_open();
	cr_expect_str_eq(pynames__find(n, SECOND, 1001, address(tstates[1]), 1), "worker");
	threads[1][6] = address(make_text("second"));
	cr_expect_null(pynames__find(n, SECOND + PYNAMES_GAP_NS - 1, 1001, address(tstates[1]), born), "not read yet");
	cr_expect_str_eq(pynames__find(n, SECOND + PYNAMES_GAP_NS, 1001, address(tstates[1]), born), "second");
	pynames__free(n);
}

Test(pynames, an_unknown_layout_names_nobody)
{
	struct pyoffsets off = layout;
	struct pynames *n;

	make_world();
	off.interp_modules = PYOFF_NONE;
	cr_assert_eq(pynames__new(getpid(), address(runtime), &off, &n), 0);
	cr_expect_null(pynames__find(n, SECOND, 1001, 0, 1));
	cr_expect_eq(pynames__refresh(n, SECOND), -ENOTSUP);
	pynames__free(n);
}

/* Offsets that do not fit what is read with them, as a lying file could state them. */
Test(pynames, absurd_offsets_are_not_used)
{
	static const struct {
		size_t member;
		uint32_t value;
	} cases[] = {
		{offsetof(struct pyoffsets, tstate_thread_id), 249}, {offsetof(struct pyoffsets, tstate_next), 1 << 20},
		{offsetof(struct pyoffsets, tstate_interp), PYOFF_NONE}, {offsetof(struct pyoffsets, ob_type), 4096},
		{offsetof(struct pyoffsets, tstate_native_thread_id), 4096},
	};

	make_world();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pyoffsets off = layout;
		struct pynames *n;

		*(uint32_t *)((char *)&off + cases[i].member) = cases[i].value;
		cr_assert_eq(pynames__new(getpid(), address(runtime), &off, &n), 0);
		cr_expect_eq(pynames__refresh(n, SECOND), -ENOTSUP, "case %zu", i);
		pynames__free(n);
	}
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

/* What a word of torn memory may hold: a pointer to the wrong thing, a small number, anything. */
static uint64_t garbage(uint64_t *state)
{
	uint64_t r = next_random(state);

	switch (r >> 60 & 3) {
	case 0:
		return address(world) + (r % used & ~7ull);
	case 1:
		return r & 0x1f;
	case 2:
		return r & 0xffffff;
	}
	return r;
}

Test(pynames, garbage_is_survived, .timeout = 30)
{
	uint64_t state = 88172645463325252ull;
	static uint8_t sound[WORLD_BYTES];
	int named = 0, unnamed = 0;
	struct pynames *n;

	make_world();
	n = must_open();
	memcpy(sound, world, sizeof(world));
	for (int round = 0; round < 5000; round++) {
		for (uint64_t words = 1 + next_random(&state) % 24; words > 0; words--)
			((uint64_t *)world)[next_random(&state) % (used / 8)] = garbage(&state);
		if (pynames__refresh(n, (uint64_t)round + 1) || strcmp(name_of(n, 1), "worker"))
			unnamed++;
		else
			named++;
		memcpy(world, sound, sizeof(world));
	}
	cr_expect_gt(named, 100, "hardly a round was sound");
	cr_expect_gt(unnamed, 100, "hardly a round did harm");
	cr_assert_eq(pynames__refresh(n, SECOND), 0);
	cr_expect_str_eq(name_of(n, 1), "worker", "the sound world again");
	pynames__free(n);
}

/* Writes garbage over its copy of the world and makes it sound again, until it is killed. */
static void play_target(const uint8_t *sound)
{
	uint64_t state = 1234567, word;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		word = next_random(&state) % (used / 8);
		((uint64_t *)world)[word] = garbage(&state);
		memcpy(world + word * 8, sound + word * 8, 8);
	}
}

Test(pynames, memory_that_changes_under_the_reader_is_survived, .timeout = 30)
{
	static uint8_t sound[WORLD_BYTES];
	struct pynames *n = NULL;
	int named = 0;
	pid_t pid;

	make_world();
	memcpy(sound, world, sizeof(world));
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0)
		play_target(sound);
	cr_assert_eq(pynames__new(pid, address(runtime), &layout, &n), 0);
	for (uint64_t round = 1; round <= 3000; round++)
		named += !pynames__refresh(n, round) && !strcmp(name_of(n, 1), "worker");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_expect_gt(named, 0, "no reading was sound");
	pynames__free(n);
}

Test(pynames, a_process_that_is_gone_is_no_trouble)
{
	struct pynames *n;
	pid_t pid = fork();

	make_world();
	if (pid == 0)
		_exit(0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert_eq(pynames__new(pid, address(runtime), &layout, &n), 0);
	cr_expect_eq(pynames__refresh(n, SECOND), -ESRCH);
	cr_expect_null(pynames__find(n, SECOND, 1001, 0, 1));
	pynames__free(n);
}
