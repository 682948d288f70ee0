/* See follower.h. */
#include "follower.h"

#include "util/cpu.h"

#include <stdbool.h>

enum { ROUND = 16, OVERLAPS_MAX = 1, ANCESTORS_MAX = 8 };

static bool is_ancestor(const struct sp_process *ancestor, const struct sp_process *process)
{
	for (int i = 0; process != NULL && i < ANCESTORS_MAX; i++, process = process->parent)
		if (process == ancestor)
			return true;
	return false;
}

/* Is the one that came last still there, and not waiting for this one? */
static bool overlaps(const struct sp_follower *f, const struct sp_index *index, const struct sp_process *process)
{
	const struct sp_task *last = sp_index_find(index, f->last);

	return last != NULL && last->process != NULL && last->process->key == f->last_key &&
	       !is_ancestor(last->process, process);
}

void sp_follower_exec(struct sp_follower *f, const struct sp_index *index, const struct sp_task *caller)
{
	f->overlaps += overlaps(f, index, caller->process);
	f->last = caller->process->tgid;
	f->last_key = caller->process->key;
	if (++f->execs < ROUND)
		return;
	if (f->overlaps <= OVERLAPS_MAX)
		sp_cpu_follow(caller->tid);
	else
		sp_cpu_roam();
	f->execs = f->overlaps = 0;
}
