/* A decision as it is defined, by looking at every rule: what the fast one must agree with. */
#ifndef SP_TESTS_FUZZ_WHOLE_H
#define SP_TESTS_FUZZ_WHOLE_H

#include "policy/policy.h"

/* Of a program (class SP_CLASS_PROGRAM). Compares rule, action, errno and the number of matches, or ends the process. */
void sp_check_decision(const struct sp_policy *policy, const struct sp_exec *exec);

#endif
