/* A policy as it is decided by: compiled once from its source (compile.c), read by match.c and decide.c. */
#ifndef SP_POLICY_RULES_H
#define SP_POLICY_RULES_H

#include "policy/confinement.h"
#include "policy/glob.h"
#include "policy/program.h"
#include "policy/source.h"

struct sp_globs {
	struct sp_glob **items;
	size_t count;
};

/* One set of alternatives for each position. */
struct sp_choices {
	struct sp_globs *items;
	size_t count;
	bool open; /* argv: anything may follow (`...`) */
};

/* An option as it is written: "-f", "--force", or "-exec". */
struct sp_option {
	const char *text;
	size_t size;
};

struct sp_options {
	struct sp_option *items;
	size_t count;
};

/* Which files a rule is about. Strict rules are about both kinds unless they say one. */
enum sp_anonymity { SP_NAMED, SP_NAMELESS, SP_NAMED_OR_NAMELESS };

struct sp_rule {
	const struct sp_source_rule *source; /* id, action, reason */
	int err;
	enum sp_anonymity anonymity;
	bool any_program; /* no `program` is given */
	struct sp_globs names; /* programs with wildcards: by base name, in exec.path */
	struct sp_globs paths; /* by canonical path */
	bool has_argv;
	struct sp_choices argv;
	struct sp_choices words;
	struct sp_options options_with_value;
	struct sp_options has;
	struct sp_globs any;
	struct sp_globs none;
	struct sp_globs env;
};

/* A program that a rule names without wildcards: a canonical path, or a base name in one of exec.path's directories. */
struct sp_program_key {
	char *text;
	size_t rule;
};

struct sp_policy {
	struct sp_source source;
	char *file;
	char *name;
	uint64_t digest;
	enum sp_action otherwise;
	struct sp_directories *directories;
	struct sp_rule *rules; /* in file order */
	size_t rule_count;
	/* Where a decision finds its candidates; the rule numbers in each, and for each key, ascend. */
	struct sp_program_key *keys; /* sorted by text, then rule */
	size_t key_count;
	size_t *wildcard_rules; /* rules whose names or paths must be tried */
	size_t wildcard_count;
	size_t *any_program_rules;
	size_t any_program_count;
	struct sp_confinement *confinement;
	struct sp_plugin_specs plugins;
	struct sp_ask_settings ask;
	unsigned holders;
};

/* Fills a policy whose source has been read; what was filled is freed with the policy. 0, -EINVAL, -ENOMEM. */
[[nodiscard]] int sp_policy_compile(struct sp_policy *policy, struct sp_error *e);

/* Judges the file's own tests. 0, or -EINVAL naming the first that fails. */
[[nodiscard]] int sp_policy_run_tests(const struct sp_policy *policy, struct sp_error *e);

/* Whether all matchers of a rule but `program` hold. Allocates nothing. */
bool sp_rule_matches(const struct sp_rule *rule, const struct sp_exec *exec);

#endif
