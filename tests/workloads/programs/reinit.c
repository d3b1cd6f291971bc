/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * usage: reinit ROUNDS
 *
 * A C program that starts Python, ends it while daemon threads run, goes on without it, and starts it again. It says `ready PID`
 * with Python running, at each `go` the next step, and then what is the case: `finalized` or `running`.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static void expect_go(void)
{
	char line[64];

	if (!fgets(line, sizeof(line), stdin) || strcmp(line, "go\n") != 0)
		_exit(0);
}

static void say(const char *word, int number)
{
	if (number)
		printf("%s %d\n", word, number);
	else
		puts(word);
	fflush(stdout);
}

static void start(void)
{
	Py_InitializeEx(0);
	if (PyRun_SimpleString("import threading\n"
			       "def spin():\n"
			       "    while True: sum(range(1000))\n"
			       "for i in range(3): threading.Thread(target=spin, daemon=True).start()\n"))
		_exit(1);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 2;

	for (int round = 0; round < rounds; round++) {
		start();
		say(round ? "running" : "ready", round ? 0 : (int)getpid());
		Py_BEGIN_ALLOW_THREADS
		expect_go();
		Py_END_ALLOW_THREADS
		Py_FinalizeEx();
		say("finalized", 0);
		expect_go();
	}
	say("over", 0);
	expect_go();
	return 0;
}
