/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where root's output goes when somebody else got to the name first: each of the four verbs that write a file, in a directory
 * where everybody may write and in one of that user's own. What the planted name leads to keeps its bytes and its mode.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define NOBODY 65534

static struct workload w;
static char dir[64];

static void set_up(void)
{
	struct interpreter stock;

	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	must_run("cd %s && chmod 755 . && mkdir -m 1777 shared && mkdir theirs secret && chown %d theirs && "
		 "echo mine > secret/rc && chmod 600 secret/rc", dir, NOBODY);
	interpreter__stock(&stock);
	workload__start(&w, &stock, "cpu_threads.py 2 60");
	workload__go(&w);
}

static void tear_down(void)
{
	workload__kill(&w);
	temp_dir__remove(dir);
}

TestSuite(outfile, .init = set_up, .fini = tear_down, .timeout = 120);

static const struct {
	char verb[16], options[48];
} writers[] = {
	{"attach", "--no-store --duration 300ms -o"},
	{"trace", "--duration 300ms -o"},
	{"flame", "--duration 300ms -o"},
	{"report", "--duration 300ms --html"},
};

#define WRITERS (sizeof(writers) / sizeof(writers[0]))

static int write_to(size_t writer, const char *name, char **ret_err)
{
	char words[256], path[160];
	struct tool t;
	int status;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(words, sizeof(words), "%s %d %s %s", writers[writer].verb, (int)w.pid, writers[writer].options, path);
	status = tool__run(&t, words);
	*ret_err = tool__stderr(&t);
	tool__clear(&t);
	return status;
}

static void by_nobody(const char *command)
{
	must_run("cd %s && setpriv --reuid=%d --regid=%d --clear-groups sh -c '%s'", dir, NOBODY, NOBODY, command);
}

static void expect_secret_untouched(const char *who)
{
	char path[96], *text;
	struct stat st;
	size_t len;

	snprintf(path, sizeof(path), "%s/secret/rc", dir);
	text = must_read(path, &len);
	cr_expect_str_eq(text, "mine\n", "%s wrote through the link", who);
	free(text);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0600, "%s changed the mode to %o", who, st.st_mode & 07777);
	cr_expect_eq(st.st_nlink, 1, "%s", who);
}

/* How many names the test's directories have, ours beside them included. */
static void expect_names(const char *folder, const char *names)
{
	must_run("test \"$(ls -A %s/%s | tr '\\n' ' ')\" = '%s'", dir, folder, names);
}

Test(outfile, link_of_another_user_where_all_may_write_is_refused)
{
	by_nobody("ln -s ../secret/rc shared/link; ln -s ../secret shared/folder");
	for (size_t i = 0; i < WRITERS; i++) {
		char *err;

		cr_expect_eq(write_to(i, "shared/link", &err), 1, "%s", writers[i].verb);
		cr_expect_not_null(strstr(err, "/shared/link: user 65534 made this link in a directory where others may write"),
				   "%s: %s", writers[i].verb, err);
		cr_expect_eq(strchr(err, '\n'), err + strlen(err) - 1, "one sentence: %s", err);
		free(err);
		cr_expect_eq(write_to(i, "shared/folder/new", &err), 1, "%s", writers[i].verb);
		cr_expect_not_null(strstr(err, "user 65534 made this link"), "%s: %s", writers[i].verb, err);
		free(err);
		expect_secret_untouched(writers[i].verb);
	}
	expect_names("secret", "rc ");
	expect_names("shared", "folder link ");
}

/* A file of theirs would be theirs to read, and to change; a pipe would hand them what is written. */
Test(outfile, file_and_pipe_of_another_user_where_all_may_write_are_refused)
{
	by_nobody("umask 0; echo theirs > shared/file; mkfifo shared/pipe");
	for (size_t i = 0; i < WRITERS; i++) {
		char *err;

		cr_expect_eq(write_to(i, "shared/file", &err), 1, "%s", writers[i].verb);
		cr_expect_not_null(strstr(err, "user 65534 made this file"), "%s: %s", writers[i].verb, err);
		free(err);
		cr_expect_eq(write_to(i, "shared/pipe", &err), 1, "%s", writers[i].verb);
		free(err);
	}
	must_run("test \"$(cat %s/shared/file)\" = theirs", dir);
}

/* In a directory of their own the name is theirs, and no more than the name: it gets a new file. */
Test(outfile, link_in_another_users_directory_is_replaced_and_not_followed)
{
	for (size_t i = 0; i < WRITERS; i++) {
		char path[96], *err;
		struct stat st;

		by_nobody("ln -sf ../secret/rc theirs/link");
		cr_expect_eq(write_to(i, "theirs/link", &err), 0, "%s: %s", writers[i].verb, err);
		free(err);
		expect_secret_untouched(writers[i].verb);
		snprintf(path, sizeof(path), "%s/theirs/link", dir);
		cr_assert_eq(lstat(path, &st), 0);
		cr_expect(S_ISREG(st.st_mode) && st.st_size > 0 && st.st_uid == 0, "%s", writers[i].verb);
		expect_names("theirs", "link ");
	}
}

/* Whoever has the old file open keeps what is in it, and the new one is as private. */
Test(outfile, own_file_is_replaced_with_its_mode)
{
	for (size_t i = 0; i < WRITERS; i++) {
		char path[96], before[8] = "", *err;
		struct stat st;
		int old;

		must_run("cd %s && rm -f shared/own && echo before > shared/own && chmod 640 shared/own", dir);
		snprintf(path, sizeof(path), "%s/shared/own", dir);
		old = open(path, O_RDONLY | O_CLOEXEC);
		cr_expect_eq(write_to(i, "shared/own", &err), 0, "%s: %s", writers[i].verb, err);
		free(err);
		cr_expect_eq(read(old, before, 7), 7);
		cr_expect_str_eq(before, "before\n", "%s", writers[i].verb);
		close(old);
		cr_assert_eq(stat(path, &st), 0);
		cr_expect_eq(st.st_mode & 07777, 0640, "%s: %o", writers[i].verb, st.st_mode & 07777);
		cr_expect_gt(st.st_size, 7, "%s", writers[i].verb);
	}
}
