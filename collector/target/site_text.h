/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a process still runs the code that its file has, at the places of the probe plan.
 *
 * A uprobe is planted by file and offset: the kernel saves the instruction that stands in the *file*, and puts that back when it
 * is lifted. A process that moved its text to other memory never meets such a probe; one that changed its text (live patching,
 * hooks) would run an instruction that is not there any more, and be killed. So the memory is compared before planting, and
 * before lifting (planter_keep.c). Reads the process, writes nothing. Pure.
 */
#ifndef GILSCOPE_SITE_TEXT_H
#define GILSCOPE_SITE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/base/reason.h"

#define SITE_TEXT_AROUND 16 /* bytes compared before and behind the instruction */
#define SITE_TEXT_INSN 16   /* the longest instruction */

/* The bytes of the file at one site. */
struct site_text {
	uint64_t offset;   /* in the file, of bytes[0] */
	size_t len;
	size_t at;         /* the instruction: bytes[at] to bytes[at + insn_len - 1] */
	size_t insn_len;
	uint8_t bytes[2 * SITE_TEXT_AROUND + SITE_TEXT_INSN];
};

/* What a process has there; of several mappings, what comes last here. */
enum site_state {
	SITE_ELSEWHERE, /* no executable mapping of the file has the place */
	SITE_SAME,      /* the file's bytes */
	SITE_TRAPPED,   /* the same, and a breakpoint on the instruction's first byte */
	SITE_UNREAD,
	SITE_CHANGED,   /* other bytes, the first among them: the kernel leaves it alone when a probe is lifted */
	SITE_HALF,      /* a breakpoint stands, but what follows is other: lifting would make one instruction out of two */
};

/*
 * What a process has at each of `n` sites of the file with inode number `ino`, into ret[n]. 0 or -errno if its mappings could not
 * be read. A breakpoint with other bytes close by, before or behind the instruction, counts as SITE_HALF, too: where the new
 * instructions begin is not known. Bounded as site_texts__compare().
 */
int site_texts__look(const struct site_text *texts, size_t n, pid_t pid, uint64_t ino, enum site_state *ret);

/* The same in numbers. */
struct site_text_tally {
	size_t same;       /* sites whose memory is the file's */
	size_t breakpoints;/* of these: a breakpoint stands there already (a uprobe, ours or another tracer's) */
	size_t elsewhere;  /* no executable mapping of the file has the place */
	size_t changed;    /* other bytes than the file's */
	size_t half;       /* of these: with a breakpoint of somebody's (SITE_HALF) */
	size_t unread;     /* the memory could not be read */
	uint64_t first;    /* address of the first site that is changed; 0: none is */
};

/*
 * Compares `n` sites with each executable mapping of the file with inode number `ino` in process `pid`. A breakpoint
 * instruction at an instruction's first byte is no change: the kernel knows uprobes by it. Another program's breakpoints around
 * the instruction are none, either. 0 with the tally, or -errno if the mappings could not be read. Bounded as theirs__slurp()
 * and procmem__read_many().
 */
int site_texts__compare(const struct site_text *texts, size_t n, pid_t pid, uint64_t ino, struct site_text_tally *ret);

/*
 * 0 if probes may be planted by what the tally says, else -ENOTSUP with the sentence: what of the code is not the file's, and
 * what can be done without probes. A tally with breakpoints is refused where somebody else traces the process: then they
 * may be its own, which lifting a probe would take out.
 */
int site_text_tally__judge(const struct site_text_tally *tally, size_t n, pid_t pid, struct reason *why);

/*
 * Both for a process at whose sites nothing is planted yet: 0, or -ENOTSUP or -errno with the sentence. *ret (NULL: not wanted)
 * is zeroed where the mappings could not be read.
 */
int site_texts__check(const struct site_text *texts, size_t n, pid_t pid, uint64_t ino, struct site_text_tally *ret,
		      struct reason *why);

#endif
