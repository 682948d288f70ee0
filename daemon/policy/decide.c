/* The decision: only rules that can be about the file are looked at, and the strictest of those that match wins. */
#include "policy/rules.h"

#include <string.h>

/* Rule numbers that ascend, from one of the policy's lists. */
struct cursor {
	const size_t *numbers; /* or, where this is NULL, */
	const struct sp_program_key *keys;
	size_t left;
};

struct candidates {
	struct cursor by_path, by_name, by_wildcard, by_nothing;
};

struct file {
	const char *path;
	const char *name; /* the base name */
	bool in_path; /* lies in one of exec.path's directories */
};

static struct candidates find_candidates(const struct sp_policy *policy, const struct file *file);
static const struct sp_rule *next_candidate(const struct sp_policy *policy, const struct file *file,
					    struct candidates *candidates);
static bool may_match(const struct sp_rule *rule, const struct sp_exec *exec);

/* What matched: the first in the file of the strictest, and the first few of all. */
struct matches {
	const struct sp_rule *winner;
	size_t count;
	const struct sp_rule *first[SP_OTHERS + 1];
};

static void add_match(struct matches *matches, const struct sp_rule *rule)
{
	if (matches->winner == NULL || rule->source->action > matches->winner->source->action)
		matches->winner = rule;
	if (matches->count < sizeof matches->first / sizeof matches->first[0])
		matches->first[matches->count] = rule;
	matches->count++;
}

static void list_others(const struct matches *matches, struct sp_decision *decision)
{
	size_t listed = 0;

	for (size_t i = 0; i < matches->count && i <= SP_OTHERS && listed < SP_OTHERS; i++) {
		if (matches->first[i] != matches->winner)
			decision->others[listed++] = matches->first[i]->source->id.text;
	}
}

void sp_policy_decide(const struct sp_policy *policy, const struct sp_exec *exec, struct sp_decision *decision)
{
	const char *slash = strrchr(exec->path, '/');
	struct file file = {
		.path = exec->path,
		.name = slash != NULL ? slash + 1 : exec->path,
		.in_path = sp_directories_have(policy->directories, exec->path),
	};
	struct candidates candidates = find_candidates(policy, &file);
	struct matches matches = {0};

	for (const struct sp_rule *rule; (rule = next_candidate(policy, &file, &candidates)) != NULL;) {
		if (may_match(rule, exec) && sp_rule_matches(rule, exec))
			add_match(&matches, rule);
	}
	*decision = (struct sp_decision){.matched = matches.count};
	list_others(&matches, decision);
	if (matches.winner != NULL) {
		decision->action = matches.winner->source->action;
		decision->err = matches.winner->err;
		decision->rule = matches.winner->source->id.text;
		decision->reason = matches.winner->source->reason;
		return;
	}
	decision->action = exec->anonymous ? SP_DENY : policy->otherwise;
	decision->err = decision->action == SP_DENY ? EACCES : 0;
	decision->rule = exec->anonymous ? "anonymous" : "default";
}

/* The path of a foreign file is a claim: good enough to refuse by, not to allow by. */
static bool may_match(const struct sp_rule *rule, const struct sp_exec *exec)
{
	return !exec->foreign || rule->any_program || rule->source->action > SP_ALLOW;
}

static struct cursor find_key(const struct sp_policy *policy, const char *text)
{
	size_t low = 0, high = policy->key_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(policy->keys[middle].text, text) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	size_t end = low;
	while (end < policy->key_count && strcmp(policy->keys[end].text, text) == 0)
		end++;
	return end > low ? (struct cursor){.keys = policy->keys + low, .left = end - low} : (struct cursor){0};
}

static struct candidates find_candidates(const struct sp_policy *policy, const struct file *file)
{
	return (struct candidates){
		/* What has no slash could only be taken for a name. */
		.by_path = file->path[0] == '/' ? find_key(policy, file->path) : (struct cursor){0},
		.by_name = file->in_path ? find_key(policy, file->name) : (struct cursor){0},
		.by_wildcard = {.numbers = policy->wildcard_rules, .left = policy->wildcard_count},
		.by_nothing = {.numbers = policy->any_program_rules, .left = policy->any_program_count},
	};
}

static size_t peek(const struct cursor *cursor)
{
	if (cursor->left == 0)
		return SIZE_MAX;
	return cursor->numbers != NULL ? *cursor->numbers : cursor->keys->rule;
}

/* Advances past this number; whether it was there. */
static bool take(struct cursor *cursor, size_t number)
{
	bool taken = false;

	for (; peek(cursor) == number; cursor->left--, taken = true) {
		if (cursor->numbers != NULL)
			cursor->numbers++;
		else
			cursor->keys++;
	}
	return taken;
}

static bool matches_wildcard(const struct sp_rule *rule, const struct file *file)
{
	for (size_t i = 0; file->in_path && i < rule->names.count; i++) {
		if (sp_glob_match(rule->names.items[i], file->name, strlen(file->name)))
			return true;
	}
	for (size_t i = 0; i < rule->paths.count; i++) {
		if (sp_glob_match(rule->paths.items[i], file->path, strlen(file->path)))
			return true;
	}
	return false;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

static const struct sp_rule *next_candidate(const struct sp_policy *policy, const struct file *file,
					    struct candidates *candidates)
{
	for (;;) {
		size_t number = smaller(smaller(peek(&candidates->by_path), peek(&candidates->by_name)),
					smaller(peek(&candidates->by_wildcard), peek(&candidates->by_nothing)));
		if (number == SIZE_MAX)
			return NULL;
		const struct sp_rule *rule = &policy->rules[number];
		bool found = take(&candidates->by_path, number);
		found |= take(&candidates->by_name, number);
		found |= take(&candidates->by_nothing, number);
		if (take(&candidates->by_wildcard, number) && !found)
			found = matches_wildcard(rule, file);
		if (found)
			return rule;
	}
}
