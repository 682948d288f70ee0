/* The policy file as it is written: the schema, and what it is read into. What it means is compiled from this. */
#ifndef SP_POLICY_SOURCE_H
#define SP_POLICY_SOURCE_H

#include "policy/confinement.h"
#include "policy/document.h"
#include "policy/plugins.h"
#include "policy/policy.h"
#include "util/cleanup.h"

/* A value and its place in the file (see document.h). text NULL: not given. */
struct sp_source_text {
	char *text;
	uint32_t at;
};

/* One position of argv or words: one text or alternatives. */
struct sp_source_choice {
	struct sp_source_text *items;
	uint32_t items_count;
	uint32_t at;
};

struct sp_source_texts {
	struct sp_source_text *items; /* NULL: not given */
	uint32_t items_count;
	uint32_t at;
};

struct sp_source_choices {
	struct sp_source_choice *items; /* NULL: not given */
	uint32_t items_count;
	uint32_t at;
};

/* A number, or the least and the greatest. */
struct sp_source_range {
	uint32_t at;
	char *word;
	struct sp_source_text min, max;
};

enum sp_source_answer { SP_ANSWER_NONE, SP_ANSWER_NO, SP_ANSWER_YES };

struct sp_source_rule {
	uint32_t at;
	struct sp_source_text id;
	struct sp_source_texts program;
	struct sp_source_texts applet;
	struct sp_source_texts sha256;
	struct sp_source_choices argv;
	struct sp_source_choices words;
	struct sp_source_texts options_with_value;
	struct sp_source_texts has;
	struct sp_source_texts any;
	struct sp_source_texts none;
	struct sp_source_range count;
	struct sp_source_texts env;
	struct sp_source_texts parent;
	struct sp_source_texts ancestor;
	struct sp_source_range depth;
	struct sp_source_texts user;
	enum sp_source_answer anonymous;
	enum sp_action action;
	struct sp_source_text error; /* key: errno, which is a macro */
	char *reason;
};

struct sp_source_test {
	uint32_t at;
	struct sp_source_texts argv;
	struct sp_source_texts env;
	struct sp_source_texts ancestors; /* nearest first */
	struct sp_source_text depth;
	struct sp_source_text user;
	struct sp_source_text sha256;
	enum sp_source_answer anonymous;
	enum sp_action expect;
	struct sp_source_text rule;
};

struct sp_source_exec {
	enum sp_action *otherwise; /* key: default */
	struct sp_source_texts path;
	struct sp_source_rule *rules;
	uint32_t rules_count;
	struct sp_source_test *tests;
	uint32_t tests_count;
};

/* A number, a size, a signal: text until it is compiled. */
struct sp_source_bind {
	uint32_t at;
	struct sp_source_text from, to;
	enum sp_source_answer write;
};

struct sp_source_capabilities {
	uint32_t at;
	struct sp_source_texts bounding, effective, ambient, securebits;
};

struct sp_source_launch {
	uint32_t at;
	enum sp_launch_level *require;
	enum sp_source_answer no_new_privs, new_session, new_process_group, clear_env, close_fds, mdwe, core_scheduling;
	struct sp_source_texts keep_env, strip_env, pass_fds;
	struct sp_source_text umask, nice, oom_score_adj, parent_death_signal, cwd, chroot;
	struct sp_source_texts cpu_set, namespaces, uid_map, gid_map, tmpfs, scopes;
	struct sp_source_bind *binds;
	uint32_t binds_count;
	struct sp_source_capabilities capabilities;
};

struct sp_source_limits {
	uint32_t at;
	struct sp_source_text cpu_seconds, address_space, open_files, processes, file_size, core, stack;
	struct sp_source_text wall_seconds, memory, cpus;
};

struct sp_source_filesystem {
	uint32_t at;
	struct sp_source_texts read, write, exec;
};

/* Either a word or a mapping. */
struct sp_source_network {
	uint32_t at;
	char *word;
	struct sp_source_texts tcp_connect, tcp_bind;
};

struct sp_source_syscalls {
	uint32_t at;
	struct sp_source_text mode;
	struct sp_source_texts deny, kill, allow, notify;
};

/* A value of any form, as JSON. text NULL: not given. */
struct sp_source_json {
	char *text;
	uint32_t at;
};

struct sp_source_plugin {
	uint32_t at;
	struct sp_source_text path, timeout_ms;
	struct sp_source_json config;
	enum sp_plugin_isolation isolation;
	enum sp_plugin_when when;
	enum sp_plugin_abi abi;
};

struct sp_source_ask {
	uint32_t at;
	struct sp_source_text timeout_seconds;
	enum sp_action *otherwise;
};

struct sp_source_policy {
	unsigned int version;
	struct sp_source_text extends; /* the policy whose rules these are added to */
	char *name;
	char *description;
	enum sp_tracking tracking;
	struct sp_source_exec exec;
	struct sp_source_launch launch;
	struct sp_source_limits limits;
	struct sp_source_filesystem filesystem;
	struct sp_source_network network;
	struct sp_source_syscalls syscalls;
	struct sp_source_plugin *plugins;
	uint32_t plugins_count;
	struct sp_source_ask ask;
};

struct sp_source {
	struct sp_document *document;
	struct sp_source_policy *policy;
};

/* Reads a file's text. 0 and what sp_source_release() frees, or -EINVAL with "file:line:column: ...", -ENOMEM. */
[[nodiscard]] int sp_source_read(const char *text, size_t size, const char *file_name, struct sp_source *source,
				 struct sp_error *e);

void sp_source_release(struct sp_source *source);

#endif
