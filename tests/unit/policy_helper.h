/* What the policy's tests share: policies from short texts, decisions about short command lines. */
#ifndef TESTS_UNIT_POLICY_HELPER_H
#define TESTS_UNIT_POLICY_HELPER_H

#include "policy/policy.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <string.h>

static inline void free_policy_ptr(struct sp_policy **policy)
{
	sp_policy_free(*policy);
}

#define cleanup_policy sp_cleanup(free_policy_ptr)

static inline struct sp_policy *parse(const char *text)
{
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};

	int rc = sp_policy_parse(text, strlen(text), "test.yaml", &policy, &e);
	cr_assert_eq(rc, 0, "%s\nin:\n%s", e.text, text);
	return policy;
}

/* A policy of one rule, `r`, whose matchers and action are given; default says what no match means. */
static inline struct sp_policy *parse_rule(const char *matchers, const char *action, const char *otherwise)
{
	cleanup_free char *text = NULL;

	cr_assert_geq(asprintf(&text, "{version: 1, exec: {default: %s, rules: [{id: r, %s, action: %s}]}}", otherwise,
			       matchers, action),
		      0);
	return parse(text);
}

/* A command line, split at blanks. */
struct words {
	char *text;
	const char *items[32];
	size_t count;
};

static inline void release_words(struct words *words)
{
	free(words->text);
}

#define cleanup_words sp_cleanup(release_words)

static inline struct words split(const char *line)
{
	struct words words = {.text = strdup(line)};
	char *rest = words.text;

	for (char *word; (word = strsep(&rest, " ")) != NULL;) {
		if (*word == '\0')
			continue;
		cr_assert_lt(words.count, sizeof words.items / sizeof words.items[0]);
		words.items[words.count++] = word;
	}
	return words;
}

static inline struct sp_decision decide(const struct sp_policy *policy, const char *path, const char *line)
{
	cleanup_words struct words argv = split(line);
	struct sp_exec exec = {.path = path, .argv = argv.items, .argc = argv.count};
	struct sp_decision decision;

	sp_policy_decide(policy, &exec, &decision);
	return decision;
}

static inline bool decided(const struct sp_decision *decision, enum sp_action action, const char *rule)
{
	return decision->action == action && strcmp(decision->rule, rule) == 0;
}

#endif
