/* A program is launched: fork, the stages in the child, the hand-over of the listener, the word, exec.
 *
 * Everything is prepared in the parent (plan.h); the child uses async-signal-safe calls only and allocates nothing
 * (stages.h). It hands the listener over together with the record of its stages (outcome.h), waits for the word, and execs.
 * A launch that fails after that sends a second record; the channel's end of file, which exec brings about, says that the
 * launch is over. */
#ifndef SP_LAUNCH_LAUNCH_H
#define SP_LAUNCH_LAUNCH_H

#include "launch/plan.h"

#include <sys/types.h>

struct sp_launched {
	pid_t pid; /* a child of ours that will be the program */
	int channel; /* close-on-exec, non-blocking */
	pid_t init; /* pid 1 of the program's pid namespace, a child of ours as well; 0: none */
	pid_t maker; /* who made these two, and stands aside; 0: none */
	int wire; /* they end when this is closed; -1: none */
};

/* Forks. The child waits for sp_launch_go() before it runs the program. The caller owns what is in *launched. 0, or -errno with
 * a sentence. */
[[nodiscard]] int sp_launch_fork(const struct sp_launch *launch, struct sp_launched *launched, struct sp_error *e);

/* One record from the child. 1: *outcome is it, and *listener an fd that the caller owns or -1; 0: end of file, the program
 * runs (or the child died); -EAGAIN: nothing yet; or another -errno (as sp_launch_record_decode()). */
[[nodiscard]] int sp_launch_receive(int channel, struct sp_launch_outcome *outcome, int *listener);

/* The word: exec now. 0 or -errno (EPIPE: the child is dead). A child whose channel is closed instead, or that
 * could not get as far as its exec, ends with SP_LAUNCH_REFUSED. */
[[nodiscard]] int sp_launch_go(int channel);
enum { SP_LAUNCH_REFUSED = 125 };

/* The init, and who made it, may end: every process of the program's pid namespace is gone, or shall be. */
void sp_launch_let_init_go(struct sp_launched *launched);

/* The same, and reaps it. Fine if there is none. */
void sp_launch_end_init(struct sp_launched *launched);

#endif
