/* The seccomp filter of a job: which calls are ours to decide, which are refused outright.
 *
 * Compiled once per policy in the parent; a child loads the finished program, which is safe between fork and exec. */
#ifndef SP_NOTIFY_FILTER_H
#define SP_NOTIFY_FILTER_H

#include "util/error.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>

struct sp_filter {
	struct sock_fprog program; /* filter is owned: sp_filter_free() */
};

enum sp_notified { SP_NOTIFY_EXECS, SP_NOTIFY_EXECS_AND_FORKS };

/* execve and execveat are notified, and with forks also fork, vfork and a clone that makes no thread; clone3 gives ENOSYS, since its flags are in memory that a filter cannot see (callers
 * fall back to clone); clone with CLONE_UNTRACED, and everything that writes into other processes or does system calls behind
 * the filter's back, is refused; foreign architectures (i386, x32) are killed. 0, or -errno with a sentence. */
[[nodiscard]] int sp_filter_compile(struct sp_filter *filter, enum sp_notified notified, struct sp_error *e);

/* Names of system calls. */
struct sp_call_names {
	const char *const *names;
	size_t count;
};

struct sp_filter_calls {
	struct sp_call_names deny; /* EPERM */
	struct sp_call_names kill; /* the process */
	struct sp_call_names allow; /* if there are any: EPERM for all others */
	bool strict; /* as SECCOMP_MODE_STRICT: all but read, write, exit and the return from a signal handler kill */
};

/* A filter that a program asked for, loaded after the other one and as the last thing before its execve, which it lets
 * pass. 0, or -errno with a sentence. */
[[nodiscard]] int sp_filter_compile_calls(struct sp_filter *filter, const struct sp_filter_calls *calls,
					  struct sp_error *e);

void sp_filter_free(struct sp_filter *filter);

/* seccomp(2) with NEW_LISTENER and WAIT_KILLABLE_RECV, for the calling thread, which must have no_new_privs or CAP_SYS_ADMIN.
 * The listener fd (close-on-exec), or -errno: EBUSY: a filter above has a listener already; EINVAL: kernel before 5.19.
 * Async-signal-safe. */
[[nodiscard]] int sp_filter_load(const struct sp_filter *filter);

/* The same without a listener. 0 or -errno. Async-signal-safe. */
[[nodiscard]] int sp_filter_add(const struct sp_filter *filter);

#endif
