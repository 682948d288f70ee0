/* The policy: a YAML file, read once, asked for every execve.
 *
 * A policy is immutable after loading; deciding allocates nothing and may be done from any thread. */
#ifndef SP_POLICY_POLICY_H
#define SP_POLICY_POLICY_H

#include "policy/confinement.h"
#include "policy/plugins.h"
#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ordered by strictness: when several rules match, the largest wins. */
enum sp_action { SP_ALLOW, SP_ASK, SP_DENY, SP_KILL };

enum sp_tracking { SP_TRACKING_ATTACHED, SP_TRACKING_ONESHOT };

/* One execve, as the kernel would carry it out. Strings are NUL-terminated and owned by the caller. */
struct sp_exec {
	const char *path; /* canonical path of the file that would run (a script: the script itself) */
	bool anonymous; /* the file has no name: memfd, deleted, O_TMPFILE. path is then what the kernel shows */
	bool foreign; /* the path does not name this very file in the supervisor's own mount namespace (a bind
		       * mount or chroot of the job's own making). The name is then a claim: rules that deny, kill or
		       * ask match it, rules that allow by program do not. */
	const char *const *argv; /* argv[argc] need not be NULL; argc may be 0 */
	size_t argc;
	const char *const *envp; /* NAME=value strings; only looked at when sp_policy_wants_env() */
	size_t envc;
};

struct sp_decision {
	enum sp_action action;
	int err; /* SP_DENY: the positive errno the caller gets; otherwise 0 */
	const char *rule; /* id of the winning rule; "default" when exec.default decided; "anonymous" when a nameless
			   * file was refused because no rule with anonymous: true allowed it. Owned by the policy. */
	const char *reason; /* the rule's reason, or NULL. Owned by the policy. */
	size_t matched; /* how many rules matched, the winner included */
	/* The other rules that matched, in file order: at most SP_OTHERS of them. Owned by the policy. */
#define SP_OTHERS 8
	const char *others[SP_OTHERS];
};

struct sp_policy;

/* Loads a policy and runs its tests.
 * name: a path when it contains a slash or ends in .yaml or .yml, otherwise a name NAME.yaml looked for in `./`,
 * `$XDG_CONFIG_HOME/sallyport/policies` (default ~/.config), `/etc/sallyport/policies`, `/usr/share/sallyport/policies`
 * and the directory the build was configured with (SP_POLICY_DIR). NULL: the built-in default, which is `record`.
 * Returns 0 and a policy the caller frees, or -errno with *e saying file:line:column and what was expected
 * (EINVAL for bad contents; ENOENT, EISDIR, EACCES... for the file itself; EFBIG above 4 MiB). */
[[nodiscard]] int sp_policy_load(const char *name, struct sp_policy **out, struct sp_error *e);

/* The same from memory; file_name is used in messages only. */
[[nodiscard]] int sp_policy_parse(const char *text, size_t size, const char *file_name, struct sp_policy **out,
				  struct sp_error *e);

/* One more who needs it, and frees it. One thread only. */
const struct sp_policy *sp_policy_hold(const struct sp_policy *policy);
void sp_policy_free(struct sp_policy *policy); /* by the last who holds it; NULL is fine */

/* Decides one exec. Never fails: what cannot be matched is not allowed by a rule. Allocates nothing. */
void sp_policy_decide(const struct sp_policy *policy, const struct sp_exec *exec, struct sp_decision *decision);

/* True if some rule looks at the environment, or a plugin may; otherwise envp need not be read. */
bool sp_policy_wants_env(const struct sp_policy *policy);

const char *sp_policy_name(const struct sp_policy *policy);
const char *sp_policy_description(const struct sp_policy *policy); /* "" when the file has none */
const char *sp_policy_file(const struct sp_policy *policy); /* "(built-in)" for the default */
uint64_t sp_policy_digest(const struct sp_policy *policy); /* of the file's bytes: tells two versions apart */
enum sp_tracking sp_policy_tracking(const struct sp_policy *policy);
const struct sp_confinement *sp_policy_confinement(const struct sp_policy *policy); /* what programs start with */
const struct sp_plugin_specs *sp_policy_plugins(const struct sp_policy *policy);
size_t sp_policy_rule_count(const struct sp_policy *policy);
/* In the order of the file, from 0. The id is the very pointer that a decision gives. */
const char *sp_policy_rule_id(const struct sp_policy *policy, size_t rule);
enum sp_action sp_policy_rule_action(const struct sp_policy *policy, size_t rule);

/* The section `ask`: how long a person has to answer, and what silence means (never SP_ASK). */
struct sp_ask_settings {
	unsigned timeout_seconds;
	enum sp_action otherwise;
};
const struct sp_ask_settings *sp_policy_ask(const struct sp_policy *policy);
size_t sp_policy_test_count(const struct sp_policy *policy);

const char *sp_action_name(enum sp_action action); /* "allow", "ask", "deny", "kill" */

/* Resolves a command word as `policy test` and the policy's own tests do, without running anything: a word with a slash
 * through the file system, a bare word through exec.path. Writes the canonical path (PATH_MAX bytes) and returns 0;
 * when there is no such file, writes where it would be by name (first directory of exec.path) and returns -ENOENT. */
int sp_policy_resolve(const struct sp_policy *policy, const char *word, char path[static 4096]);

#endif
