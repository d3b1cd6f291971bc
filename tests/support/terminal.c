/* SPDX-License-Identifier: GPL-2.0-only */
/* See terminal.h. */
#include "terminal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"
#include "pythons.h"

#define LIMIT_MS 60000
#define LOOK_MS 50

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* One command to the server. */
static void tmux(struct terminal *t, struct program *p, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void tmux(struct terminal *t, struct program *p, const char *fmt, ...)
{
	char command[4096];
	va_list args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	program__run(p, "tmux -u -S %s/socket %s", t->dir, command);
}

static void tell(struct terminal *t, const char *command)
{
	struct program p;

	tmux(t, &p, "%s", command);
	cr_assert_eq(p.status, 0, "tmux %s: %s", command, p.err);
	program__free(&p);
}

static void start_server(struct terminal *t)
{
	char socket[96];
	struct stat st;

	snprintf(socket, sizeof(socket), "%s/socket", t->dir);
	t->server = fork();
	cr_assert_geq(t->server, 0);
	if (t->server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setsid();
		execlp("tmux", "tmux", "-D", "-u", "-S", socket, "-f", "/dev/null", (char *)NULL);
		_exit(127);
	}
	for (int ms = 0; stat(socket, &st) && ms < LIMIT_MS; ms += LOOK_MS)
		pause_ms(LOOK_MS);
	cr_assert_eq(stat(socket, &st), 0, "tmux does not start");
}

static void require_tmux(void)
{
	struct program p;
	bool there;

	program__run(&p, "command -v tmux");
	there = p.status == 0;
	program__free(&p);
	if (!there)
		cr_skip_test("tmux is not installed");
}

/* The shell notes what the terminal is like before and after. */
static void write_script(const struct terminal *t, const char *env, const char *words)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/script", t->dir);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fprintf(f, "trap : INT QUIT\nexport DIR=%s\necho 'what stood there before'\nstty -g >$DIR/before\n", t->dir);
	fprintf(f, "LC_ALL=C.UTF-8 %s sh -c 'echo $$ >$DIR/pid.new; mv $DIR/pid.new $DIR/pid; exec \"$0\" \"$@\"' %s %s\n",
		env ? env : "", program__path(), words);
	fprintf(f, "echo $? >$DIR/status.new\nstty -g >$DIR/after\nmv $DIR/status.new $DIR/status\n"
		"echo 'it is over'\nexec cat >/dev/null\n");
	fclose(f);
}

void terminal__start(struct terminal *t, int columns, int lines, const char *env, const char *words)
{
	char command[256];

	*t = (struct terminal){.server = 0};
	require_tmux();
	temp_dir__make(t->dir, sizeof(t->dir));
	write_script(t, env, words);
	start_server(t);
	snprintf(command, sizeof(command), "new-session -d -x %d -y %d 'exec sh %s/script'", columns, lines, t->dir);
	tell(t, command);
}

const char *terminal__look(struct terminal *t)
{
	struct program p;

	tmux(t, &p, "capture-pane -p");
	cr_assert_eq(p.status, 0, "tmux: %s", p.err);
	free(t->page);
	t->page = strdup(p.out);
	program__free(&p);
	return t->page;
}

/* SGR sequences: 30 to 37 and 90 to 97 are colours of letters, 40 to 47 and 100 to 107 of what is behind them, 38 and 48 any. */
static bool is_colour(const char *sgr)
{
	for (const char *p = sgr; *p != 'm'; p += strcspn(p, ";m"), p += *p == ';') {
		long n = strtol(p, NULL, 10);

		if ((n >= 30 && n <= 38) || (n >= 40 && n <= 48) || (n >= 90 && n <= 107))
			return true;
	}
	return false;
}

bool terminal__is_coloured(struct terminal *t)
{
	bool coloured = false;
	struct program p;

	tmux(t, &p, "capture-pane -p -e");
	cr_assert_eq(p.status, 0, "tmux: %s", p.err);
	for (const char *at = p.out; !coloured && (at = strstr(at, "\033[")); at++)
		coloured = strchr(at, 'm') && is_colour(at + 2);
	program__free(&p);
	return coloured;
}

static void await(struct terminal *t, const char *text, bool there)
{
	for (int ms = 0; ms < LIMIT_MS; ms += LOOK_MS) {
		if ((strstr(terminal__look(t), text) != NULL) == there)
			return;
		pause_ms(LOOK_MS);
	}
	cr_assert_fail("'%s' is %s the screen:\n%s", text, there ? "not on" : "still on", t->page);
}

void terminal__await(struct terminal *t, const char *text)
{
	await(t, text, true);
}

void terminal__await_gone(struct terminal *t, const char *text)
{
	await(t, text, false);
}

void terminal__type(struct terminal *t, const char *keys)
{
	char command[128];

	snprintf(command, sizeof(command), "send-keys %s", keys);
	tell(t, command);
}

void terminal__resize(struct terminal *t, int columns, int lines)
{
	char command[128];

	snprintf(command, sizeof(command), "resize-window -x %d -y %d", columns, lines);
	tell(t, command);
}

/* A number that the script leaves in a file of its directory. */
static long await_number(const struct terminal *t, const char *name)
{
	char path[96];
	long number;

	snprintf(path, sizeof(path), "%s/%s", t->dir, name);
	for (int ms = 0; ms < LIMIT_MS; ms += LOOK_MS) {
		FILE *f = fopen(path, "r");
		int got = f ? fscanf(f, "%ld", &number) : 0;

		if (f)
			fclose(f);
		if (got == 1)
			return number;
		pause_ms(LOOK_MS);
	}
	cr_assert_fail("there is no %s", path);
	return -1;
}

pid_t terminal__pid(struct terminal *t)
{
	return (pid_t)await_number(t, "pid");
}

static void expect_same_settings(const struct terminal *t)
{
	struct program p;

	program__run(&p, "cmp %s/before %s/after", t->dir, t->dir);
	cr_expect_eq(p.status, 0, "the terminal's settings have changed: %s%s", p.out, p.err);
	program__free(&p);
}

int terminal__end(struct terminal *t)
{
	long status = await_number(t, "status");
	struct program p;

	terminal__await(t, "it is over");
	cr_expect(t->one_page || strstr(t->page, "what stood there before"), "the screen was not given back:\n%s", t->page);
	expect_same_settings(t);
	tmux(t, &p, "display-message -p '#{cursor_flag}'");
	cr_expect_str_eq(p.out, "1\n", "the cursor is hidden");
	program__free(&p);
	return (int)status;
}

void terminal__close(struct terminal *t)
{
	if (t->server > 0) {
		kill(t->server, SIGTERM);
		waitpid(t->server, NULL, 0);
	}
	free(t->page);
	if (t->dir[0])
		temp_dir__remove(t->dir);
	*t = (struct terminal){.server = 0};
}
