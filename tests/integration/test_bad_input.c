/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What cannot be observed is refused in one sentence with status 1, and untouched: its code is compared with its files, byte
 * by byte. And a process that is hostile by its thread names and command line is observed like any other, but no byte of
 * theirs that could do harm reaches a terminal, a JSON reader or Redis.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/base/text.h"
#include "collector/elf/elffile.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/machine.h"
#include "../support/own_images.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/tool.h"

TestSuite(bad_input, .init = bpf_env__require, .timeout = 300);

/* ---- refusals ---- */

static void expect_one_sentence(const struct program *p, const char *who, const char *part)
{
	cr_expect_eq(p->status, 1, "%s: status %d: %s", who, p->status, p->err);
	cr_expect(strncmp(p->err, "gilscope: attach: ", 18) == 0, "%s: %s", who, p->err);
	cr_expect(strstr(p->err, part), "%s: instead of \"%s\": %s", who, part, p->err);
	cr_expect_eq(strchr(p->err, '\n'), p->err + strlen(p->err) - 1, "%s: one line: %s", who, p->err);
	cr_expect_str_empty(p->out, "%s: %s", who, p->out);
}

/* And at no moment is a breakpoint in what it runs. */
static void expect_refused(pid_t pid, const char *who, const char *part)
{
	struct program p;
	char words[64];
	size_t changed;
	struct tool t;

	snprintf(words, sizeof(words), "attach %d --no-store --duration 1s", (int)pid);
	p.status = tool__run_watching(&t, words, pid, &changed);
	p.out = tool__stdout(&t);
	p.err = tool__stderr(&t);
	expect_one_sentence(&p, who, part);
	cr_expect_eq(changed, 0, "%s: its code was written to", who);
	cr_expect_eq(kill(pid, 0), 0, "%s has ended", who);
	program__free(&p);
	tool__clear(&t);
}

/* It runs that file, and sleeps: past its loader. */
static bool is_idle(pid_t pid, const char *path)
{
	char exe[PATH_MAX] = "", name[64];
	struct program p;
	bool asleep;

	snprintf(name, sizeof(name), "/proc/%d/exe", (int)pid);
	cr_assert_geq(readlink(name, exe, sizeof(exe) - 1), 0, "%s does not run here", path);
	if (!strstr(exe, strrchr(path, '/')))
		return false;
	program__run(&p, "grep -q '^State:.S' /proc/%d/status", (int)pid);
	asleep = p.status == 0;
	program__free(&p);
	return asleep;
}

/* A program that needs no more than to be there. */
static pid_t start_idle(const char *path, const char *arg)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(path, path, arg, (char *)NULL);
		_exit(127);
	}
	while (!is_idle(pid, path))
		usleep(1000);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(bad_input, process_that_is_not_there)
{
	struct program p;
	pid_t gone = fork();

	if (gone == 0)
		_exit(0);
	waitpid(gone, NULL, 0);
	program__run(&p, "\"$GILSCOPE\" attach %d --no-store", (int)gone);
	expect_one_sentence(&p, "a PID of the past", "there is no process");
	program__free(&p);
}

Test(bad_input, program_that_is_not_python)
{
	pid_t pid = start_idle("/bin/sleep", "60");

	expect_refused(pid, "sleep", "(sleep) is not a CPython process: no file that it runs defines _PyRuntime");
	end(pid);
}

static void write_32_bit_program(char *path, size_t size, const char *dir)
{
	snprintf(path, size, "%s/python3", dir);
	must_write(path, machine__program_32, sizeof(machine__program_32));
}

Test(bad_input, program_of_32_bits)
{
	char dir[256], path[300];
	pid_t pid;

	temp_dir__make(dir, sizeof(dir));
	write_32_bit_program(path, sizeof(path), dir);
	pid = start_idle(path, NULL);
	expect_refused(pid, "a 32-bit program", "a 32-bit program: only 64-bit CPython is supported");
	end(pid);
	temp_dir__remove(dir);
}

Test(bad_input, file_of_32_bits)
{
	struct reason why = {{0}};
	char dir[256], path[300];
	struct elffile *elf;
	int fd;

	temp_dir__make(dir, sizeof(dir));
	write_32_bit_program(path, sizeof(path), dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_expect_eq(elffile__open(fd, &elf, &why), -ENOEXEC);
	cr_expect(strstr(why.text, "32-bit"), "%s", why.text);
	close(fd);
	temp_dir__remove(dir);
}

struct old_python {
	char exe[200];
};

/* What version managers left of 2.x and 3.0 to 3.7. On a machine without any there is no such test. */
ParameterizedTestParameters(bad_input, python_that_is_too_old)
{
	static struct old_python found[16];
	const char *home = getenv("HOME");
	char pattern[256];
	size_t n = 0;
	glob_t all;

	snprintf(pattern, sizeof(pattern), "%s/.pyenv/versions/{2.*,3.[0-7],3.[0-7].*}/bin/python", home ? home : "/root");
	if (glob(pattern, GLOB_BRACE, NULL, &all) == 0) {
		for (; n < all.gl_pathc && n < 16; n++)
			snprintf(found[n].exe, sizeof(found[n].exe), "%s", all.gl_pathv[n]);
		globfree(&all);
	}
	return cr_make_param_array(struct old_python, found, n);
}

ParameterizedTest(struct old_python *old, bad_input, python_that_is_too_old)
{
	char *argv[] = {old->exe, (char *)"-u", (char *)"-c",
			(char *)"import sys; sys.stdout.write('ready' + chr(10)); sys.stdin.read()", NULL};
	struct child python;

	child__start(&python, argv, NULL);
	expect_refused(python.pid, old->exe, ": 3.8 or newer is needed");
	child__stop(&python);
}

/*
 * A python whose functions have lost their records in .eh_frame: no call in it can be proven to be an instruction. Whatever
 * gilscope does about it, it plants nothing in that file, not even for a moment.
 */
Test(bad_input, python_without_proof_of_its_instructions_is_not_planted)
{
	struct child python;
	char dir[256], exe[300], words[64];
	struct tool t;
	char *err;
	size_t changed = 0;
	int status;

	temp_dir__make(dir, sizeof(dir));
	snprintf(exe, sizeof(exe), "%s/python-unproven", dir);
	must_run("cd '%s' && objcopy --dump-section .eh_frame=old /usr/bin/python3 copy && "
		 "head -c $(stat -c %%s old) /dev/zero >new && "
		 "objcopy --update-section .eh_frame=new /usr/bin/python3 '%s'", dir, exe);
	child__start_python(&python, exe);
	snprintf(words, sizeof(words), "attach %d --no-store --duration 1s", (int)python.pid);
	tool__start(&t, words);
	while (waitpid(t.pid, &status, WNOHANG) == 0)
		changed += code__changed_bytes_of(python.pid, "/python-unproven");
	err = tool__stderr(&t);
	cr_expect_eq(changed, 0, "planted in what is not proven: %s", err);
	cr_expect(status == 0 || strncmp(err, "gilscope: attach: ", 18) == 0, "%s", err);
	cr_expect_eq(code__changed_bytes_of(python.pid, "/python-unproven"), 0);
	free(err);
	tool__clear(&t);
	child__stop(&python);
	temp_dir__remove(dir);
}

/* A python whose file says that it is another version, and what is then found out about it. */
static const struct {
	char version[20];    /* PY_VERSION_HEX, least significant byte first */
	char part[80];
	int below;           /* it is no lie from this minor version on */
} lies[] = {
	{"\\360\\20\\7\\3", "is CPython 3.7.16: 3.8 or newer is needed", 99},
	{"\\360\\0\\20\\3", "CPython 3.16.0 is newer than this gilscope knows (3.8 to 3.15)", 99},
	{"\\360\\1\\15\\3", "CPython 3.13.1 does not describe itself: _Py_DebugOffsets is missing", 13},
	{"\\360\\22\\10\\3", "does not look like its CPython: ", 99},
};

/* A copy whose Py_Version is another: at its address less that of its section and the section's place in the file. */
static void make_liar(const char *exe, const char *version)
{
	must_run("P='%s'; cp /usr/bin/python3 $P && at=$(nm -D $P | awk '$3 == \"Py_Version\" { print $1 }') && "
		 "set -- $(readelf -SW $P | sed -n 's/.* .rodata *PROGBITS *\\([0-9a-f]*\\) \\([0-9a-f]*\\) .*/\\1 \\2/p') && "
		 "printf '%s' | dd of=$P bs=1 conv=notrunc seek=$((0x$at - 0x$1 + 0x$2)) 2>/dev/null", exe, version);
}

/* Where the distribution's has a Py_Version to lie with. */
ParameterizedTestParameters(bad_input, python_that_is_not_what_it_says_is_not_planted)
{
	static struct interpreter stock;

	interpreter__stock(&stock);
	return cr_make_param_array(struct interpreter, &stock, stock.minor >= 11);
}

ParameterizedTest(struct interpreter *in, bad_input, python_that_is_not_what_it_says_is_not_planted)
{
	struct child python;
	char dir[256], exe[300];

	temp_dir__make(dir, sizeof(dir));
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		if (in->minor >= lies[i].below)
			continue;
		snprintf(exe, sizeof(exe), "%s/liar-%zu", dir, i);
		make_liar(exe, lies[i].version);
		child__start_python(&python, exe);
		expect_refused(python.pid, exe, lies[i].part);
		child__stop(&python);
	}
	temp_dir__remove(dir);
}

/*
 * A python whose memory does not bear out what its file says: it has overwritten its own GIL's switch interval, which nobody
 * waits for in a program of one thread.
 */
static const char vandal[] =
	"import ctypes, sys\n"
	"runtime = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, '_PyRuntime'))\n"
	"sys.setswitchinterval(0.0123)\n"
	"at = next(a for a in range(runtime, runtime + 460000, 8) if ctypes.c_ulong.from_address(a).value == 12300)\n"
	"ctypes.c_ulong.from_address(at).value = 0\n"
	"print('ready', flush=True)\n"
	"sys.stdin.read()\n";

Test(bad_input, python_whose_memory_belies_its_file_is_not_planted)
{
	char dir[256], exe[300], *argv[] = {exe, (char *)"-c", (char *)vandal, NULL};
	struct child python;

	temp_dir__make(dir, sizeof(dir));
	snprintf(exe, sizeof(exe), "%s/python3", dir);
	must_run("cp /usr/bin/python3 '%s'", exe);
	child__start(&python, argv, NULL);
	expect_refused(python.pid, "vandal", "does not look like its CPython: the switch interval is out of range");
	child__stop(&python);
	temp_dir__remove(dir);
}

#define NOBODY "--reuid 65534 --regid 65534 --clear-groups "

/* What is taken away from gilscope, and the capability that its sentence names. */
static const struct {
	char without[80];
	char part[80];
	bool target_is_nobodys; /* and so may be looked into by nobody */
} losses[] = {
	{"--bounding-set -bpf,-sys_admin", "CAP_BPF is missing: run gilscope as root (sudo)", false},
	{"--bounding-set -perfmon,-sys_admin", "CAP_PERFMON is missing: run gilscope as root (sudo)", false},
	{"--bounding-set -sys_ptrace", "of user 0: root lacks CAP_SYS_PTRACE here, or a security module", false},
	{"--bounding-set -all", "of user 0: root lacks CAP_SYS_PTRACE here, or a security module", false},
	{NOBODY "--bounding-set -all", "of user 0: run as root or with CAP_SYS_PTRACE", false},
	{NOBODY "--bounding-set -all", "CAP_BPF and CAP_PERFMON are missing: run gilscope as root (sudo)", true},
};

static void start_nobodys_python(struct child *c)
{
	char *argv[] = {(char *)"/usr/bin/setpriv", (char *)"--reuid", (char *)"65534", (char *)"--regid", (char *)"65534",
			(char *)"--clear-groups", (char *)"/usr/bin/python3", (char *)"-c",
			(char *)"import sys; print('ready', flush=True); sys.stdin.read()", NULL};

	child__start(c, argv, NULL);
}

Test(bad_input, capability_that_is_missing_is_named)
{
	struct child roots, nobodys;
	struct program p;
	char dir[256];

	own_image__use_stock();
	temp_dir__make(dir, sizeof(dir));
	must_run("chmod 755 '%s' && cp '%s' '%s/gilscope'", dir, program__path(), dir); /* where nobody can run it */
	child__start_python(&roots, "/usr/bin/python3");
	start_nobodys_python(&nobodys);
	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		pid_t pid = losses[i].target_is_nobodys ? nobodys.pid : roots.pid;

		program__run(&p, "setpriv %s '%s/gilscope' attach %d --mode full --no-store --duration 1s", losses[i].without,
			     dir, (int)pid);
		expect_one_sentence(&p, losses[i].without, losses[i].part);
		cr_expect_eq(code__changed_bytes(pid), 0);
		program__free(&p);
	}
	child__stop(&nobodys);
	child__stop(&roots);
	temp_dir__remove(dir);
}

Test(bad_input, planted_breakpoints_would_be_seen)
{
	struct child python;
	struct tool t;
	char words[64];
	size_t changed;

	own_image__use_stock();
	child__start_python(&python, "/usr/bin/python3");
	cr_expect_eq(code__changed_bytes(python.pid), 0);
	snprintf(words, sizeof(words), "attach %d --no-store", (int)python.pid);
	tool__start(&t, words);
	tool__await(&t, "armed");
	cr_expect_eq(code__changed_bytes(python.pid), breakpoints__count(python.pid));
	cr_expect_gt(breakpoints__count(python.pid), 0);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	cr_expect_eq(code__changed_bytes(python.pid), 0);
	tool__clear(&t);
	snprintf(words, sizeof(words), "attach %d --no-store --duration 300ms", (int)python.pid);
	cr_expect_eq(tool__run_watching(&t, words, python.pid, &changed), 0);
	cr_expect_gt(changed, 0, "while they are there");
	tool__clear(&t);
	child__stop(&python);
}

/* ---- hostile names ---- */

#define SCRIPT_NAME "s\033[31m|\"'\\\n\r\t\302\233\377\342\200\256.py"
#define EVIL_MARK "s?[31m" /* what must be left of it */

/* Names of threads that only the kernel knows, and of threads that Python knows by a name. */
static const char hostile_program[] =
	"import ctypes, _thread, threading\n"
	"prctl = ctypes.CDLL(None).prctl\n"
	"names = [b'\\x1b]0;pwn\\x07', b'\\x1b[35;7mM\\x1b[2J', b'a\\nb\\r\\nc\\td', b'p|q\"r\\'s\\\\t',\n"
	"         b'\\xff\\xfe\\xc3(\\xe2\\x82',\n"
	"         b'\\xc2\\x9b31m\\xc2\\x85', b'\\xe2\\x80\\xaeevil', b'{\"t\":0}',\n"
	"         b'\\x7f\\x01\\x02\\x08\\x08', b'${x}%n%s{i}', b' ',\n"
	"         '\\u00e9\\u4e2d\\U0001f600'.encode()]\n"
	"def work(name):\n"
	"    prctl(15, name, 0, 0, 0)\n"
	"    while True:\n"
	"        sum(range(2000))\n"
	"for name in names:\n"
	"    _thread.start_new_thread(work, (name,))\n"
	"for name in [n.decode('latin-1') for n in names] + ['\\u202eevil\\u2028', '\\ud800\\x00x', '\\x1b[31m' * 1000]:\n"
	"    threading.Thread(target=work, args=(b'', ), name=name, daemon=True).start()\n"
	"print('ready', flush=True)\n"
	"work(b'main\\x1b[5m\\n')\n";

static void start_hostile_python(struct child *c, const char *dir)
{
	static char script[512], argument[10001];
	char *argv[] = {(char *)"/usr/bin/python3", script, argument, (char *)"--token=geheim", NULL};

	snprintf(script, sizeof(script), "%s/%s", dir, SCRIPT_NAME);
	must_write(script, hostile_program, sizeof(hostile_program) - 1);
	for (size_t i = 0; i < sizeof(argument) - 1; i++)
		argument[i] = "\033]2;x\007\n\r|\"\377"[i % 11];
	child__start(c, argv, NULL);
}

/* Lines of valid UTF-8 without any character that text__clean() takes out. */
static void expect_harmless(const char *text, const char *what)
{
	size_t len = strlen(text);
	char *copy = malloc(len + 1), *clean = malloc(len + 1);

	cr_assert(copy && clean);
	for (size_t i = 0; i <= len; i++)
		copy[i] = (char)(text[i] == '\n' ? ' ' : text[i]);
	text__clean(clean, len + 1, copy, len);
	cr_expect_gt(len, 0, "%s is empty", what);
	cr_expect(strcmp(copy, clean) == 0, "%s: not harmless: %s", what, clean);
	cr_expect_null(strstr(text, "geheim"), "%s: an argument has leaked", what);
	free(copy);
	free(clean);
}

static void expect_json(const char *text, const char *what)
{
	json_error_t error;
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);

	cr_expect_not_null(json, "%s: %s: %s", what, error.text, text);
	json_decref(json);
}

/* Every line that begins like an object is one. Their number. */
static size_t expect_json_lines(char *text, const char *what)
{
	size_t n = 0;

	for (char *line; (line = strsep(&text, "\n"));) {
		if (*line != '{')
			continue;
		expect_json(line, what);
		n++;
	}
	return n;
}

struct hostile {
	char dir[256];
	struct child python;
};

static void hostile__start(struct hostile *h)
{
	temp_dir__make(h->dir, sizeof(h->dir));
	setenv("GILSCOPE_STORE_DIR", h->dir, 1);
	start_hostile_python(&h->python, h->dir);
}

static void hostile__end(struct hostile *h)
{
	child__stop(&h->python);
	temp_dir__remove(h->dir);
}

enum answer {
	ANSWER_TEXT,
	ANSWER_OBJECT,
	ANSWER_OBJECTS, /* one per line */
};

/* How gilscope is asked about a process, and what it answers. */
static const struct {
	char command[96];
	enum answer answer;
} questions[] = {
	{"attach $EVIL_PID --duration 1200ms --interval 300ms --mode full --json", ANSWER_OBJECTS},
	{"attach $EVIL_PID --duration 1200ms --interval 300ms --mode full -v", ANSWER_TEXT},
	{"attach $EVIL_PID --duration 700ms --mode light -v", ANSWER_TEXT},
	{"ls", ANSWER_TEXT},
	{"ls --json", ANSWER_OBJECT},
	{"doctor $EVIL_PID", ANSWER_TEXT},
	{"query $EVIL_PID --threads", ANSWER_TEXT},
	{"query $EVIL_PID --threads --json", ANSWER_OBJECT},
	{"query $EVIL_PID --threads --format csv", ANSWER_TEXT},
	{"query s --json", ANSWER_OBJECT},
};

Test(bad_input, hostile_names_reach_no_terminal_and_no_json_reader)
{
	struct program p;
	struct hostile h;
	char pid[16];
	bool named = false;

	hostile__start(&h);
	snprintf(pid, sizeof(pid), "%d", (int)h.python.pid);
	setenv("EVIL_PID", pid, 1);
	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		const char *command = questions[i].command;

		program__run(&p, "\"$GILSCOPE\" %s", command);
		cr_expect_eq(p.status, 0, "%s: %d %s", command, p.status, p.err);
		expect_harmless(p.out, command);
		if (*p.err)
			expect_harmless(p.err, command);
		named = named || strstr(p.err, EVIL_MARK) || strstr(p.out, EVIL_MARK);
		if (questions[i].answer == ANSWER_OBJECT)
			expect_json(p.out, command);
		else if (questions[i].answer == ANSWER_OBJECTS)
			cr_expect_gt(expect_json_lines(p.out, command), 4);
		program__free(&p);
	}
	cr_expect(named, "nothing showed the script's name at all");
	hostile__end(&h);
}

/* util-linux's script gives it a terminal; the codes that gilscope paints with are its own. */
Test(bad_input, hostile_names_reach_no_painted_screen)
{
	struct program p;
	struct hostile h;

	hostile__start(&h);
	program__run(&p, "TERM=xterm script -qec \"'$GILSCOPE' attach %d --no-store --mode full -d 1s -i 200ms\" /dev/null",
		     (int)h.python.pid);
	cr_expect_eq(p.status, 0, "%s%s", p.out, p.err);
	cr_expect_not_null(strstr(p.out, "\033[?25l"), "it was no terminal: %s", p.out);
	cr_expect_not_null(strstr(p.out, "?]0;pwn?"), "the thread was not shown: %s", p.out);
	cr_expect_null(strstr(p.out, "\033]0;"));
	cr_expect_null(strstr(p.out, "\033[35;7m"));
	cr_expect_null(strstr(p.out, "\033[5m"));
	cr_expect_null(strstr(p.out, "\302\233"));
	cr_expect_null(strchr(p.out, '\a'));
	cr_expect_null(strchr(p.out, '\377'));
	program__free(&p);
	hostile__end(&h);
}

/* Everything that is in the store: the number of strings, then keys, members and fields, a line each. */
static const char dump[] =
	"local all = redis.call('KEYS', '*')\n"
	"local said = {}\n"
	"for _, key in ipairs(all) do\n"
	"  local kind = redis.call('TYPE', key).ok\n"
	"  local values = {}\n"
	"  if kind == 'zset' then values = redis.call('ZRANGE', key, 0, -1)\n"
	"  elseif kind == 'hash' then values = redis.call('HGETALL', key)\n"
	"  elseif kind == 'string' then values = {redis.call('GET', key)} end\n"
	"  said[#said + 1] = key\n"
	"  for _, value in ipairs(values) do said[#said + 1] = value == '' and '-' or value end\n"
	"end\n"
	"table.insert(said, 1, tostring(#said))\n"
	"return said\n";

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

Test(bad_input, hostile_names_reach_no_redis_key_or_member)
{
	char script[300];
	struct program p;
	struct hostile h;

	hostile__start(&h);
	program__run(&p, "\"$GILSCOPE\" attach %d --duration 1500ms --interval 500ms --mode full", (int)h.python.pid);
	cr_assert_eq(p.status, 0, "%s", p.err);
	program__free(&p);
	snprintf(script, sizeof(script), "%s/dump.lua", h.dir);
	must_write(script, dump, sizeof(dump) - 1);
	program__run(&p, "\"$GILSCOPE\" store cli --raw EVAL \"$(cat '%s')\" 0", script);
	cr_assert_eq(p.status, 0, "%s%s", p.out, p.err);
	expect_harmless(p.out, "the store");
	/* A newline in a member would be one line too many. */
	cr_expect_eq((long)count_lines(p.out), atol(p.out) + 1, "%ld strings in %zu lines", atol(p.out), count_lines(p.out));
	cr_expect_not_null(strstr(p.out, "?]0;pwn?"), "no trace of the thread");
	cr_expect_not_null(strstr(p.out, "|p/q\"r's"), "a bar in a name is a slash in the index: %s", p.out);
	cr_expect_gt(expect_json_lines(p.out, "the store"), 20);
	program__free(&p);
	hostile__end(&h);
}
