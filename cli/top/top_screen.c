/* SPDX-License-Identifier: GPL-2.0-only */
/* See top_screen.h. */
#include "top_screen.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "cli/screen.h"
#include "top_model.h"

/* Last, for term.h makes macros of every short word there is. */
#include <ncurses.h>
#include <term.h>
#undef columns
#undef lines

#define ESCAPE_MS 50 /* an escape sequence is there by then, a lonely Esc is one */

static struct {
	volatile sig_atomic_t on;
	SCREEN *curses;
	struct termios before;
	bool ascii, colours, plain;
	char restore[256];   /* what gives the terminal back, for a signal handler */
	size_t restore_len;
} screen;

/* ---- taking the terminal and giving it back ---- */

static const int fatal[] = {SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV};

/* Async-signal-safe. */
static void on_fatal(int sig)
{
	if (screen.on && write(STDOUT_FILENO, screen.restore, screen.restore_len) >= 0)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &screen.before);
	screen.on = 0;
	raise(sig); /* SA_RESETHAND has put the default back */
}

static void add_restore(const char *capability)
{
	const char *text = tigetstr(capability);
	size_t len = text && text != (char *)-1 ? strlen(text) : 0;

	if (len && screen.restore_len + len < sizeof(screen.restore)) {
		memcpy(screen.restore + screen.restore_len, text, len);
		screen.restore_len += len;
	}
}

static void prepare_for_the_worst(void)
{
	struct sigaction act = {.sa_handler = on_fatal, .sa_flags = SA_RESETHAND};
	static bool prepared;

	screen.restore_len = 0;
	add_restore("sgr0");
	add_restore("rmkx");
	add_restore("cnorm");
	add_restore("rmcup");
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaction(fatal[i], &act, NULL);
	if (!prepared)
		atexit(top_screen__close);
	prepared = true;
}

/* Nobody has said which characters there are: on a server that is mostly forgotten, and the terminal knows UTF-8. */
static void choose_characters(void)
{
	const char *term = getenv("TERM");

	setlocale(LC_CTYPE, "");
	if (!getenv("LC_ALL") && !getenv("LC_CTYPE") && !getenv("LANG"))
		setlocale(LC_CTYPE, "C.UTF-8");
	screen.ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0 || !term || strncmp(term, "vt", 2) == 0 ||
		       strcmp(term, "linux") == 0;
}

static void choose_colours(void)
{
	const char *no_color = getenv("NO_COLOR");
	static const struct {
		enum look look;
		short colour;
	} colours[] = {
		{LOOK_GOOD, COLOR_GREEN}, {LOOK_WARN, COLOR_YELLOW}, {LOOK_BAD, COLOR_RED}, {LOOK_SORTED, COLOR_CYAN},
		{LOOK_KEY, COLOR_CYAN},
	};

	screen.plain = no_color && *no_color;
	screen.colours = !screen.plain && has_colors() && start_color() == OK;
	if (!screen.colours)
		return;
	use_default_colors();
	for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
		init_pair((short)colours[i].look, colours[i].colour, -1);
}

int top_screen__check(struct reason *why)
{
	if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
		return 0;
	return reason__set(why, -ENOTTY, "it needs a terminal, and standard %s is none (gilscope report, query and attach "
			   "write to files and pipes)", isatty(STDOUT_FILENO) ? "input" : "output");
}

int top_screen__open(struct reason *why)
{
	const char *term = getenv("TERM");

	if (tcgetattr(STDIN_FILENO, &screen.before))
		return reason__set(why, -errno, "the terminal's settings can't be read: %s", strerror(errno));
	choose_characters();
	screen.curses = screen__possible(STDOUT_FILENO) ? newterm(NULL, stdout, stdin) : NULL;
	if (!screen.curses)
		return reason__set(why, -ENOTTY, "a terminal of type \"%.40s\" cannot move its cursor, or is not known here: set "
				   "TERM, or use gilscope attach", term ? term : "");
	set_term(screen.curses);
	prepare_for_the_worst();
	screen.on = 1;
	cbreak();
	noecho();
	nonl(); /* Enter is told from Ctrl-J */
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(ESCAPE_MS);
	curs_set(0);
	choose_colours();
	return 0;
}

void top_screen__close(void)
{
	if (!screen.on)
		return;
	curs_set(1);
	if (!exit_ca_mode) { /* there is no other page to go back to */
		move(LINES - 1, 0);
		clrtoeol();
		refresh();
	}
	endwin();
	screen.on = 0;
	delscreen(screen.curses);
	screen.curses = NULL;
}

void top_screen__size(size_t *ret_columns, size_t *ret_lines, bool *ret_ascii)
{
	int height, width;

	getmaxyx(stdscr, height, width);
	*ret_columns = width > 0 ? (size_t)width : 1;
	*ret_lines = height > 0 ? (size_t)height : 1;
	*ret_ascii = screen.ascii;
}

/* ---- showing ---- */

/* Without colours the same things stand out, by other means. */
static attr_t attributes(enum look look, short *ret_pair)
{
	static const attr_t plain[] = {
		[LOOK_STRONG] = A_BOLD, [LOOK_FAINT] = A_DIM, [LOOK_HEADING] = A_REVERSE, [LOOK_SORTED] = A_REVERSE | A_BOLD,
		[LOOK_CHOSEN] = A_REVERSE | A_BOLD, [LOOK_GOOD] = A_NORMAL, [LOOK_WARN] = A_BOLD, [LOOK_BAD] = A_BOLD,
		[LOOK_KEY] = A_BOLD,
	};
	attr_t attrs = plain[look];

	*ret_pair = 0;
	if (screen.plain) /* emphasis is not wanted; bars and the chosen row are no emphasis */
		return attrs & A_REVERSE;
	if (screen.colours && (look == LOOK_GOOD || look == LOOK_WARN || look == LOOK_BAD || look == LOOK_SORTED ||
			       look == LOOK_KEY))
		*ret_pair = (short)look;
	if (screen.colours && look == LOOK_WARN)
		attrs = A_NORMAL;
	return attrs;
}

/* The terminal must agree on how wide a character is, or the rest of the line would shift. */
static void put_cell(int line, int column, const struct canvas_cell *cell, bool wide)
{
	wchar_t text[8] = {0};
	cchar_t one;
	short pair;
	attr_t attrs = attributes(cell->look, &pair);
	size_t n = mbstowcs(text, cell->text, 7);
	bool fits = n == 1 && wcwidth(text[0]) == (wide ? 2 : 1);

	if (!fits)
		wcscpy(text, L"?");
	if (setcchar(&one, text, attrs, pair, NULL) == OK)
		mvadd_wch(line, column, &one);
	if (!fits && wide && setcchar(&one, L" ", attrs, pair, NULL) == OK)
		mvadd_wch(line, column + 1, &one);
}

void top_screen__show(const struct canvas *c, bool anew)
{
	if (!screen.on)
		return;
	erase();
	for (size_t y = 0; y < c->lines; y++)
		for (size_t x = 0; x < c->columns; x++) {
			const struct canvas_cell *cell = canvas__at(c, y, x), *next = canvas__at(c, y, x + 1);

			if (cell->text[0])
				put_cell((int)y, (int)x, cell, next && !next->text[0]);
		}
	if (anew)
		clearok(curscr, TRUE);
	refresh();
}

/* ---- keys ---- */

int top_screen__key(void)
{
	static const struct {
		int curses, key;
	} keys[] = {
		{KEY_UP, TOP_KEY_UP}, {KEY_DOWN, TOP_KEY_DOWN}, {KEY_LEFT, TOP_KEY_LEFT}, {KEY_RIGHT, TOP_KEY_RIGHT},
		{KEY_PPAGE, TOP_KEY_PAGE_UP}, {KEY_NPAGE, TOP_KEY_PAGE_DOWN}, {KEY_HOME, TOP_KEY_HOME}, {KEY_END, TOP_KEY_END},
		{KEY_ENTER, TOP_KEY_ENTER}, {KEY_RESIZE, TOP_KEY_RESIZE}, {KEY_F(1), TOP_KEY_HELP}, {KEY_F(10), TOP_KEY_QUIT},
		{KEY_BACKSPACE, TOP_KEY_ESCAPE}, {'\n', TOP_KEY_ENTER}, {3, TOP_KEY_QUIT}, {4, TOP_KEY_QUIT},
	};
	int key = getch();

	if (key == ERR)
		return TOP_KEY_NONE;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (key == keys[i].curses)
			return keys[i].key;
	return key < 256 ? key : TOP_KEY_RESIZE; /* one that means nothing here */
}
