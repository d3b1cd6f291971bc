/* SPDX-License-Identifier: GPL-2.0-only */
/* See tool.h. */
#include "tool.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collector/plan/sites.h"
#include "collector/process/procmem.h"
#include "collector/target/target.h"
#include "pythons.h"
#include "status.h"

#define WORDS_MAX 64

/* Appends the words to argv[n..]; their number then. */
static int split(char *words, char *argv[WORDS_MAX], int n)
{
	for (char *word = strtok(words, " "); word && n < WORDS_MAX - 1; word = strtok(NULL, " "))
		argv[n++] = word;
	argv[n] = NULL;
	return n;
}

static void make_file(char path[64])
{
	int fd;

	snprintf(path, 64, "/tmp/gilscope-test-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0, "mkstemp: %s", strerror(errno));
	close(fd);
}

static void child_main(const struct tool *t, const char *under, const char *words)
{
	const char *output = getenv("OUTPUT");
	char program[PATH_MAX], copy[4096], before[1024], *argv[WORDS_MAX];
	int n;
	int out = open(t->out, O_WRONLY), err = open(t->err, O_WRONLY), in = open("/dev/null", O_RDONLY);

	snprintf(program, sizeof(program), "%s/gilscope", output ? output : ".output");
	snprintf(copy, sizeof(copy), "%s", words);
	snprintf(before, sizeof(before), "%s", under ? under : "");
	n = split(before, argv, 0);
	argv[n] = program;
	split(copy, argv, n + 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	execvp(argv[0], argv);
	_exit(127);
}

void tool__start_under(struct tool *t, const char *under, const char *words)
{
	make_file(t->out);
	make_file(t->err);
	t->pid = fork();
	cr_assert_geq(t->pid, 0);
	if (t->pid == 0)
		child_main(t, under, words);
}

void tool__start(struct tool *t, const char *words)
{
	tool__start_under(t, NULL, words);
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

char *tool__stdout(const struct tool *t)
{
	size_t len;

	return must_read(t->out, &len);
}

char *tool__stderr(const struct tool *t)
{
	size_t len;

	return must_read(t->err, &len);
}

void tool__await(struct tool *t, const char *text)
{
	for (int i = 0; i < 12000; i++) {
		char *said = tool__stderr(t);
		bool found = strstr(said, text) != NULL;

		free(said);
		if (found)
			return;
		pause_ms(5);
	}
	cr_assert_fail("gilscope did not say \"%s\" but: %s", text, tool__stderr(t));
}

int tool__wait(struct tool *t, int seconds)
{
	int status;

	for (int i = 0; i < seconds * 50; i++) {
		if (waitpid(t->pid, &status, WNOHANG) == t->pid)
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		pause_ms(20);
	}
	kill(t->pid, SIGKILL);
	waitpid(t->pid, &status, 0);
	cr_assert_fail("gilscope did not end within %d s", seconds);
	return -1;
}

void tool__clear(struct tool *t)
{
	unlink(t->out);
	unlink(t->err);
}

int tool__run(struct tool *t, const char *words)
{
	tool__start(t, words);
	return tool__wait(t, 60);
}

json_t *tool__json(const char *words)
{
	struct tool t;
	json_error_t error;
	json_t *json;
	char *out;

	cr_assert_eq(tool__run(&t, words), 0, "%s: %s", words, tool__stderr(&t));
	out = tool__stdout(&t);
	json = json_loads(out, 0, &error);
	cr_assert_not_null(json, "%s: %s: %s", words, error.text, out);
	free(out);
	tool__clear(&t);
	return json;
}

/* The one that lifts is stopped first: it never sees the other stand still. */
void tool__freeze(struct tool *t)
{
	pid_t planter = status__child(t->pid, "gilscope-probes");

	cr_assert_gt(planter, 1, "it has planted nothing");
	kill(planter, SIGSTOP);
	kill(t->pid, SIGSTOP);
}

void tool__thaw(struct tool *t)
{
	kill(t->pid, SIGCONT);
	kill(status__child(t->pid, "gilscope-probes"), SIGCONT);
}

void tool__stand_still(struct tool *t, pid_t observed)
{
	kill(t->pid, SIGSTOP);
	cr_expect_eq(breakpoints__await_none(observed), 0, "its probes stay");
	kill(t->pid, SIGCONT);
	tool__await(t, "gilscope stood still");
}

void breakpoints__note(struct breakpoints *ret, pid_t pid)
{
	struct reason why = {{0}};
	struct target *target;
	struct elffile *elf;
	struct site_plan *plan;

	cr_assert_eq(target__open(pid, &target, &why), 0, "%s", why.text);
	cr_assert_eq(elffile__open(target->image.fd, &elf, &why), 0, "%s", why.text);
	cr_assert_eq(sites__plan(elf, &plan, &why), 0, "%s", why.text);
	cr_assert_leq(plan->sites_n, sizeof(ret->sites) / sizeof(ret->sites[0]));
	*ret = (struct breakpoints){.pid = pid, .n = plan->sites_n};
	for (size_t i = 0; i < plan->sites_n; i++) {
		ret->sites[i].at = plan->sites[i].vaddr + target->image.bias;
		ret->sites[i].in_file = *elffile__bytes(elf, plan->sites[i].vaddr, 1);
	}
	site_plan__free(plan);
	elffile__close(elf);
	target__close(target);
}

size_t breakpoints__now(const struct breakpoints *b)
{
	uint8_t in_memory;
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++) {
		cr_assert_eq(procmem__read(b->pid, b->sites[i].at, &in_memory, 1), 0);
		n += in_memory != b->sites[i].in_file;
	}
	return n;
}

size_t breakpoints__count(pid_t pid)
{
	struct breakpoints b;

	breakpoints__note(&b, pid);
	return breakpoints__now(&b);
}

size_t breakpoints__await_none(pid_t pid)
{
	size_t n = breakpoints__count(pid);

	for (int i = 0; n && i < 1000; i++) {
		pause_ms(20);
		n = breakpoints__count(pid);
	}
	return n;
}

/* Bytes of one mapping that differ from its file, as the kernel itself names it. */
static size_t changed_bytes(pid_t pid, unsigned long begin, unsigned long end, unsigned long offset)
{
	uint8_t in_memory[4096], in_file[4096];
	char path[96];
	size_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", (int)pid, begin, end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	for (; begin < end; begin += sizeof(in_file), offset += sizeof(in_file)) {
		ssize_t len = pread(fd, in_file, sizeof(in_file), (off_t)offset);

		cr_assert_geq(len, 0, "%s: %s", path, strerror(errno));
		cr_assert_eq(procmem__read(pid, begin, in_memory, (size_t)len), 0);
		for (ssize_t i = 0; i < len; i++)
			n += in_memory[i] != in_file[i];
	}
	close(fd);
	return n;
}

static bool ends_in(const char *line, const char *name)
{
	size_t len = strcspn(line, "\n"), name_len = strlen(name);

	return len >= name_len && memcmp(line + len - name_len, name, name_len) == 0;
}

size_t code__changed_bytes(pid_t pid)
{
	return code__changed_bytes_of(pid, "");
}

size_t code__changed_bytes_of(pid_t pid, const char *name)
{
	unsigned long begin, end, offset, inode, compared = 0;
	char path[64], line[PATH_MAX + 128], mode[5];
	size_t n = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	cr_assert_not_null(maps, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %4s %lx %*s %lu", &begin, &end, mode, &offset, &inode) == 5 && inode &&
		    mode[2] == 'x' && ends_in(line, name)) {
			n += changed_bytes(pid, begin, end, offset);
			compared++;
		}
	fclose(maps);
	cr_assert_gt(compared, 0, "process %d runs no file %s", (int)pid, name);
	return n;
}

size_t code__await_unchanged(pid_t pid)
{
	size_t n = code__changed_bytes(pid);

	for (int i = 0; n && i < 600; i++) {
		pause_ms(100);
		n = code__changed_bytes(pid);
	}
	return n;
}

int tool__run_watching(struct tool *t, const char *words, pid_t pid, size_t *ret_changed)
{
	int status;

	*ret_changed = 0;
	tool__start(t, words);
	while (waitpid(t->pid, &status, WNOHANG) == 0)
		*ret_changed += code__changed_bytes(pid);
	*ret_changed += code__changed_bytes(pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
