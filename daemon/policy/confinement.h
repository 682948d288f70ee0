/* What a program is started with, beside what it may exec: the sections launch, limits, filesystem, network and syscalls
 * of a policy file as plain values. Immutable; strings belong to the policy. */
#ifndef SP_POLICY_CONFINEMENT_H
#define SP_POLICY_CONFINEMENT_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct sp_source;
struct sp_glob;

/* How much of what was asked for is in force. Ordered: a job does not start below what launch.require says. */
enum sp_launch_level {
	SP_LEVEL_NONE,
	SP_LEVEL_BASELINE, /* only no_new_privs and the address space */
	SP_LEVEL_PARTIAL,
	SP_LEVEL_FULL,
};

struct sp_number {
	bool given;
	int64_t value;
};

struct sp_words {
	bool given;
	const char **items;
	size_t count;
};

struct sp_name_globs {
	struct sp_glob **items;
	size_t count;
};

struct sp_bind {
	const char *from, *to;
	bool write;
};

struct sp_capabilities {
	bool given;
	uint64_t bounding, effective, ambient; /* what is left; bit numbers as in capabilities(7) */
	unsigned securebits;
};

enum sp_network { SP_NETWORK_OPEN, SP_NETWORK_PORTS, SP_NETWORK_NONE };

/* RLIMIT_*, as the file calls them. */
enum sp_limit {
	SP_LIMIT_CPU,
	SP_LIMIT_OPEN_FILES,
	SP_LIMIT_PROCESSES,
	SP_LIMIT_FILE_SIZE,
	SP_LIMIT_CORE,
	SP_LIMIT_STACK,
	SP_LIMITS,
};

struct sp_confinement {
	bool given; /* any of the sections is there */
	bool launch; /* the first of them is */
	enum sp_launch_level require;

	bool no_new_privs, new_session, new_process_group, clear_env, close_fds, mdwe, core_scheduling;
	struct sp_name_globs keep_env, strip_env;
	struct sp_words pass_fds;
	int *passed; /* of pass_fds, ascending, each once */
	size_t passed_count;
	struct sp_number umask, nice, oom_score_adj, parent_death_signal;
	struct sp_words cpu_set;
	uint64_t cpus_allowed[16]; /* of cpu_set: a bit a CPU */
	const char *cwd, *chroot; /* or NULL */
	unsigned namespaces; /* CLONE_NEW* */
	struct sp_words uid_map, gid_map; /* lines for /proc/PID/uid_map */
	struct sp_bind *binds;
	size_t bind_count;
	struct sp_words tmpfs;
	struct sp_capabilities capabilities;
	unsigned scopes; /* LANDLOCK_SCOPE_* */

	struct sp_number limits[SP_LIMITS]; /* by enum sp_limit, in the units of setrlimit(2) */
	struct sp_number address_space, memory; /* bytes */
	struct sp_number wall_seconds, milli_cpus;

	bool filesystem; /* the section is there */
	struct sp_words read, write, exec;

	enum sp_network network;
	uint16_t *connect_ports, *bind_ports;
	size_t connect_count, bind_count_tcp;

	bool strict; /* syscalls.mode */
	bool syscalls; /* any of the three lists, or strict */
	struct sp_words deny, kill, allow;
};

/* Compiles the sections. *out is freed with sp_confinement_free(). 0, -EINVAL with "file:line:column: ...", -ENOMEM. */
[[nodiscard]] int sp_confinement_compile(const struct sp_source *source, struct sp_confinement **out,
					 struct sp_error *e);
void sp_confinement_free(struct sp_confinement *confinement); /* NULL is fine */

const char *sp_launch_level_name(enum sp_launch_level level); /* "none", "baseline", "partial", "full" */

#endif
