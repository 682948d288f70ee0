/* The decision: only rules that can be about the file are looked at, and the strictest of those that match wins. */
#include "policy/rules.h"

#include <errno.h>
#include <string.h>

/* What matched: the first in the file of the strictest, and the first few of all. */
struct matches {
	const struct sp_policy *policy;
	const struct sp_exec *exec;
	struct sp_program_file file;
	const struct sp_rule *winner;
	size_t count;
	size_t looked_at;
	const struct sp_rule *first[SP_OTHERS + 1]; /* ascending */
	size_t first_count;
};

static void decide(const struct sp_policy *policy, const struct sp_exec *exec, struct sp_decision *decision);
static void decide_inner(const struct sp_policy *policy, const struct sp_exec *exec, struct sp_decision *decision);
static void decide_loader(const struct sp_policy *policy, const struct sp_exec *exec, struct sp_decision *decision);

void sp_policy_decide(const struct sp_policy *policy, const struct sp_exec *exec, struct sp_decision *decision)
{
	decide(policy, exec, decision);
	switch (exec->class) {
	case SP_CLASS_PROGRAM:
		return;
	case SP_CLASS_SCRIPT:
	case SP_CLASS_FORMAT:
		decide_inner(policy, exec, decision);
		return;
	case SP_CLASS_LOADER:
		decide_loader(policy, exec, decision);
		return;
	}
}

/* ---- One file ---- */

static void keep_first(struct matches *matches, const struct sp_rule *rule)
{
	const size_t room = sizeof matches->first / sizeof matches->first[0];
	size_t at = matches->first_count;

	while (at > 0 && matches->first[at - 1] > rule)
		at--;
	if (at == room)
		return;
	if (matches->first_count < room)
		matches->first_count++;
	memmove(&matches->first[at + 1], &matches->first[at],
		(matches->first_count - at - 1) * sizeof matches->first[0]);
	matches->first[at] = rule;
}

static void add_match(struct matches *matches, const struct sp_rule *rule)
{
	const struct sp_rule *best = matches->winner;

	if (best == NULL || rule->source->action > best->source->action ||
	    (rule->source->action == best->source->action && rule < best))
		matches->winner = rule;
	keep_first(matches, rule);
	matches->count++;
}

/* The path of a foreign file is a claim: good enough to refuse by, not to allow by. */
static bool may_match(const struct sp_rule *rule, const struct sp_exec *exec)
{
	return !exec->foreign || rule->any_program || rule->source->action > SP_ALLOW;
}

static void try_rule(void *context, const struct sp_rule *rule, const struct sp_glob *glob)
{
	struct matches *matches = context;

	matches->looked_at++;
	if (may_match(rule, matches->exec) && sp_rule_matches(matches->policy, rule, matches->exec) &&
	    sp_is_first_way(matches->policy, &matches->file, rule, glob))
		add_match(matches, rule);
}

static void list_others(const struct matches *matches, struct sp_decision *decision)
{
	size_t listed = 0;

	for (size_t i = 0; i < matches->first_count && listed < SP_OTHERS; i++) {
		if (matches->first[i] != matches->winner)
			decision->others[listed++] = matches->first[i]->source->id.text;
	}
}

static void decide(const struct sp_policy *policy, const struct sp_exec *exec, struct sp_decision *decision)
{
	struct matches matches = {
		.policy = policy,
		.exec = exec,
		.file = sp_program_file(policy, exec->path),
	};

	sp_each_candidate(policy, &matches.file, try_rule, &matches);
	*decision =
		(struct sp_decision){.number = SP_NO_RULE, .matched = matches.count, .looked_at = matches.looked_at};
	list_others(&matches, decision);
	if (matches.winner != NULL) {
		decision->action = matches.winner->source->action;
		decision->err = matches.winner->err;
		decision->rule = matches.winner->source->id.text;
		decision->number = (size_t)(matches.winner - policy->rules);
		decision->reason = matches.winner->source->reason;
		return;
	}
	decision->action = exec->anonymous ? SP_DENY : policy->otherwise;
	decision->err = decision->action == SP_DENY ? EACCES : 0;
	decision->rule = exec->anonymous ? "anonymous" : "default";
}

/* ---- Two files ---- */

/* A script is judged twice: as itself, and as its interpreter with what the kernel puts in front, which the script has led
 * to. */
static void decide_inner(const struct sp_policy *policy, const struct sp_exec *exec, struct sp_decision *decision)
{
	const struct sp_ancestor script = {
		.next = exec->ancestors,
		.path = exec->path,
		.claimed = exec->foreign || exec->anonymous,
	};
	struct sp_exec inner = *exec->inner;
	struct sp_decision second;

	inner.envp = exec->envp;
	inner.envc = exec->envc;
	inner.ancestors = &script;
	inner.depth = exec->depth;
	inner.uid = exec->uid;
	inner.unknown = exec->unknown;
	decide(policy, &inner, &second);
	if (second.action <= decision->action)
		return;
	*decision = second;
	decision->inner = true;
}

/* What a loader loads is what runs. Rules may be about the loader as well, but that none is means nothing. */
static void decide_loader(const struct sp_policy *policy, const struct sp_exec *exec, struct sp_decision *decision)
{
	struct sp_decision second = {.action = SP_DENY, .err = EACCES, .rule = "loader", .number = SP_NO_RULE};

	if (exec->anonymous && decision->matched == 0)
		return;
	if (exec->inner != NULL) {
		struct sp_exec inner = *exec->inner;
		inner.envp = exec->envp;
		inner.envc = exec->envc;
		inner.options_env = exec->options_env;
		inner.options_envc = exec->options_envc;
		inner.ancestors = exec->ancestors;
		inner.depth = exec->depth;
		inner.uid = exec->uid;
		inner.unknown = exec->unknown;
		decide(policy, &inner, &second);
	} else if (decision->matched > 0) {
		return;
	}
	if (decision->matched > 0 && decision->action >= second.action)
		return;
	*decision = second;
	decision->inner = exec->inner != NULL;
}

/* ---- What need be known ---- */

static void note_digest(void *context, const struct sp_rule *rule, const struct sp_glob *glob)
{
	bool *wanted = context;

	(void)glob;
	*wanted |= rule->sha256.count > 0;
}

bool sp_policy_wants_digest(const struct sp_policy *policy, const char *path)
{
	bool wanted = false;

	if (policy->wants_digest) {
		const struct sp_program_file file = sp_program_file(policy, path);
		sp_each_candidate(policy, &file, note_digest, &wanted);
	}
	return wanted;
}
