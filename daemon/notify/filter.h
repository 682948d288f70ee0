/* The seccomp filter of a job: which calls are ours to decide, which are refused outright.
 *
 * Compiled once per policy in the parent; a child loads the finished program, which is safe between fork and exec. */
#ifndef SP_NOTIFY_FILTER_H
#define SP_NOTIFY_FILTER_H

#include "util/error.h"

#include <linux/filter.h>

struct sp_filter {
	struct sock_fprog program; /* filter is owned: sp_filter_free() */
};

enum sp_notified { SP_NOTIFY_EXECS, SP_NOTIFY_EXECS_AND_FORKS };

/* execve and execveat are notified, and with forks also fork, vfork and a clone that makes no thread; clone3 gives ENOSYS, since its flags are in memory that a filter cannot see (callers
 * fall back to clone); clone with CLONE_UNTRACED, and everything that writes into other processes or does system calls behind
 * the filter's back, is refused; foreign architectures (i386, x32) are killed. 0, or -errno with a sentence. */
[[nodiscard]] int sp_filter_compile(struct sp_filter *filter, enum sp_notified notified, struct sp_error *e);
void sp_filter_free(struct sp_filter *filter);

/* seccomp(2) with NEW_LISTENER and WAIT_KILLABLE_RECV, for the calling thread, which must have no_new_privs or CAP_SYS_ADMIN.
 * The listener fd (close-on-exec), or -errno: EBUSY: a filter above has a listener already; EINVAL: kernel before 5.19.
 * Async-signal-safe. */
[[nodiscard]] int sp_filter_load(const struct sp_filter *filter);

#endif
