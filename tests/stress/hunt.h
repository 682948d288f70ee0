/* The killer inside the supervisor: SIGKILL at every state of tracker and gate, and in the middle of every step.
 *
 * It sits where the engine cannot see it: the program is linked with --wrap for the calls named in hunt.c, so that a kill can
 * come between any two of them. Before each wait for an event it looks at the whole index and may kill a task in the state
 * (of the tracker, of its gate) that was hit least; inside a step it may kill the very task that the step is about.
 *
 * Loop thread only, except for struct sp_quarry, which is shared between the killers. */
#ifndef SP_STRESS_HUNT_H
#define SP_STRESS_HUNT_H

#include "rig.h"

#include <stdatomic.h>

enum { SP_PID_LIMIT = 1 << 22 }; /* PID_MAX_LIMIT of include/linux/threads.h */

/* In memory shared between processes. */
struct sp_quarry {
	atomic_long left; /* how many are still to be killed in this round */
	atomic_ulong doomed[SP_PID_LIMIT / 64]; /* a bit a pid: killed, its end not seen yet */
};

/* Takes pid as one that the caller is about to kill. False: enough are dead, or somebody has killed it before. */
bool sp_quarry_take(struct sp_quarry *quarry, pid_t pid);
void sp_quarry_forget(struct sp_quarry *quarry, pid_t pid);
/* The end of who is not traced is not seen here, and its pid comes again. */
void sp_quarry_forget_all(struct sp_quarry *quarry);

/* What is deliberately got wrong, to show that it is found. */
enum sp_plant {
	SP_PLANT_NOTHING,
	SP_PLANT_FD, /* one is opened at every kill */
	SP_PLANT_HEAP, /* a little memory is taken at every kill */
	SP_PLANT_ENTRY, /* an entry of the index that nobody removes */
	SP_PLANT_STOPPED, /* one task's stop is never told to the tracer */
	SP_PLANT_UNANSWERED, /* one exec is never answered */
};

/* From now on the rig's tasks are hunted, while quarry->left > 0. wanted: how often each place shall be hit. */
void sp_hunt_begin(const struct sp_rig *rig, struct sp_quarry *quarry, unsigned long wanted, enum sp_plant plant);
/* No more kills; what is planted in the last phase of a round is planted from here on. */
void sp_hunt_rest(void);
/* The rig is about to be closed. */
void sp_hunt_end(void);

/* Places that have been hit less often than wanted, those that cannot be hit excepted. */
unsigned sp_hunt_missing(void);
unsigned long sp_hunt_kills(void);
void sp_hunt_print(void); /* the histogram */

#endif
