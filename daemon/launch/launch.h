/* The child between fork and exec.
 *
 * Everything is prepared in the parent; the child uses async-signal-safe calls only and allocates nothing. It installs the
 * filter, hands the listener over, waits for the word, and execs. What fails it reports as one fixed-size message; the
 * channel's end of file, which exec brings about, says that the launch is over. */
#ifndef SP_LAUNCH_LAUNCH_H
#define SP_LAUNCH_LAUNCH_H

#include "notify/filter.h"
#include "util/error.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct sp_launch {
	const char *file; /* the program, with a slash: no search is made */
	char *const *argv, *const *envp; /* NULL-terminated */
	const sigset_t *signal_mask; /* what the program shall have */
	bool ignore_sigchld; /* the program shall ignore it, as our caller did */
	const struct rlimit *nofile; /* RLIMIT_NOFILE of the program; NULL: as ours */
	const struct sp_filter *filter;
};

enum sp_launch_stage { SP_STAGE_NO_NEW_PRIVS, SP_STAGE_FILTER, SP_STAGE_LISTENER, SP_STAGE_EXEC };

struct sp_launch_message {
	uint32_t stage; /* enum sp_launch_stage */
	int32_t err; /* positive errno; 0 with SP_STAGE_LISTENER: the listener comes with this message */
};

/* Forks. The child waits for sp_launch_go() before it runs the program. *channel: close-on-exec, non-blocking, the caller's.
 * 0, or -errno with a sentence. */
[[nodiscard]] int sp_launch_fork(const struct sp_launch *launch, pid_t *pid, int *channel, struct sp_error *e);

/* One message from the child. 1: *message is it, and *listener an fd that the caller owns or -1; 0: end of file, the program
 * runs (or the child died); -EAGAIN: nothing yet; or another -errno (EPROTO: not a whole message). */
[[nodiscard]] int sp_launch_receive(int channel, struct sp_launch_message *message, int *listener);

/* The word: exec now. 0 or -errno (EPIPE: the child is dead). */
[[nodiscard]] int sp_launch_go(int channel);

/* What the stage does, for a person: "no_new_privs", "the seccomp filter", ... */
const char *sp_launch_stage_name(uint32_t stage);

#endif
