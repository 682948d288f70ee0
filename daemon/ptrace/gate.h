/* The exec gate of a job: freeze who could change the memory, inspect, decide, let the kernel go on, verify what runs.
 *
 *   freeze    everybody who shares the caller's memory is stopped, all at once (usually nobody does)
 *   inspect   path, argv and file are read; if they lie in a shared mapping the whole job is stopped and they are read again
 *   judge     the owner's decision, recorded before it is acted on
 *   later     if the owner cannot decide at once (a person is asked, a plugin takes its time): thaw, and the caller waits
 *             killably in its notification. When the answer comes and is not no, all of the above once more from the
 *             beginning, and what is then read must be byte for byte what the owner was shown
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
#include "ptrace/latency.h"
#include "ptrace/tracer.h"
#include "state/state.h"
#include "util/blocking.h"

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

/* SP_LATER: sp_gatekeeper_decided() will say. */
enum sp_verdict { SP_GO_ON, SP_REFUSE, SP_REFUSE_AND_KILL, SP_LATER };

/* How an exec ended that was approved, or that the owner was still to decide. */
enum sp_outcome {
	SP_OUTCOME_EXECED, /* and what runs is what was approved */
	SP_OUTCOME_MISMATCH, /* something else was about to run: killed before its first instruction */
	SP_OUTCOME_FAILED, /* the kernel gave err; 0: which one is not known */
	SP_OUTCOME_RESTARTED, /* it did not happen and comes back as a new notification */
	SP_OUTCOME_VANISHED, /* the caller died */
};

struct sp_judgement {
	enum sp_verdict verdict;
	int err; /* positive; for a refusal */
	/* The owner's key of the record; 0: nothing was recorded, no outcome is told. For SP_LATER it is what the decision will
	 * be named by, and must not be 0. */
	uint64_t exec;
};

struct sp_gate_ops {
	/* Decides, and records before it returns. err 0: inspection is complete; otherwise the negative errno that
	 * sp_inspect() gave, and the verdict may be SP_GO_ON only if err is what the kernel will find too, and not SP_LATER.
	 *
	 * After SP_LATER, in and caller stay valid, and in unchanged, until one of these, of which exactly one comes:
	 *  - the owner calls sp_gatekeeper_decided() with a refusal, which it has recorded before;
	 *  - the owner calls it with SP_GO_ON, and then judge_again() or outcome() is called, maybe from within;
	 *  - outcome(): the question is void. VANISHED: the caller died, or was killed; RESTARTED: its notification was lost,
	 *    and it will come again as a new exec; FAILED: we could not go on with it. */
	struct sp_judgement (*judge)(struct sp_task *caller, const struct sp_inspection *in, int err, void *context);
	/* What was approved (decision) has been read again: the owner's word is needed to record what becomes of it, which it
	 * does before it returns. err as above; changed: what is not as it was when the owner was shown it, or NULL. The
	 * verdict must be a refusal if err is not 0 or changed is not NULL (the gate refuses in any case), never SP_LATER. The key
	 * may be another one than before. */
	struct sp_judgement (*judge_again)(struct sp_task *caller, const struct sp_inspection *in, int err,
					   const char *changed, const struct sp_judgement *decision, void *context);
	void (*outcome)(struct sp_task *caller, uint64_t exec, enum sp_outcome outcome, int err, const char *detail,
			void *context);
};

struct sp_gatekeeper;

struct sp_gate_settings {
	bool want_env; /* also sp_gatekeeper_want_env() */
	bool without_freeze, without_verify, without_comparison; /* for tests: enum sp_weakness */
	unsigned freeze_deadline, read_deadline, exec_deadline; /* milliseconds */
	int home; /* a root directory, see struct sp_lookup; 0: none */
	uint64_t job; /* its id, and its place in the state; 0: it does not outlive us */
	sp_record_place record;
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
	struct sp_state *state; /* what is to outlive us; NULL: nothing is */
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

/* From now on the owner wants to see the environment of each exec, also of those that it has not been asked about yet; or it no
 * longer does. */
void sp_gatekeeper_want_env(struct sp_gatekeeper *keeper, bool want);

/* The listener answers go to; before the first notification. */
void sp_gatekeeper_set_listener(struct sp_gatekeeper *keeper, const struct sp_listener *listener);

/* The owner's answer to what it has left for later; decision->exec is the key it gave then. Of a refusal the gate only carries out
 * what is said here, so it must be recorded already; an approval is recorded in judge_again(). Not from within judge().
 * 0; -ENOENT: nothing (more) is waiting under that key: it was answered, or is void. */
int sp_gatekeeper_decided(struct sp_gatekeeper *keeper, const struct sp_judgement *decision);

/* What waits under that key has a signal to take first: its call is interrupted, outcome() is RESTARTED, maybe from within, and it
 * comes again as a new exec if the program still wants it. (A caller waits killably, and of a traced one the kernel does not take even
 * a deadly signal for a reason to wake it. Natively an exec does not wait for anybody, so that this does not show.) */
void sp_gatekeeper_call_again(struct sp_gatekeeper *keeper, uint64_t exec);

/* What waits under that key; NULL: nothing. */
const struct sp_inspection *sp_gatekeeper_asked(const struct sp_gatekeeper *keeper, uint64_t exec);

/* For judge(), before it records under this key. NULL is fine. */
void sp_gate_will_record(struct sp_gate *gate, uint64_t exec);

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
	uint64_t execs, freezes, frozen, wide, deadlines, helped, mismatches, asked, illegal;
};
struct sp_gate_stats sp_gatekeeper_stats(const struct sp_gatekeeper *keeper);
/* From the notification to the answer; but for those that the owner has left for later. */
const struct sp_latency *sp_gatekeeper_latency(const struct sp_gatekeeper *keeper);
unsigned sp_gatekeeper_active(const struct sp_gatekeeper *keeper); /* gates that are not released */
/* Cannot run user code before we let it: it is stopped, or it waits in an exec of its own, which ends in a stop. */
bool sp_gate_is_frozen(const struct sp_task *task);
const char *sp_gate_state_name(const struct sp_gate *gate); /* for tests and traces; NULL is "none" */

#endif
