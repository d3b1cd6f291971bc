/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See pygils.h.
 *
 * Everything that comes out of the target's memory is checked before it is believed: pointers by following them back, lists by
 * a bound.
 */
#include "pygils.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "collector/base/bytes.h"
#include "collector/cpython/pyinterps.h"
#include "collector/process/procmem.h"

#define THREADS_MAX 65536   /* lengths of a list that are believed: a torn one may be a ring */
#define GILS_MAX 64
#define ATTEMPTS 6          /* the target runs on while it is read: a torn look is repeated */
#define ATTEMPT_PAUSE_NS 2000000
#define INTERVAL_MAX_US 10000000000000ull /* sys.setswitchinterval() takes any float; over 100 days is no switch interval */

struct walk {
	pid_t pid;
	const struct pyoffsets *off;
	uint64_t runtime;
	struct gil_address gils[GILS_MAX];
	int n;
	bool enabled;
	const char *wrong; /* what was implausible */
};

static int implausible(struct walk *w, const char *what)
{
	w->wrong = what;
	return -ENOTSUP;
}

static int read_pointer(struct walk *w, uint64_t base, uint32_t offset, uint64_t *ret)
{
	int err = procmem__read_u64(w->pid, base + offset, ret);

	if (!err && (*ret % 8 != 0 || *ret >> PYVER_USER_BITS))
		return implausible(w, "a pointer points nowhere");
	return err;
}

/* A thread state must point back to its interpreter: the strongest check of a layout there is. */
static int check_tstate(struct walk *w, uint64_t interp, uint64_t tstate)
{
	uint64_t back;
	int err = read_pointer(w, tstate, w->off->tstate_interp, &back);

	if (!err && back != interp)
		return implausible(w, "a thread state belongs to another interpreter");
	return err;
}

/* Whether `tstate` is on the thread list of `interp`: 1, 0 or -errno. */
static int has_tstate(struct walk *w, uint64_t interp, uint64_t tstate)
{
	uint64_t at;
	int err = read_pointer(w, interp, w->off->interp_threads_head, &at);

	for (int i = 0; !err && at; i++) {
		if (i == THREADS_MAX)
			return implausible(w, "a list of threads without an end");
		if (at == tstate)
			return 1;
		err = read_pointer(w, at, w->off->tstate_next, &at);
	}
	return err;
}

/* Whether it is a thread state of any interpreter: a GIL may be shared by several. */
static int find_tstate(struct walk *w, uint64_t tstate)
{
	uint64_t interp;
	int rc = read_pointer(w, w->runtime, w->off->runtime_interpreters_head, &interp);

	for (int i = 0; !rc && interp && i < PYINTERPS_MAX; i++) {
		rc = has_tstate(w, interp, tstate);
		if (rc)
			return rc;
		rc = read_pointer(w, interp, w->off->interp_next, &interp);
	}
	return rc;
}

/*
 * A thread that ends takes its state off the list before it lets the GIL go (_PyThreadState_DeleteCurrent() in Python/pystate.c,
 * 3.8 to 3.15), and may lose its CPU in between. What it had still points back to an interpreter of the list. 1, 0 or -errno.
 */
static int is_just_off_its_list(struct walk *w, uint64_t tstate)
{
	uint64_t back, interp;
	int rc;

	if (procmem__read_u64(w->pid, tstate + w->off->tstate_interp, &back) || !back)
		return 0;
	rc = read_pointer(w, w->runtime, w->off->runtime_interpreters_head, &interp);
	for (int i = 0; !rc && interp && interp != back && i < PYINTERPS_MAX; i++)
		rc = read_pointer(w, interp, w->off->interp_next, &interp);
	return rc < 0 ? rc : interp == back;
}

/*
 * Checks the live values of one GIL. The holder must be a thread state while it is locked; afterwards the pointer
 * may dangle (drop_gil() does not clear it when a thread ends), so then it only has to look like one.
 */
static int check_gil(struct walk *w, uint64_t gil)
{
	const struct pyoffsets *off = w->off;
	uint8_t bytes[256];
	uint64_t interval, holder;
	int32_t locked;
	int rc = procmem__read(w->pid, gil, bytes, sizeof(bytes));

	if (rc)
		return rc;
	interval = bytes__u64(bytes + off->gil_interval);
	holder = bytes__u64(bytes + off->gil_last_holder);
	locked = (int32_t)bytes__u32(bytes + off->gil_locked);
	if (locked < -1 || locked > 1)
		return implausible(w, "the GIL's lock is neither free nor taken");
	if (interval == 0 || interval > INTERVAL_MAX_US)
		return implausible(w, "the switch interval is out of range");
	if (holder % 8 != 0 || holder >> PYVER_USER_BITS)
		return implausible(w, "the GIL's holder points nowhere");
	w->enabled = w->enabled || off->gil_enabled == PYOFF_NONE || bytes__u32(bytes + off->gil_enabled) != 0;
	if (locked != 1)
		return 0;
	rc = find_tstate(w, holder);
	if (!rc)
		rc = is_just_off_its_list(w, holder);
	return rc < 0 ? rc : rc == 1 ? 0 : implausible(w, "the GIL's holder is not a thread of the interpreter");
}

/* Keeps a GIL, under the lowest id of the interpreters that share it. */
static void keep_gil(struct walk *w, uint64_t gil, uint64_t interp, int64_t id)
{
	for (int i = 0; i < w->n; i++) {
		if (w->gils[i].gil != gil)
			continue;
		w->gils[i].users++;
		if (id < w->gils[i].interp_id) {
			w->gils[i].interp = interp;
			w->gils[i].interp_id = id;
		}
		return;
	}
	if (w->n < GILS_MAX)
		w->gils[w->n++] = (struct gil_address){gil, interp, id, 1};
	else if (id == 0) /* new interpreters stand in front: main comes last, and may not be lost */
		w->gils[GILS_MAX - 1] = (struct gil_address){gil, interp, id, 1};
}

/* One interpreter of the list: its threads point back to it, its GIL is noted. */
static int visit_interpreter(struct walk *w, uint64_t interp)
{
	uint64_t id, gil, tstate;
	int err = procmem__read_u64(w->pid, interp + w->off->interp_id, &id);

	if (!err)
		err = read_pointer(w, interp, w->off->interp_threads_head, &tstate);
	if (!err && tstate)
		err = check_tstate(w, interp, tstate);
	if (err)
		return err;
	if (id > INT32_MAX)
		return implausible(w, "an interpreter's id is out of range");
	if (w->off->interp_gil == PYOFF_NONE) {
		keep_gil(w, w->runtime + w->off->runtime_gil, 0, 0);
		return 0;
	}
	err = read_pointer(w, interp, w->off->interp_gil, &gil);
	if (!err && gil) /* NULL while an interpreter is being made */
		keep_gil(w, gil, interp, (int64_t)id);
	return err;
}

static int walk_once(struct walk *w)
{
	uint64_t interp;
	int err = read_pointer(w, w->runtime, w->off->runtime_interpreters_head, &interp);

	w->n = 0;
	w->enabled = false;
	for (int i = 0; !err && interp; i++) {
		if (i == PYINTERPS_MAX)
			return implausible(w, "a list of interpreters without an end");
		err = visit_interpreter(w, interp);
		if (!err)
			err = read_pointer(w, interp, w->off->interp_next, &interp);
	}
	for (int i = 0; !err && i < w->n; i++)
		err = check_gil(w, w->gils[i].gil);
	return err ? err : w->n > 0 ? 0 : -EAGAIN;
}

/* The target changes under the reader: only what is wrong each time is wrong. */
static int walk_patiently(struct walk *w)
{
	static const struct timespec pause = {.tv_nsec = ATTEMPT_PAUSE_NS};
	int err;

	for (int i = 0;; i++) {
		err = walk_once(w);
		if ((err != -ENOTSUP && err != -EFAULT) || i + 1 == ATTEMPTS)
			return err;
		nanosleep(&pause, NULL);
	}
}

static int by_interp_id(const void *a, const void *b)
{
	const struct gil_address *x = a, *y = b;

	return x->interp_id < y->interp_id ? -1 : x->interp_id > y->interp_id;
}

static int explain_walk(const struct walk *w, int err, struct reason *why)
{
	switch (err) {
	case -EAGAIN:
		return reason__set(why, err, "process %d has not started its interpreter yet", w->pid);
	case -EFAULT:
		return reason__set(why, -ENOTSUP,
				   "the memory of process %d does not look like its CPython: a pointer leads out of it",
				   w->pid);
	case -ENOTSUP:
		return reason__set(why, err, "the memory of process %d does not look like its CPython: %s", w->pid,
				   w->wrong);
	case -EPERM:
		return reason__set(why, err, "no permission to read the memory of process %d: CAP_SYS_PTRACE is needed",
				   w->pid);
	}
	return reason__set(why, err, "the memory of process %d cannot be read: %s", w->pid, strerror(-err));
}

/* Offsets into the GIL must lie in what check_gil() reads of it. */
static bool offsets_usable(const struct pyoffsets *off)
{
	return off->gil_interval <= 248 && off->gil_last_holder <= 248 && off->gil_locked <= 252 &&
	       (off->gil_enabled == PYOFF_NONE || off->gil_enabled <= 252);
}

int pygils__find(const struct target *t, struct elffile *ef, const struct pyoffsets *off, struct gil_address *ret,
		     int max, int *ret_n, bool *ret_enabled, struct reason *why)
{
	struct elf_symbol runtime;
	bool found = elffile__symbol(ef, "_PyRuntime", &runtime) == 0;

	return pygils__find_at(t, found ? runtime.vaddr : 0, off, ret, max, ret_n, ret_enabled, why);
}

int pygils__find_at(const struct target *t, uint64_t runtime, const struct pyoffsets *off, struct gil_address *ret, int max,
			int *ret_n, bool *ret_enabled, struct reason *why)
{
	struct walk w = {.pid = t->pid, .off = off, .wrong = "?"};
	int err;

	if (!runtime || !offsets_usable(off))
		return reason__set(why, -ENOTSUP, "%s: no usable _PyRuntime", t->image.path);
	w.runtime = runtime + t->image.bias;
	err = walk_patiently(&w);
	if (err)
		return explain_walk(&w, err, why);
	qsort(w.gils, (size_t)w.n, sizeof(w.gils[0]), by_interp_id);
	*ret_n = w.n < max ? w.n : max;
	memcpy(ret, w.gils, (size_t)*ret_n * sizeof(*ret));
	*ret_enabled = w.enabled;
	return 0;
}
