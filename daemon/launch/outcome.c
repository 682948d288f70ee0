/* See outcome.h. */
#include "launch/outcome.h"

#include <errno.h>
#include <string.h>

enum { MAGIC = 0x53504c31 /* "SPL1" */, ERRNO_MAX = 4095 };

static const char *const names[SP_STAGES] = {
	[SP_STAGE_NO_NEW_PRIVS] = "no_new_privs",
	[SP_STAGE_OOM_SCORE] = "oom_score_adj",
	[SP_STAGE_NICE] = "nice",
	[SP_STAGE_CPU_SET] = "cpu_set",
	[SP_STAGE_CORE_SCHEDULING] = "core_scheduling",
	[SP_STAGE_USER] = "user namespace",
	[SP_STAGE_PID] = "pid namespace",
	[SP_STAGE_TREE_MEMORY] = "limits.memory",
	[SP_STAGE_TREE_PROCESSES] = "limits.processes",
	[SP_STAGE_TREE_CPUS] = "limits.cpus",
	[SP_STAGE_IPC] = "ipc namespace",
	[SP_STAGE_UTS] = "uts namespace",
	[SP_STAGE_CGROUP] = "cgroup namespace",
	[SP_STAGE_NET] = "net namespace",
	[SP_STAGE_LOOPBACK] = "loopback",
	[SP_STAGE_MOUNT] = "mount namespace",
	[SP_STAGE_PROC] = "proc",
	[SP_STAGE_ROOT] = "root",
	[SP_STAGE_SESSION] = "new_session",
	[SP_STAGE_PROCESS_GROUP] = "new_process_group",
	[SP_STAGE_CWD] = "cwd",
	[SP_STAGE_UMASK] = "umask",
	[SP_STAGE_PARENT_DEATH] = "parent_death_signal",
	[SP_STAGE_ENVIRONMENT] = "environment",
	[SP_STAGE_CLOSE_FDS] = "close_fds",
	[SP_STAGE_MDWE] = "mdwe",
	[SP_STAGE_FILESYSTEM] = "filesystem",
	[SP_STAGE_FILESYSTEM_RIGHTS] = "filesystem, all rights",
	[SP_STAGE_PORTS] = "network ports",
	[SP_STAGE_SCOPES] = "scopes",
	[SP_STAGE_ADDRESS_SPACE] = "address_space",
	[SP_STAGE_LIMITS] = "limits",
	[SP_STAGE_CAPABILITIES] = "capabilities",
	[SP_STAGE_FILTER] = "the seccomp filter",
	[SP_STAGE_SYSCALLS] = "syscalls",
	[SP_STAGE_EXEC] = "exec",
};

void sp_launch_record_encode(struct sp_launch_record *record, const struct sp_launch_outcome *outcome)
{
	*record = (struct sp_launch_record){
		.magic = MAGIC, .version = SP_LAUNCH_VERSION, .count = SP_STAGES, .outcome = *outcome};
}

static bool is_possible(const struct sp_launch_outcome *outcome)
{
	for (int i = 0; i < SP_STAGES; i++) {
		const bool failed = outcome->stage[i].state == SP_STAGE_FAILED;

		if (outcome->stage[i].state > SP_STAGE_FAILED || outcome->stage[i].reserved != 0 ||
		    failed != (outcome->stage[i].err != 0) || outcome->stage[i].err > ERRNO_MAX)
			return false;
	}
	return true;
}

int sp_launch_record_decode(const void *bytes, size_t size, struct sp_launch_outcome *outcome)
{
	struct sp_launch_record record;

	if (size != sizeof record)
		return -EMSGSIZE;
	memcpy(&record, bytes, sizeof record);
	if (record.magic != MAGIC || record.version != SP_LAUNCH_VERSION || record.count != SP_STAGES ||
	    !is_possible(&record.outcome))
		return -EPROTO;
	*outcome = record.outcome;
	return 0;
}

/* The filter and the exec are how we supervise, not what somebody asked for. */
static bool counts(enum sp_stage stage)
{
	return stage != SP_STAGE_FILTER && stage != SP_STAGE_EXEC;
}

/* What the program goes without is recorded all the same, but something else holds: the address space of each process, and our own count
 * of them. */
static bool has_stand_in(enum sp_stage stage)
{
	return stage == SP_STAGE_TREE_MEMORY || stage == SP_STAGE_TREE_PROCESSES;
}

static bool has_failed(const struct sp_launch_outcome *outcome, enum sp_stage stage)
{
	return outcome->stage[stage].state == SP_STAGE_FAILED && !has_stand_in(stage);
}

static bool is_baseline(enum sp_stage stage)
{
	return stage == SP_STAGE_NO_NEW_PRIVS || stage == SP_STAGE_ADDRESS_SPACE;
}

enum sp_launch_level sp_launch_level(const struct sp_launch_outcome *outcome)
{
	unsigned applied = 0, hardened = 0, failed = 0;

	for (enum sp_stage s = 0; s < SP_STAGES; s++) {
		applied += counts(s) && outcome->stage[s].state == SP_STAGE_APPLIED;
		hardened += counts(s) && !is_baseline(s) && outcome->stage[s].state == SP_STAGE_APPLIED;
		failed += counts(s) && has_failed(outcome, s);
	}
	if (applied == 0)
		return SP_LEVEL_NONE;
	if (hardened == 0)
		return SP_LEVEL_BASELINE;
	return failed > 0 ? SP_LEVEL_PARTIAL : SP_LEVEL_FULL;
}

enum sp_stage sp_launch_first_failure(const struct sp_launch_outcome *outcome)
{
	enum sp_stage s = 0;

	while (s < SP_STAGES && !has_failed(outcome, s))
		s++;
	return s;
}

bool sp_launch_suffices(const struct sp_launch_outcome *outcome, enum sp_launch_level require)
{
	return sp_launch_first_failure(outcome) == SP_STAGES || sp_launch_level(outcome) >= require;
}

const char *sp_stage_name(enum sp_stage stage)
{
	return stage < SP_STAGES ? names[stage] : "an unknown stage";
}
