/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What one machine has and another can't have: each a row with a probe. A row is no place for what `make deps` installs, nor for
 * what a test could do without: where that is missing, the test is skipped or fails. Python packages with compiled code are rows
 * all the same, as a distribution may lack one for its Python; so are Pythons that are built from source, which can't always be
 * had. Which tests need a row: applicable.c.
 */
#ifndef GILSCOPE_TESTS_MACHINE_H
#define GILSCOPE_TESTS_MACHINE_H

#include <stddef.h>

#define MACHINE_REASON 160

/* row, its name, the probe in machine.c: writes why this machine lacks it, "" where it does not */
#define MACHINE_ROWS(X) \
	X(BPF, "BPF and uprobes", bpf_env__why_not) \
	X(ROOT, "root", not_root) \
	X(X86_64, "an x86-64 processor", not_x86_64) \
	X(PROGRAMS_32, "32-bit programs", no_32_bit_programs) \
	X(PID_NAMESPACES, "PID namespaces for this user", no_pid_namespaces) \
	X(BPF_LOOP, "bpf_loop", no_bpf_loop) \
	X(FUSE, "FUSE file systems", no_fuse) \
	X(USERFAULTFD, "userfaultfd", no_userfaultfd) \
	X(KERNEL_THREADS, "a view of the kernel's threads", no_kernel_threads) \
	X(GEVENT, "the package python3-gevent", no_gevent) \
	X(GRPC, "the package python3-grpcio", no_grpc) \
	X(LXML, "the package python3-lxml", no_lxml) \
	X(UVLOOP, "the package python3-uvloop", no_uvloop) \
	X(WITHOUT_GIL, "Pythons without a GIL", none_without_gil)

enum machine_row {
#define X(id, name, probe) MACHINE_##id,
	MACHINE_ROWS(X)
#undef X
	MACHINE_ROWS_COUNT
};

const char *machine__name(enum machine_row row);

/* Probes each row. Has children of its own: for the process that starts the tests, before it starts any. */
void machine__probe(char why_not[MACHINE_ROWS_COUNT][MACHINE_REASON]);

/* A 32-bit program of two instructions: pause(), again and again. */
extern const unsigned char machine__program_32[128];

#endif
