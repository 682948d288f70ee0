/* From the file as written to rules that can be decided by; everything that a schema cannot check is checked here. */
#include "policy/push.h"
#include "policy/rules.h"
#include "util/cleanup.h"

#include <string.h>

/* Where no exec.path is given. On a merged-usr system the last two are links: their directories are there already. */
static const char *const default_path[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
					   "/usr/bin",        "/sbin",          "/bin"};

#define DEFAULT_ERRNO EACCES
#define ERRNO_MAX 133

struct compiler {
	struct sp_policy *policy;
	const struct sp_document *document;
	struct sp_error *e;
	/* The program pattern at hand. */
	struct sp_programs *programs;
	const struct sp_glob *name;
	bool allows; /* the rule */
	bool scanned; /* the directories, for symlinks */
};

static int compile_directories(struct compiler *c);
static int compile_rule(struct compiler *c, const struct sp_source_rule *source, struct sp_rule *rule);
static int compile_index(struct compiler *c);

static int out_of_memory(struct compiler *c)
{
	return sp_fail(c->e, ENOMEM, "out of memory");
}

static int compile_rules(struct compiler *c, const struct sp_source *source)
{
	const struct sp_source_exec *exec = &source->policy->exec;
	struct sp_policy *policy = c->policy;
	int rc = 0;

	c->document = source->document;
	for (uint32_t i = 0; rc == 0 && i < exec->rules_count; i++) {
		/* counted first: what a failing rule holds already is freed as well */
		struct sp_rule *rule = &policy->rules[policy->rule_count++];
		rc = compile_rule(c, &exec->rules[i], rule);
	}
	return rc;
}

/* What a policy extends comes first, so that of equals the base's rule wins. */
int sp_policy_compile(struct sp_policy *policy, struct sp_error *e)
{
	const struct sp_source *root = sp_policy_root(policy);
	struct compiler c = {.policy = policy, .document = root->document, .e = e};
	size_t count = policy->source.policy->exec.rules_count;

	policy->otherwise = root->policy->exec.otherwise != NULL ? *root->policy->exec.otherwise : SP_DENY;
	int rc = compile_directories(&c);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < policy->base_count; i++)
		count += policy->bases[i].source.policy->exec.rules_count;
	policy->rules = calloc(count + 1, sizeof *policy->rules);
	if (policy->rules == NULL)
		return out_of_memory(&c);
	for (size_t i = policy->base_count; rc == 0 && i > 0; i--)
		rc = compile_rules(&c, &policy->bases[i - 1].source);
	if (rc == 0)
		rc = compile_rules(&c, &policy->source);
	return rc == 0 ? compile_index(&c) : rc;
}

/* ---- exec.path ---- */

static int add_directory(struct compiler *c, const char *pattern, uint32_t at)
{
	const char *problem = NULL;

	int rc = sp_directories_add(c->policy->directories, pattern, &problem);
	if (rc == -ENOMEM)
		return out_of_memory(c);
	if (problem != NULL)
		return sp_document_fail(c->document, at, c->e, "bad directory '%.60s': %s", pattern, problem);
	return rc < 0 ? sp_fail(c->e, -rc, "the working directory cannot be read: %s", strerror(-rc)) : 0;
}

static int compile_directories(struct compiler *c)
{
	const struct sp_source_texts *path = &sp_policy_root(c->policy)->policy->exec.path;

	int rc = sp_directories_new(&c->policy->directories);
	if (rc < 0)
		return out_of_memory(c);
	if (path->items == NULL && path->at > 0)
		return sp_document_fail(c->document, path->at, c->e, "the list is empty, expected directories");
	for (uint32_t i = 0; i < path->items_count; i++) {
		rc = add_directory(c, path->items[i].text, path->items[i].at);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; path->at == 0 && i < sizeof default_path / sizeof default_path[0]; i++) {
		rc = add_directory(c, default_path[i], 0);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- Globs ---- */

static int compile_glob(struct compiler *c, const char *pattern, uint32_t at, enum sp_glob_kind kind,
			struct sp_glob **glob)
{
	const char *problem;

	int rc = sp_glob_compile(pattern, kind, glob, &problem);
	if (rc == -EINVAL)
		return sp_document_fail(c->document, at, c->e, "bad pattern '%.60s': %s", pattern, problem);
	return rc < 0 ? out_of_memory(c) : 0;
}

static int add_glob(struct compiler *c, struct sp_globs *globs, const char *pattern, uint32_t at,
		    enum sp_glob_kind kind)
{
	struct sp_glob *glob = NULL;

	int rc = compile_glob(c, pattern, at, kind, &glob);
	if (rc < 0)
		return rc;
	if (sp_push(globs->items, globs->count, glob))
		return 0;
	sp_glob_free(glob);
	return out_of_memory(c);
}

/* An empty argument exists, so an empty text is a pattern like any other; an empty list would hold always or never. */
static int check_given(struct compiler *c, uint32_t count, uint32_t at)
{
	if (at > 0 && count == 0)
		return sp_document_fail(c->document, at, c->e,
					"the list is empty, leave the key out or say what matches");
	return 0;
}

static int compile_globs(struct compiler *c, const struct sp_source_texts *texts, struct sp_globs *globs)
{
	int rc = check_given(c, texts->items_count, texts->at);

	for (uint32_t i = 0; rc == 0 && i < texts->items_count; i++)
		rc = add_glob(c, globs, texts->items[i].text, texts->items[i].at, SP_GLOB_ARGUMENT);
	return rc;
}

static int compile_env(struct compiler *c, const struct sp_source_rule *source, struct sp_rule *rule)
{
	for (uint32_t i = 0; i < source->env.items_count; i++) {
		const struct sp_source_text *name = &source->env.items[i];
		if (name->text[0] == '\0' || strchr(name->text, '=') != NULL)
			return sp_document_fail(c->document, name->at, c->e,
						"bad variable '%.60s', expected a name without =", name->text);
	}
	return compile_globs(c, &source->env, &rule->env);
}

static bool is_ellipsis(const struct sp_source_choice *choice)
{
	return choice->items_count == 1 && strcmp(choice->items[0].text, "...") == 0;
}

static int compile_choice(struct compiler *c, const struct sp_source_choice *choice, struct sp_choices *choices)
{
	int rc = check_given(c, choice->items_count, choice->at);

	if (rc < 0)
		return rc;
	if (!sp_push(choices->items, choices->count, {0}))
		return out_of_memory(c);
	for (uint32_t i = 0; i < choice->items_count; i++) {
		const struct sp_source_text *text = &choice->items[i];
		if (strcmp(text->text, "...") == 0)
			return sp_document_fail(c->document, text->at, c->e, "... must be the last item of argv");
		rc = add_glob(c, &choices->items[choices->count - 1], text->text, text->at, SP_GLOB_ARGUMENT);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int compile_choices(struct compiler *c, const struct sp_source_choices *source, bool may_be_open,
			   struct sp_choices *choices)
{
	uint32_t count = source->items_count;
	int rc = check_given(c, count, source->at);

	if (rc == 0 && may_be_open && count > 0 && is_ellipsis(&source->items[count - 1])) {
		choices->open = true;
		count--;
	}
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = compile_choice(c, &source->items[i], choices);
	return rc;
}

/* ---- Options ---- */

static int compile_options(struct compiler *c, const struct sp_source_texts *texts, struct sp_options *options)
{
	int rc = check_given(c, texts->items_count, texts->at);

	for (uint32_t i = 0; rc == 0 && i < texts->items_count; i++) {
		const char *text = texts->items[i].text;
		if (text[0] != '-' || text[strspn(text, "-")] == '\0' || strchr(text, '=') != NULL)
			return sp_document_fail(
				c->document, texts->items[i].at, c->e,
				"bad option '%.60s', expected one such as -f or --force, without a value", text);
		if (!sp_push(options->items, options->count, {.text = text, .size = strlen(text)}))
			rc = out_of_memory(c);
	}
	return rc;
}

/* ---- Programs ---- */

static int add_literal(struct compiler *c, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		return out_of_memory(c);
	if (sp_push(c->programs->literals, c->programs->literal_count, copy))
		return 0;
	free(copy);
	return out_of_memory(c);
}

static int add_target(void *context, const char *target)
{
	struct compiler *c = context;
	const char *name = strrchr(target, '/') + 1;

	/* One file that does whatever argv[0] says: allowing `ls` must not allow busybox, which is also a shell and a wget. */
	if (c->allows && sp_is_multicall(target) && !sp_glob_match(c->name, name, strlen(name)))
		return 0;
	return add_literal(c, target);
}

static void free_glob_ptr(struct sp_glob **glob)
{
	sp_glob_free(*glob);
}

static int compile_name(struct compiler *c, const struct sp_source_text *program)
{
	sp_cleanup(free_glob_ptr) struct sp_glob *glob = NULL;

	/* A base name has no slash to stop at, and the other kind of glob is faster for it. */
	int rc = compile_glob(c, program->text, program->at, SP_GLOB_ARGUMENT, &glob);
	if (rc < 0)
		return rc;
	c->name = glob;
	if (!c->scanned && sp_directories_scan(c->policy->directories) < 0)
		return out_of_memory(c);
	c->scanned = true; /* thousands of names: read where a rule asks for one */
	rc = sp_directories_links(c->policy->directories, glob, add_target, c);
	if (rc < 0)
		return rc;
	if (sp_glob_literal(glob) != NULL)
		return add_literal(c, sp_glob_literal(glob));
	if (!sp_push(c->programs->names.items, c->programs->names.count, glob))
		return out_of_memory(c);
	glob = NULL;
	return 0;
}

static int add_path(struct compiler *c, const char *pattern, const char *base, uint32_t at)
{
	sp_cleanup(free_glob_ptr) struct sp_glob *glob = NULL;
	sp_cleanup(free_glob_ptr) struct sp_glob *name = NULL;

	int rc = compile_glob(c, pattern, at, SP_GLOB_PATH, &glob);
	if (rc < 0 || (rc = compile_glob(c, base, at, SP_GLOB_PATH, &name)) < 0)
		return rc;
	c->name = name;
	if (sp_glob_literal(glob) != NULL)
		return add_target(c, sp_glob_literal(glob));
	if (!sp_push(c->programs->paths.items, c->programs->paths.count, glob))
		return out_of_memory(c);
	glob = NULL;
	return 0;
}

static int compile_path(struct compiler *c, const struct sp_source_text *program)
{
	cleanup_free char *written = NULL;
	cleanup_free char *canonical = NULL;
	const char *problem = NULL;
	const char *base = strrchr(program->text, '/') + 1;

	int rc = sp_path_pattern(program->text, &written, &canonical, &problem);
	if (rc == -EINVAL)
		return sp_document_fail(c->document, program->at, c->e, "bad program '%.60s': %s", program->text,
					problem);
	if (rc < 0)
		return sp_document_fail(c->document, program->at, c->e, "%.60s: %s", program->text, strerror(-rc));
	rc = add_path(c, written, base, program->at);
	return rc < 0 || canonical == NULL ? rc : add_path(c, canonical, base, program->at);
}

static int compile_programs(struct compiler *c, const struct sp_source_texts *source, struct sp_programs *programs)
{
	int rc = check_given(c, source->items_count, source->at);

	c->programs = programs;
	for (uint32_t i = 0; rc == 0 && i < source->items_count; i++) {
		const struct sp_source_text *program = &source->items[i];
		if (program->text[0] == '\0')
			return sp_document_fail(c->document, program->at, c->e, "the program has no name");
		rc = strchr(program->text, '/') != NULL ? compile_path(c, program) : compile_name(c, program);
	}
	return rc;
}

/* ---- Contents, numbers, users ---- */

static int compile_digests(struct compiler *c, const struct sp_source_texts *source, struct sp_digests *digests)
{
	int rc = check_given(c, source->items_count, source->at);

	if (rc < 0 || source->items_count == 0)
		return rc;
	digests->items = calloc(source->items_count, sizeof *digests->items);
	if (digests->items == NULL)
		return out_of_memory(c);
	for (; digests->count < source->items_count; digests->count++) {
		const struct sp_source_text *text = &source->items[digests->count];
		if (!sp_digest_parse(text->text, digests->items[digests->count]))
			return sp_document_fail(c->document, text->at, c->e,
						"bad sha256 '%.70s', expected 64 hexadecimal digits", text->text);
	}
	return 0;
}

static int compile_number(struct compiler *c, const char *text, uint32_t at, uint32_t *number)
{
	if (text == NULL || sp_number_parse(text, number))
		return 0;
	return sp_document_fail(c->document, at, c->e, "bad number '%.60s', expected one from 0 to %u", text,
				SP_NUMBER_MAX);
}

static int compile_range(struct compiler *c, const struct sp_source_range *source, struct sp_range *range)
{
	int rc;

	if (source->at == 0)
		return 0;
	*range = (struct sp_range){.given = true, .min = 0, .max = UINT32_MAX};
	if (source->word != NULL) {
		rc = compile_number(c, source->word, source->at, &range->min);
		range->max = range->min;
		return rc;
	}
	if ((rc = compile_number(c, source->min.text, source->min.at, &range->min)) < 0 ||
	    (rc = compile_number(c, source->max.text, source->max.at, &range->max)) < 0)
		return rc;
	if (source->min.text == NULL && source->max.text == NULL)
		return sp_document_fail(c->document, source->at, c->e, "expected a number, or min, max or both");
	if (range->min > range->max)
		return sp_document_fail(c->document, source->min.at, c->e, "min is greater than max");
	return 0;
}

static int compile_users(struct compiler *c, const struct sp_source_texts *source, struct sp_users *users)
{
	int rc = check_given(c, source->items_count, source->at);

	for (uint32_t i = 0; rc == 0 && i < source->items_count; i++) {
		uid_t uid;
		if (!sp_user_find(source->items[i].text, &uid))
			return sp_document_fail(c->document, source->items[i].at, c->e,
						"unknown user '%.60s', expected a name or a number",
						source->items[i].text);
		if (!sp_push(users->items, users->count, uid))
			return out_of_memory(c);
	}
	return rc;
}

/* ---- Rules ---- */

static int check_id(struct compiler *c, const struct sp_source_text *id)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	if (id->text[0] == '\0' || id->text[strspn(id->text, letters)] != '\0')
		return sp_document_fail(c->document, id->at, c->e,
					"bad id '%.60s', expected letters, digits, '.', '_' or '-'", id->text);
	if (sp_is_reserved_id(id->text))
		return sp_document_fail(c->document, id->at, c->e,
					"the id '%s' is taken: records use it where no rule decided", id->text);
	return 0;
}

static int parse_errno(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && number <= ERRNO_MAX)
		return strerrorname_np((int)number) != NULL ? (int)number : 0;
	for (int err = 1; err <= ERRNO_MAX; err++) {
		const char *name = strerrorname_np(err);
		if (name != NULL && strcmp(name, text) == 0)
			return err;
	}
	return strcmp(text, "EWOULDBLOCK") == 0 ? EWOULDBLOCK : strcmp(text, "EDEADLOCK") == 0 ? EDEADLOCK : 0;
}

static int compile_errno(struct compiler *c, const struct sp_source_rule *source, struct sp_rule *rule)
{
	const struct sp_source_text *error = &source->error;

	rule->err = source->action == SP_DENY ? DEFAULT_ERRNO : 0;
	if (error->text == NULL)
		return 0;
	if (source->action != SP_DENY)
		return sp_document_fail(c->document, error->at, c->e, "errno is for rules that deny, this one says %s",
					sp_action_name(source->action));
	rule->err = parse_errno(error->text);
	if (rule->err == 0)
		return sp_document_fail(c->document, error->at, c->e,
					"unknown errno '%.60s', expected a name such as EACCES", error->text);
	return 0;
}

/* A rule about everything is what `default` is for, and usually a slip of the indentation. */
static int check_matchers(struct compiler *c, const struct sp_source_rule *source)
{
	const struct sp_source_texts *with_value = &source->options_with_value;

	if (with_value->at > 0 && source->words.at == 0 && source->has.at == 0)
		return sp_document_fail(c->document, with_value->at, c->e,
					"options_with_value has no effect without words or has");
	if (source->program.at == 0 && source->applet.at == 0 && source->sha256.at == 0 && source->argv.at == 0 &&
	    source->words.at == 0 && source->has.at == 0 && source->any.at == 0 && source->none.at == 0 &&
	    source->count.at == 0 && source->env.at == 0 && source->parent.at == 0 && source->ancestor.at == 0 &&
	    source->depth.at == 0 && source->user.at == 0 && source->anonymous == SP_ANSWER_NONE)
		return sp_document_fail(
			c->document, source->at, c->e,
			"the rule '%s' has no matcher, expected at least one of program, applet, sha256, argv, words, "
			"has, any, none, count, env, parent, ancestor, depth, user, anonymous",
			source->id.text);
	return 0;
}

static enum sp_anonymity anonymity(const struct sp_source_rule *source)
{
	switch (source->anonymous) {
	case SP_ANSWER_YES:
		return SP_NAMELESS;
	case SP_ANSWER_NO:
		return SP_NAMED;
	default:
		return source->action <= SP_ASK ? SP_NAMED : SP_NAMED_OR_NAMELESS;
	}
}

static int compile_rule(struct compiler *c, const struct sp_source_rule *source, struct sp_rule *rule)
{
	int rc;

	*rule = (struct sp_rule){
		.source = source,
		.document = c->document,
		.anonymity = anonymity(source),
		.any_program = source->program.at == 0,
		.has_argv = source->argv.at > 0,
	};
	c->allows = source->action == SP_ALLOW;
	if ((rc = check_id(c, &source->id)) < 0 || (rc = check_matchers(c, source)) < 0 ||
	    (rc = compile_programs(c, &source->program, &rule->program)) < 0 ||
	    (rc = compile_globs(c, &source->applet, &rule->applet)) < 0 ||
	    (rc = compile_digests(c, &source->sha256, &rule->sha256)) < 0 ||
	    (rc = compile_choices(c, &source->argv, true, &rule->argv)) < 0 ||
	    (rc = compile_choices(c, &source->words, false, &rule->words)) < 0 ||
	    (rc = compile_options(c, &source->options_with_value, &rule->options_with_value)) < 0 ||
	    (rc = compile_options(c, &source->has, &rule->has)) < 0 ||
	    (rc = compile_globs(c, &source->any, &rule->any)) < 0 ||
	    (rc = compile_globs(c, &source->none, &rule->none)) < 0 ||
	    (rc = compile_range(c, &source->count, &rule->count)) < 0 || (rc = compile_env(c, source, rule)) < 0 ||
	    (rc = compile_programs(c, &source->parent, &rule->parent)) < 0 ||
	    (rc = compile_programs(c, &source->ancestor, &rule->ancestor)) < 0 ||
	    (rc = compile_range(c, &source->depth, &rule->depth)) < 0 ||
	    (rc = compile_users(c, &source->user, &rule->user)) < 0)
		return rc;
	return compile_errno(c, source, rule);
}

/* ---- Index ---- */

static int compare_ids(const void *a, const void *b)
{
	const struct sp_rule *const *left = a, *const *right = b;
	int order = strcmp((*left)->source->id.text, (*right)->source->id.text);

	return order != 0 ? order : (*left > *right) - (*left < *right);
}

static int check_duplicates(struct compiler *c)
{
	size_t count = c->policy->rule_count;
	cleanup_free const struct sp_rule **sorted = calloc(count + 1, sizeof *sorted);

	if (sorted == NULL)
		return out_of_memory(c);
	for (size_t i = 0; i < count; i++)
		sorted[i] = &c->policy->rules[i];
	qsort(sorted, count, sizeof *sorted, compare_ids);
	for (size_t i = 1; i < count; i++) {
		const struct sp_source_text *first = &sorted[i - 1]->source->id, *second = &sorted[i]->source->id;
		const struct sp_document *document = sorted[i - 1]->document;
		if (strcmp(first->text, second->text) == 0)
			return sp_document_fail(sorted[i]->document, second->at, c->e,
						"duplicate id '%.60s', the first is in line %zu%s", second->text,
						sp_document_line(document, first->at),
						document != sorted[i]->document ? " of what this extends" : "");
	}
	return 0;
}

static void note_wants(struct sp_policy *policy, const struct sp_rule *rule)
{
	policy->wants_env |= rule->env.count > 0;
	policy->wants_ancestors |= rule->source->parent.at > 0 || rule->source->ancestor.at > 0 || rule->depth.given;
	policy->wants_user |= rule->user.count > 0;
	policy->wants_digest |= rule->sha256.count > 0;
}

static int compile_index(struct compiler *c)
{
	struct sp_policy *policy = c->policy;

	int rc = check_duplicates(c);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < policy->rule_count; i++)
		note_wants(policy, &policy->rules[i]);
	return sp_candidates_build(policy) < 0 ? out_of_memory(c) : 0;
}
