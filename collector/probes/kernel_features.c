/* SPDX-License-Identifier: GPL-2.0-only */
/* See kernel_features.h. Versions are for the reader alone. */
#include "kernel_features.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "collector/target/target.h"
#include "uprobe_link.h"

#define BTF_FILE "/sys/kernel/btf/vmlinux"
#define LOCKDOWN_FILE "/sys/kernel/security/lockdown"
#define MASK "GILSCOPE_LACKS"
#define SWITCH_ARGS 5 /* the tracepoint's data, then: preempt, prev, next, prev_state */

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- trying: 1, there; 0, missing; negative, it could not be told ---- */

/* The shortest program there is. */
static const struct bpf_insn nothing[] = {
	{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
	{.code = BPF_JMP | BPF_EXIT},
};

/* Whether any program is taken: without the rights for it libbpf's answers mean nothing. */
static int try_loading(void)
{
	int fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "try", "GPL", nothing, LENGTH(nothing), NULL);

	if (fd < 0)
		return -errno;
	close(fd);
	return 1;
}

static int try_btf(void)
{
	return access(BTF_FILE, F_OK) == 0;
}

static int try_uprobes(void)
{
	return access("/sys/bus/event_source/devices/uprobe/type", F_OK) == 0;
}

static int try_ring_buffers(void)
{
	return libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL);
}

static int try_mapped_arrays(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "try", sizeof(int), sizeof(int), 1, &opts);

	if (fd < 0)
		return errno == EINVAL ? 0 : -errno;
	close(fd);
	return 1;
}

static int try_helper(int helper)
{
	return libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, (enum bpf_func_id)helper, NULL);
}

static int try_task_storage(void)
{
	int there = libbpf_probe_bpf_map_type(BPF_MAP_TYPE_TASK_STORAGE, NULL);

	return there == 1 ? try_helper(BPF_FUNC_task_storage_get) : there;
}

static int try_current_task(void)
{
	return try_helper(BPF_FUNC_get_current_task_btf);
}

static int try_attach_cookies(void)
{
	return try_helper(BPF_FUNC_get_attach_cookie);
}

static int try_task_registers(void)
{
	return try_helper(BPF_FUNC_task_pt_regs);
}

static int try_loop(void)
{
	return try_helper(BPF_FUNC_loop);
}

/* Adds to a word of its stack, and asks for what was there before. */
static int try_atomics(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = BPF_REG_10, .src_reg = BPF_REG_0, .off = -8,
		 .imm = BPF_ADD | BPF_FETCH},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "try", "GPL", insns, LENGTH(insns), NULL);

	if (fd < 0)
		return errno == EINVAL ? 0 : -errno;
	close(fd);
	return 1;
}

/* Not by libbpf's probe: newer kernels refuse the call in words that libbpf 1.1 does not know. */
static int try_memory(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_10},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_1, .imm = -8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = 8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_read_kernel},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "try", "GPL", insns, LENGTH(insns), NULL);

	if (fd < 0)
		return errno == EINVAL ? 0 : -errno;
	close(fd);
	return 1;
}

/* The first type of the kernel's is no tracepoint: a verifier that knows the kind says so. */
static int try_typed_tracepoints(void)
{
	char log[4096] = "";
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_TRACE_RAW_TP, .attach_btf_id = 1, .log_buf = log,
		    .log_size = sizeof(log), .log_level = 1);
	int fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "try", "GPL", nothing, LENGTH(nothing), &opts);

	if (fd < 0)
		return strstr(log, "attach_btf_id") ? 1 : errno == EINVAL ? 0 : -errno;
	close(fd);
	return 1;
}

static int try_own_programs(void)
{
	return libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SYSCALL, NULL);
}

static int try_uprobe_multi(void)
{
	int err = uprobe_link__try_multi();

	return !err ? 1 : err == -EINVAL ? 0 : err;
}

/* By the kernel's description of its types: the tracepoint's function has as many arguments. */
static int try_switch_state(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	const struct btf_type *t;
	int id, there = -ENOENT;

	if (!btf)
		return -errno;
	id = btf__find_by_name_kind(btf, "btf_trace_sched_switch", BTF_KIND_TYPEDEF);
	t = id > 0 ? btf__type_by_id(btf, btf__type_by_id(btf, (__u32)id)->type) : NULL;
	if (t && btf_is_ptr(t))
		t = btf__type_by_id(btf, t->type);
	if (t && btf_is_func_proto(t))
		there = btf_vlen(t) >= SWITCH_ARGS;
	btf__free(btf);
	return there;
}

/* ---- the table ---- */

enum need { ALWAYS, IN_CONTAINER, MADE_UP_FOR };

static const struct {
	const char *key, *name;
	int (*try)(void);
	enum need need;
	const char *use;
	bool reads; /* files only: no right to load programs is needed */
} features[KERNEL_FEATURES] = {
	[KERNEL_BTF] = {
		"btf", "a description of its types (" BTF_FILE ", CONFIG_DEBUG_INFO_BTF)", try_btf, ALWAYS,
		"the fields of its records are found by it", .reads = true},
	[KERNEL_UPROBES] = {
		"uprobes", "uprobes by perf events (CONFIG_UPROBE_EVENTS)", try_uprobes, ALWAYS,
		"they are what is planted in a process", .reads = true},
	[KERNEL_RING_BUFFERS] = {
		"ring_buffers", "BPF ring buffers (Linux 5.8 and newer)", try_ring_buffers, ALWAYS,
		"forks, exits, stacks and traces arrive through them"},
	[KERNEL_MAPPED_ARRAYS] = {
		"mapped_arrays", "BPF arrays that can be mapped (Linux 5.5 and newer)", try_mapped_arrays, ALWAYS,
		"what is counted is read in them"},
	[KERNEL_TASK_STORAGE] = {
		"task_storage", "BPF task storage in probes (Linux 5.13 and newer)", try_task_storage, ALWAYS,
		"the record of a thread is found by it"},
	[KERNEL_CURRENT_TASK] = {
		"current_task", "bpf_get_current_task_btf (Linux 5.11 and newer)", try_current_task, ALWAYS,
		"the programs need it to know which thread they run in"},
	[KERNEL_ATOMICS] = {
		"atomics", "atomic operations in BPF programs (Linux 5.12 and newer)", try_atomics, ALWAYS,
		"processors that count at once need them"},
	[KERNEL_MEMORY] = {
		"kernel_memory", "bpf_probe_read_kernel (Linux 5.5 and newer; lockdown=confidentiality forbids it)", try_memory,
		ALWAYS, "the programs read the kernel's records of threads and processes"},
	[KERNEL_TYPED_TRACEPOINTS] = {
		"typed_tracepoints", "BPF programs at typed tracepoints (Linux 5.5 and newer)", try_typed_tracepoints, ALWAYS,
		"the end of threads, forks and execs are seen there"},
	[KERNEL_ATTACH_COOKIES] = {
		"attach_cookies", "attach cookies (Linux 5.15 and newer)", try_attach_cookies, ALWAYS,
		"a probe tells by its cookie which site it is"},
	[KERNEL_TASK_REGISTERS] = {
		"task_registers", "bpf_task_pt_regs (Linux 5.15 and newer)", try_task_registers, ALWAYS,
		"native code is looked for with a thread's registers"},
	[KERNEL_OWN_PROGRAMS] = {
		"own_programs", "BPF programs that gilscope can run itself (Linux 5.14 and newer)", try_own_programs,
		IN_CONTAINER, "in a PID namespace (a container) gilscope needs one to find out which it is"},
	[KERNEL_LOOP] = {
		"loop", "bpf_loop (Linux 5.17 and newer)", try_loop, MADE_UP_FOR,
		"programs with bounded loops take its place, and nothing is lost"},
	[KERNEL_SWITCH_STATE] = {
		"switch_state", "the state of who leaves a processor as an argument (Linux 5.18 and newer)", try_switch_state,
		MADE_UP_FOR, "the state is read from the thread instead, and nothing is lost", .reads = true},
	[KERNEL_UPROBE_MULTI] = {
		"uprobe_multi", "uprobe_multi links (Linux 6.6 and newer)", try_uprobe_multi, MADE_UP_FOR,
		"a perf event for each site takes their place: slower to lift, and many kernels ask CAP_SYS_ADMIN of it"},
};

const char *kernel_feature__name(enum kernel_feature feature)
{
	return features[feature].name;
}

const char *kernel_feature__key(enum kernel_feature feature)
{
	return features[feature].key;
}

const char *kernel_feature__use(enum kernel_feature feature)
{
	return features[feature].use;
}

bool kernel_feature__is_needed(enum kernel_feature feature)
{
	return features[feature].need == ALWAYS || (features[feature].need == IN_CONTAINER && target__we_are_contained());
}

/* ---- lockdown ---- */

enum lockdown lockdown__parse(const char *text)
{
	static const char *const words[] = {
		[LOCKDOWN_NONE] = "[none]",
		[LOCKDOWN_INTEGRITY] = "[integrity]",
		[LOCKDOWN_CONFIDENTIALITY] = "[confidentiality]",
	};

	for (enum lockdown i = LOCKDOWN_NONE; i < LENGTH(words); i++)
		if (strstr(text, words[i]))
			return i;
	return LOCKDOWN_UNKNOWN;
}

enum lockdown lockdown__level(void)
{
	char text[64] = "";
	int fd = open(LOCKDOWN_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return LOCKDOWN_UNKNOWN;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 ? lockdown__parse(text) : LOCKDOWN_UNKNOWN;
}

/* ---- what is made to be missing ---- */

/* The next word of a list; NULL: there is none. Moves *at behind it. */
static const char *next_word(const char **at, size_t *ret_len)
{
	const char *word;

	*at += strspn(*at, ",");
	word = *at;
	*ret_len = strcspn(word, ",");
	*at += *ret_len;
	return *ret_len ? word : NULL;
}

static bool is_key(const char *key, const char *word, size_t len)
{
	return strlen(key) == len && memcmp(key, word, len) == 0;
}

bool kernel_feature__is_masked(enum kernel_feature feature)
{
	const char *at = getenv(MASK), *word;
	size_t len;

	while (at && (word = next_word(&at, &len)))
		if (is_key(features[feature].key, word, len))
			return true;
	return false;
}

static bool is_known(const char *word, size_t len)
{
	for (size_t i = 0; i < KERNEL_FEATURES; i++)
		if (is_key(features[i].key, word, len))
			return true;
	return false;
}

int kernel_features__check_mask(struct reason *why)
{
	const char *at = getenv(MASK), *word;
	size_t len;

	while (at && (word = next_word(&at, &len)))
		if (!is_known(word, len))
			return reason__set(why, -EINVAL, MASK " names a feature that gilscope does not know: %.*s", (int)len,
					   word);
	return 0;
}

int kernel_feature__try(enum kernel_feature feature)
{
	libbpf_print_fn_t talk;
	int there;

	if (kernel_feature__is_masked(feature))
		return 0;
	talk = libbpf_set_print(NULL);
	there = features[feature].reads ? 1 : try_loading();
	if (there == 1)
		there = features[feature].try();
	libbpf_set_print(talk);
	return there;
}

size_t kernel_features__missing(char *buf, size_t size)
{
	size_t n = 0, len = 0;

	buf[0] = '\0';
	for (enum kernel_feature i = 0; i < KERNEL_FEATURES; i++) {
		if (!kernel_feature__is_needed(i) || kernel_feature__try(i) != 0)
			continue;
		if (len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", n ? ", " : "", features[i].name);
		n++;
	}
	return n;
}
