/* Whom to ask for an event. waitpid(-1) looks at every traced task: half a microsecond for ten, 400 for 10,000, so among many
 * tasks those are asked first that are likely to have one: the one that SIGCHLD names, those that were asked to stop or
 * are about to be born, and those that had one lately. SIGCHLD coalesces, so somebody else may have one, too: all are asked as
 * often as that costs no more than a small part of the time.
 *
 * Tracer's thread only. */
#ifndef SP_PTRACE_WAITING_H
#define SP_PTRACE_WAITING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sp_waiting {
	pid_t *expected; /* no particular order */
	size_t expected_count, expected_capacity, expected_next;
	pid_t recent[4];
	unsigned recent_next;
	pid_t named; /* by SIGCHLD; 0: nobody */
	int phase;
	bool few; /* asking all costs nothing to speak of */
	bool forced; /* this turn asks all, whatever it costs */
	uint64_t credit, credited,
		cost; /* nanoseconds that may be spent, as of when; what asking all cost the last time */
	uint64_t full_scans;
};

void sp_waiting_free(struct sp_waiting *w); /* what it points to */

/* An event of this task is expected soon. Forgetting some (no memory) only makes them later. */
void sp_waiting_expect(struct sp_waiting *w, pid_t tid);

/* Starts a turn. named: whom SIGCHLD named, or 0; tasks: how many there are; forced: ask all. */
void sp_waiting_begin(struct sp_waiting *w, pid_t named, size_t tasks, bool forced);

/* The next event as waitpid(2) gives it, or 0: no more in this turn; *all says whether really nobody had one. */
pid_t sp_waiting_next(struct sp_waiting *w, int *status, bool *all);

#endif
