/* See source.h. The keys and their types; everything else about the file's form is in document.c. */
#include "policy/source.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define REQUIRED CYAML_FLAG_DEFAULT
#define OPTIONAL CYAML_FLAG_OPTIONAL

static const struct cyaml_schema_field text_fields[] = {
	CYAML_FIELD_UINT(SP_KEY_AT, REQUIRED, struct sp_source_text, at),
	CYAML_FIELD_STRING_PTR(SP_KEY_TEXT, CYAML_FLAG_POINTER, struct sp_source_text, text, 0, CYAML_UNLIMITED),
	CYAML_FIELD_END,
};
static const struct cyaml_schema_value text_schema = {
	CYAML_VALUE_MAPPING(REQUIRED, struct sp_source_text, text_fields),
};

static const struct cyaml_schema_field choice_fields[] = {
	CYAML_FIELD_UINT(SP_KEY_AT, REQUIRED, struct sp_source_choice, at),
	CYAML_FIELD_SEQUENCE(SP_KEY_LIST, CYAML_FLAG_POINTER, struct sp_source_choice, items, &text_schema, 0,
			     CYAML_UNLIMITED),
	CYAML_FIELD_END,
};
static const struct cyaml_schema_value choice_schema = {
	CYAML_VALUE_MAPPING(REQUIRED, struct sp_source_choice, choice_fields),
};

static const struct cyaml_schema_field texts_fields[] = {
	CYAML_FIELD_UINT(SP_KEY_AT, REQUIRED, struct sp_source_texts, at),
	CYAML_FIELD_SEQUENCE(SP_KEY_LIST, CYAML_FLAG_POINTER, struct sp_source_texts, items, &text_schema, 0,
			     CYAML_UNLIMITED),
	CYAML_FIELD_END,
};

static const struct cyaml_schema_field choices_fields[] = {
	CYAML_FIELD_UINT(SP_KEY_AT, REQUIRED, struct sp_source_choices, at),
	CYAML_FIELD_SEQUENCE(SP_KEY_LIST, CYAML_FLAG_POINTER, struct sp_source_choices, items, &choice_schema, 0,
			     CYAML_UNLIMITED),
	CYAML_FIELD_END,
};

#define AT_FIELD(structure) CYAML_FIELD_UINT(SP_KEY_AT, OPTIONAL, struct structure, at)
#define TEXT_FIELD(key, structure, member) CYAML_FIELD_MAPPING(key, OPTIONAL, struct structure, member, text_fields)
#define TEXTS_FIELD(key, structure, member) CYAML_FIELD_MAPPING(key, OPTIONAL, struct structure, member, texts_fields)
#define ANSWER_FIELD(key, structure, member)                                                                           \
	CYAML_FIELD_ENUM(key, OPTIONAL | CYAML_FLAG_STRICT, struct structure, member, answers, COUNT(answers))

static const struct cyaml_schema_field range_fields[] = {
	AT_FIELD(sp_source_range),
	CYAML_FIELD_STRING_PTR(SP_KEY_WORD, OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_range, word, 0,
			       CYAML_UNLIMITED),
	TEXT_FIELD("min", sp_source_range, min),
	TEXT_FIELD("max", sp_source_range, max),
	CYAML_FIELD_END,
};

static const struct cyaml_strval versions[] = {{"1", 1}};
static const struct cyaml_strval trackings[] = {
	{"attached", SP_TRACKING_ATTACHED},
	{"oneshot", SP_TRACKING_ONESHOT},
};
static const struct cyaml_strval actions[] = {
	{"allow", SP_ALLOW},
	{"ask", SP_ASK},
	{"deny", SP_DENY},
	{"kill", SP_KILL},
};
/* Without an opinion there is nothing to kill for: the first three. */
#define DEFAULT_COUNT 3
/* libcyaml takes any word that is not a no for a yes. */
static const struct cyaml_strval answers[] = {{"true", SP_ANSWER_YES}, {"false", SP_ANSWER_NO}};

static const struct cyaml_schema_field rule_fields[] = {
	CYAML_FIELD_UINT(SP_KEY_AT, REQUIRED, struct sp_source_rule, at),
	CYAML_FIELD_MAPPING("id", REQUIRED, struct sp_source_rule, id, text_fields),
	CYAML_FIELD_MAPPING("program", OPTIONAL, struct sp_source_rule, program, texts_fields),
	TEXTS_FIELD("applet", sp_source_rule, applet),
	TEXTS_FIELD("sha256", sp_source_rule, sha256),
	CYAML_FIELD_MAPPING("argv", OPTIONAL, struct sp_source_rule, argv, choices_fields),
	CYAML_FIELD_MAPPING("words", OPTIONAL, struct sp_source_rule, words, choices_fields),
	CYAML_FIELD_MAPPING("options_with_value", OPTIONAL, struct sp_source_rule, options_with_value, texts_fields),
	CYAML_FIELD_MAPPING("has", OPTIONAL, struct sp_source_rule, has, texts_fields),
	CYAML_FIELD_MAPPING("any", OPTIONAL, struct sp_source_rule, any, texts_fields),
	CYAML_FIELD_MAPPING("none", OPTIONAL, struct sp_source_rule, none, texts_fields),
	CYAML_FIELD_MAPPING("count", OPTIONAL, struct sp_source_rule, count, range_fields),
	CYAML_FIELD_MAPPING("env", OPTIONAL, struct sp_source_rule, env, texts_fields),
	TEXTS_FIELD("parent", sp_source_rule, parent),
	TEXTS_FIELD("ancestor", sp_source_rule, ancestor),
	CYAML_FIELD_MAPPING("depth", OPTIONAL, struct sp_source_rule, depth, range_fields),
	TEXTS_FIELD("user", sp_source_rule, user),
	CYAML_FIELD_ENUM("anonymous", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_rule, anonymous, answers,
			 COUNT(answers)),
	CYAML_FIELD_ENUM("action", CYAML_FLAG_STRICT, struct sp_source_rule, action, actions, COUNT(actions)),
	CYAML_FIELD_MAPPING("errno", OPTIONAL, struct sp_source_rule, error, text_fields),
	CYAML_FIELD_STRING_PTR("reason", OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_rule, reason, 0,
			       CYAML_UNLIMITED),
	CYAML_FIELD_END,
};
static const struct cyaml_schema_value rule_schema = {
	CYAML_VALUE_MAPPING(REQUIRED, struct sp_source_rule, rule_fields),
};

static const struct cyaml_schema_field test_fields[] = {
	CYAML_FIELD_UINT(SP_KEY_AT, REQUIRED, struct sp_source_test, at),
	CYAML_FIELD_MAPPING("argv", REQUIRED, struct sp_source_test, argv, texts_fields),
	CYAML_FIELD_MAPPING("env", OPTIONAL, struct sp_source_test, env, texts_fields),
	TEXTS_FIELD("ancestors", sp_source_test, ancestors),
	TEXT_FIELD("depth", sp_source_test, depth),
	TEXT_FIELD("user", sp_source_test, user),
	TEXT_FIELD("sha256", sp_source_test, sha256),
	CYAML_FIELD_ENUM("anonymous", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_test, anonymous, answers,
			 COUNT(answers)),
	CYAML_FIELD_ENUM("expect", CYAML_FLAG_STRICT, struct sp_source_test, expect, actions, COUNT(actions)),
	CYAML_FIELD_MAPPING("rule", OPTIONAL, struct sp_source_test, rule, text_fields),
	CYAML_FIELD_END,
};
static const struct cyaml_schema_value test_schema = {
	CYAML_VALUE_MAPPING(REQUIRED, struct sp_source_test, test_fields),
};

static const struct cyaml_schema_field exec_fields[] = {
	CYAML_FIELD_ENUM_PTR("default", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_exec, otherwise, actions,
			     DEFAULT_COUNT),
	CYAML_FIELD_MAPPING("path", OPTIONAL, struct sp_source_exec, path, texts_fields),
	CYAML_FIELD_SEQUENCE("rules", OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_exec, rules, &rule_schema, 0,
			     CYAML_UNLIMITED),
	CYAML_FIELD_SEQUENCE("tests", OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_exec, tests, &test_schema, 0,
			     CYAML_UNLIMITED),
	CYAML_FIELD_END,
};

/* ---- What a program is started with ---- */

static const struct cyaml_strval levels[] = {
	{"none", SP_LEVEL_NONE},
	{"baseline", SP_LEVEL_BASELINE},
	{"partial", SP_LEVEL_PARTIAL},
	{"full", SP_LEVEL_FULL},
};

static const struct cyaml_schema_field bind_fields[] = {
	AT_FIELD(sp_source_bind),
	CYAML_FIELD_MAPPING("from", REQUIRED, struct sp_source_bind, from, text_fields),
	TEXT_FIELD("to", sp_source_bind, to),
	ANSWER_FIELD("write", sp_source_bind, write),
	CYAML_FIELD_END,
};
static const struct cyaml_schema_value bind_schema = {
	CYAML_VALUE_MAPPING(REQUIRED, struct sp_source_bind, bind_fields),
};

static const struct cyaml_schema_field capabilities_fields[] = {
	AT_FIELD(sp_source_capabilities),
	TEXTS_FIELD("bounding", sp_source_capabilities, bounding),
	TEXTS_FIELD("effective", sp_source_capabilities, effective),
	TEXTS_FIELD("ambient", sp_source_capabilities, ambient),
	TEXTS_FIELD("securebits", sp_source_capabilities, securebits),
	CYAML_FIELD_END,
};

static const struct cyaml_schema_field launch_fields[] = {
	AT_FIELD(sp_source_launch),
	CYAML_FIELD_ENUM_PTR("require", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_launch, require, levels,
			     COUNT(levels)),
	ANSWER_FIELD("no_new_privs", sp_source_launch, no_new_privs),
	ANSWER_FIELD("new_session", sp_source_launch, new_session),
	ANSWER_FIELD("new_process_group", sp_source_launch, new_process_group),
	ANSWER_FIELD("clear_env", sp_source_launch, clear_env),
	TEXTS_FIELD("keep_env", sp_source_launch, keep_env),
	TEXTS_FIELD("strip_env", sp_source_launch, strip_env),
	ANSWER_FIELD("close_fds", sp_source_launch, close_fds),
	TEXTS_FIELD("pass_fds", sp_source_launch, pass_fds),
	TEXT_FIELD("umask", sp_source_launch, umask),
	TEXT_FIELD("nice", sp_source_launch, nice),
	TEXT_FIELD("oom_score_adj", sp_source_launch, oom_score_adj),
	TEXTS_FIELD("cpu_set", sp_source_launch, cpu_set),
	ANSWER_FIELD("core_scheduling", sp_source_launch, core_scheduling),
	TEXT_FIELD("parent_death_signal", sp_source_launch, parent_death_signal),
	TEXT_FIELD("cwd", sp_source_launch, cwd),
	ANSWER_FIELD("mdwe", sp_source_launch, mdwe),
	TEXTS_FIELD("namespaces", sp_source_launch, namespaces),
	TEXTS_FIELD("uid_map", sp_source_launch, uid_map),
	TEXTS_FIELD("gid_map", sp_source_launch, gid_map),
	TEXT_FIELD("chroot", sp_source_launch, chroot),
	CYAML_FIELD_SEQUENCE("binds", OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_launch, binds, &bind_schema, 0,
			     CYAML_UNLIMITED),
	TEXTS_FIELD("tmpfs", sp_source_launch, tmpfs),
	CYAML_FIELD_MAPPING("capabilities", OPTIONAL, struct sp_source_launch, capabilities, capabilities_fields),
	TEXTS_FIELD("scopes", sp_source_launch, scopes),
	CYAML_FIELD_END,
};

static const struct cyaml_schema_field limits_fields[] = {
	AT_FIELD(sp_source_limits),
	TEXT_FIELD("cpu_seconds", sp_source_limits, cpu_seconds),
	TEXT_FIELD("address_space", sp_source_limits, address_space),
	TEXT_FIELD("open_files", sp_source_limits, open_files),
	TEXT_FIELD("processes", sp_source_limits, processes),
	TEXT_FIELD("file_size", sp_source_limits, file_size),
	TEXT_FIELD("core", sp_source_limits, core),
	TEXT_FIELD("stack", sp_source_limits, stack),
	TEXT_FIELD("wall_seconds", sp_source_limits, wall_seconds),
	TEXT_FIELD("memory", sp_source_limits, memory),
	TEXT_FIELD("cpus", sp_source_limits, cpus),
	CYAML_FIELD_END,
};

static const struct cyaml_schema_field filesystem_fields[] = {
	AT_FIELD(sp_source_filesystem),
	TEXTS_FIELD("read", sp_source_filesystem, read),
	TEXTS_FIELD("write", sp_source_filesystem, write),
	TEXTS_FIELD("exec", sp_source_filesystem, exec),
	CYAML_FIELD_END,
};

static const struct cyaml_schema_field network_fields[] = {
	AT_FIELD(sp_source_network),
	CYAML_FIELD_STRING_PTR(SP_KEY_WORD, OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_network, word, 0,
			       CYAML_UNLIMITED),
	TEXTS_FIELD("tcp_connect", sp_source_network, tcp_connect),
	TEXTS_FIELD("tcp_bind", sp_source_network, tcp_bind),
	CYAML_FIELD_END,
};

static const struct cyaml_schema_field syscalls_fields[] = {
	AT_FIELD(sp_source_syscalls),
	TEXT_FIELD("mode", sp_source_syscalls, mode),
	TEXTS_FIELD("deny", sp_source_syscalls, deny),
	TEXTS_FIELD("kill", sp_source_syscalls, kill),
	TEXTS_FIELD("allow", sp_source_syscalls, allow),
	TEXTS_FIELD("notify", sp_source_syscalls, notify),
	CYAML_FIELD_END,
};

/* ---- Plugins ---- */

static const struct cyaml_strval isolations[] = {
	{"process", SP_PLUGIN_PROCESS},
	{"none", SP_PLUGIN_INSIDE},
};
static const struct cyaml_strval whens[] = {
	{"unmatched", SP_PLUGIN_UNMATCHED},
	{"allowed", SP_PLUGIN_ALLOWED},
};
static const struct cyaml_strval abis[] = {
	{"sallyport", SP_PLUGIN_OURS},
	{"crun", SP_PLUGIN_CRUN},
};

static const struct cyaml_schema_field json_fields[] = {
	CYAML_FIELD_UINT(SP_KEY_AT, REQUIRED, struct sp_source_json, at),
	CYAML_FIELD_STRING_PTR(SP_KEY_JSON, CYAML_FLAG_POINTER, struct sp_source_json, text, 0, CYAML_UNLIMITED),
	CYAML_FIELD_END,
};

static const struct cyaml_schema_field plugin_fields[] = {
	AT_FIELD(sp_source_plugin),
	CYAML_FIELD_MAPPING("path", REQUIRED, struct sp_source_plugin, path, text_fields),
	CYAML_FIELD_MAPPING("config", OPTIONAL, struct sp_source_plugin, config, json_fields),
	TEXT_FIELD("timeout_ms", sp_source_plugin, timeout_ms),
	CYAML_FIELD_ENUM("isolation", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_plugin, isolation, isolations,
			 COUNT(isolations)),
	CYAML_FIELD_ENUM("when", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_plugin, when, whens, COUNT(whens)),
	CYAML_FIELD_ENUM("abi", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_plugin, abi, abis, COUNT(abis)),
	CYAML_FIELD_END,
};
static const struct cyaml_schema_value plugin_schema = {
	CYAML_VALUE_MAPPING(REQUIRED, struct sp_source_plugin, plugin_fields),
};

static const struct cyaml_strval last_words[] = {{"allow", SP_ALLOW}, {"deny", SP_DENY}, {"kill", SP_KILL}};

static const struct cyaml_schema_field ask_fields[] = {
	AT_FIELD(sp_source_ask),
	TEXT_FIELD("timeout_seconds", sp_source_ask, timeout_seconds),
	CYAML_FIELD_ENUM_PTR("otherwise", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_ask, otherwise, last_words,
			     COUNT(last_words)),
	CYAML_FIELD_END,
};

static const struct cyaml_schema_field policy_fields[] = {
	CYAML_FIELD_ENUM("version", CYAML_FLAG_STRICT, struct sp_source_policy, version, versions, COUNT(versions)),
	TEXT_FIELD("extends", sp_source_policy, extends),
	CYAML_FIELD_STRING_PTR("name", OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_policy, name, 0,
			       CYAML_UNLIMITED),
	CYAML_FIELD_STRING_PTR("description", OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_policy, description, 0,
			       CYAML_UNLIMITED),
	CYAML_FIELD_ENUM("tracking", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_policy, tracking, trackings,
			 COUNT(trackings)),
	CYAML_FIELD_MAPPING("exec", OPTIONAL, struct sp_source_policy, exec, exec_fields),
	CYAML_FIELD_MAPPING("launch", OPTIONAL, struct sp_source_policy, launch, launch_fields),
	CYAML_FIELD_MAPPING("limits", OPTIONAL, struct sp_source_policy, limits, limits_fields),
	CYAML_FIELD_MAPPING("filesystem", OPTIONAL, struct sp_source_policy, filesystem, filesystem_fields),
	CYAML_FIELD_MAPPING("network", OPTIONAL, struct sp_source_policy, network, network_fields),
	CYAML_FIELD_MAPPING("syscalls", OPTIONAL, struct sp_source_policy, syscalls, syscalls_fields),
	CYAML_FIELD_SEQUENCE("plugins", OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_policy, plugins, &plugin_schema,
			     0, CYAML_UNLIMITED),
	CYAML_FIELD_MAPPING("ask", OPTIONAL, struct sp_source_policy, ask, ask_fields),
	CYAML_FIELD_END,
};
static const struct cyaml_schema_value policy_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct sp_source_policy, policy_fields),
};

int sp_source_read(const char *text, size_t size, const char *file_name, struct sp_source *source, struct sp_error *e)
{
	sp_cleanup(sp_source_release) struct sp_source read = {0};
	cyaml_data_t *data = NULL;

	int rc = sp_document_read(text, size, file_name, &policy_schema, &read.document, e);
	if (rc < 0 || (rc = sp_document_load(read.document, &policy_schema, &data, e)) < 0)
		return rc;
	read.policy = data;
	*source = read;
	read = (struct sp_source){0};
	return 0;
}

void sp_source_release(struct sp_source *source)
{
	(void)cyaml_free(sp_document_cyaml(), &policy_schema, source->policy, 0);
	sp_document_free(source->document);
}
