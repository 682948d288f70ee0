/* One rule's matchers against one exec.
 *
 * A command line is ambiguous to whoever does not know the program's options. Where it is, a rule that allows must not
 * match and one that denies, kills or asks must. */
#include "policy/rules.h"

#include <string.h>

/* What the matchers of arguments look at. */
struct arguments {
	const char *const *item;
	size_t count;
};

static struct arguments find_arguments(const struct sp_rule *rule, const struct sp_exec *exec, bool *applet_matches);
static bool matches_arguments(const struct sp_rule *rule, const struct arguments *arguments);
static bool matches_options(const struct sp_rule *rule, const struct arguments *arguments);
static bool matches_env(const struct sp_globs *globs, const struct sp_exec *exec);
static bool matches_digest(const struct sp_rule *rule, const struct sp_exec *exec);
static bool matches_caller(const struct sp_policy *policy, const struct sp_rule *rule, const struct sp_exec *exec);

static bool is_strict(const struct sp_rule *rule)
{
	return rule->source->action > SP_ALLOW;
}

static bool in_range(const struct sp_range *range, size_t number)
{
	return !range->given || (number >= range->min && number <= range->max);
}

bool sp_rule_matches(const struct sp_policy *policy, const struct sp_rule *rule, const struct sp_exec *exec)
{
	bool applet = true;

	if (rule->anonymity != SP_NAMED_OR_NAMELESS && exec->anonymous != (rule->anonymity == SP_NAMELESS))
		return false;
	if (rule->sha256.count > 0 && !matches_digest(rule, exec))
		return false;
	const struct arguments arguments = find_arguments(rule, exec, &applet);
	if (!applet || !matches_arguments(rule, &arguments))
		return false;
	if (rule->env.count > 0 && !matches_env(&rule->env, exec))
		return false;
	return matches_caller(policy, rule, exec);
}

static bool matches_one(const struct sp_globs *globs, const char *text, size_t size)
{
	for (size_t i = 0; i < globs->count; i++) {
		if (sp_glob_match(globs->items[i], text, size))
			return true;
	}
	return false;
}

static bool matches_digest(const struct sp_rule *rule, const struct sp_exec *exec)
{
	if (exec->digest == NULL)
		return is_strict(rule);
	for (size_t i = 0; i < rule->sha256.count; i++) {
		if (memcmp(rule->sha256.items[i], exec->digest, SP_DIGEST_SIZE) == 0)
			return true;
	}
	return false;
}

static bool any_variable(const struct sp_globs *globs, const char *const *envp, size_t envc)
{
	for (size_t i = 0; i < envc; i++) {
		if (matches_one(globs, envp[i], strcspn(envp[i], "=")))
			return true;
	}
	return false;
}

static bool matches_env(const struct sp_globs *globs, const struct sp_exec *exec)
{
	return any_variable(globs, exec->envp, exec->envc) ||
	       any_variable(globs, exec->options_env, exec->options_envc);
}

/* ---- Who calls ---- */

static bool is_named(const struct sp_policy *policy, const struct sp_programs *programs, const char *path)
{
	const struct sp_program_file file = sp_program_file(policy, path);

	for (size_t i = 0; i < programs->literal_count; i++) {
		const char *literal = programs->literals[i];
		if (strcmp(literal, literal[0] == '/' ? file.path : file.in_path ? file.name : "/") == 0)
			return true;
	}
	return (file.in_path && matches_one(&programs->names, file.name, strlen(file.name))) ||
	       matches_one(&programs->paths, path, strlen(path));
}

static bool is_ancestor(const struct sp_policy *policy, const struct sp_rule *rule, const struct sp_programs *programs,
			const struct sp_ancestor *ancestor)
{
	if (ancestor->claimed && !is_strict(rule))
		return false;
	return is_named(policy, programs, ancestor->path) ||
	       (ancestor->interpreter != NULL && is_named(policy, programs, ancestor->interpreter));
}

static bool has_ancestor(const struct sp_policy *policy, const struct sp_rule *rule, const struct sp_exec *exec)
{
	for (const struct sp_ancestor *each = exec->ancestors; each != NULL; each = each->next) {
		if (is_ancestor(policy, rule, &rule->ancestor, each))
			return true;
	}
	return false;
}

static bool has_user(const struct sp_users *users, uid_t uid)
{
	for (size_t i = 0; i < users->count; i++) {
		if (users->items[i] == uid)
			return true;
	}
	return false;
}

static bool matches_caller(const struct sp_policy *policy, const struct sp_rule *rule, const struct sp_exec *exec)
{
	const struct sp_source_rule *source = rule->source;

	if (rule->user.count > 0) {
		bool holds =
			(exec->unknown & SP_UNKNOWN_USER) != 0 ? is_strict(rule) : has_user(&rule->user, exec->uid);
		if (!holds)
			return false;
	}
	if (source->parent.at == 0 && source->ancestor.at == 0 && !rule->depth.given)
		return true;
	if ((exec->unknown & SP_UNKNOWN_ANCESTORS) != 0)
		return is_strict(rule);
	if (source->parent.at > 0 &&
	    (exec->ancestors == NULL || !is_ancestor(policy, rule, &rule->parent, exec->ancestors)))
		return false;
	return in_range(&rule->depth, exec->depth) && (source->ancestor.at == 0 || has_ancestor(policy, rule, exec));
}

/* ---- Arguments ---- */

static const char *base_name(const char *text)
{
	const char *slash = strrchr(text, '/');

	return slash != NULL ? slash + 1 : text;
}

/* What a multi-call program does: the base name of argv[0], or where that is the program's own name, what follows; "" for
 * nothing. *at: the word that says so, behind which the arguments are. */
static const char *find_applet(const struct sp_exec *exec, size_t *at)
{
	static const char coreutils[] = "--coreutils-prog";
	const char *name = "";

	for (*at = 0; *at < exec->argc; (*at)++) {
		name = base_name(exec->argv[*at]);
		if (*at == 0 && name[0] == '-')
			name++; /* a login shell */
		if (!sp_is_multicall(name))
			return name;
		const char *option = *at + 1 < exec->argc ? exec->argv[*at + 1] : "";
		if (strncmp(option, coreutils, strlen(coreutils)) == 0 && strchr(option, '=') != NULL) {
			(*at)++;
			return base_name(strchr(option, '=') + 1);
		}
	}
	*at = exec->argc > 0 ? exec->argc - 1 : 0;
	return name;
}

static struct arguments find_arguments(const struct sp_rule *rule, const struct sp_exec *exec, bool *applet_matches)
{
	size_t at = 0;

	if (rule->applet.count > 0) {
		const char *applet = find_applet(exec, &at);
		*applet_matches = matches_one(&rule->applet, applet, strlen(applet));
	}
	return exec->argc > at ? (struct arguments){.item = exec->argv + at + 1, .count = exec->argc - at - 1}
			       : (struct arguments){0};
}

static bool any_argument(const struct sp_globs *globs, const struct arguments *arguments)
{
	for (size_t i = 0; i < arguments->count; i++) {
		if (matches_one(globs, arguments->item[i], strlen(arguments->item[i])))
			return true;
	}
	return false;
}

static bool matches_argv(const struct sp_choices *argv, const struct arguments *arguments)
{
	if (arguments->count < argv->count || (arguments->count > argv->count && !argv->open))
		return false;
	for (size_t i = 0; i < argv->count; i++) {
		if (!matches_one(&argv->items[i], arguments->item[i], strlen(arguments->item[i])))
			return false;
	}
	return true;
}

static bool matches_arguments(const struct sp_rule *rule, const struct arguments *arguments)
{
	if (!in_range(&rule->count, arguments->count))
		return false;
	if (rule->has_argv && !matches_argv(&rule->argv, arguments))
		return false;
	if ((rule->words.count > 0 || rule->has.count > 0) && !matches_options(rule, arguments))
		return false;
	if (rule->any.count > 0 && !any_argument(&rule->any, arguments))
		return false;
	return rule->none.count == 0 || !any_argument(&rule->none, arguments);
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

static bool matches_options(const struct sp_rule *rule, const struct arguments *arguments)
{
	struct reading r = {.rule = rule, .strict = is_strict(rule), .words_match = true};
	bool options = true;

	for (size_t i = 0; i < arguments->count; i++) {
		const char *text = arguments->item[i];
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
