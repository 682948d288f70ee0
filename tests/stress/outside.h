/* The killer outside the supervisor, and the judge of what is left: another process, which knows nothing but /proc. It is
 * the subreaper, so that whatever a job leaves behind becomes its child. One thread. */
#ifndef SP_STRESS_OUTSIDE_H
#define SP_STRESS_OUTSIDE_H

#include "hunt.h"

struct sp_outside_kills {
	unsigned long processes, groups;
};

/* What the supervisor's process asks over the channel, one byte each, and is answered by a struct sp_left_behind. */
enum { SP_ASK_LEFT_BEHIND = 'l' };

struct sp_left_behind {
	unsigned stopped; /* tasks in T or t */
	unsigned others; /* processes in any other state */
	char names[256]; /* of some of them */
};

/* Kills what `supervisor` supervises, at random instants, while quarry->left > 0; answers the supervisor's questions; until the
 * supervisor has ended. Its wait status. */
int sp_outside_run(struct sp_quarry *quarry, pid_t supervisor, int channel, struct sp_outside_kills *kills);

#endif
