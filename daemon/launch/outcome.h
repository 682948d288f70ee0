/* What became of a launch, stage by stage: written by the child as one record of fixed size, kept with the job.
 *
 * The record is what the child says of itself, so it is checked as a whole: one that is short, or says what cannot be,
 * is an error and never a guess. */
#ifndef SP_LAUNCH_OUTCOME_H
#define SP_LAUNCH_OUTCOME_H

#include "policy/confinement.h"

#include <stddef.h>
#include <stdint.h>

/* In the order in which they are carried out. Stored in databases: new ones change SP_LAUNCH_VERSION. */
enum sp_stage {
	SP_STAGE_NO_NEW_PRIVS,
	SP_STAGE_OOM_SCORE,
	SP_STAGE_NICE,
	SP_STAGE_CPU_SET,
	SP_STAGE_CORE_SCHEDULING,
	SP_STAGE_USER,
	SP_STAGE_PID,
	SP_STAGE_TREE_MEMORY,
	SP_STAGE_TREE_PROCESSES,
	SP_STAGE_TREE_CPUS,
	SP_STAGE_IPC,
	SP_STAGE_UTS,
	SP_STAGE_CGROUP,
	SP_STAGE_NET,
	SP_STAGE_LOOPBACK,
	SP_STAGE_MOUNT,
	SP_STAGE_PROC,
	SP_STAGE_ROOT,
	SP_STAGE_SESSION,
	SP_STAGE_PROCESS_GROUP,
	SP_STAGE_CWD,
	SP_STAGE_UMASK,
	SP_STAGE_PARENT_DEATH,
	SP_STAGE_ENVIRONMENT,
	SP_STAGE_CLOSE_FDS,
	SP_STAGE_MDWE,
	SP_STAGE_FILESYSTEM,
	SP_STAGE_FILESYSTEM_RIGHTS,
	SP_STAGE_PORTS,
	SP_STAGE_SCOPES,
	SP_STAGE_ADDRESS_SPACE,
	SP_STAGE_LIMITS,
	SP_STAGE_CAPABILITIES,
	SP_STAGE_FILTER,
	SP_STAGE_SYSCALLS,
	SP_STAGE_EXEC,
	SP_STAGES,
};

enum sp_stage_state {
	SP_STAGE_SKIPPED, /* not asked for, or never reached */
	SP_STAGE_APPLIED,
	SP_STAGE_FAILED, /* err says why */
};

struct sp_launch_outcome {
	struct {
		uint8_t state; /* enum sp_stage_state */
		uint8_t reserved; /* 0 */
		uint16_t err; /* positive errno where it failed, otherwise 0 */
	} stage[SP_STAGES];
};

/* The record as it travels and is stored: magic, version, number of stages, stages. */
enum { SP_LAUNCH_VERSION = 2 };
struct sp_launch_record {
	uint32_t magic;
	uint16_t version, count;
	struct sp_launch_outcome outcome;
};

/* Async-signal-safe. */
void sp_launch_record_encode(struct sp_launch_record *record, const struct sp_launch_outcome *outcome);

/* 0; -EMSGSIZE: not the size of a record; -EPROTO: not what a child of ours can have written. *outcome is only filled on
 * success. */
[[nodiscard]] int sp_launch_record_decode(const void *bytes, size_t size, struct sp_launch_outcome *outcome);

enum sp_launch_level sp_launch_level(const struct sp_launch_outcome *outcome);

/* May a job with this outcome start where `require` is asked for? What did not fail is never too little. */
bool sp_launch_suffices(const struct sp_launch_outcome *outcome, enum sp_launch_level require);

/* The first stage that failed and has no stand-in; SP_STAGES: none. */
enum sp_stage sp_launch_first_failure(const struct sp_launch_outcome *outcome);

const char *sp_stage_name(enum sp_stage stage); /* as policies, tables and the log write it: "no_new_privs" */

#endif
