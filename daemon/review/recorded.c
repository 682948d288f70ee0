/* See recorded.h. */
#include "review/recorded.h"

#include "util/cleanup.h"

#include <string.h>

enum { SCRIPT, INTERPRETER };

static size_t count_words(struct sp_bytes bytes)
{
	size_t count = 0;

	for (size_t i = 0; i < bytes.size; i++)
		count += bytes.data[i] == '\0';
	return count;
}

static char *copy(char **to, struct sp_bytes bytes)
{
	char *at = *to;

	memcpy(at, bytes.data, bytes.size);
	at[bytes.size] = '\0'; /* a path has none of its own, and the last of a list would do no harm */
	*to += bytes.size + 1;
	return at;
}

static size_t split(const char *text, size_t size, const char **words)
{
	size_t count = 0;

	for (const char *at = text; at < text + size; at += strlen(at) + 1)
		words[count++] = at;
	return count;
}

static bool has(const struct sp_log_exec *exec, enum sp_exec_seen what)
{
	return (exec->seen & what) != 0;
}

void sp_recorded_release(struct sp_recorded *recorded)
{
	free(recorded->text);
	free(recorded->names);
	free(recorded->words[SCRIPT]);
	free(recorded->words[INTERPRETER]);
	*recorded = (struct sp_recorded){0};
}

/* One block for all texts, four arrays for the words in them. */
static int make_room(struct sp_recorded *recorded, const struct sp_log_exec *exec)
{
	const size_t words = count_words(exec->argv) + 1, inserted = count_words(exec->inserted) + 1;

	sp_recorded_release(recorded);
	recorded->text = malloc(exec->resolved.size + exec->interpreter.size + exec->argv.size + exec->inserted.size +
				exec->environment.size + 5);
	recorded->words[SCRIPT] = calloc(words, sizeof(char *));
	recorded->words[INTERPRETER] = calloc(words + inserted, sizeof(char *));
	recorded->names = calloc(count_words(exec->environment) + 1, sizeof(char *));
	return recorded->text != NULL && recorded->words[SCRIPT] != NULL && recorded->words[INTERPRETER] != NULL &&
			       recorded->names != NULL
		       ? 0
		       : -ENOMEM;
}

int sp_recorded_set(struct sp_recorded *recorded, const struct sp_log_exec *exec)
{
	if (make_room(recorded, exec) < 0)
		return -ENOMEM;
	char *at = recorded->text;
	recorded->paths[SCRIPT] = copy(&at, exec->resolved);
	recorded->paths[INTERPRETER] = copy(&at, exec->interpreter);
	const char *argv = copy(&at, exec->argv), *inserted = copy(&at, exec->inserted);
	const char *environment = copy(&at, exec->environment);
	const char **words = recorded->words[SCRIPT], **all = recorded->words[INTERPRETER];

	recorded->script.given = true;
	recorded->script.exec = (struct sp_exec){
		.path = recorded->paths[SCRIPT],
		.anonymous = has(exec, SP_SEEN_ANONYMOUS),
		.foreign = has(exec, SP_SEEN_FOREIGN),
		.unknown = SP_UNKNOWN_ANCESTORS | SP_UNKNOWN_USER, /* the record does not tell */
		.argv = words,
		.argc = split(argv, exec->argv.size, words),
		.envp = recorded->names,
		.envc = split(environment, exec->environment.size, recorded->names),
	};
	recorded->interpreter.given = exec->interpreter.size > 0;
	if (!recorded->interpreter.given)
		return 0;
	size_t argc = split(inserted, exec->inserted.size, all);
	for (size_t i = 1; i < recorded->script.exec.argc; i++)
		all[argc++] = words[i];
	recorded->interpreter.exec = recorded->script.exec;
	recorded->interpreter.exec.path = recorded->paths[INTERPRETER];
	recorded->interpreter.exec.anonymous = has(exec, SP_SEEN_INTERPRETER_ANONYMOUS);
	recorded->interpreter.exec.foreign = has(exec, SP_SEEN_INTERPRETER_FOREIGN);
	recorded->interpreter.exec.argv = all;
	recorded->interpreter.exec.argc = argc;
	return 0;
}

/* Before that was recorded, the rule's name told it. */
static bool is_word_of_ours(const char *rule)
{
	static const char *const ours[] = {"unresolved",    "unstoppable", "deadline",
					   "uninspectable", "unreadable",  "strict"};

	for (size_t i = 0; rule != NULL && i < sizeof ours / sizeof *ours; i++) {
		if (strcmp(rule, ours[i]) == 0)
			return true;
	}
	return rule == NULL;
}

bool sp_recorded_was_judged(const struct sp_log_exec *exec)
{
	return has(exec, SP_SEEN_JUDGED) ||
	       (exec->seen == 0 && exec->resolved.size > 0 && !is_word_of_ours(exec->rule));
}

void sp_recorded_decide(const struct sp_policy *policy, const struct sp_recorded *recorded,
			struct sp_decision *decision)
{
	struct sp_decision second;

	sp_policy_decide(policy, &recorded->script.exec, decision);
	if (!recorded->interpreter.given)
		return;
	sp_policy_decide(policy, &recorded->interpreter.exec, &second);
	if (second.action > decision->action)
		*decision = second;
}

const char *sp_recorded_gap(const struct sp_policy *policy, const struct sp_log_exec *exec)
{
	if (!has(exec, SP_SEEN_JUDGED))
		return "recorded by an earlier version, without the interpreters of scripts";
	if (sp_policy_wants_env(policy) && !has(exec, SP_SEEN_ENVIRONMENT))
		return "rules look at the environment, which the policy of then did not";
	return NULL;
}
