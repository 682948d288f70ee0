/* The trackers: every process of a job is in the index before it runs user code, can be stopped at any time, and shows each
 * exec before the new program runs.
 *
 * Attached tracking: every task is traced from before its first instruction to its end. Ptrace semantics as strace -f has
 * them, invisibly: signals are delivered as they came, job control works through PTRACE_LISTEN, zombies are reaped at once
 * (the real parent is told only then), and no call fails with EINTR that would not have failed without us.
 *
 * One-shot tracking: a task is traced only while it forks, execs or is frozen. Its fork is a notification (threads are not):
 * the caller is seized and let go on, the event names the child, both are let go. Ends are told by exits.h, threads are found in
 * /proc when they must be stopped. Costs nothing in between; but a notified call can give EINTR (docs/tracking.md).
 *
 * Everything here belongs to one thread: the one that runs the loop, and for the kernel the tracer of every task. */
#ifndef SP_PTRACE_TRACER_H
#define SP_PTRACE_TRACER_H

#include "procindex/index.h"
#include "util/error.h"

#include <sys/resource.h>
#include <uv.h>

struct sp_tracer;

/* What the owner is told; all from the loop. A task that is passed is stopped unless said otherwise. */
struct sp_tracer_ops {
	/* A new process is in the index (not: a thread, not: the root). */
	void (*process_born)(struct sp_process *process, void *context);
	/* PTRACE_EVENT_EXEC: the new program has not run yet. Siblings are gone, the mm is still the old one. */
	void (*exec_stop)(struct sp_task *task, void *context);
	/* Any other stop. result is what its system call gives (negative errno), or a positive number. */
	void (*stopped)(struct sp_task *task, void *context);
	/* The task is dead and about to leave the index. */
	void (*gone)(struct sp_task *task, void *context);
	/* The last task of the process has left the index; the process is freed afterwards. */
	void (*process_gone)(struct sp_process *process, void *context);
	/* The process as a whole was stopped by job control (signal > 0) or goes on (0). */
	void (*group_stop)(struct sp_process *process, int signal, void *context);
	/* All events that were waiting have been told. */
	void (*quiet)(void *context);
	/* A process without a known relative: of which job may it be? NULL: of none. */
	struct sp_job *(*guess_job)(pid_t pid, void *context);
	bool (*is_one_shot)(const struct sp_job *job, void *context);
	/* May this task run, or does somebody want it to stay stopped? Must not change anything. */
	bool (*held)(const struct sp_task *task, void *context);
};

/* SIGCHLD must be blocked in every thread of the process, and not ignored. NULL with *e filled on failure. */
[[nodiscard]] struct sp_tracer *sp_tracer_new(uv_loop_t *loop, struct sp_index *index, const struct sp_tracer_ops *ops,
					      void *context, struct sp_error *e);
/* Closes the tracer's handles; it is freed by the loop. No task may be left in the index. */
void sp_tracer_close(struct sp_tracer *tracer);

/* From now on nobody whom we begin to trace is killed when we die (no PTRACE_O_EXITKILL): for a supervisor that comes back. */
void sp_tracer_outlived(struct sp_tracer *tracer);

/* 0; or -EBUSY with a sentence: we are in somebody's job ourselves. */
[[nodiscard]] int sp_tracer_possible(struct sp_error *e);

/* Starts to trace pid, a single-threaded child that has not run its own program yet, as the root of a job. The task is in
 * the index afterwards and goes on running. If we die, the kernel kills it and all its descendants (PTRACE_O_EXITKILL), unless
 * sp_tracer_outlived() was called.
 * 0, or -errno with a sentence (EPERM: already traced, or Yama forbids it). */
[[nodiscard]] int sp_tracer_seize(struct sp_tracer *tracer, pid_t pid, struct sp_job *job, bool one_shot,
				  struct sp_process **root, struct sp_error *e);

/* The same for a process that is somebody else's child, who will reap it. pidfd: of that process; if it turns out that pid is not
 * this one any more, nobody is traced and nothing is killed. Besides the errors above: ESRCH (it has ended). */
[[nodiscard]] int sp_tracer_seize_foreign(struct sp_tracer *tracer, pid_t pid, int pidfd, struct sp_job *job,
					  bool one_shot, struct sp_process **root, struct sp_error *e);

/* Kills a root that has not run its program yet, waits for its end, and forgets it. */
void sp_tracer_abandon(struct sp_tracer *tracer, struct sp_process *root);

/* Cannot run user code: stopped, not born yet, or suspended by the kernel until its vfork child is done. */
bool sp_tracer_is_stopped(const struct sp_task *task);

/* Asks a running task to stop; the stop comes as an event. Fine if it is stopped or asked already, or dying. 0, or -errno as
 * sp_tracer_attach(). */
[[nodiscard]] int sp_tracer_interrupt(struct sp_tracer *tracer, struct sp_task *task);

/* True if the task sleeps where nothing but a fatal signal and its answer wake it up: in a notification that it knows to have
 * been received. Waits for that a few turns of the scheduler. */
bool sp_tracer_sleeps_killably(const struct sp_task *task);

/* Lets a stopped task go on, unless it is still held. Fine if it runs. */
void sp_tracer_release(struct sp_tracer *tracer, struct sp_task *task);

/* SIGKILL for the process, stopped or not. */
void sp_tracer_kill(const struct sp_process *process);

/* From now on the task is traced, if it was not. 0, also when it is dead already; or -errno (one-shot only, EPERM: somebody else
 * traces it, or it has made itself undumpable). */
[[nodiscard]] int sp_tracer_attach(const struct sp_tracer *tracer, struct sp_task *task);

/* One-shot tracking, for notifications. Who sends this one: a thread may not be known yet. NULL: not of ours. */
struct sp_task *sp_tracer_find_caller(struct sp_tracer *tracer, pid_t tid);
/* A fork, vfork or clone is going to be let go on: its child will be known. 0 or -errno (refuse it then). */
[[nodiscard]] int sp_tracer_let_fork(struct sp_tracer *tracer, struct sp_task *task);
/* The notification was answered: a thread of which nothing more is expected is forgotten. */
void sp_tracer_forget_idle(struct sp_tracer *tracer, pid_t tid);

/* Brings all threads of the process, as far as they exist now, into the index. Tells nobody's end, and takes nobody out. 0 or -errno;
 * -EINPROGRESS: a tid belonged to somebody whose end is still to be told; quiet() comes when it may be tried again. */
[[nodiscard]] int sp_tracer_find_threads(struct sp_tracer *tracer, struct sp_process *process);
bool sp_tracer_has_one_thread(const struct sp_process *process);

/* The result of the system call that a stopped task is about to return from; 0 or -errno (ESRCH). call: its number. */
[[nodiscard]] int sp_tracer_syscall_result(const struct sp_task *task, long *call, long *result);

/* Where the stack of a stopped task begins; 0 or -errno (ESRCH). */
[[nodiscard]] int sp_tracer_stack(const struct sp_task *task, unsigned long *address);

/* Makes a call that is about to return something else restart instead, whatever handler runs first. */
void sp_tracer_restart_call(const struct sp_task *task);

const char *sp_tracer_state_name(const struct sp_task *task); /* for tests and traces */

/* RLIMIT_NOFILE as it was before the tracer raised it for itself: what programs shall have. NULL: it did not. */
const struct rlimit *sp_tracer_nofile(const struct sp_tracer *tracer);

struct sp_tracer_stats {
	uint64_t wakeups, events, full_scans, unexpected;
};
struct sp_tracer_stats sp_tracer_stats(const struct sp_tracer *tracer);

#endif
