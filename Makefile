# SPDX-License-Identifier: GPL-2.0-only
#
# gilscope: one Makefile, no recursion. Everything it makes lies under $(OUTPUT). `make help` lists the targets.

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
endif

# ---- what is built from what -------------------------------------------------------------------------------------
# Pure modules: neither libbpf nor hiredis (make lint checks it).
PURE := reason log text procmem target elffile pyver sites hist sample aggr batch schema sink_mem
KERNEL := probes reader
REDIS := redis_conn sink_redis store query
WIRES := collector
present = $(foreach m,$(1),$(if $(wildcard collector/$(m).c),collector/$(m).c))
LIB_SRCS := $(call present,$(PURE) $(KERNEL) $(REDIS) $(WIRES))
CLI_SRCS := $(sort $(wildcard cli/*.c))
CLI_LIB_SRCS := $(filter-out cli/main.c,$(CLI_SRCS))
BPF_SRCS := $(sort $(wildcard bpf/*.bpf.c))

LIB_OBJS := $(LIB_SRCS:%.c=$(OUTPUT)/%.o)
CLI_OBJS := $(CLI_SRCS:%.c=$(OUTPUT)/%.o)
CLI_LIB_OBJS := $(CLI_LIB_SRCS:%.c=$(OUTPUT)/%.o)
SKELS := $(BPF_SRCS:bpf/%.bpf.c=$(OUTPUT)/%.skel.h)
LIB := $(OUTPUT)/libgilscope.a
PROGRAM := $(OUTPUT)/gilscope

PKGS := libbpf hiredis jansson libelf libdw capstone
# Redis over TLS where the installed hiredis has it.
ifneq ($(shell $(PKG_CONFIG) --exists hiredis_ssl openssl 2>/dev/null && echo yes),)
PKGS += hiredis_ssl openssl
override CPPFLAGS += -DHAVE_HIREDIS_SSL
endif

SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
COVFLAGS := $(if $(COV),--coverage)
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wvla -Wformat=2 -Wno-unused-parameter
# What others pass in CFLAGS is honoured, what the code needs is added.
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(CFLAGS) $(SANFLAGS) $(COVFLAGS)
ALL_CPPFLAGS = -D_GNU_SOURCE -DGILSCOPE_VERSION='"$(VERSION)"' -I$(OUTPUT) $(PKG_CFLAGS) $(CPPFLAGS)
ALL_LDFLAGS = $(LDFLAGS) $(SANFLAGS) $(COVFLAGS)
PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS = $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
LDLIBS = $(PKG_LIBS) -lpthread -lm

BPF_ARCH := $(shell uname -m | sed 's/x86_64/x86/;s/aarch64/arm64/')
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -D__TARGET_ARCH_$(BPF_ARCH) \
	-I/usr/include/$(shell uname -m)-linux-gnu

# ---- the program -------------------------------------------------------------------------------------------------
.PHONY: all
all: $(PROGRAM)

$(OUTPUT)/%.bpf.o: bpf/%.bpf.c
	$(say) BPF $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@

$(OUTPUT)/%.skel.h: $(OUTPUT)/%.bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name $(notdir $(basename $(basename $<)))_bpf > $@

$(OUTPUT)/%.o: %.c | $(SKELS)
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(LIB): $(LIB_OBJS)
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(PROGRAM): $(CLI_OBJS) $(LIB)
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(CLI_OBJS) $(LIB) $(LDLIBS)

# ---- tests -------------------------------------------------------------------------------------------------------
SUPPORT_SRCS := $(sort $(wildcard tests/support/*.c))
SUPPORT_OBJS := $(SUPPORT_SRCS:%.c=$(OUTPUT)/%.o)
suite_objs = $(patsubst %.c,$(OUTPUT)/%.o,$(sort $(wildcard tests/$(1)/test_*.c)))
WORKLOAD_LIBS := $(patsubst tests/workloads/%.c,$(OUTPUT)/workloads/lib%.so,$(sort $(wildcard tests/workloads/*.c)))

define suite
$(OUTPUT)/tests/$(1)-tests: $(call suite_objs,$(1)) $(SUPPORT_OBJS) $(CLI_LIB_OBJS) $(LIB)
	$$(say) LINK $$@
	$$(Q)$(CC) $$(ALL_LDFLAGS) -no-pie -o $$@ $$(filter %.o,$$^) $(LIB) $$(shell $(PKG_CONFIG) --libs criterion) $$(LDLIBS)
endef
$(foreach s,unit bpf integration,$(eval $(call suite,$(s))))

$(OUTPUT)/workloads/lib%.so: tests/workloads/%.c
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O2 -g -shared -fPIC -o $@ $< -lpthread

.PHONY: test-unit
test-unit: $(OUTPUT)/tests/unit-tests
	$(Q)tests/support/run-suite unit $<

.PHONY: clean
clean:
	$(Q)rm -rf $(OUTPUT)

-include $(LIB_OBJS:.o=.d) $(CLI_OBJS:.o=.d) $(BPF_SRCS:bpf/%.bpf.c=$(OUTPUT)/%.bpf.d) $(SUPPORT_OBJS:.o=.d)
-include $(foreach s,unit bpf integration,$(patsubst %.o,%.d,$(call suite_objs,$(s))))
