/* The tests that a policy file has for itself. */
#include "policy/rules.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <limits.h>
#include <string.h>

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
	return strcmp(id, "default") == 0 || strcmp(id, "anonymous") == 0;
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

static int run_test(const struct sp_policy *policy, const struct sp_source_test *test, struct sp_error *e)
{
	char path[PATH_MAX];
	struct sp_decision decision;

	int rc = check_test(policy, test, e);
	if (rc < 0)
		return rc;
	cleanup_free const char **argv = pointers(&test->argv);
	cleanup_free const char **envp = pointers(&test->env);
	if (argv == NULL || envp == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	rc = sp_policy_resolve(policy, argv[0], path);
	if (rc < 0 && rc != -ENOENT)
		return sp_document_fail(policy->source.document, test->argv.at, e, "'%.60s' cannot be looked up: %s",
					argv[0], strerror(-rc));
	struct sp_exec exec = {
		.path = path,
		.anonymous = test->anonymous == SP_ANSWER_YES,
		.argv = argv,
		.argc = test->argv.items_count,
		.envp = envp,
		.envc = test->env.items_count,
	};
	sp_policy_decide(policy, &exec, &decision);
	if (decision.action != test->expect || (test->rule.text != NULL && strcmp(decision.rule, test->rule.text) != 0))
		return report(policy, test, &decision, e);
	return 0;
}
