/* Everything the child does between fork and exec, as plain data: prepared in the parent, where one may allocate, read
 * files and ask libraries. The child only reads it. */
#ifndef SP_LAUNCH_PLAN_H
#define SP_LAUNCH_PLAN_H

#include "launch/outcome.h"
#include "limits/cgroup.h"
#include "notify/filter.h"
#include "util/error.h"
#include "util/kernel.h"

#include <signal.h>
#include <sys/resource.h>

struct sp_launch {
	const char *file; /* the program, with a slash: no search is made */
	char *const *argv, *const *envp; /* NULL-terminated */
	const sigset_t *signal_mask; /* what the program shall have */
	bool ignore_sigchld; /* the program shall ignore it, as our caller did */
	const struct rlimit *nofile; /* RLIMIT_NOFILE of the program; NULL: as ours */
	const struct sp_filter *filter;
	const struct sp_confinement *confinement;
	const struct sp_tree_limits *limits; /* which of them can be had, or NULL */
	const struct sp_cgroup *cgroup; /* where; NULL: nowhere */
	const char *cwd; /* ours, which the program gets if nothing else is said; or NULL */
};

/* One step of building a root directory, below which `to` is relative. */
enum sp_root_step { SP_ROOT_DIRECTORY, SP_ROOT_FILE, SP_ROOT_LINK, SP_ROOT_TMPFS, SP_ROOT_BIND, SP_ROOT_PROC };

struct sp_root_item {
	enum sp_root_step step;
	const char *from; /* what is bound; the text of a link */
	const char *to; /* relative to the new root */
	uint64_t attributes; /* MOUNT_ATTR_* */
};

struct sp_landlock_path {
	const char *path;
	uint64_t rights;
};

struct sp_limit_value {
	int resource; /* RLIMIT_* */
	struct rlimit value;
};

struct sp_launch_plan {
	struct sp_launch launch;
	uint64_t asked; /* a bit an enum sp_stage */
	char **shell_argv; /* for a file that is no program: as execvp(3) */
	char **envp; /* final */

	const struct sp_confinement *confinement;
	char oom_score[8];
	/* What is written to /proc/PID/uid_map and gid_map. */
	char *uid_map, *gid_map;
	bool changes_uid, changes_gid; /* our own is not in the map: become the first that is */
	unsigned first_uid, first_gid;
	struct sp_root_item
		*root; /* an empty tmpfs, to be filled in this order; count 0: the root stays, or is chroot */
	size_t root_count;
	const char *proc; /* where /proc will be if the root is not a new one */
	char tmpfs_size[24]; /* "": as the kernel has it */
	struct {
		void *data;
		size_t size;
	} loopback_up; /* a netlink message */

	/* Landlock: what is handled, and what is granted below. */
	struct sp_landlock_ruleset filesystem, ports, scopes;
	bool lacks_rights; /* this kernel knows fewer rights than we do */
	struct sp_landlock_path *paths;
	size_t path_count;
	struct sp_landlock_port *port;
	size_t port_count;

	struct rlimit address_space;
	struct sp_limit_value limits[SP_LIMITS];
	size_t limit_count;
	int last_capability;
	struct sp_capabilities capabilities; /* given or not: what is to be left */
	struct sp_filter syscalls; /* owned */

	char **texts; /* owned */
	size_t text_count;
};

/* Makes the plan of a launch, whose strings must live as long. *out is freed with sp_launch_plan_free(). 0 or -errno with a
 * sentence. */
[[nodiscard]] int sp_launch_plan_new(const struct sp_launch *launch, struct sp_launch_plan **out, struct sp_error *e);
void sp_launch_plan_free(struct sp_launch_plan *plan); /* NULL is fine */

static inline bool sp_launch_asks(const struct sp_launch_plan *plan, enum sp_stage stage)
{
	return (plan->asked >> stage & 1) != 0;
}

/* All rights on files that a Landlock of this version (0: there is none) can handle. */
uint64_t sp_landlock_rights(int version);

#endif
