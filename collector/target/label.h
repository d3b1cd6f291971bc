/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What to call a process: its program, and the script or module it runs. Pure.
 *
 * Further arguments never appear (they may hold secrets), nor does anything a terminal would obey.
 */
#ifndef GILSCOPE_LABEL_H
#define GILSCOPE_LABEL_H

#include <stddef.h>

/*
 * Makes a label of `cmdline`, the bytes of /proc/PID/cmdline (arguments ended by NUL; a process may have
 * overwritten them with anything). `comm` serves where it is empty. Examples: "python3 app.py", "python3 -m
 * http.server", "python3 -c", "uwsgi app.ini"; of a title that a process has given itself "gunicorn: worker [shop:app]",
 * "uWSGI worker 2", "celeryd: w1@host:MainProcess". Always terminates (size > 0).
 */
void label__from_cmdline(const char *cmdline, size_t len, const char *comm, char *buf, size_t size);

#define LABEL_FORK_SERVER "fork server"

/*
 * What a process does for the program that started it, if its command line is one of those by which multiprocessing and loky
 * start theirs: "spawned worker", LABEL_FORK_SERVER, "resource tracker", "loky worker". NULL: it is a program of its own.
 */
const char *label__part(const char *cmdline, size_t len);

#endif
