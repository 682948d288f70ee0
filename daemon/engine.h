/* The engine: one loop, one tracer, any number of jobs. daemon/main.c and client/run.c talk to nothing else.
 *
 * Everything here is called from the thread that runs the loop, which is also the thread that traces. */
#ifndef SP_ENGINE_H
#define SP_ENGINE_H

#include "audit/audit.h"
#include "launch/outcome.h"
#include "policy/policy.h"
#include "ptrace/latency.h"
#include "questions.h"
#include "reload.h"
#include "util/error.h"
#include "util/list.h"

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

/* For the tests of the protections, each of which shall be shown without the others. No option and no policy sets these. */
enum sp_weakness {
	SP_WITHOUT_FREEZE = 1, /* nobody is stopped while an exec is decided */
	SP_WITHOUT_VERIFY = 2, /* nobody looks at what runs in the end */
	SP_WITHOUT_COMPARISON = 4, /* what was approved later need not be what is then there */
};

struct sp_job_plan {
	const char *file; /* the program; with a slash */
	char *const *argv, *const *envp;
	const char *cwd; /* for the record: the child inherits ours, or has its own */
	const sigset_t *signal_mask; /* what the program shall have */
	bool ignore_sigchld;
	const struct sp_policy *policy; /* held by the job */
	enum sp_tracking tracking;
	unsigned weaknesses; /* 0, or enum sp_weakness, for tests */
	const struct sp_job_events *events;
	void *context;
};

/* Starts a supervised program. The plan and what it points to are not needed after the call, policy and events excepted.
 * NULL with *e filled on failure; nothing runs then. */
[[nodiscard]] struct sp_job *sp_job_start(struct sp_engine *engine, const struct sp_job_plan *plan, struct sp_error *e);

/* A program that somebody else has forked, for whom we only decide. Fds are -1 where there are none. */
struct sp_job_child {
	pid_t pid; /* of the root process, whoever its parent is and will reap it */
	int pidfd; /* of the same; the caller has looked through it whose process that is. Stays the caller's */
	int channel; /* of its launch (launch.h): it waits there for the word */
	int wire; /* of the launch: pid 1 of the program's pid namespace ends with it */
	uid_t uid; /* who has asked, and for the record */
};

/* As sp_job_start() for such a program. Nothing of the plan is used to start it: file, envp, signal_mask and ignore_sigchld may be
 * NULL, argv and cwd are for the record. What became of the stages is what the child says. channel and wire are taken over, on
 * failure too. A launch that is not over within half a minute is ended, and so is a job whose listener somebody else listens to. */
[[nodiscard]] struct sp_job *sp_job_attach(struct sp_engine *engine, const struct sp_job_plan *plan,
					   const struct sp_job_child *child, struct sp_error *e);

/* From now on what the engine's jobs run is not killed when we die: somebody will come who goes on (sp_tracer_outlived()). */
void sp_engine_outlived(struct sp_engine *engine);

/* SIGKILL for every process of the job, and for all that is born from now on; done comes when none is left. */
void sp_job_kill(struct sp_job *job);
bool sp_job_is_killed(const struct sp_job *job); /* by sp_job_kill() */

/* Stops every thread of the job where it is, until it is thawed: who is born meanwhile does not run, and execs wait. No program
 * notices. Those that are in a call that cannot be interrupted stop when it is over; sp_job_running() counts down to 0, and the
 * observers are told. 0; -ENOTSUP: in one-shot tracking. */
[[nodiscard]] int sp_job_freeze(struct sp_job *job);
void sp_job_thaw(struct sp_job *job);
/* The same for as long as a question stands on its terminal: one of the two does not end the other. */
[[nodiscard]] int sp_job_hold(struct sp_job *job);
void sp_job_let_go(struct sp_job *job);
bool sp_job_is_frozen(const struct sp_job *job);
unsigned sp_job_running(const struct sp_job *job); /* threads that may run their program; attached tracking only */

/* Reads the policy of the job again, from the file that it came from: parsed, compiled and tested by a thread, and then in force for
 * whatever is judged from then on, as the next generation. On any failure the policy stays what it is. What a program starts with
 * (launch, limits, filesystem, network, syscalls) and how it is tracked stay as they were when the job began. */
void sp_job_reload(struct sp_job *job, struct sp_reload *reload);
struct sp_questions *sp_job_questions(const struct sp_job *job); /* its execs that wait for a person */
uint64_t sp_job_generation(const struct sp_job *job); /* of the policy in force: 1, and one more with each reload */

bool sp_job_has_had(const struct sp_job *job,
		    pid_t pid); /* was this ever a process of its? True also where that is not known */
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

/* How long decisions took, from the notification to the answer; but for those that a person was asked for. */
const struct sp_latency *sp_job_latency(const struct sp_job *job);

/* What a job is, for those who look at it. Valid as long as the job. */
struct sp_job_about {
	int64_t started; /* CLOCK_REALTIME, ns */
	uid_t uid;
	const char *policy, *policy_file;
	enum sp_tracking tracking;
	struct sp_bytes argv; /* NUL-terminated strings, the first few kilobytes */
};
const struct sp_job_about *sp_job_about(const struct sp_job *job);
const int *sp_job_status(const struct sp_job *job); /* wait status of the root process; NULL: it has not ended */

struct sp_process_about {
	uint64_t key, parent; /* parent 0: the root */
	pid_t pid, parent_pid;
	unsigned threads, execs;
	bool deciding, stopped; /* in an exec that has not been answered; by job control */
};
/* The processes born after the one with that key (0: all), parents before their children, as long as visit returns true. */
void sp_job_each_process(const struct sp_job *job, uint64_t after,
			 bool (*visit)(const struct sp_process_about *process, void *data), void *data);

/* --- all jobs --- */

struct sp_audit *sp_engine_audit(const struct sp_engine *engine); /* NULL: nothing is recorded */

/* As long as visit returns true. It may not end a job. */
void sp_engine_each_job(struct sp_engine *engine, bool (*visit)(struct sp_job *job, void *data), void *data);
struct sp_job *sp_engine_job(struct sp_engine *engine, uint64_t id); /* NULL: there is none */
bool sp_engine_has(const struct sp_engine *engine, pid_t pid); /* is it a task of any job? */

/* What others than a job's owner are told, on the loop. Any may be NULL. */
struct sp_engine_observer {
	struct sp_list link;
	void (*job_ended)(struct sp_job *job, void *context); /* before its owner's done */
	void (*quiet)(void *context); /* events have been served: something may have changed */
	void (*questions)(struct sp_job *job, void *context); /* what waits for a person is not what it was */
	void *context;
};
/* Stays the caller's, who takes it out with sp_list_del(&observer->link) before it goes. */
void sp_engine_observe(struct sp_engine *engine, struct sp_engine_observer *observer);

#endif
