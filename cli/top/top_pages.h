/* SPDX-License-Identifier: GPL-2.0-only */
/* Parts of top_view.c's page of a process, and the pages beside it. Pure. */
#ifndef GILSCOPE_TOP_PAGES_H
#define GILSCOPE_TOP_PAGES_H

#include "cli/canvas.h"
#include "top_model.h"

/* Who waits for whom, and which code it is if that is known; lines [line, end). */
void top_pairs__draw(const struct top_model *m, const struct top_frame *f, struct canvas *c, size_t line, size_t end);

/* Everything about the thread under the cursor. There is a frame. */
void top_thread__draw(struct top_model *m, struct canvas *c);

/* The processes that can be opened. */
void top_list__draw(struct top_model *m, struct canvas *c, int64_t now_ms);

void top_help__draw(const struct top_model *m, struct canvas *c);

#endif
