/* Does a job do one thing after the other? Then the supervisor follows it from CPU to CPU (util/cpu.h); where programs run side
 * by side the scheduler knows better. Loop thread only. */
#ifndef SP_FOLLOWER_H
#define SP_FOLLOWER_H

#include "procindex/index.h"

struct sp_follower {
	unsigned execs, overlaps; /* of this round */
	pid_t last; /* process of the last exec */
	uint64_t last_key;
};

/* The task waits in an exec. */
void sp_follower_exec(struct sp_follower *follower, const struct sp_index *index, const struct sp_task *caller);

#endif
