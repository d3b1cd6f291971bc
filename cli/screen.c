/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See screen.h. The cursor always rests at the end of the status line, below the block; a paint goes up as many lines as
 * were painted last. Each paint is one write(), so nothing flickers.
 */
#include "screen.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "out.h"

#define HIDE_CURSOR "\033[?25l"
#define SHOW_CURSOR "\033[?25h"
#define LINE_SIZE 1024

static struct {
	volatile sig_atomic_t on;
	int fd;
	bool bold;
	struct termios before;
	size_t lines;               /* painted above the status line */
	size_t columns, height;     /* of the terminal when they were painted */
	char status[LINE_SIZE];
} screen;

static const int fatal[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV};

/* ---- taking the terminal and giving it back; async-signal-safe from here ... ---- */

static bool in_foreground(void)
{
	return tcgetpgrp(screen.fd) == getpgrp();
}

static void put(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(screen.fd, text, len);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return; /* the terminal is gone */
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
}

static void take(void)
{
	struct termios quiet = screen.before;

	if (!in_foreground())
		return;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(screen.fd, TCSADRAIN, &quiet);
	put(HIDE_CURSOR, strlen(HIDE_CURSOR));
}

static void give_back(void)
{
	if (!in_foreground())
		return;
	put(SHOW_CURSOR, strlen(SHOW_CURSOR));
	tcsetattr(screen.fd, TCSADRAIN, &screen.before);
}

static void on_fatal(int sig)
{
	if (screen.on)
		give_back();
	screen.on = 0;
	raise(sig); /* SA_RESETHAND has put the default back */
}

/* Ctrl-Z: stop like everybody else, with the terminal in order; the default action needs the signal unblocked. */
static void on_stop(int sig)
{
	int saved = errno;
	struct sigaction ours, standard = {.sa_handler = SIG_DFL};
	sigset_t stop, mask;

	if (screen.on)
		give_back();
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	sigaction(SIGTSTP, &standard, &ours);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &stop, &mask); /* stops here, goes on here */
	sigprocmask(SIG_SETMASK, &mask, NULL);
	sigaction(SIGTSTP, &ours, NULL);
	if (screen.on)
		take();
	screen.lines = 0; /* the shell has written since */
	errno = saved;
}

/* ---- ... to here ---- */

static void watch_signals(void)
{
	struct sigaction act = {.sa_handler = on_fatal, .sa_flags = SA_RESETHAND}, stop = {.sa_handler = on_stop};
	struct sigaction old;

	stop.sa_flags = SA_RESTART;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(fatal[i], &act, NULL);
	if (sigaction(SIGTSTP, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
		sigaction(SIGTSTP, &stop, NULL);
}

bool screen__possible(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

int screen__begin(int fd)
{
	static bool prepared;
	const char *no_color = getenv("NO_COLOR");

	if (screen.on)
		return 0;
	screen.fd = fd;
	screen.lines = 0;
	screen.status[0] = '\0';
	screen.bold = !no_color || !*no_color;
	if (tcgetattr(fd, &screen.before))
		return -errno;
	if (!prepared) {
		watch_signals();
		atexit(screen__end);
		prepared = true;
	}
	screen.on = 1;
	take();
	return 0;
}

bool screen__is_on(void)
{
	return screen.on;
}

/* To the first column of the block's first line. After a change of size nobody knows where that is: begin at the top. */
static void go_up(FILE *to)
{
	size_t columns, height;

	out__terminal(screen.fd, &columns, &height);
	if (screen.lines > 0 && (columns != screen.columns || height != screen.height))
		fputs("\033[H\033[J", to);
	else if (screen.lines > 0)
		fprintf(to, "\r\033[%zuA", screen.lines);
	else
		fputc('\r', to);
	screen.columns = columns;
	screen.height = height;
}

static void put_line(FILE *to, const char *line, size_t len, bool stands_out)
{
	char whole[LINE_SIZE], cut[LINE_SIZE];

	snprintf(whole, sizeof(whole), "%.*s", (int)(len < LINE_SIZE ? len : LINE_SIZE - 1), line);
	out__cut(cut, sizeof(cut), whole, screen.columns);
	fprintf(to, "%s%s%s\033[K", stands_out && screen.bold ? "\033[1m" : "", cut,
		stands_out && screen.bold ? "\033[0m" : "");
}

/* Sends what was composed, at once. */
static void send(FILE *to, char **text, size_t *len)
{
	if (fclose(to) == 0)
		put(*text, *len);
	free(*text);
}

/* Where to write what send() sends; NULL: nowhere now. */
static FILE *begin(char **all, size_t *bytes)
{
	return screen.on && in_foreground() ? open_memstream(all, bytes) : NULL;
}

void screen__paint(const char *text, int heading)
{
	size_t bytes = 0, painted = 0;
	char *all = NULL;
	FILE *to = begin(&all, &bytes);

	if (!to)
		return;
	go_up(to);
	while (*text && painted + 1 < screen.height) {
		size_t len = strcspn(text, "\n");

		put_line(to, text, len, (int)painted == heading);
		fputc('\n', to);
		painted++;
		text += len + (text[len] == '\n');
	}
	put_line(to, screen.status, strlen(screen.status), false);
	fputs("\033[J", to);
	screen.lines = painted;
	send(to, &all, &bytes);
}

void screen__status(const char *text)
{
	size_t bytes = 0;
	char *all = NULL;
	FILE *to;

	snprintf(screen.status, sizeof(screen.status), "%s", text);
	to = begin(&all, &bytes);
	if (!to)
		return;
	if (!screen.columns)
		go_up(to);
	fputc('\r', to);
	put_line(to, screen.status, strlen(screen.status), false);
	send(to, &all, &bytes);
}

void screen__erase(void)
{
	size_t bytes = 0;
	char *all = NULL;
	FILE *to = begin(&all, &bytes);

	if (!to)
		return;
	go_up(to);
	fputs("\033[J", to);
	screen.lines = 0;
	send(to, &all, &bytes);
}

void screen__end(void)
{
	if (!screen.on)
		return;
	screen__erase();
	screen.on = 0;
	give_back();
}
