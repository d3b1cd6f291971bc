/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A set of uprobes in one file for one process (or all), as one object: a uprobe_multi link, or a perf event each.
 */
#ifndef GILSCOPE_UPROBE_LINK_H
#define GILSCOPE_UPROBE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/target/site_text.h"

/* BPF_TRACE_UPROBE_MULTI, Linux 6.6 (include/uapi/linux/bpf.h): older headers don't have it. */
#define UPROBE_MULTI_ATTACH_TYPE 48

struct uprobe_sites {
	uint64_t *offsets; /* file offsets of instruction starts */
	uint64_t *cookies;
	struct site_text *texts; /* what the file has there; `len` 0: that is not known */
	size_t n;
};

/* `text`: copied; NULL: not known. 0 or -ENOMEM. */
int uprobe_sites__add(struct uprobe_sites *sites, uint64_t offset, uint64_t cookie, const struct site_text *text);
void uprobe_sites__clear(struct uprobe_sites *sites);

/* Adds the texts that are known to the `n` that `texts` has, as far as there is room. How many it has then. */
size_t uprobe_sites__texts(const struct uprobe_sites *sites, struct site_text *texts, size_t n, size_t max);

#define UPROBE_EVERYBODY 0

struct uprobe_place {
	int image_fd; /* the file, open */
	pid_t pid;    /* the only process in which the probes count, or UPROBE_EVERYBODY: all that map the file, now or later */
	pid_t about;  /* whose code lifting them may touch, or UPROBE_EVERYBODY */
	uint64_t ino; /* the file's, as mappings show it; 0: not known */
};

struct uprobe_link;

/* Whether this kernel makes uprobe_multi links at all: 0, or -errno of the attempt. Plants nothing. Needs the rights to load. */
int uprobe_link__try_multi(void);

/*
 * Plants all sites or none. `program_fd`: of a loaded program; `multi`: with UPROBE_MULTI_ATTACH_TYPE. 0, -ENOTSUP (the
 * kernel has no uprobes) or -errno. Closing lifts them and returns when they are gone; NULL is legal.
 */
int uprobe_link__open(int program_fd, const struct uprobe_place *place, const struct uprobe_sites *sites, bool multi,
		      struct uprobe_link **ret);
void uprobe_link__close(struct uprobe_link *link);

#endif
