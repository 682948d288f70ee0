/* Children for tests of what is read out of other tasks: one that keeps still with a copy of the test's memory, and one
 * that execs natively, the oracle of what the kernel makes of that memory. Both die with the test. */
#ifndef TESTS_UNIT_CHILD_H
#define TESTS_UNIT_CHILD_H

#include "util/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Forks a child that calls setup (or NULL), which may fail the test by returning false, and then only waits. The child
 * is past its setup when this returns. */
pid_t child_waiting(bool (*setup)(void *context), void *context);
void child_end(const pid_t *child); /* kills and reaps; 0 is fine */
#define cleanup_child sp_cleanup(child_end)

/* Addresses are those of the calling process, which the child has a copy of. */
struct native_call {
	bool by_fd; /* execveat with dirfd and flags, else execve */
	int dirfd, flags;
	uint64_t path, argv, envp;
};

struct native {
	pid_t child; /* in its exec stop: the new program has not run yet; 0: it failed */
	int err; /* positive errno of the exec, or 0 */
	char *cmdline, *environ; /* the kernel's copies; NUL-terminated strings, one after the other */
	size_t cmdline_size, environ_size;
	struct stat exe;
};

/* Does the call in a child. Skips the test where nothing may be traced. */
struct native native_exec(const struct native_call *call);
void native_end(struct native *native);
#define cleanup_native sp_cleanup(native_end)

#endif
