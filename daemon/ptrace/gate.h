/* The exec gate of a job: freeze who could change the memory, inspect, decide, let the kernel go on, verify what runs.
 *
 *   freeze    everybody who shares the caller's memory is stopped, all at once (usually nobody does)
 *   inspect   path, argv and file are read; if they lie in a shared mapping the whole job is stopped and they are read again
 *   judge     the owner's decision, recorded before it is acted on
 *   refuse    answer the errno, thaw; or
 *   continue  interrupt the caller and answer CONTINUE with everybody still stopped: it cannot return to user mode without a
 *             stop, so exactly one of these comes: the exec stop (verify, thaw), another stop with the errno in its
 *             result (thaw), its death (thaw)
 *
 * A gate is released on every path by a guard; one that is given up unanswered refuses its exec. Loop thread only. */
#ifndef SP_PTRACE_GATE_H
#define SP_PTRACE_GATE_H

#include "inspect/inspect.h"
#include "notify/listener.h"
#include "procindex/index.h"
#include "ptrace/tracer.h"
#include "util/blocking.h"

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

enum sp_verdict { SP_GO_ON, SP_REFUSE, SP_REFUSE_AND_KILL };

/* How an exec that was judged ended. */
enum sp_outcome {
	SP_OUTCOME_EXECED, /* and what runs is what was approved */
	SP_OUTCOME_MISMATCH, /* something else was about to run: killed before its first instruction */
	SP_OUTCOME_FAILED, /* the kernel gave err */
	SP_OUTCOME_RESTARTED, /* it did not happen and comes back as a new notification */
	SP_OUTCOME_VANISHED, /* the caller died */
};

struct sp_judgement {
	enum sp_verdict verdict;
	int err; /* positive; for a refusal */
	uint64_t exec; /* the owner's key of the record; 0: nothing was recorded, no outcome is told */
};

struct sp_gate_ops {
	/* Decides, and records before it returns. err 0: inspection is complete; otherwise the negative errno that
	 * sp_inspect() gave, and the verdict may be SP_GO_ON only if err is what the kernel will find too. */
	struct sp_judgement (*judge)(struct sp_task *caller, const struct sp_inspection *in, int err, void *context);
	void (*outcome)(struct sp_task *caller, uint64_t exec, enum sp_outcome outcome, int err, const char *detail,
			void *context);
};

struct sp_gatekeeper;

struct sp_gate_settings {
	bool want_env;
	bool without_freeze, without_verify; /* for tests: enum sp_weakness */
	unsigned freeze_deadline, read_deadline, exec_deadline; /* milliseconds */
	int home; /* a root directory, see struct sp_lookup; 0: none */
};

/* What the gatekeepers of one engine share; owned by the engine. */
struct sp_gate_tools {
	struct sp_list *freezing; /* gates that wait for stops: struct sp_gate.freezing */
	uv_loop_t *loop;
	struct sp_tracer *tracer;
	struct sp_index *index;
	struct sp_blocking *blocking;
	struct sp_filesystems *filesystems;
	struct sp_kinds *kinds;
	bool replies_survive; /* a reply is not lost where an interrupt comes before it: Linux 6.18 */
};

/* processes: the job's list (struct sp_process.job_link). NULL: out of memory. */
[[nodiscard]] struct sp_gatekeeper *sp_gatekeeper_new(const struct sp_gate_tools *tools,
						      const struct sp_gate_settings *settings,
						      const struct sp_list *processes, const struct sp_gate_ops *ops,
						      void *context);
/* Every task of the job is gone. Freed by the loop. */
void sp_gatekeeper_close(struct sp_gatekeeper *keeper);

/* The root directory that was made for the job (an fd, the caller's to keep open until it closes the gatekeeper); before the
 * first notification. */
void sp_gatekeeper_set_home(struct sp_gatekeeper *keeper, int home);

/* The listener answers go to; before the first notification. */
void sp_gatekeeper_set_listener(struct sp_gatekeeper *keeper, const struct sp_listener *listener);

/* Events. */
void sp_gatekeeper_notified(struct sp_gatekeeper *keeper, struct sp_task *caller,
			    const struct seccomp_notif *notification);
void sp_gatekeeper_exec_stop(struct sp_gatekeeper *keeper, struct sp_task *task);
void sp_gatekeeper_stopped(struct sp_gatekeeper *keeper, struct sp_task *task);
void sp_gatekeeper_gone(struct sp_gatekeeper *keeper, struct sp_task *task);

/* No event is left, but a task may have ended that gates wait for and that does not say so: a leader whose threads go on. */
void sp_gates_look_again(struct sp_list *freezing);

/* Must this task stay stopped? */
bool sp_gatekeeper_holds(const struct sp_gatekeeper *keeper, const struct sp_task *task);

struct sp_gate_stats {
	uint64_t execs, freezes, frozen, wide, deadlines, helped, mismatches, illegal;
};
struct sp_gate_stats sp_gatekeeper_stats(const struct sp_gatekeeper *keeper);
unsigned sp_gatekeeper_active(const struct sp_gatekeeper *keeper); /* gates that are not released */
const char *sp_gate_state_name(const struct sp_gate *gate); /* for tests and traces; NULL is "none" */

#endif
