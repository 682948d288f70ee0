/* A policy as it is decided by: compiled once from its source (compile.c), read by match.c and decide.c. */
#ifndef SP_POLICY_RULES_H
#define SP_POLICY_RULES_H

#include "policy/candidates.h"
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

/* Programs as a rule names them, with the links in exec.path followed. */
struct sp_programs {
	char **literals; /* without wildcards: canonical paths, and base names in exec.path's directories */
	size_t literal_count;
	struct sp_globs names; /* by base name, in exec.path */
	struct sp_globs paths; /* by canonical path */
};

struct sp_digests {
	uint8_t (*items)[SP_DIGEST_SIZE];
	size_t count;
};

struct sp_range {
	bool given;
	uint32_t min, max;
};

struct sp_users {
	uid_t *items;
	size_t count;
};

/* Which files a rule is about. Strict rules are about both kinds unless they say one. */
enum sp_anonymity { SP_NAMED, SP_NAMELESS, SP_NAMED_OR_NAMELESS };

struct sp_rule {
	const struct sp_source_rule *source; /* id, action, reason */
	const struct sp_document *document; /* of the file it is in */
	int err;
	enum sp_anonymity anonymity;
	bool any_program; /* no `program` is given */
	struct sp_programs program;
	struct sp_globs applet;
	struct sp_digests sha256;
	bool has_argv;
	struct sp_choices argv;
	struct sp_choices words;
	struct sp_options options_with_value;
	struct sp_options has;
	struct sp_globs any;
	struct sp_globs none;
	struct sp_range count;
	struct sp_globs env;
	struct sp_programs parent;
	struct sp_programs ancestor;
	struct sp_range depth;
	struct sp_users user;
};

/* A file that a policy extends. */
struct sp_base {
	struct sp_source source;
	char *file;
};

struct sp_policy {
	struct sp_source source;
	char *file;
	struct sp_base *bases; /* nearest first */
	size_t base_count;
	char *name;
	uint64_t digest;
	enum sp_action otherwise;
	struct sp_directories *directories;
	struct sp_rule *rules; /* in file order */
	size_t rule_count;
	struct sp_candidates candidates; /* where a decision finds its rules */
	bool wants_env, wants_ancestors, wants_user, wants_digest;
	struct sp_confinement *confinement;
	struct sp_plugin_specs plugins;
	struct sp_ask_settings ask;
	unsigned holders;
};

/* The file that extends no other: whatever is not a rule, a test or a name is said there. */
const struct sp_source *sp_policy_root(const struct sp_policy *policy);

/* Fills a policy whose source has been read; what was filled is freed with the policy. 0, -EINVAL, -ENOMEM. */
[[nodiscard]] int sp_policy_compile(struct sp_policy *policy, struct sp_error *e);

/* Judges the file's own tests. 0, or -EINVAL naming the first that fails. */
[[nodiscard]] int sp_policy_run_tests(const struct sp_policy *policy, struct sp_error *e);

/* A file that does whatever its argv[0] says, by its base name: busybox, toybox, the single-binary coreutils. */
bool sp_is_multicall(const char *path);

/* An id that records use where no rule decided. */
bool sp_is_reserved_id(const char *id);

/* A user by name or number. false: there is none. */
bool sp_user_find(const char *text, uid_t *uid);

/* Arguments, ancestors: the kernel allows fewer, and nothing is as deep. */
#define SP_NUMBER_MAX 1000000000u
bool sp_number_parse(const char *text, uint32_t *number);

/* 64 hexadecimal digits. */
bool sp_digest_parse(const char *text, uint8_t digest[static SP_DIGEST_SIZE]);

/* Whether all matchers of a rule but `program` hold. Allocates nothing. */
bool sp_rule_matches(const struct sp_policy *policy, const struct sp_rule *rule, const struct sp_exec *exec);

#endif
