/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's talk with who manages it (systemd's sd_notify protocol, by $NOTIFY_SOCKET) and with `gilscope status` (a socket
 * in the directory of locks). Both are fed by the loop that observes: a watchdog that is fed, and a status that is answered, mean
 * that it turns.
 */
#ifndef GILSCOPE_SERVICE_H
#define GILSCOPE_SERVICE_H

#include <limits.h>

#include "collector/base/reason.h"

struct service;

/* Opens the socket of status. 0, or -errno with the reason: another daemon of this user runs. */
int service__open(struct service **ret, struct reason *why);

/* NULL is legal. */
void service__close(struct service *s);

/* "READY=1" and the like; nothing where nobody manages us. */
void service__tell(const struct service *s, const char *state);

/* A turn of the loop: feeds the watchdog. Returns a client that wants the status, to be given to service__answer(); -1: none. */
int service__turn(const struct service *s);

/* Sends the whole text to a client and closes it; does not wait. */
void service__answer(int client, const char *text);

/* Asks the daemon of this user: its answer, to be freed. -ENOENT: none runs; -ETIMEDOUT: it does not answer; -errno. */
int service__ask(int timeout_ms, char **ret, struct reason *why);

#endif
