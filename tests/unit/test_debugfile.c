/* SPDX-License-Identifier: GPL-2.0-only */
/* Symbols of a stripped file, in all the places where they may be, and in files that are not its own. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/elf/debugfile.h"
#include "../support/pythons.h"

#define SOURCE \
	"__attribute__((noinline, used)) static int hidden(int x) { return x * 3; }\n" \
	"int shown(int x) { return hidden(x); }\n"

/* A root directory with the stripped library /opt/lib.so in it; what it was before is /opt/whole.so. */
static char root[PATH_MAX];

static void make_root(const char *flags)
{
	char path[PATH_MAX + 32];

	temp_dir__make(root, sizeof(root));
	must_run("mkdir -p '%s/opt/.debug' '%s/usr/lib/debug/opt' '%s/usr/lib/debug/.build-id/00'", root, root, root);
	snprintf(path, sizeof(path), "%s/opt/whole.so", root);
	must_compile(path, flags, SOURCE);
	must_run("cd '%s/opt' && strip -o lib.so whole.so && objcopy --only-keep-debug whole.so whole.debug", root);
}

static void make_plain_root(void)
{
	make_root("-Wl,--build-id=0x00ff102030405060");
}

static void remove_root(void)
{
	temp_dir__remove(root);
}

/* Adds symbols to /opt/lib.so; `origin` (PATH_MAX) is "" where there are none. Says whether `hidden` is known then. */
static bool finds_hidden(int want, char *origin)
{
	int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;
	char path[PATH_MAX + 32];
	struct elf_symbol symbol;
	struct elffile *ef;
	bool found;

	snprintf(path, sizeof(path), "%s/opt/lib.so", root);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(root_fd >= 0 && fd >= 0);
	cr_assert_eq(elffile__open(fd, &ef, NULL), 0);
	cr_expect_eq(elffile__symbol(ef, "hidden", &symbol), -ENOENT);
	cr_expect_eq(debugfile__add(ef, root_fd, "/opt/lib.so"), want);
	snprintf(origin, PATH_MAX, "%s", elffile__symbols_origin(ef) ? elffile__symbols_origin(ef) : "");
	found = elffile__symbol(ef, "hidden", &symbol) == 0 && symbol.is_func && symbol.size > 0;
	elffile__close(ef);
	close(fd);
	close(root_fd);
	return found;
}

static void expect_found(const char *where)
{
	char origin[PATH_MAX];

	cr_expect(finds_hidden(0, origin), "%s", where);
	cr_expect_str_eq(origin, where);
}

static void expect_none(void)
{
	char origin[PATH_MAX];

	cr_expect_not(finds_hidden(-ENOENT, origin));
	cr_expect_str_eq(origin, "");
}

#define BY_ID "/usr/lib/debug/.build-id/00/ff102030405060.debug"

Test(debugfile, a_build_id_names_it, .init = make_plain_root, .fini = remove_root)
{
	expect_none();
	must_run("mv '%s/opt/whole.debug' '%s" BY_ID "'", root, root);
	expect_found(BY_ID);
}

/* A link to an absolute path means one below the target's root, never ours. */
Test(debugfile, links_stay_below_the_root, .init = make_plain_root, .fini = remove_root)
{
	must_run("ln -s /opt/whole.debug '%s" BY_ID "'", root);
	expect_found(BY_ID);
	must_run("ln -sf ../../../../../../../../../../../../opt/whole.debug '%s" BY_ID "'", root);
	expect_found(BY_ID);
}

Test(debugfile, a_link_names_it_beside_the_file_or_in_two_other_places, .init = make_plain_root, .fini = remove_root)
{
	static const char *const places[] = {"/opt/whole.debug", "/opt/.debug/whole.debug", "/usr/lib/debug/opt/whole.debug"};

	must_run("cd '%s/opt' && objcopy --add-gnu-debuglink=whole.debug lib.so && mv whole.debug kept", root);
	expect_none();
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		must_run("cp '%s/opt/kept' '%s%s'", root, root, places[i]);
		expect_found(places[i]);
		must_run("rm '%s%s'", root, places[i]);
	}
}

Test(debugfile, what_is_of_another_build_is_not_taken, .init = make_plain_root, .fini = remove_root)
{
	char other[PATH_MAX + 32];

	snprintf(other, sizeof(other), "%s/opt/other.so", root);
	must_compile(other, "-Wl,--build-id=0x00ff112030405060", SOURCE);
	must_run("cp '%s' '%s" BY_ID "'", other, root);
	expect_none();
	/* Without any build-id, a name alone proves nothing. */
	must_compile(other, "-Wl,--build-id=none", SOURCE);
	must_run("cp '%s' '%s" BY_ID "'", other, root);
	expect_none();
	/* The right name and build-id, but not the file that the checksum is of. */
	must_run("cd '%s/opt' && objcopy --add-gnu-debuglink=whole.debug lib.so && printf x >>whole.debug", root);
	expect_none();
}

Test(debugfile, a_checksum_will_do_where_there_is_no_build_id)
{
	make_root("-Wl,--build-id=none");
	must_run("cd '%s/opt' && objcopy --add-gnu-debuglink=whole.debug lib.so", root);
	expect_found("/opt/whole.debug");
	remove_root();
}

#define PACK "cd '%s/opt' && xz -k --stdout %s >packed && objcopy --add-section .gnu_debugdata=packed lib.so"

Test(debugfile, it_may_be_packed_inside_the_file, .init = make_plain_root, .fini = remove_root)
{
	must_run(PACK, root, "whole.debug");
	expect_found("its .gnu_debugdata");
}

#define ID "." BY_ID

Test(debugfile, nonsense_is_passed_over, .init = make_plain_root, .fini = remove_root)
{
	static const char *const makers[] = {
		"mkfifo " ID "",
		"mkdir " ID "",
		"ln -s /dev/zero " ID "",
		"ln -s ff102030405060.debug " ID "",
		"cp /etc/passwd " ID "",
		"head -c 100 opt/whole.debug >" ID "",
		/* No end to the name, a way out of the directory, no room for a checksum. */
		"cd opt && printf aaaa >x && objcopy --add-section .gnu_debuglink=x lib.so",
		"cd opt && printf '../opt/whole.debug\\0\\0aaaa' >x && objcopy --add-section .gnu_debuglink=x lib.so",
		"cd opt && printf 'whole.debug\\0' >x && objcopy --add-section .gnu_debuglink=x lib.so",
		/* No archive, half an archive, one without end, one of something else. */
		"cd opt && printf aaaa >x && objcopy --add-section .gnu_debugdata=x lib.so",
		"cd opt && xz <whole.debug | head -c 200 >x && objcopy --add-section .gnu_debugdata=x lib.so",
		"cd opt && head -c 100M /dev/zero | xz -0 >x && objcopy --add-section .gnu_debugdata=x lib.so",
		"cd opt && xz </etc/passwd >x && objcopy --add-section .gnu_debugdata=x lib.so",
	};

	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		must_run("cd '%s' && { %s; }", root, makers[i]);
		expect_none();
		must_run("cd '%s' && rm -rf '.%s' && strip -o opt/lib.so opt/whole.so", root, BY_ID);
	}
}

/* Whatever the debug file's bytes are, the worst is that there are no symbols. */
Test(debugfile, any_word_of_it_may_be_absurd, .init = make_plain_root, .fini = remove_root)
{
	static const uint32_t absurd[] = {0, 1, 0x7fffffff, 0xffffffff};
	char path[PATH_MAX + 64], origin[64], *bytes;
	size_t len;
	int lib;

	snprintf(path, sizeof(path), "%s/opt/whole.debug", root);
	bytes = must_read(path, &len);
	snprintf(path, sizeof(path), "%s/opt/lib.so", root);
	lib = open(path, O_RDONLY | O_CLOEXEC);
	for (size_t at = 0; at + 4 <= len; at += at < 0x400 || at > len - 0x900 ? 4 : 64)
		for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
			struct elf_symbol symbol;
			struct elffile *ef;
			uint32_t kept;
			int fd;

			memcpy(&kept, bytes + at, 4);
			memcpy(bytes + at, &absurd[i], 4);
			fd = memory_file(bytes, len);
			cr_assert_eq(elffile__open(lib, &ef, NULL), 0);
			if (elffile__add_symbols(ef, fd, false, "here") != 0)
				close(fd);
			elffile__symbol(ef, "hidden", &symbol);
			elffile__symbol_name(ef, 0x1000, origin, sizeof(origin));
			elffile__close(ef);
			memcpy(bytes + at, &kept, 4);
		}
	close(lib);
	free(bytes);
}
