/* One job, as the engine sees it: the events of its tasks, delegated. The public part is in engine.h. */
#ifndef SP_JOB_H
#define SP_JOB_H

#include "engine.h"
#include "follower.h"
#include "notify/filter.h"
#include "ptrace/gate.h"

struct sp_job_tools {
	struct sp_gate_tools gate;
	struct sp_audit *audit; /* or NULL */
	const struct sp_filter *filters; /* by enum sp_notified */
	struct sp_list *jobs; /* struct sp_job.link */
	struct sp_list *observers; /* struct sp_engine_observer.link */
	struct sp_follower *follower;
	struct sp_guard *guard; /* NULL: no job is somebody else's child */
};

/* child: what is there already; NULL: it is forked. */
[[nodiscard]] struct sp_job *sp_job_new(const struct sp_job_tools *tools, const struct sp_job_plan *plan,
					const struct sp_job_child *child, struct sp_error *e);

/* A process without relatives in the index: of which of the jobs may it be? NULL: there is none. */
struct sp_job *sp_job_guess(const struct sp_list *jobs, pid_t pid);
void sp_jobs_each(const struct sp_list *jobs, bool (*visit)(struct sp_job *job, void *data), void *data);
bool sp_job_is_one_shot(const struct sp_job *job);

void sp_job_process_born(struct sp_job *job, struct sp_process *process);
void sp_job_process_gone(struct sp_job *job, struct sp_process *process);
void sp_job_group_stop(struct sp_job *job, const struct sp_process *process, int signal);
struct sp_gatekeeper *sp_job_gatekeeper(const struct sp_job *job);

#endif
