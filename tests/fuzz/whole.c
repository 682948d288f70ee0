/* See whole.h. */
#include "whole.h"

#include "fuzz.h"
#include "policy/rules.h"

#include <errno.h>
#include <string.h>

static bool any_glob(const struct sp_globs *globs, const char *text)
{
	for (size_t i = 0; i < globs->count; i++) {
		if (sp_glob_match(globs->items[i], text, strlen(text)))
			return true;
	}
	return false;
}

static bool is_about(const struct sp_policy *policy, const struct sp_rule *rule, const char *path)
{
	const struct sp_program_file file = sp_program_file(policy, path);

	if (rule->any_program)
		return true;
	for (size_t i = 0; i < rule->program.literal_count; i++) {
		const char *literal = rule->program.literals[i];
		if (literal[0] == '/' ? strcmp(literal, path) == 0 : file.in_path && strcmp(literal, file.name) == 0)
			return true;
	}
	return (file.in_path && any_glob(&rule->program.names, file.name)) || any_glob(&rule->program.paths, path);
}

void sp_check_decision(const struct sp_policy *policy, const struct sp_exec *exec)
{
	const struct sp_rule *winner = NULL;
	struct sp_decision decision;
	size_t matched = 0;

	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct sp_rule *rule = &policy->rules[i];
		if ((exec->foreign && !rule->any_program && rule->source->action == SP_ALLOW) ||
		    !is_about(policy, rule, exec->path) || !sp_rule_matches(policy, rule, exec))
			continue;
		matched++;
		if (winner == NULL || rule->source->action > winner->source->action)
			winner = rule;
	}
	sp_policy_decide(policy, exec, &decision);
	must(decision.matched == matched);
	must(decision.action != SP_DENY || decision.err > 0);
	must(decision.action == SP_DENY || decision.err == 0);
	if (winner != NULL) {
		must(decision.rule == winner->source->id.text);
		must(decision.action == winner->source->action);
	} else {
		must(decision.action == (exec->anonymous ? SP_DENY : policy->otherwise));
	}
}
