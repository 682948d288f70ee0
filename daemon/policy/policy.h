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
#include <sys/types.h>

/* Ordered by strictness: when several rules match, the largest wins. */
enum sp_action { SP_ALLOW, SP_ASK, SP_DENY, SP_KILL };

enum sp_tracking { SP_TRACKING_ATTACHED, SP_TRACKING_ONESHOT };

/* How the file that is named becomes a program. */
enum sp_class {
	SP_CLASS_PROGRAM, /* it is one */
	SP_CLASS_SCRIPT, /* `#!`: its interpreter runs */
	SP_CLASS_FORMAT, /* binfmt_misc: the administrator's interpreter runs */
	SP_CLASS_LOADER, /* a dynamic loader: what it is told to load runs */
};

/* A program that led to an exec: one whose process called it, or had called it before, or forked who did. */
struct sp_ancestor {
	const struct sp_ancestor *next; /* the one before; NULL: the job began with this one */
	const char *path; /* canonical (a script: the script) */
	const char *interpreter; /* a script's, canonical; otherwise NULL */
	bool claimed; /* as sp_exec.foreign or .anonymous: rules that allow do not believe it */
};

/* What is not known of an exec: rules that allow do not match by it, all others do. */
enum sp_unknown { SP_UNKNOWN_ANCESTORS = 1, SP_UNKNOWN_USER = 2 };

#define SP_DIGEST_SIZE 32 /* SHA-256 */

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
	const uint8_t *digest; /* of the file's contents; NULL: not known. Looked at when sp_policy_wants_digest() */

	/* Whose exec it is. */
	const struct sp_ancestor *ancestors; /* nearest first; looked at when sp_policy_wants_ancestors() */
	uint32_t depth; /* how many ancestors, also where the list is shorter */
	uid_t uid; /* effective; looked at when sp_policy_wants_user() */
	unsigned unknown; /* bits of enum sp_unknown */

	enum sp_class class;
	/* SP_CLASS_SCRIPT, SP_CLASS_FORMAT: the interpreter with the argv that the kernel builds. SP_CLASS_LOADER: what is
	 * loaded, NULL where that cannot be known. Of it only path, anonymous, foreign, argv, argc and digest are looked at. */
	const struct sp_exec *inner;
	/* SP_CLASS_LOADER: variables that options stand for (--preload), as NAME=value; counted as set. */
	const char *const *options_env;
	size_t options_envc;
};

struct sp_decision {
	enum sp_action action;
	int err; /* SP_DENY: the positive errno the caller gets; otherwise 0 */
	const char *rule; /* id of the winning rule; "default" when exec.default decided; "anonymous" when a nameless
			   * file was refused because no rule with anonymous: true allowed it, "loader" when what a
			   * loader would load cannot be known. Owned by the policy. */
	size_t number; /* of that rule in the file, from 0; SP_NO_RULE: none decided */
#define SP_NO_RULE SIZE_MAX
	const char *reason; /* the rule's reason, or NULL. Owned by the policy. */
	bool inner; /* it was sp_exec.inner that decided */
	size_t matched; /* how many rules matched, the winner included */
	size_t looked_at; /* how many were compared: those for this program, and the global ones */
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

/* Whether a plain name in a rule can stand for this canonical path by the path's own name: its directory is one that the policy
 * searches. A link there with another name is not what is asked. */
bool sp_policy_searches(const struct sp_policy *policy, const char *path);

/* True if some rule looks at the environment, or a plugin may; otherwise envp need not be read. */
bool sp_policy_wants_env(const struct sp_policy *policy);

/* The same for who calls. */
bool sp_policy_wants_ancestors(const struct sp_policy *policy);
bool sp_policy_wants_user(const struct sp_policy *policy);

/* True if some rule that can be about this file looks at its contents. Allocates nothing. */
bool sp_policy_wants_digest(const struct sp_policy *policy, const char *path);

const char *sp_policy_name(const struct sp_policy *policy);
const char *sp_policy_description(const struct sp_policy *policy); /* "" when the file has none */
const char *sp_policy_file(const struct sp_policy *policy); /* "(built-in)" for the default */
/* The files it is made of: first the one that extends no other, last sp_policy_file(). */
size_t sp_policy_file_count(const struct sp_policy *policy);
const char *sp_policy_file_at(const struct sp_policy *policy, size_t i);
uint64_t sp_policy_digest(const struct sp_policy *policy); /* of the files' bytes: tells two versions apart */
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
bool sp_policy_can_ask(const struct sp_policy *policy); /* some rule does, or the default */
/* The options of a rule that take a value, from 0; NULL: no more. */
const char *sp_policy_rule_option(const struct sp_policy *policy, size_t rule, size_t option);
bool sp_policy_rule_sees_env(const struct sp_policy *policy, size_t rule);
bool sp_policy_is_multicall(const char *path); /* many programs in one file: busybox, say */
size_t sp_policy_test_count(const struct sp_policy *policy);

const char *sp_action_name(enum sp_action action); /* "allow", "ask", "deny", "kill" */
const char *sp_class_name(enum sp_class class); /* "program", "script", "format", "loader" */

/* Resolves a command word as `policy test` and the policy's own tests do, without running anything: a word with a slash
 * through the file system, a bare word through exec.path. Writes the canonical path (PATH_MAX bytes) and returns 0;
 * when there is no such file, writes where it would be by name (first directory of exec.path) and returns -ENOENT. */
int sp_policy_resolve(const struct sp_policy *policy, const char *word, char path[static 4096]);

#endif
