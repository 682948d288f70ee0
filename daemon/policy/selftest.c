/* The tests that a policy file has for itself. */
#include "policy/rules.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

static int run_test(const struct sp_policy *policy, const struct sp_source_test *test, struct sp_error *e);

int sp_policy_run_tests(const struct sp_policy *policy, struct sp_error *e)
{
	const struct sp_source_exec *exec = &policy->source.policy->exec;

	for (uint32_t i = 0; i < exec->tests_count; i++) {
		int rc = run_test(policy, &exec->tests[i], e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static bool rule_exists(const struct sp_policy *policy, const char *id)
{
	for (size_t i = 0; i < policy->rule_count; i++) {
		if (strcmp(policy->rules[i].source->id.text, id) == 0)
			return true;
	}
	return sp_is_reserved_id(id);
}

static const char **pointers(const struct sp_source_texts *texts)
{
	const char **strings = calloc(texts->items_count + 1, sizeof *strings);

	for (uint32_t i = 0; strings != NULL && i < texts->items_count; i++)
		strings[i] = texts->items[i].text;
	return strings;
}

static char *command_line(const struct sp_source_texts *argv)
{
	char *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);

	if (out == NULL)
		return NULL;
	for (uint32_t i = 0; i < argv->items_count; i++) {
		(void)fputs(i == 0 ? "" : " ", out);
		(void)fputs(argv->items[i].text, out);
	}
	(void)fclose(out);
	return line;
}

static int report(const struct sp_policy *policy, const struct sp_source_test *test, const struct sp_decision *decision,
		  struct sp_error *e)
{
	cleanup_free char *line = command_line(&test->argv);
	const char *rule = test->rule.text;

	if (line == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	return sp_document_fail(policy->source.document, test->at, e,
				"test failed: expected %s%s%s, the policy says %s by %s, for: %.400s",
				sp_action_name(test->expect), rule != NULL ? " by " : "", rule != NULL ? rule : "",
				sp_action_name(decision->action), decision->rule, line);
}

static int check_test(const struct sp_policy *policy, const struct sp_source_test *test, struct sp_error *e)
{
	const struct sp_document *document = policy->source.document;

	if (test->argv.items_count == 0)
		return sp_document_fail(document, test->argv.at, e,
					"the list is empty, expected a program and its arguments");
	if (test->rule.text != NULL && !rule_exists(policy, test->rule.text))
		return sp_document_fail(document, test->rule.at, e, "no rule has the id '%.60s'", test->rule.text);
	for (uint32_t i = 0; i < test->env.items_count; i++) {
		const struct sp_source_text *variable = &test->env.items[i];
		if (strchr(variable->text, '=') == NULL)
			return sp_document_fail(document, variable->at, e, "bad variable '%.60s', expected NAME=value",
						variable->text);
	}
	return 0;
}

/* Whose exec it is to be: the words of the test, resolved. */
struct context {
	struct sp_ancestor *ancestors;
	uint8_t digest[SP_DIGEST_SIZE];
};

static void release_context(struct context *context)
{
	for (const struct sp_ancestor *each = context->ancestors; each != NULL; each = each->next)
		free((char *)each->path);
	free(context->ancestors);
}

/* For tests nothing is ever missing: a program that is not installed is where it would be by its name. */
static int resolve_word(const struct sp_policy *policy, const struct sp_source_text *word, char path[static PATH_MAX],
			struct sp_error *e)
{
	int rc = sp_policy_resolve(policy, word->text, path);

	return rc == 0 || rc == -ENOENT
		       ? 0
		       : sp_document_fail(policy->source.document, word->at, e, "'%.60s' cannot be looked up: %s",
					  word->text, strerror(-rc));
}

static int list_ancestors(const struct sp_policy *policy, const struct sp_source_test *test, struct context *context,
			  struct sp_error *e)
{
	const size_t count = test->ancestors.items_count;
	char path[PATH_MAX];

	if (count == 0)
		return 0;
	struct sp_ancestor *list = calloc(count, sizeof *list);
	if (list == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	context->ancestors = list;
	for (size_t i = 0; i < count; i++) {
		int rc = resolve_word(policy, &test->ancestors.items[i], path, e);
		if (rc < 0)
			return rc;
		list[i].path = strdup(path);
		if (list[i].path == NULL)
			return sp_fail(e, ENOMEM, "out of memory");
		if (i > 0)
			list[i - 1].next = &list[i];
	}
	return 0;
}

static int fill_context(const struct sp_policy *policy, const struct sp_source_test *test, struct context *context,
			struct sp_exec *exec, struct sp_error *e)
{
	const struct sp_document *document = policy->source.document;

	int rc = list_ancestors(policy, test, context, e);
	if (rc < 0)
		return rc;
	exec->ancestors = context->ancestors;
	exec->depth = test->ancestors.items_count;
	exec->uid = geteuid();
	if (test->depth.text != NULL && !sp_number_parse(test->depth.text, &exec->depth))
		return sp_document_fail(document, test->depth.at, e, "bad number '%.60s'", test->depth.text);
	if (test->user.text != NULL && !sp_user_find(test->user.text, &exec->uid))
		return sp_document_fail(document, test->user.at, e, "unknown user '%.60s', expected a name or a number",
					test->user.text);
	if (test->sha256.text == NULL)
		return 0;
	exec->digest = context->digest;
	if (!sp_digest_parse(test->sha256.text, context->digest))
		return sp_document_fail(document, test->sha256.at, e,
					"bad sha256 '%.70s', expected 64 hexadecimal digits", test->sha256.text);
	return 0;
}

static int run_test(const struct sp_policy *policy, const struct sp_source_test *test, struct sp_error *e)
{
	sp_cleanup(release_context) struct context context = {0};
	char path[PATH_MAX];
	struct sp_decision decision;

	int rc = check_test(policy, test, e);
	if (rc < 0)
		return rc;
	cleanup_free const char **argv = pointers(&test->argv);
	cleanup_free const char **envp = pointers(&test->env);
	if (argv == NULL || envp == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	rc = resolve_word(policy, &test->argv.items[0], path, e);
	if (rc < 0)
		return rc;
	struct sp_exec exec = {
		.path = path,
		.anonymous = test->anonymous == SP_ANSWER_YES,
		.argv = argv,
		.argc = test->argv.items_count,
		.envp = envp,
		.envc = test->env.items_count,
	};
	if ((rc = fill_context(policy, test, &context, &exec, e)) < 0)
		return rc;
	sp_policy_decide(policy, &exec, &decision);
	if (decision.action != test->expect || (test->rule.text != NULL && strcmp(decision.rule, test->rule.text) != 0))
		return report(policy, test, &decision, e);
	return 0;
}
