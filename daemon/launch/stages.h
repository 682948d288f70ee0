/* The stages of a launch, in the child: a fixed table, carried out in its order.
 *
 * Everything here is async-signal-safe, allocates nothing and touches no stdio: it runs between fork and exec in what may be
 * a copy of a process with threads. */
#ifndef SP_LAUNCH_STAGES_H
#define SP_LAUNCH_STAGES_H

#include "launch/plan.h"

/* What sp_launch_fork() is told by a plan that makes processes of its own, over the wire. An init, if there is one, says a byte of
 * its own there when it is locked up. */
struct sp_launch_births {
	int32_t init; /* pid 1 of the new pid namespace, 0: none; a child of the supervisor's */
	int32_t program; /* the process that will be the program; a child of the supervisor's */
};

/* Does the child of this plan make processes before it is the program? */
bool sp_stages_fork(const struct sp_launch_plan *plan);

struct sp_stage_run {
	const struct sp_launch_plan *plan;
	struct sp_launch_outcome *outcome;
	/* Where births are told, and what the init of a pid namespace waits for the end of; -1: the plan makes none. */
	int wire;
	bool born_inside; /* in the plan's control group, of version 2 */
	int proc; /* a mount of procfs that is not in place yet, or -1 */
};

/* All stages up to the filter. Returns in the process that is to be the program. */
void sp_stages_run(struct sp_stage_run *run);

/* The one that comes last, after which only execve is sure to be allowed. 0 or -errno. */
[[nodiscard]] int sp_stages_last(struct sp_stage_run *run);

/* As fork(2), without the C library's handlers, which may take locks. With inside, in the plan's control group if that is one to be born
 * in; if it cannot be, it can still go there. In the child run->born_inside says so. */
pid_t sp_stages_clone(struct sp_stage_run *run, unsigned long flags, bool inside);

/* Async-signal-safe. */
void sp_stage_note(struct sp_launch_outcome *outcome, enum sp_stage stage, int err);

#endif
