/* Judges the execs of one job: asks the policy, records what it says before the gate acts on it, and records how it ended.
 *
 * Its context is sp_judge_ops's: what the gate asks goes here, nothing else of the job is needed for it. Loop thread only. */
#ifndef SP_JUDGE_H
#define SP_JUDGE_H

#include "audit/audit.h"
#include "plugin/panel.h"
#include "policy/policy.h"
#include "ptrace/gate.h"
#include "questions.h"
#include "remembered.h"
#include "util/error.h"

#include <stdint.h>

struct sp_judge;

struct sp_judge_plan {
	uint64_t job; /* its id in the audit trail */
	const struct sp_policy *policy; /* held */
	struct sp_audit *audit; /* NULL: nothing is recorded */
	uv_loop_t *loop;
	struct sp_remembered *remembered; /* the judge's from now on, if there is one; NULL: nothing is */
	void (*questions_changed)(void *context); /* see sp_judge_questions(); NULL: nobody wants to know */
	void *context;
	struct sp_state *state; /* what outlives us, and the job's place in it; 0: nothing does */
	sp_record_place record;
};

[[nodiscard]] struct sp_judge *sp_judge_new(const struct sp_judge_plan *plan); /* NULL: out of memory */
void sp_judge_free(struct sp_judge *judge); /* NULL is fine; the gatekeeper is closed by then */

/* Whose execs it judges, and who is told of decisions that come later. Before the first. */
void sp_judge_set_gatekeeper(struct sp_judge *judge, struct sp_gatekeeper *keeper);

/* The plugins that are asked from now on about what no rule decides; the caller's, who keeps them as long as an exec waits for them.
 * NULL: none. */
void sp_judge_set_panel(struct sp_judge *judge, struct sp_panel *panel);

/* The execs that wait for a person. */
struct sp_questions *sp_judge_questions(const struct sp_judge *judge);

/* Another policy judges from now on, as one more generation (the first is 1). What syscalls.mode says of execs stays as it was.
 * 0; or -errno with a sentence, and nothing has changed. */
[[nodiscard]] int sp_judge_take_policy(struct sp_judge *judge, const struct sp_policy *policy, struct sp_error *e);
uint64_t sp_judge_generation(const struct sp_judge *judge);

/* How often each rule has decided: is something not in the audit trail yet, and write it. 0 or -errno. */
bool sp_judge_has_hits(const struct sp_judge *judge);
[[nodiscard]] int sp_judge_write_hits(struct sp_judge *judge);

extern const struct sp_gate_ops sp_judge_ops; /* context: the judge */

/* How an exec ended that a predecessor of ours let go on, or that is over without an answer of ours. */
void sp_judge_conclude(struct sp_judge *judge, uint64_t exec, enum sp_outcome outcome, int err, const char *detail);

/* Why the job's root program was not run, if it was us; err 0: it was not. */
const struct sp_error *sp_judge_refusal(const struct sp_judge *judge);

struct sp_judge_counts {
	uint64_t execs, denied, failed; /* decisions; refused by us; refused by the kernel */
	uint64_t audit_failures;
};
struct sp_judge_counts sp_judge_counts(const struct sp_judge *judge);

#endif
