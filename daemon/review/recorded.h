/* A recorded exec as a policy judges it: the script and, with the words that the kernel put in front, its interpreter.
 *
 * What cannot be known any more is said by sp_recorded_gap(); whoever judges all the same gets the decision that the rest of the
 * record leads to. One thread. */
#ifndef SP_REVIEW_RECORDED_H
#define SP_REVIEW_RECORDED_H

#include "audit/query.h"
#include "policy/policy.h"

struct sp_recorded_file {
	struct sp_exec exec; /* its strings belong to the sp_recorded */
	bool given; /* there is one: of an interpreter */
};

struct sp_recorded {
	struct sp_recorded_file script, interpreter; /* script: whatever was asked for */
	/* room that is used again */
	char *paths[2];
	const char **words[2], **names;
	char *text;
};

/* 0, or -ENOMEM. The strings are copied. To be released once, after the last. */
[[nodiscard]] int sp_recorded_set(struct sp_recorded *recorded, const struct sp_log_exec *exec);
void sp_recorded_release(struct sp_recorded *recorded);

/* Whether the policy of then was asked: what cannot be inspected or is not there is refused without it. */
bool sp_recorded_was_judged(const struct sp_log_exec *exec);

/* As at run time: the stricter of the two. */
void sp_recorded_decide(const struct sp_policy *policy, const struct sp_recorded *recorded,
			struct sp_decision *decision);

/* What this policy would look at and the record does not have; NULL: nothing. A constant. */
const char *sp_recorded_gap(const struct sp_policy *policy, const struct sp_log_exec *exec);

#endif
