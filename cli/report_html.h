/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A report as one HTML file, to be attached to whatever tells of the incident: verdict, chart over time, who made whom wait as a
 * heat map, threads. Nothing is loaded from anywhere and no script runs; it follows the reader's light or dark scheme and prints.
 */
#ifndef GILSCOPE_REPORT_HTML_H
#define GILSCOPE_REPORT_HTML_H

#include <stdio.h>

#include "report.h"

/* Writes the page. Every number that --json has too stands in a <data> element, as it is there. Errors are the stream's. */
void report_html__write(const struct report *r, FILE *to);

#endif
