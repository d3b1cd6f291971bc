/* SPDX-License-Identifier: GPL-2.0-only */
/* See site_text.h. */
#include "site_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/process/procmaps.h"
#include "collector/process/procmem.h"
#include "collector/process/theirs.h"
#include "target.h"

/* What the kernel writes over an instruction: arch/x86 UPROBE_SWBP_INSN, arch/arm64 UPROBES_BRK. */
#ifdef __aarch64__
static const uint8_t breakpoint[] = {0xa0, 0x00, 0x20, 0xd4};
#else
static const uint8_t breakpoint[] = {0xcc};
#endif

#define BREAKPOINT_LEN sizeof(breakpoint)

static bool is_breakpoint(const uint8_t *bytes, size_t left)
{
	return left >= BREAKPOINT_LEN && memcmp(bytes, breakpoint, BREAKPOINT_LEN) == 0;
}

/* Whether memory and file agree in [from, to), breakpoints aside. */
static bool agree(const struct site_text *t, const uint8_t *memory, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		if (memory[i] == t->bytes[i])
			continue;
		if (!is_breakpoint(memory + i, to - i))
			return false;
		i += BREAKPOINT_LEN - 1;
	}
	return true;
}

static enum site_state compare_one(const struct site_text *t, const uint8_t *memory)
{
	size_t end = t->at + t->insn_len;
	bool trapped = is_breakpoint(memory + t->at, t->insn_len) && !is_breakpoint(t->bytes + t->at, t->insn_len);
	size_t rest = t->at + (trapped ? BREAKPOINT_LEN : 0);

	if (memcmp(memory + rest, t->bytes + rest, end - rest) != 0 || !agree(t, memory, 0, t->at) ||
	    !agree(t, memory, end, t->len))
		return trapped ? SITE_HALF : SITE_CHANGED;
	return trapped ? SITE_TRAPPED : SITE_SAME;
}

/* Where a mapping has the site, or 0. Cut off at the mapping's ends is what lies around the instruction. */
static uint64_t place_in(const struct site_text *t, const struct proc_map *map)
{
	uint64_t insn = t->offset + t->at, len = map->end - map->start;

	if (insn < map->offset || insn - map->offset >= len || len - (insn - map->offset) < t->insn_len)
		return 0;
	return map->start + (insn - map->offset);
}

/* The site without what its mapping does not have. */
static struct site_text inside(const struct site_text *t, const struct proc_map *map)
{
	struct site_text cut = *t;
	uint64_t end = map->offset + (map->end - map->start);

	if (cut.offset < map->offset) {
		size_t off = (size_t)(map->offset - cut.offset);

		memmove(cut.bytes, cut.bytes + off, cut.len - off);
		cut.offset += off;
		cut.at -= off;
		cut.len -= off;
	}
	if (cut.offset + cut.len > end)
		cut.len = (size_t)(end - cut.offset);
	return cut;
}

static enum site_state look_at(const struct site_text *t, const struct proc_map *map, uint64_t place, pid_t pid)
{
	struct site_text cut = inside(t, map);
	uint8_t memory[sizeof(cut.bytes)];

	return procmem__read(pid, place - cut.at, memory, cut.len) ? SITE_UNREAD : compare_one(&cut, memory);
}

/* Is told of a site in each mapping that has it. */
typedef void site_fn(void *arg, size_t site, enum site_state state, uint64_t place);

static void look_in_maps(const struct site_text *t, size_t site, const char *text, size_t len, pid_t pid, uint64_t ino,
			 site_fn *found, void *arg)
{
	size_t line;

	for (; (line = procmaps__line_len(text, len)) > 0; text += line, len -= line) {
		struct proc_map map;
		uint64_t place;

		if (procmaps__parse(text, line, &map) || !map.exec || map.ino != ino)
			continue;
		place = place_in(t, &map);
		if (place)
			found(arg, site, look_at(t, &map, place, pid), place);
	}
}

static int look_everywhere(const struct site_text *texts, size_t n, pid_t pid, uint64_t ino, site_fn *found, void *arg)
{
	char path[64], *text;
	size_t len;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	err = theirs__slurp(pid, path, PROCMAPS_MAX, &text, &len);
	if (!err && !len) { /* it is ending, and has no memory any more */
		free(text);
		err = -ESRCH;
	}
	if (err)
		return err;
	for (size_t i = 0; i < n; i++)
		look_in_maps(&texts[i], i, text, len, pid, ino, found, arg);
	free(text);
	return 0;
}

/* ---- before planting ---- */

struct counting {
	struct site_text_tally tally;
	size_t site;   /* the last that was found, + 1 */
};

static void count(void *arg, size_t site, enum site_state state, uint64_t place)
{
	struct counting *c = arg;
	struct site_text_tally *tally = &c->tally;
	bool changed = state == SITE_CHANGED || state == SITE_HALF;

	tally->elsewhere -= c->site != site + 1;
	c->site = site + 1;
	tally->unread += state == SITE_UNREAD;
	tally->same += state == SITE_SAME || state == SITE_TRAPPED;
	tally->breakpoints += state == SITE_TRAPPED;
	tally->changed += changed;
	tally->half += state == SITE_HALF;
	if (changed && !tally->first)
		tally->first = place;
}

int site_texts__compare(const struct site_text *texts, size_t n, pid_t pid, uint64_t ino, struct site_text_tally *ret)
{
	struct counting c = {.tally.elsewhere = n};
	int err = look_everywhere(texts, n, pid, ino, count, &c);

	if (!err)
		*ret = c.tally;
	return err;
}

/* ---- before lifting ---- */

static void note(void *arg, size_t site, enum site_state state, uint64_t place)
{
	enum site_state *states = arg;

	(void)place;
	if (state > states[site])
		states[site] = state;
}

int site_texts__look(const struct site_text *texts, size_t n, pid_t pid, uint64_t ino, enum site_state *ret)
{
	for (size_t i = 0; i < n; i++)
		ret[i] = SITE_ELSEWHERE;
	return look_everywhere(texts, n, pid, ino, note, ret);
}

/* ---- in words ---- */

#define WITHOUT_PROBES "no probe is planted; gilscope dump needs none"

int site_text_tally__judge(const struct site_text_tally *tally, size_t n, pid_t pid, struct reason *why)
{
	pid_t tracer;

	if (tally->elsewhere)
		return reason__set(why, -ENOTSUP, "process %d runs %zu of %zu places of the probe plan from other memory than "
				   "its interpreter's file (its text was moved, as for huge pages): " WITHOUT_PROBES,
				   (int)pid, tally->elsewhere, n);
	if (tally->half)
		return reason__set(why, -ENOTSUP, "process %d has changed its own code at %zu of %zu places of the probe "
				   "plan (at 0x%" PRIx64 " for one) while breakpoints stood there. They stay, as it would be "
				   "killed without them: leave running what keeps them (gilscope-probes); " WITHOUT_PROBES,
				   (int)pid, tally->half, n, tally->first);
	if (tally->changed)
		return reason__set(why, -ENOTSUP, "process %d has other code in memory than in its interpreter's file at %zu of "
				   "%zu places of the probe plan, at 0x%" PRIx64 " for one (live patching or a hook): "
				   WITHOUT_PROBES, (int)pid, tally->changed, n, tally->first);
	if (tally->unread)
		return reason__set(why, -ENOTSUP, "the code of process %d could not be read at %zu of %zu places of the probe "
				   "plan, so it cannot be compared with its file: " WITHOUT_PROBES, (int)pid,
				   tally->unread, n);
	tracer = target__tracer(pid);
	if (tally->breakpoints && tracer > 0 && tracer != getpid()) /* `run` traces what it starts */
		return reason__set(why, -ENOTSUP, "process %d has breakpoints at %zu of %zu places of the probe plan and a "
				   "debugger (process %d) is attached: they may be its own, so " WITHOUT_PROBES, (int)pid,
				   tally->breakpoints, n, (int)tracer);
	return 0;
}

int site_texts__check(const struct site_text *texts, size_t n, pid_t pid, uint64_t ino, struct site_text_tally *ret,
		      struct reason *why)
{
	struct site_text_tally tally = {0};
	int err = site_texts__compare(texts, n, pid, ino, &tally);

	if (ret)
		*ret = tally;
	if (err)
		return reason__set(why, err, "can't compare the code of process %d with its file: %s", (int)pid, strerror(-err));
	return site_text_tally__judge(&tally, n, pid, why);
}
