/* See config.h. */
#include "service/config.h"

#include "policy/document.h"
#include "policy/push.h"
#include "util/cleanup.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE_MAX_OF_FILE = 1 << 20 };

struct source_rule {
	size_t at;
	char **users, **groups, **policies, **may;
	unsigned users_count, groups_count, policies_count, may_count;
	char *jobs;
};

struct source {
	int version;
	char *audit;
	struct source_rule *rules;
	unsigned rules_count;
};

#define OPTIONAL CYAML_FLAG_OPTIONAL

static const struct cyaml_schema_value text_schema = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};
#define TEXTS(name)                                                                                                    \
	CYAML_FIELD_SEQUENCE(#name, OPTIONAL | CYAML_FLAG_POINTER, struct source_rule, name, &text_schema, 0,          \
			     CYAML_UNLIMITED)

static const struct cyaml_schema_field rule_fields[] = {
	CYAML_FIELD_UINT(SP_KEY_AT, CYAML_FLAG_DEFAULT, struct source_rule, at),
	TEXTS(users),
	TEXTS(groups),
	TEXTS(policies),
	TEXTS(may),
	CYAML_FIELD_STRING_PTR("jobs", OPTIONAL | CYAML_FLAG_POINTER, struct source_rule, jobs, 0, CYAML_UNLIMITED),
	CYAML_FIELD_END,
};
static const struct cyaml_schema_value rule_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct source_rule, rule_fields)};
static const struct cyaml_strval versions[] = {{"1", 1}};
static const struct cyaml_schema_field fields[] = {
	CYAML_FIELD_ENUM("version", CYAML_FLAG_STRICT, struct source, version, versions, 1),
	CYAML_FIELD_STRING_PTR("audit", OPTIONAL | CYAML_FLAG_POINTER, struct source, audit, 0, CYAML_UNLIMITED),
	CYAML_FIELD_SEQUENCE("rules", OPTIONAL | CYAML_FLAG_POINTER, struct source, rules, &rule_schema, 0,
			     CYAML_UNLIMITED),
	CYAML_FIELD_END,
};
static const struct cyaml_schema_value schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct source, fields)};

static const char *const deeds[SP_DEEDS] = {
	[SP_DEED_RUN] = "run",       [SP_DEED_SEE] = "see",         [SP_DEED_KILL] = "kill",
	[SP_DEED_FREEZE] = "freeze", [SP_DEED_APPROVE] = "approve", [SP_DEED_RELOAD] = "reload",
};

static bool is_number(const char *word, unsigned long *number)
{
	char *end;

	errno = 0;
	*number = strtoul(word, &end, 10);
	return word[0] >= '0' && word[0] <= '9' && *end == '\0' && errno == 0 && *number < UINT32_MAX;
}

static int add_user(struct sp_grant *grant, const struct sp_document *d, size_t at, const char *word,
		    struct sp_error *e)
{
	unsigned long number;

	if (strcmp(word, "*") == 0) {
		grant->everybody = true;
		return 0;
	}
	const struct passwd *user = is_number(word, &number) ? NULL : getpwnam(word);
	if (user != NULL)
		number = user->pw_uid;
	else if (!is_number(word, &number))
		return sp_document_fail(d, at, e, "there is no user '%.60s'", word);
	return sp_push(grant->users, grant->user_count, (uid_t)number) ? 0 : sp_fail(e, ENOMEM, "out of memory");
}

static int add_group(struct sp_grant *grant, const struct sp_document *d, size_t at, const char *word,
		     struct sp_error *e)
{
	unsigned long number;
	const struct group *group = is_number(word, &number) ? NULL : getgrnam(word);

	if (group != NULL)
		number = group->gr_gid;
	else if (!is_number(word, &number))
		return sp_document_fail(d, at, e, "there is no group '%.60s'", word);
	return sp_push(grant->groups, grant->group_count, (gid_t)number) ? 0 : sp_fail(e, ENOMEM, "out of memory");
}

static int add_deed(struct sp_grant *grant, const struct sp_document *d, size_t at, const char *word,
		    struct sp_error *e)
{
	for (unsigned i = 0; i < SP_DEEDS; i++) {
		if (strcmp(word, deeds[i]) != 0)
			continue;
		grant->deeds |= 1U << i;
		return 0;
	}
	return sp_document_fail(d, at, e, "bad may '%.60s', expected run, see, kill, freeze, approve or reload", word);
}

/* A path would let a caller choose what the rules are, and so would a name that is one. */
static int add_policy(struct sp_grant *grant, const struct sp_document *d, size_t at, const char *word,
		      struct sp_error *e)
{
	char *name = strdup(word);

	if (name == NULL || !sp_push(grant->policies, grant->policy_count, name)) {
		free(name);
		return sp_fail(e, ENOMEM, "out of memory");
	}
	return word[0] != '\0' && (strchr(word, '/') == NULL || word[0] == '/')
		       ? 0
		       : sp_document_fail(d, at, e, "bad policy '%.60s', expected a name or an absolute path", word);
}

typedef int add(struct sp_grant *grant, const struct sp_document *d, size_t at, const char *word, struct sp_error *e);

static int add_all(struct sp_grant *grant, const struct sp_document *d, size_t at, char *const *words, unsigned count,
		   add *one, struct sp_error *e)
{
	int err = 0;

	for (unsigned i = 0; i < count && err == 0; i++)
		err = one(grant, d, at, words[i], e);
	return err;
}

static int take_rule(struct sp_grant *grant, const struct sp_document *d, const struct source_rule *rule,
		     struct sp_error *e)
{
	int err = add_all(grant, d, rule->at, rule->users, rule->users_count, add_user, e);

	if (err == 0)
		err = add_all(grant, d, rule->at, rule->groups, rule->groups_count, add_group, e);
	if (err == 0)
		err = add_all(grant, d, rule->at, rule->policies, rule->policies_count, add_policy, e);
	if (err == 0)
		err = add_all(grant, d, rule->at, rule->may, rule->may_count, add_deed, e);
	if (err != 0 || rule->jobs == NULL)
		return err;
	grant->all_jobs = strcmp(rule->jobs, "all") == 0;
	return grant->all_jobs || strcmp(rule->jobs, "own") == 0
		       ? 0
		       : sp_document_fail(d, rule->at, e, "bad jobs '%.60s', expected own or all", rule->jobs);
}

static int take(struct sp_config *config, const struct sp_document *d, struct source *source, struct sp_error *e)
{
	config->audit = sp_steal_ptr(source->audit);
	config->grants = calloc(source->rules_count + 1, sizeof *config->grants);
	if (config->grants == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	for (unsigned i = 0; i < source->rules_count; i++) {
		int err = take_rule(&config->grants[config->grant_count++], d, &source->rules[i], e);
		if (err != 0)
			return err;
	}
	return 0;
}

static int read_text(const char *path, char text[static SIZE_MAX_OF_FILE], size_t *size, struct sp_error *e)
{
	cleanup_file FILE *file = fopen(path, "re");

	if (file == NULL)
		return sp_fail(e, errno, "%s: %s", path, strerror(errno));
	*size = fread(text, 1, SIZE_MAX_OF_FILE, file);
	if (ferror(file) != 0)
		return sp_fail(e, EIO, "%s: cannot be read", path);
	return *size < SIZE_MAX_OF_FILE ? 0 : sp_fail(e, EFBIG, "%s: longer than a mebibyte", path);
}

static void free_document(struct sp_document **document)
{
	sp_document_free(*document);
}

int sp_config_load(const char *path, struct sp_config *config, struct sp_error *e)
{
	cleanup_free char *text = malloc(SIZE_MAX_OF_FILE);
	sp_cleanup(free_document) struct sp_document *document = NULL;
	cyaml_data_t *source = NULL;
	size_t size = 0;

	*config = (struct sp_config){0};
	if (path == NULL)
		return 0;
	if (text == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	int err = read_text(path, text, &size, e);
	if (err == 0)
		err = sp_document_read(text, size, path, &schema, &document, e);
	if (err == 0)
		err = sp_document_load(document, &schema, &source, e);
	if (err != 0)
		return err;
	err = take(config, document, (struct source *)source, e);
	(void)cyaml_free(sp_document_cyaml(), &schema, source, 0);
	if (err != 0)
		sp_config_release(config);
	return err;
}

void sp_config_release(struct sp_config *config)
{
	for (unsigned i = 0; i < config->grant_count; i++) {
		struct sp_grant *grant = &config->grants[i];

		for (unsigned n = 0; n < grant->policy_count; n++)
			free(grant->policies[n]);
		free(grant->policies);
		free(grant->users);
		free(grant->groups);
	}
	free(config->grants);
	free(config->audit);
	*config = (struct sp_config){0};
}

static bool has_group(const struct sp_peer *peer, gid_t group)
{
	for (size_t i = 0; i < peer->group_count; i++)
		if (peer->groups[i] == group)
			return true;
	return peer->gid == group;
}

static bool is_meant(const struct sp_grant *grant, const struct sp_peer *peer)
{
	for (unsigned i = 0; i < grant->user_count; i++)
		if (grant->users[i] == peer->uid)
			return true;
	for (unsigned i = 0; i < grant->group_count; i++)
		if (has_group(peer, grant->groups[i]))
			return true;
	return grant->everybody;
}

bool sp_config_may(const struct sp_config *config, const struct sp_peer *peer, enum sp_deed deed, const uid_t *job_uid)
{
	if (peer->uid == 0)
		return true;
	for (unsigned i = 0; i < config->grant_count; i++) {
		const struct sp_grant *grant = &config->grants[i];

		if ((grant->deeds >> deed & 1) != 0 && is_meant(grant, peer) &&
		    (job_uid == NULL || grant->all_jobs || *job_uid == peer->uid))
			return true;
	}
	return false;
}

const char *sp_config_policy(const struct sp_config *config, const struct sp_peer *peer, const char *name)
{
	for (unsigned i = 0; i < config->grant_count; i++) {
		const struct sp_grant *grant = &config->grants[i];

		if ((grant->deeds >> SP_DEED_RUN & 1) == 0 || (peer->uid != 0 && !is_meant(grant, peer)))
			continue;
		for (unsigned n = 0; n < grant->policy_count; n++)
			if (name == NULL || strcmp(grant->policies[n], name) == 0)
				return grant->policies[n];
	}
	return NULL;
}
