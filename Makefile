# sallyport: `make help` lists the targets.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
SHELL := /bin/bash
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
POLICYDIR ?= $(PREFIX)/share/sallyport/policies
PLUGINDIR ?= $(PREFIX)/lib/sallyport/plugins
CFLAGS ?= -O2 -g

# One directory a variant (build, build/clang, build/address-undefined, ...), so that variants do not mix their objects.
SANITIZE ?=
comma := ,
VARIANT := $(strip $(if $(filter-out gcc cc,$(CC)),$(notdir $(CC))) $(subst $(comma),-,$(SANITIZE)))
BUILD := build$(if $(VARIANT),/$(subst $() ,-,$(VARIANT)))

# What Debian 12 calls the things we need. `make run` and `make test` install what is missing.
BUILD_PACKAGES := gcc libc6-dev make pkg-config libseccomp-dev libuv1-dev libnl-3-dev libsqlite3-dev libcyaml-dev \
	libyaml-dev libjansson-dev libcap-dev libsystemd-dev $(if $(findstring clang,$(CC)),clang)
RUN_PACKAGES := curl
TEST_PACKAGES := libcriterion-dev gdb strace
LIVENESS_PACKAGES := bc binutils bsdutils debhelper default-jdk-headless dpkg-dev expect fakeroot gdb git golang-go \
	nodejs parallel perl procps python3 strace util-linux
LEARN_PACKAGES := git python3 python3-pytest xz-utils
VARLINK_PACKAGES := golang-go golang-github-varlink-go-dev
BENCH_PACKAGES := bubblewrap dash strace sudo xz-utils

# What a program built in this tree finds by name without being installed; `make install` sets the final place.
POLICY_DIR := $(CURDIR)/policies
PLUGIN_DIR = $(CURDIR)/$(BUILD)/plugins

# Two compilers, several versions: a flag is used where the compiler has it.
supported = $(shell $(CC) -Werror $(1) -O2 -include features.h -S -o /dev/null -x c /dev/null >/dev/null 2>&1 && echo '$(1)')
# Fortification needs an optimising compiler, and hides from a sanitizer what it should see.
FORTIFY := $(if $(SANITIZE),,$(if $(filter -O -O1 -O2 -O3 -Os -Ofast,$(CFLAGS)),-U_FORTIFY_SOURCE \
	$(or $(call supported,-D_FORTIFY_SOURCE=3),-D_FORTIFY_SOURCE=2)))

LIBRARIES := libseccomp libuv libnl-3.0 sqlite3 libcyaml yaml-0.1 jansson libcap
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-missing-field-initializers
# What no flag of the ELF shows, and costs nothing that can be measured: variables and, on return, registers do not keep what was
# there before; what the compiler may assume of overflows and null pointers is not used against us.
QUIET_HARDENING := $(or $(call supported,-ftrivial-auto-var-init=zero),$(call supported,-ftrivial-auto-var-init=pattern)) \
	$(call supported,-fzero-call-used-regs=used-gpr) $(call supported,-fstrict-flex-arrays=3) \
	-fno-delete-null-pointer-checks -fno-strict-overflow
HARDENING := -fPIE -fstack-protector-strong $(call supported,-fstack-clash-protection) \
	$(call supported,-fcf-protection=full) $(QUIET_HARDENING) $(FORTIFY)
SANITIZER = $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
PLACES = -DSP_POLICY_DIR='"$(POLICY_DIR)"' -DSP_PLUGIN_DIR='"$(PLUGIN_DIR)"' -DSP_PROTO_DIR='"$(CURDIR)/proto"'
COMPILE := $(CC) -Idaemon -Iproto -Iclient -D_GNU_SOURCE $(shell pkg-config --cflags $(LIBRARIES) 2>/dev/null) $(CPPFLAGS) \
	-std=gnu2x $(WARNINGS) $(HARDENING) $(CFLAGS)
LINK := $(CC) $(CFLAGS) -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code,--as-needed $(LDFLAGS)
LIBS := $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null) -pthread $(LDLIBS)
# To load nine libraries takes longer than all else that a start needs: the programs get those in that come as archives, and their
# forks have less to copy. SHARED=1: for who replaces libraries and not programs.
archive = $(filter /%,$(shell $(CC) -print-file-name=lib$(patsubst uv,uv_a,$(patsubst -l%,%,$(1))).a))
inside = $(or $(if $(filter -lpthread -ldl -lrt -lm,$(1)),,$(if $(filter -l%,$(1)),$(archive))),$(1))
PROGRAM_LIBS := $(if $(SHARED)$(SANITIZE),$(LIBS),$(foreach word,$(LIBS),$(call inside,$(word))) -lm)

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
# What only the service has: its configuration, and what it tells systemd.
SERVICE := $(call objects,daemon/main.c daemon/service/journal.c)
ENGINE := $(call objects,$(filter-out daemon/main.c daemon/service/journal.c daemon/self/before_main.c,$(shell find daemon proto -name '*.c')))
# What protects a program before its main. Not in the library: tests link that, and must be traced by their leak checker.
BEFORE_MAIN := $(call objects,daemon/self/before_main.c)
CLIENT := $(call objects,$(wildcard client/*.c))
UNIT := $(call objects,$(wildcard tests/unit/*.c))
INTEGRATION := $(call objects,$(wildcard tests/integration/*.c))
PROGRAMS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/programs/*.c tests/bench/*.c))
# One program of several files: the attacks, which the integration tests use as well.
ATTACK := $(BUILD)/tests/programs/attack
TORTURE := $(addprefix $(BUILD)/tests/torture/,intruder weakened torture)

STRESS := $(addprefix $(BUILD)/tests/stress/,kill scale bomb)

# What is not ours to free, where leaks are looked for.
LEAKS := $(if $(findstring address,$(SANITIZE)),LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0 )
# What only seems shared, where races are looked for.
RACES = $(if $(findstring thread,$(SANITIZE)),TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp )

# Criterion's arena does not fit into the address space that ThreadSanitizer leaves (Criterion 2.4, gcc 12, clang 14):
# of that variant the programs are checked, by the integration tests, whose runner is built without.
THREADED := $(filter thread,$(subst $(comma), ,$(SANITIZE)))
TESTS := $(if $(THREADED),,$(BUILD)/tests/unit) $(BUILD)/tests/integration
ifneq ($(THREADED),)
$(INTEGRATION) $(BUILD)/tests/integration: private SANITIZER :=
endif

# V=1 shows the commands, -s nothing.
say = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),,@echo '  $(1)  $(2)')
quiet := $(if $(V),,@)

.PHONY: all run test check torture liveness varlink stress learn bench install clean help deps format force

all: $(BUILD)/sallyport $(BUILD)/sallyportd ## the two programs, in build/ (the default)

$(BUILD)/libsallyport.a: $(ENGINE)
	$(call say,AR,$@)
	@rm -f $@
	$(quiet)$(AR) rcs $@ $^

$(BUILD)/sallyport: $(CLIENT) $(BEFORE_MAIN) $(BUILD)/libsallyport.a
	$(call say,LD,$@)
	$(quiet)$(LINK) $(SANITIZER) -o $@ $^ $(PROGRAM_LIBS)

$(BUILD)/sallyportd: $(SERVICE) $(BEFORE_MAIN) $(BUILD)/libsallyport.a
	$(call say,LD,$@)
	$(quiet)$(LINK) $(SANITIZER) -o $@ $^ $(PROGRAM_LIBS) -lsystemd

$(BUILD)/tests/unit: $(UNIT) $(BUILD)/libsallyport.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(quiet)$(LINK) $(SANITIZER) -o $@ $^ $(LIBS) -lcriterion

$(BUILD)/tests/integration: $(INTEGRATION) $(BUILD)/libsallyport.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(quiet)$(LINK) $(SANITIZER) -o $@ $^ $(LIBS) -lcriterion

# Programs that tests run under supervision: no sanitizer, so that what is measured and attacked is the program itself.
$(PROGRAMS): $(BUILD)/tests/%: tests/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(quiet)$(CC) -Idaemon -D_GNU_SOURCE -O2 -g -std=gnu2x -Wall -Wextra -Werror -Wno-missing-field-initializers -MMD -MP \
		-MF $@.d $(PROGRAM_FLAGS) -o $@ $< -pthread

# Its first instruction is to be the first of its process: no C library, no loader.
$(BUILD)/tests/bench/first: private PROGRAM_FLAGS := -static -nostdlib
$(BUILD)/tests/programs/computation: private PROGRAM_FLAGS := -static -nostdlib -fno-stack-protector

BENCH := $(BUILD)/tests/bench/runner
$(BENCH): $(wildcard tests/bench/runner/*.[ch]) daemon/util/cleanup.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(quiet)$(CC) -Idaemon -D_GNU_SOURCE $(shell pkg-config --cflags jansson 2>/dev/null) -O2 -g -std=gnu2x $(WARNINGS) \
		-o $@ $(filter %.c,$^) $(shell pkg-config --libs jansson 2>/dev/null) -lm

$(ATTACK): $(wildcard tests/torture/attacks/*.[ch]) daemon/util/cleanup.h
	@mkdir -p $(@D)
	$(call say,CC,tests/torture/attacks)
	$(quiet)$(CC) -Idaemon -D_GNU_SOURCE -O2 -g -std=gnu2x $(WARNINGS) -o $@ $(filter %.c,$^) -pthread

$(BUILD)/tests/torture/intruder: tests/torture/intruder.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(quiet)$(CC) -O2 -g -std=gnu2x $(WARNINGS) -static -o $@ $<

$(BUILD)/tests/torture/weakened $(BUILD)/tests/torture/torture: $(BUILD)/tests/torture/%: $(BUILD)/obj/tests/torture/%.o \
		$(BUILD)/libsallyport.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(quiet)$(LINK) $(SANITIZER) -o $@ $^ $(LIBS)

# The linker puts these calls of the engine's through the test first, so that the engine has nothing in it for tests.
wrapped = $(addprefix -Wl$(comma)--wrap=,$(1))
WRAPPED := sp_index_new sp_tracer_new
$(BUILD)/tests/stress/kill: private WRAPPED += waitpid ptrace syscall sp_gatekeeper_notified sp_inspect \
	sp_listener_answer sp_verify
$(BUILD)/tests/stress/kill: $(call objects,$(patsubst %,tests/stress/%.c,hunt outside slowfs))
$(STRESS): $(BUILD)/tests/stress/%: $(BUILD)/obj/tests/stress/%.o $(call objects,tests/stress/rig.c tests/stress/measure.c) \
		$(BUILD)/libsallyport.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(quiet)$(LINK) $(SANITIZER) $(call wrapped,$(WRAPPED)) -o $@ $(filter %.o,$^) $(BUILD)/libsallyport.a $(LIBS)

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(quiet)$(COMPILE) $(PLACES) $(SANITIZER) -MMD -MP -c -o $@ $<

# The built-in policy is read from this tree by the assembler, wherever the program will be installed.
$(BUILD)/obj/daemon/policy/builtin.o: private override POLICY_DIR := $(CURDIR)/policies
PLUGIN_DIR = $(CURDIR)/$(BUILD)/plugins
$(BUILD)/obj/daemon/policy/builtin.o: policies/record.yaml
$(BUILD)/obj/daemon/api/standard.o: proto/io.sallyport.varlink

# Other flags, other objects: written only when they change.
$(BUILD)/flags: force
	@mkdir -p $(@D)
	@cmp -s $@ - <<<'$(subst ','\'',$(COMPILE) $(PLACES) $(SANITIZER) $(LINK) $(PROGRAM_LIBS))' || echo '$(subst ','\'',$(COMPILE) $(PLACES) $(SANITIZER) $(LINK) $(PROGRAM_LIBS))' >$@

-include $(shell find $(BUILD)/obj $(BUILD)/tests -name '*.d' 2>/dev/null)

# The packages come first and make reads itself again after them: what pkg-config says is asked when make starts.
again = +$(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

run: ## build, then supervise this project's own build, with one violation planted in it
	@scripts/packages $(BUILD_PACKAGES) $(RUN_PACKAGES)
	@$(again) all
	@scripts/demo $(BUILD)

test: ## all tests: unit, and integration on real processes
	@scripts/packages $(BUILD_PACKAGES) $(TEST_PACKAGES)
	@$(again) all $(TESTS) $(PROGRAMS) $(ATTACK)
	@status=0; for suite in $(TESTS); do echo "$$suite"; $(LEAKS)$(RACES)SP_BUILD=$(BUILD) $$suite --jobs=2 || status=1; done; exit $$status

check: $(BUILD)/tests/unit ## the fast part: unit tests and formatting
	$(LEAKS)$(RACES)SP_BUILD=$(BUILD) $(BUILD)/tests/unit --jobs=2
	@$(MAKE) --no-print-directory format

format:
	@if command -v clang-format >/dev/null; then \
		find $(wildcard client daemon proto plugins tests) -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror; \
	else echo 'clang-format is not installed: formatting not checked'; fi

torture: ## every attack on the gate, as root and as a user, with controls that fail (ROUNDS=60, ATTACKS='aio splice')
	@scripts/packages $(BUILD_PACKAGES)
	@$(again) all $(PROGRAMS) $(ATTACK) $(TORTURE)
	@$(BUILD)/tests/torture/torture $(BUILD) $(ATTACKS)

liveness: ## honest programs beside their native runs: same output, status, files (CASES='go git-hooks', SIZE=full)
	@scripts/packages $(BUILD_PACKAGES)
	@scripts/packages $(LIVENESS_PACKAGES) || echo 'Cases that need these are skipped.'
	@$(again) all $(PROGRAMS)
	@tests/liveness/run $(BUILD) --self-test
	@tests/liveness/run $(BUILD)

varlink: ## the interface, by a library that is not ours
	@scripts/packages $(BUILD_PACKAGES)
	@scripts/packages $(VARLINK_PACKAGES) || echo 'Skipped without these.'
	@$(again) all
	@tests/varlink/run $(BUILD)

stress: ## 10,000 kills at every state, and the sizes of a big job; FULL=1: the full sizes
	@scripts/packages $(BUILD_PACKAGES)
	@$(again) all $(STRESS) $(PROGRAMS)
	@tests/stress/run $(BUILD)

learn: ## policies learned from real work: two packages built, npm, git and tests (CASES='sed npm', KEEP=DIRECTORY)
	@scripts/packages $(BUILD_PACKAGES)
	@scripts/packages $(LEARN_PACKAGES) || echo 'Cases that need these are skipped.'
	@$(again) all
	@tests/learn/run $(BUILD) $(CASES)

bench: ## what supervision costs, beside native, a floor and others (ROUNDS=, ROWS='execstorm build', QUICK=1)
	@scripts/packages $(BUILD_PACKAGES)
	@scripts/packages $(BENCH_PACKAGES) || echo 'Rows and columns that need these are left out.'
	@$(again) all $(PROGRAMS) $(BENCH)
	@source=$$(tests/bench/package $(BUILD)/bench-src) || source=; $(BENCH) $(BUILD) "$$source"

# Compiled once more for the place where the policies will lie: an installed program does not look into this tree.
INSTALLED := $(BUILD)/installed
install: ## into PREFIX (/usr/local), SYSCONFDIR (/etc), below DESTDIR if that is set
	+@$(MAKE) --no-print-directory BUILD='$(INSTALLED)' POLICY_DIR='$(POLICYDIR)' PLUGIN_DIR='$(PLUGINDIR)' all
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(SBINDIR)' '$(DESTDIR)$(POLICYDIR)' '$(DESTDIR)$(SYSCONFDIR)/sallyport/policies'
	install -m 755 $(INSTALLED)/sallyport '$(DESTDIR)$(BINDIR)'
	install -m 755 $(INSTALLED)/sallyportd '$(DESTDIR)$(SBINDIR)'
	install -m 644 policies/*.yaml '$(DESTDIR)$(POLICYDIR)'
	install -D -m 644 completions/sallyport.bash '$(DESTDIR)$(DATADIR)/bash-completion/completions/sallyport'
	install -D -m 644 completions/_sallyport '$(DESTDIR)$(DATADIR)/zsh/site-functions/_sallyport'
	install -D -m 644 completions/sallyport.fish '$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/sallyport.fish'
	install -d '$(DESTDIR)$(UNITDIR)' '$(DESTDIR)$(TMPFILESDIR)'
	sed 's,@SBINDIR@,$(SBINDIR),' systemd/sallyportd.service >'$(DESTDIR)$(UNITDIR)/sallyportd.service'
	install -m 644 systemd/sallyportd.socket '$(DESTDIR)$(UNITDIR)'
	install -m 644 systemd/sallyportd.tmpfiles '$(DESTDIR)$(TMPFILESDIR)/sallyportd.conf'
	for page in docs/*.[1-8]; do install -D -m 644 -t "$(DESTDIR)$(MANDIR)/man$${page##*.}" "$$page" || exit; done

deps: ## the Debian packages for building and testing: installed as root, named otherwise
	@scripts/packages $(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES)

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18
	@printf '\n  SANITIZE=address,undefined or SANITIZE=thread, CC=clang: variants, built in build/VARIANT\n  V=1: show the commands; SHARED=1: link to shared libraries\n'
