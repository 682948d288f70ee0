/* One rule's matchers against one exec.
 *
 * A command line is ambiguous to whoever does not know the program's options. Where it is, a rule that allows must not
 * match and one that denies, kills or asks must. */
#include "policy/rules.h"

#include <string.h>

static bool matches_argv(const struct sp_choices *argv, const struct sp_exec *exec);
static bool matches_options(const struct sp_rule *rule, const struct sp_exec *exec);
static bool matches_argument(const struct sp_globs *globs, const struct sp_exec *exec);
static bool matches_env(const struct sp_globs *globs, const struct sp_exec *exec);

bool sp_rule_matches(const struct sp_rule *rule, const struct sp_exec *exec)
{
	if (rule->anonymity != SP_NAMED_OR_NAMELESS && exec->anonymous != (rule->anonymity == SP_NAMELESS))
		return false;
	if (rule->env.count > 0 && !matches_env(&rule->env, exec))
		return false;
	if (rule->has_argv && !matches_argv(&rule->argv, exec))
		return false;
	if ((rule->words.count > 0 || rule->has.count > 0) && !matches_options(rule, exec))
		return false;
	if (rule->any.count > 0 && !matches_argument(&rule->any, exec))
		return false;
	return rule->none.count == 0 || !matches_argument(&rule->none, exec);
}

static bool matches_one(const struct sp_globs *globs, const char *text, size_t size)
{
	for (size_t i = 0; i < globs->count; i++) {
		if (sp_glob_match(globs->items[i], text, size))
			return true;
	}
	return false;
}

static bool matches_argument(const struct sp_globs *globs, const struct sp_exec *exec)
{
	for (size_t i = 1; i < exec->argc; i++) {
		if (matches_one(globs, exec->argv[i], strlen(exec->argv[i])))
			return true;
	}
	return false;
}

static bool matches_env(const struct sp_globs *globs, const struct sp_exec *exec)
{
	for (size_t i = 0; i < exec->envc; i++) {
		if (matches_one(globs, exec->envp[i], strcspn(exec->envp[i], "=")))
			return true;
	}
	return false;
}

static bool matches_argv(const struct sp_choices *argv, const struct sp_exec *exec)
{
	size_t arguments = exec->argc > 0 ? exec->argc - 1 : 0;

	if (arguments < argv->count || (arguments > argv->count && !argv->open))
		return false;
	for (size_t i = 0; i < argv->count; i++) {
		if (!matches_one(&argv->items[i], exec->argv[i + 1], strlen(exec->argv[i + 1])))
			return false;
	}
	return true;
}

/* ---- Options ---- */

/* A command line being read as getopt_long(3) would read it. */
struct reading {
	const struct sp_rule *rule;
	bool strict; /* the rule does not allow */
	bool present; /* one of `has` was seen */
	bool ambiguous; /* what are the words depends on what the program makes of it */
	size_t words; /* how many were seen */
	bool words_match; /* all of them so far */
	bool value_follows; /* the next argument belongs to the option just read */
};

static bool is_option(const struct sp_options *options, const char *text, size_t size)
{
	for (size_t i = 0; i < options->count; i++) {
		const struct sp_option *option = &options->items[i];
		if (option->size == size && memcmp(option->text, text, size) == 0)
			return true;
	}
	return false;
}

static bool is_letter(const struct sp_options *options, char letter)
{
	return is_option(options, (const char[]){'-', letter}, 2);
}

/* getopt_long(3) takes a beginning of a long option for the whole. What is itself an option of the rule is not one. */
static bool is_abbreviation(const struct reading *r, const struct sp_options *options, const char *text, size_t size)
{
	if (size < strlen("--x") || is_option(&r->rule->has, text, size) ||
	    is_option(&r->rule->options_with_value, text, size))
		return false;
	for (size_t i = 0; i < options->count; i++) {
		const struct sp_option *option = &options->items[i];
		if (option->size > size && memcmp(option->text, text, size) == 0)
			return true;
	}
	return false;
}

static void read_long(struct reading *r, const char *text)
{
	const struct sp_options *with_value = &r->rule->options_with_value;
	size_t size = strcspn(text, "=");
	bool attached = text[size] == '=';
	bool abbreviates_value = is_abbreviation(r, with_value, text, size);

	r->present |=
		is_option(&r->rule->has, text, size) || (r->strict && is_abbreviation(r, &r->rule->has, text, size));
	r->ambiguous |= abbreviates_value && !attached;
	r->value_follows = !attached && (is_option(with_value, text, size) || abbreviates_value);
}

static void read_cluster(struct reading *r, const char *letters)
{
	for (; *letters != '\0'; letters++) {
		r->present |= is_letter(&r->rule->has, *letters);
		if (is_letter(&r->rule->options_with_value, *letters)) {
			r->value_follows = letters[1] == '\0';
			return;
		}
	}
}

/* A single dash begins a cluster of letters, or a long option of the kind that find and X have. */
static void read_short(struct reading *r, const char *text)
{
	const struct sp_options *with_value = &r->rule->options_with_value;
	size_t size = strcspn(text, "=");
	bool whole = size > strlen("-x");

	if (whole && is_option(&r->rule->has, text, size))
		r->present = true;
	if (whole && is_option(with_value, text, size)) {
		r->value_follows = text[size] != '=';
		return;
	}
	if (!whole || !is_option(&r->rule->has, text, size))
		read_cluster(r, text + 1);
}

static void read_word(struct reading *r, const char *text)
{
	const struct sp_choices *words = &r->rule->words;

	if (r->words < words->count)
		r->words_match &= matches_one(&words->items[r->words], text, strlen(text));
	r->words++;
}

static bool matches_options(const struct sp_rule *rule, const struct sp_exec *exec)
{
	struct reading r = {.rule = rule, .strict = rule->source->action > SP_ALLOW, .words_match = true};
	bool options = true;

	for (size_t i = 1; i < exec->argc; i++) {
		const char *text = exec->argv[i];
		if (r.value_follows) {
			r.value_follows = false;
		} else if (!options || text[0] != '-' || text[1] == '\0') {
			read_word(&r, text);
		} else if (strcmp(text, "--") == 0) {
			options = false;
		} else if (text[1] == '-') {
			read_long(&r, text);
		} else {
			read_short(&r, text);
		}
	}
	if (rule->has.count > 0 && !r.present)
		return false;
	if (rule->words.count == 0)
		return true;
	return r.words >= rule->words.count && r.words_match && (r.strict || !r.ambiguous);
}
