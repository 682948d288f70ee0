# sallyport: `make help` lists the targets.

.DEFAULT_GOAL := all
SHELL := /bin/bash
CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc

# One build directory a variant, so that variants do not mix their objects.
SANITIZE ?=
comma := ,
VARIANT := $(strip $(if $(filter-out gcc cc,$(CC)),$(notdir $(CC))) $(subst $(comma),-,$(SANITIZE)))
BUILD := build$(if $(VARIANT),/$(subst $() ,-,$(VARIANT)))

LIBRARIES := libseccomp libuv libnl-3.0 sqlite3 libcyaml yaml-0.1 jansson
CPPFLAGS += -Idaemon -Iproto -Iclient -D_GNU_SOURCE -DSP_POLICY_DIR='"$(CURDIR)/policies"' $(shell pkg-config --cflags $(LIBRARIES) 2>/dev/null)
HARDENING := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection $(if $(SANITIZE),,-D_FORTIFY_SOURCE=2)
CFLAGS ?= -O2 -g
override CFLAGS += -std=gnu2x -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-missing-field-initializers $(HARDENING) \
	$(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack $(if $(SANITIZE),-fsanitize=$(SANITIZE))
LDLIBS += $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null) -pthread

ENGINE := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out daemon/main.c,$(shell find daemon -name '*.c')))
CLIENT := $(patsubst %.c,$(BUILD)/obj/%.o,$(shell find client -name '*.c'))
UNIT := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/unit/*.c))
INTEGRATION := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/integration/*.c))
PROGRAMS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/programs/*.c tests/bench/*.c))

.PHONY: all test clean
all: $(BUILD)/sallyport $(BUILD)/sallyportd

$(BUILD)/libsallyport.a: $(ENGINE)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/sallyport: $(CLIENT) $(BUILD)/libsallyport.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/sallyportd: $(BUILD)/obj/daemon/main.o $(BUILD)/libsallyport.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/unit: $(UNIT) $(BUILD)/libsallyport.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcriterion

$(BUILD)/tests/integration: $(INTEGRATION) $(BUILD)/libsallyport.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcriterion

# Programs that tests run under supervision: no sanitizer, so that what is measured and attacked is the program itself.
$(PROGRAMS): $(BUILD)/tests/%: tests/%.c
	@mkdir -p $(@D)
	$(CC) -Idaemon -D_GNU_SOURCE -O2 -g -std=gnu2x -Wall -Wextra -Werror -Wno-missing-field-initializers -o $@ $< -pthread

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

test: all $(BUILD)/tests/unit $(BUILD)/tests/integration $(PROGRAMS)
	$(BUILD)/tests/unit
	$(BUILD)/tests/integration

clean:
	rm -rf build
