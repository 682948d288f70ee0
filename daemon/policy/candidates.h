/* Which rules can be about a file: found without looking at the others.
 *
 * Programs without wildcards are in one sorted list, of canonical paths and of base names. A pattern is in a list by the
 * bytes that it begins with, or those that it ends with: whichever fewer others share. Rules without `program` are global. */
#ifndef SP_POLICY_CANDIDATES_H
#define SP_POLICY_CANDIDATES_H

#include "policy/glob.h"
#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>

struct sp_policy;
struct sp_rule;

struct sp_key {
	const char *text; /* the rule's */
	size_t rule;
};

struct sp_affix {
	const char *text; /* the glob's; not NUL-terminated */
	size_t size;
	size_t rule;
	const struct sp_glob *glob;
};

/* Sorted by the bytes, from the front or from the back. */
struct sp_affixes {
	struct sp_affix *items;
	size_t count;
	bool from_back;
};

struct sp_candidates {
	struct sp_key *keys; /* sorted by text, then rule; none twice */
	size_t key_count;
	struct sp_affixes names[2], paths[2]; /* by what they begin with, by what they end with */
	size_t *globals;
	size_t global_count;
};

struct sp_program_file {
	const char *path;
	const char *name; /* the base name */
	bool in_path; /* lies in one of exec.path's directories */
};

/* From the policy's compiled rules. 0, or -ENOMEM; what was filled is released with sp_candidates_release(). */
[[nodiscard]] int sp_candidates_build(struct sp_policy *policy);

void sp_candidates_release(struct sp_candidates *candidates);

struct sp_program_file sp_program_file(const struct sp_policy *policy, const char *path);

/* Calls visit for each rule that is about the file by its program, in no order. A rule that names the file in several ways
 * comes as often; `glob` is the way (NULL: without wildcards), and sp_is_first_way() is true for one of them alone. */
void sp_each_candidate(const struct sp_policy *policy, const struct sp_program_file *file,
		       void (*visit)(void *context, const struct sp_rule *rule, const struct sp_glob *glob),
		       void *context);

bool sp_is_first_way(const struct sp_policy *policy, const struct sp_program_file *file, const struct sp_rule *rule,
		     const struct sp_glob *glob);

#endif
