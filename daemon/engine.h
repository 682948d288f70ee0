/* The engine: one loop, one tracer, any number of jobs. daemon/main.c and client/run.c talk to nothing else.
 *
 * Everything here is called from the thread that runs the loop, which is also the thread that traces. */
#ifndef SP_ENGINE_H
#define SP_ENGINE_H

#include "audit/audit.h"
#include "launch/outcome.h"
#include "policy/policy.h"
#include "util/error.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct sp_engine;
struct sp_job;

/* audit: where everything is recorded; must outlive the engine; NULL: nowhere (for benchmarks and tests). SIGCHLD must be
 * blocked in every thread and not ignored. NULL with *e filled on failure. */
[[nodiscard]] struct sp_engine *sp_engine_new(uv_loop_t *loop, struct sp_audit *audit, struct sp_error *e);

/* No job may be left. Handles are closed by the loop, which must run once more; the engine is freed by it. */
void sp_engine_close(struct sp_engine *engine);

/* What a job tells its owner, on the loop. Any may be NULL. */
struct sp_job_events {
	/* Every stage of the launch has been tried. The program has not started, and will not if this is less than its policy
	 * requires. */
	void (*launched)(struct sp_job *job, const struct sp_launch_outcome *outcome, void *context);
	/* The program could not be started, and the reason. root_exit and done follow. */
	void (*launch_failed)(struct sp_job *job, const struct sp_error *e, void *context);
	/* A sentence for a person: a limit that was reached, or that cannot be had. May come from within sp_job_start(). */
	void (*notice)(struct sp_job *job, const char *sentence, void *context);
	/* The root process was stopped (signal) or continued (0) by job control. */
	void (*root_stop)(struct sp_job *job, int signal, void *context);
	/* The root process has ended: a status as waitpid(2) gives it. */
	void (*root_exit)(struct sp_job *job, int status, void *context);
	/* The last task is gone. The job is freed after this call. */
	void (*done)(struct sp_job *job, void *context);
};

/* For the tests of the two protections, each of which shall be shown without the other. No option and no policy sets these. */
enum sp_weakness {
	SP_WITHOUT_FREEZE = 1, /* nobody is stopped while an exec is decided */
	SP_WITHOUT_VERIFY = 2, /* nobody looks at what runs in the end */
};

struct sp_job_plan {
	const char *file; /* the program; with a slash */
	char *const *argv, *const *envp;
	const char *cwd; /* for the record: the child inherits ours, or has its own */
	const sigset_t *signal_mask; /* what the program shall have */
	bool ignore_sigchld;
	const struct sp_policy *policy; /* must outlive the job */
	enum sp_tracking tracking;
	unsigned weaknesses; /* 0, or enum sp_weakness, for tests */
	const struct sp_job_events *events;
	void *context;
};

/* Starts a supervised program. The plan and what it points to are not needed after the call, policy and events excepted.
 * NULL with *e filled on failure; nothing runs then. */
[[nodiscard]] struct sp_job *sp_job_start(struct sp_engine *engine, const struct sp_job_plan *plan, struct sp_error *e);

/* What a program is that somebody else has forked, for whom we only decide. Fds are -1 where there are none. */
struct sp_job_child {
	uint64_t id; /* of the job; 0: a new one */
	pid_t pid; /* of the root process, whoever its parent is and will reap it */
	int pidfd; /* of the same; the caller has looked through it whose process that is. Stays the caller's */
	int channel; /* of its launch (launch.h): it waits there for the word. -1: it runs already */
	int listener; /* of its filter. -1: it comes through the channel */
	int wire; /* of the launch: pid 1 of the program's pid namespace ends with it */
	uid_t uid; /* who has asked, and for the record */
	pid_t asked_by;
	bool count_processes; /* limits.processes: nobody else sees to it */
};

/* As sp_job_start() for such a program. Nothing of the plan is used to start it: file, envp, signal_mask and ignore_sigchld may be
 * NULL, argv and cwd are for the record. The limits of the tree that need a control group are the caller's business. channel, listener
 * and wire are taken over, on failure too. A launch that says nothing for LAUNCH_WITHIN is ended. */
[[nodiscard]] struct sp_job *sp_job_attach(struct sp_engine *engine, const struct sp_job_plan *plan,
					   const struct sp_job_child *child, struct sp_error *e);

/* From now on what the engine's jobs run is not killed when we die: somebody will come who goes on (sp_tracer_outlived()). */
void sp_engine_outlived(struct sp_engine *engine);

/* SIGKILL for every process of the job, and for all that is born from now on; done comes when none is left. */
void sp_job_kill(struct sp_job *job);

bool sp_job_has(const struct sp_job *job, pid_t pid); /* is this process or thread one of its tasks? */
pid_t sp_job_root(const struct sp_job *job); /* pid of the root process */
uint64_t sp_job_id(const struct sp_job *job); /* as in the audit database */

struct sp_job_counts {
	uint64_t execs, denied, failed, mismatches; /* decisions; refused by us; refused by the kernel; attacks */
	uint64_t processes, alive; /* ever; now */
	uint64_t surplus; /* killed at their birth: more than limits.processes */
	size_t tasks; /* now in the engine's index */
	unsigned gates; /* now */
	uint64_t audit_failures; /* records that could not be written */
	uint64_t illegal; /* events that must not happen: a bug */
};
struct sp_job_counts sp_job_counts(const struct sp_job *job);

#endif
