/* Limits for a tree as a whole, by control groups: memory, tasks and CPU time, whatever forks, leaves its session or changes
 * its user.
 *
 * Each limit needs a hierarchy with its controller in which we may make a group: version 2 where it was delegated to us, or
 * version 1. A limit that cannot be had is not had silently: sp_cgroup_new() says why for each. Nothing of this
 * is touched where nothing is asked for.
 *
 * The loop's thread. */
#ifndef SP_LIMITS_CGROUP_H
#define SP_LIMITS_CGROUP_H

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What the tree may have in all. */
enum sp_tree_limit {
	SP_TREE_MEMORY, /* bytes */
	SP_TREE_TASKS, /* processes and threads */
	SP_TREE_CPU, /* thousandths of a CPU */
	SP_TREE_LIMITS,
};

struct sp_tree_limits {
	int64_t value[SP_TREE_LIMITS]; /* 0: not asked for */
	int err[SP_TREE_LIMITS]; /* filled in: 0, or the positive errno why it is not in force (ENOTSUP: no such controller) */
};

struct sp_cgroup;

/* Makes the groups of one job, named after id. *out is NULL if not one limit could be had, and is freed with
 * sp_cgroup_close(). 0 or -ENOMEM. */
[[nodiscard]] int sp_cgroup_new(uint64_t id, struct sp_tree_limits *limits, struct sp_cgroup **out);

/* The directory for CLONE_INTO_CGROUP: who is born there needs not be moved. -1: no group is of version 2. */
int sp_cgroup_birthplace(const struct sp_cgroup *cgroup);

/* The calling process, which has one thread, goes under that limit, which is in force. Async-signal-safe. 0 or -errno. */
[[nodiscard]] int sp_cgroup_enter(const struct sp_cgroup *cgroup, enum sp_tree_limit limit, bool born_inside);

/* Nobody will be born there or enter any more: closes what that took. NULL is fine. */
void sp_cgroup_shut(struct sp_cgroup *cgroup);

/* SIGKILL for all that is in there, at one stroke (version 2, since Linux 5.14). NULL is fine. */
void sp_cgroup_kill(const struct sp_cgroup *cgroup);

/* Removes the groups, which should be empty. NULL is fine. */
void sp_cgroup_close(struct sp_cgroup *cgroup);

#endif
