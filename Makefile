# SPDX-License-Identifier: GPL-2.0-only
#
# gilscope: one Makefile, no recursion. Everything it makes lies under $(OUTPUT). `make help` lists
# the targets. What has logic of its own is a script in tests/support/, named like its target.

OUTPUT ?= .output
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= cc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PKG_CONFIG ?= pkg-config
V ?= 0
SAN ?=
COV ?=
FUZZ_SECONDS ?= 10
VERSION := 0.1.0

.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n'
MAKEFLAGS += --no-print-directory
endif

# A build with sanitizers or coverage, or for another machine, lies beside the plain one, so neither makes the other stale.
TOP := $(OUTPUT)
# What `make test-kernels` boots; its root of the other architecture is what ARCH=arm64 is built against.
VMDIR ?= $(TOP)/kernels
# The distribution's Python for arm64, which tests read.
ARM64 := $(TOP)/arm64
export GILSCOPE_ARM64 := $(abspath $(ARM64))
# Pythons without a GIL, built from source, which tests run.
FREE_THREADED := $(TOP)/free-threaded
export GILSCOPE_FREE_THREADED := $(abspath $(FREE_THREADED))
comma := ,
MACHINE := $(shell uname -m)
NATIVE_ARCH := $(MACHINE:x86_64=amd64)
NATIVE_ARCH := $(NATIVE_ARCH:aarch64=arm64)
ARCH ?= $(NATIVE_ARCH)
CROSS := $(filter arm64,$(filter-out $(NATIVE_ARCH),$(ARCH)))
VARIANT := $(if $(CROSS),$(CROSS)-program)$(if $(SAN),san-$(subst $(comma),-,$(SAN)))$(if $(COV),cov)
ifneq ($(VARIANT),)
override OUTPUT := $(TOP)/$(VARIANT)
endif

# ---- what is built from what ---------------------------------------------------------------------
# Every file there, but the one that gen_pyoffsets.sh compiles against headers of each CPython.
LIB_SRCS := $(filter-out collector/cpython/pyoffsets_gen.c,$(sort $(wildcard collector/*.c collector/*/*.c)))
CLI_SRCS := $(sort $(wildcard cli/*.c cli/*/*.c))
CLI_LIB_SRCS := $(filter-out cli/main.c,$(CLI_SRCS))
BPF_SRCS := $(sort $(wildcard bpf/*.bpf.c tests/bpf/*.bpf.c))
SUPPORT_SRCS := $(sort $(wildcard tests/support/*.c))
SUITES := $(foreach s,unit bpf integration,$(if $(wildcard tests/$(s)/test_*.c),$(s)))
FUZZ_SRCS := $(sort $(wildcard tests/fuzz/fuzz_*.c))
BENCH_SRCS := $(sort $(wildcard tests/bench/*.c))
BENCHES := $(sort $(wildcard tests/bench/bench-*))

suite_srcs = $(sort $(wildcard tests/$(1)/test_*.c))
objects = $(patsubst %.c,$(OUTPUT)/%.o,$(1))

LIB_OBJS := $(call objects,$(LIB_SRCS))
CLI_OBJS := $(call objects,$(CLI_SRCS))
CLI_LIB_OBJS := $(call objects,$(CLI_LIB_SRCS))
SUPPORT_OBJS := $(call objects,$(SUPPORT_SRCS))
SKELS := $(patsubst %.bpf.c,$(OUTPUT)/%.skel.h,$(notdir $(BPF_SRCS)))
LIB := $(OUTPUT)/libgilscope.a
# The program exists as soon as its main() does.
PROGRAM := $(if $(wildcard cli/main.c),$(OUTPUT)/gilscope)
WORKLOAD_LIBS := $(patsubst tests/workloads/%.c,$(OUTPUT)/workloads/lib%.so,\
	$(sort $(wildcard tests/workloads/*.c)))
WORKLOAD_PROGRAMS := $(addprefix $(OUTPUT)/workloads/,embed embed-static reinit pythons onefile hidden/host toy-noplt \
	without-bpf)
# What a C library without a Python of its own can be tried with.
WORKLOAD_PROGRAMS += $(if $(shell command -v musl-gcc),$(addprefix $(OUTPUT)/workloads/,toy-musl toy-musl-static))
STATIC_PYTHON := $(OUTPUT)/static/python
WORKLOADS := $(WORKLOAD_LIBS) $(WORKLOAD_PROGRAMS) $(STATIC_PYTHON)

# ---- tools, libraries, flags ---------------------------------------------------------------------
# Another machine's program: its headers and libraries are those of a root that tests/kernels/prepare extracts.
ifneq ($(CROSS),)
SYSROOT := $(abspath $(VMDIR))/root-$(CROSS)
ifneq ($(shell tests/kernels/prepare '$(VMDIR)' root $(CROSS) >&2 && echo yes),yes)
$(error there is no root to build for $(CROSS) against)
endif
override CC := $(CLANG) --target=aarch64-linux-gnu --sysroot=$(SYSROOT)
override AR := aarch64-linux-gnu-ar
override PKG_CONFIG := env PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) PKG_CONFIG_PATH= \
	PKG_CONFIG_LIBDIR=$(SYSROOT)/usr/lib/aarch64-linux-gnu/pkgconfig:$(SYSROOT)/usr/share/pkgconfig $(PKG_CONFIG)
MACHINE := aarch64
endif

# The goals of a newcomer install what is missing first. deps.mk is a remade makefile: where the
# script installed something, make starts over and finds the new tools.
ifneq ($(filter deps demo test bench,$(MAKECMDGOALS)),)
ifeq ($(findstring n,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),)
include $(TOP)/deps.mk
$(TOP)/deps.mk: FORCE
	$(Q)tests/support/deps $(if $(filter deps test,$(MAKECMDGOALS)),--test --arm64=$(ARM64) \
		--free-threaded=$(FREE_THREADED)) $@
endif
endif

PKGS := libbpf hiredis jansson libelf libdw liblzma ncursesw
# Redis over TLS where the installed hiredis has it.
ifneq ($(shell $(PKG_CONFIG) --exists hiredis_ssl openssl 2>/dev/null && echo yes),)
PKGS += hiredis_ssl openssl
override CPPFLAGS += -DHAVE_HIREDIS_SSL
endif
# Of libmicrohttpd only the headers, where they are installed: who serves metrics loads it (collector/metrics/microhttpd_lib.h).
ifneq ($(shell $(PKG_CONFIG) --exists libmicrohttpd 2>/dev/null && echo yes),)
override CPPFLAGS += -DHAVE_MICROHTTPD
endif
# Of Capstone only the headers: the library is loaded when it is needed (collector/elf/capstone_lib.h).
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) capstone 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
# Only tests use these.
TEST_PKG_LIBS := $(shell $(PKG_CONFIG) --libs criterion libpng 2>/dev/null)

SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
COVFLAGS := $(if $(COV),--coverage)
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wvla -Wformat=2 \
	-Wno-unused-parameter
# clang alone asks for literals in functions that pass a format on, and for all fields where others are named.
WARNINGS += $(if $(CROSS),-Wno-format-nonliteral -Wno-missing-field-initializers)
# What others pass in CFLAGS is honoured, what the code needs is added.
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(CFLAGS) $(SANFLAGS) $(COVFLAGS)
ALL_CPPFLAGS = -D_GNU_SOURCE -DGILSCOPE_VERSION='"$(VERSION)"' -I. -I$(OUTPUT) $(PKG_CFLAGS) $(CPPFLAGS)
ALL_LDFLAGS = $(LDFLAGS) $(SANFLAGS) $(COVFLAGS)
LDLIBS = $(PKG_LIBS) -liberty -lpthread -ldl -lm

BPF_ARCH := $(subst aarch64,arm64,$(subst x86_64,x86,$(MACHINE)))
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter \
	-D__TARGET_ARCH_$(BPF_ARCH) -I$(SYSROOT)/usr/include/$(MACHINE)-linux-gnu

# Objects depend on this file; it changes when compiler or flags do.
FLAGS_FILE := $(OUTPUT)/flags
FLAGS_TEXT = $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) | $(ALL_LDFLAGS) $(LDLIBS) | $(CLANG) $(BPF_CFLAGS)
$(FLAGS_FILE): FORCE
	$(Q)mkdir -p $(@D)
	$(Q)printf '%s\n' '$(subst ','\'',$(FLAGS_TEXT))' | cmp -s - $@ || \
		printf '%s\n' '$(subst ','\'',$(FLAGS_TEXT))' > $@

.PHONY: FORCE
FORCE:

FUZZ_DIR := $(TOP)/fuzz

# Made on the way to something else, but worth keeping.
.PRECIOUS: $(OUTPUT)/%.o $(FUZZ_DIR)/%.o

# ---- the program ---------------------------------------------------------------------------------
.PHONY: all
all: $(PROGRAM) $(LIB) ## build gilscope (installs nothing)

vpath %.bpf.c bpf tests/bpf
$(SKELS:.skel.h=.bpf.o): $(OUTPUT)/%.bpf.o: %.bpf.c $(FLAGS_FILE)
	$(say) BPF $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@

$(SKELS): $(OUTPUT)/%.skel.h: $(OUTPUT)/%.bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name $(notdir $(basename $(basename $<)))_bpf > $@

$(OUTPUT)/%.o: %.c $(FLAGS_FILE) | $(SKELS)
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# The function library of the dashboards travels in the program: its bytes, as C takes them.
FUNCTIONS_INC := $(OUTPUT)/functions.inc
$(FUNCTIONS_INC): dashboards/lua/gilscope.lua
	$(Q)mkdir -p $(@D)
	$(Q)od -An -v -td1 $< | sed 's/-*[0-9][0-9]*/&,/g' > $@
$(OUTPUT)/collector/redis/redis_functions.o $(OUTPUT)/lint/collector/redis/redis_functions.ok: $(FUNCTIONS_INC)
$(TOP)/fuzz/collector/redis/redis_functions.o: $(FUNCTIONS_INC)

$(OUTPUT)/gilscope: $(CLI_OBJS) $(LIB)
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(CLI_OBJS) $(LIB) $(LDLIBS)

# ---- tests ---------------------------------------------------------------------------------------
# What tests share, as libraries, so that each suite takes only what it uses.
SUPPORT_LIB := $(OUTPUT)/libsupport.a
CLI_LIB := $(OUTPUT)/libcli.a
TEST_LIBS := $(SUPPORT_LIB) $(CLI_LIB) $(LIB)

$(SUPPORT_LIB): $(SUPPORT_OBJS)
$(CLI_LIB): $(CLI_LIB_OBJS)
$(LIB): $(LIB_OBJS)
$(LIB) $(CLI_LIB) $(SUPPORT_LIB):
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# What no suite calls, so that no linker would take it from the library.
SUITE_HOOK := tests/support/applicable.c

# One Criterion program per folder. -no-pie: Criterion cannot pass parameters to a PIE.
define suite
$(OUTPUT)/tests/$(1)-tests: $(call objects,$(call suite_srcs,$(1)) $(SUITE_HOOK)) $(TEST_LIBS)
	$$(say) LINK $$@
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -no-pie -o $$@ $$^ $$(TEST_PKG_LIBS) $$(LDLIBS)

.PHONY: test-$(1)
test-$(1): $(OUTPUT)/tests/$(1)-tests $(PROGRAM) workloads
	$$(Q)OUTPUT=$$(abspath $$(OUTPUT)) tests/support/run-suite $(1)
endef
$(foreach s,$(SUITES),$(eval $(call suite,$(s))))

# What a workload calls: plain shared libraries, never instrumented, so that any python can load them.
$(OUTPUT)/workloads/lib%.so: tests/workloads/%.c
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O2 -g -shared -fPIC -MMD -MP -MF $(@:.so=.d) -o $@ $< -lpthread -ldl

# An interpreter that imports nothing: the C library is linked in. Not instrumented either.
$(STATIC_PYTHON): tests/static/static_python.c tests/workloads/gilwork.c tests/support/link-static
	$(say) STATIC $@
	$(Q)CC='$(CC)' tests/support/link-static $@ $(filter %.c,$^)


# Programs that have a Python inside: linked with libpython, with its archive, and one that unpacks it when it runs.
# Debian 13's archives lack the functions that its _sha2 calls, and nobody calls here.
ARCHIVE_LACKS := -Wl,--unresolved-symbols=ignore-in-object-files
EMBED_CFLAGS = $(shell $(PKG_CONFIG) --cflags python3-embed 2>/dev/null)
EMBED_LIBS = $(shell $(PKG_CONFIG) --libs python3-embed 2>/dev/null)
EMBED_ARCHIVE = $(patsubst -lpython%,-l:libpython%.a,$(EMBED_LIBS))
EMBED_SRCS := tests/workloads/programs/embed.c tests/workloads/gilwork.c

$(OUTPUT)/workloads/embed: $(EMBED_SRCS)
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O2 -g $(EMBED_CFLAGS) -o $@ $^ $(EMBED_LIBS) -lpthread

$(OUTPUT)/workloads/reinit: tests/workloads/programs/reinit.c
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O2 -g $(EMBED_CFLAGS) -o $@ $< $(EMBED_LIBS)

$(OUTPUT)/workloads/pythons: tests/workloads/programs/pythons.c
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O2 -g -o $@ $< -ldl -lpthread

$(OUTPUT)/workloads/without-bpf: tests/workloads/programs/without_bpf.c
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O2 -g -o $@ $<

$(OUTPUT)/workloads/embed-static: $(EMBED_SRCS)
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O2 -g $(EMBED_CFLAGS) -no-pie -Wl,-export-dynamic -o $@ $^ $(EMBED_ARCHIVE) \
		-lexpat -lz -ldl -lutil -lm -lpthread $(ARCHIVE_LACKS)

# One whose library keeps all of CPython's symbols to itself.
EMBED_PIC = $(shell /usr/bin/python3 -c 'import sysconfig as s; print(s.get_config_var("LIBPL"))')/$(EMBED_ARCHIVE:-l:%.a=%-pic.a)

$(OUTPUT)/workloads/hidden/libplugin.so: $(EMBED_SRCS)
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O2 -g -fPIC -shared $(EMBED_CFLAGS) \
		-Dmain=plugin_main -Wno-missing-prototypes -o $@ $^ \
		-Wl,--exclude-libs,ALL $(EMBED_PIC) -lexpat -lz -ldl -lutil -lm -lpthread $(ARCHIVE_LACKS)

$(OUTPUT)/workloads/hidden/host: tests/workloads/programs/host.c $(OUTPUT)/workloads/hidden/libplugin.so
	$(say) CC $@
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O2 -g -o $@ $< -L$(@D) -lplugin -Wl,-rpath,'$$ORIGIN' -Wl,--allow-shlib-undefined

# Calls through the GOT, as -fno-plt makes them.
$(OUTPUT)/workloads/toy-noplt: tests/workloads/programs/toy_python.c
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -O2 -g -fno-plt -o $@ $< -lpthread

$(OUTPUT)/workloads/toy-musl: tests/workloads/programs/toy_python.c
	$(say) MUSL $@
	$(Q)mkdir -p $(@D)
	$(Q)musl-gcc -std=gnu11 $(WARNINGS) -O2 -g -o $@ $<

$(OUTPUT)/workloads/toy-musl-static: tests/workloads/programs/toy_python.c
	$(say) MUSL $@
	$(Q)mkdir -p $(@D)
	$(Q)musl-gcc -std=gnu11 $(WARNINGS) -O2 -g -static -o $@ $<

$(OUTPUT)/workloads/onefile: tests/workloads/programs/onefile.c
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -O2 -g -o $@ $< -ldl

# gilscope for aarch64, as far as that can be had on another machine: the BPF object, and whether the C compiles.
ARM64_ROOT := $(ARM64)/tree/usr/include
ARM64_BPF := $(OUTPUT)/bpf-arm64/gil.bpf.o $(OUTPUT)/bpf-arm64/gil_older.bpf.o
ARM64_CHECKS := $(LIB_SRCS:%.c=$(OUTPUT)/arm64-checks/%.ok) $(CLI_SRCS:%.c=$(OUTPUT)/arm64-checks/%.ok)

$(ARM64_BPF): $(OUTPUT)/bpf-arm64/%.bpf.o: bpf/%.bpf.c $(FLAGS_FILE)
	$(say) BPF "$< (arm64)"
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(subst -D__TARGET_ARCH_$(BPF_ARCH),-D__TARGET_ARCH_arm64,$(filter-out -I%,$(BPF_CFLAGS))) \
		-I$(ARM64_ROOT)/aarch64-linux-gnu -I$(ARM64_ROOT) -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@

$(OUTPUT)/arm64-checks/%.ok: %.c $(FLAGS_FILE) | $(SKELS)
	$(say) ARM64 $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) --target=aarch64-linux-gnu -fsyntax-only -nostdlibinc -isystem $(ARM64_ROOT)/aarch64-linux-gnu \
		-isystem $(ARM64_ROOT) -idirafter /usr/include -idirafter /usr/include/$(shell $(CC) -print-multiarch) \
		$(ALL_CPPFLAGS) -std=gnu11 -MMD -MP -MF $(@:.ok=.d) -MT $@ $<
	$(Q)touch $@

.PHONY: arm64
arm64: $(ARM64_BPF) $(ARM64_CHECKS) ## build the BPF object for aarch64, and see whether the rest compiles (after make deps)

.PHONY: workloads
workloads: $(WORKLOADS) $(if $(wildcard $(ARM64)/complete),arm64)

.PHONY: deps demo test check
deps: ## install what is missing to build, test and show gilscope
	@echo "deps: everything that gilscope needs is installed"

test: $(SUITES:%=$(OUTPUT)/tests/%-tests) $(PROGRAM) workloads ## install what is missing, build, run every suite
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/run-suite $(SUITES)

check: lint ## lint, then every suite (installs nothing)
check: $(SUITES:%=$(OUTPUT)/tests/%-tests) $(PROGRAM) workloads
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/run-suite $(SUITES)

# As on a machine that has no BPF: what needs it is not applicable, by name and number, and the rest passes.
.PHONY: test-without-bpf demo-without-bpf
test-without-bpf: $(SUITES:%=$(OUTPUT)/tests/%-tests) $(PROGRAM) workloads ## every suite where bpf() and perf_event_open() are refused
	$(Q)OUTPUT=$(abspath $(OUTPUT)) $(OUTPUT)/workloads/without-bpf tests/support/run-suite $(SUITES)
demo-without-bpf: $(PROGRAM) workloads ## the demo there: by looks
	$(Q)OUTPUT=$(abspath $(OUTPUT)) $(OUTPUT)/workloads/without-bpf tests/support/demo

# Whether a test passes by luck. Without TEST: all that continuous integration runs.
.PHONY: flaky
N ?= 1
flaky: $(SUITES:%=$(OUTPUT)/tests/%-tests) $(PROGRAM) workloads ## run TEST (suite/test) N times with all CPUs busy; .ci/run without TEST
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/under-load tests/support/flaky $(N) '$(TEST)'

# Not part of `make test`: it takes minutes.
.PHONY: test-valgrind valgrind-deps
valgrind-deps:
	$(Q)tests/support/deps --valgrind
test-valgrind: $(OUTPUT)/tests/unit-tests | valgrind-deps ## the unit suite under valgrind: nothing may leak
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/valgrind

# CPython's own tests under gilscope: minutes to an hour.
.PHONY: test-cpython cpython-deps
cpython-deps:
	$(Q)tests/support/deps --cpython
test-cpython: $(PROGRAM) | cpython-deps ## CPython's own test suites come to the same under gilscope run --children: MODULES="test_gc"
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/test-cpython $(MODULES)

# What people use Python with, from its package registry: 1.4 GB, once, and a quarter of a minute for each program.
.PHONY: test-packages packages-deps
packages-deps:
	$(Q)tests/support/deps --packages
test-packages: $(PROGRAM) $(WORKLOAD_LIBS) | packages-deps ## real packages, judged by clocks inside the programs: PROGRAMS="burst mixed"
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/test-packages $(PROGRAMS)

.PHONY: bench-peers
bench-peers: $(PROGRAM) $(WORKLOAD_LIBS) | packages-deps ## gilscope beside a sampler, on the same truth: which code, at what cost
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/bench-peers

# ---- distribution kernels, booted ------------------------------------------------------------------
# What runs in their machines, beside the workloads in Python.
GUEST := $(PROGRAM) $(OUTPUT)/tests/bpf-tests $(OUTPUT)/workloads/libgilwork.so $(OUTPUT)/workloads/libsignalcount.so
KERNELS ?= 6.1 6.12 6.18 newest
# What tells whether a kernel takes and keeps what gilscope plants, in less than a minute each; a machine that hangs is given up.
QUICK_CHECKS := doctor attach light native-code-of-a-running-holder-is-named kill pools budget dmesg
QUICK := ARCHES=$(NATIVE_ARCH) SMP=1 POOLS=5 PATIENCE=400 BOOT_SECONDS=1200

# Long: gilscope on a service that forks, executes and kills, and others that come and go. 30 minutes a boot, by hand.
SOAK_MINUTES ?= 30
SOAK := JUDGE=soak.py CHECKS='soak growth dmesg' ARCHES=$(NATIVE_ARCH) SMP=2 SOAK_MINUTES=$(SOAK_MINUTES) BOOT_SECONDS=14400

# Other modes of preemption than a kernel's own, where it offers them, PREEMPT_RT, lockdown, and pages of 16 KiB.
MODES := 6.1,preempt=none 6.1,preempt=full 6.12,preempt=none 6.12,preempt=full \
	6.18,preempt=none 6.18,preempt=voluntary 6.18,preempt=full newest,preempt=none newest,preempt=voluntary newest,preempt=full \
	6.1-rt 6.12-rt 6.1,lockdown=integrity 6.1,lockdown=confidentiality newest,lockdown=integrity newest,lockdown=confidentiality
MODE_CHECKS := doctor lockdown attach light kill pools dmesg

.PHONY: guest test-kernels test-kernels-quick test-kernels-modes test-kernels-soak kernels-deps
guest: $(GUEST)

# What can't be installed is not applicable, which the script says.
kernels-deps:
	-$(Q)tests/support/deps --kernels
test_kernels = OUTPUT=$(abspath $(OUTPUT)) VMDIR='$(abspath $(VMDIR))' tests/kernels/test-kernels
test-kernels: $(GUEST) | kernels-deps ## boot distribution kernels and judge gilscope there: KERNELS="6.1 newest" ARCHES=amd64 SMP=1
	$(Q)KERNELS='$(KERNELS)' $(test_kernels)

test-kernels-quick: $(GUEST) | kernels-deps ## the same of the oldest and the newest kernel, one boot each, the checks that matter most
	$(Q)KERNELS='6.1 newest' CHECKS='$(QUICK_CHECKS)' $(QUICK) $(test_kernels)

test-kernels-modes: $(GUEST) | kernels-deps ## the same in each mode of preemption, with lockdown, and on PREEMPT_RT: MODES="6.1,preempt=full 6.12-rt"
	$(Q)KERNELS='$(MODES)' CHECKS='$(MODE_CHECKS)' $(QUICK) $(test_kernels)

test-kernels-soak: $(GUEST) | kernels-deps ## observe for SOAK_MINUTES (30) on the oldest and the newest kernel: nothing may grow or be missed
	$(Q)KERNELS='6.1 newest' $(SOAK) $(test_kernels)

# Several runs make one table: a processor or an architecture each, if an hour is too long.
CHECKED ?= $(OUTPUT)/kernels-results/checks.tsv
.PHONY: kernels-table
kernels-table: ## put what test-kernels has found last into tests/kernels/README.md: CHECKED="A/checks.tsv B/checks.tsv"
	$(Q)tests/kernels/table $(CHECKED) tests/kernels/README.md

# Needs the npm registry.
.PHONY: test-dashboards
test-dashboards: $(OUTPUT)/tests/integration-tests $(PROGRAM) ## the dashboards' transformations under Grafana's own code
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/test-dashboards

demo: $(PROGRAM) $(WORKLOAD_LIBS) ## install what is missing, build, watch a small service for ten seconds
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/demo

# ---- fuzzing: clang's libFuzzer over the modules that meet hostile input ---------------------------
FUZZ_FLAGS := -g -O1 -fsanitize=address -fno-omit-frame-pointer
FUZZ_OBJS := $(patsubst %.c,$(FUZZ_DIR)/%.o,$(LIB_SRCS) $(CLI_LIB_SRCS))
FUZZERS := $(patsubst tests/fuzz/%.c,$(FUZZ_DIR)/%,$(FUZZ_SRCS))

$(FUZZ_DIR)/%.o: %.c $(FLAGS_FILE) | $(SKELS)
	$(say) FUZZCC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(ALL_CPPFLAGS) -std=gnu11 $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$(FUZZ_DIR)/fuzz_%: $(FUZZ_DIR)/tests/fuzz/fuzz_%.o $(FUZZ_OBJS)
	$(say) LINK $@
	$(Q)$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer $(FUZZ_WRAP) -o $@ $^ $(LDLIBS)

# In whose place a fuzzer puts memory and texts that it made.
wrap = $(foreach f,$(1),-Wl,--wrap=$(f))
FUZZ_PROCMEM := procmem__read procmem__read_u32 procmem__read_u64 procmem__read_many
$(FUZZ_DIR)/fuzz_memory: FUZZ_WRAP := $(call wrap,$(FUZZ_PROCMEM))
$(FUZZ_DIR)/fuzz_snapshot: FUZZ_WRAP := $(call wrap,$(FUZZ_PROCMEM) clock_gettime nanosleep target__has_thread target__futex \
	native_look__take)
$(FUZZ_DIR)/fuzz_proc: FUZZ_WRAP := $(call wrap,procmaps__slurp)

.PHONY: fuzz-deps fuzz
fuzz-deps:
	$(Q)tests/support/deps --fuzz
$(FUZZ_OBJS) $(FUZZERS): | fuzz-deps

fuzz: $(FUZZERS) ## fuzz each parser of hostile input for FUZZ_SECONDS (10)
	$(Q)tests/support/fuzz $(FUZZ_DIR) $(FUZZ_SECONDS) $(FUZZERS)

# ---- the table of interpreters -----------------------------------------------------------------------
.PHONY: table
table: $(OUTPUT)/tests/integration-tests $(PROGRAM) $(WORKLOAD_LIBS) ## measure every interpreter here, for tests/INTERPRETERS.md
	$(Q)OUTPUT=$(abspath $(OUTPUT)) tests/support/table $< tests/INTERPRETERS.md

# ---- benchmarks ------------------------------------------------------------------------------------
BENCH_PROGRAMS := $(patsubst tests/bench/%.c,$(OUTPUT)/bench/%,$(BENCH_SRCS))

$(OUTPUT)/bench/%: $(OUTPUT)/tests/bench/%.o $(TEST_LIBS)
	$(say) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TEST_PKG_LIBS) $(LDLIBS)

.PHONY: bench
bench: $(PROGRAM) $(WORKLOAD_LIBS) $(BENCH_PROGRAMS) ## measure cost against the limit and against peers
	$(Q)for b in $(BENCHES); do echo "== $$b"; OUTPUT=$(abspath $(OUTPUT)) $$b || exit 1; done

# ---- looks ---------------------------------------------------------------------------------------
C_FILES := $(sort $(wildcard bpf/*.[ch] collector/*.[ch] collector/*/*.[ch] cli/*.[ch] cli/*/*.[ch] tests/*/*.[ch]))
LINT_SRCS := $(LIB_SRCS) $(CLI_SRCS) $(SUPPORT_SRCS) $(foreach s,$(SUITES),$(call suite_srcs,$(s))) \
	$(BENCH_SRCS)
LINT_STAMPS := $(LINT_SRCS:%.c=$(OUTPUT)/lint/%.ok)

# Warnings are errors here and only here: a newer compiler must not break somebody's build.
$(OUTPUT)/lint/%.ok: %.c $(FLAGS_FILE) | $(SKELS)
	$(say) WERROR $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -Werror -MMD -MP -MF $(@:.ok=.d) -MT $@ -c $< -o /dev/null
	$(Q)touch $@

.PHONY: lint format man
lint: $(LINT_STAMPS) $(PROGRAM) ## warnings as errors, include rules, layout, scripts, manual page
	$(Q)tests/support/lint $(PROGRAM)

format: ## lay out the C files as .clang-format says
	$(Q)clang-format -i $(C_FILES)

man: ## render the manual page as text
	$(Q)mkdir -p $(OUTPUT)
	$(Q)MANWIDTH=80 man -l cli/gilscope.8 > $(OUTPUT)/gilscope.8.txt
	$(Q)echo $(OUTPUT)/gilscope.8.txt

# ---- install -------------------------------------------------------------------------------------
BIN_DIR := $(DESTDIR)$(PREFIX)/bin
MAN_DIR := $(DESTDIR)$(PREFIX)/share/man/man8
SHARE_DIR := $(DESTDIR)$(PREFIX)/share/gilscope
UNIT_DIR := $(DESTDIR)$(PREFIX)/lib/systemd/system
COMPLETION_DIR := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
DASHBOARDS := $(shell find dashboards -type f 2>/dev/null)

.PHONY: install uninstall
install: $(PROGRAM) ## into $(DESTDIR)$(PREFIX): program, manual page, completion, unit, dashboards
	$(Q)install -D -m 755 $(OUTPUT)/gilscope $(BIN_DIR)/gilscope
	$(Q)if [ -f cli/gilscope.8 ]; then install -D -m 644 cli/gilscope.8 $(MAN_DIR)/gilscope.8; fi
	$(Q)install -D -m 644 cli/package/bash-completion $(COMPLETION_DIR)/gilscope
	$(Q)mkdir -p $(UNIT_DIR)
	$(Q)sed 's|@BINDIR@|$(PREFIX)/bin|' cli/package/gilscope.service > $(UNIT_DIR)/gilscope.service
	$(Q)chmod 644 $(UNIT_DIR)/gilscope.service
	$(Q)install -D -m 644 cli/package/gilscope.conf $(SHARE_DIR)/gilscope.conf
	$(Q)for f in $(DASHBOARDS); do install -D -m 644 $$f $(SHARE_DIR)/$$f || exit 1; done

uninstall: ## take away what install put there
	$(Q)rm -f $(BIN_DIR)/gilscope $(MAN_DIR)/gilscope.8 $(UNIT_DIR)/gilscope.service $(COMPLETION_DIR)/gilscope
	$(Q)rm -rf $(SHARE_DIR)

# What Debian 12 and 13 install with apt: `apt install ./gilscope_0.1.0_amd64.deb`.
DEB = $(OUTPUT)/gilscope_$(VERSION)_$(shell dpkg --print-architecture).deb
.PHONY: deb
deb: $(PROGRAM) ## make a Debian package of it, with the service: .output/gilscope_VERSION_ARCH.deb
	$(Q)rm -rf $(OUTPUT)/deb
	$(Q)$(MAKE) install DESTDIR=$(abspath $(OUTPUT))/deb PREFIX=/usr
	$(Q)cli/package/make-deb $(OUTPUT)/deb $(VERSION) $(DEB)

.PHONY: clean help
clean: ## remove everything that was built
	$(Q)rm -rf $(TOP)

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile
	@for s in $(SUITES); do printf '  %-13s %s\n' test-$$s "one suite"; done
	@echo
	@echo '  variables: OUTPUT PREFIX DESTDIR CC CFLAGS LDFLAGS CLANG BPFTOOL V=1'
	@echo '             SAN=address,undefined COV=1 FUZZ_SECONDS=10 N=1 TEST=suite/test ARCH=arm64 VMDIR'

-include $(patsubst %.c,$(OUTPUT)/%.d,$(LIB_SRCS) $(CLI_SRCS) $(SUPPORT_SRCS) $(BENCH_SRCS))
-include $(foreach s,$(SUITES),$(patsubst %.c,$(OUTPUT)/%.d,$(call suite_srcs,$(s))))
-include $(SKELS:.skel.h=.bpf.d) $(WORKLOAD_LIBS:.so=.d)
-include $(ARM64_BPF:.o=.d) $(ARM64_CHECKS:.ok=.d)
-include $(LINT_STAMPS:.ok=.d) $(FUZZ_OBJS:.o=.d) $(patsubst %.c,$(FUZZ_DIR)/%.d,$(FUZZ_SRCS))
