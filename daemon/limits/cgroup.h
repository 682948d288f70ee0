/* Limits for a tree as a whole, by control groups: memory, tasks and CPU time, whatever forks, leaves its session or changes
 * its user.
 *
 * Each limit needs a hierarchy with its controller in which we may make a group: version 2 where it was delegated to us, or for
 * tasks and CPU time version 1. A limit that cannot be had is not had silently: sp_cgroup_new() says why for each. Nothing of this
 * is touched where nothing is asked for.
 *
 * The loop's thread. */
#ifndef SP_LIMITS_CGROUP_H
#define SP_LIMITS_CGROUP_H

#include "util/error.h"

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

/* Puts a process, and what it will fork, under the limits. 0 or -errno. */
[[nodiscard]] int sp_cgroup_add(const struct sp_cgroup *cgroup, pid_t pid);

/* SIGKILL for all that is in there, at one stroke (version 2, since Linux 5.14). NULL is fine. */
void sp_cgroup_kill(const struct sp_cgroup *cgroup);

/* Removes the groups, which should be empty. NULL is fine. */
void sp_cgroup_close(struct sp_cgroup *cgroup);

const char *sp_tree_limit_name(enum sp_tree_limit limit); /* as a policy calls it */

#endif
