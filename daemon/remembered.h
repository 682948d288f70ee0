/* What a person said of an exec, for those that come after it: rules, each of them shown before it was said, and each tied to the
 * rule of a policy that asks. It answers only where that rule would ask again.
 *
 * Those that hold for a job are in its memory. Those that hold for good are in a file as well: one answer a line, YAML that is
 * JSON, with who gave it, when, and until when it holds. The file is read when a job begins and not while it runs, so that a job
 * that could write it gains nothing by that for itself. Loop thread only. */
#ifndef SP_REMEMBERED_H
#define SP_REMEMBERED_H

#include "policy/policy.h"
#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

struct sp_remembered;

/* policy_file: as sp_policy_file() says. NULL: out of memory. */
[[nodiscard]] struct sp_remembered *sp_remembered_new(const char *policy_file);
void sp_remembered_free(struct sp_remembered *remembered); /* NULL is fine */

/* The file: $XDG_STATE_HOME/sallyport/remembered.yaml, default ~/.local/state. The caller's to free. 0 or -errno. */
[[nodiscard]] int sp_remembered_path(char **path, struct sp_error *e);

/* Takes in what the file has for this policy. 0, also where there is none; or -errno with a sentence, and nothing is taken in: somebody
 * else could have written it (-EPERM), or a line is not what it should be (-EINVAL). */
[[nodiscard]] int sp_remembered_load(struct sp_remembered *remembered, struct sp_error *e);

struct sp_recollection { /* one answer */
	const char *asking; /* id of the rule that asks */
	const char *rule; /* as it was shown: matchers and action, JSON in one line */
	const char *by; /* who gave it */
	int64_t at, expires; /* ns since the epoch; expires 0: never */
	bool for_good; /* in the file, too */
};

/* 0 or -errno with a sentence, and nothing is remembered. */
[[nodiscard]] int sp_remembered_add(struct sp_remembered *remembered, const struct sp_recollection *memory,
				    struct sp_error *e);

/* What was said of such an exec, which that rule asks about; of several that match the strictest. NULL: nothing. Valid until something
 * is added. */
const struct sp_recollection *sp_remembered_find(const struct sp_remembered *remembered, const char *asking,
						 const struct sp_exec *exec, int64_t now, enum sp_action *action);

/* Is rule, as in struct sp_recollection, a rule that matches exec and does action? */
bool sp_remembered_fits(const char *rule, const struct sp_exec *exec, enum sp_action action);

#endif
