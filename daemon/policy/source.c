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
	CYAML_FIELD_MAPPING("argv", OPTIONAL, struct sp_source_rule, argv, choices_fields),
	CYAML_FIELD_MAPPING("words", OPTIONAL, struct sp_source_rule, words, choices_fields),
	CYAML_FIELD_MAPPING("options_with_value", OPTIONAL, struct sp_source_rule, options_with_value, texts_fields),
	CYAML_FIELD_MAPPING("has", OPTIONAL, struct sp_source_rule, has, texts_fields),
	CYAML_FIELD_MAPPING("any", OPTIONAL, struct sp_source_rule, any, texts_fields),
	CYAML_FIELD_MAPPING("none", OPTIONAL, struct sp_source_rule, none, texts_fields),
	CYAML_FIELD_MAPPING("env", OPTIONAL, struct sp_source_rule, env, texts_fields),
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

static const struct cyaml_schema_field policy_fields[] = {
	CYAML_FIELD_ENUM("version", CYAML_FLAG_STRICT, struct sp_source_policy, version, versions, COUNT(versions)),
	CYAML_FIELD_STRING_PTR("name", OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_policy, name, 0,
			       CYAML_UNLIMITED),
	CYAML_FIELD_STRING_PTR("description", OPTIONAL | CYAML_FLAG_POINTER, struct sp_source_policy, description, 0,
			       CYAML_UNLIMITED),
	CYAML_FIELD_ENUM("tracking", OPTIONAL | CYAML_FLAG_STRICT, struct sp_source_policy, tracking, trackings,
			 COUNT(trackings)),
	CYAML_FIELD_MAPPING("exec", OPTIONAL, struct sp_source_policy, exec, exec_fields),
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
